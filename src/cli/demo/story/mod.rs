//! The story that the demonstration tells: what happens in which order, and what must be true after each step. It takes
//! nobody's word: what is said of a device is what its program received.

mod target;

use std::collections::HashSet;
use std::future::pending;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::cli::demo::cast::{Cast, request};
use crate::cli::demo::chapter::Chapter;
use crate::cli::demo::device::Device;
use crate::cli::demo::gateway::{Gateway, log_tail};
use crate::cli::demo::ledger::{Ledger, Summary};
use crate::cli::demo::report::{Findings, Line, Report, Scene, heartbeat_words, millis, span};
use crate::cli::style::Output;
use crate::client::Session;
use crate::model::clock::Clock;
use crate::model::frame::ResumeOutcome;
use crate::model::id::MessageId;
use crate::model::message::Target;
use crate::wire::pb;
use crate::wire::pb::device_outcome::State;

/// Everybody in the story.
pub(super) struct Story {
    clock: Clock,
    data: PathBuf,
    /// `None` before it was started first.
    gateway: Option<Gateway>,
    cast: Option<Cast>,
    ledger: Ledger,
}

impl Story {
    /// A story that has not begun. The gateway's data goes into the folder.
    pub(super) fn new(data: &Path) -> Self {
        Self { clock: Clock::new(), data: data.to_owned(), gateway: None, cast: None, ledger: Ledger::default() }
    }

    /// Tells it; gives whether every step went well and every promise was kept.
    pub(super) async fn tell(&mut self, output: Output) -> anyhow::Result<bool> {
        let mut report = Report::open(output)?;
        let begun = self.clock.now().moment;
        let mut is_good = true;
        for &chapter in Chapter::ALL {
            let step = chapter.step();
            let since = self.clock.now().moment;
            let end = self.gateway.as_ref().map(Gateway::end);
            let result = tokio::select! {
                result = timeout(STEP_WITHIN, self.play(chapter)) => match result {
                    Ok(Err(why)) if !chapter.is_without_gateway() => Some(Err(self.cause(why).await)),
                    result => result.ok(),
                },
                status = died(end), if !chapter.is_without_gateway() => {
                    Some(Err(anyhow::anyhow!("the gateway died: {status}")))
                }
            };
            let result = result.unwrap_or_else(|| Err(self.overdue()));
            let took = self.clock.now().moment.since(since);
            match result {
                Ok(findings) => report.good(&step, took, &findings)?,
                Err(why) => {
                    report.bad(&step, took, &format!("{why:#}"), &log_tail(&self.data))?;
                    is_good = false;
                    break;
                }
            }
        }
        let summary = self.summary();
        is_good &= summary.is_good();
        report.close(&summary, is_good, self.clock.now().moment.since(begun))?;
        Ok(is_good)
    }

    /// What it all came to so far.
    fn summary(&self) -> Summary {
        let devices: Vec<_> = self.cast.iter().flat_map(|cast| [&cast.phone, &cast.laptop]).collect();
        self.ledger.summary(&devices)
    }

    /// Why a step failed. A gateway that dies resets its connections before its end is known to us: that would be told as
    /// a fault of the network.
    async fn cause(&self, why: anyhow::Error) -> anyhow::Error {
        let end = self.gateway.as_ref().map(Gateway::end);
        match timeout(END_KNOWN_WITHIN, died(end)).await {
            Ok(status) => why.context(format!("the gateway died: {status}")),
            Err(_) => why,
        }
    }

    /// A step waited in vain.
    fn overdue(&self) -> anyhow::Error {
        let Summary { delivered, owed, acked, .. } = self.summary();
        let within = span(STEP_WITHIN);
        anyhow::anyhow!(
            "it took more than {within}; of {owed} deliveries owed so far {delivered} came, {acked} are acked"
        )
    }

