//! Records on shelves and the audit log: what is expected, what is told, how long they are kept. Checks of the store's
//! contract.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;

use super::{Place, at, inbox, is_failed, minutes, push, sweep_all, tenant};
use crate::model::audit::{self, Action, Actor};
use crate::model::clock::Timestamp;
use crate::model::id::{DeviceId, KeyId, TenantId, UserId};
use crate::store::{
    Announced, EVERYONE, Error, Event, Expected, Journal, Limits, Listener, Put, RECORD_BYTES_MAX,
    RECORD_NAME_BYTES_MAX, Record, Recorded, Shelf, Store,
};

/// Records as a listener knows them, who hears of each change.
#[derive(Default)]
pub(super) struct Mirror(Mutex<BTreeMap<(Shelf, String), Record>>);

impl Mirror {
    /// One that listens to this store and knows what was there.
    pub(super) async fn of(store: &dyn Store, now: Timestamp) -> Arc<Self> {
        let mirror = Arc::<Self>::default();
        store.announce_to(Arc::clone(&mirror) as Arc<dyn Listener>);
        for shelf in Shelf::ALL {
            for (name, record) in store.records(shelf, "", None, usize::MAX, now).await.unwrap() {
                mirror.lock().insert((shelf, name), record);
            }
        }
        mirror
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, BTreeMap<(Shelf, String), Record>> {
        self.0.lock().unwrap()
    }
}

impl Listener for Mirror {
    fn appended(&self, _: Vec<Announced>) {}

    fn noted(&self, _: &[(TenantId, Journal)]) {}

