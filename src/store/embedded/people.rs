//! What backends say of topics and users: settings that the writing thread records. It does not decide whom a push is
//! for.

use super::key;
use super::table::View;
use super::writer::Writer;
use crate::model::id::{TenantId, TopicName};
use crate::store::Error;

impl Writer {
    /// See [`crate::store::Store::set_topic`].
    pub(super) fn set_topic(&mut self, tenant: &TenantId, topic: &TopicName, conflate: bool) -> Result<(), Error> {
        let key = key::topic(tenant, topic);
        if conflate == self.staged.get(&key)?.is_some() {
            return Ok(());
        }
        if conflate {
            self.staged.put(key, Vec::new());
        } else {
            self.staged.remove(key);
        }
        self.sync = true;
        Ok(())
    }
}

/// Whether a topic keeps only its newest push.
pub(super) fn conflates(view: &impl View, tenant: &TenantId, topic: &TopicName) -> Result<bool, Error> {
    Ok(view.get(&key::topic(tenant, topic))?.is_some())
}
