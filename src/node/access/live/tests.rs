//! Tokens, revocation and shares at a node with a real store: who is let in, and who is told to end.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::auth::Authority;
use crate::delivery::session::Output;
use crate::metrics::Metrics;
use crate::model::access::TokenId;
use crate::model::audit::Actor;
use crate::model::clock::Clock;
use crate::model::close::CloseReason;
use crate::model::fault::{Code, Fault};
use crate::model::frame::{Frame, Open, ResumeOutcome};
use crate::model::id::{DeviceId, Receiver, ShareId, TenantId, TopicName, UserId};
use crate::model::message::Urgency;
use crate::model::tenant::{Limits, LoginWays};
use crate::node::access::shares::{NewShare, viewers_of};
use crate::node::access::tokens::{Issued, Which};
use crate::node::admit::Admitted;
use crate::node::cores::{Cores, Place};
use crate::node::mailbox::Item;
use crate::node::{Node, Options};
use crate::store;
use crate::store::Of;

/// A node that has read its records, and the place of its connections.
async fn node(folder: &Path) -> (Node, Place) {
    let options = store::open::Options { data: folder.join("store"), ..store::open::Options::default() };
    let (store, metrics) = (store::open::open(&options).expect("a store"), Arc::new(Metrics::new()));
    let cores = Cores::start(1, &metrics).expect("a thread");
    let authority = Authority::open(&folder.join("auth")).expect("keys");
    let node = Node::new(Options::default(), Clock::new(), authority, store, metrics, &cores);
    node.load().await.expect("its records");
    (node, cores.places()[0].clone())
}

async fn restarted(node: Node, folder: &Path) -> (Node, Place) {
    node.close().await.expect("a clean end");
    drop(node);
    self::node(folder).await
}

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).expect("a name")
}

fn user(name: &str) -> UserId {
    UserId::new(name).expect("a name")
}

fn device(name: &str) -> DeviceId {
    DeviceId::new(name).expect("a name")
}

fn receiver(of: &str, name: &str, on: &str) -> Receiver {
    Receiver { tenant: tenant(of), user: user(name), device: device(on) }
}

async fn issue(node: &Node, of: &str, name: &str, on: &str) -> Issued {
    let issued = node.issue_token(receiver(of, name, on), None, Actor::Admin).await;
    issued.map_err(|fault| fault.code).expect("a token")
}

async fn open(node: &Node, place: &Place, token: &str, on: Option<&str>) -> Result<Admitted, Code> {
    let open = Open {
        token: token.to_owned(),
        device: on.map(device),
        heartbeat: Duration::ZERO,
        window: 0,
        urgency_floor: Urgency::VeryLow,
        agent: String::new(),
        attributes: BTreeMap::new(),
    };
    node.open(&open, place).await.map_err(|fault| fault.code)
}

/// Whether the session was told to end because of a revocation.
fn is_told(admitted: &Admitted) -> bool {
    match admitted.seat.mailbox().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(items) => items.iter().any(|item| matches!(item, Item::Close(CloseReason::Revoked))),
        Poll::Pending => false,
    }
}

fn code<T>(answer: Result<T, Fault>) -> Option<Code> {
    answer.err().map(|fault| fault.code)
}

