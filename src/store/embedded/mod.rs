//! The store of one node: logs and cursors in a data folder. Calls become commands for one writing thread, and reads go
//! straight to the table. It does not decide what a command means: the files below do.

mod aim;
mod append;
mod call;
mod command;
mod conflate;
mod devices;
mod follow;
mod groups;
mod hand_off;
mod journal;
mod key;
mod members;
mod outcome;
mod outcome_pace;
mod outcome_told;
mod outcomes;
mod people;
#[cfg(test)]
mod power_cuts;
mod queue;
mod quotas;
mod read;
mod recent;
mod record;
mod retention;
mod roll;
mod schedule;
mod seats;
mod shelves;
mod staged;
mod sweep;
mod table;
mod tag;
#[cfg(test)]
mod tests;
mod webhook;
mod withdraw;
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
use self::roll::Roll;
use self::table::Table;
use self::writer::{Counters, Writer};
use crate::model::audit;
use crate::model::clock::{Clock, Moment, Timestamp};
use crate::model::id::{DeviceNumber, GroupName, MessageId, Receiver, Tag, TenantId, TopicName, UserId};
use crate::model::log::{Head, LogId, Offset};
use crate::model::presence;
use crate::model::quiet::QuietHours;
use crate::model::webhook::{Kind, Webhook};
use crate::store::{
    Answer, Append, Appended, Audience, Changed, Commit, Error, Events, Following, Follows, Group, HandOff, Health,
    Journal, Limits, Listener, MembersChange, MessageRecord, MessageState, Of, Opened, Page, Put, Record, Shelf, Store,
    Swept, TagHour, TenantLimits, Topic, Usage, User,
};

/// Longest collapse or idempotency key in bytes: they become part of keys of the database, which have a limit. Surfaces
/// refuse long ones before, with words for the caller.
pub const KEY_BYTES_MAX: usize = 4_096;

