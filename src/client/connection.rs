//! The task behind a client: it waits, feeds the core, and performs what the core says. It decides nothing.

use std::collections::{BTreeMap, HashMap};
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use prost::Message;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep_until, timeout};

use crate::client::acks::Batch;
use crate::client::conversation::{Conversation, Said};
use crate::client::core::{Core, Input, Output};
use crate::client::dial::{Dialer, Wanted};
use crate::client::error::Error;
use crate::client::incoming::Incoming;
use crate::client::login::{Grant, Provider, renew};
use crate::client::options::Options;
use crate::client::pulse::Pulse;
use crate::client::push::{Push, Tray};
use crate::client::status::{Phase, Status};
use crate::model::clock::{Clock, Moment};
use crate::model::frame::Verdict;
use crate::model::id::{MessageId, TopicName};
use crate::model::message::Urgency;
use crate::wire::body::{urgency_from_pb, urgency_to_pb};
use crate::wire::device::Method;
use crate::wire::{grpc, pb};

/// Requests of the program that may be out at once; further ones wait in the mailbox.
const CALLS_MAX: usize = 8;

/// Where an answer goes.
type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// What the program asks of the task.
#[derive(Debug)]
pub(super) enum Command {
    /// Follow topics; answers how many the device follows then.
    Subscribe(Vec<TopicName>, Reply<u32>),
    /// Stop following topics; answers how many the device follows then.
    Unsubscribe(Vec<TopicName>, Reply<u32>),
    /// Change the session.
    Update { urgency_floor: Option<Urgency>, window: Option<u32>, reply: Reply<(Urgency, u32)> },
    /// Replace the device's attributes.
    Describe(BTreeMap<String, String>, Reply<()>),
    /// The user has seen these messages; answers how many were dismissed now.
    Dismiss(Vec<MessageId>, Reply<u32>),
    /// Wait until all acks are confirmed.
    Flush(Reply<()>),
    /// Wait until all acks are confirmed, then end.
    Close(Reply<()>),
}

/// What a call came to.
enum Done {
    /// The ack request that was out.
    Ack(Result<(), Error>),
    /// The session has these values now; so shall the next.
    Updated(Urgency, u32),
    /// The gateway knows these attributes; the next session says the same.
    Described(BTreeMap<String, String>),
    /// A token was got, or not, and given to the session, or not: the two may differ.
    Renewed(Result<Grant, Error>, Result<(), Error>),
    /// The one who asked has the answer.
    Told,
}

/// What an attempt to connect came to: with the token that it got for itself, if it needed one.
type Dialed = Result<(Conversation, Option<Grant>), Error>;

/// What the connection is made of at the moment.
enum Stage {
    Idle,
    Dialing(Pin<Box<dyn Future<Output = Dialed> + Send>>),
    Talking(Box<Conversation>),
}

/// What happened at a stage.
enum Happening {
    Dialed(Box<Conversation>, Option<Grant>),
    Frame(Incoming),
    /// A heartbeat was answered. The bytes of it are what counts; this wakes the task, so that the next heartbeat is
    /// counted from them.
    Pong,
    Lost(Error),
}

/// The task's state.
pub(super) struct Connection {
    core: Core,
    clock: Clock,
    dialer: Dialer,
    stage: Stage,
    /// When bytes last came, and up to when the core knows.
    pulse: Pulse,
    pulse_told: Moment,
    /// What the next `Open` says.
    open: pb::OpenRequest,
    /// See [`Options::provider`].
    provider: Option<Arc<dyn Provider>>,
    /// Calls on short streams: at most [`CALLS_MAX`] of the program and one ack.
    calls: FuturesUnordered<Pin<Box<dyn Future<Output = Done> + Send>>>,
    /// See [`Options::request_timeout`].
    request_timeout: Duration,
    /// Longest time for another token, from the provider to the gateway's word that it took it.
    renewal_timeout: Duration,
    /// Flushes and closes that wait, by the number the core knows them by.
    flushes: HashMap<u64, Reply<()>>,
    /// The number of the next one.
    next_flush: u64,
    /// What the program asks. Bounded by its maker; full means that the program waits.
    commands: mpsc::Receiver<Command>,
    /// What the program settled.
    tray: Arc<Tray>,
    /// Pushes for the program. Bounded by the window; full means that no frame is read.
    queue: mpsc::Sender<Push>,
    status: watch::Sender<Status>,
    /// Whether the core ended.
    over: bool,
}

