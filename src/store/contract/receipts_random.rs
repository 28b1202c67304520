//! Random sequences of pushes, sendings, acks, failures, double reports, restarts and sweeps, against a plain model that
//! counts in lists. Check of the store's contract.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{Place, at, id, push, tenant};
use crate::model::cursor::Cursor;
use crate::model::id::{DeviceId, MessageId, Receiver, Tag, TenantId, TopicName, UserId};
use crate::model::log::LogId;
use crate::model::receipt::{Counts, End, Receipt, Report, Reported, What};
use crate::store::{Append, Appended, Commit, Dead, DeviceState, Event, Journal, Limits, MessageState, Store, Wishes};

const TOPIC_MAX: u64 = 4;

#[derive(Clone, Debug)]
enum Step {
    Push {
        inbox: bool,
        only: Option<usize>,
        key: bool,
        ttl: u64,
        tagged: bool,
    },
    /// Devices begin with two; a third comes some time.
    Come,
    /// A session's commit: what it says of a message, and how often it says so.
    Tell {
        device: usize,
        message: usize,
        say: Vec<Say>,
        times: u8,
    },
    Pass(u64),
    Sweep,
    Reopen,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Say {
    Sent,
    Nacked,
    Acked,
    Dead,
    /// The place is settled without a word.
    Skipped,
}

fn step() -> impl Strategy<Value = Step> {
    let only = prop::option::weighted(0.3, 0_usize..3);
    let push = (any::<bool>(), only, prop::bool::weighted(0.2), 1_u64..60, any::<bool>())
        .prop_map(|(inbox, only, key, ttl, tagged)| Step::Push { inbox, only, key, ttl, tagged });
    let say = prop_oneof![
        4 => Just(Say::Sent),
        2 => Just(Say::Nacked),
        4 => Just(Say::Acked),
        1 => Just(Say::Dead),
        1 => Just(Say::Skipped),
    ];
    let tell = (0_usize..3, 0_usize..12, prop::collection::vec(say, 1..5), 1_u8..3)
        .prop_map(|(device, message, say, times)| Step::Tell { device, message, say, times });
    prop_oneof![
        5 => push,
        1 => Just(Step::Come),
        14 => tell,
        3 => (1_u64..25).prop_map(Step::Pass),
        2 => Just(Step::Sweep),
        1 => Just(Step::Reopen),
    ]
}

pub(in crate::store) async fn counts_add_up_and_equal_a_plain_model(place: &dyn Place) {
    let limits = Limits { topic_entries_max: TOPIC_MAX, ..Limits::default() };
    let cases = AtomicU64::new(0);
    let run = |steps: Vec<Step>| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let owner = tenant(&format!("case{}", cases.fetch_add(1, Ordering::Relaxed)));
        runtime.block_on(async {
            let mut world = World::new(owner, place.open(limits.clone())).await;
            for step in steps {
                if matches!(step, Step::Reopen) {
                    world.store = None;
                    world.store = Some(place.open(limits.clone()));
                } else {
                    world.take(step).await;
                }
                world.check().await;
            }
            world.check_journal().await;
        });
        Ok(())
    };
    // The runner is not async, and a runtime cannot be entered from within another one.
    let runner = || TestRunner::new(Config::with_cases(64)).run(&prop::collection::vec(step(), 1..120), run);
    let outcome = thread::scope(|scope| scope.spawn(runner).join().unwrap());
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

/// What the model knows of a message.
struct Message {
    appended: Appended,
    inbox: bool,
    only: Option<usize>,
    key: bool,
    tagged: bool,
    /// Devices it was for when it was accepted, and that came later and reported.
    audience: BTreeSet<usize>,
    sent: BTreeSet<usize>,
    acked: BTreeSet<usize>,
    dead: BTreeSet<usize>,
    /// How it ended, if somebody has noticed.
    ended: Option<End>,
}

impl Message {
    fn counts(&self, over: bool) -> Counts {
        let [audience, sent, acked, dead] =
            [&self.audience, &self.sent, &self.acked, &self.dead].map(|set| set.len() as u64);
        Counts { audience, sent, acked, dead, missed: if over { audience - acked - dead } else { 0 } }
    }
}

struct World {
    owner: TenantId,
    store: Option<Arc<dyn Store>>,
    now: u64,
    messages: Vec<Message>,
    /// Known devices.
    devices: usize,
    /// What devices have settled: device, message.
    settled: BTreeSet<(usize, usize)>,
    /// Receipts that must be told, in order; those of counts are left out, because when they come is left open.
    expected: Vec<(MessageId, Option<usize>, What)>,
}

impl World {
    async fn new(owner: TenantId, store: Arc<dyn Store>) -> Self {
        let (messages, settled, expected) = Default::default();
        let mut world = Self { owner, store: Some(store), now: 0, messages, devices: 0, settled, expected };
        world.come().await;
        world.come().await;
        world
    }

