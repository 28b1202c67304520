//! Deliveries that fail, by a nack or because no ack comes: when a push comes again, and when it is given up.

use std::sync::Arc;
use std::time::Duration;

use super::{Bench, EPOCH, ack, at, entry, head, hint, inbox, page};
use crate::delivery::options::Options;
use crate::delivery::session::{Input, Output};
use crate::model::clock::Moment;
use crate::model::close::CloseReason;
use crate::model::cursor::{Cursor, Following};
use crate::model::fault::{Code, Fault};
use crate::model::frame::{Ack, Answer, Frame, Nack, Ticket, Verdict};
use crate::model::log::Offset;
use crate::model::message::{Entry, Urgency};

#[test]
fn a_late_ack_of_an_earlier_delivery_still_counts() {
    let mut bench = Bench::idle();
    bench.feed(1, hint(11));
    bench.feed(2, Input::Unsent(0));
    bench.feed(30_000, Input::Heard);
    bench.feed(60_001, Input::Deadline);
    let due = bench.session.deadline();
    let due = u64::try_from(due.since(Moment::ZERO).as_millis()).expect("soon") + 1;
    bench.feed(due, Input::Heard);
    let read = bench.feed(due, Input::Deadline);
    assert!(read.contains(&Output::Read { log: inbox(), after: Offset(10), entries: 1, bytes: 65_536 }), "{read:?}");
    bench.feed(due + 1, page(11..=11, 11));
    assert_eq!(bench.sent(), [(2, 11)], "the same place under a new seq");
    assert!(matches!(bench.feed(due + 2, ack(1, &[(1, 1)])), [Output::Commit(..)]));
    assert_eq!(bench.session.in_flight(), 0);
}

fn nack(ticket: u32, seqs: &[u64], verdict: Verdict) -> Input {
    let nacked = seqs.iter().map(|&seq| Nack { seq, verdict, reason: String::new() }).collect();
    Input::Ack(Ticket(ticket), Ack { nacked, ..Ack::default() })
}

/// The moment of its deadline, as milliseconds that are not before it.
fn deadline(bench: &Bench) -> u64 {
    u64::try_from(bench.session.deadline().since(Moment::ZERO).as_millis()).expect("soon") + 1
}

#[test]
fn a_nack_that_comes_twice_is_one_failure() {
    let mut bench = Bench::idle();
    bench.feed(1, hint(11));
    bench.feed(2, nack(1, &[1, 1, 1, 1, 1], Verdict::Retry));
    bench.feed(3, Input::Committed(Ok(())));
    let again = bench.feed(4, nack(2, &[1], Verdict::Retry));
    let harmless = Answer::Acked { settled: 0, already_settled: 1 };
    assert_eq!(again, [Output::Answer(Ticket(2), Ok(harmless))]);
    assert_eq!((bench.session.tally().dead, bench.session.in_flight()), (0, 1));
    let due = deadline(&bench);
    bench.feed(due, Input::Deadline);
    bench.feed(due, page(11..=11, 11));
    assert!(matches!(bench.out[..], [Output::Send(Frame::Push { seq: 2, attempt: 2, .. })]), "{:?}", bench.out);
    bench.feed(due, nack(3, &[1], Verdict::Reject));
    assert_eq!((bench.session.tally().dead, bench.session.in_flight()), (1, 0), "a rejection names any delivery");
}

#[test]
fn the_pause_before_a_redelivery_doubles_up_to_its_bound() {
    let following = Following { log: inbox(), cursor: Cursor::after(EPOCH, Offset(10)), head: head(10) };
    let (first, most) = (Duration::from_secs(2), Duration::from_secs(8));
    let options = Options {
        retry_pause_first: first,
        retry_pause_max: most,
        attempts_max: 7,
        heads_interval: Duration::from_secs(3600),
        ..Options::default()
    };
    let mut bench = Bench::open(following, at(1_000_000_000), options);
    bench.feed(0, hint(11));
    let mut now = 0;
    for (seq, seconds) in (1..).zip([2, 4, 8, 8, 8, 8]) {
        bench.feed(now, nack(1, &[seq], Verdict::Retry));
        bench.feed(now, Input::Committed(Ok(())));
        let due = deadline(&bench);
        // A quarter is left to chance, so that a crowd of failures does not come back at once.
        let pauses = seconds * 1000..=seconds * 1250 + 1;
        assert!(pauses.contains(&(due - now)), "attempt {seq}: {} ms", due - now);
        now = due;
        bench.feed(now, Input::Deadline);
        bench.feed(now, page(11..=11, 11));
        assert_eq!(bench.sent(), [(seq + 1, 11)]);
    }
}

