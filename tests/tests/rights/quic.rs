//! Callers that speak QUIC: one connection each, a stream for each request.

use super::cases::{Caller, KEY, Service};
use super::key_of;
use proto::{Header, Request, Status};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::sync::Arc;
use tests::Planck;
use tokio::runtime::Runtime;

/// More than any reply has.
const MOST: usize = 64 << 20;

struct OverQuic(Arc<Runtime>, Connection);

impl Caller for OverQuic {
    fn ask(&mut self, packet: &[u8]) -> Vec<u8> {
        self.0.block_on(call(&self.1, packet))
    }
}

async fn call(connection: &Connection, packet: &[u8]) -> Vec<u8> {
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    send.write_all(packet).await.unwrap();
    send.finish().unwrap();
    recv.read_to_end(MOST).await.unwrap()
}

/// The service as a process; a guest has no QUIC.
pub struct Process {
    pub planck: Planck,
    pub runtime: Arc<Runtime>,
}

impl Process {
    fn endpoint(&self) -> Endpoint {
        let certificate = self.planck.dir.join("tls/cert.pem");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![proto::packet::ALPN.to_vec()];
        let mut endpoint = Endpoint::client(([127, 0, 0, 1], 0).into()).unwrap();
        let crypto = Arc::new(QuicClientConfig::try_from(tls).unwrap());
        endpoint.set_default_client_config(ClientConfig::new(crypto));
        endpoint
    }
}

impl Service for Process {
    fn caller(&mut self, name: &str) -> Option<Box<dyn Caller>> {
        if name == "service" {
            return None;
        }
        let key = match name {
            "admin" => key_of(&self.planck.dir),
            _ => KEY.to_owned(),
        };
        let mut packet = Vec::new();
        Request::Auth { user: name, key: &key }.encode(1, &mut packet);
        let connection = self.runtime.block_on(async {
            let connecting = self.endpoint().connect(self.planck.wire, "localhost").unwrap();
            let connection = connecting.await.unwrap();
            let reply = call(&connection, &packet).await;
            assert_eq!(Header::parse(&reply).unwrap().code, Status::Ok as u16, "{name}");
            connection
        });
        Some(Box::new(OverQuic(Arc::clone(&self.runtime), connection)))
    }

    fn lsn(&mut self) -> Option<u64> {
        None
    }
}
