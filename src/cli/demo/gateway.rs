//! The gateway that the demonstration runs: a child process of its own that never outlives this one.

use std::fs::{File, OpenOptions};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use anyhow::Context;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// A gateway that runs. Dropped, it is killed.
pub(super) struct Gateway {
    ready: Ready,
    /// Orders the process's owner to kill it.
    kill: CancellationToken,
    /// How it ended, once it has.
    end: watch::Receiver<Option<ExitStatus>>,
    /// Owns the process; aborted, it kills it.
    _owner: AbortOnDropHandle<()>,
    /// Kept open: a gateway that finds its output closed would have something to complain about.
    _stdout: BufReader<ChildStdout>,
}

/// What `serve --json` says first.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Ready {
    /// Where devices connect.
    pub(super) devices: SocketAddr,
    /// Where backends connect.
    pub(super) backend: SocketAddr,
    /// The same as a URL.
    pub(super) backend_url: String,
    /// The process.
    pub(super) pid: u32,
    /// The backend's key.
    pub(super) api_key: String,
    /// The certificate to trust.
    pub(super) ca: PathBuf,
}

impl Gateway {
    /// Starts `pushline serve` on a data folder, at the addresses of an earlier one or at free ports, and waits until it
    /// says that it is ready.
    pub(super) async fn start(data: &Path, earlier: Option<&Ready>) -> anyhow::Result<Self> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (devices, backend) = earlier.map_or((any, any), |ready| (ready.devices, ready.backend));
        let log = open_log(data)?;
        let mut command = Command::new(std::env::current_exe().context("this program does not know its own file")?);
        // The demonstration shows the gateway as it is without settings, whatever the environment says.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PUSHLINE_")) {
            command.env_remove(name);
        }
        let mut child = command
            .args(["serve", "--json", "--listen", &devices.to_string(), "--backend-listen", &backend.to_string()])
            .args(["--admin-listen", &any.to_string()])
            .arg("--data")
            .arg(data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("the gateway's process could not be started")?;
        let mut stdout = BufReader::new(child.stdout.take().context("the gateway's output is not ours")?);
        let mut line = String::new();
        stdout.read_line(&mut line).await?;
        if line.is_empty() {
            let status = child.wait().await?;
            anyhow::bail!("the gateway ended before it was ready: {status}");
        }
        let ready = serde_json::from_str(&line).with_context(|| format!("the gateway said: {line}"))?;
        let kill = CancellationToken::new();
        let (ended, end) = watch::channel(None);
        let owner = AbortOnDropHandle::new(tokio::spawn(own(child, kill.clone(), ended)));
        Ok(Self { ready, kill, end, _owner: owner, _stdout: stdout })
    }

    /// How to reach it.
    pub(super) const fn ready(&self) -> &Ready {
        &self.ready
    }

    /// How it ended, once it has.
    pub(super) fn end(&self) -> watch::Receiver<Option<ExitStatus>> {
        self.end.clone()
    }

    /// Kills it with SIGKILL, as a crash or the kernel would: it cannot catch that, finish or flush anything. It is gone
    /// when this returns.
    pub(super) async fn kill(&self) -> anyhow::Result<()> {
        self.kill.cancel();
        let mut end = self.end();
        let status = end.wait_for(Option::is_some).await.context("the gateway could not be killed")?;
        anyhow::ensure!(
            status.is_some_and(|status| status.signal() == Some(SIGKILL)),
            "the gateway did not die of SIGKILL: {}",
            status.unwrap_or_default()
        );
        Ok(())
    }
}

/// Owns the process: waits for its end, or brings it about.
async fn own(mut child: Child, kill: CancellationToken, ended: watch::Sender<Option<ExitStatus>>) {
    let status = tokio::select! {
        status = child.wait() => status,
        // Waits for the end too.
        () = kill.cancelled() => match child.kill().await {
            Ok(()) => child.wait().await,
            Err(why) => Err(why),
        },
    };
    // Without a status the channel closes, which says the same.
    if let Ok(status) = status {
        ended.send_replace(Some(status));
    }
}

/// The last lines of its log, for when something fails.
pub(super) fn log_tail(data: &Path) -> Vec<String> {
    let text = std::fs::read(data.join(LOG_FILE)).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].to_vec()
}

fn open_log(data: &Path) -> anyhow::Result<File> {
    let path = data.join(LOG_FILE);
    OpenOptions::new().create(true).append(true).open(&path).with_context(|| format!("cannot write {}", path.display()))
}

/// In the data folder, so that it goes or stays with it.
const LOG_FILE: &str = "gateway.log";

/// About half a screen.
const LOG_LINES_SHOWN: usize = 15;

/// POSIX: the number of the signal that cannot be caught.
const SIGKILL: i32 = 9;
