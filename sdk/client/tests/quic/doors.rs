//! Who is trusted, who is let in, and what is said when it is nobody.

use super::common::papers::papers;
use super::common::{SHORT, reply, soon};
use super::fake::*;
use planck_client::{ConnectOptions, Error, Fate, Identity, Security, Session, Status};
use std::net::SocketAddr;
use tokio::net::UdpSocket;

async fn connect(address: SocketAddr, security: Security) -> Error {
    connect_with(address, security, ConnectOptions::default()).await
}

async fn connect_with(address: SocketAddr, security: Security, options: ConnectOptions) -> Error {
    let address = address.to_string();
    soon(Session::connect(&address, security, "ann", "key", options)).await.unwrap_err()
}

#[tokio::test]
async fn another_server_is_told_nothing() {
    let server = Fake::start(|_, _| async { panic!("a handshake ended well") }).await;
    let pin = papers().pin();
    let error = connect(server.address, Security::Pinned(pin)).await;
    let Error::WrongCertificate { expected, found } = error else { panic!("{error}") };
    assert_eq!((expected, found), (pin, server.own.pin()));
}

#[tokio::test]
async fn without_tls_there_is_no_quic() {
    let error = connect(([127, 0, 0, 1], 9).into(), Security::Plaintext).await;
    assert!(error.to_string().starts_with("QUIC is always under TLS"), "{error}");
}

#[tokio::test]
async fn who_speaks_another_protocol_is_refused_in_the_handshake() {
    let own = papers();
    let mut tls = own.server(None);
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let server = Fake::with(own, tls, |_, peer| be_silent(peer)).await;
    let error = connect(server.address, Security::Pinned(server.own.pin())).await;
    assert!(matches!(error, Error::Handshake { .. }), "{error}");
    assert_eq!((error.fate(), error.is_retryable()), (Fate::NotDone, false));
}

#[tokio::test]
async fn where_nobody_answers_by_udp_it_is_said_so() {
    let silent = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
    let options = ConnectOptions { connect_timeout: SHORT, ..ConnectOptions::default() };
    let pin = Security::Pinned(papers().pin());
    let error = connect_with(silent.local_addr().unwrap(), pin, options).await;
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("nothing answers by UDP"), "{error}");
    assert!(error.is_retryable());
}

#[tokio::test]
async fn who_shows_the_certificate_asked_for_is_let_in_and_who_does_not_is_told_why() {
    let (own, member, other) = (papers(), papers(), papers());
    let tls = own.server(Some(&member));
    let server = Fake::with(own, tls, |_, peer| async move {
        auth(&peer).await;
        be_silent(peer).await;
    })
    .await;
    let with = |identity: Option<Identity>| ConnectOptions { identity, ..Default::default() };
    server.connect(with(Some(member.identity()))).await.unwrap();
    for identity in [None, Some(other.identity())] {
        let without = identity.is_none();
        let error = server.connect(with(identity)).await.unwrap_err();
        assert!(matches!(error, Error::Handshake { .. }), "{error}");
        assert_eq!(error.to_string().contains("CertificateRequired"), without, "{error}");
        assert_eq!((error.fate(), error.is_retryable()), (Fate::NotDone, false));
    }
}

#[tokio::test]
async fn who_is_not_let_in_is_told_why() {
    let server = Fake::start(|n, peer| async move {
        match n {
            0 => {
                let asked = asked(&peer).await.unwrap();
                let no = Status::BadCredentials;
                let bytes = reply(&asked.packet, |_, reply| reply.error(no, "no such key"));
                asked.answer(&bytes).await;
                be_silent(peer).await;
            }
            // Before anything was read.
            1 => peer.close((Status::Busy as u16).into(), b"too many"),
            2 => peer.close(NO_REASON, b"the server stops"),
            _ => be_silent(peer).await,
        }
    })
    .await;
    let error = server.connect(ConnectOptions::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "PLK-1502: no such key");
    let error = server.connect(ConnectOptions::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "PLK-1601: too many");
    let error = server.connect(ConnectOptions::default()).await.unwrap_err();
    assert!(matches!(error, Error::Lost { fate: Fate::NotDone, .. }), "{error}");
    for options in [
        ConnectOptions { connect_timeout: SHORT * 4, ..ConnectOptions::default() },
        ConnectOptions { call_timeout: SHORT * 4, ..ConnectOptions::default() },
    ] {
        let error = server.connect(options).await.unwrap_err();
        assert!(matches!(error, Error::Timeout { fate: Fate::NotDone, .. }), "{error}");
    }
}
