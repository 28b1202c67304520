//! The backend-facing listener: gRPC, its HTTP/JSON twin, and the probes of operators, on one port. It checks and
//! translates; what becomes of a push is the node's.

mod access;
mod admin;
mod audience;
mod audience_grpc;
mod audience_http;
mod audit;
mod bounds;
mod call;
mod draft;
mod events;
mod fault;
mod groups;
mod grpc;
mod grpc_answer;
mod health;
mod http;
mod intake;
mod json_answer;
mod json_call;
mod json_reader;
mod json_request;
mod json_time;
mod lines;
mod linger;
mod many_users;
mod members;
mod methods;
mod names;
mod query;
mod rights;
mod stream;
mod timeline;
mod users;

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower::Service;
use tracing::{debug, error, warn};

use self::intake::Intake;
pub use self::methods::{METHODS, Method, Needs};
use self::rights::Certificate;
use crate::model::fault::{Code, Fault};
use crate::model::id::MessageId;
use crate::node::{MessageRecord, Node};
use crate::tls::Acceptor;

/// Bounds of the backend-facing listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Connections open at the same time. Full: a new one is closed at once, and a warning logged.
    pub connections_max: usize,
    /// Calls open at the same time on one HTTP/2 connection. Full: the client waits, as HTTP/2 has it.
    pub streams_per_connection_max: u32,
    /// Bytes of the headers of one request. Over it: HTTP status 431, or the stream is reset.
    pub header_bytes_max: u32,
    /// The TLS handshake must be done within this time, or the connection is closed.
    pub tls_timeout: Duration,
    /// The first request must come within this time after the connection is made, or it is closed.
    pub first_request_timeout: Duration,
    /// The headers of an HTTP/1.1 request must be all there within this time; also the longest pause between two
    /// requests. Over it: the connection is closed.
    pub header_timeout: Duration,
    /// The body of a request that is no stream must be all there within this time, or it is refused.
    pub body_timeout: Duration,
    /// Silence after which an HTTP/2 peer is pinged and a TCP peer probed.
    pub keepalive_interval: Duration,
    /// A pinged peer that does not answer for so long is gone.
    pub keepalive_timeout: Duration,
    /// When the gateway stops: calls that take longer are cut.
    pub drain_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connections_max: 1_024,
            streams_per_connection_max: 256,
            header_bytes_max: 16 * 1024,
            tls_timeout: Duration::from_secs(10),
            first_request_timeout: Duration::from_secs(30),
            header_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(30),
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(20),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// The backend-facing server.
pub struct Server {
    /// Every path with its handler.
    router: Router,
    /// Settings of all connections.
    http: auto::Builder<TokioExecutor>,
    options: Options,
    /// Cancelled when to stop.
    stop: CancellationToken,
}

impl Server {
    /// A server for backends in front of `node` that stops when `stop` is cancelled.
    #[must_use]
    pub fn new(node: Arc<Node>, options: Options, stop: CancellationToken) -> Self {
        Self::with(router, node, options, stop)
    }

    /// A server for operators: the admin service alone. The rest as [`Server::new`].
    #[must_use]
    pub fn admin(node: Arc<Node>, options: Options, stop: CancellationToken) -> Self {
        Self::with(|intake| finished(admin::router(intake.clone()), intake), node, options, stop)
    }

    fn with(router: impl FnOnce(Intake) -> Router, node: Arc<Node>, options: Options, stop: CancellationToken) -> Self {
        let intake = Intake { node, stop: stop.clone(), body_timeout: options.body_timeout };
        Self { router: router(intake), http: http_settings(&options), options, stop }
    }

