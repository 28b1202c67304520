//! What the embedded store takes and costs: pushes made durable by how many callers wait at once, cursors committed,
//! pages read, devices opened. It does not measure the network or delivery.
//!
//! In `store_append` and `store_commit` one iteration is one call of each caller, all begun together.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pushline::model::clock::Timestamp;
use pushline::model::cursor::Cursor;
use pushline::model::id::{DeviceId, MessageId, Receiver, TenantId, UserId};
use pushline::model::log::{LogId, Offset};
use pushline::model::message::{Durability, Urgency};
use pushline::model::ranges::Ranges;
use pushline::model::receipt::{Report, Reported};
use pushline::store::open::{Options, open};
use pushline::store::{Append, Commit, Limits, Store, Wishes};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// The allocator of the gateway.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bytes of a body: a short notification.
const BODY_BYTES: usize = 256;

/// Inboxes that the pushes go to, one after another.
const USERS: u64 = 20_000;

/// Devices that commit, read and open.
const DEVICES: u64 = 1_000;

/// Entries in each of their inboxes, and how many of them a page of their end holds.
const INBOX: u64 = 100;
const TAIL: usize = 10;

fn inbox(user: u64) -> LogId {
    let Receiver { tenant, user, .. } = receiver(user);
    LogId::Inbox(tenant, user)
}

fn receiver(user: u64) -> Receiver {
    Receiver {
        tenant: TenantId::new("bench").expect("a plain name"),
        user: UserId::new(&format!("user{user}")).expect("a plain name"),
        device: DeviceId::new("phone").expect("a plain name"),
    }
}

fn append(log: LogId, number: u64, durability: Durability) -> Append {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&number.to_be_bytes());
    Append {
        log,
        id: MessageId::new(number, random),
        now: Timestamp::from_millis(number),
        expires_at: Timestamp::from_millis(number + 86_400_000),
        urgency: Urgency::Normal,
        device: None,
        collapse_key: None,
        idempotency: None,
        durability,
        body: vec![7; BODY_BYTES].into(),
        wishes: Wishes::default(),
    }
}

/// A store in a folder of its own: one that already holds millions is slower, which is another question.
fn store() -> (TempDir, Arc<dyn Store>) {
    let folder = tempfile::tempdir().expect("a folder for the data");
    // No limit is to be met, however long the measurement runs.
    let limits = Limits { inbox_entries_max: u64::MAX, ..Limits::default() };
    let options = Options { data: folder.path().to_owned(), limits, ..Options::default() };
    let store = open(&options).expect("the store opens");
    (folder, store)
}

/// One append by each caller.
async fn round(store: &dyn Store, callers: u64, next: &AtomicU64, durability: Durability) {
    let first = next.fetch_add(callers, Ordering::Relaxed);
    let numbers = first..first + callers;
    let log = |number: u64| inbox(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % USERS);
    let answers: Vec<_> = numbers.map(|number| store.append(append(log(number), number, durability))).collect();
    for answer in answers {
        black_box(answer.await.expect("the store takes appends"));
    }
}

fn store_append(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime starts");
    for (name, durability) in [("fsync", Durability::Fsync), ("relaxed", Durability::Relaxed)] {
        let mut group = criterion.benchmark_group(format!("store_append/{name}"));
        for callers in [1, 64, 1_024] {
            let (_folder, store) = store();
            let next = AtomicU64::new(0);
            group.throughput(Throughput::Elements(callers));
            group.bench_function(BenchmarkId::from_parameter(callers), |bencher| {
                bencher.to_async(&runtime).iter(|| round(&*store, callers, &next, durability));
            });
        }
        group.finish();
    }
}

/// A store with devices that have opened, and entries in their inboxes.
fn filled(runtime: &Runtime) -> (TempDir, Arc<dyn Store>) {
    let (folder, store) = store();
    runtime.block_on(async {
        let opens: Vec<_> = (0..DEVICES).map(|user| store.open(&receiver(user), Timestamp::ZERO)).collect();
        for answer in opens {
            answer.await.expect("the store takes devices");
        }
        for round in 0..INBOX {
            let number = |user| round * DEVICES + user;
            let append = |user| store.append(append(inbox(user), number(user), Durability::Relaxed));
            let appends: Vec<_> = (0..DEVICES).map(append).collect();
            for answer in appends {
                answer.await.expect("the store takes appends");
            }
        }
    });
    (folder, store)
}

