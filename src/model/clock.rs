//! Readings of the two clocks, and the one place of the gateway where they are read. It does not wait: timers are
//! deadlines in [`Moment`]s that an async shell sleeps towards.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A reading of the monotonic clock: microseconds since the clock was made. Timers use it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    /// The origin of the clock.
    pub const ZERO: Self = Self(0);
    /// Later than every reading: "never".
    pub const NEVER: Self = Self(u64::MAX);

    /// The reading `micros` microseconds after the origin.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the origin.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Time from `earlier` to this reading; zero when it lies in the future.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// A reading of the wall clock: milliseconds since the unix epoch. Expiry and records use it; it may jump.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The unix epoch; as an expiry it means "never was stored".
    pub const ZERO: Self = Self(0);

    /// The reading `millis` milliseconds after the unix epoch.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

/// Both clocks, read together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The monotonic clock.
    pub moment: Moment,
    /// The wall clock.
    pub wall: Timestamp,
}

/// The clocks themselves. Cheap to copy; all copies share one origin, so their [`Moment`]s compare.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// The instant that [`Moment::ZERO`] stands for.
    origin: Instant,
}

impl Clock {
    /// A clock whose origin is this instant.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        clippy::new_without_default,
        reason = "this file is where the clocks are read"
    )]
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }

    /// A clock whose origin is so many microseconds after the unix epoch by this machine's wall clock, which must have
    /// passed: processes that agree on it can compare their [`Moment`]s, as long as nobody sets the wall clock between.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this file is where the clocks are read")]
    pub fn since_epoch(micros: u64) -> Self {
        let (now, wall) = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
        let passed = wall.saturating_sub(Duration::from_micros(micros));
        Self { origin: now.checked_sub(passed).unwrap_or(now) }
    }

    /// Reads both clocks.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this file is where the clocks are read")]
    pub fn now(&self) -> Now {
        let elapsed = Instant::now().saturating_duration_since(self.origin);
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { moment: Moment::ZERO + elapsed, wall: Timestamp::ZERO + wall }
    }

    /// The instant a moment stands for, for sleeping until it. `None` for [`Moment::NEVER`] and beyond what the
    /// platform can name.
    #[must_use]
    pub fn instant(&self, moment: Moment) -> Option<Instant> {
        (moment < Moment::NEVER).then(|| self.origin.checked_add(Duration::from_micros(moment.0))).flatten()
    }
}
