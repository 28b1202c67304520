//! Which messages the client knows: those in the program's hands and those settled lately. Duplicates are told apart by
//! id here. It sends nothing.

use std::collections::{HashMap, VecDeque};

use crate::client::push::Settlement;
use crate::model::id::MessageId;

/// What is known of a message that arrives.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Nothing: the program gets it.
    New,
    /// The program has it; its settlement will name the newest seq.
    Held,
    /// It was settled so; that must be said again.
    Settled(Settlement),
}

/// The messages known. Bounded by `capacity` on either side: the owner reads no more pushes while [`Seen::full`], and
/// the oldest settled id is forgotten for a new one.
#[derive(Debug)]
pub(super) struct Seen {
    /// Messages in the program's hands, with the newest seq in this session; `None` when that session is gone.
    held: HashMap<MessageId, Option<u64>>,
    /// Messages settled for good, and how.
    settled: HashMap<MessageId, Settlement>,
    /// The keys of `settled`, oldest first.
    order: VecDeque<MessageId>,
    /// Bound of `held` and of `settled`.
    capacity: usize,
}

impl Seen {
    pub(super) fn new(capacity: usize) -> Self {
        Self { held: HashMap::new(), settled: HashMap::new(), order: VecDeque::new(), capacity }
    }

    /// Whether the program holds so many that no more may be taken.
    pub(super) fn full(&self) -> bool {
        self.held.len() >= self.capacity
    }

    /// A message arrived under this seq.
    pub(super) fn arrive(&mut self, id: MessageId, seq: u64) -> Known {
        if let Some(settlement) = self.settled.get(&id) {
            return Known::Settled(settlement.clone());
        }
        match self.held.insert(id, Some(seq)) {
            Some(_) => Known::Held,
            None => Known::New,
        }
    }

    /// The program settled a message. Gives the seq to name to the gateway; `None` when the session it came in is gone:
    /// then the message comes again, and what was said here is said then.
    pub(super) fn settle(&mut self, id: MessageId, settlement: &Settlement) -> Option<u64> {
        let seq = self.held.remove(&id)?;
        // A message that was nacked or dropped must reach the program again when it is redelivered.
        if matches!(settlement, Settlement::Acked | Settlement::Rejected(_)) {
            self.remember(id, settlement.clone());
        }
        seq
    }

    /// The session is gone, and with it what its seqs meant.
    pub(super) fn forget_seqs(&mut self) {
        for seq in self.held.values_mut() {
            *seq = None;
        }
    }

    fn remember(&mut self, id: MessageId, settlement: Settlement) {
        if self.settled.insert(id, settlement).is_some() {
            return;
        }
        self.order.push_back(id);
        if self.order.len() > self.capacity
            && let Some(oldest) = self.order.pop_front()
        {
            self.settled.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Known, Seen};
    use crate::client::push::Settlement;
    use crate::model::id::MessageId;

    fn id(n: u64) -> MessageId {
        MessageId::new(n, [0; 10])
    }

    #[test]
    fn a_settled_message_is_known_until_capacity_more_were_settled() {
        let mut seen = Seen::new(3);
        for n in 1..=4 {
            assert_eq!(seen.arrive(id(n), n), Known::New);
            assert_eq!(seen.settle(id(n), &Settlement::Acked), Some(n));
        }
        assert_eq!(seen.arrive(id(4), 5), Known::Settled(Settlement::Acked));
        assert_eq!(seen.arrive(id(2), 6), Known::Settled(Settlement::Acked));
        assert_eq!(seen.arrive(id(1), 7), Known::New, "the oldest was forgotten");
        assert_eq!((seen.settled.len(), seen.order.len()), (3, 3));
    }

    #[test]
    fn a_redelivery_of_a_held_message_takes_its_seq_over() {
        let mut seen = Seen::new(3);
        assert_eq!(seen.arrive(id(1), 1), Known::New);
        assert_eq!(seen.arrive(id(1), 4), Known::Held);
        assert_eq!(seen.settle(id(1), &Settlement::Acked), Some(4));
        assert_eq!(seen.settle(id(1), &Settlement::Acked), None, "it is settled once");
    }

    #[test]
    fn seqs_of_a_lost_session_are_not_named_again() {
        let mut seen = Seen::new(3);
        assert_eq!(seen.arrive(id(1), 1), Known::New);
        assert_eq!(seen.arrive(id(2), 2), Known::New);
        seen.forget_seqs();
        assert_eq!(seen.settle(id(1), &Settlement::Rejected("no".into())), None);
        assert_eq!(seen.arrive(id(1), 1), Known::Settled(Settlement::Rejected("no".into())));
        assert_eq!(seen.arrive(id(2), 2), Known::Held);
        assert_eq!(seen.settle(id(2), &Settlement::Acked), Some(2));
    }

    #[test]
    fn what_was_nacked_or_dropped_reaches_the_program_again() {
        let mut seen = Seen::new(2);
        for settlement in [Settlement::Nacked(String::new()), Settlement::Dropped] {
            assert_eq!(seen.arrive(id(1), 1), Known::New);
            assert_eq!(seen.settle(id(1), &settlement), Some(1));
        }
        assert!(!seen.full());
        assert_eq!(seen.arrive(id(1), 2), Known::New);
        assert_eq!(seen.arrive(id(2), 3), Known::New);
        assert!(seen.full());
    }
}
