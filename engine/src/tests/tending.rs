//! What `tend` does for one store keeps no other from its turn; and definitions of
//! indexes and of expiry that outlive a restart, a change, a failed build.

use std::sync::Arc;

use lsm::Batch;
use platform::sim::SimDisk;
use proto::doc::Value;
use proto::{Key, Request, Status};

use super::kit::*;
use crate::catalog::TTL_INDEX;
use crate::index::Phase;
use crate::{Engine, Limits};

fn index(engine: &Engine, store: &str, definition: &str, if_not_exists: bool) -> Said {
    let definition = doc(definition);
    done(engine, Request::CreateIndex { store, if_not_exists, definition: &definition })
}

fn expire(engine: &Engine, store: &str, seconds: i64) {
    let change = doc(&format!(r#"{{"ttl":{{"field":"d","seconds":{seconds}}}}}"#));
    done(engine, Request::AlterStore { store, change: &change });
}

fn put(engine: &Engine, store: &str, key: u128, text: &str) {
    let document = doc(text);
    done(engine, Request::Insert { store, key: Some(Key(key)), document: &document });
}

fn phase(engine: &Engine, store: &str, name: &str) -> Phase {
    engine.catalogs.read().stores[store].index(name).unwrap().phase.clone()
}

/// Dated long ago.
const OLD: &str = r#"{"d":{"$date":{"$numberLong":"1000"}}}"#;

#[test]
fn a_field_whose_name_begins_with_a_dash_is_itself_after_a_restart() {
    let disk = SimDisk::new(1);
    let engine = open_on(Arc::clone(&disk), options());
    done(&engine, create("s"));
    index(&engine, "s", r#"{"name":"i","fields":[{"path":"-a"},"--b","-c","d"]}"#, false);
    let ttl = doc(r#"{"ttl":{"field":"-d","seconds":5}}"#);
    done(&engine, Request::AlterStore { store: "s", change: &ttl });
    let fields = |engine: &Engine, name: &str| -> Vec<(String, bool)> {
        let catalog = engine.catalogs.read();
        let fields = &catalog.stores["s"].index(name).unwrap().definition.fields;
        fields.iter().map(|f| (f.path.clone(), f.descending)).collect()
    };
    let wanted = [("-a", false), ("-b", true), ("c", true), ("d", false)];
    let wanted = wanted.map(|(path, down)| (path.to_owned(), down));
    assert_eq!(fields(&engine, "i"), wanted);
    engine.close().unwrap();
    let engine = open_on(disk, options());
    assert_eq!(fields(&engine, "i"), wanted);
    assert_eq!(fields(&engine, TTL_INDEX), [("-d".to_owned(), false)]);
}

#[test]
fn nothing_expires_by_a_rule_that_was_changed_meanwhile() {
    let engine = with_store();
    put(&engine, "s", 1, OLD);
    expire(&engine, "s", i64::from(i32::MAX));
    while engine.tend().unwrap() {}
    expire(&engine, "s", 60);
    let before = engine.catalogs.read();
    expire(&engine, "s", i64::from(i32::MAX));
    assert_eq!(engine.expire_under(&before, "s"), 0);
    assert_eq!(all(&engine).len(), 1);
    expire(&engine, "s", 60);
    assert_eq!(engine.expire_under(&before, "s"), 1);
}

#[test]
fn indexes_are_built_by_turns_and_one_that_cannot_be_stops_no_other() {
    let engine = with_store();
    done(&engine, create("t"));
    for key in 0..300 {
        put(&engine, "s", key, "{}");
    }
    put(&engine, "t", 1, "{}");
    index(&engine, "s", r#"{"name":"i","fields":["m"]}"#, false);
    index(&engine, "t", r#"{"name":"i","fields":["m"]}"#, false);
    assert!(engine.tend().unwrap() && engine.tend().unwrap());
    assert_eq!(phase(&engine, "s", "i"), Phase::Building);
    assert_eq!(phase(&engine, "t", "i"), Phase::Ready);
    while engine.tend().unwrap() {}
    // A key that is none: the documents of `s` cannot be read through any more.
    let mut batch = Batch::new();
    batch.put_new(engine.catalogs.read().stores["s"].keyspace, b"\0", b"");
    engine.lsm.commit(&batch).unwrap();
    index(&engine, "s", r#"{"name":"j","fields":["n"]}"#, false);
    index(&engine, "t", r#"{"name":"j","fields":["n"]}"#, false);
    for _ in 0..3 {
        assert_eq!(engine.tend().unwrap_err().status, Status::Corrupt);
    }
    assert_eq!(phase(&engine, "s", "j"), Phase::Building);
    assert_eq!(phase(&engine, "t", "j"), Phase::Ready);
}

#[test]
fn documents_expire_by_turns_and_a_store_that_cannot_be_read_stops_no_other() {
    let engine = with_store();
    done(&engine, create("t"));
    expire(&engine, "s", 60);
    expire(&engine, "t", 60);
    while engine.tend().unwrap() {}
    let documents = |store: &str| engine.catalogs.read().stores[store].documents_now(&engine);
    for key in 0..200 {
        put(&engine, "s", key, OLD);
    }
    put(&engine, "t", 1, OLD);
    assert!(engine.tend().unwrap() && engine.tend().unwrap());
    assert_eq!((documents("s"), documents("t")), (136, 0));
    let mut batch = Batch::new();
    let catalog = engine.catalogs.read();
    let by_date = catalog.stores["s"].index(TTL_INDEX).unwrap();
    batch.put_new(by_date.keyspace, &by_date.prefix(&[Some(Value::DateTime(0))]).bytes, b"");
    engine.lsm.commit(&batch).unwrap();
    put(&engine, "t", 2, OLD);
    assert_eq!(engine.tend().unwrap_err().status, Status::Corrupt);
    assert_eq!((documents("s"), documents("t")), (136, 0));
}

#[test]
fn an_index_that_failed_is_built_anew_where_it_may_be_there() {
    let engine = with_store();
    put(&engine, "s", 1, r#"{"m":1}"#);
    put(&engine, "s", 2, r#"{"m":1}"#);
    let unique = r#"{"name":"u","fields":["m"],"unique":true}"#;
    index(&engine, "s", unique, false);
    while engine.tend().unwrap() {}
    assert!(matches!(phase(&engine, "s", "u"), Phase::Failed(_)));
    done(&engine, Request::Delete { store: "s", key: Key(2) });
    let said = |created| Said::Document(format!(r#"{{"name":"u","created":{created}}}"#));
    assert_eq!(index(&engine, "s", unique, true), said(true));
    while engine.tend().unwrap() {}
    assert_eq!(phase(&engine, "s", "u"), Phase::Ready);
    assert_eq!(index(&engine, "s", unique, true), said(false));
    // That by which documents expire, likewise.
    let items: Vec<String> = (0..2000).map(|n| n.to_string()).collect();
    put(&engine, "s", 3, &format!(r#"{{"d":[{}]}}"#, items.join(",")));
    expire(&engine, "s", 60);
    while engine.tend().unwrap() {}
    assert!(matches!(phase(&engine, "s", TTL_INDEX), Phase::Failed(_)));
    done(&engine, Request::Delete { store: "s", key: Key(3) });
    expire(&engine, "s", 60);
    while engine.tend().unwrap() {}
    assert_eq!(phase(&engine, "s", TTL_INDEX), Phase::Ready);
    assert_eq!(engine.compare_indexes("s", None).unwrap().1.kept, []);
}

#[test]
fn the_differences_of_an_index_fit_a_message() {
    let limits = Limits {
        max_batch_size: 9,
        max_message_size: 64 << 10,
        max_document_size: 20_000,
        ..Limits::default()
    };
    let engine = open_with(limits);
    index(&engine, "s", r#"{"name":"i","fields":["a","b","c","d"]}"#, false);
    while engine.tend().unwrap() {}
    let long = "x".repeat(300);
    let catalog = engine.catalogs.read();
    for key in 0..99 {
        let text = format!(r#"{{"a":"{long}","b":"{long}","c":"{long}","d":"{long}"}}"#);
        let mut batch = Batch::new();
        batch.put_new(catalog.stores["s"].keyspace, &Key(key).to_bytes(), &doc(&text));
        engine.lsm.commit(&batch).unwrap();
    }
    let Said::Rows(rows, None) = done(&engine, Request::CheckIndexes { store: "s", index: None })
    else {
        panic!("no rows")
    };
    assert!((20..100).contains(&rows.len()), "{}", rows.len());
    assert!(rows.last().unwrap().contains(r#""indexes":1,"differences":"#));
}

#[test]
fn documents_of_many_long_entries_expire_fewer_at_a_time() {
    // Given 47 documents whose entries make 69 MB of a batch, which may have 64 MiB.
    let engine = with_store();
    for name in ["i", "j"] {
        let definition = format!(r#"{{"name":"{name}","fields":["a","b","c","d"]}}"#);
        index(&engine, "s", &definition, false);
    }
    expire(&engine, "s", 60);
    while engine.tend().unwrap() {}
    let long = "x".repeat(300);
    let items: Vec<String> = (0..990).map(|n| format!(r#""{n}{long}""#)).collect();
    let rest = format!(r#""b":"{long}","c":"{long}""#);
    let text =
        format!(r#"{{"a":[{}],{rest},"d":{{"$date":{{"$numberLong":"1000"}}}}}}"#, items.join(","));
    for key in 0..47 {
        put(&engine, "s", key, &text);
    }
    let documents = || engine.catalogs.read().stores["s"].documents_now(&engine);
    // When they expire, then half of a piece goes at once, and the rest after it.
    assert!(engine.tend().unwrap());
    assert_eq!(documents(), 47 - 32);
    while engine.tend().unwrap() {}
    assert_eq!(documents(), 0);
}

#[test]
fn what_documents_expire_by_is_none_of_the_indexes_a_store_may_have() {
    let engine = with_store();
    expire(&engine, "s", 60);
    let definition = |n: usize| format!(r#"{{"name":"i{n}","fields":["f{n}"]}}"#);
    for n in 0..64 {
        index(&engine, "s", &definition(n), false);
    }
    let one_more = doc(&definition(64));
    let request = Request::CreateIndex { store: "s", if_not_exists: false, definition: &one_more };
    refused(&engine, request, Status::BadIndex, &["has 64 indexes"]);
}
