//! A client over QUIC: which connections there are, and what is asked again.

use super::common::{SHORT, client, eventually, insert, reply, soon};
use super::fake::*;
use super::{back, read};
use planck_client::{Client, Error, Fate, Key, Result, Status};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Answers nothing before the gate is opened, but as many as have come at once; counts
/// what came, and what was stopped.
struct Gated {
    server: Fake,
    gate: Arc<Semaphore>,
    came: Arc<AtomicUsize>,
    stopped: Arc<AtomicUsize>,
}

async fn gated() -> Gated {
    let (gate, came) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let stopped = Arc::new(AtomicUsize::new(0));
    let (opens, count, stops) = (gate.clone(), came.clone(), stopped.clone());
    let server = Fake::start(move |_, peer| {
        let (gate, count, stops) = (opens.clone(), count.clone(), stops.clone());
        async move {
            auth(&peer).await;
            while let Some(asked) = asked(&peer).await {
                let (gate, count, stops) = (gate.clone(), count.clone(), stops.clone());
                tokio::spawn(async move {
                    count.fetch_add(1, Ordering::SeqCst);
                    let stopped = asked.send.stopped();
                    tokio::select! {
                        _ = gate.acquire() => {
                            let bytes = back(&asked.packet);
                            asked.answer(&bytes).await;
                        }
                        _ = stopped => {
                            stops.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                });
            }
        }
    })
    .await;
    Gated { server, gate, came, stopped }
}

impl Gated {
    fn came(&self) -> usize {
        self.came.load(Ordering::SeqCst)
    }
}

fn ask(client: &Client, n: u128) -> tokio::task::JoinHandle<Result<Key>> {
    let client = client.clone();
    tokio::spawn(async move { client.request(&read(n)).await?.key() })
}

#[tokio::test]
async fn eight_calls_share_a_connection_and_the_ninth_has_another() {
    let gated = gated().await;
    let mut config = gated.server.config();
    config.pool.connections = 9;
    let client = client(config);
    let mut calls: Vec<_> = (0..8).map(|n| ask(&client, n)).collect();
    eventually(|| gated.came() == 8).await;
    assert_eq!(gated.server.accepted(), 1, "they came at once, and waited for one handshake");
    calls.push(ask(&client, 8));
    eventually(|| gated.came() == 9).await;
    assert_eq!(gated.server.accepted(), 2);
    // As over TCP there are no more calls than the pool has places for.
    let tenth = ask(&client, 9);
    tokio::time::sleep(SHORT).await;
    assert_eq!(gated.came(), 9);
    gated.gate.close();
    for (n, call) in (0..).zip(calls.into_iter().chain([tenth])) {
        assert_eq!(soon(call).await.unwrap().unwrap(), Key(n));
    }
    assert_eq!((gated.server.accepted(), client.idle_connections()), (2, 9));
}

#[tokio::test]
async fn a_call_that_is_given_up_is_cancelled_and_the_connection_stays() {
    let gated = gated().await;
    let client = client(gated.server.config());
    let (first, second) = (ask(&client, 1), ask(&client, 2));
    eventually(|| gated.came() == 2).await;
    first.abort();
    eventually(|| gated.stopped.load(Ordering::SeqCst) == 1).await;
    gated.gate.close();
    assert_eq!(soon(second).await.unwrap().unwrap(), Key(2));
    assert_eq!(soon(ask(&client, 3)).await.unwrap().unwrap(), Key(3));
    assert_eq!(gated.server.accepted(), 1);
}

#[tokio::test]
async fn a_query_that_is_given_up_may_leave_a_cursor_and_its_connection_goes_when_it_can() {
    let gated = gated().await;
    let client = client(gated.server.config());
    let other = ask(&client, 1);
    eventually(|| gated.came() == 1).await;
    let asking = tokio::spawn({
        let client = client.clone();
        async move { client.query("s", ()).count().await }
    });
    eventually(|| gated.came() == 2).await;
    asking.abort();
    eventually(|| gated.stopped.load(Ordering::SeqCst) == 1).await;
    // What is asked now is asked elsewhere; what was in flight is answered where it is.
    let next = ask(&client, 3);
    eventually(|| gated.came() == 3).await;
    assert_eq!(gated.server.accepted(), 2);
    gated.gate.close();
    assert_eq!(soon(other).await.unwrap().unwrap(), Key(1));
    assert_eq!(soon(next).await.unwrap().unwrap(), Key(3));
}

/// Closes the first connection in the middle of its first answer, then answers with 9.
async fn cut_once() -> Fake {
    Fake::start(|n, peer| async move {
        auth(&peer).await;
        while let Some(mut asked) = asked(&peer).await {
            let bytes = reply(&asked.packet, |_, reply| reply.key(Key(9)));
            if n == 0 {
                asked.send.write_all(&bytes[..bytes.len() / 2]).await.ok();
                return peer.close(NO_REASON, b"");
            }
            asked.answer(&bytes).await;
        }
    })
    .await
}

#[tokio::test]
async fn what_is_asked_again_is_what_is_asked_again_over_tcp() {
    let server = cut_once().await;
    soon(client(server.config()).request(&read(9))).await.unwrap();
    assert_eq!(server.accepted(), 2, "a read");
    for key in [None, Some(Key(9))] {
        let server = cut_once().await;
        let client = client(server.config());
        let error = insert(&client, key).await.unwrap_err();
        assert!(matches!(error, Error::Lost { fate: Fate::Unknown, .. }), "{error}");
        assert_eq!(server.accepted(), 1);
        assert_eq!(insert(&client, key).await.unwrap(), Key(9), "it goes on");
    }
    let server = cut_once().await;
    let said = client(server.config()).repeating();
    assert_eq!(insert(&said, Some(Key(9))).await.unwrap(), Key(9));
    assert_eq!(server.accepted(), 2, "a write, if the caller said so");
    let server = cut_once().await;
    let said = client(server.config()).repeating();
    assert_eq!(insert(&said, None).await.unwrap_err().fate(), Fate::Unknown);
}

#[tokio::test]
async fn a_connection_on_which_a_call_failed_takes_no_new_ones() {
    // The first connection answers its second request, and no other.
    let server = Fake::start(|n, peer| async move {
        auth(&peer).await;
        let mut kept = Vec::new();
        while let Some(asked) = asked(&peer).await {
            if n == 0 && kept.is_empty() {
                kept.push(asked);
                continue;
            }
            let bytes = back(&asked.packet);
            asked.answer(&bytes).await;
        }
    })
    .await;
    let mut config = server.config();
    config.connect.call_timeout = SHORT * 2;
    config.retry.attempts = 1;
    let client = client(config);
    let error = soon(client.request(&read(1))).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { fate: Fate::Unknown, .. }), "{error}");
    for _ in 0..3 {
        soon(client.request(&read(2))).await.unwrap();
    }
    assert_eq!((server.accepted(), client.idle_connections()), (2, 1));
}

