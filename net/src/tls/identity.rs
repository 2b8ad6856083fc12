//! The server's certificate and key: made at first start, or brought along.
//!
//! What must stay true: the private key is never readable by others, not even
//! for a moment: its file is made 0600 inside a 0700 directory. `cert.pem` is
//! renamed into place last, so it is there only if the key that fits it is: a
//! crash in between leaves a key, and the next start makes a certificate for it.
//! A key that was made is never replaced: it is what clients pin.

use super::validity::Validity;
use super::{ALPN_WIRE, provider, server_config};
use crate::Security;
use proto::Fingerprint;
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256,
};
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How long a certificate made here is valid, in days. Some clients refuse one that
/// is valid for more than 825, whoever made it.
pub const VALID_DAYS: u64 = 820;
/// So many days before its end it is made anew, with the same key: a service that is
/// off for a season finds it valid all the same.
pub const RENEW_DAYS: u64 = 90;
/// A certificate that was brought along is warned of so many days before its end.
pub(super) const WARN_DAYS: u64 = 30;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Why there is no certificate to serve.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file or the directory could not be read or written.
    #[error("cannot {what} {}: {source}; {advice}", path.display())]
    File {
        /// `read`, `write`, ...
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// What to do.
        advice: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A file that holds something else.
    #[error(
        "{} holds no PEM {what}: it should have a line `-----BEGIN {begin}-----`; \
         give the file that does, or convert it with openssl",
        path.display()
    )]
    NotPem {
        /// `certificate` or `private key`.
        what: &'static str,
        /// What the first line should say.
        begin: &'static str,
        /// Which file.
        path: PathBuf,
    },
    /// The two files do not belong together, or are of a kind not supported.
    #[error("the key in {} does not fit the certificate in {}: {reason}", key.display(), certificate.display())]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A certificate that cannot be read as one.
    #[error(
        "the certificate in {} cannot be used: {reason}; give one that \
         `openssl x509 -in FILE -text` shows",
        path.display()
    )]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A new certificate that has ended, or not begun.
    #[error(
        "the certificate in {} is not valid now: it has ended, or has not begun; give one that is",
        path.display()
    )]
    NotValid {
        /// Which file.
        path: PathBuf,
    },
    /// The key that a certificate is to be made for cannot be used.
    #[error(
        "the key in {} cannot be used: {source}; remove it to have a new one made (clients must \
         pin its fingerprint anew then)",
        path.display()
    )]
    Key {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: rcgen::Error,
    },
    /// A new certificate could not be made.
    #[error("cannot make a certificate: {0}; check the host name it is for")]
    Make(#[from] rcgen::Error),
    /// The TLS library refused the pair.
    #[error("the certificate cannot be used for TLS 1.3: {0}")]
    Refused(rustls::Error),
}

/// A certificate chain with its key.
#[derive(Debug)]
pub struct Identity {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
    pub(super) validity: Validity,
    /// Of the first certificate's public key: what clients pin.
    pub fingerprint: Fingerprint,
    /// Whether [`Identity::load_or_create`] has just made it.
    pub created: bool,
    /// Whether [`Identity::load_or_create`] has just made it anew, near its end.
    pub renewed: bool,
    /// Sentences for the operator; the identity works all the same.
    pub warnings: Vec<String>,
}

impl Identity {
    /// The identity in `directory` (`cert.pem`, `key.pem`), made there if it has
    /// none: ECDSA P-256, self-signed, for localhost, 127.0.0.1, ::1 and `names`
    /// (host names or addresses), valid [`VALID_DAYS`]. [`RENEW_DAYS`] before its end
    /// it is made anew for the same key, so that its fingerprint stays.
    pub fn load_or_create(directory: &Path, names: &[String]) -> Result<Identity, TlsError> {
        Identity::kept(directory, names, SystemTime::now())
    }

