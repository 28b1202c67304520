//! The HTTP/JSON twin of the admin service. docs/api.md describes it.

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::{delete, get, post, put};
use serde_json::json;

use crate::rpc::access::tokens::revoked_shown;
use crate::rpc::admin::{keys, nodes, tenants};
use crate::rpc::audit;
use crate::rpc::intake::Intake;
use crate::rpc::json_call::{Name, Names, asked, named, page, respond, told};
use crate::rpc::rights::Operator;
use crate::wire::pb;

/// The JSON methods.
pub(super) fn router() -> Router<Intake> {
    Router::new()
        .route("/v1/tenants", get(list_tenants).post(create_tenant))
        .route("/v1/tenants/{tenant}", get(get_tenant).put(update_tenant))
        .route("/v1/tenants/{tenant}/suspend", post(suspend_tenant))
        .route("/v1/tenants/{tenant}/resume", post(resume_tenant))
        .route("/v1/tenants/{tenant}/revoke", post(revoke_tenant))
        .route("/v1/tenants/{tenant}/keys", get(list_keys).post(create_key))
        .route("/v1/tenants/{tenant}/keys/{id}", delete(remove_key))
        .route("/v1/tenants/{tenant}/keys/{id}/rotate", post(rotate_key))
        .route("/v1/nodes", get(list_nodes))
        .route("/v1/nodes/{node}", put(set_node))
        .route("/v1/assignment", get(get_assignment))
        .route("/v1/audit", get(list_audit))
}

async fn create_tenant(State(intake): State<Intake>, request: Request) -> Response {
    let created = async {
        let (Operator, body) = told(&intake, request, false).await?;
        tenants::create(&intake, tenants::read_new(&body)?).await
    };
    respond(created.await.map(|tenant| tenants::shown(&tenant)))
}

async fn get_tenant(State(intake): State<Intake>, tenant: Name, request: Request) -> Response {
    let found = async {
        let (Operator, _) = asked(&intake, request, &[]).await?;
        tenants::get(&intake, &pb::GetTenantRequest { name: named(tenant) })
    };
    respond(found.await.map(|tenant| tenants::shown(&tenant)))
}

async fn list_tenants(State(intake): State<Intake>, request: Request) -> Response {
    let listed = async {
        let (Operator, mut query) = asked(&intake, request, &["after", "limit"]).await?;
        let (after, limit) = page(&mut query)?;
        tenants::list(&intake, &pb::ListTenantsRequest { after, limit })
    };
    respond(listed.await.map(|page| tenants::list_shown(&page)))
}

async fn update_tenant(State(intake): State<Intake>, tenant: Name, request: Request) -> Response {
    let updated = async {
        let (Operator, body) = told(&intake, request, false).await?;
        tenants::update(&intake, tenants::read_update(&body, named(tenant))?).await
    };
    respond(updated.await.map(|tenant| tenants::shown(&tenant)))
}

async fn suspend_tenant(State(intake): State<Intake>, tenant: Name, request: Request) -> Response {
    suspend(&intake, tenant, request, true).await
}

async fn resume_tenant(State(intake): State<Intake>, tenant: Name, request: Request) -> Response {
    suspend(&intake, tenant, request, false).await
}

async fn suspend(intake: &Intake, tenant: Name, request: Request, suspended: bool) -> Response {
    let set = async {
        let (Operator, _) = asked(intake, request, &[]).await?;
        tenants::suspend(intake, pb::SuspendTenantRequest { name: named(tenant), suspended }).await
    };
    respond(set.await.map(|tenant| tenants::shown(&tenant)))
}

async fn revoke_tenant(State(intake): State<Intake>, tenant: Name, request: Request) -> Response {
    let revoked = async {
        let (Operator, _) = asked(&intake, request, &[]).await?;
        tenants::revoke(&intake, pb::RevokeTenantRequest { name: named(tenant) }).await
    };
    respond(revoked.await.map(|revoked| revoked_shown(&revoked)))
}

async fn create_key(State(intake): State<Intake>, tenant: Name, request: Request) -> Response {
    let created = async {
        let (Operator, body) = told(&intake, request, true).await?;
        keys::create(&intake, keys::read_new(&body, named(tenant))?).await
    };
    respond(created.await.map(|made| keys::made_shown(&made)))
}

async fn list_keys(State(intake): State<Intake>, tenant: Name, request: Request) -> Response {
    let listed = async {
        let (Operator, _) = asked(&intake, request, &[]).await?;
        keys::list(&intake, &pb::ListKeysRequest { tenant: named(tenant) })
    };
    respond(listed.await.map(|list| keys::list_shown(&list)))
}

async fn rotate_key(State(intake): State<Intake>, names: Names, request: Request) -> Response {
    let rotated = async {
        let (Operator, body) = told(&intake, request, true).await?;
        let (tenant, id) = names.map(|Path(names)| names).unwrap_or_default();
        keys::rotate(&intake, keys::read_rotation(&body, tenant, id)?).await
    };
    respond(rotated.await.map(|made| keys::made_shown(&made)))
}

async fn remove_key(State(intake): State<Intake>, names: Names, request: Request) -> Response {
    let removed = async {
        let (Operator, _) = asked(&intake, request, &[]).await?;
        let (tenant, id) = names.map(|Path(names)| names).unwrap_or_default();
        keys::remove(&intake, pb::RemoveKeyRequest { tenant, id }).await
    };
    respond(removed.await.map(|answer| json!({ "removed": answer.removed })))
}

async fn list_nodes(State(intake): State<Intake>, request: Request) -> Response {
    let listed = async {
        let (Operator, _) = asked(&intake, request, &[]).await?;
        Ok(nodes::list(&intake))
    };
    respond(listed.await.map(|list| nodes::list_shown(&list)))
}

async fn set_node(State(intake): State<Intake>, node: Name, request: Request) -> Response {
    let set = async {
        let (Operator, body) = told(&intake, request, false).await?;
        nodes::set(&intake, nodes::read(&body, named(node))?).await
    };
    respond(set.await.map(|node| nodes::shown(&node)))
}

async fn get_assignment(State(intake): State<Intake>, request: Request) -> Response {
    let found = async {
        let (Operator, mut query) = asked(&intake, request, &["tenant", "user", "device"]).await?;
        let mut text = |name| query.text(name).unwrap_or_default();
        let request = pb::GetAssignmentRequest { tenant: text("tenant"), user: text("user"), device: text("device") };
        nodes::assignment(&intake, request).await
    };
    respond(found.await.map(|found| nodes::assignment_shown(&found)))
}

async fn list_audit(State(intake): State<Intake>, request: Request) -> Response {
    let listed = async {
        let (Operator, mut query) = asked(&intake, request, &["after", "limit"]).await?;
        let request = audit::asked(&mut query)?;
        audit::of_all(&intake, request).await
    };
    respond(listed.await.map(|page| audit::of_all_shown(&page)))
}
