//! Devices that come, leave, follow topics and settle messages. It knows no connections.

use std::collections::BTreeMap;
use std::mem;

use super::outcome::Moved;
use super::table::View;
use super::writer::Writer;
use super::{follow, key, read, record};
use crate::model::clock::Timestamp;
use crate::model::cursor::Cursor;
use crate::model::id::{MessageId, Receiver, TopicName};
use crate::model::log::{LogId, Offset};
use crate::model::ranges::Ranges;
use crate::store::{Commit, Dead, Error, Following, Opened};

impl Writer {
    /// See [`crate::store::Store::open`].
    pub(super) fn open(&mut self, receiver: &Receiver, now: Timestamp) -> Result<Opened, Error> {
        let known = read::device(&self.staged, receiver)?;
        let new = known.is_none();
        match known {
            Some(device) => self.put_seen(receiver, device, now),
            None => self.make_known(receiver, now)?,
        }
        *self.present.entry(receiver.clone()).or_default() += 1;
        let follows = follow::follows(&self.staged, receiver)?.ok_or(Error::UnknownDevice)?;
        Ok(Opened { new, follows })
    }

    /// See [`crate::store::Store::leave`].
    pub(super) fn leave(&mut self, receiver: &Receiver, now: Timestamp) -> Result<(), Error> {
        if let Some(times) = self.present.get_mut(receiver) {
            *times -= 1;
            if *times == 0 {
                self.present.remove(receiver);
            }
        }
        if let Some(device) = read::device(&self.staged, receiver)? {
            self.put_seen(receiver, device, now);
        }
        Ok(())
    }

    /// See [`crate::store::Store::forget`].
    pub(super) fn forget(&mut self, receiver: &Receiver, now: Timestamp) -> Result<(), Error> {
        if !self.present.contains_key(receiver) && self.forget_device(receiver, now)? > 0 {
            self.now = now;
            self.sync = true;
        }
        Ok(())
    }

    /// See [`crate::store::Store::subscribe`].
    pub(super) fn subscribe(
        &mut self,
        receiver: &Receiver,
        topics: Vec<TopicName>,
    ) -> Result<(Vec<Following>, u32), Error> {
        let mut device = read::device(&self.staged, receiver)?.ok_or(Error::UnknownDevice)?;
        let mut asked: Vec<(LogId, Option<record::Follow>)> = Vec::new();
        for log in distinct(receiver, topics) {
            let follow = follow::follow(&self.staged, receiver, &log)?;
            asked.push((log, follow));
        }
        let own = |follow: &Option<record::Follow>| follow.as_ref().is_some_and(|follow| follow.own);
        let added = asked.iter().filter(|(_, follow)| !own(follow)).count();
        let total = u32::try_from(added).ok().and_then(|added| device.subscriptions.checked_add(added));
        let own_limit = self.quotas.limits(&receiver.tenant).subscriptions_per_device_max;
        let limit = own_limit.unwrap_or(self.limits.subscriptions_per_device_max);
        let total = total.filter(|&total| added == 0 || total <= limit).ok_or(Error::TooManySubscriptions(limit))?;
        let new = asked.iter().filter(|(_, follow)| follow.is_none()).filter_map(|(log, _)| match log {
            LogId::Topic(_, topic) => Some(topic),
            LogId::Inbox(..) | LogId::Broadcast(_) => None,
        });
        self.room_for_topics(&receiver.tenant, new)?;
        let mut cursors = Vec::with_capacity(asked.len());
        for (log, follow) in asked {
            let cursor = match follow {
                Some(follow) if follow.own => follow.cursor,
                // A group brings it already: it is the device's own from now on, and goes on where it is.
                Some(follow) => self.follow(receiver, &log, |_| follow.cursor)?,
                None => self.follow(receiver, &log, |log| Cursor::after(log.head.epoch, log.head.last))?,
            };
            if let LogId::Topic(tenant, topic) = &log {
                self.roll.change(tenant, |roll| roll.index.follow(topic, device.number));
            }
            cursors.push((log, cursor));
        }
        if added > 0 {
            device.subscriptions = total;
            self.staged.put(key::device(receiver), device.encode());
            self.sync = true;
        }
        Ok((read::following(&self.staged, cursors)?, total))
    }

