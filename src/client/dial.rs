//! Makes connections: TCP, TLS with the given roots, HTTP/2. It knows no methods but `Open` and those of a login, and retries nothing.

use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;

use crate::client::conversation::{Caller, Conversation, Line};
use crate::client::error::Error;
use crate::client::login::{Grant, Login, Provider, log_in};
use crate::client::options::{self, Options};
use crate::client::outcome;
use crate::client::pulse::{Felt, Pulse};
use crate::model::clock::Clock;
use crate::model::frame::LoggedIn;
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

/// Makes connections to the nodes of one deployment.
#[derive(Clone)]
pub(super) struct Dialer {
    /// Where the program says that it listens.
    address: Arc<str>,
    /// The name its certificate must bear; `None`: the host of the address.
    name: Option<Arc<str>>,
    tls: Connector,
    clock: Clock,
}

/// What a connection is made for.
pub(super) struct Wanted {
    /// Where to connect; `None`: where the program says.
    pub(super) node: Option<String>,
    /// What the `Open` says.
    pub(super) open: pb::OpenRequest,
    /// Who gives the token, if the one at hand will not do.
    pub(super) provider: Option<Arc<dyn Provider>>,
}

impl Dialer {
    /// Reads the roots and the name of checked options.
    pub(super) fn new(options: &Options, clock: Clock) -> Result<Self, Error> {
        let tls = Connector::new(options.roots.as_deref(), &[b"h2"])
            .map_err(|why| Error::Invalid(format!("roots: {why}")))?;
        Ok(Self {
            address: options.address.as_str().into(),
            name: options.server_name.as_deref().map(Into::into),
            tls,
            clock,
        })
    }

    /// Connects, gets a token if one is wanted, and sends the `Open`. Has no deadline of its own: the caller drops it.
    pub(super) async fn dial(self, wanted: Wanted, pulse: Pulse) -> Result<(Conversation, Option<Grant>), Error> {
        let Wanted { node, mut open, provider } = wanted;
        let access = match provider {
            Some(provider) => Some(provider.access().await?),
            None => None,
        };
        let address = node.as_deref().map_or_else(|| Arc::clone(&self.address), Into::into);
        let mut line = self.connect(&address, pulse.clone()).await?;
        let Some(access) = access else { return Ok((Conversation::open(line, &open)?, None)) };
        let caller = line.caller.clone();
        let grant = line.during(Grant::get(access, &caller, &open.agent)).await?;
        open.token.clone_from(&grant.token);
        if let Some(other) = self.elsewhere(&address, &grant.nodes, pulse).await {
            line.close().await;
            line = other;
        }
        drop(caller);
        Ok((Conversation::open(line, &open)?, Some(grant)))
    }

    /// Connects to the first of the nodes that answers, unless one of them is where it is. None of them: it stays, and the
    /// gateway may ask it to move.
    async fn elsewhere(&self, address: &str, nodes: &[String], pulse: Pulse) -> Option<Line> {
        if nodes.iter().any(|node| node == address) {
            return None;
        }
        for node in nodes {
            if let Ok(line) = self.connect(node, pulse.clone()).await {
                return Some(line);
            }
        }
        None
    }

    /// Connects. Has no deadline of its own.
    pub(super) async fn connect(&self, address: &str, pulse: Pulse) -> Result<Line, Error> {
        let socket = TcpStream::connect(address).await.map_err(|why| network(address, &why))?;
        socket.set_nodelay(true).map_err(|why| network(address, &why))?;
        let socket = Felt::new(socket, pulse, self.clock);
        let name = self.name.as_deref().unwrap_or_else(|| options::host(address));
        // The handshake's future is large and needed once.
        let socket = Box::pin(self.tls.connect(name, socket)).await.map_err(|why| handshake(&why))?;
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
        Ok(Line { connection, caller: Caller { requests, authority: address.into() }, tls })
    }

    /// Logs in on a connection of its own.
    pub(super) async fn log_in(&self, login: &Login, agent: &str) -> Result<LoggedIn, Error> {
        let mut line = self.connect(&self.address, Pulse::default()).await?;
        let caller = line.caller.clone();
        let told = line.during(log_in(&caller, login, agent)).await;
        drop(caller);
        line.close().await;
        told
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
