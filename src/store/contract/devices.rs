//! Devices: cursors, subscriptions, absence. Checks of the store's contract.

use std::time::Duration;

use super::{Place, at, cursor_with, id, inbox, minutes, push, receiver, settle, sweep_all, tenant, topic, topic_name};
use crate::model::clock::Timestamp;
use crate::model::cursor::Cursor;
use crate::model::log::{Epoch, Head, LogId, Offset};
use crate::model::presence;
use crate::store::{Append, DeviceState, Error, Event, Following, Journal, Limits, Store};

async fn cursor_of(store: &dyn Store, user: &str, device: &str, log: &LogId) -> Cursor {
    let opened = store.open(&receiver(user, device), at(0)).await.unwrap();
    assert!(!opened.new);
    opened.follows.following.into_iter().find(|following| following.log == *log).unwrap().cursor
}

fn spans(cursor: &Cursor) -> Vec<(u64, u64)> {
    cursor.settled.iter().collect()
}

pub(in crate::store) async fn a_new_device_begins_before_the_first_entry(place: &dyn Place) {
    let store = place.open(Limits::default());
    let log = inbox("ann");
    store.append(push(&log, 1)).await.unwrap();
    let first = store.append(push(&log, 2)).await.unwrap();
    let opened = store.open(&receiver("ann", "phone"), at(1)).await.unwrap();
    let head = store.heads(vec![log.clone()]).await.unwrap()[0];
    assert_eq!((head.epoch, head.last), (first.epoch, Offset(2)));
    let cursor = Cursor { epoch: head.epoch, ..Cursor::default() };
    let broadcast = opened.follows.following[1].clone();
    assert_eq!((broadcast.log, broadcast.head.last), (LogId::Broadcast(tenant("acme")), Offset::ZERO));
    let inbox_first = Following { log, cursor, head };
    assert_eq!((opened.new, &opened.follows.following[..1]), (true, [inbox_first].as_slice()));
    // A user without any message: the log's life is fixed from now on.
    let opened = store.open(&receiver("bob", "phone"), at(1)).await.unwrap();
    let appended = store.append(push(&inbox("bob"), 3)).await.unwrap();
    assert_eq!(opened.follows.following[0].head.epoch, appended.epoch);
    assert_eq!((opened.follows.following[0].cursor.epoch, appended.offset), (appended.epoch, Offset(1)));
    assert!(!store.open(&receiver("bob", "phone"), at(2)).await.unwrap().new);
}

pub(in crate::store) async fn a_device_too_many_is_refused(place: &dyn Place) {
    let store = place.open(Limits { devices_per_user_max: 2, ..Limits::default() });
    for name in ["a", "b", "a", "b"] {
        store.open(&receiver("ann", name), at(0)).await.unwrap();
    }
    for _ in 0..2 {
        assert_eq!(store.open(&receiver("ann", "c"), at(0)).await, Err(Error::TooManyDevices(2)));
    }
    let leave = store.leave(&receiver("ann", "c"), at(0)).await;
    assert_eq!(leave, Ok(()), "leaving is harmless for a device that is not known");
    store.open(&receiver("bob", "c"), at(0)).await.unwrap();
    let unknown = store.subscribe(&receiver("ann", "c"), vec![topic_name("news")]).await;
    assert_eq!(unknown, Err(Error::UnknownDevice), "nothing is written of a refused device");
}

pub(in crate::store) async fn two_devices_have_cursors_of_their_own(place: &dyn Place) {
    let store = place.open(Limits::default());
    let log = inbox("ann");
    let (phone, pad) = (receiver("ann", "phone"), receiver("ann", "pad"));
    store.open(&phone, at(0)).await.unwrap();
    store.open(&pad, at(0)).await.unwrap();
    let appended = store.append(push(&log, 1)).await.unwrap();
    settle(&*store, &phone, &log, cursor_with(appended, &[(1, 1)])).await.unwrap();
    assert_eq!(spans(&cursor_of(&*store, "ann", "phone", &log).await), [(1, 1)]);
    assert_eq!(spans(&cursor_of(&*store, "ann", "pad", &log).await), []);
    // The same names under another user and another tenant.
    let mut other = phone.clone();
    other.tenant = tenant("acme2");
    assert!(store.open(&other, at(0)).await.unwrap().new);
    assert!(store.open(&receiver("anna", "phone"), at(0)).await.unwrap().new);
}

