//! Messages: what became of them, idempotency, sweeping, health. Checks of the store's contract.

use super::{
    Place, at, cursor_with, device, id, inbox, keyed, minutes, push, receiver, settle, sweep_all, tenant, topic,
    topic_name,
};
use crate::model::log::Offset;
use crate::model::message::Durability;
use crate::store::{Append, Commit, Dead, DeviceOutcome, DeviceState, Error, Limits, MessageState, Store};

async fn state(store: &dyn Store, number: u64, millis: u64) -> Option<(MessageState, bool)> {
    let record = store.message(&tenant("acme"), id(number), at(millis)).await.unwrap();
    record.map(|record| (record.state, record.entry.is_some()))
}

pub(in crate::store) async fn a_message_tells_its_state(place: &dyn Place) {
    let limits = Limits { topic_entries_max: 2, tombstone_ttl: minutes(1), ..Limits::default() };
    let store = place.open(limits);
    let log = topic("news");
    let collapsing = |number| Append { collapse_key: Some("k".to_owned()), ..push(&log, number) };
    store.append(Append { expires_at: at(1_000), ..push(&log, 1) }).await.unwrap();
    store.append(collapsing(2)).await.unwrap();
    store.append(Append { now: at(500), ..collapsing(3) }).await.unwrap();
    let record = store.message(&tenant("acme"), id(1), at(0)).await.unwrap().unwrap();
    assert_eq!((record.offset, record.accepted_at, record.expires_at), (Offset(1), at(0), at(1_000)));
    assert_eq!((&record.log, record.epoch), (&log, store.heads(vec![log.clone()]).await.unwrap()[0].epoch));
    assert_eq!(record.entry.unwrap().body, "1");
    for sweep in [false, true] {
        if sweep {
            sweep_all(&*store, at(1_000)).await;
        }
        assert_eq!(state(&*store, 1, 1_000).await, Some((MessageState::Expired, false)));
        assert_eq!(state(&*store, 2, 1_000).await, Some((MessageState::Replaced, false)));
        assert_eq!(state(&*store, 3, 1_000).await, Some((MessageState::Stored, true)));
    }
    store.append(Append { now: at(2_000), ..push(&log, 4) }).await.unwrap();
    store.append(Append { now: at(2_000), ..push(&log, 5) }).await.unwrap();
    assert_eq!(state(&*store, 3, 2_000).await, Some((MessageState::Trimmed, false)));
    // Each is remembered for a minute after it left its log, swept or not.
    for (number, until) in [(1, 61_000), (2, 60_500), (3, 62_000)] {
        assert!(state(&*store, number, until - 1).await.is_some(), "{number}");
        assert_eq!(state(&*store, number, until).await, None, "{number}");
    }
    assert_eq!(sweep_all(&*store, at(62_000)).await, (2, 3));
    assert_eq!(state(&*store, 1, 1_000).await, None);
}

pub(in crate::store) async fn a_message_of_another_tenant_is_unknown(place: &dyn Place) {
    let store = place.open(Limits::default());
    store.append(push(&inbox("ann"), 1)).await.unwrap();
    assert_eq!(store.message(&tenant("acm"), id(1), at(0)).await, Ok(None));
    assert_eq!(store.message(&tenant("acme2"), id(1), at(0)).await, Ok(None));
    assert_eq!(store.message(&tenant("acme"), id(2), at(0)).await, Ok(None));
}

pub(in crate::store) async fn a_message_tells_each_device(place: &dyn Place) {
    let store = place.open(Limits::default());
    let log = inbox("ann");
    for name in ["pad", "phone", "watch"] {
        store.open(&receiver("ann", name), at(0)).await.unwrap();
    }
    store.open(&receiver("anna", "phone"), at(0)).await.unwrap();
    let appended = store.append(push(&log, 1)).await.unwrap();
    store.append(Append { device: Some(device("pad")), ..push(&log, 2) }).await.unwrap();
    let mut waiting = cursor_with(appended, &[]);
    waiting.attempts.insert(Offset(1), 3);
    settle(&*store, &receiver("ann", "pad"), &log, waiting).await.unwrap();
    settle(&*store, &receiver("ann", "phone"), &log, cursor_with(appended, &[(1, 1)])).await.unwrap();
    let lines = async |number| {
        let record = store.message(&tenant("acme"), id(number), at(0)).await.unwrap().unwrap();
        let line = |line: DeviceOutcome| (line.device.to_string(), line.state, line.attempts);
        record.devices.into_iter().map(line).collect::<Vec<_>>()
    };
    let expected = [
        ("pad".to_owned(), DeviceState::Waiting, 3),
        ("phone".to_owned(), DeviceState::Acked { at: None }, 0),
        ("watch".to_owned(), DeviceState::Waiting, 0),
    ];
    assert_eq!(lines(1).await, expected);
    assert_eq!(lines(2).await, [("pad".to_owned(), DeviceState::Waiting, 0)]);
    store.append(push(&topic("news"), 3)).await.unwrap();
    assert_eq!(lines(3).await, []);
}

