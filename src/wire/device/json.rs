//! The JSON twin of what a device may ask without a session: texts to requests, answers and faults to texts. What is wrong
//! is told with its place, never with what stands there: it may be a secret.

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use crate::model::fault::{Code, Fault};
use crate::model::frame::{Answer, Request};
use crate::wire::device::{Method, login};
use crate::wire::pb;

/// The method with this `:path`.
#[must_use]
pub fn method(path: &str) -> Option<Method> {
    match path {
        "/v1/login" => Some(Method::Login),
        "/v1/challenge" => Some(Method::Challenge),
        _ => None,
    }
}

/// Reads the body of a request.
///
/// # Errors
/// A [`Fault`] that tells the device what is wrong.
pub fn request(method: Method, body: &[u8]) -> Result<Request, Fault> {
    match method {
        Method::Login => login::login(read::<LoginBody>(body)?.into_request()?).map(|it| Request::Login(Box::new(it))),
        Method::Challenge => {
            let ChallengeBody { tenant, device } = read(body)?;
            let (tenant, device) = login::challenge(&pb::ChallengeRequest { tenant, device })?;
            Ok(Request::Challenge(tenant, device))
        }
        _ => Err(Fault::new(Code::UnknownMethod, "this method has no JSON twin")),
    }
}

/// The answer to a login or a challenge.
#[must_use]
pub fn answer(answer: &Answer) -> Bytes {
    let value = match answer {
        Answer::LoggedIn(told) => json!({
            "token": told.token,
            "expires_at_ms": told.expires_at.as_millis(),
            "refresh_after_ms": u64::try_from(told.refresh_after.as_millis()).unwrap_or(u64::MAX),
            "user": told.user.as_str(),
            "device": told.device.as_str(),
            "nodes": *told.nodes,
        }),
        Answer::Challenge { challenge, expires_at } => json!({
            "challenge_base64": BASE64.encode(challenge),
            "expires_at_ms": expires_at.as_millis(),
        }),
        // Nothing else can be asked in JSON.
        _ => json!({}),
    };
    value.to_string().into()
}

