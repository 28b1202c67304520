//! Groups: what backends ask about them and what they are answered, in the protocol's messages and in JSON.

use serde_json::{Value, json};

use crate::model::fault::{Code, Fault};
use crate::model::id::{GroupName, TenantId};
use crate::model::rule::TopicRule;
use crate::node::people::{self, Settling};
use crate::rpc::intake::Intake;
use crate::rpc::json_reader::{members as fields, string, strings};
use crate::rpc::names::{self, NAMES_MAX};
use crate::wire::pb;

/// Makes a group.
pub(super) async fn create(
    intake: &Intake,
    tenant: &TenantId,
    request: pb::CreateGroupRequest,
) -> Result<pb::Group, Fault> {
    let name = names::group("name", &request.name)?;
    let topics = match request.topics {
        topics if topics.is_empty() => None,
        topics => {
            let rule = TopicRule::new(topics);
            Some(rule.map_err(|error| Fault::new(Code::InvalidName, format!("topics: {error}")))?)
        }
    };
    intake.node.create_group(tenant, name, topics).await.map(to_pb)
}

/// A group.
pub(super) async fn get(intake: &Intake, tenant: &TenantId, request: pb::GetGroupRequest) -> Result<pb::Group, Fault> {
    let name = names::group("name", &request.name)?;
    intake.node.group(tenant, &name).await.map(to_pb)
}

/// A page of the groups.
pub(super) async fn list(
    intake: &Intake,
    tenant: &TenantId,
    request: pb::ListGroupsRequest,
) -> Result<pb::ListGroupsResponse, Fault> {
    let after = names::after(&request.after, names::group)?;
    let page = intake.node.groups(tenant, after, names::page(request.limit)?).await?;
    let next = page.items.last().filter(|_| page.more).map(|group| group.name.to_string()).unwrap_or_default();
    Ok(pb::ListGroupsResponse { groups: page.items.into_iter().map(to_pb).collect(), next })
}

/// Removes a group and its members' places in it.
pub(super) async fn delete(
    intake: &Intake,
    tenant: &TenantId,
    request: pb::DeleteGroupRequest,
) -> Result<pb::DeleteGroupResponse, Fault> {
    let name = names::group("name", &request.name)?;
    let members = intake.node.delete_group(tenant, &name).await?;
    Ok(pb::DeleteGroupResponse { members })
}

/// A page of the members.
pub(super) async fn members(
    intake: &Intake,
    tenant: &TenantId,
    request: pb::ListMembersRequest,
) -> Result<pb::ListMembersResponse, Fault> {
    let group = names::group("group", &request.group)?;
    let after = names::after(&request.after, names::user)?;
    let page = intake.node.members(tenant, &group, after, names::page(request.limit)?).await?;
    let next = page.items.last().filter(|_| page.more).map(ToString::to_string).unwrap_or_default();
    Ok(pb::ListMembersResponse { users: page.items.iter().map(ToString::to_string).collect(), next })
}

/// Checks a change of members and begins it.
pub(super) fn change(
    intake: &Intake,
    tenant: &TenantId,
    request: &pb::ChangeMembersRequest,
) -> Result<Settling<people::Changed>, Fault> {
    let group: GroupName = names::group("group", &request.group)?;
    let named = request.add.len() + request.remove.len();
    if !(1..=NAMES_MAX).contains(&named) {
        let words = format!("add and remove name {named} users; name 1 to {NAMES_MAX}, and more in further requests");
        return Err(Fault::new(Code::InvalidOption, words));
    }
    let (add, remove) =
        (names::each("add", &request.add, names::user)?, names::each("remove", &request.remove, names::user)?);
    let added: std::collections::HashSet<_> = add.iter().collect();
    if let Some(user) = remove.iter().find(|user| added.contains(user)) {
        let words = format!("user {user} stands in add and in remove; say which");
        return Err(Fault::new(Code::InvalidOption, words));
    }
    intake.node.change_members(tenant, group, add, remove)
}

/// What has come of the changes of one stream so far.
#[derive(Default)]
pub(super) struct Progress {
    named: u64,
    added: u64,
    removed: u64,
}

impl Progress {
    /// Takes the outcome of one more change, which named so many users; tells why it was refused apart.
    pub(super) fn step(
        &mut self,
        named: usize,
        outcome: Result<people::Changed, Fault>,
    ) -> (pb::ChangeMembersResponse, Option<Fault>) {
        self.named += named as u64;
        let (members, refused) = match outcome {
            Ok(changed) => {
                self.added += changed.added.len() as u64;
                self.removed += changed.removed.len() as u64;
                (changed.members, None)
            }
            Err(fault) => (0, Some(fault)),
        };
        let (named, added, removed) = (self.named, self.added, self.removed);
        (pb::ChangeMembersResponse { named, added, removed, members, error: None }, refused)
    }
}

