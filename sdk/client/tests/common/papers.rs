//! Certificates that tests make up, and servers that show them.

use planck_client::proto::packet::ALPN;
use planck_client::{Fingerprint, Identity, fingerprint_of_pem};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use std::sync::Arc;

/// Certificate and key, in PEM.
pub(crate) struct Papers {
    certificate: String,
    key: String,
}

pub(crate) fn papers() -> Papers {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    Papers { certificate, key: key.serialize_pem() }
}

impl Papers {
    fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()
    }

    pub(crate) fn pin(&self) -> Fingerprint {
        fingerprint_of_pem(self.certificate.as_bytes()).unwrap()
    }

    pub(crate) fn identity(&self) -> Identity {
        Identity::from_pem(self.certificate.as_bytes(), self.key.as_bytes()).unwrap()
    }

    /// A server of these papers; with a `member`, for nobody but who has theirs.
    pub(crate) fn server(&self, member: Option<&Papers>) -> rustls::ServerConfig {
        let provider = Arc::new(ring::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap();
        let builder = match member {
            None => builder.with_no_client_auth(),
            Some(member) => {
                let mut roots = rustls::RootCertStore::empty();
                roots.add(member.der()).unwrap();
                let members =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(members.build().unwrap())
            }
        };
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        let mut config = builder.with_single_cert(vec![self.der()], key).unwrap();
        config.alpn_protocols = vec![ALPN.to_vec()];
        config
    }
}
