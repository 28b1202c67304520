//! What the gateway counts, and its text for scrapers (OpenMetrics). The only room that names `prometheus-client`;
//! it counts what it is told and looks at nothing by itself.
//!
//! The handles are plain fields: an event costs one atomic operation and no look-up.

mod histogram;
mod memory;
mod number;
mod rate;

use std::fmt;

use prometheus_client::encoding::{EncodeMetric, text};
use prometheus_client::metrics::info::Info;
use prometheus_client::metrics::{counter, family, gauge};
use prometheus_client::registry::{Registry, Unit};

pub use self::histogram::Histogram;
use self::memory::MemoryNumbers;
pub use self::memory::TierUse;
pub use self::number::{Counter, Gauge};
pub use self::rate::Limited;
use crate::model::close::CloseReason;
use crate::model::fault::Code;
use crate::model::frame::ResumeOutcome;

/// Everything that is counted. One for the process; shared behind an `Arc`.
pub struct Metrics {
    /// Device connections open now, from accept to close.
    pub connections: Gauge,
    /// Sessions open now.
    pub sessions: Gauge,
    /// Pushes stored.
    pub pushes_accepted: Counter,
    /// Pushes answered with an earlier one because of their idempotency key.
    pub pushes_duplicate: Counter,
    /// Online-only pushes.
    pub pushes_online: Counter,
    /// From the call of the store to its answer, for pushes.
    pub append_latency: Histogram,
    /// From acceptance of a message to its first send to a device. Those that waited for the device count too.
    pub delivery_latency: Histogram,
    /// Pushes sent to a device for the first time.
    pub deliveries_first: Counter,
    /// Pushes sent again after a nack, an ack timeout or a resume.
    pub deliveries_again: Counter,
    /// Pushes settled by an ack.
    pub acks: Counter,
    /// Pushes handed back by a nack.
    pub nacks: Counter,
    /// Pushes given up for a device.
    pub dead: Counter,
    /// Pushes sent and not settled, over all sessions.
    pub in_flight: Gauge,
    /// Comings and goings of devices that were noted for backends.
    pub presence_events: Counter,
    /// Writes that noted them.
    pub presence_batches: Counter,
    /// Posts to webhooks that were taken.
    pub webhook_posts_taken: Counter,
    /// Posts to webhooks that were refused or not answered.
    pub webhook_posts_failed: Counter,
    /// Events that wait to be posted, over all webhooks.
    pub webhook_lag: Gauge,
    /// Bytes received from devices, as the transport counts them.
    pub received_bytes: Counter,
    /// Bytes sent to devices, as the transport counts them.
    pub sent_bytes: Counter,
    /// By position in [`Code::ALL`].
    refused: Vec<Counter>,
    /// By position in [`Limited::ALL`].
    limited: Vec<Counter>,
    /// By [`ResumeOutcome`]: new, resumed, gap.
    opened: [Counter; 3],
    /// By position in [`CloseReason::ALL`]; the last is for devices that left by themselves.
    closed: Vec<Counter>,
    /// By position in [`HandshakeFailure::WORDS`], then in [`Code::ALL`].
    handshakes_failed: Vec<Counter>,
    /// Numbers that the store counts and [`Metrics::set_store`] brings.
    store: StoreNumbers,
    /// By the number of the core.
    core_connections: family::Family<[(&'static str, String); 1], gauge::Gauge>,
    /// Numbers of memory, which [`Metrics::set_resident`] and [`Metrics::set_tier`] bring.
    memory: MemoryNumbers,
    /// All of them with their names.
    registry: Registry,
}

/// Why a device connection never became a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// TLS failed: no common version, a bad record, a refused certificate.
    Tls,
    /// TLS was not done in time.
    TlsTimeout,
    /// The peer does not speak the transport's protocol.
    Protocol,
    /// No `Open` came in time.
    OpenTimeout,
    /// The peer left before it opened.
    Gone,
    /// The `Open` was refused.
    Refused(Code),
}

impl HandshakeFailure {
    /// Label values of those that are not refusals, in the order of the enum.
    const WORDS: [&'static str; 5] = ["tls", "tls_timeout", "protocol", "open_timeout", "gone"];

    /// Its place among the counters.
    const fn position(self) -> usize {
        match self {
            Self::Tls => 0,
            Self::TlsTimeout => 1,
            Self::Protocol => 2,
            Self::OpenTimeout => 3,
            Self::Gone => 4,
            Self::Refused(code) => Self::WORDS.len() + code as usize,
        }
    }
}

/// What the store counts by itself.
#[derive(Debug, Default)]
struct StoreNumbers {
    queue: Gauge,
    disk_bytes: Gauge,
    flushes: Counter,
    writes: Counter,
}

/// Media type of [`Metrics::render`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl Metrics {
    /// All at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut names = Names(Registry::with_prefix("pushline"));
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        names.0.register("build", "What was built", build);
        let codes = || Code::ALL.iter().map(|code| code.name());
        let closes = CloseReason::ALL.iter().map(CloseReason::name).chain(["gone"]);
        let pushes = names.counters("pushes", "Pushes taken, by outcome", "outcome", OUTCOMES);
        let deliveries = names.counters("deliveries", "Pushes sent to devices, by attempt", "attempt", ATTEMPTS);
        let opened = names.counters("sessions_opened", "Sessions opened, by how the resume went", "resume", RESUMES);
        let posts = names.counters("webhook_posts", "Posts to webhooks, by outcome", "outcome", ["taken", "failed"]);
        let core_connections = family::Family::default();
        let help = "Device connections open now, by the core they live on";
        names.0.register("core_connections", help, core_connections.clone());
        let failures = HandshakeFailure::WORDS.into_iter().chain(codes());
        Self {
            connections: names.gauge("connections", "Device connections open now"),
            sessions: names.gauge("sessions", "Sessions open now"),
            pushes_accepted: pushes[0].clone(),
            pushes_duplicate: pushes[1].clone(),
            pushes_online: pushes[2].clone(),
            append_latency: names.histogram("append_latency", "From the call of the store to its answer"),
            delivery_latency: names.histogram("delivery_latency", "From acceptance to the first send to a device"),
            deliveries_first: deliveries[0].clone(),
            deliveries_again: deliveries[1].clone(),
            acks: names.counter("acks", "Pushes settled by an ack"),
            nacks: names.counter("nacks", "Pushes handed back by a nack"),
            dead: names.counter("dead", "Pushes given up for a device"),
            in_flight: names.gauge("in_flight", "Pushes sent and not settled"),
            presence_events: names.counter("presence_events", "Comings and goings of devices noted for backends"),
            presence_batches: names.counter("presence_batches", "Writes that noted comings and goings"),
            webhook_posts_taken: posts[0].clone(),
            webhook_posts_failed: posts[1].clone(),
            webhook_lag: names.gauge("webhook_lag", "Events that wait to be posted to webhooks"),
            received_bytes: names.bytes("received", "Bytes received from devices"),
            sent_bytes: names.bytes("sent", "Bytes sent to devices"),
            refused: names.counters("pushes_refused", "Pushes refused, by code", "code", codes()),
            limited: names.counters("rate_limited", "What came too fast, by what it was", "what", Limited::words()),
            opened: [opened[0].clone(), opened[1].clone(), opened[2].clone()],
            closed: names.counters("sessions_closed", "Sessions closed, by reason", "reason", closes),
            handshakes_failed: names.counters(
                "handshakes_failed",
                "Device connections that never became a session, by reason",
                "reason",
                failures,
            ),
            store: StoreNumbers {
                queue: names.gauge("store_queue", "Writes waiting for the disk"),
                disk_bytes: names.byte_gauge("store_disk", "Bytes the store takes on disk"),
                flushes: names.counter("store_flushes", "Disk flushes since the start"),
                writes: names.counter("store_writes", "Writes since the start"),
            },
            core_connections,
            memory: MemoryNumbers::new(&mut names),
            registry: names.0,
        }
    }

