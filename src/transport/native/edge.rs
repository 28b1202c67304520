//! The narrow door to HTTP/2: read short requests to their end, answer them, open the push stream and write to it, ping,
//! go away. All use of `h2` on the device side stands in this file, because a leaner edge may take its place.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::server::{Builder, Connection, SendResponse};
use h2::{Ping, PingPong, Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use tokio::net::TcpStream;

use crate::model::fault::{Code, Fault};
use crate::pool::{Block, Tier};
use crate::tls::server::TlsStream;
use crate::transport::native::Options;
use crate::transport::native::incoming::{Incoming, ShortId};
use crate::transport::native::meter::{Counts, Meter};
use crate::wire::grpc;

/// Receive windows: the gateway takes only small requests, and a window is what a peer may make it hold.
const RECEIVE_WINDOW_BYTES: u32 = 64 * 1024;

/// Largest DATA frame we hand over: with its header it fills one TLS record (RFC 8446, section 5.1), and it is below the
/// default SETTINGS_MAX_FRAME_SIZE (RFC 9113, section 6.5.2).
const FRAME_BYTES: usize = 16 * 1024 - 9;

/// Bodies are read to their end before anything is answered; a peer that sends more than its limit and this on top is
/// not worth it: the stream is reset.
const DISCARD_BYTES_MAX: usize = 256 * 1024;

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

/// A stream that waits for its request's end, or for its answer.
struct Short {
    id: ShortId,
    respond: SendResponse<Bytes>,
    /// `None` once the request was handed out.
    reading: Option<Box<Reading>>,
}

/// What ends a short stream.
enum Reply {
    /// Headers, one message, trailers with END_STREAM.
    Message(Bytes),
    /// Headers only, with END_STREAM.
    Refusal(Box<Response<()>>),
}

/// A request that is being read.
struct Reading {
    head: Request<()>,
    stream: RecvStream,
    body: BytesMut,
    /// Bytes beyond the limit, which were thrown away.
    discarded: usize,
    /// All DATA was read; trailers may follow.
    data_done: bool,
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
        self.answers.retain_mut(|(short, _)| short.respond.poll_reset(context).is_pending());
        let mut at = 0;
        while let Some(short) = self.shorts.get_mut(at) {
            match short.poll_read(context, self.request_bytes_max) {
                Poll::Pending => at += 1,
                Poll::Ready(Some(event)) => return Poll::Ready(event),
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

    /// Answers a request.
    pub(super) fn answer(&mut self, id: ShortId, message: Bytes) {
        self.reply(id, Reply::Message(message));
    }

    fn reply(&mut self, id: ShortId, reply: Reply) {
        let Some(short) = self.take(id) else { return };
        self.answers.push_back((short, reply));
        self.next_answer();
    }

    /// Refuses a request.
    pub(super) fn refuse(&mut self, id: ShortId, fault: &Fault) {
        let mut refusal = response();
        if fault.code == Code::UnsupportedMediaType {
            *refusal.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        }
        let headers = refusal.headers_mut();
        headers.extend(trailers(fault.code.grpc() as u16));
        if fault.code == Code::UnsupportedEncoding {
            // gRPC's document on compression: this refusal tells what is taken.
            headers.insert("grpc-accept-encoding", HeaderValue::from_static("identity"));
        }
        headers.insert("pushline-code", HeaderValue::from_static(fault.code.name()));
        headers.insert("pushline-errno", HeaderValue::from(fault.code.errno()));
        if let Ok(words) = HeaderValue::try_from(grpc::encode_words(&fault.words)) {
            headers.insert("grpc-message", words);
        }
        self.reply(id, Reply::Refusal(Box::new(refusal)));
    }

    /// Makes a request's stream the push stream: headers without END_STREAM.
    pub(super) fn open_push(&mut self, id: ShortId) {
        let Some(mut short) = self.take(id) else { return };
        if let Ok(stream) = short.respond.send_response(response(), false) {
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
        let handed_out = self.shorts.iter().filter(|short| short.reading.is_none()).map(|short| short.id);
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

impl Short {
    fn new(request: Request<RecvStream>, respond: SendResponse<Bytes>) -> Self {
        let id = respond.stream_id().as_u32();
        let (head, stream) = request.into_parts();
        let head = Request::from_parts(head, ());
        let reading = Reading { head, stream, body: BytesMut::new(), discarded: 0, data_done: false };
        Self { id, respond, reading: Some(Box::new(reading)) }
    }

    /// Ends the stream. An error means that it was reset: nobody waits for the answer.
    fn reply(mut self, reply: Reply) {
        match reply {
            Reply::Message(message) => {
                let Ok(mut stream) = self.respond.send_response(response(), false) else { return };
                // The message is a few dozen bytes and streams are few, so it need not wait for the peer's window.
                if stream.send_data(message, false).is_ok() {
                    let _ = stream.send_trailers(trailers(0));
                }
            }
            Reply::Refusal(refusal) => drop(self.respond.send_response(*refusal, true)),
        }
    }

    /// Reads on. `None`: the stream is of no more use.
    fn poll_read(&mut self, context: &mut Context<'_>, limit: usize) -> Poll<Option<Event>> {
        let Some(reading) = self.reading.as_mut() else {
            // It waits for its answer; a reset means that nobody does.
            return match self.respond.poll_reset(context) {
                Poll::Ready(_) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            };
        };
        match ready!(reading.poll_end(context, limit)) {
            Ok(()) => {}
            Err(Some(reason)) => {
                self.respond.send_reset(reason);
                return Poll::Ready(None);
            }
            Err(None) => return Poll::Ready(None),
        }
        let Some(reading) = self.reading.take() else { return Poll::Ready(None) };
        let Reading { head, body, discarded, .. } = *reading;
        let limit = (discarded > 0).then_some(limit - grpc::PREFIX_BYTES);
        Poll::Ready(Some(match Incoming::checked(self.id, &head, body.freeze(), limit) {
            Ok(incoming) => Event::Request(incoming),
            Err(fault) => Event::Refused(self.id, fault),
        }))
    }
}

impl Reading {
    /// Reads to the end of the request, trailers included. The error says how to reset the stream, if it still lives.
    fn poll_end(&mut self, context: &mut Context<'_>, limit: usize) -> Poll<Result<(), Option<Reason>>> {
        while !self.data_done {
            match ready!(self.stream.poll_data(context)) {
                Some(Ok(data)) => {
                    let _ = self.stream.flow_control().release_capacity(data.len());
                    let room = limit.saturating_sub(self.body.len()).min(data.len());
                    self.body.extend_from_slice(&data[..room]);
                    self.discarded += data.len() - room;
                    if self.discarded > DISCARD_BYTES_MAX {
                        return Poll::Ready(Err(Some(Reason::ENHANCE_YOUR_CALM)));
                    }
                }
                Some(Err(_)) => return Poll::Ready(Err(None)),
                None => self.data_done = true,
            }
        }
        match ready!(self.stream.poll_trailers(context)) {
            Ok(_) => Poll::Ready(Ok(())),
            Err(_) => Poll::Ready(Err(None)),
        }
    }
}

fn response() -> Response<()> {
    let mut response = Response::new(());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(grpc::CONTENT_TYPE));
    response
}

fn trailers(status: u16) -> HeaderMap {
    HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from(status))])
}

#[cfg(test)]
mod tests;
