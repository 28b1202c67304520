//! The one hall where delivery, store and bus meet. It names no socket and no codec: transports give it links, the
//! backend side gives it drafts.

pub mod access;
pub mod admit;
mod alarm;
mod bell;
pub mod connection;
mod core;
pub mod cores;
pub mod dispatch;
pub mod event_json;
mod hub;
pub mod journal;
pub mod link;
mod mailbox;
pub mod people;
pub mod presence;
pub mod push;
mod rates;
mod sessions;
pub mod timeline;
pub mod upkeep;
pub mod webhooks;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::{Authority, DEFAULT_TENANT};
use crate::bus::{self, Bus};
use crate::delivery::options::Options as DeliveryOptions;
use crate::hook::Asker;
use crate::metrics::Metrics;
use crate::model::clock::Clock;
use crate::model::fault::{Code, Fault};
use crate::model::id::{MessageId, Receiver, TenantId};
use crate::model::quiet::QuietHours;
use crate::model::rule::TopicRule;
use crate::node::access::Credential;
use crate::node::access::checks::{self, Checks};
use crate::node::access::live::Live;
use crate::node::access::nodes;
use crate::node::access::roster::Roster;
use crate::node::access::state::Access;
use crate::node::bell::Bell;
use crate::node::cores::Cores;
use crate::node::dispatch::Desk;
use crate::node::hub::Hub;
use crate::node::journal::Streams;
use crate::node::presence::Board;
use crate::node::rates::Rates;
use crate::rate;
use crate::store::{self, Store};
use crate::zone::Hours;

pub use crate::store::{DeviceOutcome, DeviceState, Health, MessageRecord, MessageState};

/// What an operator can set about a node.
#[derive(Clone, Debug)]
pub struct Options {
    /// About sessions.
    pub delivery: DeliveryOptions,
    /// About pushes.
    pub push: push::Limits,
    /// Topics of groups that name none.
    pub group_topics: TopicRule,
    /// Devices connected at once; more are refused at `Open`.
    pub connections_max: usize,
    /// Devices of one user connected at once; more are refused at `Open`.
    pub user_connections_max: u32,
    /// About who is online.
    pub presence: presence::Options,
    /// Streams of events that one tenant may have open; more are refused.
    pub event_streams_max: usize,
    /// About posting to webhooks.
    pub dispatch: dispatch::Options,
    /// About what may come how fast.
    pub rates: rate::Options,
    /// About the nodes of the deployment.
    pub nodes: nodes::Options,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            delivery: DeliveryOptions::default(),
            push: push::Limits::default(),
            group_topics: TopicRule::default(),
            connections_max: 15_000,
            user_connections_max: 64,
            presence: presence::Options::default(),
            event_streams_max: 64,
            dispatch: dispatch::Options::default(),
            rates: rate::Options::default(),
            nodes: nodes::Options::default(),
        }
    }
}

/// A node: accepts pushes, holds sessions.
pub struct Node {
    clock: Clock,
    delivery: Arc<DeliveryOptions>,
    limits: push::Limits,
    /// Topics of groups that name none.
    group_topics: TopicRule,
    authority: Authority,
    /// Tenants, keys, and what else is asked at every request.
    access: Arc<Access>,
    /// Who is asked about credentials; `None`: nobody.
    checks: Option<Checks>,
    /// Revocations and shares, and the sessions that they end.
    live: Arc<Live>,
    store: Arc<dyn Store>,
    bus: Arc<dyn Bus>,
    hub: Arc<Hub>,
    /// Who is online, for backends.
    board: Arc<Board>,
    /// Rings when events were added to journals.
    bell: Arc<Bell>,
    /// The nodes of the deployment.
    roster: Arc<Roster>,
    /// Streams of events that are open.
    streams: Arc<Streams>,
    event_streams_max: usize,
    /// How webhooks are doing.
    desk: Arc<Desk>,
    dispatch: dispatch::Options,
    /// What came how fast.
    rates: Rates,
    metrics: Arc<Metrics>,
    /// Wakes the upkeep.
    alarm: alarm::Alarm,
    /// Cancelled when the node begins to drain.
    drained: CancellationToken,
    /// Cancelled when the time to drain is over: sessions that are left end as they are.
    cut: CancellationToken,
    /// Cancelled when the node has drained: the last session is over.
    ended: CancellationToken,
    /// Everything that was spawned on the node's behalf and must end before the store is closed.
    tasks: TaskTracker,
}

