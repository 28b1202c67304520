//! Prints the options, with all that is known of each, for people and for scripts.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value as Json;

use crate::config::layer::{Origin, variable_of};
use crate::config::table::{Config, OPTIONS, Row, SECTIONS};

/// All that is known of one option.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Description {
    /// `section.name`.
    pub key: &'static str,
    /// How it is called in the environment.
    pub environment: String,
    /// What it is for.
    pub meaning: String,
    /// What to write, with its unit.
    pub expected: &'static str,
    /// The least value.
    pub least: Option<&'static str>,
    /// The greatest value.
    pub greatest: Option<&'static str>,
    /// The value without configuration; null when there is none.
    pub default: Json,
    /// The value in force; null when there is none, hidden for secrets.
    pub value: Json,
    /// Where the value came from.
    pub origin: String,
}

/// Describes every option; `origins` goes with [`OPTIONS`].
pub(super) fn all(config: &Config, origins: &[Origin]) -> Vec<Description> {
    let describe = |(row, origin): (&'static Row, &Origin)| Description {
        key: row.key,
        environment: variable_of(row.key),
        meaning: row.meaning(),
        expected: row.expected,
        least: row.bounds.map(|(least, _)| least),
        greatest: row.bounds.map(|(_, greatest)| greatest),
        default: row.default_shown(),
        value: (row.show)(config),
        origin: origin.to_string(),
    };
    OPTIONS.iter().zip(origins).map(describe).collect()
}

/// Writes the options as TOML. What has no value, or may not be shown, stands as a comment.
pub(super) fn to_toml(options: &[Description]) -> String {
    let mut text = String::new();
    for (section, about) in SECTIONS {
        push(&mut text, &format!("# {}\n[{section}]\n", about.trim()));
        let prefix = format!("{section}.");
        for option in options {
            if let Some(name) = option.key.strip_prefix(&prefix) {
                push(&mut text, &block(name, option));
            }
        }
    }
    text
}

/// One option: its meaning, what to write, and the value in force.
fn block(name: &str, option: &Description) -> String {
    let mut text = wrap(&option.meaning);
    let mut facts = option.expected.to_owned();
    if let (Some(least), Some(greatest)) = (option.least, option.greatest) {
        let _ = write!(facts, "; {least} to {greatest}");
    }
    let _ = write!(facts, "; default: {}", literal(&option.default));
    text.push_str(&wrap(&facts));
    let hidden = option.value.as_array().is_some_and(|items| items.iter().any(is_hidden));
    let comment = if option.value.is_null() || hidden { "# " } else { "" };
    let value = if option.value.is_null() { "\"\"".to_owned() } else { literal(&option.value) };
    let origin = if option.origin == "default" { String::new() } else { format!("  # from {}", option.origin) };
    let _ = writeln!(text, "{comment}{name} = {value}{origin}");
    text
}

fn is_hidden(item: &Json) -> bool {
    item.as_str().is_some_and(|item| item.ends_with(":***"))
}

fn literal(value: &Json) -> String {
    match value {
        Json::Null => "none".to_owned(),
        // TOML has all escapes of JSON but the one of the slash, which is not written; DEL it wants escaped.
        other => other.to_string().replace('\u{7f}', "\\u007f"),
    }
}

fn push(text: &mut String, block: &str) {
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(block);
}

/// Breaks running text into lines of a comment.
fn wrap(words: &str) -> String {
    let mut text = String::new();
    let mut line = String::from("#");
    for word in words.split(' ') {
        if line.len() + 1 + word.len() > 100 {
            text.push_str(&line);
            text.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&line);
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use crate::config::{Override, Settings};

    fn with(flags: &[&str]) -> Settings {
        let flags: Vec<_> = flags.iter().map(|flag| Override::parse(flag).unwrap()).collect();
        Settings::load(None, [], &flags).unwrap()
    }

    #[test]
    fn what_is_printed_can_be_loaded_and_means_the_same() {
        let changed = with(&[
            "store.data=a \"b\"\\\n\u{7f}é",
            "tls.names=a.example,b.example",
            "session.window=7",
            "log.format=json",
        ]);
        for settings in [with(&[]), changed] {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(settings.to_toml().as_bytes()).unwrap();
            let again = Settings::load(Some(file.path()), [], &[]).unwrap();
            assert_eq!(again.config(), settings.config());
        }
    }

    #[test]
    fn every_option_is_printed_with_default_meaning_and_origin() {
        let settings = with(&["session.window=7"]);
        let text = settings.to_toml();
        for option in settings.describe() {
            let name = option.key.split_once('.').unwrap().1;
            assert!(text.contains(&format!("\n{name} = ")) || text.contains(&format!("\n# {name} = ")), "{name}");
        }
        assert!(text.contains("\n# a whole number; 1 to 65536; default: 64\nwindow = 7  # from --set\n"), "{text}");
        assert!(text.lines().all(|line| line.len() <= 120), "{text}");
    }

    #[test]
    fn secrets_are_hidden() {
        let settings = with(&["auth.keys=shop:0123456789abcdef0123456789abcdef"]);
        let text =
            format!("{}{:?}{}", settings.to_toml(), settings, serde_json::to_string(&settings.describe()).unwrap());
        assert!(!text.contains("0123456789abcdef"), "{text}");
        assert!(text.contains("\n# keys = [\"shop:***\"]  # from --set\n"), "{text}");
    }
}
