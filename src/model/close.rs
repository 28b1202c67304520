//! Ways a connection ends: each has a number, words, and says whether and when the device may return.

use std::fmt;
use std::time::Duration;

/// Why a connection ends. docs/errors.md lists the numbers; they never change their meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The gateway shuts down or is being emptied.
    Drain,
    /// A newer connection of the same device took over.
    TakenOver,
    /// Nothing arrived from the device within interval plus timeout.
    HeartbeatTimeout,
    /// The device did not take what was sent for too long.
    SlowConsumer,
    /// Its access token expired.
    TokenExpired,
    /// Its access token was revoked, or its tenant suspended.
    Revoked,
    /// The device broke the protocol; the text says how.
    Protocol(&'static str),
    /// The store failed; what is not acked is kept.
    StoreFailed,
}

impl CloseReason {
    /// All of them, by number; the text of the one that has one is a placeholder. For tables and counters.
    pub const ALL: &[Self] = &[
        Self::Drain,
        Self::HeartbeatTimeout,
        Self::SlowConsumer,
        Self::StoreFailed,
        Self::TakenOver,
        Self::TokenExpired,
        Self::Protocol("how"),
        Self::Revoked,
    ];

    /// Stable number: 1xx may return, 2xx must not by itself.
    #[must_use]
    pub const fn code(&self) -> u32 {
        match self {
            Self::Drain => 101,
            Self::HeartbeatTimeout => 102,
            Self::SlowConsumer => 103,
            Self::StoreFailed => 104,
            Self::TakenOver => 201,
            Self::TokenExpired => 202,
            Self::Protocol(_) => 203,
            Self::Revoked => 204,
        }
    }

    /// Stable word.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::TakenOver => "taken_over",
            Self::HeartbeatTimeout => "heartbeat_timeout",
            Self::SlowConsumer => "slow_consumer",
            Self::TokenExpired => "token_expired",
            Self::Revoked => "revoked",
            Self::Protocol(_) => "protocol",
            Self::StoreFailed => "store_failed",
        }
    }

    /// Whether the device may come back by itself, with the same token.
    #[must_use]
    pub const fn may_return(&self) -> bool {
        self.code() < 200
    }

    /// Shortest and longest wait before it comes back; the server draws the exact one, so that a crowd spreads.
    #[must_use]
    pub const fn return_within(&self) -> (Duration, Duration) {
        match self {
            Self::HeartbeatTimeout => (Duration::ZERO, Duration::from_secs(1)),
            Self::Drain => (Duration::ZERO, Duration::from_secs(5)),
            Self::SlowConsumer | Self::StoreFailed => (Duration::from_secs(5), Duration::from_secs(15)),
            Self::TakenOver | Self::TokenExpired | Self::Protocol(_) | Self::Revoked => {
                (Duration::ZERO, Duration::ZERO)
            }
        }
    }
}

/// Words for humans.
impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drain => f.write_str("the gateway is being drained; connect again"),
            Self::TakenOver => f.write_str("a newer connection of this device took over"),
            Self::HeartbeatTimeout => f.write_str("nothing arrived from the device within interval plus timeout"),
            Self::SlowConsumer => f.write_str("the device did not take what was sent to it for too long"),
            Self::TokenExpired => f.write_str("the access token expired; open again with a new one"),
            Self::Protocol(how) => write!(f, "the device broke the protocol: {how}"),
            Self::Revoked => f.write_str("the access token was revoked; log in again"),
            Self::StoreFailed => f.write_str("the store failed; what was not acked is kept and will be redelivered"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::CloseReason;

    #[test]
    fn numbers_and_words_are_unique_and_ordered() {
        assert!(CloseReason::ALL.windows(2).all(|pair| pair[0].code() < pair[1].code()));
        let mut names: Vec<_> = CloseReason::ALL.iter().map(CloseReason::name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CloseReason::ALL.len());
    }
}
