//! Where a gateway takes backends, and how to get there: TCP, with TLS where the URL says so. It speaks no HTTP.

use std::io;
use std::sync::Arc;

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::client::backend::error::{Error, causes};
use crate::tls::{self, Connector};

/// Where a gateway is and how to get there.
#[derive(Clone)]
pub(super) struct Place {
    /// What the user wrote, less a path: `:scheme` and `:authority` of requests.
    pub(super) origin: Uri,
    /// A name or an address, the latter in brackets when it is one of IPv6.
    pub(super) host: Arc<str>,
    pub(super) port: u16,
    /// `None` for plain HTTP/2.
    tls: Option<Connector>,
}

impl Place {
    /// Reads where it is. `certificate`: what to show there, chain and private key as PEM.
    pub(super) fn read(url: &str, roots: Option<&[u8]>, certificate: Option<(&[u8], &[u8])>) -> Result<Self, Error> {
        let invalid = || Error::Invalid(format!("`{url}`: expected http://HOST:PORT or https://HOST:PORT"));
        let origin: Uri = url.parse().map_err(|_| invalid())?;
        let tls = match origin.scheme_str() {
            Some("http") if certificate.is_some() => {
                let words = format!("`{url}`: a certificate is shown over https only");
                return Err(Error::Invalid(words));
            }
            Some("http") => None,
            Some("https") => {
                let tls = match certificate {
                    None => Connector::new(roots, &[b"h2"]),
                    Some((chain, key)) => Connector::identified(roots, &[b"h2"], chain, key),
                };
                Some(tls.map_err(|why| Error::Invalid(why.to_string()))?)
            }
            _ => return Err(invalid()),
        };
        let host = origin.host().filter(|host| !host.is_empty()).ok_or_else(invalid)?.into();
        let port = origin.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
        Ok(Self { origin, host, port, tls })
    }

    pub(super) async fn dial(self) -> io::Result<TokioIo<Box<dyn Socket>>> {
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
pub(super) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// Why no connection was made: what the socket said, which stands at the end of the chain.
pub(super) fn unreachable(url: &str, why: &tonic::transport::Error) -> Error {
    let url = url.to_owned();
    match causes(why).find_map(|cause| cause.downcast_ref::<io::Error>()) {
        Some(cause) => match tls::distrust(cause) {
            Some(how) => Error::Untrusted { url, how },
            None => Error::Unreachable { url, why: cause.to_string() },
        },
        None => Error::Unreachable { url, why: causes(why).last().map_or_else(String::new, ToString::to_string) },
    }
}

#[cfg(test)]
mod tests {
    use super::{Error, Place};

    #[test]
    fn urls_are_read_or_refused() {
        for (url, host, port) in [
            ("http://127.0.0.1:7080", "127.0.0.1", 7080),
            ("http://[::1]:7080/", "[::1]", 7080),
            ("http://push.example", "push.example", 80),
        ] {
            let place = Place::read(url, None, None).unwrap_or_else(|why| panic!("{url}: {why}"));
            assert_eq!((&*place.host, place.port, place.tls.is_none()), (host, port, true), "{url}");
        }
        for url in ["", "127.0.0.1:7080", "localhost", "ftp://x:1", "http://", "http:// x", "/v1"] {
            assert!(matches!(Place::read(url, None, None), Err(Error::Invalid(_))), "{url}");
        }
        assert!(matches!(Place::read("https://x", Some(b"no pem"), None), Err(Error::Invalid(_))));
        for url in ["http://x", "https://x"] {
            let certificate = Some((&b"no pem"[..], &b"no pem"[..]));
            assert!(matches!(Place::read(url, None, certificate), Err(Error::Invalid(_))), "{url}");
        }
    }
}
