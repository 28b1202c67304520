//! `pushline push`: reads a payload, enqueues it, and prints what the gateway answered.

mod dry_run;
mod many;

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;

use crate::cli::access::Access;
use crate::cli::caret::Refused;
use crate::cli::moment;
use crate::cli::options::span;
use crate::cli::style::{DIM, GOOD, LITERAL, Output};
use crate::cli::table::counted;
use crate::cli::twin;
use crate::cli::users;
use crate::model::clock::{Clock, Timestamp};
use crate::model::id::{DeviceId, MessageId, Tag, TopicName, UserId};
use crate::model::message::{Durability, Urgency};
use crate::wire::body::urgency_to_pb;
use crate::wire::pb;
use crate::wire::pb::target::To;

/// Enqueue one push and print what the gateway answered.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pushline push --user ada 'hello'
  pushline push --user ada --device phone --ttl 1h --urgency high --file picture.png --content-type image/png
  date | pushline push --topic news --collapse-key clock -
  pushline push --condition \"'berlin' in topics && platform == 'ios'\" --tag spring 'hello'
  pushline push --condition \"'berlin' in topics && platform == 'ios'\" --dry-run
  pushline push --any-of-user ada --fallback-after 5m 'Who takes the call?'
  pushline push --users winners.txt --tag prize 'You won'
  pushline push --topic news --exclude ada --in 10m 'in ten minutes'")]
#[command(group = clap::ArgGroup::new("target").required(true)
    .args(["user", "topic", "condition", "any_of_user", "users"]))]
#[command(group = clap::ArgGroup::new("content").args(["payload", "file"]))]
pub struct Arguments {
    /// Which gateway.
    #[command(flatten)]
    pub access: Access,

    /// To every device of this user.
    #[arg(long, value_parser = UserId::new)]
    pub user: Option<UserId>,
    /// Only to this device of the user.
    #[arg(long, requires = "user", conflicts_with_all = ["topic", "condition", "any_of_user", "users"],
        value_parser = DeviceId::new)]
    pub device: Option<DeviceId>,
    /// To every device that follows this topic.
    #[arg(long, value_parser = TopicName::new)]
    pub topic: Option<TopicName>,
    /// To every device that this condition is true for, such as "'a' in topics && !('b' in topics)".
    #[arg(long, value_name = "CONDITION")]
    pub condition: Option<String>,
    /// To every device of this user until the first one acks; the others are then told to dismiss it.
    #[arg(long, value_name = "USER", value_parser = UserId::new)]
    pub any_of_user: Option<UserId>,
    /// To every device of each of these users: names with commas between, a file with one a line, or `-`.
    #[arg(long, value_name = "FILE|USER,...")]
    pub users: Option<String>,
    /// Not to this user, or this device of the user; may be given several times.
    #[arg(long, value_name = "USER[/DEVICE]", value_parser = exclusion)]
    pub exclude: Vec<pb::Exclusion>,

    /// The payload; `-` reads it from standard input.
    #[arg(required_unless_present_any = ["file", "dry_run"])]
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
    /// What belongs together, a campaign: receipts are filtered and success is counted by it.
    #[arg(long, value_parser = Tag::new)]
    pub tag: Option<Tag>,
    /// Takes the place of this earlier message to the same target.
    #[arg(long, value_name = "ID", value_parser = message_id)]
    pub replaces: Option<MessageId>,
    /// When to send it, such as 2026-11-23T08:00:00+01:00; at most 30 days from now.
    #[arg(long, value_name = "TIME", value_parser = moment::read, conflicts_with = "delay")]
    pub at: Option<Timestamp>,
    /// After how long to send it.
    #[arg(long = "in", value_name = "TIME", value_parser = span)]
    pub delay: Option<Duration>,
    /// After how long without an ack a device's copy is handed over to the fallback webhook.
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub fallback_after: Option<Duration>,
    /// Keep no receipts of it.
    #[arg(long)]
    pub no_receipts: bool,
    /// Send nothing: say whom it would reach.
    #[arg(long)]
    pub dry_run: bool,
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
    // Everything is read before anything is sent.
    let users = arguments.users.as_deref().map(users::named).transpose()?;
    let payload = if arguments.dry_run { Vec::new() } else { payload(arguments)? };
    let request = arguments.request(payload, Clock::new().now().wall);
    let condition = arguments.condition.as_deref();
    arguments.access.run(output, async |backend| {
        if arguments.dry_run {
            return dry_run::run(&backend, arguments, users, output).await;
        }
        if let Some(users) = users {
            return many::run(&backend, users, request, output).await;
        }
        let answer = backend.push(request).await.map_err(|why| Refused::with(why, condition))?;
        print(&answer, output)?;
        Ok(ExitCode::SUCCESS)
    })
}

