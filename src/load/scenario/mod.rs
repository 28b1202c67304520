//! The scenarios: what the crowd is told to do, in which order, and which figures come of it.

mod connect;
mod enqueue;
mod fanout;
mod mixed;
mod offline;
mod reconnect;
mod unicast;

use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use super::leader::Leader;
use super::order::Order;
use super::plan::{Error, Plan, Progress, Scenario, Until};
use super::proc;
use super::report::Report;
use crate::model::clock::Moment;

/// Does what the plan asks and tells what came of it. `progress` says meanwhile how far it is.
///
/// # Errors
/// [`Error`] when there is nothing to report. A report with losses, duplicates or failures is no error.
pub fn run(plan: &Plan, progress: &Arc<Progress>) -> Result<Report, Error> {
    check(plan)?;
    let leader = Leader::start(plan, progress)?;
    let crowd = &plan.crowd;
    match plan.scenario {
        Scenario::Connect { topics, burst } => connect::run(leader, crowd, topics, burst),
        Scenario::Fanout { outstanding, until } => fanout::run(leader, crowd, outstanding, until),
        Scenario::Unicast { rate, outstanding, until } => unicast::run(leader, crowd, rate, outstanding, until),
        Scenario::Enqueue { users, outstanding, until } => enqueue::run(leader, users, outstanding, until),
        Scenario::Reconnect { rate, spread } => reconnect::run(leader, crowd, rate, spread),
        Scenario::Offline { messages, outstanding } => offline::run(leader, crowd, messages, outstanding),
        Scenario::Mixed { rate, topic_rate, topics, duration } => {
            mixed::run(leader, crowd, mixed::Day { rate, topic_rate, topics, duration })
        }
    }
}

/// Refuses what cannot work, with words that say what to do.
fn check(plan: &Plan) -> Result<(), Error> {
    if let Some(pid) = plan.gateway.pid.filter(|pid| proc::cpu(*pid).is_none()) {
        return Err(Error::NoProcess(pid));
    }
    let crowd = &plan.crowd;
    let processes = u64::from(crowd.processes.max(1));
    let wanted = u64::from(crowd.connections).div_ceil(processes);
    if let Some(limit) = proc::open_files_max().filter(|limit| wanted + FILES_BESIDES > *limit) {
        let fit = limit.saturating_sub(FILES_BESIDES).max(1);
        return Err(Error::TooManyFiles { wanted, limit, processes: u64::from(crowd.connections).div_ceil(fit) });
    }
    for (address, flag) in [(&plan.gateway.devices, "--devices"), (&plan.gateway.backend, "--backend")] {
        TcpStream::connect_timeout(&address.0, REACH_PATIENCE).map_err(|why| Error::NoGateway {
            address: address.1.clone(),
            flag,
            why,
        })?;
    }
    Ok(())
}

/// Connects all devices with numbers below `upto`. Fails when the first attempts do.
fn connect(leader: &mut Leader, upto: u32, concurrency: u32) -> Result<(), Error> {
    leader.phase("connect", upto.into());
    let at_a_time = concurrency.div_ceil(leader.crew.len()).max(1);
    let patience = Duration::from_secs(60) + Duration::from_millis(20) * upto;
    leader.begin(&Order::Connect { upto, at_a_time })?;
    leader.wait(patience, "all devices were connected", |leader| {
        let open = leader.connections();
        leader.at(open);
        leader.is_done() || (open == 0 && leader.troubles.len() >= TROUBLES_AT_FIRST)
    })?;
    // A few that fail are figures of the report; when nobody gets in there is nothing to measure.
    if leader.connections() == 0 { leader.refuse_troubles() } else { Ok(()) }
}

/// Lets all connected devices follow a topic each.
fn follow(leader: &mut Leader, topics: u32) -> Result<(), Error> {
    leader.phase("subscribe", 0);
    leader.order_and_wait(&Order::Follow { topics }, SUBSCRIBE_PATIENCE, "all subscriptions were answered")
}

/// When a part that began at `from` ends at the latest, and how many pushes it has.
fn bounds(until: Until, from: Moment) -> (Moment, u64) {
    match until {
        Until::Pushes(count) => (Moment::NEVER, count),
        Until::Elapsed(span) => (from + span, u64::MAX),
    }
}

/// Files that are open besides the sockets of devices: backends, pipes, libraries. With room to spare.
const FILES_BESIDES: u64 = 300;
/// How long a gateway may take to be there.
const REACH_PATIENCE: Duration = Duration::from_secs(5);
/// How long all subscriptions may take.
const SUBSCRIBE_PATIENCE: Duration = Duration::from_secs(60);
/// When nobody is connected and this went wrong already, nobody will be.
const TROUBLES_AT_FIRST: usize = 1;
