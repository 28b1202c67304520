//! Reads the JSON form of a push into the protocol's own: names, types and words are checked here, their meaning is
//! not. What is wrong is told with the field's name, never with the content.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use serde_json::value::RawValue;

use crate::model::fault::{Code, Fault};
use crate::model::message::Urgency;
use crate::rpc::draft::shortened;
use crate::rpc::json_reader::{
    check_known, document, list, members, object, string, strings, switch, unknown_word, whole,
};
use crate::rpc::json_time;
use crate::wire::body;
use crate::wire::pb;

/// Reads the body of `POST /v1/push`.
///
/// # Errors
/// What is wrong with it, and where.
pub(super) fn push(bytes: &[u8]) -> Result<pb::PushRequest, Fault> {
    let (_, push) = fields(bytes, FIELDS)?;
    push
}

/// Reads a line of `POST /v1/push/stream`: its reference, as far as it can be read, and the push.
pub(super) fn line(bytes: &[u8]) -> (Option<u64>, Result<pb::PushRequest, Fault>) {
    fields(bytes, LINE_FIELDS).unwrap_or_else(|fault| (None, Err(fault)))
}

/// Reads the body of `POST /v1/push/users`.
///
/// # Errors
/// What is wrong with it, and where.
pub(super) fn users(bytes: &[u8]) -> Result<pb::PushUsersRequest, Fault> {
    let mut users = pb::PushUsersRequest::default();
    for (name, raw) in members("the request", bytes, &["users", "push"])? {
        match name.as_str() {
            "users" => users.users = strings("users", raw)?,
            _ => users.push = Some(request(object("push", raw)?, FIELDS)?),
        }
    }
    Ok(users)
}

type Read = (Option<u64>, Result<pb::PushRequest, Fault>);

fn fields(bytes: &[u8], known: &[&str]) -> Result<Read, Fault> {
    let object = object("the push", document(bytes)?)?;
    let reference = match object.iter().find(|(name, _)| name == "reference" && known.contains(&"reference")) {
        Some((_, raw)) => Some(reference(raw)?),
        None => None,
    };
    Ok((reference, request(object, known)))
}

fn request(object: Vec<(String, &RawValue)>, known: &[&str]) -> Result<pb::PushRequest, Fault> {
    let mut push = pb::PushRequest::default();
    let mut payload: Option<(&str, Bytes, &str)> = None;
    for (name, raw) in object {
        check_known("", &name, known)?;
        // `payload_json` may well be null; elsewhere null means "not set".
        if raw.get() == "null" && name != "payload_json" {
            continue;
        }
        match name.as_str() {
            "target" => push.target = Some(target(raw)?),
            "content_type" => push.content_type = string("content_type", raw)?,
            "attributes" => push.attributes = attributes(raw)?,
            "ttl" => push.ttl_seconds = Some(ttl(raw)?),
            "urgency" => push.urgency = urgency(raw)?.into(),
            "collapse_key" => push.collapse_key = string("collapse_key", raw)?,
            "durability" => push.durability = durability(raw)?.into(),
            "idempotency_key" => push.idempotency_key = string("idempotency_key", raw)?,
            "tag" => push.tag = string("tag", raw)?,
            "without_receipts" => push.without_receipts = switch("without_receipts", raw)?,
            "exclude" => push.exclude = exclusions(raw)?,
            "replaces" => push.replaces = string("replaces", raw)?,
            "send_at" | "send_at_ms" if push.send_at_ms != 0 => {
                return Err(Fault::new(Code::Malformed, "send_at and send_at_ms are both there; a push is sent once"));
            }
            "send_at" => push.send_at_ms = send_at(raw)?,
            "send_at_ms" => push.send_at_ms = whole("send_at_ms", raw)?,
            "fallback_after_seconds" => push.fallback_after_seconds = Some(whole("fallback_after_seconds", raw)?),
            "reference" => {}
            other => {
                let (form, bytes, content_type) = read_payload(other, raw)?;
                if let Some((first, ..)) = payload {
                    let words = format!("{first} and {form} are both there; a push has one payload");
                    return Err(Fault::new(Code::Malformed, words));
                }
                payload = Some((form, bytes, content_type));
            }
        }
    }
    if let Some((_, bytes, content_type)) = payload {
        push.payload = bytes;
        if push.content_type.is_empty() {
            content_type.clone_into(&mut push.content_type);
        }
    }
    Ok(push)
}

