//! The device protocol byte for byte, and what of it is refused.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use super::{Method, PUSH_HEAD_BYTES_MAX, put_frame, put_push_head, reason_from_pb, request, room_for};
use crate::model::clock::Timestamp;
use crate::model::fault::Code;
use crate::model::frame::{Frame, Request};
use crate::model::id::{MessageId, TenantId, UserId};
use crate::model::log::{Epoch, LogId, Offset};
use crate::model::message::{Aim, DismissReason, Dismissed, Entry, Target, Urgency};
use crate::wire::body::{self, Content};
use crate::wire::{grpc, pb};

#[test]
fn a_push_reads_as_one_protobuf_message_whatever_its_size() {
    let sizes = [0, 1, 100, 127, 128, 20_000, 1 << 20];
    let online_only = (300, 2, 5, 0);
    let largest = (u64::MAX, u32::MAX, u64::MAX, u64::MAX);
    for (size, own) in sizes.map(|size| (size, (300, 2, 5, 70))).into_iter().chain([(7, online_only), (7, largest)]) {
        let content = Content {
            target: Target::User(UserId::new("u").expect("a name")),
            content_type: "a/b".into(),
            attributes: [("k".into(), "v".into())].into(),
            payload: vec![7; size].into(),
            urgency: Urgency::High,
            collapse_key: String::new(),
            replaces: None,
        };
        let entry = Entry {
            offset: Offset(9),
            id: MessageId::new(5, [1; 10]),
            accepted_at: Timestamp::from_millis(own.2),
            expires_at: Timestamp::from_millis(own.3),
            urgency: Urgency::High,
            device: None,
            aim: None,
            receipts: true,
            body: body::encode(content.clone()),
        };
        let mut out = Vec::new();
        let frame = Frame::Push { seq: own.0, attempt: own.1, entry };
        let room = room_for(&frame);
        put_frame(&frame, &mut out);
        assert!(out.len() <= room, "{} bytes where there was room for {room}", out.len());
        let Frame::Push { seq, attempt, entry } = frame else { panic!("not a push") };
        let mut head = Vec::with_capacity(PUSH_HEAD_BYTES_MAX);
        put_push_head(seq, attempt, &entry, &mut head);
        assert!(out.starts_with(&head) && head.capacity() == PUSH_HEAD_BYTES_MAX, "{}", head.capacity());
        let message = grpc::unary(out.into(), 2 << 20).expect("one whole message");
        let Some(pb::open_response::Frame::Push(push)) = pb::OpenResponse::decode(message).expect("protobuf").frame
        else {
            panic!("not a push")
        };
        assert_eq!((push.seq, push.attempt, push.accepted_at_ms, push.expires_at_ms), own);
        assert_eq!(&push.id[..], MessageId::new(5, [1; 10]).as_bytes());
        assert_eq!(body::content_from_pb(push), Some(content));
    }
}