impl Arguments {
    fn request(&self, payload: Vec<u8>, now: Timestamp) -> pb::PushRequest {
        let durability = match Durability::from(self.durability) {
            Durability::Fsync => pb::Durability::Fsync,
            Durability::Relaxed => pb::Durability::Relaxed,
            Durability::None => pb::Durability::None,
        };
        let send_at = self.at.or_else(|| self.delay.map(|delay| now + delay));
        pb::PushRequest {
            target: self.target().map(|to| pb::Target { to: Some(to) }),
            payload: payload.into(),
            content_type: self.content_type.clone().unwrap_or_default(),
            attributes: self.attributes.iter().cloned().collect(),
            ttl_seconds: self.ttl.map(whole_seconds),
            urgency: urgency_to_pb(self.urgency.into()).into(),
            collapse_key: self.collapse_key.clone().unwrap_or_default(),
            durability: durability.into(),
            idempotency_key: self.idempotency_key.clone().unwrap_or_default(),
            tag: self.tag.as_ref().map(ToString::to_string).unwrap_or_default(),
            without_receipts: self.no_receipts,
            exclude: self.exclude.clone(),
            replaces: self.replaces.map(|id| id.to_string()).unwrap_or_default(),
            send_at_ms: send_at.map_or(0, Timestamp::as_millis),
            fallback_after_seconds: self.fallback_after.map(whole_seconds),
        }
    }

    /// The parser lets exactly one of the forms through. `--users` has none: its target is each of them.
    fn target(&self) -> Option<To> {
        let user = self.user.as_ref().map(|user| match &self.device {
            Some(device) => To::Device(pb::DeviceTarget { user: user.to_string(), device: device.to_string() }),
            None => To::User(user.to_string()),
        });
        let topic = || self.topic.as_ref().map(|topic| To::Topic(topic.to_string()));
        // As it was typed: what is wrong with it, the gateway says.
        let condition = || self.condition.clone().map(To::Condition);
        let any = || self.any_of_user.as_ref().map(|user| To::AnyOfUser(user.to_string()));
        user.or_else(topic).or_else(condition).or_else(any)
    }
}

