//! The backend side from outside, over real sockets: both surfaces accept the same, refuse the same, and keep order.

mod support;

use std::net::SocketAddr;

use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderMap;
use prost::Message;
use pushline::wire::pb;
use pushline::wire::pb::backend_client::BackendClient;
use pushline::wire::pb::push_stream_response::Outcome;
use serde_json::{Value, json};

use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::transport::Channel;

use support::http::{Headers, Reply, http};
use support::{Gateway, PATIENCE};

async fn client(gateway: &Gateway) -> BackendClient<Channel> {
    let endpoint = Channel::from_shared(format!("http://{}", gateway.backend)).expect("an address");
    BackendClient::new(endpoint.connect().await.expect("the gateway takes connections"))
}

fn with_key<T>(key: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {key}").parse().expect("a header"));
    request
}

fn to_user(user: &str) -> Option<pb::Target> {
    Some(pb::Target { to: Some(pb::target::To::User(user.into())) })
}

fn push_to(user: &str) -> pb::PushRequest {
    pb::PushRequest { target: to_user(user), payload: "hello".into(), ..Default::default() }
}

/// The stable word and number that a refusal carries in its trailers.
fn word(status: &tonic::Status) -> (String, u32) {
    let text = |name: &str| {
        let value = status.metadata().get(name).unwrap_or_else(|| panic!("{status:?} has no {name}"));
        value.to_str().expect("ASCII").to_owned()
    };
    (text("pushline-code"), text("pushline-errno").parse().expect("a number"))
}

async fn json_push(gateway: &Gateway, key: &str, body: &Value) -> Reply {
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    http(gateway.backend, "POST /v1/push", &headers, body.to_string().as_bytes()).await
}

/// A call on a raw HTTP/2 connection: what a client library would not send.
struct RawCall {
    send: h2::SendStream<Bytes>,
    answer: h2::client::ResponseFuture,
}

async fn raw_call(address: SocketAddr, path: &str, headers: Headers<'_>) -> RawCall {
    let stream = TcpStream::connect(address).await.expect("the gateway takes connections");
    let (sender, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    tokio::spawn(connection);
    let mut sender = sender.ready().await.expect("a stream");
    let mut request = http::Request::post(format!("http://gateway{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(()).expect("a request");
    let (answer, send) = sender.send_request(request, false).expect("sent");
    RawCall { send, answer }
}

/// Headers, body and trailers of an answer.
async fn finish(answer: h2::client::ResponseFuture) -> (HeaderMap, Bytes, HeaderMap) {
    let answer = tokio::time::timeout(PATIENCE, answer).await.expect("in time").expect("an answer");
    let (parts, mut body) = answer.into_parts();
    let mut bytes = BytesMut::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.expect("a good stream");
        body.flow_control().release_capacity(chunk.len()).expect("within the window");
        bytes.put(chunk);
    }
    let trailers = body.trailers().await.expect("a good stream").unwrap_or_default();
    (parts.headers, bytes.freeze(), trailers)
}

fn framed(message: &impl Message) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.encoded_len()).expect("short"));
    message.encode(&mut bytes).expect("a buffer that grows");
    bytes.freeze()
}

#[tokio::test]
async fn a_push_is_answered_and_can_be_asked_for() {
    let gateway = Gateway::start().await;
    let mut client = client(&gateway).await;
    let push = pb::PushRequest {
        content_type: "text/plain".into(),
        attributes: [("a".to_owned(), "b".to_owned())].into(),
        ttl_seconds: Some(60),
        urgency: pb::Urgency::High.into(),
        collapse_key: "c".into(),
        ..push_to("alice")
    };
    let answer = client.push(with_key(&gateway.key, push.clone())).await.expect("accepted").into_inner();
    assert_eq!((answer.log.as_str(), answer.offset, answer.duplicate), ("inbox/alice", 1, false));
    assert_eq!(answer.expires_at_ms, answer.accepted_at_ms + 60_000);

    let ask = pb::GetMessageRequest { id: answer.id.clone() };
    let known = client.get_message(with_key(&gateway.key, ask)).await.expect("known").into_inner();
    assert_eq!(known.state(), pb::get_message_response::State::Stored);
    assert_eq!((known.id, known.log, known.offset, known.epoch), (answer.id.clone(), answer.log, 1, answer.epoch));
    let content = known.content.expect("the content is stored");
    assert_eq!((content.target, content.payload, content.urgency), (push.target, push.payload, push.urgency));
    assert_eq!((content.content_type, content.attributes), (push.content_type, push.attributes));
    assert_eq!((content.seq, content.attempt, content.id.len()), (0, 0, 16));

    let bearer = format!("Bearer {}", gateway.key);
    let path = format!("GET /v1/messages/{}", answer.id);
    let reply = http(gateway.backend, &path, &[("authorization", &bearer)], b"").await;
    let known = reply.json();
    assert_eq!((reply.status, &known["state"], &known["log"]), (200, &json!("stored"), &json!("inbox/alice")));
    assert_eq!((&known["content"]["payload"], &known["epoch"]), (&json!("hello"), &json!(answer.epoch.to_string())));
}

