//! What happens later: scheduled messages, and the hand-off of those that were not acked in time. Checks of the store's
//! contract.

use std::sync::{Arc, Mutex};

use super::announcements::Heard;
use super::mind::{dismissals, state, user, wishing, without};
use super::{
    Place, at, cursor_with, device, id, inbox, keyed, minutes, numbers, push, read_all, receiver, settle, sweep_all,
    tenant, topic,
};
use crate::model::clock::Timestamp;
use crate::model::id::{Tag, TenantId};
use crate::model::log::{LogId, Offset};
use crate::model::message::{Exclusion, Urgency};
use crate::model::receipt::{Counts, End, Report, Reported, What};
use crate::store::{
    Announced, Append, Commit, Error, Event, HandOff, Idempotency, Journal, Limits, Listener, MessageState, Store,
    Wishes,
};

/// A push that is to be sent so many milliseconds after the start, and lives for a minute from then.
fn later(log: &LogId, number: u64, millis: u64) -> Append {
    let wishes = Wishes { send_at: Some(at(millis)), ..Wishes::default() };
    Append { expires_at: at(millis + 60_000), ..wishing(log, number, wishes) }
}

/// Sweeps until nothing is due, and tells when something will be.
async fn sweep(store: &dyn Store, millis: u64) -> Option<u64> {
    loop {
        let swept = store.sweep(at(millis)).await.unwrap();
        if !swept.more {
            return swept.next.map(|next| next.as_millis() - at(0).as_millis());
        }
    }
}

pub(in crate::store) async fn a_scheduled_message_is_sent_once_when_its_time_has_come(place: &dyn Place) {
    let store = place.open(Limits::default());
    let log = inbox("ann");
    let heard = Heard::of(&*store);
    let first = store.append(later(&log, 1, 5_000)).await.unwrap();
    assert_eq!(
        (first.offset, first.epoch.0, first.send_at, first.duplicate),
        (Offset::ZERO, 0, Some(at(5_000)), false)
    );
    assert_eq!((first.accepted_at, first.expires_at, first.audience), (at(0), at(65_000), None));
    store.append(later(&log, 2, 3_000)).await.unwrap();
    assert_eq!(sweep(&*store, 1_000).await, Some(3_000));
    assert_eq!(heard.take(), [], "nothing is sent before its time");
    assert_eq!(store.heads(vec![log.clone()]).await.unwrap()[0].last, Offset::ZERO);
    drop(store);

    let store = place.open(Limits::default());
    let heard = Heard::of(&*store);
    assert_eq!(state(&*store, 1, 2_000).await, (MessageState::Scheduled, None, false));
    let record = store.message(&tenant("acme"), id(1), at(2_000)).await.unwrap().unwrap();
    assert_eq!((record.send_at, record.accepted_at, record.offset), (Some(at(5_000)), at(0), Offset::ZERO));
    store.append(push(&log, 3)).await.unwrap();
    assert_eq!(sweep(&*store, 2_999).await, Some(3_000));
    assert_eq!(sweep(&*store, 3_000).await, Some(5_000));
    assert_eq!(sweep(&*store, 5_004).await, None);
    assert_eq!(sweep(&*store, 5_005).await, None, "it is sent once");
    assert_eq!(heard.numbers(), [3, 2, 1]);
    drop(store);

    let store = place.open(Limits::default());
    assert_eq!(sweep(&*store, 6_000).await, None);
    let page = read_all(&*store, &log, at(6_000)).await;
    let sent: Vec<_> = page.entries.iter().map(|entry| (entry.id, entry.offset, entry.accepted_at)).collect();
    assert_eq!(sent, [(id(3), Offset(1), at(0)), (id(2), Offset(2), at(3_000)), (id(1), Offset(3), at(5_004))]);
    assert_eq!((page.entries[2].expires_at, &*page.entries[2].body), (at(65_000), &b"1"[..]));
    let record = store.message(&tenant("acme"), id(1), at(6_000)).await.unwrap().unwrap();
    assert_eq!((record.state, record.offset, record.epoch), (MessageState::Stored, Offset(3), page.head.epoch));
    assert_eq!((record.accepted_at, record.send_at), (at(0), Some(at(5_004))));
}

