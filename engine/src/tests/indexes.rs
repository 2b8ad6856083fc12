//! Indexes as a caller sees them: made, built, unique, refused, dropped, proven.

mod at_once;
mod read;

use std::sync::Arc;

use lsm::Batch;
use proto::doc::Value;
use proto::{Key, Request, Status};

use super::kit::*;
use crate::Engine;
use crate::patience::Patience;

pub(super) fn index(engine: &Engine, definition: &str) {
    let definition = doc(definition);
    let request =
        Request::CreateIndex { store: "s", if_not_exists: false, definition: &definition };
    done(engine, request);
}

pub(super) fn built(engine: &Engine, definition: &str) {
    index(engine, definition);
    settle(engine);
}

pub(super) fn settle(engine: &Engine) {
    while engine.tend().unwrap() {}
}

pub(super) fn refused_index(engine: &Engine, definition: &str, status: Status, words: &[&str]) {
    let definition = doc(definition);
    let request =
        Request::CreateIndex { store: "s", if_not_exists: false, definition: &definition };
    refused(engine, request, status, words);
}

pub(super) fn put(engine: &Engine, key: u128, text: &str) -> Said {
    let document = doc(text);
    ask(engine, Request::Update { store: "s", key: Key(key), document: &document, upsert: true })
}

pub(super) fn not_unique(engine: &Engine, key: u128, text: &str, words: &[&str]) {
    let document = doc(text);
    let (key, document) = (Key(key), &document[..]);
    let request = Request::Update { store: "s", key, document, upsert: true };
    refused(engine, request, Status::NotUnique, words);
}

pub(super) fn alter(engine: &Engine, store: &str, change: &str) -> Said {
    let change = doc(change);
    ask(engine, Request::AlterStore { store, change: &change })
}

pub(super) fn listed(engine: &Engine) -> String {
    match done(engine, Request::List) {
        Said::Rows(rows, None) => rows.join("\n"),
        other => panic!("{other:?}"),
    }
}

pub(super) fn entries(engine: &Engine, name: &str) -> u64 {
    engine.catalogs.read().stores["s"].index(name).unwrap().entries_now(engine)
}

