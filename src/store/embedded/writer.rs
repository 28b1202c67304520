//! The thread that writes: takes what waits, applies it as one batch, syncs once, announces and answers in order. What each command
//! means stands in the files beside this one.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use fastrand::Rng;

use super::aim::Aims;
use super::command::{Command, Reply};
use super::journal::Journals;
use super::key;
use super::outcome_pace::Pace;
use super::outcomes::Outcomes;
use super::queue::Queue;
use super::quotas::Quotas;
use super::recent::Recent;
use super::record;
use super::retention::Full;
use super::roll::Roll;
use super::staged::Staged;
use super::table::Table;
use super::tag::Tags;
use crate::model::clock::Timestamp;
use crate::model::id::{MessageId, Receiver, TenantId};
use crate::model::log::{LogId, Offset};
use crate::store::{Announced, Appended, Error, Journal, Limits, Listener, Recorded, lost};

/// Most commands in a batch, and about the most bytes of them. A guess: large enough that a sync of some milliseconds
/// is shared by all that came during the one before, small enough that applying a batch takes less than 50 ms.
const BATCH_COMMANDS_MAX: usize = 4_096;
const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Records of each kind that are kept because they were used lately; up to twice as many may be. A guess: those of the
/// devices that a node holds. A log's takes about 150 bytes, a cursor about 400.
const RECENT_MAX: usize = 8_192;

/// Batches between two looks at the size of the folder, which costs a few system calls.
const BATCHES_PER_MEASURE: u64 = 256;

/// What the writer has done, for `health`.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Syncs of the disk.
    pub(super) flushes: AtomicU64,
    /// Commands applied.
    pub(super) writes: AtomicU64,
    /// Bytes on disk when last measured.
    pub(super) disk_bytes: AtomicU64,
}

/// State of the writing thread.
pub(super) struct Writer {
    /// The table with the changes of this batch.
    pub(super) staged: Staged,
    /// Records of logs that pushes went to lately, as they are with the changes of this batch.
    pub(super) logs: Recent<record::Log>,
    /// Cursors that were committed lately, the same way.
    pub(super) cursors: Recent<record::Follow>,
    /// The records of messages.
    pub(super) outcomes: Outcomes,
    /// How far the inboxes were when devices became known that reported lately.
    pub(super) joined: Recent<Offset>,
    /// What this batch adds to journals.
    pub(super) journals: Journals,
    /// What it adds to the sums of tags.
    pub(super) tags: Tags,
    /// What tenants take and may take.
    pub(super) quotas: Quotas,
    /// Messages whose counts are to be told of.
    pub(super) pace: Pace,
    /// The time that a caller gave last.
    pub(super) now: Timestamp,
    /// Bounds to keep.
    pub(super) limits: Limits,
    /// For readers: audiences of broadcast entries.
    pub(super) aims: Arc<Aims>,
    /// Who follows what and is like what, as it is with the changes of this batch.
    pub(super) roll: Arc<Roll>,
    /// Devices that are open now, with how many times: a sweep does not take them for absent.
    pub(super) present: HashMap<Receiver, u32>,
    /// Inboxes that were found full, and what is known of them. Only spares work; see `retention.rs`.
    pub(super) full: HashMap<LogId, Full>,
    /// Makes epochs.
    pub(super) random: Rng,
    /// No due key stands before this one: the sweep begins here and does not walk over all that it has removed.
    pub(super) due_from: Vec<u8>,
    /// The same of what somebody waits for.
    pub(super) soon_from: Vec<u8>,
    /// Messages for any one device that the commit under way acks, and when.
    pub(super) takers: Vec<(MessageId, Timestamp)>,
    /// The batch has a member that must be on disk before its answer.
    pub(super) sync: bool,
    /// What the batch appended, in order.
    pub(super) announced: Vec<Announced>,
    /// The records that it changed, in order.
    pub(super) recorded: Vec<Recorded>,
    /// The journals that the batch added to.
    noted: Vec<(TenantId, Journal)>,
    /// Who hears of it when it is written.
    listener: Arc<OnceLock<Arc<dyn Listener>>>,
    /// Batches since the start.
    batches: u64,
    /// What others see.
    counters: Arc<Counters>,
}

/// An outcome and whom to tell of it, once it is known whether the batch is written. Those that are many are not boxed.
pub(super) enum Settle {
    Appended(Reply<Appended>, Result<Appended, Error>),
    Done(Reply<()>, Result<(), Error>),
    Other(Tell),
}

/// Tells of the outcome, or of the error that the batch met.
pub(super) type Tell = Box<dyn FnOnce(Option<&Error>)>;

/// Ends the queue if the thread dies, so that nobody waits for it.
struct Watch<'a>(&'a Queue<Command>);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(lost()).into_iter().for_each(|command| command.refuse(&lost()));
        }
    }
}

impl Writer {
    /// A writer on this table.
    pub(super) fn new(
        table: Table,
        limits: Limits,
        (aims, roll): (Arc<Aims>, Arc<Roll>),
        counters: Arc<Counters>,
        listener: Arc<OnceLock<Arc<dyn Listener>>>,
    ) -> Self {
        Self {
            staged: Staged::new(table),
            logs: Recent::new(RECENT_MAX),
            cursors: Recent::new(RECENT_MAX),
            outcomes: Outcomes::new(),
            joined: Recent::new(RECENT_MAX),
            journals: Journals::new(),
            tags: Tags::default(),
            quotas: Quotas::default(),
            pace: Pace::default(),
            now: Timestamp::ZERO,
            limits,
            aims,
            roll,
            present: HashMap::new(),
            full: HashMap::new(),
            random: Rng::new(),
            due_from: key::due_from(Timestamp::ZERO),
            soon_from: key::soon_from(Timestamp::ZERO),
            takers: Vec::new(),
            sync: false,
            announced: Vec::new(),
            recorded: Vec::new(),
            noted: Vec::new(),
            listener,
            batches: 0,
            counters,
        }
    }

