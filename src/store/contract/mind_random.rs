//! Random changes of mind against a plain model that keeps everything in lists: pushes now and later, cancelled, named,
//! collapsed, taken by the first ack, seen by their user, with time passing and the store opened anew. Check of the
//! store's contract.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::announcements::Heard;
use super::mind::wishing;
use super::{Place, at, check_usage, device, id, topic_name};
use crate::model::clock::Timestamp;
use crate::model::cursor::Cursor;
use crate::model::id::{Receiver, TenantId, UserId};
use crate::model::log::{LogId, Offset};
use crate::model::message::{DismissReason, Entry, Exclusion};
use crate::model::receipt::{Report, Reported};
use crate::store::{Append, Commit, Error, Limits, MessageState, Store, Wishes};

/// The devices of the one user; both follow the one topic.
const DEVICES: [&str; 2] = ["pad", "phone"];

#[derive(Clone, Debug)]
struct Pushed {
    topic: bool,
    key: Option<u8>,
    any_of_user: bool,
    exclude: Option<usize>,
    /// The message with this number, counted back from the newest.
    replaces: Option<usize>,
    delay: Option<u64>,
    ttl: u64,
}

#[derive(Clone, Debug)]
enum Step {
    Push(Pushed),
    Cancel(usize, bool),
    Ack(usize, usize),
    Dismiss(usize, usize),
    Pass(u64),
    Sweep,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let some = |share, range: std::ops::Range<usize>| prop::option::weighted(share, range);
    let pushed = (
        prop::bool::weighted(0.2),
        prop::option::weighted(0.3, 0_u8..2),
        prop::bool::weighted(0.3),
        some(0.2, 0..2),
        some(0.4, 0..4),
        prop::option::weighted(0.4, 1_u64..30),
        20_u64..200,
    );
    let pushed = pushed.prop_map(|(topic, key, any, exclude, replaces, delay, ttl)| {
        let any_of_user = any && !topic;
        Step::Push(Pushed { topic, key, any_of_user, exclude, replaces, delay, ttl })
    });
    prop_oneof![
        8 => pushed,
        2 => (0_usize..6, any::<bool>()).prop_map(|(message, silently)| Step::Cancel(message, silently)),
        4 => (0_usize..2, 0_usize..6).prop_map(|(device, message)| Step::Ack(device, message)),
        2 => (0_usize..2, 0_usize..6).prop_map(|(device, message)| Step::Dismiss(device, message)),
        4 => (1_u64..30).prop_map(Step::Pass),
        3 => Just(Step::Sweep),
        1 => Just(Step::Reopen),
    ]
}

pub(in crate::store) async fn any_change_of_mind_matches_a_plain_model(place: &dyn Place) {
    let cases = AtomicU64::new(0);
    let run = |steps: Vec<Step>| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let owner = TenantId::new(&format!("mind{}", cases.fetch_add(1, Ordering::Relaxed))).unwrap();
        runtime.block_on(async {
            let mut world = World::new(owner, place.open(Limits::default())).await;
            for step in steps {
                match step {
                    Step::Reopen => {
                        world.store = None;
                        world.store = Some(place.open(Limits::default()));
                        world.heard = Heard::of(world.store());
                    }
                    step => world.take(step).await,
                }
                world.check().await;
            }
        });
        Ok(())
    };
    let runner = || TestRunner::new(Config::with_cases(24)).run(&prop::collection::vec(step(), 1..120), run);
    let outcome = thread::scope(|scope| scope.spawn(runner).join().unwrap());
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

/// What the model knows of a message.
#[derive(Clone, Debug)]
struct Message {
    pushed: Pushed,
    /// The message that it names.
    replaces: Option<usize>,
    send_at: Option<u64>,
    expires_at: u64,
    /// Its place, once it has one.
    offset: Option<u64>,
    /// How it ended by other means than expiry, and by which message.
    ended: Option<(MessageState, Option<usize>)>,
    /// Devices that acked it while it stood.
    acked: BTreeSet<usize>,
    /// The user has dismissed it in the topic.
    seen: bool,
    /// It expired while it waited, and that was noticed.
    swept: bool,
}

/// What stands in a log: a place, its end, the message it holds or takes away and why.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stands(u64, u64, usize, Option<DismissReason>);

