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
use crate::rpc::json_reader::{check_known, document, object, string, unknown_word};
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
    let (mut user, mut device, mut topic) = (None, None, None);
    for (name, raw) in object("target", raw)? {
        check_known("target.", &name, TARGET_FIELDS)?;
        let field = format!("target.{name}");
        let place = match name.as_str() {
            "user" => &mut user,
            "device" => &mut device,
            _ => &mut topic,
        };
        *place = Some(string(&field, raw)?);
    }
    let to = match (user, device, topic) {
        (Some(user), None, None) => pb::target::To::User(user),
        (Some(user), Some(device), None) => pb::target::To::Device(pb::DeviceTarget { user, device }),
        (None, None, Some(topic)) => pb::target::To::Topic(topic),
        (None, Some(_), None) => return Err(invalid_target("a device is named together with its user")),
        (None, None, None) => return Err(invalid_target("it is empty")),
        (_, _, Some(_)) => return Err(invalid_target("a topic stands alone; send two pushes to reach both")),
    };
    Ok(pb::Target { to: Some(to) })
}

fn invalid_target(why: &str) -> Fault {
    let forms = r#"{"user": U}, {"user": U, "device": D} or {"topic": T}"#;
    Fault::new(Code::InvalidTarget, format!("target: {why}; give {forms}"))
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
];

const TARGET_FIELDS: &[&str] = &["user", "device", "topic"];

#[cfg(test)]
mod tests {
    use super::{line, push};
    use crate::model::fault::Code;
    use crate::wire::pb;

    #[test]
    fn every_field_is_read() {
        let text = r#"{
            "target": {"user": "alice", "device": "phone"}, "payload": "h\u00e9", "content_type": "text/html",
            "attributes": {"b": "2", "a": "1"}, "ttl": 60, "urgency": "very-low", "collapse_key": "c",
            "durability": "relaxed", "idempotency_key": "k"
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
            ..pb::PushRequest::default()
        };
        assert_eq!(push(text.as_bytes()), Ok(expected));
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
        let cases: [(&[u8], Code, &str); 28] = [
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
            (br#"{"target": {"user": "u", "topic": "t"}}"#, Code::InvalidTarget, "stands alone"),
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
