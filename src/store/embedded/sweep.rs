//! Removing what is over, oldest first, in steps of bounded work. Nothing but this looks at the clock on its own
//! account: reads and appends treat as gone what is over, swept or not.

use std::mem;

use super::key::{self, Purpose};
use super::read;
use super::record::{self, Fate};
use super::retention::forget_at;
use super::table::View;
use super::tag;
use super::writer::Writer;
use crate::model::clock::Timestamp;
use crate::model::receipt::End;
use crate::store::{Error, Swept};

/// Most records that one step touches: appends wait for it. Measured: about 8 us each in a folder of 300,000 entries, so
/// a step of 1 ms; with 500 the median append took 4 ms while a sweep was at work.
const STEP_RECORDS_MAX: usize = 128;

/// What sending a message counts for: an append costs about as much as so many removals. A guess.
const SEND_RECORDS: usize = 7;

impl Writer {
    /// See [`crate::store::Store::sweep`].
    pub(super) fn sweep(&mut self, now: Timestamp) -> Result<Swept, Error> {
        self.now = now;
        let after = Timestamp::from_millis(now.as_millis().saturating_add(1));
        let (mut swept, mut touched) = (Swept::default(), 0);
        // What somebody waits for comes first.
        let before = key::soon_from(after);
        let mut from = mem::take(&mut self.soon_from);
        let soon = self.take_due(&mut from, &before, 0)?;
        self.soon_from = from;
        self.sweep_keys(soon, now, &mut touched, &mut swept)?;
        swept.more = self.soon_from < before;
        let before = key::due_from(after);
        let mut from = mem::take(&mut self.due_from);
        let due = self.take_due(&mut from, &before, touched)?;
        self.due_from = from;
        self.sweep_keys(due, now, &mut touched, &mut swept)?;
        // What was put there meanwhile, by this step as well, has moved the beginning back.
        swept.more |= self.due_from < before;
        swept.next = self.pace.next().into_iter().chain(self.next()?).min();
        Ok(swept)
    }

    /// When something is due that somebody waits for.
    fn next(&self) -> Result<Option<Timestamp>, Error> {
        let end = key::soon_from(Timestamp::from_millis(u64::MAX));
        let first = self.staged.range(&self.soon_from, &end).next().transpose()?;
        first.map(|(key, _)| key::due_of(&key).map(|(at, _, _)| at)).transpose()
    }

    /// The keys from one on that are due, as many as the step still has room for; moves the beginning behind them.
    fn take_due(&self, from: &mut Vec<u8>, before: &[u8], touched: usize) -> Result<Vec<Vec<u8>>, Error> {
        let most = STEP_RECORDS_MAX.saturating_sub(touched);
        let rows = self.staged.range(from, before).take(most);
        let due = rows.map(|row| Ok(row?.0.to_vec())).collect::<Result<Vec<_>, Error>>()?;
        if due.len() < most {
            before.clone_into(from);
        } else if let Some(last) = due.last() {
            from.clone_from(last);
        }
        Ok(due)
    }

    /// Does what is due, up to the bound of a step.
    fn sweep_keys(
        &mut self,
        due: Vec<Vec<u8>>,
        now: Timestamp,
        touched: &mut usize,
        swept: &mut Swept,
    ) -> Result<(), Error> {
        for key in due {
            if *touched >= STEP_RECORDS_MAX {
                let from = if key::is_soon(&key) { &mut self.soon_from } else { &mut self.due_from };
                *from = mem::take(from).min(key);
                break;
            }
            *touched += 1;
            // First: what comes next may be due at the very same key.
            self.staged.remove(key.clone());
            let (_, purpose, target) = key::due_of(&key)?;
            match purpose {
                Purpose::Expire if target.first() == Some(&key::ENTRY) => self.sweep_dismissal(target, now, swept)?,
                Purpose::Expire => self.sweep_entry(target, now, swept)?,
                Purpose::Forget if target.first() == Some(&key::REACH) => {
                    *touched += self.sweep_journal(target, now, swept)?;
                }
                Purpose::Forget => self.sweep_record(target, now, swept)?,
                Purpose::Absence => *touched += self.sweep_device(target, now, swept)?,
                Purpose::Send => {
                    *touched += SEND_RECORDS;
                    self.send(target, now, swept)?;
                }
                Purpose::HandOff => *touched += self.hand_off(target, now)?,
                Purpose::Conflate => {
                    *touched += STEP_RECORDS_MAX;
                    self.conflate_on(target, now)?;
                }
            }
        }
        Ok(())
    }