struct World {
    owner: TenantId,
    store: Option<Arc<dyn Store>>,
    heard: Arc<Heard>,
    now: u64,
    messages: Vec<Message>,
    /// The inbox and the topic, with the last place of each.
    logs: [(u64, Vec<Stands>); 2],
}

impl World {
    async fn new(owner: TenantId, store: Arc<dyn Store>) -> Self {
        let heard = Heard::of(&*store);
        let logs = Default::default();
        let world = Self { owner, store: Some(store), heard, now: 0, messages: Vec::new(), logs };
        for number in 0..DEVICES.len() {
            let receiver = world.receiver(number);
            world.store().open(&receiver, at(0)).await.unwrap();
            world.store().subscribe(&receiver, vec![topic_name("t")]).await.unwrap();
        }
        world
    }

    fn store(&self) -> &dyn Store {
        self.store.as_deref().unwrap()
    }

    fn now(&self) -> Timestamp {
        at(self.now)
    }

    fn user() -> UserId {
        UserId::new("u").unwrap()
    }

    fn receiver(&self, number: usize) -> Receiver {
        Receiver { tenant: self.owner.clone(), user: Self::user(), device: device(DEVICES[number]) }
    }

    fn log(&self, topic: bool) -> LogId {
        if topic {
            LogId::Topic(self.owner.clone(), topic_name("t"))
        } else {
            LogId::Inbox(self.owner.clone(), Self::user())
        }
    }

    /// The number of the message so many before the newest.
    fn back(&self, count: usize) -> Option<usize> {
        self.messages.len().checked_sub(count + 1)
    }

    fn over(&self, message: usize) -> Option<MessageState> {
        let message = &self.messages[message];
        let expired = (message.expires_at <= self.now).then_some(MessageState::Expired);
        message.ended.map(|(state, _)| state).or(expired)
    }

