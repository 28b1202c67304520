//! What a session tells the store of its deliveries, and when.

use std::borrow::Cow;
use std::sync::Arc;

use super::{Bench, EPOCH, ack, at, entry, hint, inbox};
use crate::delivery::options::Options;
use crate::delivery::session::{Input, Output};
use crate::model::clock::{Moment, Timestamp};
use crate::model::cursor::{Cursor, Following};
use crate::model::fault::{Code, Fault};
use crate::model::frame::{Ack, Nack, Ticket, Verdict};
use crate::model::id::{TenantId, TopicName};
use crate::model::log::{LogId, Offset};
use crate::model::message::{Aim, Entry};
use crate::model::receipt::{Report, Reported};

fn grown(log: LogId, offset: u64) -> Input {
    let entry = Entry { receipts: true, ..entry(offset) };
    Input::Grown { log, epoch: EPOCH, last: Offset(offset), entry: Some(entry) }
}

fn report(offset: u64, millis: u64, what: Reported) -> Report {
    Report { message: entry(offset).id, at: at(millis).wall, what }
}

/// The reports of the one commit among the outputs.
fn committed(out: &[Output]) -> Vec<Report> {
    let commit = |output: &Output| match output {
        Output::Commit(_, _, reports) => Some(reports.clone()),
        _ => None,
    };
    let mut commits = out.iter().filter_map(commit);
    let reports = commits.next().expect("a commit");
    assert!(commits.next().is_none(), "one commit at a time");
    reports
}

#[test]
fn sent_and_acked_travel_in_the_commit_of_the_ack() {
    let mut bench = Bench::idle();
    bench.feed(1, grown(inbox(), 11));
    assert_eq!(bench.out.len(), 1, "no commit of its own: {:?}", bench.out);
    let reports = committed(bench.feed(9, ack(1, &[(1, 1)])));
    assert_eq!(reports, [report(11, 1, Reported::Sent(1)), report(11, 9, Reported::Acked)]);
    bench.feed(10, Input::Committed(Ok(())));
    assert!(bench.session.deadline() > at(10_000).moment, "nothing is left to write");
}

#[test]
fn what_asks_for_no_receipts_makes_no_reports() {
    let mut bench = Bench::idle();
    bench.feed(1, hint(11));
    bench.feed(1, Input::Online(Entry { receipts: true, offset: Offset::ZERO, ..entry(0) }));
    assert_eq!(bench.sent().len(), 1, "an online-only push is in no log");
    let reports = committed(bench.feed(9, ack(1, &[(1, 2)])));
    assert_eq!(reports, []);
}

#[test]
fn an_ack_that_takes_a_push_from_others_is_reported_without_receipts_too() {
    let mut bench = Bench::idle();
    let aim = Some(Arc::new(Aim { any_of_user: true, ..Aim::default() }));
    let taken = Entry { aim, ..entry(11) };
    bench.feed(1, Input::Grown { log: inbox(), epoch: EPOCH, last: Offset(11), entry: Some(taken) });
    let reports = committed(bench.feed(9, ack(1, &[(1, 1)])));
    assert_eq!(reports, [report(11, 9, Reported::Acked)], "that it was sent is nobody's matter");
}

#[test]
fn what_nobody_acks_is_reported_after_a_while_that_is_longer_for_a_crowd() {
    let topic = LogId::Topic(TenantId::new("t").expect("a name"), TopicName::new("a").expect("a name"));
    for (log, waits) in [(inbox(), 1_000), (topic, 15_000)] {
        let following = Following { log: log.clone(), cursor: Cursor::after(EPOCH, Offset(10)), head: super::head(10) };
        let mut bench = Bench::open(following, at(1_000_000_000), Options::default());
        bench.feed(1, grown(log.clone(), 11));
        bench.feed(500, grown(log, 12));
        assert_eq!(bench.session.deadline(), at(1 + waits).moment);
        let reports = committed(bench.feed(1 + waits, Input::Deadline));
        assert_eq!(reports, [report(11, 1, Reported::Sent(1)), report(12, 500, Reported::Sent(1))]);
        assert!(bench.session.deadline() > at(1 + waits).moment, "nothing more is due while it is written");
        bench.feed(2 + waits, Input::Committed(Ok(())));
        let reports = committed(bench.feed(3 + waits, ack(1, &[(1, 2)])));
        let acked = |offset| report(offset, 3 + waits, Reported::Acked);
        assert_eq!(reports, [acked(11), acked(12)], "each is told once");
    }
}

