//! gRPC messages as the crowd reads and writes them: cut out of received bytes, and the fields of a push or an answer
//! found without copying them. What comes rarely is left to `wire`.

use std::io;

use super::http::{PREFIX_BYTES, put_prefix};

/// Cuts DATA into gRPC messages. Holds at most one message, and nothing between two.
#[derive(Debug, Default)]
pub(super) struct Messages {
    held: Vec<u8>,
}

impl Messages {
    /// Hands each whole message to `visit`.
    pub(super) fn feed(&mut self, bytes: &[u8], mut visit: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut joined;
        let mut rest = bytes;
        if !self.held.is_empty() {
            self.held.extend_from_slice(bytes);
            joined = std::mem::take(&mut self.held);
            let used = cut(&joined, &mut visit)?;
            joined.drain(..used);
            self.held = if joined.is_empty() { Vec::new() } else { joined };
            return Ok(());
        }
        rest = &rest[cut(rest, &mut visit)?..];
        self.held.extend_from_slice(rest);
        Ok(())
    }
}

/// Hands on the whole messages; gives how many bytes they take.
fn cut(bytes: &[u8], visit: &mut impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<usize> {
    let mut used = 0;
    while let Some(&[flag, a, b, c, d]) = bytes[used..].first_chunk::<PREFIX_BYTES>() {
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if flag != 0 || length > MESSAGE_BYTES_MAX {
            return Err(damaged());
        }
        let Some(message) = bytes[used + PREFIX_BYTES..].get(..length) else { break };
        visit(message)?;
        used += PREFIX_BYTES + length;
    }
    Ok(used)
}

/// A frame of the push stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pushed<'b> {
    /// A push.
    Push(Push<'b>),
    /// Another frame: all of the message, for `wire`.
    Other(&'b [u8]),
}

/// A received push.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Push<'b> {
    pub(super) seq: u64,
    pub(super) attempt: u32,
    pub(super) expires_at_ms: u64,
    pub(super) target: &'b [u8],
    pub(super) payload: &'b [u8],
}

/// Reads a message of the push stream.
pub(super) fn pushed(message: &[u8]) -> io::Result<Pushed<'_>> {
    let mut fields = Fields(message);
    let (Some((2, Value::Bytes(bytes))), true) = (fields.next()?, fields.0.is_empty()) else {
        return Ok(Pushed::Other(message));
    };
    let (mut push, mut fields) = (Push::default(), Fields(bytes));
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Number(seq)) => push.seq = seq,
            (2, Value::Number(attempt)) => push.attempt = u32::try_from(attempt).map_err(|_| damaged())?,
            (5, Value::Number(millis)) => push.expires_at_ms = millis,
            (6, Value::Bytes(target)) => push.target = target,
            (9, Value::Bytes(payload)) => push.payload = payload,
            _ => {}
        }
    }
    Ok(Pushed::Push(push))
}

/// The answer to one push of a backend's stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Enqueued<'b> {
    pub(super) reference: u64,
    /// The stable word of the refusal; `None` when it was accepted.
    pub(super) refusal: Option<&'b str>,
}

/// Reads a message of the stream of answers.
pub(super) fn enqueued(message: &[u8]) -> io::Result<Enqueued<'_>> {
    let (mut answer, mut fields, mut is_told) = (Enqueued::default(), Fields(message), false);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Number(reference)) => answer.reference = reference,
            (2, Value::Bytes(_)) => is_told = true,
            (3, Value::Bytes(error)) => {
                (answer.refusal, is_told) = (Some("unknown"), true);
                let mut fields = Fields(error);
                while let Some(field) = fields.next()? {
                    if let (2, Value::Bytes(code)) = field {
                        answer.refusal = Some(std::str::from_utf8(code).map_err(|_| damaged())?);
                    }
                }
            }
            _ => {}
        }
    }
    if is_told { Ok(answer) } else { Err(damaged()) }
}

