//! A sender changes its mind: cancel, replace, send later, any device of a user; with a real gateway and real devices, on
//! both surfaces (docs/targeting.md, the rule's seventh and eighth part).

mod support;

use pushline::model::clock::Clock;
use pushline::wire::pb;
use pushline::wire::pb::dismissal::Reason;
use pushline::wire::pb::get_message_response::State;
use serde_json::{Value, json};
use support::listener::{END, Listener, text};
use support::{Backend, Gateway, backend, push, soon, to_any_of_user, to_condition, to_topic, to_user, word};

async fn send(backend: &mut Backend, request: pb::PushRequest) -> pb::PushResponse {
    soon("the answer to a push", backend.push(request)).await.expect("an accepted push").into_inner()
}

async fn message(backend: &mut Backend, id: &str) -> pb::GetMessageResponse {
    let request = pb::GetMessageRequest { id: id.into() };
    soon("a message", backend.get_message(request)).await.expect("a known message").into_inner()
}

async fn cancel(backend: &mut Backend, id: &str, silently: bool) -> (State, bool) {
    let request = pb::CancelRequest { id: id.into(), silently };
    let answer = soon("an answer", backend.cancel(request)).await.expect("an answer").into_inner();
    (answer.state(), answer.cancelled)
}

async fn json_message(gateway: &Gateway, id: &str) -> Value {
    gateway.json().call(&format!("GET /v1/messages/{id}")).await.json()
}

/// The id as the backend side writes it.
fn id_of(push: &[u8]) -> String {
    uuid::Uuid::from_slice(push).expect("16 bytes").to_string()
}

fn now_ms() -> u64 {
    Clock::new().now().wall.as_millis()
}

/// Who has it is told to dismiss it, who has not got it never will; cancelling again is harmless.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_message_is_taken_back() {
    let gateway = Gateway::start().await;
    let mut backend = gateway.backend().await;
    let mut phone = Listener::open(&gateway, "ann", "phone", &[]).await;
    drop(Listener::open(&gateway, "ann", "tablet", &[]).await);
    let id = push(&mut backend, to_user("ann", "a slip")).await;
    let had = phone.pushes.push().await;
    assert_eq!((id_of(&had.id), text(&had)), (id.clone(), "a slip".into()));
    assert_eq!(cancel(&mut backend, &id, false).await, (State::Cancelled, true));
    let gone = phone.push().await.dismissal.expect("a dismissal");
    assert_eq!((id_of(&gone.id), gone.reason()), (id.clone(), Reason::Cancelled));
    assert_eq!(cancel(&mut backend, &id, false).await, (State::Cancelled, false), "again is harmless");
    let mut tablet = Listener::open(&gateway, "ann", "tablet", &[]).await;
    push(&mut backend, to_user("ann", END)).await;
    let first = tablet.push().await;
    // One that never had it may hear that it is gone, and then gets what came after.
    let end = if first.dismissal.is_some() { tablet.push().await } else { first };
    assert_eq!(text(&end), END);

    let known = message(&mut backend, &id).await;
    assert_eq!((known.state(), known.content.is_some(), known.ended_at_ms > 0), (State::Cancelled, false, true));
    let twin = json_message(&gateway, &id).await;
    assert_eq!((&twin["state"], &twin["ended_at_ms"]), (&json!("cancelled"), &json!(known.ended_at_ms)));

    // Silently, and by JSON.
    assert_eq!(phone.text().await, END);
    let id = push(&mut backend, to_user("ann", "another slip")).await;
    assert_eq!(text(&phone.pushes.push().await), "another slip");
    let reply = gateway.json().call(&format!("DELETE /v1/messages/{id}?silently=true")).await;
    assert_eq!((reply.status, reply.json()), (200, json!({"state": "cancelled", "cancelled": true})));
    push(&mut backend, to_user("ann", "after it")).await;
    assert_eq!(phone.text().await, "after it", "nothing came in between");
}

