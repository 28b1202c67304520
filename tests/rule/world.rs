//! A world: the embedded store in a folder of its own, real sessions, no sockets and no clock. What a node does between
//! the two is done here by hand, late, and sometimes not at all. The model is told of everything that was answered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pushline::delivery::handshake::{Handshake, Known};
use pushline::delivery::lease::Life;
use pushline::delivery::options::Options;
use pushline::delivery::session::{Input, Output};
use pushline::model::clock::{Now, Timestamp};
use pushline::model::frame::{Frame, Open};
use pushline::model::id::{DeviceId, MessageId, Receiver, SessionId, TenantId, TopicName, UserId};
use pushline::model::log::{Epoch, LogId, Offset};
use pushline::model::message::{Entry, Target, Urgency};
use pushline::model::quiet::QuietHours;
use pushline::model::receipt::Reported;
use pushline::store::open::{Options as StoreOptions, open};
use pushline::store::{Announced, Answer, Commit, Error, Follows, Journal, Listener, Store};
use pushline::zone::Hours;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::link::{Held, Link};
use crate::model::{Model, Name};

pub(crate) const TOPICS: [&str; 4] = ["t0", "t1", "t2", "t3"];

#[derive(Default)]
struct Ears(Mutex<Vec<Announced>>);

impl Listener for Ears {
    fn appended(&self, batch: Vec<Announced>) {
        self.0.lock().expect("nobody panicked").extend(batch);
    }

    fn noted(&self, _: &[(TenantId, Journal)]) {}
}

