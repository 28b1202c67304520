//! The way of every request of a backend to the node: key to tenant, body to bytes, request to draft. It knows what both
//! surfaces have in common and nothing of how either writes its answers.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{self, BoxFuture};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::model::fault::{Code, Fault};
use crate::model::id::{MessageId, TenantId};
use crate::node::push::Accepted;
use crate::node::{MessageRecord, Node};
use crate::rpc::draft;
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
    /// Whose key the request carries.
    ///
    /// # Errors
    /// When no key came, or none that this gateway issued.
    pub(super) fn tenant(&self, headers: &HeaderMap) -> Result<TenantId, Fault> {
        let refuse = |words| Err(Fault::new(Code::InvalidCredentials, words));
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let Some(value) = values.next() else { return self.node.tenant_of("") };
        if values.next().is_some() {
            return refuse("authorization came several times; send one key");
        }
        let Some((scheme, key)) = value.to_str().ok().and_then(|text| text.split_once(' ')) else {
            return refuse("authorization is not of the form `Bearer KEY`");
        };
        if !scheme.eq_ignore_ascii_case("bearer") {
            return refuse("authorization is not of the form `Bearer KEY`");
        }
        self.node.tenant_of(key.trim())
    }

    /// Whose key the request carries, and its body.
    ///
    /// The key is checked first, and the body is read all the same: an HTTP/2 peer may take an answer that comes before
    /// the end of its request for an error of the stream.
    ///
    /// # Errors
    /// When the key is not good, or else when the body is longer than `limit`, breaks off or takes too long.
    pub(super) async fn read(
        &self,
        headers: &HeaderMap,
        body: Body,
        limit: usize,
        too_large: Code,
    ) -> Result<(TenantId, Bytes), Fault> {
        let tenant = self.tenant(headers);
        let body = self.collect(body, limit, too_large).await;
        Ok((tenant?, body?))
    }

    /// Reads a body that nobody wants, before it is answered with a refusal.
    pub(super) async fn drain(&self, body: Body) {
        // The refusal stands already; whether the rest came does not change it.
        let _unwanted = self.collect(body, DRAINED_BYTES_MAX, Code::RequestTooLarge).await;
    }

    /// Like [`Intake::drain`] for a stream that is refused as a whole. It may have no end before its answer, because the
    /// caller waits for the first answer before it sends more; so the end is waited for, but not for long.
    pub(super) async fn drain_stream(&self, body: Body) {
        let _unwanted = timeout(STREAM_END_TIMEOUT, self.drain(body)).await;
    }

    async fn collect(&self, body: Body, limit: usize, too_large: Code) -> Result<Bytes, Fault> {
        match timeout(self.body_timeout, Limited::new(body, limit).collect()).await {
            Ok(Ok(collected)) => Ok(collected.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Fault::new(
                too_large,
                format!("the request is larger than the {limit} bytes that this method takes"),
            )),
            Ok(Err(_)) => Err(Fault::new(Code::Malformed, "the request's body broke off before its end")),
            Err(_) => {
                let words = format!("the request's body was not all there within {} s", self.body_timeout.as_secs());
                Err(Fault::new(Code::Malformed, words))
            }
        }
    }

    /// Pushes. The push has its place in the store's queue when this returns; the answer comes when it is durable.
    pub(super) fn push(
        &self,
        tenant: &TenantId,
        request: Result<pb::PushRequest, Fault>,
    ) -> BoxFuture<'static, Result<Accepted, Fault>> {
        let limits = self.node.limits();
        match request.and_then(|request| draft::check(request, limits)) {
            Ok(draft) => self.node.push(tenant, draft).boxed(),
            Err(fault) => future::ready(Err(self.refused(fault))).boxed(),
        }
    }

    /// Counts a push that is refused before the node sees it (the node counts its own).
    pub(super) fn refused(&self, fault: Fault) -> Fault {
        self.node.metrics().push_refused(fault.code);
        fault
    }

    /// What is known of the message with this id.
    pub(super) async fn message(&self, tenant: &TenantId, id: &str) -> Result<(MessageId, MessageRecord), Fault> {
        let Some(id) = MessageId::parse(id) else {
            return Err(Fault::new(
                Code::Malformed,
                "the id is not a message id, which is a UUID as the push's answer gave it",
            ));
        };
        Ok((id, self.node.message(tenant, id).await?))
    }
}

/// Most that is read of a body nobody wants. A guess: larger than what a mistaken request carries.
const DRAINED_BYTES_MAX: usize = 64 * 1024;
/// How long the refusal of a stream waits for the stream's end. A guess: whoever sent it all at once is done by then.
const STREAM_END_TIMEOUT: Duration = Duration::from_secs(1);
