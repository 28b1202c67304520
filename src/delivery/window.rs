//! The pushes in flight on one connection: sent and not settled. It numbers them, remembers which place of which log
//! each stands for, and when each must be looked at again. It decides nothing about them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::model::clock::Moment;
use crate::model::id::MessageId;
use crate::model::log::{LogId, Offset};
use crate::model::message::Urgency;
use crate::model::ranges::Ranges;

/// One push in flight.
#[derive(Clone, Debug)]
pub(crate) struct Flight {
    /// The place it stands for; `None` for an online-only push.
    pub(crate) place: Option<(LogId, Offset)>,
    /// The message, if its sender wants to know what becomes of it.
    pub(crate) reported: Option<MessageId>,
    /// When it was last sent.
    pub(crate) sent: Moment,
    /// Failed deliveries so far.
    pub(crate) attempts: u32,
    /// Where it is.
    pub(crate) stage: Stage,
    /// Seqs of its earlier deliveries on this connection; an ack of one of them settles it as well.
    earlier: Vec<u64>,
}

/// Where a push in flight is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Sent; fails at this moment if it is not acked.
    Sent(Moment),
    /// Failed; is to be sent again at this moment.
    Resting(Moment),
    /// To be sent again now.
    Due,
    /// Was due, but the device does not accept this urgency now. It takes no room meanwhile; a late ack still counts.
    Withheld(Urgency),
}

/// What a timer that ran out means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lapse {
    /// The ack did not come.
    Unacked(u64),
    /// The rest is over: it is due.
    Rested,
}

/// The pushes in flight, by seq.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// Seq of the newest push sent.
    last_seq: u64,
    /// Every push up to this seq is on the wire.
    flushed_seq: u64,
    /// In flight, by newest seq.
    flights: BTreeMap<u64, Flight>,
    /// Seqs of earlier deliveries to the newest of the same push.
    aliases: BTreeMap<u64, u64>,
    /// When to look at which.
    timers: BTreeSet<(Moment, u64)>,
    /// Those to be sent again now, in the order they fell due.
    due: VecDeque<u64>,
    /// How many of the flights are withheld. At most a window for each urgency: what is withheld and accepted again
    /// goes before what is new.
    withheld: usize,
}

impl Window {
    /// How many pushes are in flight; those that are withheld are not.
    pub(crate) fn len(&self) -> usize {
        self.flights.len() - self.withheld
    }

    /// Seq of the newest push sent; 0 before the first.
    pub(crate) const fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// A push is sent: numbers it. Its ack is awaited until `deadline`.
    pub(crate) fn send(
        &mut self,
        place: Option<(LogId, Offset)>,
        reported: Option<MessageId>,
        attempts: u32,
        sent: Moment,
        deadline: Moment,
    ) -> u64 {
        let stage = Stage::Sent(deadline);
        self.insert(Flight { place, reported, sent, attempts, stage, earlier: Vec::new() }, deadline)
    }

    /// A push that was due is sent again, under a new number.
    pub(crate) fn resend(&mut self, seq: u64, sent: Moment, deadline: Moment) -> Option<u64> {
        let mut flight = self.remove(seq)?;
        flight.earlier.push(seq);
        flight.sent = sent;
        flight.stage = Stage::Sent(deadline);
        Some(self.insert(flight, deadline))
    }

    fn insert(&mut self, flight: Flight, deadline: Moment) -> u64 {
        self.last_seq += 1;
        let seq = self.last_seq;
        self.aliases.extend(flight.earlier.iter().map(|&earlier| (earlier, seq)));
        self.flights.insert(seq, flight);
        self.timers.insert((deadline, seq));
        seq
    }

    /// All that was sent is on the wire.
    pub(crate) const fn flushed(&mut self) {
        self.flushed_seq = self.last_seq;
    }

    /// Newest seqs of the pushes in flight that a range of seqs names, under whatever number.
    pub(crate) fn named(&self, from: u64, upto: u64) -> Vec<u64> {
        let newest = self.flights.range(from..=upto).map(|(&seq, _)| seq);
        let renamed = self.aliases.range(from..=upto).map(|(_, &seq)| seq);
        let all: BTreeSet<u64> = newest.chain(renamed).collect();
        all.into_iter().collect()
    }

    /// A push in flight under its newest number.
    pub(crate) fn flight(&self, seq: u64) -> Option<&Flight> {
        self.flights.get(&seq)
    }

    /// Takes a push out: it is settled, or its log is not followed any more.
    pub(crate) fn remove(&mut self, seq: u64) -> Option<Flight> {
        let flight = self.flights.remove(&seq)?;
        for earlier in &flight.earlier {
            self.aliases.remove(earlier);
        }
        self.leave_stage(seq, flight.stage);
        if self.flights.is_empty() {
            // Maps that were filled once keep a node each; an idle session must not.
            (self.flights, self.aliases) = (BTreeMap::new(), BTreeMap::new());
            (self.timers, self.due) = (BTreeSet::new(), VecDeque::new());
        }
        Some(flight)
    }

