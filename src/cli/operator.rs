//! How a command reaches the gateway as its operator does: on the admin listener, with the admin key.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::access::{advice_of, read_roots};
use crate::cli::options::Secret;
use crate::cli::style::Output;
use crate::client::Refusal;
use crate::client::backend::{Admin, Error};

/// Which gateway, and that it is the operator who asks.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Operator {
    /// Where the gateway takes its operator.
    #[arg(long, value_name = "URL", env = "PUSHLINE_ADMIN", default_value = "http://127.0.0.1:7090")]
    admin: String,
    /// The admin key.
    #[arg(long, value_name = "KEY", env = "PUSHLINE_ADMIN_KEY", hide_env_values = true,
        value_parser = clap::value_parser!(Secret))]
    admin_key: Secret,
    /// PEM file with the certificate to trust instead of the system's, for an https URL.
    #[arg(long, value_name = "FILE", env = "PUSHLINE_CA")]
    ca: Option<PathBuf>,
}

impl Operator {
    /// Connects, does the work, and says what went wrong. A refusal by the gateway is told with its code and makes the
    /// command fail; the error is what else went wrong, with words on what to do.
    pub(super) fn run(
        &self,
        output: Output,
        work: impl AsyncFnOnce(Admin) -> anyhow::Result<ExitCode>,
    ) -> anyhow::Result<ExitCode> {
        let roots = self.ca.as_deref().map(read_roots).transpose()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let outcome = runtime.block_on(async {
            let admin = Admin::connect(&self.admin, self.admin_key.reveal(), roots.as_deref()).await?;
            work(admin).await
        });
        let failure = match outcome {
            Ok(code) => return Ok(code),
            Err(failure) => failure,
        };
        match failure.downcast_ref::<Error>() {
            Some(Error::Refused(refusal)) => {
                refused(refusal, output);
                Ok(ExitCode::FAILURE)
            }
            Some(why) => Err(anyhow::Error::msg(advice_of(why, "--admin"))),
            None => Err(failure),
        }
    }
}

/// Tells a refusal, and what to do where the gateway's words do not say it.
fn refused(refusal: &Refusal, output: Output) {
    let more = match refusal.name.as_str() {
        "missing_credentials" | "invalid_credentials" => {
            "; the admin key is in auth/admin-key of the gateway's data folder"
        }
        "tenant_not_found" => "; `pushline tenant list` shows all, `pushline tenant create` makes one",
        "key_not_found" => "; `pushline key list` shows all",
        "node_not_found" => "; `pushline node list` shows all",
        "stale_version" => "; somebody changed it meanwhile: look at it with `pushline tenant show`, then try again",
        _ => "",
    };
    output.refusal(&format!("refused: {refusal}{more}"), &refusal.name, refusal.errno);
}
