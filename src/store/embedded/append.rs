//! Appending a message: idempotency, collapse, room, and the four records that an entry costs. It writes nothing to
//! disk; the batch does.
//!
//! An append costs the entry, the message's record, the expiry's key and, once per log and batch, the log's record;
//! a collapse key adds one, an idempotency key two, a condition one. Keys and values without the body are about 300 bytes.

use std::sync::Arc;

use super::outcome::excluded;
use super::record::{self, Fate};
use super::table::View;
use super::writer::Writer;
use super::{key, people, read};
use crate::model::clock::Timestamp;
use crate::model::log::{Epoch, Head, LogId, Offset};
use crate::model::message::{Aim, Durability, Entry};
use crate::model::receipt::{Counts, End};
use crate::store::{Announced, Append, Appended, Error};

/// Epochs are below 2^53, so that they survive JSON. Of 2^53 random ones, two lives of one log never meet.
const EPOCH_MAX: u64 = (1 << 53) - 1;

impl Writer {
    /// See [`crate::store::Store::append`]. A refusal has staged nothing.
    pub(super) fn append(&mut self, append: Append) -> Result<Appended, Error> {
        self.now = append.now;
        if let Some(condition) = &append.wishes.condition {
            self.roll.check(append.log.tenant(), condition)?;
        }
        let sync = append.durability == Durability::Fsync;
        let appended = match (self.repeated(&append)?, append.wishes.send_at) {
            // It is synced too: the first one may have been content with less.
            (Some(first), _) => first,
            (None, Some(send_at)) if send_at > append.now => self.schedule(append, send_at)?,
            (None, _) => self.place(append, None)?,
        };
        self.sync |= sync;
        Ok(appended)
    }

    /// Gives a message the next place of its log; one that has waited for its time has a record. A refusal has staged
    /// nothing.
    pub(super) fn place(&mut self, append: Append, waited: Option<&record::Message>) -> Result<Appended, Error> {
        let log_key = key::log(&append.log);
        let mut log = match self.logs.get(&log_key) {
            Some(log) => *log,
            None => self.log_or_new(&append.log)?,
        };
        let conflates = self.conflates(&append.log)?;
        let (aim, audience) = self.aim_of(&append)?;
        let olds = self.olds(&append, conflates, waited.is_some())?;
        let tenant = append.log.tenant().clone();
        let arises = match &append.log {
            LogId::Topic(_, topic) if log.entries == 0 && log.followers == 0 && !conflates => Some(topic),
            _ => None,
        };
        self.room_for_topics(&tenant, arises)?;
        let freed = olds.iter().chain(waited).map(|old| old.body_bytes).sum();
        self.room_for_bytes(&tenant, append.body.len() as u64, freed)?;
        let first = conflates && self.staged.get(&key::conflated(&append.log))?.is_none();
        if !olds.iter().any(|old| old.fate == Fate::Standing) {
            self.make_room(&append.log, &mut log, append.now)?;
        }
        // The removal of an old one, which may have asked for more, is undone by a power cut only together with what
        // replaces it: they are one batch.
        let replaced = End::Replaced(Some(append.id));
        for old in &olds {
            match old.fate {
                Fate::Scheduled => self.withdraw_scheduled(old, replaced, append.now)?,
                _ => self.end(old, replaced, append.now, Some(&mut log))?,
            }
        }
        let offset = log.head.last.next();
        if first && log.entries > 0 {
            self.conflate(&append.log, &mut log, (offset, append.id), append.now)?;
        }
        if conflates {
            self.staged.put(key::conflated(&append.log), append.id.as_bytes().to_vec());
        }
        if log.entries == 0 {
            log.first = offset;
        }
        log.head.last = offset;
        log.entries += 1;
        if arises.is_some() {
            self.count_topic(&tenant, true)?;
        }
        self.logs.put(&log_key, log);
        self.staged.put(log_key, log.encode());
        let Append { id, now, expires_at, .. } = append;
        let appended = Appended {
            id,
            offset,
            epoch: log.head.epoch,
            accepted_at: now,
            expires_at,
            duplicate: false,
            audience,
            send_at: None,
        };
        self.remember(&append, &appended);
        self.put_message(append, aim, &appended, &log, waited)?;
        Ok(appended)
    }

    /// The outcome of the first append with this idempotency key.
    fn repeated(&self, append: &Append) -> Result<Option<Appended>, Error> {
        let Some(idempotency) = &append.idempotency else { return Ok(None) };
        let key = key::repeat(append.log.tenant(), &idempotency.key);
        let Some(bytes) = self.staged.get(&key)? else { return Ok(None) };
        let known = record::Repeat::decode(&bytes)?;
        if append.now >= known.first.accepted_at + self.limits.idempotency_window {
            return Ok(None);
        }
        if known.fingerprint != idempotency.fingerprint {
            return Err(Error::IdempotencyConflict);
        }
        Ok(Some(known.first))
    }