#[test]
fn an_index_is_made_built_listed_and_dropped() {
    let engine = with_store();
    for key in 0..300 {
        insert(&engine, key, &format!(r#"{{"a":{key}}}"#));
    }
    index(&engine, r#"{"fields": ["a", {"path": "b.c", "descending": true}]}"#);
    let before = listed(&engine);
    assert!(before.contains(r#""name":"a_b_c_desc","fields":["a","-b.c"]"#), "{before}");
    assert!(before.contains(r#""state":"building","entries":0,"built":0"#), "{before}");
    // One piece of a bounded number of documents.
    assert!(engine.tend().unwrap());
    assert!(listed(&engine).contains(r#""built":128"#), "{}", listed(&engine));
    settle(&engine);
    let after = listed(&engine);
    assert!(after.contains(r#""documents":300"#), "{after}");
    assert!(after.contains(r#""state":"ready","entries":300}"#), "{after}");
    let name = "a_b_c_desc";
    let drop = |if_exists| Request::DropIndex { store: "s", index: name, if_exists };
    let keyspace = engine.catalogs.read().stores["s"].index(name).unwrap().keyspace;
    done(&engine, drop(false));
    assert!(!listed(&engine).contains("indexes"), "{}", listed(&engine));
    assert_eq!(engine.lsm.count(keyspace), 0);
    refused(&engine, drop(false), Status::UnknownIndex, &["no index named", "a_b_c_desc"]);
    done(&engine, drop(true));
}

#[test]
fn what_no_index_can_be_is_refused_by_name() {
    let engine = with_store();
    for (definition, words) in [
        (r#"{}"#, "0 fields: give it 1 to 8"),
        (r#"{"fields": ["a","b","c","d","e","f","g","h","i"]}"#, "9 fields"),
        (r#"{"fields": "a"}"#, "fields of an index cannot be string"),
        (r#"{"fields": [1]}"#, "a field of an index is its path"),
        (r#"{"fields": ["a."]}"#, "empty part"),
        (r#"{"fields": ["key"]}"#, "primary key"),
        (r#"{"fields": ["a", "-a"]}"#, "twice in the index"),
        (r#"{"fields": ["a"], "uniq": true}"#, "an index has no \"uniq\""),
        (r#"{"fields": ["a"], "name": 5}"#, "name of an index is a text"),
        (r#"{"fields": ["a"], "filter": "a >"}"#, "the index's filter \"a >\""),
        (r#"{"fields": ["a"], "filter": "a = $1"}"#, "has parameters"),
        (r#"{"fields": ["a"], "filter": "a = 1).delete("}"#, "filter"),
        (r#"{"fields": ["a"], "filter": "a = 1).limit(3"}"#, "a condition"),
        (r#"{"fields": [{"path": "a", "down": true}]}"#, "{path: text, descending"),
    ] {
        refused_index(&engine, definition, Status::BadIndex, &[words]);
    }
    refused_index(&engine, r#"{"fields": ["a"], "name": "_ttl"}"#, Status::BadName, &["an index"]);
    index(&engine, r#"{"name": "i", "fields": ["a"]}"#);
    let words = &["\"i\" already", "drop it first"];
    refused_index(&engine, r#"{"name": "i", "fields": ["a"]}"#, Status::IndexExists, words);
    let same = doc(r#"{"name": "i", "fields": ["a"]}"#);
    done(&engine, Request::CreateIndex { store: "s", if_not_exists: true, definition: &same });
    let other = doc(r#"{"name": "i", "fields": ["b"]}"#);
    let request = Request::CreateIndex { store: "s", if_not_exists: true, definition: &other };
    refused(&engine, request, Status::IndexExists, &["of another kind"]);
    let request = Request::CreateIndex { store: "t", if_not_exists: true, definition: &other };
    refused(&engine, request, Status::UnknownStore, &["\"t\""]);
}

#[test]
fn a_unique_value_is_given_once() {
    let engine = with_store();
    built(&engine, r#"{"name": "mail", "fields": ["m"], "unique": true}"#);
    insert(&engine, 1, r#"{"m":"x@y"}"#);
    not_unique(&engine, 2, r#"{"m":"x@y"}"#, &["mail", "m = \"x@y\"", &Key(1).to_string()]);
    // Numbers are one whatever their type; null is a value; missing is none.
    insert(&engine, 3, r#"{"m":1}"#);
    not_unique(&engine, 4, r#"{"m":1.0}"#, &[&Key(3).to_string()]);
    insert(&engine, 5, r#"{"m":null}"#);
    not_unique(&engine, 6, r#"{"m":null}"#, &["m = null"]);
    insert(&engine, 7, "{}");
    insert(&engine, 8, "{}");
    // Of an array each item, and within one document it may come twice.
    insert(&engine, 9, r#"{"m":["a","b","a"]}"#);
    not_unique(&engine, 10, r#"{"m":["c","b"]}"#, &[&Key(9).to_string()]);
    // The document itself may keep or change it, another take it then.
    assert_eq!(put(&engine, 1, r#"{"m":"x@y","n":1}"#), Said::Key(Key(1)));
    assert_eq!(put(&engine, 1, r#"{"m":"z"}"#), Said::Key(Key(1)));
    assert_eq!(put(&engine, 2, r#"{"m":"x@y"}"#), Said::Key(Key(2)));
    // Two of one batch.
    let two = batch(&[(Some(20), r#"{"m":"q"}"#), (Some(21), r#"{"m":"q"}"#)]);
    let request = Request::BatchInsert { store: "s", batch: two.as_batch() };
    refused(&engine, request, Status::NotUnique, &[&Key(20).to_string(), &Key(21).to_string()]);
    refused(&engine, query("s.filter(m exists).set({m: 'w'})"), Status::NotUnique, &["mail"]);
    assert_eq!(engine.compare_indexes("s", None).unwrap().1.kept, []);
}

#[test]
fn documents_of_one_change_may_exchange_unique_values() {
    let engine = with_store();
    built(&engine, r#"{"fields": ["m"], "unique": true}"#);
    insert(&engine, 1, r#"{"m":1}"#);
    insert(&engine, 2, r#"{"m":2}"#);
    let rename = |change: &mut crate::ops::Change<'_>| {
        change.put(Key(1), &doc(r#"{"m":2}"#));
        change.put(Key(2), &doc(r#"{"m":1}"#));
        Ok(())
    };
    engine.change("s", Patience::ENDLESS, rename).unwrap();
    assert_eq!(all(&engine), [r#"1 {"m":2}"#, r#"2 {"m":1}"#]);
    assert_eq!(engine.compare_indexes("s", None).unwrap().1.kept, []);
    // One that keeps its value stands against one that comes, in either order.
    for keys in [[1, 2], [2, 1]] {
        let refusal = engine.change("s", Patience::ENDLESS, |change| {
            for key in keys {
                change.put(Key(key), &doc(r#"{"m":2,"n":0}"#));
            }
            Ok(())
        });
        assert_eq!(refusal.unwrap_err().status, Status::NotUnique);
    }
}

#[test]
fn long_values_are_cut_in_the_index_and_told_apart_by_their_documents() {
    let engine = with_store();
    built(&engine, r#"{"name": "i", "fields": ["m"], "unique": true}"#);
    let long = |end: &str| format!(r#"{{"m":"{}{end}"}}"#, "x".repeat(500));
    insert(&engine, 1, &long("a"));
    insert(&engine, 2, &long("b"));
    not_unique(&engine, 3, &long("a"), &[&Key(1).to_string()]);
    assert_eq!(put(&engine, 1, &long("c")), Said::Key(Key(1)));
    not_unique(&engine, 3, &long("c"), &[&Key(1).to_string()]);
    assert_eq!(put(&engine, 3, &long("a")), Said::Key(Key(3)));
    assert_eq!(entries(&engine, "i"), 3);
    assert_eq!(engine.compare_indexes("s", None).unwrap().1.kept, []);
    // Of the widest index with the longest values, an entry is a key still.
    let wide = r#"{"name": "w", "fields": ["a","b","c","d","e","f","g","h"]}"#;
    built(&engine, wide);
    let fields: Vec<String> =
        "abcdefgh".chars().map(|c| format!(r#""{c}":"{}""#, "y".repeat(3000))).collect();
    insert(&engine, 9, &format!("{{{}}}", fields.join(",")));
    assert_eq!(entries(&engine, "w"), 4);
}

#[test]
fn entries_of_one_document_are_bounded() {
    let engine = with_store();
    built(&engine, r#"{"name": "i", "fields": ["a", "b"]}"#);
    let items = |n: usize| (0..n).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    let text = |n| format!(r#"{{"a":[{}],"b":[{}]}}"#, items(n), items(n));
    // 30 items and the array itself: 961 pairs.
    insert(&engine, 1, &text(30));
    assert_eq!(entries(&engine, "i"), 961);
    let document = doc(&text(31));
    let request = Request::Insert { store: "s", key: Some(Key(2)), document: &document };
    refused(&engine, request, Status::TooManyEntries, &["1024 or more", "\"i\"", "1000 are"]);
    let vast = doc(&format!(r#"{{"a":[{}]}}"#, items(60_000)));
    let request = Request::Insert { store: "s", key: Some(Key(2)), document: &vast };
    refused(&engine, request, Status::TooManyEntries, &["shorten its arrays"]);
}

#[test]
fn a_build_that_meets_what_cannot_be_fails_visibly_and_keeps_nothing() {
    let engine = with_store();
    for key in 0..200 {
        insert(&engine, key, &format!(r#"{{"m":{}}}"#, key % 199));
    }
    index(&engine, r#"{"name": "u", "fields": ["m"], "unique": true}"#);
    settle(&engine);
    let list = listed(&engine);
    assert!(list.contains(r#""state":"failed","entries":0,"reason":"document "#), "{list}");
    assert!(list.contains(&Key(199).to_string()), "{list}");
    // Nobody keeps it any more.
    insert(&engine, 500, r#"{"m":5}"#);
    assert_eq!(entries(&engine, "u"), 0);
    done(&engine, Request::DropIndex { store: "s", index: "u", if_exists: false });
    done(&engine, query("s.filter(m = 0 or m = 5).delete()"));
    built(&engine, r#"{"name": "u", "fields": ["m"], "unique": true}"#);
    assert_eq!(entries(&engine, "u"), 197);
}

#[test]
fn a_write_quicker_than_the_build_stands() {
    let engine = with_store();
    insert(&engine, 1, r#"{"m":1}"#);
    insert(&engine, 2, r#"{"m":[1,2]}"#);
    index(&engine, r#"{"name": "i", "fields": ["m"]}"#);
    assert_eq!(put(&engine, 1, r#"{"m":7}"#), Said::Key(Key(1)));
    assert_eq!(put(&engine, 2, r#"{"m":[2,3]}"#), Said::Key(Key(2)));
    done(&engine, Request::Delete { store: "s", key: Key(2) });
    insert(&engine, 3, r#"{"m":[4]}"#);
    settle(&engine);
    assert_eq!(entries(&engine, "i"), 3);
    assert_eq!(engine.compare_indexes("s", None).unwrap().1.kept, []);
}

#[test]
fn a_store_dropped_while_an_index_of_it_is_built_ends_the_build() {
    let engine = with_store();
    for key in 0..300 {
        insert(&engine, key, "{}");
    }
    index(&engine, r#"{"fields": ["m"]}"#);
    assert!(engine.tend().unwrap());
    let keyspace = engine.catalogs.read().stores["s"].indexes[0].keyspace;
    assert!(engine.lsm.count(keyspace) > 0);
    done(&engine, drop_store("s"));
    assert!(!engine.tend().unwrap());
    assert_eq!(engine.lsm.count(keyspace), 0);
    assert_eq!(engine.lsm.count(crate::index::BUILDS), 0);
}

#[test]
fn what_is_wrong_with_an_index_is_named() {
    let engine = with_store();
    built(&engine, r#"{"name": "i", "fields": ["m"], "unique": true}"#);
    for key in 1..6 {
        insert(&engine, key, &format!(r#"{{"m":{key}}}"#));
    }
    let i = Arc::clone(engine.catalogs.read().stores["s"].index("i").unwrap());
    let entry = |value: i32, key: u128| {
        [&i.prefix(&[Some(Value::Int32(value))]).bytes[..], &key.to_be_bytes()].concat()
    };
    let check = || match done(&engine, Request::CheckIndexes { store: "s", index: Some("i") }) {
        Said::Rows(rows, None) => rows,
        other => panic!("{other:?}"),
    };
    assert_eq!(check(), [r#"{"indexes":1,"differences":0}"#]);
    let spoil = |f: &dyn Fn(&mut Batch)| {
        let mut batch = Batch::new();
        f(&mut batch);
        engine.lsm.commit(&batch).unwrap();
        check()
    };
    // An entry too few.
    let rows = spoil(&|batch| batch.delete_present(i.keyspace, &entry(2, 2)));
    assert!(rows[0].contains("it has no entry") && rows[0].contains(&Key(2).to_string()));
    assert_eq!(rows[1], r#"{"indexes":1,"differences":1}"#);
    // As many as there should be, but one of them another.
    let rows = spoil(&|batch| batch.put_new(i.keyspace, &entry(9, 2), &[0x10]));
    assert!(rows[0].contains("it has no entry"), "{rows:?}");
    // One of no document; one of a document that does not demand it.
    let rows = spoil(&|batch| {
        batch.put_new(i.keyspace, &entry(2, 2), &[0x10]);
        batch.put_new(i.keyspace, &entry(3, 77), &[0x10]);
    });
    assert!(rows.iter().any(|row| row.contains("does not demand")), "{rows:?}");
    assert!(rows.iter().any(|row| row.contains("is not there")), "{rows:?}");
    assert!(rows.iter().any(|row| row.contains("has the same values")), "{rows:?}");
    // Another value; a mark; figures.
    let rows = spoil(&|batch| {
        batch.delete_present(i.keyspace, &entry(9, 2));
        batch.delete_present(i.keyspace, &entry(3, 77));
        batch.put(i.keyspace, &entry(4, 4), &[0x12]);
        batch.put_new(i.arrays(), &Key(4).to_bytes(), &[]);
        batch.put(i.keyspace, &entry(5, 5), &[0x10]);
    });
    assert_eq!(rows.len(), 3, "{rows:?}");
    assert!(rows[0].contains("another value") && rows[1].contains("marked"), "{rows:?}");
    let rows = spoil(&|batch| batch.put(i.keyspace, &entry(8, 88), &[0x10]));
    assert!(rows.iter().any(|row| row.contains("6 entries are there, 5 are counted")), "{rows:?}");
    let request = Request::CheckIndexes { store: "s", index: Some("x") };
    refused(&engine, request, Status::UnknownIndex, &["\"x\""]);
}
