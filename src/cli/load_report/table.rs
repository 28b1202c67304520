//! A report as an aligned table for the terminal. It decides where things stand, not what is shown.

use anstyle::Style;

use crate::cli::load_report::figures::{
    COLUMNS, Group, Ratio, Row, Spread, Tone, Verdict, correctness, cost, spreads, throughput,
};
use crate::cli::load_report::units::{Figure, count, ratio, seconds};
use crate::cli::style::{DIM, ERROR, GOOD, HEADING, LITERAL, NOTE};
use crate::load::report::Report;

/// The lines of a report, none wider than `width` columns (if that is [`WIDTH_MIN`] or more).
pub(super) fn lines(report: &Report, earlier: Option<&Report>, width: usize) -> Vec<String> {
    let groups: Vec<_> =
        [throughput(report, earlier), cost(report, earlier), Some(correctness(report))].into_iter().flatten().collect();
    let figures = figures(&groups, width);
    let mut rows = figures.iter();
    let mut lines = head(report, width);
    let mut spread = spread(&spreads(report, earlier), width);
    for group in &groups {
        // Latency stands between what went through and what it cost.
        if group.title != "throughput" {
            section(&mut lines, std::mem::take(&mut spread));
        }
        let title = format!("{}{LITERAL}{}{LITERAL:#}", " ".repeat(INDENT), group.title);
        section(&mut lines, std::iter::once(title).chain(rows.by_ref().take(group.rows.len()).cloned()));
    }
    lines.iter().map(|line| line.trim_end().to_owned()).collect()
}

/// Text from elsewhere, safe to print: a control character could move the cursor, and a character of unknown width would
/// break the columns.
pub(super) fn printable(text: &str, chars_max: usize) -> String {
    let narrow = |c: char| matches!(c, ' '..='~' | '\u{a1}'..='\u{ac}' | '\u{ae}'..='\u{2ff}');
    let mut shown: String = text.chars().take(chars_max + 1).map(|c| if narrow(c) { c } else { '?' }).collect();
    if shown.chars().count() > chars_max {
        shown = shown.chars().take(chars_max.saturating_sub(1)).chain(['\u{2026}']).collect();
    }
    shown
}

/// The scenario and what was asked.
fn head(report: &Report, width: usize) -> Vec<String> {
    let connections = count(report.connections).text();
    let took = seconds(report.seconds);
    let facts = format!("  {connections} connections, {took}");
    let name = printable(&report.scenario, width.saturating_sub(facts.chars().count()));
    let mut lines = vec![format!("{HEADING}{name}{HEADING:#}{facts}")];
    let settings = report.settings.iter().map(|(name, value)| {
        let (name, value) = (printable(name, NAME_MAX), printable(value, NAME_MAX));
        printable(format!("{name} {value}").trim(), width.saturating_sub(INDENT))
    });
    for line in wrapped(settings.filter(|setting| !setting.is_empty()), width.saturating_sub(INDENT)) {
        lines.push(format!("{}{DIM}{line}{DIM:#}", " ".repeat(INDENT)));
    }
    let machine = printable(&report.machine, width.saturating_sub(INDENT));
    if !machine.is_empty() {
        lines.push(format!("{}{DIM}{machine}{DIM:#}", " ".repeat(INDENT)));
    }
    lines
}

/// Items in as few lines as they need.
fn wrapped(items: impl Iterator<Item = String>, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for item in items {
        match lines.last_mut() {
            Some(line) if line.chars().count() + SEPARATOR.chars().count() + item.chars().count() <= width => {
                line.push_str(SEPARATOR);
                line.push_str(&item);
            }
            _ => lines.push(item),
        }
    }
    lines
}

fn section(lines: &mut Vec<String>, section: impl IntoIterator<Item = String>) {
    let mut section = section.into_iter().peekable();
    if section.peek().is_some() {
        lines.push(String::new());
        lines.extend(section);
    }
}

/// One line a row of all groups, so that their columns stand below each other.
fn figures(groups: &[Group], width: usize) -> Vec<String> {
    let rows = || groups.iter().flat_map(|group| &group.rows);
    let units = rows().map(|row| row.figure.unit.chars().count()).max().unwrap_or(0);
    grid(rows().map(|row| figure_cells(row, units)).collect(), width, &[3, 2])
}

fn figure_cells(row: &Row, units: usize) -> Vec<Cell> {
    let style = match row.tone {
        Tone::Plain => Style::new(),
        Tone::Good => GOOD,
        Tone::Bad => ERROR,
    };
    let name = printable(&row.name, NAME_MAX);
    vec![
        Cell::left(if row.nested { format!("  {name}") } else { name }, Style::new()),
        Cell::right(valued(&row.figure, units), style),
        ratio_cell(row.ratio),
        Cell::right(row.total.as_ref().map(Figure::text).unwrap_or_default(), DIM),
    ]
}

