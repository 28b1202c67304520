//! Pushes from a backend to devices, end to end: real TLS, real sockets, a real store.

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use pushline::client::{Error, Phase};
use pushline::model::frame::ResumeOutcome;
use pushline::wire::pb;
use support::{Gateway, next, push, soon, text, to_device, to_topic, to_user};

/// P1.3, P1.4, P1.5: pushes come on the push stream, acks go on short streams, and after the confirmation a push never
/// comes again. Two devices of one user have a cursor each: an ack of one does not swallow the other's copy.
#[tokio::test(flavor = "multi_thread")]
async fn p1_3_two_devices_each_get_their_copy_exactly_once() {
    let gateway = Gateway::start().await;
    let mut backend = gateway.backend().await;
    let (mut phone, mut laptop) = (gateway.client("ada", "phone").await, gateway.client("ada", "laptop").await);
    for n in 0..20 {
        push(&mut backend, to_user("ada", format!("{n}"))).await;
    }
    for n in 0..20 {
        let pushed = next(&mut phone).await;
        assert_eq!((text(&pushed), pushed.attempt), (format!("{n}"), 1));
        pushed.ack();
    }
    soon("the acks", phone.flush()).await.expect("confirmed acks");
    for n in 0..10 {
        let pushed = next(&mut laptop).await;
        assert_eq!(text(&pushed), format!("{n}"));
        pushed.ack();
    }
    soon("the acks", laptop.flush()).await.expect("confirmed acks");
    drop((phone, laptop));

    let id = push(&mut backend, to_user("ada", "last")).await;
    let (mut phone, mut laptop) = (gateway.client("ada", "phone").await, gateway.client("ada", "laptop").await);
    assert_eq!(text(&next(&mut phone).await), "last");
    for n in 10..20 {
        assert_eq!(text(&next(&mut laptop).await), format!("{n}"));
    }
    let last = next(&mut laptop).await;
    assert_eq!(text(&last), "last");
    last.ack();
    soon("the ack", laptop.flush()).await.expect("a confirmed ack");

    let known = backend.get_message(pb::GetMessageRequest { id }).await.expect("a known message").into_inner();
    assert_eq!(known.state(), pb::get_message_response::State::Stored);
    let states: Vec<_> = known.devices.iter().map(|outcome| (outcome.device.as_str(), outcome.state())).collect();
    let (acked, waiting) = (pb::device_outcome::State::Acked, pb::device_outcome::State::Waiting);
    assert_eq!(states, [("laptop", acked), ("phone", waiting)]);
}

/// P5.8: what was pushed while a device was away is stored and comes when it is back: all of it, in order, and nothing
/// else. A topic begins at the subscription, an inbox at its first message.
#[tokio::test(flavor = "multi_thread")]
async fn p5_8_an_offline_device_gets_exactly_what_it_missed() {
    let mut gateway = Gateway::start().await;
    let mut backend = gateway.backend().await;
    push(&mut backend, to_topic("news", "before the subscription")).await;
    push(&mut backend, to_user("ada", "before the first visit")).await;
    push(&mut backend, to_device("ada", "laptop", "not for the phone")).await;

    let mut phone = gateway.client("ada", "phone").await;
    soon("a subscription", phone.subscribe(["news"])).await.expect("a subscription");
    let first = next(&mut phone).await;
    assert_eq!(text(&first), "before the first visit");
    first.ack();
    soon("the end", phone.close()).await.expect("a clean end");

    let mut expected = BTreeSet::new();
    for n in 0..150 {
        let request = match n % 3 {
            0 => to_user("ada", format!("{n}")),
            1 => to_device("ada", "phone", format!("{n}")),
            _ => to_topic("news", format!("{n}")),
        };
        push(&mut backend, request).await;
        push(&mut backend, to_user("eve", "somebody else's")).await;
        expected.insert(format!("{n}"));
    }
    gateway.restart().await;
    let mut phone = gateway.client("ada", "phone").await;
    let Phase::Connected(session) = phone.status().borrow().phase.clone() else { panic!("it is connected") };
    assert_eq!(session.resume.outcome, ResumeOutcome::Resumed);
    assert_eq!((session.resume.waiting, session.resume.missed), (150, 0));
    let (mut inbox, mut topic) = (-1, -1);
    for _ in 0..150 {
        let pushed = next(&mut phone).await;
        let payload = text(&pushed);
        let number: i64 = payload.parse().expect("a number");
        let newest = if number % 3 == 2 { &mut topic } else { &mut inbox };
        assert!(number > *newest, "{number} came after {newest} of the same log");
        *newest = number;
        assert!(expected.remove(&payload), "{payload} came twice");
        pushed.ack();
    }
    soon("the acks", phone.flush()).await.expect("confirmed acks");
    let mut backend = gateway.backend().await;
    push(&mut backend, to_user("ada", "end")).await;
    assert_eq!(text(&next(&mut phone).await), "end", "nothing else was left");
}

