//! The HTTP listener on real loopback sockets, with a handler that tells what it got.
//!
//! Timeouts under test are configured short and observed by what closes, never
//! by a clock.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

mod coding;
#[path = "../common/mod.rs"]
mod common;
mod events;
mod files;
mod follows;
mod life;
mod methods;
mod quic;
mod ranges;
mod sockets;
mod streams;

use bytes::Bytes;
use common::*;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use net::http::{
    Answered, Compression, Follow, GuestRequest, GuestResponse, HttpHandler, HttpOptions, serve,
};
use net::tls::Identity;
use net::{Security, Server};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

const SHORT: Duration = Duration::from_millis(60);

#[derive(Clone)]
struct Echo {
    handled: Arc<AtomicUsize>,
    arrived: Arc<Semaphore>,
    gate: Arc<Semaphore>,
    answered: Arc<Mutex<Vec<String>>>,
    streams: Arc<streams::Streams>,
    calls: Arc<events::Calls>,
    socket_calls: Arc<sockets::Calls>,
    news: Arc<follows::News>,
}

impl HttpHandler for Echo {
    fn answered(&self, answered: &Answered<'_>) {
        let Answered { method, path, status, is_file, received, sent, streamed, took } = *answered;
        assert!(took < Duration::from_secs(60));
        let mut text = format!("{method} {path} {status} {is_file} {received} {sent}");
        if let Some(end) = streamed {
            text += &format!(" {end:?}");
        }
        self.answered.lock().unwrap().push(text);
    }

    fn follow(&self, what: &str, last_id: Option<&str>) -> Result<Box<dyn Follow>, String> {
        follows::follow(&self.news, what, last_id)
    }

    async fn handle(&self, request: Arc<GuestRequest>) -> GuestResponse {
        self.handled.fetch_add(1, Ordering::SeqCst);
        match request.target.as_str() {
            "/wait" => {
                self.arrived.add_permits(1);
                self.gate.acquire().await.unwrap().forget();
                GuestResponse::new(200, "text/plain", "waited")
            }
            "/panic" => panic!("asked to"),
            "/splits" => {
                GuestResponse::new(200, "text/plain", "").with_header("a", "b\r\nset-cookie: c")
            }
            "/page" => GuestResponse::new(200, "text/html", page()).with_header("etag", "\"e\""),
            "/sealed" => GuestResponse::new(200, "text/html", page())
                .with_header("cache-control", "max-age=5, No-Transform"),
            "/coded" => GuestResponse::new(200, "text/html", page())
                .with_header("content-encoding", "deflate"),
            "/digested" => GuestResponse::new(200, "text/html", page())
                .with_header("repr-digest", "sha-256=:AAAA:"),
            "/picture" => GuestResponse::new(200, "image/png", page()),
            "/short" => GuestResponse::new(200, "text/html", &page()[..1023]),
            "/headers" => {
                let line = |(name, value): (&_, &hyper::header::HeaderValue)| {
                    format!("{name}: {}\n", value.to_str().unwrap())
                };
                let lines: String = request.headers.iter().map(line).collect();
                GuestResponse::new(200, "text/plain", lines)
            }
            target if target.starts_with("/stream/") => streams::stream(target, &self.streams),
            target if target.starts_with("/follow/") => follows::followed(&request),
            target if target.starts_with("/events/") => events::events(&request, &self.calls),
            target if target.starts_with("/socket/") => sockets::socket(&request, self).await,
            "/busy" => request.problem(proto::Status::Busy, "asked to"),
            "/large" => GuestResponse::new(200, "text/plain", vec![b'x'; 64 << 20]),
            _ => {
                let header = |name: &str| {
                    request.headers.get(name).map(|v| v.to_str().unwrap()).unwrap_or("-").to_owned()
                };
                let text = format!(
                    "{} {} host={} cookie={} te={} body={}",
                    request.method,
                    request.target,
                    header("host"),
                    header("cookie"),
                    header("te"),
                    String::from_utf8_lossy(&request.body)
                );
                GuestResponse::new(200, "text/plain", text)
            }
        }
    }
}

/// What gets smaller.
fn page() -> &'static str {
    static PAGE: std::sync::LazyLock<String> =
        std::sync::LazyLock::new(|| (0..400).map(|n| format!("<p>line {n}</p>")).collect());
    &PAGE
}

struct House {
    server: Server,
    echo: Echo,
}

async fn house(security: Security, options: HttpOptions) -> House {
    let semaphore = || Arc::new(Semaphore::new(0));
    let (handled, answered) = (Arc::default(), Arc::default());
    let (streams, calls, socket_calls) = (Arc::default(), Arc::default(), Arc::default());
    let echo = Echo {
        handled,
        arrived: semaphore(),
        gate: semaphore(),
        answered,
        streams,
        calls,
        socket_calls,
        news: Arc::default(),
    };
    let server = serve(anywhere(), security, options, echo.clone()).await.unwrap();
    House { server, echo }
}

