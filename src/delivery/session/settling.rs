//! How a session settles pushes: acks, nacks, acks that did not come, and the commit of what they changed.

use std::borrow::Cow;
use std::time::Duration;

use crate::delivery::session::{Output, Phase, Session};
use crate::model::clock::{Moment, Now};
use crate::model::cursor::Dead;
use crate::model::fault::{Code, Fault};
use crate::model::frame::{Ack, Answer, Ticket, Verdict};
use crate::model::id::MessageId;
use crate::model::log::LogId;
use crate::model::message::Entry;
use crate::model::receipt::{Report, Reported};

/// Acks that may wait for a commit that is out. A guess: far more than the streams of a connection.
const WAITING_MAX: usize = 1024;

/// Reports that may wait, for each push of the window, and the least window that is reckoned with. Full: nothing is sent
/// until they are written. A delivery makes two as a rule, one when it is sent and one when it is settled; twice that lets
/// acks and sends go on while a write is out.
const REPORTS_A_PUSH: usize = 4;
const REPORTS_WINDOW_MIN: usize = 16;

/// How long the word that a push was sent waits for an ack to share its commit. From an inbox: somebody may be waiting
/// for it, and as a rule the ack comes within a round trip.
const SENT_WAITS: Duration = Duration::from_secs(1);

/// The same of a topic or the broadcast log, and after a commit that failed: one push reaches a whole crowd at once, and
/// those that do not ack at once shall not all write at once. A guess.
const CROWD_WAITS: Duration = Duration::from_secs(15);

/// Acks on their way to the store.
#[derive(Debug)]
pub(super) struct Settling {
    /// Requests that the commit that is out will answer, and the logs it writes; `None` while no commit is out.
    under_way: Option<Box<UnderWay>>,
    /// Requests that the next commit will answer. Bounded by [`WAITING_MAX`]: a device that resets its streams may send
    /// more than it has.
    waiting: Vec<(Ticket, Answer)>,
    /// Messages given up and not yet committed. Bounded by the window.
    dead: Vec<Dead>,
    /// What happened to deliveries and is not yet committed. Bounded by [`REPORTS_A_PUSH`] and what settles then.
    reports: Vec<Report>,
    /// When the reports are committed without an ack; [`Moment::NEVER`] while there are none.
    reports_at: Moment,
    /// The last commit failed: the next one waits for an ack or its moment, so that a store in trouble is not pressed.
    failed: bool,
}

impl Default for Settling {
    fn default() -> Self {
        Self {
            under_way: None,
            waiting: Vec::new(),
            dead: Vec::new(),
            reports: Vec::new(),
            reports_at: Moment::NEVER,
            failed: false,
        }
    }
}

impl Settling {
    /// When something must be committed, if a commit can begin.
    pub(super) fn reports_at(&self) -> Moment {
        if self.under_way.is_none() { self.reports_at } else { Moment::NEVER }
    }

    /// Whether as many reports wait as may, with a window of so many pushes.
    pub(super) fn is_full(&self, window: u32) -> bool {
        let under_way = self.under_way.as_ref().map_or(0, |under_way| under_way.reports.len());
        self.reports.len() + under_way >= REPORTS_A_PUSH * REPORTS_WINDOW_MIN.max(window as usize)
    }

    fn report(&mut self, message: MessageId, what: Reported, now: Now, waits: Duration) {
        self.reports.push(Report { message, at: now.wall, what });
        self.reports_at = self.reports_at.min(now.moment + waits);
    }
}

/// How long a report about a push of this log may wait.
const fn waits(log: &LogId) -> Duration {
    match log {
        LogId::Inbox(..) => SENT_WAITS,
        LogId::Topic(..) | LogId::Broadcast(_) => CROWD_WAITS,
    }
}

/// The commit that is out.
#[derive(Debug, Default)]
struct UnderWay {
    answering: Vec<(Ticket, Answer)>,
    logs: Vec<LogId>,
    dead: Vec<Dead>,
    reports: Vec<Report>,
}

