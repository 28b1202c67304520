//! Every limit of the gateway, from outside: what is over it gets the stated answer, what is below it goes on.

mod support;

use std::time::Duration;

use http::Request;
use pushline::client::{Error, Phase};
use pushline::model::frame::ResumeOutcome;
use pushline::tls::Connector;
use pushline::wire::device::{Method, NACK_REASON_BYTES_MAX};
use pushline::wire::pb;
use support::device::{Device, Pushes, open};
use support::{Backend, Gateway, get, metric, next, push, soon, text, to_topic, to_user};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

/// The stable word that a push is refused with.
async fn refused_push(backend: &mut Backend, request: pb::PushRequest) -> String {
    let status = soon("a refusal", backend.push(request)).await.expect_err("a refusal");
    status.metadata().get("pushline-code").and_then(|code| code.to_str().ok()).expect("a code").to_owned()
}

/// The stable word that an `Open` is refused with.
async fn refused_open(gateway: &Gateway, user: &str, device: &str) -> String {
    let mut connection = Device::connect(gateway.devices, &gateway.ca).await;
    let request = pb::OpenRequest { token: gateway.token(user, device), ..Default::default() };
    let (_, body, trailers) = connection.call(Method::Open, &request).await;
    assert!(body.is_empty());
    // A refused device is shown the door.
    let _ = soon("the end of the connection", connection.connection).await;
    trailers["pushline-code"].to_str().expect("a code").to_owned()
}

fn refusal<T: std::fmt::Debug>(outcome: Result<T, Error>) -> String {
    match outcome {
        Err(Error::Refused(refusal)) => refusal.name,
        other => panic!("not a refusal: {other:?}"),
    }
}

async fn ack(device: &mut Device, from: u64, upto: u64) {
    let request = pb::AckRequest { acked: vec![pb::SeqRange { from, upto }], ..Default::default() };
    let (_, _, trailers) = device.call(Method::Ack, &request).await;
    assert_eq!(trailers["grpc-status"], "0");
}

/// Full: a device more is refused; one that goes makes room.
#[tokio::test(flavor = "multi_thread")]
async fn connections_in_all_and_of_one_user() {
    let gateway = Gateway::start_with(|config| {
        config.limits.connections_max = 3;
        config.limits.connections_per_user_max = 2;
    })
    .await;
    let (one, two) = (gateway.client("ada", "1").await, gateway.client("ada", "2").await);
    assert_eq!(refused_open(&gateway, "ada", "3").await, "too_many_user_connections");
    let other = gateway.client("eve", "1").await;
    assert_eq!(refused_open(&gateway, "bob", "1").await, "too_many_connections");
    soon("the end", one.close()).await.expect("a clean end");
    // The library comes back by itself until there is room.
    let three = gateway.client("ada", "3").await;
    drop((two, three, other));
    for (code, count) in [("too_many_user_connections", 1.0), ("too_many_connections", 1.0)] {
        let sample = format!("pushline_handshakes_failed_total{{reason=\"{code}\"}}");
        assert!(metric(gateway.backend, &sample).await >= count, "{code}");
    }
}

/// Full: a new device is refused, known ones come back.
#[tokio::test(flavor = "multi_thread")]
async fn devices_of_one_user() {
    let gateway = Gateway::start_with(|config| config.store.devices_per_user_max = 2).await;
    for device in ["phone", "laptop"] {
        soon("the end", gateway.client("ada", device).await.close()).await.expect("a clean end");
    }
    assert_eq!(refused_open(&gateway, "ada", "watch").await, "too_many_devices");
    drop(gateway.client("ada", "phone").await);
    drop(gateway.client("eve", "watch").await);
}

/// Full: the whole request is refused and none of its topics is followed.
#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_of_one_device() {
    let gateway = Gateway::start_with(|config| config.store.subscriptions_per_device_max = 3).await;
    let mut backend = gateway.backend().await;
    let mut phone = gateway.client("ada", "phone").await;
    assert_eq!(soon("a subscription", phone.subscribe(["a", "b"])).await, Ok(2));
    assert_eq!(refusal(soon("a refusal", phone.subscribe(["c", "d"])).await), "too_many_subscriptions");
    assert_eq!(soon("a subscription", phone.subscribe(["a"])).await, Ok(2), "none was added");
    for topic in ["c", "d", "b"] {
        push(&mut backend, to_topic(topic, topic)).await;
    }
    assert_eq!(text(&next(&mut phone).await), "b");
    assert_eq!(soon("a subscription", phone.subscribe(["b", "d"])).await, Ok(3));
    assert_eq!(refusal(soon("a refusal", phone.subscribe(["e"])).await), "too_many_subscriptions");
    assert_eq!(soon("an end", phone.unsubscribe(["a"])).await, Ok(2));
    assert_eq!(soon("a subscription", phone.subscribe(["e"])).await, Ok(3));
}

