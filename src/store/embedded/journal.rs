//! Journals: events of a tenant in the order of their positions. It knows neither what the events say nor who reads them.
//!
//! All events that a batch adds to a journal are one record, or a few when they are many, under the position of the
//! last of them: the first record at or after a position is the one that holds it.

use std::collections::HashMap;
use std::mem;
use std::time::Duration;

use super::key::{self, Purpose};
use super::recent::Recent;
use super::record::{self, Message, Reach, Written};
use super::table::View;
use super::writer::Writer;
use crate::model::clock::Timestamp;
use crate::model::id::{DeviceId, TenantId, UserId};
use crate::model::presence;
use crate::model::receipt::What;
use crate::store::{Error, Event, Events, Journal, Swept};

/// Bytes after which the events of one batch become another record: a read from its middle passes over those before. A
/// guess: passing over so many takes about 50 us.
const RECORD_BYTES_MAX: usize = 32 * 1024;

/// Most events that one read gives: they take some 200 bytes of memory each. A guess.
const READ_MAX: usize = 4_096;

/// Journals whose reach is kept because they were written lately; up to twice as many may be. A guess: one takes about
/// 100 bytes.
const RECENT_MAX: usize = 1_024;

/// Records that go at once: appends wait for it. As with the sweep, about a millisecond.
const TRIM_MAX: usize = 128;

/// What a batch adds to journals.
pub(super) struct Journals {
    /// By tenant, and there by journal.
    added: Vec<(TenantId, [Added; 4])>,
    /// Where each tenant is among them.
    places: HashMap<TenantId, usize>,
    /// Where the last event went: mostly the next one goes there too, which spares looking it up.
    last: usize,
    /// How far journals are that were written lately.
    reach: Recent<Reach>,
}

/// What a batch adds to one journal.
#[derive(Default)]
struct Added {
    /// Records that are full: how many events, and their bytes.
    full: Vec<(u64, Vec<u8>)>,
    /// Events in the open record.
    count: u64,
    /// Their bytes.
    bytes: Vec<u8>,
}

impl Added {
    /// Adds an event that `put` writes.
    fn add(&mut self, put: impl FnOnce(&mut Vec<u8>)) {
        if self.bytes.len() >= RECORD_BYTES_MAX {
            self.close();
        }
        self.count += 1;
        put(&mut self.bytes);
    }

    /// How many events were added.
    fn added(&self) -> u64 {
        self.count + self.full.iter().map(|(count, _)| count).sum::<u64>()
    }

    fn close(&mut self) {
        if self.count > 0 {
            self.full.push((mem::take(&mut self.count), mem::take(&mut self.bytes)));
        }
    }
}

impl Journals {
    /// Nothing is added yet.
    pub(super) fn new() -> Self {
        Self { added: Vec::new(), places: HashMap::new(), last: 0, reach: Recent::new(RECENT_MAX) }
    }

    /// Adds an event to a journal.
    pub(super) fn note(&mut self, tenant: &TenantId, journal: Journal, event: &Event) {
        self.to(tenant, journal).add(|out| record::put_event(out, event));
    }

    /// Adds a receipt of a message.
    pub(super) fn receipt(
        &mut self,
        message: &Message,
        at: Timestamp,
        device: Option<(&UserId, &DeviceId)>,
        what: &What,
    ) {
        let added = self.to(message.log.tenant(), Journal::Receipts);
        added.add(|out| record::put_receipt(out, at, message.id, message.tag.as_ref(), device, what));
    }

    fn to(&mut self, tenant: &TenantId, journal: Journal) -> &mut Added {
        if self.added.get(self.last).is_none_or(|(last, _)| last != tenant) {
            self.last = self.places.get(tenant).copied().unwrap_or(self.added.len());
        }
        if self.last == self.added.len() {
            self.places.insert(tenant.clone(), self.last);
            self.added.push((tenant.clone(), Default::default()));
        }
        &mut self.added[self.last].1[journal as usize]
    }
}

/// In the order in which they are declared.
const ALL: [Journal; 4] = [Journal::Receipts, Journal::Presence, Journal::HandOffs, Journal::Audit];

impl Writer {
    /// See [`crate::store::Store::note`].
    pub(super) fn note(&mut self, tenant: &TenantId, events: Vec<presence::Event>) {
        for event in events {
            self.now = event.at;
            self.journals.note(tenant, Journal::Presence, &Event::Presence(event));
        }
    }

