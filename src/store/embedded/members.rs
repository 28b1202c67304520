//! Users that join and leave groups. Joining costs a few records a user, whatever devices it has: what its devices follow
//! from then on follows from the user's record. It knows no connections.

use std::collections::{BTreeMap, BTreeSet};

use super::writer::Writer;
use super::{follow, groups, key, read, record};
use crate::model::clock::Timestamp;
use crate::model::id::{GroupName, Receiver, TenantId, TopicName, UserId};
use crate::model::log::{LogId, Offset};
use crate::store::{Changed, Error, MembersChange};

/// A group to join, with the place in each of its topics that who joins begins after.
type Join = (GroupName, Vec<(TopicName, Offset)>);

impl Writer {
    /// See [`crate::store::Store::change_members`].
    pub(super) fn change_members(
        &mut self,
        tenant: &TenantId,
        change: MembersChange,
        now: Timestamp,
    ) -> Result<Changed, Error> {
        let MembersChange { group: name, add, remove, arises } = change;
        let known = groups::recorded(&self.staged, tenant, &name)?;
        let arisen = known.is_none();
        let mut group = match known {
            Some(group) => group,
            None if add.is_empty() => return Err(Error::UnknownGroup(name)),
            None => groups::arising(arises, now)?,
        };
        // All that can be refused is looked at before anything is staged.
        let (mut joining, mut seen) = (Vec::new(), BTreeSet::new());
        for user in add {
            if !seen.insert(user.clone()) {
                continue;
            }
            let record = follow::user(&self.staged, tenant, &user)?;
            if !record.groups.contains_key(&name) {
                self.room_for(record.groups.len() + 1)?;
                joining.push((user, record));
            }
        }
        if arisen {
            self.room_for_topics(tenant, &group.topics)?;
            self.found(tenant, &group)?;
        }
        let mut changed = Changed::default();
        let join = [(name.clone(), self.begins(tenant, &group)?)];
        for (user, record) in joining {
            self.regroup(tenant, &user, record, &join, &[], now)?;
            changed.added.push(user);
        }
        for user in remove {
            let record = follow::user(&self.staged, tenant, &user)?;
            if !seen.contains(&user) && record.groups.contains_key(&name) {
                self.regroup(tenant, &user, record, &[], std::slice::from_ref(&name), now)?;
                changed.removed.push(user);
            }
        }
        group.members = group.members + changed.added.len() as u64 - changed.removed.len() as u64;
        changed.members = group.members;
        if arisen || !changed.added.is_empty() || !changed.removed.is_empty() {
            self.put_group(tenant, &name, &group);
            self.sync = true;
        }
        Ok(changed)
    }

    /// See [`crate::store::Store::set_groups`].
    pub(super) fn set_groups(
        &mut self,
        tenant: &TenantId,
        user: &UserId,
        wanted: Vec<(GroupName, Vec<TopicName>)>,
        version: u64,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut record = follow::user(&self.staged, tenant, user)?;
        let names: BTreeSet<_> = wanted.iter().map(|(name, _)| name.clone()).collect();
        let fingerprint = fingerprint(&names);
        if version == record.version && fingerprint == record.fingerprint && version > 0 {
            // The same call again, whatever other calls have changed since.
            self.sync = true;
            return Ok(());
        }
        if version <= record.version {
            return Err(Error::StaleVersion(record.version));
        }
        self.room_for(names.len())?;
        let (mut joined, mut seen) = (Vec::new(), BTreeSet::new());
        for (name, topics) in wanted {
            if record.groups.contains_key(&name) || !seen.insert(name.clone()) {
                continue;
            }
            joined.push(match groups::recorded(&self.staged, tenant, &name)? {
                Some(group) => (name, group, false),
                None => (name, groups::arising(topics, now)?, true),
            });
        }
        let arising = joined.iter().filter(|(_, _, arisen)| *arisen);
        self.room_for_topics(tenant, arising.flat_map(|(_, group, _)| &group.topics))?;
        let mut join = Vec::with_capacity(joined.len());
        for (name, mut group, arisen) in joined {
            if arisen {
                self.found(tenant, &group)?;
            }
            group.members += 1;
            self.put_group(tenant, &name, &group);
            let begins = self.begins(tenant, &group)?;
            join.push((name, begins));
        }
        let leave: Vec<_> = record.groups.keys().filter(|name| !names.contains(*name)).cloned().collect();
        for name in &leave {
            if let Some(mut group) = groups::recorded(&self.staged, tenant, name)? {
                group.members = group.members.saturating_sub(1);
                self.put_group(tenant, name, &group);
            }
        }
        (record.version, record.fingerprint) = (version, fingerprint);
        self.regroup(tenant, user, record, &join, &leave, now)?;
        self.sync = true;
        Ok(())
    }

