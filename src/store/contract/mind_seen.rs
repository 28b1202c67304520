//! What one device does for the others: the first ack that takes a message, and what a user has seen; and topics that keep
//! their newest push only. Checks of the store's contract.

use super::mind::{dismissals, standing, state, user, wishing, without};
use super::{
    Place, at, cursor_with, device, id, inbox, minutes, numbers, push, read_all, receiver, sweep_all, tenant, topic,
    topic_name,
};
use crate::model::condition::Condition;
use crate::model::id::{GroupName, Receiver};
use crate::model::log::{LogId, Offset};
use crate::model::message::{DismissReason, Exclusion};
use crate::model::receipt::{Report, Reported};
use crate::model::set::DeviceSet;
use crate::store::{
    Append, Appended, Commit, Dead, DeviceState, Error, Limits, MessageRecord, MessageState, Store, Wishes,
};

/// A device settles a message and says that it acked it, as a session does.
async fn ack(store: &dyn Store, receiver: &Receiver, log: &LogId, appended: Appended, millis: u64) {
    let place = appended.offset.0;
    let cursors = vec![(log.clone(), cursor_with(appended, &[(place, place)]))];
    let reports = vec![Report { message: appended.id, at: at(millis), what: Reported::Acked }];
    store.commit(Commit { receiver: receiver.clone(), cursors, dead: Vec::new(), reports }).await.unwrap();
}

async fn record(store: &dyn Store, number: u64, millis: u64) -> MessageRecord {
    store.message(&tenant("acme"), id(number), at(millis)).await.unwrap().unwrap()
}

async fn dismiss(store: &dyn Store, receiver: &Receiver, number: u64, millis: u64) -> u32 {
    store.dismiss(receiver, vec![id(number)], at(millis)).await.unwrap()
}

fn any_of_user(log: &LogId, number: u64) -> Append {
    wishing(log, number, Wishes { any_of_user: true, ..Wishes::default() })
}

pub(in crate::store) async fn the_first_ack_takes_a_message_from_the_others(place: &dyn Place) {
    let store = place.open(Limits::default());
    let (log, phone, pad) = (inbox("ann"), receiver("ann", "phone"), receiver("ann", "pad"));
    for one in [&phone, &pad] {
        store.open(one, at(0)).await.unwrap();
    }
    let appended = store.append(any_of_user(&log, 1)).await.unwrap();
    let entry = &read_all(&*store, &log, at(0)).await.entries[0];
    assert!(entry.aim.as_ref().unwrap().any_of_user);
    ack(&*store, &phone, &log, appended, 10).await;
    drop(store);
    let store = place.open(Limits::default());
    assert_eq!(state(&*store, 1, 20).await, (MessageState::Taken, None, false));
    assert_eq!(standing(&*store, &log, 20).await, [0; 0]);
    let told = (1, DismissReason::Taken, vec![without("ann", "phone")]);
    assert_eq!(dismissals(&*store, &log, 20).await, std::slice::from_ref(&told));
    let page = read_all(&*store, &log, at(20)).await;
    assert!(!page.entries[0].aim.as_ref().unwrap().any_of_user, "each of the others is to take it away");
    let counts = record(&*store, 1, 20).await.counts.unwrap();
    assert_eq!((counts.audience, counts.acked, counts.missed), (2, 1, 1));
    // The second one may ack too; it changes nothing.
    ack(&*store, &pad, &log, appended, 30).await;
    assert_eq!(dismissals(&*store, &log, 30).await, [told]);
    assert_eq!(record(&*store, 1, 30).await.counts.unwrap(), counts);
    assert_eq!(store.cancel(&tenant("acme"), id(1), false, at(40)).await, Ok((MessageState::Taken, false)));
}

