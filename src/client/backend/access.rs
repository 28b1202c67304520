//! The methods of `pushline.v1.Access`: tokens, enrolments, shares, revocation, the audit log of a tenant.

use std::time::Duration;

use crate::client::backend::connection::Backend;
use crate::client::backend::error::Error;
use crate::client::backend::line::answered;
use crate::model::access::TokenId;
use crate::model::id::{DeviceId, ShareId, UserId};
use crate::wire::pb;
use crate::wire::pb::revoke_tokens_request::Which;

/// Which tokens are taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tokens {
    /// One.
    One(TokenId),
    /// All of a user that were issued before now.
    OfUser(UserId),
    /// All of a device that were issued before now.
    OfDevice(UserId, DeviceId),
    /// All of the tenant that were issued before now.
    All,
}

impl Backend {
    /// Makes an access token for a device. Without `ttl` it lives as long as those of a login.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Unanswered`].
    pub async fn issue_token(
        &self,
        user: &UserId,
        device: &DeviceId,
        ttl: Option<Duration>,
    ) -> Result<pb::IssueTokenResponse, Error> {
        let ttl_seconds = ttl.map_or(0, seconds);
        let request = pb::IssueTokenRequest { user: user.to_string(), device: device.to_string(), ttl_seconds };
        answered(self.access.clone().issue_token(self.request(request)).await)
    }

    /// Takes tokens back. Gives how many sessions of that node were told to end. Repeating it is harmless.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Unanswered`].
    pub async fn revoke_tokens(&self, tokens: &Tokens) -> Result<u32, Error> {
        let which = match tokens {
            Tokens::One(id) => Which::Id(id.to_string()),
            Tokens::OfUser(user) => Which::User(user.to_string()),
            Tokens::OfDevice(user, device) => {
                Which::Device(pb::DeviceName { user: user.to_string(), device: device.to_string() })
            }
            Tokens::All => Which::All(true),
        };
        let request = self.request(pb::RevokeTokensRequest { which: Some(which) });
        answered(self.access.clone().revoke_tokens(request).await).map(|answer| answer.sessions)
    }

    /// Makes a one-time code with which a device of a user, or the named one, enrols its key pair.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Unanswered`].
    pub async fn create_enrolment(
        &self,
        user: &UserId,
        device: Option<&DeviceId>,
        ttl: Option<Duration>,
    ) -> Result<pb::CreateEnrolmentResponse, Error> {
        let request = pb::CreateEnrolmentRequest {
            user: user.to_string(),
            device: device.map(ToString::to_string).unwrap_or_default(),
            ttl_seconds: ttl.map_or(0, seconds),
        };
        answered(self.access.clone().create_enrolment(self.request(request)).await)
    }

    /// The keys that devices of a user have enrolled.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Unanswered`].
    pub async fn device_keys(&self, user: &UserId) -> Result<Vec<pb::DeviceKey>, Error> {
        let request = self.request(pb::ListDeviceKeysRequest { user: user.to_string() });
        answered(self.access.clone().list_device_keys(request).await).map(|answer| answer.keys)
    }

    /// Forgets the key of a device; false when there was none.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Unanswered`].
    pub async fn remove_device_key(&self, user: &UserId, device: &DeviceId) -> Result<bool, Error> {
        let request = pb::RemoveDeviceKeyRequest { user: user.to_string(), device: device.to_string() };
        answered(self.access.clone().remove_device_key(self.request(request)).await).map(|answer| answer.removed)
    }

    /// Makes a token with which people without an account follow a few topics.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Unanswered`].
    pub async fn create_share(&self, request: pb::CreateShareRequest) -> Result<pb::CreateShareResponse, Error> {
        answered(self.access.clone().create_share(self.request(request)).await)
    }

    /// Shares by id, after `after` (which the answer's `next` gives; empty for the first), at most `limit` (0: 100).
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Unanswered`].
    pub async fn shares(&self, after: &str, limit: u32) -> Result<pb::ListSharesResponse, Error> {
        let request = self.request(pb::ListSharesRequest { after: after.to_owned(), limit });
        answered(self.access.clone().list_shares(request).await)
    }

    /// Takes a share back. Gives how many viewers of that node were told to end.
    ///
    /// # Errors
    /// [`Error::Refused`] (`share_not_found` when there is none), [`Error::Unanswered`].
    pub async fn revoke_share(&self, id: &ShareId) -> Result<u32, Error> {
        let request = self.request(pb::RevokeShareRequest { id: id.to_string() });
        answered(self.access.clone().revoke_share(request).await).map(|answer| answer.sessions)
    }

    /// The audit log after a position (0: from the oldest that is kept), at most `limit` events (0: 100).
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Unanswered`].
    pub async fn audit(&self, after: u64, limit: u32) -> Result<pb::ListAuditResponse, Error> {
        answered(self.access.clone().list_audit(self.request(pb::ListAuditRequest { after, limit })).await)
    }
}

/// Whole seconds; more than the protocol carries is as much as it carries.
pub(super) fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}
