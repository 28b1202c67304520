//! Logs: order, pages, expiry, collapse, limits, and what survives. Checks of the store's contract.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{
    Place, at, cursor_with, device, id, inbox, is_failed, numbers, push, read_all, receiver, settle, sweep_all, tenant,
    topic, topic_name,
};
use crate::model::clock::Timestamp;
use crate::model::id::UserId;
use crate::model::log::{Head, LogId, Offset};
use crate::model::message::{Durability, Urgency};
use crate::store::{Append, Error, Limits, Store};

pub(in crate::store) async fn offsets_follow_the_order_of_the_calls(place: &dyn Place) {
    let store = place.open(Limits::default());
    let log = inbox("ann");
    let answers: Vec<_> = (1..=50).map(|number| store.append(push(&log, number))).collect();
    let mut epoch = None;
    // Awaited backwards: the calls made the order.
    for (number, answer) in answers.into_iter().enumerate().rev() {
        let appended = answer.await.unwrap();
        assert_eq!(appended.offset, Offset(number as u64 + 1));
        assert_eq!(*epoch.get_or_insert(appended.epoch), appended.epoch);
        assert_eq!((appended.accepted_at, appended.expires_at), (at(0), at(60_000)));
        assert!(!appended.duplicate);
    }
    assert_eq!(numbers(&*store, &log, at(1)).await, (1..=50).collect::<Vec<_>>());
    let other = store.append(push(&topic("news"), 99)).await.unwrap();
    assert_eq!(other.offset, Offset(1));
    assert_ne!(Some(other.epoch), epoch, "each log has an epoch of its own");
    let heads = store.heads(vec![topic("news"), inbox("none"), log]).await.unwrap();
    assert_eq!(heads.iter().map(|head| head.last.0).collect::<Vec<_>>(), [1, 0, 50]);
    assert_eq!(heads[0].epoch, other.epoch);
}

pub(in crate::store) async fn an_absent_log_reads_as_empty(place: &dyn Place) {
    let store = place.open(Limits::default());
    let page = store.read(&inbox("ann"), Offset(7), 10, 10, at(0)).await.unwrap();
    assert_eq!((page.entries.len(), page.looked, page.head), (0, Offset::ZERO, Head::default()));
}

pub(in crate::store) async fn pages_keep_their_bounds(place: &dyn Place) {
    let store = place.open(Limits::default());
    let log = inbox("ann");
    for number in 1..=10 {
        let expires_at = if number == 4 || number == 5 { at(10) } else { at(1_000) };
        let body = vec![number as u8; 100].into();
        let urgency = Urgency::High;
        let appended = Append { expires_at, body, urgency, device: Some(device("pad")), ..push(&log, number) };
        store.append(appended).await.unwrap();
    }
    let read = |after, entries, bytes, now| store.read(&log, Offset(after), entries, bytes, at(now));
    for (after, entries, bytes, now, offsets, looked) in [
        (0, 3, usize::MAX, 0, vec![1, 2, 3], 3),
        (3, 2, usize::MAX, 0, vec![4, 5], 5),
        (0, usize::MAX, 250, 0, vec![1, 2, 3], 3),
        (0, usize::MAX, 1, 0, vec![1], 1),
        (0, usize::MAX, 0, 0, vec![1], 1),
        (0, 0, usize::MAX, 0, vec![], 0),
        (2, 2, usize::MAX, 10, vec![3, 6], 6),
        (8, 5, usize::MAX, 10, vec![9, 10], 10),
        (10, 5, usize::MAX, 10, vec![], 10),
        (0, 100, usize::MAX, 1_000, vec![], 10),
    ] {
        let page = read(after, entries, bytes, now).await.unwrap();
        assert_eq!(page.entries.iter().map(|entry| entry.offset.0).collect::<Vec<_>>(), offsets);
        assert_eq!((page.looked.0, page.head.last.0), (looked, 10), "after {after} at {now}");
    }
    let entry = read(0, 1, 1, 0).await.unwrap().entries.remove(0);
    assert_eq!((entry.id, entry.accepted_at, entry.expires_at), (id(1), at(0), at(1_000)));
    assert_eq!((entry.urgency, entry.device, entry.body.len()), (Urgency::High, Some(device("pad")), 100));
}

