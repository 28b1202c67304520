//! Posts JSON to the webhooks of tenants, signed after Standard Webhooks, and asks business servers and identity providers
//! ([`Asker`]). It does not know what is in a post's body, and it tries once: who calls it decides what comes after a failure.
//!
//! The client is hyper-util's, which is in the program already for gRPC: it keeps connections open between posts, and
//! what it connects with is ours (`dial.rs`), so that TLS is the one of `tls`. It speaks HTTP/1.1: a webhook has one
//! post under way, or a few, and every receiver understands it.

mod ask;
mod dial;
mod grpc;
mod login;
mod place;
mod secret;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use self::dial::Dialer;
use crate::model::clock::Timestamp;
use crate::tls::{self, Connector};

pub use self::ask::{Asker, PAGE_BYTES_MAX, Page};
pub use self::login::{BusinessServer, Found, LOGIN_BYTES_MAX, Question, Sealed};
pub use self::place::{PLACE_BYTES_MAX, Place, PlaceError};
pub use self::secret::{Secret, SecretError};

/// Bounds of posting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// A post that is not answered within this time has failed: from connecting to the last byte of the answer.
    pub timeout: Duration,
    /// PEM file with certificates to trust besides the system's.
    pub ca: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(15), ca: None }
    }
}

impl Options {
    /// Trusts the system's certificates and those of the file.
    fn connector(&self, protocols: &[&[u8]]) -> Result<Connector, SetupError> {
        let read = |path: &PathBuf| std::fs::read(path).map_err(|error| SetupError::Ca(path.clone(), error));
        let more = self.ca.as_ref().map(read).transpose()?;
        Ok(Connector::besides_system(more.as_deref(), protocols)?)
    }
}

/// Why nothing can be posted at all.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The file with certificates cannot be read.
    #[error("the certificates to trust for webhooks cannot be read from {0}: {1}")]
    Ca(PathBuf, io::Error),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] tls::Error),
}

/// Why a post or a question was not answered. Its words name no path and no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No connection: no such host, nobody listens, the certificate is not trusted.
    #[error("no connection: {0}")]
    Unreachable(String),
    /// No answer in time.
    #[error("no answer within {} s", .0.as_secs_f64())]
    Late(Duration),
    /// The connection broke off, or what came is not HTTP.
    #[error("no answer: {0}")]
    Broken(String),
    /// The answer is another status than success.
    #[error("answered with status {0}")]
    Status(u16),
    /// The answer is a failure of gRPC.
    #[error("answered with gRPC status {0}")]
    Grpc(u32),
    /// The answer goes on beyond what is read.
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
    /// The answer is not what was asked for.
    #[error("the answer cannot be used: {0}")]
    Unusable(String),
}

/// One request.
#[derive(Clone, Debug)]
pub struct Post<'a> {
    /// Where to.
    pub place: &'a Place,
    /// Signs it.
    pub secret: &'a Secret,
    /// What the receiver knows a repeat by: the same in every try. Printable ASCII without a full stop.
    pub id: &'a str,
    /// When it is sent; the receiver refuses what is too old.
    pub at: Timestamp,
    /// JSON.
    pub body: Bytes,
}

/// What a receiver said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status. A redirect is an answer like any other: it is not followed, since what is signed for one receiver is
    /// not for another.
    pub status: u16,
    /// The first [`ANSWER_BYTES_MAX`] bytes of the body.
    pub body: Bytes,
    /// The receiver asks to be left alone for so long.
    pub retry_after: Option<Duration>,
}

impl Answer {
    /// Whether the receiver took it.
    #[must_use]
    pub const fn taken(&self) -> bool {
        matches!(self.status, 200..300)
    }
}

/// Posts. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Poster {
    client: Client<Dialer, Full<Bytes>>,
    timeout: Duration,
}

impl Poster {
    /// One that obeys the options.
    ///
    /// # Errors
    /// [`SetupError`] says what is wrong with the certificates.
    pub fn new(options: &Options) -> Result<Self, SetupError> {
        let tls = options.connector(&[b"http/1.1"])?;
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(IDLE_PER_PLACE_MAX)
            // What was sent may have been taken: whether to send it again is decided by who knows that.
            .retry_canceled_requests(false)
            .http1_max_buf_size(HEADER_BYTES_MAX)
            .build(Dialer::new(Arc::new(tls)));
        Ok(Self { client, timeout: options.timeout })
    }

    /// Posts once. May be dropped at any time; the receiver may have got it all the same.
    ///
    /// # Errors
    /// [`Error`] when there was no answer. An answer that refuses is none.
    pub async fn post(&self, post: Post<'_>) -> Result<Answer, Error> {
        let asked = tokio::time::timeout(self.timeout, self.ask(post));
        asked.await.unwrap_or(Err(Error::Late(self.timeout)))
    }

    async fn ask(&self, post: Post<'_>) -> Result<Answer, Error> {
        let response = self.client.request(request(post)).await.map_err(|error| explain(&error))?;
        let (status, retry_after) = (response.status().as_u16(), retry_after(response.headers()));
        Ok(Answer { status, body: beginning(response.into_body()).await?, retry_after })
    }
}

fn request(post: Post<'_>) -> Request<Full<Bytes>> {
    let seconds = post.at.as_millis() / 1000;
    let signature = post.secret.sign(post.id, seconds, &post.body);
    let mut request = Request::new(Full::new(post.body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = post.place.uri().clone();
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    seal(headers, post.id, seconds, &signature);
    request
}

/// Adds the headers of Standard Webhooks.
fn seal(headers: &mut HeaderMap, id: &str, seconds: u64, signature: &str) {
    headers.insert("webhook-timestamp", HeaderValue::from(seconds));
    for (name, text) in [("webhook-id", id), ("webhook-signature", signature)] {
        // Ids are ours and signatures are base64: both are printable ASCII.
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.insert(name, value);
        }
    }
}

/// What a failed request is to its caller.
fn explain(error: &hyper_util::client::legacy::Error) -> Error {
    let words = innermost(error);
    if error.is_connect() { Error::Unreachable(words) } else { Error::Broken(words) }
}

/// The beginning of a body. The rest of a longer one is not read: its connection is not used again.
async fn beginning(mut body: Incoming) -> Result<Bytes, Error> {
    let mut kept = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Error::Broken(innermost(&error)))?;
        let Ok(piece) = frame.into_data() else { continue };
        let room = ANSWER_BYTES_MAX - kept.len();
        kept.extend_from_slice(&piece[..piece.len().min(room)]);
        if piece.len() > room {
            break;
        }
    }
    Ok(kept.into())
}

/// What `Retry-After` says, if it is a number of seconds (RFC 9110, section 10.2.3); a date is passed over.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// What lies at the bottom of an error: the layers above it say only that they failed.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut deepest = error.source();
    while let Some(deeper) = deepest.and_then(|error| error.source()) {
        deepest = Some(deeper);
    }
    deepest.map_or_else(|| error.to_string(), ToString::to_string)
}

/// What requests say of who sends them.
const AGENT: &str = concat!("pushline/", env!("CARGO_PKG_VERSION"));
/// Most of an answer's body that is kept. A guess: an outcome is at most 256 bytes, and words of a fault are as long.
pub const ANSWER_BYTES_MAX: usize = 4 * 1024;
/// How long a connection is kept for the next post. Below the minute after which many servers close theirs.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Connections to one place that are kept: as many as have a post under way at most.
const IDLE_PER_PLACE_MAX: usize = 16;
/// Headers of an answer. More: the post has failed. hyper takes no smaller buffer.
const HEADER_BYTES_MAX: usize = 8 * 1024;
