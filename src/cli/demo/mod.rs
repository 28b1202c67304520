//! `pushline demo`: runs the story in a folder of its own and cleans up after it, whatever happens. What is shown stands
//! in `story`.

mod cast;
mod chapter;
mod device;
mod gateway;
mod ledger;
mod report;
mod story;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::style::{LITERAL, Output};

use story::Story;

/// See the gateway at work: pushes, acks, an offline device, a crash, and nothing lost.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pushline demo
  pushline demo --json | tail -n 1
  pushline demo --data /tmp/demo   (keeps the data folder to look at)")]
pub struct Arguments {
    /// Keep the data in this folder, which must be new or empty; without it a temporary one is used and removed.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// Tells the story. Success means that every step went well and every promise was kept.
pub(super) fn run(arguments: &Arguments, output: Output) -> anyhow::Result<ExitCode> {
    let folder = Folder::open(arguments.data.as_deref())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let is_good = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let mut story = Story::new(folder.path());
        let is_good = tokio::select! {
            is_good = story.tell(output) => is_good,
            _ = interrupt.recv() => Err(anyhow::anyhow!("interrupted")),
            _ = terminate.recv() => Err(anyhow::anyhow!("terminated")),
            _ = hangup.recv() => Err(anyhow::anyhow!("the terminal is gone")),
        };
        // A story that is dropped kills its gateway too, but only here is it waited for: a folder can be removed when
        // nobody writes into it any more.
        story.end().await;
        is_good
    })?;
    if arguments.data.is_some() {
        output.words(&format!("The data is in {LITERAL}{}{LITERAL:#}.", folder.path().display()))?;
    }
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Where the gateway keeps its data.
enum Folder {
    /// Removed at the end.
    Temporary(tempfile::TempDir),
    /// The caller's.
    Kept(PathBuf),
}

impl Folder {
    fn open(given: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = given else {
            let folder = tempfile::Builder::new().prefix("pushline-demo-").tempdir();
            return Ok(Self::Temporary(folder.context("no temporary folder could be made")?));
        };
        let cannot = || format!("cannot use {}", path.display());
        std::fs::create_dir_all(path).with_context(cannot)?;
        // Messages of before would be delivered too, and keys and messages of a real gateway must be left alone.
        let is_empty = std::fs::read_dir(path).with_context(cannot)?.next().is_none();
        anyhow::ensure!(is_empty, "{} is not empty; name a new folder", path.display());
        Ok(Self::Kept(path.to_owned()))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Kept(path) => path,
        }
    }
}
