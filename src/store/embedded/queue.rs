//! The queue of writes: bounded in number and bytes, in the order of the calls. It does not know what is written.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::store::Error;

/// A bounded queue with many that push and one that takes.
pub(super) struct Queue<T> {
    /// What waits, and whether more may come.
    state: Mutex<State<T>>,
    /// Signalled when something was pushed or the queue was shut.
    changed: Condvar,
    /// Most items that wait.
    items_max: usize,
    /// Most bytes that wait; a single item may be larger.
    bytes_max: usize,
}

struct State<T> {
    /// Items with their bytes, oldest first.
    waiting: VecDeque<(T, usize)>,
    /// Bytes of all that wait.
    bytes: usize,
    /// The taker waits for an item: only then is it woken, which costs a system call.
    idle: bool,
    /// Set when nothing may be pushed any more: why not.
    shut: Option<Error>,
    /// The taker has stopped: nobody would take what is pushed.
    stopped: bool,
}

impl<T> Queue<T> {
    /// An empty queue.
    pub(super) const fn new(items_max: usize, bytes_max: usize) -> Self {
        let state = State { waiting: VecDeque::new(), bytes: 0, idle: false, shut: None, stopped: false };
        Self { state: Mutex::new(state), changed: Condvar::new(), items_max, bytes_max }
    }

    /// Adds an item at the end.
    pub(super) fn push(&self, item: T, bytes: usize) -> Result<(), Error> {
        let state = self.lock();
        if let Some(error) = &state.shut {
            return Err(error.clone());
        }
        let overflows = state.bytes + bytes > self.bytes_max && !state.waiting.is_empty();
        if overflows || state.waiting.len() >= self.items_max {
            return Err(Error::Busy);
        }
        self.put(state, item, bytes);
        Ok(())
    }

    /// Adds an item at the end, also when the queue is full: for what is bounded by something else.
    pub(super) fn push_beyond(&self, item: T, bytes: usize) -> Result<(), Error> {
        let state = self.lock();
        if let Some(error) = &state.shut {
            return Err(error.clone());
        }
        self.put(state, item, bytes);
        Ok(())
    }

    /// Adds a last item, also when the queue is full or shut, and shuts it. `Ok(false)` when the taker had stopped
    /// orderly before.
    pub(super) fn push_last(&self, item: T, why: Error) -> Result<bool, Error> {
        let mut state = self.lock();
        if state.stopped {
            return match &state.shut {
                Some(error) if *error != why => Err(error.clone()),
                _ => Ok(false),
            };
        }
        state.shut.get_or_insert(why);
        self.put(state, item, 0);
        Ok(true)
    }

    /// Lets nothing in any more; what waits is still taken.
    pub(super) fn shut(&self, why: Error) {
        self.lock().shut.get_or_insert(why);
        self.changed.notify_one();
    }

    /// The taker stops early because of an error. Returns what nobody will take.
    pub(super) fn fail(&self, why: Error) -> Vec<T> {
        let mut state = self.lock();
        state.stopped = true;
        state.shut = Some(why);
        state.bytes = 0;
        state.waiting.drain(..).map(|(item, _)| item).collect()
    }

    /// Takes the oldest items with their bytes, at most so many and about so many bytes, in place of what is in `into`;
    /// waits until there is one. `false` when the queue is shut and empty; that is the last call.
    pub(super) fn take(&self, items: usize, bytes: usize, into: &mut VecDeque<(T, usize)>) -> bool {
        into.clear();
        let mut state = self.lock();
        while state.waiting.is_empty() {
            if state.shut.is_some() {
                state.stopped = true;
                return false;
            }
            state.idle = true;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle = false;
        }
        if state.waiting.len() <= items && state.bytes <= bytes {
            // As a rule all of it: those who push do not wait until it was moved one by one.
            mem::swap(&mut state.waiting, into);
            state.bytes = 0;
            return true;
        }
        let (mut count, mut taken) = (0, 0);
        for (_, size) in state.waiting.iter().take(items) {
            if taken >= bytes {
                break;
            }
            (count, taken) = (count + 1, taken + size);
        }
        into.extend(state.waiting.drain(..count));
        state.bytes -= taken;
        true
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    fn put(&self, mut state: MutexGuard<'_, State<T>>, item: T, bytes: usize) {
        state.bytes += bytes;
        state.waiting.push_back((item, bytes));
        let idle = state.idle;
        drop(state);
        if idle {
            self.changed.notify_one();
        }
    }

    /// A panic elsewhere does not harm plain data that is whole between statements.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::Queue;
    use crate::store::Error;

    fn closed() -> Error {
        Error::Failed("closed".to_owned())
    }

    #[test]
    fn what_does_not_fit_is_refused_and_the_order_is_kept() {
        let queue = Queue::new(3, 10);
        assert_eq!(queue.push('a', 50), Ok(()), "one item may be larger than the bound");
        assert_eq!(queue.push('b', 1), Err(Error::Busy));
        let mut taken = VecDeque::new();
        assert!(queue.take(9, 9, &mut taken));
        assert_eq!(taken, [('a', 50)]);
        for item in ['c', 'd', 'e'] {
            assert_eq!(queue.push(item, 3), Ok(()));
        }
        assert_eq!(queue.push('f', 0), Err(Error::Busy));
        assert!(queue.take(9, 4, &mut taken));
        assert_eq!(taken, [('c', 3), ('d', 3)]);
        assert_eq!(queue.len(), 1);
        assert_eq!(queue.push('g', 8), Err(Error::Busy), "the bytes of what waits still count");
        assert_eq!(queue.push('g', 7), Ok(()));
        assert!(queue.take(1, 99, &mut taken));
        assert_eq!(taken, [('e', 3)]);
        assert!(queue.take(9, 99, &mut taken));
        assert_eq!(taken, [('g', 7)]);
        assert_eq!(queue.push('h', 10), Ok(()));
    }

    #[test]
    fn a_shut_queue_is_emptied_and_then_ends() {
        let queue = Queue::new(1, 10);
        queue.push('a', 1).unwrap();
        assert_eq!(queue.push_last('z', closed()), Ok(true), "the last item goes in although the queue is full");
        assert_eq!(queue.push('b', 1), Err(closed()));
        let mut taken = VecDeque::new();
        assert!(queue.take(9, 9, &mut taken));
        assert_eq!(taken, [('a', 1), ('z', 0)]);
        assert!(!queue.take(9, 9, &mut taken));
        assert_eq!(queue.push_last('z', closed()), Ok(false));
    }

    #[test]
    fn a_taker_that_failed_leaves_its_reason() {
        let queue = Queue::new(5, 10);
        queue.push('a', 1).unwrap();
        let broken = Error::Failed("disk".to_owned());
        assert_eq!(queue.fail(broken.clone()), ['a']);
        assert_eq!(queue.push('b', 1), Err(broken.clone()));
        assert_eq!(queue.push_last('z', closed()), Err(broken));
    }
}
