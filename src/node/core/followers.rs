//! Who of one core follows which log. It knows in what order, so that handing on can stop and go on.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use crate::bus::Hint;
use crate::model::id::DeviceNumber;
use crate::model::log::LogId;
use crate::node::core::Left;
use crate::node::mailbox::Mailbox;

/// A follower's place among those of a log: the device's number (zero where it does not matter), then [`Mailbox::id`]. The
/// older connection of a device may still be there when the newer one comes, under the same number.
pub(super) type Rank = (DeviceNumber, u64);

/// The followers of one core.
#[derive(Default)]
pub(super) struct Followers {
    /// Of inboxes and topics, by [`Mailbox::id`].
    by_log: HashMap<LogId, Vec<Arc<Mailbox>>>,
    /// Of broadcast logs, by rank: what is appended there is for sets of numbers.
    by_number: HashMap<LogId, BTreeMap<Rank, Arc<Mailbox>>>,
}

impl Followers {
    /// Adds one; false when it was there.
    pub(super) fn add(&mut self, log: &LogId, mailbox: &Arc<Mailbox>) -> bool {
        if let LogId::Broadcast(_) = log {
            let of_log = self.by_number.entry(log.clone()).or_default();
            return of_log.insert(rank(mailbox), Arc::clone(mailbox)).is_none();
        }
        if let Some(of_log) = self.by_log.get_mut(log) {
            let Err(at) = of_log.binary_search_by_key(&mailbox.id, |mailbox| mailbox.id) else { return false };
            of_log.insert(at, Arc::clone(mailbox));
        } else {
            self.by_log.insert(log.clone(), vec![Arc::clone(mailbox)]);
        }
        true
    }

    /// Takes one out.
    pub(super) fn remove(&mut self, log: &LogId, mailbox: &Mailbox) -> Left {
        if let LogId::Broadcast(_) = log {
            let Entry::Occupied(mut entry) = self.by_number.entry(log.clone()) else { return Left::Unchanged };
            if entry.get_mut().remove(&rank(mailbox)).is_none() {
                return Left::Unchanged;
            }
            if entry.get().is_empty() {
                entry.remove();
                return Left::Nobody;
            }
            return Left::Others;
        }
        let Entry::Occupied(mut entry) = self.by_log.entry(log.clone()) else { return Left::Unchanged };
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

    /// Whether a mailbox follows a log.
    pub(super) fn contains(&self, log: &LogId, mailbox: &Mailbox) -> bool {
        if let LogId::Broadcast(_) = log {
            return self.by_number.get(log).is_some_and(|of_log| of_log.contains_key(&rank(mailbox)));
        }
        let of_log = self.by_log.get(log);
        of_log.is_some_and(|of_log| of_log.binary_search_by_key(&mailbox.id, |mailbox| mailbox.id).is_ok())
    }

    /// Leaves hints of one log with those who follow it and come after `reached`, looking at no more than `most` of them.
    /// Gives how many it looked at, and whether those were all. A hint of a broadcast log, which comes alone, is left only
    /// with those in its audience.
    pub(super) fn hand(&self, hints: &[Arc<Hint>], reached: &mut Rank, most: usize) -> (usize, bool) {
        let Some(log) = hints.first().map(|hint| hint.log()) else { return (0, true) };
        if let LogId::Broadcast(_) = log {
            return self.by_number.get(log).map_or((0, true), |of_log| hand_to_audience(of_log, hints, reached, most));
        }
        let of_log = self.by_log.get(log).map_or(&[][..], Vec::as_slice);
        let rest = &of_log[of_log.partition_point(|mailbox| mailbox.id <= reached.1)..];
        let now = &rest[..rest.len().min(most)];
        now.iter().for_each(|mailbox| mailbox.hints(hints));
        if let Some(last) = now.last() {
            reached.1 = last.id;
        }
        (now.len(), now.len() == rest.len())
    }
}

/// Walks followers and audience side by side, so that it costs no more than the smaller of the two asks for.
fn hand_to_audience(
    of_log: &BTreeMap<Rank, Arc<Mailbox>>,
    hints: &[Arc<Hint>],
    reached: &mut Rank,
    most: usize,
) -> (usize, bool) {
    let aim = hints.first().and_then(|hint| hint.entry()).and_then(|entry| entry.aim.as_ref());
    let audience = aim.and_then(|aim| aim.audience.as_ref());
    let mut rest = of_log.range((Bound::Excluded(*reached), Bound::Unbounded));
    for looked in 0..most {
        let Some((&(number, id), mailbox)) = rest.next() else { return (looked, true) };
        *reached = (number, id);
        if audience.is_none_or(|audience| audience.contains(number)) {
            mailbox.hints(hints);
        } else if let Some(next) = audience.and_then(|audience| audience.after(Some(number)).next()) {
            // The rank before the next one: ids begin at 1.
            *reached = (next, 0);
            rest = of_log.range((Bound::Excluded(*reached), Bound::Unbounded));
        } else {
            return (looked, true);
        }
    }
    (most, false)
}

fn rank(mailbox: &Mailbox) -> Rank {
    (mailbox.number().unwrap_or_default(), mailbox.id)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::{Context, Poll, Waker};

    use super::{Followers, Rank};
    use crate::bus::Hint;
    use crate::model::clock::Timestamp;
    use crate::model::id::{DeviceNumber, MessageId, TenantId};
    use crate::model::log::{Epoch, LogId, Offset};
    use crate::model::message::{Aim, Entry, Urgency};
    use crate::node::core::Left;
    use crate::node::mailbox::Mailbox;

    fn broadcast() -> LogId {
        LogId::Broadcast(TenantId::new("t").expect("a name"))
    }

    fn hint(audience: Option<&[u32]>) -> Arc<Hint> {
        let audience = audience.map(|numbers| numbers.iter().copied().map(DeviceNumber).collect());
        let entry = Entry {
            offset: Offset(1),
            id: MessageId::new(1, [0; 10]),
            accepted_at: Timestamp::ZERO,
            expires_at: Timestamp::from_millis(1),
            urgency: Urgency::Normal,
            device: None,
            aim: Some(Arc::new(Aim { audience, ..Aim::default() })),
            receipts: true,
            body: bytes::Bytes::new(),
        };
        Arc::new(Hint::Grown { log: broadcast(), epoch: Epoch(1), last: Offset(1), entry: Some(entry) })
    }

    /// Followers with these numbers; their ids count down, so that no order follows from them.
    fn crowd(numbers: &[u32]) -> (Followers, Vec<Arc<Mailbox>>) {
        let mut followers = Followers::default();
        let mailbox = |(id, &number): (u64, &u32)| {
            let mailbox = Arc::new(Mailbox::new(1_000 - id));
            mailbox.is_of(DeviceNumber(number));
            assert!(followers.add(&broadcast(), &mailbox) && !followers.add(&broadcast(), &mailbox));
            mailbox
        };
        let mailboxes = (0..).zip(numbers).map(mailbox).collect();
        (followers, mailboxes)
    }

    /// Numbers of those that have a hint, and how many were looked at in steps of so many.
    fn handed(followers: &Followers, mailboxes: &[Arc<Mailbox>], hint: Arc<Hint>, most: usize) -> (Vec<u32>, usize) {
        let (mut reached, mut looked) = (Rank::default(), 0);
        loop {
            let (now, all) = followers.hand(std::slice::from_ref(&hint), &mut reached, most);
            assert!(now <= most);
            looked += now;
            if all {
                break;
            }
        }
        let has = |mailbox: &&Arc<Mailbox>| match mailbox.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(items) => {
                assert_eq!(items.len(), 1, "once");
                true
            }
            Poll::Pending => false,
        };
        let number = |mailbox: &Arc<Mailbox>| mailbox.number().expect("it was told").0;
        (mailboxes.iter().filter(has).map(number).collect(), looked)
    }