/// A newer connection of a device takes over; the older one is told why and does not come back by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_newer_connection_takes_over() {
    let gateway = Gateway::start().await;
    let mut backend = gateway.backend().await;
    let mut older = gateway.client("ada", "phone").await;
    push(&mut backend, to_user("ada", "1")).await;
    let held = next(&mut older).await;
    let mut newer = gateway.client("ada", "phone").await;
    let told = soon("the word of the takeover", older.next()).await.expect("a last word").expect_err("not a push");
    assert!(matches!(&told, Error::Closed { name, .. } if name == "taken_over"), "{told:?}");
    assert!(older.next().await.is_none());
    let id = held.id;
    held.ack();
    let again = next(&mut newer).await;
    assert_eq!((text(&again), again.id), ("1".to_owned(), id), "what was not acked comes on the newer one");
}

/// P1.16: why a push failed can be known. A nack brings it back after a pause with the same id, a reject or the cap of
/// attempts ends in a dead letter that the backend sees; nothing behind it is held up.
#[tokio::test(flavor = "multi_thread")]
async fn p1_16_nacks_come_again_and_end_as_dead_letters() {
    let gateway = Gateway::start_with(|config| {
        config.session.attempts_max = 3;
        config.session.retry_pause_first = Duration::from_millis(1);
    })
    .await;
    let mut backend = gateway.backend().await;
    let mut phone = gateway.client("ada", "phone").await;
    let poison = push(&mut backend, to_user("ada", "poison")).await;
    let spam = push(&mut backend, to_user("ada", "spam")).await;
    let good = push(&mut backend, to_user("ada", "good")).await;
    let (mut attempts, mut settled) = (Vec::new(), 0);
    while settled < 3 {
        let pushed = next(&mut phone).await;
        match text(&pushed).as_str() {
            "poison" => {
                assert_eq!(pushed.id.to_string(), poison);
                attempts.push(pushed.attempt);
                settled += u32::from(pushed.attempt == 3);
                pushed.nack("it tastes bad");
            }
            "spam" => {
                settled += 1;
                pushed.reject("spam");
            }
            _ => {
                settled += 1;
                pushed.ack();
            }
        }
    }
    assert_eq!(attempts, [1, 2, 3]);
    soon("the acks", phone.flush()).await.expect("confirmed acks");
    for (id, state, attempts, reason) in [
        (poison, pb::device_outcome::State::Dead, 3, "it tastes bad"),
        (spam, pb::device_outcome::State::Dead, 1, "spam"),
        (good, pb::device_outcome::State::Acked, 0, ""),
    ] {
        let known = backend.get_message(pb::GetMessageRequest { id }).await.expect("a known message").into_inner();
        let [outcome] = &known.devices[..] else { panic!("one device: {known:?}") };
        assert_eq!((outcome.state(), outcome.attempts, outcome.reason.as_str()), (state, attempts, reason));
    }
}

/// A push that is on the wire and not acked in time comes again in the same session, and counts as an attempt.
#[tokio::test(flavor = "multi_thread")]
async fn an_ack_that_does_not_come_brings_the_push_again() {
    let gateway = Gateway::start_with(|config| {
        config.session.ack_timeout = Duration::from_secs(1);
        config.session.retry_pause_first = Duration::from_millis(1);
        config.session.attempts_max = 2;
    })
    .await;
    let mut backend = gateway.backend().await;
    let mut phone = gateway.client("ada", "phone").await;
    let id = push(&mut backend, to_user("ada", "1")).await;
    let forgotten = next(&mut phone).await;
    drop(forgotten);
    let again = next(&mut phone).await;
    assert_eq!((again.attempt, again.id.to_string()), (2, id.clone()));
    drop(again);
    // The cap is reached: the message is dead, which GetMessage shows.
    let dead = async {
        loop {
            let known = backend.get_message(pb::GetMessageRequest { id: id.clone() }).await.expect("a message");
            let outcome = known.into_inner().devices.remove(0);
            if outcome.state() == pb::device_outcome::State::Dead {
                return outcome.reason;
            }
            tokio::task::yield_now().await;
        }
    };
    assert_eq!(soon("the dead letter", dead).await, "ack_timeout");
}
