//! `pushline login`: gets a device's token from the gateway, as an app does.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::auth::DEFAULT_TENANT;
use crate::auth::device_key::KeyPair;
use crate::cli::access::read_roots;
use crate::cli::listen;
use crate::cli::options::Secret;
use crate::cli::style::Output;
use crate::client::{Client, Credential, Error, Login, Options, Signer};
use crate::file;
use crate::model::frame::LoggedIn;
use crate::model::id::{DeviceId, TenantId, UserId};

/// Log in as a device does, and print the token.
///
/// With a JWT of the tenant's identity provider, a credential that the tenant's business server knows, or a key that was
/// enrolled with a code of `pushline enrol`.
#[derive(Clone, Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("with").required(true).args(["jwt", "credential", "key_file"]))]
#[command(after_help = "\
Examples:
  pushline login --ca data/certs/ca.pem --device phone --jwt $(cat token.jwt)
  pushline login --gateway push.example.org:7443 --device phone --credential 'ada:secret'
  pushline login --device phone --enrol 7K3M-9QPX-2RTV-84HN --key-file phone.key
  export PUSHLINE_TOKEN=$(pushline login --key-file phone.key)")]
pub(super) struct Arguments {
    /// The gateway: host and port.
    #[arg(long, value_name = "HOST:PORT", env = "PUSHLINE_GATEWAY", default_value = "127.0.0.1:7443",
        value_parser = listen::host_and_port)]
    gateway: String,
    /// PEM file with the certificate to trust instead of the system's.
    #[arg(long, value_name = "FILE", env = "PUSHLINE_CA")]
    ca: Option<PathBuf>,
    /// The tenant.
    #[arg(long, value_parser = TenantId::new, default_value = DEFAULT_TENANT)]
    tenant: TenantId,
    /// The device; a key file names its own.
    #[arg(long, value_parser = DeviceId::new, required_unless_present = "key_file")]
    device: Option<DeviceId>,
    /// A JWT of the tenant's identity provider.
    #[arg(long, value_name = "JWT", value_parser = clap::value_parser!(Secret))]
    jwt: Option<Secret>,
    /// What the tenant's business server knows.
    #[arg(long, value_name = "TEXT", value_parser = clap::value_parser!(Secret))]
    credential: Option<Secret>,
    /// The device's enrolled key.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Enrol a new key with this code, and keep it in the key file.
    #[arg(long, value_name = "CODE", requires_all = ["key_file", "device"], value_parser = clap::value_parser!(Secret))]
    enrol: Option<Secret>,
}

/// What stands in a key file. It is a secret.
#[derive(Serialize, Deserialize)]
struct KeyFile {
    tenant: String,
    user: String,
    device: String,
    /// PKCS#8 in base64.
    key: String,
}

/// Logs in.
pub(super) fn run(arguments: &Arguments, output: Output) -> anyhow::Result<ExitCode> {
    let (login, new) = arguments.login()?;
    let mut options = Options::new(arguments.gateway.as_str(), Vec::new(), String::new());
    options.roots = arguments.ca.as_deref().map(read_roots).transpose()?;
    options.connect_timeout = listen::CONNECT_WITHIN;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let told = match runtime.block_on(Client::login(&options, &login)) {
        Ok(told) => told,
        Err(Error::Refused(refusal)) => {
            output.refusal(&format!("refused: {refusal}"), &refusal.name, refusal.errno);
            return Ok(ExitCode::FAILURE);
        }
        Err(why) => return Err(listen::advice(&why, &arguments.gateway)),
    };
    if let (Some(path), Some(document)) = (&arguments.key_file, new) {
        keep(path, &login, &told, &document)?;
        output.note(&format!("the key is in {}; whoever has the file is that device", path.display()));
    }
    output.words(&told.token)?;
    output.object(&json!({
        "token": told.token,
        "user": told.user.as_str(),
        "device": told.device.as_str(),
        "expires_at_ms": told.expires_at.as_millis(),
        "refresh_after_ms": u64::try_from(told.refresh_after.as_millis()).unwrap_or(u64::MAX),
        "nodes": told.nodes.iter().map(ToString::to_string).collect::<Vec<_>>(),
    }))?;
    Ok(ExitCode::SUCCESS)
}

impl Arguments {
    /// What to log in with, and the new key if one is to be enrolled.
    fn login(&self) -> anyhow::Result<(Login, Option<Vec<u8>>)> {
        let login = |credential| {
            let device = self.device.clone().context("name the device with --device")?;
            anyhow::Ok(Login { tenant: self.tenant.clone(), device, credential })
        };
        match (&self.key_file, &self.enrol, &self.jwt, &self.credential) {
            (Some(path), Some(code), ..) => {
                // The code is good once: whatever can fail is tried before it is used.
                ensure!(!path.exists(), "{} is there already; name another --key-file", path.display());
                file::write(path, b"", file::Access::Owner)
                    .and_then(|()| std::fs::remove_file(path))
                    .with_context(cannot_write(path))?;
                let (pair, document) = KeyPair::generate();
                let public_key = pair.public_key().to_vec();
                let code = code.reveal().to_owned();
                let credential = Credential::Enrolment { code, public_key, signer: signer(pair) };
                Ok((login(credential)?, Some(document)))
            }
            (Some(path), None, ..) => Ok((self.with_key(path)?, None)),
            (None, _, Some(jwt), _) => Ok((login(Credential::Jwt(jwt.reveal().to_owned()))?, None)),
            (None, _, None, credential) => {
                let credential = credential.as_ref().context("name a credential with --credential")?;
                Ok((login(Credential::Business(credential.reveal().as_bytes().to_vec()))?, None))
            }
        }
    }

    fn with_key(&self, path: &Path) -> anyhow::Result<Login> {
        let text = std::fs::read(path)
            .with_context(|| format!("cannot read {}; `pushline login --enrol` makes one", path.display()))?;
        let unfit = || format!("{} is no key file of `pushline login --enrol`", path.display());
        // What is wrong with it is left out: it might show a part of the secret.
        let known: KeyFile = serde_json::from_slice(&text).ok().with_context(unfit)?;
        let pair =
            STANDARD.decode(&known.key).ok().and_then(|document| KeyPair::read(&document)).with_context(unfit)?;
        let (tenant, user) = (TenantId::new(&known.tenant).ok(), UserId::new(&known.user).ok());
        let (tenant, user) = tenant.zip(user).with_context(unfit)?;
        let device = DeviceId::new(&known.device).ok().with_context(unfit)?;
        let is_other = self.device.as_ref().is_some_and(|named| *named != device);
        ensure!(!is_other, "{} is the key of the device {device}, not of the one in --device", path.display());
        let credential = Credential::Key { user, signer: signer(pair) };
        Ok(Login { tenant, device, credential })
    }
}

fn keep(path: &Path, login: &Login, told: &LoggedIn, document: &[u8]) -> anyhow::Result<()> {
    let file = KeyFile {
        tenant: login.tenant.to_string(),
        user: told.user.to_string(),
        device: told.device.to_string(),
        key: STANDARD.encode(document),
    };
    let text = format!("{}\n", serde_json::to_string(&file)?);
    file::write(path, text.as_bytes(), file::Access::Owner).with_context(cannot_write(path))
}

fn cannot_write(path: &Path) -> impl Fn() -> String {
    let path = path.to_owned();
    move || format!("cannot write the key file {}", path.display())
}

fn signer(pair: KeyPair) -> Signer {
    Arc::new(move |text| pair.sign(text))
}
