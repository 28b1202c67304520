//! Receipts: word to the backend of what became of a message. Plain values; the store keeps them.

use std::borrow::Cow;

use crate::model::clock::Timestamp;
use crate::model::id::{DeviceId, MessageId, Tag, UserId};

/// Devices that a message is for, by what became of it there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Devices it is for. Topics and conditions: counted when it was accepted. Users and devices: those known; one that
    /// comes later adds itself.
    pub audience: u64,
    /// Devices it was sent to at least once.
    pub sent: u64,
    /// Devices that acked it.
    pub acked: u64,
    /// Devices it was given up for.
    pub dead: u64,
    /// Devices that had not acked it when it was over (expired, replaced, cancelled, trimmed, taken, dismissed).
    pub missed: u64,
}

impl Counts {
    /// Devices that it still waits for.
    #[must_use]
    pub const fn waiting(&self) -> u64 {
        self.audience.saturating_sub(self.acked + self.dead + self.missed)
    }
}

/// One receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// When it happened.
    pub at: Timestamp,
    /// To which message.
    pub message: MessageId,
    /// The tag of the message.
    pub tag: Option<Tag>,
    /// At which device; `None` for what happened to the message as a whole.
    pub device: Option<(UserId, DeviceId)>,
    /// What happened.
    pub what: What,
}

/// What may happen to a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It was accepted for later.
    Scheduled {
        /// When it will be sent.
        send_at: Timestamp,
    },
    /// It stands in its log.
    Accepted(Counts),
    /// It was sent to the device.
    Sent {
        /// For the how manyth time, from 1.
        attempt: u32,
    },
    /// The device acked it.
    Acked,
    /// The device could not handle it, or did not ack in time.
    Nacked {
        /// Which delivery, from 1.
        attempt: u32,
        /// The device's reason, or `ack_timeout`.
        reason: String,
    },
    /// It was given up for the device.
    Dead {
        /// Failed deliveries.
        attempts: u32,
        /// The last reason.
        reason: String,
    },
    /// It is over, for this reason; nobody receives it any more.
    Ended(End, Counts),
    /// The fallback webhook took it over for the device.
    HandedOff {
        /// The webhook's word for the outcome.
        outcome: String,
    },
    /// The fallback webhook did not take it.
    HandOffFailed {
        /// Why.
        reason: String,
    },
    /// What became of it so far: topics and conditions, where devices have no receipts of their own.
    Counted(Counts),
}

/// How a message ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its time was over.
    Expired,
    /// Another message took its place: one with its collapse key, or one that named it.
    Replaced(Option<MessageId>),
    /// The backend took it back.
    Cancelled,
    /// It made room in a full log.
    Trimmed,
    /// It was for any one device of the user, and one acked it.
    Taken,
    /// The user has seen it on one device.
    Dismissed,
}

impl End {
    /// Its word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Replaced(_) => "replaced",
            Self::Cancelled => "cancelled",
            Self::Trimmed => "trimmed",
            Self::Taken => "taken",
            Self::Dismissed => "dismissed",
        }
    }
}

impl What {
    /// Its word.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Scheduled { .. } => "scheduled",
            Self::Accepted(_) => "accepted",
            Self::Sent { .. } => "sent",
            Self::Acked => "acked",
            Self::Nacked { .. } => "nacked",
            Self::Dead { .. } => "dead",
            Self::Ended(end, _) => end.name(),
            Self::HandedOff { .. } => "handed_off",
            Self::HandOffFailed { .. } => "hand_off_failed",
            Self::Counted(_) => "counts",
        }
    }
}

/// What a session tells the store of one delivery, with its next commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which message.
    pub message: MessageId,
    /// When.
    pub at: Timestamp,
    /// What happened.
    pub what: Reported,
}

/// What may happen to a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reported {
    /// It was sent, for the how manyth time (from 1).
    Sent(u32),
    /// It was acked. Counted once, however often it is reported.
    Acked,
    /// The delivery with this number failed.
    Nacked(u32, Cow<'static, str>),
}
