//! What a report has to plot: curves over quantiles and series over time. The terminal and the page both draw from it.

use crate::cli::load_report::axis::Base;
use crate::cli::load_report::units::{Figure, bytes, count, number, rate};
use crate::load::report::{Latency, Report, Sample};

/// Quantile in 0..=1 and milliseconds, rising. A distribution that came without a curve has the points of its table.
pub(super) fn curve(latency: &Latency) -> Vec<(f64, f64)> {
    if latency.curve.len() >= 2 {
        return latency.curve.clone();
    }
    if latency.count == 0 {
        return Vec::new();
    }
    vec![(0.5, latency.p50), (0.9, latency.p90), (0.99, latency.p99), (0.999, latency.p999), (1.0, latency.max)]
}

/// Something measured over time.
pub(super) struct Series {
    /// What it is.
    pub(super) name: &'static str,
    /// How its values are written.
    pub(super) unit: fn(f64) -> Figure,
    /// What its units are multiples of.
    pub(super) base: Base,
    /// Second and value.
    pub(super) points: Vec<(f64, f64)>,
    /// Whether the least of the values is worth a word: it is not where a run begins and ends with nothing.
    level: bool,
}

impl Series {
    /// The values alone.
    pub(super) fn values(&self) -> Vec<f64> {
        self.points.iter().map(|(_, value)| *value).collect()
    }

    /// Its bounds in words.
    pub(super) fn range(&self) -> String {
        let values = self.values();
        let most = values.iter().copied().fold(0.0, f64::max);
        let least = values.iter().copied().fold(most, f64::min);
        let (least, most) = ((self.unit)(least).text(), (self.unit)(most).text());
        if self.level && least != most { format!("{least} to {most}") } else { format!("at most {most}") }
    }
}

/// The series of a report that show something: at least two moments, not all zero, and for connections a change.
pub(super) fn series(report: &Report) -> Vec<Series> {
    type Value = fn(&Sample) -> f64;
    let series = |name, unit: fn(f64) -> Figure, base, level, value: Value| {
        let points = report.timeline.iter().map(|sample| (sample.second, value(sample))).collect();
        Series { name, unit, base, points, level }
    };
    let connections = |connections: f64| count(connections as u64);
    let all = [
        series("deliveries", rate, Base::Ten, false, |sample| sample.deliveries_per_second),
        series("server memory", bytes, Base::Two, true, |sample| sample.server_memory_bytes as f64),
        series("server cores", number, Base::Ten, false, |sample| sample.server_cores),
        series("connections", connections, Base::Ten, true, |sample| sample.connections as f64),
    ];
    let steady = |series: &Series| series.points.windows(2).all(|pair| pair[0].1 == pair[1].1);
    let shown = |series: &Series| {
        series.points.len() >= 2
            && series.points.iter().any(|(_, value)| *value > 0.0)
            && !(series.name == "connections" && steady(series))
    };
    all.into_iter().filter(shown).collect()
}
