//! An operator's connection to a gateway, and the methods of `pushline.v1.Admin`: tenants, their keys, nodes, the audit
//! log of all. It retries nothing.

use std::time::Duration;

use tonic::transport::Channel;

use crate::client::backend::access::seconds;
use crate::client::backend::error::Error;
use crate::client::backend::line::{ANSWER_BYTES_MAX, Identity, Line, answered};
use crate::model::id::{DeviceId, KeyId, NodeName, TenantId, UserId};
use crate::wire::pb;
use crate::wire::pb::admin_client::AdminClient;

/// An operator's connection to the admin listener of a gateway. Cheap to clone; clones share the connection, which is made
/// anew when it is lost.
#[derive(Clone, Debug)]
pub struct Admin {
    client: AdminClient<Channel>,
    line: Line,
}

impl Admin {
    /// Connects to `http://host:port` or `https://host:port` with the gateway's admin key. `roots` are certificates (PEM)
    /// to trust instead of the system's.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Untrusted`] or [`Error::Unreachable`].
    pub async fn connect(url: &str, key: &str, roots: Option<&[u8]>) -> Result<Self, Error> {
        let line = Line::connect(url, &Identity::Key(key.to_owned()), roots).await?;
        let client = AdminClient::new(line.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX);
        Ok(Self { client, line })
    }

    /// Makes a tenant.
    ///
    /// # Errors
    /// [`Error::Refused`] (`tenant_exists` when there is one), [`Error::Unanswered`].
    pub async fn create_tenant(&self, request: pb::CreateTenantRequest) -> Result<pb::Tenant, Error> {
        answered(self.client.clone().create_tenant(self.line.request(request)).await)
    }

    /// A tenant.
    ///
    /// # Errors
    /// [`Error::Refused`] (`tenant_not_found` when there is none), [`Error::Unanswered`].
    pub async fn tenant(&self, name: &TenantId) -> Result<pb::Tenant, Error> {
        let request = self.line.request(pb::GetTenantRequest { name: name.to_string() });
        answered(self.client.clone().get_tenant(request).await)
    }

    /// Tenants by name, after `after` (which the answer's `next` gives; empty for the first), at most `limit` (0: 100).
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Unanswered`].
    pub async fn tenants(&self, after: &str, limit: u32) -> Result<pb::ListTenantsResponse, Error> {
        let request = self.line.request(pb::ListTenantsRequest { after: after.to_owned(), limit });
        answered(self.client.clone().list_tenants(request).await)
    }

    /// Replaces limits or login ways of a tenant, each as a whole. With the version that was read, nobody's change is
    /// overwritten.
    ///
    /// # Errors
    /// [`Error::Refused`] (`stale_version` when it was changed meanwhile), [`Error::Unanswered`].
    pub async fn update_tenant(&self, request: pb::UpdateTenantRequest) -> Result<pb::Tenant, Error> {
        answered(self.client.clone().update_tenant(self.line.request(request)).await)
    }

    /// Suspends a tenant, or lets it go on.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Unanswered`].
    pub async fn suspend_tenant(&self, name: &TenantId, suspended: bool) -> Result<pb::Tenant, Error> {
        let request = self.line.request(pb::SuspendTenantRequest { name: name.to_string(), suspended });
        answered(self.client.clone().suspend_tenant(request).await)
    }

    /// Takes back all tokens of a tenant that were issued before now. Gives how many sessions of that node were told to
    /// end.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Unanswered`].
    pub async fn revoke_tenant(&self, name: &TenantId) -> Result<u32, Error> {
        let request = self.line.request(pb::RevokeTenantRequest { name: name.to_string() });
        answered(self.client.clone().revoke_tenant(request).await).map(|answer| answer.sessions)
    }

    /// Makes an API key. The answer has its secret, this once.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Unanswered`].
    pub async fn create_key(&self, request: pb::CreateKeyRequest) -> Result<pb::CreateKeyResponse, Error> {
        answered(self.client.clone().create_key(self.line.request(request)).await)
    }

    /// All API keys of a tenant, without their secrets.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Unanswered`].
    pub async fn keys(&self, tenant: &TenantId) -> Result<Vec<pb::Key>, Error> {
        let request = self.line.request(pb::ListKeysRequest { tenant: tenant.to_string() });
        answered(self.client.clone().list_keys(request).await).map(|answer| answer.keys)
    }

    /// Gives an API key a new secret. The old one is good for `overlap`; `None`: one day.
    ///
    /// # Errors
    /// [`Error::Refused`] (`key_not_found` when there is none), [`Error::Unanswered`].
    pub async fn rotate_key(
        &self,
        tenant: &TenantId,
        id: &KeyId,
        overlap: Option<Duration>,
    ) -> Result<pb::CreateKeyResponse, Error> {
        let overlap_seconds = overlap.map(seconds);
        let request = pb::RotateKeyRequest { tenant: tenant.to_string(), id: id.to_string(), overlap_seconds };
        answered(self.client.clone().rotate_key(self.line.request(request)).await)
    }

    /// Removes an API key; false when there was none.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Unanswered`].
    pub async fn remove_key(&self, tenant: &TenantId, id: &KeyId) -> Result<bool, Error> {
        let request = self.line.request(pb::RemoveKeyRequest { tenant: tenant.to_string(), id: id.to_string() });
        answered(self.client.clone().remove_key(request).await).map(|answer| answer.removed)
    }

    /// All nodes.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Unanswered`].
    pub async fn nodes(&self) -> Result<Vec<pb::Node>, Error> {
        let request = self.line.request(pb::ListNodesRequest {});
        answered(self.client.clone().list_nodes(request).await).map(|answer| answer.nodes)
    }

    /// Changes a node; what is `None` stays as it is.
    ///
    /// # Errors
    /// [`Error::Refused`] (`node_not_found` when there is none), [`Error::Unanswered`].
    pub async fn set_node(
        &self,
        name: &NodeName,
        weight: Option<u32>,
        draining: Option<bool>,
    ) -> Result<pb::Node, Error> {
        let request = self.line.request(pb::SetNodeRequest { name: name.to_string(), weight, draining });
        answered(self.client.clone().set_node(request).await)
    }

    /// The nodes that a device would be assigned to, best first, and by which rule.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Unanswered`].
    pub async fn assignment(
        &self,
        tenant: &TenantId,
        user: &UserId,
        device: &DeviceId,
    ) -> Result<pb::GetAssignmentResponse, Error> {
        let (tenant, user, device) = (tenant.to_string(), user.to_string(), device.to_string());
        let request = self.line.request(pb::GetAssignmentRequest { tenant, user, device });
        answered(self.client.clone().get_assignment(request).await)
    }

    /// The audit log of all tenants after a position (0: from the oldest that is kept), at most `limit` events (0: 100).
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Unanswered`].
    pub async fn audit(&self, after: u64, limit: u32) -> Result<pb::ListAllAuditResponse, Error> {
        let request = self.line.request(pb::ListAuditRequest { after, limit });
        answered(self.client.clone().list_all_audit(request).await)
    }
}
