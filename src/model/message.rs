//! Messages: what a backend pushes and what a log holds.

use std::sync::Arc;

use bytes::Bytes;

use crate::model::clock::Timestamp;
use crate::model::condition::Condition;
use crate::model::id::{DeviceId, DeviceNumber, MessageId, TopicName, UserId};
use crate::model::log::{Epoch, Head, LogId, Offset};
use crate::model::set::DeviceSet;

/// Whom a push is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Every device of a user.
    User(UserId),
    /// One device of a user.
    Device(UserId, DeviceId),
    /// Every device subscribed to a topic.
    Topic(TopicName),
    /// Every device that a condition was true for when the push was accepted.
    Condition(Condition),
    /// Every device of a user until the first one acks.
    AnyOfUser(UserId),
}

/// How urgent a message is (RFC 8030, section 5.3); ordered from least to most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Urgency {
    /// Advertisements and the like.
    VeryLow,
    /// Topic updates.
    Low,
    /// Chat messages and the like.
    #[default]
    Normal,
    /// Calls, time-critical alerts.
    High,
}

impl Urgency {
    /// All of them, least first.
    pub const ALL: [Self; 4] = [Self::VeryLow, Self::Low, Self::Normal, Self::High];

    /// The word of RFC 8030.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::VeryLow => "very-low",
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
        }
    }

    /// Reads the word of RFC 8030.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|urgency| urgency.as_str() == word)
    }
}

/// What an answered push survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Durability {
    /// Synced to disk before the answer: survives power loss.
    #[default]
    Fsync,
    /// Handed to the operating system before the answer: survives the death of the process.
    Relaxed,
    /// Not stored: goes to the devices that are online now, at most once.
    None,
}

/// A stored, immutable message as one log holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the log; zero for an online-only push, which has none.
    pub offset: Offset,
    /// Its id, the same in every delivery.
    pub id: MessageId,
    /// When the gateway accepted it.
    pub accepted_at: Timestamp,
    /// It is not delivered from this time on. [`Timestamp::ZERO`] for an online-only push.
    pub expires_at: Timestamp,
    /// How urgent it is.
    pub urgency: Urgency,
    /// Only this device of the user may have it; `None` for all that follow the log.
    pub device: Option<DeviceId>,
    /// What else tells who may have it; most entries have nothing of it.
    pub aim: Option<Arc<Aim>>,
    /// The sender wants to know what becomes of it.
    pub receipts: bool,
    /// Target, content type, attributes, payload: encoded once by `wire::body`, shared by every session.
    pub body: Bytes,
}

impl Entry {
    /// Whether it must not be delivered any more.
    #[must_use]
    pub fn expired(&self, now: Timestamp) -> bool {
        self.offset > Offset::ZERO && self.expires_at <= now
    }
}

/// Who among the followers of a log an entry is for, and what else is out of the ordinary about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aim {
    /// Broadcast log: the devices that the condition was true for.
    pub audience: Option<DeviceSet>,
    /// Who does not get it.
    pub exclude: Vec<Exclusion>,
    /// It is for any one device of the user: the first that acks.
    pub any_of_user: bool,
    /// It brings nothing: it takes another entry away.
    pub dismissal: Option<Dismissed>,
}

impl Aim {
    /// Whether it is for this device, if that follows the log at all.
    #[must_use]
    pub fn meets(&self, user: &UserId, device: &DeviceId, number: DeviceNumber) -> bool {
        self.audience.as_ref().is_none_or(|audience| audience.contains(number))
            && !self.exclude.iter().any(|exclusion| exclusion.covers(user, device))
    }
}

/// A user, or one device of one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Exclusion {
    /// The user.
    pub user: UserId,
    /// The device; `None` for all of the user's.
    pub device: Option<DeviceId>,
}

impl Exclusion {
    /// Whether it is this device.
    #[must_use]
    pub fn covers(&self, user: &UserId, device: &DeviceId) -> bool {
        self.user == *user && self.device.as_ref().is_none_or(|only| only == device)
    }
}

/// The entry that another one takes away. Whoever reads of it settles that place, and tells the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dismissed {
    /// The log of the entry.
    pub log: LogId,
    /// The life of that log.
    pub epoch: Epoch,
    /// Its place there.
    pub offset: Offset,
    /// The message.
    pub message: MessageId,
    /// Why, for the device.
    pub reason: DismissReason,
}

/// Why a message is to be taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DismissReason {
    /// The backend cancelled it.
    Cancelled,
    /// The user has seen it on another device.
    Seen,
    /// It was for any one device of the user, and another one has acked it.
    Taken,
}

/// A piece of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Entries that stand and have not expired, by offset.
    pub entries: Vec<Entry>,
    /// The page knows everything after the given offset up to and including this one: what is not in `entries` is gone
    /// for good. At least the last entry's offset; the head when the end was reached.
    pub looked: Offset,
    /// The log as it was when the page was read.
    pub head: Head,
}
