//! Receipts: what is counted, what is told, and what is not. Checks of the store's contract.

use super::{Place, at, cursor_with, device, id, inbox, minutes, push, receiver, sweep_all, tenant, topic, topic_name};
use crate::model::clock::Timestamp;
use crate::model::cursor::Cursor;
use crate::model::id::{Receiver, Tag};
use crate::model::log::{LogId, Offset};
use crate::model::message::Exclusion;
use crate::model::receipt::{Counts, End, Receipt, Report, Reported, What};
use crate::store::{
    Append, Appended, Commit, Dead, DeviceState, Event, Journal, Limits, MessageRecord, MessageState, Store, Wishes,
};

/// What a device has to say of a message.
pub(super) fn report(number: u64, millis: u64, what: Reported) -> Report {
    Report { message: id(number), at: at(millis), what }
}

fn nack(attempt: u32, reason: &'static str) -> Reported {
    Reported::Nacked(attempt, reason.into())
}

/// A commit of reports, with the offsets of one log that are settled.
async fn tell(
    store: &dyn Store,
    receiver: &Receiver,
    (log, appended): (&LogId, Appended),
    settled: &[(u64, u64)],
    reports: Vec<Report>,
) {
    let cursors = vec![(log.clone(), cursor_with(appended, settled))];
    store.commit(Commit { receiver: receiver.clone(), cursors, dead: Vec::new(), reports }).await.unwrap();
}

/// All receipts after a position, as message, device and what.
async fn told(store: &dyn Store, after: u64) -> Vec<(u64, Option<String>, What)> {
    let events = store.journal(&tenant("acme"), Journal::Receipts, after, usize::MAX).await.unwrap();
    let line = |(_, event)| {
        let Event::Receipt(Receipt { message, device, what, .. }) = event else { panic!("{event:?} is no receipt") };
        let number = u64::from_be_bytes(message.as_bytes()[8..].try_into().unwrap());
        (number, device.map(|(user, device)| format!("{user}/{device}")), what)
    };
    events.events.into_iter().map(line).collect()
}

async fn message(store: &dyn Store, number: u64, millis: u64) -> MessageRecord {
    store.message(&tenant("acme"), id(number), at(millis)).await.unwrap().unwrap()
}

async fn counts(store: &dyn Store, number: u64) -> Counts {
    message(store, number, 0).await.counts.unwrap()
}

fn five(audience: u64, sent: u64, acked: u64, dead: u64, missed: u64) -> Counts {
    Counts { audience, sent, acked, dead, missed }
}

pub(in crate::store) async fn what_devices_report_is_counted_once_and_told_in_order(place: &dyn Place) {
    let store = place.open(Limits::default());
    let (phone, pad, log) = (receiver("ann", "phone"), receiver("ann", "pad"), inbox("ann"));
    store.open(&phone, at(0)).await.unwrap();
    store.open(&pad, at(0)).await.unwrap();
    let wishes = Wishes { tag: Some(Tag::new("spring").unwrap()), ..Wishes::default() };
    let appended = store.append(Append { wishes, ..push(&log, 1) }).await.unwrap();
    let place_of = (&log, appended);
    tell(&*store, &phone, place_of, &[], vec![report(1, 5, Reported::Sent(1)), report(1, 7, nack(1, "busy"))]).await;
    let second = vec![report(1, 9, Reported::Sent(2)), report(1, 11, Reported::Acked), report(1, 11, Reported::Acked)];
    // Told again, by a session that did not hear the answer, and by the device after a crash of the gateway.
    for _ in 0..2 {
        tell(&*store, &phone, place_of, &[(1, 1)], second.clone()).await;
    }
    drop(store);
    let store = place.open(Limits::default());
    tell(&*store, &phone, place_of, &[(1, 1)], second).await;
    tell(&*store, &pad, place_of, &[], vec![report(1, 12, Reported::Sent(1))]).await;
    tell(&*store, &pad, place_of, &[], vec![report(1, 12, Reported::Sent(1))]).await;
    let device = |name: &str| Some(format!("ann/{name}"));
    let expected = [
        (1, None, What::Accepted(five(2, 0, 0, 0, 0))),
        (1, device("phone"), What::Sent { attempt: 1 }),
        (1, device("phone"), What::Nacked { attempt: 1, reason: "busy".to_owned() }),
        (1, device("phone"), What::Sent { attempt: 2 }),
        (1, device("phone"), What::Acked),
        (1, device("pad"), What::Sent { attempt: 1 }),
    ];
    assert_eq!(told(&*store, 0).await, expected);
    assert_eq!(counts(&*store, 1).await, five(2, 2, 1, 0, 0));
    let events = store.journal(&tenant("acme"), Journal::Receipts, 4, 1).await.unwrap();
    let Some((5, Event::Receipt(ack))) = events.events.first() else { panic!("{events:?}") };
    assert_eq!((ack.at, &ack.tag), (at(11), &Some(Tag::new("spring").unwrap())));
    let record = message(&*store, 1, 20).await;
    assert_eq!(record.tag, ack.tag);
    let line = |name: &str| record.devices.iter().find(|line| line.device == self::device(name)).unwrap();
    let phone = line("phone");
    assert_eq!((&phone.state, phone.sent), (&DeviceState::Acked { at: Some(at(11)) }, Some((at(5), at(9)))));
    assert_eq!(phone.nacks, [(at(7), 1, "busy".to_owned())]);
    assert_eq!((&line("pad").state, line("pad").sent), (&DeviceState::Waiting, Some((at(12), at(12)))));
}

