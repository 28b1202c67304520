//! The audit log: words of what is done, and reading them.

use std::collections::BTreeMap;

use crate::model::audit::{Action, Actor, Event};
use crate::model::fault::Fault;
use crate::model::id::TenantId;
use crate::node::{Node, fault};
use crate::store::{self, EVERYONE, Journal};

/// A piece of an audit log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Events with their positions, ascending.
    pub events: Vec<(u64, Event)>,
    /// Everything up to here was looked at.
    pub position: u64,
    /// The newest position.
    pub last: u64,
    /// Events that were wanted and are not kept any more.
    pub missed: u64,
}

impl Node {
    /// Events after a position, at most so many: of a tenant, or of all.
    ///
    /// # Errors
    /// The store's fault.
    pub async fn audit(&self, tenant: Option<&TenantId>, after: u64, most: usize) -> Result<Page, Fault> {
        let everyone = TenantId::new(EVERYONE).expect("it is a name");
        let read = self.store.journal(tenant.unwrap_or(&everyone), Journal::Audit, after, most);
        let found = read.await.map_err(fault)?;
        let events = found.events.into_iter().filter_map(|(position, event)| match event {
            store::Event::Audit(event) => Some((position, event)),
            store::Event::Receipt(_) | store::Event::Presence(_) | store::Event::HandOff(_) => None,
        });
        Ok(Page {
            events: events.collect(),
            position: after.min(found.last).max(found.looked),
            last: found.last,
            missed: found.first.saturating_sub(1).saturating_sub(after),
        })
    }

    /// The word of what is done now; details are the caller's, and hold no secret.
    pub(crate) fn audit_event(&self, tenant: &TenantId, actor: Actor, action: Action, object: String) -> Event {
        let (at, tenant) = (self.clock.now().wall, Some(tenant.clone()));
        Event { at, tenant, actor, action, object, details: BTreeMap::new() }
    }

    /// Adds to the audit log what goes with no record.
    ///
    /// # Errors
    /// The store's fault.
    pub async fn note_audit(&self, event: Event) -> Result<(), Fault> {
        self.write_records(Vec::new(), event).await.map(drop)
    }
}
