//! `pushline share`: tokens with which people without an account follow a few topics.

use std::process::ExitCode;
use std::time::Duration;

use crate::cli::access::Access;
use crate::cli::options::span;
use crate::cli::style::{DIM, GOOD, LITERAL, Output};
use crate::cli::table::{Table, counted, left, right};
use crate::cli::{moment, twin};
use crate::model::id::{ShareId, TopicName};
use crate::wire::pb;

/// Share topics with people without an account, who may follow them and do nothing else.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pushline share create scores --ttl 3h --viewers 500 --note 'the final'
  pushline share list
  pushline share revoke s7f3")]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Make a share and show its token, with which any number of viewers connect.
    Create(Create),
    /// List all shares.
    List(List),
    /// Take a share back: its viewers' sessions end within a second.
    Revoke(Revoke),
}

#[derive(Clone, Debug, clap::Args)]
struct Create {
    #[command(flatten)]
    access: Access,
    /// The topics, at most ten.
    #[arg(value_name = "TOPIC", value_parser = TopicName::new, required = true)]
    topics: Vec<TopicName>,
    /// How long it is good for, a minute to a year [default: 1day].
    #[arg(long, value_name = "TIME", value_parser = span)]
    ttl: Option<Duration>,
    /// Viewers at the same time, at most 10000 [default: 100].
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    viewers: Option<u32>,
    /// For whoever looks at the list.
    #[arg(long, default_value = "", hide_default_value = true)]
    note: String,
}

#[derive(Clone, Debug, clap::Args)]
struct List {
    #[command(flatten)]
    access: Access,
}

#[derive(Clone, Debug, clap::Args)]
struct Revoke {
    #[command(flatten)]
    access: Access,
    /// Its id.
    #[arg(value_parser = ShareId::new)]
    id: ShareId,
}

/// Does what was asked.
pub(super) fn run(arguments: &Arguments, output: Output) -> anyhow::Result<ExitCode> {
    match &arguments.command {
        Command::Create(create) => create.run(output),
        Command::List(list) => list.run(output),
        Command::Revoke(revoke) => revoke.access.run(output, async |backend| {
            let sessions = backend.revoke_share(&revoke.id).await?;
            output.object(&twin::access::revoked(sessions))?;
            let ended = counted(u64::from(sessions), "viewer");
            output.words(&format!("{GOOD}revoked{GOOD:#}: {}; {ended} told to end", revoke.id))?;
            Ok(ExitCode::SUCCESS)
        }),
    }
}

impl Create {
    fn run(&self, output: Output) -> anyhow::Result<ExitCode> {
        let request = pb::CreateShareRequest {
            topics: self.topics.iter().map(ToString::to_string).collect(),
            // What is too short to be a second is too short all the same, and none at all is no default.
            ttl_seconds: self.ttl.map_or(0, |ttl| u32::try_from(ttl.as_secs().max(1)).unwrap_or(u32::MAX)),
            viewers_max: self.viewers.unwrap_or(0),
            note: self.note.clone(),
        };
        self.access.run(output, async |backend| {
            let made = backend.create_share(request).await?;
            output.object(&twin::access::made_share(&made))?;
            let share = made.share.clone().unwrap_or_default();
            output.words(&format!("{GOOD}made{GOOD:#}: {} shares {}", share.id, share.topics.join(", ")))?;
            output.words(&format!("  expires  {}", moment::second(share.expires_at_ms)))?;
            output.words(&format!("  viewers  at most {} at once", share.viewers_max))?;
            output.words(&format!("  token    {LITERAL}{}{LITERAL:#}", made.token))?;
            output.note("the token is shown this once; whoever has it follows these topics until it expires");
            Ok(ExitCode::SUCCESS)
        })
    }
}

impl List {
    fn run(&self, output: Output) -> anyhow::Result<ExitCode> {
        self.access.run(output, async |backend| {
            let columns =
                [left("share"), right("viewers"), right("at most"), left("expires"), left("topics"), left("note")];
            let mut table = Table::new(columns);
            let (mut after, mut shown) = (String::new(), 0_u64);
            loop {
                let page = backend.shares(&after, 1_000).await?;
                for share in &page.shares {
                    output.object(&twin::access::share(share))?;
                    table.row([
                        share.id.as_str().into(),
                        share.viewers.into(),
                        share.viewers_max.into(),
                        moment::second(share.expires_at_ms).into(),
                        share.topics.join(", ").into(),
                        share.note.as_str().into(),
                    ]);
                }
                shown += page.shares.len() as u64;
                after = page.next;
                if after.is_empty() {
                    break;
                }
            }
            table.write(output)?;
            output.words(&format!("{DIM}{}{DIM:#}", counted(shown, "share")))?;
            Ok(ExitCode::SUCCESS)
        })
    }
}
