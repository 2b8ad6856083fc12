//! Whose word about an upstream's certificate is taken.
//!
//! Invariant: there is no way to leave verification out.

use crate::tls::provider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use tokio_rustls::TlsConnector;

/// The authorities that this machine trusts.
///
/// # Errors
/// There are none.
pub(super) fn system() -> Result<Arc<RootCertStore>, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // One that cannot be used vouches for nobody; the others still do.
    let (taken, _) = roots.add_parsable_certificates(found.certs);
    if taken == 0 {
        return Err("this machine has no certificates of authorities: install the package \
                    ca-certificates, or set ca_file"
            .to_owned());
    }
    Ok(Arc::new(roots))
}

/// The authorities in a PEM file, and no others.
///
/// # Errors
/// There is none in it, or one cannot be used.
pub(super) fn of_pem(pem: &[u8]) -> Result<Arc<RootCertStore>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| format!("ca_file: {error:?}"))?;
        roots.add(certificate).map_err(|error| format!("ca_file: {error}"))?;
    }
    if roots.is_empty() {
        return Err("ca_file: holds no certificate in PEM (`-----BEGIN CERTIFICATE-----`)".into());
    }
    Ok(Arc::new(roots))
}

/// TLS 1.3 and HTTP/1.1, to whom these authorities know.
pub(super) fn connector(roots: Arc<RootCertStore>) -> Result<TlsConnector, String> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}