    /// Connections that live on a core now.
    #[must_use]
    pub fn core_connections(&self, core: usize) -> Gauge {
        Gauge(self.core_connections.get_or_create_owned(&[("core", core.to_string())]))
    }

    /// A push was refused.
    pub fn push_refused(&self, code: Code) {
        self.refused[code as usize].increment();
    }

    /// Something came too fast and was refused.
    pub fn limited(&self, what: Limited) {
        self.limited[what as usize].increment();
    }

    /// A session opened.
    pub fn session_opened(&self, resume: ResumeOutcome) {
        self.sessions.increment();
        match resume {
            ResumeOutcome::New => self.opened[0].increment(),
            ResumeOutcome::Resumed => self.opened[1].increment(),
            ResumeOutcome::Gap => self.opened[2].increment(),
        }
    }

    /// A session closed: for a reason of the gateway's, or with `None` because the device left by itself.
    pub fn session_closed(&self, reason: Option<&CloseReason>) {
        self.sessions.decrement();
        let known = |reason: &CloseReason| CloseReason::ALL.iter().position(|known| known.code() == reason.code());
        let position = reason.and_then(known).unwrap_or(CloseReason::ALL.len());
        self.closed[position].increment();
    }

    /// A device connection ended before it became a session.
    pub fn handshake_failed(&self, failure: HandshakeFailure) {
        self.handshakes_failed[failure.position()].increment();
    }

