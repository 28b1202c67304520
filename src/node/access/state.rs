//! What is asked at every request, in memory: tenants and keys. It follows the records of the store, and writes none.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::model::clock::Timestamp;
use crate::model::id::{KeyId, TenantId};
use crate::model::tenant::Tenant;
use crate::node::access::kept::{Book, Kept};
use crate::store::{self, Recorded, Shelf, Store, TenantLimits};

/// A tenant as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// What is known of it, secrets and all.
    pub(crate) tenant: Tenant,
    /// The version of its record; 0 when it has none.
    pub(crate) version: u64,
}

/// The state. It is behind short locks; readers clone what they want to keep.
#[derive(Debug)]
pub(crate) struct Access {
    /// Tenants that are there without a record; never changed.
    implicit: BTreeSet<TenantId>,
    /// All tenants, with those that are implicit.
    tenants: RwLock<BTreeMap<TenantId, Arc<Known>>>,
    /// API keys that have a record.
    keys: RwLock<Book>,
    /// Held by who tells the store what a tenant may take.
    limiting: Mutex<()>,
}

impl Access {
    /// With these tenants, which need no record.
    pub(crate) fn new(implicit: impl IntoIterator<Item = TenantId>) -> Self {
        let implicit: BTreeSet<_> = implicit.into_iter().collect();
        let tenants = implicit.iter().map(|name| (name.clone(), Arc::clone(&NOTHING_SET))).collect();
        Self { implicit, tenants: RwLock::new(tenants), keys: RwLock::default(), limiting: Mutex::default() }
    }

