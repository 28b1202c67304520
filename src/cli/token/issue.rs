//! `pushline token issue`: makes a token with which a device may connect. The gateway need not run.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use serde_json::json;

use crate::auth::{Authority, DEFAULT_TENANT, TOKEN_LIFE_MAX};
use crate::cli::options::{Source, span};
use crate::cli::style::Output;
use crate::model::clock::Clock;
use crate::model::id::{DeviceId, Receiver, TenantId, UserId};

/// For whom it is, and for how long.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Issue {
    // Both are always there, but when a subcommand is named instead.
    /// The user the device belongs to.
    #[arg(long, value_parser = UserId::new, required = true)]
    user: Option<UserId>,
    /// The device.
    #[arg(long, value_parser = DeviceId::new, required = true)]
    device: Option<DeviceId>,
    /// The tenant both belong to.
    #[arg(long, value_parser = tenant, default_value = DEFAULT_TENANT)]
    tenant: TenantId,
    /// How long the token is good for.
    #[arg(long, value_name = "TIME", value_parser = life, default_value = "24h")]
    ttl: Duration,
    #[command(flatten)]
    source: Source,
}

/// Makes the token and prints it.
pub(super) fn run(arguments: &Issue, output: Output) -> anyhow::Result<ExitCode> {
    let (Some(user), Some(device)) = (arguments.user.clone(), arguments.device.clone()) else {
        anyhow::bail!("name the user and the device with --user and --device");
    };
    let settings = arguments.source.load(Vec::new())?;
    let folder = settings.config().store.auth_folder();
    let is_new = !folder.exists();
    let authority = Authority::open(&folder).context("no token was made")?;
    if is_new {
        output.note(&format!("made new keys in {}; start the gateway with the same data folder", folder.display()));
    }
    let receiver = Receiver { tenant: arguments.tenant.clone(), user, device };
    let now = Clock::new().now().wall;
    let token = authority.issue(&receiver, now + arguments.ttl, now);
    // What the token really says, which is rounded.
    let claims = authority.verify(&token, now).context("the token would not be accepted")?;
    output.words(&token)?;
    output.object(&json!({
        "token": token,
        "id": claims.id.to_string(),
        "tenant": receiver.tenant.as_str(),
        "user": receiver.user.as_str(),
        "device": receiver.device.as_str(),
        "expires_at_ms": claims.expires_at.as_millis(),
    }))?;
    Ok(ExitCode::SUCCESS)
}

fn tenant(text: &str) -> Result<TenantId, String> {
    let tenant = TenantId::new(text).map_err(|error| error.to_string())?;
    if tenant.is_reserved() {
        Err("names that begin with an underscore are the gateway's own".to_owned())
    } else {
        Ok(tenant)
    }
}

fn life(text: &str) -> Result<Duration, String> {
    let life = span(text)?;
    if (LIFE_MIN..=TOKEN_LIFE_MAX).contains(&life) { Ok(life) } else { Err("expected 2s to 30days".to_owned()) }
}

/// Expiry is rounded down to a second: less might have expired when it is made.
const LIFE_MIN: Duration = Duration::from_secs(2);
