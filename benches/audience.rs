//! Conditions counted over 1,000,000 users in 10,000 groups: how long one takes, and what a user costs in memory.
//!
//! Each user has one device and is in ten groups, each of which maps to one topic; groups are of very different sizes, as
//! in life (the largest has over a third of all users, the smallest about 300). Devices have three attributes; one of
//! them has 20,000 values. Printed once: bytes a user of the sets, as the process holds them and as the index counts.
//!
//! - `three_topics/largest`: three topics, `'a' && ('b' || !'c')`, of the largest groups: the most work there is.
//! - `three_topics/usual`: the same of groups from the middle.
//! - `attributes`: two attributes compared, one of them against each of its values.
//! - `everyone_but`: a negation of a small topic alone.
//! - `follow`: one user joins and leaves a group.
//!
//! A condition over a million users should stay well below 50 ms.
//!
//! The same in the embedded store, where a tenth of the users have a device and the others wait for their first one:
//!
//! - `store/count`: the three topics asked for, as a dry run.
//! - `store/push`: a push to three topics from the middle: one append, whose answer waits for the operating system only.
//!
//! Printed once: how long it takes to put them in, what it takes on disk and in memory, how long a restart takes, and a
//! push to the three largest topics, whose audience is kept with it.
//! `PUSHLINE_BENCH_USERS` says how many users, 100,000 if it does not; a million take minutes to put in.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use criterion::{Criterion, criterion_group};
use pushline::audience::Index;
use pushline::model::clock::Timestamp;
use pushline::model::condition::Condition;
use pushline::model::id::{DeviceId, DeviceNumber, GroupName, MessageId, Receiver, TenantId, TopicName, UserId};
use pushline::model::log::LogId;
use pushline::model::message::{Durability, Urgency};
use pushline::store::open::{Options, open};
use pushline::store::{Answer, Append, Of, Store, Wishes};
use tokio::runtime::Runtime;

/// As the gateway has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const USERS: u32 = 1_000_000;
const GROUPS: usize = 10_000;
const GROUPS_OF_A_USER: usize = 10;

/// Bytes that the process holds in memory.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim_end_matches("kB").trim().parse().ok()).map_or(0, |kib: u64| kib * 1024)
}

/// A group, rather a small number than a large one: the cube of chance.
fn group(chance: &mut fastrand::Rng) -> usize {
    let skewed = chance.f64().powi(3);
    // Below GROUPS, because chance is below one.
    (skewed * GROUPS as f64) as usize
}

/// A condition over three groups.
fn three(a: usize, b: usize, c: usize) -> String {
    format!("'group-{a}' in topics && ('group-{b}' in topics || !('group-{c}' in topics))")
}

fn build(topics: &[TopicName]) -> Index {
    let mut chance = fastrand::Rng::with_seed(1);
    let mut index = Index::default();
    let none = BTreeMap::new();
    for user in 0..USERS {
        for _ in 0..GROUPS_OF_A_USER {
            index.follow(&topics[group(&mut chance)], DeviceNumber(user));
        }
        let version = format!("{}.{}.{}", chance.u32(1..5), chance.u32(0..50), chance.u32(0..100));
        let attributes = [
            ("platform".to_owned(), ["ios", "android", "web"][chance.usize(0..3)].to_owned()),
            ("app_version".to_owned(), version),
            ("locale".to_owned(), ["de-DE", "de-AT", "en-GB", "en-US", "fr-FR"][chance.usize(0..5)].to_owned()),
        ];
        index.describe(DeviceNumber(user), &none, &attributes.into_iter().collect());
    }
    index
}

fn audience(criterion: &mut Criterion) {
    let topics: Vec<_> = (0..GROUPS).map(|group| TopicName::new(&format!("group-{group}")).expect("a name")).collect();
    let before = resident();
    let mut index = build(&topics);
    let held = resident() - before;
    let users = u64::from(USERS);
    println!(
        "index: {USERS} users in {GROUPS} groups; {} bytes a user resident, {} as the index counts; largest topic {}, \
         smallest {}",
        held / users,
        index.bytes() as u64 / users,
        index.followers(&topics[0]).len(),
        index.followers(&topics[GROUPS - 1]).len(),
    );

    let mut bench = |name: &str, text: &str| {
        let condition = Condition::parse(text).expect("a condition");
        println!("{name}: {text}: {} devices", index.evaluate(&condition).len());
        criterion.bench_function(&format!("audience/{name}"), |bencher| {
            bencher.iter(|| index.evaluate(black_box(&condition)).len());
        });
    };
    bench("three_topics/largest", &three(0, 1, 2));
    bench("three_topics/usual", &three(5_000, 200, 1_000));
    bench("attributes", "app_version >= '2.3' && platform == 'ios'");
    bench("everyone_but", "!('group-9999' in topics)");

    criterion.bench_function("audience/follow", |bencher| {
        let mut turn = 0;
        bencher.iter(|| {
            turn = (turn + 7_919) % USERS;
            // A number that no user has, so that each joins and leaves.
            let device = DeviceNumber(USERS + turn);
            index.follow(&topics[5_000], device);
            index.unfollow(&topics[5_000], device);
        });
    });
}

/// Calls that wait for their answers at a time.
const AT_ONCE: usize = 4_096;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// Set in the process that opens the store alone: where it is.
const OPEN: &str = "PUSHLINE_BENCH_OPEN";

/// Pushes that are timed by hand.
const PUSHES: u32 = 100;

const NAME: &str = "a plain name";

