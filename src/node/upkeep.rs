//! What a node does by itself: removes what has expired, gives back unneeded memory, and proves that it can append and read.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::model::fault::{Code, Fault};
use crate::model::id::{MessageId, TenantId, TopicName};
use crate::model::log::{LogId, Offset};
use crate::model::message::{Durability, Urgency};
use crate::node::{Node, fault};
use crate::pool;
use crate::store::{Append, Wishes};

/// Pause between sweeps when nothing more is due.
const SWEEP_PAUSE: Duration = Duration::from_secs(5);

impl Node {
    /// Sweeps until the node drains: in even steps, and when something is to be sent or handed off. Run it on a task of
    /// its own.
    pub async fn keep_up(self: Arc<Self>) {
        while !self.draining() {
            self.alarm.awake();
            let mut next = None;
            match self.store.sweep(self.clock.now().wall).await {
                Ok(swept) if swept.more => continue,
                Ok(swept) => next = swept.next,
                Err(error) => tracing::warn!(%error, "a sweep failed; it will be tried again"),
            }
            let now = self.clock.now().wall;
            let planned = next.map_or(now + SWEEP_PAUSE, |next| next.min(now + SWEEP_PAUSE));
            let pause = Duration::from_millis(planned.as_millis().saturating_sub(now.as_millis()));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.alarm.earlier_than(planned) => {}
                () = self.drained.cancelled() => {}
            }
        }
    }

    /// Lets the pools give back what nobody needed of late, until the node drains. Run it on a task of its own.
    pub async fn keep_pools(self: Arc<Self>) {
        // What the process holds before the first device is what its growth is measured from.
        pool::report(&self.metrics);
        while tokio::time::timeout(pool::TICK, self.drained.cancelled()).await.is_err() {
            pool::tick();
        }
    }

    /// Appends a message with fsync and reads it back; returns the time it took. Who calls it often shares the result.
    ///
    /// # Errors
    /// What went wrong; [`Code::Draining`] while the node is being drained.
    pub async fn ready(&self) -> Result<Duration, Fault> {
        if self.draining() {
            return Err(Fault::new(Code::Draining, "the node is being drained"));
        }
        self.fly().await
    }

    async fn fly(&self) -> Result<Duration, Fault> {
        let internal = |_| Fault::new(Code::Internal, "the canary's names are not names");
        let tenant = TenantId::new("_pushline").map_err(internal)?;
        let log = LogId::Topic(tenant, TopicName::new("canary").map_err(internal)?);
        let began = self.clock.now();
        let id = MessageId::new(began.wall.as_millis(), std::array::from_fn(|_| fastrand::u8(..)));
        let appended = self.store.append(Append {
            log: log.clone(),
            id,
            now: began.wall,
            expires_at: began.wall + Duration::from_secs(60),
            urgency: Urgency::VeryLow,
            device: None,
            collapse_key: None,
            idempotency: None,
            durability: Durability::Fsync,
            body: Bytes::from_static(b"canary"),
            wishes: Wishes { without_receipts: true, ..Wishes::default() },
        });
        let offset = appended.await.map_err(fault)?.offset;
        let page = self.store.read(&log, Offset(offset.0 - 1), 1, 1, began.wall).await.map_err(fault)?;
        match page.entries.first() {
            Some(entry) if entry.id == id => Ok(self.clock.now().moment.since(began.moment)),
            _ => Err(Fault::new(Code::StoreFailed, "what was appended could not be read back")),
        }
    }
}
