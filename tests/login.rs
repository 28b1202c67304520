//! Logins (P2.7 to P2.9, P5.6), end to end over real sockets: with a key pair that the device enrolled, with what a business
//! server judges, in gRPC and in JSON, before a session and in it; and what must be refused.

mod support;

use std::sync::Arc;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::Request;
use jsonwebtoken::{Algorithm, EncodingKey};
use prost::Message;
use pushline::auth::device_key::KeyPair;
use pushline::client::{Client, Credential, Error, Login, Options, Phase, Provider, Signer};
use pushline::model::clock::Clock;
use pushline::model::frame::KeyProof;
use pushline::model::id::{DeviceId, TenantId, UserId};
use pushline::wire::device::Method;
use pushline::wire::grpc;
use pushline::wire::pb::{self, login_request::Credential as Given};
use serde_json::{Value, json};
use support::device::{Device, open};
use support::http::{Json, Reply};
use support::receiver::Receiver;
use support::{Gateway, next, push, soon, text, to_condition, to_topic, to_user};

/// Sets how devices of the tenant `default` log in.
async fn allow(gateway: &Gateway, login: Value) {
    let reply = admin(gateway).send("PUT /v1/tenants/default", &json!({ "login": login })).await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

fn admin(gateway: &Gateway) -> Json {
    let key = std::fs::read_to_string(gateway.data().join("auth").join("admin-key")).expect("the admin key");
    Json::new(gateway.admin, key.trim().rsplit(':').next().expect("a key"))
}

/// A code for a device of the user.
async fn code(gateway: &Gateway, user: &str) -> String {
    let reply = gateway.json().send("POST /v1/enrolments", &json!({ "user": user })).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()["code"].as_str().expect("a code").to_owned()
}

/// A key pair that can sign for a client.
fn pair() -> (Arc<KeyPair>, Signer) {
    let pair = Arc::new(KeyPair::generate().0);
    let signer = Arc::clone(&pair);
    (pair, Arc::new(move |text: &[u8]| signer.sign(text)))
}

fn login(device: &str, credential: Credential) -> Login {
    let (tenant, device) = (TenantId::new("default").expect("a name"), DeviceId::new(device).expect("a name"));
    Login { tenant, device, credential }
}

fn user(name: &str) -> UserId {
    UserId::new(name).expect("a name")
}

/// Options of a client without a token, which logs in.
fn options(gateway: &Gateway, login: Login) -> Options {
    let provider: Arc<dyn Provider> = Arc::new(login);
    let mut options = gateway.options("nobody", "nothing");
    options.token = String::new();
    options.provider = Some(provider);
    options
}

/// Enrols a key for a device; the login with it.
async fn enrol(gateway: &Gateway, name: &str, device: &str) -> Login {
    let (pair, signer) = pair();
    let (code, public_key) = (code(gateway, name).await, pair.public_key().to_vec());
    let credential = Credential::Enrolment { code, public_key, signer: Arc::clone(&signer) };
    let (options, login_with) = (gateway.options("nobody", "nothing"), login(device, credential));
    let told = soon("a login", Client::login(&options, &login_with)).await.expect("a token");
    assert_eq!((told.user.as_str(), told.device.as_str()), (name, device));
    login(device, Credential::Key { user: user(name), signer })
}

/// P2.7, P2.8, P2.9, P5.6: no password anywhere: a one-time code enrols a key, the key logs in, the token opens the channel.
#[tokio::test]
async fn p2_7_a_device_enrols_a_key_logs_in_with_it_and_opens() {
    let mut gateway = Gateway::start().await;
    allow(&gateway, json!({ "device_key": true })).await;
    let login = enrol(&gateway, "ada", "phone").await;
    let mut client = soon("a session", Client::connect(options(&gateway, login.clone()))).await.expect("a session");
    let mut backend = gateway.backend().await;
    push(&mut backend, to_user("ada", "hello")).await;
    let got = next(&mut client).await;
    assert_eq!(text(&got), "hello");
    got.ack();
    client.close().await.expect("a clean end");
    // The key holds across restarts, and so does the tenant's way.
    gateway.restart().await;
    let client = soon("a session", Client::connect(options(&gateway, login))).await.expect("a session");
    let list = gateway.json().call("GET /v1/users/ada/keys").await.json();
    assert_eq!(
        (list["keys"][0]["device"].as_str(), list["keys"][0]["algorithm"].as_str()),
        (Some("phone"), Some("ed25519"))
    );
    client.close().await.expect("a clean end");
    // Who did what is known, and nothing secret with it.
    let audit = gateway.json().call("GET /v1/audit").await;
    let audit = String::from_utf8(audit.body).expect("text");
    for word in ["enrolment.created", "device_key.enrolled", "login.accepted", "device:ada/phone"] {
        assert!(audit.contains(word), "{word}: {audit}");
    }
    assert!(!audit.contains("eyJ"), "a token is in the audit log: {audit}");
}

/// A device on plain HTTP/2 that has a key.
struct Raw {
    device: Device,
    pair: Arc<KeyPair>,
}

impl Raw {
    async fn connect(gateway: &Gateway, pair: Arc<KeyPair>) -> Self {
        Self { device: Device::connect(gateway.devices, &gateway.ca).await, pair }
    }

    async fn challenge(&mut self, tenant: &str, device: &str) -> Bytes {
        let request = pb::ChallengeRequest { tenant: tenant.into(), device: device.into() };
        let (_, body, trailers) = self.device.call(Method::Challenge, &request).await;
        assert_eq!(trailers["grpc-status"], "0", "{trailers:?}");
        pb::ChallengeResponse::decode(body.slice(5..)).expect("a challenge").challenge
    }

    fn proof(&self, tenant: &str, device: &str, challenge: &Bytes) -> pb::KeyProof {
        let (tenant, device) = (TenantId::new(tenant).expect("a name"), DeviceId::new(device).expect("a name"));
        let signature = self.pair.sign(&KeyProof::signed_text(&tenant, &device, challenge)).into();
        pb::KeyProof { challenge: challenge.clone(), signature }
    }

    /// The token, or code and words of the refusal.
    async fn login(&mut self, tenant: &str, device: &str, given: Given) -> Result<String, (String, String)> {
        let request = pb::LoginRequest {
            tenant: tenant.into(),
            device: device.into(),
            credential: Some(given),
            agent: "test/1".into(),
        };
        let (_, body, trailers) = self.device.call(Method::Login, &request).await;
        if trailers["grpc-status"] == "0" {
            return Ok(pb::LoginResponse::decode(body.slice(5..)).expect("an answer").token);
        }
        let text = |name: &str| trailers[name].to_str().expect("text").to_owned();
        Err((text("pushline-code"), text("grpc-message")))
    }
}

/// Whatever is wrong: one code and one sentence, so that nobody learns who exists.
#[tokio::test]
async fn every_refusal_says_the_same() {
    let gateway = Gateway::start().await;
    allow(&gateway, json!({ "device_key": true })).await;
    let (pair, _) = pair();
    let mut raw = Raw::connect(&gateway, Arc::clone(&pair)).await;
    let used = code(&gateway, "ada").await;
    let challenge = raw.challenge("default", "phone").await;
    let enrolment = |code: &str, proof| {
        let public_key = Bytes::copy_from_slice(pair.public_key());
        Given::Enrolment(pb::Enrolment { code: code.into(), public_key, proof: Some(proof) })
    };
    let first = enrolment(&used, raw.proof("default", "phone", &challenge));
    raw.login("default", "phone", first.clone()).await.expect("a token");
    let key = |user: &str, proof| Given::Key(pb::KeyLogin { user: user.into(), proof: Some(proof) });

    let mut raw = Raw::connect(&gateway, Arc::clone(&pair)).await;
    let mut refusals = Vec::new();
    // Replayed, whole and with another code.
    refusals.push(raw.login("default", "phone", first).await);
    let fresh = code(&gateway, "ada").await;
    let replayed = raw.proof("default", "phone", &challenge);
    refusals.push(raw.login("default", "phone", enrolment(&fresh, replayed.clone())).await);
    refusals.push(raw.login("default", "phone", key("ada", replayed)).await);
    // A code that was used, and one that never was.
    for code in [used.as_str(), "AAAA-AAAA-AAAA-AAAA", "no code"] {
        let challenge = raw.challenge("default", "phone").await;
        let proof = raw.proof("default", "phone", &challenge);
        refusals.push(raw.login("default", "phone", enrolment(code, proof)).await);
    }
    // Users, devices, tenants that are not there, and a tenant that allows no keys.
    for (tenant, user, device) in [
        ("default", "eve", "phone"),
        ("default", "ada", "tablet"),
        ("nowhere", "ada", "phone"),
        ("other", "ada", "phone"),
    ] {
        // Of a connection of its own: one has only so many tries before its session.
        let mut raw = Raw::connect(&gateway, Arc::clone(&pair)).await;
        let challenge = raw.challenge(tenant, device).await;
        let proof = raw.proof(tenant, device, &challenge);
        refusals.push(raw.login(tenant, device, key(user, proof)).await);
    }
    let mut raw = Raw::connect(&gateway, Arc::clone(&pair)).await;
    // A challenge of another device, one that was changed, a signature of another key.
    let elsewhere = raw.challenge("default", "tablet").await;
    let proof = raw.proof("default", "phone", &elsewhere);
    refusals.push(raw.login("default", "phone", key("ada", proof)).await);
    let mut changed = raw.challenge("default", "phone").await.to_vec();
    changed[3] ^= 1;
    let proof = raw.proof("default", "phone", &changed.into());
    refusals.push(raw.login("default", "phone", key("ada", proof)).await);
    let challenge = raw.challenge("default", "phone").await;
    let mut proof = raw.proof("default", "phone", &challenge);
    proof.signature = KeyPair::generate().0.sign(b"something").into();
    refusals.push(raw.login("default", "phone", key("ada", proof.clone())).await);
    // A way that the tenant has not chosen.
    refusals.push(raw.login("default", "phone", Given::Business(Bytes::from_static(b"secret"))).await);
    refusals.push(raw.login("default", "phone", Given::Jwt("a.b.c".into())).await);
    // None of these used the challenge up: it was never proven.
    let proof = raw.proof("default", "phone", &challenge);
    raw.login("default", "phone", key("ada", proof)).await.expect("the key still logs in");
    let first = refusals[0].clone().expect_err("a replay was taken");
    assert_eq!(first.0, "login_refused");
    for (at, refusal) in refusals.into_iter().enumerate() {
        assert_eq!(refusal.expect_err("it must be refused"), first, "refusal {at}");
    }
}

/// P5.6: a key that is taken back ends the device's session and its tokens, and logs nobody in.
#[tokio::test]
async fn a_key_that_is_removed_ends_the_session_that_it_opened() {
    let gateway = Gateway::start().await;
    allow(&gateway, json!({ "device_key": true })).await;
    let login = enrol(&gateway, "ada", "phone").await;
    let mut client = soon("a session", Client::connect(options(&gateway, login.clone()))).await.expect("a session");
    let removed = gateway.json().call("DELETE /v1/users/ada/keys/phone").await;
    assert_eq!((removed.status, removed.json()), (200, json!({ "removed": true })));
    // The client tries its login once more, and that is refused.
    let ended = soon("the end", client.next()).await;
    assert!(matches!(&ended, Some(Err(Error::Refused(why))) if why.name == "login_refused"), "{ended:?}");
    let again = gateway.json().call("DELETE /v1/users/ada/keys/phone").await;
    assert_eq!(again.json(), json!({ "removed": false }));
    // Another code, another key: the device is back.
    let login = enrol(&gateway, "ada", "phone").await;
    soon("a session", Client::connect(options(&gateway, login))).await.expect("a session");
}

/// Logins with one key at the same moment all get in.
#[tokio::test]
async fn logins_of_one_key_do_not_stand_in_each_others_way() {
    let gateway = Gateway::start().await;
    allow(&gateway, json!({ "device_key": true })).await;
    let (login, options) = (enrol(&gateway, "ada", "phone").await, gateway.options("nobody", "nothing"));
    let logins = (0..3).map(|_| Client::login(&options, &login));
    for told in soon("all", futures_util::future::join_all(logins)).await {
        assert_eq!(told.expect("a token").user.as_str(), "ada");
    }
}

/// Two devices with one code: one of them gets in, whatever the order.
#[tokio::test]
async fn a_code_enrols_one_key() {
    let gateway = Gateway::start().await;
    allow(&gateway, json!({ "device_key": true })).await;
    let code = code(&gateway, "ada").await;
    let try_it = |device: &'static str| {
        let (pair, signer) = pair();
        let credential = Credential::Enrolment { code: code.clone(), public_key: pair.public_key().to_vec(), signer };
        let options = gateway.options("nobody", "nothing");
        async move { Client::login(&options, &login(device, credential)).await }
    };
    let results = soon("both", async { tokio::join!(try_it("one"), try_it("two")) }).await;
    let refused = |result: &Result<_, Error>| matches!(result, Err(Error::Refused(why)) if why.name == "login_refused");
    match results {
        (Ok(_), other) => assert!(refused(&other), "{other:?}"),
        (one, other) => assert!(refused(&one) && other.is_ok(), "{one:?} {other:?}"),
    }
    let keys = gateway.json().call("GET /v1/users/ada/keys").await.json();
    assert_eq!(keys["keys"].as_array().map(Vec::len), Some(1), "{keys}");
}