pub(in crate::store) async fn older_and_newer_cursors_merge(place: &dyn Place) {
    let store = place.open(Limits::default());
    let (log, phone) = (inbox("ann"), receiver("ann", "phone"));
    store.open(&phone, at(0)).await.unwrap();
    let appended = store.append(push(&log, 1)).await.unwrap();
    let mut newer = cursor_with(appended, &[(1, 3), (7, 8)]);
    newer.attempts.insert(Offset(5), 2);
    newer.attempts.insert(Offset(6), 1);
    let mut older = cursor_with(appended, &[(1, 2), (5, 5)]);
    older.attempts.insert(Offset(6), 4);
    for cursor in [newer, older.clone(), older] {
        settle(&*store, &phone, &log, cursor).await.unwrap();
    }
    let merged = cursor_of(&*store, "ann", "phone", &log).await;
    assert_eq!(spans(&merged), [(1, 3), (5, 5), (7, 8)]);
    assert_eq!(merged.attempts.into_iter().collect::<Vec<_>>(), [(Offset(6), 4)]);
}

pub(in crate::store) async fn void_cursors_are_ignored(place: &dyn Place) {
    let store = place.open(Limits::default());
    let (log, phone) = (inbox("ann"), receiver("ann", "phone"));
    store.open(&phone, at(0)).await.unwrap();
    let appended = store.append(push(&log, 1)).await.unwrap();
    let mut stale = cursor_with(appended, &[(1, 9)]);
    stale.epoch = Epoch(appended.epoch.0 ^ 1);
    settle(&*store, &phone, &log, stale).await.unwrap();
    assert_eq!(spans(&cursor_of(&*store, "ann", "phone", &log).await), []);
    // A topic that is not followed, and a device that never came.
    let news = store.append(push(&topic("news"), 2)).await.unwrap();
    settle(&*store, &phone, &topic("news"), cursor_with(news, &[(1, 1)])).await.unwrap();
    let opened = store.open(&phone, at(0)).await.unwrap();
    assert_eq!(opened.follows.following.len(), 2, "the inbox and the broadcast log");
    settle(&*store, &receiver("bob", "phone"), &log, cursor_with(appended, &[(1, 1)])).await.unwrap();
    assert!(store.open(&receiver("bob", "phone"), at(0)).await.unwrap().new);
}

pub(in crate::store) async fn a_topic_is_followed_from_its_head(place: &dyn Place) {
    let store = place.open(Limits::default());
    let phone = receiver("ann", "phone");
    store.open(&phone, at(0)).await.unwrap();
    for number in 1..=3 {
        store.append(push(&topic("news"), number)).await.unwrap();
    }
    let topics = vec![topic_name("news"), topic_name("new"), topic_name("news")];
    let (following, count) = store.subscribe(&phone, topics).await.unwrap();
    assert_eq!(count, 2, "a topic named twice counts once");
    let logs: Vec<_> = following.iter().map(|following| following.log.clone()).collect();
    assert_eq!(logs, [topic("news"), topic("new")]);
    assert_eq!(spans(&following[0].cursor), [(1, 3)]);
    assert_eq!(following[0].head.last, Offset(3));
    assert_eq!(spans(&following[1].cursor), []);
    let appended = store.append(push(&topic("new"), 9)).await.unwrap();
    assert_eq!((appended.epoch, appended.offset), (following[1].head.epoch, Offset(1)));
    let opened = store.open(&phone, at(1)).await.unwrap();
    assert_eq!(opened.follows.following[0].log, inbox("ann"), "the inbox comes first");
    assert_eq!(opened.follows.following.len(), 4);
}

