//! `kill -9` in a loop: producers record the answers they got, devices record what they received and which acks were
//! confirmed, and a gateway that is killed at a random moment must not lose, reorder or repeat anything of it, nor of the
//! receipts (P5.8).
//!
//! `PUSHLINE_KILL_ROUNDS` sets the rounds: few by default, 50 in CI, 200 by hand.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pushline::client::Client;
use pushline::model::clock::Clock;
use pushline::model::id::{MessageId, TenantId};
use pushline::model::receipt::{Receipt, What};
use pushline::store::open::{Options, open};
use pushline::store::{Event, Journal, Store};
use pushline::wire::pb;
use support::{PATIENCE, Process, backend, soon, to_topic, to_user};
use tempfile::TempDir;
use tokio::task::JoinSet;

const USERS: u64 = 3;
const DEVICES: u64 = 2;

/// What one device knows, over all rounds.
#[derive(Default)]
struct Seen {
    /// Payload number to the deliveries that reached the program, in all rounds.
    received: BTreeMap<u64, u32>,
    /// Numbers whose ack the gateway has confirmed.
    confirmed: BTreeSet<u64>,
    /// Newest number of the first deliveries, by producer and log.
    newest: BTreeMap<(u64, u64), u64>,
}

/// Everything that was recorded.
#[derive(Default)]
struct Book {
    /// Answered pushes: number to log, `topic` or the user's name.
    answered: Mutex<BTreeMap<u64, String>>,
    /// Ids of answered pushes.
    ids: Mutex<BTreeMap<u64, String>>,
    /// By device.
    seen: Mutex<BTreeMap<String, Seen>>,
    next: AtomicU64,
    stop: AtomicBool,
}

/// A number tells its producer in the upper digits and grows for each of them.
const PRODUCER: u64 = 1_000_000_000;

async fn produce(book: Arc<Book>, address: std::net::SocketAddr, key: String, producer: u64) {
    let mut backend = backend(address, &key).await;
    while !book.stop.load(Ordering::Relaxed) {
        let number = producer * PRODUCER + book.next.fetch_add(1, Ordering::Relaxed);
        let user = format!("u{}", number % USERS);
        let (log, mut request) = match producer {
            0 => ("topic".to_owned(), to_topic("all", number.to_string())),
            _ => (user.clone(), to_user(&user, number.to_string())),
        };
        if producer == 2 {
            request.durability = pb::Durability::Relaxed.into();
        }
        // The gateway may die at any moment: a push without an answer promises nothing.
        match backend.push(request).await {
            Ok(answer) => {
                book.ids.lock().expect("no panic").insert(number, answer.into_inner().id);
                book.answered.lock().expect("no panic").insert(number, log);
            }
            Err(_) => return,
        }
    }
}

/// Receives and acks until the gateway dies or the round ends. With `to_the_end` it receives until nothing is owed.
async fn receive(book: Arc<Book>, options: pushline::client::Options, user: u64, name: String, to_the_end: bool) {
    let Ok(mut client) = Client::connect(options).await else { return };
    let owed = |book: &Book| {
        let seen = book.seen.lock().expect("no panic");
        let received = &seen[&name].received;
        let answered = book.answered.lock().expect("no panic");
        let own = format!("u{user}");
        answered.iter().filter(|(n, log)| (**log == own || *log == "topic") && !received.contains_key(n)).count()
    };
    let mut unconfirmed = Vec::new();
    loop {
        if to_the_end && owed(&book) == 0 {
            break;
        }
        let next = tokio::time::timeout(Duration::from_millis(50), client.next()).await;
        match next {
            Ok(Some(Ok(push))) => {
                let number: u64 = support::text(&push).parse().expect("a number");
                let mut seen = book.seen.lock().expect("no panic");
                let seen = seen.get_mut(&name).expect("a device of the book");
                assert!(!seen.confirmed.contains(&number), "{name} got {number} after its ack was confirmed");
                let count = seen.received.entry(number).or_default();
                *count += 1;
                if *count == 1 {
                    // A producer waits for each answer, so its numbers grow along each log.
                    let log = if number < PRODUCER { USERS } else { number % USERS };
                    let newest = seen.newest.entry((number / PRODUCER, log)).or_default();
                    assert!(number > *newest, "{name} got {number} after {newest}");
                    *newest = number;
                }
                unconfirmed.push(number);
                push.ack();
            }
            Ok(_) => return,
            Err(_) if book.stop.load(Ordering::Relaxed) && !to_the_end => break,
            Err(_) => {}
        }
        if unconfirmed.len() >= 20 {
            confirm(&book, &client, &name, &mut unconfirmed).await;
        }
    }
    confirm(&book, &client, &name, &mut unconfirmed).await;
}

