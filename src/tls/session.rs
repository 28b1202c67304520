//! One client TLS connection without a socket: bytes of the network in and out, plaintext out and in. It holds no
//! buffers of its own, so that a crowd of idle connections costs little; its callers read and write the sockets.

use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::{Resumption, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};
use rustls::version::TLS13;

use super::{Error, provider, roots_in, system_roots};

/// What all sessions of a crowd share: whom they trust and which server they expect. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Trust {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Trust {
    /// Trusts the certificates in `roots_pem`, or the system's when `None`, for the server called `host`, and offers
    /// `protocol` (ALPN) only. Speaks TLS 1.3 only; every handshake is a full one.
    ///
    /// # Errors
    /// [`Error::NoRoots`], [`Error::NoSystemRoots`], or [`Error::Setup`], also when `host` is no host.
    pub fn new(roots_pem: Option<&[u8]>, host: &str, protocol: &[u8]) -> Result<Self, Error> {
        let roots = match roots_pem {
            Some(pem) => roots_in(pem)?,
            None => system_roots()?,
        };
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        // Those who measure handshakes want each to cost the same.
        config.resumption = Resumption::disabled();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(bare.to_owned())
            .map_err(|_| rustls::Error::General(format!("`{host}` is not a host name")))?;
        Ok(Self { config: Arc::new(config), name })
    }
}

/// A client's side of one connection.
pub struct Session {
    inner: UnbufferedClientConnection,
    /// The handshake is done.
    open: bool,
    /// The peer said that nothing follows.
    closed: bool,
}

impl Session {
    /// A session that has said nothing yet; [`Session::receive`] with no bytes gives its first words.
    ///
    /// # Errors
    /// When the settings cannot work.
    pub fn new(trust: &Trust) -> Result<Self, Error> {
        let inner = UnbufferedClientConnection::new(Arc::clone(&trust.config), trust.name.clone())?;
        Ok(Self { inner, open: false, closed: false })
    }

    /// Whether data may be sent.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.open
    }

    /// Whether the peer ended the connection in order.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.closed
    }

    /// The protocol that was agreed on.
    #[must_use]
    pub fn protocol(&self) -> Option<&[u8]> {
        self.inner.alpn_protocol()
    }

    /// Takes what came from the network, hands plaintext to `take`, and appends to `out` what must be sent. Gives the
    /// number of bytes it used up; the rest is the beginning of a record and must come again with more behind it.
    ///
    /// # Errors
    /// What is wrong with the bytes or the certificate, or what `take` failed with.
    pub fn receive(
        &mut self,
        incoming: &mut [u8],
        out: &mut Vec<u8>,
        mut take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<usize> {
        let mut used = 0;
        loop {
            let UnbufferedStatus { mut discard, state, .. } = self.inner.process_tls_records(&mut incoming[used..]);
            let mut waits = false;
            match state.map_err(broken)? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(broken)?;
                        discard += record.discard;
                        take(record.payload)?;
                    }
                }
                ConnectionState::EncodeTlsData(mut data) => encode(&mut data, out)?,
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::WriteTraffic(_) => (self.open, waits) = (true, true),
                ConnectionState::PeerClosed | ConnectionState::Closed => (self.closed, waits) = (true, true),
                // The handshake needs more bytes; early data is never offered.
                _ => waits = true,
            }
            used += discard;
            if waits {
                return Ok(used);
            }
        }
    }

    /// Appends to `out` the records that carry `plain`.
    ///
    /// # Errors
    /// When the session is not open.
    pub fn send(&mut self, plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        if !self.open {
            // Asking for the state would take the next words of the handshake and lose them.
            return Err(io::ErrorKind::NotConnected.into());
        }
        let ConnectionState::WriteTraffic(mut traffic) =
            self.inner.process_tls_records(&mut []).state.map_err(broken)?
        else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let before = out.len();
        let records = plain.len() / RECORD_BYTES + 1;
        out.resize(before + plain.len() + records * RECORD_OVERHEAD_BYTES, 0);
        let written = traffic.encrypt(plain, &mut out[before..]).map_err(io::Error::other)?;
        out.truncate(before + written);
        Ok(())
    }
}

fn encode<Data>(data: &mut EncodeTlsData<'_, Data>, out: &mut Vec<u8>) -> io::Result<()> {
    let before = out.len();
    let mut room = HANDSHAKE_BYTES;
    loop {
        out.resize(before + room, 0);
        match data.encode(&mut out[before..]) {
            Ok(written) => {
                out.truncate(before + written);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(need)) if need.required_size > room => room = need.required_size,
            Err(error) => return Err(io::Error::other(error)),
        }
    }
}

