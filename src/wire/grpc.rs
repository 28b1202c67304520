//! gRPC's message framing (length-prefixed messages) and status words in trailers, as the gRPC specification's
//! "gRPC over HTTP2" lays them down. It knows neither methods nor streams.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes before each message: the compressed flag and the length.
pub const PREFIX_BYTES: usize = 5;

/// The one content type that requests and answers carry.
pub const CONTENT_TYPE: &str = "application/grpc";

/// Why bytes are not a gRPC message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The compressed flag is set, and no encoding but `identity` is offered.
    #[error("the message is compressed; send it with grpc-encoding identity")]
    Compressed,
    /// The compressed flag is neither 0 nor 1.
    #[error("the message's first byte is {0}, not 0")]
    Flag(u8),
    /// The message is longer than the receiver takes.
    #[error("the message has {length} bytes; the limit is {limit}")]
    TooLong {
        /// Length the prefix names.
        length: usize,
        /// Longest message taken.
        limit: usize,
    },
    /// The stream ended inside a message, or a unary call had no message or several.
    #[error("expected exactly one whole message")]
    NotOne,
}

/// Writes the prefix of a message of `length` bytes.
///
/// # Panics
/// When `length` does not fit 32 bits: no caller builds such messages, the largest payload is 1 MiB.
pub fn put_prefix(length: usize, out: &mut impl BufMut) {
    out.put_u8(0);
    out.put_u32(u32::try_from(length).expect("messages are bounded far below 4 GiB"));
}

/// A prefix and a message.
#[must_use]
pub fn framed(message: &impl prost::Message) -> Bytes {
    let length = message.encoded_len();
    let mut out = BytesMut::with_capacity(PREFIX_BYTES + length);
    put_prefix(length, &mut out);
    message.encode_raw(&mut out);
    out.freeze()
}

/// Reads the one message of a unary request body.
///
/// # Errors
/// When the body is not exactly one uncompressed message.
pub fn unary(mut body: Bytes, limit: usize) -> Result<Bytes, Error> {
    let Some(length) = prefix(&body, limit)? else { return Err(Error::NotOne) };
    body.advance(PREFIX_BYTES);
    if body.len() == length { Ok(body) } else { Err(Error::NotOne) }
}

/// The length a prefix names; `None` when the prefix is not all there yet.
fn prefix(bytes: &[u8], limit: usize) -> Result<Option<usize>, Error> {
    let Some((&flag, rest)) = bytes.split_first() else { return Ok(None) };
    match flag {
        0 => {}
        1 => return Err(Error::Compressed),
        other => return Err(Error::Flag(other)),
    }
    let Some(length) = rest.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(*length) as usize;
    if length > limit { Err(Error::TooLong { length, limit }) } else { Ok(Some(length)) }
}

/// Cuts a stream of DATA into messages. Holds at most one message and what came with it.
#[derive(Debug)]
pub struct Deframer {
    /// Bytes received and not yet given out.
    held: BytesMut,
    /// Longest message taken, in bytes.
    limit: usize,
}

impl Deframer {
    /// A deframer that takes messages of at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { held: BytesMut::new(), limit }
    }

    /// Takes bytes as they arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// The next whole message, if it is all there.
    ///
    /// # Errors
    /// When the bytes are not gRPC messages; the stream is of no use from then on.
    pub fn next_message(&mut self) -> Result<Option<Bytes>, Error> {
        let Some(length) = prefix(&self.held, self.limit)? else { return Ok(None) };
        if self.held.len() < PREFIX_BYTES + length {
            return Ok(None);
        }
        self.held.advance(PREFIX_BYTES);
        Ok(Some(self.held.split_to(length).freeze()))
    }
}

/// Percent-encodes words for the `grpc-message` trailer: all but printable ASCII, and the percent sign itself.
#[must_use]
pub fn encode_words(words: &str) -> String {
    let mut out = String::with_capacity(words.len());
    for byte in words.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// Reads what [`encode_words`] wrote; what is not so encoded is kept as it is.
#[must_use]
pub fn decode_words(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let hex = tail.get(..2).filter(|_| byte == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        if let Some(value) = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            out.push(value);
            rest = &tail[2..];
        } else {
            out.push(byte);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{Deframer, Error, decode_words, encode_words, unary};

    #[test]
    fn unary_bodies_are_exactly_one_message() {
        type Case = (&'static [u8], Result<&'static [u8], Error>);
        let cases: [Case; 8] = [
            (b"\0\0\0\0\x02hi", Ok(b"hi")),
            (b"\0\0\0\0\0", Ok(b"")),
            (b"", Err(Error::NotOne)),
            (b"\0\0\0", Err(Error::NotOne)),
            (b"\0\0\0\0\x02h", Err(Error::NotOne)),
            (b"\0\0\0\0\x01hi", Err(Error::NotOne)),
            (b"\x01\0\0\0\x02hi", Err(Error::Compressed)),
            (b"\x07\0\0\0\x02hi", Err(Error::Flag(7))),
        ];
        for (body, expected) in cases {
            assert_eq!(unary(Bytes::from_static(body), 10), expected.map(Bytes::from_static), "{body:?}");
        }
        let long = Bytes::from_static(b"\0\xff\xff\xff\xff");
        assert_eq!(unary(long, 10), Err(Error::TooLong { length: 0xffff_ffff, limit: 10 }));
    }

    #[test]
    fn a_stream_may_be_cut_anywhere() {
        let bytes = b"\0\0\0\0\x03one\0\0\0\0\0\0\0\0\0\x03two";
        for size in 1..=bytes.len() {
            let mut deframer = Deframer::new(10);
            let mut messages = Vec::new();
            for chunk in bytes.chunks(size) {
                deframer.push(chunk);
                while let Some(message) = deframer.next_message().expect("the bytes are well formed") {
                    messages.push(message);
                }
            }
            assert_eq!(messages, ["one", "", "two"].map(Bytes::from));
        }
    }

    #[test]
    fn words_survive_the_trailer() {
        for words in ["plain", "50% of \u{e9}\n", "%zz", ""] {
            let encoded = encode_words(words);
            assert!(encoded.bytes().all(|b| (b' '..=b'~').contains(&b)));
            assert_eq!(decode_words(&encoded), words);
        }
        assert_eq!(decode_words("100%"), "100%");
    }
}
