//! What a gRPC answer's head and trailers say, and what an HTTP/2 error means, as errors of this client. No I/O.

use http::{HeaderMap, StatusCode, header};

use crate::client::error::{Error, Refusal};
use crate::wire::grpc;

/// Reads an answer's head. `Ok` when its body is to be read; an answer may also end right here.
pub(super) fn head(status: StatusCode, headers: &HeaderMap) -> Result<(), Error> {
    if headers.contains_key("grpc-status") {
        return trailers(headers).and_then(|()| Err(Error::Protocol("an answer has a status and no message".into())));
    }
    if status != StatusCode::OK {
        let words = format!("the peer answered with HTTP status {status}; is this a Pushline gateway?");
        return Err(Error::Refused(Refusal { grpc: grpc_of_http(status), words, ..Refusal::default() }));
    }
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if content_type.starts_with(grpc::CONTENT_TYPE) {
        Ok(())
    } else {
        Err(Error::Protocol(format!("an answer has content type {content_type:?}; is this a Pushline gateway?")))
    }
}

/// Reads trailers: `Ok` when the call succeeded.
pub(super) fn trailers(headers: &HeaderMap) -> Result<(), Error> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match text("grpc-status").parse() {
        Ok(0) => Ok(()),
        Ok(grpc) => Err(Error::Refused(Refusal {
            grpc,
            name: text("pushline-code").to_owned(),
            errno: text("pushline-errno").parse().unwrap_or(0),
            words: grpc::decode_words(text("grpc-message")),
            retry_after: Refusal::retry_after(text("grpc-retry-pushback-ms")),
        })),
        Err(_) => Err(Error::Protocol("an answer ends without a gRPC status".into())),
    }
}

/// What an HTTP/2 error means. A stream that was reset was refused, the connection lives; anything else ends it.
pub(super) fn http2(why: &h2::Error) -> Error {
    match why.reason() {
        Some(reason) if why.is_reset() && why.is_remote() => Error::Refused(Refusal {
            grpc: grpc_of_reset(reason),
            words: format!("the gateway reset the stream: {reason}"),
            ..Refusal::default()
        }),
        Some(reason) if why.is_library() => Error::Protocol(format!("HTTP/2: {reason}")),
        Some(reason) if why.is_go_away() => Error::Network(format!("the gateway went away: {reason}")),
        _ => Error::Network(why.to_string()),
    }
}

/// The mapping of "gRPC over HTTP2", section "Errors".
const fn grpc_of_reset(reason: h2::Reason) -> u32 {
    match reason {
        h2::Reason::REFUSED_STREAM => 14,
        h2::Reason::CANCEL => 1,
        h2::Reason::ENHANCE_YOUR_CALM => 8,
        h2::Reason::INADEQUATE_SECURITY => 7,
        _ => 13,
    }
}

/// The mapping of gRPC's "HTTP to gRPC Status Code Mapping".
const fn grpc_of_http(status: StatusCode) -> u32 {
    match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

    use super::{head, trailers};
    use crate::client::error::{Error, Refusal};

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair =
            |&(name, value): &(&'static str, _)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn a_refusal_is_read_from_the_trailers() {
        let refused = headers(&[
            ("grpc-status", "16"),
            ("grpc-message", "the token %C3%A9xpired"),
            ("pushline-code", "expired_token"),
            ("pushline-errno", "203"),
        ]);
        let words = "the token \u{e9}xpired".to_owned();
        let expected = Refusal { grpc: 16, name: "expired_token".into(), errno: 203, words, ..Refusal::default() };
        let expected = Error::Refused(expected);
        assert_eq!(trailers(&refused), Err(expected.clone()));
        assert_eq!(head(StatusCode::OK, &refused), Err(expected));
        assert_eq!(trailers(&headers(&[("grpc-status", "0")])), Ok(()));
    }

    #[test]
    fn a_refusal_tells_when_to_come_again() {
        let waits = |pushback| {
            let refused = headers(&[("grpc-status", "8"), ("grpc-retry-pushback-ms", pushback)]);
            match trailers(&refused) {
                Err(Error::Refused(refusal)) => refusal.retry_after,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(waits("1200"), Some(Duration::from_millis(1_200)));
        assert_eq!((waits(""), waits("-1"), waits("soon")), (None, None, None));
    }

    #[test]
    fn what_is_not_grpc_is_said_to_be_so() {
        assert!(matches!(trailers(&headers(&[])), Err(Error::Protocol(_))));
        assert!(matches!(trailers(&headers(&[("grpc-status", "x")])), Err(Error::Protocol(_))));
        assert!(matches!(head(StatusCode::OK, &headers(&[("content-type", "text/html")])), Err(Error::Protocol(_))));
        assert!(matches!(head(StatusCode::OK, &headers(&[("grpc-status", "0")])), Err(Error::Protocol(_))));
        assert_eq!(head(StatusCode::OK, &headers(&[("content-type", "application/grpc+proto")])), Ok(()));
        for (status, temporary) in [(503, true), (502, true), (500, true), (404, false), (401, false)] {
            let status = StatusCode::from_u16(status).expect("a status");
            let why = head(status, &headers(&[])).expect_err("this must be refused");
            assert_eq!(why.is_temporary(), temporary, "{why}");
        }
    }
}
