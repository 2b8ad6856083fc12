//! Short queries beside SQLite over JSON, in one process, in turns: packet in, packet
//! out; a prepared statement. The same 100,000 documents on a real disk, the same
//! indexes, the same questions. What counts are the ratios of one run.
//!
//! ```text
//! cargo bench -p engine --bench beside [-- NAME]           what has NAME in its name
//! cargo bench -p engine --bench beside -- --only-ours NAME SECONDS   for a profiler
//! ```

use std::hint::black_box;
use std::sync::Arc;

use engine::{Engine, Options, Principal, Role};
use platform::Clock;
use platform::real::{RealClock, RealDisk, RealEntropy};
use proto::doc::DocBuf;
use proto::request::BatchBuf;
use proto::{Key, Reply, Request, json};
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, params_from_iter};

const DOCUMENTS: u64 = 100_000;
/// Nanoseconds of one turn, and turns of each.
const TURN: u64 = 60_000_000;
const TURNS: usize = 15;

/// Sequences of numbers that look like chance.
fn mix(n: u64) -> u64 {
    let x = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// Some 350 bytes. Five documents have one code, 25 one plane, a thousand one city.
fn document(n: u64) -> String {
    const WORDS: [&str; 8] =
        ["apple", "bench", "cloud", "drift", "eagle", "flint", "grass", "hinge"];
    let word = |salt: u64| WORDS[(mix(n ^ salt) % 8) as usize];
    let (code, plane, city) = (mix(n) % 20_000, mix(n ^ 1) % 4000, mix(n ^ 2) % 100);
    let (kind, score, visits) =
        (mix(n ^ 3) % 20, (mix(n ^ 4) % 4000) as f64 / 4.0, mix(n ^ 5) % 100);
    let at = n.wrapping_mul(0x9E37_79B1) % (1 << 30);
    let (zip, street) = (mix(n ^ 6) % 100_000, mix(n ^ 7) % 1000);
    let mut note = String::new();
    for salt in 0..20 {
        note.push_str(word(salt << 8));
        note.push(' ');
    }
    format!(
        r#"{{"code":"code-{code:07}","city":"city-{city:02}","kind":"kind-{kind:02}","at":{at},
        "score":{score:?},"visits":{visits},"tags":["{}","{}","{}"],"plane":"N{plane:05}",
        "place":{{"zip":{zip},"street":"{street} {} Street"}},"note":"{note}"}}"#,
        word(11 << 8),
        word(12 << 8),
        word(13 << 8),
        word(14 << 8)
    )
}

/// A question, and its parameters for a number.
struct Workload {
    name: &'static str,
    pql: &'static str,
    sql: &'static str,
    given: fn(u64) -> Vec<Value>,
}

fn text(text: String) -> Vec<Value> {
    vec![Value::Text(text)]
}

const PART: u64 = (1 << 30) / 100;

