//! Indexes as a caller sees them: made, built, unique, refused, dropped; stores renamed;
//! documents that expire; sequences.

use std::sync::Arc;
use std::time::Duration;

use lsm::Batch;
use platform::sim::{SimClock, SimDisk, SimEntropy};
use proto::doc::{Doc, Value};
use proto::{Key, Request, Status};

use super::kit::*;
use crate::index::{Bounds, Covered, Index, Phase, Scan};
use crate::{Engine, Limits};

fn index(engine: &Engine, definition: &str) {
    let definition = doc(definition);
    let request =
        Request::CreateIndex { store: "s", if_not_exists: false, definition: &definition };
    done(engine, request);
}

fn built(engine: &Engine, definition: &str) {
    index(engine, definition);
    settle(engine);
}

fn settle(engine: &Engine) {
    while engine.tend().unwrap() {}
}

fn refused_index(engine: &Engine, definition: &str, status: Status, words: &[&str]) {
    let definition = doc(definition);
    let request =
        Request::CreateIndex { store: "s", if_not_exists: false, definition: &definition };
    refused(engine, request, status, words);
}

fn put(engine: &Engine, key: u128, text: &str) -> Said {
    let document = doc(text);
    ask(engine, Request::Update { store: "s", key: Key(key), document: &document, upsert: true })
}

fn not_unique(engine: &Engine, key: u128, text: &str, words: &[&str]) {
    let document = doc(text);
    let (key, document) = (Key(key), &document[..]);
    let request = Request::Update { store: "s", key, document, upsert: true };
    refused(engine, request, Status::NotUnique, words);
}

fn alter(engine: &Engine, store: &str, change: &str) -> Said {
    let change = doc(change);
    ask(engine, Request::AlterStore { store, change: &change })
}

fn listed(engine: &Engine) -> String {
    match done(engine, Request::List) {
        Said::Rows(rows, None) => rows.join("\n"),
        other => panic!("{other:?}"),
    }
}

