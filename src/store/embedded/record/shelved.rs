//! The value of a record on a shelf: its version, until when it is kept, and what it says.

use bytes::Bytes;

use super::{Input, push};
use crate::model::clock::Timestamp;
use crate::store::{Error, Record};

/// A record's value.
pub(in crate::store::embedded) fn encode_shelved(record: &Record) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + record.value.len());
    push(&mut out, record.version);
    push(&mut out, record.until.map_or(0, |until| until.as_millis().saturating_add(1)));
    out.extend_from_slice(&record.value);
    out
}

/// Reads a record's value; what it says is copied, so that it does not keep a block of the cache alive.
pub(in crate::store::embedded) fn decode_shelved(bytes: &[u8]) -> Result<Record, Error> {
    let mut input = Input { bytes, what: "shelf" };
    let version = input.number()?;
    let until = input.number()?.checked_sub(1).map(Timestamp::from_millis);
    Ok(Record { value: Bytes::copy_from_slice(input.bytes), version, until })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{decode_shelved, encode_shelved};
    use crate::model::clock::Timestamp;
    use crate::store::Record;

    proptest! {
        #[test]
        fn records_read_back(
            value in prop::collection::vec(any::<u8>(), 0..40),
            version: u64,
            until in prop::option::of(0..u64::MAX),
        ) {
            let record = Record { value: value.into(), version, until: until.map(Timestamp::from_millis) };
            prop_assert_eq!(decode_shelved(&encode_shelved(&record)).unwrap(), record);
        }

        #[test]
        fn any_bytes_are_refused_or_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = decode_shelved(&bytes);
        }
    }
}
