//! What an operator relies on, from outside: expiry of tokens, renewal of certificates, drain, probes and numbers.

mod support;

use std::time::Duration;

use pushline::client::{Client, Error};
use pushline::tls::{Connector, develop};
use pushline::wire::pb;
use pushline::wire::pb::push_stream_response::Outcome;
use support::device::{Device, open};
use support::{Gateway, client_options, get, metric, next, push, soon, text, to_device, to_user, token_for};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

/// A session does not outlive its token: it is closed with that reason, and the device must not return with the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_with_its_token() {
    let gateway = Gateway::start().await;
    let mut backend = gateway.backend().await;
    let token = token_for(gateway.data(), "ada", "phone", Duration::from_secs(3));
    let options = client_options(gateway.devices, &gateway.ca, token.clone());
    let mut phone = soon("a session", Client::connect(options)).await.expect("a session");
    let id = push(&mut backend, to_user("ada", "1")).await;
    let held = next(&mut phone).await;
    assert_eq!(held.id.to_string(), id);
    match soon("the end", phone.next()).await {
        Some(Err(Error::Closed { name, code, may_return, .. })) => {
            assert_eq!((name.as_str(), code, may_return), ("token_expired", 202, false));
        }
        other => panic!("not the end: {other:?}"),
    }
    let mut device = Device::connect(gateway.devices, &gateway.ca).await;
    let again = pb::OpenRequest { token, ..Default::default() };
    let (_, _, trailers) = device.call(pushline::wire::device::Method::Open, &again).await;
    assert_eq!(trailers["pushline-code"], "expired_token");
    let mut renewed = gateway.client("ada", "phone").await;
    assert_eq!(text(&next(&mut renewed).await), "1", "what was not acked comes again");
}

/// A changed certificate is served to new connections without a restart; old ones go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_served_without_a_restart() {
    let gateway = Gateway::start_with(|config| config.tls.reload_interval = Duration::from_secs(1)).await;
    let mut phone = gateway.client("ada", "phone").await;
    let folder = gateway.data().join("certs");
    let now = pushline::model::clock::Clock::new().now().wall;
    let before = develop::open(&folder, &[], now).expect("the certificate");
    assert!(!before.new);
    std::fs::remove_file(&before.files.key).expect("removed");
    let after = develop::open(&folder, &[], now).expect("a new certificate");
    assert!(after.new);
    let ca = std::fs::read(&after.ca).expect("the new CA");
    let served = async {
        loop {
            let socket = TcpStream::connect(gateway.devices).await.expect("a socket");
            let connector = Connector::new(Some(&ca), &[b"h2"]).expect("the CA");
            match connector.connect("localhost", socket).await {
                Ok(_) => return,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    soon("the new certificate", served).await;
    push(&mut gateway.backend().await, to_user("ada", "on the old one")).await;
    assert_eq!(text(&next(&mut phone).await), "on the old one");
    let options = client_options(gateway.devices, &ca, gateway.token("ada", "laptop"));
    let mut laptop = soon("a session", Client::connect(options)).await.expect("a session");
    assert_eq!(text(&next(&mut laptop).await), "on the old one");
}

/// A stream of pushes that is open when the gateway drains gets an answer to each push it sent: those with an id are
/// there after the restart, the others are not.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_answers_the_pushes_of_an_open_stream() {
    let mut gateway = Gateway::start().await;
    let mut backend = gateway.backend().await;
    let (asks, asked) = mpsc::channel(8);
    let stream = soon("a stream", backend.push_stream(ReceiverStream::new(asked))).await.expect("a stream");
    let mut answers = stream.into_inner();
    let asking = tokio::spawn(async move {
        for reference in 0_u64.. {
            let push = Some(to_user("ada", reference.to_string()));
            if asks.send(pb::PushStreamRequest { reference, push }).await.is_err() {
                return;
            }
        }
    });
    let reading = tokio::spawn(async move {
        let (mut accepted, mut next, mut end) = (Vec::new(), 0, None);
        while let Some(answer) = soon("an answer", answers.next()).await {
            let answer = match answer {
                Ok(answer) => answer,
                Err(status) => {
                    end = Some(status);
                    break;
                }
            };
            assert_eq!(answer.reference, next, "in order, none left out");
            next += 1;
            match answer.outcome.expect("an outcome") {
                Outcome::Accepted(_) => accepted.push(answer.reference.to_string()),
                Outcome::Error(error) => assert_eq!(error.code, "draining"),
            }
        }
        (accepted, end)
    });
    while metric(gateway.backend, "pushline_pushes_total{outcome=\"accepted\"}").await < 50.0 {}
    gateway.restart().await;
    let (mut accepted, end) = soon("the end of the stream", reading).await.expect("no panic");
    asking.await.expect("no panic");
    let end = end.expect("the stream says why it ends");
    let code = end.metadata().get("pushline-code").map(|code| code.to_str().expect("ASCII").to_owned());
    assert_eq!(code.as_deref(), Some("draining"), "{end:?}");
    assert!(accepted.len() >= 50);
    push(&mut gateway.backend().await, to_user("ada", "end")).await;
    accepted.push("end".to_owned());
    let mut phone = gateway.client("ada", "phone").await;
    for expected in accepted {
        let pushed = next(&mut phone).await;
        assert_eq!(text(&pushed), expected);
        pushed.ack();
    }
}

/// Who is still there when the time to drain is over is cut off, and gets later what it had not acked.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_keeps_its_bound() {
    let mut gateway = Gateway::start_with(|config| {
        // More than a configuration may say: the devices are to be there when the bound is reached.
        config.drain.spread = Duration::from_secs(1_000_000);
        config.drain.bound = Duration::from_millis(200);
    })
    .await;
    let mut device = Device::connect(gateway.devices, &gateway.ca).await;
    let (_, mut pushes) = open(&mut device, gateway.token("ada", "phone")).await;
    push(&mut gateway.backend().await, to_user("ada", "1")).await;
    assert_eq!(pushes.push().await.payload, b"1"[..]);
    soon("the restart", gateway.restart()).await;
    assert!(matches!(pushes.next().await, Some(pb::open_response::Frame::Move(_))));
    assert!(soon("the end", pushes.body.data()).await.is_none_or(|frame| frame.is_err()), "cut off");
    assert_eq!(text(&next(&mut gateway.client("ada", "phone").await).await), "1");
}

