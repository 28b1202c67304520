//! Reads a condition: grammar, bounds, and words for what is wrong. One pass over the text; calls nest as deep as
//! [`DEPTH_MAX`] and no deeper.
//!
//! ```text
//! condition = operand { "&&" operand } | operand { "||" operand }
//! operand   = "!" operand | "(" condition ")" | TOPIC "in" "topics" | NAME operator VALUE
//! operator  = "==" | "!=" | "<" | "<=" | ">" | ">=" | "startsWith"
//! ```

use super::expression::{ConditionError, Expression, Operator};
use super::token::{Placed, Token, Tokens};
use crate::model::id::TopicName;

/// Longest condition in bytes (proto).
pub const CONDITION_BYTES_MAX: usize = 4096;
/// Most comparisons with a topic or an attribute in one condition. A guess, far above what people write.
pub const OPERANDS_MAX: usize = 32;
/// How deep parentheses and `!` may nest. More are not needed for [`OPERANDS_MAX`], and each costs stack.
pub const DEPTH_MAX: usize = 32;
/// Longest name of an attribute in bytes (proto).
pub const ATTRIBUTE_NAME_BYTES_MAX: usize = 64;

/// Words of the language, which no attribute is called.
const KEPT: [&str; 3] = ["topics", "in", "startsWith"];

/// Most bytes of the condition that an error repeats: it travels in a header.
const SHOWN_BYTES_MAX: usize = 240;

/// Reads all of `text`.
pub(super) fn parse(text: &str) -> Result<Expression, ConditionError> {
    parse_counted(text).0
}

/// The same, with the steps it took.
pub(super) fn parse_counted(text: &str) -> (Result<Expression, ConditionError>, usize) {
    if text.len() > CONDITION_BYTES_MAX {
        let at = text.floor_char_boundary(CONDITION_BYTES_MAX);
        let words = format!("the condition has {} bytes; at most {CONDITION_BYTES_MAX} are allowed", text.len());
        return (Err(ConditionError { at, words }), 0);
    }
    let mut parser = Parser { text, tokens: Tokens::of(text), next: NOTHING, operands: 0 };
    let read = parser.whole();
    (read, parser.tokens.steps)
}

/// Stands for the next token before the first is read.
const NOTHING: Placed<'_> = Placed { token: Token::End, at: 0, end: 0 };

struct Parser<'t> {
    text: &'t str,
    tokens: Tokens<'t>,
    /// The token that was not taken yet.
    next: Placed<'t>,
    /// Comparisons so far.
    operands: usize,
}

/// What joins operands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Joint {
    And,
    Or,
}

