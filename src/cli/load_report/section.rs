//! One report as a section of the page: headline, charts, tables, settings.

use crate::cli::load_report::axis::{Base, LinearScale, LogScale, QuantileScale};
use crate::cli::load_report::chart::{Chart, Line, Stop};
use crate::cli::load_report::curves::{Series, curve, series};
use crate::cli::load_report::figures::{
    COLUMNS, Group, Ratio, Row, Spread, Tone, Verdict, correctness, cost, is_clean, latencies, spreads, throughput,
};
use crate::cli::load_report::html::{escaped, moment};
use crate::cli::load_report::units::{Figure, bytes, count, micros, millis, number, percent, rate, ratio, seconds};
use crate::load::report::{Latency, Report};

/// The section with its number from one. `compared`: whether there were earlier reports at all.
pub(super) fn section(number: usize, report: &Report, earlier: Option<&Report>, compared: bool) -> String {
    let note = match (earlier, compared) {
        (Some(earlier), _) => format!("<p class=\"soft\">compared with the run of {}</p>\n", moment(earlier.began_at)),
        (None, true) => "<p class=\"soft\">no earlier run that asked for the same to compare with</p>\n".to_owned(),
        (None, false) => String::new(),
    };
    let cards = |group: Option<Group>| group.map(|group| group_card(&group)).unwrap_or_default();
    let left = cards(throughput(report, earlier)) + &cards(Some(correctness(report)));
    let right = cards(cost(report, earlier));
    format!(
        "<section id=\"run-{number}\">\n<h2>{}</h2>\n<p class=\"soft\">{} connections, {}{}</p>\n{note}\
         {}{}{}{}<div class=\"pair\">\n<div>\n{left}</div>\n<div>\n{right}</div>\n</div>\n{}</section>\n",
        escaped(&report.scenario),
        count(report.connections).text(),
        seconds(report.seconds),
        began(report),
        tiles(report),
        latency_chart(report, earlier),
        spread_card(&spreads(report, earlier)),
        time_charts(&series(report)),
        settings_card(report),
    )
}

/// What one looks for first.
fn tiles(report: &Report) -> String {
    let latencies = latencies(report);
    let latency = latencies.first().map(|(name, latency)| (name, *latency));
    let all = [
        report.deliveries_per_second.map(|value| ("deliveries".to_owned(), rate(value))),
        report.handshakes_per_second.map(|value| ("handshakes".to_owned(), rate(value))),
        latency.map(|(name, latency)| (format!("{name} p50"), millis(latency.p50))),
        latency.map(|(name, latency)| (format!("{name} p99"), millis(latency.p99))),
        report.server_cpu_us_per_delivery.map(|value| ("CPU / delivery".to_owned(), micros(value))),
        report.idle_bytes_per_connection.map(|value| ("idle connection".to_owned(), bytes(value))),
    ];
    let tile = |(name, figure): (String, Figure)| {
        let (digits, unit) = (figure.digits, figure.unit);
        format!(
            "<div class=\"tile\"><span class=\"soft\">{}</span><b>{digits} <small>{unit}</small></b></div>\n",
            escaped(&name)
        )
    };
    let (class, verdict) = if is_clean(report) { ("good", "clean") } else { ("bad", "faults") };
    let verdict = format!(
        "<div class=\"tile\"><span class=\"soft\">correctness</span><b class=\"{class}\">{verdict}</b></div>\n"
    );
    format!("<div class=\"tiles\">\n{}{verdict}</div>\n", all.into_iter().flatten().map(tile).collect::<String>())
}

