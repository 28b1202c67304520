//! A socket, with TLS or without, that reads into and writes from buffers shared by all of a thread: an idle one keeps
//! none. It does not know what the bytes mean.

use std::io::{self, Read, Write};
use std::net::SocketAddr;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::tls::session::{Session, Trust};

/// Buffers that the connections of a thread use in turn.
#[derive(Debug)]
pub(super) struct Scratch {
    /// What a socket gave, behind what was left of the read before.
    incoming: Vec<u8>,
    /// What the connection at work wants to say.
    pub(super) plain: Vec<u8>,
    /// The same as it goes over the network.
    sealed: Vec<u8>,
    /// The peer may have said its last word: its end is to be looked for behind what it said.
    pub(super) may_end: bool,
}

impl Scratch {
    pub(super) fn new() -> Self {
        Self { incoming: vec![0; READ_BYTES], plain: Vec::new(), sealed: Vec::new(), may_end: false }
    }
}

/// One connection.
pub(super) struct Pipe {
    socket: TcpStream,
    session: Option<Session>,
    /// The beginning of a record.
    held: Vec<u8>,
    /// What the socket did not take. Bounded by its user, who asks [`Pipe::is_clear`].
    unsent: Vec<u8>,
    /// Where it is between the first packet and the first word.
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Dialing,
    Shaking,
    Open,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing to be told.
    Nothing,
    /// Words may be exchanged from now on.
    Opened,
}

impl Pipe {
    /// Begins to connect; the events of the socket carry `token`.
    pub(super) fn dial(
        address: SocketAddr,
        trust: Option<&Trust>,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        let mut socket = TcpStream::connect(address)?;
        registry.register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
        let session = trust.map(Session::new).transpose().map_err(io::Error::other)?;
        Ok(Self { socket, session, held: Vec::new(), unsent: Vec::new(), stage: Stage::Dialing })
    }

    /// Goes on after the socket became writable.
    pub(super) fn writable(&mut self, scratch: &mut Scratch) -> io::Result<Progress> {
        if self.stage == Stage::Dialing {
            if let Some(error) = self.socket.take_error()? {
                return Err(error);
            }
            if let Err(error) = self.socket.peer_addr() {
                // Not yet; another event will come.
                return if error.kind() == io::ErrorKind::NotConnected { Ok(Progress::Nothing) } else { Err(error) };
            }
            // An ack must not wait for the answer to the one before.
            self.socket.set_nodelay(true)?;
            let Some(session) = self.session.as_mut() else {
                self.stage = Stage::Open;
                return Ok(Progress::Opened);
            };
            self.stage = Stage::Shaking;
            session.receive(&mut [], &mut self.unsent, |_| Ok(()))?;
        }
        self.flush(scratch)?;
        Ok(Progress::Nothing)
    }

    /// Reads all that is there and hands it to `take`, which appends what it answers to its second argument. Gives
    /// whether the peer ended the connection.
    pub(super) fn read(
        &mut self,
        scratch: &mut Scratch,
        mut take: impl FnMut(&[u8], &mut Vec<u8>) -> io::Result<()>,
    ) -> io::Result<(Progress, bool)> {
        let mut progress = Progress::Nothing;
        loop {
            let Scratch { incoming, plain, may_end, .. } = scratch;
            let before = self.held.len();
            incoming[..before].copy_from_slice(&self.held);
            let read = match self.socket.read(&mut incoming[before..]) {
                Ok(0) => return Ok((progress, true)),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok((progress, false)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            // A short read means that there was no more: as long as something comes, there is another event. But the end
            // that came with the last words is told by their event alone.
            let is_all = before + read < incoming.len() && !*may_end;
            let received = &mut incoming[..before + read];
            let Some(session) = self.session.as_mut() else {
                take(received, plain)?;
                if is_all {
                    return Ok((progress, false));
                }
                continue;
            };
            let used = session.receive(received, &mut self.unsent, |bytes| take(bytes, plain))?;
            if used == received.len() {
                // An idle connection keeps no buffer.
                self.held = Vec::new();
            } else {
                self.held.clear();
                self.held.extend_from_slice(&received[used..]);
            }
            if self.stage == Stage::Shaking && session.is_open() {
                if session.protocol() != Some(b"h2") {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "the server does not speak HTTP/2"));
                }
                (self.stage, progress) = (Stage::Open, Progress::Opened);
            }
            if session.is_closed() {
                return Ok((progress, true));
            }
            if is_all {
                return Ok((progress, false));
            }
        }
    }

    /// Sends what is in [`Scratch::plain`], and what was left before.
    pub(super) fn flush(&mut self, scratch: &mut Scratch) -> io::Result<()> {
        let Scratch { plain, sealed, .. } = scratch;
        if self.stage != Stage::Open {
            plain.clear();
        }
        if plain.is_empty() && self.unsent.is_empty() {
            return Ok(());
        }
        let behind = !self.unsent.is_empty();
        let out = if behind { &mut self.unsent } else { &mut *sealed };
        if !plain.is_empty() {
            match self.session.as_mut() {
                Some(session) => session.send(plain, out)?,
                None => out.extend_from_slice(plain),
            }
            plain.clear();
        }
        let mut written = 0;
        while written < out.len() {
            match self.socket.write(&out[written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(more) => written += more,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if behind {
            self.unsent.drain(..written);
            if self.unsent.is_empty() {
                self.unsent = Vec::new();
            }
        } else {
            self.unsent.extend_from_slice(&sealed[written..]);
            sealed.clear();
        }
        Ok(())
    }

    /// Whether all that was said is with the socket.
    pub(super) const fn is_clear(&self) -> bool {
        self.unsent.is_empty()
    }

    /// Whether words may be exchanged.
    pub(super) fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }
}

/// What one read takes at most: many records, so that a busy connection needs few calls. A guess.
const READ_BYTES: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use mio::{Events, Poll, Token};

    use super::{Pipe, Scratch};

    #[test]
    fn an_end_that_comes_with_the_last_words_is_seen() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (mut poll, mut events) = (Poll::new().unwrap(), Events::with_capacity(8));
        let mut pipe = Pipe::dial(listener.local_addr().unwrap(), None, poll.registry(), Token(0)).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        peer.write_all(b"farewell").unwrap();
        drop(peer);
        let (mut scratch, mut heard, mut ended) = (Scratch::new(), Vec::new(), false);
        // Without the fix the end is never told, and this waits for ever.
        while !ended {
            poll.poll(&mut events, None).unwrap();
            for event in &events {
                scratch.may_end = event.is_read_closed();
                pipe.writable(&mut scratch).unwrap();
                let take = |bytes: &[u8], _: &mut Vec<u8>| {
                    heard.extend_from_slice(bytes);
                    Ok(())
                };
                ended |= pipe.read(&mut scratch, take).unwrap().1;
            }
        }
        assert_eq!(heard, b"farewell");
    }
}
