//! Time zones: whether it is a user's quiet hours now, and when that changes. The database of zones is part of the
//! program, so that every node agrees whatever its machine has installed. It knows no users and reads no clock.

use std::fmt;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, Offset, TimeZone, TimeZoneDatabase};
use jiff::{Span, Timestamp as Instant};

use crate::model::clock::Timestamp;
use crate::model::quiet::{QuietHours, TimeOfDay};

/// Why quiet hours were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No zone has this name.
    #[error("there is no time zone {0:?}; give an IANA name, such as Europe/Berlin")]
    UnknownZone(String),
    /// They begin and end at the same time of day.
    #[error("they begin and end at {0}; end them to have none, or make one differ")]
    Empty(TimeOfDay),
}

/// Quiet hours in a zone that is known. Small, and cheap to clone.
///
/// A day's quiet hours are one span: from the first moment at which the clocks of the zone show its beginning to the last
/// moment at which they show its end. Clocks that are set forward may skip one of the two: then the moment of the skip
/// stands for it. So nobody is disturbed between two half past twos of one night.
#[derive(Clone)]
pub struct Hours {
    from: TimeOfDay,
    to: TimeOfDay,
    zone: TimeZone,
}

/// What holds at a moment, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spell {
    /// Whether it is quiet.
    pub quiet: bool,
    /// The moment at which that changes.
    pub until: Timestamp,
}

/// Later than every moment that has a date.
const NEVER: Timestamp = Timestamp::from_millis(u64::MAX);

/// Days that are looked at around a moment: the day before it, because its quiet hours may reach into the next one (a
/// day more, because a zone may skip a whole day when it moves across the date line), and as many after it.
const DAYS: std::ops::RangeInclusive<i64> = -2..=3;

impl Hours {
    /// Checks quiet hours.
    ///
    /// # Errors
    /// [`Error`] when the zone is not known, or the hours are none.
    pub fn new(agreed: &QuietHours) -> Result<Self, Error> {
        if agreed.from == agreed.to {
            return Err(Error::Empty(agreed.from));
        }
        let known = TimeZoneDatabase::bundled().get(&agreed.time_zone);
        let zone = known.map_err(|_| Error::UnknownZone(agreed.time_zone.clone()))?;
        Ok(Self { from: agreed.from, to: agreed.to, zone })
    }

    /// What holds at `now`. A moment that no calendar reaches is not quiet.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> Spell {
        self.spell(now).unwrap_or(Spell { quiet: false, until: NEVER })
    }

    fn spell(&self, now: Timestamp) -> Option<Spell> {
        let instant = Instant::from_millisecond(i64::try_from(now.as_millis()).ok()?).ok()?;
        let today = self.zone.to_datetime(instant).date();
        let mut quiet_until = None;
        for day in DAYS {
            let date = today.checked_add(Span::new().days(day)).ok()?;
            let (from, to) = (self.beginning(date)?, self.end(date)?);
            match quiet_until {
                // The spans of two days may touch when the clocks are set back between them.
                Some(until) if from <= until => quiet_until = Some(to.max(until)),
                Some(_) => break,
                None if from <= instant && instant < to => quiet_until = Some(to),
                None if from > instant && from < to => return Some(Spell { quiet: false, until: timestamp(from) }),
                None => {}
            }
        }
        quiet_until.map(|until| Spell { quiet: true, until: timestamp(until) })
    }

    fn beginning(&self, date: Date) -> Option<Instant> {
        self.moment(date, self.from, |before, after| before.max(after))
    }

    fn end(&self, date: Date) -> Option<Instant> {
        let date = if self.to <= self.from { date.tomorrow().ok()? } else { date };
        self.moment(date, self.to, |before, after| before.min(after))
    }

    /// The moment at which the clocks show this time. They show it twice when they were set back between: `fold` chooses
    /// one of the two offsets. They never show it when they were set forward over it: then it is the moment of that.
    fn moment(&self, date: Date, time: TimeOfDay, fold: impl Fn(Offset, Offset) -> Offset) -> Option<Instant> {
        let [hour, minute] = [time.minutes() / 60, time.minutes() % 60].map(i8::try_from);
        let shown = DateTime::from_parts(date, Time::new(hour.ok()?, minute.ok()?, 0, 0).ok()?);
        match self.zone.to_ambiguous_timestamp(shown).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(shown).ok(),
            AmbiguousOffset::Fold { before, after } => fold(before, after).to_timestamp(shown).ok(),
            AmbiguousOffset::Gap { before, after } => {
                // With the later offset it lies before the skip, within its length.
                let earlier = before.max(after).to_timestamp(shown).ok()?;
                self.zone.following(earlier).next().map(|skip| skip.timestamp())
            }
        }
    }
}

