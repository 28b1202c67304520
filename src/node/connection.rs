//! The task that owns a connection: it waits, feeds the session, and performs what the session wants. It decides
//! nothing.

mod requests;
mod token;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, Stream};
use tokio::time::Sleep;

use crate::bus::Hint;
use crate::delivery::session::{Input, Output, Session, Tally};
use crate::model::clock::{Moment, Now};
use crate::model::close::CloseReason;
use crate::model::fault::{Code, Fault};
use crate::model::frame::{Frame, Request, Ticket};
use crate::model::id::SessionId;
use crate::model::log::{Head, LogId};
use crate::model::message::Page;
use crate::node::admit::{Admitted, Presence};
use crate::node::connection::requests::Written;
use crate::node::hub::Seat;
use crate::node::link::{Event, Link};
use crate::node::mailbox::{Item, Question};
use crate::node::{Node, fault};
use crate::store::{Commit, Error, Follows};

/// How long a closing link may take to write its last frames.
const FAREWELL: Duration = Duration::from_secs(3);

/// How long a session that closes waits for its last commit.
const LAST_COMMIT: Duration = Duration::from_secs(5);

/// Inputs that are handled before the link is driven again: so what they send goes out in one write, and no crowd of
/// hints keeps the link from its turn.
const INPUTS_A_TURN: usize = 64;

/// What the store has answered.
enum Done {
    Page(Option<Page>),
    Heads(Vec<LogId>, Result<Vec<Head>, Error>),
    Committed(Result<(), Error>),
    Follows(Result<Follows, Error>),
    Written(Ticket, Written),
}

/// What woke the task.
enum Wake {
    Done(Done),
    Mail(VecDeque<Item>),
    Deadline,
    Link(Event),
    /// The link was driven; nothing happened on it but, perhaps, bytes.
    Driven,
}

/// A session on a link.
struct Connection<L> {
    node: Arc<Node>,
    link: L,
    session: Session,
    id: SessionId,
    /// Stands before the seat, because it must go first: a newer session of the device comes after it.
    presence: Presence,
    seat: Seat,
    work: FuturesUnordered<Pin<Box<dyn Future<Output = Done> + Send>>>,
    /// Requests that must be written, one at a time so that their order holds. Bounded: the streams of the connection are
    /// no bound, a device may reset them and go on.
    waiting: VecDeque<(Ticket, Request)>,
    /// One of them is under way.
    writing: bool,
    /// What the device follows has changed, and is read anew after what is under way. No mail is looked at until then.
    refreshing: bool,
    /// Received bytes that the session was told of.
    heard: u64,
    /// Unsent bytes that the session was told of, or knows of because it sent them.
    unsent: usize,
    /// Sent bytes that the metrics have.
    sent: u64,
    /// What the metrics have of the session.
    counted: Tally,
    flying: usize,
    /// A session that closes is over at this moment, whether or not its last commit was answered.
    last_call: Moment,
    /// When the timer rings; [`Moment::NEVER`] when it rang and was not set anew.
    armed: Moment,
    /// Set when the session is over: why.
    over: Option<Option<CloseReason>>,
    out: Vec<Output>,
}

