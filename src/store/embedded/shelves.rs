//! Records on shelves: written all or none, read by name, removed when their time is over. It does not know what they say.

use std::collections::HashMap;

use super::key::{self, Purpose};
use super::record::{decode_shelved, encode_shelved};
use super::table::View;
use super::writer::Writer;
use crate::model::audit;
use crate::model::clock::Timestamp;
use crate::model::id::TenantId;
use crate::store::{
    EVERYONE, Error, Event, Expected, Journal, Put, RECORD_BYTES_MAX, RECORD_NAME_BYTES_MAX, Record, Recorded, Shelf,
    Swept,
};

/// What an event of the audit log takes besides its texts, in bytes. A guess.
const AUDIT_BYTES: usize = 256;

impl Writer {
    /// See [`crate::store::Store::write`]. A refusal has staged nothing.
    pub(super) fn write_records(&mut self, puts: Vec<Put>, audit: Vec<audit::Event>) -> Result<Vec<u64>, Error> {
        let everyone = TenantId::new(EVERYONE).map_err(|error| Error::Failed(format!("{EVERYONE}: {error}")))?;
        if let Some(last) = audit.last() {
            self.now = last.at;
        }
        let changes = self.changes(puts)?;
        let version = |change: &Change| change.told.record.as_ref().map_or(0, |record| record.version);
        let versions = changes.iter().map(version).collect();
        changes.into_iter().for_each(|change| self.change(change));
        for event in audit {
            let tenant = event.tenant.clone();
            let event = Event::Audit(event);
            tenant.iter().chain([&everyone]).for_each(|tenant| self.journals.note(tenant, Journal::Audit, &event));
        }
        self.sync = true;
        Ok(versions)
    }

    /// What is to be done, if all is as it is expected. Each sees those before it.
    fn changes(&self, puts: Vec<Put>) -> Result<Vec<Change>, Error> {
        let mut changed: HashMap<Vec<u8>, Option<Record>> = HashMap::new();
        let mut changes = Vec::with_capacity(puts.len());
        for Put { shelf, name, value, expected, until } in puts {
            let key = key::shelved(shelf, &name);
            let before = match changed.remove(&key) {
                Some(record) => record,
                None => shelved(&self.staged, &key)?,
            };
            let version = before.as_ref().filter(|record| !over(record, self.now)).map(|record| record.version);
            let fits = match expected {
                Expected::Any => true,
                Expected::Absent => version.is_none(),
                Expected::Version(known) => version == Some(known),
            };
            if !fits {
                return Err(Error::Conflict(version));
            }
            let record = value.map(|value| Record { value, version: version.unwrap_or(0) + 1, until });
            changed.insert(key.clone(), record.clone());
            changes.push(Change { key, before, told: Recorded { shelf, name, record } });
        }
        Ok(changes)
    }

    fn change(&mut self, Change { key, before, told }: Change) {
        if let Some(until) = before.as_ref().and_then(|before| before.until) {
            self.staged.remove(key::due(until, Purpose::Forget, &key));
        }
        match &told.record {
            Some(record) => {
                if let Some(until) = record.until {
                    self.put_due(until, Purpose::Forget, &key);
                }
                self.staged.put(key, encode_shelved(record));
            }
            None if before.is_some() => self.staged.remove(key),
            // There was none, and there is none.
            None => return,
        }
        self.recorded.push(told);
    }

    /// Removes a record whose time is over, and tells of it.
    pub(super) fn sweep_shelved(&mut self, target: &[u8], now: Timestamp, swept: &mut Swept) -> Result<(), Error> {
        let Some(record) = shelved(&self.staged, target)? else { return Ok(()) };
        if over(&record, now) {
            let (shelf, name) = key::shelved_of(target)?;
            self.recorded.push(Recorded { shelf, name: name.to_owned(), record: None });
            self.staged.remove(target.to_vec());
            swept.forgotten += 1;
        } else if let Some(until) = record.until {
            // Written anew since.
            self.put_due(until, Purpose::Forget, target);
        }
        Ok(())
    }
}

/// One record that changes.
struct Change {
    key: Vec<u8>,
    /// As it was, its time over or not.
    before: Option<Record>,
    /// What is told of it.
    told: Recorded,
}

/// Whether a record can be written at all.
pub(super) fn check(put: &Put) -> Result<(), Error> {
    let Put { name, value, .. } = put;
    if name.is_empty() || name.len() > RECORD_NAME_BYTES_MAX || name.contains('\0') {
        let words = format!("the name of a record has 1 to {RECORD_NAME_BYTES_MAX} bytes and no NUL");
        return Err(Error::Failed(words));
    }
    if value.as_ref().is_some_and(|value| value.len() > RECORD_BYTES_MAX) {
        return Err(Error::Failed(format!("a record has at most {RECORD_BYTES_MAX} bytes")));
    }
    Ok(())
}

/// About how many bytes a write holds.
pub(super) fn bytes(puts: &[Put], audit: &[audit::Event]) -> usize {
    let put = |put: &Put| put.name.len() + put.value.as_ref().map_or(0, |value| value.len());
    let event = |event: &audit::Event| {
        let details: usize = event.details.iter().map(|(word, text)| word.len() + text.len()).sum();
        AUDIT_BYTES + event.object.len() + details
    };
    puts.iter().map(put).sum::<usize>() + audit.iter().map(event).sum::<usize>()
}

/// See [`crate::store::Store::record`].
pub(super) fn record(view: &impl View, shelf: Shelf, name: &str, now: Timestamp) -> Result<Option<Record>, Error> {
    let record = shelved(view, &key::shelved(shelf, name))?;
    Ok(record.filter(|record| !over(record, now)))
}

/// See [`crate::store::Store::records`].
pub(super) fn records(
    view: &impl View,
    shelf: Shelf,
    prefix: &str,
    after: Option<&str>,
    most: usize,
    now: Timestamp,
) -> Result<Vec<(String, Record)>, Error> {
    let all = key::shelved(shelf, prefix);
    let from = after.map_or_else(|| all.clone(), |after| key::shelved_after(shelf, after).max(all.clone()));
    let rows = view.range(&from, &key::after(&all)).map(|row| {
        let (key, value) = row?;
        Ok((key::shelved_of(&key)?.1.to_owned(), decode_shelved(&value)?))
    });
    // One that cannot be read is no reason to pass over it.
    let kept = |row: &Result<(String, Record), Error>| row.as_ref().map_or(true, |(_, record)| !over(record, now));
    rows.filter(kept).take(most).collect()
}

fn shelved(view: &impl View, key: &[u8]) -> Result<Option<Record>, Error> {
    view.get(key)?.map(|bytes| decode_shelved(&bytes)).transpose()
}

fn over(record: &Record, now: Timestamp) -> bool {
    record.until.is_some_and(|until| until <= now)
}
