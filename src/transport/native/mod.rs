//! The native transport: gRPC framing directly on HTTP/2 over TLS. It accepts sockets, brings each to its `Open`, and
//! hands the session to the node.

mod edge;
mod greeting;
mod incoming;
mod link;
mod logins;
mod meter;
mod retry;

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics::{HandshakeFailure, Metrics};
use crate::model::fault::Code;
use crate::node::admit::Admitted;
use crate::node::cores::{Cores, Guest, Place};
use crate::node::{Node, connection};
use crate::tls::Acceptor;
use crate::transport::native::edge::Edge;
use crate::transport::native::greeting::{Greeting, Parting};
use crate::transport::native::link::NativeLink;

/// The protocol that a device must agree on (ALPN).
pub const ALPN: &[u8] = b"h2";

/// What an operator can set about native connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Sockets at once, sessions or not. Full: a new socket is closed at once.
    pub sockets_max: usize,
    /// A TLS handshake that takes longer is given up.
    pub tls_timeout: Duration,
    /// A connection without an `Open` for so long is closed.
    pub open_timeout: Duration,
    /// Streams at once on one connection, the push stream among them. Full: RST_STREAM with REFUSED_STREAM.
    pub streams_max: u32,
    /// Bytes of a request's headers. More: the request is refused by HTTP/2 itself (431).
    pub header_bytes_max: u32,
    /// Bytes of a request's body. More: `request_too_large`.
    pub request_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sockets_max: 15_256,
            tls_timeout: Duration::from_secs(10),
            open_timeout: Duration::from_secs(10),
            streams_max: 32,
            header_bytes_max: 8 * 1024,
            request_bytes_max: 64 * 1024,
        }
    }
}

/// Serves native devices.
pub struct Native {
    node: Arc<Node>,
    acceptor: Acceptor,
    options: Options,
    /// Where connections live.
    cores: Arc<[Place]>,
    /// For each of `cores`, cancelled with [`Node::cut`]. A task looks at its token whenever it is polled, and takes a lock
    /// for it: one token for all would make all cores meet there.
    cuts: Vec<CancellationToken>,
    sockets: AtomicUsize,
}

/// An open socket, as long as it lives.
struct Socket {
    native: Arc<Native>,
    guest: Guest,
}

impl Socket {
    fn count(native: &Arc<Native>) -> Option<Self> {
        if native.sockets.fetch_add(1, Ordering::Relaxed) >= native.options.sockets_max {
            native.sockets.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        native.metrics().connections.increment();
        Some(Self { native: Arc::clone(native), guest: Place::choose(&native.cores) })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.native.sockets.fetch_sub(1, Ordering::Relaxed);
        self.native.metrics().connections.decrement();
    }
}

impl Native {
    /// A transport for a node, whose connections live on `cores`.
    #[must_use]
    pub fn new(node: Arc<Node>, acceptor: Acceptor, options: Options, cores: &Cores) -> Arc<Self> {
        let cores = Arc::clone(cores.places());
        let cuts = cores.iter().map(|_| node.cut().child_token()).collect();
        Arc::new(Self { node, acceptor, options, cores, cuts, sockets: AtomicUsize::new(0) })
    }

    fn metrics(&self) -> &Metrics {
        self.node.metrics()
    }

    /// Accepts until `stop`, and gives each connection to a core for all its life; those who have no session at `stop` may
    /// still be refused with a word, until `cut`. Sessions live on: the node waits for them.
    pub async fn run(self: Arc<Self>, listener: TcpListener, stop: CancellationToken, cut: CancellationToken) {
        let welcomes = TaskTracker::new();
        while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
            match accepted {
                Ok((socket, peer)) => match Socket::count(&self) {
                    // A socket belongs to the poll of its core.
                    Some(counted) => match socket.into_std() {
                        Ok(socket) => {
                            let core = counted.guest.place().runtime().clone();
                            let welcome = Arc::clone(&self).welcome(socket, peer, counted);
                            let cut = cut.clone();
                            welcomes.spawn_on(async move { cut.run_until_cancelled(welcome).await }, &core);
                        }
                        Err(error) => tracing::warn!(%error, "could not hand a connection to a core"),
                    },
                    None => self.metrics().handshake_failed(HandshakeFailure::Refused(Code::TooManyConnections)),
                },
                Err(error) => {
                    // Out of descriptors, most likely: some will come free; trying at once would spin.
                    tracing::warn!(%error, "could not accept a connection");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
        drop(listener);
        welcomes.close();
        welcomes.wait().await;
    }

    /// From a socket to a session. The session gets a task of its own, so that it does not carry this one's size.
    async fn welcome(self: Arc<Self>, socket: std::net::TcpStream, peer: SocketAddr, counted: Socket) {
        match self.handshake(socket, peer.ip().to_canonical(), &counted.guest).await {
            Ok((link, admitted)) => {
                let cut = self.cuts[counted.guest.place().number()].clone();
                // Boxed where it is made: what wraps it would keep room for all that it is handed, once more each.
                let served = Box::pin(connection::serve(Arc::clone(&self.node), link, admitted));
                self.node.tasks().spawn(async move {
                    cut.run_until_cancelled(served).await;
                    drop(counted);
                });
            }
            Err((failure, why)) => {
                tracing::debug!(%peer, ?failure, %why, "no session");
                if let Some(failure) = failure {
                    self.metrics().handshake_failed(failure);
                }
            }
        }
    }

    async fn handshake(
        &self,
        socket: std::net::TcpStream,
        from: IpAddr,
        guest: &Guest,
    ) -> Result<(NativeLink, Admitted), Parting> {
        let failed = |failure, words: String| (Some(failure), words);
        let socket = TcpStream::from_std(socket).map_err(|error| failed(HandshakeFailure::Gone, error.to_string()))?;
        // A push must not wait for the ack of the one before; an error here costs only that.
        let _ = socket.set_nodelay(true);
        let tls = timeout(self.options.tls_timeout, self.acceptor.accept(socket));
        let tls = tls.await.map_err(|_| failed(HandshakeFailure::TlsTimeout, "TLS took too long".to_owned()))?;
        let tls = tls.map_err(|error| failed(HandshakeFailure::Tls, error.to_string()))?;
        // A peer that offers nothing passes the handshake, and RFC 9113, section 3.2, wants the agreement.
        if tls.get_ref().1.alpn_protocol() != Some(ALPN) {
            return Err(failed(HandshakeFailure::Protocol, "the peer did not offer h2 (ALPN)".to_owned()));
        }
        let mut patience = pin!(sleep(self.options.open_timeout));
        let edge = tokio::select! {
            edge = Edge::accept(tls, &self.options) => edge.map_err(|why| (Some(HandshakeFailure::Protocol), why))?,
            () = &mut patience => return Err((Some(HandshakeFailure::OpenTimeout), "no HTTP/2 in time".to_owned())),
        };
        let greeting = Greeting::new(edge, Arc::clone(&self.node), from, &self.options);
        greeting.session(&self.node, guest, patience).await
    }
}
