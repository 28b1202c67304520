//! What it costs to turn frames into bytes and back, without sockets: the head of a push (once a delivery), the body of a
//! message (once a push), the requests of devices, and the cutting of a stream into gRPC messages.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use pushline::model::clock::Timestamp;
use pushline::model::frame::Frame;
use pushline::model::id::{MessageId, UserId};
use pushline::model::log::Offset;
use pushline::model::message::{Entry, Target, Urgency};
use pushline::wire::body::{self, Content};
use pushline::wire::device::{self, Method};
use pushline::wire::{grpc, pb};

/// Bytes of a payload: a short notification.
const PAYLOAD_BYTES: usize = 256;

/// Pushes that are ready together: what fills four DATA frames.
const PUSHES: u64 = 200;

/// Longest message taken, as the gateway has it by default.
const LIMIT: usize = 64 * 1024;

fn content() -> Content {
    Content {
        target: Target::User(UserId::new("user-1234").expect("a plain name")),
        content_type: "application/octet-stream".to_owned(),
        attributes: [].into(),
        payload: vec![7; PAYLOAD_BYTES].into(),
        urgency: Urgency::Normal,
        collapse_key: String::new(),
        replaces: None,
    }
}

fn push(seq: u64) -> Frame {
    let entry = Entry {
        offset: Offset(seq),
        id: MessageId::new(1_800_000_000_000, [5; 10]),
        accepted_at: Timestamp::from_millis(1_800_000_000_000),
        expires_at: Timestamp::from_millis(1_802_000_000_000),
        urgency: Urgency::Normal,
        device: None,
        aim: None,
        receipts: true,
        body: body::encode(content()),
    };
    Frame::Push { seq, attempt: 1, entry }
}

/// The gateway's way out: many small pushes behind one another in one buffer.
fn pushes_out(criterion: &mut Criterion) {
    let pushes: Vec<Frame> = (1..=PUSHES).map(push).collect();
    let mut group = criterion.benchmark_group("frame_codec/push");
    group.throughput(Throughput::Elements(PUSHES));
    group.bench_function("head_and_body", |bencher| {
        let mut out = Vec::with_capacity(1 << 20);
        bencher.iter(|| {
            out.clear();
            for push in &pushes {
                device::put_frame(black_box(push), &mut out);
            }
            black_box(&out).len()
        });
    });
    group.bench_function("head_alone", |bencher| {
        let mut out = Vec::with_capacity(1 << 20);
        bencher.iter(|| {
            out.clear();
            for push in &pushes {
                let Frame::Push { seq, attempt, entry } = black_box(push) else { continue };
                device::put_push_head(*seq, *attempt, entry, &mut out);
            }
            black_box(&out).len()
        });
    });
    group.finish();
}

/// The gateway's way in: the body of a message when it is accepted, and what devices ask for.
fn requests_in(criterion: &mut Criterion) {
    let range = |from| pb::SeqRange { from, upto: from + 7 };
    let ack = pb::AckRequest { acked: vec![range(10), range(30)], nacked: Vec::new(), session: String::new() };
    let ack = grpc::framed(&ack);
    let open = pb::OpenRequest { token: "x".repeat(400), window: 64, agent: "bench".into(), ..Default::default() };
    let open = grpc::framed(&open);
    let mut group = criterion.benchmark_group("frame_codec/request");
    group.bench_function("body", |bencher| {
        bencher.iter_batched(content, |content| body::encode(black_box(content)), BatchSize::SmallInput);
    });
    group.bench_function("ack", |bencher| {
        bencher.iter(|| device::request(Method::Ack, black_box(&ack).clone(), LIMIT).expect("a good ack"));
    });
    group.bench_function("open", |bencher| {
        bencher.iter(|| device::open(black_box(&open).clone(), LIMIT, None).expect("a good open"));
    });
    group.finish();
}

/// A stream of pushes as a client receives it: cut into DATA frames of 16 KiB, wherever they end.
fn stream_in(criterion: &mut Criterion) {
    let mut bytes = Vec::new();
    (1..=PUSHES).for_each(|seq| device::put_frame(&push(seq), &mut bytes));
    let bytes: Bytes = bytes.into();
    let mut group = criterion.benchmark_group("frame_codec/deframer");
    group.throughput(Throughput::Elements(PUSHES));
    group.bench_function("data_frames", |bencher| {
        bencher.iter(|| {
            let mut deframer = grpc::Deframer::new(LIMIT);
            let mut messages = 0;
            for frame in black_box(&bytes).chunks(16 * 1024) {
                deframer.push(frame);
                while let Some(message) = deframer.next_message().expect("good messages") {
                    messages += black_box(message).len();
                }
            }
            messages
        });
    });
    group.finish();
}

criterion_group!(benches, pushes_out, requests_in, stream_in);
criterion_main!(benches);
