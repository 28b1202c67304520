//! From an `Open` to a session: token, limits, the older connection of the device, the cursors.

use std::sync::Arc;

use crate::delivery::handshake::{Handshake, Known};
use crate::delivery::session::{Output, Session};
use crate::model::clock::{Clock, Moment};
use crate::model::cursor::{Cursor, Following};
use crate::model::fault::{Code, Fault};
use crate::model::frame::{Open, Resume};
use crate::model::id::{DeviceNumber, Receiver, SessionId, TopicName};
use crate::model::log::{Head, LogId};
use crate::node::cores::Place;
use crate::node::hub::{Bounds, DRAINING, Seat};
use crate::node::presence::Attendee;
use crate::node::{Node, fault, quiet};
use crate::store::{self, Follows, Opened, Store};

/// A session that is ready to be served on a link.
pub struct Admitted {
    pub(crate) session: Session,
    pub(crate) id: SessionId,
    /// Stands before the seat, because it must go first: a newer session of the device comes after it.
    pub(crate) presence: Presence,
    pub(crate) seat: Seat,
    /// What the session wants done first: its welcome and its first read.
    pub(crate) first: Vec<Output>,
}

impl Admitted {
    /// Who was admitted.
    #[must_use]
    pub const fn receiver(&self) -> &Receiver {
        self.seat.receiver()
    }
}

/// A device that the store takes for open. Dropped anywhere between its `Open` and its end, it leaves: the store would
/// never forget it otherwise.
pub(crate) struct Presence {
    store: Arc<dyn Store>,
    clock: Clock,
    receiver: Receiver,
    /// The store was not told, or was told that the device has left.
    absent: bool,
    /// Its place on the board, once it has a session.
    attendee: Option<Attendee>,
}

impl Presence {
    pub(crate) async fn open(&mut self) -> Result<Opened, store::Error> {
        // The call alone opens the device, though nobody may wait for the answer.
        self.absent = false;
        let opened = self.store.open(&self.receiver, self.clock.now().wall).await;
        self.absent = opened.is_err();
        opened
    }

    /// The session has done something: the board is told what concerns it.
    pub(crate) fn look_at(&mut self, session: &Session, moment: Moment) {
        if let Some(attendee) = &mut self.attendee {
            attendee.look_at(session, moment);
        }
    }

    /// A request came from the device.
    pub(crate) fn stir(&self, moment: Moment) {
        if let Some(attendee) = &self.attendee {
            attendee.stir(moment);
        }
    }

    /// Tells the board why it has ended, and the store; waits until the store has noted it. Neither knows of viewers.
    pub(crate) async fn leave(mut self, reason: &'static str) -> Result<(), store::Error> {
        if let Some(attendee) = self.attendee.take() {
            attendee.leave(reason);
        }
        if std::mem::replace(&mut self.absent, true) {
            return Ok(());
        }
        self.store.leave(&self.receiver, self.clock.now().wall).await
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        if !self.absent {
            // The call alone does it; there is nobody to wait for the answer.
            drop(self.store.leave(&self.receiver, self.clock.now().wall));
        }
    }
}