    fn store(&self) -> &dyn Store {
        self.store.as_deref().unwrap()
    }

    fn receiver(&self, device: usize) -> Receiver {
        let device = DeviceId::new(&format!("d{device}")).unwrap();
        Receiver { tenant: self.owner.clone(), user: UserId::new("u").unwrap(), device }
    }

    fn log(&self, inbox: bool) -> LogId {
        match inbox {
            true => LogId::Inbox(self.owner.clone(), UserId::new("u").unwrap()),
            false => LogId::Topic(self.owner.clone(), TopicName::new("t").unwrap()),
        }
    }

    async fn come(&mut self) {
        if self.devices == 3 {
            return;
        }
        let receiver = self.receiver(self.devices);
        self.devices += 1;
        self.store().open(&receiver, at(self.now)).await.unwrap();
        self.store().subscribe(&receiver, vec![TopicName::new("t").unwrap()]).await.unwrap();
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Push { inbox, only, key, ttl, tagged } => self.push(inbox, only, key, ttl, tagged).await,
            Step::Come => self.come().await,
            Step::Tell { device, message, say, times } => {
                if device < self.devices && message < self.messages.len() {
                    self.tell(device, message, &say, times).await;
                }
            }
            Step::Pass(millis) => self.now += millis,
            Step::Sweep => {
                while self.store().sweep(at(self.now)).await.unwrap().more {}
                // Oldest expiry first; the store's order among equals is left open, and found out by the check.
                let mut over: Vec<_> = (0..self.messages.len()).filter(|&at| self.expires(at)).collect();
                over.sort_by_key(|&at| (self.messages[at].appended.expires_at, id(at as u64)));
                over.into_iter().for_each(|at| self.end(at, End::Expired));
            }
            Step::Reopen => unreachable!("the caller reopens"),
        }
    }

    /// Whether its time is over and nobody has noticed.
    fn expires(&self, message: usize) -> bool {
        let message = &self.messages[message];
        message.ended.is_none() && message.appended.expires_at <= at(self.now)
    }

    fn end(&mut self, message: usize, end: End) {
        self.messages[message].ended = Some(end);
        self.expected.push((id(message as u64), None, What::Ended(end, self.messages[message].counts(true))));
    }

    async fn push(&mut self, inbox: bool, only: Option<usize>, key: bool, ttl: u64, tagged: bool) {
        let number = self.messages.len();
        let only = only.filter(|_| inbox);
        let append = Append {
            now: at(self.now),
            expires_at: at(self.now + ttl),
            device: only.map(|only| self.receiver(only).device),
            collapse_key: key.then(|| "k".to_owned()),
            wishes: Wishes { tag: tagged.then(|| Tag::new("spring").unwrap()), ..Wishes::default() },
            ..push(&self.log(inbox), number as u64)
        };
        let alike = |message: &Message| (message.inbox, message.only, message.key) == (inbox, only, true);
        let stands = |&at: &usize| self.messages[at].ended.is_none() && !self.expires(at);
        let twin = (0..number).filter(stands).find(|&at| key && alike(&self.messages[at]));
        let appended = self.store().append(append).await.unwrap();
        if let Some(twin) = twin {
            self.end(twin, End::Replaced(Some(id(number as u64))));
        } else if !inbox {
            // A full topic lets its oldest go, expired or not.
            let standing: Vec<_> =
                (0..number).filter(|&at| !self.messages[at].inbox && self.messages[at].ended.is_none()).collect();
            if standing.len() as u64 >= TOPIC_MAX {
                let end = if self.expires(standing[0]) { End::Expired } else { End::Trimmed };
                self.end(standing[0], end);
            }
        }
        let audience = only.map_or_else(|| (0..self.devices).collect(), |only| BTreeSet::from([only]));
        let (sent, acked, dead) = Default::default();
        let message = Message { appended, inbox, only, key, tagged, audience, sent, acked, dead, ended: None };
        self.expected.push((id(number as u64), None, What::Accepted(message.counts(false))));
        self.messages.push(message);
    }