fn broken(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Plaintext of one record (RFC 8446, section 5.1).
const RECORD_BYTES: usize = 16 * 1024;
/// What encryption adds to a record: header, content type, tag (RFC 8446, section 5.2), with room to spare.
const RECORD_OVERHEAD_BYTES: usize = 64;
/// More than a `ClientHello` with a post-quantum key share has. A longer message asks for more.
const HANDSHAKE_BYTES: usize = 2 * 1024;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::{Session, Trust};
    use crate::model::clock::Clock;
    use crate::tls::{Acceptor, Certificate, Files, develop};
    use std::sync::Arc;

    fn certificate(folder: &std::path::Path) -> (Vec<u8>, Files) {
        let made = develop::open(folder, &[], Clock::new().now().wall).unwrap();
        (std::fs::read(made.ca).unwrap(), made.files)
    }

    /// Brings a session to the end of its handshake, feeding it `piece` bytes at a time.
    async fn shake(session: &mut Session, far: &mut tokio::io::DuplexStream, piece: usize) -> std::io::Result<()> {
        let (mut held, mut out) = (Vec::new(), Vec::new());
        loop {
            let used = session.receive(&mut held, &mut out, |_| Ok(()))?;
            held.drain(..used);
            if !out.is_empty() {
                far.write_all(&std::mem::take(&mut out)).await?;
            }
            if session.is_open() {
                return Ok(());
            }
            let mut bytes = vec![0; piece];
            let read = far.read(&mut bytes).await?;
            assert!(read > 0, "the server went away");
            held.extend_from_slice(&bytes[..read]);
        }
    }

    #[tokio::test]
    async fn it_shakes_hands_in_any_pieces_and_carries_data_both_ways() {
        let folder = tempfile::tempdir().unwrap();
        let (ca, files) = certificate(folder.path());
        let acceptor = Acceptor::new(Arc::new(Certificate::load(files).unwrap()), &[b"h2"]).unwrap();
        let trust = Trust::new(Some(&ca), "127.0.0.1", b"h2").unwrap();
        for piece in [1, 700, 65536] {
            let (near, mut far) = tokio::io::duplex(65536);
            let mut session = Session::new(&trust).unwrap();
            assert!(session.send(b"too early", &mut Vec::new()).is_err());
            let (server, shaken) = tokio::join!(acceptor.accept(near), shake(&mut session, &mut far, piece));
            let mut server = server.unwrap();
            shaken.unwrap();
            assert_eq!(session.protocol(), Some(&b"h2"[..]));
            let sent = vec![7; 40_000];
            let mut out = Vec::new();
            session.send(&sent, &mut out).unwrap();
            far.write_all(&out).await.unwrap();
            let mut got = vec![0; sent.len()];
            server.read_exact(&mut got).await.unwrap();
            assert!(got == sent);
            server.write_all(b"an answer").await.unwrap();
            server.shutdown().await.unwrap();
            let (mut held, mut plain) = (Vec::new(), Vec::new());
            while !session.is_closed() {
                let mut bytes = vec![0; piece];
                let read = far.read(&mut bytes).await.unwrap();
                assert!(read > 0, "the server went away, {piece} {} {}", plain.len(), held.len());
                held.extend_from_slice(&bytes[..read]);
                let used = session
                    .receive(&mut held, &mut out, |bytes| {
                        plain.extend_from_slice(bytes);
                        Ok(())
                    })
                    .unwrap();
                held.drain(..used);
            }
            assert_eq!(plain, b"an answer");
        }
    }

    #[tokio::test]
    async fn strangers_and_noise_are_refused() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [(_, files), (other_ca, _)] = folders.each_ref().map(|folder| certificate(folder.path()));
        let acceptor = Acceptor::new(Arc::new(Certificate::load(files).unwrap()), &[b"h2"]).unwrap();
        let trust = Trust::new(Some(&other_ca), "127.0.0.1", b"h2").unwrap();
        let (near, mut far) = tokio::io::duplex(65536);
        let mut session = Session::new(&trust).unwrap();
        let accept = tokio::spawn(async move { acceptor.accept(near).await.is_ok() });
        let why = shake(&mut session, &mut far, 65536).await.unwrap_err();
        assert!(crate::tls::distrust(&why).is_some(), "{why}");
        drop(far);
        assert!(!accept.await.unwrap());
        let mut session = Session::new(&trust).unwrap();
        let mut noise = b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec();
        assert!(session.receive(&mut noise, &mut Vec::new(), |_| Ok(())).is_err());
        assert!(Trust::new(Some(&other_ca), "not a name", b"h2").is_err());
    }
}
