//! The client's decisions, without I/O, clock or chance: when to connect, what reaches the program, what is acked when,
//! when the gateway is dead. `connection` performs them.

use std::time::Duration;

use crate::client::acks::{Acks, Batch};
use crate::client::backoff::Backoff;
use crate::client::error::Error;
use crate::client::incoming::{Arrival, Incoming};
use crate::client::options::Options;
use crate::client::pass::Pass;
use crate::client::push::Settlement;
use crate::client::route::Route;
use crate::client::seen::{Known, Seen};
use crate::client::status::{Phase, Session, Status};
use crate::delivery::heartbeat::{Due, Heartbeat};
use crate::model::clock::Moment;
use crate::model::frame::{Nack, Verdict};
use crate::model::id::MessageId;

/// A session that lived so long was a good one: the next failure is a first failure. A guess, longer than a gateway
/// that crashes on each welcome lives.
const GOOD_SESSION: Duration = Duration::from_secs(10);
/// Longest pause before a failed ack is sent again. A guess, well below the usual ack timeout of 30 s.
const ACK_PAUSE_MAX: Duration = Duration::from_secs(5);

/// What happened.
#[derive(Debug)]
pub(super) enum Input {
    /// Begin. Once, before all others.
    Start,
    /// Bytes came from the gateway at this time: any count as life.
    Heard,
    /// A frame came on the push stream.
    Frame(Incoming),
    /// The connection, or the attempt to make one, failed.
    Lost(Error),
    /// The program settled a push.
    Settled(MessageId, Settlement),
    /// The ack request that was out is answered.
    AckAnswered(Result<(), Error>),
    /// The gateway agreed to another window.
    Window(u32),
    /// The connection that is being made got a token: when to get the next one, and where the gateway wants the device.
    Granted(Option<Duration>, Vec<String>),
    /// What getting a token for the open session came to: when to get the next one.
    Renewed(Result<Option<Duration>, Error>),
    /// Confirm all acks handed in so far, then say so under this number.
    Flush(u64),
    /// Confirm all acks, say so under this number, and end.
    Close(u64),
    /// The deadline passed.
    Deadline,
}

/// What to do. All of it is done, in order, before the next input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// Make a connection to [`Core::node`], with a token of its own if [`Core::wants_token`], and open the push stream.
    Connect,
    /// Get another token and give it to the session.
    Renew,
    /// Let go of the connection or of the attempt to make one; nothing of it may be fed in any more.
    Disconnect,
    /// Send a heartbeat.
    Ping,
    /// Give the program a push.
    Deliver(Box<Arrival>),
    /// Send an ack request; none is out.
    Ack {
        /// Session that it is for.
        session: String,
        /// What it says.
        batch: Batch,
    },
    /// Answer the flush or close of this number.
    Flushed(u64, Result<(), Error>),
    /// Show the program this state.
    Report(Box<Status>),
    /// All is over; the last output.
    End,
}

/// Where the client stands.
///
/// ```text
///   Start ──▶ Connecting ──welcome──▶ Open ──move──▶ (Open until the time to move) ──▶ Connecting
///                │  ▲                  │
///           lost │  │ pause is over    │ lost, silent, close that may return
///                ▼  │                  ▼
///               Waiting ◀──────────────┘
///
///   any ──terminal error, close by the program──▶ Over
/// ```
#[derive(Debug)]
enum State {
    /// An attempt runs; it fails at `until`.
    Connecting { until: Moment },
    /// The session is open.
    Open(Box<Open>),
    /// A pause before the next attempt.
    Waiting { until: Moment },
    /// Nothing happens any more.
    Over,
}

/// An open session.
#[derive(Debug)]
struct Open {
    /// What was agreed.
    session: Session,
    /// T1.
    heartbeat: Heartbeat,
    /// Seq of the newest push.
    last_seq: u64,
    /// When the welcome came.
    since: Moment,
    /// When to connect anew, if the gateway asked for it.
    move_at: Option<Moment>,
}

/// The machine.
#[derive(Debug)]
pub(super) struct Core {
    state: State,
    /// What the program sees.
    status: Status,
    /// Messages known by id; outlives sessions.
    seen: Seen,
    /// Acks of the open session.
    acks: Acks,
    /// Where to connect.
    route: Route,
    /// The state of the access token.
    pass: Pass,
    /// Pauses between attempts.
    reconnect: Backoff,
    /// Pauses between attempts of one ack request.
    retry: Backoff,
    /// Flushes that wait: the number to answer, and the batch whose confirmation they wait for.
    flushes: Vec<(u64, u64)>,
    /// The close that waits, and when it stops waiting.
    closing: Option<(u64, Moment)>,
    /// Settlements that no open session will confirm: cut off, or made since. Zero again with a new session.
    loose: u64,
    /// See [`Options::attempt_timeout`].
    attempt_timeout: Duration,
    /// See [`Options::request_timeout`].
    request_timeout: Duration,
}

