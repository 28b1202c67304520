//! Checks what a backend asked for, whichever surface it came by: the one place where a push is validated.

mod wishes;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use prost::Message;
use xxhash_rust::xxh3::xxh3_64;

pub(super) use self::wishes::Form;
use crate::model::clock::Timestamp;
use crate::model::condition::Condition;
use crate::model::fault::{Code, Fault};
use crate::model::id::{DeviceId, NameError, TopicName, UserId};
use crate::model::message::{Durability, Target, Urgency};
use crate::node::push::{Draft, Limits, Wishes};
use crate::wire::{body, pb};

/// Longest content type in bytes (proto).
const CONTENT_TYPE_BYTES_MAX: usize = 128;
/// Most attributes (proto).
const ATTRIBUTES_MAX: usize = 32;
/// Longest attribute value in bytes (proto).
const ATTRIBUTE_BYTES_MAX: usize = 1024;
/// Longest collapse key in bytes (proto).
const COLLAPSE_KEY_BYTES_MAX: usize = 64;
/// Longest idempotency key in bytes (proto).
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 128;
/// What a payload is when its backend does not say.
pub(super) const CONTENT_TYPE_DEFAULT: &str = "application/octet-stream";

/// Checks a request that came `now` and makes it a draft.
///
/// # Errors
/// The first thing that is wrong, in the order of the fields; it says which field and what would be right.
pub(super) fn check(mut request: pb::PushRequest, limits: &Limits, now: Timestamp) -> Result<Draft, Fault> {
    let target = check_target(request.target.take())?;
    let shared = Shared::check(request, Form::of(&target), limits, now)?;
    Ok(shared.draft(target, None))
}

/// A push that is checked but for whom it is for.
pub(super) struct Shared {
    /// What was asked, with defaults spelled out; without target and idempotency key.
    request: pb::PushRequest,
    urgency: Urgency,
    durability: Durability,
    idempotency_key: Option<String>,
    wishes: Wishes,
}

impl Shared {
    /// Checks all of a request but its target.
    ///
    /// # Errors
    /// As [`check`].
    pub(super) fn check(
        mut request: pb::PushRequest,
        form: Form,
        limits: &Limits,
        now: Timestamp,
    ) -> Result<Self, Fault> {
        check_payload(request.payload.len(), limits)?;
        if request.content_type.is_empty() {
            CONTENT_TYPE_DEFAULT.clone_into(&mut request.content_type);
        }
        check_text("content_type", &request.content_type, CONTENT_TYPE_BYTES_MAX)?;
        check_attributes(&request.attributes)?;
        let urgency = check_urgency(request.urgency)?;
        check_text("collapse_key", &request.collapse_key, COLLAPSE_KEY_BYTES_MAX)?;
        let durability = check_durability(request.durability)?;
        check_text("idempotency_key", &request.idempotency_key, IDEMPOTENCY_KEY_BYTES_MAX)?;
        check_online_only(&request, durability)?;
        let wishes = wishes::check(&request, form, durability, now)?;
        check_life(&request, limits)?;
        request.urgency = body::urgency_to_pb(urgency).into();
        request.durability = durability_to_pb(durability).into();
        let idempotency_key = some(std::mem::take(&mut request.idempotency_key));
        Ok(Self { request, urgency, durability, idempotency_key, wishes })
    }

    /// Bytes of the payload, which every draft of it has a copy of.
    pub(super) fn payload_bytes(&self) -> usize {
        self.request.payload.len()
    }

    /// The push to one of many users. The idempotency key holds for each of them apart: one that a single push used is
    /// another. No key that is taken in has a line break.
    pub(super) fn draft_for(&self, user: UserId) -> Draft {
        let key = self.idempotency_key.as_ref().map(|key| format!("{key}\n{user}"));
        let shared = Self {
            request: self.request.clone(),
            idempotency_key: None,
            wishes: self.wishes.clone(),
            urgency: self.urgency,
            durability: self.durability,
        };
        shared.draft(Target::User(user), key)
    }

