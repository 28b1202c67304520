//! Who is connected, and whom hints reach.

use std::sync::Arc;

use super::{Bounds, Held, Hub};
use crate::bus::{Hint, Inlet};
use crate::model::access::TokenId;
use crate::model::clock::Timestamp;
use crate::model::close::CloseReason;
use crate::model::fault::Code;
use crate::model::id::{DeviceId, DeviceNumber, MessageId, Receiver, TenantId, TopicName, UserId};
use crate::model::log::{Epoch, LogId, Offset};
use crate::model::message::{Aim, Entry, Exclusion, Urgency};
use crate::model::set::DeviceSet;
use crate::node::access::tokens::Which;
use crate::node::core::Core;
use crate::node::mailbox::Item;

/// A token of no moment.
const HELD: Held = Held { id: None, issued_at: Timestamp::ZERO };

fn receiver(user: &str, device: &str) -> Receiver {
    Receiver {
        tenant: TenantId::new("t").expect("a name"),
        user: UserId::new(user).expect("a name"),
        device: DeviceId::new(device).expect("a name"),
    }
}

/// A hub with one core.
fn hub(connections_max: usize, user_connections_max: u32) -> (Arc<Hub>, Arc<Core>) {
    let core = Arc::new(Core::new(0));
    (Arc::new(Hub::new(vec![Arc::clone(&core)], connections_max, user_connections_max)), core)
}

#[tokio::test]
async fn limits_are_kept_and_places_come_free() {
    let (hub, core) = hub(3, 2);
    let refused = async |user, device| {
        hub.sit(receiver(user, device), &core, HELD, Bounds::default()).await.err().map(|fault| fault.code)
    };
    let one = hub.sit(receiver("u", "1"), &core, HELD, Bounds::default()).await.expect("a free place");
    let two = hub.sit(receiver("u", "2"), &core, HELD, Bounds::default()).await.expect("a free place");
    assert_eq!(refused("u", "3").await, Some(Code::TooManyUserConnections));
    let other = hub.sit(receiver("v", "1"), &core, HELD, Bounds::default()).await.expect("a free place");
    assert_eq!(refused("w", "1").await, Some(Code::TooManyConnections));
    drop((one, other));
    assert_eq!(hub.connected(), 1);
    assert_eq!(refused("u", "3").await, None);
    drop(two);
    assert_eq!(hub.connected(), 0);
    assert!(hub.seats().is_empty());
}

#[tokio::test]
async fn a_tenant_may_have_bounds_of_its_own() {
    let (hub, core) = hub(9, 2);
    let sit = async |tenant, user, device, bounds| {
        let receiver = Receiver { tenant: TenantId::new(tenant).expect("a name"), ..receiver(user, device) };
        hub.sit(receiver, &core, HELD, bounds).await.map_err(|fault| fault.code)
    };
    let three = Bounds { of_tenant: Some(3), of_user: Some(1), viewers: None };
    let one = sit("shop", "u", "1", three).await.expect("a free place");
    assert_eq!(sit("shop", "u", "2", three).await.err(), Some(Code::TooManyUserConnections), "less than the hub's");
    let wide = Bounds { of_user: Some(5), ..three };
    let _two = sit("shop", "u", "2", wide).await.expect("a free place");
    let _three = sit("shop", "u", "3", wide).await.expect("more than the hub's");
    assert_eq!(sit("shop", "v", "1", wide).await.err(), Some(Code::TenantQuota));
    let newer = sit("shop", "u", "1", wide);
    let _other = sit("bank", "v", "1", Bounds::default()).await.expect("another tenant's place");
    drop(one);
    let _newer = newer.await.expect("a place came free");
    assert_eq!(hub.connected(), 4);
}

