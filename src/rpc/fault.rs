//! Faults as the two surfaces of the backend side write them: a gRPC status with trailers, an HTTP answer with a JSON
//! body. Which code a fault has is decided elsewhere.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::json;
use tonic::metadata::MetadataMap;

use crate::model::fault::{Code, Fault};
use crate::wire::pb;

/// Trailer with the stable word of a fault.
pub(super) const CODE_TRAILER: &str = "pushline-code";
/// Trailer with the stable number of a fault.
pub(super) const ERRNO_TRAILER: &str = "pushline-errno";
/// Trailer with the milliseconds that a client that tries again by itself waits (gRFC A6).
const PUSHBACK_TRAILER: &str = "grpc-retry-pushback-ms";

/// The fault as a gRPC status with its two trailers.
pub(super) fn to_status(fault: &Fault) -> tonic::Status {
    let mut trailers = HeaderMap::with_capacity(5);
    if fault.code == Code::UnsupportedEncoding {
        // gRPC's document on compression: this refusal tells what is taken.
        trailers.insert("grpc-accept-encoding", HeaderValue::from_static("identity"));
    }
    trailers.insert(CODE_TRAILER, HeaderValue::from_static(fault.code.name()));
    trailers.insert(ERRNO_TRAILER, HeaderValue::from(fault.code.errno()));
    if let (Some(seconds), Some(millis)) = (fault.wait_seconds(), fault.wait_millis()) {
        trailers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        trailers.insert(PUSHBACK_TRAILER, HeaderValue::from(millis));
    }
    let code = tonic::Code::from_i32(fault.code.grpc() as i32);
    tonic::Status::with_metadata(code, fault.words.as_ref(), MetadataMap::from_headers(trailers))
}

/// What the gRPC library itself refused, before or instead of a handler. Our handlers give statuses none of these
/// meanings without a trailer, so the status alone tells what happened. `too_large`: what a message of this method that
/// is too long is called.
pub(super) fn from_status(status: &tonic::Status, too_large: Code) -> Fault {
    let code = match status.code() {
        tonic::Code::OutOfRange => too_large,
        tonic::Code::Unimplemented => Code::UnsupportedEncoding,
        _ => Code::Malformed,
    };
    Fault::new(code, status.message().to_owned())
}

/// Gives an answer that the gRPC library refused by itself the trailers that every refusal of ours has.
pub(super) fn complete(response: Response, too_large: Code) -> Response {
    let headers = response.headers();
    if headers.contains_key(CODE_TRAILER) {
        return response;
    }
    match tonic::Status::from_header_map(headers) {
        Some(status) if status.code() != tonic::Code::Ok => to_status(&from_status(&status, too_large)).into_http(),
        _ => response,
    }
}

/// The fault as an item of a gRPC stream that goes on.
pub(super) fn to_item(fault: &Fault) -> pb::PushError {
    pb::PushError {
        status: fault.code.grpc() as u32,
        code: fault.code.name().to_owned(),
        errno: fault.code.errno(),
        message: fault.words.to_string(),
        retry_after_ms: fault.wait_millis().unwrap_or(0),
    }
}

/// The fault as JSON.
pub(super) fn to_json(fault: &Fault) -> serde_json::Value {
    let mut value = json!({
        "code": fault.code.http(),
        "errno": fault.code.errno(),
        "error": fault.code.name(),
        "message": fault.words,
    });
    if let Some(millis) = fault.wait_millis() {
        value["retry_after_ms"] = millis.into();
    }
    value
}

