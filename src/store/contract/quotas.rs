//! What tenants take and may take. Checks of the store's contract.

use std::time::Duration;

use bytes::Bytes;

use super::mind::wishing;
use super::{
    Place, at, check_usage, group_name, id, inbox, join, keyed, leave, numbers, push, receiver, sweep_all, tenant,
    topic, topic_name, user,
};
use crate::model::id::TopicName;
use crate::model::log::LogId;
use crate::store::{Append, Error, Limits, MembersChange, MessageState, Store, TenantLimits, Usage, Wishes};

/// A push with so many bytes.
fn bytes(log: &LogId, number: u64, count: usize) -> Append {
    Append { body: Bytes::from(vec![b'x'; count]), ..push(log, number) }
}

fn full(what: &'static str, most: u64) -> Error {
    Error::TenantQuota(what, most)
}

async fn usage(store: &dyn Store) -> (u64, u64) {
    let Usage { topics, stored_bytes } = store.usage(&tenant("acme")).await.unwrap();
    (topics, stored_bytes)
}

fn limit(store: &dyn Store, limits: TenantLimits) {
    store.limit(&tenant("acme"), limits);
}

fn topics(names: &[&str]) -> Vec<TopicName> {
    names.iter().map(|name| topic_name(name)).collect()
}

pub(in crate::store) async fn a_tenants_bounds_hold_instead_of_the_stores(place: &dyn Place) {
    let limits = Limits { inbox_entries_max: 3, topic_entries_max: 3, ..Limits::default() };
    let mut store = place.open(limits.clone());
    let other = LogId::Inbox(tenant("other"), user("ann"));
    let (phone, pad) = (receiver("ann", "phone"), receiver("ann", "pad"));
    limit(
        &*store,
        TenantLimits {
            inbox_entries_max: Some(2),
            topic_entries_max: Some(4),
            devices_per_user_max: Some(1),
            subscriptions_per_device_max: Some(1),
            ..TenantLimits::default()
        },
    );
    for number in 1..=2 {
        store.append(push(&inbox("ann"), number)).await.unwrap();
    }
    assert_eq!(store.append(push(&inbox("ann"), 3)).await, Err(Error::LogFull(2)));
    for number in 11..=15 {
        store.append(push(&topic("news"), number)).await.unwrap();
    }
    assert_eq!(numbers(&*store, &topic("news"), at(0)).await, [12, 13, 14, 15], "more than the store's own");
    store.open(&phone, at(0)).await.unwrap();
    assert_eq!(store.open(&pad, at(0)).await, Err(Error::TooManyDevices(1)));
    store.subscribe(&phone, topics(&["news"])).await.unwrap();
    assert_eq!(store.subscribe(&phone, topics(&["sport"])).await, Err(Error::TooManySubscriptions(1)));
    for number in 21..=23 {
        store.append(push(&other, number)).await.unwrap();
    }
    assert_eq!(store.append(push(&other, 24)).await, Err(Error::LogFull(3)), "others have the store's own");
    // In the order of the calls.
    limit(&*store, TenantLimits { inbox_entries_max: Some(4), ..TenantLimits::default() });
    let third = store.append(push(&inbox("ann"), 3));
    limit(&*store, TenantLimits::default());
    assert!(third.await.is_ok());
    assert_eq!(store.append(push(&inbox("ann"), 4)).await, Err(Error::LogFull(3)));
    assert!(store.open(&pad, at(0)).await.is_ok());
    assert!(store.subscribe(&phone, topics(&["sport"])).await.is_ok());
    // Until the store is closed.
    limit(&*store, TenantLimits { devices_per_user_max: Some(2), ..TenantLimits::default() });
    drop(store);
    store = place.open(limits);
    assert!(store.open(&receiver("ann", "watch"), at(0)).await.is_ok());
}

