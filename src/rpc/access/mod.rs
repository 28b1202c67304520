//! What a tenant's backends say about access: the service `pushline.v1.Access` and its JSON twin. It checks and
//! translates; who may do what is the node's to know.

mod device_keys;
mod http;
mod shares;
pub(super) mod tokens;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;

use crate::model::access::Caller;
use crate::model::fault::{Code, Fault};
use crate::rpc::call::{Call, caller, refusal};
use crate::rpc::intake::Intake;
use crate::rpc::{audit, fault, methods};
use crate::wire::pb;
use crate::wire::pb::access_server::{Access, AccessServer};

/// All paths.
pub(super) fn router(intake: Intake) -> Router<Intake> {
    let server = AccessServer::new(Service { intake: intake.clone() }).max_decoding_message_size(REQUEST_BYTES_MAX);
    let calls = Calls { intake, server, request_bytes_max: REQUEST_BYTES_MAX, too_large: Code::RequestTooLarge };
    let add = |router: Router<Calls>, path| router.route(path, post(unary));
    methods::of_service("Access").fold(Router::new(), add).with_state(calls).merge(http::router())
}

type Calls = Call<AccessServer<Service>>;

/// What the generated server calls.
struct Service {
    intake: Intake,
}

async fn unary(State(calls): State<Calls>, request: Request) -> Response {
    calls.unary::<Caller>(request).await.unwrap_or_else(|fault| refusal(&fault))
}

/// What a handler gives to the generated server.
type Answered<T> = Result<tonic::Response<T>, tonic::Status>;

fn answered<T>(outcome: Result<T, Fault>) -> Answered<T> {
    outcome.map(tonic::Response::new).map_err(|fault| fault::to_status(&fault))
}

#[tonic::async_trait]
impl Access for Service {
    async fn issue_token(&self, request: tonic::Request<pb::IssueTokenRequest>) -> Answered<pb::IssueTokenResponse> {
        let caller = caller(&request)?;
        answered(tokens::issue(&self.intake, &caller, request.into_inner()).await)
    }

    async fn revoke_tokens(
        &self,
        request: tonic::Request<pb::RevokeTokensRequest>,
    ) -> Answered<pb::RevokeTokensResponse> {
        let caller = caller(&request)?;
        answered(tokens::revoke(&self.intake, &caller, request.into_inner()).await)
    }

    async fn create_enrolment(
        &self,
        request: tonic::Request<pb::CreateEnrolmentRequest>,
    ) -> Answered<pb::CreateEnrolmentResponse> {
        let caller = caller(&request)?;
        answered(device_keys::enrol(&self.intake, &caller, request.into_inner()).await)
    }

    async fn list_device_keys(
        &self,
        request: tonic::Request<pb::ListDeviceKeysRequest>,
    ) -> Answered<pb::ListDeviceKeysResponse> {
        let caller = caller(&request)?;
        answered(device_keys::list(&self.intake, &caller, request.into_inner()).await)
    }

    async fn remove_device_key(
        &self,
        request: tonic::Request<pb::RemoveDeviceKeyRequest>,
    ) -> Answered<pb::RemoveDeviceKeyResponse> {
        let caller = caller(&request)?;
        answered(device_keys::remove(&self.intake, &caller, request.into_inner()).await)
    }

    async fn create_share(&self, request: tonic::Request<pb::CreateShareRequest>) -> Answered<pb::CreateShareResponse> {
        let caller = caller(&request)?;
        answered(shares::create(&self.intake, &caller, request.into_inner()).await)
    }

    async fn list_shares(&self, request: tonic::Request<pb::ListSharesRequest>) -> Answered<pb::ListSharesResponse> {
        let caller = caller(&request)?;
        answered(shares::list(&self.intake, &caller, request.into_inner()).await)
    }

    async fn revoke_share(&self, request: tonic::Request<pb::RevokeShareRequest>) -> Answered<pb::RevokeShareResponse> {
        let caller = caller(&request)?;
        answered(shares::revoke(&self.intake, &caller, request.into_inner()).await)
    }

    async fn list_audit(&self, request: tonic::Request<pb::ListAuditRequest>) -> Answered<pb::ListAuditResponse> {
        let caller = caller(&request)?;
        answered(audit::of_tenant(&self.intake, &caller.tenant, request.into_inner()).await)
    }
}

/// Longest request: ten topics and a note, with room to spare.
const REQUEST_BYTES_MAX: usize = 16 * 1024;
