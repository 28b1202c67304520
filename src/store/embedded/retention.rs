//! What leaves a log, and how: replaced, expired, or removed to make room. It does not decide when to look; appends and
//! sweeps do.

use std::sync::Arc;
use std::time::Duration;

use super::record::{self, Fate};
use super::table::View;
use super::writer::Writer;
use super::{key, read};
use crate::model::clock::Timestamp;
use crate::model::cursor::Cursor;
use crate::model::id::{DeviceId, MessageId, TenantId, UserId};
use crate::model::log::{LogId, Offset};
use crate::model::message::{Aim, Entry};
use crate::model::receipt::End;
use crate::store::{Error, Limits};

/// What is known of an inbox that was found full, so that appends to it do not walk over all of it again and again.
///
/// Nothing before `from` can go, until `until` comes or a device settles something there (then `commit` lowers `from`).
#[derive(Clone, Copy, Debug)]
pub(super) struct Full {
    /// The first entry that may be able to go.
    pub(super) from: Offset,
    /// When an entry before it expires.
    until: Timestamp,
}

/// Most inboxes that are remembered as full; then all are looked at anew. Bounds memory to about a megabyte.
const FULL_MAX: usize = 4_096;

/// The part of a log that goes at once when it is full, and the bounds of that: removing in pieces spares a walk over
/// the front for each append. A guess.
const CHUNK_DIVISOR: u64 = 100;
const CHUNK_MAX: u64 = 64;

/// Most entries that one append removes when a limit was lowered; further appends remove the rest.
const EXCESS_MAX: u64 = 1_024;

/// A walk over more entries than this is not repeated within [`WALK_PAUSE`] because of expiry alone. A guess: about a
/// millisecond.
const WALK_FREE_MAX: usize = 1_024;
const WALK_PAUSE: Duration = Duration::from_secs(1);

/// When a message's record has served its time.
pub(super) fn forget_at(limits: &Limits, message: &record::Message) -> Timestamp {
    let over = match message.fate {
        Fate::Scheduled | Fate::Standing => message.expires_at,
        Fate::Ended(_, at) => at,
    };
    over + limits.tombstone_ttl
}

impl Writer {
    /// A message is over, for this reason, since `at`. Its entry goes from the given log, if it stands in one; the caller
    /// stages the log. Devices that have not settled it have missed it. A message that is over already stays as it is.
    pub(super) fn end(
        &mut self,
        message: &record::Message,
        end: End,
        at: Timestamp,
        log: Option<&mut record::Log>,
    ) -> Result<(), Error> {
        if let Some(log) = log {
            self.remove_entry(message, log)?;
        }
        self.forget_collapse_key(message)?;
        let (key, forget_at) = (message.key(), at + self.limits.tombstone_ttl);
        self.book_end(message, end, at)?;
        self.put_due(forget_at, key::Purpose::Forget, &key);
        Ok(())
    }

    /// Entries that a log may hold.
    pub(super) fn entries_max(&self, id: &LogId) -> u64 {
        let (own, all) = (self.quotas.limits(id.tenant()), &self.limits);
        match id {
            LogId::Inbox(..) => own.inbox_entries_max.unwrap_or(all.inbox_entries_max),
            LogId::Topic(..) => own.topic_entries_max.unwrap_or(all.topic_entries_max),
            LogId::Broadcast(..) => all.broadcast_entries_max,
        }
    }

    /// Makes room for one entry, or refuses; then nothing is staged.
    pub(super) fn make_room(&mut self, id: &LogId, log: &mut record::Log, now: Timestamp) -> Result<(), Error> {
        let limit = self.entries_max(id);
        if log.entries < limit {
            return Ok(());
        }
        let needed = log.entries - limit + 1;
        let chunk = (limit / CHUNK_DIVISOR).clamp(1, CHUNK_MAX).max(needed).min(EXCESS_MAX);
        match id {
            LogId::Topic(..) | LogId::Broadcast(..) => self.trim_topic(id, log, chunk, now),
            LogId::Inbox(tenant, user) => {
                let (mut victims, dismissals) = self.settled_entries(id, (tenant, user), log, chunk, now)?;
                if (victims.len() as u64) < needed.min(EXCESS_MAX) && !dismissals.is_empty() {
                    // What is gone must not keep out what comes.
                    victims.extend(dismissals);
                    if victims.len() as u64 >= chunk {
                        // There may be more of them: the next walk begins anew.
                        self.full.remove(id);
                        victims.truncate(usize::try_from(chunk).unwrap_or(usize::MAX));
                    }
                }
                if (victims.len() as u64) < needed.min(EXCESS_MAX) {
                    if !victims.is_empty() {
                        // They stay, so what was noted of the walk is not true.
                        self.full.remove(id);
                    }
                    return Err(Error::LogFull(limit));
                }
                victims.into_iter().try_for_each(|victim| self.trim(id, &victim, log, now))
            }
        }
    }

    /// The oldest entries of a topic go, whoever waits for them.
    fn trim_topic(&mut self, id: &LogId, log: &mut record::Log, chunk: u64, now: Timestamp) -> Result<(), Error> {
        let oldest =
            read::entries(&self.staged, id, log.first, &log.head).take(usize::try_from(chunk).unwrap_or(usize::MAX));
        let oldest = oldest.map(|entry| Ok(Victim::of(&entry?))).collect::<Result<Vec<_>, Error>>()?;
        for victim in oldest {
            self.trim(id, &victim, log, now)?;
            if victim.expires_at > now {
                log.head.trimmed = victim.offset;
            }
            log.first = victim.offset.next();
        }
        Ok(())
    }

