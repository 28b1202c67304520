//! What a thread of the crowd pushes: to topics when told to, by itself to users at a rate or as fast as it goes; and what
//! each of its users is therefore owed.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use mio::{Token, Waker};
use prost::Message;

use super::core::Core;
use super::device::Device;
use super::ledger::Owed;
use super::order::{Aim, Drive, Note, Pace, Setup, Step};
use super::pipe::Scratch;
use super::producer::{Answers, Producer, Sent};
use super::schedule::Schedule;
use super::stamp::Log;
use super::tokens;
use super::words;
use super::worker::PRODUCERS;
use crate::wire::pb;

/// The producers of a thread and what they are to do.
pub(super) struct Driver {
    setup: Arc<Setup>,
    /// Which thread it is.
    seat: u32,
    /// `None`: it is lost.
    producers: Vec<Option<Producer>>,
    /// `Done` is owed when all producers are ready.
    is_hiring: bool,
    /// Encoded target of each device's pushes.
    targets: Vec<Vec<u8>>,
    /// What was pushed to each device.
    owed: Vec<Owed>,
    /// Pushes to each topic.
    topics: Vec<u32>,
    /// Pushes to each stranger.
    strangers: Vec<(Vec<u8>, u32)>,
    driving: Option<Driving>,
    answers: Answers,
}

/// Pushing by itself.
struct Driving {
    drive: Drive,
    /// When pushes are due, for a rate.
    schedule: Option<Schedule>,
    pushed: u64,
    /// Whose turn it is.
    turn: usize,
    /// Pushes that count against the pace: not answered, or not received.
    open: u64,
    /// Answers that are missing.
    unanswered: u64,
    /// Wakes the thread often, for a rate.
    _ticker: Option<Ticker>,
}

impl Driver {
    pub(super) fn new(setup: &Arc<Setup>, seat: u32, tokens: &[tokens::Token]) -> Self {
        let targets: Vec<_> = tokens.iter().map(|token| token.target.encode_to_vec()).collect();
        let owed = vec![Owed::default(); targets.len()];
        Self {
            setup: Arc::clone(setup),
            seat,
            producers: Vec::new(),
            is_hiring: false,
            targets,
            owed,
            topics: Vec::new(),
            strangers: Vec::new(),
            driving: None,
            answers: Answers::default(),
        }
    }

    /// What was pushed to a device.
    pub(super) fn owed(&self, index: usize) -> &Owed {
        &self.owed[index]
    }

    /// Pushes nothing, and all is answered.
    pub(super) fn is_idle(&self) -> bool {
        let is_answered = |producer: &Producer| producer.outstanding().is_empty();
        self.driving.is_none() && self.producers.iter().flatten().all(is_answered)
    }

    /// Connects the producers.
    pub(super) fn hire(&mut self, core: &Core) -> Vec<Note> {
        let mut notes = Vec::new();
        self.is_hiring = true;
        for at in 0..self.setup.producers as usize {
            match Producer::dial(core, Token(PRODUCERS.0 + at)) {
                Ok(producer) => self.producers.push(Some(producer)),
                Err(error) => {
                    self.producers.push(None);
                    notes.push(Note::Trouble(format!("the backend address cannot be reached: {error}")));
                }
            }
        }
        notes
    }

    /// Pushes to a topic so often.
    pub(super) fn publish(&mut self, topic: u32, count: u32, core: &mut Core) {
        let at = topic as usize;
        if self.topics.len() <= at {
            self.topics.resize(at + 1, 0);
        }
        let named = pb::target::To::Topic(self.setup.topic(topic));
        let target = pb::Target { to: Some(named) }.encode_to_vec();
        let producers = self.producers.len().max(1);
        let Some(Some(producer)) = self.producers.get_mut(at % producers) else { return };
        core.now = core.clock.now().moment;
        for _ in 0..count {
            self.topics[at] += 1;
            producer.push(core, &target, Sent { log: Log::topic(topic), number: self.topics[at], due: core.now });
        }
    }

    /// Begins to push by itself.
    pub(super) fn drive(&mut self, drive: Drive, core: &Core, waker: &Arc<Waker>) {
        if let Aim::Strangers(count) = drive.aim
            && self.strangers.len() < count as usize
        {
            let first = self.seat * count;
            let name = |number: u32| pb::target::To::User(self.setup.stranger(first + number));
            let target = |number| pb::Target { to: Some(name(number)) }.encode_to_vec();
            self.strangers = (0..count).map(|number| (target(number), 0)).collect();
        }
        let (schedule, ticker) = match drive.pace {
            Pace::Rate(rate) => {
                let from = core.clock.now().moment;
                (Some(Schedule::new(from, rate)), Some(Ticker::start(waker)))
            }
            Pace::Answered(_) | Pace::Received(_) => (None, None),
        };
        self.driving = Some(Driving { drive, schedule, pushed: 0, turn: 0, open: 0, unanswered: 0, _ticker: ticker });
    }

    /// Pushes no more by itself; `Driven` follows when all is answered.
    pub(super) fn halt(&mut self) {
        if let Some(driving) = self.driving.as_mut() {
            driving.drive.total = Some(driving.pushed);
        }
    }

    /// Goes on after an event of a producer's socket.
    pub(super) fn ready(&mut self, at: usize, core: &mut Core, scratch: &mut Scratch, writable: bool) -> Vec<Note> {
        let Some(Some(producer)) = self.producers.get_mut(at) else { return Vec::new() };
        match producer.ready(core, scratch, writable, &mut self.answers) {
            Ok(()) => Vec::new(),
            Err(error) => self.lost(at, &error, core),
        }
    }