pub(in crate::store) async fn an_ack_counts_only_with_the_cursor_that_settles_it(place: &dyn Place) {
    let store = place.open(Limits::default());
    let (phone, log) = (receiver("ann", "phone"), inbox("ann"));
    store.open(&phone, at(0)).await.unwrap();
    let appended = store.append(push(&log, 1)).await.unwrap();
    tell(&*store, &phone, (&log, appended), &[], vec![report(1, 5, Reported::Acked)]).await;
    assert_eq!(counts(&*store, 1).await, five(1, 0, 0, 0, 0));
    // A place that was passed over, for whatever reason, is no ack later.
    tell(&*store, &phone, (&log, appended), &[(1, 1)], Vec::new()).await;
    tell(&*store, &phone, (&log, appended), &[(1, 1)], vec![report(1, 5, Reported::Acked)]).await;
    assert_eq!(counts(&*store, 1).await, five(1, 0, 0, 0, 0));
    assert_eq!(told(&*store, 1).await, []);
}

pub(in crate::store) async fn reports_that_concern_nobody_are_ignored(place: &dyn Place) {
    let store = place.open(Limits::default());
    let (phone, pad, log) = (receiver("ann", "phone"), receiver("ann", "pad"), inbox("ann"));
    for receiver in [&phone, &pad, &receiver("bob", "phone")] {
        store.open(receiver, at(0)).await.unwrap();
    }
    let appended = store.append(Append { device: Some(device("phone")), ..push(&log, 1) }).await.unwrap();
    let news = store.append(push(&topic("news"), 2)).await.unwrap();
    let all = |number| vec![report(number, 5, Reported::Sent(1)), report(number, 6, Reported::Acked)];
    // Not its message; not its inbox; not its topic; not known; another life of the log; another tenant.
    tell(&*store, &pad, (&log, appended), &[(1, 1)], all(1)).await;
    tell(&*store, &receiver("bob", "phone"), (&inbox("bob"), appended), &[(1, 1)], all(1)).await;
    tell(&*store, &phone, (&topic("news"), news), &[(1, 1)], all(2)).await;
    tell(&*store, &phone, (&log, appended), &[], all(99)).await;
    let other_life = Appended { epoch: crate::model::log::Epoch(appended.epoch.0 ^ 1), ..appended };
    tell(&*store, &phone, (&log, other_life), &[(1, 1)], all(1)).await;
    let elsewhere = Receiver { tenant: tenant("acm"), ..phone.clone() };
    store.open(&elsewhere, at(0)).await.unwrap();
    let elsewhere_log = LogId::Inbox(tenant("acm"), phone.user.clone());
    tell(&*store, &elsewhere, (&elsewhere_log, appended), &[(1, 1)], all(1)).await;
    // A device that never came.
    tell(&*store, &receiver("ann", "watch"), (&log, appended), &[(1, 1)], all(1)).await;
    assert_eq!((counts(&*store, 1).await, counts(&*store, 2).await), (five(1, 0, 0, 0, 0), five(0, 0, 0, 0, 0)));
    assert_eq!(told(&*store, 2).await, []);
    assert_eq!(store.journal(&tenant("acm"), Journal::Receipts, 0, 9).await.unwrap().last, 0);
}

