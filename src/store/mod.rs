//! The store's contract: durable logs, cursors, subscriptions. It does not deliver and it does not know connections.
//!
//! Every method's promise is checked by `contract.rs` for every implementation.

pub mod embedded;
mod journal;
mod message;
pub mod open;
mod people;
mod record;

#[cfg(test)]
mod contract;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::oneshot;

pub use self::journal::{Event, Events, HandOff, Journal, TagHour};
pub use self::message::{
    Append, Appended, DeviceOutcome, DeviceState, Idempotency, MessageRecord, MessageState, Wishes,
};
pub use self::people::{Audience, Changed, Device, Group, MembersChange, Of, Topic, User};
pub use self::record::{
    Expected, Put, RECORD_BYTES_MAX, RECORD_NAME_BYTES_MAX, Record, Recorded, Shelf, TenantLimits, Usage,
};
use crate::model::audit;
use crate::model::clock::Timestamp;
use crate::model::cursor::Cursor;
pub use crate::model::cursor::{Dead, Following};
use crate::model::id::{DeviceNumber, GroupName, MessageId, Receiver, Tag, TenantId, TopicName, UserId};
use crate::model::log::{Epoch, Head, LogId, Offset};
use crate::model::message::Entry;
pub use crate::model::message::Page;
use crate::model::presence;
use crate::model::quiet::QuietHours;
use crate::model::receipt::Report;
use crate::model::webhook::{self, Webhook};

/// Under this name the audit log of all tenants is kept. No tenant can have it.
pub const EVERYONE: &str = "_everyone";

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
    /// There is no such group.
    #[error("there is no group {0}")]
    UnknownGroup(GroupName),
    /// The group exists, and maps to other topics.
    #[error("the group exists and maps to other topics: {0}")]
    GroupExists(String),
    /// The group has members.
    #[error("the group has {0} members; remove them first")]
    GroupNotEmpty(u64),
    /// The user would have more groups than allowed, or the group more topics. Nothing was written.
    #[error("the user would have more than {0} groups, which is the limit")]
    TooManyGroups(u32),
    /// The user's groups were set with this or a newer version before. Nothing was written.
    #[error("the user's groups were set with version {0} before; take a larger one")]
    StaleVersion(u64),
    /// As many scheduled messages wait as the tenant may have. Nothing was written.
    #[error("{0} scheduled messages wait, which is the limit")]
    TooManyScheduled(u64),
    /// The condition compares attributes that have too many different values. Nothing was written.
    #[error("the condition would compare more than {0} values of attributes; compare with == or ask for a topic")]
    TooDear(usize),
    /// A record is not as it was expected: it has this version, or there is none. Nothing was written.
    #[error("it was changed meanwhile: its version is {0:?}")]
    Conflict(Option<u64>),
    /// The tenant has as much of this as it may. Nothing was written.
    #[error("the tenant has {1} {0}, which is its limit")]
    TenantQuota(&'static str, u64),
    /// The message is not known, or long gone.
    #[error("no such message is known; it may be long gone")]
    UnknownMessage,
    /// The message to be replaced is over, or went to another target. Nothing was written.
    #[error("the message cannot be replaced: {0}")]
    NotReplaceable(&'static str),
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
    /// Entries the broadcast log may hold. Full: the oldest go, and cursors behind them learn how many they missed.
    pub broadcast_entries_max: u64,
    /// Groups one user may be in.
    pub groups_per_user_max: u32,
    /// How long receipts and presence events are kept.
    pub journal_ttl: Duration,
    /// How long the audit log is kept.
    pub audit_ttl: Duration,
    /// Scheduled messages of one tenant that may wait. Full: the push is refused.
    pub scheduled_max: u64,
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
            broadcast_entries_max: 10_000,
            groups_per_user_max: 1_000,
            journal_ttl: Duration::from_secs(7 * 86_400),
            audit_ttl: Duration::from_secs(90 * 86_400),
            scheduled_max: 100_000,
        }
    }
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

    /// Events were added to these journals, and can be read. The same rules.
    fn noted(&self, journals: &[(TenantId, Journal)]);

    /// Records were changed, in this order. The same rules. Who keeps none in mind need not care.
    fn recorded(&self, records: Vec<Recorded>) {
        let _ = records;
    }
}

