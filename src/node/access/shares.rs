//! Shares: tokens with which people without an account follow a few topics.

use std::time::Duration;

use crate::model::audit::Actor;
use crate::model::clock::Timestamp;
use crate::model::fault::Fault;
use crate::model::id::{ShareId, TenantId, TopicName};
use crate::node::Node;
use crate::node::access::not_yet;

/// A share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Its id.
    pub id: ShareId,
    /// What viewers follow.
    pub topics: Vec<TopicName>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its token expires.
    pub expires_at: Timestamp,
    /// Viewers at the same time.
    pub viewers_max: u32,
    /// Viewers on this node now.
    pub viewers: u32,
    /// For whoever looks at the list.
    pub note: String,
}

/// What is asked for; `None` for the default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewShare {
    /// What viewers follow.
    pub topics: Vec<TopicName>,
    /// How long it is good.
    pub ttl: Option<Duration>,
    /// Viewers at the same time.
    pub viewers_max: Option<u32>,
    /// For whoever looks at the list.
    pub note: String,
}

impl Node {
    /// Makes a share; answers with its token and what it is.
    ///
    /// # Errors
    /// A refusal, or the store's fault.
    pub async fn create_share(
        &self,
        _tenant: &TenantId,
        _share: NewShare,
        _actor: Actor,
    ) -> Result<(String, Share), Fault> {
        not_yet()
    }

    /// Shares after one, by id, at most so many; and whether there are more.
    ///
    /// # Errors
    /// The store's fault.
    pub async fn shares(
        &self,
        _tenant: &TenantId,
        _after: Option<ShareId>,
        _most: usize,
    ) -> Result<(Vec<Share>, bool), Fault> {
        not_yet()
    }

    /// Takes a share back; answers with how many viewers of this node were told to end.
    ///
    /// # Errors
    /// [`crate::model::fault::Code::ShareNotFound`], or the store's fault.
    pub async fn revoke_share(&self, _tenant: &TenantId, _share: &ShareId, _actor: Actor) -> Result<u32, Fault> {
        not_yet()
    }
}
