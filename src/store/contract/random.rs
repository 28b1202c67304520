//! Random sequences of calls against a plain model that keeps everything in lists. Check of the store's contract.
//!
//! Where the contract leaves freedom (which settled entry makes room, how many old entries of a topic go at once), the
//! model checks what was done against the rule and takes it over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::announcements::Heard;
use super::{Place, START, at, check_usage, id, push, tenant};
use crate::model::clock::Timestamp;
use crate::model::cursor::Cursor;
use crate::model::id::{DeviceId, Receiver, TenantId, TopicName, UserId};
use crate::model::log::{Epoch, LogId, Offset};
use crate::model::ranges::Ranges;
use crate::store::{Append, Appended, Commit, DeviceState, Error, Idempotency, Limits, MessageState, Page, Store};

const INBOX_MAX: u64 = 4;
const TOPIC_MAX: u64 = 3;
const TOMBSTONE_MILLIS: u64 = 40;
const WINDOW_MILLIS: u64 = 60;

#[derive(Clone, Debug)]
enum Step {
    Append { log: usize, key: Option<u8>, only: Option<usize>, ttl: u64, repeat: Option<(u8, u64)> },
    Open(usize, usize),
    Leave(usize, usize),
    Forget(usize, usize),
    Subscribe(usize, usize, usize),
    Unsubscribe(usize, usize, usize),
    Commit { user: usize, device: usize, log: usize, from: u64, length: u64, void: bool },
    Pass(u64),
    Sweep,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let log = 0_usize..4;
    let key = prop::option::weighted(0.4, 0_u8..2);
    let only = prop::option::weighted(0.3, 0_usize..2);
    let repeat = prop::option::weighted(0.3, (0_u8..3, 0_u64..2));
    let append = (log, key, only, 1_u64..60, repeat).prop_map(|(log, key, only, ttl, repeat)| Step::Append {
        log,
        key,
        only,
        ttl,
        repeat,
    });
    let commit = (0_usize..2, 0_usize..2, 0_usize..4, 0_u64..12, 0_u64..6, prop::bool::weighted(0.1))
        .prop_map(|(user, device, log, from, length, void)| Step::Commit { user, device, log, from, length, void });
    let who = || (0_usize..2, 0_usize..2);
    prop_oneof![
        10 => append,
        6 => commit,
        2 => who().prop_map(|(user, device)| Step::Open(user, device)),
        1 => who().prop_map(|(user, device)| Step::Leave(user, device)),
        1 => who().prop_map(|(user, device)| Step::Forget(user, device)),
        2 => (who(), 0_usize..2).prop_map(|((user, device), topic)| Step::Subscribe(user, device, topic)),
        1 => (who(), 0_usize..2).prop_map(|((user, device), topic)| Step::Unsubscribe(user, device, topic)),
        4 => (1_u64..25).prop_map(Step::Pass),
        2 => Just(Step::Sweep),
        1 => Just(Step::Reopen),
    ]
}

pub(in crate::store) async fn any_sequence_matches_a_plain_model(place: &dyn Place) {
    let limits = Limits {
        inbox_entries_max: INBOX_MAX,
        topic_entries_max: TOPIC_MAX,
        tombstone_ttl: Duration::from_millis(TOMBSTONE_MILLIS),
        idempotency_window: Duration::from_millis(WINDOW_MILLIS),
        ..Limits::default()
    };
    let cases = AtomicU64::new(0);
    let run = |steps: Vec<Step>| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let owner = tenant(&format!("case{}", cases.fetch_add(1, Ordering::Relaxed)));
        runtime.block_on(async {
            let mut world = World::new(owner, place.open(limits.clone()));
            for step in steps {
                match step {
                    Step::Reopen => world.reopen(place, &limits),
                    step => world.take(step).await,
                }
                world.check().await;
            }
        });
        Ok(())
    };
    // The runner is not async, and a runtime cannot be entered from within another one.
    let runner = || TestRunner::new(Config::with_cases(48)).run(&prop::collection::vec(step(), 1..80), run);
    let outcome = thread::scope(|scope| scope.spawn(runner).join().unwrap());
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

