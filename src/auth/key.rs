//! The secrets behind credentials: the key that signs tokens, and the API keys of backends. It does not read requests.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{DecodingKey, EncodingKey};

use crate::file::{self, Access};
use crate::model::fault::{Code, Fault};
use crate::model::id::{NameError, TenantId};

/// The file in the folder of keys that holds the API key which the gateway makes itself, as `tenant:key`.
pub const API_KEY_FILE: &str = "api-key";

/// The tenant of the API key that the gateway makes itself.
pub const DEFAULT_TENANT: &str = "default";

/// Why credentials could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file or its folder could not be read or written.
    #[error("cannot use {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is there and is not what it should be.
    #[error(
        "{path} is not {expected}; restore it, or remove it to have a new one made (what the old one issued stops working)"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
    },
    /// A configured key is not of the form `tenant:key`.
    #[error("the API key has no tenant; write TENANT:KEY")]
    NoTenant,
    /// A configured key names a tenant that cannot be.
    #[error("the API key's tenant cannot be used: {0}")]
    Tenant(NameError),
    /// A configured key names a tenant that the gateway keeps for itself.
    #[error("the tenant {0} is the gateway's own; names of tenants do not begin with an underscore")]
    Reserved(TenantId),
    /// A configured key is too easy to guess, too long, or has characters that a header cannot carry.
    #[error(
        "the API key of tenant {tenant} must be {KEY_BYTES_MIN} to {KEY_BYTES_MAX} visible ASCII characters, without a colon"
    )]
    Unfit {
        /// Whose key it is.
        tenant: TenantId,
    },
    /// Two tenants have the same key: it would not tell whose a push is.
    #[error("tenants {one} and {other} have the same API key; give each its own")]
    AmbiguousKey {
        /// Who has it already.
        one: TenantId,
        /// Who was to get it.
        other: TenantId,
    },
}

/// The Ed25519 key that signs tokens, and its public half that checks them.
pub(super) struct SigningKey {
    /// Signs.
    pub(super) signer: EncodingKey,
    /// Checks.
    pub(super) verifier: DecodingKey,
}

impl SigningKey {
    /// Loads the key from a folder, or makes it there.
    pub(super) fn open(folder: &Path) -> Result<Self, Error> {
        let path = folder.join("token-key.der");
        let der = open_file(&path, || {
            let pair = Ed25519KeyPair::generate().map_err(io::Error::other)?;
            Ok(pair.to_pkcs8().map_err(io::Error::other)?.as_ref().to_vec())
        })?;
        let pair = Ed25519KeyPair::from_pkcs8(&der)
            .map_err(|_| Error::Damaged { path, expected: "an Ed25519 key in PKCS#8" })?;
        Ok(Self {
            signer: EncodingKey::from_ed_der(&der),
            verifier: DecodingKey::from_ed_der(pair.public_key().as_ref()),
        })
    }
}

/// An API key and the tenant it stands for. Shows no secret when printed with `{:?}`.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Whose it is.
    tenant: TenantId,
    /// The key.
    secret: String,
}