impl Connection {
    /// A task that has not begun. The options were checked.
    pub(super) fn new(
        options: &Options,
        dialer: Dialer,
        clock: Clock,
        commands: mpsc::Receiver<Command>,
        queue: mpsc::Sender<Push>,
        status: watch::Sender<Status>,
    ) -> Self {
        let open = pb::OpenRequest {
            token: options.token.clone(),
            device: options.device.clone().unwrap_or_default(),
            heartbeat_ms: u32::try_from(options.heartbeat.as_millis()).unwrap_or(u32::MAX),
            window: options.window,
            urgency_floor: urgency_to_pb(options.urgency_floor).into(),
            agent: options.agent.clone(),
            attributes: options.attributes.clone(),
        };
        Self {
            core: Core::new(options, fastrand::u64(..)),
            clock,
            dialer,
            stage: Stage::Idle,
            pulse: Pulse::default(),
            pulse_told: Moment::ZERO,
            open,
            provider: options.provider.clone(),
            calls: FuturesUnordered::new(),
            request_timeout: options.request_timeout,
            renewal_timeout: options.attempt_timeout.max(options.request_timeout),
            flushes: HashMap::new(),
            next_flush: 0,
            commands,
            tray: Arc::default(),
            queue,
            status,
            over: false,
        }
    }

    /// Runs until the core ends.
    pub(super) async fn run(mut self) {
        self.feed(Input::Start);
        while !self.over {
            self.tell_pulse();
            if self.core.deadline() <= self.clock.now().moment {
                self.feed(Input::Deadline);
                continue;
            }
            self.turn().await;
        }
        if let Stage::Talking(conversation) = std::mem::replace(&mut self.stage, Stage::Idle) {
            conversation.close().await;
        }
    }

    /// Waits for one thing to happen and feeds it in. Every branch may be dropped halfway: what it waits for stays where
    /// it is.
    async fn turn(&mut self) {
        let deadline = self.clock.instant(self.core.deadline());
        let queued = self.queue.capacity() == 0 && !self.queue.is_closed();
        let room = self.core.reads() && !queued;
        tokio::select! {
            () = until(deadline) => {}
            happening = happening(&mut self.stage, room) => {
                self.tell_pulse();
                match happening {
                    Happening::Dialed(conversation, grant) => {
                        self.stage = Stage::Talking(conversation);
                        if let Some(Grant { token, refresh_after, nodes }) = grant {
                            self.open.token = token;
                            self.feed(Input::Granted(refresh_after, nodes));
                        }
                    }
                    Happening::Frame(frame) => self.feed(Input::Frame(frame)),
                    Happening::Pong => {}
                    Happening::Lost(why) => self.feed(Input::Lost(why)),
                }
            }
            Some(done) = self.calls.next() => match done {
                Done::Ack(result) => self.feed(Input::AckAnswered(result)),
                Done::Updated(floor, window) => {
                    self.open.urgency_floor = urgency_to_pb(floor).into();
                    self.open.window = window;
                    self.feed(Input::Window(window));
                }
                Done::Described(attributes) => self.open.attributes = attributes,
                Done::Renewed(grant, given) => self.renewed(grant, given),
                Done::Told => {}
            },
            () = self.tray.filled() => self.settle(),
            Some(command) = self.commands.recv(), if self.calls.len() < CALLS_MAX => self.command(command),
            () = room_in(&self.queue), if queued => {}
        }
    }

    /// Tells the core of bytes that came.
    fn tell_pulse(&mut self) {
        let last = self.pulse.last();
        if last > self.pulse_told {
            self.pulse_told = last;
            self.feed_at(last, Input::Heard);
        }
    }

    fn settle(&mut self) {
        for (id, settlement) in self.tray.take() {
            self.feed(Input::Settled(id, settlement));
        }
    }

    fn feed(&mut self, input: Input) {
        self.feed_at(self.clock.now().moment, input);
    }

