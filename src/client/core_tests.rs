//! Tests of the client's core: single moments by hand.

use std::time::Duration;

use super::{Core, GOOD_SESSION, Input, Output};
use crate::client::acks::Batch;
use crate::client::error::{Error, Refusal};
use crate::client::incoming::{Arrival, Incoming};
use crate::client::options::Options;
use crate::client::push::Settlement;
use crate::client::status::{Phase, Session};
use crate::model::clock::{Moment, Timestamp};
use crate::model::frame::{HeartbeatPlan, Resume, ResumeOutcome};
use crate::model::id::MessageId;

pub(super) const T1: Duration = Duration::from_secs(10);
pub(super) const TIMEOUT: Duration = Duration::from_secs(3);

pub(super) fn options() -> Options {
    Options::new("gateway.example:1", "pem", "token")
}

pub(super) fn welcome(window: u32) -> Incoming {
    Incoming::Welcome(Session {
        id: "s".into(),
        tls: "TLS 1.3",
        heartbeat: HeartbeatPlan { client_interval: T1, server_interval: T1 * 2, timeout: TIMEOUT },
        window,
        ack_timeout: Duration::from_secs(30),
        resume: Resume { outcome: ResumeOutcome::New, waiting: 0, missed: 0 },
        server_time: Timestamp::ZERO,
        topics: Vec::new(),
        group_topics: Vec::new(),
    })
}

pub(super) fn id(n: u64) -> MessageId {
    MessageId::new(n, [0; 10])
}

pub(super) fn push(n: u64, seq: u64) -> Input {
    Input::Frame(Incoming::Push(Box::new(Arrival::plain(id(n), seq))))
}

pub(super) fn acked(n: u64) -> Input {
    Input::Settled(id(n), Settlement::Acked)
}

pub(super) fn closed(may_return: bool) -> Error {
    Error::Closed { code: 1, name: "x".into(), reason: String::new(), may_return }
}

pub(super) fn refused(grpc: u32, name: &str) -> Error {
    Error::Refused(Refusal { grpc, name: name.into(), ..Refusal::default() })
}

/// A core and its clock.
pub(super) struct Bench {
    pub(super) core: Core,
    pub(super) now: Moment,
}

impl Bench {
    pub(super) fn new(options: &Options) -> Self {
        Self { core: Core::new(options, 7), now: Moment::ZERO }
    }

    /// With an open session.
    pub(super) fn open() -> Self {
        let mut bench = Self::new(&options());
        bench.feed(Input::Start);
        bench.feed(Input::Frame(welcome(64)));
        bench
    }

    /// Feeds an input; gives what is to be done, without reports.
    pub(super) fn feed(&mut self, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        self.core.handle(self.now, input, &mut out);
        out.retain(|output| !matches!(output, Output::Report(_)));
        out
    }

    pub(super) fn wait(&mut self, span: Duration) -> Vec<Output> {
        self.now = self.now + span;
        self.feed(Input::Deadline)
    }

    /// Waits exactly until the deadline.
    pub(super) fn wait_deadline(&mut self) -> Vec<Output> {
        let span = self.core.deadline().since(self.now);
        self.wait(span)
    }

    pub(super) fn pause(&self) -> Duration {
        match &self.core.status.phase {
            Phase::Waiting { returns_in, .. } => *returns_in,
            phase => panic!("it does not wait: {phase:?}"),
        }
    }

    pub(super) fn ended(&self) -> Option<&Error> {
        match &self.core.status.phase {
            Phase::Ended { why } => why.as_ref(),
            phase => panic!("it did not end: {phase:?}"),
        }
    }
}

/// Seqs an ack names as handled.
pub(super) fn seqs(outputs: &[Output]) -> Vec<(u64, u64)> {
    match outputs {
        [Output::Ack { batch: Batch { acked, .. }, .. }] => acked.iter().collect(),
        other => panic!("not one ack: {other:?}"),
    }
}

/// P1.11: a heartbeat exactly when nothing came for T1, never before; death exactly when the timeout has passed.
#[test]
fn p1_11_a_heartbeat_is_sent_exactly_after_t1_of_silence_and_death_noticed_exactly_after_the_timeout() {
    let moment = Duration::from_micros(1);
    let mut bench = Bench::open();
    assert_eq!(bench.wait(T1 - moment), []);
    bench.feed(Input::Heard);
    assert_eq!(bench.wait(T1 - moment), [], "any bytes start T1 anew");
    assert_eq!(bench.core.deadline(), bench.now + moment);
    assert_eq!(bench.wait(moment), [Output::Ping]);
    assert_eq!(bench.wait(TIMEOUT - moment), [], "one heartbeat is enough");
    bench.feed(Input::Heard);
    assert_eq!(bench.wait(T1), [Output::Ping], "the answer was life");
    assert_eq!(bench.core.status.heartbeats, 2);
    assert_eq!(bench.wait(TIMEOUT), [Output::Disconnect]);
    assert!(matches!(&bench.core.status.phase, Phase::Waiting { why: Error::Silent(_), .. }));
    assert!(bench.pause() <= options().reconnect_base);
    assert_eq!(bench.wait_deadline(), [Output::Connect]);
}

