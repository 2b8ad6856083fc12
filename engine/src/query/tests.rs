//! Queries against a small store, answers written by hand.

mod within;

use super::*;
use crate::pql::parse;
use lsm::{Batch, KeyspaceId, Lsm, Options};
use platform::Clock;
use platform::sim::{SimClock, SimDisk};
use proto::doc::DocBuf;
use proto::{Reply, ReplyWriter, json};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

const STORE: KeyspaceId = KeyspaceId(7);
/// Another store, for lookups.
const OTHER: KeyspaceId = KeyspaceId(8);
const LIMITS: Limits = Limits { memory: 1 << 20, reply: 1 << 20, spill: 0, micros: None };

/// A store of these documents, under keys 0, 1, ..; the first half flushed.
fn store(documents: &[&str]) -> Lsm {
    let lsm = Lsm::open(SimDisk::new(1), Arc::new(SimClock::new(0)), Options::default()).unwrap();
    for (number, text) in documents.iter().enumerate() {
        let mut batch = Batch::new();
        let document = json::parse_json(text).unwrap();
        batch.put_new(STORE, &Key(number as u128).to_bytes(), &document);
        lsm.commit(&batch).unwrap();
        if number == documents.len() / 2 {
            lsm.flush().unwrap();
        }
    }
    lsm
}

/// Runs a query; what it used too.
fn run_in(lsm: &Lsm, text: &str, work: &Work) -> Result<Vec<String>, QueryError> {
    let query = parse(text).unwrap_or_else(|e| panic!("{e}"));
    let Plan::Select(plan) = bind(&query, None).unwrap() else { panic!("{text}") };
    let snapshot = lsm.snapshot().unwrap();
    let lookups = [const { Foreign::new(OTHER) }; 8];
    let scope =
        Scope { snapshot: &snapshot, keyspace: STORE, indexes: &[], lookups: &lookups, work };
    let mut stream = match select(scope, &plan)? {
        Selected::Count(n) => return Ok(vec![n.to_string()]),
        Selected::Rows(stream) => stream,
    };
    // What is left of the rows needs nothing of this.
    drop(snapshot);
    let mut all = Vec::new();
    while page(&mut stream, work, PageSize::FULL, &mut all)? {}
    if plan.limit.is_none() {
        assert_eq!(work.held(), Held::default(), "{text}: all is given back");
    }
    Ok(all)
}

/// Reads a page; whether there may be more.
fn page(
    stream: &mut Stream,
    work: &Work,
    size: PageSize,
    all: &mut Vec<String>,
) -> Result<bool, QueryError> {
    let mut packet = Vec::new();
    let page = stream.page(work, size, ReplyWriter::new(0, &mut packet))?;
    let more = page.more;
    page.rows.finish(None);
    assert!(packet.len() <= work.limits().reply);
    let Reply::Rows(rows) = Reply::decode(&packet).unwrap().1 else { panic!("no rows") };
    all.extend(rows.iter().map(|(key, doc)| {
        let mut text = String::new();
        json::write_json(Doc::parse(doc).unwrap(), &mut text);
        key.map_or(text.clone(), |key| format!("{} {text}", key.0))
    }));
    Ok(more)
}

fn work(limits: Limits) -> Work {
    let space = SpillSpace::open(SimDisk::new(2)).unwrap();
    let cancelled = Arc::new(AtomicBool::new(false));
    Work::new(Arc::new(SimClock::new(0)), limits, cancelled, Some(Arc::new(space)))
}

fn run(lsm: &Lsm, text: &str, limits: Limits) -> Result<Vec<String>, QueryError> {
    run_in(lsm, text, &work(limits))
}

fn ask(lsm: &Lsm, text: &str) -> Vec<String> {
    run(lsm, text, LIMITS).unwrap_or_else(|e| panic!("{text}: {e:?}"))
}

/// The keys of the documents a condition holds for, as digits.
fn met(lsm: &Lsm, condition: &str) -> String {
    let rows = ask(lsm, &format!("s.filter({condition})"));
    rows.iter().map(|row| row.split(' ').next().unwrap()).collect()
}

