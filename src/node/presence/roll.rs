//! Who is online, and which events follow from comings and goings. No clock, no lock, no store: time comes in.
//!
//! ```text
//! enter ---> catching up ---ready---> ready ---nothing for idle_after---> idle
//!   ^                                   ^------------- stirred -------------'
//!   '--back within the debounce-- left (from any) ---debounce is over---> offline, and forgotten
//! ```

use std::borrow::Borrow;
use std::collections::btree_map::OccupiedEntry;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use crate::model::clock::{Moment, Now, Timestamp};
use crate::model::id::{DeviceId, Receiver, TenantId, UserId};
use crate::model::presence::{Event, What};
use crate::node::presence::Options;

/// How an online device is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Something that waited for it has not been sent yet.
    CatchingUp,
    /// All that waited for it when it came was sent.
    Ready,
    /// The same, and nothing was sent to it and no request came from it for some time.
    Idle,
    /// Its session has ended.
    Left,
}

/// A device that is online.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Online {
    /// Its user.
    pub user: UserId,
    /// Its name.
    pub device: DeviceId,
    /// Since when.
    pub since: Timestamp,
    /// How it is doing; never [`Standing::Left`].
    pub standing: Standing,
}

/// One session of a device. Its numbers change under the lock of the roll, but for `active`.
pub(super) struct Line {
    receiver: Receiver,
    /// Apart from all others.
    number: u64,
    /// Its place on the wheel, 0 when it is not there.
    watched: AtomicU64,
    /// Since when the device is online, this session and those before it that it returned from in time.
    since: Timestamp,
    /// When something was last sent to it or came from it: microseconds of a [`Moment`].
    pub(super) active: AtomicU64,
    /// A [`Standing`].
    standing: AtomicU8,
    /// What was last said of it: a [`Standing`], with [`Standing::CatchingUp`] for `connected`.
    told: AtomicU8,
}

/// A line in the order of names.
struct Ordered(Arc<Line>);

/// A session that ended: the device is offline unless it returns.
struct Leaving {
    /// When it is too late to return.
    due: Moment,
    /// When it ended.
    at: Timestamp,
    reason: &'static str,
    line: Arc<Line>,
}

/// Something to be said, in few bytes until it is.
struct Word {
    line: Arc<Line>,
    at: Timestamp,
    said: Said,
}

enum Said {
    Connected,
    Ready,
    Idle,
    Offline(&'static str),
}

/// How urgently the keeper is wanted: smaller is more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Urgency {
    /// A batch is full.
    Now,
    /// Words wait to be gathered.
    Soon,
    /// Something is due at a time.
    At(Moment),
}

/// The roll.
pub(super) struct Roll {
    options: Options,
    /// One line for each device: its newest session.
    lines: BTreeSet<Ordered>,
    /// Devices online, by tenant; those that have left and may return are not counted.
    online: HashMap<TenantId, u64>,
    /// In the order of their time, since all wait equally long.
    leaving: VecDeque<Leaving>,
    /// Ready devices by when to look at them again, and by their number. Each stands here once.
    wheel: BTreeMap<(u64, u64), Arc<Line>>,
    /// Of the newest line.
    number: u64,
    /// The least names there are, to begin a walk at.
    least: (UserId, DeviceId),
    /// What is to be said, in order.
    words: VecDeque<Word>,
    /// Tenants of which words were dropped because too many waited.
    lost: BTreeSet<TenantId>,
}

impl Roll {
    pub(super) fn new(options: Options) -> Self {
        Self {
            options,
            lines: BTreeSet::new(),
            online: HashMap::new(),
            leaving: VecDeque::new(),
            wheel: BTreeMap::new(),
            number: 0,
            least: least(),
            words: VecDeque::new(),
            lost: BTreeSet::new(),
        }
    }

