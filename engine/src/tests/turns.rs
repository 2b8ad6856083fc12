//! Walks that are given up, which is never why a query is refused; and what explain tells,
//! which is what runs.

use std::sync::Arc;

use platform::sim::{SimClock, SimDisk, SimEntropy};
use proto::request::BatchBuf;
use proto::{Key, Request};

use super::kit::*;
use super::query::Ticking;
use crate::{Engine, Limits, Options};

fn index(engine: &Engine, definition: &str) {
    let definition = &doc(definition);
    done(engine, Request::CreateIndex { store: "s", if_not_exists: false, definition });
    while engine.tend().unwrap() {}
}

/// Documents `{u, r, note}` under keys that rise with `u`, `note` of so many bytes.
fn fill(engine: &Engine, documents: u128, note: usize, matches: impl Fn(u128) -> bool) {
    let note = "n".repeat(note);
    for part in (0..documents).collect::<Vec<_>>().chunks(100) {
        let mut batch = BatchBuf::new();
        for &n in part {
            let r = u8::from(matches(n));
            let text = format!(r#"{{"u":{n},"r":{r},"note":"{note}"}}"#);
            batch.push(Some(Key(n)), &doc(&text));
        }
        done(engine, Request::BatchInsert { store: "s", batch: batch.as_batch() });
    }
    engine.flush().unwrap();
}

fn explained(engine: &Engine, text: &str) -> String {
    match done(engine, query(&format!("{text}.explain()"))) {
        Said::Document(told) => told,
        other => panic!("{text}: {other:?}"),
    }
}

fn figure(told: &str, name: &str) -> u64 {
    let number = told.split(&format!(r#""{name}":"#)).nth(1).unwrap().split(',').next().unwrap();
    number.parse().unwrap()
}

/// One engine with 32 KiB for a query and an index, and one with all it wants and none.
/// They hold a thousand documents of 2 KB.
fn little_and_much(matches: impl Fn(u128) -> bool) -> (Engine, Engine) {
    let limits = Limits { query_memory: 32 << 10, query_spill: 0, ..Limits::default() };
    let (little, much) = (open_with(limits), with_store());
    for engine in [&little, &much] {
        fill(engine, 1000, 2000, &matches);
    }
    index(&little, r#"{"fields":["u"]}"#);
    (little, much)
}

#[test]
fn giving_a_walk_up_is_no_reason_to_refuse_a_query() {
    // Given documents of which only the last twenty match, and a memory for fifteen,
    let (little, much) = little_and_much(|n| n >= 980);
    let (turned, not) = (r#""turned":true"#, r#""turned":false"#);
    for (text, told) in [
        // when what is asked for fits, then it is sorted as it would have been at first;
        ("s.filter(r = 1).orderBy(u).limit(20).pluck(u)", turned),
        ("s.filter(r = 1).orderBy(u).skip(5).limit(15).pluck(u)", turned),
        ("s.filter(r = 1).orderBy(u).limit(12)", turned),
        // when it does not, then the walk goes on.
        ("s.filter(r = 1).orderBy(u).limit(20)", not),
        ("s.filter(r = 1).orderBy(u).skip(5).limit(15)", not),
    ] {
        assert_eq!(done(&little, query(text)), done(&much, query(text)), "{text}");
        let said = explained(&little, text);
        assert!(said.contains(r#""otherwise":"scan""#) && said.contains(told), "{text}: {said}");
    }
    // Changes hold what they have chosen besides.
    for text in [
        "s.filter(r = 1).orderBy(u).limit(8).set({m: 1}).returning()",
        "s.filter(r = 1).orderBy(u).limit(14).set({m: 2})",
        "s.filter(r = 1).orderBy(u).limit(20).delete()",
    ] {
        assert_eq!(ask(&little, query(text)), ask(&much, query(text)), "{text}");
    }
    assert_eq!(all(&little), all(&much));
}

#[test]
fn what_one_way_held_is_given_back_before_the_other_begins() {
    // Given two matches soon and others late, and another store, whose table takes more
    // than half of the memory of a query,
    let (little, much) = little_and_much(|n| [3, 38].contains(&n) || n >= 980);
    for engine in [&little, &much] {
        done(engine, create("t"));
        let mut batch = BatchBuf::new();
        let text = "t".repeat(900);
        (0..20).for_each(|n: u128| {
            batch.push(Some(Key(n)), &doc(&format!(r#"{{"k":{},"text":"{text}"}}"#, n * 19)));
        });
        done(engine, Request::BatchInsert { store: "t", batch: batch.as_batch() });
    }
    let text = "s.filter(r = 1).lookup(t, u = k).orderBy(u).limit(3).pluck(u, t)";
    // when the walk is given up with that table in hand, then there is room for it again.
    let told = explained(&little, text);
    assert!(told.contains(r#""turned":true"#), "{told}");
    assert!(figure(&told, "memory_bytes") > 20 << 10, "{told}");
    assert_eq!(done(&little, query(text)), done(&much, query(text)));
    // And when that is refused, halfway through a sort, there is room for the walk's.
    let text = "s.filter(r = 1).lookup(t, u = k).orderBy(u).limit(20)";
    let told = explained(&little, text);
    assert!(told.contains(r#""turned":false"#), "{told}");
    assert_eq!(done(&little, query(text)), done(&much, query(text)));
}

#[test]
fn a_walk_is_given_up_for_entries_of_keys_that_are_not_asked_for() {
    // Given a store in which the highest keys come last in the order asked for,
    let engine = with_store();
    fill(&engine, 3000, 10, |_| true);
    index(&engine, r#"{"fields":["u"]}"#);
    engine.flush().unwrap();
    // when four hundred of them are asked for,
    let text = format!("s.filter(key >= '{}').orderBy(u).limit(1)", Key(2600));
    let told = explained(&engine, &text);
    // then not all entries before them are passed over.
    assert!(told.contains(r#""otherwise":"scan""#) && told.contains(r#""turned":true"#), "{told}");
    assert!(figure(&told, "examined") < 2000, "{told}");
    let Said::Rows(rows, None) = done(&engine, query(&text)) else { panic!("one row") };
    assert!(rows.len() == 1 && rows[0].contains(r#""u":2600"#), "{rows:?}");
}

#[test]
fn explain_tells_what_runs() {
    // Given an index of a field that has one value in nine of ten documents,
    let limits = Limits { slow_query_micros: 1, ..Limits::default() };
    let options = Options { limits, ..options() };
    let clock = Arc::new(Ticking(SimClock::new(NOW)));
    let engine =
        Engine::open(SimDisk::new(1), clock, Arc::new(SimEntropy::new(1)), options).unwrap();
    done(&engine, create("s"));
    fill(&engine, 300, 10, |n| n % 10 != 3);
    index(&engine, r#"{"fields":["r"]}"#);
    index(&engine, r#"{"fields":["r","u"]}"#);
    index(&engine, r#"{"fields":["u"]}"#);
    let way_of = |text: &str| {
        let before = engine.slow_queries_after(0).last().map_or(0, |slow| slow.number);
        done(&engine, query(text));
        engine.slow_queries_after(before).pop().unwrap().plan
    };
    for (text, way) in [
        // A scan meets them at once, in the order asked for.
        ("s.filter(r = 1).limit(2)", "scan, filter, cut"),
        ("s.filter(r = 1).orderBy(key desc).limit(3)", "scan, filter, cut"),
        // Or late: then the index has them.
        ("s.filter(r = 0).limit(2)", "index"),
        ("s.filter(r = 1).orderBy(u).limit(2)", "index"),
        ("s.filter(u < 9).limit(2)", ""),
        ("s.filter(u > 9).orderBy(u desc).limit(3)", "index"),
        ("s.filter(r = 1).limit(40)", ""),
    ] {
        // when a query is asked and explained, then both go one way.
        let (ran, told) = (way_of(text), way_of(&format!("{text}.explain()")));
        assert_eq!(ran, told, "{text}");
        assert!(ran.starts_with(way), "{text}: {ran}");
    }
}