/// Full: what a device waits for is never thrown away, so the push is refused; an ack makes room.
#[tokio::test(flavor = "multi_thread")]
async fn messages_of_an_inbox() {
    let gateway = Gateway::start_with(|config| config.store.inbox_entries_max = 3).await;
    let mut backend = gateway.backend().await;
    let mut phone = gateway.client("ada", "phone").await;
    for n in 1..=3 {
        push(&mut backend, to_user("ada", format!("{n}"))).await;
    }
    assert_eq!(refused_push(&mut backend, to_user("ada", "4")).await, "log_full");
    push(&mut backend, to_user("eve", "not her inbox")).await;
    let first = next(&mut phone).await;
    first.ack();
    soon("the ack", phone.flush()).await.expect("a confirmed ack");
    push(&mut backend, to_user("ada", "5")).await;
    assert_eq!(refused_push(&mut backend, to_user("ada", "6")).await, "log_full");
    for expected in ["2", "3", "5"] {
        let pushed = next(&mut phone).await;
        assert_eq!(text(&pushed), expected);
        pushed.ack();
    }
    soon("the acks", phone.flush()).await.expect("confirmed acks");
    push(&mut backend, to_user("ada", "7")).await;
    assert_eq!(text(&next(&mut phone).await), "7");
}

/// Full: the oldest go, and a device that waited for them is told how many it missed.
#[tokio::test(flavor = "multi_thread")]
async fn messages_of_a_topic() {
    let gateway = Gateway::start_with(|config| config.store.topic_entries_max = 3).await;
    let mut backend = gateway.backend().await;
    let phone = gateway.client("ada", "phone").await;
    soon("a subscription", phone.subscribe(["news"])).await.expect("a subscription");
    soon("the end", phone.close()).await.expect("a clean end");
    let mut ids = Vec::new();
    for n in 1..=5 {
        ids.push(push(&mut backend, to_topic("news", format!("{n}"))).await);
    }
    let mut phone = gateway.client("ada", "phone").await;
    let Phase::Connected(session) = phone.status().borrow().phase.clone() else { panic!("it is connected") };
    assert_eq!(session.resume.outcome, ResumeOutcome::Gap);
    assert_eq!((session.resume.waiting, session.resume.missed), (3, 2));
    for expected in ["3", "4", "5"] {
        let pushed = next(&mut phone).await;
        assert_eq!(text(&pushed), expected);
        pushed.ack();
    }
    soon("the end", phone.close()).await.expect("a clean end");
    let phone = gateway.client("ada", "phone").await;
    let Phase::Connected(session) = phone.status().borrow().phase.clone() else { panic!("it is connected") };
    assert_eq!((session.resume.outcome, session.resume.missed), (ResumeOutcome::Resumed, 0), "told once");
    let known = backend.get_message(pb::GetMessageRequest { id: ids.remove(0) }).await.expect("known").into_inner();
    assert_eq!(known.state(), pb::get_message_response::State::Trimmed);
}

/// Over it: refused on every surface, and nothing of it is delivered.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_a_payload() {
    let gateway = Gateway::start_with(|config| config.message.payload_bytes_max = 1000).await;
    let mut backend = gateway.backend().await;
    let mut phone = gateway.client("ada", "phone").await;
    assert_eq!(refused_push(&mut backend, to_user("ada", vec![1; 1001])).await, "payload_too_large");
    push(&mut backend, to_user("ada", vec![2; 1000])).await;
    assert_eq!(next(&mut phone).await.payload, vec![2; 1000]);
}

