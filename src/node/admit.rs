//! From an `Open` to a session: token, limits, the older connection of the device, the cursors.

use std::sync::Arc;

use crate::delivery::handshake::Handshake;
use crate::delivery::session::{Output, Session};
use crate::model::clock::Clock;
use crate::model::fault::{Code, Fault};
use crate::model::frame::Open;
use crate::model::id::{Receiver, SessionId};
use crate::model::log::LogId;
use crate::node::hub::Seat;
use crate::node::{Node, fault};
use crate::store::{Following, Store};

/// A session that is ready to be served on a link.
pub struct Admitted {
    pub(crate) session: Session,
    pub(crate) id: SessionId,
    /// The device is recorded as present until this is dropped, which must happen before the seat is free: fields are
    /// dropped in their order.
    pub(crate) visit: Visit,
    pub(crate) seat: Seat,
    /// What the session wants done first: its welcome and its first read.
    pub(crate) first: Vec<Output>,
}

/// A device's presence in the store: what was opened is left, on whatever way this ends.
pub(crate) struct Visit {
    store: Arc<dyn Store>,
    clock: Clock,
    receiver: Receiver,
    opened: bool,
}

impl Drop for Visit {
    fn drop(&mut self) {
        if self.opened {
            // The call takes its place in the store's queue; nobody needs the answer.
            drop(self.store.leave(&self.receiver, self.clock.now().wall));
        }
    }
}

impl Admitted {
    /// Who was admitted.
    #[must_use]
    pub const fn receiver(&self) -> &Receiver {
        self.seat.receiver()
    }
}

impl Node {
    /// Opens a session for a device.
    ///
    /// # Errors
    /// A refusal with its code; nothing of it is left behind.
    pub async fn open(&self, open: &Open) -> Result<Admitted, Fault> {
        if self.draining() {
            return Err(Fault::new(Code::Draining, "the node is being drained; connect to another one or come back"));
        }
        let claims = self.authority.verify(&open.token, self.clock.now().wall)?;
        let handshake = Handshake::check(open, claims.receiver.clone(), claims.expires_at, &self.delivery)?;
        let mut seat = self.hub.sit(claims.receiver.clone()).await?;
        let (store, clock) = (Arc::clone(&self.store), self.clock);
        // Held from before the call: a device that hangs up meanwhile was opened all the same.
        let mut visit = Visit { store, clock, receiver: claims.receiver.clone(), opened: true };
        let (new, following) = match self.cursors(&claims.receiver, &mut seat).await {
            Ok(cursors) => cursors,
            Err((opened, fault)) => {
                visit.opened = opened;
                return Err(fault);
            }
        };
        let id = SessionId::new(fastrand::u64(..));
        let mut first = Vec::new();
        let options = Arc::clone(&self.delivery);
        let session = handshake.accept((id, fastrand::u64(..)), new, following, options, self.clock.now(), &mut first);
        if let Some(Output::Send(crate::model::frame::Frame::Welcome(welcome))) = first.first() {
            self.metrics.session_opened(welcome.resume.outcome);
            let resume = welcome.resume;
            tracing::info!(receiver = %claims.receiver, session = %id, agent = %open.agent, ?resume, "session opened");
        }
        Ok(Admitted { session, id, seat, first, visit })
    }

    /// Reads the cursors. The hub hears of each log before its head is read, so no hint falls between the two.
    /// The error tells whether the store knows of the visit.
    async fn cursors(&self, receiver: &Receiver, seat: &mut Seat) -> Result<(bool, Vec<Following>), (bool, Fault)> {
        seat.follow(LogId::Inbox(receiver.tenant.clone(), receiver.user.clone()));
        let mut opened =
            self.store.open(receiver, self.clock.now().wall).await.map_err(|error| (false, fault(error)))?;
        let topics = || opened.following.iter().filter(|following| matches!(following.log, LogId::Topic(..)));
        let logs: Vec<LogId> = topics().map(|following| following.log.clone()).collect();
        if !logs.is_empty() {
            for log in &logs {
                seat.follow(log.clone());
            }
            let heads = self.store.heads(logs.clone()).await.map_err(|error| (true, fault(error)))?;
            for (log, head) in logs.iter().zip(heads) {
                if let Some(following) = opened.following.iter_mut().find(|following| following.log == *log) {
                    following.head = head;
                }
            }
        }
        Ok((opened.new, opened.following))
    }
}
