//! Who is online, and what backends hear of it: the board where sessions come and go. What it says is gathered and written
//! to the journal by `keeper.rs`; when something is said is decided by `roll.rs`.

mod keeper;
mod roll;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use self::roll::{Line, Roll};
use crate::delivery::session::Session;
use crate::model::clock::{Clock, Moment};
use crate::model::id::{Receiver, TenantId, UserId};
use crate::node::Node;

pub use self::roll::{Online, Standing};

/// What an operator can set about presence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// A device that is back within this time was never away: nobody hears of it.
    pub debounce: Duration,
    /// A device to which nothing is sent and from which no request comes for so long is idle. Zero: none ever is.
    pub idle_after: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { debounce: Duration::from_secs(3), idle_after: Duration::from_secs(60) }
    }
}

/// The board of a node.
///
/// It holds about 200 bytes for each device that is online, in a tree in the order of names, so that a page is found
/// without looking at all. A device takes the lock when it comes, is ready, falls idle and leaves, not when it is pushed to.
pub(crate) struct Board {
    roll: Mutex<Roll>,
    clock: Clock,
    /// Rings when the keeper has something to do earlier than it knows of.
    keeper: Notify,
}

/// A session's place on the board. Dropped, the device is gone.
pub(crate) struct Attendee {
    board: Arc<Board>,
    line: Arc<Line>,
    /// Pushes that had been sent when the board was last told.
    sent: u64,
    /// The board was told that all that waited was sent.
    ready: bool,
    /// The board was told that the device has left.
    left: bool,
}

impl Board {
    pub(crate) fn new(options: Options, clock: Clock) -> Self {
        Self { roll: Mutex::new(Roll::new(options)), clock, keeper: Notify::new() }
    }

    /// A device has opened a session. An older session of it is not looked at any more.
    pub(crate) fn enter(self: &Arc<Self>, receiver: Receiver) -> Attendee {
        let line = self.change(|roll| roll.enter(receiver, self.clock.now()));
        Attendee { board: Arc::clone(self), line, sent: 0, ready: false, left: false }
    }

    fn roll(&self) -> MutexGuard<'_, Roll> {
        self.roll.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the roll, and wakes the keeper if it has something to do earlier than before.
    fn change<T>(&self, change: impl FnOnce(&mut Roll) -> T) -> T {
        let mut roll = self.roll();
        let before = roll.urgency();
        let changed = change(&mut roll);
        if roll.urgency() < before {
            self.keeper.notify_one();
        }
        changed
    }
}

impl Node {
    /// Who is online of a tenant, or of one user: those after a device in the order of names, at most so many; and how
    /// many there are.
    #[must_use]
    pub fn who_is_online(
        &self,
        tenant: &TenantId,
        user: Option<&UserId>,
        after: Option<&Receiver>,
        most: usize,
    ) -> (Vec<Online>, u64) {
        self.board.roll().page(tenant, user, after, most)
    }

    /// Since when a device is online, and how it is doing; `None` when it is not.
    #[must_use]
    pub fn online(&self, receiver: &Receiver) -> Option<Online> {
        self.board.roll().online(receiver)
    }
}

impl Attendee {
    /// The session has done something: tells the board what concerns it.
    pub(crate) fn look_at(&mut self, session: &Session, moment: Moment) {
        let sent = session.tally().sent;
        if sent != self.sent {
            self.sent = sent;
            self.stir(moment);
        }
        if !self.ready && session.caught_up() {
            self.ready = true;
            self.board.change(|roll| roll.ready(&self.line, self.board.clock.now()));
        }
    }

    /// Something was sent to the device, or a request came from it.
    pub(crate) fn stir(&self, moment: Moment) {
        // In this order on both sides, and in one order for all: either this sees that the device was taken for idle, or
        // who takes it for idle sees this.
        self.line.active.store(moment.as_micros(), Ordering::SeqCst);
        if self.line.standing() == Standing::Idle {
            self.board.change(|roll| roll.stirred(&self.line, self.board.clock.now()));
        }
    }

    /// The session has ended.
    pub(crate) fn leave(mut self, reason: &'static str) {
        self.go(reason);
    }

    fn go(&mut self, reason: &'static str) {
        if !std::mem::replace(&mut self.left, true) {
            self.board.change(|roll| roll.leave(&self.line, reason, self.board.clock.now()));
        }
    }
}

impl Drop for Attendee {
    fn drop(&mut self) {
        self.go("gone");
    }
}
