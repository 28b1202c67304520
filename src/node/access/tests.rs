//! Tenants, keys and the audit log of a node with a real store.

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use super::Credential;
use super::kept::Kept;
use super::keys::{KEYS_MAX, Key, NewKey};
use crate::auth::{ApiKey, Authority, SecretHash};
use crate::metrics::Metrics;
use crate::model::access::{Caller, Scope, Scopes};
use crate::model::audit::{Action, Actor};
use crate::model::clock::{Clock, Timestamp};
use crate::model::fault::{Code, Fault};
use crate::model::id::{KeyId, TenantId, TopicName};
use crate::model::tenant::{BusinessLogin, JwtLogin, Limits, LoginWays};
use crate::node::cores::Cores;
use crate::node::{Node, Options};
use crate::store::{self, Record, Recorded, Shelf};

const CONFIGURED: &str = "0123456789abcdef0123456789abcdef";

/// A node that has read its records, with a key of the tenant `shop` in its configuration.
async fn node(folder: &Path) -> Node {
    let options = store::open::Options { data: folder.join("store"), ..store::open::Options::default() };
    let (store, metrics) = (store::open::open(&options).unwrap(), Arc::new(Metrics::new()));
    let cores = Cores::start(1, &metrics).unwrap();
    let mut authority = Authority::open(&folder.join("auth")).unwrap();
    authority.accept(&ApiKey::parse(&format!("shop:{CONFIGURED}")).unwrap()).unwrap();
    let node = Node::new(Options::default(), Clock::new(), authority, store, metrics, &cores);
    node.load().await.unwrap();
    node
}

async fn restarted(node: Node, folder: &Path) -> Node {
    node.close().await.unwrap();
    drop(node);
    self::node(folder).await
}

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

fn new_key() -> NewKey {
    NewKey { scopes: Scopes::of([Scope::Push]), ttl: None, note: "of the orders".to_owned(), certificate: None }
}

fn code<T>(answer: Result<T, Fault>) -> Option<Code> {
    answer.err().map(|fault| fault.code)
}

fn caller(node: &Node, key: &str) -> Result<Caller, Code> {
    node.caller(Credential::Key(key)).map_err(|fault| fault.code)
}

fn ids(node: &Node, of: &str) -> Vec<String> {
    node.keys(&tenant(of)).unwrap().iter().map(|key| key.id.to_string()).collect()
}

async fn create(node: &Node, name: &str) {
    node.create_tenant(&tenant(name), Limits::default(), LoginWays::default(), Actor::Admin).await.unwrap();
}

/// What was done to a tenant: actions and objects, oldest first.
async fn told(node: &Node, of: Option<&str>) -> Vec<String> {
    let page = node.audit(of.map(tenant).as_ref(), 0, 1_000).await.unwrap();
    page.events.iter().map(|(_, event)| format!("{} {}", event.action.as_str(), event.object)).collect()
}

#[tokio::test]
async fn a_key_is_good_from_its_making_to_its_removal_and_over_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let node = node(folder.path()).await;
    create(&node, "bank").await;
    let (key, secret) = node.create_key(&tenant("bank"), new_key(), Actor::Admin).await.unwrap();
    assert!(secret.starts_with(&format!("plk_{}_", key.id)));
    let expected = Caller { tenant: tenant("bank"), key: key.id.clone(), scopes: Scopes::of([Scope::Push]) };
    assert_eq!(caller(&node, &secret), Ok(expected.clone()));
    let node = restarted(node, folder.path()).await;
    assert_eq!(caller(&node, &secret), Ok(expected));
    assert_eq!(node.keys(&tenant("bank")).unwrap(), std::slice::from_ref(&key));
    assert_eq!(code(node.keys(&tenant("nobody"))), Some(Code::TenantNotFound));
    // Another tenant can neither see nor touch it.
    assert_eq!(ids(&node, "default"), ["own"]);
    assert_eq!(node.remove_key(&tenant("default"), &key.id, Actor::Admin).await, Ok(false));
    let rotated = node.rotate_key(&tenant("default"), &key.id, Duration::ZERO, Actor::Admin).await;
    assert_eq!(code(rotated), Some(Code::KeyNotFound));
    assert_eq!(node.remove_key(&tenant("bank"), &key.id, Actor::Admin).await, Ok(true));
    assert_eq!(caller(&node, &secret), Err(Code::InvalidCredentials));
    assert_eq!(node.remove_key(&tenant("bank"), &key.id, Actor::Admin).await, Ok(false));
    let node = restarted(node, folder.path()).await;
    assert_eq!(caller(&node, &secret), Err(Code::InvalidCredentials));
    let object = format!("key:{}", key.id);
    let all = ["tenant.created tenant".to_owned(), format!("key.created {object}"), format!("key.removed {object}")];
    assert_eq!(told(&node, Some("bank")).await, all);
}

