//! One connection: its bounds at their edges, and each way in which it ends.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

mod common;

use common::*;
use planck_client::proto::doc::DocBuf;
use planck_client::proto::packet::{HEADER_BYTES, Header};
use planck_client::proto::{Reply, ReplyWriter, Request};
use planck_client::{ConnectOptions, Connection, Error, Fate, Key, Result, Security, Status};
use std::time::Duration;

async fn connect(server: &Fake, options: ConnectOptions) -> Result<Connection> {
    let address = server.address.to_string();
    soon(Connection::connect(&address, Security::Plaintext, "ann", "key", options)).await
}

fn query(text: &str) -> Request<'_> {
    Request::Query { text, parameters: None }
}

fn bytes_of(request: &Request<'_>) -> usize {
    let mut packet = Vec::new();
    request.encode(1, &mut packet);
    packet.len()
}

fn of_bytes(reply: ReplyWriter<'_>, whole: usize) {
    reply.error(Status::NotFound, &"x".repeat(whole - HEADER_BYTES));
}

/// A document of `bytes` bytes.
fn document(bytes: usize) -> Vec<u8> {
    let mut doc = DocBuf::new();
    doc.push("x", "y".repeat(bytes - 13).as_str());
    let doc = doc.finish().unwrap();
    assert_eq!(doc.len(), bytes);
    doc
}

#[tokio::test]
async fn what_the_server_says_of_itself_is_known() {
    let server = Fake::start(|_, mut peer| async move {
        let packet = peer.packet().await.unwrap();
        peer.send(&reply(&packet, |_, reply| reply.document(&greeting(300, 0)))).await;
        peer.be_silent().await;
    })
    .await;
    let mut connection = connect(&server, ConnectOptions::default()).await.unwrap();
    assert_eq!(connection.greeting().server, "planck 9");
    assert_eq!((&*connection.greeting().role, connection.greeting().session), ("admin", 7));
    // Its limit is the client's too, to the byte; what is over it is not sent.
    let text = "x".repeat(300 - bytes_of(&query("")));
    assert!(soon(connection.send(&query(&text))).await.is_ok());
    let error = soon(connection.send(&query(&format!("{text}x")))).await.unwrap_err();
    assert!(error.to_string().contains("has 301 bytes, the limit is 300"), "{error}");
    assert_eq!((error.fate(), connection.in_flight()), (Fate::NotDone, 1));
}

#[tokio::test]
async fn a_message_of_the_limit_passes_either_way_and_one_byte_more_does_not() {
    let server = Fake::answering(|_, request, reply| match *request {
        Request::Query { text, .. } => of_bytes(reply, text.trim().parse().unwrap()),
        _ => reply.empty(),
    })
    .await;
    let options = ConnectOptions { max_message_size: 1000, ..ConnectOptions::default() };
    let mut connection = connect(&server, options).await.unwrap();
    let text = format!("{:width$}", 1000, width = 1000 - bytes_of(&query("")));
    assert_eq!(soon(connection.call(&query(&text))).await.unwrap().len(), 1000);
    let error = soon(connection.call(&query(&format!("{text} ")))).await.unwrap_err();
    assert!(error.to_string().contains("1001 bytes"), "{error}");
    // Documents are counted before they are copied.
    let large = document(1 << 20);
    let insert = Request::Insert { store: "s", key: None, document: &large };
    assert!(matches!(soon(connection.call(&insert)).await, Err(Error::Invalid(_))));
    assert!(soon(connection.call(&Request::Ping)).await.is_ok(), "nothing of them was sent");
    let error = soon(connection.call(&query("1001"))).await.unwrap_err();
    assert!(error.to_string().contains("1001 bytes, the limit is 1000"), "{error}");
    assert!(matches!(soon(connection.call(&Request::Ping)).await, Err(Error::Broken)));
}

