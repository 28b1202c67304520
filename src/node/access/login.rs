//! A login: the credential is checked in the way that the tenant has chosen, and an access token made.

use std::net::IpAddr;

use bytes::Bytes;

use crate::model::clock::Timestamp;
use crate::model::fault::Fault;
use crate::model::frame::{LoggedIn, Login};
use crate::model::id::{DeviceId, TenantId};
use crate::node::Node;
use crate::node::access::not_yet;

impl Node {
    /// Checks a credential and makes an access token.
    ///
    /// # Errors
    /// `login_refused` whatever the reason, `login_unavailable` when it could not be checked, `rate_limited`.
    pub async fn login(&self, _login: &Login, _from: IpAddr) -> Result<LoggedIn, Fault> {
        not_yet()
    }

    /// A challenge for a device, and until when it is good. Given to everybody, whether or not the device is known.
    ///
    /// # Errors
    /// `rate_limited`.
    pub fn challenge(
        &self,
        _tenant: &TenantId,
        _device: &DeviceId,
        _from: IpAddr,
    ) -> Result<(Bytes, Timestamp), Fault> {
        not_yet()
    }
}
