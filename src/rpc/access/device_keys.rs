//! Key pairs of devices: enrolment codes and lists, in the protocol's messages and in JSON.

use std::ops::RangeInclusive;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::model::access::Caller;
use crate::model::audit::Actor;
use crate::model::fault::Fault;
use crate::node::access::device_keys::DeviceKey;
use crate::rpc::intake::Intake;
use crate::rpc::json_reader::{count, members as fields, string};
use crate::rpc::{bounds, names};
use crate::wire::pb;

/// How long a code may be good, in seconds (proto).
const CODE_TTL: RangeInclusive<u64> = 60..=604_800;

/// Makes a code with which a device enrols its key.
pub(super) async fn enrol(
    intake: &Intake,
    caller: &Caller,
    request: pb::CreateEnrolmentRequest,
) -> Result<pb::CreateEnrolmentResponse, Fault> {
    let user = names::user("user", &request.user)?;
    let device = match request.device.as_str() {
        "" => None,
        device => Some(names::device("device", device)?),
    };
    let ttl = bounds::span("ttl_seconds", request.ttl_seconds.into(), &CODE_TTL)?;
    let actor = Actor::Key(caller.key.clone());
    let enrolment = intake.node.create_enrolment(&caller.tenant, user, device, ttl, actor).await?;
    Ok(pb::CreateEnrolmentResponse { code: enrolment.code, expires_at_ms: enrolment.expires_at.as_millis() })
}

/// The keys of a user's devices.
pub(super) async fn list(
    intake: &Intake,
    caller: &Caller,
    request: pb::ListDeviceKeysRequest,
) -> Result<pb::ListDeviceKeysResponse, Fault> {
    let user = names::user("user", &request.user)?;
    let keys = intake.node.device_keys(&caller.tenant, &user).await?;
    Ok(pb::ListDeviceKeysResponse { keys: keys.into_iter().map(to_pb).collect() })
}

/// Forgets the key of a device.
pub(super) async fn remove(
    intake: &Intake,
    caller: &Caller,
    request: pb::RemoveDeviceKeyRequest,
) -> Result<pb::RemoveDeviceKeyResponse, Fault> {
    let (user, device) = (names::user("user", &request.user)?, names::device("device", &request.device)?);
    let actor = Actor::Key(caller.key.clone());
    let removed = intake.node.remove_device_key(&caller.tenant, &user, &device, actor).await?;
    Ok(pb::RemoveDeviceKeyResponse { removed })
}

fn to_pb(key: DeviceKey) -> pb::DeviceKey {
    pb::DeviceKey {
        device: key.device.to_string(),
        algorithm: key.algorithm.to_owned(),
        public_key: key.public_key,
        enrolled_at_ms: key.enrolled_at.as_millis(),
    }
}

/// Reads the body of `POST /v1/enrolments`.
pub(super) fn read_enrolment(body: &[u8]) -> Result<pb::CreateEnrolmentRequest, Fault> {
    let mut request = pb::CreateEnrolmentRequest::default();
    for (name, raw) in fields("the request", body, &["user", "device", "ttl_seconds"])? {
        match name.as_str() {
            "user" => request.user = string("user", raw)?,
            "device" => request.device = string("device", raw)?,
            _ => request.ttl_seconds = count("ttl_seconds", raw)?,
        }
    }
    Ok(request)
}

/// A code in JSON.
pub(super) fn enrolment_shown(enrolment: &pb::CreateEnrolmentResponse) -> Value {
    json!({ "code": enrolment.code, "expires_at_ms": enrolment.expires_at_ms })
}

/// Keys in JSON.
pub(super) fn list_shown(list: &pb::ListDeviceKeysResponse) -> Value {
    let key = |key: &pb::DeviceKey| {
        json!({
            "device": key.device,
            "algorithm": key.algorithm,
            "public_key_base64": STANDARD.encode(&key.public_key),
            "enrolled_at_ms": key.enrolled_at_ms,
        })
    };
    json!({ "keys": list.keys.iter().map(key).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{list_shown, read_enrolment, to_pb};
    use crate::model::clock::Timestamp;
    use crate::model::id::DeviceId;
    use crate::node::access::device_keys::DeviceKey;
    use crate::wire::pb;

    #[test]
    fn a_key_is_written_whole() {
        let key = DeviceKey {
            device: DeviceId::new("phone").expect("a name"),
            algorithm: "ed25519",
            public_key: vec![255, 254].into(),
            enrolled_at: Timestamp::from_millis(7),
        };
        let list = pb::ListDeviceKeysResponse { keys: vec![to_pb(key)] };
        let line = json!({"device": "phone", "algorithm": "ed25519", "public_key_base64": "//4=", "enrolled_at_ms": 7});
        assert_eq!(list_shown(&list), json!({ "keys": [line] }));
    }

    #[test]
    fn a_wish_for_a_code_is_read() {
        let read = read_enrolment(br#"{"user": "u", "device": null, "ttl_seconds": 60}"#).expect("a wish");
        assert_eq!((read.user.as_str(), read.device.as_str(), read.ttl_seconds), ("u", "", 60));
        assert!(read_enrolment(br#"{"code": "x"}"#).is_err());
    }
}
