//! The stream against the library's own client, over a wire that cuts, holds and breaks as told.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::task::{Context, Poll, Waker};

use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, ClientConnection, Error, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{CONTENT_BYTES_MAX, TlsStream};
use crate::model::clock::Clock;
use crate::tls::{Acceptor, Certificate, Connector, Files, develop};

/// What lies between the two ends.
#[derive(Default)]
struct Wire {
    to_server: VecDeque<u8>,
    to_client: Vec<u8>,
    /// Sizes of the next reads, over and over; empty: whatever there is.
    cuts: Vec<usize>,
    /// Reads and writes that were asked for: every other one is put off while `stutters`.
    turns: usize,
    stutters: bool,
    /// The client's end is gone.
    ended: bool,
    /// Bytes the socket still takes.
    room: usize,
    writes: usize,
}

#[derive(Clone, Default)]
struct Socket(Arc<Mutex<Wire>>);

impl Socket {
    fn wire(&self) -> MutexGuard<'_, Wire> {
        self.0.lock().unwrap()
    }
}

impl Wire {
    /// The size of this turn, `None` when it is put off.
    fn turn(&mut self) -> Option<usize> {
        self.turns += 1;
        if self.stutters && self.turns.is_multiple_of(2) {
            return None;
        }
        Some(if self.cuts.is_empty() { usize::MAX } else { self.cuts[self.turns % self.cuts.len()].max(1) })
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut wire = self.wire();
        let Some(most) = wire.turn() else { return Poll::Pending };
        let bytes = wire.to_server.len().min(most).min(into.remaining());
        if bytes == 0 && !wire.ended {
            return Poll::Pending;
        }
        wire.to_server.drain(..bytes).for_each(|byte| into.put_slice(&[byte]));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut wire = self.wire();
        let Some(most) = wire.turn() else { return Poll::Pending };
        let taken = bytes.len().min(most).min(wire.room);
        if taken == 0 {
            return Poll::Pending;
        }
        wire.room -= taken;
        wire.writes += 1;
        wire.to_client.extend_from_slice(&bytes[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Both ends, and the wire.
struct World {
    client: ClientConnection,
    server: TlsStream<Socket>,
    socket: Socket,
}

fn context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// Moves what each end has said to the other one.
fn pump(client: &mut ClientConnection, socket: &Socket) -> Result<(), Error> {
    let mut wire = socket.wire();
    while client.wants_write() {
        client.write_tls(&mut wire.to_server).unwrap();
    }
    let arrived = std::mem::take(&mut wire.to_client);
    let mut arrived = &arrived[..];
    while !arrived.is_empty() {
        client.read_tls(&mut arrived).unwrap();
        client.process_new_packets()?;
    }
    Ok(())
}

/// One certificate serves all tests: making one takes longer than a handshake.
fn ends() -> &'static (Acceptor, Vec<u8>) {
    static ENDS: OnceLock<(Acceptor, Vec<u8>)> = OnceLock::new();
    ENDS.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let (ca, files) = certificate(folder.path());
        let certificate = Arc::new(Certificate::load(files).unwrap());
        (Acceptor::new(certificate, &[b"h2"]).unwrap(), ca)
    })
}

fn certificate(folder: &Path) -> (Vec<u8>, Files) {
    let made = develop::open(folder, &[], Clock::new().now().wall).unwrap();
    (std::fs::read(made.ca).unwrap(), made.files)
}

fn client(version: &'static SupportedProtocolVersion) -> ClientConnection {
    let connector = Connector::with_versions(Some(&ends().1), &[b"h2"], &[version]).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    ClientConnection::new(Arc::clone(connector.inner.config()), name).unwrap()
}

impl World {
    fn new(version: &'static SupportedProtocolVersion, cuts: Vec<usize>, stutters: bool) -> Self {
        let mut client = client(version);
        let socket = Socket::default();
        *socket.wire() = Wire { cuts, stutters, room: usize::MAX, ..Wire::default() };
        let mut accept = Box::pin(TlsStream::accept(Arc::clone(&ends().0.config), socket.clone()));
        let server = loop {
            pump(&mut client, &socket).unwrap();
            if let Poll::Ready(server) = accept.as_mut().poll(&mut context()) {
                break server.unwrap();
            }
        };
        let mut world = Self { client, server, socket };
        world.pump();
        world
    }

