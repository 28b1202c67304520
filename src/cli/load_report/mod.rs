//! What a load run is shown as: tables and small plots for people, JSON for scripts, a page to keep. It measures
//! nothing.

mod axis;
mod chart;
pub(super) mod compare;
mod curves;
mod figures;
pub(super) mod html;
#[cfg(test)]
mod markup;
mod plot;
pub(super) mod progress;
#[cfg(test)]
mod samples;
mod section;
mod table;
mod units;

use std::path::Path;

use anyhow::Context;

use crate::cli::style::{DIM, Output};
use crate::load::report::{Latency, Report};

/// Shows reports on standard output and, if asked, keeps them as a page. `earlier`: reports to compare with, see
/// [`compare::read`]; those that asked for something else are left aside.
pub(super) fn show(reports: &[Report], output: Output, html: Option<&Path>, earlier: &[Report]) -> anyhow::Result<()> {
    let reports: Vec<_> = reports.iter().map(sound).collect();
    let earlier: Vec<_> = earlier.iter().map(sound).collect();
    let width = terminal_size::terminal_size().map_or(80, |(width, _)| usize::from(width.0));
    for report in &reports {
        output.object(report)?;
        for line in words(report, &earlier, width) {
            output.words(&line)?;
        }
    }
    if let Some(path) = html {
        html::write(path, &reports, &earlier).with_context(|| format!("cannot write {}", path.display()))?;
        output.words(&format!("\n{DIM}written to {}{DIM:#}", path.display()))?;
    }
    Ok(())
}

/// A size in memory as the report writes it, for notes while it runs.
pub(super) fn size(bytes: u64) -> String {
    units::bytes(bytes as f64).text()
}

/// A report for people.
fn words(report: &Report, earlier: &[Report], width: usize) -> Vec<String> {
    let width = width.clamp(table::WIDTH_MIN, WIDTH_MAX);
    let found = compare::find(report, earlier);
    let mut lines = vec![String::new()];
    lines.extend(table::lines(report, found, width));
    lines.extend(plot::lines(report, width));
    if !earlier.is_empty() {
        let note = match found {
            Some(found) => format!("(ratios) to the run of {}", html::moment(found.began_at)),
            None => "no earlier run that asked for the same: nothing to compare with".to_owned(),
        };
        lines.push(format!("\n  {DIM}{note}{DIM:#}"));
    }
    lines
}

/// The report without what is no number: a division by nothing must not reach a table, and JSON has no word for it.
fn sound(report: &Report) -> Report {
    let mut report = report.clone();
    for figure in [
        &mut report.handshakes_per_second,
        &mut report.server_cpu_us_per_handshake,
        &mut report.idle_bytes_per_connection,
        &mut report.bytes_per_connection_after_burst,
        &mut report.pushes_per_second,
        &mut report.deliveries_per_second,
        &mut report.server_cpu_us_per_delivery,
        &mut report.client_cpu_us_per_delivery,
        &mut report.server_cpu_us_per_push,
    ] {
        *figure = figure.filter(|figure| figure.is_finite());
    }
    let finite = |value: f64| if value.is_finite() { value } else { 0.0 };
    report.seconds = finite(report.seconds);
    let latencies = std::iter::once(&mut report.latency_ms).chain(report.other_latency_ms.values_mut());
    for Latency { count: _, p50, p90, p99, p999, max, curve } in latencies {
        for point in [p50, p90, p99, p999, max] {
            *point = finite(*point);
        }
        curve.retain(|(quantile, millis)| (0.0..=1.0).contains(quantile) && millis.is_finite());
    }
    report.timeline.retain(|sample| sample.second.is_finite());
    for sample in &mut report.timeline {
        sample.deliveries_per_second = finite(sample.deliveries_per_second);
        sample.server_cores = finite(sample.server_cores);
    }
    report
}

/// Lines of more columns are hard to follow.
const WIDTH_MAX: usize = 100;

#[cfg(test)]
mod tests;
