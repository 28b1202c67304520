//! What happens to people in a world: groups, subscriptions, attributes, quiet hours, long absences.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pushline::delivery::session::Input;
use pushline::model::frame::Ticket;
use pushline::model::id::{GroupName, TopicName, UserId};
use pushline::model::message::{Target, Urgency};
use pushline::model::quiet::{QuietHours, TimeOfDay};
use pushline::store::{Error, MembersChange, Of};

use crate::model::Name;
use crate::steps::{numbered, topic};
use crate::world::World;

/// Groups and their topics. Two share one.
pub(crate) const GROUPS: [(&str, &[&str]); 4] =
    [("g0", &["t0"]), ("g1", &["t0", "t1"]), ("g2", &["t2"]), ("g3", &["t1", "t3"])];

fn group_topics(group: &str) -> Vec<TopicName> {
    let (_, topics) = GROUPS.iter().find(|(name, _)| *name == group).expect("one of ours");
    topics.iter().map(|name| topic(name)).collect()
}

impl World {
    pub(crate) fn members(&mut self) {
        let group = GROUPS[self.chance.usize(0..GROUPS.len())].0;
        let (mut add, mut remove) = (BTreeSet::new(), BTreeSet::new());
        for _ in 0..self.chance.u8(1..4) {
            let user = self.user();
            if self.chance.u8(0..3) > 0 {
                add.insert(user)
            } else {
                remove.insert(user)
            };
        }
        let remove: BTreeSet<_> = remove.difference(&add).cloned().collect();
        let change = MembersChange {
            group: GroupName::new(group).expect("a name"),
            add: add.iter().cloned().collect(),
            remove: remove.iter().cloned().collect(),
            arises: group_topics(group),
        };
        let answer = self.store().change_members(&self.tenant, change, self.now.wall);
        let answer = self.ask(answer);
        if !self.model.groups.contains_key(group) {
            if add.is_empty() {
                assert_eq!(answer, Err(Error::UnknownGroup(GroupName::new(group).expect("a name"))));
                return;
            }
            self.model.groups.insert(group.to_owned(), group_topics(group).into_iter().collect());
        }
        let changed = answer.expect("it changes");
        let is_in =
            |world: &Self, user: &UserId| world.model.member_of.get(user).is_some_and(|in_| in_.contains(group));
        let added: BTreeSet<_> = add.into_iter().filter(|user| !is_in(self, user)).collect();
        let removed: BTreeSet<_> = remove.into_iter().filter(|user| is_in(self, user)).collect();
        assert_eq!(changed.added.iter().cloned().collect::<BTreeSet<_>>(), added);
        assert_eq!(changed.removed.iter().cloned().collect::<BTreeSet<_>>(), removed);
        for user in &added {
            self.model.regroup(user, |groups| {
                groups.insert(group.to_owned());
            });
        }
        for user in &removed {
            self.model.regroup(user, |groups| {
                groups.remove(group);
            });
        }
        added.iter().chain(&removed).for_each(|user| self.changed(user));
    }

    pub(crate) fn groups(&mut self) {
        let user = self.user();
        let chosen: BTreeSet<String> =
            GROUPS.iter().filter(|_| self.chance.u8(0..5) < 2).map(|(name, _)| (*name).to_owned()).collect();
        let (version, before) = self.versions.get(&user).cloned().unwrap_or_default();
        let stale = version > 0 && self.chance.u8(0..4) == 0;
        let asked = if stale { version - self.chance.u64(0..2).min(version) } else { version + self.chance.u64(1..3) };
        let groups = chosen.iter().map(|name| (GroupName::new(name).expect("a name"), group_topics(name))).collect();
        let answer = self.store().set_groups(&self.tenant, &user, groups, asked, self.now.wall);
        let answer = self.ask(answer);
        if asked <= version {
            let repeated = asked == version && chosen == before && version > 0;
            let expected = if repeated { Ok(()) } else { Err(Error::StaleVersion(version)) };
            assert_eq!(answer, expected, "version {asked} after {version}");
            return;
        }
        answer.expect("it is newer");
        for name in &chosen {
            self.model.groups.entry(name.clone()).or_insert_with(|| group_topics(name).into_iter().collect());
        }
        self.versions.insert(user.clone(), (asked, chosen.clone()));
        self.model.regroup(&user, |groups| *groups = chosen);
        self.changed(&user);
    }

    pub(crate) fn subscribe(&mut self) {
        let topics: BTreeSet<_> = (0..self.chance.u8(1..3)).map(|_| self.any_topic()).collect();
        let Some(name) = self.online() else { return };
        let receiver = self.receiver(&name);
        let answer = self.store().subscribe(&receiver, topics.iter().cloned().collect());
        let (following, count) = self.ask(answer).expect("it subscribes");
        self.model.change(|model| {
            let device = model.receivers.get_mut(&name).expect("it is known");
            device.subscribed.extend(topics);
            assert_eq!(count as usize, device.subscribed.len(), "subscriptions of {name:?}");
        });
        self.feed(&name, 0, Input::Followed(following));
    }

