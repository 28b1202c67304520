//! The session's answers to single inputs, with a given clock. What long stories do to it is for the worlds.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::delivery::handshake::{Handshake, Known};
use crate::delivery::lease::Life;
use crate::delivery::options::Options;
use crate::delivery::session::{Input, Output, Session};
use crate::model::clock::{Moment, Now, Timestamp};
use crate::model::close::CloseReason;
use crate::model::cursor::{Cursor, Following};
use crate::model::fault::{Code, Fault};
use crate::model::frame::{Ack, Answer, Frame, Nack, Open, Resume, ResumeOutcome, Ticket, Verdict};
use crate::model::id::{DeviceId, DeviceNumber, MessageId, Receiver, SessionId, TenantId, UserId};
use crate::model::log::{Epoch, Head, LogId, Offset};
use crate::model::message::{Entry, Page, Urgency};
use crate::zone::Hours;

mod aims;
mod quiet;
mod redelivery;
mod reports;
mod token;

const EPOCH: Epoch = Epoch(7);

const NUMBER: DeviceNumber = DeviceNumber(5);

fn inbox() -> LogId {
    LogId::Inbox(TenantId::new("t").expect("a name"), UserId::new("u").expect("a name"))
}

fn at(millis: u64) -> Now {
    let wall = Timestamp::from_millis(1_000_000 + millis);
    Now { moment: Moment::ZERO + Duration::from_millis(millis), wall }
}

fn entry(offset: u64) -> Entry {
    Entry {
        offset: Offset(offset),
        id: MessageId::new(offset, [0; 10]),
        accepted_at: at(0).wall,
        expires_at: at(1_000_000_000).wall,
        urgency: Urgency::Normal,
        device: None,
        aim: None,
        receipts: false,
        body: Bytes::from_static(b"body"),
    }
}

fn head(last: u64) -> Head {
    Head { epoch: EPOCH, last: Offset(last), trimmed: Offset::ZERO }
}

fn page(offsets: std::ops::RangeInclusive<u64>, last: u64) -> Input {
    let looked = Offset(*offsets.end());
    Input::Page(Some(Page { entries: offsets.map(entry).collect(), looked, head: head(last) }))
}

fn hint(offset: u64) -> Input {
    Input::Grown { log: inbox(), epoch: EPOCH, last: Offset(offset), entry: Some(entry(offset)) }
}

fn ack(ticket: u32, acked: &[(u64, u64)]) -> Input {
    Input::Ack(Ticket(ticket), Ack { acked: acked.to_vec(), ..Ack::default() })
}

/// A session and what it said last.
struct Bench {
    session: Session,
    out: Vec<Output>,
}

impl Bench {
    fn open(following: Following, token_expires: Now, options: Options) -> Self {
        Self::open_quiet(following, token_expires, options, None)
    }

    fn open_quiet(following: Following, token_expires: Now, options: Options, quiet: Option<Hours>) -> Self {
        let receiver = Receiver {
            tenant: TenantId::new("t").expect("a name"),
            user: UserId::new("u").expect("a name"),
            device: DeviceId::new("d").expect("a name"),
        };
        let open = Open {
            token: String::new(),
            device: None,
            heartbeat: Duration::ZERO,
            window: 4,
            urgency_floor: Urgency::VeryLow,
            agent: String::new(),
            attributes: std::collections::BTreeMap::new(),
        };
        let life = Life { issued_at: at(0).wall, expires_at: token_expires.wall };
        let handshake = Handshake::check(&open, receiver, life, &options).expect("its own token");
        let id = (SessionId::new(0xabc), 1);
        let mut out = Vec::new();
        let known = Known { new: false, number: NUMBER, following: vec![following], group_topics: Vec::new(), quiet };
        let session = handshake.accept(id, known, Arc::new(options), at(0), &mut out);
        Self { session, out }
    }

    /// Caught up with an inbox of ten.
    fn idle() -> Self {
        let following = Following { log: inbox(), cursor: Cursor::after(EPOCH, Offset(10)), head: head(10) };
        let mut bench = Self::open(following, at(1_000_000_000), Options::default());
        bench.out.clear();
        bench
    }

    fn feed(&mut self, millis: u64, input: Input) -> &[Output] {
        self.out.clear();
        self.session.handle(at(millis), input, &mut self.out);
        &self.out
    }

