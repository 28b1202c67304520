//! Groups: made, removed, told of. A group holds on to the logs of its topics, so that a place in them stays one of their
//! present life while it exists. It does not know who joins; `members` does.

use std::collections::HashSet;

use super::table::View;
use super::writer::Writer;
use super::{key, read, record};
use crate::model::clock::Timestamp;
use crate::model::id::{GroupName, TenantId, TopicName, UserId};
use crate::model::log::{LogId, Offset};
use crate::store::{Error, Group};

/// Most topics of one group. Surfaces refuse more before, with words for the caller.
const GROUP_TOPICS_MAX: u32 = 16;

impl Writer {
    /// See [`crate::store::Store::create_group`].
    pub(super) fn create_group(
        &mut self,
        tenant: &TenantId,
        name: GroupName,
        topics: Vec<TopicName>,
        now: Timestamp,
    ) -> Result<Group, Error> {
        let new = arising(topics, now)?;
        let group = match recorded(&self.staged, tenant, &name)? {
            Some(known) => {
                let sorted = |group: &record::Group| {
                    let mut topics = group.topics.clone();
                    topics.sort_unstable();
                    topics
                };
                if sorted(&known) != sorted(&new) {
                    let topics: Vec<_> = known.topics.iter().map(TopicName::as_str).collect();
                    return Err(Error::GroupExists(topics.join(", ")));
                }
                known
            }
            None => {
                self.room_for_topics(tenant, &new.topics)?;
                self.found(tenant, &new)?;
                self.put_group(tenant, &name, &new);
                self.sync = true;
                new
            }
        };
        Ok(told(name, group))
    }

    /// See [`crate::store::Store::remove_group`].
    pub(super) fn remove_group(&mut self, tenant: &TenantId, name: &GroupName) -> Result<(), Error> {
        let group = recorded(&self.staged, tenant, name)?.ok_or_else(|| Error::UnknownGroup(name.clone()))?;
        if group.members > 0 {
            return Err(Error::GroupNotEmpty(group.members));
        }
        for topic in group.topics {
            let log_id = LogId::Topic(tenant.clone(), topic);
            let mut log = self.log_or_new(&log_id)?;
            log.followers = log.followers.saturating_sub(1);
            self.put_log(&log_id, &log)?;
        }
        self.staged.remove(key::group(tenant, name));
        self.sync = true;
        Ok(())
    }

    /// A new group holds on to its topics' logs. The caller puts its record.
    pub(super) fn found(&mut self, tenant: &TenantId, group: &record::Group) -> Result<(), Error> {
        for topic in &group.topics {
            let log_id = LogId::Topic(tenant.clone(), topic.clone());
            let mut log = self.log_or_new(&log_id)?;
            log.followers += 1;
            self.put_log(&log_id, &log)?;
        }
        Ok(())
    }

    /// The topics of a group, each with the place that who joins now begins after.
    pub(super) fn begins(
        &mut self,
        tenant: &TenantId,
        group: &record::Group,
    ) -> Result<Vec<(TopicName, Offset)>, Error> {
        let place = |topic: &TopicName| {
            let log = LogId::Topic(tenant.clone(), topic.clone());
            Ok((topic.clone(), read::head(&self.staged, &log)?.last))
        };
        group.topics.iter().map(place).collect()
    }

    pub(super) fn put_group(&mut self, tenant: &TenantId, name: &GroupName, group: &record::Group) {
        self.staged.put(key::group(tenant, name), group.encode());
    }
}

/// A group that is made now.
pub(super) fn arising(mut topics: Vec<TopicName>, now: Timestamp) -> Result<record::Group, Error> {
    let mut seen = HashSet::new();
    topics.retain(|topic| seen.insert(topic.clone()));
    if topics.len() > GROUP_TOPICS_MAX as usize {
        return Err(Error::TooManyGroups(GROUP_TOPICS_MAX));
    }
    Ok(record::Group { topics, members: 0, created_at: now })
}

/// A group's record.
pub(super) fn recorded(view: &impl View, tenant: &TenantId, name: &GroupName) -> Result<Option<record::Group>, Error> {
    let bytes = view.get(&key::group(tenant, name))?;
    bytes.map(|bytes| record::Group::decode(&bytes)).transpose()
}

/// See [`crate::store::Store::group`].
pub(super) fn group(view: &impl View, tenant: &TenantId, name: &GroupName) -> Result<Option<Group>, Error> {
    Ok(recorded(view, tenant, name)?.map(|group| told(name.clone(), group)))
}

/// See [`crate::store::Store::groups`].
pub(super) fn groups(
    view: &impl View,
    tenant: &TenantId,
    after: Option<GroupName>,
    most: usize,
) -> Result<Vec<Group>, Error> {
    let all = key::groups(tenant);
    let from = after.map_or_else(|| all.clone(), |after| key::after(&key::group(tenant, &after)));
    let rows = view.range(&from, &key::after(&all)).take(most);
    rows.map(|row| {
        let (key, value) = row?;
        let name = GroupName::new(key::name_of(&key, all.len())?).map_err(|_| key::damaged("group"))?;
        Ok(told(name, record::Group::decode(&value)?))
    })
    .collect()
}

/// See [`crate::store::Store::members`].
pub(super) fn members(
    view: &impl View,
    tenant: &TenantId,
    group: &GroupName,
    after: Option<UserId>,
    most: usize,
) -> Result<Vec<UserId>, Error> {
    if recorded(view, tenant, group)?.is_none() {
        return Err(Error::UnknownGroup(group.clone()));
    }
    let all = key::members(tenant, group);
    let from = after.map_or_else(|| all.clone(), |after| key::after(&key::member(tenant, group, &after)));
    let rows = view.range(&from, &key::after(&all)).take(most);
    rows.map(|row| UserId::new(key::name_of(&row?.0, all.len())?).map_err(|_| key::damaged("member"))).collect()
}

fn told(name: GroupName, group: record::Group) -> Group {
    let record::Group { topics, members, created_at } = group;
    Group { name, topics, members, created_at }
}
