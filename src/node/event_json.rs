//! Events of journals as JSON: the same on the streams of backends and in what is posted to webhooks.
//!
//! The names are those of proto/receipts.proto. What an event does not have is left out.
//!
//! ```json
//! {"position": 7, "at_ms": 1764000000000, "message": "019a...", "tag": "spring", "what": "nacked",
//!  "user": "mia", "device": "phone", "attempt": 2, "reason": "full"}
//! {"position": 8, "at_ms": 1764000000001, "message": "019a...", "what": "expired",
//!  "counts": {"audience": 3, "sent": 2, "acked": 1, "dead": 0, "missed": 2, "waiting": 0}}
//! {"position": 9, "at_ms": 1764000000002, "what": "offline", "user": "mia", "device": "phone",
//!  "reason": "heartbeat_timeout"}
//! ```

use serde_json::{Map, Value, json};

use crate::model::audit;
use crate::model::presence;
use crate::model::receipt::{Counts, End, Receipt, What};
use crate::store::{Event, HandOff};

/// An event with its position.
#[must_use]
pub fn event(position: u64, event: &Event) -> Value {
    match event {
        Event::Receipt(told) => receipt(position, told),
        Event::Presence(event) => presence_event(position, event),
        Event::HandOff(told) => hand_off(position, told),
        Event::Audit(told) => audit(position, told),
    }
}

/// What became of a message, in numbers.
#[must_use]
pub fn counts(counts: &Counts) -> Value {
    json!({
        "audience": counts.audience,
        "sent": counts.sent,
        "acked": counts.acked,
        "dead": counts.dead,
        "missed": counts.missed,
        "waiting": counts.waiting(),
    })
}

/// An event of the audit log.
#[must_use]
pub fn audit(position: u64, told: &audit::Event) -> Value {
    let mut value = json!({
        "position": position,
        "at_ms": told.at.as_millis(),
        "actor": told.actor.to_string(),
        "action": told.action.as_str(),
        "object": told.object,
        "details": told.details,
    });
    if let Some(tenant) = &told.tenant {
        value["tenant"] = tenant.as_str().into();
    }
    value
}

fn receipt(position: u64, receipt: &Receipt) -> Value {
    let mut value = Fields::new(position, receipt.at.as_millis(), receipt.what.name());
    value.put("message", receipt.message.to_string());
    value.put_some("tag", receipt.tag.as_ref().map(|tag| tag.as_str()));
    value.put_device(receipt.device.as_ref().map(|(user, device)| (user.as_str(), Some(device.as_str()))));
    match &receipt.what {
        What::Scheduled { send_at } => value.put("send_at_ms", send_at.as_millis()),
        What::Accepted(told) | What::Counted(told) => value.put("counts", counts(told)),
        What::Ended(end, told) => {
            value.put("counts", counts(told));
            if let End::Replaced(Some(by)) = end {
                value.put("replaced_by", by.to_string());
            }
        }
        What::Sent { attempt } => value.put("attempt", *attempt),
        What::Acked => {}
        What::Nacked { attempt, reason } | What::Dead { attempts: attempt, reason } => {
            value.put("attempt", *attempt);
            value.put("reason", reason.as_str());
        }
        What::HandedOff { outcome: reason } | What::HandOffFailed { reason } => value.put("reason", reason.as_str()),
    }
    value.0.into()
}

fn presence_event(position: u64, event: &presence::Event) -> Value {
    let mut value = Fields::new(position, event.at.as_millis(), event.what.name());
    value.put_device(event.device.as_ref().map(|(user, device)| (user.as_str(), Some(device.as_str()))));
    if let presence::What::Offline { reason } = &event.what {
        value.put("reason", reason.as_str());
    }
    value.0.into()
}

fn hand_off(position: u64, hand_off: &HandOff) -> Value {
    let mut value = Fields::new(position, hand_off.at.as_millis(), "hand_off");
    value.put("message", hand_off.message.to_string());
    value.put_device(Some((hand_off.user.as_str(), hand_off.device.as_ref().map(|device| device.as_str()))));
    value.0.into()
}

/// An object in the making.
struct Fields(Map<String, Value>);

