//! `pushline push`: its flags.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use crate::cli::options::{Secret, span};
use crate::model::id::{DeviceId, TopicName, UserId};
use crate::model::message::{Durability, Urgency};

/// Enqueue one push and print what the gateway answered.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pushline push --user ada 'hello'
  pushline push --user ada --device phone --ttl 1h --urgency high --file picture.png --content-type image/png
  date | pushline push --topic news --collapse-key clock -")]
#[command(group = clap::ArgGroup::new("target").required(true).args(["user", "topic"]))]
#[command(group = clap::ArgGroup::new("content").required(true).args(["payload", "file"]))]
pub struct Arguments {
    /// Where the gateway takes pushes.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7080")]
    pub backend: String,
    /// API key of the tenant.
    #[arg(long, env = "PUSHLINE_KEY", hide_env_values = true, value_parser = clap::value_parser!(Secret))]
    pub key: Secret,
    /// PEM file with the certificate to trust instead of the system's, for an https URL.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,

    /// To every device of this user.
    #[arg(long, value_parser = UserId::new)]
    pub user: Option<UserId>,
    /// Only to this device of the user.
    #[arg(long, requires = "user", conflicts_with = "topic", value_parser = DeviceId::new)]
    pub device: Option<DeviceId>,
    /// To every device that follows this topic.
    #[arg(long, value_parser = TopicName::new)]
    pub topic: Option<TopicName>,

    /// The payload; `-` reads it from standard input.
    pub payload: Option<String>,
    /// Read the payload from this file.
    #[arg(long)]
    pub file: Option<PathBuf>,

    /// Media type of the payload [default: application/octet-stream].
    #[arg(long, value_name = "TYPE")]
    pub content_type: Option<String>,
    /// An attribute that travels with the payload; may be given several times.
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = attribute)]
    pub attributes: Vec<(String, String)>,
    /// How long it may wait for a device; `0s`: now or never [default: the gateway's, 28days].
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub ttl: Option<Duration>,
    /// How urgent it is.
    #[arg(long, value_enum, default_value = "normal")]
    pub urgency: UrgencyWord,
    /// Replaces an older push with the same key that still waits.
    #[arg(long, value_name = "KEY")]
    pub collapse_key: Option<String>,
    /// What the push survives once it is answered.
    #[arg(long, value_enum, default_value = "fsync")]
    pub durability: DurabilityWord,
    /// The same key again, within a day, pushes nothing and answers as the first time.
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
}

/// [`Urgency`] as a word of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum UrgencyWord {
    /// Advertisements and the like.
    VeryLow,
    /// Topic updates.
    Low,
    /// Chat messages and the like.
    Normal,
    /// Calls, time-critical alerts.
    High,
}

impl From<UrgencyWord> for Urgency {
    fn from(word: UrgencyWord) -> Self {
        match word {
            UrgencyWord::VeryLow => Self::VeryLow,
            UrgencyWord::Low => Self::Low,
            UrgencyWord::Normal => Self::Normal,
            UrgencyWord::High => Self::High,
        }
    }
}

/// [`Durability`] as a word of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DurabilityWord {
    /// Power loss: it is synced to disk before the answer.
    Fsync,
    /// The death of the process, not of the machine.
    Relaxed,
    /// Nothing: it goes to the devices that are online now.
    None,
}

impl From<DurabilityWord> for Durability {
    fn from(word: DurabilityWord) -> Self {
        match word {
            DurabilityWord::Fsync => Self::Fsync,
            DurabilityWord::Relaxed => Self::Relaxed,
            DurabilityWord::None => Self::None,
        }
    }
}

fn attribute(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::Arguments;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        push: Arguments,
    }

    fn parse(line: &str) -> Result<Arguments, clap::error::ErrorKind> {
        let words = ["x", "--key", "k"].into_iter().chain(line.split_whitespace());
        Only::try_parse_from(words).map(|only| only.push).map_err(|error| error.kind())
    }

    #[test]
    fn there_is_exactly_one_target_and_one_content() {
        for line in ["--user a hi", "--user a --device d hi", "--topic t -", "--topic t --file f"] {
            assert!(parse(line).is_ok(), "{line}");
        }
        for line in [
            "hi",
            "--user a",
            "--device d hi",
            "--user a --topic t hi",
            "--topic t --device d hi",
            "--user a --file f hi",
            "--user a/b hi",
            "--user a hi ho",
            "--user a hi --ttl 5",
            "--user a hi --urgency soon",
            "--user a hi --attribute x",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn options_are_read_and_the_key_is_not_shown() {
        let push = parse("--user a hi --attribute x=y=z --attribute e= --ttl 0s --durability none").unwrap();
        let pairs: Vec<_> = push.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("x", "y=z"), ("e", "")]);
        assert!(push.ttl.unwrap().is_zero());
        assert_eq!(push.key.reveal(), "k");
        assert!(!format!("{push:?}").contains("\"k\""));
    }
}
