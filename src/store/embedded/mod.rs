//! The store of one node: logs and cursors in a data folder. Calls become commands for one writing thread, and reads go
//! straight to the table. It does not decide what a command means: the files below do.

mod append;
mod command;
mod devices;
mod key;
mod queue;
mod read;
mod record;
mod retention;
mod staged;
mod sweep;
mod table;
mod writer;

use std::future;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

use self::command::{Command, Reply};
use self::queue::Queue;
use self::table::Table;
use self::writer::{Counters, Writer};
use crate::model::clock::Timestamp;
use crate::model::id::{MessageId, Receiver, TenantId, TopicName};
use crate::model::log::{Head, LogId, Offset};
use crate::store::{
    Answer, Append, Appended, Commit, Error, Following, Health, Limits, MessageRecord, Opened, Page, Store, Swept,
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
    /// From the writer.
    counters: Arc<Counters>,
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
        let writer = Writer::new(table.clone(), limits.clone(), Arc::clone(&counters));
        let thread = thread::Builder::new().name("store".to_owned()).spawn({
            let queue = Arc::clone(&queue);
            move || writer.run(&queue)
        });
        let thread = thread.map_err(|error| Error::Failed(format!("the writing thread cannot start: {error}")))?;
        Ok(Self { table, queue, counters, limits, writer: Mutex::new(Some(thread)) })
    }

    /// Queues a command now, which fixes its place, and waits for the answer later.
    fn write<T: Send + 'static>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Answer<T> {
        let (reply, answer) = oneshot::channel();
        let command = command(reply);
        let bytes = command.bytes();
        if let Err(error) = self.queue.push(command, bytes) {
            return Box::pin(future::ready(Err(error)));
        }
        self.answered(answer)
    }

    fn answered<T: Send + 'static>(&self, answer: oneshot::Receiver<Result<T, Error>>) -> Answer<T> {
        let queue = Arc::clone(&self.queue);
        Box::pin(async move {
            // A writer that breaks lets go of the answers a moment before it shuts the queue.
            answer.await.unwrap_or_else(|_| Err(queue.why_shut().unwrap_or_else(writer::fault)))
        })
    }

    /// Reads where the caller is polled, without a thread of its own: a page is a few records that were written lately
    /// or lie in the cache of the system, which takes microseconds; handing it over would take longer than reading it.
    /// What is read is bounded by the caller's numbers and by `read::page`.
    fn read_with<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Table) -> Result<T, Error> + Send + 'static,
    ) -> Answer<T> {
        let table = self.table.clone();
        Box::pin(async move { read(&table) })
    }
}

impl Store for Embedded {
    fn append(&self, append: Append) -> Answer<Appended> {
        let keys = [append.collapse_key.as_ref(), append.idempotency.as_ref().map(|idempotency| &idempotency.key)];
        if keys.into_iter().flatten().any(|key| key.len() > KEY_BYTES_MAX) {
            let error = Error::Failed(format!("a collapse or idempotency key is longer than {KEY_BYTES_MAX} bytes"));
            return Box::pin(future::ready(Err(error)));
        }
        self.write(|reply| Command::Append(append, reply))
    }

