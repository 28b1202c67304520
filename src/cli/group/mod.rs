//! `pushline group`: groups, and who is in them.

mod change;
mod list;

use std::process::ExitCode;

use serde_json::json;

use crate::cli::access::Access;
use crate::cli::style::{DIM, GOOD, HEADING, Output};
use crate::cli::table::counted;
use crate::cli::{moment, twin, user};
use crate::model::id::{GroupName, UserId};
use crate::wire::pb;

/// Make, show and fill groups of users.
///
/// Users of a group follow the group's topics, on all their devices, from the moment they join.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pushline group create berlin
  pushline group create staff --topic news --topic '{group}-urgent'
  pushline group add berlin ada bob
  pushline group add berlin --file users.txt
  zcat users.gz | pushline group add berlin -
  pushline group set ada --groups berlin,beta --version 7
  pushline group members berlin")]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Make a group; making it again with the same topics is harmless.
    Create(Create),
    /// List groups.
    List(list::Groups),
    /// Show one group.
    Show(One),
    /// Add users; a group that does not exist arises.
    Add(change::Arguments),
    /// Remove users.
    Remove(change::Arguments),
    /// List the members of a group, one a line.
    Members(list::Members),
    /// Delete a group; its members leave.
    Delete(One),
    Set(Set),
}

#[derive(Clone, Debug, clap::Args)]
struct Create {
    #[command(flatten)]
    access: Access,
    /// Its name.
    #[arg(value_parser = GroupName::new)]
    group: GroupName,
    /// A topic that its members follow, `{group}` stands for its name; may be given several times [default: by the
    /// gateway's rule, the topic with its name].
    #[arg(long = "topic", value_name = "TOPIC")]
    topics: Vec<String>,
}

#[derive(Clone, Debug, clap::Args)]
struct One {
    #[command(flatten)]
    access: Access,
    /// The group.
    #[arg(value_parser = GroupName::new)]
    group: GroupName,
}

/// Set all groups of a user.
///
/// The version orders these calls: one that is not newer than the last is refused, so that a stale one cannot win. The
/// same one again is harmless.
#[derive(Clone, Debug, clap::Args)]
#[command(disable_version_flag = true)]
struct Set {
    #[command(flatten)]
    access: Access,
    /// The user.
    #[arg(value_parser = UserId::new)]
    user: UserId,
    /// All its groups, with commas between; '' for none. Those that do not exist arise.
    #[arg(long, value_name = "GROUP,...")]
    groups: String,
    /// Larger than with the last call for this user.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    version: u64,
}

/// Does what was asked.
pub(super) fn run(arguments: &Arguments, output: Output) -> anyhow::Result<ExitCode> {
    match &arguments.command {
        Command::Create(create) => create.access.run(output, async |backend| {
            print(&backend.create_group(&create.group, create.topics.clone()).await?, output)
        }),
        Command::List(list) => list::groups(list, output),
        Command::Show(one) => one.access.run(output, async |backend| print(&backend.group(&one.group).await?, output)),
        Command::Add(change) => change::run(change, change::Which::Add, output),
        Command::Remove(change) => change::run(change, change::Which::Remove, output),
        Command::Members(members) => list::members(members, output),
        Command::Delete(one) => one.access.run(output, async |backend| {
            let members = backend.delete_group(&one.group).await?;
            output.object(&json!({ "members": members }))?;
            output.words(&format!("{GOOD}deleted{GOOD:#}; {} left", counted(members, "member")))?;
            Ok(ExitCode::SUCCESS)
        }),
        Command::Set(set) => {
            let names = set.groups.split(',').map(str::trim).filter(|name| !name.is_empty());
            let groups: Result<Vec<_>, _> = names
                .map(|name| GroupName::new(name).map_err(|why| anyhow::anyhow!("--groups: {name:?}: {why}")))
                .collect();
            let groups = groups?;
            set.access.run(output, async |backend| {
                user::print(&backend.set_groups(&set.user, &groups, set.version).await?, output)
            })
        }
    }
}

fn print(group: &pb::Group, output: Output) -> anyhow::Result<ExitCode> {
    output.object(&twin::group(group))?;
    output.words(&format!("{HEADING}{}{HEADING:#}", group.name))?;
    output.words(&format!("  topics   {}", group.topics.join(", ")))?;
    output.words(&format!("  members  {}", crate::cli::table::count(group.members)))?;
    output.words(&format!("  made     {DIM}{}{DIM:#}", moment::second(group.created_at_ms)))?;
    Ok(ExitCode::SUCCESS)
}
