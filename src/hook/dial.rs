//! Connections to receivers of webhooks, in the clear or with TLS, as hyper's client wants them. It sets no deadlines.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tower::Service;

use crate::tls::Connector;
use crate::tls::client::TlsStream;

/// Connects.
#[derive(Clone)]
pub(super) struct Dialer {
    tls: Arc<Connector>,
}

/// A connection to a receiver.
pub(super) enum Line {
    Clear(TcpStream),
    // On the heap: it is ten times as large as the other.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Dialer {
    pub(super) const fn new(tls: Arc<Connector>) -> Self {
        Self { tls }
    }
}

impl Service<Uri> for Dialer {
    type Response = TokioIo<Line>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Line>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, place: Uri) -> Self::Future {
        Box::pin(dial(Arc::clone(&self.tls), place))
    }
}

async fn dial(tls: Arc<Connector>, place: Uri) -> io::Result<TokioIo<Line>> {
    let is_tls = place.scheme_str() == Some("https");
    let port = place.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let host = place.host().unwrap_or_default();
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let socket = TcpStream::connect((bare, port)).await?;
    socket.set_nodelay(true)?;
    let line = if is_tls { Line::Tls(Box::new(tls.connect(host, socket).await?)) } else { Line::Clear(socket) };
    Ok(TokioIo::new(line))
}

impl Connection for Line {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Line {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(socket) => Pin::new(socket).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Line {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Clear(socket) => Pin::new(socket).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(socket) => Pin::new(socket).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(socket) => Pin::new(socket).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
