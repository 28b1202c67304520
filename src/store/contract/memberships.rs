//! Random joins, leaves, subscriptions, conditions and restarts against a plain model of the rule (docs/targeting.md): who
//! follows what from where, and who is in which audience. Check of the store's contract.
//!
//! The model knows no cursors that begin anywhere: each receiver, a device or a user without one, has a set of offsets
//! that are settled for it, made when it begins to follow and gone when its last reason to follow is.

mod checks;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{Place, at, group_name, push, sweep_all, tenant, topic_name, user};
use crate::model::condition::{Condition, Facts};
use crate::model::cursor::Cursor;
use crate::model::id::{DeviceId, DeviceNumber, GroupName, Receiver, TenantId, TopicName, UserId};
use crate::model::log::{LogId, Offset};
use crate::model::message::Exclusion;
use crate::model::ranges::Ranges;
use crate::model::set::DeviceSet;
use crate::store::{Append, Changed, Commit, Error, Limits, MembersChange, Store, Wishes};

const ABSENCE_MILLIS: u64 = 100;
const GROUPS_MAX: u32 = 2;
const USERS: usize = 2;
const TOPICS: usize = 3;
/// What each group maps to, by number.
const MAPS: [&[usize]; 4] = [&[0], &[0, 1], &[1, 2], &[]];
const CONDITIONS: [&str; 6] = [
    "'t0' in topics",
    "'t0' in topics && !('t1' in topics)",
    "('t1' in topics || 't2' in topics) && platform == 'ios'",
    "!('t0' in topics)",
    "!(platform == 'ios')",
    "platform != 'ios' || 't2' in topics",
];

type Who = (usize, usize);

#[derive(Clone, Debug)]
enum Step {
    Push(usize, Vec<(usize, Option<usize>)>),
    Broadcast(usize, Vec<(usize, Option<usize>)>),
    Open(Who),
    Leave(Who),
    Subscribe(Who, BTreeSet<usize>),
    Unsubscribe(Who, BTreeSet<usize>),
    Describe(Who, bool),
    Change { group: usize, add: BTreeSet<usize>, remove: BTreeSet<usize> },
    Create(usize),
    Remove(usize),
    Set { user: usize, groups: BTreeSet<usize>, version: u64 },
    Commit { who: Who, log: usize, from: u64, length: u64 },
    Pass(u64),
    Sweep,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    // Few, so that much happens to the same one.
    let who = || prop_oneof![2 => Just((0, 0)), 1 => (0..USERS, 0_usize..2)];
    let some = |upto: usize| prop::collection::btree_set(0..upto, 0..3);
    let exclude = || prop::collection::vec((0..USERS, prop::option::of(0_usize..2)), 0..2);
    let group = || 0..MAPS.len();
    prop_oneof![
        4 => (0..TOPICS, exclude()).prop_map(|(topic, exclude)| Step::Push(topic, exclude)),
        4 => (0..CONDITIONS.len(), exclude()).prop_map(|(condition, exclude)| Step::Broadcast(condition, exclude)),
        5 => who().prop_map(Step::Open),
        4 => who().prop_map(Step::Leave),
        3 => (who(), some(TOPICS)).prop_map(|(who, topics)| Step::Subscribe(who, topics)),
        3 => (who(), some(TOPICS)).prop_map(|(who, topics)| Step::Unsubscribe(who, topics)),
        2 => (who(), any::<bool>()).prop_map(|(who, ios)| Step::Describe(who, ios)),
        6 => (group(), some(USERS), some(USERS)).prop_map(|(group, add, remove)| Step::Change {
            group,
            remove: &remove - &add,
            add,
        }),
        1 => group().prop_map(Step::Create),
        1 => group().prop_map(Step::Remove),
        3 => (0..USERS, some(MAPS.len()), 0_u64..6).prop_map(|(user, groups, version)| Step::Set { user, groups, version }),
        4 => (who(), 0..=TOPICS, 1_u64..6, 0_u64..3).prop_map(|(who, log, from, length)| Step::Commit { who, log, from, length }),
        3 => (1_u64..90).prop_map(Step::Pass),
        2 => Just(Step::Sweep),
        1 => Just(Step::Reopen),
    ]
}

