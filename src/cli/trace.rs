//! `pushline trace`: what happened to one message, and where its devices stand: why it did, or did not, arrive.

use std::process::ExitCode;

use crate::cli::access::Access;
use crate::cli::push::message_id;
use crate::cli::receipts::{counts_words, style};
use crate::cli::style::{DIM, GOOD, HEADING, NOTE, Output};
use crate::cli::table::{Cell, Table, left, printable, right};
use crate::cli::{moment, twin};
use crate::model::id::{MessageId, UserId};
use crate::wire::pb;

/// Tell what happened to a message, and where its devices stand: why it did, or did not, arrive.
///
/// For topics and conditions the devices of one user are shown, so name the user.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pushline trace 019a8f00-0000-7000-8000-000000000000
  pushline trace 019a8f00-0000-7000-8000-000000000000 --user ada")]
pub(super) struct Arguments {
    #[command(flatten)]
    access: Access,
    /// The message, as `pushline push` printed it.
    #[arg(value_parser = message_id)]
    id: MessageId,
    /// Only devices of this user.
    #[arg(long, value_parser = UserId::new)]
    user: Option<UserId>,
}

/// Asks and prints.
pub(super) fn run(arguments: &Arguments, output: Output) -> anyhow::Result<ExitCode> {
    arguments.access.run(output, async |backend| {
        let timeline = backend.timeline(arguments.id, arguments.user.as_ref()).await?;
        output.object(&twin::timeline(&timeline))?;
        print(&timeline, arguments.user.is_some(), output)?;
        Ok(ExitCode::SUCCESS)
    })
}

fn print(timeline: &pb::GetTimelineResponse, has_user: bool, output: Output) -> std::io::Result<()> {
    let message = timeline.message.clone().unwrap_or_default();
    let state = twin::state(message.state()).unwrap_or("unknown");
    output.words(&format!("{HEADING}{}{HEADING:#}  {state}", message.id))?;
    let at =
        if message.offset > 0 { format!("{}, offset {}", message.log, message.offset) } else { message.log.clone() };
    let tag = if message.tag.is_empty() { String::new() } else { format!("  {DIM}tag {}{DIM:#}", message.tag) };
    output.words(&format!("  {at}{tag}"))?;
    if let Some(counts) = &message.counts {
        output.words(&format!("  {}", counts_words(counts)))?;
    }
    output.words("")?;
    events(&timeline.events, output)?;
    output.words("")?;
    if timeline.devices.is_empty() {
        let by_user = message.log.starts_with("inbox/");
        let why = match (by_user, has_user) {
            (false, false) => "name a --user to see where its devices stand",
            _ => "no device of the user is known",
        };
        return output.words(&format!("{DIM}{why}{DIM:#}"));
    }
    standings(&timeline.devices, output)
}

/// What happened, oldest first, with the time since the first of them.
fn events(events: &[pb::TimelineEvent], output: Output) -> std::io::Result<()> {
    let first = events.first().map_or(0, |event| event.at_ms);
    let mut table = Table::new([left("when"), right("after"), left("what"), left("device"), left("how")]);
    for event in events {
        let mut how = Vec::new();
        if event.attempt > 1 {
            how.push(format!("attempt {}", event.attempt));
        }
        if !event.reason.is_empty() {
            how.push(printable(&event.reason));
        }
        let after = format!("+{}", moment::span(event.at_ms.saturating_sub(first)));
        table.row([
            moment::full(event.at_ms).into(),
            after.into(),
            Cell::styled(event.what.as_str(), style(&event.what)),
            device(&event.user, &event.device).into(),
            how.join(", ").into(),
        ]);
    }
    table.write(output)
}

/// Where the devices stand, and why.
fn standings(devices: &[pb::DeviceStanding], output: Output) -> std::io::Result<()> {
    let columns = [left("device"), left("state"), left("stands"), left("since"), right("failed"), left("why")];
    let mut table = Table::new(columns);
    for one in devices {
        let state = if one.online { Cell::styled("online", GOOD) } else { Cell::styled("offline", DIM) };
        let style = match one.standing.as_str() {
            "acked" => GOOD,
            "in_flight" => anstyle::Style::new(),
            _ => NOTE,
        };
        let since = if one.since_ms == 0 { String::new() } else { moment::full(one.since_ms) };
        let failed = if one.attempts == 0 { String::new() } else { one.attempts.to_string() };
        table.row([
            device(&one.user, &one.device).into(),
            state,
            Cell::styled(one.standing.as_str(), style),
            since.into(),
            failed.into(),
            one.reason.as_str().into(),
        ]);
    }
    table.write(output)
}

fn device(user: &str, device: &str) -> String {
    if device.is_empty() { user.to_owned() } else { format!("{user}/{device}") }
}