pub(in crate::store) async fn only_an_ack_of_a_device_it_is_for_takes_a_message(place: &dyn Place) {
    let store = place.open(Limits::default());
    let (log, phone) = (inbox("ann"), receiver("ann", "phone"));
    let (pad, watch, stranger) = (receiver("ann", "pad"), receiver("ann", "watch"), receiver("bob", "phone"));
    for one in [&phone, &pad, &watch, &stranger] {
        store.open(one, at(0)).await.unwrap();
    }
    let wishes = Wishes { any_of_user: true, exclude: vec![without("ann", "watch")], ..Wishes::default() };
    let appended = store.append(wishing(&log, 1, wishes)).await.unwrap();
    // Given up by one device, skipped by another, acked by one that it is not for and by a stranger.
    let dead = Dead { log: log.clone(), offset: Offset(1), attempts: 5, reason: "no".to_owned(), at: at(1) };
    let cursors = vec![(log.clone(), cursor_with(appended, &[(1, 1)]))];
    let given_up = Commit { receiver: pad.clone(), cursors: cursors.clone(), dead: vec![dead], reports: Vec::new() };
    store.commit(given_up).await.unwrap();
    let skipped = Commit { receiver: watch.clone(), cursors, dead: Vec::new(), reports: Vec::new() };
    store.commit(skipped).await.unwrap();
    ack(&*store, &watch, &log, appended, 2).await;
    ack(&*store, &stranger, &log, appended, 2).await;
    let word = vec![Report { message: id(1), at: at(3), what: Reported::Acked }];
    let only_said = Commit { receiver: phone.clone(), cursors: Vec::new(), dead: Vec::new(), reports: word };
    store.commit(only_said).await.unwrap();
    assert_eq!(state(&*store, 1, 5).await, (MessageState::Stored, None, true));
    assert_eq!(dismissals(&*store, &log, 5).await, []);
    ack(&*store, &phone, &log, appended, 6).await;
    assert_eq!(state(&*store, 1, 6).await, (MessageState::Taken, None, false));
    let excluded = vec![without("ann", "watch"), without("ann", "phone")];
    assert_eq!(dismissals(&*store, &log, 6).await, [(1, DismissReason::Taken, excluded)]);
}

pub(in crate::store) async fn two_acks_in_one_batch_have_one_winner(place: &dyn Place) {
    let store = place.open(Limits::default());
    let (log, phone, pad) = (inbox("ann"), receiver("ann", "phone"), receiver("ann", "pad"));
    for one in [&phone, &pad] {
        store.open(one, at(0)).await.unwrap();
    }
    // Without receipts too: who takes it is not a matter of what is counted.
    let wishes = Wishes { any_of_user: true, without_receipts: true, ..Wishes::default() };
    let appended = store.append(wishing(&log, 1, wishes)).await.unwrap();
    let (_, _) = tokio::join!(ack(&*store, &pad, &log, appended, 5), ack(&*store, &phone, &log, appended, 5));
    assert_eq!(dismissals(&*store, &log, 5).await, [(1, DismissReason::Taken, vec![without("ann", "pad")])]);
    assert_eq!(state(&*store, 1, 5).await, (MessageState::Taken, None, false));
}

pub(in crate::store) async fn an_ack_after_the_end_takes_nothing(place: &dyn Place) {
    let store = place.open(Limits::default());
    let (log, phone) = (inbox("ann"), receiver("ann", "phone"));
    store.open(&phone, at(0)).await.unwrap();
    let first = store.append(any_of_user(&log, 1)).await.unwrap();
    let second = store.append(any_of_user(&log, 2)).await.unwrap();
    store.cancel(&tenant("acme"), id(1), true, at(1)).await.unwrap();
    ack(&*store, &phone, &log, first, 2).await;
    assert_eq!(state(&*store, 1, 2).await, (MessageState::Cancelled, None, false));
    ack(&*store, &phone, &log, second, 60_000).await;
    assert_eq!(state(&*store, 2, 60_000).await, (MessageState::Expired, None, false));
    assert_eq!(dismissals(&*store, &log, 59_999).await, []);
}

