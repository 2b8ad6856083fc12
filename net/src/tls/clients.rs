//! Which clients a server knows by their certificates (`tls.client_ca_file`).
//!
//! What must stay true: with authorities configured, whoever shows no certificate
//! of theirs that is valid now does not get past the handshake. The authorities may
//! be swapped while the server runs; a handshake sees those of one moment.
//!
//! Signatures are checked as the client checks the server's (`sdk/client/src/tls.rs`), in
//! the same words but of another trait of rustls; no crate below both knows rustls.

use super::identity::{TlsError, certificates};
use super::provider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
    client::danger::HandshakeSignatureValid,
};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

/// What checks a certificate against authorities.
pub(super) type Verifier = Arc<dyn ClientCertVerifier>;

/// The authorities in a PEM file.
pub(super) fn authorities(path: &Path, pem: &[u8]) -> Result<Verifier, TlsError> {
    let unusable = |reason: String| TlsError::Unusable { path: path.to_owned(), reason };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, pem)? {
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|error| unusable(error.to_string()))
}

/// The authorities of now.
#[derive(Debug)]
pub(super) struct Clients(RwLock<Verifier>);

impl Clients {
    pub(super) fn new(verifier: Verifier) -> Clients {
        Clients(RwLock::new(verifier))
    }

    pub(super) fn set(&self, verifier: Verifier) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = verifier;
    }

    fn now(&self) -> Verifier {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientCertVerifier for Clients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[] // A hint only, and it would have to outlive a swap.
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.now().verify_client_cert(certificate, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.now().verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.now().verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.now().supported_verify_schemes()
    }
}
