//! `pushline user`: what is known of a user, and when it wants to be left alone.

use std::process::ExitCode;

use anyhow::Context;

use crate::cli::access::Access;
use crate::cli::moment;
use crate::cli::style::{DIM, GOOD, HEADING, Output};
use crate::cli::table::{Cell, Table, left, printable, right};
use crate::cli::twin;
use crate::model::id::UserId;
use crate::model::quiet::{QuietHours, TimeOfDay};
use crate::wire::pb;

/// Show a user, or set its quiet hours.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pushline user show ada
  pushline user quiet ada --from 22:00 --to 07:00 --time-zone Europe/Berlin
  pushline user quiet ada --off")]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Show a user's groups, quiet hours and devices.
    Show(Show),
    /// Set when a user wants no pushes of low and normal urgency; they wait.
    Quiet(Quiet),
}

#[derive(Clone, Debug, clap::Args)]
struct Show {
    #[command(flatten)]
    access: Access,
    /// The user.
    #[arg(value_parser = UserId::new)]
    user: UserId,
}

#[derive(Clone, Debug, clap::Args)]
struct Quiet {
    #[command(flatten)]
    access: Access,
    /// The user.
    #[arg(value_parser = UserId::new)]
    user: UserId,
    /// When they begin, as HH:MM.
    #[arg(long, value_name = "HH:MM", value_parser = time_of_day, requires_all = ["to", "time_zone"], required_unless_present = "off")]
    from: Option<TimeOfDay>,
    /// When they end; earlier than the beginning means the next day.
    #[arg(long, value_name = "HH:MM", value_parser = time_of_day, requires = "from")]
    to: Option<TimeOfDay>,
    /// IANA name of the time zone they are meant in.
    #[arg(long, value_name = "ZONE", requires = "from")]
    time_zone: Option<String>,
    /// None any more.
    #[arg(long, conflicts_with_all = ["from", "to", "time_zone"])]
    off: bool,
}

/// Does what was asked, and prints the user.
pub(super) fn run(arguments: &Arguments, output: Output) -> anyhow::Result<ExitCode> {
    match &arguments.command {
        Command::Show(show) => show.access.run(output, async |backend| print(&backend.user(&show.user).await?, output)),
        Command::Quiet(quiet) => {
            let hours = quiet.hours()?;
            quiet.access.run(output, async |backend| {
                print(&backend.set_quiet_hours(&quiet.user, hours.as_ref()).await?, output)
            })
        }
    }
}

impl Quiet {
    fn hours(&self) -> anyhow::Result<Option<QuietHours>> {
        if self.off {
            return Ok(None);
        }
        let all = self.from.zip(self.to).zip(self.time_zone.clone());
        let ((from, to), time_zone) = all.context("--from, --to and --time-zone belong together")?;
        anyhow::ensure!(
            from != to,
            "--from and --to are the same time; quiet hours end at another time than they begin"
        );
        Ok(Some(QuietHours { from, to, time_zone }))
    }
}

/// Prints a user.
pub(super) fn print(user: &pb::User, output: Output) -> anyhow::Result<ExitCode> {
    output.object(&twin::user(user))?;
    output.words(&format!("{HEADING}{}{HEADING:#}", user.user))?;
    let groups = if user.groups.is_empty() { "none".to_owned() } else { user.groups.join(", ") };
    let version = if user.version > 0 { format!(" {DIM}(version {}){DIM:#}", user.version) } else { String::new() };
    output.words(&format!("  groups       {groups}{version}"))?;
    let quiet = user.quiet_hours.as_ref();
    let quiet = quiet.map(|quiet| format!("{} to {}, {}", quiet.from, quiet.to, quiet.time_zone));
    output.words(&format!("  quiet hours  {}", quiet.map_or_else(|| "none".to_owned(), |quiet| printable(&quiet))))?;
    if user.devices.is_empty() {
        output.words("  devices      none seen yet")?;
        return Ok(ExitCode::SUCCESS);
    }
    output.words("")?;
    let columns = [left("device"), left("state"), left("since"), right("subscriptions"), left("attributes")];
    let mut table = Table::new(columns);
    for device in &user.devices {
        let state = if device.online { Cell::styled("online", GOOD) } else { Cell::styled("offline", DIM) };
        let attributes: Vec<_> = device.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let since = moment::second(device.seen_at_ms);
        let cells = [
            device.device.as_str().into(),
            state,
            since.into(),
            device.subscriptions.into(),
            attributes.join(" ").into(),
        ];
        table.row(cells);
    }
    table.write(output)?;
    Ok(ExitCode::SUCCESS)
}

fn time_of_day(text: &str) -> Result<TimeOfDay, String> {
    TimeOfDay::parse(text).ok_or_else(|| "expected a time of day as HH:MM, from 00:00 to 23:59".to_owned())
}