const WORKLOADS: &[Workload] = &[
    Workload {
        name: "equality, 5 rows",
        pql: "docs.filter(code = $1)",
        sql: "SELECT doc FROM docs WHERE doc ->> 'code' = ?1",
        given: |n| text(format!("code-{:07}", mix(n) % 20_000)),
    },
    Workload {
        name: "equality, 25 rows",
        pql: "docs.filter(plane = $1)",
        sql: "SELECT doc FROM docs WHERE doc ->> 'plane' = ?1",
        given: |n| text(format!("N{:05}", mix(n) % 4000)),
    },
    Workload {
        name: "equality, 1000 rows",
        pql: "docs.filter(city = $1)",
        sql: "SELECT doc FROM docs WHERE doc ->> 'city' = ?1",
        given: |n| text(format!("city-{:02}", mix(n) % 100)),
    },
    Workload {
        name: "range of 1 %, sorted, limit 20",
        pql: "docs.filter(at >= $1 and at < $2).orderBy(at).limit(20)",
        sql: "SELECT doc FROM docs WHERE doc ->> 'at' >= ?1 AND doc ->> 'at' < ?2 \
              ORDER BY doc ->> 'at' LIMIT 20",
        given: |n| {
            let from = (mix(n) % (99 * PART)) as i64;
            vec![Value::Integer(from), Value::Integer(from + PART as i64)]
        },
    },
    Workload {
        name: "equality, sorted downwards by the next field, limit 20",
        pql: "docs.filter(city = $1).orderBy(at desc).limit(20)",
        sql: "SELECT doc FROM docs WHERE doc ->> 'city' = ?1 ORDER BY doc ->> 'at' DESC LIMIT 20",
        given: |n| text(format!("city-{:02}", mix(n) % 100)),
    },
    Workload {
        name: "equality and a beginning, sorted by the next field, limit 20",
        pql: "docs.filter(city = $1 and at >= $2).orderBy(at).limit(20)",
        sql: "SELECT doc FROM docs WHERE doc ->> 'city' = ?1 AND doc ->> 'at' >= ?2 \
              ORDER BY doc ->> 'at' LIMIT 20",
        given: |n| {
            let city = Value::Text(format!("city-{:02}", mix(n) % 100));
            vec![city, Value::Integer((mix(n ^ 9) % (90 * PART)) as i64)]
        },
    },
    Workload {
        name: "groups over all, count and mean",
        pql: "docs.groupBy(kind).aggregate(n: count(), mean: avg(score))",
        sql: "SELECT doc ->> 'kind', count(*), avg(doc ->> 'score') FROM docs GROUP BY 1",
        given: |_| Vec::new(),
    },
    Workload {
        name: "groups of an index, count and maximum",
        pql: "docs.groupBy(city).aggregate(n: count(), last: max(at))",
        sql: "SELECT doc ->> 'city', count(*), max(doc ->> 'at') FROM docs GROUP BY 1",
        given: |_| Vec::new(),
    },
    Workload {
        name: "a nested field of all, count",
        pql: "docs.filter(place.zip < $1).count()",
        sql: "SELECT count(*) FROM docs WHERE doc ->> '$.place.zip' < ?1",
        given: |_| vec![Value::Integer(1000)],
    },
];

struct Ours {
    engine: Engine,
    who: Principal,
    packet: Vec<u8>,
    out: Vec<u8>,
}

impl Ours {
    fn run(&mut self, request: Request<'_>) -> u64 {
        self.packet.clear();
        self.out.clear();
        request.encode(1, &mut self.packet);
        self.engine.dispatch_packet(&self.who, &self.packet, &mut self.out);
        match Reply::decode(&self.out).expect("a reply").1 {
            Reply::Error { message, .. } => panic!("{message}"),
            Reply::Rows(rows) => {
                black_box(rows.iter().map(|(_, document)| touch(document)).sum::<u64>());
                rows.len() as u64
            }
            Reply::Count(n) => n,
            _ => 1,
        }
    }

    fn ask(&mut self, workload: &Workload, n: u64) -> u64 {
        let mut given = DocBuf::new();
        for (at, value) in (workload.given)(n).iter().enumerate() {
            match value {
                Value::Integer(n) => given.push(&(at + 1).to_string(), *n),
                Value::Text(text) => given.push(&(at + 1).to_string(), text.as_str()),
                other => panic!("{other:?}"),
            };
        }
        let given = given.finish().expect("parameters");
        let parameters = Some(&given[..]).filter(|_| workload.pql.contains('$'));
        self.run(Request::Query { text: workload.pql, parameters })
    }
}

/// A look at each line of a value, as who uses it would take.
fn touch(value: &[u8]) -> u64 {
    value.iter().step_by(64).map(|byte| u64::from(*byte)).sum()
}

fn ours(path: &std::path::Path, clock: &Arc<RealClock>) -> Ours {
    let disk = Arc::new(RealDisk::new(path).expect("a directory"));
    let options = Options::default();
    let engine =
        Engine::open(disk, Arc::clone(clock) as Arc<dyn Clock>, Arc::new(RealEntropy), options);
    let engine = engine.expect("an empty directory opens");
    let who = Principal::new("bench", Role::Admin);
    let mut ours = Ours { engine, who, packet: Vec::new(), out: Vec::new() };
    ours.run(Request::CreateStore { store: "docs", if_not_exists: false });
    for fields in [r#"["code"]"#, r#"["plane"]"#, r#"["city", "at"]"#, r#"["at"]"#] {
        let definition = json::parse_json(&format!("{{\"fields\": {fields}}}")).expect("JSON");
        let definition = &definition[..];
        ours.run(Request::CreateIndex { store: "docs", if_not_exists: false, definition });
        while ours.engine.tend().expect("a sound disk") {}
    }
    for from in (0..DOCUMENTS).step_by(1000) {
        let mut batch = BatchBuf::new();
        for n in from..from + 1000 {
            let bson = json::parse_json(&document(n)).expect("JSON");
            batch.push(Some(Key(u128::from(n + 1))), &bson);
        }
        ours.run(Request::BatchInsert { store: "docs", batch: batch.as_batch() });
    }
    ours.run(Request::Flush);
    while ours.engine.maintenance().expect("a sound disk") != engine::Step::Idle {}
    ours
}