/// Serves a session on a link until either ends. Gives why; `None` when the device left by itself.
///
/// No `async fn`: that would keep room for what it is handed besides what it makes of it, with every connection.
pub fn serve<L: Link>(
    node: Arc<Node>,
    link: L,
    admitted: Admitted,
) -> impl Future<Output = Option<CloseReason>> + Send + use<L> {
    let Admitted { session, id, presence, seat, first } = admitted;
    let mut connection = Connection {
        node,
        link,
        session,
        id,
        presence,
        seat,
        work: FuturesUnordered::new(),
        waiting: VecDeque::new(),
        writing: false,
        refreshing: false,
        heard: 0,
        unsent: 0,
        sent: 0,
        counted: Tally::default(),
        flying: 0,
        last_call: Moment::NEVER,
        armed: Moment::NEVER,
        over: None,
        out: first,
    };
    async move {
        connection.perform();
        let mut gone = connection.run().await;
        connection.look_at_link();
        connection.count();
        let Connection { node, session, id, seat, over, flying, .. } = &connection;
        let (receiver, id, reason) = (seat.receiver().clone(), *id, over.clone().flatten());
        node.metrics.in_flight.subtract(*flying as u64);
        node.metrics.session_closed(reason.as_ref());
        let tally = session.tally();
        drop(connection.session);
        // Recorded before the seat is free: a newer session of the device comes after it. Its last word does not wait for it.
        // On the heap: the connection would keep room for it all its life.
        let leaving = Box::pin(connection.presence.leave(reason.as_ref().map_or("gone", CloseReason::name)));
        if let Err(error) = meanwhile(&mut connection.link, &mut gone, leaving).await {
            tracing::warn!(%receiver, %error, "could not record that the device left");
        }
        drop(connection.seat);
        let reason_word = reason.as_ref().map_or("gone", CloseReason::name);
        let Tally { sent, again, acked, nacked, lapsed, dead, dropped, .. } = tally;
        tracing::info!(
            %receiver, session = %id, reason = reason_word, sent, again, acked, nacked, lapsed, dead, dropped,
            "session closed"
        );
        if !gone {
            connection.link.finish();
            // The peer may never read the farewell: it has its time, then the link is dropped.
            let _ = tokio::time::timeout(FAREWELL, farewell(&mut connection.link)).await;
        }
        reason
    }
}

/// Waits for something while a link is driven; requests that still come are refused.
async fn meanwhile<L: Link, T>(link: &mut L, gone: &mut bool, mut what: Pin<Box<impl Future<Output = T>>>) -> T {
    std::future::poll_fn(|context| {
        if let Poll::Ready(output) = what.as_mut().poll(context) {
            return Poll::Ready(output);
        }
        while !*gone && let Poll::Ready(event) = link.poll_event(context) {
            match event {
                Event::Gone(_) => *gone = true,
                Event::Request(ticket, _) => link.answer(ticket, Err(ended())),
            }
        }
        Poll::Pending
    })
    .await
}

/// Drives a link that was finished until it is gone; requests that still come are refused.
async fn farewell<L: Link>(link: &mut L) {
    loop {
        match std::future::poll_fn(|context| link.poll_event(context)).await {
            Event::Gone(_) => return,
            Event::Request(ticket, _) => link.answer(ticket, Err(ended())),
        }
    }
}

fn ended() -> Fault {
    Fault::new(Code::SessionEnded, "the session has ended; what is not acked will be redelivered")
}

impl<L: Link> Connection<L> {
    /// Runs until the session is over; true when the link is gone as well.
    async fn run(&mut self) -> bool {
        let mut gone = false;
        let mut timer = Box::pin(tokio::time::sleep(Duration::MAX));
        let mut turn = 0;
        while self.over.is_none() {
            let deadline = self.deadline();
            // The timer is moved only when it would ring too late; one that rings early costs a look.
            if deadline < self.armed {
                self.arm(&mut timer, deadline);
                self.armed = deadline;
            }
            let wake = std::future::poll_fn(|context| self.poll(context, timer.as_mut(), &mut turn, gone)).await;
            let now = self.node.clock.now();
            match wake {
                Wake::Done(done) => self.done(now, done),
                Wake::Mail(items) => self.mail(now, items),
                Wake::Link(Event::Request(ticket, request)) => {
                    self.request(now, ticket, request);
                    self.look_at_link();
                }
                Wake::Link(Event::Gone(why)) => {
                    tracing::debug!(receiver = %self.seat.receiver(), %why, "link gone");
                    gone = true;
                    self.feed(now, Input::Gone);
                }
                Wake::Deadline => {
                    self.armed = Moment::NEVER;
                    if now.moment >= self.deadline() {
                        self.ring(now);
                    }
                }
                Wake::Driven => {}
            }
        }
        gone
    }

