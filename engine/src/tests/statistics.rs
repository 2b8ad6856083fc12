//! What is expected of an index is near the truth, so the right one is used; and lookups
//! use indexes of the other store.

use proto::{Key, Request, Status};

use super::kit::*;
use crate::{Engine, Limits};

fn index(engine: &Engine, store: &str, definition: &str) {
    let definition = doc(definition);
    done(engine, Request::CreateIndex { store, if_not_exists: false, definition: &definition });
    while engine.tend().unwrap() {}
}

fn put(engine: &Engine, store: &str, key: u128, text: &str) {
    let document = doc(text);
    done(engine, Request::Insert { store, key: Some(Key(key)), document: &document });
}

fn rows(engine: &Engine, text: &str) -> Vec<String> {
    match done(engine, query(text)) {
        Said::Rows(rows, None) => rows,
        other => panic!("{text}: {other:?}"),
    }
}

fn explained(engine: &Engine, text: &str) -> String {
    match done(engine, query(&format!("{text}.explain()"))) {
        Said::Document(text) => text,
        other => panic!("{text}: {other:?}"),
    }
}

/// Flights of one year by the hour, two fifths of them of one carrier.
fn flights(engine: &Engine, carrier: &str, hour: &str) {
    for key in 0..5000u128 {
        let name = if key % 5 < 2 { "UA" } else { ["AA", "B6", "DL", "EV"][key as usize % 4] };
        let name = if key % 1000 == 999 { "OO" } else { name };
        put(engine, "s", key, &format!(r#"{{"{carrier}":"{name}","{hour}":{}}}"#, key / 10));
    }
}

#[test]
fn the_more_selective_of_two_indexes_is_used() {
    let engine = with_store();
    index(&engine, "s", r#"{"name":"by_carrier","fields":["carrier"]}"#);
    index(&engine, "s", r#"{"name":"by_hour","fields":["hour"]}"#);
    flights(&engine, "carrier", "hour");
    let narrow = r#"s.filter(carrier = "UA" and hour between 100 and 120)"#;
    let wide = r#"s.filter(carrier = "OO" and hour between 100 and 200)"#;
    // In memory, where it is judged; in the tree, where it is known.
    for flushed in [false, true] {
        if flushed {
            engine.lsm.flush().unwrap();
        }
        let said = explained(&engine, narrow);
        assert!(said.contains(r#""index":"by_hour""#), "{said}");
        assert!(!flushed || said.contains(r#""expected":210"#), "{said}");
        let said = explained(&engine, wide);
        assert!(said.contains(r#""index":"by_carrier""#), "{said}");
        assert!(said.contains(r#""expected":5"#), "{said}");
        let found = rows(&engine, narrow).len();
        assert_eq!(found, 84);
    }
    // What most documents have is no reason to use an index.
    let said = explained(&engine, r#"s.filter(carrier = "UA")"#);
    assert!(said.contains(r#""step":"scan""#), "{said}");
}

/// Two stores: `t` is looked into, by `code`.
fn two(limits: Limits) -> Engine {
    let engine = open_with(limits);
    done(&engine, create("t"));
    let long = "x".repeat(400);
    let codes = [
        "1".to_owned(),
        "1.0".to_owned(),
        "null".to_owned(),
        "\"a\"".to_owned(),
        "[1,2,\"a\"]".to_owned(),
        "[[1],{\"b\":3}]".to_owned(),
        "{\"b\":3}".to_owned(),
        "true".to_owned(),
        // As long as each other in an index, and different.
        format!("\"{long}1\""),
        format!("\"{long}2\""),
    ];
    for (key, code) in codes.iter().enumerate() {
        put(&engine, "s", key as u128, &format!(r#"{{"c":{code}}}"#));
    }
    put(&engine, "s", 90, "{}");
    put(&engine, "s", 91, r#"{"c":[]}"#);
    put(&engine, "s", 92, r#"{"c":"none has this"}"#);
    for key in 0..900u128 {
        let text = match key % 90 {
            n if (n as usize) < codes.len() => {
                format!(r#"{{"code":{},"n":{key}}}"#, codes[n as usize])
            }
            50 => format!(r#"{{"n":{key}}}"#),
            n => format!(r#"{{"code":"other {n}","n":{key}}}"#),
        };
        put(&engine, "t", key, &text);
    }
    engine
}

#[test]
fn a_lookup_by_an_index_finds_what_one_without_finds() {
    for fields in [r#"["code"]"#, r#"["-code","n"]"#, r#"["code","n","m"]"#] {
        let engine = two(Limits::default());
        let asked = [
            "s.lookup(t, c = code)",
            "s.lookupOne(t, c = code as x)",
            "s.lookup(t, c = code).filter(t.n > 100).pluck(t)",
            "s.filter(c exists).lookupOne(t, c = code).lookup(t, t.code = code as u)",
            "s.lookup(t, c = code).limit(3)",
        ];
        let without: Vec<_> = asked.iter().map(|text| rows(&engine, text)).collect();
        assert!(without[0][0].len() > 500 && without[0][8].matches("\"n\"").count() == 10);
        let said = explained(&engine, asked[0]);
        assert!(said.contains(r#""by":"hash""#), "{said}");
        index(&engine, "t", &format!(r#"{{"name":"i","fields":{fields},"sparse":true}}"#));
        for flushed in [false, true] {
            if flushed {
                engine.lsm.flush().unwrap();
            }
            for (text, without) in asked.iter().zip(&without) {
                assert_eq!(&rows(&engine, text), without, "{fields} {text}");
            }
        }
        let said = explained(&engine, "s.filter(c = true).lookup(t, c = code)");
        let shown = r#""store":"t","by":"index","on":"c = code","index":"i""#;
        assert!(said.contains(shown), "{said}");
        // One row of `s` is read or looked at 13 times, and 10 of `t` are found by 10 entries.
        assert!(said.contains(r#""examined":33,"#), "{said}");
    }
    // One that may lack documents is not used.
    let engine = two(Limits::default());
    index(&engine, "t", r#"{"name":"i","fields":["code"],"filter":"n > 5"}"#);
    let said = explained(&engine, "s.lookup(t, c = code)");
    assert!(said.contains(r#""by":"hash""#), "{said}");
}

#[test]
fn a_store_too_large_for_memory_is_looked_into_by_an_index() {
    let engine = two(Limits { query_memory: 30_000, ..Limits::default() });
    let text = "s.lookup(t, c = code).pluck(c, t.0.n)";
    refused(&engine, query(text), Status::QueryMemory, &["look up", "make an index of the field"]);
    index(&engine, "t", r#"{"name":"i","fields":["code"]}"#);
    assert_eq!(rows(&engine, text).len(), 13);
    // However many rows there are, and however often the same is found.
    for key in 100..1000u128 {
        put(&engine, "s", key, &format!(r#"{{"c":"other {}"}}"#, 11 + key % 30));
    }
    let counted = done(&engine, query("s.lookup(t, c = code).filter(t.n exists).count()"));
    assert_eq!(counted, Said::Count(910));
    // What is found for one row must fit all the same.
    put(&engine, "s", 5000, &{
        let all: Vec<String> = (10..90).map(|n| format!("\"other {n}\"")).collect();
        format!(r#"{{"c":[{}]}}"#, all.join(","))
    });
    refused(&engine, query(text), Status::QueryMemory, &["look up"]);
}

#[test]
fn a_store_is_read_whole_once_that_is_cheaper() {
    let engine = two(Limits::default());
    index(&engine, "t", r#"{"name":"i","fields":["code"]}"#);
    for key in 100..2100u128 {
        put(&engine, "s", key, &format!(r#"{{"c":"other {}"}}"#, 11 + key % 70));
    }
    let said = explained(&engine, "s.lookup(t, c = code)");
    let examined = said.split(r#""examined":"#).nth(1).unwrap().split(',').next().unwrap();
    let examined: u64 = examined.parse().unwrap();
    // 2013 rows, at most 900 / 4 documents and a batch more by entries, then 900 once.
    assert!((2013 + 900..2013 + 900 + 1500).contains(&examined), "{said}");
}
