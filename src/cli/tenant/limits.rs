//! Limits of a tenant as they are typed and shown: `NAME=VALUE`, and `NAME=none` for the gateway's own.

use std::num::NonZeroU32;
use std::str::FromStr;

use crate::model::tenant::Rate;
use crate::wire::pb;

/// A limit that is set, or left to the gateway.
#[derive(Clone, Debug)]
pub(super) struct Change(pb::TenantLimits, &'static str);

impl Change {
    /// Reads `NAME=VALUE`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let expected = || {
            let names: Vec<_> = NAMES.iter().chain(RATES).copied().collect();
            format!("expected NAME=NUMBER or NAME=none, with a name of {}", names.join(", "))
        };
        let (name, value) = text.split_once('=').ok_or_else(expected)?;
        let name = NAMES.iter().chain(RATES).copied().find(|known| *known == name).ok_or_else(expected)?;
        let mut limits = pb::TenantLimits::default();
        if value != "none" {
            set(&mut limits, name, value)?;
        }
        Ok(Self(limits, name))
    }

    /// Makes the change.
    pub(super) fn apply(&self, limits: &mut pb::TenantLimits) {
        let Self(new, name) = self;
        match *name {
            "connections" => limits.connections = new.connections,
            "connections_per_user" => limits.connections_per_user = new.connections_per_user,
            "devices_per_user" => limits.devices_per_user = new.devices_per_user,
            "subscriptions_per_device" => limits.subscriptions_per_device = new.subscriptions_per_device,
            "topics" => limits.topics = new.topics,
            "stored_bytes" => limits.stored_bytes = new.stored_bytes,
            "inbox_entries" => limits.inbox_entries = new.inbox_entries,
            "topic_entries" => limits.topic_entries = new.topic_entries,
            "ttl_seconds" => limits.ttl_seconds = new.ttl_seconds,
            "pushes" => limits.pushes = new.pushes,
            "calls_per_key" => limits.calls_per_key = new.calls_per_key,
            "requests_per_user" => limits.requests_per_user = new.requests_per_user,
            "requests_per_device" => limits.requests_per_device = new.requests_per_device,
            _ => limits.logins_per_user = new.logins_per_user,
        }
    }
}

fn set(limits: &mut pb::TenantLimits, name: &str, value: &str) -> Result<(), String> {
    match name {
        "connections" => limits.connections = Some(number(value)?),
        "connections_per_user" => limits.connections_per_user = Some(number(value)?),
        "devices_per_user" => limits.devices_per_user = Some(number(value)?),
        "subscriptions_per_device" => limits.subscriptions_per_device = Some(number(value)?),
        "topics" => limits.topics = Some(number(value)?),
        "stored_bytes" => limits.stored_bytes = Some(number(value)?),
        "inbox_entries" => limits.inbox_entries = Some(number(value)?),
        "topic_entries" => limits.topic_entries = Some(number(value)?),
        "ttl_seconds" => limits.ttl_seconds = Some(number(value)?),
        "pushes" => limits.pushes = Some(rate(value)?),
        "calls_per_key" => limits.calls_per_key = Some(rate(value)?),
        "requests_per_user" => limits.requests_per_user = Some(rate(value)?),
        "requests_per_device" => limits.requests_per_device = Some(rate(value)?),
        _ => limits.logins_per_user = Some(rate(value)?),
    }
    Ok(())
}

fn number<N: FromStr>(text: &str) -> Result<N, String> {
    text.parse().map_err(|_| format!("`{text}` is no number that fits"))
}

fn rate(text: &str) -> Result<pb::Rate, String> {
    let rate =
        Rate::parse(text).ok_or_else(|| format!("`{text}`: expected a rate such as 10/s or '600/min burst 100'"))?;
    Ok(pb::Rate { count: rate.count.get(), per_seconds: rate.per_seconds.get(), burst: rate.burst.get() })
}

/// The limits that are set, in the order of the protocol: name and value.
pub(super) fn shown(limits: &pb::TenantLimits) -> Vec<(&'static str, String)> {
    let wide = |name, number: Option<u64>| number.map(|number| (name, number.to_string()));
    let narrow = |name, number: Option<u32>| wide(name, number.map(u64::from));
    let rate = |name, rate: &Option<pb::Rate>| rate.as_ref().map(|rate| (name, pace(rate)));
    [
        wide("connections", limits.connections),
        narrow("connections_per_user", limits.connections_per_user),
        narrow("devices_per_user", limits.devices_per_user),
        narrow("subscriptions_per_device", limits.subscriptions_per_device),
        wide("topics", limits.topics),
        wide("stored_bytes", limits.stored_bytes),
        wide("inbox_entries", limits.inbox_entries),
        wide("topic_entries", limits.topic_entries),
        narrow("ttl_seconds", limits.ttl_seconds),
        rate("pushes", &limits.pushes),
        rate("calls_per_key", &limits.calls_per_key),
        rate("requests_per_user", &limits.requests_per_user),
        rate("requests_per_device", &limits.requests_per_device),
        rate("logins_per_user", &limits.logins_per_user),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn pace(rate: &pb::Rate) -> String {
    let count = NonZeroU32::new(rate.count).unwrap_or(NonZeroU32::MIN);
    let per_seconds = NonZeroU32::new(rate.per_seconds).unwrap_or(NonZeroU32::MIN);
    Rate { count, per_seconds, burst: NonZeroU32::new(rate.burst).unwrap_or(count) }.to_string()
}

/// Those that are numbers.
const NAMES: &[&str] = &[
    "connections",
    "connections_per_user",
    "devices_per_user",
    "subscriptions_per_device",
    "topics",
    "stored_bytes",
    "inbox_entries",
    "topic_entries",
    "ttl_seconds",
];

/// Those that are rates.
const RATES: &[&str] = &["pushes", "calls_per_key", "requests_per_user", "requests_per_device", "logins_per_user"];

#[cfg(test)]
mod tests {
    use super::{Change, NAMES, RATES, shown};
    use crate::wire::pb;

    #[test]
    fn every_limit_is_set_shown_and_left_to_the_gateway() {
        let mut limits = pb::TenantLimits::default();
        let all = NAMES.iter().map(|name| (*name, "7")).chain(RATES.iter().map(|name| (*name, "10/s burst 20")));
        for (index, (name, value)) in all.enumerate() {
            Change::parse(&format!("{name}={value}")).unwrap().apply(&mut limits);
            assert_eq!(shown(&limits).len(), index + 1, "{name}");
            assert_eq!(shown(&limits)[index], (name, value.to_owned()));
        }
        for name in NAMES.iter().chain(RATES) {
            Change::parse(&format!("{name}=none")).unwrap().apply(&mut limits);
        }
        assert!(shown(&limits).is_empty());
        for text in ["topics", "topic=1", "topics=-1", "topics=1/s", "pushes=1", "ttl_seconds=4294967296"] {
            assert!(Change::parse(text).is_err(), "{text}");
        }
    }
}
