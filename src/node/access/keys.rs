//! API keys: several for each tenant, with scopes, hashed at rest, rotated with overlap.

use std::io;
use std::time::Duration;

use crate::auth::{KEY_BYTES_MAX, SecretHash, hex, id_of, make_key, make_key_id};
use crate::model::access::{Caller, Scopes};
use crate::model::audit::{Action, Actor};
use crate::model::clock::Timestamp;
use crate::model::fault::{Code, Fault};
use crate::model::id::{KeyId, TenantId};
use crate::node::Node;
use crate::node::access::Credential;
use crate::node::access::kept::Kept;
use crate::store::{Expected, Put, Shelf};

/// A key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its id.
    pub id: KeyId,
    /// Whose it is.
    pub tenant: TenantId,
    /// What it may do.
    pub scopes: Scopes,
    /// When it was made; [`Timestamp::ZERO`] for a fixed one.
    pub created_at: Timestamp,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// For whoever looks at the list.
    pub note: String,
    /// SHA-256 of the client certificate that stands for a secret.
    pub certificate: Option<[u8; 32]>,
    /// Until when the secret before the last rotation is good.
    pub old_secret_until: Option<Timestamp>,
    /// It stands in the configuration or in the data folder.
    pub fixed: bool,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// What it may do.
    pub scopes: Scopes,
    /// How long it is good; `None`: it does not expire.
    pub ttl: Option<Duration>,
    /// For whoever looks at the list.
    pub note: String,
    /// SHA-256 of a client certificate: no secret is made.
    pub certificate: Option<[u8; 32]>,
}

impl Node {
    /// Whose credential this is, and what it may do.
    ///
    /// # Errors
    /// `missing_credentials`, `invalid_credentials` or `tenant_suspended`.
    pub fn caller(&self, credential: Credential<'_>) -> Result<Caller, Fault> {
        let caller = match credential {
            Credential::None | Credential::Key("") => return Err(missing()),
            Credential::Key(text) => self.caller_of(text)?,
            Credential::Certificate(certificate) => {
                let words = "the client certificate is not one this gateway takes for a key";
                let kept = self.access.certificate(certificate);
                self.in_time(&*kept.ok_or_else(|| Fault::new(Code::InvalidCredentials, words))?)?
            }
        };
        self.refuse_suspended(&caller.tenant)?;
        Ok(caller)
    }

    /// Whether who called may go on: the key is still there and in time, and its tenant is not suspended. For calls that
    /// last.
    ///
    /// # Errors
    /// `invalid_credentials` or `tenant_suspended`.
    pub fn recheck_caller(&self, caller: &Caller) -> Result<(), Fault> {
        let is_this = |id: &KeyId, tenant: &TenantId| *id == caller.key && *tenant == caller.tenant;
        if !self.authority.fixed_keys().iter().any(|fixed| is_this(&fixed.id, &fixed.tenant)) {
            let words = "the API key was removed";
            let kept = self.access.key_of(&caller.tenant, &caller.key);
            self.in_time(&*kept.ok_or_else(|| Fault::new(Code::InvalidCredentials, words))?)?;
        }
        self.refuse_suspended(&caller.tenant)
    }

    fn refuse_suspended(&self, tenant: &TenantId) -> Result<(), Fault> {
        if self.access.is_suspended(tenant) {
            return Err(Fault::new(Code::TenantSuspended, "the tenant is suspended; the operator knows why"));
        }
        Ok(())
    }

    /// The answer to a wrong key is the same, whether or not there is a key with its id.
    fn caller_of(&self, text: &str) -> Result<Caller, Fault> {
        if text.len() > KEY_BYTES_MAX {
            return Err(refused(text));
        }
        let hash = SecretHash::of(text);
        let now = self.clock.now().wall;
        if let Some(kept) = id_of(text).and_then(|id| self.access.key(id)).filter(|kept| kept.takes(&hash, now)) {
            return self.in_time(&kept);
        }
        let fixed = self.authority.fixed_key(&hash).ok_or_else(|| refused(text))?;
        Ok(Caller { tenant: fixed.tenant.clone(), key: fixed.id.clone(), scopes: Scopes::ALL })
    }

    fn in_time(&self, kept: &Kept) -> Result<Caller, Fault> {
        if kept.is_expired(self.clock.now().wall) {
            return Err(Fault::new(Code::InvalidCredentials, "the API key has expired; make a new one"));
        }
        let Key { tenant, id, scopes, .. } = &kept.key;
        Ok(Caller { tenant: tenant.clone(), key: id.clone(), scopes: *scopes })
    }

