//! A line of a message's record: what happened at one device, and when. It does not know which message.

use super::{Input, push, push_text};
use crate::model::clock::Timestamp;
use crate::model::id::DeviceId;
use crate::model::receipt::What;
use crate::store::Error;

/// What happened to a message at one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store::embedded) struct Line {
    /// Which device of the inbox's user.
    pub(in crate::store::embedded) device: DeviceId,
    /// First and last time it was sent there, and for the how manyth time the last one was.
    pub(in crate::store::embedded) sent: Option<(Timestamp, Timestamp, u32)>,
    /// When the device acked it.
    pub(in crate::store::embedded) acked: Option<Timestamp>,
    /// It was given up; the letter says why.
    pub(in crate::store::embedded) dead: bool,
    /// The last failed deliveries: when, which, why.
    pub(in crate::store::embedded) nacks: Vec<(Timestamp, u32, String)>,
    /// It was handed off: when, and what the webhook answered.
    pub(in crate::store::embedded) handed_off: Option<HandedOff>,
}

/// When a message was handed off, and the webhook's answer if it has given one.
pub(in crate::store::embedded) type HandedOff = (Timestamp, Option<Result<String, String>>);

/// Failed deliveries that a line keeps: enough to see a pattern, as many as are tried by default.
const NACKS_MAX: usize = 5;

impl Line {
    /// Nothing happened at this device yet.
    pub(in crate::store::embedded) const fn new(device: DeviceId) -> Self {
        Self { device, sent: None, acked: None, dead: false, nacks: Vec::new(), handed_off: None }
    }

    /// The message has reached the device: whoever answers it has received it.
    pub(in crate::store::embedded) const fn reached(&self) -> bool {
        self.sent.is_some() || self.acked.is_some() || self.dead || !self.nacks.is_empty()
    }

    /// Notes what happened; false when it was noted before: neither a later time nor a later delivery.
    pub(in crate::store::embedded) fn note(&mut self, at: Timestamp, what: &What) -> bool {
        match what {
            What::Sent { attempt } => {
                if self.sent.is_some_and(|(_, last, known)| at <= last && *attempt <= known) {
                    return false;
                }
                let first = self.sent.map_or(at, |(first, ..)| first);
                self.sent = Some((first, at, *attempt));
                true
            }
            What::Nacked { attempt, reason } => {
                if self.nacks.last().is_some_and(|last| at <= last.0 && *attempt <= last.1) {
                    return false;
                }
                if self.nacks.len() >= NACKS_MAX {
                    self.nacks.remove(0);
                }
                self.nacks.push((at, *attempt, reason.clone()));
                true
            }
            What::Acked => {
                self.acked = Some(at);
                true
            }
            What::Dead { .. } => {
                self.dead = true;
                true
            }
            _ => false,
        }
    }

    /// Writes it; times as distances from when its message was accepted.
    pub(super) fn encode(&self, accepted_at: Timestamp, out: &mut Vec<u8>) {
        push_text(out, self.device.as_str());
        out.push(
            flag(self.sent.is_some(), SENT)
                | flag(self.acked.is_some(), ACKED)
                | flag(self.dead, DEAD)
                | hand_off_kind(self.handed_off.as_ref()) << 3,
        );
        if let Some((first, last, attempt)) = self.sent {
            push_time(out, accepted_at, first);
            push_time(out, first, last);
            push(out, attempt.into());
        }
        if let Some(at) = self.acked {
            push_time(out, accepted_at, at);
        }
        push(out, self.nacks.len() as u64);
        for (at, attempt, reason) in &self.nacks {
            push_time(out, accepted_at, *at);
            push(out, (*attempt).into());
            push_text(out, reason);
        }
        push_hand_off(out, accepted_at, self.handed_off.as_ref());
    }