#[tokio::test]
async fn a_session_the_server_ends_is_not_kept_and_a_refusal_is_no_reason_to_leave() {
    for (status, connections) in
        [(Status::NotAuthenticated, 3), (Status::Internal, 3), (Status::KeyExists, 1)]
    {
        let server = Fake::answering(move |_, _, reply| reply.error(status, "no")).await;
        let client = client(server.config());
        for _ in 0..3 {
            assert_eq!(insert(&client, None).await.unwrap_err().status(), Some(status));
        }
        assert_eq!(server.accepted(), connections, "{status}");
    }
}

#[tokio::test]
async fn a_connection_the_server_closed_is_not_used_again() {
    let server = Fake::start(|_, peer| async move {
        auth(&peer).await;
        let mut asked = asked(&peer).await.unwrap();
        let bytes = reply(&asked.packet, |_, reply| reply.key(Key(9)));
        asked.send.write_all(&bytes).await.unwrap();
        asked.send.finish().unwrap();
        asked.send.stopped().await.ok();
        peer.close(NO_REASON, b"the server stops");
    })
    .await;
    let mut config = server.config();
    // What is asked on it is known not to be done, and would be tried again.
    config.retry.attempts = 1;
    let client = client(config);
    for n in 1..=3 {
        insert(&client, None).await.unwrap();
        assert_eq!(server.accepted(), n);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn connections_that_nobody_uses_are_closed() {
    let (gone, mut leaving) = tokio::sync::mpsc::unbounded_channel();
    let server = Fake::start(move |_, peer| {
        let gone = gone.clone();
        async move {
            auth(&peer).await;
            while let Some(asked) = asked(&peer).await {
                let bytes = back(&asked.packet);
                asked.answer(&bytes).await;
            }
            gone.send(()).ok();
        }
    })
    .await;
    let mut config = server.config();
    config.pool.idle_timeout = SHORT;
    let client = client(config);
    soon(client.request(&read(1))).await.unwrap();
    soon(leaving.recv()).await.unwrap();
    assert_eq!(client.idle_connections(), 0);
    soon(client.request(&read(1))).await.unwrap();
    assert_eq!(server.accepted(), 2);
    client.close();
    soon(leaving.recv()).await.unwrap();
}
