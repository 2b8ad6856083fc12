//! TLS 1.3 with the ring provider: the server's side. What a client accepts stands in
//! `planck_client`.
//!
//! What must stay true: every configuration names its provider and TLS 1.3
//! itself, so neither a second provider in the build nor a process default can
//! change what is spoken. Whom a server asks for a
//! certificate is asked in every handshake: no session is resumed past it.

mod certificates;
mod clients;
mod identity;
mod validity;

pub use certificates::{Certificates, Change, Source};
pub use identity::{Identity, RENEW_DAYS, TlsError, VALID_DAYS};

use certificates::Served;
use proto::Fingerprint;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ParsedCertificate, ResolvesServerCert};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// What the two sides of the wire agree to speak inside TLS.
pub use proto::packet::ALPN as ALPN_WIRE;
/// What is spoken to browsers, the better first.
const ALPN_HTTP: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Makes ring the provider of this process, for code that takes the default.
/// Harmless if one is set already; nothing in this crate depends on it.
pub fn install_provider() {
    // An Err only says that a provider was installed before.
    ring::default_provider().install_default().ok();
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// What clients pin: SHA-256 of a certificate's public key (its SubjectPublicKeyInfo in
/// DER). A certificate that is made anew for the same key has the same. `planck_client`
/// computes the same of what it is shown.
///
/// # Errors
/// The bytes are no certificate.
pub fn fingerprint(certificate: &CertificateDer<'_>) -> Result<Fingerprint, rustls::Error> {
    let key = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
    Ok(Fingerprint(Sha256::digest(key.as_ref()).into()))
}

/// A server's configuration: TLS 1.3, what `served` gives, these protocols; whom
/// `clients` does not know is refused. QUIC can be built over the same.
fn server_config(
    served: Arc<dyn ResolvesServerCert>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Refused)?;
    let mut config = match clients {
        None => builder.with_no_client_auth().with_cert_resolver(served),
        Some(clients) => {
            let mut config = builder.with_client_cert_verifier(clients).with_cert_resolver(served);
            // A resumed session would skip the client's certificate.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
            config
        }
    };
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}