    /// Whether this is the admin key.
    ///
    /// # Errors
    /// `missing_credentials` or `invalid_credentials`.
    pub fn check_admin(&self, key: &str) -> Result<(), Fault> {
        if key.is_empty() {
            let words =
                "no admin key: send `authorization: Bearer KEY`; the key is in auth/admin-key of the data folder";
            return Err(Fault::new(Code::MissingCredentials, words));
        }
        if key.len() > KEY_BYTES_MAX || !self.authority.admin_key().matches(&SecretHash::of(key)) {
            let words = "this is not the admin key, which is in auth/admin-key of the data folder";
            return Err(Fault::new(Code::InvalidCredentials, words));
        }
        Ok(())
    }

    /// Makes a key; answers with it and its secret (empty for a certificate).
    ///
    /// # Errors
    /// A refusal, or the store's fault.
    pub async fn create_key(&self, tenant: &TenantId, key: NewKey, actor: Actor) -> Result<(Key, String), Fault> {
        self.known(tenant)?;
        self.check(tenant, &key)?;
        self.settle_tenant(tenant, actor.clone()).await?;
        let now = self.clock.now().wall;
        let id = make_key_id().map_err(|error| no_chance(&error))?;
        let (secret, hash) = match key.certificate {
            Some(_) => (String::new(), None),
            None => made(&id)?,
        };
        let key = Key {
            id,
            tenant: tenant.clone(),
            scopes: key.scopes,
            created_at: now,
            expires_at: key.ttl.map(|ttl| now + ttl),
            note: key.note,
            certificate: key.certificate,
            old_secret_until: None,
            fixed: false,
        };
        let kept = Kept { key, secret: hash, old_secret: None, version: 0 };
        let mut event = self.audit_event(tenant, actor, Action::KeyCreated, format!("key:{}", kept.key.id));
        let words: Vec<_> = kept.key.scopes.iter().map(|scope| scope.as_str()).collect();
        event.details.insert("scopes".to_owned(), words.join(" "));
        if let Some(at) = kept.key.expires_at {
            event.details.insert("expires_at_ms".to_owned(), at.as_millis().to_string());
        }
        if let Some(certificate) = &kept.key.certificate {
            event.details.insert("certificate_sha256".to_owned(), hex(certificate));
        }
        self.write_records(puts(&kept, Expected::Absent, true), event).await.map_err(|fault| match fault.code {
            // Nothing but a certificate can be there: ids are chance.
            Code::StaleVersion => taken(),
            _ => fault,
        })?;
        Ok((kept.key, secret))
    }

    fn check(&self, tenant: &TenantId, key: &NewKey) -> Result<(), Fault> {
        let refuse = |words: String| Err(Fault::new(Code::InvalidOption, words));
        if key.scopes.iter().next().is_none() {
            return refuse("scopes: a key that may do nothing is of no use; give push, manage or read".to_owned());
        }
        if key.note.len() > NOTE_BYTES_MAX {
            return refuse(format!("note: it has {} bytes; the limit is {NOTE_BYTES_MAX}", key.note.len()));
        }
        if key.ttl.is_some_and(|ttl| !(TTL_MIN..=TTL_MAX).contains(&ttl)) {
            let (least, most) = (TTL_MIN.as_secs(), TTL_MAX.as_secs());
            return refuse(format!("ttl_seconds: give {least} to {most}, or 0 for a key that does not expire"));
        }
        if key.certificate.is_some_and(|certificate| self.access.certificate(&certificate).is_some()) {
            return Err(taken());
        }
        if self.access.keys_of(tenant).len() >= KEYS_MAX {
            let words = format!("the tenant has {KEYS_MAX} API keys, which is the limit; remove one first");
            return Err(Fault::new(Code::TooManyRecords, words));
        }
        Ok(())
    }

    /// All keys of a tenant, by id; those of the configuration first.
    ///
    /// # Errors
    /// `tenant_not_found`.
    pub fn keys(&self, tenant: &TenantId) -> Result<Vec<Key>, Fault> {
        self.known(tenant)?;
        let now = self.clock.now().wall;
        let fixed = self.authority.fixed_keys().iter().filter(|fixed| fixed.tenant == *tenant).map(|fixed| Key {
            id: fixed.id.clone(),
            tenant: tenant.clone(),
            scopes: Scopes::ALL,
            created_at: Timestamp::ZERO,
            expires_at: None,
            note: String::new(),
            certificate: None,
            old_secret_until: None,
            fixed: true,
        });
        let kept = self.access.keys_of(tenant).into_iter().map(|kept| {
            let mut key = kept.key.clone();
            key.old_secret_until = key.old_secret_until.filter(|until| now < *until);
            key
        });
        Ok(fixed.chain(kept).collect())
    }

