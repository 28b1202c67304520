//! Tests of the client as a program sees it, against a scripted peer on loopback with real TLS and HTTP/2.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::client::error::{Error, Refusal};
use crate::client::handle::Client;
use crate::client::options::Options;
use crate::client::push::Push;
use crate::client::scripted_peer::{Gateway, Peer, PushStream, close, encode, id, push, welcome};
use crate::client::status::{Phase, Status};
use crate::model::close::CloseReason;
use crate::model::fault::Code;
use crate::model::frame::ResumeOutcome;
use crate::model::id::UserId;
use crate::model::message::{Target, Urgency};
use crate::wire::device::Method;
use crate::wire::pb::{self, open_response::Frame};

/// A client with its first session, and the other end of it.
async fn connected(gateway: &Gateway, options: Options) -> (Client, Peer, PushStream) {
    let (client, (peer, pushes)) = tokio::join!(Client::connect(options), gateway.welcome(welcome()));
    (client.expect("a welcome came"), peer, pushes)
}

async fn next(client: &mut Client) -> Push {
    client.next().await.expect("the client lives").expect("a push")
}

async fn until(client: &Client, reached: impl FnMut(&Status) -> bool) -> Status {
    client.status().wait_for(reached).await.expect("the client lives").clone()
}

/// The next ack, answered. Gives its ranges and its nacks.
async fn take_ack(peer: &mut Peer) -> (Vec<(u64, u64)>, Vec<pb::Nack>) {
    let ask = peer.asked(Method::Ack).await;
    let ack: pb::AckRequest = ask.message();
    assert_eq!(ack.session, "s1");
    ask.answer(&pb::AckResponse::default());
    (ack.acked.iter().map(|range| (range.from, range.upto)).collect(), ack.nacked)
}

/// P1.2, P1.8: `Open` comes first, half-closed, and says what the options say.
#[tokio::test]
async fn p1_8_open_is_half_closed_and_carries_the_options() {
    let gateway = Gateway::start().await;
    let mut options = gateway.options();
    options.device = Some("phone".into());
    options.heartbeat = Duration::from_secs(40);
    options.urgency_floor = Urgency::Normal;
    let serve = async {
        let mut peer = gateway.accept().await;
        let ask = peer.asked(Method::Open).await;
        assert_eq!(
            (ask.head.method.as_str(), &ask.head.headers["te"]),
            ("POST", &"trailers".parse().expect("a value"))
        );
        let open: pb::OpenRequest = ask.message();
        let mut pushes = ask.stream();
        pushes.send(Frame::Welcome(welcome())).await;
        (peer, pushes, open)
    };
    let (client, (_peer, _pushes, open)) = tokio::join!(Client::connect(options), serve);
    assert_eq!(
        (open.token.as_str(), open.device.as_str(), open.heartbeat_ms, open.window),
        ("token", "phone", 40_000, 64)
    );
    assert_eq!((open.urgency_floor(), open.agent.starts_with("pushline/")), (pb::Urgency::Normal, true));
    let client = client.expect("a welcome came");
    let Phase::Connected(session) = client.status().borrow().phase.clone() else { panic!("not connected") };
    assert_eq!((session.id.as_str(), session.resume.outcome, session.resume.missed), ("s1", ResumeOutcome::Resumed, 1));
}