pub(in crate::store) async fn a_time_that_has_passed_is_now(place: &dyn Place) {
    let store = place.open(Limits::default());
    for (number, millis) in [(1, 5_000), (2, 4_999)] {
        let append = Append { now: at(5_000), ..later(&topic("news"), number, millis) };
        let appended = store.append(append).await.unwrap();
        assert_eq!((appended.offset, appended.send_at), (Offset(number), None));
    }
    assert_eq!(numbers(&*store, &topic("news"), at(5_000)).await, [1, 2]);
}

pub(in crate::store) async fn a_scheduled_message_is_what_its_push_asked_for(place: &dyn Place) {
    let store = place.open(Limits::default());
    store.open(&receiver("ann", "phone"), at(0)).await.unwrap();
    let log = inbox("ann");
    let plain = later(&log, 1, 1_000);
    let append = Append {
        urgency: Urgency::Low,
        device: Some(device("phone")),
        collapse_key: Some("k".to_owned()),
        wishes: Wishes {
            exclude: vec![without("bob", "pad")],
            any_of_user: true,
            tag: Some(Tag::new("spring").unwrap()),
            without_receipts: true,
            ..plain.wishes.clone()
        },
        ..plain
    };
    store.append(append.clone()).await.unwrap();
    drop(store);
    let store = place.open(Limits::default());
    sweep(&*store, 1_000).await;
    let entry = read_all(&*store, &log, at(1_000)).await.entries.remove(0);
    assert_eq!((entry.urgency, entry.device, entry.receipts), (append.urgency, append.device, false));
    let aim = entry.aim.unwrap();
    assert_eq!((&aim.exclude, aim.any_of_user), (&append.wishes.exclude, true));
    let record = store.message(&tenant("acme"), id(1), at(1_000)).await.unwrap().unwrap();
    assert_eq!((record.tag, record.counts), (append.wishes.tag, None));
    let again = Append { collapse_key: Some("k".to_owned()), device: Some(device("phone")), ..push(&log, 2) };
    store.append(Append { now: at(1_001), ..again }).await.unwrap();
    assert_eq!(numbers(&*store, &log, at(1_001)).await, [2], "its collapse key holds");
}

pub(in crate::store) async fn a_repeated_scheduled_push_is_scheduled_once(place: &dyn Place) {
    let store = place.open(Limits::default());
    let log = inbox("ann");
    let first = store.append(keyed("k", 7, later(&log, 1, 1_000))).await.unwrap();
    let second = store.append(keyed("k", 7, later(&log, 2, 1_000))).await.unwrap();
    assert!(second.duplicate && !first.duplicate);
    assert_eq!((second.id, second.send_at, second.expires_at), (id(1), Some(at(1_000)), first.expires_at));
    drop(store);
    let store = place.open(Limits::default());
    sweep(&*store, 1_000).await;
    let third = store.append(keyed("k", 7, later(&log, 3, 1_000))).await.unwrap();
    assert_eq!((third.duplicate, third.id, third.send_at), (true, id(1), Some(at(1_000))), "the first one's answer");
    let other = store.append(keyed("k", 8, later(&log, 4, 1_000))).await;
    assert_eq!(other, Err(Error::IdempotencyConflict));
    assert_eq!(numbers(&*store, &log, at(1_000)).await, [1]);
}

pub(in crate::store) async fn so_many_may_wait_and_no_more(place: &dyn Place) {
    let limits = Limits { scheduled_max: 2, ..Limits::default() };
    let store = place.open(limits.clone());
    let log = inbox("ann");
    store.append(later(&log, 1, 1_000)).await.unwrap();
    store.append(later(&log, 2, 2_000)).await.unwrap();
    let key = Some(Idempotency { key: "k".to_owned(), fingerprint: 1 });
    let third = Append { idempotency: key.clone(), ..later(&log, 3, 3_000) };
    assert_eq!(store.append(third.clone()).await, Err(Error::TooManyScheduled(2)));
    let other = LogId::Inbox(tenant("other"), user("ann"));
    store.append(later(&other, 4, 3_000)).await.unwrap();
    // What takes the place of one that waits needs no room; one that is sent or cancelled leaves its own.
    let replacing = Append { wishes: Wishes { replaces: Some(id(1)), ..third.wishes.clone() }, ..third.clone() };
    store.append(Append { id: id(5), idempotency: None, ..replacing }).await.unwrap();
    assert_eq!(state(&*store, 1, 0).await, (MessageState::Replaced, Some(id(5)), false));
    drop(store);
    let store = place.open(limits);
    assert_eq!(store.append(third.clone()).await, Err(Error::TooManyScheduled(2)));
    sweep(&*store, 2_000).await;
    assert_eq!(numbers(&*store, &log, at(2_000)).await, [2]);
    assert!(!store.append(third).await.unwrap().duplicate, "what was refused left no key");
    assert_eq!(store.append(later(&log, 6, 3_000)).await, Err(Error::TooManyScheduled(2)));
    store.cancel(&tenant("acme"), id(3), false, at(1)).await.unwrap();
    store.append(later(&log, 6, 3_000)).await.unwrap();
}

