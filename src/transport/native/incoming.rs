//! A request on a short stream, read to its end, and what its headers must say. It reads nothing itself.

use bytes::Bytes;
use http::{HeaderValue, Method as Verb, Request as Head, header};

use crate::model::fault::{Code, Fault};
use crate::model::frame::Request;
use crate::wire::device::{self, Method, json};
use crate::wire::grpc;

/// A short stream, by the number of its HTTP/2 stream.
pub(super) type ShortId = u32;

/// How a request is written, and its answer after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// gRPC framing.
    Grpc,
    /// Plain HTTP with JSON: what needs no session only.
    Json,
}

impl Form {
    /// That of requests with this path.
    pub(super) fn of(path: &str) -> Self {
        if path.starts_with("/v1/") { Self::Json } else { Self::Grpc }
    }
}

/// A request to answer.
pub(super) struct Incoming {
    pub(super) id: ShortId,
    pub(super) method: Method,
    pub(super) form: Form,
    /// Token of the `authorization` header.
    pub(super) bearer: Option<String>,
    pub(super) body: Bytes,
}

impl Incoming {
    /// Checks what was read. `exceeded` is the limit that the body went beyond.
    pub(super) fn checked(id: ShortId, head: &Head<()>, body: Bytes, exceeded: Option<usize>) -> Result<Self, Fault> {
        let form = Form::of(head.uri().path());
        let method = match form {
            Form::Grpc => called(head)?,
            Form::Json => posted(head)?,
        };
        if let Some(limit) = exceeded {
            return Err(Fault::new(Code::RequestTooLarge, format!("the request has more than {limit} bytes")));
        }
        let bearer = head.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let bearer = bearer.and_then(|value| value.strip_prefix("Bearer ")).map(str::to_owned);
        Ok(Self { id, method, form, bearer, body })
    }

    /// Reads the body. `Open` is not for this.
    pub(super) fn decoded(self, limit: usize) -> Result<Request, Fault> {
        match self.form {
            Form::Grpc => device::request(self.method, self.body, limit),
            Form::Json => json::request(self.method, &self.body),
        }
    }
}

/// The method that a gRPC request calls.
fn called(head: &Head<()>) -> Result<Method, Fault> {
    let rest = content_type(head).strip_prefix(grpc::CONTENT_TYPE.as_bytes());
    if !matches!(rest.map(<[u8]>::first), Some(None | Some(b'+' | b';'))) || rest == Some(b"+json") {
        let words = "send content-type application/grpc or application/grpc+proto";
        return Err(Fault::new(Code::UnsupportedMediaType, words));
    }
    let Some(method) = Method::from_path(head.uri().path()) else {
        let words = "this service has Login, Challenge, Open, Ack, Subscribe, Unsubscribe, Update, Dismiss, Renew";
        return Err(Fault::new(Code::UnknownMethod, words));
    };
    if head.method() != Verb::POST {
        return Err(Fault::new(Code::MethodNotAllowed, "gRPC requests are POST requests"));
    }
    Ok(method)
}

/// The method that a JSON request calls.
fn posted(head: &Head<()>) -> Result<Method, Fault> {
    let Some(method) = json::method(head.uri().path()) else {
        let words = "devices have POST /v1/login and POST /v1/challenge here; all else is gRPC";
        return Err(Fault::new(Code::UnknownMethod, words));
    };
    if head.method() != Verb::POST {
        return Err(Fault::new(Code::MethodNotAllowed, "send it with POST"));
    }
    let rest = content_type(head).strip_prefix(b"application/json");
    if !matches!(rest.map(<[u8]>::trim_ascii_start).map(<[u8]>::first), Some(None | Some(b';'))) {
        return Err(Fault::new(Code::UnsupportedMediaType, "send content-type application/json"));
    }
    Ok(method)
}

fn content_type(head: &Head<()>) -> &[u8] {
    head.headers().get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Request;

    use super::{Form, Incoming};
    use crate::model::fault::Code;
    use crate::wire::device::Method;

    fn checked(verb: &str, path: &str, content_type: &str) -> Result<(Method, Form), Code> {
        let head = Request::builder().method(verb).uri(path).header("content-type", content_type);
        let incoming = Incoming::checked(1, &head.body(()).expect("a request"), Bytes::new(), None);
        incoming.map(|incoming| (incoming.method, incoming.form)).map_err(|fault| fault.code)
    }

    #[test]
    fn a_path_decides_what_is_called_and_how_it_is_written() {
        let (grpc, json) = ("application/grpc", "application/json");
        for (verb, path, content_type, expected) in [
            ("POST", "/pushline.v1.Device/Login", grpc, Ok((Method::Login, Form::Grpc))),
            ("POST", "/pushline.v1.Device/Open", "application/grpc+proto", Ok((Method::Open, Form::Grpc))),
            ("POST", "/v1/login", json, Ok((Method::Login, Form::Json))),
            ("POST", "/v1/challenge", "application/json; charset=utf-8", Ok((Method::Challenge, Form::Json))),
            ("GET", "/v1/login", json, Err(Code::MethodNotAllowed)),
            ("POST", "/v1/login", "application/jsonp", Err(Code::UnsupportedMediaType)),
            ("POST", "/v1/login", grpc, Err(Code::UnsupportedMediaType)),
            ("POST", "/v1/push", json, Err(Code::UnknownMethod)),
            ("POST", "/pushline.v1.Device/Login", json, Err(Code::UnsupportedMediaType)),
            ("POST", "/pushline.v1.Device/Nothing", grpc, Err(Code::UnknownMethod)),
            ("GET", "/pushline.v1.Device/Login", grpc, Err(Code::MethodNotAllowed)),
        ] {
            assert_eq!(checked(verb, path, content_type), expected, "{verb} {path} {content_type}");
        }
    }
}