#[tokio::test]
async fn grpc_refuses_with_a_stable_code() {
    let gateway = Gateway::start().await;
    let mut client = client(&gateway).await;
    let device = pb::DeviceTarget { user: "u".into(), device: "a b".into() };
    let device = Some(pb::Target { to: Some(pb::target::To::Device(device)) });
    let attributes = [("bad name".to_owned(), String::new())].into();
    let none = pb::Durability::None.into();
    let cases = [
        ("invalid_target", 102, 3, pb::PushRequest { target: None, ..push_to("u") }),
        ("invalid_name", 103, 3, push_to("a/b")),
        ("invalid_name", 103, 3, pb::PushRequest { target: device, ..push_to("u") }),
        ("payload_too_large", 106, 3, pb::PushRequest { payload: vec![0; 64 * 1024 + 1].into(), ..push_to("u") }),
        ("payload_too_large", 106, 3, pb::PushRequest { payload: vec![0; 2 << 20].into(), ..push_to("u") }),
        ("invalid_option", 104, 3, pb::PushRequest { content_type: "\n".into(), ..push_to("u") }),
        ("invalid_attributes", 105, 3, pb::PushRequest { attributes, ..push_to("u") }),
        ("invalid_option", 104, 3, pb::PushRequest { urgency: 9, ..push_to("u") }),
        ("invalid_option", 104, 3, pb::PushRequest { durability: 9, ..push_to("u") }),
        ("invalid_option", 104, 3, pb::PushRequest { collapse_key: "x".repeat(65), ..push_to("u") }),
        ("invalid_option", 104, 3, pb::PushRequest { idempotency_key: "x".repeat(129), ..push_to("u") }),
        ("invalid_option", 104, 3, pb::PushRequest { durability: none, idempotency_key: "k".into(), ..push_to("u") }),
    ];
    for (name, errno, status, push) in cases {
        let refusal = client.push(with_key(&gateway.key, push)).await.expect_err(name);
        assert_eq!((word(&refusal), refusal.code() as i32), ((name.to_owned(), errno), status), "{refusal:?}");
        assert!(!refusal.message().is_empty());
    }
    let at_the_limit = pb::PushRequest { payload: vec![0; 64 * 1024].into(), ..push_to("u") };
    let answer = client.push(with_key(&gateway.key, at_the_limit)).await.expect("the limit itself is allowed");
    assert_eq!(answer.into_inner().offset, 1, "nothing of the refused ones was stored");

    let ask = |id: &str| pb::GetMessageRequest { id: id.into() };
    let refusal = client.get_message(with_key(&gateway.key, ask("x"))).await.expect_err("no id");
    assert_eq!(word(&refusal), ("malformed".into(), 101));
    let unknown = ask("00000000-0000-7000-8000-000000000000");
    let refusal = client.get_message(with_key(&gateway.key, unknown)).await.expect_err("not there");
    assert_eq!((word(&refusal), refusal.code()), (("message_not_found".into(), 305), tonic::Code::NotFound));
}

