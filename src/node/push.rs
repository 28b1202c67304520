//! Accepts pushes: gives them an id and a life and appends them; and spreads the hints when the store has them.

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
use crate::model::message::{Aim, Durability, Entry, Exclusion, Target, Urgency};
use crate::model::set::DeviceSet;
use crate::node::access::live::Live;
use crate::node::access::nodes;
use crate::node::access::roster::Roster;
use crate::node::access::state::Access;
use crate::node::bell::Bell;
use crate::node::{Node, fault};
use crate::store::{self, Announced, Append, Appended, Audience, Idempotency, Of, Recorded};

pub use crate::store::Wishes;

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
    /// What few pushes ask for. Its times are those of the clock: the draft's maker read it.
    pub wishes: Wishes,
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
    /// Topics and conditions: how many devices it is for.
    pub audience: Option<u64>,
    /// It waits for this time.
    pub send_at: Option<Timestamp>,
}

impl Node {
    /// Accepts a push. Its place in the store's queue is taken when this is called, not when the answer is awaited; the
    /// answer comes when the append is as durable as asked for. A caller that goes away does not undo the push.
    pub fn push(&self, tenant: &TenantId, draft: Draft) -> Pushing {
        if self.draining() {
            let words = "the node is being drained; push to another one or try again when it is back";
            return Pushing(State::Done(Some(Err(self.refused(Fault::new(Code::Draining, words))))));
        }
        let now = self.clock.now();
        if let Err(fault) = self.admit_push(tenant, now.moment) {
            return Pushing(State::Done(Some(Err(self.refused(fault)))));
        }
        let id = MessageId::new(now.wall.as_millis(), std::array::from_fn(|_| fastrand::u8(..)));
        let (log, device) = match draft.target {
            Target::User(user) | Target::AnyOfUser(user) => (LogId::Inbox(tenant.clone(), user), None),
            Target::Device(user, device) => (LogId::Inbox(tenant.clone(), user), Some(device)),
            Target::Topic(topic) => (LogId::Topic(tenant.clone(), topic), None),
            Target::Condition(_) => (LogId::Broadcast(tenant.clone()), None),
        };
        let ttl = draft.ttl.unwrap_or(self.limits.ttl_default).min(self.ttl_max(tenant));
        let online = draft.durability == Durability::None || ttl.is_zero();
        let begins = draft.wishes.send_at.unwrap_or(now.wall);
        let entry = Entry {
            offset: Offset::ZERO,
            id,
            accepted_at: now.wall,
            expires_at: if online { Timestamp::ZERO } else { begins + ttl },
            urgency: draft.urgency,
            device,
            aim: None,
            receipts: !draft.wishes.without_receipts,
            body: draft.body,
        };
        if online {
            let online = Online { bus: Arc::clone(&self.bus), metrics: Arc::clone(&self.metrics), log, entry };
            return Pushing(self.push_online(online, draft.wishes));
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
            wishes: draft.wishes,
        };
        let waits_for = append.wishes.send_at.into_iter().chain(append.wishes.fallback_at).min();
        let appended = self.store.append(append);
        // After the append has its place: the sweep that this wakes comes behind it.
        if let Some(at) = waits_for {
            self.alarm.set(at);
        }
        Pushing(State::Waiting { appended, log, metrics: Arc::clone(&self.metrics), clock: self.clock, began: now })
    }

    /// What goes to those only who are online needs no store, but to say who they are.
    fn push_online(&self, mut online: Online, wishes: Wishes) -> State {
        let Some(condition) = wishes.condition else {
            if !wishes.exclude.is_empty() {
                online.entry.aim = Some(Arc::new(Aim { exclude: wishes.exclude, ..Aim::default() }));
            }
            return State::Done(Some(Ok(online.publish())));
        };
        let audience = self.store.audience(online.log.tenant(), Of::Condition(condition), None, 0);
        State::Asking { audience, online: Some(Box::new((online, wishes.exclude))) }
    }

    fn refused(&self, fault: Fault) -> Fault {
        self.metrics.push_refused(fault.code);
        fault
    }
}

/// A push that no log holds.
struct Online {
    bus: Arc<dyn Bus>,
    metrics: Arc<Metrics>,
    log: LogId,
    entry: Entry,
}

