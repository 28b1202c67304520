//! `pushline load` against a real gateway, small: each scenario finds all that it pushed, a gateway that dies or lies is
//! found out, and what cannot work is said in words.

mod support;

use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use support::Process;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A gateway of its own for each test.
struct Gateway {
    process: Process,
    folder: TempDir,
}

impl Gateway {
    fn start(set: &[&str]) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        Self { process: Process::start(folder.path(), set), folder }
    }

    fn load(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pushline"));
        command.args(["load"]).args(arguments.split_whitespace()).arg("--json").env_remove("PUSHLINE_KEY");
        command.args(["--data".as_ref(), self.folder.path()]);
        if !arguments.contains("--backend") {
            command.args(["--backend", &format!("http://{}", self.process.backend)]);
        }
        if !arguments.contains("--devices") {
            command.args(["--devices", &self.process.devices.to_string()]);
        }
        command
    }

    /// Runs a scenario that must go well, and gives its report.
    fn run(&self, arguments: &str) -> Value {
        let output = self.load(arguments).output().expect("it runs");
        let report = report(&output);
        assert!(output.status.success(), "{arguments}: {report:#} {}", text(&output.stderr));
        for name in ["lost", "duplicated", "wrong"] {
            assert_eq!(report[name], 0, "{arguments}: {name} in {report:#}");
        }
        assert_eq!(report["failures"], serde_json::json!({}), "{arguments}");
        report
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn report(output: &Output) -> Value {
    let last = text(&output.stdout).lines().last().unwrap_or_default().to_owned();
    serde_json::from_str(&last).unwrap_or_else(|_| panic!("no report: {}", text(&output.stderr)))
}

fn number(report: &Value, name: &str) -> f64 {
    report[name].as_f64().unwrap_or_else(|| panic!("no {name} in {report:#}"))
}

/// The names on which scripts rely.
fn check_latency(latency: &Value, count: u64) {
    assert_eq!(latency["count"], count);
    let quantiles = ["p50", "p90", "p99", "p999", "max"].map(|name| latency[name].as_f64().expect("a quantile"));
    assert!(quantiles[0] > 0.0 && quantiles.is_sorted(), "{quantiles:?}");
}

/// P1.16: what a connection costs is a figure that anybody can ask for.
#[test]
fn connect_counts_handshakes_and_memory() {
    let gateway = Gateway::start(&[]);
    let report = gateway.run("connect --connections 60 --burst 5 --topics 3");
    assert_eq!((number(&report, "connections"), number(&report, "acked")), (60.0, 300.0));
    assert_eq!((number(&report, "pushes"), number(&report, "deliveries")), (15.0, 300.0));
    assert!(number(&report, "handshakes_per_second") > 0.0 && number(&report, "idle_bytes_per_connection").is_finite());
    assert!(number(&report, "bytes_per_connection_after_burst").is_finite());
    assert!(report["server_memory_bytes"][1].as_u64().expect("the server's memory") > 1 << 20);
    check_latency(&report["latency_ms"], 60);
}

#[test]
fn fanout_reaches_all_one_by_one_and_many_at_once() {
    let gateway = Gateway::start(&[]);
    for outstanding in [1, 8] {
        let report = gateway.run(&format!("fanout --connections 50 --pushes 40 --outstanding {outstanding}"));
        assert_eq!((number(&report, "pushes"), number(&report, "deliveries")), (40.0, 2000.0));
        assert_eq!(number(&report, "acked"), 2000.0);
        assert!(number(&report, "deliveries_per_second") > 0.0);
        assert!(number(&report, "server_cpu_us_per_delivery") >= 0.0);
        assert!(number(&report, "client_cpu_us_per_delivery") >= 0.0);
        check_latency(&report["latency_ms"], 2000);
        check_latency(&report["other_latency_ms"]["last"], 40);
        check_latency(&report["other_latency_ms"]["enqueue"], 40);
    }
}

#[test]
fn unicast_delivers_and_acks_at_a_rate_and_as_fast_as_it_goes() {
    let gateway = Gateway::start(&[]);
    for pace in ["--rate 500", "--rate max --outstanding 100"] {
        let report = gateway.run(&format!("unicast --connections 40 --pushes 400 {pace}"));
        assert_eq!((number(&report, "pushes"), number(&report, "deliveries")), (400.0, 400.0));
        assert_eq!(number(&report, "acked"), 400.0);
        check_latency(&report["latency_ms"], 400);
    }
}

#[test]
fn enqueue_needs_no_devices() {
    let gateway = Gateway::start(&[]);
    let report = gateway.run("enqueue --pushes 2000 --users 100 --producers 4 --durability relaxed");
    assert_eq!((number(&report, "pushes"), number(&report, "connections")), (2000.0, 0.0));
    assert!(number(&report, "pushes_per_second") > 0.0 && number(&report, "server_cpu_us_per_push") >= 0.0);
    check_latency(&report["latency_ms"], 2000);
}

#[test]
fn reconnect_cuts_all_and_loses_nothing() {
    let gateway = Gateway::start(&[]);
    let report = gateway.run("reconnect --connections 60 --rate 300 --spread 200ms");
    check_latency(&report["latency_ms"], 60);
    assert!(report["other_latency_ms"]["enqueue"]["p99"].as_f64().is_some_and(|p99| p99 > 0.0));
}

#[test]
fn offline_drains_what_waited() {
    let gateway = Gateway::start(&[]);
    let report = gateway.run("offline --connections 30 --messages 3000 --producers 4");
    assert_eq!((number(&report, "pushes"), number(&report, "deliveries")), (3000.0, 3000.0));
    // What all threads counted: the word that a thread's devices are back is no word that it has counted.
    assert_eq!(number(&report, "acked"), 3000.0);
    check_latency(&report["latency_ms"], 3000);
}

#[test]
fn a_mixed_day_is_verified_to_the_last_message() {
    let gateway = Gateway::start(&["session.retry_pause_first=20ms"]);
    let report = gateway.run("mixed --connections 60 --duration 4s --rate 400 --topic-rate 10");
    assert!(number(&report, "deliveries") > number(&report, "pushes"), "{report:#}");
}

/// P5.7: more devices than one process holds.
#[test]
fn the_crowd_may_be_spread_over_processes() {
    let gateway = Gateway::start(&[]);
    let report = gateway.run("fanout --connections 50 --pushes 10 --processes 2 --threads 2");
    assert_eq!((number(&report, "deliveries"), number(&report, "acked")), (500.0, 500.0));
    check_latency(&report["latency_ms"], 500);
    let report = gateway.run("unicast --connections 20 --pushes 100 --processes 3 --threads 1");
    assert_eq!(number(&report, "deliveries"), 100.0);
    let report = gateway.run("unicast --connections 2 --pushes 7 --processes 3 --threads 4");
    assert_eq!(number(&report, "deliveries"), 7.0);
}

#[test]
fn tokens_may_come_from_a_file() {
    let gateway = Gateway::start(&[]);
    let file = gateway.folder.path().join("tokens");
    let tokens: Vec<_> = (0..5).map(|number| gateway.process.token(&format!("u{number}"), "phone")).collect();
    std::fs::write(&file, tokens.join("\n")).expect("it can be written");
    let ca = gateway.folder.path().join("certs/ca.pem");
    let output = Command::new(env!("CARGO_BIN_EXE_pushline"))
        .args(["load", "unicast", "--connections", "5", "--pushes", "50", "--json", "--tokens"])
        .arg(&file)
        .args(["--key", &gateway.process.key, "--ca"])
        .arg(&ca)
        .args(["--devices", &gateway.process.devices.to_string()])
        .args(["--backend", &format!("http://{}", gateway.process.backend)])
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(report(&output)["deliveries"], 50);
}

#[test]
fn what_cannot_work_is_said_in_words() {
    let gateway = Gateway::start(&[]);
    let strange = TempDir::new().expect("a temporary folder");
    let other = Process::start(strange.path(), &[]);
    let foreign_ca = strange.path().join("certs/ca.pem").display().to_string();
    for (arguments, words) in [
        ("fanout --connections 5 --devices 127.0.0.1:1".to_owned(), "no gateway at 127.0.0.1:1"),
        (format!("fanout --connections 5 --ca {foreign_ca}"), "certificate is not trusted"),
        ("fanout --connections 5 --key another-key-of-more-than-32-characters".to_owned(), "invalid_credentials"),
        ("connect --connections 900000".to_owned(), "--processes"),
        ("fanout --payload 39".to_owned(), "40 to 1048576"),
        ("unicast --rate fast".to_owned(), "pushes a second"),
        (format!("fanout --connections 5 --devices {}", other.devices), "name the one to trust with --ca"),
        (format!("fanout --connections 5 --devices {}", gateway.process.backend), "is it the port for backends?"),
        (format!("fanout --connections 5 --backend http://{}", other.devices), "is --backend the port for devices"),
        (format!("fanout --connections 5 --backend https://{}", gateway.process.backend), "instead of https://"),
        (format!("fanout --connections 5 --server-pid {}", u32::MAX), "no process 4294967295"),
        ("fanout --devices nohost".to_owned(), "expected HOST:PORT"),
        ("fanout --duration 0s".to_owned(), "more than no time"),
        ("unicast --rate -5".to_owned(), "expected pushes a second"),
    ] {
        let output = gateway.load(&arguments).output().expect("it runs");
        let said = text(&output.stderr);
        assert!(!output.status.success() && said.contains(words), "{arguments}: {said}");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_pushline")).args(["load", "fanout", "--data", "nowhere"]).output();
    assert!(text(&output.expect("it runs").stderr).contains("nowhere is not the data folder"));
}

#[test]
fn a_gateway_that_dies_is_a_failure_in_words() {
    let gateway = Gateway::start(&[]);
    let mut command = gateway.load("unicast --connections 20 --rate 200 --duration 60s");
    let child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn();
    let child = child.expect("it runs");
    // It is at work when the gateway has delivered something.
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        while support::metric(gateway.process.backend, "pushline_deliveries_total{attempt=\"first\"}").await < 50.0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    gateway.process.kill();
    let output = child.wait_with_output().expect("it ends");
    let (report, said) = (report(&output), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{report:#}");
    assert!(number(&report["failures"], "connection_lost") >= 20.0, "{report:#}");
    assert!(said.contains("ended") || said.contains("closed") || said.contains("reset"), "{said}");
}

#[test]
fn who_is_sent_away_has_lost_nothing() {
    let gateway = Gateway::start(&["drain.spread=500ms"]);
    let mut command = gateway.load("fanout --connections 20 --duration 60s");
    let child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn();
    let child = child.expect("it runs");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        while support::metric(gateway.process.backend, "pushline_deliveries_total{attempt=\"first\"}").await < 500.0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let pid = gateway.process.pid().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("a signal").success());
    let output = child.wait_with_output().expect("it ends");
    let report = report(&output);
    assert_eq!(output.status.code(), Some(1), "{report:#}");
    assert_eq!((number(&report, "lost"), number(&report, "wrong")), (0.0, 0.0), "{report:#}");
    assert_eq!(number(&report["failures"], "drain"), 20.0, "{report:#}");
}

/// Passes bytes on until so many came from the gateway, then nothing more, and keeps the socket open.
async fn lie(gateway: std::net::SocketAddr, listener: TcpListener, bytes: usize) {
    loop {
        let Ok((mut near, _)) = listener.accept().await else { return };
        tokio::spawn(async move {
            let mut far = TcpStream::connect(gateway).await.expect("the gateway");
            let ((mut near_in, mut near_out), (mut far_in, mut far_out)) = (near.split(), far.split());
            let forth = tokio::io::copy(&mut near_in, &mut far_out);
            let back = async {
                let (mut buffer, mut left) = ([0; 4096], bytes);
                while let Ok(read @ 1..) = far_in.read(&mut buffer).await {
                    let passed = read.min(left);
                    left -= passed;
                    if near_out.write_all(&buffer[..passed]).await.is_err() {
                        return;
                    }
                }
            };
            tokio::join!(forth, back).0.expect("the device's side");
        });
    }
}

#[test]
fn what_is_swallowed_on_the_way_is_found_lost() {
    let gateway = Gateway::start(&[]);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
    let address = listener.local_addr().expect("its address");
    // Enough for the handshake and some pushes.
    let liar = runtime.spawn(lie(gateway.process.devices, listener, 12_000));
    let arguments = format!("unicast --connections 1 --rate 100 --pushes 200 --devices {address} --patience 2s");
    let output = gateway.load(&arguments).output().expect("it runs");
    let report = report(&output);
    assert_eq!(output.status.code(), Some(1), "{report:#}");
    assert!(number(&report, "lost") > 0.0, "{report:#}");
    assert_eq!((number(&report, "wrong"), number(&report, "duplicated")), (0.0, 0.0), "{report:#}");
    liar.abort();
}
