//! What became of messages, as backends hear of it: streams, sums of tags and timelines of a real gateway.

mod support;

use std::time::Duration;

use pushline::wire::pb;
use serde_json::{Value, json};
use support::sse::{Events, call};
use support::{Gateway, Process, push, soon, text, to_device, to_topic, to_user};

const PATH: &str = "/v1/receipts";

fn tagged(mut request: pb::PushRequest, tag: &str) -> pb::PushRequest {
    request.tag = tag.into();
    request
}

fn is(event: &Value, what: &str) -> bool {
    event["what"] == what
}

fn line(event: &Value) -> String {
    let device = event["device"].as_str().map(|device| format!("{device} ")).unwrap_or_default();
    let reason = event["reason"].as_str().map(|reason| format!(" {reason}")).unwrap_or_default();
    let attempt = event["attempt"].as_u64().map(|attempt| format!(" {attempt}")).unwrap_or_default();
    format!("{device}{}{attempt}{reason}", event["what"].as_str().expect("a word"))
}

async fn timeline(gateway: &Gateway, id: &str, query: &str) -> Value {
    let path = format!("/v1/messages/{id}/timeline{query}");
    let (status, timeline) = call("GET", gateway.backend, &path, &gateway.key, None).await;
    assert_eq!(status, 200, "{timeline}");
    timeline
}

/// `device standing`, in the order of names.
fn standings(timeline: &Value) -> Vec<String> {
    let devices = timeline["devices"].as_array().expect("a list").iter();
    devices
        .map(|one| format!("{} {}", one["device"].as_str().expect("a name"), one["standing"].as_str().expect("a word")))
        .collect()
}

/// P1.16: the ack on the device's own short stream becomes a receipt for the sender, with no other connection of the
/// device and no question of the sender.
#[tokio::test]
async fn p1_16_an_ack_on_the_short_stream_becomes_a_receipt() {
    let gateway = Gateway::start().await;
    let mut receipts = support::receipts(gateway.backend, &gateway.key).await;
    let stream = soon("a stream", receipts.stream_receipts(pb::StreamReceiptsRequest::default()));
    let mut stream = stream.await.expect("a stream").into_inner();
    let first = soon("a batch", stream.message()).await.expect("no error").expect("the first comes at once");
    assert_eq!((first.receipts.len(), first.position, first.last), (0, 0, 0));
    let mut backend = support::backend(gateway.backend, &gateway.key).await;
    let mut client = gateway.client("mia", "phone").await;
    let id = push(&mut backend, tagged(to_user("mia", "hello"), "greeting")).await;
    let got = support::next(&mut client).await;
    assert_eq!(text(&got), "hello");
    got.ack();
    let mut told = Vec::new();
    while !told.iter().any(|receipt: &pb::Receipt| receipt.what == "acked") {
        let batch = soon("a batch", stream.message()).await.expect("no error").expect("the stream goes on");
        told.extend(batch.receipts);
    }
    let words: Vec<_> = told.iter().map(|receipt| (receipt.what.as_str(), receipt.device.as_str())).collect();
    assert_eq!(words, [("accepted", ""), ("sent", "phone"), ("acked", "phone")]);
    assert!(told.iter().all(|receipt| receipt.message == id && receipt.tag == "greeting" && receipt.at_ms > 0));
    assert_eq!(told[0].counts.as_ref().map(|counts| counts.audience), Some(1));
    let positions: Vec<_> = told.iter().map(|receipt| receipt.position).collect();
    assert_eq!(positions, [1, 2, 3]);
}

#[tokio::test]
async fn a_resumed_stream_has_no_gap_and_no_repeat_across_a_restart() {
    let mut gateway = Gateway::start().await;
    let mut told: Vec<Value> = Vec::new();
    let mut last_id = Some(0);
    for round in 0..3 {
        let mut events = Events::open(gateway.backend, PATH, &gateway.key, last_id).await;
        let mut backend = support::backend(gateway.backend, &gateway.key).await;
        let mut client = gateway.client("mia", "phone").await;
        for n in 0..20 {
            push(&mut backend, to_user("mia", format!("{round} {n}"))).await;
        }
        for _ in 0..20 {
            let got = support::next(&mut client).await;
            got.ack();
        }
        // The stream is cut in the middle of what there is to tell.
        let until = 20 * round + 7;
        while told.iter().filter(|event| is(event, "acked")).count() <= until {
            told.extend(events.until(|event| is(event, "acked")).await);
        }
        last_id = events.last_id;
        drop(events);
        soon("the last acks", client.close()).await.expect("a clean end");
        gateway.restart().await;
    }
    let mut events = Events::open(gateway.backend, PATH, &gateway.key, last_id).await;
    while told.iter().filter(|event| is(event, "acked")).count() < 60 {
        told.extend(events.until(|event| is(event, "acked")).await);
    }
    let positions: Vec<_> = told.iter().map(|event| event["position"].as_u64().expect("a position")).collect();
    assert_eq!(positions, (1..=positions.len() as u64).collect::<Vec<_>>());
    for what in ["accepted", "sent", "acked"] {
        assert_eq!(told.iter().filter(|event| is(event, what)).count(), 60, "{what}");
    }
}

