//! TLS 1.3 with the ring provider: the server's side. What a client accepts stands in
//! `planck_client`.
//!
//! What must stay true: the configuration names its provider and TLS 1.3 itself, so
//! neither a second provider in the build nor a process default can change what is
//! spoken.

mod identity;

pub use identity::{Identity, TlsError, VALID_DAYS};

use proto::Fingerprint;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// What the two sides of the wire agree to speak inside TLS.
pub use proto::packet::ALPN as ALPN_WIRE;

/// Makes ring the provider of this process, for code that takes the default.
/// Harmless if one is set already; nothing in this crate depends on it.
pub fn install_provider() {
    // An Err only says that a provider was installed before.
    ring::default_provider().install_default().ok();
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// What clients pin: SHA-256 of the certificate's DER bytes. `planck_client` computes the
/// same of what it is shown.
pub fn fingerprint(certificate: &CertificateDer<'_>) -> Fingerprint {
    Fingerprint(Sha256::digest(certificate.as_ref()).into())
}

impl Identity {
    /// A server's configuration: TLS 1.3, this certificate, these protocols.
    pub(crate) fn server_config(&self, alpn: &[&[u8]]) -> Result<Arc<ServerConfig>, TlsError> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(TlsError::Refused)?
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .map_err(TlsError::Refused)?;
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Ok(Arc::new(config))
    }
}
