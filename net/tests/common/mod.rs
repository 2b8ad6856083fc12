//! What the tests of the edge share: an identity, and a patient wait.
#![allow(dead_code)] // Each test binary uses a part.

use net::tls::Identity;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Any free port of loopback.
pub(crate) fn anywhere() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

pub(crate) fn identity() -> Identity {
    identity_in(tempfile::tempdir().unwrap().path())
}

/// One whose files are in `dir`.
pub(crate) fn identity_in(dir: &Path) -> Identity {
    Identity::load_or_create(dir, &[]).unwrap()
}

/// Only a hang reaches this; nothing waits for it to pass.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("took too long")
}

/// A connection from another address of this machine.
pub(crate) async fn from(address: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((address, 0).into()).unwrap();
    soon(socket.connect(to)).await.unwrap()
}

/// Sends bytes on a bare socket and reads until the server closes.
pub(crate) async fn talk(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    soon(async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        until_closed(&mut stream).await
    })
    .await
}

/// What comes until the connection ends, however it ends.
pub(crate) async fn until_closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    soon(stream.read_to_end(&mut all)).await.ok();
    all
}

/// A client that verifies `cert.pem` of `dir` for `name`, by the book and without a pin.
pub(crate) async fn tls_client(
    dir: &Path,
    alpn: Option<&[u8]>,
    address: SocketAddr,
    name: &'static str,
) -> tokio_rustls::client::TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(dir.join("cert.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let stream = TcpStream::connect(address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = connector.connect(ServerName::try_from(name).unwrap(), stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), alpn);
    stream
}

/// A ClientHello that offers TLS 1.2 and nothing newer.
pub(crate) fn hello_of_tls12() -> Vec<u8> {
    let mut hello = vec![3, 3]; // client_version 1.2
    hello.extend_from_slice(&[7; 32]); // random
    hello.push(0); // no session id
    hello.extend_from_slice(&[0, 2, 0xc0, 0x2b]); // ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
    hello.extend_from_slice(&[1, 0]); // no compression
    let extensions: &[u8] = &[
        0, 10, 0, 4, 0, 2, 0, 23, // supported_groups: secp256r1
        0, 11, 0, 2, 1, 0, // ec_point_formats: uncompressed
        0, 13, 0, 4, 0, 2, 4, 3, // signature_algorithms: ecdsa_secp256r1_sha256
    ];
    hello.extend_from_slice(&(extensions.len() as u16).to_be_bytes());
    hello.extend_from_slice(extensions);
    let mut message = vec![1, 0];
    message.extend_from_slice(&(hello.len() as u16).to_be_bytes());
    message.extend_from_slice(&hello);
    let mut record = vec![22, 3, 1];
    record.extend_from_slice(&(message.len() as u16).to_be_bytes());
    record.extend_from_slice(&message);
    record
}

/// The alert that refuses a protocol version: fatal, 70.
pub(crate) const PROTOCOL_VERSION_ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 70];
