//! Numbers that only grow and numbers that go both ways: handles that cost one atomic operation an event. They know
//! neither their names nor who reads them.

use std::sync::atomic::Ordering;

use prometheus_client::metrics::{counter, gauge};

/// Counts events since the start. Cheap to clone; clones share the number.
#[derive(Clone, Debug, Default)]
pub struct Counter(pub(super) counter::Counter);

impl Counter {
    /// One more.
    pub fn increment(&self) {
        self.0.inc();
    }

    /// `count` more.
    pub fn add(&self, count: u64) {
        self.0.inc_by(count);
    }

    /// The number now.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.get()
    }

    /// Takes over a number that is counted elsewhere; it must never go back.
    pub(super) fn mirror(&self, count: u64) {
        self.0.inner().store(count, Ordering::Relaxed);
    }
}

/// How many there are now. Cheap to clone; clones share the number.
#[derive(Clone, Debug, Default)]
pub struct Gauge(pub(super) gauge::Gauge);

impl Gauge {
    /// One more.
    pub fn increment(&self) {
        self.0.inc();
    }

    /// One less.
    pub fn decrement(&self) {
        self.0.dec();
    }

    /// `count` more.
    pub fn add(&self, count: u64) {
        self.0.inc_by(clamped(count));
    }

    /// `count` less.
    pub fn subtract(&self, count: u64) {
        self.0.dec_by(clamped(count));
    }

    /// Exactly `count`.
    pub fn set(&self, count: u64) {
        self.0.set(clamped(count));
    }

    /// The number now. Below zero only when more was taken off than ever put on, which is a bug worth seeing.
    #[must_use]
    pub fn value(&self) -> i64 {
        self.0.get()
    }
}

/// Gauges are signed; no count of ours comes near the end of that range.
fn clamped(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
