//! Who is connected to this node, and which cores have followers of which log. It hands hints to cores and decides nothing.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::bus::{Hint, Inlet};
use crate::model::close::CloseReason;
use crate::model::fault::{Code, Fault};
use crate::model::id::{Receiver, TenantId, UserId};
use crate::model::log::LogId;
use crate::node::core::{Core, Left};
use crate::node::mailbox::{Item, Mailbox};

/// Locks that the followers are spread over, so that a push to one log does not wait for a push to another.
const SHARDS: usize = 64;

/// What a device is told that comes too late.
pub(crate) const DRAINING: &str = "the node is being drained; connect to another one or come back";

/// How long a newer connection waits for the older one of its device to write its last acks: longer than the older one
/// waits for them itself.
const TAKE_OVER_PATIENCE: Duration = Duration::from_secs(8);

/// Where a log's followers are.
#[derive(Clone, Copy, Debug, Default)]
struct Reach {
    /// A bit for each core that has some.
    cores: u64,
    /// How many sessions follow it, on all cores.
    sessions: u32,
}

/// The hub of a node.
pub(crate) struct Hub {
    seats: Mutex<Seats>,
    reaches: Vec<RwLock<HashMap<LogId, Reach>>>,
    /// The cores, each at the place of its number.
    cores: Vec<Arc<Core>>,
    hasher: RandomState,
    next_id: AtomicU64,
    /// Devices connected at once.
    connections_max: usize,
    /// Devices of one user connected at once.
    user_connections_max: u32,
}

/// Who is connected.
#[derive(Default)]
struct Seats {
    by_device: HashMap<Receiver, Arc<Place>>,
    by_user: HashMap<(TenantId, UserId), u32>,
    /// The node is being emptied. Stands under the lock of the seats, so that every device either was asked to move or
    /// is refused.
    draining: bool,
}

/// One connection's place at the hub.
struct Place {
    mailbox: Arc<Mailbox>,
    /// The session is over: its last commit is answered and nothing of it will be written any more.
    ended: CancellationToken,
}

/// A connection's hold on its place; given up by dropping it.
pub(crate) struct Seat {
    hub: Arc<Hub>,
    receiver: Receiver,
    place: Arc<Place>,
    /// Where the connection lives.
    core: Arc<Core>,
    following: Vec<LogId>,
}

impl Hub {
    pub(crate) fn new(cores: Vec<Arc<Core>>, connections_max: usize, user_connections_max: u32) -> Self {
        Self {
            seats: Mutex::default(),
            cores,
            reaches: (0..SHARDS).map(|_| RwLock::default()).collect(),
            hasher: RandomState::new(),
            next_id: AtomicU64::new(1),
            connections_max,
            user_connections_max,
        }
    }

    /// Takes the place of a device. An older connection of the device is told to end, and has ended (or had its time)
    /// when this returns: so what it acked is written before the newer session reads its cursors. The connection lives on
    /// `core`.
    pub(crate) async fn sit(self: &Arc<Self>, receiver: Receiver, core: &Arc<Core>) -> Result<Seat, Fault> {
        let mailbox = Arc::new(Mailbox::new(self.next_id.fetch_add(1, Ordering::Relaxed)));
        let place = Arc::new(Place { mailbox, ended: CancellationToken::new() });
        let older = self.claim(&receiver, &place)?;
        let (hub, core) = (Arc::clone(self), Arc::clone(core));
        let seat = Seat { hub, receiver, place, core, following: Vec::new() };
        if let Some(older) = older {
            older.mailbox.order(Item::Close(CloseReason::TakenOver));
            if tokio::time::timeout(TAKE_OVER_PATIENCE, older.ended.cancelled()).await.is_err() {
                tracing::warn!(receiver = %seat.receiver, "the older connection did not end in time; going on without it");
            }
        }
        Ok(seat)
    }

