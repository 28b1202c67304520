//! How the value of an attribute compares. It knows texts; whose they are it does not know.

use std::cmp::Ordering;

use super::expression::Operator;

impl Operator {
    /// Whether `value` of a device, compared by this operator with `given` of the condition, is so.
    ///
    /// `==`, `!=` and `startsWith` compare the texts byte by byte. The others compare as [`compare`] says.
    #[must_use]
    pub fn holds(self, value: &str, given: &str) -> bool {
        match self {
            Self::Equal => value == given,
            Self::NotEqual => value != given,
            Self::Less => compare(value, given).is_lt(),
            Self::LessOrEqual => compare(value, given).is_le(),
            Self::Greater => compare(value, given).is_gt(),
            Self::GreaterOrEqual => compare(value, given).is_ge(),
            Self::StartsWith => value.starts_with(given),
        }
    }
}

/// Compares two texts like versions: `2.9` is less than `2.10`.
///
/// Each text is taken apart into runs of digits (`0` to `9`) and runs of other characters; dots and dashes end a run and
/// are not part of any. Then run is compared with run, from the left, until two differ:
/// - two runs of digits by their numbers, however long they are; leading zeros do not count;
/// - two other runs as texts, byte by byte: upper case before lower case;
/// - a run of digits comes after any other run: `2.beta` is less than `2.1`.
///
/// When all are the same as far as both go, the text with fewer runs is less: `2.3` is less than `2.3.0`, and also less
/// than `2.3-beta`. Texts may compare as the same that are not equal: `2.03` and `2.3`, `1.2` and `1-2`.
#[must_use]
pub fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (Runs(a), Runs(b));
    loop {
        let order = match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (a, b) => a.cmp(&b),
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// A run of a text. Texts come before numbers, by the order of the variants.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Run<'t> {
    Text(&'t str),
    /// How many digits without leading zeros, then those digits.
    Number(usize, &'t str),
}

/// What is left of a text to be taken apart.
struct Runs<'t>(&'t str);

impl<'t> Iterator for Runs<'t> {
    type Item = Run<'t>;

    fn next(&mut self) -> Option<Run<'t>> {
        let text = self.0.trim_start_matches(is_separator);
        let first = text.chars().next()?;
        let is_number = first.is_ascii_digit();
        let end = text.find(|c: char| is_separator(c) || c.is_ascii_digit() != is_number).unwrap_or(text.len());
        let (run, rest) = text.split_at(end);
        self.0 = rest;
        Some(if is_number {
            let digits = run.trim_start_matches('0');
            Run::Number(digits.len(), digits)
        } else {
            Run::Text(run)
        })
    }
}

const fn is_separator(c: char) -> bool {
    matches!(c, '.' | '-')
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use proptest::prelude::*;

    use super::compare;
    use crate::model::condition::Operator;

    #[test]
    fn versions_are_ordered_as_the_page_says() {
        let ascending = [
            "",
            "Z",
            "a",
            "a1",
            "a1b",
            "b",
            "\u{e9}",
            "0",
            "2",
            "2.beta",
            "2.0",
            "2.3",
            "2.3-beta",
            "2.3-beta1",
            "2.3-beta9",
            "2.3-beta10",
            "2.3.0",
            "2.3.1",
            "2.9",
            "2.10",
            "10",
            "18446744073709551616",
            "99999999999999999999999999999999999999999999999998",
            "99999999999999999999999999999999999999999999999999",
        ];
        for (at, a) in ascending.iter().enumerate() {
            for (other, b) in ascending.iter().enumerate() {
                assert_eq!(compare(a, b), at.cmp(&other), "{a:?} and {b:?}");
            }
        }
        for (a, b) in [("2.03", "2.3"), ("1.2", "1-2"), ("1..2", "1.2"), ("-1.", "1"), ("000", "0"), ("1a.2", "1a2")] {
            assert_eq!(compare(a, b), Ordering::Equal, "{a:?} and {b:?}");
        }
    }

    #[test]
    fn operators_compare_the_device_with_the_condition() {
        for (value, operator, given, holds) in [
            ("2.10", Operator::Greater, "2.9", true),
            ("2.9", Operator::Greater, "2.10", false),
            ("2.3", Operator::GreaterOrEqual, "2.03", true),
            ("2.3", Operator::LessOrEqual, "2.03", true),
            ("2.3", Operator::Equal, "2.03", false),
            ("2.3", Operator::NotEqual, "2.03", true),
            ("2.3", Operator::Less, "2.03", false),
            ("de-AT", Operator::StartsWith, "de", true),
            ("de", Operator::StartsWith, "de-AT", false),
            ("de", Operator::StartsWith, "", true),
            ("2.10", Operator::StartsWith, "2.1", true),
        ] {
            assert_eq!(operator.holds(value, given), holds, "{value:?} {operator} {given:?}");
        }
    }

    proptest! {
        #[test]
        fn it_is_an_order(a in "[0-9a.\u{e9}-]{0,8}", b in "[0-9a.\u{e9}-]{0,8}", c in "[0-9a.\u{e9}-]{0,8}") {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            prop_assert_eq!(compare(&a, &a), Ordering::Equal);
            if compare(&a, &b).is_le() && compare(&b, &c).is_le() {
                prop_assert!(compare(&a, &c).is_le());
            }
        }

        #[test]
        fn plain_numbers_are_ordered_as_numbers(a in any::<u128>(), b in any::<u128>(), zeros in 0_usize..5) {
            prop_assert_eq!(compare(&format!("{}{a}", "0".repeat(zeros)), &b.to_string()), a.cmp(&b));
        }
    }
}
