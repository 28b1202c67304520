//! Stands between HTTP/2 and the socket. It counts the bytes that pass: HTTP/2 answers a peer's PING without telling
//! anyone, and the count of received bytes is how the gateway sees every sign of life. It tells when the socket is full.
//! And it holds back small writes on demand, so that what belongs together leaves together.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is held back at most: what fits one TLS record (RFC 8446, section 5.1).
const HELD_BYTES_MAX: usize = 16 * 1024;

/// What is known of the socket and wanted of it, while it is in other hands. Only the task that owns the connection
/// changes it, so nothing needs to be one step.
#[derive(Debug, Default)]
pub(super) struct Counts {
    received: AtomicU64,
    sent: AtomicU64,
    /// The socket takes no more for now; it wakes the task when it does.
    full: AtomicBool,
    /// It was full since this was last asked for.
    stalled: AtomicBool,
    /// More will be written before this turn ends.
    hold: AtomicBool,
}

impl Counts {
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Whether the last write or flush had to wait.
    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Whether a write or a flush has had to wait since the last call.
    pub(super) fn take_stalled(&self) -> bool {
        let stalled = self.stalled.load(Ordering::Relaxed);
        self.stalled.store(false, Ordering::Relaxed);
        stalled
    }

    /// From now on small writes are held back, or not. What is held leaves with the next flush after `hold(false)`.
    pub(super) fn hold(&self, hold: bool) {
        self.hold.store(hold, Ordering::Relaxed);
    }
}

/// A socket that counts.
pub(super) struct Meter<S> {
    socket: S,
    counts: Arc<Counts>,
    /// Held back. Owns nothing while nothing is.
    held: Vec<u8>,
}

impl<S: AsyncWrite + Unpin> Meter<S> {
    pub(super) fn new(socket: S) -> (Self, Arc<Counts>) {
        let counts = Arc::new(Counts::default());
        (Self { socket, counts: Arc::clone(&counts), held: Vec::new() }, counts)
    }

    /// Takes note of how a write or a flush went.
    fn note<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.counts.full.store(result.is_pending(), Ordering::Relaxed);
        if result.is_pending() {
            self.counts.stalled.store(true, Ordering::Relaxed);
        }
        result
    }

    fn sent(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = result {
            self.counts.sent.store(self.counts.sent() + bytes as u64, Ordering::Relaxed);
        }
        self.note(result)
    }

    /// Whether so many bytes are to be held back.
    fn holds(&self, bytes: usize) -> bool {
        self.counts.hold.load(Ordering::Relaxed) && self.held.len() + bytes <= HELD_BYTES_MAX
    }

    /// Writes what was held back.
    fn poll_release(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let result = Pin::new(&mut self.socket).poll_write(cx, &self.held);
            let written = ready!(self.sent(result))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            if written == self.held.len() {
                self.held = Vec::new();
            } else {
                self.held.drain(..written);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Meter<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.socket).poll_read(cx, buffer);
        let received = (buffer.filled().len() - before) as u64;
        self.counts.received.store(self.counts.received() + received, Ordering::Relaxed);
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Meter<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.holds(bytes.len()) {
            self.held.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        ready!(self.poll_release(cx))?;
        let result = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.sent(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes = slices.iter().map(|slice| slice.len()).sum();
        if self.holds(bytes) {
            slices.iter().for_each(|slice| self.held.extend_from_slice(slice));
            return Poll::Ready(Ok(bytes));
        }
        ready!(self.poll_release(cx))?;
        let result = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        self.sent(result)
    }

    /// As the socket has it. TLS says yes: then a DATA frame's header and its payload travel in one record.
    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.counts.hold.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_release(cx))?;
        let result = Pin::new(&mut self.socket).poll_flush(cx);
        self.note(result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_release(cx))?;
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

    use super::{HELD_BYTES_MAX, Meter};

    fn write(meter: &mut Meter<DuplexStream>, bytes: &[u8]) -> Poll<usize> {
        let context = &mut Context::from_waker(Waker::noop());
        Pin::new(meter).poll_write_vectored(context, &[IoSlice::new(bytes)]).map(Result::unwrap)
    }

    fn flush(meter: &mut Meter<DuplexStream>) -> bool {
        Pin::new(meter).poll_flush(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    /// What one read of the other end finds.
    fn arrived(far: &mut DuplexStream) -> usize {
        let mut room = vec![0; 4 * HELD_BYTES_MAX];
        let mut into = ReadBuf::new(&mut room);
        let _ = Pin::new(far).poll_read(&mut Context::from_waker(Waker::noop()), &mut into);
        into.filled().len()
    }

    #[test]
    fn what_is_held_leaves_together_and_in_order() {
        let (near, mut far) = tokio::io::duplex(4 * HELD_BYTES_MAX);
        let (mut meter, counts) = Meter::new(near);
        counts.hold(true);
        for _ in 0..3 {
            assert_eq!(write(&mut meter, b"answer"), Poll::Ready(6));
            assert!(flush(&mut meter));
        }
        assert_eq!((arrived(&mut far), counts.sent()), (0, 0));
        counts.hold(false);
        assert!(flush(&mut meter));
        assert_eq!((arrived(&mut far), counts.sent()), (18, 18));
        assert_eq!(meter.held.capacity(), 0, "nothing is kept for the next time");
        // More than may be held goes on, after what was held.
        counts.hold(true);
        assert_eq!(write(&mut meter, b"small"), Poll::Ready(5));
        assert_eq!(write(&mut meter, &vec![7; HELD_BYTES_MAX]), Poll::Ready(HELD_BYTES_MAX));
        assert_eq!(arrived(&mut far), HELD_BYTES_MAX + 5);
    }

    #[test]
    fn a_full_socket_is_told_until_it_takes_more() {
        let (near, mut far) = tokio::io::duplex(10);
        let (mut meter, counts) = Meter::new(near);
        assert_eq!(write(&mut meter, b"0123456789abcdef"), Poll::Ready(10));
        assert!(!counts.is_full());
        assert!(write(&mut meter, b"abcdef").is_pending() && counts.is_full());
        // Held bytes wait as well, and are still there afterwards.
        counts.hold(true);
        assert_eq!(write(&mut meter, b"abcdef"), Poll::Ready(6));
        counts.hold(false);
        assert!(!flush(&mut meter) && counts.is_full());
        assert_eq!(arrived(&mut far), 10);
        assert!(flush(&mut meter) && !counts.is_full());
        assert_eq!((arrived(&mut far), counts.sent()), (6, 16));
    }
}
