//! The HTTP/JSON twin of the audience service: groups, users, topics and audiences as paths. docs/api.md describes it.

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{get, post, put};
use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::model::access::Caller;
use crate::model::fault::Fault;
use crate::rpc::http::{answer_lines, read_lines};
use crate::rpc::intake::Intake;
use crate::rpc::json_call::{Name, asked, named, page, respond, told};
use crate::rpc::members::{self, JSON_BYTES_MAX};
use crate::rpc::stream::Ask;
use crate::rpc::{audience, fault, groups, users};
use crate::wire::pb;

/// The JSON methods.
pub(super) fn router(intake: Intake) -> Router<Intake> {
    Router::new()
        .route("/v1/groups", get(list_groups))
        .route("/v1/groups/{group}", put(create_group).get(get_group).delete(delete_group))
        .route("/v1/groups/{group}/members", get(list_members).post(change_members))
        .route("/v1/members/stream", post(stream_members))
        .route("/v1/users/{user}", get(get_user))
        .route("/v1/users/{user}/groups", put(set_groups))
        .route("/v1/users/{user}/quiet-hours", put(set_quiet_hours).delete(end_quiet_hours))
        .route("/v1/topics/{topic}", put(set_topic).get(get_topic))
        .route("/v1/audience", get(get_audience).post(ask_audience))
        .with_state(intake)
}

async fn list_groups(State(intake): State<Intake>, request: Request) -> Response {
    let listed = async {
        let (caller, mut query) = asked::<Caller>(&intake, request, &["after", "limit"]).await?;
        let (after, limit) = page(&mut query)?;
        let page = groups::list(&intake, &caller.tenant, pb::ListGroupsRequest { after, limit }).await?;
        Ok(groups::list_shown(&page))
    };
    respond(listed.await)
}

async fn create_group(State(intake): State<Intake>, name: Name, request: Request) -> Response {
    let created = async {
        let (caller, body) = told::<Caller>(&intake, request, true).await?;
        let topics = groups::read_topics(&body)?;
        groups::create(&intake, &caller.tenant, pb::CreateGroupRequest { name: named(name), topics }).await
    };
    respond(created.await.map(|group| groups::shown(&group)))
}

async fn get_group(State(intake): State<Intake>, name: Name, request: Request) -> Response {
    let found = async {
        let (caller, _) = asked::<Caller>(&intake, request, &[]).await?;
        groups::get(&intake, &caller.tenant, pb::GetGroupRequest { name: named(name) }).await
    };
    respond(found.await.map(|group| groups::shown(&group)))
}

async fn delete_group(State(intake): State<Intake>, name: Name, request: Request) -> Response {
    let deleted = async {
        let (caller, _) = asked::<Caller>(&intake, request, &[]).await?;
        groups::delete(&intake, &caller.tenant, pb::DeleteGroupRequest { name: named(name) }).await
    };
    respond(deleted.await.map(|deleted| json!({ "members": deleted.members })))
}

async fn list_members(State(intake): State<Intake>, group: Name, request: Request) -> Response {
    let listed = async {
        let (caller, mut query) = asked::<Caller>(&intake, request, &["after", "limit"]).await?;
        let (after, limit) = page(&mut query)?;
        groups::members(&intake, &caller.tenant, pb::ListMembersRequest { group: named(group), after, limit }).await
    };
    respond(listed.await.map(|page| groups::members_shown(&page)))
}

async fn change_members(State(intake): State<Intake>, group: Name, request: Request) -> Response {
    let changed = async {
        let (caller, body) = told::<Caller>(&intake, request, false).await?;
        let change = groups::read_change(&body, Some(named(group)))?;
        let outcome = groups::change(&intake, &caller.tenant, &change)?.await?;
        Ok(groups::Progress::default().step(change.add.len() + change.remove.len(), Ok(outcome)))
    };
    respond(changed.await.map(|(progress, _)| groups::progress_shown(&progress)))
}