fn to_pb(group: people::Group) -> pb::Group {
    pb::Group {
        name: group.name.to_string(),
        topics: group.topics.iter().map(ToString::to_string).collect(),
        members: group.members,
        created_at_ms: group.created_at.as_millis(),
    }
}

/// Reads the body of `PUT /v1/groups/{group}`, which may be empty.
pub(super) fn read_topics(body: &[u8]) -> Result<Vec<String>, Fault> {
    let mut topics = Vec::new();
    if body.is_empty() {
        return Ok(topics);
    }
    for (_, raw) in fields("the group", body, &["topics"])? {
        topics = strings("topics", raw)?;
        if topics.is_empty() {
            let words = "topics: there are none; leave the field out to have those of the gateway's rule";
            return Err(Fault::new(Code::InvalidOption, words));
        }
    }
    Ok(topics)
}

/// Reads a change of members: of a group that the path names, or else of one that stands in it.
pub(super) fn read_change(body: &[u8], group: Option<String>) -> Result<pb::ChangeMembersRequest, Fault> {
    let known: &[&str] = if group.is_some() { &["add", "remove"] } else { &["group", "add", "remove"] };
    let mut change = pb::ChangeMembersRequest { group: group.unwrap_or_default(), ..Default::default() };
    for (name, raw) in fields("the change", body, known)? {
        match name.as_str() {
            "add" => change.add = strings("add", raw)?,
            "remove" => change.remove = strings("remove", raw)?,
            _ => change.group = string("group", raw)?,
        }
    }
    Ok(change)
}

/// A group in JSON.
pub(super) fn shown(group: &pb::Group) -> Value {
    json!({
        "name": group.name,
        "topics": group.topics,
        "members": group.members,
        "created_at_ms": group.created_at_ms,
    })
}

/// A page of groups in JSON.
pub(super) fn list_shown(page: &pb::ListGroupsResponse) -> Value {
    json!({ "groups": page.groups.iter().map(shown).collect::<Vec<_>>(), "next": next_shown(&page.next) })
}

/// A page of members in JSON.
pub(super) fn members_shown(page: &pb::ListMembersResponse) -> Value {
    json!({ "users": page.users, "next": next_shown(&page.next) })
}

/// What has come of changes in JSON; why one was refused is told apart.
pub(super) fn progress_shown(progress: &pb::ChangeMembersResponse) -> Value {
    json!({
        "named": progress.named,
        "added": progress.added,
        "removed": progress.removed,
        "members": progress.members,
    })
}

/// Where the next page begins; null after the last.
pub(super) fn next_shown(next: &str) -> Value {
    if next.is_empty() { Value::Null } else { next.into() }
}

#[cfg(test)]
mod tests {
    use super::{Progress, read_change, read_topics};
    use crate::model::fault::{Code, Fault};
    use crate::model::id::UserId;
    use crate::node::people::Changed;

    #[test]
    fn bodies_are_read_or_refused() {
        assert_eq!(read_topics(b""), Ok(vec![]));
        assert_eq!(read_topics(br#"{"topics": null}"#), Ok(vec![]));
        assert_eq!(read_topics(br#"{"topics": ["a", "{group}"]}"#), Ok(vec!["a".into(), "{group}".into()]));
        let change = read_change(br#"{"add": ["a"], "remove": ["b"]}"#, Some("g".into())).expect("a change");
        assert_eq!(
            (change.group.as_str(), &change.add[..], &change.remove[..]),
            ("g", &["a".into()][..], &["b".into()][..])
        );
        let change = read_change(br#"{"add": ["a"], "group": "h"}"#, None).expect("a change");
        assert_eq!(change.group, "h");
        for (fault, words) in [
            (read_topics(br#"{"topics": []}"#).expect_err("none"), "there are none"),
            (read_topics(br#"{"topics": "a"}"#).expect_err("a text"), "topics must be a list of strings"),
            (read_change(br#"{"group": "h"}"#, Some("g".into())).expect_err("two groups"), "unknown field `group`"),
            (read_change(br#"{"users": ["a"]}"#, None).expect_err("which way"), "unknown field `users`"),
        ] {
            assert!(fault.words.contains(words), "{words}: {fault}");
        }
    }

    #[test]
    fn progress_counts_what_was_done_and_tells_what_was_refused() {
        let user = |name| UserId::new(name).expect("a name");
        let mut progress = Progress::default();
        let done = Changed { added: vec![user("a"), user("b")], removed: vec![user("c")], members: 7 };
        let (told, refused) = progress.step(5, Ok(done));
        assert_eq!((told.named, told.added, told.removed, told.members, refused), (5, 2, 1, 7, None));
        let (told, refused) = progress.step(3, Err(Fault::new(Code::TooManyGroups, "too many")));
        assert_eq!((told.named, told.added, told.removed), (8, 2, 1));
        assert_eq!(refused.map(|fault| fault.code), Some(Code::TooManyGroups));
    }
}
