//! The HTTP/JSON twin of the backend service: the same pushes, the same checks, other words. docs/api.md describes it.

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};

use crate::model::access::Caller;
use crate::model::fault::{Code, Fault};
use crate::node::push::Accepted;
use crate::rpc::intake::Intake;
use crate::rpc::lines::Lines;
use crate::rpc::query::Query;
use crate::rpc::rights::Rights;
use crate::rpc::stream::{Answer, Answers, Ask, Pushes};
use crate::rpc::{fault, json_answer, json_request, many_users};
use crate::wire::pb;

/// The JSON methods.
pub(super) fn router(intake: Intake) -> Router<Intake> {
    Router::new()
        .route("/v1/push", post(push))
        .route("/v1/push/stream", post(push_stream))
        .route("/v1/push/users", post(push_users))
        .route("/v1/messages/{id}", get(message).delete(cancel))
        .with_state(intake)
}

async fn push(State(intake): State<Intake>, request: Request) -> Response {
    match try_push(&intake, request).await {
        Ok(accepted) => {
            let status = match (accepted.duplicate, &accepted.log) {
                (true, _) => StatusCode::OK,
                // Nothing is stored and nothing is promised.
                (false, None) => StatusCode::ACCEPTED,
                (false, Some(_)) => StatusCode::CREATED,
            };
            answer_push(status, &accepted)
        }
        Err(fault) => fault::to_response(&fault),
    }
}

async fn try_push(intake: &Intake, request: Request) -> Result<Accepted, Fault> {
    let (parts, body) = request.into_parts();
    let limit = body_bytes_max(intake);
    let read = intake.read::<Caller>(&parts, body, limit, Code::RequestTooLarge).await;
    let (caller, body) = read.map_err(|fault| intake.refused(fault))?;
    let push = check_media(&parts.headers, &["application/json"])
        .and_then(|()| json_request::push(&body))
        .and_then(|push| with_key_header(push, &parts.headers));
    intake.push(&caller, push)?.await
}

fn answer_push(status: StatusCode, accepted: &Accepted) -> Response {
    let mut response = answer(status, &json_answer::accepted(accepted));
    if accepted.log.is_some() {
        let location = HeaderValue::try_from(format!("/v1/messages/{}", accepted.id));
        response.headers_mut().insert(LOCATION, location.expect("an id is printable ASCII"));
    }
    response
}

async fn push_users(State(intake): State<Intake>, request: Request) -> Response {
    match try_push_users(&intake, request).await {
        Ok(outcomes) => answer(StatusCode::OK, &json_answer::outcomes(outcomes)),
        Err(fault) => fault::to_response(&fault),
    }
}

async fn try_push_users(intake: &Intake, request: Request) -> Result<Vec<many_users::Outcome>, Fault> {
    let (parts, body) = request.into_parts();
    let limit = body_bytes_max(intake) + 6 * many_users::USERS_BYTES_MAX;
    let read = intake.read::<Caller>(&parts, body, limit, Code::RequestTooLarge).await;
    let (caller, body) = read.map_err(|fault| intake.refused(fault))?;
    let request = check_media(&parts.headers, &["application/json"])
        .and_then(|()| json_request::users(&body))
        .and_then(|mut request| {
            // Without a push the fault is that there is none.
            request.push = request.push.map(|push| with_key_header(push, &parts.headers)).transpose()?;
            Ok(request)
        });
    many_users::push(intake, &caller, request).await
}

/// Pushes of a stream are read and answered at the same time.
async fn push_stream(State(intake): State<Intake>, request: Request) -> Response {
    let (caller, lines) = match read_lines(&intake, request, body_bytes_max(&intake)).await {
        Ok(read) => read,
        Err(fault) => return fault::to_response(&intake.refused(fault)),
    };
    let asks = lines.map(|line| {
        let (number, line) = line?;
        let (reference, push) = json_request::line(&line);
        // The place within the line is told by the reader, which does not know the line's own.
        let place = |fault: Fault| Fault::new(fault.code, format!("line {number}: {}", fault.words));
        Ok(Ask { reference, request: push.map_err(place) })
    });
    answer_lines(Answers::new(intake, caller, asks, Pushes).map(|answer| answer.map(stream_line)))
}

/// The lines of a stream, and who sends it.
///
/// # Errors
/// Why the stream is refused as a whole.
pub(super) async fn read_lines(
    intake: &Intake,
    request: Request,
    line_bytes_max: usize,
) -> Result<(Caller, Lines), Fault> {
    let (parts, body) = request.into_parts();
    let media = check_media(&parts.headers, &["application/x-ndjson", "application/ndjson", "application/jsonl"]);
    match Caller::of(&intake.node, &parts).and_then(|caller| media.map(|()| caller)) {
        Ok(caller) => Ok((caller, Lines::new(body, line_bytes_max))),
        Err(fault) => {
            intake.drain_stream(body).await;
            Err(fault)
        }
    }
}