#[test]
fn a_failed_delivery_is_reported_with_its_number_and_reason() {
    let mut bench = Bench::idle();
    bench.feed(1, grown(inbox(), 11));
    bench.feed(1, Input::Unsent(0));
    let nacked = vec![Nack { seq: 1, verdict: Verdict::Retry, reason: "no room".into() }];
    let reports = committed(bench.feed(2, Input::Ack(Ticket(1), Ack { nacked, ..Ack::default() })));
    let failed = Reported::Nacked(1, Cow::from("no room"));
    assert_eq!(reports, [report(11, 1, Reported::Sent(1)), report(11, 2, failed)]);
    bench.feed(3, Input::Committed(Ok(())));
    let due = u64::try_from(bench.session.deadline().since(Moment::ZERO).as_millis()).expect("soon") + 1;
    bench.feed(due, Input::Deadline);
    let page = crate::model::message::Page {
        entries: vec![Entry { receipts: true, ..entry(11) }],
        looked: Offset(11),
        head: super::head(11),
    };
    bench.feed(due, Input::Page(Some(page)));
    bench.feed(due, Input::Unsent(0));
    let reports = committed(bench.feed(due + 1_000, Input::Deadline));
    assert_eq!(reports, [report(11, due, Reported::Sent(2))]);
    bench.feed(due + 1_001, Input::Committed(Ok(())));
    for passed in [20_000, 40_000, 59_000] {
        bench.feed(due + passed, Input::Heard);
    }
    bench.feed(due + 60_000, Input::Deadline);
    let nacked = vec![Nack { seq: 2, verdict: Verdict::Reject, reason: "never".into() }];
    let late = bench.feed(due + 60_001, Input::Ack(Ticket(2), Ack { nacked, ..Ack::default() }));
    assert!(matches!(late, [Output::Commit(_, dead, _)] if dead[0].reason == "never"), "{late:?}");
    let lapsed = report(11, due + 60_000, Reported::Nacked(2, Cow::from("ack_timeout")));
    assert_eq!(committed(late), [lapsed], "a rejection of what had failed already is no further failure");
}

#[test]
fn a_failed_commit_keeps_the_reports_for_the_next() {
    let mut bench = Bench::idle();
    bench.feed(1, grown(inbox(), 11));
    bench.feed(2, ack(1, &[(1, 1)]));
    bench.feed(3, grown(inbox(), 12));
    bench.feed(4, Input::Committed(Err(Fault::new(Code::StoreBusy, "busy"))));
    assert_eq!(bench.session.deadline(), at(15_004).moment, "a store in trouble is not pressed");
    let reports = committed(bench.feed(15_004, Input::Deadline));
    let sent = |offset, millis| report(offset, millis, Reported::Sent(1));
    assert_eq!(reports, [sent(11, 1), report(11, 2, Reported::Acked), sent(12, 3)]);
}

/// Acks settle and make room while a commit is out: a store that is stuck would make them pile up.
#[test]
fn reports_that_wait_for_a_stuck_store_are_bounded() {
    let mut bench = Bench::idle();
    let mut sent = 0;
    for offset in 11..=500 {
        bench.feed(offset, grown(inbox(), offset));
        if let [(seq, _)] = bench.sent()[..] {
            sent += 1;
            bench.feed(offset, ack(1, &[(seq, seq)]));
            bench.feed(offset, Input::Unsent(0));
        }
    }
    assert_eq!(sent, 32, "4 reports for each push of the least window");
    let read = Output::Read { log: inbox(), after: Offset(42), entries: 4, bytes: 65_536 };
    let going_on = bench.feed(501, Input::Committed(Ok(())));
    assert_eq!(committed(going_on).len(), 62, "the first two were on their way");
    assert!(going_on.contains(&read), "there is room again");
}

/// The wall clock says when; the other one, how long to wait.
#[test]
fn reports_bear_the_time_of_what_they_tell() {
    let mut bench = Bench::idle();
    let mut now = at(1);
    now.wall = Timestamp::from_millis(77);
    bench.session.handle(now, grown(inbox(), 11), &mut Vec::new());
    let reports = committed(bench.feed(1_001, Input::Deadline));
    assert_eq!(reports[0].at, Timestamp::from_millis(77));
}
