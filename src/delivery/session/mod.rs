//! A device's delivery state while it is connected: a set of cursors on logs, and what is in flight. Input and time go
//! in, wishes come out; the caller performs all of them before the next input.
//!
//! ```text
//!          start                  Drain                 grace over, or any reason to close
//!  (new) ────────▶ Open ────────────────▶ Moving ─────┐
//!                   │                                 ▼   last commit answered
//!                   └──────── reason to close ─────▶ Closing ─────────────────▶ Closed
//! ```
//!
//! Open: reads, sends, settles. Moving: settles, sends nothing new. Closing: waits only for the commit that is out.
//! At most one read and one commit are out at any time.

mod quiet;
mod reading;
mod settling;
mod standing;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::delivery::feed::Feed;
use crate::delivery::heartbeat::{Due, Heartbeat};
use crate::delivery::lease::{self, Lease, Life};
use crate::delivery::options::Options;
use crate::delivery::window::{Lapse, Window};
use crate::model::clock::{Moment, Now};
use crate::model::close::CloseReason;
use crate::model::cursor::{Cursor, Dead, Following};
use crate::model::fault::Fault;
use crate::model::frame::{Ack, Answer, Frame, Resume, ResumeOutcome, Ticket, Welcome};
use crate::model::id::{DeviceId, DeviceNumber, UserId};
use crate::model::log::{Epoch, Head, LogId, Offset};
use crate::model::message::{Entry, Page, Urgency};
use crate::model::receipt::Report;
use crate::zone::Hours;

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// Bytes arrived from the device.
    Heard,
    /// So many bytes of frames are queued and not on the wire.
    Unsent(usize),
    /// The device settles pushes.
    Ack(Ticket, Ack),
    /// The device changes what it accepts.
    Update(Ticket, Option<Urgency>, Option<u32>),
    /// The device goes on with another token, which was checked and is good for so long.
    Renew(Ticket, Life),
    /// A hint: a log has grown.
    Grown {
        /// Which log.
        log: LogId,
        /// Its life.
        epoch: Epoch,
        /// Its newest offset.
        last: Offset,
        /// The entry there.
        entry: Option<Entry>,
    },
    /// A push that is in no log.
    Online(Entry),
    /// The answer to [`Output::Read`]; `None` when the store failed.
    Page(Option<Page>),
    /// The answer to [`Output::Heads`], in its order; empty when the store failed.
    Heads(Vec<(LogId, Head)>),
    /// The answer to [`Output::Commit`].
    Committed(Result<(), Fault>),
    /// The device follows more logs; those it follows already are ignored.
    Followed(Vec<Following>),
    /// What the device follows, or what its user wants, has changed and is being read: nothing is sent until it is known,
    /// because some of it may be for this device no more.
    Refreshing,
    /// All logs that the device follows now, as the store has them, and the user's quiet hours.
    Refreshed(Vec<Following>, Option<Hours>),
    /// The moment of [`Session::deadline`] has come.
    Deadline,
    /// The device shall go: after `grace` the session closes.
    Drain {
        /// When it may return.
        return_after: Duration,
        /// How long it has.
        grace: Duration,
        /// Where to; empty: where it was.
        nodes: Arc<[String]>,
    },
    /// The session ends now.
    Close(CloseReason),
    /// The device is gone: nothing can be said to it any more.
    Gone,
}

/// What the session wants done.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Queue a frame.
    Send(Frame),
    /// Answer a request.
    Answer(Ticket, Result<Answer, Fault>),
    /// Read a log; the answer is [`Input::Page`].
    Read {
        /// Which log.
        log: LogId,
        /// Entries after this offset.
        after: Offset,
        /// At most so many.
        entries: usize,
        /// And no more when so many bytes are reached.
        bytes: usize,
    },
    /// Read heads; the answer is [`Input::Heads`].
    Heads(Vec<LogId>),
    /// Write cursors, and what happened to deliveries; the answer is [`Input::Committed`].
    Commit(Vec<(LogId, Cursor)>, Vec<Dead>, Vec<Report>),
    /// Send a heartbeat.
    Ping,
    /// It is over: end the stream after what is queued. `None`: the device left by itself. Nothing comes
    /// after it but refusals of late requests.
    Closed(Option<CloseReason>),
}

