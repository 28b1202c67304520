//! Key pairs of devices, and the codes that enrol them. It keeps none of them.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey, VerificationAlgorithm,
};

use crate::auth::challenge::name_of;
use crate::model::id::TenantId;

/// A device's public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    algorithm: Algorithm,
    bytes: Vec<u8>,
}

/// What a device signs with: its key decides, never what it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Ed25519,
    P256,
}

impl PublicKey {
    /// Reads a key: 32 bytes are Ed25519, the 65 bytes of an uncompressed point are P-256. `None` when it is neither.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let algorithm = match bytes {
            _ if bytes.len() == 32 => Algorithm::Ed25519,
            [4, ..] if bytes.len() == 65 => Algorithm::P256,
            _ => return None,
        };
        Some(Self { algorithm, bytes: bytes.to_vec() })
    }

    /// A key that stands for none, so that a check without a key takes as long as one with it. What it verifies must not
    /// count: its private half is known to all.
    #[must_use]
    pub fn nobodys() -> Self {
        // The base point of the curve.
        let mut bytes = vec![0x66; 32];
        bytes[0] = 0x58;
        Self { algorithm: Algorithm::Ed25519, bytes }
    }

    /// `ed25519` or `p256`.
    #[must_use]
    pub const fn algorithm(&self) -> &'static str {
        match self.algorithm {
            Algorithm::Ed25519 => "ed25519",
            Algorithm::P256 => "p256",
        }
    }

    /// The key itself.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether `signature` was made over `text` with the private half. A point that is not on the curve verifies nothing.
    #[must_use]
    pub fn verifies(&self, text: &[u8], signature: &[u8]) -> bool {
        let algorithm: &'static dyn VerificationAlgorithm = match self.algorithm {
            Algorithm::Ed25519 => &ED25519,
            Algorithm::P256 => &ECDSA_P256_SHA256_ASN1,
        };
        UnparsedPublicKey::new(algorithm, &self.bytes).verify(text, signature).is_ok()
    }
}

/// A key pair for a device that has no safer place for one: Ed25519. Shows nothing secret when printed with `{:?}`.
pub struct KeyPair(Ed25519KeyPair);

impl KeyPair {
    /// Makes one, with its text to be kept in a file (PKCS#8).
    ///
    /// # Panics
    /// When the system gives no chance: nothing secret can be made then.
    #[must_use]
    pub fn generate() -> (Self, Vec<u8>) {
        let pair = Ed25519KeyPair::generate().expect("the system gives chance");
        let document = pair.to_pkcs8().expect("a key that was made can be written").as_ref().to_vec();
        (Self(pair), document)
    }

    /// Reads what [`KeyPair::generate`] gave. `None` when it is no Ed25519 key.
    #[must_use]
    pub fn read(document: &[u8]) -> Option<Self> {
        Ed25519KeyPair::from_pkcs8(document).ok().map(Self)
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    /// Signs.
    #[must_use]
    pub fn sign(&self, text: &[u8]) -> Vec<u8> {
        self.0.sign(text).as_ref().to_vec()
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPair")
    }
}

/// Makes an enrolment code: 80 bits of chance in Crockford's base32, which people can read to each other, as four groups of
/// four. So much cannot be tried out, neither here nor on the hash; a slow hash would only cost time.
///
/// # Panics
/// When the system gives no chance: nothing secret can be made then.
#[must_use]
pub fn enrolment_code() -> String {
    let mut chance = [0; CODE_CHANCE_BYTES];
    SystemRandom::new().fill(&mut chance).expect("the system gives chance");
    let bits = chance.iter().fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte));
    let letter = |at: usize| char::from(ALPHABET[(bits >> (5 * at) & 31) as usize]);
    let groups = (0..4).map(|group| (0..4).map(|at| letter(4 * group + at)).collect::<String>());
    groups.collect::<Vec<_>>().join("-")
}

