//! Aligned tables: names to the left, numbers to the right, a dim line of headings. It decides where things stand, not
//! what is shown.

use std::io;

use anstyle::Style;

use crate::cli::style::{DIM, Output};

/// A table that is written when it is whole, so that its columns fit.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    name: &'static str,
    /// Whether what stands in it ends at the same place rather than begins there.
    right: bool,
}

/// Names, times and words.
pub(super) const fn left(name: &'static str) -> Column {
    Column { name, right: false }
}

/// Numbers.
pub(super) const fn right(name: &'static str) -> Column {
    Column { name, right: true }
}

/// What stands in one row of one column.
#[derive(Clone, Debug, Default)]
pub(super) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// A text in a colour.
    pub(super) fn styled(text: impl Into<String>, style: Style) -> Self {
        Self { text: printable(&text.into()), style }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::styled(text, Style::new())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::styled(text, Style::new())
    }
}

impl From<u64> for Cell {
    fn from(number: u64) -> Self {
        count(number).into()
    }
}

impl From<u32> for Cell {
    fn from(number: u32) -> Self {
        u64::from(number).into()
    }
}

impl Table {
    /// An empty table.
    pub(super) fn new(columns: impl Into<Vec<Column>>) -> Self {
        Self { columns: columns.into(), rows: Vec::new() }
    }

    /// Adds a row with a cell for each column.
    pub(super) fn row(&mut self, cells: impl Into<Vec<Cell>>) {
        self.rows.push(cells.into());
    }

    /// Writes it for people; nothing when it has no row.
    pub(super) fn write(&self, output: Output) -> io::Result<()> {
        self.lines().iter().try_for_each(|line| output.words(line))
    }

    /// Its lines. A column in which nothing stands is left out.
    pub(super) fn lines(&self) -> Vec<String> {
        let cells = |index: usize| self.rows.iter().filter_map(move |row| row.get(index));
        let shown: Vec<(usize, Column, usize)> = self
            .columns
            .iter()
            .enumerate()
            .filter_map(|(index, column)| {
                let widest = cells(index).map(|cell| width(&cell.text)).max().filter(|width| *width > 0)?;
                Some((index, *column, widest.max(width(column.name))))
            })
            .collect();
        if shown.is_empty() {
            return Vec::new();
        }
        let heading = |index: usize| Cell::styled(self.columns[index].name, DIM);
        let mut lines = vec![line(&shown, heading)];
        lines.extend(self.rows.iter().map(|row| line(&shown, |index| row.get(index).cloned().unwrap_or_default())));
        lines
    }
}

fn line(shown: &[(usize, Column, usize)], cell: impl Fn(usize) -> Cell) -> String {
    let mut line = String::new();
    // Blanks are put before what follows them, so that no line ends in some.
    let mut owed = 0;
    for (index, column, wide) in shown {
        let Cell { text, style } = cell(*index);
        let gap = wide - width(&text);
        owed += if column.right { gap } else { 0 };
        if !text.is_empty() {
            line.push_str(&" ".repeat(owed));
            line.push_str(&format!("{style}{text}{style:#}"));
            owed = 0;
        }
        owed += GAP + if column.right { 0 } else { gap };
    }
    line
}

/// A number with separators: `1,234`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A number with what it counts: `1 device`, `2 devices`.
pub(super) fn counted(number: u64, one: &str) -> String {
    format!("{} {one}{}", count(number), if number == 1 { "" } else { "s" })
}

/// A text from elsewhere, on one line and without what could steer a terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || is_invisible(c) { '?' } else { c }).collect()
}

/// Whether a character changes the direction of what follows or takes no room.
const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Columns that a text takes. Names are ASCII; for the few other texts a character is taken for a column.
fn width(text: &str) -> usize {
    text.chars().count()
}

/// Columns between columns.
const GAP: usize = 2;

#[cfg(test)]
mod tests {
    use super::{Table, count, counted, left, printable, right};

    fn plain(table: &Table) -> Vec<String> {
        table.lines().iter().map(|line| anstream::adapter::strip_str(line).to_string()).collect()
    }

    #[test]
    fn names_begin_and_numbers_end_where_the_others_do() {
        let mut table = Table::new([left("group"), right("members"), left("empty"), left("topics")]);
        table.row(["a".into(), 5_u64.into(), "".into(), "x".into()]);
        table.row(["a-long-name".into(), 1_234_567_u64.into(), "".into(), "".into()]);
        let expected = ["group          members  topics", "a                    5  x", "a-long-name  1,234,567"];
        assert_eq!(plain(&table), expected);
        assert!(plain(&Table::new([left("a")])).is_empty(), "no rows, no heading");
    }

    #[test]
    fn numbers_have_separators_and_words_their_number() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (u64::MAX, "18,446,744,073,709,551,615")] {
            assert_eq!(count(number), text);
        }
        assert_eq!([counted(1, "user"), counted(0, "user")], ["1 user", "0 users"]);
    }

    #[test]
    fn texts_from_elsewhere_steer_nothing() {
        assert_eq!(printable("a\u{1b}[2J\n\u{202e}b \u{fc}"), "a?[2J??b \u{fc}");
    }
}
