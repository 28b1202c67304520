//! From a device that says who it is to an agreed session. A peer that has not been accepted has no [`Session`]: only
//! [`Handshake::accept`] makes one.

use std::sync::Arc;
use std::time::Duration;

use crate::delivery::lease::{Lease, Life};
use crate::delivery::options::Options;
use crate::delivery::session::{Output, Session, Terms};
use crate::model::clock::Now;
use crate::model::cursor::Following;
use crate::model::fault::{Code, Fault};
use crate::model::frame::{HeartbeatPlan, Open, Resume, ResumeOutcome, Welcome};
use crate::model::id::{DeviceNumber, Receiver, SessionId, TopicName};
use crate::model::log::LogId;
use crate::model::message::Urgency;
use crate::zone::Hours;

/// What the store knows of a device that opens.
#[derive(Debug)]
pub struct Known {
    /// Nothing, until now.
    pub new: bool,
    /// Its number.
    pub number: DeviceNumber,
    /// What it follows.
    pub following: Vec<Following>,
    /// Topics among it that its user's groups bring.
    pub group_topics: Vec<TopicName>,
    /// The user's quiet hours.
    pub quiet: Option<Hours>,
}

/// A device whose token was good and whose wishes are bounded, before its cursors are known.
#[derive(Debug)]
pub struct Handshake {
    receiver: Receiver,
    life: Life,
    heartbeat: HeartbeatPlan,
    window: u32,
    urgency_floor: Urgency,
}

impl Handshake {
    /// Checks that the token, which was verified, belongs to the device that opens, and bounds its wishes.
    ///
    /// # Errors
    /// [`Code::Forbidden`] when the token names another device.
    pub fn check(open: &Open, receiver: Receiver, life: Life, options: &Options) -> Result<Self, Fault> {
        if open.device.as_ref().is_some_and(|device| *device != receiver.device) {
            return Err(Fault::new(Code::Forbidden, "the token names another device than the one that opens"));
        }
        Ok(Self {
            receiver,
            life,
            heartbeat: plan(open.heartbeat, options),
            window: if open.window == 0 { options.window_default } else { open.window.min(options.window_max) },
            urgency_floor: open.urgency_floor,
        })
    }

    /// Who opens.
    #[must_use]
    pub const fn receiver(&self) -> &Receiver {
        &self.receiver
    }

    /// Makes the session. `seed` is chance.
    #[must_use]
    pub fn accept(
        self,
        (session, seed): (SessionId, u64),
        known: Known,
        options: Arc<Options>,
        now: Now,
        out: &mut Vec<Output>,
    ) -> Session {
        let Known { new, number, following, group_topics, quiet } = known;
        let topics = following.iter().filter_map(|following| match &following.log {
            LogId::Topic(_, topic) => Some(topic.clone()),
            LogId::Inbox(..) | LogId::Broadcast(_) => None,
        });
        let welcome = Welcome {
            session,
            heartbeat: self.heartbeat,
            window: self.window,
            ack_timeout: options.ack_timeout,
            resume: Resume { outcome: ResumeOutcome::New, waiting: 0, missed: 0 },
            server_time: now.wall,
            topics: topics.collect(),
            group_topics,
        };
        let terms = Terms {
            device: self.receiver.device,
            user: self.receiver.user,
            number,
            welcome,
            urgency_floor: self.urgency_floor,
            quiet,
            lease: Lease::new(self.life, now),
            seed,
        };
        Session::start(options, terms, new, following, now, out)
    }
}

/// T1 is what the device can live with, within the operator's bounds; T2 is a quarter longer, so that normally only the
/// client beats and the server beats when the client's beat is overdue (P1.11, P1.12).
fn plan(wanted: Duration, options: &Options) -> HeartbeatPlan {
    let wanted = if wanted.is_zero() { options.heartbeat_default } else { wanted };
    let client_interval = wanted.clamp(options.heartbeat_min, options.heartbeat_max);
    let server_interval = client_interval + client_interval / 4;
    HeartbeatPlan { client_interval, server_interval, timeout: options.heartbeat_timeout }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Handshake, plan};
    use crate::delivery::lease::Life;
    use crate::delivery::options::Options;
    use crate::model::clock::Timestamp;
    use crate::model::fault::Code;
    use crate::model::frame::Open;
    use crate::model::id::{DeviceId, Receiver, TenantId, UserId};
    use crate::model::message::Urgency;

    #[test]
    fn a_token_of_another_device_is_refused_and_wishes_are_bounded() {
        let name = "a name";
        let receiver = Receiver {
            tenant: TenantId::new("t").expect(name),
            user: UserId::new("u").expect(name),
            device: DeviceId::new("d").expect(name),
        };
        let mut open = Open {
            token: String::new(),
            device: Some(DeviceId::new("other").expect(name)),
            heartbeat: Duration::ZERO,
            window: u32::MAX,
            urgency_floor: Urgency::Low,
            agent: String::new(),
            attributes: std::collections::BTreeMap::new(),
        };
        let options = Options::default();
        let life = Life { issued_at: Timestamp::ZERO, expires_at: Timestamp::ZERO };
        let check = |open: &Open| Handshake::check(open, receiver.clone(), life, &options);
        assert_eq!(check(&open).expect_err("another device").code, Code::Forbidden);
        open.device = None;
        assert_eq!(check(&open).expect("its own token").window, options.window_max);
    }

    /// P1.11, P1.12: the server's timer is longer than the client's, whatever the device asks for.
    #[test]
    fn p1_11_p1_12_the_client_beats_first() {
        let options = Options::default();
        for (wanted, agreed) in [(0, 55), (1, 10), (30, 30), (3600, 600)] {
            let plan = plan(Duration::from_secs(wanted), &options);
            assert_eq!(plan.client_interval, Duration::from_secs(agreed));
            assert!(plan.server_interval > plan.client_interval);
        }
    }
}
