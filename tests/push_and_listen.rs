//! Runs `push` and `listen` against a real `serve`, as people and scripts do. What the gateway does with a push is tested
//! where it is done.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// `pushline` with nothing of ours in the environment.
fn pushline(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pushline"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PUSHLINE_")) {
        command.env_remove(name);
    }
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn lines(bytes: &[u8]) -> Vec<&str> {
    std::str::from_utf8(bytes).expect("the output is text").lines().collect()
}

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|why| panic!("{line}: {why}"))
}

/// A running gateway; killed when dropped.
struct Gateway {
    child: Child,
    ready: Value,
    folder: TempDir,
}

impl Gateway {
    fn start(more: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let data = folder.path().join("data");
        let fixed = ["--json", "serve", "--listen", "127.0.0.1:0", "--backend-listen", "127.0.0.1:0", "--data"];
        let mut child =
            pushline(&fixed).arg(data).args(more).stderr(Stdio::null()).spawn().expect("the binary was built");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut line).expect("it says where it is");
        Self { child, ready: json(&line), folder }
    }

    fn told(&self, key: &str) -> &str {
        self.ready[key].as_str().unwrap_or_else(|| panic!("{key} in {}", self.ready))
    }

    fn push(&self, arguments: &[&str]) -> Command {
        let mut command = pushline(&["push"]);
        with_default(&mut command, arguments, "--backend", self.told("backend_url"));
        command.args(arguments).env("PUSHLINE_KEY", self.told("api_key"));
        command
    }

    fn listen(&self, device: &str, arguments: &[&str]) -> Command {
        let data = self.folder.path().join("data");
        let token = pushline(&["token", "--user", "ada", "--device", device, "--data"])
            .arg(data)
            .output()
            .expect("the binary was built");
        let mut command = pushline(&["listen"]);
        with_default(&mut command, arguments, "--gateway", self.told("devices"));
        with_default(&mut command, arguments, "--ca", self.told("ca"));
        command.args(arguments).env("PUSHLINE_TOKEN", lines(&token.stdout)[0]);
        command
    }

    /// The next pushes that the gateway has for a device; acked.
    fn waits_for(&self, device: &str, count: &str) -> Vec<Value> {
        let output = self.listen(device, &["--json", "--count", count]).output().expect("the binary was built");
        assert!(output.status.success(), "{output:?}");
        lines(&output.stdout).into_iter().map(json).collect()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Both fail only when it is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A listener that runs, and its lines.
struct Listener {
    child: Child,
    stdout: std::io::Lines<BufReader<ChildStdout>>,
    notes: std::io::Lines<BufReader<std::process::ChildStderr>>,
}

impl Listener {
    fn start(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the binary was built");
        let stdout = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let notes = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        Self { child, stdout, notes }
    }

    /// Reads its notes until one has the word.
    fn noted(&mut self, word: &str) -> String {
        let mut all = Vec::new();
        for note in self.notes.by_ref() {
            let note = note.expect("notes are text");
            if note.contains(word) {
                return note;
            }
            all.push(note);
        }
        panic!("no note has {word:?}: {all:#?}")
    }

    fn next(&mut self) -> String {
        self.stdout.next().expect("it prints a line").expect("lines are text")
    }

    fn end(mut self, signal: &str) -> Option<i32> {
        assert!(
            Command::new("kill")
                .args([signal, &self.child.id().to_string()])
                .status()
                .expect("there is a kill command")
                .success()
        );
        self.child.wait().expect("it is our child").code()
    }
}

/// Gives a flag its usual value, unless the arguments have another.
fn with_default(command: &mut Command, arguments: &[&str], flag: &str, value: &str) {
    if !arguments.contains(&flag) {
        command.args([flag, value]);
    }
}

/// The bytes go in by a pipe, as in `date | pushline push -`.
fn with_input(mut command: Command, input: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).spawn().expect("the binary was built");
    child.stdin.take().expect("it is piped").write_all(input).expect("it reads all");
    child.wait_with_output().expect("it is our child")
}

