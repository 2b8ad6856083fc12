//! How sessions end: by silence, by going away, by not reading, by draining.

use super::common::*;
use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_authenticate_in_time_is_cut_off() {
    let house = plain(WireOptions { auth_timeout: SHORT, ..options() }).await;
    assert_eq!(talk(house.address(), b"").await, b"");
    assert_eq!(talk(house.address(), &auth(KEY)[..30]).await, b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_session_is_closed_and_so_is_half_a_request() {
    let house = plain(WireOptions { idle_timeout: SHORT, ..options() }).await;
    assert_eq!(until_closed(&mut authenticated(&house).await).await, b"");
    let house = plain(WireOptions { message_timeout: SHORT, ..options() }).await;
    let mut stream = authenticated(&house).await;
    stream.write_all(&encoded(Request::Ping)[..20]).await.unwrap();
    assert_eq!(until_closed(&mut stream).await, b"");
    assert_eq!(house.echo.handled.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_packet_and_gone_gives_the_place_back() {
    let house = plain(WireOptions { max_sessions: 1, ..options() }).await;
    let mut stream = authenticated(&house).await;
    stream.write_all(&encoded(Request::Ping)[..20]).await.unwrap();
    drop(stream);
    house.client_eventually().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_never_reads_its_replies_is_cut_off() {
    let slow = WireOptions { max_sessions: 1, write_timeout: SHORT, ..options() };
    let house = plain(slow).await;
    let mut stream = authenticated(&house).await;
    // Small replies: none of the time that large ones are granted on top.
    let many = encoded(Request::Query { text: "number 1", parameters: None }).repeat(2000);
    let writing = async { while stream.write_all(&many).await.is_ok() {} };
    soon(writing).await;
    house.client_eventually().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_finishes_what_is_in_flight_and_lets_nobody_in() {
    let house = plain(WireOptions { auth_timeout: LONG, drain_timeout: LONG, ..options() }).await;
    let address = house.address();
    let mut silent = TcpStream::connect(address).await.unwrap();
    let (mut busy, mut idle) = (house.client().await, authenticated(&house).await);
    let asking = tokio::spawn(async move { query(&mut busy, "wait").await });
    soon(async {
        while !house.echo.arrived() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let echo = house.echo.clone();
    let _opens = Opens(echo.clone());
    let draining = tokio::spawn(house.server.drain());
    assert_eq!(until_closed(&mut idle).await, b"", "idle sessions end at once");
    assert_eq!(until_closed(&mut silent).await, b"", "and who has not authenticated");
    assert!(!asking.is_finished());
    echo.open();
    assert_eq!(count(&soon(asking).await.unwrap()), 1);
    soon(draining).await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_reply_arrives_though_more_was_sent_than_was_read() {
    let house = plain(WireOptions { drain_timeout: LONG, ..options() }).await;
    let mut stream = authenticated(&house).await;
    let echo = house.echo.clone();
    let _opens = Opens(echo.clone());
    let asked = ["wait", "bytes 3000000"].map(|text| Request::Query { text, parameters: None });
    stream.write_all(&asked.map(encoded).concat()).await.unwrap();
    until(|| echo.arrived()).await;
    let draining = tokio::spawn(house.server.drain());
    tokio::time::sleep(SHORT).await;
    // Closing over these would reset the connection, and with it what is on the way.
    stream.write_all(&encoded(Request::Ping).repeat(1000)).await.unwrap();
    echo.open();
    tokio::time::sleep(4 * SHORT).await;
    assert_eq!(count(&one_reply(&mut stream).await), 1);
    assert_eq!(error(&one_reply(&mut stream).await).1.len(), 3_000_000);
    assert_eq!(until_closed(&mut stream).await, b"");
    soon(draining).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_cuts_off_what_does_not_finish() {
    let house = plain(WireOptions { drain_timeout: SHORT, ..options() }).await;
    let mut busy = house.client().await;
    let asking =
        tokio::spawn(
            async move { busy.call(&Request::Query { text: "wait", parameters: None }).await },
        );
    soon(async {
        while !house.echo.arrived() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let _opens = Opens(house.echo.clone());
    soon(house.server.drain()).await;
    assert!(matches!(soon(asking).await.unwrap(), Err(ClientError::Lost { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_user_is_gone_is_told_so_and_gives_its_place_back() {
    let house = plain(WireOptions { max_sessions: 1, idle_timeout: LONG, ..options() }).await;
    let mut stream = authenticated(&house).await;
    // What was sent behind it is not carried out.
    let asked: Vec<u8> = ["who", "gone", "who"]
        .iter()
        .flat_map(|text| encoded(Request::Query { text, parameters: None }))
        .collect();
    stream.write_all(&asked).await.unwrap();
    let replies = until_closed(&mut stream).await;
    let first = HEADER_BYTES + "ann".len();
    let gone = Reply::Error { status: Status::NotAuthenticated, message: "the user was dropped" };
    assert_eq!(Reply::decode(&replies[first..]).unwrap().1, gone);
    assert_eq!(house.echo.handled.load(Ordering::SeqCst), 2);
    house.client_eventually().await;
}
