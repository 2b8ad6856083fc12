//! PQL through the path: what it reads, what it changes, what it refuses.

use std::sync::Arc;

use platform::sim::{SimClock, SimDisk, SimEntropy};
use proto::{Key, Request, Status};

use super::kit::*;
use crate::{Engine, Limits, Options};

fn three() -> Engine {
    let engine = with_store();
    insert(&engine, 1, r#"{"n":1,"t":"a"}"#);
    insert(&engine, 2, r#"{"n":2,"t":"b"}"#);
    engine.flush().unwrap();
    insert(&engine, 3, r#"{"n":3,"t":"b"}"#);
    engine
}

#[test]
fn what_a_query_reads() {
    let engine = three();
    let rows = |text: &str| match done(&engine, query(text)) {
        Said::Rows(rows, None) => rows,
        other => panic!("{other:?}"),
    };
    assert_eq!(rows("s.filter(n > 2)"), [r#"3 {"n":3,"t":"b"}"#]);
    assert_eq!(rows("s.orderBy(n, desc).limit(1).pluck(n)"), [r#"{"n":3}"#]);
    assert_eq!(rows("s.get('00000000000000000000000000000002')"), [r#"2 {"n":2,"t":"b"}"#]);
    assert_eq!(done(&engine, query("s.filter(t = 'b').count()")), Said::Count(2));
    assert_eq!(rows("s.groupBy(t).aggregate(sum: sum(n)).orderBy(t)").len(), 2);
}

#[test]
fn parameters_stand_for_values() {
    let engine = three();
    let parameters = doc(r#"{"1": "b"}"#);
    let ask_with = |parameters| Request::Query { text: "s.filter(t = $1).count()", parameters };
    assert_eq!(done(&engine, ask_with(Some(&parameters[..]))), Said::Count(2));
    refused(&engine, ask_with(None), Status::BadParameter, &["$1", "not given"]);
    let more = doc(r#"{"1": "b", "2": 1}"#);
    refused(&engine, ask_with(Some(&more)), Status::BadParameter, &["1 parameters and 2"]);
    let broken = [9, 0, 0, 0, 1, 2, 3, 4, 5];
    refused(&engine, ask_with(Some(&broken)), Status::BadParameter, &["not valid BSON"]);
}

#[test]
fn what_a_query_changes() {
    let engine = three();
    let Said::Key(key) = done(&engine, query("s.insert({n: 4})")) else { panic!() };
    assert!(key > Key(3));
    let lsn = engine.lsm.last_lsn();
    assert_eq!(done(&engine, query("s.filter(t = 'b').set({n: 0, 'deep.er': 1})")), Said::Count(2));
    assert_eq!(engine.lsm.last_lsn(), lsn + 1, "one commit");
    let rows = all(&engine);
    assert_eq!(rows[0], r#"1 {"n":1,"t":"a"}"#);
    assert_eq!(rows[2], r#"3 {"n":0,"t":"b","deep":{"er":1}}"#);
    assert_eq!(done(&engine, query("s.filter(n = 0).limit(1).delete()")), Said::Count(1));
    assert_eq!(all(&engine).len(), 3);
    assert_eq!(done(&engine, query("s.all().delete()")), Said::Count(3));
    assert_eq!(done(&engine, query("s.all().delete()")), Said::Count(0));
}

#[test]
fn a_change_that_fails_on_one_document_changes_none() {
    let engine = three();
    insert(&engine, 4, r#"{"n":{"m":1}}"#);
    let before = all(&engine);
    for (text, status, words) in [
        // Documents 1 to 3 have a number where 4 has a document.
        ("s.all().set({'n.m': 2})", Status::BadDocument, "document 000"),
        ("s.filter(n = 1).set({'a': 1, 'a.b': 2})", Status::BadDocument, "a"),
        ("s.insert({key: 1})", Status::BadDocument, "`key`"),
    ] {
        match ask(&engine, query(text)) {
            Said::Refused(found, message) => {
                assert!(found == status || found == Status::BadQuery, "{text}: {message}");
                assert!(message.contains(words), "{text}: {message}");
            }
            other => panic!("{text}: {other:?}"),
        }
        assert_eq!(all(&engine), before, "{text}");
    }
}

#[test]
fn what_is_no_query_is_refused_with_its_place() {
    let engine = three();
    for (text, words) in [
        ("s.filter(n =)", "line 1, column"),
        ("s.filter(n like 2)", "column"),
        ("s.delete()", "filter"),
        ("s.filter(n = 1).limit(-1)", "limit"),
        ("s.filter(t ~ '(')", "regular expression"),
    ] {
        refused(&engine, query(text), Status::BadQuery, &[words]);
    }
}

#[test]
fn no_increment_by_set_is_lost_between_read_and_write() {
    // Each thread moves documents from one state to the next by a condition on
    // the state: done atomically, each document is counted by exactly one.
    let engine = with_store();
    for key in 0..40 {
        insert(&engine, key, r#"{"free":true}"#);
    }
    let taken: u64 = std::thread::scope(|scope| {
        let take = || {
            let mut taken = 0;
            for _ in 0..30 {
                let text = "s.filter(free = true).limit(1).set({free: false})";
                let Said::Count(n) = done(&engine, query(text)) else { panic!() };
                taken += n;
            }
            taken
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(taken, 40);
}

fn rows(engine: &Engine, text: &str) -> Vec<String> {
    match done(engine, query(text)) {
        Said::Rows(rows, None) => rows,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn changes_give_documents_back_if_asked() {
    let engine = three();
    assert_eq!(
        rows(&engine, "s.filter(t = 'b').orderBy(n desc).inc({n: 10}).returning()"),
        [r#"3 {"n":13,"t":"b"}"#, r#"2 {"n":12,"t":"b"}"#]
    );
    assert_eq!(
        rows(&engine, "s.filter(n = 13).set({t: 'c'}).unset(n).push({l: 1}).returning(before)"),
        [r#"3 {"n":13,"t":"b"}"#]
    );
    assert_eq!(
        rows(&engine, "s.filter(t = 'c').replace({z: 1}).returning(after)"),
        [r#"3 {"z":1}"#]
    );
    assert_eq!(rows(&engine, "s.filter(z = 1).delete().returning()"), [r#"3 {"z":1}"#]);
    assert_eq!(rows(&engine, "s.filter(z = 1).delete().returning()"), Vec::<String>::new());
    let made = rows(&engine, "s.insert({y: 1}).returning()");
    assert!(made[0].ends_with(r#" {"y":1}"#), "{made:?}");
    assert_eq!(all(&engine).len(), 3);
}

#[test]
fn what_is_given_back_fits_a_reply_before_anything_changes() {
    let limits = Limits {
        max_message_size: 64 << 10,
        max_document_size: 20_000,
        max_batch_size: 10,
        ..Limits::default()
    };
    let engine = open_with(limits);
    for key in 0..5 {
        insert(&engine, key, &format!(r#"{{"p": "{}"}}"#, "x".repeat(15_000)));
    }
    let words = ["nothing was changed", "returning()"];
    refused(&engine, query("s.all().set({a: 1}).returning()"), Status::ResultTooLarge, &words);
    assert_eq!(done(&engine, query("s.all().set({a: 1})")), Said::Count(5));
    assert_eq!(rows(&engine, "s.all().limit(4).unset(p, a).returning()").len(), 4);
}

#[test]
fn an_upsert_changes_what_is_there_or_makes_one() {
    let engine = three();
    let upsert = "s.filter(day = 'mon').upsert({day: 'mon'}).inc({hits: 1}).push({who: 'x'})";
    assert_eq!(done(&engine, query(upsert)), Said::Count(1));
    assert_eq!(done(&engine, query(upsert)), Said::Count(1));
    let found = rows(&engine, "s.filter(day exists).pluck(day, hits, who)");
    assert_eq!(found, [r#"{"day":"mon","hits":2,"who":["x","x"]}"#]);
    // A filter that is a key says which key the new document gets.
    let keyed = "s.filter(key = '000000000000000000000000000000ff').upsert({a: 1}).returning()";
    assert_eq!(rows(&engine, keyed), [r#"255 {"a":1}"#]);
    assert_eq!(rows(&engine, keyed), [r#"255 {"a":1}"#]);
    let before = keyed
        .replace("returning()", "skip(1)")
        .replace(".upsert({a: 1}).skip(1)", ".skip(1).upsert({a: 2})");
    refused(&engine, query(&before), Status::KeyExists, &["000000ff"]);
    refused(&engine, query("s.filter(a = 9).upsert({key: 1})"), Status::BadDocument, &["`key`"]);
    assert_eq!(all(&engine).len(), 5);
}

#[test]
fn lookups_see_other_stores_of_the_same_snapshot() {
    let engine = three();
    done(&engine, create("names"));
    let document = doc(r#"{"code": "b", "name": "bee"}"#);
    let request = Request::Insert { store: "names", key: Some(Key(7)), document: &document };
    done(&engine, request);
    assert_eq!(
        rows(&engine, "s.lookupOne(names, t = code as x).orderBy(n desc).pluck(n, x.name)"),
        [r#"{"n":3,"x.name":"bee"}"#, r#"{"n":2,"x.name":"bee"}"#, r#"{"n":1}"#]
    );
    refused(&engine, query("s.lookup(nix, t = code)"), Status::UnknownStore, &["nix"]);
}

#[test]
fn explain_tells_the_plan_and_changes_nothing() {
    let engine = three();
    let explained = |text: &str| match done(&engine, query(text)) {
        Said::Document(text) => text,
        other => panic!("{other:?}"),
    };
    let told = explained(
        "s.filter(n > 1 and (t = 'b' or t in ['c'])).orderBy(n desc).limit(1).pluck(n).explain()",
    );
    for part in [
        r#""store":"s","plan":[{"step":"scan","store":"s","by":"key","reverse":false,"keys_only":false}"#,
        r#"{"step":"filter","condition":"n > 1 and (t = \"b\" or t in [\"c\"])"}"#,
        r#"{"step":"sort","by":"n desc","keeps":1},{"step":"cut","skip":0,"limit":1},{"step":"pluck","fields":"n"}]"#,
        r#""examined":3,"returned":1,"time_us":0,"#,
        r#""spilled_bytes":0,"spilled_runs":0}"#,
    ] {
        assert!(told.contains(part), "{told}");
    }
    let key = "00000000000000000000000000000002";
    let told = explained(&format!("s.filter(key >= '{key}').orderBy(key desc).explain()"));
    assert!(told.contains(&format!(r#""from":"{key}","to":"ffffffff"#)), "{told}");
    assert!(told.contains(r#""reverse":true"#) && told.contains(r#""examined":2"#), "{told}");
    let told = explained("s.all().delete().explain()");
    assert!(told.contains(r#"{"step":"delete","done":false}"#), "{told}");
    assert!(told.contains(r#""keys_only":true"#) && told.contains(r#""returned":3"#), "{told}");
    assert_eq!(all(&engine).len(), 3);
}

#[test]
fn an_index_leads_to_few_documents_and_a_scan_to_many() {
    let engine = with_store();
    for key in 0..100 {
        insert(&engine, key, &format!(r#"{{"n":{key},"g":{},"t":"t{}"}}"#, key % 3, key % 50));
    }
    let told = |text: &str| match done(&engine, query(&format!("{text}.explain()"))) {
        Said::Document(text) => text,
        other => panic!("{other:?}"),
    };
    assert!(told("s.filter(n = 7)").contains(r#""step":"scan""#), "there is no index");
    for definition in [r#"{"fields":["n"],"name":"n"}"#, r#"{"fields":["g","-t"],"name":"gt"}"#] {
        let definition = &doc(definition);
        done(&engine, Request::CreateIndex { store: "s", if_not_exists: false, definition });
    }
    assert!(told("s.filter(n = 7)").contains(r#""step":"scan""#), "it is not built");
    while engine.tend().unwrap() {}
    let part = |index: &str, on: &str, fields: u64, ranges: u64, expected: u64| {
        let on = on.replace('\'', "\\\"");
        format!(
            r#"{{"index":"{index}","on":"{on}","fields":{fields},"ranges":{ranges},"expected":{expected}}}"#
        )
    };
    for (text, parts, examined, returned) in [
        ("s.filter(n = 7)", part("n", "n = 7", 1, 1, 1), 2, 1),
        ("s.filter(n in [7, 8, 'x'] and g = 1)", part("n", "n in [7, 8, 'x']", 1, 3, 2), 4, 1),
        ("s.filter(n > 90 and n <= 93)", part("n", "n > 90 and n <= 93", 1, 1, 3), 6, 3),
        ("s.filter(g = 1 and t = 't7')", part("gt", "g = 1 and t = 't7'", 2, 1, 1), 2, 1),
        (
            "s.filter(g = 1 and t startsWith 't1' and n >= 0)",
            part("gt", "g = 1 and t startsWith 't1'", 2, 1, 8),
            16,
            8,
        ),
        (
            "s.filter(n = 3 or n = 4 or (g = 2 and t = 't5'))",
            [
                part("n", "n = 3", 1, 1, 1),
                part("n", "n = 4", 1, 1, 1),
                part("gt", "g = 2 and t = 't5'", 2, 1, 1),
            ]
            .join(","),
            6,
            3,
        ),
        ("s.filter(n in [])", part("n", "n in []", 1, 0, 0), 0, 0),
    ] {
        let told = told(text);
        assert!(told.contains(&format!(r#""parts":[{parts}]"#)), "{text}: {told}");
        let figures = format!(r#""examined":{examined},"returned":{returned}"#);
        assert!(told.contains(&figures), "{text}: {told}");
    }
    for text in
        ["s.filter(n > 5)", "s.filter(n != 5)", "s.filter(t = 't7')", "s.filter(n = 1 or t = 't7')"]
    {
        assert!(told(text).contains(r#""step":"scan""#), "{text}");
    }
    // A change finds its documents in the same way, and the index those of the change.
    assert_eq!(done(&engine, query("s.filter(n in [7, 8]).inc({n: 1000})")), Said::Count(2));
    assert_eq!(done(&engine, query("s.filter(n in [7, 8]).count()")), Said::Count(0));
    assert_eq!(done(&engine, query("s.filter(n between 1000 and 2000).count()")), Said::Count(2));
    let last = rows(&engine, "s.filter(n > 90 and n < 100).orderBy(key desc).limit(2).pluck(n)");
    assert_eq!(last, [r#"{"n":99}"#, r#"{"n":98}"#]);
}

#[test]
fn an_index_that_leads_to_too_many_documents_is_not_begun() {
    let engine = with_store();
    let value = |n: u128| match n {
        0 => "a",
        1 => "z",
        n if n % 10 == 0 => "rrrrrrrrrrrrrrrr",
        _ => "mmmmmmmmmmmmmmmm",
    };
    let items: Vec<_> =
        (0..2000).map(|n| (Some(n), format!(r#"{{"g":"{}"}}"#, value(n)))).collect();
    let items: Vec<_> = items.iter().map(|(k, t)| (*k, t.as_str())).collect();
    done(&engine, Request::BatchInsert { store: "s", batch: batch(&items).as_batch() });
    let definition = &doc(r#"{"fields":["g"],"name":"g"}"#);
    done(&engine, Request::CreateIndex { store: "s", if_not_exists: false, definition });
    while engine.tend().unwrap() {}
    let (many, some) = ("s.filter(g = 'mmmmmmmmmmmmmmmm')", "s.filter(g = 'rrrrrrrrrrrrrrrr')");
    for (text, way, examined, returned) in [
        (many.to_owned(), "scan", 2000, 1799),
        // Documents until there are three.
        (format!("{many}.limit(3)"), "scan", 5, 3),
        (some.to_owned(), "index", 199 + 199, 199),
        (format!("{some}.limit(30)"), "index", 30 + 30, 30),
        // A sort needs them all.
        (format!("{some}.orderBy(x).limit(3)"), "index", 199 + 199, 3),
    ] {
        let Said::Document(told) = done(&engine, query(&format!("{text}.explain()"))) else {
            panic!("{text}");
        };
        assert!(told.contains(&format!(r#""step":"{way}""#)), "{text}: {told}");
        let figures = format!(r#""examined":{examined},"returned":{returned}"#);
        assert!(told.contains(&figures), "{text}: {told}");
    }
}

#[test]
fn a_slow_query_is_remembered_and_the_memory_of_them_is_bounded() {
    let limits = Limits { slow_query_micros: 1, ..Limits::default() };
    let clock = Arc::new(Ticking(SimClock::new(NOW)));
    let options = Options { limits, ..options() };
    let engine =
        Engine::open(SimDisk::new(1), clock, Arc::new(SimEntropy::new(1)), options).unwrap();
    done(&engine, create("s"));
    insert(&engine, 1, r#"{"n":1}"#);
    for n in 0..40 {
        done(&engine, query(&format!("s.filter(n = {n})")));
    }
    ask(&engine, query(&format!("s.orderBy(a).filter(b = '{}')", "é".repeat(300))));
    done(&engine, query(&format!("s.filter(b = '{}')", "é".repeat(300))));
    let slow = engine.slow_queries();
    assert_eq!(slow.len(), 32);
    assert_eq!(slow[0].text, "s.filter(n = 9)");
    assert_eq!((slow[0].returned, slow[0].figures.examined), (Some(0), 1));
    assert!(slow[31].text.ends_with("..") && slow[31].text.len() <= 258);
    assert!(engine.running_queries().is_empty());
    let stats = text_of(&engine.stats().unwrap());
    assert!(
        stats.contains(r#""slow_queries":41"#) && stats.contains("last_slow_queries"),
        "{stats}"
    );
}

/// A clock that goes on by a millisecond whenever it is looked at.
pub(super) struct Ticking(pub(super) SimClock);

impl platform::Clock for Ticking {
    fn wall_micros(&self) -> u64 {
        self.0.wall_micros()
    }

    fn monotonic_nanos(&self) -> u64 {
        self.0.advance(std::time::Duration::from_millis(1));
        self.0.monotonic_nanos()
    }
}

#[test]
fn choosing_an_index_is_bounded_and_has_a_deadline() {
    // Each look at the clock takes a millisecond.
    let with_millis = |millis: u64| {
        let limits = Limits { query_micros: millis * 1000, ..Limits::default() };
        let options = Options { limits, ..options() };
        let clock = Arc::new(Ticking(SimClock::new(NOW)));
        let engine =
            Engine::open(SimDisk::new(1), clock, Arc::new(SimEntropy::new(1)), options).unwrap();
        done(&engine, create("s"));
        for key in 0..20 {
            insert(&engine, key, r#"{"n":-1}"#);
        }
        let definition = &doc(r#"{"fields":["n"],"name":"n"}"#);
        done(&engine, Request::CreateIndex { store: "s", if_not_exists: false, definition });
        while engine.tend().unwrap() {}
        engine
    };
    let any = (0..60).map(|n| format!("n = {n}")).collect::<Vec<_>>().join(" or ");
    let many = format!("s.filter({}).count()", vec![format!("({any})"); 20].join(" and "));
    let few = format!("s.filter({any}).count()");
    // The looks of 1200 conditions would take more than the 40, those it may take do not.
    assert_eq!(done(&with_millis(40), query(&many)), Said::Count(0));
    assert_eq!(done(&with_millis(10), query(&few)), Said::Count(0));
    refused(&with_millis(10), query(&many), Status::Timeout, &["after 0 documents"]);
    // Indexes that do not serve a condition take none of the looks.
    let engine = with_store();
    for n in 0..400 {
        insert(&engine, n, &format!(r#"{{"n":{n}}}"#));
    }
    for name in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "n"] {
        let definition = &doc(&format!(r#"{{"fields":["{name}"],"name":"{name}"}}"#));
        done(&engine, Request::CreateIndex { store: "s", if_not_exists: false, definition });
    }
    while engine.tend().unwrap() {}
    let Said::Document(told) = done(&engine, query(&format!("s.filter({any}).explain()"))) else {
        panic!()
    };
    assert!(told.contains(r#""examined":120,"returned":60"#), "{told}");
}

#[test]
fn a_query_has_a_deadline_and_what_it_would_change_stays() {
    let limits = Limits { query_micros: 5_000, ..Limits::default() };
    let clock = Arc::new(Ticking(SimClock::new(NOW)));
    let options = Options { limits, ..options() };
    let engine =
        Engine::open(SimDisk::new(1), clock, Arc::new(SimEntropy::new(1)), options).unwrap();
    done(&engine, create("s"));
    for key in 0..2000 {
        insert(&engine, key, r#"{"n":1}"#);
    }
    let words = ["longer than the 5 ms"];
    refused(&engine, query("s.filter(n = 1).set({n: 2})"), Status::Timeout, &words);
    refused(&engine, query("s.all().delete()"), Status::Timeout, &words);
    assert_eq!(done(&engine, query("s.limit(3).count()")), Said::Count(3));
    assert!(!engine.cancel_query(1), "nothing runs");
}
