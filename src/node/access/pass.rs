//! A token that was checked, and what it lets in: a device, or a viewer of a share.

use std::sync::Arc;

use crate::auth::Token;
use crate::delivery::lease::Life;
use crate::model::fault::{Code, Fault};
use crate::model::id::{DeviceId, Receiver, ShareId, TopicName};
use crate::node::Node;
use crate::node::access::shares::viewers_of;
use crate::node::hub::Held;

/// What a token lets in.
#[derive(Debug)]
pub(crate) struct Pass {
    /// Who comes.
    pub(crate) receiver: Receiver,
    /// From when until when it is good.
    pub(crate) life: Life,
    /// What revocations go by.
    pub(crate) held: Held,
    /// What a viewer sees; `None` for a device.
    pub(crate) view: Option<View>,
}

/// What a viewer sees.
#[derive(Debug)]
pub(crate) struct View {
    share: ShareId,
    /// The topics.
    pub(crate) topics: Arc<[TopicName]>,
    /// Viewers at the same time.
    pub(crate) viewers_max: u32,
}

impl Node {
    /// Checks a token: that this deployment signed it, that it has not expired and is not revoked. `device`: the name that a
    /// viewer wants to have, which gets one of chance otherwise.
    pub(crate) fn pass(&self, token: &str, device: Option<&DeviceId>) -> Result<Pass, Fault> {
        let pass = match self.authority.read(token, self.clock.now().wall)? {
            Token::Access(claims) => Pass {
                receiver: claims.receiver,
                life: Life { issued_at: claims.issued_at, expires_at: claims.expires_at },
                held: Held { id: Some(claims.id), issued_at: claims.issued_at },
                view: None,
            },
            Token::Share(claims) => {
                let kept = self.live.shares.get(&claims.tenant, &claims.share).ok_or_else(revoked)?;
                let device = device.cloned().or_else(|| DeviceId::new(&format!("v-{:016x}", fastrand::u64(..))).ok());
                let device = device.ok_or_else(|| Fault::new(Code::Internal, "a viewer's name is none"))?;
                Pass {
                    receiver: Receiver { user: viewers_of(&claims.share), tenant: claims.tenant, device },
                    life: Life { issued_at: claims.issued_at, expires_at: claims.expires_at },
                    held: Held { id: None, issued_at: claims.issued_at },
                    view: Some(View {
                        share: claims.share,
                        topics: Arc::clone(&kept.topics),
                        viewers_max: kept.viewers_max,
                    }),
                }
            }
        };
        self.recheck(&pass)?;
        Ok(pass)
    }

    /// Whether it is still good: what is revoked ends those who are in, and whoever is about to come in must look again
    /// once it can be found.
    pub(crate) fn recheck(&self, pass: &Pass) -> Result<(), Fault> {
        let tenant = &pass.receiver.tenant;
        if self.access.is_suspended(tenant) {
            return Err(Fault::new(Code::TenantSuspended, "the tenant is suspended; ask the operator of the gateway"));
        }
        let taken_back = |view: &View| self.live.shares.get(tenant, &view.share).is_none();
        if self.live.revocations.cover(&pass.receiver, pass.held) || pass.view.as_ref().is_some_and(taken_back) {
            return Err(revoked());
        }
        Ok(())
    }
}

fn revoked() -> Fault {
    Fault::new(Code::RevokedToken, "the token was revoked; log in again")
}
