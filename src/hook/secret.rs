//! Secrets of webhooks, and signatures made with them (Standard Webhooks 1.0: HMAC-SHA256 over `id.timestamp.body`).

use std::fmt;

use aws_lc_rs::{hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// What signs the requests of a webhook.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

/// Why a text is no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected `{PREFIX}` and the base64 of {LEAST_BYTES} to {MOST_BYTES} bytes")]
pub struct SecretError;

impl Secret {
    /// One of 32 random bytes.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn make() -> Result<Self, aws_lc_rs::error::Unspecified> {
        let mut bytes = vec![0; MADE_BYTES];
        rand::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// Reads its text; the prefix may be left out.
    ///
    /// # Errors
    /// [`SecretError`] when it is none.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let bytes = STANDARD.decode(text.strip_prefix(PREFIX).unwrap_or(text)).map_err(|_| SecretError)?;
        if (LEAST_BYTES..=MOST_BYTES).contains(&bytes.len()) { Ok(Self(bytes)) } else { Err(SecretError) }
    }

    /// The one with these bytes, as they were stored.
    #[must_use]
    pub const fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Its bytes, to be stored.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its text: `whsec_` and base64.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(&self.0))
    }

    /// The value of `webhook-signature`.
    pub(super) fn sign(&self, id: &str, seconds: u64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &self.0));
        context.update(format!("{id}.{seconds}.").as_bytes());
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// What every secret begins with, so that one that leaked is found.
const PREFIX: &str = "whsec_";
/// The specification's bounds.
const LEAST_BYTES: usize = 24;
const MOST_BYTES: usize = 64;
/// As long as the hash, beyond which more gives nothing (RFC 2104, section 3).
const MADE_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use super::{Secret, SecretError};

    /// The example of the specification (and of Svix, where it comes from).
    #[test]
    fn signatures_are_those_of_the_specification() {
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a secret");
        let signature = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b"{\"test\": 2432232314}");
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn secrets_read_back_are_different_and_are_never_shown() {
        let (one, two) = (Secret::make().expect("chance"), Secret::make().expect("chance"));
        assert_ne!(one, two);
        let text = one.to_text();
        assert!(text.starts_with("whsec_"), "{text}");
        assert_eq!(Secret::parse(&text), Ok(one.clone()));
        assert_eq!(Secret::parse(&text["whsec_".len()..]), Ok(one.clone()));
        assert_eq!(Secret::from_bytes(one.as_bytes().to_vec()), one);
        assert_eq!(format!("{one:?}"), "Secret");
        for bad in ["", "whsec_", "whsec_AAAA", "whsec_!", &format!("whsec_{}", "A".repeat(88))] {
            assert_eq!(Secret::parse(bad), Err(SecretError), "{bad}");
        }
    }
}
