//! What is typed after `pushline load`, and the plan that it makes.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;

use super::target::Target;
use crate::cli::options::span;
use crate::cli::push::DurabilityWord;
use crate::load::plan::{Crowd, PAYLOAD_BYTES_MIN, Plan, Scenario, Until};

/// Drive a gateway with a crowd of devices and backends, and verify what it delivers.
///
/// The crowd speaks to any gateway by address. It checks every payload, the order of each log, and at the end that
/// nothing is missing and nothing came twice; if anything did, the exit code is 1. CPU and memory of the server are
/// measured when it runs on this machine.
///
/// A connection is an open file, here and in the gateway: with the usual limits (`ulimit -n`) a process holds about
/// 19,000 of them. The crowd can be spread over several processes, a gateway cannot.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pushline load connect --connections 10000          handshakes, and memory of idle connections
  pushline load fanout --connections 10000           one push to all, again and again
  pushline load fanout --outstanding 8               the same, as fast as it goes
  pushline load unicast --rate 30000 --html run.html latencies at a given rate, kept as a page
  pushline load enqueue --pushes 1000000             what the gateway takes without delivering
  pushline load connect --json > before.json         figures to compare a later run with: --compare before.json")]
pub(in crate::cli) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// The scenarios.
#[derive(Debug, Subcommand)]
enum Command {
    /// Connect everybody: handshakes a second, server CPU of each, memory of each idle connection.
    Connect {
        /// Topics, of which each device follows one.
        #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1000))]
        topics: u32,
        /// Then push so often to each device in one burst, and measure memory again when it is quiet.
        #[arg(long, value_name = "PUSHES")]
        burst: Option<u32>,
        #[command(flatten)]
        common: Common,
    },
    /// Push to one topic that all devices follow.
    Fanout {
        /// Pushes that not all devices have yet. With 1 the next goes out when all have the one before; more measure how
        /// much goes through.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        outstanding: u32,
        #[command(flatten)]
        until: HowMuch,
        #[command(flatten)]
        common: Common,
    },
    /// Push to users with one device each, which receive and ack.
    Unicast {
        /// Pushes a second, whatever the gateway does (latencies count from when a push was due), or `max`: as fast as
        /// they are received.
        #[arg(long, value_parser = rate, allow_negative_numbers = true, default_value = "max")]
        rate: Rate,
        /// Pushes not yet received, with --rate max.
        #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        outstanding: u32,
        #[command(flatten)]
        until: HowMuch,
        #[command(flatten)]
        common: Common,
    },
    /// Push to users without devices: what the gateway can take.
    Enqueue {
        /// Users to whom is pushed in turn.
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
        users: u32,
        /// Pushes not yet answered, over all streams.
        #[arg(long, default_value_t = 8192, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        outstanding: u32,
        #[command(flatten)]
        until: HowMuch,
        #[command(flatten)]
        common: Common,
    },
    /// Cut all devices at once and let them come back, while pushes go on.
    Reconnect {
        /// Pushes a second meanwhile.
        #[arg(long, default_value_t = 1000.0, value_parser = pushes_a_second, allow_negative_numbers = true)]
        rate: f64,
        /// All come back within this time. The client library's first pause is up to half a second.
        #[arg(long, value_name = "TIME", value_parser = span, default_value = "500ms")]
        spread: Duration,
        #[command(flatten)]
        common: Common,
    },
    /// Push to devices that are away, then let all come back at once.
    Offline {
        /// Pushes in all.
        #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
        messages: u64,
        /// Pushes not yet answered, over all streams.
        #[arg(long, default_value_t = 8192, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        outstanding: u32,
        #[command(flatten)]
        common: Common,
    },
    /// A day in the life: pushes to users and topics while devices leave and return, stop reading, and fail to handle some.
    Mixed {
        /// Pushes to users a second.
        #[arg(long, default_value_t = 2000.0, value_parser = pushes_a_second, allow_negative_numbers = true)]
        rate: f64,
        /// Pushes to topics a second.
        #[arg(long, default_value_t = 5.0, value_parser = pushes_a_second, allow_negative_numbers = true)]
        topic_rate: f64,
        /// Topics, of which each device follows one.
        #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1000))]
        topics: u32,
        /// For how long.
        #[arg(long, value_name = "TIME", value_parser = some_time, default_value = "60s")]
        duration: Duration,
        #[command(flatten)]
        common: Common,
    },
}

