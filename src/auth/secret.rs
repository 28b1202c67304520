//! Secrets of API keys: made of chance, kept as hashes. It does not know whose they are, nor what they open.

use std::fmt;
use std::io;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::model::id::KeyId;

/// What is kept of a key: the SHA-256 of its text. Shows nothing when printed with `{:?}`.
///
/// Not a slow hash as for passwords: that makes guesses dear, and nobody guesses 32 bytes of chance at any price. It
/// would make every call of every backend dear instead, and a flood of wrong keys dearer for the gateway than for
/// whoever sends them.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// Of the text of a key.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
        Self(hash)
    }

    /// Whether both are of the same text. Takes the same time whatever they are.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash")
    }
}

impl From<SecretHash> for String {
    fn from(hash: SecretHash) -> Self {
        hex(&hash.0)
    }
}

impl TryFrom<String> for SecretHash {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        unhex(&text).map(Self).ok_or("not 64 hexadecimal digits")
    }
}

/// The text of a new key: `plk_ID_SECRET` with 32 bytes of chance. The prefix lets tools that look for leaked secrets
/// know it.
///
/// # Errors
/// When the system gives no random bytes.
pub fn make_key(id: &str) -> io::Result<String> {
    let mut chance = [0; 32];
    rand::fill(&mut chance).map_err(io::Error::other)?;
    Ok(format!("{PREFIX}{id}_{}", URL_SAFE_NO_PAD.encode(chance)))
}

/// A new id for a key: 80 bits of chance, so that no two keys of a deployment have the same one.
///
/// # Errors
/// When the system gives no random bytes.
pub fn make_key_id() -> io::Result<KeyId> {
    let mut chance = [0; ID_CHARACTERS];
    rand::fill(&mut chance).map_err(io::Error::other)?;
    let id: String = chance.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect();
    KeyId::new(&id).map_err(io::Error::other)
}

/// The id in the text of a key; `None` when it has none, as keys of the configuration may.
#[must_use]
pub fn id_of(key: &str) -> Option<&str> {
    key.strip_prefix(PREFIX)?.split_once('_').map(|(id, _)| id)
}

/// Bytes as hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8; 32]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads 64 hexadecimal digits; `None` when they are none.
#[must_use]
pub fn unhex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// Begins every key that is made here.
const PREFIX: &str = "plk_";

/// Characters of an id, of five bits each.
const ID_CHARACTERS: usize = 16;

/// Crockford's base 32 in lower case: no character is taken for another, and none is an underscore, which ends the id.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

#[cfg(test)]
mod tests {
    use super::{SecretHash, hex, id_of, make_key, make_key_id, unhex};

    #[test]
    fn keys_say_their_id_and_are_never_the_same() {
        let id = make_key_id().unwrap();
        let (one, two) = (make_key(id.as_str()).unwrap(), make_key(id.as_str()).unwrap());
        assert_eq!((id.as_str().len(), one.len()), (16, 4 + 16 + 1 + 43));
        assert_eq!((id_of(&one), id_of(&two)), (Some(id.as_str()), Some(id.as_str())));
        assert_ne!(one, two);
        assert_ne!(make_key_id().unwrap(), id);
        for none in ["", "plk_", "plk_id", "PLK_id_x", "xplk_id_x"] {
            assert_eq!(id_of(none), None, "{none}");
        }
        assert_eq!(id_of("plk_id_a_b"), Some("id"), "a secret may have underscores");
    }

    #[test]
    fn a_hash_matches_its_text_only_and_is_kept_as_text() {
        let hash = SecretHash::of("abc");
        // FIPS 180-4, the example of SHA-256 with one block.
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(String::from(hash), known);
        assert!(SecretHash::try_from(known.to_owned()).unwrap().matches(&hash));
        assert!(!SecretHash::of("abd").matches(&hash));
        assert_eq!(format!("{hash:?}"), "SecretHash");
        let signs = format!("+a{}", &known[2..]);
        for none in ["", &known[1..], &format!("{known}0"), &known.replace('b', "g"), &signs] {
            assert_eq!(unhex(none), None, "{none}");
        }
        assert_eq!(unhex(&hex(&[0xa5; 32])), Some([0xa5; 32]));
    }
}
