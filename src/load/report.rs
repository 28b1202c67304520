//! What a load run found, as plain values: what was asked, what was measured, what was wrong. It neither measures nor
//! renders.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The outcome of one scenario. Figures that the scenario does not measure are absent. Everything `per_delivery` is over
/// pushes that devices received; for `connect` and `reconnect` see `server_cpu_us_per_handshake`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Name of the scenario, as on the command line.
    pub scenario: String,
    /// What was asked, in the order of the command line: name and value, as a person would type them.
    pub settings: Vec<(String, String)>,
    /// Version of the program that measured, and of the machine: cores, kernel.
    pub machine: String,
    /// Seconds since the epoch when it began.
    pub began_at: u64,
    /// Seconds of the measured part.
    pub seconds: f64,
    /// Devices connected while it was measured.
    pub connections: u64,
    /// Full handshakes with `Open` and its welcome, a second.
    pub handshakes_per_second: Option<f64>,
    /// Server CPU (user and system) of one of them, in microseconds.
    pub server_cpu_us_per_handshake: Option<f64>,
    /// Resident bytes of the server that each idle connection adds: the difference between two crowd sizes.
    pub idle_bytes_per_connection: Option<f64>,
    /// The same some seconds after a burst.
    pub bytes_per_connection_after_burst: Option<f64>,
    /// Resident bytes of the server: before, at the highest, at the end.
    pub server_memory_bytes: Option<[u64; 3]>,
    /// Pushes that the gateway accepted.
    pub pushes: u64,
    /// Accepted pushes a second.
    pub pushes_per_second: Option<f64>,
    /// Pushes that devices received, each copy counted.
    pub deliveries: u64,
    /// Deliveries a second.
    pub deliveries_per_second: Option<f64>,
    /// Acks that the gateway confirmed, counted in pushes.
    pub acked: u64,
    /// Server CPU over deliveries, in microseconds.
    pub server_cpu_us_per_delivery: Option<f64>,
    /// Server CPU over accepted pushes, in microseconds; where nothing is delivered.
    #[serde(default)]
    pub server_cpu_us_per_push: Option<f64>,
    /// CPU of this tool over deliveries, in microseconds.
    pub client_cpu_us_per_delivery: Option<f64>,
    /// Owed and never received. Must be 0.
    pub lost: u64,
    /// Received again although the ack was confirmed, or twice without a reconnect. Must be 0.
    pub duplicated: u64,
    /// Received, but with a wrong content, out of order, or not owed. Must be 0.
    pub wrong: u64,
    /// Refusals and failures by stable code, or by a word for what has none. Empty when all went well.
    pub failures: BTreeMap<String, u64>,
    /// What failed, in words, each kind once.
    #[serde(default)]
    pub troubles: Vec<String>,
    /// The latency that the scenario is about: from the push (or the moment it was due) to the device's program; for
    /// `connect` and `reconnect` from the attempt to the welcome; for `enqueue` from the push to its answer.
    pub latency_ms: Latency,
    /// Others that the scenario measures, by name: `enqueue` (call to answer), `ack` (ack to its confirmation), `last`
    /// (push to the last of its devices).
    pub other_latency_ms: BTreeMap<String, Latency>,
    /// How it went over time.
    pub timeline: Vec<Sample>,
}

/// A distribution of latencies in milliseconds. For open loops each is counted from the moment at which the push was due,
/// so that a stall counts for all that it delayed (coordinated omission).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// How many were measured.
    pub count: u64,
    /// Half are faster.
    pub p50: f64,
    /// 90 of 100 are faster.
    pub p90: f64,
    /// 99 of 100 are faster.
    pub p99: f64,
    /// 999 of 1000 are faster.
    pub p999: f64,
    /// The slowest.
    pub max: f64,
    /// The curve, for plots: quantile in 0..=1 and milliseconds, rising, denser towards 1.
    pub curve: Vec<(f64, f64)>,
}

/// One moment of the run, for the plot over time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Seconds since the measured part began.
    pub second: f64,
    /// Connections open.
    pub connections: u64,
    /// Deliveries in the interval that ends here, a second.
    pub deliveries_per_second: f64,
    /// Resident bytes of the server; 0 when its pid was not given.
    pub server_memory_bytes: u64,
    /// Cores that the server used in the interval.
    pub server_cores: f64,
}
