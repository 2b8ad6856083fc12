//! What the planner makes of each shape of a query: the way told by `explain`, and the
//! answer compared with that of a store without indexes, before and after a flush.

use proto::{Key, Request, Status};

use super::kit::*;
use crate::query::whim;
use crate::{Engine, Limits};

/// Two engines with the same documents in `s`, one of them with indexes.
struct Both {
    indexed: Engine,
    plain: Engine,
}

impl Both {
    fn new(documents: &[String], definitions: &[&str]) -> Both {
        let both = Both { indexed: with_store(), plain: with_store() };
        for engine in [&both.indexed, &both.plain] {
            for (key, text) in documents.iter().enumerate() {
                // In another order than that of their values.
                insert(engine, (key as u128 * 37) % 1009, text);
            }
        }
        for definition in definitions {
            let definition = &doc(definition);
            let request = Request::CreateIndex { store: "s", if_not_exists: false, definition };
            done(&both.indexed, request);
        }
        while both.indexed.tend().unwrap() {}
        both
    }

    /// The same answers, and of the indexed one an explanation with these parts.
    fn ask_flushed(&self, cases: &[(&str, &[&str])]) {
        for flushed in [false, true] {
            if flushed {
                self.indexed.flush().unwrap();
            }
            for (text, parts) in cases {
                assert_eq!(
                    done(&self.indexed, query(text)),
                    done(&self.plain, query(text)),
                    "{text}"
                );
                let told = explained(&self.indexed, text);
                for part in *parts {
                    assert!(told.contains(part), "{text}: {part} is not in {told}");
                }
            }
        }
    }
}

fn explained(engine: &Engine, text: &str) -> String {
    match done(engine, query(&format!("{text}.explain()"))) {
        Said::Document(told) => told,
        other => panic!("{text}: {other:?}"),
    }
}

const WALK: &str = r#""way":"walk""#;
const FETCH: &str = r#""way":"fetch""#;
const SCAN: &str = r#""step":"scan""#;
const ORDERED: &str = r#""ordered":true"#;
const UNORDERED: &str = r#""ordered":false"#;
const COVERED: &str = r#""covered":true"#;
const UNCOVERED: &str = r#""covered":false"#;
const REVERSE: &str = r#""reverse":true"#;
const SORT: &str = r#""step":"sort""#;