    pub(super) fn kept(
        directory: &Path,
        names: &[String],
        now: SystemTime,
    ) -> Result<Identity, TlsError> {
        let (certificate, key) = (directory.join("cert.pem"), directory.join("key.pem"));
        let exists = exists(&certificate)?;
        if !exists {
            make(directory, names, now)?;
        }
        let mut identity = Identity::load(&certificate, &key)?;
        identity.created = !exists;
        if identity.is_due(now) {
            match make(directory, names, now) {
                Ok(()) => {
                    identity = Identity::load(&certificate, &key)?;
                    identity.renewed = true;
                }
                // It may be valid yet, and who pins its key does not look at dates.
                Err(error) => identity.warnings.push(format!(
                    "the self-signed certificate is to be renewed, and cannot be: {error}"
                )),
            }
        }
        Ok(identity)
    }

    /// An identity from two PEM files (`tls.cert_file`, `tls.key_file`): the chain,
    /// server's certificate first, and the key that fits it.
    pub fn load(certificate: &Path, key: &Path) -> Result<Identity, TlsError> {
        Identity::parse(certificate, &read(certificate)?, key, &read(key)?)
    }

    /// As [`Identity::load`], of what those files hold.
    pub(super) fn parse(
        certificate: &Path,
        chain: &[u8],
        key_file: &Path,
        key: &[u8],
    ) -> Result<Identity, TlsError> {
        let chain = certificates(certificate, chain)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::NotPem {
            what: "private key",
            begin: "PRIVATE KEY",
            path: key_file.to_owned(),
        })?;
        let unusable = |reason: String| TlsError::Unusable { path: certificate.to_owned(), reason };
        let fingerprint =
            super::fingerprint(&chain[0]).map_err(|error| unusable(error.to_string()))?;
        let validity = Validity::of(&chain[0])
            .ok_or_else(|| unusable("it does not say how long it is valid".to_owned()))?;
        let warnings = readable_by_others(key_file)?.into_iter().collect();
        let (created, renewed) = (false, false);
        let identity = Identity { chain, key, validity, fingerprint, created, renewed, warnings };
        identity.certified().map_err(|error| TlsError::Mismatch {
            certificate: certificate.to_owned(),
            key: key_file.to_owned(),
            reason: explain(&error),
        })?;
        Ok(identity)
    }

    /// For [`crate::wire::serve`]: this certificate for as long as the server runs. One
    /// that may change is served by [`super::Certificates`].
    pub fn wire(&self) -> Result<Security, TlsError> {
        self.security(&[ALPN_WIRE])
    }

    /// For [`crate::http::serve`]: HTTP/2 preferred, HTTP/1.1 as well.
    pub fn http(&self) -> Result<Security, TlsError> {
        self.security(&super::ALPN_HTTP)
    }

    fn security(&self, alpn: &[&[u8]]) -> Result<Security, TlsError> {
        let served = super::Served::new(self.certified().map_err(TlsError::Refused)?);
        server_config(Arc::new(served), None, alpn).map(Security::Tls)
    }

    /// As rustls has it; refuses a key that does not fit.
    pub(super) fn certified(&self) -> Result<CertifiedKey, rustls::Error> {
        CertifiedKey::from_der(self.chain.clone(), self.key.clone_key(), &provider())
    }

    /// Whether it is to be made anew, if it is one of ours.
    pub(super) fn is_due(&self, now: SystemTime) -> bool {
        self.validity.is_over_within(RENEW_DAYS, now)
    }
}

/// The certificates of a PEM file, at least one.
pub(super) fn certificates(
    path: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, PemError>>()
        .ok()
        .filter(|chain| !chain.is_empty())
        .ok_or_else(|| TlsError::NotPem {
            what: "certificate",
            begin: "CERTIFICATE",
            path: path.to_owned(),
        })
}

fn exists(path: &Path) -> Result<bool, TlsError> {
    path.try_exists().map_err(|source| TlsError::File {
        what: "look for",
        path: path.to_owned(),
        advice: "the user planck runs as must be able to read it",
        source,
    })
}

