//! Devices and their nodes, from outside (P2.10): who connects to another node than its own is served or asked to move, and
//! a node that goes down says where to go.

mod support;

use pushline::assign::Misplaced;
use pushline::client::Client;
use pushline::config::{Config, Settings};
use pushline::model::id::NodeName;
use pushline::wire::device::Method;
use pushline::wire::pb::OpenRequest;
use pushline::wire::pb::open_response::Frame;
use serde_json::json;
use support::device::{Device, Pushes, open};
use support::http::Json;
use support::{Gateway, client_options, next, push, soon, text, to_user};

/// Where the other nodes are said to be. Nobody listens there.
const NODES: [&str; 3] = ["a 127.0.0.1:1 tag=home", "b 127.0.0.1:2", "c 127.0.0.1:3 weight=0"];

/// This node is `a`; users that begin with `at-a` belong to it, with `at-b` to the next, and on wheels to the last.
fn cluster(config: &mut Config) {
    config.cluster.name = Some(NodeName::new("a").expect("a name"));
    config.cluster.nodes = NODES.map(|node| node.parse().expect("a node")).into();
    let rules = ["home user=at-a* -> tag=home", "away user=at-b* -> node=b", "wheels attribute.wheels=4 -> node=c"];
    config.cluster.rules = rules.map(|rule| rule.parse().expect("a rule")).into();
}

async fn moving() -> Gateway {
    Gateway::start_with(|config| {
        cluster(config);
        config.cluster.misplaced = Misplaced::Move;
    })
    .await
}

/// A device that has a session.
async fn device(gateway: &Gateway, user: &str) -> (Device, Pushes) {
    let mut device = Device::connect(gateway.devices, &gateway.ca).await;
    let (_, pushes) = open(&mut device, gateway.token(user, "phone")).await;
    (device, pushes)
}

/// Asserts that the next frame asks to move, and gives where to.
async fn asked(pushes: &mut Pushes) -> Vec<String> {
    match pushes.next().await {
        Some(Frame::Move(asked)) => asked.nodes,
        other => panic!("not asked to move: {other:?}"),
    }
}

/// By default nobody is turned away: a node that is not the right one serves as well as any.
#[tokio::test(flavor = "multi_thread")]
async fn p2_10_a_misplaced_device_is_served() {
    let gateway = Gateway::start_with(cluster).await;
    let (_device, mut pushes) = device(&gateway, "at-b").await;
    push(&mut gateway.backend().await, to_user("at-b", "1")).await;
    assert_eq!(pushes.push().await.payload, b"1"[..]);
}

/// Or it is asked to move and told where; who is at home is not. One that comes back all the same, because its node is down
/// or because it does not know how to go there, is served.
#[tokio::test(flavor = "multi_thread")]
async fn p2_10_a_misplaced_device_is_asked_to_move_once() {
    let gateway = moving().await;
    let mut backend = gateway.backend().await;
    for user in ["at-a", "at-b"] {
        push(&mut backend, to_user(user, "1")).await;
    }
    let (_at_home, mut pushes) = device(&gateway, "at-a").await;
    assert_eq!(pushes.push().await.payload, b"1"[..]);
    let (away, mut pushes) = device(&gateway, "at-b").await;
    assert_eq!(asked(&mut pushes).await, ["127.0.0.1:2"]);
    let ended = async {
        loop {
            match pushes.next().await {
                Some(Frame::Close(close)) => return close,
                Some(_) => {}
                None => panic!("no word at the end"),
            }
        }
    };
    let close = soon("the end of the grace", ended).await;
    assert_eq!((close.name.as_str(), close.may_return), ("drain", true));
    drop(away);
    let (_back, mut pushes) = device(&gateway, "at-b").await;
    assert_eq!(pushes.push().await.payload, b"1"[..], "what was not acked comes here");
}

/// A client of the library comes to rest by itself, wherever it ends up, and loses nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_node_is_down_is_served_here() {
    let gateway = moving().await;
    let mut phone = gateway.client("at-b", "phone").await;
    let mut backend = gateway.backend().await;
    for number in 0..20 {
        push(&mut backend, to_user("at-b", number.to_string())).await;
        let pushed = next(&mut phone).await;
        assert_eq!(text(&pushed), number.to_string());
        pushed.ack();
    }
}

