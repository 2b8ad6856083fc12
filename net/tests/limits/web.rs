//! Of the HTTP listener.

use super::*;
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use net::http::{GuestRequest, GuestResponse, HttpHandler, HttpOptions, serve};
use net::{Security, Server};
use std::sync::Arc;
use tokio::sync::Semaphore;

const WAIT: &[u8] = b"GET /wait HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";

/// Answers `/wait` when it is let.
#[derive(Clone)]
struct Gate {
    arrived: Arc<Semaphore>,
    open: Arc<Semaphore>,
}

impl HttpHandler for Gate {
    async fn handle(&self, request: Arc<GuestRequest>) -> GuestResponse {
        if request.target == "/wait" {
            self.arrived.add_permits(1);
            self.open.acquire().await.unwrap().forget();
        }
        GuestResponse::new(200, "text/plain", request.body.len().to_string())
    }
}

async fn house(options: HttpOptions) -> (Server, Gate) {
    let semaphore = || Arc::new(Semaphore::new(0));
    let gate = Gate { arrived: semaphore(), open: semaphore() };
    let server = serve(anywhere(), Security::Plaintext, options, gate.clone()).await.unwrap();
    (server, gate)
}

/// The status of the answer.
async fn ask(server: &Server, request: &str) -> String {
    let answer = talk(server.address(), request.as_bytes()).await;
    String::from_utf8_lossy(&answer).get(9..12).unwrap_or("none").to_owned()
}

/// A head of so many bytes, as they are counted: the target, and of each header its name,
/// its value and four.
fn head_of(bytes: usize) -> String {
    let fixed = 1 + ("host".len() + 1 + 4) + ("connection".len() + 5 + 4) + (1 + 4);
    let filler = "y".repeat(bytes - fixed);
    format!("GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\nx: {filler}\r\n\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_may_be_as_large_as_the_limit() {
    let limit = 2000;
    let options = HttpOptions { max_header_size: limit, ..HttpOptions::default() };
    let (server, _) = house(options).await;
    assert_eq!(ask(&server, &head_of(limit)).await, "200");
    assert_eq!(ask(&server, &head_of(limit + 1)).await, "431");
    assert_eq!(ask(&server, &head_of(limit)).await, "200");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_header_may_be_as_large_as_its_layout() {
    let options = HttpOptions { max_header_size: 200_000, ..HttpOptions::default() };
    let (server, _) = house(options).await;
    let with = |bytes: usize| {
        let filler = "y".repeat(bytes);
        format!("GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\nx: {filler}\r\n\r\n")
    };
    assert_eq!(ask(&server, &with(65_535)).await, "200");
    assert_eq!(ask(&server, &with(65_536)).await, "431");
    assert_eq!(ask(&server, &with(65_535)).await, "200");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_may_be_as_large_as_the_limit() {
    let options = HttpOptions { max_body_size: 100_000, ..HttpOptions::default() };
    let (server, _) = house(options).await;
    let told = |bytes: usize| {
        let body = "x".repeat(bytes);
        let head = "POST / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n";
        format!("{head}content-length: {bytes}\r\n\r\n{body}")
    };
    let in_chunks = |bytes: usize| {
        let body = "x".repeat(bytes);
        let head = "POST / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n";
        format!("{head}transfer-encoding: chunked\r\n\r\n{bytes:x}\r\n{body}\r\n0\r\n\r\n")
    };
    for bytes in [100_000, 100_001, 100_000] {
        let expected = if bytes > 100_000 { "413" } else { "200" };
        assert_eq!(ask(&server, &told(bytes)).await, expected, "{bytes}");
        assert_eq!(ask(&server, &in_chunks(bytes)).await, expected, "{bytes} in chunks");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_streams_of_one_connection_as_the_limit_are_at_work() {
    let (server, gate) = house(HttpOptions { max_streams: 2, ..HttpOptions::default() }).await;
    let stream = TcpStream::connect(server.address()).await.unwrap();
    let (mut send, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let asked = |target: &str| {
        Request::get(format!("http://h{target}")).body(Full::<Bytes>::default()).unwrap()
    };
    // Now the client knows the limit.
    assert_eq!(soon(send.send_request(asked("/"))).await.unwrap().status(), 200);
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let (mut send, asked) = (send.clone(), asked("/wait"));
        waiting.spawn(async move { send.send_request(asked).await.unwrap().status() });
    }
    soon(gate.arrived.acquire_many(2)).await.unwrap().forget();
    let third = tokio::time::timeout(SHORT, gate.arrived.acquire()).await;
    assert!(third.is_err(), "it waits for its turn");
    gate.open.add_permits(1);
    assert_eq!(soon(waiting.join_next()).await.unwrap().unwrap(), 200);
    soon(gate.arrived.acquire()).await.unwrap().forget();
    gate.open.add_permits(2);
    assert_eq!(soon(waiting.join_all()).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_connections_as_the_limit_are_served_at_once() {
    let options = HttpOptions { max_connections: 3, idle_timeout: LONG, ..HttpOptions::default() };
    let (server, gate) = house(options).await;
    let mut open = Vec::new();
    for n in 0..3 {
        let mut stream = from([127, 0, 0, 1 + n / 2], server.address()).await;
        stream.write_all(WAIT).await.unwrap();
        open.push(stream);
    }
    soon(gate.arrived.acquire_many(3)).await.unwrap().forget();
    let mut fourth = from([127, 0, 0, 3], server.address()).await;
    fourth.write_all(GET).await.unwrap();
    assert!(tokio::time::timeout(SHORT, fourth.read_u8()).await.is_err(), "it waits");
    gate.open.add_permits(1);
    assert!(until_closed(&mut fourth).await.starts_with(b"HTTP/1.1 200"));
    gate.open.add_permits(2);
    for stream in &mut open {
        assert!(until_closed(stream).await.starts_with(b"HTTP/1.1 200"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_holds_half_of_the_connections_and_no_more() {
    let options = HttpOptions { max_connections: 4, idle_timeout: LONG, ..HttpOptions::default() };
    let (server, gate) = house(options).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        stream.write_all(WAIT).await.unwrap();
        held.push(stream);
    }
    soon(gate.arrived.acquire_many(2)).await.unwrap().forget();
    assert_eq!(talk(server.address(), b"").await, b"", "its third is closed");
    assert_eq!(server.traffic().refused(), 1);
    // Others have the other half, and it has its own again once one of its own has ended.
    let mut neighbour = from([127, 0, 0, 2], server.address()).await;
    neighbour.write_all(GET).await.unwrap();
    assert!(until_closed(&mut neighbour).await.starts_with(b"HTTP/1.1 200"));
    gate.open.add_permits(1);
    soon(async {
        loop {
            let mut again = TcpStream::connect(server.address()).await.unwrap();
            again.write_all(GET).await.ok();
            if until_closed(&mut again).await.starts_with(b"HTTP/1.1 200") {
                return;
            }
        }
    })
    .await;
}
