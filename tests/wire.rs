//! The wire itself: a plain HTTP/2 client talks to a real gateway over TLS, every byte is recorded, and the frames are
//! read from the record: stream ids, and END_STREAM where the mission puts it and nowhere else.

mod support;

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use pushline::wire::device::Method;
use pushline::wire::{grpc, pb};
use support::device::{DATA, Device, GOAWAY, HEADERS, PING, Pushes, Side, open};
use support::{Gateway, next, push, soon, to_user};

/// P1.1, P1.2, P1.3, P1.7, P1.8, P1.9: one long stream and short ones on one connection; the long one's request carries
/// the close flag, nothing from the server on it does while it lives, and pushes come on it alone.
/// P1.4, P1.5, P1.6, P1.10: acks go on short streams, are answered there, and both sides close them.
#[tokio::test(flavor = "multi_thread")]
async fn p1_1_to_p1_10_stream_ids_and_close_flags_stand_where_they_belong() {
    let mut gateway = Gateway::start().await;
    let mut backend = gateway.backend().await;
    let mut device = Device::connect(gateway.devices, &gateway.ca).await;
    let (long, mut pushes) = open(&mut device, gateway.token("ada", "phone")).await;
    let mut shorts = Vec::new();
    for n in 0..5_u64 {
        push(&mut backend, to_user("ada", vec![b'x'; 1_000])).await;
        let pushed = pushes.push().await;
        assert_eq!(pushed.seq, n + 1);
        let range = pb::SeqRange { from: pushed.seq, upto: pushed.seq };
        let ack = pb::AckRequest { acked: vec![range], ..Default::default() };
        let (id, answer, trailers) = device.call(Method::Ack, &ack).await;
        assert_eq!(trailers["grpc-status"], "0");
        let answer = pb::AckResponse::decode(grpc::unary(answer, 1024).expect("one message")).expect("an answer");
        assert_eq!((answer.settled, answer.already_settled), (1, 0));
        shorts.push(id);
    }
    let subscribe = pb::SubscribeRequest { topics: vec!["news".into()] };
    shorts.push(device.call(Method::Subscribe, &subscribe).await.0);

    let all = [&[long][..], &shorts].concat();
    assert!(all.iter().all(|id| id % 2 == 1), "P1.7: clients open odd streams: {all:?}");
    assert!(all.windows(2).all(|pair| pair[0] < pair[1]), "P1.7: ids grow: {all:?}");

    let on_long = device.frames(long);
    let (of_client, of_server): (Vec<_>, Vec<_>) = on_long.iter().partition(|frame| frame.side == Side::Client);
    assert_eq!(of_client.iter().filter(|frame| frame.closes()).count(), 1, "P1.8: one close flag from the client");
    let last_of_request = of_client.iter().rev().find(|frame| frame.kind == DATA || frame.kind == HEADERS);
    assert!(last_of_request.is_some_and(|frame| frame.closes()), "P1.8: on the last frame of the request");
    assert!(of_server.iter().all(|frame| !frame.closes()), "P1.9: the long stream stays open: {of_server:?}");
    let pushed: usize = of_server.iter().filter(|frame| frame.kind == DATA).map(|frame| frame.length).sum();
    assert!(pushed > 5_000, "P1.3: the pushes came on the long stream");

    for &id in &shorts {
        let frames = device.frames(id);
        for side in [Side::Client, Side::Server] {
            let of_side: Vec<_> = frames.iter().filter(|frame| frame.side == side).collect();
            let closing: Vec<_> = of_side.iter().filter(|frame| frame.closes()).collect();
            assert_eq!(closing.len(), 1, "P1.10: stream {id}, {side:?}: {of_side:?}");
            let last = of_side.iter().rev().find(|frame| frame.kind == DATA || frame.kind == HEADERS);
            assert!(last.is_some_and(|frame| frame.closes()), "P1.6: nothing comes after it");
        }
        let bytes: usize = frames.iter().filter(|f| f.side == Side::Server).map(|f| f.length).sum();
        assert!(bytes < 1_000, "P1.3: no push on a short stream");
    }

    // The end: a last frame says why, END_STREAM closes the long stream, GOAWAY the connection.
    let (_, ending) = tokio::join!(gateway.stop(), async {
        let mut frames = Vec::new();
        while let Some(frame) = pushes.next().await {
            frames.push(frame);
        }
        frames
    });
    let [pb::open_response::Frame::Move(_), pb::open_response::Frame::Close(close)] = &ending[..] else {
        panic!("not a move and a close: {ending:?}")
    };
    assert_eq!((close.name.as_str(), close.may_return), ("drain", true));
    let trailers = soon("trailers", pushes.body.trailers()).await.expect("trailers").expect("trailers");
    assert_eq!(trailers["grpc-status"], "14", "UNAVAILABLE: a stock client may come back");
    drop(device.requests);
    let _ = soon("the connection's end", device.connection).await;
    let frames = device.record.lock().expect("no panic").frames.clone();
    let closing: Vec<_> = frames.iter().filter(|f| f.stream == long && f.side == Side::Server && f.closes()).collect();
    assert_eq!(closing.len(), 1, "the long stream is closed once, at the end");
    assert!(frames.iter().any(|frame| frame.side == Side::Server && frame.kind == GOAWAY && frame.stream == 0));
}

