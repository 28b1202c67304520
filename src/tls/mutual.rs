//! Certificates of clients: which ones a listener lets in, and what a client shows. Whose they are is not known here: a
//! certificate is told by its fingerprint.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

/// Why certificates of clients cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file with the CAs could not be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file has no CA that can be used.
    #[error("{path}: {why}")]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// What a client was to show cannot be shown.
    #[error("the client's certificate cannot be used: {0}")]
    Identity(String),
}

/// SHA-256 of a certificate as it travels (DER).
pub type Fingerprint = [u8; SHA256_OUTPUT_LEN];

/// Lets clients in that show a certificate which one of the CAs in a PEM file signed and which is in force; or none, as they
/// may bring other credentials.
///
/// # Errors
/// [`Error::File`] or [`Error::Authorities`].
pub(super) fn verifier(path: &Path, provider: Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let pem = std::fs::read(path).map_err(|source| Error::File { path: path.to_owned(), source })?;
    let unfit = |why: String| Error::Authorities { path: path.to_owned(), why };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|why| unfit(why.to_string()))?;
        roots.add(certificate).map_err(|why| unfit(why.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unfit("expected PEM with at least one `BEGIN CERTIFICATE` block".to_owned()));
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    builder.allow_unauthenticated().build().map_err(|why| unfit(why.to_string()))
}

/// What a client shows: a certificate, those between it and the root, and its private key.
pub(super) struct Identity {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

impl Identity {
    /// Reads both from PEM.
    ///
    /// # Errors
    /// [`Error::Identity`].
    pub(super) fn read(chain_pem: &[u8], key_pem: &[u8]) -> Result<Self, Error> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain_pem).collect();
        let chain = chain.map_err(|_| Error::Identity("it is not PEM".to_owned()))?;
        if chain.is_empty() {
            return Err(Error::Identity("expected PEM with at least one `BEGIN CERTIFICATE` block".to_owned()));
        }
        let missing = |_| Error::Identity("expected PEM with its private key".to_owned());
        let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(missing)?;
        Ok(Self { chain, key })
    }
}

/// What a certificate is told by.
pub(super) fn fingerprint(certificate: &CertificateDer<'_>) -> Fingerprint {
    let mut fingerprint = [0; SHA256_OUTPUT_LEN];
    fingerprint.copy_from_slice(digest(&SHA256, certificate).as_ref());
    fingerprint
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd,
    };
    use rustls::version::{TLS12, TLS13};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::{Error, Fingerprint, Identity, fingerprint, verifier};
    use crate::model::clock::Clock;
    use crate::tls::{Acceptor, Certificate, Connector, develop, provider, roots_in};

    /// A CA of backends.
    struct Authority(CertifiedIssuer<'static, KeyPair>);

    /// What a backend has.
    struct Made {
        chain: String,
        key: String,
        fingerprint: Fingerprint,
    }

    impl Authority {
        fn new() -> Self {
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
        }

        /// A certificate for one purpose; of long ago when it is `over`.
        fn sign(&self, purpose: ExtendedKeyUsagePurpose, over: bool) -> Made {
            let mut params = CertificateParams::new(vec!["shop".to_owned()]).unwrap();
            params.extended_key_usages = vec![purpose];
            if over {
                (params.not_before, params.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
            }
            let key = KeyPair::generate().unwrap();
            let certificate = params.signed_by(&key, &self.0).unwrap();
            Made { chain: certificate.pem(), key: key.serialize_pem(), fingerprint: fingerprint(certificate.der()) }
        }

        fn write(&self, folder: &Path) -> std::path::PathBuf {
            let path = folder.join("clients.pem");
            std::fs::write(&path, self.0.pem()).unwrap();
            path
        }
    }

    /// What the server knows a client by after a handshake and a word each way; why it failed.
    async fn shake(acceptor: &Acceptor, connector: &Connector) -> std::io::Result<Option<Fingerprint>> {
        let (near, far) = tokio::io::duplex(4096);
        let client = async {
            let mut client = connector.connect("localhost", far).await?;
            client.write_all(b"ping").await?;
            client.flush().await?;
            client.read_exact(&mut [0; 4]).await.map(|_| client)
        };
        let server = async {
            let mut server = acceptor.accept(near).await?;
            server.read_exact(&mut [0; 4]).await?;
            server.write_all(b"pong").await?;
            server.flush().await?;
            Ok(server.client())
        };
        let (server, client) = tokio::join!(server, client);
        assert!(server.is_err() || client.is_ok(), "the client failed of {:?}", client.err());
        server
    }

    #[tokio::test]
    async fn a_client_is_known_by_its_certificate_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let made = develop::open(folder.path(), &[], Clock::new().now().wall).unwrap();
        let ca = std::fs::read(made.ca).unwrap();
        let served = Arc::new(Certificate::load(made.files).unwrap());
        let (authority, stranger) = (Authority::new(), Authority::new());
        let acceptor = Acceptor::with_clients(served, &[b"h2"], &authority.write(folder.path())).unwrap();

        let good = authority.sign(ExtendedKeyUsagePurpose::ClientAuth, false);
        let show = |made: &Made, versions| {
            let identity = Identity::read(made.chain.as_bytes(), made.key.as_bytes()).unwrap();
            Connector::with_roots(roots_in(&ca).unwrap(), &[b"h2"], versions, Some(identity)).unwrap()
        };
        for versions in [&[&TLS13][..], &[&TLS12]] {
            let connector = show(&good, versions);
            // The second time there is nothing to resume: the certificate is looked at again.
            for _ in 0..2 {
                assert_eq!(shake(&acceptor, &connector).await.unwrap(), Some(good.fingerprint));
            }
            for bad in [
                stranger.sign(ExtendedKeyUsagePurpose::ClientAuth, false),
                authority.sign(ExtendedKeyUsagePurpose::ClientAuth, true),
                authority.sign(ExtendedKeyUsagePurpose::ServerAuth, false),
            ] {
                assert!(shake(&acceptor, &show(&bad, versions)).await.is_err());
            }
        }
        let nobody = Connector::new(Some(&ca), &[b"h2"]).unwrap();
        assert_eq!(shake(&acceptor, &nobody).await.unwrap(), None);
    }

    #[test]
    fn what_is_no_authority_or_identity_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let missing = verifier(&folder.path().join("none"), provider());
        assert!(matches!(missing, Err(Error::File { .. })));
        let path = folder.path().join("garbage.pem");
        std::fs::write(&path, "garbage").unwrap();
        let words = verifier(&path, provider()).unwrap_err().to_string();
        assert!(words.contains("garbage.pem") && words.contains("BEGIN CERTIFICATE"), "{words}");

        let made = Authority::new().sign(ExtendedKeyUsagePurpose::ClientAuth, false);
        for (chain, key) in [("", &made.key[..]), (&made.chain[..], ""), (&made.key[..], &made.chain[..])] {
            assert!(matches!(Identity::read(chain.as_bytes(), key.as_bytes()), Err(Error::Identity(_))));
        }
        let other = Authority::new().sign(ExtendedKeyUsagePurpose::ClientAuth, false);
        let mixed = Connector::identified(None, &[], made.chain.as_bytes(), other.key.as_bytes());
        assert!(mixed.is_err(), "a key that is another's");
    }
}