#[test]
fn an_attempt_without_a_welcome_is_given_up() {
    let mut bench = Bench::new(&options());
    assert_eq!(bench.feed(Input::Start), [Output::Connect]);
    assert_eq!(bench.wait(options().attempt_timeout), [Output::Disconnect]);
    assert_eq!(bench.wait_deadline(), [Output::Connect]);
}

#[test]
fn pauses_grow_with_failures_and_a_good_session_makes_them_short_again() {
    let mut longest = Duration::ZERO;
    let mut bench = Bench::new(&options());
    bench.feed(Input::Start);
    for _ in 0..30 {
        bench.feed(Input::Lost(Error::Network(String::new())));
        longest = longest.max(bench.pause());
        assert!(bench.pause() <= options().reconnect_max);
        bench.wait_deadline();
    }
    assert!(longest > Duration::from_secs(30));
    for (life, short) in [(GOOD_SESSION, true), (Duration::from_secs(1), false)] {
        let mut longest = Duration::ZERO;
        for _ in 0..30 {
            bench.feed(Input::Frame(welcome(64)));
            bench.wait(life);
            bench.feed(Input::Heard);
            bench.feed(Input::Lost(Error::Network(String::new())));
            longest = longest.max(bench.pause());
            bench.wait_deadline();
        }
        assert_eq!(longest <= options().reconnect_base, short, "{life:?}: {longest:?}");
    }
}

#[test]
fn the_pause_that_the_gateway_asks_for_is_kept() {
    let asked = Duration::from_millis(4321);
    let mut bench = Bench::open();
    let close = Incoming::Close { why: closed(true), return_after: asked };
    assert_eq!(bench.feed(Input::Frame(close)), [Output::Disconnect]);
    assert_eq!(bench.pause(), asked);
    assert_eq!(bench.wait(asked - Duration::from_micros(1)), []);
    assert_eq!(bench.wait(Duration::from_micros(1)), [Output::Connect]);
}

#[test]
fn a_move_settles_what_is_handled_and_connects_anew_at_its_time() {
    let mut bench = Bench::open();
    bench.feed(push(1, 1));
    bench.feed(push(2, 2));
    bench.feed(acked(1));
    let after = Duration::from_secs(5);
    let out = bench.feed(Input::Frame(Incoming::Move { return_after: after, nodes: Vec::new() }));
    assert_eq!(seqs(&out), [(1, 1)], "no waiting for more");
    bench.feed(Input::AckAnswered(Ok(())));
    assert_eq!(bench.wait(after - Duration::from_micros(1)), []);
    assert_eq!(bench.wait(Duration::from_micros(1)), [Output::Disconnect, Output::Connect]);
    assert_eq!(bench.core.status.unconfirmed, 0);

    let mut bench = Bench::open();
    bench.feed(Input::Frame(Incoming::Move { return_after: after, nodes: Vec::new() }));
    bench.wait(Duration::from_secs(2));
    assert_eq!(bench.feed(Input::Lost(Error::Network(String::new()))), [Output::Disconnect]);
    assert_eq!(bench.pause(), Duration::from_secs(3), "the stream ended early; the time to return stays");
}

#[test]
fn while_it_moves_an_ack_that_finds_no_stream_waits_for_the_next_try() {
    let mut bench = Bench::open();
    bench.feed(push(1, 1));
    bench.feed(acked(1));
    bench.feed(Input::Frame(Incoming::Move { return_after: Duration::from_secs(9), nodes: Vec::new() }));
    assert_eq!(bench.feed(Input::AckAnswered(Err(Error::Network(String::new())))), []);
    assert_eq!(seqs(&bench.wait_deadline()), [(1, 1)]);
}

