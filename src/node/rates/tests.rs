//! Who is held against which rate, and who pays for whom.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{Limited, network, too_fast};
use crate::auth::Authority;
use crate::metrics::Metrics;
use crate::model::access::{Caller, Scopes};
use crate::model::clock::Clock;
use crate::model::fault::{Code, Fault};
use crate::model::id::{DeviceId, KeyId, Receiver, TenantId, UserId};
use crate::model::tenant::{Limits, Rate, Tenant};
use crate::node::cores::Cores;
use crate::node::hub::Bounds;
use crate::node::{Node, Options};
use crate::rate;
use crate::store::{self, Record, Recorded, Shelf};

/// One that does not come back while a test runs.
fn scarce(burst: u32) -> Option<Rate> {
    Rate::parse(&format!("1/day burst {burst}"))
}

/// A node with as much of everything; its store does nothing here.
fn node(folder: &Path, rate: Option<Rate>) -> Node {
    let store = store::open::open(&store::open::Options { data: folder.join("store"), ..Default::default() });
    let (authority, metrics) = (Authority::open(&folder.join("auth")).unwrap(), Arc::new(Metrics::new()));
    let cores = Cores::start(1, &metrics).unwrap();
    let rates = rate::Options {
        calls_per_key: rate,
        pushes_per_tenant: rate,
        requests_per_user: rate,
        requests_per_device: rate,
        logins_per_user: rate,
        logins_per_address: rate,
    };
    Node::new(Options { rates, ..Options::default() }, Clock::new(), authority, store.unwrap(), metrics, &cores)
}

/// The tenant's bounds are these from now on.
fn limit(node: &Node, name: &str, limits: Limits) {
    let value = serde_json::to_vec(&Tenant { limits, ..Tenant::default() }).unwrap().into();
    let record = Some(Record { value, version: 1, until: None });
    node.access.recorded(vec![Recorded { shelf: Shelf::Tenants, name: name.to_owned(), record }]);
}

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

fn receiver(of: &str, user: &str, device: &str) -> Receiver {
    Receiver { tenant: tenant(of), user: UserId::new(user).unwrap(), device: DeviceId::new(device).unwrap() }
}

/// How many go through, of very many.
fn through(mut admit: impl FnMut() -> Result<(), Fault>) -> usize {
    let mut through = 0;
    while through < 100 {
        match admit() {
            Ok(()) => through += 1,
            Err(fault) => {
                assert!(
                    fault.code == Code::RateLimited && fault.retry_after > Some(Duration::from_secs(3_600)),
                    "{fault}"
                );
                break;
            }
        }
    }
    through
}

fn calls(node: &Node, of: &str, key: &str) -> usize {
    let caller = Caller { tenant: tenant(of), key: KeyId::new(key).unwrap(), scopes: Scopes::ALL };
    through(|| node.admit_call(&caller, "/v1/push"))
}

fn pushes(node: &Node, of: &str) -> usize {
    through(|| node.admit_push(&tenant(of), node.clock.now().moment))
}

fn requests(node: &Node, of: &str, user: &str, device: &str) -> usize {
    through(|| node.admit_request(&receiver(of, user, device), node.clock.now().moment))
}

fn logins(node: &Node, of: &str, who: &str, from: &str) -> usize {
    through(|| node.admit_login(&tenant(of), who, from.parse().unwrap()))
}

#[tokio::test]
async fn without_a_rate_all_goes_through() {
    let folder = tempfile::tempdir().unwrap();
    let node = node(folder.path(), None);
    assert_eq!((calls(&node, "shop", "k"), pushes(&node, "shop")), (100, 100));
    assert_eq!((requests(&node, "shop", "u", "d"), logins(&node, "shop", "u", "::1")), (100, 100));
}

#[tokio::test]
async fn each_has_a_bucket_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let node = node(folder.path(), scarce(3));
    for (of, key) in [("shop", "k"), ("shop", "l"), ("bank", "k")] {
        assert_eq!((calls(&node, of, key), calls(&node, of, key)), (3, 0));
    }
    assert_eq!((pushes(&node, "shop"), pushes(&node, "shop"), pushes(&node, "bank")), (3, 0, 3));
    // What a device is refused takes nothing from its user, who has as much as one device.
    for user in ["ada", "bob"] {
        assert_eq!((requests(&node, "shop", user, "phone"), requests(&node, "shop", user, "laptop")), (3, 0));
    }
    assert_eq!(requests(&node, "bank", "ada", "phone"), 3);
}