/// Changes of a stream are read and answered at the same time.
async fn stream_members(State(intake): State<Intake>, request: Request) -> Response {
    let (caller, lines) = match read_lines(&intake, request, JSON_BYTES_MAX).await {
        Ok(read) => read,
        Err(fault) => return fault::to_response(&fault),
    };
    let asks = lines.map(|line| {
        let (number, line) = line?;
        let place = |fault: Fault| Fault::new(fault.code, format!("line {number}: {}", fault.words));
        Ok(Ask { reference: None, request: groups::read_change(&line, None).map_err(place) })
    });
    answer_lines(members::answers(intake, caller, asks).map(|answer| answer.map(members_line)))
}

fn members_line((progress, refused): (pb::ChangeMembersResponse, Option<Fault>)) -> Value {
    let mut line = groups::progress_shown(&progress);
    if let Some(fault) = refused {
        line["error"] = fault::to_json(&fault);
    }
    line
}

async fn get_user(State(intake): State<Intake>, user: Name, request: Request) -> Response {
    let found = async {
        let (caller, _) = asked::<Caller>(&intake, request, &[]).await?;
        users::get(&intake, &caller.tenant, pb::GetUserRequest { user: named(user) }).await
    };
    respond(found.await.map(|user| users::shown(&user)))
}

async fn set_groups(State(intake): State<Intake>, user: Name, request: Request) -> Response {
    let set = async {
        let (caller, body) = told::<Caller>(&intake, request, false).await?;
        users::set_groups(&intake, &caller.tenant, users::read_groups(&body, named(user))?).await
    };
    respond(set.await.map(|user| users::shown(&user)))
}

async fn set_quiet_hours(State(intake): State<Intake>, user: Name, request: Request) -> Response {
    let set = async {
        let (caller, body) = told::<Caller>(&intake, request, false).await?;
        users::set_quiet_hours(&intake, &caller.tenant, users::read_quiet_hours(&body, named(user))?).await
    };
    respond(set.await.map(|user| users::shown(&user)))
}

async fn end_quiet_hours(State(intake): State<Intake>, user: Name, request: Request) -> Response {
    let ended = async {
        let (caller, _) = asked::<Caller>(&intake, request, &[]).await?;
        let request = pb::SetQuietHoursRequest { user: named(user), quiet_hours: None };
        users::set_quiet_hours(&intake, &caller.tenant, request).await
    };
    respond(ended.await.map(|user| users::shown(&user)))
}

async fn set_topic(State(intake): State<Intake>, topic: Name, request: Request) -> Response {
    let set = async {
        let (caller, body) = told::<Caller>(&intake, request, false).await?;
        audience::set_topic(&intake, &caller.tenant, audience::read_topic(&body, named(topic))?).await
    };
    respond(set.await.map(|topic| audience::topic_shown(&topic)))
}

async fn get_topic(State(intake): State<Intake>, topic: Name, request: Request) -> Response {
    let found = async {
        let (caller, _) = asked::<Caller>(&intake, request, &[]).await?;
        audience::get_topic(&intake, &caller.tenant, pb::GetTopicRequest { topic: named(topic) }).await
    };
    respond(found.await.map(|topic| audience::topic_shown(&topic)))
}

async fn get_audience(State(intake): State<Intake>, request: Request) -> Response {
    let found = async {
        let (caller, mut query) = asked::<Caller>(&intake, request, &["topic", "condition", "after", "limit"]).await?;
        let of = audience::of(query.text("topic"), query.text("condition"))?;
        let (after, limit) = page(&mut query)?;
        audience::get(&intake, &caller.tenant, pb::GetAudienceRequest { of, after, limit }).await
    };
    respond(found.await.map(|found| audience::shown(&found)))
}

async fn ask_audience(State(intake): State<Intake>, request: Request) -> Response {
    let found = async {
        let (caller, body) = told::<Caller>(&intake, request, false).await?;
        audience::get(&intake, &caller.tenant, audience::read(&body)?).await
    };
    respond(found.await.map(|found| audience::shown(&found)))
}