    /// Seqs and offsets of the pushes it just sent.
    fn sent(&self) -> Vec<(u64, u64)> {
        let push = |output: &Output| match output {
            Output::Send(Frame::Push { seq, entry, .. }) => Some((*seq, entry.offset.0)),
            _ => None,
        };
        self.out.iter().filter_map(push).collect()
    }

    fn resume(&self) -> Resume {
        match &self.out[0] {
            Output::Send(Frame::Welcome(welcome)) => welcome.resume,
            other => panic!("the first frame must be a welcome: {other:?}"),
        }
    }
}

#[test]
fn the_welcome_comes_first_and_tells_how_the_resume_went() {
    let open = |cursor: Cursor, trimmed| {
        let head = Head { trimmed: Offset(trimmed), ..head(10) };
        Bench::open(Following { log: inbox(), cursor, head }, at(9_999_999), Options::default())
    };
    let resumed = open(Cursor::after(EPOCH, Offset(4)), 0);
    assert_eq!(resumed.resume(), Resume { outcome: ResumeOutcome::Resumed, waiting: 6, missed: 0 });
    let read = Output::Read { log: inbox(), after: Offset(4), entries: 4, bytes: 65_536 };
    assert_eq!(resumed.out[1..], [read]);
    let trimmed = open(Cursor::after(EPOCH, Offset(4)), 6);
    assert_eq!(trimmed.resume(), Resume { outcome: ResumeOutcome::Gap, waiting: 4, missed: 2 });
    let other_life = open(Cursor::after(Epoch(6), Offset(10)), 0);
    assert_eq!(other_life.resume(), Resume { outcome: ResumeOutcome::Gap, waiting: 10, missed: 0 });
}

#[test]
fn an_entry_goes_straight_from_the_hint_only_if_it_is_the_next() {
    let mut bench = Bench::idle();
    bench.feed(1, hint(11));
    assert_eq!(bench.sent(), [(1, 11)]);
    let read = |after, entries| Output::Read { log: inbox(), after: Offset(after), entries, bytes: 65_536 };
    assert_eq!(bench.feed(2, hint(13)), [read(11, 3)], "12 is missing: read");
    assert_eq!(bench.feed(3, hint(14)), [], "one read at a time");
    assert_eq!(bench.feed(3, hint(12)), [], "old news");
    bench.feed(4, page(12..=14, 14));
    assert_eq!(bench.sent(), [(2, 12), (3, 13), (4, 14)]);
    assert_eq!(bench.feed(5, hint(15)), [], "the window is full");
    bench.feed(6, ack(1, &[(2, 2)]));
    assert_eq!(bench.out[1..], [read(14, 1)], "room again");
}

#[test]
fn holes_in_a_page_are_settled_and_do_not_stall() {
    let mut bench = Bench::idle();
    bench.feed(1, Input::Grown { log: inbox(), epoch: EPOCH, last: Offset(20), entry: None });
    let entries = vec![entry(12), entry(15)];
    bench.feed(2, Input::Page(Some(Page { entries, looked: Offset(20), head: head(20) })));
    assert_eq!(bench.sent(), [(1, 12), (2, 15)]);
    let Some(Output::Commit(cursors, ..)) = bench.feed(3, ack(1, &[(1, 2)])).first() else { panic!("no commit") };
    assert_eq!(cursors[0].1.settled.floor(), 20);
}

#[test]
fn acks_are_exact_and_answered_after_the_commit() {
    let mut bench = Bench::idle();
    for offset in 11..=14 {
        bench.feed(1, hint(offset));
    }
    let settled = |bench: &Bench| match &bench.out[..] {
        [Output::Commit(cursors, ..), ..] => cursors[0].1.settled.iter().collect::<Vec<_>>(),
        other => panic!("no commit: {other:?}"),
    };
    bench.feed(2, ack(1, &[(3, 3), (1, 1)]));
    assert_eq!(settled(&bench), [(1, 11), (13, 13)], "out of order");
    assert_eq!(bench.feed(3, ack(2, &[(2, 2)])), [], "it shares the next commit");
    bench.feed(4, Input::Committed(Ok(())));
    let answered = |ticket, settled, already_settled| {
        Output::Answer(Ticket(ticket), Ok(Answer::Acked { settled, already_settled }))
    };
    assert_eq!(bench.out[0], answered(1, 2, 0));
    assert!(matches!(bench.out[1], Output::Commit(..)));
    assert_eq!(bench.feed(5, Input::Committed(Ok(()))), [answered(2, 1, 0)]);
    assert_eq!(bench.feed(6, ack(3, &[(1, 3)])), [answered(3, 0, 3)], "twice is harmless, and needs no write");
}

