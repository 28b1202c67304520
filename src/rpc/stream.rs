//! A stream of pushes and the stream of their answers: any number of asks in, answers out in the same order. It knows
//! neither gRPC nor JSON.
//!
//! It reads only while it is polled for answers, and it is polled only while the peer takes them: a peer that does not
//! read stops being read.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::Stream;
use futures_util::future::BoxFuture;

use crate::model::fault::{Code, Fault};
use crate::model::id::TenantId;
use crate::node::push::{Accepted, Pushing};
use crate::rpc::intake::Intake;
use crate::wire::pb;

/// One push of a stream.
pub(super) struct Ask {
    /// The caller's own mark; comes back in the answer.
    pub(super) reference: Option<u64>,
    /// The push, or why it cannot be read. The stream goes on after such a one.
    pub(super) push: Result<pb::PushRequest, Fault>,
}

/// The answer to one push of a stream.
pub(super) struct Answer {
    /// As in the ask.
    pub(super) reference: Option<u64>,
    /// What became of it.
    pub(super) outcome: Result<Accepted, Fault>,
}

/// A push under way.
struct Outstanding {
    /// As in the ask.
    reference: Option<u64>,
    /// Bytes of its payload.
    bytes: usize,
    /// Its answer to come, or why it was refused at once.
    push: Result<Pushing, Fault>,
}

/// Answers in the order of their asks. An `Err` is the last item: the stream itself failed, after what came before.
pub(super) struct Answers<S> {
    intake: Intake,
    tenant: TenantId,
    asks: S,
    /// Pushes under way, in order.
    outstanding: VecDeque<Outstanding>,
    /// Bytes of the payloads under way.
    outstanding_bytes: usize,
    /// Ready when the listener stops.
    stopped: BoxFuture<'static, ()>,
    /// How reading ended; nothing is read any more. Taken when it was told.
    end: Option<Result<(), Fault>>,
    /// All was told.
    done: bool,
}

impl<S: Stream<Item = Result<Ask, Fault>> + Unpin> Answers<S> {
    /// The answers to `asks`.
    pub(super) fn new(intake: Intake, tenant: TenantId, asks: S) -> Self {
        let stopped = Box::pin(intake.stop.clone().cancelled_owned());
        Self {
            intake,
            tenant,
            asks,
            outstanding: VecDeque::new(),
            outstanding_bytes: 0,
            stopped,
            end: None,
            done: false,
        }
    }

    /// Starts the pushes that have arrived, as far as the bounds allow. True when more may be there already.
    fn read(&mut self, context: &mut Context<'_>) -> bool {
        if self.end.is_none() && self.stopped.as_mut().poll(context).is_ready() {
            let words = "the gateway is being drained; what was answered with an id is kept, push the rest elsewhere";
            self.end = Some(Err(Fault::new(Code::Draining, words)));
        }
        for _ in 0..READS_PER_TURN {
            let full = self.outstanding.len() >= OUTSTANDING_MAX || self.outstanding_bytes >= OUTSTANDING_BYTES_MAX;
            if self.end.is_some() || full {
                return false;
            }
            match Pin::new(&mut self.asks).poll_next(context) {
                Poll::Ready(Some(Ok(ask))) => {
                    let bytes = ask.push.as_ref().map_or(0, |push| push.payload.len());
                    self.outstanding_bytes += bytes;
                    let push = self.intake.push(&self.tenant, ask.push);
                    self.outstanding.push_back(Outstanding { reference: ask.reference, bytes, push });
                }
                Poll::Ready(Some(Err(fault))) => self.end = Some(Err(fault)),
                Poll::Ready(None) => self.end = Some(Ok(())),
                Poll::Pending => return false,
            }
        }
        true
    }

    /// The oldest push's answer; `None` when no push is under way.
    ///
    /// Only the oldest is polled. The store answers in the order of its queue, so the others have nothing to tell before
    /// it, and the task wakes once for all that one flush brought to disk, not once a push.
    fn answer(&mut self, context: &mut Context<'_>) -> Poll<Option<Answer>> {
        let Some(oldest) = self.outstanding.front_mut() else { return Poll::Ready(None) };
        let outcome = match &mut oldest.push {
            Ok(pushing) => ready!(Pin::new(pushing).poll(context)),
            Err(fault) => Err(fault.clone()),
        };
        let (reference, bytes) = (oldest.reference, oldest.bytes);
        self.outstanding.pop_front();
        self.outstanding_bytes -= bytes;
        Poll::Ready(Some(Answer { reference, outcome }))
    }
}

impl<S: Stream<Item = Result<Ask, Fault>> + Unpin> Stream for Answers<S> {
    type Item = Result<Answer, Fault>;

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

/// Pushes of one stream that may be under way. Full: no more is read.
const OUTSTANDING_MAX: usize = 1024;
/// Bytes of payloads of one stream that may be under way. Full: no more is read. A guess: many times what a disk takes
/// between two flushes.
const OUTSTANDING_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Pushes started in one turn, so that no stream starves the others. A guess.
const READS_PER_TURN: usize = 64;
