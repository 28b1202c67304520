//! `pushline group list` and `members`: page by page until the end or the limit.

use std::process::ExitCode;

use serde_json::json;

use crate::cli::access::Access;
use crate::cli::style::{DIM, Output};
use crate::cli::table::{Table, counted, left, right};
use crate::cli::{moment, twin};
use crate::model::id::GroupName;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Groups {
    #[command(flatten)]
    access: Access,
    /// Begin after this name.
    #[arg(long, value_name = "GROUP", default_value = "", hide_default_value = true)]
    after: String,
    /// At most so many [default: all].
    #[arg(long, value_name = "NUMBER")]
    limit: Option<u64>,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Members {
    #[command(flatten)]
    access: Access,
    /// The group.
    #[arg(value_parser = GroupName::new)]
    group: GroupName,
    /// Begin after this name.
    #[arg(long, value_name = "USER", default_value = "", hide_default_value = true)]
    after: String,
    /// At most so many [default: all].
    #[arg(long, value_name = "NUMBER")]
    limit: Option<u64>,
}

/// Lists groups.
pub(super) fn groups(arguments: &Groups, output: Output) -> anyhow::Result<ExitCode> {
    arguments.access.run(output, async |backend| {
        let mut table = Table::new([left("group"), right("members"), left("made"), left("topics")]);
        let (mut after, mut rest, mut shown) = (arguments.after.clone(), arguments.limit.unwrap_or(u64::MAX), 0_u64);
        while rest > 0 {
            let page = backend.groups(&after, most(rest)).await?;
            for group in &page.groups {
                output.object(&twin::group(group))?;
                let made = moment::second(group.created_at_ms);
                table.row([
                    group.name.as_str().into(),
                    group.members.into(),
                    made.into(),
                    group.topics.join(", ").into(),
                ]);
            }
            shown += page.groups.len() as u64;
            rest -= (page.groups.len() as u64).min(rest);
            after = page.next;
            if after.is_empty() {
                break;
            }
        }
        table.write(output)?;
        output.words(&tail(shown, "group", &after))?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Lists members, one a line, as they come: there may be very many.
pub(super) fn members(arguments: &Members, output: Output) -> anyhow::Result<ExitCode> {
    arguments.access.run(output, async |backend| {
        let (mut after, mut rest, mut shown) = (arguments.after.clone(), arguments.limit.unwrap_or(u64::MAX), 0_u64);
        while rest > 0 {
            let page = backend.members(&arguments.group, &after, most(rest)).await?;
            for user in &page.users {
                output.object(&json!({ "user": user }))?;
                output.words(user)?;
            }
            shown += page.users.len() as u64;
            rest -= (page.users.len() as u64).min(rest);
            after = page.next;
            if after.is_empty() {
                break;
            }
        }
        // A note: the lines themselves may be the input of another command.
        if !output.json {
            output.note(&tail(shown, "member", &after));
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// What was shown, and how to go on.
fn tail(shown: u64, one: &str, next: &str) -> String {
    let more = if next.is_empty() { String::new() } else { format!("; more with --after {next}") };
    format!("{DIM}{}{more}{DIM:#}", counted(shown, one))
}

/// Of a page: the gateway gives no more at once.
fn most(rest: u64) -> u32 {
    u32::try_from(rest).unwrap_or(u32::MAX).min(1_000)
}
