//! Pushes to users who are not there: what the gateway can take, without any delivery.

use super::unicast::drive;
use crate::load::leader::Leader;
use crate::load::order::{Aim, Pace};
use crate::load::plan::{Error, Until};
use crate::load::report::Report;
use crate::load::tally::Span;

pub(super) fn run(mut leader: Leader, users: u32, outstanding: u32, until: Until) -> Result<Report, Error> {
    let seats = leader.crew.len();
    let from = leader.measure()?;
    leader.phase_until("measure", until, 1);
    let pace = Pace::Answered(outstanding.div_ceil(seats));
    drive(&mut leader, pace, Aim::Strangers(users.div_ceil(seats).max(1)), until)?;
    let upto = (leader.clock.now().moment, leader.cpu());
    let tally = leader.count()?;
    leader.measured(&tally, from, upto);
    leader.report.latency_ms = tally.latency(Span::Enqueue);
    leader.report.other_latency_ms.clear();
    leader.finish()
}