/// A payload in one of its three forms: the form's name, the bytes, the content type when none is given.
fn read_payload(name: &str, raw: &RawValue) -> Result<(&'static str, Bytes, &'static str), Fault> {
    match name {
        "payload" => Ok(("payload", string("payload", raw)?.into(), "text/plain; charset=utf-8")),
        "payload_base64" => {
            let bytes = BASE64.decode(string("payload_base64", raw)?).map_err(|error| {
                Fault::new(Code::Malformed, format!("payload_base64 is not base64 of the standard alphabet: {error}"))
            })?;
            Ok(("payload_base64", bytes.into(), "application/octet-stream"))
        }
        // As it was written, not read and written anew: numbers keep their digits and members their order.
        _ => Ok(("payload_json", Bytes::copy_from_slice(raw.get().as_bytes()), "application/json")),
    }
}

fn target(raw: &RawValue) -> Result<pb::Target, Fault> {
    let mut named = BTreeMap::new();
    for (name, raw) in object("target", raw)? {
        check_known("target.", &name, TARGET_FIELDS)?;
        let text = string(&format!("target.{name}"), raw)?;
        named.insert(name, text);
    }
    let device = named.remove("device");
    let to = match (named.pop_first(), device) {
        (None, None) => return Err(invalid_target("it is empty")),
        (Some(_), _) if !named.is_empty() => {
            return Err(invalid_target("it names several; send a push to each"));
        }
        (Some((name, user)), Some(device)) if name == "user" => {
            pb::target::To::Device(pb::DeviceTarget { user, device })
        }
        (_, Some(_)) => return Err(invalid_target("a device is named together with its user")),
        (Some((name, text)), None) => match name.as_str() {
            "user" => pb::target::To::User(text),
            "topic" => pb::target::To::Topic(text),
            "condition" => pb::target::To::Condition(text),
            _ => pb::target::To::AnyOfUser(text),
        },
    };
    Ok(pb::Target { to: Some(to) })
}

fn invalid_target(why: &str) -> Fault {
    let forms = r#"{"user": U}, {"user": U, "device": D}, {"any_of_user": U}, {"topic": T} or {"condition": C}"#;
    Fault::new(Code::InvalidTarget, format!("target: {why}; give {forms}"))
}

fn exclusions(raw: &RawValue) -> Result<Vec<pb::Exclusion>, Fault> {
    let read = |(at, raw)| {
        let place = format!("exclude[{at}]");
        let mut exclusion = pb::Exclusion::default();
        for (name, raw) in object(&place, raw)? {
            check_known(&format!("{place}."), &name, EXCLUSION_FIELDS)?;
            let text = string(&format!("{place}.{name}"), raw)?;
            // Empty means all devices to the protocol; here that is said by leaving the name out.
            if text.is_empty() {
                return Err(Fault::new(Code::InvalidName, format!("{place}.{name}: it is empty")));
            }
            *(if name == "user" { &mut exclusion.user } else { &mut exclusion.device }) = text;
        }
        Ok(exclusion)
    };
    list("exclude", raw)?.into_iter().enumerate().map(read).collect()
}

/// Unix milliseconds of a time in words.
fn send_at(raw: &RawValue) -> Result<u64, Fault> {
    let words = "send_at is no time of RFC 3339, such as \"2026-03-01T09:00:00Z\" or with an offset, \"+01:00\"";
    json_time::parse(&string("send_at", raw)?).ok_or_else(|| Fault::new(Code::InvalidOption, words))
}

fn attributes(raw: &RawValue) -> Result<BTreeMap<String, String>, Fault> {
    let pairs = object("attributes", raw)?;
    pairs
        .into_iter()
        .map(|(name, raw)| Ok((name.clone(), string(&format!("attributes.{}", shortened(&name)), raw)?)))
        .collect()
}

/// Whole seconds. More than a number holds is as good as the most (RFC 8030, section 5.2).
fn ttl(raw: &RawValue) -> Result<u64, Fault> {
    let digits = raw.get();
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Fault::new(Code::InvalidOption, "ttl must be a whole number of seconds, 0 or more"));
    }
    Ok(digits.parse().unwrap_or(u64::MAX))
}

