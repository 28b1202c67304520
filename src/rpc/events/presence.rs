//! Who is online, and comings and goings: lists, the stream of gRPC and that of JSON.

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::get;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use http::StatusCode;
use serde_json::json;

use crate::model::access::Caller;
use crate::model::fault::{Code, Fault};
use crate::model::id::TenantId;
use crate::model::presence::{self, What};
use crate::node::journal::{Batch, Event, Journal, Wanted};
use crate::rpc::events::live::{self, Step};
use crate::rpc::events::{ask, sse};
use crate::rpc::fault::{to_response, to_status};
use crate::rpc::http::answer;
use crate::rpc::intake::Intake;
use crate::rpc::query::Query;
use crate::wire::pb;

pub(super) fn router() -> Router<Intake> {
    Router::new().route("/v1/presence", get(online)).route("/v1/presence/events", get(events))
}

/// A page of those who are online.
pub(super) fn list(
    intake: &Intake,
    tenant: &TenantId,
    request: &pb::ListOnlineRequest,
) -> Result<pb::ListOnlineResponse, Fault> {
    let user = ask::user(&request.user)?;
    let after = ask::after(tenant, &request.after)?;
    let limit = match request.limit {
        0 => LIMIT_DEFAULT,
        limit @ 1..=LIMIT_MAX => limit,
        _ => return Err(Fault::new(Code::InvalidOption, format!("limit: it is 1 to {LIMIT_MAX}"))),
    };
    // One more tells whether the list goes on.
    let (mut online, count) = intake.node.who_is_online(tenant, user.as_ref(), after.as_ref(), limit as usize + 1);
    let goes_on = online.len() > limit as usize;
    online.truncate(limit as usize);
    let last = online.last().filter(|_| goes_on);
    let next = last.map(|last| ask::place(&last.user, &last.device)).unwrap_or_default();
    let line = |online: crate::node::presence::Online| pb::list_online_response::Line {
        user: online.user.to_string(),
        device: online.device.to_string(),
        since_ms: online.since.as_millis(),
        state: online.standing.name().to_owned(),
    };
    Ok(pb::ListOnlineResponse { online: online.into_iter().map(line).collect(), count, next })
}

/// Comings and goings as gRPC streams them.
pub(super) async fn stream(
    intake: &Intake,
    caller: &Caller,
    request: pb::StreamPresenceRequest,
) -> Result<BoxStream<'static, Result<pb::PresenceBatch, tonic::Status>>, Fault> {
    let wanted = Wanted { user: ask::user(&request.user)?, ..Wanted::default() };
    let steps = live::begin(intake, caller, Journal::Presence, wanted, request.after).await?;
    let batches = steps.filter_map(|step| async {
        match step {
            Step::Batch(batch) => Some(Ok(to_pb(batch))),
            // HTTP/2 has its own beat.
            Step::Quiet => None,
            Step::End(fault) => Some(Err(to_status(&fault))),
        }
    });
    Ok(batches.boxed())
}

async fn online(State(intake): State<Intake>, request: Request) -> Response {
    let listed = async {
        let (caller, parts) = ask::bare(&intake, request).await?;
        let mut query = Query::read(&parts.uri, &["user", "after", "limit"])?;
        let limit = ask::number(&mut query, "limit")?.unwrap_or(0);
        let request = pb::ListOnlineRequest {
            user: query.text("user").unwrap_or_default(),
            after: query.text("after").unwrap_or_default(),
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
        };
        list(&intake, &caller.tenant, &request)
    };
    match listed.await {
        Ok(page) => {
            let line = |line: &pb::list_online_response::Line| json!({ "user": line.user, "device": line.device, "since_ms": line.since_ms, "state": line.state });
            let lines: Vec<_> = page.online.iter().map(line).collect();
            let next = (!page.next.is_empty()).then_some(page.next);
            answer(StatusCode::OK, &json!({ "online": lines, "count": page.count, "next": next }))
        }
        Err(fault) => to_response(&fault),
    }
}

async fn events(State(intake): State<Intake>, request: Request) -> Response {
    let answered = async {
        let (caller, parts) = ask::bare(&intake, request).await?;
        let mut query = Query::read(&parts.uri, &["after", "user", "follow"])?;
        let after = sse::begin_after(&parts, ask::number(&mut query, "after")?)?;
        let wanted = Wanted { user: ask::user(&query.text("user").unwrap_or_default())?, ..Wanted::default() };
        let follow = ask::follow(&mut query)?;
        sse::respond(&intake, &caller, (Journal::Presence, "events"), wanted, (after, follow)).await
    };
    answered.await.unwrap_or_else(|fault| to_response(&fault))
}

fn to_pb(batch: Batch) -> pb::PresenceBatch {
    let events = batch.events.into_iter().filter_map(|(position, event)| match event {
        Event::Presence(told) => Some(event_to_pb(position, told)),
        Event::Receipt(_) | Event::HandOff(_) | Event::Audit(_) => None,
    });
    pb::PresenceBatch { events: events.collect(), position: batch.position, missed: batch.missed, last: batch.last }
}

fn event_to_pb(position: u64, event: presence::Event) -> pb::PresenceEvent {
    let (user, device) = event.device.map(|(user, device)| (user.to_string(), device.to_string())).unwrap_or_default();
    pb::PresenceEvent {
        position,
        at_ms: event.at.as_millis(),
        what: event.what.name().to_owned(),
        user,
        device,
        reason: match event.what {
            What::Offline { reason } => reason,
            _ => String::new(),
        },
    }
}

/// Lines of a page when none are asked for.
const LIMIT_DEFAULT: u32 = 100;
/// Lines of a page at most.
const LIMIT_MAX: u32 = 1_000;
