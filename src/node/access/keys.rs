//! API keys: several for each tenant, with scopes, hashed at rest, rotated with overlap.

use std::time::Duration;

use crate::model::access::{Caller, Scopes};
use crate::model::audit::Actor;
use crate::model::clock::Timestamp;
use crate::model::fault::Fault;
use crate::model::id::{KeyId, TenantId};
use crate::node::Node;
use crate::node::access::{Credential, not_yet};

/// A key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its id.
    pub id: KeyId,
    /// Whose it is.
    pub tenant: TenantId,
    /// What it may do.
    pub scopes: Scopes,
    /// When it was made.
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
        let _ = credential;
        not_yet()
    }

    /// Whether this is the admin key.
    ///
    /// # Errors
    /// `missing_credentials` or `invalid_credentials`.
    pub fn check_admin(&self, _key: &str) -> Result<(), Fault> {
        not_yet()
    }

    /// Makes a key; answers with it and its secret (empty for a certificate).
    ///
    /// # Errors
    /// A refusal, or the store's fault.
    pub async fn create_key(&self, _tenant: &TenantId, _key: NewKey, _actor: Actor) -> Result<(Key, String), Fault> {
        not_yet()
    }

    /// All keys of a tenant, by id; those of the configuration first.
    ///
    /// # Errors
    /// `tenant_not_found`.
    pub fn keys(&self, _tenant: &TenantId) -> Result<Vec<Key>, Fault> {
        not_yet()
    }

    /// Gives a key a new secret; the old one is good for `overlap`.
    ///
    /// # Errors
    /// `key_not_found`, or the store's fault.
    pub async fn rotate_key(
        &self,
        _tenant: &TenantId,
        _key: &KeyId,
        _overlap: Duration,
        _actor: Actor,
    ) -> Result<(Key, String), Fault> {
        not_yet()
    }

    /// Removes a key; false when there was none.
    ///
    /// # Errors
    /// `key_not_found` for one of the configuration, or the store's fault.
    pub async fn remove_key(&self, _tenant: &TenantId, _key: &KeyId, _actor: Actor) -> Result<bool, Fault> {
        not_yet()
    }
}
