//! A connection over its requests: bodies in chunks, expectations, keep-alive, and how
//! it ends.

use super::common::*;
use super::*;

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon(stream.read_u8()).await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// One response, by its length.
async fn read_response(stream: &mut TcpStream) -> String {
    let head = read_head(stream).await;
    let length = header(&head, "content-length").unwrap().parse().unwrap();
    let mut body = vec![0; length];
    soon(stream.read_exact(&mut body)).await.unwrap();
    head + std::str::from_utf8(&body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_come_in_any_pieces_with_extensions_and_trailers() {
    let house = plain(HttpOptions::default()).await;
    let asked = "POST /c HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\ntrailer: t\r\n\r\n\
                 3;name=value\r\nabc\r\n00b\r\n0123456789x\r\n0\r\nt: u\r\n\r\n";
    for piece in [1, 2, 7, asked.len()] {
        let mut stream = house.open("").await;
        for bytes in asked.as_bytes().chunks(piece) {
            stream.write_all(bytes).await.unwrap();
            stream.flush().await.unwrap();
            tokio::task::yield_now().await;
        }
        let response = read_response(&mut stream).await;
        assert!(body(&response).ends_with("body=abc0123456789x"), "{piece}: {response}");
        // What comes behind the trailers is the next request.
        stream.write_all(b"GET /next HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
        assert!(body(&read_response(&mut stream).await).starts_with("GET /next"));
    }
    // Trailers over HTTP/2.
    let trailers = with_trailers();
    let asked = Request::post("http://h/c").body(trailers).unwrap();
    let stream = TcpStream::connect(house.server.address()).await.unwrap();
    let (mut send, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let response = soon(send.send_request(asked)).await.unwrap();
    assert!(text(response).await.ends_with("body=abc"));
}

/// A body with trailers behind it.
fn with_trailers() -> impl hyper::body::Body<Data = Bytes, Error = std::convert::Infallible> {
    let mut trailers = hyper::HeaderMap::new();
    trailers.insert("t", "u".parse().unwrap());
    Full::new(Bytes::from_static(b"abc")).with_trailers(std::future::ready(Some(Ok(trailers))))
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_to_be_told_to_go_on_is_told_once_and_only_if_it_may() {
    let house = plain(HttpOptions { max_body_size: 1000, ..HttpOptions::default() }).await;
    let head = |length: usize| {
        format!(
            "POST /e HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    let mut stream = house.open(head(3)).await;
    assert_eq!(read_head(&mut stream).await, "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"abc").await.unwrap();
    assert!(body(&read_response(&mut stream).await).ends_with("body=abc"));
    // It does not wait: it is answered all the same.
    stream.write_all(format!("{}abc", head(3)).as_bytes()).await.unwrap();
    let mut next = read_head(&mut stream).await;
    if next.starts_with("HTTP/1.1 100") {
        next = read_head(&mut stream).await;
    }
    assert_eq!(status(&next), "200");
    let refused = house.talk(head(1001)).await;
    assert_eq!(status(&refused), "413", "and never told to go on");
    assert_eq!(status(&house.get("/", "expect: coffee\r\n").await), "417");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_kept_until_one_side_says_otherwise() {
    let house = plain(HttpOptions::default()).await;
    let mut stream = house.open("").await;
    for n in 0..3 {
        stream.write_all(format!("GET /{n} HTTP/1.1\r\nhost: h\r\n\r\n").as_bytes()).await.unwrap();
        let response = read_response(&mut stream).await;
        assert!(body(&response).starts_with(&format!("GET /{n} ")));
        assert_eq!(header(&response, "connection"), None);
    }
    stream.write_all(b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await.unwrap();
    let last = String::from_utf8(until_closed(&mut stream).await).unwrap();
    assert_eq!(header(&last, "connection"), Some("close"));
    // HTTP/1.0 is the other way round.
    let old = house.talk("GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(status(&old), "200");
    let mut kept = house.open("GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n").await;
    let response = read_response(&mut kept).await;
    assert_eq!(header(&response, "connection"), Some("keep-alive"));
    kept.write_all(b"GET /again HTTP/1.0\r\n\r\n").await.unwrap();
    assert!(body(&read_response(&mut kept).await).starts_with("GET /again"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_flight_while_the_server_drains_is_told_that_it_was_the_last() {
    let house = plain(HttpOptions::default()).await;
    let echo = house.echo.clone();
    let mut stream = house.open("GET /wait HTTP/1.1\r\nhost: h\r\n\r\n").await;
    house.one_waits().await;
    let draining = tokio::spawn(house.server.drain());
    tokio::time::sleep(SHORT).await;
    echo.gate.add_permits(1);
    let answer = String::from_utf8(until_closed(&mut stream).await).unwrap();
    assert_eq!((header(&answer, "connection"), body(&answer)), (Some("close"), "waited"));
    soon(draining).await.unwrap();
}

/// The next frame: its kind, and its payload.
async fn frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 9];
    soon(stream.read_exact(&mut head)).await.unwrap();
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    let mut payload = vec![0; length];
    soon(stream.read_exact(&mut payload)).await.unwrap();
    (head[3], payload)
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_says_goaway_and_finishes_what_is_in_flight() {
    const GOAWAY: u8 = 7;
    let house = plain(HttpOptions::default()).await;
    let echo = house.echo.clone();
    // GET /wait on stream 1: of the static table but for path and authority.
    let mut block = vec![0x82, 0x86, 0x04, 5];
    block.extend_from_slice(b"/wait");
    block.extend_from_slice(&[0x01, 1, b'h']);
    let mut said = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    said.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
    said.extend_from_slice(&[0, 0, block.len() as u8, 1, 5, 0, 0, 0, 1]);
    said.extend_from_slice(&block);
    let mut stream = house.open(said).await;
    house.one_waits().await;
    let draining = tokio::spawn(house.server.drain());
    while frame(&mut stream).await.0 != GOAWAY {}
    echo.gate.add_permits(1);
    let mut body = Vec::new();
    let last = loop {
        match frame(&mut stream).await {
            (0, data) => body.extend(data),
            // The first was to say that an end comes; it is a ping that makes sure of it.
            (6, ping) => {
                let mut pong = vec![0, 0, 8, 6, 1, 0, 0, 0, 0];
                pong.extend(ping);
                stream.write_all(&pong).await.unwrap();
            }
            (GOAWAY, payload) => break payload,
            _ => {}
        }
    };
    assert_eq!(&last[..8], [0, 0, 0, 1, 0, 0, 0, 0], "stream 1 was the last; there is no error");
    body.extend(drain_data(&mut stream).await);
    assert_eq!(body, b"waited");
    soon(draining).await.unwrap();
}

/// The data of the frames to the end of the connection.
async fn drain_data(stream: &mut TcpStream) -> Vec<u8> {
    let (rest, mut data) = (until_closed(stream).await, Vec::new());
    let mut rest = &rest[..];
    while rest.len() >= 9 {
        let length = u32::from_be_bytes([0, rest[0], rest[1], rest[2]]) as usize;
        if rest[3] == 0 {
            data.extend_from_slice(&rest[9..9 + length]);
        }
        rest = &rest[9 + length..];
    }
    data
}
