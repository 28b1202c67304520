//! Who is online, as backends see it: lists and events, live and across restarts of a real gateway.

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use pushline::model::clock::{Clock, Moment};
use serde_json::{Value, json};
use support::sse::{Events, call};
use support::{Gateway, Process, metric};

const PATH: &str = "/v1/presence/events";

fn line(event: &Value) -> String {
    let text = |name: &str| event[name].as_str().unwrap_or("-").to_owned();
    let reason = event["reason"].as_str().map(|reason| format!("({reason})")).unwrap_or_default();
    format!("{}/{} {}{reason}", text("user"), text("device"), text("what"))
}

fn is(event: &Value, what: &str) -> bool {
    event["what"] == what
}

/// Positions follow each other from the one after `first` on.
fn assert_no_gap(first: u64, events: &[Value]) {
    let positions: Vec<_> = events.iter().map(|event| event["position"].as_u64().expect("a position")).collect();
    assert_eq!(positions, (first + 1..=first + positions.len() as u64).collect::<Vec<_>>());
}

#[tokio::test]
async fn comings_and_goings_are_told_live_and_listed() {
    let gateway = Gateway::start_with(|config| {
        config.presence.debounce = Duration::from_millis(300);
        config.presence.idle_after = Duration::from_millis(800);
    })
    .await;
    let mut events = Events::open(gateway.backend, PATH, &gateway.key, None).await;
    assert_eq!(events.content_type, "text/event-stream");
    let first = events.next().await.expect("the first comes at once");
    assert_eq!((first.name.as_str(), first.data), ("position", json!({"position": 0, "last": 0})));

    let phone = gateway.client("mia", "phone").await;
    let told = events.until(|event| is(event, "idle")).await;
    let lines: Vec<_> = told.iter().map(line).collect();
    assert_eq!(lines, ["mia/phone connected", "mia/phone ready", "mia/phone idle"]);

    let tablet = gateway.client("mia", "tablet").await;
    let other = gateway.client("bob", "phone").await;
    events.until(|event| event["user"] == "bob").await;
    let list = |query: &'static str| {
        let (address, key) = (gateway.backend, gateway.key.clone());
        async move {
            let (status, page) = call("GET", address, &format!("/v1/presence{query}"), &key, None).await;
            assert_eq!(status, 200, "{page}");
            let names = page["online"].as_array().expect("a list").iter().map(|line| {
                assert!(line["since_ms"].as_u64().is_some_and(|since| since > 1_600_000_000_000), "{line}");
                format!("{}/{}", line["user"].as_str().expect("a user"), line["device"].as_str().expect("a device"))
            });
            (names.collect::<Vec<_>>(), page["count"].as_u64().expect("a count"), page["next"].clone())
        }
    };
    assert_eq!(list("").await, (vec!["bob/phone".into(), "mia/phone".into(), "mia/tablet".into()], 3, Value::Null));
    assert_eq!(list("?user=mia").await, (vec!["mia/phone".into(), "mia/tablet".into()], 2, Value::Null));
    assert_eq!(list("?limit=2").await, (vec!["bob/phone".into(), "mia/phone".into()], 3, "mia/phone".into()));
    assert_eq!(list("?limit=2&after=mia/phone").await.0, ["mia/tablet"]);
    let (status, page) = call("GET", gateway.backend, "/v1/presence", &gateway.other_key, None).await;
    assert_eq!((status, &page["count"]), (200, &json!(0)), "tenants are apart");

    // Back within the debounce: nobody hears of it. Gone for longer: offline.
    drop(phone);
    let phone = gateway.client("mia", "phone").await;
    drop(tablet);
    let told = events.until(|event| is(event, "offline")).await;
    let offline: Vec<_> = told.iter().filter(|event| is(event, "offline")).map(line).collect();
    assert_eq!(offline, ["mia/tablet offline(gone)"]);
    assert!(told.iter().all(|event| !(event["device"] == "phone" && is(event, "connected"))), "{told:?}");
    drop((phone, other));

    // Only one user's, from a position on, as a page.
    let path = format!("{PATH}?follow=false&user=mia&after=1");
    let (status, page) = call("GET", gateway.backend, &path, &gateway.key, None).await;
    let told = page["events"].as_array().expect("a list");
    assert!(status == 200 && told.len() >= 3 && told.iter().all(|event| event["user"] == "mia"), "{page}");
    assert!(told[0]["position"].as_u64() > Some(1) && page["missed"] == 0, "{page}");
}

