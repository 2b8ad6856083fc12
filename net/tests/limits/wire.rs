//! Of the wire.

use super::*;
use net::wire::{WireHandler, WireOptions, serve};
use net::{Security, Server};
use proto::packet::HEADER_BYTES;
use proto::{Header, Reply, ReplyWriter, Request, Status};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

/// Answers a query that is a number with so many bytes of message; checks the key `wait`
/// when it is let.
#[derive(Clone, Default)]
struct Keeper(Arc<State>);

#[derive(Default)]
struct State {
    checking: AtomicUsize,
    open: Mutex<bool>,
    moved: Condvar,
}

impl WireHandler for Keeper {
    type Session = ();

    fn authenticate(&self, _: &str, key: &str, _: SocketAddr) -> Result<(), (Status, String)> {
        self.0.checking.fetch_add(1, Ordering::SeqCst);
        if key == "wait" {
            let mut open = self.0.open.lock().unwrap();
            while !*open {
                open = self.0.moved.wait(open).unwrap();
            }
        }
        match key {
            "wrong" => Err((Status::BadCredentials, "the user or key is wrong".to_owned())),
            _ => Ok(()),
        }
    }

    fn handle(&self, (): &(), packet: &[u8], out: &mut Vec<u8>) {
        let (id, request) = Request::decode(packet).unwrap();
        match request {
            Request::Query { text, .. } => {
                let bytes = text.trim().parse().unwrap();
                ReplyWriter::new(id, out).error(Status::NotFound, &"x".repeat(bytes));
            }
            _ => ReplyWriter::new(id, out).empty(),
        }
    }
}

/// Opens the gate even if the test fails, or its runtime would wait for the handler.
struct Opens(Keeper);

impl Drop for Opens {
    fn drop(&mut self) {
        *self.0.0.open.lock().unwrap() = true;
        self.0.0.moved.notify_all();
    }
}

async fn house(options: WireOptions) -> (Server, Keeper) {
    let keeper = Keeper::default();
    let options = WireOptions { failed_auth_delay: Duration::ZERO, ..options };
    let server = serve(anywhere(), Security::Plaintext, options, keeper.clone()).await.unwrap();
    (server, keeper)
}

fn encoded(request: Request<'_>) -> Vec<u8> {
    let mut packet = Vec::new();
    request.encode(9, &mut packet);
    packet
}

/// An Auth of so many bytes.
fn auth_of(bytes: usize) -> Vec<u8> {
    let empty = encoded(Request::Auth { user: "ann", key: "" }).len();
    let key = "k".repeat(bytes - empty);
    let packet = encoded(Request::Auth { user: "ann", key: &key });
    assert_eq!(packet.len(), bytes);
    packet
}

/// A query of so many bytes for a message of so many.
fn query_of(bytes: usize, message: usize) -> Vec<u8> {
    let text = message.to_string();
    let short = encoded(Request::Query { text: &text, parameters: None }).len();
    let text = text + &" ".repeat(bytes.saturating_sub(short));
    encoded(Request::Query { text: &text, parameters: None })
}

/// The next reply: what refused it, or nothing, and the length of its packet.
async fn reply(stream: &mut TcpStream) -> (Option<Status>, usize) {
    let packet = soon(async {
        let mut head = [0; HEADER_BYTES];
        stream.read_exact(&mut head).await.unwrap();
        let mut packet = head.to_vec();
        packet.resize(HEADER_BYTES + Header::parse(&head).unwrap().body as usize, 0);
        stream.read_exact(&mut packet[HEADER_BYTES..]).await.unwrap();
        packet
    })
    .await;
    match Reply::decode(&packet).unwrap().1 {
        Reply::Error { status, .. } => (Some(status), packet.len()),
        _ => (None, packet.len()),
    }
}

async fn say(stream: &mut TcpStream, packet: &[u8]) -> (Option<Status>, usize) {
    stream.write_all(packet).await.unwrap();
    reply(stream).await
}

