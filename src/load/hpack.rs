//! Header blocks (RFC 7541) as far as a lean client needs them: it writes literals, and reads the blocks of peers that
//! were told to keep no dynamic table.

use std::sync::LazyLock;

/// Why a block cannot be read: the peer broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the header block is damaged")]
pub(super) struct Error;

/// What the head of a request says.
pub(super) struct Request<'t> {
    /// Over TLS.
    pub(super) is_tls: bool,
    /// `:path`.
    pub(super) path: &'t str,
    /// `:authority`.
    pub(super) authority: &'t str,
    /// `authorization`, if any.
    pub(super) bearer: Option<&'t str>,
}

/// Writes the header block of a gRPC request. Nothing is added to the peer's dynamic table, so blocks are the same on
/// every stream and can be made once.
pub(super) fn request(request: &Request<'_>) -> Vec<u8> {
    // `:method: POST` and `:scheme` stand in the static table (RFC 7541, appendix A), the names of others too.
    let mut out = vec![0x83, if request.is_tls { 0x87 } else { 0x86 }];
    out.push(0x04);
    put_string(request.path, &mut out);
    out.push(0x01);
    put_string(request.authority, &mut out);
    out.extend([0x0f, 0x10]);
    put_string("application/grpc", &mut out);
    out.push(0x00);
    put_string("te", &mut out);
    put_string("trailers", &mut out);
    if let Some(bearer) = request.bearer {
        // Never indexed, not even by proxies: it is a secret.
        out.extend([0x1f, 0x08]);
        put_string(&format!("Bearer {bearer}"), &mut out);
    }
    out
}

fn put_string(text: &str, out: &mut Vec<u8>) {
    match u8::try_from(text.len()) {
        Ok(length @ ..127) => out.push(length),
        _ => {
            out.push(127);
            let mut rest = text.len() - 127;
            while rest >= 128 {
                out.push((rest % 128) as u8 | 0x80);
                rest /= 128;
            }
            out.push(rest as u8);
        }
    }
    out.extend_from_slice(text.as_bytes());
}

/// What the head or the trailers of an answer say, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// `:status`; absent in trailers.
    pub(super) status: Option<u16>,
    /// `grpc-status`.
    pub(super) grpc_status: Option<u32>,
    /// `pushline-code`: the stable word of a refusal.
    pub(super) code: Option<String>,
    /// `grpc-message`, percent-encoded.
    pub(super) words: Option<String>,
}

/// Reads a header block.
pub(super) fn head(mut block: &[u8]) -> Result<Head, Error> {
    let mut head = Head::default();
    while let Some(&first) = block.first() {
        let (prefix, literal) = match first {
            0x80.. => (7, false),
            0x40.. => (6, true),
            0x20.. => {
                // The table's new size. We allow none.
                if integer(&mut block, 5)? != 0 {
                    return Err(Error);
                }
                continue;
            }
            _ => (4, true),
        };
        let index = integer(&mut block, prefix)?;
        let name = match index {
            0 if literal => string(&mut block)?,
            8..=14 => b":status".to_vec(),
            1..=61 => Vec::new(),
            _ => return Err(Error),
        };
        if literal {
            let value = string(&mut block)?;
            let text = || Some(String::from_utf8_lossy(&value).into_owned());
            match &*name {
                b":status" => head.status = text().and_then(|text| text.parse().ok()),
                b"grpc-status" => head.grpc_status = text().and_then(|text| text.parse().ok()),
                b"pushline-code" => head.code = text(),
                b"grpc-message" => head.words = text(),
                _ => {}
            }
        } else if let Some(status) = (index as usize).checked_sub(8).and_then(|at| STATUSES.get(at)) {
            head.status = Some(*status);
        }
    }
    Ok(head)
}

/// The statuses of the static table, from index 8 on.
const STATUSES: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];

/// An integer with a prefix of so many bits (RFC 7541, section 5.1).
fn integer(block: &mut &[u8], prefix: u32) -> Result<u32, Error> {
    let (&first, mut rest) = block.split_first().ok_or(Error)?;
    let full = (1_u32 << prefix) - 1;
    let mut value = u32::from(first) & full;
    if value == full {
        for shift in [0, 7, 14, 21] {
            let (&byte, tail) = rest.split_first().ok_or(Error)?;
            rest = tail;
            value += u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                *block = rest;
                return Ok(value);
            }
        }
        return Err(Error);
    }
    *block = rest;
    Ok(value)
}

/// A string, Huffman-coded or not (RFC 7541, section 5.2).
fn string(block: &mut &[u8]) -> Result<Vec<u8>, Error> {
    let is_huffman = block.first().is_some_and(|first| *first >= 0x80);
    let length = integer(block, 7)? as usize;
    let (bytes, rest) = block.split_at_checked(length).ok_or(Error)?;
    *block = rest;
    if is_huffman { huffman(bytes) } else { Ok(bytes.to_vec()) }
}

