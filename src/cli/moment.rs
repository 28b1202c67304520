//! Times and spans as people type and read them: RFC 3339, in UTC, and `2h 5m`. It reads no clock.

use std::time::{Duration, UNIX_EPOCH};

use crate::model::clock::Timestamp;

/// A time in full, to the millisecond.
pub(super) fn full(millis: u64) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(millis)).to_string()
}

/// A time in full, to the second.
pub(super) fn second(millis: u64) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(millis)).to_string()
}

/// Day and hour.
pub(super) fn hour(millis: u64) -> String {
    second(millis).get(..16).map(|text| text.replace('T', " ")).unwrap_or_default()
}

/// How long something took or takes, in at most two units: `350ms`, `2s 30ms`, `3days 4h`.
pub(super) fn span(millis: u64) -> String {
    let text = humantime::format_duration(Duration::from_millis(millis)).to_string();
    let parts: Vec<_> = text.split(' ').collect();
    let largest = parts.first().copied().unwrap_or_default();
    let is_seconds = largest.trim_end_matches(|c: char| c.is_ascii_digit() || c == 's').is_empty();
    // Beside minutes nobody asks for milliseconds.
    let second = parts.get(1).filter(|part| is_seconds || !part.ends_with("ms"));
    second.map_or_else(|| largest.to_owned(), |second| format!("{largest} {second}"))
}

/// Reads a time: `2026-11-23T08:00:00Z`, also with a blank for the `T`, with an offset such as `+01:00` for the `Z`, or
/// with neither, which is UTC.
pub(super) fn read(text: &str) -> Result<Timestamp, String> {
    let expected = || "expected a time such as 2026-11-23T08:00:00Z or 2026-11-23T09:00:00+01:00".to_owned();
    let (local, offset_minutes) = offset(text).ok_or_else(expected)?;
    let local = humantime::parse_rfc3339_weak(local).map_err(|_| expected())?;
    let local = local.duration_since(UNIX_EPOCH).map_err(|_| expected())?;
    let local = i64::try_from(local.as_millis()).map_err(|_| expected())?;
    let millis = local - offset_minutes * 60_000;
    u64::try_from(millis).map(Timestamp::from_millis).map_err(|_| expected())
}

/// Parts a time from its offset in minutes.
fn offset(text: &str) -> Option<(&str, i64)> {
    let Some((local, offset)) = text.len().checked_sub(6).and_then(|at| text.split_at_checked(at)) else {
        return Some((text, 0));
    };
    let sign = match offset.as_bytes()[0] {
        b'+' => 1,
        b'-' => -1,
        _ => return Some((text, 0)),
    };
    let Some((hours, minutes)) = offset[1..].split_once(':') else {
        // The day of a date alone, such as `-11-23`.
        return Some((text, 0));
    };
    let two = |digits: &str| {
        let all = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_digit());
        all.then(|| digits.parse::<i64>().ok()).flatten()
    };
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    (hours < 24 && minutes < 60).then_some((local, sign * (hours * 60 + minutes)))
}

#[cfg(test)]
mod tests {
    use super::{full, hour, read, second, span};

    #[test]
    fn times_are_read_with_their_offset() {
        for (text, millis) in [
            ("1970-01-01T00:00:01Z", 1_000),
            ("1970-01-01 00:00:01", 1_000),
            ("1970-01-01T01:00:01.250+01:00", 1_250),
            ("1969-12-31T22:00:01-02:00", 1_000),
        ] {
            // What lies before 1970 in local time is no time of ours; the offset does not save it.
            let expected = if text.starts_with("1969") { None } else { Some(millis) };
            assert_eq!(read(text).ok().map(|time| time.as_millis()), expected, "{text}");
        }
        for text in [
            "",
            "tomorrow",
            "08:00",
            "2026-11-23",
            "2026-11-23T08:00:00+1:00",
            "2026-13-23T08:00:00Z",
            "2026-11-23T08:00:00+25:00",
            "2026-11-23T08:00:00+\u{661}\u{661}:00",
            "5",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_and_spans_are_shown_as_exactly_as_is_of_use() {
        let at = 1_795_302_966_373;
        assert_eq!(full(at), "2026-11-21T23:16:06.373Z");
        assert_eq!(second(at), "2026-11-21T23:16:06Z");
        assert_eq!(hour(at), "2026-11-21 23:16");
        for (millis, text) in [
            (0, "0s"),
            (350, "350ms"),
            (2_030, "2s 30ms"),
            (60_350, "1m"),
            (3_600_000 * 28 + 350, "1day 4h"),
            (3_600_000 * 48 + 350, "2days"),
        ] {
            assert_eq!(span(millis), text);
        }
    }
}
