//! One device of the crowd: it connects, opens its session, takes pushes, acks them as a sane client does, and keeps the
//! books. It does not decide when to connect.

use std::io;
use std::time::Duration;

use mio::Token;
use prost::Message;

use super::core::Core;
use super::hpack;
use super::http::{Event, Http};
use super::ledger::{Ledger, Verdict};
use super::message::{Messages, Push, Pushed, pushed, put_acked, put_nacked};
use super::pipe::{Pipe, Progress, Scratch};
use super::stamp::{Log, Stamp};
use super::tally::Span;
use super::words;
use crate::model::clock::Moment;
use crate::wire::device::Method;
use crate::wire::pb;

/// One device.
pub(super) struct Device {
    /// The connection, if there is one.
    wire: Option<Box<Wire>>,
    body: Body,
}

/// A connection and the HTTP/2 on it.
struct Wire {
    pipe: Pipe,
    http: Http,
    /// The first words, until they can be said.
    greeting: Vec<u8>,
}

/// All of a device but its connection.
struct Body {
    /// Its number among the devices of its thread, and in the whole crowd.
    index: u32,
    number: u32,
    token: String,
    messages: Messages,
    ledger: Ledger,
    stage: Stage,
    /// Counts connections, so that timers of an earlier one are known as such.
    life: u32,
    /// When the connection was begun.
    since: Moment,
    /// When something came.
    heard: Moment,
    /// Nothing is read before.
    stalled: Option<Moment>,
    acks: Acks,
    /// A request to follow topics: its stream and topic.
    following: Option<(u32, u32)>,
    /// The gateway's last word on the push stream.
    close: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Away,
    Dialing,
    Open,
}

/// Acks that are gathered, and those that are on their way.
#[derive(Debug, Default)]
struct Acks {
    /// Received and handled; ranges in rising order.
    gathered: Vec<(u64, u64)>,
    /// Received and not handled.
    nacked: Vec<u64>,
    /// How many both are.
    count: u64,
    /// When the first of them came.
    since: Moment,
    /// The one request that is out.
    out: Option<Out>,
    /// What the welcome agreed on.
    window: u32,
    timeout: Duration,
}

#[derive(Debug)]
struct Out {
    stream: u32,
    at: Moment,
    acked: Vec<(u64, u64)>,
    nacked: Vec<u64>,
}

/// Why a device has no connection any more.
#[derive(Debug)]
pub(super) struct Gone {
    /// A stable word.
    pub(super) code: String,
    /// For humans.
    pub(super) words: String,
}

impl Device {
    pub(super) fn new(index: u32, number: u32, token: String) -> Self {
        let mut ledger = Ledger::default();
        ledger.follow(Log::inbox(number), 1);
        let body = Body {
            index,
            number,
            token,
            messages: Messages::default(),
            ledger,
            stage: Stage::Away,
            life: 0,
            since: Moment::ZERO,
            heard: Moment::ZERO,
            stalled: None,
            acks: Acks::default(),
            following: None,
            close: None,
        };
        Self { wire: None, body }
    }

    /// Its number in the whole crowd.
    pub(super) const fn number(&self) -> u32 {
        self.body.number
    }

    /// Its books.
    pub(super) const fn ledger(&self) -> &Ledger {
        &self.body.ledger
    }

    /// Which of its connections it has, or had last.
    pub(super) const fn life(&self) -> u32 {
        self.body.life
    }

    /// Has no connection and is making none.
    pub(super) fn is_away(&self) -> bool {
        self.body.stage == Stage::Away
    }

    /// Has a welcome.
    pub(super) fn is_open(&self) -> bool {
        self.body.stage == Stage::Open
    }

    /// When the attempt under way began.
    pub(super) fn dialing_since(&self) -> Option<Moment> {
        (self.body.stage == Stage::Dialing).then_some(self.body.since)
    }

    /// All acks are confirmed.
    pub(super) fn is_settled(&self) -> bool {
        self.body.acks.count == 0 && self.body.acks.out.is_none() && self.body.ledger.unconfirmed() == 0
    }

