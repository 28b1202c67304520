//! Webhooks of a real gateway, against a real HTTP server: what is posted, that nothing is lost or repeated while the
//! receiver is down or the gateway restarts, and what is refused.

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::receiver::{Received, Receiver, status};
use support::sse::call;
use support::{Backend, Gateway, metric, push, soon, to_user};

async fn gateway() -> Gateway {
    Gateway::start_with(|config| {
        config.webhook.retry_pause_first = Duration::from_millis(20);
        config.webhook.retry_pause_max = Duration::from_millis(200);
        config.presence.debounce = Duration::from_millis(50);
    })
    .await
}

/// Sets a webhook; gives its secret.
async fn set(gateway: &Gateway, kind: &str, url: &str) -> String {
    let path = format!("/v1/webhooks/{kind}");
    let (status, webhook) = call("PUT", gateway.backend, &path, &gateway.key, Some(json!({ "url": url }))).await;
    assert_eq!((status, webhook["url"].as_str(), webhook["kind"].as_str()), (200, Some(url), Some(kind)), "{webhook}");
    webhook["secret"].as_str().expect("a secret").to_owned()
}

/// The events of the requests that were taken, in order.
fn events<'a>(received: impl IntoIterator<Item = &'a Received>) -> Vec<Value> {
    received.into_iter().flat_map(|request| request.json()["events"].as_array().expect("a list").clone()).collect()
}

fn positions(events: &[Value]) -> Vec<u64> {
    events.iter().map(|event| event["position"].as_u64().expect("a position")).collect()
}

fn accepted(received: &[Received]) -> usize {
    events(received).iter().filter(|event| event["what"] == "accepted").count()
}

async fn backend(gateway: &Gateway) -> Backend {
    support::backend(gateway.backend, &gateway.key).await
}

#[tokio::test]
async fn receipts_are_posted_in_batches_with_a_signature() {
    let (gateway, receiver) = (gateway().await, Receiver::start().await);
    let mut backend = backend(&gateway).await;
    push(&mut backend, to_user("mia", "before the webhook was set")).await;
    let secret = set(&gateway, "receipts", &receiver.url("/receipts")).await;
    let mut ids = Vec::new();
    for n in 0..20 {
        ids.push(push(&mut backend, to_user("mia", format!("{n}"))).await);
    }
    let received = receiver.until("all receipts", |received| accepted(received) >= 20).await;
    assert!(received.iter().all(|request| request.path == "/receipts" && request.is_signed_with(&secret)));
    let events = events(&received);
    let positions = positions(&events);
    assert!(positions.windows(2).all(|pair| pair[1] == pair[0] + 1), "no gap and no repeat: {positions:?}");
    let posted: Vec<_> =
        events.iter().filter(|event| event["what"] == "accepted").map(|event| &event["message"]).collect();
    assert_eq!(posted, ids.iter().collect::<Vec<_>>(), "only those after it was set, in order");
    let last = received.last().expect("a request").json();
    assert_eq!((&last["type"], &last["tenant"], &last["missed"]), (&json!("receipts"), &json!("default"), &json!(0)));
    assert_eq!(last["position"].as_u64(), positions.last().copied());
    let mut ids: Vec<_> = received.iter().map(|request| request.header("webhook-id").to_owned()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), received.len(), "every request has an id of its own");
    assert!(metric(gateway.backend, "pushline_webhook_posts_total{outcome=\"taken\"}").await >= 1.0);
}

