//! What it costs to know whose call it is: a key that was made, the gateway's own, a wrong one, a client certificate; alone,
//! and beside other threads that ask at the same time.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use criterion::{Criterion, criterion_group, criterion_main};
use pushline::auth::Authority;
use pushline::metrics::Metrics;
use pushline::model::access::Scopes;
use pushline::model::audit::Actor;
use pushline::model::clock::Clock;
use pushline::model::id::TenantId;
use pushline::node::access::Credential;
use pushline::node::access::keys::NewKey;
use pushline::node::cores::Cores;
use pushline::node::{Node, Options};
use pushline::store;
use tempfile::TempDir;

/// Keys of the tenant.
const KEYS: usize = 100;

/// Threads that ask at the same time.
const THREADS: usize = 4;

const CERTIFICATE: [u8; 32] = [7; 32];

/// A node, and a key that it made.
fn node(folder: &TempDir) -> (Arc<Node>, String) {
    let authority = Authority::open(&folder.path().join("auth")).expect("keys");
    let options = store::open::Options { data: folder.path().join("store"), ..store::open::Options::default() };
    let (store, metrics) = (store::open::open(&options).expect("a store"), Arc::new(Metrics::new()));
    let cores = Cores::start(1, &metrics).expect("a thread");
    let node = Arc::new(Node::new(Options::default(), Clock::new(), authority, store, metrics, &cores));
    let tenant = TenantId::new("default").expect("a name");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let secret = runtime.block_on(async {
        node.load().await.expect("no records");
        let mut secret = String::new();
        for number in 0..KEYS {
            let certificate = (number == 0).then_some(CERTIFICATE);
            let new = NewKey { scopes: Scopes::ALL, ttl: None, note: String::new(), certificate };
            secret = node.create_key(&tenant, new, Actor::Admin).await.expect("a key").1;
        }
        secret
    });
    (node, secret)
}

fn api_keys(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let (node, made) = node(&folder);
    let own = std::fs::read_to_string(folder.path().join("auth/api-key")).expect("the gateway's own key");
    let own = own.trim_end().rsplit(':').next().expect("a key").to_owned();
    let wrong = format!("{}x", &made[..made.len() - 1]);
    let mut group = criterion.benchmark_group("api_keys");
    for (name, credential) in [
        ("made", Credential::Key(&made)),
        ("own", Credential::Key(&own)),
        ("wrong", Credential::Key(&wrong)),
        ("certificate", Credential::Certificate(&CERTIFICATE)),
    ] {
        group.bench_function(name, |bencher| bencher.iter(|| node.caller(black_box(credential)).is_ok()));
    }
    let stop = Arc::new(AtomicBool::new(false));
    let others: Vec<_> = (1..THREADS)
        .map(|_| {
            let (node, made, stop) = (Arc::clone(&node), made.clone(), Arc::clone(&stop));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let _ = black_box(node.caller(Credential::Key(&made)));
                }
            })
        })
        .collect();
    group.bench_function("made/beside 3 threads", |bencher| {
        bencher.iter(|| node.caller(black_box(Credential::Key(&made))).is_ok());
    });
    stop.store(true, Ordering::Relaxed);
    others.into_iter().for_each(|other| other.join().expect("no panic"));
    group.finish();
}

criterion_group!(benches, api_keys);
criterion_main!(benches);
