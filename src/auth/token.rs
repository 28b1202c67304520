//! Tokens of devices and of shares: JWTs (RFC 7519) signed with Ed25519. The one names tenant, user and device, the other
//! tenant and share; both say when they were issued and when they expire. It does not hold keys and does not read clocks,
//! and it does not know what was revoked.

use std::sync::LazyLock;
use std::time::Duration;

use aws_lc_rs::rand;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Header, Validation};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::auth::signing::Signing;
use crate::model::access::TokenId;
use crate::model::clock::Timestamp;
use crate::model::fault::{Code, Fault};
use crate::model::id::{DeviceId, Receiver, ShareId, TenantId, UserId};

/// Longer tokens are refused unread. Three names of the greatest length and the rest of a token take under 1 KiB.
pub const TOKEN_BYTES_MAX: usize = 4096;

/// A token of a device that is good for longer is refused, whoever signed it: what was revoked is remembered for so long,
/// and must not be good again when it is forgotten.
pub const TOKEN_LIFE_MAX: Duration = Duration::from_secs(30 * 86_400);

/// The same of a share, which is made to be written down somewhere.
pub const SHARE_LIFE_MAX: Duration = Duration::from_secs(365 * 86_400);

/// What a token of a device says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Names it for revocation.
    pub id: TokenId,
    /// Whose session it may open.
    pub receiver: Receiver,
    /// When it was made: what is revoked "before now" goes by it.
    pub issued_at: Timestamp,
    /// Until when it is good, rounded down to a second.
    pub expires_at: Timestamp,
}

impl Claims {
    /// Those of a new token, with an id of chance.
    #[must_use]
    pub fn new(receiver: Receiver, expires_at: Timestamp, issued_at: Timestamp) -> Self {
        let expires_at = Timestamp::from_millis(expires_at.as_millis() / 1000 * 1000);
        Self { id: new_id(), receiver, issued_at, expires_at }
    }
}

/// An id of chance.
#[must_use]
pub fn new_id() -> TokenId {
    let mut chance = [0; 16];
    rand::fill(&mut chance).expect("the library has random bytes from the system, or it ends the process itself");
    TokenId::from_bytes(chance)
}

/// What a token of a share says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareClaims {
    /// Whose share.
    pub tenant: TenantId,
    /// Which.
    pub share: ShareId,
    /// When it was made.
    pub issued_at: Timestamp,
    /// Until when it is good, rounded down to a second.
    pub expires_at: Timestamp,
}

/// A token that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// A device's.
    Access(Claims),
    /// A viewer's.
    Share(ShareClaims),
}

/// The claims of a device's token as they stand in it. All are required; what else is there is ignored (RFC 7519,
/// section 4).
#[derive(Serialize, Deserialize)]
struct AccessBody {
    iss: String,
    jti: String,
    tenant: String,
    user: String,
    device: String,
    #[serde(flatten)]
    times: Times,
}

/// Those of a share's token.
#[derive(Serialize, Deserialize)]
struct ShareBody {
    iss: String,
    tenant: String,
    share: String,
    #[serde(flatten)]
    times: Times,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Times {
    /// Unix seconds, for other readers.
    iat: u64,
    /// The same in milliseconds: a second is too coarse to say what was issued before a revocation.
    iat_ms: u64,
    /// Unix seconds.
    exp: u64,
}

impl Times {
    const fn of(issued_at: Timestamp, expires_at: Timestamp) -> Self {
        let iat_ms = issued_at.as_millis();
        Self { iat: iat_ms / 1000, iat_ms, exp: expires_at.as_millis() / 1000 }
    }

