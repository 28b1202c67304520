//! `pushline key`: the API keys of a tenant.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use crate::auth::DEFAULT_TENANT;
use crate::cli::operator::Operator;
use crate::cli::options::span;
use crate::cli::style::{DIM, GOOD, LITERAL, Output};
use crate::cli::table::{Table, counted, left};
use crate::cli::{moment, twin};
use crate::model::access::Scope;
use crate::model::id::{KeyId, TenantId};
use crate::wire::pb;

/// Make, list, rotate and remove the API keys with which backends of a tenant call.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  export PUSHLINE_ADMIN_KEY=$(cat data/auth/admin-key)
  pushline key create --note 'order service' --scope push
  pushline key create --tenant shop --scope push,read --ttl 90days
  pushline key list --tenant shop
  pushline key rotate k7f3 --tenant shop --overlap 1h
  pushline key remove k7f3 --tenant shop")]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Make a key and show its secret, or take a client certificate for one.
    Create(Create),
    /// List all keys, without their secrets.
    List(List),
    /// Give a key a new secret, and show it.
    Rotate(Rotate),
    /// Remove a key: it is refused from now on.
    Remove(Remove),
}

/// Whose keys.
#[derive(Clone, Debug, clap::Args)]
struct Of {
    #[command(flatten)]
    operator: Operator,
    /// The tenant.
    #[arg(long, value_parser = TenantId::new, default_value = DEFAULT_TENANT)]
    tenant: TenantId,
}

#[derive(Clone, Debug, clap::Args)]
struct Create {
    #[command(flatten)]
    of: Of,
    /// What it may do, with commas between: push, manage, read [default: all].
    #[arg(long = "scope", value_name = "SCOPE,...", value_delimiter = ',', value_parser = scope)]
    scopes: Vec<Scope>,
    /// How long it is good for, at least a minute [default: it does not expire].
    #[arg(long, value_name = "TIME", value_parser = span)]
    ttl: Option<Duration>,
    /// For whoever looks at the list.
    #[arg(long, default_value = "", hide_default_value = true)]
    note: String,
    /// SHA-256 of a client certificate in 64 hexadecimal digits: who presents it needs no secret.
    #[arg(long, value_name = "SHA256", default_value = "", hide_default_value = true)]
    certificate: String,
}

#[derive(Clone, Debug, clap::Args)]
struct List {
    #[command(flatten)]
    of: Of,
}

#[derive(Clone, Debug, clap::Args)]
struct Rotate {
    #[command(flatten)]
    of: Of,
    /// Its id.
    #[arg(value_parser = KeyId::new)]
    id: KeyId,
    /// How long the old secret is still good, at most 30 days; 0s for not at all [default: 1day].
    #[arg(long, value_name = "TIME", value_parser = span)]
    overlap: Option<Duration>,
}

#[derive(Clone, Debug, clap::Args)]
struct Remove {
    #[command(flatten)]
    of: Of,
    /// Its id.
    #[arg(value_parser = KeyId::new)]
    id: KeyId,
}

/// Does what was asked.
pub(super) fn run(arguments: &Arguments, output: Output) -> anyhow::Result<ExitCode> {
    match &arguments.command {
        Command::Create(create) => create.of.operator.run(output, async |admin| {
            let made = admin.create_key(create.request()).await?;
            print(&made, "made", output)
        }),
        Command::List(list) => list.run(output),
        Command::Rotate(rotate) => rotate.of.operator.run(output, async |admin| {
            let made = admin.rotate_key(&rotate.of.tenant, &rotate.id, rotate.overlap).await?;
            print(&made, "rotated", output)
        }),
        Command::Remove(remove) => remove.of.operator.run(output, async |admin| {
            let removed = admin.remove_key(&remove.of.tenant, &remove.id).await?;
            output.object(&json!({ "removed": removed }))?;
            let words = if removed {
                format!("{GOOD}removed{GOOD:#}: {} is refused from now on", remove.id)
            } else {
                format!("there was no key {}; `pushline key list` shows all", remove.id)
            };
            output.words(&words)?;
            Ok(ExitCode::SUCCESS)
        }),
    }
}

impl Create {
    fn request(&self) -> pb::CreateKeyRequest {
        pb::CreateKeyRequest {
            tenant: self.of.tenant.to_string(),
            scopes: self.scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
            // What is too short to be a second is too short all the same, and none at all is no "never".
            ttl_seconds: self.ttl.map_or(0, |ttl| ttl.as_secs().max(1)),
            note: self.note.clone(),
            certificate_sha256: self.certificate.clone(),
        }
    }
}

impl List {
    fn run(&self, output: Output) -> anyhow::Result<ExitCode> {
        self.of.operator.run(output, async |admin| {
            let columns = [left("key"), left("may"), left("made"), left("expires"), left("by"), left("note")];
            let mut table = Table::new(columns);
            let keys = admin.keys(&self.of.tenant).await?;
            for key in &keys {
                output.object(&twin::access::key(key))?;
                let time = |millis, none: &str| if millis == 0 { none.to_owned() } else { moment::second(millis) };
                let by = match (key.certificate_sha256.is_empty(), key.fixed) {
                    (false, _) => "certificate".to_owned(),
                    (true, true) => "secret, fixed".to_owned(),
                    (true, false) if key.old_secret_until_ms == 0 => "secret".to_owned(),
                    (true, false) => format!("secret, old one until {}", moment::second(key.old_secret_until_ms)),
                };
                table.row([
                    key.id.as_str().into(),
                    key.scopes.join(", ").into(),
                    time(key.created_at_ms, "").into(),
                    time(key.expires_at_ms, "never").into(),
                    by.into(),
                    key.note.as_str().into(),
                ]);
            }
            table.write(output)?;
            output.words(&format!("{DIM}{}{DIM:#}", counted(keys.len() as u64, "key")))?;
            Ok(ExitCode::SUCCESS)
        })
    }
}

fn print(made: &pb::CreateKeyResponse, done: &str, output: Output) -> anyhow::Result<ExitCode> {
    output.object(&twin::access::made_key(made))?;
    let key = made.key.clone().unwrap_or_default();
    output.words(&format!("{GOOD}{done}{GOOD:#}: {} of {} may {}", key.id, key.tenant, key.scopes.join(", ")))?;
    if key.expires_at_ms > 0 {
        output.words(&format!("  expires     {}", moment::second(key.expires_at_ms)))?;
    }
    if key.old_secret_until_ms > 0 {
        output.words(&format!("  old secret  good until {}", moment::second(key.old_secret_until_ms)))?;
    }
    if made.secret.is_empty() {
        output.words(&format!("  certificate {}", key.certificate_sha256))?;
    } else {
        output.words(&format!("  secret      {LITERAL}{}{LITERAL:#}", made.secret))?;
        output.note("the secret is shown this once; whoever has it is that backend");
    }
    Ok(ExitCode::SUCCESS)
}

fn scope(word: &str) -> Result<Scope, String> {
    Scope::parse(word.trim()).ok_or_else(|| "expected push, manage or read".to_owned())
}