fn explain(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InconsistentKeys(_) => {
            "they are not of one pair; give the key the certificate was issued for".to_owned()
        }
        other => format!("{other}; use an ECDSA, Ed25519 or RSA key in PKCS#8, SEC1 or PKCS#1"),
    }
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::File {
        what: "read",
        path: path.to_owned(),
        advice: "give an existing file that the user planck runs as can read",
        source,
    })
}

fn readable_by_others(key: &Path) -> Result<Option<String>, TlsError> {
    let metadata = fs::metadata(key).map_err(|source| TlsError::File {
        what: "look at",
        path: key.to_owned(),
        advice: "the user planck runs as must be able to read it",
        source,
    })?;
    let mode = metadata.permissions().mode() & 0o777;
    Ok((mode & 0o077 != 0).then(|| {
        format!(
            "the private key {0} can be read by other users (mode {mode:03o}); \
             run: chmod 600 {0}",
            key.display()
        )
    }))
}

/// Makes the certificate in `dir`, for the key there, or for a new one.
pub(super) fn make(dir: &Path, names: &[String], now: SystemTime) -> Result<(), TlsError> {
    let (certificate, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::File {
            what: "write",
            path,
            advice: "the user planck runs as must own the directory, with space on its disk",
            source,
        }
    };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed(dir))?;
    let pair = if exists(&key)? {
        let pem = String::from_utf8_lossy(&read(&key)?).into_owned();
        KeyPair::from_pem(&pem).map_err(|source| TlsError::Key { path: key.clone(), source })?
    } else {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        write_private(&key, pair.serialize_pem().as_bytes()).map_err(failed(&key))?;
        pair
    };
    let made = self_signed(&pair, names, now)?;
    write_private(&certificate, made.pem().as_bytes()).map_err(failed(&certificate))?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed(dir))
}

fn self_signed(
    pair: &KeyPair,
    names: &[String],
    now: SystemTime,
) -> Result<rcgen::Certificate, rcgen::Error> {
    let mut all: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    for name in names {
        if !name.is_empty() && !all.contains(name) {
            all.push(name.clone());
        }
    }
    let mut params = CertificateParams::new(all)?;
    params.distinguished_name.push(DnType::CommonName, "planck, self-signed");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.not_before = (now - DAY).into(); // Clocks of clients may be a little behind.
    params.not_after = (now + DAY * u32::try_from(VALID_DAYS).unwrap_or(u32::MAX)).into();
    params.self_signed(pair)
}