/// What the store knows of a device that opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The device was not known before.
    pub new: bool,
    /// What it follows.
    pub follows: Follows,
}

/// What a device follows, and what its user wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Follows {
    /// Its number: what audiences are made of.
    pub number: DeviceNumber,
    /// Its inbox first, then the broadcast log, then its topics.
    pub following: Vec<Following>,
    /// Topics that its user's groups bring. Among `following`, whether or not the device subscribed to them too.
    pub group_topics: Vec<TopicName>,
    /// The user's quiet hours.
    pub quiet_hours: Option<QuietHours>,
}

/// What to write when pushes were settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Whose cursors.
    pub receiver: Receiver,
    /// The cursors as the session knows them; they are merged into the stored ones.
    pub cursors: Vec<(LogId, Cursor)>,
    /// Messages that are given up for this device; those that the cursors of this commit do not settle are ignored.
    pub dead: Vec<Dead>,
    /// What happened to deliveries, oldest first. Only of messages whose sender wants to know. An ack counts if this
    /// commit settles its place and no earlier one did; so acks are reported with the cursors that settle them. Ignored
    /// are reports of messages that are over or not known, and of logs that the device does not follow.
    pub reports: Vec<Report>,
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
    /// When the next message is to be sent or handed off, if there is one.
    pub next: Option<Timestamp>,
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

    /// What a device follows now: asked again when the user's groups or quiet hours were changed.
    fn follows(&self, receiver: &Receiver) -> Answer<Follows>;

    /// Sets the attributes of a device that is known; answers when they are on disk. What is known already costs no write.
    fn describe(&self, receiver: &Receiver, attributes: BTreeMap<String, String>) -> Answer<()>;

    /// The user has seen these messages on this device: they are settled for the user's other devices, and a dismissal
    /// of each is appended to the inbox for them. Ignored are messages that are not known (any more), that were dismissed
    /// before, and those for one device only. Answers with how many were dismissed now, when that is on disk.
    fn dismiss(&self, receiver: &Receiver, messages: Vec<MessageId>, now: Timestamp) -> Answer<u32>;

    /// Makes a group, or finds it. Its topics are followed by those who join from then on.
    fn create_group(&self, tenant: &TenantId, name: GroupName, topics: Vec<TopicName>, now: Timestamp)
    -> Answer<Group>;

    /// A group; `None` when there is none.
    fn group(&self, tenant: &TenantId, name: &GroupName) -> Answer<Option<Group>>;

    /// Groups after a name, at most so many.
    fn groups(&self, tenant: &TenantId, after: Option<GroupName>, most: usize) -> Answer<Vec<Group>>;

    /// Removes a group without members.
    fn remove_group(&self, tenant: &TenantId, name: &GroupName) -> Answer<()>;

    /// Members after a name, at most so many.
    fn members(&self, tenant: &TenantId, group: &GroupName, after: Option<UserId>, most: usize) -> Answer<Vec<UserId>>;

    /// Adds and removes members. Who joins follows the group's topics from their heads on, on all devices; who leaves
    /// stops, unless another group or the device's own subscription goes on. `arises`: the topics of the group if it
    /// does not exist yet and somebody is added. Answers when it is on disk.
    fn change_members(&self, tenant: &TenantId, change: MembersChange, now: Timestamp) -> Answer<Changed>;

    /// Sets all groups of a user: those that do not exist arise with the given topics. The same version with the same
    /// groups is harmless. Answers with those joined and left.
    fn set_groups(
        &self,
        tenant: &TenantId,
        user: &UserId,
        groups: Vec<(GroupName, Vec<TopicName>)>,
        version: u64,
        now: Timestamp,
    ) -> Answer<()>;

    /// What is known of a user.
    fn user(&self, tenant: &TenantId, user: &UserId) -> Answer<User>;

    /// Sets or ends the quiet hours of a user.
    fn set_quiet_hours(&self, tenant: &TenantId, user: &UserId, hours: Option<QuietHours>) -> Answer<()>;

    /// Makes a topic keep only its newest push, or all.
    fn set_topic(&self, tenant: &TenantId, topic: &TopicName, conflate: bool) -> Answer<()>;

    /// What is known of a topic.
    fn topic(&self, tenant: &TenantId, topic: &TopicName) -> Answer<Topic>;

    /// Whom a push would be for now, with at most `most` lines of the list after a number.
    fn audience(&self, tenant: &TenantId, of: Of, after: Option<DeviceNumber>, most: usize) -> Answer<Audience>;

    /// Takes a message back: what waits for its time is never sent; from a log it is removed, and unless `silently` a
    /// dismissal is appended there for the same devices. Answers with its state, and whether this call changed it, when
    /// that is on disk.
    fn cancel(
        &self,
        tenant: &TenantId,
        message: MessageId,
        silently: bool,
        now: Timestamp,
    ) -> Answer<(MessageState, bool)>;

    /// The webhook's answer to a hand-off: recorded at the device, with a receipt.
    fn handed_off(
        &self,
        tenant: &TenantId,
        hand_off: HandOff,
        outcome: Result<String, String>,
        now: Timestamp,
    ) -> Answer<()>;

    /// Adds presence events to the journal. Answers when the operating system has them.
    fn note(&self, tenant: &TenantId, events: Vec<presence::Event>) -> Answer<()>;

    /// Reads a journal after a position, at most so many events, and never more than some thousand; without gap and
    /// repeat, in order.
    fn journal(&self, tenant: &TenantId, journal: Journal, after: u64, most: usize) -> Answer<Events>;

    /// What became of a tag's messages, by hour of acceptance; only hours that have some.
    fn tag(&self, tenant: &TenantId, tag: &Tag, from: Timestamp, upto: Timestamp) -> Answer<Vec<TagHour>>;

    /// Sets, changes or removes a webhook. A new one begins at the journal's end, one that is changed goes on where it
    /// was. Answers when it is on disk.
    fn set_webhook(&self, tenant: &TenantId, kind: webhook::Kind, webhook: Option<Webhook>) -> Answer<()>;

    /// All webhooks of all tenants, each with the position up to which its journal was delivered.
    fn webhooks(&self) -> Answer<Vec<(TenantId, webhook::Kind, Webhook, u64)>>;

    /// A webhook's journal was delivered up to this position. Not synced: after a power cut some may be delivered again.
    fn delivered(&self, tenant: &TenantId, kind: webhook::Kind, position: u64) -> Answer<()>;

    /// Writes records, all of them or none, and adds to the audit log: each event to its tenant's and to that of
    /// [`EVERYONE`]. Each put sees those before it. One whose time was over when the store was last told the time, by an
    /// event of this call or by any other, counts as none. Answers with the versions that the records have now, 0 for what
    /// was removed, when all is on disk and the listener was told.
    fn write(&self, puts: Vec<Put>, audit: Vec<audit::Event>) -> Answer<Vec<u64>>;

    /// A record; `None` when there is none, or its time is over by `now`.
    fn record(&self, shelf: Shelf, name: &str, now: Timestamp) -> Answer<Option<Record>>;

    /// Records whose names begin with `prefix`, by name, after one, at most so many; without those whose time is over.
    fn records(
        &self,
        shelf: Shelf,
        prefix: &str,
        after: Option<&str>,
        most: usize,
        now: Timestamp,
    ) -> Answer<Vec<(String, Record)>>;

    /// Bounds of a tenant for what is written from now on, until the store is closed. Where it names none the store's own
    /// hold. What there is already too much of stays, and is not added to. Never refused as busy.
    fn limit(&self, tenant: &TenantId, limits: TenantLimits);

    /// What a tenant takes now: exactly what is kept, also after a restart or a power cut.
    fn usage(&self, tenant: &TenantId) -> Answer<Usage>;

    /// Forgets a device that is not open, with its cursors and subscriptions, as if it had been absent for long. Ignored
    /// are devices that are open or not known. Answers when it is on disk. Never refused as busy: who waits for its answer
    /// is bounded elsewhere.
    fn forget(&self, receiver: &Receiver, now: Timestamp) -> Answer<()>;

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