    fn feed_at(&mut self, now: Moment, input: Input) {
        let mut outputs = Vec::new();
        self.core.handle(now, input, &mut outputs);
        for output in outputs {
            self.perform(output);
        }
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Connect => {
                // A stamp of its own: what an older socket still says is no life of this one.
                self.pulse = Pulse::default();
                let provider = self.provider.clone().filter(|_| self.core.wants_token());
                let node = self.core.node().map(str::to_owned);
                let wanted = Wanted { node, open: self.open.clone(), provider };
                let dialing = self.dialer.clone().dial(wanted, self.pulse.clone());
                self.stage = Stage::Dialing(Box::pin(dialing));
            }
            Output::Renew => self.renew(),
            Output::Disconnect => {
                // Dropping a call's reply tells the one who asked.
                self.calls.clear();
                self.stage = Stage::Idle;
            }
            Output::Ping => {
                if let Stage::Talking(conversation) = &mut self.stage {
                    conversation.ping();
                }
            }
            Output::Deliver(arrival) => {
                // There is room, it was looked for before the frame was read. Without a program the push comes again.
                let _ = self.queue.try_send(Push::new(*arrival, &self.tray));
            }
            Output::Ack { session, batch } => {
                let answer = self.call(Method::Ack, grpc::framed(&ack_request(session, batch)));
                self.calls.push(Box::pin(async move { Done::Ack(answer.await.map(|_: pb::AckResponse| ())) }));
            }
            Output::Flushed(number, result) => {
                if let Some(reply) = self.flushes.remove(&number) {
                    let _ = reply.send(result);
                }
            }
            Output::Report(status) => {
                self.status.send_replace(*status);
            }
            Output::End => self.over = true,
        }
    }

    /// Begins to get another token and to give it to the session, on the session's own connection.
    fn renew(&self) {
        let (Stage::Talking(conversation), Some(provider)) = (&self.stage, self.provider.clone()) else { return };
        let (caller, agent, longest) = (conversation.caller(), self.open.agent.clone(), self.renewal_timeout);
        self.calls.push(Box::pin(async move {
            let late = || Error::TimedOut("getting another access token");
            let got = timeout(longest, async { Grant::get(provider.access().await?, &caller, &agent).await });
            let grant = got.await.unwrap_or_else(|_| Err(late()));
            let given = match &grant {
                Ok(grant) => {
                    timeout(longest, renew(&caller, grant.token.clone())).await.unwrap_or_else(|_| Err(late()))
                }
                Err(_) => Ok(()),
            };
            Done::Renewed(grant, given)
        }));
    }

    fn renewed(&mut self, grant: Result<Grant, Error>, given: Result<(), Error>) {
        let result = grant.and_then(|grant| {
            // Whatever the session says to it: the next one opens with it.
            self.open.token = grant.token;
            given.map(|()| grant.refresh_after)
        });
        self.feed(Input::Renewed(result));
    }

    fn command(&mut self, command: Command) {
        // Settlements that were handed in before a flush or close must be before it here too.
        self.settle();
        let topic_names = |topics: Vec<TopicName>| topics.iter().map(ToString::to_string).collect();
        match command {
            Command::Subscribe(topics, reply) => {
                let request = pb::SubscribeRequest { topics: topic_names(topics) };
                let answer = self.call(Method::Subscribe, grpc::framed(&request));
                self.tell(reply, async move { answer.await.map(|got: pb::SubscribeResponse| got.subscriptions) });
            }
            Command::Unsubscribe(topics, reply) => {
                let request = pb::UnsubscribeRequest { topics: topic_names(topics) };
                let answer = self.call(Method::Unsubscribe, grpc::framed(&request));
                self.tell(reply, async move { answer.await.map(|got: pb::UnsubscribeResponse| got.subscriptions) });
            }
            Command::Update { urgency_floor, window, reply } => {
                let urgency_floor = urgency_floor.map(|floor| urgency_to_pb(floor).into());
                let answer = self
                    .call(Method::Update, grpc::framed(&pb::UpdateRequest { urgency_floor, window, attributes: None }));
                self.calls.push(Box::pin(async move {
                    let result = answer.await.map(|got: pb::UpdateResponse| {
                        (urgency_from_pb(got.urgency_floor()).unwrap_or(Urgency::VeryLow), got.window)
                    });
                    let done = result.clone().map_or(Done::Told, |(floor, window)| Done::Updated(floor, window));
                    let _ = reply.send(result);
                    done
                }));
            }
            Command::Describe(attributes, reply) => {
                let values = Some(pb::Attributes { values: attributes.clone() });
                let request = pb::UpdateRequest { urgency_floor: None, window: None, attributes: values };
                let answer = self.call(Method::Update, grpc::framed(&request));
                self.calls.push(Box::pin(async move {
                    let result = answer.await.map(|_: pb::UpdateResponse| ());
                    let done = if result.is_ok() { Done::Described(attributes) } else { Done::Told };
                    let _ = reply.send(result);
                    done
                }));
            }
            Command::Dismiss(messages, reply) => {
                let ids = messages.iter().map(|id| Bytes::copy_from_slice(id.as_bytes())).collect();
                let answer = self.call(Method::Dismiss, grpc::framed(&pb::DismissRequest { ids }));
                self.tell(reply, async move { answer.await.map(|got: pb::DismissResponse| got.dismissed) });
            }
            Command::Flush(reply) => {
                let number = self.number(reply);
                self.feed(Input::Flush(number));
            }
            Command::Close(reply) => {
                let number = self.number(reply);
                self.feed(Input::Close(number));
            }
        }
    }

    fn number(&mut self, reply: Reply<()>) -> u64 {
        self.next_flush += 1;
        self.flushes.insert(self.next_flush, reply);
        self.next_flush
    }

    /// Hands a call's result to the one who asked, who may have gone.
    fn tell<T: Send + 'static>(
        &self,
        reply: Reply<T>,
        answer: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) {
        self.calls.push(Box::pin(async move {
            let _ = reply.send(answer.await);
            Done::Told
        }));
    }

    /// A request and its answer, if there is a session.
    fn call<A: Message + Default>(
        &self,
        method: Method,
        request: Bytes,
    ) -> impl Future<Output = Result<A, Error>> + Send + use<A> {
        let caller = match &self.stage {
            Stage::Talking(conversation) if matches!(self.status.borrow().phase, Phase::Connected(_)) => {
                Some(conversation.caller())
            }
            _ => None,
        };
        let request_timeout = self.request_timeout;
        async move {
            let caller = caller.ok_or(Error::NotConnected)?;
            let bytes: Bytes = timeout(request_timeout, caller.call(method, request))
                .await
                .unwrap_or(Err(Error::TimedOut("the answer to a request")))?;
            A::decode(bytes).map_err(|_| Error::Protocol("an answer is not a protobuf message".into()))
        }
    }
}