fn entries(engine: &Engine, name: &str) -> u64 {
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
    engine.change("s", rename).unwrap();
    assert_eq!(all(&engine), [r#"1 {"m":2}"#, r#"2 {"m":1}"#]);
    assert_eq!(engine.compare_indexes("s", None).unwrap().1.kept, []);
    // One that keeps its value stands against one that comes, in either order.
    for keys in [[1, 2], [2, 1]] {
        let refusal = engine.change("s", |change| {
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

/// Calls `see` with what the entry says of each field; says of how many.
fn covered(index: &Index, scan: &mut Scan<'_>, mut see: impl FnMut(Covered<'_>)) -> usize {
    let (entry, value) = scan.entry().unwrap();
    let mut fields = 0;
    index
        .covered(&entry, &value, &mut |at, covered| {
            assert_eq!(at, fields);
            fields += 1;
            see(covered);
        })
        .unwrap();
    fields
}

#[test]
fn an_entry_covers_what_the_document_has_type_and_all() {
    let engine = with_store();
    built(&engine, r#"{"name": "up", "fields": ["m", "n"]}"#);
    built(&engine, r#"{"name": "down", "fields": ["-m"]}"#);
    let values = [
        "null",
        "0",
        "-1",
        "1",
        "255",
        "-256",
        "-9223372036854775808",
        "9223372036854775807",
        "2147483648",
        "1.0",
        "-0.0",
        "0.1",
        "-1e300",
        "\"\"",
        "\"a\\u0000b\"",
        "\"żółw\"",
        "true",
        "false",
        r#"{"$date":"2013-01-01T05:15:00Z"}"#,
        r#"{"$numberDecimal":"1.10"}"#,
        r#"{"$oid":"0102030405060708090a0b0c"}"#,
        r#"{"$minKey":1}"#,
        r#"{"$maxKey":1}"#,
        r#"{"$binary":{"base64":"AAEC","subType":"00"}}"#,
    ];
    for (key, value) in values.iter().enumerate() {
        insert(&engine, key as u128, &format!(r#"{{"m":{value},"n":{value}}}"#));
    }
    insert(&engine, 100, "{}");
    let store = Arc::clone(&engine.catalogs.read().stores["s"]);
    let snapshot = engine.lsm.snapshot().unwrap();
    for (name, reverse) in [("up", false), ("up", true), ("down", false), ("down", true)] {
        let index = store.index(name).unwrap();
        let mut scan = Scan::open(&snapshot, index, &Bounds::ALL, reverse).unwrap();
        let mut seen = Vec::new();
        while scan.advance().unwrap() {
            let key = scan.document().unwrap();
            let document = snapshot.get(store.keyspace, &key.to_bytes()).unwrap().unwrap();
            let document = Doc::trusted(&document);
            let mut fields = index.definition.fields.iter();
            let covered = covered(index, &mut scan, |covered| {
                let field = fields.next().unwrap();
                let Covered::Value(value) = covered else { panic!("{document:?}") };
                assert_eq!(format!("{value:?}"), format!("{:?}", document.get(&field.path)));
            });
            assert_eq!(covered, index.definition.fields.len());
            seen.push(document.as_bytes().to_vec());
        }
        assert_eq!(seen.len(), values.len() + 1);
        let m = |bytes: &Vec<u8>| {
            let mut key = Vec::new();
            proto::order::order_key(Doc::trusted(bytes).get("m"), &mut key);
            key
        };
        let ascends = seen.windows(2).all(|pair| m(&pair[0]) <= m(&pair[1]));
        let descends = seen.windows(2).all(|pair| m(&pair[0]) >= m(&pair[1]));
        assert_eq!(
            (ascends, descends),
            if (name == "up") != reverse { (true, false) } else { (false, true) }
        );
    }
    // Arrays, nested documents and cut values are looked for in the document.
    let long = format!(r#""{}""#, "z".repeat(300));
    for value in ["[1]", r#"{"c":1}"#, &long] {
        assert_eq!(put(&engine, 200, &format!(r#"{{"m":{value}}}"#)), Said::Key(Key(200)));
        let index = store.index("down").unwrap();
        let snapshot = engine.lsm.snapshot().unwrap();
        let mut scan = Scan::open(&snapshot, index, &Bounds::ALL, false).unwrap();
        let mut looked = 0;
        while scan.advance().unwrap() {
            let of = scan.document().unwrap() == Key(200);
            let mut look = false;
            covered(index, &mut scan, |covered| look = covered == Covered::Document);
            assert_eq!(of, look);
            looked += usize::from(of);
        }
        assert_eq!(looked, if value == "[1]" { 2 } else { 1 });
        assert_eq!(index.has_arrays(&snapshot).unwrap(), value == "[1]");
        // What is committed behind the snapshot does not count there.
        assert_eq!(put(&engine, 200, r#"{"m":1}"#), Said::Key(Key(200)));
        assert_eq!(index.has_arrays(&snapshot).unwrap(), value == "[1]");
    }
}

#[test]
fn bounds_are_found_and_estimated() {
    let engine = with_store();
    built(&engine, r#"{"name": "i", "fields": ["m", "-n"]}"#);
    let items: Vec<_> =
        (0..2000u128).map(|n| (Some(n), format!(r#"{{"m":{},"n":{n}}}"#, n % 1000))).collect();
    let items: Vec<_> = items.iter().map(|(k, t)| (*k, t.as_str())).collect();
    done(&engine, Request::BatchInsert { store: "s", batch: batch(&items).as_batch() });
    let store = Arc::clone(&engine.catalogs.read().stores["s"]);
    let (snapshot, index) = (engine.lsm.snapshot().unwrap(), store.index("i").unwrap());
    let five = index.prefix(&[Some(Value::Int32(5))]);
    assert!(!five.cut);
    let bounds = Bounds::of(&five.bytes);
    let mut scan = Scan::open(&snapshot, index, &bounds, false).unwrap();
    let mut keys = Vec::new();
    while scan.advance().unwrap() {
        keys.push(scan.document().unwrap().0);
    }
    assert_eq!(keys, [1005, 5]);
    let few = index.estimate(&snapshot, &bounds, 100).unwrap();
    assert_eq!((few.entries, few.exact), (2, true));
    let all = index.estimate(&snapshot, &Bounds::ALL, 0).unwrap();
    assert_eq!((all.entries, all.exact), (2000, true));
    let high = Bounds::behind(&index.prefix(&[Some(Value::Int32(750))]).bytes);
    let half = Bounds { low: std::ops::Bound::Included(five.bytes), high };
    let judged = index.estimate(&snapshot, &half, 100).unwrap();
    assert!(!judged.exact && (101..=2000).contains(&judged.entries), "{judged:?}");
    assert!(index.prefix(&[Some(Value::String(&"x".repeat(300)))]).cut);
}

#[test]
fn a_renamed_store_keeps_everything() {
    let disk = SimDisk::new(1);
    let engine = open_on(disk.clone(), options());
    done(&engine, create("s"));
    done(&engine, create("t"));
    insert(&engine, 1, r#"{"m":1}"#);
    built(&engine, r#"{"name": "i", "fields": ["m"], "unique": true}"#);
    let words = |said| match said {
        Said::Refused(status, message) => (status, message),
        other => panic!("{other:?}"),
    };
    assert_eq!(words(alter(&engine, "s", r#"{"rename":"t"}"#)).0, Status::StoreExists);
    assert_eq!(words(alter(&engine, "s", r#"{"rename":"_x"}"#)).0, Status::BadName);
    assert_eq!(words(alter(&engine, "x", r#"{"rename":"y"}"#)).0, Status::UnknownStore);
    assert_eq!(words(alter(&engine, "s", r#"{}"#)).0, Status::BadChange);
    assert_eq!(words(alter(&engine, "s", r#"{"renam":"y"}"#)).0, Status::BadChange);
    assert_eq!(alter(&engine, "s", r#"{"rename":"r"}"#), Said::Empty);
    refused(&engine, read(1), Status::UnknownStore, &["\"s\""]);
    for engine in [engine, open_on(disk.kill(), options())] {
        assert_eq!(done(&engine, query("r.count()")), Said::Count(1));
        let document = doc(r#"{"m":1}"#);
        let request = Request::Insert { store: "r", key: None, document: &document };
        refused(&engine, request, Status::NotUnique, &["\"i\""]);
    }
}

#[test]
fn documents_expire_by_their_date_and_no_other() {
    let clock = Arc::new(SimClock::new(NOW));
    let entropy = Arc::new(SimEntropy::new(1));
    let engine =
        Engine::open(SimDisk::new(1), Arc::clone(&clock) as _, entropy, options()).unwrap();
    done(&engine, create("s"));
    let at = |seconds: i64| {
        let millis = NOW as i64 / 1000 + seconds * 1000;
        format!(r#"{{"$date":{{"$numberLong":"{millis}"}}}}"#)
    };
    for key in 0..150 {
        insert(&engine, key, &format!(r#"{{"d":{}}}"#, at(-100)));
    }
    insert(&engine, 200, &format!(r#"{{"d":{}}}"#, at(-50)));
    insert(&engine, 201, &format!(r#"{{"d":[{},{}]}}"#, at(500), at(-40)));
    insert(&engine, 202, r#"{"d":"2001-01-01"}"#);
    insert(&engine, 203, r#"{"d":5}"#);
    insert(&engine, 204, "{}");
    for wrong in [
        r#"{"ttl":{"field":"d"}}"#,
        r#"{"ttl":{"field":"d","seconds":-1}}"#,
        r#"{"ttl":{"field":"key","seconds":1}}"#,
        r#"{"ttl":{"field":"d","seconds":1,"x":1}}"#,
        r#"{"ttl":5}"#,
    ] {
        let said = alter(&engine, "s", wrong);
        assert!(matches!(said, Said::Refused(Status::BadChange, _)), "{wrong}: {said:?}");
    }
    assert_eq!(alter(&engine, "s", r#"{"ttl":{"field":"d","seconds":60}}"#), Said::Empty);
    settle(&engine);
    assert_eq!(all(&engine).len(), 5);
    assert_eq!(entries(&engine, "_ttl"), 6);
    clock.advance(Duration::from_secs(9));
    assert!(!engine.tend().unwrap());
    clock.advance(Duration::from_secs(1));
    settle(&engine);
    assert_eq!(all(&engine).len(), 4);
    clock.advance(Duration::from_secs(10));
    settle(&engine);
    assert_eq!(all(&engine).len(), 3);
    // The index goes with the rule, and not before.
    let drop = Request::DropIndex { store: "s", index: "_ttl", if_exists: false };
    refused(&engine, drop, Status::BadIndex, &["expire by this index"]);
    assert!(listed(&engine).contains(r#""ttl":{"field":"d","seconds":60}"#));
    assert_eq!(alter(&engine, "s", r#"{"ttl":null}"#), Said::Empty);
    assert!(!listed(&engine).contains("ttl"), "{}", listed(&engine));
    assert_eq!(engine.compare_indexes("s", None).unwrap().1.kept, []);
}

#[test]
fn a_schema_is_asked_of_every_write() {
    let disk = SimDisk::new(1);
    let engine = open_on(disk.clone(), options());
    done(&engine, create("s"));
    insert(&engine, 1, r#"{"old":true}"#);
    for (wrong, words) in [
        (r#"{"schema":"{"}"#, "it is no JSON"),
        (r#"{"schema":"[]"}"#, "must be an object"),
        (r#"{"schema":"{\"type\":\"nonsense\"}"}"#, "at /type: "),
        (r#"{"schema":"{\"properties\":{\"a\":{\"pattern\":\"(?=x)\"}}}"}"#, "the schema: "),
        (r#"{"schema":"{\"$ref\":\"file:///etc/passwd\"}"}"#, "the schema: "),
        (r#"{"schema":"{\"$ref\":\"https://example.com/x\"}"}"#, "the schema: "),
        (r#"{"schema":5}"#, "schema"),
    ] {
        match alter(&engine, "s", wrong) {
            Said::Refused(Status::BadChange, message) => {
                assert!(message.contains(words), "{wrong}: {message}");
            }
            other => panic!("{wrong}: {other:?}"),
        }
    }
    let schema = r#"{"required":["name"],"properties":{"name":{"type":"string"},
        "tags":{"items":{"pattern":"^[a-z]+$"}},"at":{"type":"string","format":"date-time"},
        "price":{"type":"number","minimum":0}}}"#;
    let mut change = proto::doc::DocBuf::new();
    change.push("schema", schema);
    let change = change.finish().unwrap();
    done(&engine, Request::AlterStore { store: "s", change: &change });
    assert!(listed(&engine).contains(r#""schema":true"#), "{}", listed(&engine));
    let mut engine = engine;
    for reopened in [false, true] {
        if reopened {
            engine = open_on(disk.kill(), options());
        }
        let wrong = |text: &str, words: &[&str]| {
            let document = doc(text);
            let (key, document) = (Key(9), &document[..]);
            let request = Request::Update { store: "s", key, document, upsert: true };
            refused(&engine, request, Status::SchemaMismatch, words);
        };
        wrong("{}", &["\"name\" is a required", &Key(9).to_string()]);
        wrong(r#"{"name":5}"#, &["at /name: ", "string"]);
        wrong(r#"{"name":"a","tags":["b","C"]}"#, &["at /tags/1: "]);
        wrong(r#"{"name":"a","price":{"$numberDecimal":"-1.5"}}"#, &["at /price: "]);
        let set = query("s.filter(old = true).set({name: 7})");
        refused(&engine, set, Status::SchemaMismatch, &["at /name"]);
        let date = r#"{"name":"a","at":{"$date":"2013-01-01T05:15:00Z"},"price":1}"#;
        assert_eq!(put(&engine, 9, date), Said::Key(Key(9)));
        done(&engine, Request::Delete { store: "s", key: Key(9) });
        // What was there before stays, and can go.
        assert_eq!(all(&engine).len(), 1);
    }
}

#[test]
fn a_schema_that_names_itself_ends() {
    let engine = with_store();
    let said = alter(&engine, "s", r##"{"schema":"{\"$ref\":\"#\"}"}"##);
    if said == Said::Empty {
        assert_eq!(put(&engine, 1, r#"{"a":{"b":1}}"#), Said::Key(Key(1)));
    }
    let deep = r##"{"schema":"{\"additionalProperties\":{\"$ref\":\"#\"},\"type\":\"object\"}"}"##;
    assert_eq!(alter(&engine, "s", deep), Said::Empty);
    let text = format!("{}{}", r#"{"a":"#.repeat(60), "{}".to_owned() + &"}".repeat(60));
    assert_eq!(put(&engine, 2, &text), Said::Key(Key(2)));
    let said = put(&engine, 3, r#"{"a":{"b":1}}"#);
    assert!(matches!(said, Said::Refused(Status::SchemaMismatch, _)), "{said:?}");
}

#[test]
fn a_write_under_an_older_catalog_keeps_an_index_made_since() {
    let engine = with_store();
    let before = engine.catalogs.read();
    index(&engine, r#"{"name": "i", "fields": ["m"], "filter": "m > 1"}"#);
    let snapshot = engine.lsm.snapshot().unwrap();
    let store = engine.catalogs.resolve(&before, &snapshot, "s").unwrap();
    assert_eq!(store.indexes.len(), 1);
    assert_eq!(store.indexes[0].phase, Phase::Building);
    assert_eq!(
        store.indexes[0].definition,
        engine.catalogs.read().stores["s"].indexes[0].definition
    );
}

#[test]
fn writers_at_once_get_one_value_once() {
    let engine = open_with(Limits::default());
    built(&engine, r#"{"name": "i", "fields": ["m"], "unique": true}"#);
    let won: u32 = std::thread::scope(|scope| {
        let writer = |thread: u128| {
            let engine = &engine;
            scope.spawn(move || {
                let mut won = 0;
                for n in 0..100u128 {
                    let document = doc(&format!(r#"{{"m":{n}}}"#));
                    let key = Some(Key(thread * 1000 + n));
                    let request = Request::Insert { store: "s", key, document: &document };
                    match ask(engine, request) {
                        Said::Key(_) => won += 1,
                        Said::Refused(Status::NotUnique, _) => {}
                        other => panic!("{other:?}"),
                    }
                }
                won
            })
        };
        let threads: Vec<_> = (1..4).map(writer).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(won, 100);
    assert_eq!(entries(&engine, "i"), 100);
}

#[test]
fn writers_at_once_with_builds_leave_no_entry_behind() {
    let engine = with_store();
    for key in 0..600 {
        insert(&engine, key, &format!(r#"{{"m":{key}}}"#));
    }
    let over = std::sync::atomic::AtomicBool::new(false);
    /// Ends the writers, also if the test fails.
    struct Ends<'a>(&'a std::sync::atomic::AtomicBool);
    impl Drop for Ends<'_> {
        fn drop(&mut self) {
            self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }
    std::thread::scope(|scope| {
        let _ends = Ends(&over);
        for thread in 0..2u128 {
            let (engine, over) = (&engine, &over);
            scope.spawn(move || {
                let mut n = thread;
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    let key = Key(n * 7919 % 600);
                    let document = doc(&format!(r#"{{"m":[{n},{}]}}"#, n % 5));
                    if n % 9 == 0 {
                        ask(engine, Request::Delete { store: "s", key });
                    } else {
                        let document = &document[..];
                        done(engine, Request::Update { store: "s", key, document, upsert: true });
                    }
                    n += 2;
                }
            });
        }
        for round in 0..30 {
            built(&engine, &format!(r#"{{"name":"i{round}","fields":["m"]}}"#));
            if round % 3 == 2 {
                // Not still: whoever writes meanwhile must not look like a fault.
                assert_eq!(engine.compare_indexes("s", None).unwrap().1.kept, []);
                for gone in round - 2..=round {
                    let index = format!("i{gone}");
                    done(
                        &engine,
                        Request::DropIndex { store: "s", index: &index, if_exists: false },
                    );
                }
            }
        }
        built(&engine, r#"{"name":"last","fields":["m"]}"#);
    });
    assert_eq!(engine.compare_indexes("s", None).unwrap().1.kept, []);
}
