//! What travels between a device and its session: frames down the push stream, requests and answers on short streams.
//! These are the meanings; `wire` knows the bytes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::model::clock::Timestamp;
use crate::model::close::CloseReason;
use crate::model::id::{DeviceId, MessageId, SessionId, TenantId, TopicName, UserId};
use crate::model::message::{Entry, Urgency};

/// What a device asks for when it opens a session. Numbers are as the device sent them; `delivery::handshake` bounds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// Access token; empty when none came.
    pub token: String,
    /// The device it claims to be; `None` to take the token's word.
    pub device: Option<DeviceId>,
    /// Longest silence it can live with; zero for the server's default.
    pub heartbeat: Duration,
    /// Pushes it wants in flight; 0 for the server's default.
    pub window: u32,
    /// Least urgency it accepts.
    pub urgency_floor: Urgency,
    /// Name of its software, for logs.
    pub agent: String,
    /// What conditions may ask about it; empty to leave what is known.
    pub attributes: BTreeMap<String, String>,
}

/// When each side sends a heartbeat and when it gives the other up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatPlan {
    /// T1: the client beats after so long a silence.
    pub client_interval: Duration,
    /// T2: the server beats after so long a silence.
    pub server_interval: Duration,
    /// The peer is dead when the silence goes on for so long after a beat.
    pub timeout: Duration,
}

/// How a resume went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResumeOutcome {
    /// The device was not known.
    New,
    /// Its cursors fit the logs.
    Resumed,
    /// A log lives a new life, or lost entries the device had not acked.
    Gap,
}

impl ResumeOutcome {
    /// Its word, in logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Resumed => "resumed",
            Self::Gap => "gap",
        }
    }
}

/// How a resume went, with counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// In one word.
    pub outcome: ResumeOutcome,
    /// At most so many pushes wait.
    pub waiting: u64,
    /// At most so many were trimmed before they were acked.
    pub missed: u64,
}

/// The first frame of a push stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// Names the session.
    pub session: SessionId,
    /// Agreed heartbeats.
    pub heartbeat: HeartbeatPlan,
    /// Agreed in-flight window in pushes.
    pub window: u32,
    /// An unacked push is redelivered after so long.
    pub ack_timeout: Duration,
    /// How the resume went.
    pub resume: Resume,
    /// The server's wall clock.
    pub server_time: Timestamp,
    /// The topics it follows.
    pub topics: Vec<TopicName>,
    /// Those of them that its user's groups bring.
    pub group_topics: Vec<TopicName>,
}

/// A frame on the push stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Always the first.
    Welcome(Box<Welcome>),
    /// A message.
    Push {
        /// Running number on this stream, from 1.
        seq: u64,
        /// 1 plus the failed deliveries before this one.
        attempt: u32,
        /// The message.
        entry: Entry,
    },
    /// Please connect anew.
    Move {
        /// Not before so long.
        return_after: Duration,
        /// The stream ends by itself after so long.
        grace: Duration,
        /// Where to, `host:port`, best first; empty: where it is.
        nodes: Arc<[String]>,
    },
    /// The access token is about to expire.
    TokenExpiring {
        /// When.
        expires_at: Timestamp,
    },
    /// Always the last.
    Close {
        /// Why.
        reason: CloseReason,
        /// If it may return, not before so long.
        return_after: Duration,
    },
}

/// What to do with a push the device could not handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Try again after a growing pause.
    Retry,
    /// Never again.
    Reject,
}

/// "I got it and could not handle it."
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nack {
    /// Which push.
    pub seq: u64,
    /// What to do with it.
    pub verdict: Verdict,
    /// Why, for the backend.
    pub reason: String,
}

/// Which pushes are settled. Ranges are inclusive, checked to run forwards and bounded in number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ack {
    /// Handled.
    pub acked: Vec<(u64, u64)>,
    /// Not handled.
    pub nacked: Vec<Nack>,
    /// The session the device believes to talk to, in its text form; empty when it does not say.
    pub session: String,
}

/// Names a request on a link until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(pub u32);

