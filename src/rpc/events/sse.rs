//! Events as server-sent events (WHATWG HTML, section 9.2), or as one page of JSON. It knows no event.
//!
//! Each event is one of its own, without a name, with its position as `id`: `Last-Event-ID` begins behind it. Besides come
//! `position` (all up to it was looked at and nothing is wanted; the first comes at once), `missed` (positions that are
//! not kept any more) and `end` (why the stream ends). A comment comes every 15 s when all is quiet.

use std::convert::Infallible;
use std::fmt::Write;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::StreamExt;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};

use crate::model::access::Caller;
use crate::model::fault::{Code, Fault};
use crate::node::event_json;
use crate::node::journal::{Batch, Journal, Wanted};
use crate::rpc::events::live::{self, Step};
use crate::rpc::fault;
use crate::rpc::http::answer;
use crate::rpc::intake::Intake;

/// Answers with a stream, or with a page when `follow` is false.
pub(super) async fn respond(
    intake: &Intake,
    caller: &Caller,
    (journal, name): (Journal, &str),
    wanted: Wanted,
    (after, follow): (Option<u64>, bool),
) -> Result<Response, Fault> {
    if !follow {
        let batch = intake.node.look_up(&caller.tenant, journal, wanted, after.unwrap_or(0)).await?;
        return Ok(answer(StatusCode::OK, &page(&batch, name)));
    }
    let steps = live::begin(intake, caller, journal, wanted, after).await?;
    let body = Body::from_stream(steps.map(|step| Ok::<Bytes, Infallible>(text(step).into())));
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, body).into_response())
}

/// Where a stream shall begin: what the browser saw last, when it connects anew, comes before what the path says.
pub(super) fn begin_after(parts: &Parts, asked: Option<u64>) -> Result<Option<u64>, Fault> {
    let Some(value) = parts.headers.get("last-event-id") else { return Ok(asked) };
    let text = value.to_str().unwrap_or("?").trim();
    if text.is_empty() {
        return Ok(asked);
    }
    let refuse = |_| Fault::new(Code::Malformed, "Last-Event-ID is not a position, which is a whole number");
    text.parse().map(Some).map_err(refuse)
}

fn page(batch: &Batch, name: &str) -> Value {
    let events: Vec<_> = batch.events.iter().map(|(position, event)| event_json::event(*position, event)).collect();
    json!({ name: events, "position": batch.position, "missed": batch.missed, "last": batch.last })
}

fn text(step: Step) -> String {
    let mut out = String::new();
    let named = |name: &str, data: Value| format!("event: {name}\ndata: {data}\n\n");
    match step {
        Step::Quiet => out.push_str(":\n\n"),
        Step::End(why) => out.push_str(&named("end", fault::to_json(&why))),
        Step::Batch(batch) => {
            if batch.missed > 0 {
                out.push_str(&named("missed", json!({ "missed": batch.missed })));
            }
            for (position, event) in &batch.events {
                // Writing to a string does not fail.
                let _ = write!(out, "id: {position}\ndata: {}\n\n", event_json::event(*position, event));
            }
            let told = batch.events.last().map(|(position, _)| *position);
            if told != Some(batch.position) {
                let position = json!({ "position": batch.position, "last": batch.last });
                let _ = write!(out, "id: {}\n{}", batch.position, named("position", position));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use axum::extract::Request;

    use super::{begin_after, text};
    use crate::model::clock::Timestamp;
    use crate::model::fault::{Code, Fault};
    use crate::model::presence::{Event as Presence, What};
    use crate::node::journal::{Batch, Event};
    use crate::rpc::events::live::Step;

    fn event() -> Event {
        Event::Presence(Presence { at: Timestamp::from_millis(5), device: None, what: What::Reset })
    }

    #[test]
    fn every_step_is_an_event_or_a_comment() {
        let batch = |events: Vec<(u64, Event)>, missed| Step::Batch(Batch { events, position: 9, missed, last: 12 });
        let reset =
            |position| format!("id: {position}\ndata: {{\"at_ms\":5,\"position\":{position},\"what\":\"reset\"}}\n\n");
        let position = "id: 9\nevent: position\ndata: {\"last\":12,\"position\":9}\n\n";
        assert_eq!(text(batch(vec![(8, event()), (9, event())], 0)), reset(8) + &reset(9));
        assert_eq!(text(batch(vec![(8, event())], 0)), reset(8) + position);
        assert_eq!(text(batch(Vec::new(), 3)), format!("event: missed\ndata: {{\"missed\":3}}\n\n{position}"));
        assert_eq!(text(Step::Quiet), ":\n\n");
        let end = text(Step::End(Fault::new(Code::Draining, "line\nbreak")));
        assert!(
            end.starts_with("event: end\ndata: {") && end.contains("\"draining\"") && end.lines().count() == 3,
            "{end}"
        );
    }

    #[test]
    fn a_browser_that_comes_back_goes_on_where_it_was() {
        let parts =
            |id: &str| Request::builder().header("last-event-id", id).body(()).expect("a request").into_parts().0;
        assert_eq!(begin_after(&parts("7"), Some(3)), Ok(Some(7)));
        assert_eq!(begin_after(&parts(""), Some(3)), Ok(Some(3)));
        assert_eq!(begin_after(&parts("x"), None).expect_err("no position").code, Code::Malformed);
        let bare = http::Request::new(()).into_parts().0;
        assert_eq!((begin_after(&bare, None), begin_after(&bare, Some(1))), (Ok(None), Ok(Some(1))));
    }
}
