//! Tenants: limits, and how their devices log in. Plain values, kept as JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::model::clock::Timestamp;

/// What is known of a tenant besides its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tenant {
    /// When it was made.
    pub created_at: Timestamp,
    /// Its keys and tokens are refused.
    pub suspended: bool,
    /// What it may take.
    pub limits: Limits,
    /// How its devices log in.
    pub login: LoginWays,
}

/// Bounds of a tenant; `None` is the gateway's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "`TenantLimits` of admin.proto documents them")]
pub struct Limits {
    pub connections: Option<u64>,
    pub connections_per_user: Option<u32>,
    pub devices_per_user: Option<u32>,
    pub subscriptions_per_device: Option<u32>,
    pub topics: Option<u64>,
    pub stored_bytes: Option<u64>,
    pub inbox_entries: Option<u64>,
    pub topic_entries: Option<u64>,
    pub ttl_seconds: Option<u32>,
    pub pushes: Option<Rate>,
    pub calls_per_key: Option<Rate>,
    pub requests_per_user: Option<Rate>,
    pub requests_per_device: Option<Rate>,
    pub logins_per_user: Option<Rate>,
}

/// A token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// So many...
    pub count: NonZeroU32,
    /// ... in so many seconds.
    pub per_seconds: NonZeroU32,
    /// May come at once after a pause.
    pub burst: NonZeroU32,
}

/// How devices log in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoginWays {
    /// The tenant's business server is asked.
    pub business: Option<BusinessLogin>,
    /// A JWT of the tenant's identity provider.
    pub jwt: Option<JwtLogin>,
    /// A key pair that the device enrolled.
    pub device_key: bool,
    /// Life of access tokens in seconds; 0: [`TOKEN_TTL_SECONDS`].
    pub token_ttl_seconds: u32,
}

/// Life of access tokens whose tenant names none.
pub const TOKEN_TTL_SECONDS: u32 = 3600;

/// The business server that checks credentials.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BusinessLogin {
    /// `http`, `https`, `grpc` or `grpcs`.
    pub url: String,
    /// Signs the requests: `whsec_...`.
    pub secret: String,
    /// Longest wait in milliseconds.
    pub timeout_ms: u32,
}

impl fmt::Debug for BusinessLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BusinessLogin({})", self.url)
    }
}

/// The identity provider whose tokens are taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "`JwtLogin` of admin.proto documents them")]
pub struct JwtLogin {
    pub issuer: String,
    pub audiences: Vec<String>,
    pub jwks_url: String,
    pub algorithms: Vec<String>,
    pub user_claim: String,
    pub attributes: BTreeMap<String, String>,
    pub groups_claim: String,
    pub leeway_seconds: u32,
}
