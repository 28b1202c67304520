//! Runs the built binary as people and scripts do: exit codes, what goes to which stream, colours. The commands' own work is
//! tested where it is done.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// `pushline` in a folder of its own, with nothing of ours in the environment.
fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pushline"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("PUSHLINE_") || text.starts_with("CLICOLOR") || text == "NO_COLOR" {
            command.env_remove(name);
        }
    }
    command.current_dir(folder).args(arguments);
    command
}

fn pushline(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    command(folder, arguments).envs(environment.iter().copied()).output().expect("the binary was built")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("the output is text")
}

/// The lines of standard output, each a JSON object.
fn objects(output: &Output) -> Vec<Value> {
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

#[test]
fn a_token_is_all_of_the_output_and_holds_for_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let first = pushline(folder.path(), &["token", "--user", "ada", "--device", "phone"], &[]);
    assert!(first.status.success());
    assert_eq!(text(&first.stdout).trim().split('.').count(), 3);
    assert!(text(&first.stderr).contains("made new keys in data/auth"));
    let arguments = ["--json", "token", "--user", "ada", "--device", "phone", "--tenant", "shop", "--ttl", "1h"];
    let second = pushline(folder.path(), &arguments, &[]);
    assert_eq!(text(&second.stderr), "");
    let object = &objects(&second)[0];
    assert_eq!(
        (&object["tenant"], &object["user"], &object["device"]),
        (&"shop".into(), &"ada".into(), &"phone".into())
    );

    let authority = pushline::auth::Authority::open(&folder.path().join("data/auth")).unwrap();
    let now = pushline::model::clock::Clock::new().now().wall;
    for token in [text(&first.stdout).trim(), object["token"].as_str().unwrap()] {
        assert_eq!(authority.verify(token, now).unwrap().receiver.device.as_str(), "phone");
    }
}

#[test]
fn certificates_are_made_once_and_can_be_served() {
    let folder = tempfile::tempdir().unwrap();
    let made = objects(&pushline(folder.path(), &["certs", "--json", "--name", "push.example.org"], &[]));
    let again = objects(&pushline(folder.path(), &["certs", "--json"], &[]));
    assert_eq!((&made[0]["new"], &again[0]["new"]), (&true.into(), &false.into()));
    let path = |key: &str| folder.path().join(made[0][key].as_str().unwrap());
    let files = pushline::tls::Files { certificate: path("certificate"), key: path("key") };
    assert!(pushline::tls::Certificate::load(files).is_ok());
    assert!(pushline::tls::Connector::new(Some(&std::fs::read(path("ca")).unwrap()), &[]).is_ok());
}

#[test]
fn the_printed_options_are_a_file_that_checks() {
    let folder = tempfile::tempdir().unwrap();
    let printed = pushline(folder.path(), &["config"], &[("PUSHLINE_SESSION__WINDOW", "7")]);
    assert!(printed.status.success());
    std::fs::write(folder.path().join("pushline.toml"), &printed.stdout).unwrap();
    let checked = pushline(folder.path(), &["config", "check", "pushline.toml"], &[]);
    assert!(checked.status.success(), "{}", text(&checked.stdout));
    let options = objects(&pushline(folder.path(), &["config", "--config", "pushline.toml", "--json"], &[]));
    let window = options.iter().find(|option| option["key"] == "session.window").unwrap();
    assert_eq!((&window["value"], &window["default"]), (&7.into(), &64.into()));
    assert!(window["origin"].as_str().unwrap().starts_with("pushline.toml:"));
}

