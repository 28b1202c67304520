//! Makes connections: TCP, TLS with the given roots, HTTP/2. It knows no methods but `Open`, and retries nothing.

use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;

use crate::client::conversation::Conversation;
use crate::client::error::Error;
use crate::client::options::Options;
use crate::client::outcome;
use crate::client::pulse::{Felt, Pulse};
use crate::model::clock::Clock;
use crate::tls::{self, Connector};
use crate::wire::pb;

/// What HTTP/2 runs on.
pub(super) type Socket = Box<tls::client::TlsStream<Felt<TcpStream>>>;

/// Bytes of pushes that may be on their way. One message of the largest size fits.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// Larger than the push stream's window, so that answers on short streams arrive while the program takes no pushes.
const CONNECTION_WINDOW_BYTES: u32 = STREAM_WINDOW_BYTES + (256 << 10);
/// What h2 lets small DATA frames cost before it kills the connection; its default does not survive a burst of 140
/// pushes of 20 bytes. The gateway's window bounds the frames; each costs at most 256, so this is good for 32,768.
const DATA_FRAME_BUDGET: usize = 8 << 20;
/// Heads and trailers are a few short lines; a reason may have some hundred bytes.
const HEADER_BYTES_MAX: u32 = 16 << 10;

/// Makes connections to one gateway.
#[derive(Clone)]
pub(super) struct Dialer {
    /// Where it listens.
    address: String,
    /// The name its certificate must bear.
    name: String,
    /// `:authority` of requests.
    authority: Arc<str>,
    tls: Connector,
    clock: Clock,
}

impl Dialer {
    /// Reads the roots and the name of checked options.
    pub(super) fn new(options: &Options, clock: Clock) -> Result<Self, Error> {
        let tls = Connector::new(options.roots.as_deref(), &[b"h2"])
            .map_err(|why| Error::Invalid(format!("roots: {why}")))?;
        Ok(Self {
            address: options.address.clone(),
            name: options.server_name.clone().unwrap_or_else(|| options.host().to_owned()),
            authority: options.address.as_str().into(),
            tls,
            clock,
        })
    }

    /// `:authority` of requests.
    pub(super) fn authority(&self) -> Arc<str> {
        Arc::clone(&self.authority)
    }

    /// Connects and sends the `Open`. Has no deadline of its own: the caller drops it.
    pub(super) async fn dial(self, open: pb::OpenRequest, pulse: Pulse) -> Result<Conversation, Error> {
        let socket = TcpStream::connect(&self.address).await.map_err(|why| network(&self.address, &why))?;
        socket.set_nodelay(true).map_err(|why| network(&self.address, &why))?;
        let socket = Felt::new(socket, pulse, self.clock);
        // The handshake's future is large and needed once.
        let socket = Box::pin(self.tls.connect(&self.name, socket)).await.map_err(|why| handshake(&why))?;
        let tls = tls::version(&socket);
        if socket.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(Error::Protocol("the peer does not speak HTTP/2; is this a Pushline gateway?".into()));
        }
        let (requests, connection) = h2::client::Builder::new()
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_header_list_size(HEADER_BYTES_MAX)
            .data_frame_budget(DATA_FRAME_BUDGET)
            .handshake(Box::new(socket))
            .await
            .map_err(|why| outcome::http2(&why))?;
        Conversation::open(requests, connection, &self.authority, &open, tls)
    }
}

fn network(address: &str, why: &io::Error) -> Error {
    Error::Network(format!("{address}: {why}"))
}

fn handshake(why: &io::Error) -> Error {
    match tls::distrust(why) {
        Some(how) => Error::Untrusted(how),
        // Nothing but the name makes a connector refuse its input.
        None if why.kind() == io::ErrorKind::InvalidInput => Error::Invalid(format!("server_name: {why}")),
        None => Error::Network(format!("TLS: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::Dialer;
    use crate::client::error::Error;
    use crate::client::options::Options;
    use crate::model::clock::Clock;

    #[test]
    fn roots_that_are_none_are_refused() {
        for roots in ["not pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let options = Options::new("a.example:1", roots, "token");
            let why = Dialer::new(&options, Clock::new()).err();
            assert!(matches!(&why, Some(Error::Invalid(words)) if words.starts_with("roots")), "{why:?}");
        }
    }
}
