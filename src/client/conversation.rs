//! One HTTP/2 connection with its push stream: turns it into frames and sends short requests. It decides nothing; when
//! it fails it says why, once.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::client::{Connection, ResponseFuture, SendRequest};
use h2::{Ping, PingPong, RecvStream};
use http::{Method as HttpMethod, Request, header};

use crate::client::dial::Socket;
use crate::client::error::Error;
use crate::client::incoming::{self, Incoming};
use crate::client::outcome;
use crate::wire::device::Method;
use crate::wire::grpc::{self, Deframer};
use crate::wire::pb;

/// Longest message taken from the push stream. The largest payload a gateway takes is 1 MiB; attributes and names come
/// on top.
const MESSAGE_BYTES_MAX: usize = 2 << 20;
/// Longest body of a short answer: a few numbers, or a token.
const ANSWER_BYTES_MAX: usize = 16 << 10;
/// How long the last bytes may take to leave when a conversation is closed.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// What the gateway said.
pub(super) enum Said {
    /// A frame of the push stream.
    Frame(Incoming),
    /// The answer to a heartbeat.
    Pong,
}

/// A connection on which nothing was said yet.
pub(super) struct Line {
    /// Moves bytes; must be polled for anything to happen.
    pub(super) connection: Connection<Socket, Bytes>,
    pub(super) caller: Caller,
    /// See [`Session::tls`](crate::client::Session::tls).
    pub(super) tls: &'static str,
}

/// Makes requests on a connection.
#[derive(Clone)]
pub(super) struct Caller {
    /// Opens streams.
    pub(super) requests: SendRequest<Bytes>,
    /// `:authority` of requests.
    pub(super) authority: Arc<str>,
}

/// The conversation.
pub(super) struct Conversation {
    /// Moves bytes; must be polled for anything to happen.
    connection: Connection<Socket, Bytes>,
    /// The connection is over, for this reason.
    ended: Option<Error>,
    caller: Caller,
    /// Sends heartbeats; one may be out at a time.
    pings: PingPong,
    /// Whether one is out.
    pinging: bool,
    stream: Stream,
    /// Bytes of the push stream that are not whole messages yet.
    deframer: Deframer,
    /// See [`Session::tls`](crate::client::Session::tls).
    tls: &'static str,
}

/// The push stream.
enum Stream {
    /// Its head has not come.
    Opening(ResponseFuture),
    /// Its head was good.
    Reading(RecvStream),
}

impl Line {
    /// Waits for the end of some requests while the connection moves.
    pub(super) async fn during<T>(&mut self, requests: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let ended = |result: Result<(), h2::Error>| match result {
            Ok(()) => Error::Network("the gateway closed the connection".into()),
            Err(why) => outcome::http2(&why),
        };
        tokio::select! {
            // An answer that came with the connection's end counts.
            biased;
            result = requests => result,
            result = &mut self.connection => Err(ended(result)),
        }
    }

    /// Ends it in order: what was sent leaves, the gateway is told, the socket is closed. Bounded in time.
    pub(super) async fn close(self) {
        let Self { connection, caller, .. } = self;
        drop(caller);
        let _ = tokio::time::timeout(CLOSE_WITHIN, connection).await;
    }
}

impl Conversation {
    /// Sends the `Open`; the client's half of the push stream is closed with it (P1.8).
    pub(super) fn open(line: Line, open: &pb::OpenRequest) -> Result<Self, Error> {
        let Line { mut connection, mut caller, tls } = line;
        let pings = connection.ping_pong().expect("it is taken once from a new connection");
        let response = send(&mut caller.requests, &caller.authority, Method::Open, grpc::framed(open))?;
        Ok(Self {
            connection,
            ended: None,
            caller,
            pings,
            pinging: false,
            stream: Stream::Opening(response),
            deframer: Deframer::new(MESSAGE_BYTES_MAX),
            tls,
        })
    }

    /// Makes requests. They move only while [`Conversation::poll`] is polled, and have no deadline.
    pub(super) fn caller(&self) -> Caller {
        self.caller.clone()
    }

    /// Sends a heartbeat, unless one is out: then that one's answer is waited for.
    pub(super) fn ping(&mut self) {
        // A failure means that the connection is over, which `poll` tells.
        self.pinging |= self.pings.send_ping(Ping::opaque()).is_ok();
    }