/// P1.3, P1.9: frames arrive whatever DATA boundaries they are cut at; also in a burst of very small DATA frames.
#[tokio::test]
async fn p1_3_pushes_arrive_whatever_bytes_they_are_cut_at() {
    let gateway = Gateway::start().await;
    for size in [1, 2, 3, 5, 7, 64, 1000] {
        let serve = async {
            let mut peer = gateway.accept().await;
            let mut pushes = peer.asked(Method::Open).await.stream();
            let mut bytes = BytesMut::from(&encode(Frame::Welcome(welcome()))[..]);
            (1..=9).for_each(|n| bytes.extend_from_slice(&encode(push(n, n, format!("payload {n}")))));
            let mut bytes = bytes.freeze();
            while !bytes.is_empty() {
                pushes.send_bytes(bytes.split_to(size.min(bytes.len()))).await;
            }
            (peer, pushes)
        };
        let (client, _held) = tokio::join!(Client::connect(gateway.options()), serve);
        let mut client = client.expect("a welcome came");
        for n in 1..=9 {
            let push = next(&mut client).await;
            assert_eq!((push.seq, push.id, &push.payload[..]), (n, id(n), format!("payload {n}").as_bytes()));
            assert_eq!(push.target, Some(Target::User(UserId::new("u").expect("a name"))));
            assert_eq!((push.urgency, push.content_type.as_str()), (Urgency::High, "text/plain"));
        }
    }
}

/// P1.4, P1.5, P1.6: acks go out on short streams, gathered into ranges, one at a time; flush waits for their answers.
#[tokio::test]
async fn p1_4_acks_are_gathered_and_confirmed() {
    let gateway = Gateway::start().await;
    let (mut client, mut peer, mut pushes) = connected(&gateway, gateway.options()).await;
    let mut held = Vec::new();
    for n in 1..=64 {
        pushes.send(push(n, n, "x")).await;
        held.push(next(&mut client).await);
    }
    held.remove(50).nack("busy");
    held.into_iter().for_each(Push::ack);
    let take = async {
        assert_eq!(take_ack(&mut peer).await.0, [(1, 31)], "the nack is the 32nd");
        let (acked, nacked) = take_ack(&mut peer).await;
        assert!(nacked.is_empty());
        acked
    };
    let (flushed, acked) = tokio::join!(client.flush(), take);
    assert_eq!((flushed, acked), (Ok(()), vec![(32, 50), (52, 64)]));
}

/// P1.11, P1.12: heartbeats of either side are answered, and the session goes on.
#[tokio::test]
async fn p1_11_heartbeats_are_sent_and_answered() {
    let gateway = Gateway::start().await;
    let heartbeat = Some(pb::Heartbeat { client_interval_ms: 5, server_interval_ms: 9, timeout_ms: 60_000 });
    let welcome = pb::Welcome { heartbeat, ..welcome() };
    let (client, (mut peer, _pushes)) = tokio::join!(Client::connect(gateway.options()), gateway.welcome(welcome));
    let client = client.expect("a welcome came");
    // Were an answer no life, there would be one heartbeat and then silence until the timeout.
    let status = until(&client, |status| status.heartbeats >= 5).await;
    assert_eq!(status.sessions, 1);
    peer.ping().await;
    assert!(matches!(client.status().borrow().phase, Phase::Connected(_)));
}

/// P1.12: a network that swallows everything is noticed.
#[tokio::test]
async fn p1_12_a_gateway_that_is_silently_dead_is_noticed() {
    let gateway = Gateway::start().await;
    let mut options = gateway.options();
    // So that the pause lasts, and is seen.
    (options.reconnect_base, options.reconnect_max) = (Duration::from_secs(3600), Duration::from_secs(3600));
    let heartbeat = Some(pb::Heartbeat { client_interval_ms: 100, server_interval_ms: 150, timeout_ms: 200 });
    let welcome = pb::Welcome { heartbeat, ..welcome() };
    let (client, (peer, _pushes)) = tokio::join!(Client::connect(options), gateway.welcome(welcome));
    let client = client.expect("a welcome came");
    peer.freeze().await;
    let status = until(&client, |status| matches!(status.phase, Phase::Waiting { .. })).await;
    assert!(matches!(status.phase, Phase::Waiting { why: Error::Silent(_), .. }), "{status:?}");
}