/// Under this name a code is kept: a hash of it, bound to its tenant. However it was typed: small or large letters, with or
/// without dashes and blanks, O for 0, I or L for 1. `None` when it cannot be a code.
#[must_use]
pub fn code_name(tenant: &TenantId, code: &str) -> Option<String> {
    let mut letters = Vec::with_capacity(CODE_LETTERS);
    for letter in code.bytes().filter(|byte| !matches!(byte, b'-' | b' ')) {
        let letter = match letter.to_ascii_uppercase() {
            b'O' => b'0',
            b'I' | b'L' => b'1',
            letter => letter,
        };
        if letters.len() == CODE_LETTERS || !ALPHABET.contains(&letter) {
            return None;
        }
        letters.push(letter);
    }
    if letters.len() < CODE_LETTERS {
        return None;
    }
    let mut hash = Context::new(&SHA256);
    for part in [&b"pushline-enrolment"[..], tenant.as_str().as_bytes(), &letters] {
        hash.update(part);
        hash.update(&[0]);
    }
    Some(name_of(&hash.finish()))
}

const CODE_CHANCE_BYTES: usize = 10;
const CODE_LETTERS: usize = 16;

/// Crockford's base32: without I, L, O and U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};

    use super::{KeyPair, PublicKey, code_name, enrolment_code};
    use crate::model::id::TenantId;

    fn tenant(name: &str) -> TenantId {
        TenantId::new(name).expect("a name")
    }

    #[test]
    fn ed25519_and_p256_sign_and_neither_takes_the_others_signature() {
        let (ed, document) = KeyPair::generate();
        assert_eq!(KeyPair::read(&document).expect("the key").public_key(), ed.public_key());
        assert!(KeyPair::read(b"no key").is_none());
        let p256 = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("a key");
        let text = b"a text";
        let by_ed = ed.sign(text);
        let by_p256 = p256.sign(&SystemRandom::new(), text).expect("a signature").as_ref().to_vec();
        let ed = PublicKey::read(ed.public_key()).expect("a key");
        let p256 = PublicKey::read(p256.public_key().as_ref()).expect("a key");
        assert_eq!((ed.algorithm(), p256.algorithm()), ("ed25519", "p256"));
        assert!(ed.verifies(text, &by_ed) && p256.verifies(text, &by_p256));
        assert!(!ed.verifies(text, &by_p256) && !p256.verifies(text, &by_ed));
        assert!(!ed.verifies(b"another", &by_ed) && !p256.verifies(b"another", &by_p256));
        for cut in 0..by_ed.len() {
            assert!(!ed.verifies(text, &by_ed[..cut]));
        }
        assert!(!PublicKey::nobodys().verifies(text, &by_ed));
    }

    #[test]
    fn what_is_no_key_is_refused_or_verifies_nothing() {
        for bytes in [&[][..], &[1; 31], &[1; 33], &[4; 64], &[2; 65], &[4; 66]] {
            assert_eq!(PublicKey::read(bytes), None, "{} bytes", bytes.len());
        }
        // Of the right size, and not on the curve.
        let off = PublicKey::read(&[4; 65]).expect("the form of a key");
        assert!(!off.verifies(b"a text", &[0x30, 6, 2, 1, 1, 2, 1, 1]));
    }

    #[test]
    fn codes_are_read_as_people_type_them_and_kept_by_tenant() {
        let codes: BTreeSet<String> = (0..100).map(|_| enrolment_code()).collect();
        assert_eq!(codes.len(), 100);
        for code in &codes {
            assert!(code.len() == 19 && code.split('-').all(|group| group.len() == 4), "{code}");
            let name = code_name(&tenant("t"), code).expect("a code");
            assert!(!name.contains(code.as_str()) && name.len() == 64);
            let typed = format!(" {} ", code.to_lowercase().replace('-', " ").replace('0', "o").replace('1', "l"));
            assert_eq!(code_name(&tenant("t"), &typed).as_ref(), Some(&name));
            assert_ne!(code_name(&tenant("x"), code), Some(name));
        }
        for text in
            ["", "AAAA-AAAA-AAAA-AAA", "AAAA-AAAA-AAAA-AAAA-A", "AAAA-AAAA-AAAA-AAAU", "AAAA-AAAA-AAAA-AAA\u{e9}"]
        {
            assert_eq!(code_name(&tenant("t"), text), None, "{text}");
        }
    }
}
