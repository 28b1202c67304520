//! Whom a node is sought for.

use std::collections::BTreeMap;

use crate::model::id::{TenantId, UserId};

/// Whom a node is sought for.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Whose user it is.
    pub tenant: &'a TenantId,
    /// The user; all its devices are drawn together.
    pub user: &'a UserId,
    /// What is known of the device that asks.
    pub attributes: &'a BTreeMap<String, String>,
}