/// What every scenario takes.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Common {
    /// Devices [default: 10000; 1000 for unicast, offline and mixed; enqueue has none].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections: Option<u32>,
    /// Handshakes under way at a time.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    concurrency: u32,
    /// Processes of the crowd.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    processes: u32,
    /// Threads of each process.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    threads: u32,
    /// Backend streams on which is pushed [default: 8; 64 for enqueue and offline].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    producers: Option<u32>,
    /// Bytes of each payload; at least 40, with which it is verified.
    #[arg(long, value_name = "BYTES", default_value_t = 256, value_parser = payload)]
    payload: usize,
    /// What a push survives once it is answered.
    #[arg(long, value_enum, default_value = "fsync")]
    durability: DurabilityWord,
    /// Acks of a device that are sent at the latest when so many wait. As in the client library.
    #[arg(long, value_name = "COUNT", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1000))]
    ack_count: u32,
    /// Acks of a device that are sent at the latest when one has waited so long. As in the client library.
    #[arg(long, value_name = "TIME", value_parser = span, default_value = "20ms")]
    ack_delay: Duration,
    /// How long to wait at the end for what has not come yet.
    #[arg(long, value_name = "TIME", value_parser = span, default_value = "60s")]
    patience: Duration,
    /// Keep the report as a page that needs nothing else.
    #[arg(long, value_name = "FILE")]
    pub(super) html: Option<PathBuf>,
    /// Show ratios to an earlier run: a file with what --json printed.
    #[arg(long, value_name = "FILE")]
    pub(super) compare: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
}

/// When pushing ends.
#[derive(Clone, Copy, Debug, clap::Args)]
struct HowMuch {
    /// Push so often in all [default: until --duration is over].
    #[arg(long, conflicts_with = "duration", value_parser = clap::value_parser!(u64).range(1..))]
    pushes: Option<u64>,
    /// Push for so long [default: 10s].
    #[arg(long, value_name = "TIME", value_parser = some_time)]
    duration: Option<Duration>,
}

/// A rate, or none.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rate {
    Max,
    Of(f64),
}

impl Arguments {
    /// What every scenario takes.
    pub(super) const fn common(&self) -> &Common {
        match &self.command {
            Command::Connect { common, .. }
            | Command::Fanout { common, .. }
            | Command::Unicast { common, .. }
            | Command::Enqueue { common, .. }
            | Command::Reconnect { common, .. }
            | Command::Offline { common, .. }
            | Command::Mixed { common, .. } => common,
        }
    }

    /// The plan that they make.
    pub(super) fn plan(&self) -> anyhow::Result<Plan> {
        let scenario = self.command.scenario();
        let common = self.common();
        let is_small = matches!(scenario, Scenario::Unicast { .. } | Scenario::Offline { .. } | Scenario::Mixed { .. });
        let is_enqueue = matches!(scenario, Scenario::Enqueue { .. });
        let has_backlog = is_enqueue || matches!(scenario, Scenario::Offline { .. });
        let connections = match (&scenario, common.connections) {
            // Nobody connects.
            (Scenario::Enqueue { .. }, _) => 0,
            (_, Some(connections)) => connections,
            (_, None) => {
                if is_small {
                    1000
                } else {
                    10_000
                }
            }
        };
        let producers = common.producers.unwrap_or(if has_backlog { 64 } else { 8 });
        let crowd = Crowd {
            connections,
            processes: common.processes,
            threads: common.threads,
            producers,
            payload: common.payload,
            durability: common.durability.into(),
            ack_count: common.ack_count,
            ack_delay: common.ack_delay,
            concurrency: common.concurrency,
            patience: common.patience,
        };
        let mut settings = self.command.settings(connections, producers);
        settings.extend(common.settings());
        Ok(Plan { gateway: common.target.gateway()?, crowd, scenario, settings })
    }
}

