//! What the leader of a run tells the threads that drive the crowd, and what they tell it: plain values that also travel
//! as lines of JSON, so that threads may stand in other processes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ledger::Owed;
use super::plan::{self, Plan};
use super::stamp::Log;
use super::tally::Tally;
use crate::model::clock::Moment;
use crate::model::message::Durability;

/// What every thread knows from the beginning.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Setup {
    /// Names the run; part of all names.
    pub(super) run: u64,
    /// Microseconds since the epoch at which the run's clock began.
    pub(super) clock_origin: u64,
    /// Where devices connect.
    pub(super) devices: SocketAddr,
    /// The name that the certificate must bear, and what requests are addressed to.
    pub(super) devices_host: String,
    /// Where backends connect.
    pub(super) backend: SocketAddr,
    /// The same for backends.
    pub(super) backend_host: String,
    /// Backends speak TLS.
    pub(super) backend_tls: bool,
    /// Certificates to trust, in PEM; the system's when absent.
    pub(super) ca: Option<String>,
    /// API key.
    pub(super) key: String,
    /// Where tokens come from.
    pub(super) tokens: Tokens,
    /// Devices in all.
    pub(super) connections: u32,
    /// Threads in all, over all processes. Thread `s` has the devices whose number leaves `s` when divided by this.
    pub(super) seats: u32,
    /// Streams on which a thread pushes.
    pub(super) producers: u32,
    /// Bytes of each payload.
    pub(super) payload: usize,
    /// As the protocol numbers it.
    pub(super) durability: u8,
    /// Acks that are sent at the latest when so many wait.
    pub(super) ack_count: u32,
    /// Acks that are sent at the latest when one has waited so long.
    pub(super) ack_delay: Duration,
}

/// Where devices get their tokens.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Tokens {
    /// They are signed with the key in this folder.
    Signed(PathBuf),
    /// They stand in this file, one a line.
    File(PathBuf),
}

/// What a thread is told to do. Some orders are answered with [`Note::Done`] when they are carried out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// Connect the devices with numbers below this that are away, so many at a time. `Done` when all have a welcome or
    /// have failed.
    Connect { upto: u32, at_a_time: u32 },
    /// The same for all that are away, but each at its own moment within this span, and again after a failure. `Done` when
    /// all have a welcome.
    Return { within: Duration },
    /// Let each connected device follow the topic that its number leaves when divided by this. `Done`.
    Follow { topics: u32 },
    /// Close all sockets of devices at once, without a word. `Done`.
    Cut,
    /// Connect to the backend. `Done`.
    Hire,
    /// Push to a topic so often, one behind the other. Each thread has one topic stream; the first thread is asked.
    Publish { topic: u32, count: u32 },
    /// Push by itself until told to stop, or all is pushed. `Driven` when all is answered.
    Drive(Drive),
    /// Push no more by itself.
    Halt,
    /// Live as a crowd does: some leave and come back, some stop reading for a while, some cannot handle a push.
    Live(Option<Life>),
    /// Forget what was measured. `Done`.
    Reset,
    /// Tell what was counted, and go on. Answered with `Counted`.
    Count,
    /// Say `Done` when the devices have all that they are owed and all acks are confirmed, or after so long.
    Settle { owed: Vec<(u32, Owed)>, within: Duration },
    /// Compare what came with what was owed, tell it, and end.
    Finish { owed: Vec<(u32, Owed)> },
}

/// Orders whose end is told. With it a late word about one order is not taken for the word about the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Step {
    Connect,
    Return,
    Follow,
    Cut,
    Hire,
    Reset,
    Settle,
}

/// How a thread pushes by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Drive {
    /// To whom.
    pub(super) aim: Aim,
    /// How fast.
    pub(super) pace: Pace,
    /// How many in all, if there is an end.
    pub(super) total: Option<u64>,
}

/// To whom is pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Aim {
    /// To the users of this thread's devices in turn.
    Devices,
    /// To so many users who have no device.
    Strangers(u32),
}

/// How fast is pushed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Pace {
    /// So many a second, whatever the gateway does.
    Rate(f64),
    /// As fast as the gateway answers, with so many unanswered.
    Answered(u32),
    /// As fast as devices receive, with so many not yet received.
    Received(u32),
}

/// How lively a crowd is: each a chance.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Life {
    /// That a device leaves within a second.
    pub(super) churn: f64,
    /// That a device stops reading within a second.
    pub(super) stall: f64,
    /// For how long it does.
    pub(super) stall_for: Duration,
    /// That a push cannot be handled the first time.
    pub(super) nack: f64,
}

