//! The narrow door to HTTP/2: read short requests to their end, answer them, open the push stream and write to it, ping,
//! go away. All use of `h2` on the device side stands in this file and its folder, because a leaner edge may take its place.

mod reply;
mod short;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Connection};
use h2::{Ping, PingPong, Reason, SendStream};
use tokio::net::TcpStream;

use crate::model::fault::{Code, Fault};
use crate::model::frame::Answer;
use crate::pool::{Block, Tier};
use crate::tls::server::TlsStream;
use crate::transport::native::Options;
use crate::transport::native::edge::reply::{Reply, trailers};
use crate::transport::native::edge::short::Short;
use crate::transport::native::incoming::{Incoming, ShortId};
use crate::transport::native::meter::{Counts, Meter};
use crate::wire::grpc;

/// Receive windows: the gateway takes only small requests, and a window is what a peer may make it hold.
const RECEIVE_WINDOW_BYTES: u32 = 64 * 1024;

/// Largest DATA frame we hand over: with its header it fills one TLS record (RFC 8446, section 5.1), and it is below the
/// default SETTINGS_MAX_FRAME_SIZE (RFC 9113, section 6.5.2).
const FRAME_BYTES: usize = 16 * 1024 - 9;

/// Time for a refused device to take its refusal.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// What the edge reports.
pub(super) enum Event {
    /// A request to answer.
    Request(Incoming),
    /// A request that must be refused with this fault.
    Refused(ShortId, Fault),
    /// The connection is over.
    Gone(String),
}

/// One HTTP/2 connection.
pub(super) struct Edge {
    /// Boxed: it is over 2 KiB, and each future that is handed the edge keeps room for it.
    connection: Box<Connection<Meter<TlsStream<TcpStream>>, Bytes>>,
    counts: Arc<Counts>,
    pings: Option<PingPong>,
    /// A ping is out.
    pinging: bool,
    /// Streams whose request is being read or waits for its answer. Bounded by SETTINGS_MAX_CONCURRENT_STREAMS.
    shorts: Vec<Short>,
    /// `shorts` may have something to read.
    unread: bool,
    /// Answers that wait for their turn. They are among the streams that SETTINGS_MAX_CONCURRENT_STREAMS bounds.
    answers: VecDeque<(Short, Reply)>,
    /// An answer was handed to `h2` and not yet written.
    answered: bool,
    push: Option<PushStream>,
    request_bytes_max: usize,
}

/// The push stream.
struct PushStream {
    stream: SendStream<Bytes>,
    /// What waits for room: the tail grows, full pieces stand before it.
    pieces: VecDeque<Bytes>,
    tail: Block,
    /// Bytes in `pieces` and `tail`.
    queued: usize,
    /// The peer's windows have no room for them.
    waits: bool,
    /// The status to end with; the stream takes nothing more.
    ending: Option<u16>,
    ended: bool,
}

impl Edge {
    /// Does the HTTP/2 handshake.
    pub(super) async fn accept(socket: TlsStream<TcpStream>, options: &Options) -> Result<Self, String> {
        let (meter, counts) = Meter::new(socket);
        let connection = Builder::new()
            .initial_window_size(RECEIVE_WINDOW_BYTES)
            .initial_connection_window_size(RECEIVE_WINDOW_BYTES)
            .max_concurrent_streams(options.streams_max)
            .max_header_list_size(options.header_bytes_max)
            .max_send_buffer_size(FRAME_BYTES)
            // Acks are small frames that may come in bursts: the default budget would take them for an attack.
            .data_frame_budget(1 << 20)
            .handshake(meter)
            .await
            .map_err(|error| error.to_string())?;
        let mut connection = Box::new(connection);
        let pings = connection.ping_pong();
        let request_bytes_max = options.request_bytes_max + grpc::PREFIX_BYTES;
        Ok(Self {
            connection,
            counts,
            pings,
            pinging: false,
            shorts: Vec::new(),
            unread: false,
            answers: VecDeque::new(),
            answered: false,
            push: None,
            request_bytes_max,
        })
    }

    pub(super) fn received_bytes(&self) -> u64 {
        self.counts.received()
    }

    pub(super) fn sent_bytes(&self) -> u64 {
        self.counts.sent()
    }

    /// The next event.
    pub(super) async fn event(&mut self) -> Event {
        poll_fn(|context| self.poll_event(context)).await
    }

