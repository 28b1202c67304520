//! The hints that other threads leave for a core. Whoever finds it asleep wakes it once; what comes until the core looks
//! travels with that one wake, which costs a system call. Bounded; it hands nothing on.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::bus::Hint;
use crate::model::log::{Epoch, LogId, Offset};
use crate::node::core::followers::Rank;

/// Hints that wait, and bytes of their entries. When more wait, a hint only says how far its log has grown, and
/// hints of one log merge: so what waits is bounded by these and by the logs that the core's sessions follow. An online-only
/// push that finds no room is dropped. Guesses: what a core hands on in some tens of milliseconds.
const HINTS_MAX: usize = 4_096;
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// The post of a core.
#[derive(Default)]
pub(super) struct Post(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    hints: Vec<Arc<Hint>>,
    /// Bytes of the entries in `hints`.
    bytes: usize,
    /// Logs of which a hint found no room.
    merged: HashMap<LogId, Merged>,
    /// The core's attendant, if it found nothing to do.
    asleep: Option<Waker>,
}

/// What the hints of a log said that found no room.
#[derive(Default)]
struct Merged {
    /// How far it has grown.
    grown: Option<(Epoch, Offset)>,
    /// What its user follows has changed.
    changed: bool,
}

/// What the attendant has taken.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) hints: Vec<Arc<Hint>>,
    /// Those of `hints` that are being handed on: neighbours of one log.
    pub(super) run: Range<usize>,
    /// The follower that was the last to get `run`.
    pub(super) reached: Rank,
}