/// Where the session is, see the picture at the top.
#[derive(Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// Closes with [`CloseReason::Drain`] at this moment.
    Moving(Moment),
    /// Waits for the commit that is out; `None` when the device left by itself.
    Closing(Option<CloseReason>),
    Closed,
}

/// The read that is out.
#[derive(Debug)]
enum Reading {
    /// The next piece of a log.
    Next(LogId, Offset),
    /// A push that is due again, by its seq.
    Again(u64, LogId, Offset),
    /// Its log is not followed any more, or is to be read from another place: the page is thrown away.
    Stale,
}

/// Counts of a session, for metrics and for the bounds that tests check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Pushes sent, redeliveries among them.
    pub sent: u64,
    /// Redeliveries.
    pub again: u64,
    /// Pushes acked.
    pub acked: u64,
    /// Pushes nacked by the device.
    pub nacked: u64,
    /// Acks that did not come in time.
    pub lapsed: u64,
    /// Messages given up.
    pub dead: u64,
    /// Reads asked for.
    pub reads: u64,
    /// Online-only pushes that found no room.
    pub dropped: u64,
}

/// What was agreed when the session was opened.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The device, to leave out what is for another one.
    pub device: DeviceId,
    /// Its user, to leave out what is not for it.
    pub user: UserId,
    /// Its number, to find it in audiences.
    pub number: DeviceNumber,
    /// The first frame; its `resume` is filled in by [`Session::start`].
    pub welcome: Welcome,
    /// Least urgency to send, whatever the time of day.
    pub urgency_floor: Urgency,
    /// The user's quiet hours; taken by [`Session::start`].
    pub quiet: Option<Hours>,
    /// How long the access token is good.
    pub lease: Lease,
    /// Chance, for pauses and returns.
    pub seed: u64,
}

impl Terms {
    /// Whether an entry of a followed log is for this device.
    fn meets(&self, entry: &Entry) -> bool {
        entry.device.as_ref().is_none_or(|only| *only == self.device)
            && entry.aim.as_ref().is_none_or(|aim| aim.meets(&self.user, &self.device, self.number))
    }
}

/// The machine.
#[derive(Debug)]
pub struct Session {
    options: Arc<Options>,
    terms: Terms,
    phase: Phase,
    /// T2.
    heartbeat: Heartbeat,
    /// Followed logs, sorted by [`Feed::log`].
    feeds: Vec<Feed>,
    /// Logs with something to read, in turn. A feed that is not `queued` any more is passed over.
    turns: VecDeque<LogId>,
    window: Window,
    /// Agreed size of the window.
    window_size: u32,
    /// Bytes queued and not on the wire: what was last reported, plus what was sent since (by estimate).
    unsent: usize,
    /// Since when nothing of what is queued went on the wire; [`Moment::NEVER`] while nothing is queued.
    stalled_since: Moment,
    reading: Option<Reading>,
    settling: settling::Settling,
    /// The user's quiet hours, on the heap because few have some.
    quiet: Option<Box<quiet::Quiet>>,
    /// What it follows is being read anew: nothing is sent meanwhile.
    held: bool,
    /// Heads are read at this moment; [`Moment::NEVER`] while they are being read.
    heads_at: Moment,
    tally: Tally,
}

