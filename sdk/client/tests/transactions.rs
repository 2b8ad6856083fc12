//! Transactions: one session, all or nothing, begun again only where that is safe.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

mod common;

use common::*;
use planck_client::proto::Request;
use planck_client::proto::doc::DocBuf;
use planck_client::{Error, Fate, Key, Result, Status, Transaction};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a server with transactions was asked, by connection.
type Asked = Arc<Mutex<Vec<(usize, String)>>>;

/// A request as the tests name it.
fn name(request: &Request<'_>) -> String {
    match request.within() {
        (Some(number), inner) => format!("{number}: {}", inner.opcode().name()),
        (None, Request::Commit { transaction }) => format!("{transaction}: Commit"),
        (None, Request::Abort { transaction }) => format!("{transaction}: Abort"),
        (None, Request::Savepoint { transaction }) => format!("{transaction}: Savepoint"),
        (None, Request::Rollback { transaction, savepoint }) => {
            format!("{transaction}: Rollback {savepoint}")
        }
        (None, other) => other.opcode().name().to_owned(),
    }
}

/// A server whose first `refused` commits are disturbed.
async fn server(refused: usize, asked: &Asked) -> Fake {
    let (asked, left) = (Arc::clone(asked), Arc::new(Mutex::new((refused, 0))));
    Fake::answering(move |n, request, reply| {
        asked.lock().unwrap().push((n, name(request)));
        let mut state = left.lock().unwrap();
        match request {
            Request::Begin { .. } => {
                state.1 += 1;
                let mut doc = DocBuf::new();
                doc.push("transaction", i64::from(state.1)).push("lsn", 7i64).push("time_ms", 9i64);
                reply.document(&doc.finish().unwrap());
            }
            Request::Commit { .. } if state.0 > 0 => {
                state.0 -= 1;
                reply.error(Status::TransactionConflict, "disturbed");
            }
            Request::Commit { .. } => {
                let mut doc = DocBuf::new();
                doc.push("lsn", 8i64);
                reply.document(&doc.finish().unwrap());
            }
            Request::Savepoint { .. } => reply.count(3),
            Request::Within { .. } => match request.within().1 {
                Request::Read { .. } => reply.error(Status::NotFound, "none"),
                Request::Delete { .. } => reply.error(Status::TransactionConflict, "too old"),
                Request::Stream { .. } => {
                    let mut rows = reply.rows(false);
                    rows.push(Key(1), &[5, 0, 0, 0, 0]);
                    rows.finish_with_cursor(4);
                }
                Request::Fetch { .. } => reply.rows(false).finish(None),
                _ => reply.key(Key(1)),
            },
            _ => reply.empty(),
        }
    })
    .await
}

fn said(asked: &Asked) -> Vec<String> {
    asked.lock().unwrap().iter().map(|(_, name)| name.clone()).collect()
}

async fn work(tx: &Transaction) -> Result<u64> {
    let store = tx.store::<Vec<u8>>("s");
    let _none = tx.store::<u64>("s").get(Key(1)).await?;
    let place = tx.savepoint().await?;
    tx.rollback(place).await?;
    tx.request(&Request::Insert { store: store.name(), key: None, document: &[5, 0, 0, 0, 0] })
        .await?;
    Ok(9)
}

#[tokio::test]
async fn it_is_begun_again_when_it_was_disturbed_and_goes_by_one_session() {
    let asked = Asked::default();
    let server = server(2, &asked).await;
    let client = client(server.config());
    assert_eq!(soon(client.transaction(work)).await.unwrap(), 9);
    let once = |n: u32| {
        let of = ["Read", "Savepoint", "Rollback 3", "Insert", "Commit"];
        let of = of.map(|name| format!("{n}: {name}"));
        [vec!["Begin".to_owned()], of.to_vec()].concat()
    };
    assert_eq!(said(&asked), [once(1), once(2), once(3)].concat());
    assert_eq!((server.accepted(), client.idle_connections()), (1, 1));
}

#[tokio::test]
async fn it_is_given_up_after_as_many_attempts_as_are_allowed() {
    let asked = Asked::default();
    let server = server(usize::MAX, &asked).await;
    let mut config = server.config();
    config.retry.attempts = 3;
    let error = soon(client(config).transaction(work)).await.unwrap_err();
    assert_eq!(error.status(), Some(Status::TransactionConflict));
    assert_eq!(error.fate(), Fate::NotDone);
    assert_eq!(said(&asked).iter().filter(|name| *name == "Begin").count(), 3);
}

