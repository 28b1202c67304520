//! Webhooks of a tenant: set, list, delete, on both surfaces.

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::get;
use http::StatusCode;
use serde_json::{Value, json};

use crate::model::access::Caller;
use crate::model::audit::Actor;
use crate::model::fault::{Code, Fault};
use crate::model::id::TenantId;
use crate::model::webhook::Kind;
use crate::node::webhooks::Hooked;
use crate::rpc::events::{REQUEST_BYTES_MAX, ask};
use crate::rpc::fault::to_response;
use crate::rpc::http::{answer, check_media};
use crate::rpc::intake::Intake;
use crate::rpc::json_reader::{check_known, document, object, string, unknown_word};
use crate::wire::pb;

pub(super) fn router() -> Router<Intake> {
    Router::new()
        .route("/v1/webhooks", get(list_json))
        .route("/v1/webhooks/{kind}", get(get_json).put(set_json).delete(delete_json))
}

/// Sets a webhook; the answer has its secret.
pub(super) async fn set(
    intake: &Intake,
    caller: &Caller,
    request: pb::SetWebhookRequest,
) -> Result<pb::Webhook, Fault> {
    let kind = kind(&request.kind)?;
    let actor = Actor::Key(caller.key.clone());
    let (hooked, secret) = intake.node.set_webhook(&caller.tenant, kind, &request.url, &request.secret, actor).await?;
    Ok(pb::Webhook { secret, ..to_pb(hooked) })
}

/// All webhooks of a tenant.
pub(super) async fn list(intake: &Intake, tenant: &TenantId) -> Result<Vec<pb::Webhook>, Fault> {
    Ok(intake.node.webhooks(tenant).await?.into_iter().map(to_pb).collect())
}

/// Takes one away.
pub(super) async fn delete(intake: &Intake, caller: &Caller, word: &str) -> Result<(), Fault> {
    intake.node.delete_webhook(&caller.tenant, kind(word)?, Actor::Key(caller.key.clone())).await
}

async fn set_json(
    State(intake): State<Intake>,
    kind: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let answered = async {
        let (caller, body) = intake.read::<Caller>(&parts, body, REQUEST_BYTES_MAX, Code::RequestTooLarge).await?;
        check_media(&parts.headers, &["application/json"])?;
        let mut request = pb::SetWebhookRequest { kind: word(kind), ..pb::SetWebhookRequest::default() };
        for (name, value) in object("the body", document(&body)?)? {
            check_known("", &name, &["url", "secret"])?;
            let field = if name == "url" { &mut request.url } else { &mut request.secret };
            *field = string(&name, value)?;
        }
        set(&intake, &caller, request).await
    };
    respond(answered.await.map(|webhook| {
        let mut value = to_json(&webhook);
        value["secret"] = webhook.secret.into();
        value
    }))
}

async fn list_json(State(intake): State<Intake>, request: Request) -> Response {
    let answered = async {
        let (caller, _) = ask::bare(&intake, request).await?;
        let webhooks = list(&intake, &caller.tenant).await?;
        Ok(json!({ "webhooks": webhooks.iter().map(to_json).collect::<Vec<_>>() }))
    };
    respond(answered.await)
}

async fn get_json(
    State(intake): State<Intake>,
    kind: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let answered = async {
        let (caller, _) = ask::bare(&intake, request).await?;
        let kind = self::kind(&word(kind))?;
        let webhooks = list(&intake, &caller.tenant).await?;
        let found = webhooks.iter().find(|webhook| webhook.kind == kind.as_str());
        found.map(to_json).ok_or_else(|| none(kind))
    };
    respond(answered.await)
}

async fn delete_json(
    State(intake): State<Intake>,
    kind: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let answered = async {
        let (caller, _) = ask::bare(&intake, request).await?;
        delete(&intake, &caller, &word(kind)).await.map(|()| json!({}))
    };
    respond(answered.await)
}

fn respond(answered: Result<Value, Fault>) -> Response {
    match answered {
        Ok(value) => answer(StatusCode::OK, &value),
        Err(fault) => to_response(&fault),
    }
}

fn word(kind: Result<Path<String>, PathRejection>) -> String {
    // What is not even text is no kind either.
    kind.map(|Path(kind)| kind).unwrap_or_default()
}

fn kind(word: &str) -> Result<Kind, Fault> {
    Kind::parse(word).ok_or_else(|| unknown_word("kind", word, &Kind::ALL.map(Kind::as_str)))
}

fn none(kind: Kind) -> Fault {
    Fault::new(Code::WebhookNotFound, format!("there is no webhook for {}", kind.as_str()))
}

fn to_pb(hooked: Hooked) -> pb::Webhook {
    let (failed_at_ms, failure) = hooked.failed.map(|(at, failure)| (at.as_millis(), failure)).unwrap_or_default();
    pb::Webhook {
        kind: hooked.kind.as_str().to_owned(),
        url: hooked.url,
        secret: String::new(),
        position: hooked.position,
        failed_at_ms,
        failure,
    }
}

fn to_json(webhook: &pb::Webhook) -> Value {
    let failed = webhook.failed_at_ms > 0;
    json!({
        "kind": webhook.kind,
        "url": webhook.url,
        "position": webhook.position,
        "failed_at_ms": failed.then_some(webhook.failed_at_ms),
        "failure": failed.then_some(&webhook.failure),
    })
}
