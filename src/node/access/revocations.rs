//! What was revoked, in memory: asked at every `Open` and `Renew`. It follows the records of the store, and writes none.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::auth::{SHARE_LIFE_MAX, TOKEN_LIFE_MAX};
use crate::model::access::TokenId;
use crate::model::clock::Timestamp;
use crate::model::id::{DeviceId, Receiver, TenantId, UserId};
use crate::node::access::tokens::Which;
use crate::node::hub::Held;
use crate::store::{Expected, Put, Record, Shelf};

/// Revocations of one tenant that are remembered; the one of all its tokens is not counted. A guess: 15 MiB.
pub(crate) const REVOCATIONS_MAX: usize = 100_000;

/// The record's form.
#[derive(Serialize, Deserialize)]
struct Written {
    /// What was issued at this time or before is revoked.
    at: Timestamp,
}

/// What was revoked, of all tenants.
#[derive(Debug, Default)]
pub(crate) struct Revocations {
    tenants: RwLock<HashMap<TenantId, Revoked>>,
    /// The latest time, in milliseconds, that a token was given or that follows a revocation: what is issued after another
    /// thing never looks older, also when the wall clock was set back, or both happen within a millisecond.
    latest: AtomicU64,
}

/// Of one tenant. A time: what was issued then or before is revoked.
#[derive(Debug, Default)]
struct Revoked {
    all: Option<Timestamp>,
    tokens: HashMap<TokenId, Timestamp>,
    users: HashMap<UserId, Timestamp>,
    devices: HashMap<UserId, Vec<(DeviceId, Timestamp)>>,
    /// How many there are of the last three.
    count: usize,
}

impl Revoked {
    fn at(&self, which: &Which) -> Option<Timestamp> {
        match which {
            Which::All => self.all,
            Which::Token(id) => self.tokens.get(id).copied(),
            Which::User(user) => self.users.get(user).copied(),
            Which::Device(user, device) => self.device(user, device),
        }
    }

    fn device(&self, user: &UserId, device: &DeviceId) -> Option<Timestamp> {
        self.devices.get(user)?.iter().find(|(known, _)| known == device).map(|(_, at)| *at)
    }

    fn set(&mut self, which: Which, at: Option<Timestamp>) {
        let before = self.at(&which);
        let known = !matches!(which, Which::All);
        match (which, at) {
            (Which::All, at) => self.all = at,
            (Which::Token(id), Some(at)) => drop(self.tokens.insert(id, at)),
            (Which::Token(id), None) => drop(self.tokens.remove(&id)),
            (Which::User(user), Some(at)) => drop(self.users.insert(user, at)),
            (Which::User(user), None) => drop(self.users.remove(&user)),
            (Which::Device(user, device), at) => {
                let of_user = self.devices.entry(user.clone()).or_default();
                of_user.retain(|(known, _)| *known != device);
                of_user.extend(at.map(|at| (device, at)));
                if of_user.is_empty() {
                    self.devices.remove(&user);
                }
            }
        }
        if known {
            self.count = self.count + usize::from(at.is_some()) - usize::from(before.is_some());
        }
    }

    fn is_empty(&self) -> bool {
        self.all.is_none() && self.count == 0
    }
}

impl Revocations {
    /// A time for what is issued or revoked now: later than all that was revoked before, and not earlier than what was
    /// issued before.
    pub(crate) fn stamp(&self, now: Timestamp) -> Timestamp {
        let latest = self.latest.fetch_max(now.as_millis(), Ordering::Relaxed);
        Timestamp::from_millis(latest).max(now)
    }

    /// Takes a record in, or out. Gives what is revoked by it, and the time; `Err` when it cannot be read.
    pub(super) fn recorded(
        &self,
        name: &str,
        record: Option<&Record>,
    ) -> Result<Option<(TenantId, Which, Timestamp)>, ()> {
        let (tenant, which) = name_of(name).ok_or(())?;
        let at = match record {
            Some(record) => Some(serde_json::from_slice::<Written>(&record.value).map_err(drop)?.at),
            None => None,
        };
        if let Some(at) = at {
            self.latest.fetch_max(at.as_millis() + 1, Ordering::Relaxed);
        }
        let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
        let revoked = tenants.entry(tenant.clone()).or_default();
        revoked.set(which.clone(), at);
        if revoked.is_empty() {
            tenants.remove(&tenant);
        }
        Ok(at.map(|at| (tenant, which, at)))
    }

