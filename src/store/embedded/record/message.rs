//! A message's record: what it is, how it ended, and what became of it at whom. It does not hold the content.

use super::event::{counts, push_counts};
use super::line::{HandedOff, Line, flag, hand_off, hand_off_kind, push_hand_off, push_time, time};
use super::{Input, push, push_text};
use crate::model::clock::Timestamp;
use crate::model::id::{DeviceId, MessageId, Tag, TenantId};
use crate::model::log::{Epoch, LogId, Offset};
use crate::model::receipt::{Counts, End};
use crate::store::Error;
use crate::store::embedded::key;

/// Where a message is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store::embedded) enum Fate {
    /// It waits for its time, and has no place in its log yet.
    Scheduled,
    /// It stands in its log, or its time is over and nobody has looked since.
    Standing,
    /// It is over, for this reason, since this time.
    Ended(End, Timestamp),
}

/// A message's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store::embedded) struct Message {
    /// Its id; in the key.
    pub(in crate::store::embedded) id: MessageId,
    /// Its log; the tenant is in the key.
    pub(in crate::store::embedded) log: LogId,
    /// The life of the log; zero while it is scheduled.
    pub(in crate::store::embedded) epoch: Epoch,
    /// Its place; zero while it is scheduled.
    pub(in crate::store::embedded) offset: Offset,
    /// When it was accepted.
    pub(in crate::store::embedded) accepted_at: Timestamp,
    /// When it expires.
    pub(in crate::store::embedded) expires_at: Timestamp,
    /// The only device it is for.
    pub(in crate::store::embedded) device: Option<DeviceId>,
    /// Its collapse key.
    pub(in crate::store::embedded) collapse_key: Option<String>,
    /// Where it is in its life.
    pub(in crate::store::embedded) fate: Fate,
    /// When it is to be, or was, given its place; `None` when that was at once.
    pub(in crate::store::embedded) send_at: Option<Timestamp>,
    /// The sender's tag.
    pub(in crate::store::embedded) tag: Option<Tag>,
    /// The first device that acks takes it from the others.
    pub(in crate::store::embedded) any_of_user: bool,
    /// Inbox: devices of the user that do not get it; `None` stands for all of them.
    pub(in crate::store::embedded) excluded: Vec<Option<DeviceId>>,
    /// Receipts, counts and times are kept.
    pub(in crate::store::embedded) receipts: bool,
    /// What became of it, in numbers; all zero without receipts.
    pub(in crate::store::embedded) counts: Counts,
    /// Bytes of its content, which is kept while it stands in its log or waits for its time.
    pub(in crate::store::embedded) body_bytes: u64,
    /// Inbox: devices that something happened at, in the order in which it first did.
    pub(in crate::store::embedded) lines: Vec<Line>,
    /// It was handed off when no device was known.
    pub(in crate::store::embedded) handed_off: Option<HandedOff>,
}

/// Of a message: what it has.
const DEVICE: u8 = 1;
const COLLAPSE_KEY: u8 = 2;
const SEND_AT: u8 = 4;
const TAG: u8 = 8;
const ANY_OF_USER: u8 = 16;
const EXCLUDED: u8 = 32;
const RECEIPTS: u8 = 64;
const HANDED_OFF: u8 = 128;

impl Message {
    /// Where it is kept.
    pub(in crate::store::embedded) fn key(&self) -> Vec<u8> {
        key::message(self.log.tenant(), self.id)
    }

    /// The line of a device, a new one if it has none.
    pub(in crate::store::embedded) fn line(&mut self, device: &DeviceId) -> &mut Line {
        let at = self.lines.iter().position(|line| line.device == *device).unwrap_or_else(|| {
            self.lines.push(Line::new(device.clone()));
            self.lines.len() - 1
        });
        &mut self.lines[at]
    }

    /// The reason and the time of its end, if it is over.
    pub(in crate::store::embedded) fn over(&self, now: Timestamp) -> Option<(End, Timestamp)> {
        match self.fate {
            Fate::Ended(end, at) => Some((end, at)),
            Fate::Standing | Fate::Scheduled if self.expires_at <= now => Some((End::Expired, self.expires_at)),
            Fate::Standing | Fate::Scheduled => None,
        }
    }

