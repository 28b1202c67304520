//! Audiences: whom pushes are for, and what entries tell of it. Checks of the store's contract.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::announcements::Heard;
use super::{
    Place, at, cursor_with, device, id, join, keyed, leave, minutes, push, read_all, receiver, settle, sweep_all,
    tenant, topic, topic_name, user,
};
use crate::model::condition::Condition;
use crate::model::id::{DeviceNumber, Receiver};
use crate::model::log::{LogId, Offset};
use crate::model::message::{Aim, Entry, Exclusion};
use crate::model::set::DeviceSet;
use crate::store::{Append, Appended, Audience, Error, Limits, Of, Store, Wishes};

fn condition(text: &str) -> Condition {
    Condition::parse(text).unwrap()
}

fn broadcast() -> LogId {
    LogId::Broadcast(tenant("acme"))
}

/// A push with a condition.
fn to(text: &str, number: u64) -> Append {
    let wishes = Wishes { condition: Some(condition(text)), ..Wishes::default() };
    Append { wishes, ..push(&broadcast(), number) }
}

fn without(exclude: &[(&str, Option<&str>)], append: Append) -> Append {
    let exclusion = |(name, only): &(&str, Option<&str>)| Exclusion { user: user(name), device: only.map(device) };
    let wishes = Wishes { exclude: exclude.iter().map(exclusion).collect(), ..append.wishes };
    Append { wishes, ..append }
}

async fn open(store: &dyn Store, user: &str, device: &str) -> DeviceNumber {
    store.open(&receiver(user, device), at(0)).await.unwrap().follows.number
}

