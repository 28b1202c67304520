//! `pushline webhook`: where the gateway posts receipts, presence and hand-offs to.

use std::process::ExitCode;

use clap::ValueEnum;
use serde_json::json;

use crate::cli::access::Access;
use crate::cli::moment;
use crate::cli::options::Secret;
use crate::cli::style::{DIM, ERROR, GOOD, LITERAL, Output};
use crate::cli::table::{Cell, Table, left, right};
use crate::cli::twin;
use crate::model::webhook::Kind;

/// Set, list or delete the tenant's webhooks.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pushline webhook set receipts https://shop.example/hooks/receipts
  pushline webhook set fallback http://127.0.0.1:9000/bridge
  pushline webhook list
  pushline webhook delete presence")]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Set where events of a kind are posted to, and show the secret they are signed with.
    Set(Set),
    /// List all, and how they do.
    List(List),
    /// Post events of a kind nowhere any more.
    Delete(Delete),
}

#[derive(Clone, Debug, clap::Args)]
struct Set {
    #[command(flatten)]
    access: Access,
    /// What is posted.
    #[arg(value_enum)]
    kind: Word,
    /// Where to.
    url: String,
    /// Secret to sign with, as `whsec_` and base64 [default: the gateway makes one].
    #[arg(long, env = "PUSHLINE_WEBHOOK_SECRET", hide_env_values = true, value_parser = clap::value_parser!(Secret))]
    secret: Option<Secret>,
}

#[derive(Clone, Debug, clap::Args)]
struct List {
    #[command(flatten)]
    access: Access,
}

#[derive(Clone, Debug, clap::Args)]
struct Delete {
    #[command(flatten)]
    access: Access,
    /// What is posted.
    #[arg(value_enum)]
    kind: Word,
}

/// [`Kind`] as a word of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Word {
    /// What became of messages.
    Receipts,
    /// Comings and goings of devices.
    Presence,
    /// Messages that devices did not ack in time.
    Fallback,
}

impl From<Word> for Kind {
    fn from(word: Word) -> Self {
        match word {
            Word::Receipts => Self::Receipts,
            Word::Presence => Self::Presence,
            Word::Fallback => Self::Fallback,
        }
    }
}

/// Does what was asked.
pub(super) fn run(arguments: &Arguments, output: Output) -> anyhow::Result<ExitCode> {
    match &arguments.command {
        Command::Set(set) => set.run(output),
        Command::List(list) => list.run(output),
        Command::Delete(delete) => delete.access.run(output, async |backend| {
            let kind = Kind::from(delete.kind);
            backend.delete_webhook(kind).await?;
            output.object(&json!({}))?;
            output.words(&format!("{GOOD}deleted{GOOD:#}: {} are posted nowhere now", plural(kind)))?;
            Ok(ExitCode::SUCCESS)
        }),
    }
}

impl Set {
    fn run(&self, output: Output) -> anyhow::Result<ExitCode> {
        self.access.run(output, async |backend| {
            let kind = Kind::from(self.kind);
            let webhook = backend.set_webhook(kind, &self.url, self.secret.as_ref().map(Secret::reveal)).await?;
            output.object(&twin::webhook(&webhook))?;
            output.words(&format!("{GOOD}set{GOOD:#}: {} are posted to {}", plural(kind), webhook.url))?;
            if !webhook.secret.is_empty() {
                output.words(&format!("  secret  {LITERAL}{}{LITERAL:#}", webhook.secret))?;
                output.note("the secret is shown this once; whoever has it can forge what is posted");
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

impl List {
    fn run(&self, output: Output) -> anyhow::Result<ExitCode> {
        self.access.run(output, async |backend| {
            let mut table = Table::new([left("kind"), left("url"), right("delivered upto"), left("state")]);
            let webhooks = backend.webhooks().await?;
            for webhook in &webhooks {
                output.object(&twin::webhook(webhook))?;
                let state = match (webhook.failure.as_str(), webhook.failed_at_ms) {
                    ("", _) => Cell::styled("well", GOOD),
                    (why, at) => Cell::styled(format!("{why}, at {}", moment::second(at)), ERROR),
                };
                table.row([webhook.kind.as_str().into(), webhook.url.as_str().into(), webhook.position.into(), state]);
            }
            table.write(output)?;
            if webhooks.is_empty() {
                output.words(&format!("{DIM}no webhooks; `pushline webhook set` makes one{DIM:#}"))?;
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

/// What a webhook of this kind is sent.
const fn plural(kind: Kind) -> &'static str {
    match kind {
        Kind::Receipts => "receipts",
        Kind::Presence => "comings and goings",
        Kind::Fallback => "messages that were not acked in time",
    }
}