/// A figure whose digits end where those above and below end.
fn valued(figure: &Figure, units: usize) -> String {
    format!("{} {:<units$}", figure.digits, figure.unit)
}

/// The distributions: a line of names, a line for each, and one of ratios below where there is something to compare.
fn spread(spreads: &[Spread], width: usize) -> Vec<String> {
    if spreads.is_empty() {
        return Vec::new();
    }
    let names = COLUMNS.iter().map(|name| Cell::right(format!("{name}   "), DIM));
    let mut rows = vec![
        std::iter::once(Cell::left("latency", LITERAL))
            .chain(names)
            .chain([Cell::right("count", DIM)])
            .collect::<Vec<_>>(),
    ];
    for spread in spreads {
        // Units of time are one or two letters.
        let figures = spread.figures.iter().map(|figure| valued(figure, 2));
        let name = Cell::left(format!("  {}", printable(&spread.name, NAME_MAX / 2)), Style::new());
        let figures = figures.map(|text| Cell::right(text, Style::new()));
        rows.push(std::iter::once(name).chain(figures).chain([Cell::right(count(spread.count).text(), DIM)]).collect());
        if spread.ratios.iter().any(Option::is_some) {
            let ratios = spread.ratios.iter().map(|ratio| ratio_cell(*ratio));
            rows.push(std::iter::once(Cell::default()).chain(ratios).chain([Cell::default()]).collect());
        }
    }
    // The heading stands where other headings do, its rows where other rows do.
    let lines = grid(rows, width + INDENT, &[6, 2, 4, 1]);
    lines.into_iter().map(|line| line[INDENT..].to_owned()).collect()
}

fn ratio_cell(found: Option<Ratio>) -> Cell {
    let style = |verdict| match verdict {
        Verdict::Better => GOOD,
        Verdict::Same => DIM,
        Verdict::Worse => NOTE,
    };
    found.map_or_else(Cell::default, |found| Cell::right(format!("({})", ratio(found.value)), style(found.verdict)))
}

/// A piece of a line.
#[derive(Clone, Debug, Default)]
struct Cell {
    text: String,
    style: Style,
    right: bool,
}

impl Cell {
    fn left(text: impl Into<String>, style: Style) -> Self {
        Self { text: text.into(), style, right: false }
    }

    fn right(text: impl Into<String>, style: Style) -> Self {
        Self { text: text.into(), style, right: true }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }

    fn drawn(&self, width: usize) -> String {
        let Self { text, style, .. } = self;
        let gap = " ".repeat(width.saturating_sub(self.width()));
        let words = text.trim_end();
        let after = &text[words.len()..];
        match (words.is_empty(), self.right) {
            (true, _) => " ".repeat(width),
            (false, true) => format!("{gap}{style}{words}{style:#}{after}"),
            (false, false) => format!("{style}{words}{style:#}{after}{gap}"),
        }
    }
}

/// Lines of equal width. Columns that are empty take no room; those in `spare` are left out, the first one first, until
/// the rest fits.
fn grid(mut rows: Vec<Vec<Cell>>, width: usize, spare: &[usize]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let mut spare = spare.iter();
    loop {
        let column =
            |index: usize| rows.iter().filter_map(move |row: &Vec<Cell>| row.get(index).map(Cell::width)).max();
        let widths: Vec<usize> = (0..columns).map(|index| column(index).unwrap_or(0)).collect();
        let gaps = widths.iter().skip(1).filter(|width| **width > 0).count() * GAP;
        let total = 2 * INDENT + widths.iter().sum::<usize>() + gaps;
        let leave = if total > width { spare.next() } else { None };
        let Some(leave) = leave else {
            return rows.iter().map(|row| line(row, &widths)).collect();
        };
        for cell in rows.iter_mut().filter_map(|row| row.get_mut(*leave)) {
            *cell = Cell::default();
        }
    }
}

fn line(row: &[Cell], widths: &[usize]) -> String {
    let mut line = " ".repeat(2 * INDENT);
    for (index, (cell, width)) in row.iter().zip(widths).enumerate().filter(|(_, (_, width))| **width > 0) {
        line.push_str(&" ".repeat(if index > 0 { GAP } else { 0 }));
        line.push_str(&cell.drawn(*width));
    }
    line
}

/// Below this, lines may be wider than the terminal.
pub(super) const WIDTH_MIN: usize = 48;

/// Columns before a heading; before a row it is twice as much.
const INDENT: usize = 2;

/// Columns between columns.
const GAP: usize = 2;

/// Between settings.
const SEPARATOR: &str = " \u{b7} ";

/// Characters of a name or a value from elsewhere. A guess: longer ones say nothing more.
const NAME_MAX: usize = 40;
