//! Webhooks of tenants: where events are to be posted, and how far that was done. It posts nothing.

use super::table::View;
use super::writer::Writer;
use super::{key, record};
use crate::model::id::TenantId;
use crate::model::webhook::{Kind, Webhook};
use crate::store::{Error, Journal};

/// The journal that a webhook is given.
const fn journal_of(kind: Kind) -> Journal {
    match kind {
        Kind::Receipts => Journal::Receipts,
        Kind::Presence => Journal::Presence,
        Kind::Fallback => Journal::HandOffs,
    }
}

impl Writer {
    /// See [`crate::store::Store::set_webhook`].
    pub(super) fn set_webhook(
        &mut self,
        tenant: &TenantId,
        kind: Kind,
        webhook: Option<&Webhook>,
    ) -> Result<(), Error> {
        let key = key::webhook(tenant, kind);
        match webhook {
            None => self.staged.remove(key),
            Some(webhook) => {
                let position = match self.staged.get(&key)? {
                    // A new address or secret must not cost events that wait for the webhook.
                    Some(bytes) => record::decode_webhook(&bytes)?.1,
                    None => self.last(tenant, journal_of(kind))?,
                };
                self.staged.put(key, record::encode_webhook(webhook, position));
            }
        }
        self.sync = true;
        Ok(())
    }

    /// See [`crate::store::Store::delivered`].
    pub(super) fn delivered(&mut self, tenant: &TenantId, kind: Kind, position: u64) -> Result<(), Error> {
        let key = key::webhook(tenant, kind);
        // It may have been removed meanwhile.
        let Some(bytes) = self.staged.get(&key)? else { return Ok(()) };
        let (webhook, known) = record::decode_webhook(&bytes)?;
        let position = position.min(self.last(tenant, journal_of(kind))?);
        if position > known {
            self.staged.put(key, record::encode_webhook(&webhook, position));
        }
        Ok(())
    }
}

/// See [`crate::store::Store::webhooks`].
pub(super) fn all(view: &impl View) -> Result<Vec<(TenantId, Kind, Webhook, u64)>, Error> {
    let rows = view.prefix(key::webhooks());
    rows.map(|row| {
        let (key, value) = row?;
        let (tenant, kind) = key::webhook_of(&key)?;
        let (webhook, position) = record::decode_webhook(&value)?;
        Ok((tenant, kind, webhook, position))
    })
    .collect()
}