#[test]
fn an_ack_is_refused_whole() {
    let mut bench = Bench::idle();
    bench.feed(1, hint(11));
    let refused = |bench: &mut Bench, ack: Ack| match bench.feed(2, Input::Ack(Ticket(1), ack)) {
        [Output::Answer(_, Err(fault))] => fault.code,
        other => panic!("not a refusal: {other:?}"),
    };
    let future = Ack { acked: vec![(1, 1), (2, 2)], ..Ack::default() };
    assert_eq!(refused(&mut bench, future), Code::FutureSeq);
    let nack = Nack { seq: 2, verdict: Verdict::Retry, reason: String::new() };
    let future = Ack { acked: vec![(1, 1)], nacked: vec![nack], ..Ack::default() };
    assert_eq!(refused(&mut bench, future), Code::FutureSeq);
    let foreign = Ack { acked: vec![(1, 1)], session: "0000000000000001".into(), ..Ack::default() };
    assert_eq!(refused(&mut bench, foreign), Code::SessionMismatch);
    assert_eq!(bench.session.in_flight(), 1, "nothing was applied");
}

#[test]
fn a_failed_commit_is_told_and_made_up_for() {
    let mut bench = Bench::idle();
    bench.feed(1, hint(11));
    bench.feed(1, hint(12));
    bench.feed(2, ack(1, &[(1, 1)]));
    let busy = Fault::new(Code::StoreBusy, "busy");
    assert_eq!(bench.feed(3, Input::Committed(Err(busy.clone()))), [Output::Answer(Ticket(1), Err(busy))]);
    let again = bench.feed(4, ack(2, &[(1, 1)]));
    let [Output::Commit(cursors, ..)] = again else { panic!("the repeated ack must be written: {again:?}") };
    assert!(cursors[0].1.settled.contains(11));
}

/// P1.12: nothing heard for T2 brings a PING, and T2 plus the timeout the end; anything heard puts it off.
#[test]
fn p1_12_a_silent_device_is_pinged_and_then_given_up() {
    let mut bench = Bench::idle();
    bench.session.heads_at = Moment::NEVER;
    let interval = 55_000 * 5 / 4;
    assert_eq!(bench.session.deadline(), at(interval).moment);
    assert_eq!(bench.feed(interval, Input::Deadline), [Output::Ping]);
    bench.feed(interval + 1, Input::Heard);
    assert_eq!(bench.session.deadline(), at(interval + 1 + interval).moment);
    assert_eq!(bench.feed(2 * interval + 1, Input::Deadline), [Output::Ping]);
    let end = 2 * interval + 1 + 20_000;
    assert_eq!(bench.session.deadline(), at(end).moment);
    let closed = bench.feed(end, Input::Deadline);
    assert!(matches!(&closed[0], Output::Send(Frame::Close { reason: CloseReason::HeartbeatTimeout, .. })));
    assert_eq!(closed[1], Output::Closed(Some(CloseReason::HeartbeatTimeout)));
}

#[test]
fn a_lost_hint_costs_no_more_than_the_interval_of_the_heads() {
    let mut bench = Bench::idle();
    assert_eq!(bench.session.deadline(), at(40_000).moment);
    assert_eq!(bench.feed(40_000, Input::Deadline), [Output::Heads(vec![inbox()])]);
    let read = Output::Read { log: inbox(), after: Offset(10), entries: 4, bytes: 65_536 };
    assert_eq!(bench.feed(40_001, Input::Heads(vec![(inbox(), head(12))])), [read]);
}

#[test]
fn a_push_that_is_not_on_the_wire_does_not_lapse() {
    let mut bench = Bench::idle();
    bench.feed(1, hint(11));
    bench.feed(2, Input::Unsent(68));
    bench.feed(30_000, Input::Heard);
    bench.feed(60_001, Input::Unsent(67));
    bench.feed(60_001, Input::Deadline);
    assert_eq!(bench.session.tally().lapsed, 0);
    bench.feed(60_002, Input::Unsent(0));
    bench.feed(60_002, Input::Heard);
    bench.feed(120_001, Input::Deadline);
    assert_eq!(bench.session.tally().lapsed, 1, "on the wire and not acked");
    assert_eq!(bench.session.in_flight(), 1, "it rests");
}