async fn plain(options: HttpOptions) -> House {
    house(Security::Plaintext, options).await
}

impl House {
    /// Sends bytes, asks for the end of the connection, reads to it.
    async fn talk(&self, bytes: impl AsRef<[u8]>) -> String {
        let all = talk(self.server.address(), bytes.as_ref()).await;
        String::from_utf8_lossy(&all).into_owned()
    }

    async fn get(&self, target: &str, more: &str) -> String {
        self.talk(format!("GET {target} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{more}\r\n"))
            .await
    }

    async fn open(&self, bytes: impl AsRef<[u8]>) -> TcpStream {
        let mut stream = TcpStream::connect(self.server.address()).await.unwrap();
        stream.write_all(bytes.as_ref()).await.unwrap();
        stream
    }

    fn handled(&self) -> usize {
        self.echo.handled.load(Ordering::SeqCst)
    }

    async fn one_waits(&self) {
        soon(self.echo.arrived.acquire()).await.unwrap().forget();
    }
}

fn status(response: &str) -> &str {
    response.get(9..12).unwrap_or("none")
}

fn body(response: &str) -> &str {
    response.split_once("\r\n\r\n").unwrap().1
}

fn header<'a>(response: &'a str, name: &str) -> Option<&'a str> {
    let head = response.split_once("\r\n\r\n").unwrap().0;
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

