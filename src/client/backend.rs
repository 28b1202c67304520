//! The backend's side of a gateway, for programs that push: the methods of `pushline.v1.Backend` over gRPC. It retries
//! nothing; a push that may be repeated carries an idempotency key.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::client::error::Refusal;
use crate::model::id::MessageId;
use crate::tls::{self, Connector};
use crate::wire::pb::backend_client::BackendClient;
use crate::wire::pb::push_stream_response::Outcome;
use crate::wire::pb::{GetMessageRequest, GetMessageResponse, PushRequest, PushResponse, PushStreamRequest};

/// How long a connection may take, from the first packet to the end of the TLS handshake. A guess.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// How long a gateway may take to begin its answer. A guess: a queue of synced writes passes in well under a second.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Longest answer: the largest payload a gateway takes, and what stands beside it.
const ANSWER_BYTES_MAX: usize = 2 << 20;

/// Why a backend could not do something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An argument cannot work; repeating it will not help.
    #[error("{0}")]
    Invalid(String),
    /// The gateway's certificate is not one that the trusted ones vouch for.
    #[error("the certificate of {url} is not trusted: {how}")]
    Untrusted {
        /// Where the gateway was looked for.
        url: String,
        /// What is wrong with it.
        how: String,
    },
    /// Nothing could be reached there.
    #[error("cannot reach {url}: {why}")]
    Unreachable {
        /// Where the gateway was looked for.
        url: String,
        /// What the network said.
        why: String,
    },
    /// The gateway refused.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// The connection was lost, or no answer came in time: the push may be stored or not.
    #[error("no answer came, so it may be stored or not: {0}")]
    Unanswered(String),
}

/// What became of one push of many.
pub type Answer = Result<PushResponse, Refusal>;

/// A backend's connection to a gateway. Cheap to clone; clones share the connection, which is made anew when it is lost.
#[derive(Clone, Debug)]
pub struct Backend {
    client: BackendClient<Channel>,
    /// What every call says of who asks.
    authorization: MetadataValue<Ascii>,
}

impl Backend {
    /// Connects to `http://host:port` or `https://host:port` with the tenant's API key. `roots` are certificates (PEM) to
    /// trust instead of the system's.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Untrusted`] or [`Error::Unreachable`].
    pub async fn connect(url: &str, key: &str, roots: Option<&[u8]>) -> Result<Self, Error> {
        let place = Place::read(url, roots)?;
        let mut authorization: MetadataValue<Ascii> = format!("Bearer {key}")
            .parse()
            .map_err(|_| Error::Invalid("the API key has characters that no key has".to_owned()))?;
        authorization.set_sensitive(true);
        // The scheme is not `https` here even with TLS: that would ask the library for its own.
        let endpoint = Endpoint::from_shared(format!("http://{}:{}", place.host, place.port))
            .map_err(|why| Error::Invalid(format!("{url}: {why}")))?
            .origin(place.origin.clone())
            .connect_timeout(CONNECT_WITHIN)
            .timeout(ANSWER_WITHIN);
        let channel = endpoint
            .connect_with_connector(tower::service_fn(move |_: Uri| place.clone().dial()))
            .await
            .map_err(|why| unreachable(url, &why))?;
        let client = BackendClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
        Ok(Self { client, authorization })
    }

    /// Enqueues one push. When the answer comes, the push is as durable as it asked for.
    ///
    /// # Errors
    /// [`Error::Refused`] when nothing was stored, [`Error::Unanswered`] when that is not known.
    pub async fn push(&self, push: PushRequest) -> Result<PushResponse, Error> {
        let answer = self.client.clone().push(self.request(push)).await;
        answer.map(tonic::Response::into_inner).map_err(failed)
    }

    /// Enqueues many pushes on one stream, and gives their answers in the same order. A refused one does not stop the
    /// others.
    ///
    /// # Errors
    /// As [`Backend::push`], for the stream as a whole: then it is not known which of them are stored.
    pub async fn push_all(&self, pushes: Vec<PushRequest>) -> Result<Vec<Answer>, Error> {
        let count = pushes.len();
        let numbered = (0..).zip(pushes).map(|(reference, push)| PushStreamRequest { reference, push: Some(push) });
        let requests = self.request(futures_util::stream::iter(numbered.collect::<Vec<_>>()));
        let answers = self.client.clone().push_stream(requests).await.map_err(failed)?.into_inner();
        let answers = answers.map_ok(|answer| match answer.outcome {
            Some(Outcome::Accepted(accepted)) => Ok(accepted),
            Some(Outcome::Error(error)) => {
                Err(Refusal { grpc: error.status, name: error.code, errno: error.errno, words: error.message })
            }
            None => Err(Refusal { words: "an answer that says nothing".to_owned(), ..Refusal::default() }),
        });
        let answers: Vec<_> = tokio::time::timeout(ANSWER_WITHIN, answers.try_collect())
            .await
            .map_err(|_| Error::Unanswered("the answers took too long".to_owned()))?
            .map_err(failed)?;
        if answers.len() < count {
            return Err(Error::Unanswered(format!("{} answers for {count} pushes", answers.len())));
        }
        Ok(answers)
    }

