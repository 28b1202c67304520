//! The kinds of values an option can have: how each is read, written and described. It knows no option.

use std::borrow::Cow;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde_json::Value as Json;
use tracing_subscriber::EnvFilter;

use crate::auth::ApiKey;
use crate::model::rule::TopicRule;
use crate::model::tenant::Rate;

/// A value as it was given, before anybody knows what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Raw {
    /// A TOML string, or anything from the environment or the command line.
    Text(String),
    /// A TOML integer, in decimal.
    Number(String),
    /// A TOML boolean.
    Boolean(bool),
    /// A TOML array of strings.
    List(Vec<String>),
    /// Any other TOML value, by the name of its type: no option takes it.
    Other(&'static str),
}

impl Raw {
    /// The value as people would write it.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Text(text) | Self::Number(text) => text.clone(),
            Self::Boolean(value) => value.to_string(),
            Self::List(items) => items.join(", "),
            Self::Other(name) => format!("a TOML {name}"),
        }
    }
}

/// What was expected instead of the value that was given. Repeats no secret.
pub(super) type Expected = Cow<'static, str>;

/// A kind of value.
pub(super) trait Kind {
    /// What it becomes once it is checked.
    type Value;
    /// What to write, in words.
    const EXPECTED: &'static str;
    /// Values must not be shown.
    const SECRET: bool = false;

    /// Reads a value.
    fn read(raw: &Raw) -> Result<Self::Value, Expected>;

    /// The value for people and scripts; [`Json::Null`] when it is not set.
    fn write(value: &Self::Value) -> Json;
}

/// An address to listen on.
pub(super) struct Address;

impl Kind for Address {
    type Value = SocketAddr;
    const EXPECTED: &'static str =
        "an IP address and a port, such as 127.0.0.1:7443 or [::]:7443 (port 0: any free one)";

    fn read(raw: &Raw) -> Result<SocketAddr, Expected> {
        match raw {
            Raw::Text(text) => text.parse().map_err(|_| Self::EXPECTED.into()),
            _ => Err(Self::EXPECTED.into()),
        }
    }

    fn write(value: &SocketAddr) -> Json {
        Json::String(value.to_string())
    }
}

/// A file or folder that must be named.
pub(super) struct Folder;

impl Kind for Folder {
    type Value = PathBuf;
    const EXPECTED: &'static str = "a path";

    fn read(raw: &Raw) -> Result<PathBuf, Expected> {
        match raw {
            Raw::Text(text) if !text.is_empty() => Ok(PathBuf::from(text)),
            _ => Err(Self::EXPECTED.into()),
        }
    }

    fn write(value: &PathBuf) -> Json {
        Json::String(value.display().to_string())
    }
}

/// A file that need not be named.
pub(super) struct OptionalFile;

impl Kind for OptionalFile {
    type Value = Option<PathBuf>;
    const EXPECTED: &'static str = "a path, or nothing";

    fn read(raw: &Raw) -> Result<Option<PathBuf>, Expected> {
        match raw {
            Raw::Text(text) => Ok((!text.is_empty()).then(|| PathBuf::from(text))),
            _ => Err(Self::EXPECTED.into()),
        }
    }

    fn write(value: &Option<PathBuf>) -> Json {
        value.as_ref().map_or(Json::Null, Folder::write)
    }
}

/// On or off.
pub(super) struct Switch;

impl Kind for Switch {
    type Value = bool;
    const EXPECTED: &'static str = "true or false";

    fn read(raw: &Raw) -> Result<bool, Expected> {
        match raw {
            Raw::Boolean(value) => Ok(*value),
            Raw::Text(text) => text.parse().map_err(|_| Self::EXPECTED.into()),
            _ => Err(Self::EXPECTED.into()),
        }
    }

    fn write(value: &bool) -> Json {
        Json::Bool(*value)
    }
}

/// How many, in the integer type that the option's room counts with.
pub(super) struct Count<T>(PhantomData<T>);

impl<T: FromStr + Copy + Into<Json>> Kind for Count<T> {
    type Value = T;
    const EXPECTED: &'static str = "a whole number";

    fn read(raw: &Raw) -> Result<T, Expected> {
        match raw {
            Raw::Number(text) | Raw::Text(text) => text.parse().map_err(|_| Self::EXPECTED.into()),
            _ => Err(Self::EXPECTED.into()),
        }
    }

    fn write(value: &T) -> Json {
        (*value).into()
    }
}

/// How many bytes.
pub(super) struct Size;

