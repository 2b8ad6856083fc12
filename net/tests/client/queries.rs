//! Queries: their rows by pages, one ahead at most, and what is left of them.

use super::*;
use planck_client::{Connection, Found, Rows};
use proto::{Reply, Request};
use std::collections::BTreeMap;

#[derive(Debug, PartialEq, Deserialize)]
struct Number {
    n: u64,
}

async fn numbers(client: &Client, query: &str, page: u32) -> Rows<Number> {
    soon(client.query(query, ()).page(page, 0).rows()).await.unwrap()
}

fn values(rows: Vec<Found<Number>>) -> Vec<u64> {
    rows.into_iter().map(|row| row.n).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_rows_come_whatever_the_pages() {
    for house in [tls().await, quic().await] {
        let client = house.client();
        for (n, page) in [(0, 3), (1, 3), (3, 3), (4, 3), (100, 7), (100, 1)] {
            let query = format!("numbers({n})");
            let query = client.query(&query, ()).page(page, 0);
            let all = soon(query.all::<Number>(100)).await.unwrap();
            assert_eq!(values(all), (0..n).collect::<Vec<_>>());
        }
        assert_eq!(client.idle_connections(), 1, "they took turns on one connection");
        assert!(house.memory.cursors.lock().unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_page_is_asked_for_ahead_and_only_behind_half_of_the_one_before() {
    let house = plain().await;
    let client = house.client();
    let mut rows = numbers(&client, "numbers(100)", 10).await;
    let pages = || house.memory.pages.load(Ordering::SeqCst);
    for expected in 0..4 {
        assert_eq!(soon(rows.next()).await.unwrap().unwrap().n, expected);
    }
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(pages(), 0, "four of ten were taken");
    soon(rows.next()).await.unwrap();
    eventually(|| pages() == 1).await;
    for _ in 5..14 {
        soon(rows.next()).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(pages(), 1, "of the second page four were taken");
    soon(rows.next()).await.unwrap();
    eventually(|| pages() == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_nobody_wants_any_more_leave_no_cursor_and_no_connection_behind() {
    for house in [plain().await, quic().await] {
        let mut config = house.config();
        config.pool.connections = 1;
        let client = Client::new(config).unwrap();
        let cursors = || house.memory.cursors.lock().unwrap().len();
        // Before any row, with the next page not asked for, and asked for.
        for taken in [0, 1, 8] {
            let mut rows = numbers(&client, "numbers(100)", 10).await;
            for _ in 0..taken {
                soon(rows.next()).await.unwrap();
            }
            assert_eq!(client.idle_connections(), 0, "it is kept for the rows");
            drop(rows);
            eventually(|| cursors() == 0 && client.idle_connections() == 1).await;
        }
        let mut rows = numbers(&client, "numbers(100)", 10).await;
        soon(rows.next()).await.unwrap();
        soon(rows.close()).await;
        assert_eq!((cursors(), client.idle_connections()), (0, 1));
        // What is read to its end gives the connection back at once.
        let mut rows = numbers(&client, "numbers(3)", 10).await;
        assert_eq!(client.idle_connections(), 1);
        assert_eq!(soon(rows.next()).await.unwrap().unwrap().n, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn open_rows_count_among_the_connections_in_use() {
    for house in [plain().await, quic().await] {
        let mut config = house.config();
        (config.pool.connections, config.pool.waiting) = (1, 0);
        let client = Client::new(config).unwrap();
        let rows = numbers(&client, "numbers(100)", 10).await;
        let error = soon(client.ping()).await.unwrap_err();
        assert!(matches!(error, Error::Exhausted { connections: 1, .. }), "{error}");
        assert!(error.to_string().contains("read streams of rows to their end"), "{error}");
        soon(rows.close()).await;
        soon(client.ping()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_for_the_next_row_that_is_given_up_loses_none() {
    for house in [plain().await, quic().await] {
        let client = house.client();
        let mut rows = numbers(&client, "numbers(500)", 3).await;
        let mut seen = Vec::new();
        let mut given_up = 0;
        loop {
            match tokio::time::timeout(Duration::ZERO, rows.next()).await {
                Ok(Ok(Some(row))) => seen.push(row.n),
                Ok(Ok(None)) => break,
                Ok(Err(error)) => panic!("{error}"),
                Err(_) => given_up += 1,
            }
            tokio::task::yield_now().await;
        }
        assert_eq!(seen, (0..500).collect::<Vec<_>>());
        assert!(given_up > 0, "no wait was given up");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_refused_is_the_end() {
    for house in [plain().await, quic().await] {
        let client = house.client();
        let mut rows = numbers(&client, "broken(3)", 10).await;
        assert_eq!(soon(rows.next()).await.unwrap().unwrap().n, 3);
        let error = soon(rows.next()).await.unwrap_err();
        assert_eq!(error.status(), Some(Status::UnknownCursor));
        assert!(soon(rows.next()).await.unwrap().is_none());
        assert_eq!(client.idle_connections(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_away_between_pages_ends_the_rows() {
    for house in [plain().await, quic().await] {
        let client = house.client();
        let mut rows = numbers(&client, "numbers(100)", 10).await;
        soon(house.server.drain()).await;
        for n in 0..10 {
            assert_eq!(soon(rows.next()).await.unwrap().unwrap().n, n);
        }
        let error = soon(rows.next()).await.unwrap_err();
        assert!(matches!(error, Error::Lost { .. }), "{error}");
        assert!(soon(rows.next()).await.unwrap().is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_is_cancelled_is_answered_so_and_the_session_goes_on() {
    let house = plain().await;
    let Config { address, security, user, key, connect, .. } = house.config();
    let connecting = Connection::connect(&address, security, &user, &key, connect);
    let mut connection = soon(connecting).await.unwrap();
    let stream = |text| Request::Stream { rows: 0, bytes: 0, text, parameters: None };
    let held = soon(connection.send(&stream("hold()"))).await.unwrap();
    soon(connection.send(&stream("count()"))).await.unwrap();
    soon(connection.cancel(held)).await.unwrap();
    let answer = soon(connection.receive()).await.unwrap();
    let Reply::Error { status, .. } = Reply::decode(&answer).unwrap().1 else { panic!("done") };
    assert_eq!(status, Status::Cancelled);
    let answer = soon(connection.receive()).await.unwrap();
    assert_eq!(Reply::decode(&answer).unwrap().1, Reply::Count(7));
    // Of an answer that has come there is nothing to cancel.
    soon(connection.cancel(held)).await.unwrap();
    assert_eq!(connection.in_flight(), 0);
    soon(connection.call(&Request::Ping)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn other_answers_are_read_as_what_they_are() {
    let house = plain().await;
    let client = house.client();
    assert_eq!(soon(client.query("count()", ()).count()).await.unwrap(), 7);
    assert_eq!(soon(client.query("insert()", ()).key()).await.unwrap(), Key(5));
    let echoed = soon(client.query("echo()", ("JFK", 60)).run()).await.unwrap();
    let given = echoed.document::<BTreeMap<String, serde::de::IgnoredAny>>().unwrap();
    assert_eq!(given.into_keys().collect::<Vec<_>>(), ["1", "2"]);
    let first = soon(client.query("numbers(9)", ()).page(4, 0).first::<Number>()).await.unwrap();
    assert_eq!(first.unwrap().n, 0);
    // Rows where a number is due, and a number where rows are.
    let error = soon(client.query("numbers(9)", ()).count()).await.unwrap_err();
    assert!(matches!(error, Error::WrongAnswer { .. }), "{error}");
    let error = soon(client.query("count()", ()).rows::<Number>()).await.unwrap_err();
    assert!(error.to_string().contains("no list of rows"), "{error}");
    let error = soon(client.query("numbers(9)", ()).page(4, 0).run()).await.unwrap_err();
    assert!(error.to_string().contains("rows()"), "{error}");
    let error = soon(client.query("numbers(9)", ()).all::<Number>(8)).await.unwrap_err();
    assert!(matches!(error, Error::TooManyRows(8)), "{error}");
    let error = soon(client.query("numbers(9)", "no list").count()).await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error}");
    let error = soon(client.query("nothing()", ()).count()).await.unwrap_err();
    assert_eq!(error.status(), Some(Status::BadQuery));
    eventually(|| house.memory.cursors.lock().unwrap().is_empty()).await;
}