    /// Begins to connect.
    pub(super) fn dial(&mut self, core: &mut Core, token: Token) -> Result<(), Gone> {
        let body = &mut self.body;
        (body.since, body.heard, body.stage) = (core.now, core.now, Stage::Dialing);
        body.life += 1;
        let pipe = Pipe::dial(core.setup.devices, Some(&core.devices_trust), &core.registry, token);
        let pipe = pipe.map_err(|error| gone_by(&error, "connect"))?;
        let mut greeting = Vec::with_capacity(1024);
        let mut http = Http::new(&mut greeting);
        let block = hpack::request(&hpack::Request {
            is_tls: true,
            path: Method::Open.path(),
            authority: &core.setup.devices_host,
            bearer: Some(&body.token),
        });
        let open = pb::OpenRequest { agent: AGENT.to_owned(), ..Default::default() }.encode_to_vec();
        http.request(&block, &open, &mut greeting).ok_or_else(|| Gone::new("connect", "the token is too long"))?;
        self.wire = Some(Box::new(Wire { pipe, http, greeting }));
        Ok(())
    }

    /// Goes on after an event of its socket.
    pub(super) fn ready(&mut self, core: &mut Core, scratch: &mut Scratch, writable: bool) -> Result<(), Gone> {
        let stage = self.body.stage;
        let phase = if stage == Stage::Open { "connection_lost" } else { "handshake" };
        let ended = self.exchange(core, scratch, writable).map_err(|error| gone_by(&error, phase))?;
        if let Some(close) = self.body.close.take() {
            return Err(Gone::new(&close, &words::session_ended(&close)));
        }
        if ended {
            return Err(Gone::new(phase, "the gateway closed the connection"));
        }
        Ok(())
    }

    /// Reads, answers, acks and writes. Gives whether the peer ended the connection.
    fn exchange(&mut self, core: &mut Core, scratch: &mut Scratch, writable: bool) -> io::Result<bool> {
        let Self { wire, body } = self;
        let Some(wire) = wire else { return Ok(false) };
        scratch.plain.clear();
        if writable && wire.pipe.writable(scratch)? == Progress::Opened {
            scratch.plain.append(&mut wire.greeting);
        }
        let mut ended = false;
        if body.stalled.is_none() {
            let Wire { pipe, http, .. } = &mut **wire;
            let (progress, end) = pipe.read(scratch, |bytes, out| {
                // Any bytes are life: the answer to a ping is no event.
                body.heard = core.now;
                http.receive(bytes, out, |event| body.take(event, core))
            })?;
            ended = end;
            if progress == Progress::Opened {
                let rest = std::mem::replace(&mut scratch.plain, std::mem::take(&mut wire.greeting));
                scratch.plain.extend_from_slice(&rest);
            }
            body.send_acks(&mut wire.http, core, &mut scratch.plain);
        }
        wire.pipe.flush(scratch)?;
        Ok(ended)
    }

    /// Sends gathered acks that have waited long enough.
    pub(super) fn acks_due(&mut self, core: &mut Core, scratch: &mut Scratch) -> Result<(), Gone> {
        let Some(wire) = self.wire.as_mut().filter(|_| self.body.stalled.is_none()) else { return Ok(()) };
        scratch.plain.clear();
        self.body.send_acks(&mut wire.http, core, &mut scratch.plain);
        wire.pipe.flush(scratch).map_err(|error| gone_by(&error, "connection_lost"))
    }

    /// Asks to follow a topic. True: it was asked and will be answered.
    pub(super) fn follow(&mut self, topic: u32, core: &mut Core, scratch: &mut Scratch) -> Result<bool, Gone> {
        if !self.is_open() || self.body.ledger.follows(Log::topic(topic)) {
            return Ok(false);
        }
        let Some(wire) = self.wire.as_mut() else { return Ok(false) };
        let request = pb::SubscribeRequest { topics: vec![core.setup.topic(topic)] }.encode_to_vec();
        scratch.plain.clear();
        let stream = wire.http.request(&core.subscribe_block, &request, &mut scratch.plain);
        self.body.following = stream.map(|stream| (stream, topic));
        wire.pipe.flush(scratch).map_err(|error| gone_by(&error, "connection_lost"))?;
        Ok(stream.is_some())
    }

    /// Whether it waits for the answer to [`Device::follow`].
    pub(super) const fn is_following(&self) -> bool {
        self.body.following.is_some()
    }

