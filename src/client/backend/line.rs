//! The way to a gateway and who goes it: what the clients of all services share. It knows no method.

use std::fmt;
use std::time::Duration;

use http::Uri;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

use crate::client::backend::error::{Error, failed};
use crate::client::backend::place::{Place, unreachable};

/// How long a connection may take, from the first packet to the end of the TLS handshake. A guess.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// How long a gateway may take to begin its answer. A guess: a queue of synced writes passes in well under a second.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Longest answer: the largest payload a gateway takes, and what stands beside it.
pub(super) const ANSWER_BYTES_MAX: usize = 2 << 20;
/// A stream that is silent for so long is asked whether it still lives; as the gateway does.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// Without an answer for so long, the connection is lost.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Who asks. Shows no secret when printed with `{:?}`.
#[derive(Clone, PartialEq, Eq)]
pub enum Identity {
    /// Whoever has this key.
    Key(String),
    /// Whoever has the private key of this certificate, which the gateway knows as an API key. Needs `https`.
    Certificate {
        /// The certificate and those between it and the root, as PEM.
        chain: Vec<u8>,
        /// Its private key, as PEM.
        key: Vec<u8>,
    },
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key(_) => "Identity::Key",
            Self::Certificate { .. } => "Identity::Certificate",
        })
    }
}

/// A connection that is made anew when it is lost, and what every call on it says of who asks.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) channel: Channel,
    /// `None`: the connection itself says it.
    authorization: Option<MetadataValue<Ascii>>,
}

impl Line {
    /// Connects to `http://host:port` or `https://host:port`. `roots` are certificates (PEM) to trust instead of the
    /// system's.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Untrusted`] or [`Error::Unreachable`].
    pub(super) async fn connect(url: &str, identity: &Identity, roots: Option<&[u8]>) -> Result<Self, Error> {
        let (authorization, certificate) = match identity {
            Identity::Key(key) => {
                let mut authorization: MetadataValue<Ascii> = format!("Bearer {key}")
                    .parse()
                    .map_err(|_| Error::Invalid("the key has characters that no key has".to_owned()))?;
                authorization.set_sensitive(true);
                (Some(authorization), None)
            }
            Identity::Certificate { chain, key } => (None, Some((&chain[..], &key[..]))),
        };
        let place = Place::read(url, roots, certificate)?;
        // The scheme is not `https` here even with TLS: that would ask the library for its own.
        let endpoint = Endpoint::from_shared(format!("http://{}:{}", place.host, place.port))
            .map_err(|why| Error::Invalid(format!("{url}: {why}")))?
            .origin(place.origin.clone())
            .connect_timeout(CONNECT_WITHIN)
            .timeout(ANSWER_WITHIN)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT);
        let channel = endpoint
            .connect_with_connector(tower::service_fn(move |_: Uri| place.clone().dial()))
            .await
            .map_err(|why| unreachable(url, &why))?;
        Ok(Self { channel, authorization })
    }

    /// A request that says who asks.
    pub(super) fn request<T>(&self, content: T) -> Request<T> {
        let mut request = Request::new(content);
        if let Some(authorization) = &self.authorization {
            request.metadata_mut().insert("authorization", authorization.clone());
        }
        request
    }
}

/// The content of an answer.
pub(super) fn answered<T>(answer: Result<Response<T>, Status>) -> Result<T, Error> {
    answer.map(Response::into_inner).map_err(failed)
}
