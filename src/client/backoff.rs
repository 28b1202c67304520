//! How long to wait before the next attempt: full jitter, as the AWS Architecture Blog's "Exponential Backoff And
//! Jitter" names it. It counts failures and reads no clock.

use std::time::Duration;

/// Failures in a row, and the pauses they cost.
#[derive(Debug)]
pub(super) struct Backoff {
    /// Longest first pause.
    base: Duration,
    /// Longest pause of all.
    max: Duration,
    /// Failures in a row; set back by [`Backoff::reset`].
    failures: u32,
    /// Chance, seeded by whoever made this.
    chance: fastrand::Rng,
}

impl Backoff {
    pub(super) fn new(base: Duration, max: Duration, seed: u64) -> Self {
        Self { base, max, failures: 0, chance: fastrand::Rng::with_seed(seed) }
    }

    /// All is well again: the next pause is a first one.
    pub(super) const fn reset(&mut self) {
        self.failures = 0;
    }

    /// The pause after one more failure: anything from nothing to `min(max, base * 2^failures)`. A pause the gateway
    /// asked for is kept exactly, as it is jittered already, unless failures in a row ask for a longer one.
    pub(super) fn pause(&mut self, asked: Option<Duration>) -> Duration {
        let ceiling = self.base.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(self.max);
        let own = Duration::from_micros(self.chance.u64(0..=micros(ceiling)));
        let first = self.failures == 0;
        self.failures = self.failures.saturating_add(1);
        match asked {
            None => own,
            Some(asked) if first => asked,
            Some(asked) => asked.max(own),
        }
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Backoff;

    const BASE: Duration = Duration::from_millis(500);
    const MAX: Duration = Duration::from_secs(60);

    #[test]
    fn pauses_spread_from_nothing_to_a_ceiling_that_doubles() {
        let mut longest = [Duration::ZERO; 40];
        let mut shortest = [Duration::MAX; 40];
        for seed in 0..500 {
            let mut backoff = Backoff::new(BASE, MAX, seed);
            for n in 0..40 {
                let pause = backoff.pause(None);
                longest[n] = longest[n].max(pause);
                shortest[n] = shortest[n].min(pause);
            }
        }
        for n in 0..40 {
            let ceiling = BASE.saturating_mul(2_u32.saturating_pow(u32::try_from(n).expect("small"))).min(MAX);
            assert!(longest[n] <= ceiling, "failure {n}: {:?}", longest[n]);
            assert!(longest[n] > ceiling.mul_f64(0.95), "failure {n} never waits long: {:?}", longest[n]);
            assert!(shortest[n] < ceiling.mul_f64(0.05), "failure {n} never waits short: {:?}", shortest[n]);
        }
    }

    #[test]
    fn a_pause_the_gateway_asks_for_is_kept_and_never_shortened() {
        let asked = Duration::from_millis(1234);
        let mut longer = 0;
        for seed in 0..100 {
            let mut backoff = Backoff::new(BASE, MAX, seed);
            assert_eq!(backoff.pause(Some(asked)), asked);
            for _ in 0..8 {
                let pause = backoff.pause(Some(asked));
                assert!(pause >= asked);
                longer += u32::from(pause > asked);
            }
            backoff.reset();
            assert_eq!(backoff.pause(Some(asked)), asked);
        }
        assert!(longer > 100, "failures in a row must lengthen it, else a crash loop becomes a storm");
    }
}
