//! A day in the life: pushes to users and topics while devices leave and return, stop reading for a while, and fail to
//! handle some pushes. All of it is verified to the last message.

use std::time::Duration;

use super::unicast::{drained, end};
use super::{connect, follow};
use crate::load::leader::Leader;
use crate::load::order::{Aim, Life, Order, Pace};
use crate::load::plan::{Crowd, Error, Until};
use crate::load::report::Report;

/// What is asked of a day.
#[derive(Clone, Copy, Debug)]
pub(super) struct Day {
    /// Pushes to users a second.
    pub(super) rate: f64,
    /// Pushes to topics a second.
    pub(super) topic_rate: f64,
    pub(super) topics: u32,
    pub(super) duration: Duration,
}

pub(super) fn run(mut leader: Leader, crowd: &Crowd, day: Day) -> Result<Report, Error> {
    connect(&mut leader, crowd.connections, crowd.concurrency)?;
    follow(&mut leader, day.topics)?;
    leader.report.connections = leader.connections();
    let from = leader.measure()?;
    leader.phase_until("measure", Until::Elapsed(day.duration), 1);
    leader.order(&Order::Live(Some(LIFE)))?;
    let pace = Pace::Rate(day.rate / f64::from(leader.crew.len()));
    leader.drive(Aim::Devices, pace, None)?;
    let (over, mut due, mut topic) = (from.0 + day.duration, from.0, 0);
    while leader.clock.now().moment < over {
        leader.at(leader.pushes());
        if due <= leader.clock.now().moment {
            leader.publish(topic, 1)?;
            topic = (topic + 1) % day.topics.min(crowd.connections);
            due = due + Duration::from_secs_f64(1.0 / day.topic_rate);
        }
        leader.hear(due.min(over))?;
    }
    leader.order(&Order::Live(None))?;
    end(&mut leader)?;
    drained(&mut leader)?;
    leader.settle()?;
    let upto = (leader.clock.now().moment, leader.cpu());
    let tally = leader.count()?;
    leader.measured(&tally, from, upto);
    leader.finish()
}

/// How lively the crowd is. Guesses: in a minute each device leaves once or twice and is slow once.
const LIFE: Life = Life { churn: 0.02, stall: 0.02, stall_for: Duration::from_secs(2), nack: 0.005 };