impl ApiKey {
    /// Reads the form `tenant:key` of the configuration.
    ///
    /// # Errors
    /// [`Error::NoTenant`], [`Error::Tenant`], [`Error::Reserved`] or [`Error::Unfit`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        // A tenant's name may have colons, a key may not.
        let (tenant, secret) = text.rsplit_once(':').ok_or(Error::NoTenant)?;
        let tenant = TenantId::new(tenant).map_err(Error::Tenant)?;
        if tenant.is_reserved() {
            return Err(Error::Reserved(tenant));
        }
        let fit = (KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&secret.len())
            && secret.bytes().all(|byte| byte.is_ascii_graphic());
        if !fit {
            return Err(Error::Unfit { tenant });
        }
        Ok(Self { tenant, secret: secret.to_owned() })
    }

    /// Whose it is.
    #[must_use]
    pub const fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The key itself, to be shown to its owner only.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// Loads the gateway's own key from a folder, or makes it there.
    pub(super) fn open(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(API_KEY_FILE);
        let content = open_file(&path, || {
            let mut chance = [0; 32];
            SystemRandom::new().fill(&mut chance).map_err(io::Error::other)?;
            Ok(format!("{}:plk_{}\n", DEFAULT_TENANT, URL_SAFE_NO_PAD.encode(chance)).into_bytes())
        })?;
        std::str::from_utf8(&content)
            .ok()
            .and_then(|text| Self::parse(text.trim_end()).ok())
            .ok_or(Error::Damaged { path, expected: "an API key in the form TENANT:KEY" })
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

/// The API keys that are accepted. It holds hashes, so that a memory dump does not hand out keys.
#[derive(Default)]
pub(super) struct KeyRing {
    /// SHA-256 of a key, and whose it is. A plain hash is enough because keys are long and random.
    entries: Vec<([u8; SHA256_OUTPUT_LEN], TenantId)>,
}

impl KeyRing {
    /// Accepts a key. The same again is harmless.
    pub(super) fn add(&mut self, key: &ApiKey) -> Result<(), Error> {
        let hash = hash(&key.secret);
        match self.entries.iter().find(|(known, _)| *known == hash) {
            Some((_, tenant)) if *tenant == key.tenant => Ok(()),
            Some((_, tenant)) => Err(Error::AmbiguousKey { one: tenant.clone(), other: key.tenant.clone() }),
            None => {
                self.entries.push((hash, key.tenant.clone()));
                Ok(())
            }
        }
    }

    /// Whose keys are in it, each once.
    pub(super) fn tenants(&self) -> Vec<TenantId> {
        let tenants: std::collections::BTreeSet<_> = self.entries.iter().map(|(_, tenant)| tenant.clone()).collect();
        tenants.into_iter().collect()
    }

    /// Whose key this is. Every entry is compared, each in constant time, so the time taken tells nothing of the keys.
    pub(super) fn tenant_of(&self, secret: &str) -> Result<TenantId, Fault> {
        if secret.is_empty() {
            return Err(Fault::new(Code::MissingCredentials, "no API key: send `authorization: Bearer KEY`"));
        }
        // No key has a colon: whoever sends one took the tenant along, from the file or the option.
        let words = match secret.contains(':') {
            true => "the API key is not one this gateway accepts; send only what stands behind the colon of TENANT:KEY",
            false => "the API key is not one this gateway accepts",
        };
        let refused = || Fault::new(Code::InvalidCredentials, words);
        if secret.len() > KEY_BYTES_MAX {
            return Err(refused());
        }
        let hash = hash(secret);
        let mut found = None;
        for (known, tenant) in &self.entries {
            if aws_lc_rs::constant_time::verify_slices_are_equal(known, &hash).is_ok() {
                found = Some(tenant);
            }
        }
        found.cloned().ok_or_else(refused)
    }
}

fn hash(secret: &str) -> [u8; SHA256_OUTPUT_LEN] {
    let mut hash = [0; SHA256_OUTPUT_LEN];
    hash.copy_from_slice(digest(&SHA256, secret.as_bytes()).as_ref());
    hash
}

fn open_file(path: &Path, make: impl FnOnce() -> io::Result<Vec<u8>>) -> Result<Vec<u8>, Error> {
    let folder = path.parent().unwrap_or(Path::new("."));
    file::make_folder(folder)
        .and_then(|()| file::read_or_make(path, Access::Owner, make))
        .map_err(|source| Error::File { path: path.to_owned(), source })
}

/// 32 characters of a reasonable alphabet cannot be guessed; the gateway's own keys have 47.
const KEY_BYTES_MIN: usize = 32;

/// A guess, far above any key in use. Longer credentials are refused before they are hashed.
const KEY_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::{ApiKey, Error, KEY_BYTES_MAX, KeyRing, SigningKey};
    use crate::model::fault::Code;

    #[test]
    fn keys_are_checked_when_read() {
        let good = "k".repeat(32);
        assert_eq!(ApiKey::parse(&format!("urn:shop:{good}")).unwrap().tenant().as_str(), "urn:shop");
        assert!(matches!(ApiKey::parse(&good), Err(Error::NoTenant)));
        assert!(matches!(ApiKey::parse(&format!(":{good}")), Err(Error::Tenant(_))));
        assert!(matches!(ApiKey::parse(&format!("a/b:{good}")), Err(Error::Tenant(_))));
        assert!(matches!(ApiKey::parse(&format!("_own:{good}")), Err(Error::Reserved(_))));
        for secret in [String::new(), "k".repeat(31), "k".repeat(257), format!("{good} "), format!("{good}é")] {
            assert!(matches!(ApiKey::parse(&format!("shop:{secret}")), Err(Error::Unfit { .. })), "{secret:?}");
        }
    }

    #[test]
    fn refusals_do_not_repeat_the_secret() {
        let words = ApiKey::parse("shop:short-secret").unwrap_err().to_string();
        assert!(words.contains("shop") && !words.contains("short-secret"), "{words}");
    }

    #[test]
    fn whoever_sends_the_tenant_too_is_told() {
        let words = KeyRing::default().tenant_of("default:plk_x").unwrap_err().to_string();
        assert!(words.contains("behind the colon") && !words.contains("plk_x"), "{words}");
    }

    #[test]
    fn a_ring_knows_its_keys_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let key = ApiKey::open(folder.path()).unwrap();
        let mut ring = KeyRing::default();
        assert_eq!(ring.tenant_of(key.secret()).unwrap_err().code, Code::InvalidCredentials);
        ring.add(&key).unwrap();
        assert_eq!(ring.tenant_of(key.secret()).unwrap(), *key.tenant());
        ring.add(&ApiKey::parse(&format!("{}:{}", key.tenant(), "k".repeat(32))).unwrap()).unwrap();
        assert_eq!(ring.tenants(), [key.tenant().clone()]);
        assert_eq!(ring.tenant_of("").unwrap_err().code, Code::MissingCredentials);
        let changed = format!("{}x", key.secret());
        let shorter = &key.secret()[1..];
        for wrong in [&changed, shorter, "plk_", &"x".repeat(KEY_BYTES_MAX + 1), "é\0"] {
            assert_eq!(ring.tenant_of(wrong).unwrap_err().code, Code::InvalidCredentials, "{wrong:?}");
        }
    }

    #[test]
    fn files_are_private_and_damage_is_told_not_repaired() {
        let folder = tempfile::tempdir().unwrap();
        SigningKey::open(folder.path()).unwrap();
        ApiKey::open(folder.path()).unwrap();
        for name in ["token-key.der", "api-key"] {
            let path = folder.path().join(name);
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            std::fs::write(&path, b"\xffgarbage").unwrap();
        }
        assert!(matches!(SigningKey::open(folder.path()), Err(Error::Damaged { .. })));
        assert!(matches!(ApiKey::open(folder.path()), Err(Error::Damaged { .. })));
        assert_eq!(std::fs::read(folder.path().join("api-key")).unwrap(), b"\xffgarbage");
    }
}