    /// Serves until told to stop: then it takes no more connections, lets open calls end within
    /// [`Options::drain_timeout`], ends streams with a reason, and returns.
    ///
    /// With `tls` every connection is TLS; its ALPN protocols should be `h2` and `http/1.1`.
    pub async fn serve(self, listener: TcpListener, tls: Option<Acceptor>) {
        let shared = Arc::new(self);
        let mut connections = JoinSet::new();
        // Warned once each time the limit is reached, not once a connection.
        let mut full = false;
        loop {
            let accepted = tokio::select! {
                () = shared.stop.cancelled() => break,
                accepted = listener.accept() => accepted,
                // Takes the ended ones out, so that the set holds open ones only.
                Some(ended) = connections.join_next(), if !connections.is_empty() => {
                    log_panic(ended);
                    continue;
                }
            };
            match accepted {
                Ok(_) if connections.len() >= shared.options.connections_max => {
                    if !std::mem::replace(&mut full, true) {
                        warn!(limit = shared.options.connections_max, "backend connections refused: too many are open");
                    }
                }
                Ok((stream, peer)) => {
                    full = false;
                    debug!(%peer, "backend connected");
                    connections.spawn(Arc::clone(&shared).connection(stream, tls.clone()));
                }
                Err(error) => {
                    // Out of file descriptors, most likely: some must close before another try makes sense.
                    error!(%error, "cannot accept backend connections");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        let all_ended = async { while connections.join_next().await.map(log_panic).is_some() {} };
        if timeout(shared.options.drain_timeout, all_ended).await.is_err() {
            warn!(open = connections.len(), "backend connections cut: they did not end in time");
        }
        connections.shutdown().await;
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, tls: Option<Acceptor>) {
        if let Err(error) = self.prepare(&stream) {
            debug!(%error, "backend socket refused its options");
            return;
        }
        let (stream, lender) = linger::lend(stream);
        match tls {
            None => self.speak(stream, None).await,
            Some(acceptor) => {
                let accepted = timeout(self.options.tls_timeout, acceptor.accept(stream));
                let accepted = tokio::select! {
                    accepted = accepted => accepted,
                    () = self.stop.cancelled() => return,
                };
                match accepted {
                    Ok(Ok(stream)) => {
                        let client = stream.client().map(Certificate);
                        self.speak(stream, client).await;
                    }
                    Ok(Err(error)) => return debug!(%error, "backend TLS handshake failed"),
                    Err(_) => return debug!("backend TLS handshake took too long"),
                }
            }
        }
        lender.end(LINGER_TIMEOUT).await;
    }

    fn prepare(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        // The socket option counts in seconds and refuses zero.
        let interval = self.options.keepalive_interval.max(Duration::from_secs(1));
        // HTTP/1.1 has no ping; without this a vanished peer would hold its connection until it is written to.
        let keepalive = TcpKeepalive::new().with_time(interval).with_interval(interval);
        SockRef::from(stream).set_tcp_keepalive(&keepalive)
    }

    async fn speak(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, client: Option<Certificate>) {
        let asked = AtomicBool::new(false);
        let service = service_fn(|mut request: hyper::Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            if let Some(client) = client {
                request.extensions_mut().insert(client);
            }
            self.router.clone().call(request)
        });
        let mut connection = pin!(self.http.serve_connection(TokioIo::new(stream), service));
        let mut patience = pin!(sleep(self.options.first_request_timeout));
        let (mut waiting, mut stopping) = (true, false);
        let ended = loop {
            // All three may be dropped and polled again: the connection is pinned outside, and the others hold nothing.
            tokio::select! {
                ended = connection.as_mut() => break ended,
                () = &mut patience, if waiting => {
                    waiting = false;
                    if !asked.load(Ordering::Relaxed) {
                        connection.as_mut().graceful_shutdown();
                    }
                }
                () = self.stop.cancelled(), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        };
        if let Err(error) = ended {
            debug!(%error, "backend connection broke off");
        }
    }
}

/// A message as JSON, as `GET /v1/messages/{id}` answers: for what is handed off.
///
/// # Errors
/// When the stored content cannot be read back.
pub fn describe(id: MessageId, record: &MessageRecord) -> Result<serde_json::Value, Fault> {
    json_answer::record(id, record)
}

fn router(intake: Intake) -> Router {
    let methods = grpc::router(intake.clone())
        .merge(http::router(intake.clone()))
        .merge(audience_grpc::router(intake.clone()))
        .merge(audience_http::router(intake.clone()))
        .merge(events::router(intake.clone()))
        .merge(timeline::router())
        .merge(access::router(intake.clone()))
        .merge(health::router(intake.clone()));
    finished(methods, intake)
}

/// The methods, and an answer for all that is none.
fn finished(methods: Router<Intake>, intake: Intake) -> Router {
    methods.fallback(unknown_path).method_not_allowed_fallback(unknown_method).with_state(intake)
}

async fn unknown_path(State(intake): State<Intake>, request: Request) -> Response {
    let is_grpc = call::is_grpc(&request);
    intake.drain(request.into_body()).await;
    let fault = Fault::new(Code::UnknownMethod, "there is no such method here; docs/api.md and proto/ list them");
    if is_grpc { call::refusal(&fault) } else { fault::to_response(&fault) }
}

async fn unknown_method(State(intake): State<Intake>, request: Request) -> Response {
    intake.drain(request.into_body()).await;
    let words = "this path does not take that HTTP method; the Allow header lists those it takes";
    fault::to_response(&Fault::new(Code::MethodNotAllowed, words))
}

fn http_settings(options: &Options) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(options.header_timeout)
        .max_buf_size((options.header_bytes_max as usize).max(HTTP1_BUFFER_BYTES_MIN));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(options.streams_per_connection_max)
        .max_header_list_size(options.header_bytes_max)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(options.keepalive_interval)
        .keep_alive_timeout(options.keepalive_timeout);
    builder
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        error!(%error, "the task of a backend connection failed");
    }
}

/// After a failed accept. A guess.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a peer may go on sending after its connection has ended. A guess: a few round trips around the world; one
/// that reads its answers ends long before.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// hyper takes no smaller buffer.
const HTTP1_BUFFER_BYTES_MIN: usize = 8 * 1024;
/// Unread bytes of one call: a megabyte keeps a stream of pushes busy over 80 ms at 100 Mbit/s.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
/// Unread bytes of a connection. Half of it is also h2's budget for small frames: a stream of small pushes, each in a
/// DATA frame of its own, needs megabytes there.
const CONNECTION_WINDOW_BYTES: u32 = 8 * 1024 * 1024;
