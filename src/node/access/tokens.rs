//! Access tokens that backends make, and revocation.

use std::sync::Arc;
use std::time::Duration;

use crate::model::access::TokenId;
use crate::model::audit::Actor;
use crate::model::clock::Timestamp;
use crate::model::fault::Fault;
use crate::model::id::{DeviceId, Receiver, TenantId, UserId};
use crate::model::tenant::TOKEN_TTL_SECONDS;
use crate::node::Node;
use crate::node::access::not_yet;

/// A token that was made. Never printed: it is a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Issued {
    /// The token.
    pub token: String,
    /// Names it for revocation.
    pub id: TokenId,
    /// When it expires.
    pub expires_at: Timestamp,
    /// Where to connect, best first.
    pub nodes: Arc<[String]>,
}

/// Which tokens are revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// One.
    Token(TokenId),
    /// All of a user that were issued before now.
    User(UserId),
    /// All of a device that were issued before now.
    Device(UserId, DeviceId),
    /// All of the tenant that were issued before now.
    All,
}

impl Node {
    /// Makes an access token, and notes nothing of it. `ttl`: `None` for the tenant's.
    pub(crate) fn make_token(&self, receiver: &Receiver, ttl: Option<Duration>) -> Issued {
        let now = self.clock.now().wall;
        let expires_at = now + ttl.unwrap_or(Duration::from_secs(TOKEN_TTL_SECONDS.into()));
        let token = self.authority.issue(receiver, expires_at, now);
        Issued { token, id: TokenId::from_bytes([0; 16]), expires_at, nodes: Arc::default() }
    }

    /// Makes an access token; `ttl`: `None` for the tenant's.
    ///
    /// # Errors
    /// A refusal, or the store's fault.
    pub async fn issue_token(
        &self,
        _receiver: Receiver,
        _ttl: Option<Duration>,
        _actor: Actor,
    ) -> Result<Issued, Fault> {
        not_yet()
    }

    /// Takes tokens back, and ends the sessions that were opened with them. Answers with how many sessions of this node were
    /// told to end, when it is on disk.
    ///
    /// # Errors
    /// A refusal, or the store's fault.
    pub async fn revoke_tokens(&self, _tenant: &TenantId, _which: Which, _actor: Actor) -> Result<u32, Fault> {
        not_yet()
    }
}