/// Over it: the request is refused and the session goes on; so it does when the request never ends.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_a_request() {
    let gateway = Gateway::start_with(|config| config.limits.request_bytes_max = 1024).await;
    let mut device = Device::connect(gateway.devices, &gateway.ca).await;
    let (_, mut pushes) = open(&mut device, gateway.token("ada", "phone")).await;
    let large = |bytes| pb::AckRequest { session: "s".repeat(bytes), ..Default::default() };
    assert_eq!(device.call(Method::Ack, &large(2000)).await.2["pushline-code"], "request_too_large");
    let endless = Request::post(format!("https://localhost{}", Method::Ack.path()))
        .header("content-type", "application/grpc")
        .body(())
        .expect("a request");
    let mut requests = device.requests.clone().ready().await.expect("room for a stream");
    let (response, mut stream) = requests.send_request(endless, false).expect("a stream");
    stream.send_data(vec![0; 1 << 20].into(), false).expect("its beginning");
    let reset = soon("a reset", response).await.expect_err("no answer to what has no end");
    assert!(reset.is_reset(), "{reset}");
    push(&mut gateway.backend().await, to_user("ada", "still here")).await;
    assert_eq!(&pushes.push().await.payload[..], b"still here");
}

/// Over it: HTTP status 431, and the connection goes on.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_headers() {
    let gateway = Gateway::start_with(|config| config.limits.header_bytes_max = 2048).await;
    let mut device = Device::connect(gateway.devices, &gateway.ca).await;
    let large = Request::post(format!("https://localhost{}", Method::Open.path()))
        .header("content-type", "application/grpc")
        .header("x-large", "x".repeat(4000))
        .body(())
        .expect("a request");
    let mut requests = device.requests.clone().ready().await.expect("room for a stream");
    let (response, _) = requests.send_request(large, true).expect("a stream");
    assert_eq!(soon("an answer", response).await.expect("an answer").status(), 431);
    let (_, _pushes) = open(&mut device, gateway.token("ada", "phone")).await;
}

/// A HEADERS frame (RFC 9113, section 6.2) that begins an `Ack` and does not end it, in the plainest HPACK (RFC 7541).
fn begin_ack(stream: u32) -> Vec<u8> {
    // `:method: POST` and `:scheme: https` are in the static table; path, authority and content type are literals.
    let mut block = vec![0x83, 0x87];
    for (name, value) in
        [(&[0x04][..], Method::Ack.path()), (&[0x01], "localhost"), (&[0x0f, 0x10], "application/grpc")]
    {
        block.extend_from_slice(name);
        block.push(u8::try_from(value.len()).expect("short"));
        block.extend_from_slice(value.as_bytes());
    }
    let length = u8::try_from(block.len()).expect("short");
    // HEADERS with END_HEADERS.
    let mut frame = vec![0, 0, length, 1, 4];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(&block);
    frame
}

/// Full: HTTP/2 refuses the stream, so that the client knows that it may try again; the others are not touched.
#[tokio::test(flavor = "multi_thread")]
async fn streams_of_a_connection() {
    let gateway = Gateway::start_with(|config| config.limits.streams_max = 4).await;
    let socket = TcpStream::connect(gateway.devices).await.expect("a socket");
    let connector = Connector::new(Some(&gateway.ca), &[b"h2"]).expect("the CA");
    let mut socket = connector.connect("localhost", socket).await.expect("TLS");
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    for stream in [1, 3, 5, 7, 9, 11] {
        bytes.extend(begin_ack(stream));
    }
    socket.write_all(&bytes).await.expect("written");
    let mut refused = Vec::new();
    while refused.len() < 2 {
        let mut head = [0; 9];
        soon("a frame", socket.read_exact(&mut head)).await.expect("a frame");
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        soon("its payload", socket.read_exact(&mut payload)).await.expect("its payload");
        match head[3] {
            // RST_STREAM with REFUSED_STREAM.
            3 => {
                assert_eq!(payload, [0, 0, 0, 7]);
                refused.push(u32::from_be_bytes([head[5], head[6], head[7], head[8]]));
            }
            // SETTINGS, PING, WINDOW_UPDATE.
            4 | 6 | 8 => {}
            other => panic!("a frame of type {other}: {payload:?}"),
        }
    }
    assert_eq!(refused, [9, 11]);
}

