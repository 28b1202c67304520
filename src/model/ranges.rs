//! A set of numbers kept as inclusive ranges: which offsets of a log, or which seqs of a stream, are settled.

use std::collections::BTreeMap;

/// A set of `u64`, stored as disjoint ranges that do not touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges {
    /// First of each range to its last.
    spans: BTreeMap<u64, u64>,
}

impl Ranges {
    /// The set of all numbers from 1 up to and including `last`; empty for 0.
    #[must_use]
    pub fn upto(last: u64) -> Self {
        let mut ranges = Self::default();
        if last > 0 {
            ranges.insert(1, last);
        }
        ranges
    }

    /// Adds `from..=upto`. An empty range (`from > upto`) adds nothing.
    pub fn insert(&mut self, from: u64, upto: u64) {
        if from > upto {
            return;
        }
        let (mut from, mut upto) = (from, upto);
        // Everything that overlaps or touches joins; looking one range to the left is enough, they are disjoint.
        while let Some((&first, &last)) = self.spans.range(..=upto.saturating_add(1)).next_back() {
            if last.saturating_add(1) < from {
                break;
            }
            from = from.min(first);
            upto = upto.max(last);
            self.spans.remove(&first);
        }
        self.spans.insert(from, upto);
    }

    /// Adds all of another set.
    pub fn merge(&mut self, other: &Self) {
        for (from, upto) in other.iter() {
            self.insert(from, upto);
        }
    }

    /// Whether the number is in the set.
    #[must_use]
    pub fn contains(&self, number: u64) -> bool {
        self.spans.range(..=number).next_back().is_some_and(|(_, &last)| last >= number)
    }

    /// The largest `n` such that all of `1..=n` is in the set; 0 when 1 is not.
    #[must_use]
    pub fn floor(&self) -> u64 {
        match self.spans.first_key_value() {
            Some((&first, &last)) if first <= 1 => last,
            _ => 0,
        }
    }

    /// The largest number in the set; 0 when it is empty.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.spans.last_key_value().map_or(0, |(_, &last)| last)
    }

    /// The smallest number from `from` on that is not in the set.
    #[must_use]
    pub fn first_gap(&self, from: u64) -> u64 {
        match self.spans.range(..=from).next_back() {
            Some((_, &last)) if last >= from => last.saturating_add(1),
            _ => from,
        }
    }

    /// How many ranges the set is stored as.
    #[must_use]
    pub fn spans(&self) -> usize {
        self.spans.len()
    }

    /// How many numbers of `from..=upto` are in the set.
    #[must_use]
    pub fn count(&self, from: u64, upto: u64) -> u64 {
        let overlap = |(&first, &last): (&u64, &u64)| {
            let (first, last) = (first.max(from), last.min(upto));
            if first > last { 0 } else { last - first + 1 }
        };
        self.spans.iter().map(overlap).sum()
    }

    /// The ranges, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.spans.iter().map(|(&from, &upto)| (from, upto))
    }
}

impl FromIterator<(u64, u64)> for Ranges {
    fn from_iter<I: IntoIterator<Item = (u64, u64)>>(spans: I) -> Self {
        let mut ranges = Self::default();
        for (from, upto) in spans {
            ranges.insert(from, upto);
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::Ranges;

    proptest! {
        #[test]
        fn behaves_like_a_plain_set(spans in proptest::collection::vec((0_u64..60, 0_u64..8), 0..40)) {
            let mut ranges = Ranges::default();
            let mut plain = BTreeSet::new();
            for (from, length) in spans {
                ranges.insert(from, from + length);
                plain.extend(from..=from + length);
            }
            for n in 0..80 {
                prop_assert_eq!(ranges.contains(n), plain.contains(&n));
            }
            prop_assert_eq!(ranges.count(10, 40), plain.range(10..=40).count() as u64);
            prop_assert_eq!(ranges.last(), plain.last().copied().unwrap_or(0));
            let floor = (1..).take_while(|n| plain.contains(n)).last().unwrap_or(0);
            prop_assert_eq!(ranges.floor(), floor);
            let spans: Vec<_> = ranges.iter().collect();
            prop_assert!(spans.windows(2).all(|w| w[0].1 + 1 < w[1].0), "touching ranges were not joined: {:?}", spans);
        }
    }

    #[test]
    fn the_ends_of_the_number_line_do_not_overflow() {
        let mut ranges = Ranges::upto(0);
        assert_eq!(ranges.spans(), 0);
        ranges.insert(u64::MAX - 1, u64::MAX);
        ranges.insert(0, 0);
        ranges.insert(5, 4);
        assert_eq!(ranges.iter().collect::<Vec<_>>(), [(0, 0), (u64::MAX - 1, u64::MAX)]);
        ranges.insert(0, u64::MAX);
        assert_eq!(ranges.spans(), 1);
    }
}