    pub(in crate::store::embedded) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(96 + 48 * self.lines.len());
        let (kind, name) = key::log_parts(&self.log);
        out.push(kind);
        push_text(&mut out, name);
        push(&mut out, self.epoch.0);
        push(&mut out, self.offset.0);
        push(&mut out, self.accepted_at.as_millis());
        push_time(&mut out, self.accepted_at, self.expires_at);
        out.push(
            flag(self.device.is_some(), DEVICE)
                | flag(self.collapse_key.is_some(), COLLAPSE_KEY)
                | flag(self.send_at.is_some(), SEND_AT)
                | flag(self.tag.is_some(), TAG)
                | flag(self.any_of_user, ANY_OF_USER)
                | flag(!self.excluded.is_empty(), EXCLUDED)
                | flag(self.receipts, RECEIPTS)
                | flag(self.handed_off.is_some(), HANDED_OFF),
        );
        let texts = [self.device.as_ref().map(DeviceId::as_str), self.collapse_key.as_deref()];
        texts
            .into_iter()
            .chain([self.tag.as_ref().map(Tag::as_str)])
            .flatten()
            .for_each(|text| push_text(&mut out, text));
        if let Some(at) = self.send_at {
            push_time(&mut out, self.accepted_at, at);
        }
        if !self.excluded.is_empty() {
            push(&mut out, self.excluded.len() as u64);
            self.excluded.iter().for_each(|one| push_text(&mut out, one.as_ref().map_or("", DeviceId::as_str)));
        }
        push(&mut out, self.body_bytes);
        self.encode_fate(&mut out);
        if self.handed_off.is_some() {
            out.push(hand_off_kind(self.handed_off.as_ref()));
            push_hand_off(&mut out, self.accepted_at, self.handed_off.as_ref());
        }
        if self.receipts {
            push_counts(&mut out, &self.counts);
        }
        push(&mut out, self.lines.len() as u64);
        self.lines.iter().for_each(|line| line.encode(self.accepted_at, &mut out));
        out
    }

    fn encode_fate(&self, out: &mut Vec<u8>) {
        let (end, at) = match self.fate {
            Fate::Standing => return out.push(0),
            Fate::Scheduled => return out.push(1),
            Fate::Ended(end, at) => (end, at),
        };
        out.push(match end {
            End::Expired => 2,
            End::Replaced(None) => 3,
            End::Replaced(Some(_)) => 4,
            End::Cancelled => 5,
            End::Trimmed => 6,
            End::Taken => 7,
            End::Dismissed => 8,
        });
        push_time(out, self.accepted_at, at);
        if let End::Replaced(Some(by)) = end {
            out.extend_from_slice(by.as_bytes());
        }
    }

    pub(in crate::store::embedded) fn decode(tenant: &TenantId, id: MessageId, bytes: &[u8]) -> Result<Self, Error> {
        let mut input = Input { bytes, what: "message" };
        let kind = input.byte()?;
        let log = key::log_named(kind, input.text()?, tenant).ok_or_else(|| input.damaged())?;
        let (epoch, offset) = (Epoch(input.number()?), Offset(input.number()?));
        let accepted_at = input.time()?;
        let expires_at = time(&mut input, accepted_at)?;
        let flags = input.byte()?;
        let has = |flag: u8| flags & flag != 0;
        let device = if has(DEVICE) { input.device()? } else { None };
        let collapse_key = if has(COLLAPSE_KEY) { Some(input.text()?.to_owned()) } else { None };
        let tag = if has(TAG) { Some(Tag::new(input.text()?).map_err(|_| input.damaged())?) } else { None };
        let send_at = if has(SEND_AT) { Some(time(&mut input, accepted_at)?) } else { None };
        let mut excluded = Vec::new();
        if has(EXCLUDED) {
            for _ in 0..input.number()? {
                excluded.push(input.device()?);
            }
        }
        let body_bytes = input.number()?;
        let fate = decode_fate(&mut input, accepted_at)?;
        let handed_off = if has(HANDED_OFF) {
            let kind = input.byte()?;
            hand_off(&mut input, accepted_at, kind)?
        } else {
            None
        };
        let counts = if has(RECEIPTS) { counts(&mut input)? } else { Counts::default() };
        let mut lines = Vec::new();
        for _ in 0..input.number()? {
            lines.push(Line::decode(accepted_at, &mut input)?);
        }
        let (any_of_user, receipts) = (has(ANY_OF_USER), has(RECEIPTS));
        input.end(Self {
            id,
            log,
            epoch,
            offset,
            accepted_at,
            expires_at,
            device,
            collapse_key,
            fate,
            send_at,
            tag,
            any_of_user,
            excluded,
            receipts,
            counts,
            body_bytes,
            lines,
            handed_off,
        })
    }
}