    /// A device has opened a session.
    pub(super) fn enter(&mut self, receiver: Receiver, now: Now) -> Arc<Line> {
        let older = self.lines.take(&receiver).map(|Ordered(line)| line);
        self.number += 1;
        let line = Arc::new(Line {
            number: self.number,
            watched: AtomicU64::new(0),
            since: older.as_ref().map_or(now.wall, |older| older.since),
            active: AtomicU64::new(now.moment.as_micros()),
            standing: AtomicU8::new(Standing::CatchingUp as u8),
            told: AtomicU8::new(older.as_ref().map_or(Standing::CatchingUp, |older| older.told()) as u8),
            receiver,
        });
        let was_online = older.as_ref().is_some_and(|older| older.standing() != Standing::Left);
        if !was_online {
            *self.online.entry(line.receiver.tenant.clone()).or_default() += 1;
        }
        match older {
            Some(older) => {
                older.stand(Standing::Left);
                self.unwatch(&older);
            }
            None => self.say(&line, now.wall, Said::Connected),
        }
        self.lines.insert(Ordered(Arc::clone(&line)));
        line
    }

    /// All that waited was sent.
    pub(super) fn ready(&mut self, line: &Arc<Line>, now: Now) {
        if line.standing() != Standing::CatchingUp {
            return;
        }
        line.stand(Standing::Ready);
        if line.told() != Standing::Ready {
            self.say(line, now.wall, Said::Ready);
        }
        self.watch(line, now.moment);
    }

    /// An idle device has something to do again.
    pub(super) fn stirred(&mut self, line: &Arc<Line>, now: Now) {
        if line.standing() == Standing::Idle {
            line.stand(Standing::Ready);
            self.say(line, now.wall, Said::Ready);
            self.watch(line, now.moment);
        }
    }

    /// A session has ended.
    pub(super) fn leave(&mut self, line: &Arc<Line>, reason: &'static str, now: Now) {
        if line.standing() == Standing::Left {
            return;
        }
        line.stand(Standing::Left);
        self.unwatch(line);
        if let Some(online) = self.online.get_mut(&line.receiver.tenant) {
            *online -= 1;
            if *online == 0 {
                self.online.remove(&line.receiver.tenant);
            }
        }
        let due = now.moment + self.options.debounce;
        self.leaving.push_back(Leaving { due, at: now.wall, reason, line: Arc::clone(line) });
    }

    /// Says what is due by now, as far as there is room for words. At most [`STEPS_MAX`] devices a call.
    pub(super) fn tick(&mut self, now: Now) {
        for _ in 0..STEPS_MAX {
            if self.words.len() >= BATCH_MAX {
                return;
            }
            if self.leaving.front().is_some_and(|leaving| leaving.due <= now.moment) {
                if let Some(leaving) = self.leaving.pop_front() {
                    self.gone(leaving);
                }
                continue;
            }
            let due = self.wheel.first_entry().filter(|first| first.key().0 <= now.moment.as_micros());
            let Some(line) = due.map(OccupiedEntry::remove) else { return };
            line.watched.store(0, Ordering::SeqCst);
            self.look(&line, now);
        }
    }

    /// Nobody returns any more: all who left are offline, and those who are still here leave.
    pub(super) fn end(&mut self, reason: &'static str, now: Now) {
        let lines: Vec<_> = self.lines.iter().map(|Ordered(line)| Arc::clone(line)).collect();
        lines.iter().for_each(|line| self.leave(line, reason, now));
        self.leaving.iter_mut().for_each(|leaving| leaving.due = Moment::ZERO);
    }

    /// The next words to be written, oldest first: at most [`BATCH_MAX`], by tenant.
    pub(super) fn take(&mut self) -> Vec<(TenantId, Vec<Event>)> {
        let mut batches: BTreeMap<TenantId, Vec<Event>> = BTreeMap::new();
        for Word { line, at, said } in self.words.drain(..self.words.len().min(BATCH_MAX)) {
            let what = match said {
                Said::Connected => What::Connected,
                Said::Ready => What::Ready,
                Said::Idle => What::Idle,
                Said::Offline(reason) => What::Offline { reason: reason.to_owned() },
            };
            batches.entry(line.receiver.tenant.clone()).or_default().push(line.event(at, what));
        }
        batches.into_iter().collect()
    }

