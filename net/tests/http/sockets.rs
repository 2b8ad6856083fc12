//! WebSockets, with a client of bare frames.

use super::common::*;
use super::streams::LONG;
use super::*;
use hyper::header::{HeaderMap, HeaderValue};
use net::Lasting;
use net::http::{Piece, pieces};
use tokio::io::AsyncRead;

/// A call of the handler: its method, what its message is, its body, and its headers.
#[derive(Clone, Debug)]
struct Call {
    method: String,
    kind: String,
    body: Bytes,
    headers: HeaderMap,
}

impl Call {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// The calls there were.
#[derive(Default)]
pub(super) struct Calls(Mutex<Vec<Call>>);

impl Calls {
    fn all(&self) -> Vec<Call> {
        self.0.lock().unwrap().clone()
    }

    /// The close that is told of, once there are so many.
    async fn closes(&self, count: usize) -> Vec<String> {
        let closes = || -> Vec<String> {
            let all = self.all().into_iter().filter(|call| call.method == "CLOSE");
            all.map(|call| call.header("planck-close").to_owned()).collect()
        };
        soon(async {
            while closes().len() < count {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            closes()
        })
        .await
    }
}

/// The answer to a target below `/socket/`.
pub(super) async fn socket(request: &GuestRequest, echo: &Echo) -> GuestResponse {
    let headers = request.headers.clone();
    let header =
        |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    let call = Call {
        method: request.method.to_string(),
        kind: header("planck-message"),
        body: request.body.clone(),
        headers: headers.clone(),
    };
    let before = {
        let mut all = echo.socket_calls.0.lock().unwrap();
        all.push(call);
        all.iter().filter(|call| call.body == request.body).count()
    };
    let text = |text: &'static str| GuestResponse::new(200, "text/plain", text);
    let method = request.method.as_str();
    if method == "GET" {
        let mut accepted = text("");
        accepted.status = 101;
        return match request.target.as_str() {
            "/socket/no" => GuestResponse::new(403, "text/plain", "not you")
                .with_header("planck-close", "4000 never")
                .with_header("planck-again-ms", "100"),
            "/socket/welcome" => {
                accepted.body = Bytes::from_static(b"welcome");
                accepted.with_header("set-cookie", "a=b").with_header("planck-again-ms", "100")
            }
            "/socket/chosen" => accepted.with_header("sec-websocket-protocol", "two"),
            "/socket/unoffered" => accepted.with_header("sec-websocket-protocol", "other"),
            _ => accepted,
        };
    }
    match (method, &request.body[..]) {
        ("TICK", _) => text("tick"),
        ("CLOSE", _) => text("nobody hears this"),
        ("MESSAGE", b"none") => {
            let mut none = text("");
            none.status = 204;
            none
        }
        ("MESSAGE", b"close") => text("last").with_header("planck-close", "4000 bye"),
        ("MESSAGE", b"odd close") => text("").with_header("planck-close", "1005"),
        ("MESSAGE", b"again") => text("later").with_header("planck-again-ms", "100"),
        ("MESSAGE", b"large") => GuestResponse::new(200, "text/plain", vec![b'x'; 16 << 20]),
        ("MESSAGE", b"bad") => GuestResponse::new(400, "text/plain", "no"),
        ("MESSAGE", b"fail") => request.problem(proto::Status::Internal, "asked to"),
        ("MESSAGE", b"panic") => panic!("asked to"),
        ("MESSAGE", b"no text") => GuestResponse::new(200, "text/plain", &b"\xff\xfe"[..]),
        ("MESSAGE", b"busy") if before < 3 => {
            request.problem(proto::Status::Busy, "asked to").with_header("retry-after", "0")
        }
        ("MESSAGE", b"wait") => {
            echo.arrived.add_permits(1);
            echo.gate.acquire().await.unwrap().forget();
            text("waited")
        }
        ("MESSAGE", b"pieces" | b"cut") => {
            let (giver, more) = pieces();
            let cuts = request.body == "cut";
            let mut response = text("head");
            response.more = Some(more);
            std::thread::spawn(move || {
                // A character in two parts of one message.
                let bytes = "one \u{e9}.".as_bytes();
                for (part, is_end) in [(&bytes[..5], false), (&bytes[5..], true), (b"two", true)] {
                    let bytes = Bytes::copy_from_slice(part);
                    giver.give(Piece { bytes, is_end }, LONG).unwrap();
                }
                if !cuts {
                    giver.finish(Bytes::from_static(b"three"));
                }
            });
            response
        }
        _ if header("planck-message") == "binary" => {
            GuestResponse::new(200, "application/octet-stream", request.body.clone())
        }
        _ => GuestResponse::new(200, "text/plain", request.body.clone()),
    }
}

/// A client.
struct Ws(TcpStream);

const HANDSHAKE: &str = "host: h\r\nconnection: keep-alive, Upgrade\r\nupgrade: WebSocket\r\n\
    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 0xf4];
    let mut bytes = vec![first];
    match payload.len() {
        short @ 0..126 => bytes.push(0x80 | short as u8),
        long @ 126..65_536 => {
            bytes.push(0x80 | 126);
            bytes.extend((long as u16).to_be_bytes());
        }
        long => {
            bytes.push(0x80 | 127);
            bytes.extend((long as u64).to_be_bytes());
        }
    }
    bytes.extend(mask);
    bytes.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
    bytes
}

/// The next frame of a server: its first byte, and its payload.
async fn hear(stream: &mut (impl AsyncRead + Unpin)) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    soon(stream.read_exact(&mut head)).await.unwrap();
    let length = match head[1] {
        126 => usize::from(soon(stream.read_u16()).await.unwrap()),
        127 => soon(stream.read_u64()).await.unwrap() as usize,
        short => usize::from(short),
    };
    assert!(head[1] & 0x80 == 0, "a server masks nothing");
    let mut payload = vec![0; length];
    soon(stream.read_exact(&mut payload)).await.unwrap();
    (head[0], payload)
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon(stream.read_u8()).await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

impl Ws {
    async fn open(house: &House, path: &str, more: &str) -> (String, Ws) {
        let asked = format!("GET /socket/{path} HTTP/1.1\r\n{HANDSHAKE}{more}\r\n");
        let mut stream = house.open(asked).await;
        let head = read_head(&mut stream).await;
        (head, Ws(stream))
    }

