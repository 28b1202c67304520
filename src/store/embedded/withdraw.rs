//! Taking messages away before they expire: cancelled, taken by the first device, dismissed by their user; and the
//! dismissals that tell devices of it. It does not choose what makes room; `retention.rs` does.
//!
//! A dismissal is an entry without a body and without a message's record. It expires with the message it takes away.

use std::sync::Arc;

use bytes::Bytes;

use super::key::{self, Purpose};
use super::record::{self, Fate};
use super::retention::forget_at;
use super::table::View;
use super::writer::Writer;
use super::{follow, read};
use crate::model::clock::Timestamp;
use crate::model::cursor::Cursor;
use crate::model::id::{MessageId, Receiver, TenantId};
use crate::model::log::LogId;
use crate::model::message::{Aim, DismissReason, Dismissed, Entry, Exclusion, Urgency};
use crate::model::receipt::{End, Report, Reported};
use crate::store::{Announced, Commit, Error, MessageState};

impl Writer {
    /// See [`crate::store::Store::cancel`].
    pub(super) fn cancel(
        &mut self,
        tenant: &TenantId,
        id: MessageId,
        silently: bool,
        now: Timestamp,
    ) -> Result<(MessageState, bool), Error> {
        self.now = now;
        let message = self.known(tenant, id, now)?.ok_or(Error::UnknownMessage)?;
        if let Some((end, _)) = message.over(now) {
            return Ok((state_of(end), false));
        }
        self.sync = true;
        if message.fate == Fate::Scheduled {
            self.withdraw_scheduled(&message, End::Cancelled, now)?;
            return Ok((MessageState::Cancelled, true));
        }
        let aim = self.aim_in_log(&message)?;
        let mut log = self.log_or_new(&message.log)?;
        self.end(&message, End::Cancelled, now, Some(&mut log))?;
        if !silently {
            self.append_dismissal(&message.log, &mut log, aim, &message, DismissReason::Cancelled, now)?;
        }
        self.put_log(&message.log, &log)?;
        Ok((MessageState::Cancelled, true))
    }

    /// A device has acked a message that is for any one device of its user: the others do not get it any more, and those
    /// that have it are told. Whoever comes first in the order of writes wins; later acks find it over.
    pub(super) fn take(&mut self, receiver: &Receiver, id: MessageId, at: Timestamp) -> Result<(), Error> {
        let Some(message) = self.known(&receiver.tenant, id, at)? else { return Ok(()) };
        if !message.any_of_user || message.over(at).is_some() || !is_for(&message, receiver) {
            return Ok(());
        }
        let cursor = read::cursor(&self.staged, receiver, &message.log)?;
        let settled = |cursor: &Cursor| cursor.epoch == message.epoch && cursor.settled.contains(message.offset.0);
        if !cursor.as_ref().is_some_and(settled) {
            // A word without the deed: it is not known of this device that it has the message.
            return Ok(());
        }
        let mut aim = self.aim_in_log(&message)?;
        aim.exclude.push(Exclusion { user: receiver.user.clone(), device: Some(receiver.device.clone()) });
        let mut log = self.log_or_new(&message.log)?;
        self.end(&message, End::Taken, at, Some(&mut log))?;
        self.append_dismissal(&message.log, &mut log, aim, &message, DismissReason::Taken, at)?;
        self.put_log(&message.log, &log)?;
        Ok(())
    }

    /// See [`crate::store::Store::dismiss`].
    pub(super) fn dismiss(
        &mut self,
        receiver: &Receiver,
        messages: Vec<MessageId>,
        now: Timestamp,
    ) -> Result<u32, Error> {
        if read::device(&self.staged, receiver)?.is_none() {
            return Err(Error::UnknownDevice);
        }
        self.now = now;
        let mut dismissed = 0;
        for id in messages {
            let Some(message) = self.known(&receiver.tenant, id, now)? else { continue };
            // What was sent to be taken away by its time needs nobody's word.
            if message.fate == Fate::Scheduled || message.expires_at <= now || message.device.is_some() {
                continue;
            }
            let done = match &message.log {
                LogId::Inbox(_, user) if *user == receiver.user => self.dismiss_own(receiver, &message, now)?,
                LogId::Inbox(..) => false,
                LogId::Topic(..) | LogId::Broadcast(_) => {
                    let shown = matches!(message.fate, Fate::Standing | Fate::Ended(End::Trimmed, _));
                    shown && self.concerns(receiver, &message)? && self.dismiss_shared(receiver, &message, now)?
                }
            };
            dismissed += u32::from(done);
        }
        self.sync |= dismissed > 0;
        Ok(dismissed)
    }

