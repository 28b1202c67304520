//! TLS 1.3 and 1.2 for listeners and clients: who is trusted and which protocols are agreed on. It does not open sockets
//! and sets no deadlines; its callers do.

pub mod certificate;
pub mod develop;
pub mod mutual;
pub mod server;
pub mod session;

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::NoServerSessionStorage;
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, ClientConfig, ProtocolVersion, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite};

pub use certificate::{Certificate, Files};
pub use mutual::Fingerprint;
pub use tokio_rustls::client;

/// Why TLS could not be set up. Failed handshakes are [`io::Error`]s instead.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The certificate, or its key, cannot be used.
    #[error(transparent)]
    Certificate(#[from] certificate::Error),
    /// The development certificate could not be made.
    #[error(transparent)]
    Develop(#[from] develop::Error),
    /// What a client shows, or whom a listener lets in, cannot be used.
    #[error(transparent)]
    Mutual(#[from] mutual::Error),
    /// What was given as trusted certificates holds none.
    #[error("no certificate among the trusted ones: expected PEM with at least one `BEGIN CERTIFICATE` block")]
    NoRoots,
    /// The system's trusted certificates could not be found.
    #[error("the system has no trusted certificates ({0}); name a file with the one to trust")]
    NoSystemRoots(String),
    /// The TLS library refused the settings.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// The server's side: turns accepted sockets into TLS streams. Cheap to clone; clones share the certificate.
#[derive(Clone)]
pub struct Acceptor {
    /// The settings of every handshake.
    config: Arc<ServerConfig>,
}

impl Acceptor {
    /// Serves a certificate, and agrees on the first of `protocols` (ALPN, most wanted first) that the client offers. A
    /// client that offers only others is refused; one that offers none is let in and has no agreed protocol.
    ///
    /// # Errors
    /// [`Error::Setup`].
    pub fn new(certificate: Arc<Certificate>, protocols: &[&[u8]]) -> Result<Self, Error> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(VERSIONS)?
            .with_no_client_auth()
            .with_cert_resolver(certificate);
        // Tickets let a client resume without a round trip while the server remembers nothing. One is enough: a client
        // holds one connection.
        config.ticketer = Ticketer::new()?;
        config.send_tls13_tickets = 1;
        Ok(Self::with_config(config, protocols))
    }

    /// As [`Acceptor::new`], for clients that may show a certificate: it must be in force and signed by one of the CAs in
    /// the PEM file `authorities`.
    ///
    /// # Errors
    /// [`Error::Mutual`] or [`Error::Setup`].
    pub fn with_clients(certificate: Arc<Certificate>, protocols: &[&[u8]], authorities: &Path) -> Result<Self, Error> {
        let verifier = mutual::verifier(authorities, provider())?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(VERSIONS)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(certificate);
        // A client that resumes is not asked for its certificate again, which may have expired since.
        config.send_tls13_tickets = 0;
        Ok(Self::with_config(config, protocols))
    }

    fn with_config(mut config: ServerConfig, protocols: &[&[u8]]) -> Self {
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Self { config: Arc::new(config) }
    }

    /// Does the handshake. Dropping the future closes the socket.
    ///
    /// # Errors
    /// What the socket or the handshake failed with; the peer was sent the fitting alert.
    pub async fn accept<S>(&self, socket: S) -> io::Result<server::TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        server::TlsStream::accept(Arc::clone(&self.config), socket).await
    }
}

/// The client's side: turns connected sockets into TLS streams. Cheap to clone; clones share tickets for resumption.
#[derive(Clone)]
pub struct Connector {
    /// The settings of every handshake.
    inner: tokio_rustls::TlsConnector,
}

impl Connector {
    /// Trusts the certificates in `roots_pem`, or the system's when `None`, and offers `protocols` (ALPN, most wanted
    /// first).
    ///
    /// # Errors
    /// [`Error::NoRoots`], [`Error::NoSystemRoots`] or [`Error::Setup`].
    pub fn new(roots_pem: Option<&[u8]>, protocols: &[&[u8]]) -> Result<Self, Error> {
        Self::with_versions(roots_pem, protocols, VERSIONS)
    }

    /// Trusts the system's certificates, as far as it has some, and those in `more_pem`. A system without any is no error:
    /// then nobody else is trusted.
    ///
    /// # Errors
    /// [`Error::NoRoots`] when `more_pem` holds none, or [`Error::Setup`].
    pub fn besides_system(more_pem: Option<&[u8]>, protocols: &[&[u8]]) -> Result<Self, Error> {
        let mut roots = more_pem.map_or_else(|| Ok(RootCertStore::empty()), roots_in)?;
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Self::with_roots(roots, protocols, VERSIONS, None)
    }

    /// As [`Connector::new`], and shows a certificate to a server that asks: `chain_pem` is it and those between it and the
    /// root, `key_pem` its private key.
    ///
    /// # Errors
    /// As [`Connector::new`], and [`Error::Mutual`].
    pub fn identified(
        roots_pem: Option<&[u8]>,
        protocols: &[&[u8]],
        chain_pem: &[u8],
        key_pem: &[u8],
    ) -> Result<Self, Error> {
        let identity = mutual::Identity::read(chain_pem, key_pem)?;
        let roots = roots_pem.map_or_else(system_roots, roots_in)?;
        Self::with_roots(roots, protocols, VERSIONS, Some(identity))
    }

    fn with_versions(
        roots_pem: Option<&[u8]>,
        protocols: &[&[u8]],
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<Self, Error> {
        let roots = roots_pem.map_or_else(system_roots, roots_in)?;
        Self::with_roots(roots, protocols, versions, None)
    }

    fn with_roots(
        roots: RootCertStore,
        protocols: &[&[u8]],
        versions: &[&'static SupportedProtocolVersion],
        identity: Option<mutual::Identity>,
    ) -> Result<Self, Error> {
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)?
            .with_root_certificates(roots);
        let mut config = match identity {
            None => config.with_no_client_auth(),
            Some(identity) => config.with_client_auth_cert(identity.chain, identity.key)?,
        };
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Ok(Self { inner: Arc::new(config).into() })
    }

    /// Does the handshake with the server that is called `host` (a name or an IP address), and checks that its
    /// certificate says so.
    ///
    /// # Errors
    /// What the socket or the handshake failed with; [`io::ErrorKind::InvalidInput`] when `host` is no host.
    pub async fn connect<S>(&self, host: &str, socket: S) -> io::Result<client::TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(bare.to_owned())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("`{host}` is not a host name")))?;
        self.inner.connect_with(name, socket, |connection| connection.set_buffer_limit(Some(BUFFER_BYTES_MAX))).await
    }
}

