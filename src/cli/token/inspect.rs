//! `pushline token inspect`: what a token says, and whether the gateway of a data folder would take it. It never shows the
//! token, and does not know what was revoked.

use std::io::Read;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::auth::{Authority, Token};
use crate::cli::moment;
use crate::cli::options::{Secret, Source};
use crate::cli::style::{ERROR, GOOD, Output};
use crate::cli::table::printable;
use crate::model::clock::{Clock, Timestamp};
use crate::model::fault::{Code, Fault};

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Arguments {
    /// The token; `-` reads it from standard input.
    #[arg(env = "PUSHLINE_TOKEN", hide_env_values = true, value_parser = clap::value_parser!(Secret))]
    token: Secret,
    #[command(flatten)]
    source: Source,
}

/// Shows the claims; fails when the token is not good.
pub(super) fn run(arguments: &Arguments, output: Output) -> anyhow::Result<ExitCode> {
    let settings = arguments.source.load(Vec::new())?;
    let folder = settings.config().store.auth_folder();
    // It would make new keys, which no token was signed with.
    ensure!(folder.exists(), "there are no keys in {}; name the gateway's data folder with --data", folder.display());
    let authority = Authority::open(&folder).context("the token was not looked at")?;
    let token = arguments.read()?;
    let now = Clock::new().now().wall;
    let (token, why) = look(&authority, token.reveal(), now);
    let mut object = json!({ "good": why.is_none() });
    if let Some(fault) = &why {
        object["error"] = fault.words.as_ref().into();
        object["code"] = fault.code.name().into();
    }
    let claims = token.as_ref().map_or_else(Vec::new, claims);
    for (name, value) in &claims {
        object[*name] = value.clone();
    }
    output.object(&object)?;
    match &why {
        None => output.words(&format!("{GOOD}good{GOOD:#}, unless it was revoked"))?,
        Some(fault) => output.words(&format!("{ERROR}not good{ERROR:#}: {}", fault.words))?,
    }
    for (name, value) in &claims {
        let words = match (name.strip_suffix("_at_ms"), value) {
            (Some(name), Value::Number(millis)) => (name, moment::second(millis.as_u64().unwrap_or_default())),
            (_, value) => (*name, value.as_str().unwrap_or_default().to_owned()),
        };
        output.words(&format!("  {:<8} {}", words.0, printable(&words.1)))?;
    }
    Ok(if why.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Arguments {
    fn read(&self) -> anyhow::Result<Secret> {
        if self.token.reveal() != "-" {
            return Ok(self.token.clone());
        }
        let mut text = String::new();
        std::io::stdin().lock().read_to_string(&mut text).context("no token can be read from standard input")?;
        Ok(Secret::from(text.as_str()))
    }
}

/// What the token says, if this gateway signed it, and why it is not good.
fn look(authority: &Authority, token: &str, now: Timestamp) -> (Option<Token>, Option<Fault>) {
    match authority.read(token, now) {
        Ok(token) => (Some(token), None),
        // It was good once.
        Err(fault) if fault.code == Code::ExpiredToken => {
            (authority.read(token, Timestamp::default()).ok(), Some(fault))
        }
        Err(fault) => (None, Some(fault)),
    }
}

fn claims(token: &Token) -> Vec<(&'static str, Value)> {
    let times = |issued_at: Timestamp, expires_at: Timestamp| {
        [("issued_at_ms", issued_at.as_millis().into()), ("expires_at_ms", expires_at.as_millis().into())]
    };
    match token {
        Token::Access(claims) => [
            ("kind", "access".into()),
            ("id", claims.id.to_string().into()),
            ("tenant", claims.receiver.tenant.as_str().into()),
            ("user", claims.receiver.user.as_str().into()),
            ("device", claims.receiver.device.as_str().into()),
        ]
        .into_iter()
        .chain(times(claims.issued_at, claims.expires_at))
        .collect(),
        Token::Share(claims) => [
            ("kind", "share".into()),
            ("share", claims.share.as_str().into()),
            ("tenant", claims.tenant.as_str().into()),
        ]
        .into_iter()
        .chain(times(claims.issued_at, claims.expires_at))
        .collect(),
    }
}
