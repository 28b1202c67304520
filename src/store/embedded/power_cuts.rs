//! Power cuts while minds are changed: whatever is left of the journal, what was half written is undone as a whole, and
//! doing it again has no second effect.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::model::audit::{self, Action, Actor};
use crate::model::clock::Timestamp;
use crate::model::cursor::Cursor;
use crate::model::id::{DeviceId, MessageId, Receiver, TenantId, TopicName, UserId};
use crate::model::log::{LogId, Offset};
use crate::model::message::{Durability, Entry, Urgency};
use crate::model::receipt::{Report, Reported, What};
use crate::store::contract::check_usage;
use crate::store::open::{Options, open};
use crate::store::{
    Append, Commit, EVERYONE, Event, Expected, Journal, Limits, MessageState, Put, Shelf, Store, Usage, Wishes,
};

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn tenant() -> TenantId {
    TenantId::new("acme").unwrap()
}

fn log() -> LogId {
    LogId::Inbox(tenant(), UserId::new("ann").unwrap())
}

fn receiver(name: &str) -> Receiver {
    Receiver { tenant: tenant(), user: UserId::new("ann").unwrap(), device: DeviceId::new(name).unwrap() }
}

fn push(number: u8, wishes: Wishes) -> Append {
    Append {
        log: log(),
        id: MessageId::from_bytes([number; 16]),
        now: Timestamp::ZERO,
        expires_at: at(60_000),
        urgency: Urgency::Normal,
        device: None,
        collapse_key: None,
        idempotency: None,
        durability: Durability::Fsync,
        body: Bytes::from(vec![number]),
        wishes,
    }
}

/// Where the last byte of a journal stands that is not zero; all of it is within the first MiB.
fn end(journal: &Path) -> u64 {
    let mut bytes = Vec::new();
    File::open(journal).unwrap().take(1 << 20).read_to_end(&mut bytes).unwrap();
    bytes.iter().rposition(|&byte| byte != 0).unwrap() as u64 + 1
}

async fn entries(store: &dyn Store) -> Vec<Entry> {
    store.read(&log(), Offset::ZERO, usize::MAX, usize::MAX, at(10)).await.unwrap().entries
}

async fn state(store: &dyn Store) -> MessageState {
    store.message(&tenant(), MessageId::from_bytes([1; 16]), at(10)).await.unwrap().unwrap().state
}

async fn events(store: &dyn Store, journal: Journal) -> Vec<Event> {
    let events = store.journal(&tenant(), journal, 0, 100).await.unwrap().events;
    events.into_iter().map(|(_, event)| event).collect()
}

/// Runs `before`, then `change`, and cuts the journal between them, each tenth once. What `check` finds after a reopening
/// must hold however much is left; it is told whether all of it is.
async fn cut(
    before: impl AsyncFn(&dyn Store),
    change: impl AsyncFn(&dyn Store),
    check: impl AsyncFn(Arc<dyn Store>, bool),
) {
    for tenth in 0..=10 {
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("0.jnl");
        let limits = Limits { scheduled_max: 1, ..Limits::default() };
        let options = Options { data: folder.path().to_owned(), limits, ..Options::default() };
        let store = open(&options).unwrap();
        before(&*store).await;
        let from = end(&journal);
        change(&*store).await;
        drop(store);
        let left = from + (end(&journal) - from) * tenth / 10;
        File::options().write(true).open(&journal).unwrap().set_len(left).unwrap();
        check(open(&options).unwrap(), tenth == 10).await;
    }
}

