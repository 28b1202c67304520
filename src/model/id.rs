//! Names of tenants, users, devices and topics, and ids of messages and sessions. Parsing is checking: a value of these
//! types is valid.

use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

/// Longest name in bytes. A guess: long enough for a UUID, a mail address or a reversed domain name.
pub const NAME_BYTES_MAX: usize = 128;

/// Why a name was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name has no characters.
    #[error("it is empty; give 1 to {NAME_BYTES_MAX} characters")]
    Empty,
    /// The name is longer than [`NAME_BYTES_MAX`].
    #[error("it has {0} bytes; the limit is {NAME_BYTES_MAX}")]
    TooLong(usize),
    /// The name has a character outside the allowed set.
    #[error("character {0:?} at byte {1} is not allowed; use letters, digits and - _ . ~ % @ : + =")]
    Character(char, usize),
}

/// The characters of FCM's topic names (`A-Z a-z 0-9 - _ . ~ %`) and `@ : + =`, so that mail addresses, URNs and base64
/// can be names. No slash, blank or control: a name stands unescaped in paths, logs and store keys.
fn check(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong(name.len()));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.~%@:+=".contains(c);
    match name.char_indices().find(|(_, c)| !allowed(*c)) {
        Some((at, c)) => Err(NameError::Character(c, at)),
        None => Ok(()),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Arc<str>);

        impl $type {
            /// Checks and takes a name.
            ///
            /// # Errors
            /// [`NameError`] when it is empty, too long or has a character that is not allowed.
            pub fn new(name: &str) -> Result<Self, NameError> {
                check(name)?;
                Ok(Self(name.into()))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

name!(
    /// A customer of this deployment; owns everything below it.
    TenantId
);
name!(
    /// A user of a tenant.
    UserId
);
name!(
    /// One installed receiver of a user.
    DeviceId
);
name!(
    /// A topic of a tenant.
    TopicName
);
name!(
    /// A set of users that a backend manages; it maps to topics.
    GroupName
);
name!(
    /// A sender's word for messages that belong together.
    Tag
);
name!(
    /// An API key of a tenant, without its secret.
    KeyId
);
name!(
    /// Topics that a backend shares with people without an account.
    ShareId
);
name!(
    /// A node of this deployment.
    NodeName
);

/// A device's number within its tenant, given once and never again: what sets of devices are made of. A user that no
/// device of was seen yet has one too, which its first device takes over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceNumber(pub u32);

impl TenantId {
    /// Whether the name is kept for the gateway itself, as those that begin with an underscore are: its canary lives there.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with('_')
    }
}

impl UserId {
    /// Whether the name is kept for the gateway itself, as those that begin with an underscore are: viewers of shares have
    /// such names.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with('_')
    }
}

/// A device with the user and tenant it belongs to: who a session is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Receiver {
    /// Owner of everything.
    pub tenant: TenantId,
    /// The user the device belongs to.
    pub user: UserId,
    /// The device.
    pub device: DeviceId,
}

impl fmt::Display for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.tenant, self.user, self.device)
    }
}

/// Id of a message: a UUID version 7 (RFC 9562), the same in every delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(Uuid);

impl MessageId {
    /// The id with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// An id for a message accepted at `unix_millis`, made unique by ten bytes of chance.
    #[must_use]
    pub const fn new(unix_millis: u64, chance: [u8; 10]) -> Self {
        Self(uuid::Builder::from_unix_timestamp_millis(unix_millis, &chance).into_uuid())
    }

    /// The id as its 16 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// Reads the usual text form. `None` when it is not a UUID.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::parse_str(text).ok().map(Self)
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Id of a session's connection-long life, for logs and for acks that want to be sure whom they reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionId(u64);

impl SessionId {
    /// The id with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{MessageId, NAME_BYTES_MAX, NameError, TopicName};

    #[test]
    fn names_are_checked() {
        assert!(TopicName::new("news.berlin-2_%~@:+=").is_ok());
        assert!(TopicName::new(&"x".repeat(NAME_BYTES_MAX)).is_ok());
        assert_eq!(TopicName::new(""), Err(NameError::Empty));
        assert_eq!(TopicName::new(&"x".repeat(129)), Err(NameError::TooLong(129)));
        for (name, c, at) in [("a/b", '/', 1), ("a b", ' ', 1), ("ab\0", '\0', 2), ("é", 'é', 0)] {
            assert_eq!(TopicName::new(name), Err(NameError::Character(c, at)));
        }
    }

    #[test]
    fn message_ids_sort_by_time_and_read_back() {
        let early = MessageId::new(1_000, [255; 10]);
        let late = MessageId::new(1_001, [0; 10]);
        assert!(early < late);
        assert_eq!(MessageId::parse(&late.to_string()), Some(late));
        assert_eq!(MessageId::parse("x"), None);
    }
}