/// Writes one push of a backend's stream with its prefix. `target` is an encoded `Target`.
pub(super) fn put_ask(reference: u64, target: &[u8], payload: &[u8], durability: u8, out: &mut Vec<u8>) {
    let push = length_of(target) + length_of(payload) + 2;
    let message = 1 + varint_bytes(reference) + 1 + varint_bytes(push as u64) + push;
    put_prefix(message, out);
    out.push(0x08);
    put_varint(reference, out);
    out.push(0x12);
    put_varint(push as u64, out);
    for (key, bytes) in [(0x0a, target), (0x12, payload)] {
        out.push(key);
        put_varint(bytes.len() as u64, out);
        out.extend_from_slice(bytes);
    }
    out.extend_from_slice(&[0x40, durability]);
}

/// Writes the ranges of an ack.
pub(super) fn put_acked(ranges: &[(u64, u64)], out: &mut Vec<u8>) {
    for &(from, upto) in ranges {
        out.extend_from_slice(&[0x0a, (2 + varint_bytes(from) + varint_bytes(upto)) as u8, 0x08]);
        put_varint(from, out);
        out.push(0x10);
        put_varint(upto, out);
    }
}

/// Writes a nack that asks for another try.
pub(super) fn put_nacked(seq: u64, out: &mut Vec<u8>) {
    let reason = b"load";
    out.extend_from_slice(&[0x12, (1 + varint_bytes(seq) + 2 + reason.len()) as u8, 0x08]);
    put_varint(seq, out);
    out.extend_from_slice(&[0x1a, reason.len() as u8]);
    out.extend_from_slice(reason);
}

/// A field's value.
#[derive(Debug)]
enum Value<'b> {
    Number(u64),
    Bytes(&'b [u8]),
    /// Four or eight bytes: no message here has them, and they are passed over.
    Fixed,
}

/// The fields of a protobuf message.
struct Fields<'b>(&'b [u8]);

impl<'b> Fields<'b> {
    fn next(&mut self) -> io::Result<Option<(u64, Value<'b>)>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Number(self.varint()?),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| damaged())?;
                Value::Bytes(self.skip(length)?)
            }
            1 => self.skip(8).map(|_| Value::Fixed)?,
            5 => self.skip(4).map(|_| Value::Fixed)?,
            _ => return Err(damaged()),
        };
        Ok(Some((key >> 3, value)))
    }

    fn skip(&mut self, length: usize) -> io::Result<&'b [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or_else(damaged)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn varint(&mut self) -> io::Result<u64> {
        let mut value = 0;
        for (at, &byte) in self.0.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                self.0 = &self.0[at + 1..];
                return Ok(value);
            }
        }
        Err(damaged())
    }
}

fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn varint_bytes(value: u64) -> usize {
    (70 - (value | 1).leading_zeros() as usize) / 7
}

/// Bytes of a field with a key of one byte.
fn length_of(bytes: &[u8]) -> usize {
    1 + varint_bytes(bytes.len() as u64) + bytes.len()
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a message is damaged")
}

