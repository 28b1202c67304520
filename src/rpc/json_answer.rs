//! Writes what the node answers as JSON. The names are those of the protocol; numbers that a double cannot hold are
//! strings.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::model::fault::{Code, Fault};
use crate::model::id::MessageId;
use crate::model::message::Target;
use crate::node::push::Accepted;
use crate::node::{DeviceOutcome, DeviceState, MessageRecord, MessageState};
use crate::wire::body::{self, Content};

/// The answer to a push.
pub(super) fn accepted(accepted: &Accepted) -> Value {
    json!({
        "id": accepted.id.to_string(),
        "log": accepted.log.as_ref().map(ToString::to_string),
        "offset": accepted.offset.0,
        "epoch": accepted.epoch.0.to_string(),
        "accepted_at_ms": accepted.accepted_at.as_millis(),
        "expires_at_ms": accepted.expires_at.as_millis(),
        "duplicate": accepted.duplicate,
        "online": accepted.online,
    })
}

/// What is known of a message.
///
/// # Errors
/// When the stored content cannot be read back.
pub(super) fn record(id: MessageId, record: &MessageRecord) -> Result<Value, Fault> {
    let content = match &record.entry {
        Some(entry) => content(&body::decode(entry.body.clone()).ok_or_else(unreadable)?),
        None => Value::Null,
    };
    Ok(json!({
        "id": id.to_string(),
        "state": match record.state {
            MessageState::Stored => "stored",
            MessageState::Expired => "expired",
            MessageState::Replaced => "replaced",
            MessageState::Trimmed => "trimmed",
            MessageState::Cancelled => "cancelled",
            MessageState::Scheduled => "scheduled",
            MessageState::Taken => "taken",
            MessageState::Dismissed => "dismissed",
        },
        "log": record.log.to_string(),
        "offset": record.offset.0,
        "epoch": record.epoch.0.to_string(),
        "accepted_at_ms": record.accepted_at.as_millis(),
        "expires_at_ms": record.expires_at.as_millis(),
        "content": content,
        "devices": record.devices.iter().map(device).collect::<Vec<_>>(),
    }))
}

/// The fault for a stored content that cannot be read back.
pub(super) fn unreadable() -> Fault {
    Fault::new(Code::Internal, "the stored content cannot be read back")
}

fn content(content: &Content) -> Value {
    let target = match &content.target {
        Target::User(user) => json!({ "user": user.as_str() }),
        Target::Device(user, device) => json!({ "user": user.as_str(), "device": device.as_str() }),
        Target::Topic(topic) => json!({ "topic": topic.as_str() }),
        Target::Condition(condition) => json!({ "condition": condition.as_str() }),
        Target::AnyOfUser(user) => json!({ "any_of_user": user.as_str() }),
    };
    let mut value = json!({
        "target": target,
        "content_type": content.content_type,
        "attributes": content.attributes,
        "urgency": content.urgency.as_str(),
        "collapse_key": (!content.collapse_key.is_empty()).then_some(&content.collapse_key),
    });
    match std::str::from_utf8(&content.payload) {
        Ok(text) if is_text(&content.content_type) => value["payload"] = text.into(),
        _ => value["payload_base64"] = STANDARD.encode(&content.payload).into(),
    }
    value
}

/// Whether a payload of this media type is shown as text.
fn is_text(content_type: &str) -> bool {
    let media = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media.starts_with("text/") || media == "application/json" || media.ends_with("+json")
}

