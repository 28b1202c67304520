//! Names of logs and places in them.

use std::fmt;

use crate::model::id::{TenantId, TopicName, UserId};

/// One log: where messages live until they expire.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogId {
    /// Messages for one user, or for one of the user's devices.
    Inbox(TenantId, UserId),
    /// Messages for the subscribers of a topic.
    Topic(TenantId, TopicName),
    /// Messages with a condition.
    Broadcast(TenantId),
}

impl LogId {
    /// The tenant that owns the log.
    #[must_use]
    pub const fn tenant(&self) -> &TenantId {
        match self {
            Self::Inbox(tenant, _) | Self::Topic(tenant, _) | Self::Broadcast(tenant) => tenant,
        }
    }
}

/// The name a backend sees, without the tenant: `inbox/USER`, `topic/TOPIC` or `broadcast`.
impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inbox(_, user) => write!(f, "inbox/{user}"),
            Self::Topic(_, topic) => write!(f, "topic/{topic}"),
            Self::Broadcast(_) => f.write_str("broadcast"),
        }
    }
}

/// Place of an entry in its log: 1 for the first, then one more each; 0 means "before the first".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub u64);

impl Offset {
    /// Before the first entry.
    pub const ZERO: Self = Self(0);

    /// The place after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Which life of a log: a log that was lost or removed and made anew has another epoch, and old offsets mean nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// Where a log ends and what retention took from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Which life of the log this describes.
    pub epoch: Epoch,
    /// Offset of the newest entry ever appended; zero for a log that never had one.
    pub last: Offset,
    /// Every entry up to this offset was trimmed because the log was full (not because it expired).
    pub trimmed: Offset,
}
