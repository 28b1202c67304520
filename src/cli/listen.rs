//! `pushline listen`: a device on the command line. It prints what is pushed, acks what it printed, and keeps nothing.

use std::io;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::access::read_roots;
use crate::cli::options::Secret;
use crate::cli::push::attribute;
use crate::cli::style::{DIM, LITERAL, Output};
use crate::client::{Client, Dismissal, Error, Options, Phase, Push, Session, Status};
use crate::model::clock::{Clock, Timestamp};
use crate::model::frame::ResumeOutcome;
use crate::model::id::TopicName;
use crate::model::message::{DismissReason, Target};

/// Connect as a device and print what is pushed.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pushline listen --ca data/certs/ca.pem --token $(pushline token --user ada --device phone)
  PUSHLINE_TOKEN=... pushline listen --gateway push.example.org:7443 --topic news --topic sport --json
  pushline listen --ca data/certs/ca.pem --attribute platform=ios --attribute app_version=2.3
  pushline listen --ca data/certs/ca.pem --count 1 --no-ack")]
pub struct Arguments {
    /// The gateway: host and port.
    #[arg(long, value_name = "HOST:PORT", env = "PUSHLINE_GATEWAY", default_value = "127.0.0.1:7443",
        value_parser = host_and_port)]
    pub gateway: String,
    /// The device's token.
    #[arg(long, env = "PUSHLINE_TOKEN", hide_env_values = true, value_parser = clap::value_parser!(Secret))]
    pub token: Secret,
    /// PEM file with the certificate to trust instead of the system's.
    #[arg(long, value_name = "FILE", env = "PUSHLINE_CA")]
    pub ca: Option<PathBuf>,
    /// Follow this topic from now on; may be given several times.
    #[arg(long = "topic", value_name = "TOPIC", value_parser = TopicName::new)]
    pub topics: Vec<TopicName>,
    /// What conditions may ask about this device; replaces what was known; may be given several times.
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = attribute)]
    pub attributes: Vec<(String, String)>,
    /// End after so many pushes.
    #[arg(long, value_name = "NUMBER")]
    pub count: Option<NonZeroU64>,
    /// Ack nothing: every push will come again.
    #[arg(long)]
    pub no_ack: bool,
}

/// Listens until the count is reached, a signal comes, or the gateway ends it for good.
pub(super) fn run(arguments: &Arguments, output: Output) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(listen(arguments, output))
}

async fn listen(arguments: &Arguments, output: Output) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new()?;
    let options = arguments.options()?;
    output.note(&format!("connecting to {}", arguments.gateway));
    let mut client = tokio::select! {
        client = Client::connect(options) => client.map_err(|why| advice(&why, &arguments.gateway))?,
        () = signals.any() => return Ok(ExitCode::SUCCESS),
    };
    let mut status = client.status();
    let mut told = Status::default();
    report(&mut told, &status.borrow_and_update().clone(), output);
    if !arguments.topics.is_empty() {
        let topics = arguments.topics.iter().map(TopicName::as_str);
        let count = client.subscribe(topics).await.map_err(|why| advice(&why, &arguments.gateway))?;
        output.note(&format!("follows {count} {}", if count == 1 { "topic" } else { "topics" }));
    }
    let clock = Clock::new();
    let mut left = arguments.count.map_or(u64::MAX, NonZeroU64::get);
    while left > 0 {
        // All three wait without losing anything when another comes first.
        tokio::select! {
            push = client.next() => match push {
                Some(Ok(push)) => {
                    print(&push, clock.now().wall, output)?;
                    if !arguments.no_ack {
                        push.ack();
                    }
                    left -= 1;
                }
                Some(Err(why)) => return Err(advice(&why, &arguments.gateway)),
                None => break,
            },
            Ok(()) = status.changed() => report(&mut told, &status.borrow_and_update().clone(), output),
            () = signals.any() => break,
        }
    }
    match client.close().await {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(why) => Err(anyhow::anyhow!("{why}; what was printed last may come again")),
    }
}