impl Node {
    /// A node on a store, whose connections live on `cores`. Before anybody is let in, call [`Node::load`].
    #[must_use]
    pub fn new(
        options: Options,
        clock: Clock,
        authority: Authority,
        store: Arc<dyn Store>,
        metrics: Arc<Metrics>,
        cores: &Cores,
    ) -> Self {
        let cores = cores.places().iter().map(|place| Arc::clone(&place.core)).collect();
        let hub = Arc::new(Hub::new(cores, options.connections_max, options.user_connections_max));
        let bus = bus::open::open(Arc::clone(&hub) as bus::SharedInlet);
        let bell = Arc::<Bell>::default();
        let configured = authority.fixed_keys().iter().map(|key| key.tenant.clone());
        let access = Arc::new(Access::new(configured.chain(TenantId::new(DEFAULT_TENANT).ok())));
        let roster = Arc::new(Roster::new(options.nodes));
        let live = Arc::new(Live::new(Arc::clone(&hub)));
        let minds = push::Minds { access: Arc::clone(&access), live: Arc::clone(&live), roster: Arc::clone(&roster) };
        let herald = push::Herald::new(Arc::clone(&bus), Arc::clone(&bell), minds, Arc::clone(&metrics));
        store.announce_to(Arc::new(herald));
        Self {
            clock,
            delivery: Arc::new(options.delivery),
            limits: options.push,
            group_topics: options.group_topics,
            authority,
            access,
            checks: None,
            live,
            store,
            bus,
            hub,
            bell,
            roster,
            streams: Arc::default(),
            event_streams_max: options.event_streams_max,
            desk: Arc::default(),
            dispatch: options.dispatch,
            rates: Rates::new(options.rates),
            board: Arc::new(Board::new(options.presence, clock)),
            metrics,
            alarm: alarm::Alarm::new(),
            drained: CancellationToken::new(),
            cut: CancellationToken::new(),
            ended: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }

    /// Has credentials checked by those whom `asker` asks. Without, no login that depends on others succeeds.
    #[must_use]
    pub fn asking(mut self, asker: Asker) -> Self {
        let (tasks, drained) = (self.tasks.clone(), self.drained.clone());
        self.checks = Some(Checks::new(asker, checks::Options::default(), self.clock, tasks, drained));
        self
    }

    /// The clocks that everything here goes by.
    #[must_use]
    pub const fn clock(&self) -> Clock {
        self.clock
    }

    /// What is counted.
    #[must_use]
    pub const fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Bounds of pushes.
    #[must_use]
    pub const fn limits(&self) -> &push::Limits {
        &self.limits
    }

    /// How the store is doing.
    #[must_use]
    pub fn health(&self) -> Health {
        self.store.health()
    }

    /// Whether the node is being emptied: it takes no new sessions and no new pushes.
    #[must_use]
    pub fn draining(&self) -> bool {
        self.drained.is_cancelled()
    }

    /// Devices connected now.
    #[must_use]
    pub fn connected(&self) -> usize {
        self.hub.connected()
    }

    /// Cancelled when the time to drain is over; a task that serves a session ends then.
    #[must_use]
    pub const fn cut(&self) -> &CancellationToken {
        &self.cut
    }

    /// Where tasks that serve this node are spawned, so that [`Node::close`] can wait for them.
    #[must_use]
    pub const fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// The tenant that an API key belongs to.
    ///
    /// # Errors
    /// Those of [`Node::caller`].
    pub fn tenant_of(&self, api_key: &str) -> Result<TenantId, Fault> {
        self.caller(Credential::Key(api_key)).map(|caller| caller.tenant)
    }

    /// What is known of a message.
    ///
    /// # Errors
    /// [`Code::MessageNotFound`], or the store's fault.
    pub async fn message(&self, tenant: &TenantId, id: MessageId) -> Result<MessageRecord, Fault> {
        let found = self.store.message(tenant, id, self.clock.now().wall).await.map_err(fault)?;
        found.ok_or_else(|| Fault::new(Code::MessageNotFound, format!("no message {id} is known; it may be long gone")))
    }

    /// Takes a message back. Answers with its state and whether this call changed it, when that is on disk.
    ///
    /// # Errors
    /// [`Code::MessageNotFound`], or the store's fault.
    pub async fn cancel(
        &self,
        tenant: &TenantId,
        id: MessageId,
        silently: bool,
    ) -> Result<(MessageState, bool), Fault> {
        self.store.cancel(tenant, id, silently, self.clock.now().wall).await.map_err(fault)
    }

    /// Empties the node: no new sessions, no new pushes; every device is asked to move at a moment of its own within
    /// `spread`. Returns when all are gone, or after `bound`.
    pub async fn drain(&self, spread: Duration, bound: Duration) {
        self.drained.cancel();
        self.tasks.close();
        let gone = async {
            self.send_all(spread).await;
            self.tasks.wait().await;
        };
        if tokio::time::timeout(bound, gone).await.is_err() {
            tracing::warn!(connected = self.connected(), "the time to drain is over; cutting who is left");
            self.cut.cancel();
            // They end at once, but for a write that is under way; the store's end waits for that.
            let _ = tokio::time::timeout(LAST_WRITES, self.tasks.wait()).await;
        }
        self.ended.cancel();
    }

    /// Brings everything to disk and ends the store.
    ///
    /// # Errors
    /// The store's fault.
    pub async fn close(&self) -> Result<(), Fault> {
        self.store.close().await.map_err(fault)
    }
}

/// How long the writes of those who were cut off are waited for. A guess: a write takes milliseconds.
const LAST_WRITES: Duration = Duration::from_secs(1);

/// Quiet hours as sessions keep them. They were checked when they were taken in; a zone that is not known any more is told
/// to the operator, and nobody's pushes wait for it.
fn quiet(hours: Option<QuietHours>, receiver: &Receiver) -> Option<Hours> {
    let checked = Hours::new(&hours?);
    checked.inspect_err(|error| tracing::error!(%receiver, %error, "the user's quiet hours cannot be kept")).ok()
}

/// What a caller is told when the store did not do what was asked.
fn fault(error: store::Error) -> Fault {
    let code = match error {
        store::Error::Busy => Code::StoreBusy,
        store::Error::LogFull(_) => Code::LogFull,
        store::Error::IdempotencyConflict => Code::IdempotencyConflict,
        store::Error::TooManyDevices(_) => Code::TooManyDevices,
        store::Error::TooManySubscriptions(_) => Code::TooManySubscriptions,
        store::Error::UnknownDevice => Code::SessionEnded,
        store::Error::UnknownGroup(_) => Code::GroupNotFound,
        store::Error::GroupExists(_) | store::Error::GroupNotEmpty(_) => Code::GroupExists,
        store::Error::TooDear(_) => Code::InvalidCondition,
        store::Error::TooManyGroups(_) => Code::TooManyGroups,
        store::Error::TooManyScheduled(_) => Code::TooManyScheduled,
        store::Error::StaleVersion(_) => Code::StaleVersion,
        store::Error::Conflict(_) => Code::StaleVersion,
        store::Error::TenantQuota(..) => Code::TenantQuota,
        store::Error::UnknownMessage => Code::MessageNotFound,
        store::Error::NotReplaceable(_) => Code::NotReplaceable,
        store::Error::Failed(why) => {
            // What failed is for the operator; the caller can only come back.
            tracing::error!(%why, "the store failed");
            return Fault::new(Code::StoreFailed, "the store failed; nothing more is accepted until it is restarted");
        }
    };
    Fault::new(code, error.to_string())
}
