//! JWTs of identity providers (OpenID Connect, RFC 7519): signature, issuer, audience and times are checked against rules
//! and keys that are given. It reads no clock and fetches nothing.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use jsonwebtoken::crypto::verify;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::auth::key_set::{KeySet, algorithm};
use crate::model::clock::Timestamp;
use crate::model::id::UserId;
use crate::model::tenant::JwtLogin;

/// Longer tokens are refused unread.
pub const IDENTITY_BYTES_MAX: usize = 16 * 1024;
/// How far clocks may be apart at most, in seconds.
pub const LEEWAY_SECONDS_MAX: u32 = 300;
/// Audiences of a tenant at most.
pub const AUDIENCES_MAX: usize = 16;

/// Why the settings of an identity provider cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// No issuer.
    #[error("issuer: name the `iss` of the provider's tokens")]
    NoIssuer,
    /// No audience, too many, or an empty one.
    #[error("audiences: name 1 to {AUDIENCES_MAX}, each a text that may stand in a token's `aud`")]
    Audiences,
    /// Not an asymmetric algorithm that is known here.
    #[error("algorithms: {0:?} is none of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA")]
    Algorithm(String),
    /// Clocks too far apart.
    #[error("leeway_seconds: it is at most {LEEWAY_SECONDS_MAX}")]
    Leeway,
}

/// What a provider's tokens must be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    issuer: String,
    audiences: Vec<String>,
    algorithms: Vec<Algorithm>,
    user_claim: String,
    leeway_millis: u64,
}

impl Rules {
    /// Reads the settings of a tenant.
    ///
    /// # Errors
    /// [`RulesError`] says which of them cannot be used.
    pub fn new(way: &JwtLogin) -> Result<Self, RulesError> {
        if way.issuer.is_empty() {
            return Err(RulesError::NoIssuer);
        }
        let named = (1..=AUDIENCES_MAX).contains(&way.audiences.len());
        if !named || way.audiences.iter().any(String::is_empty) {
            return Err(RulesError::Audiences);
        }
        if way.leeway_seconds > LEEWAY_SECONDS_MAX {
            return Err(RulesError::Leeway);
        }
        let known = |word: &String| algorithm(word).ok_or_else(|| RulesError::Algorithm(word.clone()));
        let algorithms = match way.algorithms.is_empty() {
            true => ALGORITHMS_DEFAULT.to_vec(),
            false => way.algorithms.iter().map(known).collect::<Result<_, _>>()?,
        };
        let user_claim = if way.user_claim.is_empty() { USER_CLAIM } else { &way.user_claim };
        Ok(Self {
            issuer: way.issuer.clone(),
            audiences: way.audiences.clone(),
            algorithms,
            user_claim: user_claim.to_owned(),
            leeway_millis: u64::from(way.leeway_seconds) * 1000,
        })
    }
}

/// Why a token was refused: for the operator's log, not for whoever sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Longer than [`IDENTITY_BYTES_MAX`].
    #[error("it has more than {IDENTITY_BYTES_MAX} bytes")]
    TooLarge,
    /// Not a JWT in three parts that can be read.
    #[error("it cannot be read as a JWT")]
    Malformed,
    /// Made for another purpose, or with extensions that must be understood (`crit`).
    #[error("it is a token of another type")]
    Type,
    /// Its algorithm is not among those that are taken: `none` and the symmetric ones never are.
    #[error("its algorithm is not taken")]
    Algorithm,
    /// The provider's keys have none of this id (or several without one) for this algorithm.
    #[error("the provider publishes no key that fits it")]
    UnknownKey,
    /// Somebody else signed it, or it was changed.
    #[error("its signature is not by the provider")]
    Signature,
    /// Another `iss`.
    #[error("another issuer made it")]
    Issuer,
    /// Another `aud`.
    #[error("it is for another audience")]
    Audience,
    /// `exp` has passed.
    #[error("it has expired")]
    Expired,
    /// `nbf` or `iat` is to come.
    #[error("it is not valid yet: the clocks of the provider and the gateway may be too far apart")]
    Early,
    /// A time is missing or is no number.
    #[error("a time in it is missing or is no number")]
    Times,
    /// The claim with the user's name is missing or cannot be a name.
    #[error("the claim with the user's name is missing, empty or too long")]
    User,
}

/// A token that was checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// Whom the provider means.
    pub user: UserId,
    /// When it was made, if it says so.
    pub issued_at: Option<Timestamp>,
    claims: Map<String, Value>,
}

impl Identity {
    /// A claim: the member of this name, or else the one that is reached by the parts of `a.b.c`.
    #[must_use]
    pub fn claim(&self, name: &str) -> Option<&Value> {
        claim(&self.claims, name)
    }
}

