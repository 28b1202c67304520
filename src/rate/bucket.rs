//! One token bucket in one atomic. It reads no clock and knows no key.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::model::clock::Moment;
use crate::model::tenant::Rate;

/// A token bucket; a new one is full.
///
/// All that it holds is when it will be full again, if nobody takes anything (GCRA, the generic cell rate algorithm): a
/// token moves that time by what it takes to come back, and there is none when it would lie further ahead than what it
/// takes to fill an empty bucket. So nobody has to fill it, and a bucket that is full again is as good as forgotten.
#[derive(Debug, Default)]
pub struct Bucket {
    /// In nanoseconds of the monotonic clock.
    full_at: AtomicU64,
}

impl Bucket {
    /// Takes a token. The rate may be another one than at the call before.
    ///
    /// # Errors
    /// When there is none: how long until there is one. A refusal writes nothing, not even to memory.
    pub fn take(&self, rate: Rate, now: Moment) -> Result<(), Duration> {
        let (token, now) = (token(rate), nanos(now));
        let whole = token.saturating_mul(rate.burst.get().into());
        let empty = now.saturating_add(whole);
        if self.full_at() > empty.saturating_add(whole.max(STALE_NANOS_MAX)) {
            // A slower rate of before has put it further ahead than this one ever does.
            self.full_at.fetch_min(empty, Ordering::Relaxed);
        }
        let after = |full_at: u64| full_at.max(now).saturating_add(token);
        // Relaxed: it guards nothing but itself.
        let taken = self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
            Some(after(full_at)).filter(|after| *after <= empty)
        });
        taken.map(drop).map_err(|full_at| Duration::from_nanos(after(full_at) - empty))
    }

    /// Whether it is full, as a new one is.
    #[must_use]
    pub fn is_full(&self, now: Moment) -> bool {
        self.full_at() <= nanos(now)
    }

    /// When it will be full, for comparing with others.
    pub(super) fn full_at(&self) -> u64 {
        self.full_at.load(Ordering::Relaxed)
    }
}

/// Nanoseconds that a token takes to come back: rounded up, so that a rate is never exceeded.
fn token(rate: Rate) -> u64 {
    (u64::from(rate.per_seconds.get()) * NANOS_PER_SECOND).div_ceil(rate.count.get().into())
}

