//! A native connection as the node sees it: frames and requests, encoded and decoded on the way to the edge.

use std::task::{Context, Poll};

use crate::model::close::CloseReason;
use crate::model::fault::{Code, Fault, Grpc};
use crate::model::frame::{Answer, Frame, Ticket};
use crate::node::link::{Event, Link};
use crate::transport::native::edge::{self, Edge};
use crate::transport::native::logins::Logins;
use crate::wire::device;

/// Bodies from this size on are not copied behind their header but travel as a piece of their own. Below it the copy
/// is cheaper than another frame with its 9 bytes and its TLS record; a guess until the benches say more.
const SHARED_BODY_BYTES: usize = 4 * 1024;

/// A session's link.
pub(super) struct NativeLink {
    edge: Edge,
    logins: Logins,
    request_bytes_max: usize,
    /// What the push stream ends with.
    status: u16,
}

impl NativeLink {
    pub(super) const fn new(edge: Edge, logins: Logins, request_bytes_max: usize) -> Self {
        Self { edge, logins, request_bytes_max, status: 0 }
    }
}

impl Link for NativeLink {
    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        loop {
            while let Poll::Ready((id, answer)) = self.logins.poll(context) {
                self.edge.settle(id, answer);
            }
            match std::task::ready!(self.edge.poll_event(context)) {
                edge::Event::Gone(why) => return Poll::Ready(Event::Gone(why)),
                edge::Event::Refused(id, fault) => self.edge.refuse(id, &fault),
                edge::Event::Request(request) => {
                    let id = request.id;
                    match request.decoded(self.request_bytes_max).map(|request| self.logins.take(id, request)) {
                        Ok(Err(request)) => return Poll::Ready(Event::Request(Ticket(id), request)),
                        Ok(Ok(None)) => {}
                        Ok(Ok(Some(answer))) => self.edge.settle(id, answer),
                        Err(fault) => self.edge.refuse(id, &fault),
                    }
                }
            }
        }
    }

    fn received_bytes(&self) -> u64 {
        self.edge.received_bytes()
    }

    fn sent_bytes(&self) -> u64 {
        self.edge.sent_bytes()
    }

    fn unsent_bytes(&self) -> usize {
        self.edge.unsent_bytes()
    }

    fn send(&mut self, frame: &Frame) {
        if let Frame::Close { reason, .. } = frame {
            self.status = status(reason);
        }
        let Some(buffer) = self.edge.push_buffer() else { return };
        let before = buffer.len();
        let shared = match frame {
            Frame::Push { seq, attempt, entry } if entry.body.len() >= SHARED_BODY_BYTES => {
                buffer.reserve(device::PUSH_HEAD_BYTES_MAX);
                device::put_push_head(*seq, *attempt, entry, buffer);
                Some(entry.body.clone())
            }
            frame => {
                buffer.reserve(device::room_for(frame));
                device::put_frame(frame, buffer);
                None
            }
        };
        let added = buffer.len() - before;
        self.edge.pushed(added, shared);
    }

    fn answer(&mut self, ticket: Ticket, answer: Result<Answer, Fault>) {
        self.edge.settle(ticket.0, answer);
    }

    fn ping(&mut self) {
        self.edge.ping();
    }

    fn finish(&mut self) {
        let ended = Fault::new(Code::SessionEnded, "the session has ended; open another connection");
        self.edge.end_push(self.status, &ended);
    }
}

/// What a stock gRPC client makes of the end: UNAVAILABLE asks it to come back.
const fn status(reason: &CloseReason) -> u16 {
    let status = match reason {
        _ if reason.may_return() => Grpc::Unavailable,
        CloseReason::TokenExpired | CloseReason::Revoked => Grpc::Unauthenticated,
        CloseReason::TakenOver => Grpc::Aborted,
        _ => Grpc::InvalidArgument,
    };
    status as u16
}