    /// The messages that this one takes the place of: the one it names, and the one with its collapse key or, in a
    /// conflated topic, the newest. One that has waited for its time finds the named one over, perhaps, and is just sent.
    fn olds(&self, append: &Append, conflates: bool, waited: bool) -> Result<Vec<record::Message>, Error> {
        let named = match self.named(append) {
            Err(Error::UnknownMessage | Error::NotReplaceable(_)) if waited => None,
            named => named?,
        };
        let twin = self.twin(append, conflates)?;
        let twin = twin.filter(|twin| named.as_ref().is_none_or(|named| named.id != twin.id));
        Ok(named.into_iter().chain(twin).collect())
    }

    /// The message that this one names to take the place of.
    pub(super) fn named(&self, append: &Append) -> Result<Option<record::Message>, Error> {
        let Some(id) = append.wishes.replaces else { return Ok(None) };
        let old = self.known(append.log.tenant(), id, append.now)?.ok_or(Error::UnknownMessage)?;
        if old.log != append.log || old.device != append.device {
            return Err(Error::NotReplaceable("it went to another target"));
        }
        match old.over(append.now).map(|(end, _)| end) {
            None => Ok(Some(old)),
            Some(End::Expired) => Err(Error::NotReplaceable("it has expired")),
            Some(End::Replaced(_)) => Err(Error::NotReplaceable("it was replaced before")),
            Some(End::Cancelled) => Err(Error::NotReplaceable("it was cancelled")),
            Some(End::Trimmed) => Err(Error::NotReplaceable("it made room in a full log")),
            Some(End::Taken) => Err(Error::NotReplaceable("a device of the user has taken it")),
            Some(End::Dismissed) => Err(Error::NotReplaceable("the user has dismissed it")),
        }
    }

    /// The standing entry that this one replaces without naming it.
    fn twin(&self, append: &Append, conflates: bool) -> Result<Option<record::Message>, Error> {
        let key = match &append.collapse_key {
            _ if conflates => key::conflated(&append.log),
            Some(text) => key::collapse(&append.log, append.device.as_ref(), text),
            None => return Ok(None),
        };
        let Some(bytes) = self.staged.get(&key)? else { return Ok(None) };
        let twin = self.outcomes.look(&self.staged, append.log.tenant(), record::decode_collapse(&bytes)?)?;
        Ok(twin.filter(|twin| twin.fate == Fate::Standing && twin.expires_at > append.now))
    }

    pub(super) fn remember(&mut self, append: &Append, appended: &Appended) {
        let Some(idempotency) = &append.idempotency else { return };
        let key = key::repeat(append.log.tenant(), &idempotency.key);
        self.put_due(append.now + self.limits.idempotency_window, key::Purpose::Forget, &key);
        let repeat = record::Repeat { fingerprint: idempotency.fingerprint, first: *appended };
        self.staged.put(key, repeat.encode());
    }

    fn put_message(
        &mut self,
        append: Append,
        aim: Option<Arc<Aim>>,
        appended: &Appended,
        log: &record::Log,
        waited: Option<&record::Message>,
    ) -> Result<(), Error> {
        let audience = match appended.audience {
            Some(audience) => audience,
            None => self.inbox_audience(&append, log)?,
        };
        let Appended { id, offset, epoch, accepted_at: now, expires_at, .. } = *appended;
        let Append { log, urgency, device, collapse_key, body, wishes, .. } = append;
        if let Some(text) = &collapse_key {
            let key = key::collapse(&log, device.as_ref(), text);
            self.staged.put(key, id.as_bytes().to_vec());
        }
        let receipts = !wishes.without_receipts;
        let body_bytes = body.len() as u64;
        self.count_bytes(log.tenant(), body_bytes, 0)?;
        let entry =
            Entry { offset, id, accepted_at: now, expires_at, urgency, device: device.clone(), aim, receipts, body };
        self.put_entry(&log, &entry);
        self.announced.push(Announced { log: log.clone(), epoch, entry });
        let message = record::Message {
            id,
            epoch,
            offset,
            accepted_at: waited.map_or(now, |waited| waited.accepted_at),
            expires_at,
            device,
            collapse_key,
            fate: Fate::Standing,
            send_at: waited.map(|_| now),
            tag: wishes.tag,
            any_of_user: wishes.any_of_user,
            excluded: excluded(&log, &wishes.exclude),
            receipts,
            counts: Counts { audience, ..Counts::default() },
            body_bytes,
            lines: Vec::new(),
            handed_off: None,
            log,
        };
        let key = message.key();
        self.put_due(expires_at, key::Purpose::Expire, &key);
        if let Some(at) = wishes.fallback_at.filter(|_| matches!(message.log, LogId::Inbox(..))) {
            self.put_due(at, key::Purpose::HandOff, &key);
        }
        self.book_accepted(message, now);
        Ok(())
    }

