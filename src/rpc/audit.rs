//! Pages of the audit log, of one tenant or of all, in the protocol's messages and in JSON.

use serde_json::{Value, json};

use crate::model::audit::Event;
use crate::model::fault::Fault;
use crate::model::id::TenantId;
use crate::rpc::intake::Intake;
use crate::rpc::names;
use crate::rpc::query::Query;
use crate::wire::pb;

/// A page of a tenant's.
pub(super) async fn of_tenant(
    intake: &Intake,
    tenant: &TenantId,
    request: pb::ListAuditRequest,
) -> Result<pb::ListAuditResponse, Fault> {
    let page = intake.node.audit(Some(tenant), request.after, names::page(request.limit)?).await?;
    let events = page.events.into_iter().map(|(position, event)| to_pb(position, event)).collect();
    Ok(pb::ListAuditResponse { events, position: page.position, last: page.last, missed: page.missed })
}

/// A page of all tenants'.
pub(super) async fn of_all(intake: &Intake, request: pb::ListAuditRequest) -> Result<pb::ListAllAuditResponse, Fault> {
    let page = intake.node.audit(None, request.after, names::page(request.limit)?).await?;
    let event = |(position, event): (u64, Event)| pb::TenantAuditEvent {
        tenant: event.tenant.as_ref().map(ToString::to_string).unwrap_or_default(),
        event: Some(to_pb(position, event)),
    };
    let events = page.events.into_iter().map(event).collect();
    Ok(pb::ListAllAuditResponse { events, position: page.position, last: page.last, missed: page.missed })
}

/// Which page a query asks for: `?after=7&limit=10`.
pub(super) fn asked(query: &mut Query) -> Result<pb::ListAuditRequest, Fault> {
    let (after, limit) = (query.whole("after")?.unwrap_or(0), query.whole("limit")?.unwrap_or(0));
    Ok(pb::ListAuditRequest { after, limit })
}

fn to_pb(position: u64, event: Event) -> pb::AuditEvent {
    pb::AuditEvent {
        position,
        at_ms: event.at.as_millis(),
        actor: event.actor.to_string(),
        action: event.action.as_str().to_owned(),
        object: event.object,
        details: event.details,
    }
}

/// A page of a tenant's in JSON.
pub(super) fn of_tenant_shown(page: &pb::ListAuditResponse) -> Value {
    let events: Vec<_> = page.events.iter().map(shown).collect();
    json!({ "events": events, "position": page.position, "last": page.last, "missed": page.missed })
}

/// A page of all tenants' in JSON.
pub(super) fn of_all_shown(page: &pb::ListAllAuditResponse) -> Value {
    let event = |told: &pb::TenantAuditEvent| {
        let mut value = told.event.as_ref().map_or(Value::Null, shown);
        value["tenant"] = if told.tenant.is_empty() { Value::Null } else { told.tenant.as_str().into() };
        value
    };
    let events: Vec<_> = page.events.iter().map(event).collect();
    json!({ "events": events, "position": page.position, "last": page.last, "missed": page.missed })
}

fn shown(event: &pb::AuditEvent) -> Value {
    json!({
        "position": event.position,
        "at_ms": event.at_ms,
        "actor": event.actor,
        "action": event.action,
        "object": event.object,
        "details": event.details,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{of_all_shown, of_tenant_shown, to_pb};
    use crate::model::audit::{Action, Actor, Event};
    use crate::model::clock::Timestamp;
    use crate::model::id::KeyId;
    use crate::wire::pb;

    #[test]
    fn an_event_is_written_whole() {
        let event = Event {
            at: Timestamp::from_millis(5),
            tenant: None,
            actor: Actor::Key(KeyId::new("k1").expect("a name")),
            action: Action::TokensRevoked,
            object: "user:ada".to_owned(),
            details: [("sessions".to_owned(), "2".to_owned())].into(),
        };
        let event = to_pb(9, event);
        let expected = json!({
            "position": 9, "at_ms": 5, "actor": "key:k1", "action": "tokens.revoked", "object": "user:ada",
            "details": {"sessions": "2"},
        });
        let page = pb::ListAuditResponse { events: vec![event.clone()], position: 9, last: 12, missed: 1 };
        assert_eq!(
            of_tenant_shown(&page),
            json!({"events": [expected.clone()], "position": 9, "last": 12, "missed": 1})
        );
        for (tenant, shown) in [("", json!(null)), ("shop", json!("shop"))] {
            let event = pb::TenantAuditEvent { tenant: tenant.into(), event: Some(event.clone()) };
            let page = pb::ListAllAuditResponse { events: vec![event], position: 9, last: 12, missed: 0 };
            let mut expected = expected.clone();
            expected["tenant"] = shown;
            assert_eq!(of_all_shown(&page)["events"], json!([expected]));
        }
    }
}
