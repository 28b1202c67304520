//! Everybody connects and sits there: handshakes a second, server CPU of each, and the memory that each adds.

use std::time::Duration;

use super::{connect, follow};
use crate::load::leader::Leader;
use crate::load::plan::{Crowd, Error};
use crate::load::report::Report;
use crate::load::tally::Span;

pub(super) fn run(mut leader: Leader, crowd: &Crowd, topics: u32, burst: Option<u32>) -> Result<Report, Error> {
    let whole = crowd.connections;
    let half = whole / 2;
    let from = leader.measure()?;
    let (mut seconds, mut used, mut memory) = (0.0, Duration::ZERO, Vec::new());
    for upto in [half, whole] {
        let (began, cpu) = (leader.clock.now().moment, leader.cpu());
        connect(&mut leader, upto, crowd.concurrency)?;
        seconds += leader.clock.now().moment.since(began).as_secs_f64();
        used += leader.cpu().server.zip(cpu.server).map_or(Duration::ZERO, |(upto, from)| upto.saturating_sub(from));
        follow(&mut leader, topics)?;
        leader.phase("settle", 0);
        memory.push(leader.settled_memory()?.zip(Some(leader.connections())));
    }
    let tally = leader.count()?;
    let upto = (leader.clock.now().moment, leader.cpu());
    leader.measured(&tally, from, upto);
    let report = &mut leader.report;
    report.connections = tally.welcomes;
    report.seconds = seconds;
    report.handshakes_per_second = Some(tally.welcomes as f64 / seconds);
    let has_server = from.1.server.is_some() && tally.welcomes > 0;
    report.server_cpu_us_per_handshake = has_server.then(|| used.as_secs_f64() * 1e6 / tally.welcomes as f64);
    report.latency_ms = tally.latency(Span::Handshake);
    // The difference of two crowds: what the server needs without any is in both.
    if let [Some((small, few)), Some((large, many))] = memory[..]
        && many > few
    {
        // What was freed meanwhile is of earlier work, and nobody can say how much it was.
        if large > small {
            report.idle_bytes_per_connection = Some((large - small) as f64 / (many - few) as f64);
        } else {
            leader.troubles.push(SHRANK.to_owned());
        }
    }
    if let Some(count) = burst {
        let idle = leader.server_memory();
        burst_to_all(&mut leader, whole, topics, count)?;
        let after = leader.settled_memory()?;
        let report = &mut leader.report;
        if let (Some(idle), Some(after), Some(each)) = (idle, after, report.idle_bytes_per_connection) {
            report.bytes_per_connection_after_burst =
                Some(each + (after as f64 - idle as f64) / report.connections.max(1) as f64);
        }
    }
    leader.settle()?;
    leader.finish()
}

/// Pushes so often to each topic, all at once; waits until all have all, and until it is quiet again.
fn burst_to_all(leader: &mut Leader, whole: u32, topics: u32, count: u32) -> Result<(), Error> {
    let topics = topics.clamp(1, whole);
    leader.phase("burst", u64::from(count) * u64::from(whole));
    for topic in 0..topics {
        leader.followers.insert(topic, (whole - topic).div_ceil(topics));
        leader.publish(topic, count)?;
    }
    let all = u64::from(count) * u64::from(topics);
    leader.wait_while_it_goes_on(|leader| {
        leader.at(leader.deliveries());
        leader.complete >= all
    })?;
    leader.settle()?;
    leader.phase("settle", 0);
    leader.rest(AFTER_BURST)
}

/// Said when more memory came free than connections took.
const SHRANK: &str = "the gateway gave memory back while devices connected, so what one takes is not known; \
                      measure with more of them, at a gateway that was just started";
/// How long the server has to give its memory back. The target says "a few seconds".
const AFTER_BURST: Duration = Duration::from_secs(5);
