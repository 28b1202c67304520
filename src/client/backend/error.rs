//! Why a backend could not do something, by guilt: the caller, the certificate, the network, the gateway.

use std::error::Error as StdError;

use tonic::Status;

use crate::client::error::Refusal;

/// Why a backend could not do something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An argument cannot work; repeating it will not help.
    #[error("{0}")]
    Invalid(String),
    /// The gateway's certificate is not one that the trusted ones vouch for.
    #[error("the certificate of {url} is not trusted: {how}")]
    Untrusted {
        /// Where the gateway was looked for.
        url: String,
        /// What is wrong with it.
        how: String,
    },
    /// Nothing could be reached there.
    #[error("cannot reach {url}: {why}")]
    Unreachable {
        /// Where the gateway was looked for.
        url: String,
        /// What the network said.
        why: String,
    },
    /// The gateway refused.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// The connection was lost, or no answer came in time: it may be done (a push: stored) or not.
    #[error("no answer came, so it may be done or not: {0}")]
    Unanswered(String),
}

impl Error {
    /// Whether trying again may help.
    #[must_use]
    pub const fn is_temporary(&self) -> bool {
        match self {
            Self::Invalid(_) | Self::Untrusted { .. } => false,
            Self::Unreachable { .. } | Self::Unanswered(_) => true,
            Self::Refused(refusal) => refusal.is_temporary(),
        }
    }
}

/// What a status means: a refusal has the gateway's code; without it the library speaks of the connection.
pub(super) fn failed(status: Status) -> Error {
    let text = |name: &str| status.metadata().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let name = text("pushline-code");
    if !name.is_empty() {
        return Error::Refused(Refusal {
            grpc: status.code() as u32,
            name: name.to_owned(),
            errno: text("pushline-errno").parse().unwrap_or(0),
            words: status.message().to_owned(),
            retry_after: Refusal::retry_after(text("grpc-retry-pushback-ms")),
        });
    }
    match causes(&status).last() {
        Some(cause) if !cause.is::<Status>() => Error::Unanswered(cause.to_string()),
        _ => Error::Unanswered(format!("{} ({})", status.message(), status.code())),
    }
}

/// An error and what caused it.
pub(super) fn causes<'e>(error: &'e (dyn StdError + 'static)) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}