#[test]
fn every_operator_on_every_kind_of_value() {
    let lsm = store(&[
        r#"{"a": 1}"#,
        r#"{"a": 2.0}"#,
        r#"{"a": "two"}"#,
        r#"{"a": null}"#,
        r#"{}"#,
        r#"{"a": [1, "two", null]}"#,
        r#"{"a": {"b": 2}}"#,
        r#"{"a": [{"b": 2}, {"b": 3}]}"#,
        r#"{"a": true}"#,
    ]);
    for (condition, expected) in [
        ("a = 2", "1"),
        ("a = 1.0", "05"),
        ("a != 1", "1234678"),
        ("a = null", "35"),
        ("a != null", "0124678"),
        ("a exists", "01235678"),
        ("not a exists", "4"),
        ("a > 0", "015"),
        ("a >= 2", "1"),
        ("a < 2", "05"),
        ("a <= 'two'", "25"),
        ("a in [2, 'two', true]", "1258"),
        ("a in []", ""),
        ("a between 1 and 2", "015"),
        ("a contains 'w'", "25"),
        ("a contains 1", "5"),
        ("a startsWith 'tw'", "25"),
        ("a ~ '^t.o$'", "25"),
        ("a.b = 2", "67"),
        ("a.b > 2", "7"),
        ("a.1.b = 3", "7"),
        ("a = {b: 2}", "67"),
        ("a = [1, 'two', null]", "5"),
        ("a = true or a = 1", "058"),
        ("(a = 1 or a = 2) and not a = 2", "05"),
        ("key = '00000000000000000000000000000004'", "4"),
        ("key > '00000000000000000000000000000006'", "78"),
    ] {
        assert_eq!(met(&lsm, condition), expected, "{condition}");
    }
}