pub(in crate::store) async fn subscribing_again_changes_nothing(place: &dyn Place) {
    let store = place.open(Limits::default());
    let phone = receiver("ann", "phone");
    store.open(&phone, at(0)).await.unwrap();
    let (first, _) = store.subscribe(&phone, vec![topic_name("news")]).await.unwrap();
    store.append(push(&topic("news"), 1)).await.unwrap();
    let (again, count) = store.subscribe(&phone, vec![topic_name("news")]).await.unwrap();
    assert_eq!((again[0].cursor.clone(), count), (first[0].cursor.clone(), 1));
    assert_eq!(again[0].head.last, Offset(1));
    let both = vec![topic_name("news"), topic_name("none"), topic_name("news")];
    assert_eq!(store.unsubscribe(&phone, both.clone()).await, Ok(0));
    assert_eq!(store.unsubscribe(&phone, both).await, Ok(0));
    let (anew, _) = store.subscribe(&phone, vec![topic_name("news")]).await.unwrap();
    assert_eq!(spans(&anew[0].cursor), [(1, 1)], "who comes back begins at the head");
}

pub(in crate::store) async fn subscriptions_have_a_limit(place: &dyn Place) {
    let store = place.open(Limits { subscriptions_per_device_max: 2, ..Limits::default() });
    let phone = receiver("ann", "phone");
    store.open(&phone, at(0)).await.unwrap();
    let names = |names: &[&str]| names.iter().map(|name| topic_name(name)).collect::<Vec<_>>();
    store.subscribe(&phone, names(&["a"])).await.unwrap();
    let refused = store.subscribe(&phone, names(&["b", "c"])).await;
    assert_eq!(refused, Err(Error::TooManySubscriptions(2)));
    assert_eq!(store.open(&phone, at(0)).await.unwrap().follows.following.len(), 3, "none was added");
    assert_eq!(store.heads(vec![topic("b")]).await.unwrap()[0].epoch, Epoch::default(), "nothing was written");
    assert_eq!(store.subscribe(&phone, names(&["a", "b", "b"])).await.unwrap().1, 2);
    assert_eq!(store.unsubscribe(&phone, names(&["a"])).await, Ok(1));
    assert_eq!(store.subscribe(&phone, names(&["c"])).await.unwrap().1, 2);
}

pub(in crate::store) async fn unknown_devices_cannot_subscribe(place: &dyn Place) {
    let store = place.open(Limits::default());
    let phone = receiver("ann", "phone");
    assert_eq!(store.subscribe(&phone, vec![topic_name("news")]).await, Err(Error::UnknownDevice));
    assert_eq!(store.unsubscribe(&phone, vec![topic_name("news")]).await, Err(Error::UnknownDevice));
}

pub(in crate::store) async fn absent_devices_are_forgotten(place: &dyn Place) {
    let limits = Limits { device_absence_max: minutes(10), devices_per_user_max: 1, ..Limits::default() };
    let store = place.open(limits);
    let phone = receiver("ann", "phone");
    store.open(&phone, at(0)).await.unwrap();
    store.subscribe(&phone, vec![topic_name("news")]).await.unwrap();
    store.leave(&phone, at(0) + minutes(3)).await.unwrap();
    let just_before = at(0) + minutes(13) - Duration::from_millis(1);
    assert_eq!(sweep_all(&*store, just_before).await, (0, 0));
    assert!(sweep_all(&*store, at(0) + minutes(13)).await.1 >= 1);
    assert_eq!(store.subscribe(&phone, Vec::new()).await, Err(Error::UnknownDevice));
    store.open(&receiver("ann", "pad"), at(0) + minutes(13)).await.expect("the place is free again");
    let opened = store.open(&phone, at(0) + minutes(13)).await;
    assert_eq!(opened, Err(Error::TooManyDevices(1)), "who comes back is new, and there is no place left");
}

pub(in crate::store) async fn open_devices_are_not_absent(place: &dyn Place) {
    let limits = Limits { device_absence_max: minutes(10), ..Limits::default() };
    let store = place.open(limits.clone());
    let phone = receiver("ann", "phone");
    store.open(&phone, at(0)).await.unwrap();
    store.open(&phone, at(0)).await.unwrap();
    store.leave(&phone, at(0)).await.unwrap();
    let sweep_at = |minute: u64| at(0) + minutes(minute);
    for minute in (1..40).step_by(3) {
        assert_eq!(sweep_all(&*store, sweep_at(minute)).await, (0, 0), "it is open once more than it left");
    }
    drop(store);
    // After a crash it is not open any more, but it was seen while it was.
    let store = place.open(limits);
    assert_eq!(sweep_all(&*store, sweep_at(41)).await, (0, 0));
    assert!(sweep_all(&*store, sweep_at(60)).await.1 >= 1);
    let opened = store.open(&phone, Timestamp::ZERO).await.unwrap();
    assert!(opened.new);
}

