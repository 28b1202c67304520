//! Reading the audit log.

use crate::model::audit::Event;
use crate::model::fault::Fault;
use crate::model::id::TenantId;
use crate::node::Node;
use crate::node::access::not_yet;

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
    pub async fn audit(&self, _tenant: Option<&TenantId>, _after: u64, _most: usize) -> Result<Page, Fault> {
        not_yet()
    }
}
