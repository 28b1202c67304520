//! What comes too fast is refused on every surface, with word of when to come again; what comes as told is let in; and
//! nobody pays for another.

mod support;

use std::time::Duration;

use http::HeaderMap;
use pushline::client::Error;
use pushline::client::backend::Admin;
use pushline::config::Config;
use pushline::model::clock::Clock;
use pushline::model::tenant::Rate;
use pushline::wire::device::Method;
use pushline::wire::pb;
use pushline::wire::pb::push_stream_response::Outcome;
use pushline::wire::pb::push_users_response::outcome::Outcome as UserOutcome;
use serde_json::json;
use support::device::{Device, Pushes, open};
use support::http::Json;
use support::{Gateway, backend, get, metric, push, soon, to_user, word};
use tonic::metadata::MetadataMap;

/// One that does not come back while a test runs.
fn scarce(burst: u32) -> Option<Rate> {
    Some(Rate::parse(&format!("1/h burst {burst}")).expect("a rate"))
}

async fn gateway(change: impl FnOnce(&mut Config)) -> Gateway {
    Gateway::start_with(change).await
}

/// The wait that a scarce rate tells, in whole seconds and in milliseconds.
fn assert_told(seconds: &str, millis: &str) {
    let (seconds, millis): (u64, u64) = (seconds.parse().expect("seconds"), millis.parse().expect("milliseconds"));
    assert!((3_500..=3_600).contains(&seconds), "{seconds} s");
    assert_eq!(seconds, millis.div_ceil(1_000));
}

fn assert_limited(status: &tonic::Status) {
    assert_eq!((word(status), status.code()), ("rate_limited", tonic::Code::ResourceExhausted));
    let text = |metadata: &MetadataMap, name| metadata.get(name).expect(name).to_str().expect("ASCII").to_owned();
    assert_told(&text(status.metadata(), "retry-after"), &text(status.metadata(), "grpc-retry-pushback-ms"));
}

