//! Who may: tenants, API keys, access tokens, shares, logins, nodes. What must last is in records of the store; what is asked
//! at every request is in memory (`state`), brought up to date by the store's listener before a change is answered.

pub mod audit;
mod changes;
pub mod checks;
pub mod device_keys;
mod kept;
pub mod keys;
pub(crate) mod live;
pub mod login;
pub mod nodes;
mod pass;
mod revocations;
pub(crate) mod roster;
pub mod shares;
pub(crate) mod state;
pub mod tenants;
pub mod tokens;
mod ways;

#[cfg(test)]
mod tests;

use crate::model::audit::Event;
use crate::model::fault::Fault;
use crate::model::tenant::Limits;
use crate::node::{Node, fault};
use crate::store::{self, Put};

/// What a request of a backend came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential<'a> {
    /// Nothing.
    None,
    /// An API key.
    Key(&'a str),
    /// The SHA-256 of the client certificate that the connection was opened with.
    Certificate(&'a [u8; 32]),
}

impl Node {
    /// Reads what must last, and tells the store what tenants may take. To be called once, before anybody is let in: until
    /// then nobody is suspended and only fixed keys are known.
    ///
    /// # Errors
    /// The store's, or a record cannot be read.
    pub async fn load(&self) -> Result<(), store::Error> {
        let now = self.clock.now().wall;
        self.access.load(&*self.store, now).await?;
        self.live.load(&*self.store, now).await?;
        let limited = self.access.tenants(None, usize::MAX).into_iter();
        let limited = limited.filter(|(_, known)| known.tenant.limits != Limits::default());
        limited.for_each(|(name, _)| self.access.limit(&*self.store, &name));
        Ok(())
    }

    /// Writes records, all of them or none, and to the audit log that they were written. Answers with their versions when
    /// they are on disk and in memory.
    ///
    /// # Errors
    /// `stale_version` when one is not as it was expected, or the store's fault.
    pub(crate) async fn write_records(&self, puts: Vec<Put>, event: Event) -> Result<Vec<u64>, Fault> {
        self.store.write(puts, vec![event]).await.map_err(fault)
    }
}