async fn session(server: &Server) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    assert_eq!(say(&mut stream, &auth_of(100)).await.0, None);
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_may_be_as_large_as_the_limit_either_way() {
    let limit = 5000;
    let (server, _) =
        house(WireOptions { max_message_size: limit, ..WireOptions::default() }).await;
    let mut stream = session(&server).await;
    let found = Some(Status::NotFound);
    let (_, around) = say(&mut stream, &query_of(0, 0)).await;
    assert_eq!(say(&mut stream, &query_of(limit, 5)).await, (found, around + 5));
    let largest = limit - around;
    assert_eq!(say(&mut stream, &query_of(0, largest)).await, (found, limit));
    let (status, _) = say(&mut stream, &query_of(0, largest + 1)).await;
    assert_eq!(status, Some(Status::ResultTooLarge));
    assert_eq!(say(&mut stream, &query_of(0, largest)).await, (found, limit), "it goes on");
    let (status, _) = say(&mut stream, &query_of(limit + 1, 5)).await;
    assert_eq!(status, Some(Status::MessageTooLarge));
    assert_eq!(until_closed(&mut stream).await, b"", "its bytes are not read");
    assert_eq!(say(&mut session(&server).await, &query_of(limit, 5)).await.0, found);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auth_may_be_as_large_as_its_bound() {
    let (server, keeper) = house(WireOptions::default()).await;
    let connect = async || TcpStream::connect(server.address()).await.unwrap();
    assert_eq!(say(&mut connect().await, &auth_of(4096)).await.0, None);
    let (status, _) = say(&mut connect().await, &auth_of(4097)).await;
    assert_eq!(status, Some(Status::MessageTooLarge));
    assert_eq!(keeper.0.checking.load(Ordering::SeqCst), 1, "the second was not looked at");
    assert_eq!(say(&mut connect().await, &auth_of(4096)).await.0, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_sessions_as_the_limit_are_open() {
    let (server, _) = house(WireOptions { max_sessions: 3, ..WireOptions::default() }).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(session(&server).await);
    }
    let mut fourth = TcpStream::connect(server.address()).await.unwrap();
    assert_eq!(say(&mut fourth, &auth_of(100)).await.0, Some(Status::Busy));
    for stream in &mut open {
        assert_eq!(say(stream, &encoded(Request::Ping)).await.0, None, "the others go on");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_keys_as_the_limit_are_checked_at_once() {
    let options =
        WireOptions { max_concurrent_auth: 2, auth_timeout: LONG, ..WireOptions::default() };
    let (server, keeper) = house(options).await;
    let opens = Opens(keeper.clone());
    let auth = encoded(Request::Auth { user: "ann", key: "wait" });
    let mut waiting = Vec::new();
    for _ in 0..5 {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        stream.write_all(&auth).await.unwrap();
        waiting.push(stream);
    }
    let checking = || keeper.0.checking.load(Ordering::SeqCst);
    soon(async {
        while checking() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    tokio::time::sleep(SHORT).await; // For a third to come, if it could.
    assert_eq!(checking(), 2);
    drop(opens);
    for stream in &mut waiting {
        assert_eq!(reply(stream).await.0, None);
    }
    assert_eq!(checking(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_to_a_wrong_key_is_held_back_and_no_other() {
    let keeper = Keeper::default();
    let options =
        WireOptions { failed_auth_delay: LONG, auth_timeout: LONG, ..WireOptions::default() };
    let server = serve(anywhere(), Security::Plaintext, options, keeper.clone()).await.unwrap();
    let mut wrong = TcpStream::connect(server.address()).await.unwrap();
    wrong.write_all(&encoded(Request::Auth { user: "ann", key: "wrong" })).await.unwrap();
    session(&server).await;
    soon(async {
        while keeper.0.checking.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(tokio::time::timeout(SHORT, wrong.read_u8()).await.is_err(), "not yet");
    session(&server).await;
}
