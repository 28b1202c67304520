//! Keys of what is to be done at a time, sorted by it. A key is a hint: what is done is decided by the record that it
//! points to.

use super::damaged;
use crate::model::clock::Timestamp;
use crate::store::Error;

const DUE: u8 = b'X';
const SOON: u8 = b'O';

/// What is to be done when a time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store::embedded) enum Purpose {
    /// The device of the target key may have been absent too long, or the user of it without groups.
    Absence,
    /// The entry of the target's message expires.
    Expire,
    /// The target record has served its time.
    Forget,
    /// The target's message is to be given its place.
    Send,
    /// The devices that have not settled the target's message are handed off.
    HandOff,
    /// The log of the target key has more than the newest entry, and is to keep that alone.
    Conflate,
}

impl Purpose {
    /// Keys of what somebody waits for lie apart, so that it costs little to know when the next one is due.
    const fn kind(self) -> u8 {
        match self {
            Self::Absence | Self::Expire | Self::Forget => DUE,
            Self::Send | Self::HandOff | Self::Conflate => SOON,
        }
    }
}

/// Something to be done at a time with the record of the target key.
pub(in crate::store::embedded) fn due(at: Timestamp, purpose: Purpose, target: &[u8]) -> Vec<u8> {
    let mut key = timed(purpose.kind(), at);
    key.push(match purpose {
        Purpose::Absence => b'a',
        Purpose::Expire => b'e',
        Purpose::Forget => b'f',
        Purpose::Send => b's',
        Purpose::HandOff => b'h',
        Purpose::Conflate => b'c',
    });
    key.extend_from_slice(target);
    key
}

/// The first key of what is due at a time.
pub(in crate::store::embedded) fn due_from(at: Timestamp) -> Vec<u8> {
    timed(DUE, at)
}

/// The same of what somebody waits for.
pub(in crate::store::embedded) fn soon_from(at: Timestamp) -> Vec<u8> {
    timed(SOON, at)
}

/// Whether a key is of what somebody waits for.
pub(in crate::store::embedded) fn is_soon(key: &[u8]) -> bool {
    key.first() == Some(&SOON)
}

fn timed(kind: u8, at: Timestamp) -> Vec<u8> {
    let mut key = vec![kind];
    key.extend_from_slice(&at.as_millis().to_be_bytes());
    key
}

/// When, what and with which record.
pub(in crate::store::embedded) fn due_of(key: &[u8]) -> Result<(Timestamp, Purpose, &[u8]), Error> {
    let (head, target) = key.split_at_checked(10).ok_or_else(|| damaged("due"))?;
    let at = head[1..9].try_into().map(u64::from_be_bytes).map_err(|_| damaged("due"))?;
    let purpose = match head[9] {
        b'a' => Purpose::Absence,
        b'e' => Purpose::Expire,
        b'f' => Purpose::Forget,
        b's' => Purpose::Send,
        b'h' => Purpose::HandOff,
        b'c' => Purpose::Conflate,
        _ => return Err(damaged("due")),
    };
    Ok((Timestamp::from_millis(at), purpose, target))
}

#[cfg(test)]
mod tests {
    use super::{Purpose, due, due_of, is_soon, soon_from};
    use crate::model::clock::Timestamp;

    #[test]
    fn keys_read_back_and_what_somebody_waits_for_lies_apart_by_time() {
        let at = Timestamp::from_millis;
        for purpose in [Purpose::Absence, Purpose::Expire, Purpose::Forget] {
            let key = due(at(9), purpose, b"Mxyz");
            assert_eq!(due_of(&key), Ok((at(9), purpose, b"Mxyz".as_slice())));
            assert!(!is_soon(&key));
        }
        for purpose in [Purpose::Send, Purpose::HandOff, Purpose::Conflate] {
            let key = due(at(9), purpose, b"Mxyz");
            assert_eq!(due_of(&key), Ok((at(9), purpose, b"Mxyz".as_slice())));
            assert!(is_soon(&key) && key >= soon_from(at(9)) && key < soon_from(at(10)));
            assert!(due_of(&key[..9]).is_err());
        }
    }
}
