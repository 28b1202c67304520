//! Challenges for devices that log in with a key: made and checked without a memory of them. That each is used once is not
//! known here.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use aws_lc_rs::digest::{Digest, SHA256, digest};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};

use crate::auth::key::{Error, open_file};
use crate::auth::secret::hex;
use crate::model::clock::Timestamp;
use crate::model::id::{DeviceId, TenantId};

/// How long a challenge is good: a device answers in milliseconds, over the worst of networks in seconds.
pub const CHALLENGE_LIFE: Duration = Duration::from_secs(60);

/// Bytes of a challenge: its form, when it ends, chance, and the code over these and whom it is for.
const BYTES: usize = 1 + EXPIRY_BYTES + CHANCE_BYTES + CODE_BYTES;
const EXPIRY_BYTES: usize = 8;
const CHANCE_BYTES: usize = 16;
const CODE_BYTES: usize = 32;
/// The form of the bytes, so that another may follow.
const FORM: u8 = 1;
const KEY_BYTES: usize = 32;

/// The key behind challenges. In a file of its own: other nodes with the same folder take what this one gave. Shows nothing
/// when printed with `{:?}`.
pub struct Challenges(hmac::Key);

impl Challenges {
    /// Loads the key from a folder, or makes it there.
    pub(super) fn open(folder: &Path) -> Result<Self, Error> {
        let path = folder.join("challenge-key");
        let key = open_file(&path, || {
            let mut chance = [0; KEY_BYTES];
            SystemRandom::new().fill(&mut chance).map_err(std::io::Error::other)?;
            Ok(chance.to_vec())
        })?;
        if key.len() != KEY_BYTES {
            return Err(Error::Damaged { path, expected: "a key of 32 bytes" });
        }
        Ok(Self(hmac::Key::new(HMAC_SHA256, &key)))
    }

    /// A challenge for a device, and until when it is good.
    ///
    /// # Panics
    /// When the system gives no chance: nothing secret can be made then.
    #[must_use]
    pub fn make(&self, tenant: &TenantId, device: &DeviceId, now: Timestamp) -> (Vec<u8>, Timestamp) {
        let expires_at = now + CHALLENGE_LIFE;
        let mut challenge = vec![FORM];
        challenge.extend_from_slice(&expires_at.as_millis().to_be_bytes());
        challenge.resize(BYTES - CODE_BYTES, 0);
        SystemRandom::new().fill(&mut challenge[1 + EXPIRY_BYTES..]).expect("the system gives chance");
        let code = hmac::sign(&self.0, &covered(tenant, device, &challenge));
        challenge.extend_from_slice(code.as_ref());
        (challenge, expires_at)
    }

    /// Until when a challenge is good; `None` when it is not from here, for another device, or over.
    #[must_use]
    pub fn check(&self, tenant: &TenantId, device: &DeviceId, challenge: &[u8], now: Timestamp) -> Option<Timestamp> {
        if challenge.len() != BYTES || challenge[0] != FORM {
            return None;
        }
        let (said, code) = challenge.split_at(BYTES - CODE_BYTES);
        hmac::verify(&self.0, &covered(tenant, device, said), code).ok()?;
        let millis = said[1..].first_chunk::<EXPIRY_BYTES>()?;
        let expires_at = Timestamp::from_millis(u64::from_be_bytes(*millis));
        // A clock that went back must not make it good for longer.
        (now < expires_at && expires_at <= now + CHALLENGE_LIFE).then_some(expires_at)
    }
}

impl fmt::Debug for Challenges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Challenges")
    }
}

/// What the code is over. No name has a zero byte, so the parts cannot be shifted against each other.
fn covered(tenant: &TenantId, device: &DeviceId, said: &[u8]) -> Vec<u8> {
    [&b"pushline-challenge"[..], tenant.as_str().as_bytes(), device.as_str().as_bytes(), said].join(&0)
}

/// Under this name it is noted that a challenge was used.
#[must_use]
pub fn used_name(challenge: &[u8]) -> String {
    name_of(&digest(&SHA256, challenge))
}

/// A hash as the name of a record.
pub(super) fn name_of(hash: &Digest) -> String {
    hex(hash.as_ref().first_chunk().expect("SHA-256 has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::{CHALLENGE_LIFE, Challenges, used_name};
    use crate::model::clock::Timestamp;
    use crate::model::id::{DeviceId, TenantId};

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn names(tenant: &str, device: &str) -> (TenantId, DeviceId) {
        (TenantId::new(tenant).expect("a name"), DeviceId::new(device).expect("a name"))
    }

    #[test]
    fn a_challenge_is_good_for_its_device_for_a_minute_here_and_after_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let (tenant, device) = names("t", "d");
        let (challenge, until) = Challenges::open(folder.path()).expect("a key").make(&tenant, &device, NOW);
        assert_eq!(until, NOW + CHALLENGE_LIFE);
        let again = Challenges::open(folder.path()).expect("the key");
        assert_eq!(again.check(&tenant, &device, &challenge, NOW), Some(until));
        let last = Timestamp::from_millis(until.as_millis() - 1);
        assert_eq!(again.check(&tenant, &device, &challenge, last), Some(until));
        assert_eq!(again.check(&tenant, &device, &challenge, until), None);
        // Before it was made: the clock went back.
        assert_eq!(again.check(&tenant, &device, &challenge, Timestamp::from_millis(NOW.as_millis() - 1)), None);
    }

    #[test]
    fn what_was_changed_or_is_for_another_is_refused() {
        let folders = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
        let [ours, theirs] = folders.each_ref().map(|folder| Challenges::open(folder.path()).expect("a key"));
        let (tenant, device) = names("t", "d");
        let (challenge, _) = ours.make(&tenant, &device, NOW);
        for at in 0..challenge.len() {
            let mut changed = challenge.clone();
            changed[at] ^= 1;
            assert_eq!(ours.check(&tenant, &device, &changed, NOW), None, "byte {at}");
            assert_eq!(ours.check(&tenant, &device, &challenge[..at], NOW), None, "cut at {at}");
        }
        for (other_tenant, other_device) in [("x", "d"), ("t", "x"), ("t:d", "d")] {
            let (tenant, device) = names(other_tenant, other_device);
            assert_eq!(ours.check(&tenant, &device, &challenge, NOW), None);
        }
        assert_eq!(theirs.check(&tenant, &device, &challenge, NOW), None);
        assert_eq!(ours.check(&tenant, &device, &[&challenge[..], b"x"].concat(), NOW), None);
        let (second, _) = ours.make(&tenant, &device, NOW);
        assert_ne!(used_name(&challenge), used_name(&second));
    }
}
