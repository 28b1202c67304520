//! Each tenant's data is out of every other's reach (P5.2, P5.6): two gateways, of which one holds a tenant with one of
//! everything and the other does not. Another tenant makes the same calls on both, naming all that is there: the answers are
//! the same, so nothing tells it that there is something, and what it named is as it was. On the side of devices: every
//! method with every credential that is not the one for it.

#[path = "reach/calls.rs"]
mod calls;
#[path = "reach/devices.rs"]
mod devices;
#[path = "reach/owner.rs"]
mod owner;
mod support;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use prost::Message;
use pushline::rpc::{METHODS, Method, Needs};
use pushline::wire::pb;
use serde_json::json;

use calls::{Ask, Body, calls, fill};
use owner::{Owned, Owner, key_of};
use support::Gateway;
use support::http::{Json, Reply, http};

/// A word that all the owner's own texts have in them, and nothing of the other tenant.
const MARK: &str = "alpha";

#[tokio::test(flavor = "multi_thread")]
async fn what_a_tenant_has_does_not_exist_for_another() {
    let (gateway, empty) = (Gateway::start().await, Gateway::start().await);
    let mut owner = Owner::settle(&gateway).await;
    let before = owner.all().await;
    let strangers = [key_of(&gateway, "beta").await, key_of(&empty, "beta").await];
    let places = [gateway.backend, empty.backend];
    let mut made = 0;
    for method in METHODS.iter().filter(|method| matches!(method.needs, Needs::Scope(_))) {
        let asks = calls(method.grpc, &owner.owned);
        let asked: BTreeSet<_> = asks.iter().filter_map(Ask::template).collect();
        assert_eq!(asked, method.http.iter().copied().collect(), "{} is not called in all ways", method.grpc);
        assert!(asks.iter().any(|ask| ask.template().is_none()), "{} is not called by gRPC", method.grpc);
        for ask in asks {
            let [told, expected] = [0, 1].map(|at| tell(places[at], &ask, &strangers[at]));
            let (told, expected) = (told.await, expected.await);
            assert_eq!(told, expected, "{}: what is there is told from what is not", ask.head);
            assert!(!told.contains(MARK), "{}: {told}", ask.head);
            made += 1;
        }
    }
    assert!(made > 100, "{made} calls were made");
    for (then, now) in before.iter().zip(owner.all().await) {
        assert_eq!(*then, now, "another tenant's calls changed it");
    }
    owner.goes_on().await;
}

/// The key of one tenant does not administer another, nor its own.
#[tokio::test(flavor = "multi_thread")]
async fn no_tenant_administers_another() {
    let gateway = Gateway::start().await;
    let owner = Owner::settle(&gateway).await;
    let before = owner.all().await;
    let stranger = key_of(&gateway, "beta").await;
    let Owned { key_id, .. } = &owner.owned;
    for method in METHODS.iter().filter(|method| method.needs == Needs::AdminKey) {
        for ask in administration(method, key_id) {
            let word = refusal(&send(gateway.admin, &ask, &stranger).await);
            assert_eq!(word, "invalid_credentials", "{}", ask.head);
            // One path is of both: there it is the caller's own.
            if ask.head != "GET /v1/audit" {
                let word = refusal(&send(gateway.backend, &ask, &stranger).await);
                assert_eq!(word, "unknown_method", "{}", ask.head);
            }
        }
    }
    assert_eq!(owner.all().await, before);
}

/// All ways to call a method of operators, naming the owner, its key and a node.
fn administration(method: &Method, key_id: &str) -> Vec<Ask> {
    // In all requests that name a tenant the name comes first, and where a key is named its id comes second.
    let named = pb::RotateKeyRequest { tenant: "alpha".into(), id: key_id.to_owned(), overlap_seconds: None };
    let grpc =
        Ask { head: format!("POST {}", method.grpc), body: Body::Grpc(named.encode_to_vec(), |_| String::new()) };
    let name = |part: &str| match part {
        "{tenant}" => "alpha".to_owned(),
        "{id}" => key_id.to_owned(),
        _ => "here".to_owned(),
    };
    let json = method.http.iter().map(|&template| {
        let parts: Vec<_> = template.split('/').filter(|part| part.starts_with('{')).map(name).collect();
        Ask { head: fill(template, &parts), body: Body::Json(template, json!({}).to_string()) }
    });
    json.chain([grpc]).collect()
}

async fn send(address: SocketAddr, ask: &Ask, key: &str) -> Reply {
    let bearer = format!("Bearer {key}");
    let (media, body) = match &ask.body {
        Body::Json(_, text) if text.is_empty() => return Json::new(address, key).call(&ask.head).await,
        Body::Json(_, text) => ("application/json", text.clone().into_bytes()),
        Body::Lines(_, text) => ("application/x-ndjson", text.clone().into_bytes()),
        Body::Grpc(bytes, _) => ("application/grpc", framed(bytes)),
    };
    http(address, &ask.head, &[("authorization", &bearer), ("content-type", media)], &body).await
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("a short message");
    [&[0], &length.to_be_bytes()[..], message].concat()
}

/// The stable word of a refusal, on either surface.
fn refusal(reply: &Reply) -> String {
    if let Some(word) = reply.header("pushline-code") {
        return word.to_owned();
    }
    let json: Option<serde_json::Value> = serde_json::from_slice(&reply.body).ok();
    json.and_then(|json| json["error"].as_str().map(str::to_owned)).unwrap_or_default()
}

/// The whole answer as text, without what is new in every answer: times, ids, secrets.
async fn tell(address: SocketAddr, ask: &Ask, key: &str) -> String {
    let text = match &ask.body {
        Body::Grpc(bytes, show) if ask.is_endless() => {
            show(&calls::first_message(address, &ask.head, key, &framed(bytes)).await)
        }
        Body::Grpc(_, show) => {
            let reply = send(address, ask, key).await;
            let words = reply.header("grpc-message").unwrap_or_default();
            format!("{} {} {words} {}", reply.status, refusal(&reply), show(&reply.body))
        }
        _ => {
            let reply = send(address, ask, key).await;
            format!("{} {}", reply.status, String::from_utf8_lossy(&reply.body))
        }
    };
    let own_id = key.split('_').nth(1).expect("an id");
    calls::blanked(&text.replace(own_id, "OWN"))
}
