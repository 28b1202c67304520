//! Runs the commands of a page with bash, as a reader would in the folder of a gateway, some of them in the background.

use std::collections::HashMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::support::receiver::Receiver;
use super::support::{Gateway, soon};

/// A reader's terminals.
pub(crate) struct Shell {
    folder: TempDir,
    variables: Vec<(&'static str, String)>,
    background: HashMap<String, Background>,
    /// What stands in for the reader's own server.
    receiver: Receiver,
}

/// A command that goes on. Killed when dropped.
struct Background {
    _child: Child,
    out: Lines,
    /// Lines that the page has shown.
    shown: usize,
}

/// What was printed so far.
#[derive(Clone)]
struct Lines {
    lines: Arc<Mutex<Vec<String>>>,
    grown: watch::Receiver<usize>,
}

impl Lines {
    fn of(stream: impl AsyncRead + Send + Unpin + 'static) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (sender, grown) = watch::channel(0);
        let kept = Arc::clone(&lines);
        tokio::spawn(async move {
            let mut stream = BufReader::new(stream).lines();
            while let Ok(Some(line)) = stream.next_line().await {
                kept.lock().expect("no panic").push(line);
                sender.send_modify(|count| *count += 1);
            }
        });
        Self { lines, grown }
    }

    async fn until(&mut self, mut reached: impl FnMut(&[String]) -> bool) {
        loop {
            self.grown.borrow_and_update();
            if reached(&self.lines.lock().expect("no panic")) {
                return;
            }
            if self.grown.changed().await.is_err() {
                panic!("it ended; it had printed {:#?}", self.lines.lock().expect("no panic"));
            }
        }
    }
}

impl Shell {
    /// In a folder that has the gateway's data, with the variables that the pages name.
    pub(crate) async fn new(gateway: &Gateway) -> Self {
        let receiver = Receiver::start().await;
        // As the bridge of the page answers; other webhooks take any 2xx.
        receiver.always(Some((200, Vec::new(), br#"{"outcome": "mailed"}"#.to_vec())));
        let folder = TempDir::new().expect("a temporary folder");
        std::os::unix::fs::symlink(gateway.data(), folder.path().join("data")).expect("a link");
        let binaries = Path::new(env!("CARGO_BIN_EXE_pushline")).parent().expect("a folder").display().to_string();
        let path = format!("{binaries}:{}", std::env::var("PATH").unwrap_or_default());
        let url = format!("http://{}", gateway.backend);
        let variables = vec![
            ("PATH", path),
            ("KEY", gateway.key.clone()),
            ("PUSHLINE_KEY", gateway.key.clone()),
            ("GATEWAY", url.clone()),
            ("PUSHLINE_BACKEND", url),
            ("PUSHLINE_GATEWAY", gateway.devices.to_string()),
        ];
        Self { folder, variables, background: HashMap::new(), receiver }
    }

    fn command(&self, text: &str) -> Command {
        let text = text.replace(SERVER, &self.receiver.address.to_string());
        let mut command = Command::new("bash");
        command.args(["-c", &format!("set -eo pipefail\n{text}")]);
        command.current_dir(self.folder.path()).env_clear().stdin(Stdio::null()).kill_on_drop(true);
        command.envs(self.variables.iter().map(|(name, value)| (*name, value.as_str())));
        command
    }

    /// Runs a command to its end; whether it succeeded, and all that it printed.
    pub(crate) async fn run(&self, text: &str) -> (bool, String) {
        let merged = format!("exec 2>&1\n{text}");
        let output = soon(text, self.command(&merged).output()).await.expect("bash runs");
        let printed = String::from_utf8(output.stdout).expect("text").replace('\r', "");
        (output.status.success(), printed.replace(&self.receiver.address.to_string(), SERVER))
    }

    /// Begins a command, and waits until it is at work: until it says so, where it does.
    pub(crate) async fn begin(&mut self, name: &str, text: &str) {
        // The command itself, not a shell that outlives it.
        let mut command = self.command(&format!("exec {}", text.trim()));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("bash runs");
        let out = Lines::of(child.stdout.take().expect("a pipe"));
        let mut notes = Lines::of(child.stderr.take().expect("a pipe"));
        let ready = match text {
            text if text.contains("listen") && text.contains("--topic") => Some("follows"),
            text if text.contains("listen") => Some("connected:"),
            text if text.contains("--follow") => Some("following;"),
            _ => None,
        };
        if let Some(ready) = ready {
            soon(text, notes.until(|lines| lines.iter().any(|line| line.contains(ready)))).await;
        }
        self.background.insert(name.to_owned(), Background { _child: child, out, shown: 0 });
    }

    /// What a background command printed since it was shown last, once it is as it should be; or all that comes within a
    /// moment when it is to be `written`.
    pub(crate) async fn printed(
        &mut self,
        name: &str,
        written: bool,
        mut check: impl FnMut(&str) -> Result<(), String>,
    ) -> String {
        let background = self.background.get_mut(name).unwrap_or_else(|| panic!("nothing runs as {name}"));
        let mut fault = String::new();
        let shown = background.shown;
        if written {
            tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
        } else {
            let right = background.out.until(|lines| {
                fault = check(&text_of(&lines[shown..])).err().unwrap_or_default();
                fault.is_empty()
            });
            if tokio::time::timeout(super::support::PATIENCE, right).await.is_err() {
                panic!("{name}: {fault}");
            }
        }
        let lines = background.out.lines.lock().expect("no panic");
        background.shown = lines.len();
        text_of(&lines[shown..])
    }
}

/// The reader's own server, as the pages have it.
const SERVER: &str = "127.0.0.1:9000";

fn text_of(lines: &[String]) -> String {
    lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
}
