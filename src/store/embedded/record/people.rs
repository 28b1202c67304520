//! The values of devices, users and groups, and of how a device follows a log.

use std::collections::BTreeMap;

use super::{Input, decode_cursor_from, encode_cursor_to, push, push_text};
use crate::model::clock::Timestamp;
use crate::model::cursor::Cursor;
use crate::model::id::{DeviceId, DeviceNumber, GroupName, TopicName, UserId};
use crate::model::log::Offset;
use crate::model::quiet::{QuietHours, TimeOfDay};
use crate::store::Error;

/// A device's record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Device {
    /// When it last came or left.
    pub(in super::super) seen: Timestamp,
    /// How many topics it subscribed to by itself.
    pub(in super::super) subscriptions: u32,
    /// Its number.
    pub(in super::super) number: DeviceNumber,
    /// The head of its inbox when it became known: what was pushed there before did not count it in.
    pub(in super::super) joined: Offset,
    /// What is in the broadcast log up to here is not for it.
    pub(in super::super) broadcast: Offset,
    /// When it is looked at whether it is absent: the key of that goes with it.
    pub(in super::super) due: Timestamp,
    /// What conditions may ask about it.
    pub(in super::super) attributes: BTreeMap<String, String>,
}

impl Device {
    pub(in super::super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32);
        let numbers = [self.subscriptions.into(), self.number.0.into(), self.broadcast.0, self.joined.0];
        let times = [self.seen, self.due].map(Timestamp::as_millis);
        times.into_iter().chain(numbers).for_each(|number| push(&mut out, number));
        for (name, value) in &self.attributes {
            push_text(&mut out, name);
            push_text(&mut out, value);
        }
        out
    }

    pub(in super::super) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut input = Input { bytes, what: "device" };
        let (seen, due, subscriptions) = (input.time()?, input.time()?, input.number32()?);
        let (number, broadcast) = (DeviceNumber(input.number32()?), Offset(input.number()?));
        let joined = Offset(input.number()?);
        let mut attributes = BTreeMap::new();
        while !input.bytes.is_empty() {
            attributes.insert(input.text()?.to_owned(), input.text()?.to_owned());
        }
        Ok(Self { seen, subscriptions, number, joined, broadcast, due, attributes })
    }
}

/// How a device follows a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Follow {
    /// It asked for it by itself, or it is its inbox. Otherwise this only remembers its progress in a log that it follows
    /// for another reason: a group of its user, or that everybody follows it.
    pub(in super::super) own: bool,
    /// What it has settled.
    pub(in super::super) cursor: Cursor,
}

impl Follow {
    pub(in super::super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24);
        out.push(self.own.into());
        encode_cursor_to(&mut out, &self.cursor);
        out
    }

    pub(in super::super) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut input = Input { bytes, what: "cursor" };
        let own = input.flag()?;
        Ok(Self { own, cursor: decode_cursor_from(input)? })
    }

    /// Whether it is the device's own, without reading the rest.
    pub(in super::super) fn own(bytes: &[u8]) -> bool {
        bytes.first() == Some(&1)
    }
}

/// A user's record. There is none of a user that has nothing of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct User {
    /// Its number, if it was put in a group before a device of it was seen. The first one takes it over.
    pub(in super::super) seat: Option<DeviceNumber>,
    /// With `seat`: what is in the broadcast log up to here is not for its first device.
    pub(in super::super) broadcast: Offset,
    /// With `seat`: since when it has no groups any more.
    pub(in super::super) left: Option<Timestamp>,
    /// Of the last call that set its groups.
    pub(in super::super) version: u64,
    /// Of the groups of that call.
    pub(in super::super) fingerprint: u64,
    /// When it wants to be left alone.
    pub(in super::super) quiet_hours: Option<QuietHours>,
    /// Its groups, and since when it follows the topics of each: what is in the topic's log up to there is not for its
    /// devices. Groups with the same topic have the same place. The log lives on while a group leads to it, so the place
    /// is one of its present life.
    pub(in super::super) groups: BTreeMap<GroupName, Vec<(TopicName, Offset)>>,
}

impl User {
    /// Whether it need not be kept.
    pub(in super::super) fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// The topics that its groups bring, and since when.
    pub(in super::super) fn topics(&self) -> BTreeMap<TopicName, Offset> {
        self.groups.values().flatten().cloned().collect()
    }

