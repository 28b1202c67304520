//! What operators ask: does the process serve, can it take pushes, what did it count. No key is needed here, so the
//! listener of the backend side must not be open to the world.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde_json::json;
use tokio::time::timeout;

use crate::metrics;
use crate::model::clock::Moment;
use crate::model::fault::{Code, Fault};
use crate::node::Node;
use crate::pool;
use crate::rpc::fault;
use crate::rpc::intake::Intake;

/// `/healthz`, `/readyz` and `/metrics`.
pub(super) fn router(intake: Intake) -> Router<Intake> {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(render))
        .with_state(Probes { intake, canary: Arc::default() })
}

#[derive(Clone)]
struct Probes {
    intake: Intake,
    /// The last canary. The lock is held to look at it, never while it runs.
    canary: Arc<Mutex<Option<Canary>>>,
}

/// One append and read by the node, shared by all probes that come while it is fresh.
#[derive(Clone)]
struct Canary {
    begun: Moment,
    outcome: Shared<BoxFuture<'static, Result<Duration, Fault>>>,
}

impl Canary {
    fn begin(node: Arc<Node>, begun: Moment) -> Self {
        let run = async move {
            let late =
                || Fault::new(Code::StoreBusy, format!("the store took longer than {} s", CANARY_TIMEOUT.as_secs()));
            timeout(CANARY_TIMEOUT, node.ready()).await.unwrap_or_else(|_| Err(late()))
        };
        Self { begun, outcome: run.boxed().shared() }
    }

    /// Whether its outcome still tells something. One that runs counts until it must have ended.
    fn is_fresh(&self, now: Moment) -> bool {
        let limit = if self.outcome.peek().is_some() { CANARY_FRESH } else { CANARY_TIMEOUT };
        now.since(self.begun) < limit
    }
}

async fn healthz(State(probes): State<Probes>, request: Request) -> Response {
    probes.intake.drain(request.into_body()).await;
    ([(CACHE_CONTROL, NO_STORE)], "ok\n").into_response()
}

async fn readyz(State(probes): State<Probes>, request: Request) -> Response {
    probes.intake.drain(request.into_body()).await;
    match ready(&probes).await {
        Ok(span) => {
            let body = json!({ "ready": true, "append_read_ms": span.as_secs_f64() * 1e3 }).to_string();
            ([(CONTENT_TYPE, HeaderValue::from_static("application/json")), (CACHE_CONTROL, NO_STORE)], body)
                .into_response()
        }
        Err(fault) => fault::to_unready(&fault),
    }
}

async fn ready(probes: &Probes) -> Result<Duration, Fault> {
    let node = &probes.intake.node;
    if node.draining() || probes.intake.stop.is_cancelled() {
        return Err(Fault::new(Code::Draining, "the gateway is being drained"));
    }
    let now = node.clock().now().moment;
    let outcome = {
        let mut canary = probes.canary.lock().unwrap_or_else(PoisonError::into_inner);
        match canary.as_ref().filter(|canary| canary.is_fresh(now)) {
            Some(fresh) => fresh.outcome.clone(),
            None => canary.insert(Canary::begin(Arc::clone(node), now)).outcome.clone(),
        }
    };
    outcome.await
}

async fn render(State(probes): State<Probes>, request: Request) -> Response {
    probes.intake.drain(request.into_body()).await;
    let node = &probes.intake.node;
    let health = node.health();
    node.metrics().set_store(health.queue, health.disk_bytes, health.flushes, health.writes);
    pool::report(node.metrics());
    ([(CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE))], node.metrics().render()).into_response()
}

/// How long one canary serves all probes: they must not load the disk, however many ask.
const CANARY_FRESH: Duration = Duration::from_secs(1);
/// A store that takes longer is not ready. Well above a slow disk's fsync, and below the patience of common probes.
const CANARY_TIMEOUT: Duration = Duration::from_secs(2);
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;
    use futures_util::future::{self, BoxFuture};

    use super::{CANARY_FRESH, CANARY_TIMEOUT, Canary};
    use crate::model::clock::Moment;
    use crate::model::fault::Fault;

    fn canary(outcome: BoxFuture<'static, Result<Duration, Fault>>) -> Canary {
        Canary { begun: Moment::from_micros(5), outcome: outcome.shared() }
    }

    #[tokio::test]
    async fn a_canary_serves_for_a_second_and_while_it_runs() {
        let just_before = Moment::from_micros(4) + CANARY_FRESH;
        let then = Moment::from_micros(5) + CANARY_FRESH;
        let ended = canary(future::ready(Ok(Duration::from_millis(3))).boxed());
        assert_eq!(ended.outcome.clone().await, Ok(Duration::from_millis(3)));
        assert!(ended.is_fresh(just_before) && !ended.is_fresh(then));

        let running = canary(future::pending().boxed());
        assert!(running.outcome.clone().now_or_never().is_none());
        assert!(running.is_fresh(then), "a second one beside it would load the disk");
        assert!(!running.is_fresh(Moment::from_micros(5) + CANARY_TIMEOUT));
    }
}
