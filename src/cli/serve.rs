//! `pushline serve`: its flags.

use std::net::SocketAddr;

use crate::cli::options::Source;
use crate::config::Override;

/// Run the gateway.
///
/// Without any flag it listens on loopback, keeps its data in data/ and makes a throw-away certificate there. SIGTERM
/// drains it.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pushline serve
  pushline serve --config /etc/pushline/pushline.toml
  pushline serve --listen 127.0.0.1:0 --backend-listen 127.0.0.1:0 --json   (free ports; the first line tells them)")]
pub struct Arguments {
    /// Address for devices; port 0 picks a free one [default: 127.0.0.1:7443].
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Address for backends; port 0 picks a free one [default: 127.0.0.1:7080].
    #[arg(long, value_name = "ADDRESS")]
    pub backend_listen: Option<SocketAddr>,
    /// Where the other options come from.
    #[command(flatten)]
    pub source: Source,
}

impl Arguments {
    /// The flags of this command as options, for [`Source::load`].
    #[must_use]
    pub fn overrides(&self) -> Vec<Override> {
        let given =
            [("listen.devices", self.listen, "--listen"), ("listen.backend", self.backend_listen, "--backend-listen")];
        given
            .into_iter()
            .filter_map(|(key, address, flag)| {
                Some(Override { key: key.to_owned(), value: address?.to_string(), flag })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::Arguments;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        serve: Arguments,
    }

    #[test]
    fn flags_become_options() {
        let given =
            ["x", "--listen", "[::1]:0", "--backend-listen", "127.0.0.1:9", "--set", "listen.backend=127.0.0.1:8"];
        let serve = Only::try_parse_from(given).unwrap().serve;
        let settings = serve.source.load(serve.overrides()).unwrap();
        assert_eq!(settings.config().listen.devices, "[::1]:0".parse().unwrap());
        assert_eq!(settings.config().listen.backend, "127.0.0.1:9".parse().unwrap());
    }
}
