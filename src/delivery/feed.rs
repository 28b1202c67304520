//! One log as one session follows it: what is settled, how far it was read, how far it reaches.

use std::collections::BTreeMap;

use crate::model::cursor::{Cursor, Following};
use crate::model::log::{Head, LogId, Offset};
use crate::model::ranges::Ranges;

/// A followed log. Every offset below `next` is settled, in flight, or withheld for its urgency.
#[derive(Debug)]
pub(crate) struct Feed {
    /// Which log.
    pub(crate) log: LogId,
    /// What is settled.
    pub(crate) cursor: Cursor,
    /// The log's head, as far as known.
    pub(crate) head: Head,
    /// First offset not looked at.
    pub(crate) next: Offset,
    /// Offsets below this one were looked at once, by this session or an earlier one: they may be in flight, and the
    /// bound on the cursor's ranges does not hold them back.
    pub(crate) seen: Offset,
    /// Some entry below `next` was withheld because of its urgency.
    pub(crate) withheld: bool,
    /// The cursor has changes that are not committed.
    pub(crate) changed: bool,
    /// It waits for its turn to be read.
    pub(crate) queued: bool,
}

impl Feed {
    /// Begins to follow. A cursor of another life of the log is void.
    pub(crate) fn new(following: Following) -> Self {
        let Following { log, mut cursor, head } = following;
        let void = cursor.epoch != head.epoch;
        if void {
            cursor = Cursor { epoch: head.epoch, settled: Ranges::default(), attempts: BTreeMap::new() };
        }
        let next = Offset(cursor.settled.floor()).next();
        // Below the last settled offset there are only gaps to fill, which makes the cursor smaller, never larger.
        let seen = Offset(cursor.settled.last()).next().max(next);
        Self { log, cursor, head, next, seen, withheld: false, changed: void, queued: false }
    }

    /// The log has a new life: nothing known of the old one holds.
    pub(crate) fn restart(&mut self, following: Following) {
        *self = Self { queued: self.queued, ..Self::new(following) };
    }

    /// Whether there is something to read.
    pub(crate) fn behind(&self) -> bool {
        self.next <= self.head.last
    }

    /// Passes over what is settled, so that it is not read again. Returns the offset to read after.
    pub(crate) fn skip_settled(&mut self) -> Offset {
        self.advance(Offset(self.cursor.settled.first_gap(self.next.0)));
        Offset(self.next.0 - 1)
    }

    /// Everything below `next` has been looked at.
    pub(crate) fn advance(&mut self, next: Offset) {
        self.next = next;
        self.seen = self.seen.max(next);
    }

    /// Settles `from..=upto`.
    pub(crate) fn settle(&mut self, from: Offset, upto: Offset) {
        if from <= upto {
            self.cursor.settled.insert(from.0, upto.0);
            self.changed = true;
            if !self.cursor.attempts.is_empty() {
                self.cursor.attempts.retain(|offset, _| *offset < from || *offset > upto);
            }
        }
    }

    /// Looks again at everything that is not settled: what was withheld may go now, or be gone.
    pub(crate) fn rescan(&mut self) {
        self.next = Offset(self.cursor.settled.floor()).next();
        self.withheld = false;
    }

    /// Learns of a head. The log may only have grown: an older reading changes nothing.
    pub(crate) fn learn(&mut self, head: Head) {
        self.head.last = self.head.last.max(head.last);
        self.head.trimmed = self.head.trimmed.max(head.trimmed);
    }
}