fn reference(raw: &RawValue) -> Result<u64, Fault> {
    let words = "reference must be a whole number from 0 to 18446744073709551615";
    raw.get().parse().map_err(|_| Fault::new(Code::Malformed, words))
}

fn urgency(raw: &RawValue) -> Result<pb::Urgency, Fault> {
    let word = string("urgency", raw)?;
    Urgency::parse(&word)
        .map(body::urgency_to_pb)
        .ok_or_else(|| unknown_word("urgency", &word, &Urgency::ALL.map(Urgency::as_str)))
}

fn durability(raw: &RawValue) -> Result<pb::Durability, Fault> {
    let word = string("durability", raw)?;
    match word.as_str() {
        "fsync" => Ok(pb::Durability::Fsync),
        "relaxed" => Ok(pb::Durability::Relaxed),
        "none" => Ok(pb::Durability::None),
        _ => Err(unknown_word("durability", &word, &["fsync", "relaxed", "none"])),
    }
}

/// Standard alphabet; padding may be there or not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A line of a stream has its reference before the fields of a push.
const FIELDS: &[&str] = LINE_FIELDS.split_at(1).1;

const LINE_FIELDS: &[&str] = &[
    "reference",
    "target",
    "payload",
    "payload_base64",
    "payload_json",
    "content_type",
    "attributes",
    "ttl",
    "urgency",
    "collapse_key",
    "durability",
    "idempotency_key",
    "tag",
    "without_receipts",
    "exclude",
    "replaces",
    "send_at",
    "send_at_ms",
    "fallback_after_seconds",
];

const TARGET_FIELDS: &[&str] = &["user", "device", "any_of_user", "topic", "condition"];

const EXCLUSION_FIELDS: &[&str] = &["user", "device"];

#[cfg(test)]
mod tests {
    use super::{line, push, users};
    use crate::model::fault::Code;
    use crate::wire::pb;

    #[test]
    fn every_field_is_read() {
        let text = r#"{
            "target": {"user": "alice", "device": "phone"}, "payload": "h\u00e9", "content_type": "text/html",
            "attributes": {"b": "2", "a": "1"}, "ttl": 60, "urgency": "very-low", "collapse_key": "c",
            "durability": "relaxed", "idempotency_key": "k", "tag": "spring", "without_receipts": true,
            "exclude": [{"user": "bob"}, {"device": "tv", "user": "eve"}], "replaces": "id",
            "send_at": "2026-03-01T10:00:00+01:00", "fallback_after_seconds": 3600
        }"#;
        let device = pb::DeviceTarget { user: "alice".into(), device: "phone".into() };
        let expected = pb::PushRequest {
            target: Some(pb::Target { to: Some(pb::target::To::Device(device)) }),
            payload: "h\u{e9}".into(),
            content_type: "text/html".into(),
            attributes: [("a".into(), "1".into()), ("b".into(), "2".into())].into(),
            ttl_seconds: Some(60),
            urgency: pb::Urgency::VeryLow.into(),
            collapse_key: "c".into(),
            durability: pb::Durability::Relaxed.into(),
            idempotency_key: "k".into(),
            tag: "spring".into(),
            without_receipts: true,
            exclude: vec![
                pb::Exclusion { user: "bob".into(), device: String::new() },
                pb::Exclusion { user: "eve".into(), device: "tv".into() },
            ],
            replaces: "id".into(),
            send_at_ms: 1_772_355_600_000,
            fallback_after_seconds: Some(3600),
        };
        assert_eq!(push(text.as_bytes()), Ok(expected));
        let later = push(br#"{"send_at_ms": 7, "send_at": null, "exclude": null}"#).expect("a push");
        assert_eq!((later.send_at_ms, later.exclude), (7, vec![]));
    }

