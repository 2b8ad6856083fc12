//! A session over QUIC, and a pool of them, against a server that does as a test says.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

#[path = "../common/mod.rs"]
mod common;
mod doors;
mod fake;
mod pool;

use common::{SHORT, greeting, reply, soon};
use fake::*;
use planck_client::proto::packet::{HEADER_BYTES, Header};
use planck_client::proto::{Reply, ReplyWriter, Request};
use planck_client::{ConnectOptions, Error, Fate, Key, Status};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

fn read(n: u128) -> Request<'static> {
    Request::Read { store: "s", key: Key(n) }
}

fn query(text: &str) -> Request<'_> {
    Request::Query { text, parameters: None }
}

fn key(packet: &[u8]) -> Key {
    match Reply::decode(packet).unwrap().1 {
        Reply::Key(key) => key,
        other => panic!("{other:?}"),
    }
}

/// Answers a Read with its key.
fn back(packet: &[u8]) -> Vec<u8> {
    reply(packet, |request, reply| match *request {
        Request::Read { key, .. } => reply.key(key),
        _ => reply.empty(),
    })
}

#[tokio::test]
async fn many_tasks_ask_at_once_and_each_is_given_its_answer() {
    // Whoever asked last is answered first.
    let server = Fake::start(|_, peer| async move {
        auth(&peer).await;
        let mut all = Vec::new();
        for _ in 0..20 {
            all.push(asked(&peer).await.unwrap());
        }
        for asked in all.into_iter().rev() {
            let bytes = back(&asked.packet);
            asked.answer(&bytes).await;
        }
        be_silent(peer).await;
    })
    .await;
    let session = server.session().await;
    let calls: Vec<_> = (0..20).map(|n| (Key(n), tokio::spawn(session.call(&read(n))))).collect();
    for (expected, call) in calls {
        assert_eq!(key(&soon(call).await.unwrap().unwrap()), expected);
    }
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn a_call_that_is_given_up_stops_its_answer_and_touches_no_other() {
    let stopped = Arc::new(AtomicUsize::new(0));
    let count = stopped.clone();
    let server = Fake::start(move |_, peer| {
        let count = count.clone();
        async move {
            auth(&peer).await;
            let first = asked(&peer).await.unwrap();
            let mut send = first.send;
            let next = asked(&peer).await.unwrap();
            send.stopped().await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            send.reset(NO_REASON).ok();
            let bytes = back(&next.packet);
            next.answer(&bytes).await;
            be_silent(peer).await;
        }
    })
    .await;
    let session = server.session().await;
    let first = tokio::spawn(session.call(&read(1)));
    tokio::time::sleep(SHORT).await;
    let second = tokio::spawn(session.call(&read(2)));
    tokio::time::sleep(SHORT).await;
    first.abort();
    assert_eq!(key(&soon(second).await.unwrap().unwrap()), Key(2));
    assert_eq!(stopped.load(Ordering::SeqCst), 1);
    assert!(!session.has_ended());
}

#[tokio::test]
async fn a_request_that_is_given_up_before_it_was_sent_whole_is_reset_and_not_ended() {
    let (tell, told) = tokio::sync::oneshot::channel();
    let tell = std::sync::Mutex::new(Some(tell));
    let server = Fake::start(move |_, peer| {
        let tell = tell.lock().unwrap().take();
        async move {
            auth(&peer).await;
            let (_send, mut recv) = opened(&peer).await.unwrap();
            recv.received_reset().await.unwrap();
            let read = recv.read_to_end(64 << 20).await;
            tell.unwrap().send(read.is_err()).unwrap();
            be_silent(peer).await;
        }
    })
    .await;
    let session = server.session().await;
    // More than fits on the way while nobody reads.
    let document = document(32 << 20);
    let insert = Request::Insert { store: "s", key: None, document: &document };
    let call = tokio::spawn(session.call(&insert));
    tokio::time::sleep(SHORT).await;
    call.abort();
    assert!(soon(told).await.unwrap(), "it looked like a whole request");
}

/// A document of `bytes` bytes.
fn document(bytes: usize) -> Vec<u8> {
    let mut doc = planck_client::proto::doc::DocBuf::new();
    doc.push("x", "y".repeat(bytes - 13).as_str());
    doc.finish().unwrap()
}

#[tokio::test]
async fn what_was_not_sent_whole_was_not_carried_out() {
    let server = Fake::start(|_, peer| async move {
        auth(&peer).await;
        let _streams = opened(&peer).await.unwrap();
        peer.close(NO_REASON, b"enough");
    })
    .await;
    let session = server.session().await;
    let document = document(32 << 20);
    let insert = Request::Insert { store: "s", key: None, document: &document };
    let error = soon(session.call(&insert)).await.unwrap_err();
    assert!(matches!(error, Error::Lost { fate: Fate::NotDone, .. }), "{error}");
    assert!(error.to_string().contains("enough"), "{error}");
    // There is no stream to be had any more.
    let error = soon(session.call(&read(1))).await.unwrap_err();
    assert!(matches!(error, Error::Lost { fate: Fate::NotDone, .. }), "{error}");
    assert!(session.has_ended() && error.is_retryable());
}

#[tokio::test]
async fn of_what_was_sent_whole_nothing_is_known_until_its_answer_is_whole() {
    // Each stream ends otherwise; the last one with the connection.
    let server = Fake::start(|_, peer| async move {
        auth(&peer).await;
        let cut = asked(&peer).await.unwrap();
        let bytes = back(&cut.packet);
        cut.answer(&bytes[..bytes.len() - 1]).await;
        let mut reset = asked(&peer).await.unwrap();
        reset.send.write_all(&bytes[..30]).await.unwrap();
        reset.send.reset(NO_REASON).unwrap();
        asked(&peer).await.unwrap();
        peer.close(NO_REASON, b"");
    })
    .await;
    let session = server.session().await;
    for ended in [false, false, true] {
        let error = soon(session.call(&read(1))).await.unwrap_err();
        assert!(matches!(error, Error::Lost { fate: Fate::Unknown, .. }), "{error}");
        assert_eq!(session.has_ended(), ended, "{error}");
    }
}

#[tokio::test]
async fn what_is_no_answer_is_that_calls_alone() {
    let wrong: [fn(Vec<u8>) -> Vec<u8>; 5] = [
        |mut bytes| {
            bytes[8] = 77; // Another id.
            bytes
        },
        |mut bytes| {
            bytes[4] = 2; // Another version.
            bytes
        },
        |bytes| [&bytes[..], &[0]].concat(),
        |bytes| bytes.repeat(4000),
        |_| b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
    ];
    let server = Fake::start(move |_, peer| async move {
        auth(&peer).await;
        for wrong in wrong {
            let asked = asked(&peer).await.unwrap();
            let bytes = wrong(back(&asked.packet));
            asked.answer(&bytes).await;
        }
        let last = asked(&peer).await.unwrap();
        let mut bytes = Vec::new();
        ReplyWriter::new(0, &mut bytes).error(Status::BadPacket, "no more of this");
        last.answer(&bytes).await;
        let good = asked(&peer).await.unwrap();
        let bytes = back(&good.packet);
        good.answer(&bytes).await;
        be_silent(peer).await;
    })
    .await;
    let session = server.session().await;
    for says in ["request 77", "version 2", "more behind", "more behind", ""] {
        let error = soon(session.call(&read(1))).await.unwrap_err();
        assert!(matches!(error, Error::BadReply(_) | Error::Protocol(_)), "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
    let error = soon(session.call(&read(1))).await.unwrap_err();
    assert_eq!(error.to_string(), "PLK-1001: no more of this");
    assert_eq!(key(&soon(session.call(&read(4))).await.unwrap()), Key(4));
}

#[tokio::test]
async fn a_message_of_the_limit_passes_either_way_and_one_byte_more_does_not() {
    let server = Fake::answering(|_, request, reply| match *request {
        Request::Query { text, .. } => {
            let whole: usize = text.trim().parse().unwrap();
            reply.error(Status::NotFound, &"x".repeat(whole - HEADER_BYTES));
        }
        _ => reply.empty(),
    })
    .await;
    let options = ConnectOptions { max_message_size: 1000, ..ConnectOptions::default() };
    let session = server.connect(options).await.unwrap();
    let mut without = Vec::new();
    query("").encode(1, &mut without);
    let text = format!("{:width$}", 1000, width = 1000 - without.len());
    assert_eq!(soon(session.call(&query(&text))).await.unwrap().len(), 1000);
    let error = soon(session.call(&query(&format!("{text} ")))).await.unwrap_err();
    assert!(error.to_string().contains("has 1001 bytes, the limit is 1000"), "{error}");
    let error = soon(session.call(&query("1001"))).await.unwrap_err();
    assert!(error.to_string().contains("1001 bytes, the limit is 1000"), "{error}");
    soon(session.call(&Request::Ping)).await.unwrap();
}

#[tokio::test]
async fn what_the_server_says_of_itself_is_known_and_held_to() {
    let server = Fake::start(|_, peer| async move {
        let asked = asked(&peer).await.unwrap();
        let bytes = reply(&asked.packet, |_, reply| reply.document(&greeting(300, 0)));
        asked.answer(&bytes).await;
        be_silent(peer).await;
    })
    .await;
    let session = server.session().await;
    assert_eq!((&*session.greeting().server, session.greeting().session), ("planck 9", 7));
    let text = "x".repeat(300);
    let error = soon(session.call(&query(&text))).await.unwrap_err();
    assert!(error.to_string().contains("the limit is 300"), "{error}");
}

#[tokio::test]
async fn patience_is_sent_and_a_server_that_stops_answering_is_waited_for_as_long_as_said() {
    let server = Fake::start(|_, peer| async move {
        auth(&peer).await;
        let mut silent = Vec::new();
        while let Some(asked) = asked(&peer).await {
            match Header::parse(&asked.packet).unwrap().patience {
                0 => silent.push(asked),
                patience => {
                    let bytes = reply(&asked.packet, |_, reply| reply.count(patience.into()));
                    asked.answer(&bytes).await;
                }
            }
        }
    })
    .await;
    let options = ConnectOptions { call_timeout: SHORT, ..ConnectOptions::default() };
    let session = server.connect(options).await.unwrap();
    let error = soon(session.call(&read(1))).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { fate: Fate::Unknown, .. }), "{error}");
    assert!(error.to_string().starts_with("a reply took longer than 60ms"), "{error}");
    // It costs that call alone.
    let answer = soon(session.call_within(&read(1), Duration::from_millis(1500))).await.unwrap();
    assert_eq!(Reply::decode(&answer).unwrap().1, Reply::Count(1500));
}

#[tokio::test]
async fn as_many_requests_are_in_flight_as_may_be_and_one_more_waits_within_its_time() {
    let server = Fake::start(|_, peer| async move {
        auth(&peer).await;
        let held = [asked(&peer).await.unwrap(), asked(&peer).await.unwrap()];
        // There is no third before one of them was answered.
        assert!(tokio::time::timeout(SHORT * 4, opened(&peer)).await.is_err());
        for asked in held {
            let bytes = back(&asked.packet);
            asked.answer(&bytes).await;
        }
        while let Some(asked) = asked(&peer).await {
            let bytes = back(&asked.packet);
            asked.answer(&bytes).await;
        }
    })
    .await;
    let options = ConnectOptions { max_in_flight: 2, ..ConnectOptions::default() };
    let session = server.connect(options).await.unwrap();
    let held = [1, 2].map(|n| tokio::spawn(session.call(&read(n))));
    tokio::time::sleep(SHORT).await;
    let third = tokio::spawn(session.call(&read(3)));
    for (n, call) in (1..).zip(held) {
        assert_eq!(key(&soon(call).await.unwrap().unwrap()), Key(n));
    }
    assert_eq!(key(&soon(third).await.unwrap().unwrap()), Key(3));

    let server = Fake::start(|_, peer| async move {
        auth(&peer).await;
        be_silent(peer).await;
    })
    .await;
    let options = ConnectOptions { max_in_flight: 1, ..ConnectOptions::default() };
    let session = server.connect(options).await.unwrap();
    let first = tokio::spawn(session.call(&read(1)));
    tokio::time::sleep(SHORT).await;
    let error = soon(session.call_within(&read(2), SHORT)).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { fate: Fate::NotDone, .. }), "{error}");
    first.abort();
}

#[tokio::test]
async fn who_says_goodbye_is_heard() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let server = Fake::start(move |_, peer| {
        let tell = tell.clone();
        async move {
            auth(&peer).await;
            tell.send(peer.closed().await.to_string()).unwrap();
        }
    })
    .await;
    soon(server.session().await.close()).await;
    assert!(soon(told.recv()).await.unwrap().contains("closed by peer: 0"));
    drop(server.session().await);
    assert!(soon(told.recv()).await.unwrap().contains("closed by peer: 0"));
}
