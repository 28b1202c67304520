//! What an idle connection costs the gateway in memory, and that a burst leaves nothing behind: the difference between
//! two crowds of one gateway, so that what the process has by itself does not count. `.ci/run idle` runs it: in a build
//! without optimisation a connection is twice as large.

mod support;

use std::time::Duration;

use pushline::wire::device::Method;
use pushline::wire::pb;
use support::device::{Device, Pushes, open};
use support::{Backend, PATIENCE, Process, backend, soon, to_topic};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;

/// Crowds whose difference is measured. The smaller one takes what is taken once: threads, tables, pools.
const SMALL: u32 = 500;
const LARGE: u32 = 1_500;

/// Pushes of the burst: the number that left 141 KB a connection behind in HTTP/2's queues, which never shrink.
const BURST: u32 = 300;

/// Bytes of resident memory for an idle connection with one subscription, the store's rows for a new device included. The
/// aim is 30 KB (30,720 bytes); measured are 28.5 to 31 KB, the margin is for other allocators' moods.
const IDLE_BYTES_MAX: u64 = 36 * 1024;

/// The same some seconds after a burst, when what was lent to it has gone back. Measured are 40.0 to 42.7 KB; before there
/// were receipts it was 33.8 to 34.9. Not all of what came on top is accounted for yet.
const AFTER_BURST_BYTES_MAX: u64 = 46 * 1024;

/// Devices that were connected and wait for pushes.
struct Crowd<'g> {
    gateway: &'g Process,
    devices: Vec<(Device, Pushes)>,
}

impl Crowd<'_> {
    /// Connects more, until there are so many, each subscribed to the topic.
    async fn grow(&mut self, count: u32) {
        let mut joining = JoinSet::new();
        for number in self.devices.len() as u32..count {
            // A few at a time: handshakes that wait for each other would run into their limits on a slow machine.
            if joining.len() >= 16 {
                self.devices.push(joining.join_next().await.expect("they were spawned").expect("no panic"));
            }
            let (address, ca) = (self.gateway.devices, self.gateway.ca.clone());
            let token = self.gateway.token(&format!("user{number}"), "phone");
            joining.spawn(async move {
                let mut device = Device::connect(address, &ca).await;
                let (_, pushes) = open(&mut device, token).await;
                let subscribe = pb::SubscribeRequest { topics: vec!["news".into()] };
                assert_eq!(device.call(Method::Subscribe, &subscribe).await.2["grpc-status"], "0");
                (device, pushes)
            });
        }
        self.devices.extend(joining.join_all().await);
    }

    /// Everybody gets the same pushes at once and acks them.
    async fn burst(&mut self, backend: &mut Backend) {
        let request = |n: u32| {
            let push = pb::PushRequest { durability: pb::Durability::Relaxed.into(), ..to_topic("news", vec![7; 256]) };
            pb::PushStreamRequest { reference: n.into(), push: Some(push) }
        };
        let answers = backend.push_stream(tokio_stream::iter((0..BURST).map(request))).await.expect("a stream");
        let mut answers = answers.into_inner();
        let mut taking = JoinSet::new();
        for (mut device, mut pushes) in self.devices.drain(..) {
            taking.spawn(async move {
                let first = pushes.push().await.seq;
                let (mut acked, mut newest, last) = (first - 1, first, first - 1 + u64::from(BURST));
                while newest < last {
                    newest = pushes.push().await.seq;
                    // Half a window, so that the burst does not wait for each ack.
                    if newest >= acked + 32 || newest == last {
                        let range = pb::SeqRange { from: acked + 1, upto: newest };
                        let ack = pb::AckRequest { acked: vec![range], ..Default::default() };
                        assert_eq!(device.call(Method::Ack, &ack).await.2["grpc-status"], "0");
                        acked = newest;
                    }
                }
                (device, pushes)
            });
        }
        while let Some(answer) = soon("an answer", answers.next()).await {
            let outcome = answer.expect("an answer").outcome;
            assert!(matches!(outcome, Some(pb::push_stream_response::Outcome::Accepted(_))), "{outcome:?}");
        }
        self.devices.extend(taking.join_all().await);
    }
}

/// What the gateway holds once it has come to rest: its memory has not fallen for three seconds, in which every pool and the
/// allocator have had their time to give back, or nobody waits any longer.
async fn at_rest(gateway: &Process) -> u64 {
    let mut least = gateway.resident_bytes();
    let settled = async {
        let mut looks = tokio::time::interval(Duration::from_millis(250));
        let mut unchanged = 0;
        while unchanged < 12 {
            looks.tick().await;
            let now = gateway.resident_bytes();
            unchanged = if now + (64 << 10) < least { 0 } else { unchanged + 1 };
            least = least.min(now);
        }
    };
    // Late is not wrong here: the figure decides.
    let _ = tokio::time::timeout(PATIENCE, settled).await;
    least
}

/// P1.15: pools give back what a burst took. P1.16: a connection costs little.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures an optimised build: .ci/run idle"]
async fn an_idle_connection_costs_little_before_and_after_a_burst() {
    let folder = TempDir::new().expect("a temporary folder");
    let gateway = Process::start(folder.path(), &[]);
    let mut backend = backend(gateway.backend, &gateway.key).await;
    let mut crowd = Crowd { gateway: &gateway, devices: Vec::new() };
    crowd.grow(SMALL).await;
    // What a burst takes once, whatever the crowd, is none of a connection's: the store's memory, pools, threads' heaps.
    crowd.burst(&mut backend).await;
    let before = at_rest(&gateway).await;
    let each = |bytes: u64| bytes.saturating_sub(before) / u64::from(LARGE - SMALL);
    crowd.grow(LARGE).await;
    let idle = each(at_rest(&gateway).await);
    crowd.burst(&mut backend).await;
    let peak = each(gateway.resident_bytes());
    let after = each(at_rest(&gateway).await);
    println!("bytes of a connection: {idle} idle, {peak} in a burst of {BURST} pushes, {after} after it");
    assert!(idle <= IDLE_BYTES_MAX, "{idle} bytes for an idle connection");
    assert!(after <= AFTER_BURST_BYTES_MAX, "{after} bytes for a connection after a burst");
    assert_eq!(crowd.devices.len(), LARGE as usize, "all are still there");
}
