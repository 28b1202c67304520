//! The access token of a live session over real sockets: renewed, about to expire, expired; and viewers, whose token lets
//! them read a share and nothing else.

mod support;

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use prost::Message;
use pushline::model::id::MessageId;
use pushline::wire::device::Method;
use pushline::wire::{grpc, pb};
use serde_json::json;
use support::device::{Device, Pushes, open};
use support::{Gateway, push, to_topic, to_user, token_for};

/// The stable word of a refusal.
fn word(trailers: &HeaderMap) -> &str {
    trailers.get("pushline-code").map_or("", |word| word.to_str().expect("ASCII"))
}

/// The id of a message as devices get it.
fn bytes_of(id: &str) -> Bytes {
    Bytes::copy_from_slice(MessageId::parse(id).expect("an id").as_bytes())
}

async fn renew(device: &mut Device, token: &str) -> (Bytes, HeaderMap) {
    let (_, body, trailers) = device.call(Method::Renew, &pb::RenewRequest { token: token.to_owned() }).await;
    (body, trailers)
}

/// When the token that was taken expires.
fn renewed(body: &[u8]) -> u64 {
    let mut deframer = grpc::Deframer::new(1 << 10);
    deframer.push(body);
    let message = deframer.next_message().expect("gRPC").expect("a message");
    pb::RenewResponse::decode(message).expect("an answer").expires_at_ms
}

