//! One push to a topic with 1, 100 and 10,000 followers, from the call of the node to the moment when the last link has
//! it: store, bus, hub, cores, mailbox, task and session as in the gateway, links in memory instead of sockets. What
//! TLS and HTTP/2 cost on top is in `pushline load fanout`.
//!
//! `time` is that of one push, `thrpt` the deliveries a second; divide the number of cores by it for the work of one.
//! Links ack 64 pushes at once, as a client under load does; those commits are part of the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pushline::auth::Authority;
use pushline::metrics::Metrics;
use pushline::model::clock::Clock;
use pushline::model::fault::Fault;
use pushline::model::frame::{Ack, Answer, Frame, Open, Request, Ticket};
use pushline::model::id::{DeviceId, Receiver, TenantId, TopicName, UserId};
use pushline::model::message::{Durability, Target, Urgency};
use pushline::node::cores::{Cores, Place};
use pushline::node::link::{Event, Link};
use pushline::node::push::{Draft, Wishes};
use pushline::node::{Node, Options, connection};
use pushline::store;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::Notify;

/// As the gateway has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Pushes that a link acks at once. Below the window, so that no push waits for an ack.
const ACKED_TOGETHER: u64 = 64;

const WINDOW: u32 = 256;

const NAME: &str = "a plain name";

/// What all links have in common.
struct Arrivals {
    followers: u64,
    /// Links that follow the topic, then pushes that arrived, over all links.
    count: AtomicU64,
    /// Told each time all have one more.
    all: Notify,
}

impl Arrivals {
    fn arrived(&self) {
        if (self.count.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(self.followers) {
            self.all.notify_one();
        }
    }
}

/// A device in memory: follows the topic, counts, acks.
struct MemoryLink {
    arrivals: Arc<Arrivals>,
    /// What it asks for next.
    request: Option<Request>,
    /// Newest seq that it got, and that it acked.
    got: u64,
    acked: u64,
    /// Bytes that it was given.
    bytes: u64,
    /// Those among them that wait for the link's turn.
    unsent: usize,
}

impl Link for MemoryLink {
    fn poll_event(&mut self, _: &mut Context<'_>) -> Poll<Event> {
        self.unsent = 0;
        if let Some(request) = self.request.take() {
            return Poll::Ready(Event::Request(Ticket(1), request));
        }
        if self.got >= self.acked + ACKED_TOGETHER {
            let acked = vec![(self.acked + 1, self.got)];
            self.acked = self.got;
            return Poll::Ready(Event::Request(Ticket(1), Request::Ack(Ack { acked, ..Ack::default() })));
        }
        Poll::Pending
    }

    fn received_bytes(&self) -> u64 {
        0
    }

    fn sent_bytes(&self) -> u64 {
        self.bytes
    }

    fn unsent_bytes(&self) -> usize {
        self.unsent
    }

    fn send(&mut self, frame: &Frame) {
        if let Frame::Push { seq, entry, .. } = frame {
            self.got = *seq;
            self.bytes += entry.body.len() as u64;
            self.unsent += entry.body.len();
            self.arrivals.arrived();
        }
    }

    fn answer(&mut self, _: Ticket, answer: Result<Answer, Fault>) {
        if let Answer::Subscribed { .. } = answer.expect("the node takes what the bench asks") {
            self.arrivals.arrived();
        }
    }

    fn ping(&mut self) {}

    fn finish(&mut self) {}
}

/// A node whose topic has so many followers.
struct Crowd {
    node: Arc<Node>,
    tenant: TenantId,
    topic: TopicName,
    arrivals: Arc<Arrivals>,
    body: Bytes,
    tasks: tokio::task::JoinSet<()>,
    cores: Cores,
    _folder: TempDir,
}

impl Crowd {
    async fn gather(followers: u64) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the data");
        let clock = Clock::new();
        let authority = Authority::open(&folder.path().join("auth")).expect("keys");
        let options = store::open::Options { data: folder.path().join("store"), ..store::open::Options::default() };
        let store = store::open::open(&options).expect("the store opens");
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let metrics = Arc::new(Metrics::new());
        let cores = Cores::start(threads, &metrics).expect("the cores start");
        let node = Arc::new(Node::new(Options::default(), clock, authority, store, metrics, &cores));
        let authority = Authority::open(&folder.path().join("auth")).expect("keys");
        let (tenant, topic) = (TenantId::new("bench").expect(NAME), TopicName::new("news").expect(NAME));
        let arrivals = Arc::new(Arrivals { followers, count: AtomicU64::new(0), all: Notify::new() });
        let mut tasks = tokio::task::JoinSet::new();
        let now = clock.now().wall;
        for number in 0..followers {
            let receiver = Receiver {
                tenant: tenant.clone(),
                user: UserId::new(&format!("user{number}")).expect(NAME),
                device: DeviceId::new("device").expect(NAME),
            };
            let open = Open {
                token: authority.issue(&receiver, now + Duration::from_secs(36_000), now),
                device: None,
                heartbeat: Duration::from_secs(600),
                window: WINDOW,
                urgency_floor: Urgency::VeryLow,
                agent: String::new(),
                attributes: std::collections::BTreeMap::new(),
            };
            let link = MemoryLink {
                arrivals: Arc::clone(&arrivals),
                request: Some(Request::Subscribe(vec![topic.clone()])),
                got: 0,
                acked: 0,
                bytes: 0,
                unsent: 0,
            };
            let (node, guest) = (Arc::clone(&node), Place::choose(cores.places()));
            let runtime = guest.place().runtime().clone();
            let living = async move {
                let admitted = node.open(&open, guest.place()).await.expect("the token is good");
                connection::serve(node, link, admitted).await;
            };
            tasks.spawn_on(living, &runtime);
        }
        arrivals.all.notified().await;
        Self { node, tenant, topic, arrivals, body: vec![7; 256].into(), tasks, cores, _folder: folder }
    }

    /// One push, until the last has it.
    async fn push(&self) {
        let draft = Draft {
            target: Target::Topic(self.topic.clone()),
            ttl: None,
            urgency: Urgency::Normal,
            collapse_key: None,
            durability: Durability::Relaxed,
            idempotency_key: None,
            fingerprint: 0,
            body: self.body.clone(),
            wishes: Wishes::default(),
        };
        let (pushed, ()) = tokio::join!(self.node.push(&self.tenant, draft), self.arrivals.all.notified());
        pushed.expect("the node takes pushes");
    }

    async fn leave(mut self) {
        self.tasks.shutdown().await;
        self.cores.stop().await;
        self.node.close().await.expect("a clean end");
    }
}

fn topic_fanout(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime starts");
    let mut group = criterion.benchmark_group("topic_fanout");
    for followers in [1, 100, 10_000] {
        let crowd = runtime.block_on(Crowd::gather(followers));
        group.throughput(Throughput::Elements(followers));
        group.sample_size(if followers > 1_000 { 20 } else { 100 });
        group.bench_function(BenchmarkId::from_parameter(followers), |bencher| {
            bencher.to_async(&runtime).iter(|| crowd.push());
        });
        runtime.block_on(crowd.leave());
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(4));
    targets = topic_fanout
}
criterion_main!(benches);
