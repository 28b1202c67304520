//! Messages that wait for their time: accepted now, given their place in their log later. It does not decide what a place
//! costs and whom it replaces; `append.rs` does, when the time has come.

use std::time::Duration;

use super::key::{self, Purpose};
use super::record::{self, Fate, Scheduled};
use super::table::View;
use super::writer::Writer;
use crate::model::clock::Timestamp;
use crate::model::id::TenantId;
use crate::model::log::{Epoch, Offset};
use crate::model::message::Durability;
use crate::model::receipt::{Counts, End};
use crate::store::{Append, Appended, Error, Swept, Wishes};

/// How long a message waits that could not be given its place because its log or its tenant was full. A guess: devices that come and
/// ack make room within seconds or not for hours.
const FULL_PAUSE: Duration = Duration::from_secs(10);

impl Writer {
    /// Accepts a message that is to be sent at a later time. A refusal has staged nothing.
    pub(super) fn schedule(&mut self, append: Append, send_at: Timestamp) -> Result<Appended, Error> {
        let old = self.named(&append)?;
        // What waits itself would be sent before its replacement: it goes at once. What stands goes when that is sent.
        let old = old.filter(|old| old.fate == Fate::Scheduled);
        let (tenant, limit) = (append.log.tenant().clone(), self.limits.scheduled_max);
        if old.is_none() && self.waiting(&tenant)? >= limit {
            return Err(Error::TooManyScheduled(limit));
        }
        let body_bytes = append.body.len() as u64;
        self.room_for_bytes(&tenant, body_bytes, old.as_ref().map_or(0, |old| old.body_bytes))?;
        if let Some(old) = old {
            self.withdraw_scheduled(&old, End::Replaced(Some(append.id)), append.now)?;
        }
        self.put_waiting(&tenant, |count| count + 1)?;
        self.count_bytes(&tenant, body_bytes, 0)?;
        let Append { id, now, expires_at, .. } = append;
        let appended = Appended {
            id,
            offset: Offset::ZERO,
            epoch: Epoch::default(),
            accepted_at: now,
            expires_at,
            duplicate: false,
            audience: None,
            send_at: Some(send_at),
        };
        self.remember(&append, &appended);
        let Append { log, urgency, device, collapse_key, durability, body, wishes, .. } = append;
        let Wishes { condition, exclude, any_of_user, replaces, tag, without_receipts, fallback_at, .. } = wishes;
        let message = record::Message {
            id,
            epoch: appended.epoch,
            offset: appended.offset,
            accepted_at: now,
            expires_at,
            device,
            collapse_key,
            fate: Fate::Scheduled,
            send_at: Some(send_at),
            tag,
            any_of_user,
            excluded: super::outcome::excluded(&log, &exclude),
            receipts: !without_receipts,
            counts: Counts::default(),
            body_bytes,
            lines: Vec::new(),
            handed_off: None,
            log,
        };
        let rest = Scheduled { urgency, durability, condition, exclude, replaces, fallback_at, body };
        self.staged.put(key::scheduled(&tenant, id), rest.encode());
        self.put_due(send_at, Purpose::Send, &message.key());
        self.book_accepted(message, now);
        Ok(appended)
    }

    /// A message's time has come: it is given its place. Its record and its place are one batch, so that it is sent once,
    /// whatever happens.
    pub(super) fn send(&mut self, target: &[u8], now: Timestamp, swept: &mut Swept) -> Result<(), Error> {
        let (tenant, id) = key::message_of(target)?;
        let Some(message) = self.outcomes.look(&self.staged, &tenant, id)? else { return Ok(()) };
        if message.fate != Fate::Scheduled {
            return Ok(());
        }
        if message.expires_at <= now {
            // The gateway was not there, or there was no room, while it could have been sent.
            swept.expired += 1;
            return self.withdraw_scheduled(&message, End::Expired, message.expires_at);
        }
        let key = key::scheduled(&tenant, id);
        let Some(bytes) = self.staged.get(&key)? else {
            return Err(Error::Failed(format!("the content of the scheduled message {id} is missing")));
        };
        let rest = Scheduled::decode(&bytes)?;
        let (durability, expires_at) = (rest.durability, message.expires_at);
        match self.place(append_of(&message, rest, now), Some(&message)) {
            Ok(_) => {
                self.sync |= durability == Durability::Fsync;
                self.staged.remove(key);
                self.count_bytes(&tenant, 0, message.body_bytes)?;
                self.put_waiting(&tenant, |count| count.saturating_sub(1))
            }
            Err(Error::LogFull(_) | Error::TenantQuota(..)) => {
                self.put_due((now + FULL_PAUSE).min(expires_at), Purpose::Send, target);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// A message that waits for its time is over, and never sent.
    pub(super) fn withdraw_scheduled(
        &mut self,
        message: &record::Message,
        end: End,
        at: Timestamp,
    ) -> Result<(), Error> {
        let tenant = message.log.tenant();
        self.staged.remove(key::scheduled(tenant, message.id));
        if let Some(send_at) = message.send_at {
            self.staged.remove(key::due(send_at, Purpose::Send, &message.key()));
        }
        self.put_waiting(tenant, |count| count.saturating_sub(1))?;
        self.count_bytes(tenant, 0, message.body_bytes)?;
        self.end(message, end, at, None)
    }

    /// How many messages of a tenant wait for their time.
    fn waiting(&self, tenant: &TenantId) -> Result<u64, Error> {
        let bytes = self.staged.get(&key::waiting(tenant))?;
        bytes.map_or(Ok(0), |bytes| record::decode_count(&bytes))
    }

    fn put_waiting(&mut self, tenant: &TenantId, change: impl FnOnce(u64) -> u64) -> Result<(), Error> {
        let key = key::waiting(tenant);
        match change(self.waiting(tenant)?) {
            0 => self.staged.remove(key),
            count => self.staged.put(key, record::encode_count(count)),
        }
        Ok(())
    }
}

/// The append that a message was accepted as, for now.
fn append_of(message: &record::Message, rest: Scheduled, now: Timestamp) -> Append {
    let Scheduled { urgency, durability, condition, exclude, replaces, fallback_at, body } = rest;
    Append {
        log: message.log.clone(),
        id: message.id,
        now,
        expires_at: message.expires_at,
        urgency,
        device: message.device.clone(),
        collapse_key: message.collapse_key.clone(),
        idempotency: None,
        durability,
        body,
        wishes: Wishes {
            condition,
            exclude,
            any_of_user: message.any_of_user,
            replaces,
            send_at: None,
            tag: message.tag.clone(),
            without_receipts: !message.receipts,
            fallback_at,
        },
    }
}