    /// A message in the user's own inbox is over; whether that is news.
    fn dismiss_own(&mut self, receiver: &Receiver, message: &record::Message, now: Timestamp) -> Result<bool, Error> {
        match message.fate {
            Fate::Standing => {}
            // It is gone because each device had acked it: it may still be on their screens.
            Fate::Ended(End::Trimmed, _) => return self.dismiss_shared(receiver, message, now),
            Fate::Ended(..) | Fate::Scheduled => return Ok(false),
        }
        if is_for(message, receiver) {
            self.settle(receiver, message, now)?;
            if message.any_of_user {
                // Seeing it was the first ack, which has told the others.
                return Ok(true);
            }
        }
        let mut aim = self.aim_in_log(message)?;
        aim.exclude.push(Exclusion { user: receiver.user.clone(), device: Some(receiver.device.clone()) });
        let mut log = self.log_or_new(&message.log)?;
        self.end(message, End::Dismissed, now, Some(&mut log))?;
        self.append_dismissal(&message.log, &mut log, aim, message, DismissReason::Seen, now)?;
        self.put_log(&message.log, &log)?;
        Ok(true)
    }

    /// A message stays, because it is for others too, and the other devices of this user are told; whether that is news.
    fn dismiss_shared(
        &mut self,
        receiver: &Receiver,
        message: &record::Message,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let seen = key::seen(&receiver.tenant, message.id, &receiver.user);
        if self.staged.get(&seen)?.is_some() {
            return Ok(false);
        }
        self.put_due(message.expires_at, Purpose::Forget, &seen);
        self.staged.put(seen, record::encode_count(message.expires_at.as_millis()));
        self.settle(receiver, message, now)?;
        self.settle_siblings(receiver, message)?;
        let inbox = LogId::Inbox(receiver.tenant.clone(), receiver.user.clone());
        let this = Exclusion { user: receiver.user.clone(), device: Some(receiver.device.clone()) };
        let aim = Aim { exclude: vec![this], ..Aim::default() };
        let mut log = self.log_or_new(&inbox)?;
        self.append_dismissal(&inbox, &mut log, aim, message, DismissReason::Seen, now)?;
        self.put_log(&inbox, &log)?;
        Ok(true)
    }

    /// The user's other devices do not get it any more: one that is away would else receive it before it comes to the
    /// dismissal, which stands in another log.
    fn settle_siblings(&mut self, receiver: &Receiver, message: &record::Message) -> Result<(), Error> {
        let Receiver { tenant, user, device } = receiver;
        for (_, sibling) in self.numbers_of(tenant, user, 1)?.into_iter().filter(|(_, sibling)| sibling != device) {
            let settled = [(message.offset.0, message.offset.0)].into_iter().collect();
            let cursor = Cursor { epoch: message.epoch, settled, ..Cursor::default() };
            self.commit(Commit {
                receiver: Receiver { tenant: tenant.clone(), user: user.clone(), device: sibling },
                cursors: vec![(message.log.clone(), cursor)],
                dead: Vec::new(),
                reports: Vec::new(),
            })?;
        }
        Ok(())
    }

    /// Whoever has seen a message has acked it.
    fn settle(&mut self, receiver: &Receiver, message: &record::Message, now: Timestamp) -> Result<(), Error> {
        let settled = [(message.offset.0, message.offset.0)].into_iter().collect();
        let cursor = Cursor { epoch: message.epoch, settled, ..Cursor::default() };
        self.commit(Commit {
            receiver: receiver.clone(),
            cursors: vec![(message.log.clone(), cursor)],
            dead: Vec::new(),
            reports: vec![Report { message: message.id, at: now, what: Reported::Acked }],
        })
    }

