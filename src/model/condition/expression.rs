//! What a condition says, as a tree. Plain values: how it is read is in `parse`.

use std::fmt;

use crate::model::id::TopicName;

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
    /// All of these; two or more.
    All(Vec<Self>),
    /// At least one of these; two or more.
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

impl Operator {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Equal,
        Self::NotEqual,
        Self::Less,
        Self::LessOrEqual,
        Self::Greater,
        Self::GreaterOrEqual,
        Self::StartsWith,
    ];

    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::StartsWith => "startsWith",
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a text is no condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{words} (at byte {at})")]
pub struct ConditionError {
    /// Where, in bytes from the start; between two characters, also when they take several bytes.
    pub at: usize,
    /// What is wrong, and what would be right.
    pub words: String,
}
