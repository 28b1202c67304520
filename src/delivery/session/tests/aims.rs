//! Entries of a followed log that are not for this device, entries that take others away, and logs that come and go.

use std::sync::Arc;
use std::time::Duration;

use super::{Bench, EPOCH, NUMBER, ack, at, entry, head, hint, inbox, page};
use crate::delivery::options::Options;
use crate::delivery::session::{Input, Output};
use crate::model::clock::Moment;
use crate::model::cursor::{Cursor, Following};
use crate::model::frame::{Ack, Nack, Ticket, Verdict};
use crate::model::id::{DeviceId, DeviceNumber, TenantId, TopicName, UserId};
use crate::model::log::{Epoch, Head, LogId, Offset};
use crate::model::message::{Aim, DismissReason, Dismissed, Entry, Exclusion, Urgency};
use crate::model::set::DeviceSet;
use crate::model::standing::Standing;

fn broadcast() -> LogId {
    LogId::Broadcast(TenantId::new("t").expect("a name"))
}

fn topic(name: &str) -> LogId {
    LogId::Topic(TenantId::new("t").expect("a name"), TopicName::new(name).expect("a name"))
}

fn caught_up(log: LogId) -> Following {
    Following { log, cursor: Cursor::after(EPOCH, Offset(10)), head: head(10) }
}

fn aimed(offset: u64, aim: Aim) -> Entry {
    Entry { aim: Some(Arc::new(aim)), ..entry(offset) }
}

fn for_numbers(offset: u64, numbers: &[u32]) -> Entry {
    let audience: DeviceSet = numbers.iter().copied().map(DeviceNumber).collect();
    aimed(offset, Aim { audience: Some(audience), ..Aim::default() })
}

fn dismissal(offset: u64, of: u64, epoch: Epoch) -> Entry {
    let message = entry(of).id;
    let dismissed = Dismissed { log: inbox(), epoch, offset: Offset(of), message, reason: DismissReason::Seen };
    let aim = Aim { dismissal: Some(dismissed), ..Aim::default() };
    Entry { urgency: Urgency::High, ..aimed(offset, aim) }
}

fn grown(log: LogId, entry: Entry) -> Input {
    Input::Grown { log, epoch: EPOCH, last: entry.offset, entry: Some(entry) }
}

/// What the next commit says is settled in a log.
fn settled(bench: &mut Bench, log: &LogId) -> Vec<(u64, u64)> {
    match bench.feed(9_999, Input::Gone) {
        [Output::Commit(cursors, ..)] => {
            let cursor = cursors.iter().find(|(of, _)| of == log).map(|(_, cursor)| cursor);
            cursor.expect("the log has changed").settled.iter().collect()
        }
        other => panic!("no commit: {other:?}"),
    }
}

#[test]
fn entries_of_the_broadcast_log_for_others_are_settled_and_passed_over() {
    let mut bench = Bench::open(caught_up(broadcast()), at(1_000_000_000), Options::default());
    let DeviceNumber(own) = NUMBER;
    bench.feed(1, grown(broadcast(), for_numbers(11, &[own + 1])));
    assert_eq!(bench.sent(), []);
    bench.feed(2, grown(broadcast(), for_numbers(12, &[1, own])));
    assert_eq!(bench.sent(), [(1, 12)], "the next one needs no read");
    bench.feed(3, grown(broadcast(), for_numbers(13, &[])));
    assert_eq!(settled(&mut bench, &broadcast()), [(1, 11), (13, 13)]);
}

#[test]
fn an_excluded_user_or_device_does_not_get_it() {
    let name = |user: &str| UserId::new(user).expect("a name");
    let device = |name: &str| Some(DeviceId::new(name).expect("a name"));
    for (user, only, gets) in [
        ("u", None, false),
        ("u", device("d"), false),
        ("u", device("e"), true),
        ("v", None, true),
        ("v", device("d"), true),
    ] {
        let mut bench = Bench::open(caught_up(topic("a")), at(1_000_000_000), Options::default());
        let exclude =
            vec![Exclusion { user: name("w"), device: None }, Exclusion { user: name(user), device: only.clone() }];
        let excluding = aimed(11, Aim { exclude, ..Aim::default() });
        bench.feed(1, grown(topic("a"), excluding.clone()));
        assert_eq!(bench.sent().len(), usize::from(gets), "{user} {only:?}");
        bench.feed(2, Input::Online(Entry { offset: Offset::ZERO, ..excluding }));
        assert_eq!(bench.sent().len(), usize::from(gets), "online-only: {user} {only:?}");
    }
}

