//! What is counted and measured while a run goes on, in a form that adds up without loss: threads and processes count for
//! themselves and are summed at the end.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::report::Latency;
use crate::model::clock::Moment;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Span {
    /// From the push, or the moment it was due, to the device's program.
    Delivery,
    /// From the push, or the moment it was due, to the gateway's answer.
    Enqueue,
    /// From an ack to its confirmation.
    Ack,
    /// From the first packet to the welcome.
    Handshake,
    /// From a push to the last of its devices.
    Last,
}

/// A distribution of times.
#[derive(Clone, Debug)]
pub(super) struct Times(Histogram<u64>);

impl Times {
    pub(super) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, MICROS_MAX, DIGITS).expect("these bounds are sensible"))
    }

    pub(super) fn record(&mut self, from: Moment, upto: Moment) {
        let micros = u64::try_from(upto.since(from).as_micros()).unwrap_or(MICROS_MAX);
        self.0.saturating_record(micros.max(1));
    }

    fn add(&mut self, other: &Self) {
        // Both have the same bounds, so this cannot fail.
        let _ = self.0.add(&other.0);
    }

    pub(super) fn latency(&self) -> Latency {
        let millis = |micros: u64| micros as f64 / 1000.0;
        let at = |quantile: f64| millis(self.0.value_at_quantile(quantile));
        if self.0.is_empty() {
            return Latency::default();
        }
        let mut curve = vec![(0.0, millis(self.0.min()))];
        // Ten steps for each halving of what is left: denser towards 1.
        let mut left = 1.0_f64;
        while left * self.0.len() as f64 >= 1.0 {
            for step in 1..=10 {
                let quantile = 1.0 - left * (1.0 - f64::from(step) / 20.0);
                curve.push((quantile, at(quantile)));
            }
            left /= 2.0;
        }
        curve.push((1.0, millis(self.0.max())));
        Latency {
            count: self.0.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: millis(self.0.max()),
            curve,
        }
    }
}

impl Serialize for Times {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())))
    }
}

impl<'de> Deserialize<'de> for Times {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut times = Self::new();
        for (micros, count) in Vec::<(u64, u64)>::deserialize(deserializer)? {
            times.0.saturating_record_n(micros.min(MICROS_MAX), count);
        }
        Ok(times)
    }
}

/// Everything that is counted.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Tally {
    /// Pushes that the gateway accepted.
    pub(super) pushes: u64,
    /// Pushes that devices received, each copy counted.
    pub(super) deliveries: u64,
    /// When the last of them came, in microseconds of the run's clock.
    pub(super) last_delivery: u64,
    /// Pushes whose ack was confirmed.
    pub(super) acked: u64,
    /// Owed and not received.
    pub(super) lost: u64,
    /// Received again although it must not.
    pub(super) duplicated: u64,
    /// Wrong content, out of order, not owed.
    pub(super) wrong: u64,
    /// Sessions that were opened.
    pub(super) welcomes: u64,
    /// By stable code.
    pub(super) failures: BTreeMap<String, u64>,
    /// What was measured.
    pub(super) times: BTreeMap<Span, Times>,
}

impl Tally {
    pub(super) fn record(&mut self, span: Span, from: Moment, upto: Moment) {
        self.times.entry(span).or_insert_with(Times::new).record(from, upto);
    }

    pub(super) fn failed(&mut self, code: &str) {
        *self.failures.entry(code.to_owned()).or_default() += 1;
    }

    /// Forgets what was measured so far. What was wrong stays.
    pub(super) fn forget_measures(&mut self) {
        (self.pushes, self.deliveries, self.acked, self.welcomes) = (0, 0, 0, 0);
        self.last_delivery = 0;
        self.times.clear();
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (mine, theirs) in [
            (&mut self.pushes, other.pushes),
            (&mut self.deliveries, other.deliveries),
            (&mut self.acked, other.acked),
            (&mut self.lost, other.lost),
            (&mut self.duplicated, other.duplicated),
            (&mut self.wrong, other.wrong),
            (&mut self.welcomes, other.welcomes),
        ] {
            *mine += theirs;
        }
        self.last_delivery = self.last_delivery.max(other.last_delivery);
        for (code, count) in &other.failures {
            *self.failures.entry(code.clone()).or_default() += count;
        }
        for (span, times) in &other.times {
            self.times.entry(*span).or_insert_with(Times::new).add(times);
        }
    }

    /// A distribution; of nothing when it was not measured.
    pub(super) fn latency(&self, span: Span) -> Latency {
        self.times.get(&span).map(Times::latency).unwrap_or_default()
    }
}

/// Longest time that is told apart: an hour.
const MICROS_MAX: u64 = 3_600_000_000;
/// Decimal digits that are kept of each time.
const DIGITS: u8 = 3;

#[cfg(test)]
mod tests {
    use super::{Span, Tally};
    use crate::model::clock::Moment;

    fn tally(micros: impl Iterator<Item = u64>) -> Tally {
        let mut tally = Tally { deliveries: 5, ..Tally::default() };
        for micros in micros {
            tally.record(Span::Delivery, Moment::ZERO, Moment::from_micros(micros));
        }
        tally.failed("log_full");
        tally
    }

    #[test]
    fn sums_are_as_if_one_had_counted_all_even_through_text() {
        let (odd, even) = (|| (1..20_000).step_by(2), || (0..20_000).step_by(2));
        let text = serde_json::to_string(&tally(even())).unwrap();
        let mut sum = tally(odd());
        sum.add(&serde_json::from_str(&text).unwrap());
        assert_eq!((sum.deliveries, sum.failures["log_full"]), (10, 2));
        assert_eq!(sum.latency(Span::Delivery), tally(odd().chain(even())).latency(Span::Delivery));
    }

    #[test]
    fn quantiles_are_in_milliseconds_and_the_curve_rises() {
        let latency = tally(1..=10_000).latency(Span::Delivery);
        assert_eq!(latency.count, 10_000);
        for (got, expected) in
            [(latency.p50, 5.0), (latency.p90, 9.0), (latency.p99, 9.9), (latency.p999, 9.99), (latency.max, 10.0)]
        {
            assert!((got - expected).abs() < 0.01, "{got} is not {expected}");
        }
        assert!(latency.curve.is_sorted(), "{:?}", latency.curve);
        assert_eq!((latency.curve[0].0, latency.curve.last().unwrap().0), (0.0, 1.0));
        assert_eq!(Tally::default().latency(Span::Ack).count, 0);
    }
}