/// A device that came just before the drain and sits down just after it would never be asked to move.
#[tokio::test]
async fn nobody_sits_down_after_the_drain() {
    let (hub, core) = hub(3, 2);
    let seat = hub.sit(receiver("u", "1"), &core, HELD, Bounds::default()).await.expect("a free place");
    let here: Vec<_> = hub.close_doors().into_iter().map(|(receiver, _)| receiver).collect();
    assert_eq!(here, [receiver("u", "1")]);
    for device in ["1", "2"] {
        let refused =
            hub.sit(receiver("u", device), &core, HELD, Bounds::default()).await.err().map(|fault| fault.code);
        assert_eq!(refused, Some(Code::Draining));
    }
    drop(seat);
    assert_eq!(hub.connected(), 0);
}

/// A newer connection of a device waits for the older one to end, and does not count twice.
#[tokio::test]
async fn a_newer_connection_takes_over() {
    let (hub, core) = hub(1, 1);
    let older = hub.sit(receiver("u", "1"), &core, HELD, Bounds::default()).await.expect("a free place");
    let mailbox = Arc::clone(older.mailbox());
    let newer = tokio::spawn({
        let (hub, core) = (Arc::clone(&hub), Arc::clone(&core));
        async move { hub.sit(receiver("u", "1"), &core, HELD, Bounds::default()).await }
    });
    let order = std::future::poll_fn(|context| mailbox.poll(context)).await;
    assert_eq!(order.len(), 1, "the older one is told");
    assert!(!newer.is_finished());
    drop(older);
    let newer = newer.await.expect("no panic").expect("the place of the older one");
    assert_eq!(hub.connected(), 1);
    drop(newer);
    assert_eq!(hub.connected(), 0);
}

#[tokio::test]
async fn hints_reach_those_who_follow_and_no_others() {
    let (hub, core) = hub(9, 9);
    let log = LogId::Inbox(TenantId::new("t").expect("a name"), UserId::new("u").expect("a name"));
    let hint = Arc::new(Hint::Grown { log: log.clone(), epoch: Epoch(1), last: Offset(1), entry: None });
    let mut one = hub.sit(receiver("u", "1"), &core, HELD, Bounds::default()).await.expect("a free place");
    let mut two = hub.sit(receiver("u", "2"), &core, HELD, Bounds::default()).await.expect("a free place");
    one.follow(log.clone());
    one.follow(log.clone());
    two.follow(log.clone());
    assert_eq!(hub.receive(&[Arc::clone(&hint)]), 2);
    two.unfollow(&log);
    assert_eq!(hub.receive(&[Arc::clone(&hint)]), 1);
    drop(one);
    assert_eq!(hub.receive(&[Arc::clone(&hint)]), 0);
    assert!(hub.reaches.iter().all(|shard| shard.read().expect("no panic").is_empty()), "nothing is left behind");
}

#[tokio::test]
async fn a_hint_goes_once_to_each_core_that_has_followers() {
    let cores: Vec<_> = (0..3).map(|number| Arc::new(Core::new(number))).collect();
    let hub = Arc::new(Hub::new(cores.clone(), 9, 9));
    let log = |user| LogId::Inbox(TenantId::new("t").expect("a name"), UserId::new(user).expect("a name"));
    let grown = |log: LogId| Arc::new(Hint::Grown { log, epoch: Epoch(1), last: Offset(1), entry: None });
    let mut seats = Vec::new();
    for (user, device, core) in [("u", "1", 0), ("u", "2", 2), ("v", "1", 2), ("w", "1", 1)] {
        let mut seat =
            hub.sit(receiver(user, device), &cores[core], HELD, Bounds::default()).await.expect("a free place");
        seat.follow(log(user));
        seats.push(seat);
    }
    assert_eq!(hub.receive(&[grown(log("u")), grown(log("v")), grown(log("x"))]), 3);
    for (core, waiting) in cores.iter().zip([1, 0, 2]) {
        assert_eq!(core.waiting(), waiting, "core {}", core.number);
    }
    seats.remove(0);
    assert_eq!(hub.receive(&[grown(log("u"))]), 1);
    assert_eq!((cores[0].waiting(), cores[2].waiting()), (1, 3));
}