/// Whom nothing can be taken back from is told how it stands; what is not known, or another's, is not found.
#[tokio::test]
async fn what_cannot_be_cancelled_is_told() {
    let gateway = Gateway::start().await;
    let mut own = gateway.backend().await;
    let first = push(&mut own, pb::PushRequest { collapse_key: "k".into(), ..to_user("ann", "1") }).await;
    let second = push(&mut own, pb::PushRequest { collapse_key: "k".into(), ..to_user("ann", "2") }).await;
    assert_eq!(cancel(&mut own, &first, false).await, (State::Replaced, false));
    assert_eq!(message(&mut own, &first).await.replaced_by, second);
    let mut other = backend(gateway.backend, &gateway.other_key).await;
    let request = |id: &str| pb::CancelRequest { id: id.into(), silently: false };
    let stranger = other.cancel(request(&second)).await.expect_err("not theirs");
    assert_eq!(word(&stranger), "message_not_found");
    assert_eq!(word(&own.cancel(request("x")).await.expect_err("no id")), "malformed");
    let json = gateway.json();
    json.call("DELETE /v1/messages/00000000-0000-7000-8000-000000000000").await.assert_refused(404, 305, "");
    json.call("DELETE /v1/messages/x").await.assert_refused(400, 101, "not a message id");
    json.call(&format!("DELETE /v1/messages/{second}?silent=true")).await.assert_refused(400, 101, "silently");
    json.call(&format!("DELETE /v1/messages/{second}?silently=yes")).await.assert_refused(400, 101, "true or false");
    assert_eq!(message(&mut own, &second).await.state(), State::Stored);
}

/// The newer one takes the place of the older one, and the device learns of which.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_takes_the_place_of_another() {
    let gateway = Gateway::start().await;
    let mut backend = gateway.backend().await;
    drop(Listener::open(&gateway, "ann", "phone", &[]).await);
    let first = push(&mut backend, to_user("ann", "at 2")).await;
    let second = push(&mut backend, pb::PushRequest { replaces: first.clone(), ..to_user("ann", "at 3") }).await;
    let mut phone = Listener::open(&gateway, "ann", "phone", &[]).await;
    let got = phone.push().await;
    assert_eq!((text(&got), id_of(&got.replaces)), ("at 3".into(), first.clone()));
    let known = message(&mut backend, &first).await;
    assert_eq!((known.state(), known.replaced_by.as_str()), (State::Replaced, second.as_str()));
    let twin = json_message(&gateway, &first).await;
    assert_eq!((&twin["state"], &twin["replaced_by"]), (&json!("replaced"), &json!(second)));
    assert_eq!(json_message(&gateway, &second).await["content"]["replaces"], json!(first));

    let refused = async |backend: &mut Backend, replaces: &str, request| {
        let status = backend.push(pb::PushRequest { replaces: replaces.into(), ..request }).await.expect_err(replaces);
        word(&status).to_owned()
    };
    assert_eq!(refused(&mut backend, &first, to_user("ann", "")).await, "not_replaceable", "it is over");
    assert_eq!(refused(&mut backend, &second, to_user("bob", "")).await, "not_replaceable", "another target");
    let unknown = "00000000-0000-7000-8000-000000000000";
    assert_eq!(refused(&mut backend, unknown, to_user("ann", "")).await, "message_not_found");
    assert_eq!(refused(&mut backend, "x", to_user("ann", "")).await, "invalid_option");
}

