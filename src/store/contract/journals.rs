//! Journals, sums of tags and webhooks: positions, how long they are kept, who hears of them. Checks of the store's
//! contract.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::receipts::report;
use super::{Place, START, at, cursor_with, inbox, minutes, push, receiver, sweep_all, tenant, topic, topic_name};
use crate::model::clock::Timestamp;
use crate::model::id::{Tag, TenantId};
use crate::model::log::Offset;
use crate::model::message::Durability;
use crate::model::presence;
use crate::model::receipt::{Counts, Reported};
use crate::model::webhook::{Kind, Webhook};
use crate::store::{Announced, Append, Commit, Event, Events, Journal, Limits, Listener, Store, TagHour, Wishes};

async fn read(store: &dyn Store, journal: Journal, after: u64, most: usize) -> Events {
    store.journal(&tenant("acme"), journal, after, most).await.unwrap()
}

fn coming(device: &str, millis: u64) -> presence::Event {
    let receiver = receiver("ann", device);
    presence::Event { at: at(millis), device: Some((receiver.user, receiver.device)), what: presence::What::Connected }
}

pub(in crate::store) async fn a_journal_read_in_pieces_gives_every_event_once(place: &dyn Place) {
    let store = place.open(Limits::default());
    assert_eq!(read(&*store, Journal::Presence, 0, 9).await, Events { first: 1, ..Events::default() });
    // One batch that is large, and many that are small.
    let names: Vec<_> = (0..2_500).map(|number| format!("device-{number}")).collect();
    let (large, small) = names.split_at(2_400);
    store.note(&tenant("acme"), large.iter().map(|name| coming(name, 1)).collect()).await.unwrap();
    for name in small {
        store.note(&tenant("acme"), vec![coming(name, 2)]).await.unwrap();
    }
    let expected: Vec<_> = (1_u64..).zip(&names).map(|(at, name)| (at, name.clone())).collect();
    drop(store);
    let store = place.open(Limits::default());
    for most in [1, 7, 100, 999, 5_000] {
        // Single events only at the seam.
        let mut after = if most == 1 { 2_390 } else { 0 };
        let mut found = Vec::new();
        loop {
            let page = read(&*store, Journal::Presence, after, most).await;
            assert!(page.events.len() <= most);
            assert_eq!((page.first, page.last), (1, 2_500));
            let name = |(at, event): (u64, Event)| match event {
                Event::Presence(presence::Event { device: Some((_, device)), .. }) => (at, device.to_string()),
                other => panic!("{other:?}"),
            };
            let before = after;
            found.extend(page.events.into_iter().map(name));
            after = page.looked;
            if after == page.last {
                break;
            }
            assert!(after > before, "a read gets on");
        }
        assert_eq!(found, expected[2_500 - found.len()..]);
        assert_eq!(found.len(), if most == 1 { 110 } else { 2_500 });
    }
    let all = read(&*store, Journal::Presence, 0, usize::MAX).await;
    assert_eq!((all.events.len(), all.looked), (2_500, 2_500));
    assert_eq!(read(&*store, Journal::Presence, 5, 0).await.looked, 5);
    for after in [2_500, 9_999] {
        let page = read(&*store, Journal::Presence, after, 9).await;
        assert_eq!((page.events, page.last), (Vec::new(), 2_500));
    }
}