pub(in crate::store) async fn an_inbox_push_is_for_the_devices_known_and_for_those_that_come(place: &dyn Place) {
    let store = place.open(Limits::default());
    let (phone, pad, log) = (receiver("ann", "phone"), receiver("ann", "pad"), inbox("ann"));
    let nobody = store.append(push(&log, 1)).await.unwrap();
    let one = store.append(Append { device: Some(device("pad")), ..push(&log, 2) }).await.unwrap();
    store.open(&phone, at(0)).await.unwrap();
    store.append(push(&log, 3)).await.unwrap();
    let except = |device: Option<&str>| Wishes {
        exclude: vec![Exclusion { user: phone.user.clone(), device: device.map(self::device) }],
        ..Wishes::default()
    };
    for (number, who) in [(4, Some("phone")), (5, Some("pad")), (6, None)] {
        store.append(Append { wishes: except(who), ..push(&log, number) }).await.unwrap();
    }
    for (number, audience) in [(1, 0), (2, 1), (3, 1), (4, 0), (5, 1), (6, 0)] {
        assert_eq!(counts(&*store, number).await, five(audience, 0, 0, 0, 0), "{number}");
    }
    // Two that come later: they add themselves, once, and not where they were meant by name.
    store.open(&pad, at(0)).await.unwrap();
    for who in [&phone, &pad] {
        let reports = (1..=6).flat_map(|n| [report(n, 5, Reported::Sent(1)), report(n, 6, Reported::Acked)]).collect();
        tell(&*store, who, (&log, nobody), &[(1, 6)], reports).await;
    }
    let expected = [
        (1, five(2, 2, 2, 0, 0)),
        (2, five(1, 1, 1, 0, 0)),
        (3, five(2, 2, 2, 0, 0)),
        (4, five(1, 1, 1, 0, 0)),
        (5, five(1, 1, 1, 0, 0)),
        (6, five(0, 0, 0, 0, 0)),
    ];
    for (number, counts) in expected {
        assert_eq!(self::counts(&*store, number).await, counts, "{number}");
    }
    assert_eq!(one.offset, Offset(2));
    let names = |record: MessageRecord| record.devices.iter().map(|line| line.device.to_string()).collect::<Vec<_>>();
    assert_eq!(names(message(&*store, 4, 0).await), ["pad"]);
    assert_eq!(names(message(&*store, 6, 0).await), [""; 0]);
}