fn decode_fate(input: &mut Input<'_>, accepted_at: Timestamp) -> Result<Fate, Error> {
    let kind = input.byte()?;
    if kind < 2 {
        return Ok(if kind == 0 { Fate::Standing } else { Fate::Scheduled });
    }
    let at = time(input, accepted_at)?;
    let end = match kind {
        2 => End::Expired,
        3 => End::Replaced(None),
        4 => End::Replaced(Some(input.id()?)),
        5 => End::Cancelled,
        6 => End::Trimmed,
        7 => End::Taken,
        8 => End::Dismissed,
        _ => return Err(input.damaged()),
    };
    Ok(Fate::Ended(end, at))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Fate, Line, Message};
    use crate::model::clock::Timestamp;
    use crate::model::id::{DeviceId, MessageId, Tag, TenantId, UserId};
    use crate::model::log::{Epoch, LogId, Offset};
    use crate::model::receipt::{Counts, End};

    const ID: MessageId = MessageId::from_bytes([7; 16]);

    fn line() -> impl Strategy<Value = Line> {
        let time = || any::<u64>().prop_map(Timestamp::from_millis);
        let answer = prop::option::of(prop_oneof![".{0,9}".prop_map(Ok), ".{0,9}".prop_map(Err)]);
        let nacks = prop::collection::vec((time(), any::<u32>(), ".{0,9}"), 0..5);
        let sent = prop::option::of((time(), time(), any::<u32>()));
        let handed_off = prop::option::of((time(), answer));
        ("[a-z]{1,9}", sent, prop::option::of(time()), any::<bool>(), nacks, handed_off).prop_map(
            |(name, sent, acked, dead, nacks, handed_off)| Line {
                device: DeviceId::new(&name).unwrap(),
                sent,
                acked,
                dead,
                nacks,
                handed_off,
            },
        )
    }

    proptest! {
        #[test]
        fn records_read_back(
            numbers: [u64; 10],
            flags: [bool; 7],
            which in 0_usize..9,
            lines in prop::collection::vec(line(), 0..4),
            answer in prop::option::of(prop_oneof![".{0,9}".prop_map(Ok), ".{0,9}".prop_map(Err)]),
        ) {
            let tenant = TenantId::new("acme").unwrap();
            let time = |at: usize| Timestamp::from_millis(numbers[at]);
            let ends = [
                End::Expired, End::Replaced(None), End::Replaced(Some(ID)), End::Cancelled, End::Trimmed, End::Taken,
                End::Dismissed,
            ];
            let fate = match which {
                7 => Fate::Standing,
                8 => Fate::Scheduled,
                which => Fate::Ended(ends[which], time(0)),
            };
            let device = DeviceId::new("phone").unwrap();
            let counts = |receipts: bool| if receipts {
                Counts { audience: numbers[5], sent: numbers[6], acked: numbers[7], dead: numbers[8], missed: numbers[9] }
            } else {
                Counts::default()
            };
            let message = Message {
                id: ID,
                log: LogId::Inbox(tenant.clone(), UserId::new("ann").unwrap()),
                epoch: Epoch(numbers[1]),
                offset: Offset(numbers[2]),
                accepted_at: time(3),
                expires_at: time(4),
                device: flags[0].then(|| device.clone()),
                collapse_key: flags[1].then(String::new),
                fate,
                send_at: flags[2].then(|| time(5)),
                tag: flags[3].then(|| Tag::new("spring").unwrap()),
                any_of_user: flags[4],
                excluded: if flags[0] { vec![None, Some(device)] } else { Vec::new() },
                receipts: flags[5],
                counts: counts(flags[5]),
                body_bytes: numbers[5],
                handed_off: flags[6].then(|| (time(2), answer)),
                lines,
            };
            let bytes = message.encode();
            prop_assert_eq!(Message::decode(&tenant, ID, &bytes).unwrap(), message);
            prop_assert!(Message::decode(&tenant, ID, &bytes[..bytes.len() - 1]).is_err());
        }

        #[test]
        fn any_bytes_are_refused_or_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = Message::decode(&TenantId::new("acme").unwrap(), ID, &bytes);
            let _ = Message::decode(&TenantId::new("acme").unwrap(), ID, &[&[b'i', 1, b'a'], &*bytes].concat());
        }
    }
}
