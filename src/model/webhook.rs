//! Webhooks: where a tenant wants events posted to. Plain values.

/// What is posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Receipts.
    Receipts,
    /// Comings and goings.
    Presence,
    /// Messages that devices did not ack in time.
    Fallback,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Receipts, Self::Presence, Self::Fallback];

    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Receipts => "receipts",
            Self::Presence => "presence",
            Self::Fallback => "fallback",
        }
    }

    /// Reads its word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// A webhook of a tenant. Never printed as a whole: it holds a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Where to.
    pub url: String,
    /// Signs the requests: the bytes behind `whsec_`.
    pub secret: Vec<u8>,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Webhook({})", self.url)
    }
}
