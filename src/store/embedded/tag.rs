//! Sums of tags: what became of the messages of a tag that were accepted in one hour. It does not know single messages.

use std::collections::HashMap;
use std::time::Duration;

use super::key::{self, Purpose};
use super::record::{Fate, Message, Sum};
use super::staged::Staged;
use super::table::View;
use super::writer::Writer;
use crate::model::clock::Timestamp;
use crate::model::id::{Tag, TenantId};
use crate::model::receipt::Counts;
use crate::store::{Error, TagHour};

/// How long sums are kept: a quarter of a year, long enough to compare campaigns. A guess.
pub(super) const TTL: Duration = Duration::from_secs(90 * 86_400);

/// What sums are made of.
pub(super) const HOUR: Duration = Duration::from_secs(3_600);

/// What a batch adds to the sums.
#[derive(Default)]
pub(super) struct Tags(HashMap<Vec<u8>, Sum>);

impl Tags {
    /// A message was accepted, or has come from its schedule into its log.
    pub(super) fn accepted(&mut self, message: &Message) {
        let Some(sum) = self.sum(message) else { return };
        // One that was scheduled was counted then.
        sum.messages += u64::from(message.fate == Fate::Scheduled || message.send_at.is_none());
        sum.counts.audience += message.counts.audience;
    }

    /// The counts of a message have changed from these.
    pub(super) fn counted(&mut self, message: &Message, before: &Counts) {
        if message.tag.is_none() {
            return;
        }
        let Some(sum) = self.sum(message) else { return };
        // Counts only grow.
        let Counts { audience, sent, acked, dead, missed } = message.counts;
        sum.counts.audience += audience - before.audience;
        sum.counts.sent += sent - before.sent;
        sum.counts.acked += acked - before.acked;
        sum.counts.dead += dead - before.dead;
        sum.counts.missed += missed - before.missed;
    }

    fn sum(&mut self, message: &Message) -> Option<&mut Sum> {
        let tag = message.tag.as_ref()?;
        Some(self.0.entry(key::tag(message.log.tenant(), tag, hour_of(message.accepted_at))).or_default())
    }
}

impl Writer {
    /// Stages what the batch adds.
    pub(super) fn stage_tags(&mut self) -> Result<(), Error> {
        for (key, added) in std::mem::take(&mut self.tags.0) {
            let known = read(&self.staged, &key)?;
            if known.is_none() {
                self.put_due(key::hour_of(&key)? + TTL, Purpose::Forget, &key);
            }
            let mut sum = known.unwrap_or_default();
            sum.add(&added);
            self.staged.put(key, sum.encode());
        }
        Ok(())
    }
}

fn read(staged: &Staged, key: &[u8]) -> Result<Option<Sum>, Error> {
    staged.get(key)?.map(|bytes| Sum::decode(&bytes)).transpose()
}

/// See [`crate::store::Store::tag`].
pub(super) fn hours(
    view: &impl View,
    tenant: &TenantId,
    tag: &Tag,
    from: Timestamp,
    upto: Timestamp,
) -> Result<Vec<TagHour>, Error> {
    let (from, upto) = (key::tag(tenant, tag, hour_of(from)), key::tag(tenant, tag, upto));
    let rows = view.range(&from, &key::after(&upto));
    rows.map(|row| {
        let (key, value) = row?;
        let Sum { messages, counts } = Sum::decode(&value)?;
        Ok(TagHour { from: key::hour_of(&key)?, messages, counts })
    })
    .collect()
}

/// The beginning of the hour.
fn hour_of(at: Timestamp) -> Timestamp {
    let hour = HOUR.as_millis() as u64;
    Timestamp::from_millis(at.as_millis() / hour * hour)
}
