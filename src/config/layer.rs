//! Where values come from: a TOML file, the environment, the command line. It reads them as they are and judges none.

use std::fmt;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::kind::Raw;

/// Where a value comes from, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody gave one.
    Default,
    /// A line of the file.
    File(PathBuf, usize),
    /// A variable of the environment.
    Environment(String),
    /// A flag of the command line.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => write!(f, "${name}"),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// A value that the command line gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// `section.name`.
    pub key: String,
    /// The value as typed.
    pub value: String,
    /// The flag it came with, such as `--listen`.
    pub flag: &'static str,
}

impl Override {
    /// Reads `section.name=value`, the form of `--set`. `None` when there is no `=`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (key, value) = text.split_once('=')?;
        Some(Self { key: key.trim().to_owned(), value: value.trim().to_owned(), flag: "--set" })
    }
}

/// A value with its key, both unchecked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given {
    /// What was written as key; hopefully `section.name`.
    pub(super) key: String,
    /// The value; `None` for a section that is there by name only.
    pub(super) raw: Option<Raw>,
    /// Where it was written.
    pub(super) origin: Origin,
}

/// Text that is not TOML.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SyntaxError {
    /// Where, from 1.
    pub(super) line: usize,
    /// What is wrong. Repeats nothing of the file, which may hold secrets.
    pub(super) message: String,
}

/// Reads the text of a TOML file.
pub(super) fn of_file(path: &Path, text: &str) -> Result<Vec<Given>, SyntaxError> {
    let line_of = |at: usize| 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count();
    let document = DeTable::parse(text).map_err(|error| SyntaxError {
        line: line_of(error.span().map_or(0, |span| span.start)),
        message: error.message().to_owned(),
    })?;
    let mut all = Vec::new();
    let mut give = |key: String, raw, at: usize| {
        all.push(Given { key, raw, origin: Origin::File(path.to_owned(), line_of(at)) });
    };
    for (section, value) in document.get_ref() {
        let DeValue::Table(table) = value.get_ref() else {
            give(section.get_ref().to_string(), Some(raw(value)), section.span().start);
            continue;
        };
        give(section.get_ref().to_string(), None, section.span().start);
        for (name, value) in table {
            give(format!("{}.{}", section.get_ref(), name.get_ref()), Some(raw(value)), name.span().start);
        }
    }
    all.sort_by_key(|given| match given.origin {
        Origin::File(_, line) => line,
        _ => 0,
    });
    Ok(all)
}

fn raw(value: &Spanned<DeValue<'_>>) -> Raw {
    match value.get_ref() {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Integer(number) => {
            // TOML also has 0x1f and 1_000; what does not fit is left as it is, for the words of the refusal.
            let digits = number.as_str();
            let plain = i128::from_str_radix(digits, number.radix()).map_or(digits.to_owned(), |n| n.to_string());
            Raw::Number(plain)
        }
        DeValue::Boolean(value) => Raw::Boolean(*value),
        DeValue::Array(items) => {
            let texts = items.iter().map(|item| item.get_ref().as_str().map(str::to_owned));
            texts.collect::<Option<_>>().map_or(Raw::Other("array of other things than strings"), Raw::List)
        }
        other => Raw::Other(other.type_str()),
    }
}

/// Picks `PUSHLINE_SECTION__NAME` from the environment. Variables with the prefix but without `__` are other programs' or
/// other flags', unless they spell an option with too few underscores.
pub(super) fn of_environment(
    variables: impl IntoIterator<Item = (String, String)>,
    known: impl Fn(&str) -> bool,
) -> Vec<Given> {
    let mut all = Vec::new();
    for (variable, value) in variables {
        let Some(rest) = variable.strip_prefix(PREFIX) else { continue };
        let rest = rest.to_ascii_lowercase();
        let key = match rest.split_once("__") {
            Some((section, name)) => format!("{section}.{name}"),
            None if known(&rest.replacen('_', ".", 1)) => rest,
            None => continue,
        };
        all.push(Given { key, raw: Some(Raw::Text(value)), origin: Origin::Environment(variable) });
    }
    all.sort_by(|one, other| one.key.cmp(&other.key));
    all
}

/// Takes the values of the command line; the last of several wins.
pub(super) fn of_flags(flags: &[Override]) -> Vec<Given> {
    let give = |flag: &Override| Given {
        key: flag.key.clone(),
        raw: Some(Raw::Text(flag.value.clone())),
        origin: Origin::Flag(flag.flag),
    };
    flags.iter().map(give).collect()
}

/// How an option is called in the environment.
pub(super) fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.replacen('.', "__", 1).to_ascii_uppercase())
}

/// What our variables begin with.
const PREFIX: &str = "PUSHLINE_";
