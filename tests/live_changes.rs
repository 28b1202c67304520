//! What reaches a device when backends and users change their minds, end to end: real TLS, real sockets, a real store.

mod support;

use std::time::UNIX_EPOCH;

use pushline::client::{Client, Dismissal};
use pushline::model::id::MessageId;
use pushline::model::message::DismissReason;
use pushline::wire::pb;
use support::{Audience, Gateway, next, push, soon, text, to_any_of_user, to_condition, to_topic, to_user};
use tokio_stream::StreamExt;

/// Puts a user in a group or takes it out; the group's topic has its name.
async fn change(backend: &mut Audience, group: &str, add: &[&str], remove: &[&str]) {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let change = pb::ChangeMembersRequest { group: group.into(), add: names(add), remove: names(remove) };
    let answers = soon("a stream", backend.change_members(tokio_stream::iter([change]))).await.expect("a stream");
    let answers: Vec<_> = soon("the answer", answers.into_inner().collect()).await;
    assert!(matches!(&answers[..], [Ok(answer)] if answer.error.is_none()), "{answers:?}");
}

/// The next push, acked.
async fn take(client: &mut Client) -> String {
    let pushed = next(client).await;
    let words = text(&pushed);
    pushed.ack();
    words
}

/// P4.3: who joins a group follows its topic from the next push on, on all devices, and who leaves stops at once; the
/// device's own subscription goes on.
#[tokio::test(flavor = "multi_thread")]
async fn p4_3_joining_and_leaving_reach_live_sessions_at_once() {
    let gateway = Gateway::start().await;
    let (mut backend, mut people) = (gateway.backend().await, gateway.audience().await);
    let (mut phone, mut laptop) = (gateway.client("ada", "phone").await, gateway.client("ada", "laptop").await);
    let mut own = gateway.client("bob", "phone").await;
    soon("a subscription", own.subscribe(["berlin"])).await.expect("a subscription");
    push(&mut backend, to_topic("berlin", "before")).await;
    assert_eq!(take(&mut own).await, "before");
    change(&mut people, "berlin", &["ada", "bob"], &[]).await;
    push(&mut backend, to_topic("berlin", "joined")).await;
    for client in [&mut phone, &mut laptop, &mut own] {
        assert_eq!(take(client).await, "joined");
    }
    // The device cannot leave what a group brings; asking for it is harmless.
    soon("an answer", phone.unsubscribe(["berlin"])).await.expect("an answer");
    push(&mut backend, to_topic("berlin", "still there")).await;
    for client in [&mut phone, &mut laptop, &mut own] {
        assert_eq!(take(client).await, "still there");
    }
    change(&mut people, "berlin", &[], &["ada", "bob"]).await;
    push(&mut backend, to_topic("berlin", "left")).await;
    for user in ["ada", "bob"] {
        push(&mut backend, to_user(user, "end")).await;
    }
    for client in [&mut phone, &mut laptop] {
        assert_eq!(take(client).await, "end", "nothing of the topic comes before it");
    }
    let mut last = [take(&mut own).await, take(&mut own).await];
    last.sort();
    assert_eq!(last, ["end", "left"], "its own subscription goes on");
}

/// P4.4, P4.6: a condition is evaluated when the push is accepted; also a device that is away then receives it.
#[tokio::test(flavor = "multi_thread")]
async fn p4_4_a_condition_reaches_those_it_was_true_for() {
    let gateway = Gateway::start().await;
    let mut backend = gateway.backend().await;
    let connect = |user: &'static str, platform: &'static str| {
        let mut options = gateway.options(user, "phone");
        options.attributes = [("platform".to_owned(), platform.to_owned())].into();
        Client::connect(options)
    };
    let mut ada = soon("a session", connect("ada", "ios")).await.expect("a session");
    let mut bob = soon("a session", connect("bob", "android")).await.expect("a session");
    let eve = soon("a session", connect("eve", "ios")).await.expect("a session");
    drop(eve);
    push(&mut backend, to_condition("platform == 'ios'", "to ios")).await;
    assert_eq!(take(&mut ada).await, "to ios");
    let attributes = [("platform".to_owned(), "ios".to_owned())].into();
    soon("an answer", bob.describe(attributes)).await.expect("an answer");
    push(&mut backend, to_condition("platform == 'ios'", "to all")).await;
    assert_eq!(take(&mut ada).await, "to all");
    assert_eq!(take(&mut bob).await, "to all", "what it was no part of does not come");
    let mut eve = gateway.client("eve", "phone").await;
    assert_eq!([take(&mut eve).await, take(&mut eve).await], ["to ios", "to all"]);
}

