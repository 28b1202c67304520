//! The backend service as gRPC speaks it, on tonic. What it decides is decided elsewhere; here are only the messages.

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use crate::model::clock::Timestamp;
use crate::model::fault::{Code, Fault};
use crate::model::id::MessageId;
use crate::node::push::Accepted;
use crate::node::{DeviceOutcome, DeviceState, MessageRecord, MessageState};
use crate::rpc::call::{Call, refusal, tenant};
use crate::rpc::intake::Intake;
use crate::rpc::stream::{Answer, Answers, Ask};
use crate::rpc::{fault, json_answer};
use crate::wire::pb;
use crate::wire::pb::backend_server::{Backend, BackendServer};

/// The gRPC methods. Only those of the service: what is under another path is answered by the one place that answers
/// for unknown paths.
pub(super) fn router(intake: Intake) -> Router<Intake> {
    let request_bytes_max = message_bytes_max(&intake);
    let server = BackendServer::new(Service { intake: intake.clone() }).max_decoding_message_size(request_bytes_max);
    let methods = Methods { intake, server, request_bytes_max, too_large: Code::PayloadTooLarge };
    Router::new()
        .route("/pushline.v1.Backend/Push", post(push))
        .route("/pushline.v1.Backend/GetMessage", post(unary))
        .route("/pushline.v1.Backend/PushStream", post(push_stream))
        .with_state(methods)
}

type Methods = Call<BackendServer<Service>>;

/// What the generated server calls.
struct Service {
    intake: Intake,
}

async fn unary(State(methods): State<Methods>, request: Request) -> Response {
    methods.unary(request).await.unwrap_or_else(|fault| refusal(&fault))
}

/// A push that is refused is counted.
async fn push(State(methods): State<Methods>, request: Request) -> Response {
    let intake = methods.intake.clone();
    methods.unary(request).await.unwrap_or_else(|fault| refusal(&intake.refused(fault)))
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
        let tenant = tenant(&request)?;
        let pushed = async { self.intake.push(&tenant, Ok(request.into_inner()))?.await };
        pushed
            .await
            .map(|accepted| tonic::Response::new(accepted_to_pb(accepted)))
            .map_err(|fault| fault::to_status(&fault))
    }

    type PushStreamStream = BoxStream<'static, Result<pb::PushStreamResponse, tonic::Status>>;

    async fn push_stream(
        &self,
        request: tonic::Request<tonic::Streaming<pb::PushStreamRequest>>,
    ) -> Result<tonic::Response<Self::PushStreamStream>, tonic::Status> {
        let tenant = tenant(&request)?;
        let asks = request.into_inner().map(|ask| match ask {
            Ok(pb::PushStreamRequest { reference, push }) => {
                let push = push.ok_or_else(|| Fault::new(Code::Malformed, "push is missing"));
                Ok(Ask { reference: Some(reference), push })
            }
            Err(status) => Err(fault::from_status(&status, Code::PayloadTooLarge)),
        });
        let answers = Answers::new(self.intake.clone(), tenant, asks);
        let answers = answers.map(|answer| answer.map(answer_to_pb).map_err(|fault| fault::to_status(&fault)));
        Ok(tonic::Response::new(answers.boxed()))
    }

    async fn push_users(
        &self,
        _request: tonic::Request<pb::PushUsersRequest>,
    ) -> Result<tonic::Response<pb::PushUsersResponse>, tonic::Status> {
        Err(fault::to_status(&not_yet()))
    }

    async fn cancel(
        &self,
        _request: tonic::Request<pb::CancelRequest>,
    ) -> Result<tonic::Response<pb::CancelResponse>, tonic::Status> {
        Err(fault::to_status(&not_yet()))
    }

    async fn get_timeline(
        &self,
        _request: tonic::Request<pb::GetTimelineRequest>,
    ) -> Result<tonic::Response<pb::GetTimelineResponse>, tonic::Status> {
        Err(fault::to_status(&not_yet()))
    }

    async fn get_message(
        &self,
        request: tonic::Request<pb::GetMessageRequest>,
    ) -> Result<tonic::Response<pb::GetMessageResponse>, tonic::Status> {
        let tenant = tenant(&request)?;
        let found = self.intake.message(&tenant, &request.get_ref().id).await;
        let record =
            found.and_then(|(id, record)| record_to_pb(id, record)).map_err(|fault| fault::to_status(&fault))?;
        Ok(tonic::Response::new(record))
    }
}