pub(in crate::store) async fn the_end_of_a_message_is_told_with_its_counts(place: &dyn Place) {
    let limits = Limits { topic_entries_max: 2, ..Limits::default() };
    let store = place.open(limits.clone());
    let (phone, pad, log) = (receiver("ann", "phone"), receiver("ann", "pad"), inbox("ann"));
    store.open(&phone, at(0)).await.unwrap();
    store.open(&pad, at(0)).await.unwrap();
    store.subscribe(&phone, vec![topic_name("news")]).await.unwrap();
    let keyed = |number| Append { collapse_key: Some("k".to_owned()), now: at(100), ..push(&log, number) };
    let expires = store.append(Append { expires_at: at(1_000), ..push(&log, 1) }).await.unwrap();
    store.append(keyed(2)).await.unwrap();
    tell(&*store, &phone, (&log, expires), &[(1, 1)], vec![report(1, 5, Reported::Acked)]).await;
    store.append(keyed(3)).await.unwrap();
    for number in 4..=6 {
        store.append(Append { now: at(200), ..push(&topic("news"), number) }).await.unwrap();
    }
    let before = store.journal(&tenant("acme"), Journal::Receipts, 0, 99).await.unwrap().last;
    // The time is over, whether anybody has looked or not.
    assert_eq!(message(&*store, 1, 1_000).await.counts, Some(five(2, 1, 1, 0, 1)));
    tell(&*store, &pad, (&log, expires), &[(1, 1)], vec![report(1, 1_000, Reported::Acked)]).await;
    assert_eq!(sweep_all(&*store, at(1_000)).await.0, 1);
    drop(store);
    let store = place.open(limits);
    let late = vec![report(1, 999, Reported::Acked), report(2, 101, Reported::Acked), report(4, 201, Reported::Acked)];
    tell(&*store, &pad, (&log, expires), &[(1, 3)], late).await;
    let replaced = What::Ended(End::Replaced(Some(id(3))), five(2, 0, 0, 0, 2));
    let trimmed = What::Ended(End::Trimmed, five(1, 0, 0, 0, 1));
    let expired = What::Ended(End::Expired, five(2, 1, 1, 0, 1));
    let ended: Vec<_> = told(&*store, 0).await.into_iter().filter(|line| matches!(line.2, What::Ended(..))).collect();
    assert_eq!(ended, [(2, None, replaced), (4, None, trimmed), (1, None, expired)]);
    assert_eq!(told(&*store, before).await.len(), 1, "what comes too late is not told");
    let record = message(&*store, 1, 2_000).await;
    assert_eq!((record.state, record.ended, record.counts), (MessageState::Expired, None, Some(five(2, 1, 1, 0, 1))));
    let states: Vec<_> = record.devices.iter().map(|line| line.state.clone()).collect();
    assert_eq!(states, [DeviceState::Missed, DeviceState::Acked { at: Some(at(5)) }]);
    let record = message(&*store, 2, 2_000).await;
    assert_eq!((record.state, record.ended), (MessageState::Replaced, Some((at(100), Some(id(3))))));
    assert_eq!(message(&*store, 4, 2_000).await.ended, Some((at(200), None)));
}

pub(in crate::store) async fn what_was_sent_before_the_end_is_noted_after_it(place: &dyn Place) {
    let store = place.open(Limits::default());
    let (phone, log) = (receiver("ann", "phone"), inbox("ann"));
    store.open(&phone, at(0)).await.unwrap();
    let appended = store.append(push(&log, 1)).await.unwrap();
    let pad = receiver("ann", "pad");
    store.open(&pad, at(20)).await.unwrap();
    store.cancel(&tenant("acme"), id(1), true, at(100)).await.unwrap();
    let late =
        vec![report(1, 50, Reported::Sent(1)), report(1, 60, Reported::Acked), report(1, 101, Reported::Sent(2))];
    tell(&*store, &phone, (&log, appended), &[], late).await;
    let record = message(&*store, 1, 200).await;
    assert_eq!(record.counts, Some(five(1, 1, 0, 0, 1)), "it was sent, and settles nothing any more");
    assert_eq!(record.devices[0].sent, Some((at(50), at(50))));
    let sent: Vec<_> = told(&*store, 0).await.into_iter().filter(|line| matches!(line.2, What::Sent { .. })).collect();
    assert_eq!(sent.len(), 1);
    tell(&*store, &pad, (&log, appended), &[], vec![report(1, 70, Reported::Sent(1))]).await;
    let counts = message(&*store, 1, 200).await.counts;
    assert_eq!(counts, Some(five(2, 2, 0, 0, 2)), "a device that came later adds itself, and has missed it");
}

