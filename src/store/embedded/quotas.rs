//! What tenants take, counted as it changes, and what they may take. It does not decide what makes room.
//!
//! Counts are on disk, in the very batch of what they count: no restart and no power cut makes them wrong.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::staged::Staged;
use super::table::View;
use super::writer::Writer;
use super::{key, people, record};
use crate::model::id::{TenantId, TopicName};
use crate::model::log::LogId;
use crate::store::{Error, TenantLimits, Usage};

/// Tenants whose counts are kept at hand; then all are read anew. A guess: one takes about 100 bytes.
const KNOWN_MAX: usize = 4_096;

/// Bounds and counts of tenants.
#[derive(Default)]
pub(super) struct Quotas {
    /// Bounds that were set.
    limits: HashMap<TenantId, TenantLimits>,
    /// What tenants take, as it is with the changes of this batch.
    known: HashMap<TenantId, Usage>,
    /// Those that this batch changes.
    changed: HashSet<TenantId>,
}

impl Quotas {
    /// Sets the bounds of a tenant.
    pub(super) fn limit(&mut self, tenant: TenantId, limits: TenantLimits) {
        if limits == TenantLimits::default() {
            self.limits.remove(&tenant);
        } else {
            self.limits.insert(tenant, limits);
        }
    }

    /// The bounds of a tenant; none where the store's own hold.
    pub(super) fn limits(&self, tenant: &TenantId) -> TenantLimits {
        self.limits.get(tenant).copied().unwrap_or_default()
    }

    /// What a tenant takes.
    fn usage(&mut self, staged: &Staged, tenant: &TenantId) -> Result<Usage, Error> {
        if let Some(usage) = self.known.get(tenant) {
            return Ok(*usage);
        }
        let usage = usage(staged, tenant)?;
        self.known.insert(tenant.clone(), usage);
        Ok(usage)
    }

    fn change(&mut self, staged: &Staged, tenant: &TenantId, change: impl FnOnce(&mut Usage)) -> Result<(), Error> {
        let mut usage = self.usage(staged, tenant)?;
        change(&mut usage);
        if let Some(known) = self.known.get_mut(tenant) {
            *known = usage;
        }
        if !self.changed.contains(tenant) {
            self.changed.insert(tenant.clone());
        }
        Ok(())
    }

    /// Stages what the batch changed.
    pub(super) fn stage(&mut self, staged: &mut Staged) {
        for tenant in self.changed.drain() {
            let key = key::usage(&tenant);
            match self.known.get(&tenant).copied().unwrap_or_default() {
                Usage { topics: 0, stored_bytes: 0 } => staged.remove(key),
                usage => staged.put(key, record::encode_usage(usage)),
            }
        }
        if self.known.len() > KNOWN_MAX {
            self.known.clear();
        }
    }
}

impl Writer {
    /// The tenant has more bytes, or fewer.
    pub(super) fn count_bytes(&mut self, tenant: &TenantId, added: u64, removed: u64) -> Result<(), Error> {
        if added == removed {
            return Ok(());
        }
        self.quotas.change(&self.staged, tenant, |usage| {
            usage.stored_bytes = (usage.stored_bytes + added).saturating_sub(removed);
        })
    }

    /// The tenant has a topic more, or one less.
    pub(super) fn count_topic(&mut self, tenant: &TenantId, more: bool) -> Result<(), Error> {
        self.quotas.change(&self.staged, tenant, |usage| {
            usage.topics = if more { usage.topics + 1 } else { usage.topics.saturating_sub(1) };
        })
    }

    /// Refuses bytes that are too many, with those that go for their sake taken off. What does not grow is not refused.
    pub(super) fn room_for_bytes(&mut self, tenant: &TenantId, added: u64, freed: u64) -> Result<(), Error> {
        let Some(most) = self.quotas.limits(tenant).stored_bytes_max.filter(|_| added > freed) else { return Ok(()) };
        let bytes = self.quotas.usage(&self.staged, tenant)?.stored_bytes;
        if (bytes + added).saturating_sub(freed) > most {
            Err(Error::TenantQuota("stored bytes", most))
        } else {
            Ok(())
        }
    }

    /// Refuses topics that are too many; those that there are already are none more.
    pub(super) fn room_for_topics<'a>(
        &mut self,
        tenant: &TenantId,
        topics: impl IntoIterator<Item = &'a TopicName>,
    ) -> Result<(), Error> {
        let Some(most) = self.quotas.limits(tenant).topics_max else { return Ok(()) };
        let mut new = BTreeSet::new();
        for topic in topics {
            if !self.topic_is_there(tenant, topic)? {
                new.insert(topic);
            }
        }
        let topics = self.quotas.usage(&self.staged, tenant)?.topics + new.len() as u64;
        if !new.is_empty() && topics > most { Err(Error::TenantQuota("topics", most)) } else { Ok(()) }
    }

    /// Whether a topic has a log, which it has while somebody follows it, or a setting.
    fn topic_is_there(&self, tenant: &TenantId, topic: &TopicName) -> Result<bool, Error> {
        let log = LogId::Topic(tenant.clone(), topic.clone());
        Ok(self.staged.get(&key::log(&log))?.is_some() || people::conflates(&self.staged, tenant, topic)?)
    }
}

/// See [`crate::store::Store::usage`].
pub(super) fn usage(view: &impl View, tenant: &TenantId) -> Result<Usage, Error> {
    Ok(view.get(&key::usage(tenant))?.map(|bytes| record::decode_usage(&bytes)).transpose()?.unwrap_or_default())
}