#[test]
fn a_device_that_takes_nothing_is_closed() {
    let mut bench = Bench::idle();
    bench.feed(1, hint(11));
    bench.feed(2, Input::Unsent(68));
    bench.feed(50_000, Input::Unsent(67));
    bench.feed(61_000, Input::Heard);
    bench.feed(61_001, Input::Deadline);
    assert!(!bench.session.over(), "it took a byte meanwhile");
    bench.feed(110_000, Input::Heard);
    let closed = bench.feed(110_001, Input::Deadline);
    assert!(closed.contains(&Output::Closed(Some(CloseReason::SlowConsumer))), "{closed:?}");
}

#[test]
fn a_draining_session_settles_but_sends_nothing_new() {
    let mut bench = Bench::idle();
    bench.feed(1, hint(11));
    let (return_after, grace) = (Duration::from_millis(300), Duration::from_millis(500));
    let nodes: Arc<[String]> = ["b.example:1".to_owned()].into();
    let moved = bench.feed(2, Input::Drain { return_after, grace, nodes: Arc::clone(&nodes) });
    assert_eq!(moved, [Output::Send(Frame::Move { return_after, grace, nodes })]);
    assert_eq!(bench.feed(3, hint(12)), []);
    assert!(matches!(bench.feed(4, ack(1, &[(1, 1)])), [Output::Commit(..)]));
    // The grace is over while the commit is out: the session waits for it, so that the ack is answered.
    assert_eq!(bench.session.deadline(), at(502).moment);
    assert!(matches!(bench.feed(502, Input::Deadline), [Output::Send(Frame::Close { .. })]));
    let last = bench.feed(503, Input::Committed(Ok(())));
    assert!(matches!(last, [Output::Answer(_, Ok(_)), Output::Closed(Some(CloseReason::Drain))]), "{last:?}");
    let late = bench.feed(504, ack(2, &[(1, 1)]));
    assert!(matches!(late, [Output::Answer(_, Err(fault))] if fault.code == Code::SessionEnded), "{late:?}");
}

/// A page that was asked for before must not move the place on, past what may go now.
#[test]
fn what_was_withheld_goes_when_the_floor_is_lowered_while_a_read_is_out() {
    let following = Following { log: inbox(), cursor: Cursor::after(EPOCH, Offset(10)), head: head(10) };
    let mut bench = Bench::open(following, at(1_000_000_000), Options::default());
    bench.feed(1, Input::Update(Ticket(1), Some(Urgency::High), None));
    bench.feed(2, hint(11));
    assert_eq!(bench.sent(), []);
    let bare = Input::Grown { log: inbox(), epoch: EPOCH, last: Offset(12), entry: None };
    let read = |after| Output::Read { log: inbox(), after: Offset(after), entries: 4, bytes: 65_536 };
    assert_eq!(bench.feed(3, bare), [read(11)]);
    bench.feed(4, Input::Update(Ticket(2), Some(Urgency::Low), None));
    assert_eq!(bench.feed(5, page(12..=12, 12)), [read(10)]);
    bench.feed(6, page(11..=12, 12));
    assert_eq!(bench.sent(), [(1, 11), (2, 12)]);
}

/// The page is of the new life, but was asked for after a place in the old one.
#[test]
fn a_new_life_that_shows_while_a_read_is_out_is_read_from_its_beginning() {
    let following = Following { log: inbox(), cursor: Cursor::after(EPOCH, Offset(4)), head: head(9) };
    let mut bench = Bench::open(following, at(1_000_000_000), Options::default());
    let head = Head { epoch: Epoch(8), last: Offset(5), trimmed: Offset::ZERO };
    bench.feed(1, Input::Heads(vec![(inbox(), head)]));
    let page = Page { entries: vec![entry(5)], looked: Offset(5), head };
    let read = Output::Read { log: inbox(), after: Offset(0), entries: 4, bytes: 65_536 };
    assert_eq!(bench.feed(2, Input::Page(Some(page))), [read]);
}