pub(in crate::store) async fn a_scheduled_message_can_be_cancelled(place: &dyn Place) {
    let limits = Limits { tombstone_ttl: minutes(1), ..Limits::default() };
    let store = place.open(limits.clone());
    store.open(&receiver("ann", "phone"), at(0)).await.unwrap();
    let log = inbox("ann");
    store.append(later(&log, 1, 5_000)).await.unwrap();
    let acme = tenant("acme");
    assert_eq!(store.cancel(&acme, id(1), false, at(10)).await, Ok((MessageState::Cancelled, true)));
    drop(store);
    let store = place.open(limits);
    assert_eq!(sweep(&*store, 5_000).await, None, "nothing waits");
    assert_eq!(read_all(&*store, &log, at(5_000)).await.entries, [], "nothing was sent, so nothing is dismissed");
    assert_eq!(state(&*store, 1, 5_000).await, (MessageState::Cancelled, None, false));
    assert_eq!(store.cancel(&acme, id(1), false, at(11)).await, Ok((MessageState::Cancelled, false)));
    assert_eq!(store.message(&acme, id(1), at(60_010)).await, Ok(None));
}

pub(in crate::store) async fn what_could_not_be_sent_in_its_life_expires(place: &dyn Place) {
    let store = place.open(Limits::default());
    let log = inbox("ann");
    store.append(later(&log, 1, 5_000)).await.unwrap();
    drop(store);
    let store = place.open(Limits::default());
    assert_eq!(state(&*store, 1, 65_000).await, (MessageState::Expired, None, false), "the clock says so");
    let cancelled = store.cancel(&tenant("acme"), id(1), false, at(65_000)).await;
    assert_eq!(cancelled, Ok((MessageState::Expired, false)));
    assert_eq!(sweep(&*store, 65_000).await, None);
    assert_eq!(state(&*store, 1, 65_000).await, (MessageState::Expired, None, false));
    assert_eq!(store.heads(vec![log]).await.unwrap()[0].last, Offset::ZERO);
}

pub(in crate::store) async fn a_full_inbox_keeps_a_scheduled_message_waiting(place: &dyn Place) {
    let limits = Limits { inbox_entries_max: 1, ..Limits::default() };
    let store = place.open(limits);
    let (log, phone) = (inbox("ann"), receiver("ann", "phone"));
    store.open(&phone, at(0)).await.unwrap();
    let first = store.append(push(&log, 1)).await.unwrap();
    store.append(later(&log, 2, 5_000)).await.unwrap();
    store.append(later(&inbox("bob"), 3, 5_001)).await.unwrap();
    let again = sweep(&*store, 5_001).await.unwrap();
    assert!(again > 5_001 && again < 30_000, "{again}");
    assert_eq!(state(&*store, 2, 5_001).await, (MessageState::Scheduled, None, false));
    assert_eq!(numbers(&*store, &inbox("bob"), at(5_001)).await, [3], "others do not wait for it");
    settle(&*store, &phone, &log, cursor_with(first, &[(1, 1)])).await.unwrap();
    assert_eq!(sweep(&*store, again).await, None);
    assert_eq!(numbers(&*store, &log, at(again)).await, [2]);
}