    fn read(&self, log: &LogId, after: Offset, entries: usize, bytes: usize, now: Timestamp) -> Answer<Page> {
        let log = log.clone();
        self.read_with(move |table| read::page(&table.sight(), &log, after, entries, bytes, now))
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
            Ok(()) => self.answered(answer),
            Err(error) => Box::pin(future::ready(Err(error))),
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
        self.read_with(move |table| read::outcome(&table.sight(), &tenant, id, now, forget_at))
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
            Ok(true) => self.answered(answer),
            Ok(false) => Box::pin(future::ready(Ok(()))),
            Err(error) => Box::pin(future::ready(Err(error))),
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

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::{self, Read};
    use std::path::Path;
    use std::sync::Arc;
    use std::task::Poll;

    use bytes::Bytes;
    use tempfile::TempDir;

    use super::command::{Breakage, Command};
    use super::table::Table;
    use super::{Bounds, Embedded, KEY_BYTES_MAX, key};
    use crate::model::clock::Timestamp;
    use crate::model::cursor::Cursor;
    use crate::model::id::{DeviceId, MessageId, Receiver, TenantId, TopicName, UserId};
    use crate::model::log::{LogId, Offset};
    use crate::model::message::{Durability, Urgency};
    use crate::model::ranges::Ranges;
    use crate::store::contract::{Place, contract};
    use crate::store::open::{Options, open};
    use crate::store::{Append, Commit, Dead, Error, Idempotency, Limits, Store};

    impl Place for TempDir {
        fn open(&self, limits: Limits) -> Arc<dyn Store> {
            open(&Options { data: self.path().to_owned(), limits, ..Options::default() }).unwrap()
        }
    }

    contract!(tempfile::tempdir().unwrap());

    const BOUNDS: Bounds =
        Bounds { queue_max: 64, queue_bytes_max: 1 << 20, cache_bytes: 1 << 20, memtable_bytes: 1 << 20 };

    fn log() -> LogId {
        LogId::Inbox(TenantId::new("acme").unwrap(), UserId::new("ann").unwrap())
    }

    fn push(number: u8, durability: Durability) -> Append {
        Append {
            log: log(),
            id: MessageId::from_bytes([number; 16]),
            now: Timestamp::ZERO,
            expires_at: Timestamp::from_millis(1),
            urgency: Urgency::Normal,
            device: None,
            collapse_key: None,
            idempotency: None,
            durability,
            body: Bytes::from(vec![number; 200]),
        }
    }

    fn embedded(folder: &Path) -> Embedded {
        Embedded::open(folder, Limits::default(), BOUNDS).unwrap()
    }

    async fn numbers(store: &dyn Store) -> Vec<u8> {
        let page = store.read(&log(), Offset::ZERO, usize::MAX, usize::MAX, Timestamp::ZERO).await.unwrap();
        page.entries.iter().map(|entry| entry.body[0]).collect()
    }

    fn words(outcome: Result<Embedded, Error>) -> String {
        outcome.err().map(|error| error.to_string()).unwrap_or_default()
    }

    /// Copies a folder, with only so much of each journal: they are long and mostly empty.
    fn copy(from: &Path, to: &Path, journal_bytes: u64) {
        fs::create_dir_all(to).unwrap();
        for file in fs::read_dir(from).unwrap().map(Result::unwrap) {
            let to = to.join(file.file_name());
            if file.file_type().unwrap().is_dir() {
                copy(&file.path(), &to, journal_bytes);
            } else {
                let journal = file.path().extension().is_some_and(|end| end == "jnl");
                let bytes = if journal { journal_bytes } else { u64::MAX };
                let mut from = File::open(file.path()).unwrap().take(bytes);
                io::copy(&mut from, &mut File::create(to).unwrap()).unwrap();
            }
        }
    }

    /// Where the last byte of the only journal stands that is not zero.
    fn journal_end(folder: &Path) -> u64 {
        let mut bytes = Vec::new();
        File::open(folder.join("0.jnl")).unwrap().take(1 << 20).read_to_end(&mut bytes).unwrap();
        bytes.iter().rposition(|&byte| byte != 0).unwrap() as u64 + 1
    }

    #[tokio::test]
    async fn what_was_answered_is_with_the_operating_system() {
        let (folder, image) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = embedded(folder.path());
        for number in 1..=20 {
            let durability = if number % 2 == 0 { Durability::Fsync } else { Durability::Relaxed };
            store.append(push(number, durability)).await.unwrap();
            if number % 10 == 1 {
                // What the files say while the store still runs is what is left if the process is killed here.
                let image = image.path().join(number.to_string());
                copy(folder.path(), &image, u64::MAX);
                assert_eq!(numbers(&embedded(&image)).await, (1..=number).collect::<Vec<_>>());
            }
        }
    }

    #[tokio::test]
    async fn a_torn_end_of_the_journal_costs_only_what_was_torn() {
        let (folder, image) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = embedded(folder.path());
        for number in 1..=5 {
            store.append(push(number, Durability::Fsync)).await.unwrap();
        }
        let before = journal_end(folder.path());
        store.append(push(6, Durability::Fsync)).await.unwrap();
        let after = journal_end(folder.path());
        for (round, length) in (before + 1..after).step_by(37).enumerate() {
            let image = image.path().join(round.to_string());
            copy(folder.path(), &image, length);
            for expected in [vec![1, 2, 3, 4, 5], vec![1, 2, 3, 4, 5, 7]] {
                let store = embedded(&image);
                assert_eq!(numbers(&store).await, expected, "cut at {length} of {before} to {after}");
                if expected.len() == 5 {
                    assert_eq!(store.append(push(7, Durability::Fsync)).await.unwrap().offset, Offset(6));
                }
            }
        }
    }

    #[tokio::test]
    async fn a_folder_is_for_one_store_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let store = embedded(folder.path());
        let words = words(Embedded::open(folder.path(), Limits::default(), BOUNDS));
        assert!(words.contains("in use by another gateway"), "{words}");
        drop(store);
        embedded(folder.path());
    }

