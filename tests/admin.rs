//! Operators from outside: tenants and keys made, changed and taken away, over JSON and over gRPC. P5.2.

mod support;

use std::time::Duration;

use pushline::client::backend::{Admin, Backend, Error};
use pushline::model::id::{DeviceId, KeyId, TenantId, UserId};
use pushline::wire::pb;
use serde_json::{Value, json};

use support::http::Json;
use support::sse::Events;
use support::{Gateway, soon, to_user};

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).expect("a name")
}

fn refusal<T: std::fmt::Debug>(answer: Result<T, Error>) -> String {
    match answer {
        Err(Error::Refused(refusal)) => refusal.name,
        other => panic!("it was not refused: {other:?}"),
    }
}

/// What a key may do now: the code of a push with it; empty when it is taken.
async fn push_with(gateway: &Gateway, key: &str) -> String {
    let json = Json::new(gateway.backend, key);
    let reply = json.send("POST /v1/push", &json!({"target": {"user": "ada"}, "payload": "x"})).await;
    reply.json()["error"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_made_changed_suspended_and_let_go_on_in_json() {
    let mut gateway = Gateway::start().await;
    let admin = Json::new(gateway.admin, &gateway.admin_key());
    let login = json!({
        "business": {"url": "https://shop.example/login"},
        "jwt": {"issuer": "https://id.example", "audiences": ["app"], "attributes": {"plan": "tier"}},
        "device_key": true, "token_ttl_seconds": 600,
    });
    let limits = json!({"topics": 5, "pushes": {"count": 100, "per_seconds": 10}});
    let asked = json!({"name": "shop", "limits": limits, "login": login});
    let made = admin.send("POST /v1/tenants", &asked).await.json();
    assert_eq!((made["name"].as_str(), made["version"].as_u64()), (Some("shop"), Some(1)), "{made}");
    assert_eq!(made["limits"]["pushes"], json!({"count": 100, "per_seconds": 10, "burst": 100}));
    assert_eq!((&made["limits"]["topics"], &made["limits"]["connections"]), (&json!(5), &Value::Null));
    let secret = made["login"]["business"]["secret"].as_str().expect("a secret, this once").to_owned();
    assert!(secret.starts_with("whsec_"), "{made}");
    admin.send("POST /v1/tenants", &asked).await.assert_refused(409, 313, "shop");

    let known = admin.call("GET /v1/tenants/shop").await.json();
    assert_eq!(known["login"]["business"].get("secret"), None, "{known}");
    let mut expected = made.clone();
    expected["login"]["business"].as_object_mut().expect("a way").remove("secret");
    assert_eq!(known, expected);

    let update = json!({"limits": {"topics": 6}, "version": 1});
    let updated = admin.send("PUT /v1/tenants/shop", &update).await.json();
    assert_eq!((&updated["limits"]["topics"], &updated["limits"]["pushes"]), (&json!(6), &Value::Null), "as a whole");
    assert_eq!((&updated["login"], &updated["version"]), (&known["login"], &json!(2)), "untouched");
    admin.send("PUT /v1/tenants/shop", &update).await.assert_refused(409, 309, "version is 2");
    admin.send("PUT /v1/tenants/nobody", &json!({})).await.assert_refused(404, 312, "nobody");

    let key = admin.send("POST /v1/tenants/shop/keys", &json!({"scopes": ["push"], "note": "orders"})).await.json();
    let secret_of_key = key["secret"].as_str().expect("a secret").to_owned();
    assert_eq!(push_with(&gateway, &secret_of_key).await, "");
    let suspended = admin.call("POST /v1/tenants/shop/suspend").await.json();
    assert_eq!(suspended["suspended"], true);
    assert_eq!(push_with(&gateway, &secret_of_key).await, "tenant_suspended");
    gateway.restart().await;
    let admin = Json::new(gateway.admin, &gateway.admin_key());
    assert_eq!(push_with(&gateway, &secret_of_key).await, "tenant_suspended");
    assert_eq!(admin.call("POST /v1/tenants/shop/resume").await.json()["suspended"], false);
    assert_eq!(push_with(&gateway, &secret_of_key).await, "");

    // All that was done is written down, by whom and to what, and no secret with it.
    let log = admin.call("GET /v1/audit?limit=100").await;
    let text = String::from_utf8(log.body.clone()).expect("text");
    assert!(!text.contains(&secret) && !text.contains(&secret_of_key), "{text}");
    let log = log.json();
    let events = log["events"].as_array().expect("events");
    let told: Vec<_> = events.iter().map(|event| (event["actor"].as_str(), event["action"].as_str())).collect();
    let done = ["tenant.created", "tenant.updated", "key.created", "tenant.suspended", "tenant.resumed"];
    assert_eq!(told, done.map(|action| (Some("admin"), Some(action))));
    assert!(events.iter().all(|event| event["tenant"] == "shop"), "{log}");
    let second = admin.call("GET /v1/audit?after=1&limit=1").await.json();
    assert_eq!((&second["events"][0], second["events"].as_array().map(Vec::len)), (&events[1], Some(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_made_rotated_and_removed_over_grpc() {
    let gateway = Gateway::start().await;
    let operator = gateway.operator().await;
    let request = pb::CreateTenantRequest { name: "bank".into(), ..Default::default() };
    soon("a tenant", operator.create_tenant(request)).await.expect("a tenant");
    let request = pb::CreateKeyRequest { tenant: "bank".into(), ttl_seconds: 3600, ..Default::default() };
    let made = soon("a key", operator.create_key(request)).await.expect("a key");
    let key = made.key.expect("it");
    assert_eq!((key.scopes.len(), key.fixed, key.expires_at_ms > key.created_at_ms), (3, false, true));
    let id = KeyId::new(&key.id).expect("an id");
    assert_eq!(push_with(&gateway, &made.secret).await, "");

    // With overlap both secrets are good, without only the new one.
    let rotated = soon("a rotation", operator.rotate_key(&tenant("bank"), &id, None)).await.expect("it");
    for secret in [&made.secret, &rotated.secret] {
        assert_eq!(push_with(&gateway, secret).await, "");
    }
    let once_more = soon("a rotation", operator.rotate_key(&tenant("bank"), &id, Some(Duration::ZERO))).await;
    let once_more = once_more.expect("it");
    for secret in [&made.secret, &rotated.secret] {
        assert_eq!(push_with(&gateway, secret).await, "invalid_credentials");
    }
    assert_eq!(push_with(&gateway, &once_more.secret).await, "");

    let keys = soon("the keys", operator.keys(&tenant("bank"))).await.expect("them");
    assert_eq!(keys.iter().map(|key| &key.id).collect::<Vec<_>>(), [&key.id]);
    let own = soon("the keys", operator.keys(&tenant("default"))).await.expect("them");
    assert!(own.iter().any(|key| key.id == "own" && key.fixed), "{own:?}");
    let own = KeyId::new("own").expect("an id");
    assert_eq!(refusal(operator.remove_key(&tenant("default"), &own).await), "key_not_found");
    assert_eq!(refusal(operator.rotate_key(&tenant("bank"), &own, None).await), "key_not_found");
    assert_eq!(refusal(operator.keys(&tenant("nobody")).await), "tenant_not_found");

    assert!(soon("a removal", operator.remove_key(&tenant("bank"), &id)).await.expect("it"));
    assert!(!soon("a removal", operator.remove_key(&tenant("bank"), &id)).await.expect("none"));
    assert_eq!(push_with(&gateway, &once_more.secret).await, "invalid_credentials");

    let page = soon("a page", operator.tenants("", 1)).await.expect("it");
    assert_eq!((page.tenants[0].name.as_str(), page.next.as_str()), ("bank", "bank"));
    let rest = soon("a page", operator.tenants(&page.next, 0)).await.expect("it");
    assert_eq!(rest.tenants.iter().map(|tenant| &*tenant.name).collect::<Vec<_>>(), ["default", "other"]);
    assert!(rest.next.is_empty() && rest.tenants.iter().all(|tenant| tenant.implicit));
    assert_eq!(refusal(operator.revoke_tenant(&tenant("nobody")).await), "tenant_not_found");
    let user = (UserId::new("ada").expect("a name"), DeviceId::new("phone").expect("a name"));
    soon("an assignment", operator.assignment(&tenant("bank"), &user.0, &user.1)).await.expect("it");
    soon("the nodes", operator.nodes()).await.expect("them");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_set_a_webhook_is_in_the_tenants_log_and_in_no_others() {
    let gateway = Gateway::start().await;
    let key = gateway.key_for(&["manage", "read"]).await;
    let json = Json::new(gateway.backend, &key);
    let asked = json!({"url": "https://shop.example/secret-path"});
    let set = json.send("PUT /v1/webhooks/receipts", &asked).await.json();
    assert_eq!(json.call("DELETE /v1/webhooks/receipts").await.status, 200);
    let log = json.call("GET /v1/audit").await.json();
    let events = log["events"].as_array().expect("events");
    let changes: Vec<_> = events.iter().filter(|event| event["action"] == "webhook.changed").collect();
    assert_eq!(changes.len(), 2, "{log}");
    assert_eq!(
        (&changes[0]["object"], &changes[0]["details"]),
        (&json!("webhook:receipts"), &json!({"host": "shop.example"}))
    );
    assert!(
        changes.iter().all(|event| event["actor"].as_str().is_some_and(|actor| actor.starts_with("key:"))),
        "{log}"
    );
    let text = log.to_string();
    assert!(!text.contains("secret-path") && !text.contains(set["secret"].as_str().expect("a secret")), "{text}");

    let other = Json::new(gateway.backend, &gateway.other_key).call("GET /v1/audit").await.json();
    assert_eq!(other["events"], json!([]));
    let backend = soon("a connection", Backend::connect(&format!("http://{}", gateway.backend), &key, None)).await;
    let page = soon("the log", backend.expect("one").audit(0, 1000)).await.expect("it");
    assert_eq!((page.events.len(), page.last), (events.len(), log["last"].as_u64().expect("a position")));
}

/// A call that lasts ends when its key is taken away, and nothing more is done or told for it.
#[tokio::test(flavor = "multi_thread")]
async fn streams_end_with_the_key_that_opened_them() {
    let gateway = Gateway::start().await;
    let operator: Admin = gateway.operator().await;
    let request = pb::CreateKeyRequest { tenant: "default".into(), ..Default::default() };
    let made = soon("a key", operator.create_key(request)).await.expect("a key");
    let mut events = Events::open(gateway.backend, "/v1/receipts", &made.secret, None).await;
    let mut backend = support::backend(gateway.backend, &made.secret).await;
    let (pushes, asked) = tokio::sync::mpsc::channel(4);
    let asked = tokio_stream::wrappers::ReceiverStream::new(asked);
    let send = |reference| pushes.send(pb::PushStreamRequest { reference, push: Some(to_user("ada", "x")) });
    send(1).await.expect("the stream is open");
    let mut answers = soon("a stream", backend.push_stream(asked)).await.expect("a stream").into_inner();
    assert!(soon("an answer", answers.message()).await.expect("an answer").is_some_and(|told| told.reference == 1));

    let id = KeyId::new(&made.key.expect("it").id).expect("an id");
    assert!(soon("a removal", operator.remove_key(&tenant("default"), &id)).await.expect("it"));
    send(2).await.expect("the stream is open");
    let refused = soon("the end", answers.message()).await.expect_err("the key is gone");
    assert_eq!(support::word(&refused), "invalid_credentials");
    // Something to tell; that of the push before the removal may be told before.
    support::push(&mut gateway.backend().await, to_user("ada", "y")).await;
    let told = loop {
        let event = events.next().await.expect("a reason before the end");
        if event.name == "end" {
            break event.data;
        }
    };
    assert_eq!(told["error"], "invalid_credentials", "{told}");
}
