//! API keys and tenants from outside, over real sockets: what was made before a start holds after it.

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pushline::auth::Authority;
use pushline::metrics::Metrics;
use pushline::model::access::{Scope, Scopes};
use pushline::model::audit::Actor;
use pushline::model::clock::Clock;
use pushline::model::id::TenantId;
use pushline::node::access::keys::NewKey;
use pushline::node::cores::Cores;
use pushline::node::{Node, Options};
use pushline::store;
use serde_json::json;

use support::http::{Reply, http};
use support::{Gateway, soon};

/// A node on the data of a gateway that is stopped: what the operator's calls come to.
async fn node(data: &Path) -> Node {
    let options = store::open::Options { data: data.join("store"), ..store::open::Options::default() };
    let (store, metrics) = (store::open::open(&options).expect("the store"), Arc::new(Metrics::new()));
    let cores = Cores::start(1, &metrics).expect("a thread");
    let authority = Authority::open(&data.join("auth")).expect("the keys");
    let node = Node::new(Options::default(), Clock::new(), authority, store, metrics, &cores);
    soon("the records", node.load()).await.expect("they can be read");
    node
}

async fn push(gateway: &Gateway, key: &str) -> Reply {
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let body = json!({"target": {"user": "ada"}, "payload": "hello"}).to_string();
    http(gateway.backend, "POST /v1/push", &headers, body.as_bytes()).await
}

#[tokio::test]
async fn keys_and_suspensions_hold_over_restarts() {
    let mut gateway = Gateway::start().await;
    gateway.stop().await;
    let tenant = TenantId::new("default").expect("a name");
    let node = node(gateway.data()).await;
    let new = || NewKey { scopes: Scopes::of([Scope::Push]), ttl: None, note: String::new(), certificate: None };
    let (made, secret) = node.create_key(&tenant, new(), Actor::Admin).await.expect("a key");
    let (gone, removed) = node.create_key(&tenant, new(), Actor::Admin).await.expect("a key");
    assert!(node.remove_key(&tenant, &gone.id, Actor::Admin).await.expect("an answer"));
    let day = Duration::from_secs(86_400);
    let (_, rotated) = node.rotate_key(&tenant, &made.id, day, Actor::Admin).await.expect("a new secret");
    node.close().await.expect("all is written");
    drop(node);

    gateway.start_again().await;
    for (key, of) in [(&secret, "the old secret"), (&rotated, "the new one"), (&gateway.key, "the fixed one")] {
        assert_eq!(push(&gateway, key).await.status, 201, "{of}");
    }
    push(&gateway, &removed).await.assert_refused(401, 202, "not one this gateway accepts");
    push(&gateway, &rotated[..rotated.len() - 1]).await.assert_refused(401, 202, "not one this gateway accepts");
    let admin = std::fs::read_to_string(gateway.data().join("auth/admin-key")).expect("it was made");
    push(&gateway, admin.trim_end()).await.assert_refused(401, 202, "not one this gateway accepts");

    gateway.stop().await;
    let node = self::node(gateway.data()).await;
    node.suspend_tenant(&tenant, true, Actor::Admin).await.expect("suspended");
    node.close().await.expect("all is written");
    drop(node);
    gateway.start_again().await;
    for key in [&secret, &rotated, &gateway.key] {
        push(&gateway, key).await.assert_refused(403, 209, "suspended");
    }
    assert_eq!(push(&gateway, &gateway.other_key).await.status, 201, "another tenant is not concerned");
    gateway.stop().await;
}
