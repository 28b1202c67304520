//! Limits of a tenant in the protocol's messages, in the model and in JSON. The same fields three times, by names that
//! are the same.

use std::num::NonZeroU32;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::model::fault::{Code, Fault};
use crate::model::tenant::{Limits, Rate};
use crate::rpc::json_reader::{count, inner, whole};
use crate::wire::pb;

/// Names of the limits in JSON.
const FIELDS: [&str; 14] = [
    "connections",
    "connections_per_user",
    "devices_per_user",
    "subscriptions_per_device",
    "topics",
    "stored_bytes",
    "inbox_entries",
    "topic_entries",
    "ttl_seconds",
    "pushes",
    "calls_per_key",
    "requests_per_user",
    "requests_per_device",
    "logins_per_user",
];

/// Limits as the protocol carries them.
pub(super) fn from_pb(limits: pb::TenantLimits) -> Result<Limits, Fault> {
    Ok(Limits {
        connections: limits.connections,
        connections_per_user: limits.connections_per_user,
        devices_per_user: limits.devices_per_user,
        subscriptions_per_device: limits.subscriptions_per_device,
        topics: limits.topics,
        stored_bytes: limits.stored_bytes,
        inbox_entries: limits.inbox_entries,
        topic_entries: limits.topic_entries,
        ttl_seconds: limits.ttl_seconds,
        pushes: rate("pushes", limits.pushes)?,
        calls_per_key: rate("calls_per_key", limits.calls_per_key)?,
        requests_per_user: rate("requests_per_user", limits.requests_per_user)?,
        requests_per_device: rate("requests_per_device", limits.requests_per_device)?,
        logins_per_user: rate("logins_per_user", limits.logins_per_user)?,
    })
}

/// The same, the other way.
pub(super) fn to_pb(limits: &Limits) -> pb::TenantLimits {
    let rate = |rate: Option<Rate>| {
        rate.map(|rate| pb::Rate {
            count: rate.count.get(),
            per_seconds: rate.per_seconds.get(),
            burst: rate.burst.get(),
        })
    };
    pb::TenantLimits {
        connections: limits.connections,
        connections_per_user: limits.connections_per_user,
        devices_per_user: limits.devices_per_user,
        subscriptions_per_device: limits.subscriptions_per_device,
        topics: limits.topics,
        stored_bytes: limits.stored_bytes,
        inbox_entries: limits.inbox_entries,
        topic_entries: limits.topic_entries,
        ttl_seconds: limits.ttl_seconds,
        pushes: rate(limits.pushes),
        calls_per_key: rate(limits.calls_per_key),
        requests_per_user: rate(limits.requests_per_user),
        requests_per_device: rate(limits.requests_per_device),
        logins_per_user: rate(limits.logins_per_user),
    }
}

fn rate(field: &str, rate: Option<pb::Rate>) -> Result<Option<Rate>, Fault> {
    let Some(pb::Rate { count, per_seconds, burst }) = rate else { return Ok(None) };
    let words =
        || format!("limits.{field}.count is 0, which would let nothing through; give 1 or more, or leave it out");
    let count = NonZeroU32::new(count).ok_or_else(|| Fault::new(Code::InvalidOption, words()))?;
    let per_seconds = NonZeroU32::new(per_seconds).unwrap_or(NonZeroU32::MIN);
    Ok(Some(Rate { count, per_seconds, burst: NonZeroU32::new(burst).unwrap_or(count) }))
}

/// Reads `limits` of a body.
pub(super) fn read(raw: &RawValue) -> Result<pb::TenantLimits, Fault> {
    let mut limits = pb::TenantLimits::default();
    for (name, raw) in inner("limits.", raw, &FIELDS)? {
        let field = format!("limits.{name}");
        let whole = || whole(&field, raw).map(Some);
        let count = || count(&field, raw).map(Some);
        let rate = || read_rate(&field, raw).map(Some);
        match name.as_str() {
            "connections" => limits.connections = whole()?,
            "connections_per_user" => limits.connections_per_user = count()?,
            "devices_per_user" => limits.devices_per_user = count()?,
            "subscriptions_per_device" => limits.subscriptions_per_device = count()?,
            "topics" => limits.topics = whole()?,
            "stored_bytes" => limits.stored_bytes = whole()?,
            "inbox_entries" => limits.inbox_entries = whole()?,
            "topic_entries" => limits.topic_entries = whole()?,
            "ttl_seconds" => limits.ttl_seconds = count()?,
            "pushes" => limits.pushes = rate()?,
            "calls_per_key" => limits.calls_per_key = rate()?,
            "requests_per_user" => limits.requests_per_user = rate()?,
            "requests_per_device" => limits.requests_per_device = rate()?,
            _ => limits.logins_per_user = rate()?,
        }
    }
    Ok(limits)
}

fn read_rate(field: &str, raw: &RawValue) -> Result<pb::Rate, Fault> {
    let mut rate = pb::Rate::default();
    for (name, raw) in inner(&format!("{field}."), raw, &["count", "per_seconds", "burst"])? {
        let number = count(&format!("{field}.{name}"), raw)?;
        *(match name.as_str() {
            "count" => &mut rate.count,
            "per_seconds" => &mut rate.per_seconds,
            _ => &mut rate.burst,
        }) = number;
    }
    Ok(rate)
}

/// Limits in JSON; null for the gateway's own.
pub(super) fn shown(limits: &pb::TenantLimits) -> Value {
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

#[cfg(test)]
mod tests {
    use serde_json::json;
    use serde_json::value::RawValue;

    use super::{FIELDS, from_pb, read, shown, to_pb};
    use crate::model::fault::Code;
    use crate::wire::pb;

    fn raw(value: &serde_json::Value) -> Box<RawValue> {
        RawValue::from_string(value.to_string()).expect("JSON")
    }

    #[test]
    fn every_limit_comes_back_as_it_was_said() {
        let mut said = json!({});
        for (at, name) in FIELDS.iter().enumerate() {
            let rate = json!({"count": at + 1, "per_seconds": at + 2, "burst": at + 3});
            said[*name] = if at < 9 { (at + 1).into() } else { rate };
        }
        let limits = read(&raw(&said)).and_then(from_pb).expect("limits");
        assert_eq!(shown(&to_pb(&limits)), said);
        let none = from_pb(pb::TenantLimits::default()).expect("none");
        assert!(
            shown(&to_pb(&none)).as_object().is_some_and(|all| all.len() == 14 && all.values().all(|v| v.is_null()))
        );
    }

    #[test]
    fn what_is_left_out_of_a_rate_is_filled_in_and_what_is_wrong_is_told() {
        let limits = read(&raw(&json!({"pushes": {"count": 7}}))).and_then(from_pb).expect("a rate");
        assert_eq!(shown(&to_pb(&limits))["pushes"], json!({"count": 7, "per_seconds": 1, "burst": 7}));
        for (said, code, words) in [
            (json!({"pushes": {"burst": 7}}), Code::InvalidOption, "limits.pushes.count is 0"),
            (json!({"pushes": 7}), Code::Malformed, "limits.pushes must be a JSON object"),
            (json!({"pushes": {"per": 7}}), Code::Malformed, "unknown field `limits.pushes.per`"),
            (json!({"topic": 7}), Code::Malformed, "unknown field `limits.topic`; did you mean `topics`?"),
            (json!({"topics": "7"}), Code::Malformed, "limits.topics must be a whole number"),
        ] {
            let fault = read(&raw(&said)).and_then(from_pb).expect_err(words);
            assert!(fault.code == code && fault.words.contains(words), "{fault}");
        }
    }
}