impl Online {
    fn publish(self) -> Accepted {
        let Self { bus, metrics, log, entry } = self;
        let (id, accepted_at) = (entry.id, entry.accepted_at);
        let handed = bus.publish(vec![Hint::Online { log, entry }]);
        metrics.pushes_online.increment();
        Accepted {
            id,
            log: None,
            offset: Offset::ZERO,
            epoch: Epoch::default(),
            accepted_at,
            expires_at: Timestamp::ZERO,
            duplicate: false,
            online: u32::try_from(handed).unwrap_or(u32::MAX),
            audience: None,
            send_at: None,
        }
    }

    /// Hands it to those of an audience who are online.
    fn publish_to(mut self, audience: DeviceSet, exclude: Vec<Exclusion>) -> Accepted {
        self.entry.aim = Some(Arc::new(Aim { audience: Some(audience), exclude, ..Aim::default() }));
        self.publish()
    }
}

/// A push on its way to its answer. Dropped before, the push goes on by itself: the store announces what it appended,
/// whether or not its sender still listens.
pub struct Pushing(State);

enum State {
    /// The answer was known at once; it is taken when it is given.
    Done(Option<Result<Accepted, Fault>>),
    /// The store is asked whom an online-only push with a condition is for. With the push, taken when that is known, and
    /// with who does not get it.
    Asking { audience: store::Answer<Audience>, online: Option<Box<(Online, Vec<Exclusion>)>> },
    /// The store has it.
    Waiting {
        appended: store::Answer<Appended>,
        log: LogId,
        metrics: Arc<Metrics>,
        clock: Clock,
        /// When the store was called.
        began: Now,
    },
}

impl Future for Pushing {
    type Output = Result<Accepted, Fault>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = match &mut self.0 {
            State::Done(answer) => return answer.take().map_or(Poll::Pending, Poll::Ready),
            State::Asking { audience, online } => {
                let audience = std::task::ready!(Pin::new(audience).poll(context)).map_err(fault);
                let Some((online, exclude)) = online.take().map(|online| *online) else { return Poll::Pending };
                match audience {
                    Ok(audience) => Ok(online.publish_to(audience.set, exclude)),
                    Err(fault) => {
                        online.metrics.push_refused(fault.code);
                        Err(fault)
                    }
                }
            }
            State::Waiting { appended, log, metrics, clock, began } => {
                let appended = std::task::ready!(Pin::new(appended).poll(context));
                answer(appended, log, metrics, clock.now().moment.since(began.moment))
            }
        };
        self.0 = State::Done(None);
        Poll::Ready(answer)
    }
}

/// The answer to a push that the store has answered after `latency`.
fn answer(
    appended: Result<Appended, store::Error>,
    log: &LogId,
    metrics: &Metrics,
    latency: Duration,
) -> Result<Accepted, Fault> {
    let appended = appended.map_err(|error| {
        let fault = fault(error);
        metrics.push_refused(fault.code);
        fault
    })?;
    metrics.append_latency.observe(latency);
    if appended.duplicate {
        metrics.pushes_duplicate.increment();
    }
    Ok(Accepted {
        id: appended.id,
        log: Some(log.clone()),
        offset: appended.offset,
        epoch: appended.epoch,
        accepted_at: appended.accepted_at,
        expires_at: appended.expires_at,
        duplicate: appended.duplicate,
        online: 0,
        audience: appended.audience,
        send_at: appended.send_at,
    })
}

/// What the node keeps in mind of records.
pub(crate) struct Minds {
    /// Tenants, keys, and what else is asked at every request.
    pub(crate) access: Arc<Access>,
    /// Ends sessions because of them.
    pub(crate) live: Arc<Live>,
    /// What the operator sets about nodes.
    pub(crate) roster: Arc<Roster>,
}

/// Makes hints of what the store appended, and spreads them.
pub(crate) struct Herald {
    /// Where the hints go.
    bus: Arc<dyn Bus>,
    /// Rings for those who follow journals.
    bell: Arc<Bell>,
    /// What is kept in mind of records.
    minds: Minds,
    /// Where stored pushes are counted: here, because the sender of one may not wait for its answer.
    metrics: Arc<Metrics>,
}

impl Herald {
    pub(crate) const fn new(bus: Arc<dyn Bus>, bell: Arc<Bell>, minds: Minds, metrics: Arc<Metrics>) -> Self {
        Self { bus, bell, minds, metrics }
    }
}

