//! Leads a run: gives the crowd its orders, hears its notes, reads the server's CPU and memory, and puts the report
//! together. What is done in which order is the scenario's.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use super::crew::Crew;
use super::ledger::Owed;
use super::order::{Aim, Drive, Got, Note, Order, Pace, Setup, Step};
use super::plan::{Error, Plan, Progress, Until};
use super::proc;
use super::report::{Report, Sample};
use super::stamp::Log;
use super::tally::{Span, Tally};
use crate::model::clock::{Clock, Moment};

/// A run under way.
pub(super) struct Leader {
    pub(super) crew: Crew,
    pub(super) clock: Clock,
    /// How long what is missing is waited for.
    patience: Duration,
    progress: Arc<Progress>,
    /// When the phase began and how long it is, if it was given a time.
    timed: Option<(Moment, Duration)>,
    /// The server's process.
    pid: Option<u32>,
    /// What each thread told last: connections, deliveries, pushes.
    beats: Vec<(u32, u64, u64)>,
    /// Threads that still owe word of the awaited order, and a `Driven`.
    owing: u32,
    /// What that word is; none is that of what was counted.
    awaited: Option<Step>,
    driving: u32,
    /// When something went on last: a delivery, an answer, a welcome.
    moved: (Moment, u64),
    /// What was counted, of those threads that told it.
    counted: Vec<Tally>,
    /// What failed, in words.
    pub(super) troubles: Vec<String>,
    /// A part of the crowd is dead.
    died: Option<String>,
    /// Pushes to topics that not all have.
    under_way: BTreeMap<(Log, u32), Got>,
    /// Devices that have to receive a push to a topic.
    pub(super) followers: BTreeMap<u32, u32>,
    /// What is owed of each topic, by its number; and how many were answered.
    pub(super) topics: BTreeMap<u32, (Owed, u32)>,
    /// Pushes to topics that all of their devices have.
    pub(super) complete: u64,
    /// How long the last of them took.
    own: Tally,
    /// Memory of the server: before, at the highest.
    memory: (Option<u64>, u64),
    next_sample: Moment,
    last_sample: (Moment, u64, Option<Duration>),
    measured_from: Moment,
    pub(super) report: Report,
}

/// CPU that was used, so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cpu {
    pub(super) server: Option<Duration>,
    pub(super) client: Duration,
}

impl Leader {
    /// Starts the crowd and connects its backends.
    pub(super) fn start(plan: &Plan, progress: &Arc<Progress>) -> Result<Self, Error> {
        let wall = Clock::new().now().wall.as_millis();
        let run = fastrand::u64(..) >> 16;
        let setup = Setup::of(plan, run, wall * 1000);
        let clock = setup.clock();
        let pid = plan.gateway.pid.or_else(|| proc::listener(plan.gateway.devices.0));
        let seats = setup.seats;
        let crew = Crew::start(setup, plan.processes()).map_err(failed("the crowd cannot be started"))?;
        let report = Report {
            scenario: plan.scenario.name().to_owned(),
            settings: plan.settings.clone(),
            machine: proc::machine(),
            began_at: Duration::from_millis(wall).as_secs(),
            ..Report::default()
        };
        let now = clock.now().moment;
        let mut leader = Self {
            crew,
            clock,
            patience: plan.crowd.patience,
            progress: Arc::clone(progress),
            timed: None,
            pid,
            beats: vec![(0, 0, 0); seats as usize],
            owing: 0,
            awaited: None,
            driving: 0,
            moved: (now, 0),
            counted: Vec::new(),
            troubles: Vec::new(),
            died: None,
            under_way: BTreeMap::new(),
            followers: BTreeMap::new(),
            topics: BTreeMap::new(),
            complete: 0,
            own: Tally::default(),
            memory: (pid.and_then(proc::resident_bytes), 0),
            next_sample: now,
            last_sample: (now, 0, None),
            measured_from: now,
            report,
        };
        leader.phase("backends", 0);
        leader.begin(&Order::Hire)?;
        leader.wait(CONNECT_PATIENCE, "the backend took the streams of pushes", |leader| {
            leader.is_done() || !leader.troubles.is_empty()
        })?;
        leader.refuse_troubles()?;
        Ok(leader)
    }