#[tokio::test]
async fn a_cut_connection_is_made_anew_and_duplicates_stay_away() {
    let gateway = Gateway::start().await;
    let (mut client, peer, mut pushes) = connected(&gateway, gateway.options()).await;
    for n in 1..=3 {
        pushes.send(push(n, n, "x")).await;
    }
    next(&mut client).await.ack();
    let (second, _third) = (next(&mut client).await, next(&mut client).await);
    drop((peer, pushes));
    let (mut peer, mut pushes) = gateway.welcome(welcome()).await;
    // The ack of the first was cut off, the second and third are held, the fourth is new.
    for n in 1..=4 {
        pushes.send(push(n, n, "x")).await;
    }
    let fourth = next(&mut client).await;
    assert_eq!(fourth.id, id(4));
    assert_eq!(take_ack(&mut peer).await.0, [(1, 1)], "the client repeats its own ack");
    second.ack();
    fourth.reject("never");
    let (acked, nacked) = take_ack(&mut peer).await;
    assert_eq!(
        (acked, nacked.len(), nacked[0].seq, nacked[0].verdict()),
        (vec![(2, 2)], 1, 4, pb::nack::Verdict::Reject)
    );
    let status = until(&client, |status| status.duplicates == 3).await;
    assert_eq!((status.sessions, status.unconfirmed), (2, 1));
}

#[tokio::test]
async fn a_drain_moves_the_client_to_a_new_connection() {
    let gateway = Gateway::start().await;
    let (mut client, peer, mut pushes) = connected(&gateway, gateway.options()).await;
    pushes.send(push(1, 1, "x")).await;
    assert_eq!(next(&mut client).await.id, id(1));
    // GOAWAY does not end the push stream; what comes on it counts.
    peer.go_away().await;
    pushes.send(push(2, 2, "x")).await;
    assert_eq!(next(&mut client).await.id, id(2));
    pushes.send(Frame::Move(pb::Move { return_after_ms: 1, grace_ms: 1000, nodes: Vec::new() })).await;
    let (_peer, mut pushes) = gateway.welcome(welcome()).await;
    pushes.send(push(5, 1, "x")).await;
    assert_eq!(next(&mut client).await.id, id(5));
    assert_eq!(client.status().borrow().sessions, 2);
}

#[tokio::test]
async fn a_stream_that_ends_or_a_goaway_makes_it_come_back() {
    let gateway = Gateway::start().await;
    let (client, peer, pushes) = connected(&gateway, gateway.options()).await;
    pushes.end();
    let (second, pushes) = gateway.welcome(welcome()).await;
    peer.ended().await;
    second.go_away().await;
    pushes.end();
    let _third = gateway.welcome(welcome()).await;
    until(&client, |status| status.sessions == 3).await;
}

/// A close that is followed by the end of everything is still read.
#[tokio::test]
async fn a_takeover_is_the_last_thing_the_program_hears() {
    let gateway = Gateway::start().await;
    let (mut client, peer, mut pushes) = connected(&gateway, gateway.options()).await;
    pushes.send(push(1, 1, "x")).await;
    pushes.send_bytes(close(CloseReason::TakenOver)).await;
    pushes.end();
    peer.go_away().await;
    peer.ended().await;
    assert_eq!(next(&mut client).await.id, id(1));
    let why = client.next().await.expect("a last word").expect_err("not a push");
    let Error::Closed { code: 201, name, may_return: false, .. } = &why else { panic!("{why:?}") };
    assert_eq!(name, "taken_over");
    assert!(client.next().await.is_none());
    assert_eq!(client.subscribe(["news"]).await, Err(Error::Ended));
    assert_eq!(client.close().await, Ok(()));
}

