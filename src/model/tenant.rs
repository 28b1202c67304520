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

impl Rate {
    /// Reads what [`Rate`] is shown as: `10/s`, `600/min burst 100`, `5/30s`. Without a burst it is the count. `None` when it
    /// is not of this form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (pace, burst) = match text.split_once(" burst ") {
            Some((pace, burst)) => (pace, Some(burst)),
            None => (text, None),
        };
        let (count, span) = pace.split_once('/')?;
        let count = count.parse().ok()?;
        let burst = burst.map_or(Some(count), |burst| burst.parse().ok())?;
        let digits = span.len() - span.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (times, unit) = span.split_at(digits);
        let times = if times.is_empty() { 1 } else { times.parse().ok()? };
        let (_, seconds) = UNITS.into_iter().find(|(word, _)| *word == unit)?;
        let per_seconds = NonZeroU32::new(seconds.checked_mul(times)?)?;
        Some(Self { count, per_seconds, burst })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.per_seconds.get();
        let (unit, each) = UNITS.into_iter().find(|(_, each)| seconds.is_multiple_of(*each)).unwrap_or(("s", 1));
        write!(f, "{}/", self.count)?;
        if seconds > each {
            write!(f, "{}", seconds / each)?;
        }
        f.write_str(unit)?;
        if self.burst == self.count { Ok(()) } else { write!(f, " burst {}", self.burst) }
    }
}

/// What a rate is told by, in seconds; largest first.
const UNITS: [(&str, u32); 4] = [("day", 86_400), ("h", 3_600), ("min", 60), ("s", 1)];

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

#[cfg(test)]
mod tests {
    use super::Rate;

    #[test]
    fn rates_are_shown_as_they_are_written() {
        for text in ["10/s", "600/min", "600/min burst 100", "5/30s", "1/2h burst 3", "7/day", "3/90s"] {
            assert_eq!(Rate::parse(text).expect(text).to_string(), text);
        }
        for (given, shown) in
            [("10/1s", "10/s"), ("10/60s burst 10", "10/min"), ("1/24h", "1/day"), ("1/120min", "1/2h")]
        {
            assert_eq!(Rate::parse(given).expect(given).to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_rate_is_not_read() {
        for text in [
            "",
            "10",
            "/s",
            "0/s",
            "10/",
            "10/0s",
            "-1/s",
            "10/week",
            "10 / s",
            "10/s burst",
            "10/s burst 0",
            "10/s burst x",
            "10/99999999999s",
            "10/99999day",
            "4294967296/s",
            "10/s burst 1 burst 2",
            "10/1.5s",
        ] {
            assert_eq!(Rate::parse(text), None, "{text:?}");
        }
    }
}
