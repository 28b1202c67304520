//! What the operator of a gateway does: the service `pushline.v1.Admin` and its JSON twin, on a listener of their own. It
//! checks and translates.

mod http;
mod keys;
mod limits;
mod login_ways;
mod nodes;
mod tenants;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;

use crate::model::fault::{Code, Fault};
use crate::rpc::call::{Call, refusal, rights};
use crate::rpc::intake::Intake;
use crate::rpc::rights::Operator;
use crate::rpc::{audit, fault, methods};
use crate::wire::pb;
use crate::wire::pb::admin_server::{Admin, AdminServer};

/// All paths.
pub(super) fn router(intake: Intake) -> Router<Intake> {
    let server = AdminServer::new(Service { intake: intake.clone() }).max_decoding_message_size(REQUEST_BYTES_MAX);
    let calls = Calls { intake, server, request_bytes_max: REQUEST_BYTES_MAX, too_large: Code::RequestTooLarge };
    let add = |router: Router<Calls>, path| router.route(path, post(unary));
    methods::of_service("Admin").fold(Router::new(), add).with_state(calls).merge(http::router())
}

type Calls = Call<AdminServer<Service>>;

/// What the generated server calls.
struct Service {
    intake: Intake,
}

impl Service {
    /// The operator's request. One that nobody has checked does not come as far as here.
    fn asked<T>(&self, request: tonic::Request<T>) -> Result<(&Intake, T), tonic::Status> {
        let Operator = rights(&request)?;
        Ok((&self.intake, request.into_inner()))
    }
}

async fn unary(State(calls): State<Calls>, request: Request) -> Response {
    calls.unary::<Operator>(request).await.unwrap_or_else(|fault| refusal(&fault))
}

/// What a handler gives to the generated server.
type Answered<T> = Result<tonic::Response<T>, tonic::Status>;

fn answered<T>(outcome: Result<T, Fault>) -> Answered<T> {
    outcome.map(tonic::Response::new).map_err(|fault| fault::to_status(&fault))
}

#[tonic::async_trait]
impl Admin for Service {
    async fn create_tenant(&self, request: tonic::Request<pb::CreateTenantRequest>) -> Answered<pb::Tenant> {
        let (intake, request) = self.asked(request)?;
        answered(tenants::create(intake, request).await)
    }

    async fn get_tenant(&self, request: tonic::Request<pb::GetTenantRequest>) -> Answered<pb::Tenant> {
        let (intake, request) = self.asked(request)?;
        answered(tenants::get(intake, &request))
    }

    async fn list_tenants(&self, request: tonic::Request<pb::ListTenantsRequest>) -> Answered<pb::ListTenantsResponse> {
        let (intake, request) = self.asked(request)?;
        answered(tenants::list(intake, &request))
    }

    async fn update_tenant(&self, request: tonic::Request<pb::UpdateTenantRequest>) -> Answered<pb::Tenant> {
        let (intake, request) = self.asked(request)?;
        answered(tenants::update(intake, request).await)
    }

    async fn suspend_tenant(&self, request: tonic::Request<pb::SuspendTenantRequest>) -> Answered<pb::Tenant> {
        let (intake, request) = self.asked(request)?;
        answered(tenants::suspend(intake, request).await)
    }

    async fn revoke_tenant(
        &self,
        request: tonic::Request<pb::RevokeTenantRequest>,
    ) -> Answered<pb::RevokeTokensResponse> {
        let (intake, request) = self.asked(request)?;
        answered(tenants::revoke(intake, request).await)
    }

    async fn create_key(&self, request: tonic::Request<pb::CreateKeyRequest>) -> Answered<pb::CreateKeyResponse> {
        let (intake, request) = self.asked(request)?;
        answered(keys::create(intake, request).await)
    }

    async fn list_keys(&self, request: tonic::Request<pb::ListKeysRequest>) -> Answered<pb::ListKeysResponse> {
        let (intake, request) = self.asked(request)?;
        answered(keys::list(intake, &request))
    }

    async fn rotate_key(&self, request: tonic::Request<pb::RotateKeyRequest>) -> Answered<pb::CreateKeyResponse> {
        let (intake, request) = self.asked(request)?;
        answered(keys::rotate(intake, request).await)
    }

    async fn remove_key(&self, request: tonic::Request<pb::RemoveKeyRequest>) -> Answered<pb::RemoveKeyResponse> {
        let (intake, request) = self.asked(request)?;
        answered(keys::remove(intake, request).await)
    }

    async fn list_nodes(&self, request: tonic::Request<pb::ListNodesRequest>) -> Answered<pb::ListNodesResponse> {
        let (intake, _) = self.asked(request)?;
        answered(Ok(nodes::list(intake)))
    }

    async fn set_node(&self, request: tonic::Request<pb::SetNodeRequest>) -> Answered<pb::Node> {
        let (intake, request) = self.asked(request)?;
        answered(nodes::set(intake, request).await)
    }

    async fn get_assignment(
        &self,
        request: tonic::Request<pb::GetAssignmentRequest>,
    ) -> Answered<pb::GetAssignmentResponse> {
        let (intake, request) = self.asked(request)?;
        answered(nodes::assignment(intake, request).await)
    }

    async fn list_all_audit(
        &self,
        request: tonic::Request<pb::ListAuditRequest>,
    ) -> Answered<pb::ListAllAuditResponse> {
        let (intake, request) = self.asked(request)?;
        answered(audit::of_all(intake, request).await)
    }
}

/// Longest request: the login ways, which name URLs and audiences of some KiB.
const REQUEST_BYTES_MAX: usize = 256 * 1024;