/// What the model knows of a message.
struct Message {
    log: LogId,
    appended: Appended,
    only: Option<DeviceId>,
    key: Option<String>,
    /// How it left its log by other means than expiry, and when.
    left: Option<(MessageState, Timestamp)>,
}

/// What the model knows of one log's present life.
#[derive(Default)]
struct Log {
    epoch: Option<Epoch>,
    last: u64,
}

struct World {
    owner: TenantId,
    store: Option<Arc<dyn Store>>,
    /// What the store announces.
    heard: Arc<Heard>,
    now: u64,
    /// By number.
    messages: Vec<Message>,
    logs: BTreeMap<LogId, Log>,
    /// Settled offsets by device and log.
    cursors: BTreeMap<Receiver, BTreeMap<LogId, Ranges>>,
    repeats: BTreeMap<String, (u64, Appended)>,
    /// How many times devices are open.
    present: BTreeMap<Receiver, u32>,
}

impl World {
    fn new(owner: TenantId, store: Arc<dyn Store>) -> Self {
        let (messages, logs, cursors, repeats, present) = Default::default();
        let heard = Heard::of(&*store);
        Self { owner, store: Some(store), heard, now: 0, messages, logs, cursors, repeats, present }
    }

    fn store(&self) -> &dyn Store {
        self.store.as_deref().unwrap()
    }

    fn now(&self) -> Timestamp {
        at(self.now)
    }

    fn reopen(&mut self, place: &dyn Place, limits: &Limits) {
        self.store = None;
        self.present.clear();
        let store = place.open(limits.clone());
        self.heard = Heard::of(&*store);
        self.store = Some(store);
    }

    fn topic(&self, number: usize) -> TopicName {
        let _ = self;
        TopicName::new(["t", "tt"][number]).unwrap()
    }

    fn log(&self, number: usize) -> LogId {
        match number {
            0 | 1 => LogId::Inbox(self.owner.clone(), UserId::new(["u", "uu"][number]).unwrap()),
            _ => LogId::Topic(self.owner.clone(), self.topic(number - 2)),
        }
    }