#[tokio::test]
async fn what_fails_is_aborted_and_what_was_disturbed_on_the_way_is_begun_again() {
    let asked = Asked::default();
    let server = server(0, &asked).await;
    let mut config = server.config();
    config.retry.attempts = 2;
    let client = client(config);
    let stops = async |_: &Transaction| -> Result<()> { Err(Error::Invalid("no".to_owned())) };
    let error = soon(client.transaction(stops)).await.unwrap_err();
    assert_eq!(error.to_string(), "no");
    assert_eq!(said(&asked), ["Begin", "1: Abort"]);
    asked.lock().unwrap().clear();
    let disturbed = async |tx: &Transaction| tx.store::<u64>("s").delete(Key(1)).await;
    let error = soon(client.transaction(disturbed)).await.unwrap_err();
    assert_eq!(error.status(), Some(Status::TransactionConflict));
    let once = |n| ["Begin".to_owned(), format!("{n}: Delete"), format!("{n}: Abort")];
    assert_eq!(said(&asked), [once(2), once(3)].concat());
    assert_eq!(client.idle_connections(), 1);
}

#[tokio::test]
async fn what_is_dropped_half_way_gives_its_session_up() {
    let asked = Asked::default();
    let server = server(0, &asked).await;
    let client = client(server.config());
    let hangs = async |tx: &Transaction| -> Result<()> {
        tx.store::<u64>("s").get(Key(1)).await?;
        std::future::pending().await
    };
    let dropped = tokio::time::timeout(SHORT, client.transaction(hangs)).await;
    assert!(dropped.is_err());
    assert_eq!(client.idle_connections(), 0, "nobody is given a session with a transaction");
    soon(client.ping()).await.unwrap();
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn rows_are_fetched_within_it_and_others_wait_for_them() {
    let asked = Asked::default();
    let server = server(0, &asked).await;
    let mut config = server.config();
    config.pool.wait_timeout = Duration::from_millis(100);
    let client = client(config);
    soon(client.snapshot(async |tx: &Transaction| -> Result<()> {
        let mut rows = tx.query("s", ()).rows::<serde::de::IgnoredAny>().await?;
        let waits = tx.store::<u64>("s").get(Key(1)).await.unwrap_err();
        assert!(waits.to_string().contains("still being read"), "{waits}");
        while rows.next().await?.is_some() {}
        tx.store::<u64>("s").get(Key(1)).await.map(drop)
    }))
    .await
    .unwrap();
    assert_eq!(said(&asked), ["Begin", "1: Stream", "1: Fetch", "1: Read", "1: Commit"]);
    // Nor is one begun within another.
    let nested = async |tx: &Transaction| tx.request(&Request::Commit { transaction: 1 }).await;
    let error = soon(client.transaction(nested)).await.unwrap_err();
    assert!(error.to_string().contains("of one session"), "{error}");
}

#[tokio::test]
async fn of_a_commit_that_was_not_answered_nobody_knows() {
    let asked = Asked::default();
    let seen = Arc::clone(&asked);
    let server = Fake::start(move |n, mut peer| {
        let seen = Arc::clone(&seen);
        async move {
            peer.auth().await;
            while let Some(packet) = peer.packet().await {
                let mut over = false;
                let reply = reply(&packet, |request, reply| {
                    seen.lock().unwrap().push((n, name(request)));
                    over = matches!(request, Request::Commit { .. });
                    let mut doc = DocBuf::new();
                    doc.push("transaction", 1i64).push("lsn", 7i64);
                    reply.document(&doc.finish().unwrap());
                });
                if over {
                    return;
                }
                peer.send(&reply).await;
            }
        }
    })
    .await;
    let nothing = async |_: &Transaction| -> Result<()> { Ok(()) };
    let error = soon(client(server.config()).transaction(nothing)).await.unwrap_err();
    assert!(matches!(error, Error::Lost { fate: Fate::Unknown, .. }), "{error:?}");
    assert_eq!(said(&asked), ["Begin", "1: Commit"], "it is not begun again");
}
