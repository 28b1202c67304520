//! Receipts: the stream of gRPC and that of JSON.

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::get;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use crate::model::access::Caller;
use crate::model::fault::Fault;
use crate::model::receipt::{End, Receipt, What};
use crate::node::journal::{Batch, Event, Journal, Wanted};
use crate::rpc::events::live::{self, Step};
use crate::rpc::events::{ask, sse};
use crate::rpc::fault::{to_response, to_status};
use crate::rpc::grpc_answer::counts;
use crate::rpc::intake::Intake;
use crate::rpc::query::Query;
use crate::wire::pb;

pub(super) fn router() -> Router<Intake> {
    Router::new().route("/v1/receipts", get(receipts))
}

/// Receipts as gRPC streams them.
pub(super) async fn stream(
    intake: &Intake,
    caller: &Caller,
    request: pb::StreamReceiptsRequest,
) -> Result<BoxStream<'static, Result<pb::ReceiptBatch, tonic::Status>>, Fault> {
    let wanted = wanted(&request.message, &request.tag)?;
    let steps = live::begin(intake, caller, Journal::Receipts, wanted, request.after).await?;
    let batches = steps.filter_map(|step| async {
        match step {
            Step::Batch(batch) => Some(Ok(to_pb(batch))),
            // HTTP/2 has its own beat.
            Step::Quiet => None,
            Step::End(fault) => Some(Err(to_status(&fault))),
        }
    });
    Ok(batches.boxed())
}

async fn receipts(State(intake): State<Intake>, request: Request) -> Response {
    let answered = async {
        let (caller, parts) = ask::bare(&intake, request).await?;
        let mut query = Query::read(&parts.uri, &["after", "message", "tag", "follow"])?;
        let after = sse::begin_after(&parts, ask::number(&mut query, "after")?)?;
        let message = query.text("message").unwrap_or_default();
        let wanted = wanted(&message, &query.text("tag").unwrap_or_default())?;
        let follow = ask::follow(&mut query)?;
        sse::respond(&intake, &caller, (Journal::Receipts, "receipts"), wanted, (after, follow)).await
    };
    answered.await.unwrap_or_else(|fault| to_response(&fault))
}

fn wanted(message: &str, tag: &str) -> Result<Wanted, Fault> {
    Ok(Wanted { message: ask::message(message)?, tag: ask::tag(tag)?, user: None })
}

fn to_pb(batch: Batch) -> pb::ReceiptBatch {
    let receipts = batch.events.into_iter().filter_map(|(position, event)| match event {
        Event::Receipt(told) => Some(receipt(position, told)),
        Event::Presence(_) | Event::HandOff(_) | Event::Audit(_) => None,
    });
    pb::ReceiptBatch { receipts: receipts.collect(), position: batch.position, missed: batch.missed, last: batch.last }
}

fn receipt(position: u64, receipt: Receipt) -> pb::Receipt {
    let (user, device) =
        receipt.device.map(|(user, device)| (user.to_string(), device.to_string())).unwrap_or_default();
    let mut told = pb::Receipt {
        position,
        at_ms: receipt.at.as_millis(),
        message: receipt.message.to_string(),
        tag: receipt.tag.map(|tag| tag.to_string()).unwrap_or_default(),
        what: receipt.what.name().to_owned(),
        user,
        device,
        ..pb::Receipt::default()
    };
    match receipt.what {
        What::Scheduled { send_at } => told.send_at_ms = send_at.as_millis(),
        What::Accepted(numbers) | What::Counted(numbers) => told.counts = Some(counts(&numbers)),
        What::Ended(end, numbers) => {
            told.counts = Some(counts(&numbers));
            if let End::Replaced(Some(by)) = end {
                told.replaced_by = by.to_string();
            }
        }
        What::Sent { attempt } => told.attempt = attempt,
        What::Acked => {}
        What::Nacked { attempt, reason } | What::Dead { attempts: attempt, reason } => {
            (told.attempt, told.reason) = (attempt, reason);
        }
        What::HandedOff { outcome: reason } | What::HandOffFailed { reason } => told.reason = reason,
    }
    told
}

#[cfg(test)]
mod tests {
    use super::{receipt, wanted};
    use crate::model::clock::Timestamp;
    use crate::model::fault::Code;
    use crate::model::id::MessageId;
    use crate::model::receipt::{Counts, End, Receipt, What};

    #[test]
    fn wishes_are_checked() {
        assert!(wanted("", "").is_ok_and(|wanted| wanted.message.is_none() && wanted.tag.is_none()));
        assert_eq!(wanted("x", "").expect_err("no id").code, Code::Malformed);
        assert_eq!(wanted("", "a b").expect_err("no name").code, Code::InvalidName);
    }

    #[test]
    fn receipts_carry_what_they_have() {
        let id = MessageId::from_bytes([7; 16]);
        let told =
            |what| receipt(3, Receipt { at: Timestamp::from_millis(4), message: id, tag: None, device: None, what });
        let ended = told(What::Ended(End::Replaced(Some(id)), Counts { audience: 3, acked: 1, ..Counts::default() }));
        assert_eq!((ended.position, ended.at_ms, ended.what.as_str()), (3, 4, "replaced"));
        assert_eq!((ended.replaced_by, ended.counts.map(|counts| counts.waiting)), (id.to_string(), Some(2)));
        let dead = told(What::Dead { attempts: 5, reason: "full".into() });
        assert_eq!((dead.attempt, dead.reason.as_str()), (5, "full"));
        assert_eq!(told(What::Scheduled { send_at: Timestamp::from_millis(9) }).send_at_ms, 9);
        assert_eq!(told(What::HandOffFailed { reason: "over".into() }).reason, "over");
    }
}
