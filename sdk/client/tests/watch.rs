//! Changes as they come: each once, whatever connections break, and documents before them.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

mod common;

use common::*;
use planck_client::proto::doc::{Doc, DocBuf, Value};
use planck_client::proto::{ReplyWriter, Request, json};
use planck_client::{Change, Key, Status, Told, Watch, Watched};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Document = BTreeMap<String, i32>;

/// What the server was asked, as JSON; connections in the order they were made.
type Asked = Arc<Mutex<Vec<(usize, String)>>>;

/// A page of the events of commits, each of one event, or of two of a commit that was cut.
fn page(reply: ReplyWriter<'_>, events: &[(i64, i64, bool)], next: &str) {
    let mut doc = DocBuf::new();
    doc.array("events", |list| {
        for (lsn, at, last) in events {
            list.item_doc(|event| {
                event.push("lsn", *lsn).push("at", *at).push("last", *last);
                event.push("time", Value::DateTime(1000)).push("store", "s").push("op", "insert");
                event.push("key", &Key(7).to_string());
                event.doc("document", |document| {
                    document.push("n", i32::try_from(*lsn).unwrap());
                });
            });
        }
    });
    doc.push("next", next).push("durable", 9i64);
    reply.document(&doc.finish().unwrap());
}

fn what(request: &Request<'_>) -> String {
    match request.within() {
        (None, Request::Watch { what }) => json::to_json(Doc::parse(what).unwrap()),
        (Some(_), Request::Stream { text, .. }) => text.to_owned(),
        (_, other) => other.opcode().name().to_owned(),
    }
}

/// The `since` of a request.
fn since(request: &Request<'_>) -> Option<String> {
    let Request::Watch { what } = request else { return None };
    let since = Doc::parse(what).unwrap().get("since")?;
    Some(since.as_str().map_or_else(|| since.as_i64().unwrap().to_string(), str::to_owned))
}

async fn next(watch: &mut Watch<Document>) -> String {
    match soon(watch.next()).await {
        Ok(Told::Event(event)) => {
            assert_eq!((event.change, event.key), (Change::Insert, Key(7)));
            format!("{}.{} {:?}", event.lsn, event.at, event.document.unwrap()["n"])
        }
        Ok(other) => format!("{other:?}"),
        Err(error) => format!("{:?}", error.status()),
    }
}

#[tokio::test]
async fn what_is_asked_for_next_is_behind_what_was_given_whatever_breaks() {
    let asked = Asked::default();
    let seen = Arc::clone(&asked);
    let server = Fake::start(move |n, mut peer| {
        let seen = Arc::clone(&seen);
        async move {
            peer.auth().await;
            while let Some(packet) = peer.packet().await {
                let (mut breaks, mut told) = (false, None);
                let bytes = reply(&packet, |request, reply| {
                    seen.lock().unwrap().push((n, what(request)));
                    told = since(request);
                    match told.as_deref() {
                        None => page(reply, &[], "l.1.3.0"),
                        Some("l.1.3.0") => page(reply, &[(4, 1, true), (5, 1, false)], "l.1.5.1"),
                        Some("l.1.5.1") => page(reply, &[(5, 2, true), (6, 1, true)], "l.1.8.0"),
                        // The connection breaks as it waits, once.
                        Some("l.1.8.0") if n == 0 => {
                            breaks = true;
                            reply.empty();
                        }
                        Some("l.1.8.0") => page(reply, &[], "l.1.9.0"),
                        _ => reply.error(Status::WatchGap, "gone"),
                    }
                });
                if breaks {
                    return;
                }
                peer.send(&bytes).await;
            }
        }
    })
    .await;
    let client = client(server.config());
    let large =
        Watched::of("s").filter("n > $1", (5,)).only(Change::Insert).between(Key(1), Key(9));
    let mut watch: Watch<Document> = client.watch([large.with_before()]);
    assert_eq!(watch.token(), None);
    let mut told = Vec::new();
    for _ in 0..5 {
        told.push((next(&mut watch).await, watch.token().unwrap().to_owned()));
    }
    let want = [
        ("4.1 4", "l.1.4.0"),
        ("5.1 5", "l.1.5.1"),
        ("5.2 5", "l.1.5.0"),
        ("6.1 6", "l.1.6.0"),
        ("Some(WatchGap)", "l.1.9.0"),
    ];
    assert_eq!(told, want.map(|(told, token)| (told.to_owned(), token.to_owned())));
    let asked = asked.lock().unwrap().clone();
    assert_eq!(asked.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [0, 0, 0, 0, 1, 1]);
    let (from, to) = (Key(1).to_string(), Key(9).to_string());
    let stores = format!(
        r#"{{"store":"s","operations":["insert"],"filter":"n > $1","parameters":{{"1":5}},"from":"{from}","to":"{to}","before":true}}"#
    );
    let all = format!(
        r#"{{"stores":[{stores}],"since":"l.1.3.0","max_wait_ms":20000,"max_bytes":1048576}}"#
    );
    assert_eq!(asked[1].1, all);
    // Another one goes on in the middle of a commit.
    let mut watch: Watch<Document> = client.watch(["s"]).since("l.1.5.1");
    assert_eq!(next(&mut watch).await, "5.2 5");
}

