//! What the operator sets about nodes holds, lasts and is on record; and who must move hears of it (P2.10).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::{Options, Peer};
use crate::assign::{Misplaced, Plan};
use crate::auth::Authority;
use crate::delivery::session::Output;
use crate::metrics::Metrics;
use crate::model::audit::{Action, Actor};
use crate::model::clock::Clock;
use crate::model::fault::Code;
use crate::model::frame::{Frame, Open};
use crate::model::id::{DeviceId, NodeName, Receiver, TenantId, UserId};
use crate::model::message::Urgency;
use crate::node::admit::Admitted;
use crate::node::cores::{Cores, Place};
use crate::node::mailbox::Item;
use crate::node::{self, Node};
use crate::store::{self, EVERYONE, Event, Journal};

/// A node `a` of two, on a store of its own; the user `b` belongs to the other by a rule, the user `a` here.
struct Bench {
    node: Arc<Node>,
    cores: Cores,
}

impl Bench {
    async fn open(folder: &Path, misplaced: Misplaced) -> Self {
        let plan = Plan {
            sites: ["a h:1 weight=5 tag=eu", "b h:2"].map(|text| text.parse().expect("a node")).into(),
            rules: ["to-b user=b* -> node=b", "to-a user=a -> node=a"].map(|text| text.parse().expect("a rule")).into(),
        };
        let own = Some(NodeName::new("a").expect("a name"));
        let nodes = Options { own, plan, misplaced, spread: Duration::ZERO };
        let authority = Authority::open(&folder.join("auth")).expect("keys");
        let store = store::open::Options { data: folder.join("store"), ..store::open::Options::default() };
        let store = store::open::open(&store).expect("a store");
        let metrics = Arc::new(Metrics::new());
        let cores = Cores::start(1, &metrics).expect("a thread");
        let options = node::Options { nodes, ..node::Options::default() };
        let node = Arc::new(Node::new(options, Clock::new(), authority, store, metrics, &cores));
        node.load_peers().await.expect("what is kept");
        Self { node, cores }
    }

    fn place(&self) -> Place {
        self.cores.places()[0].clone()
    }

    async fn set(&self, name: &str, weight: Option<u32>, draining: Option<bool>) -> Result<Peer, Code> {
        let name = NodeName::new(name).expect("a name");
        self.node.set_peer(&name, weight, draining, Actor::Admin).await.map_err(|fault| fault.code)
    }

    /// A session of a user's device.
    async fn session(&self, user: &str) -> Admitted {
        let receiver = receiver(user);
        let open = Open {
            token: self.node.make_token(&receiver, None).token,
            device: None,
            heartbeat: Duration::ZERO,
            window: 0,
            urgency_floor: Urgency::VeryLow,
            agent: String::new(),
            attributes: BTreeMap::new(),
        };
        self.node.open(&open, &self.place()).await.expect("a session")
    }

    async fn close(self) {
        self.node.drain(Duration::ZERO, Duration::ZERO).await;
        self.node.close().await.expect("a clean end");
    }
}

fn receiver(user: &str) -> Receiver {
    Receiver {
        tenant: TenantId::new("default").expect("a name"),
        user: UserId::new(user).expect("a name"),
        device: DeviceId::new("d").expect("a name"),
    }
}

/// Where a session was asked to move to, if it was.
fn asked(session: &Admitted) -> Option<Vec<String>> {
    let Poll::Ready(items) = session.seat.mailbox().poll(&mut Context::from_waker(Waker::noop())) else { return None };
    items.into_iter().find_map(|item| match item {
        Item::Drain { nodes, .. } => Some(nodes.to_vec()),
        _ => None,
    })
}

