//! `pushline receipts`: what became of messages, as the gateway tells it: all that is kept, or as it happens.

use std::io;
use std::process::ExitCode;

use crate::cli::access::Access;
use crate::cli::push::message_id;
use crate::cli::resume::Resume;
use crate::cli::style::{DIM, ERROR, GOOD, LITERAL, NOTE, Output};
use crate::cli::table::{count, printable};
use crate::cli::{moment, twin};
use crate::model::id::{MessageId, Tag};
use crate::wire::pb;

/// Print receipts: what became of messages.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pushline receipts                           all that are kept, then end
  pushline receipts --follow                  new ones as they come
  pushline receipts --follow --after 4711     those after a position, then new ones
  pushline receipts --tag spring --json | jq -r 'select(.what == \"dead\") | .device'")]
pub(super) struct Arguments {
    #[command(flatten)]
    access: Access,
    /// Go on with what comes; it is resumed without gap or repeat when the connection is lost.
    #[arg(long)]
    follow: bool,
    /// Only those after this position [default: with --follow only new ones, else all that are kept].
    #[arg(long, value_name = "POSITION")]
    after: Option<u64>,
    /// Only of this message.
    #[arg(long, value_name = "ID", value_parser = message_id)]
    message: Option<MessageId>,
    /// Only of messages with this tag.
    #[arg(long, value_parser = Tag::new)]
    tag: Option<Tag>,
}

/// Prints them until all are told, or for ever.
pub(super) fn run(arguments: &Arguments, output: Output) -> anyhow::Result<ExitCode> {
    arguments.access.run(output, async |backend| {
        let mut receipts = backend.receipts(pb::StreamReceiptsRequest {
            after: arguments.after.or_else(|| (!arguments.follow).then_some(0)),
            message: arguments.message.map(|id| id.to_string()).unwrap_or_default(),
            tag: arguments.tag.as_ref().map(ToString::to_string).unwrap_or_default(),
        });
        let mut resume = Resume::default();
        let mut begun = false;
        loop {
            let batch = match receipts.next().await {
                Ok(batch) => batch,
                Err(why) if arguments.follow => {
                    resume.wait(why, receipts.position(), output).await?;
                    continue;
                }
                Err(why) => return Err(why.into()),
            };
            resume.reset();
            if arguments.follow && !begun {
                // From here on nothing is missed.
                output.note(&format!("following; position {} of {}", batch.position, batch.last));
                begun = true;
            }
            if batch.missed > 0 {
                output.note(&format!("{} positions are gone: they are kept no longer", count(batch.missed)));
            }
            for receipt in &batch.receipts {
                output.object(&twin::receipt(receipt))?;
                print(receipt, output)?;
            }
            if !arguments.follow && batch.position >= batch.last {
                output.words(&format!("{DIM}that is all; go on with --after {}{DIM:#}", batch.position))?;
                return Ok(ExitCode::SUCCESS);
            }
        }
    })
}

fn print(receipt: &pb::Receipt, output: Output) -> io::Result<()> {
    let style = style(&receipt.what);
    let device =
        if receipt.device.is_empty() { receipt.user.clone() } else { format!("{}/{}", receipt.user, receipt.device) };
    let mut details = Vec::new();
    if !device.is_empty() {
        details.push(device);
    }
    if receipt.attempt > 1 {
        details.push(format!("attempt {}", receipt.attempt));
    }
    if !receipt.reason.is_empty() {
        details.push(printable(&receipt.reason));
    }
    if receipt.send_at_ms > 0 {
        details.push(format!("sent at {}", moment::second(receipt.send_at_ms)));
    }
    if !receipt.replaced_by.is_empty() {
        details.push(format!("by {}", receipt.replaced_by));
    }
    if let Some(counts) = &receipt.counts {
        details.push(counts_words(counts));
    }
    let tag = if receipt.tag.is_empty() { String::new() } else { format!("  {DIM}{}{DIM:#}", receipt.tag) };
    output.words(&format!(
        "{DIM}{}{DIM:#}  {LITERAL}{}{LITERAL:#}  {style}{:<WHAT_COLUMNS$}{style:#}  {}{tag}",
        moment::full(receipt.at_ms),
        receipt.message,
        receipt.what,
        details.join(", "),
    ))
}

/// Counts in words; those that are nothing are left out.
pub(super) fn counts_words(counts: &pb::Counts) -> String {
    let parts =
        [(counts.acked, "acked"), (counts.waiting, "waiting"), (counts.dead, "dead"), (counts.missed, "missed")];
    let parts: Vec<_> = parts
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, name)| format!("{} {name}", count(*number)))
        .collect();
    let rest = if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) };
    format!("{} sent of {}{rest}", count(counts.sent), count(counts.audience))
}

/// The colour of what may happen.
pub(super) fn style(what: &str) -> anstyle::Style {
    match what {
        "acked" => GOOD,
        "dead" | "hand_off_failed" => ERROR,
        "nacked" | "expired" | "trimmed" => NOTE,
        _ => anstyle::Style::new(),
    }
}

/// Columns of the longest word for what may happen.
const WHAT_COLUMNS: usize = "hand_off_failed".len();
