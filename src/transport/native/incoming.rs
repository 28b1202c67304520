//! A request on a short stream, read to its end, and what its headers must say. It reads nothing itself.

use bytes::Bytes;
use http::{HeaderValue, Method as Verb, Request, header};

use crate::model::fault::{Code, Fault};
use crate::wire::device::Method;
use crate::wire::grpc;

/// A short stream, by the number of its HTTP/2 stream.
pub(super) type ShortId = u32;

/// A request to answer.
pub(super) struct Incoming {
    pub(super) id: ShortId,
    pub(super) method: Method,
    /// Token of the `authorization` header.
    pub(super) bearer: Option<String>,
    pub(super) body: Bytes,
}

impl Incoming {
    /// Checks what was read. `exceeded` is the limit that the body went beyond.
    pub(super) fn checked(
        id: ShortId,
        head: &Request<()>,
        body: Bytes,
        exceeded: Option<usize>,
    ) -> Result<Self, Fault> {
        let headers = head.headers();
        let content_type = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        let rest = content_type.strip_prefix(grpc::CONTENT_TYPE.as_bytes());
        if !matches!(rest.map(<[u8]>::first), Some(None | Some(b'+' | b';'))) || rest == Some(b"+json") {
            let words = "send content-type application/grpc or application/grpc+proto";
            return Err(Fault::new(Code::UnsupportedMediaType, words));
        }
        let Some(method) = Method::from_path(head.uri().path()) else {
            return Err(Fault::new(Code::UnknownMethod, "this service has Open, Ack, Subscribe, Unsubscribe, Update"));
        };
        if head.method() != Verb::POST {
            return Err(Fault::new(Code::MethodNotAllowed, "gRPC requests are POST requests"));
        }
        if let Some(limit) = exceeded {
            return Err(Fault::new(Code::RequestTooLarge, format!("the request has more than {limit} bytes")));
        }
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let bearer = bearer.and_then(|value| value.strip_prefix("Bearer ")).map(str::to_owned);
        Ok(Self { id, method, bearer, body })
    }
}