/// Each step changes the count by what it stores and what it lets go, and by nothing else; a restart changes nothing.
pub(in crate::store) async fn stored_bytes_follow_what_is_kept(place: &dyn Place) {
    let limits = Limits { topic_entries_max: 2, ..Limits::default() };
    let (ann, news) = (inbox("ann"), topic("news"));
    let waiting = |number, count, millis| {
        let wishes = Wishes { send_at: Some(at(millis)), ..Wishes::default() };
        Append { expires_at: at(500_000), wishes, ..bytes(&ann, number, count) }
    };
    let collapsing = |number, count| Append { collapse_key: Some("k".to_owned()), ..bytes(&ann, number, count) };
    let replacing = |number, count, old| {
        let wishes = Wishes { replaces: Some(id(old)), ..Wishes::default() };
        Append { wishes, ..bytes(&ann, number, count) }
    };
    let long = |append: Append| Append { expires_at: at(400_000), ..append };
    #[expect(clippy::large_enum_variant, reason = "there are twenty")]
    enum Do {
        Push(Append),
        Cancel(u64),
        Sweep(u64),
        See(u64),
    }
    use Do::{Cancel, Push, See, Sweep};
    let phone = receiver("ann", "phone");
    let steps = [
        (Push(bytes(&ann, 1, 10)), 10, "stored"),
        (Push(keyed("key", 1, bytes(&ann, 2, 7))), 17, "stored with a key"),
        (Push(keyed("key", 1, bytes(&ann, 3, 7))), 17, "a duplicate"),
        (Push(collapsing(4, 5)), 22, "the first with a collapse key"),
        (Push(collapsing(5, 3)), 20, "collapsed"),
        (Push(replacing(6, 4, 1)), 14, "replaced by name"),
        (Cancel(6), 10, "cancelled, with a dismissal that has no body"),
        (Cancel(6), 10, "cancelled again"),
        (See(2), 3, "seen"),
        (Push(bytes(&ann, 7, 0)), 3, "without a body"),
        (Push(waiting(8, 100, 70_000)), 103, "waits for its time"),
        (Push(waiting(9, 50, 80_000)), 153, "waits for its time"),
        (Cancel(9), 103, "cancelled while it waits"),
        (Push(long(bytes(&news, 10, 20))), 123, "in a topic"),
        (Push(long(bytes(&news, 11, 30))), 153, "in a topic"),
        (Push(long(bytes(&news, 12, 40))), 173, "the oldest was trimmed"),
        (Sweep(59_999), 173, "nothing is over"),
        (Sweep(60_000), 170, "all of the inbox expired but what waits"),
        (Sweep(70_000), 170, "it was sent"),
        (Cancel(8), 70, "cancelled after it was sent"),
        (Sweep(400_000), 0, "all is over"),
    ];
    let mut store = place.open(limits.clone());
    store.open(&phone, at(0)).await.unwrap();
    store.leave(&phone, at(0)).await.unwrap();
    let mut now = 0;
    for (step, expected, what) in steps {
        match step {
            Push(append) => drop(store.append(append).await.unwrap()),
            Cancel(number) => drop(store.cancel(&tenant("acme"), id(number), false, at(now)).await.unwrap()),
            See(number) => assert_eq!(store.dismiss(&phone, vec![id(number)], at(now)).await, Ok(1)),
            Sweep(millis) => {
                now = millis;
                sweep_all(&*store, at(now)).await;
            }
        }
        assert_eq!(usage(&*store).await.1, expected, "{what}");
        drop(store);
        store = place.open(limits.clone());
        assert_eq!(usage(&*store).await.1, expected, "{what}, and opened again");
    }
    assert_eq!(usage(&*store).await, (0, 0));
    assert_eq!(store.usage(&tenant("nobody")).await, Ok(Usage::default()));
}

