//! One write on its way to the disk, with whom to answer. It does not apply itself.

use tokio::sync::oneshot;

use super::call::Call;
use crate::model::clock::Timestamp;
use crate::model::id::{Receiver, TopicName};
use crate::store::{Append, Appended, Commit, Error, Following, Opened, Swept};

/// Where the answer goes. Nobody may be waiting for it any more.
pub(super) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// One call of a writing method of the store.
pub(super) enum Command {
    /// A message to append.
    Append(Append, Reply<Appended>),
    /// A device comes.
    Open(Receiver, Timestamp, Reply<Opened>),
    /// A device leaves.
    Leave(Receiver, Timestamp, Reply<()>),
    /// A device follows topics.
    Subscribe(Receiver, Vec<TopicName>, Reply<(Vec<Following>, u32)>),
    /// A device stops following topics.
    Unsubscribe(Receiver, Vec<TopicName>, Reply<u32>),
    /// Cursors to merge.
    Commit(Commit, Reply<()>),
    /// What is over is to be removed.
    Sweep(Timestamp, Reply<Swept>),
    /// What is asked rarely, and how many bytes it holds.
    Rare(Box<dyn Call>, usize),
    /// Everything is to be synced; nothing comes after this.
    Close(Reply<()>),
    /// The writer is to break, to see what becomes of the others.
    #[cfg(test)]
    Break(Breakage),
}

/// Ways to break.
#[cfg(test)]
#[derive(Clone, Copy, Debug)]
pub(super) enum Breakage {
    /// The thread panics.
    Panic,
    /// The batch cannot be written.
    Write,
}

/// What a command costs besides its bodies and names, in bytes: itself, its channel, its place in the batch. A guess.
const COMMAND_BYTES: usize = 512;

impl Command {
    /// Tells the one who waits that it will not be written.
    pub(super) fn refuse(self, error: &Error) {
        // Nobody may be waiting any more.
        match self {
            Self::Append(_, reply) => drop(reply.send(Err(error.clone()))),
            Self::Open(_, _, reply) => drop(reply.send(Err(error.clone()))),
            Self::Subscribe(_, _, reply) => drop(reply.send(Err(error.clone()))),
            Self::Unsubscribe(_, _, reply) => drop(reply.send(Err(error.clone()))),
            Self::Sweep(_, reply) => drop(reply.send(Err(error.clone()))),
            Self::Rare(call, _) => call.refuse(error),
            Self::Leave(_, _, reply) | Self::Commit(_, reply) | Self::Close(reply) => {
                drop(reply.send(Err(error.clone())));
            }
            #[cfg(test)]
            Self::Break(_) => {}
        }
    }

    /// About how much memory it takes until it is written.
    pub(super) fn bytes(&self) -> usize {
        let names = |topics: &[TopicName]| topics.len() * 64;
        COMMAND_BYTES
            + match self {
                Self::Append(append, _) => append.body.len(),
                Self::Subscribe(_, topics, _) | Self::Unsubscribe(_, topics, _) => names(topics),
                Self::Commit(commit, _) => {
                    let spans: usize = commit.cursors.iter().map(|(_, cursor)| cursor.settled.spans()).sum();
                    let reasons: usize = commit.dead.iter().map(|dead| dead.reason.len() + 128).sum();
                    // No more than they take: acks that a crowd sends at once must not be refused for the sake of receipts.
                    // With 256 each, 8,000 devices that acked 100 pushes at once were told `store_busy`.
                    let reports = commit.reports.len() * 96;
                    spans * 32 + commit.cursors.len() * 128 + reasons + reports
                }
                Self::Rare(_, bytes) => *bytes,
                _ => 0,
            }
    }
}
