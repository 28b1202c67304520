//! The orderly end of a socket: what the peer still sends is read and dropped for a while. Closed with unread bytes, a
//! socket is reset, and a reset takes away the answers that the peer has not read yet.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// A socket that is lent to a connection and comes back when that is dropped.
pub(super) struct Lent<S> {
    /// The socket; `None` only while it is being dropped.
    socket: Option<S>,
    /// Where it goes back to.
    owner: Option<oneshot::Sender<S>>,
}

/// What the lender of a socket keeps.
pub(super) struct Lender<S>(oneshot::Receiver<S>);

/// Lends a socket.
pub(super) fn lend<S>(socket: S) -> (Lent<S>, Lender<S>) {
    let (owner, lender) = oneshot::channel();
    (Lent { socket: Some(socket), owner: Some(owner) }, Lender(lender))
}

impl<S: AsyncRead + AsyncWrite + Unpin> Lender<S> {
    /// Ends the socket, which must have come back: nothing more is written, and what comes is dropped until the peer
    /// ends too, or its time is over.
    pub(super) async fn end(mut self, patience: Duration) {
        let Ok(mut socket) = self.0.try_recv() else { return };
        let end = async {
            // The connection mostly did it already, and a peer that is gone makes it fail: nothing is lost either way.
            let _ = socket.shutdown().await;
            let mut dropped = vec![0; DROPPED_BYTES];
            while matches!(socket.read(&mut dropped).await, Ok(1..)) {}
        };
        let _ = timeout(patience, end).await;
    }
}

impl<S> Lent<S> {
    fn socket(&mut self) -> io::Result<Pin<&mut S>>
    where
        S: Unpin,
    {
        self.socket.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl<S> Drop for Lent<S> {
    fn drop(&mut self) {
        if let (Some(socket), Some(owner)) = (self.socket.take(), self.owner.take()) {
            // A lender that is gone does not want it back.
            let _ = owner.send(socket);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lent<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.socket()?.poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Lent<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.socket()?.poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket()?.poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.socket()?.poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }
}

/// Bytes that are read and dropped at once.
const DROPPED_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::lend;

    #[tokio::test]
    async fn the_peer_reads_all_of_the_answer_though_it_sends_on() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        let (mut lent, lender) = lend(socket);
        peer.write_all(&[1; 10_000]).await.unwrap();
        lent.write_all(&[2; 100_000]).await.unwrap();
        drop(lent);
        let reading = async {
            peer.write_all(&[1; 10_000]).await.unwrap();
            let mut answer = Vec::new();
            peer.read_to_end(&mut answer).await.unwrap();
            drop(peer);
            answer
        };
        let (answer, ()) = tokio::join!(reading, lender.end(Duration::from_secs(30)));
        assert_eq!(answer.len(), 100_000);
    }

    #[tokio::test]
    async fn a_peer_that_never_ends_has_its_time() {
        let (near, _far) = tokio::io::duplex(64);
        let (lent, lender) = lend(near);
        drop(lent);
        lender.end(Duration::from_millis(1)).await;
    }
}
