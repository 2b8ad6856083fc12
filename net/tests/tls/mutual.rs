//! Clients that must show a certificate.

use super::people::{Authority, Papers};
use super::*;
use net::tls::{Certificates, Source};
use rustls::AlertDescription;
use std::fs;

struct Club {
    dir: tempfile::TempDir,
    authority: Authority,
    certificates: Certificates,
}

fn club() -> Club {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new("the club");
    fs::write(dir.path().join("ca.pem"), &authority.pem).unwrap();
    let source = Source::SelfSigned { directory: dir.path().join("tls"), names: Vec::new() };
    let certificates = Certificates::open(source, Some(&dir.path().join("ca.pem"))).unwrap();
    Club { dir, authority, certificates }
}

impl Club {
    fn guest(&self, papers: Option<Papers>, alpn: &[&[u8]]) -> Arc<rustls::ClientConfig> {
        let builder = trusting(&[&self.dir.path().join("tls/cert.pem")]);
        let config = match papers {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
        };
        speaking(config, alpn)
    }
}

/// Papers that are not good enough, what the client is told, and the server's line.
fn refused(club: &Club) -> [(Option<Papers>, AlertDescription, &'static str); 3] {
    let stranger = Authority::new("strangers").papers(2999);
    [
        (None, AlertDescription::CertificateRequired, "showed no certificate"),
        (Some(club.authority.papers(2021)), AlertDescription::CertificateExpired, "has expired"),
        (Some(stranger), AlertDescription::UnknownCA, "issued by none of the authorities"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wire_lets_in_who_shows_a_certificate_of_the_authority_and_nobody_else() {
    let club = club();
    let house = wire(club.certificates.wire().unwrap()).await;
    let member = club.guest(Some(club.authority.papers(2999)), &[WIRE]);
    let (_, mut stream) = house.open(&member).await.unwrap();
    authenticate(&mut stream).await.unwrap();
    for (papers, told, line) in refused(&club) {
        let config = club.guest(papers, &[WIRE]);
        // The client's part of the handshake is over before the server has judged it.
        let (here, mut stream) = house.open(&config).await.unwrap();
        assert_eq!(alert(&authenticate(&mut stream).await.unwrap_err()), told);
        let said = house.line_about(here).await;
        assert!(said.contains(line), "{said}");
    }
    assert_eq!(house.door.passed(), 1, "no key was looked at");
    ping(&mut stream).await.unwrap();
    let (_, mut next) = house.open(&member).await.unwrap();
    authenticate(&mut next).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn so_does_http() {
    let club = club();
    let house = http(club.certificates.http().unwrap()).await;
    let member = club.guest(Some(club.authority.papers(2999)), &[b"http/1.1"]);
    let (_, mut stream) = house.open(&member).await.unwrap();
    assert_eq!(get(&mut stream).await.unwrap(), "HTTP/1.1 200 OK");
    for (papers, told, line) in refused(&club) {
        let config = club.guest(papers, &[b"http/1.1"]);
        let (here, mut stream) = house.open(&config).await.unwrap();
        assert_eq!(alert(&get(&mut stream).await.unwrap_err()), told);
        let said = house.line_about(here).await;
        assert!(said.contains(line), "{said}");
    }
    assert_eq!(house.door.passed(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_member_any_more_does_not_come_in_by_a_session_of_before() {
    let club = club();
    let house = http(club.certificates.http().unwrap()).await;
    let member = club.guest(Some(club.authority.papers(2999)), &[b"http/1.1"]);
    for _ in 0..2 {
        // The second would resume the first, if it could.
        let (_, mut stream) = house.open(&member).await.unwrap();
        assert_eq!(get(&mut stream).await.unwrap(), "HTTP/1.1 200 OK");
        let resumed = Some(rustls::HandshakeKind::Resumed);
        assert_ne!(stream.get_ref().1.handshake_kind(), resumed);
    }
    fs::write(club.dir.path().join("ca.pem"), &Authority::new("another club").pem).unwrap();
    assert_eq!(club.certificates.refresh(false).len(), 1);
    let (_, mut stream) = house.open(&member).await.unwrap();
    assert_eq!(alert(&get(&mut stream).await.unwrap_err()), AlertDescription::UnknownCA);
    assert_eq!(house.door.passed(), 2);
}
