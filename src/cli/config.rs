//! `pushline config`: prints every option, or checks a file. It changes nothing.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;

use crate::cli::options::Source;
use crate::cli::style::{DIM, ERROR, GOOD, HEADING, Output};
use crate::config::Settings;

/// Print every option with its default, unit and meaning, or check a file.
///
/// What is printed is a TOML file with the values in force: from --config, then PUSHLINE_SECTION__NAME variables, then
/// flags. Secrets are hidden.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  pushline config > pushline.toml
  pushline config check pushline.toml
  PUSHLINE_SESSION__WINDOW=128 pushline config --json"
)]
pub(super) struct Arguments {
    #[command(flatten)]
    source: Source,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Say what is wrong with a file, if anything. Environment and flags are left aside.
    Check {
        /// The TOML file.
        file: PathBuf,
    },
}

/// Prints or checks.
pub(super) fn run(arguments: &Arguments, output: Output) -> anyhow::Result<ExitCode> {
    if let Some(Action::Check { file }) = &arguments.action {
        return check(file, output);
    }
    let settings = arguments.source.load(Vec::new())?;
    if output.json {
        for option in settings.describe() {
            output.object(&option)?;
        }
    }
    for line in settings.to_toml().lines() {
        output.words(&colored(line))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn check(file: &Path, output: Output) -> anyhow::Result<ExitCode> {
    let problems: Vec<String> = match Settings::load(Some(file), [], &[]) {
        Ok(_) => Vec::new(),
        Err(error) => error.problems.iter().map(ToString::to_string).collect(),
    };
    output.object(&json!({ "file": file, "ok": problems.is_empty(), "problems": problems }))?;
    if problems.is_empty() {
        output.words(&format!("{GOOD}ok{GOOD:#} {}", file.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    for problem in problems {
        output.words(&format!("{ERROR}error:{ERROR:#} {problem}"))?;
    }
    Ok(ExitCode::FAILURE)
}

fn colored(line: &str) -> String {
    let style = match line.as_bytes().first() {
        Some(b'#') => DIM,
        Some(b'[') => HEADING,
        _ => return line.to_owned(),
    };
    format!("{style}{line}{style:#}")
}