pub(in crate::store) async fn a_scheduled_message_replaces_when_it_is_sent(place: &dyn Place) {
    let store = place.open(Limits::default());
    let log = topic("news");
    let naming = |number, old| {
        let plain = later(&log, number, 5_000);
        Append { wishes: Wishes { replaces: Some(id(old)), ..plain.wishes.clone() }, ..plain }
    };
    store.append(push(&log, 1)).await.unwrap();
    store.append(push(&log, 2)).await.unwrap();
    store.append(naming(3, 1)).await.unwrap();
    store.append(naming(4, 2)).await.unwrap();
    assert_eq!(numbers(&*store, &log, at(0)).await, [1, 2], "what stands is not touched before");
    store.cancel(&tenant("acme"), id(2), true, at(1)).await.unwrap();
    sweep(&*store, 5_000).await;
    assert_eq!(numbers(&*store, &log, at(5_000)).await, [3, 4]);
    assert_eq!(state(&*store, 1, 5_000).await, (MessageState::Replaced, Some(id(3)), false));
    assert_eq!(state(&*store, 2, 5_000).await, (MessageState::Cancelled, None, false), "what happened first stays");
    // One that is sent now takes the place of one that waits.
    store.append(Append { now: at(5_000), ..later(&log, 5, 9_000) }).await.unwrap();
    let wishes = Wishes { replaces: Some(id(5)), ..Wishes::default() };
    store.append(Append { now: at(6_000), expires_at: at(70_000), ..wishing(&log, 6, wishes) }).await.unwrap();
    assert_eq!(sweep(&*store, 9_000).await, None);
    assert_eq!(numbers(&*store, &log, at(9_000)).await, [3, 4, 6]);
    assert_eq!(state(&*store, 5, 9_000).await, (MessageState::Replaced, Some(id(6)), false));
}

pub(in crate::store) async fn a_scheduled_message_is_accepted_when_it_is_sent(place: &dyn Place) {
    let store = place.open(Limits::default());
    store.open(&receiver("ann", "phone"), at(0)).await.unwrap();
    let tag = Tag::new("spring").unwrap();
    for (number, millis) in [(1, 1_000), (2, 2_000)] {
        let plain = later(&inbox("ann"), number, millis);
        let wishes = Wishes { tag: Some(tag.clone()), ..plain.wishes.clone() };
        store.append(Append { wishes, ..plain }).await.unwrap();
    }
    // It counts those who are known when it is sent.
    store.open(&receiver("ann", "pad"), at(500)).await.unwrap();
    sweep(&*store, 1_000).await;
    store.cancel(&tenant("acme"), id(2), false, at(1_500)).await.unwrap();
    drop(store);
    let store = place.open(Limits::default());
    let counts = |audience| Counts { audience, ..Counts::default() };
    let expected = [
        (at(0), id(1), What::Scheduled { send_at: at(1_000) }),
        (at(0), id(2), What::Scheduled { send_at: at(2_000) }),
        (at(1_000), id(1), What::Accepted(counts(2))),
        (at(1_500), id(2), What::Ended(End::Cancelled, counts(0))),
    ];
    let events = store.journal(&tenant("acme"), Journal::Receipts, 0, 100).await.unwrap().events;
    let receipts = events.into_iter().map(|(_, event)| match event {
        Event::Receipt(receipt) => (receipt.at, receipt.message, receipt.what),
        other => panic!("{other:?}"),
    });
    assert_eq!(receipts.collect::<Vec<_>>(), expected);
    let hours = store.tag(&tenant("acme"), &tag, Timestamp::ZERO, at(60_000)).await.unwrap();
    assert_eq!(hours.iter().map(|hour| (hour.messages, hour.counts)).collect::<Vec<_>>(), [(2, counts(2))]);
}

/// Keeps which journals have grown.
#[derive(Default)]
struct Noted(Mutex<Vec<(TenantId, Journal)>>);

impl Listener for Noted {
    fn appended(&self, _: Vec<Announced>) {}

    fn noted(&self, journals: &[(TenantId, Journal)]) {
        self.0.lock().unwrap().extend_from_slice(journals);
    }
}

async fn hand_offs(store: &dyn Store) -> Vec<HandOff> {
    let events = store.journal(&tenant("acme"), Journal::HandOffs, 0, 100).await.unwrap();
    let hand_off = |(_, event)| match event {
        Event::HandOff(hand_off) => hand_off,
        other => panic!("{other:?}"),
    };
    events.events.into_iter().map(hand_off).collect()
}

