//! The server's certificate and key: made at first start, or brought along.
//!
//! What must stay true: the private key is never readable by others, not even
//! for a moment: its file is made 0600 inside a 0700 directory. `cert.pem` is
//! renamed into place last, so it is there only if the key that fits it is: a
//! crash in between leaves no certificate, and the next start makes a new pair.

use super::{ALPN_WIRE, fingerprint};
use crate::Security;
use proto::Fingerprint;
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256,
};
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How long a certificate made here is valid, in days: ten years. Clients pin
/// the certificate itself, so what ends it early is replacing it, not a date.
pub const VALID_DAYS: u64 = 3652;

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
    /// Of the first certificate: what clients pin.
    pub fingerprint: Fingerprint,
    /// Whether [`Identity::load_or_create`] has just made it.
    pub created: bool,
    /// Sentences for the operator; the identity works all the same.
    pub warnings: Vec<String>,
}

impl Identity {
    /// The identity in `directory` (`cert.pem`, `key.pem`), made there if it has
    /// none: ECDSA P-256, self-signed, for localhost, 127.0.0.1, ::1 and `names`
    /// (host names or addresses), valid [`VALID_DAYS`].
    pub fn load_or_create(directory: &Path, names: &[String]) -> Result<Identity, TlsError> {
        let (certificate, key) = (directory.join("cert.pem"), directory.join("key.pem"));
        let exists = certificate.try_exists().map_err(|source| TlsError::File {
            what: "look for",
            path: certificate.clone(),
            advice: "the user planck runs as must be able to read it",
            source,
        })?;
        if !exists {
            create(directory, &certificate, &key, names)?;
        }
        let mut identity = Identity::load(&certificate, &key)?;
        identity.created = !exists;
        Ok(identity)
    }

    /// An identity from two PEM files (`tls.cert_file`, `tls.key_file`): the chain,
    /// server's certificate first, and the key that fits it.
    pub fn load(certificate: &Path, key_file: &Path) -> Result<Identity, TlsError> {
        let chain = CertificateDer::pem_slice_iter(&read(certificate)?)
            .collect::<Result<Vec<_>, PemError>>()
            .ok()
            .filter(|chain| !chain.is_empty())
            .ok_or_else(|| TlsError::NotPem {
                what: "certificate",
                begin: "CERTIFICATE",
                path: certificate.to_owned(),
            })?;
        let key =
            PrivateKeyDer::from_pem_slice(&read(key_file)?).map_err(|_| TlsError::NotPem {
                what: "private key",
                begin: "PRIVATE KEY",
                path: key_file.to_owned(),
            })?;
        let warnings = readable_by_others(key_file)?.into_iter().collect();
        let fingerprint = fingerprint(&chain[0]);
        let identity = Identity { chain, key, fingerprint, created: false, warnings };
        identity.server_config(&[]).map_err(|error| match error {
            TlsError::Refused(error) => TlsError::Mismatch {
                certificate: certificate.to_owned(),
                key: key_file.to_owned(),
                reason: explain(&error),
            },
            other => other,
        })?;
        Ok(identity)
    }

    /// For [`crate::wire::serve`].
    pub fn wire(&self) -> Result<Security, TlsError> {
        self.server_config(&[ALPN_WIRE]).map(Security::Tls)
    }

    /// For [`crate::http::serve`]: HTTP/2 preferred, HTTP/1.1 as well.
    pub fn http(&self) -> Result<Security, TlsError> {
        self.server_config(&[b"h2", b"http/1.1"]).map(Security::Tls)
    }
}

fn explain(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InconsistentKeys(_) => {
            "they are not of one pair; give the key the certificate was issued for".to_owned()
        }
        other => format!("{other}; use an ECDSA, Ed25519 or RSA key in PKCS#8, SEC1 or PKCS#1"),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
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

fn create(dir: &Path, certificate: &Path, key: &Path, names: &[String]) -> Result<(), TlsError> {
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
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
    let now = SystemTime::now();
    params.not_before = (now - DAY).into(); // Clocks of clients may be a little behind.
    params.not_after = (now + DAY * u32::try_from(VALID_DAYS).unwrap_or(u32::MAX)).into();
    let made = params.self_signed(&pair)?;

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
    write_private(key, pair.serialize_pem().as_bytes()).map_err(failed(key))?;
    write_private(certificate, made.pem().as_bytes()).map_err(failed(certificate))?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed(dir))
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
    fn a_key_without_its_certificate_is_what_a_crash_leaves_and_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        Identity::load_or_create(dir.path(), &[]).unwrap();
        fs::remove_file(dir.path().join("cert.pem")).unwrap();
        assert!(Identity::load_or_create(dir.path(), &[]).unwrap().created);
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