impl Size {
    /// Units, largest first. Powers of 1024 only, since `KB` means two things.
    const UNITS: [(&'static str, usize); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
}

impl Kind for Size {
    type Value = usize;
    const EXPECTED: &'static str = "a size such as 64KiB, 1MiB or a number of bytes";

    fn read(raw: &Raw) -> Result<usize, Expected> {
        let (Raw::Number(text) | Raw::Text(text)) = raw else {
            return Err(Self::EXPECTED.into());
        };
        let unit = Self::UNITS.into_iter().find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, bytes)));
        let (number, bytes) = unit.unwrap_or((text, 1));
        let number: Option<usize> = number.trim_end().parse().ok();
        number.and_then(|number| number.checked_mul(bytes)).ok_or(Self::EXPECTED.into())
    }

    fn write(value: &usize) -> Json {
        let fitting = Self::UNITS.into_iter().find(|(_, bytes)| *value > 0 && value.is_multiple_of(*bytes));
        let (unit, bytes) = fitting.unwrap_or(("B", 1));
        Json::String(format!("{}{unit}", value / bytes))
    }
}

/// A span of time.
pub(super) struct Span;

impl Kind for Span {
    type Value = Duration;
    const EXPECTED: &'static str = "a time with its unit, such as 500ms, 55s, 2m or 28days";

    fn read(raw: &Raw) -> Result<Duration, Expected> {
        match raw {
            Raw::Text(text) => humantime::parse_duration(text).map_err(|_| Self::EXPECTED.into()),
            _ => Err(Self::EXPECTED.into()),
        }
    }

    fn write(value: &Duration) -> Json {
        Json::String(humantime::format_duration(*value).to_string())
    }
}

/// How much in how much time, or as much as comes.
pub(super) struct OptionalRate;

impl Kind for OptionalRate {
    type Value = Option<Rate>;
    const EXPECTED: &'static str = "a rate such as 10/s, 600/min or 10/s burst 50, or off";

    fn read(raw: &Raw) -> Result<Option<Rate>, Expected> {
        match raw {
            Raw::Text(text) if text == "off" => Ok(None),
            Raw::Text(text) => Rate::parse(text).map(Some).ok_or(Self::EXPECTED.into()),
            _ => Err(Self::EXPECTED.into()),
        }
    }

    fn write(value: &Option<Rate>) -> Json {
        Json::String(value.map_or_else(|| "off".to_owned(), |rate| rate.to_string()))
    }
}

/// Several words.
pub(super) struct Words;

impl Words {
    fn items(raw: &Raw) -> Option<Vec<String>> {
        match raw {
            Raw::List(items) => Some(items.clone()),
            Raw::Text(text) => {
                Some(text.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect())
            }
            _ => None,
        }
    }
}

impl Kind for Words {
    type Value = Vec<String>;
    const EXPECTED: &'static str = "a list of strings, in TOML [\"a\", \"b\"], elsewhere a,b";

    fn read(raw: &Raw) -> Result<Vec<String>, Expected> {
        Self::items(raw).ok_or(Self::EXPECTED.into())
    }

    fn write(value: &Vec<String>) -> Json {
        Json::from(value.clone())
    }
}

/// The rule that tells which topics a group maps to.
pub(super) struct Rule;

impl Kind for Rule {
    type Value = TopicRule;
    const EXPECTED: &'static str = "1 to 16 names of topics with {group} for the group's name, in TOML [\"{group}\", \"all\"], elsewhere {group},all";

    fn read(raw: &Raw) -> Result<TopicRule, Expected> {
        let items = Words::items(raw).ok_or(Self::EXPECTED)?;
        TopicRule::new(items).map_err(|error| format!("{} ({error})", Self::EXPECTED).into())
    }

    fn write(value: &TopicRule) -> Json {
        Json::from(value.as_slice())
    }
}

/// API keys.
pub(super) struct Keys;

impl Kind for Keys {
    type Value = Vec<ApiKey>;
    const EXPECTED: &'static str = "a list of TENANT:KEY, in TOML [\"a:..\", \"b:..\"], elsewhere a:..,b:..";
    const SECRET: bool = true;

    fn read(raw: &Raw) -> Result<Vec<ApiKey>, Expected> {
        let items = Words::items(raw).ok_or(Self::EXPECTED)?;
        items.iter().map(|item| ApiKey::parse(item).map_err(|error| format!("TENANT:KEY ({error})").into())).collect()
    }

    fn write(value: &Vec<ApiKey>) -> Json {
        value.iter().map(|key| format!("{}:***", key.tenant())).collect()
    }
}

/// Which log lines are written.
pub(super) struct Filter;

impl Kind for Filter {
    type Value = String;
    const EXPECTED: &'static str =
        "a level (error, warn, info, debug, trace, off), or several for parts such as info,pushline::store=debug";