#[test]
fn order_skip_limit_and_pluck() {
    let lsm = store(&[
        r#"{"n": 3, "t": "c"}"#,
        r#"{"n": 1, "t": "a"}"#,
        r#"{"t": "d"}"#,
        r#"{"n": 3, "t": "b"}"#,
        r#"{"n": null}"#,
    ]);
    let keys = |text: &str| -> String {
        ask(&lsm, text).iter().map(|row| row.split(' ').next().unwrap().to_owned()).collect()
    };
    assert_eq!(keys("s.orderBy(n)"), "24103");
    assert_eq!(keys("s.orderBy(n, desc)"), "03142");
    assert_eq!(keys("s.orderBy(n desc, t)"), "30142");
    assert_eq!(keys("s.orderBy(n).skip(1).limit(2)"), "41");
    assert_eq!(keys("s.skip(1).limit(2)"), "12");
    assert_eq!(keys("s.limit(0)"), "");
    assert_eq!(keys("s.orderBy(key desc).limit(2)"), "43");
    assert_eq!(ask(&lsm, "s.filter(n = 3).pluck(t, x)"), [r#"{"t":"c"}"#, r#"{"t":"b"}"#]);
    assert_eq!(ask(&lsm, "s.count()"), ["5"]);
    assert_eq!(ask(&lsm, "s.filter(n exists).count()"), ["4"]);
    assert_eq!(ask(&lsm, "s.skip(3).limit(9).count()"), ["2"]);
    assert_eq!(ask(&lsm, "s.limit(0).count()"), ["0"]);
}

#[test]
fn groups() {
    let lsm = store(&[
        r#"{"g": "x", "n": 1}"#,
        r#"{"g": "y", "n": 2.5}"#,
        r#"{"g": "x", "n": 3}"#,
        r#"{"n": "text"}"#,
        r#"{"g": "y", "n": null}"#,
        r#"{"g": "y"}"#,
    ]);
    assert_eq!(
        ask(
            &lsm,
            "s.groupBy(g).aggregate(rows: count(), n: count(n), sum: sum(n), avg: avg(n), min: min(n), max: max(n))"
        ),
        [
            r#"{"rows":1,"n":1,"sum":0,"avg":null,"min":"text","max":"text"}"#,
            r#"{"g":"x","rows":2,"n":2,"sum":4,"avg":2.0,"min":1,"max":3}"#,
            r#"{"g":"y","rows":3,"n":1,"sum":2.5,"avg":2.5,"min":2.5,"max":2.5}"#,
        ]
    );
    assert_eq!(
        ask(&lsm, "s.groupBy(g).aggregate(c: count()).orderBy(c, desc).limit(2)"),
        [r#"{"g":"y","c":3}"#, r#"{"g":"x","c":2}"#]
    );
    assert_eq!(ask(&lsm, "s.filter(n > 0).aggregate(t: sum(n))"), [r#"{"t":6.5}"#]);
    assert_eq!(
        ask(&lsm, "s.filter(n > 100).aggregate(c: count(), t: max(n))"),
        [r#"{"c":0,"t":null}"#]
    );
    assert_eq!(
        ask(&lsm, "s.filter(n > 100).groupBy(g).aggregate(c: count())"),
        Vec::<String>::new()
    );
}

#[test]
fn groups_are_ordered_by_what_they_have() {
    let lsm = store(&[
        r#"{"a": {"b": 1}, "x": 5}"#,
        r#"{"a": {"b": 3}, "x": 4}"#,
        r#"{"a": {"b": 2}, "x": 6}"#,
    ]);
    assert_eq!(
        ask(&lsm, "s.groupBy(a.b).aggregate(key: max(x)).orderBy(a.b desc).limit(2)"),
        [r#"{"a.b":3,"key":4}"#, r#"{"a.b":2,"key":6}"#]
    );
    assert_eq!(
        ask(&lsm, "s.groupBy(a.b).aggregate(key: max(x)).orderBy(key).limit(1)"),
        [r#"{"a.b":3,"key":4}"#]
    );
}

#[test]
fn a_plan_is_bounded_however_often_it_names_a_parameter() {
    let mut given = DocBuf::new();
    given.push("1", "x".repeat(1 << 20).as_str());
    let given = given.finish().unwrap();
    let bound = |times: usize| {
        let text = format!("s.filter(a in [{}])", vec!["$1"; times].join(","));
        bind(&parse(&text).unwrap(), Some(Doc::trusted(&given)))
    };
    assert!(bound(31).is_ok());
    assert!(bound(33).unwrap_err().contains("use long parameters once"));
    let patterns = |n: usize| {
        let text = format!("s.filter({})", vec!["a ~ 'x'"; n].join(" or "));
        bind(&parse(&text).unwrap(), None)
    };
    assert!(patterns(32).is_ok());
    assert!(patterns(33).unwrap_err().contains("fewer patterns"));
}

#[test]
fn a_limited_sort_of_large_documents_makes_room_for_itself() {
    let documents: Vec<String> =
        (0..100).map(|n| format!(r#"{{"n": {n}, "pad": "{}"}}"#, "x".repeat(1000))).collect();
    let documents: Vec<&str> = documents.iter().map(String::as_str).collect();
    let lsm = store(&documents);
    let limits = Limits { memory: 8000, ..LIMITS };
    assert_eq!(run(&lsm, "s.orderBy(n desc).limit(3).pluck(n)", limits).unwrap().len(), 3);
}

#[test]
fn sums_stay_exact() {
    let lsm = store(&[
        r#"{"n": 9223372036854775807}"#,
        r#"{"n": -1}"#,
        r#"{"x": 1e16}"#,
        r#"{"x": 1.0}"#,
        r#"{"x": -1e16}"#,
    ]);
    assert_eq!(
        ask(&lsm, "s.aggregate(n: sum(n), x: sum(x))"),
        [r#"{"n":9223372036854775806,"x":1.0}"#]
    );
}

#[test]
fn passing_a_bound_is_an_error_by_name() {
    let documents: Vec<String> =
        (0..40).map(|n| format!(r#"{{"n": {n}, "pad": "{}"}}"#, "x".repeat(100))).collect();
    let documents: Vec<&str> = documents.iter().map(String::as_str).collect();
    let lsm = store(&documents);
    let refused =
        |text: &str, memory, reply| match run(&lsm, text, Limits { memory, reply, ..LIMITS }) {
            Err(QueryError::Refused(status, _)) => Some(status),
            Err(other) => panic!("{other:?}"),
            Ok(_) => None,
        };
    let much = 1 << 20;
    assert_eq!(refused("s.orderBy(n)", 2000, much), Some(Status::QueryMemory));
    assert_eq!(
        refused("s.groupBy(n).aggregate(c: count())", 2000, much),
        Some(Status::QueryMemory)
    );
    // A result has as many pages as it needs; a row must fit one.
    assert_eq!(refused("s", much, 2000), None);
    let row = 24 + 1 + 1 + 17 + 4 + 16 + json::parse_json(documents[0]).unwrap().len();
    assert_eq!(refused("s", much, row), None);
    assert_eq!(refused("s", much, row - 1), Some(Status::ResultTooLarge));
    assert_eq!(refused("s.pluck(n, pad)", much, row - 16), None);
    assert_eq!(refused("s.pluck(n, pad)", much, row - 17), Some(Status::ResultTooLarge));
    assert_eq!(refused("s.limit(5)", 0, 2000), None);
    assert_eq!(refused("s.filter(n < 3).orderBy(n)", 2000, much), None);
}

#[test]
fn a_limited_sort_keeps_few_rows() {
    let documents: Vec<String> =
        (0..5000).map(|n| format!(r#"{{"n": {}}}"#, (n * 7919) % 5000)).collect();
    let documents: Vec<&str> = documents.iter().map(String::as_str).collect();
    let lsm = store(&documents);
    let limits = Limits { memory: 200_000, ..LIMITS };
    let rows = run(&lsm, "s.orderBy(n desc).skip(1).limit(3).pluck(n)", limits).unwrap();
    assert_eq!(rows, [r#"{"n":4998}"#, r#"{"n":4997}"#, r#"{"n":4996}"#]);
    assert!(run(&lsm, "s.orderBy(n desc).pluck(n)", limits).is_err(), "all rows do not fit");
}

#[test]
fn parameters_fit_or_are_refused() {
    let mut given = DocBuf::new();
    given.push("1", "x").push("2", 5);
    let given = given.finish().unwrap();
    let given = Some(Doc::trusted(&given));
    let refused = |text: &str| bind(&parse(text).unwrap(), given).expect_err(text);
    assert!(bind(&parse("s.filter(a = $1).limit($2)").unwrap(), given).is_ok());
    assert!(refused("s.filter(a = $1)").contains("uses 1 parameters and 2 were given"));
    assert!(refused("s.filter(a = $3)").contains("parameter $3 is not given"));
    assert!(refused("s.filter(a = $2).limit($1)").contains("limit takes a whole number"));
    assert!(refused("s.filter(a ~ $2 and b = $1)").contains("~ takes a string, not"));
    assert!(refused("s.filter(b = $2).set($1)").contains("set takes a document"));
    assert!(
        bind(&parse("s.filter(a ~ '(')").unwrap(), None)
            .unwrap_err()
            .contains("regular expression")
    );
}

/// A store with another beside it.
fn two_stores(documents: &[&str], others: &[&str]) -> Lsm {
    let lsm = store(documents);
    for (number, text) in others.iter().enumerate() {
        let mut batch = Batch::new();
        batch.put_new(
            OTHER,
            &Key(100 + number as u128).to_bytes(),
            &json::parse_json(text).unwrap(),
        );
        lsm.commit(&batch).unwrap();
    }
    lsm
}

#[test]
fn lookups_find_what_a_filter_would() {
    let lsm = two_stores(
        &[
            r#"{"c": "UA", "k": "00000000000000000000000000000065"}"#,
            r#"{"c": "AA"}"#,
            r#"{"c": null}"#,
            r#"{}"#,
            r#"{"c": ["AA", "UA"]}"#,
        ],
        &[
            r#"{"code": "UA", "n": 1}"#,
            r#"{"code": "AA", "n": 2}"#,
            r#"{"code": ["UA", "XX"], "n": 3}"#,
            r#"{"code": null, "n": 4}"#,
            r#"{"n": 5}"#,
        ],
    );
    let rows = ask(&lsm, "s.lookup(t, c = code).pluck(t.0.n, t.1.n, t.2.n, t.3.n)");
    assert_eq!(
        rows,
        [
            r#"{"t.0.n":1,"t.1.n":3}"#,
            r#"{"t.0.n":2}"#,
            r#"{"t.0.n":4}"#,
            "{}",
            r#"{"t.0.n":1,"t.1.n":2,"t.2.n":3}"#,
        ]
    );
    assert_eq!(
        ask(&lsm, "s.filter(c = 'UA').lookup(t, c = code).limit(1)"),
        [
            r#"0 {"c":"UA","k":"00000000000000000000000000000065","t":[{"key":"00000000000000000000000000000064","code":"UA","n":1},{"key":"00000000000000000000000000000066","code":["UA","XX"],"n":3}]}"#
        ]
    );
    let one = "s.lookupOne(t, c = code as x).filter(x exists).orderBy(x.n desc).pluck(key, x.n)";
    assert_eq!(
        ask(&lsm, one),
        [
            r#"{"key":"00000000000000000000000000000002","x.n":4}"#,
            r#"{"key":"00000000000000000000000000000001","x.n":2}"#,
            r#"{"key":"00000000000000000000000000000000","x.n":1}"#,
            r#"{"key":"00000000000000000000000000000004","x.n":1}"#,
        ]
    );
    assert_eq!(ask(&lsm, "s.lookupOne(t, k = key).filter(t exists).pluck(t.n)"), [r#"{"t.n":2}"#]);
    assert_eq!(
        ask(&lsm, "s.lookup(t, c = code).filter(t.n = 3).groupBy(t.0.n).aggregate(n: count())"),
        [r#"{"t.0.n":1,"n":2}"#]
    );
    let small = Limits { memory: 200, ..LIMITS };
    let refused = run(&lsm, "s.lookup(t, c = code)", small);
    assert!(
        matches!(&refused, Err(QueryError::Refused(Status::QueryMemory, why)) if why.contains("look up")),
        "{refused:?}"
    );
}

#[test]
fn what_a_lookup_by_key_finds_is_bounded_for_each_row() {
    let other = format!(r#"{{"t":"{}"}}"#, "x".repeat(500));
    let key = |n: u128| format!(r#""{}""#, Key(n));
    let many: Vec<String> = (100..120).map(key).collect();
    let few: Vec<String> =
        many.chunks(4).map(|few| format!(r#"{{"k":[{}]}}"#, few.join(","))).collect();
    let few: Vec<&str> = few.iter().map(String::as_str).collect();
    let one = format!(r#"{{"k":[{}]}}"#, many.join(","));
    let others = [other.as_str(); 20];
    let small = Limits { memory: 4000, ..LIMITS };
    let refused = run(&two_stores(&[&one], &others), "s.lookup(t, k = key).count()", small);
    assert!(
        matches!(&refused, Err(QueryError::Refused(Status::QueryMemory, why)) if why.contains("look up")),
        "{refused:?}"
    );
    // Each row gives back what it took.
    let counted = run(&two_stores(&few, &others), "s.lookup(t, k = key).count()", small);
    assert_eq!(counted.unwrap(), ["5"]);
    let one = run(&two_stores(&[&one], &others), "s.lookupOne(t, k = key).count()", small);
    assert_eq!(one.unwrap(), ["1"]);
}

#[test]
fn distinct_and_having() {
    let lsm = store(&[
        r#"{"a": 1, "b": "x"}"#,
        r#"{"a": 1.0}"#,
        r#"{"b": "x"}"#,
        r#"{"a": null, "b": "y"}"#,
        r#"{"c": 1}"#,
        r#"{"a": {"d": 7}, "b": "x"}"#,
    ]);
    assert_eq!(ask(&lsm, "s.distinct(a)"), [r#"{"a":null}"#, r#"{"a":1}"#, r#"{"a":{"d":7}}"#]);
    assert_eq!(ask(&lsm, "s.distinct(a).count()"), ["3"]);
    assert_eq!(ask(&lsm, "s.distinct(a, b).orderBy(b desc, a).pluck(b)").len(), 5);
    assert_eq!(
        ask(&lsm, "s.groupBy(b).aggregate(n: count()).having(n > 1 and b exists)"),
        [r#"{"b":"x","n":3}"#]
    );
    assert_eq!(ask(&lsm, "s.groupBy(a).having(a.d = 7).count()"), ["1"]);
    assert_eq!(ask(&lsm, "s.groupBy(b).aggregate(n: count()).having(n > 9).limit(3)").len(), 0);
    assert_eq!(ask(&lsm, "s.groupBy(b).aggregate(n: count()).skip(1).count()"), ["2"]);
}

#[test]
fn what_does_not_fit_memory_goes_on_from_disk_with_the_same_answer() {
    let documents: Vec<String> = (0..3000)
        .map(|n| {
            format!(
                r#"{{"n": {}, "g": {}, "x": {}.5, "p": "{}"}}"#,
                (n * 7919) % 3000,
                n % 700,
                n % 9,
                "y".repeat(40)
            )
        })
        .collect();
    let documents: Vec<&str> = documents.iter().map(String::as_str).collect();
    let lsm = store(&documents);
    let large = Limits { memory: 64 << 20, ..LIMITS };
    let small = Limits { memory: 9_000, spill: 64 << 20, ..LIMITS };
    for text in [
        "s.orderBy(n)",
        "s.orderBy(n desc).pluck(n)",
        "s.orderBy(g, n desc).skip(100).limit(2500)",
        "s.orderBy(p).pluck(n)",
        "s.groupBy(g).aggregate(c: count(), s: sum(n), a: avg(x), lo: min(n), hi: max(p))",
        "s.groupBy(g).aggregate(c: count()).having(c > 4).orderBy(c desc, g).pluck(g)",
        "s.distinct(n).count()",
        "s.groupBy(n, g).orderBy(g desc)",
        "s.aggregate(s: sum(x), m: max(p))",
    ] {
        let (plenty, little) = (work(large), work(small));
        let expected = run_in(&lsm, text, &plenty).unwrap();
        assert_eq!(plenty.figures().runs, 0);
        assert_eq!(run_in(&lsm, text, &little).unwrap(), expected, "{text}");
        let figures = little.figures();
        assert!(figures.memory <= 9_000, "{text}: {figures:?}");
        assert!(text.contains("s.aggregate") || figures.runs > 16, "{text}: {figures:?}");
    }
    let refused = run(&lsm, "s.orderBy(n)", Limits { spill: 50_000, ..small });
    assert!(
        matches!(&refused, Err(QueryError::Refused(Status::QueryMemory, why)) if why.contains("query_spill")),
        "{refused:?}"
    );
}

#[test]
fn the_deadline_and_a_cancellation_end_a_query() {
    /// A clock that goes on by a millisecond whenever it is looked at.
    struct Hasty(SimClock);
    impl Clock for Hasty {
        fn wall_micros(&self) -> u64 {
            self.0.wall_micros()
        }
        fn monotonic_nanos(&self) -> u64 {
            self.0.advance(std::time::Duration::from_millis(1));
            self.0.monotonic_nanos()
        }
    }
    let documents = vec![r#"{"n": 1}"#; 2000];
    let lsm = store(&documents);
    let ended = |text: &str, micros, cancelled: bool| {
        let flag = Arc::new(AtomicBool::new(cancelled));
        let limits = Limits { micros: Some(micros), ..LIMITS };
        let work = Work::new(Arc::new(Hasty(SimClock::new(0))), limits, flag, None);
        let error = run_in(&lsm, text, &work).unwrap_err();
        assert!(work.figures().examined < 1000, "{text}");
        match error {
            QueryError::Refused(status, message) => (status, message),
            other => panic!("{other:?}"),
        }
    };
    for text in [
        "s.filter(n = 2)",
        "s.filter(n exists).count()",
        "s.groupBy(n).aggregate(c: count())",
        "s.orderBy(n)",
    ] {
        let (status, message) = ended(text, 5_000, false);
        assert_eq!(status, Status::Timeout);
        assert!(message.contains("longer than the 5 ms"));
        assert_eq!(ended(text, u64::MAX / 2000, true).0, Status::Cancelled);
    }
}

#[test]
fn an_order_by_key_needs_no_sort() {
    let documents: Vec<String> = (0..500).map(|n| format!(r#"{{"n": {n}}}"#)).collect();
    let documents: Vec<&str> = documents.iter().map(String::as_str).collect();
    let lsm = store(&documents);
    let work = work(Limits { memory: 0, ..LIMITS });
    let rows =
        run_in(&lsm, "s.filter(n >= 2).orderBy(key desc, n).skip(1).limit(2)", &work).unwrap();
    assert_eq!(rows, [r#"498 {"n":498}"#, r#"497 {"n":497}"#]);
    assert_eq!(work.figures().examined, 3);
    assert_eq!(run_in(&lsm, "s.orderBy(key).limit(1)", &work).unwrap(), [r#"0 {"n":0}"#]);
}

#[test]
fn edits_act_at_once_or_not_at_all() {
    let edited = |edits: &str, document: &str| {
        let query = parse(&format!("s.all(){edits}")).unwrap_or_else(|e| panic!("{e}"));
        let Plan::Select(plan) = bind(&query, None)? else { panic!() };
        let Outcome::Mutate { how: Change::Edit(edits), .. } = &plan.output else { panic!() };
        let document = json::parse_json(document).unwrap();
        edit::apply(edits, Doc::trusted(&document))
            .map(|new| json::to_json(Doc::parse(&new).unwrap()))
    };
    let done =
        |edits: &str, document: &str| edited(edits, document).unwrap_or_else(|e| panic!("{e}"));
    let many = ".set({a: 1, 'b.c': 'x'}).unset(d, e.f).inc({n: 2, m: 1.5}).push({t: 'y', u: [1]})";
    assert_eq!(
        done(many, r#"{"d": 1, "e": {"f": 1, "g": 2}, "n": 40, "t": ["x"]}"#),
        r#"{"e":{"g":2},"n":42,"t":["x","y"],"a":1,"b":{"c":"x"},"m":1.5,"u":[[1]]}"#
    );
    assert_eq!(done(".inc({'a.0.n': -1})", r#"{"a": [{"n": 1}]}"#), r#"{"a":[{"n":0}]}"#);
    assert_eq!(
        done(".inc({d: decimal('0.10')})", r#"{"d": {"$numberDecimal": "1.1"}}"#),
        r#"{"d":{"$numberDecimal":"1.20"}}"#
    );
    let refused = |edits: &str, document: &str, words: &str| {
        let why = edited(edits, document).expect_err(edits);
        assert!(why.contains(words), "{why}");
    };
    refused(".inc({n: 1})", r#"{"n": "x"}"#, "the field holds a string, no number");
    refused(".push({n: 1})", r#"{"n": 1}"#, "the field holds a int32, no array");
    refused(".inc({n: 1})", r#"{"n": 9223372036854775807}"#, "64 bits");
    // These are refused whatever the documents are.
    refused(".set({a: 1}).inc({a: 1})", "{}", "changed twice");
    refused(".set({a: 1}).unset(a.b)", "{}", "changed at the same time");
    refused(".inc({n: 'x'})", "{}", "inc n: takes a number, not a string");
    refused(".unset(key)", "{}", "cannot change");
}