#[tokio::test]
async fn a_scheduled_message_is_sent_once_although_the_power_goes_while_it_is_sent() {
    let wishes = || Wishes { send_at: Some(at(5)), ..Wishes::default() };
    let schedule = async |store: &dyn Store| {
        store.append(push(1, wishes())).await.unwrap();
    };
    let send = async |store: &dyn Store| {
        let flushes = store.health().flushes;
        store.sweep(at(5)).await.unwrap();
        assert!(store.health().flushes > flushes, "it is sent as durably as it was asked for");
    };
    cut(schedule, send, async |store: Arc<dyn Store>, all| {
        assert_eq!(state(&*store).await, if all { MessageState::Stored } else { MessageState::Scheduled });
        assert_eq!(entries(&*store).await.len(), usize::from(all));
        for _ in 0..2 {
            store.sweep(at(10)).await.unwrap();
        }
        let sent = entries(&*store).await;
        assert_eq!(
            sent.iter().map(|entry| (entry.id.as_bytes()[0], entry.offset)).collect::<Vec<_>>(),
            [(1, Offset(1))]
        );
        let receipts = events(&*store, Journal::Receipts).await;
        let accepted =
            |event: &&Event| matches!(event, Event::Receipt(receipt) if matches!(receipt.what, What::Accepted(_)));
        assert_eq!((receipts.len(), receipts.iter().filter(accepted).count()), (2, 1));
        // It left the number of those that wait, once.
        let later = |number| Append { now: at(10), ..push(number, Wishes { send_at: Some(at(20)), ..wishes() }) };
        store.append(later(2)).await.unwrap();
        assert!(store.append(later(3)).await.is_err(), "one may wait");
    })
    .await;
}

#[tokio::test]
async fn a_device_is_handed_off_once_although_the_power_goes_meanwhile() {
    let before = async |store: &dyn Store| {
        store.open(&receiver("phone"), at(0)).await.unwrap();
        store.append(push(1, Wishes { fallback_at: Some(at(5)), ..Wishes::default() })).await.unwrap();
    };
    let hand_off = async |store: &dyn Store| {
        let flushes = store.health().flushes;
        store.sweep(at(5)).await.unwrap();
        assert!(store.health().flushes > flushes, "the webhook must not be called for what may be undone");
    };
    cut(before, hand_off, async |store: Arc<dyn Store>, all| {
        assert_eq!(events(&*store, Journal::HandOffs).await.len(), usize::from(all));
        for _ in 0..2 {
            store.sweep(at(10)).await.unwrap();
        }
        assert_eq!(events(&*store, Journal::HandOffs).await.len(), 1);
        let record = store.message(&tenant(), MessageId::from_bytes([1; 16]), at(10)).await.unwrap().unwrap();
        let decided = record.devices[0].handed_off.as_ref().unwrap().0;
        assert_eq!(decided, if all { at(5) } else { at(10) });
    })
    .await;
}

#[tokio::test]
async fn a_message_is_taken_with_its_dismissal_or_not_at_all() {
    let before = async |store: &dyn Store| {
        store.open(&receiver("phone"), at(0)).await.unwrap();
        store.open(&receiver("pad"), at(0)).await.unwrap();
        store.append(push(1, Wishes { any_of_user: true, ..Wishes::default() })).await.unwrap();
    };
    let ack = async |store: &dyn Store| {
        let epoch = store.heads(vec![log()]).await.unwrap()[0].epoch;
        let cursor = Cursor { epoch, settled: [(1, 1)].into_iter().collect(), ..Cursor::default() };
        let reports = vec![Report { message: MessageId::from_bytes([1; 16]), at: at(5), what: Reported::Acked }];
        let commit = Commit { receiver: receiver("pad"), cursors: vec![(log(), cursor)], dead: Vec::new(), reports };
        store.commit(commit).await.unwrap();
    };
    cut(before, ack, async |store: Arc<dyn Store>, all| {
        assert_eq!(state(&*store).await, if all { MessageState::Taken } else { MessageState::Stored });
        if !all {
            ack(&*store).await;
        }
        let left = entries(&*store).await;
        let dismisses = |entry: &Entry| entry.aim.as_ref().is_some_and(|aim| aim.dismissal.is_some());
        assert_eq!(left.iter().map(|entry| (entry.offset, dismisses(entry))).collect::<Vec<_>>(), [(Offset(2), true)]);
        let record = store.message(&tenant(), MessageId::from_bytes([1; 16]), at(10)).await.unwrap().unwrap();
        let counts = record.counts.unwrap();
        assert_eq!((record.state, counts.audience, counts.acked, counts.missed), (MessageState::Taken, 2, 1, 1));
    })
    .await;
}