pub(in crate::store) async fn the_dead_are_counted_once(place: &dyn Place) {
    let store = place.open(Limits::default());
    let (phone, log) = (receiver("ann", "phone"), inbox("ann"));
    store.open(&phone, at(0)).await.unwrap();
    store.subscribe(&phone, vec![topic_name("news")]).await.unwrap();
    for (number, log) in [(1, log), (2, topic("news"))] {
        let appended = store.append(push(&log, number)).await.unwrap();
        let dead = Dead { log: log.clone(), offset: Offset(1), attempts: 2, reason: "no key".to_owned(), at: at(9) };
        let reports = vec![
            report(number, 5, Reported::Sent(1)),
            report(number, 6, nack(1, "no key")),
            report(number, 9, nack(2, "no key")),
        ];
        let commit = |settled: &[(u64, u64)]| Commit {
            receiver: phone.clone(),
            cursors: vec![(log.clone(), cursor_with(appended, settled))],
            dead: vec![dead.clone(), dead.clone()],
            reports: reports.clone(),
        };
        // A commit that does not settle the place says nothing of the dead.
        for (settled, count) in [(&[][..], 0), (&[(1, 1)], 1), (&[(1, 1)], 1)] {
            store.commit(commit(settled)).await.unwrap();
            assert_eq!(counts(&*store, number).await, five(1, 1, 0, count, 0));
            let dead = message(&*store, number, 10).await.devices.into_iter().map(|line| line.state);
            let dead = dead.filter(|state| matches!(state, DeviceState::Dead { .. })).count() as u64;
            assert_eq!(dead, count);
        }
        tell(&*store, &phone, (&log, appended), &[(1, 1)], vec![report(number, 12, Reported::Acked)]).await;
        assert_eq!(counts(&*store, number).await, five(1, 1, 0, 1, 0), "the dead do not ack");
    }
    let dead = What::Dead { attempts: 2, reason: "no key".to_owned() };
    let found = told(&*store, 0).await.into_iter().filter(|line| line.2 == dead).collect::<Vec<_>>();
    assert_eq!(found, [(1, Some("ann/phone".to_owned()), dead)]);
}

pub(in crate::store) async fn topics_are_counted_and_told_once_a_second(place: &dyn Place) {
    let limits = Limits { tombstone_ttl: minutes(60), ..Limits::default() };
    let store = place.open(limits.clone());
    let news = topic("news");
    let devices: Vec<_> = (0..4).map(|number| receiver("ann", &format!("d{number}"))).collect();
    for device in &devices {
        store.open(device, at(0)).await.unwrap();
        store.subscribe(device, vec![topic_name("news")]).await.unwrap();
    }
    let appended = store.append(push(&news, 1)).await.unwrap();
    let sent = |millis| vec![report(1, millis, Reported::Sent(1))];
    let acked = |millis| vec![report(1, millis, Reported::Acked)];
    tell(&*store, &devices[0], (&news, appended), &[], sent(10)).await;
    tell(&*store, &devices[1], (&news, appended), &[], sent(20)).await;
    // A session that was cut sends again, and it is the first time again.
    tell(&*store, &devices[0], (&news, appended), &[], sent(30)).await;
    tell(&*store, &devices[0], (&news, appended), &[(1, 1)], acked(40)).await;
    tell(&*store, &devices[2], (&news, appended), &[(1, 1)], acked(50)).await;
    assert_eq!(counts(&*store, 1).await, five(4, 3, 2, 0, 0), "who acks has it");
    let counted = |sent, acked| (1, None, What::Counted(five(4, sent, acked, 0, 0)));
    assert_eq!(told(&*store, 1).await, [counted(1, 0)]);
    let swept = store.sweep(at(500)).await.unwrap();
    assert_eq!(swept.next, Some(at(1_010)), "there is something to tell then");
    store.sweep(at(1_010)).await.unwrap();
    assert_eq!(told(&*store, 1).await, [counted(1, 0), counted(3, 2)]);
    assert_eq!(store.sweep(at(1_020)).await.unwrap().next, None);
    // Any later call takes along what is to be told, and a clock that went back holds nothing up.
    tell(&*store, &devices[0], (&news, appended), &[(1, 1)], sent(1_200)).await;
    tell(&*store, &devices[1], (&news, appended), &[(1, 1)], acked(1_300)).await;
    store.append(Append { now: at(1_500), ..push(&inbox("bob"), 2) }).await.unwrap();
    assert_eq!(told(&*store, 3).await[..], [(2, None, What::Accepted(five(0, 0, 0, 0, 0)))]);
    store.append(Append { now: at(0), ..push(&inbox("bob"), 3) }).await.unwrap();
    let told_now = told(&*store, 4).await;
    assert!(told_now.contains(&counted(3, 3)), "{told_now:?}");
    drop(store);
    let store = place.open(limits);
    tell(&*store, &devices[1], (&news, appended), &[(1, 1)], acked(1_300)).await;
    sweep_all(&*store, at(60_000)).await;
    let ended = What::Ended(End::Expired, five(4, 3, 3, 0, 1));
    assert!(told(&*store, 4).await.contains(&(1, None, ended)));
}

