//! Takes the text of a condition apart into words, quoted texts and signs. It does not know in which order they may come.

use super::expression::{ConditionError, Operator};

/// A piece of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'t> {
    /// `(`
    Open,
    /// `)`
    Close,
    /// `&&`
    And,
    /// `||`
    Or,
    /// `!`
    Not,
    /// `==` and so on. `startsWith` is a word here.
    Sign(Operator),
    /// What stands between single quotes, escapes as they were written.
    Quoted(&'t str),
    /// A run of characters that names may have, `=` apart: it would swallow the operator.
    Word(&'t str),
    /// Nothing is left.
    End,
}

/// A token and where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed<'t> {
    pub(super) token: Token<'t>,
    /// First byte.
    pub(super) at: usize,
    /// The byte after the last.
    pub(super) end: usize,
}

/// Reads tokens from the left, each once.
pub(super) struct Tokens<'t> {
    text: &'t str,
    /// Where the next token is looked for.
    at: usize,
    /// Bytes looked at so far and tokens given: what the work is bounded by.
    pub(super) steps: usize,
}

impl<'t> Tokens<'t> {
    pub(super) const fn of(text: &'t str) -> Self {
        Self { text, at: 0, steps: 0 }
    }

    /// The next token; [`Token::End`] again and again at the end.
    pub(super) fn next(&mut self) -> Result<Placed<'t>, ConditionError> {
        let rest = &self.text[self.at..];
        let rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let at = self.text.len() - rest.len();
        let (token, length) = read(rest).map_err(|(ahead, words)| ConditionError { at: at + ahead, words })?;
        let end = at + length;
        self.steps += 1 + end - self.at;
        self.at = end;
        Ok(Placed { token, at, end })
    }
}

/// Where a fault is, counted from the token's first byte, and what it is.
type Fault = (usize, String);

/// The token that a text begins with, and its length.
fn read(text: &str) -> Result<(Token<'_>, usize), Fault> {
    const SIGNS: [(&str, Token<'_>); 11] = [
        ("&&", Token::And),
        ("||", Token::Or),
        ("==", Token::Sign(Operator::Equal)),
        ("!=", Token::Sign(Operator::NotEqual)),
        ("<=", Token::Sign(Operator::LessOrEqual)),
        (">=", Token::Sign(Operator::GreaterOrEqual)),
        ("<", Token::Sign(Operator::Less)),
        (">", Token::Sign(Operator::Greater)),
        ("!", Token::Not),
        ("(", Token::Open),
        (")", Token::Close),
    ];
    let Some(first) = text.chars().next() else {
        return Ok((Token::End, 0));
    };
    if let Some((sign, token)) = SIGNS.iter().find(|(sign, _)| text.starts_with(sign)) {
        return Ok((*token, sign.len()));
    }
    if first == '\'' {
        return quoted(text);
    }
    let length = text.find(|c| !is_of_word(c)).unwrap_or(text.len());
    if length > 0 { Ok((Token::Word(&text[..length]), length)) } else { Err((0, stray(first))) }
}

/// Reads a text in single quotes, of which the first is there.
fn quoted(text: &str) -> Result<(Token<'_>, usize), Fault> {
    let mut characters = text.char_indices().skip(1);
    while let Some((at, c)) = characters.next() {
        match c {
            '\'' => return Ok((Token::Quoted(&text[1..at]), at + 1)),
            '\\' if !matches!(characters.next(), Some((_, '\'' | '\\'))) => {
                return Err((at, r"a backslash stands before `'` or `\` only; write `\\` for one".to_owned()));
            }
            c if c.is_control() => {
                return Err((at, format!("control character {c:?}; no value has one")));
            }
            _ => {}
        }
    }
    Err((0, "the quote that opens here is not closed; expected `'` after the text".to_owned()))
}

/// What to say of a character that begins nothing.
fn stray(c: char) -> String {
    match c {
        '"' | '`' | '\u{2018}'..='\u{201f}' | '\u{ab}' | '\u{bb}' | '\u{2032}' | '\u{2033}' => {
            format!("{c:?} is no quote here; put texts in single quotes: `'TEXT'`")
        }
        '=' => "expected `==`; a single `=` is no operator".to_owned(),
        '&' => "expected `&&`; a single `&` is no operator".to_owned(),
        '|' => "expected `||`; a single `|` is no operator".to_owned(),
        c if c.is_whitespace() => format!("the blank {c:?} is not allowed here; use a plain one"),
        c => format!("character {c:?} is not allowed outside of quotes"),
    }
}

const fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~' | '%' | '@' | ':' | '+')
}