    /// A tenant of which words were lost, once no other words wait. It must be told that all is to be heard anew.
    pub(super) fn lost(&mut self) -> Option<TenantId> {
        if self.words.is_empty() { self.lost.pop_first() } else { None }
    }

    /// What is to be said of those online after a device, to a tenant that is told anew: a piece of it. Empty: no more.
    pub(super) fn anew(&self, tenant: &TenantId, after: Option<&Receiver>) -> (Vec<Event>, Option<Receiver>) {
        let lines: Vec<_> = self.after(tenant, after).take(BATCH_MAX).collect();
        let events = lines.iter().flat_map(|line| {
            let then = match line.told() {
                Standing::Ready => Some(What::Ready),
                Standing::Idle => Some(What::Idle),
                Standing::CatchingUp | Standing::Left => None,
            };
            [Some(What::Connected), then].into_iter().flatten().map(|what| line.event(line.since, what))
        });
        (events.collect(), lines.last().map(|line| line.receiver.clone()))
    }

    /// Who is online of a tenant, or of one user: those after a device, at most so many; and how many there are.
    pub(super) fn page(
        &self,
        tenant: &TenantId,
        user: Option<&UserId>,
        after: Option<&Receiver>,
        most: usize,
    ) -> (Vec<Online>, u64) {
        let here = |line: &&Arc<Line>| line.standing() != Standing::Left;
        let Some(user) = user else {
            let page = self.after(tenant, after).filter(here).take(most).map(|line| line.online());
            return (page.collect(), self.online.get(tenant).copied().unwrap_or(0));
        };
        let first = Receiver { tenant: tenant.clone(), user: user.clone(), device: self.least.1.clone() };
        let of_user = || self.from(Bound::Included(&first)).take_while(|line| line.receiver.user == *user).filter(here);
        let of_user = || of_user().take_while(|line| line.receiver.tenant == *tenant);
        let page = of_user().filter(|line| after.is_none_or(|after| line.receiver > *after)).take(most);
        (page.map(|line| line.online()).collect(), of_user().count() as u64)
    }

    /// One device, if it is online.
    pub(super) fn online(&self, receiver: &Receiver) -> Option<Online> {
        let Ordered(line) = self.lines.get(receiver)?;
        (line.standing() != Standing::Left).then(|| line.online())
    }

    /// How urgently the keeper is wanted.
    pub(super) fn urgency(&self) -> Urgency {
        if self.words.len() >= BATCH_MAX {
            return Urgency::Now;
        }
        if !self.words.is_empty() || !self.lost.is_empty() {
            return Urgency::Soon;
        }
        let leaving = self.leaving.front().map_or(Moment::NEVER, |leaving| leaving.due);
        let looking = self.wheel.first_key_value().map_or(Moment::NEVER, |(&(at, _), _)| Moment::from_micros(at));
        Urgency::At(leaving.min(looking))
    }

    fn gone(&mut self, leaving: Leaving) {
        let Leaving { at, reason, line, .. } = leaving;
        let current = self.lines.get(&line.receiver).is_some_and(|Ordered(current)| Arc::ptr_eq(current, &line));
        if current {
            self.lines.remove(&line.receiver);
            self.say(&line, at, Said::Offline(reason));
        }
    }

    /// Looks whether a ready device has become idle.
    fn look(&mut self, line: &Arc<Line>, now: Now) {
        if line.standing() != Standing::Ready {
            return;
        }
        let active = line.active.load(Ordering::SeqCst);
        if Moment::from_micros(active) + self.options.idle_after > now.moment {
            return self.watch(line, Moment::from_micros(active));
        }
        line.stand(Standing::Idle);
        if line.active.load(Ordering::SeqCst) == active {
            self.say(line, now.wall, Said::Idle);
        } else {
            line.stand(Standing::Ready);
            self.watch(line, now.moment);
        }
    }

