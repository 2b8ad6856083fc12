//! TLS 1.3 with the ring provider, and servers pinned by fingerprint.
//!
//! What must stay true: every configuration names its provider and TLS 1.3
//! itself, so neither a second provider in the build nor a process default can
//! change what is spoken. A client accepts exactly one public key: the one whose
//! SHA-256 it was given. The handshake's signature is still checked, so showing
//! the certificate without its key is of no use. Whom a server asks for a
//! certificate is asked in every handshake: no session is resumed past it.

mod certificates;
mod clients;
mod identity;
mod validity;

pub use certificates::{Certificates, Change, Source};
pub use identity::{Identity, RENEW_DAYS, TlsError, VALID_DAYS};

use certificates::Served;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ParsedCertificate, ResolvesServerCert};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, OtherError,
    ServerConfig, SignatureScheme,
};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// What the two sides of the wire agree to speak inside TLS.
pub const ALPN_WIRE: &[u8] = b"planck/1";
/// What is spoken to browsers, the better first.
const ALPN_HTTP: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Makes ring the provider of this process, for code that takes the default.
/// Harmless if one is set already; nothing in this crate depends on it.
pub fn install_provider() {
    // An Err only says that a provider was installed before.
    ring::default_provider().install_default().ok();
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// SHA-256 of a certificate's public key (its SubjectPublicKeyInfo in DER): what
/// clients pin. A certificate that is made anew for the same key has the same. Shown
/// as 64 hex digits; read with or without colons, in either case.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// Of a certificate.
    ///
    /// # Errors
    /// The bytes are no certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Fingerprint, rustls::Error> {
        let key = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
        Ok(Fingerprint(Sha256::digest(key.as_ref()).into()))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a certificate fingerprint: give the 64 hexadecimal digits that planck \
     prints when it starts"
)]
pub struct BadFingerprint(String);

impl FromStr for Fingerprint {
    type Err = BadFingerprint;

    fn from_str(text: &str) -> Result<Self, BadFingerprint> {
        let bad = || BadFingerprint(text.chars().take(80).collect());
        let digits: Vec<u8> = text
            .trim()
            .chars()
            .filter(|c| *c != ':')
            .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect::<Option<_>>()
            .ok_or_else(bad)?;
        let bytes: Vec<u8> =
            digits.chunks(2).map(|pair| pair.iter().fold(0, |b, d| b << 4 | d)).collect();
        if digits.len() != 64 {
            return Err(bad());
        }
        bytes.try_into().map(Fingerprint).map_err(|_| bad())
    }
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

/// A client's configuration: TLS 1.3, exactly the key pinned, the wire.
pub(crate) fn client_config(pin: Fingerprint) -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring has cipher suites of TLS 1.3")
        .dangerous() // rustls' word; one key is narrower than any authority.
        .with_custom_certificate_verifier(Arc::new(Pinned { pin, provider: provider() }))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN_WIRE.to_vec()];
    // A resumed session would skip the certificate.
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// The server presented the certificate of another key than the one pinned.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("expected the key {expected}, was given {found}")]
pub(crate) struct PinMismatch {
    pub(crate) expected: Fingerprint,
    pub(crate) found: Fingerprint,
}

/// Accepts the certificates of one key.
#[derive(Debug)]
struct Pinned {
    pin: Fingerprint,
    provider: Arc<CryptoProvider>,
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
        let found = Fingerprint::of(certificate)?;
        if found == self.pin {
            return Ok(ServerCertVerified::assertion());
        }
        let mismatch = PinMismatch { expected: self.pin, found };
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

/// The reason in an error of the handshake, if the pin was it.
pub(crate) fn pin_mismatch(error: &std::io::Error) -> Option<PinMismatch> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    let rustls::Error::InvalidCertificate(CertificateError::Other(other)) = error else {
        return None;
    };
    other.0.downcast_ref::<PinMismatch>().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_reads_back_with_and_without_colons() {
        let fingerprint = Fingerprint(std::array::from_fn(|i| i as u8 * 7));
        let text = fingerprint.to_string();
        assert_eq!(text.len(), 64);
        assert_eq!(text.parse(), Ok(fingerprint));
        let colons: Vec<&str> =
            text.as_bytes().chunks(2).map(|two| std::str::from_utf8(two).unwrap()).collect();
        assert_eq!(colons.join(":").to_uppercase().parse(), Ok(fingerprint));
    }

    #[test]
    fn other_texts_are_no_fingerprints() {
        let digits = "0".repeat(64);
        for text in ["", "abc", &digits[1..], &format!("{digits}0"), &digits.replace('0', "g")] {
            assert!(text.parse::<Fingerprint>().is_err(), "{text}");
        }
    }
}
