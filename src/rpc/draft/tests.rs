//! Drafts: what is said arrives, and each refusal names its field.

use std::time::Duration;

use bytes::Bytes;

use super::wishes::Form;
use super::{Shared, check as check_at};
use crate::model::clock::Timestamp;
use crate::model::fault::{Code, Fault};
use crate::model::id::{DeviceId, MessageId, UserId};
use crate::model::message::{Durability, Target, Urgency};
use crate::node::push::{Draft, Limits};
use crate::wire::{body, pb};

const LIMITS: Limits =
    Limits { payload_bytes_max: 8, ttl_default: Duration::from_secs(60), ttl_max: Duration::from_secs(60) };

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn check(request: pb::PushRequest, limits: &Limits) -> Result<Draft, Fault> {
    check_at(request, limits, NOW)
}

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
        (Code::InvalidAttributes, "attributes.n", pb::PushRequest { attributes: attributes("n", "a\0"), ..request() }),
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
        pb::PushRequest { target: to(pb::target::To::AnyOfUser("u".into())), ..keyed() },
        pb::PushRequest { tag: "a".into(), ..keyed() },
        pb::PushRequest { without_receipts: true, ..keyed() },
        pb::PushRequest { exclude: vec![pb::Exclusion { user: "v".into(), device: String::new() }], ..keyed() },
        pb::PushRequest { replaces: MessageId::new(1, [1; 10]).to_string(), ..keyed() },
        pb::PushRequest { send_at_ms: 1, ..keyed() },
        pb::PushRequest { fallback_after_seconds: Some(1), ..keyed() },
    ];
    for other in others {
        assert_ne!(print(other.clone()), print(keyed()), "{other:?}");
    }
    // Stored fingerprints are compared across restarts and versions: this number must stay.
    assert_eq!(print(keyed()), 4_851_458_176_636_417_238);
}

/// What follows from the target stands in the wishes, and the device learns what is replaced.
#[test]
fn the_target_decides_what_the_store_is_asked_for() {
    let text = "'a' in topics";
    let draft = check(pb::PushRequest { target: to(pb::target::To::Condition(text.into())), ..request() }, &LIMITS);
    let draft = draft.expect("a good request");
    assert_eq!(draft.wishes.condition.as_ref().map(|condition| condition.as_str()), Some(text));
    assert!(matches!(draft.target, Target::Condition(condition) if condition.as_str() == text));

    let id = MessageId::new(7, [7; 10]);
    let any = to(pb::target::To::AnyOfUser("u".into()));
    let draft = check(pb::PushRequest { target: any, replaces: id.to_string(), ..request() }, &LIMITS);
    let draft = draft.expect("a good request");
    assert!(draft.wishes.any_of_user && draft.wishes.condition.is_none());
    assert_eq!(body::decode(draft.body).expect("a body").replaces, Some(id));

    let wrong = pb::PushRequest { target: to(pb::target::To::Condition("a in topics".into())), ..request() };
    let fault = check(wrong, &LIMITS).expect_err("a condition without quotes");
    assert_eq!(fault.code, Code::InvalidCondition);
    assert!(fault.words.starts_with("target.condition: ") && fault.words.contains("at byte"), "{fault}");
}

/// The same key must mean another push for each user, and never the push of a single call.
#[test]
fn one_push_for_many_users_is_checked_once_and_keyed_for_each() {
    let keyed = pb::PushRequest { target: None, idempotency_key: "k".into(), tag: "t".into(), ..request() };
    let shared = Shared::check(keyed.clone(), Form::User, &LIMITS, NOW).expect("a good request");
    let user = |name| UserId::new(name).expect("a name");
    let (one, two) = (shared.draft_for(user("u")), shared.draft_for(user("v")));
    let key = |draft: &Draft| draft.idempotency_key.clone();
    assert_eq!([key(&one), key(&two)], [Some("k\nu".to_owned()), Some("k\nv".to_owned())]);
    assert_ne!(one.fingerprint, two.fingerprint);
    let single = check(pb::PushRequest { target: to(pb::target::To::User("u".into())), ..keyed }, &LIMITS);
    let single = single.expect("a good request");
    assert_eq!((single.fingerprint, &single.body, &single.wishes), (one.fingerprint, &one.body, &one.wishes));
    let unkeyed = pb::PushRequest { target: None, ..request() };
    let unkeyed = Shared::check(unkeyed, Form::User, &LIMITS, NOW).expect("a good request");
    assert_eq!(key(&unkeyed.draft_for(user("u"))), None);
}

#[test]
fn what_is_over_before_its_hand_off_is_refused() {
    let asked = |ttl_seconds, wait| pb::PushRequest { ttl_seconds, fallback_after_seconds: Some(wait), ..request() };
    for (ttl, wait) in [(Some(30), 29), (None, 59), (Some(u64::MAX), 59)] {
        assert!(check(asked(ttl, wait), &LIMITS).is_ok(), "{ttl:?}, {wait}");
    }
    for (ttl, wait) in [(Some(30), 30), (Some(30), 3_600), (None, 60), (Some(u64::MAX), 60)] {
        let fault = check(asked(ttl, wait), &LIMITS).expect_err("it is over by then");
        assert!(fault.code == Code::InvalidOption && fault.words.starts_with("fallback_after_seconds is "), "{fault}");
    }
}