    /// See [`crate::store::Store::unsubscribe`].
    pub(super) fn unsubscribe(&mut self, receiver: &Receiver, topics: Vec<TopicName>) -> Result<u32, Error> {
        let mut device = read::device(&self.staged, receiver)?.ok_or(Error::UnknownDevice)?;
        let user = follow::user(&self.staged, &receiver.tenant, &receiver.user)?;
        let before = device.subscriptions;
        for log in distinct(receiver, topics) {
            let (LogId::Topic(tenant, topic), Some(follow)) =
                (&log, follow::recorded(&self.staged, receiver, &log)?.filter(|follow| follow.own))
            else {
                continue;
            };
            self.unfollow(receiver, &log)?;
            if user.since(topic).is_some() {
                // A group goes on to bring it, from where the device is.
                let follow = record::Follow { own: false, ..follow };
                self.staged.put(key::cursor(receiver, &log), follow.encode());
            } else {
                self.roll.change(tenant, |roll| roll.index.unfollow(topic, device.number));
            }
            device.subscriptions = device.subscriptions.saturating_sub(1);
        }
        if device.subscriptions != before {
            self.staged.put(key::device(receiver), device.encode());
            self.sync = true;
        }
        Ok(device.subscriptions)
    }

    /// See [`crate::store::Store::describe`].
    pub(super) fn describe(&mut self, receiver: &Receiver, attributes: BTreeMap<String, String>) -> Result<(), Error> {
        let mut device = read::device(&self.staged, receiver)?.ok_or(Error::UnknownDevice)?;
        if device.attributes == attributes {
            return Ok(());
        }
        self.roll.change(&receiver.tenant, |roll| {
            roll.index.describe(device.number, &device.attributes, &attributes);
        });
        device.attributes = attributes;
        self.staged.put(key::device(receiver), device.encode());
        self.sync = true;
        Ok(())
    }

    /// See [`crate::store::Store::commit`].
    pub(super) fn commit(&mut self, commit: Commit) -> Result<(), Error> {
        let Commit { receiver, mut cursors, dead, reports } = commit;
        let books = !(reports.is_empty() && dead.is_empty());
        if !reports.is_empty() {
            self.mark_sent(&receiver, &reports, &mut cursors)?;
        }
        let mut moves = Vec::new();
        for (log, newer) in cursors {
            let key = key::cursor(&receiver, &log);
            if self.cursors.get(&key).is_none()
                && let Some(follow) = follow::follow(&self.staged, &receiver, &log)?
            {
                self.cursors.put(&key, follow);
            }
            let Some(record::Follow { own, cursor: stored }) = self.cursors.get(&key) else { continue };
            let mut merged = stored.clone();
            if stored.epoch != newer.epoch {
                if read::head(&self.staged, &log)?.epoch != newer.epoch {
                    continue;
                }
                // The stored one is of an older life.
                merged = Cursor { epoch: newer.epoch, ..Cursor::default() };
            }
            merged.merge(&newer);
            if merged == *stored {
                if books {
                    moves.push(Moved { log, before: merged, settled: newer.settled });
                }
                continue;
            }
            if let (Some(full), Some(lowest)) = (self.full.get_mut(&log), lowest_new(&stored.settled, &merged.settled))
            {
                full.from = full.from.min(Offset(lowest));
            }
            let merged = record::Follow { own: *own, cursor: merged };
            self.staged.put(key, merged.encode());
            let before = mem::replace(stored, merged.cursor);
            if books {
                let before = if before.epoch == newer.epoch {
                    before
                } else {
                    Cursor { epoch: newer.epoch, ..Cursor::default() }
                };
                moves.push(Moved { log, before, settled: newer.settled });
            }
        }
        let takers = mem::take(&mut self.takers);
        self.book(&receiver, &mut moves, reports)?;
        for (message, at) in takers {
            self.take(&receiver, message, at)?;
        }
        for dead in dead {
            // A letter carries no epoch: it speaks of the place that its commit settles.
            let Some(moved) = moves.iter_mut().find(|moved| moved.log == dead.log) else { continue };
            if moved.take(dead.offset)
                && let Some(message) = self.put_letter(&receiver, &dead)?
            {
                self.book_dead(&receiver, moved, message, dead)?;
            }
        }
        Ok(())
    }

