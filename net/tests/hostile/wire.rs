//! At the wire.

use super::*;
use net::wire::{WireHandler, WireOptions, serve};
use net::{Security, Server};
use proto::packet::HEADER_BYTES;
use proto::{Header, Reply, ReplyWriter, Request, Status};
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::AsyncRead;

/// Answers a query that is a number with so many bytes.
#[derive(Clone, Default)]
struct Bytes(Arc<AtomicUsize>);

impl WireHandler for Bytes {
    type Session = ();

    fn authenticate(&self, _: &str, _: &str, _: SocketAddr) -> Result<(), (Status, String)> {
        Ok(())
    }

    fn handle(&self, (): &(), packet: &[u8], out: &mut Vec<u8>) {
        self.0.fetch_add(1, Ordering::SeqCst);
        let (id, request) = Request::decode(packet).unwrap();
        let Request::Query { text, .. } = request else {
            return ReplyWriter::new(id, out).empty();
        };
        let bytes = text.trim().parse().unwrap();
        ReplyWriter::new(id, out).error(Status::NotFound, &"x".repeat(bytes));
    }
}

struct House {
    server: Server,
    handled: Bytes,
}

async fn house(options: WireOptions) -> House {
    let handled = Bytes::default();
    let security = Security::Plaintext;
    let server = serve(anywhere(), security, options, handled.clone()).await.unwrap();
    House { server, handled }
}

fn patient() -> WireOptions {
    WireOptions {
        auth_timeout: LONG,
        idle_timeout: LONG,
        message_timeout: LONG,
        write_timeout: LONG,
        drain_timeout: SHORT,
        ..WireOptions::default()
    }
}

fn encoded(id: u64, request: Request<'_>) -> Vec<u8> {
    let mut packet = Vec::new();
    request.encode(id, &mut packet);
    packet
}

fn query(id: u64, text: &str) -> Vec<u8> {
    encoded(id, Request::Query { text, parameters: None })
}

/// The next whole packet, unless the connection ends.
async fn packet(stream: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    soon(async {
        let mut head = [0; HEADER_BYTES];
        stream.read_exact(&mut head).await.ok()?;
        let mut packet = head.to_vec();
        packet.resize(HEADER_BYTES + Header::parse(&head).unwrap().body as usize, 0);
        stream.read_exact(&mut packet[HEADER_BYTES..]).await.ok()?;
        Some(packet)
    })
    .await
}

/// The id of the next reply, and the bytes of its message.
async fn reply(stream: &mut (impl AsyncRead + Unpin)) -> (u64, usize) {
    match Reply::decode(&packet(stream).await.unwrap()).unwrap() {
        (id, Reply::Error { status: Status::NotFound, message }) => (id, message.len()),
        other => panic!("{other:?}"),
    }
}

async fn enter(mut stream: TcpStream) -> TcpStream {
    stream.write_all(&encoded(1, Request::Auth { user: "ann", key: "key" })).await.unwrap();
    let answer = packet(&mut stream).await.unwrap();
    let refused = matches!(Reply::decode(&answer).unwrap().1, Reply::Error { .. });
    assert!(!refused, "let in");
    stream
}

