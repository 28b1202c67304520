//! The keys that sign and check tokens, each by the name that a token's header has for it. It does not read tokens.

use std::io;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{DecodingKey, EncodingKey};

use crate::auth::key::{Error, SigningKey};

/// The file in the folder of keys that holds the key before the last change, if there was one. To change the key, give its
/// file this name and restart: a new one is made, and what the old one signed is good until it expires.
const OLD_KEY_FILE: &str = "token-key-old.der";

/// The key that signs, and all that check.
pub(super) struct Signing {
    /// Names the key in what it signs.
    kid: String,
    /// Signs.
    pub(super) signer: EncodingKey,
    /// Check what has their name; the first is the one of `signer`.
    verifiers: Vec<(String, DecodingKey)>,
}

impl Signing {
    /// Loads the keys from a folder, or makes the one that signs there.
    pub(super) fn open(folder: &Path) -> Result<Self, Error> {
        let SigningKey { signer, verifier } = SigningKey::open(folder)?;
        let kid = verifier.try_get_as_bytes().map(thumbprint).map_err(|_| damaged(&folder.join("token-key.der")))?;
        let mut verifiers = vec![(kid.clone(), verifier)];
        let old = folder.join(OLD_KEY_FILE);
        match std::fs::read(&old) {
            Ok(der) => {
                let pair = Ed25519KeyPair::from_pkcs8(&der).map_err(|_| damaged(&old))?;
                let public = pair.public_key().as_ref();
                verifiers.push((thumbprint(public), DecodingKey::from_ed_der(public)));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(Error::File { path: old, source }),
        }
        Ok(Self { kid, signer, verifiers })
    }

    /// The name of the key that signs.
    pub(super) fn kid(&self) -> &str {
        &self.kid
    }

    /// The key of this name.
    pub(super) fn verifier(&self, kid: &str) -> Option<&DecodingKey> {
        self.verifiers.iter().find(|(known, _)| known == kid).map(|(_, verifier)| verifier)
    }
}

fn damaged(path: &Path) -> Error {
    Error::Damaged { path: path.to_owned(), expected: "an Ed25519 key in PKCS#8" }
}

/// The name of a public key: its thumbprint (RFC 7638) as a key of JSON (RFC 8037, section 2).
fn thumbprint(public: &[u8]) -> String {
    let key = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, URL_SAFE_NO_PAD.encode(public));
    URL_SAFE_NO_PAD.encode(digest(&SHA256, key.as_bytes()))
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::{Error, OLD_KEY_FILE, Signing, thumbprint};

    /// RFC 8037, appendix A.3.
    #[test]
    fn a_key_is_named_as_the_standard_says() {
        let public = URL_SAFE_NO_PAD.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
        assert_eq!(thumbprint(&public), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn an_old_key_goes_on_checking() {
        let folder = tempfile::tempdir().unwrap();
        let first = Signing::open(folder.path()).unwrap();
        assert!(first.verifier(first.kid()).is_some() && first.verifier("").is_none());
        std::fs::rename(folder.path().join("token-key.der"), folder.path().join(OLD_KEY_FILE)).unwrap();
        let second = Signing::open(folder.path()).unwrap();
        assert_ne!(first.kid(), second.kid());
        assert!(second.verifier(first.kid()).is_some() && second.verifier(second.kid()).is_some());
        std::fs::write(folder.path().join(OLD_KEY_FILE), b"garbage").unwrap();
        assert!(matches!(Signing::open(folder.path()), Err(Error::Damaged { .. })));
    }
}
