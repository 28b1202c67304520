//! What ends a short stream of the edge: the heads and the bytes of answers and refusals, in gRPC or JSON. It sends nothing.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use crate::model::fault::{Code, Fault};
use crate::model::frame::Answer;
use crate::transport::native::incoming::Form;
use crate::transport::native::retry;
use crate::wire::device::{self, json};
use crate::wire::grpc;

/// What ends a short stream.
pub(super) enum Reply {
    /// Headers, one message, trailers with END_STREAM.
    Message(Bytes),
    /// Headers only, with END_STREAM.
    Refusal(Box<Response<()>>),
    /// Headers and a body with END_STREAM.
    Whole(Box<Response<()>>, Bytes),
}

impl Reply {
    /// The answer to a request of this form.
    pub(super) fn answer(form: Form, answer: Answer) -> Self {
        match form {
            Form::Grpc => Self::Message(device::answer(answer)),
            Form::Json => Self::Whole(document(StatusCode::OK), json::answer(&answer)),
        }
    }

    /// The refusal of a request of this form.
    pub(super) fn refusal(form: Form, fault: &Fault) -> Self {
        match form {
            Form::Grpc => Self::Refusal(status(fault)),
            Form::Json => {
                let status = StatusCode::from_u16(fault.code.http()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                let mut head = document(status);
                head.headers_mut().extend(retry::headers(fault));
                if status == StatusCode::UNAUTHORIZED {
                    // RFC 9110, section 15.5.2, wants a word of what is missing.
                    head.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                }
                Self::Whole(head, json::fault(fault))
            }
        }
    }
}

/// The head of a gRPC answer.
pub(super) fn response() -> Response<()> {
    let mut response = Response::new(());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(grpc::CONTENT_TYPE));
    response
}

/// What ends a gRPC answer.
pub(super) fn trailers(status: u16) -> HeaderMap {
    HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from(status))])
}

/// A gRPC refusal: one head that says all.
fn status(fault: &Fault) -> Box<Response<()>> {
    let mut refusal = response();
    if fault.code == Code::UnsupportedMediaType {
        *refusal.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    }
    let headers = refusal.headers_mut();
    headers.extend(trailers(fault.code.grpc() as u16));
    headers.extend(retry::headers(fault));
    if fault.code == Code::UnsupportedEncoding {
        // gRPC's document on compression: this refusal tells what is taken.
        headers.insert("grpc-accept-encoding", HeaderValue::from_static("identity"));
    }
    headers.insert("pushline-code", HeaderValue::from_static(fault.code.name()));
    headers.insert("pushline-errno", HeaderValue::from(fault.code.errno()));
    if let Ok(words) = HeaderValue::try_from(grpc::encode_words(&fault.words)) {
        headers.insert("grpc-message", words);
    }
    Box::new(refusal)
}

/// The head of a JSON answer. What it holds is a secret of the device: no cache may keep it.
fn document(status: StatusCode) -> Box<Response<()>> {
    let mut response = Response::new(());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Box::new(response)
}