#[tokio::test]
async fn each_kind_of_revocation_ends_its_sessions_and_no_others_and_holds_over_restarts() {
    let devices = [("t", "u", "d"), ("t", "u", "e"), ("t", "v", "d"), ("s", "u", "d")];
    for (which, expected) in [
        (None, vec![0]),
        (Some(Which::Device(user("u"), device("d"))), vec![0]),
        (Some(Which::User(user("u"))), vec![0, 1]),
        (Some(Which::All), vec![0, 1, 2]),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let (node, place) = node(folder.path()).await;
        let mut tokens = Vec::new();
        for (of, name, on) in devices {
            tokens.push(issue(&node, of, name, on).await);
        }
        let mut sessions = Vec::new();
        for issued in &tokens {
            sessions.push(open(&node, &place, &issued.token, None).await.expect("a session"));
        }
        let which = which.unwrap_or(Which::Token(tokens[0].id));
        let ended = node.revoke_tokens(&tenant("t"), which.clone(), Actor::Admin).await.expect("an answer");
        assert_eq!(ended as usize, expected.len(), "{which:?}");
        let told: Vec<_> = (0..devices.len()).filter(|&at| is_told(&sessions[at])).collect();
        assert_eq!(told, expected, "{which:?}");
        drop(sessions);
        let again = node.revoke_tokens(&tenant("t"), Which::Token(tokens[0].id), Actor::Admin).await;
        assert_eq!(again, Ok(0), "there is nobody left");
        let (node, place) = restarted(node, folder.path()).await;
        for (at, issued) in tokens.iter().enumerate() {
            let refused = open(&node, &place, &issued.token, None).await.err();
            assert_eq!(refused, expected.contains(&at).then_some(Code::RevokedToken), "{which:?} {at}");
        }
        for (of, name, on) in devices {
            let newer = issue(&node, of, name, on).await;
            assert!(open(&node, &place, &newer.token, None).await.is_ok(), "what was issued since is good: {which:?}");
        }
        assert!(node.live.awaited().is_empty(), "nobody waits any more");
    }
}

/// What is revoked while a device waits for its older connection to end is not let in when that has ended.
#[tokio::test]
async fn who_waits_for_its_place_is_not_forgotten() {
    let folder = tempfile::tempdir().expect("a folder");
    let (node, place) = node(folder.path()).await;
    let issued = issue(&node, "t", "u", "d").await;
    let node = Arc::new(node);
    let older = open(&node, &place, &issued.token, None).await.expect("a session");
    let newer = tokio::spawn({
        let (node, place, token) = (Arc::clone(&node), place.clone(), issued.token.clone());
        async move { open(&node, &place, &token, None).await.err() }
    });
    let order = std::future::poll_fn(|context| older.seat.mailbox().poll(context)).await;
    assert!(matches!(order.front(), Some(Item::Close(CloseReason::TakenOver))), "the newer one has sat down");
    let ended = node.revoke_tokens(&tenant("t"), Which::User(user("u")), Actor::Admin).await;
    assert_eq!(ended, Ok(1), "the newer one");
    drop(older);
    assert_eq!(newer.await.expect("no panic"), Some(Code::RevokedToken));
    assert_eq!(node.connected(), 0);
}

#[tokio::test]
async fn a_suspended_tenant_has_no_sessions_and_gets_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let (node, place) = node(folder.path()).await;
    node.create_tenant(&tenant("shop"), Limits::default(), LoginWays::default(), Actor::Admin).await.expect("a tenant");
    let (ours, theirs) = (issue(&node, "shop", "u", "d").await, issue(&node, "default", "u", "d").await);
    let session = open(&node, &place, &ours.token, None).await.expect("a session");
    let other = open(&node, &place, &theirs.token, None).await.expect("a session");
    node.suspend_tenant(&tenant("shop"), true, Actor::Admin).await.expect("an answer");
    assert!(is_told(&session) && !is_told(&other));
    drop(session);
    assert_eq!(open(&node, &place, &ours.token, None).await.err(), Some(Code::TenantSuspended));
    let (node, place) = {
        drop(other);
        restarted(node, folder.path()).await
    };
    assert_eq!(open(&node, &place, &ours.token, None).await.err(), Some(Code::TenantSuspended));
    node.suspend_tenant(&tenant("shop"), false, Actor::Admin).await.expect("an answer");
    assert!(open(&node, &place, &ours.token, None).await.is_ok(), "nothing was revoked");
}