pub(in crate::store) async fn cursors_and_subscriptions_survive_reopening(place: &dyn Place) {
    let (log, phone) = (topic("news"), receiver("ann", "phone"));
    let store = place.open(Limits::default());
    store.open(&phone, at(0)).await.unwrap();
    store.subscribe(&phone, vec![topic_name("news")]).await.unwrap();
    let appended = store.append(Append { expires_at: at(9), ..push(&log, 1) }).await.unwrap();
    settle(&*store, &phone, &log, cursor_with(appended, &[(1, 1)])).await.unwrap();
    settle(&*store, &phone, &inbox("ann"), Cursor::default()).await.unwrap();
    let before = store.open(&phone, at(1)).await.unwrap();
    drop(store);
    let store = place.open(Limits::default());
    assert_eq!(store.open(&phone, at(2)).await.unwrap(), before);
    let message = store.message(&tenant("acme"), id(1), at(2)).await.unwrap().unwrap();
    assert_eq!(
        message.devices.iter().filter(|line| line.state == DeviceState::Acked { at: None }).count(),
        0,
        "it is a topic"
    );
}

pub(in crate::store) async fn a_device_is_forgotten_at_once(place: &dyn Place) {
    let limits = Limits { inbox_entries_max: 1, ..Limits::default() };
    let store = place.open(limits.clone());
    let (phone, pad, log) = (receiver("ann", "phone"), receiver("ann", "pad"), inbox("ann"));
    for device in [&phone, &pad] {
        store.open(device, at(0)).await.unwrap();
    }
    store.subscribe(&phone, vec![topic_name("news")]).await.unwrap();
    let long = |number| Append { expires_at: at(0) + minutes(99), ..push(&log, number) };
    let first = store.append(long(1)).await.unwrap();
    settle(&*store, &pad, &log, cursor_with(first, &[(1, 1)])).await.unwrap();
    // One that is open stays, however often it was opened.
    store.open(&phone, at(1)).await.unwrap();
    for _ in 0..2 {
        store.forget(&phone, at(1)).await.unwrap();
        assert_eq!(store.append(long(2)).await, Err(Error::LogFull(1)), "it waits for its entry");
        store.leave(&phone, at(1)).await.unwrap();
    }
    let flushes = store.health().flushes;
    // In the order of the calls.
    let (gone, second) = (store.forget(&phone, at(2)), store.append(long(2)));
    assert_eq!(gone.await, Ok(()));
    assert!(second.await.is_ok(), "nobody waits for the first any more");
    assert!(store.health().flushes > flushes);
    for unknown in [&phone, &receiver("nobody", "phone")] {
        assert_eq!(store.forget(unknown, at(3)).await, Ok(()));
    }
    let events = store.journal(&tenant("acme"), Journal::Presence, 0, 9).await.unwrap().events;
    let expired = presence::Event {
        at: at(2),
        device: Some((phone.user.clone(), phone.device.clone())),
        what: presence::What::SessionExpired,
    };
    assert_eq!(events, [(1, Event::Presence(expired))], "told once");
    drop(store);

    let store = place.open(limits);
    assert_eq!(store.follows(&phone).await, Err(Error::UnknownDevice));
    assert_eq!(store.heads(vec![topic("news")]).await, Ok(vec![Head::default()]), "what it alone followed is gone");
    let known = store.user(&tenant("acme"), &phone.user).await.unwrap().devices;
    assert_eq!(known.into_iter().map(|device| device.device).collect::<Vec<_>>(), [pad.device]);
    assert!(store.open(&phone, at(4)).await.unwrap().new);
    // What was to be done with the former one is not done to this one.
    let absence = Limits::default().device_absence_max;
    store.leave(&phone, at(0) + absence / 4 * 3).await.unwrap();
    sweep_all(&*store, at(0) + absence).await;
    assert!(!store.open(&phone, at(0) + absence).await.unwrap().new);
}
