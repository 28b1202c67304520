//! What the gateway answers, as JSON with the names of its HTTP/JSON twin. Nothing is left out and nothing explained.

pub(super) mod access;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::client::Refusal;
use crate::client::backend::Progress;
use crate::model::fault::Code;
use crate::model::id::MessageId;
use crate::wire::pb;
use crate::wire::pb::get_message_response::State;
use crate::wire::pb::target::To;

/// The answer to a push.
pub(super) fn accepted(answer: &pb::PushResponse) -> Value {
    json!({
        "id": answer.id,
        "log": text(&answer.log),
        "offset": answer.offset,
        // It may be larger than a double can hold.
        "epoch": answer.epoch.to_string(),
        "accepted_at_ms": answer.accepted_at_ms,
        "expires_at_ms": answer.expires_at_ms,
        "duplicate": answer.duplicate,
        "online": answer.online,
        "audience": answer.audience,
        "send_at_ms": time(answer.send_at_ms),
    })
}

/// A refusal of one of many.
pub(super) fn refusal(refusal: &Refusal) -> Value {
    // The HTTP status belongs to the code; a code that is newer than this program has none here.
    let code = Code::ALL.iter().find(|code| code.errno() == refusal.errno).map(|code| code.http());
    json!({ "code": code, "errno": refusal.errno, "error": refusal.name, "message": refusal.words })
}

/// The answer to a cancellation.
pub(super) fn cancelled(answer: &pb::CancelResponse) -> Value {
    json!({ "state": state(answer.state()), "cancelled": answer.cancelled })
}

/// A group.
pub(super) fn group(group: &pb::Group) -> Value {
    json!({
        "name": group.name,
        "topics": group.topics,
        "members": group.members,
        "created_at_ms": group.created_at_ms,
    })
}

/// How far a change of members is.
pub(super) fn progress(progress: &Progress) -> Value {
    let mut value = json!({
        "named": progress.named,
        "added": progress.added,
        "removed": progress.removed,
        "members": progress.members,
    });
    if let Some(refused) = &progress.refused {
        value["error"] = refusal(refused);
    }
    value
}

/// A user.
pub(super) fn user(user: &pb::User) -> Value {
    let devices = user.devices.iter().map(|device| {
        json!({
            "device": device.device,
            "online": device.online,
            "seen_at_ms": device.seen_at_ms,
            "attributes": device.attributes,
            "subscriptions": device.subscriptions,
        })
    });
    let quiet = user.quiet_hours.as_ref();
    json!({
        "user": user.user,
        "groups": user.groups,
        "version": user.version,
        "quiet_hours": quiet.map(|quiet| json!({ "from": quiet.from, "to": quiet.to, "time_zone": quiet.time_zone })),
        "devices": devices.collect::<Vec<_>>(),
    })
}

/// A topic.
pub(super) fn topic(topic: &pb::Topic) -> Value {
    json!({ "topic": topic.topic, "conflate": topic.conflate, "devices": topic.devices, "last": topic.last })
}

/// An audience.
pub(super) fn audience(audience: &pb::GetAudienceResponse) -> Value {
    let line = |line: &pb::get_audience_response::Line| json!({ "user": line.user, "device": text(&line.device), "online": line.online });
    json!({
        "count": audience.count,
        "users": audience.users,
        "online": audience.online,
        "page": audience.page.iter().map(line).collect::<Vec<_>>(),
        "next": text(&audience.next),
    })
}

/// A receipt.
pub(super) fn receipt(receipt: &pb::Receipt) -> Value {
    let mut value = json!({
        "position": receipt.position,
        "at_ms": receipt.at_ms,
        "message": receipt.message,
        "what": receipt.what,
    });
    extend(
        &mut value,
        [
            ("tag", text(&receipt.tag)),
            ("user", text(&receipt.user)),
            ("device", text(&receipt.device)),
            ("attempt", some(receipt.attempt)),
            ("reason", text(&receipt.reason)),
            ("send_at_ms", time(receipt.send_at_ms)),
            ("replaced_by", text(&receipt.replaced_by)),
            ("counts", receipt.counts.as_ref().map_or(Value::Null, counts)),
        ],
    );
    value
}

/// What became of messages, in numbers.
pub(super) fn counts(counts: &pb::Counts) -> Value {
    json!({
        "audience": counts.audience,
        "sent": counts.sent,
        "acked": counts.acked,
        "dead": counts.dead,
        "missed": counts.missed,
        "waiting": counts.waiting,
    })
}

/// Success of a tag.
pub(super) fn tag(tag: &pb::GetTagResponse) -> Value {
    let numbers = |counts: Option<&pb::Counts>| self::counts(&counts.cloned().unwrap_or_default());
    let hour = |hour: &pb::get_tag_response::Hour| json!({ "from_ms": hour.from_ms, "messages": hour.messages, "counts": numbers(hour.counts.as_ref()) });
    json!({
        "tag": tag.tag,
        "hours": tag.hours.iter().map(hour).collect::<Vec<_>>(),
        "total": numbers(tag.total.as_ref()),
        "messages": tag.messages,
    })
}

/// A device that is online.
pub(super) fn online(line: &pb::list_online_response::Line) -> Value {
    json!({ "user": line.user, "device": line.device, "since_ms": line.since_ms, "state": line.state })
}

/// A coming or going.
pub(super) fn presence(event: &pb::PresenceEvent) -> Value {
    let mut value = json!({ "position": event.position, "at_ms": event.at_ms, "what": event.what });
    let more = [("user", text(&event.user)), ("device", text(&event.device)), ("reason", text(&event.reason))];
    extend(&mut value, more);
    value
}

