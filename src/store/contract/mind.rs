//! Changing one's mind: cancelled and replaced messages, and the dismissals that tell of it. Checks of the store's
//! contract.

use super::announcements::Heard;
use super::{
    Place, at, cursor_with, device, id, inbox, minutes, numbers, push, read_all, receiver, settle, sweep_all, tenant,
    topic,
};
use crate::model::id::{MessageId, UserId};
use crate::model::log::{LogId, Offset};
use crate::model::message::{DismissReason, Dismissed, Entry, Exclusion, Urgency};
use crate::store::{Append, Error, Limits, MessageState, Store, Wishes};

/// A push with wishes.
pub(super) fn wishing(log: &LogId, number: u64, wishes: Wishes) -> Append {
    Append { wishes, ..push(log, number) }
}

/// The state of a message, by which one it was replaced, and whether its entry stands.
pub(super) async fn state(store: &dyn Store, number: u64, millis: u64) -> (MessageState, Option<MessageId>, bool) {
    let record = store.message(&tenant("acme"), id(number), at(millis)).await.unwrap().unwrap();
    (record.state, record.ended.and_then(|(_, by)| by), record.entry.is_some())
}

/// The dismissals of a log: which message, why, and who does not get them.
pub(super) async fn dismissals(
    store: &dyn Store,
    log: &LogId,
    millis: u64,
) -> Vec<(u64, DismissReason, Vec<Exclusion>)> {
    let page = read_all(store, log, at(millis)).await;
    page.entries.into_iter().filter_map(|entry| dismissal(&entry)).collect()
}

/// What a dismissal says; `None` for a message.
fn dismissal(entry: &Entry) -> Option<(u64, DismissReason, Vec<Exclusion>)> {
    let aim = entry.aim.as_ref()?;
    let dismissed = aim.dismissal.as_ref()?;
    let message = u64::from_be_bytes(dismissed.message.as_bytes()[8..].try_into().unwrap());
    Some((message, dismissed.reason, aim.exclude.clone()))
}

/// The numbers of the messages that stand in a log, without the dismissals.
pub(super) async fn standing(store: &dyn Store, log: &LogId, millis: u64) -> Vec<u64> {
    let page = read_all(store, log, at(millis)).await;
    let messages = page.entries.iter().filter(|entry| dismissal(entry).is_none());
    messages.map(|entry| u64::from_be_bytes(entry.id.as_bytes()[8..].try_into().unwrap())).collect()
}

pub(super) fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

pub(super) fn without(user_name: &str, device_name: &str) -> Exclusion {
    Exclusion { user: user(user_name), device: Some(device(device_name)) }
}

pub(in crate::store) async fn what_is_cancelled_goes_and_those_who_may_have_it_are_told(place: &dyn Place) {
    let store = place.open(Limits::default());
    for name in ["pad", "phone"] {
        store.open(&receiver("ann", name), at(0)).await.unwrap();
    }
    let log = inbox("ann");
    let wishes = Wishes { exclude: vec![without("ann", "watch")], ..Wishes::default() };
    let appended = store.append(wishing(&log, 1, wishes)).await.unwrap();
    store.append(push(&log, 2)).await.unwrap();
    let heard = Heard::of(&*store);
    assert_eq!(store.cancel(&tenant("acme"), id(1), false, at(5)).await, Ok((MessageState::Cancelled, true)));
    let announced = heard.take();
    assert_eq!(announced.len(), 1, "the dismissal is announced");
    drop(store);
    let store = place.open(Limits::default());
    let page = read_all(&*store, &log, at(5)).await;
    assert_eq!(page.entries.len(), 2);
    let told = &page.entries[1];
    assert_eq!((&announced[0].entry, &announced[0].log, announced[0].epoch), (told, &log, appended.epoch));
    assert_eq!((told.offset, told.accepted_at, told.expires_at), (Offset(3), at(5), at(60_000)));
    assert_eq!((told.urgency, told.receipts, told.body.len()), (Urgency::High, false, 0));
    let aim = told.aim.as_ref().unwrap();
    let dismissed = Dismissed {
        log: log.clone(),
        epoch: appended.epoch,
        offset: appended.offset,
        message: id(1),
        reason: DismissReason::Cancelled,
    };
    assert_eq!((aim.dismissal.as_ref(), aim.exclude.as_slice()), (Some(&dismissed), &[without("ann", "watch")][..]));
    assert_eq!(state(&*store, 1, 5).await, (MessageState::Cancelled, None, false));
    let record = store.message(&tenant("acme"), id(1), at(5)).await.unwrap().unwrap();
    assert_eq!(record.ended, Some((at(5), None)));
    assert_eq!(store.message(&tenant("acme"), told.id, at(5)).await, Ok(None), "a dismissal is no message");
    // Again: it says what it said, and tells nobody.
    assert_eq!(store.cancel(&tenant("acme"), id(1), false, at(6)).await, Ok((MessageState::Cancelled, false)));
    assert_eq!(store.heads(vec![log.clone()]).await.unwrap()[0].last, Offset(3));
}

