//! The way of every request of a backend to the node: credentials to rights, body to bytes, request to draft. It knows what both
//! surfaces have in common and nothing of how either writes its answers.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::request::Parts;
use http_body_util::BodyExt;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::model::access::Caller;
use crate::model::fault::{Code, Fault};
use crate::model::id::{MessageId, TenantId};
use crate::node::push::Pushing;
use crate::node::{MessageRecord, MessageState, Node};
use crate::pool::Tier;
use crate::rpc::draft;
use crate::rpc::rights::Rights;
use crate::wire::pb;

/// What handlers share. Cheap to clone.
#[derive(Clone)]
pub(super) struct Intake {
    /// Where requests go.
    pub(super) node: Arc<Node>,
    /// Cancelled when the listener is told to stop: streams end then.
    pub(super) stop: CancellationToken,
    /// A request body must be all there within this time. Streams have no such bound.
    pub(super) body_timeout: Duration,
}

impl Intake {
    /// What a request's credentials let it do, and its body.
    ///
    /// The credentials are checked first, and the body is read all the same: an HTTP/2 peer may take an answer that comes
    /// before the end of its request for an error of the stream.
    ///
    /// # Errors
    /// When the credentials are not good, or else when the body is longer than `limit`, breaks off or takes too long.
    pub(super) async fn read<R: Rights>(
        &self,
        parts: &Parts,
        body: Body,
        limit: usize,
        too_large: Code,
    ) -> Result<(R, Bytes), Fault> {
        let rights = R::of(&self.node, parts);
        let body = self.collect(body, limit, too_large).await;
        Ok((rights?, body?))
    }

    /// Reads a body that nobody wants, before it is answered with a refusal.
    pub(super) async fn drain(&self, body: Body) {
        // The refusal stands already; whether the rest came does not change it.
        let _unwanted = self.collect(body, 0, Code::RequestTooLarge).await;
    }

    /// Like [`Intake::drain`] for a stream that is refused as a whole. It may have no end before its answer, because the
    /// caller waits for the first answer before it sends more; so the end is waited for, but not for long.
    pub(super) async fn drain_stream(&self, body: Body) {
        let _unwanted = timeout(STREAM_END_TIMEOUT, self.drain(body)).await;
    }

    async fn collect(&self, body: Body, limit: usize, too_large: Code) -> Result<Bytes, Fault> {
        timeout(self.body_timeout, collect(body, limit, too_large)).await.unwrap_or_else(|_| {
            let words = format!("the request's body was not all there within {} s", self.body_timeout.as_secs());
            Err(Fault::new(Code::Malformed, words))
        })
    }

    /// Pushes. The push has its place in the store's queue when this returns; the answer comes when it is durable.
    ///
    /// # Errors
    /// What is wrong with the request itself; the node's own refusals are answers.
    pub(super) fn push(&self, caller: &Caller, request: Result<pb::PushRequest, Fault>) -> Result<Pushing, Fault> {
        let draft = request.and_then(|request| draft::check(request, self.node.limits(), self.node.clock().now().wall));
        Ok(self.node.push(&caller.tenant, draft.map_err(|fault| self.refused(fault))?))
    }

    /// Counts a push that is refused before the node sees it (the node counts its own).
    pub(super) fn refused(&self, fault: Fault) -> Fault {
        self.node.metrics().push_refused(fault.code);
        fault
    }

    /// What is known of the message with this id.
    pub(super) async fn message(&self, tenant: &TenantId, id: &str) -> Result<(MessageId, MessageRecord), Fault> {
        let id = message_id(id)?;
        Ok((id, self.node.message(tenant, id).await?))
    }

    /// Takes a message back; its state, and whether this call changed it.
    pub(super) async fn cancel(
        &self,
        tenant: &TenantId,
        request: &pb::CancelRequest,
    ) -> Result<(MessageState, bool), Fault> {
        self.node.cancel(tenant, message_id(&request.id)?, request.silently).await
    }
}

/// Reads a message id.
pub(super) fn message_id(text: &str) -> Result<MessageId, Fault> {
    let words = "the id is not a message id, which is a UUID as the push's answer gave it";
    MessageId::parse(text).ok_or_else(|| Fault::new(Code::Malformed, words))
}

/// Reads a body to its end. What is too long is read on for a while, though not kept: many clients look at an answer only
/// after they have sent all, and take a stream that ends before for a failed connection.
async fn collect(mut body: Body, limit: usize, too_large: Code) -> Result<Bytes, Fault> {
    let mut pieces = Vec::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return Err(Fault::new(Code::Malformed, "the request's body broke off before its end"));
        };
        let Ok(piece) = frame.into_data() else { continue };
        length += piece.len();
        if length <= limit {
            pieces.push(piece);
        } else if length > limit + DISCARDED_BYTES_MAX {
            break;
        }
    }
    if length > limit {
        let words = format!("the request is larger than the {limit} bytes that this method takes");
        return Err(Fault::new(too_large, words));
    }
    if pieces.len() == 1 {
        // Most bodies come in one piece, which needs no copy.
        return Ok(pieces.remove(0));
    }
    let mut whole = Tier::Stream.take(length);
    pieces.iter().for_each(|piece| whole.extend_from_slice(piece));
    Ok(whole.into_bytes())
}

/// Most that is read of a body beyond its limit, and of one that nobody wants. A guess: files sent by mistake are smaller.
const DISCARDED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long the refusal of a stream waits for the stream's end. A guess: whoever sent it all at once is done by then.
const STREAM_END_TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::body::Body;
    use bytes::Bytes;
    use futures_util::{StreamExt, stream};

    use super::{DISCARDED_BYTES_MAX, collect};
    use crate::model::fault::Code;

    fn body(pieces: &'static [&'static [u8]]) -> Body {
        Body::from_stream(stream::iter(pieces).map(|piece| Ok::<_, Infallible>(Bytes::from_static(piece))))
    }

    #[tokio::test]
    async fn a_body_is_whole_or_refused() {
        let limit = 4;
        type Case = (&'static [&'static [u8]], Result<&'static [u8], Code>);
        let cases: [Case; 5] = [
            (&[], Ok(b"")),
            (&[b"abcd"], Ok(b"abcd")),
            (&[b"ab", b"", b"cd"], Ok(b"abcd")),
            (&[b"ab", b"cd", b"e"], Err(Code::RequestTooLarge)),
            (&[b"abcdefgh"], Err(Code::RequestTooLarge)),
        ];
        for (pieces, expected) in cases {
            let read = collect(body(pieces), limit, Code::RequestTooLarge).await;
            assert_eq!(read.map_err(|fault| fault.code), expected.map(Bytes::from_static), "{pieces:?}");
        }
        let broken = stream::iter([Ok(Bytes::from_static(b"ab")), Err(std::io::Error::other("cut"))]);
        let read = collect(Body::from_stream(broken), limit, Code::RequestTooLarge).await;
        assert_eq!(read.map_err(|fault| fault.code), Err(Code::Malformed));
    }

    #[tokio::test]
    async fn an_endless_body_is_not_read_for_ever() {
        let piece = Bytes::from(vec![0; 1024 * 1024]);
        let endless = stream::repeat(piece).map(Ok::<_, Infallible>).take(10 * DISCARDED_BYTES_MAX);
        let read = collect(Body::from_stream(endless), 4, Code::PayloadTooLarge).await;
        assert_eq!(read.map_err(|fault| fault.code), Err(Code::PayloadTooLarge));
    }
}