async fn text(response: Response<hyper::body::Incoming>) -> String {
    let bytes = soon(response.into_body().collect()).await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

async fn h2(house: &House) -> http2::SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(house.server.address()).await.unwrap();
    let (send, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    send
}

fn request(target: &str) -> Request<Full<Bytes>> {
    Request::get(format!("http://h{target}")).body(Full::default()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_reaches_the_handler_whole_and_without_the_connections_headers() {
    let house = plain(HttpOptions::default()).await;
    let asked = "POST /a?b=c HTTP/1.1\r\nhost: h\r\ncookie: x\r\nte: trailers\r\n\
                 connection: close, te\r\ntransfer-encoding: chunked\r\n\r\n\
                 3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    let response = house.talk(asked).await;
    assert_eq!(status(&response), "200");
    assert_eq!(body(&response), "POST /a?b=c host=h cookie=x te=- body=abcde");
    assert_eq!(header(&response, "content-length"), Some("43"));
    assert!(header(&response, "date").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_order() {
    let house = plain(HttpOptions::default()).await;
    let mut asked: String =
        (0..50).map(|n| format!("GET /{n} HTTP/1.1\r\nhost: h\r\n\r\n")).collect();
    asked.push_str("GET /last HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
    let response = house.talk(asked).await;
    let places: Vec<usize> =
        (0..50).map(|n| response.find(&format!("GET /{n} host")).unwrap()).collect();
    assert!(places.is_sorted());
    assert!(response.ends_with("GET /last host=h cookie=- te=- body="));
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_are_served_over_tls_under_each_name_of_the_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let identity = Identity::load_or_create(dir.path(), &["planck.test".into()]).unwrap();
    let house = house(identity.http().unwrap(), HttpOptions::default()).await;
    for name in ["localhost", "127.0.0.1", "::1", "planck.test"] {
        let stream = tls_client(dir.path(), Some(b"h2"), house.server.address(), name).await;
        let io = TokioIo::new(stream);
        let (mut send, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        let response: Response<_> = soon(send.send_request(request("/two"))).await.unwrap();
        assert_eq!(text(response).await, "GET /two host=h cookie=- te=- body=");
    }
    let stream =
        tls_client(dir.path(), Some(b"http/1.1"), house.server.address(), "localhost").await;
    let io = TokioIo::new(stream);
    let (mut send, connection) = http1::handshake::<_, Full<Bytes>>(io).await.unwrap();
    tokio::spawn(connection);
    let asked = Request::get("/one").header("host", "h").body(Full::default()).unwrap();
    let response = soon(send.send_request(asked)).await.unwrap();
    assert_eq!(text(response).await, "GET /one host=h cookie=- te=- body=");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls12_and_plaintext_are_refused_by_a_tls_listener() {
    let house = house(identity().http().unwrap(), HttpOptions::default()).await;
    assert_eq!(talk(house.server.address(), &hello_of_tls12()).await, PROTOCOL_VERSION_ALERT);
    let answer = talk(house.server.address(), b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
    assert!(String::from_utf8_lossy(&answer).contains("https://"), "told in its own words");
    assert_eq!(house.handled(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_carries_many_requests_and_joins_cookies() {
    let house = plain(HttpOptions::default()).await;
    let send = h2(&house).await;
    let mut asking = tokio::task::JoinSet::new();
    for n in 0..200 {
        let mut send = send.clone();
        asking.spawn(async move {
            let mut asked = request(&format!("/{n}"));
            for cookie in ["a=1", "b=2"] {
                asked.headers_mut().append("cookie", cookie.parse().unwrap());
            }
            let response = soon(send.send_request(asked)).await.unwrap();
            assert_eq!(text(response).await, format!("GET /{n} host=h cookie=a=1; b=2 te=- body="));
        });
    }
    soon(asking.join_all()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_a_bad_request() {
    let house = plain(HttpOptions::default()).await;
    let response = house.talk("\x16\x03\x01\x02\r\n\r\n").await;
    assert_eq!(status(&response), "400");
    assert_eq!(house.handled(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_413_however_it_comes() {
    let house = plain(HttpOptions { max_body_size: 1000, ..HttpOptions::default() }).await;
    let large = "x".repeat(1001);
    for asked in [
        format!(
            "POST / HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 1001\r\n\r\n{large}"
        ),
        format!(
            "POST / HTTP/1.1\r\nhost: h\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n3e9\r\n{large}\r\n0\r\n\r\n"
        ),
        "POST / HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 99999999\r\n\r\n"
            .into(),
    ] {
        let response = house.talk(&asked).await;
        assert_eq!(status(&response), "413", "{asked:.90}");
        assert_eq!(header(&response, "content-type"), Some("application/problem+json"));
        assert!(body(&response).contains("\"code\":\"PLK-1003\""), "{response}");
    }
    assert_eq!(house.handled(), 0);
    let fits = "x".repeat(1000);
    let asked = format!(
        "POST / HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 1000\r\n\r\n{fits}"
    );
    assert_eq!(status(&house.talk(asked).await), "200");
    let asked = Request::post("http://h/").body(Full::from(large)).unwrap();
    let response = soon(h2(&house).await.send_request(asked)).await.unwrap();
    assert_eq!(response.status(), 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_share_a_budget_and_one_too_many_may_come_back() {
    let house = plain(HttpOptions { max_buffered_bytes: 0, ..HttpOptions::default() }).await;
    let large = "x".repeat(1 << 20);
    let head = "POST / HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\nconnection: close\r\n\
                content-length: 1048576\r\n\r\n";
    let mut first = house.open(head).await;
    let mut go_on = [0; 25];
    soon(first.read_exact(&mut go_on)).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n", "it has its share");
    let second = house.talk(head).await;
    assert_eq!((status(&second), header(&second, "retry-after")), ("503", Some("1")));
    assert_eq!(status(&house.get("/", "").await), "200", "small ones need no share");
    first.write_all(large.as_bytes()).await.unwrap();
    assert!(until_closed(&mut first).await.starts_with(b"HTTP/1.1 200"));
    let asked = Request::post("http://h/").body(Full::from(large)).unwrap();
    let third = soon(h2(&house).await.send_request(asked)).await.unwrap();
    assert_eq!(third.status(), 200);
    assert!(text(third).await.len() > 1 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_over_the_limit_is_431() {
    let house = plain(HttpOptions { max_header_size: 2000, ..HttpOptions::default() }).await;
    for size in [1990, 30_000] {
        let response = house.get("/", &format!("x: {}\r\n", "y".repeat(size))).await;
        assert_eq!(status(&response), "431", "{size}");
    }
    let response = house.get(&format!("/{}", "y".repeat(1990)), "").await;
    assert_eq!(status(&response), "431");
    for size in [2000, 12_000] {
        let mut asked = request("/");
        asked.headers_mut().insert("x", "y".repeat(size).parse().unwrap());
        let response = soon(h2(&house).await.send_request(asked)).await.unwrap();
        assert_eq!(response.status(), 431, "{size}");
    }
    assert_eq!(house.handled(), 0);
    assert_eq!(status(&house.get("/", "x: y\r\n").await), "200");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_header_is_cut_though_bytes_keep_coming() {
    let house = plain(HttpOptions { header_timeout: SHORT, ..HttpOptions::default() }).await;
    let mut stream = house.open("GET / HTTP/1.1\r\n").await;
    let dripping = async {
        while stream.write_all(b"x: y\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(dripping).await;
    assert_eq!(house.handled(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_ends_a_connection_before_and_after_a_request() {
    let house = plain(HttpOptions { idle_timeout: SHORT, ..HttpOptions::default() }).await;
    assert_eq!(house.talk("").await, "");
    let response = house.talk("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
    assert_eq!(status(&response), "200");
    let identity = identity();
    let options = HttpOptions { header_timeout: SHORT, ..HttpOptions::default() };
    let tls = self::house(identity.http().unwrap(), options).await;
    assert_eq!(tls.talk("").await, "", "a handshake that never begins");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_body_is_408() {
    let house = plain(HttpOptions { idle_timeout: SHORT, ..HttpOptions::default() }).await;
    let response = house.talk("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\nxyz").await;
    assert_eq!(status(&response), "408");
    assert_eq!(house.handled(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_take_its_response_loses_its_place() {
    let options = HttpOptions { idle_timeout: SHORT, max_connections: 1, ..HttpOptions::default() };
    let house = plain(options).await;
    let _never_reads = house.open("GET /large HTTP/1.1\r\nhost: h\r\n\r\n").await;
    assert_eq!(status(&house.get("/", "").await), "200");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_too_many_waits_for_a_place() {
    let house = plain(HttpOptions { max_connections: 1, ..HttpOptions::default() }).await;
    let mut first = house.open("GET /wait HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await;
    house.one_waits().await;
    let mut second = house.open("GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await;
    let early = tokio::time::timeout(SHORT, second.read_u8()).await;
    assert!(early.is_err() && house.handled() == 1, "the second is not served yet");
    house.echo.gate.add_permits(1);
    assert!(until_closed(&mut first).await.ends_with(b"waited"));
    assert!(until_closed(&mut second).await.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_finishes_what_is_in_flight_in_both_versions() {
    // However long the machine takes: cutting off is another test.
    let patient = HttpOptions { drain_timeout: Duration::from_secs(60), ..HttpOptions::default() };
    let house = plain(patient).await;
    let (address, echo) = (house.server.address(), house.echo.clone());
    let mut one = house.open("GET /wait HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let mut idle = house.open("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
    soon(idle.read_u8()).await.unwrap();
    let mut send = h2(&house).await;
    let two = tokio::spawn(async move { send.send_request(request("/wait")).await.unwrap() });
    house.one_waits().await;
    house.one_waits().await;
    let draining = tokio::spawn(house.server.drain());
    until_closed(&mut idle).await;
    assert!(!draining.is_finished() && !two.is_finished());
    echo.gate.add_permits(2);
    assert!(until_closed(&mut one).await.ends_with(b"waited"));
    assert_eq!(text(soon(two).await.unwrap()).await, "waited");
    soon(draining).await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_cuts_off_what_does_not_finish() {
    let house = plain(HttpOptions { drain_timeout: SHORT, ..HttpOptions::default() }).await;
    let mut stream = house.open("GET /wait HTTP/1.1\r\nhost: h\r\n\r\n").await;
    house.one_waits().await;
    soon(house.server.drain()).await;
    assert_eq!(until_closed(&mut stream).await, b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_the_handler_cost_one_response_only() {
    let house = plain(HttpOptions::default()).await;
    let response = house
        .talk(
            "GET /panic HTTP/1.1\r\nhost: h\r\n\r\nGET /splits HTTP/1.1\r\nhost: h\r\n\r\n\
             HEAD /x HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n",
        )
        .await;
    let statuses: Vec<&str> =
        response.match_indices("HTTP/1.1 ").map(|(at, _)| &response[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["500", "500", "200"]);
    assert!(!response.contains("set-cookie"));
    assert!(response.contains("\"code\":\"PLK-1999\""));
    let last = &response[response.rfind("HTTP/1.1 ").unwrap()..];
    assert_eq!(header(last, "content-length"), Some("33"), "of the body HEAD does not get");
    assert_eq!(body(last), "");
}

#[tokio::test]
async fn each_response_is_told_once_and_each_connection_counted() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.txt"), "a file").unwrap();
    let static_dir = Some(dir.path().to_path_buf());
    let options = HttpOptions { max_body_size: 4, static_dir, ..HttpOptions::default() };
    let house = plain(options).await;
    house.get("/a.txt?x=y", "").await;
    house.get("/panic", "").await;
    let post = |body: &str| {
        let length = body.len();
        format!(
            "POST /p HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        )
    };
    let fits = house.talk(post("four")).await;
    house.talk(post("five.")).await;
    house.talk("no HTTP\r\n\r\n").await;
    let body = fits.split("\r\n\r\n").nth(1).unwrap().len();
    let answered = house.echo.answered.lock().unwrap().clone();
    assert_eq!(answered.len(), 4, "{answered:?}");
    assert_eq!(answered[0], "GET /a.txt 200 true 0 6");
    assert!(answered[1].starts_with("GET /panic 500 false 0 "), "{answered:?}");
    assert_eq!(answered[2], format!("POST /p 200 false 4 {body}"));
    assert!(answered[3].starts_with("POST /p 413 false 0 "), "{answered:?}");
    let traffic = house.server.traffic();
    assert_eq!((traffic.accepted(), traffic.refused()), (5, 1));
    let _open = house.open("").await;
    soon(async {
        while (traffic.accepted(), traffic.open()) != (6, 1) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}