/// Writes a file that is whole or absent, and 0600 from its first moment.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("pem.new");
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn message(result: Result<Identity, TlsError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn made_once_private_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let tls = dir.path().join("tls");
        let first = Identity::load_or_create(&tls, &["host.example".into()]).unwrap();
        assert!(first.created && first.warnings.is_empty());
        assert_eq!(mode(&tls), 0o700);
        assert_eq!(mode(&tls.join("key.pem")), 0o600);
        assert_eq!(fs::read_dir(&tls).unwrap().count(), 2, "no temporary files stay");
        let again = Identity::load_or_create(&tls, &[]).unwrap();
        assert!(!again.created);
        assert_eq!(again.fingerprint, first.fingerprint);
        let other = Identity::load_or_create(&dir.path().join("other"), &[]).unwrap();
        assert_ne!(other.fingerprint, first.fingerprint);
    }

    #[test]
    fn a_key_without_its_certificate_is_what_a_crash_leaves_and_gets_another() {
        let dir = tempfile::tempdir().unwrap();
        let first = Identity::load_or_create(dir.path(), &[]).unwrap();
        fs::remove_file(dir.path().join("cert.pem")).unwrap();
        let again = Identity::load_or_create(dir.path(), &[]).unwrap();
        assert!(again.created && again.fingerprint == first.fingerprint);
        fs::remove_file(dir.path().join("cert.pem")).unwrap();
        fs::write(dir.path().join("key.pem"), "no key").unwrap();
        let refused = message(Identity::load_or_create(dir.path(), &[]));
        assert!(refused.contains("key.pem") && refused.contains("remove it"), "{refused}");
        assert_eq!(fs::read(dir.path().join("key.pem")).unwrap(), b"no key", "never replaced");
    }

    #[test]
    fn it_is_made_anew_well_before_its_end_and_clients_need_not_know() {
        let dir = tempfile::tempdir().unwrap();
        let file = || fs::read(dir.path().join("cert.pem")).unwrap();
        let (now, none) = (SystemTime::now(), []);
        let first = Identity::kept(dir.path(), &none, now).unwrap();
        let (made, key) = (file(), fs::read(dir.path().join("key.pem")).unwrap());
        let day = |n: u64| now + DAY * u32::try_from(n).unwrap();
        let kept = Identity::kept(dir.path(), &none, day(VALID_DAYS - RENEW_DAYS) - DAY).unwrap();
        assert!(!kept.renewed && file() == made, "the day before it is due");
        let due = day(VALID_DAYS - RENEW_DAYS) + DAY;
        let renewed = Identity::kept(dir.path(), &none, due).unwrap();
        assert!(renewed.renewed && !renewed.created && file() != made);
        assert_eq!(renewed.fingerprint, first.fingerprint, "pins of clients hold");
        assert_eq!(fs::read(dir.path().join("key.pem")).unwrap(), key);
        assert_eq!(renewed.validity.days_left(due), VALID_DAYS);
        assert_eq!(mode(&dir.path().join("cert.pem")), 0o600);
        // A clock that went astray and came back finds a certificate of the future.
        assert!(Identity::kept(dir.path(), &none, now).unwrap().renewed);
        assert!(!Identity::kept(dir.path(), &none, now).unwrap().renewed);
    }

    #[test]
    fn what_cannot_be_renewed_is_served_with_a_warning() {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        Identity::kept(dir.path(), &[], now).unwrap();
        // A directory where the new file would be drafted.
        fs::create_dir(dir.path().join("cert.pem.new")).unwrap();
        let late = now + DAY * u32::try_from(VALID_DAYS).unwrap();
        let identity = Identity::kept(dir.path(), &[], late).unwrap();
        assert!(!identity.renewed && identity.warnings[0].contains("renewed, and cannot be"));
    }

    #[test]
    fn each_wrong_file_is_named_with_its_fault() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        Identity::load_or_create(&one, &[]).unwrap();
        Identity::load_or_create(&two, &[]).unwrap();
        let (cert, key) = (one.join("cert.pem"), one.join("key.pem"));

        let missing = message(Identity::load(&one.join("no.pem"), &key));
        assert!(missing.starts_with("cannot read ") && missing.contains("no.pem"), "{missing}");
        let swapped = message(Identity::load(&key, &cert));
        assert!(swapped.contains("key.pem holds no PEM certificate"), "{swapped}");
        let no_key = message(Identity::load(&cert, &cert));
        assert!(no_key.contains("cert.pem holds no PEM private key"), "{no_key}");
        let mixed = message(Identity::load(&cert, &two.join("key.pem")));
        assert!(mixed.contains("not of one pair"), "{mixed}");
        fs::remove_file(&key).unwrap();
        let halved = message(Identity::load_or_create(&one, &[]));
        assert!(halved.contains("key.pem"), "{halved}");
    }

    #[test]
    fn a_key_that_others_can_read_is_warned_of() {
        let dir = tempfile::tempdir().unwrap();
        Identity::load_or_create(dir.path(), &[]).unwrap();
        let key = dir.path().join("key.pem");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        let identity = Identity::load_or_create(dir.path(), &[]).unwrap();
        assert_eq!(identity.warnings.len(), 1);
        assert!(identity.warnings[0].contains("mode 644"), "{}", identity.warnings[0]);
    }
}
