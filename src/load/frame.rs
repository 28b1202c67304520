//! HTTP/2 frames (RFC 9113, section 4): cut out of received bytes without copying DATA, and written. It knows nothing of
//! streams and their states.

/// Kinds of frames (RFC 9113, section 6).
pub(super) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PUSH_PROMISE: u8 = 5;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const WINDOW_UPDATE: u8 = 8;
    pub(crate) const CONTINUATION: u8 = 9;
}

/// On DATA and HEADERS: nothing follows on this stream.
pub(super) const END_STREAM: u8 = 0x1;
/// On SETTINGS and PING: an answer.
pub(super) const ACK: u8 = 0x1;
/// On HEADERS: the block is whole.
pub(super) const END_HEADERS: u8 = 0x4;
/// On DATA and HEADERS: padding follows.
const PADDED: u8 = 0x8;
/// On HEADERS: a priority stands before the block.
const PRIORITY: u8 = 0x20;

/// Bytes of a frame's header.
pub(super) const HEADER_BYTES: usize = 9;
/// Largest payload of a frame that we take; the protocol's least, and we announce no other.
pub(super) const PAYLOAD_BYTES_MAX: usize = 16 * 1024;

/// Why bytes are not HTTP/2: the peer broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    #[error("a frame has {0} bytes, more than the {PAYLOAD_BYTES_MAX} allowed")]
    TooLong(usize),
    #[error("the padding of a frame is longer than the frame")]
    Padding,
}

/// A received frame, or a part of a DATA frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'b> {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    /// The payload without padding and priority. DATA comes in the pieces in which it arrived; only the last has
    /// [`END_STREAM`].
    pub(super) payload: &'b [u8],
    /// What it takes from the windows; differs from the payload's length when there is padding.
    pub(super) flow: usize,
}

/// Cuts received bytes into frames. Holds at most one frame that is no DATA.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// The beginning of a frame. Gives its memory back when empty.
    held: Vec<u8>,
    /// The rest of a DATA frame under way: its stream, flags and bytes to come.
    data: Option<(u32, u8, usize)>,
}

/// A frame's header, read.
struct Header {
    length: usize,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Frames {
    /// Hands each frame in `bytes` to `visit`.
    pub(super) fn feed<E: From<Error>>(
        &mut self,
        mut bytes: &[u8],
        mut visit: impl FnMut(Frame<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        loop {
            if let Some((stream, flags, left)) = self.data {
                let (payload, rest) = bytes.split_at(left.min(bytes.len()));
                let left = left - payload.len();
                self.data = (left > 0).then_some((stream, flags, left));
                if payload.is_empty() && left > 0 {
                    return Ok(());
                }
                bytes = rest;
                let flags = if left == 0 { flags } else { 0 };
                visit(Frame { kind: kind::DATA, flags, stream, payload, flow: payload.len() })?;
                continue;
            }
            if self.held.is_empty() {
                let Some(header) = Header::read(bytes) else { break };
                let header = header?;
                if header.is_plain_data() {
                    bytes = &bytes[HEADER_BYTES..];
                    self.data = Some((header.stream, header.flags & END_STREAM, header.length));
                    continue;
                }
                let whole = HEADER_BYTES + header.length;
                let Some((frame, rest)) = bytes.split_at_checked(whole) else { break };
                bytes = rest;
                visit(header.frame(&frame[HEADER_BYTES..])?)?;
                continue;
            }
            // A frame that came in pieces: first its header, then the rest.
            let wanted =
                Header::read(&self.held).transpose()?.map_or(HEADER_BYTES, |header| HEADER_BYTES + header.length);
            let (more, rest) = bytes.split_at(bytes.len().min(wanted - self.held.len()));
            self.held.extend_from_slice(more);
            bytes = rest;
            if let Some(header) = Header::read(&self.held).transpose()? {
                if header.is_plain_data() {
                    self.held = Vec::new();
                    self.data = Some((header.stream, header.flags & END_STREAM, header.length));
                    continue;
                }
                if self.held.len() == HEADER_BYTES + header.length {
                    let held = std::mem::take(&mut self.held);
                    visit(header.frame(&held[HEADER_BYTES..])?)?;
                    continue;
                }
            }
            if bytes.is_empty() {
                return Ok(());
            }
        }
        self.held.extend_from_slice(bytes);
        Ok(())
    }
}

impl Header {
    /// Reads a header; `None` when it is not all there.
    fn read(bytes: &[u8]) -> Option<Result<Self, Error>> {
        let &[a, b, c, kind, flags, d, e, f, g] = bytes.first_chunk::<HEADER_BYTES>()?;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        if length > PAYLOAD_BYTES_MAX {
            return Some(Err(Error::TooLong(length)));
        }
        Some(Ok(Self { length, kind, flags, stream: u32::from_be_bytes([d & 0x7f, e, f, g]) }))
    }

    /// Whether the payload can be handed on in pieces.
    const fn is_plain_data(&self) -> bool {
        self.kind == kind::DATA && self.flags & PADDED == 0
    }

    fn frame<'b>(&self, whole: &'b [u8]) -> Result<Frame<'b>, Error> {
        let mut payload = whole;
        let has_block = matches!(self.kind, kind::DATA | kind::HEADERS);
        if has_block && self.flags & PADDED != 0 {
            let (&padding, rest) = payload.split_first().ok_or(Error::Padding)?;
            let length = rest.len().checked_sub(padding.into()).ok_or(Error::Padding)?;
            payload = &rest[..length];
        }
        if self.kind == kind::HEADERS && self.flags & PRIORITY != 0 {
            payload = payload.get(5..).ok_or(Error::Padding)?;
        }
        Ok(Frame { kind: self.kind, flags: self.flags, stream: self.stream, payload, flow: whole.len() })
    }
}

