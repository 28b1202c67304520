//! Every method of devices with every credential that is not the one for it.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use pushline::auth::Authority;
use pushline::model::clock::Clock;
use pushline::model::id::{DeviceId, MessageId, Receiver, TenantId, UserId};
use pushline::wire::device::Method;
use pushline::wire::pb::{self, login_request::Credential};
use serde_json::{Value, json};

use crate::owner::key_of;
use crate::support::device::{Device, Pushes, open};
use crate::support::http::Json;
use crate::support::{Gateway, push, soon, to_topic, to_user, token_for};

/// A gateway, and what is not the token of the device `phone` of `ada` in the tenant `default`.
struct Tries {
    gateway: Gateway,
    tokens: Vec<(&'static str, String, &'static str)>,
    share: String,
}

fn signed(gateway: &Gateway, tenant: &str, user: &str, device: &str) -> String {
    let authority = Authority::open(&gateway.data().join("auth")).expect("the keys");
    let now = Clock::new().now().wall;
    let receiver = Receiver {
        tenant: TenantId::new(tenant).expect("a name"),
        user: UserId::new(user).expect("a name"),
        device: DeviceId::new(device).expect("a name"),
    };
    authority.issue(&receiver, now + Duration::from_secs(3600), now)
}

async fn made(json: &Json, head: &str, body: Value) -> Value {
    let reply = json.send(head, &body).await;
    assert!(reply.status < 300, "{head}: {reply:?}");
    reply.json()
}

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

impl Tries {
    async fn new() -> Self {
        let (gateway, elsewhere) = (Gateway::start().await, Gateway::start().await);
        let (json, operator) = (gateway.json(), Json::new(gateway.admin, &gateway.admin_key()));
        made(&operator, "PUT /v1/tenants/default", json!({"login": {"device_key": true}})).await;
        let device = json!({"user": "ada", "device": "phone"});
        let revoked = made(&json, "POST /v1/tokens", device).await;
        made(&json, "POST /v1/tokens/revoke", json!({"id": revoked["id"]})).await;
        let share = made(&json, "POST /v1/shares", json!({"topics": ["scores"]})).await;
        let taken_back = made(&json, "POST /v1/shares", json!({"topics": ["scores"]})).await;
        made(&json, &format!("DELETE /v1/shares/{}", text(&taken_back["share"]["id"])), Value::Null).await;
        let code = made(&json, "POST /v1/enrolments", json!({"user": "ada"})).await;
        key_of(&gateway, "gone").await;
        made(&operator, "POST /v1/tenants/gone/suspend", json!({})).await;
        let good = gateway.token("ada", "phone");
        let (head, signature) = good.rsplit_once('.').expect("three parts");
        let other = gateway.token("eve", "phone");
        let (other_head, _) = other.rsplit_once('.').expect("three parts");
        let tokens = vec![
            ("none", String::new(), "missing_credentials"),
            ("garbage", "garbage".to_owned(), "invalid_credentials"),
            ("without a signature", format!("{head}."), "invalid_credentials"),
            ("another's claims", format!("{other_head}.{signature}"), "invalid_credentials"),
            ("of another gateway", elsewhere.token("ada", "phone"), "invalid_credentials"),
            ("expired", token_for(gateway.data(), "ada", "phone", Duration::ZERO), "expired_token"),
            ("revoked", text(&revoked["token"]), "revoked_token"),
            ("of a share that was taken back", text(&taken_back["token"]), "revoked_token"),
            ("of a suspended tenant", signed(&gateway, "gone", "ada", "phone"), "tenant_suspended"),
            ("an API key", gateway.key.clone(), "invalid_credentials"),
            ("the admin key", gateway.admin_key(), "invalid_credentials"),
            ("an enrolment code", text(&code["code"]), "invalid_credentials"),
        ];
        Self { share: text(&share["token"]), tokens, gateway }
    }

    async fn device(&self) -> Device {
        Device::connect(self.gateway.devices, &self.gateway.ca).await
    }
}

/// A call, and the stable word of its refusal; empty when it was none.
async fn word(device: &mut Device, method: Method, token: &str) -> String {
    let token = token.to_owned();
    let topics = || vec!["scores".to_owned()];
    let (_, _, trailers) = match method {
        Method::Open => device.call(method, &pb::OpenRequest { token, ..Default::default() }).await,
        Method::Renew => device.call(method, &pb::RenewRequest { token }).await,
        Method::Ack => {
            let acked = vec![pb::SeqRange { from: 1, upto: 1 }];
            device.call(method, &pb::AckRequest { acked, ..Default::default() }).await
        }
        Method::Subscribe => device.call(method, &pb::SubscribeRequest { topics: topics() }).await,
        Method::Unsubscribe => device.call(method, &pb::UnsubscribeRequest { topics: topics() }).await,
        Method::Update => device.call(method, &pb::UpdateRequest { window: Some(1), ..Default::default() }).await,
        Method::Dismiss => device.call(method, &pb::DismissRequest { ids: vec![Bytes::from_static(&[7; 16])] }).await,
        Method::Login => return login(device, Credential::Jwt(token)).await,
        Method::Challenge => {
            let request = pb::ChallengeRequest { tenant: "default".into(), device: "phone".into() };
            device.call(method, &request).await
        }
    };
    trailers.get("pushline-code").map_or(String::new(), |word| word.to_str().expect("ASCII").to_owned())
}

async fn login(device: &mut Device, credential: Credential) -> String {
    let (tenant, name) = ("default".to_owned(), "phone".to_owned());
    let request = pb::LoginRequest { tenant, device: name, credential: Some(credential), agent: String::new() };
    let (_, _, trailers) = device.call(Method::Login, &request).await;
    trailers.get("pushline-code").map_or(String::new(), |word| word.to_str().expect("ASCII").to_owned())
}