#[test]
fn terminal_words_end_it() {
    let close = |may_return| Input::Frame(Incoming::Close { why: closed(may_return), return_after: T1 });
    let cases: [(bool, fn() -> Input); 3] = [
        (true, || Input::Lost(refused(16, "expired_token"))),
        (false, || Input::Lost(refused(16, "invalid_credentials"))),
        (false, || Input::Lost(Error::Untrusted(String::new()))),
    ];
    for (open, input) in cases {
        let mut bench = Bench::new(&options());
        bench.feed(Input::Start);
        if open {
            bench.feed(Input::Frame(welcome(64)));
        }
        assert_eq!(bench.feed(input()), [Output::Disconnect, Output::End]);
        assert!(bench.ended().is_some());
        assert_eq!((bench.core.deadline(), bench.wait(T1)), (Moment::NEVER, vec![]));
    }
    let mut bench = Bench::open();
    assert_eq!(bench.feed(close(false)), [Output::Disconnect, Output::End]);
    assert_eq!(bench.ended(), Some(&closed(false)));
}

#[test]
fn after_the_first_session_another_certificate_is_a_passing_network() {
    let mut bench = Bench::open();
    bench.feed(Input::Lost(Error::Network(String::new())));
    bench.wait_deadline();
    assert_eq!(bench.feed(Input::Lost(Error::Untrusted(String::new()))), [Output::Disconnect]);
    bench.pause();
}

#[test]
fn a_gateway_that_breaks_the_protocol_is_left_and_tried_again() {
    let cases: [&[fn() -> Input]; 6] = [
        &[|| push(1, 1)],
        &[|| Input::Frame(Incoming::Move { return_after: T1, nodes: Vec::new() })],
        &[|| Input::Frame(welcome(64)), || Input::Frame(welcome(64))],
        &[|| Input::Frame(welcome(64)), || push(1, 2)],
        &[|| Input::Frame(welcome(64)), || push(1, 1), || push(2, 3)],
        &[|| Input::Frame(welcome(64)), || push(1, 1), || push(2, 1)],
    ];
    for inputs in cases {
        let mut bench = Bench::new(&options());
        bench.feed(Input::Start);
        let last = inputs.iter().map(|input| bench.feed(input())).last().expect("there are inputs");
        assert_eq!(last, [Output::Disconnect]);
        assert!(matches!(&bench.core.status.phase, Phase::Waiting { why: Error::Protocol(_), .. }));
        assert_eq!(bench.wait_deadline(), [Output::Connect]);
    }
}

#[test]
fn a_duplicate_of_a_settled_push_is_acked_again_and_not_delivered() {
    let mut bench = Bench::open();
    assert!(matches!(bench.feed(push(1, 1))[..], [Output::Deliver(_)]));
    bench.feed(acked(1));
    assert_eq!(seqs(&bench.wait(Duration::from_millis(20))), [(1, 1)]);
    bench.feed(Input::Lost(Error::Network(String::new())));
    assert_eq!(bench.core.status.unconfirmed, 1);
    bench.wait_deadline();
    bench.feed(Input::Frame(welcome(64)));
    assert_eq!(bench.feed(push(1, 1)), []);
    assert_eq!(seqs(&bench.wait(Duration::from_millis(20))), [(1, 1)]);
    assert_eq!(bench.core.status.duplicates, 1);
}

#[test]
fn a_redelivery_of_a_held_push_is_settled_by_its_newest_seq() {
    let mut bench = Bench::open();
    bench.feed(push(1, 1));
    bench.feed(push(2, 2));
    assert_eq!(bench.feed(push(1, 3)), []);
    bench.feed(acked(1));
    assert_eq!(seqs(&bench.wait(Duration::from_millis(20))), [(3, 3)]);
    // And over a new session.
    bench.feed(Input::Lost(Error::Network(String::new())));
    bench.wait_deadline();
    bench.feed(Input::Frame(welcome(64)));
    assert_eq!(bench.feed(push(2, 1)), []);
    bench.feed(acked(2));
    assert_eq!(seqs(&bench.wait(Duration::from_millis(20))), [(1, 1)]);
}

#[test]
fn a_push_settled_between_sessions_is_acked_when_it_comes_again() {
    let mut bench = Bench::open();
    bench.feed(push(1, 1));
    bench.feed(Input::Lost(Error::Network(String::new())));
    assert_eq!(bench.feed(acked(1)), []);
    assert_eq!(bench.feed(Input::Flush(5)), [Output::Flushed(5, Err(Error::Unconfirmed))]);
    bench.wait_deadline();
    bench.feed(Input::Frame(welcome(64)));
    assert_eq!(bench.feed(push(1, 1)), []);
    assert_eq!(seqs(&bench.wait(Duration::from_millis(20))), [(1, 1)]);
}

