//! What happens in a world: what backends, devices and the passing of time do. Each step tells the store and the model.

use std::time::Duration;

use bytes::Bytes;
use pushline::delivery::session::Input;
use pushline::model::condition::Condition;
use pushline::model::frame::{Ack, Nack, Ticket, Verdict};
use pushline::model::id::{DeviceId, MessageId, Tag, TopicName, UserId};
use pushline::model::message::{DismissReason, Durability, Exclusion, Target, Urgency};
use pushline::store::{Append, Error, MessageState, Wishes};

use crate::link::Settling;
use crate::model::{Message, Name};
use crate::world::{TOPICS, World};

const CONDITIONS: [&str; 9] = [
    "'t0' in topics",
    "'t0' in topics && 't1' in topics",
    "'t0' in topics || !('t2' in topics)",
    "'t1' in topics && ('t2' in topics || v >= '2.0')",
    "!('t3' in topics)",
    "v >= '2.9'",
    "p == 'a' && !('t1' in topics)",
    "p != 'a' || v startsWith '1'",
    "!(p == 'a')",
];

pub(crate) fn topic(name: &str) -> TopicName {
    TopicName::new(name).expect("a name")
}

/// The message that was pushed as the how manyth.
pub(crate) fn numbered(number: u64) -> MessageId {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    MessageId::from_bytes(bytes)
}

impl World {
    pub(crate) fn user(&mut self) -> UserId {
        UserId::new(&format!("u{}", self.chance.u8(0..4))).expect("a name")
    }

    pub(crate) fn device(&mut self) -> DeviceId {
        DeviceId::new(&format!("d{}", self.chance.u8(0..3) / 2)).expect("a name")
    }

    pub(crate) fn any_topic(&mut self) -> TopicName {
        topic(TOPICS[self.chance.usize(0..TOPICS.len())])
    }

    /// A device that is connected.
    pub(crate) fn online(&mut self) -> Option<Name> {
        let names: Vec<_> = self.links.keys().cloned().collect();
        self.chance.choice(names)
    }

    /// A message that was pushed some time.
    fn any_message(&mut self) -> Option<MessageId> {
        let ids: Vec<_> = self.model.messages.keys().copied().filter(|id| *id > self.long_gone).collect();
        // A late one rather than an old one.
        let ids = &ids[ids.len().saturating_sub(12)..];
        self.chance.choice(ids.iter().copied())
    }

    /// One thing happens.
    pub(crate) fn step(&mut self) {
        match self.chance.u8(0..64) {
            0..=12 => self.push(),
            13..=17 => {
                let (user, device) = (self.user(), self.device());
                self.connect(&user, &device);
            }
            18..=19 => {
                let written = self.chance.bool();
                if let Some(name) = self.online() {
                    self.disconnect(&name, written);
                }
            }
            20..=23 => self.members(),
            24..=26 => self.groups(),
            27..=28 => self.subscribe(),
            29 => self.unsubscribe(),
            30..=31 => self.describe(),
            32..=33 => self.cancel(),
            34 => self.dismiss(),
            35 => self.conflate(),
            36 => self.quiet_hours(),
            37 if self.chance.u8(0..4) == 0 => self.restart(),
            38..=39 => {
                let span = Duration::from_millis(self.chance.u64(0..15_000));
                self.pass(span);
            }
            40 => self.sweep(),
            41 => self.audience(),
            42 => self.floor(),
            43 if self.chance.u8(0..8) == 0 => self.absence(),
            _ => {
                if let Some(name) = self.online() {
                    self.turn(&name);
                }
            }
        }
    }

    /// A node serves one device: some of what waits is done.
    pub(crate) fn turn(&mut self, name: &Name) {
        for _ in 0..self.chance.u8(1..6) {
            match self.chance.u8(0..8) {
                0..=1 => self.answer_reads(name),
                2 => self.give_reads(name),
                3 => self.commit(name),
                4 => self.settle(name),
                5 if self.links[name].refreshing => self.refresh(name),
                // Mail waits while it is not known what the device follows.
                5..=6 if !self.links[name].refreshing => {
                    if let Some((since, hint)) = self.links.get_mut(name).and_then(|link| link.hints.pop_front()) {
                        self.feed(name, since, hint);
                    }
                }
                _ => self.ring(name),
            }
        }
    }

    /// Everything that waits is done.
    pub(crate) fn serve(&mut self, name: &Name) {
        for _ in 0..12 {
            if self.links[name].refreshing {
                self.refresh(name);
            }
            while let Some((since, hint)) = self.links.get_mut(name).and_then(|link| link.hints.pop_front()) {
                self.feed(name, since, hint);
            }
            self.answer_reads(name);
            self.give_reads(name);
            self.settle(name);
            self.commit(name);
            self.ring(name);
        }
    }

