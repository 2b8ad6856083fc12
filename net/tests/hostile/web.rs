//! At the HTTP listener.

use super::*;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use net::http::{GuestRequest, GuestResponse, HttpHandler, HttpOptions, serve};
use net::{Security, Server};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const LARGE: usize = 24 << 20;

#[derive(Clone, Default)]
struct Pages(Arc<AtomicUsize>);

impl HttpHandler for Pages {
    async fn handle(&self, request: Arc<GuestRequest>) -> GuestResponse {
        self.0.fetch_add(1, Ordering::SeqCst);
        let body = if request.target == "/large" { vec![b'x'; LARGE] } else { b"small".to_vec() };
        GuestResponse::new(200, "text/plain", body)
    }
}

struct House {
    server: Server,
    handled: Pages,
}

async fn house(options: HttpOptions) -> House {
    let handled = Pages::default();
    let security = Security::Plaintext;
    let server = serve(anywhere(), security, options, handled.clone()).await.unwrap();
    House { server, handled }
}

fn patient() -> HttpOptions {
    HttpOptions {
        header_timeout: LONG,
        idle_timeout: LONG,
        drain_timeout: SHORT,
        ..HttpOptions::default()
    }
}

impl House {
    async fn open(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.server.address()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream
    }

    async fn is_served(&self) {
        for _ in 0..20 {
            let asked = b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
            let answer = until_closed(&mut self.open(asked).await).await;
            assert!(answer.starts_with(b"HTTP/1.1 200") && answer.ends_with(b"small"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_take_its_response_holds_up_itself() {
    let house = house(patient()).await;
    let mut slow = Vec::new();
    for _ in 0..4 {
        slow.push(house.open(b"GET /large HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await);
    }
    house.is_served().await;
    // It reads at last, and all is there.
    let answer = until_closed(&mut slow[0]).await;
    assert!(answer.starts_with(b"HTTP/1.1 200") && answer.len() > LARGE);
    house.is_served().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_half_heads_and_half_bodies_hold_up_nobody() {
    let house = house(patient()).await;
    let mut halves = Vec::new();
    for n in 0..60 {
        let half: &[u8] = match n % 3 {
            0 => b"GET / HT",
            1 => b"GET / HTTP/1.1\r\nhost: h\r\nx: ",
            _ => b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\nabc",
        };
        halves.push(house.open(half).await);
    }
    house.is_served().await;
    assert_eq!(house.handled.0.load(Ordering::SeqCst), 20, "no half was acted upon");
    // The rest may come late.
    halves[2].write_all(b"defghi").await.unwrap();
    let mut head = [0; 12];
    soon(halves[2].read_exact(&mut head)).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_http2_that_is_not_read_holds_up_no_other() {
    let house = house(patient()).await;
    let stream = TcpStream::connect(house.server.address()).await.unwrap();
    let mut builder = http2::Builder::new(TokioExecutor::new());
    // The connection's window is larger than that of a stream.
    builder.initial_stream_window_size(64u32 << 10).initial_connection_window_size(1u32 << 20);
    let (mut send, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let asked = |target: &str| {
        Request::get(format!("http://h{target}")).body(Full::<Bytes>::default()).unwrap()
    };
    let mut unread = Vec::new();
    for _ in 0..4 {
        unread.push(soon(send.send_request(asked("/large"))).await.unwrap());
    }
    for _ in 0..20 {
        let answer: Response<_> = soon(send.send_request(asked("/"))).await.unwrap();
        let body = soon(answer.into_body().collect()).await.unwrap().to_bytes();
        assert_eq!(body, "small");
    }
    house.is_served().await;
    let whole = soon(unread.remove(0).into_body().collect()).await.unwrap().to_bytes();
    assert_eq!(whole.len(), LARGE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_silent_connections_is_waited_out_and_nobody_is_lost() {
    let options = HttpOptions { max_connections: 8, idle_timeout: SHORT, ..patient() };
    let house = house(options).await;
    let mut flood = Vec::new();
    for n in 0..40 {
        flood.push(from([127, 0, 0, 2 + n % 20], house.server.address()).await);
    }
    // Who asks waits in the kernel's queue behind them, and is served; if this machine is
    // too slow to ask within such a short silence, the next time.
    let asked = b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
    while !until_closed(&mut house.open(asked).await).await.ends_with(b"small") {}
    for stream in &mut flood {
        assert_eq!(until_closed(stream).await, b"", "silence ends a connection");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_from_one_address_leaves_places_for_its_neighbours() {
    let house = house(HttpOptions { max_connections: 8, ..patient() }).await;
    let mut flood = Vec::new();
    for _ in 0..40 {
        flood.push(from([127, 0, 0, 2], house.server.address()).await);
    }
    // Nobody of the flood ever leaves by itself.
    house.is_served().await;
    for refused in &mut flood[4..] {
        assert_eq!(until_closed(refused).await, b"");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_come_and_go_leave_nothing() {
    // Who comes twenty times in a row has its share of places for that.
    let house = house(HttpOptions { max_connections: 40, ..patient() }).await;
    for n in 0..200 {
        let half: &[u8] = match n % 3 {
            0 => b"",
            1 => b"GET / HTTP/1.1\r\n",
            _ => b"GET /large HTTP/1.1\r\nhost: h\r\n\r\n",
        };
        drop(house.open(half).await);
    }
    house.is_served().await;
}
