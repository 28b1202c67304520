//! What the values of the table hold, and how it is written: varints and length-prefixed text, in field order. It does
//! not know where they are kept. Bytes that are not what was written give [`Error::Failed`], never a panic.

mod entry;
mod event;
mod line;
mod message;
mod people;
mod scheduled;
mod shelved;
mod sum;

pub(super) use self::entry::{decode_entry, encode_entry};
pub(super) use self::event::{Written, put_event, put_receipt};
pub(super) use self::line::Line;
pub(super) use self::message::{Fate, Message};
pub(super) use self::people::{Device, Follow, Group, User, decode_count, decode_holder, encode_count, encode_holder};
pub(super) use self::scheduled::Scheduled;
pub(super) use self::shelved::{decode_shelved, encode_shelved};
pub(super) use self::sum::{Reach, Sum, decode_usage, decode_webhook, encode_usage, encode_webhook};
use crate::model::clock::Timestamp;
use crate::model::cursor::Cursor;
use crate::model::id::{DeviceId, MessageId};
use crate::model::log::{Epoch, Head, Offset};
use crate::model::ranges::Ranges;
use crate::store::{Appended, Error};

/// The format of all records. Another number in a folder means that this program cannot read it.
pub(super) const FORMAT: u8 = 4;

/// A log's record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Log {
    /// What callers see of it.
    pub(super) head: Head,
    /// No entry stands before this offset. A lower bound: it spares walking over what was removed.
    pub(super) first: Offset,
    /// How many entries stand, expired ones that were not swept yet included.
    pub(super) entries: u64,
    /// Inbox: known devices of the user. Topic: devices subscribed to it.
    pub(super) followers: u32,
}

impl Log {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32);
        let head = &self.head;
        let numbers = [head.epoch.0, head.last.0, head.trimmed.0, self.first.0, self.entries, self.followers.into()];
        numbers.into_iter().for_each(|number| push(&mut out, number));
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut input = Input { bytes, what: "log" };
        let head =
            Head { epoch: Epoch(input.number()?), last: Offset(input.number()?), trimmed: Offset(input.number()?) };
        let (first, entries, followers) = (Offset(input.number()?), input.number()?, input.number32()?);
        input.end(Self { head, first, entries, followers })
    }
}

/// A dead letter's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Letter {
    /// Failed deliveries.
    pub(super) attempts: u32,
    /// When it was given up.
    pub(super) at: Timestamp,
    /// When this record has served its time.
    pub(super) forget_at: Timestamp,
    /// The last reason.
    pub(super) reason: String,
}

impl Letter {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24 + self.reason.len());
        let numbers = [self.attempts.into(), self.at.as_millis(), self.forget_at.as_millis()];
        numbers.into_iter().for_each(|number| push(&mut out, number));
        push_text(&mut out, &self.reason);
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut input = Input { bytes, what: "dead letter" };
        let (attempts, at, forget_at) = (input.number32()?, input.time()?, input.time()?);
        let reason = input.text()?.to_owned();
        input.end(Self { attempts, at, forget_at, reason })
    }
}

/// An idempotency key's record: what was asked, and the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Repeat {
    /// Hash of the request.
    pub(super) fingerprint: u64,
    /// Its outcome.
    pub(super) first: Appended,
}

impl Repeat {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(56);
        let first = &self.first;
        out.extend_from_slice(first.id.as_bytes());
        let times = [first.accepted_at.as_millis(), first.expires_at.as_millis()];
        let numbers = [self.fingerprint, first.offset.0, first.epoch.0];
        let send_at = first.send_at.map(Timestamp::as_millis);
        let optional = [first.audience, send_at].map(|number| number.map_or(0, |number| number.saturating_add(1)));
        numbers.into_iter().chain(times).chain(optional).for_each(|number| push(&mut out, number));
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut input = Input { bytes, what: "idempotency" };
        let (id, fingerprint) = (input.id()?, input.number()?);
        let (offset, epoch) = (Offset(input.number()?), Epoch(input.number()?));
        let (accepted_at, expires_at) = (input.time()?, input.time()?);
        let (audience, send_at) = (input.number()?.checked_sub(1), input.number()?.checked_sub(1));
        let send_at = send_at.map(Timestamp::from_millis);
        input.end(Self {
            fingerprint,
            first: Appended { id, offset, epoch, accepted_at, expires_at, duplicate: true, audience, send_at },
        })
    }
}

/// Id of the newest message with a collapse key.
pub(super) fn decode_collapse(bytes: &[u8]) -> Result<MessageId, Error> {
    let mut input = Input { bytes, what: "collapse key" };
    let id = input.id()?;
    input.end(id)
}

/// A cursor: ranges and attempts as distances, so that it is a few bytes long.
fn encode_cursor_to(out: &mut Vec<u8>, cursor: &Cursor) {
    push(out, cursor.epoch.0);
    push(out, cursor.settled.spans() as u64);
    let mut last = 0;
    for (from, upto) in cursor.settled.iter() {
        push(out, from - last);
        push(out, upto - from);
        last = upto;
    }
    let mut last = 0;
    for (offset, attempts) in &cursor.attempts {
        push(out, offset.0 - last);
        push(out, (*attempts).into());
        last = offset.0;
    }
}

