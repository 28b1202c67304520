//! Announcements: what the listener hears of appends, when, and what it does not hear. Checks of the store's contract.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};
use std::{mem, thread};

use super::{Place, at, inbox, keyed, push, topic};
use crate::model::log::{LogId, Offset};
use crate::model::message::Durability;
use crate::store::{Announced, Append, Error, Limits, Listener, Store};

/// A listener that keeps what it hears.
#[derive(Default)]
pub(in crate::store) struct Heard(Mutex<Vec<Announced>>);

impl Heard {
    /// One that listens to this store.
    pub(in crate::store) fn of(store: &dyn Store) -> Arc<Self> {
        let heard = Arc::<Self>::default();
        store.announce_to(Arc::clone(&heard) as Arc<dyn Listener>);
        heard
    }

    /// What was heard since the last call.
    pub(in crate::store) fn take(&self) -> Vec<Announced> {
        mem::take(&mut *self.0.lock().unwrap())
    }

    /// The same, as numbers of the bodies.
    pub(in crate::store) fn numbers(&self) -> Vec<u64> {
        self.take().iter().map(|one| str::from_utf8(&one.entry.body).unwrap().parse().unwrap()).collect()
    }
}

impl Listener for Heard {
    fn noted(&self, _: &[(crate::model::id::TenantId, crate::store::Journal)]) {}

    fn appended(&self, batch: Vec<Announced>) {
        assert!(!batch.is_empty(), "there is nothing to hear");
        self.0.lock().unwrap().extend(batch);
    }
}

pub(in crate::store) async fn each_append_is_announced_once_before_its_answer_and_in_order(place: &dyn Place) {
    let store = place.open(Limits::default());
    let heard = Heard::of(&*store);
    let second = Heard::of(&*store);
    let all = Arc::new(Mutex::new(Vec::new()));
    let callers = (0..16_u64).map(|caller| {
        let (store, heard, all) = (Arc::clone(&store), Arc::clone(&heard), Arc::clone(&all));
        tokio::spawn(async move {
            let log = if caller % 4 == 0 { topic("news") } else { inbox(&format!("user{}", caller % 4)) };
            for round in 0..20 {
                let durability = if round % 2 == 0 { Durability::Fsync } else { Durability::Relaxed };
                let append = Append { durability, ..push(&log, caller * 1_000 + round) };
                let body = append.body.clone();
                let appended = store.append(append).await.unwrap();
                let mut all = all.lock().unwrap();
                all.extend(heard.take());
                let announced: Vec<_> = all.iter().filter(|one| one.entry.id == appended.id).collect();
                assert_eq!(announced.len(), 1, "announced when it is answered, and once");
                let Announced { log: of, epoch, entry } = announced[0];
                assert_eq!((of, *epoch, entry.offset), (&log, appended.epoch, appended.offset));
                assert_eq!((entry.accepted_at, entry.expires_at), (appended.accepted_at, appended.expires_at));
                assert_eq!(entry.body.as_ptr(), body.as_ptr(), "the body is shared");
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    let mut offsets: BTreeMap<LogId, Vec<u64>> = BTreeMap::new();
    for one in &*all.lock().unwrap() {
        offsets.entry(one.log.clone()).or_default().push(one.entry.offset.0);
    }
    assert_eq!(offsets.len(), 4);
    assert!(offsets.into_values().all(|offsets| offsets == (1..=80).collect::<Vec<_>>()), "in the order of the log");
    assert_eq!(second.numbers(), [0; 0], "there is one listener");
}

/// A listener that looks at the store from within the announcement.
struct Looker {
    store: Weak<dyn Store>,
    /// Flushes, and whether the entry could be read, for each announcement.
    seen: Mutex<Vec<(u64, bool)>>,
}

impl Listener for Looker {
    fn noted(&self, _: &[(crate::model::id::TenantId, crate::store::Journal)]) {}

    fn appended(&self, batch: Vec<Announced>) {
        let store = self.store.upgrade().unwrap();
        for Announced { log, entry, .. } in batch {
            let read = || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                let before = Offset(entry.offset.0 - 1);
                runtime.block_on(store.read(&log, before, 1, 1, at(0))).unwrap().entries == [entry.clone()]
            };
            let found = thread::scope(|scope| scope.spawn(read).join().unwrap());
            self.seen.lock().unwrap().push((store.health().flushes, found));
        }
    }
}

pub(in crate::store) async fn what_is_announced_is_as_durable_as_asked_and_can_be_read(place: &dyn Place) {
    let store = place.open(Limits::default());
    let looker = Arc::new(Looker { store: Arc::downgrade(&store), seen: Mutex::default() });
    store.announce_to(Arc::clone(&looker) as Arc<dyn Listener>);
    for (number, durability) in [(1, Durability::Fsync), (2, Durability::Relaxed), (3, Durability::Fsync)] {
        let before = store.health().flushes;
        store.append(Append { durability, ..push(&inbox("ann"), number) }).await.unwrap();
        let flushes = before + u64::from(durability == Durability::Fsync);
        assert_eq!(mem::take(&mut *looker.seen.lock().unwrap()), [(flushes, true)], "push {number}");
    }
}

pub(in crate::store) async fn what_was_not_appended_is_not_announced(place: &dyn Place) {
    let store = place.open(Limits { inbox_entries_max: 2, ..Limits::default() });
    let (heard, log) = (Heard::of(&*store), inbox("ann"));
    let calls = [
        keyed("a", 1, push(&log, 1)),
        keyed("a", 1, push(&log, 2)),
        keyed("a", 2, push(&log, 3)),
        push(&log, 4),
        push(&log, 5),
        push(&topic("news"), 6),
    ];
    // All at once, so that they share batches, and one by one.
    let answers: Vec<_> = calls.iter().map(|call| store.append(call.clone())).collect();
    let mut outcomes = Vec::new();
    for answer in answers {
        outcomes.push(answer.await.map(|appended| appended.duplicate));
    }
    let (conflict, full) = (Err(Error::IdempotencyConflict), Err(Error::LogFull(2)));
    assert_eq!(outcomes, [Ok(false), Ok(true), conflict, Ok(false), full, Ok(false)]);
    assert_eq!(heard.numbers(), [1, 4, 6]);
    for call in &calls[..5] {
        let _refused = store.append(call.clone()).await;
    }
    assert_eq!(heard.numbers(), [0; 0]);
}

pub(in crate::store) async fn an_append_whose_caller_is_gone_is_announced(place: &dyn Place) {
    let store = place.open(Limits::default());
    let heard = Heard::of(&*store);
    for number in 1..=20 {
        drop(store.append(push(&inbox("ann"), number)));
    }
    store.close().await.unwrap();
    assert_eq!(heard.numbers(), (1..=20).collect::<Vec<_>>());
}