/// A fault, as backends get it too.
#[must_use]
pub fn fault(fault: &Fault) -> Bytes {
    let value = json!({
        "code": fault.code.http(),
        "errno": fault.code.errno(),
        "error": fault.code.name(),
        "message": fault.words,
    });
    value.to_string().into()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LoginBody {
    tenant: String,
    device: String,
    #[serde(default)]
    agent: String,
    business: Option<String>,
    business_base64: Option<String>,
    jwt: Option<String>,
    key: Option<KeyBody>,
    enrolment: Option<EnrolmentBody>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChallengeBody {
    tenant: String,
    device: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyBody {
    user: String,
    challenge_base64: String,
    signature_base64: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EnrolmentBody {
    code: String,
    public_key_base64: String,
    challenge_base64: String,
    signature_base64: String,
}

impl LoginBody {
    fn into_request(self) -> Result<pb::LoginRequest, Fault> {
        use pb::login_request::Credential;
        let Self { tenant, device, agent, business, business_base64, jwt, key, enrolment } = self;
        let mut given = Vec::new();
        given.extend(business.map(|text| Credential::Business(text.into())));
        if let Some(text) = business_base64 {
            given.push(Credential::Business(bytes("business_base64", &text)?));
        }
        given.extend(jwt.map(Credential::Jwt));
        if let Some(KeyBody { user, challenge_base64, signature_base64 }) = key {
            let proof = proof("key", &challenge_base64, &signature_base64)?;
            given.push(Credential::Key(pb::KeyLogin { user, proof: Some(proof) }));
        }
        if let Some(body) = enrolment {
            let EnrolmentBody { code, public_key_base64, challenge_base64, signature_base64 } = body;
            let public_key = bytes("enrolment.public_key_base64", &public_key_base64)?;
            let proof = proof("enrolment", &challenge_base64, &signature_base64)?;
            given.push(Credential::Enrolment(pb::Enrolment { code, public_key, proof: Some(proof) }));
        }
        if given.len() > 1 {
            let words = "several credentials came: give one of business, business_base64, jwt, key, enrolment";
            return Err(Fault::new(Code::Malformed, words));
        }
        Ok(pb::LoginRequest { tenant, device, agent, credential: given.pop() })
    }
}

fn proof(place: &str, challenge: &str, signature: &str) -> Result<pb::KeyProof, Fault> {
    Ok(pb::KeyProof {
        challenge: bytes(&format!("{place}.challenge_base64"), challenge)?,
        signature: bytes(&format!("{place}.signature_base64"), signature)?,
    })
}

fn bytes(place: &str, text: &str) -> Result<Bytes, Fault> {
    let words = || format!("{place} is not base64 of the standard alphabet");
    BASE64.decode(text).map(Bytes::from).map_err(|_| Fault::new(Code::Malformed, words()))
}

fn read<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Result<T, Fault> {
    serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let words = match error.classify() {
            serde_json::error::Category::Data => {
                "is not what this method takes: a field is missing, unknown or no text"
            }
            _ => "is not JSON",
        };
        Fault::new(Code::Malformed, format!("the body {words} (line {line}, column {column})"))
    })
}

/// The standard alphabet; padding may be left out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Bytes;
    use serde_json::Value;

    use super::{answer, fault, request};
    use crate::model::clock::Timestamp;
    use crate::model::fault::{Code, Fault};
    use crate::model::frame::{Answer, Credential, LoggedIn, Request};
    use crate::model::id::{DeviceId, UserId};
    use crate::wire::device::Method;

    fn credential(fields: &str) -> Result<Credential, Fault> {
        let body = format!(r#"{{"tenant": "t", "device": "d", {fields}}}"#);
        match request(Method::Login, body.as_bytes())? {
            Request::Login(login) => Ok(login.credential),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_credential_has_a_form_in_json() {
        assert!(credential(r#""business": "pass"#.to_owned().as_str()).is_err(), "cut off");
        let business = |fields: &str| match credential(fields) {
            Ok(Credential::Business(bytes)) => bytes,
            _ => panic!("{fields}"),
        };
        assert_eq!(business(r#""business": "pass""#), "pass");
        assert_eq!(business(r#""business_base64": "AP8""#), &[0, 255][..]);
        assert!(matches!(credential(r#""jwt": "a.b.c""#), Ok(Credential::Jwt(text)) if text == "a.b.c"));
        let key = credential(r#""key": {"user": "ada", "challenge_base64": "AQ==", "signature_base64": "Ag"}"#);
        let Ok(Credential::Key { user, proof }) = key else { panic!("no key") };
        assert_eq!((user.as_str(), &proof.challenge[..], &proof.signature[..]), ("ada", &[1][..], &[2][..]));
        let enrolment = r#""enrolment": {"code": "C", "public_key_base64": "Aw", "challenge_base64": "AQ", "signature_base64": "Ag"}"#;
        let Ok(Credential::Enrolment { code, public_key, .. }) = credential(enrolment) else { panic!("no enrolment") };
        assert_eq!((code.as_str(), &public_key[..]), ("C", &[3][..]));
    }

    #[test]
    fn what_is_wrong_is_told_without_what_stands_there() {
        for (fields, code) in [
            (r#""jwt": "hunter2", "business": "hunter2""#, Code::Malformed),
            (r#""jwt": 7, "agent": "hunter2""#, Code::Malformed),
            (r#""hunter2": "x""#, Code::Malformed),
            (r#""business_base64": "hunter2!""#, Code::Malformed),
            (r#""key": "hunter2""#, Code::Malformed),
            (r#""agent": "hunter2""#, Code::MissingCredentials),
            (r#""key": {"user": "", "challenge_base64": "AQ==", "signature_base64": "Ag"}"#, Code::InvalidName),
        ] {
            let refused = credential(fields).err().unwrap_or_else(|| panic!("{fields} was taken"));
            assert_eq!(refused.code, code, "{fields}: {refused}");
            assert!(!refused.words.contains("hunter2"), "{refused}");
        }
        assert_eq!(request(Method::Login, b"{").expect_err("no JSON").code, Code::Malformed);
        assert_eq!(request(Method::Challenge, br#"{"tenant":"t"}"#).expect_err("no device").code, Code::Malformed);
        assert_eq!(request(Method::Open, b"{}").expect_err("no twin").code, Code::UnknownMethod);
    }

    #[test]
    fn answers_and_faults_are_objects() {
        let told = LoggedIn {
            token: "T".into(),
            expires_at: Timestamp::from_millis(9),
            refresh_after: Duration::from_millis(7),
            user: UserId::new("ada").expect("a name"),
            device: DeviceId::new("d").expect("a name"),
            nodes: Arc::from(["a:1".to_owned()]),
        };
        let value = |bytes: Bytes| serde_json::from_slice::<Value>(&bytes).expect("JSON");
        assert_eq!(
            value(answer(&Answer::LoggedIn(Box::new(told)))),
            serde_json::json!({"token": "T", "expires_at_ms": 9, "refresh_after_ms": 7, "user": "ada", "device": "d",
                "nodes": ["a:1"]})
        );
        let given =
            Answer::Challenge { challenge: Bytes::from_static(&[0, 255]), expires_at: Timestamp::from_millis(9) };
        assert_eq!(value(answer(&given)), serde_json::json!({"challenge_base64": "AP8=", "expires_at_ms": 9}));
        assert_eq!(value(fault(&Fault::new(Code::LoginRefused, "no")))["error"], "login_refused");
    }
}