/// All kinds of latency over quantiles.
fn latency_chart(report: &Report, earlier: Option<&Report>) -> String {
    let mut kinds = Kind::of(report, false);
    if kinds.is_empty() {
        return String::new();
    }
    // Of the earlier run, only what the scenario is about: more lines would hide each other.
    let before = earlier.map(|earlier| Kind::of(earlier, true)).unwrap_or_default();
    kinds.extend(before.into_iter().filter(|kind| kind.colour == 0));
    // The first kind is the one that matters; what is drawn last is on top.
    kinds.reverse();
    let across = QuantileScale::around(kinds.iter().map(|kind| &*kind.curve));
    let points = || kinds.iter().flat_map(|kind| kind.curve.iter().copied());
    let up = LogScale::around(points().map(|(_, millis)| millis));
    let mut quantiles: Vec<f64> = points().map(|(quantile, _)| quantile).collect();
    // From the right, so that of those that are too close to point at, the slowest is what is kept.
    quantiles.sort_by(|one, other| other.total_cmp(one));
    quantiles.dedup_by(|next, kept| across.place(*kept) - across.place(*next) < 1.0 / STOPS_MAX);
    quantiles.reverse();
    let stop = |quantile: f64| {
        let value = |(line, kind): (usize, &Kind)| {
            let value = at(&kind.curve, quantile, across)?;
            Some((line, up.place(value), millis(value).text()))
        };
        let values = kinds.iter().enumerate().rev().filter_map(value).collect();
        let name = if quantile < 1.0 { percent(quantile) } else { "slowest".to_owned() };
        Stop { across: across.place(quantile), name, values }
    };
    let stops = quantiles.iter().copied().map(stop).collect();
    let lines = kinds.iter().map(|kind| Line {
        name: kind.name.clone(),
        colour: kind.colour,
        earlier: kind.earlier,
        filled: false,
        points: kind.curve.iter().map(|(quantile, millis)| (across.place(*quantile), up.place(*millis))).collect(),
    });
    let chart = Chart {
        label: "latency over quantiles".to_owned(),
        across: across.ticks().into_iter().map(|tick| (across.place(tick), percent(tick))).collect(),
        up: up.ticks(8).into_iter().map(|tick| (up.place(tick), millis(tick).short())).collect(),
        lines: lines.collect(),
        stops,
        size: (960.0, 320.0),
    };
    // A phone scrolls it; shrunk to fit, nobody could read it.
    card("latency by quantile", &(chart.legend() + &chart.svg())).replacen("\"card\"", "\"card wide\"", 1)
}

/// One line of the chart of latencies.
struct Kind {
    name: String,
    colour: usize,
    earlier: bool,
    curve: Vec<(f64, f64)>,
}

impl Kind {
    /// All of a report that have a line. A name has the same colour in all sections; what the scenario is about has the
    /// first one.
    fn of(report: &Report, earlier: bool) -> Vec<Self> {
        let mut strangers = COLOURED.len()..;
        let kind = |(name, latency): (String, &Latency)| {
            let known = COLOURED.iter().position(|names| names.contains(&&*name));
            let colour = known.or_else(|| strangers.next()).unwrap_or_default();
            let name = if earlier { format!("{name}, earlier") } else { name };
            Self { name, colour, earlier, curve: curve(latency) }
        };
        latencies(report).into_iter().map(kind).filter(|kind| kind.curve.len() >= 2).collect()
    }
}

/// The value of a curve at a quantile, on the straight line that is drawn between its neighbours.
fn at(curve: &[(f64, f64)], quantile: f64, across: QuantileScale) -> Option<f64> {
    let after = curve.iter().position(|(at, _)| *at >= quantile)?;
    let (at, value) = curve[after];
    if at > quantile {
        // A curve that begins later has nothing to say before.
        let (before, lower) = curve[after.checked_sub(1)?];
        let (from, upto) = (across.place(before), across.place(at));
        let share = if upto > from { (across.place(quantile) - from) / (upto - from) } else { 1.0 };
        // Straight where the scale is logarithmic.
        let between = lower * (value / lower).powf(share.clamp(0.0, 1.0));
        return Some(if between.is_finite() { between } else { value });
    }
    Some(value)
}

/// How it went over time, in rows that are full.
fn time_charts(series: &[Series]) -> String {
    let (class, size) = if series.len() == 3 { ("pair three", (290.0, 190.0)) } else { ("pair", (460.0, 200.0)) };
    let charts: String = series.iter().map(|series| time_chart(series, size)).collect();
    if charts.is_empty() { charts } else { format!("<div class=\"{class}\">\n{charts}</div>\n") }
}

/// When it began, if the report says so.
fn began(report: &Report) -> String {
    if report.began_at == 0 { String::new() } else { format!(", began {}", moment(report.began_at)) }
}