impl Node {
    /// Opens a session for a device whose connection lives at `place`.
    ///
    /// # Errors
    /// A refusal with its code; nothing of it is left behind.
    pub async fn open(&self, open: &Open, place: &Place) -> Result<Admitted, Fault> {
        if self.draining() {
            return Err(Fault::new(Code::Draining, DRAINING));
        }
        let pass = self.pass(&open.token, open.device.as_ref())?;
        let receiver = pass.receiver.clone();
        let handshake = Handshake::check(open, receiver.clone(), pass.life, &self.delivery)?;
        let viewers = pass.view.as_ref().map(|view| view.viewers_max);
        let bounds = Bounds { viewers, ..self.bounds_of(&receiver) };
        let mut seat = self.hub.sit(receiver.clone(), &place.core, pass.held, bounds).await?;
        // What was revoked before it sat down did not find it.
        self.recheck(&pass)?;
        let mut presence = self.absent(receiver.clone());
        let known = match &pass.view {
            Some(view) => self.view(&receiver, &view.topics, &mut seat).await?,
            None => self.cursors(&mut presence, &mut seat).await?,
        };
        if !open.attributes.is_empty() && pass.view.is_none() {
            self.store.describe(&receiver, open.attributes.clone()).await.map_err(fault)?;
        }
        let id = SessionId::new(fastrand::u64(..));
        let mut first = Vec::new();
        let options = Arc::clone(&self.delivery);
        let mut session = handshake.accept((id, fastrand::u64(..)), known, options, self.clock.now(), &mut first);
        if let Some(Output::Send(crate::model::frame::Frame::Welcome(welcome))) = first.first() {
            self.metrics.session_opened(welcome.resume.outcome);
            let Resume { outcome, waiting, missed } = welcome.resume;
            let resume = outcome.name();
            tracing::info!(
                %receiver, session = %id, agent = ?open.agent, resume, waiting, missed, "session opened"
            );
        }
        if pass.view.is_none() {
            presence.attendee = Some(self.board.enter(receiver));
        }
        if let Some(elsewhere) = self.send_on(seat.receiver()).await {
            session.handle(self.clock.now(), elsewhere, &mut first);
        }
        Ok(Admitted { session, id, presence, seat, first })
    }

    pub(crate) fn absent(&self, receiver: Receiver) -> Presence {
        Presence { store: Arc::clone(&self.store), clock: self.clock, receiver, absent: true, attendee: None }
    }

    /// Reads the cursors. The hub hears of each log before its head is read, so no hint falls between the two.
    async fn cursors(&self, presence: &mut Presence, seat: &mut Seat) -> Result<Known, Fault> {
        seat.follow(LogId::Inbox(presence.receiver.tenant.clone(), presence.receiver.user.clone()));
        let Opened { new, follows } = presence.open().await.map_err(fault)?;
        let Follows { number, mut following, group_topics, quiet_hours } = follows;
        seat.known_as(number);
        let logs = following.iter().map(|following| &following.log).filter(|log| !matches!(log, LogId::Inbox(..)));
        let logs: Vec<LogId> = logs.cloned().collect();
        if !logs.is_empty() {
            for log in &logs {
                seat.follow(log.clone());
            }
            let heads = self.store.heads(logs.clone()).await.map_err(fault)?;
            for (log, head) in logs.iter().zip(heads) {
                if let Some(following) = following.iter_mut().find(|following| following.log == *log) {
                    following.head = head;
                }
            }
        }
        let quiet = quiet(quiet_hours, seat.receiver());
        Ok(Known { new, number, following, group_topics, quiet })
    }

    /// What a viewer follows: topics, from their heads on. The store does not know the viewer: there is nothing to remember
    /// of it, it is in no audience, and as many as like may come and go without a write.
    async fn view(&self, receiver: &Receiver, topics: &[TopicName], seat: &mut Seat) -> Result<Known, Fault> {
        let log = |topic: &TopicName| LogId::Topic(receiver.tenant.clone(), topic.clone());
        let logs: Vec<LogId> = topics.iter().map(log).collect();
        logs.iter().for_each(|log| seat.follow(log.clone()));
        let heads = self.store.heads(logs.clone()).await.map_err(fault)?;
        let follow = |(log, head): (LogId, Head)| {
            let cursor = Cursor::after(head.epoch, head.last);
            Following { log, cursor, head }
        };
        let following = logs.into_iter().zip(heads).map(follow).collect();
        Ok(Known { new: true, number: NOBODY, following, group_topics: Vec::new(), quiet: None })
    }
}

