//! A connection that has no session yet: it may log in, and it must open one. It decides nothing about either.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Sleep, sleep};

use crate::metrics::HandshakeFailure;
use crate::model::fault::{Code, Fault};
use crate::model::frame::{Answer, Open};
use crate::node::Node;
use crate::node::admit::Admitted;
use crate::node::cores::Guest;
use crate::transport::native::Options;
use crate::transport::native::edge::{Edge, Event};
use crate::transport::native::incoming::{Incoming, ShortId};
use crate::transport::native::link::NativeLink;
use crate::transport::native::logins::Logins;
use crate::wire::device::{self, Method};

/// Logins and challenges that one connection may ask for before its `Open`; more are refused. Each gives it the time for an
/// `Open` anew, so this bounds how long it lives without one. A guess: a device needs two.
const ASKED_MAX: u32 = 16;

/// Why there is no session. Without a failure the device only came to log in.
pub(super) type Parting = (Option<HandshakeFailure>, String);

/// A connection without a session.
pub(super) struct Greeting {
    edge: Edge,
    logins: Logins,
    request_bytes_max: usize,
    open_timeout: Duration,
    /// Logins and challenges that were asked for.
    asked: u32,
    /// One of them was answered with what it wanted.
    served: bool,
}

/// What happened.
enum Happening {
    Event(Event),
    /// A login was answered.
    Answered,
}

impl Greeting {
    /// Of a connection that comes from this address.
    pub(super) const fn new(edge: Edge, node: Arc<Node>, from: IpAddr, options: &Options) -> Self {
        Self {
            edge,
            logins: Logins::new(node, from),
            request_bytes_max: options.request_bytes_max,
            open_timeout: options.open_timeout,
            asked: 0,
            served: false,
        }
    }

    /// Brings the connection to its session. `patience` is the time that is left for an `Open`.
    pub(super) async fn session(
        mut self,
        node: &Node,
        guest: &Guest,
        patience: Pin<&mut Sleep>,
    ) -> Result<(NativeLink, Admitted), Parting> {
        let (id, open) = self.first_open(patience).await?;
        match self.admit(node, &open, guest).await {
            Ok(admitted) => {
                self.edge.open_push(id);
                Ok((NativeLink::new(self.edge, self.logins, self.request_bytes_max), admitted))
            }
            Err(fault) => {
                let failure = HandshakeFailure::Refused(fault.code);
                let words = fault.to_string();
                self.edge.refuse(id, &fault);
                self.edge.leave().await;
                Err((Some(failure), words))
            }
        }
    }

    /// The device must say `Open`, after a login or at once; all else is refused, and it may try again.
    async fn first_open(&mut self, mut patience: Pin<&mut Sleep>) -> Result<(ShortId, Open), Parting> {
        loop {
            let happening = tokio::select! {
                happening = self.next() => happening,
                // The time of a check is not the device's.
                () = &mut patience, if self.logins.is_idle() => {
                    return Err((Some(HandshakeFailure::OpenTimeout), "no Open in time".to_owned()));
                }
            };
            match happening {
                Happening::Answered => patience.set(sleep(self.open_timeout)),
                Happening::Event(Event::Gone(why)) => {
                    return Err(((!self.served).then_some(HandshakeFailure::Gone), why));
                }
                Happening::Event(Event::Refused(id, fault)) => self.edge.refuse(id, &fault),
                Happening::Event(Event::Request(request)) if request.method == Method::Open => {
                    let bearer = request.bearer.as_deref();
                    match device::open(request.body, self.request_bytes_max, bearer) {
                        Ok(open) => return Ok((request.id, open)),
                        Err(fault) => self.edge.refuse(request.id, &fault),
                    }
                }
                Happening::Event(Event::Request(request)) => {
                    if self.ask(request) {
                        patience.set(sleep(self.open_timeout));
                    }
                }
            }
        }
    }

    /// Opens the session while the connection is kept alive: waiting for an older one may take seconds.
    async fn admit(&mut self, node: &Node, open: &Open, guest: &Guest) -> Result<Admitted, Fault> {
        let mut admitted = pin!(node.open(open, guest.place()));
        loop {
            tokio::select! {
                admitted = &mut admitted => return admitted,
                happening = self.next() => match happening {
                    Happening::Event(Event::Gone(why)) => return Err(Fault::new(Code::SessionEnded, why)),
                    Happening::Event(Event::Refused(id, fault)) => self.edge.refuse(id, &fault),
                    Happening::Event(Event::Request(request)) => drop(self.ask(request)),
                    Happening::Answered => {}
                },
            }
        }
    }

    /// Takes a request that is no `Open`. True when it was answered at once with what it wanted.
    fn ask(&mut self, request: Incoming) -> bool {
        let id = request.id;
        if !matches!(request.method, Method::Login | Method::Challenge) {
            self.edge.refuse(id, &no_session());
            return false;
        }
        if self.asked >= ASKED_MAX {
            self.edge.refuse(id, &Fault::new(Code::RateLimited, "too many logins on one connection; open a session"));
            return false;
        }
        self.asked += 1;
        let answer = match request.decoded(self.request_bytes_max) {
            Ok(request) => self.logins.take(id, request).unwrap_or_else(|_| Some(Err(no_session()))),
            Err(fault) => Some(Err(fault)),
        };
        answer.is_some_and(|answer| self.answer(id, answer))
    }

    fn answer(&mut self, id: ShortId, answer: Result<Answer, Fault>) -> bool {
        let served = answer.is_ok();
        self.served |= served;
        self.edge.settle(id, answer);
        served
    }

    /// Drives the connection and its logins until something happened. Dropping a call loses nothing.
    async fn next(&mut self) -> Happening {
        poll_fn(|context| {
            if let Poll::Ready((id, answer)) = self.logins.poll(context) {
                self.answer(id, answer);
                return Poll::Ready(Happening::Answered);
            }
            self.edge.poll_event(context).map(Happening::Event)
        })
        .await
    }
}

fn no_session() -> Fault {
    Fault::new(Code::NoSession, "this connection has no session yet; send Open first")
}
