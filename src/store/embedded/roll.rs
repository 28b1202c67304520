//! Who follows what and is like what, in memory: made from the table when the folder is opened, kept up by the writing
//! thread in the order of its commands, asked by readers. It stores nothing; what it says follows from the records.

use std::collections::{HashMap, HashSet};
use std::iter::Peekable;
use std::sync::{PoisonError, RwLock};

use super::key;
use super::record::{Device, Follow, User};
use super::table::{Pair, Row, Rows, Table};
use crate::audience::Index;
use crate::model::condition::Condition;
use crate::model::id::{DeviceNumber, TenantId};
use crate::model::log::LogId;
use crate::model::set::DeviceSet;
use crate::store::{Error, Of};

/// Values of attributes that one condition may look at. Measured with 20,000 values over a million devices: 22 ms; so this
/// many take about a tenth of a second, in which nobody's push is written.
const COMPARISONS_MAX: usize = 100_000;

/// Devices whose users are counted while writes wait. A guess: about a millisecond.
const COUNTED_AT_ONCE: usize = 8_192;

/// The rolls of all tenants.
#[derive(Default)]
pub(super) struct Roll(RwLock<HashMap<TenantId, Tenant>>);

/// One tenant's.
#[derive(Default)]
pub(super) struct Tenant {
    /// Devices, and users that none was seen of.
    pub(super) index: Index,
    /// Devices of users that have had several at a time, with a number that tells the users apart. Of all others each
    /// stands for a user.
    siblings: HashMap<DeviceNumber, DeviceNumber>,
    /// Those in `siblings`.
    several: DeviceSet,
}

impl Tenant {
    /// Another device of the user with these devices.
    pub(super) fn pair(&mut self, known: DeviceNumber, new: DeviceNumber) {
        let user = *self.siblings.entry(known).or_insert(known);
        self.siblings.insert(new, user);
        self.several.insert(known);
        self.several.insert(new);
    }

    /// A device is no more. A last one that is left of a user does no harm: it still stands for one user.
    pub(super) fn part(&mut self, device: DeviceNumber) {
        if self.siblings.remove(&device).is_some() {
            self.several.remove(device);
        }
    }

    /// About how many bytes it takes in memory.
    fn bytes(&self) -> usize {
        self.index.bytes() + self.siblings.len() * 16 + self.several.bytes()
    }
}

impl Roll {
    /// Reads who is there.
    pub(super) fn read(table: &Table) -> Result<Self, Error> {
        let mut rolls = HashMap::new();
        let [devices, cursors, users] = key::ROLLS.map(|kind| Walk::new(table, kind));
        let (mut devices, mut cursors, mut users) = (devices, cursors, users);
        // All three sort by tenant and user, the first two then by device.
        loop {
            let next = [devices.owner()?, users.owner()?].into_iter().flatten().min();
            let Some(owner) = next else { break };
            let row = users.next_within(&owner)?;
            let user = row.map(|(_, value)| User::decode(&value)).transpose()?.unwrap_or_default();
            let tenant = key::tenant_of(&owner)?;
            let roll: &mut Tenant = rolls.entry(tenant.clone()).or_default();
            let topics = user.topics();
            let mut known = None;
            while let Some((key, value)) = devices.next_within(&owner)? {
                let Device { number, attributes, .. } = Device::decode(&value)?;
                if attributes.is_empty() {
                    roll.index.add(number);
                } else {
                    roll.index.describe(number, &Default::default(), &attributes);
                }
                topics.keys().for_each(|topic| roll.index.follow(topic, number));
                let prefix = key.len();
                while let Some((key, value)) = cursors.next_within(&key[1..])? {
                    if Follow::own(&value)
                        && let LogId::Topic(_, topic) = key::log_of(&key, prefix, &tenant)?
                    {
                        roll.index.follow(&topic, number);
                    }
                }
                if let Some(known) = known.replace(number) {
                    roll.pair(known, number);
                }
            }
            if let (None, Some(seat), false) = (known, user.seat, user.groups.is_empty()) {
                roll.index.add(seat);
                topics.keys().for_each(|topic| roll.index.follow(topic, seat));
            }
        }
        Ok(Self(RwLock::new(rolls)))
    }

    /// Changes a tenant's roll.
    pub(super) fn change(&self, tenant: &TenantId, change: impl FnOnce(&mut Tenant)) {
        let mut rolls = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match rolls.get_mut(tenant) {
            Some(roll) => change(roll),
            None => change(rolls.entry(tenant.clone()).or_default()),
        }
    }