    fn recorded(&self, records: Vec<Recorded>) {
        assert!(!records.is_empty(), "there is nothing to hear");
        let mut mirror = self.lock();
        for Recorded { shelf, name, record } in records {
            match record {
                Some(record) => drop(mirror.insert((shelf, name), record)),
                None => drop(mirror.remove(&(shelf, name))),
            }
        }
    }
}

pub(super) fn put(shelf: Shelf, name: &str, value: &str) -> Put {
    let value = Some(Bytes::from(value.to_owned()));
    Put { shelf, name: name.to_owned(), value, expected: Expected::Any, until: None }
}

pub(super) fn remove(shelf: Shelf, name: &str) -> Put {
    Put { value: None, ..put(shelf, name, "") }
}

fn record(value: &str, version: u64, until: Option<u64>) -> Record {
    Record { value: Bytes::from(value.to_owned()), version, until: until.map(at) }
}

/// Something that was done in a tenant, or to the gateway itself.
fn event(millis: u64, of: Option<&str>, object: &str) -> audit::Event {
    audit::Event {
        at: at(millis),
        tenant: of.map(tenant),
        actor: Actor::Admin,
        action: Action::KeyCreated,
        object: object.to_owned(),
        details: [("scopes".to_owned(), "push,read".to_owned())].into(),
    }
}

/// Names and values of what is listed.
async fn listed(store: &dyn Store, prefix: &str, after: Option<&str>, most: usize) -> Vec<(String, String)> {
    let records = store.records(Shelf::Keys, prefix, after, most, at(0)).await.unwrap();
    let text = |record: Record| String::from_utf8(record.value.to_vec()).unwrap();
    records.into_iter().map(|(name, record)| (name, text(record))).collect()
}

pub(in crate::store) async fn records_are_written_read_and_removed(place: &dyn Place) {
    let store = place.open(Limits::default());
    let all = ["acme/a", "acme/b", "acme/bb", "acme", "acm/a", "acmf/a"];
    let puts: Vec<_> = all.into_iter().map(|name| put(Shelf::Keys, name, name)).collect();
    assert_eq!(store.write(puts, Vec::new()).await, Ok(vec![1; 6]));
    assert_eq!(store.write(vec![put(Shelf::Shares, "acme/a", "share")], Vec::new()).await, Ok(vec![1]));
    let again = vec![put(Shelf::Keys, "acme/b", "new"), remove(Shelf::Keys, "acmf/a"), remove(Shelf::Keys, "no")];
    assert_eq!(store.write(again, Vec::new()).await, Ok(vec![2, 0, 0]));
    drop(store);

    let store = place.open(Limits::default());
    let of = async |shelf, name: &str| store.record(shelf, name, at(0)).await.unwrap();
    assert_eq!(of(Shelf::Keys, "acme/b").await, Some(record("new", 2, None)));
    assert_eq!(of(Shelf::Shares, "acme/a").await, Some(record("share", 1, None)));
    for (shelf, name) in [(Shelf::Keys, "acmf/a"), (Shelf::Shares, "acme/b"), (Shelf::Keys, "acme/"), (Shelf::Keys, "")]
    {
        assert_eq!(of(shelf, name).await, None, "{name}");
    }
    let own = |names: &[(&str, &str)]| -> Vec<_> {
        names.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let of_acme = own(&[("acme/a", "acme/a"), ("acme/b", "new"), ("acme/bb", "acme/bb")]);
    assert_eq!(listed(&*store, "acme/", None, 9).await, of_acme);
    assert_eq!(listed(&*store, "acme/", None, 2).await, of_acme[..2]);
    assert_eq!(listed(&*store, "acme/", Some("acme/a"), 9).await, of_acme[1..]);
    assert_eq!(listed(&*store, "acme/", Some("acme/b"), 9).await, of_acme[2..], "what only begins like it comes after");
    assert_eq!(listed(&*store, "acme/", Some("a"), 9).await, of_acme, "never what does not begin like this");
    assert_eq!(listed(&*store, "acme/", Some("b"), 9).await, []);
    assert_eq!(listed(&*store, "acme/", None, 0).await, []);
    assert_eq!(listed(&*store, "", None, 2).await, own(&[("acm/a", "acm/a"), ("acme", "acme")]));
    // What was removed begins anew.
    assert_eq!(store.write(vec![remove(Shelf::Keys, "acme/b")], Vec::new()).await, Ok(vec![0]));
    assert_eq!(store.write(vec![put(Shelf::Keys, "acme/b", "b")], Vec::new()).await, Ok(vec![1]));
}

pub(in crate::store) async fn records_are_written_only_as_expected_all_or_none(place: &dyn Place) {
    use Expected::{Absent, Any, Version};
    let store = place.open(Limits::default());
    let mirror = Mirror::of(&*store, at(0)).await;
    let one = |expected, value: &str| Put { expected, ..put(Shelf::Keys, "acme/one", value) };
    let take = |expected| Put { expected, ..remove(Shelf::Keys, "acme/one") };
    for (step, outcome) in [
        (one(Version(1), "no"), Err(Error::Conflict(None))),
        (take(Version(1)), Err(Error::Conflict(None))),
        (take(Absent), Ok(0)),
        (one(Absent, "a"), Ok(1)),
        (one(Absent, "no"), Err(Error::Conflict(Some(1)))),
        (one(Version(2), "no"), Err(Error::Conflict(Some(1)))),
        (one(Version(1), "b"), Ok(2)),
        (one(Any, "c"), Ok(3)),
        (take(Version(2)), Err(Error::Conflict(Some(3)))),
        (take(Version(3)), Ok(0)),
        (take(Any), Ok(0)),
        (one(Any, "d"), Ok(1)),
    ] {
        let expected = outcome.clone().map(|version: u64| vec![version]);
        assert_eq!(store.write(vec![step.clone()], Vec::new()).await, expected, "{step:?}");
        // Beside something that can be written, and with a word for the audit log.
        if let Err(error) = outcome {
            let puts = vec![put(Shelf::Keys, "acme/two", "x"), step, put(Shelf::Keys, "acme/three", "x")];
            assert_eq!(store.write(puts, vec![event(0, Some("acme"), "key:one")]).await, Err(error));
        }
    }
    let left = store.records(Shelf::Keys, "", None, 9, at(0)).await.unwrap();
    assert_eq!(left, [("acme/one".to_owned(), record("d", 1, None))]);
    assert_eq!(mirror.lock().len(), 1);
    assert_eq!(store.journal(&tenant("acme"), Journal::Audit, 0, 9).await.unwrap().last, 0);
    // Each sees those before it, in one call and in one batch.
    let puts = vec![take(Version(1)), one(Absent, "e"), one(Version(1), "f"), take(Version(2)), one(Absent, "g")];
    assert_eq!(store.write(puts, Vec::new()).await, Ok(vec![0, 1, 2, 0, 1]));
    let answers: Vec<_> = (1..9).map(|version| store.write(vec![one(Version(version), "h")], Vec::new())).collect();
    for (answer, version) in answers.into_iter().zip(2..) {
        assert_eq!(answer.await, Ok(vec![version]));
    }
    assert_eq!(mirror.lock()[&(Shelf::Keys, "acme/one".to_owned())], record("h", 9, None));
}

/// A code is good once: of all who use it at the same time one has it.
pub(in crate::store) async fn of_many_who_take_a_record_one_has_it(place: &dyn Place) {
    let store = place.open(Limits::default());
    store.write(vec![put(Shelf::Enrolments, "code", "ann")], Vec::new()).await.unwrap();
    let takers = (0..32).map(|number| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let code = Put { expected: Expected::Version(1), ..remove(Shelf::Enrolments, "code") };
            let key = put(Shelf::DeviceKeys, "acme/ann/phone", &number.to_string());
            store.write(vec![code, key], Vec::new()).await
        })
    });
    let mut taken = 0;
    for taker in takers.collect::<Vec<_>>() {
        match taker.await.unwrap() {
            Ok(versions) => taken += u32::from(versions == [0, 1]),
            Err(error) => assert_eq!(error, Error::Conflict(None)),
        }
    }
    assert_eq!(taken, 1);
    let key = store.record(Shelf::DeviceKeys, "acme/ann/phone", at(0)).await.unwrap();
    assert_eq!(key.map(|record| record.version), Some(1));
}