/// Undoes the Huffman code, bit by bit: only refusals and first answers are read so, and they are short.
fn huffman(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let (mut out, mut code, mut length) = (Vec::with_capacity(bytes.len() * 2), 0_u32, 0_usize);
    for bit in bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)) {
        (code, length) = (code << 1 | u32::from(bit), length + 1);
        let row = CODES.rows.get(length).ok_or(Error)?;
        if let Some(at) = code.checked_sub(row.first).filter(|at| *at < row.count) {
            // The last symbol is the end of the string, which must not be in it.
            let symbol = CODES.symbols[(row.at + at) as usize];
            out.push(u8::try_from(symbol).map_err(|_| Error)?);
            (code, length) = (0, 0);
        }
    }
    // What is left must be padding: less than a byte, all ones.
    if length < 8 && code == (1 << length) - 1 { Ok(out) } else { Err(Error) }
}

/// The codes of one length.
#[derive(Clone, Copy, Default)]
struct Row {
    /// The first of them.
    first: u32,
    /// How many there are; their codes follow one another.
    count: u32,
    /// Where their symbols begin.
    at: u32,
}

struct Codes {
    /// By length.
    rows: [Row; 31],
    /// By length, then by value.
    symbols: Vec<u16>,
}

/// The code is canonical: its lengths say it all.
static CODES: LazyLock<Codes> = LazyLock::new(|| {
    let (mut rows, mut symbols, mut code) = ([Row::default(); 31], Vec::new(), 0_u32);
    for (length, row) in rows.iter_mut().enumerate().skip(1) {
        code <<= 1;
        (row.first, row.at) = (code, symbols.len() as u32);
        let of_length = LENGTHS.iter().enumerate().filter(|(_, bits)| usize::from(**bits) == length);
        symbols.extend(of_length.map(|(symbol, _)| symbol as u16));
        row.count = symbols.len() as u32 - row.at;
        code += row.count;
    }
    Codes { rows, symbols }
});

/// Bits of the code of each byte, and of the end of the string (RFC 7541, appendix B).
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12,
    10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6,
    5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22,
    22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20,
    22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28,
    27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28,
    27, 27, 27, 27, 27, 26, 30,
];

#[cfg(test)]
mod tests {
    use super::{Error, Head, Request, head, huffman, request};

    #[test]
    fn it_reads_the_code_of_the_standard() {
        // RFC 7541, appendix C.4 and C.6.
        for (bytes, text) in [
            (&[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff][..], "www.example.com"),
            (&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], "no-cache"),
            (&[0xae, 0xc3, 0x77, 0x1a, 0x4b], "private"),
            (&[0x64, 0x02], "302"),
            (&[], ""),
        ] {
            assert_eq!(huffman(bytes).as_deref(), Ok(text.as_bytes()));
        }
    }

    #[test]
    fn damaged_codes_are_refused() {
        // Padding of zeros, of a whole byte, the end of the string inside it, a code that never ends.
        for bytes in [&[0x64][..], &[0xae, 0xc3, 0x77, 0x1a, 0x4b, 0xff], &[0xff; 4], &[0xff; 40]] {
            assert_eq!(huffman(bytes), Err(Error), "{bytes:x?}");
        }
    }

    #[test]
    fn a_refusal_is_read_with_all_that_matters() {
        let mut block = vec![0x20, 0x88, 0x0f, 0x10, 3, b'a', b'/', b'b'];
        for (name, value) in [("grpc-status", "16"), ("pushline-code", "expired_token"), ("grpc-message", "no%21")] {
            // Each in another of the three forms of a literal.
            block.push([0x00, 0x10, 0x40][name.len() % 3]);
            super::put_string(name, &mut block);
            super::put_string(value, &mut block);
        }
        let expected = Head {
            status: Some(200),
            grpc_status: Some(16),
            code: Some("expired_token".into()),
            words: Some("no%21".into()),
        };
        assert_eq!(head(&block), Ok(expected));
        assert_eq!(head(&[0x8d]).unwrap().status, Some(404));
        assert_eq!(head(&[0x08, 3, b'4', b'1', b'5']).unwrap().status, Some(415));
    }

    #[test]
    fn what_is_cut_or_names_what_is_not_there_is_refused() {
        let whole = [0x00, 2, b'a', b'b', 2, b'c', b'd'];
        for length in 1..whole.len() {
            assert_eq!(head(&whole[..length]), Err(Error), "{length} bytes");
        }
        // A dynamic entry, index 0, a table larger than allowed, an endless integer, a string longer than the block.
        for block in [
            &[0xbe][..],
            &[0x80],
            &[0x3f, 0x01],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            &[0x00, 0x7f, 0xff, 0xff, 0x7f],
        ] {
            assert_eq!(head(block), Err(Error), "{block:x?}");
        }
    }

    #[test]
    fn whatever_the_bytes_it_never_panics() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..20_000 {
            let block: Vec<u8> = (0..random.usize(..40)).map(|_| random.u8(..)).collect();
            let _ = head(&block);
        }
    }

    #[test]
    fn long_values_of_requests_carry_their_length() {
        let token = "t".repeat(500);
        let block = request(&Request { is_tls: true, path: "/p", authority: "a:1", bearer: Some(&token) });
        let mut rest = &block[block.len() - 511..];
        assert_eq!(&rest[..1], [0x08]);
        rest = &rest[1..];
        assert_eq!(super::string(&mut rest).unwrap(), format!("Bearer {token}").into_bytes());
        assert_eq!(head(&block).unwrap(), Head::default());
    }
}