pub(in crate::store) async fn what_is_cancelled_silently_leaves_no_word(place: &dyn Place) {
    let store = place.open(Limits::default());
    store.open(&receiver("ann", "phone"), at(0)).await.unwrap();
    for (number, log) in [(1, inbox("ann")), (2, topic("news"))] {
        store.append(push(&log, number)).await.unwrap();
        assert_eq!(store.cancel(&tenant("acme"), id(number), true, at(5)).await, Ok((MessageState::Cancelled, true)));
        let head = store.heads(vec![log.clone()]).await.unwrap()[0];
        assert!(head.last <= Offset(1), "{head:?}");
        assert_eq!(numbers(&*store, &log, at(5)).await, [0; 0]);
    }
}

pub(in crate::store) async fn a_dismissal_is_for_the_device_its_message_was_for(place: &dyn Place) {
    let store = place.open(Limits::default());
    store.open(&receiver("ann", "phone"), at(0)).await.unwrap();
    let log = inbox("ann");
    store.append(Append { device: Some(device("phone")), ..push(&log, 1) }).await.unwrap();
    store.cancel(&tenant("acme"), id(1), false, at(5)).await.unwrap();
    let page = read_all(&*store, &log, at(5)).await;
    assert_eq!(page.entries[0].device, Some(device("phone")));
    // A user without a known device has nothing to be taken away.
    store.append(push(&inbox("bob"), 2)).await.unwrap();
    assert_eq!(store.cancel(&tenant("acme"), id(2), false, at(5)).await, Ok((MessageState::Cancelled, true)));
    assert_eq!(read_all(&*store, &inbox("bob"), at(5)).await.entries, []);
}

pub(in crate::store) async fn what_is_over_or_unknown_cannot_be_cancelled(place: &dyn Place) {
    let limits = Limits { tombstone_ttl: minutes(1), topic_entries_max: 1, ..Limits::default() };
    let store = place.open(limits);
    let log = inbox("ann");
    let acme = tenant("acme");
    assert_eq!(store.cancel(&acme, id(9), false, at(0)).await, Err(Error::UnknownMessage));
    store.append(push(&log, 1)).await.unwrap();
    assert_eq!(store.cancel(&tenant("other"), id(1), false, at(0)).await, Err(Error::UnknownMessage));
    for sweep in [false, true] {
        if sweep {
            sweep_all(&*store, at(60_000)).await;
        }
        assert_eq!(store.cancel(&acme, id(1), false, at(60_000)).await, Ok((MessageState::Expired, false)));
    }
    assert_eq!(store.cancel(&acme, id(1), false, at(120_000)).await, Err(Error::UnknownMessage), "long gone");
    store.append(push(&topic("news"), 2)).await.unwrap();
    store.append(push(&topic("news"), 3)).await.unwrap();
    assert_eq!(store.cancel(&acme, id(2), false, at(1)).await, Ok((MessageState::Trimmed, false)));
    let keyed = |number| Append { collapse_key: Some("k".to_owned()), ..push(&log, number) };
    store.append(keyed(4)).await.unwrap();
    store.append(keyed(5)).await.unwrap();
    assert_eq!(store.cancel(&acme, id(4), false, at(1)).await, Ok((MessageState::Replaced, false)));
    assert_eq!(dismissals(&*store, &log, 1).await, []);
}

pub(in crate::store) async fn a_dismissal_expires_with_its_message_and_makes_room_like_one(place: &dyn Place) {
    let limits = Limits { inbox_entries_max: 2, tombstone_ttl: minutes(1), ..Limits::default() };
    let store = place.open(limits);
    let (log, phone) = (inbox("ann"), receiver("ann", "phone"));
    store.open(&phone, at(0)).await.unwrap();
    let appended = store.append(push(&log, 1)).await.unwrap();
    store.append(push(&log, 2)).await.unwrap();
    store.cancel(&tenant("acme"), id(1), false, at(1)).await.unwrap();
    // Settled, it goes as a message would.
    settle(&*store, &phone, &log, cursor_with(appended, &[(1, 1), (3, 3)])).await.unwrap();
    store.append(push(&log, 4)).await.unwrap();
    assert_eq!(numbers(&*store, &log, at(1)).await, [2, 4]);
    store.cancel(&tenant("acme"), id(2), false, at(1)).await.unwrap();
    assert_eq!(dismissals(&*store, &log, 59_999).await, [(2, DismissReason::Cancelled, Vec::new())]);
    assert_eq!(dismissals(&*store, &log, 60_000).await, [], "read past its time");
    sweep_all(&*store, at(60_000)).await;
    store.append(Append { now: at(60_000), expires_at: at(90_000), ..push(&log, 5) }).await.unwrap();
    store.append(Append { now: at(60_000), expires_at: at(90_000), ..push(&log, 6) }).await.unwrap();
    assert_eq!(numbers(&*store, &log, at(60_000)).await, [5, 6], "it left its room");
}

