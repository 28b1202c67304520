//! `pushline topic`: settings and figures of a topic.

use std::process::ExitCode;

use crate::cli::access::Access;
use crate::cli::style::{HEADING, Output};
use crate::cli::table::{count, counted};
use crate::cli::twin;
use crate::model::id::TopicName;
use crate::wire::pb;

/// Show or set what is peculiar to a topic.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pushline topic show scores
  pushline topic set scores --conflate
  pushline topic set scores --conflate=false")]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Show a topic.
    Show(Show),
    /// Set how a topic is kept.
    Set(Set),
}

#[derive(Clone, Debug, clap::Args)]
struct Show {
    #[command(flatten)]
    access: Access,
    /// The topic.
    #[arg(value_parser = TopicName::new)]
    topic: TopicName,
}

#[derive(Clone, Debug, clap::Args)]
struct Set {
    #[command(flatten)]
    access: Access,
    /// The topic.
    #[arg(value_parser = TopicName::new)]
    topic: TopicName,
    /// Keep only the newest push: each one replaces the one before it.
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true", required = true, action = clap::ArgAction::Set)]
    conflate: bool,
}

/// Does what was asked, and prints the topic.
pub(super) fn run(arguments: &Arguments, output: Output) -> anyhow::Result<ExitCode> {
    match &arguments.command {
        Command::Show(show) => {
            show.access.run(output, async |backend| print(&backend.topic(&show.topic).await?, output))
        }
        Command::Set(set) => {
            set.access.run(output, async |backend| print(&backend.set_topic(&set.topic, set.conflate).await?, output))
        }
    }
}

fn print(topic: &pb::Topic, output: Output) -> anyhow::Result<ExitCode> {
    output.object(&twin::topic(topic))?;
    output.words(&format!("{HEADING}{}{HEADING:#}", topic.topic))?;
    output.words(&format!("  followed by  {}", counted(topic.devices, "device")))?;
    let last = if topic.last == 0 { "nothing pushed yet".to_owned() } else { format!("offset {}", count(topic.last)) };
    output.words(&format!("  last         {last}"))?;
    let keeps = if topic.conflate { "only the newest push" } else { "every push" };
    output.words(&format!("  keeps        {keeps}"))?;
    Ok(ExitCode::SUCCESS)
}