fn not_yet() -> Fault {
    Fault::new(Code::UnknownMethod, "not built yet")
}

fn accepted_to_pb(accepted: Accepted) -> pb::PushResponse {
    pb::PushResponse {
        id: accepted.id.to_string(),
        log: accepted.log.map(|log| log.to_string()).unwrap_or_default(),
        offset: accepted.offset.0,
        epoch: accepted.epoch.0,
        accepted_at_ms: accepted.accepted_at.as_millis(),
        expires_at_ms: accepted.expires_at.as_millis(),
        duplicate: accepted.duplicate,
        online: accepted.online,
        audience: accepted.audience,
        send_at_ms: accepted.send_at.map_or(0, Timestamp::as_millis),
    }
}

fn answer_to_pb(answer: Answer) -> pb::PushStreamResponse {
    use pb::push_stream_response::Outcome;
    let outcome = match answer.outcome {
        Ok(accepted) => Outcome::Accepted(accepted_to_pb(accepted)),
        Err(fault) => Outcome::Error(fault::to_item(&fault)),
    };
    pb::PushStreamResponse { reference: answer.reference.unwrap_or_default(), outcome: Some(outcome) }
}

fn record_to_pb(id: MessageId, record: MessageRecord) -> Result<pb::GetMessageResponse, Fault> {
    use pb::get_message_response::State;
    let content = match record.entry {
        Some(entry) => {
            let content = prost::Message::decode(entry.body).map_err(|_| json_answer::unreadable())?;
            Some(pb::Push {
                id: id.as_bytes().to_vec().into(),
                accepted_at_ms: record.accepted_at.as_millis(),
                expires_at_ms: record.expires_at.as_millis(),
                ..content
            })
        }
        None => None,
    };
    let state = match record.state {
        MessageState::Stored => State::Stored,
        MessageState::Expired => State::Expired,
        MessageState::Replaced => State::Replaced,
        MessageState::Trimmed => State::Trimmed,
        MessageState::Cancelled => State::Cancelled,
        MessageState::Scheduled => State::Scheduled,
        MessageState::Taken => State::Taken,
        MessageState::Dismissed => State::Dismissed,
    };
    Ok(pb::GetMessageResponse {
        id: id.to_string(),
        state: state.into(),
        log: record.log.to_string(),
        offset: record.offset.0,
        epoch: record.epoch.0,
        accepted_at_ms: record.accepted_at.as_millis(),
        expires_at_ms: record.expires_at.as_millis(),
        content,
        devices: record.devices.into_iter().map(device_to_pb).collect(),
        ..pb::GetMessageResponse::default()
    })
}

fn device_to_pb(outcome: DeviceOutcome) -> pb::DeviceOutcome {
    use pb::device_outcome::State;
    let (state, reason, at_ms) = match outcome.state {
        DeviceState::Waiting => (State::Waiting, String::new(), 0),
        DeviceState::Acked { at } => (State::Acked, String::new(), at.map_or(0, Timestamp::as_millis)),
        DeviceState::Missed => (State::Missed, String::new(), 0),
        DeviceState::Dead { reason, at } => (State::Dead, reason, at.as_millis()),
    };
    pb::DeviceOutcome {
        device: outcome.device.to_string(),
        state: state.into(),
        attempts: outcome.attempts,
        reason,
        at_ms,
        user: outcome.user.to_string(),
        ..pb::DeviceOutcome::default()
    }
}

/// Longest message: the largest payload, and all that may stand beside it.
fn message_bytes_max(intake: &Intake) -> usize {
    intake.node.limits().payload_bytes_max + 64 * 1024
}
