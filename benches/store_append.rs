//! How many pushes a second the embedded store makes durable, by how many callers wait at once. One iteration is one
//! append by each caller, all begun together; each waits for its sync. It does not measure the network or delivery.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pushline::model::clock::Timestamp;
use pushline::model::id::{MessageId, TenantId, UserId};
use pushline::model::log::LogId;
use pushline::model::message::{Durability, Urgency};
use pushline::store::open::{Options, open};
use pushline::store::{Append, Limits, Store};
use tokio::runtime::Runtime;

/// Bytes of a body: a short notification.
const BODY_BYTES: usize = 256;

/// Inboxes that the pushes go to, one after another.
const USERS: u64 = 20_000;

fn append(number: u64, durability: Durability) -> Append {
    let user = UserId::new(&format!("user{}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % USERS));
    let tenant = TenantId::new("bench");
    let mut id = [0; 16];
    id[8..].copy_from_slice(&number.to_be_bytes());
    Append {
        log: LogId::Inbox(tenant.expect("a plain name"), user.expect("a plain name")),
        id: MessageId::from_bytes(id),
        now: Timestamp::from_millis(number),
        expires_at: Timestamp::from_millis(number + 86_400_000),
        urgency: Urgency::Normal,
        device: None,
        collapse_key: None,
        idempotency: None,
        durability,
        body: vec![7; BODY_BYTES].into(),
    }
}

/// One append by each caller.
async fn round(store: &dyn Store, callers: u64, next: &AtomicU64, durability: Durability) {
    let first = next.fetch_add(callers, Ordering::Relaxed);
    let answers: Vec<_> = (first..first + callers).map(|number| store.append(append(number, durability))).collect();
    for answer in answers {
        black_box(answer.await.expect("the store takes appends"));
    }
}

fn store_append(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime starts");
    for (name, durability) in [("fsync", Durability::Fsync), ("relaxed", Durability::Relaxed)] {
        let mut group = criterion.benchmark_group(format!("store_append/{name}"));
        for callers in [1, 64, 1_024] {
            // A folder for each: a store that already holds millions is slower, which is another question.
            let folder = tempfile::tempdir().expect("a folder for the data");
            // No limit is to be met, however long the measurement runs.
            let limits = Limits { inbox_entries_max: u64::MAX, ..Limits::default() };
            let options = Options { data: folder.path().to_owned(), limits, ..Options::default() };
            let store: Arc<dyn Store> = open(&options).expect("the store opens");
            let next = AtomicU64::new(0);
            group.throughput(Throughput::Elements(callers));
            group.bench_function(BenchmarkId::from_parameter(callers), |bencher| {
                bencher.to_async(&runtime).iter(|| round(&*store, callers, &next, durability));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, store_append);
criterion_main!(benches);
