//! The wire itself: a plain HTTP/2 client talks to a real gateway over TLS, every byte is recorded, and the frames are
//! read from the record: stream ids, and END_STREAM where the mission puts it and nowhere else.

mod support;

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use prost::Message;
use pushline::tls::Connector;
use pushline::wire::device::Method;
use pushline::wire::{grpc, pb};
use support::{Gateway, push, soon, to_user};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Who sent a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

/// A frame as it stood on the wire (RFC 9113, section 4.1).
#[derive(Clone, Debug)]
struct Frame {
    side: Side,
    kind: u8,
    flags: u8,
    stream: u32,
    length: usize,
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;

impl Frame {
    /// Whether it carries the close flag.
    const fn closes(&self) -> bool {
        (self.kind == DATA || self.kind == HEADERS) && self.flags & END_STREAM != 0
    }
}

/// What passed in each direction.
#[derive(Default)]
struct Record {
    /// In the order of arrival at this end, whole frames only.
    frames: Vec<Frame>,
    sent: Vec<u8>,
    received: Vec<u8>,
    greeted: bool,
}

impl Record {
    fn take(&mut self, side: Side, bytes: &[u8]) {
        let held = if side == Side::Client { &mut self.sent } else { &mut self.received };
        held.extend_from_slice(bytes);
        if side == Side::Client && !self.greeted {
            // The connection preface is no frame.
            const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
            if held.len() < PREFACE.len() {
                return;
            }
            assert_eq!(&held[..PREFACE.len()], PREFACE);
            held.drain(..PREFACE.len());
            self.greeted = true;
        }
        while let Some(head) = held.first_chunk::<9>() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            if held.len() < 9 + length {
                return;
            }
            let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
            self.frames.push(Frame { side, kind: head[3], flags: head[4], stream, length });
            held.drain(..9 + length);
        }
    }
}

/// A socket that records.
struct Recording<S> {
    socket: S,
    record: Arc<Mutex<Record>>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Recording<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.socket).poll_read(cx, buffer);
        self.record.lock().expect("no panic").take(Side::Server, &buffer.filled()[before..]);
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Recording<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.socket).poll_write(cx, bytes);
        if let Poll::Ready(Ok(written)) = result {
            self.record.lock().expect("no panic").take(Side::Client, &bytes[..written]);
        }
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// A device on a recorded connection.
struct Device {
    requests: SendRequest<Bytes>,
    record: Arc<Mutex<Record>>,
    connection: tokio::task::JoinHandle<Result<(), h2::Error>>,
}

impl Device {
    async fn connect(gateway: &Gateway) -> Self {
        let socket = TcpStream::connect(gateway.devices).await.expect("a socket");
        let connector = Connector::new(Some(&gateway.ca), &[b"h2"]).expect("the CA");
        let socket = connector.connect("localhost", socket).await.expect("TLS");
        let record = Arc::new(Mutex::new(Record::default()));
        let recording = Recording { socket, record: Arc::clone(&record) };
        let (requests, connection) = h2::client::handshake(recording).await.expect("HTTP/2");
        Self { requests, record, connection: tokio::spawn(connection) }
    }

    /// Sends a request in one go; the close flag stands on its last frame.
    async fn send(&mut self, method: Method, message: &impl Message) -> (u32, http::Response<h2::RecvStream>) {
        let request = Request::post(format!("https://localhost{}", method.path()))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .expect("a request");
        let mut requests = self.requests.clone().ready().await.expect("room for a stream");
        let (response, mut stream) = requests.send_request(request, false).expect("a stream");
        stream.send_data(grpc::framed(message), true).expect("its message");
        let id = stream.stream_id().as_u32();
        (id, soon("a response", response).await.expect("a response"))
    }

    /// A short stream from beginning to end.
    async fn call(&mut self, method: Method, message: &impl Message) -> (u32, Bytes, HeaderMap) {
        let (id, response) = self.send(method, message).await;
        let headers = response.headers().clone();
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        while let Some(data) = soon("data", body.data()).await {
            let data = data.expect("data");
            body.flow_control().release_capacity(data.len()).expect("room");
            bytes.extend_from_slice(&data);
        }
        let trailers = soon("trailers", body.trailers()).await.expect("trailers").unwrap_or(headers);
        (id, bytes.into(), trailers)
    }

    fn frames(&self, stream: u32) -> Vec<Frame> {
        self.record.lock().expect("no panic").frames.iter().filter(|frame| frame.stream == stream).cloned().collect()
    }
}

