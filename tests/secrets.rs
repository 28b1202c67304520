//! Nothing secret is told: a gateway that logs at level debug is driven through logins, tokens, keys, shares, webhooks,
//! pushes and refusals. Then its log, its metrics, its audit log, what it lists and all its refusals are searched for each
//! secret, token, code and payload that was in use.

#[path = "secrets/kept.rs"]
mod kept;
mod support;

use std::fs::File;

use bytes::Bytes;
use http::HeaderMap;
use prost::Message;
use pushline::auth::device_key::KeyPair;
use pushline::model::frame::KeyProof;
use pushline::model::id::{DeviceId, TenantId};
use pushline::wire::device::Method;
use pushline::wire::pb::{self, login_request::Credential};
use serde_json::{Value, json};
use tempfile::TempDir;

use kept::Kept;
use support::device::{Device, open};
use support::http::{Json, Reply, http};
use support::receiver::Receiver;
use support::{Gateway, Process, get, soon, token_for};

/// A gateway that logs much, and what it has told.
struct Told {
    gateway: Process,
    folder: TempDir,
    backend: Json,
    operator: Json,
    kept: Kept,
    /// What is shown to whoever set it, and nowhere else.
    addresses: Kept,
    /// Refusals and lists.
    told: String,
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

impl Told {
    fn start() -> Self {
        let folder = TempDir::new().expect("a folder");
        let log = File::create(folder.path().join("log")).expect("a file");
        let gateway = Process::start_logged(&folder.path().join("data"), &["log.filter=debug"], log);
        let mut kept = Kept::default();
        kept.text("the gateway's own key", &gateway.key);
        let admin_key = std::fs::read_to_string(folder.path().join("data/auth/admin-key")).expect("the admin key");
        let admin_key = kept.text("the admin key", admin_key.trim_end());
        let backend = Json::new(gateway.backend, &gateway.key);
        let operator = Json::new(gateway.admin, &admin_key);
        let addresses = Kept::default();
        Self { gateway, folder, backend, operator, kept, addresses, told: String::new() }
    }

    async fn made(&self, on: &Json, head: &str, body: Value) -> Value {
        let reply = on.send(head, &body).await;
        assert!(reply.status < 300, "{head}: {reply:?}");
        reply.json()
    }

    /// What must not have been told is told.
    fn add(&mut self, reply: &Reply) {
        self.told += &format!("{:?} {}\n", reply.headers, String::from_utf8_lossy(&reply.body));
    }

    fn refused(&mut self, what: &str, reply: &Reply) {
        assert!(reply.status >= 400, "{what}: {reply:?}");
        self.add(reply);
    }

    fn trailers(&mut self, what: &str, trailers: &HeaderMap) {
        assert!(trailers.contains_key("pushline-code"), "{what} was not refused: {trailers:?}");
        let words = trailers.get("grpc-message").map(|words| words.to_str().expect("ASCII"));
        self.told += &format!("{trailers:?} {}\n", pushline::wire::grpc::decode_words(words.unwrap_or_default()));
    }