pub(in crate::store) async fn no_tenant_stores_more_than_it_may(place: &dyn Place) {
    let store = place.open(Limits::default());
    let ann = inbox("ann");
    let most = |most| limit(&*store, TenantLimits { stored_bytes_max: Some(most), ..TenantLimits::default() });
    let refused = |most| Err(full("stored bytes", most));
    most(10);
    store.append(keyed("a", 1, bytes(&ann, 1, 6))).await.unwrap();
    assert_eq!(store.append(keyed("b", 1, bytes(&ann, 2, 5))).await, refused(10));
    assert_eq!(store.append(bytes(&topic("news"), 3, 5)).await, refused(10));
    assert_eq!(usage(&*store).await, (0, 6), "a refused push leaves no topic");
    assert!(store.append(keyed("a", 1, bytes(&ann, 4, 6))).await.unwrap().duplicate);
    assert!(!store.append(keyed("b", 1, bytes(&ann, 5, 4))).await.unwrap().duplicate, "and no key");
    assert_eq!(store.append(bytes(&LogId::Inbox(tenant("other"), user("ann")), 6, 99)).await.map(drop), Ok(()));
    // What goes for its sake makes room.
    let replacing = |number, count, old| {
        let wishes = Wishes { replaces: Some(id(old)), ..Wishes::default() };
        store.append(Append { wishes, ..bytes(&ann, number, count) })
    };
    assert_eq!(replacing(7, 5, 5).await, refused(10));
    assert_eq!(numbers(&*store, &ann, at(0)).await, [1, 5], "what could not be replaced stands");
    replacing(8, 4, 5).await.unwrap();
    // What is too much stays, and may only become less.
    most(3);
    assert_eq!(store.append(bytes(&ann, 9, 1)).await, refused(3));
    replacing(10, 6, 1).await.unwrap();
    assert_eq!(replacing(11, 7, 10).await, refused(3));
    store.append(bytes(&ann, 12, 0)).await.unwrap();
    // Until it is swept, what is over takes room.
    most(10);
    let late = |number, count| Append { now: at(60_000), expires_at: at(90_000), ..bytes(&ann, number, count) };
    assert_eq!(store.append(late(13, 1)).await, refused(10));
    sweep_all(&*store, at(60_000)).await;
    store.append(late(14, 8)).await.unwrap();
    // What waits for its time takes its room at once, and is sent although there is no more.
    let wishes = Wishes { send_at: Some(at(70_000)), ..Wishes::default() };
    let waiting = |number, count| store.append(Append { wishes: wishes.clone(), ..late(number, count) });
    assert_eq!(waiting(15, 3).await, refused(10));
    waiting(16, 2).await.unwrap();
    most(1);
    sweep_all(&*store, at(70_000)).await;
    assert_eq!(numbers(&*store, &ann, at(70_000)).await, [14, 16]);
    check_usage(&*store, &tenant("acme"), &[ann, topic("news")], 0).await;
}