    fn ring(&mut self, name: &Name) {
        if self.links[name].session.deadline() <= self.now.moment {
            self.feed(name, 0, Input::Deadline);
            assert!(!self.links[name].over, "no session closes here by itself");
        }
    }

    /// A device settles some of what it has.
    fn settle(&mut self, name: &Name) {
        let (well, link) = (self.well, self.links.get_mut(name).expect("it is there"));
        let mut ack = Ack::default();
        for (seq, held) in std::mem::take(&mut link.held) {
            match if well { 0 } else { self.chance.u8(0..10) } {
                0..=6 => {
                    ack.acked.push((seq, seq));
                    link.settling.push(Settling { held, acked: true });
                }
                7 => ack.nacked.push(Nack { seq, verdict: Verdict::Retry, reason: "busy".into() }),
                8 if self.chance.u8(0..4) == 0 => {
                    ack.nacked.push(Nack { seq, verdict: Verdict::Reject, reason: "never".into() });
                    link.settling.push(Settling { held, acked: false });
                }
                _ => {
                    link.held.insert(seq, held);
                }
            }
        }
        // What is a dismissal is settled without anybody waiting for it, and what is in no window any more is not.
        link.settling.retain(|settling| settling.held.log.is_some());
        if !(ack.acked.is_empty() && ack.nacked.is_empty()) {
            self.feed(name, 0, Input::Ack(Ticket(0), ack));
        }
    }

    pub(crate) fn target(&mut self) -> Target {
        match self.chance.u8(0..10) {
            0..=1 => Target::User(self.user()),
            2 => Target::Device(self.user(), self.device()),
            3 => Target::AnyOfUser(self.user()),
            4..=6 => Target::Topic(self.any_topic()),
            _ => {
                let text = CONDITIONS[self.chance.usize(0..CONDITIONS.len())];
                Target::Condition(Condition::parse(text).expect("a condition"))
            }
        }
    }

    fn push(&mut self) {
        let target = self.target();
        let exclude = (0..self.chance.u8(0..3)).filter(|_| self.chance.u8(0..4) == 0).collect::<Vec<_>>();
        let exclude = exclude.into_iter().map(|_| {
            let (user, device) = (self.user(), self.device());
            Exclusion { user, device: self.chance.bool().then_some(device) }
        });
        let exclude: Vec<_> = exclude.collect();
        let life = [25, 120, 600, 86_400][self.chance.usize(0..4)];
        let send_at = (self.chance.u8(0..8) == 0).then(|| self.now.wall + Duration::from_secs(self.chance.u64(1..60)));
        let named = if self.chance.u8(0..8) == 0 { self.any_message() } else { None };
        // Without that hardly ever the same target.
        let target =
            named.filter(|_| self.chance.u8(0..4) > 0).map_or(target, |old| self.model.messages[&old].target.clone());
        let message = Message {
            urgency: self.chance.choice(Urgency::ALL).expect("there are some"),
            expires_at: send_at.unwrap_or(self.now.wall) + Duration::from_secs(life),
            collapse_key: (self.chance.u8(0..5) == 0).then(|| format!("k{}", self.chance.u8(0..2))),
            replaces: named,
            over: None,
            audience: 0,
            target,
            exclude,
            send_at,
        };
        self.number += 1;
        let id = numbered(self.number);
        let log = self.log_of(&message.target);
        let device = match &message.target {
            Target::Device(_, device) => Some(device.clone()),
            _ => None,
        };
        let wishes = Wishes {
            condition: match &message.target {
                Target::Condition(condition) => Some(condition.clone()),
                _ => None,
            },
            exclude: message.exclude.clone(),
            any_of_user: matches!(message.target, Target::AnyOfUser(_)),
            replaces: named,
            send_at,
            tag: self.chance.bool().then(|| Tag::new("campaign").expect("a name")),
            without_receipts: self.chance.u8(0..4) == 0,
            fallback_at: None,
        };
        let append = Append {
            log: log.clone(),
            id,
            now: self.now.wall,
            expires_at: message.expires_at,
            urgency: message.urgency,
            device: device.clone(),
            collapse_key: message.collapse_key.clone(),
            idempotency: None,
            durability: Durability::Relaxed,
            body: Bytes::from(self.number.to_string()),
            wishes,
        };
        let replaceable = named.is_none_or(|old| {
            let target = &self.model.messages[&old].target;
            let same_device = matches!(target, Target::Device(_, other) if Some(other) == device.as_ref())
                || (device.is_none() && !matches!(target, Target::Device(..)));
            (self.model.stands(old) || self.model.waits(old)) && self.log_of(target) == log && same_device
        });
        let answer = self.store().append(append);
        if replaceable {
            // Before its hints are spread: they are looked up in the model.
            self.model.push(id, message);
        }
        let answer = self.ask(answer);
        match answer {
            Ok(appended) => {
                assert!(replaceable, "{named:?} cannot be replaced");
                let message = &self.model.messages[&id];
                let counted = matches!(message.target, Target::Topic(_) | Target::Condition(_)) && send_at.is_none();
                let expected = counted.then_some(message.audience);
                assert_eq!(appended.audience, expected, "the audience of {id}: {message:?}");
            }
            Err(Error::UnknownMessage | Error::NotReplaceable(_)) => assert!(!replaceable, "{named:?} can be replaced"),
            Err(error) => panic!("{id}: {error}"),
        }
    }

