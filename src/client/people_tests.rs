//! Tests of what the client says about its device and its user, and of messages that are taken away, against a scripted
//! peer on loopback with real TLS and HTTP/2.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::client::error::Error;
use crate::client::handle::Client;
use crate::client::push::Dismissal;
use crate::client::scripted_peer::{Gateway, id, push, welcome};
use crate::client::status::Phase;
use crate::model::message::DismissReason;
use crate::wire::device::Method;
use crate::wire::pb::{self, open_response::Frame};

fn attributes(version: &str) -> BTreeMap<String, String> {
    [("app_version", version), ("platform", "ios")].map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

#[tokio::test]
async fn attributes_are_said_at_open_and_changed_for_all_later_sessions() {
    let gateway = Gateway::start().await;
    let mut options = gateway.options();
    options.attributes = attributes("2.3");
    let serve = async {
        let mut peer = gateway.accept().await;
        let ask = peer.asked(Method::Open).await;
        assert_eq!(ask.message::<pb::OpenRequest>().attributes, attributes("2.3"));
        let mut pushes = ask.stream();
        pushes.send(Frame::Welcome(pb::Welcome { group_topics: vec!["berlin".into()], ..welcome() })).await;
        (peer, pushes)
    };
    let (client, (mut peer, pushes)) = tokio::join!(Client::connect(options), serve);
    let client = client.expect("a welcome came");
    let Phase::Connected(session) = client.status().borrow().phase.clone() else { panic!("not connected") };
    assert_eq!(session.group_topics.iter().map(|topic| topic.as_str()).collect::<Vec<_>>(), ["berlin"]);
    let bad = [("a b".to_owned(), String::new())].into();
    assert!(matches!(client.describe(bad).await, Err(Error::Invalid(_))));
    let serve = async {
        let ask = peer.asked(Method::Update).await;
        let update: pb::UpdateRequest = ask.message();
        assert_eq!((update.urgency_floor, update.window), (None, None));
        assert_eq!(update.attributes.expect("attributes").values, attributes("2.4"));
        ask.answer(&pb::UpdateResponse::default());
    };
    let ((), described) = tokio::join!(serve, client.describe(attributes("2.4")));
    assert_eq!(described, Ok(()));
    drop((peer, pushes));
    let mut peer = gateway.accept().await;
    assert_eq!(peer.asked(Method::Open).await.message::<pb::OpenRequest>().attributes, attributes("2.4"));
}

/// P4: what the user has seen here is named to the gateway; what was seen elsewhere comes as a push that is settled like any
/// other.
#[tokio::test]
async fn messages_are_dismissed_and_dismissals_are_pushes() {
    let gateway = Gateway::start().await;
    let (client, (mut peer, mut pushes)) = tokio::join!(Client::connect(gateway.options()), gateway.welcome(welcome()));
    let mut client = client.expect("a welcome came");
    assert!(matches!(client.dismiss([]).await, Err(Error::Invalid(_))));
    assert!(matches!(client.dismiss((0..101).map(id)).await, Err(Error::Invalid(_))));
    let serve = async {
        let ask = peer.asked(Method::Dismiss).await;
        let ids: Vec<Bytes> = [1, 2].map(|n| Bytes::copy_from_slice(id(n).as_bytes())).into();
        assert_eq!(ask.message::<pb::DismissRequest>().ids, ids);
        ask.answer(&pb::DismissResponse { dismissed: 1 });
    };
    let ((), dismissed) = tokio::join!(serve, client.dismiss([id(1), id(2)]));
    assert_eq!(dismissed, Ok(1));
    let Frame::Push(mut frame) = push(9, 1, Bytes::new()) else { panic!("not a push") };
    let reason = pb::dismissal::Reason::Seen.into();
    frame.dismissal = Some(pb::Dismissal { id: Bytes::copy_from_slice(id(3).as_bytes()), reason });
    pushes.send(Frame::Push(frame)).await;
    let push = client.next().await.expect("the client lives").expect("a push");
    assert_eq!(push.dismissal, Some(Dismissal { message: id(3), reason: Some(DismissReason::Seen) }));
    push.ack();
    let ack = peer.asked(Method::Ack).await;
    assert_eq!(ack.message::<pb::AckRequest>().acked, [pb::SeqRange { from: 1, upto: 1 }]);
}