pub(in crate::store) async fn a_topic_that_was_left_is_not_reported_of(place: &dyn Place) {
    let store = place.open(Limits::default());
    let (phone, news) = (receiver("ann", "phone"), topic("news"));
    store.open(&phone, at(0)).await.unwrap();
    store.subscribe(&phone, vec![topic_name("news")]).await.unwrap();
    let appended = store.append(push(&news, 1)).await.unwrap();
    store.unsubscribe(&phone, vec![topic_name("news")]).await.unwrap();
    tell(&*store, &phone, (&news, appended), &[(1, 1)], vec![report(1, 5, Reported::Acked)]).await;
    assert_eq!(counts(&*store, 1).await, five(1, 0, 0, 0, 0));
}

pub(in crate::store) async fn without_receipts_nothing_is_kept(place: &dyn Place) {
    let store = place.open(Limits::default());
    let (phone, log) = (receiver("ann", "phone"), inbox("ann"));
    store.open(&phone, at(0)).await.unwrap();
    let tag = Tag::new("quiet").unwrap();
    let wishes = Wishes { without_receipts: true, tag: Some(tag.clone()), ..Wishes::default() };
    let appended = store.append(Append { wishes, ..push(&log, 1) }).await.unwrap();
    let page = super::read_all(&*store, &log, at(0)).await;
    assert!(!page.entries[0].receipts);
    tell(&*store, &phone, (&log, appended), &[(1, 1)], vec![report(1, 5, Reported::Acked)]).await;
    let record = message(&*store, 1, 10).await;
    assert_eq!(
        (record.counts, record.tag, record.devices[0].state.clone()),
        (None, Some(tag.clone()), DeviceState::Acked { at: None })
    );
    sweep_all(&*store, at(60_000)).await;
    assert_eq!(message(&*store, 1, 60_000).await.state, MessageState::Expired);
    assert_eq!(told(&*store, 0).await, []);
    let hours = store.tag(&tenant("acme"), &tag, Timestamp::ZERO, at(60_000)).await.unwrap();
    assert_eq!(hours, []);
}

pub(in crate::store) async fn a_forgotten_device_has_missed_it(place: &dyn Place) {
    let limits = Limits { device_absence_max: minutes(2), ..Limits::default() };
    let store = place.open(limits);
    let (phone, log) = (receiver("ann", "phone"), inbox("ann"));
    store.open(&phone, at(0)).await.unwrap();
    store.leave(&phone, at(0)).await.unwrap();
    let long = Append { expires_at: at(600_000), ..push(&log, 1) };
    let appended = store.append(long).await.unwrap();
    sweep_all(&*store, at(120_000)).await;
    // It comes again, as one that was never seen, and is not the one that was counted.
    assert!(store.open(&phone, at(130_000)).await.unwrap().new);
    tell(&*store, &phone, (&log, appended), &[(1, 1)], vec![report(1, 130_001, Reported::Acked)]).await;
    assert_eq!(counts(&*store, 1).await, five(2, 1, 1, 0, 0));
    sweep_all(&*store, at(600_000)).await;
    assert_eq!(message(&*store, 1, 600_001).await.counts, Some(five(2, 1, 1, 0, 1)));
}

/// A cursor that says what was sent is no other cursor for a session.
pub(in crate::store) async fn what_was_sent_does_not_look_like_a_failure(place: &dyn Place) {
    let store = place.open(Limits::default());
    let (phone, news) = (receiver("ann", "phone"), topic("news"));
    store.open(&phone, at(0)).await.unwrap();
    store.subscribe(&phone, vec![topic_name("news")]).await.unwrap();
    let appended = store.append(push(&news, 1)).await.unwrap();
    tell(&*store, &phone, (&news, appended), &[], vec![report(1, 5, Reported::Sent(1))]).await;
    let opened = store.open(&phone, at(10)).await.unwrap();
    let following = opened.follows.following.iter().find(|following| following.log == news).unwrap();
    let Cursor { settled, attempts, .. } = &following.cursor;
    assert_eq!((settled.contains(1), attempts.get(&Offset(1)).copied().unwrap_or_default()), (false, 0));
}
