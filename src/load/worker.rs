//! One thread of the crowd: it waits for its sockets, orders and timers, and lets its devices and producers go on. What
//! it pushes by itself is in `driver`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};
use std::time::Duration;

use mio::{Events, Poll, Token, Waker};

use super::core::Core;
use super::device::{Device, Gone};
use super::driver::Driver;
use super::ledger::Owed;
use super::order::{Note, Order, Setup, Step};
use super::pipe::Scratch;
use super::stamp::Log;
use super::tally::Tally;
use crate::model::clock::Moment;

/// Where a thread's notes go: which thread, and what.
pub(super) type Notes = SyncSender<(u32, Note)>;

/// One thread of the crowd.
pub(super) struct Worker {
    seat: u32,
    poll: Poll,
    /// Wakes it up; shared with whoever sends orders.
    waker: Arc<Waker>,
    core: Core,
    scratch: Scratch,
    devices: Vec<Device>,
    driver: Driver,
    orders: Receiver<Order>,
    notes: Notes,
    connecting: Option<Connecting>,
    /// When devices that are away come back.
    returns: BinaryHeap<Reverse<(Moment, u32)>>,
    /// Devices that lose their connection come back by themselves.
    comes_back: bool,
    /// Devices that wait for the answer to their subscription, and some that had it.
    followers: Vec<u32>,
    /// `Done` is owed when all devices are back.
    is_returning: bool,
    /// `Done` is owed when the followers have their answers.
    is_following: bool,
    settling: Option<Settling>,
    next_beat: Moment,
    next_sweep: Moment,
    /// Words that were told already.
    told: BTreeMap<String, ()>,
}

/// Devices that are being connected.
struct Connecting {
    waiting: VecDeque<u32>,
    at_a_time: usize,
    /// Have begun and have neither a welcome nor failed. May name some that are done.
    under_way: Vec<u32>,
}

/// Waiting until all came that is owed.
struct Settling {
    owed: Vec<(u32, Owed)>,
    until: Moment,
    next_look: Moment,
}

impl Worker {
    /// A worker with its devices and their tokens; nothing is connected yet.
    pub(super) fn new(
        setup: Arc<Setup>,
        seat: u32,
        tokens: Vec<super::tokens::Token>,
        (poll, waker): (Poll, Arc<Waker>),
        orders: Receiver<Order>,
        notes: Notes,
    ) -> io::Result<Self> {
        let registry = poll.registry().try_clone()?;
        let core = Core::new(Arc::clone(&setup), seat, registry).map_err(io::Error::other)?;
        let driver = Driver::new(&setup, seat, &tokens);
        let numbers = (seat..).step_by(setup.seats as usize);
        let devices = tokens.into_iter().zip(numbers).enumerate();
        let devices = devices.map(|(index, (token, number))| Device::new(index as u32, number, token.secret)).collect();
        let now = core.now;
        Ok(Self {
            seat,
            poll,
            waker,
            core,
            scratch: Scratch::new(),
            devices,
            driver,
            orders,
            notes,
            connecting: None,
            returns: BinaryHeap::new(),
            comes_back: false,
            followers: Vec::new(),
            is_returning: false,
            is_following: false,
            settling: None,
            next_beat: now,
            next_sweep: now,
            told: BTreeMap::new(),
        })
    }

