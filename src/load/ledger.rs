//! What one device received, compared with what it is owed: nothing lost, nothing twice after its ack was confirmed, all
//! in order. It holds a number per log and the pushes whose ack is not confirmed, not a list of all.

use std::collections::VecDeque;
use std::time::Duration;

use super::stamp::Log;
use crate::model::clock::Moment;

/// What is to be said of a received push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was owed and came for the first time.
    New,
    /// It came again, as it must: its ack was not confirmed, or it was nacked.
    Again,
    /// It came again and must not.
    Duplicate,
    /// It came out of order, or its seq does not run on.
    OutOfOrder,
    /// The device does not follow this log, or was not yet following it.
    NotOwed,
}

/// The books of one device.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    trails: Vec<Trail>,
    /// Received on this connection from the seq `settled + 1` on; the front is not confirmed.
    pending: VecDeque<Pending>,
    /// All pushes of this connection up to this seq are confirmed.
    settled: u64,
    /// Received and never confirmed as handled: may come again, once.
    carried: Vec<Carried>,
}

/// What came of one log. Numbers run from 1.
#[derive(Debug)]
struct Trail {
    log: Log,
    /// The number that comes next: all below came, but the holes.
    next: u32,
    /// The last number of this connection that was no redelivery.
    last: u32,
    /// Numbers below `next` that did not come.
    holes: Vec<u32>,
}

/// A push that may come again, on this connection or another.
#[derive(Debug)]
struct Carried {
    log: Log,
    number: u32,
    /// It must: the gateway took word that it could not be handled.
    must: bool,
}

/// A push whose ack is not confirmed.
#[derive(Debug)]
struct Pending {
    log: Log,
    number: u32,
    at: Moment,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Received,
    Nacked,
    Confirmed,
}

/// What the gateway took for a log.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Owed {
    /// Pushes that were sent: numbers 1 to this.
    pub(super) sent: u32,
    /// Those among them that it did not accept, in rising order.
    pub(super) refused: Vec<u32>,
    /// Those that it did not answer, in rising order: they may come, or not.
    pub(super) unanswered: Vec<u32>,
}

impl Ledger {
    /// The device follows a log: all that is pushed from now on, first `from`, is owed.
    pub(super) fn follow(&mut self, log: Log, from: u32) {
        if !self.follows(log) {
            self.trails.push(Trail { log, next: from, last: 0, holes: Vec::new() });
        }
    }

    /// Whether the device follows a log.
    pub(super) fn follows(&self, log: Log) -> bool {
        self.trails.iter().any(|trail| trail.log == log)
    }

    /// Takes a push that came with this seq, for the attempt-th time as the gateway says.
    pub(super) fn receive(
        &mut self,
        now: Moment,
        seq: u64,
        attempt: u32,
        log: Log,
        number: u32,
        ack_timeout: Duration,
    ) -> Verdict {
        let runs_on = seq == self.settled + self.pending.len() as u64 + 1;
        let Some(trail) = self.trails.iter_mut().find(|trail| trail.log == log) else {
            if runs_on {
                self.pending.push_back(Pending { log, number, at: now, state: State::Received });
            }
            return Verdict::NotOwed;
        };
        let mut verdict = if !runs_on {
            Verdict::OutOfOrder
        } else if number == trail.next {
            trail.next += 1;
            Verdict::New
        } else if number > trail.next.saturating_add(GAP_MAX) {
            Verdict::NotOwed
        } else if number > trail.next {
            // Those between were refused, or are lost: the end will tell.
            trail.holes.extend(trail.next..number);
            trail.next = number + 1;
            Verdict::New
        } else if let Some(at) = trail.holes.iter().position(|hole| *hole == number) {
            // One that stood before it came after it.
            trail.holes.remove(at);
            Verdict::OutOfOrder
        } else if let Some(at) = self.carried.iter().position(|it| (it.log, it.number) == (log, number)) {
            self.carried.swap_remove(at);
            Verdict::Again
        } else {
            let was = self.pending.iter_mut().rfind(|was| (was.log, was.number) == (log, number));
            let may_come = |was: &mut Pending| match was.state {
                State::Nacked => {
                    // The answer to the nack is not here yet, but the nack got there.
                    was.state = State::Confirmed;
                    true
                }
                State::Received => now.since(was.at) >= ack_timeout,
                State::Confirmed => false,
            };
            if was.is_some_and(may_come) { Verdict::Again } else { Verdict::Duplicate }
        };
        if attempt <= 1 {
            if number <= trail.last && verdict != Verdict::Duplicate {
                verdict = Verdict::OutOfOrder;
            }
            trail.last = trail.last.max(number);
        }
        if runs_on {
            self.pending.push_back(Pending { log, number, at: now, state: State::Received });
        }
        verdict
    }

    /// The gateway is being told that this push could not be handled.
    pub(super) fn nack(&mut self, seq: u64) {
        if let Some(pending) = self.pending_mut(seq) {
            pending.state = State::Nacked;
        }
    }