/// Also when the program takes nothing: else this client would come back and take over in turn, for ever.
#[tokio::test]
async fn a_takeover_is_heard_behind_pushes_that_nobody_takes() {
    let gateway = Gateway::start().await;
    let options = Options { window: 2, ..gateway.options() };
    let (mut client, peer, mut pushes) = connected(&gateway, options).await;
    for n in 1..=5 {
        pushes.send(push(n, n, "x")).await;
    }
    pushes.send_bytes(close(CloseReason::TakenOver)).await;
    pushes.end();
    peer.go_away().await;
    peer.ended().await;
    let status = until(&client, |status| !matches!(status.phase, Phase::Connected(_))).await;
    assert!(matches!(status.phase, Phase::Ended { why: Some(Error::Closed { code: 201, .. }) }), "{status:?}");
    assert_eq!((next(&mut client).await.id, next(&mut client).await.id), (id(1), id(2)));
    assert!(client.next().await.expect("a last word").is_err());
}

/// A connection that takes no new streams cannot take acks: it is left, and what was cut off is acked on the next.
#[tokio::test]
async fn an_ack_after_a_goaway_goes_over_a_new_connection() {
    let gateway = Gateway::start().await;
    let (mut client, peer, mut pushes) = connected(&gateway, gateway.options()).await;
    pushes.send(push(1, 1, "x")).await;
    let first = next(&mut client).await;
    peer.go_away().await;
    // GOAWAY is sent before this, so it is there when the ack leaves.
    pushes.send(push(2, 2, "x")).await;
    let second = next(&mut client).await;
    first.ack();
    let (mut peer, mut pushes) = gateway.welcome(welcome()).await;
    for n in 1..=2 {
        pushes.send(push(n, n, "x")).await;
    }
    assert_eq!(take_ack(&mut peer).await.0, [(1, 1)]);
    second.ack();
    assert_eq!(take_ack(&mut peer).await.0, [(2, 2)]);
}

#[tokio::test]
async fn a_refusal_ends_connect_and_a_passing_one_is_tried_again() {
    let gateway = Gateway::start().await;
    let refuse = async |code| {
        let mut peer = gateway.accept().await;
        peer.asked(Method::Open).await.refuse(code);
        peer
    };
    let (client, _peer) = tokio::join!(Client::connect(gateway.options()), refuse(Code::ExpiredToken));
    let refusal =
        Refusal { grpc: 16, name: "expired_token".into(), errno: 203, words: "no, \u{e9}".into(), retry_after: None };
    assert_eq!(client.err(), Some(Error::Refused(refusal)));

    let serve = async {
        let _first = refuse(Code::TooManyConnections).await;
        gateway.welcome(welcome()).await
    };
    let (client, _held) = tokio::join!(Client::connect(gateway.options()), serve);
    assert_eq!(client.expect("the second attempt was good").status().borrow().sessions, 1);
}

#[tokio::test]
async fn requests_are_answered_refused_or_told_that_there_is_no_session() {
    let gateway = Gateway::start().await;
    let mut options = gateway.options();
    (options.reconnect_base, options.reconnect_max) = (Duration::from_millis(200), Duration::from_millis(200));
    let (client, mut peer, pushes) = connected(&gateway, options).await;
    let serve = async {
        let ask = peer.asked(Method::Subscribe).await;
        assert_eq!(ask.message::<pb::SubscribeRequest>().topics, ["a", "b"]);
        ask.answer(&pb::SubscribeResponse { subscriptions: 3 });
        peer.asked(Method::Unsubscribe).await.refuse(Code::StoreFailed);
        let ask = peer.asked(Method::Update).await;
        ask.answer(&pb::UpdateResponse { urgency_floor: pb::Urgency::High.into(), window: 5 });
        drop(peer.asked(Method::Subscribe).await);
        drop((peer, pushes));
    };
    let ask = async {
        assert_eq!(client.subscribe(["a", "b"]).await, Ok(3));
        let refused = client.unsubscribe(["a"]).await.expect_err("it was refused");
        assert!(refused.is_temporary() && refused.to_string().contains("store_failed"), "{refused}");
        assert_eq!(client.update(Some(Urgency::High), Some(5)).await, Ok((Urgency::High, 5)));
        assert!(client.subscribe(["c"]).await.expect_err("it was cut off").is_temporary());
        assert!(matches!(client.subscribe(["a b"]).await, Err(Error::Invalid(_))));
        assert!(matches!(client.subscribe::<&str>([]).await, Err(Error::Invalid(_))));
    };
    tokio::join!(serve, ask);
    // The next session asks for what was agreed.
    let mut peer = gateway.accept().await;
    let open: pb::OpenRequest = peer.asked(Method::Open).await.message();
    assert_eq!((open.window, open.urgency_floor()), (5, pb::Urgency::High));
}