/// Answers in lines as they come; a stream that failed says so in its last one.
pub(super) fn answer_lines(answers: impl Stream<Item = Result<Value, Fault>> + Send + 'static) -> Response {
    // What is ready together travels together.
    let lines = answers.ready_chunks(ANSWERS_PER_CHUNK).map(|chunk| {
        let mut lines = BytesMut::new();
        for answer in chunk {
            let line = answer.unwrap_or_else(|fault| json!({ "ended": fault::to_json(&fault) }));
            lines.extend_from_slice(line.to_string().as_bytes());
            lines.put_u8(b'\n');
        }
        Ok::<Bytes, Infallible>(lines.freeze())
    });
    let ndjson = HeaderValue::from_static("application/x-ndjson");
    ([(CONTENT_TYPE, ndjson)], Body::from_stream(lines)).into_response()
}

fn stream_line(Answer { reference, outcome }: Answer<Accepted>) -> Value {
    let mut line = match outcome {
        Ok(accepted) => json!({ "accepted": json_answer::accepted(&accepted) }),
        Err(fault) => json!({ "error": fault::to_json(&fault) }),
    };
    if let Some(reference) = reference {
        line["reference"] = reference.into();
    }
    line
}

async fn message(State(intake): State<Intake>, id: Result<Path<String>, PathRejection>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let found = async {
        let read = intake.read::<Caller>(&parts, body, BODY_OF_GET_BYTES_MAX, Code::RequestTooLarge);
        let (caller, _) = read.await?;
        // An id that is not even text is no id either.
        let id = id.map(|Path(id)| id).unwrap_or_default();
        let (id, record) = intake.message(&caller.tenant, &id).await?;
        json_answer::record(id, &record)
    };
    match found.await {
        Ok(record) => answer(StatusCode::OK, &record),
        Err(fault) => fault::to_response(&fault),
    }
}

async fn cancel(State(intake): State<Intake>, id: Result<Path<String>, PathRejection>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let cancelled = async {
        let read = intake.read::<Caller>(&parts, body, BODY_OF_GET_BYTES_MAX, Code::RequestTooLarge);
        let (caller, _) = read.await?;
        let mut query = Query::read(&parts.uri, &["silently"])?;
        let request =
            pb::CancelRequest { id: id.map(|Path(id)| id).unwrap_or_default(), silently: query.switch("silently")? };
        intake.cancel(&caller.tenant, &request).await
    };
    match cancelled.await {
        Ok((state, cancelled)) => {
            answer(StatusCode::OK, &json!({ "state": json_answer::state(state), "cancelled": cancelled }))
        }
        Err(fault) => fault::to_response(&fault),
    }
}

/// An answer in JSON.
pub(super) fn answer(status: StatusCode, body: &Value) -> Response {
    let json = HeaderValue::from_static("application/json");
    (status, [(CONTENT_TYPE, json)], body.to_string()).into_response()
}

/// Refuses a body of another media type or in an encoding.
pub(super) fn check_media(headers: &HeaderMap, taken: &[&str]) -> Result<(), Fault> {
    if headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(Fault::new(Code::UnsupportedEncoding, "the body is compressed; send it as it is"));
    }
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media = given.split(';').next().unwrap_or_default().trim();
    if taken.iter().any(|taken| media.eq_ignore_ascii_case(taken)) {
        return Ok(());
    }
    let words = format!("send the body with content-type {}", taken[0]);
    Err(Fault::new(Code::UnsupportedMediaType, words))
}

/// The `Idempotency-Key` header says the same as the field.
fn with_key_header(mut push: pb::PushRequest, headers: &HeaderMap) -> Result<pb::PushRequest, Fault> {
    let refuse = |words| Err(Fault::new(Code::InvalidOption, words));
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(push) };
    let Ok(key) = value.to_str() else { return refuse("idempotency_key: the header is not printable ASCII") };
    let differs = !push.idempotency_key.is_empty() && push.idempotency_key != key;
    if differs || values.next().is_some() {
        return refuse("idempotency_key: the request has two of them; send one, in the header or in the body");
    }
    key.clone_into(&mut push.idempotency_key);
    Ok(push)
}

/// Longest JSON form of a push. A byte of text takes up to six (`\u0000`), in the payload and in the attributes, the
/// exclusions and the condition, which are 68 KiB at most: whatever the checks allow fits, however it is written.
fn body_bytes_max(intake: &Intake) -> usize {
    6 * intake.node.limits().payload_bytes_max + 512 * 1024
}

/// A GET needs no body; what comes is read and dropped.
pub(super) const BODY_OF_GET_BYTES_MAX: usize = 64 * 1024;
/// Answers that travel together at most; a guess: 64 are about 20 KiB.
const ANSWERS_PER_CHUNK: usize = 64;
