//! Compares what a page shows with what was printed: ids, times, and what else differs from run to run, by form. An id of
//! the page stands for the same id of the run wherever it comes again, also in commands.

use std::collections::HashMap;

use serde_json::Value;

/// Ids of the page, and those that they stand for.
#[derive(Default)]
pub(crate) struct Ids(HashMap<String, String>);

impl Ids {
    /// A text of the page with the ids of the run.
    pub(crate) fn known_in(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (shown, real)| text.replace(shown, real))
    }

    /// Takes note of what the ids of a shown text stand for, as far as they are new.
    pub(crate) fn learn(&mut self, shown: &str, printed: &str) {
        for (shown, real) in uuids(shown).into_iter().zip(uuids(printed)) {
            self.0.entry(shown).or_insert(real);
        }
    }

    /// Takes note of them, if they stand for one thing each.
    fn agree(&mut self, shown: &str, printed: &str) -> Result<(), String> {
        let (all, real) = (uuids(shown), uuids(printed));
        for (shown, real) in all.iter().zip(&real) {
            match self.0.get(shown) {
                Some(known) if known != real => {
                    return Err(format!("{shown} stands for {known} before and for {real} here"));
                }
                _ => {}
            }
        }
        self.learn(shown, printed);
        Ok(())
    }
}

/// Whether two texts are the same but for what differs from run to run. A line `...` of the page stands for any lines.
pub(crate) fn same_text(shown: &str, printed: &str, ids: &mut Ids) -> Result<(), String> {
    // A page shows no blank lines at the end.
    let lines = |text: &str| text.trim_end().lines().map(masked).collect::<Vec<_>>();
    let (wanted, got) = (lines(shown), lines(printed));
    if !fits(&wanted, &got) {
        return Err(format!("shown, by form:\n{}\nprinted, by form:\n{}", wanted.join("\n"), got.join("\n")));
    }
    if wanted.iter().any(|line| line == "...") { Ok(()) } else { ids.agree(shown, printed) }
}

/// Whether two texts hold the same JSON values, however they are laid out.
pub(crate) fn same_json(shown: &str, printed: &str, ids: &mut Ids) -> Result<(), String> {
    let read = |text: &str| -> Result<Vec<Value>, String> {
        let values: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(text).into_iter().collect();
        values.map(|values| values.into_iter().map(mask_value).collect()).map_err(|why| format!("no JSON: {why}"))
    };
    let (wanted, got) = (read(shown)?, read(printed)?);
    if wanted != got {
        return Err(format!("shown, by form:\n{wanted:#?}\nprinted, by form:\n{got:#?}"));
    }
    // By name, as the page may show the members in another order.
    let ordered = |text: &str| {
        let values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
        values.filter_map(Result::ok).map(|value| value.to_string()).collect::<String>()
    };
    ids.agree(&ordered(shown), &ordered(printed))
}

/// Whether lines are those wanted; `...` is any number of lines.
fn fits(wanted: &[String], got: &[String]) -> bool {
    match wanted.split_first() {
        None => got.is_empty(),
        Some((first, rest)) if first == "..." => (0..=got.len()).any(|skipped| fits(rest, &got[skipped..])),
        Some((first, rest)) => got.split_first().is_some_and(|(line, more)| line == first && fits(rest, more)),
    }
}

fn mask_value(value: Value) -> Value {
    match value {
        Value::Number(number) if number.as_u64().is_some_and(|number| number >= LARGE) => "LARGE".into(),
        Value::String(text) => masked(&text).into(),
        Value::Array(all) => all.into_iter().map(mask_value).collect(),
        Value::Object(all) => {
            let masked = |(name, value)| match name {
                // Any number, so a small one now and then.
                name if name == "epoch" => (name, "LARGE".into()),
                name => (name, mask_value(value)),
            };
            all.into_iter().map(masked).collect()
        }
        other => other,
    }
}

/// A line with what differs from run to run replaced by its form, and runs of blanks by one: columns are as wide as what
/// stands in them.
fn masked(line: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in line.split_whitespace() {
        // Quiet hours are times of day too: only behind a day it is one of the run.
        if words.last().is_some_and(|last| last == "DAY") && has_form(word, &["00:00"]) {
            words.pop();
            words.push("TIME".to_owned());
        } else {
            words.push(mask_word(word));
        }
    }
    // A span has one part or two.
    words.join(" ").replace("SPAN SPAN", "SPAN")
}

