//! One world: devices, connections and logs, what a backend does to them, and what every wish of a session must obey.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;

use crate::delivery::handshake::{Handshake, Known};
use crate::delivery::options::Options;
use crate::delivery::session::{Input, Output, Session};
use crate::delivery::worlds::token::Token;
use crate::model::clock::{Moment, Now, Timestamp};
use crate::model::close::CloseReason;
use crate::model::cursor::{Cursor, Dead, Following};
use crate::model::frame::{Frame, Open};
use crate::model::id::{DeviceId, DeviceNumber, MessageId, Receiver, SessionId, TenantId, TopicName, UserId};
use crate::model::log::{Epoch, Head, LogId, Offset};
use crate::model::message::{Entry, Page, Urgency};
use crate::model::receipt::Report;
use crate::zone::Hours;

pub(super) const DAY: Duration = Duration::from_secs(86_400);

/// A log as the store has it.
#[derive(Default)]
pub(super) struct Log {
    pub(super) head: Head,
    pub(super) entries: BTreeMap<u64, Entry>,
}

/// A device: what the store knows of it, and what it has seen itself.
pub(super) struct Device {
    pub(super) receiver: Receiver,
    /// What the store has; a log that is not in here is not followed.
    pub(super) cursors: BTreeMap<LogId, Cursor>,
    /// Offset after which a followed log is owed to the device, in which life of the log.
    pub(super) owed_after: BTreeMap<LogId, (Epoch, u64)>,
    pub(super) dead: BTreeSet<MessageId>,
    /// What was for it when it was pushed.
    pub(super) eligible: BTreeSet<MessageId>,
    /// What the user has seen on the other device.
    pub(super) spared: BTreeSet<MessageId>,
    /// What it was told to take away.
    pub(super) told_to_dismiss: BTreeSet<MessageId>,
    /// Topics that were left at least once.
    pub(super) left: BTreeSet<LogId>,
    /// Messages that the store was told it has acked.
    pub(super) told_acked: BTreeSet<MessageId>,
    pub(super) received: BTreeSet<MessageId>,
    /// How often each message was sent to it.
    pub(super) sent: BTreeMap<MessageId, u32>,
    /// Acks that the server has confirmed.
    pub(super) confirmed: BTreeSet<MessageId>,
    /// Newest offset that was delivered for the first time, per life of a log.
    pub(super) newest: BTreeMap<(LogId, Epoch), u64>,
    /// It changes its urgency floor.
    pub(super) picky: bool,
    /// Something was or may have been withheld from it, which breaks order by design.
    pub(super) unordered: bool,
    pub(super) connection: Option<Connection>,
}

/// A connection: the session on one end, the device on the other, and what is on its way.
pub(super) struct Connection {
    pub(super) session: Session,
    pub(super) window: usize,
    /// In flight after the last input: a window that shrinks lets go of nothing.
    pub(super) flying: usize,
    /// It was asked to move.
    pub(super) moving: bool,
    pub(super) floor: Urgency,
    pub(super) token: Token,
    /// Queued by the session, not yet at the device.
    pub(super) wire: VecDeque<Frame>,
    pub(super) wire_bytes: usize,
    /// At the device and not settled: seq to message.
    pub(super) held: BTreeMap<u64, MessageId>,
    /// Seqs it has settled one way or the other, to say so again.
    pub(super) said: Vec<u64>,
    pub(super) asked_reads: VecDeque<(LogId, Offset, usize, usize)>,
    /// What the store saw for the read that is out, if it has looked.
    pub(super) looked: Option<Page>,
    pub(super) asked_heads: VecDeque<Vec<LogId>>,
    /// What it follows was asked anew.
    pub(super) refreshing: bool,
    /// Quiet hours as the session knows them.
    pub(super) quiet: Option<Hours>,
    /// The session had no deadline behind it when it was last given something.
    pub(super) current: bool,
    /// Deliveries that the store is to be told of: message and attempt.
    pub(super) to_report: BTreeSet<(MessageId, u32)>,
    /// The commit that is out.
    pub(super) asked_commit: Option<AskedCommit>,
    /// Acks without an answer: the messages they name.
    pub(super) asked_acks: BTreeMap<u32, Vec<MessageId>>,
    pub(super) hints: VecDeque<Input>,
    pub(super) closed: bool,
    pub(super) reasons_to_look: u64,
    pub(super) idle_reads: u64,
}

