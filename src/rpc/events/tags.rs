//! Success of a tag over time.

use std::time::Duration;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::get;
use http::StatusCode;
use serde_json::json;

use crate::model::clock::Timestamp;
use crate::model::fault::{Code, Fault};
use crate::model::id::TenantId;
use crate::model::receipt::Counts;
use crate::node::journal::TagHour;
use crate::rpc::events::ask;
use crate::rpc::fault::to_response;
use crate::rpc::http::answer;
use crate::rpc::intake::Intake;
use crate::rpc::query::Query;
use crate::rpc::{grpc_answer, json_answer};
use crate::wire::pb;

pub(super) fn router() -> Router<Intake> {
    Router::new().route("/v1/tags/{tag}", get(tag))
}

/// What became of a tag's messages.
pub(super) async fn get_tag(
    intake: &Intake,
    tenant: &TenantId,
    request: &pb::GetTagRequest,
) -> Result<Vec<TagHour>, Fault> {
    let tag = ask::tag(&request.tag)?.ok_or_else(|| Fault::new(Code::InvalidName, "tag: it is missing"))?;
    let upto = match request.upto_ms {
        0 => intake.node.clock().now().wall,
        millis => Timestamp::from_millis(millis),
    };
    let from = if request.from_ms == 0 { upto - DAY } else { Timestamp::from_millis(request.from_ms) };
    if from > upto {
        return Err(Fault::new(Code::InvalidOption, "from_ms: it lies behind upto_ms"));
    }
    if upto.as_millis() - from.as_millis() > SPAN_MAX.as_secs() * 1000 {
        let words = format!("from_ms: it lies more than {} days before upto_ms", SPAN_MAX.as_secs() / DAY.as_secs());
        return Err(Fault::new(Code::InvalidOption, words));
    }
    intake.node.tag(tenant, &tag, from, upto).await
}

/// The same as a message.
pub(super) async fn message(
    intake: &Intake,
    tenant: &TenantId,
    request: pb::GetTagRequest,
) -> Result<pb::GetTagResponse, Fault> {
    let hours = get_tag(intake, tenant, &request).await?;
    let (total, messages) = total(&hours);
    let hour = |hour: &TagHour| pb::get_tag_response::Hour {
        from_ms: hour.from.as_millis(),
        messages: hour.messages,
        counts: Some(grpc_answer::counts(&hour.counts)),
    };
    Ok(pb::GetTagResponse {
        tag: request.tag,
        hours: hours.iter().map(hour).collect(),
        total: Some(grpc_answer::counts(&total)),
        messages,
    })
}

async fn tag(State(intake): State<Intake>, tag: Result<Path<String>, PathRejection>, request: Request) -> Response {
    let answered = async {
        let (caller, parts) = ask::bare(&intake, request).await?;
        let mut query = Query::read(&parts.uri, &["from_ms", "upto_ms"])?;
        let request = pb::GetTagRequest {
            tag: tag.map(|Path(tag)| tag).unwrap_or_default(),
            from_ms: ask::number(&mut query, "from_ms")?.unwrap_or(0),
            upto_ms: ask::number(&mut query, "upto_ms")?.unwrap_or(0),
        };
        let hours = get_tag(&intake, &caller.tenant, &request).await?;
        let (total, messages) = total(&hours);
        let hour = |hour: &TagHour| {
            json!({
                "from_ms": hour.from.as_millis(),
                "messages": hour.messages,
                "counts": json_answer::counts(&hour.counts),
            })
        };
        Ok(json!({
            "tag": request.tag,
            "hours": hours.iter().map(hour).collect::<Vec<_>>(),
            "total": json_answer::counts(&total),
            "messages": messages,
        }))
    };
    match answered.await {
        Ok(found) => answer(StatusCode::OK, &found),
        Err(fault) => to_response(&fault),
    }
}

fn total(hours: &[TagHour]) -> (Counts, u64) {
    let mut total = Counts::default();
    for TagHour { counts, .. } in hours {
        total.audience += counts.audience;
        total.sent += counts.sent;
        total.acked += counts.acked;
        total.dead += counts.dead;
        total.missed += counts.missed;
    }
    (total, hours.iter().map(|hour| hour.messages).sum())
}

const DAY: Duration = Duration::from_secs(86_400);
/// Longest time that one question may be about: 2,160 hours.
const SPAN_MAX: Duration = Duration::from_secs(90 * 86_400);