    /// Brings the numbers that the store counts by itself; called before [`Metrics::render`].
    pub fn set_store(&self, queue: usize, disk_bytes: u64, flushes: u64, writes: u64) {
        self.store.queue.set(queue as u64);
        self.store.disk_bytes.set(disk_bytes);
        self.store.flushes.mirror(flushes);
        self.store.writes.mirror(writes);
    }

    /// Brings the bytes of memory that the process holds: once before the first device comes, which is what growth is
    /// measured from, and before [`Metrics::render`].
    pub fn set_resident(&self, bytes: u64) {
        self.memory.set_resident(bytes, self.connections.value());
    }

    /// Brings the numbers of a tier; called before [`Metrics::render`].
    pub fn set_tier(&self, tier: TierUse) {
        self.memory.set_tier(tier);
    }

    /// All numbers as OpenMetrics text ([`CONTENT_TYPE`]).
    ///
    /// # Panics
    /// Never: writing to a string does not fail, and all names were checked by the tests.
    #[must_use]
    pub fn render(&self) -> String {
        let mut out = String::new();
        text::encode(&mut out, &self.registry).expect("writing to a string does not fail");
        out
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// Gives names to numbers. HELP texts end without a full stop: the encoder adds it.
struct Names(Registry);

type Labels = [(&'static str, &'static str); 1];

impl Names {
    fn counter(&mut self, name: &str, help: &str) -> Counter {
        let counter = Counter::default();
        self.0.register(name, help, counter.0.clone());
        counter
    }

    fn gauge(&mut self, name: &str, help: &str) -> Gauge {
        let gauge = Gauge::default();
        self.0.register(name, help, gauge.0.clone());
        gauge
    }

    /// A counter for each value of a label; all are made now, so that they show as zero before the first event.
    fn counters(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        values: impl IntoIterator<Item = &'static str>,
    ) -> Vec<Counter> {
        let family = family::Family::<Labels, counter::Counter>::default();
        let made = values.into_iter().map(|value| Counter(family.get_or_create_owned(&[(label, value)]))).collect();
        self.0.register(name, help, family);
        made
    }

    fn histogram(&mut self, name: &str, help: &str) -> Histogram {
        let histogram = Histogram::default();
        self.with_unit(name, help, Unit::Seconds, histogram.clone());
        histogram
    }

    fn bytes(&mut self, name: &str, help: &str) -> Counter {
        let counter = Counter::default();
        self.with_unit(name, help, Unit::Bytes, counter.0.clone());
        counter
    }

    fn byte_gauge(&mut self, name: &str, help: &str) -> Gauge {
        let gauge = Gauge::default();
        let shared: gauge::Gauge = gauge.0.clone();
        self.with_unit(name, help, Unit::Bytes, shared);
        gauge
    }

    /// A gauge for each value of a label.
    fn byte_gauges(&mut self, name: &str, help: &str, label: &'static str, values: &[&'static str]) -> Vec<Gauge> {
        let family = family::Family::<Labels, gauge::Gauge>::default();
        let made = values.iter().map(|value| Gauge(family.get_or_create_owned(&[(label, *value)]))).collect();
        self.with_unit(name, help, Unit::Bytes, family);
        made
    }

    fn with_unit(
        &mut self,
        name: &str,
        help: &str,
        unit: Unit,
        metric: impl EncodeMetric + fmt::Debug + Send + Sync + 'static,
    ) {
        self.0.register_with_unit(name, help, unit, metric);
    }
}

const OUTCOMES: [&str; 3] = ["accepted", "duplicate", "online"];
const ATTEMPTS: [&str; 2] = ["first", "again"];
const RESUMES: [&str; 3] = ["new", "resumed", "gap"];

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::{HandshakeFailure, Limited, Metrics, TierUse};
    use crate::model::close::CloseReason;
    use crate::model::fault::Code;
    use crate::model::frame::ResumeOutcome;