impl Command {
    fn scenario(&self) -> Scenario {
        match *self {
            Self::Connect { topics, burst, .. } => Scenario::Connect { topics, burst },
            Self::Fanout { outstanding, until, .. } => Scenario::Fanout { outstanding, until: until.into() },
            Self::Unicast { rate, outstanding, until, .. } => {
                let rate = if let Rate::Of(rate) = rate { Some(rate) } else { None };
                Scenario::Unicast { rate, outstanding, until: until.into() }
            }
            Self::Enqueue { users, outstanding, until, .. } => {
                Scenario::Enqueue { users, outstanding, until: until.into() }
            }
            Self::Reconnect { rate, spread, .. } => Scenario::Reconnect { rate, spread },
            Self::Offline { messages, outstanding, .. } => Scenario::Offline { messages, outstanding },
            Self::Mixed { rate, topic_rate, topics, duration, .. } => {
                Scenario::Mixed { rate, topic_rate, topics, duration }
            }
        }
    }

    /// What was asked of this scenario, as one would type it.
    fn settings(&self, connections: u32, producers: u32) -> Vec<(String, String)> {
        let time = |span: &Duration| humantime::format_duration(*span).to_string();
        let how_much = |until: &HowMuch| match Until::from(*until) {
            Until::Pushes(count) => ("pushes", count.to_string()),
            Until::Elapsed(span) => ("duration", time(&span)),
        };
        let own = match self {
            Self::Connect { topics, burst, common } => {
                let burst = burst.map(|burst| ("burst", burst.to_string()));
                let concurrency = ("concurrency", common.concurrency.to_string());
                [("topics", topics.to_string()), concurrency].into_iter().chain(burst).collect()
            }
            Self::Fanout { outstanding, until, .. } => vec![("outstanding", outstanding.to_string()), how_much(until)],
            Self::Unicast { rate: Rate::Of(rate), until, .. } => vec![("rate", rate.to_string()), how_much(until)],
            Self::Unicast { outstanding, until, .. } => {
                vec![("rate", "max".to_owned()), ("outstanding", outstanding.to_string()), how_much(until)]
            }
            Self::Enqueue { users, outstanding, until, .. } => {
                vec![("users", users.to_string()), ("outstanding", outstanding.to_string()), how_much(until)]
            }
            Self::Reconnect { rate, spread, .. } => vec![("rate", rate.to_string()), ("spread", time(spread))],
            Self::Offline { messages, outstanding, .. } => {
                vec![("messages", messages.to_string()), ("outstanding", outstanding.to_string())]
            }
            Self::Mixed { rate, topic_rate, topics, duration, .. } => vec![
                ("rate", rate.to_string()),
                ("topic-rate", topic_rate.to_string()),
                ("topics", topics.to_string()),
                ("duration", time(duration)),
            ],
        };
        let connections = ("connections", connections.to_string());
        let producers = ("producers", producers.to_string());
        let all = std::iter::once(connections).chain(own).chain([producers]);
        all.map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

impl Common {
    /// What was asked, as one would type it.
    fn settings(&self) -> Vec<(String, String)> {
        let durability = format!("{:?}", self.durability).to_lowercase();
        [
            ("payload", self.payload.to_string()),
            ("durability", durability),
            ("ack-count", self.ack_count.to_string()),
            ("ack-delay", humantime::format_duration(self.ack_delay).to_string()),
            ("processes", self.processes.to_string()),
            ("threads", self.threads.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}

impl From<HowMuch> for Until {
    fn from(how_much: HowMuch) -> Self {
        match (how_much.pushes, how_much.duration) {
            (Some(count), _) => Self::Pushes(count),
            (None, Some(span)) => Self::Elapsed(span),
            (None, None) => Self::Elapsed(DURATION),
        }
    }
}

fn rate(text: &str) -> Result<Rate, String> {
    if text == "max" { Ok(Rate::Max) } else { pushes_a_second(text).map(Rate::Of) }
}

fn pushes_a_second(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.01..=1e7).contains(rate));
    rate.ok_or_else(|| "expected pushes a second, 0.01 to 10000000".to_owned())
}

fn some_time(text: &str) -> Result<Duration, String> {
    span(text).and_then(|time| if time.is_zero() { Err("expected more than no time".to_owned()) } else { Ok(time) })
}

fn payload(text: &str) -> Result<usize, String> {
    let bytes = text.parse().ok().filter(|bytes| (PAYLOAD_BYTES_MIN..=1 << 20).contains(bytes));
    bytes.ok_or_else(|| format!("expected {PAYLOAD_BYTES_MIN} to 1048576 bytes"))
}

/// How long is pushed when nobody says.
const DURATION: Duration = Duration::from_secs(10);