#[tokio::test]
async fn a_program_that_takes_nothing_is_waited_for_and_answers_still_come() {
    const PAYLOAD: usize = 60_000;
    const PUSHES: u64 = 100;
    const WINDOW: usize = 1 << 20;
    // The stream's window, the queue of four pushes, what is being cut into messages, and what is being sent.
    const BOUND: usize = WINDOW + 7 * PAYLOAD;
    let gateway = Gateway::start().await;
    let mut options = gateway.options();
    options.window = 4;
    let (mut client, mut peer, mut pushes) = connected(&gateway, options).await;
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let (full, filled) = tokio::sync::oneshot::channel();
    let sender = tokio::spawn(async move {
        let mut full = Some(full);
        for n in 1..=PUSHES {
            let mut bytes = encode(push(n, n, vec![7; PAYLOAD]));
            while !bytes.is_empty() {
                let piece = bytes.split_to(bytes.len().min(1000));
                // The next piece does not fit whole: sending it fills the window to its last byte.
                if count.fetch_add(piece.len(), Ordering::Relaxed) + piece.len() > WINDOW
                    && let Some(full) = full.take()
                {
                    full.send(()).expect("the test waits");
                }
                pushes.send_bytes(piece).await;
            }
        }
        pushes
    });
    filled.await.expect("the window fills");
    // Taking some makes the client announce all it has room for; then the window fills anew, now to the brim.
    let mut taken = Vec::new();
    for _ in 0..6 {
        taken.push(next(&mut client).await);
    }
    let mut before = 0;
    while sent.load(Ordering::Relaxed) > before {
        before = sent.load(Ordering::Relaxed);
        peer.ping().await;
    }
    let serve = async { peer.asked(Method::Subscribe).await.answer(&pb::SubscribeResponse { subscriptions: 1 }) };
    assert_eq!(tokio::join!(client.subscribe(["news"]), serve).0, Ok(1));
    assert!(!sender.is_finished());
    for n in 7..=PUSHES {
        let ahead = sent.load(Ordering::Relaxed) - taken.len() * PAYLOAD;
        assert!(ahead <= BOUND, "{ahead} bytes ahead of the program");
        let push = next(&mut client).await;
        assert_eq!((push.id, push.payload.len()), (id(n), PAYLOAD));
        taken.push(push);
    }
    drop(sender.await.expect("all is sent"));
}

/// h2 kills a connection on which some thousand tiny frames lie unread, unless it is told how many may.
#[tokio::test]
async fn a_burst_of_tiny_frames_is_waited_for_too() {
    const PUSHES: u64 = 64;
    let gateway = Gateway::start().await;
    let options = Options { window: 2, ..gateway.options() };
    let (mut client, mut peer, mut pushes) = connected(&gateway, options).await;
    for n in 1..=PUSHES {
        let mut bytes = encode(push(n, n, vec![7; 100]));
        while !bytes.is_empty() {
            pushes.send_bytes(bytes.split_to(1)).await;
        }
    }
    // Its answer comes after all of them were received.
    peer.ping().await;
    for n in 1..=PUSHES {
        let push = next(&mut client).await;
        assert_eq!(push.id, id(n));
        push.ack();
    }
    assert_eq!(client.status().borrow().sessions, 1);
}

