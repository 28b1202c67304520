//! One backend of the crowd: a connection with one stream of pushes and the stream of their answers, many outstanding. It
//! does not decide what to push.

use std::collections::VecDeque;
use std::io;

use mio::Token;

use super::core::Core;
use super::http::{Event, Http};
use super::message::{Messages, enqueued, put_ask};
use super::pipe::{Pipe, Progress, Scratch};
use super::stamp::{Log, Stamp};
use super::tally::Span;
use crate::model::clock::Moment;

/// One stream of pushes.
pub(super) struct Producer {
    pipe: Pipe,
    http: Http,
    /// The first words, until they can be said.
    greeting: Vec<u8>,
    messages: Messages,
    /// Pushes that wait for room. Bounded by whoever drives it, who counts what is outstanding.
    queue: Vec<u8>,
    /// Pushes without an answer, in order.
    outstanding: VecDeque<Sent>,
    /// Reference of the next push; answers come in the same order.
    next: u64,
    /// For making payloads.
    payload: Vec<u8>,
    /// The gateway has taken the stream.
    is_hired: bool,
    /// Why the stream is over.
    over: Option<String>,
}

/// A push that waits for its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) log: Log,
    pub(super) number: u32,
    /// When it was pushed, or due.
    pub(super) due: Moment,
}

/// What a producer tells whoever drives it.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// Pushes that were answered.
    pub(super) count: u64,
    /// Those of them that were refused, and all that went to topics: with whether they were accepted.
    pub(super) special: Vec<(Log, u32, bool)>,
}

impl Producer {
    /// Begins to connect.
    pub(super) fn dial(core: &Core, token: Token) -> io::Result<Self> {
        let pipe = Pipe::dial(core.setup.backend, core.backend_trust.as_ref(), &core.registry, token)?;
        let mut greeting = Vec::new();
        let mut http = Http::new(&mut greeting);
        http.begin(&core.stream_block, &mut greeting);
        Ok(Self {
            pipe,
            http,
            greeting,
            messages: Messages::default(),
            queue: Vec::new(),
            outstanding: VecDeque::new(),
            next: 1,
            payload: Vec::new(),
            is_hired: false,
            over: None,
        })
    }

    /// Whether the gateway takes its pushes.
    pub(super) const fn is_hired(&self) -> bool {
        self.is_hired
    }

    /// Pushes without an answer.
    pub(super) fn outstanding(&self) -> &VecDeque<Sent> {
        &self.outstanding
    }

    /// Puts a push into the queue. `target` is an encoded `Target`.
    pub(super) fn push(&mut self, core: &Core, target: &[u8], sent: Sent) {
        let Sent { log, number, due } = sent;
        Stamp { run: core.setup.run, log, number, at: due }.write(core.setup.payload, &mut self.payload);
        put_ask(self.next, target, &self.payload, core.setup.durability, &mut self.queue);
        self.next += 1;
        self.outstanding.push_back(sent);
    }

    /// Goes on after an event of its socket.
    pub(super) fn ready(
        &mut self,
        core: &mut Core,
        scratch: &mut Scratch,
        writable: bool,
        answers: &mut Answers,
    ) -> io::Result<()> {
        scratch.plain.clear();
        if writable && self.pipe.writable(scratch)? == Progress::Opened {
            scratch.plain.append(&mut self.greeting);
        }
        let Self { pipe, http, messages, outstanding, over, is_hired, .. } = self;
        let (progress, ended) = pipe.read(scratch, |bytes, out| {
            http.receive(bytes, out, |event| match event {
                Event::Data { bytes, .. } => {
                    messages.feed(bytes, |message| answered(message, outstanding, core, answers))
                }
                Event::Head { is_last: false, .. } => {
                    *is_hired = true;
                    Ok(())
                }
                Event::Head { block, is_last: true, .. } => {
                    let refusal = core.refusal(block).map_err(broken)?;
                    over.get_or_insert_with(|| refusal.unwrap_or_else(|| "stream_ended".to_owned()));
                    Ok(())
                }
                Event::Reset { code, .. } => {
                    over.get_or_insert_with(|| format!("stream_reset_{code}"));
                    Ok(())
                }
                Event::Leaving { .. } => Ok(()),
            })
        })?;
        if progress == Progress::Opened {
            let rest = std::mem::replace(&mut scratch.plain, std::mem::take(&mut self.greeting));
            scratch.plain.extend_from_slice(&rest);
        }
        if let Some(code) = &self.over {
            return Err(io::Error::other(code.clone()));
        }
        if ended {
            return Err(io::Error::other("connection_lost"));
        }
        self.say(scratch)
    }

    /// Sends what waits, as far as the gateway's windows and the socket allow.
    pub(super) fn flush(&mut self, scratch: &mut Scratch) -> io::Result<()> {
        scratch.plain.clear();
        self.say(scratch)
    }

    fn say(&mut self, scratch: &mut Scratch) -> io::Result<()> {
        if self.pipe.is_open() && self.pipe.is_clear() {
            let length = self.queue.len().min(self.http.main_room());
            if length > 0 {
                self.http.send_main(&self.queue[..length], &mut scratch.plain);
                self.queue.drain(..length);
            }
        }
        self.pipe.flush(scratch)
    }
}

fn answered(
    message: &[u8],
    outstanding: &mut VecDeque<Sent>,
    core: &mut Core,
    answers: &mut Answers,
) -> io::Result<()> {
    let answer = enqueued(message)?;
    let sent = outstanding.pop_front().ok_or_else(|| broken("an answer came that was not asked for"))?;
    let is_accepted = answer.refusal.is_none();
    answers.count += 1;
    core.tally.record(Span::Enqueue, sent.due, core.now);
    match answer.refusal {
        None => core.tally.pushes += 1,
        Some(code) => core.tally.failed(code),
    }
    if !is_accepted || sent.log.as_topic().is_some() {
        answers.special.push((sent.log, sent.number, is_accepted));
    }
    Ok(())
}

fn broken(words: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, words)
}
