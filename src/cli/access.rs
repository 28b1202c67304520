//! How a command reaches the gateway as a backend does: where, with which key, trusting whom; and what is said when that
//! fails.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

use crate::cli::caret;
use crate::cli::options::Secret;
use crate::cli::style::Output;
use crate::client::Refusal;
use crate::client::backend::{Backend, Error};

/// Which gateway, and who asks.
#[derive(Clone, Debug, clap::Args)]
pub struct Access {
    /// Where the gateway takes backends.
    #[arg(long, value_name = "URL", env = "PUSHLINE_BACKEND", default_value = "http://127.0.0.1:7080")]
    pub backend: String,
    /// API key of the tenant.
    #[arg(long, env = "PUSHLINE_KEY", hide_env_values = true, value_parser = clap::value_parser!(Secret))]
    pub key: Secret,
    /// PEM file with the certificate to trust instead of the system's, for an https URL.
    #[arg(long, value_name = "FILE", env = "PUSHLINE_CA")]
    pub ca: Option<PathBuf>,
}

impl Access {
    /// Connects, does the work, and says what went wrong. A refusal by the gateway is told with its code and makes the
    /// command fail; the error is what else went wrong, with words on what to do.
    pub(super) fn run(
        &self,
        output: Output,
        work: impl AsyncFnOnce(Backend) -> anyhow::Result<ExitCode>,
    ) -> anyhow::Result<ExitCode> {
        let roots = self.ca.as_deref().map(read_roots).transpose()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let outcome = runtime.block_on(async {
            let backend = Backend::connect(&self.backend, self.key.reveal(), roots.as_deref()).await?;
            work(backend).await
        });
        let failure = match outcome {
            Ok(code) => return Ok(code),
            Err(failure) => failure,
        };
        if let Some(condition) = failure.downcast_ref::<caret::Refused>() {
            refused(&condition.refusal, output);
            condition.show(output);
            return Ok(ExitCode::FAILURE);
        }
        match failure.downcast_ref::<Error>() {
            Some(Error::Refused(refusal)) => {
                refused(refusal, output);
                Ok(ExitCode::FAILURE)
            }
            Some(why) => Err(anyhow::Error::msg(advice(why))),
            None => Err(failure),
        }
    }
}

/// Tells a refusal, and what to do where the gateway's words do not say it.
pub(super) fn refused(refusal: &Refusal, output: Output) {
    let more = match refusal.name.as_str() {
        "missing_credentials" | "invalid_credentials" => {
            "; the key is in auth/api-key of the gateway's data folder, behind the colon"
        }
        "group_not_found" => "; `pushline group list` shows all, `pushline group create` makes one",
        "webhook_not_found" => "; `pushline webhook list` shows all",
        "share_not_found" => "; `pushline share list` shows all",
        _ => "",
    };
    output.refusal(&format!("refused: {refusal}{more}"), &refusal.name, refusal.errno);
}

/// What went wrong, and what to do.
pub(super) fn advice(why: &Error) -> String {
    advice_of(why, "--backend")
}

/// The same, for a connection that a flag names the place of.
pub(super) fn advice_of(why: &Error, flag: &str) -> String {
    match why {
        Error::Unreachable { url, .. } => {
            format!("{why}; is the gateway running there? `pushline serve` starts one, {flag} names another than {url}")
        }
        Error::Untrusted { .. } => format!("{why}; name the CA that vouches for it with --ca"),
        Error::Unanswered(_) => format!(
            "{why}; try again: a push with an --idempotency-key never becomes two, and all that is no push may be repeated"
        ),
        Error::Invalid(_) | Error::Refused(_) => why.to_string(),
    }
}

/// Reads the certificates of `--ca`.
pub(super) fn read_roots(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read the trusted certificate {}", path.display()))
}
