//! Acks on their way to the gateway: gathered by count and time, sent one request at a time. It knows seqs of the one
//! session that is open, and nothing of messages.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::clock::Moment;
use crate::model::frame::Nack;
use crate::model::ranges::Ranges;
use crate::wire::device::ACK_RANGES_MAX;

/// Nacks in one request: with the longest reasons they stay below a DATA frame's 16 KiB, which any gateway takes.
const NACKS_MAX: usize = 60;

/// One ack request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Batch {
    /// Handled.
    pub(super) acked: Ranges,
    /// Not handled.
    pub(super) nacked: Vec<Nack>,
    /// Pushes that it settles.
    pub(super) settled: u64,
}

/// Acks not yet confirmed.
///
/// ```text
///   gathering ──count, time or flush──▶ waiting ──front, none out──▶ out ──answer──▶ confirmed
///                                          ▲                          │
///                                          └──── failed, after a pause┘
/// ```
#[derive(Debug)]
pub(super) struct Acks {
    /// So many gathered are sent at once.
    count: u64,
    /// The first gathered waits no longer.
    delay: Duration,
    /// What is gathered.
    gathering: Batch,
    /// When the first of `gathering` came.
    since: Option<Moment>,
    /// What is to be sent, in order; the front may be out.
    waiting: VecDeque<Batch>,
    /// Whether the front of `waiting` is out.
    out: bool,
    /// After a failure: nothing is sent before.
    not_before: Moment,
    /// Batches that were moved to `waiting` in this session.
    moved: u64,
    /// Batches that were confirmed or given up in this session.
    done: u64,
}

impl Acks {
    pub(super) fn new(count: u32, delay: Duration) -> Self {
        Self {
            count: count.into(),
            delay,
            gathering: Batch::default(),
            since: None,
            waiting: VecDeque::new(),
            out: false,
            not_before: Moment::ZERO,
            moved: 0,
            done: 0,
        }
    }

    /// A push was handled.
    pub(super) fn ack(&mut self, now: Moment, seq: u64) {
        self.gathering.acked.insert(seq, seq);
        self.gathered(now);
    }

    /// A push was not handled.
    pub(super) fn nack(&mut self, now: Moment, nack: Nack) {
        self.gathering.nacked.push(nack);
        self.gathered(now);
    }

    fn gathered(&mut self, now: Moment) {
        self.gathering.settled += 1;
        self.since.get_or_insert(now);
        let nacks = self.gathering.nacked.len();
        if self.gathering.acked.spans() + nacks >= ACK_RANGES_MAX || nacks >= NACKS_MAX {
            self.flush();
        }
    }

    /// Sends what is gathered without waiting for more. Gives the number of the batch after whose confirmation (see
    /// [`Acks::done`]) all is confirmed.
    pub(super) fn flush(&mut self) -> u64 {
        if self.gathering.settled > 0 {
            self.waiting.push_back(std::mem::take(&mut self.gathering));
            self.since = None;
            self.moved += 1;
        }
        self.moved
    }

    /// The number of the last batch that is confirmed or given up.
    pub(super) const fn done(&self) -> u64 {
        self.done
    }

    /// The request to send now, if one is due and none is out. A window smaller than twice the count would starve while
    /// acks are gathered, so half of it is enough.
    pub(super) fn next(&mut self, now: Moment, window: u32) -> Option<Batch> {
        if self.out || now < self.not_before {
            return None;
        }
        let enough = self.count.min(u64::from(window / 2)).max(1);
        let waited = self.since.is_some_and(|since| since + self.delay <= now);
        if self.waiting.is_empty() && (waited || self.gathering.settled >= enough) {
            self.flush();
        }
        let batch = self.waiting.front()?.clone();
        self.out = true;
        Some(batch)
    }

    /// When to call [`Acks::next`] again at the latest.
    pub(super) fn deadline(&self) -> Moment {
        match (self.out, self.waiting.is_empty(), self.since) {
            (true, ..) | (false, true, None) => Moment::NEVER,
            (false, false, _) => self.not_before,
            (false, true, Some(since)) => self.not_before.max(since + self.delay),
        }
    }

    /// The request that is out was answered, or refused in a way that repeating cannot heal.
    pub(super) fn answered(&mut self) {
        self.out = false;
        self.waiting.pop_front();
        self.done += 1;
    }

    /// The request that is out failed; it is sent again after a pause.
    pub(super) fn failed(&mut self, now: Moment, pause: Duration) {
        self.out = false;
        self.not_before = now + pause;
    }

    /// The session is gone. Gives the number of settled pushes that were not confirmed.
    pub(super) fn reset(&mut self) -> u64 {
        let lost = self.gathering.settled + self.waiting.iter().map(|batch| batch.settled).sum::<u64>();
        let delay = self.delay;
        let count = u32::try_from(self.count).expect("it was made from 32 bits");
        *self = Self::new(count, delay);
        lost
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Acks, Batch};
    use crate::model::clock::Moment;
    use crate::model::frame::{Nack, Verdict};

