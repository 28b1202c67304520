//! The value of an entry: its head, who it is for, and its body. The set of devices of a broadcast entry is not in it: it
//! has a record of its own, so that many readers share one copy.

use std::sync::Arc;

use bytes::Bytes;

use super::{Input, push, push_text};
use crate::model::id::{DeviceId, TenantId, UserId};
use crate::model::log::{Epoch, Offset};
use crate::model::message::{Aim, DismissReason, Dismissed, Entry, Exclusion, Urgency};
use crate::store::Error;
use crate::store::embedded::key;

// What an entry has besides what every entry has, as bits of one byte. The parts follow in this order.
const WITHOUT_RECEIPTS: u8 = 1;
const AIMED: u8 = 2;
const EXCLUDES: u8 = 4;
const ANY_OF_USER: u8 = 8;
const DISMISSES: u8 = 16;
const ALL: u8 = 31;

const REASONS: [DismissReason; 3] = [DismissReason::Cancelled, DismissReason::Seen, DismissReason::Taken];

/// An entry's value. The offset is in its key, the audience of its aim in a record of its own.
pub(in super::super) fn encode_entry(entry: &Entry) -> Vec<u8> {
    let mut out = Vec::with_capacity(48 + entry.body.len());
    out.extend_from_slice(entry.id.as_bytes());
    push(&mut out, entry.accepted_at.as_millis());
    push(&mut out, entry.expires_at.as_millis());
    out.push(position(&Urgency::ALL, entry.urgency));
    push_text(&mut out, entry.device.as_ref().map_or("", DeviceId::as_str));
    let mut bits = if entry.receipts { 0 } else { WITHOUT_RECEIPTS };
    let Some(aim) = &entry.aim else {
        out.push(bits);
        out.extend_from_slice(&entry.body);
        return out;
    };
    let has = [
        (AIMED, true),
        (EXCLUDES, !aim.exclude.is_empty()),
        (ANY_OF_USER, aim.any_of_user),
        (DISMISSES, aim.dismissal.is_some()),
    ];
    has.into_iter().filter(|(_, has)| *has).for_each(|(bit, _)| bits |= bit);
    out.push(bits);
    if !aim.exclude.is_empty() {
        push_exclusions(&mut out, &aim.exclude);
    }
    if let Some(Dismissed { log, epoch, offset, message, reason }) = &aim.dismissal {
        let (kind, name) = key::log_parts(log);
        out.push(kind);
        push_text(&mut out, name);
        push(&mut out, epoch.0);
        push(&mut out, offset.0);
        out.extend_from_slice(message.as_bytes());
        out.push(position(&REASONS, *reason));
    }
    out.extend_from_slice(&entry.body);
    out
}

/// Reads an entry's value, without its audience; the body is copied, so that it does not keep a block of the cache alive.
pub(in super::super) fn decode_entry(tenant: &TenantId, offset: Offset, bytes: &[u8]) -> Result<Entry, Error> {
    let mut input = Input { bytes, what: "entry" };
    let (id, accepted_at, expires_at) = (input.id()?, input.time()?, input.time()?);
    let urgency = chosen(&mut input, &Urgency::ALL)?;
    let device = input.device()?;
    let bits = input.byte()?;
    if bits & !ALL != 0 || bits & AIMED == 0 && bits > WITHOUT_RECEIPTS {
        return Err(input.damaged());
    }
    let mut aim = None;
    if bits & AIMED != 0 {
        let mut read = Aim { any_of_user: bits & ANY_OF_USER != 0, ..Aim::default() };
        if bits & EXCLUDES != 0 {
            read.exclude = exclusions(&mut input)?;
        }
        if bits & DISMISSES != 0 {
            read.dismissal = Some(dismissed(&mut input, tenant)?);
        }
        aim = Some(Arc::new(read));
    }
    let receipts = bits & WITHOUT_RECEIPTS == 0;
    let body = Bytes::copy_from_slice(input.bytes);
    Ok(Entry { offset, id, accepted_at, expires_at, urgency, device, aim, receipts, body })
}

/// Writes who does not get a message.
pub(super) fn push_exclusions(out: &mut Vec<u8>, exclude: &[Exclusion]) {
    push(out, exclude.len() as u64);
    for Exclusion { user, device } in exclude {
        push_text(out, user.as_str());
        push_text(out, device.as_ref().map_or("", DeviceId::as_str));
    }
}

