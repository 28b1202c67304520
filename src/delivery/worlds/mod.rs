//! Seeded worlds: a few devices, a backend, a store and a network that misbehave in every way a seed can think of, and
//! what must hold nevertheless. A failure names its seed; `PUSHLINE_SEED=n cargo test worlds` runs that one again.
//!
//! What must hold: nothing accepted and unexpired is lost (P5.8), nothing is delivered after its ack was confirmed,
//! first deliveries keep their order per log, window and unsent bytes stay within their bounds, reads without progress
//! are no more than there were reasons to look, nobody is served beyond the life of its token nor thrown out before it
//! ends, and everything comes to rest once the network is well again.

mod answers;
mod device;
mod people;
mod token;
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::delivery::session::Input;
use crate::model::log::{Epoch, Head, Offset};
use crate::model::message::{Entry, Urgency};

use crate::delivery::worlds::world::{Log, World, broadcast, inbox, topic};

impl World {
    /// The store loses a topic's log and begins a new one, or retention takes its oldest entries.
    fn spoil(&mut self) {
        let id = match self.rng.u8(0..6) {
            0 | 1 => inbox(self.rng.u32(0..2)),
            2 => broadcast(),
            _ => topic(self.rng.u32(0..2)),
        };
        let lose = self.rng.u8(0..3) == 0;
        let epoch = Epoch(self.rng.u64(1..));
        let trim = self.rng.usize(0..4);
        let log = self.log(&id);
        if lose {
            self.lost = true;
            let log = self.log(&id);
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
        match self.rng.u8(0..40) {
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
                self.jumped = true;
                self.now.wall = if back { self.now.wall - jump } else { self.now.wall + jump };
                self.wall_max = self.wall_max.max(self.now.wall);
            }
            12 | 13 => self.topics(number),
            14 if self.rng.u8(0..6) == 0 => self.spoil(),
            15 if self.devices[number].picky => {
                let floor = self.rng.choice(Urgency::ALL).expect("not empty");
                self.update(number, Some(floor), None);
            }
            16 if self.rng.u8(0..4) == 0 => {
                let drain =
                    Input::Drain { return_after: Duration::ZERO, grace: Duration::from_secs(5), nodes: Arc::default() };
                self.feed(number, drain);
            }
            17..=19 => self.settle(number),
            20..=22 => self.flush(number),
            23 => self.answer_commit(number, false),
            24 => self.look(number),
            25 => {
                let window = self.rng.u32(0..10);
                self.update(number, None, Some(window));
            }
            26 if self.rng.u8(0..3) == 0 => self.regroup(),
            27 => self.withdraw(),
            28 if self.rng.u8(0..3) == 0 => {
                let hours = if self.rng.bool() { self.some_hours() } else { None };
                self.quieten(number / 2, hours);
            }
            29 if self.rng.u8(0..3) == 0 => self.renew(number),
            _ => self.turn(number),
        }
    }

    /// The store and the clock serve one device.
    fn turn(&mut self, number: usize) {
        self.answer_read(number);
        self.answer_heads(number);
        self.answer_commit(number, true);
        self.answer_follows(number);
        let connection = self.devices[number].connection.as_mut().filter(|connection| !connection.refreshing);
        let hint = connection.and_then(|connection| connection.hints.pop_front());
        if let Some(hint) = hint {
            self.feed(number, hint);
        }
        let due = self.devices[number].connection.as_ref().map(|connection| connection.session.deadline());
        if due.is_some_and(|due| due <= self.now.moment) {
            self.feed(number, Input::Deadline);
            let connection = self.devices[number].connection.as_ref().expect("it was there");
            assert!(connection.session.deadline() > self.now.moment, "a deadline that has passed would spin");
            let good = connection.token.ends > self.now.moment || connection.session.over();
            assert!(good, "the session outlived its token");
        }
        if self.devices[number].connection.as_ref().is_some_and(|connection| connection.closed) {
            self.devices[number].connection = None;
        }
    }

    /// The network is well again: everything must arrive, and everything must come to rest.
    fn heal(&mut self) {
        self.well = true;
        for user in 0..2 {
            self.quieten(user, None);
        }
        for number in 0..self.devices.len() {
            // Some stay as they are: what went wrong must come right without a new session.
            if self.rng.bool() {
                self.connect(number);
            } else {
                self.renew(number);
            }
        }
        self.come_to_rest();
        for number in 0..self.devices.len() {
            self.update(number, Some(Urgency::VeryLow), None);
        }
        self.come_to_rest();
    }

    /// Everything that the devices accept arrives.
    fn come_to_rest(&mut self) {
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
            let floor = device.connection.as_ref().map_or(Urgency::VeryLow, |connection| connection.floor);
            if floor > Urgency::VeryLow && self.options.settled_spans_max < 10 {
                // What is withheld leaves holes, and a cursor full of them takes nothing new.
                continue;
            }
            for (id, &(epoch, after)) in &device.owed_after {
                let Some(log) = self.logs.get(id).filter(|log| log.head.epoch == epoch) else { continue };
                for entry in log.entries.range(after + 1..).map(|(_, entry)| entry) {
                    let own = device.eligible.contains(&entry.id) && !device.spared.contains(&entry.id);
                    let alive = entry.expires_at > self.wall_max;
                    let settled = device.received.contains(&entry.id) || device.dead.contains(&entry.id);
                    if own && alive && !settled && entry.urgency >= floor {
                        missing.push(format!("{} {id} {}", device.receiver, entry.offset.0));
                    }
                }
            }
        }
        missing
    }
}

impl World {
    /// The store knows what happened to each delivery of the sessions that live, and of each ack that was confirmed.
    fn check_reports(&self) {
        for device in &self.devices {
            let connection = device.connection.as_ref().expect("all are connected");
            assert!(connection.to_report.is_empty(), "{}: not told: {:?}", device.receiver, connection.to_report);
            for (id, log) in &self.logs {
                let stands = |entry: &&Entry| entry.receipts && entry.expires_at > self.wall_max;
                for entry in log.entries.values().filter(stands) {
                    let confirmed = device.confirmed.contains(&entry.id) && !device.dead.contains(&entry.id);
                    let told = device.told_acked.contains(&entry.id) || device.told_to_dismiss.contains(&entry.id);
                    let left = device.left.contains(id) || device.spared.contains(&entry.id);
                    assert!(!confirmed || told || left || self.lost, "{} was not told as acked", entry.id);
                }
            }
        }
    }
}

fn run(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..world.rng.usize(50..400) {
        world.step();
    }
    world.heal();
    world.check_reports();
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