#[tokio::test]
async fn documents_come_first_of_one_snapshot_that_is_durable() {
    let asked = Asked::default();
    let (seen, calls) = (Arc::clone(&asked), Arc::new(Mutex::new(0)));
    let server = Fake::answering(move |n, request, reply| {
        seen.lock().unwrap().push((n, what(request)));
        let mut calls = calls.lock().unwrap();
        match request {
            Request::Begin { .. } => {
                let mut doc = DocBuf::new();
                doc.push("transaction", 3i64).push("lsn", 9i64).push("time_ms", 9i64);
                reply.document(&doc.finish().unwrap());
            }
            Request::Watch { .. } => {
                *calls += 1;
                match *calls {
                    // Not durable yet.
                    1 => {
                        let mut doc = DocBuf::new();
                        doc.array("events", |_| ()).push("next", "l.1.9.0").push("durable", 8i64);
                        reply.document(&doc.finish().unwrap());
                    }
                    2 => page(reply, &[], "l.1.9.0"),
                    _ => page(reply, &[(10, 1, true)], "l.1.10.0"),
                }
            }
            Request::Within { .. } => {
                let mut rows = reply.rows(true);
                let mut doc = DocBuf::new();
                doc.push("n", 1);
                rows.push(Key(5), &doc.finish().unwrap());
                rows.finish(None);
            }
            _ => reply.empty(),
        }
    })
    .await;
    let client = client(server.config());
    let some = Watched::of("b").filter("n = $1", (1,)).between(Key(1), Key(9));
    let mut watch: Watch<Document> =
        client.watch([Watched::of("a"), some]).with_documents().wait(Duration::from_secs(1));
    let value = Document::from([("n".to_owned(), 1)]);
    for store in 0..2 {
        let told = soon(watch.next()).await.unwrap();
        assert_eq!(told, Told::Document { store, key: Key(5), value: value.clone() });
        assert_eq!(watch.token(), None);
    }
    assert_eq!(soon(watch.next()).await.unwrap(), Told::Ready);
    assert_eq!(next(&mut watch).await, "10.1 10");
    assert_eq!(watch.token(), Some("l.1.10.0"));
    let asked: Vec<String> = asked.lock().unwrap().iter().map(|(_, what)| what.clone()).collect();
    let (from, to) = (Key(1), Key(9));
    assert_eq!(asked[0], "Begin");
    assert!(asked[1].contains(r#""since":9,"#) && asked[1] == asked[2], "{asked:?}");
    let text = format!("b.filter(n = $1).filter(key between '{from}' and '{to}')");
    assert_eq!(asked[3..6], ["a".to_owned(), text, "Abort".to_owned()]);
    assert!(asked[6].contains(r#""since":9,"#), "{asked:?}");
}
