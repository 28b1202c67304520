//! The server's end of a TLS connection, over rustls' unbuffered API: bytes in, bytes out. Between two records it owns
//! no buffer, because most connections wait nearly all of their life; the library's own stream keeps 4 KiB for each and
//! clears them before every read. It does not choose certificates or protocols.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{AppDataRecord, ConnectionState, EncodeError, EncryptError, UnbufferedStatus, WriteTraffic};
use rustls::{CommonState, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::pool::Scratch;
use crate::tls::mutual::{Fingerprint, fingerprint};

/// The most content one record takes (RFC 8446, section 5.1).
const CONTENT_BYTES_MAX: usize = 16 * 1024;

/// The most that may wait for its rest: the longest handshake message that the library takes is 64 KiB, and each of its
/// records may carry as little as one byte, which is why rubbish is bounded here and not there.
const INCOMING_BYTES_MAX: usize = 128 * 1024;

/// A TLS stream on a socket.
pub struct TlsStream<S> {
    socket: S,
    machine: Machine,
}

/// What TLS knows, and what it could not hand on yet. All of its buffers are empty, and own nothing, while the
/// connection waits for the peer's next record.
struct Machine {
    tls: UnbufferedServerConnection,
    /// Received: the beginning of a record or a handshake message, or records that nobody asked for yet.
    incoming: Vec<u8>,
    /// Whether `incoming` may hold whole records.
    unread: bool,
    /// Deciphered, and more than the reader had room for. At most one record's content, or one `incoming`'s.
    plain: Rest,
    /// Sealed, and more than the socket took. At most one record's, and what the library wants said.
    outgoing: Rest,
    /// The peer said that it sends nothing more.
    ended: bool,
    /// We said so.
    closed: bool,
    /// The peer broke the protocol; nothing works any more.
    failed: Option<rustls::Error>,
}

/// Bytes that are taken from the front, bit by bit.
#[derive(Debug)]
struct Rest {
    bytes: Vec<u8>,
    taken: usize,
}

/// Where the content of records goes, or comes from.
enum Want<'a, 'b> {
    /// Read into this; stop when it is full.
    Read(&'a mut ReadBuf<'b>),
    /// Seal these bytes as one record.
    Seal(&'a [u8], &'a mut [u8]),
    /// Tell the peer that we send nothing more.
    Close(&'a mut [u8]),
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream<S> {
    /// Does the handshake. Dropping the future closes the socket.
    pub(super) async fn accept(config: Arc<ServerConfig>, socket: S) -> io::Result<Self> {
        let tls = UnbufferedServerConnection::new(config).map_err(io::Error::other)?;
        let mut stream = Self { socket, machine: Machine::new(tls) };
        poll_fn(|context| stream.poll_handshake(context)).await?;
        Ok(stream)
    }

    /// The socket, and what was agreed on.
    pub fn get_ref(&self) -> (&S, &CommonState) {
        (&self.socket, &self.machine.tls)
    }

    /// What the client is known by; `None` when it showed no certificate.
    pub fn client(&self) -> Option<Fingerprint> {
        self.machine.tls.peer_certificates()?.first().map(fingerprint)
    }

    fn poll_handshake(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let sent = self.poll_send(context);
            // The alert has had its chance; the peer's fault is the one to report.
            self.machine.check()?;
            ready!(sent)?;
            ready!(Pin::new(&mut self.socket).poll_flush(context))?;
            if !self.machine.tls.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            // What a client sends along with its last handshake message waits for the reader.
            if ready!(self.poll_receive(context, &mut ReadBuf::new(&mut [])))? == 0 {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, "tls handshake eof")));
            }
        }
    }

    /// Reads from the socket once and lets TLS work on it. How many bytes came; 0 at the socket's end.
    fn poll_receive(&mut self, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
        let mut scratch = Scratch::take();
        let mut read = ReadBuf::new(&mut scratch);
        ready!(Pin::new(&mut self.socket).poll_read(context, &mut read))?;
        let received = read.filled().len();
        self.machine.receive(&mut scratch[..received], into);
        Poll::Ready(Ok(received))
    }

    /// Hands what waits to the socket until none is left.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.machine.outgoing.is_empty() {
            let sent = ready!(Pin::new(&mut self.socket).poll_write(context, self.machine.outgoing.left()))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.machine.outgoing.take(sent);
        }
        Poll::Ready(Ok(()))
    }

    /// Hands a sealed record to the socket; what it does not take now waits.
    fn hand_over(&mut self, context: &mut Context<'_>, mut sealed: &[u8]) -> io::Result<()> {
        while !sealed.is_empty() {
            match Pin::new(&mut self.socket).poll_write(context, sealed)? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(sent) => sealed = &sealed[sent..],
                Poll::Pending => {
                    self.machine.outgoing.put(sealed);
                    break;
                }
            }
        }
        Ok(())
    }

    /// Seals `content` and hands it to the socket; what the socket does not take waits.
    fn poll_seal(&mut self, context: &mut Context<'_>, content: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_send(context))?;
        self.machine.check()?;
        let content = &content[..content.len().min(CONTENT_BYTES_MAX)];
        let mut scratch = Scratch::take();
        let sealed = self.machine.seal(content, &mut scratch)?;
        if self.machine.outgoing.is_empty() {
            self.hand_over(context, &scratch[..sealed])?;
        } else {
            // What TLS itself wanted to say was sealed before, and goes before.
            self.machine.outgoing.put(&scratch[..sealed]);
            let _: Poll<()> = self.poll_send(context)?;
        }
        Poll::Ready(Ok(content.len()))
    }
}