impl Session {
    /// The device settles pushes. All of the request is checked before any of it is applied.
    pub(super) fn ack(&mut self, now: Now, ticket: Ticket, ack: &Ack, out: &mut Vec<Output>) {
        if let Err(fault) = self.check(ack) {
            return out.push(Output::Answer(ticket, Err(fault)));
        }
        if self.settling.waiting.len() >= WAITING_MAX {
            let words = "more acks wait for the store than may; send fewer, with more ranges each";
            return out.push(Output::Answer(ticket, Err(Fault::new(Code::StoreBusy, words))));
        }
        let (mut settled, mut named) = (0, 0_u64);
        for &(from, upto) in &ack.acked {
            named += upto - from + 1;
            for seq in self.window.named(from, upto) {
                self.settle(now, seq);
                settled += 1;
            }
        }
        self.tally.acked += u64::from(settled);
        for nack in &ack.nacked {
            named += 1;
            let reject = nack.verdict == Verdict::Reject;
            // A delivery fails once: a nack that comes again, or after the ack timeout, must not count as another one.
            // A rejection holds whichever delivery it names.
            let known = if reject { self.window.named(nack.seq, nack.seq) } else { vec![nack.seq] };
            let Some(&seq) = known.first().filter(|&&seq| reject || self.window.awaits_ack(seq)) else { continue };
            self.failed(now, seq, reject, nack.reason.clone());
            self.tally.nacked += 1;
            settled += 1;
        }
        let already_settled = u32::try_from(named.saturating_sub(settled.into())).unwrap_or(u32::MAX);
        self.settling.waiting.push((ticket, Answer::Acked { settled, already_settled }));
        self.commit(out);
    }

    fn check(&self, ack: &Ack) -> Result<(), Fault> {
        if self.over() {
            return Err(Fault::new(Code::SessionEnded, "the session has ended; what is not acked will be redelivered"));
        }
        let session = self.terms.welcome.session.to_string();
        if !ack.session.is_empty() && ack.session != session {
            let words = format!("this connection's session is {session}; seqs of another session mean nothing here");
            return Err(Fault::new(Code::SessionMismatch, words));
        }
        let last = self.window.last_seq();
        let acked = ack.acked.iter().map(|&(_, upto)| upto);
        match acked.chain(ack.nacked.iter().map(|nack| nack.seq)).find(|&seq| seq > last) {
            Some(seq) => {
                let words = format!("seq {seq} was not sent yet, the newest is {last}; nothing was applied");
                Err(Fault::new(Code::FutureSeq, words))
            }
            None => Ok(()),
        }
    }

    /// A push was handled.
    fn settle(&mut self, now: Now, seq: u64) {
        let Some(flight) = self.window.remove(seq) else { return };
        let Some((log, offset)) = flight.place else { return };
        if let Some(message) = flight.reported {
            self.settling.report(message, Reported::Acked, now, waits(&log));
        }
        if let Ok(at) = self.position(&log) {
            self.feeds[at].settle(offset, offset);
            self.queue(at);
        }
    }

    /// A push was or is just being sent for the next time.
    pub(super) fn report_sent(&mut self, now: Now, at: usize, attempts: u32, entry: &Entry) {
        if entry.receipts {
            let waits = waits(&self.feeds[at].log);
            self.settling.report(entry.id, Reported::Sent(attempts + 1), now, waits);
        }
    }

    /// A delivery failed: the push rests and comes again, or is dead.
    pub(super) fn failed(&mut self, now: Now, seq: u64, reject: bool, reason: impl Into<Cow<'static, str>>) {
        let Some(flight) = self.window.flight(seq) else { return };
        // A rejection may come when the delivery has failed already.
        let failed = self.window.awaits_ack(seq);
        let (attempts, reported) = (flight.attempts + u32::from(failed), flight.reported.filter(|_| failed));
        let Some((log, offset)) = flight.place.clone() else {
            self.window.remove(seq);
            return;
        };
        let Ok(at) = self.position(&log) else { return };
        let reason = reason.into();
        if let Some(message) = reported {
            self.settling.report(message, Reported::Nacked(attempts, reason.clone()), now, waits(&log));
        }
        if reject || attempts >= self.options.attempts_max {
            self.window.remove(seq);
            self.feeds[at].settle(offset, offset);
            self.tally.dead += 1;
            self.settling.dead.push(Dead { log, offset, attempts, reason: reason.into_owned(), at: now.wall });
            return;
        }
        let feed = &mut self.feeds[at];
        feed.cursor.attempts.insert(offset, attempts);
        feed.changed = true;
        let doublings = (attempts - 1).min(16);
        let pause = (self.options.retry_pause_first * (1 << doublings)).min(self.options.retry_pause_max);
        let pause = pause + self.chance(pause / 4);
        self.window.rest(seq, attempts, now.moment + pause);
    }