pub(in crate::store) async fn who_follows_what_matches_a_plain_model(place: &dyn Place) {
    let limits = Limits {
        device_absence_max: Duration::from_millis(ABSENCE_MILLIS),
        groups_per_user_max: GROUPS_MAX,
        ..Limits::default()
    };
    let cases = AtomicU64::new(0);
    let run = |steps: Vec<Step>| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let owner = tenant(&format!("people{}", cases.fetch_add(1, Ordering::Relaxed)));
        runtime.block_on(async {
            let mut world = World::new(owner, place.open(limits.clone()));
            for step in steps {
                if matches!(step, Step::Reopen) {
                    world.all_leave().await;
                    world.store = None;
                    world.store = Some(place.open(limits.clone()));
                } else {
                    world.take(step).await;
                }
                world.check().await;
            }
        });
        Ok(())
    };
    // The runner is not async, and a runtime cannot be entered from within another one.
    let runner = || TestRunner::new(Config::with_cases(64)).run(&prop::collection::vec(step(), 1..90), run);
    let outcome = thread::scope(|scope| scope.spawn(runner).join().unwrap());
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

/// A device, or a user without one.
#[derive(Clone, Debug, Default)]
struct Receives {
    /// Its number, once it was told.
    number: Option<DeviceNumber>,
    /// What is settled for it, in each log that it follows; the broadcast log is the last.
    settled: BTreeMap<usize, Ranges>,
    /// Topics that it subscribed to by itself.
    own: BTreeSet<usize>,
    ios: Option<bool>,
    seen: u64,
    /// How many times it is open.
    present: u32,
}

#[derive(Default)]
struct Person {
    groups: BTreeSet<usize>,
    version: u64,
    last_set: BTreeSet<usize>,
    devices: BTreeMap<usize, Receives>,
    seat: Option<Receives>,
    /// Since when there are neither groups nor a device, with a seat.
    left: Option<u64>,
}

impl Person {
    fn topics(&self) -> BTreeSet<usize> {
        self.groups.iter().flat_map(|group| MAPS[*group]).copied().collect()
    }

    /// Those that count.
    fn receivers(&self) -> impl Iterator<Item = (Option<usize>, &Receives)> {
        let seat = self.seat.iter().filter(|_| !self.groups.is_empty()).map(|seat| (None, seat));
        self.devices.iter().map(|(device, receives)| (Some(*device), receives)).chain(seat)
    }
}

struct World {
    owner: TenantId,
    store: Option<Arc<dyn Store>>,
    now: u64,
    people: [Person; USERS],
    /// Groups that exist.
    groups: BTreeSet<usize>,
    /// Entries of each topic and of the broadcast log.
    heads: [u64; TOPICS + 1],
    /// Who each broadcast entry is for.
    audiences: Vec<DeviceSet>,
    pushed: u64,
    /// All numbers that were seen, and whose they were.
    numbers: BTreeMap<DeviceNumber, (usize, Option<usize>)>,
}

/// A receiver as a condition sees it.
struct Asked<'a>(&'a Receives);

impl Facts for Asked<'_> {
    fn follows(&self, topic: &TopicName) -> bool {
        (0..TOPICS).any(|number| topic_of(number) == *topic && self.0.settled.contains_key(&number))
    }

    fn attribute(&self, name: &str) -> Option<&str> {
        let ios = self.0.ios.filter(|_| name == "platform");
        ios.map(|ios| if ios { "ios" } else { "android" })
    }
}

fn topic_of(number: usize) -> TopicName {
    topic_name(&format!("t{number}"))
}

fn topics_of(numbers: &BTreeSet<usize>) -> Vec<TopicName> {
    numbers.iter().map(|number| topic_of(*number)).collect()
}

fn group_of(number: usize) -> (GroupName, Vec<TopicName>) {
    (group_name(&format!("g{number}")), MAPS[number].iter().map(|topic| topic_of(*topic)).collect())
}

fn user_of(number: usize) -> UserId {
    user(&format!("u{number}"))
}

fn device_of(number: usize) -> DeviceId {
    super::device(&format!("d{number}"))
}