#[tokio::test]
async fn the_old_secret_is_good_for_the_overlap_of_a_rotation() {
    let folder = tempfile::tempdir().unwrap();
    let node = node(folder.path()).await;
    let shop = tenant("default");
    let (key, first) = node.create_key(&shop, new_key(), Actor::Admin).await.unwrap();
    let hour = Duration::from_secs(3600);
    let (rotated, second) = node.rotate_key(&shop, &key.id, hour, Actor::Admin).await.unwrap();
    assert!(rotated.old_secret_until.is_some() && first != second);
    let node = restarted(node, folder.path()).await;
    for secret in [&first, &second] {
        assert_eq!(caller(&node, secret).map(|caller| caller.key), Ok(key.id.clone()));
    }
    let (rotated, third) = node.rotate_key(&shop, &key.id, Duration::ZERO, Actor::Admin).await.unwrap();
    assert_eq!(rotated.old_secret_until, None);
    for secret in [&first, &second] {
        assert_eq!(caller(&node, secret), Err(Code::InvalidCredentials));
    }
    assert!(caller(&node, &third).is_ok());
    let month = Duration::from_secs(31 * 86_400);
    assert_eq!(code(node.rotate_key(&shop, &key.id, month, Actor::Admin).await), Some(Code::InvalidOption));
}

#[tokio::test]
async fn a_key_that_has_expired_is_refused_and_says_so_to_its_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let node = node(folder.path()).await;
    let ttl = Some(Duration::from_secs(60));
    let (key, secret) = node.create_key(&tenant("shop"), NewKey { ttl, ..new_key() }, Actor::Admin).await.unwrap();
    assert!(caller(&node, &secret).is_ok());
    // As if it had been made an hour ago.
    let hour = Duration::from_secs(3600);
    let key = Key { created_at: key.created_at - hour, expires_at: key.expires_at.map(|at| at - hour), ..key };
    let hash = Some(SecretHash::of(&secret));
    let kept = Kept { key, secret: hash, old_secret: None, version: 2 };
    let record = Some(Record { value: kept.write(), version: 2, until: None });
    let name = Kept::name(&kept.key.tenant, &kept.key.id);
    node.access.recorded(vec![Recorded { shelf: Shelf::Keys, name, record }]);
    let fault = node.caller(Credential::Key(&secret)).unwrap_err();
    assert!(fault.code == Code::InvalidCredentials && fault.to_string().contains("expired"), "{fault}");
    let fault = node.caller(Credential::Key(&format!("{}x", &secret[..secret.len() - 1]))).unwrap_err();
    assert!(fault.code == Code::InvalidCredentials && !fault.to_string().contains("expired"), "{fault}");
}

#[tokio::test]
async fn who_came_in_with_a_key_goes_on_until_the_key_or_the_tenant_may_not() {
    let folder = tempfile::tempdir().unwrap();
    let node = node(folder.path()).await;
    let shop = tenant("shop");
    let (key, secret) = node.create_key(&shop, new_key(), Actor::Admin).await.unwrap();
    let callers = [caller(&node, &secret).unwrap(), caller(&node, CONFIGURED).unwrap()];
    let check = |node: &Node| callers.each_ref().map(|caller| code(node.recheck_caller(caller)));
    assert_eq!(check(&node), [None, None]);
    node.suspend_tenant(&shop, true, Actor::Admin).await.unwrap();
    assert_eq!(check(&node), [Some(Code::TenantSuspended), Some(Code::TenantSuspended)]);
    node.suspend_tenant(&shop, false, Actor::Admin).await.unwrap();
    assert_eq!(check(&node), [None, None]);
    node.remove_key(&shop, &key.id, Actor::Admin).await.unwrap();
    assert_eq!(check(&node), [Some(Code::InvalidCredentials), None]);
}