impl<S> fmt::Debug for TlsStream<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TlsStream").field("failed", &self.machine.failed).finish_non_exhaustive()
    }
}

impl Machine {
    const fn new(tls: UnbufferedServerConnection) -> Self {
        Self {
            tls,
            incoming: Vec::new(),
            unread: false,
            plain: Rest::new(),
            outgoing: Rest::new(),
            ended: false,
            closed: false,
            failed: None,
        }
    }

    fn check(&self) -> io::Result<()> {
        self.failed.as_ref().map_or(Ok(()), |why| Err(invalid(why.clone())))
    }

    /// Works on what came from the socket.
    fn receive(&mut self, received: &mut [u8], into: &mut ReadBuf<'_>) {
        if self.incoming.is_empty() {
            let (used, _) = self.run(received, &mut Want::Read(into));
            self.keep(&received[used..]);
        } else {
            self.incoming.extend_from_slice(received);
            self.resume(&mut Want::Read(into));
        }
    }

    /// Works on what was left over.
    fn resume(&mut self, want: &mut Want<'_, '_>) -> Option<io::Result<usize>> {
        let mut incoming = std::mem::take(&mut self.incoming);
        let (used, done) = self.run(&mut incoming, want);
        if used < incoming.len() {
            incoming.drain(..used);
            self.incoming = incoming;
        }
        done
    }

    fn keep(&mut self, rest: &[u8]) {
        if !rest.is_empty() && self.failed.is_none() {
            self.incoming = rest.to_vec();
        }
    }

    /// Seals content; how many bytes the sealed record has.
    fn seal(&mut self, content: &[u8], sealed: &mut [u8]) -> io::Result<usize> {
        if self.closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if content.is_empty() {
            return Ok(0);
        }
        self.resume(&mut Want::Seal(content, sealed)).unwrap_or_else(|| Err(io::ErrorKind::BrokenPipe.into()))
    }

    /// Queues the word that we send nothing more.
    fn close(&mut self) {
        if self.closed || self.failed.is_some() {
            return;
        }
        let mut scratch = Scratch::take();
        // A connection that cannot say it any more is as closed as it gets.
        if let Some(Ok(sealed)) = self.resume(&mut Want::Close(&mut scratch)) {
            self.outgoing.put(&scratch[..sealed]);
        }
        self.closed = true;
    }

    /// Lets TLS work on received bytes until it needs more, until the reader's room is full, or until what is wanted is
    /// done. How many bytes it is through with, and how many bytes were sealed.
    fn run(&mut self, records: &mut [u8], want: &mut Want<'_, '_>) -> (usize, Option<io::Result<usize>>) {
        let mut used = 0;
        self.unread = false;
        loop {
            let UnbufferedStatus { mut discard, state } = self.tls.process_tls_records(&mut records[used..]);
            let mut stop = false;
            let mut done = None;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(Ok(AppDataRecord { discard: more, payload, .. })) = traffic.next_record() {
                        discard += more;
                        stop |= hand_on(payload, want, &mut self.plain);
                    }
                    self.unread = stop;
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => self.outgoing.encode(|room| data.encode(room)),
                // They are among what goes out, in order.
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.ended = true,
                Ok(ConnectionState::WriteTraffic(traffic)) => (stop, done) = (true, seal(traffic, want)),
                // Early data is not offered, and other states are not known.
                Ok(_) => stop = true,
                Err(why) => {
                    self.failed = Some(why);
                    stop = true;
                }
            }
            used += discard;
            if self.failed.is_none() && records.len() - used > INCOMING_BYTES_MAX {
                self.failed = Some(rustls::InvalidMessage::HandshakePayloadTooLarge.into());
            }
            if self.failed.is_some() {
                self.last_words(&mut records[used..]);
                return (records.len(), None);
            }
            if stop {
                return (used, done);
            }
        }
    }

    /// After a failure: takes the alert that tells the peer.
    fn last_words(&mut self, records: &mut [u8]) {
        while self.tls.wants_write() {
            let UnbufferedStatus { state: Ok(ConnectionState::EncodeTlsData(mut data)), .. } =
                self.tls.process_tls_records(records)
            else {
                return;
            };
            self.outgoing.encode(|room| data.encode(room));
        }
    }
}