    /// Whether a message of a topic or of the broadcast log is for this device.
    fn concerns(&self, receiver: &Receiver, message: &record::Message) -> Result<bool, Error> {
        let follow = follow::follow(&self.staged, receiver, &message.log)?;
        if follow.is_none_or(|follow| follow.cursor.epoch != message.epoch) {
            return Ok(false);
        }
        let aim = self.aim_in_log(message)?;
        if aim.exclude.iter().any(|one| one.covers(&receiver.user, &receiver.device)) {
            return Ok(false);
        }
        let Some(audience) = aim.audience else { return Ok(!matches!(message.log, LogId::Broadcast(_))) };
        let device = read::device(&self.staged, receiver)?;
        Ok(device.is_some_and(|device| audience.contains(device.number)))
    }

    /// Tells the devices that may have a message to take it away. A log that is full goes without: no message is refused
    /// or lost for the sake of one that is gone.
    fn append_dismissal(
        &mut self,
        id: &LogId,
        log: &mut record::Log,
        aim: Aim,
        message: &record::Message,
        reason: DismissReason,
        now: Timestamp,
    ) -> Result<(), Error> {
        let inbox = matches!(id, LogId::Inbox(..));
        if inbox && log.followers == 0 {
            // No device is known that could have it.
            return Ok(());
        }
        if log.entries >= self.entries_max(id) {
            let made = if inbox { self.make_room(id, log, now) } else { Err(Error::LogFull(self.entries_max(id))) };
            match made {
                Ok(()) => {}
                Err(Error::LogFull(_)) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        let dismissal = Dismissed {
            log: message.log.clone(),
            epoch: message.epoch,
            offset: message.offset,
            message: message.id,
            reason,
        };
        let chance = std::array::from_fn(|_| self.random.u8(..));
        let offset = log.head.last.next();
        if log.entries == 0 {
            log.first = offset;
        }
        log.head.last = offset;
        log.entries += 1;
        let entry = Entry {
            offset,
            id: MessageId::new(now.as_millis(), chance),
            accepted_at: now,
            expires_at: message.expires_at,
            // It waits for nothing: what it takes away is on a screen.
            urgency: Urgency::High,
            device: message.device.clone(),
            aim: Some(Arc::new(Aim { any_of_user: false, dismissal: Some(dismissal), ..aim })),
            receipts: false,
            body: Bytes::new(),
        };
        self.put_entry(id, &entry);
        self.put_due(entry.expires_at, Purpose::Expire, &key::entry(id, offset));
        self.announced.push(Announced { log: id.clone(), epoch: log.head.epoch, entry });
        Ok(())
    }

    /// For whom a message is among the followers of its log, as far as that is still kept.
    fn aim_in_log(&self, message: &record::Message) -> Result<Aim, Error> {
        let Some(bytes) = self.staged.get(&key::entry(&message.log, message.offset))? else {
            return Ok(Aim::default());
        };
        let mut entry = record::decode_entry(message.log.tenant(), message.offset, &bytes)?;
        if entry.id != message.id {
            // Another life of the log has given the place again.
            return Ok(Aim::default());
        }
        self.aims.complete(&self.staged, &message.log, std::slice::from_mut(&mut entry))?;
        Ok(entry.aim.map(|aim| (*aim).clone()).unwrap_or_default())
    }

    /// A message's record, if it is still to be known.
    pub(super) fn known(
        &self,
        tenant: &TenantId,
        id: MessageId,
        now: Timestamp,
    ) -> Result<Option<record::Message>, Error> {
        let message = self.outcomes.look(&self.staged, tenant, id)?;
        Ok(message.filter(|message| forget_at(&self.limits, message) > now))
    }
}

/// Whether a message of the device's own inbox is for it.
fn is_for(message: &record::Message, receiver: &Receiver) -> bool {
    let own = matches!(&message.log, LogId::Inbox(_, user) if *user == receiver.user);
    own && message.concerns(&receiver.device)
}

const fn state_of(end: End) -> MessageState {
    match end {
        End::Expired => MessageState::Expired,
        End::Replaced(_) => MessageState::Replaced,
        End::Cancelled => MessageState::Cancelled,
        End::Trimmed => MessageState::Trimmed,
        End::Taken => MessageState::Taken,
        End::Dismissed => MessageState::Dismissed,
    }
}
