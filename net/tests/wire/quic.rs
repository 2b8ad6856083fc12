//! The wire over QUIC, on real loopback sockets, with a client made of quinn alone.

mod budgets;
mod doors;
mod waits;

use super::common::*;
use super::*;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{
    ApplicationClose, Connection, ConnectionError, Endpoint, RecvStream, SendStream, VarInt,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

const NO_REASON: VarInt = VarInt::from_u32(0);

/// A server of both kinds, and the certificate to know it by.
struct Quic {
    house: House,
    tls: Arc<rustls::ClientConfig>,
}

impl Quic {
    async fn with(options: WireOptions) -> Quic {
        let dir = tempfile::tempdir().unwrap();
        let identity = net::tls::Identity::load_or_create(dir.path(), &[]).unwrap();
        let echo = Arc::new(Echo::default());
        let handler = Handler(echo.clone());
        let security = identity.wire().unwrap();
        let server = serve(anywhere(), security, options, handler).await.unwrap();
        let tls = Arc::new(client_tls(dir.path(), Some(b"planck/1")));
        Quic { house: House { server, echo, pin: Some(identity.fingerprint) }, tls }
    }

    async fn new() -> Quic {
        Quic::with(options()).await
    }

    fn endpoint(&self) -> Endpoint {
        client_endpoint(self.tls.clone())
    }

    /// A connection that has not authenticated.
    async fn connection(&self) -> Connection {
        let connecting = self.endpoint().connect(self.house.address(), "localhost").unwrap();
        soon(connecting).await.unwrap()
    }

    /// A session.
    async fn session(&self) -> Connection {
        let connection = self.connection().await;
        let reply = call(&connection, &auth(KEY)).await;
        assert!(matches!(Reply::decode(&reply), Ok((9, Reply::Document(_)))), "{reply:?}");
        connection
    }

    fn handled(&self) -> usize {
        self.house.echo.handled.load(Ordering::SeqCst)
    }
}

/// What trusts the certificate in `dir`.
fn client_tls(dir: &std::path::Path, alpn: Option<&[u8]>) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(dir.join("cert.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config
}

fn client_endpoint(tls: Arc<rustls::ClientConfig>) -> Endpoint {
    let mut endpoint = Endpoint::client(anywhere()).unwrap();
    let crypto = QuicClientConfig::try_from(tls).unwrap();
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(crypto)));
    endpoint
}

/// Sends a packet on a stream of its own.
async fn begin(connection: &Connection, packet: &[u8]) -> (SendStream, RecvStream) {
    let (mut send, recv) = soon(connection.open_bi()).await.unwrap();
    soon(send.write_all(packet)).await.unwrap();
    send.finish().unwrap();
    (send, recv)
}

async fn end(mut recv: RecvStream) -> Vec<u8> {
    soon(recv.read_to_end(64 << 20)).await.unwrap()
}

async fn call(connection: &Connection, packet: &[u8]) -> Vec<u8> {
    end(begin(connection, packet).await.1).await
}

fn ask(text: &str) -> Vec<u8> {
    encoded(Request::Query { text, parameters: None })
}