/// One thing over time.
fn time_chart(series: &Series, size: (f64, f64)) -> String {
    // The first interval begins at zero; its sample is where it ends.
    let bounds = |(first, last): (f64, f64), (second, _): &(f64, f64)| (first.min(*second), last.max(*second));
    let (first, last) = series.points.iter().fold((0.0, 0.0), bounds);
    let span = last - first;
    if !(span.is_finite() && span > 0.0) {
        return String::new();
    }
    let across = LinearScale::upto([span], Base::Ten);
    let place = |second: f64| ((second - first) / span).clamp(0.0, 1.0);
    let up = LinearScale::upto(series.values(), series.base);
    let every = series.points.len().div_ceil(STOPS_MAX as usize).max(1);
    let stop = |(second, value): &(f64, f64)| Stop {
        across: place(*second),
        name: second_text(*second),
        values: vec![(0, up.place(*value), (series.unit)(*value).text())],
    };
    let ticks = across.ticks().into_iter().filter(|tick| *tick <= span * 1.000_001);
    let chart = Chart {
        label: format!("{} over time", series.name),
        across: ticks.map(|tick| (tick / span, second_text(first + tick))).collect(),
        up: up.ticks().into_iter().map(|tick| (up.place(tick), (series.unit)(tick).short())).collect(),
        stops: series.points.iter().step_by(every).map(stop).collect(),
        lines: vec![Line {
            name: series.name.to_owned(),
            colour: 0,
            earlier: false,
            filled: true,
            points: series.points.iter().map(|(second, value)| (place(*second), up.place(*value))).collect(),
        }],
        size,
    };
    card(series.name, &chart.svg())
}

/// A moment of the run; short, since several stand below an axis.
fn second_text(seconds: f64) -> String {
    format!("{} s", number(seconds).short())
}

fn card(title: &str, content: &str) -> String {
    format!("<div class=\"card\">\n<h3>{title}</h3>\n{content}</div>\n")
}

fn group_card(group: &Group) -> String {
    let row = |row: &Row| {
        let class = match row.tone {
            Tone::Plain => "",
            Tone::Good => " class=\"good\"",
            Tone::Bad => " class=\"bad\"",
        };
        let nested = if row.nested { " class=\"nested\"" } else { "" };
        let total = if group.rows.iter().any(|row| row.total.is_some()) {
            format!("<td class=\"soft\">{}</td>", row.total.as_ref().map(Figure::text).unwrap_or_default())
        } else {
            String::new()
        };
        let (name, figure) = (escaped(&row.name), row.figure.text());
        format!(
            "<tr{nested}><th scope=\"row\">{name}</th><td{class}>{figure}{}</td>{total}</tr>\n",
            ratio_span(row.ratio)
        )
    };
    let rows: String = group.rows.iter().map(row).collect();
    card(group.title, &format!("<table><tbody>\n{rows}</tbody></table>\n"))
}

fn spread_card(spreads: &[Spread]) -> String {
    if spreads.is_empty() {
        return String::new();
    }
    let row = |spread: &Spread| {
        let cells = spread.figures.iter().zip(spread.ratios);
        let cells: String =
            cells.map(|(figure, ratio)| format!("<td>{}{}</td>", figure.text(), ratio_span(ratio))).collect();
        let (name, count) = (escaped(&spread.name), count(spread.count).text());
        format!("<tr><th scope=\"row\">{name}</th>{cells}<td class=\"soft\">{count}</td></tr>\n")
    };
    let heads: String = COLUMNS.iter().map(|name| format!("<th>{name}</th>")).collect();
    let rows: String = spreads.iter().map(row).collect();
    format!(
        "<div class=\"card wide\">\n<table>\n<thead><tr><th>latency</th>{heads}<th>count</th></tr></thead>\n\
         <tbody class=\"after-head\">\n{rows}</tbody>\n</table>\n</div>\n"
    )
}

fn ratio_span(found: Option<Ratio>) -> String {
    let Some(found) = found else {
        return String::new();
    };
    let class = match found.verdict {
        Verdict::Better => "ratio better",
        Verdict::Same => "ratio",
        Verdict::Worse => "ratio worse",
    };
    format!("<span class=\"{class}\">{}</span>", escaped(&ratio(found.value)))
}

fn settings_card(report: &Report) -> String {
    let machine = (!report.machine.is_empty()).then(|| ("machine".to_owned(), report.machine.clone()));
    let item = |(name, value): (String, String)| format!("<dt>{}</dt><dd>{}</dd>\n", escaped(&name), escaped(&value));
    let items: String = report.settings.iter().cloned().chain(machine).map(item).collect();
    if items.is_empty() { String::new() } else { card("settings", &format!("<dl>\n{items}</dl>\n")) }
}

/// Names of latencies in the order of colours.
const COLOURED: [&[&str]; 4] = [&["delivery", "welcome"], &["ack"], &["enqueue"], &["last"]];

/// Places of a chart that have words of their own.
const STOPS_MAX: f64 = 240.0;