impl Arguments {
    fn options(&self) -> anyhow::Result<Options> {
        let mut options = Options::new(self.gateway.as_str(), Vec::new(), self.token.reveal());
        options.roots = self.ca.as_deref().map(read_roots).transpose()?;
        options.connect_timeout = CONNECT_WITHIN;
        options.attributes = self.attributes.iter().cloned().collect();
        // Not more than will be printed: the rest stays with the gateway, not lost for an ack timeout.
        if let Some(count) = self.count {
            options.window = u32::try_from(count.get()).unwrap_or(u32::MAX).min(options.window);
        }
        Ok(options)
    }
}

/// What asks us to end.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the first of them.
    async fn any(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Notes what changed since it was told last.
fn report(told: &mut Status, status: &Status, output: Output) {
    match &status.phase {
        Phase::Connected(session) if told.sessions < status.sessions => output.note(&connected(session)),
        Phase::Waiting { why, returns_in } if told.phase != status.phase => {
            let pause = humantime::format_duration(Duration::from_millis(whole_millis(*returns_in)));
            output.note(&format!("{why}; connecting again in {pause}"));
        }
        _ => {}
    }
    if told.duplicates < status.duplicates {
        output.note(&format!("{} pushes came again and were passed over", status.duplicates - told.duplicates));
    }
    told.clone_from(status);
}

fn connected(session: &Session) -> String {
    let resume = session.resume;
    let how = match resume.outcome {
        ResumeOutcome::New => "new device",
        ResumeOutcome::Resumed => "resumed",
        ResumeOutcome::Gap => "resumed with a gap",
    };
    let missed =
        if resume.missed > 0 { format!(", up to {} removed before they came", resume.missed) } else { String::new() };
    let beat = humantime::format_duration(session.heartbeat.client_interval);
    format!(
        "connected: {}, session {}, {how}, up to {} waiting{missed}, window {}, heartbeat every {beat}",
        session.tls, session.id, resume.waiting, session.window
    )
}

fn print(push: &Push, now: Timestamp, output: Output) -> io::Result<()> {
    let mut object = json!({
        "received_at_ms": now.as_millis(),
        "id": push.id.to_string(),
        "seq": push.seq,
        "attempt": push.attempt,
        "target": target_object(push.target.as_ref()),
        "content_type": push.content_type,
        "attributes": push.attributes,
        "urgency": push.urgency.as_str(),
        "collapse_key": (!push.collapse_key.is_empty()).then_some(&push.collapse_key),
        "replaces": push.replaces.map(|id| id.to_string()),
        "accepted_at_ms": push.accepted_at.as_millis(),
        "expires_at_ms": push.expires_at.map(Timestamp::as_millis),
    });
    if let Some(Dismissal { message, reason, .. }) = push.dismissal {
        object["dismissal"] = json!({ "id": message.to_string(), "reason": reason_word(reason) });
    }
    match std::str::from_utf8(&push.payload) {
        Ok(text) => object["payload"] = text.into(),
        Err(_) => object["payload_base64"] = STANDARD.encode(&push.payload).into(),
    }
    output.object(&object)?;
    let time = humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(now.as_millis()));
    let again = if push.attempt > 1 { format!(", attempt {}", push.attempt) } else { String::new() };
    if let Some(Dismissal { message, reason, .. }) = push.dismissal {
        return output.words(&format!(
            "{DIM}{time}{DIM:#}  {LITERAL}dismissed{LITERAL:#}  {message}  {DIM}{}{again}{DIM:#}",
            reason_word(reason),
        ));
    }
    output.words(&format!(
        "{DIM}{time}{DIM:#}  {LITERAL}{}{LITERAL:#}  {}  {DIM}{}{again}, {}{DIM:#}",
        target_words(push.target.as_ref()),
        payload_words(&push.payload),
        push.id,
        push.content_type,
    ))
}

const fn reason_word(reason: Option<DismissReason>) -> &'static str {
    match reason {
        Some(DismissReason::Cancelled) => "cancelled",
        Some(DismissReason::Seen) => "seen",
        Some(DismissReason::Taken) => "taken",
        None => "unknown",
    }
}

fn target_object(target: Option<&Target>) -> Value {
    match target {
        Some(Target::User(user)) => json!({ "user": user.as_str() }),
        Some(Target::Device(user, device)) => json!({ "user": user.as_str(), "device": device.as_str() }),
        Some(Target::Topic(topic)) => json!({ "topic": topic.as_str() }),
        Some(Target::Condition(condition)) => json!({ "condition": condition.as_str() }),
        Some(Target::AnyOfUser(user)) => json!({ "any_of_user": user.as_str() }),
        None => Value::Null,
    }
}

