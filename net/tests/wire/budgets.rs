//! Memory that sessions share, over TCP: of replies that wait to be taken, and of
//! requests that are being received.

use super::common::*;
use super::*;
use proto::Key;

/// Of one message.
const LARGEST: usize = 1 << 20;
/// Requests whose replies may be large that are begun at once: there is memory for one
/// of the largest size, of which a quarter is set aside for each.
pub(super) const PLACES: usize = 4;

/// Memory for one message, and time without end.
pub(super) fn little() -> WireOptions {
    WireOptions {
        max_message_size: LARGEST,
        max_buffered_bytes: 0,
        max_reply_bytes: 0,
        message_timeout: LONG,
        write_timeout: LONG,
        ..options()
    }
}

fn ask(text: &str) -> Vec<u8> {
    encoded(Request::Query { text, parameters: None })
}

fn handled(house: &House) -> usize {
    house.echo.handled.load(Ordering::SeqCst)
}

/// Waits until nothing more is carried out, of so many requests.
pub(super) async fn stuck(house: &House, most: usize) {
    soon(async {
        let mut before = 0;
        while before == 0 || handled(house) != before {
            before = handled(house);
            tokio::time::sleep(4 * SHORT).await;
        }
    })
    .await;
    assert!(handled(house) < most, "all were carried out");
}

/// A session that asks for more than all buffers take, and reads nothing.
async fn stalled(house: &House) -> TcpStream {
    let mut stream = authenticated(house).await;
    stream.write_all(&ask("bytes 1000000").repeat(40)).await.unwrap();
    stuck(house, 40).await;
    stream
}

/// Sessions that hold every place, until the gate opens.
async fn held(house: &House, count: usize) -> Vec<TcpStream> {
    let mut sessions = Vec::new();
    for _ in 0..count {
        let mut session = authenticated(house).await;
        session.write_all(&ask("wait")).await.unwrap();
        sessions.push(session);
    }
    until(|| handled(house) == count).await;
    sessions
}