/// Over it: the connection is closed, whatever else than `Open` was said on it.
#[tokio::test(flavor = "multi_thread")]
async fn the_time_to_open() {
    let gateway = Gateway::start_with(|config| config.limits.open_timeout = Duration::from_millis(300)).await;
    let mut device = Device::connect(gateway.devices, &gateway.ca).await;
    let (_, _, trailers) = device.call(Method::Ack, &pb::AckRequest::default()).await;
    assert_eq!(trailers["pushline-code"], "no_session");
    let _ = soon("the gateway to hang up", device.connection).await;
    let sample = "pushline_handshakes_failed_total{reason=\"open_timeout\"}";
    let counted = async {
        while metric(gateway.backend, sample).await < 1.0 {
            tokio::task::yield_now().await;
        }
    };
    soon("the count", counted).await;
}

/// Over it: the connection is closed.
#[tokio::test(flavor = "multi_thread")]
async fn the_time_for_tls() {
    let gateway = Gateway::start_with(|config| config.limits.handshake_timeout = Duration::from_millis(300)).await;
    let mut socket = TcpStream::connect(gateway.devices).await.expect("a socket");
    // The head of a TLS record whose body never comes.
    socket.write_all(&[22, 3, 1, 1, 0]).await.expect("written");
    let mut heard = Vec::new();
    let _ = soon("the gateway to hang up", socket.read_to_end(&mut heard)).await;
    assert!(heard.is_empty(), "{heard:?}");
    let sample = "pushline_handshakes_failed_total{reason=\"tls_timeout\"}";
    let counted = async {
        while metric(gateway.backend, sample).await < 1.0 {
            tokio::task::yield_now().await;
        }
    };
    soon("the count", counted).await;
}

/// Full: pushes are refused; what was accepted all arrives, in order, and what was refused does not.
#[tokio::test(flavor = "multi_thread")]
async fn writes_that_wait() {
    const PUSHES: u64 = 400;
    let gateway = Gateway::start_with(|config| config.store.queue_max = 1).await;
    let mut backend = gateway.backend().await;
    let mut phone = gateway.client("ada", "phone").await;
    let (asks, asked) = mpsc::channel(16);
    let stream = soon("a stream", backend.push_stream(ReceiverStream::new(asked))).await.expect("a stream");
    let asking = tokio::spawn(async move {
        for reference in 0..PUSHES {
            let push = Some(to_user("ada", reference.to_string()));
            asks.send(pb::PushStreamRequest { reference, push }).await.expect("the stream lives");
        }
    });
    let (mut answers, mut accepted, mut refused) = (stream.into_inner(), Vec::new(), 0);
    while let Some(answer) = soon("an answer", answers.next()).await {
        let answer = answer.expect("the stream lives");
        match answer.outcome.expect("an outcome") {
            pb::push_stream_response::Outcome::Accepted(_) => accepted.push(answer.reference.to_string()),
            pb::push_stream_response::Outcome::Error(error) => {
                assert_eq!((error.code.as_str(), error.errno), ("store_busy", 406));
                refused += 1;
            }
        }
    }
    asking.await.expect("no panic");
    assert_eq!(accepted.len() + refused, usize::try_from(PUSHES).expect("few"));
    assert!(refused > 0 && !accepted.is_empty(), "{refused} refused");
    let end = async { while backend.push(to_user("ada", "end")).await.is_err() {} };
    soon("an accepted push", end).await;
    accepted.push("end".to_owned());
    for expected in accepted {
        let pushed = next(&mut phone).await;
        assert_eq!(text(&pushed), expected);
        pushed.ack();
    }
    let (status, _) = get(gateway.backend, "/healthz").await;
    assert_eq!(status, 200);
}

/// Opens with a wish for the window; gives what was agreed.
async fn open_with_window(device: &mut Device, token: String, window: u32) -> (u32, Pushes) {
    let (_, response) = device.send(Method::Open, &pb::OpenRequest { token, window, ..Default::default() }).await;
    let mut pushes = Pushes::new(response.into_body());
    match pushes.next().await {
        Some(pb::open_response::Frame::Welcome(welcome)) => (welcome.window, pushes),
        other => panic!("not a welcome: {other:?}"),
    }
}