/// A commit that is out; the flag says whether the store has applied it.
pub(super) type AskedCommit = (Vec<(LogId, Cursor)>, Vec<Dead>, Vec<Report>, bool);

/// Everything.
pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) now: Now,
    pub(super) wall_max: Timestamp,
    pub(super) options: Arc<Options>,
    pub(super) logs: BTreeMap<LogId, Log>,
    pub(super) devices: Vec<Device>,
    pub(super) messages: u64,
    pub(super) tickets: u32,
    pub(super) sessions: u64,
    /// A log was lost: its offsets were given again.
    pub(super) lost: bool,
    /// Quiet hours of each user.
    pub(super) quiet: [Option<Hours>; 2],
    /// The wall clock was set: what was reckoned by it may be wrong for a while.
    pub(super) jumped: bool,
    /// The network is well: no hint is lost, no link cut, everything is acked.
    pub(super) well: bool,
}

pub(super) fn tenant() -> TenantId {
    TenantId::new("t").expect("a name")
}

/// The window that is agreed on when the device asks for this one.
pub(super) fn agreed(window: u32) -> usize {
    if window == 0 { 4 } else { window.min(8) as usize }
}

pub(super) fn inbox(user: u32) -> LogId {
    LogId::Inbox(tenant(), UserId::new(&format!("u{user}")).expect("a name"))
}

pub(super) fn broadcast() -> LogId {
    LogId::Broadcast(tenant())
}

