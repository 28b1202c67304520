//! What holds for sessions that are open: when a record says that a token is good no more, it ends them. It hears of records
//! as the store writes them, also of those that another node wrote.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::clock::Timestamp;
use crate::model::id::TenantId;
use crate::model::tenant::Tenant;
use crate::node::access::revocations::Revocations;
use crate::node::access::shares::Shares;
use crate::node::access::tokens::Which;
use crate::node::hub::Hub;
use crate::store::{self, Recorded, Shelf, Store};

/// Revocations and shares, and the sessions that they end.
pub(crate) struct Live {
    hub: Arc<Hub>,
    pub(crate) revocations: Revocations,
    pub(crate) shares: Shares,
    /// Who waits to hear how many sessions a record has ended.
    awaited: Mutex<Vec<Arc<Awaited>>>,
}

#[derive(Debug)]
struct Awaited {
    shelf: Shelf,
    name: String,
    ended: AtomicU32,
}

/// Waits for a record, and counts the sessions that were told to end because of it.
pub(crate) struct Count<'a> {
    live: &'a Live,
    awaited: Arc<Awaited>,
}

impl Count<'_> {
    /// How many, once the record is written.
    pub(crate) fn ended(&self) -> u32 {
        self.awaited.ended.load(Ordering::Relaxed)
    }
}

impl Drop for Count<'_> {
    fn drop(&mut self) {
        self.live.awaited().retain(|awaited| !Arc::ptr_eq(awaited, &self.awaited));
    }
}

impl Live {
    pub(crate) fn new(hub: Arc<Hub>) -> Self {
        Self { hub, revocations: Revocations::default(), shares: Shares::default(), awaited: Mutex::default() }
    }

    /// Reads what the store has. To be called once, before anybody is let in.
    pub(crate) async fn load(&self, store: &dyn Store, now: Timestamp) -> Result<(), store::Error> {
        for shelf in [Shelf::Revocations, Shelf::Shares] {
            let mut after: Option<String> = None;
            loop {
                let page = store.records(shelf, "", after.as_deref(), PAGE, now).await?;
                let full = page.len() >= PAGE;
                after = page.last().map(|(name, _)| name.clone());
                for (name, record) in page {
                    let recorded = Recorded { shelf, name, record: Some(record) };
                    self.apply(&recorded).map_err(store::Error::Failed)?;
                }
                if !full {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Records were changed, and what else knows of them knows it. Called where the store writes: it does not block.
    pub(crate) fn recorded(&self, records: &[Recorded]) {
        for record in records {
            match self.apply(record) {
                Ok(0) => {}
                Ok(ended) => {
                    tracing::info!(shelf = ?record.shelf, ended, "sessions end: what let them in was taken back");
                    let awaited = self.awaited();
                    let of_it = awaited.iter().filter(|wait| wait.shelf == record.shelf && wait.name == record.name);
                    for wait in of_it {
                        wait.ended.fetch_add(ended, Ordering::Relaxed);
                    }
                }
                Err(why) => tracing::error!(%why, "a record cannot be read; what was known before stays in force"),
            }
        }
    }

    /// Gives how many sessions were told to end.
    fn apply(&self, recorded: &Recorded) -> Result<u32, String> {
        let Recorded { shelf, name, record } = recorded;
        let record = record.as_ref();
        let damaged = || format!("the record {name} of {shelf:?} cannot be read");
        // What a device asks before it is let in knows of it first, then those who were let in are looked at: whoever comes
        // in between is found by the one or the other.
        match shelf {
            Shelf::Revocations => {
                let revoked = self.revocations.recorded(name, record).map_err(|()| damaged())?;
                Ok(revoked.map_or(0, |(tenant, which, at)| self.hub.revoke(&tenant, &which, at)))
            }
            Shelf::Shares => {
                let ended = self.shares.recorded(name, record).map_err(|()| damaged())?;
                Ok(ended.map_or(0, |(tenant, viewers)| self.hub.revoke(&tenant, &Which::User(viewers), LAST)))
            }
            Shelf::Tenants => {
                let Some(record) = record else { return Ok(0) };
                let known: Tenant = serde_json::from_slice(&record.value).map_err(|_| damaged())?;
                let tenant = TenantId::new(name).map_err(|_| damaged())?;
                Ok(if known.suspended { self.hub.revoke(&tenant, &Which::All, LAST) } else { 0 })
            }
            Shelf::Keys | Shelf::DeviceKeys | Shelf::Enrolments | Shelf::Challenges | Shelf::Nodes => Ok(0),
        }
    }

    /// Counts the sessions that a record ends that is written next. To be asked before it is written.
    pub(crate) fn count(&self, shelf: Shelf, name: String) -> Count<'_> {
        let awaited = Arc::new(Awaited { shelf, name, ended: AtomicU32::new(0) });
        self.awaited().push(Arc::clone(&awaited));
        Count { live: self, awaited }
    }

    fn awaited(&self) -> MutexGuard<'_, Vec<Arc<Awaited>>> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whenever the token was issued.
const LAST: Timestamp = Timestamp::from_millis(u64::MAX);

/// Records that are read at a time. A guess: some hundred KiB.
const PAGE: usize = 1_000;

#[cfg(test)]
mod tests;
