//! Removing what is over, oldest first, in steps of bounded work. Nothing but this looks at the clock on its own
//! account: reads and appends treat as gone what is over, swept or not.

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

impl Writer {
    /// See [`crate::store::Store::sweep`].
    pub(super) fn sweep(&mut self, now: Timestamp) -> Result<Swept, Error> {
        self.now = now;
        let before = key::due_from(Timestamp::from_millis(now.as_millis().saturating_add(1)));
        let rows = self.staged.range(&self.due_from, &before).take(STEP_RECORDS_MAX);
        let due = rows.map(|row| Ok(row?.0.to_vec())).collect::<Result<Vec<_>, Error>>()?;
        let (mut swept, mut touched) = (Swept::default(), 0);
        let all = due.len() < STEP_RECORDS_MAX;
        self.due_from = due.last().filter(|_| !all).unwrap_or(&before).clone();
        for key in due {
            if touched >= STEP_RECORDS_MAX {
                self.due_from = self.due_from.clone().min(key);
                break;
            }
            touched += 1;
            // First: what comes next may be due at the very same key.
            self.staged.remove(key.clone());
            let (_, purpose, target) = key::due_of(&key)?;
            match purpose {
                Purpose::Expire => self.sweep_entry(target, now, &mut swept)?,
                Purpose::Forget if target.first() == Some(&key::REACH) => {
                    touched += self.sweep_journal(target, now, &mut swept)?;
                }
                Purpose::Forget => self.sweep_record(target, now, &mut swept)?,
                Purpose::Absence => touched += self.sweep_device(target, now, &mut swept)?,
            }
        }
        // What was put there meanwhile, by this step as well, has moved the beginning back.
        swept.more = self.due_from < before;
        swept.next = self.pace.next();
        Ok(swept)
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
        self.put_log(&message.log, &log);
        swept.expired += 1;
        Ok(())
    }

    fn sweep_record(&mut self, target: &[u8], now: Timestamp, swept: &mut Swept) -> Result<(), Error> {
        if target.first() == Some(&key::MESSAGE) {
            return self.sweep_message(target, now, swept);
        }
        let Some(bytes) = self.staged.get(target)? else { return Ok(()) };
        let over_at = match target.first() {
            Some(&key::REPEAT) => record::Repeat::decode(&bytes)?.first.accepted_at + self.limits.idempotency_window,
            Some(&key::LETTER) => record::Letter::decode(&bytes)?.forget_at,
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

    /// A device has one key, which is looked at twice within the longest absence: opening a device need not move it,
    /// A device has one key (the seat of a user that left its groups has another), which is looked at twice within the longest absence: opening a device need not move it,
    /// and one that is open all the time is noted as seen before a crash could make it look absent.
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
            self.staged.put(target.to_vec(), device.encode());
            now + absence_max / 2
        } else if device.seen + absence_max > now {
            device.seen + absence_max
        } else {
            swept.forgotten += 1;
            return self.forget_device(&receiver, now);
        };
        // Never at the key that is being removed.
        self.put_due(look_again.max(Timestamp::from_millis(now.as_millis() + 1)), Purpose::Absence, target);
        Ok(1)
    }
}
