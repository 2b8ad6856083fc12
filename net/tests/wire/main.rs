//! The wire on real loopback sockets, with a handler that only echoes.
//!
//! Timeouts under test are configured short and observed by what closes, never
//! by a clock.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

mod budgets;
mod cancels;
#[path = "../common/mod.rs"]
mod common;
mod doors;
mod ends;
mod pages;
mod quic;
mod requests;
mod waits;

use common::*;
use net::wire::{Call, Wait, Welcome, WireHandler, WireOptions, serve};
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
    news: waits::News,
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

    fn handle_or_wait(
        &self,
        session: &String,
        packet: &[u8],
        call: &Call,
        out: &mut Vec<u8>,
    ) -> Option<Wait> {
        waits::wait(&self.0, packet, call, out).unwrap_or_else(|| {
            self.handle(session, packet, call, out);
            None
        })
    }

    fn handle(&self, session: &String, packet: &[u8], call: &Call, out: &mut Vec<u8>) {
        self.0.handled.fetch_add(1, Ordering::SeqCst);
        let (id, request) = Request::decode(packet).unwrap();
        let reply = ReplyWriter::new(id, out);
        if let Some(left) = pages::left(&request) {
            return pages::answer(left, reply);
        }
        // Of a document that is not there: so many bytes.
        if let Request::Read { key, .. } = request {
            return reply.error(Status::NotFound, &"x".repeat(key.0 as usize));
        }
        let Request::Query { text, .. } = request else { return reply.empty() };
        let text = text.trim_end();
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