pub(in crate::store) async fn dead_letters_are_shown(place: &dyn Place) {
    let limits = Limits { tombstone_ttl: minutes(1), ..Limits::default() };
    let store = place.open(limits.clone());
    let (phone, pad) = (receiver("ann", "phone"), receiver("ann", "pad"));
    store.open(&phone, at(0)).await.unwrap();
    store.open(&pad, at(0)).await.unwrap();
    store.subscribe(&phone, vec![topic_name("news")]).await.unwrap();
    for (number, log) in [(1, inbox("ann")), (2, topic("news"))] {
        let appended = store.append(push(&log, number)).await.unwrap();
        let dead = |log, offset| Dead { log, offset, attempts: 5, reason: "no key".to_owned(), at: at(7) };
        let mut letters = vec![dead(log.clone(), appended.offset), dead(log.clone(), Offset(99))];
        letters.push(dead(topic("other"), Offset(1)));
        let cursors = vec![(log.clone(), cursor_with(appended, &[(1, 1)]))];
        store.commit(Commit { receiver: phone.clone(), cursors, dead: letters, reports: Vec::new() }).await.unwrap();
    }
    drop(store);
    let store = place.open(limits);
    let dead = DeviceOutcome {
        user: phone.user.clone(),
        device: phone.device.clone(),
        state: DeviceState::Dead { reason: "no key".to_owned(), at: at(7) },
        attempts: 5,
        sent: None,
        nacks: Vec::new(),
        handed_off: None,
    };
    let state = DeviceState::Waiting;
    let waiting = DeviceOutcome {
        user: pad.user.clone(),
        device: pad.device.clone(),
        state,
        attempts: 0,
        sent: None,
        nacks: Vec::new(),
        handed_off: None,
    };
    let devices = async |number| store.message(&tenant("acme"), id(number), at(8)).await.unwrap().unwrap().devices;
    assert_eq!(devices(1).await, [waiting, dead.clone()]);
    assert_eq!(devices(2).await, [dead]);
    // Two entries; then two tombstones and two letters.
    assert_eq!(sweep_all(&*store, at(60_000)).await, (2, 0));
    assert_eq!(sweep_all(&*store, at(120_000)).await, (0, 4));
}

pub(in crate::store) async fn a_repeated_key_gives_the_first_outcome(place: &dyn Place) {
    let limits = Limits { idempotency_window: minutes(10), ..Limits::default() };
    let store = place.open(limits.clone());
    let log = inbox("ann");
    let first = store.append(keyed("k", 7, push(&log, 1))).await.unwrap();
    drop(store);
    let store = place.open(limits);
    let later = |minute| at(0) + minutes(minute);
    let again = Append { now: later(9), expires_at: later(20), durability: Durability::Fsync, ..push(&log, 2) };
    let second = store.append(keyed("k", 7, again)).await.unwrap();
    assert!(second.duplicate && !first.duplicate);
    assert_eq!((second.id, second.offset, second.epoch), (id(1), first.offset, first.epoch));
    assert_eq!((second.accepted_at, second.expires_at), (first.accepted_at, first.expires_at));
    assert_eq!(store.heads(vec![log.clone()]).await.unwrap()[0].last, Offset(1), "nothing was written");
    assert_eq!(store.message(&tenant("acme"), id(2), at(0)).await, Ok(None));
    // At the end of the window the key is free, swept or not.
    let anew = Append { now: later(10), expires_at: later(40), ..push(&log, 3) };
    let third = store.append(keyed("k", 8, anew)).await.unwrap();
    assert_eq!((third.duplicate, third.offset), (false, Offset(2)));
    sweep_all(&*store, later(10)).await;
    let fourth = store.append(keyed("k", 8, Append { now: later(11), ..push(&log, 4) })).await.unwrap();
    assert_eq!((fourth.duplicate, fourth.id), (true, id(3)), "the sweep spares the key's second life");
    sweep_all(&*store, later(20)).await;
    let fifth = Append { now: later(20), expires_at: later(40), ..push(&log, 5) };
    assert!(!store.append(keyed("k", 9, fifth)).await.unwrap().duplicate);
}

