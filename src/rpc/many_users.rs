//! One push for many users: a message of its own in the inbox of each, checked once. It knows neither gRPC nor JSON.

use std::collections::{HashSet, VecDeque};

use crate::model::access::Caller;
use crate::model::fault::{Code, Fault};
use crate::model::id::{NAME_BYTES_MAX, UserId};
use crate::node::push::{Accepted, Pushing};
use crate::rpc::draft::{Form, Shared};
use crate::rpc::intake::Intake;
use crate::wire::pb;

/// What became of the push to one user.
pub(super) type Outcome = (String, Result<Accepted, Fault>);

/// Pushes to each user once, in their order. What one is refused does not touch the others.
///
/// # Errors
/// What is wrong with the request as a whole; then nobody was pushed to.
pub(super) async fn push(
    intake: &Intake,
    caller: &Caller,
    request: Result<pb::PushUsersRequest, Fault>,
) -> Result<Vec<Outcome>, Fault> {
    let checked = request.and_then(|request| check(intake, request));
    let (users, shared) = checked.map_err(|fault| intake.refused(fault))?;
    let bytes = shared.payload_bytes().max(1);
    let under_way_max = (UNDER_WAY_BYTES_MAX / bytes).max(1);
    let mut outcomes: Vec<Outcome> = Vec::with_capacity(users.len());
    let mut under_way: VecDeque<(String, Result<Pushing, Fault>)> = VecDeque::new();
    for user in users {
        // The copies that wait for the disk are bounded, however many users there are.
        if under_way.len() >= under_way_max
            && let Some(oldest) = under_way.pop_front()
        {
            outcomes.push(settled(oldest).await);
        }
        let pushing = match UserId::new(&user) {
            Ok(user) => Ok(intake.node.push(&caller.tenant, shared.draft_for(user))),
            Err(error) => Err(intake.refused(Fault::new(Code::InvalidName, format!("user: {error}")))),
        };
        under_way.push_back((user, pushing));
    }
    // The store answers in the order of its queue: waiting for one after the other costs nothing.
    while let Some(oldest) = under_way.pop_front() {
        outcomes.push(settled(oldest).await);
    }
    Ok(outcomes)
}

async fn settled((user, pushing): (String, Result<Pushing, Fault>)) -> Outcome {
    let outcome = match pushing {
        Ok(pushing) => pushing.await,
        Err(fault) => Err(fault),
    };
    (user, outcome)
}

/// The users, each once, and the push that they share.
fn check(intake: &Intake, request: pb::PushUsersRequest) -> Result<(Vec<String>, Shared), Fault> {
    let pb::PushUsersRequest { mut users, push } = request;
    if !(1..=USERS_MAX).contains(&users.len()) {
        let words = format!("users: there are {}; name 1 to {USERS_MAX}", users.len());
        return Err(Fault::new(Code::InvalidOption, words));
    }
    let push = push.ok_or_else(|| Fault::new(Code::Malformed, "push is missing"))?;
    if push.target.is_some() {
        let words = "push.target must not be set: users say whom the push is for";
        return Err(Fault::new(Code::InvalidTarget, words));
    }
    if !push.replaces.is_empty() {
        let words = "push.replaces does not go with many users: a message has one target";
        return Err(Fault::new(Code::InvalidOption, words));
    }
    let mut known = HashSet::with_capacity(users.len());
    users.retain(|user| known.insert(user.clone()));
    let shared = Shared::check(push, Form::User, intake.node.limits(), intake.node.clock().now().wall);
    let within = |fault: Fault| Fault::new(fault.code, format!("push.{}", fault.words));
    Ok((users, shared.map_err(within)?))
}

/// Most users of one call (proto).
pub(super) const USERS_MAX: usize = 1_000;
/// Bytes that the names of the users take at most in a message of gRPC: each has 128 bytes, its tag and its length.
pub(super) const USERS_BYTES_MAX: usize = USERS_MAX * (NAME_BYTES_MAX + 3);
/// Bytes of payloads of one call that may be under way. A guess: many times what a disk takes between two flushes.
const UNDER_WAY_BYTES_MAX: usize = 8 * 1024 * 1024;