    /// One that is accepted.
    async fn new(house: &House) -> Ws {
        let (head, ws) = Ws::open(house, "any", "").await;
        assert_eq!(status(&head), "101", "{head}");
        ws
    }

    async fn say(&mut self, first: u8, payload: &[u8]) {
        self.0.write_all(&masked(first, payload)).await.unwrap();
    }

    async fn text(&mut self, text: &str) {
        self.say(0x81, text.as_bytes()).await;
    }

    /// The next message, or a control frame.
    async fn hear(&mut self) -> (u8, Vec<u8>) {
        let (first, mut all) = hear(&mut self.0).await;
        let mut is_last = first & 0x80 != 0;
        while !is_last {
            let (next, more) = hear(&mut self.0).await;
            assert_eq!(next & 0x0f, 0, "a message goes on");
            all.extend(more);
            is_last = next & 0x80 != 0;
        }
        (first & 0x0f, all)
    }

    async fn hears(&mut self, text: &str) {
        let (opcode, payload) = self.hear().await;
        assert_eq!((opcode, String::from_utf8_lossy(&payload).as_ref()), (1, text));
    }

    /// The code of the close that comes, and the end of the connection.
    async fn closed(mut self) -> (u16, String) {
        loop {
            let (opcode, payload) = self.hear().await;
            if opcode == 8 {
                let code = u16::from_be_bytes([payload[0], payload[1]]);
                // As the rules have it: the same back. It may not be read any more.
                self.0.write_all(&masked(0x88, &payload[..2])).await.ok();
                assert_eq!(until_closed(&mut self.0).await, b"");
                return (code, String::from_utf8(payload[2..].to_vec()).unwrap());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_is_accepted_by_the_guest_and_each_message_is_a_call() {
    let house = plain(HttpOptions::default()).await;
    let said = "cookie: c\r\norigin: https://o\r\nplanck-connection: mine\r\nplanck-close: 1\r\n";
    let (head, mut ws) = Ws::open(&house, "any", said).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(header(&head, "sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(header(&head, "upgrade"), Some("websocket"));
    assert_eq!(header(&head, "content-length"), None);
    ws.text("hello").await;
    ws.hears("hello").await;
    ws.say(0x82, &[0xff, 0, 1]).await;
    assert_eq!(ws.hear().await, (2, vec![0xff, 0, 1]));
    // In order, one at a time, though all are there; and what is large comes back large.
    ws.text("none").await;
    let large = "x".repeat(100_000);
    for text in ["1", "2", &large, ""] {
        ws.text(text).await;
    }
    ws.say(0x01, b"in ").await;
    ws.say(0x89, b"ping").await;
    ws.say(0x80, b"parts").await;
    for text in ["1", "2", large.as_str()] {
        ws.hears(text).await;
    }
    assert_eq!(ws.hear().await, (10, b"ping".to_vec()), "a pong in between");
    ws.hears("in parts").await;
    ws.say(0x88, &4001_u16.to_be_bytes()).await;
    assert_eq!(ws.hear().await, (8, 4001_u16.to_be_bytes().to_vec()));
    assert_eq!(until_closed(&mut ws.0).await, b"");
    assert_eq!(house.echo.socket_calls.closes(1).await, ["4001"]);
    let calls = house.echo.socket_calls.all();
    let ids: Vec<&str> = calls.iter().map(|call| call.header("planck-connection")).collect();
    assert!(ids[0].len() == 32 && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(
        (calls[0].header("planck-websocket"), calls[0].header("planck-close")),
        ("open", "")
    );
    assert_eq!(calls[0].header("sec-websocket-version"), "13");
    for call in &calls[1..] {
        assert_eq!((call.header("cookie"), call.header("origin")), ("c", "https://o"));
        assert_eq!((call.header("sec-websocket-key"), call.header("planck-websocket")), ("", ""));
        assert_eq!(call.header("x-request-id"), calls[0].header("x-request-id"));
    }
    let told: Vec<_> =
        calls.iter().map(|call| (call.method.as_str(), call.kind.as_str())).collect();
    assert_eq!(told[..3], [("GET", ""), ("MESSAGE", "text"), ("MESSAGE", "binary")]);
    assert_eq!(told.last(), Some(&("CLOSE", "")));
    assert_eq!(*house.echo.answered.lock().unwrap(), ["GET /socket/any 101 false 0 0"]);
    // An empty message is a call whose empty body sends nothing.
    assert_eq!(house.server.traffic().messages(), (8, 6));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_guest_does_not_accept_is_an_answer_and_what_does_not_fit_reaches_no_guest() {
    let house = plain(HttpOptions::default()).await;
    let (head, mut ws) = Ws::open(&house, "no", "").await;
    assert_eq!((status(&head), header(&head, "upgrade")), ("403", None));
    assert!(!head.contains("planck-"), "what the guest says to the host is no client's: {head}");
    // The connection is one of HTTP still.
    let mut rest = [0; 7];
    soon(ws.0.read_exact(&mut rest)).await.unwrap();
    ws.0.write_all(b"GET /next HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    assert_eq!(status(&read_head(&mut ws.0).await), "200");
    let (head, _) = Ws::open(&house, "chosen", "sec-websocket-protocol: one, two\r\n").await;
    assert_eq!(header(&head, "sec-websocket-protocol"), Some("two"));
    let (head, _) = Ws::open(&house, "unoffered", "sec-websocket-protocol: one, two\r\n").await;
    assert_eq!(status(&head), "500", "{head}");
    let handled = house.handled();
    let of = |from: &str, to: &str| HANDSHAKE.replace(from, to);
    for (head, code) in [
        (of("version: 13", "version: 8"), "426"),
        (of("sec-websocket-version: 13\r\n", ""), "426"),
        (of("key: dGhl", "key: "), "400"),
        (of("sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""), "400"),
        (format!("{HANDSHAKE}sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), "400"),
        (format!("{HANDSHAKE}content-length: 1\r\n"), "400"),
        (format!("{HANDSHAKE}transfer-encoding: chunked\r\n"), "400"),
    ] {
        let mut stream = house.open(format!("GET /socket/any HTTP/1.1\r\n{head}\r\n")).await;
        let answer = read_head(&mut stream).await;
        assert_eq!(status(&answer), code, "{head}");
        if code == "426" {
            let told = (header(&answer, "sec-websocket-version"), header(&answer, "upgrade"));
            assert_eq!(told, (Some("13"), Some("websocket")), "{answer}");
        }
    }
    assert_eq!(house.handled(), handled);
    // Who asks for no WebSocket gets none, whatever the guest says.
    for (method, head) in [
        ("GET", of("upgrade: WebSocket", "upgrade: h2c")),
        ("GET", of("keep-alive, Upgrade", "keep-alive")),
        ("POST", format!("{HANDSHAKE}content-length: 0\r\n")),
    ] {
        let asked = format!("{method} /socket/any HTTP/1.1\r\n{head}\r\n");
        let mut stream = house.open(asked).await;
        let code = if method == "GET" { "500" } else { "200" };
        assert_eq!(status(&read_head(&mut stream).await), code, "{method} {head}");
        let call = house.echo.socket_calls.all().pop().unwrap();
        assert_eq!(call.header("planck-websocket"), "");
    }
    // The methods of calls are no client's.
    let handled = house.handled();
    for method in ["MESSAGE", "TICK", "CLOSE"] {
        let asked =
            format!("{method} /socket/any HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
        assert_eq!(status(&house.talk(asked).await), "405", "{method}");
    }
    // Over HTTP/2 it is said where there are some.
    let mut asked = request("/socket/any");
    asked.headers_mut().insert("sec-websocket-key", HeaderValue::from_static("x"));
    let answer = soon(h2(&house).await.send_request(asked)).await.unwrap();
    assert_eq!(answer.status(), 501);
    assert!(text(answer).await.contains("HTTP/1.1"));
    assert_eq!(house.handled(), handled);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_come_in_pieces_and_say_when_to_call_and_to_close() {
    let house = plain(HttpOptions::default()).await;
    let (head, mut ws) = Ws::open(&house, "welcome", "").await;
    assert_eq!((status(&head), header(&head, "set-cookie")), ("101", Some("a=b")));
    assert!(!head.contains("planck-"), "{head}");
    ws.hears("welcome").await;
    ws.hears("tick").await;
    ws.text("pieces").await;
    for text in ["head", "one \u{e9}.", "two", "three"] {
        ws.hears(text).await;
    }
    ws.text("again").await;
    ws.hears("later").await;
    ws.hears("tick").await;
    ws.text("busy").await;
    ws.hears("busy").await;
    ws.text("close").await;
    ws.hears("last").await;
    assert_eq!(ws.closed().await, (4000, "bye".to_owned()));
    assert_eq!(house.echo.socket_calls.closes(1).await, ["4000"]);
    let ticks = house.echo.socket_calls.all().iter().filter(|call| call.method == "TICK").count();
    assert_eq!(ticks, 2, "one for each that was asked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_fails_closes_by_a_code() {
    let house = plain(HttpOptions::default()).await;
    for (count, (message, code)) in [
        ("bad", 1008),
        ("fail", 1011),
        ("panic", 1011),
        ("cut", 1011),
        ("no text", 1011),
        ("odd close", 1011),
    ]
    .into_iter()
    .enumerate()
    {
        let mut ws = Ws::new(&house).await;
        ws.text(message).await;
        assert_eq!(ws.closed().await.0, code, "{message}");
        let closes = house.echo.socket_calls.closes(count + 1).await;
        assert_eq!(closes.last(), Some(&code.to_string()), "{message}");
    }
    assert_eq!(house.server.traffic().lasting(Lasting::Sockets), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_client_may_send_is_told_by_its_code() {
    let house = plain(HttpOptions { max_body_size: 1000, ..HttpOptions::default() }).await;
    for (bytes, code) in [
        (b"\x81\x02hi".to_vec(), 1002),
        (masked(0xc1, b"x"), 1002),
        (masked(0x83, b"x"), 1002),
        (masked(0x80, b"x"), 1002),
        (masked(0x89, &[0; 126]), 1002),
        (masked(0x88, b"x"), 1002),
        (masked(0x81, b"\xff"), 1007),
        (masked(0x81, &[b'x'; 1001]), 1009),
        ([masked(0x01, &[b'x'; 1000]), masked(0x80, b"x")].concat(), 1009),
        ([&[0x82, 0xff][..], &u64::MAX.to_be_bytes(), &[0; 4]].concat(), 1002),
    ] {
        let mut ws = Ws::new(&house).await;
        // What is behind it is not heard.
        ws.0.write_all(&[&bytes[..], &masked(0x81, b"unheard")].concat()).await.unwrap();
        assert_eq!(ws.closed().await.0, code, "{:x?}", &bytes[..bytes.len().min(9)]);
    }
    let calls = house.echo.socket_calls.all();
    assert!(calls.iter().all(|call| call.method != "MESSAGE"), "{calls:?}");
    let mut ws = Ws::new(&house).await;
    ws.say(0x81, &[b'x'; 1000]).await;
    ws.hears(&"x".repeat(1000)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_messages_have_their_share_of_memory_and_their_time() {
    let options = HttpOptions { max_buffered_bytes: 0, ..HttpOptions::default() };
    let house = plain(options).await;
    let large = masked(0x81, &vec![b'x'; 1 << 20]);
    let mut first = Ws::new(&house).await;
    first.0.write_all(&large[..1000]).await.unwrap();
    tokio::time::sleep(SHORT).await;
    let mut second = Ws::new(&house).await;
    second.say(0x81, &[b'x'; 60_000]).await;
    second.hears(&"x".repeat(60_000)).await;
    second.0.write_all(&large[..1000]).await.unwrap();
    assert_eq!(second.closed().await.0, 1013);
    first.0.write_all(&large[1000..]).await.unwrap();
    assert_eq!(first.hear().await.1.len(), 1 << 20);
    // It is given back with the answer.
    first.0.write_all(&large).await.unwrap();
    assert_eq!(first.hear().await.1.len(), 1 << 20);
    let house = plain(HttpOptions { idle_timeout: 4 * SHORT, ..HttpOptions::default() }).await;
    let mut slow = Ws::new(&house).await;
    slow.0.write_all(&large[..1000]).await.unwrap();
    assert_eq!(slow.closed().await.0, 1008);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_call_runs_nothing_is_read_and_who_takes_nothing_is_cut() {
    let house = plain(HttpOptions { idle_timeout: 10 * SHORT, ..HttpOptions::default() }).await;
    let mut ws = Ws::new(&house).await;
    ws.text("wait").await;
    house.one_waits().await;
    let piece = masked(0x81, &[b'x'; 65_536]);
    let mut sent = 0;
    // Until nobody takes more.
    while let Ok(Ok(())) = tokio::time::timeout(5 * SHORT, ws.0.write_all(&piece)).await {
        sent += 1;
        assert!(sent < 1024, "64 MiB were read");
    }
    assert_eq!(house.echo.socket_calls.all().len(), 2, "one message at a time");
    house.echo.gate.add_permits(1);
    // Half a message has come, and the rest of it does not.
    assert_eq!(house.echo.socket_calls.closes(1).await, ["1008"]);
    let mut ws = Ws::new(&house).await;
    for _ in 0..2 {
        ws.text("large").await;
    }
    // It takes no answer, and loses its place.
    assert_eq!(house.echo.socket_calls.closes(2).await[1], "1006");
    assert_eq!(house.server.traffic().lasting(Lasting::Sockets), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_is_asked_about_and_who_does_not_answer_is_gone() {
    let house = plain(HttpOptions { heartbeat: 2 * SHORT, ..HttpOptions::default() }).await;
    let (mut alive, mut dead) = (Ws::new(&house).await, Ws::new(&house).await);
    for _ in 0..3 {
        assert_eq!(alive.hear().await, (9, Vec::new()));
        alive.say(0x8a, b"").await;
    }
    assert_eq!(house.echo.socket_calls.closes(1).await, ["1006"]);
    assert_eq!(dead.hear().await, (9, Vec::new()));
    assert_eq!(until_closed(&mut dead.0).await, b"");
    alive.text("here").await;
    while alive.hear().await.0 == 9 {
        alive.say(0x8a, b"").await;
    }
    // Who breaks off is noticed at once.
    drop(alive);
    assert_eq!(house.echo.socket_calls.closes(2).await, ["1006", "1006"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_as_may_be_are_open_and_one_more_is_refused() {
    let house = plain(HttpOptions { max_live: 2, ..HttpOptions::default() }).await;
    let (one, mut two) = (Ws::new(&house).await, Ws::new(&house).await);
    assert_eq!(house.server.traffic().lasting(Lasting::Sockets), 2);
    let handled = house.handled();
    let (head, _) = Ws::open(&house, "any", "").await;
    assert_eq!((status(&head), header(&head, "retry-after")), ("503", Some("1")));
    assert_eq!(house.handled(), handled, "the guest is not asked");
    drop(one);
    house.echo.socket_calls.closes(1).await;
    soon(async {
        while house.server.traffic().lasting(Lasting::Sockets) != 1 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    // Who is not accepted takes no place.
    for _ in 0..3 {
        assert_eq!(status(&Ws::open(&house, "no", "").await.0), "403");
    }
    let mut three = Ws::new(&house).await;
    for ws in [&mut two, &mut three] {
        ws.text("here").await;
        ws.hears("here").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_drains_says_goodbye_and_answers_what_runs() {
    let house = plain(HttpOptions { drain_timeout: LONG, ..HttpOptions::default() }).await;
    let (mut busy, idle) = (Ws::new(&house).await, Ws::new(&house).await);
    busy.text("wait").await;
    house.one_waits().await;
    let echo = house.echo.clone();
    let draining = tokio::spawn(house.server.drain());
    assert_eq!(idle.closed().await, (1001, "the server stops".to_owned()));
    assert!(!draining.is_finished());
    echo.gate.add_permits(1);
    busy.hears("waited").await;
    assert_eq!(busy.closed().await.0, 1001);
    soon(draining).await.unwrap();
    assert_eq!(echo.socket_calls.closes(2).await, ["1001", "1001"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_the_same_under_tls() {
    let dir = tempfile::tempdir().unwrap();
    let identity = Identity::load_or_create(dir.path(), &[]).unwrap();
    let house = house(identity.http().unwrap(), HttpOptions::default()).await;
    let alpn = Some(&b"http/1.1"[..]);
    let mut stream = tls_client(dir.path(), alpn, house.server.address(), "localhost").await;
    let asked = format!("GET /socket/any HTTP/1.1\r\n{HANDSHAKE}\r\n");
    stream.write_all(asked.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon(stream.read_u8()).await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101"));
    stream.write_all(&masked(0x81, b"secret")).await.unwrap();
    assert_eq!(hear(&mut stream).await, (0x81, b"secret".to_vec()));
}
