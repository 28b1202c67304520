//! A call of a writing method that is rare: it carries how it is applied, boxed. It does not know what that is. Calls that
//! come once a push or once an ack are [`Command`](super::command::Command)s of their own and cost no allocation.

use super::command::Reply;
use super::writer::{Settle, Writer, noted, other};
use crate::store::Error;

/// Something to be applied by the writing thread, with whom to answer.
pub(super) trait Call: Send {
    /// Applies it; what fails the batch is noted.
    fn apply(self: Box<Self>, writer: &mut Writer, broken: &mut Option<Error>) -> Settle;

    /// Tells the one who waits that it will not be written.
    fn refuse(self: Box<Self>, error: &Error);
}

/// A call that a closure applies.
pub(super) struct Rare<A, T> {
    /// What the writing thread does.
    pub(super) apply: A,
    /// Where the answer goes.
    pub(super) reply: Reply<T>,
}

impl<A, T> Call for Rare<A, T>
where
    A: FnOnce(&mut Writer) -> Result<T, Error> + Send,
    T: Send + 'static,
{
    fn apply(self: Box<Self>, writer: &mut Writer, broken: &mut Option<Error>) -> Settle {
        other(self.reply, noted((self.apply)(writer), broken))
    }

    fn refuse(self: Box<Self>, error: &Error) {
        // Nobody may be waiting any more.
        let _ = self.reply.send(Err(error.clone()));
    }
}