/// The push stream, read frame by frame.
struct Pushes {
    body: h2::RecvStream,
    deframer: grpc::Deframer,
}

impl Pushes {
    async fn next(&mut self) -> Option<pb::open_response::Frame> {
        loop {
            if let Some(message) = self.deframer.next_message().expect("gRPC messages") {
                return pb::OpenResponse::decode(message).expect("a frame").frame;
            }
            let data = soon("the push stream", self.body.data()).await?.expect("data");
            self.body.flow_control().release_capacity(data.len()).expect("room");
            self.deframer.push(&data);
        }
    }

    async fn push(&mut self) -> pb::Push {
        match self.next().await {
            Some(pb::open_response::Frame::Push(push)) => push,
            other => panic!("not a push: {other:?}"),
        }
    }
}

async fn open(device: &mut Device, token: String) -> (u32, Pushes) {
    let request = pb::OpenRequest { token, ..Default::default() };
    let (id, response) = device.send(Method::Open, &request).await;
    assert_eq!(response.status(), 200);
    let mut pushes = Pushes { body: response.into_body(), deframer: grpc::Deframer::new(1 << 20) };
    let welcome = pushes.next().await;
    assert!(matches!(welcome, Some(pb::open_response::Frame::Welcome(_))), "{welcome:?}");
    (id, pushes)
}

/// P1.1, P1.2, P1.3, P1.7, P1.8, P1.9: one long stream and short ones on one connection; the long one's request carries
/// the close flag, nothing from the server on it does while it lives, and pushes come on it alone.
/// P1.4, P1.5, P1.6, P1.10: acks go on short streams, are answered there, and both sides close them.
#[tokio::test(flavor = "multi_thread")]
async fn p1_1_to_p1_10_stream_ids_and_close_flags_stand_where_they_belong() {
    let mut gateway = Gateway::start().await;
    let mut backend = gateway.backend().await;
    let mut device = Device::connect(&gateway).await;
    let (long, mut pushes) = open(&mut device, gateway.token("ada", "phone")).await;
    let mut shorts = Vec::new();
    for n in 0..5_u64 {
        push(&mut backend, to_user("ada", vec![b'x'; 1_000])).await;
        let pushed = pushes.push().await;
        assert_eq!(pushed.seq, n + 1);
        let range = pb::SeqRange { from: pushed.seq, upto: pushed.seq };
        let ack = pb::AckRequest { acked: vec![range], ..Default::default() };
        let (id, answer, trailers) = device.call(Method::Ack, &ack).await;
        assert_eq!(trailers["grpc-status"], "0");
        let answer = pb::AckResponse::decode(grpc::unary(answer, 1024).expect("one message")).expect("an answer");
        assert_eq!((answer.settled, answer.already_settled), (1, 0));
        shorts.push(id);
    }
    let subscribe = pb::SubscribeRequest { topics: vec!["news".into()] };
    shorts.push(device.call(Method::Subscribe, &subscribe).await.0);

    let all = [&[long][..], &shorts].concat();
    assert!(all.iter().all(|id| id % 2 == 1), "P1.7: clients open odd streams: {all:?}");
    assert!(all.windows(2).all(|pair| pair[0] < pair[1]), "P1.7: ids grow: {all:?}");

    let on_long = device.frames(long);
    let (of_client, of_server): (Vec<_>, Vec<_>) = on_long.iter().partition(|frame| frame.side == Side::Client);
    assert_eq!(of_client.iter().filter(|frame| frame.closes()).count(), 1, "P1.8: one close flag from the client");
    let last_of_request = of_client.iter().rev().find(|frame| frame.kind == DATA || frame.kind == HEADERS);
    assert!(last_of_request.is_some_and(|frame| frame.closes()), "P1.8: on the last frame of the request");
    assert!(of_server.iter().all(|frame| !frame.closes()), "P1.9: the long stream stays open: {of_server:?}");
    let pushed: usize = of_server.iter().filter(|frame| frame.kind == DATA).map(|frame| frame.length).sum();
    assert!(pushed > 5_000, "P1.3: the pushes came on the long stream");

    for &id in &shorts {
        let frames = device.frames(id);
        for side in [Side::Client, Side::Server] {
            let of_side: Vec<_> = frames.iter().filter(|frame| frame.side == side).collect();
            let closing: Vec<_> = of_side.iter().filter(|frame| frame.closes()).collect();
            assert_eq!(closing.len(), 1, "P1.10: stream {id}, {side:?}: {of_side:?}");
            let last = of_side.iter().rev().find(|frame| frame.kind == DATA || frame.kind == HEADERS);
            assert!(last.is_some_and(|frame| frame.closes()), "P1.6: nothing comes after it");
        }
        let bytes: usize = frames.iter().filter(|f| f.side == Side::Server).map(|f| f.length).sum();
        assert!(bytes < 1_000, "P1.3: no push on a short stream");
    }

    // The end: a last frame says why, END_STREAM closes the long stream, GOAWAY the connection.
    let (_, ending) = tokio::join!(gateway.stop(), async {
        let mut frames = Vec::new();
        while let Some(frame) = pushes.next().await {
            frames.push(frame);
        }
        frames
    });
    let [pb::open_response::Frame::Move(_), pb::open_response::Frame::Close(close)] = &ending[..] else {
        panic!("not a move and a close: {ending:?}")
    };
    assert_eq!((close.name.as_str(), close.may_return), ("drain", true));
    let trailers = soon("trailers", pushes.body.trailers()).await.expect("trailers").expect("trailers");
    assert_eq!(trailers["grpc-status"], "14", "UNAVAILABLE: a stock client may come back");
    drop(device.requests);
    let _ = soon("the connection's end", device.connection).await;
    let frames = device.record.lock().expect("no panic").frames.clone();
    let closing: Vec<_> = frames.iter().filter(|f| f.stream == long && f.side == Side::Server && f.closes()).collect();
    assert_eq!(closing.len(), 1, "the long stream is closed once, at the end");
    assert!(frames.iter().any(|frame| frame.side == Side::Server && frame.kind == GOAWAY && frame.stream == 0));
}

