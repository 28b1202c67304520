//! The timeline of a message, on both surfaces.

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::get;
use http::StatusCode;
use serde_json::{Value, json};

use crate::model::clock::Timestamp;
use crate::model::fault::Fault;
use crate::model::id::{MessageId, TenantId};
use crate::node::timeline::{Happened, Stands, Timeline};
use crate::rpc::events::ask;
use crate::rpc::fault::to_response;
use crate::rpc::http::answer;
use crate::rpc::intake::{Intake, message_id};
use crate::rpc::query::Query;
use crate::rpc::{grpc_answer, json_answer};
use crate::wire::pb;

pub(super) fn router() -> Router<Intake> {
    Router::new().route("/v1/messages/{id}/timeline", get(timeline))
}

/// The timeline as gRPC answers it.
pub(super) async fn message(
    intake: &Intake,
    tenant: &TenantId,
    request: &pb::GetTimelineRequest,
) -> Result<pb::GetTimelineResponse, Fault> {
    let (id, Timeline { record, events, devices }) = find(intake, tenant, request).await?;
    Ok(pb::GetTimelineResponse {
        message: Some(grpc_answer::record(id, record)?),
        events: events.into_iter().map(event).collect(),
        devices: devices.into_iter().map(device).collect(),
    })
}

async fn find(
    intake: &Intake,
    tenant: &TenantId,
    request: &pb::GetTimelineRequest,
) -> Result<(MessageId, Timeline), Fault> {
    let (id, user) = (message_id(&request.id)?, ask::user(&request.user)?);
    Ok((id, intake.node.timeline(tenant, id, user.as_ref()).await?))
}

async fn timeline(State(intake): State<Intake>, id: Result<Path<String>, PathRejection>, request: Request) -> Response {
    let answered = async {
        let (caller, parts) = ask::bare(&intake, request).await?;
        let mut query = Query::read(&parts.uri, &["user"])?;
        let request = pb::GetTimelineRequest {
            // An id that is not even text is no id either.
            id: id.map(|Path(id)| id).unwrap_or_default(),
            user: query.text("user").unwrap_or_default(),
        };
        let (id, Timeline { record, events, devices }) = find(&intake, &caller.tenant, &request).await?;
        Ok(json!({
            "message": json_answer::record(id, &record)?,
            "events": events.into_iter().map(event).map(event_json).collect::<Vec<_>>(),
            "devices": devices.into_iter().map(device).map(device_json).collect::<Vec<_>>(),
        }))
    };
    match answered.await {
        Ok(found) => answer(StatusCode::OK, &found),
        Err(fault) => to_response(&fault),
    }
}

fn event(happened: Happened) -> pb::TimelineEvent {
    let (user, device) =
        happened.device.map(|(user, device)| (user.to_string(), device.to_string())).unwrap_or_default();
    pb::TimelineEvent {
        at_ms: happened.at.as_millis(),
        what: happened.what.to_owned(),
        user,
        device,
        attempt: happened.attempt,
        reason: happened.reason,
    }
}

fn device(stands: Stands) -> pb::DeviceStanding {
    pb::DeviceStanding {
        user: stands.user.to_string(),
        device: stands.device.to_string(),
        standing: stands.standing.to_owned(),
        since_ms: stands.since.map_or(0, Timestamp::as_millis),
        reason: stands.reason,
        attempts: stands.attempts,
        online: stands.online,
    }
}

/// What is not there is left out.
fn event_json(event: pb::TimelineEvent) -> Value {
    let mut value = json!({ "at_ms": event.at_ms, "what": event.what });
    for (name, text) in [("user", event.user), ("device", event.device), ("reason", event.reason)] {
        if !text.is_empty() {
            value[name] = text.into();
        }
    }
    if event.attempt > 0 {
        value["attempt"] = event.attempt.into();
    }
    value
}

fn device_json(device: pb::DeviceStanding) -> Value {
    json!({
        "user": device.user,
        "device": device.device,
        "standing": device.standing,
        "since_ms": (device.since_ms > 0).then_some(device.since_ms),
        "reason": device.reason,
        "attempts": device.attempts,
        "online": device.online,
    })
}
