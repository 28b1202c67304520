//! A condition that was refused, with a caret under the byte at fault. It reads the place from the gateway's words, so
//! that what is shown is what the gateway refused.

use crate::cli::style::{ERROR, Output};
use crate::cli::table::printable;
use crate::client::Refusal;
use crate::client::backend::Error;

/// A refusal of a request that had a condition.
#[derive(Debug, thiserror::Error)]
#[error("refused: {refusal}")]
pub(super) struct Refused {
    pub(super) refusal: Refusal,
    /// As it was typed.
    condition: String,
}

impl Refused {
    /// The error, with the condition if it is a refusal and there was one.
    pub(super) fn with(why: Error, condition: Option<&str>) -> anyhow::Error {
        match (why, condition) {
            (Error::Refused(refusal), Some(condition)) => Self { refusal, condition: condition.to_owned() }.into(),
            (why, _) => why.into(),
        }
    }

    /// Writes the condition and the caret, when it was the condition that was refused.
    pub(super) fn show(&self, output: Output) {
        let at = if self.refusal.name == "invalid_condition" { place(&self.refusal.words) } else { None };
        if let Some(at) = at {
            let (text, caret) = lines(&self.condition, at);
            output.below(&text);
            output.below(&format!("{ERROR}{caret}{ERROR:#}"));
        }
    }
}

/// The byte that the words name.
fn place(words: &str) -> Option<usize> {
    let (_, rest) = words.rsplit_once("at byte ")?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).map_or(rest, |end| &rest[..end]);
    digits.parse().ok()
}

/// The part of the text around a byte, and a line with a caret below that byte.
fn lines(text: &str, at: usize) -> (String, String) {
    let before = text.char_indices().take_while(|(index, c)| index + c.len_utf8() <= at).count();
    let skipped = before.saturating_sub(BEFORE_MAX);
    let shown: String = text.chars().skip(skipped).take(BEFORE_MAX + AFTER_MAX).collect();
    let more = text.chars().count() > skipped + BEFORE_MAX + AFTER_MAX;
    let lead = if skipped > 0 { "\u{2026}" } else { "" };
    let trail = if more { "\u{2026}" } else { "" };
    let caret = INDENT + usize::from(skipped > 0) + before - skipped;
    (format!("{}{lead}{}{trail}", " ".repeat(INDENT), printable(&shown)), format!("{}^", " ".repeat(caret)))
}

/// Columns before the condition.
const INDENT: usize = 2;

/// Characters before the fault that are shown; with those after it they fit a terminal of 80 columns.
const BEFORE_MAX: usize = 50;

/// Characters from the fault on that are shown.
const AFTER_MAX: usize = 25;

#[cfg(test)]
mod tests {
    use super::{lines, place};

    #[test]
    fn the_place_is_in_the_words() {
        assert_eq!(place("target.condition: expected `)` (at byte 14)"), Some(14));
        assert_eq!(place("at byte 3 there is an 'x' too much (at byte 3)"), Some(3));
        assert_eq!(place("it is empty"), None);
    }

    #[test]
    fn the_caret_stands_below_the_byte_at_fault() {
        for (text, at, shown, caret) in [
            ("'a' in topic", 7, "  'a' in topic", "         ^"),
            // Two bytes each.
            ("'\u{fc}\u{fc}' in topic", 1, "  '\u{fc}\u{fc}' in topic", "   ^"),
            ("'\u{fc}\u{fc}' in topic", 3, "  '\u{fc}\u{fc}' in topic", "    ^"),
            ("a", 1, "  a", "   ^"),
            ("a", 9, "  a", "   ^"),
            ("", 0, "  ", "  ^"),
            ("a\nb", 2, "  a?b", "    ^"),
        ] {
            assert_eq!(lines(text, at), (shown.to_owned(), caret.to_owned()), "{text} at {at}");
        }
    }

    #[test]
    fn of_a_long_condition_the_part_around_the_fault_is_shown() {
        let text = format!("{}!{}", "a".repeat(200), "b".repeat(200));
        let (shown, caret) = lines(&text, 200);
        assert_eq!(shown.chars().nth(caret.chars().count() - 1), Some('!'));
        assert!(shown.chars().count() <= 80 && shown.starts_with("  \u{2026}a") && shown.ends_with("b\u{2026}"));
    }
}
