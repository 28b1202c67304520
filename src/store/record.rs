//! Records: small values that must last and that every node must know, by name. Plain values; the store does not know what
//! they mean.

use bytes::Bytes;

use crate::model::clock::Timestamp;

/// What records are about. Each kind has names of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shelf {
    /// Tenants: `TENANT`.
    Tenants,
    /// API keys: `TENANT/KEY`.
    Keys,
    /// What was revoked: `TENANT/all`, `TENANT/token/ID`, `TENANT/user/USER`, `TENANT/device/USER/DEVICE`.
    Revocations,
    /// Shares: `TENANT/SHARE`.
    Shares,
    /// Keys of devices: `TENANT/USER/DEVICE`.
    DeviceKeys,
    /// Codes to enrol such a key, hashed: `HASH`.
    Enrolments,
    /// Challenges that were used, hashed: `HASH`.
    Challenges,
    /// Nodes: `NODE`.
    Nodes,
}

impl Shelf {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Tenants,
        Self::Keys,
        Self::Revocations,
        Self::Shares,
        Self::DeviceKeys,
        Self::Enrolments,
        Self::Challenges,
        Self::Nodes,
    ];
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What it says.
    pub value: Bytes,
    /// 1 for the first, then one more with each change. A record that was removed and made again begins at 1.
    pub version: u64,
    /// It is gone after this; `None`: it stays.
    pub until: Option<Timestamp>,
}

/// What must hold for a record to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Whatever.
    Any,
    /// There is none.
    Absent,
    /// It has this version.
    Version(u64),
}

/// A record to be written or removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// What it is about.
    pub shelf: Shelf,
    /// Its name: at most [`RECORD_NAME_BYTES_MAX`] bytes, without NUL.
    pub name: String,
    /// What it says; `None` removes it. At most [`RECORD_BYTES_MAX`] bytes.
    pub value: Option<Bytes>,
    /// Else nothing of the call is written.
    pub expected: Expected,
    /// It is gone after this.
    pub until: Option<Timestamp>,
}

/// A record that was changed: `None` when it was removed, or its time was over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// What it is about.
    pub shelf: Shelf,
    /// Its name.
    pub name: String,
    /// What it says now.
    pub record: Option<Record>,
}

/// Longest name: three names of the greatest length and what stands between them.
pub const RECORD_NAME_BYTES_MAX: usize = 512;

/// Longest value.
pub const RECORD_BYTES_MAX: usize = 64 * 1024;

/// Bounds of one tenant; `None` is the store's own bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TenantLimits {
    /// See [`crate::store::Limits::inbox_entries_max`].
    pub inbox_entries_max: Option<u64>,
    /// See [`crate::store::Limits::topic_entries_max`].
    pub topic_entries_max: Option<u64>,
    /// See [`crate::store::Limits::devices_per_user_max`].
    pub devices_per_user_max: Option<u32>,
    /// See [`crate::store::Limits::subscriptions_per_device_max`].
    pub subscriptions_per_device_max: Option<u32>,
    /// Topics that have a log, a follower, a group or a setting. Full: what would make another is refused.
    pub topics_max: Option<u64>,
    /// Bytes of the bodies of all messages that are kept: those that wait for their time too, and those that expired until
    /// they are swept. Full: appends that would add to them are refused.
    pub stored_bytes_max: Option<u64>,
}

/// What a tenant takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Topics, see [`TenantLimits::topics_max`].
    pub topics: u64,
    /// Bytes of the bodies of all messages that are kept, see [`TenantLimits::stored_bytes_max`].
    pub stored_bytes: u64,
}