pub(in crate::store) async fn what_a_user_has_seen_goes_from_the_other_devices(place: &dyn Place) {
    let store = place.open(Limits::default());
    let (log, phone, pad) = (inbox("ann"), receiver("ann", "phone"), receiver("ann", "pad"));
    for one in [&phone, &pad, &receiver("bob", "phone")] {
        store.open(one, at(0)).await.unwrap();
    }
    store.append(push(&log, 1)).await.unwrap();
    let bobs = store.append(push(&inbox("bob"), 2)).await.unwrap();
    store.append(Append { device: Some(device("phone")), ..push(&log, 3) }).await.unwrap();
    // Not known, another user's, for this device only; and the same once more.
    let ids = vec![id(9), id(2), id(3), id(1), id(1)];
    assert_eq!(store.dismiss(&phone, ids.clone(), at(5)).await, Ok(1));
    drop(store);
    let store = place.open(Limits::default());
    assert_eq!(store.dismiss(&phone, ids.clone(), at(6)).await, Ok(0), "once");
    assert_eq!(store.dismiss(&pad, ids, at(6)).await, Ok(0), "for each user");
    assert_eq!(standing(&*store, &log, 6).await, [3]);
    assert_eq!(dismissals(&*store, &log, 6).await, [(1, DismissReason::Seen, vec![without("ann", "phone")])]);
    assert_eq!(state(&*store, 1, 6).await, (MessageState::Dismissed, None, false));
    let seen = record(&*store, 1, 6).await;
    let counts = seen.counts.unwrap();
    assert_eq!((counts.audience, counts.acked, counts.missed), (2, 1, 1), "who has seen it has acked it");
    let acked = |name: &str| {
        let line = seen.devices.iter().find(|line| line.device == device(name)).unwrap();
        matches!(line.state, DeviceState::Acked { .. })
    };
    assert!(acked("phone") && !acked("pad"));
    let opened = store.open(&phone, at(7)).await.unwrap();
    assert!(opened.follows.following[0].cursor.settled.contains(1), "it is settled there");
    let bob = store.open(&receiver("bob", "phone"), at(7)).await.unwrap();
    assert!(!bob.follows.following[0].cursor.settled.contains(bobs.offset.0));
    assert_eq!(dismissals(&*store, &inbox("bob"), 6).await, []);
    assert_eq!(state(&*store, 2, 6).await, (MessageState::Stored, None, true));
}

pub(in crate::store) async fn what_a_topic_brought_is_dismissed_for_its_user_alone(place: &dyn Place) {
    let store = place.open(Limits::default());
    let (phone, pad, bob) = (receiver("ann", "phone"), receiver("ann", "pad"), receiver("bob", "phone"));
    for one in [&phone, &pad, &bob] {
        store.open(one, at(0)).await.unwrap();
        store.subscribe(one, vec![topic_name("news")]).await.unwrap();
    }
    let stranger = receiver("eve", "phone");
    store.open(&stranger, at(0)).await.unwrap();
    let wishes = Wishes { exclude: vec![Exclusion { user: user("bob"), device: None }], ..Wishes::default() };
    let news = topic("news");
    let appended = store.append(wishing(&news, 1, wishes)).await.unwrap();
    assert_eq!(dismiss(&*store, &stranger, 1, 5).await, 0, "who does not follow the topic learns nothing");
    assert_eq!(dismiss(&*store, &bob, 1, 5).await, 0, "nor does who was excluded");
    assert_eq!(dismiss(&*store, &phone, 1, 5).await, 1);
    drop(store);
    let store = place.open(Limits::default());
    assert_eq!(dismiss(&*store, &phone, 1, 6).await, 0, "once for each user");
    assert_eq!(dismiss(&*store, &pad, 1, 6).await, 0);
    // A device that is away would come to the topic before it hears of the dismissal, which is in the inbox.
    for (one, settled) in [(&phone, true), (&pad, true), (&bob, false)] {
        let follows = store.follows(one).await.unwrap();
        let cursor = follows.following.into_iter().find(|following| following.log == news).unwrap().cursor;
        assert_eq!(cursor.settled.contains(appended.offset.0), settled, "{one}");
    }
    assert_eq!(standing(&*store, &news, 6).await, [1], "others need it");
    let told = read_all(&*store, &inbox("ann"), at(6)).await;
    let aim = told.entries[0].aim.as_ref().unwrap();
    let dismissed = aim.dismissal.as_ref().unwrap();
    assert_eq!((&dismissed.log, dismissed.epoch, dismissed.offset), (&news, appended.epoch, appended.offset));
    assert_eq!((dismissed.reason, &aim.exclude), (DismissReason::Seen, &vec![without("ann", "phone")]));
    assert_eq!(told.entries[0].expires_at, at(60_000));
    for log in [inbox("bob"), inbox("eve"), news.clone()] {
        assert_eq!(dismissals(&*store, &log, 6).await, []);
    }
    store.append(push(&news, 2)).await.unwrap();
    store.cancel(&tenant("acme"), id(2), false, at(7)).await.unwrap();
    assert_eq!(dismiss(&*store, &phone, 2, 8).await, 0, "the topic's dismissal has told everybody");
}

