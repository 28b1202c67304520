//! What a transport gives the node: a link to one device. The node speaks frames and requests through it and never
//! learns what carries them.

use std::task::{Context, Poll};

use crate::model::fault::Fault;
use crate::model::frame::{Answer, Frame, Request, Ticket};

/// What a link reports.
#[derive(Debug)]
pub enum Event {
    /// A request came, read to its end; it must be answered by its ticket. Never a login or a challenge: those need no
    /// session, and the transport sees to them.
    Request(Ticket, Request),
    /// The device is gone or broke the transport's protocol; nothing more comes. The text is for the log.
    Gone(String),
}

/// A link to one device. All methods but the polls return at once; what they start goes on while the link is polled.
pub trait Link: Send + 'static {
    /// Drives the link: reads, writes what was queued, answers heartbeats. Ready when something happened that the
    /// session must know.
    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Event>;

    /// Bytes received since the link began, of any kind: each is a sign of life.
    fn received_bytes(&self) -> u64;

    /// Bytes sent since the link began, of any kind.
    fn sent_bytes(&self) -> u64;

    /// Bytes of frames that were queued by [`Link::send`] and are not yet on their way. The session stops sending when
    /// they exceed its bound.
    fn unsent_bytes(&self) -> usize;

    /// Queues a frame on the push stream, which adds its bytes to [`Link::unsent_bytes`]: a link that never told of them
    /// would get no more frames once the session's bound is reached. Frames queued before the next poll travel together.
    fn send(&mut self, frame: &Frame);

    /// Answers a request.
    fn answer(&mut self, ticket: Ticket, answer: Result<Answer, Fault>);

    /// Sends a heartbeat; the peer's reply counts as received bytes. At most one is under way.
    fn ping(&mut self);

    /// Ends the push stream after what was queued, refuses requests that were not answered, and closes when all is
    /// written. After it,
    /// [`Link::poll_event`] is ready with [`Event::Gone`] once the last byte is out or the peer is gone.
    fn finish(&mut self);
}