/// Numbers of all types, null, missing, texts: a thousand documents.
fn mixed() -> Vec<String> {
    let one = |n: usize| {
        let value = match n % 10 {
            0 => "null".to_owned(),
            1 => format!("{}.0", n % 100),
            2 => format!(r#"{{"$numberDecimal":"{}.00"}}"#, n % 100),
            3 => format!(r#""t{}""#, n % 50),
            4 => return format!(r#"{{"g":{},"u":{n}}}"#, n % 7),
            _ => (n % 100).to_string(),
        };
        format!(r#"{{"n":{value},"g":{},"u":{n},"d":{{"e":{}}}}}"#, n % 7, n % 3)
    };
    (0..1000).map(one).collect()
}

#[test]
fn an_index_gives_the_order_both_ways() {
    let both = Both::new(
        &mixed(),
        &[r#"{"fields":["n"]}"#, r#"{"fields":["g","-n"]}"#, r#"{"fields":["u"]}"#],
    );
    both.ask_flushed(&[
        ("s.filter(n > 20).orderBy(n).limit(10)", &[WALK, ORDERED, UNCOVERED]),
        ("s.filter(n > 20).orderBy(n desc).limit(10)", &[WALK, ORDERED, REVERSE]),
        ("s.orderBy(n).limit(10)", &[WALK, ORDERED, r#""on":"""#]),
        ("s.orderBy(n).skip(190).limit(30)", &[]),
        ("s.orderBy(n desc).limit(10)", &[WALK, ORDERED, REVERSE]),
        ("s.orderBy(g, n desc).limit(12)", &[WALK, ORDERED]),
        ("s.orderBy(g desc, n).limit(12)", &[WALK, ORDERED, REVERSE]),
        ("s.filter(g = 3).orderBy(n desc).limit(20)", &[WALK, ORDERED, r#""on":"g = 3""#]),
        ("s.filter(g = 3).orderBy(n).limit(20)", &[WALK, ORDERED, REVERSE]),
        ("s.filter(g = 3).orderBy(g, n).limit(5)", &[WALK, ORDERED]),
        ("s.filter(g in [5, 2]).orderBy(g, n desc).limit(5)", &[WALK, ORDERED, r#""ranges":2"#]),
        ("s.orderBy(g).limit(5)", &[WALK, ORDERED]),
        ("s.orderBy(g desc).limit(5)", &[WALK, ORDERED, REVERSE]),
        ("s.orderBy(u desc, n).limit(5)", &[SCAN, SORT]),
        ("s.orderBy(g, n).limit(5)", &[SCAN, SORT]),
        ("s.filter(n > 20).orderBy(g, n).limit(5)", &[SORT]),
        // All of them: to sort them costs less than to find each.
        ("s.orderBy(n)", &[SCAN, SORT]),
        // Where no document is read, it does not.
        ("s.orderBy(n).pluck(n)", &[WALK, ORDERED, COVERED]),
        ("s.orderBy(n desc).pluck(n, key)", &[WALK, ORDERED, COVERED, REVERSE]),
        ("s.filter(g = 3).orderBy(n).pluck(n, g)", &[WALK, ORDERED, COVERED, REVERSE]),
        // Sorted by another field of the entries.
        ("s.filter(g >= 3).orderBy(n).pluck(g)", &[WALK, UNORDERED, COVERED, SORT]),
        // Without an order rows come by key.
        ("s.filter(g >= 3).pluck(g)", &[WALK, COVERED, r#"{"step":"sort","by":"key"}"#]),
    ]);
}

#[test]
fn a_walk_stops_at_the_limit() {
    let both = Both::new(&mixed(), &[r#"{"fields":["u"]}"#, r#"{"fields":["g","u"]}"#]);
    let examined = |text: &str| {
        let told = explained(&both.indexed, text);
        let number = told.split(r#""examined":"#).nth(1).unwrap().split(',').next().unwrap();
        number.parse::<u64>().unwrap()
    };
    for text in [
        "s.filter(u > 100).orderBy(u).limit(10)",
        "s.filter(u > 100).orderBy(u desc).limit(10)",
        "s.orderBy(g, u).limit(10)",
        "s.filter(g = 2).orderBy(u desc).limit(10)",
        "s.filter(u > 100).limit(10).count()",
    ] {
        assert!(examined(text) <= 30, "{text}: {}", examined(text));
    }
    // With what is tested besides, as far as it must.
    assert!(examined("s.filter(u > 100 and n > 50).orderBy(u).limit(5)") < 160);
    // Where the entries say all, no document is read that is not given: 40 of each.
    for text in ["s.filter(u > 100).orderBy(u).limit(40)", "s.filter(g = 2).orderBy(u).limit(40)"] {
        assert_eq!(examined(text), 80, "{text}");
    }
    // From the last on, the entry behind them says whether it is one of several equals.
    assert_eq!(examined("s.filter(g = 2).orderBy(u desc).skip(3).limit(37)"), 81);
}

#[test]
fn what_is_sure_is_not_counted() {
    let both = Both::new(&mixed(), &[r#"{"fields":["g","u"]}"#, r#"{"fields":["u"]}"#]);
    both.indexed.flush().unwrap();
    let looked = || {
        let Said::Document(told) = done(&both.indexed, Request::Stats) else { panic!() };
        let figure = |name: &str| {
            let number = told.split(&format!(r#""{name}":"#)).nth(1).unwrap();
            let digits = number.split(|c: char| !c.is_ascii_digit()).find(|part| !part.is_empty());
            digits.unwrap().parse::<u64>().unwrap()
        };
        figure("cache_hits") + figure("cache_misses")
    };
    for text in ["s.filter(g = 3).orderBy(u).limit(1)", "s.filter(u > 7).orderBy(u desc).limit(1)"]
    {
        let before = looked();
        done(&both.indexed, query(text));
        let asked = looked() - before;
        // What explain tells is counted for it.
        let told = explained(&both.indexed, text);
        let explained = looked() - before - asked;
        assert!(told.contains(WALK) && told.contains(ORDERED), "{told}");
        assert!(asked < explained, "{text}: {asked} pages, told: {explained}");
    }
    // The number told is that of the range, not of the limit.
    let told = explained(&both.indexed, "s.filter(g = 3).orderBy(u).limit(1)");
    assert!(told.contains(r#""expected":143"#), "{told}");
}

#[test]
fn a_walk_whose_filter_is_rare_is_given_up() {
    // Two documents of the first that match, and the last one.
    let one = |n: usize| {
        let rare = u8::from([3, 38, 998].contains(&n));
        format!(r#"{{"u":{n},"k":{},"r":{rare}}}"#, n % 5)
    };
    let documents: Vec<String> = (0..1000).map(one).collect();
    let both = Both::new(&documents, &[r#"{"fields":["u"]}"#, r#"{"fields":["k"]}"#]);
    let turned = [WALK, r#""otherwise":"scan""#, r#""turned":true"#];
    let not = [WALK, ORDERED, r#""otherwise":"scan""#, r#""turned":false"#];
    both.ask_flushed(&[
        // One is still asked for when the walk has cost what a scan does.
        ("s.filter(r = 1).orderBy(u).limit(3)", &turned),
        ("s.filter(r = 1).orderBy(u desc).limit(3)", &turned),
        ("s.filter(r = 1).orderBy(u).skip(1).limit(2)", &turned),
        ("s.filter(r = 1).orderBy(u).limit(3).pluck(u, key)", &turned),
        ("s.filter(r = 7).orderBy(u).limit(1)", &turned),
        ("s.filter(r = 1 and not x exists).orderBy(u).limit(20)", &turned),
        ("s.filter(r = 1).orderBy(u).limit(2)", &not),
        ("s.filter(r = 0).orderBy(u desc).limit(20)", &not),
        // What another index leads to is what it is given up for.
        (
            "s.filter(k = 3 and r = 1).orderBy(u).limit(4)",
            &[WALK, r#""otherwise":"fetch""#, r#""turned":true"#],
        ),
        // All that the range has costs less than a scan: there is nothing to give it up for.
        ("s.filter(u >= 900 and r = 1).orderBy(u).limit(1)", &[WALK, ORDERED]),
    ]);
    let ranged = explained(&both.indexed, "s.filter(u >= 900 and r = 1).orderBy(u).limit(1)");
    assert!(!ranged.contains("otherwise"), "{ranged}");
    let examined = |text: &str| {
        let told = explained(&both.indexed, text);
        let number = told.split(r#""examined":"#).nth(1).unwrap().split(',').next().unwrap();
        number.parse::<u64>().unwrap()
    };
    // Not the 1,000 entries and the 1,000 documents they lead to.
    let rare = examined("s.filter(r = 1).orderBy(u).limit(3)");
    assert!((1000..1700).contains(&rare), "{rare}");
    let soon = examined("s.filter(r = 1).orderBy(u).limit(2)");
    assert!(soon < 200, "{soon}");
}

#[test]
fn long_documents_are_read_a_few_at_a_time() {
    let note = "long ".repeat(20_000);
    let one = |n: usize| format!(r#"{{"u":{},"g":{},"note":"{note}"}}"#, n * 7 % 30, n % 2);
    let documents: Vec<String> = (0..30).map(one).collect();
    let both = Both::new(&documents, &[r#"{"fields":["u"]}"#, r#"{"fields":["g"]}"#]);
    both.ask_flushed(&[
        ("s.filter(u > 2).orderBy(u).limit(9)", &[WALK, ORDERED]),
        ("s.filter(u > 2 and g = 1).orderBy(u).limit(9)", &[]),
        ("s.filter(u in [3, 4, 5])", &[FETCH]),
    ]);
}

#[test]
fn counts_and_fields_come_from_entries_alone() {
    let both = Both::new(&mixed(), &[r#"{"fields":["n"]}"#, r#"{"fields":["g","-n"]}"#]);
    both.ask_flushed(&[
        ("s.count()", &[r#""step":"kept""#, r#""examined":0"#]),
        ("s.skip(3).limit(500).count()", &[r#""step":"kept""#]),
        ("s.skip(990).limit(500).count()", &[]),
        ("s.filter(n = 7).count()", &[COVERED, WALK, r#""on":"n = 7""#]),
        ("s.filter(n > 20 and n <= 80).count()", &[COVERED, r#""on":"n > 20 and n <= 80""#]),
        ("s.filter(n > 20 and n != 30).count()", &[COVERED, r#""condition":"not n = 30""#]),
        ("s.filter(n between 20 and 30).skip(5).limit(3).count()", &[COVERED]),
        ("s.filter(n = null).count()", &[COVERED]),
        ("s.filter(n exists).count()", &[COVERED]),
        ("s.filter(not n exists).count()", &[COVERED, r#""on":"not n exists""#]),
        ("s.filter(n startsWith 't1').count()", &[COVERED]),
        ("s.filter(n ~ '1$').count()", &[COVERED, WALK]),
        ("s.filter(n in [1, 2, 3, 'x'] and n > 1).count()", &[COVERED, r#""ranges":2"#]),
        ("s.filter(g = 1 or g = 2).count()", &[COVERED, FETCH]),
        ("s.filter(g = 1 and n > 10).pluck(n, g)", &[COVERED]),
        ("s.filter(g = 1 and n > 10).orderBy(n).pluck(n, u)", &[UNCOVERED]),
        ("s.groupBy(g).aggregate(c: count(), m: max(n), l: min(n), s: sum(n))", &[COVERED, WALK]),
        ("s.groupBy(n).aggregate(c: count())", &[COVERED]),
        ("s.distinct(n)", &[COVERED]),
        ("s.filter(g > 2).distinct(n).count()", &[COVERED]),
        ("s.groupBy(u).aggregate(c: count()).limit(3)", &[SCAN]),
        ("s.filter(n = 7).lookup(s, g = u).count()", &[UNCOVERED]),
    ]);
    let one = Both::new(&mixed(), &[r#"{"fields":["g","-n"]}"#]);
    let most = "s.filter(n > 50).groupBy(g).aggregate(c: count(n)).orderBy(c desc).limit(2)";
    one.ask_flushed(&[(most, &[COVERED, r#""condition":"n > 50""#])]);
}

#[test]
fn nested_conditions_use_indexes() {
    let both = Both::new(&mixed(), &[r#"{"fields":["u"]}"#, r#"{"fields":["d.e","u"]}"#]);
    both.ask_flushed(&[
        ("s.filter((u = 1 and g = 1) and n = 1)", &[r#""on":"u = 1""#]),
        ("s.filter(not (not u = 1 or g = 5))", &[r#""on":"u = 1""#]),
        ("s.filter(not not u in [1, 2])", &[r#""on":"u in [1, 2]""#]),
        ("s.filter((u = 1 or u = 2) or (u = 3 or u = 4))", &[FETCH, r#""expected":1"#]),
        ("s.filter(u > 10 and (u < 15 and (g = 2 or g = 3)))", &[r#""on":"u > 10 and u < 15""#]),
        ("s.filter(d.e = 2 and u < 30).orderBy(u desc).limit(3)", &[ORDERED, REVERSE]),
        ("s.filter(d.e = 2).count()", &[COVERED]),
        ("s.filter(d.e = 2 and u < 30).pluck(u, d.e)", &[COVERED]),
        // Another path than that of the entries.
        ("s.filter(d.e = 2 and u < 30).pluck(d)", &[UNCOVERED]),
    ]);
}

#[test]
fn long_lists_are_points_up_to_a_bound() {
    let both = Both::new(&mixed()[..150], &[r#"{"fields":["u"]}"#]);
    let list = |count: usize, step: usize| {
        let values: Vec<_> = (0..count).rev().map(|n| (n * step).to_string()).collect();
        values.join(",")
    };
    // Values that are there twice, out of order.
    let many = format!("s.filter(u in [{},5,9,5])", list(200, 1000));
    let most = format!("s.filter(u in [{}]).count()", list(4096, 3));
    let more = format!("s.filter(u in [{}]).count()", list(4097, 3));
    // So many are not worth it in a small store.
    both.ask_flushed(&[(&most, &[SCAN])]);
    whim::set(Some(1));
    both.ask_flushed(&[
        (&many, &[r#""ranges":202"#, FETCH]),
        (&most, &[r#""ranges":4096"#, COVERED]),
        (&more, &[r#""fields":0"#, COVERED]),
    ]);
    whim::set(None);
}

#[test]
fn keys_that_are_named_are_read_one_by_one() {
    let both = Both::new(&mixed(), &[]);
    let (near, far) = (Key(37), Key(1008));
    let named = format!("s.filter(key in ['{far}', '{near}', 'x', 7])");
    both.ask_flushed(&[
        (&named, &[r#""step":"keys""#, r#""keys":2"#, r#""examined":2"#]),
        (&format!("{named}.orderBy(key desc)"), &[r#""step":"keys""#, REVERSE]),
        (&format!("s.filter(key = '{near}')"), &[r#""step":"keys""#, r#""examined":1"#]),
        (&format!("s.filter(key = '{}')", Key(5000)), &[r#""step":"keys""#, r#""returned":0"#]),
        (&format!("s.filter(key in ['{far}'] or u = 3)"), &[SCAN]),
        (&format!("s.filter(key in ['{near}', '{far}']).count()"), &[r#""keys":2"#]),
    ]);
}

#[test]
fn arrays_are_found_by_each_item_and_give_no_order() {
    let mut documents = mixed();
    documents.push(r#"{"n":[5,50,"x",5],"g":[1,2],"u":2000}"#.to_owned());
    documents.push(r#"{"n":[],"g":1,"u":2001}"#.to_owned());
    let both = Both::new(
        &documents,
        &[r#"{"fields":["n"]}"#, r#"{"fields":["g","n"]}"#, r#"{"fields":["u"]}"#],
    );
    both.ask_flushed(&[
        ("s.orderBy(n).limit(10)", &[SCAN, SORT]),
        ("s.filter(n > 45).orderBy(n).limit(10)", &[SORT]),
        ("s.filter(n >= 5 and n <= 50).count()", &[SCAN]),
        ("s.filter(n = 5).count()", &[WALK, COVERED]),
        ("s.filter(n in [5, 50]).count()", &[FETCH, COVERED]),
        ("s.filter(g = 1 and n = 50)", &[r#""fields":2"#]),
        ("s.filter(g = 1 and n = 50).orderBy(n)", &[SORT]),
        ("s.groupBy(g).aggregate(c: count())", &[SCAN]),
        ("s.distinct(n)", &[SCAN]),
        // Another index, of which no document has an array.
        ("s.filter(u >= 1990).orderBy(u desc).limit(10)", &[WALK, ORDERED]),
    ]);
}

#[test]
fn long_values_are_told_apart_by_their_documents() {
    let long = |n: usize| format!("{}{:03}", "x".repeat(260), (n * 7) % 30);
    let mut documents: Vec<String> = (0..120)
        .map(|n| match n % 4 {
            0 => format!(r#"{{"t":"a{n}","g":{}}}"#, n % 2),
            1 => format!(r#"{{"t":"y{n}","g":{}}}"#, n % 2),
            _ => format!(r#"{{"t":"{}","g":{}}}"#, long(n), n % 2),
        })
        .collect();
    documents.push(r#"{"g":1}"#.to_owned());
    for definitions in [
        [r#"{"fields":["t"]}"#, r#"{"fields":["g","t"]}"#],
        [r#"{"fields":["-t"]}"#, r#"{"fields":["g","-t","u"]}"#],
    ] {
        let both = Both::new(&documents, &definitions);
        let one = long(2);
        both.ask_flushed(&[
            ("s.orderBy(t).limit(50).pluck(t)", &[ORDERED]),
            ("s.orderBy(t desc).limit(70).pluck(t, key)", &[ORDERED]),
            ("s.orderBy(t).pluck(t, key)", &[ORDERED]),
            ("s.filter(g = 1).orderBy(t).limit(50).pluck(t)", &[ORDERED]),
            ("s.filter(g = 0).orderBy(t desc).pluck(key)", &[ORDERED]),
            (&format!("s.filter(t = '{one}').count()"), &[r#""step":"filter""#]),
            (&format!("s.filter(t = '{one}').limit(3)"), &[r#""step":"filter""#]),
            (&format!("s.filter(t > '{one}').count()"), &[r#""step":"filter""#]),
            (&format!("s.filter(t <= '{one}').count()"), &[r#""step":"filter""#]),
            (&format!("s.filter(t between 'a' and '{one}').count()"), &[r#""step":"filter""#]),
            (&format!("s.filter(t startsWith '{}').count()", &one[..250]), &[]),
            ("s.filter(t startsWith 'xx').count()", &[COVERED]),
            ("s.filter(t > 'a' and t < 'y').count()", &[COVERED]),
            ("s.groupBy(t).aggregate(n: count())", &[COVERED]),
            ("s.distinct(t).orderBy(t desc).limit(40)", &[COVERED]),
        ]);
    }
}

#[test]
fn an_index_that_lacks_documents_is_used_where_none_is_missed() {
    let both = Both::new(
        &mixed(),
        &[
            r#"{"fields":["u"],"filter":"g = 3 and u > 10","name":"part"}"#,
            r#"{"fields":["n"],"sparse":true,"name":"sparse"}"#,
        ],
    );
    let (part, sparse) = (r#""index":"part""#, r#""index":"sparse""#);
    both.ask_flushed(&[
        ("s.filter(g = 3 and u > 10).count()", &[part, COVERED]),
        ("s.filter(g = 3 and u > 900).count()", &[part, COVERED]),
        ("s.filter(u in [20, 3, 17] and g = 3)", &[SCAN]),
        ("s.filter(u in [20, 13, 17] and g in [3])", &[part]),
        ("s.filter(g = 3 and u > 50).orderBy(u).limit(5)", &[part, ORDERED]),
        ("s.filter(g = 3 and u > 5).orderBy(u).limit(5)", &[SCAN]),
        ("s.filter(g = 4 and u > 50).orderBy(u).limit(5)", &[SCAN]),
        ("s.orderBy(u).limit(5)", &[SCAN]),
        ("s.filter(n exists).orderBy(n).limit(5)", &[sparse, ORDERED]),
        ("s.filter(n > 10).orderBy(n desc).limit(5)", &[sparse, ORDERED]),
        ("s.filter(n ~ '1').count()", &[sparse, COVERED]),
        ("s.orderBy(n).limit(5)", &[SCAN]),
        ("s.filter(not n exists).count()", &[SCAN]),
        ("s.filter(n != 7).count()", &[SCAN]),
        ("s.groupBy(n).aggregate(c: count())", &[SCAN]),
    ]);
}

#[test]
fn equal_rows_are_picked_in_passes_that_fit_memory() {
    let limits = Limits { query_memory: 6_000, ..Limits::default() };
    let (little, plain) = (open_with(limits), with_store());
    for key in 0..700u128 {
        // Keys in another order than the second field, and texts that are cut alike.
        let text = format!(
            r#"{{"g":{},"n":{},"t":"{}{}"}}"#,
            key % 2,
            (key * 389) % 700,
            "x".repeat(250),
            (key * 13) % 90
        );
        insert(&little, key, &text);
        insert(&plain, key, &text);
    }
    for definition in [r#"{"fields":["g","n"]}"#, r#"{"fields":["-t","n"]}"#] {
        let definition = &doc(definition);
        done(&little, Request::CreateIndex { store: "s", if_not_exists: false, definition });
    }
    while little.tend().unwrap() {}
    for (text, index) in [
        ("s.orderBy(g).pluck(key)", "g_n"),
        ("s.orderBy(g desc).pluck(key)", "g_n"),
        ("s.orderBy(g desc).skip(300).limit(100).pluck(key)", "g_n"),
        ("s.orderBy(t desc, n).limit(600).pluck(key, n)", "t_desc_n"),
        ("s.orderBy(t).pluck(key)", "t_desc_n"),
    ] {
        whim::set(Some(1));
        let (got, told) = (done(&little, query(text)), explained(&little, text));
        whim::set(None);
        assert_eq!(got, done(&plain, query(text)), "{text}");
        assert!(
            told.contains(ORDERED) && told.contains(&format!(r#""index":"{index}""#)),
            "{told}"
        );
        let memory = told.split(r#""memory_bytes":"#).nth(1).unwrap().split(',').next().unwrap();
        assert!((1..=6_000).contains(&memory.parse::<u64>().unwrap()), "{told}");
    }
    // Not even one fits.
    let limits = Limits { query_memory: 100, ..Limits::default() };
    let none = open_with(limits);
    for key in 0..3 {
        insert(&none, key, r#"{"g":1,"n":1}"#);
    }
    let definition = &doc(r#"{"fields":["g","n"]}"#);
    done(&none, Request::CreateIndex { store: "s", if_not_exists: false, definition });
    while none.tend().unwrap() {}
    whim::set(Some(1));
    refused(&none, query("s.orderBy(g).pluck(key)"), Status::QueryMemory, &["to sort"]);
    whim::set(None);
}

#[test]
fn changes_choose_by_indexes_in_the_same_order() {
    let both = Both::new(&mixed(), &[r#"{"fields":["g","-n"]}"#]);
    for text in [
        "s.filter(g = 2).orderBy(n).limit(7).set({m: 1}).returning()",
        "s.filter(g = 2 and n > 5).orderBy(n desc).limit(3).delete().returning()",
        "s.filter(g = 1 and n > 90).delete()",
        "s.filter(g in [4, 5]).orderBy(g, n desc).limit(9).inc({m: 1000}).returning()",
        "s.orderBy(g, n desc, key).limit(20)",
    ] {
        assert_eq!(done(&both.indexed, query(text)), done(&both.plain, query(text)), "{text}");
    }
    assert_eq!(all(&both.indexed), all(&both.plain));
}

#[test]
fn gets_and_inserts_are_explained_and_write_nothing() {
    let engine = with_store();
    insert(&engine, 1, r#"{"n":1}"#);
    let definition = &doc(r#"{"fields":["n"],"name":"by_n"}"#);
    done(&engine, Request::CreateIndex { store: "s", if_not_exists: false, definition });
    let told = explained(&engine, "s.get('00000000000000000000000000000001')");
    let get = r#""plan":[{"step":"get","store":"s","key":"00000000000000000000000000000001"}]"#;
    assert!(
        told.contains(get) && told.contains(r#""entries":0,"examined":1,"returned":1"#),
        "{told}"
    );
    let told = explained(&engine, "s.get('00000000000000000000000000000009')");
    assert!(told.contains(r#""returned":0"#), "{told}");
    for text in ["s.insert({n: 2})", "s.insert({n: 2}).returning()"] {
        let told = explained(&engine, text);
        let step = r#"{"step":"insert","store":"s","bytes":12,"indexes":["by_n"],"done":false}"#;
        assert!(told.contains(step), "{told}");
    }
    assert_eq!(all(&engine).len(), 1);
}
