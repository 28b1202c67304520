//! When bytes last came from the gateway: a stamp, and the socket wrapper that sets it. HTTP/2 answers PINGs and takes
//! window updates without a word to us, so life must be seen below it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::model::clock::{Clock, Moment};

/// When bytes last came.
#[derive(Clone, Debug, Default)]
pub(super) struct Pulse {
    /// The moment, in microseconds.
    last: Arc<AtomicU64>,
}

impl Pulse {
    /// The moment bytes last came.
    pub(super) fn last(&self) -> Moment {
        Moment::from_micros(self.last.load(Ordering::Relaxed))
    }
}

/// A socket whose incoming bytes are noted.
#[derive(Debug)]
pub(super) struct Felt<T> {
    inner: T,
    pulse: Pulse,
    clock: Clock,
}

impl<T> Felt<T> {
    pub(super) const fn new(inner: T, pulse: Pulse, clock: Clock) -> Self {
        Self { inner, pulse, clock }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Felt<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = ready!(Pin::new(&mut self.inner).poll_read(cx, buffer));
        if buffer.filled().len() > before {
            self.pulse.last.store(self.clock.now().moment.as_micros(), Ordering::Relaxed);
        }
        Poll::Ready(result)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Felt<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
