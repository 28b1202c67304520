//! The figures of a report in the order in which they are read, each with its ratio to an earlier run. It decides what
//! is shown, not how it looks: the table and the page both draw from it.

use crate::cli::load_report::units::{Figure, bytes, count, micros, millis, rate};
use crate::load::report::{Latency, Report};

/// Figures of one kind.
#[derive(Debug)]
pub(super) struct Group {
    /// Its heading.
    pub(super) title: &'static str,
    /// Never empty.
    pub(super) rows: Vec<Row>,
}

/// One figure.
#[derive(Debug)]
pub(super) struct Row {
    /// What it is; a stable code when `nested`.
    pub(super) name: String,
    /// Whether it is a part of the row above.
    pub(super) nested: bool,
    /// Its value.
    pub(super) figure: Figure,
    /// Whether it is as it should be.
    pub(super) tone: Tone,
    /// What it is of the earlier run's.
    pub(super) ratio: Option<Ratio>,
    /// The same as a total, where the figure is a rate.
    pub(super) total: Option<Figure>,
}

/// Whether a figure must be as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// It may be anything.
    Plain,
    /// A zero that must be one.
    Good,
    /// A number that should be zero.
    Bad,
}

/// A figure over the same one of an earlier run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ratio {
    /// 1 is no change.
    pub(super) value: f64,
    /// What the change means.
    pub(super) verdict: Verdict,
}

/// What a change means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Clearly better.
    Better,
    /// Within what two runs of one program differ by.
    Same,
    /// Clearly worse.
    Worse,
}

/// The latencies of one kind.
#[derive(Debug)]
pub(super) struct Spread {
    /// What was timed.
    pub(super) name: String,
    /// How many were.
    pub(super) count: u64,
    /// One for each of [`COLUMNS`].
    pub(super) figures: [Figure; COLUMNS.len()],
    /// The same over the earlier run's.
    pub(super) ratios: [Option<Ratio>; COLUMNS.len()],
}

/// What is shown of a distribution.
pub(super) const COLUMNS: [&str; 5] = ["p50", "p90", "p99", "p99.9", "max"];

/// The latencies that a report has, the one that the scenario is about first, each with the name it is shown under.
pub(super) fn latencies(report: &Report) -> Vec<(String, &Latency)> {
    // The contract of the report: two time the way in, one the answer, all others the way of a push.
    let main = match &*report.scenario {
        "connect" | "reconnect" => "welcome",
        "enqueue" => "enqueue",
        _ => "delivery",
    };
    let others = report.other_latency_ms.iter().map(|(name, latency)| {
        // One word for one thing, whether it is what the scenario is about or not.
        let shown = if name == "handshake" { "welcome" } else { name };
        (shown.to_owned(), latency)
    });
    let all = std::iter::once((main.to_owned(), &report.latency_ms)).chain(others);
    all.filter(|(_, latency)| latency.count > 0).collect()
}

/// The distributions of a report.
pub(super) fn spreads(report: &Report, earlier: Option<&Report>) -> Vec<Spread> {
    let earlier = earlier.map(latencies).unwrap_or_default();
    let spread = |(name, latency): (String, &Latency)| {
        let before = earlier.iter().find(|(other, _)| *other == name).map(|(_, latency)| points(latency));
        let now = points(latency);
        Spread {
            name,
            count: latency.count,
            figures: now.map(millis),
            ratios: std::array::from_fn(|index| Ratio::new(now[index], before?[index], Aim::Low)),
        }
    };
    latencies(report).into_iter().map(spread).collect()
}

fn points(latency: &Latency) -> [f64; COLUMNS.len()] {
    [latency.p50, latency.p90, latency.p99, latency.p999, latency.max]
}

/// How much went through.
pub(super) fn throughput(report: &Report, earlier: Option<&Report>) -> Option<Group> {
    let flow = |name, per_second: fn(&Report) -> Option<f64>, total: Option<u64>| {
        let total = total.filter(|total| *total > 0).map(count);
        let row = Row::of(name, rate, per_second, Aim::High, report, earlier);
        match (row, total) {
            (Some(row), total) => Some(Row { total, ..row }),
            // No rate was measured, but it happened.
            (None, Some(total)) => Some(Row::plain(name, Figure::default(), Some(total))),
            (None, None) => None,
        }
    };
    let rows = [
        flow("handshakes", |report| report.handshakes_per_second, None),
        flow("pushes accepted", |report| report.pushes_per_second, Some(report.pushes)),
        flow("deliveries", |report| report.deliveries_per_second, Some(report.deliveries)),
        flow("acks confirmed", |_| None, Some(report.acked)),
    ];
    Group::of("throughput", rows)
}

/// What it cost.
pub(super) fn cost(report: &Report, earlier: Option<&Report>) -> Option<Group> {
    type Value = fn(&Report) -> Option<f64>;
    let cost = |name, unit: fn(f64) -> Figure, value: Value| Row::of(name, unit, value, Aim::Low, report, earlier);
    let rows = [
        cost("server CPU per delivery", micros, |report| report.server_cpu_us_per_delivery),
        cost("client CPU per delivery", micros, |report| report.client_cpu_us_per_delivery),
        cost("server CPU per push", micros, |report| report.server_cpu_us_per_push),
        cost("server CPU per handshake", micros, |report| report.server_cpu_us_per_handshake),
        cost("memory per idle connection", bytes, |report| report.idle_bytes_per_connection),
        cost("the same after a burst", bytes, |report| report.bytes_per_connection_after_burst),
        cost("server memory before", bytes, |report| Some(report.server_memory_bytes?[0] as f64)),
        cost("server memory at most", bytes, |report| Some(report.server_memory_bytes?[1] as f64)),
        cost("server memory at the end", bytes, |report| Some(report.server_memory_bytes?[2] as f64)),
    ];
    Group::of("cost", rows)
}