pub(in crate::store) async fn journals_and_tenants_are_apart(place: &dyn Place) {
    let store = place.open(Limits::default());
    store.append(push(&inbox("ann"), 1)).await.unwrap();
    store.note(&tenant("acme"), vec![coming("phone", 1)]).await.unwrap();
    store.note(&tenant("acm"), vec![coming("pad", 1), coming("phone", 2)]).await.unwrap();
    for (name, journal, last) in [
        ("acme", Journal::Receipts, 1),
        ("acme", Journal::Presence, 1),
        ("acme", Journal::HandOffs, 0),
        ("acm", Journal::Receipts, 0),
        ("acm", Journal::Presence, 2),
        ("acm2", Journal::Presence, 0),
    ] {
        let page = store.journal(&tenant(name), journal, 0, 9).await.unwrap();
        assert_eq!((page.last, page.events.len() as u64), (last, last), "{name} {journal:?}");
        let fits = |event: &Event| match journal {
            Journal::Receipts => matches!(event, Event::Receipt(_)),
            Journal::Presence => matches!(event, Event::Presence(_)),
            Journal::Audit => matches!(event, Event::Audit(_)),
            Journal::HandOffs => matches!(event, Event::HandOff(_)),
        };
        assert!(page.events.iter().all(|(_, event)| fits(event)));
    }
    // In turns, and as few batches as may be.
    let names = ["a", "b", "c"];
    let in_turns = (0..60).map(|turn| store.note(&tenant(names[turn % 3]), vec![coming("phone", turn as u64)]));
    for answer in in_turns.collect::<Vec<_>>() {
        answer.await.unwrap();
    }
    for (first, name) in names.into_iter().enumerate() {
        let page = store.journal(&tenant(name), Journal::Presence, 0, 99).await.unwrap();
        let expected = (1_u64..).zip((first as u64..60).step_by(3));
        let expected = expected.map(|(at, turn)| (at, Event::Presence(coming("phone", turn)))).collect::<Vec<_>>();
        assert_eq!(page.events, expected);
    }
}

pub(in crate::store) async fn old_events_go_and_positions_never_begin_again(place: &dyn Place) {
    let limits = Limits { journal_ttl: minutes(10), ..Limits::default() };
    let mut store = place.open(limits.clone());
    for minute in 0..300 {
        store.note(&tenant("acme"), vec![coming("phone", minute * 60_000)]).await.unwrap();
    }
    let reach = |page: Events| (page.first, page.last, page.events.first().map(|(position, _)| *position));
    sweep_all(&*store, at(0) + minutes(299)).await;
    assert_eq!(reach(read(&*store, Journal::Presence, 0, 1).await), (291, 300, Some(291)));
    sweep_all(&*store, at(0) + minutes(308)).await;
    assert_eq!(reach(read(&*store, Journal::Presence, 0, 1).await), (300, 300, Some(300)));
    for last in [300, 301] {
        sweep_all(&*store, at(0) + minutes(400)).await;
        assert_eq!(reach(read(&*store, Journal::Presence, 0, 1).await), (last + 1, last, None));
        // Whoever reads on from where it was looked comes to the end.
        assert_eq!(read(&*store, Journal::Presence, 0, 1).await.looked, last);
        drop(store);
        store = place.open(limits.clone());
        assert_eq!(reach(read(&*store, Journal::Presence, 0, 1).await), (last + 1, last, None));
        store.note(&tenant("acme"), vec![coming("phone", 0)]).await.unwrap();
        assert_eq!(reach(read(&*store, Journal::Presence, 0, 1).await), (last + 1, last + 1, Some(last + 1)));
    }
}

/// What is told late is kept as long as the rest.
pub(in crate::store) async fn an_end_that_is_noticed_late_is_told_all_the_same(place: &dyn Place) {
    let limits = Limits { journal_ttl: minutes(10), tombstone_ttl: minutes(10_000), ..Limits::default() };
    let store = place.open(limits);
    store.append(push(&inbox("ann"), 1)).await.unwrap();
    sweep_all(&*store, at(0) + minutes(500)).await;
    sweep_all(&*store, at(0) + minutes(509)).await;
    let page = read(&*store, Journal::Receipts, 0, 9).await;
    let Some((2, Event::Receipt(ended))) = page.events.last() else { panic!("{page:?}") };
    assert_eq!(ended.at, at(60_000));
}

/// Journals that were told of.
#[derive(Default)]
struct Heard(Mutex<Vec<(TenantId, Journal)>>);

impl Listener for Heard {
    fn appended(&self, _: Vec<Announced>) {}

    fn noted(&self, journals: &[(TenantId, Journal)]) {
        self.0.lock().unwrap().extend_from_slice(journals);
    }
}