fn sqlite(path: &std::path::Path) -> Connection {
    let db = Connection::open(path.join("bench.sqlite")).expect("a database");
    db.execute_batch(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-262144;
         CREATE TABLE docs (id INTEGER PRIMARY KEY, doc TEXT);
         CREATE INDEX code ON docs (doc ->> 'code'); CREATE INDEX plane ON docs (doc ->> 'plane');
         CREATE INDEX city_at ON docs (doc ->> 'city', doc ->> 'at');
         CREATE INDEX at ON docs (doc ->> 'at'); BEGIN",
    )
    .expect("a table");
    {
        let mut insert = db.prepare("INSERT INTO docs VALUES (?1, ?2)").expect("SQL");
        for n in 0..DOCUMENTS {
            // As JSON is stored: without space between.
            let document = document(n).replace("\n        ", "");
            insert.execute((n as i64 + 1, document)).expect("a row");
        }
    }
    db.execute_batch("COMMIT; ANALYZE; PRAGMA wal_checkpoint(TRUNCATE)").expect("statistics");
    db
}

/// Runs it for a turn; nanoseconds of one.
fn turn(clock: &dyn Clock, from: &mut u64, mut ask: impl FnMut(u64)) -> f64 {
    let (began, first) = (clock.monotonic_nanos(), *from);
    loop {
        ask(*from);
        *from += 1;
        let took = clock.monotonic_nanos() - began;
        if took >= TURN {
            return took as f64 / (*from - first) as f64;
        }
    }
}

fn median(of: &mut [f64]) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let alone = arguments.first().is_some_and(|first| first == "--only-ours");
    let name = arguments.get(usize::from(alone)).map_or("", String::as_str);
    let clock = Arc::new(RealClock::new());
    let place = tempfile::tempdir().expect("a place for files");
    let mut ours = ours(&place.path().join("planck"), &clock);
    let chosen = WORKLOADS.iter().filter(|workload| workload.name.contains(name));
    if alone {
        let seconds: u64 = arguments.get(2).and_then(|s| s.parse().ok()).unwrap_or(5);
        for workload in chosen {
            let (began, mut n) = (clock.monotonic_nanos(), 0);
            while clock.monotonic_nanos() - began < seconds * 1_000_000_000 {
                (0..16).for_each(|at| {
                    ours.ask(workload, n + at);
                });
                n += 16;
            }
            println!("{}: {} ns", workload.name, seconds * 1_000_000_000 / n);
        }
        return;
    }
    let db = sqlite(place.path());
    println!("{:62}{:>10}{:>12}{:>8}", "microseconds (medians)", "planck", "sqlite-json", "ratio");
    for workload in chosen {
        let mut statement = db.prepare(workload.sql).expect("SQL");
        let mut ask = |n: u64| {
            let mut rows = statement.query(params_from_iter((workload.given)(n))).expect("SQL");
            let mut count = 0;
            while let Some(row) = rows.next().expect("a row") {
                match row.get_ref(0).expect("a value") {
                    ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
                        black_box(touch(bytes));
                        count += 1;
                    }
                    ValueRef::Integer(n) => count = n as u64,
                    _ => count += 1,
                }
            }
            count
        };
        for n in 0..20 {
            assert_eq!(ours.ask(workload, n), ask(n), "{}: rows of {n}", workload.name);
        }
        let (mut mine, mut theirs) = (Vec::new(), Vec::new());
        let (mut n, mut m) = (0, 0);
        for _ in 0..TURNS {
            mine.push(turn(&*clock, &mut n, |n| {
                ours.ask(workload, n);
            }));
            theirs.push(turn(&*clock, &mut m, |n| {
                ask(n);
            }));
        }
        let (mine, theirs) = (median(&mut mine) / 1000.0, median(&mut theirs) / 1000.0);
        println!("{:62}{mine:>10.1}{theirs:>12.1}{:>8.2}", workload.name, theirs / mine);
    }
}
