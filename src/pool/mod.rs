//! Buffers by lifetime: process, connection, stream, message. Each tier has blocks of its own and gives them back by its
//! own rule, so that what lives long never pins what lives short. It knows nothing of what the bytes mean.
//!
//! | tier | a block lives | kept for its next use | at most | goes back to the allocator |
//! |---|---|---|---|---|
//! | process | for one record, in the hands of one thread | 18 KiB | two for each thread | never: every turn needs it |
//! | connection | while the connection has something queued | 4 to 64 KiB | 64 MiB | unneeded for 1 s |
//! | stream | until its request is answered | 512 KiB to 2 MiB | 64 MiB | unneeded for 2 s |
//! | message | until the last session has let go of it | 256 KiB to 2 MiB | 64 MiB | unneeded for 5 s |
//!
//! Below its least class a tier allocates plainly, because `benches/pool.rs` shows that it could not do better than the
//! allocator there; it still knows how much is out. Above its greatest class, and when nothing is free, it allocates as
//! well: a tier never fails and never waits.

mod block;
mod resident;
mod scratch;
mod tier;

use crate::metrics::{Metrics, TierUse};

pub use self::block::Block;
pub use self::resident::resident_bytes;
pub use self::scratch::{SCRATCH_BYTES, Scratch};
pub use self::tier::{Plan, Pool, Usage};

/// How long what is in a block matters, which decides whose block it is. What matters only for a moment needs no block:
/// that is [`Scratch`], the process tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// As long as a connection has something queued; an idle one has none.
    Connection,
    /// From a request's first byte to its answer.
    Stream,
    /// From a push to the moment when the last session has let go of it.
    Message,
}

impl Tier {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Connection, Self::Stream, Self::Message];

    /// Its word, in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Stream => "stream",
            Self::Message => "message",
        }
    }

    /// An empty block with room for `bytes`, or more.
    #[must_use]
    #[inline]
    pub fn take(self, bytes: usize) -> Block {
        self.pool().take(bytes)
    }

    /// What the tier holds and has done.
    #[must_use]
    pub fn usage(self) -> Usage {
        self.pool().usage()
    }

    #[inline]
    const fn pool(self) -> &'static Pool {
        match self {
            Self::Connection => &CONNECTION,
            Self::Stream => &STREAM,
            Self::Message => &MESSAGE,
        }
    }
}

/// Brings the metrics what the process and its tiers hold.
pub fn report(metrics: &Metrics) {
    if let Some(bytes) = resident_bytes() {
        metrics.set_resident(bytes);
    }
    let tiers = Tier::ALL.into_iter().map(|tier| (tier.name(), tier.usage()));
    for (name, usage) in tiers.chain([("process", Scratch::usage())]) {
        let Usage { used_bytes, free_bytes, hits, misses, trimmed_bytes } = usage;
        metrics.set_tier(TierUse { name, used_bytes, free_bytes, hits, misses, trimmed_bytes });
    }
}

/// Lets every tier give back what it has not needed of late. To be called once every [`TICK`].
pub fn tick() {
    for tier in Tier::ALL {
        tier.pool().tick();
    }
    // The allocator gives pages back to the system a second after they came free, but looks for them only when some thread
    // takes or lets go of a page: on a gateway that has come to rest none does, and a burst stayed for ever (50 KB a
    // connection instead of 34). A block too large to share a page makes it look.
    drop(std::hint::black_box(Vec::<u8>::with_capacity(NUDGE_BYTES)));
}

/// More than the allocator keeps in pages with others.
const NUDGE_BYTES: usize = 8 << 20;

/// The clock of the release rules.
pub const TICK: std::time::Duration = std::time::Duration::from_secs(1);

/// The greatest class is what HTTP/2 holds of a connection's push stream; the budget is a frame of 16 KiB for each of four
/// thousand connections. Released first, because connections are many: what a burst to all of them took must not stay.
static CONNECTION: Pool = Pool::new(Plan {
    class_least: 4 << 10,
    class_greatest: 64 << 10,
    free_bytes_max: 64 << 20,
    release_ticks: Some(1),
    counts_plain: true,
});

/// The greatest class holds the largest payload in base64 with what stands around it. Up to 256 KiB the allocator takes
/// 33 ns for a buffer and a tier 35; for 1 MiB it takes 255.
static STREAM: Pool = Pool::new(Plan {
    class_least: 512 << 10,
    class_greatest: 2 << 20,
    free_bytes_max: 64 << 20,
    release_ticks: Some(2),
    counts_plain: true,
});

/// The greatest class holds the largest payload with its attributes. Bodies of up to 64 KiB cost the same or more in a
/// tier, those of 256 KiB a third less. Released last: bodies come back when the slowest session has read them, seconds
/// after the burst that will need them again.
static MESSAGE: Pool = Pool::new(Plan {
    class_least: 256 << 10,
    class_greatest: 2 << 20,
    free_bytes_max: 64 << 20,
    release_ticks: Some(5),
    counts_plain: true,
});

#[cfg(test)]
mod tests {
    use super::{Scratch, Tier, report};
    use crate::metrics::Metrics;

    #[test]
    fn every_tier_reports_to_numbers_of_its_own() {
        let metrics = Metrics::new();
        let (taken, scratch) = (Tier::ALL.map(|tier| tier.take(300 << 10)), Scratch::take());
        report(&metrics);
        let page = metrics.render();
        let used = |name: &str| {
            let sample = format!("pushline_pool_used_bytes{{tier=\"{name}\"}} ");
            let value = page.lines().find_map(|line| line.strip_prefix(&sample)).expect("a sample");
            value.parse::<usize>().expect("a number")
        };
        for (tier, block) in Tier::ALL.into_iter().zip(&taken) {
            assert!(used(tier.name()) >= block.capacity(), "{}: {}", tier.name(), used(tier.name()));
        }
        assert!(used("process") >= scratch.len());
    }
}
