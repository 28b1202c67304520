//! docs/targeting.md in the slowest words: for each message and each receiver, whether it is owed. It knows no logs, no
//! offsets, no sets and no cursors; what is pushed is written down at each receiver.

use std::collections::{BTreeMap, BTreeSet};

use pushline::model::clock::Timestamp;
use pushline::model::condition::{Condition, Facts};
use pushline::model::id::{DeviceId, MessageId, TopicName, UserId};
use pushline::model::message::{DismissReason, Exclusion, Target, Urgency};

/// A device, or with `None` a user that no device of was seen.
pub(crate) type Name = (UserId, Option<DeviceId>);

/// Whom a message is for and until when.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) target: Target,
    pub(crate) exclude: Vec<Exclusion>,
    pub(crate) urgency: Urgency,
    pub(crate) expires_at: Timestamp,
    pub(crate) collapse_key: Option<String>,
    /// It is to take the place of this one when it is sent.
    pub(crate) replaces: Option<MessageId>,
    /// When it is to be sent, while it was not.
    pub(crate) send_at: Option<Timestamp>,
    /// It is over, by another reason than its time: since which step, and what those are told that have it.
    pub(crate) over: Option<(u64, Option<DismissReason>)>,
    /// Receivers of the backend's count, when it was sent.
    pub(crate) audience: u64,
}

/// What is known of a receiver.
#[derive(Clone, Debug, Default)]
pub(crate) struct Receiver {
    pub(crate) subscribed: BTreeSet<TopicName>,
    pub(crate) attributes: BTreeMap<String, String>,
    /// Messages for it that it has not acked. Those that are over are taken out where they are looked at.
    pub(crate) owed: BTreeSet<MessageId>,
    /// Messages that it has received at least once.
    pub(crate) received: BTreeSet<MessageId>,
    /// Messages that it has acked, as far as the store knows, with those that it was told to drop.
    pub(crate) acked: BTreeSet<MessageId>,
}

#[derive(Default)]
pub(crate) struct Model {
    /// Counts what happens.
    pub(crate) step: u64,
    pub(crate) now: Timestamp,
    /// Topics of each group that exists.
    pub(crate) groups: BTreeMap<String, BTreeSet<TopicName>>,
    pub(crate) member_of: BTreeMap<UserId, BTreeSet<String>>,
    pub(crate) receivers: BTreeMap<Name, Receiver>,
    pub(crate) messages: BTreeMap<MessageId, Message>,
    /// In the order in which they were sent.
    pub(crate) sent: Vec<MessageId>,
    pub(crate) conflated: BTreeSet<TopicName>,
}

struct Asked<'m>(&'m Model, &'m Name);

impl Facts for Asked<'_> {
    fn follows(&self, topic: &TopicName) -> bool {
        self.0.follows(self.1, topic)
    }

    fn attribute(&self, name: &str) -> Option<&str> {
        self.0.receivers[self.1].attributes.get(name).map(String::as_str)
    }
}

impl Model {
    /// Rule 2.
    pub(crate) fn follows(&self, name: &Name, topic: &TopicName) -> bool {
        let own = self.receivers.get(name).is_some_and(|receiver| receiver.subscribed.contains(topic));
        own || self.group_topics(&name.0).contains(topic)
    }

    pub(crate) fn group_topics(&self, user: &UserId) -> BTreeSet<TopicName> {
        let groups = self.member_of.get(user).into_iter().flatten();
        groups.flat_map(|group| self.groups[group].iter().cloned()).collect()
    }

    /// Rule 4: a user that is in no group any more is no receiver, but what was for it is kept for its first device.
    fn counts(&self, name: &Name) -> bool {
        name.1.is_some() || self.member_of.get(&name.0).is_some_and(|groups| !groups.is_empty())
    }