/// Waits for the instant; for ever without one.
async fn until(deadline: Option<std::time::Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => pending().await,
    }
}

/// What happens next at this stage. Cancel-safe: all progress is kept in the stage.
async fn happening(stage: &mut Stage, room: bool) -> Happening {
    match stage {
        Stage::Idle => pending().await,
        Stage::Dialing(dialing) => match dialing.await {
            Ok((conversation, grant)) => Happening::Dialed(Box::new(conversation), grant),
            Err(why) => Happening::Lost(why),
        },
        Stage::Talking(conversation) => match std::future::poll_fn(|cx| conversation.poll(cx, room)).await {
            Ok(Said::Frame(frame)) => Happening::Frame(frame),
            Ok(Said::Pong) => Happening::Pong,
            Err(why) => Happening::Lost(why),
        },
    }
}

/// Waits until a push can be queued, or nobody takes any. The place is given back at once: no other sender takes it.
async fn room_in(queue: &mpsc::Sender<Push>) {
    let _ = queue.reserve().await;
}

fn ack_request(session: String, batch: Batch) -> pb::AckRequest {
    let verdict = |verdict| match verdict {
        Verdict::Retry => pb::nack::Verdict::Retry,
        Verdict::Reject => pb::nack::Verdict::Reject,
    };
    pb::AckRequest {
        acked: batch.acked.iter().map(|(from, upto)| pb::SeqRange { from, upto }).collect(),
        nacked: batch
            .nacked
            .into_iter()
            .map(|nack| pb::Nack { seq: nack.seq, verdict: verdict(nack.verdict).into(), reason: nack.reason })
            .collect(),
        session,
    }
}
