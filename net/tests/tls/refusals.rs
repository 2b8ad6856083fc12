//! Peers that do not fit: what they see, and the one line the server writes.

use super::*;
use rustls::AlertDescription;

/// A made identity, and a client's configuration that trusts it.
fn pair() -> (tempfile::TempDir, net::tls::Identity) {
    let dir = tempfile::tempdir().unwrap();
    let identity = net::tls::Identity::load_or_create(dir.path(), &[]).unwrap();
    (dir, identity)
}

fn anyone(dir: &tempfile::TempDir, alpn: &[&[u8]]) -> Arc<rustls::ClientConfig> {
    speaking(trusting(&[&dir.path().join("cert.pem")]).with_no_client_auth(), alpn)
}

/// Sends bytes on a bare socket; says what came, and from where it was asked.
async fn bare(house: &House, bytes: &[u8]) -> (SocketAddr, Vec<u8>) {
    let mut stream = TcpStream::connect(house.server.address()).await.unwrap();
    let here = stream.local_addr().unwrap();
    stream.write_all(bytes).await.unwrap();
    (here, until_closed(&mut stream).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_offers_tls_1_2_alone_is_told_so_by_both() {
    let (_dir, identity) = pair();
    for house in [wire(identity.wire().unwrap()).await, http(identity.http().unwrap()).await] {
        let (here, answer) = bare(&house, &hello_of_tls12()).await;
        assert_eq!(answer, PROTOCOL_VERSION_ALERT);
        let line = house.line_about(here).await;
        assert!(line.contains("cannot do TLS 1.3"), "{line}");
        assert_eq!(house.door.passed(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_another_protocol_gets_the_alert_for_it() {
    let (dir, identity) = pair();
    let wire = wire(identity.wire().unwrap()).await;
    let web = http(identity.http().unwrap()).await;
    for (house, alpn) in [(&wire, &b"h2"[..]), (&wire, b"planck/2"), (&web, b"planck/1")] {
        let stream = TcpStream::connect(house.server.address()).await.unwrap();
        let here = stream.local_addr().unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(anyone(&dir, &[alpn]));
        let error = soon(connector.connect(name, stream)).await.unwrap_err();
        assert_eq!(alert(&error), AlertDescription::NoApplicationProtocol);
        let line = house.line_about(here).await;
        assert!(line.contains("other protocols"), "{line}");
        assert_eq!(house.door.passed(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_no_protocol_is_told_by_a_packet_to_ask_for_it() {
    let (dir, identity) = pair();
    let house = wire(identity.wire().unwrap()).await;
    let (here, mut stream) = house.open(&anyone(&dir, &[])).await.unwrap();
    let mut all = Vec::new();
    soon(stream.read_to_end(&mut all)).await.unwrap();
    let Reply::Error { status, message } = Reply::decode(&all).unwrap().1 else {
        panic!("{all:?}")
    };
    assert!(status == Status::BadPacket && message.contains("planck/1"), "{message}");
    let line = house.line_about(here).await;
    assert!(line.contains("planck/1 (ALPN)"), "{line}");
    assert_eq!(house.door.passed(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_in_the_clear_to_a_port_of_tls_get_an_alert() {
    let (_dir, identity) = pair();
    let house = wire(identity.wire().unwrap()).await;
    let mut packet = Vec::new();
    Request::Auth { user: "ann", key: "key" }.encode(9, &mut packet);
    let (here, answer) = bare(&house, &packet).await;
    assert_eq!((answer.len(), &answer[..3]), (7, &[21, 3, 3][..]), "an alert: {answer:?}");
    let line = house.line_about(here).await;
    assert!(line.contains("does not speak TLS"), "{line}");
    assert!(!line.contains("key"), "{line}");
    assert_eq!(house.door.passed(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn http_in_the_clear_to_a_port_of_tls_is_answered_in_its_own_words() {
    let (_dir, identity) = pair();
    let house = http(identity.http().unwrap()).await;
    let (here, answer) = bare(&house, b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    assert!(answer.contains("https://"), "{answer}");
    let line = house.line_about(here).await;
    assert!(line.contains("speaks HTTP in the clear"), "{line}");
    assert_eq!(house.door.passed(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_to_a_port_in_the_clear_is_named_by_both() {
    let (dir, _) = pair();
    let wire = wire(Security::Plaintext).await;
    let web = http(Security::Plaintext).await;
    for (house, alpn) in [(&wire, WIRE), (&web, &b"http/1.1"[..])] {
        let stream = TcpStream::connect(house.server.address()).await.unwrap();
        let here = stream.local_addr().unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(anyone(&dir, &[alpn]));
        let error = soon(connector.connect(name, stream)).await.unwrap_err();
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        assert!(matches!(inner, Some(rustls::Error::InvalidMessage(_))), "{error:?}");
        let line = house.line_about(here).await;
        assert!(line.contains("tls.enabled"), "{line}");
        assert_eq!(house.door.passed(), 0);
    }
    // What a client that looks at the bytes finds.
    let (_, answer) = bare(&wire, &hello_of_tls12()).await;
    let Reply::Error { message, .. } = Reply::decode(&answer).unwrap().1 else {
        panic!("a refusal")
    };
    assert!(message.contains("tls.enabled is false here"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_misfits_writes_few_lines_and_keeps_nobody_out() {
    let (dir, identity) = pair();
    let house = wire(identity.wire().unwrap()).await;
    let mut lines = 0;
    for _ in 0..40 {
        let (here, answer) = bare(&house, b"GET / HTTP/1.1\r\n\r\n").await;
        assert_eq!(answer.first(), Some(&21), "each is told");
        lines += log::about(here).len();
    }
    assert!(lines <= 20, "{lines} lines for 40 refusals");
    let (_, mut stream) = house.open(&anyone(&dir, &[WIRE])).await.unwrap();
    authenticate(&mut stream).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_wrong_keys_writes_few_lines() {
    // Until it is locked out, and from then on.
    for max_failed_attempts in [1000, 3] {
        let lockout = LockoutOptions { max_failed_attempts, ..LockoutOptions::default() };
        let failed_auth_delay = Duration::ZERO;
        let options = WireOptions { lockout, failed_auth_delay, ..WireOptions::default() };
        let house = wire_with(Security::Plaintext, options).await;
        let mut packet = Vec::new();
        Request::Auth { user: "ann", key: "wrong" }.encode(9, &mut packet);
        let mut peers = Vec::new();
        for _ in 0..60 {
            let (here, answer) = bare(&house, &packet).await;
            assert!(matches!(Reply::decode(&answer), Ok((9, Reply::Error { .. }))), "each is told");
            peers.push(here);
        }
        let lines: usize = peers.iter().map(|peer| log::about(*peer).len()).sum();
        assert!((1..=25).contains(&lines), "{lines} lines for 60 refusals");
    }
}
