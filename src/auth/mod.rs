//! Who may do what: device tokens and backend API keys. It does not know sockets, headers of a protocol or sessions.

mod challenge;
pub mod device_key;
pub mod identity;
mod key;
pub mod key_set;
mod secret;
mod signing;
mod token;

use std::fmt;
use std::path::Path;

use crate::model::clock::Timestamp;
use crate::model::fault::{Code, Fault};
use crate::model::id::Receiver;

use key::KeyRing;
use signing::Signing;

pub use challenge::{CHALLENGE_LIFE, Challenges, used_name};
pub use key::{
    ADMIN_KEY_FILE, API_KEY_FILE, AdminKey, ApiKey, DEFAULT_TENANT, Error, FixedKey, KEY_BYTES_MAX, OWN_KEY,
};
pub use secret::{SecretHash, hex, id_of, make_key, make_key_id, unhex};
pub use token::{Claims, SHARE_LIFE_MAX, ShareClaims, TOKEN_BYTES_MAX, TOKEN_LIFE_MAX, Token, new_id};

/// Issues and checks device tokens, and knows the fixed keys. Shows no secret when printed with `{:?}`.
pub struct Authority {
    /// Signs tokens and checks them; from the folder, never changed.
    signing: Signing,
    /// The fixed API keys, hashed; grows only by [`Authority::accept`].
    ring: KeyRing,
    /// How many keys of the configuration were accepted.
    configured: usize,
    /// The API key that was made for [`DEFAULT_TENANT`], for printing at the start.
    own_key: ApiKey,
    /// The operator's key.
    admin_key: AdminKey,
    /// Makes and checks challenges; from the folder, never changed.
    challenges: Challenges,
}

impl Authority {
    /// Loads the signing key, the gateway's own API key and the admin key from a folder, or makes them there. They hold across
    /// restarts.
    ///
    /// # Errors
    /// [`Error`] when the folder cannot be used or a file in it is not what it should be.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let signing = Signing::open(folder)?;
        let own_key = ApiKey::open(folder)?;
        let admin_key = AdminKey::open(folder)?;
        let mut ring = KeyRing::default();
        ring.add(OWN_KEY, &own_key)?;
        let challenges = Challenges::open(folder)?;
        Ok(Self { signing, ring, configured: 0, own_key, admin_key, challenges })
    }

    /// Accepts a key of the configuration; its id is `config-` and its place there.
    ///
    /// # Errors
    /// [`Error::AmbiguousKey`] when another tenant has the same key.
    pub fn accept(&mut self, key: &ApiKey) -> Result<(), Error> {
        self.configured += 1;
        self.ring.add(&format!("config-{}", self.configured), key)
    }

    /// The API key that was made for [`DEFAULT_TENANT`].
    #[must_use]
    pub const fn own_key(&self) -> &ApiKey {
        &self.own_key
    }

    /// The operator's key.
    #[must_use]
    pub const fn admin_key(&self) -> &AdminKey {
        &self.admin_key
    }

    /// The keys of the configuration and of the data folder.
    #[must_use]
    pub fn fixed_keys(&self) -> &[FixedKey] {
        self.ring.keys()
    }

    /// The fixed key whose secret has this hash.
    #[must_use]
    pub fn fixed_key(&self, hash: &SecretHash) -> Option<&FixedKey> {
        self.ring.find(hash)
    }

    /// Challenges for devices that log in with a key.
    #[must_use]
    pub const fn challenges(&self) -> &Challenges {
        &self.challenges
    }

    /// A token with which `receiver` may open a session until `expires_at` (rounded down to a second).
    #[must_use]
    pub fn issue(&self, receiver: &Receiver, expires_at: Timestamp, now: Timestamp) -> String {
        self.sign(&Claims::new(receiver.clone(), expires_at, now))
    }

    /// The token that says this.
    #[must_use]
    pub fn sign(&self, claims: &Claims) -> String {
        token::sign(&self.signing, claims)
    }

    /// The share's token that says this.
    #[must_use]
    pub fn sign_share(&self, claims: &ShareClaims) -> String {
        token::sign_share(&self.signing, claims)
    }

    /// Checks a token of either kind and tells what it says. Whether it was revoked is not known here.
    ///
    /// # Errors
    /// [`Code::MissingCredentials`], [`Code::InvalidCredentials`] or [`Code::ExpiredToken`].
    pub fn read(&self, token: &str, now: Timestamp) -> Result<Token, Fault> {
        token::verify(&self.signing, token, now)
    }

    /// Checks a device's token and tells for whom it is.
    ///
    /// # Errors
    /// As [`Authority::read`]; a share's token is not valid here.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, Fault> {
        match self.read(token, now)? {
            Token::Access(claims) => Ok(claims),
            Token::Share(_) => Err(Fault::new(Code::InvalidCredentials, "the token is a share's, not a device's")),
        }
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("own_key", &self.own_key).finish_non_exhaustive()
    }
}