#[tokio::test]
async fn every_method_wants_a_good_key() {
    let gateway = Gateway::start().await;
    let mut client = client(&gateway).await;
    let ask = || pb::GetMessageRequest { id: "00000000-0000-7000-8000-000000000000".into() };
    for (request, name) in [(Request::new(()), "missing_credentials"), (with_key("wrong", ()), "invalid_credentials")] {
        let like = |metadata: &tonic::metadata::MetadataMap| metadata.clone();
        let metadata = like(request.metadata());
        let mut push = Request::new(push_to("u"));
        *push.metadata_mut() = metadata.clone();
        let mut get = Request::new(ask());
        *get.metadata_mut() = metadata.clone();
        // The stream stays open: the refusal must not wait for its end.
        let (_open, receiver) = mpsc::channel::<pb::PushStreamRequest>(1);
        let mut stream = Request::new(ReceiverStream::new(receiver));
        *stream.metadata_mut() = metadata;
        let refusals = [
            client.push(push).await.map(|_| ()).expect_err(name),
            client.get_message(get).await.map(|_| ()).expect_err(name),
            client.push_stream(stream).await.map(|_| ()).expect_err(name),
        ];
        for refusal in refusals {
            assert_eq!((word(&refusal).0.as_str(), refusal.code()), (name, tonic::Code::Unauthenticated));
        }
    }
    let good_body = json!({ "target": { "user": "u" } }).to_string();
    let basic = format!("Basic {}", gateway.key);
    let lower = format!("bearer {}", gateway.key);
    let id = "GET /v1/messages/00000000-0000-7000-8000-000000000000";
    let json_type = ("content-type", "application/json");
    let cases: [(&str, Headers<'_>, u16, &str); 7] = [
        ("POST /v1/push", &[json_type], 401, "missing_credentials"),
        ("POST /v1/push", &[json_type, ("authorization", "Bearer wrong")], 401, "invalid_credentials"),
        ("POST /v1/push", &[json_type, ("authorization", &basic)], 401, "invalid_credentials"),
        (
            "POST /v1/push",
            &[json_type, ("authorization", &lower), ("authorization", &lower)],
            401,
            "invalid_credentials",
        ),
        ("POST /v1/push/stream", &[("content-type", "application/x-ndjson")], 401, "missing_credentials"),
        (id, &[], 401, "missing_credentials"),
        (id, &[("authorization", &lower)], 404, "message_not_found"),
    ];
    for (head, headers, status, name) in cases {
        let reply = http(gateway.backend, head, headers, good_body.as_bytes()).await;
        assert_eq!((reply.status, &reply.json()["error"]), (status, &json!(name)), "{head} {headers:?}");
        assert_eq!(reply.header("www-authenticate"), (status == 401).then_some("Bearer"));
    }
}

#[tokio::test]
async fn tenants_are_apart() {
    let gateway = Gateway::start().await;
    let mut client = client(&gateway).await;
    let keyed = pb::PushRequest { idempotency_key: "k".into(), ..push_to("alice") };
    let mine = client.push(with_key(&gateway.key, keyed.clone())).await.expect("accepted").into_inner();
    let theirs = client.push(with_key(&gateway.other_key, keyed)).await.expect("accepted").into_inner();
    assert_eq!((theirs.duplicate, theirs.offset), (false, 1), "an inbox and a key of its own");
    assert_ne!(mine.id, theirs.id);
    let ask = pb::GetMessageRequest { id: mine.id };
    let refusal = client.get_message(with_key(&gateway.other_key, ask.clone())).await.expect_err("not theirs");
    assert_eq!(word(&refusal).0, "message_not_found");
    client.get_message(with_key(&gateway.key, ask)).await.expect("mine");
}

#[tokio::test]
async fn an_idempotency_key_makes_one_push_of_two_on_both_surfaces() {
    let gateway = Gateway::start().await;
    let mut client = client(&gateway).await;
    let keyed =
        pb::PushRequest { idempotency_key: "order-7".into(), content_type: "text/plain".into(), ..push_to("u") };
    let first = client.push(with_key(&gateway.key, keyed.clone())).await.expect("accepted").into_inner();
    let again = client.push(with_key(&gateway.key, keyed.clone())).await.expect("accepted").into_inner();
    assert_eq!(again, pb::PushResponse { duplicate: true, ..first.clone() });

    let same = json!({
        "target": { "user": "u" }, "payload": "hello", "content_type": "text/plain", "idempotency_key": "order-7",
    });
    let reply = json_push(&gateway, &gateway.key, &same).await;
    let answer = reply.json();
    assert_eq!((reply.status, &answer["id"], &answer["duplicate"]), (200, &json!(first.id), &json!(true)));

    let other = pb::PushRequest { payload: "other".into(), ..keyed };
    let refusal = client.push(with_key(&gateway.key, other)).await.expect_err("another content");
    assert_eq!((word(&refusal), refusal.code()), (("idempotency_conflict".into(), 304), tonic::Code::AlreadyExists));
    let bearer = format!("Bearer {}", gateway.key);
    let headers =
        [("authorization", bearer.as_str()), ("content-type", "application/json"), ("idempotency-key", "order-7")];
    let body = json!({ "target": { "user": "u" }, "payload": "third" }).to_string();
    let reply = http(gateway.backend, "POST /v1/push", &headers, body.as_bytes()).await;
    assert_eq!((reply.status, &reply.json()["errno"]), (409, &json!(304)), "the header is the same key");
}

#[tokio::test]
async fn a_stream_answers_in_order_and_outlives_its_bad_pushes() {
    // More than may be outstanding, and sent before an answer is read: the stream must neither stall nor drop.
    const PUSHES: u64 = 3_000;
    let gateway = Gateway::start().await;
    let mut client = client(&gateway).await;
    let asks = (0..PUSHES).map(|n| pb::PushStreamRequest {
        reference: n * 7,
        push: match n % 5 {
            3 => Some(push_to("no/name")),
            4 => None,
            _ => Some(push_to("u")),
        },
    });
    let request = with_key(&gateway.key, tokio_stream::iter(asks));
    let mut answers = client.push_stream(request).await.expect("a stream").into_inner();
    let mut stored = 0;
    for n in 0..PUSHES {
        let answer = answers.next().await.expect("an answer to each").expect("a good stream");
        assert_eq!(answer.reference, n * 7);
        match (n % 5, answer.outcome.expect("an outcome")) {
            (3, Outcome::Error(error)) => {
                assert_eq!((error.code.as_str(), error.errno, error.status), ("invalid_name", 103, 3))
            }
            (4, Outcome::Error(error)) => assert_eq!((error.code.as_str(), error.errno), ("malformed", 101)),
            (_, Outcome::Accepted(accepted)) => {
                stored += 1;
                assert_eq!(accepted.offset, stored, "offsets follow the order of the stream");
            }
            (_, outcome) => panic!("push {n}: {outcome:?}"),
        }
    }
    assert!(answers.next().await.is_none(), "half-closed, all answered, OK");
}

#[tokio::test]
async fn a_stream_is_answered_while_it_is_open() {
    let gateway = Gateway::start().await;
    let mut client = client(&gateway).await;
    let (sender, receiver) = mpsc::channel(1);
    let request = with_key(&gateway.key, ReceiverStream::new(receiver));
    let mut answers = client.push_stream(request).await.expect("a stream").into_inner();
    for reference in 0..3 {
        sender.send(pb::PushStreamRequest { reference, push: Some(push_to("u")) }).await.expect("open");
        let answer = tokio::time::timeout(PATIENCE, answers.next()).await.expect("in time");
        assert_eq!(answer.expect("an answer").expect("a good stream").reference, reference);
    }
    drop(sender);
    assert!(answers.next().await.is_none());
}

#[tokio::test]
async fn a_stream_that_turns_to_nonsense_answers_what_came_before() {
    let gateway = Gateway::start().await;
    let bearer = format!("Bearer {}", gateway.key);
    let headers = [("content-type", "application/grpc"), ("te", "trailers"), ("authorization", &bearer)];
    let large = [&[0u8][..], &(1u32 << 20).to_be_bytes()].concat();
    let cases: [(&[u8], &str); 4] = [
        (b"\0\0\0\0\x02\xff\xff", "malformed"),
        (b"\0\0\0\0\x09abc", "malformed"),
        (b"\x01\0\0\0\x01a", "malformed"),
        (&large, "payload_too_large"),
    ];
    for (nonsense, name) in cases {
        let mut call = raw_call(gateway.backend, "/pushline.v1.Backend/PushStream", &headers).await;
        let good = pb::PushStreamRequest { reference: 9, push: Some(push_to("u")) };
        call.send.send_data(framed(&good), false).expect("sent");
        call.send.send_data(Bytes::copy_from_slice(nonsense), true).expect("sent");
        let (_, body, trailers) = finish(call.answer).await;
        let answer = pb::PushStreamResponse::decode(&body[5..]).expect("one whole answer");
        assert!(matches!((answer.reference, answer.outcome), (9, Some(Outcome::Accepted(_)))));
        assert_eq!(trailers["pushline-code"], name, "{trailers:?}");
    }
}

#[tokio::test]
async fn odd_grpc_requests_get_a_code_too() {
    let gateway = Gateway::start().await;
    let bearer = format!("Bearer {}", gateway.key);
    let good = framed(&push_to("u"));
    let large = [&[0u8][..], &(1u32 << 30).to_be_bytes()].concat();
    let gzip = ("grpc-encoding", "gzip");
    let cases: [(&str, Headers<'_>, &[u8], &str); 7] = [
        ("/pushline.v1.Backend/Push", &[gzip], &good, "unsupported_encoding"),
        ("/pushline.v1.Backend/PushStream", &[gzip], &good, "unsupported_encoding"),
        ("/pushline.v1.Backend/Push", &[], b"\0\0\0\0\x02\xff\xff", "malformed"),
        ("/pushline.v1.Backend/Push", &[], b"", "malformed"),
        ("/pushline.v1.Backend/Push", &[], &large, "payload_too_large"),
        ("/pushline.v1.Backend/Nothing", &[], &good, "unknown_method"),
        ("/other.Service/Push", &[], &good, "unknown_method"),
    ];
    for (path, more, body, name) in cases {
        let headers = [("content-type", "application/grpc"), ("te", "trailers"), ("authorization", &bearer)];
        let mut call = raw_call(gateway.backend, path, &[&headers, more].concat()).await;
        call.send.send_data(Bytes::copy_from_slice(body), true).expect("sent");
        let (headers, _, _) = finish(call.answer).await;
        assert_eq!(
            headers.get("pushline-code").map(|value| value.as_bytes()),
            Some(name.as_bytes()),
            "{path} {headers:?}"
        );
        assert_eq!(headers["content-type"], "application/grpc");
        assert_ne!(headers["grpc-status"], "0");
    }
    let mut call =
        raw_call(gateway.backend, "/pushline.v1.Backend/Push", &[("content-type", "application/json")]).await;
    call.send.send_data(good, true).expect("sent");
    let answer = call.answer.await.expect("an answer");
    assert_eq!(answer.status(), 415);
}

#[tokio::test]
async fn no_answer_overtakes_the_end_of_its_request() {
    let gateway = Gateway::start().await;
    let cases = ["/nowhere", "/v1/push", "/healthz", "/v1/messages/x", "/pushline.v1.Backend/Push"];
    for path in cases {
        for content_type in ["application/json", "application/grpc"] {
            let mut call = raw_call(gateway.backend, path, &[("content-type", content_type)]).await;
            call.send.send_data(Bytes::from_static(b"part"), false).expect("sent");
            // A whole exchange on another connection gives an early answer all the time it would need.
            assert_eq!(http(gateway.backend, "GET /healthz", &[], b"").await.status, 200);
            let early = futures_util::future::poll_immediate(&mut call.answer).await;
            assert!(early.is_none(), "{path} {content_type}: {early:?}");
            call.send.send_data(Bytes::new(), true).expect("the stream was not reset");
            finish(call.answer).await;
        }
    }
}

#[tokio::test]
async fn json_pushes_are_accepted() {
    let gateway = Gateway::start().await;
    let target = || json!({ "topic": "news" });
    let reply = json_push(&gateway, &gateway.key, &json!({ "target": target(), "payload_json": { "a": 1 } })).await;
    let answer = reply.json();
    assert_eq!((reply.status, &answer["log"], &answer["offset"]), (201, &json!("topic/news"), &json!(1)));
    assert!(answer["epoch"].is_string() && answer["accepted_at_ms"].is_u64() && answer["expires_at_ms"].is_u64());
    let id = answer["id"].as_str().expect("an id");
    let location = format!("/v1/messages/{id}");
    assert_eq!(reply.header("location"), Some(location.as_str()));

    let bearer = format!("Bearer {}", gateway.key);
    let known = http(gateway.backend, &format!("GET {location}"), &[("authorization", &bearer)], b"").await.json();
    assert_eq!(
        (&known["content"]["payload"], &known["content"]["content_type"]),
        (&json!("{\"a\":1}"), &json!("application/json"))
    );
    assert_eq!(known["content"]["target"], target());

    let online = json!({ "target": target(), "payload_base64": "AAE=", "durability": "none", "ttl": 0 });
    let reply = json_push(&gateway, &gateway.key, &online).await;
    assert_eq!((reply.status, reply.header("location")), (202, None));
    assert_eq!(reply.json()["log"], Value::Null);
}

#[tokio::test]
async fn json_refuses_with_a_stable_code() {
    let gateway = Gateway::start().await;
    let bearer = format!("Bearer {}", gateway.key);
    let large = format!(r#"{{"target": {{"user": "u"}}, "payload": "{}"}}"#, "x".repeat(64 * 1024 + 1));
    let huge = vec![b' '; 4 << 20];
    let key: Headers<'_> = &[("authorization", &bearer)];
    let json_body: Headers<'_> = &[("authorization", &bearer), ("content-type", "application/json; charset=utf-8")];
    let text: Headers<'_> = &[("authorization", &bearer), ("content-type", "text/plain")];
    let gzip: Headers<'_> = &[json_body[0], json_body[1], ("content-encoding", "gzip")];
    let two_keys: Headers<'_> = &[json_body[0], json_body[1], ("idempotency-key", "b")];
    type Case<'a> = (&'a str, Headers<'a>, &'a [u8], u16, u32, &'a str);
    let cases: [Case<'_>; 21] = [
        ("POST /v1/push", json_body, b"{", 400, 101, "line 1 column 1"),
        ("POST /v1/push", json_body, b"{\"payload\": \"\xff\"}", 400, 101, "line 1"),
        ("POST /v1/push", json_body, br#"{"tagret": {}}"#, 400, 101, "did you mean `target`?"),
        ("POST /v1/push", json_body, b"{}", 400, 102, "target is missing"),
        ("POST /v1/push", json_body, br#"{"target": {"user": "u", "topic": "t"}}"#, 400, 102, "names several"),
        ("POST /v1/push", json_body, br#"{"target": {"user": ""}}"#, 400, 103, "target.user"),
        ("POST /v1/push", json_body, br#"{"target": {"user": "u"}, "ttl": -1}"#, 400, 104, "ttl"),
        ("POST /v1/push", json_body, br#"{"target": {"user": "u"}, "urgency": "urgent"}"#, 400, 104, "very-low"),
        ("POST /v1/push", json_body, br#"{"target": {"user": "u"}, "attributes": {"": ""}}"#, 400, 105, "attributes"),
        ("POST /v1/push", json_body, large.as_bytes(), 413, 106, "65536"),
        ("POST /v1/push", json_body, &huge, 413, 109, "larger"),
        ("POST /v1/push", two_keys, br#"{"target": {"user": "u"}, "idempotency_key": "a"}"#, 400, 104, "two of them"),
        ("POST /v1/push", gzip, b"{}", 415, 110, "compressed"),
        ("POST /v1/push", text, b"{}", 415, 111, "application/json"),
        ("POST /v1/push", key, b"{}", 415, 111, "application/json"),
        ("POST /v1/push/stream", json_body, b"{}", 415, 111, "application/x-ndjson"),
        ("GET /v1/messages/x", key, b"", 400, 101, "not a message id"),
        ("GET /v1/messages/%ff", key, b"", 400, 101, "not a message id"),
        ("GET /v1/messages/00000000-0000-7000-8000-000000000000", key, b"", 404, 305, ""),
        ("GET /v2/push", key, b"", 404, 112, "no such method"),
        ("POST /", &[], b"x", 404, 112, "no such method"),
    ];
    for (head, headers, body, status, errno, words) in cases {
        let reply = http(gateway.backend, head, headers, body).await;
        let fault = reply.json();
        let shown = (head, String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned());
        assert_eq!(
            (reply.status, &fault["code"], &fault["errno"]),
            (status, &json!(status), &json!(errno)),
            "{shown:?} {fault}"
        );
        assert!(fault["message"].as_str().expect("words").contains(words), "{shown:?} {fault}");
        assert_eq!(fault.as_object().expect("an object").len(), 4);
    }
    for (head, allow) in [
        ("GET /v1/push", "POST"),
        ("PUT /v1/push/stream", "POST"),
        ("POST /v1/messages/x", "GET,HEAD,DELETE"),
        ("POST /metrics", "GET,HEAD"),
    ] {
        let reply = http(gateway.backend, head, &[], b"").await;
        assert_eq!(
            (reply.status, reply.header("allow"), &reply.json()["errno"]),
            (405, Some(allow), &json!(113)),
            "{head}"
        );
    }
    let accepted = json_push(&gateway, &gateway.key, &json!({ "target": { "user": "u" } })).await;
    assert_eq!(accepted.json()["offset"], 1, "nothing of the refused ones was stored");
}

#[tokio::test]
async fn a_json_stream_is_the_twin_of_the_grpc_one() {
    let gateway = Gateway::start().await;
    let bearer = format!("Bearer {}", gateway.key);
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/x-ndjson")];
    let body = concat!(
        "{\"reference\": 18446744073709551615, \"target\": {\"user\": \"u\"}}\n\n",
        "{\"reference\": 2, \"target\": {\"user\": \"a/b\"}}\r\n",
        "nonsense\n",
        "{\"target\": {\"user\": \"u\"}}",
    );
    let reply = http(gateway.backend, "POST /v1/push/stream", &headers, body.as_bytes()).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/x-ndjson")));
    let text = String::from_utf8(reply.body).expect("text");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert_eq!((&lines[0]["reference"], &lines[0]["accepted"]["offset"]), (&json!(u64::MAX), &json!(1)));
    assert_eq!((&lines[1]["reference"], &lines[1]["error"]["error"]), (&json!(2), &json!("invalid_name")));
    assert_eq!((lines[2].get("reference"), &lines[2]["error"]["errno"]), (None, &json!(101)));
    assert!(lines[2]["error"]["message"].as_str().expect("words").starts_with("line 4: "), "{}", lines[2]);
    assert_eq!((lines[3].get("reference"), &lines[3]["accepted"]["offset"]), (None, &json!(2)));

    let long = format!("{{\"target\": {{\"user\": \"u\"}}}}\n{}\n{{}}\n", "x".repeat(2 << 20));
    let reply = http(gateway.backend, "POST /v1/push/stream", &headers, long.as_bytes()).await;
    let text = String::from_utf8(reply.body).expect("text");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(
        (lines.len(), &lines[0]["accepted"]["offset"], &lines[1]["ended"]["errno"]),
        (2, &json!(3), &json!(109))
    );
}

#[tokio::test]
async fn a_json_stream_is_answered_while_it_is_open() {
    let gateway = Gateway::start().await;
    let bearer = format!("Bearer {}", gateway.key);
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/x-ndjson")];
    let mut call = raw_call(gateway.backend, "/v1/push/stream", &headers).await;
    let line =
        |reference: u64| Bytes::from(format!("{}\n", json!({ "reference": reference, "target": { "user": "u" } })));
    call.send.send_data(line(0), false).expect("sent");
    let answer = tokio::time::timeout(PATIENCE, &mut call.answer).await.expect("in time").expect("an answer");
    let mut body = answer.into_body();
    for reference in 0..3 {
        let bytes = tokio::time::timeout(PATIENCE, body.data()).await.expect("in time").expect("a line").expect("good");
        body.flow_control().release_capacity(bytes.len()).expect("within the window");
        let answer: Value = serde_json::from_slice(&bytes).expect("one line of JSON");
        assert_eq!(answer["reference"], reference);
        call.send
            .send_data(if reference < 2 { line(reference + 1) } else { Bytes::new() }, reference == 2)
            .expect("sent");
    }
    while let Some(rest) = body.data().await {
        assert_eq!(rest.expect("a good end"), Bytes::new(), "nothing after the last answer");
    }
}

#[tokio::test]
async fn operators_are_answered_without_a_key() {
    let gateway = Gateway::start().await;
    let reply = http(gateway.backend, "GET /healthz", &[], b"").await;
    assert_eq!((reply.status, &reply.body[..]), (200, &b"ok\n"[..]));
    let reply = http(gateway.backend, "GET /readyz", &[], b"").await;
    let ready = reply.json();
    assert_eq!((reply.status, &ready["ready"]), (200, &json!(true)));
    assert!(ready["append_read_ms"].as_f64().expect("a number") > 0.0);

    json_push(&gateway, &gateway.key, &json!({ "target": { "user": "u" } })).await;
    json_push(&gateway, &gateway.key, &json!({ "target": { "user": "a/b" } })).await;
    let reply = http(gateway.backend, "GET /metrics", &[], b"").await;
    assert!(reply.header("content-type").expect("a type").starts_with("application/openmetrics-text"));
    let text = String::from_utf8(reply.body).expect("text");
    for line in
        ["pushline_pushes_total{outcome=\"accepted\"} 1", "pushline_pushes_refused_total{code=\"invalid_name\"} 1"]
    {
        assert!(text.lines().any(|known| known == line), "{line} in {text}");
    }
    assert!(text.ends_with("# EOF\n"));
}
