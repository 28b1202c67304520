//! When a client needs another access token, and what a token's end means for it. It gets no tokens itself and reads no clock.

use std::time::Duration;

use crate::client::backoff::Backoff;
use crate::client::error::Error;
use crate::model::clock::Moment;

/// Longest first pause after a renewal that failed, and longest of all. Guesses: the gateway warns 10 s to 5 min before the
/// end.
const RETRY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));

/// The state of the token.
#[derive(Debug)]
pub(super) struct Pass {
    /// Somebody can be asked for another one.
    renewable: bool,
    /// There is none, or it is over: the next connection needs another one.
    stale: bool,
    /// The connection that is being made got one for itself: were it refused, another one would be too.
    fresh: bool,
    /// When to get the next one.
    refresh_at: Moment,
    /// One is being got for the open session.
    renewing: bool,
    /// Pauses between attempts to renew.
    retry: Backoff,
}

impl Pass {
    /// Of a client that has a token, or none.
    pub(super) fn new(renewable: bool, has_token: bool, seed: u64) -> Self {
        let retry = Backoff::new(RETRY.0, RETRY.1, seed);
        Self {
            renewable,
            stale: renewable && !has_token,
            fresh: false,
            refresh_at: Moment::NEVER,
            renewing: false,
            retry,
        }
    }

    /// A connection is about to be made.
    pub(super) fn begin(&mut self, now: Moment) {
        // A renewal that was under way went with its connection.
        self.renewing = false;
        self.stale |= self.renewable && self.refresh_at <= now;
        self.fresh = self.stale;
    }

    /// Whether the connection that is being made needs a token.
    pub(super) const fn wanted(&self) -> bool {
        self.stale
    }

    /// It got one; `refresh_after`: when to get the next, if that was said.
    pub(super) fn got(&mut self, now: Moment, refresh_after: Option<Duration>) {
        self.stale = false;
        self.retry.reset();
        self.refresh_at = refresh_after.map_or(Moment::NEVER, |after| now + after);
    }

    /// The gateway took it.
    pub(super) const fn taken(&mut self) {
        self.fresh = false;
    }

    /// The gateway warns that it is about to expire.
    pub(super) const fn expiring(&mut self, now: Moment) {
        if self.renewable {
            self.refresh_at = now;
        }
    }

    /// When [`Pass::due`] may be true.
    pub(super) const fn deadline(&self) -> Moment {
        if self.renewing { Moment::NEVER } else { self.refresh_at }
    }

    /// Whether the open session needs another one now; true once, until that came to an end.
    pub(super) fn due(&mut self, now: Moment) -> bool {
        let due = self.renewable && !self.renewing && self.refresh_at <= now;
        self.renewing |= due;
        due
    }

    /// What getting one for the open session came to.
    pub(super) fn renewed(&mut self, now: Moment, result: Result<Option<Duration>, &Error>) {
        self.renewing = false;
        match result {
            Ok(refresh_after) => self.got(now, refresh_after),
            Err(why) if why.is_temporary() => self.refresh_at = now + self.retry.pause(None).max(RETRY_MIN),
            // Asking again gets the same answer; the session goes on until the old one is over.
            Err(_) => self.refresh_at = Moment::NEVER,
        }
    }

    /// The session or the attempt was lost. True when another token may heal it; the next connection gets one.
    pub(super) fn heals(&mut self, why: &Error) -> bool {
        self.renewing = false;
        let over = match why {
            Error::Closed { name, .. } => matches!(name.as_str(), "token_expired" | "revoked"),
            Error::Refused(refusal) => {
                matches!(refusal.name.as_str(), "expired_token" | "revoked_token" | "invalid_credentials")
            }
            _ => false,
        };
        let heals = over && self.renewable && !self.fresh;
        self.stale |= heals;
        heals
    }
}

/// Shortest pause after a renewal that failed: whoever issues tokens is not to be hammered.
const RETRY_MIN: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Pass, RETRY, RETRY_MIN};
    use crate::client::error::{Error, Refusal};
    use crate::model::clock::Moment;

    const NOW: Moment = Moment::from_micros(1_000_000);

    fn refused(name: &str) -> Error {
        Error::Refused(Refusal { grpc: 16, name: name.to_owned(), ..Refusal::default() })
    }

    fn closed(name: &str) -> Error {
        Error::Closed { code: 1, name: name.to_owned(), reason: String::new(), may_return: false }
    }

    #[test]
    fn a_token_is_got_when_there_is_none_and_renewed_when_its_time_has_come() {
        let mut pass = Pass::new(true, false, 7);
        pass.begin(NOW);
        assert!(pass.wanted());
        pass.got(NOW, Some(Duration::from_secs(10)));
        pass.taken();
        assert_eq!(pass.deadline(), NOW + Duration::from_secs(10));
        assert!(!pass.due(NOW));
        let later = NOW + Duration::from_secs(10);
        assert!(pass.due(later) && !pass.due(later), "one at a time");
        assert_eq!(pass.deadline(), Moment::NEVER);
        pass.renewed(later, Ok(None));
        assert!(!pass.due(later + Duration::from_secs(1000)));
        pass.expiring(later);
        assert!(pass.due(later), "the gateway warns");
        // The connection is made anew meanwhile, and the token at hand is about to end.
        assert!(!pass.heals(&Error::Network("cut".into())));
        pass.begin(later);
        assert!(pass.wanted());
    }

    #[test]
    fn a_failed_renewal_is_tried_again_unless_it_was_refused() {
        let mut pass = Pass::new(true, true, 7);
        pass.expiring(NOW);
        assert!(pass.due(NOW));
        pass.renewed(NOW, Err(&Error::TimedOut("x")));
        let pause = pass.deadline().since(NOW);
        assert!(pause >= RETRY_MIN && pause <= RETRY.0, "{pause:?}");
        assert!(pass.due(pass.deadline()));
        pass.renewed(NOW, Err(&refused("login_refused")));
        assert_eq!(pass.deadline(), Moment::NEVER);
    }

    #[test]
    fn only_the_end_of_a_token_is_healed_and_only_once() {
        for (why, heals) in [
            (closed("token_expired"), true),
            (closed("revoked"), true),
            (closed("taken_over"), false),
            (refused("expired_token"), true),
            (refused("revoked_token"), true),
            (refused("login_refused"), false),
            (refused("forbidden"), false),
        ] {
            let mut fixed = Pass::new(false, true, 7);
            assert!(!fixed.heals(&why), "there is nobody to ask: {why}");
            let mut pass = Pass::new(true, true, 7);
            assert_eq!(pass.heals(&why), heals, "{why}");
            pass.begin(NOW);
            assert_eq!(pass.wanted(), heals);
            pass.got(NOW, None);
            assert!(!pass.heals(&why) || !heals, "a token that was just got: {why}");
            pass.taken();
            assert_eq!(pass.heals(&why), heals);
        }
    }
}
