//! `pushline certs`: makes a throw-away certificate for development, or shows the one that is there.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use crate::cli::style::{DIM, GOOD, LITERAL, Output};
use crate::model::clock::Clock;
use crate::tls::develop;

/// Make a throw-away certificate for development.
///
/// It is for localhost, 127.0.0.1, ::1 and the names given, good for 90 days, and signed by a CA whose key is not kept.
/// One that is there, fits and has a week to live is left as it is. Not for production.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pushline certs
  pushline certs --name push.example.org --name 10.0.0.7 --dir /tmp/certs")]
pub(super) struct Arguments {
    /// Folder for ca.pem, cert.pem and key.pem.
    #[arg(long, value_name = "DIR", default_value = "certs")]
    dir: PathBuf,
    /// Another host name or IP address it is for; may be given several times.
    #[arg(long, value_name = "HOST")]
    name: Vec<String>,
}

/// Makes the certificate and says where it is.
pub(super) fn run(arguments: &Arguments, output: Output) -> anyhow::Result<ExitCode> {
    let made = develop::open(&arguments.dir, &arguments.name, Clock::new().now().wall)?;
    let state = if made.new { "made" } else { "still good" };
    output.words(&format!("{GOOD}{state}{GOOD:#} for {}", made.names.join(", ")))?;
    for (path, meaning) in [
        (&made.ca, "for clients to trust"),
        (&made.files.certificate, "the gateway's certificate"),
        (&made.files.key, "its key; keep it private"),
    ] {
        output.words(&format!("  {LITERAL}{}{LITERAL:#}  {DIM}{meaning}{DIM:#}", path.display()))?;
    }
    output.object(&json!({
        "ca": made.ca,
        "certificate": made.files.certificate,
        "key": made.files.key,
        "names": made.names,
        "new": made.new,
    }))?;
    Ok(ExitCode::SUCCESS)
}
