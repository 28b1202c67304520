//! What belongs to one core: who of its connections follows which log, the hints that other threads left for it, and the
//! task that hands them on. It knows no other core.

mod followers;
mod post;

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use crate::bus::Hint;
use crate::model::log::LogId;
use crate::node::core::followers::Followers;
use crate::node::core::post::{Batch, Post};
use crate::node::mailbox::{HINTS_MAX, Mailbox};

/// Mailboxes that hints are left in before the connections have their turn. A guess: some 100 microseconds of work.
const MAILBOXES_A_TURN: usize = 1_024;

/// Hints that are handed on before the connections have their turn: as many as a mailbox keeps with their entries, so
/// that a connection which follows all of their logs still need not read.
const HINTS_A_TURN: usize = HINTS_MAX;

/// One core.
pub(crate) struct Core {
    /// Its place among the cores of the node.
    pub(crate) number: usize,
    /// Who of this core follows a log. As a rule the core's own thread alone takes the lock while sessions live, so nobody
    /// waits for it.
    followers: Mutex<Followers>,
    /// What other threads leave.
    post: Post,
}

/// What is left of a log's followers on this core when one has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// It did not follow the log.
    Unchanged,
    /// Others still do.
    Others,
    /// Nobody.
    Nobody,
}

impl Core {
    pub(crate) fn new(number: usize) -> Self {
        Self { number, followers: Mutex::default(), post: Post::default() }
    }

    /// The core among the cores of a log, see [`CORES_MAX`](crate::node::cores::CORES_MAX).
    pub(crate) const fn bit(&self) -> u64 {
        1 << self.number
    }