fn falling_back(log: &LogId, number: u64, millis: u64) -> Append {
    wishing(log, number, Wishes { fallback_at: Some(at(millis)), ..Wishes::default() })
}

fn hand_off(number: u64, name: Option<&str>, millis: u64) -> HandOff {
    HandOff { message: id(number), user: user("ann"), device: name.map(device), at: at(millis) }
}

pub(in crate::store) async fn who_has_not_settled_in_time_is_handed_off_once(place: &dyn Place) {
    let store = place.open(Limits::default());
    let noted = Arc::<Noted>::default();
    store.announce_to(Arc::clone(&noted) as Arc<dyn Listener>);
    let log = inbox("ann");
    for name in ["pad", "phone", "watch"] {
        store.open(&receiver("ann", name), at(0)).await.unwrap();
    }
    let plain = falling_back(&log, 1, 5_000);
    let wishes = Wishes { exclude: vec![without("ann", "watch")], ..plain.wishes.clone() };
    let appended = store.append(Append { wishes, ..plain }).await.unwrap();
    assert_eq!(sweep(&*store, 4_999).await, Some(5_000));
    assert_eq!(hand_offs(&*store).await, []);
    let acked = vec![Report { message: id(1), at: at(100), what: Reported::Acked }];
    let cursors = vec![(log.clone(), cursor_with(appended, &[(1, 1)]))];
    let commit = Commit { receiver: receiver("ann", "pad"), cursors, dead: Vec::new(), reports: acked };
    store.commit(commit).await.unwrap();
    drop(store);

    let store = place.open(Limits::default());
    store.announce_to(Arc::clone(&noted) as Arc<dyn Listener>);
    noted.0.lock().unwrap().clear();
    assert_eq!(sweep(&*store, 5_001).await, None);
    assert!(noted.0.lock().unwrap().contains(&(tenant("acme"), Journal::HandOffs)), "the listener was told");
    assert_eq!(hand_offs(&*store).await, [hand_off(1, Some("phone"), 5_001)]);
    drop(store);
    let store = place.open(Limits::default());
    sweep(&*store, 6_000).await;
    assert_eq!(hand_offs(&*store).await.len(), 1, "once, whatever comes");
    let record = store.message(&tenant("acme"), id(1), at(6_000)).await.unwrap().unwrap();
    assert_eq!(record.state, MessageState::Stored, "it waits for its device all the same");
    let lines: Vec<_> =
        record.devices.into_iter().map(|line| (line.device.to_string(), line.handed_off.is_some())).collect();
    assert_eq!(lines, [("pad".to_owned(), false), ("phone".to_owned(), true)]);
}

pub(in crate::store) async fn a_device_that_is_not_known_is_handed_off_too(place: &dyn Place) {
    let store = place.open(Limits::default());
    let log = inbox("ann");
    store.append(falling_back(&log, 1, 1_000)).await.unwrap();
    store.append(Append { device: Some(device("phone")), ..falling_back(&log, 2, 2_000) }).await.unwrap();
    sweep(&*store, 1_000).await;
    store.open(&receiver("ann", "pad"), at(1_500)).await.unwrap();
    sweep(&*store, 2_000).await;
    assert_eq!(hand_offs(&*store).await, [hand_off(1, None, 1_000), hand_off(2, Some("phone"), 2_000)]);
}

pub(in crate::store) async fn what_is_over_or_settled_is_not_handed_off(place: &dyn Place) {
    let store = place.open(Limits::default());
    let (log, phone) = (inbox("ann"), receiver("ann", "phone"));
    store.open(&phone, at(0)).await.unwrap();
    let appended = store.append(falling_back(&log, 1, 1_000)).await.unwrap();
    settle(&*store, &phone, &log, cursor_with(appended, &[(1, 1)])).await.unwrap();
    store.append(falling_back(&log, 2, 1_000)).await.unwrap();
    store.cancel(&tenant("acme"), id(2), true, at(1)).await.unwrap();
    store.append(Append { expires_at: at(900), ..falling_back(&log, 3, 1_000) }).await.unwrap();
    store.append(Append { collapse_key: Some("k".to_owned()), ..falling_back(&log, 4, 1_000) }).await.unwrap();
    store.append(Append { collapse_key: Some("k".to_owned()), ..push(&log, 5) }).await.unwrap();
    store.append(falling_back(&topic("news"), 6, 1_000)).await.unwrap();
    let everybody = Exclusion { user: user("ann"), device: None };
    let plain = falling_back(&log, 7, 1_000);
    store
        .append(Append { wishes: Wishes { exclude: vec![everybody], ..plain.wishes.clone() }, ..plain })
        .await
        .unwrap();
    assert_eq!(sweep(&*store, 1_000).await, None);
    assert_eq!(hand_offs(&*store).await, []);
}

