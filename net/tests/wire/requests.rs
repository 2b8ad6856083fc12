//! Requests over TCP: in order, within their limits, and what is no request.

use super::common::*;
use super::*;

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
