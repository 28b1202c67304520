//! What stands in answers about access: tenants, keys, tokens, shares, the audit log, nodes.

use serde_json::{Value, json};

use crate::cli::twin::{text, time};
use crate::wire::pb;

/// A key that was made or rotated: with its secret, this once.
pub(in crate::cli) fn made_key(made: &pb::CreateKeyResponse) -> Value {
    json!({ "key": made.key.as_ref().map(key), "secret": text(&made.secret) })
}

/// A key.
pub(in crate::cli) fn key(key: &pb::Key) -> Value {
    json!({
        "id": key.id,
        "tenant": key.tenant,
        "scopes": key.scopes,
        "created_at_ms": time(key.created_at_ms),
        "expires_at_ms": time(key.expires_at_ms),
        "note": key.note,
        "certificate_sha256": text(&key.certificate_sha256),
        "old_secret_until_ms": time(key.old_secret_until_ms),
        "fixed": key.fixed,
    })
}

/// A tenant; the secret of its business server stands in the answer that made it only.
pub(in crate::cli) fn tenant(tenant: &pb::Tenant) -> Value {
    json!({
        "name": tenant.name,
        "created_at_ms": tenant.created_at_ms,
        "suspended": tenant.suspended,
        "limits": tenant.limits.as_ref().map(limits),
        "login": tenant.login.as_ref().map(login),
        "version": tenant.version,
        "implicit": tenant.implicit,
    })
}

fn limits(limits: &pb::TenantLimits) -> Value {
    let rate = |rate: &Option<pb::Rate>| {
        rate.as_ref().map(|rate| json!({ "count": rate.count, "per_seconds": rate.per_seconds, "burst": rate.burst }))
    };
    json!({
        "connections": limits.connections,
        "connections_per_user": limits.connections_per_user,
        "devices_per_user": limits.devices_per_user,
        "subscriptions_per_device": limits.subscriptions_per_device,
        "topics": limits.topics,
        "stored_bytes": limits.stored_bytes,
        "inbox_entries": limits.inbox_entries,
        "topic_entries": limits.topic_entries,
        "ttl_seconds": limits.ttl_seconds,
        "pushes": rate(&limits.pushes),
        "calls_per_key": rate(&limits.calls_per_key),
        "requests_per_user": rate(&limits.requests_per_user),
        "requests_per_device": rate(&limits.requests_per_device),
        "logins_per_user": rate(&limits.logins_per_user),
    })
}

fn login(ways: &pb::LoginWays) -> Value {
    let business = |way: &pb::BusinessLogin| {
        let mut value = json!({ "url": way.url, "timeout_ms": way.timeout_ms });
        if !way.secret.is_empty() {
            value["secret"] = way.secret.as_str().into();
        }
        value
    };
    let jwt = |way: &pb::JwtLogin| {
        json!({
            "issuer": way.issuer,
            "audiences": way.audiences,
            "jwks_url": text(&way.jwks_url),
            "algorithms": way.algorithms,
            "user_claim": way.user_claim,
            "attributes": way.attributes,
            "groups_claim": text(&way.groups_claim),
            "leeway_seconds": way.leeway_seconds,
        })
    };
    json!({
        "business": ways.business.as_ref().map(business),
        "jwt": ways.jwt.as_ref().map(jwt),
        "device_key": ways.device_key.is_some(),
        "token_ttl_seconds": ways.token_ttl_seconds,
    })
}

/// How many sessions were told to end.
pub(in crate::cli) fn revoked(sessions: u32) -> Value {
    json!({ "sessions": sessions })
}

/// A share that was made: with its token, this once.
pub(in crate::cli) fn made_share(made: &pb::CreateShareResponse) -> Value {
    json!({ "token": made.token, "share": made.share.as_ref().map(share) })
}

/// A share.
pub(in crate::cli) fn share(share: &pb::Share) -> Value {
    json!({
        "id": share.id,
        "topics": share.topics,
        "created_at_ms": share.created_at_ms,
        "expires_at_ms": share.expires_at_ms,
        "viewers_max": share.viewers_max,
        "viewers": share.viewers,
        "note": share.note,
    })
}

/// A code that enrols a key.
pub(in crate::cli) fn enrolment(made: &pb::CreateEnrolmentResponse) -> Value {
    json!({ "code": made.code, "expires_at_ms": made.expires_at_ms })
}

/// What was done, of one tenant's log.
pub(in crate::cli) fn event(event: &pb::AuditEvent) -> Value {
    json!({
        "position": event.position,
        "at_ms": event.at_ms,
        "actor": event.actor,
        "action": event.action,
        "object": event.object,
        "details": event.details,
    })
}

/// What was done, of all tenants' log.
pub(in crate::cli) fn tenant_event(told: &pb::TenantAuditEvent) -> Value {
    let mut value = told.event.as_ref().map_or(Value::Null, event);
    value["tenant"] = text(&told.tenant);
    value
}

/// A node.
pub(in crate::cli) fn node(node: &pb::Node) -> Value {
    json!({
        "name": node.name,
        "address": node.address,
        "weight": node.weight,
        "tags": node.tags,
        "draining": node.draining,
        "self": node.self_,
    })
}

/// Where a device belongs.
pub(in crate::cli) fn assignment(found: &pb::GetAssignmentResponse) -> Value {
    json!({ "nodes": found.nodes, "rule": text(&found.rule) })
}
