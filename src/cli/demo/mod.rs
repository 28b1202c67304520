//! `pushline demo`: its flags.

use std::path::PathBuf;

/// See the gateway at work: pushes, acks, an offline device, a crash, and nothing lost.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pushline demo
  pushline demo --json | tail -n 1
  pushline demo --data /tmp/demo   (keeps the data folder to look at)")]
pub struct Arguments {
    /// Keep the data in this folder; without it a temporary one is used and removed.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}
