//! Key pairs of devices: enrolled with a one-time code, used to log in.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::auth::device_key::{PublicKey, code_name, enrolment_code};
use crate::auth::used_name;
use crate::model::audit::{Action, Actor, Event};
use crate::model::clock::Timestamp;
use crate::model::fault::{Code, Fault};
use crate::model::frame::KeyProof;
use crate::model::id::{DeviceId, TenantId, UserId};
use crate::node::access::login::object;
use crate::node::access::tokens::Which;
use crate::node::{Node, fault};
use crate::store::{Expected, Put, Record, Shelf};

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

/// A device that has proven that it has a private key.
pub(super) struct Proven {
    /// Whose it is.
    pub(super) user: UserId,
    /// What must be written before that counts, all of it or none.
    pub(super) puts: Vec<Put>,
}

/// What an enrolment's record says.
#[derive(Serialize, Deserialize)]
struct Ticket {
    user: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device: Option<String>,
}

/// What the record of a device's key says.
#[derive(Serialize, Deserialize)]
struct Enrolled {
    /// In base64.
    public_key: String,
    at: Timestamp,
}

impl Node {
    /// Makes a code; `device`: `None` for any of the user.
    ///
    /// # Errors
    /// `invalid_name` for a user of the gateway's own, `invalid_option` when the tenant lets no keys log in or the time is out
    /// of bounds, or the store's fault.
    pub async fn create_enrolment(
        &self,
        tenant: &TenantId,
        user: UserId,
        device: Option<DeviceId>,
        ttl: Option<Duration>,
        actor: Actor,
    ) -> Result<Enrolment, Fault> {
        if user.is_reserved() {
            return Err(Fault::new(Code::InvalidName, "user: names with an underscore first are the gateway's own"));
        }
        let ttl = ttl.unwrap_or(TTL_DEFAULT);
        if !(TTL_MIN..=TTL_MAX).contains(&ttl) {
            return Err(Fault::new(Code::InvalidOption, "ttl_seconds: give 60 to 604800"));
        }
        if !self.tenant(tenant)?.tenant.login.device_key {
            let words = "devices of this tenant do not log in with keys; set login.device_key of the tenant first";
            return Err(Fault::new(Code::InvalidOption, words));
        }
        let now = self.clock.now().wall;
        let (code, expires_at) = (enrolment_code(), now + ttl);
        let name = code_name(tenant, &code).expect("a code that was made is one");
        let object = match &device {
            Some(device) => object(&user, device),
            None => format!("user:{user}"),
        };
        let ticket = Ticket { user: user.to_string(), device: device.map(|device| device.to_string()) };
        let value = Some(json(&ticket));
        let put = Put { shelf: Shelf::Enrolments, name, value, expected: Expected::Absent, until: Some(expires_at) };
        let event = event(now, tenant, actor, Action::EnrolmentCreated, object);
        self.store.write(vec![put], vec![event]).await.map_err(fault)?;
        Ok(Enrolment { code, expires_at })
    }

    /// The keys of a user's devices, by device.
    ///
    /// # Errors
    /// The store's fault.
    pub async fn device_keys(&self, tenant: &TenantId, user: &UserId) -> Result<Vec<DeviceKey>, Fault> {
        let (prefix, now) = (format!("{tenant}/{user}/"), self.clock.now().wall);
        let records = self.store.records(Shelf::DeviceKeys, &prefix, None, KEYS_PER_USER_MAX, now).await;
        let read = |(name, record): (String, Record)| {
            let device = DeviceId::new(name.strip_prefix(&prefix)?).ok()?;
            let (key, enrolled_at) = read_key(&record)?;
            let public_key = Bytes::copy_from_slice(key.bytes());
            Some(DeviceKey { device, algorithm: key.algorithm(), public_key, enrolled_at })
        };
        Ok(records.map_err(fault)?.into_iter().filter_map(read).collect())
    }

    /// Forgets a device's key and revokes its tokens; false when there was none.
    ///
    /// # Errors
    /// The store's fault.
    pub async fn remove_device_key(
        &self,
        tenant: &TenantId,
        user: &UserId,
        device: &DeviceId,
        actor: Actor,
    ) -> Result<bool, Fault> {
        let now = self.clock.now().wall;
        let name = key_name(tenant, user, device);
        let Some(record) = self.store.record(Shelf::DeviceKeys, &name, now).await.map_err(fault)? else {
            return Ok(false);
        };
        // In one write: no login in between gets a token that nothing revokes, and no failure leaves tokens without a key.
        let expected = Expected::Version(record.version);
        let removed = Put { shelf: Shelf::DeviceKeys, name, value: None, expected, until: None };
        let revoked = self.revocation(tenant, &Which::Device(user.clone(), device.clone()))?;
        let event = event(now, tenant, actor, Action::DeviceKeyRemoved, object(user, device));
        self.store.write(vec![removed, revoked], vec![event]).await.map_err(fault)?;
        Ok(true)
    }

