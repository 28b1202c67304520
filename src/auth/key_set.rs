//! The public keys of an identity provider, from its JSON Web Key Set (RFC 7517). It fetches nothing: others bring it bytes.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

/// Keys of a set at most. A guess: providers publish two to ten.
pub const KEYS_MAX: usize = 100;

/// Why a text is no set of keys that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// Not JSON, or not an object with a list `keys`.
    #[error("it is not a JSON Web Key Set: an object with a list `keys`")]
    Form,
    /// More than [`KEYS_MAX`].
    #[error("it has {0} keys; the limit is {KEYS_MAX}")]
    TooMany(usize),
    /// None that can check a signature.
    #[error("it has no key to check signatures with: RSA of 2048 to 8192 bits, P-256, P-384 or Ed25519")]
    NoKeys,
}

/// The keys of a provider that can check signatures.
#[derive(Debug)]
pub struct KeySet {
    keys: Vec<Key>,
}

/// A public key, and what it may be used for.
#[derive(Debug)]
pub(super) struct Key {
    /// Its name in the set.
    id: Option<String>,
    /// What it is made for: the token has no say in it (RFC 8725, section 3.1).
    algorithms: Vec<Algorithm>,
    pub(super) verifier: DecodingKey,
}

impl KeySet {
    /// Reads a set. Keys that cannot check signatures are passed over: encryption keys, unknown kinds, weak ones, and above
    /// all symmetric ones, which would be published secrets.
    ///
    /// # Errors
    /// [`KeySetError`] when nothing of it can be used.
    pub fn parse(json: &[u8]) -> Result<Self, KeySetError> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        let set: Set = serde_json::from_slice(json).map_err(|_| KeySetError::Form)?;
        if set.keys.len() > KEYS_MAX {
            return Err(KeySetError::TooMany(set.keys.len()));
        }
        let keys: Vec<_> = set.keys.into_iter().filter_map(Key::read).collect();
        if keys.is_empty() { Err(KeySetError::NoKeys) } else { Ok(Self { keys }) }
    }

    /// The keys that a signature with this algorithm may be by: those of the id that the token names. Without an id it is
    /// the one key that fits; when several do, none is guessed.
    pub(super) fn fitting(&self, id: Option<&str>, algorithm: Algorithm) -> Vec<&Key> {
        let fits = |key: &&Key| key.algorithms.contains(&algorithm) && (id.is_none() || key.id.as_deref() == id);
        let found: Vec<_> = self.keys.iter().filter(fits).collect();
        let most = if id.is_none() { 1 } else { SAME_ID_MAX };
        if found.len() > most { Vec::new() } else { found }
    }
}

impl Key {
    fn read(json: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(json).ok()?;
        let signs = jwk.r#use.as_deref().is_none_or(|word| word == "sig")
            && jwk.key_ops.as_ref().is_none_or(|words| words.iter().any(|word| word == "verify"));
        let (mut algorithms, verifier) = if signs { jwk.verifier()? } else { return None };
        if let Some(only) = &jwk.alg {
            let only = algorithm(only);
            algorithms.retain(|algorithm| Some(*algorithm) == only);
        }
        (!algorithms.is_empty()).then_some(Self { id: jwk.kid, algorithms, verifier })
    }
}

/// The members of a key that matter here.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Jwk {
    /// What checks its signatures, and with which algorithms it may.
    fn verifier(&self) -> Option<(Vec<Algorithm>, DecodingKey)> {
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", None) => {
                let (modulus, exponent) = (bytes(self.n.as_ref())?, bytes(self.e.as_ref())?);
                let significant = modulus.iter().skip_while(|byte| **byte == 0).count();
                let fits = RSA_BYTES.contains(&significant) && (1..=RSA_EXPONENT_BYTES_MAX).contains(&exponent.len());
                fits.then(|| (RSA.to_vec(), DecodingKey::from_rsa_raw_components(&modulus, &exponent)))
            }
            ("EC", Some("P-256")) => Some((vec![Algorithm::ES256], self.point(32)?)),
            ("EC", Some("P-384")) => Some((vec![Algorithm::ES384], self.point(48)?)),
            ("OKP", Some("Ed25519")) => {
                let key = bytes(self.x.as_ref()).filter(|key| key.len() == 32)?;
                Some((vec![Algorithm::EdDSA], DecodingKey::from_ed_der(&key)))
            }
            _ => None,
        }
    }

    /// A point of a curve whose coordinates have so many bytes (RFC 7518, section 6.2.1).
    fn point(&self, length: usize) -> Option<DecodingKey> {
        let (x, y) = (bytes(self.x.as_ref())?, bytes(self.y.as_ref())?);
        let whole = [&[UNCOMPRESSED][..], &x, &y].concat();
        (x.len() == length && y.len() == length).then(|| DecodingKey::from_ec_der(&whole))
    }
}

fn bytes(text: Option<&String>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text?).ok()
}

/// The algorithms that a provider's tokens may be signed with: asymmetric ones only. With a symmetric one, whoever may
/// check a token could make it.
pub(super) const ALGORITHMS: &[(&str, Algorithm)] = &[
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
    // Its newer word (RFC 9864, section 2.2).
    ("Ed25519", Algorithm::EdDSA),
];

/// The algorithm of this word; `None` for all that are never taken.
pub(super) fn algorithm(word: &str) -> Option<Algorithm> {
    ALGORITHMS.iter().find(|(known, _)| *known == word).map(|(_, algorithm)| *algorithm)
}

/// What an RSA key may be used with when the set does not say.
const RSA: [Algorithm; 6] =
    [Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::PS384, Algorithm::PS512];
