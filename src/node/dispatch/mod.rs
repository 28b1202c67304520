//! Posts events to the webhooks of tenants: a task for each webhook, which reads its journal behind the position that was
//! delivered. What is posted, and what follows from an answer, is in `deliver.rs` and `hand_off.rs`.
//!
//! Every request is signed (Standard Webhooks), and is a repeat of an earlier one only if its `webhook-id` says so.

mod deliver;
mod hand_off;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::hook::{Place, Poster, Secret};
use crate::metrics::{Gauge, Metrics};
use crate::model::clock::{Clock, Timestamp};
use crate::model::fault::Fault;
use crate::model::id::{MessageId, TenantId};
use crate::model::webhook::{Kind, Webhook};
use crate::node::bell::Bell;
use crate::node::{MessageRecord, Node};
use crate::store::{self, Journal, Store};

/// What an operator can set about posting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Pause after the first failure of a post; it doubles with each one.
    pub pause_first: Duration,
    /// Longest pause.
    pub pause_max: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { pause_first: Duration::from_secs(1), pause_max: Duration::from_secs(300) }
    }
}

/// Writes a message as JSON, as backends see it: this room knows no codec.
pub type Describe = fn(MessageId, &MessageRecord) -> Result<serde_json::Value, Fault>;

/// Where it is noted how webhooks are doing, and which ones were set anew.
#[derive(Default)]
pub(crate) struct Desk {
    notes: Mutex<Notes>,
    /// Rings when webhooks were set or removed.
    changed: Notify,
}

#[derive(Default)]
struct Notes {
    /// Webhooks whose task must begin anew.
    set: HashSet<(TenantId, Kind)>,
    /// When the last try failed, and how.
    failures: HashMap<(TenantId, Kind), (Timestamp, String)>,
}

/// The task of one webhook.
struct Courier {
    store: Arc<dyn Store>,
    bell: Arc<Bell>,
    desk: Arc<Desk>,
    metrics: Arc<Metrics>,
    clock: Clock,
    options: Options,
    poster: Poster,
    describe: Describe,
    tenant: TenantId,
    kind: Kind,
    place: Place,
    secret: Secret,
    /// Up to here the journal was delivered.
    position: u64,
}

impl Desk {
    /// A webhook was set or removed.
    pub(crate) fn set(&self, tenant: &TenantId, kind: Kind) {
        let key = (tenant.clone(), kind);
        let mut notes = self.notes();
        notes.failures.remove(&key);
        notes.set.insert(key);
        drop(notes);
        self.changed.notify_one();
    }