    /// Gives a key a new secret; the old one is good for `overlap`.
    ///
    /// # Errors
    /// `key_not_found`, `invalid_option` for one without a secret, `stale_version` when it was changed at the same time, or
    /// the store's fault.
    pub async fn rotate_key(
        &self,
        tenant: &TenantId,
        key: &KeyId,
        overlap: Duration,
        actor: Actor,
    ) -> Result<(Key, String), Fault> {
        self.known(tenant)?;
        self.refuse_fixed(tenant, key)?;
        let words = "overlap_seconds: the old secret can be good for 30 days more at most";
        if overlap > OVERLAP_MAX {
            return Err(Fault::new(Code::InvalidOption, words));
        }
        let Some(before) = self.access.key_of(tenant, key) else { return Err(not_found(key)) };
        if before.secret.is_none() {
            let words =
                "a certificate stands for this key: make another key for the new certificate, then remove this one";
            return Err(Fault::new(Code::InvalidOption, words));
        }
        let (secret, hash) = made(key)?;
        let mut kept = Kept::clone(&before);
        let until = (!overlap.is_zero()).then(|| self.clock.now().wall + overlap);
        (kept.secret, kept.old_secret) = (hash, before.secret.filter(|_| until.is_some()));
        kept.key.old_secret_until = until;
        let mut event = self.audit_event(tenant, actor, Action::KeyRotated, format!("key:{key}"));
        event.details.insert("overlap_seconds".to_owned(), overlap.as_secs().to_string());
        self.write_records(puts(&kept, Expected::Version(before.version), true), event).await?;
        Ok((kept.key, secret))
    }

    /// Removes a key; false when there was none.
    ///
    /// # Errors
    /// `key_not_found` for one of the configuration, or the store's fault.
    pub async fn remove_key(&self, tenant: &TenantId, key: &KeyId, actor: Actor) -> Result<bool, Fault> {
        self.known(tenant)?;
        self.refuse_fixed(tenant, key)?;
        let Some(before) = self.access.key_of(tenant, key) else { return Ok(false) };
        let event = self.audit_event(tenant, actor, Action::KeyRemoved, format!("key:{key}"));
        // Whatever has become of it meanwhile: it is to go.
        self.write_records(puts(&before, Expected::Any, false), event).await?;
        Ok(true)
    }

    fn refuse_fixed(&self, tenant: &TenantId, key: &KeyId) -> Result<(), Fault> {
        if self.authority.fixed_keys().iter().any(|fixed| fixed.tenant == *tenant && fixed.id == *key) {
            let words = format!("the key {key} stands in the configuration or the data folder; change it there");
            return Err(Fault::new(Code::KeyNotFound, words));
        }
        Ok(())
    }
}

/// What is written of a key that is there, or is not any more.
fn puts(kept: &Kept, expected: Expected, is_there: bool) -> Vec<Put> {
    let until = kept.key.expires_at.map(|at| at + EXPIRED_KEPT);
    let name = Kept::name(&kept.key.tenant, &kept.key.id);
    let value = is_there.then(|| kept.write());
    let mut puts = vec![Put { shelf: Shelf::Keys, name: name.clone(), value, expected, until }];
    if let Some(certificate) = &kept.key.certificate {
        let value = is_there.then(|| name.into());
        puts.push(Put { shelf: Shelf::Keys, name: Kept::certificate_name(certificate), value, expected, until });
    }
    puts
}

/// A new secret, and what is kept of it.
fn made(id: &KeyId) -> Result<(String, Option<SecretHash>), Fault> {
    let secret = make_key(id.as_str()).map_err(|error| no_chance(&error))?;
    let hash = SecretHash::of(&secret);
    Ok((secret, Some(hash)))
}

fn missing() -> Fault {
    Fault::new(Code::MissingCredentials, "no API key: send `authorization: Bearer KEY`")
}

fn refused(text: &str) -> Fault {
    // No key has a colon: whoever sends one took the tenant along, from the file or the option.
    let words = match text.contains(':') {
        true => "the API key is not one this gateway accepts; send only what stands behind the colon of TENANT:KEY",
        false => "the API key is not one this gateway accepts",
    };
    Fault::new(Code::InvalidCredentials, words)
}

fn not_found(key: &KeyId) -> Fault {
    Fault::new(Code::KeyNotFound, format!("the tenant has no key {key}"))
}

fn taken() -> Fault {
    let words = "certificate_sha256: the certificate stands for a key already; remove that key first";
    Fault::new(Code::InvalidOption, words)
}

fn no_chance(error: &io::Error) -> Fault {
    tracing::error!(%error, "the system gives no random bytes");
    Fault::new(Code::Internal, "the system gives no random bytes")
}

/// Keys of one tenant. A guess: a few for each of its services, and those that replace them.
pub(crate) const KEYS_MAX: usize = 100;
/// Longest note.
const NOTE_BYTES_MAX: usize = 256;
/// Shortest life of a key.
const TTL_MIN: Duration = Duration::from_secs(60);
/// Longest life of a key: ten years, which nobody means to wait for.
const TTL_MAX: Duration = Duration::from_secs(315_360_000);
/// Longest time that two secrets are good.
const OVERLAP_MAX: Duration = Duration::from_secs(30 * 86_400);
/// How long a key that has expired is still listed, and refused with words of its own.
const EXPIRED_KEPT: Duration = Duration::from_secs(30 * 86_400);