fn device(outcome: &DeviceOutcome) -> Value {
    let mut value = json!({
        "user": outcome.user.as_str(),
        "device": outcome.device.as_str(),
        "attempts": outcome.attempts,
    });
    value["state"] = match &outcome.state {
        DeviceState::Waiting => "waiting".into(),
        DeviceState::Acked { .. } => "acked".into(),
        DeviceState::Missed => "missed".into(),
        DeviceState::Dead { reason, at } => {
            value["reason"] = reason.as_str().into();
            value["at_ms"] = at.as_millis().into();
            "dead".into()
        }
    };
    value
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{accepted, record};
    use crate::model::clock::Timestamp;
    use crate::model::id::{DeviceId, MessageId, TenantId, TopicName, UserId};
    use crate::model::log::{Epoch, LogId, Offset};
    use crate::model::message::{Entry, Target, Urgency};
    use crate::node::push::Accepted;
    use crate::node::{DeviceOutcome, DeviceState, MessageRecord, MessageState};
    use crate::wire::body::{Content, encode};

    fn message(content_type: &str, payload: &'static [u8]) -> MessageRecord {
        let content = Content {
            target: Target::Topic(TopicName::new("t").expect("a name")),
            content_type: content_type.into(),
            attributes: [("a".into(), "b".into())].into(),
            payload: payload.into(),
            urgency: Urgency::High,
            collapse_key: String::new(),
        };
        let at = Timestamp::from_millis;
        let user = UserId::new("u").expect("a name");
        let device = |name: &str, state| DeviceOutcome {
            user: user.clone(),
            device: DeviceId::new(name).expect("a name"),
            state,
            attempts: 2,
            sent: None,
            nacks: Vec::new(),
            handed_off: None,
        };
        let dead = DeviceState::Dead { reason: "full".into(), at: at(9) };
        MessageRecord {
            log: LogId::Topic(TenantId::new("x").expect("a name"), TopicName::new("t").expect("a name")),
            epoch: Epoch(u64::MAX),
            offset: Offset(7),
            accepted_at: at(1),
            expires_at: at(2),
            state: MessageState::Replaced,
            entry: Some(Entry {
                offset: Offset(7),
                id: MessageId::from_bytes([0; 16]),
                accepted_at: at(1),
                expires_at: at(2),
                urgency: Urgency::High,
                device: None,
                aim: None,
                receipts: true,
                body: encode(content),
            }),
            devices: vec![
                device("w", DeviceState::Waiting),
                device("a", DeviceState::Acked { at: None }),
                device("d", dead),
            ],
            ended: None,
            tag: None,
            counts: None,
            send_at: None,
            aim: None,
        }
    }

    #[test]
    fn a_record_is_written_whole() {
        let id = MessageId::from_bytes([0; 16]);
        let expected = json!({
            "id": "00000000-0000-0000-0000-000000000000", "state": "replaced", "log": "topic/t", "offset": 7,
            "epoch": "18446744073709551615", "accepted_at_ms": 1, "expires_at_ms": 2,
            "content": {
                "target": {"topic": "t"}, "content_type": "text/plain; charset=utf-8", "attributes": {"a": "b"},
                "urgency": "high", "collapse_key": null, "payload": "h\u{e9}",
            },
            "devices": [
                {"user": "u", "device": "w", "state": "waiting", "attempts": 2},
                {"user": "u", "device": "a", "state": "acked", "attempts": 2},
                {"user": "u", "device": "d", "state": "dead", "attempts": 2, "reason": "full", "at_ms": 9},
            ],
        });
        assert_eq!(record(id, &message("text/plain; charset=utf-8", "h\u{e9}".as_bytes())), Ok(expected));
        let gone = MessageRecord { entry: None, ..message("text/plain", b"") };
        assert_eq!(record(id, &gone).expect("a record")["content"], json!(null));
        let mut broken = message("text/plain", b"");
        broken.entry.as_mut().expect("an entry").body = b"\xff"[..].into();
        assert!(record(id, &broken).is_err());
    }

    #[test]
    fn payloads_that_are_not_text_are_base64() {
        let id = MessageId::from_bytes([0; 16]);
        let cases: [(&str, &'static [u8], &str, &str); 5] = [
            ("Application/JSON; a=b", b"{}", "payload", "{}"),
            ("application/merge-patch+json", b"{}", "payload", "{}"),
            ("application/octet-stream", b"{}", "payload_base64", "e30="),
            ("text/plain", b"\xff", "payload_base64", "/w=="),
            ("text/plain", b"", "payload", ""),
        ];
        for (content_type, payload, form, expected) in cases {
            let value = record(id, &message(content_type, payload)).expect("a record");
            assert_eq!(value["content"][form], expected, "{content_type}");
        }
    }

    #[test]
    fn an_online_only_push_has_no_log() {
        let answer = Accepted {
            id: MessageId::from_bytes([0; 16]),
            log: None,
            offset: Offset::ZERO,
            epoch: Epoch(0),
            accepted_at: Timestamp::from_millis(5),
            expires_at: Timestamp::ZERO,
            duplicate: false,
            online: 3,
            audience: None,
            send_at: None,
        };
        let expected = json!({
            "id": "00000000-0000-0000-0000-000000000000", "log": null, "offset": 0, "epoch": "0", "accepted_at_ms": 5,
            "expires_at_ms": 0, "duplicate": false, "online": 3,
        });
        assert_eq!(accepted(&answer), expected);
    }
}
