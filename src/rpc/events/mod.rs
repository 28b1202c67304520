//! What became of messages and who is online, for backends: the service `pushline.v1.Receipts` and its JSON twin. It
//! checks and translates; what is told is the node's.

pub(super) mod ask;
mod live;
mod presence;
mod receipts;
mod sse;
mod tags;
mod webhooks;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use futures_util::stream::BoxStream;

use crate::model::access::Caller;
use crate::model::fault::Code;
use crate::rpc::call::{Call, caller, refusal};
use crate::rpc::fault::to_status;
use crate::rpc::intake::Intake;
use crate::wire::pb;
use crate::wire::pb::receipts_server::{Receipts, ReceiptsServer};

/// All paths.
pub(super) fn router(intake: Intake) -> Router<Intake> {
    let server = ReceiptsServer::new(Service { intake: intake.clone() }).max_decoding_message_size(REQUEST_BYTES_MAX);
    let methods = Methods { intake, server, request_bytes_max: REQUEST_BYTES_MAX, too_large: Code::RequestTooLarge };
    let mut grpc = Router::new();
    for method in METHODS {
        grpc = grpc.route(&format!("/pushline.v1.Receipts/{method}"), post(unary));
    }
    grpc.with_state(methods)
        .merge(receipts::router())
        .merge(presence::router())
        .merge(tags::router())
        .merge(webhooks::router())
}

const METHODS: [&str; 7] =
    ["StreamReceipts", "GetTag", "ListOnline", "StreamPresence", "SetWebhook", "ListWebhooks", "DeleteWebhook"];

type Methods = Call<ReceiptsServer<Service>>;

/// What the generated server calls.
struct Service {
    intake: Intake,
}

/// Requests are read whole before they are answered, also those that are answered by a stream.
async fn unary(State(methods): State<Methods>, request: Request) -> Response {
    methods.unary::<Caller>(request).await.unwrap_or_else(|fault| refusal(&fault))
}

type Answered<T> = Result<tonic::Response<T>, tonic::Status>;

#[tonic::async_trait]
impl Receipts for Service {
    type StreamReceiptsStream = BoxStream<'static, Result<pb::ReceiptBatch, tonic::Status>>;

    async fn stream_receipts(
        &self,
        request: tonic::Request<pb::StreamReceiptsRequest>,
    ) -> Answered<Self::StreamReceiptsStream> {
        let caller = caller(&request)?;
        let batches = receipts::stream(&self.intake, &caller, request.into_inner()).await;
        batches.map(tonic::Response::new).map_err(|fault| to_status(&fault))
    }

    async fn get_tag(&self, request: tonic::Request<pb::GetTagRequest>) -> Answered<pb::GetTagResponse> {
        let caller = caller(&request)?;
        let found = tags::message(&self.intake, &caller.tenant, request.into_inner()).await;
        found.map(tonic::Response::new).map_err(|fault| to_status(&fault))
    }

    async fn list_online(&self, request: tonic::Request<pb::ListOnlineRequest>) -> Answered<pb::ListOnlineResponse> {
        let caller = caller(&request)?;
        let found = presence::list(&self.intake, &caller.tenant, &request.into_inner());
        found.map(tonic::Response::new).map_err(|fault| to_status(&fault))
    }

    type StreamPresenceStream = BoxStream<'static, Result<pb::PresenceBatch, tonic::Status>>;

    async fn stream_presence(
        &self,
        request: tonic::Request<pb::StreamPresenceRequest>,
    ) -> Answered<Self::StreamPresenceStream> {
        let caller = caller(&request)?;
        let batches = presence::stream(&self.intake, &caller, request.into_inner()).await;
        batches.map(tonic::Response::new).map_err(|fault| to_status(&fault))
    }

    async fn set_webhook(&self, request: tonic::Request<pb::SetWebhookRequest>) -> Answered<pb::Webhook> {
        let caller = caller(&request)?;
        let set = webhooks::set(&self.intake, &caller, request.into_inner()).await;
        set.map(tonic::Response::new).map_err(|fault| to_status(&fault))
    }

    async fn list_webhooks(
        &self,
        request: tonic::Request<pb::ListWebhooksRequest>,
    ) -> Answered<pb::ListWebhooksResponse> {
        let caller = caller(&request)?;
        let webhooks = webhooks::list(&self.intake, &caller.tenant).await.map_err(|fault| to_status(&fault))?;
        Ok(tonic::Response::new(pb::ListWebhooksResponse { webhooks }))
    }

    async fn delete_webhook(
        &self,
        request: tonic::Request<pb::DeleteWebhookRequest>,
    ) -> Answered<pb::DeleteWebhookResponse> {
        let caller = caller(&request)?;
        webhooks::delete(&self.intake, &caller, &request.get_ref().kind).await.map_err(|fault| to_status(&fault))?;
        Ok(tonic::Response::new(pb::DeleteWebhookResponse {}))
    }
}

/// Longest request: a URL of 2,048 bytes, and names.
const REQUEST_BYTES_MAX: usize = 16 * 1024;
