//! The store's contract: durable logs, cursors, subscriptions. It does not deliver and it does not know connections.
//!
//! Every method's promise is checked by `contract.rs` for every implementation.

pub mod embedded;
pub mod open;

#[cfg(test)]
mod contract;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::model::clock::Timestamp;
use crate::model::cursor::Cursor;
pub use crate::model::cursor::{Dead, Following};
use crate::model::id::{DeviceId, MessageId, Receiver, TenantId, TopicName, UserId};
use crate::model::log::{Epoch, Head, LogId, Offset};
pub use crate::model::message::Page;
use crate::model::message::{Durability, Entry, Urgency};

/// Why the store did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The queue of writes is full. Nothing was written; try again in a moment.
    #[error("more writes wait for the disk than the queue holds")]
    Busy,
    /// The inbox is at its limit and each entry still waits for a known device. Nothing was written.
    #[error("the log holds {0} entries that are not acked by all known devices, which is its limit")]
    LogFull(u64),
    /// The idempotency key was used for other content within its window. Nothing was written.
    #[error("the idempotency key was used for another push")]
    IdempotencyConflict,
    /// The user has as many devices as allowed. Nothing was written.
    #[error("the user has {0} devices, which is the limit")]
    TooManyDevices(u32),
    /// The device would have more subscriptions than allowed. None was added.
    #[error("the device would have more than {0} subscriptions, which is the limit")]
    TooManySubscriptions(u32),
    /// The device is not known: it never opened, or was removed after its long absence.
    #[error("the device is not known to the store")]
    UnknownDevice,
    /// The disk or the data on it failed. The store refuses writes from then on; a restart recovers what was answered.
    #[error("the store failed: {0}")]
    Failed(String),
}

/// Bounds of every store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Entries one inbox may hold. Full: entries that all known devices have settled go first; if there are none, the
    /// push is refused.
    pub inbox_entries_max: u64,
    /// Entries one topic log may hold. Full: the oldest go, and cursors behind them learn how many they missed.
    pub topic_entries_max: u64,
    /// Devices one user may have.
    pub devices_per_user_max: u32,
    /// Topics one device may follow.
    pub subscriptions_per_device_max: u32,
    /// A device that was not open for so long is forgotten, with its cursors and subscriptions.
    pub device_absence_max: Duration,
    /// How long an idempotency key is remembered.
    pub idempotency_window: Duration,
    /// What is remembered of a message after it expired or was replaced, for `message`.
    pub tombstone_ttl: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            inbox_entries_max: 10_000,
            topic_entries_max: 100_000,
            devices_per_user_max: 32,
            subscriptions_per_device_max: 1_000,
            device_absence_max: Duration::from_secs(60 * 86_400),
            idempotency_window: Duration::from_secs(86_400),
            tombstone_ttl: Duration::from_secs(86_400),
        }
    }
}

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
}

/// An entry that was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// Its log.
    pub log: LogId,
    /// The life of the log that its offset belongs to.
    pub epoch: Epoch,
    /// The entry; its body is the one that was appended, not a copy.
    pub entry: Entry,
}

/// Who hears of what was appended.
pub trait Listener: Send + Sync + 'static {
    /// Takes what one batch of writes appended, in order. Writes wait while this runs, so it never blocks, and it calls
    /// no writing method of the store.
    fn appended(&self, batch: Vec<Announced>);
}

/// What the store knows of a device that opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The device was not known before.
    pub new: bool,
    /// Its inbox first, then its topics.
    pub following: Vec<Following>,
}

/// What to write when pushes were settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Whose cursors.
    pub receiver: Receiver,
    /// The cursors as the session knows them; they are merged into the stored ones.
    pub cursors: Vec<(LogId, Cursor)>,
    /// Messages that are given up for this device.
    pub dead: Vec<Dead>,
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
}

/// What became of a message at one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceState {
    /// Not settled.
    Waiting,
    /// Settled by an ack.
    Acked,
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
    /// Inbox: every known device of the user that the message is for. Topic: the devices it is dead for.
    pub devices: Vec<DeviceOutcome>,
}

/// What a sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Entries whose time was over.
    pub expired: u64,
    /// Other records that had served their time: tombstones, idempotency keys, dead letters, absent devices.
    pub forgotten: u64,
    /// More is due; call again soon.
    pub more: bool,
}

/// How the store is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Writes waiting.
    pub queue: usize,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Disk flushes since the start.
    pub flushes: u64,
    /// Writes since the start.
    pub writes: u64,
}

