//! A device on plain HTTP/2, with every byte recorded: what a test does not do by itself does not happen.

use std::io;
use std::net::SocketAddr;
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
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::soon;

/// Who sent a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Client,
    Server,
}

/// A frame as it stood on the wire (RFC 9113, section 4.1).
#[derive(Clone, Debug)]
pub struct Frame {
    pub side: Side,
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub length: usize,
}

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const END_STREAM: u8 = 1;

impl Frame {
    /// Whether it carries the close flag.
    pub const fn closes(&self) -> bool {
        (self.kind == DATA || self.kind == HEADERS) && self.flags & END_STREAM != 0
    }
}

/// What passed in each direction.
#[derive(Default)]
pub struct Record {
    /// In the order of arrival at this end, whole frames only.
    pub frames: Vec<Frame>,
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
pub struct Recording<S> {
    socket: S,
    pub record: Arc<Mutex<Record>>,
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
pub struct Device {
    pub requests: SendRequest<Bytes>,
    pub record: Arc<Mutex<Record>>,
    pub connection: tokio::task::JoinHandle<Result<(), h2::Error>>,
}

impl Device {
    pub async fn connect(address: SocketAddr, ca: &[u8]) -> Self {
        let socket = TcpStream::connect(address).await.expect("a socket");
        let connector = Connector::new(Some(ca), &[b"h2"]).expect("the CA");
        let socket = connector.connect("localhost", socket).await.expect("TLS");
        let record = Arc::new(Mutex::new(Record::default()));
        let recording = Recording { socket, record: Arc::clone(&record) };
        let (requests, connection) = h2::client::handshake(recording).await.expect("HTTP/2");
        Self { requests, record, connection: tokio::spawn(connection) }
    }

    /// Sends a request in one go; the close flag stands on its last frame.
    pub async fn send(&mut self, method: Method, message: &impl Message) -> (u32, http::Response<h2::RecvStream>) {
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
    pub async fn call(&mut self, method: Method, message: &impl Message) -> (u32, Bytes, HeaderMap) {
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

    pub fn frames(&self, stream: u32) -> Vec<Frame> {
        self.record.lock().expect("no panic").frames.iter().filter(|frame| frame.stream == stream).cloned().collect()
    }
}

/// The push stream, read frame by frame.
pub struct Pushes {
    pub body: h2::RecvStream,
    deframer: grpc::Deframer,
}

impl Pushes {
    pub fn new(body: h2::RecvStream) -> Self {
        Self { body, deframer: grpc::Deframer::new(1 << 20) }
    }

    pub async fn next(&mut self) -> Option<pb::open_response::Frame> {
        loop {
            if let Some(message) = self.deframer.next_message().expect("gRPC messages") {
                return pb::OpenResponse::decode(message).expect("a frame").frame;
            }
            let data = soon("the push stream", self.body.data()).await?.expect("data");
            self.body.flow_control().release_capacity(data.len()).expect("room");
            self.deframer.push(&data);
        }
    }

    pub async fn push(&mut self) -> pb::Push {
        match self.next().await {
            Some(pb::open_response::Frame::Push(push)) => push,
            other => panic!("not a push: {other:?}"),
        }
    }
}

pub async fn open(device: &mut Device, token: String) -> (u32, Pushes) {
    let request = pb::OpenRequest { token, ..Default::default() };
    let (id, response) = device.send(Method::Open, &request).await;
    assert_eq!(response.status(), 200);
    let mut pushes = Pushes::new(response.into_body());
    let welcome = pushes.next().await;
    assert!(matches!(welcome, Some(pb::open_response::Frame::Welcome(_))), "{welcome:?}");
    (id, pushes)
}
