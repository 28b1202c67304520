//! Users: their groups, devices and quiet hours, in the protocol's messages and in JSON.

use serde_json::{Value, json};

use crate::model::fault::{Code, Fault};
use crate::model::id::{Receiver, TenantId, UserId};
use crate::node::people;
use crate::rpc::intake::Intake;
use crate::rpc::json_reader::{members as fields, string, strings, whole};
use crate::rpc::names::{self, NAMES_MAX};
use crate::wire::pb;

/// Sets all groups of a user.
pub(super) async fn set_groups(
    intake: &Intake,
    tenant: &TenantId,
    request: pb::SetGroupsRequest,
) -> Result<pb::User, Fault> {
    let user = names::user("user", &request.user)?;
    if request.groups.len() > NAMES_MAX {
        let words = format!("groups: there are {}; the limit is {NAMES_MAX}", request.groups.len());
        return Err(Fault::new(Code::InvalidOption, words));
    }
    let groups = names::each("groups", &request.groups, names::group)?;
    if request.version == 0 {
        let words = "version is missing; give a number that is larger with each change, at least 1";
        return Err(Fault::new(Code::InvalidOption, words));
    }
    let known = intake.node.set_groups(tenant, &user, groups, request.version).await?;
    Ok(to_pb(intake, tenant, user, known))
}

/// What is known of a user.
pub(super) async fn get(intake: &Intake, tenant: &TenantId, request: pb::GetUserRequest) -> Result<pb::User, Fault> {
    let user = names::user("user", &request.user)?;
    let known = intake.node.user(tenant, &user).await?;
    Ok(to_pb(intake, tenant, user, known))
}

/// Sets or ends the quiet hours of a user.
pub(super) async fn set_quiet_hours(
    intake: &Intake,
    tenant: &TenantId,
    request: pb::SetQuietHoursRequest,
) -> Result<pb::User, Fault> {
    let user = names::user("user", &request.user)?;
    let hours = request.quiet_hours.as_ref().map(names::quiet_hours).transpose()?;
    let known = intake.node.set_quiet_hours(tenant, &user, hours).await?;
    Ok(to_pb(intake, tenant, user, known))
}

fn to_pb(intake: &Intake, tenant: &TenantId, user: UserId, known: people::User) -> pb::User {
    let device = |device: people::Device| {
        let receiver = Receiver { tenant: tenant.clone(), user: user.clone(), device: device.device };
        pb::user::Device {
            online: intake.node.is_online(&receiver),
            device: receiver.device.to_string(),
            seen_at_ms: device.seen.as_millis(),
            attributes: device.attributes,
            subscriptions: device.subscriptions,
        }
    };
    pb::User {
        devices: known.devices.into_iter().map(device).collect(),
        groups: known.groups.iter().map(ToString::to_string).collect(),
        version: known.version,
        quiet_hours: known.quiet_hours.map(|hours| pb::QuietHours {
            from: hours.from.to_string(),
            to: hours.to.to_string(),
            time_zone: hours.time_zone,
        }),
        user: user.to_string(),
    }
}

/// Reads the body of `PUT /v1/users/{user}/groups`.
pub(super) fn read_groups(body: &[u8], user: String) -> Result<pb::SetGroupsRequest, Fault> {
    let mut request = pb::SetGroupsRequest { user, ..Default::default() };
    let mut given = false;
    for (name, raw) in fields("the request", body, &["groups", "version"])? {
        match name.as_str() {
            "groups" => (request.groups, given) = (strings("groups", raw)?, true),
            _ => request.version = whole("version", raw)?,
        }
    }
    if !given {
        // To take a user out of all groups by a slip of the pen would be hard to undo.
        return Err(Fault::new(Code::Malformed, "groups is missing; give [] to take the user out of all groups"));
    }
    Ok(request)
}

/// Reads the body of `PUT /v1/users/{user}/quiet-hours`.
pub(super) fn read_quiet_hours(body: &[u8], user: String) -> Result<pb::SetQuietHoursRequest, Fault> {
    let mut hours = pb::QuietHours::default();
    for (name, raw) in fields("the quiet hours", body, &["from", "to", "time_zone"])? {
        let text = string(&name, raw)?;
        *(match name.as_str() {
            "from" => &mut hours.from,
            "to" => &mut hours.to,
            _ => &mut hours.time_zone,
        }) = text;
    }
    Ok(pb::SetQuietHoursRequest { user, quiet_hours: Some(hours) })
}

/// A user in JSON.
pub(super) fn shown(user: &pb::User) -> Value {
    let device = |device: &pb::user::Device| {
        json!({
            "device": device.device,
            "online": device.online,
            "seen_at_ms": device.seen_at_ms,
            "attributes": device.attributes,
            "subscriptions": device.subscriptions,
        })
    };
    let quiet_hours =
        |hours: &pb::QuietHours| json!({ "from": hours.from, "to": hours.to, "time_zone": hours.time_zone });
    json!({
        "user": user.user,
        "groups": user.groups,
        "version": user.version,
        "quiet_hours": user.quiet_hours.as_ref().map(quiet_hours),
        "devices": user.devices.iter().map(device).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{read_groups, read_quiet_hours, shown};
    use crate::wire::pb;

    #[test]
    fn bodies_are_read_or_refused() {
        let read = read_groups(br#"{"version": 18446744073709551615, "groups": ["a", "b"]}"#, "u".into()).expect("all");
        assert_eq!((read.user.as_str(), read.version, read.groups.len()), ("u", u64::MAX, 2));
        let read =
            read_quiet_hours(br#"{"from": "22:00", "to": "07:00", "time_zone": "UTC"}"#, "u".into()).expect("all");
        let hours = pb::QuietHours { from: "22:00".into(), to: "07:00".into(), time_zone: "UTC".into() };
        assert_eq!(read.quiet_hours, Some(hours));
        for (fault, words) in [
            (read_groups(br#"{"version": 1}"#, "u".into()).expect_err("no groups"), "groups is missing"),
            (read_groups(br#"{"groups": [], "version": -1}"#, "u".into()).expect_err("below 0"), "version must be a"),
            (read_groups(br#"{"groups": [1]}"#, "u".into()).expect_err("a number"), "groups must be a list of strings"),
            (read_quiet_hours(br#"{"from": 22}"#, "u".into()).expect_err("a number"), "from must be a string"),
            (read_quiet_hours(br#"{"zone": "UTC"}"#, "u".into()).expect_err("unknown"), "unknown field `zone`"),
        ] {
            assert!(fault.words.contains(words), "{words}: {fault}");
        }
    }

    #[test]
    fn a_user_is_written_whole() {
        let device = pb::user::Device {
            device: "phone".into(),
            online: true,
            seen_at_ms: 5,
            attributes: [("platform".to_owned(), "ios".to_owned())].into(),
            subscriptions: 2,
        };
        let user = pb::User {
            user: "u".into(),
            groups: vec!["a".into()],
            version: 7,
            quiet_hours: None,
            devices: vec![device],
        };
        let expected = json!({
            "user": "u", "groups": ["a"], "version": 7, "quiet_hours": null,
            "devices": [{
                "device": "phone", "online": true, "seen_at_ms": 5, "attributes": {"platform": "ios"}, "subscriptions": 2,
            }],
        });
        assert_eq!(shown(&user), expected);
        let hours = pb::QuietHours { from: "22:00".into(), to: "07:00".into(), time_zone: "UTC".into() };
        let quiet = shown(&pb::User { quiet_hours: Some(hours), ..user });
        assert_eq!(quiet["quiet_hours"], json!({"from": "22:00", "to": "07:00", "time_zone": "UTC"}));
    }
}
