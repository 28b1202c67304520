//! Users, topics and audiences, as backends set and ask for them.

use super::roll::Roll;
use super::table::{Table, View};
use super::writer::Writer;
use super::{follow, key, read, record};
use crate::model::id::{DeviceNumber, TenantId, TopicName, UserId};
use crate::model::log::LogId;
use crate::model::quiet::QuietHours;
use crate::store::{Audience, Device, Error, Of, Topic, User};

impl Writer {
    /// See [`crate::store::Store::set_quiet_hours`].
    pub(super) fn set_quiet_hours(
        &mut self,
        tenant: &TenantId,
        name: &UserId,
        hours: Option<QuietHours>,
    ) -> Result<(), Error> {
        let mut user = follow::user(&self.staged, tenant, name)?;
        if user.quiet_hours != hours {
            user.quiet_hours = hours;
            self.put_user(tenant, name, &user);
            self.sync = true;
        }
        Ok(())
    }

    /// See [`crate::store::Store::set_topic`].
    pub(super) fn set_topic(&mut self, tenant: &TenantId, topic: &TopicName, conflate: bool) -> Result<(), Error> {
        let key = key::topic(tenant, topic);
        if conflate == self.staged.get(&key)?.is_some() {
            return Ok(());
        }
        let log = LogId::Topic(tenant.clone(), topic.clone());
        if conflate {
            self.room_for_topics(tenant, [topic])?;
        }
        if self.staged.get(&key::log(&log))?.is_none() {
            self.count_topic(tenant, conflate)?;
        }
        self.forget_newest_of(&log);
        if conflate {
            self.staged.put(key, Vec::new());
        } else {
            self.staged.remove(key);
        }
        self.sync = true;
        Ok(())
    }
}

/// Whether a topic keeps only its newest push.
pub(super) fn conflates(view: &impl View, tenant: &TenantId, topic: &TopicName) -> Result<bool, Error> {
    Ok(view.get(&key::topic(tenant, topic))?.is_some())
}

/// See [`crate::store::Store::topic`].
pub(super) fn topic(view: &impl View, roll: &Roll, tenant: &TenantId, topic: TopicName) -> Result<Topic, Error> {
    let conflate = conflates(view, tenant, &topic)?;
    let head = read::head(view, &LogId::Topic(tenant.clone(), topic.clone()))?;
    Ok(Topic { conflate, devices: roll.set(tenant, &Of::Topic(topic)).len(), head })
}

/// See [`crate::store::Store::user`].
pub(super) fn user(view: &impl View, tenant: &TenantId, name: &UserId) -> Result<User, Error> {
    let record::User { version, quiet_hours, groups, .. } = follow::user(view, tenant, name)?;
    let rows = view.prefix(&key::devices(tenant, name));
    let devices = rows.map(|row| {
        let (key, value) = row?;
        let record::Device { seen, subscriptions, number, attributes, .. } = record::Device::decode(&value)?;
        Ok(Device { device: key::receiver_of(&key)?.device, number, seen, attributes, subscriptions })
    });
    let devices = devices.collect::<Result<_, Error>>()?;
    Ok(User { groups: groups.into_keys().collect(), version, quiet_hours, devices })
}

/// See [`crate::store::Store::audience`].
pub(super) fn audience(
    table: &Table,
    roll: &Roll,
    tenant: &TenantId,
    of: &Of,
    after: Option<DeviceNumber>,
    most: usize,
) -> Result<Audience, Error> {
    if let Of::Condition(condition) = of {
        roll.check(tenant, condition)?;
    }
    let set = roll.set(tenant, of);
    let users = roll.users(tenant, &set);
    // After the set: who is in it is recorded by now, unless its command is not answered yet.
    let view = table.sight();
    let mut page = Vec::new();
    for number in set.after(after).take(most) {
        if let Some(bytes) = view.get(&key::number(tenant, number))? {
            let (user, device) = record::decode_holder(&bytes)?;
            page.push((number, user, device));
        }
    }
    Ok(Audience { set, users, page })
}