    fn put_seen(&mut self, receiver: &Receiver, mut device: record::Device, now: Timestamp) {
        // A clock that went back must not make a device look absent.
        device.seen = device.seen.max(now);
        self.staged.put(key::device(receiver), device.encode());
    }

    /// A log has a follower more, which has settled what `start` says.
    pub(super) fn follow(
        &mut self,
        receiver: &Receiver,
        id: &LogId,
        start: impl FnOnce(&record::Log) -> Cursor,
    ) -> Result<Cursor, Error> {
        let mut log = self.log_or_new(id)?;
        log.followers += 1;
        let cursor = start(&log);
        self.put_log(id, &log)?;
        let key = key::cursor(receiver, id);
        self.cursors.forget(&key);
        let follow = record::Follow { own: true, cursor };
        self.staged.put(key, follow.encode());
        Ok(follow.cursor)
    }

    /// A log has a follower less, of which nothing is recorded any more.
    pub(super) fn unfollow(&mut self, receiver: &Receiver, id: &LogId) -> Result<(), Error> {
        let key = key::cursor(receiver, id);
        self.cursors.forget(&key);
        self.staged.remove(key);
        if let Some(mut log) = read::log(&self.staged, id)? {
            log.followers = log.followers.saturating_sub(1);
            self.put_log(id, &log)?;
        }
        Ok(())
    }

    /// Records a dead letter, if the entry still stands; answers with its message.
    fn put_letter(&mut self, receiver: &Receiver, dead: &Dead) -> Result<Option<MessageId>, Error> {
        let Some(bytes) = self.staged.get(&key::entry(&dead.log, dead.offset))? else { return Ok(None) };
        let entry = record::decode_entry(&receiver.tenant, dead.offset, &bytes)?;
        if entry.expired(dead.at) || entry.device.as_ref().is_some_and(|only| *only != receiver.device) {
            return Ok(None);
        }
        let key = key::letter(&receiver.tenant, entry.id, &receiver.user, &receiver.device);
        let forget_at = entry.expires_at + self.limits.tombstone_ttl;
        self.put_due(forget_at, key::Purpose::Forget, &key);
        let &Dead { attempts, at, ref reason, .. } = dead;
        self.staged.put(key, record::Letter { attempts, at, forget_at, reason: reason.clone() }.encode());
        Ok(Some(entry.id))
    }
}

/// The logs of topics, each once, in the order given.
fn distinct(receiver: &Receiver, topics: Vec<TopicName>) -> Vec<LogId> {
    let mut seen = std::collections::HashSet::new();
    let logs = topics.into_iter().filter(|topic| seen.insert(topic.clone()));
    logs.map(|topic| LogId::Topic(receiver.tenant.clone(), topic)).collect()
}

/// The lowest number that is in `new` and not in `old`, a part of it.
fn lowest_new(old: &Ranges, new: &Ranges) -> Option<u64> {
    let mut old = old.iter();
    for (from, upto) in new.iter() {
        let mut missing = from;
        while missing <= upto {
            match old.next() {
                Some((first, last)) if first == missing => missing = last.checked_add(1)?,
                _ => return Some(missing),
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::lowest_new;
    use crate::model::ranges::Ranges;

    proptest! {
        #[test]
        fn the_lowest_new_number_is_found(
            old in proptest::collection::vec((0_u64..40, 0_u64..6), 0..8),
            added in proptest::collection::vec((0_u64..40, 0_u64..6), 0..4),
        ) {
            let ranges = |spans: &[(u64, u64)]| spans.iter().map(|&(from, length)| (from, from + length)).collect();
            let old: Ranges = ranges(&old);
            let mut new: Ranges = ranges(&added);
            new.merge(&old);
            let expected = (0..60).find(|&number| new.contains(number) && !old.contains(number));
            prop_assert_eq!(lowest_new(&old, &new), expected);
        }
    }
}