    /// Leaves hints, from any thread.
    pub(crate) fn hand<'a>(&self, hints: impl Iterator<Item = &'a Arc<Hint>>) {
        self.post.leave(hints);
    }

    /// Hints of this log reach the mailbox from now on; false when they did already.
    pub(crate) fn follow(&self, log: &LogId, mailbox: &Arc<Mailbox>) -> bool {
        self.followers().add(log, mailbox)
    }

    /// Whether hints of this log reach the mailbox.
    pub(crate) fn has(&self, log: &LogId, mailbox: &Mailbox) -> bool {
        self.followers().contains(log, mailbox)
    }

    /// Hints of this log reach the mailbox no more.
    pub(crate) fn unfollow(&self, log: &LogId, mailbox: &Mailbox) -> Left {
        self.followers().remove(log, mailbox)
    }

    /// Hints that were not taken yet.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.post.waiting()
    }

    fn followers(&self) -> MutexGuard<'_, Followers> {
        self.followers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands on what other threads leave, for ever. Runs on the core.
    pub(crate) async fn attend(self: Arc<Self>) {
        let mut batch = Batch::default();
        loop {
            poll_fn(|context| self.post.poll(context, &mut batch)).await;
            self.hand_on(&mut batch);
            let mut yielded = false;
            // The connections that were woken stand in line before this task: they empty their mailboxes first. Not
            // tokio's own yield, which looks at the sockets each time.
            poll_fn(|context| {
                if std::mem::replace(&mut yielded, true) {
                    return Poll::Ready(());
                }
                context.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
        }
    }

    /// Leaves hints in mailboxes, as many as one turn allows.
    fn hand_on(&self, batch: &mut Batch) {
        let followers = self.followers();
        let (mut mailboxes_left, mut hints_left) = (MAILBOXES_A_TURN, HINTS_A_TURN);
        while mailboxes_left > 0 {
            if batch.run.is_empty() {
                batch.next_run(hints_left);
                hints_left -= batch.run.len();
            }
            let hints = &batch.hints[batch.run.clone()];
            if hints.is_empty() {
                return;
            }
            let (looked, all) = followers.hand(hints, &mut batch.reached, mailboxes_left);
            // Looking for followers costs too, even if there are none.
            mailboxes_left -= looked.max(1);
            if all {
                batch.run_done();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Wake, Waker};

    use super::{Core, HINTS_A_TURN, Left, MAILBOXES_A_TURN};
    use crate::bus::Hint;
    use crate::model::id::{TenantId, TopicName};
    use crate::model::log::{Epoch, LogId, Offset};
    use crate::node::mailbox::{Item, Mailbox};

    fn log(topic: &str) -> LogId {
        LogId::Topic(TenantId::new("t").expect("a name"), TopicName::new(topic).expect("a name"))
    }

    fn grown(topic: &str, last: u64) -> Arc<Hint> {
        Arc::new(Hint::Grown { log: log(topic), epoch: Epoch(1), last: Offset(last), entry: None })
    }

    /// Hints that wait in a mailbox as they came, by their offsets.
    fn waiting(mailbox: &Mailbox) -> Vec<u64> {
        let offset = |item| match item {
            Item::Hint(hint) => match &*hint {
                Hint::Grown { last, .. } => last.0,
                Hint::Online { .. } | Hint::Changed { .. } => 0,
            },
            other => panic!("{other:?}"),
        };
        match mailbox.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(items) => items.into_iter().map(offset).collect(),
            Poll::Pending => Vec::new(),
        }
    }

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One poll of an attendant: one turn.
    fn turn(attendant: std::pin::Pin<&mut impl Future>, waker: &Waker) {
        assert!(attendant.poll(&mut Context::from_waker(waker)).is_pending(), "it attends for ever");
    }

    #[test]
    fn a_turn_is_bounded_and_who_leaves_meanwhile_costs_nobody_a_hint() {
        let core = Arc::new(Core::new(0));
        let all: Vec<_> = (1..=3 * MAILBOXES_A_TURN as u64).map(|id| Arc::new(Mailbox::new(id))).collect();
        assert!(all.iter().all(|mailbox| core.follow(&log("a"), mailbox)));
        core.hand([grown("a", 1), grown("b", 1), grown("a", 2)].iter());
        let mut attendant = Box::pin(Arc::clone(&core).attend());
        turn(attendant.as_mut(), Waker::noop());
        let reached = all.iter().position(|mailbox| waiting(mailbox).is_empty());
        assert_eq!(reached, Some(MAILBOXES_A_TURN));
        let (left, stayed) = all[MAILBOXES_A_TURN..].split_at(5);
        for gone in left.iter().chain(&all[..5]) {
            assert_eq!(core.unfollow(&log("a"), gone), Left::Others);
        }
        (0..9).for_each(|_| turn(attendant.as_mut(), Waker::noop()));
        assert!(stayed.iter().all(|mailbox| waiting(mailbox) == [1, 2]));
        assert!(left.iter().all(|mailbox| waiting(mailbox).is_empty()));
    }

    /// More would find no room in a mailbox, and its owner would have to read.
    #[test]
    fn a_turn_hands_on_no_more_hints_than_a_mailbox_keeps() {
        let core = Arc::new(Core::new(0));
        let mailbox = Arc::new(Mailbox::new(1));
        core.follow(&log("a"), &mailbox);
        let many = 5 * HINTS_A_TURN as u64;
        let hints: Vec<_> = (1..=many).map(|last| grown("a", last)).collect();
        core.hand(hints.iter());
        let mut attendant = Box::pin(Arc::clone(&core).attend());
        let mut got = Vec::new();
        for _ in 0..9 {
            turn(attendant.as_mut(), Waker::noop());
            got.extend(waiting(&mailbox));
        }
        assert_eq!(got, (1..=many).collect::<Vec<_>>());
    }

    #[test]
    fn what_comes_together_wakes_the_core_once() {
        let core = Arc::new(Core::new(0));
        let count = Arc::new(Count::default());
        let mut attendant = Box::pin(Arc::clone(&core).attend());
        let waker = Waker::from(Arc::clone(&count));
        turn(attendant.as_mut(), &waker);
        (1..=100).for_each(|last| core.hand([grown("a", last)].iter()));
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }
}