    /// Reads what the store has. To be called once, before anybody is let in.
    pub(crate) async fn load(&self, store: &dyn Store, now: Timestamp) -> Result<(), store::Error> {
        for shelf in [Shelf::Tenants, Shelf::Keys] {
            let mut after: Option<String> = None;
            loop {
                let page = store.records(shelf, "", after.as_deref(), PAGE, now).await?;
                let full = page.len() >= PAGE;
                after = page.last().map(|(name, _)| name.clone());
                for (name, record) in page {
                    self.apply(Recorded { shelf, name, record: Some(record) }).map_err(store::Error::Failed)?;
                }
                if !full {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Records were changed. Called where the store writes: it does not block.
    pub(crate) fn recorded(&self, records: Vec<Recorded>) {
        for record in records {
            if let Err(why) = self.apply(record) {
                tracing::error!(%why, "a record cannot be read; what was known before stays in force");
            }
        }
    }

    fn apply(&self, recorded: Recorded) -> Result<(), String> {
        let Recorded { shelf, name, record } = recorded;
        let damaged = |shelf: Shelf| format!("the record {name} of {shelf:?} cannot be read");
        match shelf {
            Shelf::Tenants => {
                let tenant = TenantId::new(&name).map_err(|_| damaged(shelf))?;
                let known = match record {
                    Some(record) => {
                        let tenant = serde_json::from_slice(&record.value).map_err(|_| damaged(shelf))?;
                        Some(Arc::new(Known { tenant, version: record.version }))
                    }
                    None => self.implicit.contains(&tenant).then(|| Arc::clone(&NOTHING_SET)),
                };
                match known {
                    Some(known) => drop(self.write_tenants().insert(tenant, known)),
                    None => drop(self.write_tenants().remove(&tenant)),
                }
            }
            Shelf::Keys => {
                // What keeps certificates unique is no key.
                let Some((tenant, id)) = Kept::name_of(&name).map_err(|_| damaged(shelf))? else { return Ok(()) };
                let kept = record.map(|record| Kept::read(&tenant, &id, &record).ok_or_else(|| damaged(shelf)));
                self.write_keys().set(&tenant, &id, kept.transpose()?.map(Arc::new));
            }
            Shelf::Revocations
            | Shelf::Shares
            | Shelf::DeviceKeys
            | Shelf::Enrolments
            | Shelf::Challenges
            | Shelf::Nodes => {}
        }
        Ok(())
    }

    /// A tenant; `None` when there is no such.
    pub(crate) fn tenant(&self, name: &TenantId) -> Option<Arc<Known>> {
        self.read_tenants().get(name).cloned()
    }

    /// What is in force for a tenant: what the gateway's own options say when there is no such.
    pub(crate) fn rules(&self, name: &TenantId) -> Arc<Known> {
        self.tenant(name).unwrap_or_else(|| Arc::clone(&NOTHING_SET))
    }

    /// Whether its keys and tokens are refused.
    pub(crate) fn is_suspended(&self, name: &TenantId) -> bool {
        self.read_tenants().get(name).is_some_and(|known| known.tenant.suspended)
    }

    /// Tenants after a name, by name, at most so many.
    pub(crate) fn tenants(&self, after: Option<&TenantId>, most: usize) -> Vec<(TenantId, Arc<Known>)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let tenants = self.read_tenants();
        let page = tenants.range::<TenantId, _>((from, Bound::Unbounded)).take(most);
        page.map(|(name, known)| (name.clone(), Arc::clone(known))).collect()
    }

    /// How many there are.
    pub(crate) fn tenant_count(&self) -> usize {
        self.read_tenants().len()
    }

    /// The key with this id, of whatever tenant.
    pub(crate) fn key(&self, id: &str) -> Option<Arc<Kept>> {
        self.read_keys().by_id(id)
    }

    /// The key that this client certificate stands for.
    pub(crate) fn certificate(&self, certificate: &[u8; 32]) -> Option<Arc<Kept>> {
        self.read_keys().by_certificate(certificate)
    }

    /// A key of a tenant.
    pub(crate) fn key_of(&self, tenant: &TenantId, id: &KeyId) -> Option<Arc<Kept>> {
        self.read_keys().by_id(id.as_str()).filter(|kept| kept.key.tenant == *tenant)
    }

    /// The keys of a tenant that have a record, by id.
    pub(crate) fn keys_of(&self, tenant: &TenantId) -> Vec<Arc<Kept>> {
        self.read_keys().of(tenant)
    }

    /// Tells the store what a tenant may take. What was told last is what is known now, whatever the order of those who
    /// changed it.
    pub(crate) fn limit(&self, store: &dyn Store, name: &TenantId) {
        let _one_after_another = self.limiting.lock().unwrap_or_else(PoisonError::into_inner);
        let limits = &self.rules(name).tenant.limits;
        let limits = TenantLimits {
            inbox_entries_max: limits.inbox_entries,
            topic_entries_max: limits.topic_entries,
            devices_per_user_max: limits.devices_per_user,
            subscriptions_per_device_max: limits.subscriptions_per_device,
            topics_max: limits.topics,
            stored_bytes_max: limits.stored_bytes,
        };
        store.limit(name, limits);
    }

    fn read_tenants(&self) -> RwLockReadGuard<'_, BTreeMap<TenantId, Arc<Known>>> {
        self.tenants.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_tenants(&self) -> RwLockWriteGuard<'_, BTreeMap<TenantId, Arc<Known>>> {
        self.tenants.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_keys(&self) -> RwLockReadGuard<'_, Book> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_keys(&self) -> RwLockWriteGuard<'_, Book> {
        self.keys.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A tenant of which nothing was said: the gateway's own options hold.
static NOTHING_SET: LazyLock<Arc<Known>> = LazyLock::new(Arc::default);

/// Records that are read at a time. A guess: some hundred KiB.
const PAGE: usize = 1_000;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::Access;
    use crate::model::id::TenantId;
    use crate::model::tenant::{Limits, Tenant};
    use crate::store::{Record, Recorded, Shelf};

    fn name(name: &str) -> TenantId {
        TenantId::new(name).expect("a name")
    }

    fn recorded(name: &str, version: u64, tenant: Option<&Tenant>) -> Recorded {
        let value = |tenant| Bytes::from(serde_json::to_vec(tenant).expect("JSON"));
        let record = tenant.map(|tenant| Record { value: value(tenant), version, until: None });
        Recorded { shelf: Shelf::Tenants, name: name.to_owned(), record }
    }

    fn names(state: &Access, after: Option<&str>, most: usize) -> Vec<String> {
        let page = state.tenants(after.map(name).as_ref(), most);
        page.into_iter().map(|(name, _)| name.to_string()).collect()
    }

    #[test]
    fn tenants_come_change_and_go_with_their_records() {
        let state = Access::new([name("default"), name("shop")]);
        assert_eq!(
            (names(&state, None, 9), state.tenant(&name("bank"))),
            (vec!["default".into(), "shop".into()], None)
        );
        let limits = Limits { topics: Some(3), ..Limits::default() };
        let bank = Tenant { limits, ..Tenant::default() };
        let suspended = Tenant { suspended: true, ..bank.clone() };
        state.recorded(vec![recorded("bank", 1, Some(&bank)), recorded("shop", 1, Some(&suspended))]);
        let known = state.tenant(&name("bank")).expect("it was made");
        assert_eq!((&known.tenant, known.version), (&bank, 1));
        assert!(state.is_suspended(&name("shop")) && !state.is_suspended(&name("bank")));
        assert_eq!(names(&state, None, 2), ["bank", "default"]);
        assert_eq!(names(&state, Some("bank"), 9), ["default", "shop"]);
        assert_eq!(names(&state, Some("c"), 1), ["default"]);
        state.recorded(vec![recorded("bank", 2, Some(&suspended)), recorded("shop", 0, None)]);
        assert!(state.is_suspended(&name("bank")));
        assert_eq!(state.tenant(&name("shop")).map(|known| known.version), Some(0), "it needs no record");
        state.recorded(vec![recorded("bank", 0, None)]);
        assert_eq!((names(&state, None, 9), state.tenant_count()), (vec!["default".into(), "shop".into()], 2));
        assert_eq!(state.rules(&name("bank")).tenant, Tenant::default());
    }

    #[test]
    fn a_record_that_cannot_be_read_changes_nothing() {
        let state = Access::new([name("shop")]);
        let suspended = Tenant { suspended: true, ..Tenant::default() };
        state.recorded(vec![recorded("shop", 1, Some(&suspended))]);
        let garbage = Record { value: Bytes::from_static(b"{"), version: 2, until: None };
        for shelf in [Shelf::Tenants, Shelf::Keys] {
            let name = if shelf == Shelf::Keys { "shop/k" } else { "shop" };
            state.recorded(vec![Recorded { shelf, name: name.to_owned(), record: Some(garbage.clone()) }]);
        }
        assert!(state.is_suspended(&name("shop")));
        assert!(state.key("k").is_none());
    }
}