fn attributes(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

async fn audience(store: &dyn Store, text: &str) -> Audience {
    store.audience(&tenant("acme"), Of::Condition(condition(text)), None, usize::MAX).await.unwrap()
}

/// Who is in an audience: users, and devices with their users.
async fn names(store: &dyn Store, text: &str) -> Vec<String> {
    let names = audience(store, text).await.page.into_iter();
    let mut names: Vec<_> =
        names.map(|(_, user, device)| device.map_or(user.to_string(), |device| format!("{user}/{device}"))).collect();
    names.sort_unstable();
    names
}

fn set_of(entry: &Entry) -> DeviceSet {
    entry.aim.as_ref().and_then(|aim| aim.audience.clone()).expect("a push with a condition has an audience")
}

pub(in crate::store) async fn audiences_follow_what_devices_are_and_do(place: &dyn Place) {
    let store = place.open(Limits::default());
    let phone = receiver("ann", "phone");
    assert_eq!(store.describe(&phone, attributes(&[])).await, Err(Error::UnknownDevice));
    open(&*store, "ann", "phone").await;
    open(&*store, "bob", "phone").await;
    join(&*store, "staff", &["ann", "cid"], at(0)).await;
    store.subscribe(&receiver("bob", "phone"), vec![topic_name("staff")]).await.unwrap();
    store.describe(&phone, attributes(&[("platform", "ios"), ("locale", "de")])).await.unwrap();
    store.describe(&phone, attributes(&[("platform", "ios"), ("locale", "en")])).await.unwrap();
    let check = async |store: &dyn Store| {
        assert_eq!(names(store, "'staff' in topics").await, ["ann/phone", "bob/phone", "cid"]);
        assert_eq!(names(store, "platform == 'ios'").await, ["ann/phone"]);
        assert_eq!(names(store, "locale == 'de'").await, [""; 0]);
        assert_eq!(names(store, "!(locale == 'en')").await, ["bob/phone", "cid"]);
    };
    check(&*store).await;
    drop(store);
    let store = place.open(Limits::default());
    check(&*store).await;
    let other = store.audience(&tenant("acme2"), Of::Topic(topic_name("staff")), None, 9).await.unwrap();
    assert_eq!(other, Audience::default(), "audiences of tenants are apart");
    leave(&*store, "staff", &["ann", "cid"], at(0)).await;
    assert_eq!(names(&*store, "'staff' in topics").await, ["bob/phone"]);
    assert_eq!(names(&*store, "!('staff' in topics)").await, ["ann/phone"], "cid has neither group nor device");
    store.unsubscribe(&receiver("bob", "phone"), vec![topic_name("staff")]).await.unwrap();
    assert_eq!(names(&*store, "'staff' in topics").await, [""; 0]);
}

pub(in crate::store) async fn audiences_come_in_pages_and_count_users(place: &dyn Place) {
    let limits = Limits { device_absence_max: minutes(10), ..Limits::default() };
    let store = place.open(limits.clone());
    let acme = tenant("acme");
    for (name, device) in [("ann", "a"), ("bob", "a"), ("ann", "b"), ("ann", "c"), ("cid", "a"), ("bob", "b")] {
        open(&*store, name, device).await;
        store.subscribe(&receiver(name, device), vec![topic_name("news")]).await.unwrap();
    }
    join(&*store, "news", &["dan"], at(0)).await;
    let page = |after, most| store.audience(&acme, Of::Topic(topic_name("news")), after, most);
    let all = page(None, 9).await.unwrap();
    assert_eq!((all.set.len(), all.users, all.page.len()), (7, 4, 7));
    let (mut after, mut pages) = (None, Vec::new());
    loop {
        let next = page(after, 3).await.unwrap();
        assert_eq!((next.set.len(), next.users), (7, 4), "the counts are of all of it");
        let Some(last) = next.page.last() else { break };
        after = Some(last.0);
        pages.extend(next.page);
    }
    assert_eq!(pages, all.page);
    assert!(pages.is_sorted(), "by number");
    store.unsubscribe(&receiver("bob", "a"), vec![topic_name("news")]).await.unwrap();
    assert_eq!(page(None, 0).await.unwrap().users, 4);
    drop(store);
    let store = place.open(limits);
    let page = |after, most| store.audience(&acme, Of::Topic(topic_name("news")), after, most);
    assert_eq!(page(None, 0).await.unwrap().users, 4);
    // All but one of ann's devices are forgotten.
    store.open(&receiver("ann", "b"), at(0)).await.unwrap();
    sweep_all(&*store, at(0) + minutes(10)).await;
    let left = page(None, 9).await.unwrap();
    assert_eq!((left.set.len(), left.users), (2, 2), "ann/b and dan: {:?}", left.page);
}

pub(in crate::store) async fn a_condition_is_evaluated_at_its_place_in_the_order(place: &dyn Place) {
    let store = place.open(Limits::default());
    let heard = Heard::of(&*store);
    let ann = open(&*store, "ann", "phone").await;
    let bob = open(&*store, "bob", "phone").await;
    let news = vec![topic_name("news")];
    // None of the answers is waited for: the order of the calls decides.
    let calls = (
        store.subscribe(&receiver("ann", "phone"), news.clone()),
        store.append(to("'news' in topics", 1)),
        store.subscribe(&receiver("bob", "phone"), news.clone()),
        store.append(to("'news' in topics", 2)),
        store.unsubscribe(&receiver("ann", "phone"), news),
        store.append(to("'news' in topics", 3)),
        store.append(to("'nobody' in topics", 4)),
    );
    let expected = [vec![ann], vec![ann, bob], vec![bob], vec![]];
    let appended = [calls.1.await, calls.3.await, calls.5.await, calls.6.await].map(Result::unwrap);
    let sets: Vec<DeviceSet> = expected.iter().map(|numbers| numbers.iter().copied().collect()).collect();
    assert_eq!(appended.map(|one| one.audience), [Some(1), Some(2), Some(1), Some(0)]);
    assert_eq!(heard.take().iter().map(|one| set_of(&one.entry)).collect::<Vec<_>>(), sets);
    let page = read_all(&*store, &broadcast(), at(0)).await;
    assert_eq!(page.entries.iter().map(set_of).collect::<Vec<_>>(), sets);
    drop(store);
    let store = place.open(Limits::default());
    let page = read_all(&*store, &broadcast(), at(0)).await;
    assert_eq!(page.entries.iter().map(set_of).collect::<Vec<_>>(), sets);
    let again = read_all(&*store, &broadcast(), at(0)).await;
    let shared = |(one, other): (&Entry, &Entry)| Arc::ptr_eq(one.aim.as_ref().unwrap(), other.aim.as_ref().unwrap());
    assert!(page.entries.iter().zip(&again.entries).all(shared), "readers of an entry share one audience");
    let message = store.message(&tenant("acme"), id(2), at(0)).await.unwrap().unwrap();
    assert_eq!(message.aim.and_then(|aim| aim.audience.clone()), Some(sets[1].clone()));
}

pub(in crate::store) async fn excluded_devices_are_not_counted(place: &dyn Place) {
    let store = place.open(Limits::default());
    let a = open(&*store, "ann", "a").await;
    let b = open(&*store, "ann", "b").await;
    join(&*store, "news", &["ann", "bob", "cid"], at(0)).await;
    let news = topic("news");
    let count = async |append| store.append(append).await.unwrap().audience;
    assert_eq!(count(push(&news, 1)).await, Some(4));
    assert_eq!(count(without(&[("ann", Some("a"))], push(&news, 2))).await, Some(3));
    assert_eq!(count(without(&[("ann", None), ("bob", None), ("eve", None)], push(&news, 3))).await, Some(1));
    assert_eq!(count(without(&[("bob", Some("a"))], push(&news, 4))).await, Some(4), "not known: not subtracted");
    assert_eq!(count(without(&[("ann", Some("a"))], push(&super::inbox("ann"), 5))).await, None);
    let excluded = without(&[("bob", None), ("cid", None), ("ann", Some("b"))], to("'news' in topics", 6));
    assert_eq!(count(excluded.clone()).await, Some(1));
    let entry = read_all(&*store, &broadcast(), at(0)).await.entries.remove(0);
    assert_eq!(set_of(&entry), [a].into_iter().collect());
    assert_ne!(a, b);
    let told = read_all(&*store, &news, at(0)).await.entries;
    assert_eq!(told[0].aim, None);
    let exclude = vec![Exclusion { user: user("ann"), device: Some(device("a")) }];
    assert_eq!(told[1].aim.as_deref(), Some(&Aim { exclude, ..Aim::default() }));
}

pub(in crate::store) async fn entries_tell_their_wishes(place: &dyn Place) {
    let store = place.open(Limits::default());
    let heard = Heard::of(&*store);
    let log = super::inbox("ann");
    store.append(push(&log, 1)).await.unwrap();
    let wishes = Wishes { any_of_user: true, without_receipts: true, ..Wishes::default() };
    store.append(Append { wishes, ..push(&log, 2) }).await.unwrap();
    let told = |entries: Vec<Entry>| {
        entries.into_iter().map(|entry| (entry.receipts, entry.aim.as_deref().cloned())).collect::<Vec<_>>()
    };
    let expected = [(true, None), (false, Some(Aim { any_of_user: true, ..Aim::default() }))];
    assert_eq!(told(heard.take().into_iter().map(|one| one.entry).collect()), expected);
    drop(store);
    let store = place.open(Limits::default());
    assert_eq!(told(read_all(&*store, &log, at(0)).await.entries), expected);
    // A condition is for the broadcast log, and nothing comes there without one.
    assert!(super::is_failed(store.append(Append { wishes: to("'a' in topics", 3).wishes, ..push(&log, 3) }).await));
    assert!(super::is_failed(store.append(push(&broadcast(), 3)).await));
    assert_eq!(store.append(push(&log, 3)).await.unwrap().offset, Offset(3), "the store goes on");
}

pub(in crate::store) async fn a_repeated_condition_gives_the_first_audience(place: &dyn Place) {
    let store = place.open(Limits::default());
    open(&*store, "ann", "phone").await;
    let push = |number| keyed("once", 1, to("!('a' in topics)", number));
    let first = store.append(push(1)).await.unwrap();
    assert_eq!(first.audience, Some(1));
    open(&*store, "bob", "phone").await;
    assert_eq!(store.append(push(2)).await, Ok(Appended { duplicate: true, ..first }));
}

pub(in crate::store) async fn the_broadcast_log_is_followed_from_where_a_device_was_seen(place: &dyn Place) {
    let limits = Limits { device_absence_max: minutes(10), ..Limits::default() };
    let store = place.open(limits.clone());
    let all = |number| Append { expires_at: at(9_000_000), ..to("!('x' in topics)", number) };
    let settled = async |store: &dyn Store, receiver: &Receiver| {
        let follows = store.follows(receiver).await.unwrap();
        assert_eq!(follows.following[1].log, broadcast());
        follows.following[1].cursor.settled.iter().collect::<Vec<_>>()
    };
    let (ann, bob) = (receiver("ann", "phone"), receiver("bob", "phone"));
    store.append(all(1)).await.unwrap();
    join(&*store, "staff", &["bob"], at(0)).await;
    open(&*store, "ann", "phone").await;
    let second = store.append(all(2)).await.unwrap();
    assert_eq!(second.audience, Some(2));
    let number = open(&*store, "bob", "phone").await;
    assert_eq!((settled(&*store, &ann).await, settled(&*store, &bob).await), (vec![(1, 1)], vec![(1, 1)]));
    let entry = read_all(&*store, &broadcast(), at(0)).await.entries.remove(1);
    assert!(set_of(&entry).contains(number), "bob's first device takes the place that bob had");
    open(&*store, "bob", "pad").await;
    assert_eq!(settled(&*store, &receiver("bob", "pad")).await, [(1, 2)]);
    settle(&*store, &ann, &broadcast(), cursor_with(second, &[(2, 2)])).await.unwrap();
    assert_eq!(settled(&*store, &ann).await, [(1, 2)]);
    drop(store);
    let store = place.open(limits);
    assert_eq!((settled(&*store, &ann).await, settled(&*store, &bob).await), (vec![(1, 2)], vec![(1, 1)]));
    sweep_all(&*store, at(0) + minutes(10)).await;
    open(&*store, "ann", "phone").await;
    assert_eq!(settled(&*store, &ann).await, [(1, 2)], "it is a new device, and nothing is left of the old one");
    // A user that left its groups keeps its number for its first device, for as long as a device would be kept.
    let third = store.append(all(3)).await.unwrap();
    leave(&*store, "staff", &["bob"], at(0)).await;
    assert_eq!(third.audience, Some(2), "ann's device and bob");
    let number = open(&*store, "bob", "phone").await;
    let entry = read_all(&*store, &broadcast(), at(0)).await.entries.remove(2);
    assert!(set_of(&entry).contains(number), "he had left the group, and still receives what it was true for");
    assert_eq!(settled(&*store, &bob).await, [(1, 2)]);
}

pub(in crate::store) async fn a_full_broadcast_log_trims_the_oldest(place: &dyn Place) {
    let store = place.open(Limits { broadcast_entries_max: 2, ..Limits::default() });
    for number in 1..=4 {
        store.append(to("'a' in topics", number)).await.unwrap();
    }
    let page = read_all(&*store, &broadcast(), at(0)).await;
    assert_eq!((page.entries.len(), page.head.trimmed), (2, Offset(2)));
    sweep_all(&*store, at(60_000)).await;
    let fifth = store.append(to("'a' in topics", 5)).await.unwrap();
    assert_eq!((fifth.offset, fifth.epoch), (Offset(5), page.head.epoch), "its life never ends");
}