pub(in crate::store) async fn a_record_that_cannot_be_is_refused_alone(place: &dyn Place) {
    let store = place.open(Limits::default());
    let long = "n".repeat(RECORD_NAME_BYTES_MAX);
    let large = "v".repeat(RECORD_BYTES_MAX);
    let cases =
        [("", "v"), ("a\0b", "v"), (&*format!("{long}n"), "v"), ("n", &*format!("{large}v"))].map(|(name, value)| {
            let puts = vec![put(Shelf::Nodes, "good", "v"), put(Shelf::Nodes, name, value)];
            store.write(puts, Vec::new())
        });
    for case in cases {
        assert!(is_failed(case.await));
    }
    assert_eq!(store.records(Shelf::Nodes, "", None, 9, at(0)).await, Ok(Vec::new()));
    assert_eq!(store.write(vec![put(Shelf::Nodes, &long, &large)], Vec::new()).await, Ok(vec![1]));
    assert_eq!(store.record(Shelf::Nodes, &long, at(0)).await, Ok(Some(record(&large, 1, None))));
}

pub(in crate::store) async fn a_record_is_gone_when_its_time_is_over(place: &dyn Place) {
    let mut store = place.open(Limits::default());
    let mut mirror = Mirror::of(&*store, at(0)).await;
    let until = |name: &str, until: Option<u64>| Put { until: until.map(at), ..put(Shelf::Challenges, name, name) };
    let puts = vec![until("a", Some(100)), until("b", Some(100)), until("c", Some(100)), until("d", None)];
    store.write(puts, Vec::new()).await.unwrap();
    // Longer, and for ever.
    store.write(vec![until("b", Some(200)), until("c", None)], Vec::new()).await.unwrap();
    let names = async |store: &dyn Store, millis| {
        let mut names = Vec::new();
        for (name, record) in store.records(Shelf::Challenges, "", None, 9, at(millis)).await.unwrap() {
            assert_eq!(store.record(Shelf::Challenges, &name, at(millis)).await, Ok(Some(record)));
            names.push(name);
        }
        names.concat()
    };
    for (millis, left) in [(99, "abcd"), (100, "bcd"), (199, "bcd"), (200, "cd")] {
        assert_eq!(names(&*store, millis).await, left, "at {millis}, swept or not");
    }
    assert_eq!(store.record(Shelf::Challenges, "a", at(100)).await, Ok(None));
    assert_eq!(mirror.lock().len(), 4, "nobody has looked");
    for (millis, forgotten, left) in [(99, 0, "abcd"), (100, 1, "bcd"), (199, 0, "bcd"), (200, 1, "cd")] {
        assert_eq!(sweep_all(&*store, at(millis)).await, (0, forgotten), "at {millis}");
        let known: String = mirror.lock().keys().map(|(_, name)| name.as_str()).collect();
        assert_eq!(known, left, "at {millis}");
        assert_eq!(names(&*store, 0).await, left, "what is swept does not come back with the clock");
        drop(store);
        store = place.open(Limits::default());
        mirror = Mirror::of(&*store, at(0)).await;
    }
    // One that is made again begins anew, and lives its own time.
    let versions = store.write(vec![until("a", Some(300)), until("d", Some(300))], Vec::new()).await;
    assert_eq!(versions, Ok(vec![1, 2]));
    sweep_all(&*store, at(299)).await;
    assert_eq!(names(&*store, 299).await, "acd");
    sweep_all(&*store, at(300)).await;
    assert_eq!(names(&*store, 0).await, "c");
}