#[tokio::test]
async fn what_is_set_holds_and_lasts() {
    let folder = tempfile::tempdir().expect("a folder");
    let bench = Bench::open(folder.path(), Misplaced::Serve).await;
    assert_eq!(bench.set("c", None, None).await, Err(Code::NodeNotFound));
    assert_eq!(bench.set("a", Some(1_001), None).await, Err(Code::InvalidOption));
    let set = bench.set("b", Some(7), None).await.expect("set");
    assert_eq!((set.weight, set.draining, set.own), (7, false, false));
    let set = bench.set("b", None, Some(true)).await.expect("set");
    assert_eq!((set.weight, set.draining), (7, true));
    bench.close().await;

    let bench = Bench::open(folder.path(), Misplaced::Serve).await;
    let peers = bench.node.peers();
    assert_eq!(
        (peers[0].weight, peers[0].draining, peers[0].own, &*peers[0].tags),
        (5, false, true, &["eu".to_owned()][..])
    );
    assert_eq!((peers[1].weight, peers[1].draining, &*peers[1].address), (7, true, "h:2"));
    let (nodes, rule) = bench.node.assignment(&receiver("anybody")).await.expect("an assignment");
    assert_eq!((&*nodes, rule), (&["h:1".to_owned()][..], None), "nobody goes to a node that is being emptied");
    let (nodes, rule) = bench.node.assignment(&receiver("b1")).await.expect("an assignment");
    assert_eq!((&*nodes, rule.as_deref()), (&["h:2".to_owned()][..], Some("to-b")), "but by a rule");
    bench.close().await;
}

#[tokio::test]
async fn what_is_set_is_on_record() {
    let folder = tempfile::tempdir().expect("a folder");
    let bench = Bench::open(folder.path(), Misplaced::Serve).await;
    bench.set("b", Some(7), Some(true)).await.expect("set");
    bench.set("b", Some(7), Some(true)).await.expect("the same again");
    let everyone = TenantId::new(EVERYONE).expect("a name");
    let events = bench.node.store.journal(&everyone, Journal::Audit, 0, 10).await.expect("the journal").events;
    let [(_, Event::Audit(event))] = &events[..] else { panic!("{events:?}") };
    assert_eq!((event.action, &event.actor, &*event.object), (Action::NodeChanged, &Actor::Admin, "node:b"));
    assert_eq!(event.details["weight"], "100 -> 7");
    assert_eq!(event.details["draining"], "false -> true");
    bench.close().await;
}

#[tokio::test]
async fn who_opens_elsewhere_is_asked_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let bench = Bench::open(folder.path(), Misplaced::Move).await;
    let moves = |session: Admitted| {
        session.first.into_iter().find_map(|output| match output {
            Output::Send(Frame::Move { nodes, .. }) => Some(nodes.to_vec()),
            _ => None,
        })
    };
    assert_eq!(moves(bench.session("a").await), None);
    assert_eq!(moves(bench.session("b").await), Some(vec!["h:2".to_owned()]));
    assert_eq!(moves(bench.session("b").await), None, "it is back: it could not go there");
    bench.close().await;
}

/// Emptying a node reaches who is there; that other nodes change reaches them only when devices are moved at all.
#[tokio::test]
async fn a_node_that_is_emptied_sends_everybody_away_who_may_go() {
    let folder = tempfile::tempdir().expect("a folder");
    let bench = Bench::open(folder.path(), Misplaced::Serve).await;
    let keeper = tokio::spawn(Arc::clone(&bench.node).keep_assigned());
    let (stays, misplaced, anybody) = (bench.session("a").await, bench.session("b").await, bench.session("x").await);
    for session in [&stays, &misplaced, &anybody] {
        assert_eq!(asked(session), None);
    }
    bench.set("a", None, Some(true)).await.expect("set");
    for session in [&misplaced, &anybody] {
        let told = async {
            loop {
                let items = std::future::poll_fn(|context| session.seat.mailbox().poll(context)).await;
                let asked = items.into_iter().find_map(|item| match item {
                    Item::Drain { nodes, .. } => Some(nodes),
                    _ => None,
                });
                if let Some(nodes) = asked {
                    return nodes;
                }
            }
        };
        let nodes = tokio::time::timeout(Duration::from_secs(30), told).await.expect("asked to move");
        assert_eq!(*nodes, ["h:2".to_owned()]);
    }
    assert_eq!(asked(&stays), None, "its rule allows only this node");
    drop((stays, misplaced, anybody));
    bench.close().await;
    keeper.await.expect("the keeper ends with the node");
}