    /// The gateway took word of it: now the push must come again.
    pub(super) fn nacked(&mut self, seq: u64) {
        if let Some(pending) = self.pending_mut(seq).filter(|pending| pending.state == State::Nacked) {
            pending.state = State::Confirmed;
            let carried = Carried { log: pending.log, number: pending.number, must: true };
            self.carried.push(carried);
        }
        self.settle();
    }

    /// The gateway confirmed the acks of these seqs.
    pub(super) fn confirmed(&mut self, from: u64, upto: u64) {
        for seq in from.max(self.settled + 1)..=upto {
            let Some(pending) = self.pending_mut(seq) else { break };
            pending.state = State::Confirmed;
        }
        self.settle();
    }

    fn pending_mut(&mut self, seq: u64) -> Option<&mut Pending> {
        let at = seq.checked_sub(self.settled + 1)?;
        self.pending.get_mut(usize::try_from(at).ok()?)
    }

    fn settle(&mut self) {
        while self.pending.pop_front_if(|first| first.state == State::Confirmed).is_some() {
            self.settled += 1;
        }
        if self.pending.is_empty() && self.pending.capacity() > KEPT {
            self.pending = VecDeque::new();
        }
    }

    /// The connection is gone: what was not confirmed may come again on the next one.
    pub(super) fn cut(&mut self) {
        for Pending { log, number, state, .. } in self.pending.drain(..) {
            if state != State::Confirmed && !self.carried.iter().any(|it| (it.log, it.number) == (log, number)) {
                self.carried.push(Carried { log, number, must: false });
            }
        }
        self.pending = VecDeque::new();
        self.settled = 0;
        for trail in &mut self.trails {
            trail.last = 0;
        }
    }

    /// Pushes of this connection that are received and not confirmed.
    pub(super) fn unconfirmed(&self) -> usize {
        self.pending.iter().filter(|pending| pending.state != State::Confirmed).count()
    }

    /// What was owed of a log and did not come (or not again, after a nack), and what came although it was refused.
    pub(super) fn missing(&self, log: Log, owed: &Owed) -> (u64, u64) {
        let Some(trail) = self.trails.iter().find(|trail| trail.log == log) else { return (0, 0) };
        let has = |among: &[u32], number: &u32| among.binary_search(number).is_ok();
        let may_miss = |number: &u32| has(&owed.refused, number) || has(&owed.unanswered, number);
        let tail = trail.next..=owed.sent;
        let never = trail.holes.iter().copied().chain(tail).filter(|number| !may_miss(number)).count();
        let lost = never + self.carried.iter().filter(|it| it.must && it.log == log).count();
        let came = |number: &&u32| **number < trail.next && !trail.holes.contains(number);
        let wrong = owed.refused.iter().filter(came).count();
        (lost as u64, wrong as u64)
    }
}