#[tokio::test]
async fn refusals_tell_nothing_of_which_keys_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let node = node(folder.path()).await;
    let (key, secret) = node.create_key(&tenant("shop"), new_key(), Actor::Admin).await.unwrap();
    let words = |text: &str| node.caller(Credential::Key(text)).unwrap_err().to_string();
    let unknown = words(&format!("plk_0000000000000000_{}", "A".repeat(43)));
    assert_eq!(words(&format!("plk_{}_{}", key.id, "A".repeat(43))), unknown);
    let cases = ["plk_", "x", &secret[1..], &format!("{secret}x"), &"x".repeat(257), "é\0"];
    for wrong in cases {
        assert_eq!(words(wrong), unknown, "{wrong:?}");
    }
    let with_tenant = words(&format!("shop:{secret}"));
    assert!(with_tenant.contains("behind the colon") && !with_tenant.contains(&secret), "{with_tenant}");
    assert_eq!(caller(&node, ""), Err(Code::MissingCredentials));
    assert_eq!(code(node.caller(Credential::None)), Some(Code::MissingCredentials));
    let admin = node.authority.admin_key().secret().to_owned();
    assert_eq!(caller(&node, &admin), Err(Code::InvalidCredentials), "the admin is no backend");
}

#[tokio::test]
async fn the_admin_key_is_the_admins_only() {
    let folder = tempfile::tempdir().unwrap();
    let node = node(folder.path()).await;
    let file = std::fs::read_to_string(folder.path().join("auth/admin-key")).unwrap();
    assert_eq!(node.check_admin(file.trim_end()), Ok(()));
    assert_eq!(code(node.check_admin("")), Some(Code::MissingCredentials));
    let own = node.authority.own_key().secret().to_owned();
    for wrong in [own.as_str(), CONFIGURED, &format!("{file} "), &"x".repeat(257)] {
        let fault = node.check_admin(wrong).unwrap_err();
        assert!(fault.code == Code::InvalidCredentials && !fault.to_string().contains(wrong), "{fault}");
    }
}

#[tokio::test]
async fn fixed_keys_are_listed_and_not_changed_here() {
    let folder = tempfile::tempdir().unwrap();
    let node = node(folder.path()).await;
    let configured = Caller { tenant: tenant("shop"), key: KeyId::new("config-1").unwrap(), scopes: Scopes::ALL };
    assert_eq!(caller(&node, CONFIGURED), Ok(configured));
    let own = node.authority.own_key().secret().to_owned();
    assert_eq!(caller(&node, &own).map(|caller| caller.key.to_string()), Ok("own".to_owned()));
    let (key, _) = node.create_key(&tenant("shop"), new_key(), Actor::Admin).await.unwrap();
    assert_eq!(ids(&node, "shop"), ["config-1".to_owned(), key.id.to_string()], "fixed ones first");
    assert!(node.keys(&tenant("shop")).unwrap()[0].fixed);
    for (of, id) in [("shop", "config-1"), ("default", "own")] {
        let id = KeyId::new(id).unwrap();
        assert_eq!(code(node.remove_key(&tenant(of), &id, Actor::Admin).await), Some(Code::KeyNotFound));
        let rotated = node.rotate_key(&tenant(of), &id, Duration::ZERO, Actor::Admin).await;
        assert_eq!(code(rotated), Some(Code::KeyNotFound));
    }
}

#[tokio::test]
async fn a_certificate_stands_for_one_key() {
    let folder = tempfile::tempdir().unwrap();
    let node = node(folder.path()).await;
    create(&node, "bank").await;
    let (bank, shop, certificate) = (tenant("bank"), tenant("shop"), [7; 32]);
    let new = || NewKey { certificate: Some(certificate), ..new_key() };
    assert_eq!(code(node.caller(Credential::Certificate(&certificate))), Some(Code::InvalidCredentials));
    // Both at once: neither sees the other's in memory yet.
    let (one, two) =
        tokio::join!(node.create_key(&bank, new(), Actor::Admin), node.create_key(&shop, new(), Actor::Admin));
    let mut made = Vec::new();
    for answer in [one, two] {
        match answer {
            Ok((key, secret)) => made.push((key, secret)),
            Err(fault) => assert_eq!(fault.code, Code::InvalidOption, "{fault}"),
        }
    }
    let [(key, secret)] = &made[..] else { panic!("{} keys were made", made.len()) };
    assert_eq!((secret.as_str(), key.certificate), ("", Some(certificate)));
    let called = node.caller(Credential::Certificate(&certificate)).unwrap();
    assert_eq!((&called.tenant, &called.key), (&key.tenant, &key.id));
    assert_eq!(code(node.create_key(&shop, new(), Actor::Admin).await), Some(Code::InvalidOption));
    let rotated = node.rotate_key(&key.tenant, &key.id, Duration::ZERO, Actor::Admin).await;
    assert_eq!(code(rotated), Some(Code::InvalidOption));
    let node = restarted(node, folder.path()).await;
    assert!(node.caller(Credential::Certificate(&certificate)).is_ok());
    assert_eq!(node.remove_key(&key.tenant, &key.id, Actor::Admin).await, Ok(true));
    assert_eq!(code(node.caller(Credential::Certificate(&certificate))), Some(Code::InvalidCredentials));
    assert!(node.create_key(&bank, new(), Actor::Admin).await.is_ok());
}