/// Numbers are given from 0 on, and a tenant has not so many devices: no audience has this one.
const NOBODY: DeviceNumber = DeviceNumber(u32::MAX);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::future::Future;
    use std::path::Path;
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use crate::auth::Authority;
    use crate::metrics::Metrics;
    use crate::model::clock::{Clock, Timestamp};
    use crate::model::fault::Fault;
    use crate::model::frame::{Answer, Frame, Open, Ticket};
    use crate::model::id::{DeviceId, Receiver, TenantId, UserId};
    use crate::model::message::Urgency;
    use crate::node::cores::{Cores, Place};
    use crate::node::link::{Event, Link};
    use crate::node::{Node, Options, connection};
    use crate::store;

    fn node(folder: &Path) -> (Node, Place, Receiver, Open) {
        let name = "a name";
        let receiver = Receiver {
            tenant: TenantId::new("t").expect(name),
            user: UserId::new("u").expect(name),
            device: DeviceId::new("d").expect(name),
        };
        let (authority, clock) = (Authority::open(&folder.join("auth")).expect("keys"), Clock::new());
        let now = clock.now().wall;
        let open = Open {
            token: authority.issue(&receiver, now + Duration::from_secs(60), now),
            device: None,
            heartbeat: Duration::ZERO,
            window: 0,
            urgency_floor: Urgency::VeryLow,
            agent: String::new(),
            attributes: BTreeMap::new(),
        };
        let options = store::open::Options { data: folder.join("store"), ..store::open::Options::default() };
        let store = store::open::open(&options).expect("a store");
        let metrics = Arc::new(Metrics::new());
        let cores = Cores::start(1, &metrics).expect("a thread");
        let node = Node::new(Options::default(), clock, authority, store, metrics, &cores);
        (node, cores.places()[0].clone(), receiver, open)
    }

    /// Whether the store forgets the device once it was absent for long.
    async fn is_forgotten(node: &Node, receiver: &Receiver) -> bool {
        let late = Timestamp::from_millis(u64::MAX / 2);
        while node.store.sweep(late).await.expect("a sweep").more {}
        node.store.open(receiver, late).await.expect("an answer").new
    }

    #[tokio::test]
    async fn a_session_that_is_never_served_leaves() {
        let folder = tempfile::tempdir().expect("a folder");
        let (node, place, receiver, open) = node(folder.path());
        let admitted = node.open(&open, &place).await.expect("a session");
        drop(admitted);
        assert!(is_forgotten(&node, &receiver).await);
    }

    #[tokio::test]
    async fn a_device_that_is_gone_before_its_session_leaves() {
        let folder = tempfile::tempdir().expect("a folder");
        let (node, place, receiver, open) = node(folder.path());
        {
            // The store is asked and cannot have answered: this thread does not wait.
            let mut opening = pin!(node.open(&open, &place));
            let _ = opening.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        }
        assert!(is_forgotten(&node, &receiver).await);
    }

    /// A link of no size, to weigh what the node adds to it.
    struct Weightless;

    impl Link for Weightless {
        fn poll_event(&mut self, _: &mut Context<'_>) -> Poll<Event> {
            Poll::Pending
        }
        fn received_bytes(&self) -> u64 {
            0
        }
        fn sent_bytes(&self) -> u64 {
            0
        }
        fn unsent_bytes(&self) -> usize {
            0
        }
        fn send(&mut self, _: &Frame) {}
        fn answer(&mut self, _: Ticket, _: Result<Answer, Fault>) {}
        fn ping(&mut self) {}
        fn finish(&mut self) {}
    }

    /// The future of a session lives as long as its connection, nearly always idle: an `async fn` too many, or a large
    /// value held over an await, would double it for every device. What it owns on the heap is a few hundred bytes more.
    #[tokio::test]
    async fn a_served_session_is_small() {
        let folder = tempfile::tempdir().expect("a folder");
        let (node, place, _, open) = node(folder.path());
        let admitted = node.open(&open, &place).await.expect("a session");
        let served = connection::serve(Arc::new(node), Weightless, admitted);
        let bytes = size_of_val(&served);
        assert!(bytes <= 1_792, "{bytes} bytes");
    }
}
