//! Credentials that somebody else must judge: the tenant's business server, or its identity provider. It tells whose a
//! credential is; what follows from that is the login's.

mod business;
mod jwt;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::model::fault::{Code, Fault};
use crate::model::frame::Login;
use crate::model::id::{DeviceId, GroupName, TenantId, TopicName, UserId};

pub use business::business;
pub use jwt::jwt;

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
    Fault { code: Code::LoginRefused, words: Cow::Borrowed(words) }
}

/// The answer to a login that could not be checked.
#[must_use]
pub const fn unavailable() -> Fault {
    let words = "the login cannot be checked now; try again later";
    Fault { code: Code::LoginUnavailable, words: Cow::Borrowed(words) }
}
