//! A device's connection in a world: a real session, and what is on its way to and from it.

use std::collections::{BTreeMap, VecDeque};

use pushline::delivery::session::{Input, Session};
use pushline::model::cursor::{Cursor, Dead};
use pushline::model::id::MessageId;
use pushline::model::log::{Head, LogId, Offset};
use pushline::model::message::{Page, Urgency};
use pushline::model::receipt::Report;

/// What a session wants written.
pub(crate) type Commit = (Vec<(LogId, Cursor)>, Vec<Dead>, Vec<Report>);

/// What a session wants read: log, after, entries, bytes.
pub(crate) type Read = (LogId, Offset, usize, usize);

pub(crate) struct Link {
    pub(crate) session: Session,
    /// Hints on their way, each with the step at which it was made.
    pub(crate) hints: VecDeque<(u64, Input)>,
    pub(crate) read: Option<Read>,
    /// What was read and did not reach the session yet, with the step at which it was read.
    pub(crate) page: Option<(u64, Page)>,
    pub(crate) heads: Option<Vec<LogId>>,
    pub(crate) heads_read: Option<Vec<(LogId, Head)>>,
    pub(crate) commit: Option<Commit>,
    /// What it follows has changed and was not read yet.
    pub(crate) refreshing: bool,
    /// Pushes that the device has and has not settled, by seq.
    pub(crate) held: BTreeMap<u64, Held>,
    /// Acks and rejections that the session has and the store does not know yet.
    pub(crate) settling: Vec<Settling>,
    pub(crate) floor: Urgency,
    /// Urgencies are in order only as long as nothing is withheld.
    pub(crate) picky: bool,
    pub(crate) over: bool,
}

/// A push that the device has.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) id: MessageId,
    pub(crate) log: Option<LogId>,
    pub(crate) offset: Offset,
}

/// A push that was settled.
#[derive(Clone, Debug)]
pub(crate) struct Settling {
    pub(crate) held: Held,
    pub(crate) acked: bool,
}

impl Link {
    pub(crate) const fn new(session: Session, floor: Urgency) -> Self {
        Self {
            session,
            hints: VecDeque::new(),
            read: None,
            page: None,
            heads: None,
            heads_read: None,
            commit: None,
            refreshing: false,
            held: BTreeMap::new(),
            settling: Vec::new(),
            floor,
            picky: false,
            over: false,
        }
    }
}
