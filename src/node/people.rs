//! Groups, users, topics and audiences as backends see them: the store's word, and whoever is connected learns at once
//! what changed.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::task::JoinHandle;

use crate::model::fault::{Code, Fault};
use crate::model::id::{DeviceId, DeviceNumber, GroupName, TenantId, TopicName, UserId};
use crate::model::quiet::QuietHours;
use crate::model::rule::TopicRule;
use crate::node::{Node, fault};
use crate::store;

pub use crate::store::{Audience, Changed, Device, Group, Of, Topic, User};

/// A page of a list, and whether there is more behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// What was asked for.
    pub items: Vec<T>,
    /// The list goes on.
    pub more: bool,
}

impl<T> Page<T> {
    /// The page of at most `most`, from a list that was asked for one more.
    fn cut(mut items: Vec<T>, most: usize) -> Self {
        let more = items.len() > most;
        items.truncate(most);
        Self { items, more }
    }
}

/// Whom a push would be for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Devices and users without one.
    pub count: u64,
    /// Users.
    pub users: u64,
    /// Devices of it that are connected.
    pub online: u64,
    /// A part of the list. Without a device: a user that none was seen of yet.
    pub page: Page<(DeviceNumber, UserId, Option<DeviceId>)>,
}

impl Node {
    /// Makes a group that maps to these topics, or to those of the gateway's rule. Making it again is harmless.
    ///
    /// # Errors
    /// [`Code::GroupExists`] when it maps to other topics, [`Code::InvalidName`] when its name does not fit the rule, or
    /// the store's fault.
    pub async fn create_group(
        &self,
        tenant: &TenantId,
        name: GroupName,
        topics: Option<TopicRule>,
    ) -> Result<Group, Fault> {
        let topics = self.topics_of(&name, topics.as_ref())?;
        self.store.create_group(tenant, name, topics, self.clock.now().wall).await.map_err(fault)
    }

    /// A group.
    ///
    /// # Errors
    /// [`Code::GroupNotFound`], or the store's fault.
    pub async fn group(&self, tenant: &TenantId, name: &GroupName) -> Result<Group, Fault> {
        let found = self.store.group(tenant, name).await.map_err(fault)?;
        found.ok_or_else(|| fault(store::Error::UnknownGroup(name.clone())))
    }

    /// Groups after a name.
    ///
    /// # Errors
    /// The store's fault.
    pub async fn groups(&self, tenant: &TenantId, after: Option<GroupName>, most: usize) -> Result<Page<Group>, Fault> {
        let groups = self.store.groups(tenant, after, most + 1).await.map_err(fault)?;
        Ok(Page::cut(groups, most))
    }

    /// Removes a group: its members leave in steps, then it is gone. Answers with how many left now. A caller that goes
    /// away stops it between two steps; the next call goes on there.
    ///
    /// # Errors
    /// [`Code::GroupNotFound`], or the store's fault; [`Code::GroupExists`] when users are added as fast as they leave.
    pub async fn delete_group(self: &Arc<Self>, tenant: &TenantId, name: &GroupName) -> Result<u64, Fault> {
        self.group(tenant, name).await?;
        let mut left = 0;
        for last in [false, false, false, true] {
            // Those who left are not looked for again: each step would pass over the traces of all before it.
            let mut after = None;
            loop {
                let members = self.store.members(tenant, name, after, MEMBERS_A_STEP).await.map_err(fault)?;
                let Some(furthest) = members.last().cloned() else { break };
                after = Some(furthest);
                let changed = self.change_members(tenant, name.clone(), Vec::new(), members)?.await?;
                left += changed.removed.len() as u64;
            }
            match self.store.remove_group(tenant, name).await {
                Ok(()) => break,
                // Somebody joined in between.
                Err(store::Error::GroupNotEmpty(_)) if !last => {}
                Err(error) => return Err(fault(error)),
            }
        }
        Ok(left)
    }

    /// Members of a group after a name.
    ///
    /// # Errors
    /// [`Code::GroupNotFound`], or the store's fault.
    pub async fn members(
        &self,
        tenant: &TenantId,
        group: &GroupName,
        after: Option<UserId>,
        most: usize,
    ) -> Result<Page<UserId>, Fault> {
        self.group(tenant, group).await?;
        let members = self.store.members(tenant, group, after, most + 1).await.map_err(fault)?;
        Ok(Page::cut(members, most))
    }

    /// Adds and removes members; a group that does not exist arises when somebody is added. Its place in the store's
    /// queue is taken when this is called, not when the answer is awaited. A caller that goes away does not undo it, and
    /// those who are connected learn of it all the same.
    ///
    /// # Errors
    /// [`Code::InvalidName`] when the group's name does not fit the rule. The store's faults come with the answer.
    pub fn change_members(
        self: &Arc<Self>,
        tenant: &TenantId,
        group: GroupName,
        add: Vec<UserId>,
        remove: Vec<UserId>,
    ) -> Result<Settling<Changed>, Fault> {
        let arises = if add.is_empty() { Vec::new() } else { self.topics_of(&group, None)? };
        let change = store::MembersChange { group, add, remove, arises };
        let answer = self.store.change_members(tenant, change, self.clock.now().wall);
        let (node, tenant) = (Arc::clone(self), tenant.clone());
        Ok(self.settle(async move {
            let changed = answer.await.map_err(fault)?;
            node.changed(&tenant, &changed.added);
            node.changed(&tenant, &changed.removed);
            Ok(changed)
        }))
    }