impl House {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.server.address()).await.unwrap()
    }

    async fn session(&self) -> TcpStream {
        enter(self.connect().await).await
    }

    /// A session, once there is a place for it.
    async fn session_eventually(&self) -> TcpStream {
        soon(async {
            loop {
                let mut stream = self.connect().await;
                let auth = encoded(1, Request::Auth { user: "ann", key: "key" });
                stream.write_all(&auth).await.ok();
                match packet(&mut stream).await.as_deref().map(Reply::decode) {
                    // No place before authentication, or none behind it.
                    None | Some(Ok((_, Reply::Error { status: Status::Busy, .. }))) => {
                        tokio::task::yield_now().await;
                    }
                    Some(Ok((_, Reply::Error { message, .. }))) => panic!("{message}"),
                    Some(_) => return stream,
                }
            }
        })
        .await
    }

    /// Asks and is answered, a hundred times.
    async fn is_served(&self, neighbour: &mut TcpStream) {
        for id in 0..100 {
            neighbour.write_all(&query(id, "5")).await.unwrap();
            assert_eq!(reply(neighbour).await, (id, 5));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_its_replies_holds_up_itself() {
    let house = house(patient()).await;
    let mut slow = house.session().await;
    let mut neighbour = house.session().await;
    // More than all buffers between us take: it gets stuck, with nobody reading.
    let asked = 60;
    let (mut reading, mut writing) = slow.split();
    for id in 0..asked {
        writing.write_all(&query(id, "1000000")).await.unwrap();
    }
    house.is_served(&mut neighbour).await;
    let others = house.handled.0.load(Ordering::SeqCst) - 100;
    assert!(others < asked as usize, "it is not carried out ahead of being read: {others}");
    // And when it reads at last, all is there, in order.
    for id in 0..asked {
        assert_eq!(reply(&mut reading).await, (id, 1_000_000));
    }
    house.is_served(&mut neighbour).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_send_half_a_packet_hold_up_nobody() {
    let house = house(WireOptions { max_sessions: 41, ..patient() }).await;
    let mut halves = Vec::new();
    for n in 0..40 {
        let mut stream = house.session().await;
        let whole = query(7, &" ".repeat(n));
        stream.write_all(&whole[..1 + n % (whole.len() - 1)]).await.unwrap();
        halves.push(stream);
    }
    let mut neighbour = house.session().await;
    house.is_served(&mut neighbour).await;
    assert_eq!(house.handled.0.load(Ordering::SeqCst), 100, "no half was acted upon");
    // Byte by byte is slow, and a whole packet all the same.
    halves.clear();
    let mut drip = house.session_eventually().await;
    for byte in query(7, "5") {
        drip.write_all(&[byte]).await.unwrap();
        drip.flush().await.unwrap();
    }
    assert_eq!(reply(&mut drip).await, (7, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_large_request_holds_its_share_of_memory_no_longer_than_allowed() {
    // The budget is that of one request of the largest size.
    let options = WireOptions {
        max_message_size: 1 << 20,
        max_buffered_bytes: 0,
        message_timeout: SHORT,
        ..patient()
    };
    let house = house(options).await;
    let large = query(3, &format!("5{}", " ".repeat((1 << 20) - 200)));
    let mut holder = house.session().await;
    holder.write_all(&large[..large.len() / 2]).await.unwrap();
    // Small requests need no share.
    let mut neighbour = house.session().await;
    house.is_served(&mut neighbour).await;
    // A large one gets in once the holder was cut off for its silence.
    neighbour.write_all(&large).await.unwrap();
    assert_eq!(reply(&mut neighbour).await, (3, 5));
    assert_eq!(until_closed(&mut holder).await, b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_silent_connections_leaves_places_for_neighbours() {
    let house = house(WireOptions { max_unauthenticated: 8, ..patient() }).await;
    let mut flood = Vec::new();
    for _ in 0..60 {
        flood.push(house.connect().await);
    }
    for _ in 0..5 {
        let neighbour = from([127, 0, 0, 2], house.server.address()).await;
        house.is_served(&mut enter(neighbour).await).await;
    }
    // Those beyond half of the places were closed, and the others still hold theirs.
    let is_open = |stream: &&TcpStream| {
        stream.try_read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    };
    soon(async {
        while flood.iter().filter(is_open).count() > 4 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(flood.iter().filter(is_open).count(), 4);
    // Who leaves makes room for its own kind.
    flood.clear();
    house.is_served(&mut house.session_eventually().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_bytes_before_authentication_is_not_kept() {
    let house = house(patient()).await;
    let mut flood = house.connect().await;
    // A header that promises a large Auth, then bytes without end.
    let mut packet = encoded(1, Request::Auth { user: "ann", key: &"k".repeat(10_000) });
    packet.resize(8 << 20, 0);
    let mut answer = Vec::new();
    let (mut reading, mut writing) = flood.split();
    let both = async {
        let writing = async { writing.write_all(&packet).await.ok() };
        tokio::join!(writing, reading.read_to_end(&mut answer)).1.ok()
    };
    soon(both).await;
    let Reply::Error { status, .. } = Reply::decode(&answer).unwrap().1 else { panic!("refused") };
    assert_eq!(status, Status::MessageTooLarge, "by its header alone");
    house.is_served(&mut house.session().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_closes_one_half_gets_its_replies_and_gives_its_place_back() {
    let house = house(WireOptions { max_sessions: 1, ..patient() }).await;
    let mut stream = house.session().await;
    for id in 0..20 {
        stream.write_all(&query(id, "10000")).await.unwrap();
    }
    stream.shutdown().await.unwrap();
    for id in 0..20 {
        assert_eq!(reply(&mut stream).await, (id, 10_000));
    }
    assert_eq!(until_closed(&mut stream).await, b"");
    house.is_served(&mut house.session_eventually().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_sessions_that_come_and_go_leaves_nothing() {
    let house = house(WireOptions { max_sessions: 4, max_unauthenticated: 8, ..patient() }).await;
    for _ in 0..200 {
        // Gone in the middle of Auth, behind it, or in the middle of a request.
        let mut stream = house.connect().await;
        let auth = encoded(1, Request::Auth { user: "ann", key: "key" });
        stream.write_all(&auth[..auth.len() / 2]).await.ok();
        drop(stream);
        let mut stream = house.connect().await;
        stream.write_all(&[auth, query(2, "5")[..20].to_vec()].concat()).await.ok();
        drop(stream);
    }
    for _ in 0..4 {
        house.is_served(&mut house.session_eventually().await).await;
    }
}
