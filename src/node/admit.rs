//! From an `Open` to a session: token, limits, the older connection of the device, the cursors.

use std::sync::Arc;

use crate::delivery::handshake::Handshake;
use crate::delivery::session::{Output, Session};
use crate::model::fault::{Code, Fault};
use crate::model::frame::Open;
use crate::model::id::{Receiver, SessionId};
use crate::model::log::LogId;
use crate::node::hub::Seat;
use crate::node::{Node, fault};
use crate::store::Following;

/// A session that is ready to be served on a link.
pub struct Admitted {
    pub(crate) session: Session,
    pub(crate) id: SessionId,
    pub(crate) seat: Seat,
    /// What the session wants done first: its welcome and its first read.
    pub(crate) first: Vec<Output>,
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
        let (new, following) = self.cursors(&claims.receiver, &mut seat).await?;
        let id = SessionId::new(fastrand::u64(..));
        let mut first = Vec::new();
        let options = Arc::clone(&self.delivery);
        let session = handshake.accept((id, fastrand::u64(..)), new, following, options, self.clock.now(), &mut first);
        if let Some(Output::Send(crate::model::frame::Frame::Welcome(welcome))) = first.first() {
            self.metrics.session_opened(welcome.resume.outcome);
            let resume = welcome.resume;
            tracing::info!(receiver = %claims.receiver, session = %id, agent = %open.agent, ?resume, "session opened");
        }
        Ok(Admitted { session, id, seat, first })
    }

    /// Reads the cursors. The hub hears of each log before its head is read, so no hint falls between the two.
    async fn cursors(&self, receiver: &Receiver, seat: &mut Seat) -> Result<(bool, Vec<Following>), Fault> {
        seat.follow(LogId::Inbox(receiver.tenant.clone(), receiver.user.clone()));
        let mut opened = self.store.open(receiver, self.clock.now().wall).await.map_err(fault)?;
        let topics = || opened.following.iter().filter(|following| matches!(following.log, LogId::Topic(..)));
        let logs: Vec<LogId> = topics().map(|following| following.log.clone()).collect();
        if !logs.is_empty() {
            for log in &logs {
                seat.follow(log.clone());
            }
            let heads = self.store.heads(logs.clone()).await.map_err(fault)?;
            for (log, head) in logs.iter().zip(heads) {
                if let Some(following) = opened.following.iter_mut().find(|following| following.log == *log) {
                    following.head = head;
                }
            }
        }
        Ok((opened.new, opened.following))
    }
}