pub(in crate::store) async fn a_condition_is_cancelled_and_dismissed_for_its_audience(place: &dyn Place) {
    let store = place.open(Limits::default());
    let (phone, pad, bob) = (receiver("ann", "phone"), receiver("ann", "pad"), receiver("bob", "phone"));
    for one in [&phone, &pad, &bob] {
        store.open(one, at(0)).await.unwrap();
    }
    for one in [&phone, &pad] {
        store.subscribe(one, vec![topic_name("news")]).await.unwrap();
    }
    let log = LogId::Broadcast(tenant("acme"));
    let wishes = Wishes { condition: Some(Condition::parse("'news' in topics").unwrap()), ..Wishes::default() };
    assert_eq!(store.append(wishing(&log, 1, wishes)).await.unwrap().audience, Some(2));
    assert_eq!(dismiss(&*store, &bob, 1, 5).await, 0, "who is not in the audience learns nothing");
    assert_eq!((dismiss(&*store, &phone, 1, 5).await, dismiss(&*store, &pad, 1, 5).await), (1, 0));
    assert_eq!(dismissals(&*store, &inbox("ann"), 5).await, [(1, DismissReason::Seen, vec![without("ann", "phone")])]);
    store.cancel(&tenant("acme"), id(1), false, at(6)).await.unwrap();
    drop(store);
    let store = place.open(Limits::default());
    assert_eq!(standing(&*store, &log, 6).await, [0; 0]);
    assert_eq!(dismissals(&*store, &log, 6).await, [(1, DismissReason::Cancelled, Vec::new())]);
    let told = read_all(&*store, &log, at(6)).await.entries.remove(0).aim.unwrap();
    assert_eq!(told.audience.as_ref().map(DeviceSet::len), Some(2), "only those it was for are told");
}

pub(in crate::store) async fn a_topic_of_a_group_is_dismissed_too(place: &dyn Place) {
    let store = place.open(Limits::default());
    let (phone, pad) = (receiver("ann", "phone"), receiver("ann", "pad"));
    for one in [&phone, &pad] {
        store.open(one, at(0)).await.unwrap();
    }
    let groups = vec![(GroupName::new("staff").unwrap(), vec![topic_name("news")])];
    store.set_groups(&tenant("acme"), &user("ann"), groups, 1, at(0)).await.unwrap();
    store.append(push(&topic("news"), 1)).await.unwrap();
    assert_eq!(dismiss(&*store, &phone, 1, 5).await, 1);
    let follows = store.follows(&phone).await.unwrap();
    let settled = follows.following.iter().find(|following| following.log == topic("news")).unwrap();
    assert!(settled.cursor.settled.contains(1), "it is settled there");
    assert_eq!(dismissals(&*store, &inbox("ann"), 5).await, [(1, DismissReason::Seen, vec![without("ann", "phone")])]);
}