async fn closed(pushes: &mut Pushes) -> pb::Close {
    loop {
        match pushes.next().await {
            Some(pb::open_response::Frame::Close(close)) => return close,
            Some(_) => {}
            None => panic!("the stream ended without a word"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_on_with_a_newer_token_and_a_refused_one_changes_nothing() {
    let gateway = Gateway::start().await;
    let mut device = Device::connect(gateway.devices, &gateway.ca).await;
    let (_, mut pushes) = open(&mut device, gateway.token("ada", "phone")).await;
    let mut backend = gateway.backend().await;
    let revoked = gateway.json().send("POST /v1/tokens", &json!({"user": "ada", "device": "phone"})).await.json();
    let id = revoked["id"].as_str().expect("an id");
    let answer = gateway.json().send("POST /v1/tokens/revoke", &json!({ "id": id })).await;
    assert_eq!(answer.json()["sessions"], 0, "no session lives by it");
    let expired = token_for(gateway.data(), "ada", "phone", Duration::ZERO);
    let other_gateway = Gateway::start().await;
    for (token, expected) in [
        (String::new(), "missing_credentials"),
        ("garbage".to_owned(), "invalid_credentials"),
        (other_gateway.token("ada", "phone"), "invalid_credentials"),
        (expired, "expired_token"),
        (gateway.token("ada", "laptop"), "forbidden"),
        (gateway.token("eve", "phone"), "forbidden"),
        (revoked["token"].as_str().expect("a token").to_owned(), "revoked_token"),
    ] {
        let (_, trailers) = renew(&mut device, &token).await;
        assert_eq!(word(&trailers), expected);
    }
    let newer = gateway.json().send("POST /v1/tokens", &json!({"user": "ada", "device": "phone"})).await.json();
    let (body, trailers) = renew(&mut device, newer["token"].as_str().expect("a token")).await;
    assert_eq!(word(&trailers), "");
    assert_eq!(Some(renewed(&body)), newer["expires_at_ms"].as_u64());
    let id = push(&mut backend, to_user("ada", "still here")).await;
    assert_eq!(pushes.push().await.id, bytes_of(&id), "on the same stream");
    // It lives by the newer token now.
    let answer = gateway.json().send("POST /v1/tokens/revoke", &json!({ "id": newer["id"] })).await;
    assert_eq!(answer.json()["sessions"], 1);
    let close = closed(&mut pushes).await;
    assert_eq!((close.code, close.name.as_str(), close.may_return), (204, "revoked", false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_told_before_its_token_expires_and_then_closed() {
    let gateway = Gateway::start().await;
    let mut device = Device::connect(gateway.devices, &gateway.ca).await;
    let (_, mut pushes) = open(&mut device, gateway.token("ada", "phone")).await;
    let (body, _) = renew(&mut device, &token_for(gateway.data(), "ada", "phone", Duration::from_secs(3))).await;
    match pushes.next().await {
        Some(pb::open_response::Frame::TokenExpiring(told)) => assert_eq!(told.expires_at_ms, renewed(&body)),
        other => panic!("it was not told: {other:?}"),
    }
    let close = closed(&mut pushes).await;
    assert_eq!((close.code, close.name.as_str(), close.may_return), (202, "token_expired", false));
    assert!(pushes.next().await.is_none());
    let trailers = pushes.body.trailers().await.expect("trailers").expect("a status");
    assert_eq!(trailers["grpc-status"], "16", "a stock client does not come back with this token");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_reads_its_topics_and_does_nothing_else() {
    let gateway = Gateway::start().await;
    let mut backend = gateway.backend().await;
    push(&mut backend, to_topic("scores", "before")).await;
    let json = gateway.json();
    let asked = json!({"topics": ["scores"], "viewers_max": 1, "note": "the wall"});
    let made = json.send("POST /v1/shares", &asked).await.json();
    let (token, id) = (made["token"].as_str().expect("a token"), made["share"]["id"].as_str().expect("an id"));
    let mut viewer = Device::connect(gateway.devices, &gateway.ca).await;
    let (_, mut pushes) = open(&mut viewer, token.to_owned()).await;
    let mut second = Device::connect(gateway.devices, &gateway.ca).await;
    let (_, _, trailers) =
        second.call(Method::Open, &pb::OpenRequest { token: token.into(), ..Default::default() }).await;
    assert_eq!(word(&trailers), "too_many_viewers");

    let topics = vec!["news".to_owned()];
    let (_, _, trailers) = viewer.call(Method::Subscribe, &pb::SubscribeRequest { topics: topics.clone() }).await;
    assert_eq!(word(&trailers), "read_only");
    let (_, _, trailers) = viewer.call(Method::Unsubscribe, &pb::UnsubscribeRequest { topics }).await;
    assert_eq!(word(&trailers), "read_only");
    let attributes = pb::Attributes { values: [("a".to_owned(), "b".to_owned())].into() };
    for update in [
        pb::UpdateRequest { window: Some(1), ..Default::default() },
        pb::UpdateRequest { attributes: Some(attributes), ..Default::default() },
    ] {
        let (_, _, trailers) = viewer.call(Method::Update, &update).await;
        assert_eq!(word(&trailers), "read_only");
    }
    let first = push(&mut backend, to_topic("scores", "1:0")).await;
    let dismiss = pb::DismissRequest { ids: vec![bytes_of(&first)] };
    assert_eq!(word(&viewer.call(Method::Dismiss, &dismiss).await.2), "read_only");
    assert_eq!(word(&renew(&mut viewer, &gateway.token("ada", "phone")).await.1), "forbidden");
    assert_eq!(word(&renew(&mut viewer, token).await.1), "");

    push(&mut backend, to_topic("news", "not shared")).await;
    push(&mut backend, to_user("ada", "a secret")).await;
    push(&mut backend, to_user(&format!("_share:{id}"), "for nobody")).await;
    let last = push(&mut backend, to_topic("scores", "2:0")).await;
    let arrived = [pushes.push().await, pushes.push().await];
    assert_eq!(arrived.map(|push| push.id), [first, last].map(|id| bytes_of(&id)), "from the head of its topic on");
    let ranges = vec![pb::SeqRange { from: 1, upto: 2 }];
    let (_, body, trailers) = viewer.call(Method::Ack, &pb::AckRequest { acked: ranges, ..Default::default() }).await;
    assert_eq!((word(&trailers), body.is_empty()), ("", false));

    let listed = json.call("GET /v1/shares").await.json();
    assert_eq!((&listed["shares"][0]["id"], &listed["shares"][0]["viewers"]), (&json!(id), &json!(1)));
    let answer = json.call(&format!("DELETE /v1/shares/{id}")).await;
    assert_eq!(answer.json()["sessions"], 1);
    assert_eq!(closed(&mut pushes).await.name, "revoked");
    let mut late = Device::connect(gateway.devices, &gateway.ca).await;
    let (_, _, trailers) =
        late.call(Method::Open, &pb::OpenRequest { token: token.into(), ..Default::default() }).await;
    assert_eq!(word(&trailers), "revoked_token");
}
