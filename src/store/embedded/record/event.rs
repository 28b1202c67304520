//! Events as a journal holds them, one after another. It does not know their positions.

use std::collections::BTreeMap;

use super::{Input, push, push_text};
use crate::model::audit;
use crate::model::clock::Timestamp;
use crate::model::id::{DeviceId, MessageId, Tag, TenantId, UserId};
use crate::model::presence;
use crate::model::receipt::{Counts, End, Receipt, What};
use crate::store::{Error, Event, HandOff, Journal};

/// What an event has besides its kind.
const TAG: u8 = 0x40;
const DEVICE: u8 = 0x80;
const KIND: u8 = 0x3f;

/// Writes a receipt; all that it is made of is borrowed, because there is one for each push, sending and ack.
pub(in crate::store::embedded) fn put_receipt(
    out: &mut Vec<u8>,
    at: Timestamp,
    message: MessageId,
    tag: Option<&Tag>,
    device: Option<(&UserId, &DeviceId)>,
    what: &What,
) {
    let has = |some: bool, flag: u8| if some { flag } else { 0 };
    out.push(kind(what) | has(tag.is_some(), TAG) | has(device.is_some(), DEVICE));
    push(out, at.as_millis());
    out.extend_from_slice(message.as_bytes());
    let device = device.into_iter().flat_map(|(user, device)| [user.as_str(), device.as_str()]);
    tag.map(Tag::as_str).into_iter().chain(device).for_each(|text| push_text(out, text));
    match what {
        What::Acked => {}
        What::Scheduled { send_at } => push(out, send_at.as_millis()),
        What::Accepted(counts) | What::Counted(counts) => push_counts(out, counts),
        What::Sent { attempt } => push(out, (*attempt).into()),
        What::Nacked { attempt: number, reason } | What::Dead { attempts: number, reason } => {
            push(out, (*number).into());
            push_text(out, reason);
        }
        What::Ended(end, counts) => {
            if let End::Replaced(Some(by)) = end {
                out.extend_from_slice(by.as_bytes());
            }
            push_counts(out, counts);
        }
        What::HandedOff { outcome: words } | What::HandOffFailed { reason: words } => push_text(out, words),
    }
}

const fn kind(what: &What) -> u8 {
    match what {
        What::Scheduled { .. } => 0,
        What::Accepted(_) => 1,
        What::Sent { .. } => 2,
        What::Acked => 3,
        What::Nacked { .. } => 4,
        What::Dead { .. } => 5,
        What::HandedOff { .. } => 6,
        What::HandOffFailed { .. } => 7,
        What::Counted(_) => 8,
        What::Ended(End::Expired, _) => 9,
        What::Ended(End::Replaced(None), _) => 10,
        What::Ended(End::Replaced(Some(_)), _) => 11,
        What::Ended(End::Cancelled, _) => 12,
        What::Ended(End::Trimmed, _) => 13,
        What::Ended(End::Taken, _) => 14,
        What::Ended(End::Dismissed, _) => 15,
    }
}

fn receipt(input: &mut Input<'_>) -> Result<Receipt, Error> {
    let flags = input.byte()?;
    let (at, message) = (input.time()?, input.id()?);
    let tag = if flags & TAG != 0 { Some(Tag::new(input.text()?).map_err(|_| input.damaged())?) } else { None };
    let device = if flags & DEVICE != 0 { Some(place(input)?) } else { None };
    let what = match flags & KIND {
        0 => What::Scheduled { send_at: input.time()? },
        1 => What::Accepted(counts(input)?),
        2 => What::Sent { attempt: input.number32()? },
        3 => What::Acked,
        4 => What::Nacked { attempt: input.number32()?, reason: input.text()?.to_owned() },
        5 => What::Dead { attempts: input.number32()?, reason: input.text()?.to_owned() },
        6 => What::HandedOff { outcome: input.text()?.to_owned() },
        7 => What::HandOffFailed { reason: input.text()?.to_owned() },
        8 => What::Counted(counts(input)?),
        9 => What::Ended(End::Expired, counts(input)?),
        10 => What::Ended(End::Replaced(None), counts(input)?),
        11 => What::Ended(End::Replaced(Some(input.id()?)), counts(input)?),
        12 => What::Ended(End::Cancelled, counts(input)?),
        13 => What::Ended(End::Trimmed, counts(input)?),
        14 => What::Ended(End::Taken, counts(input)?),
        15 => What::Ended(End::Dismissed, counts(input)?),
        _ => return Err(input.damaged()),
    };
    Ok(Receipt { at, message, tag, device, what })
}

/// Writes an event of any journal.
pub(in crate::store::embedded) fn put_event(out: &mut Vec<u8>, event: &Event) {
    match event {
        Event::Receipt(Receipt { at, message, tag, device, what }) => {
            let device = device.as_ref().map(|(user, device)| (user, device));
            put_receipt(out, *at, *message, tag.as_ref(), device, what);
        }
        Event::Presence(event) => put_presence(out, event),
        Event::HandOff(HandOff { message, user, device, at }) => {
            out.extend_from_slice(message.as_bytes());
            push(out, at.as_millis());
            push_text(out, user.as_str());
            push_text(out, device.as_ref().map_or("", DeviceId::as_str));
        }
        Event::Audit(event) => put_audit(out, event),
    }
}

