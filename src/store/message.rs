//! Messages as they are handed to a store, and what a store tells of them. Plain values.

use std::sync::Arc;

use bytes::Bytes;

use crate::model::clock::Timestamp;
use crate::model::condition::Condition;
use crate::model::id::{DeviceId, MessageId, Tag, UserId};
use crate::model::log::{Epoch, LogId, Offset};
use crate::model::message::{Aim, Durability, Entry, Exclusion, Urgency};
use crate::model::receipt::Counts;

/// A message to append.
#[derive(Clone, Debug)]
pub struct Append {
    /// The log it goes to.
    pub log: LogId,
    /// Its id; never used before.
    pub id: MessageId,
    /// The time of acceptance.
    pub now: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
    /// How urgent it is.
    pub urgency: Urgency,
    /// Only for this device of the inbox's user.
    pub device: Option<DeviceId>,
    /// An older entry of this log with the same key and the same `device`, if it still stands, is replaced.
    pub collapse_key: Option<String>,
    /// A second append of the tenant with the same key within the window is answered with the first one's outcome.
    pub idempotency: Option<Idempotency>,
    /// [`Durability::Fsync`] or [`Durability::Relaxed`]; online-only pushes never come here.
    pub durability: Durability,
    /// The encoded content.
    pub body: Bytes,
    /// What few pushes ask for.
    pub wishes: Wishes,
}

/// What few pushes ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Broadcast log, and only there: for whom. Evaluated when the message is given its offset.
    pub condition: Option<Condition>,
    /// Who does not get it.
    pub exclude: Vec<Exclusion>,
    /// Inbox: the first device that acks takes it from the others.
    pub any_of_user: bool,
    /// It takes the place of this message, which must be of the same log and device and not over.
    pub replaces: Option<MessageId>,
    /// It is kept until then, and given its offset then. `expires_at` is already reckoned from that time.
    pub send_at: Option<Timestamp>,
    /// The sender's word for what belongs together.
    pub tag: Option<Tag>,
    /// No receipts and no times are kept.
    pub without_receipts: bool,
    /// Inbox: devices that have not acked it by then are handed off.
    pub fallback_at: Option<Timestamp>,
}

/// An idempotency key, and what tells whether a second use means the same push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// The key, unique within the tenant.
    pub key: String,
    /// Hash of the whole request.
    pub fingerprint: u64,
}

/// The outcome of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The message's id: the given one, or the first one's when `duplicate`.
    pub id: MessageId,
    /// Its place.
    pub offset: Offset,
    /// The life of the log that the place belongs to.
    pub epoch: Epoch,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
    /// The idempotency key was known; nothing was written.
    pub duplicate: bool,
    /// Topics and conditions: how many devices it is for. `None` for inboxes and for what waits for its time.
    pub audience: Option<u64>,
    /// It waits for this time; `offset` and `epoch` are zero until then.
    pub send_at: Option<Timestamp>,
}

/// What became of a message. What happened first stays: one that was replaced does not expire later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageState {
    /// It stands in its log.
    Stored,
    /// It expired.
    Expired,
    /// A newer one with its collapse key took its place.
    Replaced,
    /// It made room in a full log before it expired. From an inbox only what every known device had settled goes so: the
    /// devices tell that it was acked.
    Trimmed,
    /// The backend took it back.
    Cancelled,
    /// Its time has not come.
    Scheduled,
    /// It was for any one device of the user, and one acked it.
    Taken,
    /// The user has seen it on one device.
    Dismissed,
}

/// What became of a message at one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceState {
    /// Not settled.
    Waiting,
    /// Settled by an ack.
    Acked {
        /// When, if that was recorded.
        at: Option<Timestamp>,
    },
    /// It was over before the device acked it.
    Missed,
    /// Given up.
    Dead {
        /// The last reason.
        reason: String,
        /// When.
        at: Timestamp,
    },
}

/// One device's line in a [`MessageRecord`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceOutcome {
    /// The user it belongs to.
    pub user: UserId,
    /// The device.
    pub device: DeviceId,
    /// What became of it there.
    pub state: DeviceState,
    /// Failed deliveries.
    pub attempts: u32,
    /// First and last time it was sent there, if that was recorded.
    pub sent: Option<(Timestamp, Timestamp)>,
    /// The last failed deliveries that were recorded: when, which delivery, why.
    pub nacks: Vec<(Timestamp, u32, String)>,
    /// It was handed off: when, and the webhook's answer if it has given one.
    pub handed_off: Option<(Timestamp, Option<Result<String, String>>)>,
}

/// All that the store knows of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageRecord {
    /// Its log.
    pub log: LogId,
    /// The life of the log.
    pub epoch: Epoch,
    /// Its place.
    pub offset: Offset,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
    /// What became of it.
    pub state: MessageState,
    /// The entry itself while it stands.
    pub entry: Option<Entry>,
    /// Inbox: every known device of the user that the message is for. Topic and broadcast: the devices it is dead for.
    pub devices: Vec<DeviceOutcome>,
    /// When it left its log before it expired, and by what it was replaced.
    pub ended: Option<(Timestamp, Option<MessageId>)>,
    /// The sender's tag.
    pub tag: Option<Tag>,
    /// What became of it, in numbers; `None` when its sender asked for no receipts.
    pub counts: Option<Counts>,
    /// When it will be, or was, given its offset; `None` when that was at once.
    pub send_at: Option<Timestamp>,
    /// For which devices, if that was asked and is known still.
    pub aim: Option<Arc<Aim>>,
    /// When it was handed off for the user as a whole, of whom no device was known; and the webhook's answer, as with a
    /// device.
    pub handed_off: Option<(Timestamp, Option<Result<String, String>>)>,
}