/// And one whose node is up goes there: it is the same client, and its program notices nothing.
#[tokio::test(flavor = "multi_thread")]
async fn p2_10_a_client_goes_to_the_node_it_belongs_to() {
    let home = Gateway::start().await;
    let mut first = Gateway::start_with(|config| {
        cluster(config);
        config.cluster.misplaced = Misplaced::Move;
        config.cluster.nodes[1].address = home.devices.to_string();
    })
    .await;
    // Nodes of one deployment share their keys.
    first.stop().await;
    for folder in ["auth", "certs"] {
        for file in std::fs::read_dir(home.data().join(folder)).expect("the keys") {
            let file = file.expect("the keys");
            std::fs::copy(file.path(), first.data().join(folder).join(file.file_name())).expect("copied");
        }
    }
    first.start_again().await;
    let options = client_options(first.devices, &home.ca, home.token("at-b", "phone"));
    let mut phone = soon("a session", Client::connect(options)).await.expect("a session");
    push(&mut home.backend().await, to_user("at-b", "welcome home")).await;
    assert_eq!(text(&next(&mut phone).await), "welcome home");
}

/// A token is given with the nodes to connect to; and when the operator empties a node, that counts at once, for tokens and
/// for who is there, and after a restart.
#[tokio::test(flavor = "multi_thread")]
async fn p2_10_the_operator_empties_a_node() {
    let mut gateway = Gateway::start_with(cluster).await;
    for (user, node) in [("at-a", "127.0.0.1:1"), ("at-b", "127.0.0.1:2")] {
        let issued = gateway.json().send("POST /v1/tokens", &json!({"user": user, "device": "phone"})).await.json();
        assert_eq!(issued["nodes"], json!([node]), "{user}");
    }
    let (_device, mut pushes) = device(&gateway, "anywhere").await;
    let operator = Json::new(gateway.admin, &gateway.admin_key());
    operator.send("PUT /v1/nodes/d", &json!({"draining": true})).await.assert_refused(404, 316, "d");
    let set = operator.send("PUT /v1/nodes/a", &json!({"draining": true})).await.json();
    assert_eq!((&set["self"], &set["draining"], &set["weight"]), (&json!(true), &json!(true), &json!(100)));
    assert_eq!(asked(&mut pushes).await, ["127.0.0.1:2"]);
    gateway.restart().await;
    let operator = Json::new(gateway.admin, &gateway.admin_key());
    let told = operator.call("GET /v1/assignment?tenant=default&user=anywhere&device=phone").await.json();
    assert_eq!(told, json!({"nodes": ["127.0.0.1:2"], "rule": null}));
    assert_eq!(operator.call("GET /v1/nodes").await.json()["nodes"][0]["draining"], true);
}

/// What a device says of itself decides, too: with its first session here it is known.
#[tokio::test(flavor = "multi_thread")]
async fn attributes_decide() {
    let gateway = moving().await;
    let mut car = Device::connect(gateway.devices, &gateway.ca).await;
    let request = OpenRequest {
        token: gateway.token("driver", "car"),
        attributes: [("wheels".to_owned(), "4".to_owned())].into(),
        ..Default::default()
    };
    let (_, response) = car.send(Method::Open, &request).await;
    let mut pushes = Pushes::new(response.into_body());
    assert!(matches!(pushes.next().await, Some(Frame::Welcome(_))));
    assert_eq!(asked(&mut pushes).await, ["127.0.0.1:3"], "by rule, though nobody goes there by weight");
}

/// A node that goes down tells each device where to go instead; never itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_goes_down_says_where_to_go() {
    let mut gateway = Gateway::start_with(cluster).await;
    let mut there = Vec::new();
    for user in ["at-a", "at-b", "anywhere"] {
        there.push(device(&gateway, user).await);
    }
    let told = async {
        let mut told = Vec::new();
        for (_, pushes) in &mut there {
            told.push(asked(pushes).await);
        }
        told
    };
    let (_, told) = tokio::join!(gateway.stop(), told);
    let none: Vec<String> = Vec::new();
    assert_eq!(
        told,
        [none, vec!["127.0.0.1:2".to_owned()], vec!["127.0.0.1:2".to_owned()]],
        "its rule allows only this one"
    );
}

/// With no nodes configured nothing is said of any: that is how a gateway runs by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_by_itself_names_no_nodes() {
    let mut gateway = Gateway::start_with(|config| config.cluster.misplaced = Misplaced::Move).await;
    let (_device, mut pushes) = device(&gateway, "ada").await;
    push(&mut gateway.backend().await, to_user("ada", "1")).await;
    assert_eq!(pushes.push().await.payload, b"1"[..]);
    let (_, nodes) = tokio::join!(gateway.stop(), asked(&mut pushes));
    assert!(nodes.is_empty(), "{nodes:?}");
}

/// The example of docs/assignment.md is one that the gateway takes.
#[test]
fn the_example_of_the_page_is_right() {
    let page = include_str!("../docs/assignment.md");
    let example = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), example).expect("written");
    let settings = Settings::load(Some(file.path()), [], &[]).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((settings.config().cluster.nodes.len(), settings.config().cluster.rules.len()), (3, 3));
}
