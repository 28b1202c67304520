//! A token bucket for each key, in bounded memory. It keeps no keys: only their hashes, under a secret of the process.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use crate::model::clock::Moment;
use crate::model::tenant::Rate;
use crate::rate::bucket::Bucket;

/// Token buckets by key.
///
/// A bucket that is full again is forgotten: a new one is full, too. When more are not full than there is room for, those
/// go that are nearest to full: whoever comes with ever new keys does not get back what it took with the old ones before it
/// has emptied as many others as far.
pub struct Buckets {
    /// Makes the hashes that stand for the keys. Nobody outside knows its secret, so nobody finds two keys that share one.
    hasher: RandomState,
    shards: Vec<RwLock<Shard>>,
    /// Most buckets in a shard.
    shard_max: usize,
}

/// Buckets under one lock. Only who makes a bucket writes; taking from one that is there only reads.
struct Shard {
    buckets: HashMap<u64, Bucket, BuildHasherDefault<AsIs>>,
    /// At so many it is looked for those that are full: at twice as many as were left the last time, so that the looking
    /// costs each bucket that is made the same.
    crowded: usize,
}

impl Buckets {
    /// Room for about so many.
    #[must_use]
    pub fn new(most: usize) -> Self {
        let shard = || RwLock::new(Shard { buckets: HashMap::default(), crowded: CROWDED_LEAST });
        Self {
            hasher: RandomState::new(),
            shards: std::iter::repeat_with(shard).take(SHARDS).collect(),
            shard_max: most.div_ceil(SHARDS).max(1),
        }
    }

    /// Takes a token from a key's bucket.
    ///
    /// # Errors
    /// When there is none: how long until there is one.
    pub fn take(&self, key: impl Hash, rate: Rate, now: Moment) -> Result<(), Duration> {
        let key = self.hasher.hash_one(key);
        // The map goes by the lowest and the highest bits; these are neither.
        let shard = &self.shards[usize::try_from(key >> 32).unwrap_or(0) % SHARDS];
        if let Some(bucket) = shard.read().unwrap_or_else(PoisonError::into_inner).buckets.get(&key) {
            return bucket.take(rate, now);
        }
        let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
        if !shard.buckets.contains_key(&key) {
            shard.make_room(self.shard_max, now);
        }
        shard.buckets.entry(key).or_default().take(rate, now)
    }

    /// Buckets that are held now.
    #[must_use]
    pub fn len(&self) -> usize {
        let held = |shard: &RwLock<Shard>| shard.read().unwrap_or_else(PoisonError::into_inner).buckets.len();
        self.shards.iter().map(held).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Shard {
    /// Makes room for one more.
    fn make_room(&mut self, most: usize, now: Moment) {
        if self.buckets.len() < self.crowded.min(most) {
            return;
        }
        self.buckets.retain(|_, bucket| !bucket.is_full(now));
        if self.buckets.len() >= most {
            self.forget_half();
        }
        self.crowded = (2 * self.buckets.len()).max(CROWDED_LEAST);
        // What a flood has left is given back.
        if self.buckets.capacity() > 4 * self.crowded {
            self.buckets.shrink_to(self.crowded);
        }
    }

    /// Forgets the half that is nearest to full, so that the next ones find room without looking.
    fn forget_half(&mut self) {
        let mut all: Vec<(u64, u64)> = self.buckets.iter().map(|(key, bucket)| (bucket.full_at(), *key)).collect();
        let half = all.len() / 2;
        all.select_nth_unstable(half);
        for (_, key) in &all[..=half] {
            self.buckets.remove(key);
        }
    }
}

/// The key is a hash already.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn write(&mut self, _: &[u8]) {
        unreachable!("the keys are numbers of 64 bits, which `write_u64` takes");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Locks that the buckets are spread over, so that making one does not wait for another. A guess: many more than cores.
const SHARDS: usize = 64;

/// A shard with fewer is not looked through.
const CROWDED_LEAST: usize = 32;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::{Buckets, CROWDED_LEAST, SHARDS};
    use crate::model::clock::Moment;
    use crate::model::tenant::Rate;

    const BEGIN: Moment = Moment::from_micros(7_000_000);

    fn rate(text: &str) -> Rate {
        Rate::parse(text).unwrap()
    }

    #[test]
    fn each_key_has_its_own() {
        let (buckets, rate) = (Buckets::new(1_000), rate("1/s"));
        for key in [("shop", "ada"), ("shop", "bob"), ("bank", "ada"), ("shopa", "da")] {
            assert_eq!(buckets.take(key, rate, BEGIN), Ok(()), "{key:?}");
            assert_eq!(buckets.take(key, rate, BEGIN), Err(Duration::from_secs(1)), "{key:?}");
        }
        assert_eq!(buckets.len(), 4);
    }

    #[test]
    fn those_that_are_full_again_are_forgotten() {
        let (buckets, rate) = (Buckets::new(usize::MAX), rate("1/s"));
        for second in 0..100 {
            let now = BEGIN + Duration::from_secs(second);
            for key in 0..10_000 {
                assert_eq!(buckets.take((second, key), rate, now), Ok(()));
            }
        }
        // Twice those of a second: one that is not full, and one that was not looked at since.
        assert!(buckets.len() <= 2 * 10_000 + SHARDS * CROWDED_LEAST, "{}", buckets.len());
        let much_later = BEGIN + Duration::from_secs(10_000);
        for key in 0..10_000 {
            assert_eq!(buckets.take(("later", key), rate, much_later), Ok(()));
        }
        let held = buckets.shards.iter().map(|shard| shard.read().unwrap().buckets.capacity()).sum::<usize>();
        assert!(held < 200_000, "{held}: memory goes with what is held");
    }

    #[test]
    fn a_flood_of_keys_is_bounded_and_buys_nobody_out() {
        let most = 6_400;
        let (buckets, rate) = (Buckets::new(most), rate("1/h burst 3"));
        while buckets.take("spent", rate, BEGIN).is_ok() {}
        for key in 0..200_000 {
            assert_eq!(buckets.take(("flood", key), rate, BEGIN), Ok(()));
            assert!(key % 1_000 > 0 || buckets.len() <= most);
        }
        assert!(buckets.len() >= most / 2 - SHARDS, "{}", buckets.len());
        assert!(buckets.take("spent", rate, BEGIN).is_err());
    }

    #[test]
    fn threads_share_a_key_exactly() {
        let (buckets, rate, taken) = (Buckets::new(1_000), rate("1/day burst 1000"), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (buckets, taken) = (&buckets, &taken);
                scope.spawn(move || {
                    for turn in 0..500 {
                        taken.fetch_add(usize::from(buckets.take("one", rate, BEGIN).is_ok()), Ordering::Relaxed);
                        assert_eq!(buckets.take((thread, turn), rate, BEGIN), Ok(()));
                    }
                });
            }
        });
        assert_eq!(taken.into_inner(), 1_000);
    }
}
