//! The database in the data folder: two tables, opened, read and written whole batches at a time. It does not know what
//! the keys and values mean.

use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Slice, Snapshot};

use super::{key, record};
use crate::store::Error;

/// Which table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    /// The entries of all logs: written once, read in order, large.
    Entries,
    /// Everything else: small, much of it overwritten often.
    Records,
}

/// A key and its value.
pub(super) type Row = Result<(Slice, Slice), Error>;

/// Rows by key.
pub(super) type Rows<'a> = Box<dyn Iterator<Item = Row> + 'a>;

/// Something that can be read: the state of the disk at an instant, or that with changes on top.
pub(super) trait View {
    /// The value of a key.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Slice>, Error>;

    /// The rows from one key up to but not including another.
    fn range(&self, table: Table, from: &[u8], before: &[u8]) -> Rows<'_>;

    /// The rows whose keys begin with these bytes.
    fn prefix(&self, table: Table, prefix: &[u8]) -> Rows<'_> {
        self.range(table, prefix, &key::after(prefix))
    }
}

/// Handles of the open database. Cheap to copy; the folder is unlocked when the last one goes.
#[derive(Clone)]
pub(super) struct Tables {
    database: Database,
    entries: Keyspace,
    records: Keyspace,
}

/// Journals are replayed at start and take room on disk until what they hold was written to tables. 64 MiB is the least
/// that the database allows, in addition to the active one of 64 MiB.
const JOURNAL_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Threads that write tables in the background. Two, so that writing one table out never waits for a compaction of the
/// other; more would only take processors from the gateway.
const WORKERS: usize = 2;

impl Tables {
    /// Opens the folder, or makes it.
    pub(super) fn open(folder: &Path, cache_bytes: u64, memtable_bytes: u64) -> Result<Self, Error> {
        let explain = |error| failed_to_open(folder, &error);
        let database = Database::builder(folder)
            .cache_size(cache_bytes)
            .max_journaling_size(JOURNAL_BYTES_MAX)
            .worker_threads(WORKERS)
            .open()
            .map_err(explain)?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(memtable_bytes);
        let entries = database.keyspace("entries", options).map_err(explain)?;
        let records = database.keyspace("records", options).map_err(explain)?;
        let tables = Self { database, entries, records };
        tables.check_format(folder)?;
        Ok(tables)
    }

    /// Refuses a folder of another format; a new folder gets ours.
    fn check_format(&self, folder: &Path) -> Result<(), Error> {
        let found = self.records.get(key::FORMAT).map_err(failed)?;
        match found.as_deref() {
            Some([record::FORMAT]) => Ok(()),
            Some(other) => Err(Error::Failed(format!(
                "{} was written in format {other:?}; this version reads format {} only. Start the version that wrote \
                 it, or give another folder",
                folder.display(),
                record::FORMAT,
            ))),
            None if self.records.is_empty().map_err(failed)? && self.entries.is_empty().map_err(failed)? => {
                let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
                batch.insert(&self.records, key::FORMAT, [record::FORMAT]);
                batch.commit().map_err(failed)
            }
            None => Err(Error::Failed(format!("{} is not a store of this program", folder.display()))),
        }
    }

    /// The state of this instant.
    pub(super) fn sight(&self) -> Sight {
        Sight { snapshot: self.database.snapshot(), tables: self.clone() }
    }

    /// Writes all changes or none. Without `sync` the operating system has them when this returns; with it, the disk,
    /// and with them everything written before.
    pub(super) fn write(&self, changes: impl Iterator<Item = Change>, sync: bool) -> Result<(), Error> {
        let mode = if sync { PersistMode::SyncData } else { PersistMode::Buffer };
        let mut batch = self.database.batch().durability(Some(mode));
        for (table, key, value) in changes {
            match value {
                Some(value) => batch.insert(self.keyspace(table), key, value),
                None => batch.remove(self.keyspace(table), key),
            }
        }
        // A batch without changes is dropped by the database, sync included.
        if batch.is_empty() && sync {
            return self.database.persist(mode).map_err(failed);
        }
        batch.commit().map_err(failed)
    }

    /// The latest value of a key. For the thread that writes: it cannot meet a half-applied batch.
    pub(super) fn latest(&self, table: Table, key: &[u8]) -> Result<Option<Slice>, Error> {
        self.keyspace(table).get(key).map_err(failed)
    }

    /// The latest rows; see [`Tables::latest`].
    pub(super) fn latest_range(&self, table: Table, from: &[u8], before: &[u8]) -> Rows<'static> {
        Box::new(self.keyspace(table).range(from..before).map(|row| row.into_inner().map_err(failed)))
    }

    /// Bytes on disk.
    pub(super) fn disk_bytes(&self) -> Result<u64, Error> {
        self.database.disk_space().map_err(failed)
    }

    fn keyspace(&self, table: Table) -> &Keyspace {
        match table {
            Table::Entries => &self.entries,
            Table::Records => &self.records,
        }
    }
}

/// A key of a table with its new value, or none if it goes.
pub(super) type Change = (Table, Vec<u8>, Option<Slice>);

/// The state of the database at one instant, for readers.
pub(super) struct Sight {
    snapshot: Snapshot,
    tables: Tables,
}

impl View for Sight {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Slice>, Error> {
        self.snapshot.get(self.tables.keyspace(table), key).map_err(failed)
    }

    fn range(&self, table: Table, from: &[u8], before: &[u8]) -> Rows<'_> {
        if from >= before {
            return Box::new(std::iter::empty());
        }
        let rows = self.snapshot.range(self.tables.keyspace(table), from..before);
        Box::new(rows.map(|row| row.into_inner().map_err(failed)))
    }
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Failed(error.to_string())
}

fn failed_to_open(folder: &Path, error: &fjall::Error) -> Error {
    let folder = folder.display();
    Error::Failed(match error {
        fjall::Error::Locked => {
            format!("{folder} is in use by another gateway; stop it, or give each gateway a folder of its own")
        }
        fjall::Error::InvalidVersion(_) => {
            format!(
                "{folder} was written by another version of the database ({error}); start the version that wrote it"
            )
        }
        _ => format!("{folder} cannot be opened: {error}"),
    })
}