fn assert_limited_device(trailers: &HeaderMap) {
    let text =
        |name: &str| trailers.get(name).unwrap_or_else(|| panic!("no {name}: {trailers:?}")).to_str().expect("ASCII");
    assert_eq!((text("pushline-code"), text("grpc-status")), ("rate_limited", "8"));
    assert_told(text("retry-after"), text("grpc-retry-pushback-ms"));
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_of_a_tenant() {
    let gateway = gateway(|config| config.rate.pushes_per_tenant = scarce(4)).await;
    let mut client = gateway.backend().await;
    for _ in 0..2 {
        push(&mut client, to_user("ada", "in time")).await;
    }
    // A stream: two find room, the others are refused one by one, and it goes on.
    let ask = |reference| pb::PushStreamRequest { reference, push: Some(to_user("ada", "streamed")) };
    let asks: Vec<_> = (0..5).map(ask).collect();
    let mut answers = client.push_stream(tokio_stream::iter(asks)).await.expect("a stream").into_inner();
    for reference in 0..5 {
        let answer = soon("an answer", answers.message()).await.expect("an answer").expect("an answer");
        assert_eq!(answer.reference, reference);
        match answer.outcome.expect("an outcome") {
            Outcome::Accepted(_) => assert!(reference < 2, "{reference}"),
            Outcome::Error(error) => {
                assert!(reference >= 2, "{error:?}");
                assert_eq!((error.code.as_str(), error.status), ("rate_limited", 8));
                assert!((3_500_000..=3_600_000).contains(&error.retry_after_ms), "{error:?}");
            }
        }
    }
    assert_eq!(soon("its end", answers.message()).await.expect("a clean end"), None);

    assert_limited(&soon("a refusal", client.push(to_user("ada", "late"))).await.expect_err("too fast"));
    let many = pb::PushUsersRequest {
        users: vec!["ada".to_owned(), "bob".to_owned()],
        push: Some(pb::PushRequest { target: None, ..to_user("", "late") }),
    };
    let outcomes = soon("outcomes", client.push_users(many)).await.expect("outcomes").into_inner().outcomes;
    let refused =
        |outcome: &Option<UserOutcome>| matches!(outcome, Some(UserOutcome::Error(error)) if error.errno == 410);
    assert!(outcomes.len() == 2 && outcomes.iter().all(|outcome| refused(&outcome.outcome)), "{outcomes:?}");

    let body = json!({ "target": { "user": "ada" }, "payload": "late" });
    let late = gateway.json().send("POST /v1/push", &body).await;
    late.assert_refused(429, 410, "pushes of this tenant come faster than 1/h burst 4");
    let millis = late.json()["retry_after_ms"].to_string();
    assert_told(late.header("retry-after").expect("a header"), &millis);

    // Another tenant has a bucket of its own; reading is no push.
    let mut other = backend(gateway.backend, &gateway.other_key).await;
    push(&mut other, to_user("ada", "in time")).await;
    assert_eq!(gateway.json().call("GET /v1/groups").await.status, 200);
    assert_eq!(metric(gateway.backend, "pushline_rate_limited_total{what=\"tenant_push\"}").await, 7.0);
    assert_eq!(metric(gateway.backend, "pushline_pushes_refused_total{code=\"rate_limited\"}").await, 7.0);
    assert_eq!(metric(gateway.backend, "pushline_pushes_total{outcome=\"accepted\"}").await, 5.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_a_key() {
    let gateway = gateway(|config| config.rate.calls_per_key = scarce(3)).await;
    let mut client = gateway.backend().await;
    let twin = gateway.json();
    push(&mut client, to_user("ada", "one")).await;
    assert_eq!(twin.call("GET /v1/groups").await.status, 200);
    // A stream is one call, however much comes on it.
    let ask = |reference| pb::PushStreamRequest { reference, push: Some(to_user("ada", "streamed")) };
    let asks: Vec<_> = (0..9).map(ask).collect();
    let mut answers = client.push_stream(tokio_stream::iter(asks)).await.expect("a stream").into_inner();
    while let Some(answer) = soon("an answer", answers.message()).await.expect("an answer") {
        assert!(matches!(answer.outcome, Some(Outcome::Accepted(_))), "{answer:?}");
    }

    assert_limited(&soon("a refusal", client.push(to_user("ada", "late"))).await.expect_err("too fast"));
    let asks = tokio_stream::iter([ask(1)]);
    assert_limited(&soon("a refusal", client.push_stream(asks)).await.expect_err("too fast"));
    let late = twin.call("GET /v1/groups").await;
    late.assert_refused(429, 410, "calls of this API key");
    assert_told(late.header("retry-after").expect("a header"), &late.json()["retry_after_ms"].to_string());
    let large = vec![b' '; 300_000];
    let refused = twin.send_as("application/json", "POST /v1/push", &large).await;
    assert_eq!(refused.status, 429, "its body is read all the same");

    // Who has another key is not touched, and whoever has none is not let in for it.
    assert_eq!(Json::new(gateway.backend, &gateway.other_key).call("GET /v1/groups").await.status, 200);
    Json::new(gateway.backend, "no key").call("GET /v1/groups").await.assert_refused(401, 202, "");
    assert_eq!(get(gateway.backend, "/healthz").await.0, 200);
    assert_eq!(metric(gateway.backend, "pushline_rate_limited_total{what=\"key_call\"}").await, 4.0);
}

async fn subscribe(device: &mut Device, topic: &str) -> HeaderMap {
    device.call(Method::Subscribe, &pb::SubscribeRequest { topics: vec![topic.to_owned()] }).await.2
}

async fn session(gateway: &Gateway, user: &str, device: &str) -> (Device, Pushes) {
    let mut connection = Device::connect(gateway.devices, &gateway.ca).await;
    let (_, pushes) = open(&mut connection, gateway.token(user, device)).await;
    (connection, pushes)
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_a_device_and_of_its_user() {
    let gateway = gateway(|config| {
        config.rate.requests_per_device = scarce(3);
        config.rate.requests_per_user = scarce(5);
    })
    .await;
    let (mut phone, mut pushes) = session(&gateway, "ada", "phone").await;
    for topic in ["a", "b", "c"] {
        assert_eq!(subscribe(&mut phone, topic).await["grpc-status"], "0");
    }
    assert_limited_device(&subscribe(&mut phone, "d").await);
    let update = pb::UpdateRequest { window: Some(9), ..Default::default() };
    assert_limited_device(&phone.call(Method::Update, &update).await.2);
    // Acks are free, and pushes go on.
    let mut client = gateway.backend().await;
    for seq in 1..=20 {
        push(&mut client, to_user("ada", "x")).await;
        assert_eq!(pushes.push().await.seq, seq);
        let ack = pb::AckRequest { acked: vec![pb::SeqRange { from: seq, upto: seq }], ..Default::default() };
        assert_eq!(phone.call(Method::Ack, &ack).await.2["grpc-status"], "0");
    }
    // Who comes again has not forgotten.
    drop((phone, pushes));
    let (mut phone, _pushes) = session(&gateway, "ada", "phone").await;
    assert_limited_device(&subscribe(&mut phone, "d").await);

    // What its device was refused took nothing from the user: two are left, and not three.
    let (mut laptop, _pushes) = session(&gateway, "ada", "laptop").await;
    for topic in ["a", "b"] {
        assert_eq!(subscribe(&mut laptop, topic).await["grpc-status"], "0");
    }
    assert_limited_device(&subscribe(&mut laptop, "c").await);
    // The library tells when, too.
    let client = gateway.client("eve", "phone").await;
    for topics in 1..=3 {
        let topic = topics.to_string();
        assert_eq!(soon("a subscription", client.subscribe([topic.as_str()])).await, Ok(topics));
    }
    match soon("a refusal", client.subscribe(["late"])).await {
        Err(Error::Refused(refusal)) => {
            assert_eq!(refusal.name, "rate_limited");
            assert!(refusal.retry_after > Some(Duration::from_secs(3_500)), "{refusal:?}");
        }
        other => panic!("{other:?}"),
    }
    let (mut other, _pushes) = session(&gateway, "bob", "phone").await;
    assert_eq!(subscribe(&mut other, "a").await["grpc-status"], "0");
    assert_eq!(metric(gateway.backend, "pushline_rate_limited_total{what=\"device_request\"}").await, 4.0);
    assert_eq!(metric(gateway.backend, "pushline_rate_limited_total{what=\"user_request\"}").await, 1.0);
}

/// The word that an `Open` is refused with.
async fn refused_open(gateway: &Gateway, user: &str, device: &str) -> HeaderMap {
    let mut connection = Device::connect(gateway.devices, &gateway.ca).await;
    let request = pb::OpenRequest { token: gateway.token(user, device), ..Default::default() };
    connection.call(Method::Open, &request).await.2
}

/// What the operator sets holds at once, for that tenant only, and also when it is more than the gateway's own.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_has_rates_and_numbers_of_its_own() {
    let gateway = gateway(|config| config.rate.pushes_per_tenant = scarce(2)).await;
    let key = std::fs::read_to_string(gateway.data().join("auth/admin-key")).expect("the admin key");
    let admin =
        Admin::connect(&format!("http://{}", gateway.admin), key.trim(), None).await.expect("the admin listener");
    let set = async |limits: pb::TenantLimits| {
        let request =
            pb::UpdateTenantRequest { name: "default".to_owned(), limits: Some(limits), login: None, version: 0 };
        soon("the update", admin.update_tenant(request)).await.expect("an update");
    };
    let mut client = gateway.backend().await;
    let mut other = backend(gateway.backend, &gateway.other_key).await;
    for client in [&mut client, &mut other] {
        for _ in 0..2 {
            push(client, to_user("ada", "in time")).await;
        }
        assert_limited(&soon("a refusal", client.push(to_user("ada", "late"))).await.expect_err("too fast"));
    }
    let pushes = pb::Rate { count: 1, per_seconds: 3_600, burst: 5 };
    set(pb::TenantLimits { pushes: Some(pushes), ttl_seconds: Some(60), ..Default::default() }).await;
    for _ in 0..3 {
        let accepted = soon("an answer", client.push(to_user("ada", "again"))).await.expect("more").into_inner();
        assert_eq!(accepted.expires_at_ms - accepted.accepted_at_ms, 60_000);
    }
    for client in [&mut client, &mut other] {
        assert_limited(&soon("a refusal", client.push(to_user("ada", "late"))).await.expect_err("too fast"));
    }

    set(pb::TenantLimits { connections: Some(3), connections_per_user: Some(2), ..Default::default() }).await;
    let _phone = session(&gateway, "ada", "phone").await;
    let _laptop = session(&gateway, "ada", "laptop").await;
    let refused = refused_open(&gateway, "ada", "watch").await;
    assert_eq!(refused["pushline-code"], "too_many_user_connections");
    assert_eq!(refused["retry-after"], "10", "a guess, as nobody knows when she goes");
    let _bob = session(&gateway, "bob", "phone").await;
    assert_eq!(refused_open(&gateway, "eve", "phone").await["pushline-code"], "tenant_quota");
    // A newer connection of a device takes the place of the older one.
    let _phone = session(&gateway, "ada", "phone").await;
    set(pb::TenantLimits::default()).await;
    let _watch = session(&gateway, "ada", "watch").await;
    let _eve = session(&gateway, "eve", "phone").await;
}

/// Whoever waits as told is let in the next time, and no faster than the rate in the long run.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_as_told_is_let_in() {
    const PUSHES: u32 = 12;
    let gateway = gateway(|config| config.rate.pushes_per_tenant = Rate::parse("20/s burst 2")).await;
    let mut client = gateway.backend().await;
    let clock = Clock::new();
    let (mut refused, mut taken) = (0, 0);
    while taken < PUSHES {
        match soon("an answer", client.push(to_user("ada", "x"))).await {
            Ok(_) => taken += 1,
            Err(status) => {
                assert_eq!(word(&status), "rate_limited");
                refused += 1;
                let wait = status.metadata().get("grpc-retry-pushback-ms").and_then(|wait| wait.to_str().ok());
                let wait = Duration::from_millis(wait.and_then(|wait| wait.parse().ok()).expect("a wait"));
                assert!(wait <= Duration::from_millis(50), "{wait:?}");
                tokio::time::sleep(wait).await;
            }
        }
    }
    let elapsed = clock.now().moment.as_micros();
    let least = u64::from(PUSHES - 2) * 50_000;
    assert!(elapsed >= least, "{PUSHES} pushes in {elapsed} us");
    assert!((1..=PUSHES).contains(&refused), "{refused}: one wait is enough");
}
