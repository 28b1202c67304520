//! Reads and follows the journals of a tenant for its backends: receipts, and comings and goings. It writes none.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::model::clock::Timestamp;
use crate::model::fault::{Code, Fault};
use crate::model::id::{MessageId, Tag, TenantId, UserId};
use crate::node::bell::Ear;
use crate::node::{Node, fault};
use crate::store::Store;

pub use crate::store::{Event, Journal, TagHour};

/// Which events are wanted; those that every part of it wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Receipts of this message.
    pub message: Option<MessageId>,
    /// Receipts of messages with this tag.
    pub tag: Option<Tag>,
    /// Events of this user's devices, and those that concern all.
    pub user: Option<UserId>,
}

/// A piece of a journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Wanted events with their positions, ascending.
    pub events: Vec<(u64, Event)>,
    /// Everything up to this position was looked at: begin from here next time.
    pub position: u64,
    /// So many positions before the first that was looked at are not kept any more.
    pub missed: u64,
    /// The newest position there is.
    pub last: u64,
}

/// A journal that is followed. It holds a place among the tenant's streams.
pub struct Follow {
    reader: Reader,
    ear: Ear,
    /// The position that the last batch told; `None` before the first.
    told: Option<u64>,
    _place: Stream,
}

/// Where a journal is read.
struct Reader {
    store: Arc<dyn Store>,
    tenant: TenantId,
    journal: Journal,
    wanted: Wanted,
    /// The next page begins behind this position.
    after: u64,
}

/// Streams of events that are open, by tenant.
#[derive(Default)]
pub(crate) struct Streams(Mutex<HashMap<TenantId, usize>>);

/// One of them; closed when dropped.
struct Stream {
    streams: Arc<Streams>,
    tenant: TenantId,
}

impl Node {
    /// Follows a journal: events after a position, then new ones as they come; new ones only when no position is given.
    /// A position that does not exist (the newest ones were lost with the power of the machine) is taken for the newest.
    ///
    /// # Errors
    /// [`Code::TooManyStreams`], or the store's fault.
    pub async fn follow(
        &self,
        tenant: &TenantId,
        journal: Journal,
        wanted: Wanted,
        after: Option<u64>,
    ) -> Result<Follow, Fault> {
        let place = Streams::open(&self.streams, tenant, self.event_streams_max)?;
        let ear = self.bell.listen(tenant, journal);
        let mut reader = self.reader(tenant, journal, wanted, after.unwrap_or(u64::MAX));
        let last = reader.read(1).await?.last;
        reader.after = after.map_or(last, |after| after.min(last));
        Ok(Follow { reader, ear, told: None, _place: place })
    }

    /// Reads a piece of a journal: at most [`BATCH_EVENTS_MAX`] wanted events, after looking at a bounded number.
    ///
    /// # Errors
    /// The store's fault.
    pub async fn look_up(
        &self,
        tenant: &TenantId,
        journal: Journal,
        wanted: Wanted,
        after: u64,
    ) -> Result<Batch, Fault> {
        let mut reader = self.reader(tenant, journal, wanted, after);
        let mut found = reader.page().await?;
        for _ in 1..PAGES_AT_ONCE {
            if !found.events.is_empty() || found.position >= found.last {
                break;
            }
            let missed = found.missed;
            found = reader.page().await?;
            found.missed += missed;
        }
        Ok(found)
    }

    /// What became of a tag's messages, by hour of acceptance.
    ///
    /// # Errors
    /// The store's fault.
    pub async fn tag(
        &self,
        tenant: &TenantId,
        tag: &Tag,
        from: Timestamp,
        upto: Timestamp,
    ) -> Result<Vec<TagHour>, Fault> {
        self.store.tag(tenant, tag, from, upto).await.map_err(fault)
    }

    fn reader(&self, tenant: &TenantId, journal: Journal, wanted: Wanted, after: u64) -> Reader {
        Reader { store: Arc::clone(&self.store), tenant: tenant.clone(), journal, wanted, after }
    }
}

impl Follow {
    /// The next piece. The first one comes at once, though it may have no events; later ones have some, or only move the
    /// position on, now and then, when nothing that was added is wanted. Waits for as long as nothing is added.
    /// Cancel-safe: nothing is passed over by a call that was dropped.
    ///
    /// # Errors
    /// The store's fault.
    pub async fn next(&mut self) -> Result<Batch, Fault> {
        let mut pages = 0;
        loop {
            self.ear.forget();
            let batch = self.reader.page().await?;
            pages += 1;
            let is_new = !batch.events.is_empty() || batch.missed > 0 || self.told.is_none();
            if is_new || pages == PAGES_AT_ONCE {
                return Ok(self.tell(batch));
            }
            if batch.position < batch.last {
                // Others first: pages may be read without ever waiting.
                tokio::task::yield_now().await;
            } else if self.told == Some(batch.position) {
                self.ear.hear().await;
            } else if tokio::time::timeout(POSITION_PAUSE, self.ear.hear()).await.is_err() {
                return Ok(self.tell(batch));
            }
        }
    }

    fn tell(&mut self, batch: Batch) -> Batch {
        self.told = Some(batch.position);
        batch
    }
}

impl Reader {
    async fn read(&self, most: usize) -> Result<crate::store::Events, Fault> {
        self.store.journal(&self.tenant, self.journal, self.after, most).await.map_err(fault)
    }

    /// The next page, with what is wanted of it.
    async fn page(&mut self) -> Result<Batch, Fault> {
        let mut page = self.read(BATCH_EVENTS_MAX).await?;
        let missed = page.first.saturating_sub(1).saturating_sub(self.after);
        page.events.retain(|(_, event)| self.wanted.takes(event));
        // Never back: what was told once is not told again.
        self.after = self.after.min(page.last).max(page.looked);
        Ok(Batch { events: page.events, position: self.after, missed, last: page.last })
    }
}

impl Wanted {
    fn takes(&self, event: &Event) -> bool {
        match event {
            Event::Receipt(receipt) => {
                let of_user = |user| receipt.device.as_ref().is_none_or(|(of, _)| of == user);
                self.message.is_none_or(|message| receipt.message == message)
                    && self.tag.as_ref().is_none_or(|tag| receipt.tag.as_ref() == Some(tag))
                    && self.user.as_ref().is_none_or(of_user)
            }
            Event::Presence(event) => {
                let of_user = |user| event.device.as_ref().is_none_or(|(of, _)| of == user);
                self.user.as_ref().is_none_or(of_user)
            }
            Event::HandOff(hand_off) => self.user.as_ref().is_none_or(|user| hand_off.user == *user),
            Event::Audit(_) => true,
        }
    }
}

impl Streams {
    fn open(streams: &Arc<Self>, tenant: &TenantId, most: usize) -> Result<Stream, Fault> {
        let mut open = streams.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.get(tenant).copied().unwrap_or(0);
        if count >= most {
            let words = format!("{count} streams of events are open, the limit of a tenant; close one of them");
            return Err(Fault::new(Code::TooManyStreams, words));
        }
        open.insert(tenant.clone(), count + 1);
        drop(open);
        Ok(Stream { streams: Arc::clone(streams), tenant: tenant.clone() })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut open = self.streams.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.tenant) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.tenant);
            }
        }
    }
}

/// Events of one batch at most: some 100 KiB as JSON.
pub const BATCH_EVENTS_MAX: usize = 500;
/// Pages that are looked through for a wanted event before the position is told, or the caller is answered.
const PAGES_AT_ONCE: usize = 64;
/// How long an unwanted event waits for others before the position is told.
const POSITION_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