/// Receipts that were told survive the death of the process, with their positions.
#[tokio::test]
async fn receipts_survive_a_kill() {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Process::start(folder.path(), &[]);
    let mut events = Events::open(gateway.backend, PATH, &gateway.key, Some(0)).await;
    let mut backend = support::backend(gateway.backend, &gateway.key).await;
    let mut client =
        soon("a session", pushline::client::Client::connect(gateway.options("mia", "phone"))).await.expect("a session");
    for n in 0..10 {
        push(&mut backend, to_user("mia", format!("{n}"))).await;
        let got = support::next(&mut client).await;
        got.ack();
    }
    let mut told = Vec::new();
    while told.iter().filter(|event| is(event, "acked")).count() < 10 {
        told.extend(events.until(|event| is(event, "acked")).await);
    }
    gateway.kill();
    let gateway = Process::start(folder.path(), &[]);
    let path = format!("{PATH}?follow=false&after=0");
    let (status, page) = call("GET", gateway.backend, &path, &gateway.key, None).await;
    let kept = page["receipts"].as_array().expect("a list");
    assert!(status == 200 && kept.starts_with(&told), "{page}");
}

#[tokio::test]
async fn streams_and_pages_are_filtered_by_message_and_tag() {
    let gateway = Gateway::start().await;
    let mut backend = support::backend(gateway.backend, &gateway.key).await;
    let mut spring = Events::open(gateway.backend, &format!("{PATH}?tag=spring"), &gateway.key, None).await;
    spring.next().await.expect("the first comes at once");
    let one = push(&mut backend, tagged(to_user("mia", "one"), "spring")).await;
    let two = push(&mut backend, tagged(to_user("mia", "two"), "autumn")).await;
    let three = push(&mut backend, tagged(to_topic("news", "three"), "spring")).await;
    let told = spring.until(|event| event["message"] == three.as_str()).await;
    let messages: Vec<_> = told.iter().map(|event| event["message"].as_str().expect("an id")).collect();
    assert_eq!(messages, [one.as_str(), three.as_str()]);
    let page = async |query: String| {
        let (status, page) =
            call("GET", gateway.backend, &format!("{PATH}?follow=false{query}"), &gateway.key, None).await;
        assert_eq!(status, 200, "{page}");
        let ids = page["receipts"].as_array().expect("a list").iter().map(|event| event["message"].clone());
        (ids.collect::<Vec<_>>(), page["position"].as_u64())
    };
    assert_eq!(page(format!("&message={two}")).await, (vec![json!(two)], Some(3)));
    assert_eq!(
        page("&tag=winter".into()).await,
        (Vec::new(), Some(3)),
        "what is not wanted was looked at all the same"
    );
    assert_eq!(page("&after=2".into()).await, (vec![json!(three)], Some(3)));
    for (query, error) in [
        ("?message=x", "malformed"),
        ("?tag=a%2Fb", "invalid_name"),
        ("?after=x", "malformed"),
        ("?user=mia", "malformed"),
        ("?follow=perhaps", "malformed"),
    ] {
        let (status, body) = call("GET", gateway.backend, &format!("{PATH}{query}"), &gateway.key, None).await;
        assert_eq!((status, body["error"].as_str()), (400, Some(error)), "{query}");
    }
    let (_, others) = call("GET", gateway.backend, &format!("{PATH}?follow=false"), &gateway.other_key, None).await;
    assert_eq!(others["receipts"], json!([]), "tenants are apart");
}

/// P4.8: the success of what belongs together is reported over time.
#[tokio::test]
async fn success_of_a_tag_is_summed_by_the_hour() {
    let gateway = Gateway::start().await;
    let mut backend = support::backend(gateway.backend, &gateway.key).await;
    let mut events = Events::open(gateway.backend, &format!("{PATH}?tag=spring"), &gateway.key, Some(0)).await;
    let mut client = gateway.client("mia", "phone").await;
    for n in 0..4 {
        push(&mut backend, tagged(to_user("mia", format!("{n}")), "spring")).await;
    }
    for _ in 0..3 {
        let got = support::next(&mut client).await;
        got.ack();
    }
    let mut acked = 0;
    while acked < 3 {
        acked += events.until(|event| is(event, "acked")).await.iter().filter(|event| is(event, "acked")).count();
    }
    let (status, tag) = call("GET", gateway.backend, "/v1/tags/spring", &gateway.key, None).await;
    assert_eq!((status, &tag["messages"], &tag["tag"]), (200, &json!(4), &json!("spring")), "{tag}");
    assert_eq!(
        (&tag["total"]["acked"], &tag["total"]["audience"], &tag["total"]["waiting"]),
        (&json!(3), &json!(4), &json!(1))
    );
    let hours = tag["hours"].as_array().expect("a list");
    // The hour may have changed in between.
    assert_eq!(hours.iter().map(|hour| hour["messages"].as_u64().expect("a number")).sum::<u64>(), 4);
    assert!(hours.iter().all(|hour| hour["from_ms"].as_u64().is_some_and(|from| from % 3_600_000 == 0)), "{tag}");
    let (_, none) = call("GET", gateway.backend, "/v1/tags/winter", &gateway.key, None).await;
    assert_eq!((&none["messages"], &none["hours"]), (&json!(0), &json!([])));
    for query in ["?from_ms=2&upto_ms=1", "?from_ms=1", "?from_ms=x", "?from=1"] {
        let (status, _) = call("GET", gateway.backend, &format!("/v1/tags/spring{query}"), &gateway.key, None).await;
        assert_eq!(status, 400, "{query}");
    }
}