#[tokio::test]
async fn records_are_written_with_their_word_in_the_audit_log_or_not_at_all() {
    let put = |name: &str, value: Option<&'static str>, expected| Put {
        shelf: Shelf::Keys,
        name: name.to_owned(),
        value: value.map(|value| Bytes::from_static(value.as_bytes())),
        expected,
        until: value.map(|_| at(60_000)),
    };
    let before = async |store: &dyn Store| {
        let puts = vec![put("acme/old", Some("1"), Expected::Absent), put("acme/kept", Some("1"), Expected::Absent)];
        store.write(puts, Vec::new()).await.unwrap();
    };
    let rotate = async |store: &dyn Store| {
        let flushes = store.health().flushes;
        let puts = vec![
            put("acme/old", None, Expected::Version(1)),
            put("acme/kept", Some("2"), Expected::Version(1)),
            put("acme/new", Some("2"), Expected::Absent),
        ];
        let event = audit::Event {
            at: at(5),
            tenant: Some(tenant()),
            actor: Actor::Admin,
            action: Action::KeyRotated,
            object: "key:new".to_owned(),
            details: [("note".to_owned(), "overlap".to_owned())].into(),
        };
        store.write(puts, vec![event]).await.unwrap();
        assert!(store.health().flushes > flushes, "what is answered is on disk");
    };
    cut(before, rotate, async |store: Arc<dyn Store>, all| {
        let found = async |store: &dyn Store| {
            let records = store.records(Shelf::Keys, "acme/", None, 9, at(10)).await.unwrap();
            let records = records.into_iter().map(|(name, record)| (name, record.version, record.value[0]));
            let events = events(store, Journal::Audit).await.len();
            let everyone = TenantId::new(EVERYONE).unwrap();
            let of_all = store.journal(&everyone, Journal::Audit, 0, 9).await.unwrap().events.len();
            (records.collect::<Vec<_>>(), events, of_all)
        };
        let names = |names: &[(&str, u64, u8)]| -> Vec<_> {
            names.iter().map(|&(name, version, value)| (format!("acme/{name}"), version, value)).collect()
        };
        let done = (names(&[("kept", 2, b'2'), ("new", 1, b'2')]), 1, 1);
        let undone = (names(&[("kept", 1, b'1'), ("old", 1, b'1')]), 0, 0);
        assert_eq!(found(&*store).await, if all { done.clone() } else { undone });
        if !all {
            rotate(&*store).await;
            assert_eq!(found(&*store).await, done);
        }
        while store.sweep(at(60_000)).await.unwrap().more {}
        assert_eq!(store.records(Shelf::Keys, "", None, 9, at(0)).await, Ok(Vec::new()), "the time of all is over");
    })
    .await;
}

#[tokio::test]
async fn what_a_tenant_takes_is_counted_with_what_is_kept() {
    let sized = |number: u8, count: usize, wishes: Wishes| Append {
        body: Bytes::from(vec![number; count]),
        ..push(number, wishes)
    };
    let topic = TopicName::new("news").unwrap();
    let before = async |store: &dyn Store| {
        store.open(&receiver("phone"), at(0)).await.unwrap();
        store.append(sized(1, 100, Wishes::default())).await.unwrap();
    };
    let change = async |store: &dyn Store| {
        let replaces = Some(MessageId::from_bytes([1; 16]));
        store.append(sized(2, 30, Wishes { replaces, ..Wishes::default() })).await.unwrap();
        store.append(sized(3, 7, Wishes { send_at: Some(at(5)), ..Wishes::default() })).await.unwrap();
        store.subscribe(&receiver("phone"), vec![topic.clone()]).await.unwrap();
        store.sweep(at(5)).await.unwrap();
        store.cancel(&tenant(), MessageId::from_bytes([2; 16]), false, at(6)).await.unwrap();
        store.leave(&receiver("phone"), at(7)).await.unwrap();
        store.forget(&receiver("phone"), at(7)).await.unwrap();
        store.append(sized(4, 1, Wishes::default())).await.unwrap();
    };
    let found = Mutex::new(BTreeSet::new());
    cut(before, change, async |store: Arc<dyn Store>, all| {
        let waits = store.message(&tenant(), MessageId::from_bytes([3; 16]), at(4)).await.unwrap();
        let waiting = waits.is_some_and(|waits| waits.state == MessageState::Scheduled);
        let news = LogId::Topic(tenant(), topic.clone());
        check_usage(&*store, &tenant(), &[log(), news], if waiting { 7 } else { 0 }).await;
        let Usage { topics, stored_bytes } = store.usage(&tenant()).await.unwrap();
        assert!(!all || (topics, stored_bytes) == (0, 8));
        found.lock().unwrap().insert((topics, stored_bytes));
    })
    .await;
    assert!(found.lock().unwrap().len() > 3, "it was cut between the changes");
}