/// While it drains, a gateway lives and is not ready, and takes no pushes.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_drains_is_alive_and_not_ready() {
    let mut gateway = Gateway::start().await;
    let mut backend = gateway.backend().await;
    let address = gateway.backend;
    assert_eq!(get(address, "/readyz").await.0, 200);
    // A device that takes nothing has its farewell waited for, which keeps the gateway from its end for a while.
    let mut stalled = Device::connect(gateway.devices, &gateway.ca).await;
    let (_, _pushes) = open(&mut stalled, gateway.token("ada", "phone")).await;
    for _ in 0..4 {
        push(&mut backend, to_user("ada", vec![b'x'; 60 * 1024])).await;
    }
    let looking = async {
        let body = loop {
            match get(address, "/readyz").await {
                (503, body) => break body,
                (status, body) => assert_eq!(status, 200, "{body}"),
            }
        };
        let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!((&body["ready"], &body["error"]), (&false.into(), &"draining".into()), "{body}");
        assert_eq!(get(address, "/healthz").await, (200, "ok\n".to_owned()));
        let status = soon("a refusal", backend.push(to_user("ada", "late"))).await.expect_err("a refusal");
        assert_eq!(status.metadata().get("pushline-code").expect("a code"), "draining");
        assert_eq!(metric(address, "pushline_pushes_refused_total{code=\"draining\"}").await, 1.0);
    };
    tokio::join!(gateway.stop(), looking);
}

