//! Access tokens that backends make, and revocation.

use std::sync::Arc;
use std::time::Duration;

use crate::auth::Claims;
use crate::model::access::TokenId;
use crate::model::audit::{Action, Actor};
use crate::model::clock::Timestamp;
use crate::model::fault::{Code, Fault};
use crate::model::id::{DeviceId, Receiver, TenantId, UserId};
use crate::model::tenant::TOKEN_TTL_SECONDS;
use crate::node::Node;
use crate::node::access::revocations::{self, REVOCATIONS_MAX};
use crate::store::Put;

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
    /// All of the tenant that were issued before now, those of its shares among them.
    All,
}

impl Which {
    /// As the audit log says it.
    fn object(&self) -> String {
        match self {
            Self::Token(id) => format!("token:{id}"),
            Self::User(user) => format!("user:{user}"),
            Self::Device(user, device) => format!("device:{user}/{device}"),
            Self::All => "tenant".to_owned(),
        }
    }
}

impl Node {
    /// Makes an access token, and notes nothing of it. `ttl`: `None` for the tenant's.
    pub(crate) fn make_token(&self, receiver: &Receiver, ttl: Option<Duration>) -> Issued {
        let issued_at = self.live.revocations.stamp(self.clock.now().wall);
        self.make_token_of(receiver, ttl.unwrap_or_else(|| self.token_ttl(&receiver.tenant)), issued_at)
    }

    /// The same, with a stamp that was taken before. It may be ahead of a clock that was set back; the life is not.
    pub(crate) fn make_token_of(&self, receiver: &Receiver, life: Duration, issued_at: Timestamp) -> Issued {
        let expires_at = self.clock.now().wall + life;
        let claims = Claims::new(receiver.clone(), expires_at, issued_at);
        let token = self.authority.sign(&claims);
        Issued { token, id: claims.id, expires_at: claims.expires_at, nodes: Arc::default() }
    }

    /// Makes an access token; `ttl`: `None` for the tenant's, which is also the longest.
    ///
    /// # Errors
    /// A refusal, or the store's fault.
    pub async fn issue_token(&self, receiver: Receiver, ttl: Option<Duration>, actor: Actor) -> Result<Issued, Fault> {
        check_user(&receiver.user)?;
        let most = self.token_ttl(&receiver.tenant);
        if let Some(ttl) = ttl.filter(|ttl| !(TTL_MIN..=most).contains(ttl)) {
            let (least, most) = (TTL_MIN.as_secs(), most.as_secs());
            let words = format!("ttl_seconds: {} is not in {least} to {most}, what this tenant allows", ttl.as_secs());
            return Err(Fault::new(Code::InvalidOption, words));
        }
        let nodes = self.assignment(&receiver).await?.0;
        let issued = self.make_token(&receiver, ttl);
        let object = format!("device:{}/{}", receiver.user, receiver.device);
        let mut event = self.audit_event(&receiver.tenant, actor, Action::TokenIssued, object);
        event.details = [
            ("token".to_owned(), issued.id.to_string()),
            ("expires_at_ms".to_owned(), issued.expires_at.as_millis().to_string()),
        ]
        .into();
        self.note_audit(event).await?;
        Ok(Issued { nodes, ..issued })
    }

    /// Takes tokens back, and ends the sessions that live by them. Answers with how many sessions of this node were told to
    /// end, when it is on disk. A session that goes on with a newer token lives by that one.
    ///
    /// # Errors
    /// A refusal, or the store's fault.
    pub async fn revoke_tokens(&self, tenant: &TenantId, which: Which, actor: Actor) -> Result<u32, Fault> {
        if let Which::User(user) | Which::Device(user, _) = &which {
            check_user(user)?;
        }
        let put = self.revocation(tenant, &which)?;
        let count = self.live.count(put.shelf, put.name.clone());
        let event = self.audit_event(tenant, actor, Action::TokensRevoked, which.object());
        self.write_records(vec![put], event).await?;
        Ok(count.ended())
    }

    /// What is to be written to revoke tokens; when it is, their sessions end.
    ///
    /// # Errors
    /// `too_many_records`.
    pub(crate) fn revocation(&self, tenant: &TenantId, which: &Which) -> Result<Put, Fault> {
        if self.live.revocations.is_full_for(tenant, which) {
            let words = format!(
                "{REVOCATIONS_MAX} revocations are remembered, which is the limit; revoke all tokens of the tenant instead"
            );
            return Err(Fault::new(Code::TooManyRecords, words));
        }
        Ok(revocations::put(tenant, which, self.live.revocations.stamp(self.clock.now().wall)))
    }

    /// Life of a tenant's access tokens.
    fn token_ttl(&self, tenant: &TenantId) -> Duration {
        let seconds = self.access.rules(tenant).tenant.login.token_ttl_seconds;
        Duration::from_secs(if seconds == 0 { TOKEN_TTL_SECONDS } else { seconds }.into())
    }
}

/// Refuses names that are kept for viewers of shares.
///
/// # Errors
/// `invalid_name`.
pub(crate) fn check_user(user: &UserId) -> Result<(), Fault> {
    if user.is_reserved() {
        let words = "user: names that begin with an underscore are the gateway's own; choose another";
        return Err(Fault::new(Code::InvalidName, words));
    }
    Ok(())
}

/// Shortest life of a token that a backend asks for: below it devices would do little else than log in.
const TTL_MIN: Duration = Duration::from_secs(60);
