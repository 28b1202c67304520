//! What groups cost in the embedded store: how long a million users take to join, what they take on disk and in memory, how
//! long a folder with them takes to open, how long an audience of all of them. One run, printed: it is too long to repeat
//! as criterion does.
//!
//! `cargo bench --bench membership -- [users] [groups] [groups of each user]`

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pushline::model::clock::{Clock, Moment, Timestamp};
use pushline::model::condition::Condition;
use pushline::model::id::{GroupName, TenantId, TopicName, UserId};
use pushline::store::open::{Options, open};
use pushline::store::{MembersChange, Of, Store};
use tokio::runtime::Runtime;

/// The allocator of the gateway.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Users that one call names: the most that the surfaces let through.
const CALL_USERS: u64 = 1_000;

fn main() {
    // `cargo test --all-targets` runs it too, without the word: then it only has to work.
    let small = std::env::args().all(|argument| argument != "--bench");
    let (users, groups) = if small { (10_000, 100) } else { (1_000_000, 10_000) };
    let mut given = std::env::args().skip(1).filter_map(|argument| argument.parse::<u64>().ok());
    let mut next = |default| given.next().unwrap_or(default);
    let (users, groups, each) = (next(users), next(groups), next(10));
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options { data: folder.path().to_owned(), ..Options::default() };
    let runtime = Runtime::new().expect("a runtime");

    // The store says how large what it keeps in memory is.
    tracing_subscriber::fmt().with_ansi(false).without_time().init();
    println!("{users} users in {groups} groups, {each} each");
    let store = open(&options).expect("an open store");
    let took = timed(|| runtime.block_on(fill(&store, users, groups, each)));
    let memberships = users * each;
    let call_micros = took.as_micros() as f64 / memberships as f64;
    println!("joining: {took:.1?}, {call_micros:.1} us for one user and group");
    runtime.block_on(store.close()).expect("an orderly end");
    drop(store);
    let disk = bytes(folder.path());
    println!("disk: {} MB, {} bytes for one user", disk / 1_000_000, disk / users);

    let before = resident();
    let mut store = None;
    let took = timed(|| store = open(&options).ok());
    let store = store.expect("an open store");
    let after = resident();
    println!("opening: {took:.2?}; the process grew from {} to {} MB", before / 1_000_000, after / 1_000_000);

    let tenant = tenant();
    for text in ["'g1' in topics", "'g1' in topics && ('g2' in topics || !('g3' in topics))", "!('nobody' in topics)"] {
        let of = Of::Condition(Condition::parse(text).expect("a condition"));
        let mut found = None;
        let took = timed(|| found = runtime.block_on(store.audience(&tenant, of, None, 100)).ok());
        let found = found.expect("an audience");
        println!("audience of {text}: {} devices, {} users, {took:.2?}", found.set.len(), found.users);
    }
}

/// Each group gets its members in calls of a thousand: user `n` is in the groups `n`, `n + 1`, ... of as many as there are.
async fn fill(store: &Arc<dyn Store>, users: u64, groups: u64, each: u64) {
    let tenant = tenant();
    let mut waiting = std::collections::VecDeque::new();
    for group in 0..groups {
        let members = (0..each).flat_map(|back| ((group + groups - back) % groups..users).step_by(groups as usize));
        let members: Vec<_> = members.map(user).collect();
        for add in members.chunks(CALL_USERS as usize) {
            let name = format!("g{group}");
            let change = MembersChange {
                group: GroupName::new(&name).expect("a plain name"),
                add: add.to_vec(),
                remove: Vec::new(),
                arises: vec![TopicName::new(&name).expect("a plain name")],
            };
            waiting.push_back(store.change_members(&tenant, change, Timestamp::from_millis(1)));
            // As a stream does that waits for each answer, with a few streams at a time.
            if waiting.len() == 8
                && let Some(answer) = waiting.pop_front()
            {
                answer.await.expect("a change");
            }
        }
    }
    for answer in waiting {
        answer.await.expect("a change");
    }
}

fn tenant() -> TenantId {
    TenantId::new("bench").expect("a plain name")
}

fn user(number: u64) -> UserId {
    UserId::new(&format!("user-{number:08}")).expect("a plain name")
}

fn timed(work: impl FnOnce()) -> Duration {
    let clock = Clock::new();
    work();
    clock.now().moment.since(Moment::ZERO)
}

/// Bytes that the process holds in memory.
fn resident() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok());
    pages.unwrap_or_default() * 4_096
}

fn bytes(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |file: fs::DirEntry| match file.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes(&file.path()),
        Ok(metadata) => std::os::unix::fs::MetadataExt::blocks(&metadata) * 512,
        Err(_) => 0,
    };
    files.map(size).sum()
}
