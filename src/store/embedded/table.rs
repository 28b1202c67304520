//! The database in the data folder: one table, opened, read and written whole batches at a time. It does not know what
//! the keys and values mean.
//!
//! After a power cut the table is as it was after some batch, with all before that and none after it: at the least
//! after the last batch that was synced. It is one table for this. The database keeps a batch in its journal and in
//! memory; it seals that memory between two batches only, writes out at once all that is sealed, and takes from the
//! journal at start what comes after that, up to the first batch that is cut short. The journal is synced before, but
//! not for what was sealed meanwhile, so what is written out may be ahead of what is left of the journal. Of several
//! tables each would be ahead by as much as it likes, and a batch for two of them could be undone in one.
//!
//! A batch that is all there, but with other bytes than were written, the database takes for damage: it opens no such
//! folder.

use std::path::Path;

use fjall::config::PartitioningPolicy;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Slice, Snapshot};

use super::{key, record};
use crate::store::Error;

/// A key and its value.
pub(super) type Pair = (Slice, Slice);

/// The same, or why it cannot be read.
pub(super) type Row = Result<Pair, Error>;

/// Rows by key.
pub(super) type Rows<'a> = Box<dyn Iterator<Item = Row> + 'a>;

/// Something that can be read: the state of the disk at an instant, or that with changes on top.
pub(super) trait View {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Slice>, Error>;

    /// The rows from one key up to but not including another.
    fn range(&self, from: &[u8], before: &[u8]) -> Rows<'_>;

    /// The rows whose keys begin with these bytes.
    fn prefix(&self, prefix: &[u8]) -> Rows<'_> {
        self.range(prefix, &key::after(prefix))
    }
}

/// Handles of the open database. Cheap to copy; the folder is unlocked when the last one goes.
#[derive(Clone)]
pub(super) struct Table {
    database: Database,
    keyspace: Keyspace,
}

/// Journals are replayed at start and take room on disk until what they hold was written out. 64 MiB is the least
/// that the database allows, in addition to the active one of 64 MiB.
const JOURNAL_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Threads that write in the background: one for writing out what was gathered, which never compacts, and two that do
/// both. With one of those, the first spins: it hands the call to compact back to the queue for as long as the other is
/// busy. Measured with appends to a folder of 200,000 entries: 26 us of background work each with two threads, 14 with
/// three.
const WORKERS: usize = 3;

/// The table's name. Format 1 had its number in a table of this name too, so that its folders are refused as such.
const NAME: &str = "records";

impl Table {
    /// Opens the folder, or makes it.
    pub(super) fn open(folder: &Path, cache_bytes: u64, memtable_bytes: u64) -> Result<Self, Error> {
        let explain = |error| failed_to_open(folder, &error);
        let database = Database::builder(folder)
            .cache_size(cache_bytes)
            .max_journaling_size(JOURNAL_BYTES_MAX)
            .worker_threads(WORKERS)
            .open()
            .map_err(explain)?;
        // Below the first level, filters and indexes are read in pieces. A table of many small records has a filter of
        // megabytes: as one block it does not fit into the cache, and each look for a key read all of it. Measured with
        // a million users in groups: most of a millisecond a look.
        let options = || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(memtable_bytes)
                .filter_block_partitioning_policy(PartitioningPolicy::new([false, true]))
                .index_block_partitioning_policy(PartitioningPolicy::new([false, true]))
        };
        let keyspace = database.keyspace(NAME, options).map_err(explain)?;
        let table = Self { database, keyspace };
        table.check_format(folder)?;
        Ok(table)
    }

    /// Refuses a folder of another format; a new folder gets ours.
    fn check_format(&self, folder: &Path) -> Result<(), Error> {
        let found = self.keyspace.get(key::FORMAT).map_err(failed)?;
        match found.as_deref() {
            Some([record::FORMAT]) => Ok(()),
            Some(other) => Err(Error::Failed(format!(
                "{} was written in format {other:?}; this version reads format {} only. Start the version that wrote \
                 it, or give another folder",
                folder.display(),
                record::FORMAT,
            ))),
            None if self.keyspace.is_empty().map_err(failed)? => {
                let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
                batch.insert(&self.keyspace, key::FORMAT, [record::FORMAT]);
                batch.commit().map_err(failed)
            }
            None => Err(Error::Failed(format!("{} is not a store of this program", folder.display()))),
        }
    }

    /// The state of this instant.
    pub(super) fn sight(&self) -> Sight {
        Sight { snapshot: self.database.snapshot(), keyspace: self.keyspace.clone() }
    }

    /// Writes all changes or none. Without `sync` the operating system has them when this returns; with it, the disk,
    /// and with them everything written before.
    pub(super) fn write(&self, changes: impl IntoIterator<Item = Change>, sync: bool) -> Result<(), Error> {
        let mode = if sync { PersistMode::SyncData } else { PersistMode::Buffer };
        let mut batch = self.database.batch().durability(Some(mode));
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(&self.keyspace, key, value),
                None => batch.remove(&self.keyspace, key),
            }
        }
        // A batch without changes is dropped by the database, sync included.
        if batch.is_empty() && sync {
            return self.database.persist(mode).map_err(failed);
        }
        batch.commit().map_err(failed)
    }

    /// The latest value of a key. For the thread that writes: it cannot meet a half-applied batch.
    pub(super) fn latest(&self, key: &[u8]) -> Result<Option<Slice>, Error> {
        self.keyspace.get(key).map_err(failed)
    }

    /// The latest rows; see [`Table::latest`].
    pub(super) fn latest_range(&self, from: &[u8], before: &[u8]) -> Rows<'static> {
        Box::new(self.keyspace.range(from..before).map(|row| row.into_inner().map_err(failed)))
    }

    /// Bytes on disk.
    pub(super) fn disk_bytes(&self) -> Result<u64, Error> {
        self.database.disk_space().map_err(failed)
    }
}

