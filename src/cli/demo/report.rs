//! How the demonstration is told: aligned words and a small picture for people, one object a step for scripts. What
//! happened is decided elsewhere.

use std::io;
use std::time::Duration;

use anstyle::Style;
use serde_json::{Map, Value, json};

use crate::cli::demo::ledger::Summary;
use crate::cli::style::{DIM, ERROR, GOOD, HEADING, LITERAL, Output};
use crate::model::frame::HeartbeatPlan;

/// One thing that the demonstration shows.
pub(super) struct Step {
    /// Its name for scripts.
    pub(super) name: &'static str,
    /// What happens.
    pub(super) title: &'static str,
    /// Why one would want to see it.
    pub(super) why: &'static str,
}

/// What a step found out.
#[derive(Default)]
pub(super) struct Findings {
    /// Lines for people.
    pub(super) facts: Vec<String>,
    /// The picture at its end.
    pub(super) scene: Scene,
    /// Fields for scripts.
    pub(super) fields: Map<String, Value>,
}

/// Who is there, and what just travelled.
#[derive(Clone, Copy, Default)]
pub(super) struct Scene {
    /// Pushes that the backend just made.
    pub(super) pushed: usize,
    pub(super) gateway: bool,
    pub(super) phone: Line,
    pub(super) laptop: Line,
}

/// The connection of a device.
#[derive(Clone, Copy, Default)]
pub(super) enum Line {
    /// There is none.
    #[default]
    Down,
    /// It stands, and so many pushes just came over it.
    Up(usize),
}

impl Findings {
    /// Adds a line for people.
    pub(super) fn fact(&mut self, line: impl Into<String>) {
        self.facts.push(line.into());
    }

    /// Adds a field for scripts.
    pub(super) fn field(&mut self, name: &str, value: impl Into<Value>) {
        self.fields.insert(name.to_owned(), value.into());
    }
}

/// Tells the steps, one after the other.
pub(super) struct Report {
    output: Output,
    /// Steps told so far.
    told: usize,
}

impl Report {
    /// Says what is to come.
    pub(super) fn open(output: Output) -> io::Result<Self> {
        output.words(&format!("{HEADING}Pushline, end to end{HEADING:#}"))?;
        output.words(
            "A backend pushes, the gateway stores, two devices of one user receive. Each line below is measured",
        )?;
        output.words("while it happens: real processes, real TLS, a real disk, a real SIGKILL.")?;
        Ok(Self { output, told: 0 })
    }

    /// Tells of a step that went well.
    pub(super) fn good(&mut self, step: &Step, took: Duration, findings: &Findings) -> io::Result<()> {
        let mut object = json!({ "step": step.name, "ok": true, "ms": millis(took) });
        if let Some(object) = object.as_object_mut() {
            object.extend(findings.fields.clone());
        }
        self.output.object(&object)?;
        self.head(step, took, GOOD)?;
        for fact in &findings.facts {
            self.output.words(&format!("    {fact}"))?;
        }
        for line in findings.scene.lines() {
            self.output.words(&format!("    {line}"))?;
        }
        Ok(())
    }

    /// Tells of a step that failed, with the gateway's last words.
    pub(super) fn bad(&mut self, step: &Step, took: Duration, why: &str, log: &[String]) -> io::Result<()> {
        self.output
            .object(&json!({ "step": step.name, "ok": false, "ms": millis(took), "error": why, "gateway_log": log }))?;
        self.head(step, took, ERROR)?;
        self.output.words(&format!("    {ERROR}failed: {why}{ERROR:#}"))?;
        self.output.words("    the last lines of the gateway's log:")?;
        for line in log {
            self.output.words(&format!("      {DIM}{line}{DIM:#}"))?;
        }
        Ok(())
    }

    fn head(&mut self, step: &Step, took: Duration, style: Style) -> io::Result<()> {
        self.told += 1;
        self.output.words("")?;
        let (number, title, took) = (self.told, step.title, span(took));
        let gap = WIDTH.saturating_sub(title.len());
        self.output.words(&format!("{style}{number:>2}  {title}{style:#}{took:>gap$}"))?;
        self.output.words(&format!("    {DIM}{}{DIM:#}", step.why))
    }