    /// Writes until the queue ends or the disk fails.
    pub(super) fn run(mut self, queue: &Queue<Command>) {
        let _watch = Watch(queue);
        self.measure();
        let mut commands = VecDeque::new();
        while queue.take(BATCH_COMMANDS_MAX, BATCH_BYTES_MAX, &mut commands) {
            let mut settles = Vec::with_capacity(commands.len());
            let outcome = self.batch(&mut commands, &mut settles);
            let error = outcome.err();
            if let Some(error) = &error {
                tracing::error!(%error, "the store failed and takes no more writes");
                // First of all nothing more may come in: who is told of the failure must meet it again.
                queue.fail(error.clone()).into_iter().for_each(|command| command.refuse(error));
            } else {
                self.announce();
            }
            for settle in settles {
                settle.tell(error.as_ref());
            }
            if error.is_some() {
                return;
            }
        }
    }

    /// Applies commands and writes them; an error means that none of them is known to be written.
    fn batch(&mut self, commands: &mut VecDeque<(Command, usize)>, settles: &mut Vec<Settle>) -> Result<(), Error> {
        let count = commands.len() as u64;
        self.sync = false;
        let mut broken = None;
        for (command, _) in commands.drain(..) {
            settles.push(match command {
                Command::Append(append, reply) => Settle::Appended(reply, noted(self.append(append), &mut broken)),
                Command::Commit(commit, reply) => Settle::Done(reply, noted(self.commit(commit), &mut broken)),
                Command::Open(receiver, now, reply) => other(reply, noted(self.open(&receiver, now), &mut broken)),
                Command::Leave(receiver, now, reply) => {
                    Settle::Done(reply, noted(self.leave(&receiver, now), &mut broken))
                }
                Command::Subscribe(receiver, topics, reply) => {
                    other(reply, noted(self.subscribe(&receiver, topics), &mut broken))
                }
                Command::Unsubscribe(receiver, topics, reply) => {
                    other(reply, noted(self.unsubscribe(&receiver, topics), &mut broken))
                }
                Command::Rare(call, _) => call.apply(self, &mut broken),
                Command::Sweep(now, reply) => other(reply, noted(self.sweep(now), &mut broken)),
                Command::Close(reply) => {
                    self.sync = true;
                    Settle::Done(reply, Ok(()))
                }
                #[cfg(test)]
                Command::Break(super::command::Breakage::Panic) => panic!("broken by a test"),
                #[cfg(test)]
                Command::Break(super::command::Breakage::Write) => {
                    broken = Some(Error::Failed("broken by a test".to_owned()));
                    continue;
                }
            });
        }
        match broken {
            Some(error) => return Err(error),
            None => {
                self.stage_outcomes()?;
                self.staged.write(self.sync)?;
            }
        }
        self.counters.writes.fetch_add(count, Ordering::Relaxed);
        self.counters.flushes.fetch_add(self.sync.into(), Ordering::Relaxed);
        self.batches += 1;
        if self.batches.is_multiple_of(BATCHES_PER_MEASURE) {
            self.measure();
        }
        Ok(())
    }

    /// Stages what was gathered to be written once a batch.
    fn stage_outcomes(&mut self) -> Result<(), Error> {
        self.book_counted()?;
        self.noted = self.stage_journals()?;
        self.stage_tags()?;
        self.outcomes.stage(&mut self.staged);
        self.quotas.stage(&mut self.staged);
        Ok(())
    }

    /// Tells of what the batch changed and appended. Before the answers: a device need not wait until the backends are answered, and
    /// who was answered knows that its push is on its way.
    fn announce(&mut self) {
        let (batch, noted) = (std::mem::take(&mut self.announced), std::mem::take(&mut self.noted));
        let recorded = std::mem::take(&mut self.recorded);
        let Some(listener) = self.listener.get() else { return };
        // First: what was revoked is not to be had by what was appended meanwhile.
        if !recorded.is_empty() {
            listener.recorded(recorded);
        }
        if !batch.is_empty() {
            listener.appended(batch);
        }
        if !noted.is_empty() {
            listener.noted(&noted);
        }
    }

    fn measure(&self) {
        // Not knowing the size harms nothing; a disk that really fails shows at the next write.
        if let Ok(bytes) = self.staged.disk_bytes() {
            self.counters.disk_bytes.store(bytes, Ordering::Relaxed);
        }
    }
}

impl Settle {
    /// Nobody may be waiting any more; the write stands all the same.
    fn tell(self, error: Option<&Error>) {
        match self {
            Self::Appended(reply, outcome) => drop(reply.send(error.map_or(outcome, |error| Err(error.clone())))),
            Self::Done(reply, outcome) => drop(reply.send(error.map_or(outcome, |error| Err(error.clone())))),
            Self::Other(tell) => tell(error),
        }
    }
}

/// An outcome of which there are few.
pub(super) fn other<T: 'static>(reply: Reply<T>, outcome: Result<T, Error>) -> Settle {
    Settle::Other(Box::new(move |error| drop(reply.send(error.map_or(outcome, |error| Err(error.clone()))))))
}

/// Notes the first failure. A failure of one command fails the batch: what it staged may be half.
pub(super) fn noted<T>(outcome: Result<T, Error>, broken: &mut Option<Error>) -> Result<T, Error> {
    if let Err(error @ Error::Failed(_)) = &outcome {
        broken.get_or_insert_with(|| error.clone());
    }
    outcome
}