/// What the gateway answers before a session to a method with such a token.
fn expected(method: Method, of_the_token: &'static str) -> &'static str {
    match method {
        Method::Open => of_the_token,
        // They need a session, and a refused `Open` gives none.
        Method::Ack | Method::Subscribe | Method::Unsubscribe => "no_session",
        Method::Update | Method::Dismiss | Method::Renew => "no_session",
        Method::Login => "login_refused",
        // Asks for no credential: it is given to anybody.
        Method::Challenge => "",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_token_no_method_of_devices_does_anything() {
    let tries = Tries::new().await;
    let served = pb::METHODS.iter().filter(|path| path.starts_with("/pushline.v1.Device/"));
    for path in served {
        let method = Method::from_path(path).unwrap_or_else(|| panic!("{path} is not called here"));
        for (what, token, of_the_token) in &tries.tokens {
            let mut device = tries.device().await;
            let told = word(&mut device, method, token).await;
            // A way to log in that is empty is no login at all.
            let expected = match (method, token.is_empty()) {
                (Method::Login, true) => told.as_str(),
                _ => expected(method, of_the_token),
            };
            assert_eq!(told, expected, "{path} with a token that is {what}");
            assert!(method == Method::Challenge || !told.is_empty(), "{path} with a token that is {what}");
            if method == Method::Open {
                // Nothing more can be tried on this connection.
                let _end = soon("the end of the connection", device.connection).await.expect("no panic");
            }
        }
    }
    // A token of the device itself is not a way to log in, whatever way it is called.
    let good = tries.gateway.token("ada", "phone");
    for token in [&good, &tries.share] {
        let proof = || Some(pb::KeyProof { challenge: token.clone().into(), signature: token.clone().into() });
        let public_key = Bytes::from_static(&[7; 32]);
        for credential in [
            Credential::Jwt(token.clone()),
            Credential::Business(token.clone().into()),
            Credential::Key(pb::KeyLogin { user: "ada".into(), proof: proof() }),
            Credential::Enrolment(pb::Enrolment { code: token.clone(), public_key, proof: proof() }),
        ] {
            let told = login(&mut tries.device().await, credential).await;
            assert!(["login_refused", "malformed", "invalid_option"].contains(&&*told), "{told}");
        }
    }
    // Nobody has come in: the user has no device.
    let known = tries.gateway.json().call("GET /v1/users/ada").await.json();
    assert_eq!(known["devices"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_takes_no_token_but_its_own() {
    let tries = Tries::new().await;
    let gateway = &tries.gateway;
    let mut device = tries.device().await;
    let (_, mut pushes) = open(&mut device, gateway.token("ada", "phone")).await;
    let others = [
        ("of another tenant", signed(gateway, "other", "ada", "phone"), "forbidden"),
        ("of another user", gateway.token("eve", "phone"), "forbidden"),
        ("of another device", gateway.token("ada", "laptop"), "forbidden"),
        ("of a share", tries.share.clone(), "forbidden"),
    ];
    for (what, token, of_the_token) in tries.tokens.iter().chain(&others) {
        assert_eq!(word(&mut device, Method::Renew, token).await, *of_the_token, "{what}");
        assert_eq!(word(&mut device, Method::Open, token).await, "session_exists", "{what}");
    }
    let mut other = tries.device().await;
    let (token, device_name) = (gateway.token("ada", "phone"), "laptop".to_owned());
    let request = pb::OpenRequest { token, device: device_name, ..Default::default() };
    let (_, _, trailers) = other.call(Method::Open, &request).await;
    assert_eq!(trailers["pushline-code"], "forbidden", "it calls itself other than its token does");
    still_here(gateway, &mut pushes).await;
}

/// The names are the same, the tenants are not: neither takes the other's place, nor its messages.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_names_in_another_tenant_are_another_device() {
    let tries = Tries::new().await;
    let gateway = &tries.gateway;
    let (mut device, mut stranger) = (tries.device().await, tries.device().await);
    let (_, mut pushes) = open(&mut device, gateway.token("ada", "phone")).await;
    let (_, mut strange) = open(&mut stranger, signed(gateway, "other", "ada", "phone")).await;
    still_here(gateway, &mut pushes).await;
    // Whatever it asks for by name, it asks of its own tenant.
    let id = push(&mut gateway.backend().await, to_user("ada", "not to be dismissed")).await;
    let ids = vec![Bytes::copy_from_slice(MessageId::parse(&id).expect("an id").as_bytes())];
    let (_, body, _) = stranger.call(Method::Dismiss, &pb::DismissRequest { ids }).await;
    assert_eq!(pb::DismissResponse::decode(body.slice(5..)).expect("an answer").dismissed, 0);
    assert_eq!(word(&mut stranger, Method::Subscribe, "").await, "");
    push(&mut gateway.backend().await, to_topic("scores", "not theirs")).await;
    let theirs = Json::new(gateway.backend, &gateway.other_key);
    made(&theirs, "POST /v1/push", json!({"target": {"topic": "scores"}, "payload": "theirs"})).await;
    assert_eq!(strange.push().await.payload, "theirs", "the first that it gets");
    assert_eq!(pushes.push().await.payload, "not to be dismissed");
    assert_eq!(gateway.json().call(&format!("GET /v1/messages/{id}")).await.json()["state"], "stored");
    made(&theirs, "POST /v1/tokens/revoke", json!({"user": "ada"})).await;
    still_here(gateway, &mut pushes).await;
}

async fn still_here(gateway: &Gateway, pushes: &mut Pushes) {
    push(&mut gateway.backend().await, to_user("ada", "still here")).await;
    assert_eq!(pushes.push().await.payload, "still here");
}
