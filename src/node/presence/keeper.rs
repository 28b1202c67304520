//! Writes what is said of comings and goings to the journal, many words at a time.

use std::time::Duration;

use crate::model::clock::Moment;
use crate::model::id::{Receiver, TenantId};
use crate::model::presence::{Event, What};
use crate::node::Node;
use crate::node::presence::roll::Urgency;
use crate::store::{self, Journal};

/// How long words wait for others to be written with.
const GATHER: Duration = Duration::from_millis(250);

/// Pause after the store was too busy. A guess: a full queue empties in one flush.
const BUSY_PAUSE: Duration = Duration::from_millis(500);

/// Tries to write a batch when the node ends.
const LAST_TRIES: usize = 3;

impl Node {
    /// Tells tenants that the gateway was started again, and then what is said of their devices, until the node has
    /// drained and the last word is written. Run it on a task of its own.
    pub async fn keep_presence(&self) {
        for (tenant, _) in self.access.tenants(None, usize::MAX) {
            if let Err(error) = self.reset_presence(&tenant).await {
                tracing::warn!(%tenant, %error, "could not note that the gateway was started again");
            }
        }
        while !self.ended.is_cancelled() {
            self.gather().await;
            self.write_presence().await;
        }
        self.board.roll().end("gone", self.clock.now());
        while self.board.roll().urgency() < Urgency::At(Moment::NEVER) {
            let now = self.clock.now();
            self.board.roll().tick(now);
            self.write_presence().await;
        }
    }

    /// Waits until there is something to write, and for what can be written with it.
    async fn gather(&self) {
        let mut full_at = None;
        while !self.ended.is_cancelled() {
            let now = self.clock.now();
            let urgency = {
                let mut roll = self.board.roll();
                roll.tick(now);
                roll.urgency()
            };
            let until = match urgency {
                Urgency::Now => return,
                // What falls due while the first word waits is written with it.
                Urgency::Soon => *full_at.get_or_insert(now.moment + GATHER),
                Urgency::At(moment) => moment,
            };
            if until <= now.moment {
                return;
            }
            let sleep = async {
                match self.clock.instant(until) {
                    Some(instant) => tokio::time::sleep_until(instant.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = sleep => {}
                () = self.ended.cancelled() => {}
                () = self.board.keeper.notified() => {}
            }
        }
    }

    /// Writes what waits.
    async fn write_presence(&self) {
        let batches = self.board.roll().take();
        for (tenant, events) in batches {
            self.note(&tenant, events).await;
        }
        let lost = self.board.roll().lost();
        if let Some(tenant) = lost {
            tracing::warn!(%tenant, "more comings and goings waited for the store than fit; the tenant is told all anew");
            self.tell_anew(&tenant).await;
        }
    }

    async fn tell_anew(&self, tenant: &TenantId) {
        self.note(tenant, vec![self.reset()]).await;
        let mut after: Option<Receiver> = None;
        loop {
            let (events, last) = self.board.roll().anew(tenant, after.as_ref());
            if last.is_none() {
                return;
            }
            after = last;
            self.note(tenant, events).await;
        }
    }

    /// Writes a batch, waiting for a store that is busy. One that has failed takes nothing any more.
    async fn note(&self, tenant: &TenantId, events: Vec<Event>) {
        let mut tries = 0;
        loop {
            match self.store.note(tenant, events.clone()).await {
                Ok(()) => {
                    self.metrics.presence_events.add(events.len() as u64);
                    self.metrics.presence_batches.increment();
                    return;
                }
                Err(store::Error::Busy) if tries < LAST_TRIES || !self.ended.is_cancelled() => {
                    tries += 1;
                    tokio::time::sleep(BUSY_PAUSE).await;
                }
                Err(error) => {
                    tracing::error!(%tenant, %error, events = events.len(), "comings and goings could not be noted");
                    return;
                }
            }
        }
    }

    /// Those who were online when the gateway stopped, as the journal has it, are offline.
    async fn reset_presence(&self, tenant: &TenantId) -> Result<(), store::Error> {
        let last = self.store.journal(tenant, Journal::Presence, u64::MAX - 1, 1).await?.last;
        if last == 0 {
            return Ok(());
        }
        let newest = self.store.journal(tenant, Journal::Presence, last - 1, 1).await?;
        let is_reset = |event: &store::Event| matches!(event, store::Event::Presence(Event { what: What::Reset, .. }));
        if newest.events.first().is_some_and(|(_, event)| is_reset(event)) {
            return Ok(());
        }
        self.store.note(tenant, vec![self.reset()]).await
    }

    fn reset(&self) -> Event {
        Event { at: self.clock.now().wall, device: None, what: What::Reset }
    }
}