/// A durable store.
///
/// Writes are applied in the order in which the methods are *called* (not in which their answers are awaited), each
/// whole or not at all. An answered write is seen by every read called after the answer. Writes of many callers share
/// disk flushes. Everything is apart by tenant: no call sees another tenant's data.
pub trait Store: Send + Sync + 'static {
    /// Appends a message: gives it the next offset of its log. Answers when it is as durable as asked for. A log that
    /// does not exist is made, with an epoch never used before.
    fn append(&self, append: Append) -> Answer<Appended>;

    /// Tells `listener` of each entry that is appended through this store from now on: once, in the order of the offsets
    /// of each log, when it is as durable as was asked for and can be read, and before its append is answered. Also when
    /// nobody waits for the answer any more. Not told are duplicates, what was refused, and what failed. There is one
    /// listener: a second call changes nothing.
    fn announce_to(&self, listener: Arc<dyn Listener>);

    /// Reads entries after an offset: at most `entries`, and no more once `bytes` of bodies are reached (but at least
    /// one entry if there is one). Entries that expired by `now` are left out and count as looked at.
    fn read(&self, log: &LogId, after: Offset, entries: usize, bytes: usize, now: Timestamp) -> Answer<Page>;

    /// Heads of logs, in the order asked. Neither this nor `read` ever tells of an older life of a log than it told before.
    fn heads(&self, logs: Vec<LogId>) -> Answer<Vec<Head>>;

    /// A device comes: it is recorded as seen `now`, made known if new (its inbox cursor begins before the first entry),
    /// and its cursors are returned. Answers when a new device is on disk.
    fn open(&self, receiver: &Receiver, now: Timestamp) -> Answer<Opened>;

    /// A device leaves; recorded as seen `now`. Unknown devices are ignored. Never refused as busy: there are no more of
    /// them than devices that came.
    fn leave(&self, receiver: &Receiver, now: Timestamp) -> Answer<()>;

    /// Follows topics from their heads on. Those already followed stay as they are. Answers with all that were asked
    /// for and with the number the device has now, when they are on disk.
    fn subscribe(&self, receiver: &Receiver, topics: Vec<TopicName>) -> Answer<(Vec<Following>, u32)>;

    /// Stops following topics and forgets their cursors; answers with the number left, when it is on disk.
    fn unsubscribe(&self, receiver: &Receiver, topics: Vec<TopicName>) -> Answer<u32>;

    /// Merges cursors and records dead messages. Answers when the operating system has them: they survive the death of
    /// the process, and a power cut costs at most a redelivery. Ignored are cursors of logs not followed any more, and
    /// those whose epoch is not the log's. One whose epoch is the log's replaces a stored one of another epoch.
    fn commit(&self, commit: Commit) -> Answer<()>;

    /// What is known of a message; `None` for one never accepted, of another tenant, or long gone.
    fn message(&self, tenant: &TenantId, id: MessageId, now: Timestamp) -> Answer<Option<MessageRecord>>;

    /// Removes what has expired, in a bounded step.
    fn sweep(&self, now: Timestamp) -> Answer<Swept>;

    /// How the store is doing; cheap.
    fn health(&self) -> Health;

    /// Waits for queued writes, syncs them to disk and stops; later writes fail. Calling it again is harmless.
    fn close(&self) -> Answer<()>;
}

/// An answer on its way. Dropping it does not undo a write that was queued. To be polled to its end, and not after it.
///
/// It is a type of its own because there is one for each push and each ack: a boxed future around a channel costs an
/// allocation more.
pub struct Answer<T>(State<T>);

enum State<T> {
    /// Known already; taken when it is given.
    Known(Option<Result<T, Error>>),
    /// Comes from another thread.
    Awaited(oneshot::Receiver<Result<T, Error>>),
    /// To be worked out where it is polled.
    Worked(Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>),
}

impl<T> Answer<T> {
    /// One that is known.
    pub(crate) const fn known(answer: Result<T, Error>) -> Self {
        Self(State::Known(Some(answer)))
    }

    /// One that another thread gives.
    pub(crate) const fn awaited(answer: oneshot::Receiver<Result<T, Error>>) -> Self {
        Self(State::Awaited(answer))
    }

    /// One that is worked out where it is polled.
    pub(crate) fn worked(work: impl Future<Output = Result<T, Error>> + Send + 'static) -> Self {
        Self(State::Worked(Box::pin(work)))
    }
}

// Nothing in it is pinned in place.
impl<T> Unpin for Answer<T> {}

impl<T> Future for Answer<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Known(answer) => answer.take().map_or(Poll::Pending, Poll::Ready),
            State::Awaited(answer) => {
                let answer = ready!(Pin::new(answer).poll(context));
                Poll::Ready(answer.unwrap_or_else(|_| Err(lost())))
            }
            State::Worked(work) => work.as_mut().poll(context),
        }
    }
}

/// What those are told whose answer was lost with the thread that was to give it.
pub(crate) fn lost() -> Error {
    Error::Failed("the writing thread stopped by a fault of the program".to_owned())
}
