//! The wire on real loopback sockets, with a handler that only echoes.
//!
//! Timeouts under test are configured short and observed by what closes, never
//! by a clock.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

mod cancels;
#[path = "../common/mod.rs"]
mod common;
mod ends;
mod pages;
mod quic;

use common::*;
use net::wire::{Call, Welcome, WireHandler, WireOptions, serve};
use net::{LockoutOptions, Security, Server};
use planck_client::{
    ConnectOptions as ClientOptions, Connection as Client, Error as ClientError, Security as Trust,
};
use proto::packet::{HEADER_BYTES, Header};
use proto::wire::Greeting;
use proto::{Fingerprint, Reply, ReplyWriter, Request, Status};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const KEY: &str = "the right key";
const SHORT: Duration = Duration::from_millis(60);
/// A little longer than [`soon`] waits.
const HELD: Duration = Duration::from_secs(25);
/// Beyond the patience of the tests: what ends sooner was ended by what is tested.
const LONG: Duration = Duration::from_secs(3600);

/// Answers by the text of a query; counts what reaches it.
#[derive(Default)]
struct Echo {
    authenticated: AtomicUsize,
    handled: AtomicUsize,
    /// Requests `hold` that were given up.
    given_up: AtomicUsize,
    /// Set by the query `wait` on arrival; it leaves when the test opens it.
    gate: Mutex<(bool, bool)>,
    moved: Condvar,
}

impl Echo {
    fn arrived(&self) -> bool {
        self.gate.lock().unwrap().0
    }
    fn open(&self) {
        self.gate.lock().unwrap().1 = true;
        self.moved.notify_all();
    }
}

/// Opens the gate even if the test fails, or its runtime would wait for the handler.
struct Opens(Arc<Echo>);

impl Drop for Opens {
    fn drop(&mut self) {
        self.0.open();
    }
}

struct Handler(Arc<Echo>);

impl WireHandler for Handler {
    type Session = String;

    fn authenticate(
        &self,
        user: &str,
        key: &str,
        _: SocketAddr,
    ) -> Result<String, (Status, String)> {
        self.0.authenticated.fetch_add(1, Ordering::SeqCst);
        match key {
            KEY => Ok(user.to_owned()),
            _ => Err((Status::BadCredentials, "the user or key is wrong".to_owned())),
        }
    }

    fn welcome(&self, session: &String) -> Welcome {
        let (server, role) = ("echo 1".to_owned(), "echoer".to_owned());
        Welcome { server, session: 5, user: session.clone(), role }
    }

