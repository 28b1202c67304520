//! How far a run is, while it runs: a bar on a terminal, else a plain line every few seconds. It measures nothing.

use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::load_report::table::printable;
use crate::cli::load_report::units::{count, rate};
use crate::model::clock::{Clock, Moment};

/// The bar. It vanishes when dropped, so that what follows stands where it was.
#[derive(Debug)]
pub(in crate::cli) struct Bar {
    bar: ProgressBar,
    clock: Clock,
    pace: Mutex<Pace>,
}

impl Bar {
    /// A bar on standard error; results go to standard output.
    pub(in crate::cli) fn new(clock: Clock) -> Self {
        let target = ProgressDrawTarget::stderr_with_hz(10);
        // A length of nothing would be drawn as all done.
        let bar = ProgressBar::with_draw_target(Some(1), target);
        // Both templates are constants; a mistake in them would leave indicatif's own style.
        if let Ok(style) = ProgressStyle::with_template(if has_colours() { COLOURED } else { PLAIN }) {
            bar.set_style(style.progress_chars("\u{2501}\u{2578}\u{2500}"));
        }
        Self { bar, clock, pace: Mutex::new(Pace::default()) }
    }

    /// Tells how far a phase is. A new name of a phase begins a new count.
    pub(in crate::cli) fn update(&self, step: &Step<'_>) {
        let now = self.clock.now().moment;
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = pace.follow(now, step);
        if self.bar.is_hidden() {
            if let Some(line) = pace.line(now, step, is_new) {
                // There is nobody left to tell when standard error is gone.
                let _ = writeln!(anstream::stderr().lock(), "{line}");
            }
            return;
        }
        // Each of these may draw, so words come before the bar moves.
        self.bar.set_message(pace.words(now, step));
        if is_new {
            self.bar.set_prefix(printable(step.phase, PHASE_MAX));
        }
        // A bar without a known length stands still at nothing.
        let (done, total) = match step.time {
            Some((spent, span)) => (spent.as_millis() as u64, span.as_millis() as u64),
            None => (step.done, step.total),
        };
        self.bar.set_length(total.max(1));
        self.bar.set_position(done.min(total));
    }

    /// Takes it off the terminal.
    pub(in crate::cli) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.finish();
    }
}

/// What the run says of itself.
pub(in crate::cli) struct Step<'s> {
    /// What goes on.
    pub(in crate::cli) phase: &'s str,
    /// How much of it is done.
    pub(in crate::cli) done: u64,
    /// Out of how much; 0 when that is not known.
    pub(in crate::cli) total: u64,
    /// How much of its time is over, and how long that is, if it was given one.
    pub(in crate::cli) time: Option<(Duration, Duration)>,
    /// Said as it is, such as `server 312 MiB`.
    pub(in crate::cli) note: &'s str,
}

/// How fast the phase goes and when it was last told of.
#[derive(Debug, Default)]
struct Pace {
    phase: Option<String>,
    began: Moment,
    /// What was done when the phase was first seen.
    done_before: u64,
    /// When a plain line was written.
    told: Moment,
    /// Whether the end of the phase was told.
    ended: bool,
}

impl Pace {
    /// Takes note of the phase, and says whether it is a new one.
    fn follow(&mut self, now: Moment, step: &Step<'_>) -> bool {
        if self.phase.as_deref() == Some(step.phase) {
            return false;
        }
        *self =
            Self { phase: Some(step.phase.to_owned()), began: now, done_before: step.done, told: now, ended: false };
        true
    }

    /// The line to write, if it is time for one: as a phase begins, every few seconds, and as it ends.
    fn line(&mut self, now: Moment, step: &Step<'_>, is_new: bool) -> Option<String> {
        let ends = step.total > 0 && step.done >= step.total && !self.ended;
        if !(is_new || ends || now.since(self.told) >= PAUSE) {
            return None;
        }
        self.told = now;
        self.ended |= ends;
        let (phase, words) = (printable(step.phase, PHASE_MAX), self.words(now, step));
        Some(if words.is_empty() { phase } else { format!("{phase}: {words}") })
    }

    /// How far, how fast, how long still.
    fn words(&self, now: Moment, step: &Step<'_>) -> String {
        let done = count(step.done).text();
        let mut words = Vec::new();
        if step.total > 0 {
            words.push(format!("{done} of {}", count(step.total).text()));
        } else if step.done > 0 {
            // A phase that does not count says nothing of it.
            words.push(done);
        }
        let seconds = now.since(self.began).as_secs_f64();
        let per_second = step.done.saturating_sub(self.done_before) as f64 / seconds;
        // Over less than this the figure would only flicker.
        if seconds >= 0.2 && per_second > 0.0 {
            words.push(rate(per_second).text());
            let left = step.total.saturating_sub(step.done) as f64 / per_second;
            if left > 0.0 && left < LEFT_MAX {
                words.push(format!("{} left", remaining(left)));
            }
        }
        if let Some((spent, span)) = step.time.filter(|(spent, span)| spent < span) {
            words.push(format!("{} left", remaining((span - spent).as_secs_f64())));
        }
        if !step.note.is_empty() {
            words.push(printable(step.note, NOTE_MAX));
        }
        words.join("  ")
    }
}