/// Without the heads: what found no room is read as soon as there is some.
#[test]
fn what_found_no_room_is_read_when_there_is_room() {
    let mut bench = Bench::idle();
    bench.feed(1, Input::Update(Ticket(1), None, Some(1)));
    bench.feed(1, hint(11));
    bench.feed(2, hint(12));
    let read = |after| Output::Read { log: inbox(), after: Offset(after), entries: 1, bytes: 65_536 };
    bench.feed(3, Input::Unsent(0));
    assert!(bench.feed(4, ack(2, &[(1, 1)])).contains(&read(11)), "after a hint");
    bench.feed(5, page(12..=13, 13));
    assert_eq!(bench.sent(), [(2, 12)]);
    bench.feed(5, Input::Unsent(0));
    assert!(bench.feed(6, ack(3, &[(2, 2)])).contains(&read(12)), "after a page");
    bench.feed(7, page(13..=13, 14));
    bench.feed(7, Input::Unsent(0));
    assert!(bench.feed(8, ack(4, &[(3, 3)])).contains(&read(13)), "what the page told of the head");
}

/// The page was read for the time before; it must not move the new place on.
#[test]
fn a_log_that_is_followed_anew_is_not_moved_on_by_an_older_read() {
    let following = Following { log: inbox(), cursor: Cursor::after(EPOCH, Offset(4)), head: head(9) };
    let mut bench = Bench::open(following.clone(), at(1_000_000_000), Options::default());
    bench.feed(1, Input::Refreshed(Vec::new(), None));
    let cursor = Cursor::after(EPOCH, Offset(2));
    bench.feed(2, Input::Followed(vec![Following { cursor, ..following }]));
    let read = Output::Read { log: inbox(), after: Offset(2), entries: 4, bytes: 65_536 };
    assert_eq!(bench.feed(3, page(5..=8, 9)), [read]);
}

#[test]
fn a_cursor_of_too_many_ranges_takes_nothing_new_until_an_older_push_is_acked() {
    let following = Following { log: inbox(), cursor: Cursor::after(EPOCH, Offset(10)), head: head(10) };
    let options = Options { settled_spans_max: 2, ..Options::default() };
    let mut bench = Bench::open(following, at(1_000_000_000), options);
    bench.feed(1, hint(11));
    bench.feed(1, hint(12));
    bench.feed(1, Input::Unsent(0));
    bench.feed(2, ack(1, &[(2, 2)]));
    assert_eq!(bench.feed(3, hint(13)), [], "1 to 10 and 12: it is full, and does not read either");
    let read = Output::Read { log: inbox(), after: Offset(12), entries: 4, bytes: 65_536 };
    assert!(bench.feed(4, ack(2, &[(1, 1)])).contains(&read));
}

/// No ack comes that would queue the log again.
#[test]
fn what_waited_for_bytes_is_read_when_they_are_on_the_wire() {
    let following = Following { log: inbox(), cursor: Cursor::after(EPOCH, Offset(10)), head: head(10) };
    let options = Options { unsent_bytes_max: 100, window_max: 9, ..Options::default() };
    let mut bench = Bench::open(following, at(1_000_000_000), options);
    bench.feed(1, Input::Update(Ticket(1), None, Some(9)));
    for offset in [11, 12, 13] {
        bench.feed(1, hint(offset));
    }
    let read = |after, entries| Output::Read { log: inbox(), after: Offset(after), entries, bytes: 100 };
    assert_eq!(bench.feed(2, Input::Unsent(0)), [read(12, 7)], "after a hint");
    bench.feed(3, page(13..=15, 15));
    assert_eq!(bench.sent(), [(3, 13), (4, 14)]);
    assert_eq!(bench.feed(4, Input::Unsent(0)), [read(14, 5)], "after a page");
}

#[test]
fn acks_that_wait_for_a_stuck_store_are_bounded() {
    let mut bench = Bench::idle();
    bench.feed(1, hint(11));
    bench.feed(2, ack(0, &[(1, 1)]));
    for ticket in 1..=1024 {
        assert_eq!(bench.feed(3, ack(ticket, &[(1, 1)])), []);
    }
    let refused = bench.feed(4, ack(1025, &[(1, 1)]));
    assert!(matches!(refused, [Output::Answer(_, Err(fault))] if fault.code == Code::StoreBusy), "{refused:?}");
}
