//! The process tier: room that a thread works in for a moment, the same for each of its connections. Initialised once,
//! not each time, and kept without a lock: what it is used for happens several times a delivery.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::pool::tier::Usage;

/// The largest TLS record with all that may go before it in one write: 16 KiB of content, header, nonce and tag (RFC 8446,
/// section 5.2, allows 256 bytes on top, TLS 1.2 in rustls less), and an alert or a key update that was queued.
pub const SCRATCH_BYTES: usize = 18 * 1024;

/// Buffers that a thread keeps: one use needs two at most (gather, seal).
const KEPT: usize = 2;

/// Buffers made, and those that are no more. Uses are not counted: counting would cost more than the use.
static MADE: AtomicU64 = AtomicU64::new(0);
static FREED: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static FREE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// [`SCRATCH_BYTES`] bytes of arbitrary content, which may be another connection's: read only what you have written.
/// Goes back to the thread's few when dropped; a thread that ends frees them.
pub struct Scratch(Option<Box<[u8]>>);

impl Scratch {
    /// Takes one of the thread's, or makes one.
    #[must_use]
    #[inline]
    pub fn take() -> Self {
        let kept = FREE.with(|free| free.borrow_mut().pop());
        Self(Some(kept.unwrap_or_else(|| {
            MADE.fetch_add(1, Ordering::Relaxed);
            vec![0; SCRATCH_BYTES].into()
        })))
    }

    /// What the tier holds: all of it counts as used, because the threads use it all the time.
    pub(super) fn usage() -> Usage {
        let (freed, made) = (FREED.load(Ordering::Relaxed), MADE.load(Ordering::Relaxed));
        Usage { used_bytes: made.saturating_sub(freed) * SCRATCH_BYTES as u64, misses: made, ..Usage::default() }
    }
}

impl Deref for Scratch {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or(&[])
    }
}

impl DerefMut for Scratch {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        self.0.as_deref_mut().unwrap_or(&mut [])
    }
}

impl Drop for Scratch {
    #[inline]
    fn drop(&mut self) {
        let mut buffer = self.0.take();
        // A thread that is ending has no place for it any more: then it is freed.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < KEPT {
                free.extend(buffer.take());
            }
        });
        if buffer.is_some() {
            FREED.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FREE, KEPT, SCRATCH_BYTES, Scratch};

    #[test]
    fn a_thread_keeps_a_few() {
        let many: Vec<_> = (0..KEPT + 3).map(|_| Scratch::take()).collect();
        assert!(many.iter().all(|scratch| scratch.len() == SCRATCH_BYTES));
        let place = many[0].as_ptr();
        drop(many);
        assert_eq!(FREE.with(|free| free.borrow().len()), KEPT);
        let (first, second) = (Scratch::take(), Scratch::take());
        assert!(first.as_ptr() == place || second.as_ptr() == place, "it is the same memory again");
        assert_eq!(FREE.with(|free| free.borrow().len()), 0);
        assert!(Scratch::usage().used_bytes >= 2 * SCRATCH_BYTES as u64);
    }
}