    fn claim(&self, receiver: &Receiver, place: &Arc<Place>) -> Result<Option<Arc<Place>>, Fault> {
        let mut seats = self.seats();
        if seats.draining {
            return Err(Fault::new(Code::Draining, DRAINING));
        }
        if let Some(taken) = seats.by_device.get_mut(receiver) {
            return Ok(Some(std::mem::replace(taken, Arc::clone(place))));
        }
        if seats.by_device.len() >= self.connections_max {
            let words = format!("this node holds {} connections, its limit; try again later", self.connections_max);
            return Err(Fault::new(Code::TooManyConnections, words));
        }
        let of_user = seats.by_user.entry((receiver.tenant.clone(), receiver.user.clone())).or_default();
        if *of_user >= self.user_connections_max {
            let words = format!("the user has {of_user} devices connected, the limit; close one of them");
            return Err(Fault::new(Code::TooManyUserConnections, words));
        }
        *of_user += 1;
        seats.by_device.insert(receiver.clone(), Arc::clone(place));
        Ok(None)
    }

    /// Asks every connected device to move within `spread`, and lets no more in.
    pub(crate) fn drain(&self, spread: Duration) {
        let mut seats = self.seats();
        seats.draining = true;
        for place in seats.by_device.values() {
            let after = spread.mul_f64(fastrand::f64());
            place.mailbox.order(Item::Drain { after });
        }
    }

    /// Devices connected now.
    pub(crate) fn connected(&self) -> usize {
        self.seats().by_device.len()
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shard(&self, log: &LogId) -> &RwLock<HashMap<LogId, Reach>> {
        let hash = self.hasher.hash_one(log);
        &self.reaches[usize::try_from(hash % SHARDS as u64).unwrap_or(0)]
    }

    fn reach(&self, log: &LogId) -> Reach {
        let shard = self.shard(log).read().unwrap_or_else(PoisonError::into_inner);
        shard.get(log).copied().unwrap_or_default()
    }

    fn hand<'a, I: Iterator<Item = &'a Arc<Hint>>>(&self, mut cores: u64, hints_for: impl Fn(u64) -> I) {
        while cores != 0 {
            let number = cores.trailing_zeros();
            let bit = 1 << number;
            cores &= !bit;
            self.cores[number as usize].hand(hints_for(bit));
        }
    }

    /// How many sessions a hint is for. That a log has grown concerns all that follow it, whomever the entry is for. What
    /// no log holds goes only to whom it is for, so that the answer counts no others.
    fn concerned(&self, hint: &Hint, reach: Reach) -> usize {
        if let Hint::Online { log: LogId::Inbox(tenant, user), entry } = hint
            && let Some(device) = &entry.device
        {
            let receiver = Receiver { tenant: tenant.clone(), user: user.clone(), device: device.clone() };
            return usize::from(self.seats().by_device.contains_key(&receiver)).min(reach.sessions as usize);
        }
        reach.sessions as usize
    }
}

impl Inlet for Hub {
    /// Each hint goes once to each core that has followers of its log, and a core is woken at most once.
    fn receive(&self, hints: &[Arc<Hint>]) -> usize {
        let mut sessions = 0;
        let mut reach = |hint: &Arc<Hint>| {
            let reach = self.reach(hint.log());
            sessions += self.concerned(hint, reach);
            reach.cores
        };
        // What is published alone needs no list.
        if let [hint] = hints {
            self.hand(reach(hint), |_| std::iter::once(hint));
        } else {
            let reaches: Vec<u64> = hints.iter().map(reach).collect();
            let all = reaches.iter().fold(0, |all, cores| all | cores);
            self.hand(all, |bit| {
                hints.iter().zip(&reaches).filter(move |(_, cores)| **cores & bit != 0).map(|(hint, _)| hint)
            });
        }
        sessions
    }
}

impl Seat {
    /// Who sits here.
    pub(crate) const fn receiver(&self) -> &Receiver {
        &self.receiver
    }

    /// Where hints and orders for the connection arrive.
    pub(crate) fn mailbox(&self) -> &Arc<Mailbox> {
        &self.place.mailbox
    }

    /// Hints of this log arrive from now on.
    pub(crate) fn follow(&mut self, log: LogId) {
        let mut shard = self.hub.shard(&log).write().unwrap_or_else(PoisonError::into_inner);
        if self.core.follow(&log, self.mailbox()) {
            let reach = shard.entry(log.clone()).or_default();
            reach.cores |= self.core.bit();
            reach.sessions += 1;
            drop(shard);
            self.following.push(log);
        }
    }