    fn read(raw: &Raw) -> Result<String, Expected> {
        match raw {
            Raw::Text(text) if EnvFilter::builder().parse(text).is_ok() => Ok(text.clone()),
            _ => Err(Self::EXPECTED.into()),
        }
    }

    fn write(value: &String) -> Json {
        Json::String(value.clone())
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One line for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How log lines look, as an option.
pub(super) struct LogFormat;

impl Kind for LogFormat {
    type Value = Format;
    const EXPECTED: &'static str = "text or json";

    fn read(raw: &Raw) -> Result<Format, Expected> {
        match raw {
            Raw::Text(text) if text == "text" => Ok(Format::Text),
            Raw::Text(text) if text == "json" => Ok(Format::Json),
            _ => Err(Self::EXPECTED.into()),
        }
    }

    fn write(value: &Format) -> Json {
        Json::from(match value {
            Format::Text => "text",
            Format::Json => "json",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Address, Count, Filter, Keys, Kind, OptionalFile, OptionalRate, Raw, Rule, Size, Span, Switch, Words};

    fn text(text: &str) -> Raw {
        Raw::Text(text.to_owned())
    }

    #[test]
    fn sizes_have_one_meaning() {
        let cases = [("64KiB", 65_536), ("1MiB", 1 << 20), ("2 GiB", 2 << 30), ("17", 17), ("17B", 17), ("0", 0)];
        for (given, bytes) in cases {
            assert_eq!(Size::read(&text(given)), Ok(bytes), "{given}");
            assert_eq!(Size::read(&text(Size::write(&bytes).as_str().unwrap())), Ok(bytes), "{given}");
        }
        for given in ["", "KiB", "64KB", "64kib", "-1", "1.5MiB", "99999999999GiB", "1 2"] {
            assert!(Size::read(&text(given)).is_err(), "{given}");
        }
        assert_eq!(Size::write(&65_536), "64KiB");
        assert_eq!(Size::write(&65_537), "65537B");
    }

    #[test]
    fn times_need_a_unit() {
        assert_eq!(Span::read(&text("1m 30s")), Ok(Duration::from_secs(90)));
        assert_eq!(Span::write(&Duration::from_secs(90)), "1m 30s");
        for bad in [text("55"), text(""), text("-1s"), text("soon"), Raw::Number("55".into())] {
            assert!(Span::read(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn values_of_another_type_are_refused() {
        assert!(Address::read(&Raw::Number("7443".into())).is_err());
        assert!(Address::read(&text("localhost:7443")).is_err(), "names may mean several addresses");
        assert!(Switch::read(&Raw::Number("1".into())).is_err());
        assert!(Count::<u32>::read(&Raw::Boolean(true)).is_err());
        assert!(Count::<u32>::read(&text("+-3")).is_err());
        assert!(OptionalFile::read(&Raw::Boolean(true)).is_err());
        assert!(Words::read(&Raw::Other("table")).is_err());
        assert!(Filter::read(&text("info,=nonsense=")).is_err());
        assert!(Filter::read(&text("info,pushline::store=debug")).is_ok());
    }

    #[test]
    fn a_rate_is_read_as_it_is_written() {
        for given in ["off", "10/s", "600/min burst 50"] {
            let rate = OptionalRate::read(&text(given)).unwrap();
            assert_eq!(rate.is_none(), given == "off");
            assert_eq!(OptionalRate::write(&rate), given);
        }
        for bad in [text(""), text("10"), text("0/s"), Raw::Number("10".into()), Raw::Boolean(false)] {
            assert!(OptionalRate::read(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_rule_is_a_list_of_topics() {
        let rule = Rule::read(&text("group.{group}, all")).unwrap();
        assert_eq!(Rule::write(&rule).to_string(), r#"["group.{group}","all"]"#);
        assert_eq!(Rule::read(&Raw::List(vec!["group.{group}".into(), "all".into()])), Ok(rule));
        for bad in [text(""), text("{user}"), Raw::Boolean(true), Raw::List(vec!["a b".into()])] {
            assert!(Rule::read(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn keys_are_not_repeated() {
        let key = "k".repeat(40);
        let keys = Keys::read(&text(&format!("shop:{key}, bank:x{key}"))).unwrap();
        assert_eq!(Keys::write(&keys).to_string(), r#"["shop:***","bank:***"]"#);
        let words = Keys::read(&text("shop:hush")).unwrap_err();
        assert!(!words.contains("hush"), "{words}");
    }
}
