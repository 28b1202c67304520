//! The edge against a peer that chooses every frame, and when to read: over TLS on a socket with little room.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpSocket;

use super::{Edge, Event};
use crate::model::clock::Clock;
use crate::model::fault::{Code, Fault};
use crate::tls::{Acceptor, Certificate, Connector, develop};
use crate::transport::native::{ALPN, Options};

/// Kinds of frames (RFC 9113, section 6), and the flags used here.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The setting of a stream's first window (RFC 9113, section 6.5.2).
const INITIAL_WINDOW_SIZE: u8 = 4;

/// What each end of the socket has room for, about: little, and enough for the system to move it without timers.
const SOCKET_BYTES: u32 = 32 * 1024;

/// More than both have.
const MUCH: usize = 512 * 1024;

/// A peer of a few frames.
struct Peer<S>(S);

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

/// A request's headers, spelled out. Its content type is wrong: it is refused as soon as it is whole.
fn headers(stream: u32, flags: u8) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in [(":method", "POST"), (":scheme", "https"), (":path", "/"), (":authority", "localhost")] {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    frame(HEADERS, END_HEADERS | flags, stream, &block)
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    async fn send(&mut self, frames: &[Vec<u8>]) {
        self.0.write_all(&frames.concat()).await.unwrap();
        self.0.flush().await.unwrap();
    }

    /// Reads so many bytes of DATA on a stream.
    async fn read_data(&mut self, stream: u32, wanted: usize) {
        let mut got = 0;
        while got < wanted {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await.unwrap();
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            self.0.read_exact(&mut payload).await.unwrap();
            if head[3] == DATA && head[5..] == stream.to_be_bytes() {
                got += payload.len();
            }
        }
    }
}

/// An edge and its peer, whose sockets take as little as the system allows, with the push stream open as stream 1.
async fn open(initial_window: u32) -> (Edge, Peer<impl AsyncRead + AsyncWrite + Unpin>) {
    let folder = tempfile::tempdir().unwrap();
    let made = develop::open(folder.path(), &[], Clock::new().now().wall).unwrap();
    let connector = Connector::new(Some(&std::fs::read(made.ca).unwrap()), &[ALPN]).unwrap();
    let acceptor = Acceptor::new(Arc::new(Certificate::load(made.files).unwrap()), &[ALPN]).unwrap();
    let listener = TcpSocket::new_v4().unwrap();
    // What it accepts inherits this.
    listener.set_send_buffer_size(SOCKET_BYTES).unwrap();
    listener.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let listener = listener.listen(1).unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(SOCKET_BYTES).unwrap();
    let address = listener.local_addr().unwrap();
    let near = async {
        let (near, _) = listener.accept().await.unwrap();
        Edge::accept(acceptor.accept(near).await.unwrap(), &Options::default()).await.unwrap()
    };
    let far = async {
        let far = socket.connect(address).await.unwrap();
        let mut peer = Peer(connector.connect("localhost", far).await.unwrap());
        let window = [&[0, INITIAL_WINDOW_SIZE][..], &initial_window.to_be_bytes()].concat();
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        peer.send(&[preface, frame(SETTINGS, 0, 0, &window), headers(1, END_STREAM)]).await;
        peer
    };
    let (mut edge, peer) = tokio::join!(near, far);
    assert!(matches!(edge.event().await, Event::Refused(1, _)));
    edge.open_push(1);
    (edge, peer)
}

fn push(edge: &mut Edge, bytes: usize) {
    let buffer = edge.push_buffer().unwrap();
    buffer.extend_from_slice(&vec![7; bytes]);
    edge.pushed(bytes, None);
}

/// Drives the edge, without an event, until `done`.
async fn drive(edge: &mut Edge, mut done: impl FnMut(&Edge) -> bool) {
    std::future::poll_fn(|context| {
        assert!(edge.poll_event(context).is_pending());
        if done(edge) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

/// Refuses a request.
async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(edge: &mut Edge, peer: &mut Peer<S>, stream: u32) {
    peer.send(&[headers(stream, END_STREAM)]).await;
    let Event::Refused(id, fault) = edge.event().await else { panic!("not refused") };
    edge.refuse(id, &fault);
    drive(edge, |_| true).await;
}

/// Refuses requests until the socket is full. The next stream.
async fn fill<S: AsyncRead + AsyncWrite + Unpin>(edge: &mut Edge, peer: &mut Peer<S>) -> u32 {
    let mut stream = 3;
    while !edge.counts.is_full() {
        refuse(edge, peer, stream).await;
        stream += 2;
    }
    stream
}

/// Fails instead of waiting for ever.
async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("it stalls")
}

/// The window opens while the socket is full: what wakes the task then must not be the last that wakes it.
#[tokio::test]
async fn a_window_that_opens_while_the_socket_is_full_is_used_when_it_has_room() {
    let (mut edge, mut peer) = open(0).await;
    push(&mut edge, 100);
    drive(&mut edge, |edge| edge.push.as_ref().is_some_and(|push| push.waits)).await;
    fill(&mut edge, &mut peer).await;
    let received = edge.received_bytes();
    peer.send(&[frame(WINDOW_UPDATE, 0, 1, &100_u32.to_be_bytes())]).await;
    drive(&mut edge, |edge| edge.received_bytes() > received).await;
    // A task of its own: what wakes the peer must not wake the edge.
    let edge = tokio::spawn(async move { edge.event().await });
    tokio::task::yield_now().await;
    in_time(peer.read_data(1, 100)).await;
    edge.abort();
}

/// HTTP/2 reads no further while it owes an answer to a ping; what it has read already it looks at later, when nothing
/// comes from the socket any more.
#[tokio::test]
async fn a_request_that_was_read_while_the_socket_was_full_is_seen() {
    let (mut edge, mut peer) = open(1 << 20).await;
    let received = edge.received_bytes();
    // The connection's window is not among the settings.
    peer.send(&[frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 20).to_be_bytes()), headers(3, 0)]).await;
    drive(&mut edge, |edge| edge.received_bytes() > received).await;
    push(&mut edge, MUCH);
    drive(&mut edge, |edge| edge.counts.is_full()).await;
    let received = edge.received_bytes();
    peer.send(&[frame(PING, 0, 0, &[0; 8]), frame(DATA, END_STREAM, 3, b"rest")]).await;
    drive(&mut edge, |edge| edge.received_bytes() > received).await;
    let (tell, told) = tokio::sync::oneshot::channel();
    let edge = tokio::spawn(async move {
        let _ = tell.send(edge.event().await);
        edge.event().await
    });
    tokio::task::yield_now().await;
    in_time(peer.read_data(1, MUCH)).await;
    let event = in_time(told).await.unwrap();
    assert!(matches!(event, Event::Refused(3, Fault { code: Code::UnsupportedMediaType, .. })));
    edge.abort();
}

/// A stream that was reset leaves room for another; were its answer kept, a peer that reads nothing could make us keep
/// any number.
#[tokio::test]
async fn the_answer_to_a_stream_that_was_reset_is_not_kept() {
    let (mut edge, mut peer) = open(0).await;
    let mut stream = fill(&mut edge, &mut peer).await;
    for _ in 0..200 {
        refuse(&mut edge, &mut peer, stream).await;
        let received = edge.received_bytes();
        peer.send(&[frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())]).await;
        drive(&mut edge, |edge| edge.received_bytes() > received).await;
        stream += 2;
    }
    assert!(edge.answers.is_empty(), "{}", edge.answers.len());
}