    /// Reads OpenMetrics text: samples by name with labels. Panics on what is not of the format.
    fn parse(text: &str) -> BTreeMap<String, f64> {
        let body = text.strip_suffix("# EOF\n").expect("the text ends with EOF");
        let mut samples = BTreeMap::new();
        let mut families: Vec<&str> = Vec::new();
        for line in body.lines() {
            if let Some(rest) = line.strip_prefix("# ") {
                let mut words = rest.splitn(3, ' ');
                let (kind, name, value) = (words.next(), words.next().expect("a name"), words.next());
                assert!(matches!(kind, Some("HELP" | "TYPE" | "UNIT")), "{line}");
                assert!(value.is_some_and(|value| !value.is_empty()), "{line}");
                assert!(name.starts_with("pushline_"), "{line}");
                if kind == Some("HELP") {
                    assert!(!families.contains(&name), "{name} is there twice");
                    families.push(name);
                }
            } else {
                let (name, value) = line.rsplit_once(' ').expect("a sample has a value");
                let family = families.last().expect("a sample follows its description");
                assert!(name.starts_with(family), "{name} stands under {family}");
                let known = samples.insert(name.to_owned(), value.parse().expect("a number"));
                assert_eq!(known, None, "{name} is there twice");
            }
        }
        samples
    }