fn timestamp(instant: Instant) -> Timestamp {
    u64::try_from(instant.as_millisecond()).map_or(Timestamp::ZERO, Timestamp::from_millis)
}

impl fmt::Debug for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {} in {}", self.from, self.to, self.zone.iana_name().unwrap_or("?"))
    }
}

impl PartialEq for Hours {
    fn eq(&self, other: &Self) -> bool {
        (self.from, self.to, &self.zone) == (other.from, other.to, &other.zone)
    }
}

impl Eq for Hours {}

#[cfg(test)]
mod tests {
    use jiff::Timestamp as Instant;
    use proptest::prelude::*;

    use super::{Error, Hours, Spell};
    use crate::model::clock::Timestamp;
    use crate::model::quiet::{QuietHours, TimeOfDay};

    fn agreed(from: &str, to: &str, zone: &str) -> QuietHours {
        let time = |text| TimeOfDay::parse(text).expect("a time of day");
        QuietHours { from: time(from), to: time(to), time_zone: zone.to_owned() }
    }

    fn hours(from: &str, to: &str, zone: &str) -> Hours {
        Hours::new(&agreed(from, to, zone)).expect("a zone")
    }

    fn at(utc: &str) -> Timestamp {
        let instant: Instant = format!("{utc}:00Z").parse().expect("a moment");
        Timestamp::from_millis(instant.as_millisecond().try_into().expect("after 1970"))
    }

    /// From each moment on the quiet changes at the next one: moments in UTC, the first is within a quiet span.
    fn check(hours: &Hours, changes: &[&str]) {
        let mut quiet = true;
        for pair in changes.windows(2) {
            let (now, until) = (at(pair[0]), at(pair[1]));
            assert_eq!(hours.at(now), Spell { quiet, until }, "{hours:?} at {}", pair[0]);
            let last = Timestamp::from_millis(until.as_millis() - 1);
            assert_eq!(hours.at(last), Spell { quiet, until }, "{hours:?} just before {}", pair[1]);
            quiet = !quiet;
        }
    }

    #[test]
    fn quiet_hours_reach_over_midnight_and_are_those_of_the_zone() {
        let night = hours("22:00", "07:00", "Europe/Berlin");
        check(&night, &["2026-01-10T21:00", "2026-01-11T06:00", "2026-01-11T21:00", "2026-01-12T06:00"]);
        check(&night, &["2026-07-10T20:00", "2026-07-11T05:00", "2026-07-11T20:00"]);
        let siesta = hours("13:00", "15:00", "Asia/Kolkata");
        check(&siesta, &["2026-03-01T07:30", "2026-03-01T09:30", "2026-03-02T07:30"]);
        let utc = hours("00:00", "23:59", "UTC");
        check(&utc, &["2026-03-01T00:00", "2026-03-01T23:59", "2026-03-02T00:00"]);
    }

    #[test]
    fn a_night_in_which_clocks_are_set_is_an_hour_shorter_or_longer() {
        let night = hours("22:00", "07:00", "Europe/Berlin");
        check(&night, &["2026-03-28T21:00", "2026-03-29T05:00", "2026-03-29T20:00"]);
        check(&night, &["2026-10-24T20:00", "2026-10-25T06:00", "2026-10-25T21:00"]);
        let night = hours("22:00", "07:00", "America/New_York");
        check(&night, &["2026-03-08T03:00", "2026-03-08T11:00", "2026-03-09T02:00"]);
        check(&night, &["2026-11-01T02:00", "2026-11-01T12:00", "2026-11-02T03:00"]);
    }

