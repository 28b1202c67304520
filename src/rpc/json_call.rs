//! What the calls in JSON have in common: names in the path, a query or a body of JSON, an answer of JSON. It knows no
//! method.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request};
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use serde_json::Value;

use crate::model::fault::{Code, Fault};
use crate::rpc::fault;
use crate::rpc::http::{BODY_OF_GET_BYTES_MAX, answer, check_media};
use crate::rpc::intake::Intake;
use crate::rpc::members::JSON_BYTES_MAX;
use crate::rpc::query::Query;
use crate::rpc::rights::Rights;

/// A name in a path.
pub(super) type Name = Result<Path<String>, PathRejection>;

/// Two of them.
pub(super) type Names = Result<Path<(String, String)>, PathRejection>;

/// A name that is not even text is no name either: it is told as one that is empty.
pub(super) fn named(name: Name) -> String {
    name.map(|Path(name)| name).unwrap_or_default()
}

/// What a request without a body may do, and its query.
pub(super) async fn asked<R: Rights>(intake: &Intake, request: Request, known: &[&str]) -> Result<(R, Query), Fault> {
    let (parts, body) = request.into_parts();
    let (rights, _) = intake.read(&parts, body, BODY_OF_GET_BYTES_MAX, Code::RequestTooLarge).await?;
    Ok((rights, Query::read(&parts.uri, known)?))
}

/// What a request may do, and its body of JSON. `optional`: it may be empty.
pub(super) async fn told<R: Rights>(intake: &Intake, request: Request, optional: bool) -> Result<(R, Bytes), Fault> {
    let (parts, body) = request.into_parts();
    let (rights, body) = intake.read(&parts, body, JSON_BYTES_MAX, Code::RequestTooLarge).await?;
    if !(optional && body.is_empty()) {
        check_media(&parts.headers, &["application/json"])?;
    }
    Query::read(&parts.uri, &[])?;
    Ok((rights, body))
}

/// Where a page begins, and how long it is.
pub(super) fn page(query: &mut Query) -> Result<(String, u32), Fault> {
    Ok((query.text("after").unwrap_or_default(), query.whole("limit")?.unwrap_or(0)))
}

/// The answer to a call.
pub(super) fn respond(outcome: Result<Value, Fault>) -> Response {
    match outcome {
        Ok(body) => answer(StatusCode::OK, &body),
        Err(fault) => fault::to_response(&fault),
    }
}
