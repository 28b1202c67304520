//! `pushline presence`: who is online, or who comes and goes as it happens.

use std::io;
use std::process::ExitCode;

use crate::cli::access::Access;
use crate::cli::resume::Resume;
use crate::cli::style::{DIM, GOOD, NOTE, Output};
use crate::cli::table::{Table, count, counted, left, printable};
use crate::cli::{moment, twin};
use crate::client::backend::Backend;
use crate::model::id::UserId;
use crate::wire::pb;

/// Show who is online, or follow who comes and goes.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pushline presence
  pushline presence --user ada
  pushline presence --follow
  pushline presence --follow --after 4711 --json")]
pub(super) struct Arguments {
    #[command(flatten)]
    access: Access,
    /// Only devices of this user.
    #[arg(long, value_parser = UserId::new)]
    user: Option<UserId>,
    /// Tell comings and goings as they happen; resumed without gap or repeat when the connection is lost.
    #[arg(long)]
    follow: bool,
    /// Those after this position [default: only new ones].
    #[arg(long, value_name = "POSITION", requires = "follow")]
    after: Option<u64>,
}

/// Lists, or follows for ever.
pub(super) fn run(arguments: &Arguments, output: Output) -> anyhow::Result<ExitCode> {
    let user = arguments.user.as_ref().map(ToString::to_string).unwrap_or_default();
    arguments.access.run(output, async |backend| match arguments.follow {
        true => follow(&backend, user, arguments.after, output).await,
        false => list(&backend, user, output).await,
    })
}

async fn list(backend: &Backend, user: String, output: Output) -> anyhow::Result<ExitCode> {
    let mut table = Table::new([left("user"), left("device"), left("since"), left("state")]);
    let (mut after, mut shown) = (String::new(), 0_u64);
    loop {
        let request = pb::ListOnlineRequest { user: user.clone(), after, limit: PAGE };
        let page = backend.online(request).await?;
        for line in &page.online {
            output.object(&twin::online(line))?;
            let since = moment::second(line.since_ms);
            table.row([
                line.user.as_str().into(),
                line.device.as_str().into(),
                since.into(),
                line.state.as_str().into(),
            ]);
        }
        shown += page.online.len() as u64;
        after = page.next;
        if after.is_empty() {
            break;
        }
    }
    table.write(output)?;
    output.words(&format!("{} online", counted(shown, "device")))?;
    Ok(ExitCode::SUCCESS)
}

async fn follow(backend: &Backend, user: String, after: Option<u64>, output: Output) -> anyhow::Result<ExitCode> {
    let mut presence = backend.presence(pb::StreamPresenceRequest { after, user });
    let mut resume = Resume::default();
    let mut begun = false;
    loop {
        let batch = match presence.next().await {
            Ok(batch) => batch,
            Err(why) => {
                resume.wait(why, presence.position(), output).await?;
                continue;
            }
        };
        resume.reset();
        if !begun {
            // From here on nothing is missed.
            output.note(&format!("following; position {} of {}", batch.position, batch.last));
            begun = true;
        }
        if batch.missed > 0 {
            output.note(&format!("{} positions are gone: they are kept no longer", count(batch.missed)));
        }
        for event in &batch.events {
            output.object(&twin::presence(event))?;
            print(event, output)?;
        }
    }
}

fn print(event: &pb::PresenceEvent, output: Output) -> io::Result<()> {
    let style = match event.what.as_str() {
        "connected" | "ready" => GOOD,
        "offline" | "session_expired" => NOTE,
        _ => anstyle::Style::new(),
    };
    let device =
        if event.user.is_empty() { "all devices".to_owned() } else { format!("{}/{}", event.user, event.device) };
    let reason =
        if event.reason.is_empty() { String::new() } else { format!("  {DIM}{}{DIM:#}", printable(&event.reason)) };
    let at = moment::full(event.at_ms);
    output.words(&format!("{DIM}{at}{DIM:#}  {style}{:<WHAT_COLUMNS$}{style:#}  {device}{reason}", event.what))
}

/// Lines of a page; the gateway gives no more at once.
const PAGE: u32 = 1_000;

/// Columns of the longest word for what may happen.
const WHAT_COLUMNS: usize = "session_expired".len();