pub(in crate::store) async fn entries_expire_by_the_given_time(place: &dyn Place) {
    let store = place.open(Limits::default());
    let log = topic("news");
    for number in 1..=4 {
        store.append(Append { expires_at: at(number * 10), ..push(&log, number) }).await.unwrap();
    }
    assert_eq!(numbers(&*store, &log, at(19)).await, [2, 3, 4]);
    assert_eq!(numbers(&*store, &log, at(20)).await, [3, 4]);
    assert_eq!(sweep_all(&*store, at(20)).await, (2, 0));
    assert_eq!(numbers(&*store, &log, at(0)).await, [3, 4], "what was swept is gone");
    assert_eq!(sweep_all(&*store, at(20)).await, (0, 0));
    assert_eq!(read_all(&*store, &log, at(0)).await.head.trimmed, Offset::ZERO);
}

pub(in crate::store) async fn collapse_replaces_what_stands(place: &dyn Place) {
    let store = place.open(Limits { inbox_entries_max: 5, ..Limits::default() });
    let log = inbox("ann");
    let with = |number, key: &str, only: Option<&str>| Append {
        collapse_key: Some(key.to_owned()),
        device: only.map(device),
        ..push(&log, number)
    };
    store.append(with(1, "a", None)).await.unwrap();
    store.append(with(2, "ab", None)).await.unwrap();
    store.append(with(3, "a", Some("pad"))).await.unwrap();
    store.append(push(&log, 4)).await.unwrap();
    store.append(Append { expires_at: at(5), ..with(5, "short", None) }).await.unwrap();
    // The log is full, but a replacement needs no room.
    let replacing = store.append(with(6, "a", None)).await.unwrap();
    assert_eq!(replacing.offset, Offset(6));
    assert_eq!(numbers(&*store, &log, at(0)).await, [2, 3, 4, 5, 6]);
    // Both in one batch.
    let (first, second) = (store.append(with(7, "a", Some("pad"))), store.append(with(8, "a", Some("pad"))));
    first.await.unwrap();
    second.await.unwrap();
    assert_eq!(numbers(&*store, &log, at(0)).await, [2, 4, 5, 6, 8]);
    // One that expired does not stand any more: it expires, and its key is free.
    sweep_all(&*store, at(5)).await;
    store.append(Append { now: at(6), ..with(9, "short", None) }).await.unwrap();
    assert_eq!(numbers(&*store, &log, at(6)).await, [2, 4, 6, 8, 9]);
    drop(store);
    let store = place.open(Limits::default());
    store.append(with(10, "ab", None)).await.unwrap();
    assert_eq!(numbers(&*store, &log, at(6)).await, [4, 6, 8, 9, 10]);
}

pub(in crate::store) async fn a_full_inbox_lets_settled_entries_go_and_refuses_otherwise(place: &dyn Place) {
    let store = place.open(Limits { inbox_entries_max: 4, ..Limits::default() });
    let (log, phone, pad) = (inbox("ann"), receiver("ann", "phone"), receiver("ann", "pad"));
    let mut last = None;
    for number in 1..=4 {
        let only = (number == 2).then(|| device("phone"));
        last = Some(store.append(Append { device: only, ..push(&log, number) }).await.unwrap());
    }
    let appended = last.unwrap();
    let full = Err(Error::LogFull(4));
    let refused = async |number| {
        assert_eq!(store.append(push(&log, number)).await.map(|appended| appended.offset), full);
        assert_eq!(store.message(&tenant("acme"), id(number), at(0)).await, Ok(None), "nothing is written");
    };
    refused(10).await; // No device is known: whoever comes is to find everything.
    store.open(&phone, at(0)).await.unwrap();
    store.open(&pad, at(0)).await.unwrap();
    refused(11).await;
    settle(&*store, &phone, &log, cursor_with(appended, &[(3, 3)])).await.unwrap();
    refused(12).await; // The pad still waits for it.
    settle(&*store, &phone, &log, cursor_with(appended, &[(1, 2)])).await.unwrap();
    assert_eq!(store.append(push(&log, 5)).await.unwrap().offset, Offset(5));
    assert_eq!(numbers(&*store, &log, at(0)).await, [1, 3, 4, 5], "2 was for the phone only");
    refused(13).await;
    settle(&*store, &pad, &log, cursor_with(appended, &[(3, 5)])).await.unwrap();
    store.append(push(&log, 6)).await.unwrap();
    assert_eq!(numbers(&*store, &log, at(0)).await, [1, 4, 5, 6]);
    refused(14).await;
    settle(&*store, &phone, &log, cursor_with(appended, &[(4, 4)])).await.unwrap();
    settle(&*store, &pad, &log, cursor_with(appended, &[(1, 1)])).await.unwrap();
    store.append(push(&log, 7)).await.unwrap();
    store.append(push(&log, 8)).await.unwrap();
    assert_eq!(numbers(&*store, &log, at(0)).await, [5, 6, 7, 8], "1 was settled behind the place looked at last");
    refused(15).await;
}