    fn stands(&self, message: usize) -> bool {
        self.over(message).is_none() && self.messages[message].offset.is_some()
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Push(pushed) => self.push(pushed).await,
            Step::Cancel(count, silently) => {
                if let Some(number) = self.back(count) {
                    self.cancel(number, silently).await;
                }
            }
            Step::Ack(device, count) => {
                if let Some(number) = self.back(count) {
                    self.ack(device, number).await;
                }
            }
            Step::Dismiss(device, count) => {
                if let Some(number) = self.back(count) {
                    self.dismiss(device, number).await;
                }
            }
            Step::Pass(millis) => self.now += millis,
            Step::Sweep => self.sweep().await,
            Step::Reopen => unreachable!("the caller reopens"),
        }
    }

    async fn push(&mut self, pushed: Pushed) {
        let number = self.messages.len();
        let replaces = pushed.replaces.and_then(|count| self.back(count));
        let send_at = pushed.delay.map(|delay| self.now + delay);
        let expires_at = send_at.unwrap_or(self.now) + pushed.ttl;
        let excluded = |number: usize| Exclusion { user: Self::user(), device: Some(device(DEVICES[number])) };
        let wishes = Wishes {
            any_of_user: pushed.any_of_user,
            exclude: pushed.exclude.map(excluded).into_iter().collect(),
            replaces: replaces.map(|old| id(old as u64)),
            send_at: send_at.map(at),
            ..Wishes::default()
        };
        let append = Append {
            now: self.now(),
            expires_at: at(expires_at),
            collapse_key: pushed.key.map(|key| key.to_string()),
            ..wishing(&self.log(pushed.topic), number as u64, wishes)
        };
        let outcome = self.store().append(append).await;
        if let Some(old) = replaces
            && (self.over(old).is_some() || self.messages[old].pushed.topic != pushed.topic)
        {
            assert!(matches!(outcome, Err(Error::NotReplaceable(_))), "{outcome:?}");
            // It was not written, and its number is free.
            return;
        }
        let appended = outcome.unwrap();
        assert_eq!((appended.id, appended.send_at), (id(number as u64), send_at.map(at)));
        let (ended, acked, seen, swept) = Default::default();
        self.messages.push(Message { pushed, replaces, send_at, expires_at, offset: None, ended, acked, seen, swept });
        match (send_at, replaces) {
            (None, _) => self.place(number),
            (Some(_), Some(old)) if self.messages[old].offset.is_none() => {
                self.end(old, MessageState::Replaced, Some(number))
            }
            (Some(_), _) => {}
        }
        assert_eq!(appended.offset, Offset(self.messages[number].offset.unwrap_or(0)));
    }

    /// A message is given its place.
    fn place(&mut self, number: usize) {
        let Message { pushed, replaces, expires_at, .. } = self.messages[number].clone();
        let twin = (0..number.max(self.messages.len())).find(|&old| {
            let other = &self.messages[old].pushed;
            old != number && self.stands(old) && other.topic == pushed.topic && other.key == pushed.key
        });
        let twin = twin.filter(|_| pushed.key.is_some());
        for old in replaces.into_iter().chain(twin) {
            if self.over(old).is_none() {
                self.end(old, MessageState::Replaced, Some(number));
            }
        }
        let (last, entries) = &mut self.logs[usize::from(pushed.topic)];
        *last += 1;
        entries.push(Stands(*last, expires_at, number, None));
        self.messages[number].offset = Some(*last);
    }

    fn end(&mut self, number: usize, state: MessageState, by: Option<usize>) {
        let message = &mut self.messages[number];
        message.ended = Some((state, by));
        let entries = &mut self.logs[usize::from(message.pushed.topic)].1;
        entries.retain(|stands| stands.2 != number || stands.3.is_some());
    }

    fn dismissal(&mut self, topic: bool, number: usize, reason: DismissReason) {
        let (last, entries) = &mut self.logs[usize::from(topic)];
        *last += 1;
        entries.push(Stands(*last, self.messages[number].expires_at, number, Some(reason)));
    }

    async fn cancel(&mut self, number: usize, silently: bool) {
        let outcome = self.store().cancel(&self.owner, id(number as u64), silently, self.now()).await.unwrap();
        if let Some(state) = self.over(number) {
            assert_eq!(outcome, (state, false));
            return;
        }
        assert_eq!(outcome, (MessageState::Cancelled, true));
        let (sent, topic) = (self.messages[number].offset.is_some(), self.messages[number].pushed.topic);
        self.end(number, MessageState::Cancelled, None);
        if sent && !silently {
            self.dismissal(topic, number, DismissReason::Cancelled);
        }
    }

    async fn ack(&mut self, device: usize, number: usize) {
        let message = &self.messages[number];
        let Some(offset) = message.offset else { return };
        let log = self.log(message.pushed.topic);
        let epoch = self.store().heads(vec![log.clone()]).await.unwrap()[0].epoch;
        let cursor = Cursor { epoch, settled: [(offset, offset)].into_iter().collect(), ..Cursor::default() };
        let reports = vec![Report { message: id(number as u64), at: self.now(), what: Reported::Acked }];
        let commit =
            Commit { receiver: self.receiver(device), cursors: vec![(log, cursor)], dead: Vec::new(), reports };
        self.store().commit(commit).await.unwrap();
        self.acked(device, number);
    }

    fn acked(&mut self, device: usize, number: usize) {
        if !self.stands(number) || self.messages[number].pushed.exclude == Some(device) {
            return;
        }
        self.messages[number].acked.insert(device);
        if self.messages[number].pushed.any_of_user {
            self.end(number, MessageState::Taken, None);
            self.dismissal(false, number, DismissReason::Taken);
        }
    }

    async fn dismiss(&mut self, device: usize, number: usize) {
        let ids = vec![id(number as u64), id(number as u64)];
        let count = self.store().dismiss(&self.receiver(device), ids, self.now()).await.unwrap();
        let message = &mut self.messages[number];
        let excluded = message.pushed.exclude == Some(device);
        let topic = message.pushed.topic;
        let news = self.stands(number) && !(topic && (excluded || self.messages[number].seen));
        assert_eq!(count, u32::from(news));
        if !news {
            return;
        }
        self.acked(device, number);
        if topic {
            self.messages[number].seen = true;
            self.dismissal(false, number, DismissReason::Seen);
        } else if self.stands(number) {
            self.end(number, MessageState::Dismissed, None);
            self.dismissal(false, number, DismissReason::Seen);
        }
    }

    /// What is due is sent in the order of its times; what could not be sent in its life is not.
    async fn sweep(&mut self) {
        let mut next = None;
        loop {
            let swept = self.store().sweep(self.now()).await.unwrap();
            if !swept.more {
                next = swept.next.or(next);
                break;
            }
        }
        let waits = |message: &&Message| message.offset.is_none() && message.ended.is_none();
        let times = self.messages.iter().filter(waits).filter_map(|message| message.send_at);
        let mut due: Vec<_> = times.collect::<BTreeSet<_>>().into_iter().collect();
        due.retain(|&time| time <= self.now);
        for time in due {
            for number in 0..self.messages.len() {
                let message = &self.messages[number];
                if waits(&message) && message.send_at == Some(time) && message.expires_at > self.now {
                    self.place(number);
                }
            }
        }
        for message in self.messages.iter_mut().filter(|message| waits(&&**message)) {
            message.swept = message.send_at.is_some_and(|time| time <= self.now);
        }
        let later = self.messages.iter().filter(waits).filter_map(|message| message.send_at);
        let later = later.filter(|&time| time > self.now).min().map(at);
        if let Some(later) = later {
            assert!(next.is_some_and(|next| next <= later), "{next:?} is told, {later:?} is due");
        }
    }

    /// All that can be asked gives what the model says.
    async fn check(&mut self) {
        for topic in [false, true] {
            let log = self.log(topic);
            let page = self.store().read(&log, Offset::ZERO, usize::MAX, usize::MAX, self.now()).await.unwrap();
            let stands = |entry: &Entry| {
                let number = |id: crate::model::id::MessageId| {
                    usize::try_from(u64::from_be_bytes(id.as_bytes()[8..].try_into().unwrap())).unwrap()
                };
                let dismissed = entry.aim.as_ref().and_then(|aim| aim.dismissal.as_ref());
                let what = dismissed.map_or_else(|| number(entry.id), |dismissed| number(dismissed.message));
                let expires_at = entry.expires_at.as_millis() - at(0).as_millis();
                Stands(entry.offset.0, expires_at, what, dismissed.map(|dismissed| dismissed.reason))
            };
            let found: Vec<_> = page.entries.iter().map(stands).collect();
            let (last, entries) = &self.logs[usize::from(topic)];
            let expected: Vec<_> = entries.iter().filter(|stands| stands.1 > self.now).cloned().collect();
            assert_eq!((found, page.head.last), (expected, Offset(*last)), "{log} at {}", self.now);
        }
        let waits = |message: &Message| message.offset.is_none() && message.ended.is_none() && !message.swept;
        let waiting = self.messages.iter().enumerate().filter(|(_, message)| waits(message));
        let waiting = waiting.map(|(number, _)| number.to_string().len() as u64).sum();
        check_usage(self.store(), &self.owner, &[false, true].map(|topic| self.log(topic)), waiting).await;
        let heard = self.heard.take();
        let mine = heard.iter().filter(|one| one.log.tenant() == &self.owner);
        let places: Vec<_> = mine.map(|one| (one.log.clone(), one.entry.offset)).collect();
        assert!(places.iter().zip(&places[1.min(places.len())..]).all(|(one, next)| one.0 != next.0 || one.1 < next.1));
        for (number, message) in self.messages.iter().enumerate() {
            let record = self.store().message(&self.owner, id(number as u64), self.now()).await.unwrap().unwrap();
            let waits = if message.offset.is_some() { MessageState::Stored } else { MessageState::Scheduled };
            assert_eq!(record.state, self.over(number).unwrap_or(waits), "message {number} at {}", self.now);
            let by = message.ended.and_then(|(_, by)| by).map(|by| id(by as u64));
            assert_eq!(record.ended.and_then(|(_, by)| by), by);
            if message.pushed.topic || message.offset.is_none() {
                continue;
            }
            let counts = record.counts.unwrap();
            let audience = 2 - u64::from(message.pushed.exclude.is_some());
            let acked = message.acked.len() as u64;
            assert_eq!((counts.audience, counts.acked), (audience, acked), "message {number}");
            let missed = if self.over(number).is_some() { audience - acked } else { 0 };
            assert_eq!((counts.missed, counts.dead), (missed, 0), "message {number}");
        }
    }
}