/// Full: the rest waits in the log until an ack makes room, never more is in flight; a larger wish is cut.
#[tokio::test(flavor = "multi_thread")]
async fn pushes_in_flight() {
    let gateway = Gateway::start_with(|config| (config.session.window, config.session.window_max) = (2, 4)).await;
    let mut backend = gateway.backend().await;
    let mut device = Device::connect(gateway.devices, &gateway.ca).await;
    let (window, mut pushes) = open_with_window(&mut device, gateway.token("ada", "phone"), 1_000_000).await;
    assert_eq!(window, 4);
    for n in 0..12 {
        push(&mut backend, to_user("ada", format!("{n}"))).await;
    }
    let mut expected = 0;
    for room in [4, 1, 3, 4] {
        for _ in 0..room {
            expected += 1;
            assert_eq!(pushes.push().await.seq, expected);
        }
        // Answered after all that the session had to do before.
        device.call(Method::Update, &pb::UpdateRequest::default()).await;
        assert_eq!(metric(gateway.backend, "pushline_in_flight").await, 4.0);
        let sent = metric(gateway.backend, "pushline_deliveries_total{attempt=\"first\"}").await;
        assert_eq!(sent, f64::from(u32::try_from(expected).expect("few")));
        let acked = match expected {
            4 => (1, 1),
            5 => (2, 4),
            8 => (5, 8),
            _ => (9, 12),
        };
        ack(&mut device, acked.0, acked.1).await;
    }
    assert_eq!(metric(gateway.backend, "pushline_in_flight").await, 0.0);
}

/// Over it: the whole ack is refused and nothing of it is applied.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_a_nacks_reason() {
    let gateway = Gateway::start().await;
    let id = push(&mut gateway.backend().await, to_user("ada", "1")).await;
    let mut device = Device::connect(gateway.devices, &gateway.ca).await;
    let (_, mut pushes) = open(&mut device, gateway.token("ada", "phone")).await;
    let seq = pushes.push().await.seq;
    let nack = |bytes| pb::AckRequest {
        nacked: vec![pb::Nack { seq, verdict: pb::nack::Verdict::Reject.into(), reason: "x".repeat(bytes) }],
        ..Default::default()
    };
    let (_, _, trailers) = device.call(Method::Ack, &nack(NACK_REASON_BYTES_MAX + 1)).await;
    assert_eq!(trailers["pushline-code"], "invalid_ack");
    let state = async || {
        let asked = gateway.backend().await.get_message(pb::GetMessageRequest { id: id.clone() }).await;
        asked.expect("a known message").into_inner().devices[0].state()
    };
    assert_eq!(state().await, pb::device_outcome::State::Waiting);
    let (_, _, trailers) = device.call(Method::Ack, &nack(NACK_REASON_BYTES_MAX)).await;
    assert_eq!(trailers["grpc-status"], "0");
    assert_eq!(state().await, pb::device_outcome::State::Dead);
}

/// Full: a backend more is closed at once, and those that are there go on.
#[tokio::test(flavor = "multi_thread")]
async fn connections_of_backends() {
    let gateway = Gateway::start_with(|config| config.backend.connections_max = 1).await;
    let mut backend = gateway.backend().await;
    push(&mut backend, to_user("ada", "1")).await;
    let mut refused = TcpStream::connect(gateway.backend).await.expect("a socket");
    let mut heard = Vec::new();
    let _ = soon("the gateway to hang up", refused.read_to_end(&mut heard)).await;
    assert!(heard.is_empty(), "{heard:?}");
    push(&mut backend, to_user("ada", "2")).await;
}

/// Over it: a connection that asks nothing is closed, and a body that does not come is refused.
#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_a_backend() {
    let gateway = Gateway::start_with(|config| {
        config.backend.first_request_timeout = Duration::from_millis(300);
        config.backend.body_timeout = Duration::from_millis(300);
    })
    .await;
    let mut silent = TcpStream::connect(gateway.backend).await.expect("a socket");
    let mut slow = TcpStream::connect(gateway.backend).await.expect("a socket");
    let head = format!(
        "POST /v1/push HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: 100\r\n\r\n{{",
        gateway.key
    );
    slow.write_all(head.as_bytes()).await.expect("written");
    let (mut heard, mut answer) = (Vec::new(), String::new());
    let _ = soon("the gateway to hang up", silent.read_to_end(&mut heard)).await;
    assert!(heard.is_empty(), "{heard:?}");
    soon("a refusal", slow.read_to_string(&mut answer)).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("malformed"), "{answer}");
}
