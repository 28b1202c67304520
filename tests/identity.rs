//! Logins with a JWT of an identity provider (P2.7, P2.8), against real ones over HTTP: how its keys are found, kept and
//! fetched anew, and what is refused. What a single token must be like is tested beside `auth/identity.rs`.

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use pushline::hook::{self, Asker};
use pushline::model::clock::Clock;
use pushline::model::fault::{Code, Fault};
use pushline::model::id::{DeviceId, TenantId};
use pushline::model::tenant::JwtLogin;
use pushline::node::access::checks::{Ask, Checked, Checks, Options, refused, unavailable};
use pushline::tls::{Acceptor, Certificate, develop};
use serde_json::{Value, json};
use support::issuer::{Issuer, Mood};
use support::receiver::Receiver;
use support::soon;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A gateway's checks, and what a tenant of it has set.
struct Desk {
    checks: Checks,
    way: JwtLogin,
    tenant: TenantId,
    device: DeviceId,
    tasks: TaskTracker,
    drained: CancellationToken,
}

impl Desk {
    fn new(issuer: &str, change: impl FnOnce(&mut Options, &mut JwtLogin)) -> Self {
        Self::trusting(&hook::Options::default(), issuer, change)
    }

    fn trusting(trust: &hook::Options, issuer: &str, change: impl FnOnce(&mut Options, &mut JwtLogin)) -> Self {
        let mut options = Options::default();
        let mut way = JwtLogin {
            issuer: issuer.to_owned(),
            audiences: vec!["app".into()],
            leeway_seconds: 60,
            ..JwtLogin::default()
        };
        change(&mut options, &mut way);
        let (tasks, drained) = (TaskTracker::new(), CancellationToken::new());
        let asker = Asker::new(trust).expect("an asker");
        let checks = Checks::new(asker, options, Clock::new(), tasks.clone(), drained.clone());
        let (tenant, device) = (TenantId::new("default"), DeviceId::new("phone"));
        Self { checks, way, tenant: tenant.expect("a name"), device: device.expect("a name"), tasks, drained }
    }

    async fn login(&self, token: &str) -> Result<Checked, Fault> {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let ask = Ask { tenant: &self.tenant, device: &self.device, agent: "test/1", address };
        soon("a judgement", self.checks.jwt(&self.way, &ask, token)).await
    }

    /// The user of a token that must be good.
    async fn user(&self, token: &str) -> String {
        self.login(token).await.expect("a good token").user.to_string()
    }

