//! Accepts pushes: gives them an id and a life, appends them, and spreads the hint.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

use crate::bus::{Bus, Hint};
use crate::metrics::Metrics;
use crate::model::clock::{Clock, Now, Timestamp};
use crate::model::fault::{Code, Fault};
use crate::model::id::{MessageId, TenantId};
use crate::model::log::{Epoch, LogId, Offset};
use crate::model::message::{Durability, Entry, Target, Urgency};
use crate::node::{Node, fault};
use crate::store::{self, Append, Idempotency};

/// Bounds of pushes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a payload.
    pub payload_bytes_max: usize,
    /// Time to live of a push that names none.
    pub ttl_default: Duration,
    /// Longest time to live; longer ones are cut to it.
    pub ttl_max: Duration,
}

/// Four weeks, as FCM has it.
const FOUR_WEEKS: Duration = Duration::from_secs(28 * 86_400);

impl Default for Limits {
    fn default() -> Self {
        Self { payload_bytes_max: 64 * 1024, ttl_default: FOUR_WEEKS, ttl_max: FOUR_WEEKS }
    }
}

/// A push as the backend asked for it, checked.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Whom it is for.
    pub target: Target,
    /// How long it may wait; `None` for the default. More than the maximum is cut to it. Zero: now or never, which is
    /// the same as [`Durability::None`].
    pub ttl: Option<Duration>,
    /// How urgent it is.
    pub urgency: Urgency,
    /// Replaces an older one with the same key.
    pub collapse_key: Option<String>,
    /// What the answer promises.
    pub durability: Durability,
    /// Makes a repeated call harmless.
    pub idempotency_key: Option<String>,
    /// Hash of the whole request, compared when an idempotency key comes again.
    pub fingerprint: u64,
    /// The content, encoded by `wire::body`.
    pub body: Bytes,
}

/// The answer to a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The message's id.
    pub id: MessageId,
    /// Its log; `None` for an online-only push.
    pub log: Option<LogId>,
    /// Its place; zero for an online-only push.
    pub offset: Offset,
    /// Which life of the log.
    pub epoch: Epoch,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
    /// An earlier push with the same idempotency key was this push.
    pub duplicate: bool,
    /// Sessions an online-only push was handed to.
    pub online: u32,
}

impl Node {
    /// Accepts a push. Its place in the store's queue is taken when this is called, not when the answer is awaited; the
    /// answer comes when the append is as durable as asked for. A caller that goes away does not undo the push.
    pub fn push(&self, tenant: &TenantId, draft: Draft) -> Pushing {
        if self.draining() {
            let words = "the node is being drained; push to another one or try again when it is back";
            return Pushing::done(Err(self.refused(Fault::new(Code::Draining, words))));
        }
        let now = self.clock.now();
        let id = MessageId::new(now.wall.as_millis(), std::array::from_fn(|_| fastrand::u8(..)));
        let (log, device) = match draft.target {
            Target::User(user) => (LogId::Inbox(tenant.clone(), user), None),
            Target::Device(user, device) => (LogId::Inbox(tenant.clone(), user), Some(device)),
            Target::Topic(topic) => (LogId::Topic(tenant.clone(), topic), None),
        };
        let ttl = draft.ttl.unwrap_or(self.limits.ttl_default).min(self.limits.ttl_max);
        let online = draft.durability == Durability::None || ttl.is_zero();
        let entry = Entry {
            offset: Offset::ZERO,
            id,
            accepted_at: now.wall,
            expires_at: if online { Timestamp::ZERO } else { now.wall + ttl },
            urgency: draft.urgency,
            device,
            body: draft.body,
        };
        if online {
            return Pushing::done(Ok(self.push_online(log, entry)));
        }
        let append = Append {
            log: log.clone(),
            id,
            now: now.wall,
            expires_at: entry.expires_at,
            urgency: entry.urgency,
            device: entry.device.clone(),
            collapse_key: draft.collapse_key,
            idempotency: draft.idempotency_key.map(|key| Idempotency { key, fingerprint: draft.fingerprint }),
            durability: draft.durability,
            body: entry.body.clone(),
        };
        let appended = self.store.append(append);
        let spread =
            Spread { bus: Arc::clone(&self.bus), metrics: Arc::clone(&self.metrics), clock: self.clock, began: now };
        Pushing {
            rest: Some(Box::pin(async move { spread.settle(log, entry, appended.await) })),
            tasks: self.tasks.clone(),
        }
    }

    fn push_online(&self, log: LogId, entry: Entry) -> Accepted {
        let (id, accepted_at) = (entry.id, entry.accepted_at);
        let handed = self.bus.publish(Hint::Online { log, entry });
        self.metrics.pushes_online.increment();
        Accepted {
            id,
            log: None,
            offset: Offset::ZERO,
            epoch: Epoch::default(),
            accepted_at,
            expires_at: Timestamp::ZERO,
            duplicate: false,
            online: u32::try_from(handed).unwrap_or(u32::MAX),
        }
    }

    fn refused(&self, fault: Fault) -> Fault {
        self.metrics.push_refused(fault.code);
        fault
    }
}

/// What is left to do when a push is stored.
struct Spread {
    bus: Arc<dyn Bus>,
    metrics: Arc<Metrics>,
    clock: Clock,
    began: Now,
}

impl Spread {
    fn settle(
        self,
        log: LogId,
        mut entry: Entry,
        appended: Result<store::Appended, store::Error>,
    ) -> Result<Accepted, Fault> {
        let appended = appended.map_err(|error| {
            let fault = fault(error);
            self.metrics.push_refused(fault.code);
            fault
        })?;
        self.metrics.append_latency.observe(self.clock.now().moment.since(self.began.moment));
        if appended.duplicate {
            self.metrics.pushes_duplicate.increment();
        } else {
            self.metrics.pushes_accepted.increment();
            entry.offset = appended.offset;
            let (epoch, last) = (appended.epoch, appended.offset);
            self.bus.publish(Hint::Grown { log: log.clone(), epoch, last, entry: Some(entry) });
        }
        Ok(Accepted {
            id: appended.id,
            log: Some(log),
            offset: appended.offset,
            epoch: appended.epoch,
            accepted_at: appended.accepted_at,
            expires_at: appended.expires_at,
            duplicate: appended.duplicate,
            online: 0,
        })
    }
}

/// A push on its way to its answer. Dropped before, it goes on by itself: a stored message must be hinted, whether or
/// not its sender still listens.
pub struct Pushing {
    rest: Option<Rest>,
    tasks: tokio_util::task::TaskTracker,
}

type Rest = Pin<Box<dyn Future<Output = Result<Accepted, Fault>> + Send>>;

impl Pushing {
    fn done(answer: Result<Accepted, Fault>) -> Self {
        Self { rest: Some(Box::pin(std::future::ready(answer))), tasks: tokio_util::task::TaskTracker::new() }
    }
}

impl Future for Pushing {
    type Output = Result<Accepted, Fault>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(rest) = self.rest.as_mut() else { return Poll::Pending };
        let answer = std::task::ready!(rest.as_mut().poll(context));
        self.rest = None;
        Poll::Ready(answer)
    }
}

impl Drop for Pushing {
    fn drop(&mut self) {
        if let Some(rest) = self.rest.take()
            && tokio::runtime::Handle::try_current().is_ok()
        {
            self.tasks.spawn(rest);
        }
    }
}