impl Fields {
    fn new(position: u64, at_ms: u64, what: &str) -> Self {
        let mut fields = Self(Map::new());
        fields.put("position", position);
        fields.put("at_ms", at_ms);
        fields.put("what", what);
        fields
    }

    fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    fn put_some(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.put(name, value);
        }
    }

    fn put_device(&mut self, device: Option<(&str, Option<&str>)>) {
        self.put_some("user", device.map(|(user, _)| user));
        self.put_some("device", device.and_then(|(_, device)| device));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::event;
    use crate::model::clock::Timestamp;
    use crate::model::id::{DeviceId, MessageId, Tag, UserId};
    use crate::model::presence;
    use crate::model::receipt::{Counts, End, Receipt, What};
    use crate::store::{Event, HandOff};

    #[test]
    fn every_event_is_written_with_what_it_has() {
        let id = MessageId::from_bytes([0; 16]);
        let text = id.to_string();
        let device = || (UserId::new("u").expect("a name"), DeviceId::new("d").expect("a name"));
        let counts = Counts { audience: 5, sent: 4, acked: 1, dead: 1, missed: 2 };
        let counted = json!({"audience": 5, "sent": 4, "acked": 1, "dead": 1, "missed": 2, "waiting": 1});
        let reason = || "r".to_owned();
        let at_device = [
            (What::Sent { attempt: 2 }, json!({"what": "sent", "attempt": 2})),
            (What::Acked, json!({"what": "acked"})),
            (What::Nacked { attempt: 1, reason: reason() }, json!({"what": "nacked", "attempt": 1, "reason": "r"})),
            (What::Dead { attempts: 5, reason: reason() }, json!({"what": "dead", "attempt": 5, "reason": "r"})),
            (What::HandedOff { outcome: reason() }, json!({"what": "handed_off", "reason": "r"})),
            (What::HandOffFailed { reason: reason() }, json!({"what": "hand_off_failed", "reason": "r"})),
        ];
        let whole = [
            (What::Scheduled { send_at: Timestamp::from_millis(9) }, json!({"what": "scheduled", "send_at_ms": 9})),
            (What::Accepted(counts), json!({"what": "accepted", "counts": counted})),
            (What::Counted(counts), json!({"what": "counts", "counts": counted})),
            (What::Ended(End::Expired, counts), json!({"what": "expired", "counts": counted})),
            (
                What::Ended(End::Replaced(Some(id)), counts),
                json!({"what": "replaced", "counts": counted, "replaced_by": text}),
            ),
        ];
        for (what, expected, is_at_device) in at_device
            .into_iter()
            .map(|(what, expected)| (what, expected, true))
            .chain(whole.into_iter().map(|(what, expected)| (what, expected, false)))
        {
            let tag = is_at_device.then(|| Tag::new("t").expect("a name"));
            let receipt =
                Receipt { at: Timestamp::from_millis(3), message: id, tag, device: is_at_device.then(device), what };
            let mut all = json!({"position": 7, "at_ms": 3, "message": text});
            if is_at_device {
                all["tag"] = "t".into();
                all["user"] = "u".into();
                all["device"] = "d".into();
            }
            for (name, value) in expected.as_object().expect("an object") {
                all[name] = value.clone();
            }
            assert_eq!(event(7, &Event::Receipt(receipt)), all);
        }
        let presence = |device, what| Event::Presence(presence::Event { at: Timestamp::from_millis(4), device, what });
        assert_eq!(
            event(1, &presence(None, presence::What::Reset)),
            json!({"position": 1, "at_ms": 4, "what": "reset"})
        );
        assert_eq!(
            event(2, &presence(Some(device()), presence::What::Offline { reason: reason() })),
            json!({"position": 2, "at_ms": 4, "what": "offline", "user": "u", "device": "d", "reason": "r"})
        );
        let (user, _) = device();
        assert_eq!(
            event(3, &Event::HandOff(HandOff { message: id, user, device: None, at: Timestamp::from_millis(5) })),
            json!({"position": 3, "at_ms": 5, "what": "hand_off", "message": text, "user": "u"})
        );
    }
}
