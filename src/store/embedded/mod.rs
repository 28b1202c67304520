//! The store of one node: logs and cursors in a data folder. Calls become commands for one writing thread, and reads go
//! straight to the table. It does not decide what a command means: the files below do.

mod aim;
mod append;
mod call;
mod command;
mod devices;
mod key;
mod people;
mod queue;
mod read;
mod recent;
mod record;
mod retention;
mod staged;
mod sweep;
mod table;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

use self::aim::Aims;
use self::call::Rare;
use self::command::{Command, Reply};
use self::queue::Queue;
use self::table::Table;
use self::writer::{Counters, Writer};
use crate::model::clock::Timestamp;
use crate::model::id::{DeviceNumber, GroupName, MessageId, Receiver, Tag, TenantId, TopicName, UserId};
use crate::model::log::{Head, LogId, Offset};
use crate::model::presence;
use crate::model::quiet::QuietHours;
use crate::model::webhook::{self, Webhook};
use crate::store::{
    Answer, Append, Appended, Audience, Changed, Commit, Error, Events, Following, Follows, Group, HandOff, Health,
    Journal, Limits, Listener, MembersChange, MessageRecord, MessageState, Of, Opened, Page, Store, Swept, TagHour,
    Topic, User,
};

/// Longest collapse or idempotency key in bytes: they become part of keys of the database, which have a limit. Surfaces
/// refuse long ones before, with words for the caller.
pub const KEY_BYTES_MAX: usize = 4_096;

/// How much memory the store may take, and how much may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Writes that may wait. Full: they are refused with [`Error::Busy`].
    pub queue_max: usize,
    /// Bytes that waiting writes may hold. Full: as above.
    pub queue_bytes_max: usize,
    /// Bytes of the table kept in memory for reads.
    pub cache_bytes: u64,
    /// Bytes that the table gathers in memory before they are written out. Fixed when the folder is made.
    pub memtable_bytes: u64,
}

/// The store. Dropping it writes what was queued, syncs, and unlocks the folder.
pub struct Embedded {
    /// For reads.
    table: Table,
    /// To the writer.
    queue: Arc<Queue<Command>>,
    /// Audiences that readers share.
    aims: Arc<Aims>,
    /// From the writer.
    counters: Arc<Counters>,
    /// Who hears from the writer of what was appended, once it is known.
    listener: Arc<OnceLock<Arc<dyn Listener>>>,
    /// As the writer has them.
    limits: Limits,
    /// The writing thread, until it was waited for.
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Embedded {
    /// Opens a folder that nobody else uses, or makes it, and starts the writing thread.
    ///
    /// # Errors
    /// [`Error::Failed`] when the folder is in use, of another format, damaged or not writable; its words say which.
    pub fn open(folder: &Path, limits: Limits, bounds: Bounds) -> Result<Self, Error> {
        let table = Table::open(folder, bounds.cache_bytes, bounds.memtable_bytes)?;
        let queue = Arc::new(Queue::new(bounds.queue_max, bounds.queue_bytes_max));
        let counters = Arc::<Counters>::default();
        let listener = Arc::<OnceLock<_>>::default();
        let aims = Arc::<Aims>::default();
        let shared = (Arc::clone(&aims), Arc::clone(&counters), Arc::clone(&listener));
        let writer = Writer::new(table.clone(), limits.clone(), shared.0, shared.1, shared.2);
        let thread = thread::Builder::new().name("store".to_owned()).spawn({
            let queue = Arc::clone(&queue);
            move || writer.run(&queue)
        });
        let thread = thread.map_err(|error| Error::Failed(format!("the writing thread cannot start: {error}")))?;
        Ok(Self { table, queue, aims, counters, listener, limits, writer: Mutex::new(Some(thread)) })
    }

    /// Queues a command now, which fixes its place, and waits for the answer later.
    fn write<T: Send + 'static>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Answer<T> {
        let (reply, answer) = oneshot::channel();
        let command = command(reply);
        let bytes = command.bytes();
        if let Err(error) = self.queue.push(command, bytes) {
            return Answer::known(Err(error));
        }
        Answer::awaited(answer)
    }

    /// Queues what is asked rarely; `bytes` is about what it holds.
    fn write_with<T: Send + 'static>(
        &self,
        bytes: usize,
        apply: impl FnOnce(&mut Writer) -> Result<T, Error> + Send + 'static,
    ) -> Answer<T> {
        self.write(|reply| Command::Rare(Box::new(Rare { apply, reply }), bytes))
    }

    /// Reads where the caller is polled, without a thread of its own: a page is a few records that were written lately
    /// or lie in the cache of the system, which takes microseconds; handing it over would take longer than reading it.
    /// What is read is bounded by the caller's numbers and by `read::page`.
    fn read_with<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Table) -> Result<T, Error> + Send + 'static,
    ) -> Answer<T> {
        let table = self.table.clone();
        Answer::worked(async move { read(&table) })
    }
}

