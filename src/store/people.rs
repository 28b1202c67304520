//! Groups, users, devices and topics as a store tells of them. Plain values.

use std::collections::BTreeMap;

use crate::model::clock::Timestamp;
use crate::model::condition::Condition;
use crate::model::id::{DeviceId, DeviceNumber, GroupName, TopicName, UserId};
use crate::model::log::Head;
use crate::model::quiet::QuietHours;
use crate::model::set::DeviceSet;

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: GroupName,
    /// Topics that its members follow.
    pub topics: Vec<TopicName>,
    /// How many members it has.
    pub members: u64,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Who joined and who left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Users that became members.
    pub added: Vec<UserId>,
    /// Users that left.
    pub removed: Vec<UserId>,
    /// Members of the group now.
    pub members: u64,
}

/// What is known of a user. A user that is not known has nothing of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// Its groups, by name.
    pub groups: Vec<GroupName>,
    /// Of the last `set_groups`; 0 when there was none.
    pub version: u64,
    /// Its quiet hours.
    pub quiet_hours: Option<QuietHours>,
    /// Its devices, by name.
    pub devices: Vec<Device>,
}

/// What is known of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub device: DeviceId,
    /// Its number.
    pub number: DeviceNumber,
    /// When it last came or left.
    pub seen: Timestamp,
    /// What conditions may ask about it.
    pub attributes: BTreeMap<String, String>,
    /// Topics it subscribed to by itself.
    pub subscriptions: u32,
}

/// A topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Topic {
    /// Only the newest push is kept.
    pub conflate: bool,
    /// Devices that follow it, and users without a device that will.
    pub devices: u64,
    /// Its log.
    pub head: Head,
}

/// Whom a question about an audience is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Of {
    /// The followers of a topic.
    Topic(TopicName),
    /// Those that a condition is true for.
    Condition(Condition),
}

/// An audience.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audience {
    /// All of it.
    pub set: DeviceSet,
    /// How many users are in it.
    pub users: u64,
    /// The part of the list that was asked for, by number. Without a device: a user that none was seen of yet.
    pub page: Vec<(DeviceNumber, UserId, Option<DeviceId>)>,
}

/// Members that come and go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembersChange {
    /// Of which group.
    pub group: GroupName,
    /// Who joins; members already are passed over.
    pub add: Vec<UserId>,
    /// Who leaves; others are passed over.
    pub remove: Vec<UserId>,
    /// Topics of the group if it does not exist yet.
    pub arises: Vec<TopicName>,
}
