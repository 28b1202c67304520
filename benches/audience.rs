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

use std::collections::BTreeMap;
use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use pushline::audience::Index;
use pushline::model::condition::Condition;
use pushline::model::id::{DeviceNumber, TopicName};

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
    let three = |a: usize, b: usize, c: usize| {
        format!("'group-{a}' in topics && ('group-{b}' in topics || !('group-{c}' in topics))")
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

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(50);
    targets = audience
}
criterion_main!(benches);
