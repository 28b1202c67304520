//! How other tasks reach the task that owns a connection: hints and orders, in a queue that cannot grow without bound.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

use crate::bus::Hint;
use crate::model::close::CloseReason;
use crate::model::log::{Epoch, LogId, Offset};

/// Hints that keep their entry. When more wait, a hint only says how far its log has grown, and hints of one log
/// merge: so the queue is bounded by this number plus the logs that the session follows. A guess: twice the entries
/// that fit one write of 16 KiB at 1 KiB each.
pub(crate) const HINTS_MAX: usize = 32;

/// Something for the owner of a connection.
#[derive(Debug)]
pub(crate) enum Item {
    /// A hint as it came.
    Hint(Arc<Hint>),
    /// Several hints of one log, or one that came when many waited.
    Grown(LogId, Epoch, Offset),
    /// End the session.
    Close(CloseReason),
    /// Ask the device to move.
    Drain {
        /// When it may return, and how long it has: spread over the crowd.
        after: std::time::Duration,
    },
}

/// The mailbox of one connection.
#[derive(Debug)]
pub(crate) struct Mailbox {
    /// Names the mailbox among the followers of a log.
    pub(crate) id: u64,
    items: Mutex<VecDeque<Item>>,
    owner: AtomicWaker,
}

impl Mailbox {
    pub(crate) const fn new(id: u64) -> Self {
        Self { id, items: Mutex::new(VecDeque::new()), owner: AtomicWaker::new() }
    }

    /// Leaves hints, in their order. An online-only push that finds no room is dropped.
    pub(crate) fn hints(&self, hints: &[Arc<Hint>]) {
        let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        for hint in hints {
            take_in(&mut items, hint);
        }
        drop(items);
        self.owner.wake();
    }

    /// Leaves an order. There are few in a connection's life: one takeover, one drain.
    pub(crate) fn order(&self, order: Item) {
        self.items.lock().unwrap_or_else(PoisonError::into_inner).push_back(order);
        self.owner.wake();
    }

    /// Takes all that waits, in order.
    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<VecDeque<Item>> {
        // Registered first: what arrives after the look wakes the task.
        self.owner.register(context.waker());
        let items = std::mem::take(&mut *self.items.lock().unwrap_or_else(PoisonError::into_inner));
        if items.is_empty() { Poll::Pending } else { Poll::Ready(items) }
    }
}

fn take_in(items: &mut VecDeque<Item>, hint: &Arc<Hint>) {
    if items.len() < HINTS_MAX {
        return items.push_back(Item::Hint(Arc::clone(hint)));
    }
    let Hint::Grown { log, epoch, last, .. } = &**hint else { return };
    let merged = items.iter_mut().rev().find_map(|item| match item {
        Item::Grown(of, life, upto) if of == log => Some((life, upto)),
        _ => None,
    });
    match merged {
        // Pushes that are answered together may be hinted in any order.
        Some((life, upto)) if *life == *epoch => *upto = (*upto).max(*last),
        Some((life, upto)) => (*life, *upto) = (*epoch, *last),
        None => items.push_back(Item::Grown(log.clone(), *epoch, *last)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::{Context, Poll, Waker};

    use super::{HINTS_MAX, Item, Mailbox};
    use crate::bus::Hint;
    use crate::model::id::{TenantId, TopicName};
    use crate::model::log::{Epoch, LogId, Offset};

    #[test]
    fn a_full_mailbox_merges_hints_and_stays_bounded() {
        let mailbox = Mailbox::new(1);
        let log = |topic| LogId::Topic(TenantId::new("t").expect("a name"), TopicName::new(topic).expect("a name"));
        let grown =
            |topic, last| Arc::new(Hint::Grown { log: log(topic), epoch: Epoch(1), last: Offset(last), entry: None });
        for last in 1..=10_000 {
            mailbox.hints(&[grown("a", last), grown("b", last)]);
        }
        let Poll::Ready(items) = mailbox.poll(&mut Context::from_waker(Waker::noop())) else { panic!("nothing waits") };
        assert_eq!(items.len(), HINTS_MAX + 2);
        let newest: Vec<_> = items.iter().rev().take(2).collect();
        assert!(newest.iter().all(|item| matches!(item, Item::Grown(_, _, Offset(10_000)))), "{newest:?}");
        assert!(mailbox.poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }

    #[test]
    fn hints_that_come_in_another_order_merge_to_the_newest() {
        let mailbox = Mailbox::new(1);
        let log = LogId::Topic(TenantId::new("t").expect("a name"), TopicName::new("a").expect("a name"));
        let grown = |last| Arc::new(Hint::Grown { log: log.clone(), epoch: Epoch(1), last: Offset(last), entry: None });
        for last in (1..=HINTS_MAX as u64).chain([99, 98]) {
            mailbox.hints(&[grown(last)]);
        }
        let Poll::Ready(items) = mailbox.poll(&mut Context::from_waker(Waker::noop())) else { panic!("nothing waits") };
        assert!(matches!(items.back(), Some(Item::Grown(_, _, Offset(99)))), "{:?}", items.back());
    }
}
