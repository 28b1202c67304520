//! Which node a device is assigned to, and what the operator says of nodes.

use std::sync::Arc;

use crate::model::audit::Actor;
use crate::model::fault::Fault;
use crate::model::id::{NodeName, Receiver};
use crate::node::Node;
use crate::node::access::not_yet;

/// A node of this deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub name: NodeName,
    /// `host:port` that devices are given.
    pub address: String,
    /// Its share of the users, beside those of the others.
    pub weight: u32,
    /// What rules may ask for.
    pub tags: Vec<String>,
    /// Logins go elsewhere.
    pub draining: bool,
    /// It is this one.
    pub own: bool,
}

impl Node {
    /// All nodes, as they stand now.
    #[must_use]
    pub fn peers(&self) -> Vec<Peer> {
        Vec::new()
    }

    /// Changes a node; `None` leaves a value as it is.
    ///
    /// # Errors
    /// `node_not_found`, `invalid_option`, or the store's fault.
    pub async fn set_peer(
        &self,
        _name: &NodeName,
        _weight: Option<u32>,
        _draining: Option<bool>,
        _actor: Actor,
    ) -> Result<Peer, Fault> {
        not_yet()
    }

    /// Addresses of the nodes that a device is assigned to, best first, and the rule that chose among which. Empty when no
    /// nodes are configured: it stays where it is.
    pub async fn assignment(&self, _receiver: &Receiver) -> Result<(Arc<[String]>, Option<String>), Fault> {
        Ok((Arc::default(), None))
    }
}