/// Reads a cursor, which is all that is left.
fn decode_cursor_from(mut input: Input<'_>) -> Result<Cursor, Error> {
    let mut cursor = Cursor { epoch: Epoch(input.number()?), settled: Ranges::default(), ..Cursor::default() };
    let mut last = 0;
    for _ in 0..input.number()? {
        let from = input.number_after(last)?;
        last = input.number_after(from)?;
        cursor.settled.insert(from, last);
    }
    let mut last = 0;
    while !input.bytes.is_empty() {
        last = input.number_after(last)?;
        cursor.attempts.insert(Offset(last), input.number32()?);
    }
    Ok(cursor)
}

/// Writes seven bits a byte, lowest first; the high bit says that more follow.
fn push(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    push(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// The part of a value that was not read yet.
struct Input<'a> {
    bytes: &'a [u8],
    /// The kind of record, for the error.
    what: &'static str,
}

impl<'a> Input<'a> {
    fn damaged(&self) -> Error {
        Error::Failed(format!("a {} record is damaged", self.what))
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or_else(|| self.damaged())?;
        self.bytes = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Error> {
        self.take(1).map(|taken| taken[0])
    }

    fn number(&mut self) -> Result<u64, Error> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(self.damaged())
    }

    fn number32(&mut self) -> Result<u32, Error> {
        u32::try_from(self.number()?).map_err(|_| self.damaged())
    }

    fn number_after(&mut self, last: u64) -> Result<u64, Error> {
        self.number()?.checked_add(last).ok_or_else(|| self.damaged())
    }

    fn time(&mut self) -> Result<Timestamp, Error> {
        self.number().map(Timestamp::from_millis)
    }

    fn id(&mut self) -> Result<MessageId, Error> {
        let bytes = self.take(16)?.try_into().map_err(|_| self.damaged())?;
        Ok(MessageId::from_bytes(bytes))
    }

    fn text(&mut self) -> Result<&'a str, Error> {
        let length = usize::try_from(self.number()?).map_err(|_| self.damaged())?;
        std::str::from_utf8(self.take(length)?).map_err(|_| self.damaged())
    }

    fn device(&mut self) -> Result<Option<DeviceId>, Error> {
        match self.text()? {
            "" => Ok(None),
            name => DeviceId::new(name).map(Some).map_err(|_| self.damaged()),
        }
    }

    /// The value, if nothing is left over.
    fn end<T>(self, value: T) -> Result<T, Error> {
        if self.bytes.is_empty() { Ok(value) } else { Err(self.damaged()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Follow, Letter, Log, Repeat, decode_collapse};
    use crate::model::clock::Timestamp;
    use crate::model::cursor::Cursor;
    use crate::model::id::MessageId;
    use crate::model::log::{Epoch, Head, Offset};
    use crate::store::Appended;

    const ID: MessageId = MessageId::from_bytes([7; 16]);

    proptest! {
        #[test]
        fn cursors_read_back(
            epoch: u64,
            spans in proptest::collection::vec((any::<u64>(), 0_u64..1000), 0..20),
            attempts in proptest::collection::btree_map(any::<u64>(), any::<u32>(), 0..10),
        ) {
            let settled = spans.into_iter().map(|(from, length)| (from, from.saturating_add(length))).collect();
            let attempts = attempts.into_iter().map(|(offset, count)| (Offset(offset), count)).collect();
            let cursor = Cursor { epoch: Epoch(epoch), settled, attempts };
            let follow = Follow { own: true, cursor };
            prop_assert_eq!(Follow::decode(&follow.encode()).unwrap(), follow);
        }

        #[test]
        fn any_bytes_are_refused_or_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = decode_collapse(&bytes);
            let _ = Log::decode(&bytes);
            let _ = Letter::decode(&bytes);
            let _ = Repeat::decode(&bytes);
        }

        #[test]
        fn records_read_back(a: u64, b: u64, c: u64, d: u32, which in 0_usize..3) {
            let time = Timestamp::from_millis;
            let head = Head { epoch: Epoch(a), last: Offset(b), trimmed: Offset(c) };
            let log = Log { head, first: Offset(c), entries: a, followers: d };
            prop_assert_eq!(Log::decode(&log.encode()).unwrap(), log);
            let letter = Letter { attempts: d, at: time(a), forget_at: time(b), reason: "no\0pe".to_owned() };
            prop_assert_eq!(Letter::decode(&letter.encode()).unwrap(), letter);
            let first = Appended {
                id: ID, offset: Offset(a), epoch: Epoch(b), accepted_at: time(c), expires_at: time(a), duplicate: true, audience: (which > 0).then_some(a / 2), send_at: (which > 1).then_some(time(b / 2))
            };
            let repeat = Repeat { fingerprint: b, first };
            prop_assert_eq!(Repeat::decode(&repeat.encode()).unwrap(), repeat);
        }
    }

    #[test]
    fn a_record_that_is_cut_or_too_long_is_damaged() {
        let bytes = Log { followers: 3, ..Log::default() }.encode();
        assert!(Log::decode(&bytes[..bytes.len() - 1]).is_err());
        assert!(Log::decode(&[bytes.as_slice(), &[0]].concat()).is_err());
        assert!(Follow::decode(&[1, 1, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1]).is_err());
    }
}