    pub(crate) fn unsubscribe(&mut self) {
        let topics: BTreeSet<_> = (0..self.chance.u8(1..3)).map(|_| self.any_topic()).collect();
        let Some(name) = self.online() else { return };
        let receiver = self.receiver(&name);
        let answer = self.store().unsubscribe(&receiver, topics.iter().cloned().collect());
        let count = self.ask(answer).expect("it unsubscribes");
        self.model.change(|model| {
            let device = model.receivers.get_mut(&name).expect("it is known");
            device.subscribed.retain(|topic| !topics.contains(topic));
            assert_eq!(count as usize, device.subscribed.len(), "subscriptions of {name:?}");
        });
        self.stop_telling();
        let refreshing = self.links[&name].refreshing;
        self.refresh(&name);
        if refreshing {
            self.links.get_mut(&name).expect("it is there").refreshing = true;
            self.feed(&name, 0, Input::Refreshing);
        }
    }

    pub(crate) fn describe(&mut self) {
        let mut attributes = BTreeMap::new();
        if self.chance.u8(0..4) > 0 {
            let version = ["1.0", "2.0", "2.9", "2.10"][self.chance.usize(0..4)];
            attributes.insert("v".to_owned(), version.to_owned());
        }
        if self.chance.bool() {
            attributes.insert("p".to_owned(), ["a", "b"][self.chance.usize(0..2)].to_owned());
        }
        let Some(name) = self.online() else { return };
        let receiver = self.receiver(&name);
        let answer = self.store().describe(&receiver, attributes.clone());
        self.ask(answer).expect("it is described");
        self.model.receivers.get_mut(&name).expect("it is known").attributes = attributes;
    }

    pub(crate) fn quiet_hours(&mut self) {
        let user = self.user();
        let minutes = u16::try_from(self.now.wall.as_millis() / 60_000 % 1_440).expect("minutes of a day");
        let time = |minutes: u16| TimeOfDay::from_minutes(minutes % 1_440).expect("a time of day");
        // They hold now, or begin within minutes.
        let from = time(minutes + self.chance.u16(0..3));
        let hours = QuietHours { from, to: time(from.minutes() + self.chance.u16(1..5)), time_zone: "UTC".to_owned() };
        let hours = (self.chance.u8(0..3) > 0).then_some(hours);
        self.set_quiet(&user, hours);
    }

    pub(crate) fn set_quiet(&mut self, user: &UserId, hours: Option<QuietHours>) {
        let answer = self.store().set_quiet_hours(&self.tenant, user, hours.clone());
        self.ask(answer).expect("they are set");
        match hours {
            Some(hours) => self.quiet.insert(user.clone(), hours),
            None => self.quiet.remove(user),
        };
        for link in self.links.iter_mut().filter(|((owner, _), _)| owner == user).map(|(_, link)| link) {
            link.picky = true;
        }
        self.changed(user);
    }

    /// Nobody comes for two months, or for three: devices are forgotten, and all messages.
    pub(crate) fn absence(&mut self) {
        let names: Vec<_> = self.links.keys().cloned().collect();
        names.iter().for_each(|name| self.disconnect(name, true));
        let day = Duration::from_secs(86_400);
        let days = self.chance.u32(61..120);
        self.pass(day * days);
        self.long_gone = numbered(self.number);
        self.sweep();
        let known: Vec<_> = self.model.receivers.keys().cloned().collect();
        for (user, device) in known.into_iter().filter_map(|(user, device)| Some((user, device?))) {
            let answer = self.store().user(&self.tenant, &user);
            let record = self.ask(answer).expect("it reads");
            if record.devices.iter().all(|known| known.device != device) {
                self.model.forget(&user, &device);
            } else {
                assert!(self.now.wall < self.seen_at[&(user, Some(device))] + day * 90, "a device is not forgotten");
            }
        }
    }

    /// Whom a push would be for.
    pub(crate) fn audience(&mut self) {
        let target = self.target();
        let of = match &target {
            Target::Topic(topic) => Of::Topic(topic.clone()),
            Target::Condition(condition) => Of::Condition(condition.clone()),
            _ => return,
        };
        let answer = self.store().audience(&self.tenant, of, None, 1_000);
        let audience = self.ask(answer).expect("it is known");
        let expected = self.model.audience(&target);
        let users: BTreeSet<_> = expected.iter().map(|(user, _)| user).collect();
        let page: BTreeSet<Name> = audience.page.into_iter().map(|(_, user, device)| (user, device)).collect();
        assert_eq!((audience.set.len(), audience.users), (expected.len() as u64, users.len() as u64), "{target:?}");
        assert_eq!(page, expected, "{target:?}");
    }

    pub(crate) fn floor(&mut self) {
        let floor = self.chance.choice(Urgency::ALL).expect("there are some");
        if let Some(name) = self.online() {
            self.set_floor(&name, floor);
        }
    }

    pub(crate) fn set_floor(&mut self, name: &Name, floor: Urgency) {
        let link = self.links.get_mut(name).expect("it is there");
        link.picky = true;
        link.floor = floor;
        self.feed(name, 0, Input::Update(Ticket(0), Some(floor), None));
    }
}