impl store::Listener for Herald {
    fn appended(&self, batch: Vec<Announced>) {
        // The canary is no push, and nobody follows its log.
        let pushes = batch.into_iter().filter(|announced| !announced.log.tenant().is_reserved());
        let hint = |Announced { log, epoch, entry }| Hint::Grown { log, epoch, last: entry.offset, entry: Some(entry) };
        let hints: Vec<_> = pushes.map(hint).collect();
        let dismissals = hints.iter().filter(|hint| dismisses(hint)).count();
        self.metrics.pushes_accepted.add((hints.len() - dismissals) as u64);
        self.bus.publish(hints);
    }

    fn noted(&self, journals: &[(TenantId, store::Journal)]) {
        self.bell.ring(journals);
    }

    fn recorded(&self, records: Vec<Recorded>) {
        for recorded in records.iter().filter(|recorded| recorded.shelf == store::Shelf::Nodes) {
            self.minds.roster.set(&recorded.name, recorded.record.as_ref().map(nodes::setting));
        }
        self.minds.access.recorded(records.clone());
        self.minds.live.recorded(&records);
    }
}

/// Whether what has grown a log takes another entry away: no sender pushed it.
fn dismisses(hint: &Hint) -> bool {
    matches!(hint, Hint::Grown { entry: Some(Entry { aim: Some(aim), .. }), .. } if aim.dismissal.is_some())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::{Herald, Minds};
    use crate::bus::{Bus, Hint};
    use crate::metrics::Metrics;
    use crate::model::clock::Timestamp;
    use crate::model::id::{MessageId, TenantId, TopicName};
    use crate::model::log::{Epoch, LogId, Offset};
    use crate::model::message::{Entry, Urgency};
    use crate::node::access::live::Live;
    use crate::node::access::roster::Roster;
    use crate::node::access::state::Access;
    use crate::node::hub::Hub;
    use crate::store::{Announced, Listener};

    /// Keeps what is published: batches of topic and offset.
    #[derive(Default)]
    struct Published(Mutex<Vec<Vec<(String, u64)>>>);

    impl Bus for Published {
        fn publish(&self, hints: Vec<Hint>) -> usize {
            let hint = |hint| match hint {
                Hint::Grown { log, last, entry: Some(entry), .. } if entry.offset == last => (log.to_string(), last.0),
                other => panic!("{other:?}"),
            };
            self.0.lock().expect("no panic").push(hints.into_iter().map(hint).collect());
            0
        }
    }

    fn announced(tenant: &str, topic: &str, offset: u64) -> Announced {
        let log = LogId::Topic(TenantId::new(tenant).expect("a name"), TopicName::new(topic).expect("a name"));
        let entry = Entry {
            offset: Offset(offset),
            id: MessageId::new(offset, [0; 10]),
            accepted_at: Timestamp::ZERO,
            expires_at: Timestamp::from_millis(1),
            urgency: Urgency::Normal,
            device: None,
            aim: None,
            receipts: true,
            body: bytes::Bytes::new(),
        };
        Announced { log, epoch: Epoch(1), entry }
    }

    #[test]
    fn what_the_store_announces_is_counted_and_hinted_in_order_but_not_the_canary() {
        let (bus, metrics) = (Arc::<Published>::default(), Arc::new(Metrics::new()));
        let roster = Arc::new(Roster::new(crate::node::access::nodes::Options::default()));
        let live = Arc::new(Live::new(Arc::new(Hub::new(Vec::new(), 1, 1))));
        let minds = Minds { access: Arc::new(Access::new([])), live, roster };
        let herald = Herald::new(Arc::clone(&bus) as Arc<dyn Bus>, Arc::default(), minds, Arc::clone(&metrics));
        herald.appended(vec![
            announced("t", "a", 1),
            announced("_pushline", "canary", 1),
            announced("t", "b", 1),
            announced("t", "a", 2),
        ]);
        let hint = |topic: &str, offset| (format!("topic/{topic}"), offset);
        assert_eq!(*bus.0.lock().expect("no panic"), [[hint("a", 1), hint("b", 1), hint("a", 2)]]);
        assert!(metrics.render().contains("pushline_pushes_total{outcome=\"accepted\"} 3\n"));
    }
}
