//! Pushes to users with one device each, delivered and acked: at a given rate, where each latency counts from the moment
//! at which the push was due, or as fast as they are received.

use std::time::Duration;

use super::{bounds, connect};
use crate::load::leader::Leader;
use crate::load::order::{Aim, Order, Pace};
use crate::load::plan::{Crowd, Error, Until};
use crate::load::report::Report;

pub(super) fn run(
    mut leader: Leader,
    crowd: &Crowd,
    rate: Option<f64>,
    outstanding: u32,
    until: Until,
) -> Result<Report, Error> {
    connect(&mut leader, crowd.connections, crowd.concurrency)?;
    leader.report.connections = leader.connections();
    let seats = leader.crew.len();
    let pace = match rate {
        Some(rate) => Pace::Rate(rate / f64::from(seats)),
        None => Pace::Received(outstanding.div_ceil(seats)),
    };
    leader.phase_until("warm up", Until::Elapsed(WARM_UP), 1);
    drive(&mut leader, pace, Aim::Devices, Until::Elapsed(WARM_UP))?;
    leader.settle()?;
    let from = leader.measure()?;
    leader.phase_until("measure", until, 1);
    drive(&mut leader, pace, Aim::Devices, until)?;
    leader.settle()?;
    let upto = (leader.clock.now().moment, leader.cpu());
    let tally = leader.count()?;
    leader.measured(&tally, from, upto);
    leader.finish()
}

/// Lets the crowd push by itself, and waits until all is answered.
pub(super) fn drive(leader: &mut Leader, pace: Pace, aim: Aim, until: Until) -> Result<(), Error> {
    let (over, most) = bounds(until, leader.clock.now().moment);
    leader.drive(aim, pace, (most < u64::MAX).then_some(most))?;
    leader.wait_while_it_goes_on(|leader| {
        leader.at(leader.pushes());
        leader.is_driven() || over <= leader.clock.now().moment
    })?;
    end(leader)?;
    drained(leader)
}

/// Lets it push no more.
pub(super) fn end(leader: &mut Leader) -> Result<(), Error> {
    leader.order(&Order::Halt)
}

/// Waits until all that was pushed is answered.
pub(super) fn drained(leader: &mut Leader) -> Result<(), Error> {
    leader.wait_while_it_goes_on(|leader| leader.is_driven())
}

/// How long it is pushed before it is measured.
const WARM_UP: Duration = Duration::from_secs(1);
