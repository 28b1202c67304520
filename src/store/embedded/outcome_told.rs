//! What is known of a message: its state, its counts, and what became of it at each device. It changes nothing.

use std::collections::BTreeMap;

use super::record::{self, Fate, Line, Message};
use super::table::View;
use super::{key, read};
use crate::model::clock::Timestamp;
use crate::model::id::{DeviceId, MessageId, Receiver, TenantId, UserId};
use crate::model::log::LogId;
use crate::model::message::Entry;
use crate::model::receipt::{Counts, End};
use crate::store::{DeviceOutcome, DeviceState, Error, MessageRecord, MessageState};

/// See [`crate::store::Store::message`].
pub(super) fn told(
    view: &impl View,
    tenant: &TenantId,
    id: MessageId,
    now: Timestamp,
    forget_at: impl Fn(&Message) -> Timestamp,
) -> Result<Option<MessageRecord>, Error> {
    let Some(message) = read::message(view, tenant, id)?.filter(|message| forget_at(message) > now) else {
        return Ok(None);
    };
    let entry = standing(view, &message, now)?;
    let (state, ended) = match message.over(now) {
        None if message.fate == Fate::Scheduled => (MessageState::Scheduled, None),
        None if entry.is_some() => (MessageState::Stored, None),
        // It was swept before the clock went back.
        None => (MessageState::Expired, None),
        Some((End::Expired, _)) => (MessageState::Expired, None),
        Some((End::Replaced(by), at)) => (MessageState::Replaced, Some((at, by))),
        Some((End::Trimmed, at)) => (MessageState::Trimmed, Some((at, None))),
        Some((End::Cancelled, at)) => (MessageState::Cancelled, Some((at, None))),
        Some((End::Taken, at)) => (MessageState::Taken, Some((at, None))),
        Some((End::Dismissed, at)) => (MessageState::Dismissed, Some((at, None))),
    };
    let mut counts = message.counts;
    if state == MessageState::Expired {
        // Nobody may have looked since.
        counts.missed += counts.waiting();
    }
    let counts = message.receipts.then_some::<Counts>(counts);
    let devices = devices(view, tenant, &message, state)?;
    let Message { log, epoch, offset, accepted_at, expires_at, tag, send_at, handed_off, .. } = message;
    Ok(Some(MessageRecord {
        log,
        epoch,
        offset,
        accepted_at,
        expires_at,
        state,
        entry,
        devices,
        ended,
        tag,
        counts,
        send_at,
        // Its audience may be kept elsewhere.
        aim: None,
        handed_off,
    }))
}

/// The entry of a message that stands in its log.
fn standing(view: &impl View, message: &Message, now: Timestamp) -> Result<Option<Entry>, Error> {
    if message.fate != Fate::Standing || message.expires_at <= now {
        return Ok(None);
    }
    let found = view.get(&key::entry(&message.log, message.offset))?;
    let found = found.map(|bytes| record::decode_entry(message.log.tenant(), message.offset, &bytes)).transpose()?;
    // Another life of the log may have given the offset again.
    Ok(found.filter(|entry| entry.id == message.id))
}

/// What became of a message at the devices it concerns.
fn devices(
    view: &impl View,
    tenant: &TenantId,
    message: &Message,
    state: MessageState,
) -> Result<Vec<DeviceOutcome>, Error> {
    let mut found = dead(view, tenant, message.id)?;
    let LogId::Inbox(_, user) = &message.log else { return Ok(found.into_values().collect()) };
    let this_life = read::head(view, &message.log)?.epoch == message.epoch;
    let standing = matches!(state, MessageState::Stored | MessageState::Scheduled);
    for receiver in read::devices(view, tenant, user)? {
        let known = message.lines.iter().any(|line| line.device == receiver.device);
        let dead = found.contains_key(&(receiver.user.clone(), receiver.device.clone()));
        if !known && !dead && message.concerns(&receiver.device) && (this_life || state == MessageState::Scheduled) {
            let Some(device) = read::device(view, &receiver)? else { continue };
            // One that came after it was accepted receives it while it stands; then it is none of those that missed it.
            if standing || message.device.is_some() || device.joined < message.offset {
                let outcome = blank(&receiver.user, &receiver.device);
                found.insert((receiver.user, receiver.device), outcome);
            }
        }
    }
    for line in &message.lines {
        let place = (user.clone(), line.device.clone());
        let outcome = found.entry(place).or_insert_with(|| blank(user, &line.device));
        take_line(outcome, line);
    }
    for outcome in found.values_mut() {
        let receiver = Receiver { tenant: tenant.clone(), user: outcome.user.clone(), device: outcome.device.clone() };
        let cursor = read::cursor(view, &receiver, &message.log)?.filter(|cursor| cursor.epoch == message.epoch);
        let cursor = cursor.unwrap_or_default();
        if let Some(&attempts) = cursor.attempts.get(&message.offset) {
            outcome.attempts = outcome.attempts.max(attempts);
        }
        if outcome.state == DeviceState::Waiting {
            // A place that a session passes over because nothing stands there any more is settled too, and so no sign
            // of an ack; of a message without receipts there is no other sign.
            let settled = cursor.settled.contains(message.offset.0) && (standing || !message.receipts);
            outcome.state = match settled {
                true => DeviceState::Acked { at: None },
                false if standing => DeviceState::Waiting,
                false => DeviceState::Missed,
            };
        }
    }
    Ok(found.into_values().collect())
}

/// By user and device.
type Found = BTreeMap<(UserId, DeviceId), DeviceOutcome>;

/// The devices that a message was given up for.
fn dead(view: &impl View, tenant: &TenantId, id: MessageId) -> Result<Found, Error> {
    let prefix = key::letters(tenant, id);
    let rows = view.prefix(&prefix);
    rows.map(|row| {
        let (key, value) = row?;
        let (user, device): (UserId, DeviceId) = key::device_of(&key, prefix.len())?;
        let record::Letter { attempts, at, reason, .. } = record::Letter::decode(&value)?;
        let state = DeviceState::Dead { reason, at };
        let outcome = DeviceOutcome { state, attempts, ..blank(&user, &device) };
        Ok(((user, device), outcome))
    })
    .collect()
}

/// Nothing has become of it.
fn blank(user: &UserId, device: &DeviceId) -> DeviceOutcome {
    DeviceOutcome {
        user: user.clone(),
        device: device.clone(),
        state: DeviceState::Waiting,
        attempts: 0,
        sent: None,
        nacks: Vec::new(),
        handed_off: None,
    }
}

fn take_line(outcome: &mut DeviceOutcome, line: &Line) {
    outcome.sent = line.sent.map(|(first, last, _)| (first, last));
    outcome.nacks.clone_from(&line.nacks);
    outcome.handed_off.clone_from(&line.handed_off);
    let failures = line.nacks.last().map_or(0, |(_, attempt, _)| *attempt);
    outcome.attempts = outcome.attempts.max(failures);
    if let Some(at) = line.acked {
        outcome.state = DeviceState::Acked { at: Some(at) };
    }
}