#[test]
fn failures_have_a_code_and_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bad.toml"), "[session]\nwindw = 1\n").unwrap();
    for (arguments, code, words) in [
        (
            &["config", "check", "bad.toml"][..],
            1,
            "bad.toml:2: unknown option `session.windw`; the nearest is `session.window`",
        ),
        (&["config", "--config", "bad.toml"], 1, "the nearest is `session.window`"),
        (&["config", "check", "none.toml"], 1, "none.toml: cannot be read"),
        (&["certs", "--name", "a b"], 1, "`a b` is neither a host name nor an IP address"),
        (&["token", "--user", "a/b", "--device", "d"], 2, "character '/' at byte 1 is not allowed"),
        (&["token", "--user", "a", "--device", "d", "--ttl", "5"], 2, "expected a time with its unit"),
        (&["tokn"], 2, "similar subcommand exists: 'token'"),
        (&[], 2, "Usage: pushline"),
    ] {
        let output = pushline(folder.path(), arguments, &[]);
        let all = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {all}");
        assert!(all.contains(words), "{arguments:?}: {all}");
    }
    let output = pushline(folder.path(), &["certs", "--dir", "bad.toml"], &[]);
    let words = text(&output.stderr);
    assert_eq!(words.matches("os error").count(), 1, "the cause is said once: {words}");
    let output = pushline(folder.path(), &["--json", "config", "check", "bad.toml"], &[]);
    assert_eq!(objects(&output)[0]["ok"], false);
    assert_eq!(output.status.code(), Some(1));
    let output = pushline(folder.path(), &["--json", "config", "--config", "bad.toml"], &[]);
    assert!(
        serde_json::from_slice::<Value>(&output.stderr).unwrap()["error"].as_str().unwrap().contains("session.window")
    );
}

#[test]
fn colours_are_for_terminals_and_those_who_ask() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, environment, colored) in [
        (&["config"][..], &[][..], false),
        (&["config"], &[("CLICOLOR_FORCE", "1")], true),
        (&["config"], &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false),
        (&["config", "--color", "always"], &[], true),
        (&["config", "--color=always"], &[("NO_COLOR", "1")], true),
        (&["config", "--color", "never"], &[("CLICOLOR_FORCE", "1")], false),
        (&["config", "--color", "always", "--json"], &[], false),
        (&["--help"], &[], false),
        (&["--help", "--color", "always"], &[], true),
    ] {
        let output = pushline(folder.path(), arguments, environment);
        assert!(output.status.success(), "{arguments:?}");
        assert_eq!(text(&output.stdout).contains('\u{1b}'), colored, "{arguments:?} {environment:?}");
    }
}

/// The log of a gateway that is started with these flags and drained.
fn log_of_serve(more: &[&str]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = command(folder.path(), &[&["serve", "--json"], more].concat());
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary was built");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut line).expect("text");
    let first: Value = serde_json::from_str(&line).expect("it says where it is");
    assert_eq!(first["pid"], child.id());
    for name in ["devices", "backend", "backend_url", "tenant", "api_key", "ca"] {
        assert!(first[name].is_string(), "{name} in {first}");
    }
    assert!(
        Command::new("kill")
            .args(["-TERM", &child.id().to_string()])
            .status()
            .expect("there is a kill command")
            .success()
    );
    let output = child.wait_with_output().expect("it is our child");
    assert!(output.status.success(), "{output:?}");
    text(&output.stderr).to_owned()
}

#[test]
fn what_is_served_off_loopback_is_warned_of() {
    let (certificate, clear) = ("THROW-AWAY certificate off loopback", "in the clear off loopback");
    for (devices, backend, more, warnings) in [
        ("127.0.0.1:0", "127.0.0.1:0", &[][..], (false, false)),
        ("0.0.0.0:0", "127.0.0.1:0", &[], (true, false)),
        ("127.0.0.1:0", "0.0.0.0:0", &[], (false, true)),
        ("127.0.0.1:0", "0.0.0.0:0", &["--set", "tls.backend=true"], (true, false)),
        ("127.0.0.1:0", "127.0.0.1:0", &["--admin-listen", "0.0.0.0:0"], (false, true)),
        ("127.0.0.1:0", "127.0.0.1:0", &["--admin-listen", "0.0.0.0:0", "--set", "tls.admin=true"], (true, false)),
    ] {
        let log = log_of_serve(&[&["--listen", devices, "--backend-listen", backend], more].concat());
        assert_eq!((log.contains(certificate), log.contains(clear)), warnings, "{devices} {backend} {more:?}: {log}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let binary = env!("CARGO_BIN_EXE_pushline");
    let output = Command::new(binary).current_dir(folder.path()).arg("config").stdout(writer).output().unwrap();
    assert!(output.status.success());
    assert_eq!(text(&output.stderr), "");
}
