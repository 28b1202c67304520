//! Device tokens: a JWT (RFC 7519) signed with Ed25519 that names tenant, user, device and expiry. It does not hold keys
//! and does not read clocks.

use std::sync::LazyLock;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Header, Validation};
use serde::{Deserialize, Serialize};

use crate::auth::key::SigningKey;
use crate::model::clock::Timestamp;
use crate::model::fault::{Code, Fault};
use crate::model::id::{DeviceId, Receiver, TenantId, UserId};

/// Longer tokens are refused unread. Three names of the greatest length and the rest of a token take under 1 KiB.
pub const TOKEN_BYTES_MAX: usize = 4096;

/// What a token says once it is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Whose session it may open.
    pub receiver: Receiver,
    /// Until when.
    pub expires_at: Timestamp,
}

/// The claims as they stand in the token. All are required; what else is there is ignored (RFC 7519, section 4).
#[derive(Serialize, Deserialize)]
struct Body {
    iss: String,
    tenant: String,
    user: String,
    device: String,
    /// Unix seconds.
    iat: u64,
    /// Unix seconds.
    exp: u64,
}

/// Makes a token.
pub(super) fn issue(key: &SigningKey, receiver: &Receiver, expires_at: Timestamp, now: Timestamp) -> String {
    let mut header = Header::new(Algorithm::EdDSA);
    header.typ = Some(TYPE.to_owned());
    let body = Body {
        iss: ISSUER.to_owned(),
        tenant: receiver.tenant.to_string(),
        user: receiver.user.to_string(),
        device: receiver.device.to_string(),
        iat: now.as_millis() / 1000,
        exp: expires_at.as_millis() / 1000,
    };
    jsonwebtoken::encode(&header, &body, &key.signer)
        .expect("the key was checked when it was opened, and strings and numbers are always JSON")
}

/// Checks a token. The words of a refusal say what is wrong, never what the token holds.
pub(super) fn verify(key: &SigningKey, token: &str, now: Timestamp) -> Result<Claims, Fault> {
    if token.is_empty() {
        return Err(Fault::new(Code::MissingCredentials, "no token: `Open` must carry the device's token"));
    }
    if token.len() > TOKEN_BYTES_MAX {
        return Err(refused("it is longer than 4096 bytes"));
    }
    let decoded = jsonwebtoken::decode::<Body>(token, &key.verifier, &RULES).map_err(|error| explain(error.kind()))?;
    if decoded.header.typ.as_deref() != Some(TYPE) {
        return Err(refused("it is of another type"));
    }
    let body = decoded.claims;
    let receiver = receiver(&body).ok_or_else(|| refused("a name in it is not valid"))?;
    let expires_at = Timestamp::from_millis(body.exp.saturating_mul(1000));
    if expires_at <= now {
        return Err(Fault::new(Code::ExpiredToken, "the token has expired; get a new one"));
    }
    Ok(Claims { receiver, expires_at })
}

fn receiver(body: &Body) -> Option<Receiver> {
    Some(Receiver {
        tenant: TenantId::new(&body.tenant).ok()?,
        user: UserId::new(&body.user).ok()?,
        device: DeviceId::new(&body.device).ok()?,
    })
}

fn explain(kind: &ErrorKind) -> Fault {
    match kind {
        ErrorKind::InvalidSignature => refused("this gateway did not sign it"),
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => refused("its algorithm is not EdDSA"),
        ErrorKind::InvalidIssuer => refused("another issuer made it"),
        ErrorKind::InvalidAudience => refused("it is for another audience"),
        ErrorKind::MissingRequiredClaim(_) => refused("a claim is missing"),
        _ => refused("it cannot be read as a token"),
    }
}

fn refused(why: &str) -> Fault {
    Fault::new(Code::InvalidCredentials, format!("the token is not valid: {why}; get one from this gateway"))
}

/// One algorithm, named here and not taken from the token (RFC 8725, section 3.1). Expiry is checked by `verify`, since
/// the library would read the system's clock.
static RULES: LazyLock<Validation> = LazyLock::new(|| {
    let mut rules = Validation::new(Algorithm::EdDSA);
    rules.set_issuer(&[ISSUER]);
    rules.set_required_spec_claims(&["exp", "iss"]);
    rules.validate_exp = false;
    rules
});

/// The issuer, and the only one that is accepted.
const ISSUER: &str = "pushline";