async fn confirm(book: &Book, client: &Client, name: &str, unconfirmed: &mut Vec<u64>) {
    let numbers = std::mem::take(unconfirmed);
    // A flush that a lost connection cut short has confirmed nothing.
    let before = client.status().borrow().clone();
    let flushed = tokio::time::timeout(Duration::from_secs(2), client.flush()).await;
    let after = client.status().borrow().clone();
    if matches!(flushed, Ok(Ok(()))) && before.sessions == after.sessions && before.unconfirmed == after.unconfirmed {
        book.seen.lock().expect("no panic").get_mut(name).expect("a device of the book").confirmed.extend(numbers);
    }
}

fn tenant() -> TenantId {
    TenantId::new("default").expect("a name")
}

/// Reads receipts after a position, at most so many at once.
async fn receipts(store: &dyn Store, mut after: u64, most: usize) -> Vec<Receipt> {
    let mut found = Vec::new();
    loop {
        let page = store.journal(&tenant(), Journal::Receipts, after, most).await.expect("it can be read");
        for (position, event) in page.events {
            after += 1;
            assert_eq!(position, after, "a gap or a repeat");
            let Event::Receipt(receipt) = event else { panic!("{event:?} is no receipt") };
            found.push(receipt);
        }
        if page.looked >= page.last {
            return found;
        }
    }
}

/// Looks into the folder while no gateway runs: the receipts that were read before are the same, and none is missing for
/// what was answered or confirmed.
async fn check_receipts(book: &Book, folder: &Path, known: &mut Vec<Receipt>) {
    let store = open(&Options { data: folder.join("store"), ..Options::default() }).expect("the store opens");
    let all = receipts(&*store, 0, 1_000).await;
    assert_eq!(all[..known.len()], known[..], "what was told is told the same way again");
    let resumed = receipts(&*store, known.len() as u64, 7).await;
    assert_eq!(all[known.len()..], resumed[..]);
    let mut told: BTreeMap<(String, String), u32> = BTreeMap::new();
    for receipt in &all {
        let device = receipt.device.as_ref().map(|(_, device)| device.to_string());
        let what = match &receipt.what {
            What::Accepted(_) => "accepted".to_owned(),
            What::Acked => format!("acked by {}", device.expect("a device acks")),
            _ => continue,
        };
        *told.entry((receipt.message.to_string(), what)).or_default() += 1;
    }
    assert!(told.values().all(|&times| times == 1), "told more than once: {told:?}");
    let ids = book.ids.lock().expect("no panic").clone();
    let answered = book.answered.lock().expect("no panic").clone();
    for number in answered.keys() {
        assert!(told.contains_key(&(ids[number].clone(), "accepted".to_owned())), "{number} was answered");
    }
    // What a device has confirmed of a topic is in the counts alone.
    let mut acked: BTreeMap<u64, u64> = BTreeMap::new();
    for (name, seen) in &*book.seen.lock().expect("no panic") {
        for number in seen.confirmed.iter().filter(|number| answered.contains_key(number)) {
            if answered[number] == "topic" {
                *acked.entry(*number).or_default() += 1;
            } else {
                let line = (ids[number].clone(), format!("acked by {name}"));
                assert!(told.contains_key(&line), "{name} had {number} confirmed");
            }
        }
    }
    let now = Clock::new().now().wall;
    for number in answered.keys() {
        let id = MessageId::parse(&ids[number]).expect("an id");
        let record = store.message(&tenant(), id, now).await.expect("it can be read").expect("it is known");
        let counts = record.counts.expect("receipts are kept");
        assert!(counts.sent <= counts.audience && counts.acked <= counts.sent, "{number}: {counts:?}");
        assert_eq!(counts.audience, counts.acked + counts.dead + counts.missed + counts.waiting());
        assert!(counts.acked >= acked.get(number).copied().unwrap_or_default(), "{number}: {counts:?}");
        let expected = if answered[number] == "topic" { USERS * DEVICES } else { DEVICES };
        assert_eq!(counts.audience, expected, "{number}");
    }
    *known = all;
    store.close().await.expect("it closes");
}