    /// Reads what [`Line::encode`] wrote.
    pub(super) fn decode(accepted_at: Timestamp, input: &mut Input<'_>) -> Result<Self, Error> {
        let device = input.device()?.ok_or_else(|| input.damaged())?;
        let flags = input.byte()?;
        let mut line = Self::new(device);
        if flags & SENT != 0 {
            let first = time(input, accepted_at)?;
            line.sent = Some((first, time(input, first)?, input.number32()?));
        }
        if flags & ACKED != 0 {
            line.acked = Some(time(input, accepted_at)?);
        }
        line.dead = flags & DEAD != 0;
        for _ in 0..input.number()? {
            line.nacks.push((time(input, accepted_at)?, input.number32()?, input.text()?.to_owned()));
        }
        line.handed_off = hand_off(input, accepted_at, flags >> 3)?;
        Ok(line)
    }
}

/// Whether there was a hand-off, and what came of it: two bits.
pub(super) const fn hand_off_kind(handed_off: Option<&HandedOff>) -> u8 {
    match handed_off {
        None => 0,
        Some((_, None)) => 1,
        Some((_, Some(Ok(_)))) => 2,
        Some((_, Some(Err(_)))) => 3,
    }
}

/// Writes when it was and the answer.
pub(super) fn push_hand_off(out: &mut Vec<u8>, accepted_at: Timestamp, handed_off: Option<&HandedOff>) {
    let Some((at, answer)) = handed_off else { return };
    push_time(out, accepted_at, *at);
    if let Some(Ok(words) | Err(words)) = answer {
        push_text(out, words);
    }
}

/// Reads what [`push_hand_off`] wrote of this kind.
pub(super) fn hand_off(input: &mut Input<'_>, accepted_at: Timestamp, kind: u8) -> Result<Option<HandedOff>, Error> {
    if kind == 0 {
        return Ok(None);
    }
    let at = time(input, accepted_at)?;
    let answer = match kind {
        1 => None,
        2 => Some(Ok(input.text()?.to_owned())),
        3 => Some(Err(input.text()?.to_owned())),
        _ => return Err(input.damaged()),
    };
    Ok(Some((at, answer)))
}

/// Of a line.
const SENT: u8 = 1;
const ACKED: u8 = 2;
const DEAD: u8 = 4;

/// A bit, if it is set.
pub(super) const fn flag(set: bool, flag: u8) -> u8 {
    if set { flag } else { 0 }
}

/// Times are written as distances from one that is near, which takes one to four bytes. One before it, by a clock that
/// went back, takes ten.
pub(super) fn push_time(out: &mut Vec<u8>, from: Timestamp, at: Timestamp) {
    push(out, at.as_millis().wrapping_sub(from.as_millis()));
}

/// Reads a time that [`push_time`] wrote.
pub(super) fn time(input: &mut Input<'_>, from: Timestamp) -> Result<Timestamp, Error> {
    input.number().map(|distance| Timestamp::from_millis(from.as_millis().wrapping_add(distance)))
}

#[cfg(test)]
mod tests {
    use super::Line;
    use crate::model::clock::Timestamp;
    use crate::model::id::DeviceId;
    use crate::model::receipt::What;

    #[test]
    fn a_line_keeps_the_last_failures_and_what_is_new() {
        let mut line = Line::new(DeviceId::new("phone").unwrap());
        let nacked = |attempt| What::Nacked { attempt, reason: "no".to_owned() };
        assert!(!line.reached());
        (1..=7).for_each(|attempt| assert!(line.note(Timestamp::ZERO, &nacked(attempt))));
        assert!(!line.note(Timestamp::ZERO, &nacked(7)), "it was noted before");
        assert_eq!(line.nacks.iter().map(|nack| nack.1).collect::<Vec<_>>(), [3, 4, 5, 6, 7]);
        let at = Timestamp::from_millis;
        let sent = [(1, 1, true), (1, 1, false), (2, 1, true), (3, 2, true), (2, 1, false)];
        sent.into_iter().for_each(|(when, attempt, new)| assert_eq!(line.note(at(when), &What::Sent { attempt }), new));
        assert_eq!((line.sent, line.reached()), (Some((at(1), at(3), 2)), true));
    }
}