#[test]
fn a_dismissal_settles_what_it_names_and_is_sent_itself() {
    let mut bench = Bench::idle();
    bench.feed(1, Input::Update(Ticket(1), None, Some(1)));
    bench.feed(1, hint(11));
    bench.feed(2, grown(inbox(), dismissal(12, 11, EPOCH)));
    assert_eq!(bench.sent(), [(2, 12)], "the place in the window came free");
    assert_eq!(bench.session.standing(at(2), &inbox(), EPOCH, Offset(11)), Standing::Settled);
    bench.feed(3, Input::Update(Ticket(2), None, Some(4)));
    bench.feed(3, grown(inbox(), dismissal(13, 12, Epoch(6))));
    assert_eq!(bench.session.in_flight(), 2, "another life of the log: nothing is taken away");
    bench.feed(4, grown(inbox(), dismissal(14, 40, EPOCH)));
    assert_eq!(settled(&mut bench, &inbox()), [(1, 11), (40, 40)], "one that was never seen");
}

/// P4: also what rests after a failure, and what waits for a lower floor, is taken away.
#[test]
fn a_dismissal_takes_away_what_rests_and_what_is_withheld() {
    let mut bench = Bench::idle();
    bench.feed(1, hint(11));
    let nacked = vec![Nack { seq: 1, verdict: Verdict::Retry, reason: String::new() }];
    bench.feed(2, Input::Ack(Ticket(1), Ack { nacked, ..Ack::default() }));
    bench.feed(2, Input::Committed(Ok(())));
    bench.feed(2, grown(inbox(), dismissal(12, 11, EPOCH)));
    assert_eq!((bench.sent(), bench.session.in_flight()), (vec![(2, 12)], 1));
    bench.feed(3, Input::Update(Ticket(2), Some(Urgency::High), None));
    bench.feed(3, hint(13));
    bench.feed(3, grown(inbox(), dismissal(14, 13, EPOCH)));
    assert_eq!(bench.sent(), [(3, 14)]);
    bench.feed(4, Input::Unsent(0));
    let read = bench.feed(4, Input::Update(Ticket(3), Some(Urgency::VeryLow), None));
    assert!(read.contains(&Output::Read { log: inbox(), after: Offset(11), entries: 2, bytes: 65_536 }), "{read:?}");
    let entries = vec![dismissal(12, 11, EPOCH), entry(13), dismissal(14, 13, EPOCH)];
    let page = crate::model::message::Page { entries, looked: Offset(14), head: head(14) };
    bench.feed(5, Input::Page(Some(page)));
    assert_eq!(bench.sent(), [], "neither comes again");
}

/// A page that was asked for must not send what was taken away meanwhile.
#[test]
fn a_push_that_is_read_to_be_sent_again_when_its_dismissal_comes_is_not_sent() {
    let mut bench = Bench::idle();
    bench.feed(1, hint(11));
    bench.feed(1, Input::Unsent(0));
    let nacked = vec![Nack { seq: 1, verdict: Verdict::Retry, reason: String::new() }];
    bench.feed(2, Input::Ack(Ticket(1), Ack { nacked, ..Ack::default() }));
    bench.feed(2, Input::Committed(Ok(())));
    let due = u64::try_from(bench.session.deadline().since(Moment::ZERO).as_millis()).expect("soon") + 1;
    assert!(matches!(bench.feed(due, Input::Deadline), [Output::Read { .. }]));
    bench.feed(due, grown(inbox(), dismissal(12, 11, EPOCH)));
    bench.feed(due, page(11..=11, 12));
    assert_eq!(bench.sent(), []);
}

#[test]
fn nothing_is_sent_while_what_is_followed_is_read_anew() {
    let mut bench = Bench::open(caught_up(topic("a")), at(1_000_000_000), Options::default());
    bench.feed(1, Input::Grown { log: topic("a"), epoch: EPOCH, last: Offset(12), entry: None });
    bench.feed(2, Input::Refreshing);
    let page = |offsets: std::ops::RangeInclusive<u64>| {
        let looked = Offset(*offsets.end());
        crate::model::message::Page { entries: offsets.map(entry).collect(), looked, head: head(13) }
    };
    assert_eq!(bench.feed(3, Input::Page(Some(page(11..=12)))), [], "it may be for this device no more");
    bench.feed(3, grown(topic("a"), entry(13)));
    assert_eq!(bench.out, []);
    let following = vec![caught_up(topic("b")), caught_up(topic("a"))];
    let read = Output::Read { log: topic("a"), after: Offset(10), entries: 4, bytes: 65_536 };
    assert_eq!(bench.feed(4, Input::Refreshed(following, None)), [read], "it still is");
    bench.feed(5, Input::Page(Some(page(11..=13))));
    assert_eq!(bench.sent(), [(1, 11), (2, 12), (3, 13)]);
    bench.feed(6, grown(topic("b"), entry(11)));
    assert_eq!(bench.sent(), [(4, 11)], "what is followed now as well");
}