pub(in crate::store) async fn a_repeated_key_in_one_batch(place: &dyn Place) {
    let store = place.open(Limits::default());
    let log = inbox("ann");
    let answers: Vec<_> = (1..=20).map(|number| store.append(keyed("k", 7, push(&log, number)))).collect();
    for (number, answer) in answers.into_iter().enumerate() {
        let appended = answer.await.unwrap();
        assert_eq!((appended.id, appended.offset, appended.duplicate), (id(1), Offset(1), number > 0));
    }
}

pub(in crate::store) async fn a_key_with_other_content_is_a_conflict(place: &dyn Place) {
    let store = place.open(Limits::default());
    let log = inbox("ann");
    store.append(keyed("k", 7, push(&log, 1))).await.unwrap();
    let conflict = store.append(keyed("k", 8, push(&topic("news"), 2))).await;
    assert_eq!(conflict, Err(Error::IdempotencyConflict));
    assert_eq!(store.message(&tenant("acme"), id(2), at(0)).await, Ok(None));
    assert_eq!(store.heads(vec![topic("news")]).await.unwrap()[0].last, Offset::ZERO);
    assert!(!store.append(keyed("K", 8, push(&log, 3))).await.unwrap().duplicate);
}

pub(in crate::store) async fn keys_of_tenants_are_apart(place: &dyn Place) {
    let store = place.open(Limits::default());
    for owner in ["a", "ab"] {
        let log = crate::model::log::LogId::Topic(tenant(owner), topic_name("news"));
        for key in ["k", "bk", "b\0k", ""] {
            assert!(!store.append(keyed(key, 1, push(&log, 1))).await.unwrap().duplicate, "{owner} {key:?}");
        }
    }
}

pub(in crate::store) async fn a_refused_push_leaves_no_key(place: &dyn Place) {
    let store = place.open(Limits { inbox_entries_max: 1, ..Limits::default() });
    let log = inbox("ann");
    store.append(Append { expires_at: at(5), ..push(&log, 1) }).await.unwrap();
    assert_eq!(store.append(keyed("k", 7, push(&log, 2))).await, Err(Error::LogFull(1)));
    let anew = store.append(keyed("k", 7, Append { now: at(5), ..push(&log, 3) })).await.unwrap();
    assert_eq!((anew.id, anew.duplicate), (id(3), false));
}

pub(in crate::store) async fn sweeps_remove_in_bounded_steps(place: &dyn Place) {
    let limits = Limits { tombstone_ttl: minutes(1), idempotency_window: minutes(2), ..Limits::default() };
    let store = place.open(limits);
    let log = topic("news");
    let count = 6_000;
    let append = |number: u64| store.append(keyed(&number.to_string(), 1, push(&log, number)));
    let answers: Vec<_> = (1..=count).map(append).collect();
    for answer in answers {
        answer.await.unwrap();
    }
    let first = store.sweep(at(60_000)).await.unwrap();
    assert!(first.more && first.expired > 0 && first.expired < count, "{first:?}");
    assert_eq!(sweep_all(&*store, at(60_000)).await, (count - first.expired, 0));
    assert_eq!(sweep_all(&*store, at(120_000)).await, (0, 2 * count), "tombstones and idempotency keys");
    assert_eq!(sweep_all(&*store, at(999_999)).await, (0, 0));
}

pub(in crate::store) async fn health_counts(place: &dyn Place) {
    let store = place.open(Limits::default());
    assert_eq!((store.health().writes, store.health().queue), (0, 0));
    let before = store.health().flushes;
    let append = Append { durability: Durability::Fsync, ..push(&inbox("ann"), 1) };
    store.append(append).await.unwrap();
    let health = store.health();
    assert_eq!((health.writes, health.queue), (1, 0));
    assert_eq!(health.flushes, before + 1);
    store.append(push(&inbox("ann"), 2)).await.unwrap();
    assert_eq!(store.health().flushes, before + 1, "a relaxed push waits for no flush");
}

pub(in crate::store) async fn sweeps_find_what_came_due_behind_them(place: &dyn Place) {
    let store = place.open(Limits::default());
    let log = topic("news");
    store.append(Append { expires_at: at(10), ..push(&log, 1) }).await.unwrap();
    assert_eq!(sweep_all(&*store, at(1_000)).await, (1, 0));
    // The clock went back.
    store.append(Append { expires_at: at(500), ..push(&log, 2) }).await.unwrap();
    assert_eq!(sweep_all(&*store, at(400)).await, (0, 0));
    assert_eq!(sweep_all(&*store, at(1_000)).await, (1, 0));
    assert_eq!(sweep_all(&*store, at(1_000)).await, (0, 0));
}