#[test]
fn what_is_pushed_is_listened_to_with_all_that_was_said() {
    let gateway = Gateway::start(&[]);
    let said = [
        "--user",
        "ada",
        "--json",
        "--content-type",
        "text/plain",
        "--attribute",
        "from=bob",
        "--ttl",
        "90s",
        "--urgency",
        "high",
        "--collapse-key",
        "k",
        "h\u{e9}llo",
    ];
    let output = gateway.push(&said).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let first = json(lines(&output.stdout)[0]);
    assert_eq!((&first["log"], &first["offset"], &first["duplicate"]), (&"inbox/ada".into(), &1.into(), &false.into()));
    let life = first["expires_at_ms"].as_u64().unwrap() - first["accepted_at_ms"].as_u64().unwrap();
    assert_eq!(life, 90_000);

    let binary = [0xff, 0x00, 0x1b];
    let second = with_input(gateway.push(&["--user", "ada", "--device", "phone", "--json", "-"]), &binary);
    assert!(second.status.success(), "{second:?}");

    let file = gateway.folder.path().join("payload");
    std::fs::write(&file, "from a file").unwrap();
    let third = gateway.push(&["--user", "ada", "--file", file.to_str().unwrap()]).output().unwrap();
    let words = lines(&third.stdout);
    assert!(
        words[0] == "pushed" && words[2].contains("inbox/ada, offset 3") && words[3].contains("28days"),
        "{words:?}"
    );

    let pushes = gateway.waits_for("phone", "3");
    assert_eq!(pushes[0]["id"], first["id"]);
    let expected = serde_json::json!({
        "target": { "user": "ada" }, "payload": "h\u{e9}llo", "content_type": "text/plain", "urgency": "high",
        "attributes": { "from": "bob" }, "collapse_key": "k", "attempt": 1, "seq": 1,
        "expires_at_ms": first["expires_at_ms"],
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&pushes[0][key], value, "{key}");
    }
    assert_eq!(pushes[1]["target"], serde_json::json!({ "user": "ada", "device": "phone" }));
    assert_eq!((&pushes[1]["payload_base64"], &pushes[1]["payload"]), (&"/wAb".into(), &Value::Null));
    assert_eq!(pushes[2]["payload"], "from a file");
    let others = gateway.waits_for("laptop", "2");
    assert_eq!(others[1]["payload"], "from a file", "what is for the phone alone does not reach the laptop");
}

#[test]
fn a_listener_notes_its_connection_acks_what_it_printed_and_ends_in_order() {
    let gateway = Gateway::start(&[]);
    let mut listener = Listener::start(gateway.listen("phone", &["--topic", "news", "--topic", "sport"]));
    let note = listener.noted("connected");
    assert!(note.contains("TLS 1.3") && note.contains("new device") && note.contains("0 waiting"), "{note}");
    assert!(listener.noted("follows").contains("2 topics"));
    for (topic, payload) in [("news", "one"), ("sport", "t\u{1b}wo")] {
        assert!(gateway.push(&["--topic", topic, payload]).status().unwrap().success());
    }
    assert!(listener.next().contains("topic news  one"));
    let second = listener.next();
    assert!(second.contains("topic sport  t\\u{1b}wo"), "{second}");
    assert_eq!(listener.end("-TERM"), Some(0));

    // Not acked: it comes again to the next.
    assert!(gateway.push(&["--topic", "news", "three"]).status().unwrap().success());
    let mut deaf = Listener::start(gateway.listen("phone", &["--no-ack", "--json"]));
    assert!(deaf.noted("connected").contains("resumed"));
    let third = json(&deaf.next());
    assert_eq!(third["payload"], "three");
    assert_eq!(deaf.end("-INT"), Some(0));
    let again = gateway.waits_for("phone", "1");
    assert_eq!((&again[0]["id"], again.len()), (&third["id"], 1), "the first two were acked");
}

