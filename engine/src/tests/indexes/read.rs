//! What is read of an index: what its entries say, and how many lie between bounds.

use std::sync::Arc;

use proto::doc::{Doc, Value};
use proto::{Key, Request};

use super::super::kit::*;
use super::{built, put};
use crate::index::{Bounds, Covered, Index, Scan};

/// Calls `see` with what the entry says of each field; says of how many.
fn covered(index: &Index, scan: &mut Scan<'_>, mut see: impl FnMut(Covered<'_>)) -> usize {
    let (entry, value) = scan.entry().unwrap();
    let mut fields = 0;
    index
        .covered(&entry, &value, &mut Vec::new(), &mut |at, covered| {
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
