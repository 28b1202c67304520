//! Who is connected to this node: by name, and by number for sets of devices. It waits for nothing and hands nothing on.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::model::access::TokenId;
use crate::model::clock::Timestamp;
use crate::model::id::{DeviceId, DeviceNumber, Receiver, TenantId, UserId};
use crate::model::set::DeviceSet;
use crate::node::core::Core;
use crate::node::mailbox::Mailbox;

/// What a session lives by, for revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    /// The token's id; `None` for a share's.
    pub(crate) id: Option<TokenId>,
    /// When it was issued.
    pub(crate) issued_at: Timestamp,
}

/// One connection's place at the hub.
pub(super) struct Place {
    pub(super) mailbox: Arc<Mailbox>,
    /// Where the connection lives.
    pub(super) core: Arc<Core>,
    /// The session is over: its last commit is answered and nothing of it will be written any more.
    pub(super) ended: CancellationToken,
    /// The device's number, once the store has told it: it is online from then on.
    number: OnceLock<DeviceNumber>,
    /// What the session lives by; the newer token once it is renewed. `None` when it was told to end.
    held: Mutex<Option<Held>>,
}

impl Place {
    pub(super) fn new(mailbox: Arc<Mailbox>, core: Arc<Core>, held: Held) -> Self {
        let held = Mutex::new(Some(held));
        Self { mailbox, core, ended: CancellationToken::new(), number: OnceLock::new(), held }
    }

    /// Takes away what the session lives by, if it is this; true once.
    pub(super) fn take(&self, is_it: impl FnOnce(Held) -> bool) -> bool {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.take_if(|held| is_it(*held)).is_some()
    }

    /// The session lives by another token.
    pub(super) fn holds(&self, held: Held) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(held);
    }

    /// The device's number, while it is online.
    pub(super) fn number(&self) -> Option<DeviceNumber> {
        self.number.get().copied()
    }
}

/// Who is connected.
#[derive(Default)]
pub(super) struct Seats {
    tenants: HashMap<TenantId, Guests>,
    /// Devices of all tenants.
    pub(super) connected: usize,
    /// The node is being emptied. Stands under the lock of the seats, so that every device either was asked to move or
    /// is refused.
    pub(super) draining: bool,
}

/// The devices of a tenant.
#[derive(Default)]
struct Guests {
    /// Devices of each user, by name. A list: nearly every user has one or two.
    users: BTreeMap<UserId, Vec<(DeviceId, Arc<Place>)>>,
    /// How many that are.
    connected: usize,
    /// Numbers of those that are online.
    online: DeviceSet,
}

impl Seats {
    /// A device's place.
    pub(super) fn get(&self, receiver: &Receiver) -> Option<&Arc<Place>> {
        let of_user = self.of_user(&receiver.tenant, &receiver.user);
        of_user.iter().find(|(device, _)| *device == receiver.device).map(|(_, place)| place)
    }

    /// The devices of a user.
    pub(super) fn of_user(&self, tenant: &TenantId, user: &UserId) -> &[(DeviceId, Arc<Place>)] {
        let guests = self.tenants.get(tenant);
        guests.and_then(|guests| guests.users.get(user)).map_or(&[], Vec::as_slice)
    }

    /// How many devices a tenant has here.
    pub(super) fn connected_of(&self, tenant: &TenantId) -> usize {
        self.tenants.get(tenant).map_or(0, |guests| guests.connected)
    }

    /// All places of a tenant.
    pub(super) fn of_tenant(&self, tenant: &TenantId) -> impl Iterator<Item = &Arc<Place>> {
        let guests = self.tenants.get(tenant).into_iter();
        guests.flat_map(|guests| guests.users.values().flatten()).map(|(_, place)| place)
    }

    /// Gives a device another place; `None` when it has none. The older one is not online any more.
    pub(super) fn replace(&mut self, receiver: &Receiver, place: &Arc<Place>) -> Option<Arc<Place>> {
        let guests = self.tenants.get_mut(&receiver.tenant)?;
        let of_user = guests.users.get_mut(&receiver.user)?;
        let (_, taken) = of_user.iter_mut().find(|(device, _)| *device == receiver.device)?;
        let older = std::mem::replace(taken, Arc::clone(place));
        older.number().map(|number| guests.online.remove(number));
        Some(older)
    }

    /// Gives a device that has none a place.
    pub(super) fn insert(&mut self, receiver: &Receiver, place: &Arc<Place>) {
        let guests = self.tenants.entry(receiver.tenant.clone()).or_default();
        let of_user = guests.users.entry(receiver.user.clone()).or_insert_with(|| Vec::with_capacity(1));
        let at = of_user.partition_point(|(device, _)| *device < receiver.device);
        of_user.insert(at, (receiver.device.clone(), Arc::clone(place)));
        guests.connected += 1;
        self.connected += 1;
    }

    /// The device of this place is online from now on, unless the place is another's by now.
    pub(super) fn came_online(&mut self, receiver: &Receiver, place: &Arc<Place>, number: DeviceNumber) {
        if !self.get(receiver).is_some_and(|own| Arc::ptr_eq(own, place)) || place.number.set(number).is_err() {
            return;
        }
        if let Some(guests) = self.tenants.get_mut(&receiver.tenant) {
            guests.online.insert(number);
        }
    }

    /// Takes a place away, unless it is another's by now.
    pub(super) fn remove(&mut self, receiver: &Receiver, place: &Arc<Place>) {
        let Some(guests) = self.tenants.get_mut(&receiver.tenant) else { return };
        let Some(of_user) = guests.users.get_mut(&receiver.user) else { return };
        let own = |(_, taken): &(DeviceId, Arc<Place>)| Arc::ptr_eq(taken, place);
        let Some(at) = of_user.iter().position(own) else { return };
        of_user.remove(at);
        guests.connected -= 1;
        place.number().map(|number| guests.online.remove(number));
        if of_user.is_empty() {
            guests.users.remove(&receiver.user);
        }
        if guests.users.is_empty() {
            self.tenants.remove(&receiver.tenant);
        }
        self.connected -= 1;
    }

    /// All devices, with their mailboxes.
    pub(super) fn all(&self) -> Vec<(Receiver, Arc<Mailbox>)> {
        let mut all = Vec::with_capacity(self.connected);
        for (tenant, guests) in &self.tenants {
            for (user, devices) in &guests.users {
                all.extend(devices.iter().map(|(device, place)| {
                    let receiver = Receiver { tenant: tenant.clone(), user: user.clone(), device: device.clone() };
                    (receiver, Arc::clone(&place.mailbox))
                }));
            }
        }
        all
    }

    /// How many of a set are online.
    pub(super) fn online_of(&self, tenant: &TenantId, devices: &DeviceSet) -> u64 {
        self.tenants.get(tenant).map_or(0, |guests| guests.online.shared(devices))
    }

    /// Whether a device is online.
    pub(super) fn is_online(&self, receiver: &Receiver) -> bool {
        self.get(receiver).is_some_and(|place| place.number().is_some())
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.tenants.is_empty()
    }
}
