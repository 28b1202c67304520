//! Booking what became of messages: accepted, sent, acked, failed, given up, over. It decides what counts, and that
//! everything counts once; it moves no cursor and removes no entry.
//!
//! What a device has settled is in its cursor, and that is merged in the same batch as what is counted here. So an ack
//! counts if the cursor had not settled that place before, whoever reports it again after whatever crash.

use super::recent::Recent;
use super::record::{Fate, Message};
use super::staged::Staged;
use super::writer::Writer;
use super::{key, read, record};
use crate::model::clock::Timestamp;
use crate::model::cursor::Cursor;
use crate::model::id::{DeviceId, MessageId, Receiver};
use crate::model::log::{LogId, Offset};
use crate::model::message::Exclusion;
use crate::model::ranges::Ranges;
use crate::model::receipt::{End, Report, Reported, What};
use crate::store::{Append, Dead, Error};

/// What a commit did to a cursor.
pub(super) struct Moved {
    /// Of which log.
    pub(super) log: LogId,
    /// The cursor before it; of the same life of the log. What is booked is noted here, so that it is not booked twice.
    pub(super) before: Cursor,
    /// What the commit said is settled.
    pub(super) settled: Ranges,
}

impl Moved {
    /// Whether the message stands in this log.
    fn concerns(&self, message: &Message) -> bool {
        self.before.epoch == message.epoch && self.log == message.log
    }

    /// Whether the place was settled before.
    fn had(&self, offset: Offset) -> bool {
        self.before.settled.contains(offset.0)
    }

    /// Whether this commit settles the place. It is asked once: from then on it was settled before.
    pub(super) fn take(&mut self, offset: Offset) -> bool {
        let takes = self.settled.contains(offset.0) && !self.had(offset);
        if takes {
            self.before.settled.insert(offset.0, offset.0);
        }
        takes
    }

    /// Whether nothing was sent from this place before. It is asked once: from then on something was.
    fn send(&mut self, offset: Offset) -> bool {
        self.before.attempts.insert(offset, 0).is_none()
    }
}

/// The devices of the inbox's user among those that do not get a message; `None` stands for all of them.
pub(super) fn excluded(log: &LogId, exclude: &[Exclusion]) -> Vec<Option<DeviceId>> {
    let LogId::Inbox(_, user) = log else { return Vec::new() };
    exclude.iter().filter(|one| one.user == *user).map(|one| one.device.clone()).collect()
}

impl Writer {
    /// How many known devices a message to an inbox is for. One that becomes known later adds itself.
    pub(super) fn inbox_audience(&self, append: &Append, log: &record::Log) -> Result<u64, Error> {
        let mut excluded = excluded(&append.log, &append.wishes.exclude);
        if excluded.contains(&None) {
            return Ok(0);
        }
        if append.device.is_some() {
            return Ok(u64::from(!excluded.contains(&append.device)));
        }
        let mut audience = u64::from(log.followers);
        excluded.sort_unstable();
        excluded.dedup();
        for device in excluded.into_iter().flatten() {
            let LogId::Inbox(tenant, user) = &append.log else { break };
            let receiver = Receiver { tenant: tenant.clone(), user: user.clone(), device };
            audience -= u64::from(read::device(&self.staged, &receiver)?.is_some());
        }
        Ok(audience)
    }

    /// A message stands in its log since `now`, or waits for its time.
    pub(super) fn book_accepted(&mut self, message: Message, now: Timestamp) {
        if message.receipts {
            let what = match (message.fate, message.send_at) {
                (Fate::Scheduled, Some(send_at)) => What::Scheduled { send_at },
                _ => What::Accepted(message.counts),
            };
            self.journals.receipt(&message, now, None, &what);
            self.tags.accepted(&message);
        }
        self.outcomes.put(message);
    }

    /// A message is over. One that is over already stays as it is.
    pub(super) fn book_end(&mut self, message: &Message, end: End, at: Timestamp) -> Result<(), Error> {
        let Some(message) = self.outcomes.get(&self.staged, message.log.tenant(), message.id)? else { return Ok(()) };
        if matches!(message.fate, Fate::Ended(..)) {
            return Ok(());
        }
        message.fate = Fate::Ended(end, at);
        if message.receipts {
            let before = message.counts;
            message.counts.missed = before.waiting();
            self.journals.receipt(message, at, None, &What::Ended(end, message.counts));
            self.tags.counted(message, &before);
        }
        Ok(())
    }

    /// Before cursors are merged: notes in those of topics what was sent, so that it is known later that it was, and
    /// adds a cursor for each log that is reported of, so that it is known which of them the device follows.
    pub(super) fn mark_sent(
        &mut self,
        receiver: &Receiver,
        reports: &[Report],
        cursors: &mut Vec<(LogId, Cursor)>,
    ) -> Result<(), Error> {
        for report in reports {
            let Some(message) = self.outcomes.get(&self.staged, &receiver.tenant, report.message)? else { continue };
            if message.any_of_user && report.what == Reported::Acked {
                self.takers.push((message.id, report.at));
            }
            if !message.counts_at(report.at, matches!(report.what, Reported::Sent(_))) {
                continue;
            }
            let at = cursors.iter().position(|(log, _)| *log == message.log);
            let at = at.unwrap_or_else(|| {
                cursors.push((message.log.clone(), Cursor { epoch: message.epoch, ..Cursor::default() }));
                cursors.len() - 1
            });
            let cursor = &mut cursors[at].1;
            if !matches!(message.log, LogId::Inbox(..)) && cursor.epoch == message.epoch {
                cursor.attempts.entry(message.offset).or_default();
            }
        }
        Ok(())
    }