/// Who reads that there is none can write that there is one, though nobody has swept: the time is known by then.
pub(in crate::store) async fn what_is_over_counts_as_none(place: &dyn Place) {
    let store = place.open(Limits::default());
    let mirror = Mirror::of(&*store, at(0)).await;
    let code = |expected, until| Put { expected, until: Some(at(until)), ..put(Shelf::Enrolments, "code", "x") };
    let write = async |put: Put, millis| store.write(vec![put], vec![event(millis, None, "tenant")]).await;
    assert_eq!(write(code(Expected::Absent, 100), 0).await, Ok(vec![1]));
    assert_eq!(write(code(Expected::Absent, 100), 99).await, Err(Error::Conflict(Some(1))));
    assert_eq!(write(code(Expected::Version(1), 200), 100).await, Err(Error::Conflict(None)));
    assert_eq!(write(code(Expected::Absent, 200), 100).await, Ok(vec![1]), "an event told the time");
    store.append(crate::store::Append { now: at(200), ..push(&inbox("ann"), 1) }).await.unwrap();
    let removal = Put { expected: Expected::Absent, ..remove(Shelf::Enrolments, "code") };
    assert_eq!(store.write(vec![removal], Vec::new()).await, Ok(vec![0]), "a push told the time");
    assert!(mirror.lock().is_empty(), "who holds it hears that it is gone");
    assert_eq!(sweep_all(&*store, at(300)).await.1, 0, "nothing is left of it");
}

