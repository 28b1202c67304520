//! Runs the real binary's demonstration, and checks what it says of itself: every step, the count, and that it leaves
//! nothing behind.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// `pushline demo`, with a folder of ours for its temporary ones.
fn demo(temporary: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pushline"));
    // A setting of whoever runs the tests must not reach the demonstration's gateway.
    command.arg("demo").args(arguments).env("TMPDIR", temporary).env("PUSHLINE_SESSION__WINDOW", "not a number");
    command
}

fn objects(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).expect("the output is text");
    text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

fn number(object: &Value, key: &str) -> u64 {
    object[key].as_u64().unwrap_or_else(|| panic!("{key} is no number in {object}"))
}

fn is_running(pid: u64) -> bool {
    // A process that ended and was not waited for yet is still listed, as a zombie.
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    state.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// The main job, end to end: two devices, an offline one, a SIGKILL; nothing lost, nothing twice.
#[test]
fn nothing_is_lost_and_nothing_comes_twice() {
    let temporary = tempfile::tempdir().unwrap();
    let output = demo(temporary.path(), &["--json"]).output().unwrap();
    let objects = objects(&output);
    let steps: Vec<_> = objects.iter().map(|object| object["step"].as_str().unwrap()).collect();
    assert_eq!(
        steps,
        [
            "start",
            "connect",
            "subscribe",
            "offline",
            "push",
            "receive",
            "return",
            "backlog",
            "kill",
            "restart",
            "resume",
            "repeat",
            "target",
            "ask",
            "summary"
        ],
        "{objects:#?}"
    );
    for object in &objects {
        assert_eq!(object["ok"], true, "{object}");
        assert!(object["ms"].as_f64().unwrap() > 0.0, "{object}");
    }
    let step = |name: &str| &objects[steps.iter().position(|step| *step == name).unwrap()];
    for device in ["phone", "laptop"] {
        let session = &step("connect")[device];
        assert_eq!((&session["tls"], &session["resume"]), (&"TLS 1.3".into(), &"new".into()));
        assert!(session["heartbeat_ms"]["client_interval"].as_f64().unwrap() > 0.0);
    }
    assert!(step("receive")["latency_ms"]["p50"].as_f64() <= step("receive")["latency_ms"]["max"].as_f64());
    for name in ["return", "resume"] {
        assert!(number(step(name), "missed") > 0);
        assert_eq!(number(step(name), "received"), number(step(name), "missed"), "{name}");
    }
    assert_eq!(step("return")["laptop"]["resume"], "resumed");
    assert_ne!(step("start")["pid"], step("restart")["pid"]);
    assert!(step("restart")["ready_ms"].as_f64().unwrap() < 2000.0, "a restart takes less than 2 s");
    assert_eq!(number(step("resume"), "redelivered"), number(step("backlog"), "unacked"));

    let target = step("target");
    assert_eq!((&target["audience"], &target["taken_by"]), (&1.into(), &"phone".into()), "{target}");
    let told: Vec<_> = target["receipts"].as_array().unwrap().iter().map(|what| what.as_str().unwrap()).collect();
    for (what, count) in [("accepted", 1), ("acked", 1), ("taken", 1)] {
        assert_eq!(told.iter().filter(|told| **told == what).count(), count, "{what}: {target}");
    }
    assert!(target["ms"].as_f64().unwrap() < 1000.0, "it takes less than a second: {target}");

    let summary = step("summary");
    assert_eq!((number(summary, "lost"), number(summary, "duplicated")), (0, 0), "{summary}");
    assert_eq!(number(summary, "delivered"), number(summary, "owed"));
    assert_eq!(number(summary, "acked"), number(summary, "owed"));
    assert_eq!(number(summary, "redelivered"), number(step("resume"), "redelivered"));
    assert_eq!(number(summary, "pushed"), number(step("ask"), "messages"));
    assert!(output.status.success());
    for step in [step("start"), step("restart")] {
        assert!(!is_running(number(step, "pid")), "a gateway was left behind");
    }
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0, "the temporary folder was left behind");
}

#[test]
fn people_get_words_and_the_folder_they_named() {
    let temporary = tempfile::tempdir().unwrap();
    let data = temporary.path().join("kept");
    let output = demo(temporary.path(), &["--data", data.to_str().unwrap()]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("Nothing lost, nothing twice.") && !text.contains('\u{1b}'), "{text}");
    assert!(data.join("gateway.log").is_file(), "the gateway's log is kept with the data");

    let output = demo(temporary.path(), &["--data", data.to_str().unwrap()]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("is not empty"));
}

/// Starts a demonstration and reads on until its gateway runs; gives the gateway's pid.
fn started(temporary: &Path) -> (Child, BufReader<std::process::ChildStdout>, u64) {
    let mut child = demo(temporary, &["--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary was built");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut line = String::new();
    lines.read_line(&mut line).expect("the first step is told");
    let step: Value = serde_json::from_str(&line).expect("each line is JSON");
    let pid = number(&step, "pid");
    (child, lines, pid)
}

#[test]
fn an_interrupted_demonstration_leaves_nothing_behind() {
    for name in ["-TERM", "-INT", "-HUP"] {
        let temporary = tempfile::tempdir().unwrap();
        let (mut child, _lines, gateway) = started(temporary.path());
        let killed = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(1), "{name}");
        assert!(!is_running(gateway), "{name}: a gateway was left behind");
        assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0, "{name}: the folder was left behind");
    }
}

/// A step that fails is told, with the gateway's own words, and the exit code says so.
#[test]
fn a_gateway_that_dies_fails_the_demonstration() {
    let temporary = tempfile::tempdir().unwrap();
    let (mut child, lines, gateway) = started(temporary.path());
    assert!(Command::new("kill").args(["-KILL", &gateway.to_string()]).status().unwrap().success());
    let objects: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(&line.unwrap()).expect("each line is JSON")).collect();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{objects:#?}");
    let [.., failed, summary] = &objects[..] else { panic!("{objects:#?}") };
    assert_eq!((&failed["ok"], &summary["ok"]), (&false.into(), &false.into()));
    assert!(failed["error"].as_str().unwrap().contains("the gateway died"), "{failed}");
    assert!(failed["gateway_log"].is_array());
    assert_eq!(summary["step"], "summary");
}
