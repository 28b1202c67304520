//! Devices that are made known and forgotten, their numbers, and the seats of users without a device: each is one receiver
//! that its first device takes the place of (rule 4 of docs/targeting.md).

use super::table::View;
use super::writer::Writer;
use super::{follow, key, read, record};
use crate::model::clock::Timestamp;
use crate::model::cursor::Cursor;
use crate::model::id::{DeviceId, DeviceNumber, Receiver, TenantId, TopicName, UserId};
use crate::model::log::{LogId, Offset};
use crate::model::presence;
use crate::store::{Error, Event, Journal};

impl Writer {
    /// Makes a device known: it begins with all of its inbox, and elsewhere with what comes from now on, unless it takes
    /// the seat of its user. A refusal has staged nothing.
    pub(super) fn make_known(&mut self, receiver: &Receiver, now: Timestamp) -> Result<(), Error> {
        let Receiver { tenant, user: name, device } = receiver;
        let inbox = LogId::Inbox(tenant.clone(), name.clone());
        let own = self.quotas.limits(tenant).devices_per_user_max;
        let limit = own.unwrap_or(self.limits.devices_per_user_max);
        let log = read::log(&self.staged, &inbox)?.unwrap_or_default();
        let (others, joined) = (log.followers, log.head.last);
        if others >= limit {
            return Err(Error::TooManyDevices(limit));
        }
        let mut user = follow::user(&self.staged, tenant, name)?;
        let seat = user.seat.take().filter(|_| others == 0);
        let (number, broadcast) = match seat {
            Some(seat) => (seat, user.broadcast),
            None => (self.next_number(tenant)?, self.head(&LogId::Broadcast(tenant.clone()))?),
        };
        self.put_holder(tenant, number, name, Some(device));
        if seat.is_some() {
            (user.broadcast, user.left) = (Offset::ZERO, None);
            self.put_user(tenant, name, &user);
            self.roll.change(tenant, |roll| roll.index.add(number));
        } else {
            // The topics of its user began for others; for this one they begin now.
            let topics: Vec<_> = user.topics().into_keys().collect();
            for topic in &topics {
                let log = LogId::Topic(tenant.clone(), topic.clone());
                let head = read::head(&self.staged, &log)?;
                let follow = record::Follow { own: false, cursor: Cursor::after(head.epoch, head.last) };
                self.staged.put(key::cursor(receiver, &log), follow.encode());
            }
            let known = self.numbers_of(tenant, name, others)?;
            self.roll.change(tenant, |roll| {
                roll.index.add(number);
                topics.iter().for_each(|topic| roll.index.follow(topic, number));
                if let Some((known, _)) = known.first() {
                    roll.pair(*known, number);
                }
            });
        }
        self.follow(receiver, &inbox, |log| Cursor::after(log.head.epoch, Offset::ZERO))?;
        let key = key::device(receiver);
        let due = now + self.limits.device_absence_max / 2;
        self.put_due(due, key::Purpose::Absence, &key);
        let device = record::Device { seen: now, due, number, joined, broadcast, ..record::Device::default() };
        self.staged.put(key, device.encode());
        self.sync = true;
        Ok(())
    }

    /// Forgets a device with all it has; returns how many records that were. If it was the last one of a user with
    /// groups, the user has a seat again, as if it had joined them now.
    pub(super) fn forget_device(&mut self, receiver: &Receiver, now: Timestamp) -> Result<usize, Error> {
        let Receiver { tenant, user: name, .. } = receiver;
        let Some(device) = read::device(&self.staged, receiver)? else { return Ok(0) };
        let follows = read::follows(&self.staged, receiver)?;
        let mut user = follow::user(&self.staged, tenant, name)?;
        let mut topics: Vec<TopicName> = user.topics().into_keys().collect();
        // What only was begun is recorded nowhere, but may be remembered.
        let broadcast = LogId::Broadcast(tenant.clone());
        let begun = topics.iter().map(|topic| LogId::Topic(tenant.clone(), topic.clone())).chain([broadcast]);
        begun.for_each(|log| self.cursors.forget(&key::cursor(receiver, &log)));
        for (log, follow) in &follows {
            if follow.own {
                self.unfollow(receiver, log)?;
            } else {
                self.forget_progress(receiver, log);
            }
            if let LogId::Topic(_, topic) = log {
                topics.push(topic.clone());
            }
            // Entries that waited for this device alone can go now.
            self.full.remove(log);
        }
        let key = key::device(receiver);
        self.joined.forget(&key);
        self.staged.remove(key::due(device.due, key::Purpose::Absence, &key));
        self.staged.remove(key);
        self.staged.remove(key::number(tenant, device.number));
        self.roll.change(tenant, |roll| {
            roll.index.forget(device.number, &topics, &device.attributes);
            roll.part(device.number);
        });
        let inbox = read::log(&self.staged, &LogId::Inbox(tenant.clone(), name.clone()))?;
        if inbox.is_none_or(|log| log.followers == 0) && !user.groups.is_empty() {
            self.take_seat(tenant, name, &mut user)?;
            for (topic, since) in user.groups.values_mut().flatten() {
                *since = read::head(&self.staged, &LogId::Topic(tenant.clone(), topic.clone()))?.last;
            }
            self.put_user(tenant, name, &user);
            let seat = user.seat.unwrap_or_default();
            self.roll.change(tenant, |roll| {
                roll.index.add(seat);
                user.topics().keys().for_each(|topic| roll.index.follow(topic, seat));
            });
        }
        self.note_expired(receiver, now);
        Ok(follows.len() + 1)
    }

