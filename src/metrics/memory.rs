//! Numbers of memory: what the process holds, and what each tier of its pools does. It is told them when somebody asks
//! for the metrics.

use std::sync::OnceLock;

use crate::metrics::{Counter, Gauge, Names};

/// All of them.
#[derive(Debug)]
pub(super) struct MemoryNumbers {
    resident: Gauge,
    connection: Gauge,
    /// Resident bytes when the metrics were first told of them: before the first device.
    at_start: OnceLock<u64>,
    tiers: Vec<TierNumbers>,
}

/// Those of one tier.
#[derive(Debug)]
struct TierNumbers {
    name: &'static str,
    used: Gauge,
    free: Gauge,
    hits: Counter,
    misses: Counter,
    trimmed: Counter,
}

/// What one tier of the pools holds, and what it has done since the start.
#[derive(Clone, Copy, Debug)]
pub struct TierUse {
    /// Its word.
    pub name: &'static str,
    /// Bytes of blocks that are out.
    pub used_bytes: u64,
    /// Bytes of blocks that wait for their next use.
    pub free_bytes: u64,
    /// Blocks handed out that had been used before.
    pub hits: u64,
    /// Blocks handed out that were allocated for it.
    pub misses: u64,
    /// Bytes of free blocks that went to the allocator because nobody needed them.
    pub trimmed_bytes: u64,
}

impl MemoryNumbers {
    pub(super) fn new(names: &mut Names) -> Self {
        let tiers = &TIERS;
        let used = names.byte_gauges("pool_used", "Bytes of blocks in use, by tier", "tier", tiers);
        let free = names.byte_gauges("pool_free", "Bytes of blocks kept for their next use, by tier", "tier", tiers);
        let all = || tiers.iter().copied();
        let hits = names.counters("pool_hits", "Blocks taken that were kept, by tier", "tier", all());
        let misses = names.counters("pool_misses", "Blocks taken that were allocated, by tier", "tier", all());
        let trimmed = names.counters("pool_trimmed_bytes", "Bytes given back as unneeded, by tier", "tier", all());
        let tier = |(at, name): (usize, &&'static str)| TierNumbers {
            name,
            used: used[at].clone(),
            free: free[at].clone(),
            hits: hits[at].clone(),
            misses: misses[at].clone(),
            trimmed: trimmed[at].clone(),
        };
        Self {
            tiers: tiers.iter().enumerate().map(tier).collect(),
            resident: names.byte_gauge("resident", "Bytes of memory that the process holds"),
            connection: names.byte_gauge(
                "connection",
                "Bytes of memory that came since the start, for each device connection: close to what one costs when there are many",
            ),
            at_start: OnceLock::new(),
        }
    }

    pub(super) fn set_resident(&self, resident: u64, connections: i64) {
        let grown = resident.saturating_sub(*self.at_start.get_or_init(|| resident));
        self.resident.set(resident);
        self.connection.set(u64::try_from(connections).ok().and_then(|count| grown.checked_div(count)).unwrap_or(0));
    }

    pub(super) fn set_tier(&self, tier: TierUse) {
        let Some(numbers) = self.tiers.iter().find(|numbers| numbers.name == tier.name) else { return };
        numbers.used.set(tier.used_bytes);
        numbers.free.set(tier.free_bytes);
        numbers.hits.mirror(tier.hits);
        numbers.misses.mirror(tier.misses);
        numbers.trimmed.mirror(tier.trimmed_bytes);
    }
}

/// The tiers of `pool`, which is a floor above.
const TIERS: [&str; 4] = ["process", "connection", "stream", "message"];
