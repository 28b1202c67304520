//! Room for the bytes of one TLS record while it is read, sealed or gathered: borrowed for one poll, so that no
//! connection owns any while it waits. It keeps no content and knows nothing of TLS.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// The largest record with all that may go before it in one write: 16 KiB of content, header, nonce and tag (RFC 8446,
/// section 5.2, allows 256 bytes on top, TLS 1.2 in this library less), and an alert or a key update that was queued.
const BYTES: usize = 18 * 1024;

/// Buffers a thread keeps for its next polls: one poll uses two at most (gather, seal).
const KEPT: usize = 2;

thread_local! {
    static FREE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer of [`BYTES`] with arbitrary content. Goes back to its thread's few when dropped.
pub(super) struct Scratch(Option<Box<[u8]>>);

impl Scratch {
    /// Takes one of the thread's, or makes one.
    pub(super) fn take() -> Self {
        let kept = FREE.with(|free| free.borrow_mut().pop());
        Self(Some(kept.unwrap_or_else(|| vec![0; BYTES].into())))
    }
}

impl Deref for Scratch {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or(&[])
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.0.as_deref_mut().unwrap_or(&mut [])
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let Some(buffer) = self.0.take() else { return };
        // A thread that is ending has no place for it any more: then it is freed.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < KEPT {
                free.push(buffer);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{BYTES, KEPT, Scratch};

    #[test]
    fn a_thread_keeps_a_few() {
        let many: Vec<_> = (0..KEPT + 3).map(|_| Scratch::take()).collect();
        assert!(many.iter().all(|scratch| scratch.len() == BYTES));
        drop(many);
        assert_eq!(super::FREE.with(|free| free.borrow().len()), KEPT);
        let first = Scratch::take();
        let second = Scratch::take();
        assert_eq!(super::FREE.with(|free| free.borrow().len()), 0);
        drop((first, second));
    }
}