    /// When it was issued and when it expires.
    fn check(self, life_max: Duration, now: Timestamp) -> Result<(Timestamp, Timestamp), Fault> {
        let (issued_at, expires_at) =
            (Timestamp::from_millis(self.iat_ms), Timestamp::from_millis(self.exp.saturating_mul(1000)));
        if expires_at > issued_at + life_max {
            return Err(refused("it is good for longer than tokens may be"));
        }
        if expires_at <= now {
            return Err(Fault::new(Code::ExpiredToken, "the token has expired; get a new one"));
        }
        Ok((issued_at, expires_at))
    }
}

/// Makes a device's token.
pub(super) fn sign(key: &Signing, claims: &Claims) -> String {
    let Receiver { tenant, user, device } = &claims.receiver;
    let body = AccessBody {
        iss: ISSUER.to_owned(),
        jti: claims.id.to_string(),
        tenant: tenant.to_string(),
        user: user.to_string(),
        device: device.to_string(),
        times: Times::of(claims.issued_at, claims.expires_at),
    };
    encode(key, ACCESS_TYPE, &body)
}

/// Makes a share's token.
pub(super) fn sign_share(key: &Signing, claims: &ShareClaims) -> String {
    let body = ShareBody {
        iss: ISSUER.to_owned(),
        tenant: claims.tenant.to_string(),
        share: claims.share.to_string(),
        times: Times::of(claims.issued_at, claims.expires_at),
    };
    encode(key, SHARE_TYPE, &body)
}

fn encode(key: &Signing, typ: &str, body: &impl Serialize) -> String {
    let mut header = Header::new(Algorithm::EdDSA);
    header.typ = Some(typ.to_owned());
    header.kid = Some(key.kid().to_owned());
    jsonwebtoken::encode(&header, body, &key.signer)
        .expect("the key was checked when it was opened, and strings and numbers are always JSON")
}

/// Checks a token. The words of a refusal say what is wrong, never what the token holds.
pub(super) fn verify(key: &Signing, token: &str, now: Timestamp) -> Result<Token, Fault> {
    if token.is_empty() {
        return Err(Fault::new(Code::MissingCredentials, "no token: `Open` must carry the device's token"));
    }
    if token.len() > TOKEN_BYTES_MAX {
        return Err(refused("it is longer than 4096 bytes"));
    }
    let header = jsonwebtoken::decode_header(token).map_err(|error| explain(error.kind()))?;
    if header.alg != Algorithm::EdDSA {
        return Err(explain(&ErrorKind::InvalidAlgorithm));
    }
    match header.typ.as_deref() {
        Some(ACCESS_TYPE) => access(decode(key, header.kid.as_deref(), token)?, now).map(Token::Access),
        Some(SHARE_TYPE) => share(decode(key, header.kid.as_deref(), token)?, now).map(Token::Share),
        _ => Err(refused("it is of another type")),
    }
}

fn decode<T: DeserializeOwned>(key: &Signing, kid: Option<&str>, token: &str) -> Result<T, Fault> {
    let verifier = key.verifier(kid.unwrap_or_default()).ok_or_else(|| explain(&ErrorKind::InvalidSignature))?;
    let decoded = jsonwebtoken::decode(token, verifier, &RULES).map_err(|error| explain(error.kind()))?;
    Ok(decoded.claims)
}

fn access(body: AccessBody, now: Timestamp) -> Result<Claims, Fault> {
    let id = TokenId::parse(&body.jti).ok_or_else(|| refused("its id is not one"))?;
    let receiver = receiver(&body).ok_or_else(|| refused("a name in it is not valid"))?;
    if receiver.user.is_reserved() {
        return Err(refused("names of users do not begin with an underscore"));
    }
    let (issued_at, expires_at) = body.times.check(TOKEN_LIFE_MAX, now)?;
    Ok(Claims { id, receiver, issued_at, expires_at })
}

fn share(body: ShareBody, now: Timestamp) -> Result<ShareClaims, Fault> {
    let names = TenantId::new(&body.tenant).ok().zip(ShareId::new(&body.share).ok());
    let (tenant, share) = names.ok_or_else(|| refused("a name in it is not valid"))?;
    let (issued_at, expires_at) = body.times.check(SHARE_LIFE_MAX, now)?;
    Ok(ShareClaims { tenant, share, issued_at, expires_at })
}

fn receiver(body: &AccessBody) -> Option<Receiver> {
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

/// One algorithm, named here and not taken from the token (RFC 8725, section 3.1). Expiry is checked by [`Times::check`],
/// since the library would read the system's clock.
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
const ACCESS_TYPE: &str = "pushline+jwt";

/// The same of shares: neither kind passes for the other.
const SHARE_TYPE: &str = "pushline-share+jwt";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use jsonwebtoken::{Algorithm, EncodingKey, Header};
    use serde_json::{Value, json};

    use super::{
        ACCESS_TYPE, Claims, SHARE_LIFE_MAX, SHARE_TYPE, ShareClaims, Signing, TOKEN_BYTES_MAX, TOKEN_LIFE_MAX, Token,
        sign, sign_share, verify,
    };
    use crate::model::clock::Timestamp;
    use crate::model::fault::{Code, Fault};
    use crate::model::id::{DeviceId, Receiver, ShareId, TenantId, UserId};

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_500);