/// Seconds as one says how long something still takes.
fn remaining(seconds: f64) -> String {
    let seconds = seconds.ceil() as u64;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h", seconds.div_ceil(3600)),
    }
}

fn has_colours() -> bool {
    anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never
}

/// The bar of a terminal with colours.
const COLOURED: &str = "  {prefix:<12} {bar:12.cyan/dim} {wide_msg}";

/// The same without.
const PLAIN: &str = "  {prefix:<12} {bar:12} {wide_msg}";

/// Between plain lines: a log of an hour stays readable, and nobody thinks that it hangs.
const PAUSE: Duration = Duration::from_secs(5);

/// Characters of a phase's name.
const PHASE_MAX: usize = 16;

/// Characters of a note.
const NOTE_MAX: usize = 60;

/// Seconds; nobody waits for what takes longer.
const LEFT_MAX: f64 = 360_000.0;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Bar, Pace, Step, remaining};
    use crate::model::clock::{Clock, Moment};

    #[test]
    fn plain_lines_come_at_the_ends_of_a_phase_and_every_few_seconds() {
        let mut pace = Pace::default();
        let mut tell = |millis: u64, phase: &str, done: u64, note: &str| {
            let now = Moment::from_micros(millis * 1000);
            let step = Step { phase, done, total: 1000, time: None, note };
            let is_new = pace.follow(now, &step);
            pace.line(now, &step, is_new)
        };
        for (millis, phase, done, note, line) in [
            (100, "connect", 0, "", Some("connect: 0 of 1,000")),
            (200, "connect", 10, "", None),
            (5_099, "connect", 400, "", None),
            (5_100, "connect", 500, "server 31 MiB", Some("connect: 500 of 1,000  100 /s  5 s left  server 31 MiB")),
            (5_101, "connect", 501, "", None),
            (10_100, "connect", 1000, "", Some("connect: 1,000 of 1,000  100 /s")),
            (10_200, "connect", 1000, "", None),
            (10_300, "measure", 5, "", Some("measure: 5 of 1,000")),
            (15_300, "measure", 6, "\u{1b}[2J", Some("measure: 6 of 1,000  0.200 /s  83 min left  ?[2J")),
        ] {
            assert_eq!(tell(millis, phase, done, note).as_deref(), line, "at {millis} ms");
        }
    }

    #[test]
    fn an_unknown_end_has_no_time_left() {
        let mut pace = Pace::default();
        let step = |done| Step { phase: "drain", done, total: 0, time: None, note: "" };
        pace.follow(Moment::ZERO, &step(0));
        assert_eq!(pace.words(Moment::from_micros(2_000_000), &step(5_000)), "5,000  2.50 k/s");
        assert_eq!(pace.words(Moment::from_micros(2_000_000), &step(0)), "", "nothing is counted");
    }

    #[test]
    fn a_phase_with_a_time_says_how_much_is_left() {
        let pace = Pace { phase: Some("measure".to_owned()), ..Pace::default() };
        let words = |spent, done| {
            let time = Some((Duration::from_secs(spent), Duration::from_secs(10)));
            pace.words(Moment::ZERO, &Step { phase: "measure", done, total: 0, time, note: "server 1 MiB" })
        };
        assert_eq!(words(0, 0), "10 s left  server 1 MiB");
        assert_eq!(words(7, 21), "21  3 s left  server 1 MiB");
        assert_eq!(words(10, 30), "30  server 1 MiB");
    }

    #[test]
    fn time_left_is_rounded_up() {
        for (seconds, words) in [(0.2, "1 s"), (119.0, "119 s"), (121.0, "3 min"), (7201.0, "3 h")] {
            assert_eq!(remaining(seconds), words);
        }
    }

    #[test]
    fn both_templates_are_understood() {
        for template in [super::COLOURED, super::PLAIN] {
            assert!(indicatif::ProgressStyle::with_template(template).is_ok(), "{template}");
        }
        let bar = Bar::new(Clock::new());
        let time = Some((Duration::MAX, Duration::ZERO));
        bar.update(&Step { phase: "connect", done: 7, total: 0, time, note: "" });
        bar.update(&Step { phase: "connect", done: 9, total: 5, time: None, note: "more than all" });
        bar.finish();
    }
}
