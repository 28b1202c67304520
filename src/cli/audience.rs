//! `pushline audience`: whom a push to a topic or condition would reach. It pushes nothing.

use std::process::ExitCode;

use anyhow::Context;

use crate::cli::access::Access;
use crate::cli::caret::Refused;
use crate::cli::style::{DIM, GOOD, Output};
use crate::cli::table::{Cell, Table, count, counted, left};
use crate::cli::twin;
use crate::client::backend::Backend;
use crate::model::id::TopicName;
use crate::wire::pb;
use crate::wire::pb::get_audience_request::Of;

/// Ask whom a push would reach, without pushing.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pushline audience --topic news
  pushline audience --condition \"'berlin' in topics && !('muted' in topics)\"
  pushline audience --condition \"platform == 'ios' && app_version >= '2.3'\" --list --limit 20
  pushline audience --topic news --list --json | jq -r '.page[].user'")]
#[command(group = clap::ArgGroup::new("of").required(true).args(["topic", "condition"]))]
pub(super) struct Arguments {
    #[command(flatten)]
    access: Access,
    /// Those who follow this topic.
    #[arg(long, value_parser = TopicName::new)]
    topic: Option<TopicName>,
    /// Those that this condition is true for.
    #[arg(long, value_name = "CONDITION")]
    condition: Option<String>,
    /// List them, too.
    #[arg(long)]
    list: bool,
    /// List at most so many.
    #[arg(long, value_name = "NUMBER", requires = "list", default_value_t = 1_000)]
    limit: u64,
}

/// Asks and prints.
pub(super) fn run(arguments: &Arguments, output: Output) -> anyhow::Result<ExitCode> {
    arguments.access.run(output, async |backend| {
        let topic = arguments.topic.as_ref().map(|topic| Of::Topic(topic.to_string()));
        let of = topic.or_else(|| arguments.condition.clone().map(Of::Condition)).context("no topic or condition")?;
        show(&backend, of, arguments.list.then_some(arguments.limit), output).await
    })
}

/// Prints an audience: its counts, and so many of its list.
pub(super) async fn show(backend: &Backend, of: Of, list: Option<u64>, output: Output) -> anyhow::Result<ExitCode> {
    let (mut rest, mut after) = (list.unwrap_or(0), String::new());
    let mut table = Table::new([left("user"), left("device"), left("state")]);
    let counts = loop {
        let limit = u32::try_from(rest.min(PAGE)).unwrap_or(0);
        let request = pb::GetAudienceRequest { of: Some(of.clone()), after: after.clone(), limit };
        let condition = if let Of::Condition(condition) = &of { Some(condition.as_str()) } else { None };
        let answer = backend.audience(request).await.map_err(|why| Refused::with(why, condition))?;
        output.object(&twin::audience(&answer))?;
        for line in &answer.page {
            let device =
                if line.device.is_empty() { Cell::styled("none yet", DIM) } else { line.device.as_str().into() };
            let state = if line.online { Cell::styled("online", GOOD) } else { Cell::styled("offline", DIM) };
            table.row([line.user.as_str().into(), device, state]);
        }
        rest = rest.saturating_sub(answer.page.len() as u64);
        after.clone_from(&answer.next);
        if rest == 0 || answer.next.is_empty() || answer.page.is_empty() {
            break answer;
        }
    };
    table.write(output)?;
    let (receivers, users) = (counted(counts.count, "receiver"), counted(counts.users, "user"));
    output.words(&format!("{receivers} of {users}, {} online", count(counts.online)))?;
    Ok(ExitCode::SUCCESS)
}

/// Lines of a page; the gateway gives no more.
const PAGE: u64 = 1_000;