#[test]
fn what_is_followed_no_more_stops_at_once() {
    let mut bench = Bench::open(caught_up(topic("a")), at(1_000_000_000), Options::default());
    bench.feed(1, grown(topic("a"), entry(11)));
    bench.feed(2, Input::Refreshing);
    bench.feed(3, Input::Refreshed(vec![caught_up(inbox())], None));
    assert_eq!(bench.session.in_flight(), 0);
    assert!(!bench.session.follows(&topic("a")));
    assert_eq!(bench.feed(4, grown(topic("a"), entry(12))), []);
    let acked = bench.feed(5, ack(1, &[(1, 1)]));
    assert!(matches!(acked, [Output::Answer(_, Ok(_))]), "a late ack is harmless: {acked:?}");
}

/// Who leaves a topic and joins it again begins at its head, also if the session hears of both at once.
#[test]
fn what_was_pushed_before_a_second_joining_is_not_for_the_device() {
    let mut bench = Bench::open(caught_up(topic("a")), at(1_000_000_000), Options::default());
    bench.feed(1, grown(topic("a"), entry(11)));
    bench.feed(1, Input::Refreshing);
    bench.feed(2, grown(topic("a"), entry(12)));
    let anew = Following { log: topic("a"), cursor: Cursor::after(EPOCH, Offset(12)), head: head(12) };
    assert_eq!(bench.feed(3, Input::Refreshed(vec![anew], None)), []);
    assert_eq!(bench.session.in_flight(), 0);
    bench.feed(4, grown(topic("a"), entry(13)));
    assert_eq!(bench.sent(), [(2, 13)]);
}

#[test]
fn a_session_says_where_a_push_stands() {
    let following = Following { log: inbox(), cursor: Cursor::after(EPOCH, Offset(10)), head: head(10) };
    let options = Options { unsent_bytes_max: 150, ..Options::default() };
    let mut bench = Bench::open(following, at(1_000_000_000), options);
    let standing = |bench: &Bench, millis, offset| bench.session.standing(at(millis), &inbox(), EPOCH, Offset(offset));
    bench.feed(1, hint(11));
    assert_eq!(standing(&bench, 5, 9), Standing::Settled);
    assert_eq!(standing(&bench, 5, 11), Standing::InFlight { since: at(1).wall, attempt: 1 });
    assert_eq!(standing(&bench, 5, 12), Standing::NotRead);
    bench.feed(6, Input::Unsent(150));
    assert_eq!(standing(&bench, 6, 12), Standing::UnsentFull);
    bench.feed(6, Input::Unsent(0));
    bench.feed(6, Input::Update(Ticket(1), None, Some(1)));
    assert_eq!(standing(&bench, 6, 12), Standing::WindowFull);
    let nacked = vec![Nack { seq: 1, verdict: Verdict::Retry, reason: String::new() }];
    bench.feed(7, Input::Ack(Ticket(2), Ack { nacked, ..Ack::default() }));
    let Standing::Resting { until, attempts: 1 } = standing(&bench, 8, 11) else { panic!("it does not rest") };
    let pause = until.as_millis() - at(7).wall.as_millis();
    assert!((1_000..=1_250).contains(&pause), "{pause} ms");
    bench.feed(8, Input::Update(Ticket(3), Some(Urgency::High), Some(4)));
    bench.feed(9, hint(12));
    let withheld = Standing::Withheld { floor: Urgency::High, quiet_until: None };
    assert_eq!(standing(&bench, 9, 12), withheld);
    assert_eq!(bench.session.standing(at(9), &inbox(), Epoch(1), Offset(12)), Standing::NotFollowed);
    assert_eq!(bench.session.standing(at(9), &topic("a"), EPOCH, Offset(12)), Standing::NotFollowed);
    bench.feed(10, Input::Drain { return_after: Duration::ZERO, grace: Duration::from_secs(9), nodes: Arc::default() });
    assert_eq!(standing(&bench, 10, 13), Standing::Moving);
}

/// The log was lost, and the device left and joined it again in its new life, all before the session heard of any of it.
#[test]
fn who_joined_again_in_a_new_life_of_the_log_begins_at_its_head_there() {
    let mut bench = Bench::open(caught_up(topic("a")), at(1_000_000_000), Options::default());
    bench.feed(1, Input::Refreshing);
    let new = Epoch(EPOCH.0 + 1);
    let life = Head { epoch: new, last: Offset(3), trimmed: Offset::ZERO };
    let anew = Following { log: topic("a"), cursor: Cursor::after(new, Offset(3)), head: life };
    bench.feed(2, Input::Refreshed(vec![anew], None));
    let next = Input::Grown { log: topic("a"), epoch: new, last: Offset(4), entry: Some(entry(4)) };
    bench.feed(3, next);
    assert_eq!(bench.sent(), [(1, 4)], "and nothing from before it joined");
}
