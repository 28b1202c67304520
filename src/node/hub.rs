//! Who is connected to this node, and which cores have followers of which log. It hands hints to cores and decides nothing.

mod revoke;
mod seats;

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use crate::bus::{Hint, Inlet};
use crate::model::close::CloseReason;
use crate::model::fault::{Code, Fault};
use crate::model::id::{DeviceNumber, Receiver, TenantId, UserId};
use crate::model::log::LogId;
use crate::model::message::Entry;
use crate::model::set::DeviceSet;
use crate::node::core::{Core, Left};
pub(crate) use crate::node::hub::seats::Held;
use crate::node::hub::seats::{Place, Seats};
use crate::node::mailbox::{Item, Mailbox, Question};

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

/// How many connections a tenant and each of its users may have; `None`: what the hub was made with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Devices of the tenant connected at once. The hub itself has no such bound.
    pub(crate) of_tenant: Option<u64>,
    /// Devices of one user connected at once.
    pub(crate) of_user: Option<u32>,
    /// It is a share that is viewed, not a user: viewers connected at once. The bound of users is none of its business.
    pub(crate) viewers: Option<u32>,
}

/// A connection's hold on its place; given up by dropping it.
pub(crate) struct Seat {
    hub: Arc<Hub>,
    receiver: Receiver,
    place: Arc<Place>,
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
    /// `core`, and by the token `held`.
    pub(crate) async fn sit(
        self: &Arc<Self>,
        receiver: Receiver,
        core: &Arc<Core>,
        held: Held,
        bounds: Bounds,
    ) -> Result<Seat, Fault> {
        let mailbox = Arc::new(Mailbox::new(self.next_id.fetch_add(1, Ordering::Relaxed)));
        let place = Arc::new(Place::new(mailbox, Arc::clone(core), held));
        let older = self.claim(&receiver, &place, bounds)?;
        let seat = Seat { hub: Arc::clone(self), receiver, place, following: Vec::new() };
        if let Some(older) = older {
            older.mailbox.order(Item::Close(CloseReason::TakenOver));
            if tokio::time::timeout(TAKE_OVER_PATIENCE, older.ended.cancelled()).await.is_err() {
                tracing::warn!(receiver = %seat.receiver, "the older connection did not end in time; going on without it");
            }
        }
        Ok(seat)
    }

    fn claim(&self, receiver: &Receiver, place: &Arc<Place>, bounds: Bounds) -> Result<Option<Arc<Place>>, Fault> {
        let mut seats = self.seats();
        if seats.draining {
            return Err(Fault::new(Code::Draining, DRAINING));
        }
        if let Some(older) = seats.replace(receiver, place) {
            return Ok(Some(older));
        }
        if seats.connected >= self.connections_max {
            let words = format!("this node holds {} connections, its limit; try again later", self.connections_max);
            return Err(Fault::new(Code::TooManyConnections, words));
        }
        let of_tenant = seats.connected_of(&receiver.tenant);
        if bounds.of_tenant.is_some_and(|most| of_tenant as u64 >= most) {
            let words = format!("the tenant has {of_tenant} devices connected, its limit; try again later");
            return Err(Fault::new(Code::TenantQuota, words));
        }
        let of_user = seats.of_user(&receiver.tenant, &receiver.user).len();
        if bounds.viewers.is_some_and(|most| of_user >= most as usize) {
            let words = format!("the share has {of_user} viewers, the limit; try again later");
            return Err(Fault::new(Code::TooManyViewers, words));
        }
        let of_user_max = bounds.of_user.unwrap_or(self.user_connections_max);
        if bounds.viewers.is_none() && of_user >= of_user_max as usize {
            let words = format!("the user has {of_user} devices connected, the limit; close one of them");
            return Err(Fault::new(Code::TooManyUserConnections, words));
        }
        seats.insert(receiver, place);
        Ok(None)
    }

    /// Lets no more in. Gives who is here: every device either is among them or is refused.
    pub(crate) fn close_doors(&self) -> Vec<(Receiver, Arc<Mailbox>)> {
        let mut seats = self.seats();
        seats.draining = true;
        seats.all()
    }

    /// Who is here, and where to leave them orders.
    pub(crate) fn everybody(&self) -> Vec<(Receiver, Arc<Mailbox>)> {
        self.seats().all()
    }

    /// Devices connected now.
    pub(crate) fn connected(&self) -> usize {
        self.seats().connected
    }

    /// Connections of a user.
    pub(crate) fn connected_of(&self, tenant: &TenantId, user: &UserId) -> u32 {
        u32::try_from(self.seats().of_user(tenant, user).len()).unwrap_or(u32::MAX)
    }