#[tokio::test]
async fn what_makes_no_key_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let node = node(folder.path()).await;
    let shop = tenant("shop");
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    for new in [
        NewKey { scopes: Scopes::of([]), ..new_key() },
        NewKey { note: "x".repeat(257), ..new_key() },
        NewKey { ttl: seconds(59), ..new_key() },
        NewKey { ttl: seconds(315_360_001), ..new_key() },
    ] {
        assert_eq!(code(node.create_key(&shop, new.clone(), Actor::Admin).await), Some(Code::InvalidOption), "{new:?}");
    }
    assert_eq!(code(node.create_key(&tenant("nobody"), new_key(), Actor::Admin).await), Some(Code::TenantNotFound));
    for _ in 0..KEYS_MAX {
        node.create_key(&shop, new_key(), Actor::Admin).await.unwrap();
    }
    assert_eq!(code(node.create_key(&shop, new_key(), Actor::Admin).await), Some(Code::TooManyRecords));
}

#[tokio::test]
async fn a_tenant_with_a_key_outlives_its_place_in_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let node = node(folder.path()).await;
    let shop = tenant("shop");
    assert!(node.tenant(&shop).unwrap().implicit);
    let (_, secret) = node.create_key(&shop, new_key(), Actor::Admin).await.unwrap();
    assert!(!node.tenant(&shop).unwrap().implicit);
    node.close().await.unwrap();
    drop(node);
    let options = store::open::Options { data: folder.path().join("store"), ..store::open::Options::default() };
    let (store, metrics) = (store::open::open(&options).unwrap(), Arc::new(Metrics::new()));
    let cores = Cores::start(1, &metrics).unwrap();
    let authority = Authority::open(&folder.path().join("auth")).unwrap();
    let node = Node::new(Options::default(), Clock::new(), authority, store, metrics, &cores);
    node.load().await.unwrap();
    assert_eq!(caller(&node, CONFIGURED), Err(Code::InvalidCredentials));
    assert_eq!(caller(&node, &secret).map(|caller| caller.tenant), Ok(shop.clone()));
    assert_eq!(node.keys(&shop).unwrap().len(), 1);
}

#[tokio::test]
async fn a_suspended_tenant_is_refused_at_once_and_after_a_restart_until_it_may_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let node = node(folder.path()).await;
    let shop = tenant("shop");
    let (_, secret) = node.create_key(&shop, new_key(), Actor::Admin).await.unwrap();
    let certificate = NewKey { certificate: Some([1; 32]), ..new_key() };
    node.create_key(&shop, certificate, Actor::Admin).await.unwrap();
    assert!(node.suspend_tenant(&shop, true, Actor::Admin).await.unwrap().tenant.suspended);
    let refused = Some(Code::TenantSuspended);
    let check = |node: &Node, expected| {
        assert_eq!(code(node.caller(Credential::Key(&secret))), expected);
        assert_eq!(code(node.caller(Credential::Key(CONFIGURED))), expected);
        assert_eq!(code(node.caller(Credential::Certificate(&[1; 32]))), expected);
        let own = node.authority.own_key().secret();
        assert_eq!(code(node.caller(Credential::Key(own))), None, "others are not concerned");
    };
    check(&node, refused);
    let node = restarted(node, folder.path()).await;
    check(&node, refused);
    let version = node.tenant(&shop).unwrap().version;
    assert_eq!(node.suspend_tenant(&shop, true, Actor::Admin).await.unwrap().version, version, "it is suspended");
    node.suspend_tenant(&shop, false, Actor::Admin).await.unwrap();
    check(&node, None);
    assert_eq!(code(node.suspend_tenant(&tenant("nobody"), true, Actor::Admin).await), Some(Code::TenantNotFound));
    let told = told(&node, Some("shop")).await;
    assert_eq!(told[3..], ["tenant.suspended tenant", "tenant.resumed tenant"], "what changes nothing is not told");
}

