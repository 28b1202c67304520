//! The secrets in files and in the configuration: the key that signs tokens, the admin key, and fixed API keys of
//! backends. It does not read requests.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use jsonwebtoken::{DecodingKey, EncodingKey};

use crate::auth::secret::{SecretHash, make_key};
use crate::file::{self, Access};
use crate::model::id::{KeyId, NameError, TenantId};

/// The file in the folder of keys that holds the API key which the gateway makes itself, as `tenant:key`.
pub const API_KEY_FILE: &str = "api-key";

/// The file in the folder of keys that holds the admin key.
pub const ADMIN_KEY_FILE: &str = "admin-key";

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
        if !is_fit(secret) {
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
        let content = open_file(&path, || Ok(format!("{DEFAULT_TENANT}:{}\n", make_key(OWN_KEY)?).into_bytes()))?;
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

/// The key of the operator. Shows no secret when printed with `{:?}`.
#[derive(Clone)]
pub struct AdminKey {
    /// The key.
    secret: String,
    /// What is compared.
    hash: SecretHash,
}

impl AdminKey {
    /// Loads it from a folder, or makes it there.
    pub(super) fn open(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(ADMIN_KEY_FILE);
        let content = open_file(&path, || Ok(format!("{}\n", make_key("admin")?).into_bytes()))?;
        let text = std::str::from_utf8(&content).map(str::trim_end).ok().filter(|text| is_fit(text));
        let secret = text.ok_or(Error::Damaged { path, expected: "an admin key" })?.to_owned();
        Ok(Self { hash: SecretHash::of(&secret), secret })
    }

    /// The key itself, to be shown to its owner only.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// Whether this is its hash. Takes the same time whatever it is.
    #[must_use]
    pub fn matches(&self, hash: &SecretHash) -> bool {
        self.hash.matches(hash)
    }
}

impl fmt::Debug for AdminKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminKey")
    }
}

/// An API key that stands in the configuration or in the data folder, and is changed there. Its secret is kept as a hash,
/// so that a memory dump does not hand it out.
#[derive(Clone, Debug)]
pub struct FixedKey {
    /// Its id: [`OWN_KEY`], or `config-1` for the first of the configuration.
    pub id: KeyId,
    /// Whose it is.
    pub tenant: TenantId,
    /// What is compared.
    hash: SecretHash,
}

/// Id of the key that the gateway makes itself.
pub const OWN_KEY: &str = "own";

/// The fixed keys.
#[derive(Debug, Default)]
pub(super) struct KeyRing(Vec<FixedKey>);

impl KeyRing {
    /// Accepts a key under an id. One that is accepted already keeps the id that it has.
    pub(super) fn add(&mut self, id: &str, key: &ApiKey) -> Result<(), Error> {
        let hash = SecretHash::of(&key.secret);
        match self.find(&hash) {
            Some(known) if known.tenant == key.tenant => Ok(()),
            Some(known) => Err(Error::AmbiguousKey { one: known.tenant.clone(), other: key.tenant.clone() }),
            None => {
                let id = KeyId::new(id).map_err(Error::Tenant)?;
                self.0.push(FixedKey { id, tenant: key.tenant.clone(), hash });
                Ok(())
            }
        }
    }

    /// All of them, in the order in which they came.
    pub(super) fn keys(&self) -> &[FixedKey] {
        &self.0
    }

    /// The one whose hash this is. Every one is compared, each in constant time, so the time taken tells nothing of them.
    pub(super) fn find(&self, hash: &SecretHash) -> Option<&FixedKey> {
        self.0.iter().fold(None, |found, key| if key.hash.matches(hash) { Some(key) } else { found })
    }
}

/// Whether a key is hard enough to guess, and can travel in a header.
fn is_fit(secret: &str) -> bool {
    (KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&secret.len()) && secret.bytes().all(|byte| byte.is_ascii_graphic())
}