impl Core {
    /// A client that has not begun. The options were checked.
    pub(super) fn new(options: &Options, seed: u64) -> Self {
        let ack_pause_max = ACK_PAUSE_MAX.min(options.reconnect_max);
        Self {
            state: State::Waiting { until: Moment::NEVER },
            status: Status::default(),
            seen: Seen::new(options.remembered as usize),
            acks: Acks::new(options.ack_count, options.ack_delay),
            route: Route::default(),
            pass: Pass::new(options.provider.is_some(), !options.token.is_empty(), seed.rotate_left(32)),
            reconnect: Backoff::new(options.reconnect_base, options.reconnect_max, seed),
            retry: Backoff::new(options.reconnect_base.min(ack_pause_max), ack_pause_max, !seed),
            flushes: Vec::new(),
            closing: None,
            loose: 0,
            attempt_timeout: options.attempt_timeout,
            request_timeout: options.request_timeout,
        }
    }

    /// Takes an input; appends what is to be done.
    pub(super) fn handle(&mut self, now: Moment, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Start => self.connect(now, out),
            Input::Heard => {
                if let State::Open(open) = &mut self.state {
                    open.heartbeat.heard(now);
                }
            }
            Input::Frame(frame) => self.frame(now, frame, out),
            Input::Lost(why) => self.lost(now, why, None, out),
            Input::Settled(id, settlement) => self.settled(now, id, settlement),
            Input::AckAnswered(result) => self.ack_answered(now, result, out),
            Input::Window(window) => self.window(window, out),
            Input::Granted(refresh_after, nodes) => {
                self.pass.got(now, refresh_after);
                self.route.set(nodes);
            }
            Input::Renewed(result) => self.renewed(now, result, out),
            Input::Flush(number) => self.flush(number, out),
            Input::Close(number) => self.close(now, number, out),
            Input::Deadline => self.tick(now, out),
        }
        self.send_acks(now, out);
    }

    /// When to feed [`Input::Deadline`]. Feeding it earlier is harmless.
    pub(super) fn deadline(&self) -> Moment {
        let own = match &self.state {
            State::Connecting { until } | State::Waiting { until } => *until,
            State::Open(open) => {
                let moving = open.move_at.unwrap_or(Moment::NEVER);
                open.heartbeat.deadline().min(self.acks.deadline()).min(moving).min(self.pass.deadline())
            }
            State::Over => Moment::NEVER,
        };
        self.closing.map_or(own, |(_, until)| own.min(until))
    }

    /// Whether a push may be fed in: not while the program holds as many as are remembered. Other frames wait with it.
    pub(super) fn reads(&self) -> bool {
        !self.seen.full()
    }

    /// Where to connect; `None`: to the address that the program gave.
    pub(super) fn node(&self) -> Option<&str> {
        self.route.node()
    }

    /// Whether the connection that is being made must get a token for itself.
    pub(super) const fn wants_token(&self) -> bool {
        self.pass.wanted()
    }

    fn connect(&mut self, now: Moment, out: &mut Vec<Output>) {
        self.pass.begin(now);
        self.state = State::Connecting { until: now + self.attempt_timeout };
        out.push(Output::Connect);
        self.report(Phase::Connecting, out);
    }

    fn frame(&mut self, now: Moment, frame: Incoming, out: &mut Vec<Output>) {
        match (&mut self.state, frame) {
            // A close may be the only frame: it says more than a status could.
            (State::Connecting { .. } | State::Open(_), Incoming::Close { why, return_after }) => {
                self.lost(now, why, Some(return_after), out);
            }
            (State::Connecting { .. }, Incoming::Welcome(session)) => self.open(now, session, out),
            (State::Connecting { .. }, _) => self.broken(now, "the first frame is not a welcome", out),
            (State::Open(_), Incoming::Welcome(_)) => self.broken(now, "a second welcome came", out),
            (State::Open(open), Incoming::Move { return_after, nodes }) => {
                open.move_at = Some(now + return_after);
                self.route.set(nodes);
                // What is handled by now shall be confirmed before the session goes.
                self.acks.flush();
            }
            (State::Open(open), Incoming::Push(push)) => {
                if push.seq != open.last_seq + 1 {
                    let how = format!("a push has seq {}, after {}", push.seq, open.last_seq);
                    return self.broken(now, &how, out);
                }
                open.last_seq = push.seq;
                self.push(now, push, out);
            }
            (State::Open(_), Incoming::Expiring) => self.pass.expiring(now),
            (State::Waiting { .. } | State::Over, _) => {}
        }
    }

    fn open(&mut self, now: Moment, session: Session, out: &mut Vec<Output>) {
        let heartbeat = Heartbeat::new(session.heartbeat.client_interval, session.heartbeat.timeout, now);
        let phase = Phase::Connected(session.clone());
        self.state = State::Open(Box::new(Open { session, heartbeat, last_seq: 0, since: now, move_at: None }));
        self.status.sessions += 1;
        self.loose = 0;
        self.retry.reset();
        self.pass.taken();
        self.route.arrived();
        self.report(phase, out);
    }

    fn push(&mut self, now: Moment, push: Box<Arrival>, out: &mut Vec<Output>) {
        if self.closing.is_some() {
            // Nobody will take it; unacked, it comes again to the next client.
            return;
        }
        let known = self.seen.arrive(push.id, push.seq);
        if known == Known::New {
            out.push(Output::Deliver(push));
            return;
        }
        if let Known::Settled(settlement) = known {
            self.settle(now, push.seq, settlement);
        }
        self.status.duplicates += 1;
        out.push(Output::Report(Box::new(self.status.clone())));
    }

    fn settled(&mut self, now: Moment, id: MessageId, settlement: Settlement) {
        match self.seen.settle(id, &settlement) {
            Some(seq) => self.settle(now, seq, settlement),
            None if settlement == Settlement::Dropped => {}
            None => {
                self.loose += 1;
                self.status.unconfirmed += 1;
            }
        }
    }

    /// Tells the gateway of a settlement, soon.
    fn settle(&mut self, now: Moment, seq: u64, settlement: Settlement) {
        let nack = |verdict, reason| Nack { seq, verdict, reason };
        match settlement {
            Settlement::Acked => self.acks.ack(now, seq),
            Settlement::Nacked(reason) => self.acks.nack(now, nack(Verdict::Retry, reason)),
            Settlement::Rejected(reason) => self.acks.nack(now, nack(Verdict::Reject, reason)),
            // The gateway's ack timeout brings it back.
            Settlement::Dropped => {}
        }
    }

    fn ack_answered(&mut self, now: Moment, result: Result<(), Error>, out: &mut Vec<Output>) {
        let State::Open(open) = &self.state else { return };
        match result {
            Ok(()) => {
                self.retry.reset();
                self.acks.answered();
            }
            Err(Error::Refused(refusal)) if refusal.ends_session() => {
                self.lost(now, Error::Refused(refusal), None, out);
            }
            Err(why @ Error::Refused(_)) if !why.is_temporary() => {
                // Repeating cannot heal it. The pushes come again after the ack timeout and are acked then.
                self.acks.answered();
                let done = self.acks.done();
                self.answer_flushes(out, |upto| (upto >= done).then(|| Err(why.clone())));
                self.status.refused_ack = Some(why);
                out.push(Output::Report(Box::new(self.status.clone())));
            }
            // While it moves the gateway takes no new streams, which looks like a broken connection; the pushes go on.
            Err(why) if open.move_at.is_some() || matches!(why, Error::Refused(_) | Error::TimedOut(_)) => {
                let pause = self.retry.pause(None);
                self.acks.failed(now, pause);
            }
            Err(why) => self.lost(now, why, None, out),
        }
    }

    fn window(&mut self, window: u32, out: &mut Vec<Output>) {
        if let State::Open(open) = &mut self.state {
            open.session.window = window;
            let phase = Phase::Connected(open.session.clone());
            self.report(phase, out);
        }
    }

    fn flush(&mut self, number: u64, out: &mut Vec<Output>) {
        match self.state {
            State::Open(_) => self.flushes.push((number, self.acks.flush())),
            _ => out.push(Output::Flushed(number, self.unflushed())),
        }
    }

    fn close(&mut self, now: Moment, number: u64, out: &mut Vec<Output>) {
        if let State::Open(_) = self.state {
            self.closing = Some((number, now + self.request_timeout));
            self.flush(number, out);
        } else {
            out.push(Output::Flushed(number, self.unflushed()));
            self.end(None, out);
        }
    }

    fn tick(&mut self, now: Moment, out: &mut Vec<Output>) {
        if self.closing.is_some_and(|(_, until)| until <= now) {
            self.answer_flushes(out, |_| Some(Err(Error::TimedOut("the answer to an ack"))));
            return self.end(None, out);
        }
        match &mut self.state {
            State::Connecting { until } if *until <= now => {
                self.lost(now, Error::TimedOut("an attempt to connect"), None, out);
            }
            State::Waiting { until } if *until <= now => self.connect(now, out),
            State::Open(open) if open.move_at.is_some_and(|at| at <= now) => {
                out.push(Output::Disconnect);
                self.forget_session(out);
                self.connect(now, out);
            }
            State::Open(_) if self.pass.due(now) => out.push(Output::Renew),
            State::Open(open) => match open.heartbeat.due(now) {
                Due::Nothing => {}
                Due::Beat => {
                    out.push(Output::Ping);
                    self.status.heartbeats += 1;
                    out.push(Output::Report(Box::new(self.status.clone())));
                }
                Due::Dead => {
                    let interval = open.session.heartbeat.client_interval;
                    self.lost(now, Error::Silent(interval), None, out);
                }
            },
            State::Connecting { .. } | State::Waiting { .. } | State::Over => {}
        }
    }

    fn renewed(&mut self, now: Moment, result: Result<Option<Duration>, Error>, out: &mut Vec<Output>) {
        self.pass.renewed(now, result.as_ref().copied());
        match result {
            Ok(_) => self.status.renewals += 1,
            Err(why) => self.status.failed_renewal = Some(why),
        }
        out.push(Output::Report(Box::new(self.status.clone())));
    }

    fn broken(&mut self, now: Moment, how: &str, out: &mut Vec<Output>) {
        self.lost(now, Error::Protocol(how.to_owned()), None, out);
    }

    /// The connection or attempt is over; the gateway may have said when to return.
    fn lost(&mut self, now: Moment, why: Error, return_after: Option<Duration>, out: &mut Vec<Output>) {
        let mut moving = None;
        match &self.state {
            State::Waiting { .. } | State::Over => return,
            State::Connecting { .. } => self.route.failed(),
            State::Open(open) => {
                moving = open.move_at;
                if now.since(open.since) >= GOOD_SESSION {
                    self.reconnect.reset();
                }
            }
        }
        out.push(Output::Disconnect);
        self.forget_session(out);
        self.status.last_failure = Some(why.clone());
        if self.closing.is_some() {
            return self.end(None, out);
        }
        let passing_network = matches!(why, Error::Untrusted(_)) && self.status.sessions > 0;
        if !self.pass.heals(&why) && !why.is_temporary() && !passing_network {
            return self.end(Some(why), out);
        }
        // What the last word of the gateway asks for holds; a move that was told before holds for a mere loss.
        let asked = return_after.or_else(|| moving.map(|at| at.since(now)));
        let pause = self.reconnect.pause(asked);
        self.state = State::Waiting { until: now + pause };
        self.report(Phase::Waiting { why, returns_in: pause }, out);
    }

    fn forget_session(&mut self, out: &mut Vec<Output>) {
        let lost = self.acks.reset();
        self.seen.forget_seqs();
        self.loose += lost;
        self.status.unconfirmed += lost;
        self.answer_flushes(out, |_| Some(Err(Error::Unconfirmed)));
    }

    /// What a flush without an open session comes to.
    const fn unflushed(&self) -> Result<(), Error> {
        if self.loose == 0 { Ok(()) } else { Err(Error::Unconfirmed) }
    }

    fn end(&mut self, why: Option<Error>, out: &mut Vec<Output>) {
        self.state = State::Over;
        self.closing = None;
        self.report(Phase::Ended { why }, out);
        out.push(Output::End);
    }

    fn send_acks(&mut self, now: Moment, out: &mut Vec<Output>) {
        let State::Open(open) = &self.state else { return };
        if let Some(batch) = self.acks.next(now, open.session.window) {
            out.push(Output::Ack { session: open.session.id.clone(), batch });
        }
        let done = self.acks.done();
        self.answer_flushes(out, |upto| (upto <= done).then_some(Ok(())));
        if let Some((closing, _)) = self.closing
            && !self.flushes.iter().any(|(number, _)| *number == closing)
        {
            self.end(None, out);
        }
    }

    /// Answers the flushes that `answer`, given the batch they wait for, has an answer to.
    fn answer_flushes(&mut self, out: &mut Vec<Output>, answer: impl Fn(u64) -> Option<Result<(), Error>>) {
        self.flushes.retain(|&(number, upto)| match answer(upto) {
            None => true,
            Some(result) => {
                out.push(Output::Flushed(number, result));
                false
            }
        });
    }

    fn report(&mut self, phase: Phase, out: &mut Vec<Output>) {
        self.status.phase = phase;
        out.push(Output::Report(Box::new(self.status.clone())));
    }
}

#[cfg(test)]
#[path = "core_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "core_worlds.rs"]
mod worlds;