#[tokio::test]
async fn as_many_requests_are_in_flight_as_may_be_and_no_more() {
    let server = Fake::answering(|_, _, reply| reply.empty()).await;
    let options = ConnectOptions { max_in_flight: 3, ..ConnectOptions::default() };
    let mut connection = connect(&server, options).await.unwrap();
    for _ in 0..3 {
        soon(connection.send(&Request::Ping)).await.unwrap();
    }
    let error = soon(connection.send(&Request::Ping)).await.unwrap_err();
    assert!(error.to_string().contains("connect.max_in_flight"), "{error}");
    let error = soon(connection.call(&Request::Ping)).await.unwrap_err();
    assert!(error.to_string().contains("receive first"), "{error}");
    soon(connection.receive()).await.unwrap();
    soon(connection.send(&Request::Ping)).await.unwrap();
    for _ in 0..3 {
        soon(connection.receive()).await.unwrap();
    }
    assert!(matches!(soon(connection.receive()).await, Err(Error::Invalid(_))));
}

#[tokio::test]
async fn replies_that_nobody_receives_are_kept_up_to_a_bound() {
    let server = Fake::answering(|_, request, reply| match *request {
        Request::Query { .. } => of_bytes(reply, 1000),
        _ => reply.empty(),
    })
    .await;
    let options = ConnectOptions { max_unread: 3000, ..ConnectOptions::default() };
    let mut connection = connect(&server, options.clone()).await.unwrap();
    // Four replies come together with that to the first request.
    for _ in 0..5 {
        soon(connection.send(&query(""))).await.unwrap();
    }
    soon(connection.flush()).await.unwrap();
    tokio::time::sleep(SHORT).await;
    soon(connection.receive()).await.unwrap();
    let error = soon(connection.send(&Request::Ping)).await.unwrap_err();
    assert!(error.to_string().contains("4000 bytes of replies"), "{error}");
    // With one less, what waits is the bound.
    soon(connection.receive()).await.unwrap();
    soon(connection.send(&Request::Ping)).await.unwrap();
    for _ in 0..4 {
        soon(connection.receive()).await.unwrap();
    }

    // While a long request is sent, more comes than may be kept.
    let server = Fake::start(|_, mut peer| async move {
        peer.auth().await;
        let packet = peer.packet().await.unwrap();
        let one = reply(&packet, |_, reply| of_bytes(reply, 1000));
        peer.send(&one.repeat(100)).await;
        tokio::time::sleep(LONG).await;
    })
    .await;
    let mut connection = connect(&server, options).await.unwrap();
    soon(connection.send(&query(""))).await.unwrap();
    soon(connection.flush()).await.unwrap();
    let large = document(16 << 20);
    let insert = Request::Insert { store: "s", key: None, document: &large };
    let error = soon(connection.send(&insert)).await.unwrap_err();
    assert!(error.to_string().contains("connect.max_unread is 3000"), "{error}");
    assert!(matches!(soon(connection.receive()).await, Err(Error::Broken)));
}

#[tokio::test]
async fn a_reply_that_is_cut_leaves_the_fate_of_the_request_open() {
    let server = Fake::start(|_, mut peer| async move {
        peer.auth().await;
        let packet = peer.packet().await.unwrap();
        let whole = reply(&packet, |_, reply| reply.key(Key(1)));
        peer.send(&whole[..whole.len() - 1]).await;
    })
    .await;
    let mut connection = connect(&server, ConnectOptions::default()).await.unwrap();
    let error = soon(connection.call(&query("s.insert({})"))).await.unwrap_err();
    assert!(matches!(error, Error::Lost { fate: Fate::Unknown, .. }), "{error}");
    assert!(error.to_string().ends_with("may or may not be done"), "{error}");
    assert!(matches!(soon(connection.call(&Request::Ping)).await, Err(Error::Broken)));
}