/// A key with its new value, or none if it goes.
pub(super) type Change = (Vec<u8>, Option<Slice>);

/// The state of the database at one instant, for readers.
pub(super) struct Sight {
    snapshot: Snapshot,
    keyspace: Keyspace,
}

impl View for Sight {
    fn get(&self, key: &[u8]) -> Result<Option<Slice>, Error> {
        self.snapshot.get(&self.keyspace, key).map_err(failed)
    }

    fn range(&self, from: &[u8], before: &[u8]) -> Rows<'_> {
        if from >= before {
            return Box::new(std::iter::empty());
        }
        let rows = self.snapshot.range(&self.keyspace, from..before);
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

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::path::Path;

    use super::Table;

    const BATCHES: u8 = 40;

    fn open(folder: &Path) -> Table {
        Table::open(folder, 1 << 20, 1 << 20).unwrap()
    }

    /// One batch, of the shape of a push: something new of its own, a count written over, the trace of the last one gone.
    fn write(table: &Table, number: u8) {
        let put = |kind, number, value: u8| (vec![kind, number], Some([value; 100].into()));
        let changes =
            [put(b'a', number, 0), put(b'b', 0, number), (vec![b'c', number - 1], None), put(b'c', number, 0)];
        table.write(changes, false).unwrap();
    }

    /// After which batch the table is as it is; fails if it is as after none.
    fn batches(table: &Table) -> u8 {
        let keys = |kind| table.latest_range(&[kind], &[kind + 1]).map(|row| row.unwrap().0[1]).collect::<Vec<_>>();
        let count = table.latest(&[b'b', 0]).unwrap().map_or(0, |value| value[0]);
        assert_eq!(keys(b'a'), (1..=count).collect::<Vec<_>>(), "what batches put");
        assert_eq!(keys(b'c'), Vec::from_iter((count > 0).then_some(count)), "what batches removed");
        count
    }

    /// Where the last byte of a journal stands that is not zero; all of it is within the first MiB.
    fn end(journal: &Path) -> u64 {
        let mut bytes = Vec::new();
        File::open(journal).unwrap().take(1 << 20).read_to_end(&mut bytes).unwrap();
        bytes.iter().rposition(|&byte| byte != 0).unwrap() as u64 + 1
    }

    #[test]
    fn whatever_is_left_of_the_journal_whole_batches_are_undone_the_last_ones_first() {
        let mut found = Vec::new();
        for written_out in [0, 10, 25] {
            for tenth in 0..=10 {
                let folder = tempfile::tempdir().unwrap();
                let journal = folder.path().join("0.jnl");
                let table = open(folder.path());
                for number in 1..=BATCHES {
                    write(&table, number);
                    if number <= written_out && number.is_multiple_of(5) {
                        table.keyspace.rotate_memtable_and_wait().unwrap();
                    }
                }
                drop(table);
                let end = end(&journal);
                File::options().write(true).open(journal).unwrap().set_len(end * tenth / 10).unwrap();

                let table = open(folder.path());
                let count = batches(&table);
                assert!(
                    count >= written_out && (count == BATCHES || tenth < 10),
                    "{count} after {written_out}, {tenth}"
                );
                found.push(count);
                write(&table, count + 1);
                drop(table);
                assert_eq!(batches(&open(folder.path())), count + 1, "what is written then is not taken for old");
            }
        }
        found.sort_unstable();
        found.dedup();
        assert!(found.len() > 10, "{found:?}");
    }

    /// Bytes that this thread has read from files; those that the system had in memory count too.
    #[cfg(target_os = "linux")]
    fn bytes_read() -> u64 {
        let text = std::fs::read_to_string("/proc/thread-self/io").unwrap();
        text.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_look_for_a_key_reads_a_few_blocks_however_many_keys_there_are() {
        const KEYS: u32 = 300_000;
        let folder = tempfile::tempdir().unwrap();
        let table = open(folder.path());
        let key = |number: u32| number.to_be_bytes().to_vec();
        for first in (0..KEYS).step_by(10_000) {
            table.write((first..first + 10_000).map(|number| (key(number), Some([].into()))), false).unwrap();
        }
        table.keyspace.rotate_memtable_and_wait().unwrap();
        table.keyspace.major_compact().unwrap();
        let (looks, before) = (500, bytes_read());
        for number in 0..looks {
            assert!(table.latest(&key(number * 7_919 % KEYS)).unwrap().is_some());
            assert!(table.latest(&key(KEYS + number * 7_919)).unwrap().is_none());
        }
        let each = (bytes_read() - before) / u64::from(2 * looks);
        assert!(each < 32 * 1024, "{each} bytes");
    }
}
