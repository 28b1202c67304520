//! Changes that are not on disk yet, seen on top of what is: how a command sees the ones before it in the same batch.
//! It does not decide what to change.

use std::collections::{BTreeMap, btree_map};
use std::iter::Peekable;
use std::mem;
use std::ops::Bound;

use fjall::Slice;

use super::table::{Row, Rows, Table, View};
use crate::store::Error;

/// The database with a batch of changes on top. One thread has it.
pub(super) struct Staged {
    /// What is on disk.
    table: Table,
    /// New values of keys; none for a key that goes.
    changes: BTreeMap<Vec<u8>, Option<Slice>>,
}

impl Staged {
    /// No changes yet.
    pub(super) fn new(table: Table) -> Self {
        Self { table, changes: BTreeMap::new() }
    }

    /// Sets a key.
    pub(super) fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.changes.insert(key, Some(value.into()));
    }

    /// Removes a key.
    pub(super) fn remove(&mut self, key: Vec<u8>) {
        self.changes.insert(key, None);
    }

    /// Writes the changes, all or none, and begins anew.
    pub(super) fn write(&mut self, sync: bool) -> Result<(), Error> {
        self.table.write(mem::take(&mut self.changes), sync)
    }

    /// Bytes on disk.
    pub(super) fn disk_bytes(&self) -> Result<u64, Error> {
        self.table.disk_bytes()
    }
}

impl View for Staged {
    fn get(&self, key: &[u8]) -> Result<Option<Slice>, Error> {
        match self.changes.get(key) {
            Some(change) => Ok(change.clone()),
            None => self.table.latest(key),
        }
    }

    fn range(&self, from: &[u8], before: &[u8]) -> Rows<'_> {
        if from >= before {
            return Box::new(std::iter::empty());
        }
        let bounds = (Bound::Included(from), Bound::Excluded(before));
        Box::new(Merged {
            below: self.table.latest_range(from, before).peekable(),
            above: self.changes.range::<[u8], _>(bounds).peekable(),
        })
    }
}

/// Rows of the disk with changes on top, both by key.
struct Merged<'a> {
    below: Peekable<Rows<'a>>,
    above: Peekable<btree_map::Range<'a, Vec<u8>, Option<Slice>>>,
}

impl Iterator for Merged<'_> {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        loop {
            let covered = match (self.below.peek(), self.above.peek()) {
                (Some(Ok((below, _))), Some((above, _))) if **below < ***above => return self.below.next(),
                (Some(Ok((below, _))), Some((above, _))) => **below == ***above,
                (_, None) | (Some(Err(_)), _) => return self.below.next(),
                (None, Some(_)) => false,
            };
            if covered {
                self.below.next();
            }
            if let Some((key, Some(value))) = self.above.next() {
                return Some(Ok((key.as_slice().into(), value.clone())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::Staged;
    use crate::store::embedded::table::{Table, View};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn changes_are_seen_on_top_of_the_disk(
            steps in proptest::collection::vec((0_u8..12, proptest::option::of(any::<u8>()), any::<bool>()), 1..60),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let mut staged = Staged::new(Table::open(folder.path(), 1 << 20, 1 << 20).unwrap());
            let mut plain = BTreeMap::new();
            for (key, value, write) in steps {
                match value {
                    Some(value) => {
                        plain.insert(key, value);
                        staged.put(vec![key], vec![value]);
                    }
                    None => {
                        plain.remove(&key);
                        staged.remove(vec![key]);
                    }
                }
                if write {
                    staged.write(false).unwrap();
                }
                let rows = staged.range(&[2], &[9]).map(Result::unwrap);
                let rows: Vec<_> = rows.map(|(key, value)| (key[0], value[0])).collect();
                let expected: Vec<_> = plain.range(2..9).map(|(&key, &value)| (key, value)).collect();
                prop_assert_eq!(rows, expected);
                let found = staged.get(&[key]).unwrap().map(|value| value[0]);
                prop_assert_eq!(found, plain.get(&key).copied());
            }
        }
    }
}
