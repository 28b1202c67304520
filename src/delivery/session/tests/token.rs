//! Access tokens: told before they expire, renewed while the session runs, and the end when they are not.

use std::sync::Arc;
use std::time::Duration;

use super::{Bench, EPOCH, ack, at, head, hint, inbox};
use crate::delivery::lease::Life;
use crate::delivery::options::Options;
use crate::delivery::session::{Input, Output};
use crate::model::close::CloseReason;
use crate::model::cursor::{Cursor, Following};
use crate::model::frame::{Answer, Frame, Ticket};
use crate::model::log::Offset;

/// A session whose token expires so many milliseconds after the start, and whose device never falls silent.
fn bench(expires: u64) -> Bench {
    let following = Following { log: inbox(), cursor: Cursor::after(EPOCH, Offset(10)), head: head(10) };
    let never = Duration::from_secs(1_000_000);
    let options = Options { heartbeat_min: never, heartbeat_max: never, heads_interval: never, ..Options::default() };
    Bench::open(following, at(expires), options)
}

fn told(expires: u64) -> Output {
    Output::Send(Frame::TokenExpiring { expires_at: at(expires).wall })
}

fn renew(from: u64, expires: u64) -> Input {
    Input::Renew(Ticket(1), Life { issued_at: at(from).wall, expires_at: at(expires).wall })
}

fn renewed(expires: u64) -> Output {
    Output::Answer(Ticket(1), Ok(Answer::Renewed { expires_at: at(expires).wall }))
}

#[test]
fn a_device_is_told_before_its_token_expires_and_then_the_session_ends() {
    let mut bench = bench(200_000);
    assert_eq!(bench.session.deadline(), at(180_000).moment);
    assert_eq!(bench.feed(180_000, Input::Deadline), [told(200_000)]);
    assert_eq!(bench.feed(190_000, Input::Deadline), [], "it is told once");
    assert_eq!(bench.session.deadline(), at(200_000).moment);
    let closed = bench.feed(200_000, Input::Deadline);
    assert!(matches!(&closed[0], Output::Send(Frame::Close { reason: CloseReason::TokenExpired, .. })));
    assert_eq!(closed[1], Output::Closed(Some(CloseReason::TokenExpired)));
}

#[test]
fn a_session_goes_on_with_another_token() {
    let mut bench = bench(200_000);
    bench.feed(1, hint(11));
    bench.feed(1, Input::Unsent(0));
    bench.feed(2, ack(1, &[(1, 1)]));
    bench.feed(3, Input::Committed(Ok(())));
    bench.feed(180_000, Input::Deadline);
    assert_eq!(bench.feed(181_000, renew(180_500, 480_500)), [renewed(480_500)]);
    assert_eq!(bench.session.deadline(), at(450_500).moment, "a tenth of the new one's life");
    assert_eq!(bench.feed(200_000, Input::Deadline), [], "the old one does not matter any more");
    bench.feed(200_001, hint(12));
    assert_eq!(bench.sent(), [(2, 12)], "pushes go on where they were");
    bench.feed(200_002, Input::Unsent(0));
    bench.feed(200_003, ack(2, &[(2, 2)]));
    bench.feed(200_004, Input::Committed(Ok(())));
    assert_eq!(bench.feed(450_500, Input::Deadline), [told(480_500)], "it is told of each token");
    assert!(bench.feed(480_500, Input::Deadline).contains(&Output::Closed(Some(CloseReason::TokenExpired))));
}

/// The last one counts, also if it is good for less.
#[test]
fn a_token_that_is_good_for_less_ends_the_session_earlier() {
    let mut bench = bench(200_000);
    assert_eq!(bench.feed(1_000, renew(0, 8_000)), [renewed(8_000)]);
    assert_eq!(bench.feed(1_000, Input::Deadline), [told(8_000)]);
    assert!(bench.feed(8_000, Input::Deadline).contains(&Output::Closed(Some(CloseReason::TokenExpired))));
}

#[test]
fn a_device_that_is_to_move_is_told_all_the_same() {
    let mut bench = bench(200_000);
    bench.feed(
        179_000,
        Input::Drain { return_after: Duration::ZERO, grace: Duration::from_secs(60), nodes: Arc::default() },
    );
    assert_eq!(bench.feed(180_000, Input::Deadline), [told(200_000)]);
    assert_eq!(bench.feed(181_000, renew(181_000, 999_000)), [renewed(999_000)]);
    assert!(bench.feed(239_000, Input::Deadline).contains(&Output::Closed(Some(CloseReason::Drain))));
}

/// Whoever wakes late must not say that something will happen which has happened.
#[test]
fn who_looks_too_late_is_not_told_but_closed() {
    let mut bench = bench(200_000);
    let closed = bench.feed(200_000, Input::Deadline);
    assert!(matches!(&closed[0], Output::Send(Frame::Close { reason: CloseReason::TokenExpired, .. })), "{closed:?}");
}
