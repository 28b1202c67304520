//! `pushline enrol`: a one-time code with which a device enrols its key.

use std::process::ExitCode;
use std::time::Duration;

use crate::cli::access::Access;
use crate::cli::options::span;
use crate::cli::style::{DIM, Output};
use crate::cli::{moment, twin};
use crate::model::id::{DeviceId, UserId};

/// Make a one-time code with which a device of a user enrols its key.
///
/// The tenant must let devices log in with keys (`pushline tenant update TENANT --device-key`). The code is typed or scanned
/// on the device, or given to `pushline login --enrol`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pushline enrol ada
  pushline enrol ada --device tablet --ttl 1day
  pushline login --device tablet --enrol CODE --key-file tablet.key")]
pub(super) struct Arguments {
    #[command(flatten)]
    access: Access,
    /// The user.
    #[arg(value_parser = UserId::new)]
    user: UserId,
    /// Only this device [default: whichever comes with the code].
    #[arg(long, value_parser = DeviceId::new)]
    device: Option<DeviceId>,
    /// How long it is good for, a minute to a week [default: 10min].
    #[arg(long, value_name = "TIME", value_parser = span)]
    ttl: Option<Duration>,
}

/// Makes the code and prints it.
pub(super) fn run(arguments: &Arguments, output: Output) -> anyhow::Result<ExitCode> {
    // What is too short to be a second is too short all the same, and none at all is no default.
    let ttl = arguments.ttl.map(|ttl| ttl.max(Duration::from_secs(1)));
    arguments.access.run(output, async |backend| {
        let made = backend.create_enrolment(&arguments.user, arguments.device.as_ref(), ttl).await?;
        output.object(&twin::access::enrolment(&made))?;
        output.words(&made.code)?;
        if !output.json {
            let until = moment::second(made.expires_at_ms);
            output.note(&format!("good once, until {DIM}{until}{DIM:#}; whoever has it becomes a device of that user"));
        }
        Ok(ExitCode::SUCCESS)
    })
}
