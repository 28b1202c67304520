//! The narrow door to HTTP/2: read short requests to their end, answer them, open the push stream and write to it, ping,
//! go away. All use of `h2` on the device side stands in this file, because a leaner edge may take its place.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::server::{Builder, Connection, SendResponse};
use h2::{Ping, PingPong, Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use tokio::net::TcpStream;

use crate::model::fault::{Code, Fault};
use crate::tls::server::TlsStream;
use crate::transport::native::Options;
use crate::transport::native::meter::{Counts, Meter};
use crate::wire::device::Method;
use crate::wire::grpc;

/// Receive windows: the gateway takes only small requests, and a window is what a peer may make it hold.
const RECEIVE_WINDOW_BYTES: u32 = 64 * 1024;

/// Bytes that `h2` holds for the push stream beyond our own queue: four DATA frames of the default size, because its
/// slab of queued frames begins with four places and never shrinks.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// Largest DATA frame we hand over: the default SETTINGS_MAX_FRAME_SIZE (RFC 9113, section 6.5.2).
const FRAME_BYTES: usize = 16 * 1024;

/// Bodies are read to their end before anything is answered; a peer that sends more than its limit and this on top is
/// not worth it: the stream is reset.
const DISCARD_BYTES_MAX: usize = 256 * 1024;

/// Time for a refused device to take its refusal.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// A short stream, by the number of its HTTP/2 stream.
pub(super) type ShortId = u32;

/// A request on a short stream, read to its end.
pub(super) struct Incoming {
    pub(super) id: ShortId,
    pub(super) method: Method,
    /// Token of the `authorization` header.
    pub(super) bearer: Option<String>,
    pub(super) body: Bytes,
}

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
    push: Option<PushStream>,
    request_bytes_max: usize,
}