pub(in crate::store) async fn records_are_on_disk_and_told_when_they_are_answered(place: &dyn Place) {
    let store = place.open(Limits::default());
    let mirror = Mirror::of(&*store, at(0)).await;
    let flushes = store.health().flushes;
    store.write(vec![put(Shelf::Nodes, "node", "1")], Vec::new()).await.unwrap();
    assert_eq!(store.health().flushes, flushes + 1);
    store.write(Vec::new(), vec![event(0, Some("acme"), "tenant")]).await.unwrap();
    assert_eq!(store.health().flushes, flushes + 2, "a word for the audit log alone, too");
    let callers = (0..16_u64).map(|caller| {
        let (store, mirror) = (Arc::clone(&store), Arc::clone(&mirror));
        tokio::spawn(async move {
            for _ in 0..20 {
                let shared = put(Shelf::Revocations, "acme/all", &caller.to_string());
                let own = put(Shelf::Keys, &format!("acme/{caller}"), "x");
                let versions = store.write(vec![shared, own], Vec::new()).await.unwrap();
                let known = |shelf, name: String| mirror.lock()[&(shelf, name)].version;
                assert!(known(Shelf::Revocations, "acme/all".to_owned()) >= versions[0], "told before the answer");
                assert_eq!(known(Shelf::Keys, format!("acme/{caller}")), versions[1]);
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    drop(store);
    // In order: what was heard last is what is kept.
    let store = place.open(Limits::default());
    let kept = store.records(Shelf::Revocations, "", None, 9, at(0)).await.unwrap();
    assert_eq!(kept[0].1.version, 320);
    assert_eq!(kept[0].1, mirror.lock()[&(Shelf::Revocations, "acme/all".to_owned())]);
}

pub(in crate::store) async fn the_audit_log_is_the_tenants_and_everyones(place: &dyn Place) {
    let store = place.open(Limits::default());
    let device = (UserId::new("a:b").unwrap(), DeviceId::new("phone").unwrap());
    let actors =
        [Actor::Key(KeyId::new("own").unwrap()), Actor::Admin, Actor::Gateway, Actor::Device(device.0, device.1)];
    let mut events = Vec::new();
    for (number, (actor, action)) in actors.iter().cycle().zip(Action::ALL).enumerate() {
        let of = [Some("acme"), Some("acm"), None][number % 3];
        let object = format!("key:{number}");
        events.push(audit::Event { actor: actor.clone(), action: *action, ..event(number as u64, of, &object) });
    }
    let (first, rest) = events.split_at(5);
    store.write(vec![put(Shelf::Tenants, "acme", "{}")], first.to_vec()).await.unwrap();
    store.write(Vec::new(), rest.to_vec()).await.unwrap();
    drop(store);
    let store = place.open(Limits::default());
    for of in [Some("acme"), Some("acm"), None] {
        let whose = of.map_or_else(|| TenantId::new(EVERYONE).unwrap(), tenant);
        let page = store.journal(&whose, Journal::Audit, 0, 99).await.unwrap();
        let expected: Vec<_> = events
            .iter()
            .filter(|event| of.is_none() || event.tenant == of.map(tenant))
            .cloned()
            .map(Event::Audit)
            .collect();
        assert_eq!((page.first, page.last, page.looked), (1, expected.len() as u64, expected.len() as u64));
        assert_eq!(page.events.into_iter().map(|(_, event)| event).collect::<Vec<_>>(), expected, "{whose}");
        assert_eq!(store.journal(&whose, Journal::Receipts, 0, 99).await.unwrap().last, 0);
    }
    let nobody = store.journal(&tenant("nobody"), Journal::Audit, 0, 99).await.unwrap();
    assert_eq!((nobody.last, nobody.events.len()), (0, 0));
}

pub(in crate::store) async fn the_audit_log_is_kept_for_a_time_of_its_own(place: &dyn Place) {
    let limits = Limits { journal_ttl: minutes(10), audit_ttl: minutes(60), ..Limits::default() };
    let store = place.open(limits);
    for minute in [0, 30] {
        store.write(Vec::new(), vec![event(minute * 60_000, Some("acme"), "tenant")]).await.unwrap();
    }
    let everyone = TenantId::new(EVERYONE).unwrap();
    for (minute, first) in [(20, 1), (59, 1), (60, 2), (89, 2), (90, 3)] {
        sweep_all(&*store, at(0) + Duration::from_secs(60 * minute)).await;
        for whose in [&tenant("acme"), &everyone] {
            let page = store.journal(whose, Journal::Audit, 0, 9).await.unwrap();
            assert_eq!((page.first, page.last, page.events.len() as u64), (first, 2, 3 - first), "after {minute}");
        }
    }
}