    /// Looks at a device again when it would be idle.
    fn watch(&mut self, line: &Arc<Line>, active: Moment) {
        if self.options.idle_after.is_zero() {
            return;
        }
        // Coarse, so that one look is for many devices: a sixteenth of the time.
        let step = (u64::try_from(self.options.idle_after.as_micros()).unwrap_or(u64::MAX) / 16).max(1);
        let due = (active + self.options.idle_after).as_micros().div_ceil(step).saturating_mul(step);
        line.watched.store(due, Ordering::SeqCst);
        self.wheel.insert((due, line.number), Arc::clone(line));
    }

    fn unwatch(&mut self, line: &Line) {
        let due = line.watched.swap(0, Ordering::SeqCst);
        self.wheel.remove(&(due, line.number));
    }

    fn say(&mut self, line: &Arc<Line>, at: Timestamp, said: Said) {
        match said {
            Said::Ready => line.told.store(Standing::Ready as u8, Ordering::SeqCst),
            Said::Idle => line.told.store(Standing::Idle as u8, Ordering::SeqCst),
            Said::Connected | Said::Offline(_) => {}
        }
        if self.words.len() >= WORDS_MAX || self.lost.contains(&line.receiver.tenant) {
            self.lost.insert(line.receiver.tenant.clone());
        } else {
            self.words.push_back(Word { line: Arc::clone(line), at, said });
        }
    }

    fn after<'a>(
        &'a self,
        tenant: &'a TenantId,
        after: Option<&Receiver>,
    ) -> impl Iterator<Item = &'a Arc<Line>> + use<'a> {
        let first;
        let from = match after {
            Some(after) => Bound::Excluded(after),
            None => {
                let (user, device) = self.least.clone();
                first = Receiver { tenant: tenant.clone(), user, device };
                Bound::Included(&first)
            }
        };
        self.from(from).take_while(move |line| line.receiver.tenant == *tenant)
    }

    fn from<'a>(&'a self, from: Bound<&Receiver>) -> impl Iterator<Item = &'a Arc<Line>> + use<'a> {
        self.lines.range::<Receiver, _>((from, Bound::Unbounded)).map(|Ordered(line)| line)
    }
}

impl Line {
    pub(super) fn standing(&self) -> Standing {
        Standing::from_byte(self.standing.load(Ordering::SeqCst))
    }

    fn stand(&self, standing: Standing) {
        self.standing.store(standing as u8, Ordering::SeqCst);
    }

    fn told(&self) -> Standing {
        Standing::from_byte(self.told.load(Ordering::SeqCst))
    }

    fn event(&self, at: Timestamp, what: What) -> Event {
        Event { at, device: Some((self.receiver.user.clone(), self.receiver.device.clone())), what }
    }

    fn online(&self) -> Online {
        Online {
            user: self.receiver.user.clone(),
            device: self.receiver.device.clone(),
            since: self.since,
            standing: self.standing(),
        }
    }
}

impl Standing {
    const ALL: [Self; 4] = [Self::CatchingUp, Self::Ready, Self::Idle, Self::Left];

    const fn from_byte(byte: u8) -> Self {
        Self::ALL[byte as usize]
    }

    /// Its word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CatchingUp => "catching_up",
            Self::Ready => "ready",
            Self::Idle => "idle",
            Self::Left => "left",
        }
    }
}

impl Borrow<Receiver> for Ordered {
    fn borrow(&self) -> &Receiver {
        &self.0.receiver
    }
}

impl PartialEq for Ordered {
    fn eq(&self, other: &Self) -> bool {
        self.0.receiver == other.0.receiver
    }
}

impl Eq for Ordered {}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.receiver.cmp(&other.0.receiver)
    }
}

/// `%` is the least of the characters that names are made of, so no name is less.
fn least() -> (UserId, DeviceId) {
    let name = "a name of one character";
    (UserId::new("%").expect(name), DeviceId::new("%").expect(name))
}

/// Events that are written together at most.
pub(super) const BATCH_MAX: usize = 1_000;
/// Words that may wait. Full: the tenant is told anew who is online once the store takes words again. A guess: what a
/// node can say in many seconds.
const WORDS_MAX: usize = 100_000;
/// Devices that one turn looks at, so that nobody waits for the lock for long.
const STEPS_MAX: usize = 4_096;

#[cfg(test)]
mod tests;