impl Post {
    /// Leaves hints, in their order.
    pub(super) fn leave<'a>(&self, hints: impl Iterator<Item = &'a Arc<Hint>>) {
        let mut waiting = self.lock();
        hints.for_each(|hint| waiting.take_in(hint));
        let asleep = waiting.asleep.take();
        drop(waiting);
        if let Some(attendant) = asleep {
            attendant.wake();
        }
    }

    /// Takes all that waits, unless what was taken before is not yet handed on. Ready when there is something to hand on.
    pub(super) fn poll(&self, context: &Context<'_>, batch: &mut Batch) -> Poll<()> {
        if !batch.hints.is_empty() {
            return Poll::Ready(());
        }
        let mut waiting = self.lock();
        std::mem::swap(&mut waiting.hints, &mut batch.hints);
        waiting.bytes = 0;
        // They come last: they tell no more than where the logs ended when all that was taken had come. All changes come
        // before all that grew: what was pushed to a topic after a user left it is not looked at before the user has left.
        let merged = std::mem::take(&mut waiting.merged);
        let changed = merged.iter().filter(|(_, merged)| merged.changed);
        batch.hints.extend(changed.map(|(log, _)| Arc::new(Hint::Changed { log: log.clone() })));
        let grown = merged.into_iter().filter_map(|(log, merged)| Some((log, merged.grown?)));
        let grown = grown.map(|(log, (epoch, last))| Hint::Grown { log, epoch, last, entry: None });
        batch.hints.extend(grown.map(Arc::new));
        if batch.hints.is_empty() {
            waiting.asleep = Some(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.lock().hints.len()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn take_in(&mut self, hint: &Arc<Hint>) {
        let bytes = hint.entry().map_or(0, |entry| entry.body.len());
        if self.hints.len() < HINTS_MAX && self.bytes + bytes <= BYTES_MAX {
            self.bytes += bytes;
            self.hints.push(Arc::clone(hint));
            return;
        }
        match &**hint {
            Hint::Online { .. } => {}
            Hint::Changed { log } => self.merged(log).changed = true,
            Hint::Grown { log, epoch, last, .. } => {
                let grown = &mut self.merged(log).grown;
                *grown = match *grown {
                    Some((life, upto)) if life == *epoch => Some((life, upto.max(*last))),
                    _ => Some((*epoch, *last)),
                };
            }
        }
    }

    fn merged(&mut self, log: &LogId) -> &mut Merged {
        self.merged.entry(log.clone()).or_default()
    }
}

impl Batch {
    /// Begins the next run: neighbours of one log, at most `most`. It is empty when all hints were handed on. A hint of
    /// the broadcast log is alone in its run, because each may be for others.
    pub(super) fn next_run(&mut self, most: usize) {
        let from = self.run.end;
        let rest = &self.hints[from..];
        let same = |hint: &&Arc<Hint>| rest.first().is_some_and(|first| first.log() == hint.log());
        let alone = matches!(rest.first().map(|hint| hint.log()), Some(LogId::Broadcast(_)));
        let most = if alone { most.min(1) } else { most };
        self.run = from..from + rest.iter().take(most).take_while(same).count();
        self.reached = Rank::default();
    }

    /// The run was handed on.
    pub(super) fn run_done(&mut self) {
        self.run.start = self.run.end;
        if self.run.end == self.hints.len() {
            self.hints.clear();
            self.run = 0..0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::{Context, Waker};

    use super::{BYTES_MAX, Batch, HINTS_MAX, Post};
    use crate::bus::Hint;
    use crate::model::clock::Timestamp;
    use crate::model::id::{MessageId, TenantId, TopicName};
    use crate::model::log::{Epoch, LogId, Offset};
    use crate::model::message::{Entry, Urgency};

    fn log(topic: &str) -> LogId {
        LogId::Topic(TenantId::new("t").expect("a name"), TopicName::new(topic).expect("a name"))
    }

    fn entry(last: u64, bytes: usize) -> Entry {
        Entry {
            offset: Offset(last),
            id: MessageId::new(1, [0; 10]),
            accepted_at: Timestamp::ZERO,
            expires_at: Timestamp::ZERO,
            urgency: Urgency::Normal,
            device: None,
            aim: None,
            receipts: true,
            body: vec![0; bytes].into(),
        }
    }

    fn grown(topic: &str, last: u64, bytes: usize) -> Arc<Hint> {
        let entry = Some(entry(last, bytes));
        Arc::new(Hint::Grown { log: log(topic), epoch: Epoch(1), last: Offset(last), entry })
    }

    fn taken(post: &Post) -> Vec<Arc<Hint>> {
        let mut batch = Batch::default();
        let _ = post.poll(&Context::from_waker(Waker::noop()), &mut batch);
        batch.hints
    }

    #[test]
    fn a_full_post_merges_hints_by_log_and_stays_bounded() {
        let post = Post::default();
        for last in 1..=HINTS_MAX as u64 {
            post.leave([grown("a", last, 1), grown("b", last, 1)].iter());
        }
        post.leave([Arc::new(Hint::Online { log: log("a"), entry: entry(0, 1) })].iter());
        let hints = taken(&post);
        assert_eq!(hints.len(), HINTS_MAX + 2);
        let (kept, merged) = hints.split_at(HINTS_MAX);
        assert!(kept.iter().all(|hint| hint.entry().is_some()));
        for hint in merged {
            let Hint::Grown { last, entry: None, .. } = &**hint else { panic!("{hint:?}") };
            assert_eq!(last.0, HINTS_MAX as u64);
        }
        post.leave([grown("a", 1, 1)].iter());
        assert_eq!(taken(&post).len(), 1, "there is room again");
    }

    #[test]
    fn a_change_finds_room_in_a_full_post_and_comes_before_what_grew() {
        let post = Post::default();
        post.leave((1..=HINTS_MAX as u64).map(|last| grown("a", last, 1)).collect::<Vec<_>>().iter());
        post.leave([grown("b", 1, 1), Arc::new(Hint::Changed { log: log("b") }), grown("b", 2, 1)].iter());
        let hints = taken(&post);
        let [changed, grown] = &hints[HINTS_MAX..] else { panic!("{} hints", hints.len()) };
        assert!(matches!(&**changed, Hint::Changed { log: of } if *of == log("b")));
        assert!(matches!(&**grown, Hint::Grown { last: Offset(2), .. }));
    }

    /// The log of a change is its user's, and what must not be looked at before it is in others.
    #[test]
    fn changes_of_many_come_before_all_that_grew() {
        let post = Post::default();
        post.leave((1..=HINTS_MAX as u64).map(|last| grown("a", last, 1)).collect::<Vec<_>>().iter());
        for n in 0..20 {
            post.leave(
                [Arc::new(Hint::Changed { log: log(&format!("user-{n}")) }), grown(&format!("{n}"), 1, 1)].iter(),
            );
        }
        let is_change = |hint: &Arc<Hint>| matches!(&**hint, Hint::Changed { .. });
        let hints = taken(&post);
        let merged = &hints[HINTS_MAX..];
        assert!(merged.len() == 40 && merged[..20].iter().all(is_change) && !merged[20..].iter().any(is_change));
    }

    #[test]
    fn large_entries_are_left_to_the_log() {
        let post = Post::default();
        post.leave((1..=9).map(|last| grown("a", last, BYTES_MAX / 4)).collect::<Vec<_>>().iter());
        let hints = taken(&post);
        assert_eq!(hints.iter().filter(|hint| hint.entry().is_some()).count(), 4);
        assert!(matches!(&**hints.last().expect("some"), Hint::Grown { last: Offset(9), entry: None, .. }));
    }
}