    fn pump(&mut self) {
        pump(&mut self.client, &self.socket).unwrap();
    }

    /// What the server reads next, in pieces of at most `most`, until it has to wait. `Ok` also at the end.
    fn read(&mut self, most: usize) -> io::Result<Vec<u8>> {
        let (mut all, mut waits) = (Vec::new(), 0);
        loop {
            let mut room = vec![0; most];
            let mut into = ReadBuf::new(&mut room);
            match Pin::new(&mut self.server).poll_read(&mut context(), &mut into) {
                Poll::Ready(Ok(())) if into.filled().is_empty() => return Ok(all),
                Poll::Ready(Ok(())) => all.extend_from_slice(into.filled()),
                Poll::Ready(Err(error)) => return Err(error),
                // One put off is not yet an empty wire.
                Poll::Pending if waits == 2 => return Ok(all),
                Poll::Pending => waits += 1,
            }
        }
    }

    /// The server writes and flushes all; what arrives at the client.
    fn write(&mut self, bytes: &[u8]) -> Vec<u8> {
        let (mut sent, mut arrived) = (0, Vec::new());
        loop {
            if sent < bytes.len() {
                match Pin::new(&mut self.server).poll_write(&mut context(), &bytes[sent..]) {
                    Poll::Ready(taken) => sent += taken.unwrap(),
                    Poll::Pending => {}
                }
            } else if let Poll::Ready(flushed) = Pin::new(&mut self.server).poll_flush(&mut context()) {
                flushed.unwrap();
                self.arrive(&mut arrived);
                return arrived;
            }
            self.arrive(&mut arrived);
        }
    }

    fn arrive(&mut self, arrived: &mut Vec<u8>) {
        self.pump();
        let mut room = [0; CONTENT_BYTES_MAX];
        while let Ok(bytes @ 1..) = self.client.reader().read(&mut room) {
            arrived.extend_from_slice(&room[..bytes]);
        }
    }

    /// The client says something.
    fn say(&mut self, bytes: &[u8]) {
        self.client.writer().write_all(bytes).unwrap();
        self.pump();
    }