/// P1.5: refusals travel on their own short stream too, with a stable code, and leave the connection as it was.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_close_their_stream_and_no_other() {
    let gateway = Gateway::start().await;
    let mut device = Device::connect(gateway.devices, &gateway.ca).await;
    let future = pb::AckRequest { acked: vec![pb::SeqRange { from: 1, upto: 9 }], ..Default::default() };
    let (_, body, before) = device.call(Method::Ack, &future).await;
    assert_eq!((body.len(), &before["pushline-code"]), (0, &"no_session".parse().expect("a value")));
    let (_, _pushes) = open(&mut device, gateway.token("ada", "phone")).await;
    let (id, _, trailers) = device.call(Method::Ack, &future).await;
    let word = |name: &str| trailers[name].to_str().expect("text").to_owned();
    assert_eq!(
        (word("grpc-status"), word("pushline-code"), word("pushline-errno")),
        ("3".into(), "future_seq".into(), "108".into())
    );
    assert!(grpc::decode_words(&word("grpc-message")).contains("seq 9"));
    let frames = device.frames(id);
    assert!(frames.iter().any(|frame| frame.side == Side::Server && frame.kind == HEADERS && frame.closes()));
    let again = pb::OpenRequest { token: gateway.token("ada", "phone"), ..Default::default() };
    let twice = device.call(Method::Open, &again).await;
    assert_eq!(twice.2["pushline-code"], "session_exists");
    let subscribe = pb::SubscribeRequest { topics: vec!["news".into()] };
    assert_eq!(device.call(Method::Subscribe, &subscribe).await.2["grpc-status"], "0", "the session still lives");
}