    /// Drives the connection until something happened. Dropping a call loses nothing.
    ///
    /// `h2` gets one answer and one DATA frame at a time, and the next when those are written: its slab of queued frames
    /// begins with four places and never shrinks. What is handed over in one call still leaves in one write.
    pub(super) fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        loop {
            self.next_answer();
            if let Some(why) = self.poll_push(context) {
                return Poll::Ready(Event::Gone(why));
            }
            self.counts.hold(self.has_more() && !self.counts.is_full());
            self.poll_pong(context);
            let (received, stalled) = (self.counts.received(), self.counts.take_stalled());
            let accepted = self.connection.poll_accept(context);
            self.answered &= self.counts.is_full();
            // `h2` reads no further while it cannot answer a ping: it goes on in what came before, when there is room.
            self.unread |= stalled || self.counts.received() != received;
            match accepted {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    self.shorts.push(Short::new(request, respond));
                    self.unread = true;
                    continue;
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Event::Gone(error.to_string())),
                Poll::Ready(None) => return Poll::Ready(Event::Gone("the connection was closed".to_owned())),
                Poll::Pending => {}
            }
            if self.has_more() && !self.counts.is_full() {
                continue;
            }
            self.counts.hold(false);
            if !self.unread {
                return Poll::Pending;
            }
            if let Some(why) = self.poll_reset(context) {
                return Poll::Ready(Event::Gone(why));
            }
            return self.poll_shorts(context);
        }
    }

    /// Whether there is more to hand over as soon as `h2` has written what it has.
    fn has_more(&self) -> bool {
        !self.answers.is_empty() || self.push.as_ref().is_some_and(|push| push.queued > 0 && !push.waits)
    }

    /// Hands over the next answer that waits.
    fn next_answer(&mut self) {
        if !self.answered
            && !self.counts.is_full()
            && let Some((short, reply)) = self.answers.pop_front()
        {
            self.answered = true;
            short.reply(reply);
            if self.answers.is_empty() {
                // An idle connection keeps no buffers.
                self.answers = VecDeque::new();
            }
        }
    }

    /// Reads requests; the first that is whole is handed out.
    fn poll_shorts(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        // A stream that was reset counts no more among those that bound the answers.
        self.answers.retain_mut(|(short, _)| short.poll_reset(context).is_pending());
        let mut at = 0;
        while let Some(short) = self.shorts.get_mut(at) {
            match short.poll_read(context, self.request_bytes_max) {
                Poll::Pending => at += 1,
                Poll::Ready(Some(Ok(request))) => return Poll::Ready(Event::Request(request)),
                Poll::Ready(Some(Err(fault))) => return Poll::Ready(Event::Refused(short.id, fault)),
                Poll::Ready(None) => {
                    self.shorts.remove(at);
                }
            }
        }
        self.unread = false;
        Poll::Pending
    }

    fn take(&mut self, id: ShortId) -> Option<Short> {
        let at = self.shorts.iter().position(|short| short.id == id)?;
        Some(self.shorts.remove(at))
    }

    /// Answers a request, or refuses it.
    pub(super) fn settle(&mut self, id: ShortId, answer: Result<Answer, Fault>) {
        match answer {
            Ok(answer) => self.answer(id, answer),
            Err(fault) => self.refuse(id, &fault),
        }
    }

    fn answer(&mut self, id: ShortId, answer: Answer) {
        let Some(short) = self.take(id) else { return };
        let reply = Reply::answer(short.form, answer);
        self.reply(short, reply);
    }

    /// Refuses a request.
    pub(super) fn refuse(&mut self, id: ShortId, fault: &Fault) {
        let Some(short) = self.take(id) else { return };
        let reply = Reply::refusal(short.form, fault);
        self.reply(short, reply);
    }

    fn reply(&mut self, short: Short, reply: Reply) {
        self.answers.push_back((short, reply));
        self.next_answer();
    }

    /// Makes a request's stream the push stream: headers without END_STREAM.
    pub(super) fn open_push(&mut self, id: ShortId) {
        let Some(short) = self.take(id) else { return };
        if let Some(stream) = short.open() {
            self.push = Some(PushStream::new(stream));
        }
    }

    /// Where the next frame of the push stream is written, to travel with what is there already.
    pub(super) fn push_buffer(&mut self) -> Option<&mut Block> {
        self.push.as_mut().filter(|push| push.ending.is_none()).map(|push| &mut push.tail)
    }

    /// Takes note of `added` bytes that were written to [`Edge::push_buffer`]; `shared` goes after them uncopied.
    pub(super) fn pushed(&mut self, added: usize, shared: Option<Bytes>) {
        let Some(push) = self.push.as_mut() else { return };
        push.queued += added;
        if let Some(shared) = shared {
            push.queued += shared.len();
            let tail = std::mem::replace(&mut push.tail, Tier::Connection.take(0)).into_bytes();
            push.pieces.extend([tail, shared]);
        }
    }

    /// Bytes for the push stream that wait for room.
    pub(super) fn unsent_bytes(&self) -> usize {
        self.push.as_ref().map_or(0, |push| push.queued)
    }

    /// Ends the push stream with a gRPC status when all that waits is written, and the connection after it. Requests
    /// that were handed out and not answered are refused with `fault`: nobody will answer them any more.
    pub(super) fn end_push(&mut self, status: u16, fault: &Fault) {
        let handed_out = self.shorts.iter().filter(|short| short.is_read()).map(|short| short.id);
        for id in handed_out.collect::<Vec<_>>() {
            self.refuse(id, fault);
        }
        if let Some(push) = self.push.as_mut() {
            push.ending = Some(status);
        }
    }

    /// Sends a PING unless one is out.
    pub(super) fn ping(&mut self) {
        if let Some(pings) = self.pings.as_mut().filter(|_| !self.pinging) {
            self.pinging = pings.send_ping(Ping::opaque()).is_ok();
        }
    }

    fn poll_pong(&mut self, context: &mut Context<'_>) {
        if let Some(pings) = self.pings.as_mut().filter(|_| self.pinging)
            && pings.poll_pong(context).is_ready()
        {
            self.pinging = false;
        }
    }

    /// Says goodbye with GOAWAY and waits until the peer has taken what was said, for a bounded time.
    pub(super) async fn leave(&mut self) {
        self.connection.graceful_shutdown();
        let gone = async {
            loop {
                match self.event().await {
                    Event::Gone(_) => return,
                    Event::Request(Incoming { id, .. }) | Event::Refused(id, _) => {
                        self.refuse(id, &Fault::new(Code::NoSession, "this connection is closing"));
                    }
                }
            }
        };
        let _ = tokio::time::timeout(LEAVE_TIMEOUT, gone).await;
    }

    /// Looks whether the peer has reset the push stream: then it is over.
    fn poll_reset(&mut self, context: &mut Context<'_>) -> Option<String> {
        let push = self.push.as_mut().filter(|push| !push.ended)?;
        let Poll::Ready(reset) = push.stream.poll_reset(context) else { return None };
        let why = reset.map_or_else(|error| error.to_string(), |reason| reason.to_string());
        Some(format!("the push stream was reset: {why}"))
    }

    /// Writes to the push stream. `Some` says why it is over.
    fn poll_push(&mut self, context: &mut Context<'_>) -> Option<String> {
        let push = self.push.as_mut().filter(|push| !push.ended)?;
        if let Err(error) = push.write(context, self.counts.is_full()) {
            return Some(format!("the push stream was reset: {error}"));
        }
        if let Some(status) = push.ending.filter(|_| push.queued == 0) {
            push.ended = true;
            let _ = push.stream.send_trailers(trailers(status));
            self.connection.graceful_shutdown();
        }
        None
    }
}