    /// Work, mail and deadline come before the link, so that all that is ready to be sent goes out in one write.
    fn poll(&mut self, context: &mut Context<'_>, timer: Pin<&mut Sleep>, turn: &mut usize, gone: bool) -> Poll<Wake> {
        *turn += 1;
        if *turn <= INPUTS_A_TURN {
            if let Poll::Ready(Some(done)) = Pin::new(&mut self.work).poll_next(context) {
                return Poll::Ready(Wake::Done(done));
            }
            if !self.refreshing
                && let Poll::Ready(items) = self.seat.mailbox().poll(context)
            {
                return Poll::Ready(Wake::Mail(items));
            }
            if timer.poll(context).is_ready() {
                return Poll::Ready(Wake::Deadline);
            }
        }
        let driven = std::mem::take(turn) > INPUTS_A_TURN;
        // Before what it counts is written: who reads an answer finds it counted.
        self.count();
        if !gone && let Poll::Ready(event) = self.link.poll_event(context) {
            return Poll::Ready(Wake::Link(event));
        }
        // Driving the link costs more than all else here, so it is driven again only if there is something new to do.
        let more = !gone && self.look_at_link();
        if driven || more { Poll::Ready(Wake::Driven) } else { Poll::Pending }
    }

    fn deadline(&self) -> Moment {
        self.session.deadline().min(self.last_call)
    }

    fn arm(&self, timer: &mut Pin<Box<Sleep>>, deadline: Moment) {
        if let Some(instant) = self.node.clock.instant(deadline) {
            timer.as_mut().reset(instant.into());
        }
    }

    /// Tells the session what the link knows: any bytes are life, and how much waits to be written. True when the session
    /// wants something for it, or to be called earlier.
    fn look_at_link(&mut self) -> bool {
        let sent = self.link.sent_bytes();
        if sent != self.sent {
            self.node.metrics.sent_bytes.add(sent - self.sent);
            self.sent = sent;
        }
        let (heard, unsent) = (self.link.received_bytes(), self.link.unsent_bytes());
        if heard == self.heard && unsent == self.unsent {
            return false;
        }
        let now = self.node.clock.now();
        let mut wanted = false;
        if heard != self.heard {
            self.node.metrics.received_bytes.add(heard - self.heard);
            self.heard = heard;
            wanted |= self.give(now, Input::Heard);
        }
        if unsent != self.unsent {
            self.unsent = unsent;
            wanted |= self.give(now, Input::Unsent(unsent));
        }
        wanted || self.deadline() < self.armed
    }

    fn feed(&mut self, now: Now, input: Input) {
        self.give(now, input);
    }

    /// Gives the session an input and does what it wants; true when it wanted something.
    fn give(&mut self, now: Now, input: Input) -> bool {
        self.session.handle(now, input, &mut self.out);
        if self.session.over() && self.last_call == Moment::NEVER {
            self.last_call = now.moment + LAST_COMMIT;
        }
        let wanted = !self.out.is_empty();
        self.perform();
        self.presence.look_at(&self.session, now.moment);
        wanted
    }

    /// Does all that the session wants.
    fn perform(&mut self) {
        for output in std::mem::take(&mut self.out) {
            match output {
                Output::Send(frame) => self.send(&frame),
                Output::Answer(ticket, answer) => self.link.answer(ticket, answer),
                Output::Read { log, after, entries, bytes } => {
                    let page = self.node.store.read(&log, after, entries, bytes, self.node.clock.now().wall);
                    self.work.push(Box::pin(async move {
                        let page = page.await;
                        Done::Page(page.inspect_err(|error| tracing::error!(%log, %error, "a read failed")).ok())
                    }));
                }
                Output::Heads(logs) => {
                    let heads = self.node.store.heads(logs.clone());
                    self.work.push(Box::pin(async move { Done::Heads(logs, heads.await) }));
                }
                Output::Commit(cursors, dead, reports) => {
                    let receiver = self.seat.receiver().clone();
                    // Nothing is kept of a viewer: its cursors live as long as its session.
                    let commit = Commit { receiver, cursors, dead, reports };
                    let committed = (!self.is_viewer()).then(|| self.node.store.commit(commit));
                    self.work.push(Box::pin(async move {
                        Done::Committed(match committed {
                            Some(committed) => committed.await,
                            None => Ok(()),
                        })
                    }));
                }
                Output::Ping => self.link.ping(),
                Output::Closed(reason) => self.over = Some(reason),
            }
        }
    }