pub(in crate::store) async fn a_full_inbox_lets_expired_entries_go(place: &dyn Place) {
    let store = place.open(Limits { inbox_entries_max: 3, ..Limits::default() });
    let log = inbox("ann");
    for (number, expires) in [(1, 50), (2, 10), (3, 50)] {
        store.append(Append { expires_at: at(expires), ..push(&log, number) }).await.unwrap();
    }
    assert_eq!(store.append(Append { now: at(9), ..push(&log, 4) }).await, Err(Error::LogFull(3)));
    store.append(Append { now: at(10), ..push(&log, 5) }).await.unwrap();
    assert_eq!(numbers(&*store, &log, at(10)).await, [1, 3, 5]);
    assert_eq!(store.append(Append { now: at(10), ..push(&log, 6) }).await, Err(Error::LogFull(3)));
    assert_eq!(sweep_all(&*store, at(50)).await, (2, 0));
    store.append(Append { now: at(50), ..push(&log, 7) }).await.unwrap();
    store.append(Append { now: at(50), ..push(&log, 8) }).await.unwrap();
    assert_eq!(store.append(Append { now: at(50), ..push(&log, 9) }).await, Err(Error::LogFull(3)));
    assert_eq!(numbers(&*store, &log, at(50)).await, [5, 7, 8]);
}

pub(in crate::store) async fn expired_entries_of_a_full_topic_are_not_missed(place: &dyn Place) {
    let log = topic("news");
    let store = place.open(Limits { topic_entries_max: 3, ..Limits::default() });
    for number in 1..=3 {
        store.append(Append { expires_at: at(10 * number), ..push(&log, number) }).await.unwrap();
    }
    for (number, trimmed) in [(4, 0), (5, 0), (6, 3)] {
        store.append(Append { now: at(20), ..push(&log, number) }).await.unwrap();
        assert_eq!(read_all(&*store, &log, at(20)).await.head.trimmed, Offset(trimmed), "push {number}");
    }
}

pub(in crate::store) async fn a_full_topic_trims_the_oldest(place: &dyn Place) {
    let store = place.open(Limits { topic_entries_max: 3, ..Limits::default() });
    let log = topic("news");
    for number in 1..=5 {
        store.append(push(&log, number)).await.unwrap();
    }
    let page = read_all(&*store, &log, at(0)).await;
    assert_eq!(numbers(&*store, &log, at(0)).await, [3, 4, 5]);
    assert_eq!((page.head.trimmed, page.head.last), (Offset(2), Offset(5)));
    drop(store);
    // A limit that was lowered is reached with the next push.
    let store = place.open(Limits { topic_entries_max: 1, ..Limits::default() });
    store.append(push(&log, 6)).await.unwrap();
    assert_eq!(numbers(&*store, &log, at(0)).await, [6]);
    assert_eq!(read_all(&*store, &log, at(0)).await.head.trimmed, Offset(5));
}

pub(in crate::store) async fn logs_without_use_begin_a_new_life(place: &dyn Place) {
    let store = place.open(Limits::default());
    let log = topic("news");
    let first = store.append(push(&log, 1)).await.unwrap();
    sweep_all(&*store, at(60_000)).await;
    let second = store.append(Append { expires_at: at(200_000), ..push(&log, 2) }).await.unwrap();
    // Whether the log was kept or made anew: a place is never given twice in one life.
    assert_ne!((first.epoch, first.offset), (second.epoch, second.offset));
    let phone = receiver("ann", "phone");
    store.open(&phone, at(0)).await.unwrap();
    let (following, _) = store.subscribe(&phone, vec![topic_name("news")]).await.unwrap();
    sweep_all(&*store, at(200_000)).await;
    let third = store.append(Append { expires_at: at(300_000), ..push(&log, 3) }).await.unwrap();
    assert_eq!(third.epoch, following[0].head.epoch, "a log that is followed lives on");
    assert_eq!(third.offset, following[0].head.last.next());
    let inbox = inbox("ann");
    let epoch = store.heads(vec![inbox.clone()]).await.unwrap()[0].epoch;
    let appended = store.append(push(&inbox, 4)).await.unwrap();
    assert_eq!((appended.epoch, appended.offset), (epoch, Offset(1)), "the inbox lives since the device came");
}

