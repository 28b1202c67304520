//! Who may call what: every method of both listeners, on both surfaces, with each kind of key. P5.2.

mod support;

use std::net::SocketAddr;

use pushline::model::access::Scope;
use pushline::rpc::{METHODS, Needs};

use support::http::{Reply, http};
use support::{Gateway, metric};

/// A call: its verb and path, and whether it is one of gRPC.
struct Call {
    head: String,
    is_grpc: bool,
}

/// All ways to call a method. Names in paths are none.
fn calls(method: &pushline::rpc::Method) -> Vec<Call> {
    let mut calls = vec![Call { head: format!("POST {}", method.grpc), is_grpc: true }];
    for call in method.http {
        let named: Vec<_> =
            call.split('/').map(|part| if part.starts_with('{') { "no%20name" } else { part }).collect();
        // A stream would not end; other methods refuse what they do not know, which is after all that is looked at here.
        let query = if call.starts_with("GET") { "?follow=false" } else { "" };
        calls.push(Call { head: named.join("/") + query, is_grpc: false });
    }
    calls
}

/// Calls with a request that no method takes: it is refused for that, once it is known that the caller may.
async fn call(address: SocketAddr, call: &Call, key: Option<&str>) -> String {
    let bearer = key.map(|key| format!("Bearer {key}"));
    let authorization = bearer.as_deref().map(|bearer| ("authorization", bearer));
    if call.is_grpc {
        let media = ("content-type", "application/grpc");
        let headers: Vec<_> = authorization.into_iter().chain([media]).collect();
        let reply = http(address, &call.head, &headers, &[0, 0, 0, 0, 1, 0xff]).await;
        return reply.header("pushline-code").unwrap_or_default().to_owned();
    }
    let headers: Vec<_> = authorization.into_iter().chain([("content-type", "application/json")]).collect();
    word(&http(address, &call.head, &headers, b"no JSON").await)
}

/// The stable word of a refusal in JSON; empty when it is none.
fn word(reply: &Reply) -> String {
    let json: Option<serde_json::Value> = serde_json::from_slice(&reply.body).ok();
    json.and_then(|json| json["error"].as_str().map(str::to_owned)).unwrap_or_default()
}

/// What a caller without the rights is told; whoever has them is told something else.
const NO_RIGHTS: [&str; 5] =
    ["missing_credentials", "invalid_credentials", "scope_missing", "tenant_suspended", "internal"];

#[tokio::test(flavor = "multi_thread")]
async fn a_key_calls_what_its_scopes_allow_and_nothing_else() {
    let gateway = Gateway::start().await;
    let scopes = Scope::ALL.map(Scope::as_str);
    let mut with = Vec::new();
    let mut without = Vec::new();
    for scope in scopes {
        with.push(gateway.key_for(&[scope]).await);
        let others: Vec<_> = scopes.into_iter().filter(|other| *other != scope).collect();
        without.push(gateway.key_for(&others).await);
    }
    let admin_key = gateway.admin_key();
    let mut counted = 0;
    for method in METHODS {
        let Needs::Scope(scope) = method.needs else { continue };
        let at = scopes.iter().position(|known| *known == scope.as_str()).expect("a scope");
        for one in calls(method) {
            let told = |key| call(gateway.backend, &one, key);
            assert_eq!(told(None).await, "missing_credentials", "{}", one.head);
            assert_eq!(
                told(Some("plk_nobody_has_this_one_here_0123456789")).await,
                "invalid_credentials",
                "{}",
                one.head
            );
            assert_eq!(told(Some(&admin_key)).await, "invalid_credentials", "{}", one.head);
            assert_eq!(told(Some(&without[at])).await, "scope_missing", "{}", one.head);
            let word = told(Some(&with[at])).await;
            assert!(!NO_RIGHTS.contains(&&*word), "{}: {word}", one.head);
            // Its paths mean nothing to the listener of operators, or something else.
            let word = call(gateway.admin, &one, Some(&with[at])).await;
            assert!(["unknown_method", "method_not_allowed", "invalid_credentials"].contains(&&*word), "{}", one.head);
            counted += 1;
        }
    }
    assert!(counted > 60, "{counted} calls were looked at");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_alone_administers_and_only_where_operators_connect() {
    let gateway = Gateway::start().await;
    let admin_key = gateway.admin_key();
    let longer = format!("{admin_key}x");
    for method in METHODS.iter().filter(|method| method.needs == Needs::AdminKey) {
        for one in calls(method) {
            let told = |key| call(gateway.admin, &one, key);
            assert_eq!(told(None).await, "missing_credentials", "{}", one.head);
            for key in [&gateway.key[..], &gateway.other_key, &longer, &admin_key[1..]] {
                assert_eq!(told(Some(key)).await, "invalid_credentials", "{}", one.head);
            }
            let word = told(Some(&admin_key)).await;
            assert!(!NO_RIGHTS.contains(&&*word), "{}: {word}", one.head);
            let path = one.head.split(['?']).next().unwrap_or_default();
            let word = call(gateway.backend, &one, Some(&admin_key)).await;
            // One path is of both.
            let expected = if path == "GET /v1/audit" { "invalid_credentials" } else { "unknown_method" };
            assert_eq!(word, expected, "{}", one.head);
        }
    }
    for path in ["/metrics", "/healthz", "/readyz"] {
        assert_eq!(http(gateway.admin, &format!("GET {path}"), &[], b"").await.status, 404, "{path}");
    }
    assert!(metric(gateway.backend, "pushline_connections").await < 1.0, "what was open stays open");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_that_is_missing_is_told_with_those_that_are_there() {
    let gateway = Gateway::start().await;
    let key = gateway.key_for(&["push", "read"]).await;
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let reply = http(gateway.backend, "PUT /v1/topics/news", &headers, br#"{"conflate": true}"#).await;
    reply.assert_refused(403, 206, "has the scopes push, read; this method needs manage");
    assert!(!String::from_utf8_lossy(&reply.body).contains(&key), "a key is never repeated");
    let head = http(gateway.backend, "HEAD /v1/groups", &headers, b"").await;
    assert_eq!(head.status, 200, "who may GET may HEAD");
}
