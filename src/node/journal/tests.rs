//! Following journals of a real store.

use std::path::Path;
use std::time::Duration;

use super::{BATCH_EVENTS_MAX, Event, Journal, Wanted};
use crate::auth::Authority;
use crate::metrics::Metrics;
use crate::model::clock::{Clock, Timestamp};
use crate::model::fault::Code;
use crate::model::id::{DeviceId, TenantId, UserId};
use crate::model::presence::{self, What};
use crate::node::cores::Cores;
use crate::node::{Node, Options};
use crate::store;

fn node(folder: &Path) -> Node {
    let options = store::open::Options { data: folder.join("store"), ..store::open::Options::default() };
    let (store, metrics) = (store::open::open(&options).expect("a store"), std::sync::Arc::new(Metrics::new()));
    let cores = Cores::start(1, &metrics).expect("a thread");
    let authority = Authority::open(&folder.join("auth")).expect("keys");
    Node::new(Options { event_streams_max: 2, ..Options::default() }, Clock::new(), authority, store, metrics, &cores)
}

fn tenant() -> TenantId {
    TenantId::new("t").expect("a name")
}

fn user(user: &str) -> UserId {
    UserId::new(user).expect("a name")
}

fn event(of: &str, at: u64) -> presence::Event {
    let device = Some((user(of), DeviceId::new("d").expect("a name")));
    presence::Event { at: Timestamp::from_millis(at), device, what: What::Connected }
}

fn times(events: &[(u64, Event)]) -> Vec<(u64, u64)> {
    let at = |event: &Event| match event {
        Event::Presence(event) => event.at.as_millis(),
        other => panic!("{other:?}"),
    };
    events.iter().map(|(position, event)| (*position, at(event))).collect()
}

#[tokio::test]
async fn a_stream_tells_what_was_and_what_comes_without_gap_and_repeat() {
    let folder = tempfile::tempdir().expect("a folder");
    let (node, tenant) = (node(folder.path()), tenant());
    node.store.note(&tenant, vec![event("a", 1), event("b", 2), event("a", 3)]).await.expect("noted");
    let mut follow = node.follow(&tenant, Journal::Presence, Wanted::default(), Some(1)).await.expect("a stream");
    let mut only_new = node.follow(&tenant, Journal::Presence, Wanted::default(), None).await.expect("a stream");
    let first = follow.next().await.expect("a batch");
    assert_eq!((times(&first.events), first.position, first.missed, first.last), (vec![(2, 2), (3, 3)], 3, 0, 3));
    let first = only_new.next().await.expect("a batch");
    assert_eq!((first.events.len(), first.position), (0, 3), "the first comes at once");
    // Dropped while it waits, it has passed over nothing.
    assert!(tokio::time::timeout(Duration::from_millis(1), follow.next()).await.is_err());
    node.store.note(&tenant, vec![event("a", 4)]).await.expect("noted");
    for follow in [&mut follow, &mut only_new] {
        let next = follow.next().await.expect("a batch");
        assert_eq!((times(&next.events), next.position), (vec![(4, 4)], 4));
    }
    let refused = node.follow(&tenant, Journal::Receipts, Wanted::default(), None).await.err().expect("a refusal");
    assert_eq!(refused.code, Code::TooManyStreams);
    drop(only_new);
    // Positions that were lost are taken for the newest.
    let mut ahead = node.follow(&tenant, Journal::Presence, Wanted::default(), Some(99)).await.expect("a stream");
    assert_eq!(ahead.next().await.expect("a batch").position, 4);
    node.store.note(&tenant, vec![event("a", 5)]).await.expect("noted");
    assert_eq!(times(&ahead.next().await.expect("a batch").events), [(5, 5)]);
    let other = TenantId::new("o").expect("a name");
    assert!(node.follow(&other, Journal::Presence, Wanted::default(), Some(0)).await.is_ok(), "tenants are apart");
}

#[tokio::test]
async fn positions_move_on_over_what_is_not_wanted() {
    let folder = tempfile::tempdir().expect("a folder");
    let (node, tenant) = (node(folder.path()), tenant());
    let crowd = BATCH_EVENTS_MAX * 3;
    node.store.note(&tenant, (0..crowd as u64).map(|at| event("a", at)).collect()).await.expect("noted");
    let wanted = || Wanted { user: Some(user("b")), ..Wanted::default() };
    let mut follow = node.follow(&tenant, Journal::Presence, wanted(), Some(0)).await.expect("a stream");
    let first = follow.next().await.expect("a batch");
    assert_eq!((first.events.len(), first.position), (0, BATCH_EVENTS_MAX as u64));
    // Nothing is wanted of the rest: its position is told after a pause.
    assert_eq!(follow.next().await.expect("a batch").position, crowd as u64);
    node.store.note(&tenant, vec![event("b", 1), event("a", 2)]).await.expect("noted");
    let found = follow.next().await.expect("a batch");
    assert_eq!((times(&found.events), found.position), (vec![(crowd as u64 + 1, 1)], crowd as u64 + 2));
    let page = node.look_up(&tenant, Journal::Presence, wanted(), 0).await.expect("a page");
    assert_eq!((page.events.len(), page.position), (1, crowd as u64 + 2), "it is looked for on later pages");
    // What concerns all is told to all.
    let reset = presence::Event { at: Timestamp::from_millis(9), device: None, what: What::Reset };
    node.store.note(&tenant, vec![reset]).await.expect("noted");
    assert_eq!(follow.next().await.expect("a batch").events.len(), 1);
}

/// A backend that comes back after all it missed was forgotten is told so once, and then waits as any other.
#[tokio::test]
async fn a_journal_that_was_forgotten_whole_is_told_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let (node, tenant) = (node(folder.path()), tenant());
    node.store.note(&tenant, vec![event("a", 1), event("a", 2), event("a", 3)]).await.expect("noted");
    let later = Timestamp::from_millis(u64::MAX / 4);
    while node.store.sweep(later).await.expect("swept").forgotten > 0 {}
    let page = node.look_up(&tenant, Journal::Presence, Wanted::default(), 0).await.expect("a page");
    assert_eq!((page.events.len(), page.position, page.missed, page.last), (0, 3, 3, 3));
    let mut follow = node.follow(&tenant, Journal::Presence, Wanted::default(), Some(1)).await.expect("a stream");
    let first = follow.next().await.expect("a batch");
    assert_eq!((first.events.len(), first.position, first.missed), (0, 3, 2));
    assert!(tokio::time::timeout(Duration::from_millis(1), follow.next()).await.is_err(), "nothing is told twice");
    node.store.note(&tenant, vec![event("a", 4)]).await.expect("noted");
    assert_eq!(times(&follow.next().await.expect("a batch").events), [(4, 4)]);
}
