//! How other tasks reach the task that owns a connection: hints and orders, in a queue that cannot grow without bound.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::sync::oneshot;

use crate::bus::Hint;
use crate::model::close::CloseReason;
use crate::model::id::DeviceNumber;
use crate::model::log::{Epoch, LogId, Offset};
use crate::model::standing::Standing;

/// Hints that keep their entry. When more wait, a hint only says how far its log has grown, and hints of one log
/// merge: so the queue is bounded by this number plus the logs that the session follows. A guess: twice the entries
/// that fit one write of 16 KiB at 1 KiB each.
pub(crate) const HINTS_MAX: usize = 32;

/// Questions that may wait in one mailbox. Full: a further one is not taken, and its asker knows nothing. A guess: more than
/// the operators who look at one device at once.
const QUESTIONS_MAX: usize = 16;

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
        /// When it may return: spread over the crowd.
        after: Duration,
        /// How long it has.
        grace: Duration,
        /// Where to; empty: where it was.
        nodes: Arc<[String]>,
    },
    /// Read anew what the device follows. There is at most one, and it comes first: nothing that came after the change
    /// may be looked at before it.
    Changed,
    /// Say where a push stands.
    Question(Question),
}

/// Where does a push stand?
#[derive(Debug)]
pub(crate) struct Question {
    /// Its log.
    pub(crate) log: LogId,
    /// The life of the log.
    pub(crate) epoch: Epoch,
    /// Its place.
    pub(crate) offset: Offset,
    /// Where the answer goes.
    pub(crate) answer: oneshot::Sender<Standing>,
}

/// The mailbox of one connection.
#[derive(Debug)]
pub(crate) struct Mailbox {
    /// Names the mailbox among the followers of a log.
    pub(crate) id: u64,
    /// The device's number, once the store has told it.
    number: OnceLock<DeviceNumber>,
    items: Mutex<VecDeque<Item>>,
    owner: AtomicWaker,
}

impl Mailbox {
    pub(crate) const fn new(id: u64) -> Self {
        Self { id, number: OnceLock::new(), items: Mutex::new(VecDeque::new()), owner: AtomicWaker::new() }
    }

    /// The device's number, once it is known.
    pub(crate) fn number(&self) -> Option<DeviceNumber> {
        self.number.get().copied()
    }

    /// Tells the device's number. It is told once; a second one changes nothing.
    pub(crate) fn is_of(&self, number: DeviceNumber) {
        let _ = self.number.set(number);
    }

    /// Leaves hints, in their order. An online-only push that finds no room is dropped.
    pub(crate) fn hints(&self, hints: &[Arc<Hint>]) {
        let mut items = self.items();
        for hint in hints {
            take_in(&mut items, hint);
        }
        drop(items);
        self.owner.wake();
    }

    /// Leaves an order. There are few in a connection's life: one takeover, a drain each time that nodes change.
    pub(crate) fn order(&self, order: Item) {
        self.items().push_back(order);
        self.owner.wake();
    }

    /// Leaves a question; false when too many wait.
    pub(crate) fn ask(&self, question: Question) -> bool {
        let mut items = self.items();
        if items.iter().filter(|item| matches!(item, Item::Question(_))).count() >= QUESTIONS_MAX {
            return false;
        }
        items.push_back(Item::Question(question));
        drop(items);
        self.owner.wake();
        true
    }

    /// Gives back what was taken and cannot be looked at yet; it stands before what came since. What fills the mailbox
    /// then is merged, so it stays bounded as long as the owner takes nothing before it can look.
    pub(crate) fn put_back(&self, mut rest: VecDeque<Item>) {
        let mut items = self.items();
        rest.append(&mut items);
        *items = rest;
    }

    /// Takes all that waits, in order.
    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<VecDeque<Item>> {
        // Registered first: what arrives after the look wakes the task.
        self.owner.register(context.waker());
        let items = std::mem::take(&mut *self.items());
        if items.is_empty() { Poll::Pending } else { Poll::Ready(items) }
    }

    fn items(&self) -> MutexGuard<'_, VecDeque<Item>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn take_in(items: &mut VecDeque<Item>, hint: &Arc<Hint>) {
    if matches!(&**hint, Hint::Changed { .. }) {
        if !matches!(items.front(), Some(Item::Changed)) {
            items.push_front(Item::Changed);
        }
        return;
    }
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

    use tokio::sync::oneshot;

    use super::{HINTS_MAX, Item, Mailbox, QUESTIONS_MAX, Question};
    use crate::bus::Hint;
    use crate::model::id::{TenantId, TopicName, UserId};
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

    /// What came after a change must not be looked at before it, and a change must not be lost in the crowd.
    #[test]
    fn a_change_comes_first_and_once_however_full_it_is() {
        let mailbox = Mailbox::new(1);
        let log = LogId::Inbox(TenantId::new("t").expect("a name"), UserId::new("u").expect("a name"));
        let grown = |last| Arc::new(Hint::Grown { log: log.clone(), epoch: Epoch(1), last: Offset(last), entry: None });
        let changed = Arc::new(Hint::Changed { log: log.clone() });
        for last in 1..=2 * HINTS_MAX as u64 {
            mailbox.hints(&[grown(last), Arc::clone(&changed)]);
        }
        let take = || match mailbox.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(items) => items,
            Poll::Pending => panic!("nothing waits"),
        };
        let mut items = take();
        assert!(matches!(items.pop_front(), Some(Item::Changed)));
        assert!(!items.iter().any(|item| matches!(item, Item::Changed)), "it came once");
        mailbox.hints(&[grown(100)]);
        mailbox.put_back(items);
        let items = take();
        assert_eq!(items.len(), HINTS_MAX + 1, "what was put back stands first");
        assert!(
            matches!(items.back(), Some(Item::Hint(hint)) if matches!(**hint, Hint::Grown { last: Offset(100), .. }))
        );
    }

    #[test]
    fn questions_are_bounded() {
        let mailbox = Mailbox::new(1);
        let ask = || {
            let log = LogId::Broadcast(TenantId::new("t").expect("a name"));
            mailbox.ask(Question { log, epoch: Epoch(1), offset: Offset(1), answer: oneshot::channel().0 })
        };
        assert!((0..QUESTIONS_MAX).all(|_| ask()));
        assert!(!ask());
        let _ = mailbox.poll(&mut Context::from_waker(Waker::noop()));
        assert!(ask(), "there is room again");
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
