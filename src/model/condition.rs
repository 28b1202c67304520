//! Push conditions: `'a' in topics && !(platform == 'ios')`. Parsing is checking; it does not know who is out there.

use std::fmt;
use std::sync::Arc;

use crate::model::id::TopicName;

/// A condition that was read and checked. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Condition {
    text: Arc<str>,
    root: Arc<Expression>,
}

/// One part of a condition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Expression {
    /// The device follows this topic.
    Topic(TopicName),
    /// The device has this attribute, and its value compares so. False for a device without it.
    Attribute {
        /// Name of the attribute.
        name: String,
        /// How to compare.
        operator: Operator,
        /// What to compare with.
        value: String,
    },
    /// It is not so.
    Not(Box<Self>),
    /// All of these.
    All(Vec<Self>),
    /// At least one of these.
    Any(Vec<Self>),
}

/// How an attribute is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `startsWith`
    StartsWith,
}

/// Why a text is no condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{words} (at byte {at})")]
pub struct ConditionError {
    /// Where, in bytes from the start.
    pub at: usize,
    /// What is wrong, and what would be right.
    pub words: String,
}

/// What a condition asks about one device.
pub trait Facts {
    /// Whether it follows a topic.
    fn follows(&self, topic: &TopicName) -> bool;
    /// The value of an attribute.
    fn attribute(&self, name: &str) -> Option<&str>;
}

impl Condition {
    /// Reads a condition.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn parse(text: &str) -> Result<Self, ConditionError> {
        let name = text.strip_prefix('\'').and_then(|rest| rest.strip_suffix("' in topics"));
        let name = name.ok_or_else(|| ConditionError { at: 0, words: "expected `'TOPIC' in topics`".to_owned() })?;
        let topic = TopicName::new(name).map_err(|error| ConditionError { at: 1, words: error.to_string() })?;
        Ok(Self { text: text.into(), root: Arc::new(Expression::Topic(topic)) })
    }

    /// The text it was read from.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its outermost part.
    #[must_use]
    pub fn root(&self) -> &Expression {
        &self.root
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