/// What one member of a group counts for among the bytes of a call: more than it takes, because it takes so long to write.
/// About ten calls with a thousand members each make a batch.
const MEMBER_BYTES: usize = 800;

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
    /// Who follows what, for audiences.
    roll: Arc<Roll>,
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
        let clock = Clock::new();
        let roll = Arc::new(Roll::read(&table)?);
        let ((devices, bytes), took) = (roll.size(), clock.now().moment.since(Moment::ZERO));
        tracing::info!(devices, bytes, ?took, "read who follows what");
        let writer = Writer::new(
            table.clone(),
            limits.clone(),
            (Arc::clone(&aims), Arc::clone(&roll)),
            Arc::clone(&counters),
            Arc::clone(&listener),
        );
        let thread = thread::Builder::new().name("store".to_owned()).spawn({
            let queue = Arc::clone(&queue);
            move || writer.run(&queue)
        });
        let thread = thread.map_err(|error| Error::Failed(format!("the writing thread cannot start: {error}")))?;
        Ok(Self { table, queue, aims, roll, counters, listener, limits, writer: Mutex::new(Some(thread)) })
    }

    /// Queues a command now, which fixes its place, and waits for the answer later.
    fn submit<T: Send + 'static>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Answer<T> {
        let (reply, answer) = oneshot::channel();
        let command = command(reply);
        let bytes = command.bytes();
        if let Err(error) = self.queue.push(command, bytes) {
            return Answer::known(Err(error));
        }
        Answer::awaited(answer)
    }

    /// The same, also when the queue is full: for what is bounded by something else.
    fn beyond<T: Send + 'static>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Answer<T> {
        let (reply, answer) = oneshot::channel();
        let command = command(reply);
        let bytes = command.bytes();
        match self.queue.push_beyond(command, bytes) {
            Ok(()) => Answer::awaited(answer),
            Err(error) => Answer::known(Err(error)),
        }
    }

    /// Queues what is asked rarely; `bytes` is about what it holds.
    fn write_with<T: Send + 'static>(
        &self,
        bytes: usize,
        apply: impl FnOnce(&mut Writer) -> Result<T, Error> + Send + 'static,
    ) -> Answer<T> {
        self.submit(|reply| Command::Rare(Box::new(Rare { apply, reply }), bytes))
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
        self.submit(|reply| Command::Append(append, reply))
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
        self.submit(|reply| Command::Open(receiver.clone(), now, reply))
    }

    fn leave(&self, receiver: &Receiver, now: Timestamp) -> Answer<()> {
        // There are no more of them than open devices. One that was refused would leave its device open for ever: it
        // would never be forgotten, and what it did not ack would fill its inbox.
        self.beyond(|reply| Command::Leave(receiver.clone(), now, reply))
    }

    fn subscribe(&self, receiver: &Receiver, topics: Vec<TopicName>) -> Answer<(Vec<Following>, u32)> {
        self.submit(|reply| Command::Subscribe(receiver.clone(), topics, reply))
    }

    fn unsubscribe(&self, receiver: &Receiver, topics: Vec<TopicName>) -> Answer<u32> {
        self.submit(|reply| Command::Unsubscribe(receiver.clone(), topics, reply))
    }

    fn write(&self, puts: Vec<Put>, audit: Vec<audit::Event>) -> Answer<Vec<u64>> {
        if let Err(error) = puts.iter().try_for_each(shelves::check) {
            return Answer::known(Err(error));
        }
        let bytes = shelves::bytes(&puts, &audit);
        self.write_with(bytes, move |writer| writer.write_records(puts, audit))
    }

    fn record(&self, shelf: Shelf, name: &str, now: Timestamp) -> Answer<Option<Record>> {
        let name = name.to_owned();
        self.read_with(move |table| shelves::record(&table.sight(), shelf, &name, now))
    }

    fn records(
        &self,
        shelf: Shelf,
        prefix: &str,
        after: Option<&str>,
        most: usize,
        now: Timestamp,
    ) -> Answer<Vec<(String, Record)>> {
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        self.read_with(move |table| shelves::records(&table.sight(), shelf, &prefix, after.as_deref(), most, now))
    }

    fn limit(&self, tenant: &TenantId, limits: TenantLimits) {
        let tenant = tenant.clone();
        let apply = move |writer: &mut Writer| {
            writer.quotas.limit(tenant, limits);
            Ok(())
        };
        // Nobody waits for it. A store that is closed has no more use for it.
        drop(self.beyond(|reply| Command::Rare(Box::new(Rare { apply, reply }), 0)));
    }

    fn usage(&self, tenant: &TenantId) -> Answer<Usage> {
        let tenant = tenant.clone();
        self.read_with(move |table| quotas::usage(&table.sight(), &tenant))
    }

    fn forget(&self, receiver: &Receiver, now: Timestamp) -> Answer<()> {
        let receiver = receiver.clone();
        let apply = move |writer: &mut Writer| writer.forget(&receiver, now);
        self.beyond(|reply| Command::Rare(Box::new(Rare { apply, reply }), 0))
    }

    fn commit(&self, commit: Commit) -> Answer<()> {
        self.submit(|reply| Command::Commit(commit, reply))
    }

    fn message(&self, tenant: &TenantId, id: MessageId, now: Timestamp) -> Answer<Option<MessageRecord>> {
        let (tenant, limits) = (tenant.clone(), self.limits.clone());
        let forget_at = move |message: &record::Message| retention::forget_at(&limits, message);
        let aims = Arc::clone(&self.aims);
        self.read_with(move |table| {
            let sight = table.sight();
            let mut found = outcome_told::told(&sight, &tenant, id, now, forget_at)?;
            if let Some(record) = &mut found {
                aims.complete(&sight, &record.log, record.entry.as_mut_slice())?;
                record.aim = record.entry.as_ref().and_then(|entry| entry.aim.clone());
            }
            Ok(found)
        })
    }

    fn follows(&self, receiver: &Receiver) -> Answer<Follows> {
        let receiver = receiver.clone();
        self.read_with(move |table| follow::follows(&table.sight(), &receiver)?.ok_or(Error::UnknownDevice))
    }

    fn describe(&self, receiver: &Receiver, attributes: BTreeMap<String, String>) -> Answer<()> {
        let receiver = receiver.clone();
        let bytes = attributes.iter().map(|(name, value)| name.len() + value.len() + 64).sum();
        self.write_with(bytes, move |writer| writer.describe(&receiver, attributes))
    }

    fn dismiss(&self, receiver: &Receiver, messages: Vec<MessageId>, now: Timestamp) -> Answer<u32> {
        let receiver = receiver.clone();
        self.write_with(messages.len() * 16, move |writer| writer.dismiss(&receiver, messages, now))
    }

    fn create_group(
        &self,
        tenant: &TenantId,
        name: GroupName,
        topics: Vec<TopicName>,
        now: Timestamp,
    ) -> Answer<Group> {
        let tenant = tenant.clone();
        self.write_with(0, move |writer| writer.create_group(&tenant, name, topics, now))
    }

    fn group(&self, tenant: &TenantId, name: &GroupName) -> Answer<Option<Group>> {
        let (tenant, name) = (tenant.clone(), name.clone());
        self.read_with(move |table| groups::group(&table.sight(), &tenant, &name))
    }

    fn groups(&self, tenant: &TenantId, after: Option<GroupName>, most: usize) -> Answer<Vec<Group>> {
        let tenant = tenant.clone();
        self.read_with(move |table| groups::groups(&table.sight(), &tenant, after, most))
    }

    fn remove_group(&self, tenant: &TenantId, name: &GroupName) -> Answer<()> {
        let (tenant, name) = (tenant.clone(), name.clone());
        self.write_with(0, move |writer| writer.remove_group(&tenant, &name))
    }

    fn members(&self, tenant: &TenantId, group: &GroupName, after: Option<UserId>, most: usize) -> Answer<Vec<UserId>> {
        let (tenant, group) = (tenant.clone(), group.clone());
        self.read_with(move |table| groups::members(&table.sight(), &tenant, &group, after, most))
    }

    fn change_members(&self, tenant: &TenantId, change: MembersChange, now: Timestamp) -> Answer<Changed> {
        let tenant = tenant.clone();
        let bytes = (change.add.len() + change.remove.len()) * MEMBER_BYTES;
        self.write_with(bytes, move |writer| writer.change_members(&tenant, change, now))
    }

    fn set_groups(
        &self,
        tenant: &TenantId,
        user: &UserId,
        groups: Vec<(GroupName, Vec<TopicName>)>,
        version: u64,
        now: Timestamp,
    ) -> Answer<()> {
        let (tenant, user) = (tenant.clone(), user.clone());
        let bytes = groups.len() * MEMBER_BYTES;
        self.write_with(bytes, move |writer| writer.set_groups(&tenant, &user, groups, version, now))
    }

    fn user(&self, tenant: &TenantId, user: &UserId) -> Answer<User> {
        let (tenant, user) = (tenant.clone(), user.clone());
        self.read_with(move |table| people::user(&table.sight(), &tenant, &user))
    }

    fn set_quiet_hours(&self, tenant: &TenantId, user: &UserId, hours: Option<QuietHours>) -> Answer<()> {
        let (tenant, user) = (tenant.clone(), user.clone());
        self.write_with(0, move |writer| writer.set_quiet_hours(&tenant, &user, hours))
    }

    fn set_topic(&self, tenant: &TenantId, topic: &TopicName, conflate: bool) -> Answer<()> {
        let (tenant, topic) = (tenant.clone(), topic.clone());
        self.write_with(0, move |writer| writer.set_topic(&tenant, &topic, conflate))
    }

    fn topic(&self, tenant: &TenantId, topic: &TopicName) -> Answer<Topic> {
        let (tenant, topic, roll) = (tenant.clone(), topic.clone(), Arc::clone(&self.roll));
        self.read_with(move |table| people::topic(&table.sight(), &roll, &tenant, topic))
    }

    fn audience(&self, tenant: &TenantId, of: Of, after: Option<DeviceNumber>, most: usize) -> Answer<Audience> {
        let (tenant, roll) = (tenant.clone(), Arc::clone(&self.roll));
        self.read_with(move |table| people::audience(table, &roll, &tenant, &of, after, most))
    }

    fn cancel(
        &self,
        tenant: &TenantId,
        message: MessageId,
        silently: bool,
        now: Timestamp,
    ) -> Answer<(MessageState, bool)> {
        let tenant = tenant.clone();
        self.write_with(0, move |writer| writer.cancel(&tenant, message, silently, now))
    }

    fn handed_off(
        &self,
        tenant: &TenantId,
        hand_off: HandOff,
        outcome: Result<String, String>,
        now: Timestamp,
    ) -> Answer<()> {
        let tenant = tenant.clone();
        let bytes = outcome.as_ref().map_or_else(String::len, String::len);
        self.write_with(bytes, move |writer| writer.handed_off(&tenant, hand_off, outcome, now))
    }

    fn note(&self, tenant: &TenantId, events: Vec<presence::Event>) -> Answer<()> {
        let tenant = tenant.clone();
        self.write_with(events.len() * 128, move |writer| {
            writer.note(&tenant, events);
            Ok(())
        })
    }

    fn journal(&self, tenant: &TenantId, journal: Journal, after: u64, most: usize) -> Answer<Events> {
        let tenant = tenant.clone();
        self.read_with(move |table| journal::page(&table.sight(), &tenant, journal, after, most))
    }

    fn tag(&self, tenant: &TenantId, tag: &Tag, from: Timestamp, upto: Timestamp) -> Answer<Vec<TagHour>> {
        let (tenant, tag) = (tenant.clone(), tag.clone());
        self.read_with(move |table| tag::hours(&table.sight(), &tenant, &tag, from, upto))
    }

    fn set_webhook(&self, tenant: &TenantId, kind: Kind, webhook: Option<Webhook>) -> Answer<()> {
        let tenant = tenant.clone();
        self.write_with(1_024, move |writer| writer.set_webhook(&tenant, kind, webhook.as_ref()))
    }

    fn webhooks(&self) -> Answer<Vec<(TenantId, Kind, Webhook, u64)>> {
        self.read_with(|table| webhook::all(&table.sight()))
    }

    fn delivered(&self, tenant: &TenantId, kind: Kind, position: u64) -> Answer<()> {
        let tenant = tenant.clone();
        self.write_with(0, move |writer| writer.delivered(&tenant, kind, position))
    }

    fn sweep(&self, now: Timestamp) -> Answer<Swept> {
        self.submit(|reply| Command::Sweep(now, reply))
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

fn closed() -> Error {
    Error::Failed("the store is closed".to_owned())
}