impl Parser<'_> {
    fn whole(&mut self) -> Result<Expression, ConditionError> {
        self.advance()?;
        let root = self.chain(0)?;
        match self.next.token {
            Token::End => Ok(root),
            Token::Close => self.refuse("this `)` closes nothing; expected `&&`, `||` or the end"),
            _ => self.expected("`&&`, `||` or the end"),
        }
    }

    /// Operands joined by one kind of operator.
    fn chain(&mut self, depth: usize) -> Result<Expression, ConditionError> {
        let start = self.next.at;
        let first = self.operand(depth)?;
        let Some(joint) = joint(self.next.token) else {
            return Ok(first);
        };
        let mut all = vec![first];
        // The pieces between `||`, as bytes, and whether a piece has an `&&`: where parentheses could stand.
        let mut pieces = vec![(start, false)];
        let mut mixed = None;
        while let Some(now) = self::joint(self.next.token) {
            if now != joint {
                mixed = mixed.or(Some(self.next.at));
            }
            self.advance()?;
            match now {
                Joint::And => pieces.last_mut().into_iter().for_each(|piece| piece.1 = true),
                Joint::Or => pieces.push((self.next.at, false)),
            }
            all.push(self.operand(depth)?);
        }
        match (mixed, joint) {
            (Some(at), _) => Err(self.mixed(at, &pieces)),
            (None, Joint::And) => Ok(Expression::All(all)),
            (None, Joint::Or) => Ok(Expression::Any(all)),
        }
    }

    fn operand(&mut self, depth: usize) -> Result<Expression, ConditionError> {
        match self.next.token {
            Token::Not | Token::Open if depth == DEPTH_MAX => {
                self.refuse(&format!("parentheses and `!` nest deeper than {DEPTH_MAX}, which is the limit"))
            }
            Token::Not => {
                self.advance()?;
                Ok(Expression::Not(Box::new(self.operand(depth + 1)?)))
            }
            Token::Open => {
                let opened = self.next.at;
                self.advance()?;
                let inner = self.chain(depth + 1)?;
                match self.next.token {
                    Token::Close => self.advance()?,
                    _ => return self.expected(&format!("`&&`, `||` or the `)` that closes the `(` at byte {opened}")),
                }
                Ok(inner)
            }
            Token::Quoted(topic) => self.topic(topic),
            Token::Word(name) => self.attribute(name),
            Token::End if self.text.trim_ascii().is_empty() => {
                self.refuse("the condition is empty; expected `'TOPIC' in topics` or `ATTRIBUTE == 'VALUE'`")
            }
            _ => self.expected("`'TOPIC' in topics`, `ATTRIBUTE == 'VALUE'`, `!` or `(`"),
        }
    }

    fn topic(&mut self, name: &str) -> Result<Expression, ConditionError> {
        self.count()?;
        // No topic's name has an escape, so that bytes of the name are bytes of the text.
        let topic = TopicName::new(name);
        let topic = topic.or_else(|error| {
            let ahead = name.find(|c: char| TopicName::new(c.encode_utf8(&mut [0; 4])).is_err()).unwrap_or(0);
            fail(self.next.at + 1 + ahead, format!("the topic {:?}: {error}", shortened(name)))
        })?;
        self.advance()?;
        match self.next.token {
            Token::Word("in") => self.advance()?,
            Token::Sign(_) => {
                return self.refuse("expected `in topics`; an attribute stands on the left: `ATTRIBUTE == 'VALUE'`");
            }
            _ => return self.expected("`in topics` after the topic"),
        }
        match self.next.token {
            Token::Word("topics") => self.advance()?,
            _ => return self.expected("`topics` after `in`"),
        }
        Ok(Expression::Topic(topic))
    }

    fn attribute(&mut self, name: &str) -> Result<Expression, ConditionError> {
        self.count()?;
        let at = self.next.at;
        self.advance()?;
        let operator = match self.next.token {
            Token::Sign(operator) => operator,
            Token::Word("startsWith") => Operator::StartsWith,
            Token::Word(word) if word.eq_ignore_ascii_case("startsWith") => {
                return self.refuse("expected `startsWith`, in this spelling");
            }
            Token::Word("in") if !KEPT.contains(&name) => {
                return fail(at, format!("put the topic in single quotes: `'{}' in topics`", shortened(name)));
            }
            _ if KEPT.contains(&name) || instead(name).is_some() => {
                return fail(at, misplaced(name, "`'TOPIC' in topics` or `ATTRIBUTE == 'VALUE'`"));
            }
            _ => {
                let name = shortened(name);
                return self.expected(&format!("`==`, `!=`, `<`, `<=`, `>`, `>=` or `startsWith` after `{name}`"));
            }
        };
        check_name(name).or_else(|words| fail(at, words))?;
        self.advance()?;
        let value = match self.next.token {
            Token::Quoted(value) => unescaped(value),
            Token::Word(word) => {
                return self.refuse(&format!("put the value in single quotes: `'{}'`", shortened(word)));
            }
            _ => return self.expected(&format!("a value in single quotes after `{operator}`")),
        };
        self.advance()?;
        Ok(Expression::Attribute { name: name.to_owned(), operator, value })
    }

    /// Counts a comparison that begins here.
    fn count(&mut self) -> Result<(), ConditionError> {
        if self.operands == OPERANDS_MAX {
            let words = format!("there are more than {OPERANDS_MAX} topics and attributes, which is the limit");
            return self.refuse(&words);
        }
        self.operands += 1;
        Ok(())
    }

    fn advance(&mut self) -> Result<(), ConditionError> {
        self.next = self.tokens.next()?;
        Ok(())
    }

    fn refuse<T>(&self, words: &str) -> Result<T, ConditionError> {
        fail(self.next.at, words.to_owned())
    }

    /// Refuses the next token, and says what could stand there.
    fn expected<T>(&self, what: &str) -> Result<T, ConditionError> {
        let found = &self.text[self.next.at..self.next.end];
        self.refuse(&match self.next.token {
            Token::End => format!("expected {what}, and the condition ends"),
            Token::Word(word) => misplaced(word, what),
            _ => format!("expected {what}, not `{}`", shortened(found)),
        })
    }

    /// Refuses `&&` beside `||`, and shows where parentheses could stand: as in most languages, where `&&` binds first.
    fn mixed(&self, at: usize, pieces: &[(usize, bool)]) -> ConditionError {
        let end = self.text[..self.next.at].trim_ascii_end().len();
        let mut spans = Vec::new();
        for (index, (from, joined)) in pieces.iter().enumerate() {
            let upto = pieces.get(index + 1).map_or(end, |next| {
                let before = self.text[..next.0].trim_ascii_end();
                before.len() - "||".len()
            });
            spans.push((*from, self.text[*from..upto].trim_ascii_end(), *joined));
        }
        let shown: Vec<String> = spans
            .iter()
            .map(|(_, text, joined)| if *joined { format!("({text})") } else { (*text).to_owned() })
            .collect();
        let shown = shown.join(" || ");
        let how = if shown.len() <= SHOWN_BYTES_MAX {
            format!("`{shown}`")
        } else {
            let first = spans.iter().find(|(_, _, joined)| *joined);
            let (from, upto) = first.map_or((0, end), |(from, text, _)| (*from, from + text.len()));
            format!("`(` at byte {from} and `)` at byte {upto}")
        };
        let words =
            format!("`&&` and `||` stand side by side; say with parentheses which comes first, for example {how}");
        ConditionError { at, words }
    }
}

