//! A histogram of durations that is written without a lock: one atomic addition for the bucket, one for the sum. The
//! crate's own histogram takes a mutex on each event, which every connection would meet in.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// Durations by size. Cheap to clone; clones share the buckets.
#[derive(Clone, Debug, Default)]
pub struct Histogram(Arc<Buckets>);

#[derive(Debug, Default)]
struct Buckets {
    /// Events at or below the bound of the same index; the last takes all others.
    counts: [AtomicU64; BOUNDS_MICROS.len() + 1],
    /// All durations together, in microseconds. Would overflow after half a million years.
    sum_micros: AtomicU64,
}

impl Histogram {
    /// Counts one event that took so long.
    pub fn observe(&self, span: Duration) {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        self.0.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.0.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Events counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let bounds = BOUNDS_MICROS.iter().map(|micros| seconds(*micros)).chain([f64::INFINITY]);
        let counts = self.0.counts.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        // Summed from what was read, so that the last bucket and the count agree while others write.
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = seconds(self.0.sum_micros.load(Ordering::Relaxed));
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

#[expect(clippy::cast_precision_loss, reason = "a double is exact to 285 years in microseconds")]
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

/// Upper bounds in microseconds: 100 us (a push handed on within the process) to a minute (a device that came back),
/// in steps of 1, 2.5, 5. A guess that covers what matters: the fsync is between 0.1 and 50 ms.
const BOUNDS_MICROS: [u64; 18] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Histogram;

    #[test]
    fn a_bound_belongs_to_its_bucket_and_nothing_falls_through() {
        let histogram = Histogram::default();
        let cases = [(0, 0), (100, 0), (101, 1), (250, 1), (60_000_000, 17), (60_000_001, 18), (u64::MAX, 18)];
        for (micros, bucket) in cases {
            let before = histogram.0.counts[bucket].load(std::sync::atomic::Ordering::Relaxed);
            histogram.observe(Duration::from_micros(micros));
            let after = histogram.0.counts[bucket].load(std::sync::atomic::Ordering::Relaxed);
            assert_eq!(after, before + 1, "{micros} us");
        }
        assert_eq!(histogram.count(), 7);
    }
}