    fn handle(&self, session: &String, packet: &[u8], call: &Call, out: &mut Vec<u8>) {
        self.0.handled.fetch_add(1, Ordering::SeqCst);
        let (id, request) = Request::decode(packet).unwrap();
        let reply = ReplyWriter::new(id, out);
        if let Some(left) = pages::left(&request) {
            return pages::answer(left, reply);
        }
        let Request::Query { text, .. } = request else { return reply.empty() };
        match text.split_once(' ').unwrap_or((text, "")) {
            ("number", n) => reply.count(n.parse().unwrap()),
            ("bytes", n) => reply.error(Status::NotFound, &"x".repeat(n.parse().unwrap())),
            ("who", _) => reply.error(Status::NotFound, session),
            ("gone", _) => reply.error(Status::NotAuthenticated, "the user was dropped"),
            ("panic", _) => panic!("asked to"),
            ("wait", _) => {
                let mut gate = self.0.gate.lock().unwrap();
                gate.0 = true;
                while !gate.1 {
                    gate = self.0.moved.wait(gate).unwrap();
                }
                reply.count(1);
            }
            // Until it is cancelled, the test opens, or it has failed long ago.
            ("hold", _) => {
                self.0.gate.lock().unwrap().0 = true;
                let flag = call.cancelled.clone().expect("what may block can be cancelled");
                let began = std::time::Instant::now();
                while !self.0.gate.lock().unwrap().1 && began.elapsed() < HELD {
                    if flag.load(Ordering::SeqCst) {
                        self.0.given_up.fetch_add(1, Ordering::SeqCst);
                        return reply.error(Status::Cancelled, "held long enough");
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
                reply.count(2);
            }
            _ => reply.empty(),
        }
    }
}

struct House {
    server: Server,
    echo: Arc<Echo>,
    pin: Option<Fingerprint>,
}

impl House {
    fn address(&self) -> SocketAddr {
        self.server.address()
    }

    async fn connect(&self, key: &str) -> Result<Client, ClientError> {
        let trust = self.pin.map_or(Trust::Plaintext, Trust::Pinned);
        let address = self.address().to_string();
        soon(Client::connect(&address, trust, "ann", key, ClientOptions::default())).await
    }

    async fn client(&self) -> Client {
        self.connect(KEY).await.unwrap()
    }

    /// Tries until a place is free.
    async fn client_eventually(&self) -> Client {
        soon(async {
            loop {
                match self.connect(KEY).await {
                    Ok(client) => return client,
                    Err(ClientError::Refused { status: Status::Busy, .. }) => {
                        tokio::task::yield_now().await;
                    }
                    Err(other) => panic!("{other}"),
                }
            }
        })
        .await
    }
}

fn options() -> WireOptions {
    WireOptions { failed_auth_delay: Duration::ZERO, ..WireOptions::default() }
}

async fn plain(options: WireOptions) -> House {
    let echo = Arc::new(Echo::default());
    let handler = Handler(echo.clone());
    let server = serve(anywhere(), Security::Plaintext, options, handler).await.unwrap();
    House { server, echo, pin: None }
}

async fn tls() -> House {
    let (echo, identity) = (Arc::new(Echo::default()), identity());
    let handler = Handler(echo.clone());
    let server = serve(anywhere(), identity.wire().unwrap(), options(), handler).await.unwrap();
    House { server, echo, pin: Some(identity.fingerprint) }
}

async fn query(client: &mut Client, text: &str) -> Vec<u8> {
    soon(client.call(&Request::Query { text, parameters: None })).await.unwrap()
}

fn count(packet: &[u8]) -> u64 {
    match Reply::decode(packet).unwrap().1 {
        Reply::Count(number) => number,
        other => panic!("{other:?}"),
    }
}

fn error(packet: &[u8]) -> (Status, &str) {
    match Reply::decode(packet).unwrap().1 {
        Reply::Error { status, message } => (status, message),
        other => panic!("{other:?}"),
    }
}

fn encoded(request: Request<'_>) -> Vec<u8> {
    let mut packet = Vec::new();
    request.encode(9, &mut packet);
    packet
}

fn auth(key: &str) -> Vec<u8> {
    encoded(Request::Auth { user: "ann", key })
}

/// A bare socket that has authenticated.
async fn authenticated(house: &House) -> TcpStream {
    let mut stream = TcpStream::connect(house.address()).await.unwrap();
    stream.write_all(&auth(KEY)).await.unwrap();
    let reply = one_reply(&mut stream).await;
    assert!(matches!(Reply::decode(&reply), Ok((9, Reply::Document(_)))));
    stream
}

/// The next reply on a bare socket.
async fn one_reply(stream: &mut TcpStream) -> Vec<u8> {
    let mut packet = vec![0; HEADER_BYTES];
    soon(stream.read_exact(&mut packet)).await.unwrap();
    let header = Header::parse(&packet).unwrap();
    packet.resize(HEADER_BYTES + header.body as usize, 0);
    soon(stream.read_exact(&mut packet[HEADER_BYTES..])).await.unwrap();
    packet
}

/// Waits until something is so.
async fn until(what: impl Fn() -> bool) {
    soon(async {
        while !what() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pinned_client_asks_over_tls() {
    let house = tls().await;
    let mut client = house.client().await;
    assert_eq!(count(&query(&mut client, "number 7").await), 7);
    assert_eq!(error(&query(&mut client, "who").await).1, "ann");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_certificate_is_refused_before_the_key_is_sent() {
    let mut house = tls().await;
    house.pin = Some(Fingerprint([1; 32]));
    let error = house.connect(KEY).await.unwrap_err();
    assert!(matches!(error, ClientError::WrongCertificate { .. }), "{error}");
    assert!(error.to_string().contains("not the one pinned"), "{error}");
    assert_eq!(house.echo.authenticated.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_tls12_is_refused() {
    let house = tls().await;
    assert_eq!(talk(house.address(), &hello_of_tls12()).await, PROTOCOL_VERSION_ALERT);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_ask_for_the_wire_in_its_handshake_is_not_listened_to() {
    let dir = tempfile::tempdir().unwrap();
    let identity = net::tls::Identity::load_or_create(dir.path(), &[]).unwrap();
    let echo = Arc::new(Echo::default());
    let handler = Handler(echo.clone());
    let server = serve(anywhere(), identity.wire().unwrap(), options(), handler).await.unwrap();
    let mut stream = tls_client(dir.path(), None, server.address(), "localhost").await;
    stream.write_all(&auth(KEY)).await.ok();
    let mut all = Vec::new();
    soon(stream.read_to_end(&mut all)).await.ok();
    assert_eq!(error(&all).0, Status::BadPacket);
    assert_eq!(echo.authenticated.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_and_plaintext_find_out_about_each_other() {
    let mut secret = tls().await;
    secret.pin = None;
    let error = secret.connect(KEY).await.unwrap_err();
    assert!(matches!(error, ClientError::NeedsTls { .. }), "{error}");
    assert_eq!(secret.echo.authenticated.load(Ordering::SeqCst), 0);

    let mut open = plain(options()).await;
    open.pin = Some(Fingerprint([1; 32]));
    let error = open.connect(KEY).await.unwrap_err();
    assert!(matches!(error, ClientError::Handshake { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_is_said_with_the_address() {
    let address = {
        let taken = tokio::net::TcpListener::bind(anywhere()).await.unwrap();
        taken.local_addr().unwrap().to_string()
    };
    let options = ClientOptions::default();
    let error = Client::connect(&address, Trust::Plaintext, "", "", options).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(&address), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_pipelined_requests_are_answered_in_order() {
    let house = tls().await;
    let mut client = house.client().await;
    let (mut asked, mut answered) = (0, 0);
    while answered < 5000 {
        if asked < 5000 && client.in_flight() < 600 {
            let text = format!("number {asked}");
            soon(client.send(&Request::Query { text: &text, parameters: None })).await.unwrap();
            asked += 1;
        } else {
            assert_eq!(count(&soon(client.receive()).await.unwrap()), answered);
            answered += 1;
        }
    }
    assert_eq!(house.echo.handled.load(Ordering::SeqCst), 5000);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_requests_and_replies_pipelined_do_not_deadlock() {
    let house = plain(WireOptions { max_buffered_bytes: 0, ..options() }).await;
    let mut client = house.client().await;
    let text = "bytes 1000000";
    let large = format!("who {}", " ".repeat(1_000_000));
    for _ in 0..12 {
        soon(client.send(&Request::Query { text: &large, parameters: None })).await.unwrap();
        soon(client.send(&Request::Query { text, parameters: None })).await.unwrap();
    }
    for _ in 0..12 {
        assert_eq!(error(&soon(client.receive()).await.unwrap()).1, "ann");
        assert_eq!(error(&soon(client.receive()).await.unwrap()).1.len(), 1_000_000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_auth_is_carried_out_before_auth() {
    let house = plain(options()).await;
    for request in [Request::Ping, Request::List, Request::Flush] {
        let reply = talk(house.address(), &encoded(request)).await;
        assert_eq!(error(&reply).0, Status::NotAuthenticated);
    }
    let large = encoded(Request::Query { text: &"x".repeat(100_000), parameters: None });
    assert_eq!(error(&talk(house.address(), &large).await).0, Status::NotAuthenticated);
    let large = encoded(Request::Auth { user: "ann", key: &"x".repeat(4096) });
    assert_eq!(error(&talk(house.address(), &large).await).0, Status::MessageTooLarge);
    assert_eq!(house.echo.handled.load(Ordering::SeqCst), 0);
    assert_eq!(house.echo.authenticated.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_answered_and_closed_with_what_was_pipelined_behind_it() {
    let house = plain(options()).await;
    let bytes = [auth("wrong"), encoded(Request::Ping)].concat();
    let reply = talk(house.address(), &bytes).await;
    assert_eq!(error(&reply).0, Status::BadCredentials);
    assert_eq!(house.echo.handled.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_pipelined_behind_the_right_key_are_served() {
    let house = plain(options()).await;
    let mut stream = TcpStream::connect(house.address()).await.unwrap();
    stream.write_all(&[auth(KEY), encoded(Request::Ping)].concat()).await.unwrap();
    let first = one_reply(&mut stream).await;
    let (9, Reply::Document(document)) = Reply::decode(&first).unwrap() else { panic!("greeted") };
    let options = options();
    let greeting = Greeting {
        server: "echo 1",
        session: 5,
        user: "ann",
        role: "echoer",
        max_message_size: options.max_message_size as u64,
        max_in_flight: options.max_in_flight as u64,
        idle_timeout_ms: options.idle_timeout.as_millis() as u64,
    };
    assert_eq!(Greeting::decode(document), Ok(greeting));
    assert_eq!(Reply::decode(&one_reply(&mut stream).await), Ok((9, Reply::Empty)));
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_answered_and_closed() {
    let house = plain(options()).await;
    for garbage in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x16\x03\x01", b"PLNK\x01\x03aaaaaaaaaaaaaaaaaa"]
    {
        let reply = talk(house.address(), garbage).await;
        assert_eq!(error(&reply).0, Status::BadPacket, "{garbage:?}");
    }
    let mut stream = authenticated(&house).await;
    stream.write_all(b"garbage").await.unwrap();
    assert_eq!(error(&until_closed(&mut stream).await).0, Status::BadPacket);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_version_is_told_which_is_spoken() {
    let house = plain(options()).await;
    let mut foreign = auth(KEY);
    foreign[4] = 2;
    let told = |reply: &[u8]| {
        let (id, reply) = Reply::decode(reply).unwrap();
        let Reply::Error { status, message } = reply else { panic!("{reply:?}") };
        assert!(message.contains("version 1"), "{message}");
        (id, status)
    };
    assert_eq!(told(&talk(house.address(), &foreign).await), (9, Status::UnknownVersion));
    let mut stream = authenticated(&house).await;
    stream.write_all(&foreign).await.unwrap();
    assert_eq!(told(&until_closed(&mut stream).await), (9, Status::UnknownVersion));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_over_the_limit_is_answered_and_closed() {
    let house = plain(WireOptions { max_message_size: 5000, ..options() }).await;
    let mut stream = authenticated(&house).await;
    let ping = encoded(Request::Ping);
    let large = encoded(Request::Query { text: &"x".repeat(2_000_000), parameters: None });
    let (mut reader, mut writer) = stream.split();
    let bytes = [ping, large].concat();
    let writing = async { writer.write_all(&bytes).await.ok() };
    let mut replies = Vec::new();
    soon(async { tokio::join!(writing, reader.read_to_end(&mut replies)).1.ok() }).await;
    assert_eq!(Reply::decode(&replies[..HEADER_BYTES + 1]), Ok((9, Reply::Empty)), "the ping");
    let (status, message) = error(&replies[HEADER_BYTES + 1..]);
    assert_eq!(status, Status::MessageTooLarge);
    assert!(message.contains("limits.max_message_size is 5000"), "{message}");
    assert_eq!(house.echo.handled.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_over_the_limit_becomes_an_error_and_the_session_goes_on() {
    let house = plain(WireOptions { max_message_size: 5000, ..options() }).await;
    let mut client = house.client().await;
    assert_eq!(error(&query(&mut client, "bytes 5000").await).0, Status::ResultTooLarge);
    assert_eq!(count(&query(&mut client, "number 3").await), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_session_too_many_is_told_so_and_let_in_when_one_leaves() {
    let house = plain(WireOptions { max_sessions: 2, ..options() }).await;
    let (first, _second) = (house.client().await, house.client().await);
    let error = house.connect(KEY).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { status: Status::Busy, .. }), "{error}");
    first.close().await;
    let mut third = house.client_eventually().await;
    assert_eq!(count(&query(&mut third, "number 1").await), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_holds_half_of_the_unauthenticated_places_at_most() {
    let patient = WireOptions { max_unauthenticated: 4, auth_timeout: LONG, ..options() };
    let house = plain(patient).await;
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(TcpStream::connect(house.address()).await.unwrap());
    }
    // They are looked at at once, so any of them may be the one too many.
    let [a, b, c] = &mut silent[..] else { unreachable!("three of them") };
    tokio::select! {
        heard = until_closed(a) => assert_eq!(heard, b""),
        heard = until_closed(b) => assert_eq!(heard, b""),
        heard = until_closed(c) => assert_eq!(heard, b""),
    }
    let open = |stream: &&TcpStream| {
        stream.try_read(&mut [0]).is_err_and(|e| e.kind() == ErrorKind::WouldBlock)
    };
    assert_eq!(silent.iter().filter(open).count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_not_allowed_hear_nothing() {
    let elsewhere = "192.0.2.0/24".parse().unwrap();
    let house = plain(WireOptions { allowed_ips: vec![elsewhere], ..options() }).await;
    assert_eq!(talk(house.address(), &auth(KEY)).await, b"");
    assert_eq!(house.echo.authenticated.load(Ordering::SeqCst), 0);
    let here = "127.0.0.1".parse().unwrap();
    plain(WireOptions { allowed_ips: vec![elsewhere, here], ..options() }).await.client().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_failures_lock_the_address_without_checking_further_keys() {
    let lockout = LockoutOptions {
        max_failed_attempts: 3,
        lockout_multiplier: 1000,
        ..LockoutOptions::default()
    };
    let house = plain(WireOptions { lockout, ..options() }).await;
    let mut before = house.client().await;
    for _ in 0..3 {
        let error = house.connect("wrong").await.unwrap_err();
        assert!(matches!(error, ClientError::Refused { status: Status::BadCredentials, .. }));
    }
    // The server's own machine has a turn a second later, and not another one for a minute.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let error = house.connect("wrong").await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { status: Status::BadCredentials, .. }));
    let error = house.connect(KEY).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { status: Status::LockedOut, .. }), "{error}");
    assert_eq!(house.echo.authenticated.load(Ordering::SeqCst), 5, "1 right, 3 wrong, a turn");
    assert_eq!(count(&query(&mut before, "number 1").await), 1, "sessions live on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_costs_one_session_and_no_more() {
    let house = plain(options()).await;
    let (mut unlucky, mut other) = (house.client().await, house.client().await);
    assert_eq!(error(&query(&mut unlucky, "panic").await).0, Status::Internal);
    assert_eq!(count(&query(&mut other, "number 1").await), 1);
    assert_eq!(count(&query(&mut house.client().await, "number 1").await), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_keeps_its_user() {
    let house = plain(options()).await;
    let mut client = house.client().await;
    let again = soon(client.call(&Request::Auth { user: "bob", key: KEY })).await.unwrap();
    assert_eq!(error(&again).0, Status::BadPacket);
    assert_eq!(error(&query(&mut client, "who").await).1, "ann");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_given_up_half_way_breaks_the_connection_rather_than_the_order() {
    let house = plain(options()).await;
    let mut client = house.client().await;
    let waiting = client.call(&Request::Query { text: "wait", parameters: None });
    assert!(tokio::time::timeout(SHORT, waiting).await.is_err());
    drop(Opens(house.echo.clone()));
    let error = client.receive().await.unwrap_err();
    assert!(matches!(error, ClientError::Broken), "{error}");
    let error = client.send(&Request::Ping).await.unwrap_err();
    assert!(matches!(error, ClientError::Broken), "{error}");
}
