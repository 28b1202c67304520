//! Credentials that somebody else must judge: the tenant's business server, or its identity provider. It tells whose a
//! credential is; what follows from that is the login's.

mod business;
mod issuer;
mod jwt;
mod servers;
mod ways;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::hook::Asker;
use crate::model::clock::Clock;
use crate::model::fault::{Code, Fault};
use crate::model::frame::Login;
use crate::model::id::{DeviceId, GroupName, TenantId, TopicName, UserId};
use crate::model::tenant::{BusinessLogin, JwtLogin};
use crate::node::Node;
use crate::node::access::checks::issuer::Issuers;
use crate::node::access::checks::servers::Servers;

pub use ways::check_ways;

/// How the keys of identity providers are kept. Not for operators to set: the times are bounded so that a provider is not
/// bothered, and a key that it takes back is not used for long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Longest wait for a page of a provider.
    pub page_timeout: Duration,
    /// Keys are fetched anew after this time when the provider does not say when.
    pub age_default: Duration,
    /// And not before, whatever it says.
    pub age_min: Duration,
    /// And at the latest.
    pub age_max: Duration,
    /// Tokens with an unknown key cause one fetch in so long.
    pub unknown_pause: Duration,
    /// Pause after a fetch that failed; it doubles with each one.
    pub retry_first: Duration,
    /// Longest of those pauses.
    pub retry_max: Duration,
    /// Keys that could not be fetched anew are used on for so long.
    pub kept_max: Duration,
    /// A provider that no login named for so long is forgotten.
    pub idle_max: Duration,
}

impl Default for Options {
    fn default() -> Self {
        let (second, minute, day) = (Duration::from_secs(1), Duration::from_secs(60), Duration::from_secs(86_400));
        Self {
            page_timeout: 5 * second,
            age_default: 10 * minute,
            age_min: minute,
            age_max: day,
            unknown_pause: 10 * second,
            retry_first: second,
            retry_max: 10 * second,
            kept_max: day,
            idle_max: day,
        }
    }
}

/// Asks others about credentials, and keeps what it must know for that.
pub struct Checks {
    asker: Asker,
    options: Arc<Options>,
    clock: Clock,
    /// Identity providers that logins named.
    issuers: Arc<Issuers>,
    /// Business servers that are being asked, or that fail.
    servers: Servers,
    /// Where the tasks that fetch keys are spawned.
    tasks: TaskTracker,
    /// They end when this is cancelled.
    drained: CancellationToken,
}

impl Checks {
    /// Checks that ask with `asker`. What they spawn, they spawn on `tasks`, and it ends when `drained` is cancelled.
    #[must_use]
    pub fn new(asker: Asker, options: Options, clock: Clock, tasks: TaskTracker, drained: CancellationToken) -> Self {
        let (issuers, servers) = (Arc::default(), Servers::default());
        Self { asker, options: Arc::new(options), clock, issuers, servers, tasks, drained }
    }
}

/// Asks the tenant's business server whether a credential is good.
///
/// # Errors
/// `login_refused`, or `login_unavailable` when the server gave no answer that can be used.
pub async fn business(node: &Node, way: &BusinessLogin, ask: &Ask<'_>, credential: &[u8]) -> Result<Checked, Fault> {
    node.checks.as_ref().ok_or_else(unavailable)?.business(way, ask, credential).await
}

/// Checks a JWT of the tenant's identity provider with the keys that this publishes.
///
/// # Errors
/// `login_refused`, or `login_unavailable` when the keys could not be had.
pub async fn jwt(node: &Node, way: &JwtLogin, ask: &Ask<'_>, token: &str) -> Result<Checked, Fault> {
    node.checks.as_ref().ok_or_else(unavailable)?.jwt(way, ask, token).await
}

/// Who wants to log in, besides the credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask<'a> {
    /// Of this tenant.
    pub tenant: &'a TenantId,
    /// On this device.
    pub device: &'a DeviceId,
    /// Name of its software.
    pub agent: &'a str,
    /// Where it connects from.
    pub address: IpAddr,
}

impl<'a> Ask<'a> {
    /// What a login says, without its credential.
    #[must_use]
    pub fn of(login: &'a Login, address: IpAddr) -> Self {
        Self { tenant: &login.tenant, device: &login.device, agent: &login.agent, address }
    }
}

/// A credential that is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Whose it is. It may be a name that is reserved: the login refuses those, whatever was checked.
    pub user: UserId,
    /// What conditions may ask about the device, as a whole and within the bounds of `Update`; `None`: what is known stays.
    pub attributes: Option<BTreeMap<String, String>>,
    /// All groups of the user and their version; `None`: they are left alone. An older version than the known one is not
    /// applied, which is no reason to refuse the login.
    pub groups: Option<(Vec<GroupName>, u64)>,
    /// Topics that the device follows from now on, besides those it follows.
    pub topics: Vec<TopicName>,
    /// Life of the access token; `None`: the tenant's, which bounds it in any case.
    pub ttl: Option<Duration>,
}

/// The one answer to a login that is refused, whatever the reason: it tells nobody which tenants, users or devices exist.
#[must_use]
pub const fn refused() -> Fault {
    let words = "the login was refused; get a new credential and try again";
    Fault { code: Code::LoginRefused, words: Cow::Borrowed(words), retry_after: None }
}

/// The answer to a login that could not be checked.
#[must_use]
pub const fn unavailable() -> Fault {
    let words = "the login cannot be checked now; try again later";
    Fault { code: Code::LoginUnavailable, words: Cow::Borrowed(words), retry_after: None }
}

/// Groups of one user at most, as a backend may set them.
const GROUPS_MAX: usize = 1_000;
/// Topics of one answer at most, as a device may name them in one request.
const TOPICS_MAX: usize = 100;
