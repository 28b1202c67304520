//! What a tenant's backends say about access, from outside: both surfaces answer the same, and no tenant sees another's.

mod support;

use std::time::Duration;

use pushline::client::Client;
use pushline::client::backend::{Backend, Error, Tokens};
use pushline::model::access::TokenId;
use pushline::model::id::{DeviceId, ShareId, UserId};
use pushline::wire::pb;
use serde_json::{Value, json};

use support::http::Json;
use support::{Gateway, client_options, soon};

async fn connect(gateway: &Gateway, key: &str) -> Backend {
    let url = format!("http://{}", gateway.backend);
    soon("a connection", Backend::connect(&url, key, None)).await.expect("a connection")
}

fn user(name: &str) -> UserId {
    UserId::new(name).expect("a name")
}

fn refusal<T: std::fmt::Debug>(answer: Result<T, Error>) -> String {
    match answer {
        Err(Error::Refused(refusal)) => refusal.name,
        other => panic!("it was not refused: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_lets_a_device_in_and_takes_its_token_back() {
    let gateway = Gateway::start().await;
    let backend = connect(&gateway, &gateway.key).await;
    let phone = DeviceId::new("phone").expect("a name");
    let issued = soon("a token", backend.issue_token(&user("ada"), &phone, Some(Duration::from_secs(600)))).await;
    let issued = issued.expect("a token");
    let options = || client_options(gateway.devices, &gateway.ca, issued.token.clone());
    let mut client = soon("a session", Client::connect(options())).await.expect("the token is good");

    let id = TokenId::parse(&issued.id).expect("an id");
    let other = connect(&gateway, &gateway.other_key).await;
    let told = soon("an answer", other.revoke_tokens(&Tokens::One(id))).await;
    assert!(matches!(told, Ok(0) | Err(Error::Refused(_))), "the token of another tenant is not theirs: {told:?}");
    assert_eq!(soon("an answer", backend.revoke_tokens(&Tokens::One(id))).await.expect("it is taken back"), 1);
    let end = soon("the end", client.next()).await;
    assert!(end.is_none_or(|push| push.is_err()), "the session goes on");
    assert!(soon("a refusal", Client::connect(options())).await.is_err(), "the token is good again");
    for again in [Tokens::One(id), Tokens::OfUser(user("ada")), Tokens::OfDevice(user("ada"), phone), Tokens::All] {
        assert_eq!(soon("an answer", backend.revoke_tokens(&again)).await.expect("harmless"), 0, "{again:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shares_are_made_listed_and_taken_back_on_both_surfaces() {
    let gateway = Gateway::start().await;
    let backend = connect(&gateway, &gateway.key).await;
    let (json, others) = (gateway.json(), Json::new(gateway.backend, &gateway.other_key));
    let asked =
        pb::CreateShareRequest { topics: vec!["a".into(), "b".into()], note: "one".into(), ..Default::default() };
    let made = soon("a share", backend.create_share(asked)).await.expect("a share");
    let first = made.share.expect("it");
    assert_eq!((first.viewers_max, first.viewers, first.expires_at_ms > first.created_at_ms), (100, 0, true));
    let second = json.send("POST /v1/shares", &json!({"topics": ["c"], "viewers_max": 2})).await.json();
    assert_eq!((&second["share"]["topics"], &second["share"]["viewers_max"]), (&json!(["c"]), &json!(2)), "{second}");

    let all = soon("the shares", backend.shares("", 0)).await.expect("them");
    let shown = json.call("GET /v1/shares").await.json();
    let ids =
        |page: &Value| page["shares"].as_array().map(|shares| shares.iter().map(|share| share["id"].clone()).collect());
    let listed: Vec<Value> = ids(&shown).expect("a list");
    assert_eq!(listed, all.shares.iter().map(|share| json!(share.id)).collect::<Vec<_>>());
    assert!(listed.contains(&second["share"]["id"]) && listed.contains(&json!(first.id)) && listed.len() == 2);
    let page = json.call("GET /v1/shares?limit=1").await.json();
    let rest = json.call(&format!("GET /v1/shares?after={}", page["next"].as_str().expect("more"))).await.json();
    assert_eq!((ids(&page), ids(&rest)), (Some(listed[..1].to_vec()), Some(listed[1..].to_vec())));
    assert_eq!(others.call("GET /v1/shares").await.json(), json!({"shares": [], "next": null}));

    let path = format!("DELETE /v1/shares/{}", first.id);
    others.call(&path).await.assert_refused(404, 315, "share");
    assert_eq!(json.call(&path).await.json(), json!({"sessions": 0}));
    let id = ShareId::new(&first.id).expect("an id");
    assert_eq!(refusal(soon("an answer", backend.revoke_share(&id)).await), "share_not_found");
    assert_eq!(json.call("GET /v1/shares").await.json()["shares"].as_array().map(Vec::len), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_with_its_code() {
    let gateway = Gateway::start().await;
    let json = gateway.json();
    for (call, body, errno, words) in [
        ("POST /v1/tokens", json!({"user": "a b", "device": "phone"}), 103, "user: character ' '"),
        ("POST /v1/tokens", json!({"user": "ada"}), 103, "device: it is empty"),
        ("POST /v1/tokens/revoke", json!({}), 101, "say which tokens"),
        ("POST /v1/tokens/revoke", json!({"id": "x"}), 101, "id: it is not the id of a token"),
        ("POST /v1/tokens/revoke", json!({"all": true, "user": "ada"}), 101, "name one of"),
        ("POST /v1/enrolments", json!({"user": "ada", "ttl_seconds": 59}), 104, "ttl_seconds is 59; it may be 60 to"),
        ("POST /v1/shares", json!({"topics": []}), 104, "topics: there are 0; name 1 to 10"),
        ("POST /v1/shares", json!({"topics": ["a"], "viewers_max": 10001}), 104, "viewers_max is 10001"),
        ("POST /v1/shares", json!({"topics": ["a"], "note": "a\nb"}), 104, "note has control characters"),
    ] {
        json.send(call, &body).await.assert_refused(400, errno, words);
    }
    json.call("GET /v1/audit?limit=1001").await.assert_refused(400, 104, "limit is 1001");
    json.call("GET /v1/audit?after=x").await.assert_refused(400, 101, "?after must be a whole number");
    json.call("GET /v1/users/a%20b/keys").await.assert_refused(400, 103, "user: character ' '");
}