/// P5.8: no answered push lost, none delivered after its ack was confirmed, order per log kept, restart under 2 s. And of
/// all that, each receipt once: none is lost with the gateway, and none is told again.
#[tokio::test(flavor = "multi_thread")]
async fn kill_nine_loses_nothing_and_repeats_nothing_that_was_acked() {
    let rounds = std::env::var("PUSHLINE_KILL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    let folder = TempDir::new().expect("a temporary folder");
    let book = Arc::new(Book::default());
    book.next.store(1, Ordering::Relaxed);
    let mut gateway = Process::start(folder.path(), &[]);
    let devices: Vec<(u64, String)> =
        (0..USERS).flat_map(|user| (0..DEVICES).map(move |device| (user, format!("u{user}-d{device}")))).collect();
    for (user, name) in &devices {
        book.seen.lock().expect("no panic").insert(name.clone(), Seen::default());
        let client = Client::connect(gateway.options(&format!("u{user}"), name)).await.expect("a session");
        soon("a subscription", client.subscribe(["all"])).await.expect("a subscription");
        client.close().await.expect("a clean end");
    }
    let clock = Clock::new();
    let mut told = Vec::new();
    let mut slowest = Duration::ZERO;
    for round in 0..rounds {
        book.stop.store(false, Ordering::Relaxed);
        let mut tasks = JoinSet::new();
        for producer in 0..4 {
            tasks.spawn(produce(Arc::clone(&book), gateway.backend, gateway.key.clone(), producer));
        }
        for (user, name) in devices.iter().filter(|_| fastrand::u8(0..4) > 0) {
            let mut options = gateway.options(&format!("u{user}"), name);
            options.connect_timeout = Duration::from_secs(1);
            tasks.spawn(receive(Arc::clone(&book), options, *user, name.clone(), false));
        }
        // Not a wait for something: the moment of death is what chance decides here.
        tokio::time::sleep(Duration::from_millis(fastrand::u64(20..400))).await;
        gateway.kill();
        book.stop.store(true, Ordering::Relaxed);
        let began = clock.now().moment;
        gateway = Process::start(folder.path(), &[]);
        slowest = slowest.max(clock.now().moment.since(began));
        while let Some(ended) = soon("the end of a round", tasks.join_next()).await {
            ended.unwrap_or_else(|error| panic!("round {round}: {error}"));
        }
        // Killed again at once, by when it may have told of more; nobody but this test has the folder then.
        gateway.kill();
        check_receipts(&book, folder.path(), &mut told).await;
        gateway = Process::start(folder.path(), &[]);
    }
    let mut tasks = JoinSet::new();
    for (user, name) in &devices {
        let options = gateway.options(&format!("u{user}"), name);
        tasks.spawn(tokio::time::timeout(PATIENCE * 4, receive(Arc::clone(&book), options, *user, name.clone(), true)));
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no panic").expect("everything that is owed arrives");
    }
    gateway.kill();
    check_receipts(&book, folder.path(), &mut told).await;
    let complete = told.iter().filter(|receipt| receipt.what == What::Acked).count();
    let answered = book.answered.lock().expect("no panic").len();
    let seen = book.seen.lock().expect("no panic");
    let confirmed: usize = seen.values().map(|seen| seen.confirmed.len()).sum();
    let received: usize = seen.values().map(|seen| seen.received.len()).sum();
    println!(
        "{rounds} rounds: {answered} answered, {received} received, {confirmed} confirmed, {} receipts, {complete} of \
         acks; slowest restart {slowest:?}",
        told.len()
    );
    assert!(answered > rounds && confirmed > rounds, "hardly anything happened");
    assert!(slowest < Duration::from_secs(2), "a restart took {slowest:?}");
}
