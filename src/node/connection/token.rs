//! The access token of a session: renewed while it runs, and what a viewer's does not allow.

use crate::delivery::session::Input;
use crate::model::clock::Now;
use crate::model::close::CloseReason;
use crate::model::fault::{Code, Fault};
use crate::model::frame::Ticket;
use crate::node::connection::Connection;
use crate::node::link::Link;

impl<L: Link> Connection<L> {
    /// Goes on with another token, if it is good and of the same device. One that is refused changes nothing.
    pub(super) fn renew(&mut self, now: Now, ticket: Ticket, token: &str) {
        let receiver = self.seat.receiver();
        let pass = match self.node.pass(token, Some(&receiver.device)) {
            Ok(pass) if pass.receiver == *receiver => pass,
            Ok(_) => {
                let words = "the token is another user's, device's or share's than the session";
                return self.link.answer(ticket, Err(Fault::new(Code::Forbidden, words)));
            }
            Err(fault) => return self.link.answer(ticket, Err(fault)),
        };
        self.seat.holds(pass.held);
        // What was revoked since it was checked did not find it at the seat.
        if let Err(fault) = self.node.recheck(&pass) {
            self.link.answer(ticket, Err(fault));
            return self.feed(now, Input::Close(CloseReason::Revoked));
        }
        self.feed(now, Input::Renew(ticket, pass.life));
    }

    /// Whether the session is a viewer's: no device has a user with such a name.
    pub(super) fn is_viewer(&self) -> bool {
        self.seat.receiver().user.is_reserved()
    }
}