/// Sends JSON to the device listener, over HTTP/2.
async fn post(device: &Device, verb: &str, path: &str, media: &str, body: &str) -> Reply {
    let request = Request::builder().method(verb).uri(format!("https://localhost{path}")).header("content-type", media);
    let mut requests = device.requests.clone().ready().await.expect("room for a stream");
    let (response, mut stream) = requests.send_request(request.body(()).expect("a request"), false).expect("a stream");
    stream.send_data(Bytes::copy_from_slice(body.as_bytes()), true).expect("its body");
    let (head, mut data) = soon("a response", response).await.expect("a response").into_parts();
    let mut body = Vec::new();
    while let Some(bytes) = soon("data", data.data()).await {
        let bytes = bytes.expect("data");
        data.flow_control().release_capacity(bytes.len()).expect("room");
        body.extend_from_slice(&bytes);
    }
    let headers = head.headers.iter().map(|(name, value)| (name.to_string(), value.to_str().expect("text").to_owned()));
    Reply { status: head.status.as_u16(), headers: headers.collect(), body }
}

/// The JSON twin: on the same port, before the `Open` of the same connection, with faults as backends know them.
#[tokio::test]
async fn p2_7_the_json_twin_logs_in_on_the_same_listener() {
    let gateway = Gateway::start().await;
    allow(&gateway, json!({ "device_key": true })).await;
    let (pair, _) = pair();
    let raw = Raw::connect(&gateway, pair).await;
    let json_post =
        async |path: &str, body: Value| post(&raw.device, "POST", path, "application/json", &body.to_string()).await;
    let reply = json_post("/v1/challenge", json!({ "tenant": "default", "device": "phone" })).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let challenge = STANDARD.decode(reply.json()["challenge_base64"].as_str().expect("text")).expect("base64");
    let proof = raw.proof("default", "phone", &challenge.into());
    let enrolment = json!({
        "code": code(&gateway, "ada").await.to_lowercase(),
        "public_key_base64": STANDARD.encode(raw.pair.public_key()),
        "challenge_base64": STANDARD.encode(&proof.challenge),
        "signature_base64": STANDARD.encode(&proof.signature),
    });
    let request = json!({ "tenant": "default", "device": "phone", "agent": "curl/8", "enrolment": enrolment });
    let reply = json_post("/v1/login", request.clone()).await;
    let told = reply.json();
    assert_eq!((reply.status, reply.header("cache-control")), (200, Some("no-store")), "{told}");
    assert_eq!(
        (told["user"].as_str(), told["device"].as_str(), &told["nodes"]),
        (Some("ada"), Some("phone"), &json!([]))
    );
    let (left, refresh) = (3_600_000.0, told["refresh_after_ms"].as_f64().expect("a number"));
    assert!((0.69 * left..=0.85 * left).contains(&refresh), "{told}");
    let refused = json_post("/v1/login", request).await;
    refused.assert_refused(401, 207, "the login was refused");
    assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    for (verb, path, media, body, status, errno) in [
        ("GET", "/v1/login", "application/json", "", 405, 113),
        ("POST", "/v1/logins", "application/json", "{}", 404, 112),
        ("POST", "/v1/login", "text/plain", "{}", 415, 111),
        ("POST", "/v1/login", "application/json", "{", 400, 101),
        ("POST", "/v1/login", "application/json", r#"{"tenant":"default","device":"phone"}"#, 401, 201),
        ("POST", "/v1/login", "application/json", r#"{"tenant":"a/b","device":"phone","jwt":"x"}"#, 400, 103),
    ] {
        post(&raw.device, verb, path, media, body).await.assert_refused(status, errno, "");
    }
    // The connection goes on to its session, and answers JSON in it.
    let Raw { mut device, .. } = raw;
    let (_, mut pushes) = open(&mut device, told["token"].as_str().expect("a token").to_owned()).await;
    let body = r#"{"tenant": "default", "device": "phone"}"#;
    let reply = post(&device, "POST", "/v1/challenge", "application/json", body).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    push(&mut gateway.backend().await, to_user("ada", "hello")).await;
    assert_eq!(pushes.push().await.payload, "hello");
}

/// A connection may log in before its `Open`, but not for ever; and it is no failure to have come for a login only.
#[tokio::test]
async fn logins_before_an_open_are_bounded_and_no_failure() {
    let gateway = Gateway::start().await;
    let (pair, _) = pair();
    let mut raw = Raw::connect(&gateway, Arc::clone(&pair)).await;
    for at in 0..16 {
        // Names of their own: this is not about their rates.
        raw.challenge("default", &format!("device-{at}")).await;
    }
    let request = pb::ChallengeRequest { tenant: "default".into(), device: "phone".into() };
    let (_, _, trailers) = raw.device.call(Method::Challenge, &request).await;
    assert_eq!(trailers["pushline-code"], "rate_limited");
    let (_, _, trailers) = raw.device.call(Method::Ack, &pb::AckRequest::default()).await;
    assert_eq!(trailers["pushline-code"], "no_session");
    let token = gateway.token("ada", "phone");
    drop(open(&mut raw.device, token).await);
    let mut brief = Raw::connect(&gateway, pair).await;
    brief.challenge("default", "phone").await;
    let Raw { device: Device { requests, connection, .. }, .. } = brief;
    drop(requests);
    soon("the end", connection).await.expect("no panic").expect("a clean end");
    let failed = support::metric(gateway.backend, "pushline_handshakes_failed_total{reason=\"gone\"}").await;
    assert!(failed.abs() < 0.5, "{failed}");
}

fn verdict(verdict: &Value) -> support::receiver::Reply {
    (200, vec![("content-type", "application/json".to_owned())], verdict.to_string().into_bytes())
}

/// P2.7: the business server says who it is, and what it says of attributes, groups and topics is in force at once.
#[tokio::test]
async fn p2_7_what_the_business_server_says_is_in_force_when_the_login_answers() {
    let (gateway, server) = (Gateway::start().await, Receiver::start().await);
    allow(&gateway, json!({ "business": { "url": server.url("/login") } })).await;
    let said = json!({
        "allowed": true, "user": "ada", "attributes": { "plan": "pro" }, "groups": ["staff"], "topics": ["news"],
    });
    server.reply([verdict(&said)]);
    let login = login("phone", Credential::Business(b"a ticket".to_vec()));
    let mut client = soon("a session", Client::connect(options(&gateway, login.clone()))).await.expect("a session");
    let asked = server.received().remove(0);
    assert!(asked.body.windows(5).any(|bytes| bytes == b"phone"), "{asked:?}");
    let Phase::Connected(session) = client.status().borrow().phase.clone() else { panic!("no session") };
    assert!(session.topics.iter().any(|topic| topic.as_str() == "news"), "{:?}", session.topics);
    let mut backend = gateway.backend().await;
    push(&mut backend, to_topic("news", "to the topic")).await;
    push(&mut backend, to_condition("plan == 'pro'", "to the attribute")).await;
    let (one, other) = (next(&mut client).await, next(&mut client).await);
    let mut got = [text(&one), text(&other)];
    got.sort();
    assert_eq!(got, ["to the attribute", "to the topic"]);
    let known = gateway.json().call("GET /v1/users/ada").await.json();
    assert!(known["groups"].to_string().contains("staff"), "{known}");
    // A user of the gateway's own is nobody's.
    server.reply([verdict(&json!({ "allowed": true, "user": "_share:x" })), verdict(&json!({ "allowed": false }))]);
    for _ in 0..2 {
        let refused = soon("an answer", Client::login(&gateway.options("nobody", "nothing"), &login)).await;
        assert!(matches!(&refused, Err(Error::Refused(why)) if why.name == "login_refused"), "{refused:?}");
    }
    // Whoever cannot be asked refuses nobody.
    server.reply([support::receiver::status(500)]);
    let unasked = soon("an answer", Client::login(&gateway.options("nobody", "nothing"), &login)).await;
    assert!(matches!(&unasked, Err(Error::Refused(why)) if why.name == "login_unavailable"), "{unasked:?}");
    // A suspended tenant logs nobody in.
    server.reply([verdict(&said)]);
    assert_eq!(admin(&gateway).send("POST /v1/tenants/default/suspend", &json!({})).await.status, 200);
    let refused = soon("an answer", Client::login(&gateway.options("nobody", "nothing"), &login)).await;
    assert!(matches!(&refused, Err(Error::Refused(why)) if why.name == "login_refused"), "{refused:?}");
}

/// P2.7: a JWT of the tenant's identity provider logs in, over the wire and in JSON; one that is forged does not.
#[tokio::test]
async fn p2_7_a_jwt_of_an_identity_provider_logs_in() {
    let (gateway, provider) = (Gateway::start().await, Receiver::start().await);
    let rules = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let [ours, theirs] = [(); 2].map(|()| EcdsaKeyPair::generate(rules).expect("a key"));
    let point = ours.public_key().as_ref();
    let [x, y] = [&point[1..33], &point[33..]].map(|part| URL_SAFE_NO_PAD.encode(part));
    let key = json!({ "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "one", "x": x, "y": y });
    provider.always(Some(verdict(&json!({ "keys": [key] }))));
    let issuer = provider.url("");
    let way =
        json!({ "issuer": issuer, "audiences": ["app"], "jwks_url": provider.url("/keys"), "groups_claim": "groups" });
    allow(&gateway, json!({ "jwt": way })).await;
    let exp = Clock::new().now().wall.as_millis() / 1000 + 600;
    let jwt = |key: &EcdsaKeyPair| {
        let claims = json!({ "iss": issuer, "aud": "app", "sub": "ada", "exp": exp, "groups": ["staff"] });
        let header = jsonwebtoken::Header { kid: Some("one".into()), ..jsonwebtoken::Header::new(Algorithm::ES256) };
        let key = key.to_pkcs8v1().expect("a document");
        jsonwebtoken::encode(&header, &claims, &EncodingKey::from_ec_der(key.as_ref())).expect("a token")
    };
    let good = login("phone", Credential::Jwt(jwt(&ours)));
    let mut client = soon("a session", Client::connect(options(&gateway, good))).await.expect("a session");
    push(&mut gateway.backend().await, to_user("ada", "hello")).await;
    assert_eq!(text(&next(&mut client).await), "hello");
    let known = gateway.json().call("GET /v1/users/ada").await.json();
    assert!(known["groups"].to_string().contains("staff"), "{known}");
    let forged = login("phone", Credential::Jwt(jwt(&theirs)));
    let refused = soon("an answer", Client::login(&gateway.options("nobody", "nothing"), &forged)).await;
    assert!(matches!(&refused, Err(Error::Refused(why)) if why.name == "login_refused"), "{refused:?}");
    let device = Device::connect(gateway.devices, &gateway.ca).await;
    let body = json!({ "tenant": "default", "device": "tablet", "jwt": jwt(&ours) }).to_string();
    let reply = post(&device, "POST", "/v1/login", "application/json", &body).await;
    assert_eq!((reply.status, reply.json()["user"].as_str()), (200, Some("ada")), "{reply:?}");
}

/// A login in a session holds up no push, however long its check takes; a few run at once.
#[tokio::test]
async fn a_check_that_hangs_holds_up_no_push() {
    let gateway = Gateway::start().await;
    // It takes connections and never answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/login", silent.local_addr().expect("an address"));
    allow(&gateway, json!({ "business": { "url": url, "timeout_ms": 30_000 } })).await;
    let (pair, _) = pair();
    let mut raw = Raw::connect(&gateway, pair).await;
    let (_, mut pushes) = open(&mut raw.device, gateway.token("ada", "phone")).await;
    let request = |at: usize| pb::LoginRequest {
        tenant: "default".into(),
        device: format!("device-{at}"),
        credential: Some(Given::Business(Bytes::from_static(b"a ticket"))),
        agent: String::new(),
    };
    let mut waiting = Vec::new();
    for at in 0..4 {
        let head = Request::post(format!("https://localhost{}", Method::Login.path()));
        let head = head.header("content-type", "application/grpc").body(()).expect("a request");
        let mut requests = raw.device.requests.clone().ready().await.expect("room for a stream");
        let (response, mut stream) = requests.send_request(head, false).expect("a stream");
        stream.send_data(grpc::framed(&request(at)), true).expect("its message");
        waiting.push(response);
    }
    let (_, _, trailers) = raw.device.call(Method::Login, &request(4)).await;
    assert_eq!(trailers["pushline-code"], "rate_limited");
    let mut backend = gateway.backend().await;
    for at in 0..3 {
        push(&mut backend, to_user("ada", format!("push {at}"))).await;
        let got = pushes.push().await;
        assert_eq!(got.payload, format!("push {at}"));
        let ack = pb::AckRequest { acked: vec![pb::SeqRange { from: got.seq, upto: got.seq }], ..Default::default() };
        let (_, _, trailers) = raw.device.call(Method::Ack, &ack).await;
        assert_eq!(trailers["grpc-status"], "0", "{trailers:?}");
    }
    for response in &mut waiting {
        assert!(futures_util::poll!(response).is_pending(), "the checks still hang");
    }
}

/// The client renews in its session again and again: no token of it lives for more than two seconds.
#[tokio::test]
async fn a_client_goes_on_from_token_to_token_without_reconnecting() {
    let (gateway, server) = (Gateway::start().await, Receiver::start().await);
    allow(&gateway, json!({ "business": { "url": server.url("/login") } })).await;
    server.always(Some(verdict(&json!({ "allowed": true, "user": "ada", "token_ttl_seconds": 2 }))));
    let login = login("phone", Credential::Business(b"a ticket".to_vec()));
    let mut client = soon("a session", Client::connect(options(&gateway, login))).await.expect("a session");
    let mut status = client.status();
    let reached = soon("two renewals", status.wait_for(|status| status.renewals >= 2)).await.expect("it lives").clone();
    assert_eq!((reached.sessions, reached.last_failure), (1, None));
    push(&mut gateway.backend().await, to_user("ada", "still here")).await;
    assert_eq!(text(&next(&mut client).await), "still here");
}