/// A request on a short stream of an open session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Settle pushes.
    Ack(Ack),
    /// Follow topics.
    Subscribe(Vec<TopicName>),
    /// Stop following topics.
    Unsubscribe(Vec<TopicName>),
    /// Change the session; `None` leaves a value as it is.
    Update {
        /// Least urgency it accepts.
        urgency_floor: Option<Urgency>,
        /// In-flight window it wants.
        window: Option<u32>,
        /// What conditions may ask about it.
        attributes: Option<BTreeMap<String, String>>,
    },
    /// The user has seen these messages here.
    Dismiss(Vec<MessageId>),
    /// Go on with this access token.
    Renew(String),
    /// Check a credential. Needs no session.
    Login(Box<Login>),
    /// Give a challenge. Needs no session.
    Challenge(TenantId, DeviceId),
}

/// Who wants to log in.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// Of this tenant.
    pub tenant: TenantId,
    /// On this device.
    pub device: DeviceId,
    /// What is to be checked.
    pub credential: Credential,
    /// Name of its software, for logs.
    pub agent: String,
}

/// What is to be checked at a login. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// What the tenant's business server understands.
    Business(Bytes),
    /// A JWT of the tenant's identity provider.
    Jwt(String),
    /// A signature with the device's enrolled key.
    Key {
        /// Whose device it is.
        user: UserId,
        /// Made with the key.
        proof: KeyProof,
    },
    /// A code that enrols a public key, and proof of its private half.
    Enrolment {
        /// The code.
        code: String,
        /// The key.
        public_key: Bytes,
        /// Made with it.
        proof: KeyProof,
    },
}

/// Proof that a device has a private key.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyProof {
    /// What was to be signed.
    pub challenge: Bytes,
    /// The signature.
    pub signature: Bytes,
}

impl KeyProof {
    /// What is signed: for this purpose, by this device, now.
    #[must_use]
    pub fn signed_text(tenant: &TenantId, device: &DeviceId, challenge: &[u8]) -> Vec<u8> {
        // No name has a zero byte, so the parts cannot be shifted against each other.
        let parts = [&b"pushline-login-v1"[..], tenant.as_str().as_bytes(), device.as_str().as_bytes(), challenge];
        parts.join(&0)
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({}/{})", self.tenant, self.device)
    }
}

/// A login that was accepted.
#[derive(Clone, PartialEq, Eq)]
pub struct LoggedIn {
    /// The access token.
    pub token: String,
    /// When it expires.
    pub expires_at: Timestamp,
    /// When to log in again, from now.
    pub refresh_after: Duration,
    /// Whom the token names.
    pub user: UserId,
    /// On which device.
    pub device: DeviceId,
    /// Where to connect, best first; empty: here.
    pub nodes: Arc<[String]>,
}

impl fmt::Debug for LoggedIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoggedIn({}/{})", self.user, self.device)
    }
}

/// The answer on a short stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Pushes settled now, and seqs that were settled before.
    Acked {
        /// Settled by this request.
        settled: u32,
        /// Named, but settled before.
        already_settled: u32,
    },
    /// Subscriptions after a `Subscribe`.
    Subscribed {
        /// How many the device has.
        subscriptions: u32,
    },
    /// Subscriptions after an `Unsubscribe`.
    Unsubscribed {
        /// How many the device has.
        subscriptions: u32,
    },
    /// What holds after an `Update`.
    Updated {
        /// Least urgency.
        urgency_floor: Urgency,
        /// In-flight window.
        window: u32,
    },
    /// After a `Dismiss`.
    Dismissed {
        /// Messages that were dismissed now.
        dismissed: u32,
    },
    /// After a `Renew`.
    Renewed {
        /// When the newer token expires.
        expires_at: Timestamp,
    },
    /// After a `Login`.
    LoggedIn(Box<LoggedIn>),
    /// After a `Challenge`.
    Challenge {
        /// To be signed.
        challenge: Bytes,
        /// Until when it is good.
        expires_at: Timestamp,
    },
}
