//! Reports as one page to keep: no file beside it, nothing fetched, readable by people now and by programs later.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use crate::cli::load_report::figures::{is_clean, latencies};
use crate::cli::load_report::section::section;
use crate::cli::load_report::units::{Figure, micros, millis, rate};
use crate::cli::load_report::{compare, table};
use crate::file::{self, Access};
use crate::load::report::Report;

/// Whether a page can be written there, to be asked before a run takes its minutes.
///
/// # Errors
/// Says what is in the way.
pub(in crate::cli) fn check(path: &Path) -> anyhow::Result<()> {
    let checked = refuse_special(path).and_then(|()| {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // A page is written beside its place and then moved there, so this is what it takes.
        tempfile::tempfile_in(folder).map(drop)
    });
    checked.map_err(|error| anyhow::anyhow!("cannot write {}: {error}", path.display()))
}

/// Writes the page, whole or not at all.
pub(super) fn write(path: &Path, reports: &[Report], earlier: &[Report]) -> io::Result<()> {
    refuse_special(path)?;
    file::write(path, page(reports, earlier).as_bytes(), Access::Everybody)
}

/// A page takes the place of what is there; a device or a folder must not vanish for it.
fn refuse_special(path: &Path) -> io::Result<()> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_file() => Ok(()),
        Ok(found) if found.is_dir() => Err(io::Error::other("it is a folder")),
        Ok(_) => Err(io::Error::other("it is no ordinary file")),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// The whole page.
pub(super) fn page(reports: &[Report], earlier: &[Report]) -> String {
    let names: Vec<_> = reports.iter().map(|report| table::printable(&report.scenario, 40)).collect();
    let title = format!("Pushline load: {}", names.join(", "));
    let began = reports.iter().map(|report| report.began_at).filter(|began| *began > 0).min();
    let mut machines: Vec<_> = reports.iter().map(|report| &*report.machine).filter(|name| !name.is_empty()).collect();
    machines.dedup();
    let facts = began.map(moment).into_iter().chain(machines.into_iter().map(ToOwned::to_owned)).collect::<Vec<_>>();
    let overview = if reports.len() > 1 { overview(reports) } else { String::new() };
    let sections: String = reports
        .iter()
        .enumerate()
        .map(|(index, report)| section(index + 1, report, compare::find(report, earlier), !earlier.is_empty()))
        .collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>Pushline load</h1>\n<p class=\"soft\">{facts}</p>\n{overview}{sections}</main>\n\
         <script type=\"application/json\" id=\"reports\">\n{json}</script>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n",
        title = escaped(&title),
        facts = escaped(&facts.join(" \u{b7} ")),
        json = embedded(reports),
    )
}

/// One line a report, with links to them.
fn overview(reports: &[Report]) -> String {
    let cell = |figure: Option<Figure>| format!("<td>{}</td>", figure.map(|figure| figure.text()).unwrap_or_default());
    let row = |(index, report): (usize, &Report)| {
        let latencies = latencies(report);
        let latency = latencies.first().map(|(_, latency)| *latency);
        let speed = report.deliveries_per_second.or(report.handshakes_per_second);
        let verdict = if is_clean(report) { "<td class=\"good\">clean</td>" } else { "<td class=\"bad\">faults</td>" };
        format!(
            "<tr><th scope=\"row\"><a href=\"#run-{}\">{}</a></th>{}{}{}{}{verdict}</tr>\n",
            index + 1,
            escaped(&report.scenario),
            cell(speed.map(rate)),
            cell(latency.map(|latency| millis(latency.p50))),
            cell(latency.map(|latency| millis(latency.p99))),
            cell(report.server_cpu_us_per_delivery.or(report.server_cpu_us_per_handshake).map(micros)),
        )
    };
    let rows: String = reports.iter().enumerate().map(row).collect();
    format!(
        "<div class=\"card wide\">\n<table>\n<thead><tr><th>run</th><th>throughput</th><th>p50</th><th>p99</th>\
         <th>server CPU each</th><th>correctness</th></tr></thead>\n<tbody class=\"after-head\">\n{rows}</tbody>\n\
         </table>\n</div>\n"
    )
}

/// The reports as one JSON array, one a line, safe inside a script element.
fn embedded(reports: &[Report]) -> String {
    // A report has no keys but strings and, by its type, nothing that JSON cannot say; `null` is the worst there can be.
    let lines: Vec<_> =
        reports.iter().map(|report| serde_json::to_string(report).unwrap_or("null".to_owned())).collect();
    // These stand in strings only, where JSON lets any character be escaped. With them, words from outside could end
    // the script element or begin a comment in it.
    let lines = lines.join(",\n").replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    format!("[\n{lines}\n]\n")
}

/// Text in elements and in attributes. Control characters are no part of HTML.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // Overrides of direction would let a value rearrange the words beside it.
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => escaped.push('\u{fffd}'),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// When it was, in words; the bare number if that is after the calendar's end.
pub(in crate::cli::load_report) fn moment(seconds: u64) -> String {
    // The year 10,000, where the format ends.
    if seconds >= 253_402_300_800 {
        return seconds.to_string();
    }
    let moment = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string();
    moment.replace('T', " ").replace('Z', " UTC")
}

/// Nothing is fetched, whatever words from outside would like.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'";

const STYLE: &str = include_str!("page.css");

const SCRIPT: &str = include_str!("page.js");