    /// Keys are hints: what is done is decided by the record that they point to.
    fn sweep_entry(&mut self, target: &[u8], now: Timestamp, swept: &mut Swept) -> Result<(), Error> {
        let (tenant, id) = key::message_of(target)?;
        let Some(message) = self.outcomes.look(&self.staged, &tenant, id)? else { return Ok(()) };
        if message.fate != Fate::Standing || message.expires_at > now {
            return Ok(());
        }
        let mut log = self.log_or_new(&message.log)?;
        self.end(&message, End::Expired, message.expires_at, Some(&mut log))?;
        self.put_log(&message.log, &log)?;
        swept.expired += 1;
        Ok(())
    }

    /// A dismissal expires. Its place was not given again: a log begins anew only when nothing stands in it.
    fn sweep_dismissal(&mut self, target: &[u8], now: Timestamp, swept: &mut Swept) -> Result<(), Error> {
        let (id, offset) = (key::log_at(target)?, key::offset_of(target)?);
        let Some(bytes) = self.staged.get(target)? else { return Ok(()) };
        let entry = record::decode_entry(id.tenant(), offset, &bytes)?;
        if entry.aim.as_ref().is_none_or(|aim| aim.dismissal.is_none()) || entry.expires_at > now {
            return Ok(());
        }
        let mut log = self.log_or_new(&id)?;
        self.remove_dismissal(&id, offset, entry.expires_at, &mut log);
        self.put_log(&id, &log)?;
        swept.expired += 1;
        Ok(())
    }

    fn sweep_record(&mut self, target: &[u8], now: Timestamp, swept: &mut Swept) -> Result<(), Error> {
        if target.first() == Some(&key::MESSAGE) {
            return self.sweep_message(target, now, swept);
        }
        if target.first() == Some(&key::SHELVED) {
            return self.sweep_shelved(target, now, swept);
        }
        let Some(bytes) = self.staged.get(target)? else { return Ok(()) };
        let over_at = match target.first() {
            Some(&key::REPEAT) => record::Repeat::decode(&bytes)?.first.accepted_at + self.limits.idempotency_window,
            Some(&key::LETTER) => record::Letter::decode(&bytes)?.forget_at,
            Some(&key::SEEN) => Timestamp::from_millis(record::decode_count(&bytes)?),
            Some(&key::TAG) => key::hour_of(target)? + tag::TTL,
            _ => return Err(Error::Failed("a due key points to a record of unknown kind".to_owned())),
        };
        if over_at > now {
            // Written anew since, or the limits have changed.
            self.put_due(over_at, Purpose::Forget, target);
        } else {
            self.staged.remove(target.to_vec());
            swept.forgotten += 1;
        }
        Ok(())
    }

    fn sweep_message(&mut self, target: &[u8], now: Timestamp, swept: &mut Swept) -> Result<(), Error> {
        let (tenant, id) = key::message_of(target)?;
        let Some(message) = self.outcomes.look(&self.staged, &tenant, id)? else { return Ok(()) };
        let over_at = forget_at(&self.limits, &message);
        if over_at > now {
            self.put_due(over_at, Purpose::Forget, target);
        } else {
            self.outcomes.remove(&mut self.staged, target.to_vec());
            swept.forgotten += 1;
        }
        Ok(())
    }

    /// A device has one key (the seat of a user that left its groups has another), which is looked at twice within the
    /// longest absence: opening a device need not move it, and one that is open all the time is noted as seen before a
    /// crash could make it look absent.
    fn sweep_device(&mut self, target: &[u8], now: Timestamp, swept: &mut Swept) -> Result<usize, Error> {
        if target.first() == Some(&key::USER) {
            swept.forgotten += u64::from(self.sweep_seat(target, now)?);
            return Ok(1);
        }
        let receiver = key::receiver_of(target)?;
        let Some(mut device) = read::device(&self.staged, &receiver)? else { return Ok(0) };
        let absence_max = self.limits.device_absence_max;
        let look_again = if self.present.contains_key(&receiver) {
            device.seen = device.seen.max(now);
            now + absence_max / 2
        } else if device.seen + absence_max > now {
            device.seen + absence_max
        } else {
            swept.forgotten += 1;
            return self.forget_device(&receiver, now);
        };
        // Never at the key that is being removed.
        device.due = look_again.max(Timestamp::from_millis(now.as_millis() + 1));
        self.put_due(device.due, Purpose::Absence, target);
        self.staged.put(target.to_vec(), device.encode());
        Ok(1)
    }
}