fn mask_word(word: &str) -> String {
    let mut masked = word.to_owned();
    for id in uuids(word) {
        masked = masked.replace(&id, "ID");
    }
    if let Some(from) = masked.find("whsec_") {
        let is_secret = |c: char| c.is_ascii_alphanumeric() || "_+/=".contains(c);
        let upto = masked[from..].find(|c| !is_secret(c)).map_or(masked.len(), |length| from + length);
        masked.replace_range(from..upto, "SECRET");
    }
    let parts = parts(&masked).into_iter().map(|part| {
        let is_large = |part: &str| part.len() >= 12 && part.bytes().all(|byte| byte.is_ascii_digit());
        match part {
            part if is_large(part) => "LARGE",
            // Behind the name of a member.
            part if part.strip_prefix(':').is_some_and(is_large) => ":LARGE",
            part if has_form(part, &["0000-00-00T00:00:00.000Z", "0000-00-00T00:00:00Z"]) => "TIME",
            part if has_form(part, &["0000-00-00"]) => "DAY",
            part if is_span(part) => "SPAN",
            part => part,
        }
    });
    parts.collect()
}

/// A word in runs of what may stand in a time, a span or a number, and what stands between.
fn parts(word: &str) -> Vec<&str> {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || "-:._".contains(c);
    let mut parts = Vec::new();
    let mut from = 0;
    let mut last = None;
    for (at, c) in word.char_indices() {
        let inner = is_inner(c);
        if last.is_some_and(|last| last != inner) {
            parts.push(&word[from..at]);
            from = at;
        }
        last = Some(inner);
    }
    parts.push(&word[from..]);
    parts
}

/// Whether a text has one of these forms, in which `0` stands for any digit.
fn has_form(part: &str, forms: &[&str]) -> bool {
    let form: String = part.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    forms.contains(&form.as_str())
}

/// `12ms`, `3s`, `1m`; whole hours and days are as they are.
fn is_span(part: &str) -> bool {
    ["us", "ms", "s", "m"].iter().any(|unit| {
        part.strip_suffix(unit).is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
    })
}

/// All ids in a text, in order.
fn uuids(text: &str) -> Vec<String> {
    let bytes = text.as_bytes();
    let is_id = |window: &[u8]| {
        window.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(byte),
        })
    };
    let mut found = Vec::new();
    let mut at = 0;
    while at + 36 <= bytes.len() {
        if is_id(&bytes[at..at + 36]) {
            found.push(String::from_utf8(bytes[at..at + 36].to_vec()).expect("ASCII"));
            at += 36;
        } else {
            at += 1;
        }
    }
    found
}

/// Numbers from here on are times and epochs.
const LARGE: u64 = 100_000_000_000;

#[cfg(test)]
mod tests {
    use super::{Ids, masked, same_json, same_text};

    const ONE: &str = "01a20065-4465-7102-8304-050607080001";
    const TWO: &str = "01a20065-4465-7102-8304-050607080002";

    #[test]
    fn what_differs_from_run_to_run_is_known_by_its_form() {
        assert_eq!(masked(&format!("  id   {ONE}  x")), "id ID x");
        assert_eq!(masked("at 2026-11-22T05:56:06.373Z (after 1s 20ms)"), "at TIME (after SPAN)");
        assert_eq!(masked("2026-11-22 05:00  12:30"), "TIME 12:30");
        assert_eq!(masked("+12ms acked \"whsec_abc+/=\","), "+SPAN acked \"SECRET\",");
        assert_eq!(masked("{\"at_ms\":1795302966373,\"n\":12}"), "{\"at_ms\":LARGE,\"n\":12}");
        assert_eq!(masked("22:00 to 07:00, 5 of 10"), "22:00 to 07:00, 5 of 10");
    }

    #[test]
    fn another_word_number_or_line_is_a_difference() {
        for (shown, printed) in [("a 1", "a 2"), ("a\nb", "a"), ("a", "a\nb"), ("a b", "a c"), ("...\nb", "a")] {
            assert!(same_text(shown, printed, &mut Ids::default()).is_err(), "{shown} {printed}");
        }
        assert_eq!(same_text("a\n...\nd", "a\nb\nc\nd", &mut Ids::default()), Ok(()));
        assert!(same_json("{\"a\": 1}", "{\"a\": 1, \"b\": 2}", &mut Ids::default()).is_err());
        assert_eq!(same_json("{\"a\":\n1, \"b\": 2}", "{\"b\":2,\"a\":1}", &mut Ids::default()), Ok(()));
    }

    #[test]
    fn an_id_stands_for_one_thing() {
        let mut ids = Ids::default();
        assert_eq!(same_text(ONE, TWO, &mut ids), Ok(()));
        assert_eq!(ids.known_in(&format!("trace {ONE}")), format!("trace {TWO}"));
        assert!(same_text(ONE, ONE, &mut ids).is_err());
    }
}