pub(in crate::store) async fn a_dismissal_in_a_topic_is_trimmed_like_a_message(place: &dyn Place) {
    let limits = Limits { topic_entries_max: 2, ..Limits::default() };
    let store = place.open(limits);
    let log = topic("news");
    for number in 1..=2 {
        store.append(push(&log, number)).await.unwrap();
    }
    store.cancel(&tenant("acme"), id(1), false, at(1)).await.unwrap();
    assert_eq!(standing(&*store, &log, 1).await, [2]);
    store.append(push(&log, 3)).await.unwrap();
    store.append(push(&log, 4)).await.unwrap();
    assert_eq!(numbers(&*store, &log, at(1)).await, [3, 4]);
    assert_eq!(dismissals(&*store, &log, 1).await, []);
}

pub(in crate::store) async fn a_named_message_is_replaced(place: &dyn Place) {
    let store = place.open(Limits { inbox_entries_max: 1, ..Limits::default() });
    let log = inbox("ann");
    store.open(&receiver("ann", "phone"), at(0)).await.unwrap();
    store.append(Append { collapse_key: Some("k".to_owned()), ..push(&log, 1) }).await.unwrap();
    let naming = |number, old| wishing(&log, number, Wishes { replaces: Some(id(old)), ..Wishes::default() });
    let second = store.append(naming(2, 1)).await.unwrap();
    assert_eq!(second.offset, Offset(2), "a full log has room for what takes another's place");
    drop(store);
    let store = place.open(Limits { inbox_entries_max: 3, ..Limits::default() });
    assert_eq!(numbers(&*store, &log, at(1)).await, [2]);
    assert_eq!(state(&*store, 1, 1).await, (MessageState::Replaced, Some(id(2)), false));
    // With a collapse key besides, both go; the key of what was named is free.
    store.append(Append { collapse_key: Some("k".to_owned()), ..push(&log, 3) }).await.unwrap();
    assert_eq!(standing(&*store, &log, 1).await, [2, 3]);
    store.append(Append { collapse_key: Some("k".to_owned()), ..naming(4, 2) }).await.unwrap();
    assert_eq!(standing(&*store, &log, 1).await, [4]);
    for old in [2, 3] {
        assert_eq!(state(&*store, old, 1).await, (MessageState::Replaced, Some(id(4)), false));
    }
    store.append(Append { collapse_key: Some("k".to_owned()), ..naming(5, 4) }).await.unwrap();
    assert_eq!(standing(&*store, &log, 1).await, [5], "named and of the same key is one");
    assert_eq!(dismissals(&*store, &log, 1).await, [], "what takes its place tells enough");
}

pub(in crate::store) async fn only_what_may_be_replaced_is(place: &dyn Place) {
    let store = place.open(Limits { tombstone_ttl: minutes(1), ..Limits::default() });
    let (log, acme) = (inbox("ann"), tenant("acme"));
    store.append(push(&log, 1)).await.unwrap();
    store.append(push(&log, 2)).await.unwrap();
    store.append(push(&log, 3)).await.unwrap();
    store.cancel(&acme, id(2), true, at(1)).await.unwrap();
    let naming = |log: &LogId, old| wishing(log, 9, Wishes { replaces: Some(id(old)), ..Wishes::default() });
    let elsewhere = Error::NotReplaceable("it went to another target");
    let refusals = [
        (naming(&inbox("bob"), 1), elsewhere.clone()),
        (naming(&topic("news"), 1), elsewhere.clone()),
        (Append { device: Some(device("phone")), ..naming(&log, 1) }, elsewhere),
        (naming(&log, 2), Error::NotReplaceable("it was cancelled")),
        (
            Append { now: at(60_000), expires_at: at(70_000), ..naming(&log, 3) },
            Error::NotReplaceable("it has expired"),
        ),
        (naming(&log, 8), Error::UnknownMessage),
        (Append { now: at(120_000), expires_at: at(170_000), ..naming(&log, 3) }, Error::UnknownMessage),
        (Append { log: LogId::Inbox(tenant("other"), user("ann")), ..naming(&log, 1) }, Error::UnknownMessage),
    ];
    for (append, refusal) in refusals {
        let send_at = append.now + minutes(1);
        let later = Append { expires_at: append.expires_at + minutes(2), ..append.clone() };
        let later = Append { wishes: Wishes { send_at: Some(send_at), ..later.wishes.clone() }, ..later };
        assert_eq!(store.append(append).await, Err(refusal.clone()));
        assert_eq!(store.append(later).await, Err(refusal));
    }
    assert_eq!(store.heads(vec![log.clone()]).await.unwrap()[0].last, Offset(3), "nothing was written");
    assert_eq!(store.message(&acme, id(9), at(1)).await, Ok(None));
    assert_eq!(numbers(&*store, &log, at(1)).await, [1, 3]);
}

pub(in crate::store) async fn a_collapse_key_tells_by_which_message(place: &dyn Place) {
    let store = place.open(Limits::default());
    let keyed = |number| Append { collapse_key: Some("k".to_owned()), ..push(&topic("news"), number) };
    store.append(keyed(1)).await.unwrap();
    store.append(keyed(2)).await.unwrap();
    assert_eq!(state(&*store, 1, 1).await, (MessageState::Replaced, Some(id(2)), false));
}