    fn owned_bytes(&self) -> usize {
        let machine = &self.server.machine;
        machine.incoming.capacity() + machine.plain.bytes.capacity() + machine.outgoing.bytes.capacity()
    }
}

fn content(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However the wire cuts and stutters, both ends get what the other said, and then nothing is kept.
    #[test]
    fn bytes_arrive_however_they_are_cut(
        newer in any::<bool>(),
        cuts in proptest::collection::vec(1_usize..2_000, 0..6),
        stutters in any::<bool>(),
        sizes in proptest::collection::vec(0_usize..40_000, 1..4),
        most in 1_usize..9_000,
    ) {
        let mut world = World::new(VERSIONS[usize::from(newer)], cuts, stutters);
        for size in sizes {
            let said = content(size);
            let mut heard = Vec::new();
            for part in said.chunks(20_000) {
                world.say(part);
                heard.extend(world.read(most).unwrap());
            }
            while heard.len() < said.len() {
                heard.extend(world.read(most).unwrap());
            }
            prop_assert!(heard == said);
            prop_assert!(world.write(&said) == said);
        }
        prop_assert_eq!(world.owned_bytes(), 0);
    }
}

#[test]
fn one_byte_at_a_time_is_enough() {
    for version in VERSIONS {
        let mut world = World::new(version, vec![1], true);
        world.say(b"hello");
        let mut heard = Vec::new();
        while heard.len() < 5 {
            heard.extend(world.read(1).unwrap());
        }
        assert_eq!(heard, b"hello");
        assert_eq!(world.write(b"world"), b"world");
        assert_eq!(world.owned_bytes(), 0, "{version:?}");
    }
}

#[test]
fn what_comes_with_the_last_handshake_message_waits_for_the_reader() {
    // Given a client that speaks as soon as it may, which is before the server has its last handshake message
    let mut client = client(&TLS13);
    let socket = Socket::default();
    socket.wire().room = usize::MAX;
    let mut accept = Box::pin(TlsStream::accept(Arc::clone(&ends().0.config), socket.clone()));
    client.writer().write_all(b"early bird").unwrap();
    let server = loop {
        pump(&mut client, &socket).unwrap();
        if let Poll::Ready(server) = accept.as_mut().poll(&mut context()) {
            break server.unwrap();
        }
    };
    assert!(socket.wire().to_server.is_empty());
    let mut world = World { client, server, socket };
    assert_eq!(world.read(4).unwrap(), b"early bird");
}

#[test]
fn keys_change_while_data_flows() {
    for cut in [1, 7, 10_000] {
        let mut world = World::new(&TLS13, vec![cut], false);
        for round in 0..3 {
            world.say(b"before");
            world.client.refresh_traffic_keys().unwrap();
            world.say(b"after");
            let heard = world.read(100).unwrap();
            assert_eq!(heard, b"beforeafter", "cut {cut}, round {round}");
            // The client asked for ours as well: they change with our next record.
            assert_eq!(world.write(b"answer"), b"answer");
        }
    }
}

#[test]
fn a_write_in_the_middle_of_a_split_key_update_loses_nothing() {
    let mut world = World::new(&TLS13, vec![], false);
    world.client.refresh_traffic_keys().unwrap();
    let mut update = Vec::new();
    world.client.write_tls(&mut update).unwrap();
    for byte in update {
        world.socket.wire().to_server.push_back(byte);
        assert!(world.read(10).unwrap().is_empty());
        assert_eq!(world.write(b"meanwhile"), b"meanwhile");
    }
    world.say(b"done");
    assert_eq!(world.read(10).unwrap(), b"done");
}

#[test]
fn a_full_socket_holds_the_writer_and_keeps_one_record() {
    let mut world = World::new(&TLS13, vec![], false);
    world.socket.wire().room = 100;
    let said = content(100_000);
    let first = Pin::new(&mut world.server).poll_write(&mut context(), &said);
    assert!(matches!(first, Poll::Ready(Ok(CONTENT_BYTES_MAX))), "{first:?}");
    for _ in 0..10 {
        assert!(Pin::new(&mut world.server).poll_write(&mut context(), &said).is_pending());
        assert!(Pin::new(&mut world.server).poll_flush(&mut context()).is_pending());
    }
    assert!(world.owned_bytes() < 2 * CONTENT_BYTES_MAX, "{}", world.owned_bytes());
    world.socket.wire().room = usize::MAX;
    assert_eq!(world.write(&said[CONTENT_BYTES_MAX..]), said);
    assert_eq!(world.owned_bytes(), 0);
}

#[test]
fn slices_travel_in_one_record_and_one_write() {
    let mut world = World::new(&TLS13, vec![], false);
    let before = world.socket.wire().writes;
    let slices = [IoSlice::new(b"head"), IoSlice::new(b""), IoSlice::new(&[7; 300])];
    let written = Pin::new(&mut world.server).poll_write_vectored(&mut context(), &slices);
    assert!(matches!(written, Poll::Ready(Ok(304))));
    assert_eq!(world.socket.wire().writes, before + 1);
    // One header, one content type, one tag.
    assert_eq!(world.socket.wire().to_client.len(), 304 + 5 + 1 + 16);
    let big = content(CONTENT_BYTES_MAX);
    let slices = [IoSlice::new(&big), IoSlice::new(&big)];
    let written = Pin::new(&mut world.server).poll_write_vectored(&mut context(), &slices);
    assert!(matches!(written, Poll::Ready(Ok(CONTENT_BYTES_MAX))), "what fits one record");
}

#[test]
fn an_orderly_end_is_told_from_a_torn_wire() {
    for version in VERSIONS {
        // Orderly: the rest arrives, then the end, and the server may still speak.
        let mut world = World::new(version, vec![], false);
        world.say(b"bye");
        world.client.send_close_notify();
        world.pump();
        assert_eq!(world.read(100).unwrap(), b"bye");
        assert!(world.server.machine.ended);
        assert_eq!(world.read(100).unwrap(), b"", "the end again");
        assert_eq!(world.write(b"farewell"), b"farewell");
        // Torn, between records and inside of one.
        for torn in [0, 1, 20] {
            let mut world = World::new(version, vec![], false);
            world.say(b"whole");
            let mut part = Vec::new();
            world.client.writer().write_all(b"cut short").unwrap();
            world.client.write_tls(&mut part).unwrap();
            world.socket.wire().to_server.extend(&part[..torn]);
            world.socket.wire().ended = true;
            let mut room = [0; 100];
            let mut into = ReadBuf::new(&mut room);
            assert!(matches!(Pin::new(&mut world.server).poll_read(&mut context(), &mut into), Poll::Ready(Ok(()))));
            assert_eq!(into.filled(), b"whole");
            assert_eq!(world.read(100).unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "{torn}");
        }
    }
}

#[test]
fn shutdown_tells_the_client_once() {
    for version in VERSIONS {
        let mut world = World::new(version, vec![], false);
        for _ in 0..2 {
            let shut = Pin::new(&mut world.server).poll_shutdown(&mut context());
            assert!(matches!(shut, Poll::Ready(Ok(()))));
        }
        world.pump();
        assert_eq!(world.client.reader().read(&mut [0; 10]).unwrap(), 0, "a clean end");
        let late = Pin::new(&mut world.server).poll_write(&mut context(), b"late");
        assert!(matches!(late, Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe));
    }
}

#[test]
fn broken_records_are_answered_with_their_alert() {
    let forged = |len: u16| [&[23, 3, 3][..], &len.to_be_bytes(), &vec![0; usize::from(len)]].concat();
    let cases = [
        (forged(100), AlertDescription::BadRecordMac),
        (forged(0x4900), AlertDescription::DecodeError),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), AlertDescription::DecodeError),
    ];
    for version in VERSIONS {
        for (bytes, alert) in &cases {
            let mut world = World::new(version, vec![], false);
            world.say(b"fine");
            world.socket.wire().to_server.extend(bytes);
            // What came before the broken record is delivered.
            let mut room = [0; 100];
            let mut into = ReadBuf::new(&mut room);
            assert!(matches!(Pin::new(&mut world.server).poll_read(&mut context(), &mut into), Poll::Ready(Ok(()))));
            assert_eq!(into.filled(), b"fine");
            for _ in 0..2 {
                assert_eq!(world.read(100).unwrap_err().kind(), io::ErrorKind::InvalidData, "and stays broken");
            }
            let told = pump(&mut world.client, &world.socket).unwrap_err();
            assert_eq!(told, Error::AlertReceived(*alert), "{version:?}");
            assert!(matches!(
                Pin::new(&mut world.server).poll_write(&mut context(), b"x"),
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::InvalidData
            ));
            assert_eq!(world.owned_bytes(), 0);
        }
    }
}

#[test]
fn a_failed_handshake_sends_its_alert_even_byte_by_byte() {
    for cuts in [vec![], vec![1]] {
        let socket = Socket::default();
        *socket.wire() = Wire { cuts, room: usize::MAX, ..Wire::default() };
        socket.wire().to_server.extend(b"\x16\x03\x01\x00\x04\x01\x00\x00\x00");
        let mut accept = Box::pin(TlsStream::accept(Arc::clone(&ends().0.config), socket.clone()));
        let Poll::Ready(Err(error)) = accept.as_mut().poll(&mut context()) else { panic!("it goes on") };
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(socket.wire().to_client[..2], [21, 3], "an alert: {:?}", socket.wire().to_client);
    }
}
