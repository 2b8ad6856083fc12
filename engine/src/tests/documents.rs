//! Insert, BatchInsert, Read, Update, Delete, Scan, Range.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;

use proto::{Key, Request, Status};

use super::kit::*;

const NONE: Vec<String> = Vec::new();

#[test]
fn a_document_is_inserted_read_replaced_and_deleted() {
    let engine = with_store();
    insert(&engine, 7, r#"{"a":1}"#);
    assert_eq!(done(&engine, read(7)), Said::Rows(vec![r#"7 {"a":1}"#.to_owned()], None));
    let new = doc(r#"{"b":2}"#);
    let update = Request::Update { store: "s", key: Key(7), document: &new, upsert: false };
    assert_eq!(done(&engine, update), Said::Key(Key(7)));
    assert_eq!(all(&engine), [r#"7 {"b":2}"#]);
    assert_eq!(done(&engine, Request::Delete { store: "s", key: Key(7) }), Said::Count(1));
    assert_eq!(all(&engine), NONE);
}

#[test]
fn what_is_not_there_is_not_found() {
    let engine = with_store();
    let new = doc("{}");
    let (store, key) = ("s", Key(0xab));
    for request in [
        Request::Read { store, key },
        Request::Delete { store, key },
        Request::Update { store, key, document: &new, upsert: false },
        query("s.get('000000000000000000000000000000ab')"),
    ] {
        refused(&engine, request, Status::NotFound, &["000000ab", "check the key"]);
    }
    let upsert = Request::Update { store, key, document: &new, upsert: true };
    assert_eq!(done(&engine, upsert), Said::Key(key));
    assert_eq!(all(&engine), ["171 {}"]);
}

#[test]
fn a_key_is_taken_once() {
    let engine = with_store();
    insert(&engine, 7, r#"{"a":1}"#);
    let document = doc(r#"{"a":2}"#);
    let again = Request::Insert { store: "s", key: Some(Key(7)), document: &document };
    refused(&engine, again, Status::KeyExists, &["00000007", "update it"]);
    assert_eq!(all(&engine), [r#"7 {"a":1}"#]);
    done(&engine, Request::Flush);
    refused(&engine, again, Status::KeyExists, &[]);
    done(&engine, Request::Delete { store: "s", key: Key(7) });
    done(&engine, again);
}

#[test]
fn made_keys_rise_and_take_nothing() {
    let engine = with_store();
    let document = doc("{}");
    let insert = Request::Insert { store: "s", key: None, document: &document };
    let mut last = Key::MIN;
    for _ in 0..100 {
        let Said::Key(key) = done(&engine, insert) else { panic!() };
        assert!(key > last);
        last = key;
    }
    assert_eq!(all(&engine).len(), 100);
    assert!(last.to_string().starts_with("018bcfe568007"), "{last}");
}

#[test]
fn a_made_key_that_is_taken_is_made_again() {
    // The same clock and entropy as in an earlier run make the same keys.
    let disk = platform::sim::SimDisk::new(1);
    let engine = open_on(disk.clone(), options());
    done(&engine, create("s"));
    let document = doc("{}");
    let single = Request::Insert { store: "s", key: None, document: &document };
    let two = batch(&[(None, "{}"), (None, "{}")]);
    let pair = Request::BatchInsert { store: "s", batch: two.as_batch() };
    done(&engine, single);
    done(&engine, pair);
    drop(engine);
    let engine = open_on(disk.kill(), options());
    done(&engine, single);
    done(&engine, pair);
    assert_eq!(all(&engine).len(), 6);
}

#[test]
fn a_batch_is_inserted_whole_in_its_order() {
    let engine = with_store();
    let items = batch(&[(Some(9), r#"{"n":1}"#), (None, r#"{"n":2}"#), (Some(3), r#"{"n":3}"#)]);
    let request = Request::BatchInsert { store: "s", batch: items.as_batch() };
    let Said::Keys(keys) = done(&engine, request) else { panic!() };
    assert_eq!((keys[0], keys[2]), (Key(9), Key(3)));
    let texts: Vec<String> =
        all(&engine).iter().map(|row| row.split(' ').nth(1).unwrap().to_owned()).collect();
    assert_eq!(texts, [r#"{"n":3}"#, r#"{"n":1}"#, r#"{"n":2}"#]);
    assert_eq!(engine.lsm.last_lsn(), 2, "one commit for the store, one for the batch");
    let none = batch(&[]);
    let request = Request::BatchInsert { store: "s", batch: none.as_batch() };
    assert_eq!(done(&engine, request), Said::Keys(vec![]));
}

#[test]
fn a_batch_with_one_bad_document_is_refused_whole() {
    let engine = with_store();
    insert(&engine, 5, "{}");
    for (items, status, words) in [
        (batch(&[(Some(1), "{}"), (Some(5), "{}")]), Status::KeyExists, "document 2 of the batch"),
        (batch(&[(Some(1), "{}"), (Some(1), "{}")]), Status::KeyExists, "given twice"),
        (batch(&[(None, "{}"), (None, r#"{"key": 1}"#)]), Status::BadDocument, "document 2"),
    ] {
        let request = Request::BatchInsert { store: "s", batch: items.as_batch() };
        refused(&engine, request, status, &[words]);
    }
    assert_eq!(all(&engine), ["5 {}"]);
}

#[test]
fn bad_documents_are_refused_wherever_they_come_in() {
    let engine = with_store();
    insert(&engine, 1, r#"{"a":1}"#);
    let (store, key) = ("s", Key(1));
    let named_key = doc(r#"{"a": 1, "key": "x"}"#);
    let mut broken = doc(r#"{"a": "text"}"#);
    let end = broken.len() - 2;
    broken[end] = b'!';
    for (document, words) in [
        (&named_key, &["a field named `key`", "rename"][..]),
        (&broken, &["not valid BSON at byte"]),
    ] {
        let mut items = proto::request::BatchBuf::new();
        items.push(None, document);
        for request in [
            Request::Insert { store, key: None, document },
            Request::Update { store, key, document, upsert: true },
            Request::BatchInsert { store, batch: items.as_batch() },
        ] {
            refused(&engine, request, Status::BadDocument, words);
        }
    }
    // Deeper down the name is free.
    insert(&engine, 2, r#"{"a":{"key":1}}"#);
}

#[test]
fn a_scan_goes_page_by_page_either_way() {
    let engine = with_store();
    for key in [10, 20, 30, 40, 50] {
        insert(&engine, key, "{}");
        if key == 30 {
            done(&engine, Request::Flush);
        }
    }
    done(&engine, Request::Delete { store: "s", key: Key(20) });
    let page = |after: Option<u128>, limit, reverse| {
        let request = Request::Scan { store: "s", after: after.map(Key), limit, reverse };
        match done(&engine, request) {
            Said::Rows(rows, next) => {
                let keys: Vec<u128> = rows
                    .iter()
                    .map(|row| row.split(' ').next().unwrap().parse().unwrap())
                    .collect();
                (keys, next)
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(page(None, 0, false), (vec![10, 30, 40, 50], None));
    assert_eq!(page(None, 2, false), (vec![10, 30], Some(30)));
    assert_eq!(page(Some(30), 2, false), (vec![40, 50], None), "a full page that is the last");
    assert_eq!(page(Some(35), 1, false), (vec![40], Some(40)));
    assert_eq!(page(Some(50), 1, false), (vec![], None));
    assert_eq!(page(None, 3, true), (vec![50, 40, 30], Some(30)));
    assert_eq!(page(Some(30), 3, true), (vec![10], None));
    assert_eq!(page(Some(u128::MAX), 0, false), (vec![], None));
}

#[test]
fn a_range_has_both_ends() {
    let engine = with_store();
    for key in [0, 10, 20, u128::MAX] {
        insert(&engine, key, "{}");
    }
    let range = |from, to, limit, reverse| {
        let request = Request::Range { store: "s", from: Key(from), to: Key(to), limit, reverse };
        match done(&engine, request) {
            Said::Rows(rows, next) => (rows, next),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(range(0, 20, 0, false).0, ["0 {}", "10 {}", "20 {}"]);
    assert_eq!(range(1, 19, 0, false).0, ["10 {}"]);
    assert_eq!(range(10, 10, 0, false).0, ["10 {}"]);
    assert_eq!(range(0, u128::MAX, 2, true).1, Some(20));
    assert_eq!(range(11, 19, 0, false), (vec![], None));
    let turned = Request::Range { store: "s", from: Key(2), to: Key(1), limit: 0, reverse: true };
    refused(&engine, turned, Status::BadKey, &["ends before it begins", "smaller key first"]);
}

#[test]
fn of_many_who_insert_the_same_key_exactly_one_wins() {
    let engine = with_store();
    let document = doc("{}");
    for key in 0..50 {
        let won = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let key = Some(Key(key));
                    match ask(&engine, Request::Insert { store: "s", key, document: &document }) {
                        Said::Key(_) => won.fetch_add(1, SeqCst),
                        Said::Refused(Status::KeyExists, _) => 0,
                        other => panic!("{other:?}"),
                    };
                });
            }
        });
        assert_eq!(won.load(SeqCst), 1);
    }
}
