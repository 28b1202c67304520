//! Presence: comings and goings of devices, as backends hear of them. Plain values.

use crate::model::clock::Timestamp;
use crate::model::id::{DeviceId, UserId};

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// Which device; `None` with [`What::Reset`] only.
    pub device: Option<(UserId, DeviceId)>,
    /// What happened.
    pub what: What,
}

/// What may happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It opened a session.
    Connected,
    /// All that waited for it was sent.
    Ready,
    /// Nothing was sent to it and no request came from it for some time; it is online.
    Idle,
    /// Its session ended and no other began within the debounce.
    Offline {
        /// Name of the close reason, or `gone`.
        reason: String,
    },
    /// It was absent so long that it was forgotten, with its cursors and subscriptions.
    SessionExpired,
    /// The gateway was started again: all devices are offline unless a later event says otherwise.
    Reset,
}

impl What {
    /// Its word.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Ready => "ready",
            Self::Idle => "idle",
            Self::Offline { .. } => "offline",
            Self::SessionExpired => "session_expired",
            Self::Reset => "reset",
        }
    }
}
