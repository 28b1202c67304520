//! The HTTP/JSON twin of the access service. docs/api.md describes it.

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::{delete, get, post};
use serde_json::json;

use crate::model::access::Caller;
use crate::rpc::access::{device_keys, shares, tokens};
use crate::rpc::audit;
use crate::rpc::intake::Intake;
use crate::rpc::json_call::{Name, Names, asked, named, page, respond, told};
use crate::wire::pb;

/// The JSON methods.
pub(super) fn router() -> Router<Intake> {
    Router::new()
        .route("/v1/tokens", post(issue_token))
        .route("/v1/tokens/revoke", post(revoke_tokens))
        .route("/v1/enrolments", post(create_enrolment))
        .route("/v1/users/{user}/keys", get(list_device_keys))
        .route("/v1/users/{user}/keys/{device}", delete(remove_device_key))
        .route("/v1/shares", get(list_shares).post(create_share))
        .route("/v1/shares/{id}", delete(revoke_share))
        .route("/v1/audit", get(list_audit))
}

async fn issue_token(State(intake): State<Intake>, request: Request) -> Response {
    let issued = async {
        let (caller, body) = told::<Caller>(&intake, request, false).await?;
        tokens::issue(&intake, &caller, tokens::read_issue(&body)?).await
    };
    respond(issued.await.map(|issued| tokens::issued_shown(&issued)))
}

async fn revoke_tokens(State(intake): State<Intake>, request: Request) -> Response {
    let revoked = async {
        let (caller, body) = told::<Caller>(&intake, request, false).await?;
        tokens::revoke(&intake, &caller, tokens::read_revoke(&body)?).await
    };
    respond(revoked.await.map(|revoked| tokens::revoked_shown(&revoked)))
}

async fn create_enrolment(State(intake): State<Intake>, request: Request) -> Response {
    let enrolled = async {
        let (caller, body) = told::<Caller>(&intake, request, false).await?;
        device_keys::enrol(&intake, &caller, device_keys::read_enrolment(&body)?).await
    };
    respond(enrolled.await.map(|enrolment| device_keys::enrolment_shown(&enrolment)))
}

async fn list_device_keys(State(intake): State<Intake>, user: Name, request: Request) -> Response {
    let listed = async {
        let (caller, _) = asked::<Caller>(&intake, request, &[]).await?;
        device_keys::list(&intake, &caller, pb::ListDeviceKeysRequest { user: named(user) }).await
    };
    respond(listed.await.map(|list| device_keys::list_shown(&list)))
}

async fn remove_device_key(State(intake): State<Intake>, names: Names, request: Request) -> Response {
    let removed = async {
        let (caller, _) = asked::<Caller>(&intake, request, &[]).await?;
        let (user, device) = names.map(|Path(names)| names).unwrap_or_default();
        device_keys::remove(&intake, &caller, pb::RemoveDeviceKeyRequest { user, device }).await
    };
    respond(removed.await.map(|answer| json!({ "removed": answer.removed })))
}

async fn create_share(State(intake): State<Intake>, request: Request) -> Response {
    let created = async {
        let (caller, body) = told::<Caller>(&intake, request, false).await?;
        shares::create(&intake, &caller, shares::read(&body)?).await
    };
    respond(created.await.map(|created| shares::created_shown(&created)))
}

async fn list_shares(State(intake): State<Intake>, request: Request) -> Response {
    let listed = async {
        let (caller, mut query) = asked::<Caller>(&intake, request, &["after", "limit"]).await?;
        let (after, limit) = page(&mut query)?;
        shares::list(&intake, &caller, pb::ListSharesRequest { after, limit }).await
    };
    respond(listed.await.map(|page| shares::list_shown(&page)))
}

async fn revoke_share(State(intake): State<Intake>, id: Name, request: Request) -> Response {
    let revoked = async {
        let (caller, _) = asked::<Caller>(&intake, request, &[]).await?;
        shares::revoke(&intake, &caller, pb::RevokeShareRequest { id: named(id) }).await
    };
    respond(revoked.await.map(|revoked| shares::revoked_shown(&revoked)))
}

async fn list_audit(State(intake): State<Intake>, request: Request) -> Response {
    let listed = async {
        let (caller, mut query) = asked::<Caller>(&intake, request, &["after", "limit"]).await?;
        let request = audit::asked(&mut query)?;
        audit::of_tenant(&intake, &caller.tenant, request).await
    };
    respond(listed.await.map(|page| audit::of_tenant_shown(&page)))
}