#[tokio::test]
async fn tokens_are_made_within_bounds_and_for_users_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let (node, _) = node(folder.path()).await;
    let login = LoginWays { token_ttl_seconds: 600, ..LoginWays::default() };
    node.create_tenant(&tenant("shop"), Limits::default(), login, Actor::Admin).await.expect("a tenant");
    let ask = async |name, seconds: Option<u64>| {
        node.issue_token(receiver("shop", name, "d"), seconds.map(Duration::from_secs), Actor::Admin).await
    };
    for seconds in [0, 59, 601] {
        assert_eq!(code(ask("u", Some(seconds)).await), Some(Code::InvalidOption), "{seconds}");
    }
    let now = node.clock.now().wall;
    for (seconds, life) in [(None, 600), (Some(60), 60), (Some(600), 600)] {
        let expires_at = ask("u", seconds).await.map_err(|fault| fault.code).expect("a token").expires_at;
        let left = Duration::from_millis(expires_at.as_millis() - now.as_millis());
        assert!((life - 1..=life + 30).contains(&left.as_secs()), "{seconds:?}: {left:?}");
    }
    assert_eq!(code(ask("_share:x", None).await), Some(Code::InvalidName));
    let revoked = node.revoke_tokens(&tenant("shop"), Which::User(user("_share:x")), Actor::Admin).await;
    assert_eq!(code(revoked), Some(Code::InvalidName));
    let audit = node.audit(Some(&tenant("shop")), 0, 100).await.expect("events");
    let objects: Vec<_> = audit.events.iter().map(|(_, event)| event.object.as_str()).collect();
    assert_eq!(objects, ["tenant", "device:u/d", "device:u/d", "device:u/d"]);
    assert!(audit.events[1..].iter().all(|(_, event)| TokenId::parse(&event.details["token"]).is_some()));
}

fn new_share(topics: &[&str], viewers_max: u32) -> NewShare {
    let topics = topics.iter().map(|topic| TopicName::new(topic).expect("a name")).collect();
    NewShare { topics, ttl: None, viewers_max: Some(viewers_max), note: "for the wall".to_owned() }
}

#[tokio::test]
async fn a_share_lets_in_so_many_viewers_and_leaves_no_trace_of_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let (node, place) = node(folder.path()).await;
    let asked = new_share(&["scores", "news"], 2);
    let (token, share) = node.create_share(&tenant("t"), asked, Actor::Admin).await.expect("a share");
    assert_eq!((share.viewers_max, share.viewers, share.note.as_str()), (2, 0, "for the wall"));
    let one = open(&node, &place, &token, None).await.expect("a viewer");
    let two = open(&node, &place, &token, Some("tv")).await.expect("a viewer");
    let Some(Output::Send(Frame::Welcome(welcome))) = two.first.first() else { panic!("no welcome: {:?}", two.first) };
    assert_eq!(welcome.topics.iter().map(TopicName::as_str).collect::<Vec<_>>(), ["scores", "news"]);
    assert_eq!((welcome.resume.outcome, welcome.resume.waiting), (ResumeOutcome::New, 0));
    assert_eq!(two.receiver(), &Receiver { tenant: tenant("t"), user: viewers_of(&share.id), device: device("tv") });
    assert_ne!(one.receiver().device, two.receiver().device);
    assert_eq!(open(&node, &place, &token, None).await.err(), Some(Code::TooManyViewers));
    let listed = node.shares(&tenant("t"), None, 9).await.expect("a list");
    assert_eq!((listed.0[0].viewers, listed.1), (2, false));
    let known = node.store.user(&tenant("t"), &viewers_of(&share.id)).await.expect("an answer");
    assert_eq!(known.devices, [], "the store knows nothing of viewers");
    let topic = Of::Topic(TopicName::new("scores").expect("a name"));
    assert_eq!(node.reach(&tenant("t"), topic, None, 9).await.expect("an answer").count, 0);
    drop(one);
    assert!(open(&node, &place, &token, None).await.is_ok(), "there is room again");
}