impl World {
    fn new(owner: TenantId, store: Arc<dyn Store>) -> Self {
        let (people, groups, heads, audiences, numbers) = Default::default();
        Self { owner, store: Some(store), now: 0, people, groups, heads, audiences, pushed: 0, numbers }
    }

    fn store(&self) -> &dyn Store {
        self.store.as_deref().unwrap()
    }

    fn log(&self, number: usize) -> LogId {
        match number {
            TOPICS => LogId::Broadcast(self.owner.clone()),
            topic => LogId::Topic(self.owner.clone(), topic_of(topic)),
        }
    }

    fn receiver(&self, (user, device): Who) -> Receiver {
        Receiver { tenant: self.owner.clone(), user: user_of(user), device: device_of(device) }
    }

    fn device(&mut self, (user, device): Who) -> Option<&mut Receives> {
        self.people[user].devices.get_mut(&device)
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Push(topic, exclude) => self.push(topic, None, &exclude).await,
            Step::Broadcast(condition, exclude) => self.push(TOPICS, Some(condition), &exclude).await,
            Step::Open(who) => self.open(who).await,
            Step::Leave(who) => self.leave(who).await,
            Step::Subscribe(who, topics) => self.subscribe(who, &topics).await,
            Step::Unsubscribe(who, topics) => self.unsubscribe(who, &topics).await,
            Step::Describe(who, ios) => self.describe(who, ios).await,
            Step::Change { group, add, remove } => self.change(group, add, remove).await,
            Step::Create(group) => {
                let (name, topics) = group_of(group);
                let made = self.store().create_group(&self.owner, name, topics, at(self.now)).await.unwrap();
                assert_eq!(made.members as usize, self.members(group).len());
                self.groups.insert(group);
            }
            Step::Remove(group) => {
                let (name, _) = group_of(group);
                let removed = self.store().remove_group(&self.owner, &name).await;
                let members = self.members(group).len() as u64;
                let expected = match (self.groups.contains(&group), members) {
                    (false, _) => Err(Error::UnknownGroup(name)),
                    (true, 0) => Ok(()),
                    (true, _) => Err(Error::GroupNotEmpty(members)),
                };
                if expected.is_ok() {
                    self.groups.remove(&group);
                }
                assert_eq!(removed, expected);
            }
            Step::Set { user, groups, version } => self.set(user, groups, version).await,
            Step::Commit { who, log, from, length } => {
                let settled: Ranges = [(from, from + length)].into_iter().collect();
                let head = self.store().heads(vec![self.log(log)]).await.unwrap()[0];
                let cursor = Cursor { epoch: head.epoch, settled: settled.clone(), ..Cursor::default() };
                let (receiver, cursors) = (self.receiver(who), vec![(self.log(log), cursor)]);
                let commit = Commit { receiver, cursors, dead: Vec::new(), reports: Vec::new() };
                self.store().commit(commit).await.unwrap();
                let known = self.device(who).and_then(|device| device.settled.get_mut(&log));
                known.into_iter().for_each(|known| known.merge(&settled));
            }
            Step::Pass(millis) => self.now += millis,
            Step::Sweep => self.sweep().await,
            Step::Reopen => unreachable!("the caller reopens"),
        }
    }

    async fn push(&mut self, log: usize, condition: Option<usize>, exclude: &[(usize, Option<usize>)]) {
        let exclusion =
            |&(user, device): &(usize, Option<usize>)| Exclusion { user: user_of(user), device: device.map(device_of) };
        let parsed = condition.map(|condition| Condition::parse(CONDITIONS[condition]).unwrap());
        let wishes =
            Wishes { condition: parsed.clone(), exclude: exclude.iter().map(exclusion).collect(), ..Wishes::default() };
        self.pushed += 1;
        let expires_at = at(1_000_000_000);
        let append = Append { expires_at, wishes, ..push(&self.log(log), self.pushed) };
        let appended = self.store().append(append).await.unwrap();
        self.heads[log] += 1;
        assert_eq!(appended.offset, Offset(self.heads[log]));
        let mut set = DeviceSet::default();
        for (user, person) in self.people.iter().enumerate() {
            for (device, receives) in person.receivers() {
                let for_it = match &parsed {
                    Some(condition) => condition.matches(&Asked(receives)),
                    None => receives.settled.contains_key(&log),
                };
                let excluded =
                    exclude.iter().any(|(other, only)| *other == user && (only.is_none() || *only == device));
                if for_it && !excluded {
                    set.insert(receives.number.expect("it was told by the last check"));
                }
            }
        }
        assert_eq!(appended.audience, Some(set.len()));
        if condition.is_some() {
            self.audiences.push(set);
        }
    }

    async fn open(&mut self, who: Who) {
        let opened = self.store().open(&self.receiver(who), at(self.now)).await.unwrap();
        let (heads, person) = (self.heads, &mut self.people[who.0]);
        assert_eq!(opened.new, !person.devices.contains_key(&who.1));
        if opened.new {
            let first = person.devices.is_empty();
            let seat = person.seat.take().filter(|_| first);
            person.left = None;
            let anew = || {
                let logs = person.topics().into_iter().chain([TOPICS]);
                let settled = logs.map(|log| (log, Ranges::upto(heads[log]))).collect();
                Receives { settled, ..Receives::default() }
            };
            let receives = seat.unwrap_or_else(anew);
            person.devices.insert(who.1, receives);
        }
        let now = self.now;
        let device = self.device(who).unwrap();
        device.seen = device.seen.max(now);
        device.present += 1;
    }

    async fn leave(&mut self, who: Who) {
        // Nobody leaves who is not there.
        if self.device(who).is_none_or(|device| device.present == 0) {
            return;
        }
        self.store().leave(&self.receiver(who), at(self.now)).await.unwrap();
        let now = self.now;
        let device = self.device(who).unwrap();
        device.present -= 1;
        device.seen = now;
    }

    async fn all_leave(&mut self) {
        for who in (0..USERS).flat_map(|user| [(user, 0), (user, 1)]) {
            while self.device(who).is_some_and(|device| device.present > 0) {
                self.leave(who).await;
            }
        }
    }

    async fn subscribe(&mut self, who: Who, topics: &BTreeSet<usize>) {
        let outcome = self.store().subscribe(&self.receiver(who), topics_of(topics)).await;
        let heads = self.heads;
        let Some(device) = self.device(who) else {
            assert_eq!(outcome, Err(Error::UnknownDevice));
            return;
        };
        for &topic in topics {
            device.own.insert(topic);
            device.settled.entry(topic).or_insert_with(|| Ranges::upto(heads[topic]));
        }
        let (following, count) = outcome.unwrap();
        assert_eq!(count as usize, device.own.len());
        let settled = following.into_iter().map(|following| following.cursor.settled).collect::<Vec<_>>();
        assert_eq!(settled, topics.iter().map(|topic| device.settled[topic].clone()).collect::<Vec<_>>());
    }

    async fn unsubscribe(&mut self, who: Who, topics: &BTreeSet<usize>) {
        let outcome = self.store().unsubscribe(&self.receiver(who), topics_of(topics)).await;
        let brought = self.people[who.0].topics();
        let expected = self.device(who).ok_or(Error::UnknownDevice).map(|device| {
            device.own.retain(|topic| !topics.contains(topic));
            let own = device.own.clone();
            device.settled.retain(|log, _| *log == TOPICS || own.contains(log) || brought.contains(log));
            own.len() as u32
        });
        assert_eq!(outcome, expected);
    }

    async fn describe(&mut self, who: Who, ios: bool) {
        let platform = if ios { "ios" } else { "android" };
        let attributes = [("platform".to_owned(), platform.to_owned())].into();
        let outcome = self.store().describe(&self.receiver(who), attributes).await;
        let expected = self.device(who).ok_or(Error::UnknownDevice).map(|device| device.ios = Some(ios));
        assert_eq!(outcome, expected);
    }

    fn members(&self, group: usize) -> BTreeSet<usize> {
        (0..USERS).filter(|user| self.people[*user].groups.contains(&group)).collect()
    }

    async fn change(&mut self, group: usize, add: BTreeSet<usize>, remove: BTreeSet<usize>) {
        let (name, arises) = group_of(group);
        let users = |numbers: &BTreeSet<usize>| numbers.iter().map(|user| user_of(*user)).collect();
        let change = MembersChange { group: name.clone(), add: users(&add), remove: users(&remove), arises };
        let outcome = self.store().change_members(&self.owner, change, at(self.now)).await;
        if !self.groups.contains(&group) && add.is_empty() {
            assert_eq!(outcome, Err(Error::UnknownGroup(name)));
            return;
        }
        let before = self.members(group);
        let (joining, leaving) = (&add - &before, &remove & &before);
        if joining.iter().any(|user| self.people[*user].groups.len() == GROUPS_MAX as usize) {
            assert_eq!(outcome, Err(Error::TooManyGroups(GROUPS_MAX)));
            return;
        }
        self.groups.insert(group);
        for &user in &joining {
            let groups = &self.people[user].groups | &[group].into();
            self.regroup(user, groups);
        }
        for &user in &leaving {
            let groups = &self.people[user].groups - &[group].into();
            self.regroup(user, groups);
        }
        let members = self.members(group).len() as u64;
        assert_eq!(outcome, Ok(Changed { added: users(&joining), removed: users(&leaving), members }));
    }

    async fn set(&mut self, user: usize, groups: BTreeSet<usize>, version: u64) {
        let wanted = groups.iter().map(|group| group_of(*group)).collect();
        let outcome = self.store().set_groups(&self.owner, &user_of(user), wanted, version, at(self.now)).await;
        let person = &self.people[user];
        if version == person.version && version > 0 && groups == person.last_set {
            assert_eq!(outcome, Ok(()));
            return;
        }
        if version <= person.version {
            assert_eq!(outcome, Err(Error::StaleVersion(person.version)));
            return;
        }
        assert_eq!(
            outcome,
            if groups.len() > GROUPS_MAX as usize { Err(Error::TooManyGroups(GROUPS_MAX)) } else { Ok(()) }
        );
        if outcome.is_ok() {
            self.groups.extend(&groups);
            (self.people[user].version, self.people[user].last_set) = (version, groups.clone());
            self.regroup(user, groups);
        }
    }

    /// The rule of joining and leaving.
    fn regroup(&mut self, user: usize, groups: BTreeSet<usize>) {
        let (now, heads, person) = (self.now, self.heads, &mut self.people[user]);
        person.groups = groups;
        let brought = person.topics();
        if person.devices.is_empty() && person.seat.is_none() && !person.groups.is_empty() {
            let settled = [(TOPICS, Ranges::upto(heads[TOPICS]))].into();
            person.seat = Some(Receives { settled, ..Receives::default() });
        }
        for receives in person.devices.values_mut().chain(&mut person.seat) {
            for &topic in &brought {
                receives.settled.entry(topic).or_insert_with(|| Ranges::upto(heads[topic]));
            }
            let own = receives.own.clone();
            receives.settled.retain(|log, _| *log == TOPICS || own.contains(log) || brought.contains(log));
        }
        if let Some(seat) = &person.seat {
            if !person.groups.is_empty() {
                person.left = None;
            } else if seat.settled[&TOPICS].floor() == heads[TOPICS] {
                // Nothing can have been for it.
                (person.seat, person.left) = (None, None);
            } else {
                person.left.get_or_insert(now);
            }
        }
    }

    async fn sweep(&mut self) {
        sweep_all(self.store(), at(self.now)).await;
        let (now, heads) = (self.now, self.heads);
        for person in &mut self.people {
            let before = person.devices.len();
            person.devices.retain(|_, device| device.present > 0 || device.seen + ABSENCE_MILLIS > now);
            if before > 0 && person.devices.is_empty() && !person.groups.is_empty() {
                let logs = person.topics().into_iter().chain([TOPICS]);
                let settled = logs.map(|log| (log, Ranges::upto(heads[log]))).collect();
                person.seat = Some(Receives { settled, ..Receives::default() });
            }
            if person.left.is_some_and(|left| left + ABSENCE_MILLIS <= now) {
                (person.seat, person.left) = (None, None);
            }
        }
    }
}
