//! Pushes to one topic that all follow: how long until the last has it, and what each delivery costs.

use super::{bounds, connect, follow};
use crate::load::leader::Leader;
use crate::load::plan::{Crowd, Error, Until};
use crate::load::report::Report;

pub(super) fn run(mut leader: Leader, crowd: &Crowd, outstanding: u32, until: Until) -> Result<Report, Error> {
    connect(&mut leader, crowd.connections, crowd.concurrency)?;
    follow(&mut leader, 1)?;
    leader.report.connections = leader.connections();
    leader.followers.insert(TOPIC, leader.connections() as u32);
    // Not measured: first pushes find cold caches and buffers that are to grow yet.
    leader.phase("warm up", 0);
    push(&mut leader, outstanding.min(2), Until::Pushes(2))?;
    leader.settle()?;
    let from = leader.measure()?;
    leader.phase_until("measure", until, crowd.connections.into());
    push(&mut leader, outstanding, until)?;
    // Acks are part of what a delivery costs.
    leader.settle()?;
    let upto = (leader.clock.now().moment, leader.cpu());
    let tally = leader.count()?;
    leader.measured(&tally, from, upto);
    leader.finish()
}

/// Pushes with so many outstanding, and waits until all have all.
fn push(leader: &mut Leader, outstanding: u32, until: Until) -> Result<(), Error> {
    let from = leader.clock.now().moment;
    let (end, most) = bounds(until, from);
    let (mut pushed, before) = (0, leader.complete);
    leader.wait_while_it_goes_on(|leader| {
        let now = leader.clock.now().moment;
        let complete = leader.complete - before;
        leader.at(leader.deliveries());
        while pushed < most && now < end && pushed - complete < outstanding.into() {
            if leader.publish(TOPIC, 1).is_err() {
                return false;
            }
            pushed += 1;
        }
        complete == pushed && (pushed >= most || end <= now)
    })
}

/// The one topic.
const TOPIC: u32 = 0;
