//! How long a session's access token is good, and when the device is told that it is about to expire. It checks no token.
//!
//! ```text
//!         a tenth of the token's life before its end          its end
//!  Quiet ────────────────────────────────────────────▶ Told ──────────▶ Over
//!    ▲                                                  │
//!    └──────────────── another token ───────────────────┘
//! ```

use std::time::Duration;

use crate::model::clock::{Moment, Now, Timestamp};

/// A device is told so long before the end at the latest: time to log in over a slow network.
const NOTICE_MIN: Duration = Duration::from_secs(10);

/// And not earlier: what is far off is forgotten. A guess.
const NOTICE_MAX: Duration = Duration::from_secs(300);

/// From when until when a token is good, by the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// When it was made.
    pub issued_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
}

impl Life {
    /// Of a token that never expires. No token is good for so long; what needs no token has it.
    pub const FOREVER: Self = Self { issued_at: Timestamp::ZERO, expires_at: Timestamp::from_millis(u64::MAX) };
}

/// What the lease asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing yet; ask again at [`Lease::deadline`].
    Nothing,
    /// Tell the device that its token expires at this time.
    Notice(Timestamp),
    /// The token has expired.
    Over,
}

/// The timer of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// When the token expires, for the device.
    expires_at: Timestamp,
    /// The same by the clock of timers, read when the token came: a jump of the wall clock does not end a session.
    ends: Moment,
    /// When the device is told; [`Moment::NEVER`] when it was.
    notice: Moment,
}

impl Lease {
    /// Begins with a token that comes now.
    #[must_use]
    pub fn new(life: Life, now: Now) -> Self {
        let span = |from: Timestamp| life.expires_at.as_millis().saturating_sub(from.as_millis());
        let (whole, left) = (Duration::from_millis(span(life.issued_at)), Duration::from_millis(span(now.wall)));
        let before = (whole / 10).clamp(NOTICE_MIN, NOTICE_MAX);
        Self { expires_at: life.expires_at, ends: now.moment + left, notice: now.moment + left.saturating_sub(before) }
    }

    /// When to call [`Lease::due`] next.
    #[must_use]
    pub fn deadline(&self) -> Moment {
        self.notice.min(self.ends)
    }

    /// What is due now. [`Due::Notice`] is said once.
    pub fn due(&mut self, now: Moment) -> Due {
        if now >= self.ends {
            return Due::Over;
        }
        if now >= self.notice {
            self.notice = Moment::NEVER;
            return Due::Notice(self.expires_at);
        }
        Due::Nothing
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Due, Lease, Life};
    use crate::model::clock::{Moment, Now, Timestamp};

    const ISSUED: Timestamp = Timestamp::from_millis(1_000_000_000);

    fn at(seconds: u64) -> Moment {
        Moment::ZERO + Duration::from_secs(seconds)
    }

    /// A token with a life of so many seconds that comes so many seconds after it was made, at the origin.
    fn lease(life: u64, age: u64) -> Lease {
        let life = Life { issued_at: ISSUED, expires_at: ISSUED + Duration::from_secs(life) };
        Lease::new(life, Now { moment: at(0), wall: ISSUED + Duration::from_secs(age) })
    }

    #[test]
    fn a_device_is_told_a_tenth_of_the_life_before_the_end_within_bounds() {
        for (life, age, told) in
            [(1_000, 0, 900), (1_000, 400, 500), (3_600, 0, 3_300), (86_400, 0, 86_100), (60, 0, 50), (100, 0, 90)]
        {
            let mut lease = lease(life, age);
            assert_eq!(lease.deadline(), at(told), "{life} {age}");
            assert_eq!(lease.due(at(told - 1)), Due::Nothing);
            let expires_at = ISSUED + Duration::from_secs(life);
            assert_eq!(lease.due(at(told)), Due::Notice(expires_at));
            assert_eq!(lease.due(at(told)), Due::Nothing, "once");
            assert_eq!(lease.deadline(), at(life - age));
            assert_eq!(lease.due(at(life - age)), Due::Over);
        }
    }

    #[test]
    fn who_comes_late_is_told_at_once() {
        for (life, age) in [(5, 0), (10, 0), (1_000, 950)] {
            let mut lease = lease(life, age);
            assert_eq!(lease.deadline(), at(0), "{life} {age}");
            assert!(matches!(lease.due(at(0)), Due::Notice(_)));
        }
        assert_eq!(lease(5, 5).due(at(0)), Due::Over);
        assert_eq!(lease(5, 9).due(at(0)), Due::Over);
    }

    #[test]
    fn a_token_that_never_expires_asks_for_nothing() {
        let lease = Lease::new(Life::FOREVER, Now { moment: at(1), wall: Timestamp::from_millis(1) });
        assert_eq!(lease.deadline(), Moment::NEVER);
    }
}