/// A webhook; the secret stands in the answer to setting it only.
pub(super) fn webhook(webhook: &pb::Webhook) -> Value {
    let mut value = json!({
        "kind": webhook.kind,
        "url": webhook.url,
        "position": webhook.position,
        "failed_at_ms": time(webhook.failed_at_ms),
        "failure": text(&webhook.failure),
    });
    extend(&mut value, [("secret", text(&webhook.secret))]);
    value
}

/// What happened to a message.
pub(super) fn timeline(timeline: &pb::GetTimelineResponse) -> Value {
    let event = |event: &pb::TimelineEvent| {
        let mut value = json!({ "at_ms": event.at_ms, "what": event.what });
        extend(
            &mut value,
            [
                ("user", text(&event.user)),
                ("device", text(&event.device)),
                ("attempt", some(event.attempt)),
                ("reason", text(&event.reason)),
            ],
        );
        value
    };
    let standing = |device: &pb::DeviceStanding| {
        json!({
            "user": device.user,
            "device": device.device,
            "standing": device.standing,
            "since_ms": time(device.since_ms),
            "reason": device.reason,
            "attempts": device.attempts,
            "online": device.online,
        })
    };
    json!({
        "message": timeline.message.as_ref().map(message),
        "events": timeline.events.iter().map(event).collect::<Vec<_>>(),
        "devices": timeline.devices.iter().map(standing).collect::<Vec<_>>(),
    })
}

/// What is known of a message.
fn message(message: &pb::GetMessageResponse) -> Value {
    json!({
        "id": message.id,
        "state": state(message.state()),
        "log": text(&message.log),
        "offset": message.offset,
        "epoch": message.epoch.to_string(),
        "accepted_at_ms": message.accepted_at_ms,
        "expires_at_ms": message.expires_at_ms,
        "content": message.content.as_ref().map(content),
        "devices": message.devices.iter().map(outcome).collect::<Vec<_>>(),
        "tag": text(&message.tag),
        "counts": message.counts.as_ref().map(counts),
        "ended_at_ms": time(message.ended_at_ms),
        "replaced_by": text(&message.replaced_by),
        "send_at_ms": time(message.send_at_ms),
    })
}

fn outcome(outcome: &pb::DeviceOutcome) -> Value {
    let mut value = json!({
        "user": outcome.user,
        "device": outcome.device,
        "state": match outcome.state() {
            pb::device_outcome::State::Unspecified => Value::Null,
            pb::device_outcome::State::Waiting => "waiting".into(),
            pb::device_outcome::State::Acked => "acked".into(),
            pb::device_outcome::State::Dead => "dead".into(),
            pb::device_outcome::State::Missed => "missed".into(),
        },
        "attempts": outcome.attempts,
    });
    extend(
        &mut value,
        [
            ("reason", text(&outcome.reason)),
            ("at_ms", time(outcome.at_ms)),
            ("first_sent_at_ms", time(outcome.first_sent_at_ms)),
            ("last_sent_at_ms", time(outcome.last_sent_at_ms)),
            ("handed_off_at_ms", time(outcome.handed_off_at_ms)),
            ("hand_off", text(&outcome.hand_off)),
        ],
    );
    value
}

fn content(push: &pb::Push) -> Value {
    let mut value = json!({
        "target": push.target.as_ref().and_then(|target| target.to.as_ref()).map(target),
        "content_type": push.content_type,
        "attributes": push.attributes,
        "urgency": crate::wire::body::urgency_from_pb(push.urgency()).map(|urgency| urgency.as_str()),
        "collapse_key": text(&push.collapse_key),
        "replaces": <[u8; 16]>::try_from(&push.replaces[..]).ok().map(|id| MessageId::from_bytes(id).to_string()),
    });
    match std::str::from_utf8(&push.payload) {
        Ok(text) if is_text(&push.content_type) => value["payload"] = text.into(),
        _ => value["payload_base64"] = STANDARD.encode(&push.payload).into(),
    }
    value
}

/// Whether a payload of this media type is shown as text.
fn is_text(content_type: &str) -> bool {
    let media = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media.starts_with("text/") || media == "application/json" || media.ends_with("+json")
}

fn target(to: &To) -> Value {
    match to {
        To::User(user) => json!({ "user": user }),
        To::Device(to) => json!({ "user": to.user, "device": to.device }),
        To::Topic(topic) => json!({ "topic": topic }),
        To::Condition(condition) => json!({ "condition": condition }),
        To::AnyOfUser(user) => json!({ "any_of_user": user }),
    }
}

/// A state's word; nothing for one that is newer than this program.
pub(super) const fn state(state: State) -> Option<&'static str> {
    match state {
        State::Unspecified => None,
        State::Stored => Some("stored"),
        State::Expired => Some("expired"),
        State::Replaced => Some("replaced"),
        State::Trimmed => Some("trimmed"),
        State::Cancelled => Some("cancelled"),
        State::Scheduled => Some("scheduled"),
        State::Taken => Some("taken"),
        State::Dismissed => Some("dismissed"),
    }
}

/// A text that is there.
fn text(text: &str) -> Value {
    if text.is_empty() { Value::Null } else { text.into() }
}

/// A time that is known.
fn time(millis: u64) -> Value {
    if millis == 0 { Value::Null } else { millis.into() }
}

/// A number that says something.
fn some(number: u32) -> Value {
    if number == 0 { Value::Null } else { number.into() }
}

/// Adds what is there.
fn extend<const N: usize>(value: &mut Value, more: [(&str, Value); N]) {
    let object: Map<String, Value> =
        more.into_iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.to_owned(), value)).collect();
    if let Value::Object(known) = value {
        known.extend(object);
    }
}
