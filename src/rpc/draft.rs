//! Checks what a backend asked for, whichever surface it came by: the one place where a push is validated.

use std::collections::BTreeMap;
use std::time::Duration;

use prost::Message;
use xxhash_rust::xxh3::xxh3_64;

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

/// Checks a request and makes it a draft.
///
/// # Errors
/// The first thing that is wrong, in the order of the fields; it says which field and what would be right.
pub(super) fn check(mut request: pb::PushRequest, limits: &Limits) -> Result<Draft, Fault> {
    let target = check_target(request.target.take())?;
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

    let idempotency_key = some(std::mem::take(&mut request.idempotency_key));
    let mut fingerprint = 0;
    // Only a second use of a key compares fingerprints; without a key there is nothing to compare.
    if idempotency_key.is_some() {
        request.target = Some(body::target_to_pb(&target));
        request.urgency = body::urgency_to_pb(urgency).into();
        request.durability = durability_to_pb(durability).into();
        fingerprint = fingerprint_of(&request);
    }
    Ok(Draft {
        fingerprint,
        ttl: request.ttl_seconds.map(Duration::from_secs),
        urgency,
        collapse_key: some(request.collapse_key.clone()),
        durability,
        idempotency_key,
        wishes: Wishes::default(),
        body: body::encode(body::Content {
            target: target.clone(),
            content_type: request.content_type,
            attributes: request.attributes,
            payload: request.payload,
            urgency,
            collapse_key: request.collapse_key,
        }),
        target,
    })
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
        None => Err(Fault::new(Code::InvalidTarget, "target is missing; name a user, a user's device or a topic")),
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::check;
    use crate::model::fault::Code;
    use crate::model::id::{DeviceId, UserId};
    use crate::model::message::{Durability, Target, Urgency};
    use crate::node::push::Limits;
    use crate::wire::{body, pb};

    const LIMITS: Limits =
        Limits { payload_bytes_max: 8, ttl_default: Duration::from_secs(60), ttl_max: Duration::from_secs(60) };

    fn to(to: pb::target::To) -> Option<pb::Target> {
        Some(pb::Target { to: Some(to) })
    }

    fn request() -> pb::PushRequest {
        pb::PushRequest { target: to(pb::target::To::User("u".into())), ..Default::default() }
    }

    fn device(user: &str, device: &str) -> Option<pb::Target> {
        to(pb::target::To::Device(pb::DeviceTarget { user: user.into(), device: device.into() }))
    }

    #[test]
    fn what_is_not_said_is_filled_in() {
        let draft = check(request(), &LIMITS).expect("a good request");
        assert_eq!(draft.target, Target::User(UserId::new("u").expect("a name")));
        assert_eq!((draft.ttl, draft.urgency, draft.durability), (None, Urgency::Normal, Durability::Fsync));
        assert_eq!((draft.collapse_key, draft.idempotency_key), (None, None));
        let content = body::decode(draft.body).expect("a body");
        assert_eq!(content.content_type, "application/octet-stream");
        assert_eq!(content.urgency, Urgency::Normal);
    }

    #[test]
    fn what_is_said_arrives() {
        let asked = pb::PushRequest {
            target: device("u", "d"),
            payload: Bytes::from_static(b"12345678"),
            content_type: "text/plain".into(),
            attributes: [("a".to_owned(), "tab\tand\nnewline, \u{e9}".to_owned())].into(),
            ttl_seconds: Some(u64::MAX),
            urgency: pb::Urgency::VeryLow.into(),
            collapse_key: "c c".into(),
            durability: pb::Durability::Relaxed.into(),
            idempotency_key: "k".into(),
            ..pb::PushRequest::default()
        };
        let draft = check(asked.clone(), &LIMITS).expect("a good request");
        let (user, device) = (UserId::new("u").expect("a name"), DeviceId::new("d").expect("a name"));
        assert_eq!(draft.target, Target::Device(user, device));
        assert_eq!(draft.ttl, Some(Duration::from_secs(u64::MAX)), "RFC 8030: too much is taken as the most");
        assert_eq!((draft.urgency, draft.durability), (Urgency::VeryLow, Durability::Relaxed));
        assert_eq!(draft.collapse_key.as_deref(), Some("c c"));
        assert_eq!(draft.idempotency_key.as_deref(), Some("k"));
        let content = body::decode(draft.body).expect("a body");
        assert_eq!(content.payload, asked.payload);
        assert_eq!(content.attributes, asked.attributes);
        let now = check(pb::PushRequest { ttl_seconds: Some(0), ..request() }, &LIMITS).expect("zero is allowed");
        assert_eq!(now.ttl, Some(Duration::ZERO));
    }

    #[test]
    fn each_refusal_has_its_code_and_names_its_field() {
        let long = |length: usize| "x".repeat(length);
        let attributes = |name: &str, value: &str| [(name.to_owned(), value.to_owned())].into();
        let many = (0..33).map(|i| (format!("a{i}"), String::new())).collect();
        let online = pb::Durability::None.into();
        let cases = [
            (Code::InvalidTarget, "target", pb::PushRequest { target: None, ..request() }),
            (Code::InvalidTarget, "target", pb::PushRequest { target: Some(pb::Target { to: None }), ..request() }),
            (
                Code::InvalidName,
                "target.user",
                pb::PushRequest { target: to(pb::target::To::User("a/b".into())), ..request() },
            ),
            (
                Code::InvalidName,
                "target.topic",
                pb::PushRequest { target: to(pb::target::To::Topic(long(129))), ..request() },
            ),
            (Code::InvalidName, "target.device.user", pb::PushRequest { target: device("", "d"), ..request() }),
            (Code::InvalidName, "target.device.device", pb::PushRequest { target: device("u", ""), ..request() }),
            (Code::PayloadTooLarge, "payload", pb::PushRequest { payload: Bytes::from_static(&[0; 9]), ..request() }),
            (Code::InvalidOption, "content_type", pb::PushRequest { content_type: long(129), ..request() }),
            (Code::InvalidOption, "content_type", pb::PushRequest { content_type: "a\r\nb: c".into(), ..request() }),
            (Code::InvalidAttributes, "attributes", pb::PushRequest { attributes: many, ..request() }),
            (Code::InvalidAttributes, "attributes", pb::PushRequest { attributes: attributes("", "v"), ..request() }),
            (
                Code::InvalidAttributes,
                "attributes",
                pb::PushRequest { attributes: attributes(&long(60_000), "v"), ..request() },
            ),
            (
                Code::InvalidAttributes,
                "attributes.n",
                pb::PushRequest { attributes: attributes("n", &long(1025)), ..request() },
            ),
            (
                Code::InvalidAttributes,
                "attributes.n",
                pb::PushRequest { attributes: attributes("n", "a\0"), ..request() },
            ),
            (Code::InvalidOption, "urgency", pb::PushRequest { urgency: 5, ..request() }),
            (Code::InvalidOption, "urgency", pb::PushRequest { urgency: -1, ..request() }),
            (Code::InvalidOption, "durability", pb::PushRequest { durability: 4, ..request() }),
            (Code::InvalidOption, "collapse_key", pb::PushRequest { collapse_key: long(65), ..request() }),
            (Code::InvalidOption, "collapse_key", pb::PushRequest { collapse_key: "\u{e9}".into(), ..request() }),
            (Code::InvalidOption, "idempotency_key", pb::PushRequest { idempotency_key: long(129), ..request() }),
            (Code::InvalidOption, "idempotency_key", pb::PushRequest { idempotency_key: "a\tb".into(), ..request() }),
            (
                Code::InvalidOption,
                "collapse_key",
                pb::PushRequest { collapse_key: "c".into(), durability: online, ..request() },
            ),
            (
                Code::InvalidOption,
                "idempotency_key",
                pb::PushRequest { idempotency_key: "k".into(), durability: online, ..request() },
            ),
        ];
        for (code, field, request) in cases {
            let fault = check(request.clone(), &LIMITS).expect_err(field);
            assert_eq!(fault.code, code, "{request:?}: {fault}");
            assert!(fault.words.starts_with(field), "{field}: {fault}");
            assert!(fault.words.len() < 300, "{} bytes of words", fault.words.len());
        }
        let most = pb::PushRequest {
            content_type: long(128),
            attributes: (0..32).map(|i| (format!("{i:0128}"), long(1024))).collect(),
            collapse_key: long(64),
            idempotency_key: long(128),
            ..request()
        };
        assert!(check(most, &LIMITS).is_ok(), "the limits themselves are allowed");
    }

    #[test]
    fn the_fingerprint_is_of_the_meaning_and_never_changes() {
        let keyed = || pb::PushRequest { idempotency_key: "k".into(), ..request() };
        let print = |request: pb::PushRequest| check(request, &LIMITS).expect("a good request").fingerprint;
        let spelled_out = pb::PushRequest {
            content_type: "application/octet-stream".into(),
            urgency: pb::Urgency::Normal.into(),
            durability: pb::Durability::Fsync.into(),
            ..keyed()
        };
        assert_eq!(print(keyed()), print(spelled_out), "a default spelled out means the same");
        assert_eq!(print(keyed()), print(pb::PushRequest { idempotency_key: "other".into(), ..request() }));
        let others = [
            pb::PushRequest { target: device("u", "d"), ..keyed() },
            pb::PushRequest { payload: Bytes::from_static(b"x"), ..keyed() },
            pb::PushRequest { ttl_seconds: Some(0), ..keyed() },
            pb::PushRequest { collapse_key: "c".into(), ..keyed() },
            pb::PushRequest { durability: pb::Durability::Relaxed.into(), ..keyed() },
            pb::PushRequest { attributes: [("a".to_owned(), "b".to_owned())].into(), ..keyed() },
        ];
        for other in others {
            assert_ne!(print(other.clone()), print(keyed()), "{other:?}");
        }
        // Stored fingerprints are compared across restarts and versions: this number must stay.
        assert_eq!(print(keyed()), 4_851_458_176_636_417_238);
    }
}
