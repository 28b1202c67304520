//! How much may come in how much time: token buckets, one or one for each key. It reads no clock and does not know what the
//! keys are, nor what becomes of what comes too fast.

mod bucket;
mod buckets;

pub use self::bucket::Bucket;
pub use self::buckets::Buckets;
use crate::model::tenant::Rate;

/// Rates of tenants that have none of their own. `None`: as much as comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Calls of one API key.
    pub calls_per_key: Option<Rate>,
    /// Pushes of one tenant, of all its keys.
    pub pushes_per_tenant: Option<Rate>,
    /// Requests of one user, of all devices; acks are free.
    pub requests_per_user: Option<Rate>,
    /// Requests of one device; acks are free.
    pub requests_per_device: Option<Rate>,
    /// Logins of one user.
    pub logins_per_user: Option<Rate>,
    /// Logins from one address, for whichever tenant. No tenant has one of its own.
    pub logins_per_address: Option<Rate>,
}

impl Default for Options {
    fn default() -> Self {
        let rate = |text| Rate::parse(text);
        Self {
            calls_per_key: None,
            pushes_per_tenant: None,
            requests_per_user: rate("200/s burst 2000"),
            requests_per_device: rate("50/s burst 500"),
            logins_per_user: rate("10/min burst 20"),
            logins_per_address: rate("600/min"),
        }
    }
}
