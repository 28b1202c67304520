//! The audience service as gRPC speaks it, on tonic. What it decides is decided elsewhere; here are only the messages.

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
use crate::rpc::stream::Ask;
use crate::rpc::{audience, fault, groups, members, users};
use crate::wire::pb;
use crate::wire::pb::audience_server::{Audience, AudienceServer};

/// The gRPC methods.
pub(super) fn router(intake: Intake) -> Router<Intake> {
    let request_bytes_max = members::REQUEST_BYTES_MAX;
    let server = AudienceServer::new(Service { intake: intake.clone() }).max_decoding_message_size(request_bytes_max);
    let methods = Methods { intake, server, request_bytes_max, too_large: Code::RequestTooLarge };
    let unary_methods = [
        "CreateGroup",
        "GetGroup",
        "ListGroups",
        "DeleteGroup",
        "ListMembers",
        "SetGroups",
        "GetUser",
        "SetQuietHours",
        "SetTopic",
        "GetTopic",
        "GetAudience",
    ];
    let router = Router::new().route("/pushline.v1.Audience/ChangeMembers", post(streaming));
    let add = |router: Router<Methods>, method| router.route(&format!("/pushline.v1.Audience/{method}"), post(unary));
    unary_methods.into_iter().fold(router, add).with_state(methods)
}

type Methods = Call<AudienceServer<Service>>;

/// What the generated server calls.
struct Service {
    intake: Intake,
}

async fn unary(State(methods): State<Methods>, request: Request) -> Response {
    methods.unary::<Caller>(request).await.unwrap_or_else(|fault| refusal(&fault))
}

async fn streaming(State(methods): State<Methods>, request: Request) -> Response {
    methods.streaming(request).await.unwrap_or_else(|fault| refusal(&fault))
}

/// What a handler gives to the generated server.
type Answered<T> = Result<tonic::Response<T>, tonic::Status>;

fn answered<T>(outcome: Result<T, Fault>) -> Answered<T> {
    outcome.map(tonic::Response::new).map_err(|fault| fault::to_status(&fault))
}

#[tonic::async_trait]
impl Audience for Service {
    async fn create_group(&self, request: tonic::Request<pb::CreateGroupRequest>) -> Answered<pb::Group> {
        let caller = caller(&request)?;
        answered(groups::create(&self.intake, &caller.tenant, request.into_inner()).await)
    }

    async fn get_group(&self, request: tonic::Request<pb::GetGroupRequest>) -> Answered<pb::Group> {
        let caller = caller(&request)?;
        answered(groups::get(&self.intake, &caller.tenant, request.into_inner()).await)
    }

    async fn list_groups(&self, request: tonic::Request<pb::ListGroupsRequest>) -> Answered<pb::ListGroupsResponse> {
        let caller = caller(&request)?;
        answered(groups::list(&self.intake, &caller.tenant, request.into_inner()).await)
    }

    async fn delete_group(&self, request: tonic::Request<pb::DeleteGroupRequest>) -> Answered<pb::DeleteGroupResponse> {
        let caller = caller(&request)?;
        answered(groups::delete(&self.intake, &caller.tenant, request.into_inner()).await)
    }

    async fn list_members(&self, request: tonic::Request<pb::ListMembersRequest>) -> Answered<pb::ListMembersResponse> {
        let caller = caller(&request)?;
        answered(groups::members(&self.intake, &caller.tenant, request.into_inner()).await)
    }

    type ChangeMembersStream = BoxStream<'static, Result<pb::ChangeMembersResponse, tonic::Status>>;

    async fn change_members(
        &self,
        request: tonic::Request<tonic::Streaming<pb::ChangeMembersRequest>>,
    ) -> Answered<Self::ChangeMembersStream> {
        let caller = caller(&request)?;
        let asks = request.into_inner().map(|ask| match ask {
            Ok(change) => Ok(Ask { reference: None, request: Ok(change) }),
            Err(status) => Err(fault::from_status(&status, Code::RequestTooLarge)),
        });
        let answers = members::answers(self.intake.clone(), caller, asks).map(|answer| {
            let (progress, refused) = answer.map_err(|fault| fault::to_status(&fault))?;
            let error = refused.as_ref().map(fault::to_item).map(|item| pb::MembersError {
                status: item.status,
                code: item.code,
                errno: item.errno,
                message: item.message,
            });
            Ok(pb::ChangeMembersResponse { error, ..progress })
        });
        Ok(tonic::Response::new(answers.boxed()))
    }

    async fn set_groups(&self, request: tonic::Request<pb::SetGroupsRequest>) -> Answered<pb::User> {
        let caller = caller(&request)?;
        answered(users::set_groups(&self.intake, &caller.tenant, request.into_inner()).await)
    }

    async fn get_user(&self, request: tonic::Request<pb::GetUserRequest>) -> Answered<pb::User> {
        let caller = caller(&request)?;
        answered(users::get(&self.intake, &caller.tenant, request.into_inner()).await)
    }

    async fn set_quiet_hours(&self, request: tonic::Request<pb::SetQuietHoursRequest>) -> Answered<pb::User> {
        let caller = caller(&request)?;
        answered(users::set_quiet_hours(&self.intake, &caller.tenant, request.into_inner()).await)
    }

    async fn set_topic(&self, request: tonic::Request<pb::SetTopicRequest>) -> Answered<pb::Topic> {
        let caller = caller(&request)?;
        answered(audience::set_topic(&self.intake, &caller.tenant, request.into_inner()).await)
    }

    async fn get_topic(&self, request: tonic::Request<pb::GetTopicRequest>) -> Answered<pb::Topic> {
        let caller = caller(&request)?;
        answered(audience::get_topic(&self.intake, &caller.tenant, request.into_inner()).await)
    }

    async fn get_audience(&self, request: tonic::Request<pb::GetAudienceRequest>) -> Answered<pb::GetAudienceResponse> {
        let caller = caller(&request)?;
        answered(audience::get(&self.intake, &caller.tenant, request.into_inner()).await)
    }
}