/// Makes many calls, and waits for all their answers.
fn call_all<T>(runtime: &Runtime, calls: impl Iterator<Item = Answer<T>>) {
    runtime.block_on(async {
        let mut waiting = VecDeque::new();
        for answer in calls {
            if waiting.len() == AT_ONCE {
                let oldest: Answer<T> = waiting.pop_front().expect("there are some");
                oldest.await.expect("it is written");
            }
            waiting.push_back(answer);
        }
        for answer in waiting {
            answer.await.expect("it is written");
        }
    });
}

fn user(number: u32) -> UserId {
    UserId::new(&format!("user-{number}")).expect(NAME)
}

/// Puts users in their groups, and gives each tenth a device.
fn fill(runtime: &Runtime, store: &Arc<dyn Store>, tenant: &TenantId, users: u32) {
    let mut chance = fastrand::Rng::with_seed(1);
    let topics = |name: &str| (GroupName::new(name).expect(NAME), vec![TopicName::new(name).expect(NAME)]);
    let joins = (0..users).map(|number| {
        let groups: BTreeSet<usize> = (0..GROUPS_OF_A_USER).map(|_| group(&mut chance)).collect();
        let groups = groups.into_iter().map(|group| topics(&format!("group-{group}"))).collect();
        store.set_groups(tenant, &user(number), groups, 1, NOW)
    });
    call_all(runtime, joins);
    let devices = (0..users).step_by(10).map(|number| {
        let device = DeviceId::new("phone").expect(NAME);
        store.open(&Receiver { tenant: tenant.clone(), user: user(number), device }, NOW)
    });
    call_all(runtime, devices);
}

fn disk_bytes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("a folder").path());
    let size = |path: PathBuf| {
        if path.is_dir() { disk_bytes(&path) } else { path.metadata().map_or(0, |file| file.len()) }
    };
    entries.map(size).sum()
}

#[expect(clippy::disallowed_methods, reason = "what takes seconds is timed by hand")]
fn stored_audience(criterion: &mut Criterion) {
    let users = std::env::var("PUSHLINE_BENCH_USERS").ok();
    let users: u32 = users.map_or(100_000, |users| users.parse().expect("PUSHLINE_BENCH_USERS: a number"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options { data: folder.path().join("store"), ..Options::default() };
    let tenant = TenantId::new("acme").expect(NAME);

    let began = Instant::now();
    let store = open(&options).expect("it opens");
    fill(&runtime, &store, &tenant, users);
    runtime.block_on(store.close()).expect("it closes");
    drop(store);
    println!(
        "store: {users} users put into ten of {GROUPS} groups each in {:.1} s, {} bytes a user on disk",
        began.elapsed().as_secs_f64(),
        disk_bytes(folder.path()) / u64::from(users),
    );

    let opening = Command::new(std::env::current_exe().expect("this program")).env(OPEN, &options.data).status();
    assert!(opening.expect("it runs").success(), "the store opens in a process of its own");
    let store = open(&options).expect("it opens again");

    let text = three(0, 1, 2);
    let condition = Condition::parse(&text).expect("a condition");
    let of = Of::Condition(condition.clone());
    let audience = runtime.block_on(store.audience(&tenant, of.clone(), None, 0)).expect("it counts");
    println!("store: {text}: {} receivers of {} users", audience.set.len(), audience.users);

    criterion.bench_function("audience/store/count", |bencher| {
        bencher.iter(|| runtime.block_on(store.audience(&tenant, black_box(of.clone()), None, 0)));
    });
    let mut number = 0_u64;
    let mut push = |condition: &Condition| {
        number += 1;
        let mut id = [0; 16];
        id[8..].copy_from_slice(&number.to_be_bytes());
        let append = Append {
            log: LogId::Broadcast(tenant.clone()),
            id: MessageId::from_bytes(id),
            now: NOW,
            expires_at: Timestamp::from_millis(NOW.as_millis() + 86_400_000),
            urgency: Urgency::Normal,
            device: None,
            collapse_key: None,
            idempotency: None,
            durability: Durability::Relaxed,
            body: Bytes::from_static(&[7; 200]),
            wishes: Wishes { condition: Some(condition.clone()), ..Wishes::default() },
        };
        runtime.block_on(store.append(append)).expect("it is accepted").audience.expect("it was counted")
    };
    let (began, before) = (Instant::now(), disk_bytes(folder.path()));
    let _ = (0..PUSHES).map(|_| push(&condition)).max();
    println!(
        "store: {PUSHES} pushes to {} receivers each took {:.2} ms a push and {} bytes of disk a push",
        push(&condition),
        began.elapsed().as_secs_f64() * 1_000.0 / f64::from(PUSHES),
        (disk_bytes(folder.path()) - before) / u64::from(PUSHES),
    );
    let usual = Condition::parse(&three(5_000, 200, 1_000)).expect("a condition");
    println!("store/push: {usual}: {} receivers", push(&usual));
    criterion.bench_function("audience/store/push", |bencher| bencher.iter(|| push(&usual)));
}

/// Opens a store that is there, in a process that has nothing else in memory, and tells what that takes.
#[expect(clippy::disallowed_methods, reason = "what takes seconds is timed by hand")]
fn open_alone(data: PathBuf) {
    let (before, began) = (resident(), Instant::now());
    let options = Options { data, ..Options::default() };
    let store = open(&options).expect("it opens");
    let took = began.elapsed().as_secs_f64();
    let mib = (resident() - before) >> 20;
    println!("store: opened again in {took:.2} s; {mib} MiB resident then, the store's caches included");
    drop(store);
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(50);
    targets = audience, stored_audience
}

fn main() {
    if let Some(data) = std::env::var_os(OPEN) {
        return open_alone(data.into());
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
