//! One side's heartbeat timer: T1 of the client and T2 of the server (P1.11, P1.12) are the same machine with other
//! intervals. It sends nothing; it says when a beat is due and when the peer is dead.
//!
//! ```text
//!            interval of silence            timeout of silence
//!  Quiet ──────────────────────────▶ Asked ───────────────────▶ Dead
//!    ▲                                 │
//!    └───────── anything heard ────────┘
//! ```

use std::time::Duration;

use crate::model::clock::Moment;

/// What a heartbeat timer asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing yet; ask again at [`Heartbeat::deadline`].
    Nothing,
    /// Send a heartbeat now.
    Beat,
    /// The peer did not answer the last beat: it is gone.
    Dead,
}

/// The timer.
#[derive(Clone, Copy, Debug)]
pub struct Heartbeat {
    /// Silence after which a beat is due.
    interval: Duration,
    /// Silence after a beat that means death.
    timeout: Duration,
    /// When the peer was last heard.
    heard: Moment,
    /// When the beat that waits for an answer was sent.
    asked: Option<Moment>,
}

impl Heartbeat {
    /// A timer that starts now, as if the peer had just been heard.
    #[must_use]
    pub const fn new(interval: Duration, timeout: Duration, now: Moment) -> Self {
        Self { interval, timeout, heard: now, asked: None }
    }

    /// The peer was heard: any byte counts.
    pub const fn heard(&mut self, now: Moment) {
        self.heard = now;
        self.asked = None;
    }

    /// When to call [`Heartbeat::due`] next.
    #[must_use]
    pub fn deadline(&self) -> Moment {
        match self.asked {
            None => self.heard + self.interval,
            Some(asked) => asked + self.timeout,
        }
    }

    /// What is due now. [`Due::Beat`] is said once for each silence.
    pub fn due(&mut self, now: Moment) -> Due {
        if now < self.deadline() {
            return Due::Nothing;
        }
        if self.asked.is_some() {
            return Due::Dead;
        }
        self.asked = Some(now);
        Due::Beat
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Due, Heartbeat};
    use crate::model::clock::Moment;

    fn at(seconds: u64) -> Moment {
        Moment::ZERO + Duration::from_secs(seconds)
    }

    fn heartbeat() -> Heartbeat {
        Heartbeat::new(Duration::from_secs(10), Duration::from_secs(3), at(0))
    }

    /// P1.11, P1.12: silence brings one beat, then death within interval plus timeout.
    #[test]
    fn p1_11_p1_12_a_silent_peer_is_noticed_within_interval_plus_timeout() {
        let mut heartbeat = heartbeat();
        assert_eq!(heartbeat.due(at(9)), Due::Nothing);
        assert_eq!(heartbeat.deadline(), at(10));
        assert_eq!(heartbeat.due(at(10)), Due::Beat);
        assert_eq!(heartbeat.due(at(12)), Due::Nothing, "one beat is enough");
        assert_eq!(heartbeat.deadline(), at(13));
        assert_eq!(heartbeat.due(at(13)), Due::Dead);
    }

    /// P1.11: whatever is received takes the place of a beat.
    #[test]
    fn p1_11_anything_heard_starts_the_interval_anew() {
        let mut heartbeat = heartbeat();
        heartbeat.heard(at(8));
        assert_eq!(heartbeat.due(at(17)), Due::Nothing);
        assert_eq!(heartbeat.due(at(18)), Due::Beat);
        heartbeat.heard(at(19));
        assert_eq!(heartbeat.deadline(), at(29));
    }
}