/// The fault as an HTTP answer.
pub(super) fn to_response(fault: &Fault) -> Response {
    let status = StatusCode::from_u16(fault.code.http()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    respond(fault, status, &to_json(fault))
}

/// The fault as the answer to a probe, to which any fault means "not now".
pub(super) fn to_unready(fault: &Fault) -> Response {
    let mut body = to_json(fault);
    body["code"] = StatusCode::SERVICE_UNAVAILABLE.as_u16().into();
    body["ready"] = false.into();
    respond(fault, StatusCode::SERVICE_UNAVAILABLE, &body)
}

fn respond(fault: &Fault, status: StatusCode, body: &serde_json::Value) -> Response {
    let json = HeaderValue::from_static("application/json");
    let mut response = (status, [(CONTENT_TYPE, json)], body.to_string()).into_response();
    if let Some(seconds) = fault.wait_seconds() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};

    use super::{CODE_TRAILER, ERRNO_TRAILER, complete, to_item, to_json, to_response, to_status};
    use crate::model::fault::{Code, Fault};

    #[test]
    fn every_code_travels_whole_on_both_surfaces() {
        for code in Code::ALL {
            let fault = Fault::new(*code, "50 % of \u{e9}");

            let status = to_status(&fault);
            assert_eq!(status.code() as i32, code.grpc() as i32, "{code:?}");
            assert_eq!(status.message(), "50 % of \u{e9}");
            let trailers = status.metadata();
            assert_eq!(trailers.get(CODE_TRAILER).expect("a trailer"), code.name());
            assert_eq!(trailers.get(ERRNO_TRAILER).expect("a trailer"), code.errno().to_string().as_str());

            let json = to_json(&fault);
            assert_eq!(json["code"], code.http());
            assert_eq!(
                (json["errno"].as_u64(), json["error"].as_str()),
                (Some(code.errno().into()), Some(code.name()))
            );

            let item = to_item(&fault);
            assert_eq!((item.errno, item.code.as_str(), item.status), (code.errno(), code.name(), code.grpc() as u32));

            let response = to_response(&fault);
            assert_eq!(response.status(), code.http());
            let passes = matches!(code.http(), 429 | 503);
            assert_eq!(response.headers().contains_key(RETRY_AFTER), passes, "{code:?}");
            assert_eq!((json["retry_after_ms"].is_u64(), item.retry_after_ms > 0), (passes, passes), "{code:?}");
            for trailer in ["retry-after", "grpc-retry-pushback-ms"] {
                assert_eq!(trailers.contains_key(trailer), passes, "{code:?}");
            }
            assert_eq!(response.headers().contains_key(WWW_AUTHENTICATE), code.http() == 401, "{code:?}");
        }
    }

    #[test]
    fn the_wait_that_is_known_is_told() {
        let fault = Fault::new(Code::RateLimited, "slower").with_retry_after(Duration::from_millis(1_200));
        let status = to_status(&fault);
        let trailer = |name| status.metadata().get(name).and_then(|value| value.to_str().ok());
        assert_eq!((trailer("retry-after"), trailer("grpc-retry-pushback-ms")), (Some("2"), Some("1200")));
        assert_eq!(to_response(&fault).headers()[RETRY_AFTER], "2");
        assert_eq!(to_json(&fault)["retry_after_ms"], 1_200);
        assert_eq!(to_item(&fault).retry_after_ms, 1_200);
    }

    #[test]
    fn refusals_of_the_library_get_a_code_and_ours_stay() {
        let cases = [
            (tonic::Status::out_of_range("too long"), "payload_too_large", "3"),
            (tonic::Status::unimplemented("gzip"), "unsupported_encoding", "12"),
            (tonic::Status::internal("bad tag"), "malformed", "3"),
            (to_status(&Fault::new(Code::LogFull, "full")), "log_full", "8"),
        ];
        for (status, word, number) in cases {
            let response = complete(status.into_http(), Code::PayloadTooLarge);
            assert_eq!(response.headers()[CODE_TRAILER], word);
            assert_eq!(response.headers()["grpc-status"], number);
        }
        let good = complete(axum::response::Response::new(axum::body::Body::empty()), Code::RequestTooLarge);
        assert!(!good.headers().contains_key(CODE_TRAILER));
    }
}