/// P4: low and normal urgency wait for the end of the quiet hours, high goes.
#[tokio::test(flavor = "multi_thread")]
async fn quiet_hours_hold_back_what_is_not_urgent_until_they_end() {
    let gateway = Gateway::start().await;
    let (mut backend, mut people) = (gateway.backend().await, gateway.audience().await);
    let mut phone = gateway.client("ada", "phone").await;
    #[expect(clippy::disallowed_methods, reason = "quiet hours go by the wall clock")]
    let now = std::time::SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let time = |hours: u64| {
        let minute = (now.as_secs() / 60 + hours * 60) % 1440;
        format!("{:02}:{:02}", minute / 60, minute % 60)
    };
    let hours = pb::QuietHours { from: time(22), to: time(3), time_zone: "UTC".into() };
    let set = |quiet_hours| pb::SetQuietHoursRequest { user: "ada".into(), quiet_hours };
    soon("an answer", people.set_quiet_hours(set(Some(hours)))).await.expect("an answer");
    push(&mut backend, to_user("ada", "can wait")).await;
    let urgent = pb::PushRequest { urgency: pb::Urgency::High.into(), ..to_user("ada", "cannot wait") };
    push(&mut backend, urgent.clone()).await;
    assert_eq!(take(&mut phone).await, "cannot wait");
    soon("the ack", phone.flush()).await.expect("a confirmed ack");
    // A session that begins in them knows of them.
    drop(phone);
    let mut phone = gateway.client("ada", "phone").await;
    push(&mut backend, urgent).await;
    assert_eq!(take(&mut phone).await, "cannot wait");
    soon("an answer", people.set_quiet_hours(set(None))).await.expect("an answer");
    assert_eq!(take(&mut phone).await, "can wait");
}

fn id(text: &str) -> MessageId {
    MessageId::parse(text).expect("an id")
}

/// What was taken away, acked.
async fn dismissed(client: &mut Client) -> (MessageId, DismissReason) {
    let pushed = next(client).await;
    let Some(Dismissal { message, reason: Some(reason), .. }) = pushed.dismissal else { panic!("{pushed:?}") };
    pushed.ack();
    (message, reason)
}

/// P4: what the user has seen on one device goes from the others, whether they are online or not.
#[tokio::test(flavor = "multi_thread")]
async fn a_dismissal_reaches_the_other_devices_online_and_offline() {
    let gateway = Gateway::start().await;
    let mut backend = gateway.backend().await;
    let (mut phone, mut laptop) = (gateway.client("ada", "phone").await, gateway.client("ada", "laptop").await);
    let mut tablet = gateway.client("ada", "tablet").await;
    let one = push(&mut backend, to_user("ada", "one")).await;
    assert_eq!(take(&mut phone).await, "one");
    assert_eq!(take(&mut laptop).await, "one");
    assert_eq!(take(&mut tablet).await, "one");
    soon("the ack", tablet.close()).await.expect("a confirmed ack");
    let two = push(&mut backend, to_user("ada", "two")).await;
    assert_eq!(take(&mut phone).await, "two");
    assert_eq!(take(&mut laptop).await, "two");
    let seen = [id(&one), id(&two)];
    assert_eq!(soon("an answer", phone.dismiss(seen)).await.expect("an answer"), 2);
    assert_eq!(soon("an answer", phone.dismiss(seen)).await.expect("an answer"), 0, "again is harmless");
    for message in seen {
        assert_eq!(dismissed(&mut laptop).await, (message, DismissReason::Seen));
    }
    let mut tablet = gateway.client("ada", "tablet").await;
    for message in seen {
        assert_eq!(dismissed(&mut tablet).await, (message, DismissReason::Seen), "and two never came");
    }
    push(&mut backend, to_user("ada", "end")).await;
    for client in [&mut phone, &mut laptop, &mut tablet] {
        assert_eq!(take(client).await, "end", "it is told once, and not where it was seen");
    }
}

/// P4: a message that was sent and not acked is taken back from the device; where it was not sent it never comes.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_cancelled_goes_from_the_device() {
    let gateway = Gateway::start().await;
    let mut backend = gateway.backend().await;
    let mut phone = gateway.client("ada", "phone").await;
    soon("a subscription", phone.subscribe(["news"])).await.expect("a subscription");
    let wrong = push(&mut backend, to_topic("news", "wrong")).await;
    let held = next(&mut phone).await;
    let cancel = pb::CancelRequest { id: wrong.clone(), silently: false };
    soon("an answer", backend.cancel(cancel)).await.expect("an answer");
    assert_eq!(dismissed(&mut phone).await, (id(&wrong), DismissReason::Cancelled));
    held.ack();
    soon("the acks", phone.flush()).await.expect("a late ack is harmless");
}

/// P4: the first device that acks takes what is for any one of them; the others are told.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_ack_takes_what_is_for_any_device() {
    let gateway = Gateway::start().await;
    let mut backend = gateway.backend().await;
    let (mut phone, mut laptop) = (gateway.client("ada", "phone").await, gateway.client("ada", "laptop").await);
    for without_receipts in [false, true] {
        let request = pb::PushRequest { without_receipts, ..to_any_of_user("ada", "call") };
        let call = push(&mut backend, request).await;
        let ringing = next(&mut laptop).await;
        assert_eq!(take(&mut phone).await, "call");
        assert_eq!(dismissed(&mut laptop).await, (id(&call), DismissReason::Taken));
        drop(ringing);
    }
    push(&mut backend, to_user("ada", "end")).await;
    assert_eq!(take(&mut phone).await, "end", "who took it is not told");
}
