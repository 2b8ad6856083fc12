//! TLS at both listeners, over real sockets, with clients that are not ours: what each
//! side sees when it goes well, when it does not, and when certificates change.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

#[path = "../common/mod.rs"]
mod common;
mod log;
mod mutual;
mod people;
mod refusals;
mod reload;

use common::*;
use net::http::{GuestRequest, GuestResponse, HttpHandler, HttpOptions};
use net::wire::{Call, WireHandler, WireOptions};
use net::{LockoutOptions, Security, Server};
use proto::packet::HEADER_BYTES;
use proto::{Reply, ReplyWriter, Request, Status};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const WIRE: &[u8] = b"planck/1";

/// Counts who came through the door.
#[derive(Clone, Default)]
struct Door(Arc<AtomicUsize>);

impl Door {
    fn passed(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl WireHandler for Door {
    type Session = ();

    fn authenticate(&self, _: &str, key: &str, _: SocketAddr) -> Result<(), (Status, String)> {
        if key == "wrong" {
            return Err((Status::BadCredentials, "the user or key is wrong".to_owned()));
        }
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn handle(&self, (): &(), packet: &[u8], _: &Call, out: &mut Vec<u8>) {
        ReplyWriter::new(Request::decode(packet).unwrap().0, out).empty();
    }
}

impl HttpHandler for Door {
    async fn handle(&self, _: Arc<GuestRequest>) -> GuestResponse {
        self.0.fetch_add(1, Ordering::SeqCst);
        GuestResponse::new(200, "text/plain", "in")
    }
}

struct House {
    door: Door,
    server: Server,
}

async fn wire(security: Security) -> House {
    wire_with(security, WireOptions::default()).await
}

async fn wire_with(security: Security, options: WireOptions) -> House {
    log::listen();
    let door = Door::default();
    let server = net::wire::serve(anywhere(), security, options, door.clone()).await.unwrap();
    House { door, server }
}

async fn http(security: Security) -> House {
    log::listen();
    let door = Door::default();
    let options = HttpOptions::default();
    let server = net::http::serve(anywhere(), security, options, door.clone()).await.unwrap();
    House { door, server }
}

impl House {
    /// A handshake, as far as a client can tell.
    async fn open(
        &self,
        config: &Arc<rustls::ClientConfig>,
    ) -> io::Result<(SocketAddr, TlsStream<TcpStream>)> {
        let stream = TcpStream::connect(self.server.address()).await?;
        let here = stream.local_addr()?;
        let name = ServerName::try_from("localhost").unwrap();
        let connecting = TlsConnector::from(config.clone()).connect(name, stream);
        Ok((here, soon(connecting).await?))
    }

    /// The one line that the log must have about a peer.
    async fn line_about(&self, peer: SocketAddr) -> String {
        // It is written by the server's task, which may be behind.
        soon(async {
            while log::about(peer).is_empty() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let mut lines = log::about(peer);
        assert_eq!(lines.len(), 1, "one line: {lines:?}");
        let line = lines.remove(0);
        assert!(line.len() < 400, "a bounded one: {line}");
        line
    }
}

/// A client that trusts the certificates in these files.
fn trusting(files: &[&Path]) -> rustls::ConfigBuilder<rustls::ClientConfig, WantsIdentity> {
    let mut roots = rustls::RootCertStore::empty();
    for file in files {
        roots.add(CertificateDer::from_pem_file(file).unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
}

type WantsIdentity = rustls::client::WantsClientCert;

fn speaking(mut config: rustls::ClientConfig, alpn: &[&[u8]]) -> Arc<rustls::ClientConfig> {
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

/// Authenticates and reads the answer.
async fn authenticate(stream: &mut TlsStream<TcpStream>) -> io::Result<()> {
    let mut packet = Vec::new();
    Request::Auth { user: "ann", key: "key" }.encode(9, &mut packet);
    exchange(stream, &packet).await
}

async fn ping(stream: &mut TlsStream<TcpStream>) -> io::Result<()> {
    let mut packet = Vec::new();
    Request::Ping.encode(9, &mut packet);
    exchange(stream, &packet).await
}

async fn exchange(stream: &mut TlsStream<TcpStream>, packet: &[u8]) -> io::Result<()> {
    soon(async {
        stream.write_all(packet).await?;
        stream.flush().await?;
        let mut head = [0; HEADER_BYTES];
        stream.read_exact(&mut head).await?;
        let mut reply = head.to_vec();
        reply.resize(HEADER_BYTES + proto::Header::parse(&head).unwrap().body as usize, 0);
        stream.read_exact(&mut reply[HEADER_BYTES..]).await?;
        match Reply::decode(&reply).unwrap().1 {
            Reply::Error { message, .. } => panic!("{message}"),
            _ => Ok(()),
        }
    })
    .await
}

/// Asks over HTTP and gives the status line.
async fn get(stream: &mut TlsStream<TcpStream>) -> io::Result<String> {
    soon(async {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await?;
        stream.flush().await?;
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await?;
        let text = String::from_utf8_lossy(&all).into_owned();
        Ok(text.lines().next().unwrap_or_default().to_owned())
    })
    .await
}

/// What TLS said when it ended.
fn alert(error: &io::Error) -> rustls::AlertDescription {
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(rustls::Error::AlertReceived(alert)) => *alert,
        _ => panic!("no alert: {error:?}"),
    }
}