    async fn tell(&mut self, device: usize, number: usize, say: &[Say], times: u8) {
        let message = &self.messages[number];
        let (log, place) = (self.log(message.inbox), message.appended.offset);
        let mut settled = BTreeMap::new();
        let (mut reports, mut dead) = (Vec::new(), Vec::new());
        // Each word at a time of its own: two of the same kind are two events.
        for say in say {
            self.now += 1;
            let now = at(self.now);
            let what = match say {
                Say::Sent => Some(Reported::Sent(1)),
                Say::Nacked => Some(Reported::Nacked(1, "no".into())),
                Say::Acked => Some(Reported::Acked),
                Say::Dead => {
                    dead.push(Dead { log: log.clone(), offset: place, attempts: 1, reason: "no".to_owned(), at: now });
                    None
                }
                Say::Skipped => None,
            };
            reports.extend(what.map(|what| Report { message: id(number as u64), at: now, what }));
            if !matches!(say, Say::Sent | Say::Nacked) {
                settled.insert(place.0, place.0);
            }
        }
        let cursor =
            Cursor { epoch: message.appended.epoch, settled: settled.into_iter().collect(), ..Cursor::default() };
        let commit =
            Commit { receiver: self.receiver(device), cursors: vec![(log, cursor)], dead: dead.clone(), reports };
        for time in 0..times {
            self.store().commit(commit.clone()).await.unwrap();
            // Told again it is nothing new.
            if time == 0 {
                self.heard(device, number, &commit);
            }
        }
    }

    /// What the model makes of a commit: reports first, then the dead.
    fn heard(&mut self, device: usize, number: usize, commit: &Commit) {
        let was_settled = self.settled.contains(&(device, number));
        let settles = commit.cursors.iter().any(|(_, cursor)| cursor.settled.spans() > 0);
        // Set by the first ack or death of this commit.
        let mut open = settles && !was_settled;
        let mut closed = was_settled;
        let message = &mut self.messages[number];
        let meant =
            message.only.is_none_or(|only| only == device) && (message.inbox || message.audience.contains(&device));
        let mut told = Vec::new();
        for report in &commit.reports {
            if !meant || message.ended.is_some() || report.at >= message.appended.expires_at || closed {
                // What is settled takes no more words, but a place that is over can still be settled.
                continue;
            }
            let what = match &report.what {
                Reported::Sent(attempt) => What::Sent { attempt: *attempt },
                Reported::Nacked(attempt, reason) => {
                    What::Nacked { attempt: *attempt, reason: reason.clone().into_owned() }
                }
                Reported::Acked if open => What::Acked,
                Reported::Acked => continue,
            };
            message.audience.insert(device);
            message.sent.insert(device);
            if what == What::Acked {
                message.acked.insert(device);
                (open, closed) = (false, true);
            }
            if message.inbox {
                told.push((id(number as u64), Some(device), what));
            }
        }
        for dead in &commit.dead {
            if open && meant && message.ended.is_none() && dead.at < message.appended.expires_at {
                message.audience.insert(device);
                message.sent.insert(device);
                message.dead.insert(device);
                if message.inbox {
                    let what = What::Dead { attempts: dead.attempts, reason: dead.reason.clone() };
                    told.push((id(number as u64), Some(device), what));
                }
            }
            open = false;
        }
        self.expected.append(&mut told);
        if settles {
            self.settled.insert((device, number));
        }
    }

