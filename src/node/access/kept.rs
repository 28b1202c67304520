//! API keys as they are kept: their records, and all of them by what a request may come with. It reads no clock.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::auth::{SecretHash, hex, unhex};
use crate::model::access::{Scope, Scopes};
use crate::model::clock::Timestamp;
use crate::model::id::{KeyId, TenantId};
use crate::node::access::keys::Key;
use crate::store::Record;

/// A key with what its secrets are compared with.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    /// The key.
    pub(crate) key: Key,
    /// Of its secret; `None` when a certificate stands for it.
    pub(crate) secret: Option<SecretHash>,
    /// Of the secret before the last rotation; good until [`Key::old_secret_until`].
    pub(crate) old_secret: Option<SecretHash>,
    /// The version of its record.
    pub(crate) version: u64,
}

/// The record's form.
#[derive(Serialize, Deserialize)]
struct Written {
    scopes: Vec<String>,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    #[serde(default)]
    note: String,
    /// As hexadecimal digits.
    certificate: Option<String>,
    secret: Option<SecretHash>,
    old_secret: Option<SecretHash>,
    old_secret_until: Option<Timestamp>,
}

impl Kept {
    /// The name of a key's record.
    pub(crate) fn name(tenant: &TenantId, id: &KeyId) -> String {
        format!("{tenant}/{id}")
    }

    /// The name of the record that keeps a certificate from standing for two keys. No tenant's key has such a name.
    pub(crate) fn certificate_name(certificate: &[u8; 32]) -> String {
        format!("{CERTIFICATES}/{}", hex(certificate))
    }

    /// Reads the name of a record; `None` for one of [`Kept::certificate_name`].
    pub(crate) fn name_of(name: &str) -> Result<Option<(TenantId, KeyId)>, ()> {
        let (tenant, id) = name.split_once('/').ok_or(())?;
        if tenant == CERTIFICATES {
            return Ok(None);
        }
        Ok(Some((TenantId::new(tenant).map_err(|_| ())?, KeyId::new(id).map_err(|_| ())?)))
    }

    /// Reads a record.
    pub(crate) fn read(tenant: &TenantId, id: &KeyId, record: &Record) -> Option<Self> {
        let written: Written = serde_json::from_slice(&record.value).ok()?;
        let scopes: Option<Vec<_>> = written.scopes.iter().map(|word| Scope::parse(word)).collect();
        let certificate = match written.certificate {
            Some(text) => Some(unhex(&text)?),
            None => None,
        };
        let key = Key {
            id: id.clone(),
            tenant: tenant.clone(),
            scopes: Scopes::of(scopes?),
            created_at: written.created_at,
            expires_at: written.expires_at,
            note: written.note,
            certificate,
            old_secret_until: written.old_secret_until,
            fixed: false,
        };
        Some(Self { key, secret: written.secret, old_secret: written.old_secret, version: record.version })
    }

    /// Its record.
    pub(crate) fn write(&self) -> Bytes {
        let key = &self.key;
        let written = Written {
            scopes: key.scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
            created_at: key.created_at,
            expires_at: key.expires_at,
            note: key.note.clone(),
            certificate: key.certificate.as_ref().map(hex),
            secret: self.secret,
            old_secret: self.old_secret,
            old_secret_until: key.old_secret_until,
        };
        serde_json::to_vec(&written).expect("strings, numbers and lists are always JSON").into()
    }

    /// Whether a secret with this hash is good for it now. Both are compared whatever comes out.
    pub(crate) fn takes(&self, hash: &SecretHash, now: Timestamp) -> bool {
        let matches = |known: &Option<SecretHash>| known.as_ref().is_some_and(|known| known.matches(hash));
        let is_old = matches(&self.old_secret);
        let overlaps = self.key.old_secret_until.is_some_and(|until| now < until);
        matches(&self.secret) || (is_old && overlaps)
    }

    /// Whether its time is over.
    pub(crate) fn is_expired(&self, now: Timestamp) -> bool {
        self.key.expires_at.is_some_and(|expires_at| expires_at <= now)
    }
}

/// All keys that have a record.
#[derive(Debug, Default)]
pub(crate) struct Book {
    /// By tenant; none is empty.
    by_tenant: HashMap<TenantId, BTreeMap<KeyId, Arc<Kept>>>,
    by_id: HashMap<KeyId, Arc<Kept>>,
    by_certificate: HashMap<[u8; 32], Arc<Kept>>,
}

impl Book {
    /// Takes a key in, or out.
    pub(crate) fn set(&mut self, tenant: &TenantId, id: &KeyId, kept: Option<Arc<Kept>>) {
        let keys = self.by_tenant.entry(tenant.clone()).or_default();
        let before = match &kept {
            Some(kept) => keys.insert(id.clone(), Arc::clone(kept)),
            None => keys.remove(id),
        };
        if keys.is_empty() {
            self.by_tenant.remove(tenant);
        }
        if let Some(before) = before {
            self.by_id.remove(id);
            before.key.certificate.and_then(|certificate| self.by_certificate.remove(&certificate));
        }
        if let Some(kept) = kept {
            kept.key.certificate.and_then(|certificate| self.by_certificate.insert(certificate, Arc::clone(&kept)));
            self.by_id.insert(id.clone(), kept);
        }
    }