const fn nanos(moment: Moment) -> u64 {
    moment.as_micros().saturating_mul(1_000)
}

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// How old a reading of the clock may be when it is used: a thread may have to wait between the two, and to such a one a
/// bucket that others have emptied since looks like one from a slower rate. A guess, far beyond what happens.
const STALE_NANOS_MAX: u64 = NANOS_PER_SECOND;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use proptest::prelude::{any, proptest};

    use super::Bucket;
    use crate::model::clock::Moment;
    use crate::model::tenant::Rate;

    const BEGIN: Moment = Moment::from_micros(5_000_000);

    fn rate(text: &str) -> Rate {
        Rate::parse(text).unwrap()
    }

    /// How many of `wanted` tokens are there.
    fn taken(bucket: &Bucket, rate: Rate, now: Moment, wanted: u32) -> u32 {
        (0..wanted).map(|_| u32::from(bucket.take(rate, now).is_ok())).sum()
    }

    #[test]
    fn a_burst_goes_at_once_and_the_rest_in_time() {
        let (bucket, rate) = (Bucket::default(), rate("10/s burst 3"));
        assert!(bucket.is_full(BEGIN));
        assert_eq!(taken(&bucket, rate, BEGIN, 9), 3);
        assert_eq!(bucket.take(rate, BEGIN), Err(Duration::from_millis(100)));
        let later = |millis| BEGIN + Duration::from_millis(millis);
        assert_eq!(bucket.take(rate, later(40)), Err(Duration::from_millis(60)), "what was refused costs nothing");
        assert_eq!(taken(&bucket, rate, later(99), 9), 0);
        assert_eq!(taken(&bucket, rate, later(100), 9), 1);
        assert_eq!(taken(&bucket, rate, later(300), 9), 2);
        assert!(!bucket.is_full(later(599)));
        assert!(bucket.is_full(later(600)));
        assert_eq!(taken(&bucket, rate, later(60_000), 9), 3, "a long pause fills it, and no more");
    }

    #[test]
    fn another_rate_holds_at_once() {
        let bucket = Bucket::default();
        assert_eq!(taken(&bucket, rate("1/day"), BEGIN, 9), 1);
        let later = BEGIN + Duration::from_millis(100);
        assert_eq!(bucket.take(rate("10/s"), BEGIN), Err(Duration::from_millis(100)), "a day of debt is not kept");
        assert_eq!(taken(&bucket, rate("10/s"), later, 9), 1);
        assert_eq!(taken(&bucket, rate("10/s burst 50"), later, 99), 40);
    }

    #[test]
    fn the_widest_rates_do_not_overflow() {
        let most = u32::MAX.try_into().unwrap();
        let one = 1.try_into().unwrap();
        let end = Moment::from_micros(u64::MAX - 1);
        for (count, per_seconds, burst) in [(one, most, most), (most, one, most), (most, most, one), (one, most, one)] {
            for now in [Moment::ZERO, BEGIN, end] {
                let bucket = Bucket::default();
                let rate = Rate { count, per_seconds, burst };
                let _ = bucket.take(rate, now);
                let _ = bucket.take(rate, now);
            }
        }
    }

    #[test]
    fn threads_share_it_exactly() {
        let (bucket, rate, taken) = (Bucket::default(), rate("1/day burst 1000"), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| taken.fetch_add(self::taken(&bucket, rate, BEGIN, 500), Ordering::Relaxed));
            }
        });
        assert_eq!(taken.into_inner(), 1_000);
    }

    #[test]
    fn a_thread_that_waited_with_its_reading_gives_nothing_back() {
        let (bucket, rate) = (Bucket::default(), rate("10/s"));
        let later = BEGIN + Duration::from_millis(900);
        assert_eq!(taken(&bucket, rate, later, 99), 10);
        assert_eq!(bucket.take(rate, BEGIN), Err(Duration::from_millis(1_000)));
        assert_eq!(bucket.take(rate, later), Err(Duration::from_millis(100)));
    }

    proptest! {
        /// From any time on, no more comes than a burst and what the rate brings; and whoever waits as told is let in,
        /// but not a moment before.
        #[test]
        fn the_rate_is_never_exceeded_and_the_wait_is_exact(
            count in 1u32..2_000, per_seconds in 1u32..4_000, burst in 1u32..50,
            steps in proptest::collection::vec((0u64..2_000_000, 1u32..20, any::<bool>()), 1..60),
        ) {
            let rate = Rate {
                count: count.try_into().unwrap(),
                per_seconds: per_seconds.try_into().unwrap(),
                burst: burst.try_into().unwrap(),
            };
            let (bucket, mut now, mut let_in) = (Bucket::default(), BEGIN, Vec::new());
            for (pause, wanted, waits) in steps {
                now = now + Duration::from_micros(pause);
                let_in.extend((0..taken(&bucket, rate, now, wanted)).map(|_| now));
                match bucket.take(rate, now) {
                    Ok(()) => let_in.push(now),
                    Err(wait) if waits => {
                        // The clock counts in microseconds.
                        let wait = Duration::from_micros(u64::try_from(wait.as_nanos().div_ceil(1_000)).unwrap());
                        assert!(bucket.take(rate, now + (wait - Duration::from_micros(1))).is_err());
                        now = now + wait;
                        assert!(bucket.take(rate, now).is_ok());
                        let_in.push(now);
                    }
                    Err(_) => {}
                }
            }
            for (at, first) in let_in.iter().enumerate() {
                for (more, last) in let_in[at..].iter().enumerate() {
                    let brought = last.since(*first).as_secs_f64() * f64::from(count) / f64::from(per_seconds);
                    assert!(more as f64 + 1.0 <= f64::from(burst) + brought + 1e-6, "{more} after {at}");
                }
            }
        }
    }
}
