//! From the backend's call to the device that has the push, over loopback with TLS, with a store on disk: a gateway, one
//! client of the library and one gRPC backend in this process, all on the same cores. The client acks what it gets.
//!
//! - `fsync/1`, `relaxed/1`: one push at a time. The difference between the two is the disk's sync.
//! - `fsync/100`, `relaxed/100`: a hundred calls at once, until the last of them has arrived; `thrpt` is pushes a second.
//!
//! These are times of one device on an idle machine; what many do to each other is for `pushline load unicast`.

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future::join_all;
use pushline::client::Client;
use pushline::wire::pb;
use support::{Backend, Gateway, next, to_user};
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

/// As the gateway has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// So many pushes at once, until all have arrived.
async fn round(backend: &Backend, client: &Mutex<Client>, durability: pb::Durability, count: u64) {
    let push = |_| {
        let mut backend = backend.clone();
        let request = pb::PushRequest { durability: durability.into(), ..to_user("user", vec![7; 256]) };
        async move { backend.push(request).await.expect("an accepted push") }
    };
    let arrive = async {
        let mut client = client.lock().await;
        for _ in 0..count {
            next(&mut client).await.ack();
        }
    };
    tokio::join!(join_all((0..count).map(push)), arrive);
}

fn push_to_delivery(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime starts");
    let mut gateway = runtime.block_on(Gateway::start());
    let backend = runtime.block_on(gateway.backend());
    for (name, durability) in [("fsync", pb::Durability::Fsync), ("relaxed", pb::Durability::Relaxed)] {
        let mut group = criterion.benchmark_group(format!("push_to_delivery/{name}"));
        for count in [1, 100] {
            let client = Mutex::new(runtime.block_on(gateway.client("user", "device")));
            group.throughput(Throughput::Elements(count));
            group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
                bencher.to_async(&runtime).iter(|| round(&backend, &client, durability, count));
            });
            runtime.block_on(client.into_inner().close()).expect("acks are through");
        }
        group.finish();
    }
    runtime.block_on(gateway.stop());
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(4));
    targets = push_to_delivery
}
criterion_main!(benches);