    /// The push to a target, with its own key or another.
    fn draft(self, target: Target, key: Option<String>) -> Draft {
        let Self { mut request, urgency, durability, idempotency_key, mut wishes } = self;
        let idempotency_key = key.or(idempotency_key);
        let mut fingerprint = 0;
        // Only a second use of a key compares fingerprints; without a key there is nothing to compare.
        if idempotency_key.is_some() {
            request.target = Some(body::target_to_pb(&target));
            fingerprint = fingerprint_of(&request);
        }
        match &target {
            Target::Condition(condition) => wishes.condition = Some(condition.clone()),
            Target::AnyOfUser(_) => wishes.any_of_user = true,
            Target::User(_) | Target::Device(..) | Target::Topic(_) => {}
        }
        Draft {
            fingerprint,
            ttl: request.ttl_seconds.map(Duration::from_secs),
            urgency,
            collapse_key: some(request.collapse_key.clone()),
            durability,
            idempotency_key,
            body: body::encode(body::Content {
                target: target.clone(),
                content_type: request.content_type,
                attributes: request.attributes,
                payload: request.payload,
                urgency,
                collapse_key: request.collapse_key,
                replaces: wishes.replaces,
            }),
            wishes,
            target,
        }
    }
}

/// Hash of all that the request says, defaults spelled out, apart from the key itself. It is stored and compared by
/// later versions, so it is a hash with a specification over an encoding with one: fields by number, maps by key, and a
/// field that a later version adds is not there while it is unset.
fn fingerprint_of(request: &pb::PushRequest) -> u64 {
    xxh3_64(&request.encode_to_vec())
}

fn check_target(target: Option<pb::Target>) -> Result<Target, Fault> {
    let name = |field: &str, error: NameError| Fault::new(Code::InvalidName, format!("{field}: {error}"));
    match target.and_then(|target| target.to) {
        Some(pb::target::To::User(user)) => {
            UserId::new(&user).map(Target::User).map_err(|error| name("target.user", error))
        }
        Some(pb::target::To::Device(to)) => {
            let user = UserId::new(&to.user).map_err(|error| name("target.device.user", error))?;
            let device = DeviceId::new(&to.device).map_err(|error| name("target.device.device", error))?;
            Ok(Target::Device(user, device))
        }
        Some(pb::target::To::Topic(topic)) => {
            TopicName::new(&topic).map(Target::Topic).map_err(|error| name("target.topic", error))
        }
        Some(pb::target::To::AnyOfUser(user)) => {
            UserId::new(&user).map(Target::AnyOfUser).map_err(|error| name("target.any_of_user", error))
        }
        Some(pb::target::To::Condition(text)) => Condition::parse(&text)
            .map(Target::Condition)
            .map_err(|error| Fault::new(Code::InvalidCondition, format!("target.condition: {error}"))),
        None => {
            let words = "target is missing; name a user, a user's device, any device of a user, a topic or a condition";
            Err(Fault::new(Code::InvalidTarget, words))
        }
    }
}

fn check_payload(length: usize, limits: &Limits) -> Result<(), Fault> {
    let limit = limits.payload_bytes_max;
    if length <= limit {
        return Ok(());
    }
    let words = format!("payload has {length} bytes; the limit is {limit}: send a reference to what is larger");
    Err(Fault::new(Code::PayloadTooLarge, words))
}

/// Short printable texts: they stand in headers, logs and store keys. Empty is fine: it means "not set".
fn check_text(field: &str, text: &str, limit: usize) -> Result<(), Fault> {
    if text.len() > limit {
        let words = format!("{field} has {} bytes; the limit is {limit}", text.len());
        return Err(Fault::new(Code::InvalidOption, words));
    }
    match text.char_indices().find(|(_, c)| !matches!(c, ' '..='~')) {
        Some((at, c)) => {
            let words = format!("{field}: character {c:?} at byte {at} is not printable ASCII");
            Err(Fault::new(Code::InvalidOption, words))
        }
        None => Ok(()),
    }
}

