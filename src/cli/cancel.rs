//! `pushline cancel`: takes a message back.

use std::process::ExitCode;

use crate::cli::access::Access;
use crate::cli::push::message_id;
use crate::cli::style::{GOOD, NOTE, Output};
use crate::cli::twin;
use crate::model::id::MessageId;

/// Take a message back: who has not received it never will.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pushline cancel 019a8f00-0000-7000-8000-000000000000
  pushline cancel 019a8f00-0000-7000-8000-000000000000 --silently")]
pub(super) struct Arguments {
    #[command(flatten)]
    access: Access,
    /// The message, as `pushline push` printed it.
    #[arg(value_parser = message_id)]
    id: MessageId,
    /// Do not tell the devices that received it to dismiss it.
    #[arg(long)]
    silently: bool,
}

/// Cancels it. A message that was over before is no failure: nobody receives it any more.
pub(super) fn run(arguments: &Arguments, output: Output) -> anyhow::Result<ExitCode> {
    arguments.access.run(output, async |backend| {
        let answer = backend.cancel(arguments.id, arguments.silently).await?;
        output.object(&twin::cancelled(&answer))?;
        let state = twin::state(answer.state()).unwrap_or("over");
        if answer.cancelled {
            output.words(&format!("{GOOD}cancelled{GOOD:#}"))?;
        } else {
            output.words(&format!("{NOTE}{state}{NOTE:#} before; nothing was left to cancel"))?;
        }
        Ok(ExitCode::SUCCESS)
    })
}
