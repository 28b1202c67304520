//! Topics that keep only their newest push: what a push takes the place of, and how what was there before goes. It does
//! not keep the setting; `people.rs` does.

use super::key::{self, Purpose};
use super::record;
use super::table::View;
use super::writer::Writer;
use super::{people, read};
use crate::model::clock::Timestamp;
use crate::model::id::MessageId;
use crate::model::log::{LogId, Offset};
use crate::model::receipt::End;
use crate::store::Error;

/// Most entries that one push, or one step of a sweep, removes from a topic that was not conflated before. A guess: a
/// millisecond of work, for which other appends wait.
const STEP_MAX: usize = 128;

impl Writer {
    /// Whether only the newest push of this log stands.
    pub(super) fn conflates(&self, log: &LogId) -> Result<bool, Error> {
        match log {
            LogId::Topic(tenant, topic) => people::conflates(&self.staged, tenant, topic),
            LogId::Inbox(..) | LogId::Broadcast(_) => Ok(false),
        }
    }

    /// A topic is conflated from now on, or no more: what stands in it goes with the next push in a conflated one, the last
    /// one of a former time too.
    pub(super) fn forget_newest_of(&mut self, log: &LogId) {
        self.staged.remove(key::conflated(log));
    }

    /// The first push since a topic is conflated: what stands in it goes. The rest of much goes with the next sweeps.
    pub(super) fn conflate(
        &mut self,
        id: &LogId,
        log: &mut record::Log,
        newest: (Offset, MessageId),
        now: Timestamp,
    ) -> Result<(), Error> {
        let (before, by) = newest;
        let mut older = Vec::new();
        let mut kept = None;
        for entry in read::entries(&self.staged, id, log.first, &log.head) {
            let entry = entry?;
            if entry.offset >= before || older.len() > STEP_MAX {
                break;
            }
            if entry.aim.is_some_and(|aim| aim.dismissal.is_some()) {
                // It takes away what somebody shows still.
                kept.get_or_insert(entry.offset);
            } else {
                older.push((entry.offset, entry.id));
            }
        }
        let more = older.len() > STEP_MAX;
        older.truncate(STEP_MAX);
        if let Some((last, _)) = older.last().filter(|_| kept.is_none()) {
            log.first = last.next();
        }
        for (_, message) in older {
            let Some(message) = self.outcomes.look(&self.staged, id.tenant(), message)? else {
                return Err(Error::Failed(format!(
                    "the record of message {message} is missing while its entry stands"
                )));
            };
            let (end, at) = message.over(now).unwrap_or((End::Replaced(Some(by)), now));
            self.end(&message, end, at, Some(log))?;
        }
        if more {
            // Never at the key of the step that is under way.
            let next = Timestamp::from_millis(now.as_millis().saturating_add(1));
            self.put_due(next, Purpose::Conflate, &key::log(id));
        }
        Ok(())
    }

    /// Goes on with what a push has begun.
    pub(super) fn conflate_on(&mut self, target: &[u8], now: Timestamp) -> Result<(), Error> {
        let id = key::log_at(target)?;
        let Some(newest) = self.newest(&id)?.filter(|_| self.conflates(&id).unwrap_or(false)) else { return Ok(()) };
        let mut log = self.log_or_new(&id)?;
        if newest.epoch == log.head.epoch {
            self.conflate(&id, &mut log, (newest.offset, newest.id), now)?;
            self.put_log(&id, &log)?;
        }
        Ok(())
    }

    /// The newest push of a conflated topic, as far as it is known.
    fn newest(&self, id: &LogId) -> Result<Option<record::Message>, Error> {
        let Some(bytes) = self.staged.get(&key::conflated(id))? else { return Ok(None) };
        self.outcomes.look(&self.staged, id.tenant(), record::decode_collapse(&bytes)?)
    }
}
