//! Changing one's mind, end to end: real TLS, real sockets, a real store. What each promise means is checked at the store.

mod support;

use std::time::Duration;

use pushline::model::clock::Clock;
use pushline::wire::pb;
use support::{Gateway, next, push, text, to_user};

/// A scheduled push comes when its time has come, not with the upkeep's next even step, which is seconds away.
#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_push_comes_at_its_time() {
    let mut gateway = Gateway::start().await;
    let mut backend = gateway.backend().await;
    let mut phone = gateway.client("ada", "phone").await;
    let clock = Clock::new();
    let began = clock.now();
    let now = began.wall.as_millis();
    let soon = pb::PushRequest { send_at_ms: now + 400, ..to_user("ada", "soon") };
    let later = pb::PushRequest { send_at_ms: now + 900, ..to_user("ada", "later") };
    push(&mut backend, later).await;
    push(&mut backend, soon).await;
    push(&mut backend, to_user("ada", "now")).await;
    for (expected, millis) in [("now", 0), ("soon", 400), ("later", 900)] {
        let pushed = next(&mut phone).await;
        assert_eq!(text(&pushed), expected);
        let after = clock.now().moment.since(began.moment);
        assert!(after >= Duration::from_millis(millis), "{expected} came after {after:?}");
        assert!(after < Duration::from_secs(4), "{expected} came after {after:?}");
        pushed.ack();
    }
    gateway.stop().await;
}

/// What was scheduled and cancelled never comes; what waits survives a restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_schedule_is_silent_and_another_survives_a_restart() {
    let mut gateway = Gateway::start().await;
    let mut backend = gateway.backend().await;
    let now = Clock::new().now().wall.as_millis();
    let at = |millis, words: &str| pb::PushRequest { send_at_ms: now + millis, ..to_user("ada", words) };
    let cancelled = push(&mut backend, at(300, "cancelled")).await;
    push(&mut backend, at(600, "kept")).await;
    let cancel = pb::CancelRequest { id: cancelled, silently: false };
    let answer = backend.cancel(cancel).await.expect("an answer").into_inner();
    assert_eq!((answer.state(), answer.cancelled), (pb::get_message_response::State::Cancelled, true));
    gateway.restart().await;
    let mut phone = gateway.client("ada", "phone").await;
    assert_eq!(text(&next(&mut phone).await), "kept");
    gateway.stop().await;
}
