//! Where a webhook is: an http or https URL that was checked. It does not look up names.

use std::fmt;

use http::Uri;

/// Longest URL of a webhook.
pub const PLACE_BYTES_MAX: usize = 2048;

/// A URL to post to.
#[derive(Clone, PartialEq, Eq)]
pub struct Place(Uri);

/// Why a URL was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// More than [`PLACE_BYTES_MAX`] bytes.
    #[error("it has more than {PLACE_BYTES_MAX} bytes")]
    TooLong,
    /// Not of the form of a URL.
    #[error("it is not a URL of the form `https://host/path`")]
    Form,
    /// Another scheme.
    #[error("it is neither http nor https")]
    Scheme,
    /// `user:password@` before the host.
    #[error("it has a user or a password in it; requests are signed with the webhook's secret instead")]
    Credentials,
    /// `#...` at the end.
    #[error("it has a fragment (`#`), which is never sent; leave it out")]
    Fragment,
    /// A gRPC server that is named otherwise than by host and port.
    #[error("a gRPC server is named by host and port only: `grpc://HOST:PORT` or, with TLS, `grpcs://HOST:PORT`")]
    Method,
}

impl Place {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, PlaceError> {
        if text.len() > PLACE_BYTES_MAX {
            return Err(PlaceError::TooLong);
        }
        if text.contains('#') {
            return Err(PlaceError::Fragment);
        }
        let uri: Uri = text.parse().map_err(|_| PlaceError::Form)?;
        let authority = uri.authority().filter(|authority| !authority.host().is_empty()).ok_or(PlaceError::Form)?;
        if authority.as_str().contains('@') {
            return Err(PlaceError::Credentials);
        }
        // A port that is no number is left out by the parser, and would silently become another one.
        let port = authority.as_str()[authority.host().len()..].strip_prefix(':');
        if port.is_some_and(|port| port.parse::<u16>().is_err()) {
            return Err(PlaceError::Form);
        }
        match uri.scheme_str() {
            Some("http" | "https") => Ok(Self(uri)),
            _ => Err(PlaceError::Scheme),
        }
    }

    /// Whether what is sent there is encrypted.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.0.scheme() == Some(&http::uri::Scheme::HTTPS)
    }

    pub(super) const fn uri(&self) -> &Uri {
        &self.0
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Without the path, which may hold what only the receiver should know.
impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.authority().map_or("", |authority| authority.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::{PLACE_BYTES_MAX, Place, PlaceError};

    #[test]
    fn places_are_checked() {
        for good in
            ["http://localhost", "https://a.example:8443/x?y=z", "http://[::1]:80/", "HTTPS://a/", "http://10.0.0.1/a"]
        {
            assert!(Place::parse(good).is_ok(), "{good}");
        }
        let long = format!("http://a/{}", "x".repeat(PLACE_BYTES_MAX));
        for (bad, why) in [
            ("", PlaceError::Form),
            ("a.example/x", PlaceError::Form),
            ("/x", PlaceError::Form),
            ("http://", PlaceError::Form),
            ("http://a:x/", PlaceError::Form),
            ("http://a:99999/", PlaceError::Form),
            ("http://a b/", PlaceError::Form),
            ("http://a/\r\nx: y", PlaceError::Form),
            ("ftp://a/", PlaceError::Scheme),
            ("unix:///a", PlaceError::Form),
            ("http://u:p@a/", PlaceError::Credentials),
            ("http://a/#x", PlaceError::Fragment),
            (&long, PlaceError::TooLong),
        ] {
            assert_eq!(Place::parse(bad), Err(why), "{bad}");
        }
        let place = Place::parse("https://a.example/secret-path").expect("a place");
        assert_eq!(
            (format!("{place:?}"), place.to_string()),
            ("a.example".into(), "https://a.example/secret-path".into())
        );
    }
}
