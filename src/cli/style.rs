//! Colours and how lines reach the terminal or the pipe. It decides no words.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;
use clap::builder::Styles;
use serde::Serialize;

/// Whether output has colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set or the terminal is dumb.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// Looks for `--color` among the arguments, since help and refusals are printed before they are parsed. Anything
    /// unclear is [`Color::Auto`]; the parser will complain.
    #[must_use]
    pub fn in_arguments(arguments: &[OsString]) -> Self {
        let mut found = Self::Auto;
        let mut arguments = arguments.iter().map(OsString::as_os_str);
        while let Some(argument) = arguments.next().filter(|argument| *argument != OsStr::new("--")) {
            let value = match argument.to_str().and_then(|text| text.strip_prefix("--color")) {
                Some("") => arguments.next().and_then(OsStr::to_str),
                Some(rest) => rest.strip_prefix('='),
                None => None,
            };
            found = value.and_then(|value| Self::from_str(value, false).ok()).unwrap_or(found);
        }
        found
    }

    /// Makes all later output obey, clap's own too.
    pub(super) fn apply(self) -> clap::ColorChoice {
        let (ours, claps) = match self {
            Self::Auto => (anstream::ColorChoice::Auto, clap::ColorChoice::Auto),
            Self::Always => (anstream::ColorChoice::Always, clap::ColorChoice::Always),
            Self::Never => (anstream::ColorChoice::Never, clap::ColorChoice::Never),
        };
        ours.write_global();
        claps
    }
}

/// Where a command writes what it has to say.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// One JSON object a line instead of words.
    pub json: bool,
}

impl Output {
    /// Writes a line of words, or nothing when scripts listen. Colours in it are removed where there should be none.
    ///
    /// # Errors
    /// Those of standard output; a reader that went away is one.
    pub fn words(self, line: &str) -> io::Result<()> {
        if self.json { Ok(()) } else { writeln!(anstream::stdout().lock(), "{line}") }
    }

    /// Writes an object as one line, or nothing when people listen.
    ///
    /// # Errors
    /// Those of standard output; a reader that went away is one.
    pub fn object(self, object: &impl Serialize) -> io::Result<()> {
        if !self.json {
            return Ok(());
        }
        let line = serde_json::to_string(object)?;
        let mut out = io::stdout().lock();
        writeln!(out, "{line}")?;
        // A script waits for this line; in a pipe it would stay in the buffer.
        out.flush()
    }

    /// Writes words that are not the result: notes for people, on standard error.
    pub fn note(self, line: &str) {
        // There is nobody left to tell when standard error is gone.
        let _ = writeln!(anstream::stderr().lock(), "{NOTE}note:{NOTE:#} {line}");
    }

    /// Writes a failure on standard error.
    pub fn failure(self, words: &str) {
        self.fail(words, &serde_json::json!({ "error": words }));
    }

    /// Writes a refusal by a gateway on standard error; its stable code and number are for scripts.
    pub fn refusal(self, words: &str, code: &str, errno: u32) {
        self.fail(words, &serde_json::json!({ "error": words, "code": code, "errno": errno }));
    }

    /// Writes a line that belongs to a failure, below it; scripts have the failure's code instead.
    pub fn below(self, line: &str) {
        if !self.json {
            // As above.
            let _ = writeln!(anstream::stderr().lock(), "{line}");
        }
    }

    fn fail(self, words: &str, object: &serde_json::Value) {
        let mut err = anstream::stderr().lock();
        // As above.
        let _ = if self.json { writeln!(err, "{object}") } else { writeln!(err, "{ERROR}error:{ERROR:#} {words}") };
    }
}

/// Failures.
pub const ERROR: Style = AnsiColor::Red.on_default().bold();
/// Success.
pub const GOOD: Style = AnsiColor::Green.on_default().bold();
/// Things to know.
pub const NOTE: Style = AnsiColor::Yellow.on_default().bold();
/// Headings.
pub const HEADING: Style = Style::new().bold().underline();
/// What is typed or copied.
pub const LITERAL: Style = AnsiColor::Cyan.on_default();
/// What matters less.
pub const DIM: Style = Style::new().dimmed();

/// The same for clap's help.
pub(super) const CLAP: Styles = Styles::styled()
    .header(HEADING)
    .usage(HEADING)
    .literal(LITERAL)
    .placeholder(Style::new())
    .error(ERROR)
    .valid(GOOD)
    .invalid(NOTE);

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::Color;

    #[test]
    fn color_is_found_wherever_it_stands() {
        for (arguments, color) in [
            (&["pushline", "--color", "never", "config"][..], Color::Never),
            (&["pushline", "config", "--color=always"], Color::Always),
            (&["pushline", "--color=always", "--color=never"], Color::Never),
            (&["pushline", "--color", "pink"], Color::Auto),
            (&["pushline", "--color"], Color::Auto),
            (&["pushline", "push", "--", "--color=never"], Color::Auto),
            (&[], Color::Auto),
        ] {
            let given: Vec<_> = arguments.iter().map(OsString::from).collect();
            assert_eq!(Color::in_arguments(&given), color, "{arguments:?}");
        }
    }
}
