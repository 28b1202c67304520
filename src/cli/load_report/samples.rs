//! Made-up reports for tests: a plausible run of each kind, one with nothing, one with everything beyond measure.

use std::collections::BTreeMap;

use crate::load::report::{Latency, Report, Sample};

/// A fan-out in which all went well.
pub(super) fn fanout() -> Report {
    Report {
        scenario: "fanout".to_owned(),
        settings: settings(&[
            ("connections", "10000"),
            ("outstanding", "8"),
            ("payload", "256 B"),
            ("for", "12s"),
            ("server-pid", "4242"),
        ]),
        machine: "pushline 0.1.0, 4 cores, Linux 6.8.0".to_owned(),
        began_at: 1_790_000_000,
        seconds: 12.4,
        connections: 10_000,
        handshakes_per_second: Some(3_412.5),
        server_cpu_us_per_handshake: Some(241.3),
        idle_bytes_per_connection: Some(27_443.2),
        bytes_per_connection_after_burst: Some(29_105.0),
        server_memory_bytes: Some([14_680_064, 341_835_776, 305_135_616]),
        pushes: 387,
        pushes_per_second: Some(31.25),
        deliveries: 3_870_000,
        deliveries_per_second: Some(312_096.8),
        acked: 3_870_000,
        server_cpu_us_per_delivery: Some(4.08),
        client_cpu_us_per_delivery: Some(1.93),
        latency_ms: latency(3_870_000, 18.0, 2.6),
        other_latency_ms: BTreeMap::from([
            ("ack".to_owned(), latency(3_870_000, 1.9, 3.4)),
            ("enqueue".to_owned(), latency(387, 0.82, 2.1)),
            ("last".to_owned(), latency(387, 31.0, 1.5)),
        ]),
        timeline: timeline(25, |second| 312_000.0 * (1.0 + 0.12 * (second * 1.7).sin())),
        ..Report::default()
    }
}

/// Everyone is cut and returns; something went wrong.
pub(super) fn reconnect() -> Report {
    let mut timeline = timeline(40, |second| if second > 5.0 { 2_400.0 } else { 1_200.0 });
    for (index, sample) in timeline.iter_mut().enumerate() {
        sample.connections = if index < 10 { 10_000 } else { ((index as u64 - 10) * 700).min(10_000) };
    }
    Report {
        scenario: "reconnect".to_owned(),
        settings: settings(&[("connections", "10000"), ("rate", "1k/s")]),
        machine: "pushline 0.1.0, 4 cores, Linux 6.8.0".to_owned(),
        began_at: 1_790_000_600,
        seconds: 20.0,
        connections: 10_000,
        handshakes_per_second: Some(1_388.0),
        server_cpu_us_per_handshake: Some(248.0),
        pushes: 20_000,
        pushes_per_second: Some(1_000.0),
        deliveries: 19_996,
        deliveries_per_second: Some(999.8),
        acked: 19_990,
        server_cpu_us_per_delivery: Some(61.0),
        lost: 4,
        failures: BTreeMap::from([("unavailable".to_owned(), 1_204), ("deadline".to_owned(), 3)]),
        troubles: Vec::new(),
        latency_ms: latency(10_000, 2_600.0, 1.1),
        other_latency_ms: BTreeMap::from([("enqueue".to_owned(), latency(20_000, 1.2, 9.0))]),
        timeline,
        ..Report::default()
    }
}

/// All that can be absent is absent.
pub(super) fn empty() -> Report {
    Report { scenario: "connect".to_owned(), ..Report::default() }
}

/// All that can be large is, what can be no number is none, and words try to break out of where they are shown.
pub(super) fn extreme() -> Report {
    let hostile = "</script><script>alert(1)</script> <!-- & \"' ]]> \u{1b}[2J\r\n\u{202e} \u{4e16}\u{754c} ".repeat(4);
    let wild = |value: f64| Latency {
        count: u64::MAX,
        p50: value,
        p90: f64::MAX,
        p99: f64::NAN,
        p999: f64::INFINITY,
        max: f64::MAX,
        curve: vec![(0.0, 0.0), (f64::NAN, 1.0), (0.5, f64::MAX), (0.9, f64::NEG_INFINITY), (1.0, -3.0), (7.0, 1.0)],
    };
    let sample = Sample {
        second: f64::INFINITY,
        connections: u64::MAX,
        deliveries_per_second: f64::NAN,
        server_memory_bytes: u64::MAX,
        server_cores: f64::MAX,
    };
    Report {
        scenario: hostile.clone(),
        settings: vec![(hostile.clone(), hostile.clone()), (String::new(), String::new())],
        machine: hostile.clone(),
        began_at: u64::MAX,
        seconds: f64::NAN,
        connections: u64::MAX,
        handshakes_per_second: Some(f64::MAX),
        server_cpu_us_per_handshake: Some(f64::NAN),
        idle_bytes_per_connection: Some(-1e300),
        bytes_per_connection_after_burst: Some(f64::INFINITY),
        server_memory_bytes: Some([u64::MAX; 3]),
        pushes: u64::MAX,
        pushes_per_second: Some(f64::MIN_POSITIVE),
        deliveries: u64::MAX,
        deliveries_per_second: Some(f64::MAX),
        acked: u64::MAX,
        server_cpu_us_per_delivery: Some(f64::MAX),
        client_cpu_us_per_delivery: Some(0.0),
        server_cpu_us_per_push: Some(f64::NAN),
        lost: u64::MAX,
        duplicated: u64::MAX,
        wrong: u64::MAX,
        failures: BTreeMap::from([(hostile.clone(), u64::MAX), ("x".to_owned(), u64::MAX)]),
        troubles: Vec::new(),
        latency_ms: wild(0.0),
        other_latency_ms: BTreeMap::from([(hostile, wild(f64::NAN)), ("last".to_owned(), wild(1e-300))]),
        timeline: vec![Sample::default(), sample, Sample { second: -4.0, ..sample }, Sample { second: 9.0, ..sample }],
    }
}

/// A distribution that is half below `median` and grows by `tail` with each nine.
pub(super) fn latency(count: u64, median: f64, tail: f64) -> Latency {
    // Three digits, as a histogram would give them, and so that JSON gives back the very same number.
    let at = |quantile: f64| {
        let nines = -(1.0 - quantile).max(1.0 / count.max(1) as f64).log10();
        (median * tail.powf(nines - 0.301) * 1000.0).round() / 1000.0
    };
    let steps = (0..=60).map(|step| 1.0 - 10.0_f64.powf(-f64::from(step) / 10.0));
    let shown = steps.filter(|quantile| (1.0 - quantile) * count as f64 >= 1.0);
    let curve = shown.map(|quantile| (quantile * 1e6).round() / 1e6).map(|quantile| (quantile, at(quantile)));
    Latency {
        count,
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        p999: at(0.999),
        max: at(1.0),
        curve: curve.chain([(1.0, at(1.0))]).collect(),
    }
}

fn timeline(samples: u32, rate: impl Fn(f64) -> f64) -> Vec<Sample> {
    let sample = |index: u32| {
        let second = f64::from(index) / 2.0;
        Sample {
            second,
            connections: 10_000,
            deliveries_per_second: if index == 0 { 0.0 } else { rate(second).round() },
            server_memory_bytes: 280_000_000 + u64::from(index.min(10)) * 6_000_000,
            server_cores: if index == 0 { 0.0 } else { (rate(second) / 2_450.0).round() / 100.0 },
        }
    };
    (0..samples).map(sample).collect()
}

fn settings(settings: &[(&str, &str)]) -> Vec<(String, String)> {
    settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}
