//! Tenants as the operator makes and changes them.

use crate::model::audit::Actor;
use crate::model::fault::Fault;
use crate::model::id::TenantId;
use crate::model::tenant::{Limits, LoginWays, Tenant};
use crate::node::Node;
use crate::node::access::not_yet;

/// A tenant with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its name.
    pub name: TenantId,
    /// What is known of it.
    pub tenant: Tenant,
    /// Grows with each change; 0 for one without a record.
    pub version: u64,
    /// It stands in the configuration, or is the gateway's first, and has no record.
    pub implicit: bool,
}

impl Node {
    /// Makes a tenant.
    ///
    /// # Errors
    /// `tenant_exists`, another refusal, or the store's fault.
    pub async fn create_tenant(
        &self,
        _name: &TenantId,
        _limits: Limits,
        _login: LoginWays,
        _actor: Actor,
    ) -> Result<Named, Fault> {
        not_yet()
    }

    /// A tenant.
    ///
    /// # Errors
    /// `tenant_not_found`.
    pub fn tenant(&self, _name: &TenantId) -> Result<Named, Fault> {
        not_yet()
    }

    /// Tenants after a name, at most so many; and whether there are more.
    #[must_use]
    pub fn tenants(&self, _after: Option<&TenantId>, _most: usize) -> (Vec<Named>, bool) {
        (Vec::new(), false)
    }

    /// Changes limits and login ways, each as a whole, `None` to leave them. `version`: what it must have, 0 for any.
    ///
    /// # Errors
    /// `tenant_not_found`, `stale_version`, another refusal, or the store's fault.
    pub async fn update_tenant(
        &self,
        _name: &TenantId,
        _limits: Option<Limits>,
        _login: Option<LoginWays>,
        _version: u64,
        _actor: Actor,
    ) -> Result<Named, Fault> {
        not_yet()
    }

    /// Suspends a tenant, or lets it go on.
    ///
    /// # Errors
    /// `tenant_not_found`, or the store's fault.
    pub async fn suspend_tenant(&self, _name: &TenantId, _suspended: bool, _actor: Actor) -> Result<Named, Fault> {
        not_yet()
    }
}