pub(super) fn open_file(path: &Path, make: impl FnOnce() -> io::Result<Vec<u8>>) -> Result<Vec<u8>, Error> {
    let folder = path.parent().unwrap_or(Path::new("."));
    file::make_folder(folder)
        .and_then(|()| file::read_or_make(path, Access::Owner, make))
        .map_err(|source| Error::File { path: path.to_owned(), source })
}

/// 32 characters of a reasonable alphabet cannot be guessed; 43 of those that the gateway makes are chance.
const KEY_BYTES_MIN: usize = 32;

/// A guess, far above any key in use. Longer credentials are refused before they are hashed.
pub const KEY_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::{AdminKey, ApiKey, Error, KeyRing, SigningKey};
    use crate::auth::secret::SecretHash;

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
    fn a_ring_knows_its_keys_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let own = ApiKey::open(folder.path()).unwrap();
        let mut ring = KeyRing::default();
        let id = |ring: &KeyRing, secret: &str| ring.find(&SecretHash::of(secret)).map(|key| key.id.to_string());
        assert_eq!(id(&ring, own.secret()), None);
        ring.add("own", &own).unwrap();
        ring.add("config-1", &own).unwrap();
        let other = ApiKey::parse(&format!("urn:shop:{}", "k".repeat(32))).unwrap();
        ring.add("config-2", &other).unwrap();
        assert_eq!((id(&ring, own.secret()).as_deref(), ring.keys().len()), (Some("own"), 2), "the same again");
        assert_eq!(id(&ring, other.secret()).as_deref(), Some("config-2"));
        assert_eq!(ring.find(&SecretHash::of(other.secret())).unwrap().tenant.as_str(), "urn:shop");
        let anothers = ApiKey::parse(&format!("other:{}", "k".repeat(32))).unwrap();
        assert!(matches!(ring.add("config-3", &anothers), Err(Error::AmbiguousKey { .. })));
        for wrong in ["", "plk_", &format!("{}x", own.secret()), &own.secret()[1..], "é\0"] {
            assert_eq!(id(&ring, wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn keys_of_files_hold_across_restarts_and_are_not_printed() {
        let folder = tempfile::tempdir().unwrap();
        let (own, admin) = (ApiKey::open(folder.path()).unwrap(), AdminKey::open(folder.path()).unwrap());
        assert!(own.secret().starts_with("plk_own_") && admin.secret().starts_with("plk_admin_"));
        assert_eq!(ApiKey::open(folder.path()).unwrap(), own);
        assert!(AdminKey::open(folder.path()).unwrap().matches(&SecretHash::of(admin.secret())));
        assert!(!admin.matches(&SecretHash::of(own.secret())));
        let mut ring = KeyRing::default();
        ring.add("own", &own).unwrap();
        let printed = format!("{own:?} {admin:?} {ring:?}");
        assert!(!printed.contains(own.secret()) && !printed.contains(admin.secret()), "{printed}");
    }

    #[test]
    fn a_key_of_the_older_form_is_still_read() {
        let folder = tempfile::tempdir().unwrap();
        let secret = format!("plk_{}", "a_b-".repeat(11));
        std::fs::write(folder.path().join("api-key"), format!("default:{secret}\n")).unwrap();
        assert_eq!(ApiKey::open(folder.path()).unwrap().secret(), secret);
    }

    #[test]
    fn files_are_private_and_damage_is_told_not_repaired() {
        let folder = tempfile::tempdir().unwrap();
        SigningKey::open(folder.path()).unwrap();
        ApiKey::open(folder.path()).unwrap();
        AdminKey::open(folder.path()).unwrap();
        for name in ["token-key.der", "api-key", "admin-key"] {
            let path = folder.path().join(name);
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            std::fs::write(&path, b"\xffgarbage").unwrap();
        }
        assert!(matches!(SigningKey::open(folder.path()), Err(Error::Damaged { .. })));
        assert!(matches!(ApiKey::open(folder.path()), Err(Error::Damaged { .. })));
        assert!(matches!(AdminKey::open(folder.path()), Err(Error::Damaged { .. })));
        assert_eq!(std::fs::read(folder.path().join("api-key")).unwrap(), b"\xffgarbage");
    }
}