    #[test]
    fn the_text_carries_every_number_under_its_name() {
        let metrics = Metrics::new();
        metrics.connections.increment();
        metrics.connections.increment();
        metrics.connections.decrement();
        metrics.pushes_accepted.add(3);
        metrics.push_refused(Code::LogFull);
        metrics.append_latency.observe(Duration::from_micros(2_500));
        metrics.append_latency.observe(Duration::from_secs(100));
        metrics.deliveries_again.increment();
        metrics.in_flight.add(9);
        metrics.in_flight.subtract(2);
        metrics.sent_bytes.add(1_000);
        metrics.session_opened(ResumeOutcome::Gap);
        metrics.session_opened(ResumeOutcome::New);
        metrics.session_closed(Some(&CloseReason::Protocol("any text")));
        metrics.handshake_failed(HandshakeFailure::Refused(Code::ExpiredToken));
        metrics.handshake_failed(HandshakeFailure::Gone);
        metrics.set_store(4, 5, 6, 7);
        metrics.set_resident(1_000_000);
        metrics.set_resident(1_030_000);
        let tier = TierUse { name: "stream", used_bytes: 8, free_bytes: 9, hits: 10, misses: 11, trimmed_bytes: 12 };
        metrics.set_tier(tier);

        let samples = parse(&metrics.render());

        let expected = [
            ("pushline_connections", 1.0),
            ("pushline_sessions", 1.0),
            ("pushline_resident_bytes", 1_030_000.0),
            ("pushline_connection_bytes", 30_000.0),
            ("pushline_pool_used_bytes{tier=\"stream\"}", 8.0),
            ("pushline_pool_free_bytes{tier=\"stream\"}", 9.0),
            ("pushline_pool_hits_total{tier=\"stream\"}", 10.0),
            ("pushline_pool_misses_total{tier=\"stream\"}", 11.0),
            ("pushline_pool_trimmed_bytes_total{tier=\"stream\"}", 12.0),
            ("pushline_pool_used_bytes{tier=\"process\"}", 0.0),
            ("pushline_pushes_total{outcome=\"accepted\"}", 3.0),
            ("pushline_pushes_total{outcome=\"online\"}", 0.0),
            ("pushline_pushes_refused_total{code=\"log_full\"}", 1.0),
            ("pushline_append_latency_seconds_bucket{le=\"0.001\"}", 0.0),
            ("pushline_append_latency_seconds_bucket{le=\"0.0025\"}", 1.0),
            ("pushline_append_latency_seconds_bucket{le=\"60.0\"}", 1.0),
            ("pushline_append_latency_seconds_bucket{le=\"+Inf\"}", 2.0),
            ("pushline_append_latency_seconds_count", 2.0),
            ("pushline_append_latency_seconds_sum", 100.0025),
            ("pushline_delivery_latency_seconds_count", 0.0),
            ("pushline_deliveries_total{attempt=\"again\"}", 1.0),
            ("pushline_acks_total", 0.0),
            ("pushline_presence_events_total", 0.0),
            ("pushline_presence_batches_total", 0.0),
            ("pushline_webhook_posts_total{outcome=\"failed\"}", 0.0),
            ("pushline_webhook_lag", 0.0),
            ("pushline_nacks_total", 0.0),
            ("pushline_dead_total", 0.0),
            ("pushline_in_flight", 7.0),
            ("pushline_sent_bytes_total", 1_000.0),
            ("pushline_received_bytes_total", 0.0),
            ("pushline_sessions_opened_total{resume=\"gap\"}", 1.0),
            ("pushline_sessions_closed_total{reason=\"protocol\"}", 1.0),
            ("pushline_sessions_closed_total{reason=\"gone\"}", 0.0),
            ("pushline_handshakes_failed_total{reason=\"expired_token\"}", 1.0),
            ("pushline_handshakes_failed_total{reason=\"gone\"}", 1.0),
            ("pushline_store_queue", 4.0),
            ("pushline_store_disk_bytes", 5.0),
            ("pushline_store_flushes_total", 6.0),
            ("pushline_store_writes_total", 7.0),
            (concat!("pushline_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), 1.0),
        ];
        for (name, value) in expected {
            assert_eq!(samples.get(name), Some(&value), "{name} in {samples:#?}");
        }
    }

    #[test]
    fn every_code_and_reason_has_a_counter_of_its_own() {
        let metrics = Metrics::new();
        for (times, code) in (1..).zip(Code::ALL) {
            (0..times).for_each(|_| metrics.push_refused(*code));
            (0..times).for_each(|_| metrics.handshake_failed(HandshakeFailure::Refused(*code)));
        }
        for (times, reason) in (1..).zip(CloseReason::ALL) {
            (0..times).for_each(|_| metrics.session_closed(Some(reason)));
        }
        for (times, what) in (1..).zip(Limited::ALL) {
            (0..times).for_each(|_| metrics.limited(what));
        }
        let samples = parse(&metrics.render());
        for (times, code) in (1..).zip(Code::ALL) {
            let (refused, failed) = ("pushline_pushes_refused_total{code", "pushline_handshakes_failed_total{reason");
            for family in [refused, failed] {
                assert_eq!(samples[&format!("{family}=\"{}\"}}", code.name())], f64::from(times), "{code:?}");
            }
        }
        for (times, reason) in (1..).zip(CloseReason::ALL) {
            let name = format!("pushline_sessions_closed_total{{reason=\"{}\"}}", reason.name());
            assert_eq!(samples[&name], f64::from(times), "{reason:?}");
        }
        for (times, word) in (1..).zip(Limited::words()) {
            assert_eq!(samples[&format!("pushline_rate_limited_total{{what=\"{word}\"}}")], f64::from(times), "{word}");
        }
    }
}