pub(in crate::store) async fn what_is_over_is_not_dismissed_but_what_made_room_is(place: &dyn Place) {
    let limits = Limits { inbox_entries_max: 2, ..Limits::default() };
    let store = place.open(limits);
    let (log, phone, pad) = (inbox("ann"), receiver("ann", "phone"), receiver("ann", "pad"));
    store.open(&phone, at(0)).await.unwrap();
    store.open(&pad, at(0)).await.unwrap();
    let first = store.append(push(&log, 1)).await.unwrap();
    store.append(push(&log, 2)).await.unwrap();
    ack(&*store, &phone, &log, first, 1).await;
    ack(&*store, &pad, &log, first, 1).await;
    store.append(push(&log, 3)).await.unwrap();
    assert_eq!(state(&*store, 1, 2).await, (MessageState::Trimmed, None, false));
    store.cancel(&tenant("acme"), id(2), true, at(2)).await.unwrap();
    // It is still on the other device's screen.
    assert_eq!((dismiss(&*store, &phone, 1, 3).await, dismiss(&*store, &pad, 1, 3).await), (1, 0));
    assert_eq!(dismissals(&*store, &log, 3).await, [(1, DismissReason::Seen, vec![without("ann", "phone")])]);
    assert_eq!(state(&*store, 1, 3).await, (MessageState::Trimmed, None, false), "what happened first stays");
    assert_eq!(dismiss(&*store, &phone, 2, 3).await, 0, "it was cancelled");
    assert_eq!(dismiss(&*store, &phone, 3, 60_000).await, 0, "it has expired");
}

pub(in crate::store) async fn seeing_what_is_for_any_device_takes_it(place: &dyn Place) {
    let store = place.open(Limits::default());
    let (log, phone, pad) = (inbox("ann"), receiver("ann", "phone"), receiver("ann", "pad"));
    for one in [&phone, &pad] {
        store.open(one, at(0)).await.unwrap();
    }
    store.append(any_of_user(&log, 1)).await.unwrap();
    assert_eq!((dismiss(&*store, &phone, 1, 3).await, dismiss(&*store, &pad, 1, 3).await), (1, 0));
    assert_eq!(state(&*store, 1, 3).await, (MessageState::Taken, None, false));
    assert_eq!(dismissals(&*store, &log, 3).await, [(1, DismissReason::Taken, vec![without("ann", "phone")])]);
}

pub(in crate::store) async fn an_unknown_device_dismisses_nothing(place: &dyn Place) {
    let store = place.open(Limits::default());
    store.append(push(&inbox("ann"), 1)).await.unwrap();
    let outcome = store.dismiss(&receiver("ann", "phone"), vec![id(1)], at(1)).await;
    assert_eq!(outcome, Err(Error::UnknownDevice));
    let other = Receiver { tenant: tenant("other"), ..receiver("ann", "phone") };
    store.open(&other, at(0)).await.unwrap();
    assert_eq!(store.dismiss(&other, vec![id(1)], at(1)).await, Ok(0), "another tenant's message is not known");
    assert_eq!(state(&*store, 1, 1).await, (MessageState::Stored, None, true));
}

pub(in crate::store) async fn a_full_inbox_goes_without_a_dismissal(place: &dyn Place) {
    let limits = Limits { inbox_entries_max: 1, ..Limits::default() };
    let store = place.open(limits);
    let (phone, pad) = (receiver("ann", "phone"), receiver("ann", "pad"));
    for one in [&phone, &pad] {
        store.open(one, at(0)).await.unwrap();
        store.subscribe(one, vec![topic_name("news")]).await.unwrap();
    }
    store.append(push(&topic("news"), 1)).await.unwrap();
    store.append(push(&inbox("ann"), 2)).await.unwrap();
    dismiss(&*store, &phone, 1, 1).await;
    assert_eq!(numbers(&*store, &inbox("ann"), at(1)).await, [2], "no message goes for it");
}

