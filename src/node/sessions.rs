//! What the rest of the node asks of the sessions that live on it: who is online, where a push stands with one of them,
//! and that they look anew at what they follow. It keeps nothing.

use std::time::Duration;

use tokio::sync::oneshot;

use crate::bus::Hint;
use crate::model::id::{Receiver, TenantId, UserId};
use crate::model::log::{Epoch, LogId, Offset};
use crate::model::set::DeviceSet;
use crate::model::standing::Standing;
use crate::node::Node;
use crate::node::mailbox::Question;

/// How long a session may take to say where a push stands. A guess: it answers within its next turn, and only a machine
/// in trouble takes so long.
const QUESTION_PATIENCE: Duration = Duration::from_secs(1);

/// Hints of changed users that are published at once, so that a change of a hundred thousand needs no list of them all.
const CHANGED_AT_ONCE: usize = 1_024;

impl Node {
    /// What these users follow, or their quiet hours, has changed in the store: their sessions read it anew, before they
    /// look at anything that is pushed after this call.
    pub fn changed(&self, tenant: &TenantId, users: &[UserId]) {
        for some in users.chunks(CHANGED_AT_ONCE) {
            let hint = |user: &UserId| Hint::Changed { log: LogId::Inbox(tenant.clone(), user.clone()) };
            self.bus.publish(some.iter().map(hint).collect());
        }
    }

    /// How many of a set of devices are online.
    #[must_use]
    pub fn online_of(&self, tenant: &TenantId, devices: &DeviceSet) -> u64 {
        self.hub.online_of(tenant, devices)
    }

    /// Whether a device is online.
    #[must_use]
    pub fn is_online(&self, receiver: &Receiver) -> bool {
        self.hub.is_online(receiver)
    }

    /// Where a push stands with the session of a device. `None` when it has no session, or that did not answer in time.
    pub async fn standing(&self, receiver: &Receiver, log: LogId, epoch: Epoch, offset: Offset) -> Option<Standing> {
        let (answer, answered) = oneshot::channel();
        if !self.hub.ask(receiver, Question { log, epoch, offset, answer }) {
            return None;
        }
        tokio::time::timeout(QUESTION_PATIENCE, answered).await.ok()?.ok()
    }
}