    /// Clocks go from 02:00 to 03:00: there is no half past two.
    #[test]
    fn a_time_that_is_skipped_stands_at_the_skip() {
        check(&hours("22:00", "02:30", "Europe/Berlin"), &["2026-03-28T21:00", "2026-03-29T01:00", "2026-03-29T20:00"]);
        check(&hours("02:30", "06:00", "Europe/Berlin"), &["2026-03-29T01:00", "2026-03-29T04:00", "2026-03-30T00:30"]);
        let skipped = hours("02:10", "02:50", "Europe/Berlin");
        let before = Spell { quiet: false, until: at("2026-03-30T00:10") };
        assert_eq!(skipped.at(at("2026-03-29T00:59")), before, "there are none that night");
    }

    /// Clocks go from 03:00 to 02:00: half past two comes twice.
    #[test]
    fn a_time_that_comes_twice_begins_at_the_first_and_ends_at_the_last() {
        check(&hours("22:00", "02:30", "Europe/Berlin"), &["2026-10-24T20:00", "2026-10-25T01:30", "2026-10-25T21:00"]);
        check(&hours("02:30", "06:00", "Europe/Berlin"), &["2026-10-25T00:30", "2026-10-25T05:00", "2026-10-26T01:30"]);
        // The end of one day's comes after the beginning of the next day's.
        let nearly_always = hours("02:10", "02:05", "Europe/Berlin");
        check(&nearly_always, &["2026-10-24T00:10", "2026-10-26T01:05", "2026-10-26T01:10"]);
    }

    /// Samoa had no 30 December 2011: it went from the end of the 29th to the 31st.
    #[test]
    fn a_day_that_was_left_out_does_not_break_the_night() {
        let night = hours("22:00", "07:00", "Pacific/Apia");
        check(&night, &["2011-12-30T08:00", "2011-12-30T17:00", "2011-12-31T08:00"]);
    }

    #[test]
    fn zones_that_are_none_and_hours_that_are_none_are_refused() {
        for zone in ["", "Berlin", "Europe/Atlantis", "../etc/passwd", "\u{221e}"] {
            assert_eq!(Hours::new(&agreed("22:00", "07:00", zone)), Err(Error::UnknownZone(zone.to_owned())));
        }
        let time = TimeOfDay::parse("07:00").expect("a time of day");
        assert_eq!(Hours::new(&agreed("07:00", "07:00", "UTC")), Err(Error::Empty(time)));
    }

    #[test]
    fn a_moment_beyond_the_calendar_is_not_quiet() {
        let night = hours("22:00", "07:00", "Europe/Berlin");
        for millis in [0, 1, 253_402_300_799_999, u64::MAX / 2, u64::MAX] {
            let spell = night.at(Timestamp::from_millis(millis));
            assert!(spell.until > Timestamp::from_millis(millis) || millis == u64::MAX, "{millis}: {spell:?}");
        }
    }

    proptest! {
        /// What holds, holds until it is said to change, and then it changes: for any hours, on any day, in zones that set
        /// their clocks at night, by half an hour (Lord Howe), at midnight (Cairo), or never.
        #[test]
        fn a_spell_is_whole(
            minute in 0_u64..(60 * 24 * 366 * 30),
            from in 0_u16..1440,
            length in 1_u16..1440,
            zone in proptest::sample::select(vec![
                "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Apia", "Australia/Lord_Howe",
                "Africa/Cairo", "America/Havana", "UTC",
            ]),
        ) {
            let time = |minutes: u16| TimeOfDay::from_minutes(minutes % 1440).expect("within the day");
            let agreed = QuietHours { from: time(from), to: time(from + length), time_zone: zone.to_owned() };
            let hours = Hours::new(&agreed).expect("a zone");
            // From 2000 on.
            let now = Timestamp::from_millis(946_684_800_000 + minute * 60_000);
            let spell = hours.at(now);
            prop_assert!(spell.until > now, "{hours:?}: {spell:?} at {now}");
            prop_assert_ne!(hours.at(spell.until).quiet, spell.quiet, "{:?} at {}", hours, spell.until);
            let within = Timestamp::from_millis((now.as_millis() + spell.until.as_millis()) / 2);
            prop_assert_eq!(hours.at(within), spell, "{:?} at {}", hours, within);
        }
    }
}