    /// Hints of this log arrive no more.
    pub(crate) fn unfollow(&mut self, log: &LogId) {
        self.following.retain(|followed| followed != log);
        self.leave(log);
    }

    fn leave(&self, log: &LogId) {
        let mut shard = self.hub.shard(log).write().unwrap_or_else(PoisonError::into_inner);
        let left = self.core.unfollow(log, self.mailbox());
        let Some(reach) = shard.get_mut(log).filter(|_| left != Left::Unchanged) else { return };
        reach.sessions -= 1;
        if left == Left::Nobody {
            reach.cores &= !self.core.bit();
        }
        if reach.sessions == 0 {
            shard.remove(log);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        for log in &self.following {
            self.leave(log);
        }
        let mut seats = self.hub.seats();
        let own = seats.by_device.get(&self.receiver).is_some_and(|place| Arc::ptr_eq(place, &self.place));
        if own {
            seats.by_device.remove(&self.receiver);
            let user = (self.receiver.tenant.clone(), self.receiver.user.clone());
            if let Entry::Occupied(mut count) = seats.by_user.entry(user) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
        }
        drop(seats);
        self.place.ended.cancel();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::Hub;
    use crate::bus::{Hint, Inlet};
    use crate::model::clock::Timestamp;
    use crate::model::fault::Code;
    use crate::model::id::{DeviceId, MessageId, Receiver, TenantId, UserId};
    use crate::model::log::{Epoch, LogId, Offset};
    use crate::model::message::{Entry, Urgency};
    use crate::node::core::Core;

    fn receiver(user: &str, device: &str) -> Receiver {
        Receiver {
            tenant: TenantId::new("t").expect("a name"),
            user: UserId::new(user).expect("a name"),
            device: DeviceId::new(device).expect("a name"),
        }
    }

    /// A hub with one core.
    fn hub(connections_max: usize, user_connections_max: u32) -> (Arc<Hub>, Arc<Core>) {
        let core = Arc::new(Core::new(0));
        (Arc::new(Hub::new(vec![Arc::clone(&core)], connections_max, user_connections_max)), core)
    }

    #[tokio::test]
    async fn limits_are_kept_and_places_come_free() {
        let (hub, core) = hub(3, 2);
        let refused = async |user, device| hub.sit(receiver(user, device), &core).await.err().map(|fault| fault.code);
        let one = hub.sit(receiver("u", "1"), &core).await.expect("a free place");
        let two = hub.sit(receiver("u", "2"), &core).await.expect("a free place");
        assert_eq!(refused("u", "3").await, Some(Code::TooManyUserConnections));
        let other = hub.sit(receiver("v", "1"), &core).await.expect("a free place");
        assert_eq!(refused("w", "1").await, Some(Code::TooManyConnections));
        drop((one, other));
        assert_eq!(hub.connected(), 1);
        assert_eq!(refused("u", "3").await, None);
        drop(two);
        assert_eq!(hub.connected(), 0);
        assert!(hub.seats().by_user.is_empty());
    }

    /// A device that came just before the drain and sits down just after it would never be asked to move.
    #[tokio::test]
    async fn nobody_sits_down_after_the_drain() {
        let (hub, core) = hub(3, 2);
        let seat = hub.sit(receiver("u", "1"), &core).await.expect("a free place");
        hub.drain(std::time::Duration::ZERO);
        for device in ["1", "2"] {
            let refused = hub.sit(receiver("u", device), &core).await.err().map(|fault| fault.code);
            assert_eq!(refused, Some(Code::Draining));
        }
        drop(seat);
        assert_eq!(hub.connected(), 0);
    }

    /// A newer connection of a device waits for the older one to end, and does not count twice.
    #[tokio::test]
    async fn a_newer_connection_takes_over() {
        let (hub, core) = hub(1, 1);
        let older = hub.sit(receiver("u", "1"), &core).await.expect("a free place");
        let mailbox = Arc::clone(older.mailbox());
        let newer = tokio::spawn({
            let (hub, core) = (Arc::clone(&hub), Arc::clone(&core));
            async move { hub.sit(receiver("u", "1"), &core).await }
        });
        let order = std::future::poll_fn(|context| mailbox.poll(context)).await;
        assert_eq!(order.len(), 1, "the older one is told");
        assert!(!newer.is_finished());
        drop(older);
        let newer = newer.await.expect("no panic").expect("the place of the older one");
        assert_eq!(hub.connected(), 1);
        drop(newer);
        assert_eq!(hub.connected(), 0);
    }

    #[tokio::test]
    async fn hints_reach_those_who_follow_and_no_others() {
        let (hub, core) = hub(9, 9);
        let log = LogId::Inbox(TenantId::new("t").expect("a name"), UserId::new("u").expect("a name"));
        let hint = Arc::new(Hint::Grown { log: log.clone(), epoch: Epoch(1), last: Offset(1), entry: None });
        let mut one = hub.sit(receiver("u", "1"), &core).await.expect("a free place");
        let mut two = hub.sit(receiver("u", "2"), &core).await.expect("a free place");
        one.follow(log.clone());
        one.follow(log.clone());
        two.follow(log.clone());
        assert_eq!(hub.receive(&[Arc::clone(&hint)]), 2);
        two.unfollow(&log);
        assert_eq!(hub.receive(&[Arc::clone(&hint)]), 1);
        drop(one);
        assert_eq!(hub.receive(&[Arc::clone(&hint)]), 0);
        assert!(hub.reaches.iter().all(|shard| shard.read().expect("no panic").is_empty()), "nothing is left behind");
    }

    #[tokio::test]
    async fn a_hint_goes_once_to_each_core_that_has_followers() {
        let cores: Vec<_> = (0..3).map(|number| Arc::new(Core::new(number))).collect();
        let hub = Arc::new(Hub::new(cores.clone(), 9, 9));
        let log = |user| LogId::Inbox(TenantId::new("t").expect("a name"), UserId::new(user).expect("a name"));
        let grown = |log: LogId| Arc::new(Hint::Grown { log, epoch: Epoch(1), last: Offset(1), entry: None });
        let mut seats = Vec::new();
        for (user, device, core) in [("u", "1", 0), ("u", "2", 2), ("v", "1", 2), ("w", "1", 1)] {
            let mut seat = hub.sit(receiver(user, device), &cores[core]).await.expect("a free place");
            seat.follow(log(user));
            seats.push(seat);
        }
        assert_eq!(hub.receive(&[grown(log("u")), grown(log("v")), grown(log("x"))]), 3);
        for (core, waiting) in cores.iter().zip([1, 0, 2]) {
            assert_eq!(core.waiting(), waiting, "core {}", core.number);
        }
        seats.remove(0);
        assert_eq!(hub.receive(&[grown(log("u"))]), 1);
        assert_eq!((cores[0].waiting(), cores[2].waiting()), (1, 3));
    }

    /// An answer that counted the user's other devices would tell a backend that a device is there when it is not.
    #[tokio::test]
    async fn an_online_only_push_to_a_device_reaches_and_counts_that_device() {
        let (hub, core) = hub(9, 9);
        let log = LogId::Inbox(TenantId::new("t").expect("a name"), UserId::new("u").expect("a name"));
        let mut one = hub.sit(receiver("u", "1"), &core).await.expect("a free place");
        one.follow(log.clone());
        let handed = |device: Option<&str>| {
            let entry = Entry {
                offset: Offset::ZERO,
                id: MessageId::new(1, [0; 10]),
                accepted_at: Timestamp::ZERO,
                expires_at: Timestamp::ZERO,
                urgency: Urgency::Normal,
                device: device.map(|name| DeviceId::new(name).expect("a name")),
                aim: None,
                receipts: true,
                body: bytes::Bytes::new(),
            };
            hub.receive(&[Arc::new(Hint::Online { log: log.clone(), entry })])
        };
        assert_eq!([handed(None), handed(Some("1")), handed(Some("2"))], [1, 1, 0]);
        let mut two = hub.sit(receiver("u", "2"), &core).await.expect("a free place");
        two.follow(log.clone());
        assert_eq!([handed(None), handed(Some("1")), handed(Some("2"))], [2, 1, 1]);
    }
}