    /// Writes down that a user joins and leaves groups, as one change: a topic that groups bring before and after it is
    /// followed all the time. The groups' own records are the caller's.
    fn regroup(
        &mut self,
        tenant: &TenantId,
        name: &UserId,
        mut user: record::User,
        join: &[Join],
        leave: &[GroupName],
        now: Timestamp,
    ) -> Result<(), Error> {
        let before = user.topics();
        for group in leave {
            user.groups.remove(group);
            self.staged.remove(key::member(tenant, group, name));
        }
        for (group, begins) in join {
            let since = |(topic, head): &(TopicName, Offset)| {
                // What is followed already goes on where it is.
                (topic.clone(), before.get(topic).copied().unwrap_or(*head))
            };
            user.groups.insert(group.clone(), begins.iter().map(since).collect());
            self.staged.put(key::member(tenant, group, name), Vec::new());
        }
        let after = user.topics();
        let inbox = read::log(&self.staged, &LogId::Inbox(tenant.clone(), name.clone()))?;
        let devices = self.numbers_of(tenant, name, inbox.map_or(0, |log| log.followers))?;
        let mut numbers: Vec<_> = devices.iter().map(|(number, _)| *number).collect();
        if devices.is_empty() {
            if user.seat.is_none() && !user.groups.is_empty() {
                self.take_seat(tenant, name, &mut user)?;
            }
            numbers.extend(user.seat);
        }
        self.roll.change(tenant, |roll| {
            for &number in &numbers {
                let gained = after.keys().filter(|topic| !before.contains_key(*topic));
                gained.for_each(|topic| roll.index.follow(topic, number));
            }
        });
        for topic in before.keys().filter(|topic| !after.contains_key(*topic)) {
            let log = LogId::Topic(tenant.clone(), topic.clone());
            for (number, device) in &devices {
                let receiver = Receiver { tenant: tenant.clone(), user: name.clone(), device: device.clone() };
                if follow::recorded(&self.staged, &receiver, &log)?.is_some_and(|follow| follow.own) {
                    continue;
                }
                self.forget_progress(&receiver, &log);
                self.roll.change(tenant, |roll| roll.index.unfollow(topic, *number));
            }
        }
        if let (true, Some(seat)) = (devices.is_empty(), user.seat) {
            let lost = before.keys().filter(|topic| !after.contains_key(*topic));
            if user.groups.is_empty() {
                self.roll.change(tenant, |roll| roll.index.forget(seat, lost, &BTreeMap::new()));
                self.leave_seat(tenant, name, seat, &mut user, now)?;
            } else {
                user.left = None;
                self.roll.change(tenant, |roll| {
                    roll.index.add(seat);
                    lost.for_each(|topic| roll.index.unfollow(topic, seat));
                });
            }
        }
        self.put_user(tenant, name, &user);
        Ok(())
    }

    fn room_for(&self, groups: usize) -> Result<(), Error> {
        let limit = self.limits.groups_per_user_max;
        if groups > limit as usize { Err(Error::TooManyGroups(limit)) } else { Ok(()) }
    }
}

/// Tells sets of groups apart, the same in every run and version: FNV-1a of their names.
fn fingerprint(groups: &BTreeSet<GroupName>) -> u64 {
    let names = groups.iter().flat_map(|name| name.as_str().bytes().chain([0]));
    names.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::fingerprint;
    use crate::model::id::GroupName;

    #[test]
    fn the_fingerprint_of_a_set_never_changes() {
        let print = |names: &[&str]| fingerprint(&names.iter().map(|name| GroupName::new(name).unwrap()).collect());
        assert_eq!(print(&["a", "b"]), print(&["b", "a", "a"]));
        assert_ne!(print(&["ab"]), print(&["a", "b"]));
        // It is kept in records: these numbers must stay.
        assert_eq!(print(&[]), 0xcbf2_9ce4_8422_2325);
        assert_eq!(print(&["a"]), 0x089b_e207_b544_f1e4);
    }
}
