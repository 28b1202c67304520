//! Quiet hours: when a user wants to be left alone. Only what was agreed; the room `zone` knows when that is.

use std::fmt;

/// Quiet hours of a user: every day from one time of day to another, in a time zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuietHours {
    /// When they begin.
    pub from: TimeOfDay,
    /// When they end; not later than `from` means on the next day. Never equal to `from`.
    pub to: TimeOfDay,
    /// IANA name of the time zone; checked where it is taken in.
    pub time_zone: String,
}

/// A time of day in minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOfDay(u16);

impl TimeOfDay {
    /// The time with these minutes after midnight; `None` past the end of the day.
    #[must_use]
    pub const fn from_minutes(minutes: u16) -> Option<Self> {
        if minutes < 24 * 60 { Some(Self(minutes)) } else { None }
    }

    /// Minutes after midnight.
    #[must_use]
    pub const fn minutes(self) -> u16 {
        self.0
    }

    /// Reads `HH:MM`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (hours, minutes) = text.split_once(':')?;
        let two = |digits: &str| {
            let all = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_digit());
            all.then(|| digits.parse::<u16>().ok()).flatten()
        };
        let (hours, minutes) = (two(hours)?, two(minutes)?);
        (hours < 24 && minutes < 60).then_some(Self(hours * 60 + minutes))
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::TimeOfDay;

    #[test]
    fn times_of_day_read_back_and_others_are_refused() {
        for text in ["00:00", "07:30", "23:59"] {
            assert_eq!(TimeOfDay::parse(text).map(|time| time.to_string()).as_deref(), Some(text));
        }
        for text in ["", "7:30", "24:00", "12:60", "12:3", "12-30", "+1:00", "12:30:00", "\u{661}2:00"] {
            assert_eq!(TimeOfDay::parse(text), None, "{text}");
        }
    }
}