pub(in crate::store) async fn topics_are_counted_while_something_holds_them(place: &dyn Place) {
    let mut store = place.open(Limits::default());
    let (phone, pad) = (receiver("ann", "phone"), receiver("bob", "pad"));
    store.open(&phone, at(0)).await.unwrap();
    store.open(&pad, at(0)).await.unwrap();
    let news = topics(&["news"]);
    macro_rules! count {
        ($expected:expr, $what:expr) => {
            assert_eq!(usage(&*store).await.0, $expected, $what);
            drop(store);
            store = place.open(Limits::default());
            assert_eq!(usage(&*store).await.0, $expected, "{}, and opened again", $what);
        };
    }
    count!(0, "devices have no topics");
    store.append(push(&topic("news"), 1)).await.unwrap();
    count!(1, "pushed to");
    store.subscribe(&phone, topics(&["news", "sport"])).await.unwrap();
    store.subscribe(&pad, news.clone()).await.unwrap();
    count!(2, "followed");
    sweep_all(&*store, at(60_000)).await;
    count!(2, "followed and empty");
    store.unsubscribe(&phone, topics(&["news", "sport"])).await.unwrap();
    count!(1, "one is followed by another");
    store.set_topic(&tenant("acme"), &news[0], true).await.unwrap();
    store.set_topic(&tenant("acme"), &news[0], true).await.unwrap();
    store.set_topic(&tenant("acme"), &topic_name("chess"), true).await.unwrap();
    count!(2, "set");
    store.unsubscribe(&pad, news.clone()).await.unwrap();
    count!(2, "set and followed by nobody");
    store.append(push(&topic("chess"), 2)).await.unwrap();
    store.set_topic(&tenant("acme"), &topic_name("chess"), false).await.unwrap();
    count!(2, "pushed to and not set any more");
    store.set_topic(&tenant("acme"), &news[0], false).await.unwrap();
    store.set_topic(&tenant("acme"), &news[0], false).await.unwrap();
    sweep_all(&*store, at(120_000)).await;
    count!(0, "nothing holds any");
    join(&*store, "staff", &["ann", "eve"], at(0)).await;
    join(&*store, "crew", &["ann"], at(0)).await;
    count!(2, "groups hold theirs");
    leave(&*store, "staff", &["ann", "eve"], at(0)).await;
    count!(2, "groups without members too");
    store.remove_group(&tenant("acme"), &group_name("staff")).await.unwrap();
    count!(1, "until they are removed");
    // All that is left holds it by a device that is forgotten.
    store.subscribe(&phone, topics(&["sport", "chess"])).await.unwrap();
    store.forget(&phone, at(120_000)).await.unwrap();
    count!(1, "a device is forgotten");
}

pub(in crate::store) async fn no_tenant_has_more_topics_than_it_may(place: &dyn Place) {
    let store = place.open(Limits::default());
    let acme = tenant("acme");
    let phone = receiver("ann", "phone");
    store.open(&phone, at(0)).await.unwrap();
    limit(&*store, TenantLimits { topics_max: Some(2), ..TenantLimits::default() });
    let refused = || full("topics", 2);
    store.append(push(&topic("one"), 1)).await.unwrap();
    assert_eq!(store.subscribe(&phone, topics(&["one", "two", "three"])).await, Err(refused()));
    assert_eq!(usage(&*store).await.0, 1, "refused as a whole");
    store.subscribe(&phone, topics(&["one", "two", "two"])).await.unwrap();
    // Each way to make one more, and each to use those that there are.
    assert_eq!(store.append(push(&topic("three"), 2)).await, Err(refused()));
    store.append(push(&topic("two"), 3)).await.unwrap();
    assert_eq!(store.subscribe(&phone, topics(&["three"])).await, Err(refused()));
    store.subscribe(&phone, topics(&["one"])).await.unwrap();
    assert_eq!(store.set_topic(&acme, &topic_name("three"), true).await, Err(refused()));
    assert_eq!(store.set_topic(&acme, &topic_name("three"), false).await, Ok(()));
    store.set_topic(&acme, &topic_name("two"), true).await.unwrap();
    let group = |name, of: &[&str]| store.create_group(&acme, group_name(name), topics(of), at(0));
    assert_eq!(group("g", &["one", "three"]).await.map(drop), Err(refused()));
    group("old", &["one", "two"]).await.unwrap();
    let change = |name, of: &[&str]| {
        let (add, remove, arises) = (vec![user("ann")], Vec::new(), topics(of));
        store.change_members(&acme, MembersChange { group: group_name(name), add, remove, arises }, at(0))
    };
    assert_eq!(change("g", &["three"]).await, Err(refused()));
    change("old", &["three"]).await.unwrap();
    let set = |groups: &[(&str, &[&str])], version| {
        let groups = groups.iter().map(|(name, of)| (group_name(name), topics(of))).collect();
        store.set_groups(&acme, &user("eve"), groups, version, at(0))
    };
    assert_eq!(set(&[("old", &[]), ("g", &["two"]), ("h", &["three"])], 1).await, Err(refused()));
    assert_eq!(store.user(&acme, &user("eve")).await.unwrap().version, 0);
    set(&[("old", &["three"]), ("g", &["two"])], 1).await.unwrap();
    assert_eq!(store.group(&acme, &group_name("h")).await, Ok(None));
    assert_eq!(usage(&*store).await.0, 2);
    // Other tenants, and inboxes, have nothing to do with it.
    store.append(push(&LogId::Topic(tenant("other"), topic_name("three")), 4)).await.unwrap();
    store.append(push(&inbox("ann"), 5)).await.unwrap();
    // One that waits for its time waits for a place as well.
    let wishes = Wishes { send_at: Some(at(5)), ..Wishes::default() };
    store.append(wishing(&topic("three"), 6, wishes)).await.unwrap();
    sweep_all(&*store, at(5)).await;
    let state = async || store.message(&acme, id(6), at(5)).await.unwrap().unwrap().state;
    assert_eq!((state().await, usage(&*store).await.0), (MessageState::Scheduled, 2));
    limit(&*store, TenantLimits { topics_max: Some(3), ..TenantLimits::default() });
    sweep_all(&*store, at(15_000)).await;
    assert_eq!((state().await, usage(&*store).await.0), (MessageState::Stored, 3));
    let logs = [topic("one"), topic("two"), topic("three"), inbox("ann")];
    check_usage(&*store, &acme, &logs, 0).await;
}