#[tokio::test]
async fn a_receiver_that_fails_and_comes_back_gets_everything() {
    let (mut gateway, receiver) = (gateway().await, Receiver::start().await);
    set(&gateway, "receipts", &receiver.url("/")).await;
    receiver.always(Some(status(503)));
    let mut client = backend(&gateway).await;
    for n in 0..10 {
        push(&mut client, to_user("mia", format!("{n}"))).await;
    }
    receiver.until("tries", |received| received.len() >= 4).await;
    let shown = async {
        loop {
            let (_, webhook) = call("GET", gateway.backend, "/v1/webhooks/receipts", &gateway.key, None).await;
            if webhook["failure"] == "answered with status 503" {
                return webhook;
            }
        }
    };
    let webhook = soon("the failure to be told", shown).await;
    assert!(webhook["failed_at_ms"].as_u64() > Some(0) && webhook["position"] == 0 && webhook["secret"].is_null());
    assert!(metric(gateway.backend, "pushline_webhook_posts_total{outcome=\"failed\"}").await >= 3.0);
    let lag = async { while metric(gateway.backend, "pushline_webhook_lag").await < 10.0 {} };
    soon("all events to be counted as waiting", lag).await;

    // The gateway is restarted meanwhile: what was not taken is posted then.
    gateway.restart().await;
    let failed = receiver.received().len();
    receiver.always(None);
    let received = receiver.until("everything", |received| accepted(&received[failed..]) >= 10).await;
    let all = positions(&events(&received[failed..]));
    // A try that was refused may have come between the restart and the end of the refusals: what counts is what was taken.
    assert_eq!(all, (1..=all.len() as u64).collect::<Vec<_>>());

    // What was taken is not posted again after another restart.
    let lag = async { while metric(gateway.backend, "pushline_webhook_lag").await > 0.0 {} };
    soon("all to be noted as delivered", lag).await;
    gateway.restart().await;
    let before = receiver.received().len();
    let mut client = backend(&gateway).await;
    push(&mut client, to_user("mia", "last")).await;
    let received = receiver.until("the last one", |received| accepted(&received[before..]) >= 1).await;
    assert_eq!(positions(&events(&received[before..])).first().copied(), Some(all.len() as u64 + 1));
}

/// The receiver may have taken what it did not answer: it knows a repeat by its id.
#[tokio::test]
async fn a_request_is_repeated_as_it_was_though_more_has_come() {
    let (gateway, receiver) = (gateway().await, Receiver::start().await);
    set(&gateway, "receipts", &receiver.url("/")).await;
    receiver.always(Some(status(503)));
    let mut client = backend(&gateway).await;
    push(&mut client, to_user("mia", "first")).await;
    let before = receiver.until("a try", |received| !received.is_empty()).await.len();
    for n in 0..5 {
        push(&mut client, to_user("mia", format!("{n}"))).await;
    }
    let tried = receiver.until("tries after more has come", |received| received.len() >= before + 4).await;
    receiver.always(None);
    let received = receiver.until("the rest", |received| accepted(&received[tried.len()..]) >= 6).await;
    for again in &received[1..=tried.len()] {
        assert_eq!(again.header("webhook-id"), received[0].header("webhook-id"));
        assert_eq!(again.body, received[0].body);
    }
}

#[tokio::test]
async fn presence_is_posted_and_a_webhook_that_moves_takes_only_what_is_new() {
    let (gateway, one, two) = (gateway().await, Receiver::start().await, Receiver::start().await);
    set(&gateway, "presence", &one.url("/")).await;
    let client = gateway.client("mia", "phone").await;
    let has = |what: &'static str| {
        move |received: &[Received]| {
            events(received).iter().any(|event| event["what"] == what && event["user"] == "mia")
        }
    };
    let received = one.until("ready", has("ready")).await;
    assert_eq!(received[0].json()["type"], "presence");
    set(&gateway, "presence", &two.url("/")).await;
    let before = one.received().len();
    drop(client);
    let received = two.until("offline", has("offline")).await;
    assert_eq!(events(&received).len(), 1, "{received:?}");
    assert_eq!(one.received().len(), before, "the old place hears no more");
    let (status, _) = call("DELETE", gateway.backend, "/v1/webhooks/presence", &gateway.key, None).await;
    assert_eq!(status, 200);
    let (status, list) = call("GET", gateway.backend, "/v1/webhooks", &gateway.key, None).await;
    assert_eq!((status, &list["webhooks"]), (200, &json!([])));
}