#[test]
fn nacked_and_dropped_pushes_come_to_the_program_again() {
    let mut bench = Bench::open();
    for (seq, settlement) in [(1, Settlement::Nacked("busy".into())), (2, Settlement::Dropped)] {
        assert!(matches!(bench.feed(push(1, seq))[..], [Output::Deliver(_)]));
        bench.feed(Input::Settled(id(1), settlement));
    }
    assert!(matches!(bench.feed(push(1, 3))[..], [Output::Deliver(_)]));
    let out = bench.wait(Duration::from_millis(20));
    let [Output::Ack { batch, .. }] = &out[..] else { panic!("not one ack: {out:?}") };
    assert_eq!(batch.nacked.iter().map(|nack| nack.seq).collect::<Vec<_>>(), [1], "a dropped push says nothing");
}

#[test]
fn a_program_that_settles_nothing_stops_the_reading() {
    let mut options = options();
    (options.remembered, options.window) = (3, 3);
    let mut bench = Bench::new(&options);
    bench.feed(Input::Start);
    bench.feed(Input::Frame(welcome(3)));
    for n in 1..=3 {
        assert!(bench.core.reads());
        bench.feed(push(n, n));
    }
    assert!(!bench.core.reads());
    bench.feed(acked(2));
    assert!(bench.core.reads());
}

#[test]
fn refused_acks_are_repeated_reported_or_end_the_session() {
    let acking = || {
        let mut bench = Bench::open();
        bench.feed(push(1, 1));
        bench.feed(acked(1));
        bench.feed(Input::Flush(1));
        bench
    };
    // The gateway cannot at the moment.
    for why in [refused(14, "store_busy"), Error::TimedOut("the answer to a request")] {
        let mut bench = acking();
        assert_eq!(bench.feed(Input::AckAnswered(Err(why))), []);
        assert_eq!(seqs(&bench.wait_deadline()), [(1, 1)]);
        assert_eq!(bench.feed(Input::AckAnswered(Ok(()))), [Output::Flushed(1, Ok(()))]);
    }
    // A fault that repeating cannot heal.
    let mut bench = acking();
    let why = refused(3, "future_seq");
    assert_eq!(bench.feed(Input::AckAnswered(Err(why.clone()))), [Output::Flushed(1, Err(why.clone()))]);
    assert_eq!(bench.core.status.refused_ack, Some(why));
    // The session is no more.
    for name in ["no_session", "session_ended", "session_mismatch"] {
        let mut bench = acking();
        let out = bench.feed(Input::AckAnswered(Err(refused(9, name))));
        assert_eq!(out, [Output::Disconnect, Output::Flushed(1, Err(Error::Unconfirmed))]);
        bench.pause();
    }
}

#[test]
fn a_flush_waits_for_all_before_it_and_for_nothing_after() {
    let mut bench = Bench::open();
    assert_eq!(bench.feed(Input::Flush(1)), [Output::Flushed(1, Ok(()))], "there is nothing to confirm");
    (1..=3).for_each(|n| drop(bench.feed(push(n, n))));
    bench.feed(acked(1));
    assert_eq!(seqs(&bench.feed(Input::Flush(2))), [(1, 1)]);
    bench.feed(acked(2));
    assert_eq!(bench.feed(Input::Flush(3)), []);
    bench.feed(acked(3));
    let out = bench.feed(Input::AckAnswered(Ok(())));
    assert!(matches!(&out[..], [Output::Ack { .. }, Output::Flushed(2, Ok(()))]), "{out:?}");
    assert_eq!(bench.feed(Input::AckAnswered(Ok(()))), [Output::Flushed(3, Ok(()))]);
}

#[test]
fn closing_confirms_acks_first_and_is_bounded() {
    let closing = || {
        let mut bench = Bench::open();
        bench.feed(push(1, 1));
        bench.feed(acked(1));
        assert_eq!(seqs(&bench.feed(Input::Close(9))), [(1, 1)]);
        bench
    };
    let mut bench = closing();
    assert_eq!(bench.feed(push(2, 2)), [], "nobody takes it any more");
    assert_eq!(bench.feed(Input::AckAnswered(Ok(()))), [Output::Flushed(9, Ok(())), Output::End]);
    assert_eq!(bench.ended(), None);

    let mut bench = closing();
    let out = bench.wait(options().request_timeout);
    assert!(matches!(&out[..], [Output::Flushed(9, Err(Error::TimedOut(_))), Output::End]), "{out:?}");

    let mut bench = closing();
    let out = bench.feed(Input::Lost(Error::Network(String::new())));
    assert_eq!(out, [Output::Disconnect, Output::Flushed(9, Err(Error::Unconfirmed)), Output::End]);

    let mut bench = Bench::new(&options());
    bench.feed(Input::Start);
    assert_eq!(bench.feed(Input::Close(1)), [Output::Flushed(1, Ok(())), Output::End]);
}
