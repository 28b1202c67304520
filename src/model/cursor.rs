//! A device's place in one log, and what follows from it.

use std::collections::BTreeMap;

use crate::model::clock::Timestamp;
use crate::model::log::{Epoch, Head, LogId, Offset};
use crate::model::ranges::Ranges;

/// What one device has settled in one log. Two states of the same cursor merge by union, so a late write of an older
/// state never takes anything back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The life of the log that the offsets belong to.
    pub epoch: Epoch,
    /// Offsets that are settled: acked, dead, or never meant for this device. `settled.floor()` is the ack floor.
    pub settled: Ranges,
    /// Failed deliveries (nacks and ack timeouts) of offsets that are not settled yet. Of topics and the broadcast log the
    /// stored cursor has also those that were sent and have not failed, with 0: each device is counted as sent to once.
    pub attempts: BTreeMap<Offset, u32>,
}

impl Cursor {
    /// A cursor that has settled everything up to `last`.
    #[must_use]
    pub fn after(epoch: Epoch, last: Offset) -> Self {
        Self { epoch, settled: Ranges::upto(last.0), attempts: BTreeMap::new() }
    }

    /// Takes over what another state of this cursor knows. A state of another epoch is left aside: it speaks of a log
    /// that is no more.
    pub fn merge(&mut self, other: &Self) {
        if other.epoch != self.epoch {
            return;
        }
        self.settled.merge(&other.settled);
        for (&offset, &attempts) in &other.attempts {
            let known = self.attempts.entry(offset).or_default();
            *known = attempts.max(*known);
        }
        self.attempts.retain(|offset, _| !self.settled.contains(offset.0));
    }
}

/// A log that a device follows, as it stands when the device opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Following {
    /// The log.
    pub log: LogId,
    /// What the device has settled in it. Its epoch may differ from the head's: then the cursor is void.
    pub cursor: Cursor,
    /// The log's head.
    pub head: Head,
}

/// A message that is given up for one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dead {
    /// The log it stands in.
    pub log: LogId,
    /// Its place there.
    pub offset: Offset,
    /// Failed deliveries.
    pub attempts: u32,
    /// The last reason.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::Cursor;
    use crate::model::log::{Epoch, Offset};

    #[test]
    fn merging_is_a_union_and_settled_offsets_forget_their_attempts() {
        let mut cursor = Cursor::after(Epoch(1), Offset(3));
        cursor.attempts.insert(Offset(5), 2);
        let mut other = Cursor::after(Epoch(1), Offset(2));
        other.settled.insert(5, 6);
        other.attempts.insert(Offset(4), 1);
        cursor.merge(&other);
        assert_eq!(cursor.settled.iter().collect::<Vec<_>>(), [(1, 3), (5, 6)]);
        assert_eq!(cursor.attempts.into_iter().collect::<Vec<_>>(), [(Offset(4), 1)]);
    }

    #[test]
    fn another_life_of_the_log_is_not_merged() {
        let mut cursor = Cursor::after(Epoch(2), Offset(1));
        cursor.merge(&Cursor::after(Epoch(1), Offset(9)));
        assert_eq!(cursor, Cursor::after(Epoch(2), Offset(1)));
    }
}