#[tokio::test]
async fn what_is_no_webhook_is_refused() {
    let gateway = gateway().await;
    let put = |path: &'static str, body: Value| {
        let (address, key) = (gateway.backend, gateway.key.clone());
        async move {
            let (status, body) = call("PUT", address, path, &key, Some(body)).await;
            (status, body["error"].as_str().unwrap_or_default().to_owned())
        }
    };
    let refused = |status: u16, error: &str| (status, error.to_owned());
    for (body, error) in [
        (json!({}), "invalid_option"),
        (json!({"url": "ftp://a/"}), "invalid_option"),
        (json!({"url": "http://user:secret@a/"}), "invalid_option"),
        (json!({"url": format!("http://a/{}", "x".repeat(2048))}), "invalid_option"),
        (json!({"url": "http://a/", "secret": "short"}), "invalid_option"),
        (json!({"url": 7}), "malformed"),
        (json!({"uri": "http://a/"}), "malformed"),
        (json!([]), "malformed"),
    ] {
        assert_eq!(put("/v1/webhooks/receipts", body.clone()).await, refused(400, error), "{body}");
    }
    assert_eq!(put("/v1/webhooks/recipes", json!({"url": "http://a/"})).await, refused(400, "invalid_option"));
    for (method, path, expected) in [
        ("DELETE", "/v1/webhooks/receipts", 404),
        ("GET", "/v1/webhooks/receipts", 404),
        ("DELETE", "/v1/webhooks/nothing", 400),
    ] {
        assert_eq!(call(method, gateway.backend, path, &gateway.key, None).await.0, expected, "{method} {path}");
    }
    assert_eq!(call("GET", gateway.backend, "/v1/webhooks", "no key", None).await.0, 401);
    // A secret of one's own is taken, and shown only once.
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let mut client = support::receipts(gateway.backend, &gateway.key).await;
    let request = pushline::wire::pb::SetWebhookRequest {
        kind: "fallback".into(),
        url: "https://localhost:1/".into(),
        secret: secret.into(),
    };
    let set = client.set_webhook(request).await.expect("it is set").into_inner();
    assert_eq!((set.secret.as_str(), set.position), (secret, 0));
    let list = client.list_webhooks(pushline::wire::pb::ListWebhooksRequest {}).await.expect("a list").into_inner();
    assert_eq!((list.webhooks.len(), list.webhooks[0].secret.as_str()), (1, ""));
    let (_, others) = call("GET", gateway.backend, "/v1/webhooks", &gateway.other_key, None).await;
    assert_eq!(others["webhooks"], json!([]), "tenants are apart");
}

fn with_fallback(mut request: pushline::wire::pb::PushRequest) -> pushline::wire::pb::PushRequest {
    request.fallback_after_seconds = Some(1);
    request.content_type = "text/plain".into();
    request
}

/// Waits until the receipts of a message have one of these words; gives it.
async fn receipt(gateway: &Gateway, id: &str, what: &str) -> Value {
    let path = format!("/v1/receipts?after=0&message={id}");
    let mut events = support::sse::Events::open(gateway.backend, &path, &gateway.key, None).await;
    events.until(|event| event["what"] == what).await.pop().expect("a receipt")
}

/// P4.8: what the long connection could not bring is handed to another channel, once, and its result is known.
#[tokio::test]
async fn p4_8_a_message_that_is_not_acked_in_time_is_handed_off_once_for_each_device() {
    let (mut gateway, receiver) = (gateway().await, Receiver::start().await);
    let secret = set(&gateway, "fallback", &receiver.url("/bridge")).await;
    let mut backend = backend(&gateway).await;
    for device in ["a.phone", "tablet", "watch"] {
        soon("its end", gateway.client("mia", device).await.close()).await.expect("a clean end");
    }
    // Three devices: one acks in time, one is taken over with an outcome, one is refused.
    let mut watch = gateway.client("mia", "watch").await;
    let took = |outcome: &str| (200, Vec::new(), json!({ "outcome": outcome }).to_string().into_bytes());
    let id = push(&mut backend, with_fallback(to_user("mia", "hello"))).await;
    support::next(&mut watch).await.ack();
    receiver.reply([took("sent by mail"), status(410)]);
    let done = async {
        loop {
            let path = format!("/v1/messages/{id}/timeline");
            let (_, told) = call("GET", gateway.backend, &path, &gateway.key, None).await;
            let words = told["events"].as_array().expect("a list").iter().map(|event| event["what"].clone());
            let words: Vec<_> = words.collect();
            if words.contains(&json!("handed_off")) && words.contains(&json!("hand_off_failed")) {
                return told;
            }
        }
    };
    let told = soon("both results", done).await;
    let results: Vec<_> = told["events"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|event| {
            let what = event["what"].as_str().filter(|what| what.starts_with("hand"))?;
            Some(format!("{what} {}", event["reason"].as_str().unwrap_or("-")))
        })
        .collect();
    assert!(results.contains(&"handed_off sent by mail".to_owned()), "{told}");
    assert!(results.contains(&"hand_off_failed status 410".to_owned()), "{told}");
    assert_eq!(receipt(&gateway, &id, "handed_off").await["reason"], "sent by mail");

    let received = receiver.received();
    assert!(
        received.iter().all(|request| request.path == "/bridge" && request.is_signed_with(&secret)),
        "{received:?}"
    );
    let mut posted: Vec<_> = received
        .iter()
        .map(|request| {
            let body = request.json();
            assert_eq!(
                (&body["type"], &body["tenant"], &body["user"]),
                (&json!("fallback"), &json!("default"), &json!("mia"))
            );
            assert_eq!((&body["message"]["id"], &body["message"]["content"]["payload"]), (&json!(id), &json!("hello")));
            (body["device"].as_str().expect("a device").to_owned(), request.header("webhook-id").to_owned())
        })
        .collect();
    posted.sort();
    assert_eq!(posted, [("a.phone".into(), format!("{id}-a%2Ephone")), ("tablet".to_owned(), format!("{id}-tablet"))]);

    // Nothing is handed off again after a restart, and a user without a device is handed off as a whole.
    gateway.restart().await;
    let mut backend = self::backend(&gateway).await;
    let id = push(&mut backend, with_fallback(to_user("nobody", "anyone?"))).await;
    let received = receiver.until("the hand-off", |received| received.len() > 2).await;
    assert_eq!(
        (received.len(), &received[2].json()["device"], received[2].header("webhook-id")),
        (3, &Value::Null, &*format!("{id}-"))
    );
    assert_eq!(receipt(&gateway, &id, "handed_off").await["reason"], "accepted");
}