    /// The oldest entries of an inbox that no known device waits for, at most `most`; and as many of the oldest dismissals
    /// that one waits for.
    fn settled_entries(
        &mut self,
        id: &LogId,
        (tenant, user): (&TenantId, &UserId),
        log: &mut record::Log,
        most: u64,
        now: Timestamp,
    ) -> Result<(Vec<Victim>, Vec<Victim>), Error> {
        let mut cursors = Vec::new();
        for receiver in read::devices(&self.staged, tenant, user)? {
            let cursor = read::cursor(&self.staged, &receiver, id)?.unwrap_or_default();
            cursors.push((receiver.device, cursor));
        }
        let known = self.full.get(id).filter(|full| now < full.until);
        let never = Timestamp::from_millis(u64::MAX);
        let (mut next, mut until) = known.map_or((log.first, never), |full| (full.from.max(log.first), full.until));
        // Only a walk from the very front tells where the front is now.
        let mut front = (next == log.first).then_some(next);
        let (mut victims, mut dismissals, mut walked) = (Vec::new(), Vec::new(), 0);
        for entry in read::entries(&self.staged, id, next, &log.head) {
            let entry = entry?;
            walked += 1;
            next = entry.offset.next();
            if entry.expired(now) || settled(&entry, user, &cursors) {
                victims.push(Victim::of(&entry));
            } else {
                until = until.min(entry.expires_at);
                let waiting = Victim::of(&entry);
                if waiting.dismisses && (dismissals.len() as u64) < most {
                    dismissals.push(waiting);
                }
                if let Some(front) = front.take() {
                    log.first = front.max(log.first);
                }
            }
            front = front.map(|_| next);
            if victims.len() as u64 >= most {
                break;
            }
        }
        log.first = front.unwrap_or(log.first);
        if walked > WALK_FREE_MAX {
            until = until.max(now + WALK_PAUSE);
        }
        if self.full.len() >= FULL_MAX {
            self.full.clear();
        }
        self.full.insert(id.clone(), Full { from: next, until });
        Ok((victims, dismissals))
    }

    /// An entry goes because its log is full; one whose time was over just expires.
    fn trim(&mut self, log_id: &LogId, victim: &Victim, log: &mut record::Log, now: Timestamp) -> Result<(), Error> {
        if victim.dismisses {
            self.remove_dismissal(log_id, victim.offset, victim.expires_at, log);
            return Ok(());
        }
        let id = victim.message;
        let Some(message) = self.outcomes.look(&self.staged, log_id.tenant(), id)? else {
            return Err(Error::Failed(format!("the record of message {id} is missing while its entry stands")));
        };
        let (end, at) = message.over(now).unwrap_or((End::Trimmed, now));
        self.end(&message, end, at, Some(log))
    }

    fn remove_entry(&mut self, message: &record::Message, log: &mut record::Log) -> Result<(), Error> {
        self.take_entry(&message.log, message.offset);
        self.staged.remove(key::due(message.expires_at, key::Purpose::Expire, &message.key()));
        log.entries = log.entries.saturating_sub(1);
        self.count_bytes(message.log.tenant(), 0, message.body_bytes)
    }

    /// An entry that dismisses another goes. It has no message's record, and no content.
    pub(super) fn remove_dismissal(
        &mut self,
        log_id: &LogId,
        offset: Offset,
        expires_at: Timestamp,
        log: &mut record::Log,
    ) {
        self.take_entry(log_id, offset);
        self.staged.remove(key::due(expires_at, key::Purpose::Expire, &key::entry(log_id, offset)));
        log.entries = log.entries.saturating_sub(1);
    }

    /// Forgets the collapse key of an entry that goes, unless a newer entry has it. What was the newest of a conflated topic
    /// stays noted: whatever becomes of it, it has taken the place of all before it, and their going may take many steps.
    fn forget_collapse_key(&mut self, message: &record::Message) -> Result<(), Error> {
        match &message.collapse_key {
            Some(text) => self.forget_newest(key::collapse(&message.log, message.device.as_ref(), text), message.id),
            None => Ok(()),
        }
    }

    fn forget_newest(&mut self, key: Vec<u8>, message: MessageId) -> Result<(), Error> {
        let newest = self.staged.get(&key)?.map(|bytes| record::decode_collapse(&bytes)).transpose()?;
        if newest == Some(message) {
            self.staged.remove(key);
        }
        Ok(())
    }
}

/// An entry that is to make room.
struct Victim {
    offset: Offset,
    /// Its id.
    message: MessageId,
    expires_at: Timestamp,
    /// It is no message: it takes one away.
    dismisses: bool,
}

impl Victim {
    fn of(entry: &Entry) -> Self {
        let dismisses = entry.aim.as_ref().is_some_and(|aim| aim.dismissal.is_some());
        Self { offset: entry.offset, message: entry.id, expires_at: entry.expires_at, dismisses }
    }
}

/// Whether each known device of the user that the entry is for has settled it; not if there is none. One that dismisses
/// is for the devices known: no other has what it takes away.
fn settled(entry: &Entry, user: &UserId, cursors: &[(DeviceId, Cursor)]) -> bool {
    let concerns = |device: &DeviceId| {
        let excluded = |aim: &Arc<Aim>| aim.exclude.iter().any(|one| one.covers(user, device));
        entry.device.as_ref().is_none_or(|only| only == device) && !entry.aim.as_ref().is_some_and(excluded)
    };
    let mut concerned = cursors.iter().filter(|(device, _)| concerns(device)).peekable();
    let dismisses = entry.aim.as_ref().is_some_and(|aim| aim.dismissal.is_some());
    (dismisses || concerned.peek().is_some()) && concerned.all(|(_, cursor)| cursor.settled.contains(entry.offset.0))
}
