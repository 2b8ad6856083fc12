//! HTTP/3 over loopback, with a client of the same crate over a QUIC of its own.

use super::common::*;
use super::*;
use bytes::Buf;
use h3::client::SendRequest;
use h3::error::StreamError;
use net::tls::{Certificates, Source, fingerprint};
use quinn::crypto::rustls::QuicClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::net::SocketAddr;
use std::path::Path;
use tokio::net::UdpSocket;

type Sender = SendRequest<h3_quinn::OpenStreams, Bytes>;

pub(super) struct Quic {
    pub(super) house: House,
    dir: tempfile::TempDir,
}

/// A connection, and what drives it.
pub(super) struct Client {
    pub(super) quic: quinn::Connection,
    pub(super) send: Sender,
    driver: tokio::task::JoinHandle<String>,
    _endpoint: quinn::Endpoint,
}

fn endpoint(dir: &Path) -> quinn::Endpoint {
    endpoint_at(dir, anywhere())
}

/// One with an address of its own.
fn endpoint_at(dir: &Path, address: SocketAddr) -> quinn::Endpoint {
    let mut roots = rustls::RootCertStore::empty();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path().join("cert.pem");
        roots.add(CertificateDer::from_pem_file(path).unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h3".to_vec()];
    config.enable_early_data = true;
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap()));
    let mut endpoint = quinn::Endpoint::client(address).unwrap();
    endpoint.set_default_client_config(config);
    endpoint
}

impl Quic {
    pub(super) async fn new(options: HttpOptions) -> Quic {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity::load_or_create(&dir.path().join("own"), &[]).unwrap();
        let options = HttpOptions { http3: true, ..options };
        Quic { house: house(identity.http().unwrap(), options).await, dir }
    }

    pub(super) async fn client(&self) -> Client {
        let endpoint = endpoint(self.dir.path());
        let connecting = endpoint.connect(self.house.server.address(), "localhost").unwrap();
        let quic = soon(connecting).await.unwrap();
        let connection = h3_quinn::Connection::new(quic.clone());
        let (mut driver, send) = soon(h3::client::new(connection)).await.unwrap();
        let driver = tokio::spawn(async move {
            std::future::poll_fn(|cx| driver.poll_close(cx)).await.to_string()
        });
        Client { quic, send, driver, _endpoint: endpoint }
    }
}

fn asked(method: &str, target: &str) -> Request<()> {
    Request::builder().method(method).uri(format!("https://h{target}")).body(()).unwrap()
}

type Answer = (Response<()>, Vec<u8>);

/// Asks, with a body in pieces.
async fn ask(send: &mut Sender, request: Request<()>, body: &[&[u8]]) -> Answer {
    try_ask(send, request, body).await.unwrap()
}