pub(in crate::store) async fn a_dismissal_that_is_for_no_device_makes_room(place: &dyn Place) {
    let limits = Limits { inbox_entries_max: 2, ..Limits::default() };
    let store = place.open(limits);
    let (log, phone) = (inbox("ann"), receiver("ann", "phone"));
    store.open(&phone, at(0)).await.unwrap();
    // The only device takes each: nobody is left to be told.
    for number in 1..6 {
        let appended = store.append(any_of_user(&log, number)).await;
        ack(&*store, &phone, &log, appended.unwrap_or_else(|error| panic!("{number}: {error}")), 1).await;
    }
}

pub(in crate::store) async fn no_push_is_refused_for_the_sake_of_dismissals(place: &dyn Place) {
    let limits = Limits { inbox_entries_max: 2, ..Limits::default() };
    let store = place.open(limits);
    let (log, phone, pad) = (inbox("ann"), receiver("ann", "phone"), receiver("ann", "pad"));
    // The second one is away and hears of nothing.
    for one in [&phone, &pad] {
        store.open(one, at(0)).await.unwrap();
    }
    for number in 1..6 {
        let appended = store.append(any_of_user(&log, number)).await;
        ack(&*store, &phone, &log, appended.unwrap_or_else(|error| panic!("{number}: {error}")), 1).await;
    }
    assert_eq!(dismissals(&*store, &log, 1).await.len(), 2);
    store.append(push(&log, 12)).await.unwrap();
    store.append(push(&log, 13)).await.unwrap();
    assert_eq!(numbers(&*store, &log, at(1)).await, [12, 13], "the dismissals made room");
    assert_eq!(store.append(push(&log, 14)).await, Err(Error::LogFull(2)));
}

pub(in crate::store) async fn what_is_settled_makes_room_before_a_dismissal(place: &dyn Place) {
    let limits = Limits { inbox_entries_max: 2, ..Limits::default() };
    let store = place.open(limits);
    let (log, phone, pad) = (inbox("ann"), receiver("ann", "phone"), receiver("ann", "pad"));
    for one in [&phone, &pad] {
        store.open(one, at(0)).await.unwrap();
    }
    store.append(push(&log, 1)).await.unwrap();
    store.cancel(&tenant("acme"), id(1), false, at(1)).await.unwrap();
    let appended = store.append(push(&log, 2)).await.unwrap();
    for one in [&phone, &pad] {
        ack(&*store, one, &log, appended, 1).await;
    }
    store.append(push(&log, 3)).await.unwrap();
    assert_eq!(standing(&*store, &log, 1).await, [3]);
    assert_eq!(dismissals(&*store, &log, 1).await, [(1, DismissReason::Cancelled, Vec::new())]);
}

pub(in crate::store) async fn what_a_conflated_topic_held_goes_though_its_newest_is_cancelled(place: &dyn Place) {
    let store = place.open(Limits::default());
    let (acme, log) = (tenant("acme"), topic("news"));
    let appends: Vec<_> = (1..=400).map(|number| store.append(push(&log, number))).collect();
    for append in appends {
        append.await.unwrap();
    }
    store.set_topic(&acme, &topic_name("news"), true).await.unwrap();
    store.append(push(&log, 2_000)).await.unwrap();
    store.cancel(&acme, id(2_000), true, at(0)).await.unwrap();
    let mut now = at(1);
    while let Some(next) = store.sweep(now).await.unwrap().next {
        now = next.max(now);
    }
    assert_eq!(standing(&*store, &log, 10).await, [0; 0], "the cancelled one had taken the place of all");
}