pub(in crate::store) async fn who_listens_hears_of_new_events_before_the_answer(place: &dyn Place) {
    let store = place.open(Limits::default());
    let heard = Arc::<Heard>::default();
    store.announce_to(Arc::clone(&heard) as Arc<dyn Listener>);
    let take = || std::mem::take(&mut *heard.0.lock().unwrap());
    store.note(&tenant("acme"), vec![coming("phone", 1), coming("pad", 1)]).await.unwrap();
    assert_eq!(take(), [(tenant("acme"), Journal::Presence)]);
    store.note(&tenant("acme"), Vec::new()).await.unwrap();
    store.open(&receiver("ann", "phone"), at(0)).await.unwrap();
    assert_eq!(take(), [], "nothing is new");
    let appended = store.append(push(&inbox("ann"), 1)).await.unwrap();
    assert_eq!(take(), [(tenant("acme"), Journal::Receipts)]);
    let cursors = vec![(inbox("ann"), cursor_with(appended, &[(1, 1)]))];
    let (receiver, reports) = (receiver("ann", "phone"), vec![report(1, 5, Reported::Acked)]);
    store.commit(Commit { receiver, cursors, dead: Vec::new(), reports }).await.unwrap();
    assert_eq!(take(), [(tenant("acme"), Journal::Receipts)]);
}

pub(in crate::store) async fn notes_wait_for_no_disk(place: &dyn Place) {
    let store = place.open(Limits::default());
    let flushes = store.health().flushes;
    store.note(&tenant("acme"), vec![coming("phone", 1)]).await.unwrap();
    assert_eq!(store.health().flushes, flushes);
}

fn tagged(number: u64, log: &crate::model::log::LogId, hour: u64, tag: &str) -> Append {
    let accepted = hour * 3_600_000 + 600_000;
    let wishes = Wishes { tag: Some(Tag::new(tag).unwrap()), ..Wishes::default() };
    Append { now: at(accepted), expires_at: at(accepted + 60_000), wishes, ..push(log, number) }
}

pub(in crate::store) async fn tags_sum_by_the_hour_of_acceptance(place: &dyn Place) {
    let store = place.open(Limits::default());
    let (phone, news) = (receiver("ann", "phone"), topic("news"));
    store.open(&phone, at(0)).await.unwrap();
    store.subscribe(&phone, vec![topic_name("news")]).await.unwrap();
    // START is 22:13:20 UTC: with ten minutes more, 23 minutes past an hour.
    let first = store.append(tagged(1, &news, 0, "spring")).await.unwrap();
    for (number, hour, tag) in [(2, 0, "spring"), (3, 0, "springs"), (4, 1, "spring"), (5, 3, "spring")] {
        store.append(tagged(number, &news, hour, tag)).await.unwrap();
    }
    let cursors = vec![(news.clone(), cursor_with(first, &[(1, 1)]))];
    let reports = vec![report(1, 600_001, Reported::Sent(1)), report(1, 600_002, Reported::Acked)];
    let commit = Commit { receiver: phone, cursors, dead: Vec::new(), reports };
    store.commit(commit.clone()).await.unwrap();
    store.commit(commit).await.unwrap();
    sweep_all(&*store, at(2 * 3_600_000)).await;
    drop(store);
    let store = place.open(Limits::default());
    let hour = |hour: u64| Timestamp::from_millis(START + hour * 3_600_000 - 800_000);
    let counts = |audience, reached, missed| Counts { audience, sent: reached, acked: reached, dead: 0, missed };
    let sums = [
        TagHour { from: hour(0), messages: 2, counts: counts(2, 1, 1) },
        TagHour { from: hour(1), messages: 1, counts: counts(1, 0, 1) },
        TagHour { from: hour(3), messages: 1, counts: counts(1, 0, 0) },
    ];
    let of = async |name: &str, from: Timestamp, upto: Timestamp| {
        store.tag(&tenant("acme"), &Tag::new(name).unwrap(), from, upto).await.unwrap()
    };
    assert_eq!(of("spring", Timestamp::ZERO, at(u64::MAX / 4)).await, sums);
    assert_eq!(of("spring", at(3_600_000), at(2 * 3_600_000)).await, sums[1..2], "the hour that it lies in counts too");
    assert_eq!(of("spring", hour(1), hour(3)).await, sums[1..]);
    assert_eq!(of("spring", hour(2), hour(1)).await, []);
    assert_eq!(of("springs", Timestamp::ZERO, at(0) + minutes(99)).await.len(), 1);
    assert_eq!(store.tag(&tenant("acm"), &Tag::new("spring").unwrap(), hour(0), hour(9)).await, Ok(Vec::new()));
    // A quarter of a year later.
    sweep_all(&*store, hour(0) + Duration::from_secs(90 * 86_400)).await;
    let left = of("spring", Timestamp::ZERO, at(u64::MAX / 4)).await;
    assert_eq!(left.iter().map(|sum| sum.from).collect::<Vec<_>>(), [hour(1), hour(3)]);
}