    /// How many of a set of devices are online.
    pub(crate) fn online_of(&self, tenant: &TenantId, devices: &DeviceSet) -> u64 {
        self.seats().online_of(tenant, devices)
    }

    /// Whether a device is online.
    pub(crate) fn is_online(&self, receiver: &Receiver) -> bool {
        self.seats().is_online(receiver)
    }

    /// Leaves a question with a device's session; false when it has none, or cannot take any more.
    pub(crate) fn ask(&self, receiver: &Receiver, question: Question) -> bool {
        let place = self.seats().get(receiver).cloned();
        place.is_some_and(|place| place.mailbox.ask(question))
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
        let sessions = reach.sessions as usize;
        match hint {
            Hint::Online { log, entry } if entry.device.is_some() || entry.aim.is_some() => {
                self.aimed(log, entry, sessions)
            }
            Hint::Online { .. } | Hint::Grown { .. } => sessions,
            Hint::Changed { .. } => 0,
        }
    }

    /// How many sessions an online-only push is for that is not for all who follow its log.
    fn aimed(&self, log: &LogId, entry: &Entry, sessions: usize) -> usize {
        let (tenant, seats) = (log.tenant(), self.seats());
        let aim = entry.aim.as_deref();
        let excluded = aim.map_or(&[][..], |aim| &aim.exclude);
        if let (LogId::Inbox(_, user), Some(only)) = (log, &entry.device) {
            let receiver = Receiver { tenant: tenant.clone(), user: user.clone(), device: only.clone() };
            let meant = !excluded.iter().any(|exclusion| exclusion.covers(user, only));
            return usize::from(meant && seats.get(&receiver).is_some()).min(sessions);
        }
        let audience = aim.and_then(|aim| aim.audience.as_ref());
        let all = audience.map_or(sessions as u64, |audience| seats.online_of(tenant, audience));
        let mut out: Vec<&Arc<Place>> = Vec::new();
        for exclusion in excluded {
            let of_user = seats.of_user(tenant, &exclusion.user).iter();
            out.extend(of_user.filter(|(name, _)| exclusion.covers(&exclusion.user, name)).map(|(_, place)| place));
        }
        out.sort_by_key(|place| place.mailbox.id);
        out.dedup_by_key(|place| place.mailbox.id);
        let listens = |place: &&Arc<Place>| match audience {
            Some(audience) => place.number().is_some_and(|number| audience.contains(number)),
            None => place.core.has(log, &place.mailbox),
        };
        usize::try_from(all).unwrap_or(usize::MAX).saturating_sub(out.into_iter().filter(listens).count())
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

    /// The session lives by another token from now on.
    pub(crate) fn holds(&self, held: Held) {
        self.place.holds(held);
    }

    /// Where hints and orders for the connection arrive.
    pub(crate) fn mailbox(&self) -> &Arc<Mailbox> {
        &self.place.mailbox
    }

    /// The store knows the device by this number: it counts as online from now on. To be told before the broadcast log is
    /// followed, whose hints go by number.
    pub(crate) fn known_as(&self, number: DeviceNumber) {
        self.place.mailbox.is_of(number);
        self.hub.seats().came_online(&self.receiver, &self.place, number);
    }

    /// Hints of this log arrive from now on.
    pub(crate) fn follow(&mut self, log: LogId) {
        let mut shard = self.hub.shard(&log).write().unwrap_or_else(PoisonError::into_inner);
        if self.place.core.follow(&log, self.mailbox()) {
            let reach = shard.entry(log.clone()).or_default();
            reach.cores |= self.place.core.bit();
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

    /// Hints of these logs arrive no more, but for some.
    pub(crate) fn unfollow_unless(&mut self, keep: impl Fn(&LogId) -> bool) {
        let (kept, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut self.following).into_iter().partition(|log| keep(log));
        self.following = kept;
        gone.iter().for_each(|log| self.leave(log));
    }

    fn leave(&self, log: &LogId) {
        let mut shard = self.hub.shard(log).write().unwrap_or_else(PoisonError::into_inner);
        let left = self.place.core.unfollow(log, self.mailbox());
        let Some(reach) = shard.get_mut(log).filter(|_| left != Left::Unchanged) else { return };
        reach.sessions -= 1;
        if left == Left::Nobody {
            reach.cores &= !self.place.core.bit();
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
        self.hub.seats().remove(&self.receiver, &self.place);
        self.place.ended.cancel();
    }
}

#[cfg(test)]
mod tests;