    #[test]
    fn what_is_broadcast_is_left_with_its_audience_alone() {
        // The older connection of device 4 is still there.
        let (followers, mailboxes) = crowd(&[0, 2, 4, 4, 9, 70_000]);
        for most in [1, 2, 100] {
            let check = |audience: Option<&[u32]>, expected: &[u32]| {
                assert_eq!(handed(&followers, &mailboxes, hint(audience), most).0, expected, "{audience:?} by {most}");
            };
            check(Some(&[4, 5, 6]), &[4, 4]);
            check(Some(&[0, 70_000, 80_000]), &[0, 70_000]);
            check(Some(&[1, 3, 5, 100_000]), &[]);
            check(Some(&[]), &[]);
            check(None, &[0, 2, 4, 4, 9, 70_000]);
        }
        let unaimed = Arc::new(Hint::Grown { log: broadcast(), epoch: Epoch(1), last: Offset(1), entry: None });
        assert_eq!(handed(&followers, &mailboxes, unaimed, 4).0.len(), 6, "whom it is for is not known");
    }

    /// A push for ten among a crowd must not cost a walk through the crowd.
    #[test]
    fn a_small_audience_costs_little() {
        let numbers: Vec<u32> = (0..900).collect();
        let (followers, mailboxes) = crowd(&numbers);
        let (got, looked) = handed(&followers, &mailboxes, hint(Some(&[5, 500, 899])), 1_000);
        assert_eq!(got, [5, 500, 899]);
        assert!(looked <= 8, "{looked} were looked at");
    }

    #[test]
    fn who_leaves_is_gone() {
        let (mut followers, mailboxes) = crowd(&[1, 2]);
        assert_eq!(followers.remove(&broadcast(), &mailboxes[0]), Left::Others);
        assert_eq!(followers.remove(&broadcast(), &mailboxes[0]), Left::Unchanged);
        assert!(!followers.contains(&broadcast(), &mailboxes[0]) && followers.contains(&broadcast(), &mailboxes[1]));
        assert_eq!(followers.remove(&broadcast(), &mailboxes[1]), Left::Nobody);
        assert!(followers.by_number.is_empty());
    }
}
