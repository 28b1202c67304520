//! `pushline load`: reads what to do to which gateway, lets the crowd do it, and shows what came of it.

mod arguments;
mod target;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::cli::load_report::progress::{Bar, Step};
use crate::cli::load_report::{compare, html, show, size};
use crate::cli::style::Output;
use crate::load::plan::Progress;
use crate::load::report::Report;
use crate::load::{self, plan};
use crate::model::clock::Clock;

pub(super) use arguments::Arguments;

/// Does what is asked and shows it. The code is 1 when anything was lost, came twice, was wrong or failed.
pub(super) fn run(arguments: &Arguments, output: Output) -> anyhow::Result<ExitCode> {
    let plan = arguments.plan()?;
    let common = arguments.common();
    let earlier = match &common.compare {
        Some(path) => compare::read(path)?,
        None => Vec::new(),
    };
    if let Some(path) = &common.html {
        html::check(path)?;
    }
    let report = drive(&plan)?;
    let is_sound = sound(&report);
    for words in &report.troubles {
        output.note(words);
    }
    show(&[report], output, common.html.as_deref(), &earlier)?;
    Ok(if is_sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Nothing lost, nothing twice, nothing wrong, nothing failed.
fn sound(report: &Report) -> bool {
    report.lost + report.duplicated + report.wrong == 0 && report.failures.is_empty()
}

/// Runs the plan with a bar beside it.
fn drive(plan: &plan::Plan) -> Result<Report, plan::Error> {
    let progress = Arc::new(Progress::default());
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let drawn = scope.spawn(|| {
            let bar = Bar::new(Clock::new());
            while !over.load(Ordering::Relaxed) {
                let glance = progress.glance();
                if !glance.phase.is_empty() {
                    let memory = if glance.server_memory_bytes > 0 {
                        format!("server {}", size(glance.server_memory_bytes))
                    } else {
                        String::new()
                    };
                    bar.update(&Step {
                        phase: glance.phase,
                        done: glance.done,
                        total: glance.total,
                        time: glance.time,
                        note: &memory,
                    });
                }
                std::thread::park_timeout(BAR_PAUSE);
            }
        });
        let report = load::run(plan, &progress);
        over.store(true, Ordering::Relaxed);
        drawn.thread().unpark();
        report
    })
}

/// A part of the crowd in a process of its own: orders on standard input, notes on standard output.
pub(super) fn run_child() -> anyhow::Result<ExitCode> {
    load::serve_child()?;
    Ok(ExitCode::SUCCESS)
}

/// How often the bar is drawn.
const BAR_PAUSE: Duration = Duration::from_millis(100);