    /// When the last try of a webhook failed, and how.
    pub(crate) fn failure(&self, tenant: &TenantId, kind: Kind) -> Option<(Timestamp, String)> {
        self.notes().failures.get(&(tenant.clone(), kind)).cloned()
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node {
    /// Posts to webhooks until the node has drained. Run it on a task of its own.
    pub async fn dispatch(self: Arc<Self>, poster: Poster, describe: Describe) {
        let mut couriers: HashMap<(TenantId, Kind), JoinHandle<()>> = HashMap::new();
        while !self.ended.is_cancelled() {
            let set = std::mem::take(&mut self.desk.notes().set);
            // They end before it is read how far they came.
            let over = couriers.extract_if(|key, task| set.contains(key) || task.is_finished());
            end(over.map(|(_, task)| task).collect()).await;
            match self.store.webhooks().await {
                Ok(webhooks) => {
                    let known: HashSet<_> = webhooks.iter().map(|(tenant, kind, ..)| (tenant.clone(), *kind)).collect();
                    let over = couriers.extract_if(|key, _| !known.contains(key));
                    end(over.map(|(_, task)| task).collect()).await;
                    for (tenant, kind, webhook, position) in webhooks {
                        let key = (tenant.clone(), kind);
                        if !couriers.contains_key(&key)
                            && let Some(courier) =
                                self.courier(key.clone(), webhook, position, (poster.clone(), describe))
                        {
                            couriers.insert(key, tokio::spawn(courier.run()));
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the webhooks could not be read; they will be read again");
                    self.desk.notes().set.extend(set);
                }
            }
            tokio::select! {
                () = self.desk.changed.notified() => {}
                () = self.ended.cancelled() => {}
                // In case the store could not be read, or a task has failed.
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
        end(couriers.into_values().collect()).await;
    }

    fn courier(
        &self,
        (tenant, kind): (TenantId, Kind),
        webhook: Webhook,
        position: u64,
        (poster, describe): (Poster, Describe),
    ) -> Option<Courier> {
        let place = Place::parse(&webhook.url).inspect_err(|error| {
            tracing::error!(%tenant, kind = kind.as_str(), %error, "the stored URL of a webhook is none");
        });
        Some(Courier {
            store: Arc::clone(&self.store),
            bell: Arc::clone(&self.bell),
            desk: Arc::clone(&self.desk),
            metrics: Arc::clone(&self.metrics),
            clock: self.clock,
            options: self.dispatch.clone(),
            poster,
            describe,
            tenant,
            kind,
            place: place.ok()?,
            secret: Secret::from_bytes(webhook.secret),
            position,
        })
    }
}

/// Ends tasks and waits until they have: nothing of them is written any more.
async fn end(tasks: Vec<JoinHandle<()>>) {
    for task in tasks {
        task.abort();
        match task.await {
            Err(error) if error.is_panic() => tracing::error!(%error, "the task of a webhook failed"),
            _ => {}
        }
    }
}

impl Courier {
    async fn run(self) {
        match self.kind {
            Kind::Receipts => self.deliver(Journal::Receipts).await,
            Kind::Presence => self.deliver(Journal::Presence).await,
            Kind::Fallback => self.hand_off().await,
        }
    }

    /// Notes that a try failed.
    fn failed(&self, how: &str) {
        self.metrics.webhook_posts_failed.increment();
        let failure = (self.clock.now().wall, how.to_owned());
        let known = self.desk.notes().failures.insert((self.tenant.clone(), self.kind), failure);
        if known.is_none() {
            let Self { tenant, kind, place, .. } = self;
            tracing::warn!(%tenant, kind = kind.as_str(), ?place, how, "a webhook fails; it is tried again until it works");
        }
    }

    /// Notes that a try worked.
    fn worked(&self) {
        self.metrics.webhook_posts_taken.increment();
        if self.desk.notes().failures.remove(&(self.tenant.clone(), self.kind)).is_some() {
            let Self { tenant, kind, place, .. } = self;
            tracing::info!(%tenant, kind = kind.as_str(), ?place, "a webhook works again");
        }
    }

    /// Notes in the store how far its journal was delivered.
    async fn note_delivered(&self, position: u64) {
        if let Err(error) = self.store.delivered(&self.tenant, self.kind, position).await {
            let Self { tenant, kind, .. } = self;
            tracing::warn!(%tenant, kind = kind.as_str(), %error, "could not note what was delivered; it may come again");
        }
    }

    /// Reads its journal, and goes on trying while the store cannot be read.
    async fn read(&self, journal: Journal, after: u64, most: usize) -> store::Events {
        let mut pauses = Pauses::new(&self.options);
        loop {
            match self.store.journal(&self.tenant, journal, after, most).await {
                Ok(page) => return page,
                Err(error) => {
                    let Self { tenant, kind, .. } = self;
                    tracing::warn!(%tenant, kind = kind.as_str(), %error, "a journal could not be read");
                    tokio::time::sleep(pauses.next(None)).await;
                }
            }
        }
    }
}

/// Growing pauses between tries.
struct Pauses {
    options: Options,
    /// The next one, before chance.
    next: Duration,
}

impl Pauses {
    fn new(options: &Options) -> Self {
        Self { options: options.clone(), next: options.pause_first }
    }

    /// The next pause: half of it is chance, so that many webhooks of one receiver do not come back together. A receiver
    /// that asks for a longer one gets it, up to the longest.
    fn next(&mut self, asked: Option<Duration>) -> Duration {
        let pause = self.next.mul_f64(0.5 + fastrand::f64() / 2.0);
        self.next = (self.next * 2).min(self.options.pause_max);
        pause.max(asked.unwrap_or_default()).min(self.options.pause_max)
    }
}

/// What a webhook adds to the number of all events that wait to be posted. Dropped, it adds nothing.
struct Lag {
    all: Gauge,
    own: u64,
}

impl Lag {
    const fn new(all: Gauge) -> Self {
        Self { all, own: 0 }
    }

    fn set(&mut self, events: u64) {
        self.all.add(events.saturating_sub(self.own));
        self.all.subtract(self.own.saturating_sub(events));
        self.own = events;
    }
}

impl Drop for Lag {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// How often webhooks are looked at though none was set.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Lag, Options, Pauses};
    use crate::metrics::Metrics;

    #[test]
    fn pauses_grow_to_their_longest_and_obey_the_receiver_within_it() {
        let seconds = Duration::from_secs;
        let mut pauses = Pauses::new(&Options { pause_first: seconds(1), pause_max: seconds(10) });
        for most in [1, 2, 4, 8, 10, 10] {
            let pause = pauses.next(None);
            assert!(pause <= seconds(most) && pause * 2 >= seconds(most), "{pause:?} of {most}");
        }
        assert_eq!(pauses.next(Some(seconds(3_600))), seconds(10));
        let mut first = Pauses::new(&Options { pause_first: seconds(1), pause_max: seconds(10) });
        assert_eq!(first.next(Some(seconds(7))), seconds(7));
    }

    #[test]
    fn what_waits_is_summed_over_all_webhooks_that_are() {
        let metrics = Metrics::new();
        let mut one = Lag::new(metrics.webhook_lag.clone());
        let mut two = Lag::new(metrics.webhook_lag.clone());
        one.set(5);
        two.set(7);
        one.set(2);
        assert_eq!(metrics.webhook_lag.value(), 9);
        drop(two);
        assert_eq!(metrics.webhook_lag.value(), 2);
    }
}