    fn send(&mut self, frame: &Frame) {
        if let Frame::Push { entry, attempt, .. } = frame
            && *attempt == 1
        {
            let waited = self.node.clock.now().wall.as_millis().saturating_sub(entry.accepted_at.as_millis());
            self.node.metrics.delivery_latency.observe(Duration::from_millis(waited));
        }
        self.link.send(frame);
        // The session counts what it sends by itself, and must be told when it is gone.
        self.unsent = self.link.unsent_bytes();
    }

    /// Brings the metrics up to what the session has done.
    fn count(&mut self) {
        let (tally, before, metrics) = (self.session.tally(), self.counted, &self.node.metrics);
        if tally != before {
            metrics.deliveries_first.add((tally.sent - tally.again) - (before.sent - before.again));
            metrics.deliveries_again.add(tally.again - before.again);
            metrics.acks.add(tally.acked - before.acked);
            metrics.nacks.add(tally.nacked - before.nacked);
            metrics.dead.add(tally.dead - before.dead);
            self.counted = tally;
        }
        let flying = self.session.in_flight();
        if flying > self.flying {
            metrics.in_flight.add((flying - self.flying) as u64);
        } else if flying < self.flying {
            metrics.in_flight.subtract((self.flying - flying) as u64);
        }
        self.flying = flying;
    }

    /// The deadline has come.
    fn ring(&mut self, now: Now) {
        if now.moment >= self.last_call {
            tracing::warn!(receiver = %self.seat.receiver(), "the last commit was not answered in time");
            self.over = Some(None);
            return;
        }
        self.feed(now, Input::Deadline);
    }

    fn mail(&mut self, now: Now, mut items: VecDeque<Item>) {
        while let Some(item) = items.pop_front() {
            self.item(now, item);
            if self.refreshing {
                // What came after the change must not be looked at before it.
                return self.seat.mailbox().put_back(items);
            }
        }
    }

    fn item(&mut self, now: Now, item: Item) {
        let input = match item {
            Item::Grown(log, epoch, last) => Input::Grown { log, epoch, last, entry: None },
            Item::Hint(hint) => match &*hint {
                Hint::Grown { log, epoch, last, entry } => {
                    Input::Grown { log: log.clone(), epoch: *epoch, last: *last, entry: entry.clone() }
                }
                Hint::Online { entry, .. } => Input::Online(entry.clone()),
                // They wait as an item of their own.
                Hint::Changed { .. } => return,
            },
            Item::Changed => return self.refresh(now),
            Item::Question(Question { log, epoch, offset, answer }) => {
                if !self.session.over() {
                    // Who asked may be gone.
                    let _ = answer.send(self.session.standing(now, &log, epoch, offset));
                }
                return;
            }
            Item::Close(reason) => Input::Close(reason),
            Item::Drain { after, grace, nodes } => Input::Drain { return_after: after, grace, nodes },
        };
        self.feed(now, input);
    }

    fn done(&mut self, now: Now, done: Done) {
        match done {
            Done::Page(page) => self.feed(now, Input::Page(page)),
            Done::Heads(logs, Ok(heads)) => self.feed(now, Input::Heads(logs.into_iter().zip(heads).collect())),
            Done::Heads(_, Err(error)) => {
                tracing::warn!(%error, "heads could not be read; they will be read again");
                self.feed(now, Input::Heads(Vec::new()));
            }
            Done::Committed(result) => self.feed(now, Input::Committed(result.map_err(fault))),
            Done::Follows(follows) => self.refreshed(now, follows),
            Done::Written(ticket, written) => self.written(now, ticket, written),
        }
    }
}