pub(super) fn topic(number: u32) -> LogId {
    LogId::Topic(tenant(), TopicName::new(&format!("t{number}")).expect("a name"))
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
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
                eligible: BTreeSet::new(),
                spared: BTreeSet::new(),
                told_to_dismiss: BTreeSet::new(),
                left: BTreeSet::new(),
                told_acked: BTreeSet::new(),
                received: BTreeSet::new(),
                sent: BTreeMap::new(),
                confirmed: BTreeSet::new(),
                newest: BTreeMap::new(),
                picky: n == 3,
                unordered: n == 3,
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
            lost: false,
            quiet: [None, None],
            jumped: false,
            well: false,
        }
    }

    pub(super) fn log(&mut self, id: &LogId) -> &mut Log {
        let rng = &mut self.rng;
        self.logs.entry(id.clone()).or_insert_with(|| {
            let head = Head { epoch: Epoch(rng.u64(1..)), ..Head::default() };
            Log { head, entries: BTreeMap::new() }
        })
    }

    pub(super) fn pass(&mut self, span: Duration) {
        self.now.moment = self.now.moment + span;
        self.now.wall = self.now.wall + span;
        self.wall_max = self.wall_max.max(self.now.wall);
    }

    /// A backend pushes: one append, and hints that may get lost.
    pub(super) fn push(&mut self) {
        let id = match self.rng.u8(0..5) {
            0 | 1 => inbox(self.rng.u32(0..2)),
            2 | 3 => topic(self.rng.u32(0..2)),
            _ => broadcast(),
        };
        let device = match &id {
            LogId::Inbox(_, user) if self.rng.u8(0..4) == 0 => {
                let of_user: Vec<_> = self.devices.iter().filter(|device| device.receiver.user == *user).collect();
                Some(of_user[self.rng.usize(0..2)].receiver.device.clone())
            }
            _ => None,
        };
        self.messages += 1;
        let ttl = if self.rng.u8(0..6) == 0 { Duration::from_secs(self.rng.u64(1..90)) } else { DAY * 365 };
        let aim = self.some_aim(&id);
        let mut entry = Entry {
            offset: Offset::ZERO,
            id: MessageId::new(self.messages, [0; 10]),
            accepted_at: self.now.wall,
            expires_at: self.now.wall + ttl,
            urgency: self.rng.choice(Urgency::ALL).expect("not empty"),
            device,
            aim,
            receipts: self.rng.bool(),
            body: Bytes::from(vec![0; self.rng.usize(0..300)]),
        };
        let online = self.rng.u8(0..12) == 0;
        let replaces = self.rng.u8(0..8) == 0;
        if !online && replaces {
            // A collapse key's older message goes.
            self.log(&id).entries.pop_last();
        }
        if online {
            entry.expires_at = Timestamp::ZERO;
        }
        self.append(&id, entry, online);
    }

    /// An entry is appended, unless it is for those only who are online, and hinted.
    pub(super) fn append(&mut self, id: &LogId, mut entry: Entry, online: bool) {
        let log = self.log(id);
        if !online {
            log.head.last = log.head.last.next();
            entry.offset = log.head.last;
            log.entries.insert(entry.offset.0, entry.clone());
        }
        let head = log.head;
        for number in 0..self.devices.len() {
            let lost = !self.well && self.rng.u8(0..4) == 0;
            let bare = self.rng.u8(0..4) == 0;
            let device = &mut self.devices[number];
            let follows = device.cursors.contains_key(id);
            let Receiver { user, device: name, .. } = &device.receiver;
            let own = entry.device.as_ref().is_none_or(|only| only == name);
            let meets = entry.aim.as_ref().is_none_or(|aim| aim.meets(user, name, DeviceNumber(number as u32)));
            let inbox = matches!(id, LogId::Inbox(_, of) if of == user);
            if (follows || inbox) && own && meets {
                device.eligible.insert(entry.id);
            }
            // Hints of the broadcast log go to the audience alone.
            let hinted = follows && !lost && (meets || *id != broadcast());
            let Some(connection) = device.connection.as_mut().filter(|_| hinted) else { continue };
            connection.hints.push_back(if online {
                Input::Online(entry.clone())
            } else {
                let entry = (!bare).then(|| entry.clone());
                Input::Grown { log: id.clone(), epoch: head.epoch, last: head.last, entry }
            });
        }
    }

    /// The device connects; an older connection of it is closed first, as the node does.
    pub(super) fn connect(&mut self, number: usize) {
        self.take_over(number);
        let own = inbox(u32::try_from(number / 2).expect("few users"));
        let head = self.log(&own).head;
        let device = &mut self.devices[number];
        let new = device.cursors.is_empty();
        if new {
            device.cursors.insert(own.clone(), Cursor { epoch: head.epoch, ..Cursor::default() });
            device.owed_after.insert(own, (head.epoch, 0));
            // What was broadcast before it was known is not for it.
            let head = self.log(&broadcast()).head;
            let device = &mut self.devices[number];
            device.cursors.insert(broadcast(), Cursor::after(head.epoch, head.last));
            device.owed_after.insert(broadcast(), (head.epoch, head.last.0));
        }
        let following = self.following(number);
        // Each log that is followed is a reason to look into it.
        let reasons_to_look = following.len() as u64;
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
            attributes: BTreeMap::new(),
        };
        let receiver = self.devices[number].receiver.clone();
        let life = self.some_life();
        let handshake = Handshake::check(&open, receiver, life, &self.options).expect("its own token");
        self.sessions += 1;
        let id = (SessionId::new(self.sessions), self.rng.u64(..));
        let mut out = Vec::new();
        let quiet = self.quiet[number / 2].clone();
        let device = DeviceNumber(u32::try_from(number).expect("few devices"));
        let known = Known { new, number: device, following, group_topics: Vec::new(), quiet: quiet.clone() };
        let session = handshake.accept(id, known, Arc::clone(&self.options), self.now, &mut out);
        self.devices[number].connection = Some(Connection {
            session,
            window: agreed(window),
            flying: 0,
            moving: false,
            floor,
            token: Token::new(life, self.now),
            wire: VecDeque::new(),
            wire_bytes: 0,
            held: BTreeMap::new(),
            said: Vec::new(),
            asked_reads: VecDeque::new(),
            looked: None,
            asked_heads: VecDeque::new(),
            asked_commit: None,
            refreshing: false,
            quiet,
            current: true,
            to_report: BTreeSet::new(),
            asked_acks: BTreeMap::new(),
            hints: VecDeque::new(),
            closed: false,
            reasons_to_look,
            idle_reads: 0,
        });
        self.perform(number, out);
    }

    /// What the store says that a device follows.
    pub(super) fn following(&mut self, number: usize) -> Vec<Following> {
        let cursors = self.devices[number].cursors.clone();
        cursors.into_iter().map(|(log, cursor)| Following { head: self.log(&log).head, log, cursor }).collect()
    }

    pub(super) fn take_over(&mut self, number: usize) {
        if self.devices[number].connection.is_some() {
            self.feed(number, Input::Close(CloseReason::TakenOver));
            // The node waits for the last commit of the older session before it loads the cursors.
            while self.devices[number].connection.as_ref().is_some_and(|connection| !connection.closed) {
                self.answer_commit(number, true);
            }
            self.devices[number].connection = None;
        }
    }

    pub(super) fn feed(&mut self, number: usize, input: Input) {
        let Some(connection) = self.devices[number].connection.as_mut() else { return };
        if !matches!(input, Input::Page(_)) {
            connection.reasons_to_look += 1;
        }
        connection.moving |= matches!(input, Input::Drain { .. });
        connection.refreshing |= matches!(input, Input::Refreshing);
        connection.current = connection.session.deadline() > self.now.moment;
        connection.token.give(&input, self.now);
        let mut out = Vec::new();
        connection.session.handle(self.now, input, &mut out);
        self.perform(number, out);
    }

    /// Does what a session wants, and checks each wish.
    pub(super) fn perform(&mut self, number: usize, out: Vec<Output>) {
        let now = self.now;
        for output in &out {
            if let Output::Send(Frame::Push { entry, .. }) = output {
                self.may_have(number, entry);
                let dismissal = entry.aim.as_ref().and_then(|aim| aim.dismissal.as_ref());
                self.devices[number].told_to_dismiss.extend(dismissal.map(|dismissed| dismissed.message));
            }
        }
        let device = &mut self.devices[number];
        let Some(connection) = device.connection.as_mut() else { return };
        for output in out {
            let refusal = matches!(output, Output::Answer(_, Err(_)));
            assert!(!connection.closed || refusal, "an output after the end: {output:?}");
            connection.token.check(&output, now, self.well);
            match output {
                Output::Send(frame) => {
                    if let Frame::Push { entry, attempt, .. } = &frame {
                        if entry.receipts && entry.offset > Offset::ZERO {
                            connection.to_report.insert((entry.id, *attempt));
                        }
                        let bytes = connection.wire_bytes;
                        assert!(bytes < self.options.unsent_bytes_max, "sent with {bytes} bytes unsent");
                        connection.wire_bytes += entry.body.len() + 64;
                        *device.sent.entry(entry.id).or_default() += 1;
                        assert!(!connection.moving, "a push was sent to a device that is to move");
                        let good = connection.token.ends > now.moment || !connection.current;
                        assert!(good, "a push was sent when the token had expired");
                        // What was on the wire before the ack came may still arrive; nothing may be sent after it.
                        let confirmed = device.confirmed.contains(&entry.id);
                        assert!(!confirmed, "{} was sent after its ack was confirmed", entry.id);
                        assert!(!entry.expired(now.wall), "an expired message was sent");
                        assert!(entry.urgency >= connection.floor, "a withheld message was sent");
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
                Output::Commit(cursors, dead, reports) => {
                    assert!(reports.len() <= 100, "{} reports in one commit", reports.len());
                    assert!(connection.asked_commit.is_none(), "two commits are out");
                    for dead in dead.iter().filter(|_| !self.lost) {
                        let Some(entry) = self.logs[&dead.log].entries.get(&dead.offset.0) else { continue };
                        let sent = device.sent.get(&entry.id).copied().unwrap_or_default();
                        assert!(dead.attempts <= sent, "given up after {} failures, sent {sent} times", dead.attempts);
                    }
                    connection.asked_commit = Some((cursors, dead, reports, false));
                }
                Output::Ping => connection.hints.push_back(Input::Heard),
                Output::Closed(_) => connection.closed = true,
            }
        }
        let (flying, window) = (connection.session.in_flight(), connection.window);
        assert!(flying <= window.max(connection.flying), "{flying} in flight with a window of {window}");
        connection.flying = flying;
        let (idle, reasons) = (connection.idle_reads, connection.reasons_to_look);
        assert!(idle <= reasons, "{idle} reads found nothing, with {reasons} reasons to look");
    }
}