    /// Tells what it all came to. `ok`: every step went well and every promise was kept.
    pub(super) fn close(&self, summary: &Summary, ok: bool, took: Duration) -> io::Result<()> {
        let mut object = json!(summary);
        object["step"] = "summary".into();
        object["ok"] = ok.into();
        object["ms"] = millis(took).into();
        self.output.object(&object)?;
        self.output.words("")?;
        let count = |name: &str, number: u64, style: Style, words: &str| {
            self.output.words(&format!("  {style}{number:>6}{style:#}  {name:<12} {DIM}{words}{DIM:#}"))
        };
        let zero = |number: u64| if number == 0 { GOOD } else { ERROR };
        count("pushed", summary.pushed, LITERAL, "answered by the gateway, after they were on disk")?;
        count("delivered", summary.delivered, LITERAL, &format!("of {} owed: each device its own copy", summary.owed))?;
        count("acked", summary.acked, LITERAL, "and the ack confirmed")?;
        count(
            "redelivered",
            summary.redelivered,
            LITERAL,
            "not acked before the crash, so they came again, as they must",
        )?;
        count("lost", summary.lost, zero(summary.lost), "answered, and never received by a device it was for")?;
        count(
            "duplicated",
            summary.duplicated,
            zero(summary.duplicated),
            "received again after the ack was confirmed",
        )?;
        if summary.misdirected + summary.misordered > 0 {
            count(
                "misdirected",
                summary.misdirected,
                zero(summary.misdirected),
                "received by a device it was not for",
            )?;
            count(
                "misordered",
                summary.misordered,
                zero(summary.misordered),
                "received before an older one of its log",
            )?;
        }
        self.output.words("")?;
        let took = span(took);
        let verdict = if ok {
            format!("{GOOD}Nothing lost, nothing twice.{GOOD:#} {took} in all.")
        } else if summary.is_good() {
            format!("{ERROR}A step failed.{ERROR:#} {took} in all.")
        } else {
            format!("{ERROR}The gateway did not keep its promises.{ERROR:#} {took} in all.")
        };
        self.output.words(&verdict)
    }
}

impl Scene {
    /// Two lines: the way of the pushes, and the second device below the first.
    fn lines(self) -> [String; 2] {
        let pushes = match self.pushed {
            0 => format!("{DIM}{:\u{2500}^10}\u{25b6}{DIM:#}", ""),
            pushed => format!("{LITERAL}{:\u{2500}^10}\u{25b6}{LITERAL:#}", format!(" {pushed} ")),
        };
        let gateway =
            if self.gateway { format!("{GOOD}gateway{GOOD:#}") } else { format!("{ERROR}\u{2717} dead {ERROR:#}") };
        [
            format!("backend {pushes} {gateway} {}", self.phone.drawn("phone")),
            format!("{:27} {}", "", self.laptop.drawn("laptop")),
        ]
    }
}

impl Line {
    fn drawn(self, device: &str) -> String {
        match self {
            Self::Down => format!("{DIM}{:\u{254c}^10}  {device} (offline){DIM:#}", ""),
            Self::Up(0) => format!("{GOOD}{:\u{2550}^10}\u{25b6}{GOOD:#} {device}", ""),
            Self::Up(count) => format!("{GOOD}{:\u{2550}^10}\u{25b6}{GOOD:#} {device}", format!(" {count} ")),
        }
    }
}

/// Milliseconds for scripts, to the microsecond.
pub(super) fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1000.0
}

/// A time for people.
pub(super) fn span(span: Duration) -> String {
    let millis = millis(span);
    if millis < 10.0 {
        format!("{millis:.1} ms")
    } else if millis < 1000.0 {
        format!("{millis:.0} ms")
    } else {
        format!("{:.1} s", millis / 1000.0)
    }
}

/// Columns from a step's title to the end of its time: what is left of 80.
const WIDTH: usize = 76;

/// Who sends a heartbeat when, as both devices agreed with the gateway.
pub(super) fn heartbeat_words(plan: HeartbeatPlan) -> String {
    let seconds = |span: Duration| format!("{} s", span.as_secs_f64().round());
    format!(
        "heartbeats after {} of silence by the device, {} by the gateway; dead {} later",
        seconds(plan.client_interval),
        seconds(plan.server_interval),
        seconds(plan.timeout),
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Line, Scene, span};

    #[test]
    fn the_picture_is_aligned_whatever_happens() {
        let plain = |line: &str| anstream::adapter::strip_str(line).to_string();
        for scene in [
            Scene::default(),
            Scene { pushed: 30, gateway: true, phone: Line::Up(30), laptop: Line::Down },
            Scene { pushed: 0, gateway: true, phone: Line::Up(0), laptop: Line::Up(7) },
        ] {
            let [first, second] = scene.lines().map(|line| plain(&line));
            let column = |line: &str, word: &str| line.find(word).map(|at| line[..at].chars().count());
            assert_eq!(column(&first, "phone"), column(&second, "laptop"), "{first}\n{second}");
        }
    }

    #[test]
    fn times_have_few_digits() {
        for (micros, words) in [(1_234, "1.2 ms"), (12_340, "12 ms"), (1_234_000, "1.2 s")] {
            assert_eq!(span(Duration::from_micros(micros)), words);
        }
    }
}
