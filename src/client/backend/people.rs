//! The methods of `pushline.v1.Audience`: groups, users, topics, and whom a push would reach.

use futures_util::Stream;
use tonic::Streaming;

use crate::client::backend::connection::Backend;
use crate::client::backend::error::{Error, failed};
use crate::client::backend::line::answered;
use crate::client::error::Refusal;
use crate::model::id::{GroupName, TopicName, UserId};
use crate::model::quiet::QuietHours;
use crate::wire::pb;

impl Backend {
    /// Makes a group, or finds it. Without topics the gateway's rule gives them; `{group}` in one stands for the name.
    ///
    /// # Errors
    /// [`Error::Refused`] (`group_exists` when it maps to other topics), [`Error::Unanswered`].
    pub async fn create_group(&self, name: &GroupName, topics: Vec<String>) -> Result<pb::Group, Error> {
        let request = self.request(pb::CreateGroupRequest { name: name.to_string(), topics });
        answered(self.people.clone().create_group(request).await)
    }

    /// A group.
    ///
    /// # Errors
    /// [`Error::Refused`] (`group_not_found` when there is none), [`Error::Unanswered`].
    pub async fn group(&self, name: &GroupName) -> Result<pb::Group, Error> {
        let request = self.request(pb::GetGroupRequest { name: name.to_string() });
        answered(self.people.clone().get_group(request).await)
    }

    /// Groups by name, after `after` (which the answer's `next` gives; empty for the first), at most `limit` (0: 100).
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Unanswered`].
    pub async fn groups(&self, after: &str, limit: u32) -> Result<pb::ListGroupsResponse, Error> {
        let request = self.request(pb::ListGroupsRequest { after: after.to_owned(), limit });
        answered(self.people.clone().list_groups(request).await)
    }

    /// Removes a group; its members leave first. Gives how many they were. Cut off, another call goes on.
    ///
    /// # Errors
    /// [`Error::Refused`] (`group_not_found` when there is none), [`Error::Unanswered`].
    pub async fn delete_group(&self, name: &GroupName) -> Result<u64, Error> {
        let request = self.request(pb::DeleteGroupRequest { name: name.to_string() });
        answered(self.people.clone().delete_group(request).await).map(|answer| answer.members)
    }

    /// Members of a group by name, paged as [`Backend::groups`].
    ///
    /// # Errors
    /// [`Error::Refused`] (`group_not_found` when there is none), [`Error::Unanswered`].
    pub async fn members(&self, group: &GroupName, after: &str, limit: u32) -> Result<pb::ListMembersResponse, Error> {
        let request = self.request(pb::ListMembersRequest { group: group.to_string(), after: after.to_owned(), limit });
        answered(self.people.clone().list_members(request).await)
    }

    /// Adds and removes members, any number of requests of at most 1,000 users on one stream. Each is answered, in order,
    /// when it is on disk: take the answers while the requests are made.
    ///
    /// # Errors
    /// When the stream cannot begin.
    pub async fn change_members(
        &self,
        changes: impl Stream<Item = pb::ChangeMembersRequest> + Send + 'static,
    ) -> Result<MemberChanges, Error> {
        let answers = self.people.clone().change_members(self.request(changes)).await;
        Ok(MemberChanges { answers: answered(answers)? })
    }

    /// Sets all groups of a user. `version` must be larger than the last one.
    ///
    /// # Errors
    /// [`Error::Refused`] (`stale_version` when it is not), [`Error::Unanswered`].
    pub async fn set_groups(&self, user: &UserId, groups: &[GroupName], version: u64) -> Result<pb::User, Error> {
        let groups = groups.iter().map(ToString::to_string).collect();
        let request = self.request(pb::SetGroupsRequest { user: user.to_string(), groups, version });
        answered(self.people.clone().set_groups(request).await)
    }

    /// What is known of a user.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Unanswered`].
    pub async fn user(&self, user: &UserId) -> Result<pb::User, Error> {
        let request = self.request(pb::GetUserRequest { user: user.to_string() });
        answered(self.people.clone().get_user(request).await)
    }

    /// Sets a user's quiet hours, or takes them away.
    ///
    /// # Errors
    /// [`Error::Refused`], also for a time zone that is not known; [`Error::Unanswered`].
    pub async fn set_quiet_hours(&self, user: &UserId, hours: Option<&QuietHours>) -> Result<pb::User, Error> {
        let quiet_hours = hours.map(|hours| pb::QuietHours {
            from: hours.from.to_string(),
            to: hours.to.to_string(),
            time_zone: hours.time_zone.clone(),
        });
        let request = self.request(pb::SetQuietHoursRequest { user: user.to_string(), quiet_hours });
        answered(self.people.clone().set_quiet_hours(request).await)
    }

    /// Sets whether only the newest push of a topic is kept.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Unanswered`].
    pub async fn set_topic(&self, topic: &TopicName, conflate: bool) -> Result<pb::Topic, Error> {
        let request = self.request(pb::SetTopicRequest { topic: topic.to_string(), conflate });
        answered(self.people.clone().set_topic(request).await)
    }

    /// A topic.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Unanswered`].
    pub async fn topic(&self, topic: &TopicName) -> Result<pb::Topic, Error> {
        let request = self.request(pb::GetTopicRequest { topic: topic.to_string() });
        answered(self.people.clone().get_topic(request).await)
    }

    /// Whom a push to a topic or condition would reach.
    ///
    /// # Errors
    /// [`Error::Refused`] (`invalid_condition` for a condition that cannot be read), [`Error::Unanswered`].
    pub async fn audience(&self, request: pb::GetAudienceRequest) -> Result<pb::GetAudienceResponse, Error> {
        answered(self.people.clone().get_audience(self.request(request)).await)
    }
}

/// Answers to changes of members.
#[derive(Debug)]
pub struct MemberChanges {
    answers: Streaming<pb::ChangeMembersResponse>,
}

/// How far a stream of changes is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Users named so far.
    pub named: u64,
    /// Of them, those that became members.
    pub added: u64,
    /// Of them, those that left.
    pub removed: u64,
    /// Members of the request's group after it.
    pub members: u64,
    /// Why the request changed nothing.
    pub refused: Option<Refusal>,
}

impl MemberChanges {
    /// The answer to the next request; `None` when all are answered. Cancel-safe.
    ///
    /// # Errors
    /// When the stream failed: what was not answered may be done or not, and may be sent again.
    pub async fn next(&mut self) -> Result<Option<Progress>, Error> {
        let answer = self.answers.message().await.map_err(failed)?;
        Ok(answer.map(|answer| Progress {
            named: answer.named,
            added: answer.added,
            removed: answer.removed,
            members: answer.members,
            refused: answer.error.map(|error| Refusal {
                grpc: error.status,
                name: error.code,
                errno: error.errno,
                words: error.message,
                ..Refusal::default()
            }),
        }))
    }
}
