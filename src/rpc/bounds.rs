//! Checks the numbers and texts of requests about access: what is unset, too little, too much. It knows no method.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::model::fault::{Code, Fault};

/// Longest note in bytes (proto).
const NOTE_BYTES_MAX: usize = 256;

/// A number within its bounds.
pub(super) fn number<N>(field: &str, number: N, bounds: &RangeInclusive<N>) -> Result<N, Fault>
where
    N: PartialOrd + Copy + std::fmt::Display,
{
    if bounds.contains(&number) {
        return Ok(number);
    }
    let words = format!("{field} is {number}; it may be {} to {}", bounds.start(), bounds.end());
    Err(Fault::new(Code::InvalidOption, words))
}

/// A number within its bounds; `None` for 0, which means "not said".
pub(super) fn wish<N>(field: &str, wished: N, bounds: &RangeInclusive<N>) -> Result<Option<N>, Fault>
where
    N: PartialOrd + Copy + std::fmt::Display + Default,
{
    if wished == N::default() { Ok(None) } else { number(field, wished, bounds).map(Some) }
}

/// A time in seconds within its bounds; `None` for 0.
pub(super) fn span(field: &str, seconds: u64, bounds: &RangeInclusive<u64>) -> Result<Option<Duration>, Fault> {
    Ok(wish(field, seconds, bounds)?.map(Duration::from_secs))
}

/// Words for whoever looks at a list.
pub(super) fn note(field: &str, note: String) -> Result<String, Fault> {
    let refuse = |words: String| Err(Fault::new(Code::InvalidOption, words));
    if note.len() > NOTE_BYTES_MAX {
        return refuse(format!("{field} has {} bytes; the limit is {NOTE_BYTES_MAX}", note.len()));
    }
    // A terminal that shows the list must not obey it.
    if note.chars().any(char::is_control) {
        return refuse(format!("{field} has control characters; write it on one line"));
    }
    Ok(note)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{note, number, span, wish};
    use crate::model::fault::Code;

    #[test]
    fn numbers_are_within_their_bounds_or_not_said() {
        assert_eq!((number("n", 1, &(1..=5)), number("n", 5, &(1..=5))), (Ok(1), Ok(5)));
        assert_eq!((wish("n", 0_u32, &(2..=5)), wish("n", 2_u32, &(2..=5))), (Ok(None), Ok(Some(2))));
        assert_eq!(span("ttl", 60, &(60..=90)), Ok(Some(Duration::from_secs(60))));
        assert_eq!(span("ttl", 0, &(60..=90)), Ok(None));
        for refused in [number("n", 6, &(1..=5)).map(Some), wish("n", 1_i32, &(2..=5))] {
            let fault = refused.expect_err("out of bounds");
            assert!(fault.code == Code::InvalidOption && fault.words.starts_with("n is "), "{fault}");
        }
    }

    #[test]
    fn notes_are_short_and_on_one_line() {
        assert_eq!(note("note", "\u{fc}ber".repeat(51)).map(|note| note.len()), Ok(255));
        for bad in ["x".repeat(257), "a\nb".to_owned(), "\u{1b}[2J".to_owned()] {
            assert_eq!(note("note", bad).expect_err("bad").code, Code::InvalidOption);
        }
    }
}
