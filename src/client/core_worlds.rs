//! Seeded worlds for the client's core, in which links break and the program has moods.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::tests::{Bench, id, options, push, refused, welcome};
use super::{Core, Input, Output};
use crate::client::acks::Batch;
use crate::client::error::Error;
use crate::client::options::Options;
use crate::client::push::Settlement;
use crate::model::clock::Moment;

/// A gateway that keeps messages until they are acked, with a bad link and a program with moods.
struct World {
    bench: Bench,
    chance: fastrand::Rng,
    /// Messages that the gateway took and this device has not acked.
    unacked: BTreeSet<u64>,
    /// Seqs of the open session and the messages they carried.
    sent: BTreeMap<u64, u64>,
    /// Messages to send, or to send again, in the open session.
    to_send: VecDeque<u64>,
    /// The ack that is out.
    out: Option<Batch>,
    /// What the program holds.
    held: Vec<u64>,
    /// Messages that the program acked, and how often it was given each.
    acked: BTreeSet<u64>,
    given: BTreeMap<u64, u32>,
    /// How often the program nacked or dropped each.
    declined: BTreeMap<u64, u32>,
    connecting: bool,
    open: bool,
}

const MESSAGES: u64 = 60;
const WINDOW: usize = 8;

impl World {
    fn new(seed: u64) -> Self {
        let options = Options { window: 8, ack_count: 4, ..options() };
        Self {
            bench: Bench { core: Core::new(&options, seed), now: Moment::ZERO },
            chance: fastrand::Rng::with_seed(seed),
            unacked: (1..=MESSAGES).collect(),
            sent: BTreeMap::new(),
            to_send: VecDeque::new(),
            out: None,
            held: Vec::new(),
            acked: BTreeSet::new(),
            given: BTreeMap::new(),
            declined: BTreeMap::new(),
            connecting: false,
            open: false,
        }
    }

    fn feed(&mut self, input: Input) {
        for output in self.bench.feed(input) {
            match output {
                Output::Connect => {
                    assert!(!self.open && !self.connecting, "two connections at once");
                    self.connecting = true;
                }
                Output::Disconnect => (self.open, self.connecting, self.out) = (false, false, None),
                Output::Deliver(push) => {
                    let n = (1..=MESSAGES).find(|&n| id(n) == push.id).expect("a message of this world");
                    assert!(!self.held.contains(&n), "message {n} was given while it is held");
                    assert!(!self.acked.contains(&n), "message {n} was given after its ack");
                    *self.given.entry(n).or_default() += 1;
                    self.held.push(n);
                }
                Output::Ack { batch, .. } => {
                    assert!(self.open && self.out.is_none(), "two acks at once, or one without a session");
                    self.out = Some(batch);
                }
                Output::Ping => self.feed(Input::Heard),
                Output::Flushed(..) | Output::Report(_) => {}
                Output::Renew => panic!("there is no provider"),
                Output::End => panic!("it ended"),
            }
        }
    }

    fn step(&mut self) {
        self.bench.now = self.bench.now + Duration::from_millis(self.chance.u64(0..40));
        if self.bench.core.deadline() <= self.bench.now {
            self.feed(Input::Deadline);
        }
        match self.chance.u32(0..100) {
            0..40 => self.gateway(),
            40..80 => self.program(),
            80..97 => self.answer(),
            _ if self.open || self.connecting => self.feed(Input::Lost(Error::Network(String::new()))),
            _ => self.bench.now = self.bench.now + Duration::from_secs(1),
        }
    }

    fn gateway(&mut self) {
        if self.connecting {
            (self.connecting, self.open) = (false, true);
            self.sent.clear();
            self.to_send = self.unacked.iter().copied().collect();
            return self.feed(Input::Frame(welcome(8)));
        }
        let in_flight: BTreeSet<_> = self.sent.values().filter(|n| self.unacked.contains(n)).collect();
        if !self.open || in_flight.len() >= WINDOW {
            // An ack timeout: something in flight is sent again.
            let again = in_flight.into_iter().next().copied();
            if let Some(n) = again.filter(|_| self.open && self.chance.u32(0..8) == 0) {
                self.send(n);
            }
            return;
        }
        if let Some(n) = self.to_send.pop_front().filter(|n| self.unacked.contains(n)) {
            self.send(n);
        }
    }

    fn send(&mut self, n: u64) {
        let seq = self.sent.last_key_value().map_or(0, |(&seq, _)| seq) + 1;
        self.sent.insert(seq, n);
        self.feed(Input::Heard);
        self.feed(push(n, seq));
    }

    fn program(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let n = self.held.swap_remove(self.chance.usize(0..self.held.len()));
        let settlement = match self.chance.u32(0..10) {
            0 => Settlement::Nacked(String::new()),
            1 => Settlement::Dropped,
            _ => Settlement::Acked,
        };
        if settlement == Settlement::Acked {
            self.acked.insert(n);
        } else {
            *self.declined.entry(n).or_default() += 1;
        }
        self.feed(Input::Settled(id(n), settlement));
    }

    /// The gateway takes the ack, and its answer may be cut off; or it says that it cannot.
    fn answer(&mut self) {
        let Some(batch) = self.out.take() else { return };
        if self.chance.u32(0..10) == 0 {
            self.out = None;
            return self.feed(Input::AckAnswered(Err(refused(14, "store_busy"))));
        }
        for (from, upto) in batch.acked.iter() {
            for seq in from..=upto {
                let n = self.sent.get(&seq).expect("an ack names a seq of another session");
                assert!(self.acked.contains(n), "message {n} was acked for the program");
                self.unacked.remove(n);
            }
        }
        for nack in &batch.nacked {
            self.to_send.push_back(*self.sent.get(&nack.seq).expect("a nack names a seq of another session"));
        }
        if self.chance.u32(0..10) == 0 {
            return self.feed(Input::Lost(Error::Network(String::new())));
        }
        self.feed(Input::Heard);
        self.feed(Input::AckAnswered(Ok(())));
    }

    /// Until every message is acked on both sides. Gives the steps it took.
    fn run(&mut self) -> u32 {
        self.feed(Input::Start);
        for step in 0..40_000 {
            if self.unacked.is_empty() {
                return step;
            }
            self.step();
        }
        panic!("messages {:?} never got through", self.unacked);
    }
}

/// Whatever the link does: every message reaches the program until it acks it, never again after, and the gateway learns
/// of exactly the acks that were given.
#[test]
fn seeded_worlds_of_broken_links_lose_nothing_and_repeat_nothing() {
    for seed in 0..400 {
        let result = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            world.run();
            for n in 1..=MESSAGES {
                let declined = world.declined.get(&n).copied().unwrap_or(0);
                assert_eq!(world.given[&n], declined + 1, "message {n} was given without need");
            }
        });
        if let Err(panic) = result {
            eprintln!("seed {seed} fails");
            std::panic::resume_unwind(panic);
        }
    }
}
