//! The pool at its bounds, and what is tried again when something breaks.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

mod common;

use common::*;
use planck_client::proto::Request;
use planck_client::proto::packet::Header;
use planck_client::{Error, Fate, Key, Status};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Does `broken` with the first request of the first connection, then answers all with 9.
async fn broken_once<F>(broken: impl Fn(Peer, Vec<u8>) -> F + Clone + Send + 'static) -> Fake
where
    F: Future<Output = ()> + Send + 'static,
{
    Fake::start(move |n, mut peer| {
        let broken = broken.clone();
        async move {
            peer.auth().await;
            while let Some(packet) = peer.packet().await {
                if n == 0 {
                    return broken(peer, packet).await;
                }
                peer.send(&reply(&packet, |_, reply| reply.key(Key(9)))).await;
            }
        }
    })
    .await
}

/// Cuts the connection in the middle of the reply.
async fn cut(mut peer: Peer, packet: Vec<u8>) {
    let whole = reply(&packet, |_, reply| reply.key(Key(9)));
    peer.send(&whole[..whole.len() / 2]).await;
}

#[tokio::test]
async fn it_connects_when_it_is_needed_and_keeps_the_connection() {
    let server = Fake::answering(|_, _, reply| reply.empty()).await;
    let client = client(server.config());
    assert_eq!(server.accepted(), 0);
    for _ in 0..5 {
        soon(client.ping()).await.unwrap();
    }
    assert_eq!((server.accepted(), client.idle_connections()), (1, 1));
    assert!(format!("{client:?}").contains("ann"));
}

#[tokio::test]
async fn connections_and_who_waits_for_one_are_bounded_in_number() {
    let server = Fake::start(|_, mut peer| async move {
        peer.auth().await;
        peer.be_silent().await;
    })
    .await;
    let mut config = server.config();
    (config.pool.connections, config.pool.waiting) = (2, 1);
    let client = client(config);
    let mut calls = Vec::new();
    // In this order: they run on one thread.
    for _ in 0..3 {
        let client = client.clone();
        calls.push(tokio::spawn(async move { client.ping().await }));
    }
    eventually(|| server.accepted() == 2).await;
    // Two are in use, one call waits.
    let error = soon(async {
        loop {
            let asked = tokio::time::timeout(SHORT, client.ping()).await;
            if let Ok(result) = asked {
                return result.unwrap_err();
            }
        }
    })
    .await;
    assert!(matches!(error, Error::Exhausted { connections: 2, .. }), "{error}");
    assert!(error.to_string().contains("1 calls wait for one already"), "{error}");
    assert_eq!(error.fate(), Fate::NotDone);
    assert_eq!(server.accepted(), 2);
    // A call that is given up lets the next one in.
    calls[0].abort();
    eventually(|| server.accepted() == 3).await;
    calls.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn a_connection_is_waited_for_as_long_as_said() {
    let server = Fake::start(|_, mut peer| async move {
        peer.auth().await;
        peer.be_silent().await;
    })
    .await;
    let mut config = server.config();
    (config.pool.connections, config.pool.wait_timeout) = (1, SHORT);
    let client = client(config);
    let first = tokio::spawn({
        let client = client.clone();
        async move { client.ping().await }
    });
    eventually(|| server.accepted() == 1).await;
    let error = soon(client.ping()).await.unwrap_err();
    assert!(error.to_string().contains("none became free within 60ms"), "{error}");
    first.abort();
}

#[tokio::test]
async fn many_callers_share_few_connections() {
    let server = Fake::answering(|_, request, reply| match *request {
        Request::Read { key, .. } => reply.key(key),
        _ => reply.empty(),
    })
    .await;
    let mut config = server.config();
    config.pool.connections = 3;
    let client = client(config);
    let calls: Vec<_> = (0..100u128)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move {
                let answer = client.request(&Request::Read { store: "s", key: Key(n) }).await;
                assert_eq!(answer.unwrap().key().unwrap(), Key(n));
            })
        })
        .collect();
    for call in calls {
        soon(call).await.unwrap();
    }
    assert!(server.accepted() <= 3 && client.idle_connections() <= 3);
}

