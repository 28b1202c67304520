//! Webhooks as backends set them: checked, stored, listed. What is posted to them is `dispatch`'s.

use crate::hook::{Place, Secret};
use crate::model::audit::{Action, Actor};
use crate::model::clock::Timestamp;
use crate::model::fault::{Code, Fault};
use crate::model::id::TenantId;
use crate::model::webhook::{Kind, Webhook};
use crate::node::{Node, fault};

/// A webhook as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hooked {
    /// What is posted.
    pub kind: Kind,
    /// Where to.
    pub url: String,
    /// Everything up to this position of its journal was delivered.
    pub position: u64,
    /// When the last try failed, and how; `None` when it worked or there was none since the start.
    pub failed: Option<(Timestamp, String)>,
}

impl Node {
    /// Sets a webhook; gives it, and its secret as text: the given one, or one that was made for it. A new one
    /// begins with what happens from now on; one that is changed goes on where the older one was.
    ///
    /// # Errors
    /// [`Code::InvalidOption`] for a URL or a secret that is none, or the store's fault.
    pub async fn set_webhook(
        &self,
        tenant: &TenantId,
        kind: Kind,
        url: &str,
        secret: &str,
        actor: Actor,
    ) -> Result<(Hooked, String), Fault> {
        let refuse = |field: &str, why: String| Fault::new(Code::InvalidOption, format!("{field}: {why}"));
        let place = Place::parse(url).map_err(|error| refuse("url", error.to_string()))?;
        let secret = match secret {
            "" => Secret::make().map_err(|_| Fault::new(Code::Internal, "the system gives no random bytes"))?,
            text => Secret::parse(text).map_err(|error| refuse("secret", error.to_string()))?,
        };
        let webhook = Webhook { url: place.to_string(), secret: secret.as_bytes().to_vec() };
        self.store.set_webhook(tenant, kind, Some(webhook)).await.map_err(fault)?;
        self.desk.set(tenant, kind);
        tracing::info!(%tenant, kind = kind.as_str(), ?place, "webhook set");
        // The path may hold what only the receiver should know.
        self.note_webhook(tenant, kind, actor, format!("{place:?}")).await?;
        let set = self.webhooks(tenant).await?.into_iter().find(|hooked| hooked.kind == kind);
        let gone = || Fault::new(Code::WebhookNotFound, "the webhook was removed while it was set");
        Ok((set.ok_or_else(gone)?, secret.to_text()))
    }

    /// The webhooks of a tenant.
    ///
    /// # Errors
    /// The store's fault.
    pub async fn webhooks(&self, tenant: &TenantId) -> Result<Vec<Hooked>, Fault> {
        let all = self.store.webhooks().await.map_err(fault)?;
        let own = all.into_iter().filter(|(of, ..)| of == tenant);
        let hooked = |(_, kind, webhook, position): (TenantId, Kind, Webhook, u64)| Hooked {
            failed: self.desk.failure(tenant, kind),
            kind,
            url: webhook.url,
            position,
        };
        Ok(own.map(hooked).collect())
    }

    /// Takes a webhook away; nothing is posted to it any more.
    ///
    /// # Errors
    /// [`Code::WebhookNotFound`], or the store's fault.
    pub async fn delete_webhook(&self, tenant: &TenantId, kind: Kind, actor: Actor) -> Result<(), Fault> {
        if !self.webhooks(tenant).await?.iter().any(|hooked| hooked.kind == kind) {
            return Err(Fault::new(Code::WebhookNotFound, format!("there is no webhook for {}", kind.as_str())));
        }
        self.store.set_webhook(tenant, kind, None).await.map_err(fault)?;
        self.desk.set(tenant, kind);
        tracing::info!(%tenant, kind = kind.as_str(), "webhook removed");
        self.note_webhook(tenant, kind, actor, String::new()).await
    }

    async fn note_webhook(&self, tenant: &TenantId, kind: Kind, actor: Actor, host: String) -> Result<(), Fault> {
        let object = format!("webhook:{}", kind.as_str());
        let mut event = self.audit_event(tenant, actor, Action::WebhookChanged, object);
        event.details.insert("host".to_owned(), host);
        self.note_audit(event).await
    }
}