fn check_attributes(attributes: &BTreeMap<String, String>) -> Result<(), Fault> {
    let refuse = |words: String| Err(Fault::new(Code::InvalidAttributes, words));
    if attributes.len() > ATTRIBUTES_MAX {
        return refuse(format!("attributes: there are {}; the limit is {ATTRIBUTES_MAX}", attributes.len()));
    }
    for (name, value) in attributes {
        // Attributes are named by the rule of topics.
        if let Err(error) = TopicName::new(name) {
            return refuse(format!("attributes: name {:?}: {error}", shortened(name)));
        }
        if value.len() > ATTRIBUTE_BYTES_MAX {
            return refuse(format!("attributes.{name} has {} bytes; the limit is {ATTRIBUTE_BYTES_MAX}", value.len()));
        }
        let forbidden = |c: char| c.is_control() && !matches!(c, '\t' | '\n');
        if let Some((at, c)) = value.char_indices().find(|(_, c)| forbidden(*c)) {
            return refuse(format!(
                "attributes.{name}: control character {c:?} at byte {at}; only tab and newline may be"
            ));
        }
    }
    Ok(())
}

fn check_urgency(number: i32) -> Result<Urgency, Fault> {
    match pb::Urgency::try_from(number) {
        Ok(urgency) => Ok(body::urgency_from_pb(urgency).unwrap_or_default()),
        Err(_) => {
            let words = format!("urgency {number} is unknown; 1 is very-low, 2 low, 3 normal, 4 high");
            Err(Fault::new(Code::InvalidOption, words))
        }
    }
}

fn check_durability(number: i32) -> Result<Durability, Fault> {
    match pb::Durability::try_from(number) {
        Ok(pb::Durability::Unspecified | pb::Durability::Fsync) => Ok(Durability::Fsync),
        Ok(pb::Durability::Relaxed) => Ok(Durability::Relaxed),
        Ok(pb::Durability::None) => Ok(Durability::None),
        Err(_) => {
            let words = format!("durability {number} is unknown; 1 is fsync, 2 relaxed, 3 none");
            Err(Fault::new(Code::InvalidOption, words))
        }
    }
}

const fn durability_to_pb(durability: Durability) -> pb::Durability {
    match durability {
        Durability::Fsync => pb::Durability::Fsync,
        Durability::Relaxed => pb::Durability::Relaxed,
        Durability::None => pb::Durability::None,
    }
}

/// Refuses what an online-only push cannot keep.
fn check_online_only(request: &pb::PushRequest, durability: Durability) -> Result<(), Fault> {
    let field = match (request.collapse_key.as_str(), request.idempotency_key.as_str()) {
        ("", "") => return Ok(()),
        ("", _) => "idempotency_key",
        _ => "collapse_key",
    };
    if durability != Durability::None {
        return Ok(());
    }
    let words = format!("{field} needs a stored push, and durability none stores nothing: use fsync or relaxed");
    Err(Fault::new(Code::InvalidOption, words))
}

/// Refuses a hand-off of what is over by then: it would never be.
fn check_life(request: &pb::PushRequest, limits: &Limits) -> Result<(), Fault> {
    let asked = request.ttl_seconds.map_or(limits.ttl_default, Duration::from_secs);
    let life = asked.min(limits.ttl_max).as_secs();
    match request.fallback_after_seconds {
        Some(wait) if wait >= life => {
            let words =
                format!("fallback_after_seconds is {wait}, and the push lives for {life} s: give less than that");
            Err(Fault::new(Code::InvalidOption, words))
        }
        _ => Ok(()),
    }
}

/// The beginning of a text of unknown length, so that a message about it stays short enough for a trailer.
pub(super) fn shortened(text: &str) -> String {
    const SHOWN: usize = 40;
    if text.chars().nth(SHOWN).is_none() {
        return text.to_owned();
    }
    text.chars().take(SHOWN).chain(['\u{2026}']).collect()
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}