/// The credential in the value of an `authorization` header: what follows the word `Bearer` (RFC 6750, section 2.1; the
/// word in any case, RFC 9110, section 11.1).
///
/// # Errors
/// [`Code::MissingCredentials`] when there is no value, [`Code::InvalidCredentials`] when it is of another scheme.
pub fn bearer(authorization: Option<&str>) -> Result<&str, Fault> {
    let Some(value) = authorization else {
        return Err(Fault::new(Code::MissingCredentials, "no credentials: send `authorization: Bearer CREDENTIAL`"));
    };
    match value.trim().split_once(' ') {
        Some((scheme, credential)) if scheme.eq_ignore_ascii_case("bearer") => Ok(credential.trim_start()),
        _ => Err(Fault::new(Code::InvalidCredentials, "the authorization is not of the form `Bearer CREDENTIAL`")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{ApiKey, Authority, Error, SecretHash, bearer};
    use crate::model::clock::Timestamp;
    use crate::model::fault::Code;
    use crate::model::id::{DeviceId, Receiver, TenantId, UserId};

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn receiver() -> Receiver {
        Receiver {
            tenant: TenantId::new("default").unwrap(),
            user: UserId::new("ada").unwrap(),
            device: DeviceId::new("phone").unwrap(),
        }
    }

    fn tenant_of(authority: &Authority, key: &ApiKey) -> Option<String> {
        authority.fixed_key(&SecretHash::of(key.secret())).map(|key| format!("{} {}", key.tenant, key.id))
    }

    #[test]
    fn tokens_and_keys_hold_across_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let first = Authority::open(folder.path()).unwrap();
        let token = first.issue(&receiver(), NOW + Duration::from_secs(60), NOW);
        let second = Authority::open(folder.path()).unwrap();
        assert_eq!(second.verify(&token, NOW).unwrap().receiver, receiver());
        assert_eq!(second.own_key().secret(), first.own_key().secret());
        assert_eq!(tenant_of(&second, first.own_key()).as_deref(), Some("default own"));
        assert!(second.admin_key().matches(&SecretHash::of(first.admin_key().secret())));
    }

    #[test]
    fn two_gateways_do_not_trust_each_other() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [ours, theirs] = folders.each_ref().map(|folder| Authority::open(folder.path()).unwrap());
        let token = theirs.issue(&receiver(), NOW + Duration::from_secs(60), NOW);
        assert_eq!(ours.verify(&token, NOW).unwrap_err().code, Code::InvalidCredentials);
        assert_eq!(tenant_of(&ours, theirs.own_key()), None);
        assert!(!ours.admin_key().matches(&SecretHash::of(theirs.admin_key().secret())));
    }

    #[test]
    fn configured_keys_name_their_tenant_and_must_be_unambiguous() {
        let folder = tempfile::tempdir().unwrap();
        let mut authority = Authority::open(folder.path()).unwrap();
        let key = ApiKey::parse("shop:0123456789abcdef0123456789abcdef").unwrap();
        authority.accept(&key).unwrap();
        authority.accept(&key).unwrap();
        assert_eq!(tenant_of(&authority, &key).as_deref(), Some("shop config-1"));
        let same = ApiKey::parse("bank:0123456789abcdef0123456789abcdef").unwrap();
        assert!(matches!(authority.accept(&same), Err(Error::AmbiguousKey { .. })));
        assert_eq!(tenant_of(&authority, &key).as_deref(), Some("shop config-1"));
        let third = ApiKey::parse("shop:abcdef0123456789abcdef0123456789").unwrap();
        authority.accept(&third).unwrap();
        assert_eq!(tenant_of(&authority, &third).as_deref(), Some("shop config-4"), "by its place");
    }

    #[test]
    fn nothing_secret_is_printed() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open(folder.path()).unwrap();
        let printed = format!("{authority:?} {:?}", authority.own_key());
        assert!(!printed.contains("plk_"), "{printed}");
    }

    #[test]
    fn bearer_takes_what_the_standard_allows_and_no_more() {
        assert_eq!(bearer(Some("Bearer abc")).unwrap(), "abc");
        assert_eq!(bearer(Some("bEARER  abc ")).unwrap(), "abc");
        for (value, code) in [
            (None, Code::MissingCredentials),
            (Some(""), Code::InvalidCredentials),
            (Some("Bearer"), Code::InvalidCredentials),
            (Some("Basic abc"), Code::InvalidCredentials),
            (Some("abc"), Code::InvalidCredentials),
        ] {
            assert_eq!(bearer(value).unwrap_err().code, code, "{value:?}");
        }
    }
}
