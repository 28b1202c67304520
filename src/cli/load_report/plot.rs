//! Small plots for the terminal: latency over quantiles in braille, and how a run went over time in blocks.

use crate::cli::load_report::axis::{LogScale, QuantileScale};
use crate::cli::load_report::curves::{Series, curve, series};
use crate::cli::load_report::figures::latencies;
use crate::cli::load_report::table::printable;
use crate::cli::load_report::units::{millis, percent};
use crate::cli::style::{DIM, LITERAL};
use crate::load::report::Report;

/// The plots of a report, no line wider than `width` columns; nothing when there is nothing to plot.
pub(super) fn lines(report: &Report, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let latencies = latencies(report);
    if let Some((name, latency)) = latencies.first() {
        let curve = curve(latency);
        if curve.len() >= 2 {
            lines.push(String::new());
            lines.push(format!("  {LITERAL}{} by quantile{LITERAL:#}", printable(name, 20)));
            lines.extend(quantiles(&curve, width));
        }
    }
    let timelines = sparklines(&series(report), width);
    if !timelines.is_empty() {
        lines.push(String::new());
        lines.push(format!("  {LITERAL}over time{LITERAL:#}"));
        lines.extend(timelines);
    }
    lines
}

/// The curve above its axis.
fn quantiles(curve: &[(f64, f64)], width: usize) -> Vec<String> {
    let columns = width.saturating_sub(MARGIN + 2).clamp(8, COLUMNS_MAX);
    let across = QuantileScale::around([curve]);
    let up = LogScale::around(curve.iter().map(|(_, millis)| *millis));
    let mut canvas = Canvas::new(columns, ROWS);
    let points: Vec<_> = curve.iter().map(|(quantile, millis)| (across.place(*quantile), up.place(*millis))).collect();
    canvas.draw(&points);

    let mut names: Vec<String> = vec![String::new(); ROWS];
    for tick in up.ticks(ROWS.div_ceil(2)) {
        // Row 0 is the highest.
        let row = ((1.0 - up.place(tick)) * (ROWS - 1) as f64).round() as usize;
        names[row] = millis(tick).short();
    }
    let mut lines = Vec::new();
    for (name, row) in names.iter().zip(canvas.rows()) {
        let joint = if name.is_empty() { '\u{2502}' } else { '\u{2524}' };
        lines.push(format!("{DIM}{name:>MARGIN$} {joint}{DIM:#}{}", row.trim_end()));
    }
    lines.extend(quantile_axis(across, columns).map(|line| format!("{DIM}{:MARGIN$} {}{DIM:#}", "", line.trim_end())));
    lines
}

/// The axis and the names below it.
fn quantile_axis(across: QuantileScale, columns: usize) -> [String; 2] {
    let mut axis = vec!['\u{2500}'; columns];
    let mut names = vec![' '; columns];
    let mut free = 0;
    for tick in across.ticks() {
        let column = (across.place(tick) * (columns - 1) as f64).round() as usize;
        let name = percent(tick).replace(' ', "");
        // The middle of a name stands below its tick, as far as the edges let it; one without room is left out.
        let at = column.saturating_sub(name.len() / 2).min(columns.saturating_sub(name.len()));
        if at >= free {
            axis[column] = '\u{252c}';
            names.iter_mut().skip(at).zip(name.chars()).for_each(|(place, c)| *place = c);
            free = at + name.len() + 1;
        }
    }
    let (axis, names): (String, String) = (axis.into_iter().collect(), names.into_iter().collect());
    [format!("\u{2514}{axis}"), format!(" {names}")]
}

/// Dots, two across and four up a character.
struct Canvas {
    columns: usize,
    rows: usize,
    cells: Vec<u8>,
}

impl Canvas {
    fn new(columns: usize, rows: usize) -> Self {
        Self { columns, rows, cells: vec![0; columns * rows] }
    }

    /// Draws lines from point to point; both coordinates are in 0..=1, the first one rising.
    fn draw(&mut self, points: &[(f64, f64)]) {
        let (wide, high) = ((self.columns * 2 - 1) as f64, (self.rows * 4 - 1) as f64);
        let dots: Vec<_> = points.iter().map(|(x, y)| (x * wide, y * high)).collect();
        for pair in dots.windows(2) {
            let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
            // No dot of the line is skipped when each step is at most one dot.
            let steps = (x1 - x0).abs().max((y1 - y0).abs()).ceil().max(1.0);
            for step in 0..=steps as usize {
                let share = step as f64 / steps;
                self.set((x0 + (x1 - x0) * share).round() as usize, (y0 + (y1 - y0) * share).round() as usize);
            }
        }
    }

    /// Sets a dot, counted from the lower left.
    fn set(&mut self, x: usize, y: usize) {
        let down = (self.rows * 4 - 1).saturating_sub(y);
        let bit = BRAILLE[down % 4][x % 2];
        if let Some(cell) = self.cells.get_mut(down / 4 * self.columns + (x / 2).min(self.columns - 1)) {
            *cell |= bit;
        }
    }

    /// Its lines, from above.
    fn rows(&self) -> impl Iterator<Item = String> {
        let drawn = |cell: &u8| if *cell == 0 { ' ' } else { char::from_u32(0x2800 + u32::from(*cell)).unwrap_or(' ') };
        self.cells.chunks(self.columns).map(move |row| row.iter().map(drawn).collect())
    }
}

/// One line for each series that has something to show.
fn sparklines(series: &[Series], width: usize) -> Vec<String> {
    let names = series.iter().map(|series| series.name.len()).max().unwrap_or(0);
    let ranges: Vec<_> = series.iter().map(Series::range).collect();
    let words = ranges.iter().map(|range| range.chars().count()).max().unwrap_or(0);
    let columns = width.saturating_sub(4 + names + 2 + 2 + words).clamp(8, COLUMNS_MAX);
    let lines = series.iter().zip(&ranges).map(|(series, range)| {
        let name = series.name;
        format!("    {name:<names$}  {LITERAL}{}{LITERAL:#}  {DIM}{range}{DIM:#}", blocks(&series.values(), columns))
    });
    lines.collect()
}

/// Values as bars from zero, as many as there is room for, each the mean of what it stands for.
fn blocks(values: &[f64], columns: usize) -> String {
    let columns = columns.min(values.len()).max(1);
    let chunk = |column: usize| &values[column * values.len() / columns..(column + 1) * values.len() / columns];
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let means: Vec<_> = (0..columns).map(|column| mean(chunk(column))).collect();
    let most = means.iter().copied().fold(0.0, f64::max);
    let block = |value: f64| {
        let share = if most > 0.0 { (value / most).clamp(0.0, 1.0) } else { 0.0 };
        BLOCKS[(share * (BLOCKS.len() - 1) as f64).round() as usize]
    };
    means.into_iter().map(block).collect()
}

/// Bits of the dots of a braille character: from above, left and right.
const BRAILLE: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];

/// From nothing to full. Nothing is a line too, so that one sees where the bars begin.
const BLOCKS: [char; 8] =
    ['\u{2581}', '\u{2582}', '\u{2583}', '\u{2584}', '\u{2585}', '\u{2586}', '\u{2587}', '\u{2588}'];

/// Columns left of the axis.
const MARGIN: usize = 11;

/// Columns of a plot; wider ones are no easier to read.
const COLUMNS_MAX: usize = 64;

/// Rows of the plot of quantiles.
const ROWS: usize = 8;
