//! Handing messages off that were not acked in time: whom for is decided here, once for each message and device. Who is
//! told of it, and how, is not known here.

use super::key;
use super::read;
use super::record::{Fate, Message};
use super::writer::Writer;
use crate::model::clock::Timestamp;
use crate::model::id::{DeviceId, TenantId, UserId};
use crate::model::log::LogId;
use crate::model::receipt::What;
use crate::store::{Error, Event, HandOff, Journal};

impl Writer {
    /// The time is over by which devices should have acked a message: those that did not are handed off. The marks in
    /// the message's record, the events and the end of the wait are one batch.
    ///
    /// Answers with how many that were.
    pub(super) fn hand_off(&mut self, target: &[u8], now: Timestamp) -> Result<usize, Error> {
        let (tenant, id) = key::message_of(target)?;
        let Some(message) = self.outcomes.look(&self.staged, &tenant, id)? else { return Ok(0) };
        let LogId::Inbox(_, user) = &message.log else { return Ok(0) };
        if message.fate != Fate::Standing || message.expires_at <= now {
            return Ok(0);
        }
        let devices = self.late_devices(&tenant, user, &message)?;
        if devices.is_empty() {
            return Ok(0);
        }
        let count = devices.len();
        let Some(record) = self.outcomes.get(&self.staged, &tenant, id)? else { return Ok(0) };
        for device in devices {
            match &device {
                Some(device) => record.line(device).handed_off = Some((now, None)),
                None => record.handed_off = Some((now, None)),
            }
            let event = Event::HandOff(HandOff { message: id, user: user.clone(), device, at: now });
            self.journals.note(&tenant, Journal::HandOffs, &event);
        }
        // A webhook that was called for what a power cut undid would be called again.
        self.sync = true;
        Ok(count)
    }

    /// The devices that a message is for and that have not settled it; a single `None` when no device is known.
    fn late_devices(
        &self,
        tenant: &TenantId,
        user: &UserId,
        message: &Message,
    ) -> Result<Vec<Option<DeviceId>>, Error> {
        let known = read::devices(&self.staged, tenant, user)?;
        if let Some(device) = &message.device
            && !known.iter().any(|receiver| receiver.device == *device)
        {
            return Ok(if message.concerns(device) { vec![Some(device.clone())] } else { Vec::new() });
        }
        if known.is_empty() {
            let all_excluded = message.excluded.contains(&None);
            return Ok(if all_excluded { Vec::new() } else { vec![None] });
        }
        let mut late = Vec::new();
        for receiver in known.into_iter().filter(|receiver| message.concerns(&receiver.device)) {
            let cursor = read::cursor(&self.staged, &receiver, &message.log)?;
            let cursor = cursor.filter(|cursor| cursor.epoch == message.epoch).unwrap_or_default();
            if !cursor.settled.contains(message.offset.0) {
                late.push(Some(receiver.device));
            }
        }
        Ok(late)
    }

    /// See [`crate::store::Store::handed_off`]. Ignored is what was not decided here, and a second answer.
    pub(super) fn handed_off(
        &mut self,
        tenant: &TenantId,
        hand_off: HandOff,
        outcome: Result<String, String>,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.now = now;
        let Some(message) = self.outcomes.get(&self.staged, tenant, hand_off.message)? else { return Ok(()) };
        if !matches!(&message.log, LogId::Inbox(_, user) if *user == hand_off.user) {
            return Ok(());
        }
        let mark = match &hand_off.device {
            Some(device) => {
                message.lines.iter_mut().find(|line| line.device == *device).map(|line| &mut line.handed_off)
            }
            None => Some(&mut message.handed_off),
        };
        let Some(Some((_, answer @ None))) = mark else { return Ok(()) };
        *answer = Some(outcome.clone());
        if message.receipts {
            let what = match outcome {
                Ok(outcome) => What::HandedOff { outcome },
                Err(reason) => What::HandOffFailed { reason },
            };
            let device = hand_off.device.as_ref().map(|device| (&hand_off.user, device));
            self.journals.receipt(message, now, device, &what);
        }
        Ok(())
    }
}