impl Session {
    /// Opens a session: welcomes the device and begins to deliver.
    #[must_use]
    pub fn start(
        options: Arc<Options>,
        mut terms: Terms,
        new: bool,
        following: Vec<Following>,
        now: Now,
        out: &mut Vec<Output>,
    ) -> Self {
        terms.welcome.resume = resume(new, &following);
        let plan = terms.welcome.heartbeat;
        let mut session = Self {
            phase: Phase::Open,
            heartbeat: Heartbeat::new(plan.server_interval, plan.timeout, now.moment),
            feeds: Vec::with_capacity(following.len()),
            turns: VecDeque::new(),
            window: Window::default(),
            window_size: terms.welcome.window,
            unsent: 0,
            stalled_since: Moment::NEVER,
            reading: None,
            settling: settling::Settling::default(),
            quiet: None,
            held: false,
            heads_at: now.moment + options.heads_interval,
            tally: Tally::default(),
            options,
            terms,
        };
        out.push(Output::Send(Frame::Welcome(Box::new(session.terms.welcome.clone()))));
        // The lists of topics have been said; the session does not need them again.
        (session.terms.welcome.topics, session.terms.welcome.group_topics) = (Vec::new(), Vec::new());
        let quiet = session.terms.quiet.take();
        session.set_quiet(now, quiet);
        session.follow(following);
        session.pump(out);
        session
    }