#[tokio::test]
async fn a_share_is_taken_back_by_itself_or_with_the_tenants_tokens() {
    let folder = tempfile::tempdir().expect("a folder");
    let (node, place) = node(folder.path()).await;
    let mut made = Vec::new();
    for _ in 0..3 {
        made.push(node.create_share(&tenant("t"), new_share(&["a"], 9), Actor::Admin).await.expect("a share"));
    }
    let (other_token, _) = node.create_share(&tenant("s"), new_share(&["a"], 9), Actor::Admin).await.expect("a share");
    let ids = async |node: &Node| {
        let (shares, _) = node.shares(&tenant("t"), None, 9).await.expect("a list");
        shares.into_iter().map(|share| share.id).collect::<Vec<_>>()
    };
    let mut expected: Vec<ShareId> = made.iter().map(|(_, share)| share.id.clone()).collect();
    expected.sort();
    assert_eq!(ids(&node).await, expected);
    let (page, more) = node.shares(&tenant("t"), Some(expected[0].clone()), 1).await.expect("a list");
    assert_eq!((&page[0].id, page.len(), more), (&expected[1], 1, true));

    let viewers = [
        open(&node, &place, &made[0].0, None).await.expect("a viewer"),
        open(&node, &place, &made[0].0, None).await.expect("a viewer"),
        open(&node, &place, &made[1].0, None).await.expect("a viewer"),
        open(&node, &place, &other_token, None).await.expect("a viewer"),
    ];
    let first = &made[0].1.id;
    let anothers = node.revoke_share(&tenant("s"), first, Actor::Admin).await;
    assert_eq!(code(anothers), Some(Code::ShareNotFound), "of another tenant");
    assert_eq!(node.revoke_share(&tenant("t"), first, Actor::Admin).await, Ok(2));
    assert_eq!(viewers.each_ref().map(is_told), [true, true, false, false]);
    assert_eq!(code(node.revoke_share(&tenant("t"), first, Actor::Admin).await), Some(Code::ShareNotFound));
    assert_eq!(open(&node, &place, &made[0].0, None).await.err(), Some(Code::RevokedToken));

    assert_eq!(node.revoke_tokens(&tenant("t"), Which::All, Actor::Admin).await, Ok(1), "two were told before");
    assert_eq!(viewers.each_ref().map(is_told), [false, false, true, false]);
    drop(viewers);
    assert_eq!(ids(&node).await, [] as [ShareId; 0], "what is revoked is not listed");
    let (later, share) = node.create_share(&tenant("t"), new_share(&["a"], 9), Actor::Admin).await.expect("a share");
    let (node, place) = restarted(node, folder.path()).await;
    for (token, _) in &made {
        assert_eq!(open(&node, &place, token, None).await.err(), Some(Code::RevokedToken));
    }
    assert!(open(&node, &place, &later, None).await.is_ok());
    assert!(open(&node, &place, &other_token, None).await.is_ok());
    assert_eq!(ids(&node).await, [share.id]);
}

#[tokio::test]
async fn shares_are_made_within_bounds() {
    let folder = tempfile::tempdir().expect("a folder");
    let (node, _) = node(folder.path()).await;
    let eleven: Vec<String> = (0..11).map(|number| format!("t{number}")).collect();
    let eleven: Vec<&str> = eleven.iter().map(String::as_str).collect();
    let good = || new_share(&["a"], 1);
    let with_ttl = |seconds| NewShare { ttl: Some(Duration::from_secs(seconds)), ..good() };
    for (asked, taken) in [
        (new_share(&[], 1), false),
        (new_share(&eleven, 1), false),
        (new_share(&eleven[1..], 1), true),
        (new_share(&["a", "b", "a"], 1), false),
        (new_share(&["a"], 0), false),
        (new_share(&["a"], 10_000), true),
        (new_share(&["a"], 10_001), false),
        (with_ttl(59), false),
        (with_ttl(60), true),
        (with_ttl(31_536_000), true),
        (with_ttl(31_536_001), false),
        (NewShare { note: "n".repeat(256), ..good() }, true),
        (NewShare { note: "n".repeat(257), ..good() }, false),
    ] {
        let words = format!("{asked:?}");
        let refused = code(node.create_share(&tenant("t"), asked, Actor::Admin).await);
        assert_eq!(refused, (!taken).then_some(Code::InvalidOption), "{words}");
    }
}
