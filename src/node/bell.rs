//! Rings for those who follow a journal when events were added to it. It knows nothing of the events.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::model::id::TenantId;
use crate::store::Journal;

type Key = (TenantId, Journal);

/// The bell of a node.
#[derive(Default)]
pub(crate) struct Bell {
    /// Journals that somebody follows.
    heard: Mutex<HashMap<Key, Heard>>,
}

struct Heard {
    sender: watch::Sender<()>,
    /// How many follow it.
    ears: usize,
}

/// Hears of one journal. Holds its place at the bell until it is dropped.
pub(crate) struct Ear {
    bell: Arc<Bell>,
    key: Key,
    receiver: watch::Receiver<()>,
}

impl Bell {
    /// Events were added to these journals.
    pub(crate) fn ring(&self, journals: &[Key]) {
        let heard = self.heard();
        for journal in journals {
            if let Some(heard) = heard.get(journal) {
                heard.sender.send_replace(());
            }
        }
    }

    /// Hears of a journal from now on: an event that is added after this rings, one that was added before can be read.
    pub(crate) fn listen(self: &Arc<Self>, tenant: &TenantId, journal: Journal) -> Ear {
        let key = (tenant.clone(), journal);
        let mut heard = self.heard();
        let entry = heard.entry(key.clone()).or_insert_with(|| Heard { sender: watch::Sender::new(()), ears: 0 });
        entry.ears += 1;
        let receiver = entry.sender.subscribe();
        drop(heard);
        Ear { bell: Arc::clone(self), key, receiver }
    }

    fn heard(&self) -> MutexGuard<'_, HashMap<Key, Heard>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ear {
    /// What rang until now is known; said before the journal is read.
    pub(crate) fn forget(&mut self) {
        self.receiver.mark_unchanged();
    }

    /// Waits until it has rung since [`Ear::forget`]. Cancel-safe.
    pub(crate) async fn hear(&mut self) {
        if self.receiver.changed().await.is_err() {
            // The sender goes with the last ear, and this is one.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        let mut heard = self.bell.heard();
        if let Entry::Occupied(mut entry) = heard.entry(self.key.clone()) {
            entry.get_mut().ears -= 1;
            if entry.get().ears == 0 {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt;

    use super::Bell;
    use crate::model::id::TenantId;
    use crate::store::Journal;

    #[test]
    fn who_follows_a_journal_hears_of_it_and_of_no_other() {
        let (bell, tenant) = (Arc::<Bell>::default(), TenantId::new("t").expect("a name"));
        let mut ear = bell.listen(&tenant, Journal::Receipts);
        let other = bell.listen(&tenant, Journal::Receipts);
        bell.ring(&[(tenant.clone(), Journal::Presence), (TenantId::new("o").expect("a name"), Journal::Receipts)]);
        assert_eq!(ear.hear().now_or_never(), None);
        bell.ring(&[(tenant.clone(), Journal::Receipts)]);
        assert_eq!(ear.hear().now_or_never(), Some(()), "it rang before it was waited for");
        assert_eq!(ear.hear().now_or_never(), None, "once");
        bell.ring(&[(tenant.clone(), Journal::Receipts)]);
        ear.forget();
        assert_eq!(ear.hear().now_or_never(), None);
        drop(other);
        bell.ring(&[(tenant, Journal::Receipts)]);
        assert_eq!(ear.hear().now_or_never(), Some(()));
        drop(ear);
        assert!(bell.heard().is_empty(), "nothing is kept for nobody");
    }
}