/// The code that the server closed with.
async fn closed(connection: &Connection) -> u64 {
    match soon(connection.closed()).await {
        ConnectionError::ApplicationClosed(ApplicationClose { error_code, .. }) => {
            error_code.into_inner()
        }
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_answered_each_on_its_stream() {
    let quic = Quic::new().await;
    let session = quic.session().await;
    assert_eq!(count(&call(&session, &ask("number 7")).await), 7);
    assert_eq!(error(&call(&session, &ask("who")).await).1, "ann");
    assert_eq!(Reply::decode(&call(&session, &encoded(Request::Ping)).await).unwrap().0, 9);
    // TCP is on the same port, with the same certificate.
    let mut tcp = quic.house.client().await;
    assert_eq!(count(&query(&mut tcp, "number 8").await), 8);
    session.close(NO_REASON, b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_requests_and_replies_on_many_streams_do_not_deadlock() {
    let quic = Quic::with(WireOptions { max_buffered_bytes: 0, ..options() }).await;
    let session = quic.session().await;
    let large = ask(&format!("who {}", " ".repeat(1_000_000)));
    let mut streams = tokio::task::JoinSet::new();
    for n in 0..24 {
        let (session, large) = (session.clone(), large.clone());
        streams.spawn(async move {
            match n % 2 {
                0 => assert_eq!(error(&call(&session, &large).await).1, "ann"),
                _ => assert_eq!(
                    error(&call(&session, &ask("bytes 1000000")).await).1.len(),
                    1_000_000
                ),
            }
        });
    }
    while let Some(ended) = streams.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_finds_no_memory_for_a_large_request_is_told_so_and_keeps_nobody_waiting() {
    let little = WireOptions { max_message_size: 1 << 20, max_buffered_bytes: 0, ..options() };
    let quic = Quic::with(little).await;
    let session = quic.session().await;
    let large = ask(&format!("who {}", " ".repeat(700_000)));
    let (mut send, recv) = soon(session.open_bi()).await.unwrap();
    soon(send.write_all(&large[..300_000])).await.unwrap();
    for _ in 0..4 {
        let (mut send, recv) = soon(session.open_bi()).await.unwrap();
        if soon(send.write_all(&large)).await.is_ok() {
            send.finish().ok();
        }
        assert_eq!(error(&end(recv).await).0, Status::Busy);
    }
    soon(send.write_all(&large[300_000..])).await.unwrap();
    send.finish().unwrap();
    assert_eq!(error(&end(recv).await).1, "ann");
    assert_eq!(error(&call(&session, &large).await).1, "ann", "it was given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_streams_may_be_open_and_no_more() {
    let quic = Quic::with(WireOptions { max_in_flight: 4, ..options() }).await;
    let session = quic.session().await;
    let _opens = Opens(quic.house.echo.clone());
    let mut waiting = Vec::new();
    for _ in 0..4 {
        waiting.push(begin(&session, &ask("wait")).await.1);
    }
    until(|| quic.handled() == 4).await;
    assert!(tokio::time::timeout(SHORT, session.open_bi()).await.is_err());
    quic.house.echo.open();
    for recv in waiting {
        assert_eq!(count(&end(recv).await), 1);
    }
    assert_eq!(count(&call(&session, &ask("number 3")).await), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_are_at_work_and_the_others_wait() {
    let quic = Quic::new().await;
    let session = quic.session().await;
    let _opens = Opens(quic.house.echo.clone());
    let mut waiting = Vec::new();
    for _ in 0..8 {
        waiting.push(begin(&session, &ask("wait")).await.1);
    }
    until(|| quic.handled() == 8).await;
    for _ in 0..4 {
        waiting.push(begin(&session, &ask("wait")).await.1);
    }
    tokio::time::sleep(SHORT).await;
    assert_eq!(quic.handled(), 8);
    // One that waits is given up, and never begun.
    waiting.pop().unwrap().stop(NO_REASON).unwrap();
    tokio::time::sleep(SHORT).await;
    quic.house.echo.open();
    for recv in waiting {
        assert_eq!(count(&end(recv).await), 1);
    }
    assert_eq!(quic.handled(), 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_stopped_or_reset_is_given_up_and_the_session_goes_on() {
    let quic = Quic::new().await;
    let session = quic.session().await;
    let (_send, mut recv) = begin(&session, &ask("hold")).await;
    until(|| quic.house.echo.arrived()).await;
    recv.stop(NO_REASON).unwrap();
    let given_up = || quic.house.echo.given_up.load(Ordering::SeqCst);
    until(|| given_up() == 1).await;
    // Before it was sent whole.
    let (mut send, recv) = soon(session.open_bi()).await.unwrap();
    send.write_all(&ask("number 1")[..30]).await.unwrap();
    send.reset(NO_REASON).unwrap();
    drop(recv);
    assert_eq!(count(&call(&session, &ask("number 4")).await), 4);
    assert_eq!(quic.handled(), 2);
    // With the connection.
    let (_send, _recv) = begin(&session, &ask("hold")).await;
    until(|| quic.handled() == 3).await;
    session.close(NO_REASON, b"");
    until(|| given_up() == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_stream_is_that_streams_fault() {
    let quic = Quic::with(WireOptions { max_message_size: 5000, ..options() }).await;
    let session = quic.session().await;
    let mut foreign = encoded(Request::Ping);
    foreign[4] = 2;
    for (bytes, status) in [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), Status::BadPacket),
        (vec![], Status::BadPacket),
        (ask("number 1")[..30].to_vec(), Status::BadPacket),
        ([ask("number 1"), vec![0]].concat(), Status::BadPacket),
        (Header::cancel(9).to_bytes().to_vec(), Status::BadPacket),
        (auth(KEY), Status::BadPacket),
        (foreign, Status::UnknownVersion),
        (ask(&"x".repeat(2_000_000)), Status::MessageTooLarge),
        (ask("bytes 5000"), Status::ResultTooLarge),
    ] {
        let (mut send, recv) = soon(session.open_bi()).await.unwrap();
        // The server may stop what it does not want.
        if soon(send.write_all(&bytes)).await.is_ok() {
            send.finish().ok();
        }
        assert_eq!(error(&end(recv).await).0, status, "{:?}", &bytes[..bytes.len().min(40)]);
    }
    assert_eq!(count(&call(&session, &ask("number 4")).await), 4);
    assert_eq!(quic.handled(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_falls_silent_is_ended_and_patience_is_kept() {
    let quic = Quic::with(WireOptions { message_timeout: SHORT, ..options() }).await;
    let session = quic.session().await;
    let (mut send, recv) = soon(session.open_bi()).await.unwrap();
    send.write_all(&ask("number 1")[..30]).await.unwrap();
    assert_eq!(error(&end(recv).await).0, Status::Timeout);
    // What waits behind others longer than it has patience is not begun.
    let _opens = Opens(quic.house.echo.clone());
    let mut waiting = Vec::new();
    for _ in 0..8 {
        waiting.push(begin(&session, &ask("wait")).await.1);
    }
    until(|| quic.handled() == 8).await;
    let mut hasty = Vec::new();
    let request = Request::Query { text: "who", parameters: None };
    request.encode_with_patience(1, 10, &mut hasty);
    let hasty = begin(&session, &hasty).await.1;
    tokio::time::sleep(SHORT).await;
    quic.house.echo.open();
    assert_eq!(error(&end(hasty).await).0, Status::Timeout);
    assert_eq!(quic.handled(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_user_is_gone_ends_and_so_does_one_that_is_silent() {
    let quic = Quic::with(WireOptions { max_sessions: 1, ..options() }).await;
    let session = quic.session().await;
    assert_eq!(error(&call(&session, &ask("gone")).await).0, Status::NotAuthenticated);
    assert_eq!(closed(&session).await, 1501);
    quic.house.client_eventually().await;
    let quic = Quic::new().await;
    let session = quic.session().await;
    assert_eq!(error(&call(&session, &ask("panic")).await).0, Status::Internal);
    assert_eq!(closed(&session).await, 1999);
    let quic = Quic::with(WireOptions { idle_timeout: SHORT, ..options() }).await;
    assert_eq!(closed(&quic.session().await).await, 1602);
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_finishes_what_is_in_flight_and_lets_nobody_in() {
    let quic = Quic::with(WireOptions { drain_timeout: LONG, ..options() }).await;
    let (busy, idle) = (quic.session().await, quic.session().await);
    let waiting = begin(&busy, &ask("wait")).await.1;
    until(|| quic.house.echo.arrived()).await;
    let (echo, address, endpoint) =
        (quic.house.echo.clone(), quic.house.address(), quic.endpoint());
    let _opens = Opens(echo.clone());
    let draining = tokio::spawn(quic.house.server.drain());
    assert_eq!(closed(&idle).await, 0);
    assert!(soon(endpoint.connect(address, "localhost").unwrap()).await.is_err());
    echo.open();
    assert_eq!(count(&end(waiting).await), 1);
    assert_eq!(closed(&busy).await, 0);
    soon(draining).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_cuts_off_what_does_not_finish() {
    let quic = Quic::with(WireOptions { drain_timeout: SHORT, ..options() }).await;
    let session = quic.session().await;
    let (_send, _recv) = begin(&session, &ask("wait")).await;
    until(|| quic.house.echo.arrived()).await;
    let _opens = Opens(quic.house.echo.clone());
    soon(quic.house.server.drain()).await;
    closed(&session).await;
}
