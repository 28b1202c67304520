//! Random writes of records against a plain model. Check of the store's contract.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::records::Mirror;
use super::{Place, at};
use crate::model::audit::{self, Action, Actor};
use crate::store::{Error, Expected, Limits, Put, Record, Shelf, Store};

#[derive(Clone, Debug)]
enum Step {
    /// For each record: which, whether it is removed, what is expected, and for how long it is kept.
    Write(Vec<(usize, bool, Guess, Option<u64>)>),
    Pass(u64),
    Sweep,
    Reopen,
}

/// What a caller expects.
#[derive(Clone, Debug)]
enum Guess {
    Any,
    Absent,
    /// The version that there is.
    Right,
    Version(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let guess = prop_oneof![
        2 => Just(Guess::Any),
        1 => Just(Guess::Absent),
        3 => Just(Guess::Right),
        1 => (1_u64..4).prop_map(Guess::Version),
    ];
    let one = (0_usize..5, prop::bool::weighted(0.3), guess, prop::option::of(1_u64..40));
    prop_oneof![
        8 => prop::collection::vec(one, 1..4).prop_map(Step::Write),
        4 => (1_u64..25).prop_map(Step::Pass),
        2 => Just(Step::Sweep),
        1 => Just(Step::Reopen),
    ]
}

pub(in crate::store) async fn any_writes_of_records_match_a_plain_model(place: &dyn Place) {
    let cases = AtomicU64::new(0);
    let run = |steps: Vec<Step>| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let case = cases.fetch_add(1, Ordering::Relaxed);
        runtime.block_on(World::run(place, case, steps));
        Ok(())
    };
    // The runner is not async, and a runtime cannot be entered from within another one.
    let runner = || TestRunner::new(Config::with_cases(48)).run(&prop::collection::vec(step(), 1..60), run);
    let outcome = thread::scope(|scope| scope.spawn(runner).join().unwrap());
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

struct World {
    store: Option<Arc<dyn Store>>,
    mirror: Arc<Mirror>,
    prefix: String,
    now: u64,
    records: BTreeMap<String, Record>,
}

impl World {
    async fn run(place: &dyn Place, case: u64, steps: Vec<Step>) {
        let store = place.open(Limits::default());
        // Cases share the place, and later ones begin where the clock of an earlier one was.
        let now = case * 10_000;
        let mirror = Mirror::of(&*store, at(now)).await;
        let prefix = format!("case{case}/");
        let mut world = Self { store: Some(store), mirror, prefix, now, records: BTreeMap::new() };
        for step in steps {
            match step {
                Step::Write(puts) => world.write(puts).await,
                Step::Pass(millis) => world.now += millis,
                Step::Sweep => drop(world.store().sweep(at(world.now)).await.unwrap()),
                Step::Reopen => {
                    world.store = None;
                    let store = place.open(Limits::default());
                    world.mirror = Mirror::of(&*store, at(world.now)).await;
                    world.store = Some(store);
                }
            }
            world.check().await;
        }
    }

    fn store(&self) -> &dyn Store {
        self.store.as_deref().unwrap()
    }

    fn live(&self) -> BTreeMap<String, Record> {
        let lives = |record: &Record| record.until.is_none_or(|until| until > at(self.now));
        self.records
            .iter()
            .filter(|(_, record)| lives(record))
            .map(|(name, record)| (name.clone(), record.clone()))
            .collect()
    }

    async fn write(&mut self, puts: Vec<(usize, bool, Guess, Option<u64>)>) {
        let mut after = self.live();
        let (mut calls, mut outcome) = (Vec::new(), Ok(Vec::new()));
        for (number, (name, removes, guess, ttl)) in puts.into_iter().enumerate() {
            let name = format!("{}{}", self.prefix, ["a", "aa", "ab", "b", "c"][name]);
            let version = after.get(&name).map(|record| record.version);
            let expected = match guess {
                Guess::Any => Expected::Any,
                Guess::Absent => Expected::Absent,
                Guess::Right => version.map_or(Expected::Absent, Expected::Version),
                Guess::Version(version) => Expected::Version(version),
            };
            let fits = match expected {
                Expected::Any => true,
                Expected::Absent => version.is_none(),
                Expected::Version(known) => version == Some(known),
            };
            let value = (!removes).then(|| Bytes::from(format!("{number} at {}", self.now)));
            let until = ttl.map(|ttl| at(self.now + ttl));
            calls.push(Put { shelf: Shelf::Keys, name: name.clone(), value: value.clone(), expected, until });
            if outcome.is_err() {
                continue;
            }
            if !fits {
                outcome = Err(Error::Conflict(version));
                continue;
            }
            let written = value.map(|value| Record { value, version: version.unwrap_or(0) + 1, until });
            let version = written.as_ref().map_or(0, |record| record.version);
            match written {
                Some(record) => drop(after.insert(name, record)),
                None => drop(after.remove(&name)),
            }
            outcome = outcome.map(|versions| [versions, vec![version]].concat());
        }
        let event = audit::Event {
            at: at(self.now),
            tenant: None,
            actor: Actor::Gateway,
            action: Action::KeyCreated,
            object: String::new(),
            details: BTreeMap::new(),
        };
        if outcome.is_ok() {
            self.records = after;
        }
        assert_eq!(self.store().write(calls, vec![event]).await, outcome);
    }

    async fn check(&self) {
        let live = self.live();
        let listed = self.store().records(Shelf::Keys, &self.prefix, None, usize::MAX, at(self.now)).await.unwrap();
        assert_eq!(listed, live.clone().into_iter().collect::<Vec<_>>());
        for name in ["a", "aa", "ab", "b", "c"].map(|name| format!("{}{name}", self.prefix)) {
            assert_eq!(self.store().record(Shelf::Keys, &name, at(self.now)).await, Ok(live.get(&name).cloned()));
            let begin: Vec<_> = live.clone().into_iter().filter(|(other, _)| other.starts_with(&name)).collect();
            let of =
                |prefix: &str, after: Option<&str>| self.store().records(Shelf::Keys, prefix, after, 2, at(self.now));
            assert_eq!(of(&name, None).await.unwrap(), begin[..begin.len().min(2)]);
            let later: Vec<_> = live.clone().into_iter().filter(|(other, _)| *other > name).take(2).collect();
            assert_eq!(of(&self.prefix, Some(&name)).await.unwrap(), later);
        }
        // Who listens has all that lives, and of the rest what nobody has swept.
        let known = self.mirror.lock().clone();
        let known = known.into_iter().filter(|((_, name), _)| name.starts_with(&self.prefix));
        let known: BTreeMap<_, _> = known.map(|((_, name), record)| (name, record)).collect();
        assert!(live.iter().all(|(name, record)| known.get(name) == Some(record)));
        let over = |record: &Record| record.until.is_some_and(|until| until <= at(self.now));
        assert!(known.iter().all(|(name, record)| live.contains_key(name) || over(record)), "it was told what is gone");
    }
}