    /// Takes out everything of a log.
    pub(crate) fn remove_log(&mut self, log: &LogId) {
        self.remove_those(log, |_| true);
    }

    /// Takes out what was settled by others.
    pub(crate) fn remove_settled(&mut self, log: &LogId, settled: &Ranges) {
        self.remove_those(log, |offset| settled.contains(offset.0));
    }

    fn remove_those(&mut self, log: &LogId, which: impl Fn(Offset) -> bool) {
        let of_log = |flight: &Flight| flight.place.as_ref().is_some_and(|(of, at)| of == log && which(*at));
        let seqs: Vec<u64> = self.flights.iter().filter(|(_, flight)| of_log(flight)).map(|(&seq, _)| seq).collect();
        for seq in seqs {
            self.remove(seq);
        }
    }

    /// The push of a place, if it is in flight. Looks at each flight: only for what is asked rarely.
    pub(crate) fn of_place(&self, log: &LogId, offset: Offset) -> Option<(u64, &Flight)> {
        let here = |flight: &Flight| flight.place.as_ref().is_some_and(|(of, at)| *at == offset && of == log);
        self.flights.iter().find(|(_, flight)| here(flight)).map(|(&seq, flight)| (seq, flight))
    }

    /// Whether a place is in flight.
    pub(crate) fn holds(&self, log: &LogId, offset: Offset) -> bool {
        self.of_place(log, offset).is_some()
    }

    /// The delivery failed: it rests until `until`, then is due.
    pub(crate) fn rest(&mut self, seq: u64, attempts: u32, until: Moment) {
        let Some(flight) = self.flights.get_mut(&seq) else { return };
        let before = std::mem::replace(&mut flight.stage, Stage::Resting(until));
        flight.attempts = attempts;
        self.leave_stage(seq, before);
        self.timers.insert((until, seq));
    }

    /// It is due and the device does not accept it now: it waits until the floor is lowered.
    pub(crate) fn withhold(&mut self, seq: u64, urgency: Urgency) {
        let Some(flight) = self.flights.get_mut(&seq) else { return };
        let before = std::mem::replace(&mut flight.stage, Stage::Withheld(urgency));
        self.leave_stage(seq, before);
        self.withheld += 1;
    }

    /// Whether a push takes no room now.
    pub(crate) fn is_withheld(&self, seq: u64) -> bool {
        self.flights.get(&seq).is_some_and(|flight| matches!(flight.stage, Stage::Withheld(_)))
    }

    /// Whether a push was sent and did not fail since.
    pub(crate) fn awaits_ack(&self, seq: u64) -> bool {
        self.flights.get(&seq).is_some_and(|flight| matches!(flight.stage, Stage::Sent(_)))
    }

    fn leave_stage(&mut self, seq: u64, stage: Stage) {
        match stage {
            Stage::Sent(at) | Stage::Resting(at) => {
                self.timers.remove(&(at, seq));
            }
            Stage::Due => self.due.retain(|&due| due != seq),
            Stage::Withheld(_) => self.withheld -= 1,
        }
    }

    /// The next moment at which [`Window::lapse`] has something to say.
    pub(crate) fn deadline(&self) -> Moment {
        self.timers.first().map_or(Moment::NEVER, |&(at, _)| at)
    }

    /// Takes the next timer that ran out. An ack that is late because the push is not on the wire yet is awaited for
    /// another `patience`.
    pub(crate) fn lapse(&mut self, now: Moment, patience: std::time::Duration) -> Option<Lapse> {
        loop {
            let &(at, seq) = self.timers.first().filter(|(at, _)| *at <= now)?;
            self.timers.remove(&(at, seq));
            let flushed = self.flushed_seq;
            let Some(flight) = self.flights.get_mut(&seq) else { continue };
            match flight.stage {
                Stage::Sent(_) if seq > flushed => {
                    flight.stage = Stage::Sent(now + patience);
                    self.timers.insert((now + patience, seq));
                }
                Stage::Sent(_) => return Some(Lapse::Unacked(seq)),
                Stage::Resting(_) | Stage::Due => {
                    flight.stage = Stage::Due;
                    self.due.push_back(seq);
                    return Some(Lapse::Rested);
                }
                Stage::Withheld(_) => {}
            }
        }
    }

    /// The push that has been due longest.
    pub(crate) fn first_due(&self) -> Option<u64> {
        self.due.front().copied()
    }

    /// The oldest push that was withheld and is urgent enough for this floor.
    pub(crate) fn first_accepted(&self, floor: Urgency) -> Option<u64> {
        if self.withheld == 0 {
            return None;
        }
        let accepted = |flight: &Flight| matches!(flight.stage, Stage::Withheld(urgency) if urgency >= floor);
        self.flights.iter().find(|(_, flight)| accepted(flight)).map(|(&seq, _)| seq)
    }
}
