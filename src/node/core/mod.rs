//! What belongs to one core: who of its connections follows which log, the hints and wakes that other threads left for
//! it, and the task that hands them on. It knows no other core.

mod post;
pub(crate) mod wake;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use crate::bus::Hint;
use crate::model::log::LogId;
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
    /// Who of this core follows a log, by [`Mailbox::id`]. The core's own thread alone takes the lock while sessions
    /// live, so nobody waits for it.
    followers: Mutex<HashMap<LogId, Vec<Arc<Mailbox>>>>,
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
        self.post.leave_hints(hints);
    }

    /// Hints of this log reach the mailbox from now on; false when they did already.
    pub(crate) fn follow(&self, log: &LogId, mailbox: &Arc<Mailbox>) -> bool {
        let mut followers = self.followers();
        if let Some(of_log) = followers.get_mut(log) {
            let Err(at) = of_log.binary_search_by_key(&mailbox.id, |mailbox| mailbox.id) else { return false };
            of_log.insert(at, Arc::clone(mailbox));
        } else {
            followers.insert(log.clone(), vec![Arc::clone(mailbox)]);
        }
        true
    }

    /// Hints of this log reach the mailbox no more.
    pub(crate) fn unfollow(&self, log: &LogId, mailbox: &Mailbox) -> Left {
        let mut followers = self.followers();
        let Entry::Occupied(mut entry) = followers.entry(log.clone()) else { return Left::Unchanged };
        let of_log = entry.get_mut();
        let Ok(at) = of_log.binary_search_by_key(&mailbox.id, |mailbox| mailbox.id) else { return Left::Unchanged };
        of_log.remove(at);
        if of_log.is_empty() {
            entry.remove();
            return Left::Nobody;
        }
        if of_log.len() < of_log.capacity() / 4 {
            of_log.shrink_to(of_log.len() * 2);
        }
        Left::Others
    }

    fn followers(&self) -> MutexGuard<'_, HashMap<LogId, Vec<Arc<Mailbox>>>> {
        self.followers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands on what other threads leave, for ever. Runs on the core.
    pub(crate) async fn attend(self: Arc<Self>) {
        let mut batch = Batch::default();
        let _closed = self.post.close_in_the_end();
        loop {
            poll_fn(|context| self.post.poll(context, &mut batch)).await;
            batch.wakes.drain(..).for_each(|wake| wake.pass());
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
            let Some(first) = hints.first() else { return };
            let of_log = followers.get(first.log()).map_or(&[][..], Vec::as_slice);
            let from = of_log.partition_point(|mailbox| mailbox.id <= batch.reached);
            let rest = &of_log[from..];
            let now = &rest[..rest.len().min(mailboxes_left)];
            now.iter().for_each(|mailbox| mailbox.hints(hints));
            // Looking for followers costs too, even if there are none.
            mailboxes_left -= now.len().max(1);
            match now.last() {
                Some(last) if now.len() < rest.len() => batch.reached = last.id,
                _ => batch.run_done(),
            }
        }
    }
}