    /// Since when it follows a topic, if a group brings it.
    pub(in super::super) fn since(&self, topic: &TopicName) -> Option<Offset> {
        self.groups.values().flatten().find(|(one, _)| one == topic).map(|(_, since)| *since)
    }

    pub(in super::super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32);
        push(&mut out, self.seat.map_or(0, |seat| u64::from(seat.0) + 1));
        [
            self.broadcast.0,
            self.left.map_or(0, |left| left.as_millis().saturating_add(1)),
            self.version,
            self.fingerprint,
        ]
        .into_iter()
        .for_each(|number| push(&mut out, number));
        out.push(self.quiet_hours.is_some().into());
        if let Some(QuietHours { from, to, time_zone }) = &self.quiet_hours {
            push(&mut out, from.minutes().into());
            push(&mut out, to.minutes().into());
            push_text(&mut out, time_zone);
        }
        for (group, topics) in &self.groups {
            push_text(&mut out, group.as_str());
            push(&mut out, topics.len() as u64);
            for (topic, since) in topics {
                // The usual topic of a group has its name.
                push_text(&mut out, if topic.as_str() == group.as_str() { "" } else { topic.as_str() });
                push(&mut out, since.0);
            }
        }
        out
    }

    pub(in super::super) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut input = Input { bytes, what: "user" };
        let seat = match input.number()?.checked_sub(1) {
            Some(seat) => Some(DeviceNumber(u32::try_from(seat).map_err(|_| input.damaged())?)),
            None => None,
        };
        let (broadcast, left) = (Offset(input.number()?), input.number()?.checked_sub(1).map(Timestamp::from_millis));
        let (version, fingerprint) = (input.number()?, input.number()?);
        let quiet_hours = if input.flag()? {
            let (from, to) = (input.time_of_day()?, input.time_of_day()?);
            Some(QuietHours { from, to, time_zone: input.text()?.to_owned() })
        } else {
            None
        };
        let mut groups = BTreeMap::new();
        while !input.bytes.is_empty() {
            let name = input.text()?;
            let mut topics = Vec::new();
            for _ in 0..input.number()? {
                let topic = Some(input.text()?).filter(|topic| !topic.is_empty()).unwrap_or(name);
                topics.push((TopicName::new(topic).map_err(|_| input.damaged())?, Offset(input.number()?)));
            }
            groups.insert(GroupName::new(name).map_err(|_| input.damaged())?, topics);
        }
        Ok(Self { seat, broadcast, left, version, fingerprint, quiet_hours, groups })
    }
}

/// A group's record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Group {
    /// Topics that its members follow; each once. Never changed while it exists.
    pub(in super::super) topics: Vec<TopicName>,
    /// How many members it has.
    pub(in super::super) members: u64,
    /// When it was made.
    pub(in super::super) created_at: Timestamp,
}

impl Group {
    pub(in super::super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32);
        [self.created_at.as_millis(), self.members].into_iter().for_each(|number| push(&mut out, number));
        self.topics.iter().for_each(|topic| push_text(&mut out, topic.as_str()));
        out
    }

    pub(in super::super) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut input = Input { bytes, what: "group" };
        let (created_at, members) = (input.time()?, input.number()?);
        let mut topics = Vec::new();
        while !input.bytes.is_empty() {
            topics.push(TopicName::new(input.text()?).map_err(|_| input.damaged())?);
        }
        Ok(Self { topics, members, created_at })
    }
}

/// Who has a number: a device, or a user that none was seen of.
pub(in super::super) fn encode_holder(user: &UserId, device: Option<&DeviceId>) -> Vec<u8> {
    let mut out = Vec::with_capacity(24);
    push_text(&mut out, user.as_str());
    push_text(&mut out, device.map_or("", DeviceId::as_str));
    out
}

/// Reads who has a number.
pub(in super::super) fn decode_holder(bytes: &[u8]) -> Result<(UserId, Option<DeviceId>), Error> {
    let mut input = Input { bytes, what: "number" };
    let user = UserId::new(input.text()?).map_err(|_| input.damaged())?;
    let device = input.device()?;
    input.end((user, device))
}

/// How many there are of something.
pub(in super::super) fn encode_count(count: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(4);
    push(&mut out, count);
    out
}

