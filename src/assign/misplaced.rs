//! What becomes of a device that opens a session on another node than the one it is assigned to. It moves nobody.

/// What becomes of a device that connects elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Misplaced {
    /// It is served where it is.
    #[default]
    Serve,
    /// It is asked to move.
    Move,
}

impl Misplaced {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Serve => "serve",
            Self::Move => "move",
        }
    }

    /// Reads its word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Serve, Self::Move].into_iter().find(|way| way.as_str() == word)
    }
}