impl Store for Embedded {
    fn append(&self, append: Append) -> Answer<Appended> {
        let keys = [append.collapse_key.as_ref(), append.idempotency.as_ref().map(|idempotency| &idempotency.key)];
        if keys.into_iter().flatten().any(|key| key.len() > KEY_BYTES_MAX) {
            let error = Error::Failed(format!("a collapse or idempotency key is longer than {KEY_BYTES_MAX} bytes"));
            return Answer::known(Err(error));
        }
        if matches!(append.log, LogId::Broadcast(_)) != append.wishes.condition.is_some() {
            let words = "a push to the broadcast log has a condition, and no other push has one";
            return Answer::known(Err(Error::Failed(words.to_owned())));
        }
        self.write(|reply| Command::Append(append, reply))
    }

    fn announce_to(&self, listener: Arc<dyn Listener>) {
        let _second = self.listener.set(listener);
    }

    fn read(&self, log: &LogId, after: Offset, entries: usize, bytes: usize, now: Timestamp) -> Answer<Page> {
        let (log, aims) = (log.clone(), Arc::clone(&self.aims));
        self.read_with(move |table| {
            let sight = table.sight();
            let mut page = read::page(&sight, &log, after, entries, bytes, now)?;
            aims.complete(&sight, &log, &mut page.entries)?;
            Ok(page)
        })
    }

    fn heads(&self, logs: Vec<LogId>) -> Answer<Vec<Head>> {
        self.read_with(move |table| {
            let sight = table.sight();
            logs.iter().map(|log| read::head(&sight, log)).collect()
        })
    }

    fn open(&self, receiver: &Receiver, now: Timestamp) -> Answer<Opened> {
        self.write(|reply| Command::Open(receiver.clone(), now, reply))
    }