    fn key() -> Signing {
        Signing::open(tempfile::tempdir().unwrap().path()).unwrap()
    }

    fn receiver() -> Receiver {
        Receiver {
            tenant: TenantId::new("shop").unwrap(),
            user: UserId::new("ada").unwrap(),
            device: DeviceId::new("phone").unwrap(),
        }
    }

    fn issue(key: &Signing, receiver: &Receiver, expires_at: Timestamp, now: Timestamp) -> String {
        sign(key, &Claims::new(receiver.clone(), expires_at, now))
    }

    /// What a device's token says.
    fn claims(key: &Signing, token: &str, now: Timestamp) -> Result<Claims, Fault> {
        match verify(key, token, now)? {
            Token::Access(claims) => Ok(claims),
            Token::Share(claims) => panic!("it is a share's: {claims:?}"),
        }
    }

    fn body() -> Value {
        json!({ "iss": "pushline", "jti": "00112233-4455-6677-8899-aabbccddeeff", "tenant": "shop", "user": "ada",
                "device": "phone", "iat": 1_800_000_000_u64, "iat_ms": 1_800_000_000_500_u64, "exp": 1_800_000_060_u64 })
    }

    fn share_body() -> Value {
        json!({ "iss": "pushline", "tenant": "shop", "share": "s1",
                "iat": 1_800_000_000_u64, "iat_ms": 1_800_000_000_500_u64, "exp": 1_800_000_060_u64 })
    }

    /// Signs anything, as someone with the right key would.
    fn signed(key: &Signing, typ: Option<&str>, body: &Value) -> String {
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = typ.map(str::to_owned);
        header.kid = Some(key.kid().to_owned());
        jsonwebtoken::encode(&header, body, &key.signer).unwrap()
    }

    fn check(key: &Signing, token: &str, code: Code, words: &str) {
        let fault = verify(key, token, NOW).unwrap_err();
        assert_eq!(fault.code, code, "{token}: {fault}");
        assert!(fault.words.contains(words), "{token}: {fault}");
    }

    #[test]
    fn a_token_says_who_and_until_when() {
        let key = key();
        let token = issue(&key, &receiver(), NOW + Duration::from_secs(60), NOW);
        let said = claims(&key, &token, NOW).unwrap();
        assert_eq!((&said.receiver, said.issued_at), (&receiver(), NOW));
        assert_eq!(said.expires_at, Timestamp::from_millis(1_800_000_060_000));
        let another = claims(&key, &issue(&key, &receiver(), NOW + Duration::from_secs(60), NOW), NOW).unwrap();
        assert_ne!(said.id, another.id, "each has its own id");
        let by_hand = claims(&key, &signed(&key, Some(ACCESS_TYPE), &body()), NOW).unwrap();
        assert_eq!(by_hand.id.to_string(), "00112233-4455-6677-8899-aabbccddeeff");
        assert_eq!(by_hand.issued_at, NOW);
    }

    #[test]
    fn a_share_is_no_device_and_no_device_a_share() {
        let key = key();
        let share = ShareClaims {
            tenant: TenantId::new("shop").unwrap(),
            share: ShareId::new("s1").unwrap(),
            issued_at: NOW,
            expires_at: Timestamp::from_millis(1_800_000_060_000),
        };
        assert_eq!(verify(&key, &sign_share(&key, &share), NOW).unwrap(), Token::Share(share.clone()));
        assert_eq!(verify(&key, &signed(&key, Some(SHARE_TYPE), &share_body()), NOW).unwrap(), Token::Share(share));
        check(&key, &signed(&key, Some(SHARE_TYPE), &body()), Code::InvalidCredentials, "cannot be read");
        check(&key, &signed(&key, Some(ACCESS_TYPE), &share_body()), Code::InvalidCredentials, "cannot be read");
        for claim in ["iss", "tenant", "share", "iat", "iat_ms", "exp"] {
            let mut without = share_body();
            without.as_object_mut().unwrap().remove(claim);
            check(&key, &signed(&key, Some(SHARE_TYPE), &without), Code::InvalidCredentials, "not valid");
        }
    }

