//! Why the client could not do something, by guilt: the caller, the gateway's refusal, a broken protocol, the network.
//! It retries nothing; [`Error::is_temporary`] says what the client does about each.

use std::time::Duration;

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The client was called wrongly: an option or argument is outside its bounds. Repeating it will not help.
    #[error("{0}")]
    Invalid(String),
    /// The gateway's certificate is not one that the given roots vouch for. Ends a first connect; later it is taken
    /// for a passing network (a captive portal) and tried again.
    #[error("the gateway's certificate is not trusted: {0}")]
    Untrusted(String),
    /// The gateway refused a request.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// The gateway closed the session and said why.
    #[error("closed by the gateway ({name}, {code}): {reason}")]
    Closed {
        /// Stable number, see docs/errors.md.
        code: u32,
        /// Stable word for the number.
        name: String,
        /// Words for humans.
        reason: String,
        /// Whether the client may come back by itself. It does when it may.
        may_return: bool,
    },
    /// The gateway broke the protocol; the text says how. The client connects anew.
    #[error("the gateway broke the protocol: {0}")]
    Protocol(String),
    /// The network or the TLS or HTTP/2 connection failed.
    #[error("the connection failed: {0}")]
    Network(String),
    /// Nothing was heard from the gateway within the heartbeat's interval plus timeout (P1.11).
    #[error("nothing was heard from the gateway for {0:?} and a heartbeat went unanswered")]
    Silent(Duration),
    /// An answer did not come in time.
    #[error("{0} took too long")]
    TimedOut(&'static str),
    /// There is no session now, or it was lost before the answer came: ask again when there is one.
    #[error("there is no session at the moment")]
    NotConnected,
    /// The connection was lost before the gateway confirmed every ack. What it did not take comes again and is then
    /// acked by the client itself.
    #[error("the connection was lost before all acks were confirmed")]
    Unconfirmed,
    /// The client has ended and does nothing any more.
    #[error("the client has ended")]
    Ended,
}

impl Error {
    /// Whether trying again may help. The client itself comes back after a temporary error, and ends after any other.
    #[must_use]
    pub const fn is_temporary(&self) -> bool {
        match self {
            Self::Invalid(_) | Self::Untrusted(_) | Self::Ended => false,
            Self::Refused(refusal) => refusal.is_temporary(),
            Self::Closed { may_return, .. } => *may_return,
            Self::Protocol(_)
            | Self::Network(_)
            | Self::Silent(_)
            | Self::TimedOut(_)
            | Self::NotConnected
            | Self::Unconfirmed => true,
        }
    }
}

/// A refusal as the answer's trailers tell it.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("{words} ({name}, errno {errno}, grpc-status {grpc})")]
pub struct Refusal {
    /// The gRPC status.
    pub grpc: u32,
    /// Stable word of the cause; empty when something else than a Pushline gateway answered.
    pub name: String,
    /// Stable number of the cause; 0 when something else than a Pushline gateway answered.
    pub errno: u32,
    /// Words for humans.
    pub words: String,
    /// After how long the gateway says that trying again makes sense; `None`: it does not pass by itself.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// What the trailer `grpc-retry-pushback-ms` says.
    pub(super) fn retry_after(pushback: &str) -> Option<Duration> {
        pushback.parse().ok().map(Duration::from_millis)
    }

    /// Whether the same request may be taken later. Goes by the gRPC status, so it holds for names that are newer than
    /// this library.
    #[must_use]
    pub const fn is_temporary(&self) -> bool {
        // INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED, OUT_OF_RANGE, UNIMPLEMENTED, UNAUTHENTICATED.
        !matches!(self.grpc, 3 | 5 | 6 | 7 | 11 | 12 | 16)
    }

    /// Whether it says, of an ack, that its session is no more.
    pub(super) fn ends_session(&self) -> bool {
        matches!(self.name.as_str(), "no_session" | "session_ended" | "session_mismatch")
    }
}

#[cfg(test)]
mod tests {
    use super::{Error, Refusal};
    use crate::model::fault::Code;

    #[test]
    fn only_what_time_can_heal_is_temporary() {
        let temporary = |code: Code| {
            let refusal = Refusal { grpc: code.grpc() as u32, ..Refusal::default() };
            Error::Refused(refusal).is_temporary()
        };
        for code in [Code::ExpiredToken, Code::InvalidCredentials, Code::Forbidden, Code::Malformed, Code::InvalidName]
        {
            assert!(!temporary(code), "{code:?}");
        }
        for code in [Code::Draining, Code::StoreFailed, Code::TooManyConnections, Code::Internal, Code::SessionEnded] {
            assert!(temporary(code), "{code:?}");
        }
    }
}