    #[tokio::test]
    async fn a_folder_of_another_format_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let open = || words(Embedded::open(folder.path(), Limits::default(), BOUNDS));
        drop(embedded(folder.path()));
        let rewrite = |value: Option<&[u8]>| {
            let table = Table::open(folder.path(), 1 << 20, 1 << 20).unwrap();
            let change = |key: &[u8], value: Option<&[u8]>| (key.to_vec(), value.map(Into::into));
            let changes = [change(key::FORMAT, value), change(b"other", Some(b""))];
            table.write(changes.into_iter(), true).unwrap();
        };
        rewrite(None);
        assert!(open().contains("is not a store"), "{}", open());
        fs::remove_dir_all(folder.path()).unwrap();
        drop(embedded(folder.path()));
        rewrite(Some(&[9]));
        assert!(open().contains("format [9]"), "{}", open());
        fs::write(folder.path().join("version"), [b'F', b'J', b'L', 200]).unwrap();
        assert!(open().contains("cannot be opened") || open().contains("another version"), "{}", open());
    }

    #[tokio::test]
    async fn what_does_not_fit_into_the_queue_is_refused_and_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let store = Embedded::open(folder.path(), Limits::default(), Bounds { queue_max: 2, ..BOUNDS }).unwrap();
        let mut answers = Vec::new();
        // The writer syncs for longer than it takes to fill the queue again; how often it is full does not matter.
        let refused = loop {
            let number = answers.len() as u64;
            assert!(number < 9_000, "the queue was never full");
            let mut id = [0; 16];
            id[..8].copy_from_slice(&number.to_be_bytes());
            let append = Append { id: MessageId::from_bytes(id), ..push(1, Durability::Fsync) };
            let mut answer = store.append(append);
            match futures_util::poll!(&mut answer) {
                Poll::Ready(Err(error)) => break error,
                _ => answers.push(answer),
            }
        };
        assert_eq!(refused, Error::Busy);
        let count = answers.len();
        drop(answers);
        drop(store);
        assert_eq!(numbers(&embedded(folder.path())).await.len(), count);
    }

    async fn check_that_a_broken_store_says_so(breakage: Breakage) {
        let folder = tempfile::tempdir().unwrap();
        let store = embedded(folder.path());
        store.append(push(1, Durability::Fsync)).await.unwrap();
        store.queue.push(Command::Break(breakage), 0).unwrap();
        let caught = store.append(push(2, Durability::Fsync)).await;
        assert!(matches!(caught, Err(Error::Failed(_))), "{caught:?}");
        let late = store.append(push(3, Durability::Fsync)).await;
        assert_eq!(late, caught, "it takes no more writes");
        assert_eq!(store.close().await.map(|()| None), caught.map(Some));
        assert_eq!(numbers(&store).await, [1], "reads go on");
        drop(store);
        let store = embedded(folder.path());
        assert_eq!(numbers(&store).await, [1], "a restart has what was answered");
        store.append(push(4, Durability::Fsync)).await.unwrap();
    }

    #[tokio::test]
    async fn a_device_can_leave_however_much_waits() {
        let folder = tempfile::tempdir().unwrap();
        let bounds = Bounds { queue_max: 1, ..BOUNDS };
        let store = Embedded::open(folder.path(), Limits::default(), bounds).unwrap();
        let LogId::Inbox(tenant, user) = log() else { unreachable!("an inbox") };
        let receiver = Receiver { tenant, user, device: DeviceId::new("phone").unwrap() };
        let mut busy = 0;
        for _ in 0..100 {
            while store.open(&receiver, Timestamp::ZERO).await.is_err() {}
            let pushes: Vec<_> = (0..9).map(|number| store.append(push(number, Durability::Fsync))).collect();
            assert_eq!(store.leave(&receiver, Timestamp::ZERO).await, Ok(()));
            for push in pushes {
                busy += usize::from(push.await == Err(Error::Busy));
            }
        }
        assert!(busy > 0, "the queue was full");
        let late = Timestamp::from_millis(u64::MAX / 2);
        while store.sweep(late).await.unwrap().more {}
        assert!(store.open(&receiver, late).await.unwrap().new, "it had left each time, and was forgotten");
    }

    #[tokio::test]
    async fn a_failed_write_answers_everybody() {
        check_that_a_broken_store_says_so(Breakage::Write).await;
    }

    #[tokio::test]
    async fn a_panic_of_the_writer_answers_everybody() {
        check_that_a_broken_store_says_so(Breakage::Panic).await;
    }

    #[tokio::test]
    async fn nothing_is_left_when_all_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits { inbox_entries_max: 3, topic_entries_max: 2, ..Limits::default() };
        let store = Embedded::open(folder.path(), limits, BOUNDS).unwrap();
        let LogId::Inbox(tenant, user) = log() else { unreachable!("an inbox") };
        let receiver = Receiver { tenant: tenant.clone(), user, device: DeviceId::new("phone").unwrap() };
        let news = TopicName::new("news").unwrap();
        let opened = store.open(&receiver, Timestamp::ZERO).await.unwrap();
        store.subscribe(&receiver, vec![news.clone()]).await.unwrap();
        let cursor = Cursor { settled: Ranges::upto(9), ..opened.following[0].cursor.clone() };
        let dead = |offset| Dead { log: log(), offset, attempts: 1, reason: String::new(), at: Timestamp::ZERO };
        let (cursors, dead) = (vec![(log(), cursor)], vec![dead(Offset(1)), dead(Offset(2))]);
        for number in 1..=9 {
            let append = Append {
                log: if number < 6 { log() } else { LogId::Topic(tenant.clone(), news.clone()) },
                collapse_key: (number > 1).then(|| (number % 3).to_string()),
                idempotency: Some(Idempotency { key: number.to_string(), fingerprint: 0 }),
                ..push(number, Durability::Relaxed)
            };
            store.append(append).await.unwrap();
            let (receiver, cursors, dead) = (receiver.clone(), cursors.clone(), dead.clone());
            store.commit(Commit { receiver, cursors, dead }).await.unwrap();
        }
        store.leave(&receiver, Timestamp::ZERO).await.unwrap();
        // A step may put something that is over as well; the next one finds it.
        let late = Timestamp::from_millis(u64::MAX / 2);
        while store.sweep(late).await.unwrap().more {}
        let rows = store.table.latest_range(&[0], &[255]);
        assert_eq!(rows.map(|row| row.unwrap().0.to_vec()).collect::<Vec<_>>(), [key::FORMAT.to_vec()]);
    }

    #[tokio::test]
    async fn a_damaged_record_is_named() {
        let folder = tempfile::tempdir().unwrap();
        drop(embedded(folder.path()));
        let table = Table::open(folder.path(), 1 << 20, 1 << 20).unwrap();
        let change = (key::log(&log()), Some([255].into()));
        table.write(std::iter::once(change), true).unwrap();
        drop(table);
        let store = embedded(folder.path());
        let expected = Error::Failed("a log record is damaged".to_owned());
        assert_eq!(store.heads(vec![log()]).await, Err(expected.clone()));
        assert_eq!(store.append(push(1, Durability::Fsync)).await, Err(expected));
    }

    #[tokio::test]
    async fn keys_that_are_too_long_are_refused_and_the_longest_works() {
        let folder = tempfile::tempdir().unwrap();
        let store = embedded(folder.path());
        let with = |length| Append { collapse_key: Some("k".repeat(length)), ..push(1, Durability::Relaxed) };
        assert!(store.append(with(KEY_BYTES_MAX + 1)).await.is_err());
        assert_eq!(store.append(with(KEY_BYTES_MAX)).await.unwrap().offset, Offset(1));
    }
}