/// Each device settles one entry more than before.
async fn commits(store: &dyn Store, cursors: &[Cursor], settled: u64) {
    let commit = |(user, cursor): (u64, &Cursor)| {
        let cursor = Cursor { settled: Ranges::upto(settled), ..cursor.clone() };
        store.commit(Commit {
            receiver: receiver(user),
            cursors: vec![(inbox(user), cursor)],
            dead: Vec::new(),
            reports: Vec::new(),
        })
    };
    let answers: Vec<_> = (0..).zip(cursors).map(commit).collect();
    for answer in answers {
        answer.await.expect("the store takes commits");
    }
}

/// Each device is pushed one message more, is sent it and acks it, as its session reports with one commit.
async fn pushes_and_acks(store: &dyn Store, number: u64, receipts: bool) {
    let message = |user| {
        let wishes = Wishes { without_receipts: !receipts, ..Wishes::default() };
        Append { wishes, ..append(inbox(user), number * DEVICES + user, Durability::Relaxed) }
    };
    let messages: Vec<_> = (0..DEVICES).map(message).collect();
    let ids: Vec<_> = messages.iter().map(|message| (message.id, message.now)).collect();
    let answers: Vec<_> = messages.into_iter().map(|message| store.append(message)).collect();
    let mut commits = Vec::with_capacity(ids.len());
    for ((user, (message, at)), answer) in (0..).zip(ids).zip(answers) {
        let appended = answer.await.expect("the store takes appends");
        let cursor = Cursor { settled: Ranges::upto(appended.offset.0), ..Cursor::after(appended.epoch, Offset::ZERO) };
        let report = |what| Report { message, at, what };
        let reports = vec![report(Reported::Sent(1)), report(Reported::Acked)];
        let reports = if receipts { reports } else { Vec::new() };
        let cursors = vec![(inbox(user), cursor)];
        commits.push(store.commit(Commit { receiver: receiver(user), cursors, dead: Vec::new(), reports }));
    }
    for answer in commits {
        answer.await.expect("the store takes commits");
    }
}

/// All devices come at once, and leave again.
async fn opens(store: &dyn Store) {
    let opens: Vec<_> = (0..DEVICES).map(|user| store.open(&receiver(user), Timestamp::ZERO)).collect();
    for answer in opens {
        black_box(answer.await.expect("the store takes devices"));
    }
    for user in 0..DEVICES {
        drop(store.leave(&receiver(user), Timestamp::ZERO));
    }
}

fn store_sessions(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime starts");
    let (_folder, store) = filled(&runtime);
    let mut group = criterion.benchmark_group("store_sessions");
    group.throughput(Throughput::Elements(DEVICES));
    let cursors: Vec<Cursor> = runtime.block_on(async {
        let heads = store.heads((0..DEVICES).map(inbox).collect()).await.expect("the store reads");
        heads.into_iter().map(|head| Cursor::after(head.epoch, Offset::ZERO)).collect()
    });
    let settled = AtomicU64::new(0);
    group.bench_function("commit/1000", |bencher| {
        let next = || settled.fetch_add(1, Ordering::Relaxed) + 1;
        bencher.to_async(&runtime).iter(|| commits(&*store, &cursors, next()));
    });
    let pushed = AtomicU64::new(1 << 20);
    for (name, receipts) in [("push_and_ack/1000", false), ("push_and_ack_with_receipts/1000", true)] {
        group.bench_function(name, |bencher| {
            let next = || pushed.fetch_add(1, Ordering::Relaxed);
            bencher.to_async(&runtime).iter(|| pushes_and_acks(&*store, next(), receipts));
        });
    }
    group.bench_function("open_and_leave/1000", |bencher| {
        bencher.to_async(&runtime).iter(|| opens(&*store));
    });
    group.throughput(Throughput::Elements(1));
    let next = AtomicU64::new(0);
    group.bench_function("read/tail_of_10", |bencher| {
        bencher.to_async(&runtime).iter(|| async {
            let log = inbox(next.fetch_add(1, Ordering::Relaxed) % DEVICES);
            let after = Offset(INBOX - TAIL as u64);
            let page = store.read(&log, after, TAIL, usize::MAX, Timestamp::ZERO).await.expect("the store reads");
            assert_eq!(black_box(page).entries.len(), TAIL);
        });
    });
    group.finish();
}

/// Short: the machine drifts more between minutes than within one.
fn config() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(4))
        .sample_size(30)
}

criterion_group!(name = benches; config = config(); targets = store_append, store_sessions);
criterion_main!(benches);