fn put_audit(out: &mut Vec<u8>, event: &audit::Event) {
    push(out, event.at.as_millis());
    push_text(out, event.tenant.as_ref().map_or("", TenantId::as_str));
    push_text(out, &event.actor.to_string());
    push_text(out, event.action.as_str());
    push_text(out, &event.object);
    push(out, event.details.len() as u64);
    for (word, text) in &event.details {
        push_text(out, word);
        push_text(out, text);
    }
}

fn audit(input: &mut Input<'_>) -> Result<audit::Event, Error> {
    let at = input.time()?;
    let tenant = match input.text()? {
        "" => None,
        name => Some(TenantId::new(name).map_err(|_| input.damaged())?),
    };
    let actor = audit::Actor::parse(input.text()?).ok_or_else(|| input.damaged())?;
    let action = audit::Action::parse(input.text()?).ok_or_else(|| input.damaged())?;
    let object = input.text()?.to_owned();
    let mut details = BTreeMap::new();
    for _ in 0..input.number()? {
        details.insert(input.text()?.to_owned(), input.text()?.to_owned());
    }
    Ok(audit::Event { at, tenant, actor, action, object, details })
}

fn put_presence(out: &mut Vec<u8>, event: &presence::Event) {
    let kind = match event.what {
        presence::What::Connected => 0,
        presence::What::Ready => 1,
        presence::What::Idle => 2,
        presence::What::Offline { .. } => 3,
        presence::What::SessionExpired => 4,
        presence::What::Reset => 5,
    };
    out.push(kind | if event.device.is_some() { DEVICE } else { 0 });
    push(out, event.at.as_millis());
    if let Some((user, device)) = &event.device {
        push_text(out, user.as_str());
        push_text(out, device.as_str());
    }
    if let presence::What::Offline { reason } = &event.what {
        push_text(out, reason);
    }
}

fn presence(input: &mut Input<'_>) -> Result<presence::Event, Error> {
    let (flags, at) = (input.byte()?, input.time()?);
    let device = if flags & DEVICE != 0 { Some(place(input)?) } else { None };
    let what = match flags & KIND {
        0 => presence::What::Connected,
        1 => presence::What::Ready,
        2 => presence::What::Idle,
        3 => presence::What::Offline { reason: input.text()?.to_owned() },
        4 => presence::What::SessionExpired,
        5 => presence::What::Reset,
        _ => return Err(input.damaged()),
    };
    Ok(presence::Event { at, device, what })
}

fn hand_off(input: &mut Input<'_>) -> Result<HandOff, Error> {
    let (message, at) = (input.id()?, input.time()?);
    let user = UserId::new(input.text()?).map_err(|_| input.damaged())?;
    Ok(HandOff { message, user, device: input.device()?, at })
}

/// Events that lie one after another, as one record of a journal holds them.
pub(in crate::store::embedded) struct Written {
    /// When they were written.
    pub(in crate::store::embedded) at: Timestamp,
    /// How many.
    pub(in crate::store::embedded) count: u64,
    /// Their bytes.
    pub(in crate::store::embedded) bytes: Vec<u8>,
}

impl Written {
    pub(in crate::store::embedded) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 + self.bytes.len());
        push(&mut out, self.at.as_millis());
        push(&mut out, self.count);
        out.extend_from_slice(&self.bytes);
        out
    }

    /// When they were written, without reading them.
    pub(in crate::store::embedded) fn decode_at(bytes: &[u8]) -> Result<Timestamp, Error> {
        Input { bytes, what: "journal" }.time()
    }

    /// Reads events until `each` wants no more; it is given how many follow.
    pub(in crate::store::embedded) fn decode_each(
        journal: Journal,
        bytes: &[u8],
        mut each: impl FnMut(u64, Event) -> bool,
    ) -> Result<(), Error> {
        let mut input = Input { bytes, what: "journal" };
        let (_, count) = (input.time()?, input.number()?);
        for following in (0..count).rev() {
            let event = match journal {
                Journal::Receipts => Event::Receipt(receipt(&mut input)?),
                Journal::Presence => Event::Presence(presence(&mut input)?),
                Journal::HandOffs => Event::HandOff(hand_off(&mut input)?),
                Journal::Audit => Event::Audit(audit(&mut input)?),
            };
            if !each(following, event) {
                return Ok(());
            }
        }
        input.end(())
    }
}

fn place(input: &mut Input<'_>) -> Result<(UserId, DeviceId), Error> {
    let user = UserId::new(input.text()?).map_err(|_| input.damaged())?;
    Ok((user, input.device()?.ok_or_else(|| input.damaged())?))
}

pub(super) fn push_counts(out: &mut Vec<u8>, counts: &Counts) {
    let Counts { audience, sent, acked, dead, missed } = *counts;
    [audience, sent, acked, dead, missed].into_iter().for_each(|count| push(out, count));
}