/// Gives content to the reader as far as it has room; the rest waits. True when there is no room left.
fn hand_on(content: &[u8], want: &mut Want<'_, '_>, rest: &mut Rest) -> bool {
    let Want::Read(into) = want else {
        rest.put(content);
        return false;
    };
    let (now, later) = content.split_at(content.len().min(into.remaining()));
    into.put_slice(now);
    rest.put(later);
    into.remaining() == 0
}

/// Seals what is wanted, now that TLS lets us.
fn seal(
    mut traffic: WriteTraffic<'_, rustls::server::ServerConnectionData>,
    want: &mut Want<'_, '_>,
) -> Option<io::Result<usize>> {
    let sealed = match want {
        Want::Read(_) => return None,
        Want::Seal(content, sealed) => traffic.encrypt(content, sealed),
        Want::Close(sealed) => traffic.queue_close_notify(sealed),
    };
    Some(sealed.map_err(|why| match why {
        EncryptError::InsufficientSize(_) => io::Error::other("TLS has more to say than fits one write"),
        EncryptError::EncryptExhausted => io::Error::other("the keys of this connection are used up"),
    }))
}

impl Rest {
    const fn new() -> Self {
        Self { bytes: Vec::new(), taken: 0 }
    }

    const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn left(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Puts what TLS wants to say, which tells its size by failing.
    fn encode(&mut self, mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>) {
        let before = self.bytes.len();
        if let Err(EncodeError::InsufficientSize(needed)) = encode(&mut []) {
            self.bytes.resize(before + needed.required_size, 0);
            let encoded = encode(&mut self.bytes[before..]).unwrap_or(0);
            self.bytes.truncate(before + encoded);
        }
    }

    /// Takes bytes away; the last takes the buffer with it.
    fn take(&mut self, bytes: usize) {
        self.taken += bytes;
        if self.taken == self.bytes.len() {
            *self = Self::new();
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = into.filled().len();
        loop {
            if !this.machine.plain.is_empty() {
                let left = this.machine.plain.left();
                let bytes = left.len().min(into.remaining());
                into.put_slice(&left[..bytes]);
                this.machine.plain.take(bytes);
            } else if this.machine.unread {
                this.machine.resume(&mut Want::Read(into));
            }
            if into.filled().len() > before || into.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            this.machine.check()?;
            if this.machine.ended {
                return Poll::Ready(Ok(()));
            }
            let received = ready!(this.poll_receive(context, into))?;
            if !this.machine.outgoing.is_empty() {
                // An alert, or an answer of TLS itself. When the socket is full it wakes this task, which flushes.
                let _: Poll<()> = this.poll_send(context)?;
            }
            if received == 0 {
                let words = "peer closed connection without sending TLS close_notify";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, words)));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, content: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_seal(context, content)
    }

    /// Gathers what fits one record: many small writes are one record and one write to the socket.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let mut filled = slices.iter().filter(|slice| !slice.is_empty());
        let (first, second) = (filled.next(), filled.next());
        if second.is_none() {
            return this.poll_seal(context, first.map_or(&[], |slice| slice));
        }
        ready!(this.poll_send(context))?;
        let mut scratch = Scratch::take();
        let mut gathered = 0;
        for slice in slices {
            let bytes = slice.len().min(CONTENT_BYTES_MAX - gathered);
            scratch[gathered..gathered + bytes].copy_from_slice(&slice[..bytes]);
            gathered += bytes;
        }
        this.poll_seal(context, &scratch[..gathered])
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(context))?;
        Pin::new(&mut this.socket).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.machine.close();
        ready!(this.poll_send(context))?;
        match ready!(Pin::new(&mut this.socket).poll_shutdown(context)) {
            // The peer was faster.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            result => Poll::Ready(result),
        }
    }
}

fn invalid(why: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests;
