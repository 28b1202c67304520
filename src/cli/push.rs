//! `pushline push`: reads a payload, enqueues it, and prints what the gateway answered.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context;
use clap::ValueEnum;
use serde_json::json;

use crate::cli::options::{Secret, span};
use crate::cli::style::{DIM, GOOD, LITERAL, Output};
use crate::client::backend::{Backend, Error};
use crate::model::id::{DeviceId, TopicName, UserId};
use crate::model::message::{Durability, Target, Urgency};
use crate::wire::body::{target_to_pb, urgency_to_pb};
use crate::wire::pb;

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

/// Enqueues the push and prints the answer.
pub(super) fn run(arguments: &Arguments, output: Output) -> anyhow::Result<ExitCode> {
    let request = arguments.request(payload(arguments)?);
    let roots = arguments.ca.as_deref().map(read_roots).transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(async {
        let backend = Backend::connect(&arguments.backend, arguments.key.reveal(), roots.as_deref()).await?;
        backend.push(request).await
    });
    match answer {
        Ok(accepted) => {
            print(&accepted, output)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(Error::Refused(refusal)) => {
            output.refusal(&format!("refused: {refusal}"), &refusal.name, refusal.errno);
            Ok(ExitCode::FAILURE)
        }
        Err(why) => Err(anyhow::Error::msg(advice(&why))),
    }
}

impl Arguments {
    fn request(&self, payload: Vec<u8>) -> pb::PushRequest {
        let durability = match Durability::from(self.durability) {
            Durability::Fsync => pb::Durability::Fsync,
            Durability::Relaxed => pb::Durability::Relaxed,
            Durability::None => pb::Durability::None,
        };
        pb::PushRequest {
            target: self.target().as_ref().map(target_to_pb),
            payload: payload.into(),
            content_type: self.content_type.clone().unwrap_or_default(),
            attributes: self.attributes.iter().cloned().collect(),
            // Rounded up: less than a second is not "now or never".
            ttl_seconds: self.ttl.map(|ttl| ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0)),
            urgency: urgency_to_pb(self.urgency.into()).into(),
            collapse_key: self.collapse_key.clone().unwrap_or_default(),
            durability: durability.into(),
            idempotency_key: self.idempotency_key.clone().unwrap_or_default(),
            ..pb::PushRequest::default()
        }
    }

    /// The parser lets exactly one of the forms through.
    fn target(&self) -> Option<Target> {
        match (&self.user, &self.device) {
            (Some(user), Some(device)) => Some(Target::Device(user.clone(), device.clone())),
            (Some(user), None) => Some(Target::User(user.clone())),
            (None, _) => self.topic.clone().map(Target::Topic),
        }
    }
}

/// The payload, from wherever it comes.
fn payload(arguments: &Arguments) -> anyhow::Result<Vec<u8>> {
    match (&arguments.file, arguments.payload.as_deref()) {
        (Some(path), _) => {
            let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
            read(file).with_context(|| format!("cannot read {}", path.display()))
        }
        (None, Some("-")) => read(io::stdin().lock()).context("cannot read standard input"),
        (None, text) => Ok(text.unwrap_or_default().as_bytes().to_vec()),
    }
}

fn read(from: impl Read) -> anyhow::Result<Vec<u8>> {
    let mut payload = Vec::new();
    from.take(PAYLOAD_BYTES_MAX + 1).read_to_end(&mut payload)?;
    anyhow::ensure!(
        payload.len() as u64 <= PAYLOAD_BYTES_MAX,
        "it has more than 1 MiB, the most that any gateway takes; store it elsewhere and push where it is"
    );
    Ok(payload)
}

/// Reads the certificates of `--ca`.
pub(super) fn read_roots(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read the trusted certificate {}", path.display()))
}

fn print(accepted: &pb::PushResponse, output: Output) -> io::Result<()> {
    let log = (!accepted.log.is_empty()).then_some(&accepted.log);
    output.object(&json!({
        "id": accepted.id,
        "log": log,
        "offset": accepted.offset,
        // As in the HTTP/JSON twin: it may be larger than a double can hold.
        "epoch": accepted.epoch.to_string(),
        "accepted_at_ms": accepted.accepted_at_ms,
        "expires_at_ms": accepted.expires_at_ms,
        "duplicate": accepted.duplicate,
        "online": accepted.online,
    }))?;
    let again =
        if accepted.duplicate { " before, under the same idempotency key; this is the first answer" } else { "" };
    output.words(&format!("{GOOD}pushed{GOOD:#}{again}"))?;
    output.words(&format!("  id       {LITERAL}{}{LITERAL:#}", accepted.id))?;
    match log {
        Some(log) => {
            output.words(&format!("  log      {log}, offset {}", accepted.offset))?;
            let expires = UNIX_EPOCH + Duration::from_millis(accepted.expires_at_ms);
            let life = accepted.expires_at_ms.saturating_sub(accepted.accepted_at_ms).div_ceil(1000);
            let life = humantime::format_duration(Duration::from_secs(life));
            output
                .words(&format!("  expires  {} {DIM}(after {life}){DIM:#}", humantime::format_rfc3339_seconds(expires)))
        }
        None => {
            let devices = if accepted.online == 1 { "device" } else { "devices" };
            output.words(&format!("  online   handed to {} connected {devices}, stored nowhere", accepted.online))
        }
    }
}

/// What went wrong, and what to do.
fn advice(why: &Error) -> String {
    match why {
        Error::Unreachable { url, .. } => {
            format!(
                "{why}; is the gateway running there? `pushline serve` starts one, --backend names another than {url}"
            )
        }
        Error::Untrusted { .. } => format!("{why}; name the CA that vouches for it with --ca"),
        Error::Unanswered(_) => {
            format!("{why}; a push with an --idempotency-key can be repeated with the same key and never becomes two")
        }
        Error::Invalid(_) | Error::Refused(_) => why.to_string(),
    }
}

/// The most that a gateway can be set to take: what is larger is not worth reading whole.
const PAYLOAD_BYTES_MAX: u64 = 1 << 20;

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