    /// Asks for a sign of life when nothing came for long. `Err` when there was none.
    pub(super) fn beat(&mut self, core: &mut Core, scratch: &mut Scratch) -> Result<(), Gone> {
        let silence = core.now.since(self.body.heard);
        let Some(wire) = self.wire.as_mut().filter(|_| self.body.stage == Stage::Open) else { return Ok(()) };
        if silence < HEARTBEAT || self.body.stalled.is_some() {
            return Ok(());
        }
        if silence > HEARTBEAT * 2 {
            return Err(Gone::new("heartbeat_timeout", "the gateway does not answer heartbeats"));
        }
        scratch.plain.clear();
        Http::ping(&mut scratch.plain);
        wire.pipe.flush(scratch).map_err(|error| gone_by(&error, "connection_lost"))
    }

    /// Stops reading until then.
    pub(super) const fn stall(&mut self, until: Moment) {
        self.body.stalled = Some(until);
    }

    /// Reads again when it is time. True: the socket must be read.
    pub(super) fn wake(&mut self, now: Moment) -> bool {
        let is_over = self.body.stalled.is_some_and(|until| until <= now);
        if is_over {
            self.body.stalled = None;
        }
        is_over
    }

    /// Drops the connection, if there is one, without a word.
    pub(super) fn cut(&mut self, core: &mut Core) {
        if self.body.stage == Stage::Open {
            core.open -= 1;
        }
        self.wire = None;
        let body = &mut self.body;
        body.stage = Stage::Away;
        body.messages = Messages::default();
        body.acks = Acks::default();
        (body.following, body.close, body.stalled) = (None, None, None);
        body.ledger.cut();
    }
}

impl Body {
    fn take(&mut self, event: Event<'_>, core: &mut Core) -> io::Result<()> {
        match event {
            Event::Data { stream: OPEN, bytes, is_last } => {
                let mut messages = std::mem::take(&mut self.messages);
                let fed = messages.feed(bytes, |message| self.message(message, core));
                self.messages = messages;
                if is_last {
                    self.close.get_or_insert_with(|| "stream_ended".to_owned());
                }
                fed
            }
            // Answers say in their trailers whether all went well, and no more is asked of them.
            Event::Data { .. } | Event::Head { is_last: false, .. } => Ok(()),
            Event::Head { stream, block, is_last: true } => {
                let refusal = core.refusal(block).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                self.answered(stream, refusal, core);
                Ok(())
            }
            Event::Reset { stream, .. } => {
                self.answered(stream, Some("stream_reset".to_owned()), core);
                Ok(())
            }
            // It says why on the push stream, or closes the connection.
            Event::Leaving { .. } => Ok(()),
        }
    }

    /// A stream of ours has ended.
    fn answered(&mut self, stream: u32, refusal: Option<String>, core: &mut Core) {
        if stream == OPEN {
            self.close.get_or_insert_with(|| refusal.unwrap_or_else(|| "stream_ended".to_owned()));
        } else if let Some(out) = self.acks.out.take_if(|out| out.stream == stream) {
            match refusal {
                None => self.confirmed(&out, core),
                Some(code) => core.tally.failed(&code),
            }
        } else if let Some((_, topic)) = self.following.take_if(|(out, _)| *out == stream) {
            match refusal {
                None => self.ledger.follow(Log::topic(topic), 1),
                Some(code) => core.tally.failed(&code),
            }
        }
    }

    fn confirmed(&mut self, out: &Out, core: &mut Core) {
        core.tally.record(Span::Ack, out.at, core.now);
        for &(from, upto) in &out.acked {
            self.ledger.confirmed(from, upto);
            core.tally.acked += upto - from + 1;
        }
        for &seq in &out.nacked {
            self.ledger.nacked(seq);
        }
    }

    fn message(&mut self, message: &[u8], core: &mut Core) -> io::Result<()> {
        let other = match pushed(message)? {
            Pushed::Push(push) => {
                self.push(&push, core);
                return Ok(());
            }
            Pushed::Other(message) => {
                pb::OpenResponse::decode(message).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?
            }
        };
        match other.frame {
            Some(pb::open_response::Frame::Welcome(welcome)) if self.stage == Stage::Dialing => {
                self.stage = Stage::Open;
                core.open += 1;
                core.tally.welcomes += 1;
                core.tally.record(Span::Handshake, self.since, core.now);
                self.acks.window = welcome.window;
                self.acks.timeout = Duration::from_millis(welcome.ack_timeout_ms.into());
            }
            Some(pb::open_response::Frame::Close(close)) => self.close = Some(close.name),
            // A drain: it closes the session when its time is over.
            Some(pb::open_response::Frame::Move(_)) => {}
            _ => core.tally.wrong += 1,
        }
        Ok(())
    }

