//! A stream of requests and the stream of their answers: any number of asks in, answers out in the same order. It knows
//! neither gRPC nor JSON.
//!
//! It reads only while it is polled for answers, and it is polled only while the peer takes them: a peer that does not
//! read stops being read.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::Stream;
use futures_util::future::BoxFuture;

use crate::model::access::Caller;
use crate::model::fault::{Code, Fault};
use crate::node::push::{Accepted, Pushing};
use crate::rpc::intake::Intake;
use crate::wire::pb;

/// One request of a stream.
pub(super) struct Ask<R> {
    /// The caller's own mark; comes back in the answer.
    pub(super) reference: Option<u64>,
    /// The request, or why it cannot be read. The stream goes on after such a one.
    pub(super) request: Result<R, Fault>,
}

/// The answer to one request of a stream.
pub(super) struct Answer<T> {
    /// As in the ask.
    pub(super) reference: Option<u64>,
    /// What became of it.
    pub(super) outcome: Result<T, Fault>,
}

/// What is done with each request of a stream.
pub(super) trait Work {
    /// A request.
    type Request;
    /// What it is answered with.
    type Done;
    /// The answer to come. The one that was begun first ends first.
    type Doing: Future<Output = Result<Self::Done, Fault>> + Unpin;

    /// Requests of one stream that may be under way. Full: no more is read.
    const UNDER_WAY_MAX: usize;

    /// Bytes that a request holds while it is under way, about.
    fn bytes(request: &Self::Request) -> usize;

    /// Begins with a request, or takes note that it could not be read.
    ///
    /// # Errors
    /// Why it was refused at once.
    fn begin(
        &self,
        intake: &Intake,
        caller: &Caller,
        request: Result<Self::Request, Fault>,
    ) -> Result<Self::Doing, Fault>;
}

/// The pushes of a stream.
pub(super) struct Pushes;

impl Work for Pushes {
    type Request = pb::PushRequest;
    type Done = Accepted;
    type Doing = Pushing;

    const UNDER_WAY_MAX: usize = 1024;

    fn bytes(request: &pb::PushRequest) -> usize {
        request.payload.len()
    }

    fn begin(
        &self,
        intake: &Intake,
        caller: &Caller,
        request: Result<pb::PushRequest, Fault>,
    ) -> Result<Pushing, Fault> {
        intake.push(caller, request)
    }
}

/// A request under way.
struct Outstanding<D> {
    /// As in the ask.
    reference: Option<u64>,
    /// Bytes that it holds.
    bytes: usize,
    /// Its answer to come, or why it was refused at once.
    doing: Result<D, Fault>,
}

/// Answers in the order of their asks. An `Err` is the last item: the stream itself failed, after what came before.
pub(super) struct Answers<S, W: Work> {
    intake: Intake,
    caller: Caller,
    asks: S,
    work: W,
    /// Requests under way, in order.
    outstanding: VecDeque<Outstanding<W::Doing>>,
    /// Bytes that they hold.
    outstanding_bytes: usize,
    /// Ready when the listener stops.
    stopped: BoxFuture<'static, ()>,
    /// How reading ended; nothing is read any more. Taken when it was told.
    end: Option<Result<(), Fault>>,
    /// All was told.
    done: bool,
}

// Nothing in it is pinned in place.
impl<S, W: Work> Unpin for Answers<S, W> {}

impl<W: Work, S: Stream<Item = Result<Ask<W::Request>, Fault>> + Unpin> Answers<S, W> {
    /// The answers to `asks`.
    pub(super) fn new(intake: Intake, caller: Caller, asks: S, work: W) -> Self {
        let stopped = Box::pin(intake.stop.clone().cancelled_owned());
        Self {
            intake,
            caller,
            asks,
            work,
            outstanding: VecDeque::new(),
            outstanding_bytes: 0,
            stopped,
            end: None,
            done: false,
        }
    }

    /// Begins with what has arrived, as far as the bounds allow and the caller may go on. True when more may be there already.
    fn read(&mut self, context: &mut Context<'_>) -> bool {
        if self.end.is_none() && self.stopped.as_mut().poll(context).is_ready() {
            let words = "the gateway is being drained; what was answered as done is kept, send the rest elsewhere";
            self.end = Some(Err(Fault::new(Code::Draining, words)));
        }
        if self.end.is_none()
            && let Err(fault) = self.intake.node.recheck_caller(&self.caller)
        {
            self.end = Some(Err(fault));
        }
        for _ in 0..READS_PER_TURN {
            let full = self.outstanding.len() >= W::UNDER_WAY_MAX || self.outstanding_bytes >= OUTSTANDING_BYTES_MAX;
            if self.end.is_some() || full {
                return false;
            }
            match Pin::new(&mut self.asks).poll_next(context) {
                Poll::Ready(Some(Ok(ask))) => {
                    let bytes = ask.request.as_ref().map_or(0, W::bytes);
                    self.outstanding_bytes += bytes;
                    let doing = self.work.begin(&self.intake, &self.caller, ask.request);
                    self.outstanding.push_back(Outstanding { reference: ask.reference, bytes, doing });
                }
                Poll::Ready(Some(Err(fault))) => self.end = Some(Err(fault)),
                Poll::Ready(None) => self.end = Some(Ok(())),
                Poll::Pending => return false,
            }
        }
        true
    }

    /// The oldest request's answer; `None` when none is under way.
    ///
    /// Only the oldest is polled. The store answers in the order of its queue, so the others have nothing to tell before
    /// it, and the task wakes once for all that one flush brought to disk, not once a request.
    fn answer(&mut self, context: &mut Context<'_>) -> Poll<Option<Answer<W::Done>>> {
        let Some(oldest) = self.outstanding.front_mut() else { return Poll::Ready(None) };
        let outcome = match &mut oldest.doing {
            Ok(doing) => ready!(Pin::new(doing).poll(context)),
            Err(fault) => Err(fault.clone()),
        };
        let (reference, bytes) = (oldest.reference, oldest.bytes);
        self.outstanding.pop_front();
        self.outstanding_bytes -= bytes;
        Poll::Ready(Some(Answer { reference, outcome }))
    }
}

impl<W: Work, S: Stream<Item = Result<Ask<W::Request>, Fault>> + Unpin> Stream for Answers<S, W> {
    type Item = Result<Answer<W::Done>, Fault>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.done {
            return Poll::Ready(None);
        }
        // What is ready is told first: a peer that waits for its answers gets all of them, and then it is read on.
        if let Poll::Ready(Some(answer)) = this.answer(context) {
            return Poll::Ready(Some(Ok(answer)));
        }
        let more = this.read(context);
        match this.answer(context) {
            Poll::Ready(Some(answer)) => return Poll::Ready(Some(Ok(answer))),
            Poll::Ready(None) => {
                if let Some(end) = this.end.take() {
                    this.done = true;
                    return Poll::Ready(end.err().map(Err));
                }
            }
            Poll::Pending => {}
        }
        if more {
            // The turn is over, not the input: others first.
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

/// Bytes that the requests of one stream that are under way may hold. Full: no more is read. A guess: many times what a
/// disk takes between two flushes.
const OUTSTANDING_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Requests begun in one turn, so that no stream starves the others. A guess.
const READS_PER_TURN: usize = 64;