    #[test]
    fn a_target_has_five_forms() {
        use pb::target::To;
        let text = || "x".to_owned();
        let cases = [
            (r#"{"user": "x"}"#, To::User(text())),
            (r#"{"device": "x", "user": "x"}"#, To::Device(pb::DeviceTarget { user: text(), device: text() })),
            (r#"{"any_of_user": "x"}"#, To::AnyOfUser(text())),
            (r#"{"topic": "x"}"#, To::Topic(text())),
            (r#"{"condition": "x"}"#, To::Condition(text())),
        ];
        for (target, to) in cases {
            let read = push(format!(r#"{{"target": {target}}}"#).as_bytes()).expect(target);
            assert_eq!(read.target, Some(pb::Target { to: Some(to) }));
        }
    }

    #[test]
    fn a_payload_has_three_forms_and_each_its_content_type() {
        let cases: [(&str, &[u8], &str); 9] = [
            (r#""payload": "text""#, b"text", "text/plain; charset=utf-8"),
            (r#""payload": null"#, b"", ""),
            (r#""payload_base64": "AP8=""#, b"\0\xff", "application/octet-stream"),
            (r#""payload_base64": "AP8""#, b"\0\xff", "application/octet-stream"),
            (
                r#""payload_json": {"z": 1.10, "a": 12345678901234567890123}"#,
                br#"{"z": 1.10, "a": 12345678901234567890123}"#,
                "application/json",
            ),
            (r#""payload_json": null"#, b"null", "application/json"),
            (r#""payload_json": "s", "content_type": "x/y""#, br#""s""#, "x/y"),
            (r#""ttl": 99999999999999999999999"#, b"", ""),
            (r#""ttl": 0"#, b"", ""),
        ];
        for (fields, payload, content_type) in cases {
            let text = format!(r#"{{"target": {{"topic": "t"}}, {fields}}}"#);
            let read = push(text.as_bytes()).expect(&text);
            assert_eq!((&read.payload[..], read.content_type.as_str()), (payload, content_type), "{text}");
        }
        assert_eq!(push(br#"{"ttl": 99999999999999999999999}"#).expect("a number").ttl_seconds, Some(u64::MAX));
    }

    #[test]
    fn each_refusal_says_what_and_where() {
        let deep = format!(r#"{{"target": {}"#, "[".repeat(100_000));
        let long = format!(r#"{{"{}": 1}}"#, "x".repeat(100_000));
        let cases: [(&[u8], Code, &str); 42] = [
            (b"", Code::Malformed, "line 1 column 0"),
            (b"{\n\"a\": }", Code::Malformed, "line 2 column 6"),
            (br#"{"ttl": 1} x"#, Code::Malformed, "line 1 column 12"),
            (b"{\"payload\": \"\xff\"}", Code::Malformed, "line 1"),
            (deep.as_bytes(), Code::Malformed, "line 1"),
            (b"[]", Code::Malformed, "must be a JSON object"),
            (b"\"secret\"", Code::Malformed, "must be a JSON object"),
            (br#"{"paylod": "x"}"#, Code::Malformed, "did you mean `payload`?"),
            (br#"{"TTL": 1}"#, Code::Malformed, "unknown field `TTL`"),
            (br#"{"reference": 1}"#, Code::Malformed, "unknown field `reference`"),
            (long.as_bytes(), Code::Malformed, "unknown field"),
            (br#"{"ttl": 1, "ttl": 2}"#, Code::Malformed, "has `ttl` twice"),
            (br#"{"\ud800": 1}"#, Code::Malformed, "not valid Unicode"),
            (br#"{"payload": 1}"#, Code::Malformed, "payload must be a string"),
            (br#"{"payload": "\ud800"}"#, Code::Malformed, "payload must be a string"),
            (br#"{"payload": "a", "payload_json": 1}"#, Code::Malformed, "one payload"),
            (br#"{"payload_base64": "a-_"}"#, Code::Malformed, "not base64"),
            (br#"{"target": "u"}"#, Code::Malformed, "target must be a JSON object"),
            (br#"{"target": {}}"#, Code::InvalidTarget, "it is empty"),
            (br#"{"target": {"device": "d"}}"#, Code::InvalidTarget, "with its user"),
            (br#"{"target": {"user": "u", "topic": "t"}}"#, Code::InvalidTarget, "it names several"),
            (br#"{"target": {"topic": "t", "device": "d"}}"#, Code::InvalidTarget, "with its user"),
            (br#"{"target": {"any_of_user": "u", "device": "d"}}"#, Code::InvalidTarget, "with its user"),
            (br#"{"target": {"topic": "t", "condition": "c"}}"#, Code::InvalidTarget, "it names several"),
            (br#"{"target": {"user": "u", "device": "d", "topic": "t"}}"#, Code::InvalidTarget, "it names several"),
            (br#"{"exclude": {"user": "u"}}"#, Code::Malformed, "exclude must be a list"),
            (br#"{"exclude": [{"user": "u"}, "v"]}"#, Code::Malformed, "exclude[1] must be a JSON object"),
            (br#"{"exclude": [{"topic": "u"}]}"#, Code::Malformed, "unknown field `exclude[0].topic`"),
            (br#"{"exclude": [{"user": "u", "device": ""}]}"#, Code::InvalidName, "exclude[0].device: it is empty"),
            (br#"{"without_receipts": "yes"}"#, Code::Malformed, "without_receipts must be true or false"),
            (br#"{"send_at": "tomorrow"}"#, Code::InvalidOption, "send_at is no time"),
            (br#"{"send_at": 1772355600000}"#, Code::Malformed, "send_at must be a string"),
            (br#"{"send_at_ms": 1, "send_at": "2026-03-01T10:00:00Z"}"#, Code::Malformed, "are both there"),
            (br#"{"send_at_ms": 1.5}"#, Code::Malformed, "send_at_ms must be a whole number"),
            (br#"{"fallback_after_seconds": -1}"#, Code::Malformed, "fallback_after_seconds must be a whole"),
            (br#"{"target": {"usr": "u"}}"#, Code::Malformed, "`target.usr`; did you mean `user`?"),
            (br#"{"target": {"user": null}}"#, Code::Malformed, "target.user must be a string"),
            (br#"{"attributes": {"a": 1}}"#, Code::Malformed, "attributes.a must be a string"),
            (br#"{"ttl": -1}"#, Code::InvalidOption, "ttl must be a whole number"),
            (br#"{"ttl": 1.5}"#, Code::InvalidOption, "ttl must be a whole number"),
            (br#"{"urgency": "hihg"}"#, Code::InvalidOption, "did you mean `high`?"),
            (br#"{"durability": "disk"}"#, Code::InvalidOption, "fsync, relaxed, none"),
        ];
        for (text, code, words) in cases {
            let text_shown = String::from_utf8_lossy(&text[..text.len().min(100)]).into_owned();
            let fault = push(text).expect_err(&text_shown);
            assert_eq!(fault.code, code, "{text_shown}: {fault}");
            assert!(fault.words.contains(words), "{text_shown}: {fault}");
            assert!(fault.words.len() < 400 && !fault.words.contains("secret"), "{fault}");
        }
    }

    #[test]
    fn many_users_share_a_push() {
        let read = users(br#"{"push": {"payload": "x", "ttl": 1}, "users": ["a", "b"]}"#).expect("a request");
        let push = pb::PushRequest {
            payload: "x".into(),
            content_type: "text/plain; charset=utf-8".into(),
            ttl_seconds: Some(1),
            ..pb::PushRequest::default()
        };
        assert_eq!(read, pb::PushUsersRequest { users: vec!["a".into(), "b".into()], push: Some(push) });
        assert_eq!(users(b"{}"), Ok(pb::PushUsersRequest::default()));
        for (text, words) in [
            (r#"{"users": "a"}"#, "users must be a list of strings"),
            (r#"{"users": ["a", 1]}"#, "users must be a list of strings"),
            (r#"{"users": ["a"], "payload": "x"}"#, "unknown field `payload`"),
            (r#"{"push": "x"}"#, "push must be a JSON object"),
            (r#"{"push": {"reference": 1}}"#, "unknown field `reference`"),
        ] {
            let fault = users(text.as_bytes()).expect_err(text);
            assert!(fault.code == Code::Malformed && fault.words.contains(words), "{text}: {fault}");
        }
    }

    #[test]
    fn a_line_keeps_its_reference_when_the_push_is_wrong() {
        let (reference, push) = line(br#"{"reference": 18446744073709551615, "paylod": 1}"#);
        assert_eq!(reference, Some(u64::MAX));
        assert_eq!(push.expect_err("an unknown field").code, Code::Malformed);
        for text in [&br#"{"reference": -1}"#[..], br#"{"reference": "7"}"#, b"nonsense"] {
            let (reference, push) = line(text);
            assert_eq!((reference, push.expect_err("not a line").code), (None, Code::Malformed));
        }
        assert_eq!(line(b"{}"), (None, Ok(pb::PushRequest::default())));
    }
}
