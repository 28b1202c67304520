//! The certificate that is served, and its replacement while the gateway runs. It does not decide when to look for a new
//! one, and checks neither its dates nor its names: clients do.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// Why a certificate cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not PEM, or has no certificate or key.
    #[error("{path} holds no {expected}: {found}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is looked for.
        expected: &'static str,
        /// What is there instead.
        found: String,
    },
    /// Both were read and do not work together.
    #[error("the certificate {certificate} cannot be used with the key {key}: {source}")]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What the TLS library said.
        source: rustls::Error,
    },
}

/// Where a certificate and its key are, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The certificate, followed by those between it and the root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// A certificate that is read from files and follows their changes.
#[derive(Debug)]
pub struct Certificate {
    /// Where it comes from.
    files: Files,
    /// What new handshakes are given; changed by [`Certificate::reload_if_changed`].
    current: ArcSwap<CertifiedKey>,
    /// What was last found in the files, whether it could be used or not, so that each change is looked at once.
    seen: Mutex<Found>,
}

/// The bytes of certificate and key, or why there are none. Times and lengths would miss a change within one tick of the
/// file system's clock, and a swap of symbolic links.
type Found = Result<[Vec<u8>; 2], (PathBuf, io::ErrorKind)>;

impl Certificate {
    /// Reads a certificate. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error`].
    pub fn load(files: Files) -> Result<Self, Error> {
        let found = read_both(&files)?;
        let current = parse(&files, &found)?;
        Ok(Self { files, current: ArcSwap::from_pointee(current), seen: Mutex::new(Ok(found)) })
    }

    /// Reads the files again; if they changed, new handshakes get the new certificate. Connections that are open stay as
    /// they are. Tells whether there is a new one. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error`] when what is there now cannot be used: the old certificate is served on, and the same fault is not
    /// reported again until the files change.
    pub fn reload_if_changed(&self) -> Result<bool, Error> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let both = match read_both(&self.files) {
            Ok(both) => both,
            Err(error) => {
                let now = Err(trace_of(&error));
                let known = *seen == now;
                *seen = now;
                return if known { Ok(false) } else { Err(error) };
            }
        };
        if seen.as_ref().is_ok_and(|known| *known == both) {
            return Ok(false);
        }
        let parsed = parse(&self.files, &both);
        *seen = Ok(both);
        self.current.store(Arc::new(parsed?));
        Ok(true)
    }

    /// Where it comes from.
    #[must_use]
    pub const fn files(&self) -> &Files {
        &self.files
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

fn read_both(files: &Files) -> Result<[Vec<u8>; 2], Error> {
    let read = |path: &Path| std::fs::read(path).map_err(|source| Error::File { path: path.to_owned(), source });
    Ok([read(&files.certificate)?, read(&files.key)?])
}

fn trace_of(error: &Error) -> (PathBuf, io::ErrorKind) {
    match error {
        Error::File { path, source } => (path.clone(), source.kind()),
        Error::Content { path, .. } | Error::Mismatch { certificate: path, .. } => {
            (path.clone(), io::ErrorKind::InvalidData)
        }
    }
}

fn parse(files: &Files, [certificate, key]: &[Vec<u8>; 2]) -> Result<CertifiedKey, Error> {
    let unfit = |path: &Path, expected, found: String| Error::Content { path: path.to_owned(), expected, found };
    let chain = CertificateDer::pem_slice_iter(certificate)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unfit(&files.certificate, "certificate", error.to_string()))?;
    if chain.is_empty() {
        return Err(unfit(&files.certificate, "certificate", "no `BEGIN CERTIFICATE` block".to_owned()));
    }
    let key =
        PrivateKeyDer::from_pem_slice(key).map_err(|error| unfit(&files.key, "private key", error.to_string()))?;
    CertifiedKey::from_der(chain, key, &default_provider()).map_err(|source| Error::Mismatch {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Certificate, Error, Files};
    use crate::model::clock::Clock;
    use crate::tls::develop;

    fn files(folder: &tempfile::TempDir) -> Files {
        develop::open(folder.path(), &[], Clock::new().now().wall).unwrap().files
    }

    #[test]
    fn unchanged_files_are_not_reloaded() {
        let folder = tempfile::tempdir().unwrap();
        let certificate = Certificate::load(files(&folder)).unwrap();
        let before = certificate.current.load_full();
        assert!(!certificate.reload_if_changed().unwrap());
        let content = std::fs::read(&certificate.files.key).unwrap();
        std::fs::write(&certificate.files.key, content).unwrap();
        assert!(!certificate.reload_if_changed().unwrap(), "touched only");
        assert!(Arc::ptr_eq(&before, &certificate.current.load_full()));
    }

    #[test]
    fn a_bad_file_is_told_once_and_the_old_certificate_stays() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let certificate = Certificate::load(files(&folder)).unwrap();
        let foreign = files(&other);
        let before = certificate.current.load_full();
        let own = std::fs::read(&certificate.files.certificate).unwrap();
        let check = |word: &str| {
            let words = certificate.reload_if_changed().unwrap_err().to_string();
            assert!(words.contains(word), "{words}");
            assert!(!certificate.reload_if_changed().unwrap(), "told twice: {words}");
            assert!(Arc::ptr_eq(&before, &certificate.current.load_full()));
        };
        std::fs::copy(&foreign.certificate, &certificate.files.certificate).unwrap();
        check("cannot be used with the key");
        std::fs::write(&certificate.files.certificate, &own[..own.len() / 2]).unwrap();
        check("cert.pem holds no certificate");
        std::fs::write(&certificate.files.certificate, "").unwrap();
        check("no `BEGIN CERTIFICATE` block");
        std::fs::remove_file(&certificate.files.certificate).unwrap();
        check("cannot read");

        std::fs::copy(&foreign.certificate, &certificate.files.certificate).unwrap();
        check("cannot be used with the key");
        std::fs::copy(&foreign.key, &certificate.files.key).unwrap();
        assert!(certificate.reload_if_changed().unwrap(), "now both are the new ones");
        assert!(!Arc::ptr_eq(&before, &certificate.current.load_full()));
    }

    #[test]
    fn going_back_to_the_served_one_heals() {
        let folder = tempfile::tempdir().unwrap();
        let certificate = Certificate::load(files(&folder)).unwrap();
        let own = std::fs::read(&certificate.files.key).unwrap();
        std::fs::write(&certificate.files.key, "garbage").unwrap();
        assert!(matches!(certificate.reload_if_changed(), Err(Error::Content { .. })));
        std::fs::write(&certificate.files.key, own).unwrap();
        assert!(certificate.reload_if_changed().unwrap());
    }

    #[test]
    fn a_bad_start_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let good = files(&folder);
        let missing = Files { key: folder.path().join("none.pem"), ..good.clone() };
        assert!(matches!(Certificate::load(missing), Err(Error::File { .. })));
        let swapped = Files { certificate: good.key, key: good.certificate };
        assert!(matches!(Certificate::load(swapped), Err(Error::Content { .. })));
    }
}