/// Kept until its time, over a restart too, and its life begins then; cancelled before, it is never sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_message_is_sent_when_its_time_has_come() {
    let mut gateway = Gateway::start().await;
    let mut backend = gateway.backend().await;
    drop(Listener::open(&gateway, "ann", "phone", &[]).await);
    let far = now_ms() + 86_400_000;
    let later = |at| pb::PushRequest { send_at_ms: at, ttl_seconds: Some(60), ..to_user("ann", "later") };
    let answer = send(&mut backend, later(far)).await;
    assert_eq!((answer.offset, answer.epoch, answer.send_at_ms, answer.audience), (0, 0, far, None));
    assert_eq!(answer.expires_at_ms, far + 60_000, "its life begins when it is sent");
    let known = message(&mut backend, &answer.id).await;
    assert_eq!((known.state(), known.send_at_ms, known.offset), (State::Scheduled, far, 0));
    let reply = gateway.json();
    let body = json!({"target": {"user": "ann"}, "payload": "later", "send_at": "2000-01-01T00:00:00+01:00"});
    let reply = reply.send("POST /v1/push", &body).await;
    assert_eq!((reply.status, &reply.json()["offset"]), (201, &json!(1)), "what has passed means at once");
    assert_eq!(reply.json()["send_at_ms"], json!(null));
    let soon_at = now_ms() + 700;
    let body = json!({"target": {"condition": "!('x' in topics)"}, "payload": "a moment later", "send_at_ms": soon_at});
    let reply = gateway.json().send("POST /v1/push", &body).await;
    assert_eq!((reply.status, &reply.json()["send_at_ms"]), (201, &json!(soon_at)));
    assert!(reply.header("location").is_some_and(|path| path.starts_with("/v1/messages/")));
    let moment = reply.json()["id"].as_str().expect("an id").to_owned();

    gateway.restart().await;
    let mut backend = gateway.backend().await;
    let mut phone = Listener::open(&gateway, "ann", "phone", &[]).await;
    let mut texts = vec![phone.text().await, phone.text().await];
    texts.sort();
    assert_eq!(texts, ["a moment later", "later"], "the condition is evaluated when it is sent");
    assert!(now_ms() >= soon_at);
    let known = message(&mut backend, &moment).await;
    assert_eq!((known.state(), known.log.as_str(), known.offset), (State::Stored, "broadcast", 1));

    assert_eq!(cancel(&mut backend, &answer.id, false).await, (State::Cancelled, true));
    assert_eq!(cancel(&mut backend, &answer.id, false).await, (State::Cancelled, false));
    push(&mut backend, to_user("ann", END)).await;
    assert_eq!(phone.text().await, END, "and nothing to dismiss, for nobody has it");
}

/// The first device that acks takes it; the other one, which has it too, is told.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_device_that_acks_takes_a_push_for_any() {
    let gateway = Gateway::start().await;
    let mut backend = gateway.backend().await;
    let mut phone = Listener::open(&gateway, "ann", "phone", &[]).await;
    let mut tablet = Listener::open(&gateway, "ann", "tablet", &[]).await;
    let id = push(&mut backend, to_any_of_user("ann", "call")).await;
    let (at_phone, at_tablet) = (phone.pushes.push().await, tablet.pushes.push().await);
    assert_eq!((id_of(&at_phone.id), id_of(&at_tablet.id)), (id.clone(), id.clone()));
    phone.ack(at_phone.seq).await;
    let gone = tablet.push().await.dismissal.expect("a dismissal");
    assert_eq!((id_of(&gone.id), gone.reason()), (id.clone(), Reason::Taken));
    assert_eq!(message(&mut backend, &id).await.state(), State::Taken);
    assert_eq!(json_message(&gateway, &id).await["state"], "taken");
    // A device that comes later gets neither.
    let mut watch = Listener::open(&gateway, "ann", "watch", &[]).await;
    push(&mut backend, to_user("ann", END)).await;
    let first = watch.push().await;
    let end = if first.dismissal.is_some() { watch.push().await } else { first };
    assert_eq!(text(&end), END);
}

