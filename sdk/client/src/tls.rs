//! TLS 1.3 with the ring provider, and servers pinned by fingerprint.
//!
//! What must stay true: the configuration names its provider and TLS 1.3 itself, so
//! neither a second provider in the build nor a process default can change what is
//! spoken. A client accepts exactly one public key: the one whose SHA-256 it was
//! given, in whatever certificate. The handshake's signature is still checked, so holding
//! the certificate without its key is of no use.

use crate::{Error, Result};
use proto::Fingerprint;
use proto::packet::ALPN;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, OtherError,
    SignatureScheme,
};
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::{Arc, OnceLock};

/// What a client pins: SHA-256 of the certificate's public key (its SubjectPublicKeyInfo
/// in DER). `net::tls` computes the same of what it serves.
fn fingerprint(certificate: &CertificateDer<'_>) -> Result<Fingerprint, rustls::Error> {
    let key = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
    Ok(Fingerprint(Sha256::digest(key.as_ref()).into()))
}

/// The fingerprint of the first certificate in a PEM file's bytes: what to pin of a
/// server whose `tls/cert.pem` is at hand.
///
/// # Errors
/// There is none in it.
pub fn fingerprint_of_pem(pem: &[u8]) -> Result<Fingerprint> {
    let none = || Error::invalid("there is no PEM certificate in it");
    let certificate = CertificateDer::from_pem_slice(pem).map_err(|_| none())?;
    fingerprint(&certificate).map_err(|_| none())
}

/// A client's own certificate and key, for a server that asks for one (mutual TLS).
#[derive(Clone)]
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: Arc<PrivateKeyDer<'static>>,
}

impl Identity {
    /// From the bytes of two PEM files: the chain, the client's certificate first, and
    /// the key that fits it.
    ///
    /// # Errors
    /// They hold something else, or do not belong together.
    pub fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Identity> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate)
            .collect::<std::result::Result<_, _>>()
            .unwrap_or_default();
        if chain.is_empty() {
            return Err(Error::invalid(
                "the client's certificate is not PEM: give the file with a line \
                 `-----BEGIN CERTIFICATE-----`",
            ));
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| {
            Error::invalid(
                "the client's private key is not PEM: give the file with a line \
                 `-----BEGIN PRIVATE KEY-----`",
            )
        })?;
        let identity = Identity { chain, key: Arc::new(key) };
        Trust::new(Fingerprint([0; 32]), Some(&identity))?;
        Ok(identity)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("certificates", &self.chain.len()).finish_non_exhaustive()
    }
}

/// TLS 1.3, exactly the key pinned, the wire: for one handshake.
#[derive(Debug)]
pub(crate) struct Trust {
    pub(crate) config: Arc<ClientConfig>,
    /// Set by a handshake that failed because of the pin. QUIC hands on no more of an
    /// error than its words.
    mismatch: Arc<OnceLock<PinMismatch>>,
}

impl Trust {
    pub(crate) fn new(pin: Fingerprint, identity: Option<&Identity>) -> Result<Trust> {
        let provider = Arc::new(ring::default_provider());
        let mismatch = Arc::new(OnceLock::new());
        let verifier = Pinned { pin, provider: provider.clone(), mismatch: mismatch.clone() };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("ring has cipher suites of TLS 1.3")
            .dangerous() // rustls' word; one key is narrower than any authority.
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(Identity { chain, key }) => {
                builder.with_client_auth_cert(chain.clone(), key.clone_key()).map_err(|error| {
                    Error::Invalid(format!(
                        "the client's certificate and key cannot be used: {error}; give a key \
                         (ECDSA, Ed25519 or RSA) and the certificate issued for it"
                    ))
                })?
            }
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        // A resumed session would skip the certificate.
        config.resumption = Resumption::disabled();
        Ok(Trust { config: Arc::new(config), mismatch })
    }

    /// Why the handshake failed, if the pin was it.
    pub(crate) fn mismatch(&self) -> Option<Error> {
        let PinMismatch { expected, found } = *self.mismatch.get()?;
        Some(Error::WrongCertificate { expected, found })
    }
}

/// The server presented the certificate of another key than the one pinned.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("expected the key {expected}, was given {found}")]
struct PinMismatch {
    expected: Fingerprint,
    found: Fingerprint,
}

/// Accepts the certificates of one key.
#[derive(Debug)]
struct Pinned {
    pin: Fingerprint,
    provider: Arc<CryptoProvider>,
    mismatch: Arc<OnceLock<PinMismatch>>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let found = fingerprint(certificate)?;
        if found == self.pin {
            return Ok(ServerCertVerified::assertion());
        }
        let mismatch = PinMismatch { expected: self.pin, found };
        self.mismatch.set(mismatch).ok();
        Err(CertificateError::Other(OtherError(Arc::new(mismatch))).into())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        None
    }
}

/// Whether TLS itself failed, behind the handshake too: a server that asks for a
/// certificate of the client says so only then.
pub(crate) fn is_of_tls(error: &std::io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (String, String) {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec!["x".to_owned()]).unwrap().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    #[test]
    fn an_identity_is_a_certificate_and_the_key_that_fits_it() {
        let ((certificate, key), (_, other)) = (pair(), pair());
        let identity = |certificate: &str, key: &str| {
            Identity::from_pem(certificate.as_bytes(), key.as_bytes()).map_err(|e| e.to_string())
        };
        let shown = format!("{:?}", identity(&certificate, &key).unwrap());
        assert_eq!(shown, "Identity { certificates: 1, .. }");
        let (no_certificate, no_key) = (identity(&key, &key), identity(&certificate, &certificate));
        assert!(no_certificate.unwrap_err().contains("BEGIN CERTIFICATE"));
        assert!(no_key.unwrap_err().contains("BEGIN PRIVATE KEY"));
        assert!(identity(&certificate, &other).unwrap_err().contains("issued for it"));
    }

    #[test]
    fn the_fingerprint_of_a_file_is_that_of_its_first_certificate() {
        let ((first, _), (second, _)) = (pair(), pair());
        let alone = fingerprint_of_pem(first.as_bytes()).unwrap();
        let both = fingerprint_of_pem(format!("{first}{second}").as_bytes()).unwrap();
        assert_eq!(alone, both);
        assert_ne!(alone, fingerprint_of_pem(second.as_bytes()).unwrap());
        assert!(fingerprint_of_pem(b"no").is_err());
    }
}