/// 2048 bits are the least (RFC 7518, section 3.3); beyond 8192 the library checks none.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;
/// A greater exponent only costs time; the library takes up to 33 bits.
const RSA_EXPONENT_BYTES_MAX: usize = 5;
/// What a point with both coordinates begins with (SEC 1, section 2.3.3).
const UNCOMPRESSED: u8 = 4;
/// Keys of one id and algorithm that are tried. There should be one (RFC 7517, section 4.5); two are seen while a provider
/// rotates carelessly. A bound, because each costs a check.
const SAME_ID_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use jsonwebtoken::Algorithm;
    use serde_json::{Value, json};

    use super::{KEYS_MAX, KeySet, KeySetError, SAME_ID_MAX};

    fn base64(length: usize) -> String {
        URL_SAFE_NO_PAD.encode(vec![0xc5; length])
    }

    fn rsa(length: usize) -> Value {
        json!({"kty": "RSA", "kid": "r", "n": base64(length), "e": "AQAB"})
    }

    fn ed(kid: &str) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": base64(32)})
    }

    fn with(mut key: Value, name: &str, value: Value) -> Value {
        key[name] = value;
        key
    }

    fn set(keys: &[Value]) -> Result<KeySet, KeySetError> {
        KeySet::parse(json!({ "keys": keys, "more": 1 }).to_string().as_bytes())
    }

    #[test]
    fn keys_are_good_for_their_own_algorithms_only() {
        let p256 = json!({"kty": "EC", "crv": "P-256", "kid": "p", "x": base64(32), "y": base64(32)});
        let p384 = json!({"kty": "EC", "crv": "P-384", "kid": "q", "x": base64(48), "y": base64(48)});
        let all = set(&[rsa(256), p256, p384, ed("e")]).expect("a set");
        for (id, good) in [
            ("r", &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"][..]),
            ("p", &["ES256"]),
            ("q", &["ES384"]),
            ("e", &["EdDSA", "Ed25519"]),
        ] {
            for (word, algorithm) in super::ALGORITHMS {
                let fits = !all.fitting(Some(id), *algorithm).is_empty();
                assert_eq!(fits, good.contains(word), "{id} {word}");
            }
            for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
                assert!(all.fitting(Some(id), algorithm).is_empty(), "{id} {algorithm:?}");
            }
        }
        let only = set(&[with(rsa(256), "alg", json!("RS256"))]).expect("a set");
        assert!(!only.fitting(Some("r"), Algorithm::RS256).is_empty());
        assert!(only.fitting(Some("r"), Algorithm::PS256).is_empty(), "the key says what it is for");
    }

    #[test]
    fn what_cannot_check_signatures_is_passed_over() {
        for useless in [
            json!({"kty": "oct", "kid": "s", "k": base64(32)}),
            json!({"kty": "oct", "kid": "s", "k": base64(32), "alg": "HS256"}),
            rsa(255),
            rsa(1025),
            with(rsa(256), "n", json!(URL_SAFE_NO_PAD.encode([vec![0; 100], vec![1; 200]].concat()))),
            with(rsa(256), "e", json!(base64(6))),
            with(rsa(256), "e", json!("")),
            with(rsa(256), "n", Value::Null),
            with(rsa(256), "n", json!("not/base64url")),
            with(rsa(256), "use", json!("enc")),
            with(rsa(256), "key_ops", json!(["encrypt"])),
            with(rsa(256), "alg", json!("HS256")),
            with(rsa(256), "alg", json!("none")),
            with(rsa(256), "kid", json!(7)),
            with(ed("e"), "x", json!(base64(31))),
            with(ed("e"), "crv", json!("Ed448")),
            with(ed("e"), "crv", json!("X25519")),
            json!({"kty": "EC", "crv": "P-256", "x": base64(32), "y": base64(31)}),
            json!({"kty": "EC", "crv": "secp256k1", "x": base64(32), "y": base64(32)}),
            json!({"kty": "future"}),
            json!("a key"),
        ] {
            assert_eq!(set(std::slice::from_ref(&useless)).err(), Some(KeySetError::NoKeys), "{useless}");
            assert!(set(&[useless, ed("e")]).is_ok(), "it does not hide the good ones");
        }
        let useful = with(with(ed("e"), "use", json!("sig")), "key_ops", json!(["verify"]));
        assert!(set(&[useful]).is_ok());
    }

    #[test]
    fn ids_choose_and_nothing_is_guessed() {
        let two = set(&[ed("a"), ed("b")]).expect("a set");
        assert_eq!(two.fitting(Some("a"), Algorithm::EdDSA).len(), 1);
        assert!(two.fitting(Some("c"), Algorithm::EdDSA).is_empty());
        assert!(two.fitting(None, Algorithm::EdDSA).is_empty(), "which of the two?");
        assert_eq!(set(&[ed("a"), rsa(256)]).expect("a set").fitting(None, Algorithm::EdDSA).len(), 1);
        assert_eq!(set(&[ed("a"), ed("a")]).expect("a set").fitting(Some("a"), Algorithm::EdDSA).len(), 2);
        let crowd = set(&vec![ed("a"); SAME_ID_MAX + 1]).expect("a set");
        assert!(crowd.fitting(Some("a"), Algorithm::EdDSA).is_empty(), "no token makes us try them all");
    }

    #[test]
    fn what_is_no_set_is_told() {
        for text in ["", "[]", "{}", "{\"keys\":7}", "<html>", "{\"keys\":[]"] {
            assert_eq!(KeySet::parse(text.as_bytes()).err(), Some(KeySetError::Form), "{text}");
        }
        assert_eq!(set(&[]).err(), Some(KeySetError::NoKeys));
        assert_eq!(set(&vec![ed("a"); KEYS_MAX + 1]).err(), Some(KeySetError::TooMany(KEYS_MAX + 1)));
    }
}
