//! Throw-away certificates for development: a CA that signs one certificate and is forgotten. Not for production: who
//! trusts the CA file trusts whoever can read the folder.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

use crate::file::{self, Access};
use crate::model::clock::Timestamp;
use crate::tls::certificate::{Certificate, Files};

/// Why no development certificate could be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be written.
    #[error("cannot write the development certificate to {folder}: {source}")]
    File {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A name is neither a host name nor an IP address.
    #[error("`{0}` is neither a host name nor an IP address")]
    Name(String),
    /// The certificate library refused.
    #[error("the development certificate cannot be made: {0}")]
    Make(#[from] rcgen::Error),
}

/// A development certificate on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Development {
    /// The CA's certificate, for clients to trust.
    pub ca: PathBuf,
    /// What the gateway serves.
    pub files: Files,
    /// Whom it is for.
    pub names: Vec<String>,
    /// It was made just now; otherwise one that was there is still good.
    pub new: bool,
}

/// Uses the development certificate in a folder, or makes one there. It is for [`LOOPBACK`] and `extra_names`; one that is
/// for fewer, does not fit its key or has less than a week to live is replaced.
///
/// # Errors
/// [`Error`].
pub fn open(folder: &Path, extra_names: &[String], now: Timestamp) -> Result<Development, Error> {
    let mut names: Vec<String> = LOOPBACK.iter().map(|&name| name.to_owned()).collect();
    for name in extra_names {
        if ServerName::try_from(name.as_str()).is_err() {
            return Err(Error::Name(name.clone()));
        }
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    let ca = folder.join("ca.pem");
    let files = Files { certificate: folder.join("cert.pem"), key: folder.join("key.pem") };
    let new = !usable(&ca, &files, &names, now);
    if new {
        let made = make(&names, now)?;
        write(folder, &ca, &files, &made).map_err(|source| Error::File { folder: folder.to_owned(), source })?;
    }
    Ok(Development { ca, files, names, new })
}

/// Whether what is in the folder would be accepted for all names, now and for a while. Asks the code that clients use.
fn usable(ca: &Path, files: &Files, names: &[String], now: Timestamp) -> bool {
    let verified = || -> Option<()> {
        Certificate::load(files.clone()).ok()?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca).ok()?).ok()?;
        let leaf = CertificateDer::from_pem_file(&files.certificate).ok()?;
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(default_provider())).build().ok()?;
        for name in names {
            let name = ServerName::try_from(name.as_str()).ok()?;
            for at in [now, now + RENEWAL] {
                let at = UnixTime::since_unix_epoch(Duration::from_millis(at.as_millis()));
                verifier.verify_server_cert(&leaf, &[], &name, &[], at).ok()?;
            }
        }
        Some(())
    };
    verified().is_some()
}

/// The three files' content.
struct Made {
    ca: String,
    certificate: String,
    key: String,
}

/// Makes CA and certificate. The CA's key is dropped here: nothing else can ever be signed with it.
fn make(names: &[String], now: Timestamp) -> Result<Made, Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Pushline throw-away development CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_dates(&mut params, now);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?)?;

    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, "Pushline development gateway");
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    set_dates(&mut params, now);
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let certificate = params.signed_by(&key, &ca)?;
    Ok(Made { ca: ca.pem(), certificate: certificate.pem(), key: key.serialize_pem() })
}

fn set_dates(params: &mut CertificateParams, now: Timestamp) {
    // X.509 dates have four digits for the year.
    let date = |at: Timestamp| date_time_ymd(1970, 1, 1) + Duration::from_millis(at.as_millis().min(YEAR_9999_MS));
    params.not_before = date(now - CLOCK_SLEW);
    params.not_after = date(now + LIFE);
}

fn write(folder: &Path, ca: &Path, files: &Files, made: &Made) -> io::Result<()> {
    file::make_folder(folder)?;
    file::write(&files.key, made.key.as_bytes(), Access::Owner)?;
    file::write(&files.certificate, made.certificate.as_bytes(), Access::Everybody)?;
    file::write(ca, made.ca.as_bytes(), Access::Everybody)
}

/// What every development certificate is for.
pub const LOOPBACK: &[&str] = &["localhost", "127.0.0.1", "::1"];

/// How long a certificate lives. A guess: a quarter of a year is forgotten before it is in the way.
const LIFE: Duration = Duration::from_secs(90 * 86_400);

/// A certificate with less to live is replaced.
const RENEWAL: Duration = Duration::from_secs(7 * 86_400);

/// Certificates begin so much earlier, for clients whose clock is late.
const CLOCK_SLEW: Duration = Duration::from_secs(3600);

/// 9999-01-01.
const YEAR_9999_MS: u64 = 253_370_764_800_000;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::{Error, LIFE, RENEWAL, open, usable};
    use crate::model::clock::Timestamp;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    #[test]
    fn a_good_one_is_used_again() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("certs");
        let first = open(&inner, &[], NOW).unwrap();
        let key = std::fs::read(&first.files.key).unwrap();
        let second = open(&inner, &[], NOW + Duration::from_secs(86_400)).unwrap();
        assert!(first.new && !second.new);
        assert_eq!(first.files, second.files);
        assert_eq!(std::fs::read(&second.files.key).unwrap(), key);
        assert_eq!(std::fs::metadata(&second.files.key).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn one_that_ends_soon_or_begins_later_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path(), &[], NOW).unwrap();
        assert!(!open(folder.path(), &[], NOW + (LIFE - RENEWAL)).unwrap().new);
        assert!(open(folder.path(), &[], NOW + (LIFE - RENEWAL) + Duration::from_secs(2)).unwrap().new);
        assert!(open(folder.path(), &[], NOW).unwrap().new, "a clock that went back");
    }

    #[test]
    fn one_for_fewer_names_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["push.example.org".to_owned(), "10.1.2.3".to_owned(), "fd00::1".to_owned()];
        open(folder.path(), &[], NOW).unwrap();
        let wider = open(folder.path(), &names, NOW).unwrap();
        assert!(wider.new);
        assert_eq!(wider.names.len(), 6);
        assert!(!open(folder.path(), &[], NOW).unwrap().new, "more names than needed do no harm");
        let stranger = ["other.example.org".to_owned()];
        assert!(!usable(&wider.ca, &wider.files, &stranger, NOW));
    }

    #[test]
    fn damaged_files_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        open(other.path(), &[], NOW).unwrap();
        for name in ["ca.pem", "cert.pem", "key.pem"] {
            open(folder.path(), &[], NOW).unwrap();
            std::fs::copy(other.path().join(name), folder.path().join(name)).unwrap();
            assert!(open(folder.path(), &[], NOW).unwrap().new, "{name} of another");
            std::fs::write(folder.path().join(name), "garbage").unwrap();
            assert!(open(folder.path(), &[], NOW).unwrap().new, "{name} garbage");
            std::fs::remove_file(folder.path().join(name)).unwrap();
            assert!(open(folder.path(), &[], NOW).unwrap().new, "{name} missing");
        }
    }

    #[test]
    fn what_is_no_name_is_refused_and_nothing_is_written() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["", "a b", "https://x", "x:443", "*", "é.example"] {
            assert!(matches!(open(folder.path(), &[name.to_owned()], NOW), Err(Error::Name(_))), "{name}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
