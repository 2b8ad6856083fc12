//! TLS: servers that ask for a certificate of the client, and what is pinned.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

mod common;

use common::papers::{Papers, papers};
use common::*;
use planck_client::proto::packet::HEADER_BYTES;
use planck_client::proto::{ReplyWriter, Request};
use planck_client::{
    Client, ConnectOptions, Connection, Error, Fate, Fingerprint, Identity, Security,
};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A server that lets in who has the papers of `member`, and answers each request.
async fn club(own: &Papers, member: &Papers) -> SocketAddr {
    let acceptor = TlsAcceptor::from(Arc::new(own.server(Some(member))));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = match acceptor.accept(stream).into_fallible().await {
                Ok(stream) => stream,
                Err((_, mut stream)) => {
                    // What the client is told would be lost with what it has sent.
                    stream.read_to_end(&mut Vec::new()).await.ok();
                    continue;
                }
            };
            let mut header = [0; HEADER_BYTES];
            while stream.read_exact(&mut header).await.is_ok() {
                let header = planck_client::proto::Header::parse(&header).unwrap();
                let mut body = vec![0; header.body as usize];
                stream.read_exact(&mut body).await.unwrap();
                let mut out = Vec::new();
                ReplyWriter::new(header.id, &mut out).empty();
                stream.write_all(&out).await.unwrap();
                stream.flush().await.unwrap();
            }
        }
    });
    address
}

async fn connect(
    address: SocketAddr,
    pin: Fingerprint,
    identity: Option<Identity>,
) -> Result<Connection, Error> {
    let options = ConnectOptions { identity, ..ConnectOptions::default() };
    let address = address.to_string();
    soon(Connection::connect(&address, Security::Pinned(pin), "ann", "key", options)).await
}

#[tokio::test]
async fn who_shows_the_certificate_asked_for_is_let_in_and_who_does_not_is_told_why() {
    let (own, member, other) = (papers(), papers(), papers());
    let address = club(&own, &member).await;
    let mut connection = connect(address, own.pin(), Some(member.identity())).await.unwrap();
    soon(connection.call(&Request::Ping)).await.unwrap();
    drop(connection);
    for identity in [None, Some(other.identity())] {
        let without = identity.is_none();
        let error = connect(address, own.pin(), identity).await.unwrap_err();
        assert!(matches!(error, Error::Handshake { .. }), "{error}");
        assert_eq!(error.to_string().contains("CertificateRequired"), without, "{error}");
        assert_eq!((error.fate(), error.is_retryable()), (Fate::NotDone, false));
    }
}

#[tokio::test]
async fn a_pool_shows_it_too() {
    let (own, member) = (papers(), papers());
    let address = club(&own, &member).await;
    let mut config = config(address);
    config.security = Security::Pinned(own.pin());
    config.connect.identity = Some(member.identity());
    soon(Client::new(config).unwrap().ping()).await.unwrap();
}

#[tokio::test]
async fn another_server_is_shown_nothing() {
    let (own, member) = (papers(), papers());
    let address = club(&own, &member).await;
    let error = connect(address, member.pin(), Some(member.identity())).await.unwrap_err();
    let Error::WrongCertificate { expected, found } = error else { panic!("{error}") };
    assert_eq!((expected, found), (member.pin(), own.pin()));
}

#[tokio::test]
async fn a_certificate_without_tls_is_refused_at_once() {
    let options = ConnectOptions { identity: Some(papers().identity()), ..Default::default() };
    let connecting = Connection::connect("127.0.0.1:9", Security::Plaintext, "", "", options);
    let error = soon(connecting).await.unwrap_err();
    assert!(error.to_string().contains("goes with TLS"), "{error}");
    let mut config = config(([127, 0, 0, 1], 9).into());
    config.connect.identity = Some(papers().identity());
    assert!(matches!(Client::new(config), Err(Error::Invalid(_))));
}