    /// Tells that a device was forgotten.
    fn note_expired(&mut self, receiver: &Receiver, now: Timestamp) {
        let device = Some((receiver.user.clone(), receiver.device.clone()));
        let event = presence::Event { at: now, device, what: presence::What::SessionExpired };
        self.journals.note(&receiver.tenant, Journal::Presence, &Event::Presence(event));
    }

    /// Gives a user without a device a number of its own. The caller puts the user's record.
    pub(super) fn take_seat(
        &mut self,
        tenant: &TenantId,
        name: &UserId,
        user: &mut record::User,
    ) -> Result<DeviceNumber, Error> {
        let seat = self.next_number(tenant)?;
        user.seat = Some(seat);
        user.broadcast = self.head(&LogId::Broadcast(tenant.clone()))?;
        self.put_holder(tenant, seat, name, None);
        Ok(seat)
    }

    /// A user that has neither groups nor a device is no receiver any more. Its number is kept for its first device, because
    /// something may have been pushed for it; for as long as an absent device would be. The caller puts its record.
    pub(super) fn leave_seat(
        &mut self,
        tenant: &TenantId,
        name: &UserId,
        seat: DeviceNumber,
        user: &mut record::User,
        now: Timestamp,
    ) -> Result<(), Error> {
        if self.head(&LogId::Broadcast(tenant.clone()))? == user.broadcast {
            self.give_up_seat(tenant, seat, user);
        } else if user.left.is_none() {
            user.left = Some(now);
            self.put_due(now + self.limits.device_absence_max, key::Purpose::Absence, &key::user(tenant, name));
        }
        Ok(())
    }

    /// See [`Writer::leave_seat`]; returns whether the time had come. `target` is the key of the user's record.
    pub(super) fn sweep_seat(&mut self, target: &[u8], now: Timestamp) -> Result<bool, Error> {
        let (tenant, name) = key::user_of(target)?;
        let mut user = follow::user(&self.staged, &tenant, &name)?;
        let over = user.left.is_some_and(|left| left + self.limits.device_absence_max <= now);
        let Some(seat) = user.seat.filter(|_| over) else { return Ok(false) };
        self.give_up_seat(&tenant, seat, &mut user);
        self.put_user(&tenant, &name, &user);
        Ok(true)
    }

    fn give_up_seat(&mut self, tenant: &TenantId, seat: DeviceNumber, user: &mut record::User) {
        (user.seat, user.broadcast, user.left) = (None, Offset::ZERO, None);
        self.staged.remove(key::number(tenant, seat));
    }

    /// The devices of a user with their numbers. `known` is how many there are: none costs no look.
    pub(super) fn numbers_of(
        &self,
        tenant: &TenantId,
        user: &UserId,
        known: u32,
    ) -> Result<Vec<(DeviceNumber, DeviceId)>, Error> {
        if known == 0 {
            return Ok(Vec::new());
        }
        let rows = self.staged.prefix(&key::devices(tenant, user));
        rows.map(|row| {
            let (key, value) = row?;
            Ok((record::Device::decode(&value)?.number, key::receiver_of(&key)?.device))
        })
        .collect()
    }

    /// Stages a user's record, or its end.
    pub(super) fn put_user(&mut self, tenant: &TenantId, name: &UserId, user: &record::User) {
        let key = key::user(tenant, name);
        if user.is_nothing() {
            self.staged.remove(key);
        } else {
            self.staged.put(key, user.encode());
        }
    }

    /// Forgets how far a device is in a log that it does not follow by itself.
    pub(super) fn forget_progress(&mut self, receiver: &Receiver, log: &LogId) {
        let key = key::cursor(receiver, log);
        self.cursors.forget(&key);
        self.staged.remove(key);
    }

    /// Where a log ends; it is made if there is none, so that a place in it stays one of its present life. The caller
    /// sees to it that the log lives on.
    pub(super) fn head(&mut self, id: &LogId) -> Result<Offset, Error> {
        if let Some(log) = read::log(&self.staged, id)? {
            return Ok(log.head.last);
        }
        let log = self.log_or_new(id)?;
        self.put_log(id, &log)?;
        Ok(log.head.last)
    }

    /// A number that was never given in this tenant.
    fn next_number(&mut self, tenant: &TenantId) -> Result<DeviceNumber, Error> {
        let key = key::numbers(tenant);
        let given = match self.staged.get(&key)? {
            Some(bytes) => record::decode_count(&bytes)?,
            None => 0,
        };
        // As many as there are in a set.
        let number = u32::try_from(given).map_err(|_| Error::TooManyDevices(u32::MAX))?;
        self.staged.put(key, record::encode_count(given + 1));
        Ok(DeviceNumber(number))
    }

    fn put_holder(&mut self, tenant: &TenantId, number: DeviceNumber, user: &UserId, device: Option<&DeviceId>) {
        self.staged.put(key::number(tenant, number), record::encode_holder(user, device));
    }
}
