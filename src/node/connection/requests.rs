//! What a device asks for on its short streams. What must be written goes to the store one request at a time, so that
//! its order holds, and so does reading anew what the device follows.

use std::sync::Arc;

use crate::delivery::session::Input;
use crate::model::clock::Now;
use crate::model::close::CloseReason;
use crate::model::fault::{Code, Fault};
use crate::model::frame::{Answer, Request, Ticket};
use crate::model::id::TopicName;
use crate::model::log::LogId;
use crate::model::message::Urgency;
use crate::node::connection::{Connection, Done, ended};
use crate::node::link::Link;
use crate::node::{fault, quiet};
use crate::store::{Error, Following, Follows};

/// Requests of one device that wait for the store. Full: `store_busy`. A guess: as many as a connection has streams by
/// default.
const WAITING_MAX: usize = 32;

/// What the store has answered to a request that wrote.
pub(super) enum Written {
    Subscribed(Vec<LogId>, Result<(Vec<Following>, u32), Error>),
    /// With all that is followed now: a topic that a group brings is followed still.
    Unsubscribed(Result<(u32, Follows), Error>),
    Dismissed(Result<u32, Error>),
    /// The attributes are known; the rest of the update is the session's.
    Described(Option<Urgency>, Option<u32>, Result<(), Error>),
}

impl<L: Link> Connection<L> {
    pub(super) fn request(&mut self, now: Now, ticket: Ticket, request: Request) {
        self.presence.stir(now.moment);
        // Acks are free: they are what the gateway wants, and the window bounds them.
        let free = matches!(request, Request::Ack(_)) || self.session.over();
        if !free && let Err(fault) = self.node.admit_request(self.seat.receiver(), now.moment) {
            return self.link.answer(ticket, Err(fault));
        }
        match request {
            _ if self.session.over() => self.link.answer(ticket, Err(ended())),
            Request::Ack(ack) => self.feed(now, Input::Ack(ticket, ack)),
            Request::Renew(token) => self.renew(now, ticket, &token),
            _ if self.is_viewer() => {
                let words = "this session views a share: it may ack and renew its token, and nothing else";
                self.link.answer(ticket, Err(Fault::new(Code::ReadOnly, words)));
            }
            Request::Update { urgency_floor, window, attributes: None } => {
                self.feed(now, Input::Update(ticket, urgency_floor, window))
            }
            Request::Login(_) | Request::Challenge(..) => {
                let words = "a login needs no session, and this connection serves none beside it";
                self.link.answer(ticket, Err(Fault::new(Code::UnknownMethod, words)));
            }
            _ if self.waiting.len() >= WAITING_MAX => {
                let words = "more requests wait for the store than fit; try again in a moment";
                self.link.answer(ticket, Err(Fault::new(Code::StoreBusy, words)));
            }
            request => {
                self.waiting.push_back((ticket, request));
                self.next_request();
            }
        }
    }

    /// What the device follows has changed, or what its user wants: nothing is sent, and no mail is looked at, until that
    /// is known.
    pub(super) fn refresh(&mut self, now: Now) {
        self.refreshing = true;
        self.feed(now, Input::Refreshing);
        self.next_request();
    }

    /// Begins the next request, if none is under way.
    fn next_request(&mut self) {
        if self.writing {
            return;
        }
        let (receiver, store) = (self.seat.receiver().clone(), Arc::clone(&self.node.store));
        if self.refreshing {
            self.writing = true;
            return self.work.push(Box::pin(async move { Done::Follows(store.follows(&receiver).await) }));
        }
        let Some((ticket, request)) = self.waiting.pop_front() else { return };
        let tenant = receiver.tenant.clone();
        let logs = |topics: &[TopicName]| -> Vec<LogId> {
            topics.iter().map(|topic| LogId::Topic(tenant.clone(), topic.clone())).collect()
        };
        self.writing = true;
        match request {
            Request::Subscribe(topics) => {
                let logs = logs(&topics);
                // The hub hears of the log before its head is read, so no hint falls between the two.
                logs.iter().for_each(|log| self.seat.follow(log.clone()));
                let subscribed = store.subscribe(&receiver, topics);
                self.write(ticket, async move { Written::Subscribed(logs, subscribed.await) });
            }
            Request::Unsubscribe(topics) => {
                let left = store.unsubscribe(&receiver, topics);
                let done = async move { Ok((left.await?, store.follows(&receiver).await?)) };
                self.write(ticket, async move { Written::Unsubscribed(done.await) });
            }
            Request::Dismiss(messages) => {
                let dismissed = store.dismiss(&receiver, messages, self.node.clock.now().wall);
                self.write(ticket, async move { Written::Dismissed(dismissed.await) });
            }
            Request::Update { urgency_floor, window, attributes } => {
                let described = store.describe(&receiver, attributes.unwrap_or_default());
                self.write(ticket, async move { Written::Described(urgency_floor, window, described.await) });
            }
            // These do not wait here.
            Request::Ack(_) | Request::Renew(_) | Request::Login(_) | Request::Challenge(..) => self.writing = false,
        }
    }