/// A stream that waits for its request's end, or for its answer.
struct Short {
    id: ShortId,
    respond: SendResponse<Bytes>,
    /// `None` once the request was handed out.
    reading: Option<Reading>,
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
    tail: BytesMut,
    /// Bytes in `pieces` and `tail`.
    queued: usize,
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
            .max_send_buffer_size(SEND_BUFFER_BYTES)
            // Acks are small frames that may come in bursts: the default budget would take them for an attack.
            .data_frame_budget(1 << 20)
            .handshake(meter)
            .await
            .map_err(|error| error.to_string())?;
        let mut connection = Box::new(connection);
        let pings = connection.ping_pong();
        let request_bytes_max = options.request_bytes_max + grpc::PREFIX_BYTES;
        Ok(Self { connection, counts, pings, pinging: false, shorts: Vec::new(), push: None, request_bytes_max })
    }

    pub(super) fn received_bytes(&self) -> u64 {
        self.counts.received.load(Ordering::Relaxed)
    }

    pub(super) fn sent_bytes(&self) -> u64 {
        self.counts.sent.load(Ordering::Relaxed)
    }

    /// The next event.
    pub(super) async fn event(&mut self) -> Event {
        poll_fn(|context| self.poll_event(context)).await
    }

    /// Drives the connection until something happened. Dropping a call loses nothing.
    pub(super) fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        loop {
            if let Some(why) = self.poll_push(context) {
                return Poll::Ready(Event::Gone(why));
            }
            self.poll_pong(context);
            match self.connection.poll_accept(context) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    self.shorts.push(Short::new(request, respond));
                    continue;
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Event::Gone(error.to_string())),
                Poll::Ready(None) => return Poll::Ready(Event::Gone("the connection was closed".to_owned())),
                Poll::Pending => {}
            }
            return self.poll_shorts(context);
        }
    }

    /// Reads requests; the first that is whole is handed out.
    fn poll_shorts(&mut self, context: &mut Context<'_>) -> Poll<Event> {
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
        Poll::Pending
    }

    fn take(&mut self, id: ShortId) -> Option<Short> {
        let at = self.shorts.iter().position(|short| short.id == id)?;
        Some(self.shorts.remove(at))
    }

    /// Answers a request: headers, one message, trailers with END_STREAM.
    pub(super) fn answer(&mut self, id: ShortId, message: Bytes) {
        let Some(mut short) = self.take(id) else { return };
        // An error here means that the stream was reset: nobody waits for the answer.
        let Ok(mut stream) = short.respond.send_response(response(), false) else { return };
        // The message is a few dozen bytes and streams are few, so it need not wait for the peer's window.
        if stream.send_data(message, false).is_ok() {
            let _ = stream.send_trailers(trailers(0));
        }
    }

    /// Refuses a request: headers only, with END_STREAM.
    pub(super) fn refuse(&mut self, id: ShortId, fault: &Fault) {
        let Some(mut short) = self.take(id) else { return };
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
        let _ = short.respond.send_response(refusal, true);
    }

    /// Makes a request's stream the push stream: headers without END_STREAM.
    pub(super) fn open_push(&mut self, id: ShortId) {
        let Some(mut short) = self.take(id) else { return };
        if let Ok(stream) = short.respond.send_response(response(), false) {
            self.push = Some(PushStream::new(stream));
        }
    }

    /// Where the next frame of the push stream is written, to travel with what is there already.
    pub(super) fn push_buffer(&mut self) -> Option<&mut BytesMut> {
        self.push.as_mut().filter(|push| push.ending.is_none()).map(|push| &mut push.tail)
    }

    /// Takes note of `added` bytes that were written to [`Edge::push_buffer`]; `shared` goes after them uncopied.
    pub(super) fn pushed(&mut self, added: usize, shared: Option<Bytes>) {
        let Some(push) = self.push.as_mut() else { return };
        push.queued += added;
        if let Some(shared) = shared {
            push.queued += shared.len();
            let tail = push.tail.split().freeze();
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

    /// Writes to the push stream. `Some` says why it is over.
    fn poll_push(&mut self, context: &mut Context<'_>) -> Option<String> {
        let push = self.push.as_mut().filter(|push| !push.ended)?;
        if let Poll::Ready(reset) = push.stream.poll_reset(context) {
            let why = reset.map_or_else(|error| error.to_string(), |reason| reason.to_string());
            return Some(format!("the push stream was reset: {why}"));
        }
        if let Poll::Ready(Err(error)) = push.poll_write(context) {
            return Some(error.to_string());
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
        let (pieces, tail) = (VecDeque::new(), BytesMut::new());
        Self { stream, pieces, tail, queued: 0, ending: None, ended: false }
    }

    /// Hands over what waits, as far as the peer's windows and the send buffer allow: never more, because `h2` would
    /// hold it without bound.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        while self.queued > 0 {
            self.stream.reserve_capacity(self.queued.min(SEND_BUFFER_BYTES));
            let mut room = self.stream.capacity();
            if room == 0 {
                match ready!(self.stream.poll_capacity(context)) {
                    Some(Ok(more)) => room = more,
                    Some(Err(error)) => return Poll::Ready(Err(error)),
                    None => return Poll::Ready(Err(Reason::STREAM_CLOSED.into())),
                }
                if room == 0 {
                    continue;
                }
            }
            let piece = self.next_piece(room.min(FRAME_BYTES));
            self.queued -= piece.len();
            self.stream.send_data(piece, false)?;
        }
        if self.pieces.capacity() > 0 {
            // An idle connection keeps no buffers.
            (self.pieces, self.tail) = (VecDeque::new(), BytesMut::new());
        }
        Poll::Ready(Ok(()))
    }

    /// The next bytes, at most `room` of them.
    fn next_piece(&mut self, room: usize) -> Bytes {
        if self.pieces.is_empty() {
            let tail = self.tail.split().freeze();
            self.pieces.push_back(tail);
        }
        let Some(mut piece) = self.pieces.pop_front() else { return Bytes::new() };
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
        Self { id, respond, reading: Some(reading) }
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
        Poll::Ready(Some(match reading.whole(limit) {
            Ok((method, bearer, body)) => Event::Request(Incoming { id: self.id, method, bearer, body }),
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

    /// Checks what was read.
    fn whole(self, limit: usize) -> Result<(Method, Option<String>, Bytes), Fault> {
        let headers = self.head.headers();
        let content_type = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        let rest = content_type.strip_prefix(grpc::CONTENT_TYPE.as_bytes());
        if !matches!(rest.map(<[u8]>::first), Some(None | Some(b'+' | b';'))) || rest == Some(b"+json") {
            let words = "send content-type application/grpc or application/grpc+proto";
            return Err(Fault::new(Code::UnsupportedMediaType, words));
        }
        let Some(method) = Method::from_path(self.head.uri().path()) else {
            return Err(Fault::new(Code::UnknownMethod, "this service has Open, Ack, Subscribe, Unsubscribe, Update"));
        };
        if self.head.method() != http::Method::POST {
            return Err(Fault::new(Code::MethodNotAllowed, "gRPC requests are POST requests"));
        }
        if self.discarded > 0 {
            let words = format!("the request has more than {} bytes", limit - grpc::PREFIX_BYTES);
            return Err(Fault::new(Code::RequestTooLarge, words));
        }
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let bearer = bearer.and_then(|value| value.strip_prefix("Bearer ")).map(str::to_owned);
        Ok((method, bearer, self.body.freeze()))
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
