//! Checks the names, pages and lists of requests that are about people and topics. What they name is not known here.

use std::collections::HashSet;

use crate::model::fault::{Code, Fault};
use crate::model::id::{DeviceId, GroupName, KeyId, NameError, NodeName, ShareId, TenantId, TopicName, UserId};
use crate::model::quiet::{QuietHours, TimeOfDay};
use crate::rpc::draft::shortened;
use crate::wire::pb;
use crate::zone;

/// Most lines of a page (proto).
const PAGE_MAX: u32 = 1_000;
/// Lines of a page when no number is given (proto).
const PAGE_DEFAULT: u32 = 100;
/// Most names in one request (proto).
pub(super) const NAMES_MAX: usize = 1_000;
/// Longest name of a time zone in bytes. The longest there is has 32.
const ZONE_BYTES_MAX: usize = 64;

/// The name of a user.
pub(super) fn user(field: &str, name: &str) -> Result<UserId, Fault> {
    UserId::new(name).map_err(|error| invalid_name(field, &error))
}

/// The name of a group.
pub(super) fn group(field: &str, name: &str) -> Result<GroupName, Fault> {
    GroupName::new(name).map_err(|error| invalid_name(field, &error))
}

/// The name of a topic.
pub(super) fn topic(field: &str, name: &str) -> Result<TopicName, Fault> {
    TopicName::new(name).map_err(|error| invalid_name(field, &error))
}

/// The name of a device.
pub(super) fn device(field: &str, name: &str) -> Result<DeviceId, Fault> {
    DeviceId::new(name).map_err(|error| invalid_name(field, &error))
}

/// The name of a tenant.
pub(super) fn tenant(field: &str, name: &str) -> Result<TenantId, Fault> {
    TenantId::new(name).map_err(|error| invalid_name(field, &error))
}

/// The id of an API key.
pub(super) fn key(field: &str, name: &str) -> Result<KeyId, Fault> {
    KeyId::new(name).map_err(|error| invalid_name(field, &error))
}

/// The id of a share.
pub(super) fn share(field: &str, name: &str) -> Result<ShareId, Fault> {
    ShareId::new(name).map_err(|error| invalid_name(field, &error))
}

/// The name of a node.
pub(super) fn node(field: &str, name: &str) -> Result<NodeName, Fault> {
    NodeName::new(name).map_err(|error| invalid_name(field, &error))
}

/// Names in a list, each once; the fault tells which one is none.
pub(super) fn each<T>(
    field: &str,
    names: &[String],
    check: impl Fn(&str, &str) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    let mut known = HashSet::with_capacity(names.len());
    let once = names.iter().enumerate().filter(|(_, name)| known.insert(*name));
    once.map(|(at, name)| check(&format!("{field}[{at}]"), name)).collect()
}

/// The name that a page begins after; none when it is empty.
pub(super) fn after<T>(name: &str, check: impl Fn(&str, &str) -> Result<T, Fault>) -> Result<Option<T>, Fault> {
    if name.is_empty() { Ok(None) } else { check("after", name).map(Some) }
}

/// Lines of a page.
pub(super) fn page(limit: u32) -> Result<usize, Fault> {
    let limit = if limit == 0 { PAGE_DEFAULT } else { limit };
    lines(limit)
}

/// Lines of a page that may be none.
pub(super) fn lines(limit: u32) -> Result<usize, Fault> {
    if limit > PAGE_MAX {
        let words = format!("limit is {limit}; a page has at most {PAGE_MAX} lines: ask for the next with `after`");
        return Err(Fault::new(Code::InvalidOption, words));
    }
    Ok(limit as usize)
}

/// Quiet hours in a time zone that is known.
pub(super) fn quiet_hours(asked: &pb::QuietHours) -> Result<QuietHours, Fault> {
    let invalid = |words: String| Fault::new(Code::InvalidOption, format!("quiet_hours{words}"));
    let time = |field: &str, text: &str| {
        let words = || format!(".{field} is no time of day; write 24 hours and minutes, such as 22:30");
        TimeOfDay::parse(text).ok_or_else(|| invalid(words()))
    };
    let (from, to) = (time("from", &asked.from)?, time("to", &asked.to)?);
    if asked.time_zone.is_empty() || asked.time_zone.len() > ZONE_BYTES_MAX {
        let shown = shortened(&asked.time_zone);
        return Err(invalid(format!(".time_zone {shown:?}: give an IANA name, such as Europe/Berlin")));
    }
    let hours = QuietHours { from, to, time_zone: asked.time_zone.clone() };
    zone::Hours::new(&hours).map_err(|error| invalid(format!(": {error}")))?;
    Ok(hours)
}

fn invalid_name(field: &str, error: &NameError) -> Fault {
    Fault::new(Code::InvalidName, format!("{field}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::{after, each, group, lines, page, quiet_hours, user};
    use crate::model::fault::Code;
    use crate::wire::pb;

    #[test]
    fn names_are_taken_once_and_the_wrong_one_is_told() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let taken = each("add", &names(&["b", "a", "b"]), user).expect("names");
        assert_eq!(taken.iter().map(|user| user.as_str()).collect::<Vec<_>>(), ["b", "a"]);
        let fault = each("add", &names(&["b", "b", "a/"]), user).expect_err("a slash");
        assert!(fault.code == Code::InvalidName && fault.words.starts_with("add[2]: "), "{fault}");
        assert_eq!(after("", group), Ok(None));
        assert!(after("a b", group).is_err_and(|fault| fault.words.starts_with("after: ")));
    }

    #[test]
    fn pages_have_a_size() {
        assert_eq!((page(0), page(1), page(1_000), lines(0)), (Ok(100), Ok(1), Ok(1_000), Ok(0)));
        for refused in [page(1_001), lines(1_001), lines(u32::MAX)] {
            assert_eq!(refused.map_err(|fault| fault.code), Err(Code::InvalidOption));
        }
    }

    #[test]
    fn quiet_hours_are_checked_where_they_are_taken_in() {
        let hours = |from: &str, to: &str, time_zone: &str| {
            quiet_hours(&pb::QuietHours { from: from.into(), to: to.into(), time_zone: time_zone.into() })
        };
        let taken = hours("22:00", "07:00", "Europe/Berlin").expect("quiet hours");
        assert_eq!((taken.from.to_string(), taken.to.to_string()), ("22:00".into(), "07:00".into()));
        let long = "x".repeat(10_000);
        for (from, to, zone, words) in [
            ("22", "07:00", "UTC", "quiet_hours.from is no time of day"),
            ("22:00", "24:00", "UTC", "quiet_hours.to is no time of day"),
            ("22:00", "22:00", "UTC", "quiet_hours: they begin and end at 22:00"),
            ("22:00", "07:00", "", "quiet_hours.time_zone"),
            ("22:00", "07:00", "Europe/Bonn", "quiet_hours: there is no time zone"),
            ("22:00", "07:00", &long, "quiet_hours.time_zone"),
        ] {
            let fault = hours(from, to, zone).expect_err(words);
            assert!(fault.code == Code::InvalidOption && fault.words.starts_with(words), "{fault}");
            assert!(fault.words.len() < 300, "{} bytes of words", fault.words.len());
        }
    }
}
