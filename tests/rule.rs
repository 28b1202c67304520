//! The rule of docs/targeting.md in seeded worlds: the embedded store, real sessions, no sockets. Devices come and go,
//! users join and leave groups, attributes change, topics are conflated, pushes of every kind are sent, put off, replaced
//! and taken back, hints are lost, and the gateway restarts. A slow and obvious model says after each step who may
//! receive what, and in the end who must have (P4.3 to P4.8, P5.8).
//!
//! A failure names its seed; `PUSHLINE_SEED=n cargo test --test rule` runs that world again.

#[path = "rule/link.rs"]
mod link;
#[path = "rule/model.rs"]
mod model;
#[path = "rule/people.rs"]
mod people;
#[path = "rule/steps.rs"]
mod steps;
#[path = "rule/world.rs"]
mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pushline::model::id::DeviceId;
use pushline::model::message::{Target, Urgency};

use crate::world::World;

fn run(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..world.chance.usize(20..250) {
        world.step();
    }
    world.heal();
}

impl World {
    /// Nothing goes wrong any more: all that is owed must arrive.
    fn heal(&mut self) {
        self.well = true;
        let users: Vec<_> = self.quiet.keys().cloned().collect();
        users.iter().for_each(|user| self.set_quiet(user, None));
        // Who has a seat sends a device.
        let names: Vec<_> = self.model.receivers.keys().cloned().collect();
        for (user, device) in names {
            let device = device.unwrap_or_else(|| DeviceId::new("late").expect("a name"));
            // Some stay as they are: what went wrong must come right without a new session.
            if !self.links.contains_key(&(user.clone(), Some(device.clone()))) || self.chance.bool() {
                self.connect(&user, &device);
            }
        }
        let names: Vec<_> = self.links.keys().cloned().collect();
        names.iter().for_each(|name| self.set_floor(name, Urgency::VeryLow));
        for round in 0.. {
            names.iter().for_each(|name| self.serve(name));
            self.sweep();
            let missing: Vec<_> = names.iter().map(|name| (name, self.model.missing(name))).collect();
            let missing: Vec<_> = missing.into_iter().filter(|(_, missing)| !missing.is_empty()).collect();
            // Scheduled messages are due within a minute, and what they bring takes a while.
            if round >= 30 && missing.is_empty() && self.to_tell.is_empty() {
                return self.check_counts();
            }
            assert!(round < 200, "did not arrive: {missing:?}; not told: {:?}", self.to_tell);
            self.pass(Duration::from_secs(3));
        }
    }
}

impl World {
    /// What the backend is told of each message adds up to those whom it was for.
    fn check_counts(&mut self) {
        let known: Vec<_> = self.model.sent.iter().copied().filter(|id| *id > self.long_gone).collect();
        for id in known {
            let answer = self.store().message(&self.tenant, id, self.now.wall);
            let record = self.ask(answer).expect("it reads").expect("it is remembered for a day");
            let Some(counts) = record.counts else { continue };
            let message = &self.model.messages[&id];
            let words = format!("{id}: {counts:?} of {message:?}; {:?}", self.reported.get(&id));
            if matches!(message.target, Target::Topic(_) | Target::Condition(_)) {
                assert_eq!(counts.audience, message.audience, "{words}");
            }
            let (acked, dead) = self.reported.get(&id).cloned().unwrap_or_default();
            if self.seen.iter().any(|(_, seen)| *seen == id) {
                // Devices whose user has seen it on another one may have acked it before they heard of that.
                assert!(counts.acked + counts.dead + counts.missed <= counts.audience, "{words}");
            } else if self.model.stands(id) {
                assert_eq!(
                    (counts.acked, counts.dead, counts.missed),
                    (acked.len() as u64, dead.len() as u64, 0),
                    "{words}"
                );
            } else {
                assert_eq!(counts.acked + counts.dead + counts.missed, counts.audience, "{words}");
            }
        }
    }
}

#[test]
fn worlds_follow_the_rule() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("PUSHLINE_SEED") {
        return run(seed);
    }
    // Each has a store on disk: they are a hundred times as slow as those without.
    let seeds = number("PUSHLINE_SEEDS").map_or(40, |seeds| (seeds / 20).max(40));
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    if let Err(panic) = std::panic::catch_unwind(|| run(seed)) {
                        eprintln!("the world of seed {seed} failed: PUSHLINE_SEED={seed} cargo test --test rule");
                        std::panic::resume_unwind(panic);
                    }
                }
            });
        }
    });
}