    /// Works until told to finish, or until nobody is there to tell.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        loop {
            if let Err(error) = self.poll.poll(&mut events, Some(self.patience()))
                && error.kind() != io::ErrorKind::Interrupted
            {
                return Err(error);
            }
            self.core.now = self.core.clock.now().moment;
            for event in &events {
                self.scratch.may_end = event.is_read_closed();
                self.event(event.token(), event.is_writable());
            }
            // Devices that crowd in must not make the pushes look slow: those who push are looked after in every turn.
            if events.iter().nth(EVENTS_PER_TURN - 1).is_some() {
                let done = self.driver.ready_all(&mut self.core, &mut self.scratch);
                self.driver_told(done);
            }
            loop {
                match self.orders.try_recv() {
                    Ok(Order::Finish { owed }) => {
                        let tally = self.finish(&owed);
                        self.tell(Note::Finished(Box::new(tally)));
                        return Ok(());
                    }
                    Ok(order) => self.order(order),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return Ok(()),
                }
            }
            self.core.now = self.core.clock.now().moment;
            self.timers();
            let done = self.driver.turn(&mut self.core, &mut self.scratch, &self.devices);
            self.driver_told(done);
            for got in std::mem::take(&mut self.core.got) {
                self.tell(Note::Got(got));
            }
        }
    }

    /// How long to wait for events at most.
    fn patience(&self) -> Duration {
        let mut next = self.next_beat.min(self.next_sweep);
        next = self.core.acks_due.front().map_or(next, |(due, ..)| next.min(*due));
        next = self.returns.peek().map_or(next, |Reverse((due, _))| next.min(*due));
        next = self.settling.as_ref().map_or(next, |settling| next.min(settling.next_look));
        next.since(self.core.clock.now().moment)
    }

    fn tell(&self, note: Note) {
        // When nobody listens any more, the next look at the orders will say so.
        let _ = self.notes.send((self.seat, note));
    }

    fn beat(&self) {
        let Tally { deliveries, pushes, .. } = self.core.tally;
        self.tell(Note::Beat { connections: self.core.open, deliveries, pushes });
    }

    /// An order is carried out. The leader must not go on from figures of before.
    fn done(&self, step: Step) {
        self.beat();
        self.tell(Note::Done(step));
    }

    fn event(&mut self, token: Token, writable: bool) {
        if token == WAKER {
            return;
        }
        if let Some(producer) = token.0.checked_sub(PRODUCERS.0) {
            let done = self.driver.ready(producer, &mut self.core, &mut self.scratch, writable);
            self.driver_told(done);
            return;
        }
        let Some(device) = self.devices.get_mut(token.0) else { return };
        if device.is_away() {
            return;
        }
        if let Err(gone) = device.ready(&mut self.core, &mut self.scratch, writable) {
            self.gone(token.0, &gone);
        }
    }

    fn driver_told(&mut self, notes: Vec<Note>) {
        for note in notes {
            match note {
                Note::Trouble(words) => self.trouble(words),
                Note::Done(step) => self.done(step),
                note => self.tell(note),
            }
        }
    }

    /// A device lost its connection, or got none.
    fn gone(&mut self, index: usize, gone: &Gone) {
        self.core.tally.failed(&gone.code);
        self.trouble(gone.words.clone());
        self.devices[index].cut(&mut self.core);
        if self.comes_back {
            let pause = Duration::from_millis(self.core.chance.u64(0..RETURN_MILLIS_MAX));
            self.returns.push(Reverse((self.core.now + pause, index as u32)));
        }
    }

    fn trouble(&mut self, words: String) {
        if self.told.len() < TROUBLES_MAX && self.told.insert(words.clone(), ()).is_none() {
            self.tell(Note::Trouble(words));
        }
    }

    fn order(&mut self, order: Order) {
        match order {
            Order::Connect { upto, at_a_time } => {
                let wanted = self.devices.iter().enumerate();
                let wanted = wanted.filter(|(_, device)| device.is_away() && device.number() < upto);
                let waiting = wanted.map(|(index, _)| index as u32).collect();
                self.connecting = Some(Connecting { waiting, at_a_time: at_a_time as usize, under_way: Vec::new() });
            }
            Order::Return { within } => {
                (self.comes_back, self.is_returning) = (true, true);
                let within = within.as_micros() as u64;
                for (index, device) in self.devices.iter().enumerate() {
                    if !device.is_away() {
                        continue;
                    }
                    let pause = Duration::from_micros(self.core.chance.u64(0..=within));
                    self.returns.push(Reverse((self.core.now + pause, index as u32)));
                }
            }
            Order::Follow { topics } => {
                self.is_following = true;
                for index in 0..self.devices.len() {
                    let device = &mut self.devices[index];
                    let topic = device.number() % topics.max(1);
                    match device.follow(topic, &mut self.core, &mut self.scratch) {
                        Ok(true) => self.followers.push(index as u32),
                        Ok(false) => {}
                        Err(gone) => self.gone(index, &gone),
                    }
                }
            }
            Order::Cut => {
                self.connecting = None;
                self.returns.clear();
                for device in &mut self.devices {
                    device.cut(&mut self.core);
                }
                self.done(Step::Cut);
            }
            Order::Hire => {
                let done = self.driver.hire(&self.core);
                self.driver_told(done);
            }
            Order::Publish { topic, count } => self.driver.publish(topic, count, &mut self.core),
            Order::Drive(drive) => self.driver.drive(drive, &self.core, &self.waker),
            Order::Halt => self.driver.halt(),
            Order::Live(life) => {
                self.core.life = life;
                self.comes_back |= life.is_some();
            }
            Order::Reset => {
                self.core.tally.forget_measures();
                self.done(Step::Reset);
            }
            Order::Count => self.tell(Note::Counted(Box::new(self.core.tally.clone()))),
            Order::Settle { owed, within } => {
                let now = self.core.now;
                self.settling = Some(Settling { owed, until: now + within, next_look: now });
            }
            // Handled by the loop.
            Order::Finish { .. } => {}
        }
    }

    fn timers(&mut self) {
        let now = self.core.now;
        while let Some(&(_, index, life)) = self.core.acks_due.front().filter(|(due, ..)| *due <= now) {
            self.core.acks_due.pop_front();
            let device = &mut self.devices[index as usize];
            if device.life() == life
                && let Err(gone) = device.acks_due(&mut self.core, &mut self.scratch)
            {
                self.gone(index as usize, &gone);
            }
        }
        for _ in 0..EVENTS_PER_TURN {
            let Some(&Reverse((_, index))) = self.returns.peek().filter(|Reverse((due, _))| *due <= now) else { break };
            self.returns.pop();
            self.dial(index);
        }
        self.connect();
        while self.followers.pop_if(|index| !self.devices[*index as usize].is_following()).is_some() {}
        if self.is_following && self.followers.is_empty() {
            self.is_following = false;
            self.done(Step::Follow);
        }
        if self.is_returning && self.core.open as usize == self.devices.len() {
            self.is_returning = false;
            self.done(Step::Return);
        }
        self.settle();
        if self.next_beat <= now {
            self.next_beat = now + BEAT;
            self.beat();
            self.live();
        }
        if self.next_sweep <= now {
            self.next_sweep = now + SWEEP;
            self.sweep();
        }
    }

    fn dial(&mut self, index: u32) {
        let device = &mut self.devices[index as usize];
        if device.is_away()
            && let Err(gone) = device.dial(&mut self.core, Token(index as usize))
        {
            self.gone(index as usize, &gone);
        }
    }

    fn connect(&mut self) {
        let Some(mut connecting) = self.connecting.take() else { return };
        connecting.under_way.retain(|index| self.devices[*index as usize].dialing_since().is_some());
        while connecting.under_way.len() < connecting.at_a_time
            && let Some(index) = connecting.waiting.pop_front()
        {
            self.dial(index);
            if self.devices[index as usize].dialing_since().is_some() {
                connecting.under_way.push(index);
            }
        }
        if connecting.under_way.is_empty() && connecting.waiting.is_empty() {
            self.done(Step::Connect);
        } else {
            self.connecting = Some(connecting);
        }
    }

    fn settle(&mut self) {
        let now = self.core.now;
        let Some(settling) = self.settling.as_mut().filter(|settling| settling.next_look <= now) else { return };
        settling.next_look = now + LOOK;
        let driver = &self.driver;
        let is_settled = |(index, device): (usize, &Device)| {
            let has = |log: Log, owed: &Owed| device.ledger().missing(log, owed).0 == 0;
            device.is_settled()
                && has(Log::inbox(device.number()), driver.owed(index))
                && settling.owed.iter().all(|(topic, owed)| has(Log::topic(*topic), owed))
        };
        if settling.until <= now || (driver.is_idle() && self.devices.iter().enumerate().all(is_settled)) {
            self.settling = None;
            self.done(Step::Settle);
        }
    }

    /// Some leave, some stop reading, some go on.
    fn live(&mut self) {
        let (now, life) = (self.core.now, self.core.life);
        // Nobody looked at the events of those who did not read.
        self.scratch.may_end = true;
        for index in 0..self.devices.len() {
            let device = &mut self.devices[index];
            if device.wake(now)
                && let Err(gone) = device.ready(&mut self.core, &mut self.scratch, true)
            {
                self.gone(index, &gone);
                continue;
            }
            let (Some(life), true) = (life, self.devices[index].is_open()) else { continue };
            if self.core.chance.f64() < life.churn * BEAT.as_secs_f64() {
                self.devices[index].cut(&mut self.core);
                let pause = Duration::from_millis(self.core.chance.u64(0..RETURN_MILLIS_MAX));
                self.returns.push(Reverse((now + pause, index as u32)));
            } else if self.core.chance.f64() < life.stall * BEAT.as_secs_f64() {
                self.devices[index].stall(now + life.stall_for);
            }
        }
    }

    /// Looks after those who wait for too long.
    fn sweep(&mut self) {
        for index in 0..self.devices.len() {
            let device = &mut self.devices[index];
            let too_long = device.dialing_since().is_some_and(|since| self.core.now.since(since) > ATTEMPT_TIMEOUT);
            let beaten = match too_long {
                true => Err(Gone::timed_out()),
                false => device.beat(&mut self.core, &mut self.scratch),
            };
            if let Err(gone) = beaten {
                self.gone(index, &gone);
            }
        }
    }

    /// Compares what came with what was owed.
    fn finish(&mut self, owed: &[(u32, Owed)]) -> Tally {
        let tally = &mut self.core.tally;
        for (index, device) in self.devices.iter().enumerate() {
            let mut check = |log: Log, owed: &Owed| {
                let (lost, wrong) = device.ledger().missing(log, owed);
                // Whoever is not there cannot be given anything: that it is away is what failed.
                if device.is_away() && lost > 0 {
                    *tally.failures.entry(MISSED.to_owned()).or_default() += lost;
                } else {
                    tally.lost += lost;
                }
                tally.wrong += wrong;
            };
            check(Log::inbox(device.number()), self.driver.owed(index));
            owed.iter().for_each(|(topic, owed)| check(Log::topic(*topic), owed));
        }
        std::mem::take(tally)
    }
}

/// The token of the waker that says that there are orders.
pub(super) const WAKER: Token = Token(usize::MAX >> 1);
/// The token of the first producer; devices have those below.
pub(super) const PRODUCERS: Token = Token(1 << 30);

/// Makes a waker for a worker's poll.
pub(super) fn waker(poll: &Poll) -> io::Result<Arc<Waker>> {
    Waker::new(poll.registry(), WAKER).map(Arc::new)
}

/// What failed when a device is not there at the end to take what it is owed.
const MISSED: &str = "missed_while_away";
/// Events that are taken, and devices that begin to connect, in one turn: some milliseconds if each is a handshake's.
const EVENTS_PER_TURN: usize = 32;
/// How often the leader is told how it goes.
const BEAT: Duration = Duration::from_millis(100);
/// How often those who wait for long are looked after.
const SWEEP: Duration = Duration::from_secs(1);
/// How often it is looked whether all has come.
const LOOK: Duration = Duration::from_millis(10);
/// How long an attempt to connect may take. As in the client library, and more for crowds.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest pause before a device that lost its connection comes back.
const RETURN_MILLIS_MAX: u64 = 1000;
/// Different kinds of trouble that are told in words.
const TROUBLES_MAX: usize = 8;
