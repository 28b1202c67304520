//! Tenants: what operators ask about them and what they are answered, in the protocol's messages and in JSON.

use serde_json::{Value, json};

use crate::model::audit::Actor;
use crate::model::fault::Fault;
use crate::node::access::tenants::Named;
use crate::node::access::tokens::Which;
use crate::rpc::admin::{limits, login_ways};
use crate::rpc::groups::next_shown;
use crate::rpc::intake::Intake;
use crate::rpc::json_reader::{members as fields, string, whole};
use crate::rpc::names;
use crate::wire::pb;

/// Makes a tenant.
pub(super) async fn create(intake: &Intake, request: pb::CreateTenantRequest) -> Result<pb::Tenant, Fault> {
    let name = names::tenant("name", &request.name)?;
    let limits = limits::from_pb(request.limits.unwrap_or_default())?;
    let login = login_ways::from_pb(request.login.unwrap_or_default());
    intake.node.create_tenant(&name, limits, login, Actor::Admin).await.map(to_pb)
}

/// A tenant.
pub(super) fn get(intake: &Intake, request: &pb::GetTenantRequest) -> Result<pb::Tenant, Fault> {
    intake.node.tenant(&names::tenant("name", &request.name)?).map(to_pb)
}

/// A page of the tenants.
pub(super) fn list(intake: &Intake, request: &pb::ListTenantsRequest) -> Result<pb::ListTenantsResponse, Fault> {
    let after = names::after(&request.after, names::tenant)?;
    let (tenants, more) = intake.node.tenants(after.as_ref(), names::page(request.limit)?);
    let next = tenants.last().filter(|_| more).map(|tenant| tenant.name.to_string()).unwrap_or_default();
    Ok(pb::ListTenantsResponse { tenants: tenants.into_iter().map(to_pb).collect(), next })
}

/// Changes limits and login ways.
pub(super) async fn update(intake: &Intake, request: pb::UpdateTenantRequest) -> Result<pb::Tenant, Fault> {
    let name = names::tenant("name", &request.name)?;
    let limits = request.limits.map(limits::from_pb).transpose()?;
    let login = request.login.map(login_ways::from_pb);
    intake.node.update_tenant(&name, limits, login, request.version, Actor::Admin).await.map(to_pb)
}

/// Suspends a tenant, or lets it go on.
pub(super) async fn suspend(intake: &Intake, request: pb::SuspendTenantRequest) -> Result<pb::Tenant, Fault> {
    let name = names::tenant("name", &request.name)?;
    intake.node.suspend_tenant(&name, request.suspended, Actor::Admin).await.map(to_pb)
}

/// Takes back all tokens of a tenant.
pub(super) async fn revoke(
    intake: &Intake,
    request: pb::RevokeTenantRequest,
) -> Result<pb::RevokeTokensResponse, Fault> {
    let name = names::tenant("name", &request.name)?;
    // A slip of the pen must not look as if it had worked.
    intake.node.tenant(&name)?;
    let sessions = intake.node.revoke_tokens(&name, Which::All, Actor::Admin).await?;
    Ok(pb::RevokeTokensResponse { sessions })
}

fn to_pb(named: Named) -> pb::Tenant {
    pb::Tenant {
        name: named.name.to_string(),
        created_at_ms: named.tenant.created_at.as_millis(),
        suspended: named.tenant.suspended,
        limits: Some(limits::to_pb(&named.tenant.limits)),
        login: Some(login_ways::to_pb(named.tenant.login)),
        version: named.version,
        implicit: named.implicit,
    }
}

/// Reads the body of `POST /v1/tenants`.
pub(super) fn read_new(body: &[u8]) -> Result<pb::CreateTenantRequest, Fault> {
    let mut request = pb::CreateTenantRequest::default();
    for (name, raw) in fields("the tenant", body, &["name", "limits", "login"])? {
        match name.as_str() {
            "name" => request.name = string("name", raw)?,
            "limits" => request.limits = Some(limits::read(raw)?),
            _ => request.login = Some(login_ways::read(raw)?),
        }
    }
    Ok(request)
}

/// Reads the body of `PUT /v1/tenants/{tenant}`.
pub(super) fn read_update(body: &[u8], name: String) -> Result<pb::UpdateTenantRequest, Fault> {
    let mut request = pb::UpdateTenantRequest { name, ..Default::default() };
    for (name, raw) in fields("the tenant", body, &["limits", "login", "version"])? {
        match name.as_str() {
            "limits" => request.limits = Some(limits::read(raw)?),
            "login" => request.login = Some(login_ways::read(raw)?),
            _ => request.version = whole("version", raw)?,
        }
    }
    Ok(request)
}

/// A tenant in JSON.
pub(super) fn shown(tenant: &pb::Tenant) -> Value {
    json!({
        "name": tenant.name,
        "created_at_ms": tenant.created_at_ms,
        "suspended": tenant.suspended,
        "limits": tenant.limits.as_ref().map(limits::shown),
        "login": tenant.login.as_ref().map(login_ways::shown),
        "version": tenant.version,
        "implicit": tenant.implicit,
    })
}

/// A page of tenants in JSON.
pub(super) fn list_shown(page: &pb::ListTenantsResponse) -> Value {
    json!({ "tenants": page.tenants.iter().map(shown).collect::<Vec<_>>(), "next": next_shown(&page.next) })
}

#[cfg(test)]
mod tests {
    use super::{read_new, read_update};
    use crate::model::fault::Code;

    #[test]
    fn what_is_not_named_stays_as_it_is() {
        let update = read_update(br#"{"limits": {"topics": 5}, "login": null}"#, "shop".into()).expect("an update");
        assert_eq!((update.limits.and_then(|limits| limits.topics), update.login, update.version), (Some(5), None, 0));
        let update = read_update(br#"{"login": {}, "version": 7}"#, "shop".into()).expect("an update");
        assert!(update.limits.is_none() && update.login.is_some() && update.version == 7);
        let new = read_new(br#"{"name": "shop"}"#).expect("a tenant");
        assert!(new.name == "shop" && new.limits.is_none() && new.login.is_none());
        assert_eq!(read_update(br#"{"name": "x"}"#, "shop".into()).expect_err("two names").code, Code::Malformed);
    }
}