/// Longest message: the largest payload that any gateway takes, and what stands beside it.
const MESSAGE_BYTES_MAX: usize = 2 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::{Enqueued, Messages, Push, Pushed, enqueued, pushed, put_acked, put_ask, put_nacked};
    use crate::wire::{grpc, pb};

    #[test]
    fn messages_come_out_whole_whatever_the_pieces() {
        let mut bytes = Vec::new();
        for length in [0, 1, 300, 20_000] {
            super::put_prefix(length, &mut bytes);
            bytes.extend(vec![9; length]);
        }
        for piece in [1, 4, 5, 6, 100, 30_000] {
            let (mut messages, mut got) = (Messages::default(), Vec::new());
            for bytes in bytes.chunks(piece) {
                messages
                    .feed(bytes, |message| {
                        got.push(message.len());
                        Ok(())
                    })
                    .unwrap();
            }
            assert_eq!((got, messages.held.capacity()), (vec![0, 1, 300, 20_000], 0), "pieces of {piece}");
        }
        for bad in [&[1, 0, 0, 0, 0][..], &[0, 0xff, 0xff, 0xff, 0xff]] {
            assert!(Messages::default().feed(bad, |_| Ok(())).is_err());
        }
    }

    #[test]
    fn a_push_is_read_as_the_wire_writes_it() {
        let target = pb::Target { to: Some(pb::target::To::User("ada".into())) };
        let push = pb::Push {
            seq: 300,
            attempt: 2,
            id: vec![1; 16].into(),
            accepted_at_ms: 5,
            expires_at_ms: 1 << 40,
            target: Some(target.clone()),
            content_type: "a/b".into(),
            attributes: [("k".to_owned(), "v".to_owned())].into(),
            payload: vec![7; 300].into(),
            urgency: 3,
            collapse_key: "key".into(),
            ..pb::Push::default()
        };
        let message = pb::OpenResponse { frame: Some(pb::open_response::Frame::Push(push)) }.encode_to_vec();
        let target = target.encode_to_vec();
        let read = Push { seq: 300, attempt: 2, expires_at_ms: 1 << 40, target: &target, payload: &[7; 300] };
        assert_eq!(pushed(&message).unwrap(), Pushed::Push(read));
        let close = pb::OpenResponse { frame: Some(pb::open_response::Frame::Close(pb::Close::default())) };
        let close = close.encode_to_vec();
        assert_eq!(pushed(&close).unwrap(), Pushed::Other(&close));
        for length in 1..message.len() {
            let _ = pushed(&message[..length]);
            assert!(!matches!(pushed(&message[..length]), Ok(Pushed::Push(_))), "{length} bytes");
        }
    }

    #[test]
    fn asks_and_acks_are_read_by_the_wire() {
        for (reference, length) in [(0, 0), (127, 1), (128, 127), (1 << 40, 70_000)] {
            let target = pb::Target { to: Some(pb::target::To::Topic("news".into())) };
            let mut bytes = Vec::new();
            put_ask(reference, &target.encode_to_vec(), &vec![3; length], 2, &mut bytes);
            let message = grpc::unary(bytes.into(), 1 << 20).unwrap();
            let ask = pb::PushStreamRequest::decode(message).unwrap();
            let push = ask.push.unwrap();
            assert_eq!(push.durability(), pb::Durability::Relaxed);
            assert_eq!((ask.reference, push.target, push.payload.len()), (reference, Some(target), length));
        }
        let mut bytes = Vec::new();
        put_acked(&[(1, 1), (5, 300)], &mut bytes);
        put_nacked(400, &mut bytes);
        let ack = pb::AckRequest::decode(&*bytes).unwrap();
        assert_eq!(ack.acked, [pb::SeqRange { from: 1, upto: 1 }, pb::SeqRange { from: 5, upto: 300 }]);
        assert_eq!((ack.nacked[0].seq, ack.nacked[0].verdict(), ack.nacked.len()), (400, pb::nack::Verdict::Retry, 1));
    }

    #[test]
    fn answers_are_read_as_the_wire_writes_them() {
        let outcome = pb::push_stream_response::Outcome::Accepted(pb::PushResponse { offset: 5, ..Default::default() });
        let answer = pb::PushStreamResponse { reference: 9, outcome: Some(outcome) }.encode_to_vec();
        assert_eq!(enqueued(&answer).unwrap(), Enqueued { reference: 9, refusal: None });
        let error = pb::PushError { code: "log_full".into(), status: 8, ..Default::default() };
        let outcome = Some(pb::push_stream_response::Outcome::Error(error));
        let answer = pb::PushStreamResponse { reference: 10, outcome }.encode_to_vec();
        assert_eq!(enqueued(&answer).unwrap(), Enqueued { reference: 10, refusal: Some("log_full") });
        assert!(enqueued(&[]).is_err() && enqueued(&[0x08, 1]).is_err());
    }

    #[test]
    fn whatever_the_bytes_it_never_panics() {
        let mut random = fastrand::Rng::with_seed(2);
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..random.usize(..40)).map(|_| random.u8(..)).collect();
            let _ = (pushed(&bytes).is_ok(), enqueued(&bytes).is_ok());
            let _ = Messages::default().feed(&bytes, |_| Ok(()));
        }
    }
}