    /// Another phase begins.
    pub(super) fn phase(&mut self, words: &'static str, total: u64) {
        self.timed = None;
        self.progress.begin(words, total);
    }

    /// Another phase begins, which is as long as is pushed: so many times, of which each counts so much, or for a time.
    pub(super) fn phase_until(&mut self, words: &'static str, until: Until, each: u64) {
        match until {
            Until::Pushes(count) => self.phase(words, count.saturating_mul(each)),
            Until::Elapsed(span) => {
                self.phase(words, 0);
                self.timed = Some((self.clock.now().moment, span));
                self.progress.spent(Duration::ZERO, span);
            }
        }
    }

    /// How far the phase is.
    pub(super) fn at(&self, done: u64) {
        self.progress.at(done);
    }

    /// Fails when something went wrong before anything was measured.
    pub(super) fn refuse_troubles(&self) -> Result<(), Error> {
        self.troubles.first().map_or(Ok(()), |words| Err(Error::Refused(words.clone())))
    }

    /// Tells all threads, and forgets about it.
    pub(super) fn order(&mut self, order: &Order) -> Result<(), Error> {
        self.crew.tell_all(order).map_err(|why| self.dead(why))
    }

    fn dead(&self, why: io::Error) -> Error {
        match &self.died {
            Some(words) => Error::Refused(words.clone()),
            None => failed("the crowd does not listen")(why),
        }
    }

    /// Tells all threads and waits until each has done it.
    pub(super) fn order_and_wait(
        &mut self,
        order: &Order,
        patience: Duration,
        what: &'static str,
    ) -> Result<(), Error> {
        self.begin(order)?;
        self.wait(patience, what, |leader| leader.owing == 0)
    }

    /// Tells all threads; [`Leader::is_done`] says when each has done it.
    pub(super) fn begin(&mut self, order: &Order) -> Result<(), Error> {
        (self.owing, self.awaited) = (self.crew.len(), order.step());
        self.order(order)
    }

    /// Whether all threads have done what [`Leader::begin`] told them.
    pub(super) const fn is_done(&self) -> bool {
        self.owing == 0
    }

    /// Lets all threads push by themselves, `total` in all; [`Leader::is_driven`] says when all is pushed and answered.
    pub(super) fn drive(&mut self, aim: Aim, pace: Pace, total: Option<u64>) -> Result<(), Error> {
        let seats = self.crew.len();
        self.driving = seats;
        for seat in 0..seats {
            let (each, rest) = (u64::from(seats), u64::from(seat));
            let total = total.map(|total| total / each + u64::from(rest < total % each));
            let order = Order::Drive(Drive { aim, pace, total });
            self.crew.tell(seat, order).map_err(|why| self.dead(why))?;
        }
        Ok(())
    }

    /// Whether nobody pushes by itself any more.
    pub(super) const fn is_driven(&self) -> bool {
        self.driving == 0
    }

    /// Hears notes until `is_so`, or until nothing goes on any more: then what is missing is lost, and the end will tell.
    pub(super) fn wait_while_it_goes_on(&mut self, mut is_so: impl FnMut(&mut Self) -> bool) -> Result<(), Error> {
        self.moved.0 = self.clock.now().moment;
        while !is_so(self) {
            let now = self.clock.now().moment;
            let all = self.deliveries() + self.pushes() + self.connections() + self.complete;
            if all != self.moved.1 {
                self.moved = (now, all);
            }
            // After a failure there is less hope.
            let patience = if self.troubles.is_empty() { STANDSTILL } else { STANDSTILL_AFTER_TROUBLE };
            if now.since(self.moved.0) > patience {
                return Ok(());
            }
            self.hear(now + SAMPLE)?;
        }
        Ok(())
    }