#[tokio::test]
async fn tenants_are_made_changed_and_listed() {
    let folder = tempfile::tempdir().unwrap();
    let node = node(folder.path()).await;
    let bank = tenant("bank");
    create(&node, "bank").await;
    let again = node.create_tenant(&bank, Limits::default(), LoginWays::default(), Actor::Admin).await;
    assert_eq!(code(again), Some(Code::TenantExists));
    for (name, expected) in [("shop", Code::TenantExists), ("default", Code::TenantExists), ("_own", Code::InvalidName)]
    {
        let made = node.create_tenant(&tenant(name), Limits::default(), LoginWays::default(), Actor::Admin).await;
        assert_eq!(code(made), Some(expected), "{name}");
    }
    let limits = Limits { topics: Some(3), ..Limits::default() };
    let changed = node.update_tenant(&bank, Some(limits.clone()), None, 1, Actor::Admin).await.unwrap();
    assert_eq!((&changed.tenant.limits, changed.version), (&limits, 2));
    let ways = LoginWays { device_key: true, ..LoginWays::default() };
    let stale = node.update_tenant(&bank, None, Some(ways.clone()), 1, Actor::Admin).await;
    assert_eq!(code(stale), Some(Code::StaleVersion));
    let changed = node.update_tenant(&bank, None, Some(ways.clone()), 0, Actor::Admin).await.unwrap();
    assert_eq!((&changed.tenant.limits, &changed.tenant.login, changed.version), (&limits, &ways, 3));
    let bad = Limits { ttl_seconds: Some(0), ..Limits::default() };
    assert_eq!(code(node.update_tenant(&bank, Some(bad), None, 0, Actor::Admin).await), Some(Code::InvalidOption));
    let audiences = vec!["\u{1}".repeat(2_048); 16];
    let issuer = "https://id.example".to_owned();
    let jwt = Some(JwtLogin { issuer, audiences, ..JwtLogin::default() });
    let long = LoginWays { jwt, ..LoginWays::default() };
    assert_eq!(code(node.update_tenant(&bank, None, Some(long), 0, Actor::Admin).await), Some(Code::InvalidOption));
    let nobody = node.update_tenant(&tenant("nobody"), None, None, 0, Actor::Admin).await;
    assert_eq!(code(nobody), Some(Code::TenantNotFound));
    let node = restarted(node, folder.path()).await;
    assert_eq!(node.tenant(&bank).unwrap(), changed);
    let (page, more) = node.tenants(None, 2);
    let names: Vec<_> = page.iter().map(|named| (named.name.as_str(), named.implicit)).collect();
    assert_eq!((names, more), (vec![("bank", false), ("default", true)], true));
    let (page, more) = node.tenants(Some(&tenant("default")), 2);
    assert_eq!((page.len(), page[0].name.as_str(), more), (1, "shop", false));
}

#[tokio::test]
async fn the_store_keeps_to_the_limits_of_a_tenant_from_its_change_and_from_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let node = node(folder.path()).await;
    let shop = tenant("shop");
    let topics = |most| Some(Limits { topics: Some(most), ..Limits::default() });
    let set = async |node: &Node, topic: &str| {
        let topic = TopicName::new(topic).unwrap();
        node.store.set_topic(&shop, &topic, true).await
    };
    node.update_tenant(&shop, topics(1), None, 0, Actor::Admin).await.unwrap();
    assert_eq!(set(&node, "a").await, Ok(()));
    assert!(matches!(set(&node, "b").await, Err(store::Error::TenantQuota(..))));
    let node = restarted(node, folder.path()).await;
    assert!(matches!(set(&node, "b").await, Err(store::Error::TenantQuota(..))));
    node.update_tenant(&shop, topics(2), None, 0, Actor::Admin).await.unwrap();
    assert_eq!(set(&node, "b").await, Ok(()));
    {
        // Whoever asks is gone before the answer.
        let mut asked = pin!(node.update_tenant(&shop, Some(Limits::default()), None, 0, Actor::Admin));
        let _ = asked.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }
    node.tasks.close();
    node.tasks.wait().await;
    assert_eq!(set(&node, "c").await, Ok(()));
}

