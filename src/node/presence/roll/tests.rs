//! The roll by a given clock: which events follow from which comings and goings.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{BATCH_MAX, Roll, Standing, Urgency, WORDS_MAX};
use crate::model::clock::{Moment, Now, Timestamp};
use crate::model::id::{DeviceId, Receiver, TenantId, UserId};
use crate::model::presence::What;
use crate::node::presence::Options;

fn now(seconds: u64) -> Now {
    let millis = seconds * 1000;
    Now { moment: Moment::from_micros(millis * 1000), wall: Timestamp::from_millis(1_000_000 + millis) }
}

fn receiver(tenant: &str, user: &str, device: &str) -> Receiver {
    let name = "a name";
    Receiver {
        tenant: TenantId::new(tenant).expect(name),
        user: UserId::new(user).expect(name),
        device: DeviceId::new(device).expect(name),
    }
}

fn roll() -> Roll {
    Roll::new(Options { debounce: Duration::from_secs(3), idle_after: Duration::from_secs(64) })
}

/// Takes all that is to be said, as `tenant/user/device word second`.
fn said(roll: &mut Roll, second: u64) -> Vec<String> {
    roll.tick(now(second));
    let mut lines = Vec::new();
    for (tenant, events) in roll.take() {
        for event in events {
            let (user, device) = event.device.expect("a device");
            let reason = match &event.what {
                What::Offline { reason } => format!("({reason})"),
                _ => String::new(),
            };
            let at = (event.at.as_millis() - 1_000_000) / 1000;
            lines.push(format!("{tenant}/{user}/{device} {}{reason} {at}", event.what.name()));
        }
    }
    lines
}

#[test]
fn a_device_comes_is_ready_falls_idle_and_goes() {
    let mut roll = roll();
    let line = roll.enter(receiver("t", "u", "d"), now(10));
    assert_eq!(said(&mut roll, 10), ["t/u/d connected 10"]);
    roll.ready(&line, now(11));
    roll.ready(&line, now(11));
    assert_eq!(said(&mut roll, 11), ["t/u/d ready 11"]);
    // It was active at 10 (when it came): idle at 74, looked at in steps of 4 s.
    assert_eq!(said(&mut roll, 74), [""; 0]);
    assert_eq!(roll.urgency(), Urgency::At(now(76).moment));
    assert_eq!(said(&mut roll, 76), ["t/u/d idle 76"]);
    assert_eq!(said(&mut roll, 1000), [""; 0], "idle is said once");
    roll.stirred(&line, now(1001));
    roll.stirred(&line, now(1001));
    line.active.store(now(1001).moment.as_micros(), Ordering::SeqCst);
    assert_eq!(said(&mut roll, 1001), ["t/u/d ready 1001"]);
    line.active.store(now(1030).moment.as_micros(), Ordering::SeqCst);
    assert_eq!(said(&mut roll, 1090), [""; 0], "it was active in between");
    assert_eq!(said(&mut roll, 1096), ["t/u/d idle 1096"]);
    roll.leave(&line, "heartbeat_timeout", now(1100));
    roll.leave(&line, "gone", now(1101));
    assert_eq!(said(&mut roll, 1102), [""; 0]);
    assert_eq!(said(&mut roll, 1103), ["t/u/d offline(heartbeat_timeout) 1100"]);
    assert_eq!(roll.urgency(), Urgency::At(Moment::NEVER), "nothing is left");
    assert!(roll.lines.is_empty() && roll.wheel.is_empty() && roll.leaving.is_empty() && roll.online.is_empty());
}

#[test]
fn who_returns_in_time_was_never_away() {
    let mut roll = roll();
    let receiver = receiver("t", "u", "d");
    let first = roll.enter(receiver.clone(), now(0));
    roll.ready(&first, now(0));
    assert_eq!(said(&mut roll, 0).len(), 2);
    roll.leave(&first, "gone", now(10));
    assert_eq!(roll.online(&receiver), None);
    let second = roll.enter(receiver.clone(), now(12));
    roll.ready(&second, now(12));
    assert_eq!(said(&mut roll, 20), [""; 0]);
    let online = roll.online(&receiver).expect("it is online");
    assert_eq!((online.since, online.standing), (now(0).wall, Standing::Ready));
    // A newer session took over before the older one ended: its end says nothing.
    let third = roll.enter(receiver.clone(), now(21));
    roll.leave(&second, "taken_over", now(22));
    assert_eq!(said(&mut roll, 40), [""; 0]);
    assert_eq!(roll.page(&receiver.tenant, None, None, 9).1, 1);
    // An idle one that returns is not idle any more, and that is said.
    roll.ready(&third, now(40));
    assert_eq!(said(&mut roll, 200), ["t/u/d idle 200"]);
    roll.leave(&third, "gone", now(201));
    let fourth = roll.enter(receiver.clone(), now(202));
    roll.ready(&fourth, now(202));
    assert_eq!(said(&mut roll, 210), ["t/u/d ready 202"]);
    // Too late.
    roll.leave(&fourth, "drain", now(300));
    assert_eq!(said(&mut roll, 303), ["t/u/d offline(drain) 300"]);
    roll.enter(receiver, now(303));
    assert_eq!(said(&mut roll, 303), ["t/u/d connected 303"]);
}