impl PushStream {
    fn new(stream: SendStream<Bytes>) -> Self {
        let (pieces, tail) = (VecDeque::new(), Tier::Connection.take(0));
        Self { stream, pieces, tail, queued: 0, waits: false, ending: None, ended: false }
    }

    /// Hands over the next frame, if the socket and the peer's windows allow: never more, because `h2` would hold it
    /// without bound.
    fn write(&mut self, context: &mut Context<'_>, is_full: bool) -> Result<(), h2::Error> {
        if self.queued == 0 || is_full {
            // The windows may open meanwhile, and that wakes only once: they are looked at anew.
            self.waits = false;
            return Ok(());
        }
        let wanted = self.queued.min(FRAME_BYTES);
        self.stream.reserve_capacity(wanted);
        let mut room = self.stream.capacity();
        while room == 0 {
            match self.stream.poll_capacity(context) {
                Poll::Ready(Some(more)) => room = more?,
                Poll::Ready(None) => return Err(Reason::STREAM_CLOSED.into()),
                Poll::Pending => {
                    self.waits = true;
                    return Ok(());
                }
            }
        }
        self.waits = false;
        let piece = self.next_piece(room.min(wanted));
        self.queued -= piece.len();
        if self.queued == 0 && self.pieces.capacity() > 0 {
            // An idle connection keeps no buffers; the tail's went with the last piece.
            self.pieces = VecDeque::new();
        }
        self.stream.send_data(piece, false)
    }

    /// The next bytes, at most `room` of them.
    fn next_piece(&mut self, room: usize) -> Bytes {
        let tail = || std::mem::replace(&mut self.tail, Tier::Connection.take(0)).into_bytes();
        let mut piece = self.pieces.pop_front().unwrap_or_else(tail);
        if piece.len() > room {
            self.pieces.push_front(piece.split_off(room));
        }
        piece
    }
}

#[cfg(test)]
mod tests;