/// P5.2, P4.8: a crowd that leaves at once is a few writes, not a storm.
#[tokio::test]
async fn a_mass_disconnect_of_500_devices_is_few_batches() {
    const CROWD: usize = 500;
    let gateway = Gateway::start_with(|config| config.presence.debounce = Duration::from_secs(1)).await;
    let mut events = Events::open(gateway.backend, PATH, &gateway.key, None).await;
    let mut clients = Vec::new();
    for start in (0..CROWD).step_by(50) {
        let some = (start..start + 50).map(|n| format!("user-{n}"));
        let some: Vec<_> = some.collect();
        clients.extend(join_all(some.iter().map(|user| gateway.client(user, "d"))).await);
    }
    let mut ready = BTreeSet::new();
    while ready.len() < CROWD {
        for event in events.until(|event| is(event, "ready")).await {
            if is(&event, "ready") {
                ready.insert(line(&event));
            }
        }
    }
    let before = metric(gateway.backend, "pushline_presence_batches_total").await;
    let clock = Clock::new();
    drop(clients);
    let mut offline = BTreeSet::new();
    while offline.len() < CROWD {
        for event in events.until(|event| is(event, "offline")).await {
            assert!(offline.insert(line(&event)), "nobody is told twice: {event}");
        }
    }
    let batches = metric(gateway.backend, "pushline_presence_batches_total").await - before;
    // A batch gathers for 250 ms; how long the crowd takes to leave depends on the machine.
    let most = (clock.now().moment.since(Moment::ZERO).as_secs_f64() * 4.0).ceil() + 2.0;
    assert!(batches <= most && batches <= CROWD as f64 / 8.0, "{batches} batches, {most} would do");
    let (_, page) = call("GET", gateway.backend, "/v1/presence", &gateway.key, None).await;
    assert_eq!(page["count"], 0);
}

#[tokio::test]
async fn a_stream_goes_on_across_a_restart_without_gap_and_repeat() {
    let mut gateway = Gateway::start().await;
    let mut events = Events::open(gateway.backend, PATH, &gateway.key, Some(0)).await;
    let client = gateway.client("mia", "phone").await;
    let mut told = events.until(|event| is(event, "ready")).await;
    gateway.stop().await;
    // The stream says why it ends.
    loop {
        let event = events.next().await.expect("its end is told");
        if event.name.is_empty() {
            told.push(event.data);
        } else if event.name == "end" {
            assert_eq!(event.data["error"], "draining");
            break;
        }
    }
    drop(client);
    gateway.start_again().await;
    let mut events = Events::open(gateway.backend, PATH, &gateway.key, events.last_id).await;
    let _client = gateway.client("bob", "phone").await;
    told.extend(events.until(|event| event["user"] == "bob" && is(event, "ready")).await);
    assert_no_gap(0, &told);
    let mut lines: Vec<_> = told.iter().map(line).collect();
    // A device that is asked to move may be gone before it is told to.
    lines[2] = lines[2].replace("(gone)", "(drain)");
    assert_eq!(
        lines,
        [
            "mia/phone connected",
            "mia/phone ready",
            "mia/phone offline(drain)",
            "-/- reset",
            "bob/phone connected",
            "bob/phone ready"
        ]
    );
}

#[tokio::test]
async fn after_a_crash_all_are_offline_unless_they_are_told_online_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Process::start(folder.path(), &[]);
    let mut events = Events::open(gateway.backend, PATH, &gateway.key, Some(0)).await;
    let options = gateway.options("mia", "phone");
    let client = support::soon("a session", pushline::client::Client::connect(options)).await.expect("a session");
    let mut told = events.until(|event| is(event, "ready")).await;
    gateway.kill();
    drop(client);
    let gateway = Process::start(folder.path(), &[]);
    let mut again = Events::open(gateway.backend, PATH, &gateway.key, events.last_id).await;
    told.extend(again.until(|event| is(event, "reset")).await);
    assert_no_gap(0, &told);
    assert_eq!(told.iter().map(line).collect::<Vec<_>>(), ["mia/phone connected", "mia/phone ready", "-/- reset"]);
    let (_, page) = call("GET", gateway.backend, "/v1/presence", &gateway.key, None).await;
    assert_eq!(page["count"], 0);
}

#[tokio::test]
async fn what_cannot_be_told_is_refused() {
    let gateway = Gateway::start_with(|config| config.backend.event_streams_max = 1).await;
    for (path, status, error) in [
        ("/v1/presence?limit=1001", 400, "invalid_option"),
        ("/v1/presence?limit=x", 400, "malformed"),
        ("/v1/presence?after=x", 400, "malformed"),
        ("/v1/presence?user=a%20b", 400, "invalid_name"),
        ("/v1/presence?usr=a", 400, "malformed"),
        ("/v1/presence/events?after=-1", 400, "malformed"),
        ("/v1/presence/events?user=%2F", 400, "invalid_name"),
        ("/v1/presence/events?message=x", 400, "malformed"),
    ] {
        let (got, body) = call("GET", gateway.backend, path, &gateway.key, None).await;
        assert_eq!((got, body["error"].as_str()), (status, Some(error)), "{path}: {body}");
    }
    let (status, _) = call("GET", gateway.backend, PATH, "no key", None).await;
    assert_eq!(status, 401);
    let stream = Events::open(gateway.backend, PATH, &gateway.key, None).await;
    let (status, body) = call("GET", gateway.backend, PATH, &gateway.key, None).await;
    assert_eq!((status, body["error"].as_str()), (429, Some("too_many_streams")));
    Events::open(gateway.backend, PATH, &gateway.other_key, None).await;
    // A stream that was closed makes room.
    drop(stream);
    let again = async {
        while call("GET", gateway.backend, "/v1/receipts?follow=false", &gateway.key, None).await.0 != 200 {}
        loop {
            let mut backend = support::receipts(gateway.backend, &gateway.key).await;
            if backend.stream_presence(pushline::wire::pb::StreamPresenceRequest::default()).await.is_ok() {
                return;
            }
        }
    };
    support::soon("room for a stream", again).await;
}