/// P4: a dismissal has no content of its own; it says which message goes, and why.
#[test]
fn a_dismissal_names_the_message_that_goes_and_why() {
    let reasons = [
        (DismissReason::Cancelled, pb::dismissal::Reason::Cancelled),
        (DismissReason::Seen, pb::dismissal::Reason::Seen),
        (DismissReason::Taken, pb::dismissal::Reason::Taken),
    ];
    for (reason, expected) in reasons {
        let message = MessageId::new(77, [3; 10]);
        let log = LogId::Broadcast(TenantId::new("t").expect("a name"));
        let dismissed = Dismissed { log, epoch: Epoch(1), offset: Offset(4), message, reason };
        let entry = Entry {
            offset: Offset(u64::MAX),
            id: MessageId::new(78, [1; 10]),
            accepted_at: Timestamp::from_millis(u64::MAX),
            expires_at: Timestamp::from_millis(u64::MAX),
            urgency: Urgency::High,
            device: None,
            aim: Some(Arc::new(Aim { dismissal: Some(dismissed), ..Aim::default() })),
            receipts: false,
            body: Bytes::new(),
        };
        let frame = Frame::Push { seq: u64::MAX, attempt: u32::MAX, entry };
        let (mut out, room) = (Vec::new(), room_for(&frame));
        put_frame(&frame, &mut out);
        assert!(out.len() <= room, "{} bytes where there was room for {room}", out.len());
        let message_bytes = grpc::unary(out.into(), 4096).expect("one whole message");
        let frame = pb::OpenResponse::decode(message_bytes).expect("protobuf").frame;
        let Some(pb::open_response::Frame::Push(push)) = frame else { panic!("not a push") };
        let dismissal = push.dismissal.expect("a dismissal");
        assert_eq!((dismissal.reason(), &dismissal.id[..]), (expected, &message.as_bytes()[..]));
        assert_eq!(reason_from_pb(dismissal.reason()), Some(reason));
        assert_eq!((push.seq, push.target, push.payload.len()), (u64::MAX, None, 0));
    }
    assert_eq!(reason_from_pb(pb::dismissal::Reason::Unspecified), None);
}

fn refusal(method: Method, message: &impl Message) -> Code {
    request(method, grpc::framed(message), 4096).expect_err("this must be refused").code
}

#[test]
fn what_is_wrong_is_refused_with_its_code() {
    let range = |from, upto| pb::SeqRange { from, upto };
    let nack = |seq, verdict, reason: &str| pb::Nack { seq, verdict, reason: reason.into() };
    for (acked, nacked) in [
        (vec![], vec![]),
        (vec![range(0, 3)], vec![]),
        (vec![range(4, 3)], vec![]),
        (vec![range(1, 1); 600], vec![nack(1, 0, ""); 600]),
        (vec![], vec![nack(0, 0, "")]),
        (vec![], vec![nack(1, 9, "")]),
        (vec![], vec![nack(1, 0, &"x".repeat(257))]),
    ] {
        let ack = pb::AckRequest { acked, nacked, session: String::new() };
        let got = request(Method::Ack, grpc::framed(&ack), 1 << 20).expect_err("this must be refused");
        assert_eq!(got.code, Code::InvalidAck);
    }
    let topics = |names: &[&str]| pb::SubscribeRequest { topics: names.iter().map(ToString::to_string).collect() };
    assert_eq!(refusal(Method::Subscribe, &topics(&[])), Code::InvalidOption);
    assert_eq!(refusal(Method::Subscribe, &topics(&["a"; 101])), Code::InvalidOption);
    assert_eq!(refusal(Method::Unsubscribe, &topics(&["a/b"])), Code::InvalidName);
    assert_eq!(refusal(Method::Open, &pb::OpenRequest::default()), Code::SessionExists);
    let update = pb::UpdateRequest { urgency_floor: Some(77), window: None, attributes: None };
    assert_eq!(refusal(Method::Update, &update), Code::InvalidOption);
    let cut = Bytes::from_static(b"\0\0\0\0\x09cut");
    assert_eq!(request(Method::Ack, cut, 4096).expect_err("cut").code, Code::Malformed);
    let garbage = Bytes::from_static(b"\0\0\0\0\x02\xff\xff");
    assert_eq!(request(Method::Ack, garbage, 4096).expect_err("garbage").code, Code::Malformed);
}

#[test]
fn an_unset_floor_means_everything_and_an_absent_one_no_change() {
    let update = |floor| {
        let update = pb::UpdateRequest { urgency_floor: floor, window: Some(3), attributes: None };
        request(Method::Update, grpc::framed(&update), 4096).expect("a good request")
    };
    assert_eq!(update(None), Request::Update { urgency_floor: None, window: Some(3), attributes: None });
    assert_eq!(
        update(Some(0)),
        Request::Update { urgency_floor: Some(Urgency::VeryLow), window: Some(3), attributes: None }
    );
}