    /// Looks after all producers, whether or not there was an event.
    pub(super) fn ready_all(&mut self, core: &mut Core, scratch: &mut Scratch) -> Vec<Note> {
        let all = 0..self.producers.len();
        all.flat_map(|at| self.ready(at, core, scratch, false)).collect()
    }

    /// A producer is lost, and with it the answers to what it pushed.
    fn lost(&mut self, at: usize, error: &io::Error, core: &mut Core) -> Vec<Note> {
        let Some(producer) = self.producers[at].take() else { return Vec::new() };
        for sent in producer.outstanding() {
            if let Some(owed) = self.owed_of(sent.log) {
                owed.unanswered.push(sent.number);
            }
        }
        let words = words::backend_lost(error, producer.is_hired());
        core.tally.failed("backend_lost");
        // What is missing will not come: the run cannot go on as asked.
        let driven = self.driving.take().map(|_| Note::Driven);
        std::iter::once(Note::Trouble(words)).chain(driven).collect()
    }

    fn owed_of(&mut self, log: Log) -> Option<&mut Owed> {
        let index = log.as_inbox()?.checked_div(self.setup.seats)?;
        self.owed.get_mut(index as usize)
    }

    /// Takes note of answers, pushes what is due, and sends it.
    pub(super) fn turn(&mut self, core: &mut Core, scratch: &mut Scratch, devices: &[Device]) -> Vec<Note> {
        let mut notes = self.take_answers(core);
        self.push_more(core, devices);
        for at in 0..self.producers.len() {
            if let Some(Err(error)) = self.producers[at].as_mut().map(|producer| producer.flush(scratch)) {
                notes.extend(self.lost(at, &error, core));
            }
        }
        if self.is_hiring && self.producers.iter().flatten().all(Producer::is_hired) {
            self.is_hiring = false;
            notes.push(Note::Done(Step::Hire));
        }
        let is_over = |driving: &Driving| {
            driving.drive.total.is_some_and(|total| driving.pushed >= total) && driving.unanswered == 0
        };
        if self.driving.take_if(|driving| is_over(driving)).is_some() {
            notes.push(Note::Driven);
        }
        notes
    }

    fn take_answers(&mut self, core: &mut Core) -> Vec<Note> {
        let answers = std::mem::take(&mut self.answers);
        let received = std::mem::take(&mut core.received);
        let mut refused = 0;
        let mut notes: Vec<Note> = Vec::new();
        for (log, number, is_accepted) in answers.special {
            if let Some(topic) = log.as_topic() {
                let rejected = (!is_accepted).then_some(number);
                match notes.last_mut() {
                    Some(Note::Answered { topic: last, count, refused }) if *last == topic => {
                        *count += 1;
                        refused.extend(rejected);
                    }
                    _ => notes.push(Note::Answered { topic, count: 1, refused: rejected.into_iter().collect() }),
                }
                continue;
            }
            refused += 1;
            if let Some(owed) = self.owed_of(log) {
                owed.refused.push(number);
            }
        }
        if let Some(driving) = self.driving.as_mut() {
            driving.unanswered = driving.unanswered.saturating_sub(answers.count);
            let closed = match driving.drive.pace {
                Pace::Rate(_) | Pace::Answered(_) => answers.count,
                Pace::Received(_) => received + refused,
            };
            driving.open = driving.open.saturating_sub(closed);
        }
        notes
    }

    fn push_more(&mut self, core: &Core, devices: &[Device]) {
        let Some(driving) = self.driving.as_mut() else { return };
        let count = match driving.drive.aim {
            Aim::Devices => self.targets.len(),
            Aim::Strangers(_) => self.strangers.len(),
        };
        if count == 0 {
            driving.drive.total = Some(driving.pushed);
            return;
        }
        for _ in 0..PUSHES_PER_TURN {
            if driving.drive.total.is_some_and(|total| driving.pushed >= total) || driving.unanswered >= UNANSWERED_MAX
            {
                return;
            }
            let due = match (driving.drive.pace, driving.schedule.as_mut()) {
                (Pace::Answered(most) | Pace::Received(most), _) => (driving.open < most.into()).then_some(core.now),
                (Pace::Rate(_), schedule) => schedule.and_then(|schedule| schedule.next(core.now)),
            };
            let Some(due) = due else { return };
            let at = driving.turn % count;
            driving.turn += 1;
            let (target, log, number) = match driving.drive.aim {
                Aim::Devices => {
                    self.owed[at].sent += 1;
                    (&self.targets[at], Log::inbox(devices[at].number()), self.owed[at].sent)
                }
                Aim::Strangers(_) => {
                    let (target, number) = &mut self.strangers[at];
                    *number += 1;
                    (&*target, Log::NONE, *number)
                }
            };
            // One log has one producer: its pushes stay in order.
            let producers = self.producers.len().max(1);
            let Some(Some(producer)) = self.producers.get_mut(at % producers) else { return };
            producer.push(core, target, Sent { log, number, due });
            driving.pushed += 1;
            driving.open += 1;
            driving.unanswered += 1;
        }
    }
}

/// Wakes a thread at short intervals: sockets can be waited for in whole milliseconds only.
struct Ticker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    fn start(waker: &Arc<Waker>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (waker, ended) = (Arc::clone(waker), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                std::thread::sleep(TICK);
                if waker.wake().is_err() {
                    return;
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// How late a push that is due may be: latencies count it, so it must be small against what is measured.
const TICK: Duration = Duration::from_micros(500);
/// Pushes made in one turn, so that devices get theirs. A guess.
const PUSHES_PER_TURN: usize = 1024;
/// Pushes of a thread without an answer. Full: those that are due wait, and are late.
const UNANSWERED_MAX: u64 = 100_000;
