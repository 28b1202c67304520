//! The embedded store as a whole: the contract, its folder, its bounds, and what becomes of all when it breaks.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::mpsc::{Receiver as Receiving, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use bytes::Bytes;
use tempfile::TempDir;

use super::command::{Breakage, Command};
use super::table::Table;
use super::{Bounds, Embedded, KEY_BYTES_MAX, key};
use crate::model::clock::Timestamp;
use crate::model::condition::Condition;
use crate::model::cursor::Cursor;
use crate::model::id::{DeviceId, GroupName, MessageId, Receiver, TenantId, TopicName, UserId};
use crate::model::log::{LogId, Offset};
use crate::model::message::{Durability, Urgency};
use crate::model::ranges::Ranges;
use crate::store::contract::{Place, contract};
use crate::store::open::{Options, open};
use crate::store::{
    Announced, Append, Commit, Dead, Error, Idempotency, Journal, Limits, Listener, MembersChange, Store, Wishes,
};

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
        wishes: Wishes::default(),
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
    rewrite(Some(&[3]));
    assert!(open().contains("format [3]; this version reads format 4 only"), "{}", open());
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

/// A listener that says when it is called, and returns when it is told to.
struct Slow(Mutex<(SyncSender<usize>, Receiving<()>)>);

impl Listener for Slow {
    fn noted(&self, _: &[(TenantId, Journal)]) {}

    fn appended(&self, batch: Vec<Announced>) {
        let (called, go_on) = &*self.0.lock().unwrap();
        called.send(batch.len()).unwrap();
        // An error says that the test is over.
        let _ = go_on.recv();
    }
}

#[tokio::test]
async fn a_batch_that_fails_is_not_announced() {
    let folder = tempfile::tempdir().unwrap();
    let store = embedded(folder.path());
    let ((called, calls), (go_on, going_on)) = (sync_channel(1), sync_channel(1));
    store.announce_to(Arc::new(Slow(Mutex::new((called, going_on)))));
    let first = store.append(push(1, Durability::Fsync));
    assert_eq!(calls.recv(), Ok(1));
    // The writer is held up, so these are one batch.
    let second = store.append(push(2, Durability::Fsync));
    store.queue.push(Command::Break(Breakage::Write), 0).unwrap();
    go_on.send(()).unwrap();
    assert!(first.await.is_ok());
    assert!(matches!(second.await, Err(Error::Failed(_))));
    drop(go_on);
    drop(store);
    assert_eq!(calls.recv().ok(), None, "nothing more was announced");
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
    let cursor = Cursor { settled: Ranges::upto(9), ..opened.follows.following[0].cursor.clone() };
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
        store.commit(Commit { receiver, cursors, dead, reports: Vec::new() }).await.unwrap();
    }
    let (group, bob) = (GroupName::new("staff").unwrap(), UserId::new("bob").unwrap());
    let both = vec![bob.clone(), receiver.user.clone()];
    let change = |add: &[UserId], remove: &[UserId]| {
        let (add, remove, arises) = (add.to_vec(), remove.to_vec(), vec![news.clone()]);
        store.change_members(&tenant, MembersChange { group: group.clone(), add, remove, arises }, Timestamp::ZERO)
    };
    change(&both, &[]).await.unwrap();
    store.describe(&receiver, [("platform".to_owned(), "ios".to_owned())].into()).await.unwrap();
    let wishes = Wishes { condition: Condition::parse("'news' in topics").ok(), ..Wishes::default() };
    let broadcast = LogId::Broadcast(tenant.clone());
    let append = Append { log: broadcast.clone(), wishes, ..push(10, Durability::Relaxed) };
    assert_eq!(store.append(append).await.unwrap().audience, Some(2));
    store.set_quiet_hours(&tenant, &bob, None).await.unwrap();
    change(&[], &both).await.unwrap();
    store.remove_group(&tenant, &group).await.unwrap();
    store.leave(&receiver, Timestamp::ZERO).await.unwrap();
    // A step may put something that is over as well; the next one finds it.
    let late = Timestamp::from_millis(u64::MAX / 2);
    while store.sweep(late).await.unwrap().more {}
    // That they were over is told for some time.
    let later = late + Limits::default().journal_ttl;
    while store.sweep(later).await.unwrap().more {}
    let rows = store.table.latest_range(&[0], &[255]);
    // Numbers are never given again, and places in the broadcast log stay ones of its only life.
    let kept = [
        key::FORMAT.to_vec(),
        key::log(&broadcast),
        key::numbers(&tenant),
        key::reach(&tenant, Journal::Presence),
        key::reach(&tenant, Journal::Receipts),
    ];
    assert_eq!(rows.map(|row| row.unwrap().0.to_vec()).collect::<Vec<_>>(), kept);
    assert_eq!(store.roll.size().0, 0);
}

/// Viewers of a share come and go by the thousand: nothing of one may lie there until it would have been absent.
#[tokio::test]
async fn nothing_is_left_of_a_device_that_was_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let store = embedded(folder.path());
    let LogId::Inbox(tenant, user) = log() else { unreachable!("an inbox") };
    let receiver = Receiver { tenant: tenant.clone(), user, device: DeviceId::new("viewer").unwrap() };
    let at = |count: u32| Timestamp::ZERO + Limits::default().device_absence_max / 10 * count;
    for seen in [0, 6, 12] {
        // Looked at by a sweep while it is open, and when it has left.
        store.open(&receiver, at(seen)).await.unwrap();
        store.subscribe(&receiver, vec![TopicName::new("news").unwrap()]).await.unwrap();
        while store.sweep(at(seen + 5)).await.unwrap().more {}
        store.leave(&receiver, at(seen + 5)).await.unwrap();
        while store.sweep(at(seen + 6)).await.unwrap().more {}
    }
    store.forget(&receiver, at(18)).await.unwrap();
    while store.sweep(at(18) + Limits::default().journal_ttl).await.unwrap().more {}
    let rows = store.table.latest_range(&[0], &[255]).map(|row| row.unwrap().0.to_vec());
    let kept = [
        key::FORMAT.to_vec(),
        key::log(&LogId::Broadcast(tenant.clone())),
        key::numbers(&tenant),
        key::reach(&tenant, Journal::Presence),
    ];
    assert_eq!(rows.collect::<Vec<_>>(), kept);
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
