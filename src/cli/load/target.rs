//! Which gateway the crowd drives, and with which credentials, as it is typed.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail, ensure};

use crate::auth::Authority;
use crate::cli::options::Secret;
use crate::load::plan::{Gateway, Tokens};

/// The gateway.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Target {
    /// Where the gateway takes devices.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7443")]
    devices: String,
    /// Where it takes backends.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7080")]
    backend: String,
    /// Data folder of the gateway, for its keys and its development certificate [default: data].
    #[arg(long, value_name = "DIR", conflicts_with = "tokens")]
    data: Option<PathBuf>,
    /// Instead: a file with a token a line, or a line of `pushline token --json`, for each device.
    #[arg(long, value_name = "FILE", requires = "key")]
    tokens: Option<PathBuf>,
    /// API key of the tenant [default: the one in the data folder].
    #[arg(long, env = "PUSHLINE_KEY", hide_env_values = true, value_parser = clap::value_parser!(Secret))]
    key: Option<Secret>,
    /// PEM file with the certificate to trust [default: certs/ca.pem in the data folder if it is there, else the
    /// system's].
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Process of the gateway, for its CPU and memory [default: whoever listens there, if it is on this machine].
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
}

impl Target {
    /// Reads the files and resolves the names.
    pub(super) fn gateway(&self) -> anyhow::Result<Gateway> {
        let data = self.data.clone().unwrap_or_else(|| PathBuf::from("data"));
        let folder = data.join("auth");
        let (tokens, key) = match &self.tokens {
            Some(file) => (Tokens::File(file.clone()), None),
            None => {
                // Opening makes keys where there are none, and no gateway would know them.
                ensure!(
                    folder.is_dir(),
                    "{} is not the data folder of a gateway; name it with --data, or give --tokens and --key",
                    data.display()
                );
                let authority = Authority::open(&folder).context("the gateway's keys cannot be read")?;
                (Tokens::Signed(folder), Some(authority.own_key().secret().to_owned()))
            }
        };
        let key = self.key.as_ref().map(|key| key.reveal().to_owned()).or(key);
        let (backend, backend_tls) = authority_of(&self.backend)?;
        Ok(Gateway {
            devices: (resolve(&self.devices, "--devices")?, self.devices.clone()),
            backend: (resolve(&backend, "--backend")?, backend),
            backend_tls,
            ca: self.ca(&data)?,
            key: key.context("no API key; give --key")?,
            tokens,
            pid: self.server_pid,
        })
    }

    fn ca(&self, data: &Path) -> anyhow::Result<Option<String>> {
        let made = data.join("certs").join("ca.pem");
        let path = match &self.ca {
            Some(path) => path,
            None if self.tokens.is_none() && made.is_file() => &made,
            None => return Ok(None),
        };
        let pem = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Some(pem))
    }
}

/// Host and port of a URL, and whether it is TLS.
fn authority_of(url: &str) -> anyhow::Result<(String, bool)> {
    let (rest, is_tls) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
        (Some(rest), _) => (rest, false),
        (_, Some(rest)) => (rest, true),
        _ => bail!("--backend: expected a URL such as http://127.0.0.1:7080"),
    };
    let authority = rest.trim_end_matches('/');
    ensure!(!authority.contains('/'), "--backend: expected a URL without a path");
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    Ok(match (has_port, is_tls) {
        (true, _) => (authority.to_owned(), is_tls),
        (false, true) => (format!("{authority}:443"), true),
        (false, false) => (format!("{authority}:80"), false),
    })
}

fn resolve(address: &str, flag: &str) -> anyhow::Result<SocketAddr> {
    let found = address.to_socket_addrs().map_err(|why| {
        anyhow!("{flag}: `{address}` cannot be resolved ({why}); expected HOST:PORT such as 127.0.0.1:7443")
    })?;
    // Gateways listen on IPv4 unless told otherwise.
    let mut found: Vec<_> = found.collect();
    found.sort_by_key(SocketAddr::is_ipv6);
    found.first().copied().with_context(|| format!("{flag}: `{address}` has no address"))
}

#[cfg(test)]
mod tests {
    use super::{authority_of, resolve};

    #[test]
    fn urls_name_host_port_and_tls() {
        for (url, authority, is_tls) in [
            ("http://127.0.0.1:7080", "127.0.0.1:7080", false),
            ("https://push.example.org/", "push.example.org:443", true),
            ("http://[::1]:80", "[::1]:80", false),
            ("http://host", "host:80", false),
        ] {
            assert_eq!(authority_of(url).unwrap(), (authority.to_owned(), is_tls), "{url}");
        }
        for url in ["127.0.0.1:7080", "ftp://host", "http://host/path"] {
            assert!(authority_of(url).is_err(), "{url}");
        }
    }

    #[test]
    fn addresses_need_a_port() {
        assert_eq!(resolve("127.0.0.1:1", "--devices").unwrap(), ([127, 0, 0, 1], 1).into());
        assert!(
            resolve("127.0.0.1", "--devices").unwrap_err().to_string().starts_with("--devices: `127.0.0.1` cannot")
        );
    }
}