/// Numbers that may be missing at a time; more cannot be under way in one log. It bounds what is kept of them.
const GAP_MAX: u32 = 1 << 20;
/// Entries for which an idle ledger keeps room.
const KEPT: usize = 8;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Ledger, Owed, Verdict};
    use crate::load::stamp::Log;
    use crate::model::clock::Moment;

    const LOG: Log = Log::inbox(4);
    const OTHER: Log = Log::topic(4);
    const TIMEOUT: Duration = Duration::from_secs(60);

    /// A ledger with its running seq.
    struct Books {
        ledger: Ledger,
        seq: u64,
    }

    impl Books {
        fn new() -> Self {
            let mut ledger = Ledger::default();
            ledger.follow(LOG, 1);
            Self { ledger, seq: 0 }
        }

        fn get(&mut self, attempt: u32, number: u32) -> Verdict {
            self.at(0, attempt, LOG, number)
        }

        fn at(&mut self, second: u64, attempt: u32, log: Log, number: u32) -> Verdict {
            self.seq += 1;
            let now = Moment::from_micros(second * 1_000_000);
            self.ledger.receive(now, self.seq, attempt, log, number, TIMEOUT)
        }

        fn get_upto(&mut self, last: u32) {
            for number in 1..=last {
                self.get(1, number);
            }
        }

        fn cut(&mut self) {
            self.ledger.cut();
            self.seq = 0;
        }
    }

    fn owed(sent: u32) -> Owed {
        Owed { sent, ..Owed::default() }
    }

    #[test]
    fn what_comes_in_order_and_is_confirmed_leaves_nothing_behind() {
        let mut books = Books::new();
        for number in 1..=1000 {
            assert_eq!(books.get(1, number), Verdict::New);
            if number % 10 == 0 {
                books.ledger.confirmed(u64::from(number) - 9, number.into());
            }
        }
        assert_eq!(books.ledger.missing(LOG, &owed(1000)), (0, 0));
        assert_eq!((books.ledger.unconfirmed(), books.ledger.pending.len()), (0, 0));
    }

    #[test]
    fn what_never_came_is_lost() {
        let mut books = Books::new();
        for number in [1, 2, 5, 6] {
            assert_eq!(books.get(1, number), Verdict::New);
        }
        assert_eq!(books.ledger.missing(LOG, &owed(6)), (2, 0));
        assert_eq!(books.ledger.missing(LOG, &owed(8)), (4, 0));
        let partly = Owed { sent: 8, refused: vec![3, 7], unanswered: vec![8] };
        assert_eq!(books.ledger.missing(LOG, &partly), (1, 0));
        assert_eq!(books.ledger.missing(OTHER, &owed(9)), (0, 0), "it does not follow that one");
    }

    #[test]
    fn what_was_refused_and_came_is_wrong() {
        let mut books = Books::new();
        books.get(1, 1);
        books.get(1, 3);
        assert_eq!(books.ledger.missing(LOG, &Owed { sent: 3, refused: vec![1, 2], unanswered: vec![] }), (0, 1));
    }

    #[test]
    fn twice_on_one_connection_is_a_duplicate() {
        let mut books = Books::new();
        books.get(1, 1);
        assert_eq!(books.get(1, 1), Verdict::Duplicate);
        assert_eq!(books.at(59, 2, LOG, 1), Verdict::Duplicate, "the ack timeout is not over");
    }

    #[test]
    fn after_its_ack_was_confirmed_it_must_not_come_again_on_any_connection() {
        let mut books = Books::new();
        books.get(1, 1);
        books.get(1, 2);
        books.ledger.confirmed(1, 2);
        assert_eq!(books.get(2, 2), Verdict::Duplicate);
        books.cut();
        assert_eq!(books.get(1, 1), Verdict::Duplicate);
    }

    #[test]
    fn confirmed_out_of_order_is_confirmed_all_the_same() {
        let mut books = Books::new();
        books.get_upto(3);
        books.ledger.confirmed(2, 3);
        assert_eq!(books.ledger.unconfirmed(), 1);
        books.cut();
        assert_eq!(books.get(1, 1), Verdict::Again);
        assert_eq!(books.get(1, 3), Verdict::Duplicate);
    }

    #[test]
    fn what_was_not_confirmed_comes_again_once_on_the_next_connection() {
        let mut books = Books::new();
        books.get_upto(4);
        books.ledger.confirmed(1, 2);
        books.cut();
        assert_eq!([books.get(1, 3), books.get(1, 4), books.get(1, 5)], [Verdict::Again, Verdict::Again, Verdict::New]);
        assert_eq!(books.get(1, 3), Verdict::Duplicate);
        // Cut twice without a confirmation, it may come a third time.
        books.cut();
        assert_eq!(books.get(1, 4), Verdict::Again);
    }

    #[test]
    fn nacked_and_timed_out_pushes_may_come_again() {
        let mut books = Books::new();
        books.get_upto(3);
        books.ledger.nack(1);
        books.ledger.nacked(1);
        assert_eq!(books.ledger.missing(LOG, &owed(3)), (1, 0), "it must come again");
        assert_eq!(books.get(2, 1), Verdict::Again);
        // Before the answer to the nack.
        books.ledger.nack(3);
        assert_eq!(books.get(2, 3), Verdict::Again);
        books.ledger.nacked(3);
        assert_eq!(books.ledger.missing(LOG, &owed(3)), (0, 0));
        assert_eq!(books.get(3, 3), Verdict::Duplicate);
        assert_eq!(books.at(61, 2, LOG, 2), Verdict::Again);
    }

    #[test]
    fn out_of_order_is_seen() {
        let mut books = Books::new();
        books.get(1, 1);
        books.get(1, 3);
        assert_eq!(books.get(1, 2), Verdict::OutOfOrder);
        assert_eq!(books.ledger.missing(LOG, &owed(3)), (0, 0), "late is not lost");
        // Redelivered ones come in order too, unless the gateway says that they were sent before.
        let mut books = Books::new();
        books.get_upto(3);
        books.cut();
        assert_eq!([books.get(1, 2), books.get(1, 1)], [Verdict::Again, Verdict::OutOfOrder]);
        assert_eq!(books.get(2, 3), Verdict::Again);
    }

    #[test]
    fn a_seq_that_does_not_run_on_and_a_strange_log_are_seen() {
        let mut books = Books::new();
        assert_eq!(books.at(0, 1, OTHER, 1), Verdict::NotOwed);
        assert_eq!(books.get(1, 1), Verdict::New);
        books.seq += 1;
        assert_eq!(books.get(1, 2), Verdict::OutOfOrder);
        books.seq = 2;
        assert_eq!(books.get(1, u32::MAX), Verdict::NotOwed);
        books.ledger.follow(OTHER, 5);
        books.seq = 3;
        assert_eq!(books.at(0, 1, OTHER, 5), Verdict::New);
        assert_eq!(books.ledger.missing(OTHER, &owed(5)), (0, 0));
    }
}