    /// What is known of a message.
    ///
    /// # Errors
    /// [`Error::Refused`], also when there is no such message; [`Error::Unanswered`].
    pub async fn message(&self, id: MessageId) -> Result<GetMessageResponse, Error> {
        let answer = self.client.clone().get_message(self.request(GetMessageRequest { id: id.to_string() })).await;
        answer.map(tonic::Response::into_inner).map_err(failed)
    }

    fn request<T>(&self, content: T) -> Request<T> {
        let mut request = Request::new(content);
        request.metadata_mut().insert("authorization", self.authorization.clone());
        request
    }
}

/// Where a gateway is and how to get there.
#[derive(Clone)]
struct Place {
    /// What the user wrote, less a path: `:scheme` and `:authority` of requests.
    origin: Uri,
    /// A name or an address, the latter in brackets when it is one of IPv6.
    host: Arc<str>,
    port: u16,
    /// `None` for plain HTTP/2.
    tls: Option<Connector>,
}

impl Place {
    fn read(url: &str, roots: Option<&[u8]>) -> Result<Self, Error> {
        let invalid = || Error::Invalid(format!("`{url}`: expected http://HOST:PORT or https://HOST:PORT"));
        let origin: Uri = url.parse().map_err(|_| invalid())?;
        let tls = match origin.scheme_str() {
            Some("http") => None,
            Some("https") => {
                let tls = Connector::new(roots, &[b"h2"]).map_err(|why| Error::Invalid(why.to_string()))?;
                Some(tls)
            }
            _ => return Err(invalid()),
        };
        let host = origin.host().filter(|host| !host.is_empty()).ok_or_else(invalid)?.into();
        let port = origin.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
        Ok(Self { origin, host, port, tls })
    }

    async fn dial(self) -> io::Result<TokioIo<Box<dyn Socket>>> {
        let bare = self.host.trim_start_matches('[').trim_end_matches(']');
        let socket = TcpStream::connect((bare, self.port)).await?;
        socket.set_nodelay(true)?;
        Ok(TokioIo::new(match self.tls {
            None => Box::new(socket),
            Some(tls) => Box::new(tls.connect(&self.host, socket).await?),
        }))
    }
}

/// What HTTP/2 runs on.
trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// Why no connection was made: what the socket said, which stands at the end of the chain.
fn unreachable(url: &str, why: &tonic::transport::Error) -> Error {
    let url = url.to_owned();
    match causes(why).find_map(|cause| cause.downcast_ref::<io::Error>()) {
        Some(cause) => match tls::distrust(cause) {
            Some(how) => Error::Untrusted { url, how },
            None => Error::Unreachable { url, why: cause.to_string() },
        },
        None => Error::Unreachable { url, why: causes(why).last().map_or_else(String::new, ToString::to_string) },
    }
}

/// What a status means: a refusal has the gateway's code; without it the library speaks of the connection.
fn failed(status: Status) -> Error {
    let text = |name: &str| status.metadata().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let name = text("pushline-code");
    if !name.is_empty() {
        return Error::Refused(Refusal {
            grpc: status.code() as u32,
            name: name.to_owned(),
            errno: text("pushline-errno").parse().unwrap_or(0),
            words: status.message().to_owned(),
        });
    }
    match causes(&status).last() {
        Some(cause) if !cause.is::<Status>() => Error::Unanswered(cause.to_string()),
        _ => Error::Unanswered(format!("{} ({})", status.message(), status.code())),
    }
}

/// An error and what caused it.
fn causes<'e>(error: &'e (dyn StdError + 'static)) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

#[cfg(test)]
mod tests {
    use super::{Backend, Error, Place};

    #[test]
    fn urls_are_read_or_refused() {
        for (url, host, port) in [
            ("http://127.0.0.1:7080", "127.0.0.1", 7080),
            ("http://[::1]:7080/", "[::1]", 7080),
            ("http://push.example", "push.example", 80),
        ] {
            let place = Place::read(url, None).unwrap_or_else(|why| panic!("{url}: {why}"));
            assert_eq!((&*place.host, place.port, place.tls.is_none()), (host, port, true), "{url}");
        }
        for url in ["", "127.0.0.1:7080", "localhost", "ftp://x:1", "http://", "http:// x", "/v1"] {
            assert!(matches!(Place::read(url, None), Err(Error::Invalid(_))), "{url}");
        }
        assert!(matches!(Place::read("https://x", Some(b"no pem")), Err(Error::Invalid(_))));
    }

    #[tokio::test]
    async fn nobody_there_is_said_in_the_words_of_the_network() {
        // Bound and let go: a port where nobody listens.
        let address = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let url = format!("http://{}", address.expect("loopback has ports"));
        let why = Backend::connect(&url, "key", None).await.err();
        assert!(matches!(&why, Some(Error::Unreachable { why, .. }) if why.contains("refused")), "{why:?}");
        let why = Backend::connect(&url, "k\ney", None).await.err();
        assert!(matches!(&why, Some(Error::Invalid(words)) if !words.contains("ney")), "{why:?}");
    }
}