    fn push(&mut self, push: &Push<'_>, core: &mut Core) {
        let stamp = Stamp::read(push.payload);
        let tally = &mut core.tally;
        tally.deliveries += 1;
        tally.last_delivery = core.now.as_micros();
        let is_ours = stamp.is_some_and(|stamp| stamp.run == core.setup.run);
        // What is damaged or of another run is of no log; it is acked like the rest, so that it does not come again.
        let log = stamp.filter(|_| is_ours).map_or(Log::NONE, |stamp| stamp.log);
        let number = stamp.map_or(0, |stamp| stamp.number);
        match self.ledger.receive(core.now, push.seq, push.attempt, log, number, self.acks.timeout.mul_f64(0.9)) {
            Verdict::New => {
                let stamp = stamp.expect("only what bears a stamp is owed");
                tally.record(Span::Delivery, stamp.at, core.now);
                if log.as_topic().is_some() {
                    core.got(log, number, stamp.at);
                } else {
                    core.received += 1;
                }
                if core.life.as_ref().is_some_and(|life| core.chance.f64() < life.nack) {
                    self.ledger.nack(push.seq);
                    self.acks.nack(push.seq, self.index, self.life, core);
                    return;
                }
            }
            Verdict::Again => {}
            Verdict::Duplicate => tally.duplicated += 1,
            Verdict::NotOwed if stamp.is_some() && !is_ours => tally.failed("left_over_from_another_run"),
            Verdict::OutOfOrder | Verdict::NotOwed => tally.wrong += 1,
        }
        self.acks.ack(push.seq, self.index, self.life, core);
    }

    fn send_acks(&mut self, http: &mut Http, core: &mut Core, out: &mut Vec<u8>) {
        let acks = &mut self.acks;
        let enough = u64::from(core.setup.ack_count.min(acks.window / 2).max(1));
        let is_due = acks.count >= enough || (acks.count > 0 && acks.since + core.ack_delay() <= core.now);
        if acks.out.is_some() || !is_due {
            return;
        }
        let mut message = Vec::with_capacity(64);
        put_acked(&acks.gathered, &mut message);
        acks.nacked.iter().for_each(|seq| put_nacked(*seq, &mut message));
        // No room: there will be, and something will come then.
        if let Some(stream) = http.request(&core.ack_block, &message, out) {
            let (acked, nacked) = (std::mem::take(&mut acks.gathered), std::mem::take(&mut acks.nacked));
            acks.out = Some(Out { stream, at: core.now, acked, nacked });
            acks.count = 0;
        }
    }
}

impl Acks {
    fn ack(&mut self, seq: u64, index: u32, life: u32, core: &mut Core) {
        match self.gathered.last_mut() {
            Some((_, upto)) if *upto + 1 == seq => *upto = seq,
            _ => self.gathered.push((seq, seq)),
        }
        self.gathered_one(index, life, core);
    }

    fn nack(&mut self, seq: u64, index: u32, life: u32, core: &mut Core) {
        self.nacked.push(seq);
        self.gathered_one(index, life, core);
    }

    fn gathered_one(&mut self, index: u32, life: u32, core: &mut Core) {
        self.count += 1;
        if self.count == 1 {
            self.since = core.now;
            let due = core.now + core.ack_delay();
            core.acks_due.push_back((due, index, life));
        }
    }
}

impl Gone {
    fn new(code: &str, words: &str) -> Self {
        Self { code: code.to_owned(), words: words.to_owned() }
    }

    /// An attempt that took too long.
    pub(super) fn timed_out() -> Self {
        Self::new(
            "handshake_timeout",
            "the gateway did not welcome a device in time; its log may say why (such as `ulimit -n` where it runs)",
        )
    }
}

fn gone_by(error: &io::Error, code: &str) -> Gone {
    let code = if crate::tls::distrust(error).is_some() { "untrusted_certificate" } else { code };
    Gone::new(code, &words::device_lost(error))
}

/// The stream of `Open`: the first of each connection.
const OPEN: u32 = 1;
/// Silence after which a PING is sent; less than any gateway's patience.
const HEARTBEAT: Duration = Duration::from_secs(25);
/// For the gateway's logs.
const AGENT: &str = concat!("pushline-load/", env!("CARGO_PKG_VERSION"));
