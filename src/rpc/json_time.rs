//! Reads points in time as people write them in JSON (RFC 3339). It knows no clock.

use std::time::UNIX_EPOCH;

use crate::model::quiet::TimeOfDay;

/// Unix milliseconds of a text such as `2026-03-01T09:00:00Z` or `2026-03-01T10:00:00+01:00`; `None` for another text, and
/// for times before 1970.
pub(super) fn parse(text: &str) -> Option<u64> {
    if text.ends_with(['Z', 'z']) {
        return utc(text);
    }
    let at = text.len().checked_sub("+00:00".len()).filter(|at| text.is_char_boundary(*at))?;
    let (head, offset) = text.split_at(at);
    let ahead_ms = u64::from(TimeOfDay::parse(offset.get(1..)?)?.minutes()) * 60_000;
    let there = utc(&format!("{head}Z"))?;
    match offset.as_bytes()[0] {
        b'+' => there.checked_sub(ahead_ms),
        b'-' => there.checked_add(ahead_ms),
        _ => None,
    }
}

fn utc(text: &str) -> Option<u64> {
    let time = humantime::parse_rfc3339(&text.to_ascii_uppercase()).ok()?;
    u64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn the_same_moment_may_be_written_in_any_offset() {
        let cases = [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-03-01T09:00:00Z", 1_772_355_600_000),
            ("2026-03-01t09:00:00.250z", 1_772_355_600_250),
            ("2026-03-01T10:00:00+01:00", 1_772_355_600_000),
            ("2026-03-01T03:30:00.5-05:30", 1_772_355_600_500),
            ("2026-03-02T08:59:00+23:59", 1_772_355_600_000),
        ];
        for (text, millis) in cases {
            assert_eq!(parse(text), Some(millis), "{text}");
        }
        let wrong =
            ["", "Z", "+01:00", "2026-03-01", "2026-03-01T09:00:00", "2026-03-01 09:00", "2026-02-30T09:00:00Z"];
        for text in wrong.into_iter().chain(["1772355600", "2026-03-01T09:00:00+1:00", "2026-03-01T09:00:00+24:00"]) {
            assert_eq!(parse(text), None, "{text}");
        }
        for text in ["1970-01-01T00:00:00+00:01", "1969-12-31T23:59:59Z", "2026-03-01T09:00:00\u{2212}01:00", "\u{e9}"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
