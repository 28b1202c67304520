//! Accepts pushes: gives them an id and a life, appends them, and spreads the hint.

use std::time::Duration;

use bytes::Bytes;

use crate::model::clock::Timestamp;
use crate::model::id::MessageId;
use crate::model::log::{Epoch, LogId, Offset};
use crate::model::message::{Durability, Target, Urgency};

/// A push as the backend asked for it, checked.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Whom it is for.
    pub target: Target,
    /// How long it may wait; `None` for the default. More than the maximum is cut to it.
    pub ttl: Option<Duration>,
    /// How urgent it is.
    pub urgency: Urgency,
    /// Replaces an older one with the same key.
    pub collapse_key: Option<String>,
    /// What the answer promises.
    pub durability: Durability,
    /// Makes a repeated call harmless.
    pub idempotency_key: Option<String>,
    /// Hash of the whole request, compared when an idempotency key comes again.
    pub fingerprint: u64,
    /// The content, encoded by `wire::body`.
    pub body: Bytes,
}

/// The answer to a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The message's id.
    pub id: MessageId,
    /// Its log; `None` for an online-only push.
    pub log: Option<LogId>,
    /// Its place; zero for an online-only push.
    pub offset: Offset,
    /// Which life of the log.
    pub epoch: Epoch,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
    /// An earlier push with the same idempotency key was this push.
    pub duplicate: bool,
    /// Sessions an online-only push was handed to.
    pub online: u32,
}