/// P1.12: a server that hears nothing for T2 sends a PING; P1.1: SPDY's PING is HTTP/2's.
#[tokio::test(flavor = "multi_thread")]
async fn p1_12_the_server_pings_a_silent_client() {
    let gateway = Gateway::start_with(|config| {
        config.session.heartbeat = Duration::from_millis(100);
        config.session.heartbeat_min = Duration::from_millis(100);
    })
    .await;
    let mut device = Device::connect(gateway.devices, &gateway.ca).await;
    let (_, _pushes) = open(&mut device, gateway.token("ada", "phone")).await;
    let pinged = async {
        loop {
            let frames = device.record.lock().expect("no panic").frames.clone();
            let answered =
                frames.iter().filter(|f| f.side == Side::Client && f.kind == PING && f.flags & 1 != 0).count();
            let pings = frames.iter().filter(|f| f.side == Side::Server && f.kind == PING && f.flags & 1 == 0).count();
            if pings >= 3 && answered >= 3 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("three pings and their answers", pinged).await;
}

/// A device that takes nothing of what is queued for it is closed after the write stall, and loses nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_device_is_closed_and_loses_nothing() {
    let gateway = Gateway::start_with(|config| {
        config.session.write_stall = Duration::from_secs(1);
        config.session.unsent_bytes_max = 64 * 1024;
    })
    .await;
    let mut backend = gateway.backend().await;
    let mut device = Device::connect(gateway.devices, &gateway.ca).await;
    let (_, pushes) = open(&mut device, gateway.token("ada", "phone")).await;
    // Far more than HTTP/2's default window of 64 KiB, of which nothing is ever given back.
    for n in 0..16_u32 {
        let mut payload = vec![b'x'; 60 * 1024];
        payload[..4].copy_from_slice(&n.to_be_bytes());
        push(&mut backend, to_user("ada", payload)).await;
    }
    let _ = soon("the gateway to hang up", device.connection).await;
    drop(pushes);
    let mut client = gateway.client("ada", "phone").await;
    for n in 0..16_u32 {
        let pushed = next(&mut client).await;
        assert_eq!(pushed.payload[..4], n.to_be_bytes(), "in order, none missing");
        pushed.ack();
    }
}

/// A stock client may send one request for each push: a crowd of answers and large pushes share the way out.
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_come_at_once_are_all_answered_while_pushes_flow() {
    let gateway = Gateway::start().await;
    let mut backend = gateway.backend().await;
    let mut device = Device::connect(gateway.devices, &gateway.ca).await;
    let (_, mut pushes) = open(&mut device, gateway.token("ada", "phone")).await;
    for round in 0..5_u64 {
        for _ in 0..4 {
            push(&mut backend, to_user("ada", vec![b'x'; 40_000])).await;
        }
        let seqs = round * 4 + 1..=round * 4 + 4;
        let received = async {
            for seq in seqs.clone() {
                assert_eq!(pushes.push().await.seq, seq);
            }
        };
        let acks = (0..24_u64).map(|n| {
            let (requests, record) = (device.requests.clone(), Arc::clone(&device.record));
            let seq = (round * 4).saturating_sub(n % 4).max(1);
            async move {
                let mut device = Device { requests, record, connection: tokio::spawn(async { Ok(()) }) };
                let ack = pb::AckRequest { acked: vec![pb::SeqRange { from: seq, upto: seq }], ..Default::default() };
                device.call(Method::Ack, &ack).await.2
            }
        });
        let (answers, ()) = tokio::join!(futures_util::future::join_all(acks), received);
        if round > 0 {
            assert!(answers.iter().all(|trailers| trailers["grpc-status"] == "0"), "{answers:?}");
        }
    }
}

/// Going down waits for sessions, not for sockets that never said a word.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_socket_does_not_hold_up_the_end() {
    let mut gateway = Gateway::start_with(|config| {
        config.limits.handshake_timeout = Duration::from_secs(600);
        config.drain.bound = Duration::from_secs(600);
    })
    .await;
    let silent = tokio::net::TcpStream::connect(gateway.devices).await.expect("a socket");
    // One that came later has its session: so the silent one was accepted before.
    let _client = gateway.client("ada", "phone").await;
    gateway.stop().await;
    drop(silent);
}

/// P1.8 to the letter: the one frame that opens the long stream, its HEADERS, carries the close flag itself.
#[tokio::test(flavor = "multi_thread")]
async fn p1_8_headers_alone_may_open_the_long_stream() {
    let gateway = Gateway::start().await;
    let device = Device::connect(gateway.devices, &gateway.ca).await;
    let request = http::Request::post(format!("https://localhost{}", Method::Open.path()))
        .header("content-type", "application/grpc")
        .header("authorization", format!("Bearer {}", gateway.token("ada", "phone")))
        .body(())
        .expect("a request");
    let mut requests = device.requests.clone().ready().await.expect("room for a stream");
    let (response, stream) = requests.send_request(request, true).expect("a stream");
    let mut pushes = Pushes::new(soon("a response", response).await.expect("a response").into_body());
    assert!(matches!(pushes.next().await, Some(pb::open_response::Frame::Welcome(_))));
    push(&mut gateway.backend().await, to_user("ada", "x")).await;
    assert_eq!(pushes.push().await.payload, "x");
    let frames = device.frames(stream.stream_id().as_u32());
    let [opening] = &frames.iter().filter(|frame| frame.side == Side::Client).collect::<Vec<_>>()[..] else {
        panic!("more than one frame: {frames:?}")
    };
    assert!(opening.kind == HEADERS && opening.closes());
    assert!(frames.iter().all(|frame| frame.side == Side::Client || !frame.closes()));
}
