//! What the connections of one thread share: the setup, the clock's last reading, what is counted, and what they tell
//! the thread that drives them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use mio::Registry;

use super::hpack::{self, Head};
use super::order::{Got, Life, Setup};
use super::stamp::Log;
use super::tally::Tally;
use crate::model::clock::{Clock, Moment};
use crate::tls::session::Trust;
use crate::wire::device::Method;

/// The path of a backend's stream of pushes.
const PUSH_STREAM: &str = "/pushline.v1.Backend/PushStream";

/// Shared by the connections of one thread.
pub(super) struct Core {
    pub(super) setup: Arc<Setup>,
    /// Where sockets are registered.
    pub(super) registry: Registry,
    /// Whom devices trust; whom backends do, if they speak TLS.
    pub(super) devices_trust: Trust,
    pub(super) backend_trust: Option<Trust>,
    /// Header blocks that are the same for all.
    pub(super) ack_block: Vec<u8>,
    pub(super) subscribe_block: Vec<u8>,
    pub(super) stream_block: Vec<u8>,
    pub(super) clock: Clock,
    /// Read when a batch of events came.
    pub(super) now: Moment,
    pub(super) tally: Tally,
    /// Devices that have a welcome.
    pub(super) open: u32,
    /// Pushes to devices of this thread that came for the first time; the driver takes the number away.
    pub(super) received: u64,
    /// Deliveries of pushes to topics since it was last told.
    pub(super) got: Vec<Got>,
    /// When gathered acks have waited long enough: moment, device, which of its connections. In order, since all wait
    /// equally long.
    pub(super) acks_due: VecDeque<(Moment, u32, u32)>,
    pub(super) life: Option<Life>,
    pub(super) chance: fastrand::Rng,
    /// Trailers that said that all is well. Peers send the same bytes each time.
    fine: Vec<u8>,
}

impl Core {
    pub(super) fn new(setup: Arc<Setup>, seat: u32, registry: Registry) -> Result<Self, crate::tls::Error> {
        let ca = setup.ca.as_ref().map(String::as_bytes);
        let host = |authority: &str| authority.rsplit_once(':').map_or(authority, |(host, _)| host).to_owned();
        let devices_trust = Trust::new(ca, &host(&setup.devices_host), b"h2")?;
        let backend_trust = match setup.backend_tls {
            true => Some(Trust::new(ca, &host(&setup.backend_host), b"h2")?),
            false => None,
        };
        let clock = setup.clock();
        let stream_block = hpack::request(&hpack::Request {
            is_tls: setup.backend_tls,
            path: PUSH_STREAM,
            authority: &setup.backend_host,
            bearer: Some(&setup.key),
        });
        let block = |method: Method| {
            let authority = &setup.devices_host;
            hpack::request(&hpack::Request { is_tls: true, path: method.path(), authority, bearer: None })
        };
        Ok(Self {
            registry,
            devices_trust,
            backend_trust,
            ack_block: block(Method::Ack),
            subscribe_block: block(Method::Subscribe),
            stream_block,
            clock,
            now: clock.now().moment,
            tally: Tally::default(),
            open: 0,
            received: 0,
            got: Vec::new(),
            acks_due: VecDeque::new(),
            life: None,
            chance: fastrand::Rng::with_seed(setup.run ^ u64::from(seat)),
            fine: Vec::new(),
            setup,
        })
    }

    /// Reads trailers: `None` when all went well, else the stable word of the refusal.
    pub(super) fn refusal(&mut self, trailers: &[u8]) -> Result<Option<String>, hpack::Error> {
        if !self.fine.is_empty() && self.fine == trailers {
            return Ok(None);
        }
        let head = hpack::head(trailers)?;
        if head.grpc_status == Some(0) {
            self.fine = trailers.to_vec();
            return Ok(None);
        }
        Ok(Some(word(head)))
    }

    /// Counts a delivery of a push to a topic.
    pub(super) fn got(&mut self, log: Log, number: u32, sent: Moment) {
        let now = self.now;
        // Few pushes are under way at a time, and the last is the most likely one.
        if let Some(got) = self.got.iter_mut().rfind(|got| (got.log, got.number) == (log, number)) {
            got.add(now);
        } else {
            let (sent, last) = (sent.as_micros(), now.as_micros());
            self.got.push(Got { log, number, count: 1, sent, last });
        }
    }

    /// How long an ack may wait for others.
    pub(super) fn ack_delay(&self) -> Duration {
        self.setup.ack_delay
    }
}

/// The stable word of a refusal, or what comes closest.
fn word(head: Head) -> String {
    match (head.code, head.grpc_status, head.status) {
        (Some(code), ..) => code,
        (None, Some(status), _) => format!("grpc_status_{status}"),
        (None, None, Some(status)) => format!("http_status_{status}"),
        (None, None, None) => "no_status".to_owned(),
    }
}
