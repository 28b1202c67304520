//! The client's side of one HTTP/2 connection: settings, windows, pings, and requests of which each stream carries one.
//! It does no I/O: it reads and appends bytes.

use std::io;

use super::frame::{self, Frame, Frames, kind};

/// What the peer did.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event<'b> {
    /// The head of an answer, or its trailers when nothing follows.
    Head { stream: u32, block: &'b [u8], is_last: bool },
    /// A piece of an answer.
    Data { stream: u32, bytes: &'b [u8], is_last: bool },
    /// The stream was given up.
    Reset { stream: u32, code: u32 },
    /// The peer takes no more requests.
    Leaving { code: u32 },
}

/// One connection.
#[derive(Debug)]
pub(super) struct Http {
    frames: Frames,
    /// A header block that goes on in another frame: its stream, flags and beginning.
    block: Option<(u32, u8, Vec<u8>)>,
    /// The stream of the next request.
    next: u32,
    /// The stream that lives as long as the connection; the first.
    main: u32,
    /// Bytes that may be sent on the connection, and on the main stream.
    room: i64,
    main_room: i64,
    /// Bytes that may be sent on a new stream.
    initial_room: i64,
    /// Bytes that were received and not yet given back to the peer's windows: of the connection, of the main stream.
    received: u32,
    main_received: u32,
}

impl Http {
    /// A connection; appends its first words to `out`.
    pub(super) fn new(out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let mut settings = Vec::with_capacity(18);
        for (name, value) in [(HEADER_TABLE_SIZE, 0), (ENABLE_PUSH, 0), (INITIAL_WINDOW_SIZE, STREAM_WINDOW)] {
            settings.extend_from_slice(&u16::to_be_bytes(name));
            settings.extend_from_slice(&u32::to_be_bytes(value));
        }
        frame::put(kind::SETTINGS, 0, 0, &settings, out);
        put_window(0, WINDOW_MAX - FIRST_WINDOW, out);
        Self {
            frames: Frames::default(),
            block: None,
            next: 1,
            main: 1,
            room: FIRST_WINDOW.into(),
            main_room: FIRST_WINDOW.into(),
            initial_room: FIRST_WINDOW.into(),
            received: 0,
            main_received: 0,
        }
    }

    /// Takes received bytes, appends what must be answered to `out`, and tells `visit` the rest.
    pub(super) fn receive(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        mut visit: impl FnMut(Event<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut frames = std::mem::take(&mut self.frames);
        let fed = frames.feed(bytes, |frame| self.take(frame, out, &mut visit).map_err(Failure));
        self.frames = frames;
        fed.map_err(|failure| failure.0)
    }

    fn take(
        &mut self,
        frame: Frame<'_>,
        out: &mut Vec<u8>,
        visit: &mut impl FnMut(Event<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let Frame { stream, payload, .. } = frame;
        let is_last = frame.flags & frame::END_STREAM != 0;
        if self.block.is_some() && frame.kind != kind::CONTINUATION {
            return Err(broken("a header block was interrupted"));
        }
        match frame.kind {
            kind::DATA => {
                self.give_back(stream, frame.flow, out);
                if !payload.is_empty() || is_last {
                    visit(Event::Data { stream, bytes: payload, is_last })?;
                }
            }
            kind::HEADERS if frame.flags & frame::END_HEADERS != 0 => {
                visit(Event::Head { stream, block: payload, is_last })?;
            }
            kind::HEADERS => self.block = Some((stream, frame.flags, payload.to_vec())),
            kind::CONTINUATION => {
                let Some((of, flags, mut block)) = self.block.take().filter(|(of, ..)| *of == stream) else {
                    return Err(broken("a header block goes on that did not begin"));
                };
                block.extend_from_slice(payload);
                if block.len() > BLOCK_BYTES_MAX {
                    return Err(broken("a header block is too long"));
                }
                if frame.flags & frame::END_HEADERS == 0 {
                    self.block = Some((of, flags, block));
                } else {
                    let is_last = flags & frame::END_STREAM != 0;
                    visit(Event::Head { stream, block: &block, is_last })?;
                }
            }
            kind::RST_STREAM => visit(Event::Reset { stream, code: number(payload, 0)? })?,
            kind::SETTINGS if frame.flags & frame::ACK == 0 => {
                self.settings(payload)?;
                frame::put(kind::SETTINGS, frame::ACK, 0, &[], out);
            }
            kind::PING if payload.len() != 8 => return Err(broken("a ping has not 8 bytes")),
            kind::PING if frame.flags & frame::ACK == 0 => frame::put(kind::PING, frame::ACK, 0, payload, out),
            kind::GOAWAY => visit(Event::Leaving { code: number(payload, 4)? })?,
            kind::WINDOW_UPDATE => {
                let more = i64::from(number(payload, 0)? & WINDOW_MAX);
                match stream {
                    0 => self.room += more,
                    _ if stream == self.main => self.main_room += more,
                    // Short requests are far below the first window.
                    _ => {}
                }
                if self.room.max(self.main_room) > i64::from(WINDOW_MAX) {
                    return Err(broken("a window is larger than allowed"));
                }
            }
            kind::PUSH_PROMISE => return Err(broken("a promise came although we take none")),
            // Answers to our settings and pings, priorities, and kinds that we do not know (RFC 9113, section 5.5).
            _ => {}
        }
        Ok(())
    }

    fn settings(&mut self, payload: &[u8]) -> io::Result<()> {
        let (pairs, rest) = payload.as_chunks::<6>();
        if !rest.is_empty() {
            return Err(broken("settings are cut"));
        }
        for &[a, b, c, d, e, f] in pairs {
            let (name, value) = (u16::from_be_bytes([a, b]), u32::from_be_bytes([c, d, e, f]));
            if name == INITIAL_WINDOW_SIZE {
                if value > WINDOW_MAX {
                    return Err(broken("a window is larger than allowed"));
                }
                let value = i64::from(value);
                self.main_room += value - self.initial_room;
                self.initial_room = value;
            }
        }
        Ok(())
    }

    /// Counts received DATA and lets the peer send more in big steps.
    fn give_back(&mut self, stream: u32, flow: usize, out: &mut Vec<u8>) {
        // A frame has at most 16 KiB.
        let flow = flow as u32;
        self.received += flow;
        if self.received > WINDOW_MAX / 2 {
            put_window(0, std::mem::take(&mut self.received), out);
        }
        if stream == self.main {
            self.main_received += flow;
            if self.main_received > STREAM_WINDOW / 2 {
                put_window(stream, std::mem::take(&mut self.main_received), out);
            }
        }
    }

    /// Sends a whole request: its head, and its one message without a prefix. `None` when the peer has no room now.
    pub(super) fn request(&mut self, block: &[u8], message: &[u8], out: &mut Vec<u8>) -> Option<u32> {
        let length = PREFIX_BYTES + message.len();
        let needed = length as i64;
        if self.room < needed || self.initial_room < needed || length > frame::PAYLOAD_BYTES_MAX {
            return None;
        }
        let stream = self.begin(block, out);
        self.room -= needed;
        frame::put_header(length, kind::DATA, frame::END_STREAM, stream, out);
        put_prefix(message.len(), out);
        out.extend_from_slice(message);
        Some(stream)
    }

    /// Sends the head of a request whose messages follow.
    pub(super) fn begin(&mut self, block: &[u8], out: &mut Vec<u8>) -> u32 {
        let stream = self.next;
        self.next += 2;
        frame::put(kind::HEADERS, frame::END_HEADERS, stream, block, out);
        stream
    }

    /// Bytes that may be sent on the main stream now.
    pub(super) fn main_room(&self) -> usize {
        usize::try_from(self.room.min(self.main_room)).unwrap_or(0)
    }

    /// Sends bytes on the main stream, of which there must be room.
    pub(super) fn send_main(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        debug_assert!(bytes.len() <= self.main_room(), "the caller asked for room");
        for piece in bytes.chunks(frame::PAYLOAD_BYTES_MAX) {
            frame::put(kind::DATA, 0, self.main, piece, out);
        }
        self.room -= bytes.len() as i64;
        self.main_room -= bytes.len() as i64;
    }

    /// Asks for a sign of life.
    pub(super) fn ping(out: &mut Vec<u8>) {
        frame::put(kind::PING, 0, 0, b"pushline", out);
    }
}

/// A failure on its way through [`Frames::feed`].
struct Failure(io::Error);

impl From<frame::Error> for Failure {
    fn from(error: frame::Error) -> Self {
        Self(io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

fn broken(words: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, words)
}

fn number(payload: &[u8], at: usize) -> io::Result<u32> {
    let bytes = payload.get(at..).and_then(<[u8]>::first_chunk::<4>).ok_or_else(|| broken("a frame is too short"))?;
    Ok(u32::from_be_bytes(*bytes))
}

fn put_window(stream: u32, more: u32, out: &mut Vec<u8>) {
    frame::put(kind::WINDOW_UPDATE, 0, stream, &more.to_be_bytes(), out);
}

/// Writes the prefix of a gRPC message.
pub(super) fn put_prefix(length: usize, out: &mut Vec<u8>) {
    out.push(0);
    out.extend_from_slice(&(length as u32).to_be_bytes());
}

/// Bytes of a gRPC message's prefix.
pub(super) const PREFIX_BYTES: usize = 5;

/// Settings (RFC 9113, section 6.5.2).
const HEADER_TABLE_SIZE: u16 = 1;
const ENABLE_PUSH: u16 = 2;
const INITIAL_WINDOW_SIZE: u16 = 4;
/// Window of connections and streams until told otherwise (RFC 9113, section 6.9.2).
const FIRST_WINDOW: u32 = 65_535;
/// Largest window (RFC 9113, section 6.9.1).
const WINDOW_MAX: u32 = 0x7fff_ffff;
/// What we let the peer send on a stream before we have read it. A guess: so much that it never waits for us.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
/// Longest header block. A guess, far above what a gateway says.
const BLOCK_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::{Event, Http, STREAM_WINDOW};
    use crate::load::frame::{self, kind};

    /// What a connection tells of frames, in words, and what it answers.
    fn tell(http: &mut Http, bytes: &[u8]) -> std::io::Result<(Vec<String>, Vec<u8>)> {
        let (mut told, mut out) = (Vec::new(), Vec::new());
        http.receive(bytes, &mut out, |event| {
            told.push(match event {
                Event::Data { bytes, .. } if bytes.len() > 100 => format!("{} bytes", bytes.len()),
                other => format!("{other:?}"),
            });
            Ok(())
        })?;
        Ok((told, out))
    }

    fn frames(frames: &[(u8, u8, u32, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (kind, flags, stream, payload) in frames {
            frame::put(*kind, *flags, *stream, payload, &mut bytes);
        }
        bytes
    }

    fn connection() -> Http {
        Http::new(&mut Vec::new())
    }

    #[test]
    fn pings_and_settings_are_answered() {
        let bytes = frames(&[
            (kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 10]),
            (kind::SETTINGS, frame::ACK, 0, &[]),
            (kind::PING, 0, 0, &[3; 8]),
            (kind::PING, frame::ACK, 0, &[4; 8]),
            (99, 0, 0, b"unknown"),
        ]);
        let mut http = connection();
        let (told, out) = tell(&mut http, &bytes).unwrap();
        assert!(told.is_empty());
        assert_eq!(out, frames(&[(kind::SETTINGS, frame::ACK, 0, &[]), (kind::PING, frame::ACK, 0, &[3; 8])]));
        assert_eq!(http.main_room(), 10);
    }

    #[test]
    fn a_header_block_may_come_in_pieces() {
        let bytes = frames(&[
            (kind::HEADERS, 1, 3, b"be"),
            (kind::CONTINUATION, 0, 3, b"gi"),
            (kind::CONTINUATION, 4, 3, b"n"),
        ]);
        let (told, _) = tell(&mut connection(), &bytes).unwrap();
        assert_eq!(told, [format!("{:?}", Event::Head { stream: 3, block: b"begin", is_last: true })]);
    }

    #[test]
    fn windows_are_obeyed_and_given_back_in_big_steps() {
        let mut http = connection();
        let mut out = Vec::new();
        assert_eq!(http.request(b"block", &[0; 100], &mut out), Some(1));
        assert_eq!(http.main_room(), 65_535 - 105);
        http.send_main(&vec![0; 65_430], &mut out);
        assert_eq!((http.main_room(), http.request(b"block", b"", &mut out)), (0, None));
        tell(&mut http, &frames(&[(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 50])])).unwrap();
        assert_eq!(http.main_room(), 50);
        // The peer sends more than half a window.
        let data = vec![0; 16_384];
        let count = STREAM_WINDOW / 2 / 16_384 + 1;
        let mut answered = Vec::new();
        for _ in 0..count {
            answered.extend(tell(&mut http, &frames(&[(kind::DATA, 0, 1, &data)])).unwrap().1);
        }
        assert_eq!(answered, frames(&[(kind::WINDOW_UPDATE, 0, 1, &(count * 16_384).to_be_bytes())]));
    }

    #[test]
    fn what_breaks_the_protocol_ends_it() {
        for bad in [
            vec![(kind::PING, 0, 0, &[1; 7][..])],
            vec![(kind::SETTINGS, 0, 0, &[0, 4, 0][..])],
            vec![(kind::SETTINGS, 0, 0, &[0, 4, 0xff, 0, 0, 0][..])],
            vec![(kind::RST_STREAM, 0, 1, &[0][..])],
            vec![(kind::GOAWAY, 0, 0, &[0; 7][..])],
            vec![(kind::PUSH_PROMISE, 4, 1, &[0, 0, 0, 2][..])],
            vec![(kind::CONTINUATION, 4, 1, &b"x"[..])],
            vec![(kind::HEADERS, 0, 1, &b"x"[..]), (kind::DATA, 0, 1, &b"x"[..])],
            vec![(kind::HEADERS, 0, 1, &b"x"[..]), (kind::CONTINUATION, 4, 3, &b"x"[..])],
            vec![(kind::WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff][..])],
        ] {
            assert!(tell(&mut connection(), &frames(&bad)).is_err(), "{bad:?}");
        }
        let mut endless = vec![(kind::HEADERS, 0, 1, &[0; 16_384][..])];
        endless.extend([(kind::CONTINUATION, 0, 1, &[0; 16_384][..]); 4]);
        assert!(tell(&mut connection(), &frames(&endless)).is_err());
    }
}