    /// Refuses a condition that would have to look at very many values of attributes: it is evaluated where everybody's
    /// writes wait for it.
    pub(super) fn check(&self, tenant: &TenantId, condition: &Condition) -> Result<(), Error> {
        let rolls = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let comparisons = rolls.get(tenant).map_or(0, |roll| roll.index.comparisons(condition));
        if comparisons > COMPARISONS_MAX { Err(Error::TooDear(COMPARISONS_MAX)) } else { Ok(()) }
    }

    /// Who it is about.
    pub(super) fn set(&self, tenant: &TenantId, of: &Of) -> DeviceSet {
        let rolls = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let set = rolls.get(tenant).map(|roll| match of {
            Of::Topic(topic) => roll.index.followers(topic),
            Of::Condition(condition) => roll.index.evaluate(condition),
        });
        set.unwrap_or_default()
    }

    /// How many users the devices of a set belong to.
    pub(super) fn users(&self, tenant: &TenantId, set: &DeviceSet) -> u64 {
        let read = || self.0.read().unwrap_or_else(PoisonError::into_inner);
        let several = read().get(tenant).map(|roll| roll.several.and(set)).unwrap_or_default();
        let mut users: HashSet<DeviceNumber> = HashSet::new();
        let several_devices: Vec<_> = several.after(None).collect();
        for devices in several_devices.chunks(COUNTED_AT_ONCE) {
            let rolls = read();
            let Some(roll) = rolls.get(tenant) else { break };
            // One that went meanwhile stands for itself.
            users.extend(devices.iter().map(|device| *roll.siblings.get(device).unwrap_or(device)));
        }
        set.len() - several.len() + users.len() as u64
    }

    /// How many devices there are, users that none was seen of included, and how many bytes all take in memory.
    pub(super) fn size(&self) -> (u64, usize) {
        let rolls = self.0.read().unwrap_or_else(PoisonError::into_inner);
        rolls.values().fold((0, 0), |(devices, bytes), roll| (devices + roll.index.all().len(), bytes + roll.bytes()))
    }
}

/// Rows of one kind, by the rest of their keys.
struct Walk<'a>(Peekable<Rows<'a>>);

impl Walk<'static> {
    fn new(table: &Table, kind: &[u8]) -> Self {
        Self(table.latest_range(kind, &key::after(kind)).peekable())
    }
}

impl Walk<'_> {
    /// Tenant and user of the next row's key.
    fn owner(&mut self) -> Result<Option<Vec<u8>>, Error> {
        match self.0.peek() {
            Some(Ok((key, _))) => Ok(Some(key::owner_of(key)?.to_vec())),
            Some(Err(error)) => Err(error.clone()),
            None => Ok(None),
        }
    }

    /// The next row whose key goes on like this; those before it are passed over.
    fn next_within(&mut self, prefix: &[u8]) -> Result<Option<Pair>, Error> {
        let before = |row: &Row| matches!(row, Ok((key, _)) if &key[1..] < prefix);
        while self.0.next_if(before).is_some() {}
        self.0.next_if(|row| row.as_ref().map_or(true, |(key, _)| key[1..].starts_with(prefix))).transpose()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{COMPARISONS_MAX, Roll};
    use crate::model::condition::Condition;
    use crate::model::id::{DeviceNumber, TenantId};
    use crate::store::Error;

    /// A tenant whose devices have a value each must not hold up the pushes of all others.
    #[test]
    fn a_condition_that_compares_too_much_is_refused() {
        let (roll, tenant) = (Roll::default(), TenantId::new("acme").unwrap());
        let values = u32::try_from(COMPARISONS_MAX / 2).unwrap();
        roll.change(&tenant, |roll| {
            for number in 0..values {
                let attributes = BTreeMap::from([("install".to_owned(), number.to_string())]);
                roll.index.describe(DeviceNumber(number), &BTreeMap::new(), &attributes);
            }
        });
        let check = |text: &str| roll.check(&tenant, &Condition::parse(text).unwrap());
        assert_eq!(check("install >= '1' && install < '7'"), Ok(()));
        let three = "install >= '1' && (install < '7' || !(install != '9'))";
        assert_eq!(check(three), Err(Error::TooDear(COMPARISONS_MAX)));
        assert_eq!(check("install == '1' && install == '2' && install == '3'"), Ok(()), "it looks one value up");
        assert_eq!(check("other >= '1' && 'a' in topics && install < '3'"), Ok(()));
    }
}
