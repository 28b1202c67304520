//! What the crowd puts into payloads, so that whoever receives one can tell that it is whole, of this run, for it, and
//! how long it took.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::model::clock::Moment;

/// Bytes of a stamp: the smallest payload.
pub(crate) const STAMP_BYTES: usize = 40;

const MAGIC: [u8; 4] = *b"PLd1";

/// Which log of a run a push went to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub(crate) struct Log(u32);

impl Log {
    /// No log of the run.
    pub(crate) const NONE: Self = Self(u32::MAX);

    /// The inbox of a user.
    pub(crate) const fn inbox(user: u32) -> Self {
        Self(user)
    }

    /// A topic.
    pub(crate) const fn topic(topic: u32) -> Self {
        Self(topic | 1 << 31)
    }

    /// The user's number, if it is an inbox.
    pub(crate) const fn as_inbox(self) -> Option<u32> {
        if self.0 >> 31 == 0 { Some(self.0) } else { None }
    }

    /// The topic's number, if it is one.
    pub(crate) const fn as_topic(self) -> Option<u32> {
        if self.0 >> 31 == 1 && self.0 != u32::MAX { Some(self.0 & !(1 << 31)) } else { None }
    }
}

/// The mark of one push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Names the run: others may have used the gateway before.
    pub(crate) run: u64,
    /// The log it was pushed to.
    pub(crate) log: Log,
    /// Running number in that log, from 1.
    pub(crate) number: u32,
    /// When it was pushed, or was due to be.
    pub(crate) at: Moment,
}

impl Stamp {
    /// Makes `payload` the payload of this push: `bytes` long, at least [`STAMP_BYTES`].
    pub(crate) fn write(&self, bytes: usize, payload: &mut Vec<u8>) {
        payload.clear();
        payload.extend_from_slice(&MAGIC);
        payload.extend_from_slice(&self.log.0.to_le_bytes());
        payload.extend_from_slice(&self.run.to_le_bytes());
        payload.extend_from_slice(&self.number.to_le_bytes());
        payload.extend_from_slice(&[0; 4]);
        payload.extend_from_slice(&self.at.as_micros().to_le_bytes());
        payload.extend_from_slice(&[0; 8]);
        // A filler that differs from push to push, so that mixed-up payloads do not look alike.
        payload.resize(bytes.max(STAMP_BYTES), self.number as u8);
        let sum = checksum(payload);
        payload[CHECKSUM..STAMP_BYTES].copy_from_slice(&sum.to_le_bytes());
    }

    /// Reads a payload; `None` when a byte of it is not as it was written.
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let head: &[u8; STAMP_BYTES] = payload.first_chunk()?;
        let number = |at: usize| head[at..].first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes));
        if head[..4] != MAGIC || number(CHECKSUM)? != checksum(payload) {
            return None;
        }
        Some(Self {
            log: Log((number(0)? >> 32) as u32),
            run: number(8)?,
            number: number(16)? as u32,
            at: Moment::from_micros(number(24)?),
        })
    }
}

/// Where the checksum stands.
const CHECKSUM: usize = 32;

/// Over the payload without its checksum.
fn checksum(payload: &[u8]) -> u64 {
    let rest = payload.get(STAMP_BYTES..).unwrap_or_default();
    xxh3_64_with_seed(rest, xxh3_64_with_seed(&payload[..CHECKSUM], rest.len() as u64))
}

#[cfg(test)]
mod tests {
    use super::{Log, STAMP_BYTES, Stamp};
    use crate::model::clock::Moment;

    #[test]
    fn a_stamp_survives_and_any_change_is_seen() {
        let stamp = Stamp { run: u64::MAX - 3, log: Log::topic(7), number: 300, at: Moment::from_micros(1 << 50) };
        for bytes in [0, STAMP_BYTES, 41, 256] {
            let mut payload = Vec::new();
            stamp.write(bytes, &mut payload);
            assert_eq!(payload.len(), bytes.max(STAMP_BYTES));
            assert_eq!(Stamp::read(&payload), Some(stamp));
            for at in 0..payload.len() {
                let mut changed = payload.clone();
                changed[at] ^= 0x10;
                assert_eq!(Stamp::read(&changed), None, "byte {at}");
            }
            for length in 0..payload.len() {
                assert_eq!(Stamp::read(&payload[..length]), None, "{length} bytes");
            }
            payload.push(payload[payload.len() - 1]);
            assert_eq!(Stamp::read(&payload), None, "one more");
        }
    }

    #[test]
    fn inboxes_and_topics_are_different_logs() {
        assert_eq!((Log::topic(3).as_topic(), Log::inbox(3).as_topic()), (Some(3), None));
        assert_ne!(Log::topic(3), Log::inbox(3));
    }
}
