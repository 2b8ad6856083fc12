//! Random queries on random documents, against an evaluator that knows nothing of
//! the engine's.
//!
//! What must stay true: `naive.rs` is written by the words of `docs/pql.md` and
//! shares no code of predicates, order, grouping or paths with the engine; each
//! query is asked of memtables, of the tree, after a restart and after collection,
//! with much memory and with so little that sorts and groups spill. A failure
//! prints the seed, the query and what differed.

mod change;
mod make;
mod naive;
mod text;
mod value;

use std::collections::btree_map::Entry;
use std::sync::Arc;

use engine::{Engine, Limits, Options, Principal, Role, Step};
use make::{Dice, Verb};
use naive::{Answer, Store};
use platform::sim::{SimClock, SimDisk, SimEntropy};
use proto::doc::{Doc, DocBuf};
use proto::{Key, Reply, Request, Status, json};
use value::V;

/// Rounds, each of a store of its own; and queries of each phase of one.
const ROUNDS: u64 = 40;
const QUERIES: usize = 150;

fn open(disk: &Arc<SimDisk>, small: bool) -> Engine {
    let mut options = Options::default();
    if small {
        options.limits = Limits { query_memory: 5_000, ..Limits::default() };
    }
    // Values leave the leaves early, so that there is something to collect.
    options.storage.inline_max = 64;
    let clock = Arc::new(SimClock::new(1_700_000_000_000_000));
    Engine::open(disk.clone(), clock, Arc::new(SimEntropy::new(1)), options).expect("a sound disk")
}

fn ask(engine: &Engine, request: Request<'_>) -> Answer {
    let (answer, cursor) = page(engine, request);
    assert_eq!(cursor, None, "it fits a reply");
    answer
}

/// As [`ask`], with rows read a few at a time.
fn ask_by_pages(engine: &Engine, text: &str, parameters: Option<&[u8]>, rows: u32) -> Answer {
    let (first, mut cursor) = page(engine, Request::Stream { rows, bytes: 0, text, parameters });
    let Answer::Rows(mut all) = first else { return first };
    while let Some(at) = cursor {
        let (more, next) = page(engine, Request::Fetch { cursor: at });
        let Answer::Rows(more) = more else { return more };
        assert!(more.len() <= rows as usize);
        all.extend(more);
        cursor = next;
    }
    Answer::Rows(all)
}

fn page(engine: &Engine, request: Request<'_>) -> (Answer, Option<u64>) {
    let mut packet = Vec::new();
    request.encode(1, &mut packet);
    let mut out = Vec::new();
    engine.dispatch_packet(&Principal::new("tester", Role::Admin), &packet, &mut out);
    let mut cursor = None;
    let answer = match Reply::decode(&out).expect("a well-formed reply").1 {
        Reply::Error { status, message } => Answer::Refused(status, message.to_owned()),
        Reply::Count(n) => Answer::Count(n),
        Reply::Rows(rows) => {
            cursor = rows.cursor;
            Answer::Rows(
                rows.iter()
                    .map(|(key, doc)| (key.map(|k| k.0), V::read(Doc::parse(doc).expect("BSON"))))
                    .collect(),
            )
        }
        Reply::Key(key) => Answer::Key(key.0),
        Reply::Empty => Answer::Count(0),
        // Of explain: whether an index was used.
        Reply::Document(doc) => Answer::Count(u64::from(
            json::to_json(Doc::trusted(doc)).contains("\"step\":\"index\""),
        )),
        other => panic!("{other:?}"),
    };
    (answer, cursor)
}

fn insert(engine: &Engine, store: &str, key: u128, document: &V) {
    let document = document.bson();
    let request = Request::Insert { store, key: Some(Key(key)), document: &document };
    assert_eq!(ask(engine, request), Answer::Key(key));
}

/// What was run.
#[derive(Debug, Default)]
struct Tally {
    queries: u64,
    changes: u64,
    rows: u64,
    refused: u64,
    out_of_memory: u64,
    /// Of those explained.
    indexed: u64,
}

/// Indexes of every kind that may be used, over what the queries ask for.
const INDEXES: [&str; 7] = [
    r#"{"fields": ["n"]}"#,
    r#"{"fields": ["s", "-n"]}"#,
    r#"{"fields": ["-a", "b"]}"#,
    r#"{"fields": ["t"], "sparse": true}"#,
    r#"{"fields": ["l.x"]}"#,
    r#"{"fields": ["-l"]}"#,
    r#"{"fields": ["d.x", "-d.y", "s"], "sparse": true}"#,
];

fn index(engine: &Engine, definitions: &[&str]) {
    for definition in definitions {
        let definition = json::parse_json(definition).expect("JSON");
        let (store, definition) = ("a", &definition[..]);
        let request = Request::CreateIndex { store, if_not_exists: false, definition };
        assert_eq!(ask(engine, request), Answer::Count(0));
    }
    while engine.tend().expect("a sound disk") {}
}