/// Reads how many there are of something.
pub(in super::super) fn decode_count(bytes: &[u8]) -> Result<u64, Error> {
    let mut input = Input { bytes, what: "count" };
    let count = input.number()?;
    input.end(count)
}

impl Input<'_> {
    fn flag(&mut self) -> Result<bool, Error> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.damaged()),
        }
    }

    fn time_of_day(&mut self) -> Result<TimeOfDay, Error> {
        let minutes = u16::try_from(self.number()?).map_err(|_| self.damaged())?;
        TimeOfDay::from_minutes(minutes).ok_or_else(|| self.damaged())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Device, Follow, Group, User, decode_holder, encode_holder};
    use crate::model::clock::Timestamp;
    use crate::model::cursor::Cursor;
    use crate::model::id::{DeviceId, DeviceNumber, GroupName, TopicName, UserId};
    use crate::model::log::{Epoch, Offset};
    use crate::model::quiet::{QuietHours, TimeOfDay};

    fn topic(name: &str) -> TopicName {
        TopicName::new(name).unwrap()
    }

    proptest! {
        #[test]
        fn records_read_back(
            (a, b, c) in (any::<u64>(), any::<u64>(), any::<u32>()),
            attributes in prop::collection::btree_map("[a-z_]{1,4}", "\\PC{0,4}", 0..4),
            groups in prop::collection::btree_map("[a-z]{1,4}", prop::collection::vec(("[a-z]{1,4}", any::<u64>()), 0..3), 0..4),
            quiet in prop::option::of((0_u16..1440, 0_u16..1440, "[A-Z][a-z/]{0,6}")),
            own: bool,
        ) {
            let time = Timestamp::from_millis;
            let device = Device { seen: time(a), subscriptions: c, number: DeviceNumber(c), broadcast: Offset(b), joined: Offset(a), due: time(b), attributes };
            prop_assert_eq!(Device::decode(&device.encode()).unwrap(), device);
            let cursor = Cursor { epoch: Epoch(a), settled: [(b / 2, b / 2 + 5)].into_iter().collect(), ..Cursor::default() };
            let follow = Follow { own, cursor };
            prop_assert_eq!(Follow::own(&follow.encode()), own);
            prop_assert_eq!(Follow::decode(&follow.encode()).unwrap(), follow);
            let minutes = |minutes| TimeOfDay::from_minutes(minutes).unwrap();
            let quiet_hours = quiet.map(|(from, to, time_zone)| QuietHours { from: minutes(from), to: minutes(to), time_zone });
            let groups = groups.into_iter().map(|(group, topics)| {
                let mut topics: Vec<_> = topics.iter().map(|(name, since)| (topic(name), Offset(*since))).collect();
                topics.push((topic(&group), Offset(b)));
                (GroupName::new(&group).unwrap(), topics)
            }).collect();
            let user = User {
                seat: own.then_some(DeviceNumber(c)), broadcast: Offset(a), left: own.then_some(time(b / 2)), version: b, fingerprint: a, quiet_hours, groups
            };
            prop_assert_eq!(User::decode(&user.encode()).unwrap(), user.clone());
            let group = Group { topics: user.topics().into_keys().collect(), members: a, created_at: time(b) };
            prop_assert_eq!(Group::decode(&group.encode()).unwrap(), group);
            let holder = (UserId::new("ann").unwrap(), own.then(|| DeviceId::new("phone").unwrap()));
            prop_assert_eq!(decode_holder(&encode_holder(&holder.0, holder.1.as_ref())).unwrap(), holder);
        }

        #[test]
        fn any_bytes_are_refused_or_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = Device::decode(&bytes);
            let _ = Follow::decode(&bytes);
            let _ = User::decode(&bytes);
            let _ = Group::decode(&bytes);
            let _ = decode_holder(&bytes);
        }
    }

    #[test]
    fn a_record_that_is_cut_is_damaged() {
        let device = Device { number: DeviceNumber(3), ..Device::default() };
        let bytes = device.encode();
        assert!(Device::decode(&bytes[..bytes.len() - 1]).is_err());
        let attributes = [("locale".to_owned(), "de".to_owned())].into();
        let bytes = Device { attributes, ..device }.encode();
        assert!(Device::decode(&bytes[..bytes.len() - 1]).is_err());
        assert!(Follow::decode(&[2, 1, 0]).is_err());
    }
}
