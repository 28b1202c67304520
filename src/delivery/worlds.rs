//! Seeded worlds: a few devices, a backend, a store and a network that misbehave in every way a seed can think of, and
//! what must hold nevertheless. A failure names its seed; `PUSHLINE_SEED=n cargo test worlds` runs that one again.
//!
//! What must hold: nothing accepted and unexpired is lost (P5.8), nothing is delivered after its ack was confirmed,
//! first deliveries keep their order per log, window and unsent bytes stay within their bounds, reads without progress
//! are no more than there were reasons to look, and everything comes to rest once the network is well again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;

use crate::delivery::handshake::Handshake;
use crate::delivery::options::Options;
use crate::delivery::session::{Input, Output, Session};
use crate::model::clock::{Moment, Now, Timestamp};
use crate::model::close::CloseReason;
use crate::model::cursor::{Cursor, Dead, Following};
use crate::model::fault::{Code, Fault};
use crate::model::frame::{Ack, Frame, Nack, Open, Ticket, Verdict};
use crate::model::id::{DeviceId, MessageId, Receiver, SessionId, TenantId, TopicName, UserId};
use crate::model::log::{Epoch, Head, LogId, Offset};
use crate::model::message::{Entry, Page, Urgency};

const DAY: Duration = Duration::from_secs(86_400);

/// A log as the store has it.
#[derive(Default)]
struct Log {
    head: Head,
    entries: BTreeMap<u64, Entry>,
}

/// A device: what the store knows of it, and what it has seen itself.
struct Device {
    receiver: Receiver,
    /// What the store has; a log that is not in here is not followed.
    cursors: BTreeMap<LogId, Cursor>,
    /// Offset after which a followed log is owed to the device, in which life of the log.
    owed_after: BTreeMap<LogId, (Epoch, u64)>,
    dead: BTreeSet<MessageId>,
    received: BTreeSet<MessageId>,
    /// Acks that the server has confirmed.
    confirmed: BTreeSet<MessageId>,
    /// Newest offset that was delivered for the first time, per life of a log.
    newest: BTreeMap<(LogId, Epoch), u64>,
    /// It changes its urgency floor, which breaks order by design.
    picky: bool,
    connection: Option<Connection>,
}

/// A connection: the session on one end, the device on the other, and what is on its way.
struct Connection {
    session: Session,
    window: usize,
    floor: Urgency,
    /// Queued by the session, not yet at the device.
    wire: VecDeque<Frame>,
    wire_bytes: usize,
    /// At the device and not settled: seq to message.
    held: BTreeMap<u64, MessageId>,
    asked_reads: VecDeque<(LogId, Offset, usize, usize)>,
    asked_heads: VecDeque<Vec<LogId>>,
    /// The commit that is out.
    asked_commit: Option<AskedCommit>,
    /// Acks without an answer: the messages they name.
    asked_acks: BTreeMap<u32, Vec<MessageId>>,
    hints: VecDeque<Input>,
    closed: bool,
    reasons_to_look: u64,
    idle_reads: u64,
}

/// A commit that is out; the flag says whether the store has applied it.
type AskedCommit = (Vec<(LogId, Cursor)>, Vec<Dead>, bool);

/// Everything.
struct World {
    rng: Rng,
    now: Now,
    wall_max: Timestamp,
    options: Arc<Options>,
    logs: BTreeMap<LogId, Log>,
    devices: Vec<Device>,
    messages: u64,
    tickets: u32,
    sessions: u64,
    /// The network is well: no hint is lost, no link cut, everything is acked.
    well: bool,
}

fn tenant() -> TenantId {
    TenantId::new("t").expect("a name")
}

fn inbox(user: u32) -> LogId {
    LogId::Inbox(tenant(), UserId::new(&format!("u{user}")).expect("a name"))
}