/// Explicit typing (RFC 8725, section 3.11): a token signed for another purpose by the same key will not do.
const TYPE: &str = "pushline+jwt";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use jsonwebtoken::{Algorithm, EncodingKey, Header};
    use serde_json::{Value, json};

    use super::{SigningKey, TOKEN_BYTES_MAX, TYPE, issue, verify};
    use crate::model::clock::Timestamp;
    use crate::model::fault::Code;
    use crate::model::id::{DeviceId, Receiver, TenantId, UserId};

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_500);

    fn key() -> SigningKey {
        SigningKey::open(tempfile::tempdir().unwrap().path()).unwrap()
    }

    fn receiver() -> Receiver {
        Receiver {
            tenant: TenantId::new("shop").unwrap(),
            user: UserId::new("ada").unwrap(),
            device: DeviceId::new("phone").unwrap(),
        }
    }

    fn body() -> Value {
        json!({ "iss": "pushline", "tenant": "shop", "user": "ada", "device": "phone",
                "iat": 1_800_000_000_u64, "exp": 1_800_000_060_u64 })
    }

    /// Signs anything, as someone with the right key would.
    fn signed(key: &SigningKey, typ: Option<&str>, body: &Value) -> String {
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = typ.map(str::to_owned);
        jsonwebtoken::encode(&header, body, &key.signer).unwrap()
    }

    fn check(key: &SigningKey, token: &str, code: Code, words: &str) {
        let fault = verify(key, token, NOW).unwrap_err();
        assert_eq!(fault.code, code, "{token}: {fault}");
        assert!(fault.words.contains(words), "{token}: {fault}");
    }

    #[test]
    fn a_token_says_who_and_until_when() {
        let key = key();
        let token = issue(&key, &receiver(), NOW + Duration::from_secs(60), NOW);
        let claims = verify(&key, &token, NOW).unwrap();
        assert_eq!(claims.receiver, receiver());
        assert_eq!(claims.expires_at, Timestamp::from_millis(1_800_000_060_000));
        assert!(verify(&key, &signed(&key, Some(TYPE), &body()), NOW).is_ok());
    }

    #[test]
    fn the_longest_names_fit() {
        let name = "n".repeat(128);
        let long = Receiver {
            tenant: TenantId::new(&name).unwrap(),
            user: UserId::new(&name).unwrap(),
            device: DeviceId::new(&name).unwrap(),
        };
        let key = key();
        let token = issue(&key, &long, NOW + Duration::from_secs(60), NOW);
        assert!(token.len() < 1024);
        assert_eq!(verify(&key, &token, NOW).unwrap().receiver, long);
    }

    #[test]
    fn expiry_is_measured_by_the_given_clock() {
        let key = key();
        let token = issue(&key, &receiver(), Timestamp::from_millis(2_000), Timestamp::ZERO);
        assert!(verify(&key, &token, Timestamp::from_millis(1_999)).is_ok());
        let fault = verify(&key, &token, Timestamp::from_millis(2_000)).unwrap_err();
        assert_eq!(fault.code, Code::ExpiredToken);
        let mut forever = body();
        forever["exp"] = json!(u64::MAX);
        assert!(verify(&key, &signed(&key, Some(TYPE), &forever), NOW).is_ok());
    }

    #[test]
    fn forgeries_are_refused() {
        let ours = key();
        let token = issue(&ours, &receiver(), NOW + Duration::from_secs(60), NOW);
        let parts: Vec<_> = token.split('.').collect();
        let other = body().to_string().replace("ada", "eve");
        let forged = format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(other), parts[2]);
        check(&ours, &forged, Code::InvalidCredentials, "did not sign");
        let theirs = issue(&key(), &receiver(), NOW + Duration::from_secs(60), NOW);
        check(&ours, &theirs, Code::InvalidCredentials, "did not sign");
        let zeroed = format!("{}.{}.{}", parts[0], parts[1], URL_SAFE_NO_PAD.encode([0; 64]));
        check(&ours, &zeroed, Code::InvalidCredentials, "did not sign");
    }

    #[test]
    fn the_token_does_not_choose_the_algorithm() {
        let key = key();
        let plain = |header: &str| URL_SAFE_NO_PAD.encode(header);
        for header in [r#"{"alg":"none","typ":"pushline+jwt"}"#, r#"{"typ":"pushline+jwt"}"#, r#"{"alg":"Ed448"}"#] {
            let token = format!("{}.{}.", plain(header), plain(&body().to_string()));
            check(&key, &token, Code::InvalidCredentials, "not valid");
        }
        // Key confusion: the public key, which anybody may know, used as the secret of an HMAC.
        let public = key.verifier.try_get_as_bytes().unwrap();
        for algorithm in [Algorithm::HS256, Algorithm::HS512] {
            let header = Header { typ: Some(TYPE.to_owned()), ..Header::new(algorithm) };
            let token = jsonwebtoken::encode(&header, &body(), &EncodingKey::from_secret(public)).unwrap();
            check(&key, &token, Code::InvalidCredentials, "not EdDSA");
        }
    }

    #[test]
    fn claims_must_be_there_and_right() {
        let key = key();
        for claim in ["iss", "tenant", "user", "device", "iat", "exp"] {
            let mut without = body();
            without.as_object_mut().unwrap().remove(claim);
            check(&key, &signed(&key, Some(TYPE), &without), Code::InvalidCredentials, "not valid");
        }
        for (claim, value, words) in [
            ("iss", json!("somebody"), "another issuer"),
            ("aud", json!("somebody"), "another audience"),
            ("tenant", json!("a/b"), "a name"),
            ("user", json!(""), "a name"),
            ("device", json!("x".repeat(129)), "a name"),
            ("device", json!(7), "cannot be read"),
            ("exp", json!("soon"), "cannot be read"),
            ("exp", json!(-1), "cannot be read"),
        ] {
            let mut wrong = body();
            wrong[claim] = value;
            check(&key, &signed(&key, Some(TYPE), &wrong), Code::InvalidCredentials, words);
        }
        for typ in [None, Some("JWT"), Some("receipt+jwt")] {
            check(&key, &signed(&key, typ, &body()), Code::InvalidCredentials, "another type");
        }
    }

    #[test]
    fn what_is_not_a_token_is_refused() {
        let key = key();
        let token = issue(&key, &receiver(), NOW + Duration::from_secs(60), NOW);
        check(&key, "", Code::MissingCredentials, "no token");
        for cut in 1..token.len() {
            check(&key, &token[..cut], Code::InvalidCredentials, "not valid");
        }
        let oversize = format!("{token}{}", "x".repeat(TOKEN_BYTES_MAX));
        check(&key, &oversize, Code::InvalidCredentials, "longer");
        for garbage in ["...", "a.b.c", "\0", "Bearer x", "é.é.é", &format!("{token}.{token}"), &format!(" {token}")]
        {
            check(&key, garbage, Code::InvalidCredentials, "not valid");
        }
    }
}