#[tokio::test]
async fn a_request_that_was_not_sent_whole_was_not_carried_out() {
    let server = Fake::start(|_, mut peer| async move {
        peer.auth().await;
        // Gone, with what was sent unread.
    })
    .await;
    let mut connection = connect(&server, ConnectOptions::default()).await.unwrap();
    let large = document(32 << 20);
    let insert = Request::Insert { store: "s", key: None, document: &large };
    let error = soon(connection.call(&insert)).await.unwrap_err();
    assert!(matches!(error, Error::Lost { fate: Fate::NotDone, .. }), "{error}");
    assert!(error.is_retryable() && error.to_string().ends_with("was not done"), "{error}");
}

#[tokio::test]
async fn of_two_requests_on_their_way_nothing_is_claimed() {
    let server = Fake::start(|_, mut peer| async move {
        peer.auth().await;
        peer.packet().await;
    })
    .await;
    let mut connection = connect(&server, ConnectOptions::default()).await.unwrap();
    soon(connection.send(&query("s.insert({})"))).await.unwrap();
    soon(connection.flush()).await.unwrap();
    let large = document(32 << 20);
    let insert = Request::Insert { store: "s", key: None, document: &large };
    let error = soon(connection.send(&insert)).await.unwrap_err();
    assert_eq!(error.fate(), Fate::Unknown, "{error}");
}

#[tokio::test]
async fn a_server_that_stops_answering_is_waited_for_as_long_as_said() {
    let server = Fake::start(|_, mut peer| async move {
        peer.auth().await;
        peer.be_silent().await;
    })
    .await;
    let options = ConnectOptions { call_timeout: SHORT, ..ConnectOptions::default() };
    let mut connection = connect(&server, options).await.unwrap();
    let error = soon(connection.call(&query("s"))).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { fate: Fate::Unknown, .. }), "{error}");
    assert!(error.to_string().starts_with("a reply took longer than 60ms"), "{error}");
    assert!(matches!(soon(connection.call(&Request::Ping)).await, Err(Error::Broken)));
}

#[tokio::test]
async fn a_server_that_does_not_let_in_or_refuse_is_not_waited_for_longer() {
    let server = Fake::start(|_, peer| peer.be_silent()).await;
    for options in [
        ConnectOptions { connect_timeout: SHORT, ..ConnectOptions::default() },
        ConnectOptions { call_timeout: SHORT, ..ConnectOptions::default() },
    ] {
        let error = connect(&server, options).await.unwrap_err();
        assert!(matches!(error, Error::Timeout { fate: Fate::NotDone, .. }), "{error}");
    }
    let server = Fake::start(|_, mut peer| async move {
        peer.packet().await;
    })
    .await;
    let error = connect(&server, ConnectOptions::default()).await.unwrap_err();
    assert!(matches!(error, Error::Lost { fate: Fate::NotDone, .. }), "{error}");
}

#[tokio::test]
async fn an_answer_to_another_request_is_nobodys() {
    let server = Fake::start(|_, mut peer| async move {
        peer.auth().await;
        peer.packet().await;
        let mut other = Vec::new();
        ReplyWriter::new(77, &mut other).count(1);
        peer.send(&other).await;
        peer.be_silent().await;
    })
    .await;
    let mut connection = connect(&server, ConnectOptions::default()).await.unwrap();
    let error = soon(connection.call(&query("s"))).await.unwrap_err();
    assert!(error.to_string().contains("answers request 77, which is not the oldest"), "{error}");
    assert!(matches!(soon(connection.receive()).await, Err(Error::Broken)));
}

#[tokio::test]
async fn what_the_server_says_of_the_connection_is_told() {
    let server = Fake::start(|_, mut peer| async move {
        peer.auth().await;
        peer.packet().await;
        let mut last = Vec::new();
        ReplyWriter::new(0, &mut last).error(Status::BadPacket, "no more of this");
        peer.send(&last).await;
    })
    .await;
    let mut connection = connect(&server, ConnectOptions::default()).await.unwrap();
    let error = soon(connection.call(&query("s"))).await.unwrap_err();
    assert_eq!(error.to_string(), "PLK-1001: no more of this");
}