pub(super) fn counts(input: &mut Input<'_>) -> Result<Counts, Error> {
    let mut counts = Counts::default();
    let Counts { audience, sent, acked, dead, missed } = &mut counts;
    for count in [audience, sent, acked, dead, missed] {
        *count = input.number()?;
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Written, put_event};
    use crate::model::audit::{self, Action, Actor};
    use crate::model::clock::Timestamp;
    use crate::model::id::{DeviceId, KeyId, MessageId, Tag, TenantId, UserId};
    use crate::model::presence;
    use crate::model::receipt::{Counts, End, Receipt, What};
    use crate::store::{Event, HandOff, Journal};

    const ID: MessageId = MessageId::from_bytes([7; 16]);

    fn whats(number: u64, text: &str) -> Vec<What> {
        let counts = Counts { audience: number, sent: 1, acked: number / 2, dead: 3, missed: 0 };
        let (attempt, reason) = (number as u32, text.to_owned());
        let ends = [
            End::Expired,
            End::Replaced(None),
            End::Replaced(Some(ID)),
            End::Cancelled,
            End::Trimmed,
            End::Taken,
            End::Dismissed,
        ];
        let mut whats = vec![
            What::Scheduled { send_at: Timestamp::from_millis(number) },
            What::Accepted(counts),
            What::Sent { attempt },
            What::Acked,
            What::Nacked { attempt, reason: reason.clone() },
            What::Dead { attempts: attempt, reason: reason.clone() },
            What::HandedOff { outcome: reason.clone() },
            What::HandOffFailed { reason },
            What::Counted(counts),
        ];
        whats.extend(ends.map(|end| What::Ended(end, counts)));
        whats
    }

    fn check(journal: Journal, events: Vec<Event>) {
        let mut bytes = Vec::new();
        events.iter().for_each(|event| put_event(&mut bytes, event));
        let at = Timestamp::from_millis(5);
        let written = Written { at, count: events.len() as u64, bytes }.encode();
        assert_eq!(Written::decode_at(&written), Ok(at));
        let mut found = Vec::new();
        Written::decode_each(journal, &written, |following, event| {
            found.push(event);
            assert_eq!(following as usize, events.len() - found.len());
            true
        })
        .unwrap();
        assert_eq!(found, events);
        let cut = &written[..written.len() - 1];
        assert!(events.is_empty() || Written::decode_each(journal, cut, |_, _| true).is_err());
        assert!(Written::decode_each(journal, &[&*written, &[0]].concat(), |_, _| true).is_err());
    }

    proptest! {
        #[test]
        fn events_read_back(number: u64, text in ".{0,20}", has: [bool; 2]) {
            let at = Timestamp::from_millis(number);
            let (user, device) = (UserId::new("ann").unwrap(), DeviceId::new("phone").unwrap());
            let place = has[0].then(|| (user.clone(), device.clone()));
            let tag = has[1].then(|| Tag::new("spring").unwrap());
            let receipt = |what| Event::Receipt(Receipt { at, message: ID, tag: tag.clone(), device: place.clone(), what });
            check(Journal::Receipts, whats(number, &text).into_iter().map(receipt).collect());
            let comings = [
                presence::What::Connected,
                presence::What::Ready,
                presence::What::Idle,
                presence::What::Offline { reason: text },
                presence::What::SessionExpired,
                presence::What::Reset,
            ];
            let presence = |what| Event::Presence(presence::Event { at, device: place.clone(), what });
            check(Journal::Presence, comings.into_iter().map(presence).collect());
            let hand_off = HandOff { message: ID, user, device: has[0].then_some(device), at };
            check(Journal::HandOffs, vec![Event::HandOff(hand_off)]);
        }

        #[test]
        fn audit_events_read_back(
            number: u64,
            object in ".{0,20}",
            details in prop::collection::btree_map(".{0,5}", ".{0,9}", 0..3),
            tenant in prop::option::of("[a-z]{1,4}"),
            names in ["[a-z:@]{1,4}", "[a-z:@]{1,4}"],
        ) {
            let device = Actor::Device(UserId::new(&names[0]).unwrap(), DeviceId::new(&names[1]).unwrap());
            let actors = [Actor::Admin, Actor::Gateway, Actor::Key(KeyId::new(&names[0]).unwrap()), device];
            let event = |(actor, action): (&Actor, &Action)| Event::Audit(audit::Event {
                at: Timestamp::from_millis(number),
                tenant: tenant.as_deref().map(|name| TenantId::new(name).unwrap()),
                actor: actor.clone(),
                action: *action,
                object: object.clone(),
                details: details.clone(),
            });
            check(Journal::Audit, actors.iter().cycle().zip(Action::ALL).map(event).collect());
        }

        #[test]
        fn any_bytes_are_refused_or_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            for journal in [Journal::Receipts, Journal::Presence, Journal::HandOffs, Journal::Audit] {
                let _ = Written::decode_each(journal, &bytes, |_, _| true);
                let _ = Written::decode_each(journal, &[&[1, 1], &*bytes].concat(), |_, _| true);
            }
        }
    }
}