    /// Checks that a device has the private half of the key that it enrolled. `None`: it has not.
    pub(super) async fn proven(
        &self,
        tenant: &TenantId,
        user: &UserId,
        device: &DeviceId,
        proof: &KeyProof,
        now: Timestamp,
    ) -> Result<Option<Proven>, Fault> {
        let name = key_name(tenant, user, device);
        let record = self.store.record(Shelf::DeviceKeys, &name, now).await.map_err(fault)?;
        let known = record.as_ref().and_then(read_key).map(|(key, _)| key);
        let spent = self.checked(tenant, device, known.as_ref().unwrap_or(&PublicKey::nobodys()), proof, now);
        if known.is_none() {
            tracing::debug!(%tenant, %user, %device, "the device has no key");
        }
        let (Some(spent), Some(record), Some(_)) = (spent, record, known) else { return Ok(None) };
        // Written as it was: so a key that is removed or replaced meanwhile gives no token.
        let (value, expected) = (Some(record.value), Expected::Version(record.version));
        let same = Put { shelf: Shelf::DeviceKeys, name, value, expected, until: None };
        Ok(Some(Proven { user: user.clone(), puts: vec![spent, same] }))
    }

    /// Checks a code and the proof for the key that is to be enrolled with it. `None`: one of them is not good.
    pub(super) async fn enrolled(
        &self,
        tenant: &TenantId,
        device: &DeviceId,
        (code, public_key): (&str, &[u8]),
        proof: &KeyProof,
        now: Timestamp,
    ) -> Result<Option<Proven>, Fault> {
        let name = code_name(tenant, code);
        let record = match &name {
            Some(name) => self.store.record(Shelf::Enrolments, name, now).await.map_err(fault)?,
            None => None,
        };
        let key = PublicKey::read(public_key);
        let Some(spent) = key.as_ref().and_then(|key| self.checked(tenant, device, key, proof, now)) else {
            return Ok(None);
        };
        let (Some(name), Some(record), Some(key)) = (name, record, key) else {
            tracing::debug!(%tenant, %device, "the enrolment code is not known, or was used");
            return Ok(None);
        };
        let Some(user) = meant(&record, device) else {
            tracing::debug!(%tenant, %device, "the enrolment code is for another device");
            return Ok(None);
        };
        let enrolled = Enrolled { public_key: STANDARD.encode(key.bytes()), at: now };
        let puts = vec![
            spent,
            Put {
                shelf: Shelf::Enrolments,
                name,
                value: None,
                expected: Expected::Version(record.version),
                until: None,
            },
            Put {
                shelf: Shelf::DeviceKeys,
                name: key_name(tenant, &user, device),
                value: Some(json(&enrolled)),
                expected: Expected::Any,
                until: None,
            },
        ];
        Ok(Some(Proven { user, puts }))
    }

    /// Checks the challenge and the signature over it. `Some` is to be written, so that the challenge is good once.
    fn checked(
        &self,
        tenant: &TenantId,
        device: &DeviceId,
        key: &PublicKey,
        proof: &KeyProof,
        now: Timestamp,
    ) -> Option<Put> {
        let Some(expires_at) = self.authority.challenges().check(tenant, device, &proof.challenge, now) else {
            tracing::debug!(%tenant, %device, "the challenge is over, or not one for this device");
            return None;
        };
        let text = KeyProof::signed_text(tenant, device, &proof.challenge);
        if !key.verifies(&text, &proof.signature) {
            tracing::debug!(%tenant, %device, "the signature was not made with the device's key");
            return None;
        }
        Some(Put {
            shelf: Shelf::Challenges,
            name: used_name(&proof.challenge),
            value: Some(Bytes::new()),
            expected: Expected::Absent,
            until: Some(expires_at + REMEMBERED_BEYOND),
        })
    }
}

fn event(at: Timestamp, tenant: &TenantId, actor: Actor, action: Action, object: String) -> Event {
    Event { at, tenant: Some(tenant.clone()), actor, action, object, details: BTreeMap::new() }
}

/// Whose code this is, if it is good for the device.
fn meant(record: &Record, device: &DeviceId) -> Option<UserId> {
    let ticket: Ticket = serde_json::from_slice(&record.value).ok()?;
    let fits = ticket.device.is_none_or(|only| only == device.as_str());
    fits.then(|| UserId::new(&ticket.user).ok()).flatten()
}

fn read_key(record: &Record) -> Option<(PublicKey, Timestamp)> {
    let enrolled: Enrolled = serde_json::from_slice(&record.value).ok()?;
    Some((PublicKey::read(&STANDARD.decode(enrolled.public_key).ok()?)?, enrolled.at))
}

fn key_name(tenant: &TenantId, user: &UserId, device: &DeviceId) -> String {
    format!("{tenant}/{user}/{device}")
}

fn json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).expect("texts and numbers are always JSON").into()
}

/// How long a code is good.
const TTL_DEFAULT: Duration = Duration::from_secs(600);
const TTL_MIN: Duration = Duration::from_secs(60);
const TTL_MAX: Duration = Duration::from_secs(604_800);

/// Keys of one user that are listed; a user has fewer devices.
const KEYS_PER_USER_MAX: usize = 1_000;

/// A used challenge is remembered for so long beyond its end: what was checked just before is written just after it.
const REMEMBERED_BEYOND: Duration = Duration::from_secs(10);