pub(in crate::store) async fn tenants_and_names_are_apart(place: &dyn Place) {
    let store = place.open(Limits::default());
    let mut logs = Vec::new();
    for owner in ["a", "ab"] {
        for name in ["a", "ab", "abi"] {
            logs.push(LogId::Inbox(tenant(owner), UserId::new(name).unwrap()));
            logs.push(LogId::Topic(tenant(owner), topic_name(name)));
        }
    }
    for (number, log) in logs.iter().enumerate() {
        let collapse_key = Some("same".to_owned());
        store.append(Append { collapse_key, ..push(log, number as u64) }).await.unwrap();
    }
    for (number, log) in logs.iter().enumerate() {
        assert_eq!(numbers(&*store, log, at(0)).await, [number as u64], "{log} of {}", log.tenant());
    }
}

pub(in crate::store) async fn many_callers_share_flushes_and_keep_their_order(place: &dyn Place) {
    let store = place.open(Limits::default());
    let callers = (0..16_u64).map(|caller| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let log = inbox(&format!("user{}", caller % 4));
            let mut places = Vec::new();
            for round in 0..20 {
                let number = caller * 1_000 + round;
                let append = Append { durability: Durability::Fsync, ..push(&log, number) };
                places.push((store.append(append).await.unwrap().offset, number));
            }
            assert!(places.is_sorted(), "one caller's pushes keep their order");
            (caller % 4, places)
        })
    });
    let mut expected: BTreeMap<u64, BTreeMap<Offset, u64>> = BTreeMap::new();
    for caller in callers.collect::<Vec<_>>() {
        let (user, places) = caller.await.unwrap();
        expected.entry(user).or_default().extend(places);
    }
    for (user, places) in expected {
        let stored = numbers(&*store, &inbox(&format!("user{user}")), at(0)).await;
        assert_eq!(stored, places.into_values().collect::<Vec<_>>());
    }
    let health = store.health();
    assert_eq!(health.writes, 320);
    assert!(health.flushes <= health.writes / 2, "{} flushes for {} writes", health.flushes, health.writes);
}

pub(in crate::store) async fn answered_writes_are_there_after_reopening(place: &dyn Place) {
    let log = inbox("ann");
    let mut epoch = None;
    for round in 0..4 {
        let store = place.open(Limits::default());
        let expected: Vec<u64> = (0..round * 2).collect();
        assert_eq!(numbers(&*store, &log, at(0)).await, expected);
        for (number, durability) in [(round * 2, Durability::Fsync), (round * 2 + 1, Durability::Relaxed)] {
            let appended = store.append(Append { durability, ..push(&log, number) }).await.unwrap();
            assert_eq!(appended.offset, Offset(number + 1));
            assert_eq!(*epoch.get_or_insert(appended.epoch), appended.epoch);
        }
        if round % 2 == 0 {
            store.close().await.unwrap();
        }
    }
}

pub(in crate::store) async fn reads_see_answered_writes(place: &dyn Place) {
    let store = place.open(Limits::default());
    let log = inbox("ann");
    for number in 1..=100 {
        let appended = store.append(push(&log, number)).await.unwrap();
        let page = store.read(&log, Offset(number - 1), 9, 9, at(0)).await.unwrap();
        assert_eq!((page.entries.len(), page.head.last), (1, appended.offset));
    }
}

pub(in crate::store) async fn a_closed_store_refuses_writes(place: &dyn Place) {
    let store = place.open(Limits::default());
    let log = inbox("ann");
    let before = store.append(push(&log, 1));
    let close = store.close();
    let after = store.append(push(&log, 2));
    assert!(is_failed(after.await), "the call came after the close");
    close.await.unwrap();
    before.await.unwrap();
    store.close().await.unwrap();
    assert!(is_failed(store.open(&receiver("ann", "phone"), Timestamp::ZERO).await));
    drop(store);
    let store: Arc<dyn Store> = place.open(Limits::default());
    assert_eq!(numbers(&*store, &log, at(0)).await, [1]);
}

pub(in crate::store) async fn dropped_answers_are_written_all_the_same(place: &dyn Place) {
    let store = place.open(Limits::default());
    let log = inbox("ann");
    for number in 1..=20 {
        drop(store.append(push(&log, number)));
    }
    drop(store);
    let store = place.open(Limits::default());
    assert_eq!(numbers(&*store, &log, at(0)).await, (1..=20).collect::<Vec<_>>());
}