/// An answer that counted the user's other devices would tell a backend that a device is there when it is not.
#[tokio::test]
async fn an_online_only_push_to_a_device_reaches_and_counts_that_device() {
    let (hub, core) = hub(9, 9);
    let log = LogId::Inbox(TenantId::new("t").expect("a name"), UserId::new("u").expect("a name"));
    let mut one = hub.sit(receiver("u", "1"), &core, HELD, Bounds::default()).await.expect("a free place");
    one.follow(log.clone());
    let handed = |device: Option<&str>| {
        let entry = Entry {
            offset: Offset::ZERO,
            id: MessageId::new(1, [0; 10]),
            accepted_at: Timestamp::ZERO,
            expires_at: Timestamp::ZERO,
            urgency: Urgency::Normal,
            device: device.map(|name| DeviceId::new(name).expect("a name")),
            aim: None,
            receipts: true,
            body: bytes::Bytes::new(),
        };
        hub.receive(&[Arc::new(Hint::Online { log: log.clone(), entry })])
    };
    assert_eq!([handed(None), handed(Some("1")), handed(Some("2"))], [1, 1, 0]);
    let mut two = hub.sit(receiver("u", "2"), &core, HELD, Bounds::default()).await.expect("a free place");
    two.follow(log.clone());
    assert_eq!([handed(None), handed(Some("1")), handed(Some("2"))], [2, 1, 1]);
}

fn online(log: LogId, aim: Aim) -> Arc<Hint> {
    let entry = Entry {
        offset: Offset::ZERO,
        id: MessageId::new(1, [0; 10]),
        accepted_at: Timestamp::ZERO,
        expires_at: Timestamp::ZERO,
        urgency: Urgency::Normal,
        device: None,
        aim: Some(Arc::new(aim)),
        receipts: true,
        body: bytes::Bytes::new(),
    };
    Arc::new(Hint::Online { log, entry })
}

/// The same of pushes that are not for all who follow the log.
#[tokio::test]
async fn an_online_only_push_counts_whom_it_is_for() {
    let (hub, core) = hub(9, 9);
    let tenant = TenantId::new("t").expect("a name");
    let (all, topic) = (LogId::Broadcast(tenant.clone()), LogId::Topic(tenant, TopicName::new("a").expect("a name")));
    let mut seats = Vec::new();
    for (number, user, device) in [(1, "u", "1"), (2, "u", "2"), (3, "v", "1")] {
        let mut seat = hub.sit(receiver(user, device), &core, HELD, Bounds::default()).await.expect("a free place");
        seat.known_as(DeviceNumber(number));
        seat.follow(all.clone());
        seats.push(seat);
    }
    seats[0].follow(topic.clone());
    seats[2].follow(topic.clone());
    let exclude = |users: &[(&str, Option<&str>)]| -> Vec<Exclusion> {
        let device = |name: &str| DeviceId::new(name).expect("a name");
        let one = |&(user, only): &(&str, Option<&str>)| Exclusion {
            user: UserId::new(user).expect("a name"),
            device: only.map(device),
        };
        users.iter().map(one).collect()
    };
    let audience: DeviceSet = [2, 3, 4].map(DeviceNumber).into_iter().collect();
    let to_audience = |users| Aim { audience: Some(audience.clone()), exclude: exclude(users), ..Aim::default() };
    let but = |users| Aim { exclude: exclude(users), ..Aim::default() };
    for (log, aim, count) in [
        (&all, to_audience(&[]), 2),
        (&all, to_audience(&[("u", None)]), 1),
        (&all, to_audience(&[("u", Some("1"))]), 2),
        (&topic, but(&[("u", None)]), 1),
        (&topic, but(&[("u", Some("2")), ("w", None)]), 2),
        (&topic, but(&[("u", None), ("u", Some("1")), ("v", None)]), 0),
    ] {
        assert_eq!(hub.receive(&[online(log.clone(), aim.clone())]), count, "{log} {aim:?}");
    }
}