    fn receiver(&self, user: usize, device: usize) -> Receiver {
        let user = UserId::new(["u", "uu"][user]).unwrap();
        Receiver { tenant: self.owner.clone(), user, device: DeviceId::new(["d", "dd"][device]).unwrap() }
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Append { log, key, only, ttl, repeat } => self.append(log, key, only, ttl, repeat).await,
            Step::Open(user, device) => self.open(self.receiver(user, device)).await,
            Step::Leave(user, device) => {
                let receiver = self.receiver(user, device);
                self.store().leave(&receiver, self.now()).await.unwrap();
                self.present.entry(receiver).and_modify(|times| *times = times.saturating_sub(1));
            }
            Step::Forget(user, device) => {
                let receiver = self.receiver(user, device);
                self.store().forget(&receiver, self.now()).await.unwrap();
                if self.present.get(&receiver).is_none_or(|times| *times == 0) {
                    self.cursors.remove(&receiver);
                }
            }
            Step::Subscribe(user, device, topic) => self.subscribe(self.receiver(user, device), topic).await,
            Step::Unsubscribe(user, device, topic) => {
                let receiver = self.receiver(user, device);
                let left = self.store().unsubscribe(&receiver, vec![self.topic(topic)]).await;
                let log = self.log(topic + 2);
                let expected = self.cursors.get_mut(&receiver).ok_or(Error::UnknownDevice).map(|cursors| {
                    cursors.remove(&log);
                    cursors.len() as u32 - 1
                });
                assert_eq!(left, expected);
            }
            Step::Commit { user, device, log, from, length, void } => {
                self.commit(self.receiver(user, device), self.log(log), from, from + length, void).await;
            }
            Step::Pass(millis) => self.now += millis,
            Step::Sweep => {
                self.store().sweep(self.now()).await.unwrap();
            }
            Step::Reopen => unreachable!("the caller reopens"),
        }
    }

    async fn append(&mut self, log: usize, key: Option<u8>, only: Option<usize>, ttl: u64, repeat: Option<(u8, u64)>) {
        let (id, log) = (self.log(log), self.messages.len() as u64);
        let (log, number) = (id, log);
        let append = Append {
            now: self.now(),
            expires_at: at(self.now + ttl),
            device: only.filter(|_| matches!(log, LogId::Inbox(..))).map(|only| self.receiver(0, only).device),
            collapse_key: key.map(|key| key.to_string()),
            idempotency: repeat.map(|(key, fingerprint)| Idempotency { key: key.to_string(), fingerprint }),
            ..push(&log, number)
        };
        let outcome = self.store().append(append.clone()).await;
        let fresh = outcome.as_ref().ok().filter(|appended| !appended.duplicate);
        let heard = self.heard.take();
        let heard: Vec<_> = heard.iter().map(|one| (&one.log, one.epoch, one.entry.offset, one.entry.id)).collect();
        assert_eq!(heard, Vec::from_iter(fresh.map(|fresh| (&log, fresh.epoch, fresh.offset, fresh.id))));
        if let Some(idempotency) = &append.idempotency {
            let known = self.repeats.get(&idempotency.key);
            let known =
                known.filter(|(_, first)| first.accepted_at + Duration::from_millis(WINDOW_MILLIS) > self.now());
            if let Some((fingerprint, first)) = known {
                let duplicate = Ok(Appended { duplicate: true, ..*first });
                let same = *fingerprint == idempotency.fingerprint;
                assert_eq!(outcome, if same { duplicate } else { Err(Error::IdempotencyConflict) });
                return;
            }
        }
        let twin = self.standing(&log).into_iter().find(|&at| {
            let message = &self.messages[at];
            message.key.is_some() && message.key == append.collapse_key && message.only == append.device
        });
        let appended = match outcome {
            Ok(appended) => appended,
            Err(error) => {
                assert_eq!(error, Error::LogFull(INBOX_MAX));
                let standing = self.standing(&log);
                assert!(matches!(log, LogId::Inbox(..)) && twin.is_none() && standing.len() as u64 >= INBOX_MAX);
                assert!(!standing.into_iter().any(|at| self.settled(at)), "refused although an entry could go");
                return;
            }
        };
        if let Some(twin) = twin {
            self.messages[twin].left = Some((MessageState::Replaced, self.now()));
        }
        let life = self.logs.entry(log.clone()).or_default();
        if life.epoch != Some(appended.epoch) {
            let followed = self.cursors.values().any(|cursors| cursors.contains_key(&log));
            assert!(life.epoch.is_none() || !followed, "the log was followed and has a new epoch");
            assert_eq!(appended.offset, Offset(1));
            *life = Log { epoch: Some(appended.epoch), last: 0 };
        }
        life.last += 1;
        let expected = Appended { id: id_of(number), offset: Offset(life.last), duplicate: false, ..appended };
        assert_eq!(appended, expected);
        assert_eq!((appended.accepted_at, appended.expires_at), (append.now, append.expires_at));
        if let Some(idempotency) = append.idempotency {
            self.repeats.insert(idempotency.key, (idempotency.fingerprint, appended));
        }
        let (only, key) = (append.device, append.collapse_key);
        self.messages.push(Message { log: log.clone(), appended, only, key, left: None });
        self.take_over_what_was_trimmed(&log).await;
    }

    /// Checks what made room against the rules.
    async fn take_over_what_was_trimmed(&mut self, log: &LogId) {
        let page = self.page(log).await;
        let standing = self.standing(log);
        let gone = |&&at: &&usize| page.entries.iter().all(|entry| entry.id != self.messages[at].appended.id);
        let trimmed: Vec<_> = standing.iter().filter(gone).copied().collect();
        match log {
            LogId::Inbox(..) => {
                assert!(page.entries.len() as u64 <= INBOX_MAX);
                assert!(trimmed.iter().all(|&at| self.settled(at)), "an entry went that a device waits for");
            }
            LogId::Topic(..) | LogId::Broadcast(_) => {
                assert!(page.entries.len() as u64 <= TOPIC_MAX);
                assert_eq!(trimmed, standing[..trimmed.len()], "the oldest go");
                for &at in &trimmed {
                    assert!(page.head.trimmed >= self.messages[at].appended.offset);
                }
                assert!(page.entries.iter().all(|entry| entry.offset > page.head.trimmed));
            }
        }
        for at in trimmed {
            self.messages[at].left = Some((MessageState::Trimmed, self.now()));
        }
    }

    async fn open(&mut self, receiver: Receiver) {
        let opened = self.store().open(&receiver, self.now()).await.unwrap();
        assert_eq!(opened.new, !self.cursors.contains_key(&receiver));
        *self.present.entry(receiver.clone()).or_default() += 1;
        let inbox = LogId::Inbox(receiver.tenant.clone(), receiver.user.clone());
        if opened.new {
            self.born(&inbox, opened.follows.following[0].head.epoch);
            self.cursors.entry(receiver.clone()).or_default().insert(inbox, Ranges::default());
        }
        let cursors = &self.cursors[&receiver];
        let of_all = opened
            .follows
            .following
            .into_iter()
            .filter(|following| following.log != LogId::Broadcast(self.owner.clone()));
        let of_all: Vec<_> = of_all.collect();
        assert_eq!(of_all.len(), cursors.len());
        for following in of_all {
            assert_eq!(following.cursor.settled, cursors[&following.log]);
            assert_eq!(Some(following.cursor.epoch), self.logs[&following.log].epoch);
            assert_eq!(following.head.last, Offset(self.logs[&following.log].last));
        }
    }

    async fn subscribe(&mut self, receiver: Receiver, topic: usize) {
        let outcome = self.store().subscribe(&receiver, vec![self.topic(topic)]).await;
        if !self.cursors.contains_key(&receiver) {
            assert_eq!(outcome, Err(Error::UnknownDevice));
            return;
        }
        let (following, count) = outcome.unwrap();
        let log = self.log(topic + 2);
        self.born(&log, following[0].head.epoch);
        let last = self.logs[&log].last;
        let cursors = self.cursors.get_mut(&receiver).unwrap();
        let settled = cursors.entry(log).or_insert_with(|| Ranges::upto(last));
        assert_eq!(&following[0].cursor.settled, settled);
        assert_eq!(count as usize, cursors.len() - 1);
    }

    /// A log that is followed from now on has this epoch; it may be a new one only if nobody followed it.
    fn born(&mut self, log: &LogId, epoch: Epoch) {
        let followed = self.cursors.values().any(|cursors| cursors.contains_key(log));
        let life = self.logs.entry(log.clone()).or_default();
        if life.epoch != Some(epoch) {
            assert!(!followed, "the log was followed and has a new epoch");
            *life = Log { epoch: Some(epoch), last: 0 };
        }
    }

    async fn commit(&mut self, receiver: Receiver, log: LogId, from: u64, upto: u64, void: bool) {
        let epoch = self.logs.get(&log).and_then(|life| life.epoch).unwrap_or_default();
        let epoch = if void { Epoch(epoch.0 ^ 1) } else { epoch };
        let cursor = Cursor { epoch, settled: [(from, upto)].into_iter().collect(), ..Cursor::default() };
        let commit = Commit {
            receiver: receiver.clone(),
            cursors: vec![(log.clone(), cursor)],
            dead: Vec::new(),
            reports: Vec::new(),
        };
        self.store().commit(commit).await.unwrap();
        let known = self.cursors.get_mut(&receiver).and_then(|cursors| cursors.get_mut(&log));
        if let Some(settled) = known.filter(|_| !void) {
            settled.insert(from, upto);
        }
    }

    /// The messages that stand in a log now, oldest first.
    fn standing(&self, log: &LogId) -> Vec<usize> {
        let stands = |&at: &usize| {
            let message = &self.messages[at];
            message.log == *log && message.left.is_none() && message.appended.expires_at > self.now()
        };
        (0..self.messages.len()).filter(stands).collect()
    }

    /// Whether the known devices that a message of an inbox is for have settled it.
    fn settled(&self, at: usize) -> bool {
        let message = &self.messages[at];
        let followers = self.cursors.iter().filter_map(|(receiver, cursors)| {
            let concerned = message.only.as_ref().is_none_or(|only| *only == receiver.device);
            cursors.get(&message.log).filter(|_| concerned)
        });
        let settled: Vec<_> = followers.map(|settled| settled.contains(message.appended.offset.0)).collect();
        !settled.is_empty() && settled.into_iter().all(|settled| settled)
    }

    async fn page(&self, log: &LogId) -> Page {
        self.store().read(log, Offset::ZERO, usize::MAX, usize::MAX, self.now()).await.unwrap()
    }

    /// All that can be asked gives what the model says.
    async fn check(&self) {
        for log in (0..4).map(|number| self.log(number)) {
            let page = self.page(&log).await;
            let found: Vec<_> =
                page.entries.iter().map(|entry| (entry.id, entry.offset, entry.device.clone())).collect();
            let expected = self.standing(&log).into_iter().map(|at| &self.messages[at]);
            let expected: Vec<_> =
                expected.map(|message| (message.appended.id, message.appended.offset, message.only.clone())).collect();
            assert_eq!(found, expected, "{log} at {}", self.now);
            assert_eq!(page.looked, page.head.last);
            assert_eq!(self.store().heads(vec![log]).await.unwrap(), [page.head]);
        }
        check_usage(self.store(), &self.owner, &[0, 1, 2, 3].map(|number| self.log(number)), 0).await;
        for (number, message) in self.messages.iter().enumerate() {
            self.check_message(number as u64, message).await;
        }
    }

    async fn check_message(&self, number: u64, message: &Message) {
        let record = self.store().message(&self.owner, id_of(number), self.now()).await.unwrap();
        let expires_at = message.appended.expires_at;
        let expired = (expires_at <= self.now()).then_some((MessageState::Expired, expires_at));
        let (state, since) =
            message.left.or(expired).unwrap_or((MessageState::Stored, Timestamp::from_millis(u64::MAX)));
        if since + Duration::from_millis(TOMBSTONE_MILLIS) <= self.now() {
            assert_eq!(record, None, "message {number} at {}", self.now);
            return;
        }
        let record = record.unwrap_or_else(|| panic!("message {number} is unknown at {}", self.now));
        assert_eq!((record.state, record.entry.is_some()), (state, state == MessageState::Stored));
        assert_eq!((record.epoch, record.offset), (message.appended.epoch, message.appended.offset));
        for line in &record.devices {
            let receiver =
                Receiver { tenant: self.owner.clone(), user: line.user.clone(), device: line.device.clone() };
            let settled = &self.cursors[&receiver][&message.log];
            let this_life = self.logs[&message.log].epoch == Some(record.epoch);
            let acked = this_life && settled.contains(record.offset.0);
            // Nobody reports acks here, and what is settled is no sign of one any more when the message is over.
            let expected = match state {
                MessageState::Stored if acked => DeviceState::Acked { at: None },
                MessageState::Stored => DeviceState::Waiting,
                _ => DeviceState::Missed,
            };
            assert_eq!(line.state, expected);
        }
    }
}

fn id_of(number: u64) -> crate::model::id::MessageId {
    debug_assert!(number < START);
    id(number)
}
