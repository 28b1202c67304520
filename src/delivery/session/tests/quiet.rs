//! Quiet hours: what waits, and until when.

use std::time::Duration;

use super::{Bench, EPOCH, ack, entry, hint, inbox};
use crate::delivery::options::Options;
use crate::delivery::session::{Input, Output};
use crate::model::clock::{Moment, Now, Timestamp};
use crate::model::cursor::{Cursor, Following};
use crate::model::frame::Ticket;
use crate::model::log::Offset;
use crate::model::message::{Entry, Page, Urgency};
use crate::model::quiet::{QuietHours, TimeOfDay};
use crate::model::standing::Standing;
use crate::zone::Hours;

fn hours(from: &str, to: &str) -> Hours {
    let time = |text| TimeOfDay::parse(text).expect("a time of day");
    Hours::new(&QuietHours { from: time(from), to: time(to), time_zone: "UTC".to_owned() }).expect("a zone")
}

/// The tests begin 1,000 seconds after a midnight in UTC: at 00:16:40.
const BEGIN: u64 = 1_000_000;

/// Milliseconds until a time of that day.
fn until(hour: u64, minute: u64) -> u64 {
    (hour * 60 + minute) * 60_000 - BEGIN
}

/// A session that is caught up, with quiet hours from its start, and whose device never falls silent.
fn bench(quiet: Option<Hours>) -> Bench {
    let following = Following { log: inbox(), cursor: Cursor::after(EPOCH, Offset(10)), head: super::head(10) };
    let never = Duration::from_secs(1_000_000);
    let options = Options { heartbeat_min: never, heartbeat_max: never, heads_interval: never, ..Options::default() };
    Bench::open_quiet(following, super::at(1_000_000_000), options, quiet)
}

fn read(after: u64) -> Output {
    Output::Read { log: inbox(), after: Offset(after), entries: 4, bytes: 65_536 }
}

fn page(offset: u64) -> Input {
    Input::Page(Some(Page { entries: vec![entry(offset)], looked: Offset(offset), head: super::head(offset) }))
}

#[test]
fn in_quiet_hours_only_what_is_of_high_urgency_goes_and_the_rest_when_they_end() {
    let mut bench = bench(Some(hours("22:00", "07:00")));
    bench.feed(1, hint(11));
    assert_eq!(bench.sent(), []);
    let quiet_until = Some(Timestamp::from_millis(7 * 3_600_000));
    let withheld = Standing::Withheld { floor: Urgency::VeryLow, quiet_until };
    assert_eq!(bench.session.standing(super::at(1), &inbox(), EPOCH, Offset(11)), withheld);
    let urgent = Entry { urgency: Urgency::High, ..entry(12) };
    bench.feed(2, Input::Grown { log: inbox(), epoch: EPOCH, last: Offset(12), entry: Some(urgent) });
    assert_eq!(bench.sent(), [(1, 12)]);
    bench.feed(3, ack(1, &[(1, 1)]));
    bench.feed(3, Input::Committed(Ok(())));
    bench.feed(3, Input::Unsent(0));
    bench.feed(4, Input::Online(Entry { offset: Offset::ZERO, ..entry(0) }));
    assert_eq!(bench.sent(), [], "now or never, and now it is quiet");
    let morning = until(7, 0);
    assert_eq!(bench.session.deadline(), super::at(morning).moment);
    assert_eq!(bench.feed(morning, Input::Deadline), [read(10)]);
    bench.feed(morning, page(11));
    assert_eq!(bench.sent(), [(2, 11)]);
    bench.feed(morning, ack(2, &[(2, 2)]));
    bench.feed(morning, Input::Unsent(0));
    let evening = until(22, 0);
    assert_eq!(bench.session.deadline(), super::at(evening).moment, "and again in the evening");
    bench.feed(evening, Input::Deadline);
    bench.feed(evening, hint(13));
    assert_eq!(bench.sent(), []);
}

#[test]
fn quiet_hours_come_and_go_with_what_the_user_wants() {
    let mut bench = bench(None);
    bench.feed(1, hint(11));
    assert_eq!(bench.sent(), [(1, 11)]);
    bench.feed(1, ack(1, &[(1, 1)]));
    bench.feed(1, Input::Committed(Ok(())));
    bench.feed(1, Input::Unsent(0));
    let following = || vec![Following { log: inbox(), cursor: Cursor::default(), head: super::head(11) }];
    bench.feed(2, Input::Refreshed(following(), Some(hours("00:00", "12:00"))));
    bench.feed(3, hint(12));
    assert_eq!(bench.sent(), []);
    bench.feed(4, Input::Update(Ticket(1), Some(Urgency::High), None));
    assert_eq!(bench.feed(5, Input::Refreshed(following(), Some(hours("10:00", "12:00")))), [], "its own floor stays");
    let lowered = bench.feed(6, Input::Update(Ticket(2), Some(Urgency::Low), None));
    assert_eq!(lowered[1..], [read(11)]);
    bench.feed(7, Input::Refreshed(following(), Some(hours("00:00", "12:00"))));
    bench.feed(8, page(12));
    assert_eq!(bench.sent(), [], "they began while it was read");
    assert_eq!(bench.feed(9, Input::Refreshed(following(), None)), [read(11)]);
    bench.feed(10, page(12));
    assert_eq!(bench.sent(), [(2, 12)]);
}

/// The moment that was reckoned is hours away when the wall clock is set past the end of the quiet hours.
#[test]
fn a_wall_clock_that_is_set_is_noticed_at_the_pace_of_the_heads() {
    let following = Following { log: inbox(), cursor: Cursor::after(EPOCH, Offset(10)), head: super::head(10) };
    let mut bench =
        Bench::open_quiet(following, super::at(1_000_000_000), Options::default(), Some(hours("00:00", "12:00")));
    bench.feed(1, hint(11));
    bench.feed(1, Input::Heard);
    let noon = Timestamp::from_millis(12 * 3_600_000);
    let now = Now { moment: Moment::ZERO + Duration::from_secs(40), wall: noon };
    bench.out.clear();
    bench.session.handle(now, Input::Deadline, &mut bench.out);
    assert_eq!(bench.out, [Output::Heads(vec![inbox()]), read(10)]);
}