    /// Whether a token is revoked.
    pub(crate) fn cover(&self, receiver: &Receiver, held: Held) -> bool {
        let tenants = self.tenants();
        let Some(revoked) = tenants.get(&receiver.tenant) else { return false };
        let reaches = |at: Option<Timestamp>| at.is_some_and(|at| held.issued_at <= at);
        reaches(revoked.all)
            || held.id.is_some_and(|id| revoked.tokens.contains_key(&id))
            || reaches(revoked.users.get(&receiver.user).copied())
            || reaches(revoked.device(&receiver.user, &receiver.device))
    }

    /// Until when all tokens of a tenant are revoked, if they are.
    pub(crate) fn all(&self, tenant: &TenantId) -> Option<Timestamp> {
        self.tenants().get(tenant)?.all
    }

    /// Whether the tenant has as many as it may, and this would be one more.
    pub(crate) fn is_full_for(&self, tenant: &TenantId, which: &Which) -> bool {
        let tenants = self.tenants();
        let full = |revoked: &Revoked| revoked.count >= REVOCATIONS_MAX && revoked.at(which).is_none();
        *which != Which::All && tenants.get(tenant).is_some_and(full)
    }

    fn tenants(&self) -> RwLockReadGuard<'_, HashMap<TenantId, Revoked>> {
        self.tenants.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is written of a revocation. It is kept until the last token that it concerns has expired.
pub(crate) fn put(tenant: &TenantId, which: &Which, at: Timestamp) -> Put {
    let life = if *which == Which::All { TOKEN_LIFE_MAX.max(SHARE_LIFE_MAX) } else { TOKEN_LIFE_MAX };
    let value = serde_json::to_vec(&Written { at }).expect("a number is always JSON");
    let until = Some(at + life + Duration::from_secs(1));
    Put {
        shelf: Shelf::Revocations,
        name: name(tenant, which),
        value: Some(value.into()),
        expected: Expected::Any,
        until,
    }
}

/// The name of the record.
fn name(tenant: &TenantId, which: &Which) -> String {
    match which {
        Which::All => format!("{tenant}/all"),
        Which::Token(id) => format!("{tenant}/token/{id}"),
        Which::User(user) => format!("{tenant}/user/{user}"),
        Which::Device(user, device) => format!("{tenant}/device/{user}/{device}"),
    }
}

/// Reads it. Names have no slash.
fn name_of(name: &str) -> Option<(TenantId, Which)> {
    let mut parts = name.split('/');
    let tenant = TenantId::new(parts.next()?).ok()?;
    let which = match parts.next()? {
        "all" => Which::All,
        "token" => Which::Token(TokenId::parse(parts.next()?)?),
        "user" => Which::User(UserId::new(parts.next()?).ok()?),
        "device" => Which::Device(UserId::new(parts.next()?).ok()?, DeviceId::new(parts.next()?).ok()?),
        _ => return None,
    };
    parts.next().is_none().then_some((tenant, which))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{REVOCATIONS_MAX, Revocations, name_of, put};
    use crate::auth::{SHARE_LIFE_MAX, TOKEN_LIFE_MAX};
    use crate::model::access::TokenId;
    use crate::model::clock::Timestamp;
    use crate::model::id::{DeviceId, Receiver, TenantId, UserId};
    use crate::node::access::tokens::Which;
    use crate::node::hub::Held;
    use crate::store::Record;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn tenant(name: &str) -> TenantId {
        TenantId::new(name).expect("a name")
    }

    fn user(name: &str) -> UserId {
        UserId::new(name).expect("a name")
    }

    fn device(name: &str) -> DeviceId {
        DeviceId::new(name).expect("a name")
    }

    fn id(byte: u8) -> TokenId {
        TokenId::from_bytes([byte; 16])
    }

    fn revoke(revocations: &Revocations, of: &str, which: &Which, at: Timestamp) {
        let put = put(&tenant(of), which, at);
        let record = Record { value: put.value.expect("a value"), version: 1, until: put.until };
        let told = revocations.recorded(&put.name, Some(&record)).expect("a record");
        assert_eq!(told, Some((tenant(of), which.clone(), at)));
    }

    fn forget(revocations: &Revocations, of: &str, which: &Which) {
        assert_eq!(revocations.recorded(&put(&tenant(of), which, NOW).name, None), Ok(None));
    }

    /// Which of the tokens of five devices are revoked; each was issued now, and its id is its number.
    fn covered(revocations: &Revocations, issued_at: Timestamp) -> Vec<u8> {
        let all = [("t", "u", "d"), ("t", "u", "e"), ("t", "v", "d"), ("t", "uu", "d"), ("s", "u", "d")];
        let numbered = (1..).zip(all);
        let revoked = numbered.filter(|&(number, (of, name, on))| {
            let receiver = Receiver { tenant: tenant(of), user: user(name), device: device(on) };
            revocations.cover(&receiver, Held { id: Some(id(number)), issued_at })
        });
        revoked.map(|(number, _)| number).collect()
    }

    #[test]
    fn each_kind_covers_what_it_names_and_nothing_else() {
        for (which, expected) in [
            (Which::Token(id(2)), vec![2]),
            (Which::Token(id(5)), vec![]),
            (Which::Device(user("u"), device("d")), vec![1]),
            (Which::User(user("u")), vec![1, 2]),
            (Which::All, vec![1, 2, 3, 4]),
        ] {
            let revocations = Revocations::default();
            assert_eq!(covered(&revocations, NOW), [0; 0]);
            revoke(&revocations, "t", &which, NOW);
            assert_eq!(covered(&revocations, NOW), expected, "{which:?}");
            let later = NOW + Duration::from_millis(1);
            let still = if matches!(which, Which::Token(_)) { expected } else { Vec::new() };
            assert_eq!(covered(&revocations, later), still, "what was issued since is good: {which:?}");
            forget(&revocations, "t", &which);
            forget(&revocations, "t", &which);
            assert_eq!(covered(&revocations, NOW), [0; 0]);
            assert!(revocations.tenants().is_empty(), "nothing is left behind");
        }
    }

    #[test]
    fn what_is_issued_after_a_revocation_never_looks_older() {
        let revocations = Revocations::default();
        let first = revocations.stamp(NOW);
        let at = revocations.stamp(NOW - Duration::from_secs(60));
        assert!(first <= at, "what was issued before is covered, though the clock was set back");
        revoke(&revocations, "t", &Which::All, at);
        assert_eq!(covered(&revocations, first), [1, 2, 3, 4]);
        let second = revocations.stamp(NOW - Duration::from_secs(60));
        assert_eq!(covered(&revocations, second), [0; 0]);
        let again = revocations.stamp(NOW);
        revoke(&revocations, "t", &Which::All, again);
        assert_eq!(covered(&revocations, second), [1, 2, 3, 4]);
    }

    #[test]
    fn a_revocation_is_kept_until_the_last_token_has_expired() {
        let until = |which| put(&tenant("t"), &which, NOW).until.expect("a time");
        assert!(until(Which::User(user("u"))) > NOW + TOKEN_LIFE_MAX);
        assert!(until(Which::Token(id(1))) > NOW + TOKEN_LIFE_MAX);
        assert!(until(Which::All) > NOW + SHARE_LIFE_MAX);
    }

    #[test]
    fn names_of_records_are_read_whole_or_not_at_all() {
        for which in [
            Which::All,
            Which::Token(id(7)),
            Which::User(user("u:1")),
            Which::Device(user("u@example.com"), device("d.1")),
        ] {
            assert_eq!(name_of(&put(&tenant("urn:shop"), &which, NOW).name), Some((tenant("urn:shop"), which)));
        }
        for none in ["", "t", "t/", "t/all/x", "t/token/x", "t/user", "t/user/", "t/user/u/d", "t/device/u", "/all"] {
            assert_eq!(name_of(none), None, "{none}");
        }
    }

    #[test]
    fn there_is_a_bound_and_all_is_always_taken() {
        let revocations = Revocations::default();
        for number in 0..REVOCATIONS_MAX as u128 {
            revoke(&revocations, "t", &Which::Token(TokenId::from_bytes(number.to_be_bytes())), NOW);
        }
        let full = |of: &str, which| revocations.is_full_for(&tenant(of), &which);
        assert!(full("t", Which::User(user("u"))) && full("t", Which::Token(id(255))));
        assert!(!full("t", Which::Token(id(0))), "it is there already");
        assert!(!full("t", Which::All) && !full("s", Which::User(user("u"))));
    }
}