#[tokio::test]
async fn a_queued_request_is_sent_by_a_flush() {
    let (sender, arrived) = tokio::sync::oneshot::channel();
    let sender = std::sync::Mutex::new(Some(sender));
    let server = Fake::start(move |_, mut peer| {
        let sender = sender.lock().unwrap().take().unwrap();
        async move {
            peer.auth().await;
            let packet = peer.packet().await.unwrap();
            sender.send(()).unwrap();
            peer.send(&reply(&packet, |_, reply| reply.count(7))).await;
            peer.be_silent().await;
        }
    })
    .await;
    let mut connection = connect(&server, ConnectOptions::default()).await.unwrap();
    soon(connection.send(&Request::Ping)).await.unwrap();
    soon(connection.flush()).await.unwrap();
    soon(arrived).await.unwrap();
    let answer = soon(connection.receive()).await.unwrap();
    assert_eq!(Reply::decode(&answer).unwrap().1, Reply::Count(7));
}

#[tokio::test]
async fn patience_and_cancels_are_sent_as_they_are_meant() {
    let server = Fake::start(|_, mut peer| async move {
        peer.auth().await;
        for expected in [0, 1, 1500, u32::MAX] {
            let packet = peer.packet().await.unwrap();
            assert_eq!(Header::parse(&packet).unwrap().patience, expected);
            peer.send(&reply(&packet, |_, reply| reply.count(u64::from(expected)))).await;
        }
        let packet = peer.packet().await.unwrap();
        let cancel = peer.packet().await.unwrap();
        let id = Header::parse(&packet).unwrap().id;
        assert_eq!(Header::parse(&cancel), Ok(Header::cancel(id)));
        peer.send(&reply(&packet, |_, reply| reply.error(Status::Cancelled, "gone"))).await;
        // A Cancel that is cut off tells nothing of a request that was sent whole.
        let _whole = peer.packet().await.unwrap();
    })
    .await;
    let mut connection = connect(&server, ConnectOptions::default()).await.unwrap();
    for (patience, sent) in [
        (Duration::ZERO, 0),
        (Duration::from_nanos(1), 1),
        (Duration::from_millis(1500), 1500),
        (Duration::MAX, u64::from(u32::MAX)),
    ] {
        let answer = soon(connection.call_within(&query("s"), patience)).await.unwrap();
        assert_eq!(Reply::decode(&answer).unwrap().1, Reply::Count(sent));
    }
    let id = soon(connection.send(&query("s"))).await.unwrap();
    soon(connection.cancel(id)).await.unwrap();
    let answer = soon(connection.receive()).await.unwrap();
    let Reply::Error { status, .. } = Reply::decode(&answer).unwrap().1 else { panic!("done") };
    assert_eq!(status, Status::Cancelled);
    soon(connection.send(&query("s"))).await.unwrap();
    soon(connection.flush()).await.unwrap();
    tokio::time::sleep(SHORT).await;
    let error = loop {
        if let Err(error) = soon(connection.cancel(99)).await {
            break error;
        }
    };
    assert_eq!(error.fate(), Fate::Unknown, "{error}");
}

#[tokio::test]
async fn a_call_dropped_half_way_breaks_the_connection_rather_than_the_order() {
    let server = Fake::start(|_, mut peer| async move {
        peer.auth().await;
        let packet = peer.packet().await.unwrap();
        tokio::time::sleep(SHORT * 2).await;
        peer.send(&reply(&packet, |_, reply| reply.count(1))).await;
        peer.be_silent().await;
    })
    .await;
    let mut connection = connect(&server, ConnectOptions::default()).await.unwrap();
    let first = query("first");
    let waiting = connection.call(&first);
    assert!(tokio::time::timeout(Duration::from_millis(20), waiting).await.is_err());
    assert!(matches!(soon(connection.receive()).await, Err(Error::Broken)));
    assert!(matches!(soon(connection.send(&Request::Ping)).await, Err(Error::Broken)));
}
