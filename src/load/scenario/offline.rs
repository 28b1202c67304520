//! Pushes wait for devices that are away and then come back all at once: how fast what waited is drained.

use std::time::Duration;

use super::connect;
use super::unicast::drive;
use crate::load::leader::Leader;
use crate::load::order::{Aim, Order, Pace};
use crate::load::plan::{Crowd, Error, Until};
use crate::load::report::Report;
use crate::load::tally::Span;

pub(super) fn run(mut leader: Leader, crowd: &Crowd, messages: u64, outstanding: u32) -> Result<Report, Error> {
    // They must have been there once: a gateway keeps nothing for devices that it has never seen.
    connect(&mut leader, crowd.connections, crowd.concurrency)?;
    leader.report.connections = leader.connections();
    leader.order_and_wait(&Order::Cut, CUT_PATIENCE, "all devices had left")?;
    leader.rest(AFTER_CUT)?;
    leader.measure()?;
    leader.phase("enqueue", messages);
    let pace = Pace::Answered(outstanding.div_ceil(leader.crew.len()));
    drive(&mut leader, pace, Aim::Devices, Until::Pushes(messages))?;
    let enqueued = leader.count()?;
    let from = leader.measure()?;
    leader.phase("drain", messages);
    leader.order(&Order::Return { within: Duration::ZERO })?;
    leader.wait_while_it_goes_on(|leader| {
        leader.at(leader.deliveries());
        leader.deliveries() >= enqueued.pushes
    })?;
    leader.settle()?;
    let upto = (leader.clock.now().moment, leader.cpu());
    let mut tally = leader.count()?;
    // The backlog was pushed before the measured part, but it is what was pushed.
    tally.pushes = enqueued.pushes;
    leader.measured(&tally, from, upto);
    let report = &mut leader.report;
    report.pushes_per_second = None;
    report.latency_ms = tally.latency(Span::Delivery);
    report.other_latency_ms.insert("enqueue".to_owned(), enqueued.latency(Span::Enqueue));
    report.other_latency_ms.insert("handshake".to_owned(), tally.latency(Span::Handshake));
    leader.finish()
}

/// How long cutting may take; it needs milliseconds.
const CUT_PATIENCE: Duration = Duration::from_secs(30);
/// How long the gateway has to notice that nobody is there, so that nothing is pushed into dead connections.
const AFTER_CUT: Duration = Duration::from_secs(1);
