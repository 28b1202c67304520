//! Slow and silent devices: they cost the gateway a bounded amount of memory and nobody else anything.

mod support;

use pushline::client::Client;
use pushline::wire::device::Method;
use pushline::wire::pb;
use support::device::{Device, open};
use support::{Process, backend, next, push, soon, to_topic};
use tempfile::TempDir;
use tokio_stream::StreamExt;

const SILENT: u32 = 100;
const PUSHES: u32 = 10_000;

/// 100 devices that never take a push while 10,000 go to their topic: each may cost its unsent bytes (256 KiB by
/// default) and what HTTP/2 holds (64 KiB), whatever is pushed, and one that reads gets everything meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn silent_devices_cost_a_bounded_amount_and_nobody_else_anything() {
    // The store has bounded tables of its own, which the same pushes fill without any silent device.
    let without = grown_with(0).await;
    let with = grown_with(SILENT).await;
    let mebibytes = |bytes: u64| bytes / (1024 * 1024);
    println!("grown by {} MiB with {SILENT} silent devices, {} MiB without", mebibytes(with), mebibytes(without));
    let each = u64::from(SILENT) * (256 + 64 + 32) * 1024;
    // What pages of tables happen to be resident differs from run to run.
    let noise = 48 * 1024 * 1024;
    assert!(with < without + each + noise, "{} MiB for silent devices", mebibytes(with - without));
}

/// How much the gateway grows while the pushes go through, with so many silent devices on the topic.
async fn grown_with(devices: u32) -> u64 {
    let folder = TempDir::new().expect("a temporary folder");
    let gateway = Process::start(folder.path(), &["session.window=1024", "session.window_max=1024"]);
    let mut backend = backend(gateway.backend, &gateway.key).await;
    let mut silent = Vec::new();
    for n in 0..devices {
        let mut device = Device::connect(gateway.devices, &gateway.ca).await;
        let (_, pushes) = open(&mut device, gateway.token(&format!("u{n}"), "silent")).await;
        let subscribe = pb::SubscribeRequest { topics: vec!["news".into()] };
        assert_eq!(device.call(Method::Subscribe, &subscribe).await.2["grpc-status"], "0");
        silent.push((device, pushes));
    }
    let mut reader = soon("a session", Client::connect(gateway.options("reader", "phone"))).await.expect("a session");
    soon("a subscription", reader.subscribe(["news"])).await.expect("a subscription");
    push(&mut backend, to_topic("news", "first")).await;
    next(&mut reader).await.ack();
    let before = gateway.resident_bytes();

    let payload = vec![b'x'; 4 * 1024];
    let requests = (0..PUSHES).map(move |n| {
        let mut payload = payload.clone();
        payload[..4].copy_from_slice(&n.to_be_bytes());
        let push = pb::PushRequest { durability: pb::Durability::Relaxed.into(), ..to_topic("news", payload) };
        pb::PushStreamRequest { reference: n.into(), push: Some(push) }
    });
    let answers = backend.push_stream(tokio_stream::iter(requests)).await.expect("a stream").into_inner();
    let pushing = tokio::spawn(async move {
        let mut answers = answers;
        let mut accepted = 0;
        while let Some(answer) = answers.next().await {
            let outcome = answer.expect("an answer").outcome;
            assert!(matches!(outcome, Some(pb::push_stream_response::Outcome::Accepted(_))), "{outcome:?}");
            accepted += 1;
        }
        accepted
    });
    for n in 0..PUSHES {
        let pushed = next(&mut reader).await;
        assert_eq!(pushed.payload[..4], n.to_be_bytes(), "in order, none missing");
        pushed.ack();
    }
    assert_eq!(soon("the answers", pushing).await.expect("no panic"), PUSHES);
    let grown = gateway.resident_bytes().saturating_sub(before);
    drop(silent);
    grown
}
