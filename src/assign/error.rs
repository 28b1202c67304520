//! Why a line of the configuration is no node, or no rule.

use crate::model::id::NameError;

/// What is wrong with a node or a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It has no words, or too few.
    #[error("it has too few words; write {0}")]
    TooShort(&'static str),
    /// A word that means nothing there.
    #[error("`{0}` means nothing here; write {1}")]
    Word(String, &'static str),
    /// A word that may stand there once stands there twice.
    #[error("`{0}` stands there twice")]
    Twice(String),
    /// A name that cannot be one.
    #[error("the name {0:?}: {1}")]
    Name(String, NameError),
    /// An address that nobody could connect to.
    #[error("`{0}` is no address; write host:port, with brackets around an IPv6 address")]
    Address(String),
    /// A weight out of bounds.
    #[error("`{0}` is no weight; write 0 to 1000")]
    Weight(String),
    /// A rule without a condition that can be read.
    #[error("a rule has its nodes behind `->`; write {0}")]
    Arrow(&'static str),
}