    /// Books what was reported with a commit whose cursors are merged. Ignored is what is known already, and what
    /// concerns a message that is over, or that the device does not follow.
    pub(super) fn book(&mut self, receiver: &Receiver, moves: &mut [Moved], reports: Vec<Report>) -> Result<(), Error> {
        for Report { message, at, what } in reports {
            self.now = at;
            let what = match what {
                Reported::Sent(attempt) => What::Sent { attempt },
                Reported::Acked => What::Acked,
                Reported::Nacked(attempt, reason) => What::Nacked { attempt, reason: reason.into_owned() },
            };
            self.book_one(receiver, moves, message, at, &what)?;
        }
        Ok(())
    }

    /// Books that a message was given up for a device, whose commit settles its place.
    pub(super) fn book_dead(
        &mut self,
        receiver: &Receiver,
        moved: &mut Moved,
        message: MessageId,
        dead: Dead,
    ) -> Result<(), Error> {
        let Dead { attempts, reason, at, .. } = dead;
        self.now = at;
        self.book_one(receiver, std::slice::from_mut(moved), message, at, &What::Dead { attempts, reason })
    }

    fn book_one(
        &mut self,
        receiver: &Receiver,
        moves: &mut [Moved],
        message: MessageId,
        at: Timestamp,
        what: &What,
    ) -> Result<(), Error> {
        let Some(message) = self.outcomes.get(&self.staged, &receiver.tenant, message)? else { return Ok(()) };
        let Some(moved) = moves.iter_mut().find(|moved| moved.concerns(message)) else { return Ok(()) };
        if !message.counts_at(at, matches!(what, What::Sent { .. })) || !message.concerns(&receiver.device) {
            return Ok(());
        }
        let settles = matches!(what, What::Acked | What::Dead { .. });
        let known = match what {
            What::Acked => !moved.take(message.offset),
            What::Dead { .. } => false,
            _ => moved.had(message.offset),
        };
        if known {
            return Ok(());
        }
        let before = message.counts;
        let first = if matches!(message.log, LogId::Inbox(..)) {
            let first = !message.lines.iter().any(|line| line.device == receiver.device && line.reached());
            if first && message.device.is_none() {
                // It was not known when the message was accepted, and adds itself.
                let joined = joined(&mut self.joined, &self.staged, receiver)?;
                message.counts.audience += u64::from(joined >= message.offset);
            }
            if !message.line(&receiver.device).note(at, what) {
                return Ok(());
            }
            self.journals.receipt(message, at, Some((&receiver.user, &receiver.device)), what);
            first
        } else {
            let first = moved.send(message.offset);
            if first || settles {
                self.pace.changed(message);
            }
            first
        };
        let counts = &mut message.counts;
        counts.sent += u64::from(first);
        counts.acked += u64::from(matches!(what, What::Acked));
        counts.dead += u64::from(matches!(what, What::Dead { .. }));
        // Whoever was not counted in, for whatever reason, counts from now on: the sum is always the audience.
        counts.audience = counts.audience.max(counts.sent).max(counts.acked + counts.dead);
        if matches!(message.fate, Fate::Ended(..)) {
            // Who is counted in after the end has missed it.
            counts.missed += counts.audience - before.audience;
        }
        self.tags.counted(message, &before);
        Ok(())
    }

    /// Tells of counts that have changed, where it was not told within the last second.
    pub(super) fn book_counted(&mut self) -> Result<(), Error> {
        let now = self.now;
        for (tenant, id) in self.pace.due(now) {
            let Some(message) = self.outcomes.look(&self.staged, &tenant, id)? else { continue };
            if message.fate == Fate::Standing {
                self.journals.receipt(&message, now, None, &What::Counted(message.counts));
            }
        }
        Ok(())
    }
}

impl Message {
    /// Whether what happened then counts: its sender wants to know, and it was not over. That it was sent is told later than
    /// it happened, perhaps after the end; it settles nothing, so it may still be noted.
    fn counts_at(&self, at: Timestamp, sent: bool) -> bool {
        let stood = match self.fate {
            Fate::Standing => true,
            Fate::Ended(_, ended) => sent && at <= ended,
            Fate::Scheduled => false,
        };
        self.receipts && stood && at < self.expires_at
    }

    /// Whether it is for this device, if that is for its record to say.
    pub(super) fn concerns(&self, device: &DeviceId) -> bool {
        let excluded = self.excluded.iter().any(|one| one.as_ref().is_none_or(|one| one == device));
        self.device.as_ref().is_none_or(|only| only == device) && !excluded
    }
}

/// How far the inbox of a device was when it became known; zero when it is not.
fn joined(recent: &mut Recent<Offset>, staged: &Staged, receiver: &Receiver) -> Result<Offset, Error> {
    let key = key::device(receiver);
    if let Some(joined) = recent.get(&key) {
        return Ok(*joined);
    }
    let joined = read::device(staged, receiver)?.map(|device| device.joined).unwrap_or_default();
    recent.put_owned(key, joined);
    Ok(joined)
}
