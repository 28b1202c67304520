//! Keys of records on shelves: the shelf, then the name. Nothing comes after the name, so part of a name is where all that
//! begin with it begin.

use super::damaged;
use crate::store::{Error, Shelf};

/// Kind of a record on a shelf.
pub(in crate::store::embedded) const SHELVED: u8 = b'B';

const fn letter(shelf: Shelf) -> u8 {
    match shelf {
        Shelf::Tenants => b't',
        Shelf::Keys => b'k',
        Shelf::Revocations => b'r',
        Shelf::Shares => b's',
        Shelf::DeviceKeys => b'd',
        Shelf::Enrolments => b'e',
        Shelf::Challenges => b'c',
        Shelf::Nodes => b'n',
    }
}

/// A record on a shelf; also what the keys of all begin with whose names begin like this.
pub(in crate::store::embedded) fn shelved(shelf: Shelf, name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(3 + name.len());
    key.extend([SHELVED, letter(shelf)]);
    key.extend_from_slice(name.as_bytes());
    key
}

/// The first key after that of a record: no name has a NUL.
pub(in crate::store::embedded) fn shelved_after(shelf: Shelf, name: &str) -> Vec<u8> {
    let mut key = shelved(shelf, name);
    key.push(0);
    key
}

/// Shelf and name of a record's key.
pub(in crate::store::embedded) fn shelved_of(key: &[u8]) -> Result<(Shelf, &str), Error> {
    let (head, name) = key.split_at_checked(2).ok_or_else(|| damaged("shelf"))?;
    let shelf = Shelf::ALL.into_iter().find(|shelf| letter(*shelf) == head[1]).ok_or_else(|| damaged("shelf"))?;
    Ok((shelf, std::str::from_utf8(name).map_err(|_| damaged("shelf"))?))
}

#[cfg(test)]
mod tests {
    use super::{shelved, shelved_after, shelved_of};
    use crate::store::Shelf;
    use crate::store::embedded::key::after;

    #[test]
    fn keys_read_back_and_sort_by_name_within_their_shelf() {
        for shelf in Shelf::ALL {
            assert_eq!(shelved_of(&shelved(shelf, "acme/own")), Ok((shelf, "acme/own")));
            let begin = shelved(shelf, "acme");
            for (name, within) in [("acme", true), ("acme/own", true), ("acm", false), ("acn", false), ("", false)] {
                let key = shelved(shelf, name);
                assert_eq!(key >= begin && key < after(&begin), within, "{name}");
            }
            assert!(shelved(shelf, "acme") < shelved_after(shelf, "acme"));
            assert!(shelved_after(shelf, "acme") < shelved(shelf, "acme\u{1}"));
            for other in Shelf::ALL.into_iter().filter(|other| *other != shelf) {
                let (key, all) = (shelved(other, "acme"), shelved(shelf, ""));
                assert!(key < all || key >= after(&all), "{other:?} within {shelf:?}");
            }
        }
        assert!(shelved_of(b"B").is_err() && shelved_of(b"Bx1").is_err() && shelved_of(&[b'B', b't', 255]).is_err());
    }
}
