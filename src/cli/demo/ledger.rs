//! The backend's book: every push that was answered, and the devices that must have it. The final count compares it with
//! what the devices received.

use std::collections::{HashMap, HashSet};

use anyhow::Context;
use serde::Serialize;

use crate::cli::demo::device::{Count, Device};
use crate::model::clock::Moment;
use crate::model::id::MessageId;
use crate::wire::pb;

/// Answered pushes, in the order they were answered.
#[derive(Default)]
pub(super) struct Ledger {
    entries: Vec<Entry>,
}

/// An answered push.
pub(super) struct Entry {
    pub(super) id: MessageId,
    /// The log it went to, and its place there.
    log: String,
    offset: u64,
    /// When the backend asked.
    pub(super) asked_at: Moment,
    /// Names of the devices that must have it.
    pub(super) to: Vec<&'static str>,
    /// Whether the gateway tells of each of these devices what became of it; of a topic's it tells only the dead.
    pub(super) is_tracked: bool,
}

/// What it all came to. Numbers of deliveries count each device's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Summary {
    /// Pushes that the gateway answered.
    pub(super) pushed: u64,
    /// Deliveries that had to be: one for each push and device it was for.
    pub(super) owed: u64,
    /// Deliveries that were.
    pub(super) delivered: u64,
    /// Deliveries whose ack the gateway confirmed.
    pub(super) acked: u64,
    /// Repeated deliveries before the ack was confirmed.
    pub(super) redelivered: u64,
    /// Deliveries that had to be and were not.
    pub(super) lost: u64,
    /// Repeated deliveries after the ack was confirmed.
    pub(super) duplicated: u64,
    /// Deliveries to a device that the push was not for.
    pub(super) misdirected: u64,
    /// Deliveries that came before an older one of the same log.
    pub(super) misordered: u64,
}

impl Summary {
    /// Whether every promise was kept.
    pub(super) const fn is_good(&self) -> bool {
        self.lost == 0 && self.duplicated == 0 && self.misdirected == 0 && self.misordered == 0
    }
}

impl Ledger {
    /// Books an answered push, and gives its id. `to` are the devices that were meant.
    pub(super) fn book(
        &mut self,
        answer: pb::PushResponse,
        asked_at: Moment,
        to: &[&'static str],
        is_tracked: bool,
    ) -> anyhow::Result<MessageId> {
        let id =
            MessageId::parse(&answer.id).with_context(|| format!("the gateway answered the id {:?}", answer.id))?;
        self.entries.push(Entry { id, log: answer.log, offset: answer.offset, asked_at, to: to.to_vec(), is_tracked });
        Ok(id)
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// All messages that a device must have.
    pub(super) fn owed(&self, device: &str) -> HashSet<MessageId> {
        self.entries.iter().filter(|entry| entry.to.contains(&device)).map(|entry| entry.id).collect()
    }

    /// Compares the book with what the devices received.
    pub(super) fn summary(&self, devices: &[&Device]) -> Summary {
        let mut summary = Summary { pushed: self.entries.len() as u64, ..Summary::default() };
        for device in devices {
            summary.add(&self.owed(device.name()), &device.count());
            summary.misordered += self.misordered(&device.arrivals());
        }
        summary
    }

    /// First deliveries that came after one of a larger offset in the same log.
    fn misordered(&self, arrivals: &[MessageId]) -> u64 {
        let places: HashMap<_, _> =
            self.entries.iter().map(|entry| (entry.id, (entry.log.as_str(), entry.offset))).collect();
        let mut seen = HashSet::new();
        let mut heads: HashMap<&str, u64> = HashMap::new();
        let mut misordered = 0;
        for id in arrivals.iter().filter(|id| seen.insert(**id)) {
            if let Some((log, offset)) = places.get(id) {
                let head = heads.entry(log).or_default();
                misordered += u64::from(*offset < *head);
                *head = (*head).max(*offset);
            }
        }
        misordered
    }
}

impl Summary {
    fn add(&mut self, owed: &HashSet<MessageId>, count: &Count) {
        let delivered = owed.intersection(&count.seen).count() as u64;
        self.owed += owed.len() as u64;
        self.delivered += delivered;
        self.lost += owed.len() as u64 - delivered;
        self.misdirected += count.seen.len() as u64 - delivered;
        self.acked += count.confirmed;
        self.redelivered += count.redelivered;
        self.duplicated += count.duplicated;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{Count, Ledger, Summary};
    use crate::model::clock::Moment;
    use crate::model::id::MessageId;
    use crate::wire::pb;

    fn id(n: u64) -> MessageId {
        MessageId::new(n, [0; 10])
    }

    fn ledger(offsets: &[u64]) -> Ledger {
        let mut ledger = Ledger::default();
        for &offset in offsets {
            let answer =
                pb::PushResponse { id: id(offset).to_string(), log: "l".into(), offset, ..pb::PushResponse::default() };
            ledger.book(answer, Moment::ZERO, &["a"], true).unwrap();
        }
        ledger
    }

    /// Sums up messages 1 and 2 being owed and these being seen.
    fn sum(seen: &[u64], redelivered: u64, duplicated: u64) -> Summary {
        let mut summary = Summary::default();
        let count = Count { seen: seen.iter().copied().map(id).collect(), confirmed: 1, redelivered, duplicated };
        summary.add(&HashSet::from([id(1), id(2)]), &count);
        summary
    }

    #[test]
    fn what_is_missing_repeated_or_misdirected_is_counted() {
        assert!(sum(&[1, 2], 3, 0).is_good());
        let lost = sum(&[2], 0, 0);
        assert_eq!((lost.owed, lost.delivered, lost.lost, lost.is_good()), (2, 1, 1, false));
        let misdirected = sum(&[1, 2, 3], 0, 0);
        assert_eq!((misdirected.misdirected, misdirected.is_good()), (1, false));
        assert!(!sum(&[1, 2], 0, 1).is_good());
    }

    #[test]
    fn order_is_judged_by_first_deliveries() {
        for (arrivals, misordered) in
            [(&[1, 2, 3][..], 0), (&[1, 2, 1, 3], 0), (&[2, 1, 3], 1), (&[3, 1, 2], 2), (&[9, 1], 0)]
        {
            let arrivals: Vec<_> = arrivals.iter().copied().map(id).collect();
            assert_eq!(ledger(&[1, 2, 3]).misordered(&arrivals), misordered, "{arrivals:?}");
        }
    }
}