fn topic(number: u32) -> LogId {
    LogId::Topic(tenant(), TopicName::new(&format!("t{number}")).expect("a name"))
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let options = Options {
            window_default: 4,
            window_max: 8,
            attempts_max: 3,
            unsent_bytes_max: 600,
            page_entries: rng.usize(1..6),
            page_bytes: 400,
            settled_spans_max: if rng.bool() { 4 } else { 1000 },
            ..Options::default()
        };
        let devices = (0..4).map(|n| {
            let user = n / 2;
            let receiver = Receiver {
                tenant: tenant(),
                user: UserId::new(&format!("u{user}")).expect("a name"),
                device: DeviceId::new(&format!("d{n}")).expect("a name"),
            };
            Device {
                receiver,
                cursors: BTreeMap::new(),
                owed_after: BTreeMap::new(),
                dead: BTreeSet::new(),
                received: BTreeSet::new(),
                confirmed: BTreeSet::new(),
                newest: BTreeMap::new(),
                picky: n == 3,
                connection: None,
            }
        });
        let devices = devices.collect();
        let wall = Timestamp::from_millis(1_000_000_000);
        Self {
            rng,
            now: Now { moment: Moment::ZERO, wall },
            wall_max: wall,
            options: Arc::new(options),
            logs: BTreeMap::new(),
            devices,
            messages: 0,
            tickets: 0,
            sessions: 0,
            well: false,
        }
    }

    fn log(&mut self, id: &LogId) -> &mut Log {
        let rng = &mut self.rng;
        self.logs.entry(id.clone()).or_insert_with(|| {
            let head = Head { epoch: Epoch(rng.u64(1..)), ..Head::default() };
            Log { head, entries: BTreeMap::new() }
        })
    }

    fn pass(&mut self, span: Duration) {
        self.now.moment = self.now.moment + span;
        self.now.wall = self.now.wall + span;
        self.wall_max = self.wall_max.max(self.now.wall);
    }

    /// A backend pushes: one append, and hints that may get lost.
    fn push(&mut self) {
        let id = if self.rng.bool() { inbox(self.rng.u32(0..2)) } else { topic(self.rng.u32(0..2)) };
        let device = match &id {
            LogId::Inbox(_, user) if self.rng.u8(0..4) == 0 => {
                let of_user: Vec<_> = self.devices.iter().filter(|device| device.receiver.user == *user).collect();
                Some(of_user[self.rng.usize(0..2)].receiver.device.clone())
            }
            _ => None,
        };
        self.messages += 1;
        let ttl = if self.rng.u8(0..6) == 0 { Duration::from_secs(self.rng.u64(1..90)) } else { DAY * 365 };
        let mut entry = Entry {
            offset: Offset::ZERO,
            id: MessageId::new(self.messages, [0; 10]),
            accepted_at: self.now.wall,
            expires_at: self.now.wall + ttl,
            urgency: self.rng.choice(Urgency::ALL).expect("not empty"),
            device,
            body: Bytes::from(vec![0; self.rng.usize(0..300)]),
        };
        let online = self.rng.u8(0..12) == 0;
        let replaces = self.rng.u8(0..8) == 0;
        let log = self.log(&id);
        if !online {
            if replaces {
                // A collapse key's older message goes.
                log.entries.pop_last();
            }
            log.head.last = log.head.last.next();
            entry.offset = log.head.last;
            log.entries.insert(entry.offset.0, entry.clone());
        } else {
            entry.expires_at = Timestamp::ZERO;
        }
        let head = log.head;
        for number in 0..self.devices.len() {
            let lost = !self.well && self.rng.u8(0..4) == 0;
            let bare = self.rng.u8(0..4) == 0;
            let device = &mut self.devices[number];
            let follows = device.cursors.contains_key(&id);
            let Some(connection) = device.connection.as_mut().filter(|_| follows && !lost) else { continue };
            connection.hints.push_back(if online {
                Input::Online(entry.clone())
            } else {
                let entry = (!bare).then(|| entry.clone());
                Input::Grown { log: id.clone(), epoch: head.epoch, last: head.last, entry }
            });
        }
    }

    /// The device connects; an older connection of it is closed first, as the node does.
    fn connect(&mut self, number: usize) {
        self.take_over(number);
        let own = inbox(u32::try_from(number / 2).expect("few users"));
        let head = self.log(&own).head;
        let device = &mut self.devices[number];
        let new = device.cursors.is_empty();
        if new {
            device.cursors.insert(own.clone(), Cursor { epoch: head.epoch, ..Cursor::default() });
            device.owed_after.insert(own, (head.epoch, 0));
        }
        let logs: Vec<LogId> = device.cursors.keys().cloned().collect();
        let following = logs.into_iter().map(|log| {
            let head = self.log(&log).head;
            let cursor = self.devices[number].cursors[&log].clone();
            Following { log, cursor, head }
        });
        let following: Vec<_> = following.collect();
        let picky = self.devices[number].picky;
        let floor =
            if picky && !self.well { self.rng.choice(Urgency::ALL).expect("not empty") } else { Urgency::VeryLow };
        let window = self.rng.u32(0..10);
        let open = Open {
            token: String::new(),
            device: None,
            heartbeat: Duration::ZERO,
            window,
            urgency_floor: floor,
            agent: String::new(),
        };
        let receiver = self.devices[number].receiver.clone();
        let expires = Timestamp::from_millis(u64::MAX);
        let handshake = Handshake::check(&open, receiver, expires, &self.options).expect("its own token");
        self.sessions += 1;
        let id = (SessionId::new(self.sessions), self.rng.u64(..));
        let mut out = Vec::new();
        let session = handshake.accept(id, new, following, Arc::clone(&self.options), self.now, &mut out);
        self.devices[number].connection = Some(Connection {
            session,
            window: if window == 0 { 4 } else { window.min(8) } as usize,
            floor,
            wire: VecDeque::new(),
            wire_bytes: 0,
            held: BTreeMap::new(),
            asked_reads: VecDeque::new(),
            asked_heads: VecDeque::new(),
            asked_commit: None,
            asked_acks: BTreeMap::new(),
            hints: VecDeque::new(),
            closed: false,
            reasons_to_look: 1,
            idle_reads: 0,
        });
        self.perform(number, out);
    }

    fn take_over(&mut self, number: usize) {
        if self.devices[number].connection.is_some() {
            self.feed(number, Input::Close(CloseReason::TakenOver));
            // The node waits for the last commit of the older session before it loads the cursors.
            while self.devices[number].connection.as_ref().is_some_and(|connection| !connection.closed) {
                self.answer_commit(number, true);
            }
            self.devices[number].connection = None;
        }
    }

    fn feed(&mut self, number: usize, input: Input) {
        let Some(connection) = self.devices[number].connection.as_mut() else { return };
        if !matches!(input, Input::Page(_)) {
            connection.reasons_to_look += 1;
        }
        let mut out = Vec::new();
        connection.session.handle(self.now, input, &mut out);
        self.perform(number, out);
    }

    /// Does what a session wants, and checks each wish.
    fn perform(&mut self, number: usize, out: Vec<Output>) {
        let now = self.now;
        let device = &mut self.devices[number];
        let Some(connection) = device.connection.as_mut() else { return };
        for output in out {
            let refusal = matches!(output, Output::Answer(_, Err(_)));
            assert!(!connection.closed || refusal, "an output after the end: {output:?}");
            match output {
                Output::Send(frame) => {
                    if let Frame::Push { entry, .. } = &frame {
                        let bytes = connection.wire_bytes;
                        assert!(bytes < self.options.unsent_bytes_max, "sent with {bytes} bytes unsent");
                        connection.wire_bytes += entry.body.len() + 64;
                        // What was on the wire before the ack came may still arrive; nothing may be sent after it.
                        let confirmed = device.confirmed.contains(&entry.id);
                        assert!(!confirmed, "{} was sent after its ack was confirmed", entry.id);
                        assert!(!entry.expired(now.wall), "an expired message was sent");
                        assert!(entry.urgency >= connection.floor, "a withheld message was sent");
                        let own = entry.device.as_ref().is_none_or(|only| *only == device.receiver.device);
                        assert!(own, "another device's message was sent");
                    }
                    connection.wire.push_back(frame);
                }
                Output::Answer(ticket, result) => {
                    let named = connection.asked_acks.remove(&ticket.0).expect("one answer for each request");
                    if result.is_ok() {
                        device.confirmed.extend(named);
                    }
                }
                Output::Read { log, after, entries, bytes } => {
                    assert!(connection.asked_reads.is_empty(), "two reads are out");
                    connection.asked_reads.push_back((log, after, entries, bytes));
                }
                Output::Heads(logs) => connection.asked_heads.push_back(logs),
                Output::Commit(cursors, dead) => {
                    assert!(connection.asked_commit.is_none(), "two commits are out");
                    connection.asked_commit = Some((cursors, dead, false));
                }
                Output::Ping => connection.hints.push_back(Input::Heard),
                Output::Closed(_) => connection.closed = true,
            }
        }
        let (flying, window) = (connection.session.in_flight(), connection.window);
        assert!(flying <= window, "{flying} in flight with a window of {window}");
        let (idle, reasons) = (connection.idle_reads, connection.reasons_to_look);
        assert!(idle <= reasons, "{idle} reads found nothing, with {reasons} reasons to look");
    }

    fn answer_read(&mut self, number: usize) {
        let Some(connection) = self.devices[number].connection.as_mut() else { return };
        let Some((id, after, entries, bytes)) = connection.asked_reads.pop_front() else { return };
        let wall = self.now.wall;
        let log = self.log(&id);
        let mut page = Page { entries: Vec::new(), looked: log.head.last.max(after), head: log.head };
        let mut size = 0;
        for entry in log.entries.range(after.0 + 1..).map(|(_, entry)| entry) {
            if page.entries.len() == entries || (size >= bytes && !page.entries.is_empty()) {
                page.looked = Offset(entry.offset.0 - 1);
                break;
            }
            if !entry.expired(wall) {
                size += entry.body.len();
                page.entries.push(entry.clone());
            }
        }
        let connection = self.devices[number].connection.as_mut().expect("it was there");
        if page.looked <= after {
            connection.idle_reads += 1;
        }
        self.feed(number, Input::Page(Some(page)));
    }

    fn answer_heads(&mut self, number: usize) {
        let Some(connection) = self.devices[number].connection.as_mut() else { return };
        let Some(logs) = connection.asked_heads.pop_front() else { return };
        let heads = logs.into_iter().map(|log| (log.clone(), self.log(&log).head)).collect();
        self.feed(number, Input::Heads(heads));
    }

    /// The store applies a commit, and answers it or not yet.
    fn answer_commit(&mut self, number: usize, answer: bool) {
        let fail = !self.well && self.rng.u8(0..10) == 0;
        let device = &mut self.devices[number];
        let Some(connection) = device.connection.as_mut() else { return };
        let Some((cursors, dead, applied)) = connection.asked_commit.as_mut() else { return };
        if fail && !*applied {
            connection.asked_commit = None;
            return self.feed(number, Input::Committed(Err(Fault::new(Code::StoreBusy, "busy"))));
        }
        if !*applied {
            *applied = true;
            for (log, cursor) in cursors {
                let Some(stored) = device.cursors.get_mut(log) else { continue };
                if stored.epoch == cursor.epoch {
                    stored.merge(cursor);
                } else if self.logs[log].head.epoch == cursor.epoch {
                    *stored = cursor.clone();
                }
            }
            for dead in dead {
                if let Some(entry) = self.logs[&dead.log].entries.get(&dead.offset.0) {
                    device.dead.insert(entry.id);
                }
            }
        }
        if answer {
            connection.asked_commit = None;
            self.feed(number, Input::Committed(Ok(())));
        }
    }

    /// Some of what is on the wire reaches the device, in order.
    fn flush(&mut self, number: usize) {
        let Some(connection) = self.devices[number].connection.as_mut() else { return };
        let frames = if self.well { connection.wire.len() } else { self.rng.usize(0..=connection.wire.len()) };
        let frames: Vec<_> = connection.wire.drain(..frames).collect();
        for frame in frames {
            if let Frame::Push { seq, entry, .. } = frame {
                self.arrive(number, seq, &entry);
            }
        }
        let connection = self.devices[number].connection.as_mut().expect("it was there");
        let bytes = connection.wire_bytes;
        self.feed(number, Input::Unsent(bytes));
    }

    fn arrive(&mut self, number: usize, seq: u64, entry: &Entry) {
        let device = &mut self.devices[number];
        let connection = device.connection.as_mut().expect("something arrived on it");
        connection.wire_bytes -= entry.body.len() + 64;
        connection.held.insert(seq, entry.id);
        let first = device.received.insert(entry.id);
        let home = self.logs.iter().find(|(_, log)| log.entries.get(&entry.offset.0).is_some_and(|e| e.id == entry.id));
        // A message that had expired may come late when the wall clock jumps back.
        let alive = entry.expires_at > self.wall_max;
        if let Some((id, log)) = home.filter(|_| first && alive && !device.picky) {
            let newest = device.newest.entry((id.clone(), log.head.epoch)).or_default();
            assert!(entry.offset.0 > *newest, "offset {} of {id} came after {newest}", entry.offset.0);
            *newest = entry.offset.0;
        }
    }

    /// The device settles some of what it holds, and sometimes talks nonsense.
    fn settle(&mut self, number: usize) {
        self.tickets += 1;
        let ticket = self.tickets;
        let well = self.well;
        let Some(connection) = self.devices[number].connection.as_mut() else { return };
        let mut ack = Ack::default();
        let mut named = Vec::new();
        for (seq, id) in std::mem::take(&mut connection.held) {
            match if well { 0 } else { self.rng.u8(0..8) } {
                0..=3 => {
                    ack.acked.push((seq, seq));
                    named.push(id);
                }
                4 => {
                    let verdict = if self.rng.u8(0..8) == 0 { Verdict::Reject } else { Verdict::Retry };
                    ack.nacked.push(Nack { seq, verdict, reason: "no".into() });
                }
                5 => {} // Forgotten: the ack timeout will find it.
                _ => {
                    connection.held.insert(seq, id);
                }
            }
        }
        if ack.acked.is_empty() && ack.nacked.is_empty() {
            return;
        }
        if !well && self.rng.u8(0..20) == 0 {
            // A seq that was never sent: nothing of the request may be applied.
            ack.acked.push((1, 1_000_000));
            named.clear();
        }
        connection.asked_acks.insert(ticket, named);
        self.feed(number, Input::Ack(Ticket(ticket), ack));
    }

    fn topics(&mut self, number: usize) {
        if self.devices[number].connection.is_none() {
            return;
        }
        let id = topic(self.rng.u32(0..2));
        if self.devices[number].cursors.contains_key(&id) {
            if self.rng.u8(0..3) == 0 {
                self.devices[number].cursors.remove(&id);
                self.devices[number].owed_after.remove(&id);
                // Followed anew it begins at the head: older messages are none of its business.
                self.feed(number, Input::Unfollowed(vec![id]));
            }
            return;
        }
        let head = self.log(&id).head;
        let cursor = Cursor::after(head.epoch, head.last);
        let device = &mut self.devices[number];
        device.cursors.insert(id.clone(), cursor.clone());
        device.owed_after.insert(id.clone(), (head.epoch, head.last.0));
        self.feed(number, Input::Followed(vec![Following { log: id, cursor, head }]));
    }

    fn update(&mut self, number: usize, floor: Urgency) {
        self.tickets += 1;
        let Some(connection) = self.devices[number].connection.as_mut() else { return };
        connection.asked_acks.insert(self.tickets, Vec::new());
        connection.floor = floor;
        let ticket = Ticket(self.tickets);
        if connection.session.over() {
            connection.asked_acks.remove(&ticket.0);
            return;
        }
        self.feed(number, Input::Update(ticket, Some(floor), None));
    }

    /// The store loses a topic's log and begins a new one, or retention takes its oldest entries.
    fn spoil(&mut self) {
        let id = topic(self.rng.u32(0..2));
        let lose = self.rng.u8(0..3) == 0;
        let epoch = Epoch(self.rng.u64(1..));
        let trim = self.rng.usize(0..4);
        let log = self.log(&id);
        if lose {
            *log = Log { head: Head { epoch, ..Head::default() }, entries: BTreeMap::new() };
            for device in &mut self.devices {
                if let Some(owed) = device.owed_after.get_mut(&id) {
                    *owed = (epoch, 0);
                }
            }
        } else {
            for _ in 0..trim {
                if let Some((offset, _)) = log.entries.pop_first() {
                    log.head.trimmed = Offset(offset);
                }
            }
        }
    }

    /// One thing happens.
    fn step(&mut self) {
        let number = self.rng.usize(0..self.devices.len());
        match self.rng.u8(0..34) {
            0..=6 => self.push(),
            7 => self.connect(number),
            8 if self.rng.bool() => self.devices[number].connection = None,
            9 if self.rng.u8(0..4) == 0 => {
                // The gateway dies: what was not applied is lost.
                for device in &mut self.devices {
                    device.connection = None;
                }
            }
            10 => {
                let ahead = Duration::from_millis(self.rng.u64(0..20_000));
                self.pass(ahead);
            }
            11 if self.rng.u8(0..6) == 0 => {
                let jump = Duration::from_secs(self.rng.u64(0..100));
                let back = self.rng.bool();
                self.now.wall = if back { self.now.wall - jump } else { self.now.wall + jump };
                self.wall_max = self.wall_max.max(self.now.wall);
            }
            12 | 13 => self.topics(number),
            14 if self.rng.u8(0..6) == 0 => self.spoil(),
            15 if self.devices[number].picky => {
                let floor = self.rng.choice(Urgency::ALL).expect("not empty");
                self.update(number, floor);
            }
            16 if self.rng.u8(0..4) == 0 => {
                let drain = Input::Drain { return_after: Duration::ZERO, grace: Duration::from_secs(5) };
                self.feed(number, drain);
            }
            17..=19 => self.settle(number),
            20..=22 => self.flush(number),
            23 => self.answer_commit(number, false),
            _ => self.turn(number),
        }
    }

    /// The store and the clock serve one device.
    fn turn(&mut self, number: usize) {
        self.answer_read(number);
        self.answer_heads(number);
        self.answer_commit(number, true);
        let hint = self.devices[number].connection.as_mut().and_then(|connection| connection.hints.pop_front());
        if let Some(hint) = hint {
            self.feed(number, hint);
        }
        let due = self.devices[number].connection.as_ref().map(|connection| connection.session.deadline());
        if due.is_some_and(|due| due <= self.now.moment) {
            self.feed(number, Input::Deadline);
        }
        if self.devices[number].connection.as_ref().is_some_and(|connection| connection.closed) {
            self.devices[number].connection = None;
        }
    }

    /// The network is well again: everything must arrive, and everything must come to rest.
    fn heal(&mut self) {
        self.well = true;
        for number in 0..self.devices.len() {
            self.connect(number);
        }
        for round in 0.. {
            assert!(round < 400, "it does not come to rest: {:?}", self.missing());
            for number in 0..self.devices.len() {
                if self.devices[number].connection.is_none() {
                    self.connect(number);
                }
                for _ in 0..20 {
                    self.turn(number);
                    self.flush(number);
                    self.settle(number);
                }
                self.feed(number, Input::Heard);
            }
            if round >= 3 && self.missing().is_empty() {
                return;
            }
            self.pass(Duration::from_secs(5));
        }
    }

    /// What is owed and has not arrived.
    fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        for device in &self.devices {
            for (id, &(epoch, after)) in &device.owed_after {
                let Some(log) = self.logs.get(id).filter(|log| log.head.epoch == epoch) else { continue };
                for entry in log.entries.range(after + 1..).map(|(_, entry)| entry) {
                    let own = entry.device.as_ref().is_none_or(|only| *only == device.receiver.device);
                    let alive = entry.expires_at > self.wall_max;
                    let settled = device.received.contains(&entry.id) || device.dead.contains(&entry.id);
                    if own && alive && !settled {
                        missing.push(format!("{} {id} {}", device.receiver, entry.offset.0));
                    }
                }
            }
        }
        missing
    }
}

fn run(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..world.rng.usize(50..400) {
        world.step();
    }
    world.heal();
}

/// P5.8 and the promises of delivery: see the top of this file.
#[test]
fn worlds_keep_every_promise() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("PUSHLINE_SEED") {
        return run(seed);
    }
    let seeds = number("PUSHLINE_SEEDS").unwrap_or(1_000);
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    if std::panic::catch_unwind(|| run(seed)).is_err() {
                        panic!("the world of seed {seed} broke a promise; see above; PUSHLINE_SEED={seed} repeats it");
                    }
                }
            });
        }
    });
}