/// What went while the clock was ahead does not go a second time.
pub(in crate::store) async fn a_clock_that_goes_back_counts_nothing_twice(place: &dyn Place) {
    let store = place.open(Limits::default());
    let log = inbox("ann");
    for (number, without_receipts) in [(1, true), (2, false)] {
        let wishes = Wishes { without_receipts, ..Wishes::default() };
        store.append(Append { wishes, ..bytes(&log, number, 10) }).await.unwrap();
        let wishes = Wishes { without_receipts, send_at: Some(at(30_000)), ..Wishes::default() };
        store.append(Append { wishes, ..bytes(&log, number + 10, 10) }).await.unwrap();
    }
    sweep_all(&*store, at(60_000)).await;
    store.append(Append { expires_at: at(90_000), ..bytes(&log, 3, 5) }).await.unwrap();
    for number in [1, 2, 11, 12] {
        let cancelled = store.cancel(&tenant("acme"), id(number), true, at(0)).await;
        assert_eq!(cancelled, Ok((MessageState::Expired, false)), "message {number}");
    }
    let wishes = Wishes { replaces: Some(id(1)), ..Wishes::default() };
    assert!(matches!(store.append(wishing(&log, 4, wishes)).await, Err(Error::NotReplaceable(_))));
    check_usage(&*store, &tenant("acme"), std::slice::from_ref(&log), 0).await;
    assert_eq!(usage(&*store).await, (0, 5));
    sweep_all(&*store, at(90_000)).await;
    assert_eq!(usage(&*store).await, (0, 0));
}

/// Viewers have an inbox and a subscription while they watch.
pub(in crate::store) async fn viewers_that_come_and_go_take_nothing(place: &dyn Place) {
    let store = place.open(Limits::default());
    for number in 0..300 {
        let viewer = receiver("_share", &format!("viewer{number}"));
        store.open(&viewer, at(number)).await.unwrap();
        store.subscribe(&viewer, topics(&["match"])).await.unwrap();
        store.append(push(&topic("match"), number)).await.unwrap();
        store.leave(&viewer, at(number)).await.unwrap();
        store.forget(&viewer, at(number)).await.unwrap();
    }
    let later = at(0) + Duration::from_secs(86_400 + 120);
    let (expired, _) = sweep_all(&*store, later).await;
    assert_eq!((expired, usage(&*store).await), (300, (0, 0)));
    assert_eq!(store.user(&tenant("acme"), &user("_share")).await.unwrap().devices, []);
}
