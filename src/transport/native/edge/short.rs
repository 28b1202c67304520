//! A short stream of the edge: reads a request to its end and writes the answer. Which requests there are is not its affair.

use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::Request;

use crate::model::fault::Fault;
use crate::transport::native::edge::reply::{Reply, response, trailers};
use crate::transport::native::incoming::{Form, Incoming, ShortId};
use crate::wire::grpc;

/// Bodies are read to their end before anything is answered; a peer that sends more than its limit and this on top is
/// not worth it: the stream is reset.
const DISCARD_BYTES_MAX: usize = 256 * 1024;

/// A stream that waits for its request's end, or for its answer.
pub(super) struct Short {
    pub(super) id: ShortId,
    respond: SendResponse<Bytes>,
    /// How its request is written, and its answer.
    pub(super) form: Form,
    /// `None` once the request was handed out.
    reading: Option<Box<Reading>>,
}

/// A request that is being read.
struct Reading {
    head: Request<()>,
    stream: RecvStream,
    body: BytesMut,
    /// Bytes beyond the limit, which were thrown away.
    discarded: usize,
    /// All DATA was read; trailers may follow.
    data_done: bool,
}

impl Short {
    pub(super) fn new(request: Request<RecvStream>, respond: SendResponse<Bytes>) -> Self {
        let id = respond.stream_id().as_u32();
        let (head, stream) = request.into_parts();
        let head = Request::from_parts(head, ());
        let form = Form::of(head.uri().path());
        let reading = Reading { head, stream, body: BytesMut::new(), discarded: 0, data_done: false };
        Self { id, respond, form, reading: Some(Box::new(reading)) }
    }

    /// Ends the stream. An error means that it was reset: nobody waits for the answer.
    pub(super) fn reply(mut self, reply: Reply) {
        match reply {
            Reply::Message(message) => {
                let Ok(mut stream) = self.respond.send_response(response(), false) else { return };
                // The message is a few dozen bytes and streams are few, so it need not wait for the peer's window.
                if stream.send_data(message, false).is_ok() {
                    let _ = stream.send_trailers(trailers(0));
                }
            }
            Reply::Refusal(refusal) => drop(self.respond.send_response(*refusal, true)),
            Reply::Whole(head, body) => {
                let Ok(mut stream) = self.respond.send_response(*head, false) else { return };
                drop(stream.send_data(body, true));
            }
        }
    }

    /// Whether the request was handed out.
    pub(super) const fn is_read(&self) -> bool {
        self.reading.is_none()
    }

    /// Begins an answer without end. `None`: the stream was reset.
    pub(super) fn open(mut self) -> Option<SendStream<Bytes>> {
        self.respond.send_response(response(), false).ok()
    }

    /// Ready when the stream was reset: nobody waits for the answer.
    pub(super) fn poll_reset(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.respond.poll_reset(context).map(drop)
    }

    /// Reads on. `None`: the stream is of no more use.
    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        limit: usize,
    ) -> Poll<Option<Result<Incoming, Fault>>> {
        let Some(reading) = self.reading.as_mut() else {
            // It waits for its answer; a reset means that nobody does.
            return match self.respond.poll_reset(context) {
                Poll::Ready(_) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            };
        };
        match ready!(reading.poll_end(context, limit)) {
            Ok(()) => {}
            Err(Some(reason)) => {
                self.respond.send_reset(reason);
                return Poll::Ready(None);
            }
            Err(None) => return Poll::Ready(None),
        }
        let Some(reading) = self.reading.take() else { return Poll::Ready(None) };
        let Reading { head, body, discarded, .. } = *reading;
        let limit = (discarded > 0).then_some(limit - grpc::PREFIX_BYTES);
        Poll::Ready(Some(Incoming::checked(self.id, &head, body.freeze(), limit)))
    }
}

impl Reading {
    /// Reads to the end of the request, trailers included. The error says how to reset the stream, if it still lives.
    fn poll_end(&mut self, context: &mut Context<'_>, limit: usize) -> Poll<Result<(), Option<Reason>>> {
        while !self.data_done {
            match ready!(self.stream.poll_data(context)) {
                Some(Ok(data)) => {
                    let _ = self.stream.flow_control().release_capacity(data.len());
                    let room = limit.saturating_sub(self.body.len()).min(data.len());
                    self.body.extend_from_slice(&data[..room]);
                    self.discarded += data.len() - room;
                    if self.discarded > DISCARD_BYTES_MAX {
                        return Poll::Ready(Err(Some(Reason::ENHANCE_YOUR_CALM)));
                    }
                }
                Some(Err(_)) => return Poll::Ready(Err(None)),
                None => self.data_done = true,
            }
        }
        match ready!(self.stream.poll_trailers(context)) {
            Ok(_) => Poll::Ready(Ok(())),
            Err(_) => Poll::Ready(Err(None)),
        }
    }
}
