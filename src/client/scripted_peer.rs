//! A gateway for tests of the client's shell: real TCP, TLS and HTTP/2 on loopback, but every answer is the test's. It
//! keeps no messages and knows no sessions.

use std::future::{pending, poll_fn};
use std::sync::Arc;

use bytes::Bytes;
use h2::server::{Connection, SendResponse};
use h2::{Ping, PingPong, RecvStream, SendStream};
use http::request::Parts;
use http::{HeaderMap, Request, Response};
use prost::Message;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::client::options::Options;
use crate::model::clock::Clock;
use crate::model::fault::Code;
use crate::model::id::MessageId;
use crate::tls::server::TlsStream;
use crate::tls::{Acceptor, Certificate, develop};
use crate::wire::device::Method;
use crate::wire::pb::{self, open_response::Frame};
use crate::wire::{device, grpc};

/// The listener, with a certificate of its own.
pub(super) struct Gateway {
    listener: TcpListener,
    tls: Acceptor,
    /// The certificate that vouches for it, in PEM.
    roots: String,
}

impl Gateway {
    pub(super) async fn start() -> Self {
        Self::speaking(&[b"h2"]).await
    }

    /// With these protocols for ALPN.
    pub(super) async fn speaking(protocols: &[&[u8]]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let made = develop::open(folder.path(), &[], Clock::new().now().wall).expect("a certificate");
        let roots = std::fs::read_to_string(&made.ca).expect("its CA");
        let certificate = Arc::new(Certificate::load(made.files).expect("a certificate and its key"));
        let tls = Acceptor::new(certificate, protocols).expect("TLS settings");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        Self { listener, tls, roots }
    }

    /// Options that fit it, with short pauses.
    pub(super) fn options(&self) -> Options {
        let address = self.listener.local_addr().expect("it is bound").to_string();
        let mut options = Options::new(address, self.roots.as_str(), "token");
        options.reconnect_base = std::time::Duration::from_millis(5);
        options
    }

    /// The next connection, after its TLS handshake.
    async fn socket(&self) -> TlsStream<TcpStream> {
        loop {
            let (socket, _) = self.listener.accept().await.expect("a connection");
            if let Ok(socket) = self.tls.accept(socket).await {
                return socket;
            }
        }
    }

    /// The next connection.
    pub(super) async fn accept(&self) -> Peer {
        let socket = self.socket().await;
        let mut connection = h2::server::handshake(socket).await.expect("HTTP/2");
        let pings = connection.ping_pong().expect("it is taken once");
        let (asked, asks) = mpsc::channel(16);
        let (orders, inbox) = mpsc::channel(1);
        let driver = AbortOnDropHandle::new(tokio::spawn(drive(connection, asked, inbox)));
        Peer { asks, orders, pings, driver }
    }

    /// The next connection, with its push stream open and the welcome sent.
    pub(super) async fn welcome(&self, welcome: pb::Welcome) -> (Peer, PushStream) {
        let mut peer = self.accept().await;
        let mut pushes = peer.asked(Method::Open).await.stream();
        pushes.send(Frame::Welcome(welcome)).await;
        (peer, pushes)
    }

    /// Takes connections and never says a word on them.
    pub(super) async fn accept_silently(&self) {
        let mut sockets = Vec::new();
        loop {
            sockets.push(self.socket().await);
        }
    }
}

/// One connection.
pub(super) struct Peer {
    asks: mpsc::Receiver<Ask>,
    orders: mpsc::Sender<Order>,
    pings: PingPong,
    driver: AbortOnDropHandle<()>,
}

/// What the connection's task is told.
enum Order {
    GoAway,
    Freeze,
}

impl Peer {
    /// The next request, which must be of this method; its body has been read to END_STREAM (P1.8, P1.10).
    pub(super) async fn asked(&mut self, method: Method) -> Ask {
        let ask = self.asks.recv().await.expect("a request");
        assert_eq!(ask.head.uri.path(), method.path());
        ask
    }

    /// Says GOAWAY: no new streams. Ends the connection when the last stream has ended and all has left.
    pub(super) async fn go_away(&self) {
        self.orders.send(Order::GoAway).await.expect("it runs");
    }

    /// Neither reads nor writes any more, and keeps the socket open: a network that swallows everything.
    pub(super) async fn freeze(&self) {
        self.orders.send(Order::Freeze).await.expect("it runs");
    }

    /// Sends a PING and waits for its answer.
    pub(super) async fn ping(&mut self) {
        self.pings.ping(Ping::opaque()).await.expect("an answer");
    }

    /// Waits until the client ended the connection.
    pub(super) async fn ended(self) {
        self.driver.await.expect("the task is whole");
    }
}

async fn drive(
    mut connection: Connection<TlsStream<TcpStream>, Bytes>,
    asked: mpsc::Sender<Ask>,
    mut orders: mpsc::Receiver<Order>,
) {
    loop {
        tokio::select! {
            Some(order) = orders.recv() => match order {
                Order::GoAway => connection.graceful_shutdown(),
                Order::Freeze => pending().await,
            },
            request = connection.accept() => match request {
                Some(Ok((request, respond))) => drop(tokio::spawn(read(request, respond, asked.clone()))),
                _ => return,
            },
        }
    }
}