/// Asks both; the documents of the naive one change as the engine's.
fn both(
    engine: &Engine,
    a: &mut Store,
    b: &Store,
    dice: &mut Dice,
    small: bool,
    seed: u64,
    tally: &mut Tally,
) {
    let query = make::query(dice);
    let (text, parameters) = query.text(dice);
    let mut given = DocBuf::new();
    for (number, value) in parameters.iter().enumerate() {
        value.push(&mut given, Some(&(number + 1).to_string()));
    }
    let given = given.finish().expect("numbers are unique");
    let given = (!parameters.is_empty()).then_some(&given[..]);
    let got = match dice.below(2) {
        0 => ask(engine, Request::Query { text: &text, parameters: given }),
        _ => ask_by_pages(engine, &text, given, 1 + dice.below(5) as u32),
    };
    tally.queries += 1;
    tally.changes += u64::from(matches!(query.verb, Verb::Change(..)));
    if let Answer::Refused(Status::QueryMemory, message) = &got {
        assert!(small, "seed {seed}: {text}\n{message}");
        tally.out_of_memory += 1;
        return;
    }
    if tally.queries.is_multiple_of(16) && !matches!(query.verb, Verb::Change(..)) {
        let explain = format!("{text}.explain()");
        let request = Request::Query { text: &explain, parameters: given };
        if let Answer::Count(n) = ask(engine, request) {
            tally.indexed += n;
        }
    }
    let expected = naive::answer(&query, a, b);
    let alike = match (&got, &expected) {
        (Answer::Refused(status, _), Answer::Refused(wanted, _)) => status == wanted,
        (got, expected) => naive::alike(got, expected),
    };
    if !alike {
        let documents: Vec<String> = a.iter().map(|(k, d)| format!("  {k}: {d:?}")).collect();
        panic!(
            "seed {seed}\n{text}\nparameters {parameters:?}\nengine {got:#?}\nnaive {expected:#?}\nof\n{}",
            documents.join("\n")
        );
    }
    match got {
        Answer::Rows(rows) => tally.rows += rows.len() as u64,
        Answer::Refused(..) => tally.refused += 1,
        Answer::Count(_) | Answer::Key(_) => {}
    }
}

#[test]
fn the_engine_answers_as_a_naive_evaluator_does() {
    let mut tally = Tally::default();
    for seed in 0..ROUNDS {
        let mut dice = Dice::new(seed);
        let small = seed % 4 == 3;
        let disk = SimDisk::new(seed);
        let mut engine = open(&disk, small);
        let (mut a, mut b) = (Store::new(), Store::new());
        for store in ["a", "b"] {
            ask(&engine, Request::CreateStore { store, if_not_exists: false });
        }
        // Some of the indexes are kept from the first document on, others are built.
        let (first, later) = INDEXES.split_at(if seed % 2 == 1 { 3 } else { 0 });
        index(&engine, first);
        for (store, name, count) in [(&mut a, "a", 30), (&mut b, "b", 10)] {
            for _ in 0..count {
                let (key, document) = (make::key(&mut dice), make::document(&mut dice));
                if let Entry::Vacant(place) = store.entry(key) {
                    insert(&engine, name, key, &document);
                    place.insert(document);
                }
            }
        }
        if seed % 2 == 1 {
            index(&engine, later);
        }
        // In memory; half in the tree; restarted; collected.
        for phase in 0..4 {
            match phase {
                1 => {
                    engine.flush().unwrap();
                    for _ in 0..6 {
                        let (key, document) = (make::key(&mut dice), make::document(&mut dice));
                        if let Entry::Vacant(place) = a.entry(key) {
                            insert(&engine, "a", key, &document);
                            place.insert(document);
                        }
                    }
                }
                2 => {
                    drop(engine);
                    engine = open(&disk, small);
                }
                3 => {
                    engine.flush().unwrap();
                    while !matches!(engine.maintenance().unwrap(), Step::Idle) {}
                }
                _ => {}
            }
            for _ in 0..QUERIES {
                both(&engine, &mut a, &b, &mut dice, small, seed, &mut tally);
            }
            // All there is, once in a while: a wrong change shows itself here.
            let all = ask(&engine, Request::Query { text: "a", parameters: None });
            let model = a.iter().map(|(key, document)| (Some(*key), document.clone())).collect();
            assert!(naive::alike(&all, &Answer::Rows(model)), "seed {seed} phase {phase}");
        }
    }
    println!("{tally:?}");
    assert!(tally.queries >= 20_000, "{tally:?}");
    // A tester that compares nothing with nothing proves nothing.
    assert!(tally.rows > tally.queries && tally.changes > 1000 && tally.refused > 50, "{tally:?}");
    assert!(tally.indexed > 50, "{tally:?}");
    assert!(tally.out_of_memory < tally.queries / 20, "{tally:?}");
}
