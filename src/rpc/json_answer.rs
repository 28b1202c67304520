//! Writes what the node answers as JSON. The names are those of the protocol; numbers that a double cannot hold are
//! strings.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::model::clock::Timestamp;
use crate::model::fault::{Code, Fault};
use crate::model::id::{MessageId, Tag};
use crate::model::message::Target;
use crate::model::receipt::Counts;
use crate::node::push::Accepted;
use crate::node::{DeviceOutcome, DeviceState, MessageRecord, MessageState};
use crate::rpc::fault;
use crate::rpc::many_users::Outcome;
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
        "audience": accepted.audience,
        "send_at_ms": accepted.send_at.map(Timestamp::as_millis),
    })
}

/// What became of a push to many users.
pub(super) fn outcomes(outcomes: Vec<Outcome>) -> Value {
    let outcome = |(user, outcome)| match outcome {
        Ok(answer) => json!({ "user": user, "accepted": accepted(&answer) }),
        Err(refused) => json!({ "user": user, "error": fault::to_json(&refused) }),
    };
    json!({ "outcomes": outcomes.into_iter().map(outcome).collect::<Vec<Value>>() })
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
        "state": state(record.state),
        "log": record.log.to_string(),
        "offset": record.offset.0,
        "epoch": record.epoch.0.to_string(),
        "accepted_at_ms": record.accepted_at.as_millis(),
        "expires_at_ms": record.expires_at.as_millis(),
        "content": content,
        "tag": record.tag.as_ref().map(Tag::as_str),
        "send_at_ms": record.send_at.map(Timestamp::as_millis),
        "ended_at_ms": record.ended.map(|(at, _)| at.as_millis()),
        "replaced_by": record.ended.and_then(|(_, by)| by).map(|id| id.to_string()),
        "counts": record.counts.as_ref().map(counts),
        "devices": record.devices.iter().map(device).collect::<Vec<_>>(),
    }))
}

/// The word for what became of a message.
pub(super) const fn state(state: MessageState) -> &'static str {
    match state {
        MessageState::Stored => "stored",
        MessageState::Expired => "expired",
        MessageState::Replaced => "replaced",
        MessageState::Trimmed => "trimmed",
        MessageState::Cancelled => "cancelled",
        MessageState::Scheduled => "scheduled",
        MessageState::Taken => "taken",
        MessageState::Dismissed => "dismissed",
    }
}

/// Devices that a message is for, by what became of it there.
pub(super) fn counts(counts: &Counts) -> Value {
    json!({
        "audience": counts.audience,
        "sent": counts.sent,
        "acked": counts.acked,
        "dead": counts.dead,
        "missed": counts.missed,
        "waiting": counts.waiting(),
    })
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
        "replaces": content.replaces.map(|id| id.to_string()),
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
        DeviceState::Acked { at } => {
            if let Some(at) = at {
                value["at_ms"] = at.as_millis().into();
            }
            "acked".into()
        }
        DeviceState::Missed => "missed".into(),
        DeviceState::Dead { reason, at } => {
            value["reason"] = reason.as_str().into();
            value["at_ms"] = at.as_millis().into();
            "dead".into()
        }
    };
    if let Some((first, last)) = outcome.sent {
        value["first_sent_at_ms"] = first.as_millis().into();
        value["last_sent_at_ms"] = last.as_millis().into();
    }
    if let Some((at, answer)) = &outcome.handed_off {
        value["handed_off_at_ms"] = at.as_millis().into();
        value["hand_off"] = answer.as_ref().map(hand_off).into();
    }
    value
}

/// The fallback webhook's word for the outcome of a hand-off.
pub(super) fn hand_off(answer: &Result<String, String>) -> String {
    match answer {
        Ok(word) => word.clone(),
        Err(why) => format!("failed: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{accepted, record};
    use crate::model::clock::Timestamp;
    use crate::model::id::{DeviceId, MessageId, Tag, TenantId, TopicName, UserId};
    use crate::model::log::{Epoch, LogId, Offset};
    use crate::model::message::{Entry, Target, Urgency};
    use crate::model::receipt::Counts;
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
            replaces: Some(MessageId::from_bytes([2; 16])),
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
                DeviceOutcome {
                    sent: Some((at(3), at(4))),
                    handed_off: Some((at(6), Some(Err("HTTP 500".into())))),
                    ..device("b", DeviceState::Acked { at: Some(at(5)) })
                },
                DeviceOutcome { handed_off: Some((at(6), None)), ..device("m", DeviceState::Missed) },
            ],
            ended: Some((at(8), Some(MessageId::from_bytes([1; 16])))),
            tag: Some(Tag::new("spring").expect("a name")),
            counts: Some(Counts { audience: 9, sent: 5, acked: 2, dead: 1, missed: 2 }),
            send_at: Some(at(1)),
            aim: None,
            handed_off: None,
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
                "replaces": "02020202-0202-0202-0202-020202020202",
            },
            "tag": "spring", "send_at_ms": 1, "ended_at_ms": 8,
            "replaced_by": "01010101-0101-0101-0101-010101010101",
            "counts": {"audience": 9, "sent": 5, "acked": 2, "dead": 1, "missed": 2, "waiting": 4},
            "devices": [
                {"user": "u", "device": "w", "state": "waiting", "attempts": 2},
                {"user": "u", "device": "a", "state": "acked", "attempts": 2},
                {"user": "u", "device": "d", "state": "dead", "attempts": 2, "reason": "full", "at_ms": 9},
                {"user": "u", "device": "b", "state": "acked", "attempts": 2, "at_ms": 5, "first_sent_at_ms": 3,
                 "last_sent_at_ms": 4, "handed_off_at_ms": 6, "hand_off": "failed: HTTP 500"},
                {"user": "u", "device": "m", "state": "missed", "attempts": 2, "handed_off_at_ms": 6, "hand_off": null},
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
            "expires_at_ms": 0, "duplicate": false, "online": 3, "audience": null, "send_at_ms": null,
        });
        assert_eq!(accepted(&answer), expected);
    }
}
