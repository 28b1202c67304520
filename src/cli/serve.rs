//! `pushline serve`: runs the gateway until a signal, and says where it can be reached.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::process::ExitCode;

use anyhow::Context;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::cli::options::Source;
use crate::cli::style::{GOOD, LITERAL, Output};
use crate::config::{self, Config, Override};
use crate::model::clock::Clock;
use crate::server::Server;

/// Run the gateway.
///
/// Without any flag it listens on loopback, keeps its data in data/ and makes a throw-away certificate there. SIGTERM
/// drains it.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pushline serve
  pushline serve --config /etc/pushline/pushline.toml
  pushline serve --listen 127.0.0.1:0 --backend-listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --json
      (free ports; the first line tells them)")]
pub struct Arguments {
    /// Address for devices; port 0 picks a free one [default: 127.0.0.1:7443].
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Address for backends; port 0 picks a free one [default: 127.0.0.1:7080].
    #[arg(long, value_name = "ADDRESS")]
    pub backend_listen: Option<SocketAddr>,
    /// Address for operators; port 0 picks a free one [default: 127.0.0.1:7090].
    #[arg(long, value_name = "ADDRESS")]
    pub admin_listen: Option<SocketAddr>,
    /// Where the other options come from.
    #[command(flatten)]
    pub source: Source,
}

impl Arguments {
    /// The flags of this command as options, for [`Source::load`].
    #[must_use]
    pub fn overrides(&self) -> Vec<Override> {
        let given = [
            ("listen.devices", self.listen, "--listen"),
            ("listen.backend", self.backend_listen, "--backend-listen"),
            ("listen.admin", self.admin_listen, "--admin-listen"),
        ];
        given
            .into_iter()
            .filter_map(|(key, address, flag)| {
                Some(Override { key: key.to_owned(), value: address?.to_string(), flag })
            })
            .collect()
    }
}

/// Runs the gateway until SIGTERM or Ctrl-C, then drains it.
pub(super) fn run(arguments: &Arguments, output: Output) -> anyhow::Result<ExitCode> {
    let settings = arguments.source.load(arguments.overrides())?;
    log(&settings.config().log)?;
    let workers = workers(settings.config().runtime.workers);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build()?;
    runtime.block_on(serve(settings.config(), output))?;
    Ok(ExitCode::SUCCESS)
}

/// Threads for what is not a device connection.
fn workers(wanted: usize) -> usize {
    let half = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get).div_ceil(2);
    if wanted == 0 { half().max(2) } else { wanted }
}

async fn serve(config: &Config, output: Output) -> anyhow::Result<()> {
    // Listened for before anything starts: a signal that comes early must not kill half a start.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let server = Server::start(config, Clock::new()).await.context("the gateway did not start")?;
    announce(&server, output)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("draining");
    tokio::select! {
        stopped = server.stop() => stopped.context("the store could not be brought to disk")?,
        _ = interrupt.recv() => anyhow::bail!("interrupted a second time: ended without draining"),
    }
    tracing::info!("stopped");
    Ok(())
}

/// The first line: what a script or a person needs to go on.
fn announce(server: &Server, output: Output) -> anyhow::Result<()> {
    let scheme = if server.backend_is_tls() { "https" } else { "http" };
    let backend = format!("{scheme}://{}", server.backend());
    let admin = format!("{}://{}", if server.admin_is_tls() { "https" } else { "http" }, server.admin());
    output.object(&json!({
        "devices": server.devices().to_string(),
        "backend": server.backend().to_string(),
        "backend_url": backend,
        "admin": server.admin().to_string(),
        "admin_url": admin,
        "admin_key_file": server.admin_key_file(),
        "pid": std::process::id(),
        "tenant": server.own_key().tenant().as_str(),
        "api_key": server.own_key().secret(),
        "ca": server.development_ca(),
    }))?;
    output.words(&format!("{GOOD}ready{GOOD:#}"))?;
    output.words(&format!("  devices   {LITERAL}{}{LITERAL:#}  (TLS, HTTP/2)", server.devices()))?;
    output
        .words(&format!("  backends  {LITERAL}{backend}{LITERAL:#}  (gRPC, HTTP/JSON, /healthz /readyz /metrics)"))?;
    let file = server.admin_key_file().display();
    output.words(&format!("  operators {LITERAL}{admin}{LITERAL:#}  (gRPC, HTTP/JSON; admin key in {file})"))?;
    // A person wants to copy the key; a journal that keeps what a service prints must not have it.
    let key = if std::io::stdout().is_terminal() {
        server.own_key().secret().to_owned()
    } else {
        format!("in {}", server.own_key_file().display())
    };
    output.words(&format!("  API key   {LITERAL}{key}{LITERAL:#}"))?;
    if let Some(ca) = server.development_ca() {
        output.words(&format!("  CA        {LITERAL}{}{LITERAL:#}  (throw-away, for development)", ca.display()))?;
    }
    Ok(())
}

/// Sends the log to standard error, so that standard output stays for scripts.
fn log(options: &config::Log) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&options.filter).context("log.filter")?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match options.format {
        config::Format::Json => lines.json().init(),
        config::Format::Text => lines.with_ansi(std::io::stderr().is_terminal()).init(),
    }
    Ok(())
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
        let given = ["x", "--listen", "[::1]:0", "--backend-listen", "127.0.0.1:9", "--admin-listen", "127.0.0.1:6"];
        let serve = Only::try_parse_from(given.into_iter().chain(["--set", "listen.backend=127.0.0.1:8"])).unwrap();
        let serve = serve.serve;
        let settings = serve.source.load(serve.overrides()).unwrap();
        assert_eq!(settings.config().listen.devices, "[::1]:0".parse().unwrap());
        assert_eq!(settings.config().listen.backend, "127.0.0.1:9".parse().unwrap());
        assert_eq!(settings.config().listen.admin, "127.0.0.1:6".parse().unwrap());
    }
}