    /// Revocations are forgotten when the last token they concern has expired.
    #[test]
    fn no_token_is_good_for_longer_than_revocations_are_remembered() {
        let key = key();
        for (typ, mut body, most) in [(ACCESS_TYPE, body(), TOKEN_LIFE_MAX), (SHARE_TYPE, share_body(), SHARE_LIFE_MAX)]
        {
            body["exp"] = json!(NOW.as_millis() / 1000 + most.as_secs());
            assert!(verify(&key, &signed(&key, Some(typ), &body), NOW).is_ok());
            for longer in [NOW.as_millis() / 1000 + most.as_secs() + 1, u64::MAX] {
                body["exp"] = json!(longer);
                check(&key, &signed(&key, Some(typ), &body), Code::InvalidCredentials, "longer than tokens may be");
            }
        }
    }

    #[test]
    fn a_token_of_a_key_that_was_changed_is_good_until_that_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let token = issue(&Signing::open(folder.path()).unwrap(), &receiver(), NOW + Duration::from_secs(60), NOW);
        let old = folder.path().join("token-key-old.der");
        std::fs::rename(folder.path().join("token-key.der"), &old).unwrap();
        assert!(verify(&Signing::open(folder.path()).unwrap(), &token, NOW).is_ok());
        std::fs::remove_file(old).unwrap();
        check(&Signing::open(folder.path()).unwrap(), &token, Code::InvalidCredentials, "did not sign");
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
        assert_eq!(claims(&key, &token, NOW).unwrap().receiver, long);
    }

    #[test]
    fn expiry_is_measured_by_the_given_clock() {
        let key = key();
        let token = issue(&key, &receiver(), Timestamp::from_millis(2_000), Timestamp::ZERO);
        assert!(verify(&key, &token, Timestamp::from_millis(1_999)).is_ok());
        let fault = verify(&key, &token, Timestamp::from_millis(2_000)).unwrap_err();
        assert_eq!(fault.code, Code::ExpiredToken);
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
        // The name of our key does not make a signature ours, and a good signature needs a name.
        let stranger = key();
        for (signer, kid) in [(&stranger, Some(ours.kid())), (&ours, Some("")), (&ours, Some("x")), (&ours, None)] {
            let mut header = Header::new(Algorithm::EdDSA);
            (header.typ, header.kid) = (Some(ACCESS_TYPE.to_owned()), kid.map(str::to_owned));
            let token = jsonwebtoken::encode(&header, &body(), &signer.signer).unwrap();
            check(&ours, &token, Code::InvalidCredentials, "did not sign");
        }
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
        let public = key.verifier(key.kid()).unwrap().try_get_as_bytes().unwrap();
        for algorithm in [Algorithm::HS256, Algorithm::HS512] {
            let kid = Some(key.kid().to_owned());
            let header = Header { typ: Some(ACCESS_TYPE.to_owned()), kid, ..Header::new(algorithm) };
            let token = jsonwebtoken::encode(&header, &body(), &EncodingKey::from_secret(public)).unwrap();
            check(&key, &token, Code::InvalidCredentials, "not EdDSA");
        }
    }

    #[test]
    fn claims_must_be_there_and_right() {
        let key = key();
        for claim in ["iss", "jti", "tenant", "user", "device", "iat", "iat_ms", "exp"] {
            let mut without = body();
            without.as_object_mut().unwrap().remove(claim);
            check(&key, &signed(&key, Some(ACCESS_TYPE), &without), Code::InvalidCredentials, "not valid");
        }
        for (claim, value, words) in [
            ("iss", json!("somebody"), "another issuer"),
            ("aud", json!("somebody"), "another audience"),
            ("tenant", json!("a/b"), "a name"),
            ("jti", json!("7"), "its id"),
            ("user", json!(""), "a name"),
            ("user", json!("_share:s1"), "underscore"),
            ("device", json!("x".repeat(129)), "a name"),
            ("device", json!(7), "cannot be read"),
            ("exp", json!("soon"), "cannot be read"),
            ("exp", json!(-1), "cannot be read"),
        ] {
            let mut wrong = body();
            wrong[claim] = value;
            check(&key, &signed(&key, Some(ACCESS_TYPE), &wrong), Code::InvalidCredentials, words);
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
