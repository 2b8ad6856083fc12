//! One document can be long: a query ends within it too.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use lsm::{Batch, KeyspaceId, Lsm, Options};
use platform::Clock;
use platform::sim::{SimClock, SimDisk};
use proto::doc::DocBuf;
use proto::{Key, Status};

use crate::pql::parse;
use crate::query::*;

const STORE: KeyspaceId = KeyspaceId(7);

/// A millisecond passes between two looks at it.
struct Ticking(AtomicU64);

impl Clock for Ticking {
    fn wall_micros(&self) -> u64 {
        0
    }

    fn monotonic_nanos(&self) -> u64 {
        self.0.fetch_add(1_000_000, Ordering::Relaxed)
    }
}

/// A store of one document with so many items, in `a` and in documents below `d`.
fn long(items: i32) -> Lsm {
    let lsm = Lsm::open(SimDisk::new(1), Arc::new(SimClock::new(0)), Options::default()).unwrap();
    let mut doc = DocBuf::new();
    doc.array("a", |array| {
        for n in 0..items {
            array.item(n);
        }
    });
    doc.array("d", |array| {
        for n in 0..items {
            array.item_doc(|doc| {
                doc.push("b", n);
            });
        }
    });
    let mut batch = Batch::new();
    batch.put_new(STORE, &Key(1).to_bytes(), &doc.finish().unwrap());
    lsm.commit(&batch).unwrap();
    lsm
}

fn run(lsm: &Lsm, condition: &str, millis: u64) -> Result<(), QueryError> {
    let query = parse(&format!("s.filter({condition}).count()")).unwrap();
    let Plan::Select(plan) = bind(&query, None).unwrap() else { panic!("{condition}") };
    let limits = Limits { memory: 1 << 20, reply: 1 << 20, spill: 0, micros: Some(millis * 1000) };
    let clock = Arc::new(Ticking(AtomicU64::new(0)));
    let work = Work::new(clock, limits, Arc::new(AtomicBool::new(false)), None);
    let snapshot = lsm.snapshot().unwrap();
    let scope =
        Scope { snapshot: &snapshot, keyspace: STORE, indexes: &[], lookups: &[], work: &work };
    select(scope, &plan).map(drop)
}

#[test]
fn a_deadline_is_met_within_a_document() {
    let (short, long) = (long(100), long(100_000));
    for condition in [
        "a contains -1",
        "a = -1",
        "a in [-1, -2, 'x']",
        "a between -9 and -1",
        "d.b = -1",
        "d.b in [-1, -2]",
        "not a ~ 'x'",
        "a exists and d.b > 200000",
    ] {
        // Looked at every 64 items: not once in a short one, 1500 times in a long one.
        run(&short, condition, 20).unwrap();
        let ended = run(&long, condition, 1000);
        let timeout = matches!(&ended, Err(QueryError::Refused(Status::Timeout, _)));
        assert!(timeout, "{condition}: {ended:?}");
    }
}

#[test]
fn a_value_is_found_in_a_list_however_it_was_written() {
    let lsm = Lsm::open(SimDisk::new(1), Arc::new(SimClock::new(0)), Options::default()).unwrap();
    let mut batch = Batch::new();
    let documents = ["1", "2.5", "null", "\"b\"", "[7,8]", "{\"c\":1}", "true"];
    for (key, value) in documents.iter().enumerate() {
        let document = proto::json::parse_json(&format!("{{\"a\":{value}}}")).unwrap();
        batch.put_new(STORE, &Key(key as u128).to_bytes(), &document);
    }
    lsm.commit(&batch).unwrap();
    let snapshot = lsm.snapshot().unwrap();
    let count = |list: &str| {
        let query = parse(&format!("s.filter(a in {list}).count()")).unwrap();
        let Plan::Select(plan) = bind(&query, None).unwrap() else { panic!("{list}") };
        let limits = Limits { memory: 1 << 20, reply: 1 << 20, spill: 0, micros: None };
        let cancelled = Arc::new(AtomicBool::new(false));
        let work = Work::new(Arc::new(SimClock::new(0)), limits, cancelled, None);
        let scope =
            Scope { snapshot: &snapshot, keyspace: STORE, indexes: &[], lookups: &[], work: &work };
        match select(scope, &plan).unwrap() {
            Selected::Count(count) => count,
            Selected::Rows(_) => panic!("{list} was counted"),
        }
    };
    assert_eq!(count("[true, 'b', {c: 1}, 8, null, 2.50, 1.0]"), 7);
    assert_eq!(count("['z', 9, 8, 3, 'a', 1, 1, 1.0, false, {c: 2}, [7]]"), 2);
    assert_eq!(count("[[7, 8.0], true, 'a', {c: 1, d: 1}]"), 2);
    assert_eq!(count("[]"), 0);
}