pub(in crate::store) async fn a_conflated_topic_keeps_its_newest_push(place: &dyn Place) {
    let store = place.open(Limits::default());
    let (acme, log) = (tenant("acme"), topic("news"));
    store.append(push(&log, 1)).await.unwrap();
    store.append(push(&log, 2)).await.unwrap();
    store.set_topic(&acme, &topic_name("news"), true).await.unwrap();
    assert_eq!(numbers(&*store, &log, at(0)).await, [1, 2], "what stands goes with the next push");
    store.append(push(&log, 3)).await.unwrap();
    assert_eq!(numbers(&*store, &log, at(0)).await, [3]);
    drop(store);
    let store = place.open(Limits::default());
    let keyed = |number: u64| Append { collapse_key: Some(number.to_string()), ..push(&log, number) };
    store.append(keyed(4)).await.unwrap();
    store.append(keyed(5)).await.unwrap();
    store.append(push(&topic("other"), 6)).await.unwrap();
    assert_eq!(numbers(&*store, &log, at(0)).await, [5], "whatever its own key");
    for old in 1..5 {
        let by = if old < 3 { 3 } else { old + 1 };
        assert_eq!(state(&*store, old, 0).await, (MessageState::Replaced, Some(id(by)), false), "{old}");
    }
    // What was cancelled is still to be taken away when the next push comes.
    store.cancel(&acme, id(5), false, at(1)).await.unwrap();
    store.append(push(&log, 7)).await.unwrap();
    store.append(push(&log, 8)).await.unwrap();
    assert_eq!(standing(&*store, &log, 1).await, [8]);
    assert_eq!(dismissals(&*store, &log, 1).await, [(5, DismissReason::Cancelled, Vec::new())]);
    // Plain again, and conflated again: the newest of the former time is no exception.
    store.set_topic(&acme, &topic_name("news"), false).await.unwrap();
    store.append(push(&log, 9)).await.unwrap();
    store.append(push(&log, 10)).await.unwrap();
    assert_eq!(standing(&*store, &log, 1).await, [8, 9, 10]);
    store.set_topic(&acme, &topic_name("news"), true).await.unwrap();
    store.append(push(&log, 11)).await.unwrap();
    assert_eq!(standing(&*store, &log, 1).await, [11]);
}

pub(in crate::store) async fn what_a_conflated_topic_held_goes_in_bounded_steps(place: &dyn Place) {
    let store = place.open(Limits::default());
    let log = topic("news");
    let appends: Vec<_> = (1..=1_000).map(|number| store.append(push(&log, number))).collect();
    for append in appends {
        append.await.unwrap();
    }
    store.set_topic(&tenant("acme"), &topic_name("news"), true).await.unwrap();
    store.append(push(&log, 2_000)).await.unwrap();
    let left = standing(&*store, &log, 0).await.len();
    assert!((2..1_000).contains(&left), "{left} are left by one step");
    drop(store);
    let store = place.open(Limits::default());
    let mut steps = 0;
    let mut now = at(1);
    while let Some(next) = store.sweep(now).await.unwrap().next {
        now = next.max(now);
        steps += 1;
        assert!(steps < 100, "it ends");
    }
    assert!(steps > 2, "{steps} steps");
    assert_eq!(standing(&*store, &log, 10).await, [2_000]);
    assert_eq!(state(&*store, 500, 10).await, (MessageState::Replaced, Some(id(2_000)), false));
}

pub(in crate::store) async fn nothing_is_left_of_a_changed_mind(place: &dyn Place) {
    let limits = Limits { tombstone_ttl: minutes(1), idempotency_window: minutes(1), ..Limits::default() };
    let store = place.open(limits);
    let (log, phone) = (inbox("ann"), receiver("ann", "phone"));
    store.open(&phone, at(0)).await.unwrap();
    store.subscribe(&phone, vec![topic_name("news")]).await.unwrap();
    store.append(push(&log, 1)).await.unwrap();
    store.append(push(&topic("news"), 2)).await.unwrap();
    store.cancel(&tenant("acme"), id(1), false, at(1)).await.unwrap();
    assert_eq!(dismiss(&*store, &phone, 2, 1).await, 1);
    // Two dismissals and a message expire; then a tombstone each of two messages, and the note that one was seen.
    assert_eq!(sweep_all(&*store, at(60_000)).await.0, 3);
    sweep_all(&*store, at(120_001)).await;
    for log in [log, topic("news")] {
        assert_eq!(read_all(&*store, &log, at(0)).await.entries, []);
    }
    assert_eq!(store.message(&tenant("acme"), id(1), at(0)).await, Ok(None));
}