/// Makes aws-lc-rs the process's provider, for libraries that look for one. Everything here names it by itself. Calling
/// it again is harmless.
pub fn install() {
    // Fails only when a provider is installed already, and there is only this one in the program.
    let _ = default_provider().install_default();
}

/// The version that a connection agreed on, in words.
#[must_use]
pub fn version<S>(stream: &client::TlsStream<S>) -> &'static str {
    match stream.get_ref().1.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
        // Nothing else is offered.
        _ => "TLS",
    }
}

/// Why the server's certificate was not trusted, if that is what a handshake failed of.
#[must_use]
pub fn distrust(why: &io::Error) -> Option<String> {
    match why.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(how) => Some(how.to_string()),
        _ => None,
    }
}

/// Whether a handshake failed because the peer does not speak TLS.
#[must_use]
pub fn is_foreign(why: &io::Error) -> bool {
    let why = why.get_ref().and_then(|why| why.downcast_ref::<rustls::Error>());
    matches!(why, Some(rustls::Error::InvalidMessage(_)))
}

/// The library's own, but with AES-128 before AES-256 (RFC 8446, section 9.1, makes it the mandatory one). The client's
/// order decides, so this is what our clients ask for: the key schedule of AES-256 runs on SHA-384, which processors do not
/// speed up, and costs each end some 25 us more of a handshake by profile.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = default_provider();
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    Arc::new(provider)
}

fn roots_in(pem: &[u8]) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.map_err(|_| Error::NoRoots)?)?;
    }
    if roots.is_empty() { Err(Error::NoRoots) } else { Ok(roots) }
}

fn system_roots() -> Result<RootCertStore, Error> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Some systems carry certificates too old to parse; the rest is still good.
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let why = found.errors.first().map_or_else(|| "none found".to_owned(), ToString::to_string);
        return Err(Error::NoSystemRoots(why));
    }
    Ok(roots)
}

