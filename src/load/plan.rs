//! What a load run is asked to do, as plain values, and why it could not. It does nothing.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::model::message::Durability;

/// A whole run.
#[derive(Clone)]
pub struct Plan {
    /// Which gateway.
    pub gateway: Gateway,
    /// Who drives it.
    pub crowd: Crowd,
    /// What happens.
    pub scenario: Scenario,
    /// What was asked, as a person would type it, for the report.
    pub settings: Vec<(String, String)>,
}

/// The gateway that is driven.
#[derive(Clone)]
pub struct Gateway {
    /// Where it takes devices, and the name its certificate must bear, as `host:port`.
    pub devices: (SocketAddr, String),
    /// Where it takes backends, likewise.
    pub backend: (SocketAddr, String),
    /// Backends speak TLS.
    pub backend_tls: bool,
    /// Certificates to trust, in PEM. `None`: the system's.
    pub ca: Option<String>,
    /// API key.
    pub key: String,
    /// Where tokens come from.
    pub tokens: Tokens,
    /// The process whose CPU and memory are measured. `None`: whoever listens for devices, if that is on this machine.
    pub pid: Option<u32>,
}

/// Where devices get their tokens.
#[derive(Clone, Debug)]
pub enum Tokens {
    /// They are signed with the keys in this folder of the gateway.
    Signed(PathBuf),
    /// They stand in this file, one a line.
    File(PathBuf),
}

/// Who drives it.
#[derive(Clone, Debug)]
pub struct Crowd {
    /// Devices.
    pub connections: u32,
    /// Processes; with one, the crowd lives in this process.
    pub processes: u32,
    /// Threads of each process.
    pub threads: u32,
    /// Backend streams in all.
    pub producers: u32,
    /// Bytes of each payload; at least [`PAYLOAD_BYTES_MIN`].
    pub payload: usize,
    /// What pushes survive once they are answered.
    pub durability: Durability,
    /// Acks that are sent at the latest when so many wait.
    pub ack_count: u32,
    /// Acks that are sent at the latest when one has waited so long.
    pub ack_delay: Duration,
    /// Handshakes under way at a time.
    pub concurrency: u32,
    /// How long what is missing at the end is waited for.
    pub patience: Duration,
}

/// What happens.
#[derive(Clone, Debug)]
pub enum Scenario {
    /// Everybody connects and sits there.
    Connect {
        /// Topics, of which each device follows one.
        topics: u32,
        /// Pushes to each device in one burst, after which memory is measured again.
        burst: Option<u32>,
    },
    /// Pushes to one topic that all follow.
    Fanout {
        /// Pushes not yet received by all. With one: the next goes out when all have the one before.
        outstanding: u32,
        /// How much is pushed.
        until: Until,
    },
    /// Pushes to users, one device each.
    Unicast {
        /// So many a second; `None`: as fast as they are received.
        rate: Option<f64>,
        /// Pushes not yet received, when there is no rate.
        outstanding: u32,
        /// How much is pushed.
        until: Until,
    },
    /// Pushes to users who are not there.
    Enqueue {
        /// Users.
        users: u32,
        /// Pushes not yet answered.
        outstanding: u32,
        /// How much is pushed.
        until: Until,
    },
    /// All are cut at once and come back while pushes go on.
    Reconnect {
        /// Pushes a second.
        rate: f64,
        /// All come back within this time.
        spread: Duration,
    },
    /// Pushes wait for devices that come back all at once.
    Offline {
        /// Pushes in all.
        messages: u64,
        /// Pushes not yet answered while they are enqueued.
        outstanding: u32,
    },
    /// A day in the life.
    Mixed {
        /// Pushes to users a second.
        rate: f64,
        /// Pushes to topics a second.
        topic_rate: f64,
        /// Topics, of which each device follows one.
        topics: u32,
        /// For how long.
        duration: Duration,
    },
}

/// When a scenario that could go on for ever ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// After so many pushes.
    Pushes(u64),
    /// After so long.
    Elapsed(Duration),
}

impl Plan {
    /// Processes of the crowd: none is without a device, unless nobody connects.
    pub(super) fn processes(&self) -> u32 {
        let most = if self.crowd.connections == 0 { u32::MAX } else { self.crowd.connections };
        self.crowd.processes.clamp(1, most)
    }
}