/// What must be zero.
pub(super) fn correctness(report: &Report) -> Group {
    let failures = report.failures.values().fold(0, |sum: u64, count| sum.saturating_add(*count));
    let zeros =
        [("lost", report.lost), ("duplicated", report.duplicated), ("wrong", report.wrong), ("failures", failures)];
    let mut rows: Vec<_> = zeros.into_iter().map(|(name, number)| Row::zero(name, false, number)).collect();
    rows.extend(report.failures.iter().map(|(code, number)| Row::zero(code, true, *number)));
    Group { title: "correctness", rows }
}

/// Whether every figure that must be zero is.
pub(super) fn is_clean(report: &Report) -> bool {
    correctness(report).rows.iter().all(|row| row.tone != Tone::Bad)
}

impl Group {
    fn of(title: &'static str, rows: impl IntoIterator<Item = Option<Row>>) -> Option<Self> {
        let rows: Vec<_> = rows.into_iter().flatten().collect();
        (!rows.is_empty()).then_some(Self { title, rows })
    }
}

impl Row {
    fn of(
        name: &str,
        unit: fn(f64) -> Figure,
        value: fn(&Report) -> Option<f64>,
        aim: Aim,
        report: &Report,
        earlier: Option<&Report>,
    ) -> Option<Self> {
        let now = value(report)?;
        let ratio = earlier.and_then(value).and_then(|before| Ratio::new(now, before, aim));
        Some(Self { ratio, ..Self::plain(name, unit(now), None) })
    }

    fn plain(name: &str, figure: Figure, total: Option<Figure>) -> Self {
        Self { name: name.to_owned(), nested: false, figure, tone: Tone::Plain, ratio: None, total }
    }

    fn zero(name: &str, nested: bool, number: u64) -> Self {
        let tone = if number == 0 { Tone::Good } else { Tone::Bad };
        Self { nested, tone, ..Self::plain(name, count(number), None) }
    }
}

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aim {
    High,
    Low,
}

impl Ratio {
    /// `None` when there is nothing to divide by.
    fn new(now: f64, before: f64, aim: Aim) -> Option<Self> {
        let value = now / before;
        if !(value.is_finite() && value >= 0.0 && before > 0.0) {
            return None;
        }
        let verdict = match value {
            value if (value - 1.0).abs() < NOISE => Verdict::Same,
            value if (value > 1.0) == (aim == Aim::High) => Verdict::Better,
            _ => Verdict::Worse,
        };
        Some(Self { value, verdict })
    }
}

/// Changes below this are not coloured. A guess: two runs on one machine differ by a few hundredths.
const NOISE: f64 = 0.05;

#[cfg(test)]
mod tests {
    use super::{Tone, Verdict, correctness, cost, is_clean, spreads, throughput};
    use crate::cli::load_report::samples;
    use crate::load::report::Report;

    #[test]
    fn a_report_without_figures_shows_what_must_be_zero_and_nothing_else() {
        let report = Report::default();
        assert!(throughput(&report, None).is_none());
        assert!(cost(&report, None).is_none());
        assert!(spreads(&report, None).is_empty());
        assert_eq!(correctness(&report).rows.len(), 4);
        assert!(is_clean(&report));
    }

    #[test]
    fn what_should_be_zero_is_bad_otherwise() {
        let mut report = Report { lost: 1, ..Report::default() };
        report.failures.insert("QUOTA".to_owned(), u64::MAX);
        report.failures.insert("RESET".to_owned(), 1);
        let rows = correctness(&report).rows;
        let shown: Vec<_> = rows.iter().map(|row| (&*row.name, row.nested, row.tone)).collect();
        let expected = [
            ("lost", false, Tone::Bad),
            ("duplicated", false, Tone::Good),
            ("wrong", false, Tone::Good),
            ("failures", false, Tone::Bad),
            ("QUOTA", true, Tone::Bad),
            ("RESET", true, Tone::Bad),
        ];
        assert_eq!(shown, expected);
        assert!(!is_clean(&report));
    }

    #[test]
    fn ratios_say_whether_it_became_better() {
        let (report, mut earlier) = (samples::fanout(), samples::fanout());
        earlier.deliveries_per_second = report.deliveries_per_second.map(|rate| rate / 2.0);
        earlier.server_cpu_us_per_delivery = report.server_cpu_us_per_delivery.map(|cpu| cpu / 2.0);
        earlier.client_cpu_us_per_delivery = Some(0.0);
        earlier.latency_ms.p99 *= 2.0;
        let throughput = throughput(&report, Some(&earlier)).unwrap();
        let deliveries = throughput.rows.iter().find(|row| row.name == "deliveries").unwrap().ratio.unwrap();
        assert_eq!((deliveries.value, deliveries.verdict), (2.0, Verdict::Better));
        let cost = cost(&report, Some(&earlier)).unwrap();
        let ratio = |name: &str| cost.rows.iter().find(|row| row.name == name).unwrap().ratio;
        assert_eq!(ratio("server CPU per delivery").map(|ratio| ratio.verdict), Some(Verdict::Worse));
        assert_eq!(ratio("client CPU per delivery"), None, "nothing to divide by");
        let delivery = &spreads(&report, Some(&earlier))[0];
        assert_eq!(delivery.ratios[0].map(|ratio| ratio.verdict), Some(Verdict::Same));
        assert_eq!(delivery.ratios[2].map(|ratio| (ratio.value, ratio.verdict)), Some((0.5, Verdict::Better)));
    }
}