#[tokio::test]
async fn changes_at_the_same_time_are_all_made() {
    let folder = tempfile::tempdir().unwrap();
    let node = node(folder.path()).await;
    create(&node, "bank").await;
    let bank = tenant("bank");
    let limits = Limits { topics: Some(3), ..Limits::default() };
    let ways = LoginWays { device_key: true, ..LoginWays::default() };
    let (one, two, three) = tokio::join!(
        node.update_tenant(&bank, Some(limits.clone()), None, 0, Actor::Admin),
        node.update_tenant(&bank, None, Some(ways.clone()), 0, Actor::Admin),
        node.suspend_tenant(&bank, true, Actor::Admin),
    );
    assert!([&one, &two, &three].into_iter().all(Result::is_ok), "{one:?} {two:?} {three:?}");
    let now = node.tenant(&bank).unwrap();
    assert_eq!((now.tenant.limits, now.tenant.login, now.tenant.suspended, now.version), (limits, ways, true, 4));
}

#[tokio::test]
async fn the_secret_of_a_business_login_is_shown_when_it_is_made_and_never_again() {
    let folder = tempfile::tempdir().unwrap();
    let node = node(folder.path()).await;
    let bank = tenant("bank");
    let business = |url: &str, secret: &str| {
        let business = BusinessLogin { url: url.to_owned(), secret: secret.to_owned(), timeout_ms: 0 };
        LoginWays { business: Some(business), ..LoginWays::default() }
    };
    let secret = |named: super::tenants::Named| named.tenant.login.business.unwrap().secret;
    let ways = business("https://bank.example/login", "");
    let made = secret(node.create_tenant(&bank, Limits::default(), ways, Actor::Admin).await.unwrap());
    assert!(made.starts_with("whsec_"));
    assert_eq!(secret(node.tenant(&bank).unwrap()), "");
    assert_eq!(secret(node.tenants(None, 1).0.remove(0)), "");
    let moved = business("https://other.example/login", "");
    assert_eq!(secret(node.update_tenant(&bank, None, Some(moved), 0, Actor::Admin).await.unwrap()), "");
    let kept = node.access.rules(&bank).tenant.login.business.clone().unwrap();
    assert_eq!((kept.secret.as_str(), kept.url.as_str()), (made.as_str(), "https://other.example/login"));
    let given = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
    let changed = business("https://other.example/login", given);
    assert_eq!(secret(node.update_tenant(&bank, None, Some(changed), 0, Actor::Admin).await.unwrap()), given);
    let page = node.audit(None, 0, 100).await.unwrap();
    let words = format!("{page:?} {:?} {:?}", node.tenant(&bank), node.access);
    assert!(!words.contains("whsec_") && page.events.len() == 3, "{words}");
    assert_eq!(page.events[1].1.details["login.business.url"], "https://bank.example -> https://other.example");
}

#[tokio::test]
async fn the_audit_log_tells_each_tenant_its_own_and_the_operator_all() {
    let folder = tempfile::tempdir().unwrap();
    let node = node(folder.path()).await;
    create(&node, "bank").await;
    let by = Actor::Key(KeyId::new("own").unwrap());
    let (key, secret) = node.create_key(&tenant("default"), new_key(), by.clone()).await.unwrap();
    let mut event =
        node.audit_event(&tenant("bank"), Actor::Gateway, Action::WebhookChanged, "webhook:receipts".to_owned());
    event.details.insert("url".to_owned(), "https://bank.example".to_owned());
    node.note_audit(event.clone()).await.unwrap();
    let node = restarted(node, folder.path()).await;
    assert_eq!(told(&node, Some("bank")).await, ["tenant.created tenant", "webhook.changed webhook:receipts"]);
    let object = format!("key:{}", key.id);
    assert_eq!(
        told(&node, Some("default")).await,
        ["tenant.created tenant".to_owned(), format!("key.created {object}")]
    );
    assert_eq!((told(&node, Some("shop")).await.len(), told(&node, None).await.len()), (0, 4));
    let page = node.audit(None, 2, 1).await.unwrap();
    assert_eq!((page.position, page.last, page.missed, page.events.len()), (3, 4, 0, 1));
    let (position, told) = &page.events[0];
    assert_eq!((*position, &told.actor, &told.object), (3, &by, &object));
    assert!(told.at > Timestamp::ZERO && told.details["scopes"] == "push");
    assert!(!format!("{page:?}").contains(&secret));
    assert_eq!(node.audit(None, 3, 9).await.unwrap().events, [(4, event)]);
    assert_eq!(node.audit(None, 9, 9).await.unwrap().position, 4, "it never tells of more than there is");
}