#[tokio::test]
async fn closing_confirms_the_acks_and_says_goodbye() {
    let gateway = Gateway::start().await;
    // What was handed in first must be seen first, however the task's wake-ups fall.
    for _ in 0..20 {
        let (mut client, mut peer, mut pushes) = connected(&gateway, gateway.options()).await;
        for n in 1..=2 {
            pushes.send(push(n, n, "x")).await;
        }
        let first = next(&mut client).await;
        let handle = client.handle();
        first.ack();
        let (closed, (acked, _)) = tokio::join!(client.close(), take_ack(&mut peer));
        assert_eq!((closed, acked), (Ok(()), vec![(1, 1)]));
        assert_eq!(handle.status().borrow().phase, Phase::Ended { why: None });
        assert_eq!(handle.flush().await, Err(Error::Ended));
        peer.ended().await;
    }
}

#[tokio::test]
async fn a_dropped_client_lets_go_of_its_connection() {
    let gateway = Gateway::start().await;
    let (client, peer, _pushes) = connected(&gateway, gateway.options()).await;
    let handle = client.handle();
    drop(client);
    peer.ended().await;
    assert_eq!(handle.subscribe(["a"]).await, Err(Error::Ended));
}

#[tokio::test]
async fn a_gateway_that_breaks_the_protocol_is_tried_again() {
    let gateway = Gateway::start().await;
    let garbage: [Bytes; 4] = [
        Bytes::from_static(b"\x09\0\0\0\0"),
        Bytes::from_static(b"\0\xff\xff\xff\xff"),
        Bytes::from_static(b"\0\0\0\0\x02\xff\xff"),
        encode(push(1, 1, "x")),
    ];
    let serve = async {
        for garbage in garbage {
            let mut peer = gateway.accept().await;
            peer.asked(Method::Open).await.stream().send_bytes(garbage).await;
            peer.ended().await;
        }
        gateway.welcome(welcome()).await
    };
    let (client, _held) = tokio::join!(Client::connect(gateway.options()), serve);
    let status = client.expect("the last attempt was good").status().borrow().clone();
    assert_eq!(status.sessions, 1);
    assert!(matches!(&status.phase, Phase::Connected(session) if session.tls == "TLS 1.3"), "{status:?}");
}

#[tokio::test]
async fn who_cannot_be_reached_or_trusted_is_named() {
    let gateway = Gateway::start().await;
    let short = |gateway: &Gateway| {
        let connect_timeout = Duration::from_millis(150);
        Options { connect_timeout, reconnect_base: Duration::from_millis(1), ..gateway.options() }
    };
    let mut options = short(&gateway);
    options.roots = Gateway::start().await.options().roots;
    let why = tokio::select! {
        client = Client::connect(options) => client.err(),
        () = gateway.accept_silently() => None,
    };
    assert!(matches!(why, Some(Error::Untrusted(_))), "{why:?}");

    let options = Options { server_name: Some("not a name".into()), ..short(&gateway) };
    let why = tokio::select! {
        client = Client::connect(options) => client.err(),
        () = gateway.accept_silently() => None,
    };
    assert!(matches!(&why, Some(Error::Invalid(words)) if words.starts_with("server_name")), "{why:?}");

    let other = Gateway::speaking(&[]).await;
    let why = tokio::select! {
        client = Client::connect(short(&other)) => client.err(),
        () = other.accept_silently() => None,
    };
    assert!(matches!(why, Some(Error::Protocol(_))), "{why:?}");

    let why = tokio::select! {
        client = Client::connect(short(&gateway)) => client.err(),
        () = gateway.accept_silently() => None,
    };
    assert!(matches!(why, Some(Error::TimedOut(_))), "{why:?}");

    let options = short(&gateway);
    drop(gateway);
    let why = Client::connect(options).await.err();
    assert!(matches!(why, Some(Error::Network(_))), "{why:?}");
}