    async fn check(&self) {
        for (number, message) in self.messages.iter().enumerate() {
            let record = self.store().message(&self.owner, id(number as u64), at(self.now)).await.unwrap().unwrap();
            let over = message.ended.is_some() || self.expires(number);
            let counts = record.counts.unwrap();
            assert_eq!(counts, message.counts(over), "message {number} at {}", self.now);
            assert_eq!(counts.audience, counts.acked + counts.dead + counts.missed + counts.waiting());
            assert_eq!(counts.waiting() > 0, !over && counts.audience > counts.acked + counts.dead);
            assert_eq!(record.state == MessageState::Stored, !over);
            let told = |state: fn(&DeviceState) -> bool| {
                record.devices.iter().filter(|line| state(&line.state)).count() as u64
            };
            assert_eq!(told(|state| matches!(state, DeviceState::Dead { .. })), counts.dead);
            if message.inbox {
                assert_eq!(told(|state| matches!(state, DeviceState::Acked { at: Some(_) })), counts.acked);
                // A device that never came has no line.
                let nobody = message.only.is_some_and(|only| only >= self.devices);
                let missed = if nobody { 0 } else { counts.missed };
                assert_eq!(told(|state| *state == DeviceState::Missed), missed, "{record:?}");
            }
        }
        let mut sum = Counts::default();
        for message in self.messages.iter().filter(|message| message.tagged) {
            // What nobody has noticed is in no sum yet.
            let counts = message.counts(message.ended.is_some());
            sum.audience += counts.audience;
            sum.sent += counts.sent;
            sum.acked += counts.acked;
            sum.dead += counts.dead;
            sum.missed += counts.missed;
        }
        let tag = Tag::new("spring").unwrap();
        let hours = self.store().tag(&self.owner, &tag, at(0), at(self.now)).await.unwrap();
        let tagged = self.messages.iter().filter(|message| message.tagged).count() as u64;
        assert_eq!(hours.iter().map(|hour| hour.messages).sum::<u64>(), tagged);
        assert_eq!(hours.first().map(|hour| hour.counts).unwrap_or_default(), sum);
    }

    /// The journal, read in pieces of any size, has each receipt once.
    async fn check_journal(&self) {
        let all = self.read(usize::MAX).await;
        for most in [1, 2, 7] {
            assert_eq!(self.read(most).await, all);
        }
        let told: Vec<_> = all.iter().filter(|receipt| !matches!(receipt.what, What::Counted(_))).collect();
        let line = |receipt: &&Receipt| {
            let device = receipt.device.as_ref().map(|(_, device)| device.as_str()[1..].parse::<usize>().unwrap());
            (receipt.message, device, receipt.what.clone())
        };
        assert_eq!(told.iter().map(line).collect::<Vec<_>>(), self.expected);
        // Counts only grow, message by message, up to those of the end.
        let mut last: BTreeMap<MessageId, Counts> = BTreeMap::new();
        for receipt in &all {
            if let What::Accepted(counts) | What::Counted(counts) | What::Ended(_, counts) = receipt.what {
                let before = last.insert(receipt.message, counts).unwrap_or_default();
                let pairs = [(before.sent, counts.sent), (before.acked, counts.acked), (before.dead, counts.dead)];
                assert!(pairs.into_iter().all(|(before, now)| before <= now), "{before:?} {counts:?}");
            }
        }
    }

    async fn read(&self, most: usize) -> Vec<Receipt> {
        let (mut found, mut after) = (Vec::new(), 0);
        loop {
            let page = self.store().journal(&self.owner, Journal::Receipts, after, most).await.unwrap();
            for (position, event) in page.events {
                let Event::Receipt(receipt) = event else { panic!("{event:?} is no receipt") };
                found.push(receipt);
                assert_eq!(position, found.len() as u64, "no gap and no repeat");
            }
            after = page.looked;
            if after == page.last {
                return found;
            }
        }
    }
}
