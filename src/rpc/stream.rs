//! A stream of pushes and the stream of their answers: any number of asks in, answers out in the same order. It knows
//! neither gRPC nor JSON.
//!
//! It reads only while it is polled for answers, and it is polled only while the peer takes them: a peer that does not
//! read stops being read.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;

use crate::model::fault::{Code, Fault};
use crate::model::id::TenantId;
use crate::node::push::Accepted;
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

/// Answers in the order of their asks. An `Err` is the last item: the stream itself failed, after what came before.
pub(super) struct Answers<S> {
    intake: Intake,
    tenant: TenantId,
    asks: S,
    /// Pushes under way, in order.
    outstanding: FuturesOrdered<BoxFuture<'static, Result<Accepted, Fault>>>,
    /// Their references and the bytes of their payloads, in the same order.
    marks: VecDeque<(Option<u64>, usize)>,
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
            outstanding: FuturesOrdered::new(),
            marks: VecDeque::new(),
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
                    self.marks.push_back((ask.reference, bytes));
                    self.outstanding.push_back(self.intake.push(&self.tenant, ask.push));
                }
                Poll::Ready(Some(Err(fault))) => self.end = Some(Err(fault)),
                Poll::Ready(None) => self.end = Some(Ok(())),
                Poll::Pending => return false,
            }
        }
        true
    }
}

impl<S: Stream<Item = Result<Ask, Fault>> + Unpin> Stream for Answers<S> {
    type Item = Result<Answer, Fault>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.done {
            return Poll::Ready(None);
        }
        let more = this.read(context);
        match Pin::new(&mut this.outstanding).poll_next(context) {
            Poll::Ready(Some(outcome)) => {
                let (reference, bytes) = this.marks.pop_front().expect("each push under way has its mark");
                this.outstanding_bytes -= bytes;
                return Poll::Ready(Some(Ok(Answer { reference, outcome })));
            }
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