/// P1.5: refusals travel on their own short stream too, with a stable code, and leave the connection as it was.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_close_their_stream_and_no_other() {
    let gateway = Gateway::start().await;
    let mut device = Device::connect(&gateway).await;
    let future = pb::AckRequest { acked: vec![pb::SeqRange { from: 1, upto: 9 }], ..Default::default() };
    let (_, body, before) = device.call(Method::Ack, &future).await;
    assert_eq!((body.len(), &before["pushline-code"]), (0, &"no_session".parse().expect("a value")));
    let (_, _pushes) = open(&mut device, gateway.token("ada", "phone")).await;
    let (id, _, trailers) = device.call(Method::Ack, &future).await;
    let word = |name: &str| trailers[name].to_str().expect("text").to_owned();
    assert_eq!(
        (word("grpc-status"), word("pushline-code"), word("pushline-errno")),
        ("3".into(), "future_seq".into(), "108".into())
    );
    assert!(grpc::decode_words(&word("grpc-message")).contains("seq 9"));
    let frames = device.frames(id);
    assert!(frames.iter().any(|frame| frame.side == Side::Server && frame.kind == HEADERS && frame.closes()));
    let again = pb::OpenRequest { token: gateway.token("ada", "phone"), ..Default::default() };
    let twice = device.call(Method::Open, &again).await;
    assert_eq!(twice.2["pushline-code"], "session_exists");
    let subscribe = pb::SubscribeRequest { topics: vec!["news".into()] };
    assert_eq!(device.call(Method::Subscribe, &subscribe).await.2["grpc-status"], "0", "the session still lives");
}

/// P1.12: a server that hears nothing for T2 sends a PING; P1.1: SPDY's PING is HTTP/2's.
#[tokio::test(flavor = "multi_thread")]
async fn p1_12_the_server_pings_a_silent_client() {
    let gateway = Gateway::start_with(|config| {
        config.session.heartbeat = std::time::Duration::from_millis(100);
        config.session.heartbeat_min = std::time::Duration::from_millis(100);
    })
    .await;
    let mut device = Device::connect(&gateway).await;
    let (_, _pushes) = open(&mut device, gateway.token("ada", "phone")).await;
    let pinged = async {
        loop {
            let frames = device.record.lock().expect("no panic").frames.clone();
            let answered =
                frames.iter().filter(|f| f.side == Side::Client && f.kind == PING && f.flags & 1 != 0).count();
            let pings = frames.iter().filter(|f| f.side == Side::Server && f.kind == PING && f.flags & 1 == 0).count();
            if pings >= 3 && answered >= 3 {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    soon("three pings and their answers", pinged).await;
}
