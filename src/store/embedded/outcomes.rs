//! The records of messages as the writing thread has them: with the changes of this batch, and those used lately. Who
//! writes asks here and nowhere else; a record goes to the disk once a batch, whatever happened to the message.

use std::collections::HashMap;
use std::collections::hash_map;

use super::key;
use super::recent::Recent;
use super::record::Message;
use super::staged::Staged;
use super::table::View;
use crate::model::id::{MessageId, TenantId};
use crate::store::Error;

/// Records that are kept because they were used lately and somebody is still waited for; up to twice as many may be. A
/// guess: what is out at a time on a busy node, so that an ack finds its message. One takes about 500 bytes. With 8,192 of
/// all that were used, a fifth of the writing thread's time went into reading records back (unicast, 16,000 outstanding).
const RECENT_MAX: usize = 16_384;

/// Message records that the writing thread has at hand. Boxed: they are large, and go from map to map with each batch.
pub(super) struct Outcomes {
    /// Changed by this batch, by key.
    touched: HashMap<Vec<u8>, Box<Message>>,
    /// As they are on disk.
    recent: Recent<Box<Message>>,
}

impl Outcomes {
    /// Nothing is at hand.
    pub(super) fn new() -> Self {
        Self { touched: HashMap::new(), recent: Recent::new(RECENT_MAX) }
    }

    /// The record of a message, to change it.
    pub(super) fn get(
        &mut self,
        staged: &Staged,
        tenant: &TenantId,
        id: MessageId,
    ) -> Result<Option<&mut Message>, Error> {
        Ok(match self.touched.entry(key::message(tenant, id)) {
            hash_map::Entry::Occupied(known) => Some(&mut **known.into_mut()),
            hash_map::Entry::Vacant(place) => {
                let message = match self.recent.take(place.key()) {
                    Some(message) => Some(message),
                    None => read(staged, place.key(), tenant, id)?.map(Box::new),
                };
                message.map(|message| &mut **place.insert(message))
            }
        })
    }

    /// The record of a message as it is now, to look at it.
    pub(super) fn look(&self, staged: &Staged, tenant: &TenantId, id: MessageId) -> Result<Option<Message>, Error> {
        let key = key::message(tenant, id);
        match self.touched.get(&key).or_else(|| self.recent.peek(&key)) {
            Some(message) => Ok(Some(Message::clone(message))),
            None => read(staged, &key, tenant, id),
        }
    }

    /// Sets the record of a message.
    pub(super) fn put(&mut self, message: Message) {
        self.touched.insert(message.key(), Box::new(message));
    }

    /// Removes the record of a message.
    pub(super) fn remove(&mut self, staged: &mut Staged, key: Vec<u8>) {
        self.touched.remove(&key);
        self.recent.forget(&key);
        staged.remove(key);
    }

    /// Stages what the batch changed.
    pub(super) fn stage(&mut self, staged: &mut Staged) {
        for (key, message) in self.touched.drain() {
            staged.put(key.clone(), message.encode());
            if message.counts.waiting() > 0 {
                self.recent.put_owned(key, message);
            } else {
                // Hardly anybody asks for it again.
                self.recent.forget(&key);
            }
        }
    }
}

fn read(staged: &Staged, key: &[u8], tenant: &TenantId, id: MessageId) -> Result<Option<Message>, Error> {
    staged.get(key)?.map(|bytes| Message::decode(tenant, id, &bytes)).transpose()
}
