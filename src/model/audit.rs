//! The audit log: who issued, revoked and changed what. Plain values; never a secret, a token or a payload.

use std::collections::BTreeMap;
use std::fmt;

use crate::model::clock::Timestamp;
use crate::model::id::{DeviceId, KeyId, TenantId, UserId};

/// Something that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// Whom it concerns; `None`: the gateway itself.
    pub tenant: Option<TenantId>,
    /// Who did it.
    pub actor: Actor,
    /// What was done.
    pub action: Action,
    /// To what: `key:ID`, `user:NAME`, `device:USER/DEVICE`, `token:ID`, `share:ID`, `node:NAME`, `tenant`.
    pub object: String,
    /// More, by word.
    pub details: BTreeMap<String, String>,
}

/// Who does something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A backend, with this key.
    Key(KeyId),
    /// The operator, with the admin key.
    Admin,
    /// The configuration, or the gateway by itself.
    Gateway,
    /// A device.
    Device(UserId, DeviceId),
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(id) => write!(f, "key:{id}"),
            Self::Admin => f.write_str("admin"),
            Self::Gateway => f.write_str("gateway"),
            Self::Device(user, device) => write!(f, "device:{user}/{device}"),
        }
    }
}

impl Actor {
    /// Reads its text form; `None` when it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "admin" => Some(Self::Admin),
            "gateway" => Some(Self::Gateway),
            _ => match text.split_once(':')? {
                ("key", id) => KeyId::new(id).ok().map(Self::Key),
                ("device", names) => {
                    let (user, device) = names.split_once('/')?;
                    Some(Self::Device(UserId::new(user).ok()?, DeviceId::new(device).ok()?))
                }
                _ => None,
            },
        }
    }
}

macro_rules! actions {
    ($($(#[doc = $doc:literal])+ $variant:ident = $word:literal;)+) => {
        /// What may be done. docs/security.md lists them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Action {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Action {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Its word.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// What it is.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+),)+ }
            }

            /// Reads its word.
            #[must_use]
            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|action| action.as_str() == word)
            }
        }
    };
}

actions! {
    /// A tenant was made.
    TenantCreated = "tenant.created";
    /// Limits or login ways of a tenant were changed.
    TenantUpdated = "tenant.updated";
    /// A tenant was suspended.
    TenantSuspended = "tenant.suspended";
    /// A suspended tenant may go on.
    TenantResumed = "tenant.resumed";
    /// An API key was made.
    KeyCreated = "key.created";
    /// An API key got a new secret.
    KeyRotated = "key.rotated";
    /// An API key was removed.
    KeyRemoved = "key.removed";
    /// A backend made an access token.
    TokenIssued = "token.issued";
    /// Tokens were revoked: one, or those of a device, a user, the tenant.
    TokensRevoked = "tokens.revoked";
    /// A code to enrol a device's key was made.
    EnrolmentCreated = "enrolment.created";
    /// A device enrolled its key.
    DeviceKeyEnrolled = "device_key.enrolled";
    /// The key of a device was forgotten.
    DeviceKeyRemoved = "device_key.removed";
    /// A device logged in.
    LoggedIn = "login.accepted";
    /// A share was made.
    ShareCreated = "share.created";
    /// A share was taken back.
    ShareRevoked = "share.revoked";
    /// Weight or state of a node was changed.
    NodeChanged = "node.changed";
    /// A webhook was set or removed.
    WebhookChanged = "webhook.changed";
}
