//! Events in journals, and sums of them. Plain values.

use crate::model::audit;
use crate::model::clock::Timestamp;
use crate::model::id::{DeviceId, MessageId, UserId};
use crate::model::presence;
use crate::model::receipt::{Counts, Receipt};

/// A list of events of a tenant, each with a position: 1 for the first, then one more each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Journal {
    /// [`Receipt`]s.
    Receipts,
    /// [`presence::Event`]s.
    Presence,
    /// [`HandOff`]s.
    HandOffs,
    /// [`audit::Event`]s. Those of all tenants stand also under [`crate::store::EVERYONE`].
    Audit,
}

/// Something in a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// In [`Journal::Receipts`].
    Receipt(Receipt),
    /// In [`Journal::Presence`].
    Presence(presence::Event),
    /// In [`Journal::HandOffs`].
    HandOff(HandOff),
    /// In [`Journal::Audit`].
    Audit(audit::Event),
}

/// A device did not ack a message in time: it is to be handed off. There is one for each message and device, ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandOff {
    /// Which message.
    pub message: MessageId,
    /// Whose.
    pub user: UserId,
    /// Which device; `None` when no device of the user was known.
    pub device: Option<DeviceId>,
    /// When that was decided.
    pub at: Timestamp,
}

/// A piece of a journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// Events with their positions, ascending.
    pub events: Vec<(u64, Event)>,
    /// Everything up to this position was looked at.
    pub looked: u64,
    /// The newest position.
    pub last: u64,
    /// The oldest position that is kept; one more than `last` when there is none.
    pub first: u64,
}

/// Messages of a tag that were accepted in one hour, and what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TagHour {
    /// When the hour began.
    pub from: Timestamp,
    /// How many.
    pub messages: u64,
    /// What became of them, all together.
    pub counts: Counts,
}
