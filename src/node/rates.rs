//! What comes too fast is refused: calls, pushes, requests and logins are held here against the rates of their tenant, or
//! else those of the node. It keeps buckets, and changes nothing else.

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use crate::metrics::Limited;
use crate::model::access::Caller;
use crate::model::clock::Moment;
use crate::model::fault::{Code, Fault};
use crate::model::id::{Receiver, TenantId};
use crate::model::tenant::{Limits, Rate};
use crate::node::Node;
use crate::node::hub::Bounds;
use crate::rate::{Buckets, Options};

/// Buckets of each kind that are not full. More: those that are nearest to full are forgotten. A guess: of each kind about
/// 3 MiB.
const BUCKETS_MAX: usize = 131_072;

/// The rates of a node and its buckets.
pub(crate) struct Rates {
    options: Options,
    /// By tenant and key.
    calls: Buckets,
    /// By tenant.
    pushes: Buckets,
    /// By tenant and user.
    users: Buckets,
    /// By tenant, user and device.
    devices: Buckets,
    /// By tenant and who wants to log in.
    user_logins: Buckets,
    /// By address.
    address_logins: Buckets,
}

impl Rates {
    pub(crate) fn new(options: Options) -> Self {
        let buckets = || Buckets::new(BUCKETS_MAX);
        Self {
            options,
            calls: buckets(),
            pushes: buckets(),
            users: buckets(),
            devices: buckets(),
            user_logins: buckets(),
            address_logins: buckets(),
        }
    }
}

impl Node {
    /// Whether a call of a backend comes at its key's rate. Each call counts once, also one that is a stream.
    ///
    /// # Errors
    /// [`Code::RateLimited`].
    pub fn admit_call(&self, caller: &Caller, path: &str) -> Result<(), Fault> {
        let rate = self.own(&caller.tenant, |limits| limits.calls_per_key).or(self.rates.options.calls_per_key);
        let key = (caller.tenant.as_str(), caller.key.as_str());
        self.admit(Limited::KeyCall, &self.rates.calls, key, rate, None)
            .inspect_err(|_| tracing::debug!(tenant = %caller.tenant, key = %caller.key, path, "calls come too fast"))
    }

    /// Whether a push comes at its tenant's rate.
    pub(super) fn admit_push(&self, tenant: &TenantId, now: Moment) -> Result<(), Fault> {
        let rate = self.own(tenant, |limits| limits.pushes).or(self.rates.options.pushes_per_tenant);
        self.admit(Limited::TenantPush, &self.rates.pushes, tenant.as_str(), rate, Some(now))
    }

    /// Whether a request of a device, other than an ack, comes at the device's rate and at its user's.
    pub(super) fn admit_request(&self, receiver: &Receiver, now: Moment) -> Result<(), Fault> {
        let (rates, Receiver { tenant, user, device }) = (&self.rates, receiver);
        let rate = self.own(tenant, |limits| limits.requests_per_device).or(rates.options.requests_per_device);
        let key = (tenant.as_str(), user.as_str(), device.as_str());
        // The device comes first: one that goes too fast takes nothing from the others of its user.
        self.admit(Limited::DeviceRequest, &rates.devices, key, rate, Some(now))?;
        let rate = self.own(tenant, |limits| limits.requests_per_user).or(rates.options.requests_per_user);
        self.admit(Limited::UserRequest, &rates.users, (tenant.as_str(), user.as_str()), rate, Some(now))
    }

    /// Whether a try to log in comes at the rate of its address and of who it is for: a user, or a device where the user is
    /// not known before the credential is checked. It is asked before anything is looked up, so that the answer is the same
    /// for those who exist and those who do not.
    ///
    /// # Errors
    /// [`Code::RateLimited`].
    pub fn admit_login(&self, tenant: &TenantId, who: &str, from: IpAddr) -> Result<(), Fault> {
        let rates = &self.rates;
        // The address comes first: one that is stopped cannot use up what others have.
        let rate = rates.options.logins_per_address;
        self.admit(Limited::AddressLogin, &rates.address_logins, network(from), rate, None)?;
        let rate = self.own(tenant, |limits| limits.logins_per_user).or(rates.options.logins_per_user);
        self.admit(Limited::UserLogin, &rates.user_logins, (tenant.as_str(), who), rate, None)
    }

    /// How many connections there may be of a device's tenant and of its user.
    pub(super) fn bounds_of(&self, receiver: &Receiver) -> Bounds {
        let own = |limits: &Limits| {
            let (of_tenant, of_user) = (limits.connections, limits.connections_per_user);
            Some(Bounds { of_tenant, of_user, viewers: None })
        };
        self.own(&receiver.tenant, own).unwrap_or_default()
    }

    /// Longest life of a tenant's pushes.
    pub(super) fn ttl_max(&self, tenant: &TenantId) -> Duration {
        let own = self.own(tenant, |limits| limits.ttl_seconds);
        own.map_or(self.limits.ttl_max, |seconds| Duration::from_secs(seconds.into()))
    }

    /// A bound that a tenant has for itself.
    fn own<T>(&self, tenant: &TenantId, bound: impl FnOnce(&Limits) -> Option<T>) -> Option<T> {
        bound(&self.access.rules(tenant).tenant.limits)
    }

    /// Takes a token. `now`: `None` to have the clock read, which only costs when there is a rate.
    fn admit(
        &self,
        what: Limited,
        buckets: &Buckets,
        key: impl Hash,
        rate: Option<Rate>,
        now: Option<Moment>,
    ) -> Result<(), Fault> {
        let Some(rate) = rate else { return Ok(()) };
        let now = now.unwrap_or_else(|| self.clock.now().moment);
        buckets.take(key, rate, now).map_err(|wait| {
            self.metrics.limited(what);
            too_fast(what, rate, wait)
        })
    }
}

fn too_fast(what: Limited, rate: Rate, wait: Duration) -> Fault {
    let whose = match what {
        Limited::KeyCall => "calls of this API key",
        Limited::TenantPush => "pushes of this tenant",
        Limited::UserRequest => "requests of this user",
        Limited::DeviceRequest => "requests of this device",
        Limited::UserLogin => "logins of this user or device",
        Limited::AddressLogin => "logins from this address",
    };
    let millis = wait.as_nanos().div_ceil(1_000_000);
    let words = format!("{whose} come faster than {rate}; try again after {millis} ms");
    Fault::new(Code::RateLimited, words).with_retry_after(wait)
}

/// What counts as one address: a whole network where one subscriber has it (the /64 of IPv6, RFC 6177), and IPv4 however it
/// is written.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests;