pub(in crate::store) async fn a_scheduled_message_falls_back_after_it_was_sent(place: &dyn Place) {
    let store = place.open(Limits::default());
    let log = inbox("ann");
    store.open(&receiver("ann", "phone"), at(0)).await.unwrap();
    let plain = later(&log, 1, 5_000);
    let wishes = Wishes { fallback_at: Some(at(7_000)), ..plain.wishes.clone() };
    store.append(Append { wishes, ..plain }).await.unwrap();
    assert_eq!(sweep(&*store, 4_000).await, Some(5_000));
    assert_eq!(sweep(&*store, 5_000).await, Some(7_000));
    assert_eq!(sweep(&*store, 7_000).await, None);
    assert_eq!(hand_offs(&*store).await, [hand_off(1, Some("phone"), 7_000)]);
}

pub(in crate::store) async fn the_answer_to_a_hand_off_is_recorded_once(place: &dyn Place) {
    let store = place.open(Limits::default());
    let (log, acme) = (inbox("ann"), tenant("acme"));
    for name in ["pad", "phone"] {
        store.open(&receiver("ann", name), at(0)).await.unwrap();
    }
    store.append(falling_back(&log, 1, 1_000)).await.unwrap();
    let answer = |words: &str| Ok(words.to_owned());
    store.handed_off(&acme, hand_off(1, Some("phone"), 1_000), answer("early"), at(900)).await.unwrap();
    sweep(&*store, 1_000).await;
    let pad = hand_off(1, Some("pad"), 1_000);
    let phone = hand_off(1, Some("phone"), 1_000);
    store.handed_off(&acme, phone.clone(), answer("delivered"), at(1_100)).await.unwrap();
    store.handed_off(&acme, phone, Err("late".to_owned()), at(1_200)).await.unwrap();
    store.handed_off(&acme, pad.clone(), Err("no address".to_owned()), at(1_300)).await.unwrap();
    let strangers = [
        hand_off(1, Some("watch"), 1_000),
        hand_off(1, None, 1_000),
        hand_off(9, Some("pad"), 1_000),
        HandOff { user: user("bob"), ..pad.clone() },
    ];
    for stranger in strangers {
        store.handed_off(&acme, stranger, answer("?"), at(1_400)).await.unwrap();
    }
    store.handed_off(&tenant("other"), pad, answer("?"), at(1_400)).await.unwrap();
    drop(store);
    let store = place.open(Limits::default());
    let record = store.message(&acme, id(1), at(2_000)).await.unwrap().unwrap();
    let lines: Vec<_> = record.devices.into_iter().map(|line| line.handed_off).collect();
    let failed = Some((at(1_000), Some(Err("no address".to_owned()))));
    assert_eq!(lines, [failed, Some((at(1_000), Some(answer("delivered"))))]);
    let events = store.journal(&acme, Journal::Receipts, 0, 100).await.unwrap().events;
    let told = events.into_iter().filter_map(|(_, event)| match event {
        Event::Receipt(receipt) => match receipt.what {
            What::HandedOff { outcome } => Some((receipt.at, outcome, receipt.device)),
            What::HandOffFailed { reason } => Some((receipt.at, reason, receipt.device)),
            _ => None,
        },
        _ => None,
    });
    let told: Vec<_> = told.collect();
    let line = |millis, words: &str, name| (at(millis), words.to_owned(), Some((user("ann"), device(name))));
    assert_eq!(told, [line(1_100, "delivered", "phone"), line(1_300, "no address", "pad")]);
    assert_eq!(dismissals(&*store, &log, 2_000).await, []);
    sweep_all(&*store, at(60_000)).await;
}