#[tokio::test]
async fn a_device_is_online_from_its_number_on_until_it_leaves() {
    let (hub, core) = hub(9, 9);
    let (tenant, one) = (TenantId::new("t").expect("a name"), receiver("u", "1"));
    let set: DeviceSet = [7, 8].map(DeviceNumber).into_iter().collect();
    let seen = || (hub.is_online(&one), hub.online_of(&tenant, &set));
    let older = hub.sit(one.clone(), &core, HELD, Bounds::default()).await.expect("a free place");
    assert_eq!(seen(), (false, 0), "its number is not known yet");
    older.known_as(DeviceNumber(7));
    assert_eq!(seen(), (true, 1));
    let newer = tokio::spawn({
        let (hub, core, one) = (Arc::clone(&hub), Arc::clone(&core), one.clone());
        async move { hub.sit(one, &core, HELD, Bounds::default()).await }
    });
    let mailbox = Arc::clone(older.mailbox());
    std::future::poll_fn(|context| mailbox.poll(context)).await;
    assert_eq!(seen(), (false, 0), "the newer connection has no session yet");
    older.known_as(DeviceNumber(7));
    assert_eq!(seen(), (false, 0), "the place is not the older one's any more");
    drop(older);
    let newer = newer.await.expect("no panic").expect("the place of the older one");
    newer.known_as(DeviceNumber(7));
    assert_eq!(seen(), (true, 1));
    assert_eq!(hub.online_of(&TenantId::new("x").expect("a name"), &set), 0);
    drop(newer);
    assert_eq!(seen(), (false, 0));
}

/// A session lives by the newest token that it was given: the older one does not matter any more.
#[tokio::test]
async fn revocation_goes_by_the_token_that_a_session_lives_by_now() {
    let (hub, core) = hub(9, 9);
    let at = |millis| Timestamp::from_millis(millis);
    let id = |byte| Some(TokenId::from_bytes([byte; 16]));
    let tenant = TenantId::new("t").expect("a name");
    let one = receiver("u", "1");
    let seat = hub
        .sit(one.clone(), &core, Held { id: id(1), issued_at: at(10) }, Bounds::default())
        .await
        .expect("a free place");
    let revoke = |which: &Which, upto| hub.revoke(&tenant, which, at(upto));
    assert_eq!(revoke(&Which::All, 9), 0, "it was issued later");
    seat.holds(Held { id: id(2), issued_at: at(20) });
    let user = Which::User(one.user.clone());
    assert_eq!([revoke(&Which::Token(TokenId::from_bytes([1; 16])), 99), revoke(&user, 19)], [0, 0]);
    assert_eq!(hub.revoke(&TenantId::new("s").expect("a name"), &Which::All, at(99)), 0);
    assert_eq!([revoke(&user, 20), revoke(&Which::All, 99)], [1, 0], "it is told once");
    let told = std::future::poll_fn(|context| seat.mailbox().poll(context)).await;
    assert_eq!(told.len(), 1);
    assert!(matches!(told.front(), Some(Item::Close(CloseReason::Revoked))), "{told:?}");
}

#[tokio::test]
async fn viewers_of_a_share_have_a_limit_of_their_own() {
    let (hub, core) = hub(9, 1);
    let viewer = |number: u32| receiver("_share:s", &number.to_string());
    let mut seats = Vec::new();
    for number in 0..3 {
        seats.push(
            hub.sit(viewer(number), &core, HELD, Bounds { viewers: Some(3), ..Bounds::default() })
                .await
                .expect("a free place"),
        );
    }
    let refused = hub
        .sit(viewer(3), &core, HELD, Bounds { viewers: Some(3), ..Bounds::default() })
        .await
        .err()
        .map(|fault| fault.code);
    assert_eq!(refused, Some(Code::TooManyViewers));
    assert_eq!(hub.connected_of(&viewer(0).tenant, &viewer(0).user), 3);
    seats.pop();
    assert!(hub.sit(viewer(3), &core, HELD, Bounds { viewers: Some(3), ..Bounds::default() }).await.is_ok());
}
