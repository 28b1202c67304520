//! Ends the sessions whose token is good no more. It does not know why.

use std::sync::Arc;

use crate::model::clock::Timestamp;
use crate::model::close::CloseReason;
use crate::model::id::TenantId;
use crate::node::access::tokens::Which;
use crate::node::hub::Hub;
use crate::node::hub::seats::Place;
use crate::node::mailbox::Item;

impl Hub {
    /// Tells the sessions of a tenant to end that live by such a token: the one that is named, or one of those named that
    /// was issued at this time or before. Gives how many; those that were told before are not counted again.
    pub(crate) fn revoke(&self, tenant: &TenantId, which: &Which, upto: Timestamp) -> u32 {
        let older = |place: &&Arc<Place>| place.take(|held| held.issued_at <= upto);
        let seats = self.seats();
        let of_user = |user| seats.of_user(tenant, user).iter();
        let found: Vec<Arc<Place>> = match which {
            Which::All => seats.of_tenant(tenant).filter(older).cloned().collect(),
            Which::Token(id) => {
                let its = |place: &&Arc<Place>| place.take(|held| held.id == Some(*id));
                seats.of_tenant(tenant).filter(its).cloned().collect()
            }
            Which::User(user) => of_user(user).map(|(_, place)| place).filter(older).cloned().collect(),
            Which::Device(user, device) => {
                let of_device = of_user(user).filter(|(name, _)| name == device);
                of_device.map(|(_, place)| place).filter(older).cloned().collect()
            }
        };
        // Nobody who comes or goes waits for it.
        drop(seats);
        for place in &found {
            place.mailbox.order(Item::Close(CloseReason::Revoked));
        }
        u32::try_from(found.len()).unwrap_or(u32::MAX)
    }
}