pub(crate) struct World {
    pub(crate) chance: fastrand::Rng,
    pub(crate) now: Now,
    pub(crate) model: Model,
    pub(crate) tenant: TenantId,
    pub(crate) links: BTreeMap<Name, Link>,
    /// `None` while it is opened again.
    store: Option<Arc<dyn Store>>,
    ears: Arc<Ears>,
    options: Arc<Options>,
    runtime: Runtime,
    folder: TempDir,
    pub(crate) versions: BTreeMap<UserId, (u64, BTreeSet<String>)>,
    pub(crate) quiet: BTreeMap<UserId, QuietHours>,
    /// Who must still be told that a message is taken away.
    pub(crate) to_tell: BTreeSet<(Name, MessageId)>,
    pub(crate) told: BTreeSet<(Name, MessageId)>,
    /// Messages that a user has seen on one device and that others have too.
    pub(crate) seen: BTreeSet<(UserId, MessageId)>,
    /// What a user has seen while another device of it was online, which has not heard of that yet.
    pub(crate) unheard: BTreeSet<(Name, MessageId)>,
    /// The newest place of each log that a device had something from.
    newest: BTreeMap<(Name, LogId, Epoch), Offset>,
    /// The log, and the life of it, that a message stands in.
    places: BTreeMap<MessageId, (LogId, Epoch)>,
    /// Acks and deaths that the store was told of.
    pub(crate) reported: BTreeMap<MessageId, (BTreeSet<Name>, BTreeSet<Name>)>,
    pub(crate) number: u64,
    /// Messages up to this one are forgotten.
    pub(crate) long_gone: MessageId,
    /// When a device last came or left.
    pub(crate) seen_at: BTreeMap<Name, Timestamp>,
    /// Nothing goes wrong any more.
    pub(crate) well: bool,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut chance = fastrand::Rng::with_seed(seed);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let folder = tempfile::tempdir().expect("a folder");
        let (store, ears) = open_store(&folder);
        let options = Options {
            window_default: chance.u32(1..8),
            page_entries: chance.usize(1..8),
            heads_interval: Duration::from_secs(5),
            ack_timeout: Duration::from_secs(20),
            attempts_max: 1_000,
            retry_pause_max: Duration::from_secs(4),
            write_stall: Duration::from_secs(1_000_000),
            ..Options::default()
        };
        let wall = Timestamp::from_millis(1_700_000_000_000 + chance.u64(0..86_400_000));
        let mut world = Self {
            chance,
            now: Now { wall, ..Now::default() },
            model: Model { now: wall, ..Model::default() },
            tenant: TenantId::new("acme").expect("a name"),
            links: BTreeMap::new(),
            store: Some(store),
            ears,
            options: Arc::new(options),
            runtime,
            folder,
            versions: BTreeMap::new(),
            quiet: BTreeMap::new(),
            to_tell: BTreeSet::new(),
            told: BTreeSet::new(),
            seen: BTreeSet::new(),
            unheard: BTreeSet::new(),
            newest: BTreeMap::new(),
            places: BTreeMap::new(),
            reported: BTreeMap::new(),
            number: 0,
            long_gone: MessageId::from_bytes([0; 16]),
            seen_at: BTreeMap::new(),
            well: false,
        };
        world.pass(Duration::from_millis(1));
        world
    }

    /// Waits for the store, and spreads what it announced meanwhile.
    pub(crate) fn ask<T>(&mut self, answer: Answer<T>) -> Result<T, Error> {
        let answer = self.runtime.block_on(answer);
        self.model.step += 1;
        let announced: Vec<_> = self.ears.0.lock().expect("nobody panicked").drain(..).collect();
        for Announced { log, epoch, entry } in announced {
            // What waited for its time is sent now.
            if self.model.messages.get(&entry.id).is_some_and(|message| message.send_at.is_some()) {
                self.model.send(entry.id);
            }
            self.places.insert(entry.id, (log.clone(), epoch));
            self.hint(&log, epoch, &entry);
        }
        answer
    }

    /// Hints may be lost, doubled, and without their entry; those of one log stay in order.
    fn hint(&mut self, log: &LogId, epoch: Epoch, entry: &Entry) {
        let step = self.model.step;
        for link in self.links.values_mut().filter(|link| link.session.follows(log)) {
            let (lost, bare) = if self.well { (false, false) } else { (self.chance.u8(0..8) == 0, self.chance.bool()) };
            if !lost {
                let (last, entry) = (entry.offset, (!bare).then(|| entry.clone()));
                link.hints.push_back((step, Input::Grown { log: log.clone(), epoch, last, entry }));
            }
        }
    }

    pub(crate) fn store(&self) -> &dyn Store {
        &**self.store.as_ref().expect("it is open")
    }

    pub(crate) fn receiver(&self, (user, device): &Name) -> Receiver {
        let device = device.clone().expect("a device");
        Receiver { tenant: self.tenant.clone(), user: user.clone(), device }
    }

    pub(crate) fn log_of(&self, target: &Target) -> LogId {
        let tenant = self.tenant.clone();
        match target {
            Target::User(user) | Target::Device(user, _) | Target::AnyOfUser(user) => {
                LogId::Inbox(tenant, user.clone())
            }
            Target::Topic(topic) => LogId::Topic(tenant, topic.clone()),
            Target::Condition(_) => LogId::Broadcast(tenant),
        }
    }

    pub(crate) fn pass(&mut self, span: Duration) {
        self.now.moment = self.now.moment + span;
        self.now.wall = self.now.wall + span;
        self.model.now = self.now.wall;
        let (messages, now) = (&self.model.messages, self.now.wall);
        self.to_tell.retain(|(_, id)| messages[id].expires_at > now);
    }

    /// The gateway ends and starts again, in order or not.
    pub(crate) fn restart(&mut self) {
        self.links.clear();
        self.unheard.clear();
        if self.chance.bool() {
            let closed = self.store().close();
            self.ask(closed).expect("it closes");
        }
        // It must be gone before its folder is opened again.
        self.store = None;
        let (store, ears) = open_store(&self.folder);
        (self.store, self.ears) = (Some(store), ears);
    }

    /// A device connects, and what the store knows of it is what the rule says.
    pub(crate) fn connect(&mut self, user: &UserId, device: &DeviceId) {
        let name = (user.clone(), Some(device.clone()));
        self.disconnect(&name, true);
        let receiver = self.receiver(&name);
        let new = self.model.open(user, device);
        self.seen_at.insert(name.clone(), self.now.wall);
        let opened = self.store().open(&receiver, self.now.wall);
        let opened = self.ask(opened).expect("it opens");
        assert_eq!(opened.new, new, "{receiver}: whether it is new");
        self.check_follows(&name, &opened.follows);
        let floor = if self.well || self.chance.u8(0..4) > 0 { Urgency::VeryLow } else { Urgency::Normal };
        let wishes = Open {
            token: String::new(),
            device: None,
            heartbeat: Duration::from_secs(600),
            window: 0,
            urgency_floor: floor,
            agent: String::new(),
            attributes: BTreeMap::new(),
        };
        let handshake = Handshake::check(&wishes, receiver, Life::FOREVER, &self.options);
        let Follows { number, following, group_topics, .. } = opened.follows;
        let known = Known { new, number, following, group_topics, quiet: self.hours(user) };
        let (id, mut out) = ((SessionId::new(self.chance.u64(..)), self.chance.u64(..)), Vec::new());
        let session =
            handshake.expect("no device is named").accept(id, known, Arc::clone(&self.options), self.now, &mut out);
        let mut link = Link::new(session, floor);
        link.picky = floor > Urgency::VeryLow;
        self.links.insert(name.clone(), link);
        self.perform(&name, self.model.step, out);
    }

    /// A device is gone, by itself or with the gateway's knowledge; its last commit may be lost.
    pub(crate) fn disconnect(&mut self, name: &Name, written: bool) {
        if !self.links.contains_key(name) {
            return;
        }
        if written {
            while self.links[name].commit.is_some() {
                self.commit(name);
            }
            self.feed(name, 0, Input::Gone);
            while self.links[name].commit.is_some() {
                self.commit(name);
            }
        }
        self.links.remove(name);
        self.unheard.retain(|(owner, _)| owner != name);
        self.seen_at.insert(name.clone(), self.now.wall);
        let receiver = self.receiver(name);
        let left = self.store().leave(&receiver, self.now.wall);
        self.ask(left).expect("it leaves");
    }

    pub(crate) fn hours(&self, user: &UserId) -> Option<Hours> {
        self.quiet.get(user).map(|hours| Hours::new(hours).expect("they were checked"))
    }

    /// The store follows what the rule says.
    fn check_follows(&self, name: &Name, follows: &Follows) {
        let topics = TOPICS.iter().map(|topic| TopicName::new(topic).expect("a name"));
        let expected: BTreeSet<_> = topics.filter(|topic| self.model.follows(name, topic)).collect();
        let followed = follows.following.iter().filter_map(|following| match &following.log {
            LogId::Topic(_, topic) => Some(topic.clone()),
            LogId::Inbox(..) | LogId::Broadcast(_) => None,
        });
        assert_eq!(followed.collect::<BTreeSet<_>>(), expected, "topics that {name:?} follows");
        let brought: BTreeSet<_> = follows.group_topics.iter().cloned().collect();
        assert_eq!(brought, self.model.group_topics(&name.0), "topics that groups bring to {name:?}");
        assert_eq!(follows.quiet_hours.as_ref(), self.quiet.get(&name.0), "quiet hours of {name:?}");
    }

    /// Gives a session something. `since`: the step at which it was read or made.
    pub(crate) fn feed(&mut self, name: &Name, since: u64, input: Input) {
        let mut out = Vec::new();
        let hours = self.quiet.contains_key(&name.0);
        let Some(link) = self.links.get_mut(name) else { return };
        if hours && link.session.deadline() <= self.now.moment {
            // The moment at which quiet hours begin is a deadline, for which a node wakes.
            link.session.handle(self.now, Input::Deadline, &mut out);
        }
        link.session.handle(self.now, input, &mut out);
        self.perform(name, since, out);
    }

    fn perform(&mut self, name: &Name, since: u64, out: Vec<Output>) {
        for output in out {
            let link = self.links.get_mut(name).expect("it has just spoken");
            match output {
                Output::Send(Frame::Push { seq, entry, .. }) => self.arrive(name, since, seq, entry),
                Output::Send(_) | Output::Ping => {}
                Output::Answer(_, answer) => {
                    answer.expect("nothing that a device asks for here is refused");
                }
                Output::Read { log, after, entries, bytes } => {
                    assert!(link.read.is_none() && link.page.is_none(), "one read at a time");
                    link.read = Some((log, after, entries, bytes));
                }
                Output::Heads(logs) => link.heads = Some(logs),
                Output::Commit(cursors, dead, reports) => {
                    assert!(link.commit.is_none(), "one commit at a time");
                    link.commit = Some((cursors, dead, reports));
                }
                Output::Closed(_) => link.over = true,
            }
        }
        // The link takes what it is given at once.
        if let Some(link) = self.links.get_mut(name) {
            let mut out = Vec::new();
            link.session.handle(self.now, Input::Heard, &mut out);
            link.session.handle(self.now, Input::Unsent(0), &mut out);
            if !out.is_empty() {
                self.perform(name, since, out);
            }
        }
    }

    /// A push arrives: it must be for this device, now.
    fn arrive(&mut self, name: &Name, since: u64, seq: u64, entry: Entry) {
        if let Some(dismissed) = entry.aim.as_ref().and_then(|aim| aim.dismissal.as_ref()) {
            let (id, reason) = (dismissed.message, dismissed.reason);
            let over = self.model.messages[&id].over.and_then(|(_, reason)| reason);
            let known = over == Some(reason) || self.seen.contains(&(name.0.clone(), id));
            assert!(known, "{name:?} is told that {id} is {reason:?}; it is {over:?}");
            self.to_tell.remove(&(name.clone(), id));
            self.told.insert((name.clone(), id));
            self.unheard.remove(&(name.clone(), id));
            let held = Held { id: entry.id, log: None, offset: entry.offset };
            self.links.get_mut(name).expect("it arrived there").held.insert(seq, held);
            return;
        }
        let (id, message) = (entry.id, &self.model.messages[&entry.id]);
        let unheard = self.unheard.contains(&(name.clone(), id));
        let may_get = self.model.may_get(name, id, since) || unheard;
        assert!(may_get, "{name:?} received {id}, which is not for it: {message:?}");
        assert!(!self.told.contains(&(name.clone(), id)), "{name:?} was told before that {id} is taken away");
        let (log, epoch) = self.places[&id].clone();
        let quiet = self.hours(&name.0).is_some_and(|hours| hours.at(self.now.wall).quiet);
        let link = self.links.get_mut(name).expect("it arrived there");
        let floor = if quiet { Urgency::High } else { link.floor };
        assert!(entry.urgency >= floor, "{name:?} received {id} of {:?}, below {floor:?}", entry.urgency);
        let again = link.settling.iter().any(|settling| settling.held.id == id);
        assert!(!again, "{name:?} received {id} on the session that it settled it on");
        let held = Held { id, log: Some(log.clone()), offset: entry.offset };
        link.held.insert(seq, held);
        link.picky |= self.quiet.contains_key(&name.0);
        if unheard || matches!(message.over, Some((_, Some(_)))) {
            // It was on its way when it was taken away: the word of that comes behind it.
            self.to_tell.insert((name.clone(), id));
        }
        let receiver = self.model.receivers.get_mut(name).expect("a device");
        let first = receiver.received.insert(id);
        if first && !link.picky {
            let newest = self.newest.entry((name.clone(), log, epoch)).or_default();
            assert!(entry.offset > *newest, "{name:?} received {:?} of a log after {newest:?}", entry.offset);
            *newest = entry.offset;
        }
    }

    /// The store writes what a session wants written; the model learns what was acked.
    pub(crate) fn commit(&mut self, name: &Name) {
        let Some((cursors, dead, reports)) = self.links.get_mut(name).and_then(|link| link.commit.take()) else {
            return;
        };
        let link = self.links.get_mut(name).expect("it is there");
        let is_written = |held: &Held| {
            let log = held.log.as_ref();
            cursors.iter().any(|(id, cursor)| Some(id) == log && cursor.settled.contains(held.offset.0))
        };
        let (written, rest) = link.settling.drain(..).partition(|settling| is_written(&settling.held));
        link.settling = rest;
        let written: Vec<crate::link::Settling> = written;
        // Whoever left the topic meanwhile is not counted any more.
        let owed = self.model.receivers[name].owed.clone();
        for report in &reports {
            if report.what == Reported::Acked && owed.contains(&report.message) {
                self.reported.entry(report.message).or_default().0.insert(name.clone());
            }
        }
        for settling in written.iter().filter(|settling| !settling.acked && owed.contains(&settling.held.id)) {
            self.reported.entry(settling.held.id).or_default().1.insert(name.clone());
        }
        let commit = Commit { receiver: self.receiver(name), cursors, dead, reports };
        // The model first: what the ack sets off is announced with the answer.
        for settling in written {
            self.settled(name, settling.held.id, settling.acked);
        }
        let answer = self.store().commit(commit);
        self.ask(answer).expect("it is written");
        self.feed(name, 0, Input::Committed(Ok(())));
    }

    /// The store knows that a device has settled a message.
    pub(crate) fn settled(&mut self, name: &Name, id: MessageId, acked: bool) {
        self.to_tell.remove(&(name.clone(), id));
        let before = self.model.messages[&id].over;
        if acked {
            self.model.acked(name, id);
        } else if let Some(receiver) = self.model.receivers.get_mut(name) {
            receiver.owed.remove(&id);
        }
        if before.is_none() && self.model.messages[&id].over.is_some() {
            self.tell(id, Some(name));
        }
    }

    /// A message was taken away: those that have it and have not acked it are to be told.
    pub(crate) fn tell(&mut self, id: MessageId, but: Option<&Name>) {
        let message = &self.model.messages[&id];
        let follows = |name: &Name| match &message.target {
            Target::Topic(topic) => self.model.follows(name, topic),
            _ => true,
        };
        let has = self.model.receivers.iter().filter(|(name, receiver)| {
            receiver.received.contains(&id) && receiver.owed.contains(&id) && Some(*name) != but && follows(name)
        });
        let names: Vec<_> = has.map(|(name, _)| (name.clone(), id)).collect();
        self.to_tell.extend(names);
    }

    /// The store answers what a session wants to read, and what it follows.
    pub(crate) fn answer_reads(&mut self, name: &Name) {
        let Some(link) = self.links.get_mut(name) else { return };
        if let Some((log, after, entries, bytes)) = link.read.take() {
            let page = self.store().read(&log, after, entries, bytes, self.now.wall);
            let page = self.ask(page).expect("it reads");
            let step = self.model.step;
            self.links.get_mut(name).expect("it is there").page = Some((step, page));
        }
        if let Some(logs) = self.links.get_mut(name).and_then(|link| link.heads.take()) {
            let heads = self.store().heads(logs.clone());
            let heads = self.ask(heads).expect("it reads");
            let link = self.links.get_mut(name).expect("it is there");
            link.heads_read = Some(logs.into_iter().zip(heads).collect());
        }
    }

    /// What was read reaches the session.
    pub(crate) fn give_reads(&mut self, name: &Name) {
        if let Some((since, page)) = self.links.get_mut(name).and_then(|link| link.page.take()) {
            self.feed(name, since, Input::Page(Some(page)));
        }
        if let Some(heads) = self.links.get_mut(name).and_then(|link| link.heads_read.take()) {
            self.feed(name, 0, Input::Heads(heads));
        }
    }

    /// What users follow or want has changed: their sessions hold still until they know.
    pub(crate) fn changed(&mut self, user: &UserId) {
        let names: Vec<_> = self.links.keys().filter(|(owner, _)| owner == user).cloned().collect();
        names.iter().for_each(|name| self.hold(name));
        self.stop_telling();
    }

    /// A session is to learn what its device follows, and holds still until then.
    pub(crate) fn hold(&mut self, name: &Name) {
        self.links.get_mut(name).expect("it is there").refreshing = true;
        self.feed(name, 0, Input::Refreshing);
    }

    /// Who follows a topic no longer is not told of what is taken away there.
    pub(crate) fn stop_telling(&mut self) {
        let model = &self.model;
        self.to_tell.retain(|(name, id)| match &model.messages[id].target {
            Target::Topic(topic) => model.follows(name, topic),
            _ => true,
        });
    }

    /// A session learns what its device follows now.
    pub(crate) fn refresh(&mut self, name: &Name) {
        let receiver = self.receiver(name);
        let follows = self.store().follows(&receiver);
        let follows = self.ask(follows).expect("it is known");
        self.check_follows(name, &follows);
        let hours = follows.quiet_hours.map(|hours| Hours::new(&hours).expect("they were checked"));
        self.links.get_mut(name).expect("it is there").refreshing = false;
        self.feed(name, 0, Input::Refreshed(follows.following, hours));
    }
}

fn open_store(folder: &TempDir) -> (Arc<dyn Store>, Arc<Ears>) {
    let options = StoreOptions { data: folder.path().join("store"), ..StoreOptions::default() };
    let store = open(&options).expect("the store opens");
    let ears = Arc::new(Ears::default());
    store.announce_to(Arc::clone(&ears) as Arc<dyn Listener>);
    (store, ears)
}