#[test]
fn a_listener_outlives_its_gateway() {
    let mut gateway = Gateway::start(&[]);
    let mut listener = Listener::start(gateway.listen("phone", &["--json"]));
    listener.noted("connected");
    gateway.child.kill().unwrap();
    gateway.child.wait().unwrap();
    assert!(listener.noted("connecting again in").starts_with("note: "));
    let (devices, backend) = (gateway.told("devices"), gateway.told("backend"));
    let data = gateway.folder.path().join("data");
    gateway.child = pushline(&["serve", "--listen", devices, "--backend-listen", backend])
        .args(["--admin-listen", "127.0.0.1:0", "--data"])
        .arg(data)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    assert!(listener.noted("connected").contains("resumed"));
    assert!(gateway.push(&["--user", "ada", "back"]).status().unwrap().success());
    assert_eq!(json(&listener.next())["payload"], "back");
    assert_eq!(listener.end("-TERM"), Some(0));
}

#[test]
fn what_is_refused_says_why_and_what_to_do() {
    let gateway = Gateway::start(&[]);
    let check = |output: Output, words: &[&str]| {
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{error}");
        words.iter().for_each(|word| assert!(error.contains(word), "{word:?} is not in: {error}"));
        error
    };
    let large = vec![b'x'; 70_000];
    check(with_input(gateway.push(&["--user", "ada", "-"]), &large), &["payload_too_large", "65536"]);
    check(with_input(gateway.push(&["--user", "ada", "-"]), &vec![b'x'; (1 << 20) + 1]), &["1 MiB"]);
    check(gateway.push(&["--user", "ada", "--file", "none"]).output().unwrap(), &["cannot read none"]);
    let bad_key = gateway.push(&["--user", "ada", "--key", "nonsense", "--json", "x"]).output().unwrap();
    let object = json(check(bad_key, &[]).trim());
    assert_eq!((&object["code"], &object["errno"]), (&"invalid_credentials".into(), &202.into()));

    // Bound and let go: nobody listens there.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let url = format!("http://{nobody}");
    let nowhere = gateway.push(&["--backend", &url, "--user", "ada", "x"]).output().unwrap();
    check(nowhere, &["refused", "is the gateway running there?", "--backend"]);
    let nowhere = gateway.listen("phone", &["--gateway", &nobody]).output().unwrap();
    check(nowhere, &["refused", "is the gateway running at", "--gateway"]);

    let mut with_bad_token = gateway.listen("phone", &[]);
    with_bad_token.env("PUSHLINE_TOKEN", "nonsense");
    check(with_bad_token.output().unwrap(), &["invalid_credentials", "pushline token"]);
    let stranger = other_ca(gateway.folder.path());
    check(gateway.listen("phone", &["--ca", &stranger]).output().unwrap(), &["not trusted", "--ca"]);
}

#[test]
fn an_https_backend_is_checked_against_the_given_ca() {
    let gateway = Gateway::start(&["--set", "tls.backend=true"]);
    assert!(gateway.told("backend_url").starts_with("https://"));
    let pushed = gateway.push(&["--ca", gateway.told("ca"), "--user", "ada", "x"]).output().unwrap();
    assert!(pushed.status.success(), "{pushed:?}");
    let stranger = other_ca(gateway.folder.path());
    let refused = gateway.push(&["--ca", &stranger, "--user", "ada", "x"]).output().unwrap();
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(1) && error.contains("not trusted") && error.contains("--ca"), "{error}");
}

#[test]
fn the_newer_listener_of_a_device_takes_over_and_the_older_says_so() {
    let gateway = Gateway::start(&[]);
    let mut older = Listener::start(gateway.listen("phone", &[]));
    older.noted("connected");
    let mut newer = Listener::start(gateway.listen("phone", &[]));
    newer.noted("connected");
    assert!(older.noted("error").contains("taken_over"));
    assert_eq!(older.child.wait().unwrap().code(), Some(1));
    assert_eq!(newer.end("-TERM"), Some(0));
}

/// A CA that did not sign the gateway's certificate.
fn other_ca(folder: &Path) -> String {
    let made = pushline(&["certs", "--json"]).current_dir(folder).output().expect("the binary was built");
    let ca = json(lines(&made.stdout)[0])["ca"].as_str().expect("a path").to_owned();
    folder.join(ca).to_str().expect("a path of text").to_owned()
}
