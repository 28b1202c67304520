//! One unary call of gRPC: a message there, a message back (gRPC over HTTP/2). It knows no message and no method.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, TE};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;

use crate::hook::ask::posted;
use crate::hook::dial::Dialer;
use crate::hook::{Error, explain, innermost};

/// Calls a method. `headers` are added to those of the protocol; the answer has at most `most` bytes. It sets no deadline of
/// its own, and tells the server of `within`.
pub(super) async fn call(
    client: &Client<Dialer, Full<Bytes>>,
    method: &Uri,
    headers: HeaderMap,
    message: &[u8],
    (within, most): (Duration, usize),
) -> Result<Bytes, Error> {
    let mut request = posted(method, "application/grpc", framed(message));
    request.headers_mut().extend(headers);
    request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
    let millis = u32::try_from(within.as_millis()).unwrap_or(TIMEOUT_MAX).min(TIMEOUT_MAX);
    if let Ok(value) = HeaderValue::from_str(&format!("{millis}m")) {
        request.headers_mut().insert("grpc-timeout", value);
    }
    let response = client.request(request).await.map_err(|error| explain(&error))?;
    if response.status() != StatusCode::OK {
        return Err(Error::Status(response.status().as_u16()));
    }
    let kind = response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    if !kind.starts_with(b"application/grpc") {
        return Err(Error::Unusable("it is not gRPC".to_owned()));
    }
    // A refusal may come without a body, in the headers.
    if let Some(status) = status(response.headers()).filter(|status| *status != 0) {
        return Err(Error::Grpc(status));
    }
    let mut body = response.into_body();
    let (mut kept, mut ended) = (BytesMut::new(), None);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Error::Broken(innermost(&error)))?;
        match frame.into_data() {
            Ok(piece) if kept.len() + piece.len() > most + PREFIX_BYTES => return Err(Error::TooLarge(most)),
            Ok(piece) => kept.extend_from_slice(&piece),
            Err(frame) => ended = frame.trailers_ref().and_then(status),
        }
    }
    match ended {
        Some(0) => unframed(kept.freeze()),
        Some(status) => Err(Error::Grpc(status)),
        None => Err(Error::Broken("it ended without a gRPC status".to_owned())),
    }
}

fn framed(message: &[u8]) -> Bytes {
    let mut body = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    body.put_u8(0);
    // A question has some kilobytes.
    body.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    body.extend_from_slice(message);
    body.freeze()
}

/// The one message of an answer. It was not asked for a compressed one.
fn unframed(body: Bytes) -> Result<Bytes, Error> {
    let is_one = body.len() >= PREFIX_BYTES
        && body[0] == 0
        && body[1..PREFIX_BYTES] == u32::try_from(body.len() - PREFIX_BYTES).unwrap_or(u32::MAX).to_be_bytes();
    if is_one { Ok(body.slice(PREFIX_BYTES..)) } else { Err(Error::Unusable("it is not one plain message".to_owned())) }
}

fn status(headers: &HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// Before a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;
/// The greatest value of `grpc-timeout` has eight digits.
const TIMEOUT_MAX: u32 = 99_999_999;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{framed, unframed};

    #[test]
    fn one_plain_message_is_taken() {
        for message in [&b""[..], b"x", b"hello"] {
            assert_eq!(unframed(framed(message)).unwrap(), message);
        }
        for bad in [
            &b""[..],
            b"\0\0\0\0",
            b"\0\0\0\0\x01",
            b"\x01\0\0\0\x01x",
            b"\0\0\0\0\x01xy",
            b"\0\xff\xff\xff\xffx",
            b"\0\0\0\0\0\0\0\0\0\0",
        ] {
            assert!(unframed(Bytes::from_static(bad)).is_err(), "{bad:?}");
        }
    }
}
