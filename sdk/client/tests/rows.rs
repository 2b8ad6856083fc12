//! Rows that nobody wants any more, and pages that are refused: what becomes of the
//! cursor on the server, and of the place in the pool.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

mod common;

use common::*;
use planck_client::proto::doc::DocBuf;
use planck_client::proto::{ReplyWriter, Request};
use planck_client::{Client, ConnectOptions, Connection, Key, Rows, Security, Status};
use serde::Deserialize;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Debug, Deserialize)]
struct Number {
    n: u64,
}

/// What a server with cursors was asked.
#[derive(Clone, Default)]
struct Seen {
    made: Arc<AtomicU64>,
    fetched: Arc<AtomicUsize>,
    closed: Arc<Mutex<Vec<u64>>>,
}

impl Seen {
    fn closed(&self) -> Vec<u64> {
        self.closed.lock().unwrap().clone()
    }

    fn fetched(&self) -> usize {
        self.fetched.load(Ordering::SeqCst)
    }
}

/// A page of the numbers 0 and 1, and a cursor.
fn page(seen: &Seen, reply: ReplyWriter<'_>) {
    let mut rows = reply.rows(false);
    for n in 0..2 {
        let mut row = DocBuf::new();
        row.push("n", n);
        rows.push(Key::MIN, &row.finish().unwrap());
    }
    rows.finish_with_cursor(seen.made.fetch_add(1, Ordering::SeqCst) + 1);
}

/// What a server does with a Fetch, or a Close.
#[derive(Clone, Copy, PartialEq)]
enum Does {
    Refuse(Status),
    Nothing,
}

/// A server whose first page is good, and whose Fetch goes as `fetch` says, and Close as
/// `close` says, if that is said.
async fn server(seen: &Seen, fetch: Does, close: Option<Does>) -> Fake {
    let seen = seen.clone();
    Fake::start(move |_, mut peer| {
        let seen = seen.clone();
        async move {
            peer.auth().await;
            while let Some(packet) = peer.packet().await {
                let mut does = None;
                let mut answer = reply(&packet, |request, reply| match *request {
                    Request::Stream { .. } => page(&seen, reply),
                    Request::Fetch { .. } => {
                        seen.fetched.fetch_add(1, Ordering::SeqCst);
                        does = Some(fetch);
                        reply.empty();
                    }
                    Request::CloseCursor { cursor } => {
                        seen.closed.lock().unwrap().push(cursor);
                        does = close;
                        reply.empty();
                    }
                    _ => reply.empty(),
                });
                match does {
                    Some(Does::Nothing) => continue,
                    Some(Does::Refuse(status)) => {
                        answer = reply(&packet, |_, reply| reply.error(status, "not now"));
                    }
                    None => {}
                }
                peer.send(&answer).await;
            }
        }
    })
    .await
}

/// A client of one connection.
fn client_of(server: &Fake) -> Client {
    let mut config = server.config();
    config.pool.connections = 1;
    // Nobody waits for a place until a call has had all of its time.
    config.pool.wait_timeout = Duration::from_secs(5);
    client(config)
}

async fn rows(client: &Client) -> Rows<Number> {
    soon(client.query("s", ()).page(2, 0).rows()).await.unwrap()
}

#[tokio::test]
async fn a_fetch_that_is_refused_before_it_began_leaves_no_cursor() {
    for status in [Status::Busy, Status::Timeout, Status::Cancelled, Status::QueryMemory] {
        let seen = Seen::default();
        let server = server(&seen, Does::Refuse(status), None).await;
        let client = client_of(&server);
        let mut rows = rows(&client).await;
        for n in 0..2 {
            assert_eq!(soon(rows.next()).await.unwrap().unwrap().n, n);
        }
        let error = soon(rows.next()).await.unwrap_err();
        assert_eq!(error.status(), Some(status));
        assert!(soon(rows.next()).await.unwrap().is_none());
        eventually(|| client.idle_connections() == 1).await;
        assert_eq!((seen.closed(), server.accepted()), (vec![1], 1), "{status}");
    }
}

#[tokio::test]
async fn a_cursor_that_is_gone_already_is_not_closed_again() {
    let seen = Seen::default();
    let server = server(&seen, Does::Refuse(Status::UnknownCursor), None).await;
    let client = client_of(&server);
    let mut rows = rows(&client).await;
    while let Ok(Some(_)) = soon(rows.next()).await {}
    eventually(|| client.idle_connections() == 1).await;
    soon(client.ping()).await.unwrap();
    assert_eq!((seen.closed(), server.accepted()), (vec![], 1));
}

#[tokio::test]
async fn a_cursor_that_cannot_be_closed_goes_with_its_connection() {
    for (does, connections) in [
        (Does::Refuse(Status::Busy), 2),
        (Does::Nothing, 2),
        (Does::Refuse(Status::UnknownCursor), 1),
    ] {
        let seen = Seen::default();
        let server = server(&seen, Does::Refuse(Status::Busy), Some(does)).await;
        let client = client_of(&server);
        drop(rows(&client).await);
        soon(client.ping()).await.unwrap();
        assert_eq!((seen.closed(), server.accepted()), (vec![1], connections));
    }
}

#[tokio::test]
async fn rows_that_were_dropped_give_their_place_back_though_the_next_page_does_not_come() {
    let seen = Seen::default();
    let server = server(&seen, Does::Nothing, None).await;
    let client = client_of(&server);
    let mut dropped = rows(&client).await;
    soon(dropped.next()).await.unwrap();
    eventually(|| seen.fetched() == 1).await;
    drop(dropped);
    soon(client.ping()).await.unwrap();
    assert_eq!(server.accepted(), 2, "the first one is in the middle of a call");
    // Who waits for that waits no longer either.
    let mut closed = rows(&client).await;
    soon(closed.next()).await.unwrap();
    eventually(|| seen.fetched() == 2).await;
    soon(closed.close()).await;
    soon(client.ping()).await.unwrap();
    assert_eq!(server.accepted(), 3);
}

#[tokio::test]
async fn pages_of_which_one_was_refused_can_still_be_closed() {
    for (status, closed) in [(Status::Busy, vec![1]), (Status::UnknownCursor, vec![])] {
        let seen = Seen::default();
        let server = server(&seen, Does::Refuse(status), None).await;
        let address = server.address.to_string();
        let options = ConnectOptions::default();
        let connecting = Connection::connect(&address, Security::Plaintext, "ann", "key", options);
        let mut connection = soon(connecting).await.unwrap();
        let mut pages = soon(connection.stream("s", None, (2, 0))).await.unwrap();
        for there in [true, true, false] {
            assert_eq!(soon(pages.next()).await.unwrap().is_some(), there);
        }
        soon(pages.close()).await.unwrap();
        assert_eq!(seen.closed(), closed, "{status}");
    }
}