    fn cancel(&mut self) {
        let Some(id) = self.any_message() else { return };
        let silently = self.chance.u8(0..4) == 0;
        let alive = self.model.stands(id) || self.model.waits(id);
        let tell = (!silently && self.model.stands(id)).then_some(DismissReason::Cancelled);
        if alive {
            if tell.is_some() {
                self.tell(id, None);
            }
            // Before its hints are spread, and as if after what was read until now.
            self.model.end(id, tell);
        }
        let answer = self.store().cancel(&self.tenant, id, silently, self.now.wall);
        let (state, changed) = self.ask(answer).expect("it is known");
        assert_eq!(changed, alive, "whether {id} was cancelled now");
        assert!(!alive || state == MessageState::Cancelled, "{state:?}");
    }

    /// A user has seen on one device something that was received there.
    fn dismiss(&mut self) {
        let Some(name) = self.online() else { return };
        let received = self.model.receivers[&name].received.iter().copied();
        let received: Vec<_> = received.filter(|id| *id > self.long_gone).collect();
        let Some(id) = self.chance.choice(received) else { return };
        let message = self.model.messages[&id].clone();
        let receiver = self.receiver(&name);
        let answer = self.store().dismiss(&receiver, vec![id], self.now.wall);
        let own = matches!(message.target, Target::User(_) | Target::AnyOfUser(_));
        let shared = match &message.target {
            Target::Topic(topic) => self.model.follows(&name, topic),
            Target::Condition(_) => true,
            _ => false,
        };
        if own && self.model.stands(id) {
            self.acked_by_dismissal(&name, id);
            if self.model.stands(id) {
                // Seeing what is for any one device is the first ack, also where it was rejected before.
                let any = matches!(message.target, Target::AnyOfUser(_));
                self.model.end(id, Some(if any { DismissReason::Taken } else { DismissReason::Seen }));
                self.tell(id, Some(&name));
            }
        } else if shared && message.expires_at > self.now.wall && self.seen.insert((name.0.clone(), id)) {
            self.acked_by_dismissal(&name, id);
            let devices: Vec<_> = self.model.devices(&name.0).cloned().collect();
            for device in devices {
                let other = (name.0.clone(), Some(device));
                let receiver = self.model.receivers.get_mut(&other).expect("it is known");
                if other == name || !receiver.owed.remove(&id) {
                    continue;
                }
                if receiver.received.contains(&id) {
                    self.to_tell.insert((other.clone(), id));
                }
                if self.links.contains_key(&other) {
                    self.unheard.insert((other, id));
                }
            }
        }
        if self.ask(answer).expect("it is dismissed") > 0 {
            // It is settled for this device too, which only the store knows.
            self.hold(&name);
        }
    }

    /// Whoever has seen a message has acked it.
    fn acked_by_dismissal(&mut self, name: &Name, id: MessageId) {
        if self.model.receivers[name].owed.contains(&id) {
            self.reported.entry(id).or_default().0.insert(name.clone());
        }
        self.settled(name, id, true);
    }

    fn conflate(&mut self) {
        let (topic, conflate) = (self.any_topic(), self.chance.bool());
        let answer = self.store().set_topic(&self.tenant, &topic, conflate);
        self.ask(answer).expect("it is set");
        if conflate {
            self.model.conflated.insert(topic)
        } else {
            self.model.conflated.remove(&topic)
        };
    }

    pub(crate) fn sweep(&mut self) {
        for round in 0.. {
            assert!(round < 1_000, "the sweeps come to no end");
            let answer = self.store().sweep(self.now.wall);
            if !self.ask(answer).expect("it sweeps").more {
                break;
            }
        }
        let due = |id: &&MessageId| {
            self.model.waits(**id) && self.model.messages[*id].send_at.is_some_and(|at| at <= self.now.wall)
        };
        assert_eq!(self.model.messages.keys().find(due), None, "its time has come, and it was not sent");
    }
}