    /// Hears notes until `is_so`, or fails when that takes too long.
    pub(super) fn wait(
        &mut self,
        patience: Duration,
        what: &'static str,
        mut is_so: impl FnMut(&mut Self) -> bool,
    ) -> Result<(), Error> {
        let until = self.clock.now().moment + patience;
        while !is_so(self) {
            if self.hear(until)? {
                let trouble = self.troubles.first().map(|words| format!("; {words}")).unwrap_or_default();
                return Err(Error::TimedOut(patience, what, trouble));
            }
        }
        Ok(())
    }

    /// Hears notes for so long.
    pub(super) fn rest(&mut self, span: Duration) -> Result<(), Error> {
        let until = self.clock.now().moment + span;
        while !self.hear(until)? {}
        Ok(())
    }

    /// Hears one note, or none. True: it is later than `until`.
    pub(super) fn hear(&mut self, until: Moment) -> Result<bool, Error> {
        let now = self.clock.now().moment;
        if self.next_sample <= now {
            self.sample(now);
        }
        let patience = until.min(self.next_sample).since(now);
        match self.crew.notes().recv_timeout(patience) {
            Ok((seat, note)) => self.take(seat, note),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Error::Refused("the crowd has ended by itself".to_owned()));
            }
        }
        if let Some(words) = &self.died {
            return Err(Error::Refused(words.clone()));
        }
        Ok(until <= now)
    }

    fn take(&mut self, seat: u32, note: Note) {
        match note {
            // Devices may come back when other things are awaited already.
            Note::Done(step) if self.awaited != Some(step) => {}
            Note::Done(_) => self.owing = self.owing.saturating_sub(1),
            Note::Driven => self.driving = self.driving.saturating_sub(1),
            Note::Beat { connections, deliveries, pushes } => {
                self.beats[seat as usize] = (connections, deliveries, pushes);
            }
            Note::Got(got) => self.got(got),
            Note::Answered { topic, count, refused } => {
                let (owed, answered) = self.topics.entry(topic).or_default();
                *answered += count;
                for number in refused {
                    owed.refused.push(number);
                    // Nobody waits for it any more.
                    self.under_way.remove(&(Log::topic(topic), number));
                    self.complete += 1;
                }
            }
            Note::Counted(tally) | Note::Finished(tally) => {
                self.counted.push(*tally);
                self.owing = self.owing.saturating_sub(1);
            }
            // Threads tell the same.
            Note::Trouble(words) if self.troubles.contains(&words) => {}
            Note::Trouble(words) => self.troubles.push(words),
            Note::Died(words) => self.died = Some(words),
        }
    }

    fn got(&mut self, got: Got) {
        let all = self.under_way.entry((got.log, got.number)).or_insert(Got { count: 0, ..got });
        all.count += got.count;
        all.last = all.last.max(got.last);
        let (count, sent, last) = (all.count, all.sent, all.last);
        let followers = got.log.as_topic().and_then(|topic| self.followers.get(&topic));
        if Some(&count) == followers {
            self.under_way.remove(&(got.log, got.number));
            self.complete += 1;
            self.own.record(Span::Last, Moment::from_micros(sent), Moment::from_micros(last));
        }
    }

    /// Pushes to a topic so often.
    pub(super) fn publish(&mut self, topic: u32, count: u32) -> Result<(), Error> {
        self.topics.entry(topic).or_default().0.sent += count;
        self.crew.tell(0, Order::Publish { topic, count }).map_err(|why| self.dead(why))
    }

    /// What is owed of all topics, as far as it is known.
    pub(super) fn owed(&self) -> Vec<(u32, Owed)> {
        let owed = |(topic, (owed, answered)): (&u32, &(Owed, u32))| {
            // Answers come in the order of the pushes.
            let unanswered = (answered + 1..=owed.sent).collect();
            (*topic, Owed { unanswered, ..owed.clone() })
        };
        self.topics.iter().map(owed).collect()
    }

    /// Devices that are connected.
    pub(super) fn connections(&self) -> u64 {
        self.beats.iter().map(|(connections, ..)| u64::from(*connections)).sum()
    }

    /// Deliveries since the measured part began, as far as they were told.
    pub(super) fn deliveries(&self) -> u64 {
        self.beats.iter().map(|(_, deliveries, _)| deliveries).sum()
    }

    /// Accepted pushes since the measured part began, as far as they were told.
    pub(super) fn pushes(&self) -> u64 {
        self.beats.iter().map(|(.., pushes)| pushes).sum()
    }

    /// The CPU used so far.
    pub(super) fn cpu(&self) -> Cpu {
        let client = self.crew.pids().into_iter().filter_map(proc::cpu).sum();
        Cpu { server: self.pid.and_then(proc::cpu), client }
    }

    /// Resident bytes of the server.
    pub(super) fn server_memory(&self) -> Option<u64> {
        self.pid.and_then(proc::resident_bytes)
    }

    /// Waits until the server's memory changes no more, for a bounded time, and gives it.
    pub(super) fn settled_memory(&mut self) -> Result<Option<u64>, Error> {
        let Some(mut before) = self.server_memory() else { return Ok(None) };
        let until = self.clock.now().moment + MEMORY_PATIENCE;
        loop {
            self.rest(MEMORY_PAUSE)?;
            let Some(now) = self.server_memory() else { return Ok(None) };
            if now.abs_diff(before) * MEMORY_STEADY <= before || until <= self.clock.now().moment {
                return Ok(Some(now));
            }
            before = now;
        }
    }

    fn sample(&mut self, now: Moment) {
        self.next_sample = now + SAMPLE;
        let memory = self.server_memory().unwrap_or(0);
        self.memory.1 = self.memory.1.max(memory);
        self.progress.server_memory(memory);
        if let Some((began, span)) = self.timed {
            self.progress.spent(now.since(began), span);
        }
        let (at, deliveries, cpu) = self.last_sample;
        let (all, used) = (self.deliveries(), self.pid.and_then(proc::cpu));
        let span = now.since(at).as_secs_f64().max(1e-9);
        let cores = used.zip(cpu).map_or(0.0, |(used, cpu)| used.saturating_sub(cpu).as_secs_f64() / span);
        self.report.timeline.push(Sample {
            second: now.since(self.measured_from).as_secs_f64(),
            connections: self.connections(),
            deliveries_per_second: all.saturating_sub(deliveries) as f64 / span,
            server_memory_bytes: memory,
            server_cores: cores,
        });
        self.last_sample = (now, all, used);
    }

    /// The measured part begins: what was measured before is forgotten.
    pub(super) fn measure(&mut self) -> Result<(Moment, Cpu), Error> {
        self.order_and_wait(&Order::Reset, COUNT_PATIENCE, "all had forgotten")?;
        self.own = Tally::default();
        self.beats.iter_mut().for_each(|beat| (beat.1, beat.2) = (0, 0));
        self.report.timeline.clear();
        let now = self.clock.now().moment;
        (self.measured_from, self.next_sample) = (now, now + SAMPLE);
        self.last_sample = (now, 0, self.pid.and_then(proc::cpu));
        Ok((now, self.cpu()))
    }

    /// What all have counted.
    pub(super) fn count(&mut self) -> Result<Tally, Error> {
        self.counted.clear();
        self.order_and_wait(&Order::Count, COUNT_PATIENCE, "all had counted")?;
        Ok(self.sum())
    }

    fn sum(&mut self) -> Tally {
        let mut sum = self.own.clone();
        self.counted.drain(..).for_each(|tally| sum.add(&tally));
        sum
    }

    /// The measured part is over: writes what `tally` says of it into the report.
    pub(super) fn measured(&mut self, tally: &Tally, from: (Moment, Cpu), upto: (Moment, Cpu)) {
        // Waiting for stragglers and last acks is no part of what is measured, but its CPU is.
        let last = Moment::from_micros(tally.last_delivery);
        let ended = if tally.deliveries > 0 && last < upto.0 { last } else { upto.0 };
        let seconds = ended.since(from.0).as_secs_f64();
        let report = &mut self.report;
        let a_second = |count: u64| (count > 0 && seconds > 0.0).then(|| count as f64 / seconds);
        let each = |used: Duration| (tally.deliveries > 0).then(|| used.as_secs_f64() * 1e6 / tally.deliveries as f64);
        report.seconds = seconds;
        report.deliveries = tally.deliveries;
        report.deliveries_per_second = a_second(tally.deliveries);
        report.pushes = tally.pushes;
        report.pushes_per_second = a_second(tally.pushes);
        let server = upto.1.server.zip(from.1.server).map(|(upto, from)| upto.saturating_sub(from));
        report.server_cpu_us_per_delivery = server.and_then(each);
        report.client_cpu_us_per_delivery = each(upto.1.client.saturating_sub(from.1.client));
        if tally.deliveries == 0 && tally.pushes > 0 {
            report.server_cpu_us_per_push = server.map(|used| used.as_secs_f64() * 1e6 / tally.pushes as f64);
        }
        for (name, span) in [("enqueue", Span::Enqueue), ("ack", Span::Ack), ("last", Span::Last)] {
            if tally.times.contains_key(&span) {
                report.other_latency_ms.insert(name.to_owned(), tally.latency(span));
            }
        }
        report.latency_ms = tally.latency(Span::Delivery);
    }

    /// Waits until all that is owed has come and all acks are confirmed, for a bounded time.
    pub(super) fn settle(&mut self) -> Result<(), Error> {
        let most = if self.troubles.is_empty() { self.patience } else { SETTLE_AFTER_TROUBLE };
        let within = self.patience.min(most);
        self.phase("settle", 0);
        let owed = self.owed();
        self.order_and_wait(&Order::Settle { owed, within }, within + COUNT_PATIENCE, "the rest had come")
    }

    /// Ends the run: the crowd compares what came with what was owed.
    pub(super) fn finish(mut self) -> Result<Report, Error> {
        let owed = self.owed();
        let (peak, now) = (self.memory.1, self.server_memory());
        self.counted.clear();
        self.order_and_wait(&Order::Finish { owed }, FINISH_PATIENCE, "the crowd had ended")?;
        let tally = self.sum();
        let mut report = std::mem::take(&mut self.report);
        report.server_memory_bytes = self.memory.0.zip(now).map(|(before, now)| [before, peak.max(now), now]);
        report.acked = tally.acked;
        // A burst comes after what is measured, and a backlog before it.
        report.pushes = report.pushes.max(tally.pushes);
        report.deliveries = report.deliveries.max(tally.deliveries);
        (report.lost, report.duplicated, report.wrong) = (tally.lost, tally.duplicated, tally.wrong);
        report.failures = tally.failures;
        report.troubles = std::mem::take(&mut self.troubles);
        Ok(report)
    }
}

fn failed(what: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |why| Error::Failed { what, why }
}

/// How often the server is looked at.
const SAMPLE: Duration = Duration::from_millis(200);
/// Nothing went on for so long: nothing will. More than a device that comes back may take.
const STANDSTILL: Duration = Duration::from_secs(60);
/// The same after something failed.
const STANDSTILL_AFTER_TROUBLE: Duration = Duration::from_secs(5);
/// How long what is missing is waited for when something has failed.
const SETTLE_AFTER_TROUBLE: Duration = Duration::from_secs(10);
/// How long backends may take to connect.
const CONNECT_PATIENCE: Duration = Duration::from_secs(15);
/// How long the crowd may take to count. It needs milliseconds, unless it is busy.
const COUNT_PATIENCE: Duration = Duration::from_secs(30);
/// How long it may take to compare.
const FINISH_PATIENCE: Duration = Duration::from_secs(120);
/// How long memory may take to settle.
const MEMORY_PATIENCE: Duration = Duration::from_secs(10);
/// Time between two looks at memory.
const MEMORY_PAUSE: Duration = Duration::from_millis(500);
/// It has settled when it changes by less than one in so many.
const MEMORY_STEADY: u64 = 500;