fn target_words(target: Option<&Target>) -> String {
    match target {
        Some(Target::User(user)) => format!("user {user}"),
        Some(Target::Device(user, device)) => format!("device {user}/{device}"),
        Some(Target::Topic(topic)) => format!("topic {topic}"),
        Some(Target::Condition(condition)) => format!("condition {condition}"),
        Some(Target::AnyOfUser(user)) => format!("any device of {user}"),
        None => "unknown target".to_owned(),
    }
}

/// Text as it is, with what could steer a terminal escaped; anything else by its size and its first bytes.
fn payload_words(payload: &[u8]) -> String {
    match std::str::from_utf8(payload) {
        Ok(text) => {
            let shown = text.chars().take(TEXT_CHARACTERS_MAX);
            let mut words: String =
                shown.flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect();
            if text.chars().nth(TEXT_CHARACTERS_MAX).is_some() {
                words.push_str(&format!("... ({} bytes)", payload.len()));
            }
            words
        }
        Err(_) => {
            let hex: String = payload.iter().take(HEX_BYTES_MAX).map(|byte| format!("{byte:02x}")).collect();
            let more = if payload.len() > HEX_BYTES_MAX { "..." } else { "" };
            format!("{} bytes {hex}{more}", payload.len())
        }
    }
}

/// What went wrong, and what to do.
pub(super) fn advice(why: &Error, gateway: &str) -> anyhow::Error {
    let what_to_do = match why {
        Error::Untrusted(_) => "name the CA that vouches for it with --ca".to_owned(),
        Error::Network(_) | Error::TimedOut(_) => {
            format!("is the gateway running at {gateway}? --gateway names another")
        }
        Error::Refused(refusal) if matches!(refusal.name.as_str(), "invalid_credentials" | "expired_token") => {
            "make a token with `pushline token` and the gateway's data folder".to_owned()
        }
        _ => return anyhow::anyhow!("{why}"),
    };
    anyhow::anyhow!("{why}; {what_to_do}")
}

fn whole_millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// How long the first connection is tried. A guess: a person waits no longer.
pub(super) const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// A screen's worth of text.
const TEXT_CHARACTERS_MAX: usize = 2000;

/// Enough to tell a picture from an archive.
const HEX_BYTES_MAX: usize = 16;

pub(super) fn host_and_port(text: &str) -> Result<String, String> {
    let expected = "expected HOST:PORT, such as push.example.org:7443 or [::1]:7443";
    let (host, port) = text.rsplit_once(':').ok_or(expected)?;
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let valid =
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) && (bracketed || !host.contains(':'));
    if valid { Ok(text.to_owned()) } else { Err(expected.to_owned()) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::{Arguments, payload_words};

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        listen: Arguments,
    }

    #[test]
    fn flags_are_checked() {
        let parse = |line: &str| {
            Only::try_parse_from(["x", "--token", "t"].into_iter().chain(line.split_whitespace()))
                .map(|only| only.listen)
        };
        let listen = parse("--topic a --topic b --count 3 --gateway [::1]:7443").unwrap();
        assert_eq!(listen.topics.len(), 2);
        assert_eq!(listen.token.reveal(), "t");
        for line in
            ["--count 0", "--topic a/b", "--gateway x", "--gateway :1", "--gateway ::1:7", "--gateway x:0", "more"]
        {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn payloads_are_shown_without_steering_the_terminal() {
        for (payload, words) in [
            (&b"hello"[..], "hello".to_owned()),
            ("gr\u{fc}n".as_bytes(), "gr\u{fc}n".to_owned()),
            (b"\x1b[2J\n", "\\u{1b}[2J\\n".to_owned()),
            (b"\xff\x00", "2 bytes ff00".to_owned()),
            (&[0xff; 17], format!("17 bytes {}...", "ff".repeat(16))),
            (&[b'x'; 2001], format!("{}... (2001 bytes)", "x".repeat(2000))),
        ] {
            assert_eq!(payload_words(payload), words);
        }
    }
}
