//! Values by key that were used lately: spares reading and decoding what was just written. It does not write anything,
//! and who changes a value elsewhere must change it here or forget it.

use std::collections::HashMap;
use std::mem;

/// A bounded map that lets go of what was not used for the longest time, about: it keeps two generations, and when the
/// younger one is full the older one goes.
pub(super) struct Recent<V> {
    young: HashMap<Vec<u8>, V>,
    old: HashMap<Vec<u8>, V>,
    /// Most values of one generation.
    generation_max: usize,
}

impl<V> Recent<V> {
    /// An empty one that keeps at least this many values that were used last, and at most twice as many.
    pub(super) fn new(generation_max: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), generation_max }
    }

    /// The value of a key, which counts as a use.
    pub(super) fn get(&mut self, key: &[u8]) -> Option<&mut V> {
        if !self.young.contains_key(key) {
            let (key, value) = self.old.remove_entry(key)?;
            self.insert(key, value);
        }
        self.young.get_mut(key)
    }

    /// Sets the value of a key.
    pub(super) fn put(&mut self, key: &[u8], value: V) {
        match self.get(key) {
            Some(present) => *present = value,
            None => self.insert(key.to_vec(), value),
        }
    }

    /// The same, with a key that is given away.
    pub(super) fn put_owned(&mut self, key: Vec<u8>, value: V) {
        match self.get(&key) {
            Some(present) => *present = value,
            None => self.insert(key, value),
        }
    }

    /// The value of a key; looking is no use of it.
    pub(super) fn peek(&self, key: &[u8]) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    /// Lets go of a key, and gives its value away.
    pub(super) fn take(&mut self, key: &[u8]) -> Option<V> {
        // A key is in one generation only.
        self.young.remove(key).or_else(|| self.old.remove(key))
    }

    /// Lets go of a key.
    pub(super) fn forget(&mut self, key: &[u8]) {
        self.young.remove(key);
        self.old.remove(key);
    }

    fn insert(&mut self, key: Vec<u8>, value: V) {
        if self.young.len() >= self.generation_max {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::Recent;

    proptest! {
        #[test]
        fn it_forgets_but_never_errs_and_keeps_what_was_used_last(
            steps in proptest::collection::vec((0_u8..12, 0_u8..5), 1..200),
        ) {
            let (mut recent, mut plain) = (Recent::new(3), BTreeMap::new());
            // Keys by last use, newest last.
            let mut used: Vec<u8> = Vec::new();
            for (number, (key, what)) in steps.into_iter().enumerate() {
                match what {
                    0 => {
                        recent.put(&[key], number);
                        plain.insert(key, number);
                    }
                    1 => {
                        recent.forget(&[key]);
                        plain.remove(&key);
                        continue;
                    }
                    2 => {
                        recent.put_owned(vec![key], number);
                        plain.insert(key, number);
                    }
                    3 => {
                        let (peeked, taken) = (recent.peek(&[key]).copied(), recent.take(&[key]));
                        prop_assert_eq!(peeked, taken);
                        prop_assert!(taken.is_none() || taken == plain.remove(&key), "it gave away what it had");
                        plain.remove(&key);
                        continue;
                    }
                    _ => {
                        let found = recent.get(&[key]).copied();
                        prop_assert!(found.is_none() || found == plain.get(&key).copied());
                        if found.is_none() {
                            let lately = used.iter().rev().take(3).any(|&other| other == key);
                            prop_assert!(!lately || !plain.contains_key(&key), "it was used lately");
                            continue;
                        }
                    }
                }
                used.retain(|&other| other != key);
                used.push(key);
                prop_assert!(recent.young.len() + recent.old.len() <= 6);
            }
        }
    }
}
