//! Fetches a page, bounded in size and time, and keeps the connections that questions travel on. It decides nothing about
//! what a page says.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AGE, CACHE_CONTROL, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::hook::dial::Dialer;
use crate::hook::{
    AGENT, Error, HEADER_BYTES_MAX, IDLE_MAX, IDLE_PER_PLACE_MAX, Options, Place, SetupError, explain, innermost,
};

/// A page larger than this is not taken. A guess: the keys of the largest providers, certificates and all, have 30 KiB.
pub const PAGE_BYTES_MAX: usize = 256 * 1024;

/// A page as it was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// All of it.
    pub body: Bytes,
    /// For how long it may be kept by what the server says; `None` when it does not say.
    pub fresh_for: Option<Duration>,
}

/// Asks those that logins depend on: fetches pages, puts questions. Cheap to clone; clones share their connections, which
/// are others than those of webhooks.
#[derive(Clone)]
pub struct Asker {
    /// HTTP/1.1.
    pub(super) plain: Client<Dialer, Full<Bytes>>,
    /// HTTP/2, for gRPC.
    pub(super) grpc: Client<Dialer, Full<Bytes>>,
}

impl Asker {
    /// One that trusts what the options say; their timeout is not its own: each question brings one.
    ///
    /// # Errors
    /// [`SetupError`] says what is wrong with the certificates.
    pub fn new(options: &Options) -> Result<Self, SetupError> {
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(IDLE_PER_PLACE_MAX)
            // A connection that the server closed just now: a question may be put twice.
            .retry_canceled_requests(true)
            .http1_max_buf_size(HEADER_BYTES_MAX)
            .http2_max_header_list_size(HTTP2_HEADER_BYTES_MAX)
            // A server that went away without a word is noticed; questions would wait for it in vain until TCP gives up.
            .http2_keep_alive_interval(PING_INTERVAL)
            .http2_keep_alive_timeout(PING_TIMEOUT);
        let plain = builder.build(Dialer::new(Arc::new(options.connector(&[b"http/1.1"])?)));
        let grpc = builder.http2_only(true).build(Dialer::new(Arc::new(options.connector(&[b"h2"])?)));
        Ok(Self { plain, grpc })
    }

    /// Fetches a page, of JSON by preference. Redirects are not followed: whoever could answer with one could lead the
    /// gateway anywhere in its network.
    ///
    /// # Errors
    /// [`Error`] when there was no answer with status 200, or not in time, or it is too large.
    pub async fn fetch(&self, place: &Place, within: Duration) -> Result<Page, Error> {
        let fetched = tokio::time::timeout(within, async {
            let mut request = Request::new(Full::default());
            *request.uri_mut() = place.uri().clone();
            request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
            request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(AGENT));
            let response = self.plain.request(request).await.map_err(|error| explain(&error))?;
            if response.status() != http::StatusCode::OK {
                return Err(Error::Status(response.status().as_u16()));
            }
            let fresh_for = fresh_for(response.headers());
            Ok(Page { body: whole(response.into_body(), PAGE_BYTES_MAX).await?, fresh_for })
        });
        fetched.await.unwrap_or(Err(Error::Late(within)))
    }
}

/// A request with a body.
pub(super) fn posted(place: &http::Uri, kind: &'static str, body: Bytes) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = place.clone();
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(AGENT));
    request
}

/// A whole body of at most `most` bytes.
pub(super) async fn whole(mut body: Incoming, most: usize) -> Result<Bytes, Error> {
    let mut kept = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Error::Broken(innermost(&error)))?;
        let Ok(piece) = frame.into_data() else { continue };
        if kept.len() + piece.len() > most {
            return Err(Error::TooLarge(most));
        }
        kept.extend_from_slice(&piece);
    }
    Ok(kept.into())
}

/// For how long an answer is fresh (RFC 9111, section 4.2), as far as its words are those of this sort of server.
fn fresh_for(headers: &HeaderMap) -> Option<Duration> {
    let words = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let words: Vec<_> = words.flat_map(|value| value.split(',')).map(|word| word.trim().to_ascii_lowercase()).collect();
    if words.iter().any(|word| word == "no-store" || word == "no-cache") {
        return Some(Duration::ZERO);
    }
    let seconds = |text: &str| text.trim().trim_matches('"').parse::<u64>().ok();
    let life = words.iter().find_map(|word| seconds(word.strip_prefix("max-age=")?))?;
    let age = headers.get(AGE).and_then(|value| seconds(value.to_str().ok()?)).unwrap_or(0);
    Some(Duration::from_secs(life.saturating_sub(age)))
}

/// Headers of an answer on HTTP/2.
const HTTP2_HEADER_BYTES_MAX: u32 = 8 * 1024;
/// How often a connection with questions on it is tried, and how long an answer may take. Guesses, well below the time
/// after which a device gives up.
const PING_INTERVAL: Duration = Duration::from_secs(5);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderMap;

    use super::fresh_for;

    #[test]
    fn freshness_is_read_from_the_headers() {
        for (headers, seconds) in [
            (&[][..], None),
            (&[("cache-control", "max-age=600")], Some(600)),
            (&[("cache-control", "public, Max-Age=600, must-revalidate")], Some(600)),
            (&[("cache-control", "public"), ("cache-control", "max-age=\"60\"")], Some(60)),
            (&[("cache-control", "max-age=600"), ("age", "100")], Some(500)),
            (&[("cache-control", "max-age=600"), ("age", "1000")], Some(0)),
            (&[("cache-control", "no-store, max-age=600")], Some(0)),
            (&[("cache-control", "no-cache")], Some(0)),
            (&[("cache-control", "max-age=soon")], None),
            (&[("cache-control", "s-maxage=5")], None),
            (&[("cache-control", "max-age=99999999999999999999")], None),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(*name, value.parse().unwrap());
            }
            assert_eq!(fresh_for(&map), seconds.map(Duration::from_secs), "{headers:?}");
        }
    }
}
