//! `pushline group add` and `remove`: any number of users on one stream, some a request, with progress.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::ensure;

use crate::cli::access::{Access, refused};
use crate::cli::bar::Bar;
use crate::cli::style::{GOOD, Output};
use crate::cli::table::{count, counted};
use crate::cli::twin;
use crate::cli::users::{self, USERS_PER_REQUEST};
use crate::client::backend::Progress;
use crate::model::id::{GroupName, UserId};
use crate::wire::pb;

#[derive(Clone, Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("who").required(true).args(["users", "file"]))]
pub(super) struct Arguments {
    #[command(flatten)]
    access: Access,
    /// The group.
    #[arg(value_parser = GroupName::new)]
    group: GroupName,
    /// The users; `-` alone reads them from standard input, one a line.
    #[arg(value_name = "USER")]
    users: Vec<String>,
    /// Read the users from this file, one a line.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Which way they go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// In.
    Add,
    /// Out.
    Remove,
}

/// Changes the members; fails when a request was refused.
pub(super) fn run(arguments: &Arguments, which: Which, output: Output) -> anyhow::Result<ExitCode> {
    // All are read and checked before the first is sent.
    let users = arguments.users()?;
    let named = users.len();
    arguments.access.run(output, async |backend| {
        let verb = if which == Which::Add { "add" } else { "remove" };
        let bar = Bar::new(verb, named, output);
        let requests = requests(&arguments.group, &users, which);
        let mut answers = backend.change_members(futures_util::stream::iter(requests)).await?;
        let mut last = Progress::default();
        let (mut sent, mut unchanged) = (0, 0_usize);
        while let Some(progress) = answers.next().await? {
            let upto = (sent + USERS_PER_REQUEST).min(named);
            output.object(&twin::progress(&progress))?;
            match &progress.refused {
                Some(refusal) => {
                    unchanged += upto - sent;
                    refused(refusal, output);
                }
                // Only this one says how many members there are.
                None => last = progress,
            }
            sent = upto;
            bar.update(sent as u64);
        }
        drop(bar);
        ensure!(
            sent == named,
            "the gateway ended the stream after {} of {} users; run it again",
            count(sent as u64),
            count(named as u64)
        );
        if unchanged == 0 {
            output.words(&words(&arguments.group, which, named, &last))?;
            return Ok(ExitCode::SUCCESS);
        }
        if unchanged < named {
            output.words(&words(&arguments.group, which, named - unchanged, &last))?;
        }
        output.note(&format!("{} stood in requests that were refused", counted(unchanged as u64, "user")));
        Ok(ExitCode::FAILURE)
    })
}

impl Arguments {
    fn users(&self) -> anyhow::Result<Vec<UserId>> {
        match (&self.file, self.users.as_slice()) {
            (Some(file), _) => users::file(file),
            (None, [only]) if only == "-" => users::stdin(),
            (None, names) => names
                .iter()
                .map(|name| UserId::new(name).map_err(|why| anyhow::anyhow!("{name:?} is no name of a user: {why}")))
                .collect::<anyhow::Result<_>>()
                .map(users::once),
        }
    }
}

fn requests(group: &GroupName, users: &[UserId], which: Which) -> Vec<pb::ChangeMembersRequest> {
    let request = |some: &[UserId]| {
        let users = some.iter().map(ToString::to_string).collect();
        let (add, remove) = if which == Which::Add { (users, Vec::new()) } else { (Vec::new(), users) };
        pb::ChangeMembersRequest { group: group.to_string(), add, remove }
    };
    users.chunks(USERS_PER_REQUEST).map(request).collect()
}

fn words(group: &GroupName, which: Which, taken: usize, progress: &Progress) -> String {
    let (done, changed, rest) = match which {
        Which::Add => ("added", progress.added, "were members before"),
        Which::Remove => ("removed", progress.removed, "were no members"),
    };
    let others = (taken as u64).saturating_sub(changed);
    let others = if others == 0 { String::new() } else { format!(", {} {rest}", count(others)) };
    format!(
        "{GOOD}{}{GOOD:#} {done}{others}; {group} has {}",
        counted(changed, "user"),
        counted(progress.members, "member")
    )
}

#[cfg(test)]
mod tests {
    use super::{Which, requests};
    use crate::model::id::{GroupName, UserId};

    #[test]
    fn a_long_list_is_sent_in_requests_that_the_gateway_takes() {
        let group = GroupName::new("g").unwrap();
        let users: Vec<_> = (0..2_500).map(|n| UserId::new(&format!("u{n}")).unwrap()).collect();
        let requests = requests(&group, &users, Which::Remove);
        let sizes: Vec<_> = requests.iter().map(|request| (request.add.len(), request.remove.len())).collect();
        assert_eq!(sizes, [(0, 1_000), (0, 1_000), (0, 500)]);
        assert_eq!(requests[2].remove[499], "u2499");
    }
}