pub(in crate::store) async fn webhooks_go_on_where_they_were(place: &dyn Place) {
    let store = place.open(Limits::default());
    let hook = |url: &str| Webhook { url: url.to_owned(), secret: vec![0, 255] };
    assert_eq!(store.webhooks().await, Ok(Vec::new()));
    store.append(push(&inbox("ann"), 1)).await.unwrap();
    store.append(push(&inbox("ann"), 2)).await.unwrap();
    // In one batch with what comes before it, too.
    let appended = store.append(push(&inbox("ann"), 3));
    let set = store.set_webhook(&tenant("acme"), Kind::Receipts, Some(hook("https://a/")));
    appended.await.unwrap();
    set.await.unwrap();
    store.set_webhook(&tenant("acm"), Kind::Presence, Some(hook("https://b/"))).await.unwrap();
    store.append(push(&inbox("ann"), 4)).await.unwrap();
    let all = async |store: &dyn Store| store.webhooks().await.unwrap();
    let (a, b) = (hook("https://a/"), hook("https://b/"));
    let presence = (tenant("acm"), Kind::Presence, b, 0);
    assert_eq!(all(&*store).await, [presence.clone(), (tenant("acme"), Kind::Receipts, a.clone(), 3)]);
    let flushes = store.health().flushes;
    for (position, known) in [(4, 4), (3, 4), (99, 4)] {
        store.delivered(&tenant("acme"), Kind::Receipts, position).await.unwrap();
        assert_eq!(all(&*store).await[1].3, known, "never back, and never beyond what there is");
    }
    assert_eq!(store.health().flushes, flushes, "it waits for no disk");
    store.delivered(&tenant("acme"), Kind::Fallback, 1).await.unwrap();
    store.append(push(&inbox("ann"), 5)).await.unwrap();
    drop(store);
    let store = place.open(Limits::default());
    let changed = hook("https://c/");
    store.set_webhook(&tenant("acme"), Kind::Receipts, Some(changed.clone())).await.unwrap();
    assert_eq!(all(&*store).await, [presence.clone(), (tenant("acme"), Kind::Receipts, changed, 4)]);
    store.set_webhook(&tenant("acme"), Kind::Receipts, None).await.unwrap();
    store.delivered(&tenant("acme"), Kind::Receipts, 5).await.unwrap();
    assert_eq!(all(&*store).await, std::slice::from_ref(&presence));
    store.set_webhook(&tenant("acme"), Kind::Receipts, Some(a.clone())).await.unwrap();
    assert_eq!(all(&*store).await, [presence, (tenant("acme"), Kind::Receipts, a, 5)], "a new one begins anew");
}

pub(in crate::store) async fn a_webhook_is_on_disk_when_it_is_set(place: &dyn Place) {
    let store = place.open(Limits::default());
    let flushes = store.health().flushes;
    let webhook = Webhook { url: "https://a/".to_owned(), secret: Vec::new() };
    store.set_webhook(&tenant("acme"), Kind::Receipts, Some(webhook)).await.unwrap();
    assert!(store.health().flushes > flushes);
}

/// Receipts are in the very batch of what they tell of.
pub(in crate::store) async fn receipts_of_many_callers_have_no_gap(place: &dyn Place) {
    let store = place.open(Limits::default());
    let answers = (0..500_u64).map(|number| {
        let durability = if number % 50 == 0 { Durability::Fsync } else { Durability::Relaxed };
        store.append(Append { durability, ..push(&inbox(&format!("user{}", number % 7)), number) })
    });
    for answer in answers.collect::<Vec<_>>() {
        assert!(answer.await.unwrap().offset > Offset::ZERO);
    }
    let page = read(&*store, Journal::Receipts, 0, usize::MAX).await;
    let positions: Vec<_> = page.events.iter().map(|(position, _)| *position).collect();
    assert_eq!(positions, (1..=500).collect::<Vec<_>>());
    let message = |(_, event)| match event {
        Event::Receipt(receipt) => receipt.message,
        other => panic!("{other:?}"),
    };
    let told: Vec<_> = page.events.into_iter().map(message).collect();
    assert_eq!(told, (0..500).map(super::id).collect::<Vec<_>>(), "in the order of the calls");
}