    /// Stages what the batch adds to journals; answers with those that it adds to.
    pub(super) fn stage_journals(&mut self) -> Result<Vec<(TenantId, Journal)>, Error> {
        let mut noted = Vec::new();
        self.journals.places.clear();
        self.journals.last = 0;
        for (tenant, added) in mem::take(&mut self.journals.added) {
            for (journal, mut added) in ALL.into_iter().zip(added) {
                added.close();
                if !added.full.is_empty() {
                    self.stage_journal(&tenant, journal, added.full)?;
                    noted.push((tenant.clone(), journal));
                }
            }
        }
        Ok(noted)
    }

    fn stage_journal(
        &mut self,
        tenant: &TenantId,
        journal: Journal,
        records: Vec<(u64, Vec<u8>)>,
    ) -> Result<(), Error> {
        // Not when the events happened: one that is booked late is kept as long as the others.
        let at = self.now;
        let reach_key = key::reach(tenant, journal);
        let mut reach = self.reach(&reach_key)?;
        if reach.first > reach.last {
            // It has one key that is due, for its oldest record.
            self.put_due(at + self.kept_for(journal), Purpose::Forget, &reach_key);
        }
        for (count, bytes) in records {
            reach.last += count;
            self.staged.put(key::events(tenant, journal, reach.last), Written { at, count, bytes }.encode());
        }
        self.put_reach(reach_key, reach);
        Ok(())
    }

    /// The newest position of a journal, with what this batch adds.
    pub(super) fn last(&mut self, tenant: &TenantId, journal: Journal) -> Result<u64, Error> {
        let added = self.journals.to(tenant, journal).added();
        Ok(self.reach(&key::reach(tenant, journal))?.last + added)
    }

    /// How long the events of a journal are kept.
    const fn kept_for(&self, journal: Journal) -> Duration {
        match journal {
            Journal::Receipts | Journal::Presence | Journal::HandOffs => self.limits.journal_ttl,
            Journal::Audit => self.limits.audit_ttl,
        }
    }

    fn reach(&mut self, key: &[u8]) -> Result<Reach, Error> {
        match self.journals.reach.get(key) {
            Some(reach) => Ok(*reach),
            None => reach(&self.staged, key),
        }
    }

    fn put_reach(&mut self, key: Vec<u8>, reach: Reach) {
        self.staged.put(key.clone(), reach.encode());
        self.journals.reach.put_owned(key, reach);
    }

    /// Removes records of a journal that have served their time, oldest first, in a bounded step.
    pub(super) fn sweep_journal(&mut self, target: &[u8], now: Timestamp, swept: &mut Swept) -> Result<usize, Error> {
        let (tenant, journal) = key::journal_of(target)?;
        let mut reach = self.reach(target)?;
        let (from, before) =
            (key::events(&tenant, journal, reach.first), key::after(&key::events(&tenant, journal, reach.last)));
        let rows = self.staged.range(&from, &before).take(TRIM_MAX + 1);
        let rows = rows.map(|row| row.and_then(|(key, value)| Ok((key.to_vec(), Written::decode_at(&value)?))));
        let mut removed = 0;
        for (key, at) in rows.collect::<Result<Vec<_>, Error>>()? {
            let over_at = at + self.kept_for(journal);
            if over_at > now || removed == TRIM_MAX {
                self.put_due(over_at, Purpose::Forget, target);
                break;
            }
            reach.first = key::position_of(&key)? + 1;
            self.staged.remove(key);
            removed += 1;
        }
        if removed > 0 {
            self.put_reach(target.to_vec(), reach);
            swept.forgotten += removed as u64;
        }
        Ok(removed)
    }
}

fn reach(view: &impl View, key: &[u8]) -> Result<Reach, Error> {
    Ok(view.get(key)?.map(|bytes| Reach::decode(&bytes)).transpose()?.unwrap_or_default())
}

/// See [`crate::store::Store::journal`].
pub(super) fn page(
    view: &impl View,
    tenant: &TenantId,
    journal: Journal,
    after: u64,
    most: usize,
) -> Result<Events, Error> {
    let Reach { first, last } = reach(view, &key::reach(tenant, journal))?;
    let mut page = Events { events: Vec::new(), looked: last, last, first };
    if after >= last {
        return Ok(page);
    }
    let most = most.min(READ_MAX);
    let from = key::events(tenant, journal, after.max(first - 1) + 1);
    for row in view.range(&from, &key::after(&key::events(tenant, journal, last))) {
        let (key, value) = row?;
        let upto = key::position_of(&key)?;
        Written::decode_each(journal, &value, |following, event| {
            let position = upto - following;
            if page.events.len() < most && position > after {
                page.events.push((position, event));
            }
            page.events.len() < most
        })?;
        if page.events.len() >= most {
            break;
        }
    }
    if page.events.len() >= most {
        page.looked = page.events.last().map_or(after, |(position, _)| *position);
    }
    // Otherwise all to the end was looked at, also when it is not kept any more.
    Ok(page)
}
