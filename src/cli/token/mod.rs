//! `pushline token`: makes tokens, tells what one says, takes them back.

mod inspect;
mod issue;
mod revoke;

use std::process::ExitCode;

use crate::cli::style::Output;

/// Make a token with which a device may connect, look at one, or take tokens back.
///
/// A token is signed with the key in the data folder, so use the folder of the gateway that shall accept it; the gateway
/// need not run. Whoever has the token is that device until it expires or is revoked.
#[derive(Clone, Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "\
Examples:
  pushline token issue --user ada --device phone      the word `issue` may be left out
  pushline token issue --user ada --device phone --ttl 7days --data /var/lib/pushline
  export PUSHLINE_TOKEN=$(pushline token --user ada --device phone)
  pushline token inspect $PUSHLINE_TOKEN
  pushline token revoke --user ada --device phone")]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    issue: issue::Issue,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Make a token with which a device may connect, with the key in the data folder.
    Issue(issue::Issue),
    /// Show what a token says, and whether it is good, with the key in the data folder.
    Inspect(inspect::Arguments),
    /// Take tokens back: they are refused, and sessions that were opened with them end within a second.
    Revoke(revoke::Arguments),
}

/// Does what was asked.
pub(super) fn run(arguments: &Arguments, output: Output) -> anyhow::Result<ExitCode> {
    match &arguments.command {
        None => issue::run(&arguments.issue, output),
        Some(Command::Issue(issue)) => issue::run(issue, output),
        Some(Command::Inspect(inspect)) => inspect::run(inspect, output),
        Some(Command::Revoke(revoke)) => revoke::run(revoke, output),
    }
}