    /// The key with this id.
    pub(crate) fn by_id(&self, id: &str) -> Option<Arc<Kept>> {
        self.by_id.get(&KeyId::new(id).ok()?).cloned()
    }

    /// The key that this certificate stands for.
    pub(crate) fn by_certificate(&self, certificate: &[u8; 32]) -> Option<Arc<Kept>> {
        self.by_certificate.get(certificate).cloned()
    }

    /// The keys of a tenant, by id.
    pub(crate) fn of(&self, tenant: &TenantId) -> Vec<Arc<Kept>> {
        self.by_tenant.get(tenant).map(|keys| keys.values().cloned().collect()).unwrap_or_default()
    }
}

/// Stands where the tenant's name would: tenants' names do not begin with an underscore.
const CERTIFICATES: &str = "_certificates";

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::{Book, Kept};
    use crate::auth::SecretHash;
    use crate::model::access::{Scope, Scopes};
    use crate::model::clock::Timestamp;
    use crate::model::id::{KeyId, TenantId};
    use crate::node::access::keys::Key;
    use crate::store::Record;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn kept(tenant: &str, id: &str, certificate: Option<[u8; 32]>) -> Kept {
        let key = Key {
            id: KeyId::new(id).expect("a name"),
            tenant: TenantId::new(tenant).expect("a name"),
            scopes: Scopes::of([Scope::Push, Scope::Read]),
            created_at: NOW,
            expires_at: Some(NOW + Duration::from_secs(60)),
            note: "the shop's".to_owned(),
            certificate,
            old_secret_until: Some(NOW + Duration::from_secs(30)),
            fixed: false,
        };
        let (secret, old_secret) = (Some(SecretHash::of("new")), Some(SecretHash::of("old")));
        Kept { key, secret, old_secret, version: 3 }
    }

    #[test]
    fn a_record_holds_all_of_a_key_and_no_secret() {
        for certificate in [None, Some([7; 32])] {
            let kept = kept("urn:shop", "k1", certificate);
            let record = Record { value: kept.write(), version: 3, until: None };
            let name = Kept::name(&kept.key.tenant, &kept.key.id);
            let (tenant, id) = Kept::name_of(&name).expect("a name").expect("a key");
            let read = Kept::read(&tenant, &id, &record).expect("a key");
            assert_eq!((&read.key, read.version), (&kept.key, 3));
            assert!(read.takes(&SecretHash::of("new"), NOW) && read.takes(&SecretHash::of("old"), NOW));
        }
        assert_eq!(Kept::name_of(&Kept::certificate_name(&[7; 32])), Ok(None));
        assert_eq!(Kept::name_of("shop"), Err(()));
    }

    #[test]
    fn the_old_secret_is_good_for_the_overlap_only() {
        let kept = kept("shop", "k1", None);
        let takes = |secret: &str, seconds| kept.takes(&SecretHash::of(secret), NOW + Duration::from_secs(seconds));
        assert_eq!(
            (takes("old", 29), takes("old", 30), takes("new", 30), takes("else", 0)),
            (true, false, true, false)
        );
        let is_expired = |seconds| kept.is_expired(NOW + Duration::from_secs(seconds));
        assert_eq!((is_expired(59), is_expired(60)), (false, true));
    }

    #[test]
    fn keys_are_found_by_all_that_names_them_until_they_are_gone() {
        let mut book = Book::default();
        let (one, two) = (kept("shop", "k1", Some([1; 32])), kept("shop", "k2", None));
        let other = kept("shopper", "k3", None);
        for kept in [&two, &one, &other] {
            book.set(&kept.key.tenant, &kept.key.id, Some(Arc::new(kept.clone())));
        }
        let ids = |book: &Book| {
            let keys = book.of(&one.key.tenant);
            keys.iter().map(|kept| kept.key.id.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(ids(&book), ["k1", "k2"]);
        assert!(book.by_id("k3").is_some() && book.by_id("k4").is_none() && book.by_id("a/b").is_none());
        assert_eq!(book.by_certificate(&[1; 32]).map(|kept| kept.key.clone()), Some(one.key.clone()));
        let changed = kept("shop", "k1", Some([2; 32]));
        book.set(&changed.key.tenant, &changed.key.id, Some(Arc::new(changed.clone())));
        assert!(book.by_certificate(&[1; 32]).is_none() && book.by_certificate(&[2; 32]).is_some());
        book.set(&one.key.tenant, &one.key.id, None);
        book.set(&one.key.tenant, &one.key.id, None);
        assert!(book.by_certificate(&[2; 32]).is_none() && book.by_id("k1").is_none());
        assert_eq!(ids(&book), ["k2"]);
    }
}
