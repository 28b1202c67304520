//! A buffer that goes back to its tier when it is dropped, wherever that is. What was in it cannot be read by whoever
//! gets it next.

use std::fmt;
use std::ops::{Deref, DerefMut};

use bytes::Bytes;

use crate::pool::tier::Pool;

/// A growable buffer on loan. It is a `Vec<u8>` to those who write, and so a `BufMut`.
pub struct Block {
    pool: &'static Pool,
    bytes: Vec<u8>,
    /// Where it goes back to; `None` when nobody waits for it.
    home: Option<Home>,
}

/// A place on a tier's shelves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Home {
    /// Whose shelf.
    pub(super) shelf: u8,
    pub(super) kind: Kind,
}

/// What a block is to its tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One of a class, by its number.
    Class(u8),
    /// Allocated plainly; so many bytes were counted.
    Plain(usize),
}

impl Block {
    #[inline]
    pub(super) const fn new(pool: &'static Pool, bytes: Vec<u8>, home: Option<Home>) -> Self {
        Self { pool, bytes, home }
    }

    /// Makes room for `more` bytes. What no longer fits moves to a larger block of the tier; `Vec`'s own growth would
    /// make it something that the tier cannot use again.
    #[inline]
    pub fn reserve(&mut self, more: usize) {
        let wanted = self.bytes.len() + more;
        if wanted <= self.bytes.capacity() {
            return;
        }
        // At least the double, so that a buffer that grows byte by byte is copied a few times only.
        let mut larger = self.pool.take(wanted.max(2 * self.bytes.capacity()));
        larger.bytes.extend_from_slice(&self.bytes);
        *self = larger;
    }

    /// What was written, to be shared without a copy. The block goes back with the last clone.
    #[must_use]
    pub fn into_bytes(mut self) -> Bytes {
        match self.home {
            Some(_) if !self.bytes.is_empty() => Bytes::from_owner(self),
            // Nobody waits for it, and `Bytes` keeps a plain buffer without an allocation of its own.
            None => Bytes::from(std::mem::take(&mut self.bytes)),
            Some(_) => Bytes::new(),
        }
    }
}

impl Drop for Block {
    #[inline]
    fn drop(&mut self) {
        if let Some(home) = self.home {
            let mut bytes = std::mem::take(&mut self.bytes);
            // With no length there is nothing to read: the next user sees only what he writes.
            bytes.clear();
            self.pool.put(bytes, home);
        }
    }
}

impl Deref for Block {
    type Target = Vec<u8>;

    #[inline]
    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for Block {
    #[inline]
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Block {
    /// Never what is in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (length, capacity) = (self.bytes.len(), self.bytes.capacity());
        f.debug_struct("Block").field("length", &length).field("capacity", &capacity).field("home", &self.home).finish()
    }
}