    async fn device(&self) -> Device {
        Device::connect(self.gateway.devices, &self.gateway.ca).await
    }
}

/// Logs in as the device `phone` of the tenant `default`.
async fn login(device: &mut Device, credential: Credential) -> Result<pb::LoginResponse, HeaderMap> {
    let request = pb::LoginRequest {
        tenant: "default".into(),
        device: "phone".into(),
        credential: Some(credential),
        agent: "test/1".into(),
    };
    let (_, body, trailers) = device.call(Method::Login, &request).await;
    if trailers["grpc-status"] != "0" {
        return Err(trailers);
    }
    Ok(pb::LoginResponse::decode(body.slice(5..)).expect("an answer"))
}

async fn proof(told: &mut Told, device: &mut Device, pair: &KeyPair) -> pb::KeyProof {
    let request = pb::ChallengeRequest { tenant: "default".into(), device: "phone".into() };
    let (_, body, _) = device.call(Method::Challenge, &request).await;
    let challenge = pb::ChallengeResponse::decode(body.slice(5..)).expect("a challenge").challenge;
    let (tenant, name) = (TenantId::new("default").expect("a name"), DeviceId::new("phone").expect("a name"));
    let signature: Bytes = pair.sign(&KeyProof::signed_text(&tenant, &name, &challenge)).into();
    told.kept.bytes("a challenge", &challenge);
    told.kept.bytes("a signature", &signature);
    pb::KeyProof { challenge, signature }
}

/// Else the search proves nothing.
#[test]
fn what_is_kept_is_found_in_every_form() {
    let mut kept = Kept::default();
    kept.text("a key", "plk_id_somebody's-secret");
    kept.text("a token", "eyJoZWFk.Y2xhaW1z.c2lnbmF0dXJl");
    kept.code("a code", "ABCD-EFGH-JKMN-PQRS");
    for seen in [
        "the key is plk_id_somebody's-secret",
        "a secret: somebody's-secret",
        "in bytes: [112, 108, 107, 95, 105, 100, 95, 115, 111, 109, 101, 98, 111]",
        "in base64: cGxrX2lkX3NvbWVib2R5J3Mtc2VjcmV0",
        "in hex: 706c6b5f69645f736f6d65626f647927732d736563726574",
        "what a token says: Y2xhaW1z",
        "what it is signed with: c2lnbmF0dXJl",
        "a code without hyphens: ABCDEFGHJKMNPQRS",
    ] {
        assert!(kept.seen(seen).is_some(), "{seen}");
    }
    assert_eq!(kept.seen("the key plk_id, a token of eyJoZWFk, the code ABCD"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_log_no_list_and_no_refusal_tells_a_secret() {
    let mut told = Told::start();
    let server = Receiver::start().await;
    tenants_and_keys(&mut told, &server).await;
    logins(&mut told, &server).await;
    tokens_and_shares(&mut told).await;
    webhooks_and_pushes(&mut told, &server).await;
    mistakes(&mut told).await;
    for head in ["shares", "audit", "webhooks", "users/ada", "users/ada/keys", "receipts?follow=false", "presence"] {
        let reply = told.backend.call(&format!("GET /v1/{head}")).await;
        assert_eq!(reply.status, 200, "{head}: {reply:?}");
        told.add(&reply);
    }
    for head in ["tenants", "tenants/default", "tenants/default/keys", "audit?limit=1000", "nodes"] {
        let reply = told.operator.call(&format!("GET /v1/{head}")).await;
        assert_eq!(reply.status, 200, "{head}: {reply:?}");
        told.add(&reply);
    }
    let (_, metrics) = get(told.gateway.backend, "/metrics").await;
    let audits = [told.backend.call("GET /v1/audit").await, told.operator.call("GET /v1/audit").await];
    let Told { gateway, folder, kept, addresses, told, .. } = told;
    gateway.kill();
    let log = std::fs::read_to_string(folder.path().join("log")).expect("its log");
    // It is the log that was asked for, and not an empty one.
    for line in ["DEBUG", "logged in", "no login", "webhook set", "business server", "session"] {
        assert!(log.contains(line), "{line} is not in the log");
    }
    assert!(told.contains("key.rotated") && told.contains("login_refused"), "{told}");
    kept.assert_unseen("the log", &log);
    kept.assert_unseen("the metrics", &metrics);
    kept.assert_unseen("an answer", &told);
    addresses.assert_unseen("the log", &log);
    addresses.assert_unseen("the metrics", &metrics);
    for audit in audits {
        assert_eq!(audit.status, 200, "{audit:?}");
        addresses.assert_unseen("an audit log", &String::from_utf8_lossy(&audit.body));
    }
}

async fn tenants_and_keys(told: &mut Told, server: &Receiver) {
    let path = told.addresses.text("the path of a business server", "/login-with-a-path-that-says-much");
    let business = json!({ "url": server.url(&path) });
    let query = told.addresses.text("the query of a provider's keys", "of=a-customer-whom-nobody-knows");
    let keys = format!("http://127.0.0.1:9/keys?{query}");
    let jwt = json!({"issuer": "http://127.0.0.1:9", "audiences": ["app"], "jwks_url": keys});
    let ways = json!({"login": {"device_key": true, "business": business, "jwt": jwt}});
    let tenant = told.made(&told.operator, "PUT /v1/tenants/default", ways).await;
    told.kept.text("the secret of a business login", word(&tenant["login"]["business"]["secret"]));
    let given = "whsec_dGhpcyBpcyB0aGUgc2VjcmV0IG9mIHRoZSBzaG9wIQ==";
    let login = json!({"business": {"url": server.url("/shop"), "secret": given}});
    told.kept.text("a business secret that was given", given);
    let shop = told.operator.send("POST /v1/tenants", &json!({"name": "shop", "login": login})).await;
    assert!(shop.status < 300, "{shop:?}");
    let made = told.made(&told.operator, "POST /v1/tenants/shop/keys", json!({"note": "orders"})).await;
    let key = told.kept.text("a key", word(&made["secret"]));
    let rotate = format!("POST /v1/tenants/shop/keys/{}/rotate", word(&made["key"]["id"]));
    let rotated = told.made(&told.operator, &rotate, json!({})).await;
    let newer = told.kept.text("a rotated key", word(&rotated["secret"]));
    for key in [&key, &newer] {
        assert_eq!(Json::new(told.gateway.backend, key).call("GET /v1/groups").await.status, 200);
    }
    let id = word(&made["key"]["id"]);
    let removed = told.operator.call(&format!("DELETE /v1/tenants/shop/keys/{id}")).await;
    assert_eq!(removed.status, 200, "{removed:?}");
    let forged = told.kept.text("a forged key", &format!("plk_{id}_this-was-never-the-secret-of-it-0123456789"));
    let own = told.gateway.key.clone();
    for key in [&key, &newer, &forged, &format!("{own}x"), "a-key-of-nobody-that-is-long-enough-0123456789"] {
        told.kept.text("a refused key", key);
        for address in [told.gateway.backend, told.gateway.admin] {
            let reply = Json::new(address, key).call("GET /v1/audit").await;
            told.refused("a key", &reply);
        }
        for scheme in ["Basic", "bearer,", ""] {
            let header = format!("{scheme} {key}");
            let reply = http(told.gateway.backend, "GET /v1/groups", &[("authorization", &header)], b"").await;
            told.refused("no bearer", &reply);
        }
    }
}

fn verdict(status: u16, body: &str) -> support::receiver::Reply {
    (status, vec![("content-type", "application/json".to_owned())], body.as_bytes().to_vec())
}

async fn logins(told: &mut Told, server: &Receiver) {
    let mut device = told.device().await;
    let (pair, pkcs8) = KeyPair::generate();
    told.kept.bytes("the private key of a device", pkcs8.as_ref());
    let made = told.made(&told.backend, "POST /v1/enrolments", json!({"user": "ada"})).await;
    let code = told.kept.code("an enrolment code", word(&made["code"]));
    let public_key = Bytes::copy_from_slice(pair.public_key());
    let enrol = |code: &str, proof| {
        let (code, public_key) = (code.to_owned(), public_key.clone());
        Credential::Enrolment(pb::Enrolment { code, public_key, proof: Some(proof) })
    };
    let first = proof(told, &mut device, &pair).await;
    let by_code = login(&mut device, enrol(&code, first.clone())).await.expect("a token");
    let second = proof(told, &mut device, &pair).await;
    let key = |proof| Credential::Key(pb::KeyLogin { user: "ada".into(), proof: Some(proof) });
    let by_key = login(&mut device, key(second)).await.expect("a token");
    let ticket = told.kept.text("a ticket for the business server", "ticket-4711-for-the-business-server");
    server.reply([verdict(200, r#"{"allowed": true, "user": "ada"}"#)]);
    let by_ticket = login(&mut device, Credential::Business(ticket.clone().into())).await.expect("a token");
    for login in [by_code, by_key, by_ticket] {
        told.kept.text("a token of a login", &login.token);
    }
    // Refused: replayed, invented, and by a business server that repeats what it was asked.
    let unknown = told.kept.code("an invented code", "ABCD-EFGH-JKMN-PQRS");
    let jwt = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImsifQ.eyJpc3MiOiJodHRwOi8vMTI3LjAuMC4xOjkiLCJhdWQiOiJhcHAifQ.c2lnbmF0dXJl";
    let jwt = told.kept.text("a JWT", jwt);
    let garbage = told.kept.text("what is no JWT", "no-jwt-but-a-password-of-somebody");
    let mut refused = vec![enrol(&code, first.clone()), enrol(&unknown, first.clone()), key(first)];
    refused.extend([jwt, garbage].map(Credential::Jwt));
    let echo = json!({"allowed": false, "reason": ticket}).to_string();
    let loud = json!({"allowed": ticket, "user": ticket}).to_string();
    let answers = [verdict(200, &echo), verdict(200, &loud), verdict(500, &loud), verdict(200, &ticket)];
    refused.extend(answers.iter().map(|_| Credential::Business(ticket.clone().into())));
    server.reply(answers);
    for credential in refused {
        let trailers = login(&mut told.device().await, credential).await.expect_err("it must be refused");
        told.trailers("a login", &trailers);
    }
}

async fn tokens_and_shares(told: &mut Told) {
    let asked = json!({"user": "ada", "device": "phone"});
    let made = told.made(&told.backend, "POST /v1/tokens", asked.clone()).await;
    let token = told.kept.text("an issued token", word(&made["token"]));
    let revoked = told.made(&told.backend, "POST /v1/tokens", asked).await;
    let share = told.made(&told.backend, "POST /v1/shares", json!({"topics": ["scores"], "note": "wall"})).await;
    let share = told.kept.text("a share's token", word(&share["token"]));
    let mut device = told.device().await;
    let (_, _pushes) = open(&mut device, token.clone()).await;
    let mut viewer = told.device().await;
    let (_, _views) = open(&mut viewer, share.clone()).await;
    told.made(&told.backend, "POST /v1/tokens/revoke", json!({"id": revoked["id"]})).await;
    let expired = token_for(&told.folder.path().join("data"), "ada", "phone", std::time::Duration::ZERO);
    let elsewhere = Gateway::start().await;
    let (head, _) = token.rsplit_once('.').expect("three parts");
    for (what, token) in [
        ("a revoked token", word(&revoked["token"])),
        ("an expired token", &expired),
        ("a token of elsewhere", &elsewhere.token("ada", "phone")),
        ("a changed token", &format!("{head}.c29tZXRoaW5nIGVsc2UgYWx0b2dldGhlcg")),
        ("a key for a token", &told.gateway.key.clone()),
        ("a password for a token", "hunter2-is-no-token"),
    ] {
        let token = told.kept.text(what, token);
        let (_, _, trailers) = device.call(Method::Renew, &pb::RenewRequest { token: token.clone() }).await;
        told.trailers(what, &trailers);
        let request = pb::OpenRequest { token, ..Default::default() };
        let (_, _, trailers) = told.device().await.call(Method::Open, &request).await;
        told.trailers(what, &trailers);
    }
    // Given where the id belongs.
    for body in [json!({ "id": token }), json!({ "user": token }), json!({ "key": token })] {
        let reply = told.backend.send("POST /v1/tokens/revoke", &body).await;
        told.refused("a token for an id", &reply);
    }
}

async fn webhooks_and_pushes(told: &mut Told, server: &Receiver) {
    let given = told.kept.text("a webhook's secret", "whsec_c29tZWJvZHkncyBzZWNyZXQgb2YgdGhlIHdlYmhvb2s=");
    let path = told.addresses.text("the path of a webhook", "/fallback-with-a-path-that-says-much");
    let hook = json!({"url": server.url(&path), "secret": given});
    told.made(&told.backend, "PUT /v1/webhooks/fallback", hook).await;
    let hook = told.made(&told.backend, "PUT /v1/webhooks/receipts", json!({ "url": server.url("/receipts") })).await;
    told.kept.text("a webhook's secret that was made", word(&hook["secret"]));
    let payload = told.kept.text("a payload", "payload-of-a-push-that-nobody-else-reads");
    // A receiver that fails, and repeats what it was sent.
    server.always(Some(verdict(500, &payload)));
    let attributes = json!({"title": told.kept.text("an attribute of a push", "attribute-that-nobody-else-reads")});
    for target in [
        json!({"user": "ada"}),
        json!({"user": "nobody-here", "device": "phone"}),
        json!({"topic": "scores"}),
        json!({"condition": "'scores' in topics"}),
    ] {
        let mut push = json!({"target": target, "payload": payload, "attributes": attributes, "tag": "summer"});
        if target["device"].is_string() {
            push["fallback_after_seconds"] = json!(1);
        }
        told.made(&told.backend, "POST /v1/push", push).await;
    }
    let push = json!({"target": {"user": "ada"}, "payload": payload, "idempotency_key": "once"});
    told.made(&told.backend, "POST /v1/push", push).await;
    let other = told.kept.text("another payload", "payload-that-does-not-fit-the-first-one");
    let push = json!({"target": {"user": "ada"}, "payload": other, "idempotency_key": "once"});
    let reply = told.backend.send("POST /v1/push", &push).await;
    told.refused("another push with the same key", &reply);
    server.until("a hand-over", |received| received.iter().any(|one| one.path == path)).await;
    // Until its failure is known.
    let failed =
        async { while !String::from_utf8_lossy(&told.backend.call("GET /v1/webhooks").await.body).contains("500") {} };
    soon("a failure of the webhook", failed).await;
}

/// Secrets in requests that cannot be read, or are refused for something else.
async fn mistakes(told: &mut Told) {
    let secret = told.kept.text("a secret in a bad request", "secret-in-a-request-that-is-bad");
    let bad_secret = told.kept.text("a secret of another form", "whsec_not-base64-but-somebody's-secret");
    let long = "x".repeat(200);
    for (head, body) in [
        ("PUT /v1/webhooks/receipts", json!({"url": "http://localhost:9", "secret": bad_secret}).to_string()),
        ("PUT /v1/webhooks/receipts", json!({"url": "no url", "secret": secret}).to_string()),
        ("PUT /v1/webhooks/receipts", json!({"url": "http://localhost:9", "secret": [secret]}).to_string()),
        ("PUT /v1/webhooks/receipts", json!({"url": format!("http://me:{secret}@localhost:9/{long}")}).to_string()),
        ("POST /v1/push", format!(r#"{{"target": {{"user": "ada"}}, "payload": "{secret}" "#)),
        ("POST /v1/push", json!({"target": {"user": "ada"}, "payload": [secret]}).to_string()),
        ("POST /v1/push", json!({"target": {"user": "no user"}, "payload": secret}).to_string()),
        ("POST /v1/push", json!({"target": {"user": "ada"}, "payload_base64": secret}).to_string()),
        ("POST /v1/push", json!({"target": {"user": "ada"}, "payload": secret, "payload_json": secret}).to_string()),
        (
            "POST /v1/push",
            json!({"target": {"user": "ada"}, "attributes": {"a": format!("\u{1}{secret}")}}).to_string(),
        ),
        ("POST /v1/push", format!(r#""{secret}""#)),
    ] {
        let reply = told.backend.send_as("application/json", head, body.as_bytes()).await;
        told.refused(&body, &reply);
    }
    for path in ["/v1/groups", "/v1/audit", "/v1/receipts", "/v1/nothing"] {
        let reply = told.backend.call(&format!("GET {path}?key={secret}")).await;
        told.refused("a secret in the query", &reply);
    }
    let ways = |login: Value| json!({ "login": login }).to_string();
    let url = "http://localhost:9";
    for body in [
        ways(json!({"business": {"url": url, "secret": bad_secret}})),
        ways(json!({"business": {"url": "no url", "secret": secret}})),
        ways(json!({"business": {"url": url, "secret": 4}, "jwt": secret})),
    ] {
        let reply = told.operator.send_as("application/json", "PUT /v1/tenants/default", body.as_bytes()).await;
        told.refused(&body, &reply);
    }
    let device = told.device().await;
    for body in [
        json!({"tenant": "default", "device": "phone", "business": [secret]}),
        json!({"tenant": "default", "device": "phone", "business_base64": secret}),
        json!({"tenant": "default", "device": "phone", "business": secret, "jwt": secret}),
        json!({"tenant": "default", "device": "phone", "key": secret}),
        json!({"tenant": "default", "device": "phone", "enrolment": {"code": [secret]}}),
        json!({"tenant": "no tenant", "device": "phone", "jwt": secret}),
    ] {
        let request = http::Request::post("https://localhost/v1/login").header("content-type", "application/json");
        let mut requests = device.requests.clone().ready().await.expect("room for a stream");
        let request = request.body(()).expect("a request");
        let (response, mut stream) = requests.send_request(request, false).expect("a stream");
        stream.send_data(body.to_string().into(), true).expect("its body");
        let (head, mut data) = soon("a response", response).await.expect("a response").into_parts();
        let mut answer = Vec::new();
        while let Some(bytes) = soon("data", data.data()).await {
            answer.extend_from_slice(&bytes.expect("data"));
        }
        assert!(head.status.as_u16() >= 400, "{body}: {head:?}");
        told.told += &format!("{:?} {}\n", head.headers, String::from_utf8_lossy(&answer));
    }
}