    /// Commits dead messages, and reports whose moment has come, without waiting for an ack.
    pub(super) fn commit_due(&mut self, now: Now, out: &mut Vec<Output>) {
        if !self.settling.dead.is_empty() || now.moment >= self.settling.reports_at {
            self.commit(out);
        }
    }

    /// Commits reports that would keep the session from sending.
    pub(super) fn commit_if_full(&mut self, out: &mut Vec<Output>) {
        if !self.settling.failed && self.settling.is_full(self.window_size) {
            self.commit(out);
        }
    }

    /// Writes what has changed, unless a commit is out: then the next one takes it along, so that acks that come while
    /// the store writes share a write.
    fn commit(&mut self, out: &mut Vec<Output>) {
        if self.settling.under_way.is_some() {
            return;
        }
        let mut cursors = Vec::new();
        for feed in self.feeds.iter_mut().filter(|feed| feed.changed) {
            feed.changed = false;
            cursors.push((feed.log.clone(), feed.cursor.clone()));
        }
        let answering = std::mem::take(&mut self.settling.waiting);
        let dead = std::mem::take(&mut self.settling.dead);
        let reports = std::mem::take(&mut self.settling.reports);
        self.settling.reports_at = Moment::NEVER;
        if cursors.is_empty() && dead.is_empty() && reports.is_empty() {
            out.extend(answering.into_iter().map(|(ticket, answer)| Output::Answer(ticket, Ok(answer))));
            return;
        }
        let logs = cursors.iter().map(|(log, _)| log.clone()).collect();
        let kept = UnderWay { answering, logs, dead: dead.clone(), reports: reports.clone() };
        self.settling.under_way = Some(Box::new(kept));
        out.push(Output::Commit(cursors, dead, reports));
    }

    /// The store has answered a commit. After a failure the changes wait for the next ack, the moment of the reports among
    /// them, or the end of the session.
    pub(super) fn committed(&mut self, now: Now, result: Result<(), Fault>, out: &mut Vec<Output>) {
        let Some(under_way) = self.settling.under_way.take() else { return };
        for (ticket, answer) in under_way.answering {
            out.push(Output::Answer(ticket, result.clone().map(|()| answer)));
        }
        let failed = result.is_err();
        self.settling.failed = failed;
        if failed {
            for log in &under_way.logs {
                if let Ok(at) = self.position(log) {
                    self.feeds[at].changed = true;
                }
            }
            self.settling.dead.splice(0..0, under_way.dead);
            self.settling.reports.splice(0..0, under_way.reports);
            if !self.settling.reports.is_empty() {
                self.settling.reports_at = now.moment + CROWD_WAITS;
            }
        }
        match self.phase {
            Phase::Closing(_) if failed => {
                for (ticket, _) in std::mem::take(&mut self.settling.waiting) {
                    out.push(Output::Answer(ticket, Err(Fault::new(Code::SessionEnded, "the session has ended"))));
                }
                self.closed(out);
            }
            Phase::Closing(_) => self.settle_accounts(out),
            _ if !self.settling.waiting.is_empty() => self.commit(out),
            _ if !failed => self.commit_due(now, out),
            _ => {}
        }
    }

    /// Closing: writes what is left to write, then it is over.
    pub(super) fn settle_accounts(&mut self, out: &mut Vec<Output>) {
        self.commit(out);
        if self.settling.under_way.is_none() {
            self.closed(out);
        }
    }

    fn closed(&mut self, out: &mut Vec<Output>) {
        if let Phase::Closing(reason) = std::mem::replace(&mut self.phase, Phase::Closed) {
            out.push(Output::Closed(reason));
        }
    }

    /// A random span up to `most`.
    pub(super) fn chance(&mut self, most: Duration) -> Duration {
        // SplitMix64: one addition of state, good enough to spread a crowd.
        let seed = &mut self.terms.seed;
        *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        let most = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(if most == 0 { 0 } else { z % most })
    }
}