/// What waits for a lower floor takes no room from what the device accepts.
#[test]
fn a_raised_floor_does_not_block_the_window() {
    let following = Following { log: inbox(), cursor: Cursor::after(EPOCH, Offset(10)), head: head(10) };
    let mut bench = Bench::open(following, at(1_000_000_000), Options::default());
    bench.feed(1, Input::Update(Ticket(1), None, Some(1)));
    bench.feed(1, hint(11));
    bench.feed(2, nack(2, &[1], Verdict::Retry));
    bench.feed(2, Input::Update(Ticket(3), Some(Urgency::High), None));
    bench.feed(2, Input::Unsent(0));
    let due = deadline(&bench);
    bench.feed(due, Input::Deadline);
    bench.feed(due, page(11..=11, 11));
    assert_eq!((bench.sent(), bench.session.in_flight()), (vec![], 0));
    let urgent = Entry { urgency: Urgency::High, ..entry(12) };
    bench.feed(due, Input::Grown { log: inbox(), epoch: EPOCH, last: Offset(12), entry: Some(urgent) });
    assert_eq!(bench.sent(), [(2, 12)]);
    bench.feed(due, Input::Update(Ticket(4), Some(Urgency::Low), None));
    assert_eq!(bench.out.len(), 1, "no room for the older one: {:?}", bench.out);
    let read = Output::Read { log: inbox(), after: Offset(10), entries: 1, bytes: 65_536 };
    bench.feed(due, Input::Committed(Ok(())));
    bench.feed(due, Input::Unsent(0));
    assert!(bench.feed(due, ack(5, &[(2, 2)])).contains(&read));
    bench.feed(due, page(11..=11, 12));
    assert_eq!(bench.sent(), [(3, 11)]);
    bench.feed(due, ack(6, &[(1, 1)]));
    assert_eq!(bench.session.in_flight(), 0, "a late ack of its first delivery still counts");
}

#[test]
fn a_draining_session_sends_nothing_again() {
    let mut bench = Bench::idle();
    bench.feed(1, hint(11));
    bench.feed(1, Input::Unsent(0));
    bench.feed(2, nack(1, &[1], Verdict::Retry));
    let due = deadline(&bench);
    assert!(matches!(bench.feed(due, Input::Deadline), [Output::Read { .. }]));
    let (return_after, grace) = (Duration::from_secs(9), Duration::from_secs(9));
    bench.feed(due, Input::Drain { return_after, grace, nodes: Arc::default() });
    bench.feed(due, page(11..=11, 11));
    assert_eq!(bench.sent(), []);
}

#[test]
fn a_dead_message_is_written_again_after_a_failed_commit() {
    let mut bench = Bench::idle();
    bench.feed(1, hint(11));
    bench.feed(2, nack(1, &[1], Verdict::Reject));
    bench.feed(3, Input::Committed(Err(Fault::new(Code::StoreBusy, "busy"))));
    let again = bench.feed(4, Input::Close(CloseReason::TakenOver));
    assert!(matches!(&again[1], Output::Commit(_, dead, _) if dead.len() == 1), "{again:?}");
}

/// What failed deliveries cost is known to the next session.
#[test]
fn a_session_that_closes_writes_what_it_knows() {
    let mut bench = Bench::idle();
    bench.feed(1, hint(11));
    bench.feed(2, Input::Unsent(0));
    bench.feed(30_000, Input::Heard);
    bench.feed(60_001, Input::Deadline);
    let closed = bench.feed(60_002, Input::Gone);
    let [Output::Commit(cursors, ..)] = closed else { panic!("no commit: {closed:?}") };
    assert_eq!(cursors[0].1.attempts[&Offset(11)], 1);
    assert_eq!(bench.feed(60_003, Input::Committed(Ok(()))), [Output::Closed(None)]);
}