impl Scenario {
    /// Its name on the command line.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "connect",
            Self::Fanout { .. } => "fanout",
            Self::Unicast { .. } => "unicast",
            Self::Enqueue { .. } => "enqueue",
            Self::Reconnect { .. } => "reconnect",
            Self::Offline { .. } => "offline",
            Self::Mixed { .. } => "mixed",
        }
    }
}

/// The smallest payload: what a push needs to be verified.
pub const PAYLOAD_BYTES_MIN: usize = super::stamp::STAMP_BYTES;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens where the gateway should.
    #[error("no gateway at {address}: {why}; start one with `pushline serve`, or name its address with {flag}")]
    NoGateway {
        /// Where.
        address: String,
        /// The flag that says where.
        flag: &'static str,
        /// What the system said.
        why: io::Error,
    },
    /// Nothing can be told of the server's process.
    #[error("no process {0} on this machine can be measured; leave --server-pid away when the gateway runs elsewhere")]
    NoProcess(u32),
    /// More sockets are wanted than this process may open.
    #[error(
        "{wanted} connections need more open files than the {limit} this process may have; raise it with `ulimit -n`, \
         or spread them with --processes {processes}"
    )]
    TooManyFiles {
        /// Connections of one process.
        wanted: u64,
        /// Open files it may have.
        limit: u64,
        /// Processes that would do.
        processes: u64,
    },
    /// The gateway refused, or the connection failed, before anything could be measured.
    #[error("{0}")]
    Refused(String),
    /// A part of this tool failed.
    #[error("{what}: {why}")]
    Failed {
        /// What it was about.
        what: &'static str,
        /// What the system said.
        why: io::Error,
    },
    /// Something did not happen within the patience of this tool.
    #[error("gave up after {0:?} waiting until {1}{2}")]
    TimedOut(Duration, &'static str, String),
}

/// How far a run is. The engine writes it, whoever draws a bar reads it.
#[derive(Debug, Default)]
pub struct Progress {
    phase: Mutex<&'static str>,
    done: AtomicU64,
    total: AtomicU64,
    server_memory_bytes: AtomicU64,
    spent_millis: AtomicU64,
    span_millis: AtomicU64,
}

/// How far a run is, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Glance {
    /// What goes on, in a few words; empty before it begins.
    pub phase: &'static str,
    /// How much of it is done.
    pub done: u64,
    /// Out of how much; 0 when that is not known.
    pub total: u64,
    /// How much of its time a phase of a given length has spent, and how long it is; none when it ends by itself.
    pub time: Option<(Duration, Duration)>,
    /// Resident bytes of the server; 0 when they are not known.
    pub server_memory_bytes: u64,
}

impl Progress {
    /// How far it is now.
    #[must_use]
    pub fn glance(&self) -> Glance {
        Glance {
            phase: *self.phase.lock().expect("nobody panics while holding it"),
            done: self.done.load(Ordering::Relaxed),
            total: self.total.load(Ordering::Relaxed),
            time: match self.span_millis.load(Ordering::Relaxed) {
                0 => None,
                span => Some((
                    Duration::from_millis(self.spent_millis.load(Ordering::Relaxed)),
                    Duration::from_millis(span),
                )),
            },
            server_memory_bytes: self.server_memory_bytes.load(Ordering::Relaxed),
        }
    }

    /// Another phase begins.
    pub(super) fn begin(&self, phase: &'static str, total: u64) {
        *self.phase.lock().expect("nobody panics while holding it") = phase;
        self.total.store(total, Ordering::Relaxed);
        self.done.store(0, Ordering::Relaxed);
        self.span_millis.store(0, Ordering::Relaxed);
    }

    /// The phase that has begun lasts so long, of which so much is over.
    pub(super) fn spent(&self, spent: Duration, span: Duration) {
        self.spent_millis.store(spent.min(span).as_millis() as u64, Ordering::Relaxed);
        self.span_millis.store(span.as_millis() as u64, Ordering::Relaxed);
    }

    /// So much of the phase is done.
    pub(super) fn at(&self, done: u64) {
        self.done.store(done, Ordering::Relaxed);
    }

    /// The server has so much memory.
    pub(super) fn server_memory(&self, bytes: u64) {
        self.server_memory_bytes.store(bytes, Ordering::Relaxed);
    }
}