/// P1.16: the cause of a push that did not arrive can be known.
#[tokio::test]
async fn a_timeline_tells_where_a_message_stands_at_each_device_and_why() {
    let gateway = Gateway::start_with(|config| config.presence.debounce = Duration::from_millis(50)).await;
    let mut backend = support::backend(gateway.backend, &gateway.key).await;
    let mut phone = gateway.client("mia", "phone").await;
    let slow = gateway.client("mia", "slow").await;
    let gone = gateway.client("mia", "gone").await;
    let excluded = gateway.client("mia", "watch").await;
    soon("its end", gone.close()).await.expect("a clean end");
    let mut request = to_user("mia", "hello");
    request.exclude = vec![pb::Exclusion { user: "mia".into(), device: "watch".into() }];
    let id = push(&mut backend, request).await;
    let got = support::next(&mut phone).await;
    got.ack();
    let wanted = ["gone offline", "phone acked", "slow in_flight", "watch excluded"];
    let settled = async {
        loop {
            let told = timeline(&gateway, &id, "").await;
            if standings(&told) == wanted {
                return told;
            }
        }
    };
    let told = soon("the devices to stand as they must", settled).await;
    let online: Vec<_> = told["devices"].as_array().expect("a list").iter().map(|one| one["online"].clone()).collect();
    assert_eq!(online, [json!(false), json!(true), json!(true), json!(true)], "{told}");
    for at in [0, 1, 2] {
        assert!(told["devices"][at]["since_ms"].as_u64() > Some(1_600_000_000_000), "{told}");
    }
    let reported = async {
        loop {
            let told = timeline(&gateway, &id, "?user=mia").await;
            let events = told["events"].as_array().expect("a list").clone();
            if events.iter().any(|event| is(event, "acked"))
                && events.iter().filter(|event| is(event, "sent")).count() == 2
            {
                return events;
            }
        }
    };
    let events = soon("what happened to be recorded", reported).await;
    let mut lines: Vec<_> = events.iter().map(line).collect();
    assert_eq!(lines[0], "accepted");
    assert!(events.windows(2).all(|pair| pair[0]["at_ms"].as_u64() <= pair[1]["at_ms"].as_u64()), "oldest first");
    lines.sort();
    assert_eq!(lines, ["accepted", "phone acked", "phone sent 1", "slow sent 1"]);
    assert_eq!(standings(&timeline(&gateway, &id, "?user=bob").await), [""; 0]);

    // One device alone, and a message that is over.
    let alone = push(&mut backend, to_device("mia", "gone", "x")).await;
    let told = timeline(&gateway, &alone, "").await;
    assert_eq!(standings(&told), ["gone offline", "phone not_matched", "slow not_matched", "watch not_matched"]);
    let (status, _) = call("DELETE", gateway.backend, &format!("/v1/messages/{alone}"), &gateway.key, None).await;
    assert_eq!(status, 200);
    let told = timeline(&gateway, &alone, "").await;
    assert_eq!(told["message"]["state"], "cancelled");
    assert_eq!(standings(&told)[0], "gone cancelled");
    assert_eq!(
        told["events"].as_array().expect("a list").iter().map(line).collect::<Vec<_>>(),
        ["accepted", "cancelled"]
    );

    // Topics and conditions: only of a user that is named.
    let news = push(&mut backend, to_topic("news", "x")).await;
    assert_eq!(standings(&timeline(&gateway, &news, "").await), [""; 0]);
    let told = timeline(&gateway, &news, "?user=mia").await;
    assert!(standings(&told).iter().all(|standing| standing.ends_with("not_matched")), "{told}");
    for (path, expected) in [
        ("/v1/messages/x/timeline", 400),
        ("/v1/messages/00000000-0000-0000-0000-000000000000/timeline", 404),
        ("/v1/messages/00000000-0000-0000-0000-000000000000/timeline?user=a%20b", 400),
    ] {
        assert_eq!(call("GET", gateway.backend, path, &gateway.key, None).await.0, expected, "{path}");
    }
    // The gRPC twin tells the same.
    let request = pb::GetTimelineRequest { id: id.clone(), user: String::new() };
    let same = soon("a timeline", backend.get_timeline(request)).await.expect("a timeline").into_inner();
    let names: Vec<_> = same.devices.iter().map(|one| format!("{} {}", one.device, one.standing)).collect();
    assert_eq!((names, same.message.map(|message| message.id)), (wanted.map(str::to_owned).to_vec(), Some(id)));
    drop((slow, excluded));
}