/// What became of a push, in numbers, on both surfaces; none are kept for one whose sender wants none.
#[tokio::test(flavor = "multi_thread")]
async fn what_became_of_a_push_is_told_in_numbers() {
    let gateway = Gateway::start().await;
    let mut backend = gateway.backend().await;
    let mut phone = Listener::open(&gateway, "ann", "phone", &[]).await;
    phone.subscribe("news").await;
    let topic = push(&mut backend, pb::PushRequest { tag: "spring".into(), ..to_topic("news", "1") }).await;
    let user = push(&mut backend, pb::PushRequest { tag: "spring".into(), ..to_user("ann", "2") }).await;
    let silent = push(&mut backend, pb::PushRequest { without_receipts: true, ..to_user("ann", "3") }).await;
    for _ in 0..3 {
        phone.push().await;
    }
    let known = message(&mut backend, &user).await;
    let counts = known.counts.expect("counts");
    assert_eq!((known.tag.as_str(), counts.audience, counts.sent, counts.acked), ("spring", 1, 1, 1));
    let device = &known.devices[0];
    assert!(device.at_ms >= device.first_sent_at_ms && device.first_sent_at_ms >= known.accepted_at_ms, "{device:?}");
    let twin = json_message(&gateway, &user).await;
    assert_eq!(
        (&twin["tag"], &twin["counts"]["acked"], &twin["counts"]["waiting"]),
        (&json!("spring"), &json!(1), &json!(0))
    );
    assert_eq!(twin["devices"][0]["first_sent_at_ms"], json!(device.first_sent_at_ms));
    let counted = soon("the counts of a topic", async {
        loop {
            let counts = message(&mut backend, &topic).await.counts.expect("counts");
            if counts.acked == 1 {
                return counts;
            }
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(counted.await.audience, 1);
    let known = message(&mut backend, &silent).await;
    assert_eq!((known.counts, known.state()), (None, State::Stored));
    assert_eq!(json_message(&gateway, &silent).await["counts"], json!(null));
}

/// Of a conflated topic a device that was away gets the newest alone.
#[tokio::test(flavor = "multi_thread")]
async fn of_a_conflated_topic_the_newest_stands() {
    let gateway = Gateway::start().await;
    let (mut backend, mut people) = (gateway.backend().await, gateway.audience().await);
    let mut phone = Listener::open(&gateway, "ann", "phone", &[]).await;
    phone.subscribe("scores").await;
    drop(phone);
    let set = pb::SetTopicRequest { topic: "scores".into(), conflate: true };
    let topic = people.set_topic(set).await.expect("a topic").into_inner();
    assert_eq!((topic.conflate, topic.devices, topic.last), (true, 1, 0));
    let mut ids = Vec::new();
    for score in ["1:0", "1:1", "2:1"] {
        ids.push(push(&mut backend, to_topic("scores", score)).await);
    }
    let mut phone = Listener::open(&gateway, "ann", "phone", &[]).await;
    assert_eq!(phone.text().await, "2:1");
    let first = message(&mut backend, &ids[0]).await;
    assert_eq!((first.state(), first.replaced_by), (State::Replaced, ids[1].clone()));
    let topic = people.get_topic(pb::GetTopicRequest { topic: "scores".into() }).await.expect("a topic").into_inner();
    assert_eq!((topic.conflate, topic.last), (true, 3));
}

/// In quiet hours what is not urgent waits, on a device that is connected too; it comes when they end.
#[tokio::test(flavor = "multi_thread")]
async fn in_quiet_hours_what_is_not_urgent_waits() {
    let gateway = Gateway::start().await;
    let mut backend = gateway.backend().await;
    let mut phone = Listener::open(&gateway, "ann", "phone", &[]).await;
    // All day but a minute that is not now, whatever the time is.
    let minute = now_ms() / 60_000 % (24 * 60);
    let time = |minute: u64| format!("{:02}:{:02}", minute / 60, minute % 60);
    let far = (minute + 720) % (24 * 60);
    let hours = json!({"from": time((far + 1) % (24 * 60)), "to": time(far), "time_zone": "UTC"});
    assert_eq!(gateway.json().send("PUT /v1/users/ann/quiet-hours", &hours).await.status, 200);
    push(&mut backend, to_user("ann", "waits")).await;
    push(&mut backend, pb::PushRequest { urgency: pb::Urgency::High.into(), ..to_user("ann", "goes") }).await;
    assert_eq!(phone.text().await, "goes");
    assert_eq!(gateway.json().call("DELETE /v1/users/ann/quiet-hours").await.status, 200);
    assert_eq!(phone.text().await, "waits");
}

/// A push with a condition is taken back from whom it went to.
#[tokio::test(flavor = "multi_thread")]
async fn a_condition_is_taken_back_from_its_audience() {
    let gateway = Gateway::start().await;
    let mut backend = gateway.backend().await;
    let mut phone = Listener::open(&gateway, "ann", "phone", &[("platform", "ios")]).await;
    let mut tablet = Listener::open(&gateway, "bob", "tablet", &[("platform", "android")]).await;
    let id = push(&mut backend, to_condition("platform == 'ios'", "a slip")).await;
    assert_eq!(id_of(&phone.push().await.id), id);
    assert_eq!(cancel(&mut backend, &id, false).await, (State::Cancelled, true));
    let gone = phone.push().await.dismissal.expect("a dismissal");
    assert_eq!((id_of(&gone.id), gone.reason()), (id, Reason::Cancelled));
    push(&mut backend, to_condition("platform == 'android'", END)).await;
    assert_eq!(tablet.text().await, END, "it was not in the audience, and hears nothing");
}