#[tokio::test]
async fn a_call_dropped_half_way_never_gives_its_answer_to_another() {
    let server = Fake::start(|_, mut peer| async move {
        peer.auth().await;
        let mut slow = true;
        while let Some(packet) = peer.packet().await {
            if std::mem::take(&mut slow) {
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
            let answer = reply(&packet, |request, reply| match *request {
                Request::Read { key, .. } => reply.key(key),
                _ => reply.empty(),
            });
            peer.send(&answer).await;
        }
    })
    .await;
    let mut config = server.config();
    config.pool.connections = 2;
    let client = client(config);
    let mut answered = 0;
    for n in 0..60u64 {
        let key = Key(u128::from(n));
        let request = Request::Read { store: "s", key };
        // One in seven is not given up.
        let patience = if n % 7 == 6 { LONG } else { Duration::from_millis(n % 7 * 6) };
        if let Ok(answer) = tokio::time::timeout(patience, client.request(&request)).await {
            assert_eq!(answer.unwrap().key().unwrap(), key);
            answered += 1;
        }
    }
    assert!(answered > 0 && answered < 60, "{answered} of 60 were answered");
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_time() {
    let (gone, leaving) = tokio::sync::mpsc::unbounded_channel();
    let mut leaving = leaving;
    let server = Fake::start(move |_, mut peer| {
        let gone = gone.clone();
        async move {
            peer.auth().await;
            while let Some(packet) = peer.packet().await {
                peer.send(&reply(&packet, |_, reply| reply.empty())).await;
            }
            gone.send(()).ok();
        }
    })
    .await;
    let mut config = server.config();
    config.pool.idle_timeout = SHORT;
    let client = client(config);
    soon(client.ping()).await.unwrap();
    soon(leaving.recv()).await.unwrap();
    assert_eq!(client.idle_connections(), 0);
    soon(client.ping()).await.unwrap();
    assert_eq!(server.accepted(), 2);
    drop(client);
    soon(leaving.recv()).await.unwrap();
}

#[tokio::test]
async fn a_connection_that_rested_is_asked_whether_it_lives() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    // The first connection answers one request and then nothing.
    let server = Fake::start(move |n, mut peer| {
        let log = log.clone();
        async move {
            peer.auth().await;
            while let Some(packet) = peer.packet().await {
                let answer = reply(&packet, |request, reply| {
                    log.lock().unwrap().push((n, request.opcode().name()));
                    reply.empty();
                });
                if n > 0 || log.lock().unwrap().len() == 1 {
                    peer.send(&answer).await;
                }
            }
        }
    })
    .await;
    let mut config = server.config();
    (config.pool.check_after, config.pool.check_timeout) = (Duration::ZERO, SHORT * 5);
    let client = client(config);
    for _ in 0..3 {
        soon(client.request(&Request::Stats)).await.unwrap();
    }
    let expected = [(0, "Stats"), (0, "Ping"), (1, "Stats"), (1, "Ping"), (1, "Stats")];
    assert_eq!(*asked.lock().unwrap(), expected);
}

#[tokio::test]
async fn a_connection_the_server_closed_is_not_used_again() {
    let server = Fake::start(|_, mut peer| async move {
        peer.auth().await;
        let packet = peer.packet().await.unwrap();
        peer.send(&reply(&packet, |_, reply| reply.key(Key(9)))).await;
    })
    .await;
    let client = client(server.config());
    for n in 1..=3 {
        // A write without a key: it would not be tried again.
        insert(&client, None).await.unwrap();
        assert_eq!(server.accepted(), n);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_connection_the_server_is_about_to_close_is_not_used_either() {
    let server = Fake::start(|_, mut peer| async move {
        let packet = peer.packet().await.unwrap();
        peer.send(&reply(&packet, |_, reply| reply.document(&greeting(1 << 20, 2000)))).await;
        while let Some(packet) = peer.packet().await {
            peer.send(&reply(&packet, |_, reply| reply.empty())).await;
        }
    })
    .await;
    let client = client(server.config());
    soon(client.ping()).await.unwrap();
    soon(client.ping()).await.unwrap();
    assert_eq!(server.accepted(), 1);
    tokio::time::sleep(Duration::from_millis(1010)).await;
    soon(client.ping()).await.unwrap();
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn a_session_the_server_ends_is_not_kept_and_a_refusal_is_no_reason_to_close() {
    for (status, connections) in [
        (Status::NotAuthenticated, 3),
        (Status::BadPacket, 3),
        (Status::MessageTooLarge, 3),
        (Status::Internal, 3),
        (Status::KeyExists, 1),
        (Status::Forbidden, 1),
    ] {
        let server = Fake::answering(move |_, _, reply| reply.error(status, "no")).await;
        let client = client(server.config());
        for _ in 0..3 {
            assert_eq!(insert(&client, None).await.unwrap_err().status(), Some(status));
        }
        assert_eq!(server.accepted(), connections, "{status}");
    }
}

#[tokio::test]
async fn a_read_whose_answer_was_cut_is_made_again() {
    let server = broken_once(cut).await;
    let client = client(server.config());
    soon(client.request(&Request::Read { store: "s", key: Key(9) })).await.unwrap();
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn a_write_whose_answer_was_cut_is_left_to_the_caller() {
    for key in [None, Some(Key(9))] {
        let server = broken_once(cut).await;
        let client = client(server.config());
        let error = insert(&client, key).await.unwrap_err();
        assert!(matches!(error, Error::Lost { fate: Fate::Unknown, .. }), "{error}");
        assert_eq!(server.accepted(), 1);
        assert_eq!(insert(&client, key).await.unwrap(), Key(9), "it goes on");
    }
}

#[tokio::test]
async fn a_repeatable_write_is_made_again_if_the_caller_said_so() {
    let server = broken_once(cut).await;
    let said = client(server.config()).repeating();
    assert_eq!(insert(&said, Some(Key(9))).await.unwrap(), Key(9));
    assert_eq!(server.accepted(), 2);
    // Without a key two documents could be made of one.
    let server = broken_once(cut).await;
    let said = client(server.config()).repeating();
    assert_eq!(insert(&said, None).await.unwrap_err().fate(), Fate::Unknown);
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn a_second_insert_that_finds_the_first_says_so() {
    let stored = Arc::new(Mutex::new(false));
    let server = Fake::start(move |n, mut peer| {
        let stored = stored.clone();
        async move {
            peer.auth().await;
            while let Some(packet) = peer.packet().await {
                let there = std::mem::replace(&mut *stored.lock().unwrap(), true);
                let answer = reply(&packet, |_, reply| match there {
                    true => reply.error(Status::KeyExists, "there is one"),
                    false => reply.key(Key(9)),
                });
                if n == 0 {
                    return; // It was carried out; the answer is lost.
                }
                peer.send(&answer).await;
            }
        }
    })
    .await;
    let client = client(server.config()).repeating();
    let error = insert(&client, Some(Key(9))).await.unwrap_err();
    assert_eq!(error.status(), Some(Status::KeyExists));
}

#[tokio::test]
async fn a_server_that_is_busy_is_asked_again_as_often_as_said() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let server = Fake::answering(move |_, _, reply| match count.fetch_add(1, Ordering::SeqCst) {
        2 => reply.key(Key(9)),
        _ => reply.error(Status::Busy, "later"),
    })
    .await;
    let mut config = server.config();
    config.retry.attempts = 3;
    let client = client(config);
    assert_eq!(insert(&client, None).await.unwrap(), Key(9), "a third attempt is made");
    let error = insert(&client, None).await.unwrap_err();
    assert_eq!(error.status(), Some(Status::Busy));
    assert_eq!(asked.load(Ordering::SeqCst), 6, "and no fourth");
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn a_server_that_refuses_connections_is_waited_for() {
    let address = Fake::start(|_, peer| peer.be_silent()).await.address;
    let mut config = config(address);
    (config.retry.attempts, config.retry.within) = (1000, LONG);
    let waiting = client(config.clone());
    let call = tokio::spawn(async move { insert(&waiting, None).await });
    tokio::time::sleep(SHORT).await;
    assert!(!call.is_finished());
    let server = soon(async {
        loop {
            // The port may take a moment to be free again.
            if std::net::TcpListener::bind(address).is_ok() {
                return Fake::at(address, |_, mut peer| async move {
                    peer.auth().await;
                    while let Some(packet) = peer.packet().await {
                        peer.send(&reply(&packet, |_, reply| reply.key(Key(9)))).await;
                    }
                })
                .await;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(soon(call).await.unwrap().unwrap(), Key(9));
    drop(server);

    config.retry.attempts = 2;
    let error = insert(&client(config), None).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert!(error.is_retryable());
}

#[tokio::test]
async fn credentials_that_are_refused_are_not_tried_again() {
    let server = Fake::start(|_, mut peer| async move {
        let packet = peer.packet().await.unwrap();
        peer.send(&reply(&packet, |_, reply| reply.error(Status::BadCredentials, "no"))).await;
    })
    .await;
    let client = client(server.config());
    let error = soon(client.ping()).await.unwrap_err();
    assert_eq!(error.status(), Some(Status::BadCredentials));
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn patience_is_sent_with_each_call_and_a_server_that_forgets_it_is_not_waited_for() {
    let server = Fake::start(|_, mut peer| async move {
        peer.auth().await;
        while let Some(packet) = peer.packet().await {
            let patience = Header::parse(&packet).unwrap().patience;
            peer.send(&reply(&packet, |_, reply| reply.count(patience.into()))).await;
        }
    })
    .await;
    let patient = client(server.config());
    for (client, sent) in [(patient.within(SHORT), 60), (patient, 0)] {
        let answer = soon(client.request(&Request::Stats)).await.unwrap();
        assert_eq!(answer.count().unwrap(), sent);
        assert_eq!(soon(client.query("s.count()", ()).count()).await.unwrap(), sent);
    }
    assert_eq!(server.accepted(), 1);

    let silent = Fake::start(|_, mut peer| async move {
        peer.auth().await;
        peer.be_silent().await;
    })
    .await;
    let mut config = silent.config();
    config.retry.attempts = 1;
    let hasty = client(config).within(SHORT);
    let error = soon(hasty.request(&Request::Stats)).await.unwrap_err();
    assert!(error.to_string().starts_with("a reply took longer than 5.06s"), "{error}");
}

#[tokio::test]
async fn what_is_of_one_session_is_not_asked_through_a_pool() {
    let server = Fake::answering(|_, _, reply| reply.empty()).await;
    let client = client(server.config());
    for request in [
        Request::Auth { user: "ann", key: "key" },
        Request::Fetch { cursor: 1 },
        Request::CloseCursor { cursor: 1 },
        Request::Query { text: "s.count()", parameters: None },
        Request::Stream { rows: 0, bytes: 0, text: "s", parameters: None },
    ] {
        let error = soon(client.request(&request)).await.unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error}");
    }
    assert_eq!(server.accepted(), 0);
}

#[tokio::test]
async fn a_client_that_was_closed_answers_no_more() {
    let server = Fake::answering(|_, _, reply| reply.empty()).await;
    let client = client(server.config());
    let clone = client.clone();
    soon(client.ping()).await.unwrap();
    client.close();
    assert_eq!(client.idle_connections(), 0);
    let error = soon(clone.ping()).await.unwrap_err();
    assert!(error.to_string().contains("was closed"), "{error}");
}