    pub(crate) fn devices<'m>(&'m self, user: &'m UserId) -> impl Iterator<Item = &'m DeviceId> + 'm {
        self.receivers.keys().filter(move |(owner, _)| owner == user).filter_map(|(_, device)| device.as_ref())
    }

    /// Whom a topic's push or a condition is for now; rules 2, 3 and 4.
    pub(crate) fn audience(&self, target: &Target) -> BTreeSet<Name> {
        let all = self.receivers.keys().filter(|name| self.counts(name));
        let asked = all.filter(|name| match target {
            Target::Topic(topic) => self.follows(name, topic),
            Target::Condition(condition) => self.is_true(condition, name),
            _ => false,
        });
        asked.cloned().collect()
    }

    fn is_true(&self, condition: &Condition, name: &Name) -> bool {
        condition.matches(&Asked(self, name))
    }

    /// Rule 6.
    fn excluded(message: &Message, (user, device): &Name) -> bool {
        message.exclude.iter().any(|one| match device {
            Some(device) => one.covers(user, device),
            None => one.user == *user && one.device.is_none(),
        })
    }

    /// A push is accepted; one with a time is sent when that has come.
    pub(crate) fn push(&mut self, id: MessageId, message: Message) {
        let later = message.send_at.is_some();
        if let (true, Some(old)) = (later, message.replaces)
            && self.messages[&old].send_at.is_some()
        {
            // What waits itself would be sent before its replacement.
            self.end(old, None);
        }
        self.messages.insert(id, message);
        if !later {
            self.send(id);
        }
    }

    /// A push is given its place: who is there now gets it.
    pub(crate) fn send(&mut self, id: MessageId) {
        let message = self.messages[&id].clone();
        let twins = self.sent.iter().copied().filter(|old| {
            let old = &self.messages[old];
            let same_key = old.collapse_key == message.collapse_key && message.collapse_key.is_some();
            let conflated = matches!(&message.target, Target::Topic(topic) if self.conflated.contains(topic));
            place(&old.target) == place(&message.target)
                && (conflated || (same_key && device_of(&old.target) == device_of(&message.target)))
        });
        let olds: Vec<_> = twins.chain(message.replaces).collect();
        for old in olds {
            if self.stands(old) || self.waits(old) {
                self.end(old, None);
            }
        }
        let mut names: BTreeSet<Name> = match &message.target {
            Target::User(user) | Target::AnyOfUser(user) => {
                self.devices(user).map(|device| (user.clone(), Some(device.clone()))).collect()
            }
            Target::Device(user, device) => {
                let name = (user.clone(), Some(device.clone()));
                self.receivers.contains_key(&name).then_some(name).into_iter().collect()
            }
            target => self.audience(target),
        };
        names.retain(|name| !Self::excluded(&message, name));
        for name in &names {
            self.receivers.entry(name.clone()).or_default().owed.insert(id);
        }
        if let Some(message) = self.messages.get_mut(&id) {
            message.send_at = None;
            message.audience = names.len() as u64;
        }
        self.sent.push(id);
    }

    /// Whether a message waits for its time.
    pub(crate) fn waits(&self, id: MessageId) -> bool {
        let message = &self.messages[&id];
        message.send_at.is_some() && message.over.is_none() && message.expires_at > self.now
    }

    /// Whether it was sent and is not over; rule 8.
    pub(crate) fn stands(&self, id: MessageId) -> bool {
        let message = &self.messages[&id];
        message.send_at.is_none() && message.over.is_none() && message.expires_at > self.now
    }

    /// It is delivered to nobody any more.
    pub(crate) fn end(&mut self, id: MessageId, tell: Option<DismissReason>) {
        let step = self.step;
        if let Some(message) = self.messages.get_mut(&id) {
            message.over.get_or_insert((step, tell));
        }
    }

    /// Whether it may be delivered to a device; `since`: the step at which it was read from its log.
    pub(crate) fn may_get(&self, name: &Name, id: MessageId, since: u64) -> bool {
        let message = &self.messages[&id];
        let over = message.over.is_some_and(|(step, _)| step < since) || message.expires_at <= self.now;
        self.receivers[name].owed.contains(&id) && !over && !Self::excluded(message, name)
    }

    /// What a device must have acked in the end and has not.
    pub(crate) fn missing(&self, name: &Name) -> Vec<MessageId> {
        let owed = self.receivers[name].owed.iter().copied();
        owed.filter(|id| self.stands(*id) && !Self::excluded(&self.messages[id], name)).collect()
    }

    /// A device comes; rules 1 and 4. True when it was not known.
    pub(crate) fn open(&mut self, user: &UserId, device: &DeviceId) -> bool {
        let name = (user.clone(), Some(device.clone()));
        if self.receivers.contains_key(&name) {
            return false;
        }
        let mut receiver = self.receivers.remove(&(user.clone(), None)).unwrap_or_default();
        for id in &self.sent {
            let message = &self.messages[id];
            let own = match &message.target {
                Target::User(to) | Target::AnyOfUser(to) => to == user,
                Target::Device(to, only) => to == user && only == device,
                Target::Topic(_) | Target::Condition(_) => false,
            };
            if own && self.stands(*id) {
                receiver.owed.insert(*id);
            }
        }
        self.receivers.insert(name, receiver);
        true
    }

    /// A device was away for too long. A user with groups is one receiver again when that was its last one.
    pub(crate) fn forget(&mut self, user: &UserId, device: &DeviceId) {
        self.receivers.remove(&(user.clone(), Some(device.clone())));
        let seat = (user.clone(), None);
        if self.devices(user).next().is_none() && self.counts(&seat) {
            self.receivers.insert(seat, Receiver::default());
        }
    }

    /// Something about who follows what changes; rule 5.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Self)) {
        let names: Vec<Name> = self.receivers.keys().cloned().collect();
        let topics = |model: &Self, name: &Name| -> BTreeSet<TopicName> {
            let own = model.receivers.get(name).map(|receiver| receiver.subscribed.clone()).unwrap_or_default();
            own.into_iter().chain(model.group_topics(&name.0)).collect()
        };
        let before: Vec<_> = names.iter().map(|name| topics(self, name)).collect();
        change(self);
        for (name, before) in names.iter().zip(before) {
            let after = topics(self, name);
            let messages = &self.messages;
            let left = |id: &MessageId| matches!(&messages[id].target, Target::Topic(topic) if before.contains(topic) && !after.contains(topic));
            if let Some(receiver) = self.receivers.get_mut(name) {
                receiver.owed.retain(|id| !left(id));
            }
        }
    }

    /// A user's groups change; one without a device becomes a receiver.
    pub(crate) fn regroup(&mut self, user: &UserId, change: impl FnOnce(&mut BTreeSet<String>)) {
        self.change(|model| change(model.member_of.entry(user.clone()).or_default()));
        let in_groups = !self.member_of[user].is_empty();
        if in_groups && self.devices(user).next().is_none() {
            self.receivers.entry((user.clone(), None)).or_default();
        }
    }

    /// The store has a device's ack; rule 7.
    pub(crate) fn acked(&mut self, name: &Name, id: MessageId) {
        let Some(receiver) = self.receivers.get_mut(name) else { return };
        let was_owed = receiver.owed.remove(&id);
        receiver.acked.insert(id);
        if was_owed && matches!(self.messages[&id].target, Target::AnyOfUser(_)) && self.stands(id) {
            self.end(id, Some(DismissReason::Taken));
        }
    }
}

/// What messages must share to take each other's place: their log.
fn place(target: &Target) -> String {
    match target {
        Target::User(user) | Target::Device(user, _) | Target::AnyOfUser(user) => format!("user {user}"),
        Target::Topic(topic) => format!("topic {topic}"),
        Target::Condition(_) => "all".to_owned(),
    }
}

fn device_of(target: &Target) -> Option<&DeviceId> {
    match target {
        Target::Device(_, device) => Some(device),
        _ => None,
    }
}
