//! What a program can see of its client's connection. Plain values.

use std::time::Duration;

use crate::client::error::Error;
use crate::model::clock::Timestamp;
use crate::model::frame::{HeartbeatPlan, Resume};
use crate::model::id::TopicName;

/// A client's state at one moment. The counters only grow, so a watcher that misses a moment still sees what happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// What the connection does.
    pub phase: Phase,
    /// Sessions opened so far.
    pub sessions: u64,
    /// Acks whose confirmation was cut off by a lost connection. Those the gateway had not taken come again and are
    /// acked anew by the client.
    pub unconfirmed: u64,
    /// Duplicates that were not given to the program.
    pub duplicates: u64,
    /// Heartbeats sent (P1.11).
    pub heartbeats: u64,
    /// Access tokens that the session got while it went on.
    pub renewals: u64,
    /// Why the session got no other token, the last time that happened.
    pub failed_renewal: Option<Error>,
    /// Why the connection was lost, or could not be made, the last time that happened.
    pub last_failure: Option<Error>,
    /// The last refusal of an ack that repeating cannot heal: a fault of the client or the gateway.
    pub refused_ack: Option<Error>,
}

/// What the connection does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// It is being made.
    #[default]
    Connecting,
    /// A session is open.
    Connected(Session),
    /// It was lost and is made anew after a pause.
    Waiting {
        /// Why it was lost.
        why: Error,
        /// The pause.
        returns_in: Duration,
    },
    /// It will not come back.
    Ended {
        /// Why; `None` when the program closed it.
        why: Option<Error>,
    },
}

/// What was agreed when the session opened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Session {
    /// Its id, as the gateway's logs name it.
    pub id: String,
    /// What protects its connection: `TLS 1.3` or `TLS 1.2`.
    pub tls: &'static str,
    /// Who sends heartbeats when.
    pub heartbeat: HeartbeatPlan,
    /// Pushes that may be delivered and not yet acked.
    pub window: u32,
    /// Longest time from the delivery to the ack before a push comes again.
    pub ack_timeout: Duration,
    /// How the resume went.
    pub resume: Resume,
    /// The gateway's clock when it answered.
    pub server_time: Timestamp,
    /// Topics the device follows: those it subscribed to and those its user's groups bring, as they were when the session
    /// opened.
    pub topics: Vec<TopicName>,
    /// Those of them that the user's groups bring. The device cannot unsubscribe from them.
    pub group_topics: Vec<TopicName>,
}