    /// Takes an input.
    pub fn handle(&mut self, now: Now, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Committed(result) => self.committed(now, result, out),
            Input::Ack(ticket, ack) => self.ack(now, ticket, &ack, out),
            _ if self.over() => {}
            Input::Heard => self.heartbeat.heard(now.moment),
            Input::Unsent(bytes) => self.unsent(now, bytes),
            Input::Update(ticket, floor, window) => self.update(ticket, floor, window, out),
            Input::Renew(ticket, life) => {
                self.terms.lease = Lease::new(life, now);
                out.push(Output::Answer(ticket, Ok(Answer::Renewed { expires_at: life.expires_at })));
            }
            Input::Grown { log, epoch, last, entry } => self.grown(now, &log, epoch, last, entry, out),
            Input::Online(entry) => self.online(now, entry, out),
            Input::Page(Some(page)) => self.page(now, page, out),
            Input::Page(None) => self.close(CloseReason::StoreFailed, out),
            Input::Heads(heads) => self.heads(now, heads),
            Input::Followed(following) => self.follow(following),
            Input::Refreshing => self.held = true,
            Input::Refreshed(following, quiet) => self.refreshed(now, following, quiet),
            Input::Deadline => self.lapse(now, out),
            Input::Drain { return_after, grace, nodes } => self.drain(now, (return_after, grace), nodes, out),
            Input::Close(reason) => self.close(reason, out),
            Input::Gone => {
                self.phase = Phase::Closing(None);
                self.settle_accounts(out);
            }
        }
        self.commit_if_full(out);
        self.pump(out);
    }

    /// When to give [`Input::Deadline`] at the latest.
    #[must_use]
    pub fn deadline(&self) -> Moment {
        let moving = match self.phase {
            Phase::Open => Moment::NEVER,
            Phase::Moving(until) => until,
            Phase::Closing(_) | Phase::Closed => return Moment::NEVER,
        };
        let stall = self.stalled_since + self.options.write_stall;
        let quiet = self.quiet.as_ref().map_or(Moment::NEVER, |quiet| quiet.look_at());
        let (reports, token) = (self.settling.reports_at(), self.terms.lease.deadline());
        [self.heartbeat.deadline(), self.window.deadline(), self.heads_at, stall, token, moving, quiet, reports]
            .into_iter()
            .min()
            .unwrap_or(Moment::NEVER)
    }

    /// Whether the session closes or is closed: it takes nothing new.
    #[must_use]
    pub const fn over(&self) -> bool {
        matches!(self.phase, Phase::Closing(_) | Phase::Closed)
    }

    /// Whether it follows a log.
    #[must_use]
    pub fn follows(&self, log: &LogId) -> bool {
        self.position(log).is_ok()
    }

    /// What it has done so far.
    #[must_use]
    pub const fn tally(&self) -> Tally {
        self.tally
    }

    /// Pushes in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.window.len()
    }

    /// Whether all that waited in the logs was sent, but for what is held back. Cheap while it is not so.
    #[must_use]
    pub fn caught_up(&self) -> bool {
        self.reading.is_none() && self.turns.is_empty() && !self.feeds.iter().any(Feed::behind)
    }

    fn unsent(&mut self, now: Now, bytes: usize) {
        if bytes == 0 {
            self.window.flushed();
            self.stalled_since = Moment::NEVER;
        } else if bytes < self.unsent || self.stalled_since == Moment::NEVER {
            self.stalled_since = now.moment;
        }
        self.unsent = bytes;
    }

    fn update(&mut self, ticket: Ticket, floor: Option<Urgency>, window: Option<u32>, out: &mut Vec<Output>) {
        if let Some(floor) = floor {
            let before = self.floor();
            self.terms.urgency_floor = floor;
            self.floor_was(before);
        }
        if let Some(window) = window {
            self.window_size =
                if window == 0 { self.options.window_default } else { window.min(self.options.window_max) };
        }
        let answer = Answer::Updated { urgency_floor: self.terms.urgency_floor, window: self.window_size };
        out.push(Output::Answer(ticket, Ok(answer)));
    }

    fn lapse(&mut self, now: Now, out: &mut Vec<Output>) {
        match self.heartbeat.due(now.moment) {
            Due::Nothing => {}
            Due::Beat => out.push(Output::Ping),
            Due::Dead => return self.close(CloseReason::HeartbeatTimeout, out),
        }
        if now.moment >= self.stalled_since + self.options.write_stall {
            return self.close(CloseReason::SlowConsumer, out);
        }
        match self.terms.lease.due(now.moment) {
            lease::Due::Nothing => {}
            lease::Due::Notice(expires_at) => out.push(Output::Send(Frame::TokenExpiring { expires_at })),
            lease::Due::Over => return self.close(CloseReason::TokenExpired, out),
        }
        if matches!(self.phase, Phase::Moving(until) if now.moment >= until) {
            return self.close(CloseReason::Drain, out);
        }
        while let Some(lapse) = self.window.lapse(now.moment, self.options.ack_timeout) {
            if let Lapse::Unacked(seq) = lapse {
                self.tally.lapsed += 1;
                self.failed(now, seq, false, "ack_timeout");
            }
        }
        self.commit_due(now, out);
        self.look_at_quiet(now);
        if now.moment >= self.heads_at {
            self.heads_at = Moment::NEVER;
            out.push(Output::Heads(self.feeds.iter().map(|feed| feed.log.clone()).collect()));
        }
    }

    fn drain(
        &mut self,
        now: Now,
        (return_after, grace): (Duration, Duration),
        nodes: Arc<[String]>,
        out: &mut Vec<Output>,
    ) {
        if self.phase == Phase::Open {
            self.phase = Phase::Moving(now.moment + grace);
            out.push(Output::Send(Frame::Move { return_after, grace, nodes }));
        }
    }

    fn close(&mut self, reason: CloseReason, out: &mut Vec<Output>) {
        let (least, most) = reason.return_within();
        let return_after = least + self.chance(most.saturating_sub(least));
        out.push(Output::Send(Frame::Close { reason: reason.clone(), return_after }));
        self.phase = Phase::Closing(Some(reason));
        self.settle_accounts(out);
    }
}

fn resume(new: bool, following: &[Following]) -> Resume {
    let mut resume = Resume { outcome: ResumeOutcome::Resumed, waiting: 0, missed: 0 };
    for Following { cursor, head, .. } in following {
        let void = cursor.epoch != head.epoch;
        let unsettled = |upto: u64| if void { upto } else { upto - cursor.settled.count(1, upto) };
        let missed = if new { 0 } else { unsettled(head.trimmed.0) };
        resume.waiting += unsettled(head.last.0) - unsettled(head.trimmed.0);
        resume.missed += missed;
        if missed > 0 || (void && !new) {
            resume.outcome = ResumeOutcome::Gap;
        }
    }
    if new {
        resume.outcome = ResumeOutcome::New;
    }
    resume
}

#[cfg(test)]
mod tests;