    /// What the gateway says next; while `room` is false bytes move but no frame is given out. After an error the
    /// conversation is of no use.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, room: bool) -> Poll<Result<Said, Error>> {
        if self.ended.is_none()
            && let Poll::Ready(result) = Pin::new(&mut self.connection).poll(cx)
        {
            self.ended = Some(match result {
                Ok(()) => Error::Network("the gateway closed the connection".into()),
                Err(why) => outcome::http2(&why),
            });
        }
        if self.pinging && self.pings.poll_pong(cx).is_ready() {
            self.pinging = false;
            return Poll::Ready(Ok(Said::Pong));
        }
        if room {
            // What came before the connection ended is still there, and may say why it ended.
            return self.poll_stream(cx).map_ok(Said::Frame);
        }
        if self.ended.is_none() {
            return Poll::Pending;
        }
        // Nothing can be acked any more and the pushes come again, so only the gateway's last word is of interest: were a
        // takeover missed, the client would come back and take over in turn.
        loop {
            match ready!(self.poll_stream(cx)) {
                Ok(Incoming::Push(_)) => {}
                last => return Poll::Ready(last.map(Said::Frame)),
            }
        }
    }

    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<Result<Incoming, Error>> {
        if let Stream::Opening(response) = &mut self.stream {
            let response = ready!(Pin::new(response).poll(cx)).map_err(|why| self.failed(&why))?;
            let (head, body) = response.into_parts();
            outcome::head(head.status, &head.headers)?;
            self.stream = Stream::Reading(body);
        }
        let Stream::Reading(body) = &mut self.stream else { unreachable!("the head was read above") };
        loop {
            while let Some(message) = self.deframer.next_message().map_err(|why| Error::Protocol(why.to_string()))? {
                if let Some(mut frame) = incoming::read(message)? {
                    if let Incoming::Welcome(session) = &mut frame {
                        session.tls = self.tls;
                    }
                    return Poll::Ready(Ok(frame));
                }
            }
            match ready!(body.poll_data(cx)) {
                Some(Ok(bytes)) => {
                    self.deframer.push(&bytes);
                    // No more is read before the program took what is here, so this gives back no more than fits.
                    let _ = body.flow_control().release_capacity(bytes.len());
                }
                Some(Err(why)) => return Poll::Ready(Err(self.failed(&why))),
                None => {
                    let trailers = ready!(body.poll_trailers(cx)).map_err(|why| self.failed(&why))?;
                    let ended = || Error::Network("the gateway ended the push stream".into());
                    let Some(trailers) = trailers else { return Poll::Ready(Err(ended())) };
                    return Poll::Ready(Err(outcome::trailers(&trailers).err().unwrap_or_else(ended)));
                }
            }
        }
    }

    /// Why the push stream failed: the connection's reason is the better one, if it has any.
    fn failed(&self, why: &h2::Error) -> Error {
        self.ended.clone().unwrap_or_else(|| outcome::http2(why))
    }

    /// Ends it in order: what was sent leaves, the gateway is told, the socket is closed. Bounded in time.
    pub(super) async fn close(self) {
        let Self { connection, caller, stream, pings, ended, .. } = self;
        drop((caller, stream, pings));
        if ended.is_none() {
            // Late or failing, there is nobody left to tell.
            let _ = tokio::time::timeout(CLOSE_WITHIN, connection).await;
        }
    }
}

impl Caller {
    /// A call on a short stream. It moves only while the connection is polled, and has no deadline.
    pub(super) async fn call(&self, method: Method, body: Bytes) -> Result<Bytes, Error> {
        let network = |why: h2::Error| outcome::http2(&why);
        let mut requests = self.requests.clone();
        std::future::poll_fn(|cx| requests.poll_ready(cx)).await.map_err(network)?;
        let response = send(&mut requests, &self.authority, method, body)?.await.map_err(network)?;
        let (head, mut body) = response.into_parts();
        outcome::head(head.status, &head.headers)?;
        let mut answer = BytesMut::new();
        while let Some(bytes) = body.data().await {
            let bytes = bytes.map_err(network)?;
            if answer.len() + bytes.len() > ANSWER_BYTES_MAX {
                return Err(Error::Protocol("an answer is too long".into()));
            }
            let _ = body.flow_control().release_capacity(bytes.len());
            answer.extend_from_slice(&bytes);
        }
        outcome::trailers(&body.trailers().await.map_err(network)?.unwrap_or_default())?;
        grpc::unary(answer.freeze(), ANSWER_BYTES_MAX).map_err(|why| Error::Protocol(why.to_string()))
    }
}

/// Sends a request and its one message with END_STREAM (P1.8, P1.10). Requests are small and few at a time, so they are
/// handed over without waiting for the gateway's window.
fn send(
    requests: &mut SendRequest<Bytes>,
    authority: &str,
    method: Method,
    body: Bytes,
) -> Result<ResponseFuture, Error> {
    let request = Request::builder()
        .method(HttpMethod::POST)
        .uri(format!("https://{authority}{}", method.path()))
        .header(header::TE, "trailers")
        .header(header::CONTENT_TYPE, grpc::CONTENT_TYPE)
        .body(())
        .map_err(|_| Error::Invalid(format!("address: {authority:?} cannot stand in a request")))?;
    let (response, mut stream) = requests.send_request(request, false).map_err(|why| outcome::http2(&why))?;
    stream.send_data(body, true).map_err(|why| outcome::http2(&why))?;
    Ok(response)
}