async fn says_nothing(stream: &mut TcpStream) {
    assert!(tokio::time::timeout(4 * SHORT, stream.read_u8()).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_with_replies_of_unknown_size_are_begun_and_no_more() {
    let house = plain(little()).await;
    let _opens = Opens(house.echo.clone());
    let mut sessions = held(&house, PLACES).await;
    let mut next = authenticated(&house).await;
    next.write_all(&ask("number 5")).await.unwrap();
    says_nothing(&mut next).await;
    assert_eq!(handled(&house), PLACES, "it is not begun");
    house.echo.open();
    for session in &mut sessions {
        assert_eq!(count(&one_reply(session).await), 1);
    }
    assert_eq!(count(&one_reply(&mut next).await), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn small_replies_wait_for_nobody() {
    let house = plain(little()).await;
    let _opens = Opens(house.echo.clone());
    let _held = held(&house, PLACES).await;
    let mut neighbour = authenticated(&house).await;
    // Whose reply is always small ..
    for request in [Request::Flush, Request::Ping] {
        neighbour.write_all(&encoded(request)).await.unwrap();
        assert_eq!(Reply::decode(&one_reply(&mut neighbour).await), Ok((9, Reply::Empty)));
    }
    // .. and whose reply proves to be, to the last byte.
    let most = (64 << 10) - HEADER_BYTES;
    let read = |bytes: usize| encoded(Request::Read { store: "s", key: Key(bytes as u128) });
    neighbour.write_all(&read(most)).await.unwrap();
    assert_eq!(error(&one_reply(&mut neighbour).await).1.len(), most);
    let before = handled(&house);
    neighbour.write_all(&read(most + 1)).await.unwrap();
    says_nothing(&mut neighbour).await;
    house.echo.open();
    assert_eq!(error(&one_reply(&mut neighbour).await).1.len(), most + 1);
    assert_eq!(handled(&house), before + 2, "made again: it was not kept meanwhile");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_room_is_cancelled_or_goes_away() {
    let house = plain(WireOptions { max_sessions: PLACES + 1, ..little() }).await;
    let _opens = Opens(house.echo.clone());
    let _held = held(&house, PLACES).await;
    let mut gone = authenticated(&house).await;
    gone.write_all(&ask("who")).await.unwrap();
    says_nothing(&mut gone).await;
    gone.set_zero_linger().unwrap();
    drop(gone);
    drop(house.client_eventually().await);
    drop(house.client_eventually().await);
    let mut session = soon(async {
        loop {
            let mut stream = TcpStream::connect(house.address()).await.unwrap();
            stream.write_all(&auth(KEY)).await.unwrap();
            if let Ok((_, Reply::Document(_))) = Reply::decode(&one_reply(&mut stream).await) {
                return stream;
            }
        }
    })
    .await;
    let cancel = Header::cancel(9).to_bytes();
    session.write_all(&[&ask("who")[..], &cancel].concat()).await.unwrap();
    says_nothing(&mut session).await;
    house.echo.open();
    assert_eq!(error(&one_reply(&mut session).await).0, Status::Cancelled);
    assert_eq!(handled(&house), PLACES);
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_that_nobody_takes_keep_others_waiting_until_they_are_taken() {
    let house = plain(little()).await;
    let mut slow = stalled(&house).await;
    let mut neighbour = authenticated(&house).await;
    let before = handled(&house);
    neighbour.write_all(&ask("number 5")).await.unwrap();
    says_nothing(&mut neighbour).await;
    assert_eq!(handled(&house), before);
    for _ in 0..40 {
        assert_eq!(error(&one_reply(&mut slow).await).1.len(), 1_000_000);
    }
    assert_eq!(count(&one_reply(&mut neighbour).await), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_nothing_while_others_wait_is_cut_off_early() {
    // In calm there would be a second for each 16 KiB: more than a minute.
    let house = plain(WireOptions { write_timeout: 10 * SHORT, ..little() }).await;
    let mut slow = stalled(&house).await;
    let mut neighbour = authenticated(&house).await;
    neighbour.write_all(&ask("number 5")).await.unwrap();
    assert_eq!(count(&one_reply(&mut neighbour).await), 5);
    assert!(until_closed(&mut slow).await.len() < 40 * 1_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_needs_memory_of_its_own_length_not_that_of_the_one_before() {
    let house = plain(little()).await;
    let spaces = |n: usize| ask(&format!("number 5{}", " ".repeat(n)));
    let (short, long) = (spaces(100_000), spaces(1_000_000));
    // The second begins in the bytes that come with the first.
    let mut holder = authenticated(&house).await;
    holder.write_all(&[&short[..], &long[..long.len() / 2]].concat()).await.unwrap();
    assert_eq!(count(&one_reply(&mut holder).await), 5);
    tokio::time::sleep(4 * SHORT).await;
    let mut neighbour = authenticated(&house).await;
    let (mut reading, mut writing) = neighbour.split();
    let other = spaces(800_000);
    let mut sent = std::pin::pin!(async {
        writing.write_all(&other).await.unwrap();
        reading.read_u8().await.unwrap();
    });
    assert!(tokio::time::timeout(4 * SHORT, &mut sent).await.is_err(), "there is no room for both");
    holder.write_all(&long[long.len() / 2..]).await.unwrap();
    assert_eq!(count(&one_reply(&mut holder).await), 5);
    soon(sent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_was_carried_out_holds_no_memory_while_its_reply_waits() {
    // Room for one request of the largest size, and for many replies.
    let (most, replies) = (16 << 20, 64 << 20);
    let roomy = WireOptions { max_message_size: most, max_reply_bytes: replies, ..little() };
    let house = plain(roomy).await;
    let large = |text: &str, bytes| ask(&format!("{text}{}", " ".repeat(bytes)));
    let mut slow = authenticated(&house).await;
    soon(slow.write_all(&large("bytes 15000000", 15_000_000))).await.unwrap();
    until(|| handled(&house) == 1).await;
    let mut neighbour = authenticated(&house).await;
    soon(neighbour.write_all(&large("number 5", 2_000_000))).await.unwrap();
    assert_eq!(count(&one_reply(&mut neighbour).await), 5);
}

/// Sends a byte now and then, until the server closes.
async fn trickle(stream: &mut TcpStream, bytes: &[u8]) {
    let (mut reading, mut writing) = stream.split();
    let trickling = async {
        for byte in bytes {
            if writing.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(SHORT / 2).await;
        }
        panic!("all was taken");
    };
    tokio::select! {
        () = trickling => {}
        read = reading.read_u8() => assert!(read.is_err(), "closed without a word"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_comes_byte_by_byte_has_an_end() {
    // Each byte comes in time, all of them do not.
    let house = plain(WireOptions { message_timeout: 10 * SHORT, ..little() }).await;
    let mut stream = authenticated(&house).await;
    soon(trickle(&mut stream, &ask(&" ".repeat(10_000)))).await;
    assert_eq!(handled(&house), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_trickles_a_large_request_holds_no_memory_that_others_wait_for() {
    // In calm: 3 s and 1 s for each 16 KiB, more than the patience of the tests. While
    // others wait: 1 s, and 1 s for each 128 KiB.
    let time = Duration::from_secs(3);
    let limited = WireOptions { max_message_size: 300 << 10, message_timeout: time, ..little() };
    let house = plain(limited).await;
    let large = ask(&format!("number 5{}", " ".repeat(299 << 10)));
    let mut holder = authenticated(&house).await;
    holder.write_all(&large[..1000]).await.unwrap();
    tokio::time::sleep(SHORT).await;
    let mut neighbour = authenticated(&house).await;
    neighbour.write_all(&large[..200_000]).await.unwrap();
    soon(trickle(&mut holder, &large[1000..])).await;
    neighbour.write_all(&large[200_000..]).await.unwrap();
    assert_eq!(count(&one_reply(&mut neighbour).await), 5);
}