/// What a thread tells.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Note {
    /// An order of this kind was carried out.
    Done(Step),
    /// Nothing is pushed by itself any more, and all is answered.
    Driven,
    /// What goes on, ten times a second.
    Beat { connections: u32, deliveries: u64, pushes: u64 },
    /// So many devices of this thread received a push to a topic.
    Got(Got),
    /// Pushes to a topic were answered.
    Answered { topic: u32, count: u32, refused: Vec<u32> },
    /// What was counted.
    Counted(Box<Tally>),
    /// Something failed, in words for humans; said once for each kind.
    Trouble(String),
    /// A thread or a process failed and does nothing any more.
    Died(String),
    /// It has ended: what was counted.
    Finished(Box<Tally>),
}

/// Devices that received a push to a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Got {
    pub(super) log: Log,
    pub(super) number: u32,
    pub(super) count: u32,
    /// When it was pushed, in microseconds of the run's clock.
    pub(super) sent: u64,
    /// When the last of them had it.
    pub(super) last: u64,
}

impl Order {
    /// What its end is called, if it is told with `Done`.
    pub(super) const fn step(&self) -> Option<Step> {
        match self {
            Self::Connect { .. } => Some(Step::Connect),
            Self::Return { .. } => Some(Step::Return),
            Self::Follow { .. } => Some(Step::Follow),
            Self::Cut => Some(Step::Cut),
            Self::Hire => Some(Step::Hire),
            Self::Reset => Some(Step::Reset),
            Self::Settle { .. } => Some(Step::Settle),
            Self::Publish { .. } | Self::Drive(_) | Self::Halt | Self::Live(_) | Self::Count | Self::Finish { .. } => {
                None
            }
        }
    }
}

impl Setup {
    #[cfg(test)]
    pub(super) fn for_tests() -> Self {
        Self {
            run: 0xabc,
            clock_origin: 0,
            devices: ([127, 0, 0, 1], 1).into(),
            devices_host: "127.0.0.1:1".to_owned(),
            backend: ([127, 0, 0, 1], 2).into(),
            backend_host: "127.0.0.1:2".to_owned(),
            backend_tls: false,
            ca: None,
            key: "key".to_owned(),
            tokens: Tokens::File(PathBuf::new()),
            connections: 4,
            seats: 1,
            producers: 1,
            payload: 40,
            durability: 1,
            ack_count: 32,
            ack_delay: Duration::from_millis(20),
        }
    }

    /// What a plan asks for.
    pub(super) fn of(plan: &Plan, run: u64, clock_origin: u64) -> Self {
        let (gateway, crowd) = (&plan.gateway, &plan.crowd);
        let processes = plan.processes();
        // As with processes.
        let most = if crowd.connections == 0 { u32::MAX } else { crowd.connections / processes };
        let threads = crowd.threads.clamp(1, most);
        let seats = processes * threads;
        Self {
            run,
            clock_origin,
            devices: gateway.devices.0,
            devices_host: gateway.devices.1.clone(),
            backend: gateway.backend.0,
            backend_host: gateway.backend.1.clone(),
            backend_tls: gateway.backend_tls,
            ca: gateway.ca.clone(),
            key: gateway.key.clone(),
            tokens: match &gateway.tokens {
                plan::Tokens::Signed(folder) => Tokens::Signed(folder.clone()),
                plan::Tokens::File(path) => Tokens::File(path.clone()),
            },
            connections: crowd.connections,
            seats,
            producers: crowd.producers.div_ceil(seats).max(1),
            payload: crowd.payload,
            durability: match crowd.durability {
                Durability::Fsync => 1,
                Durability::Relaxed => 2,
                Durability::None => 3,
            },
            ack_count: crowd.ack_count,
            ack_delay: crowd.ack_delay,
        }
    }

    /// The name of a user with a device.
    pub(super) fn user(&self, number: u32) -> String {
        format!("load-{:x}-u{number}", self.run)
    }

    /// The name of a user without one.
    pub(super) fn stranger(&self, number: u32) -> String {
        format!("load-{:x}-s{number}", self.run)
    }

    /// The name of a topic.
    pub(super) fn topic(&self, number: u32) -> String {
        format!("load-{:x}-t{number}", self.run)
    }

    /// The moment as everybody counts it.
    pub(super) fn clock(&self) -> crate::model::clock::Clock {
        crate::model::clock::Clock::since_epoch(self.clock_origin)
    }
}

impl Got {
    /// Takes in another device.
    pub(super) fn add(&mut self, at: Moment) {
        self.count += 1;
        self.last = self.last.max(at.as_micros());
    }
}