async fn read(request: Request<RecvStream>, respond: SendResponse<Bytes>, asked: mpsc::Sender<Ask>) {
    let (head, mut stream) = request.into_parts();
    let mut body = Vec::new();
    while let Some(Ok(bytes)) = stream.data().await {
        let _ = stream.flow_control().release_capacity(bytes.len());
        body.extend_from_slice(&bytes);
    }
    let _ = asked.send(Ask { head, body: body.into(), respond }).await;
}

/// A request that waits for its answer.
pub(super) struct Ask {
    pub(super) head: Parts,
    body: Bytes,
    respond: SendResponse<Bytes>,
}

impl Ask {
    pub(super) fn message<M: Message + Default>(&self) -> M {
        let message = grpc::unary(self.body.clone(), 1 << 20).expect("one message");
        M::decode(message).expect("the method's message")
    }

    fn head(&mut self) -> SendStream<Bytes> {
        let response = Response::builder().header("content-type", grpc::CONTENT_TYPE).body(()).expect("a head");
        self.respond.send_response(response, false).expect("the stream is open")
    }

    /// Begins the push stream.
    pub(super) fn stream(mut self) -> PushStream {
        PushStream { stream: self.head() }
    }

    /// Answers.
    pub(super) fn answer(mut self, message: &impl Message) {
        let mut stream = self.head();
        stream.send_data(grpc::framed(message), false).expect("the stream is open");
        stream.send_trailers(trailers(None)).expect("the stream is open");
    }

    /// Refuses with nothing but trailers.
    pub(super) fn refuse(mut self, code: Code) {
        let mut response = Response::builder().header("content-type", grpc::CONTENT_TYPE).body(()).expect("a head");
        response.headers_mut().extend(trailers(Some(code)));
        self.respond.send_response(response, true).expect("the stream is open");
    }
}

/// The push stream.
pub(super) struct PushStream {
    stream: SendStream<Bytes>,
}

impl PushStream {
    pub(super) async fn send(&mut self, frame: Frame) {
        self.send_bytes(encode(frame)).await;
    }

    /// Sends bytes as the window allows.
    pub(super) async fn send_bytes(&mut self, mut bytes: Bytes) {
        while !bytes.is_empty() {
            self.stream.reserve_capacity(bytes.len());
            let room = poll_fn(|cx| self.stream.poll_capacity(cx)).await.expect("the stream is open").expect("room");
            self.stream.send_data(bytes.split_to(room.min(bytes.len())), false).expect("the stream is open");
        }
    }

    /// Ends it in order.
    pub(super) fn end(mut self) {
        self.stream.send_trailers(trailers(None)).expect("the stream is open");
    }
}

fn trailers(code: Option<Code>) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", code.map_or(0, |code| code.grpc() as u32).into());
    if let Some(code) = code {
        trailers.insert("grpc-message", grpc::encode_words("no, \u{e9}").parse().expect("a value"));
        trailers.insert("pushline-code", code.name().parse().expect("a value"));
        trailers.insert("pushline-errno", code.errno().into());
    }
    trailers
}

/// A frame with its prefix.
pub(super) fn encode(frame: Frame) -> Bytes {
    grpc::framed(&pb::OpenResponse { frame: Some(frame) })
}

/// A welcome in which nothing happens for a long time.
pub(super) fn welcome() -> pb::Welcome {
    pb::Welcome {
        session: "s1".into(),
        heartbeat: Some(pb::Heartbeat { client_interval_ms: 60_000, server_interval_ms: 90_000, timeout_ms: 5_000 }),
        window: 64,
        ack_timeout_ms: 30_000,
        resume: Some(pb::Resume { outcome: pb::resume::Outcome::Resumed.into(), waiting: 3, missed: 1 }),
        server_time_ms: 7,
        topics: vec!["news".into()],
        group_topics: Vec::new(),
    }
}

pub(super) fn id(n: u64) -> MessageId {
    MessageId::new(n, [0; 10])
}

/// The `n`th message under a seq.
pub(super) fn push(n: u64, seq: u64, payload: impl Into<Bytes>) -> Frame {
    Frame::Push(pb::Push {
        seq,
        attempt: 1,
        id: Bytes::copy_from_slice(id(n).as_bytes()),
        accepted_at_ms: 5,
        expires_at_ms: 9,
        target: Some(pb::Target { to: Some(pb::target::To::User("u".into())) }),
        content_type: "text/plain".into(),
        payload: payload.into(),
        urgency: pb::Urgency::High.into(),
        ..pb::Push::default()
    })
}

/// A close as the gateway sends it.
pub(super) fn close(reason: crate::model::close::CloseReason) -> Bytes {
    let mut out = Vec::new();
    let frame = crate::model::frame::Frame::Close { reason, return_after: std::time::Duration::ZERO };
    device::put_frame(&frame, &mut out);
    out.into()
}
