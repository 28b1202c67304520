//! The backend service as gRPC speaks it, on tonic. What it decides is decided elsewhere; here are only the messages.

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use crate::model::access::Caller;
use crate::model::fault::{Code, Fault};
use crate::rpc::call::{Call, caller, refusal};
use crate::rpc::intake::Intake;
use crate::rpc::stream::{Answers, Ask, Pushes};
use crate::rpc::{fault, grpc_answer, many_users, timeline};
use crate::wire::pb;
use crate::wire::pb::backend_server::{Backend, BackendServer};

/// The gRPC methods. Only those of the service: what is under another path is answered by the one place that answers
/// for unknown paths.
pub(super) fn router(intake: Intake) -> Router<Intake> {
    let methods = |request_bytes_max| {
        let server =
            BackendServer::new(Service { intake: intake.clone() }).max_decoding_message_size(request_bytes_max);
        Methods { intake: intake.clone(), server, request_bytes_max, too_large: Code::PayloadTooLarge }
    };
    let push_bytes_max = message_bytes_max(&intake);
    // Its body is the only one that may be longer.
    let users = Router::new()
        .route("/pushline.v1.Backend/PushUsers", post(push))
        .with_state(methods(push_bytes_max + many_users::USERS_BYTES_MAX));
    Router::new()
        .route("/pushline.v1.Backend/Push", post(push))
        .route("/pushline.v1.Backend/GetMessage", post(unary))
        .route("/pushline.v1.Backend/Cancel", post(unary))
        .route("/pushline.v1.Backend/GetTimeline", post(unary))
        .route("/pushline.v1.Backend/PushStream", post(push_stream))
        .with_state(methods(push_bytes_max))
        .merge(users)
}

type Methods = Call<BackendServer<Service>>;

/// What the generated server calls.
struct Service {
    intake: Intake,
}

async fn unary(State(methods): State<Methods>, request: Request) -> Response {
    methods.unary::<Caller>(request).await.unwrap_or_else(|fault| refusal(&fault))
}

/// A push that is refused is counted.
async fn push(State(methods): State<Methods>, request: Request) -> Response {
    let intake = methods.intake.clone();
    methods.unary::<Caller>(request).await.unwrap_or_else(|fault| refusal(&intake.refused(fault)))
}

/// Answers a stream as it comes.
async fn push_stream(State(methods): State<Methods>, request: Request) -> Response {
    let intake = methods.intake.clone();
    methods.streaming(request).await.unwrap_or_else(|fault| refusal(&intake.refused(fault)))
}

#[tonic::async_trait]
impl Backend for Service {
    async fn push(
        &self,
        request: tonic::Request<pb::PushRequest>,
    ) -> Result<tonic::Response<pb::PushResponse>, tonic::Status> {
        let caller = caller(&request)?;
        let pushed = async { self.intake.push(&caller, Ok(request.into_inner()))?.await };
        pushed
            .await
            .map(|accepted| tonic::Response::new(grpc_answer::accepted(accepted)))
            .map_err(|fault| fault::to_status(&fault))
    }

    type PushStreamStream = BoxStream<'static, Result<pb::PushStreamResponse, tonic::Status>>;

    async fn push_stream(
        &self,
        request: tonic::Request<tonic::Streaming<pb::PushStreamRequest>>,
    ) -> Result<tonic::Response<Self::PushStreamStream>, tonic::Status> {
        let caller = caller(&request)?;
        let asks = request.into_inner().map(|ask| match ask {
            Ok(pb::PushStreamRequest { reference, push }) => {
                let request = push.ok_or_else(|| Fault::new(Code::Malformed, "push is missing"));
                Ok(Ask { reference: Some(reference), request })
            }
            Err(status) => Err(fault::from_status(&status, Code::PayloadTooLarge)),
        });
        let answers = Answers::new(self.intake.clone(), caller, asks, Pushes);
        let answers = answers.map(|answer| answer.map(grpc_answer::answer).map_err(|fault| fault::to_status(&fault)));
        Ok(tonic::Response::new(answers.boxed()))
    }

    async fn push_users(
        &self,
        request: tonic::Request<pb::PushUsersRequest>,
    ) -> Result<tonic::Response<pb::PushUsersResponse>, tonic::Status> {
        let caller = caller(&request)?;
        let pushed = many_users::push(&self.intake, &caller, Ok(request.into_inner())).await;
        pushed
            .map(|outcomes| tonic::Response::new(grpc_answer::outcomes(outcomes)))
            .map_err(|fault| fault::to_status(&fault))
    }

    async fn cancel(
        &self,
        request: tonic::Request<pb::CancelRequest>,
    ) -> Result<tonic::Response<pb::CancelResponse>, tonic::Status> {
        let caller = caller(&request)?;
        let (state, cancelled) =
            self.intake.cancel(&caller.tenant, request.get_ref()).await.map_err(|fault| fault::to_status(&fault))?;
        let state = grpc_answer::state(state).into();
        Ok(tonic::Response::new(pb::CancelResponse { state, cancelled }))
    }

    async fn get_timeline(
        &self,
        request: tonic::Request<pb::GetTimelineRequest>,
    ) -> Result<tonic::Response<pb::GetTimelineResponse>, tonic::Status> {
        let caller = caller(&request)?;
        let found = timeline::message(&self.intake, &caller.tenant, request.get_ref()).await;
        found.map(tonic::Response::new).map_err(|fault| fault::to_status(&fault))
    }

    async fn get_message(
        &self,
        request: tonic::Request<pb::GetMessageRequest>,
    ) -> Result<tonic::Response<pb::GetMessageResponse>, tonic::Status> {
        let caller = caller(&request)?;
        let found = self.intake.message(&caller.tenant, &request.get_ref().id).await;
        let record =
            found.and_then(|(id, record)| grpc_answer::record(id, record)).map_err(|fault| fault::to_status(&fault))?;
        Ok(tonic::Response::new(record))
    }
}

/// Longest message: the largest payload, and all that may stand beside it, which is 68 KiB at most.
fn message_bytes_max(intake: &Intake) -> usize {
    intake.node.limits().payload_bytes_max + 96 * 1024
}
