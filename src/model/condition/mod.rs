//! Push conditions: `'a' in topics && !(platform == 'ios')`. Parsing is checking; it does not know who is out there.

mod compare;
mod expression;
mod parse;
mod token;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

pub use self::compare::compare;
pub use self::expression::{ConditionError, Expression, Operator};
pub use self::parse::{ATTRIBUTE_NAME_BYTES_MAX, CONDITION_BYTES_MAX, DEPTH_MAX, OPERANDS_MAX};
use crate::model::id::TopicName;

/// A condition that was read and checked. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Condition {
    text: Arc<str>,
    root: Arc<Expression>,
}

/// What a condition asks about one device.
pub trait Facts {
    /// Whether it follows a topic.
    fn follows(&self, topic: &TopicName) -> bool;
    /// The value of an attribute.
    fn attribute(&self, name: &str) -> Option<&str>;
}

impl Condition {
    /// Reads a condition. Costs time in the length of the text, and stack for [`DEPTH_MAX`] levels at most.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn parse(text: &str) -> Result<Self, ConditionError> {
        let root = parse::parse(text)?;
        Ok(Self { text: text.into(), root: Arc::new(root) })
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

    /// Whether it is true for one device: slow and obvious, part by part.
    pub fn matches(&self, facts: &impl Facts) -> bool {
        self.root.matches(facts)
    }
}

impl Expression {
    /// Whether it is true for one device.
    pub fn matches(&self, facts: &impl Facts) -> bool {
        match self {
            Self::Topic(topic) => facts.follows(topic),
            Self::Attribute { name, operator, value } => {
                facts.attribute(name).is_some_and(|known| operator.holds(known, value))
            }
            Self::Not(part) => !part.matches(facts),
            Self::All(parts) => parts.iter().all(|part| part.matches(facts)),
            Self::Any(parts) => parts.iter().any(|part| part.matches(facts)),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