#[tokio::test]
async fn who_is_stopped_by_address_takes_nothing_from_users() {
    let folder = tempfile::tempdir().unwrap();
    let node = node(folder.path(), scarce(3));
    assert_eq!(logins(&node, "shop", "ada", "192.0.2.1"), 3);
    assert_eq!(logins(&node, "shop", "bob", "192.0.2.1"), 0, "the address is at its end, for whomever");
    assert_eq!(logins(&node, "bank", "bob", "192.0.2.1"), 0, "and for whichever tenant");
    assert_eq!(logins(&node, "shop", "bob", "192.0.2.2"), 3, "bob has lost nothing");
    assert_eq!(logins(&node, "shop", "ada", "192.0.2.3"), 0, "ada has, wherever she comes from");
}

#[tokio::test]
async fn those_who_do_not_exist_are_answered_as_those_who_do() {
    let folder = tempfile::tempdir().unwrap();
    let node = node(folder.path(), scarce(1));
    limit(&node, "shop", Limits::default());
    let refused = |of: &str, [first, second]: [&str; 2]| {
        assert_eq!(logins(&node, of, "ada", first), 1);
        let fault = node.admit_login(&tenant(of), "ada", second.parse().unwrap()).unwrap_err();
        (fault.code, fault.words.split("after").next().unwrap().to_owned())
    };
    let (known, unknown) = (["192.0.2.1", "192.0.2.2"], ["192.0.2.3", "192.0.2.4"]);
    assert_eq!(refused("shop", known), refused("nobody", unknown));
}

#[tokio::test]
async fn a_tenant_has_bounds_of_its_own_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let node = node(folder.path(), scarce(3));
    let limits = |rate| Limits {
        calls_per_key: rate,
        pushes: rate,
        requests_per_user: rate,
        requests_per_device: rate,
        logins_per_user: rate,
        ..Limits::default()
    };
    limit(&node, "shop", limits(scarce(1)));
    assert_eq!((calls(&node, "shop", "k"), pushes(&node, "shop"), requests(&node, "shop", "u", "d")), (1, 1, 1));
    assert_eq!((calls(&node, "bank", "k"), pushes(&node, "bank"), requests(&node, "bank", "u", "d")), (3, 3, 3));
    assert_eq!(logins(&node, "shop", "u", "192.0.2.1"), 1);
    assert_eq!(logins(&node, "bank", "u", "192.0.2.2"), 3);
    // More than the gateway's own: what was taken stays taken.
    limit(&node, "shop", limits(scarce(5)));
    assert_eq!((calls(&node, "shop", "k"), pushes(&node, "shop"), requests(&node, "shop", "u", "d")), (4, 4, 4));
    // None: the gateway's own hold.
    limit(&node, "shop", Limits::default());
    assert_eq!((calls(&node, "shop", "k"), calls(&node, "shop", "l")), (0, 3));
}

#[tokio::test]
async fn connections_and_lives_are_bounded_by_the_tenant() {
    let folder = tempfile::tempdir().unwrap();
    let node = node(folder.path(), None);
    let person = receiver("shop", "ada", "phone");
    assert_eq!(node.bounds_of(&person), Bounds::default());
    assert_eq!(node.ttl_max(&person.tenant), node.limits.ttl_max);
    let limits =
        Limits { connections: Some(9), connections_per_user: Some(2), ttl_seconds: Some(60), ..Limits::default() };
    limit(&node, "shop", limits);
    assert_eq!(node.bounds_of(&person), Bounds { of_tenant: Some(9), of_user: Some(2), viewers: None });
    assert_eq!(node.ttl_max(&person.tenant), Duration::from_secs(60));
    assert_eq!(node.bounds_of(&receiver("bank", "ada", "phone")), Bounds::default());
}

#[test]
fn an_address_is_what_one_subscriber_has() {
    let network = |address: &str| network(address.parse::<IpAddr>().unwrap());
    assert_eq!(network("192.0.2.7"), network("::ffff:192.0.2.7"));
    assert_ne!(network("192.0.2.7"), network("192.0.2.8"));
    assert_eq!(network("2001:db8:1:2::7"), network("2001:db8:1:2:ffff::8"));
    assert_ne!(network("2001:db8:1:2::7"), network("2001:db8:1:3::7"));
}

#[test]
fn the_refusal_says_what_may_come_and_when_to_come_back() {
    let rate = Rate::parse("10/min burst 20").unwrap();
    let fault = too_fast(Limited::UserLogin, rate, Duration::from_micros(5_900_001));
    assert_eq!((fault.code, fault.wait_seconds()), (Code::RateLimited, Some(6)));
    assert!(fault.words.contains("10/min burst 20") && fault.words.contains("5901 ms"), "{fault}");
}