    /// Tries again until a login is judged like this. Bounded by whoever waits for it.
    async fn until(&self, what: &str, token: &str, wanted: impl Fn(&Result<Checked, Fault>) -> bool) {
        soon(what, async {
            while !wanted(&self.login(token).await) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

/// Pauses so short that a test sees their end.
fn quick(options: &mut Options) {
    options.retry_first = Duration::from_millis(5);
    options.retry_max = Duration::from_millis(20);
    options.unknown_pause = Duration::from_millis(50);
}

#[tokio::test]
async fn p2_8_a_providers_token_says_who_it_is_and_what_is_known_of_the_user() {
    let issuer = Issuer::start().await;
    let desk = Desk::new(&issuer.url(), |_, way| {
        way.attributes = BTreeMap::from([
            ("plan".into(), "plan".into()),
            ("level".into(), "https://app.example/level".into()),
            ("about".into(), "about".into()),
            ("gone".into(), "gone".into()),
        ]);
        way.groups_claim = "realm.roles".into();
    });
    let mut claims = issuer.claims("auth0|ada");
    claims["plan"] = json!("pro");
    claims["https://app.example/level"] = json!(3);
    claims["about"] = json!("x".repeat(500));
    claims["realm"] = json!({"roles": ["staff", "/teams/a", "staff"]});
    let checked = desk.login(&issuer.signed("first", &claims)).await.expect("a good token");
    assert_eq!(checked.user.as_str(), "auth0%7Cada", "what no name can have is written as in URLs");
    let attributes = BTreeMap::from([("plan".to_owned(), "pro".to_owned()), ("level".to_owned(), "3".to_owned())]);
    assert_eq!(checked.attributes, Some(attributes), "what is not there or too long is left out");
    let (groups, version) = checked.groups.expect("groups");
    let groups: Vec<_> = groups.iter().map(|group| group.as_str()).collect();
    assert_eq!(groups, ["%2Fteams%2Fa", "staff"]);
    assert_eq!(version, claims["iat"].as_u64().expect("a number") * 1000, "an older token takes nothing back");
    assert_eq!((checked.topics.len(), checked.ttl), (0, None));

    let bare = desk.login(&issuer.token("first", "mia")).await.expect("a good token");
    assert_eq!(bare.attributes, Some(BTreeMap::new()), "what the provider says no more is known no more");
    assert_eq!(bare.groups.map(|(groups, _)| groups), Some(Vec::new()));
    for (value, code) in
        [(json!("a b"), None), (json!(7), Some(Code::LoginRefused)), (json!([1]), Some(Code::LoginRefused))]
    {
        claims["realm"]["roles"] = value.clone();
        let judged = desk.login(&issuer.signed("first", &claims)).await;
        assert_eq!(judged.err().map(|fault| fault.code), code, "{value}");
    }

    let silent = Desk::new(&issuer.url(), |_, _| {});
    let checked = silent.login(&issuer.signed("first", &claims)).await.expect("a good token");
    assert_eq!((checked.attributes, checked.groups), (None, None), "a tenant that wants nothing to be known");
}

#[tokio::test]
async fn whatever_is_wrong_with_a_token_the_answer_is_the_same() {
    let (issuer, other) = (Issuer::start().await, Issuer::start().await);
    let desk = Desk::new(&issuer.url(), |_, _| {});
    let with = |name: &str, value: Value| {
        let mut claims = issuer.claims("ada");
        claims[name] = value;
        issuer.signed("first", &claims)
    };
    let good = issuer.token("first", "ada");
    assert_eq!(desk.user(&good).await, "ada");
    for (what, token) in [
        ("another audience", with("aud", json!("other"))),
        ("another issuer", with("iss", json!(other.url()))),
        ("another provider", other.token("first", "ada")),
        ("expired", with("exp", json!(1_000_000_000))),
        ("too early", with("nbf", json!(4_000_000_000_u64))),
        ("no user", with("sub", json!(""))),
        ("oversized", with("more", json!("x".repeat(20_000)))),
        ("changed", good.replacen('.', ".e", 1)),
        ("no token", "no token".to_owned()),
        ("unsigned", format!("{}.", good.rsplit_once('.').expect("dots").0)),
    ] {
        assert_eq!(desk.login(&token).await, Err(refused()), "{what}");
    }
    assert_eq!(desk.user(&good).await, "ada");
}

/// Keys are rotated, without a restart and without an announcement.
#[tokio::test]
async fn a_new_key_is_fetched_when_a_token_names_it() {
    let issuer = Issuer::start().await;
    let desk = Desk::new(&issuer.url(), |_, _| {});
    let old = issuer.token("first", "ada");
    assert_eq!(desk.user(&old).await, "ada");
    for _ in 0..20 {
        assert_eq!(desk.user(&issuer.token("first", "ada")).await, "ada");
    }
    assert_eq!(issuer.fetched(), 1, "keys are kept");
    issuer.add("second");
    issuer.remove("first");
    assert_eq!(desk.user(&issuer.token("second", "mia")).await, "mia");
    assert_eq!(issuer.fetched(), 2);
    assert_eq!(desk.login(&old).await, Err(refused()), "the key that was taken away counts no more");
    assert_eq!(issuer.fetched(), 2, "and is not looked for within the pause");
}

#[tokio::test]
async fn invented_keys_do_not_bother_the_provider() {
    let (issuer, forger) = (Issuer::start().await, Issuer::start().await);
    let desk = Desk::new(&issuer.url(), |_, _| {});
    desk.user(&issuer.token("first", "ada")).await;
    let tokens: Vec<_> = (0..200)
        .map(|n| {
            let kid = format!("invented-{n}");
            forger.add(&kid);
            let mut claims = issuer.claims("ada");
            claims["n"] = json!(n);
            forger.signed(&kid, &claims)
        })
        .collect();
    for judged in futures_util::future::join_all(tokens.iter().map(|token| desk.login(token))).await {
        assert_eq!(judged, Err(refused()));
    }
    assert_eq!(issuer.fetched(), 2, "one fetch for all of them");
    assert_eq!(desk.user(&issuer.token("first", "ada")).await, "ada");
}

#[tokio::test]
async fn while_the_provider_is_down_its_old_keys_go_on() {
    let issuer = Issuer::start().await;
    let desk = Desk::new(&issuer.url(), |options, _| {
        quick(options);
        options.age_min = Duration::from_millis(20);
        options.age_default = Duration::from_millis(20);
    });
    let token = issuer.token("first", "ada");
    desk.user(&token).await;
    issuer.add("second");
    let newer = issuer.token("second", "mia");
    issuer.set(Mood::Status(503));
    let fetched = issuer.fetched();
    desk.until("the failure", &newer, |judged| *judged == Err(unavailable())).await;
    assert_eq!(desk.user(&token).await, "ada");
    for mood in [
        Mood::Keys(b"<html>".to_vec()),
        Mood::Keys(b"{\"keys\":[]}".to_vec()),
        Mood::Keys([b"{\"keys\":[],\"x\":\"", &[b'x'; 300_000][..], b"\"}"].concat()),
        Mood::Description(b"{}".to_vec()),
        Mood::Status(302),
        Mood::Status(404),
    ] {
        issuer.set(mood.clone());
        desk.until("an answer", &newer, |judged| *judged == Err(unavailable())).await;
        assert_eq!(desk.user(&token).await, "ada", "{mood:?}");
    }
    assert!(issuer.fetched() >= fetched);
    issuer.set(Mood::Good);
    desk.until("the newer key", &newer, Result::is_ok).await;
}

#[tokio::test]
async fn a_provider_that_was_never_reached_makes_logins_wait_for_it() {
    let issuer = Issuer::start().await;
    for mood in [
        Mood::Status(500),
        Mood::Hanging,
        Mood::Keys(b"no keys".to_vec()),
        Mood::Description(
            json!({"issuer": "http://evil.example", "jwks_uri": format!("{}/keys", issuer.url())}).to_string().into(),
        ),
        Mood::Description(json!({"issuer": issuer.url(), "jwks_uri": "file:///etc/passwd"}).to_string().into()),
        Mood::Description(json!({"issuer": issuer.url()}).to_string().into()),
    ] {
        let desk = Desk::new(&issuer.url(), |options, _| {
            quick(options);
            options.page_timeout = Duration::from_millis(300);
        });
        issuer.set(mood.clone());
        let token = issuer.token("first", "ada");
        assert_eq!(desk.login(&token).await, Err(unavailable()), "{mood:?}");
        issuer.set(Mood::Good);
        desk.until("its keys", &token, Result::is_ok).await;
    }
    let nobody = Desk::new("http://127.0.0.1:1", |options, _| quick(options));
    assert_eq!(nobody.login("x.y.z").await, Err(unavailable()));
    let wrong = Desk::new("not a URL", |_, _| {});
    assert_eq!(wrong.login("x.y.z").await, Err(unavailable()), "it is the tenant's fault, not the device's");
}

#[tokio::test]
async fn keys_are_fetched_anew_before_they_are_too_old() {
    let issuer = Issuer::start().await;
    issuer.set_cache_control("max-age=0");
    let desk = Desk::new(&issuer.url(), |options, _| options.age_min = Duration::from_millis(20));
    let token = issuer.token("first", "ada");
    desk.user(&token).await;
    issuer.add("second");
    issuer.remove("first");
    // No token names the newer key: the older one goes away by itself.
    desk.until("the older key to go", &token, |judged| *judged == Err(refused())).await;

    let kept = Issuer::start().await;
    kept.set_cache_control("max-age=0");
    let patient = Desk::new(&kept.url(), |_, _| {});
    patient.user(&kept.token("first", "ada")).await;
    desk.until("time to pass", &token, |_| issuer.fetched() >= 20).await;
    assert_eq!(kept.fetched(), 1, "not more often than once a minute, whatever the provider says");
}

#[tokio::test]
async fn keys_may_have_a_url_of_their_own_and_tenants_share_them() {
    let issuer = Issuer::start().await;
    issuer.set(Mood::Description(b"none".to_vec()));
    let keys = format!("{}/keys", issuer.url());
    let desk = Desk::new(&issuer.url(), |_, way| way.jwks_url = keys);
    let logins = (0..50).map(|_| desk.login("x.y.z"));
    futures_util::future::join_all(logins).await;
    assert_eq!(desk.user(&issuer.token("first", "ada")).await, "ada");
    assert_eq!(issuer.fetched(), 1, "all waited for the same fetch");
}

/// A description that came by TLS does not lead to keys that anybody on the way could change.
#[tokio::test]
async fn keys_are_not_fetched_in_the_clear_when_the_provider_is_asked_by_tls() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = develop::open(folder.path(), &[], Clock::new().now().wall).expect("a certificate");
    let certificate = Arc::new(Certificate::load(made.files).expect("a certificate"));
    let front = Receiver::start_tls(Acceptor::new(certificate, &[b"http/1.1"]).expect("an acceptor")).await;
    let issuer = Issuer::start().await;
    let name = front.url("");
    let mut claims = issuer.claims("ada");
    claims["iss"] = json!(name);
    let token = issuer.signed("first", &claims);
    let trust = hook::Options { ca: Some(made.ca), ..hook::Options::default() };
    for (keys, good) in [(format!("{}/keys", issuer.url()), false), (front.url("/keys"), true)] {
        let desk = Desk::trusting(&trust, &name, |options, _| quick(options));
        let description = json!({"issuer": name, "jwks_uri": keys}).to_string();
        front.reply([(200, Vec::new(), description.into_bytes()), (200, Vec::new(), issuer.published())]);
        assert_eq!(desk.login(&token).await.is_ok(), good, "{keys}");
        desk.drained.cancel();
        desk.tasks.close();
        soon("the end of its fetches", desk.tasks.wait()).await;
        front.forget();
    }
    assert_eq!(issuer.fetched(), 0, "they were not even asked for");
    let stranger = Desk::new(&name, |_, _| {});
    assert_eq!(stranger.login(&token).await, Err(unavailable()), "whose certificate is not trusted");
}

/// P1.16: nothing goes on behind a gateway that has ended.
#[tokio::test]
async fn fetching_ends_with_the_gateway_and_for_a_provider_that_nobody_names() {
    let issuer = Issuer::start().await;
    let desk = Desk::new(&issuer.url(), |_, _| {});
    desk.user(&issuer.token("first", "ada")).await;
    assert_eq!(desk.tasks.len(), 1);
    desk.tasks.close();
    desk.drained.cancel();
    soon("the end of the task", desk.tasks.wait()).await;
    assert_eq!(desk.user(&issuer.token("first", "ada")).await, "ada", "keys that are there still count");

    let idle = Desk::new(&issuer.url(), |options, _| {
        options.age_min = Duration::from_millis(5);
        options.age_default = Duration::from_millis(5);
        options.idle_max = Duration::from_millis(20);
    });
    idle.user(&issuer.token("first", "ada")).await;
    idle.tasks.close();
    soon("the provider to be forgotten", idle.tasks.wait()).await;
    issuer.add("second");
    issuer.remove("first");
    assert_eq!(idle.user(&issuer.token("second", "mia")).await, "mia", "and found again, with the keys it has now");
}

/// The provider of tests/python/issuer.py, which signs with PyJWT.
struct Stock {
    child: Child,
    url: String,
}

impl Stock {
    fn start() -> Self {
        let python =
            std::env::var("PUSHLINE_PYTHON").expect("PUSHLINE_PYTHON: a Python with tests/python/requirements.txt");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/issuer.py");
        let mut child = Command::new(python).arg(script).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("its first line");
        Self { child, url: line.trim().to_owned() }
    }

    async fn ask(&self, path: &str, body: Value) -> String {
        let address = self.url.strip_prefix("http://").expect("a URL").parse().expect("an address");
        let (head, body) = (format!("POST {path}"), body.to_string());
        let reply = soon("an answer", support::http::http(address, &head, &[], body.as_bytes())).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        String::from_utf8(reply.body).expect("text")
    }
}

impl Drop for Stock {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What another library signs is taken, with each algorithm; keys are rotated in between; and what it signs with tricks is
/// not.
#[tokio::test]
#[ignore = "needs PyJWT: .ci/run python"]
async fn p2_8_tokens_of_a_stock_library_are_taken() {
    let stock = Stock::start();
    let all = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];
    let desk = Desk::new(&stock.url, |options, way| {
        quick(options);
        way.algorithms = all.map(str::to_owned).to_vec();
    });
    let mut before = Vec::new();
    for algorithm in all {
        let token = stock.ask("/token", json!({"alg": algorithm, "claims": {"sub": algorithm}})).await;
        assert_eq!(desk.user(&token).await, algorithm);
        before.push(token);
    }
    stock.ask("/rotate", json!({})).await;
    for algorithm in all {
        let token = stock.ask("/token", json!({"alg": algorithm, "claims": {"sub": algorithm}})).await;
        desk.until("the new keys", &token, Result::is_ok).await;
    }
    for token in before {
        assert_eq!(desk.login(&token).await, Err(refused()), "its key is gone");
    }
    for (what, claims) in [
        ("skew beyond the leeway", json!({"exp_in": -90})),
        ("another audience", json!({"aud": "other"})),
        ("several others", json!({"aud": ["other", "third"]})),
        ("another issuer", json!({"iss": "https://evil.example"})),
        ("not yet", json!({"nbf_in": 90})),
    ] {
        let token = stock.ask("/token", json!({"alg": "RS256", "claims": claims})).await;
        assert_eq!(desk.login(&token).await, Err(refused()), "{what}");
    }
    let late = stock.ask("/token", json!({"alg": "RS256", "claims": {"sub": "late", "exp_in": -30}})).await;
    assert_eq!(desk.user(&late).await, "late", "skew within the leeway");
    for trick in ["none", "hs256-public-key", "hs256-jwk", "embedded-jwk", "unsigned", "wrong-kid"] {
        let token = stock.ask("/trick", json!({ "trick": trick })).await;
        assert_eq!(desk.login(&token).await, Err(refused()), "{trick}");
    }
}