/// Rounded up: less than a second is not "now or never".
fn whole_seconds(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
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

fn print(accepted: &pb::PushResponse, output: Output) -> io::Result<()> {
    output.object(&twin::accepted(accepted))?;
    let again =
        if accepted.duplicate { " before, under the same idempotency key; this is the first answer" } else { "" };
    let verb = if accepted.send_at_ms > 0 { "scheduled" } else { "pushed" };
    output.words(&format!("{GOOD}{verb}{GOOD:#}{again}"))?;
    output.words(&format!("  id        {LITERAL}{}{LITERAL:#}", accepted.id))?;
    if accepted.log.is_empty() && accepted.send_at_ms == 0 {
        let handed = counted(accepted.online.into(), "connected device");
        return output.words(&format!("  online    handed to {handed}, stored nowhere"));
    }
    if accepted.send_at_ms > 0 {
        let wait = moment::span(whole_seconds_up(accepted.send_at_ms.saturating_sub(accepted.accepted_at_ms)));
        output.words(&format!("  sent at   {} {DIM}(after {wait}){DIM:#}", moment::second(accepted.send_at_ms)))?;
    }
    if accepted.offset > 0 {
        output.words(&format!("  log       {}, offset {}", accepted.log, accepted.offset))?;
    } else if !accepted.log.is_empty() {
        output.words(&format!("  log       {}", accepted.log))?;
    }
    if let Some(audience) = accepted.audience {
        output.words(&format!("  audience  {}", counted(audience, "receiver")))?;
    }
    let from = accepted.send_at_ms.max(accepted.accepted_at_ms);
    let life = whole_seconds_up(accepted.expires_at_ms.saturating_sub(from));
    let (expires, life) = (moment::second(accepted.expires_at_ms), moment::span(life));
    output.words(&format!("  expires   {expires} {DIM}(after {life}){DIM:#}"))
}

/// Milliseconds, less the part of a second that the way of the push took.
const fn whole_seconds_up(millis: u64) -> u64 {
    millis.div_ceil(1000) * 1000
}

/// The most that a gateway can be set to take: what is larger is not worth reading whole.
const PAYLOAD_BYTES_MAX: u64 = 1 << 20;

/// Reads an attribute.
pub(super) fn attribute(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Reads a message's id.
pub(super) fn message_id(text: &str) -> Result<MessageId, String> {
    MessageId::parse(text).ok_or_else(|| "expected the id of a message, as `pushline push` prints it".to_owned())
}

/// Reads who does not get it.
fn exclusion(text: &str) -> Result<pb::Exclusion, String> {
    let (user, device) = text.split_once('/').map_or((text, None), |(user, device)| (user, Some(device)));
    let user = UserId::new(user).map_err(|why| why.to_string())?;
    let device = device.map(DeviceId::new).transpose().map_err(|why| why.to_string())?;
    Ok(pb::Exclusion { user: user.to_string(), device: device.map(|device| device.to_string()).unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::{Arguments, Timestamp, To};

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
        for line in [
            "--user a hi",
            "--user a --device d hi",
            "--topic t -",
            "--topic t --file f",
            "--condition x hi",
            "--any-of-user a hi",
            "--users a,b hi",
            "--topic t --dry-run",
        ] {
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
            "--user a --any-of-user a hi",
            "--topic t --condition x hi",
            "--users a --device d hi",
            "--topic t hi --exclude a/b/c",
            "--topic t hi --replaces x",
            "--topic t hi --at noon",
            "--topic t hi --at 2026-11-23T08:00:00Z --in 5m",
            "--topic t hi --tag a/b",
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
        assert_eq!(push.access.key.reveal(), "k");
        assert!(!format!("{push:?}").contains("\"k\""));
    }
    #[test]
    fn what_is_typed_is_what_is_asked() {
        let now = Timestamp::from_millis(1_000_000);
        let request = |line: &str| parse(line).unwrap().request(b"hi".to_vec(), now);
        let push = request("--topic t hi --exclude ada --exclude bob/phone --tag x --in 10m --fallback-after 1500ms");
        let excluded: Vec<_> = push.exclude.iter().map(|one| (one.user.as_str(), one.device.as_str())).collect();
        assert_eq!(excluded, [("ada", ""), ("bob", "phone")]);
        assert_eq!((push.tag.as_str(), push.send_at_ms, push.fallback_after_seconds), ("x", 1_600_000, Some(2)));
        assert!(!push.without_receipts);
        let push = request("--any-of-user ada hi --at 1970-01-01T00:00:05Z --no-receipts");
        assert_eq!(push.target.unwrap().to, Some(To::AnyOfUser("ada".to_owned())));
        assert!(push.send_at_ms == 5_000 && push.without_receipts);
        assert_eq!(request("--users a,b hi").target, None);
    }
}