/// Reads who does not get a message.
pub(super) fn exclusions(input: &mut Input<'_>) -> Result<Vec<Exclusion>, Error> {
    let mut exclude = Vec::new();
    for _ in 0..input.number()? {
        let user = UserId::new(input.text()?).map_err(|_| input.damaged())?;
        exclude.push(Exclusion { user, device: input.device()? });
    }
    Ok(exclude)
}

fn dismissed(input: &mut Input<'_>, tenant: &TenantId) -> Result<Dismissed, Error> {
    let kind = input.byte()?;
    let log = key::log_named(kind, input.text()?, tenant).ok_or_else(|| input.damaged())?;
    let (epoch, offset) = (Epoch(input.number()?), Offset(input.number()?));
    Ok(Dismissed { log, epoch, offset, message: input.id()?, reason: chosen(input, &REASONS)? })
}

fn position<T: PartialEq>(all: &[T], one: T) -> u8 {
    all.iter().position(|other| *other == one).map_or(0, |at| at as u8)
}

fn chosen<T: Copy>(input: &mut Input<'_>, all: &[T]) -> Result<T, Error> {
    let at = usize::from(input.byte()?);
    all.get(at).copied().ok_or_else(|| input.damaged())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::{REASONS, decode_entry, encode_entry};
    use crate::model::clock::Timestamp;
    use crate::model::id::{DeviceId, MessageId, TenantId, TopicName, UserId};
    use crate::model::log::{Epoch, LogId, Offset};
    use crate::model::message::{Aim, Dismissed, Entry, Exclusion, Urgency};

    const ID: MessageId = MessageId::from_bytes([7; 16]);

    fn tenant() -> TenantId {
        TenantId::new("acme").unwrap()
    }

    fn aim() -> impl Strategy<Value = Aim> {
        let exclude = prop::collection::vec(("[a-z]{1,4}", prop::option::of("[a-z]{1,4}")), 0..3);
        let dismissal = prop::option::of((0_usize..3, 0_usize..3, any::<u64>()));
        (exclude, any::<bool>(), dismissal).prop_map(|(exclude, any_of_user, dismissal)| {
            let exclusion = |(user, device): (String, Option<String>)| Exclusion {
                user: UserId::new(&user).unwrap(),
                device: device.map(|device| DeviceId::new(&device).unwrap()),
            };
            let logs = [
                LogId::Inbox(tenant(), UserId::new("ann").unwrap()),
                LogId::Topic(tenant(), TopicName::new("news").unwrap()),
                LogId::Broadcast(tenant()),
            ];
            let dismissal = dismissal.map(|(log, reason, offset)| Dismissed {
                log: logs[log].clone(),
                epoch: Epoch(offset ^ 1),
                offset: Offset(offset),
                message: ID,
                reason: REASONS[reason],
            });
            Aim { audience: None, exclude: exclude.into_iter().map(exclusion).collect(), any_of_user, dismissal }
        })
    }

    proptest! {
        #[test]
        fn entries_read_back(
            (offset, at) in (any::<u64>(), any::<u64>()),
            urgency in 0_usize..4,
            device in prop::option::of("[a-z]{1,4}"),
            aim in prop::option::of(aim()),
            receipts: bool,
            body in prop::collection::vec(any::<u8>(), 0..9),
        ) {
            let entry = Entry {
                offset: Offset(offset),
                id: ID,
                accepted_at: Timestamp::from_millis(at),
                expires_at: Timestamp::from_millis(!at),
                urgency: Urgency::ALL[urgency],
                device: device.map(|device| DeviceId::new(&device).unwrap()),
                aim: aim.map(Arc::new),
                receipts,
                body: body.into(),
            };
            prop_assert_eq!(decode_entry(&tenant(), Offset(offset), &encode_entry(&entry)).unwrap(), entry);
        }

        #[test]
        fn any_bytes_are_refused_or_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = decode_entry(&tenant(), Offset(1), &bytes);
            // Past the head, so that the parts behind it are reached.
            let head = [[7; 16].as_slice(), &[1, 2, 3, 0], &bytes].concat();
            let _ = decode_entry(&tenant(), Offset(1), &head);
        }
    }
}