/// Writes the header of a frame.
pub(super) fn put_header(length: usize, kind: u8, flags: u8, stream: u32, out: &mut Vec<u8>) {
    debug_assert!(length <= PAYLOAD_BYTES_MAX, "no frame is longer than any peer takes");
    let [_, a, b, c] = (length as u32).to_be_bytes();
    let [d, e, f, g] = stream.to_be_bytes();
    out.extend_from_slice(&[a, b, c, kind, flags, d, e, f, g]);
}

/// Writes a frame.
pub(super) fn put(kind: u8, flags: u8, stream: u32, payload: &[u8], out: &mut Vec<u8>) {
    put_header(payload.len(), kind, flags, stream, out);
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::{END_STREAM, Error, Frames, kind, put, put_header};

    /// Kind, flags, stream, payload.
    type Whole = (u8, u8, u32, Vec<u8>);

    /// What frames a stream of bytes has when it comes in pieces of a size; DATA of one frame put together again.
    fn cut(bytes: &[u8], piece: usize) -> Result<Vec<Whole>, Error> {
        let (mut frames, mut got, mut data) = (Frames::default(), Vec::new(), Vec::new());
        for bytes in bytes.chunks(piece) {
            frames.feed(bytes, |frame| {
                if frame.kind == kind::DATA {
                    data.extend_from_slice(frame.payload);
                    if frame.flags & END_STREAM != 0 {
                        got.push((frame.kind, frame.flags, frame.stream, std::mem::take(&mut data)));
                    }
                } else {
                    got.push((frame.kind, frame.flags, frame.stream, frame.payload.to_vec()));
                }
                Ok::<_, Error>(())
            })?;
        }
        Ok(got)
    }

    #[test]
    fn frames_come_out_whole_whatever_the_pieces() {
        let mut bytes = Vec::new();
        put(kind::SETTINGS, 0, 0, &[], &mut bytes);
        put(kind::HEADERS, 4, 1, b"block", &mut bytes);
        put(kind::DATA, 0, 1, b"one", &mut bytes);
        put(kind::DATA, 0, 1, b"", &mut bytes);
        put(kind::DATA, END_STREAM, 1, &[5; 16_384], &mut bytes);
        put(kind::DATA, END_STREAM, 3, b"", &mut bytes);
        // Padded, with a priority.
        put(kind::HEADERS, 0x2c, 5, b"\x02.....block\0\0", &mut bytes);
        put(kind::DATA, 0x9, 5, b"\x01data\0", &mut bytes);
        put(kind::PING, 0, 0, &[1; 8], &mut bytes);
        let whole = cut(&bytes, bytes.len()).unwrap();
        let kinds: Vec<_> = whole.iter().map(|(kind, ..)| *kind).collect();
        assert_eq!(kinds, [4, 1, 0, 0, 1, 0, 6]);
        assert_eq!((&*whole[4].3, &*whole[5].3), (&b"block"[..], &b"data"[..]));
        assert_eq!(whole[2].3.len(), 3 + 16_384);
        for piece in [1, 2, 3, 8, 9, 10, 11, 100, 5000, 16_393] {
            assert!(cut(&bytes, piece).unwrap() == whole, "pieces of {piece}");
        }
    }

    #[test]
    fn what_breaks_the_protocol_is_refused_before_it_is_held() {
        for piece in [1, 100] {
            let mut bytes = vec![0x00, 0x40, 0x01, kind::DATA, 0, 0, 0, 0, 1];
            assert_eq!(cut(&bytes, piece), Err(Error::TooLong(16_385)));
            bytes = vec![0xff, 0xff, 0xff, kind::SETTINGS, 0, 0, 0, 0, 0];
            assert_eq!(cut(&bytes, piece), Err(Error::TooLong(0xff_ffff)));
            for payload in [&b""[..], b"\x05four", b"\xff"] {
                bytes.clear();
                put(kind::DATA, 0x8, 1, payload, &mut bytes);
                assert_eq!(cut(&bytes, piece), Err(Error::Padding), "{payload:?}");
            }
            bytes.clear();
            put(kind::HEADERS, 0x20, 1, b"four", &mut bytes);
            assert_eq!(cut(&bytes, piece), Err(Error::Padding));
        }
    }

    #[test]
    fn a_frame_that_is_cut_is_not_seen_and_little_is_held() {
        let mut bytes = Vec::new();
        put_header(100, kind::GOAWAY, 0, 0, &mut bytes);
        bytes.extend([0; 99]);
        assert_eq!(cut(&bytes, 7).unwrap(), []);
        let mut frames = Frames::default();
        frames.feed(&bytes, |_| Ok::<_, Error>(())).unwrap();
        assert_eq!(frames.held.len(), 108);
    }
}
