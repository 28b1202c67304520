//! All devices are cut at once and come back while pushes go on: how long until all have resumed, what it costs those who
//! push, and that nothing is lost.

use std::time::Duration;

use super::connect;
use super::unicast::{drained, end};
use crate::load::leader::Leader;
use crate::load::order::{Aim, Order, Pace};
use crate::load::plan::{Crowd, Error, Until};
use crate::load::report::Report;
use crate::load::tally::Span;

pub(super) fn run(mut leader: Leader, crowd: &Crowd, rate: f64, spread: Duration) -> Result<Report, Error> {
    connect(&mut leader, crowd.connections, crowd.concurrency)?;
    leader.report.connections = leader.connections();
    let pace = Pace::Rate(rate / f64::from(leader.crew.len()));
    leader.phase_until("warm up", Until::Elapsed(BEFORE), 1);
    leader.drive(Aim::Devices, pace, None)?;
    leader.rest(BEFORE)?;
    let from = leader.measure()?;
    leader.phase("reconnect", leader.report.connections);
    leader.order_and_wait(&Order::Cut, CUT_PATIENCE, "all devices were cut")?;
    leader.begin(&Order::Return { within: spread })?;
    leader.wait_while_it_goes_on(|leader| {
        leader.at(leader.connections());
        leader.is_done()
    })?;
    let tally = leader.count()?;
    let upto = (leader.clock.now().moment, leader.cpu());
    leader.measured(&tally, from, upto);
    let report = &mut leader.report;
    report.seconds = upto.0.since(from.0).as_secs_f64();
    report.handshakes_per_second = Some(tally.welcomes as f64 / report.seconds);
    let used = upto.1.server.zip(from.1.server).map(|(upto, from)| upto.saturating_sub(from));
    let each = |used: Duration| used.as_secs_f64() * 1e6 / tally.welcomes.max(1) as f64;
    report.server_cpu_us_per_handshake = used.map(each);
    // What comes back was waiting: its CPU is that of handshakes, and its latency that of the cut.
    (report.server_cpu_us_per_delivery, report.client_cpu_us_per_delivery) = (None, None);
    report.other_latency_ms.insert("delivery".to_owned(), tally.latency(Span::Delivery));
    report.latency_ms = tally.latency(Span::Handshake);
    end(&mut leader)?;
    drained(&mut leader)?;
    leader.settle()?;
    leader.finish()
}

/// How long is pushed before the cut.
const BEFORE: Duration = Duration::from_secs(1);
/// How long cutting may take; it needs milliseconds.
const CUT_PATIENCE: Duration = Duration::from_secs(30);