/// What was done is counted under its name, and nothing of the pushes stands in the page.
#[tokio::test(flavor = "multi_thread")]
async fn the_numbers_tell_what_was_done() {
    let gateway = Gateway::start().await;
    let mut backend = gateway.backend().await;
    let mut device = Device::connect(gateway.devices, &gateway.ca).await;
    let (_, mut pushes) = open(&mut device, gateway.token("ada-the-user", "phone")).await;
    for n in 0..3 {
        push(&mut backend, to_device("ada-the-user", "phone", format!("secret-{n}"))).await;
        pushes.push().await;
    }
    let now_or_never = pb::PushRequest { ttl_seconds: Some(0), ..to_user("ada-the-user", "secret") };
    push(&mut backend, now_or_never).await;
    pushes.push().await;
    let settle = pb::AckRequest {
        acked: vec![pb::SeqRange { from: 1, upto: 2 }],
        nacked: vec![pb::Nack { seq: 3, verdict: pb::nack::Verdict::Reject.into(), reason: "why".into() }],
        ..Default::default()
    };
    device.call(pushline::wire::device::Method::Ack, &settle).await;
    let exact = [
        ("pushline_connections", 1.0),
        ("pushline_core_connections{core=\"0\"}", 1.0),
        ("pushline_core_connections{core=\"1\"}", 0.0),
        ("pushline_sessions", 1.0),
        ("pushline_sessions_opened_total{resume=\"new\"}", 1.0),
        ("pushline_pushes_total{outcome=\"accepted\"}", 3.0),
        ("pushline_pushes_total{outcome=\"online\"}", 1.0),
        ("pushline_deliveries_total{attempt=\"first\"}", 4.0),
        ("pushline_deliveries_total{attempt=\"again\"}", 0.0),
        ("pushline_acks_total", 2.0),
        ("pushline_nacks_total", 1.0),
        ("pushline_dead_total", 1.0),
        ("pushline_in_flight", 1.0),
        ("pushline_append_latency_seconds_count", 3.0),
        ("pushline_delivery_latency_seconds_count", 4.0),
        ("pushline_store_queue", 0.0),
    ];
    for (sample, value) in exact {
        assert_eq!(metric(gateway.backend, sample).await, value, "{sample}");
    }
    for sample in [
        "pushline_received_bytes_total",
        "pushline_sent_bytes_total",
        "pushline_store_writes_total",
        "pushline_store_flushes_total",
        "pushline_store_disk_bytes",
        "pushline_append_latency_seconds_sum",
    ] {
        assert!(metric(gateway.backend, sample).await > 0.0, "{sample}");
    }
    let (_, page) = get(gateway.backend, "/metrics").await;
    for secret in ["secret", "ada-the-user", gateway.key.as_str()] {
        assert!(!page.contains(secret), "{secret} in {page}");
    }
    drop((device, pushes));
    let closed = async { while metric(gateway.backend, "pushline_connections").await > 0.0 {} };
    soon("the end of the connection", closed).await;
    assert_eq!(metric(gateway.backend, "pushline_sessions").await, 0.0);
    assert_eq!(metric(gateway.backend, "pushline_in_flight").await, 0.0);
    assert_eq!(metric(gateway.backend, "pushline_sessions_closed_total{reason=\"gone\"}").await, 1.0);
}

/// Payloads and keys are for the gateway's own account, also in a data folder that everybody may look into.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let gateway = Gateway::start().await;
    for name in ["store", "auth", "certs"] {
        let mode = std::fs::metadata(gateway.data().join(name)).expect("a folder").permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{name}");
    }
}

/// A device cannot write lines of its own into the log by what it calls itself.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_stays_on_its_line_of_the_log() {
    use std::io::{BufRead, BufReader, Read};
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_pushline"));
    command.args(["serve", "--json", "--listen", "127.0.0.1:0", "--backend-listen", "127.0.0.1:0", "--data"]);
    command.arg(folder.path()).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("its first line");
    let first: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    let text = |name: &str| first[name].as_str().expect("a text").to_owned();
    let ca = std::fs::read(text("ca")).expect("the CA");
    let mut device = Device::connect(text("devices").parse().expect("an address"), &ca).await;
    let token = support::token(folder.path(), "ada", "phone");
    let request = pb::OpenRequest { token, agent: "harmless\nFORGED".into(), ..Default::default() };
    let (_, response) = device.send(pushline::wire::device::Method::Open, &request).await;
    let mut pushes = support::device::Pushes::new(response.into_body());
    assert!(pushes.next().await.is_some(), "a welcome");
    child.kill().expect("killed");
    child.wait().expect("reaped");
    let mut log = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut log).expect("text");
    assert!(log.contains("harmless") && !log.contains("\nFORGED"), "{log}");
}