    /// Ends the gateway, whatever was told so far; it is gone when this returns.
    pub(super) async fn end(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            // It may have ended by itself before, which is as good.
            let _ = gateway.kill().await;
        }
    }

    async fn play(&mut self, chapter: Chapter) -> anyhow::Result<Findings> {
        match chapter {
            Chapter::Start => self.start().await,
            Chapter::Connect => self.connect().await,
            Chapter::Subscribe => self.subscribe().await,
            Chapter::Offline => self.offline().await,
            Chapter::Push => self.push().await,
            Chapter::Receive => self.receive().await,
            Chapter::Return => self.come_back().await,
            Chapter::Backlog => self.backlog().await,
            Chapter::Kill => self.kill().await,
            Chapter::Restart => self.restart().await,
            Chapter::Resume => self.resume().await,
            Chapter::Repeat => self.repeat().await,
            Chapter::Target => self.target().await,
            Chapter::Ask => self.ask().await,
        }
    }

    async fn start(&mut self) -> anyhow::Result<Findings> {
        let gateway = Gateway::start(&self.data, None).await?;
        let ready = gateway.ready().clone();
        self.gateway = Some(gateway);
        let mut findings = Findings { scene: self.scene(0, None, None), ..Findings::default() };
        findings.fact(format!("process {}, devices at {}, backends at {}", ready.pid, ready.devices, ready.backend));
        findings.field("pid", ready.pid);
        findings.field("devices", ready.devices.to_string());
        findings.field("backend", ready.backend.to_string());
        findings.field("data", self.data.to_string_lossy());
        Ok(findings)
    }

    async fn connect(&mut self) -> anyhow::Result<Findings> {
        let ready = self.gateway.as_ref().context("no gateway runs")?.ready();
        let mut cast = Cast::gather(ready, &self.data, self.clock).await?;
        let mut findings = Findings::default();
        let mut plan = None;
        for device in [&mut cast.phone, &mut cast.laptop] {
            let session = device.connect().await?;
            ensure!(session.tls == "TLS 1.3", "{} got {}", device.name(), session.tls);
            findings.fact(format!("{:<6}  {}, HTTP/2, session {}", device.name(), session.tls, session.id));
            plan = Some(session.heartbeat);
            findings.field(device.name(), session_object(&session));
        }
        findings.facts.extend(plan.map(heartbeat_words));
        self.cast = Some(cast);
        findings.scene = self.scene(0, Some(0), Some(0));
        Ok(findings)
    }

    async fn subscribe(&mut self) -> anyhow::Result<Findings> {
        let cast = self.cast()?;
        let mut findings = Findings::default();
        for device in [&cast.phone, &cast.laptop] {
            let topics = device.subscribe(cast.topic.as_str()).await?;
            ensure!(topics == 1, "{} follows {topics} topics", device.name());
        }
        findings.fact(format!("both follow the topic {:?} from now on, also after a restart", cast.topic.as_str()));
        findings.field("topic", cast.topic.as_str());
        findings.scene = self.scene(0, Some(0), Some(0));
        Ok(findings)
    }

    async fn offline(&mut self) -> anyhow::Result<Findings> {
        let cast = self.cast.as_mut().context("nobody is connected")?;
        cast.laptop.vanish().await;
        cast.laptop_is_gone().await?;
        let mut findings = Findings { scene: self.scene(0, Some(0), None), ..Findings::default() };
        findings.fact("no goodbye; a push that only goes to connected devices now reaches 0 of them");
        findings.field("device", "laptop");
        Ok(findings)
    }

    async fn push(&mut self) -> anyhow::Result<Findings> {
        let (device, user, topic) = self.cast()?.targets("phone")?;
        let one_by_one = self.push_one_by_one(&device, &["phone"]).await?;
        let both = ["phone", "laptop"];
        let targets = (0..BATCH).flat_map(|_| [(&user, &both[..]), (&topic, &both[..])]);
        let streamed = self.push_stream(targets.collect()).await?;
        let mut findings = Findings { scene: self.scene(3 * BATCH, Some(0), None), ..Findings::default() };
        findings
            .fact(format!("{BATCH:>3} to the phone alone, one call each, each synced to disk: {}", span(one_by_one)));
        let rest = 2 * BATCH;
        findings
            .fact(format!("{rest:>3} to the user and to the topic, on one stream, sharing syncs: {}", span(streamed)));
        findings.field("calls", json!({ "pushes": BATCH, "ms": millis(one_by_one) }));
        findings.field("stream", json!({ "pushes": rest, "ms": millis(streamed) }));
        Ok(findings)
    }

    async fn receive(&mut self) -> anyhow::Result<Findings> {
        let phone = &self.cast()?.phone;
        let owed = self.ledger.owed(phone.name());
        phone.received(&owed).await?;
        phone.confirm().await?;
        let mut latencies = self.latencies(phone);
        latencies.sort_unstable();
        let (median, max) = (latencies[latencies.len() / 2], latencies[latencies.len() - 1]);
        let mut findings = Findings { scene: self.scene(0, Some(owed.len()), None), ..Findings::default() };
        findings.fact(format!("{} received and acked, every ack confirmed by the gateway", owed.len()));
        findings.fact(format!(
            "from the backend's call to the phone's program: median {}, longest {}",
            span(median),
            span(max)
        ));
        findings.field("received", owed.len());
        findings.field("latency_ms", json!({ "p50": millis(median), "max": millis(max) }));
        Ok(findings)
    }

    async fn come_back(&mut self) -> anyhow::Result<Findings> {
        let missed = self.missed("laptop")?;
        let laptop = &mut self.cast.as_mut().context("nobody is connected")?.laptop;
        let before = laptop.arrivals().len();
        let session = laptop.connect().await?;
        let got = exactly(laptop, &missed, before).await?;
        let mut findings = Findings { scene: self.scene(0, Some(0), Some(got)), ..Findings::default() };
        findings.fact(format!(
            "{}, {got} of {} missed pushes received: these ids and no others",
            resumed(&session),
            missed.len()
        ));
        findings.field("missed", missed.len());
        findings.field("received", got);
        findings.field("laptop", session_object(&session));
        Ok(findings)
    }

    async fn backlog(&mut self) -> anyhow::Result<Findings> {
        let cast = self.cast.as_mut().context("nobody is connected")?;
        cast.laptop.vanish().await;
        cast.laptop_is_gone().await?;
        let (laptop, user, topic) = cast.targets("laptop")?;
        let both = ["phone", "laptop"];
        self.push_stream((0..BATCH).map(|_| (&user, &both[..])).collect()).await?;
        let phone = &self.cast()?.phone;
        phone.received(&self.ledger.owed("phone")).await?;
        phone.confirm().await?;
        phone.hold();
        let targets = (0..BATCH).flat_map(|_| [(&topic, &both[..]), (&laptop, &both[1..])]);
        self.push_stream(targets.collect()).await?;
        self.cast()?.phone.received(&self.ledger.owed("phone")).await?;
        let waiting = self.missed("laptop")?.len();
        let mut findings = Findings { scene: self.scene(3 * BATCH, Some(2 * BATCH), None), ..Findings::default() };
        findings.fact(format!("phone   received {}, acked {BATCH}; its program still works on the others", 2 * BATCH));
        findings.fact(format!("laptop  offline again: {waiting} wait for it"));
        findings.field("pushes", 3 * BATCH);
        findings.field("unacked", BATCH);
        findings.field("waiting", waiting);
        Ok(findings)
    }

    async fn kill(&mut self) -> anyhow::Result<Findings> {
        let gateway = self.gateway.as_ref().context("no gateway runs")?;
        gateway.kill().await?;
        let pid = gateway.ready().pid;
        let phone = &mut self.cast.as_mut().context("nobody is connected")?.phone;
        phone.disconnected().await?;
        let held = phone.expect_again();
        let mut findings = Findings::default();
        findings.fact(format!("process {pid} is gone; the phone noticed and tries to come back by itself"));
        findings.field("pid", pid);
        findings.field("signal", "SIGKILL");
        findings.field("held_by_phone", held);
        Ok(findings)
    }

    async fn restart(&mut self) -> anyhow::Result<Findings> {
        let earlier = self.gateway.as_ref().context("no gateway ran")?.ready().clone();
        let since = self.clock.now().moment;
        let gateway = Gateway::start(&self.data, Some(&earlier)).await?;
        let ready_after = self.clock.now().moment.since(since);
        let pid = gateway.ready().pid;
        self.gateway = Some(gateway);
        let session = self.cast()?.phone.session().await?;
        let back_after = self.clock.now().moment.since(since);
        let mut findings = Findings { scene: self.scene(0, Some(0), None), ..Findings::default() };
        findings.fact(format!(
            "process {pid}, same folder, ready after {}; phone back after {}",
            span(ready_after),
            span(back_after)
        ));
        findings.field("pid", pid);
        findings.field("ready_ms", millis(ready_after));
        findings.field("phone_back_ms", millis(back_after));
        findings.field("phone", session_object(&session));
        Ok(findings)
    }

    async fn resume(&mut self) -> anyhow::Result<Findings> {
        let missed = self.missed("laptop")?;
        let cast = self.cast.as_mut().context("nobody is connected")?;
        cast.phone.came_again().await?;
        cast.phone.release();
        cast.phone.confirm().await?;
        let before = cast.laptop.arrivals().len();
        let session = cast.laptop.connect().await?;
        let got = exactly(&cast.laptop, &missed, before).await?;
        let again = cast.phone.count().redelivered;
        let mut findings =
            Findings { scene: self.scene(0, Some(usize::try_from(again)?), Some(got)), ..Findings::default() };
        findings
            .fact(format!("phone   {again} unacked came again under the same ids; its client knew them; acked now"));
        findings.fact(format!(
            "laptop  {}, {got} of {} missed pushes received, and no others",
            resumed(&session),
            missed.len()
        ));
        findings.field("redelivered", again);
        findings.field("missed", missed.len());
        findings.field("received", got);
        Ok(findings)
    }

    async fn repeat(&mut self) -> anyhow::Result<Findings> {
        let cast = self.cast.as_mut().context("nobody is connected")?;
        let before = [cast.phone.arrivals().len(), cast.laptop.arrivals().len()];
        for device in [&mut cast.phone, &mut cast.laptop] {
            device.vanish().await;
            device.connect().await?;
        }
        let (_, user, topic) = cast.targets("phone")?;
        let both = ["phone", "laptop"];
        self.push_stream(vec![(&user, &both[..]), (&topic, &both[..])]).await?;
        let cast = self.cast()?;
        for (device, before) in [&cast.phone, &cast.laptop].into_iter().zip(before) {
            device.received(&self.ledger.owed(device.name())).await?;
            device.confirm().await?;
            let came = device.arrivals().len() - before;
            ensure!(came == 2, "{} received {came} pushes instead of the 2 last ones", device.name());
        }
        let mut findings = Findings { scene: self.scene(2, Some(2), Some(2)), ..Findings::default() };
        findings.fact("both came back knowing nothing of before: a last push in each log is all they received");
        findings.field("pushes", 2);
        Ok(findings)
    }

    async fn ask(&mut self) -> anyhow::Result<Findings> {
        let backend = &self.cast()?.backend;
        let (mut acked, mut dead) = (0, 0);
        for entry in self.ledger.entries() {
            let known = backend.message(entry.id).await?;
            let outcomes = known.devices.iter().filter(|outcome| entry.to.contains(&outcome.device.as_str()));
            let states: Vec<_> = outcomes.map(pb::DeviceOutcome::state).collect();
            dead += states.iter().filter(|state| **state == State::Dead).count();
            let confirmed = states.iter().filter(|state| **state == State::Acked).count();
            acked += confirmed;
            ensure!(
                !entry.is_tracked || confirmed == entry.to.len(),
                "{} is acked by {confirmed} of {} devices, says the gateway",
                entry.id,
                entry.to.len()
            );
        }
        ensure!(dead == 0, "{dead} deliveries were given up, says the gateway");
        let messages = self.ledger.entries().len();
        let mut findings = Findings { scene: self.scene(0, Some(0), Some(0)), ..Findings::default() };
        findings.fact(format!("{messages} asked for; {acked} acks on the user's and devices' own; 0 given up"));
        findings.field("messages", messages);
        findings.field("acked", acked);
        findings.field("dead", dead);
        Ok(findings)
    }

    fn cast(&self) -> anyhow::Result<&Cast> {
        self.cast.as_ref().context("nobody is connected")
    }

    fn scene(&self, pushed: usize, phone: Option<usize>, laptop: Option<usize>) -> Scene {
        let line = |received: Option<usize>| received.map_or(Line::Down, Line::Up);
        Scene { pushed, gateway: self.gateway.is_some(), phone: line(phone), laptop: line(laptop) }
    }

    /// What a device must have and does not have yet.
    fn missed(&self, name: &str) -> anyhow::Result<HashSet<MessageId>> {
        let cast = self.cast()?;
        let device = if name == cast.phone.name() { &cast.phone } else { &cast.laptop };
        let seen = device.count().seen;
        Ok(self.ledger.owed(name).into_iter().filter(|id| !seen.contains(id)).collect())
    }

    /// Calls for each push, and gives how long all of them took.
    async fn push_one_by_one(&mut self, target: &Target, to: &[&'static str]) -> anyhow::Result<Duration> {
        let since = self.clock.now().moment;
        for number in 1..=BATCH {
            let asked_at = self.clock.now().moment;
            let answer = self.cast()?.backend.push(request(target, number)).await?;
            self.ledger.book(answer, asked_at, to, !matches!(target, Target::Topic(_)))?;
        }
        Ok(self.clock.now().moment.since(since))
    }

    /// Pushes all of them on one stream, and gives how long that took.
    async fn push_stream(&mut self, pushes: Vec<(&Target, &[&'static str])>) -> anyhow::Result<Duration> {
        let asked_at = self.clock.now().moment;
        let requests = (1..).zip(&pushes).map(|(number, (target, _))| request(target, number)).collect();
        let answers = self.cast()?.backend.push_all(requests).await?;
        let took = self.clock.now().moment.since(asked_at);
        for (answer, (target, to)) in answers.into_iter().zip(pushes) {
            self.ledger.book(answer?, asked_at, to, !matches!(target, Target::Topic(_)))?;
        }
        Ok(took)
    }

    /// How long each push took to reach a device's program.
    fn latencies(&self, device: &Device) -> Vec<Duration> {
        let entries = self.ledger.entries().iter();
        entries.filter_map(|entry| Some(device.received_at(&entry.id)?.since(entry.asked_at))).collect()
    }
}

/// Waits until the gateway has ended, which nobody asked it to.
async fn died(end: Option<watch::Receiver<Option<ExitStatus>>>) -> ExitStatus {
    if let Some(mut end) = end
        && let Ok(status) = end.wait_for(Option::is_some).await
        && let Some(status) = *status
    {
        return status;
    }
    pending().await
}

/// Waits until a device has received all of these, and checks that it received nothing else since `before` arrivals. Gives
/// how many came.
async fn exactly(device: &Device, missed: &HashSet<MessageId>, before: usize) -> anyhow::Result<usize> {
    device.received(missed).await?;
    device.confirm().await?;
    let arrivals = device.arrivals();
    let came = &arrivals[before..];
    let strange = came.iter().filter(|id| !missed.contains(id)).count();
    ensure!(strange == 0, "{} received {strange} pushes that it had not missed", device.name());
    ensure!(
        came.len() == missed.len(),
        "{} received {} pushes, and missed {}",
        device.name(),
        came.len(),
        missed.len()
    );
    Ok(came.len())
}

fn session_object(session: &Session) -> Value {
    let beat = session.heartbeat;
    json!({
        "session": session.id,
        "tls": session.tls,
        // The client refuses to speak anything else.
        "http": "2",
        "heartbeat_ms": {
            "client_interval": millis(beat.client_interval),
            "server_interval": millis(beat.server_interval),
            "timeout": millis(beat.timeout),
        },
        "window": session.window,
        "resume": resumed(session),
        "waiting": session.resume.waiting,
    })
}

fn resumed(session: &Session) -> &'static str {
    match session.resume.outcome {
        ResumeOutcome::New => "new",
        ResumeOutcome::Resumed => "resumed",
        ResumeOutcome::Gap => "resumed with a gap",
    }
}

/// Pushes of each kind at a time: enough to share a sync, few enough to follow.
const BATCH: usize = 10;

/// What a step may take. A guess: they take milliseconds, and a machine may be busy.
const STEP_WITHIN: Duration = Duration::from_secs(10);

/// What it may take to learn of a child's end. A guess: far more than the kernel needs, and only a failed step waits.
const END_KNOWN_WITHIN: Duration = Duration::from_millis(500);