fn fail<T>(at: usize, words: String) -> Result<T, ConditionError> {
    Err(ConditionError { at, words })
}

const fn joint(token: Token<'_>) -> Option<Joint> {
    match token {
        Token::And => Some(Joint::And),
        Token::Or => Some(Joint::Or),
        _ => None,
    }
}

/// Checks the name of an attribute; says what is wrong with it.
fn check_name(name: &str) -> Result<(), String> {
    if KEPT.contains(&name) {
        return Err(format!("`{name}` is a word of the language and no attribute"));
    }
    if name.len() > ATTRIBUTE_NAME_BYTES_MAX {
        let length = name.len();
        return Err(format!("the attribute's name has {length} bytes; at most {ATTRIBUTE_NAME_BYTES_MAX} are allowed"));
    }
    if !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        return Err(format!("{:?} is no attribute: names begin with a letter or an underscore", shortened(name)));
    }
    Ok(())
}

/// What to say of a word where something else was expected.
fn misplaced(word: &str, what: &str) -> String {
    match instead(word) {
        Some(sign) => format!("expected {what}; write `{sign}` for `{}`", shortened(word)),
        None => format!("expected {what}, not `{}`", shortened(word)),
    }
}

/// The sign for a word that other languages have.
fn instead(word: &str) -> Option<&'static str> {
    let signs = [("and", "&&"), ("or", "||"), ("not", "!")];
    signs.into_iter().find(|(known, _)| word.eq_ignore_ascii_case(known)).map(|(_, sign)| sign)
}

/// A text without its escapes, each of which was checked when it was read.
fn unescaped(raw: &str) -> String {
    let mut value = String::with_capacity(raw.len());
    let mut characters = raw.chars();
    while let Some(c) = characters.next() {
        value.extend(if c == '\\' { characters.next() } else { Some(c) });
    }
    value
}

/// As much of a text as an error shows.
fn shortened(text: &str) -> String {
    const MOST: usize = 40;
    if text.len() <= MOST {
        return text.to_owned();
    }
    format!("{}...", &text[..text.floor_char_boundary(MOST)])
}