    /// Sets all groups of a user; those that do not exist arise.
    ///
    /// # Errors
    /// [`Code::StaleVersion`], [`Code::TooManyGroups`], [`Code::InvalidName`] when the name of a group does not fit the
    /// rule, or the store's fault.
    pub async fn set_groups(
        self: &Arc<Self>,
        tenant: &TenantId,
        user: &UserId,
        groups: Vec<GroupName>,
        version: u64,
    ) -> Result<User, Fault> {
        let arises = |group: GroupName| Ok((group.clone(), self.topics_of(&group, None)?));
        let groups = groups.into_iter().map(arises).collect::<Result<_, Fault>>()?;
        let answer = self.store.set_groups(tenant, user, groups, version, self.clock.now().wall);
        self.settle_user(tenant, user, answer).await?;
        self.user(tenant, user).await
    }

    /// What is known of a user; nothing of one that is not known.
    ///
    /// # Errors
    /// The store's fault.
    pub async fn user(&self, tenant: &TenantId, user: &UserId) -> Result<User, Fault> {
        self.store.user(tenant, user).await.map_err(fault)
    }

    /// Sets or ends the quiet hours of a user.
    ///
    /// # Errors
    /// The store's fault.
    pub async fn set_quiet_hours(
        self: &Arc<Self>,
        tenant: &TenantId,
        user: &UserId,
        hours: Option<QuietHours>,
    ) -> Result<User, Fault> {
        let answer = self.store.set_quiet_hours(tenant, user, hours);
        self.settle_user(tenant, user, answer).await?;
        self.user(tenant, user).await
    }

    /// Makes a topic keep only its newest push, or all.
    ///
    /// # Errors
    /// The store's fault.
    pub async fn set_topic(&self, tenant: &TenantId, topic: &TopicName, conflate: bool) -> Result<Topic, Fault> {
        self.store.set_topic(tenant, topic, conflate).await.map_err(fault)?;
        self.topic(tenant, topic).await
    }

    /// What is known of a topic.
    ///
    /// # Errors
    /// The store's fault.
    pub async fn topic(&self, tenant: &TenantId, topic: &TopicName) -> Result<Topic, Fault> {
        self.store.topic(tenant, topic).await.map_err(fault)
    }

    /// Whom a push would be for now, with a page of the list.
    ///
    /// # Errors
    /// The store's fault.
    pub async fn reach(
        &self,
        tenant: &TenantId,
        of: Of,
        after: Option<DeviceNumber>,
        most: usize,
    ) -> Result<Reach, Fault> {
        // One more tells whether there is more; none are asked for when only the counts are wanted.
        let lines = if most == 0 { 0 } else { most + 1 };
        let audience = self.store.audience(tenant, of, after, lines).await.map_err(fault)?;
        Ok(Reach {
            count: audience.set.len(),
            users: audience.users,
            online: self.online_of(tenant, &audience.set),
            page: Page::cut(audience.page, most),
        })
    }

    fn topics_of(&self, group: &GroupName, topics: Option<&TopicRule>) -> Result<Vec<TopicName>, Fault> {
        let topics = topics.unwrap_or(&self.group_topics).topics(group);
        topics.map_err(|error| Fault::new(Code::InvalidName, format!("topics of group {group}: {error}")))
    }

    /// Waits for a write that concerns one user, and tells the user's sessions.
    fn settle_user(self: &Arc<Self>, tenant: &TenantId, user: &UserId, answer: store::Answer<()>) -> Settling<()> {
        let (node, tenant, user) = (Arc::clone(self), tenant.clone(), user.clone());
        self.settle(async move {
            answer.await.map_err(fault)?;
            node.changed(&tenant, &[user]);
            Ok(())
        })
    }

    /// Sees a write to its end, also when nobody waits for it any more: sessions would not learn of it otherwise.
    fn settle<T: Send + 'static>(&self, work: impl Future<Output = Result<T, Fault>> + Send + 'static) -> Settling<T> {
        Settling(self.tasks.spawn(work))
    }
}

/// A change under way. Dropped before its end, it goes on by itself.
pub struct Settling<T>(JoinHandle<Result<T, Fault>>);

impl<T> Future for Settling<T> {
    type Output = Result<T, Fault>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let lost = |_| Err(Fault::new(Code::Internal, "the change ended by a fault of the program"));
        Pin::new(&mut self.0).poll(context).map(|ended| ended.unwrap_or_else(lost))
    }
}

/// Members of a group that leave in one write when it is deleted. A guess: a write of milliseconds.
const MEMBERS_A_STEP: usize = 1_000;