    fn leave(&self, receiver: &Receiver, now: Timestamp) -> Answer<()> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Leave(receiver.clone(), now, reply);
        let bytes = command.bytes();
        // There are no more of them than open devices. One that was refused would leave its device open for ever: it
        // would never be forgotten, and what it did not ack would fill its inbox.
        match self.queue.push_beyond(command, bytes) {
            Ok(()) => Answer::awaited(answer),
            Err(error) => Answer::known(Err(error)),
        }
    }

    fn subscribe(&self, receiver: &Receiver, topics: Vec<TopicName>) -> Answer<(Vec<Following>, u32)> {
        self.write(|reply| Command::Subscribe(receiver.clone(), topics, reply))
    }

    fn unsubscribe(&self, receiver: &Receiver, topics: Vec<TopicName>) -> Answer<u32> {
        self.write(|reply| Command::Unsubscribe(receiver.clone(), topics, reply))
    }

    fn commit(&self, commit: Commit) -> Answer<()> {
        self.write(|reply| Command::Commit(commit, reply))
    }

    fn message(&self, tenant: &TenantId, id: MessageId, now: Timestamp) -> Answer<Option<MessageRecord>> {
        let (tenant, limits) = (tenant.clone(), self.limits.clone());
        let forget_at = move |message: &record::Message| retention::forget_at(&limits, message);
        let aims = Arc::clone(&self.aims);
        self.read_with(move |table| {
            let sight = table.sight();
            let mut found = read::outcome(&sight, &tenant, id, now, forget_at)?;
            if let Some(record) = &mut found {
                aims.complete(&sight, &record.log, record.entry.as_mut_slice())?;
                record.aim = record.entry.as_ref().and_then(|entry| entry.aim.clone());
            }
            Ok(found)
        })
    }

    fn follows(&self, _receiver: &Receiver) -> Answer<Follows> {
        not_yet()
    }

    fn describe(&self, _receiver: &Receiver, _attributes: BTreeMap<String, String>) -> Answer<()> {
        not_yet()
    }

    fn dismiss(&self, _receiver: &Receiver, _messages: Vec<MessageId>, _now: Timestamp) -> Answer<u32> {
        not_yet()
    }

    fn create_group(
        &self,
        _tenant: &TenantId,
        _name: GroupName,
        _topics: Vec<TopicName>,
        _now: Timestamp,
    ) -> Answer<Group> {
        not_yet()
    }

    fn group(&self, _tenant: &TenantId, _name: &GroupName) -> Answer<Option<Group>> {
        not_yet()
    }

    fn groups(&self, _tenant: &TenantId, _after: Option<GroupName>, _most: usize) -> Answer<Vec<Group>> {
        not_yet()
    }

    fn remove_group(&self, _tenant: &TenantId, _name: &GroupName) -> Answer<()> {
        not_yet()
    }

    fn members(
        &self,
        _tenant: &TenantId,
        _group: &GroupName,
        _after: Option<UserId>,
        _most: usize,
    ) -> Answer<Vec<UserId>> {
        not_yet()
    }

    fn change_members(&self, _tenant: &TenantId, _change: MembersChange, _now: Timestamp) -> Answer<Changed> {
        not_yet()
    }

    fn set_groups(
        &self,
        _tenant: &TenantId,
        _user: &UserId,
        _groups: Vec<(GroupName, Vec<TopicName>)>,
        _version: u64,
        _now: Timestamp,
    ) -> Answer<()> {
        not_yet()
    }

    fn user(&self, _tenant: &TenantId, _user: &UserId) -> Answer<User> {
        not_yet()
    }

    fn set_quiet_hours(&self, _tenant: &TenantId, _user: &UserId, _hours: Option<QuietHours>) -> Answer<()> {
        not_yet()
    }

    fn set_topic(&self, tenant: &TenantId, topic: &TopicName, conflate: bool) -> Answer<()> {
        let (tenant, topic) = (tenant.clone(), topic.clone());
        self.write_with(0, move |writer| writer.set_topic(&tenant, &topic, conflate))
    }

    fn topic(&self, tenant: &TenantId, topic: &TopicName) -> Answer<Topic> {
        let (tenant, topic) = (tenant.clone(), topic.clone());
        self.read_with(move |table| {
            let sight = table.sight();
            let conflate = people::conflates(&sight, &tenant, &topic)?;
            let head = read::head(&sight, &LogId::Topic(tenant, topic))?;
            Ok(Topic { conflate, devices: 0, head })
        })
    }

    fn audience(&self, _tenant: &TenantId, _of: Of, _after: Option<DeviceNumber>, _most: usize) -> Answer<Audience> {
        not_yet()
    }

    fn cancel(
        &self,
        _tenant: &TenantId,
        _message: MessageId,
        _silently: bool,
        _now: Timestamp,
    ) -> Answer<(MessageState, bool)> {
        not_yet()
    }

    fn handed_off(
        &self,
        _tenant: &TenantId,
        _hand_off: HandOff,
        _outcome: Result<String, String>,
        _now: Timestamp,
    ) -> Answer<()> {
        not_yet()
    }

    fn note(&self, _tenant: &TenantId, _events: Vec<presence::Event>) -> Answer<()> {
        not_yet()
    }

    fn journal(&self, _tenant: &TenantId, _journal: Journal, _after: u64, _most: usize) -> Answer<Events> {
        not_yet()
    }

    fn tag(&self, _tenant: &TenantId, _tag: &Tag, _from: Timestamp, _upto: Timestamp) -> Answer<Vec<TagHour>> {
        not_yet()
    }

    fn set_webhook(&self, _tenant: &TenantId, _kind: webhook::Kind, _webhook: Option<Webhook>) -> Answer<()> {
        not_yet()
    }

    fn webhooks(&self) -> Answer<Vec<(TenantId, webhook::Kind, Webhook, u64)>> {
        not_yet()
    }

    fn delivered(&self, _tenant: &TenantId, _kind: webhook::Kind, _position: u64) -> Answer<()> {
        not_yet()
    }

    fn sweep(&self, now: Timestamp) -> Answer<Swept> {
        self.write(|reply| Command::Sweep(now, reply))
    }

    fn health(&self) -> Health {
        Health {
            queue: self.queue.len(),
            disk_bytes: self.counters.disk_bytes.load(Ordering::Relaxed),
            flushes: self.counters.flushes.load(Ordering::Relaxed),
            writes: self.counters.writes.load(Ordering::Relaxed),
        }
    }

    fn close(&self) -> Answer<()> {
        let (reply, answer) = oneshot::channel();
        match self.queue.push_last(Command::Close(reply), closed()) {
            Ok(true) => Answer::awaited(answer),
            Ok(false) => Answer::known(Ok(())),
            Err(error) => Answer::known(Err(error)),
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.queue.shut(closed());
        let writer = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        // A thread that panicked has told everybody who waited.
        let _ = writer.map(JoinHandle::join);
    }
}

fn not_yet<T>() -> Answer<T> {
    Answer::known(Err(Error::Failed("not built yet".to_owned())))
}

fn closed() -> Error {
    Error::Failed("the store is closed".to_owned())
}