async fn try_ask(
    send: &mut Sender,
    request: Request<()>,
    body: &[&[u8]],
) -> Result<Answer, StreamError> {
    soon(async {
        let mut stream = send.send_request(request).await?;
        for piece in body {
            // It may have been refused by then.
            stream.send_data(Bytes::copy_from_slice(piece)).await.ok();
        }
        stream.finish().await.ok();
        let response = stream.recv_response().await?;
        let mut all = Vec::new();
        while let Some(mut data) = stream.recv_data().await? {
            all.extend_from_slice(&data.copy_to_bytes(data.remaining()));
        }
        Ok((response, all))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_answered_as_over_the_others() {
    let files = tempfile::tempdir().unwrap();
    std::fs::write(files.path().join("big.txt"), page().repeat(40)).unwrap();
    let static_dir = Some(files.path().to_owned());
    let quic = Quic::new(HttpOptions { static_dir, ..HttpOptions::default() }).await;
    let mut client = quic.client().await;
    let send = &mut client.send;
    let (response, body) = ask(send, asked("POST", "/a?b"), &[b"abc", b"def"]).await;
    assert_eq!(response.status(), 200);
    assert_eq!(body, b"POST /a?b host=h cookie=- te=- body=abcdef");
    assert_eq!(response.headers()["content-length"], body.len().to_string().as_str());
    assert_eq!(response.headers()["x-request-id"].len(), 32);
    assert!(response.headers().contains_key("date") && !response.headers().contains_key("alt-svc"));
    let (response, body) = ask(send, asked("HEAD", "/a"), &[]).await;
    assert_eq!((&response.headers()["content-length"], body.len()), (&"33".parse().unwrap(), 0));
    let (_, body) = ask(send, asked("GET", "/big.txt"), &[]).await;
    assert!(body == page().repeat(40).into_bytes());
    let mut range = asked("GET", "/big.txt");
    range.headers_mut().insert("range", "bytes=3-8".parse().unwrap());
    let (response, body) = ask(send, range, &[]).await;
    assert_eq!((response.status().as_u16(), &body[..]), (206, &page().as_bytes()[3..9]));
    let mut coded = asked("GET", "/page");
    coded.headers_mut().insert("accept-encoding", "br".parse().unwrap());
    assert_eq!(ask(send, coded, &[]).await.0.headers()["content-encoding"], "br");
    let (response, _) = ask(send, asked("GET", "/panic"), &[]).await;
    assert_eq!(response.status(), 500, "it costs this request only");
    let mut all = tokio::task::JoinSet::new();
    for n in 0..200 {
        let mut send = client.send.clone();
        all.spawn(async move {
            let (_, body) = ask(&mut send, asked("GET", &format!("/{n}")), &[]).await;
            assert!(body.starts_with(format!("GET /{n} ").as_bytes()));
        });
    }
    soon(all.join_all()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_told_where_it_is_and_it_is_nowhere_unless_asked_for() {
    let quic = Quic::new(HttpOptions::default()).await;
    let address = quic.house.server.address();
    for (alpn, is_two) in [(&b"h2"[..], true), (b"http/1.1", false)] {
        let stream =
            tls_client(&quic.dir.path().join("own"), Some(alpn), address, "localhost").await;
        let io = TokioIo::new(stream);
        let response = if is_two {
            let (mut send, driver) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
            tokio::spawn(driver);
            soon(send.send_request(request("/"))).await.unwrap()
        } else {
            let (mut send, driver) = http1::handshake(io).await.unwrap();
            tokio::spawn(driver);
            let asked = Request::get("/").header("host", "h").body(Full::<Bytes>::default());
            soon(send.send_request(asked.unwrap())).await.unwrap()
        };
        let expected = format!("h3=\":{}\"; ma=86400", address.port());
        assert_eq!(response.headers()["alt-svc"], expected.as_str());
    }
    assert!(UdpSocket::bind(address).await.is_err(), "it is taken");
    let without = house(identity().http().unwrap(), HttpOptions::default()).await;
    UdpSocket::bind(without.server.address()).await.unwrap();
    let clear = plain(HttpOptions { http3: true, ..HttpOptions::default() }).await;
    UdpSocket::bind(clear.server.address()).await.unwrap();
    assert_eq!(header(&clear.get("/", "").await, "alt-svc"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limits_are_those_of_the_others() {
    let options =
        HttpOptions { max_header_size: 2000, max_body_size: 1000, ..HttpOptions::default() };
    let quic = Quic::new(options).await;
    let mut client = quic.client().await;
    let send = &mut client.send;
    let mut large = asked("GET", "/");
    large.headers_mut().insert("x", "y".repeat(2000).parse().unwrap());
    assert_eq!(ask(send, large, &[]).await.0.status(), 431);
    let mut huge = asked("GET", "/");
    huge.headers_mut().insert("x", "y".repeat(40_000).parse().unwrap());
    let refused = try_ask(send, huge, &[]).await;
    assert!(matches!(refused, Err(StreamError::HeaderTooBig { .. })), "the client was told");
    let body = vec![b'x'; 1001];
    assert_eq!(ask(send, asked("POST", "/"), &[&body]).await.0.status(), 413);
    assert_eq!(ask(send, asked("POST", "/"), &[&body[1..]]).await.0.status(), 200);
    let told = |length: &str| {
        let mut request = asked("POST", "/");
        request.headers_mut().insert("content-length", length.parse().unwrap());
        request
    };
    assert_eq!(ask(send, told("1001"), &[]).await.0.status(), 413);
    for (length, body) in [("3", &b"abcd"[..]), ("3", b"ab"), ("x", b"abc")] {
        let (response, problem) = ask(send, told(length), &[body]).await;
        assert_eq!(response.status(), 400, "{length} {body:?}");
        assert!(problem.starts_with(b"{\"type\""));
    }
    assert_eq!(ask(send, told("3"), &[b"abc"]).await.0.status(), 200);
    let mut of_one = asked("GET", "/");
    of_one.headers_mut().insert("connection", "close".parse().unwrap());
    let refused = try_ask(send, of_one, &[]).await;
    assert!(refused.is_err() || refused.is_ok_and(|(response, _)| response.status() == 400));
    assert_eq!(quic.house.handled(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_connections_as_the_limit_and_as_many_streams_are_served() {
    let options = HttpOptions { max_connections: 1, max_streams: 2, ..HttpOptions::default() };
    let quic = Quic::new(options).await;
    let client = quic.client().await;
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let mut send = client.send.clone();
            tokio::spawn(async move { ask(&mut send, asked("GET", "/wait"), &[]).await.1 })
        })
        .collect();
    quic.house.one_waits().await;
    quic.house.one_waits().await;
    assert!(tokio::time::timeout(SHORT, quic.house.echo.arrived.acquire()).await.is_err());
    let endpoint = endpoint(quic.dir.path());
    let second = endpoint.connect(quic.house.server.address(), "localhost").unwrap();
    assert!(soon(second).await.is_err(), "there is no place");
    quic.house.echo.gate.add_permits(3);
    for one in waiting {
        assert_eq!(soon(one).await.unwrap(), b"waited");
    }
    let traffic = quic.house.server.traffic();
    assert_eq!((traffic.accepted(), traffic.open()), (1, 1), "who has no place is not counted");
    drop(client);
    // Its place is free once it has gone.
    soon(async {
        while traffic.open() > 0 {
            tokio::time::sleep(SHORT).await;
        }
        while endpoint.connect(quic.house.server.address(), "localhost").unwrap().await.is_err() {
            tokio::time::sleep(SHORT).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_has_half_of_the_connections_whichever_way_it_comes() {
    let quic = Quic::new(HttpOptions { max_connections: 4, ..HttpOptions::default() }).await;
    let address = quic.house.server.address();
    let (mut one, two) = (quic.client().await, quic.client().await);
    let third = soon(endpoint(quic.dir.path()).connect(address, "localhost").unwrap()).await;
    let code = match soon(third.unwrap().closed()).await {
        quinn::ConnectionError::ApplicationClosed(why) => why.error_code.into_inner(),
        other => panic!("{other}"),
    };
    assert_eq!(code, 0x107, "H3_EXCESSIVE_LOAD");
    assert_eq!(talk(address, b"").await, b"", "nor by TCP");
    assert_eq!(quic.house.server.traffic().refused(), 2);
    let neighbour = endpoint_at(quic.dir.path(), ([127, 0, 0, 2], 0).into());
    let other = soon(neighbour.connect(address, "localhost").unwrap()).await.unwrap();
    let (mut driver, mut send) =
        soon(h3::client::new(h3_quinn::Connection::new(other))).await.unwrap();
    tokio::spawn(async move { std::future::poll_fn(|cx| driver.poll_close(cx)).await });
    assert_eq!(ask(&mut send, asked("GET", "/"), &[]).await.0.status(), 200);
    assert_eq!(ask(&mut one.send, asked("GET", "/"), &[]).await.0.status(), 200);
    // What has ended is given back.
    two.quic.close(0u32.into(), b"");
    soon(async {
        loop {
            let connecting = endpoint(quic.dir.path()).connect(address, "localhost").unwrap();
            let again = connecting.await.unwrap();
            if tokio::time::timeout(SHORT, again.closed()).await.is_err() {
                return;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_answered_before_the_handshake_has_ended() {
    let quic = Quic::new(HttpOptions::default()).await;
    let endpoint = endpoint(quic.dir.path());
    let address = quic.house.server.address();
    for _ in 0..2 {
        // The second time it has a ticket, with which 0-RTT could be tried.
        let connecting = endpoint.connect(address, "localhost").unwrap();
        let Err(connecting) = connecting.into_0rtt() else { panic!("0-RTT is offered") };
        let connection = soon(connecting).await.unwrap();
        let (mut driver, mut send) =
            soon(h3::client::new(h3_quinn::Connection::new(connection.clone()))).await.unwrap();
        tokio::spawn(async move { std::future::poll_fn(|cx| driver.poll_close(cx)).await });
        assert_eq!(ask(&mut send, asked("GET", "/"), &[]).await.0.status(), 200);
        connection.close(0u32.into(), b"");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_ends_a_connection_and_so_does_a_response_not_taken() {
    let quic = Quic::new(HttpOptions { idle_timeout: SHORT, ..HttpOptions::default() }).await;
    let mut client = quic.client().await;
    assert_eq!(ask(&mut client.send, asked("GET", "/"), &[]).await.0.status(), 200);
    let end = soon(&mut client.driver).await.unwrap();
    assert!(!end.is_empty());
    // 64 MiB, of which nothing is read.
    let mut client = quic.client().await;
    let mut stream = soon(client.send.send_request(asked("GET", "/large"))).await.unwrap();
    stream.finish().await.unwrap();
    assert_eq!(soon(stream.recv_response()).await.unwrap().status(), 200);
    let read = async { while let Ok(Some(_)) = stream.recv_data().await {} };
    tokio::time::sleep(10 * SHORT).await;
    soon(read).await;
    soon(client.quic.closed()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_answers_what_is_in_flight_and_takes_no_more() {
    let quic = Quic::new(HttpOptions::default()).await;
    let client = quic.client().await;
    let mut send = client.send.clone();
    let waiting = tokio::spawn(async move { ask(&mut send, asked("GET", "/wait"), &[]).await.1 });
    quic.house.one_waits().await;
    let (echo, address) = (quic.house.echo.clone(), quic.house.server.address());
    let draining = tokio::spawn(quic.house.server.drain());
    tokio::time::sleep(SHORT).await;
    let mut late = client.send.clone();
    let refused = try_ask(&mut late, asked("GET", "/late"), &[]).await;
    assert!(refused.is_err(), "{refused:?}");
    let newcomer = endpoint(quic.dir.path());
    assert!(soon(newcomer.connect(address, "localhost").unwrap()).await.is_err());
    echo.gate.add_permits(1);
    assert_eq!(soon(waiting).await.unwrap(), b"waited");
    soon(draining).await.unwrap();
    assert_eq!(echo.handled.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_away_is_worked_for_no_longer() {
    let quic = Quic::new(HttpOptions { max_connections: 1, ..HttpOptions::default() }).await;
    let client = quic.client().await;
    let mut send = client.send.clone();
    let waiting = tokio::spawn(async move { try_ask(&mut send, asked("GET", "/wait"), &[]).await });
    quic.house.one_waits().await;
    client.quic.close(0u32.into(), b"");
    assert!(soon(waiting).await.unwrap().is_err());
    // The one place is free, though nobody let the handler end.
    soon(async {
        let endpoint = endpoint(quic.dir.path());
        while endpoint.connect(quic.house.server.address(), "localhost").unwrap().await.is_err() {
            tokio::time::sleep(SHORT).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_http3_ends_its_connection_and_no_other() {
    let quic = Quic::new(HttpOptions::default()).await;
    let mut honest = quic.client().await;
    let endpoint = endpoint(quic.dir.path());
    // A frame that is none first, settings first, a head of nothing, a head no table has.
    for bytes in [&[0, 3, b'a', b'b', b'c'][..], &[4, 0], &[1, 0], &[1, 3, 0, 0, 0xff], &[1, 0x40]]
    {
        let connecting = endpoint.connect(quic.house.server.address(), "localhost").unwrap();
        let connection = soon(connecting).await.unwrap();
        let (mut send, mut recv) = soon(connection.open_bi()).await.unwrap();
        send.write_all(bytes).await.unwrap();
        send.finish().unwrap();
        let answer = soon(recv.read_to_end(1 << 16)).await;
        assert!(answer.is_err() || answer.is_ok_and(|bytes| bytes.is_empty()), "{bytes:?}");
        connection.close(0u32.into(), b"");
    }
    assert_eq!(ask(&mut honest.send, asked("GET", "/"), &[]).await.0.status(), 200);
    assert_eq!(quic.house.handled(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_connections_are_served_the_new_certificate() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["own", "next"] {
        Identity::load_or_create(&dir.path().join(name), &[]).unwrap();
    }
    let own = dir.path().join("own");
    let (certificate, key) = (own.join("cert.pem"), own.join("key.pem"));
    let certificates = Certificates::open(Source::Files { certificate, key }, None).unwrap();
    let options = HttpOptions { http3: true, ..HttpOptions::default() };
    let house = house(certificates.http().unwrap(), options).await;
    let old = std::fs::read(own.join("cert.pem")).unwrap();
    let shown = |client: &Client| {
        let identity = client.quic.peer_identity().unwrap();
        let chain = identity.downcast::<Vec<CertificateDer<'static>>>().unwrap();
        fingerprint(&chain[0]).unwrap()
    };
    let quic = Quic { house, dir };
    let mut before = quic.client().await;
    assert_eq!(shown(&before), certificates.fingerprint());
    for file in ["cert.pem", "key.pem"] {
        std::fs::copy(quic.dir.path().join("next").join(file), own.join(file)).unwrap();
    }
    certificates.refresh(true);
    let after = quic.client().await;
    assert_eq!(shown(&after), certificates.fingerprint());
    assert_ne!(shown(&after), shown(&before));
    assert_ne!(old, std::fs::read(own.join("cert.pem")).unwrap());
    assert_eq!(ask(&mut before.send, asked("GET", "/"), &[]).await.0.status(), 200, "it goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_head_ends_its_stream_and_a_slow_body_is_408() {
    // Apart by much: silence must not end the connection before the head is given up.
    let (header_timeout, idle_timeout) = (Duration::from_millis(500), Duration::from_secs(3));
    let options = HttpOptions { header_timeout, idle_timeout, ..HttpOptions::default() };
    let quic = Quic::new(options).await;
    let mut client = quic.client().await;
    let (mut slow, mut nothing) = soon(client.quic.open_bi()).await.unwrap();
    slow.write_all(&[1, 0x20, 0, 0]).await.unwrap(); // 32 bytes were to come.
    assert!(soon(slow.stopped()).await.unwrap().is_some());
    assert_eq!(soon(nothing.read_to_end(1000)).await.unwrap_or_default(), b"");
    let mut told = asked("POST", "/");
    told.headers_mut().insert("content-length", "9".parse().unwrap());
    let mut stream = soon(client.send.send_request(told)).await.unwrap();
    stream.send_data(Bytes::from_static(b"abc")).await.unwrap();
    assert_eq!(soon(stream.recv_response()).await.unwrap().status(), 408);
    assert_eq!(ask(&mut client.send, asked("GET", "/"), &[]).await.0.status(), 200);
    assert_eq!(quic.house.handled(), 1);
}