#[tokio::test]
async fn a_late_ack_or_the_end_of_the_message_stops_its_hand_off() {
    let (gateway, receiver) = (gateway().await, Receiver::start().await);
    set(&gateway, "fallback", &receiver.url("/")).await;
    receiver.always(Some(status(503)));
    let mut backend = backend(&gateway).await;
    soon("its end", gateway.client("mia", "phone").await.close()).await.expect("a clean end");
    let acked = push(&mut backend, with_fallback(to_user("mia", "one"))).await;
    let over = push(&mut backend, with_fallback(to_user("mia", "two"))).await;
    let tried = |id: String| {
        move |received: &[Received]| {
            received.iter().filter(|request| request.json()["message"]["id"] == *id).count() >= 2
        }
    };
    receiver.until("tries of the first", tried(acked.clone())).await;
    receiver.until("tries of the second", tried(over.clone())).await;
    let (status, _) = call("DELETE", gateway.backend, &format!("/v1/messages/{over}"), &gateway.key, None).await;
    assert_eq!(status, 200);
    let mut phone = gateway.client("mia", "phone").await;
    support::next(&mut phone).await.ack();
    let before = "; before: answered with status 503";
    assert_eq!(receipt(&gateway, &acked, "hand_off_failed").await["reason"], format!("acked in time{before}"));
    assert_eq!(receipt(&gateway, &over, "hand_off_failed").await["reason"], format!("over{before}"));
}

/// One that is stuck holds back the position that is noted, not what is known of those behind it.
#[tokio::test]
async fn what_the_bridge_has_taken_is_not_handed_off_again_behind_one_that_waits() {
    let receiver = Receiver::start().await;
    let mut gateway = Gateway::start_with(|config| {
        config.webhook.retry_pause_first = Duration::from_secs(60);
        config.webhook.retry_pause_max = Duration::from_secs(60);
    })
    .await;
    set(&gateway, "fallback", &receiver.url("/")).await;
    receiver.reply([status(503)]);
    let mut client = backend(&gateway).await;
    push(&mut client, with_fallback(to_user("mia", "it waits for its next try"))).await;
    receiver.until("the first try", |received| !received.is_empty()).await;
    let taken = push(&mut client, with_fallback(to_user("nobody", "taken"))).await;
    assert_eq!(receipt(&gateway, &taken, "handed_off").await["reason"], "accepted");
    let path = format!("/v1/messages/{taken}/timeline");
    let (_, timeline) = call("GET", gateway.backend, &path, &gateway.key, None).await;
    let events = timeline["events"].as_array().expect("a list");
    assert!(events.iter().any(|event| event["what"] == "handed_off" && event["reason"] == "accepted"), "{timeline}");

    gateway.restart().await;
    let mut client = backend(&gateway).await;
    let last = push(&mut client, with_fallback(to_user("nobody", "last"))).await;
    let is = |id: &str, request: &Received| request.json()["message"]["id"] == id;
    let received = receiver.until("the last", |received| received.iter().any(|request| is(&last, request))).await;
    assert_eq!(received.iter().filter(|request| is(&taken, request)).count(), 1, "{received:?}");
}
