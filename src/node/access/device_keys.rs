//! Key pairs of devices: enrolled with a one-time code, used to log in.

use std::time::Duration;

use bytes::Bytes;

use crate::model::audit::Actor;
use crate::model::clock::Timestamp;
use crate::model::fault::Fault;
use crate::model::id::{DeviceId, TenantId, UserId};
use crate::node::Node;
use crate::node::access::not_yet;

/// A code with which a device enrols its key. Never printed: it is a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Enrolment {
    /// To be typed or scanned.
    pub code: String,
    /// Until when it is good.
    pub expires_at: Timestamp,
}

/// A key that a device has enrolled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceKey {
    /// Which device.
    pub device: DeviceId,
    /// `ed25519` or `p256`.
    pub algorithm: &'static str,
    /// The public key.
    pub public_key: Bytes,
    /// When.
    pub enrolled_at: Timestamp,
}

impl Node {
    /// Makes a code; `device`: `None` for any of the user.
    ///
    /// # Errors
    /// A refusal, or the store's fault.
    pub async fn create_enrolment(
        &self,
        _tenant: &TenantId,
        _user: UserId,
        _device: Option<DeviceId>,
        _ttl: Option<Duration>,
        _actor: Actor,
    ) -> Result<Enrolment, Fault> {
        not_yet()
    }

    /// The keys of a user's devices, by device.
    ///
    /// # Errors
    /// The store's fault.
    pub async fn device_keys(&self, _tenant: &TenantId, _user: &UserId) -> Result<Vec<DeviceKey>, Fault> {
        not_yet()
    }

    /// Forgets a device's key and revokes its tokens; false when there was none.
    ///
    /// # Errors
    /// The store's fault.
    pub async fn remove_device_key(
        &self,
        _tenant: &TenantId,
        _user: &UserId,
        _device: &DeviceId,
        _actor: Actor,
    ) -> Result<bool, Fault> {
        not_yet()
    }
}