/// What is spoken; everything older is broken (RFC 8996).
const VERSIONS: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// Data that waits in the TLS layer while the socket is full. One TLS record (RFC 8446, section 5.1): enough to keep the
/// socket busy; the library's 64 KiB for each slow reader would add up.
const BUFFER_BYTES_MAX: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;
    use std::sync::Arc;

    use rustls::version::{TLS12, TLS13};
    use rustls::{CipherSuite, HandshakeKind, ProtocolVersion};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::{Acceptor, Certificate, Connector, Error, client, develop, server};
    use crate::model::clock::Clock;

    type Ends = (io::Result<server::TlsStream<DuplexStream>>, io::Result<client::TlsStream<DuplexStream>>);

    /// Makes a development certificate in a folder; gives the CA to trust and the files.
    fn certificate(folder: &Path) -> (Vec<u8>, super::Files) {
        let made = develop::open(folder, &[], Clock::new().now().wall).unwrap();
        (std::fs::read(made.ca).unwrap(), made.files)
    }

    fn acceptor(files: &super::Files, protocols: &[&[u8]]) -> (Acceptor, Arc<Certificate>) {
        let certificate = Arc::new(Certificate::load(files.clone()).unwrap());
        (Acceptor::new(Arc::clone(&certificate), protocols).unwrap(), certificate)
    }

    async fn handshake(acceptor: &Acceptor, connector: &Connector, host: &str) -> Ends {
        let (near, far) = tokio::io::duplex(4096);
        tokio::join!(acceptor.accept(near), connector.connect(host, far))
    }

    /// Sends a word each way, so that both sides have really agreed.
    async fn talk(server: &mut server::TlsStream<DuplexStream>, client: &mut client::TlsStream<DuplexStream>) {
        for word in [*b"ping", *b"pong"] {
            let mut read = [0; 4];
            client.write_all(&word).await.unwrap();
            client.flush().await.unwrap();
            server.read_exact(&mut read).await.unwrap();
            server.write_all(&read).await.unwrap();
            server.flush().await.unwrap();
            client.read_exact(&mut read).await.unwrap();
            assert_eq!(read, word);
        }
    }

    #[tokio::test]
    async fn both_versions_agree_on_a_protocol_and_carry_data() {
        let folder = tempfile::tempdir().unwrap();
        let (ca, files) = certificate(folder.path());
        let (acceptor, _) = acceptor(&files, &[b"h2", b"http/1.1"]);
        for (version, expected) in [(&TLS13, ProtocolVersion::TLSv1_3), (&TLS12, ProtocolVersion::TLSv1_2)] {
            for host in ["localhost", "127.0.0.1", "::1", "[::1]"] {
                let connector = Connector::with_versions(Some(&ca), &[b"http/1.1", b"h2"], &[version]).unwrap();
                let (server, client) = handshake(&acceptor, &connector, host).await;
                let (mut server, mut client) = (server.unwrap(), client.unwrap());
                talk(&mut server, &mut client).await;
                assert_eq!(server.get_ref().1.protocol_version(), Some(expected));
                let words = if expected == ProtocolVersion::TLSv1_3 { "TLS 1.3" } else { "TLS 1.2" };
                assert_eq!(super::version(&client), words);
                let cheap = CipherSuite::TLS13_AES_128_GCM_SHA256;
                let agreed = server.get_ref().1.negotiated_cipher_suite().map(|suite| suite.suite());
                assert_eq!(agreed == Some(cheap), expected == ProtocolVersion::TLSv1_3, "{agreed:?}");
                assert_eq!(server.get_ref().1.alpn_protocol(), Some(&b"h2"[..]), "the server's wish decides");
                assert_eq!(client.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            }
        }
    }

    #[tokio::test]
    async fn a_second_connection_resumes_with_the_one_ticket() {
        let folder = tempfile::tempdir().unwrap();
        let (ca, files) = certificate(folder.path());
        let (acceptor, _) = acceptor(&files, &[b"h2"]);
        for version in [&TLS13, &TLS12] {
            let connector = Connector::with_versions(Some(&ca), &[b"h2"], &[version]).unwrap();
            let mut kinds = Vec::new();
            for _ in 0..2 {
                let (server, client) = handshake(&acceptor, &connector, "localhost").await;
                let (mut server, mut client) = (server.unwrap(), client.unwrap());
                talk(&mut server, &mut client).await;
                kinds.push(client.get_ref().1.handshake_kind().unwrap());
                if *version == TLS13 {
                    assert_eq!(client.get_ref().1.tls13_tickets_received(), 1);
                }
            }
            assert_eq!(kinds[1], HandshakeKind::Resumed, "{version:?}");
            assert_ne!(kinds[0], HandshakeKind::Resumed, "{version:?}");
        }
    }

    #[tokio::test]
    async fn other_protocols_are_refused_and_none_is_seen_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let (ca, files) = certificate(folder.path());
        let (acceptor, _) = acceptor(&files, &[b"h2"]);
        let other = Connector::new(Some(&ca), &[b"http/1.1", b"mqtt"]).unwrap();
        let (server, client) = handshake(&acceptor, &other, "localhost").await;
        assert!(server.unwrap_err().to_string().contains("known protocol"));
        assert!(client.unwrap_err().to_string().contains("NoApplicationProtocol"));
        let none = Connector::new(Some(&ca), &[]).unwrap();
        let (server, _client) = handshake(&acceptor, &none, "localhost").await;
        assert_eq!(server.unwrap().get_ref().1.alpn_protocol(), None);
    }

    #[tokio::test]
    async fn strangers_are_not_trusted() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [(ca, files), (other_ca, _)] = folders.each_ref().map(|folder| certificate(folder.path()));
        let (acceptor, _) = acceptor(&files, &[b"h2"]);
        let trusting_other = Connector::new(Some(&other_ca), &[b"h2"]).unwrap();
        let (server, client) = handshake(&acceptor, &trusting_other, "localhost").await;
        let why = client.unwrap_err();
        assert!(server.is_err() && super::distrust(&why).is_some(), "{why}");
        assert_eq!(super::distrust(&io::ErrorKind::ConnectionReset.into()), None);
        let connector = Connector::new(Some(&ca), &[b"h2"]).unwrap();
        let (_, client) = handshake(&acceptor, &connector, "push.example.org").await;
        assert!(client.unwrap_err().to_string().contains("certificate"));
        let (_, client) = handshake(&acceptor, &connector, "not a name").await;
        assert_eq!(client.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[tokio::test]
    async fn what_is_not_tls_ends_the_handshake() {
        let folder = tempfile::tempdir().unwrap();
        let (_, files) = certificate(folder.path());
        let (acceptor, _) = acceptor(&files, &[b"h2"]);
        for bytes in
            [&b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01", b""]
        {
            let (near, mut far) = tokio::io::duplex(4096);
            far.write_all(bytes).await.unwrap();
            far.shutdown().await.unwrap();
            assert!(acceptor.accept(near).await.is_err(), "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn a_new_certificate_is_served_while_old_connections_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let (old_ca, files) = certificate(folder.path());
        let (acceptor, served) = acceptor(&files, &[b"h2"]);
        let old = Connector::new(Some(&old_ca), &[b"h2"]).unwrap();
        let (server, client) = handshake(&acceptor, &old, "localhost").await;
        let (mut server, mut client) = (server.unwrap(), client.unwrap());

        std::fs::remove_file(&files.key).unwrap();
        let (new_ca, _) = certificate(folder.path());
        assert!(served.reload_if_changed().unwrap());

        talk(&mut server, &mut client).await;
        let new = Connector::new(Some(&new_ca), &[b"h2"]).unwrap();
        let (server, client) = handshake(&acceptor, &new, "localhost").await;
        talk(&mut server.unwrap(), &mut client.unwrap()).await;
        let afresh = Connector::new(Some(&old_ca), &[b"h2"]).unwrap();
        assert!(handshake(&acceptor, &afresh, "localhost").await.1.is_err());
    }

    #[test]
    fn roots_must_hold_a_certificate() {
        for pem in [&b""[..], b"garbage", b"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n"] {
            assert!(matches!(Connector::new(Some(pem), &[]), Err(Error::NoRoots)));
        }
        let not_one = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(Connector::new(Some(not_one), &[]), Err(Error::Setup(_))));
    }
}
