//! `cancel`, `receipts`, `tag`, `trace`, `presence`, `webhook`.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use pushline::model::clock::Clock;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use super::support::receiver::Receiver;
use super::support::{Gateway, PATIENCE, Process, next, soon, text};
use super::terminal::Terminal;

/// A command that goes on. Killed when dropped.
struct Follower {
    child: Child,
    out: mpsc::Receiver<String>,
    err: mpsc::Receiver<String>,
}

impl Follower {
    /// Starts it and waits until it follows.
    fn start(terminal: &Terminal, arguments: &[&str]) -> Self {
        let mut command = terminal.command(&[&["--json"], arguments].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary was built");
        let out = lines(child.stdout.take().expect("a pipe"));
        let err = lines(child.stderr.take().expect("a pipe"));
        let mut follower = Self { child, out, err };
        follower.notes("following; position");
        follower
    }

    /// Waits until it notes this.
    fn notes(&mut self, words: &str) -> String {
        loop {
            let line = self.err.recv_timeout(PATIENCE).expect("a note in time");
            if line.contains(words) {
                return line;
            }
        }
    }

    /// The next object.
    fn next(&mut self) -> Value {
        let line = self.out.recv_timeout(PATIENCE).expect("an object in time");
        serde_json::from_str(&line).unwrap_or_else(|why| panic!("{why}: {line:?}"))
    }
}

/// The lines of a pipe as they come: reading it would wait forever.
fn lines(pipe: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (put, lines) = mpsc::sync_channel(64);
    std::thread::spawn(move || {
        let mut lines = BufReader::new(pipe).lines().map_while(Result::ok);
        lines.all(|line| put.send(line).is_ok())
    });
    lines
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks until the answer is as it should be: what is asked about may be under way.
fn until<T>(mut ask: impl FnMut() -> T, right: impl Fn(&T) -> bool) -> T
where
    T: std::fmt::Debug,
{
    let clock = Clock::new();
    let begun = clock.now().moment;
    loop {
        let answer = ask();
        if right(&answer) {
            return answer;
        }
        assert!(clock.now().moment.since(begun) < PATIENCE, "{answer:?}");
    }
}

fn whats(receipts: &[Value]) -> Vec<&str> {
    receipts.iter().map(|receipt| receipt["what"].as_str().expect("a word")).collect()
}

/// P1.16: the ack on the device's short stream becomes a receipt. P5.8: and is counted.
#[tokio::test(flavor = "multi_thread")]
async fn what_became_of_a_push_is_told_four_ways() {
    let gateway = Gateway::start().await;
    let terminal = Terminal::new(&gateway);
    let mut phone = gateway.client("ada", "phone").await;
    let mut follower = Follower::start(&terminal, &["receipts", "--follow"]);
    let pushed = terminal.object(&["push", "--user", "ada", "--tag", "spring", "hello"]);
    let id = pushed["id"].as_str().expect("an id");
    let push = next(&mut phone).await;
    assert_eq!(text(&push), "hello");
    push.ack();
    soon("the ack", phone.flush()).await.expect("confirmed");

    let told = [follower.next(), follower.next(), follower.next()];
    assert_eq!(whats(&told), ["accepted", "sent", "acked"]);
    assert!(told.iter().all(|receipt| receipt["message"] == id && receipt["tag"] == "spring"), "{told:?}");
    let of_device: Vec<_> = told[1..].iter().map(|receipt| (&receipt["user"], &receipt["device"])).collect();
    assert_eq!(of_device, [(&json!("ada"), &json!("phone")); 2]);

    // The same again, from the beginning to the end; as the twin has it.
    let kept = terminal.objects(&["receipts"]);
    assert_eq!(kept, told);
    assert_eq!(json!(kept), terminal.twin("/v1/receipts?follow=false").await["receipts"]);
    assert_eq!(
        terminal.objects(&["receipts", "--message", id, "--after", &told[0]["position"].to_string()]),
        told[1..]
    );
    assert_eq!(terminal.objects(&["receipts", "--tag", "autumn"]), [json!(null); 0]);
    let said = terminal.says(&["receipts", "--tag", "spring"]);
    let lines: Vec<_> = said.lines().collect();
    assert!(lines[0].contains("  accepted         0 sent of 1: 1 waiting  spring"), "{said}");
    assert!(lines[2].contains("  acked            ada/phone  spring"), "{said}");
    assert_eq!(lines[3], format!("that is all; go on with --after {}", told[2]["position"]));

    let tag = terminal.object(&["tag", "spring"]);
    assert_eq!(
        (&tag["messages"], &tag["total"]["acked"], &tag["total"]["audience"]),
        (&json!(1), &json!(1), &json!(1))
    );
    let said = terminal.says(&["tag", "spring", "--since", "2h"]);
    let lines: Vec<_> = said.lines().collect();
    assert!(
        lines[0].starts_with("hour (UTC)        messages  devices  acked  waiting  missed  dead  success"),
        "{said}"
    );
    let bar = "\u{2588}".repeat(16);
    assert!(lines[1].ends_with(&format!("1        1      1        0       0     0  100.0 %  {bar}")), "{said}");
    assert!(lines[2].starts_with("all                      1"), "{said}");
    assert!(terminal.says(&["tag", "autumn"]).contains("no pushes with the tag autumn"));

    let said = terminal.says(&["trace", id]);
    for words in [&format!("{id}  stored"), "inbox/ada, offset 1  tag spring", "1 sent of 1: 1 acked"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!(terminal.object(&["trace", id]), terminal.twin(&format!("/v1/messages/{id}/timeline")).await);
    assert_eq!(terminal.refused(&["trace", "019a8f00-0000-7000-8000-000000000000"]), "message_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn why_a_push_did_not_arrive_is_told() {
    let gateway = Gateway::start_with(|config| config.presence.debounce = Duration::from_millis(20)).await;
    let terminal = Terminal::new(&gateway);
    let phone = gateway.client("ada", "phone").await;
    soon("the end", phone.close()).await.expect("closed");
    let pushed = terminal.object(&["push", "--user", "ada", "are you there?"]);
    let id = pushed["id"].as_str().expect("an id");
    let said = until(|| terminal.says(&["trace", id]), |said| said.contains("offline  20"));
    let last = said.lines().last().expect("a line");
    assert!(last.starts_with("ada/phone  offline  offline  20"), "{said}");

    terminal.says(&["group", "add", "berlin", "ada"]);
    let pushed = terminal.object(&["push", "--topic", "berlin", "x"]);
    let id = pushed["id"].as_str().expect("an id");
    assert!(terminal.says(&["trace", id]).contains("name a --user to see where its devices stand"));
    let said = terminal.says(&["trace", id, "--user", "ada"]);
    assert!(said.lines().last().is_some_and(|last| last.starts_with("ada/phone  offline  offline")), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_is_taken_back_put_off_and_replaced() {
    let gateway = Gateway::start().await;
    let terminal = Terminal::new(&gateway);
    let later = terminal.says(&["push", "--user", "ada", "--in", "2h", "later"]);
    assert!(later.starts_with("scheduled\n") && later.contains("(after 2h)"), "{later}");
    let later = terminal.object(&["push", "--user", "ada", "--in", "2h", "later"]);
    let id = later["id"].as_str().expect("an id");
    assert_eq!((&later["offset"], later["send_at_ms"].is_u64()), (&json!(0), true));
    assert_eq!(terminal.says(&["cancel", id]), "cancelled\n");
    let again = terminal.object(&["cancel", id, "--silently"]);
    assert_eq!(again, json!({ "state": "cancelled", "cancelled": false }));
    assert_eq!(terminal.says(&["cancel", id]), "cancelled before; nothing was left to cancel\n");
    assert_eq!(terminal.refused(&["cancel", "019a8f00-0000-7000-8000-000000000000"]), "message_not_found");

    let first = terminal.object(&["push", "--user", "ada", "at nine"]);
    let first = first["id"].as_str().expect("an id");
    let second = terminal.object(&["push", "--user", "ada", "--replaces", first, "at ten"]);
    assert!(terminal.says(&["trace", first]).starts_with(&format!("{first}  replaced\n")));
    assert_eq!(terminal.refused(&["push", "--user", "ada", "--replaces", first, "at eleven"]), "not_replaceable");
    let mut phone = gateway.client("ada", "phone").await;
    let push = next(&mut phone).await;
    assert_eq!((json!(push.id.to_string()), text(&push).as_str()), (second["id"].clone(), "at ten"));
}

/// P4.6, any one device: the first that acks takes it, and `listen` shows the dismissal to the other.
#[tokio::test(flavor = "multi_thread")]
async fn one_device_takes_it_and_the_other_is_told() {
    let gateway = Gateway::start().await;
    let terminal = Terminal::new(&gateway);
    let token = gateway.token("ada", "tablet");
    let listen = ["--json", "listen", "--ca", "ca.pem", "--token", &token, "--no-ack", "--attribute", "form=tablet"];
    let mut tablet = terminal.command(&listen);
    let mut tablet = tablet.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary was built");
    let mut notes = BufReader::new(tablet.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
    assert!(notes.any(|line| line.contains("connected:")));
    let out = BufReader::new(tablet.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
    let mut out = out.map(|line| serde_json::from_str::<Value>(&line).expect("JSON"));

    assert_eq!(terminal.object(&["audience", "--condition", "form == 'tablet'"])["count"], 1);
    let pushed = terminal.object(&["push", "--any-of-user", "ada", "who takes it?"]);
    let rings = out.next().expect("a push");
    assert_eq!((&rings["id"], &rings["target"]), (&pushed["id"], &json!({ "any_of_user": "ada" })));
    let mut phone = gateway.client("ada", "phone").await;
    let push = next(&mut phone).await;
    assert_eq!(json!(push.id.to_string()), pushed["id"]);
    push.ack();
    let told = out.next().expect("a dismissal");
    assert_eq!(told["dismissal"], json!({ "id": pushed["id"], "reason": "taken" }));
    let said = terminal.says(&["trace", pushed["id"].as_str().expect("an id")]);
    assert!(said.lines().next().is_some_and(|line| line.ends_with("  taken")), "{said}");
    let _ = tablet.kill();
    let _ = tablet.wait();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_online_is_listed_and_followed() {
    let gateway = Gateway::start_with(|config| config.presence.debounce = Duration::from_millis(20)).await;
    let terminal = Terminal::new(&gateway);
    assert_eq!(terminal.says(&["presence"]), "0 devices online\n");
    let mut follower = Follower::start(&terminal, &["presence", "--follow", "--user", "ada"]);
    let bob = gateway.client("bob", "tablet").await;
    let ada = gateway.client("ada", "phone").await;
    let came = follower.next();
    assert_eq!((&came["what"], &came["user"], &came["device"]), (&json!("connected"), &json!("ada"), &json!("phone")));
    assert_eq!(follower.next()["what"], "ready");
    let said = terminal.says(&["presence"]);
    let lines: Vec<_> = said.lines().collect();
    assert!(lines[0].starts_with("user  device  since"), "{said}");
    assert!(lines[1].starts_with("ada   phone   20") && lines[2].starts_with("bob   tablet  20"), "{said}");
    assert_eq!(lines[3], "2 devices online");
    assert_eq!(json!(terminal.objects(&["presence"])), terminal.twin("/v1/presence").await["online"]);
    assert_eq!(terminal.objects(&["presence", "--user", "bob"]).len(), 1);
    soon("the end", ada.close()).await.expect("closed");
    let left = follower.next();
    assert_eq!((&left["what"], left["reason"].is_string()), (&json!("offline"), true));
    terminal.fails(&["presence", "--after", "5"], 2);
    drop(bob);
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_set_listed_and_deleted() {
    let gateway = Gateway::start().await;
    let terminal = Terminal::new(&gateway);
    let receiver = Receiver::start().await;
    let url = format!("http://{}/hooks", receiver.address);
    assert!(terminal.says(&["webhook", "list"]).contains("no webhooks"));
    let ran = terminal.run(&["webhook", "set", "receipts", &url]);
    assert!(ran.out.starts_with(&format!("set: receipts are posted to {url}\n  secret  whsec_")), "{ran:?}");
    assert!(ran.err.contains("shown this once"), "{ran:?}");
    let secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3";
    let set = terminal.object(&["webhook", "set", "receipts", &url, "--secret", secret]);
    assert_eq!((&set["kind"], &set["secret"]), (&json!("receipts"), &json!(secret)));
    terminal.says(&["push", "--user", "ada", "hi"]);
    let posted = receiver.until("a post", |received| !received.is_empty()).await.remove(0);
    assert!(posted.is_signed_with(secret) && posted.json()["events"][0]["what"] == "accepted", "{posted:?}");

    let listed = until(|| terminal.objects(&["webhook", "list"]), |listed| listed[0]["position"] != 0);
    assert_eq!(json!(listed), terminal.twin("/v1/webhooks").await["webhooks"]);
    let said = terminal.says(&["webhook", "list"]);
    assert!(said.starts_with("kind      url") && said.contains("  well"), "{said}");
    let said = terminal.says(&["webhook", "delete", "receipts"]);
    assert_eq!(said, "deleted: receipts are posted nowhere now\n");
    assert_eq!(terminal.refused(&["webhook", "delete", "receipts"]), "webhook_not_found");
    assert_eq!(terminal.refused(&["webhook", "set", "receipts", "ftp://x"]), "invalid_option");
    terminal.fails(&["webhook", "set", "nothing", &url], 2);
}

/// Receipts survive `kill -9`, and who follows them goes on behind what was printed last: no gap, no repeat.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_goes_on_where_it_was_cut() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let mut gateway = Process::start(folder.path(), &[]);
    let door = Door::open(gateway.backend).await;
    let url = format!("http://{}", door.address);
    let terminal = Terminal::of(&gateway.key, &url, gateway.backend);
    let mut follower = Follower::start(&terminal, &["receipts", "--follow", "--after", "0"]);
    let (mut pushed, mut told) = (Vec::new(), Vec::new());
    for round in 0..3 {
        if round > 0 {
            gateway.kill();
            gateway = Process::start(folder.path(), &[]);
            *door.behind.lock().expect("no panic") = gateway.backend;
            follower.notes("going on after position");
        }
        for _ in 0..3 {
            let answer = terminal.object(&["push", "--user", "ada", "hi"]);
            pushed.push(answer["id"].clone());
        }
        // It is connected to this gateway, and will notice that it is cut.
        told.extend((told.len()..pushed.len()).map(|_| follower.next()));
    }
    assert_eq!(told.iter().map(|receipt| receipt["message"].clone()).collect::<Vec<_>>(), pushed);
    let positions: Vec<_> = told.iter().map(|receipt| receipt["position"].as_u64().expect("a number")).collect();
    assert_eq!(positions, (1..=9).collect::<Vec<_>>());
}

/// One address for a gateway that is started again elsewhere.
struct Door {
    address: SocketAddr,
    behind: Arc<Mutex<SocketAddr>>,
}

impl Door {
    async fn open(behind: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let behind = Arc::new(Mutex::new(behind));
        let place = Arc::clone(&behind);
        tokio::spawn(async move {
            while let Ok((mut came, _)) = listener.accept().await {
                let place = *place.lock().expect("no panic");
                tokio::spawn(async move {
                    // Who finds nobody there is cut off, as a reader that comes too early is.
                    if let Ok(mut there) = TcpStream::connect(place).await {
                        let _ = tokio::io::copy_bidirectional(&mut came, &mut there).await;
                    }
                });
            }
        });
        Self { address, behind }
    }
}