/// Checks a token. `keys` are those that the issuer of the rules publishes.
///
/// # Errors
/// [`Refusal`]; with [`Refusal::UnknownKey`] newer keys may help.
pub fn check(token: &str, rules: &Rules, keys: &KeySet, now: Timestamp) -> Result<Identity, Refusal> {
    if token.len() > IDENTITY_BYTES_MAX {
        return Err(Refusal::TooLarge);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(Refusal::Malformed)?;
    let (header, body) = signed.split_once('.').ok_or(Refusal::Malformed)?;
    let header: Header = read(header)?;
    let algorithm = header.algorithm(rules)?;
    let fitting = keys.fitting(header.kid.as_deref(), algorithm);
    if fitting.is_empty() {
        return Err(Refusal::UnknownKey);
    }
    let is_by = |verifier| verify(signature, signed.as_bytes(), verifier, algorithm).unwrap_or(false);
    if !fitting.iter().any(|key| is_by(&key.verifier)) {
        // A provider that names no keys rotates without being noticed otherwise.
        return Err(if header.kid.is_none() { Refusal::UnknownKey } else { Refusal::Signature });
    }
    let claims: Map<String, Value> = read(body)?;
    let issued_at = rules.check(&claims, now)?;
    let user = claim(&claims, &rules.user_claim).and_then(word).and_then(|word| UserId::new(&as_name(&word)).ok());
    Ok(Identity { user: user.ok_or(Refusal::User)?, issued_at, claims })
}

impl Rules {
    /// Checks all claims but the user's name; tells when the token was made.
    fn check(&self, claims: &Map<String, Value>, now: Timestamp) -> Result<Option<Timestamp>, Refusal> {
        if claims.get("iss").and_then(Value::as_str) != Some(self.issuer.as_str()) {
            return Err(Refusal::Issuer);
        }
        let is_ours = |audience: &Value| {
            audience.as_str().is_some_and(|audience| self.audiences.iter().any(|ours| ours == audience))
        };
        let for_us = match claims.get("aud") {
            Some(Value::Array(several)) => several.iter().any(is_ours),
            Some(one) => is_ours(one),
            None => false,
        };
        if !for_us {
            return Err(Refusal::Audience);
        }
        let now = now.as_millis();
        let expires = time(claims, "exp")?.ok_or(Refusal::Times)?;
        if expires.saturating_add(self.leeway_millis) <= now {
            return Err(Refusal::Expired);
        }
        let issued = time(claims, "iat")?;
        let begins = time(claims, "nbf")?.max(issued);
        if begins.is_some_and(|begins| begins > now.saturating_add(self.leeway_millis)) {
            return Err(Refusal::Early);
        }
        Ok(issued.map(Timestamp::from_millis))
    }
}

/// The parts of a token's header that are looked at. Keys that it brings or points to (`jwk`, `x5c`, `jku`, `x5u`) are not:
/// whoever makes a token could put his own there.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<Value>,
}

impl Header {
    fn algorithm(&self, rules: &Rules) -> Result<Algorithm, Refusal> {
        let is_identity = |typ: &String| TYPES.iter().any(|known| known.eq_ignore_ascii_case(typ));
        if self.crit.is_some() || !self.typ.as_ref().is_none_or(is_identity) {
            return Err(Refusal::Type);
        }
        algorithm(&self.alg).filter(|given| rules.algorithms.contains(given)).ok_or(Refusal::Algorithm)
    }
}

/// A word as a name that can be used here: characters that no name has, and `%`, become `%` and two hexadecimal digits a
/// byte, as in URLs. So two different words never make the same name.
#[must_use]
pub fn as_name(word: &str) -> String {
    let mut name = String::with_capacity(word.len());
    for byte in word.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'@' | b':' | b'+' | b'=' => {
                name.push(byte.into());
            }
            _ => name.push_str(&format!("%{byte:02X}")),
        }
    }
    name
}

/// A claim as text, if it is one value.
#[must_use]
pub fn word(claim: &Value) -> Option<String> {
    match claim {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn claim<'c>(claims: &'c Map<String, Value>, name: &str) -> Option<&'c Value> {
    if let Some(found) = claims.get(name) {
        return Some(found);
    }
    let (first, rest) = name.split_once('.')?;
    claim(claims.get(first)?.as_object()?, rest)
}

/// A time in milliseconds; the token has seconds, maybe with a fraction (RFC 7519, section 2).
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<u64>, Refusal> {
    let Some(given) = claims.get(name) else { return Ok(None) };
    if let Some(seconds) = given.as_u64() {
        return Ok(Some(seconds.saturating_mul(1000)));
    }
    let seconds = given.as_f64().filter(|seconds| *seconds >= 0.0).ok_or(Refusal::Times)?;
    // Beyond the greatest number it stays there, which is as far as "never" needs.
    Ok(Some((seconds * 1000.0) as u64))
}

fn read<T: for<'de> Deserialize<'de>>(part: &str) -> Result<T, Refusal> {
    let json = URL_SAFE_NO_PAD.decode(part).map_err(|_| Refusal::Malformed)?;
    serde_json::from_slice(&json).map_err(|_| Refusal::Malformed)
}

/// What is taken when the tenant names none: what providers sign with by default.
const ALGORITHMS_DEFAULT: [Algorithm; 3] = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];
/// Where the user's name stands when the tenant names no claim.
const USER_CLAIM: &str = "sub";
/// What tokens about an identity call themselves, if they do (RFC 7519, section 5.1; RFC 9068, section 2.1). Others were
/// made for another purpose: logouts, events, proofs (RFC 8725, section 3.11).
const TYPES: [&str; 4] = ["JWT", "application/jwt", "at+jwt", "application/at+jwt"];

#[cfg(test)]
mod tests;
