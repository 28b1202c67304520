//! What a message is that waits for its time, besides what its record tells: all that its place in the log needs.

use bytes::Bytes;

use super::entry::{exclusions, push_exclusions};
use super::{Input, push, push_text};
use crate::model::clock::Timestamp;
use crate::model::condition::Condition;
use crate::model::id::MessageId;
use crate::model::message::{Durability, Exclusion, Urgency};
use crate::store::Error;

/// The rest of a message that waits for its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store::embedded) struct Scheduled {
    /// How urgent it is.
    pub(in crate::store::embedded) urgency: Urgency,
    /// What its place in the log is to survive.
    pub(in crate::store::embedded) durability: Durability,
    /// For whom, of the broadcast log.
    pub(in crate::store::embedded) condition: Option<Condition>,
    /// Who does not get it.
    pub(in crate::store::embedded) exclude: Vec<Exclusion>,
    /// Whose place it takes.
    pub(in crate::store::embedded) replaces: Option<MessageId>,
    /// When devices that have not acked it are handed off.
    pub(in crate::store::embedded) fallback_at: Option<Timestamp>,
    /// The encoded content.
    pub(in crate::store::embedded) body: Bytes,
}

// What it has, as bits of one byte, above the urgency.
const URGENCY: u8 = 0b11;
const RELAXED: u8 = 1 << 2;
const CONDITION: u8 = 1 << 3;
const REPLACES: u8 = 1 << 4;
const FALLBACK: u8 = 1 << 5;

impl Scheduled {
    pub(in crate::store::embedded) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(48 + self.body.len());
        let urgency = Urgency::ALL.iter().position(|&urgency| urgency == self.urgency).map_or(0, |at| at as u8);
        let has = [
            (RELAXED, self.durability != Durability::Fsync),
            (CONDITION, self.condition.is_some()),
            (REPLACES, self.replaces.is_some()),
            (FALLBACK, self.fallback_at.is_some()),
        ];
        out.push(has.into_iter().filter(|(_, has)| *has).fold(urgency, |bits, (bit, _)| bits | bit));
        if let Some(condition) = &self.condition {
            push_text(&mut out, condition.as_str());
        }
        if let Some(message) = &self.replaces {
            out.extend_from_slice(message.as_bytes());
        }
        if let Some(at) = self.fallback_at {
            push(&mut out, at.as_millis());
        }
        push_exclusions(&mut out, &self.exclude);
        out.extend_from_slice(&self.body);
        out
    }

    pub(in crate::store::embedded) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut input = Input { bytes, what: "scheduled message" };
        let bits = input.byte()?;
        let has = |bit: u8| bits & bit != 0;
        if bits & !(URGENCY | RELAXED | CONDITION | REPLACES | FALLBACK) != 0 {
            return Err(input.damaged());
        }
        let condition =
            if has(CONDITION) { Some(Condition::parse(input.text()?).map_err(|_| input.damaged())?) } else { None };
        let replaces = if has(REPLACES) { Some(input.id()?) } else { None };
        let fallback_at = if has(FALLBACK) { Some(input.time()?) } else { None };
        Ok(Self {
            urgency: Urgency::ALL[usize::from(bits & URGENCY)],
            durability: if has(RELAXED) { Durability::Relaxed } else { Durability::Fsync },
            condition,
            exclude: exclusions(&mut input)?,
            replaces,
            fallback_at,
            body: Bytes::copy_from_slice(input.bytes),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Scheduled;
    use crate::model::clock::Timestamp;
    use crate::model::condition::Condition;
    use crate::model::id::{DeviceId, MessageId, UserId};
    use crate::model::message::{Durability, Exclusion, Urgency};

    proptest! {
        #[test]
        fn what_waits_reads_back(number: u64, has: [bool; 4], excluded in 0_usize..3, urgency in 0_usize..4) {
            let exclusion = |number| Exclusion {
                user: UserId::new("ann").unwrap(),
                device: (number > 0).then(|| DeviceId::new("phone").unwrap()),
            };
            let scheduled = Scheduled {
                urgency: Urgency::ALL[urgency],
                durability: if has[0] { Durability::Relaxed } else { Durability::Fsync },
                condition: has[1].then(|| Condition::parse("'news' in topics").unwrap()),
                exclude: (0..excluded).map(exclusion).collect(),
                replaces: has[2].then(|| MessageId::from_bytes([9; 16])),
                fallback_at: has[3].then(|| Timestamp::from_millis(number)),
                body: vec![7; excluded].into(),
            };
            let bytes = scheduled.encode();
            prop_assert_eq!(Scheduled::decode(&bytes).unwrap(), scheduled);
        }

        #[test]
        fn any_bytes_are_refused_or_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = Scheduled::decode(&bytes);
        }
    }
}
