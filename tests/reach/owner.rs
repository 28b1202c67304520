//! A tenant that has one of everything.

use std::sync::Arc;
use std::time::Duration;

use pushline::auth::device_key::KeyPair;
use pushline::client::{Client, Credential, Login};
use pushline::model::clock::Clock;
use pushline::model::id::{DeviceId, TenantId};
use pushline::wire::pb;
use serde_json::{Value, json};

use crate::support::http::Json;
use crate::support::{Gateway, client_options, next, soon, text};

/// The secret of a new key of a tenant, which is made if it is not there.
pub(crate) async fn key_of(gateway: &Gateway, tenant: &str) -> String {
    let operator = gateway.operator().await;
    let login = pb::LoginWays { device_key: Some(pb::DeviceKeyLogin {}), ..Default::default() };
    let request = pb::CreateTenantRequest { name: tenant.into(), login: Some(login), ..Default::default() };
    soon("a tenant", operator.create_tenant(request)).await.expect("a tenant");
    let request = pb::CreateKeyRequest { tenant: tenant.into(), note: format!("{tenant}'s"), ..Default::default() };
    soon("a key", operator.create_key(request)).await.expect("a key").secret
}

/// Names of what it has.
pub(crate) struct Owned {
    pub(crate) message: String,
    pub(crate) scheduled: String,
    pub(crate) broadcast: String,
    pub(crate) share: String,
    pub(crate) share_token: String,
    pub(crate) token_id: String,
    pub(crate) token: String,
    pub(crate) key_id: String,
}

/// The tenant, with a device that is connected.
pub(crate) struct Owner<'g> {
    gateway: &'g Gateway,
    backend: Json,
    operator: Json,
    pub(crate) owned: Owned,
    phone: Client,
}

