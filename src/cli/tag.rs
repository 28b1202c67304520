//! `pushline tag`: how well what belongs together arrived, hour by hour.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use anstyle::Style;

use crate::cli::access::Access;
use crate::cli::moment;
use crate::cli::options::span;
use crate::cli::style::{DIM, GOOD, Output};
use crate::cli::table::{Cell, Column, Table, left, right};
use crate::cli::twin;
use crate::model::clock::Clock;
use crate::model::id::Tag;
use crate::wire::pb;

/// Show how well the pushes of a tag arrived, by the hour in which they were accepted.
///
/// The success rate is the share of the devices that acked, of all the pushes were for. Those that still wait may ack yet.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pushline push --topic news --tag spring 'hello'
  pushline tag spring
  pushline tag spring --since 7days --json")]
pub(super) struct Arguments {
    #[command(flatten)]
    access: Access,
    /// The tag that the pushes were given.
    #[arg(value_parser = Tag::new)]
    tag: Tag,
    /// How far back to look.
    #[arg(long, value_name = "TIME", value_parser = span, default_value = "24h")]
    since: Duration,
}

/// Asks and prints.
pub(super) fn run(arguments: &Arguments, output: Output) -> anyhow::Result<ExitCode> {
    let now = Clock::new().now().wall;
    arguments.access.run(output, async |backend| {
        let answer = backend.tag(&arguments.tag, Some(now - arguments.since), None).await?;
        print(&answer, output)?;
        Ok(ExitCode::SUCCESS)
    })
}

fn print(tag: &pb::GetTagResponse, output: Output) -> io::Result<()> {
    output.object(&twin::tag(tag))?;
    if tag.hours.is_empty() {
        return output.words(&format!("{DIM}no pushes with the tag {} in this time{DIM:#}", tag.tag));
    }
    let mut table = Table::new(COLUMNS);
    for hour in &tag.hours {
        let counts = hour.counts.unwrap_or_default();
        table.row(row(moment::hour(hour.from_ms), hour.messages, &counts));
    }
    table.row(row("all".to_owned(), tag.messages, &tag.total.unwrap_or_default()));
    table.write(output)
}

fn row(name: String, messages: u64, counts: &pb::Counts) -> [Cell; 9] {
    let (rate, bar) = match counts.audience {
        0 => (String::new(), String::new()),
        audience => {
            let share = counts.acked as f64 / audience as f64;
            (percent(counts.acked, audience), bar(share))
        }
    };
    [
        name.into(),
        messages.into(),
        counts.audience.into(),
        counts.acked.into(),
        counts.waiting.into(),
        counts.missed.into(),
        counts.dead.into(),
        Cell::styled(rate, Style::new().bold()),
        Cell::styled(bar, GOOD),
    ]
}

/// A share in percent. All is all: what is only nearly so is not shown as 100.
pub(super) fn percent(part: u64, whole: u64) -> String {
    let tenths = (u128::from(part) * 1_000).checked_div(u128::from(whole)).unwrap_or(0);
    format!("{}.{} %", tenths / 10, tenths % 10)
}

/// A share as a bar of blocks, an eighth of a column exactly.
fn bar(share: f64) -> String {
    const EIGHTHS: [&str; 8] = ["", "\u{258f}", "\u{258e}", "\u{258d}", "\u{258c}", "\u{258b}", "\u{258a}", "\u{2589}"];
    let eighths = (share.clamp(0.0, 1.0) * f64::from(BAR_COLUMNS) * 8.0).floor() as usize;
    format!("{}{}", "\u{2588}".repeat(eighths / 8), EIGHTHS[eighths % 8])
}

const COLUMNS: [Column; 9] = [
    left("hour (UTC)"),
    right("messages"),
    right("devices"),
    right("acked"),
    right("waiting"),
    right("missed"),
    right("dead"),
    right("success"),
    left(""),
];

/// Columns of a full bar.
const BAR_COLUMNS: u8 = 16;

#[cfg(test)]
mod tests {
    use super::{bar, percent};

    #[test]
    fn a_share_is_never_shown_as_more_than_it_is() {
        for (part, whole, text) in [
            (0, 7, "0.0 %"),
            (7, 7, "100.0 %"),
            (999_999, 1_000_000, "99.9 %"),
            (1, 3, "33.3 %"),
            (u64::MAX, u64::MAX, "100.0 %"),
        ] {
            assert_eq!(percent(part, whole), text);
        }
        assert_eq!(bar(1.0).chars().count(), 16);
        assert_eq!(bar(0.5), "\u{2588}".repeat(8));
        assert_eq!(bar(0.0), "");
        assert_eq!(bar(1.0 / 128.0), "\u{258f}");
    }
}
