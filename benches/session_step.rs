//! What the session decides, alone: no socket, no store, no task. Time of one push, and of one look at the clock:
//!
//! - `hint`: a hint that carries the next entry, which goes out at once.
//! - `page`: a page of 64 entries that was read, per entry.
//! - `ack`: an ack of 64 pushes as one range with the commit's answer, per push.
//! - `round`: a hint, the word that it is written, its ack and the commit's answer: the whole life of a lone push.
//! - `deadline`: the timer rang too early and nothing is due.
//!
//! A delivery costs tens of microseconds in all; what stands here should stay well below one.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pushline::delivery::handshake::{Handshake, Known};
use pushline::delivery::lease::Life;
use pushline::delivery::options::Options;
use pushline::delivery::session::{Input, Output, Session};
use pushline::model::clock::{Moment, Now, Timestamp};
use pushline::model::cursor::{Cursor, Following};
use pushline::model::frame::{Ack, Open, Ticket};
use pushline::model::id::{DeviceId, DeviceNumber, MessageId, Receiver, SessionId, TenantId, UserId};
use pushline::model::log::{Epoch, Head, LogId, Offset};
use pushline::model::message::{Entry, Page, Urgency};

/// As the gateway has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Pushes at once: the window, and a page.
const BATCH: u64 = 64;

const EPOCH: Epoch = Epoch(1);

const NOW: Now = Now { moment: Moment::from_micros(1_000_000), wall: Timestamp::from_millis(1_000_000) };

/// A session of one inbox that is caught up.
struct Step {
    session: Session,
    receiver: Receiver,
    /// Newest offset of the inbox, which is also the newest seq.
    last: u64,
    body: Bytes,
    out: Vec<Output>,
}

impl Step {
    fn new() -> Self {
        let name = "a plain name";
        let receiver = Receiver {
            tenant: TenantId::new("bench").expect(name),
            user: UserId::new("user").expect(name),
            device: DeviceId::new("device").expect(name),
        };
        let open = Open {
            token: String::new(),
            device: None,
            heartbeat: Duration::ZERO,
            window: BATCH as u32,
            urgency_floor: Urgency::VeryLow,
            agent: String::new(),
            attributes: std::collections::BTreeMap::new(),
        };
        let options = Options::default();
        let handshake = Handshake::check(&open, receiver.clone(), Life::FOREVER, &options).expect("its own token");
        let head = Head { epoch: EPOCH, last: Offset::ZERO, trimmed: Offset::ZERO };
        let log = LogId::Inbox(receiver.tenant.clone(), receiver.user.clone());
        let following = Following { log, cursor: Cursor::after(EPOCH, Offset::ZERO), head };
        let mut out = Vec::new();
        let id = (SessionId::new(1), 1);
        let (number, following) = (DeviceNumber(1), vec![following]);
        let known = Known { new: false, number, following, group_topics: Vec::new(), quiet: None };
        let session = handshake.accept(id, known, Arc::new(options), NOW, &mut out);
        Self { session, receiver, last: 0, body: vec![7; 256].into(), out }
    }

    fn log(&self) -> LogId {
        LogId::Inbox(self.receiver.tenant.clone(), self.receiver.user.clone())
    }

    fn entry(&self, offset: u64) -> Entry {
        Entry {
            offset: Offset(offset),
            id: MessageId::new(offset, [0; 10]),
            accepted_at: NOW.wall,
            expires_at: Timestamp::from_millis(u64::MAX / 2),
            urgency: Urgency::Normal,
            device: None,
            aim: None,
            receipts: true,
            body: self.body.clone(),
        }
    }

    /// The hint of the next entry.
    fn hint(&mut self, carries: bool) -> Input {
        self.last += 1;
        let entry = carries.then(|| self.entry(self.last));
        Input::Grown { log: self.log(), epoch: EPOCH, last: Offset(self.last), entry }
    }

    /// An ack of the newest so many.
    fn ack(&self, count: u64) -> Input {
        Input::Ack(Ticket(1), Ack { acked: vec![(self.last + 1 - count, self.last)], ..Ack::default() })
    }

    fn handle(&mut self, input: Input) {
        self.out.clear();
        self.session.handle(NOW, black_box(input), &mut self.out);
    }

    /// Takes what was just asked for, and checks that the session is where the bench believes it is.
    fn settle(&mut self, count: u64) {
        assert_eq!(self.session.in_flight() as u64, count);
        self.handle(self.ack(count));
        self.handle(Input::Committed(Ok(())));
        // The link has written it all.
        self.handle(Input::Unsent(0));
        assert_eq!(self.session.in_flight(), 0);
    }

    /// Announces a batch without its entries, so that the session reads them; the page that answers.
    fn page(&mut self) -> Input {
        let first = self.last + 1;
        for _ in 0..BATCH {
            let hint = self.hint(false);
            self.handle(hint);
        }
        let head = Head { epoch: EPOCH, last: Offset(self.last), trimmed: Offset::ZERO };
        let entries = (first..=self.last).map(|offset| self.entry(offset)).collect();
        Input::Page(Some(Page { entries, looked: Offset(self.last), head }))
    }
}

/// The clock of this bench; the product takes its own.
#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn now() -> Instant {
    Instant::now()
}

/// Time of `iterations` pushes in batches: each is made ready, timed, and cleared away.
fn batches<T>(
    iterations: u64,
    mut ready: impl FnMut(&mut Step) -> T,
    mut timed: impl FnMut(&mut Step, T),
    mut clear: impl FnMut(&mut Step),
) -> Duration {
    let mut step = Step::new();
    let mut total = Duration::ZERO;
    let rounds = iterations.div_ceil(BATCH);
    for _ in 0..rounds {
        let made = ready(&mut step);
        let began = now();
        timed(&mut step, made);
        total += began.elapsed();
        clear(&mut step);
    }
    total.mul_f64(iterations as f64 / (rounds * BATCH) as f64)
}

fn session_step(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("session_step");
    group.throughput(Throughput::Elements(1));
    let hints = |step: &mut Step| (0..BATCH).map(|_| step.hint(true)).collect::<Vec<_>>();
    let handle_all = |step: &mut Step, inputs: Vec<Input>| inputs.into_iter().for_each(|input| step.handle(input));
    group.bench_function("hint", |bencher| {
        bencher.iter_custom(|iterations| batches(iterations, hints, handle_all, |step| step.settle(BATCH)));
    });
    group.bench_function("page", |bencher| {
        bencher.iter_custom(|iterations| {
            batches(iterations, Step::page, |step, page| step.handle(page), |step| step.settle(BATCH))
        });
    });
    group.bench_function("ack", |bencher| {
        let sent = |step: &mut Step| {
            let inputs = hints(step);
            handle_all(step, inputs);
            vec![step.ack(BATCH), Input::Committed(Ok(())), Input::Unsent(0)]
        };
        bencher.iter_custom(|iterations| batches(iterations, sent, handle_all, |_| {}));
    });
    group.bench_function("round", |bencher| {
        let lives = |step: &mut Step| {
            let life = |_| [step.hint(true), Input::Unsent(0), step.ack(1), Input::Committed(Ok(()))];
            (0..BATCH).flat_map(life).collect::<Vec<_>>()
        };
        bencher.iter_custom(|iterations| {
            batches(iterations, lives, handle_all, |step| assert_eq!(step.session.in_flight(), 0))
        });
    });
    group.bench_function("deadline", |bencher| {
        let mut step = Step::new();
        bencher.iter(|| {
            step.handle(Input::Deadline);
            assert!(step.out.is_empty());
            step.session.deadline()
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = session_step
}
criterion_main!(benches);