#[test]
fn a_crowd_that_leaves_is_said_in_few_batches_in_order() {
    let mut roll = roll();
    let crowd = BATCH_MAX * 2 + 500;
    let lines: Vec<_> = (0..crowd).map(|n| roll.enter(receiver("t", &format!("u{n}"), "d"), now(0))).collect();
    while !said(&mut roll, 0).is_empty() {}
    lines.iter().for_each(|line| roll.leave(line, "gone", now(1)));
    let mut batches = Vec::new();
    loop {
        let batch = said(&mut roll, 4);
        if batch.is_empty() {
            break;
        }
        batches.push(batch);
    }
    assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [BATCH_MAX, BATCH_MAX, 500]);
    let all = batches.concat();
    assert!(all.iter().enumerate().all(|(n, said)| *said == format!("t/u{n}/d offline(gone) 1")));
}

#[test]
fn pages_are_in_the_order_of_names_and_keep_tenants_and_users_apart() {
    let mut roll = roll();
    for (tenant, user, device) in [
        ("t", "b", "2"),
        ("t", "b", "1"),
        ("t", "%", "%"),
        ("t", "~", "~"),
        ("s", "b", "9"),
        ("tt", "a", "1"),
        ("t", "bb", "1"),
    ] {
        roll.enter(receiver(tenant, user, device), now(0));
    }
    let gone = roll.enter(receiver("t", "c", "1"), now(0));
    roll.leave(&gone, "gone", now(0));
    let tenant = TenantId::new("t").expect("a name");
    let names = |page: &[super::Online]| -> Vec<String> {
        page.iter().map(|online| format!("{}/{}", online.user, online.device)).collect()
    };
    let (page, count) = roll.page(&tenant, None, None, 3);
    assert_eq!((names(&page), count), (vec!["%/%".into(), "b/1".into(), "b/2".into()], 5));
    let after = receiver("t", "b", "2");
    assert_eq!(names(&roll.page(&tenant, None, Some(&after), 9).0), ["bb/1", "~/~"]);
    let user = UserId::new("b").expect("a name");
    let (page, count) = roll.page(&tenant, Some(&user), None, 1);
    assert_eq!((names(&page), count), (vec!["b/1".into()], 2));
    assert_eq!(names(&roll.page(&tenant, Some(&user), Some(&receiver("t", "b", "1")), 9).0), ["b/2"]);
    let nobody = TenantId::new("nobody").expect("a name");
    assert_eq!(roll.page(&nobody, None, None, 9), (Vec::new(), 0));
}

#[test]
fn more_words_than_fit_are_told_anew() {
    let mut roll = roll();
    let stays = roll.enter(receiver("t", "stays", "d"), now(0));
    roll.ready(&stays, now(0));
    let mut last = None;
    for n in 0..WORDS_MAX {
        last = Some(roll.enter(receiver("t", &format!("u{n}"), "d"), now(0)));
    }
    roll.enter(receiver("s", "other", "d"), now(0));
    // What is said after words were lost is not said between them and the new beginning.
    roll.leave(&last.expect("a crowd"), "gone", now(0));
    let mut words = 0;
    loop {
        let batch = said(&mut roll, 10);
        if batch.is_empty() {
            break;
        }
        words += batch.len();
        assert!(batch.iter().all(|said| said.ends_with("connected 0") || said.ends_with("ready 0")));
    }
    assert_eq!(words, WORDS_MAX);
    assert_eq!(roll.lost().map(|tenant| tenant.to_string()).as_deref(), Some("s"));
    let tenant = roll.lost().expect("a tenant");
    assert_eq!((tenant.as_str(), roll.lost()), ("t", None));
    let (mut after, mut told) = (None, Vec::new());
    loop {
        let (events, last) = roll.anew(&tenant, after.as_ref());
        if last.is_none() {
            break;
        }
        after = last;
        told.extend(events);
    }
    assert_eq!(told.len(), 1 + WORDS_MAX, "each that is online, and that one is ready");
    assert!(told.iter().any(|event| event.what == What::Ready));
    // From then on it is told as before.
    roll.leave(&stays, "gone", now(11));
    assert_eq!(said(&mut roll, 14), ["t/stays/d offline(gone) 11"]);
}

#[test]
fn at_the_end_all_are_offline_at_once() {
    let mut roll = roll();
    let one = roll.enter(receiver("t", "one", "d"), now(0));
    roll.enter(receiver("t", "two", "d"), now(0));
    roll.leave(&one, "drain", now(5));
    roll.end("gone", now(6));
    let said = said(&mut roll, 6);
    assert_eq!(said[2..], ["t/one/d offline(drain) 5", "t/two/d offline(gone) 6"]);
}

#[test]
fn without_idleness_nobody_is_looked_at() {
    let mut roll = Roll::new(Options { idle_after: Duration::ZERO, ..Options::default() });
    let line = roll.enter(receiver("t", "u", "d"), now(0));
    roll.ready(&line, now(0));
    assert_eq!(said(&mut roll, 1_000_000).len(), 2);
    assert_eq!(roll.urgency(), Urgency::At(Moment::NEVER));
}

/// What the board holds for a device, which its documentation states: the line behind an `Arc` with its two counts, its
/// places in two trees that are filled by two thirds, and the session's own hold.
#[test]
fn a_device_online_costs_about_two_hundred_bytes() {
    let trees = (size_of::<usize>() + size_of::<((u64, u64), usize)>()) * 3 / 2;
    let bytes =
        size_of::<super::Line>() + 2 * size_of::<usize>() + trees + size_of::<crate::node::presence::Attendee>();
    assert!((100..=220).contains(&bytes), "{bytes} bytes");
}