async fn made(backend: &Json, head: &str, body: Value) -> Value {
    let reply = backend.send(head, &body).await;
    assert!(reply.status < 300, "{head}: {reply:?}");
    reply.json()
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

impl<'g> Owner<'g> {
    /// Makes all of it.
    pub(crate) async fn settle(gateway: &'g Gateway) -> Self {
        let key = key_of(gateway, "alpha").await;
        let key_id = key.split('_').nth(1).expect("an id").to_owned();
        let backend = Json::new(gateway.backend, &key);
        made(&backend, "PUT /v1/groups/crew", json!({"topics": ["scores", "alpha-news"]})).await;
        made(&backend, "PUT /v1/users/ada/groups", json!({"groups": ["crew"], "version": 7})).await;
        made(&backend, "POST /v1/groups/crew/members", json!({"add": ["eve-alpha"]})).await;
        let hours = json!({"from": "22:00", "to": "22:01", "time_zone": "Europe/Berlin"});
        made(&backend, "PUT /v1/users/eve-alpha/quiet-hours", hours.clone()).await;
        made(&backend, "PUT /v1/users/ada/quiet-hours", hours).await;
        made(&backend, "PUT /v1/topics/scores", json!({"conflate": true})).await;
        let hook = json!({"url": "http://127.0.0.1:9/alpha-hook"});
        made(&backend, "PUT /v1/webhooks/fallback", hook).await;
        enrol(gateway, &backend).await;
        let device = json!({"user": "ada", "device": "phone"});
        let token = made(&backend, "POST /v1/tokens", device.clone()).await;
        let options = client_options(gateway.devices, &gateway.ca, word(&token["token"]));
        let mut phone = soon("a session", Client::connect(options)).await.expect("a session");
        let share = json!({"topics": ["scores"], "note": "alpha's share"});
        let share = made(&backend, "POST /v1/shares", share).await;
        let urgent = json!({"target": {"user": "ada"}, "payload": "alpha's words", "tag": "summer", "urgency": "high",
            "idempotency_key": "once"});
        let message = made(&backend, "POST /v1/push", urgent).await;
        let push = next(&mut phone).await;
        assert_eq!(text(&push), "alpha's words");
        push.ack();
        let in_a_day = (Clock::new().now().wall + Duration::from_secs(86_400)).as_millis();
        let later = json!({"target": {"user": "ada"}, "payload": "alpha, later", "send_at_ms": in_a_day});
        let scheduled = made(&backend, "POST /v1/push", later).await;
        let condition = json!({"target": {"condition": "'nobody-follows' in topics"}, "payload": "alpha, to some"});
        let broadcast = made(&backend, "POST /v1/push", condition).await;
        let owned = Owned {
            message: word(&message["id"]),
            scheduled: word(&scheduled["id"]),
            broadcast: word(&broadcast["id"]),
            share: word(&share["share"]["id"]),
            share_token: word(&share["token"]),
            token_id: word(&token["id"]),
            token: word(&token["token"]),
            key_id,
        };
        let operator = Json::new(gateway.admin, &gateway.admin_key());
        let owner = Self { gateway, backend, operator, owned, phone };
        soon("the ack", owner.settled()).await;
        owner
    }

    /// Waits until what was done is also in the journals.
    async fn settled(&self) {
        let timeline = format!("GET /v1/messages/{}/timeline", self.owned.message);
        for (head, told) in [
            (timeline.as_str(), r#""what":"acked""#),
            ("GET /v1/receipts?follow=false", r#""what":"acked""#),
            ("GET /v1/tags/summer", r#""acked":1"#),
            ("GET /v1/presence/events?follow=false", r#""what":"ready""#),
        ] {
            while !String::from_utf8_lossy(&self.backend.call(head).await.body).contains(told) {}
        }
    }

    /// All that it has, as it is told of it.
    pub(crate) async fn all(&self) -> Vec<(String, String)> {
        let Owned { message, scheduled, broadcast, .. } = &self.owned;
        let mut all = Vec::new();
        for head in [
            &format!("GET /v1/messages/{message}") as &str,
            &format!("GET /v1/messages/{message}/timeline"),
            &format!("GET /v1/messages/{scheduled}"),
            &format!("GET /v1/messages/{broadcast}"),
            "GET /v1/groups",
            "GET /v1/groups/crew/members",
            "GET /v1/users/ada",
            "GET /v1/users/eve-alpha",
            "GET /v1/users/ada/keys",
            "GET /v1/topics/scores",
            "GET /v1/audience?topic=scores&limit=10",
            "GET /v1/tags/summer",
            "GET /v1/presence",
            "GET /v1/presence/events?follow=false",
            "GET /v1/receipts?follow=false",
            "GET /v1/webhooks",
            "GET /v1/shares",
            "GET /v1/audit",
        ] {
            let reply = self.backend.call(head).await;
            assert_eq!(reply.status, 200, "{head}: {reply:?}");
            all.push((head.to_owned(), String::from_utf8(reply.body).expect("text")));
        }
        for head in ["GET /v1/tenants/alpha", "GET /v1/tenants/alpha/keys"] {
            let reply = self.operator.call(head).await;
            assert_eq!(reply.status, 200, "{head}: {reply:?}");
            all.push((head.to_owned(), String::from_utf8(reply.body).expect("text")));
        }
        all
    }

    /// Its session lives, and got nothing in between; its tokens are good.
    pub(crate) async fn goes_on(&mut self) {
        let target = json!({"user": "ada", "device": "phone"});
        made(&self.backend, "POST /v1/push", json!({"target": target, "payload": "on it goes", "urgency": "high"}))
            .await;
        let push = next(&mut self.phone).await;
        assert_eq!(text(&push), "on it goes");
        push.ack();
        for token in [&self.owned.token, &self.owned.share_token] {
            let options = client_options(self.gateway.devices, &self.gateway.ca, token.clone());
            soon("a session", Client::connect(options)).await.expect("the token is good");
        }
    }
}

/// Enrols a key for a device of its own.
async fn enrol(gateway: &Gateway, backend: &Json) {
    let code = word(&made(backend, "POST /v1/enrolments", json!({"user": "ada"})).await["code"]);
    let pair = Arc::new(KeyPair::generate().0);
    let public_key = pair.public_key().to_vec();
    let credential = Credential::Enrolment { code, public_key, signer: Arc::new(move |text: &[u8]| pair.sign(text)) };
    let (tenant, device) = (TenantId::new("alpha").expect("a name"), DeviceId::new("watch").expect("a name"));
    let options = client_options(gateway.devices, &gateway.ca, String::new());
    soon("a login", Client::login(&options, &Login { tenant, device, credential })).await.expect("a token");
}