    /// The log's record, or one for a new life. A new one is staged only when the caller puts it.
    pub(super) fn log_or_new(&mut self, id: &LogId) -> Result<record::Log, Error> {
        if let Some(log) = read::log(&self.staged, id)? {
            return Ok(log);
        }
        let epoch = Epoch(self.random.u64(1..=EPOCH_MAX));
        let head = Head { epoch, ..Head::default() };
        Ok(record::Log { head, first: Offset(1), ..record::Log::default() })
    }

    /// Stages a log's record, or its end: a log without entries that nobody follows is forgotten. Cursors that callers
    /// may still hold are void by then, because the next life has another epoch.
    pub(super) fn put_log(&mut self, id: &LogId, log: &record::Log) -> Result<(), Error> {
        let key = key::log(id);
        // Only what pushes go to is worth keeping: not the log of each device that comes.
        self.logs.forget(&key);
        // Everybody follows the broadcast log, without being counted: places in it are kept with each device.
        let lives = log.entries > 0 || log.followers > 0 || matches!(id, LogId::Broadcast(_));
        if let LogId::Topic(tenant, topic) = id
            && lives != self.staged.get(&key)?.is_some()
            && !people::conflates(&self.staged, tenant, topic)?
        {
            self.count_topic(tenant, lives)?;
        }
        if lives {
            self.staged.put(key, log.encode());
        } else {
            self.staged.remove(key);
        }
        Ok(())
    }

    /// Stages that something is to be done at a time.
    pub(super) fn put_due(&mut self, at: Timestamp, purpose: key::Purpose, target: &[u8]) {
        let key = key::due(at, purpose, target);
        let from = if key::is_soon(&key) { &mut self.soon_from } else { &mut self.due_from };
        if key < *from {
            from.clone_from(&key);
        }
        self.staged.put(key, Vec::new());
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::path::Path;

    use bytes::Bytes;

    use crate::model::clock::Timestamp;
    use crate::model::id::{MessageId, TenantId, UserId};
    use crate::model::log::{LogId, Offset};
    use crate::model::message::{Durability, Urgency};
    use crate::store::open::{Options, open};
    use crate::store::{Append, MessageState};

    fn log() -> LogId {
        LogId::Inbox(TenantId::new("acme").unwrap(), UserId::new("ann").unwrap())
    }

    fn push(number: u8, durability: Durability) -> Append {
        Append {
            log: log(),
            id: MessageId::from_bytes([number; 16]),
            now: Timestamp::ZERO,
            expires_at: Timestamp::from_millis(1),
            urgency: Urgency::Normal,
            device: None,
            collapse_key: Some("same".to_owned()),
            idempotency: None,
            durability,
            body: Bytes::from(vec![number]),
            wishes: crate::store::Wishes::default(),
        }
    }

    /// Where the last byte of a journal stands that is not zero; all of it is within the first MiB.
    fn end(journal: &Path) -> u64 {
        let mut bytes = Vec::new();
        File::open(journal).unwrap().take(1 << 20).read_to_end(&mut bytes).unwrap();
        bytes.iter().rposition(|&byte| byte != 0).unwrap() as u64 + 1
    }

    #[tokio::test]
    async fn a_power_cut_undoes_a_relaxed_push_together_with_its_removal_of_another() {
        for tenth in 0..=10 {
            let folder = tempfile::tempdir().unwrap();
            let (journal, options) =
                (folder.path().join("0.jnl"), Options { data: folder.path().to_owned(), ..Options::default() });
            let store = open(&options).unwrap();
            store.append(push(1, Durability::Fsync)).await.unwrap();
            let synced = end(&journal);
            let before = store.health().flushes;
            store.append(push(2, Durability::Relaxed)).await.unwrap();
            assert_eq!(store.health().flushes, before, "a relaxed push waits for no disk");
            drop(store);
            let left = synced + (end(&journal) - synced) * tenth / 10;
            File::options().write(true).open(&journal).unwrap().set_len(left).unwrap();

            let store = open(&options).unwrap();
            let page = store.read(&log(), Offset::ZERO, usize::MAX, usize::MAX, Timestamp::ZERO).await.unwrap();
            let bodies: Vec<_> = page.entries.iter().map(|entry| entry.body[0]).collect();
            assert_eq!(bodies, [if tenth < 10 { 1 } else { 2 }], "{tenth} tenths are left");
            let first = store.message(log().tenant(), MessageId::from_bytes([1; 16]), Timestamp::ZERO).await.unwrap();
            let state = if tenth < 10 { MessageState::Stored } else { MessageState::Replaced };
            assert_eq!(first.map(|first| first.state), Some(state));
        }
    }
}