    fn write(&self, ticket: Ticket, written: impl Future<Output = Written> + Send + 'static) {
        self.work.push(Box::pin(async move { Done::Written(ticket, written.await) }));
    }

    /// The store has answered a request.
    pub(super) fn written(&mut self, now: Now, ticket: Ticket, written: Written) {
        self.writing = false;
        let answer = match written {
            Written::Subscribed(logs, Ok((following, subscriptions))) => {
                self.feed(now, Input::Followed(following));
                // A hint may have come before the session followed: the heads tell what it said.
                self.read_heads(logs);
                Ok(Answer::Subscribed { subscriptions })
            }
            Written::Subscribed(logs, Err(error)) => {
                // Hints of logs that the session does not follow are not wanted.
                for log in logs.iter().filter(|log| !self.session.follows(log)) {
                    self.seat.unfollow(log);
                }
                Err(error)
            }
            Written::Unsubscribed(Ok((subscriptions, follows))) => {
                self.follow_all(now, follows);
                Ok(Answer::Unsubscribed { subscriptions })
            }
            Written::Dismissed(Ok(dismissed)) => {
                self.link.answer(ticket, Ok(Answer::Dismissed { dismissed }));
                // They are settled for this device too, which only the store knows: they must not come again.
                return if dismissed > 0 { self.refresh(now) } else { self.next_request() };
            }
            Written::Described(..) if self.session.over() => {
                self.link.answer(ticket, Err(ended()));
                return;
            }
            Written::Described(urgency_floor, window, Ok(())) => {
                self.feed(now, Input::Update(ticket, urgency_floor, window));
                return self.next_request();
            }
            Written::Unsubscribed(Err(error)) | Written::Dismissed(Err(error)) | Written::Described(.., Err(error)) => {
                Err(error)
            }
        };
        self.link.answer(ticket, answer.map_err(fault));
        self.next_request();
    }

    /// The store has told what the device follows.
    pub(super) fn refreshed(&mut self, now: Now, follows: Result<Follows, Error>) {
        (self.writing, self.refreshing) = (false, false);
        match follows {
            Ok(follows) => self.follow_all(now, follows),
            Err(error) => {
                tracing::error!(receiver = %self.seat.receiver(), %error, "what a device follows could not be read");
                self.feed(now, Input::Close(CloseReason::StoreFailed));
            }
        }
        self.next_request();
    }

    /// Follows these logs and no others. The hub hears of each that is new before its head is read once more.
    fn follow_all(&mut self, now: Now, follows: Follows) {
        if self.session.over() {
            return;
        }
        let new = follows.following.iter().map(|following| &following.log).filter(|log| !self.session.follows(log));
        let new: Vec<LogId> = new.cloned().collect();
        new.iter().for_each(|log| self.seat.follow(log.clone()));
        let quiet = quiet(follows.quiet_hours, self.seat.receiver());
        let hold = self.refreshing;
        self.feed(now, Input::Refreshed(follows.following, quiet));
        if hold {
            // It has changed again since.
            self.feed(now, Input::Refreshing);
        }
        let session = &self.session;
        self.seat.unfollow_unless(|log| session.follows(log));
        if !new.is_empty() {
            self.read_heads(new);
        }
    }

    fn read_heads(&self, logs: Vec<LogId>) {
        let heads = self.node.store.heads(logs.clone());
        self.work.push(Box::pin(async move { Done::Heads(logs, heads.await) }));
    }
}
