//! A terminal in which commands are typed, and the HTTP/JSON twin beside it.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::{Gateway, soon};

/// A terminal beside a gateway.
pub(crate) struct Terminal {
    folder: TempDir,
    environment: Vec<(&'static str, String)>,
    address: SocketAddr,
    key: String,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Terminal {
    pub(crate) fn new(gateway: &Gateway) -> Self {
        let mut terminal = Self::of(&gateway.key, &format!("http://{}", gateway.backend), gateway.backend);
        terminal.environment.push(("PUSHLINE_GATEWAY", gateway.devices.to_string()));
        terminal.environment.push(("PUSHLINE_ADMIN", format!("http://{}", gateway.admin)));
        terminal.environment.push(("PUSHLINE_ADMIN_KEY", gateway.admin_key()));
        std::fs::write(terminal.folder().join("ca.pem"), &gateway.ca).expect("a file");
        terminal
    }

    /// Whose commands reach the gateway at a URL of their own.
    pub(crate) fn of(key: &str, url: &str, address: SocketAddr) -> Self {
        let environment = vec![("PUSHLINE_KEY", key.to_owned()), ("PUSHLINE_BACKEND", url.to_owned())];
        let folder = TempDir::new().expect("a temporary folder");
        Self { folder, environment, address, key: key.to_owned() }
    }

    /// Where commands run.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A command that is not run yet.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pushline"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PUSHLINE_")) {
            command.env_remove(name);
        }
        command.env_remove("CLICOLOR_FORCE").current_dir(self.folder.path()).args(arguments);
        command.envs(self.environment.iter().map(|(name, value)| (*name, value.as_str())));
        command
    }

    /// Runs a command to its end; `input` is what is typed into it.
    pub(crate) fn run_with(&self, arguments: &[&str], input: &str) -> Ran {
        let mut command = self.command(arguments);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary was built");
        let mut stdin = child.stdin.take().expect("a pipe");
        let input = input.to_owned();
        // A command that does not read it ends before it is written.
        let typing = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
        let output = child.wait_with_output().expect("it ends");
        typing.join().expect("no panic");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        Ran { code: output.status.code().expect("a code"), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, "")
    }

    /// What a command that succeeds says to people.
    pub(crate) fn says(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, 0, "{arguments:?}: {ran:?}");
        ran.out
    }

    /// What a command that succeeds says to scripts: the objects, one a line.
    pub(crate) fn objects(&self, arguments: &[&str]) -> Vec<Value> {
        let all = [&["--json"], arguments].concat();
        let out = self.says(&all);
        out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}"))).collect()
    }

    /// The one object.
    pub(crate) fn object(&self, arguments: &[&str]) -> Value {
        let mut objects = self.objects(arguments);
        assert_eq!(objects.len(), 1, "{arguments:?}: {objects:?}");
        objects.remove(0)
    }

    /// What a command that fails says to people.
    pub(crate) fn fails(&self, arguments: &[&str], code: i32) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, code, "{arguments:?}: {ran:?}");
        ran.err
    }

    /// The code of a refusal by the gateway, as scripts see it.
    pub(crate) fn refused(&self, arguments: &[&str]) -> String {
        let all = [&["--json"], arguments].concat();
        let ran = self.run(&all);
        assert_eq!(ran.code, 1, "{arguments:?}: {ran:?}");
        let object: Value = serde_json::from_str(&ran.err).unwrap_or_else(|why| panic!("{why}: {ran:?}"));
        object["code"].as_str().unwrap_or_else(|| panic!("{object}")).to_owned()
    }

    /// The same question to the HTTP/JSON twin.
    pub(crate) async fn twin(&self, path: &str) -> Value {
        let mut socket = TcpStream::connect(self.address).await.expect("the backend listener");
        let key = &self.key;
        let request =
            format!("GET {path} HTTP/1.0\r\nhost: gateway\r\nauthorization: Bearer {key}\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.expect("a request");
        let mut answer = String::new();
        soon("an answer", socket.read_to_string(&mut answer)).await.expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.0 200") || head.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        serde_json::from_str(body).unwrap_or_else(|why| panic!("{why}: {body}"))
    }
}
