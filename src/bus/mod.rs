//! The bus's contract: hints that a log has grown, from the node that appended to the nodes that deliver. A hint may be
//! lost, doubled or late; it never replaces the log.

pub mod local;
pub mod open;

use std::sync::Arc;

use crate::model::log::{Epoch, LogId, Offset};
use crate::model::message::Entry;

/// "This log has grown", or an online-only push.
#[derive(Clone, Debug)]
pub enum Hint {
    /// A log has grown to `last`.
    Grown {
        /// Which log.
        log: LogId,
        /// The life of the log.
        epoch: Epoch,
        /// Its newest offset.
        last: Offset,
        /// The entry at `last`, to save a read; may be absent.
        entry: Option<Entry>,
    },
    /// A push that no log holds, for those who follow `log` now.
    Online {
        /// Whose followers.
        log: LogId,
        /// The push; its offset is zero.
        entry: Entry,
    },
    /// What the user of this inbox follows, or when it wants to be left alone, has changed. Unlike the others it is merged
    /// where there is no room, and never dropped.
    Changed {
        /// The inbox.
        log: LogId,
    },
}

impl Hint {
    /// Whose followers it is for.
    #[must_use]
    pub const fn log(&self) -> &LogId {
        match self {
            Self::Grown { log, .. } | Self::Online { log, .. } | Self::Changed { log } => log,
        }
    }

    /// The entry it carries.
    #[must_use]
    pub const fn entry(&self) -> Option<&Entry> {
        match self {
            Self::Grown { entry, .. } => entry.as_ref(),
            Self::Online { entry, .. } => Some(entry),
            Self::Changed { .. } => None,
        }
    }
}

/// Where hints arrive. Never blocks: what cannot be kept is dropped.
pub trait Inlet: Send + Sync + 'static {
    /// Takes hints, those of one log in order; answers how many sessions of this node they were handed to, all together.
    fn receive(&self, hints: &[Arc<Hint>]) -> usize;
}

/// Carries hints to every node, this one included.
pub trait Bus: Send + Sync + 'static {
    /// Spreads hints in their order. Answers how many sessions they reached, all together, as far as is known at once;
    /// other nodes are not waited for.
    fn publish(&self, hints: Vec<Hint>) -> usize;
}

/// The inlet of this node, shared.
pub type SharedInlet = Arc<dyn Inlet>;