    const DELAY: Duration = Duration::from_millis(20);

    fn at(millis: u64) -> Moment {
        Moment::from_micros(millis * 1000)
    }

    fn acks() -> Acks {
        Acks::new(4, DELAY)
    }

    fn spans(batch: &Batch) -> Vec<(u64, u64)> {
        batch.acked.iter().collect()
    }

    #[test]
    fn acks_leave_when_enough_are_gathered_merged_into_ranges() {
        let mut acks = acks();
        for seq in [3, 1, 7] {
            acks.ack(at(0), seq);
            assert_eq!(acks.next(at(1), 64), None);
        }
        acks.ack(at(1), 2);
        let batch = acks.next(at(1), 64).expect("four are gathered");
        assert_eq!((spans(&batch), batch.settled), (vec![(1, 3), (7, 7)], 4));
    }

    #[test]
    fn acks_leave_when_the_first_has_waited() {
        let mut acks = acks();
        assert_eq!(acks.deadline(), Moment::NEVER);
        acks.ack(at(5), 1);
        acks.ack(at(20), 2);
        assert_eq!(acks.deadline(), at(25));
        assert_eq!(acks.next(at(24), 64), None);
        assert_eq!(spans(&acks.next(at(25), 64).expect("it has waited")), [(1, 2)]);
    }

    #[test]
    fn a_small_window_does_not_wait_for_the_count() {
        for (window, needed) in [(1, 1), (2, 1), (3, 1), (4, 2), (8, 4), (64, 4)] {
            let mut acks = acks();
            let sent = (1..=10).find(|&seq| {
                acks.ack(at(0), seq);
                acks.next(at(0), window).is_some()
            });
            assert_eq!(sent, Some(needed), "window {window}");
        }
    }

    #[test]
    fn one_request_is_out_at_a_time_and_the_rest_gathers() {
        let mut acks = acks();
        (1..=4).for_each(|seq| acks.ack(at(0), seq));
        assert!(acks.next(at(0), 64).is_some());
        (5..=20).for_each(|seq| acks.ack(at(0), seq));
        assert_eq!((acks.next(at(99), 64), acks.deadline()), (None, Moment::NEVER));
        acks.answered();
        assert_eq!(spans(&acks.next(at(99), 64).expect("enough wait")), [(5, 20)]);
    }

    #[test]
    fn a_failed_request_is_sent_again_after_its_pause() {
        let mut acks = acks();
        acks.ack(at(0), 1);
        let batch = acks.next(at(20), 64).expect("it has waited");
        acks.failed(at(30), Duration::from_millis(100));
        assert_eq!((acks.next(at(129), 64), acks.deadline()), (None, at(130)));
        assert_eq!(acks.next(at(130), 64), Some(batch));
        acks.answered();
        assert_eq!(acks.done(), 1);
    }

    #[test]
    fn a_flush_names_the_batch_that_confirms_all_before_it() {
        let mut acks = acks();
        assert_eq!((acks.flush(), acks.done()), (0, 0), "nothing to wait for");
        acks.ack(at(0), 1);
        assert_eq!(acks.flush(), 1);
        assert!(acks.next(at(0), 64).is_some());
        acks.ack(at(0), 2);
        assert_eq!(acks.flush(), 2);
        acks.ack(at(0), 3);
        acks.answered();
        assert_eq!(spans(&acks.next(at(0), 64).expect("it was flushed")), [(2, 2)]);
        acks.answered();
        assert_eq!(acks.done(), 2);
    }

    #[test]
    fn no_request_is_larger_than_the_gateway_takes() {
        let mut acks = Acks::new(u32::MAX, DELAY);
        for n in 1..=1500 {
            acks.ack(at(0), 2 * n);
            acks.nack(at(0), Nack { seq: 2 * n + 1, verdict: Verdict::Retry, reason: String::new() });
        }
        acks.flush();
        let mut settled = 0;
        while let Some(batch) = acks.next(at(0), 64) {
            assert!(batch.acked.spans() + batch.nacked.len() <= 1024);
            assert!(batch.nacked.len() <= 60);
            settled += batch.settled;
            acks.answered();
        }
        assert_eq!(settled, 3000);
    }

    #[test]
    fn a_lost_session_takes_all_with_it_and_counts_it() {
        let mut acks = acks();
        (1..=4).for_each(|seq| acks.ack(at(0), seq));
        assert!(acks.next(at(0), 64).is_some());
        acks.ack(at(0), 5);
        assert_eq!(acks.reset(), 5);
        assert_eq!((acks.next(at(99), 64), acks.deadline(), acks.flush()), (None, Moment::NEVER, 0));
    }
}
