//! What queries cost in the process, on 100,000 documents: packet in, packet out; with
//! indexes (store `s`) and without (store `p`).

use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use engine::{Engine, Options, Principal, Role};
use platform::real::{RealClock, RealEntropy};
use platform::sim::SimDisk;
use proto::doc::DocBuf;
use proto::{Key, Request, json};

const DOCUMENTS: u32 = 100_000;

fn engine() -> Engine {
    let clock = Arc::new(RealClock::new());
    let engine = Engine::open(SimDisk::new(1), clock, Arc::new(RealEntropy), Options::default());
    let engine = engine.expect("an empty disk opens");
    for store in ["s", "p"] {
        run(&engine, Request::CreateStore { store, if_not_exists: false });
    }
    let note = "a document of about two hundred bytes, as a row of a table is: ".repeat(2);
    for at in 0..DOCUMENTS {
        // Keys and numbers in no common order.
        let n = at.wrapping_mul(7919) % DOCUMENTS;
        let mut doc = DocBuf::new();
        doc.push("n", n as i32).push("g", (at % 100) as i32).push("h", (at % 100) as i32);
        doc.push("note", note.as_str());
        let document = doc.finish().expect("the fields are fine");
        let key = Some(Key(u128::from(at) * 977));
        for store in ["s", "p"] {
            run(&engine, Request::Insert { store, key, document: &document });
        }
    }
    for definition in [r#"{"fields": ["n"]}"#, r#"{"fields": ["g", "n"]}"#] {
        let definition = &json::parse_json(definition).expect("JSON")[..];
        run(&engine, Request::CreateIndex { store: "s", if_not_exists: false, definition });
    }
    while engine.tend().expect("a sound disk") {}
    run(&engine, Request::Flush);
    engine
}

fn run(engine: &Engine, request: Request<'_>) -> usize {
    let (mut packet, mut out) = (Vec::new(), Vec::new());
    request.encode(1, &mut packet);
    engine.dispatch_packet(&Principal::new("bench", Role::Admin), &packet, &mut out);
    assert_eq!(out[6..8], [0, 0], "{}", String::from_utf8_lossy(&out[24..]));
    out.len()
}

fn benches(c: &mut Criterion) {
    let engine = engine();
    let mut group = c.benchmark_group("query");
    group.sample_size(10);
    for (name, text) in [
        ("indexed equality", "s.filter(n = 4711)"),
        ("range, order and limit by index", "s.filter(n > 50000).orderBy(n).limit(10)"),
        ("equality, then order downwards", "s.filter(g = 7).orderBy(n desc).limit(20)"),
        ("order without a filter", "s.orderBy(g, n).limit(20)"),
        ("covered count of 10,000", "s.filter(n >= 20000 and n < 30000).count()"),
        ("covered fields of 1,000", "s.filter(g = 7).orderBy(n).pluck(n)"),
        ("count of all", "s.count()"),
        ("groups of an index", "s.groupBy(g).aggregate(c: count(), m: max(n))"),
        ("groups of documents", "s.groupBy(h).aggregate(c: count(), m: max(n))"),
        ("a pattern among few", "s.filter(n < 5 and note ~ '^a document of .* as a row')"),
    ] {
        for (store, with) in [("s", "with indexes"), ("p", "without")] {
            let text = &text.replacen('s', store, 1);
            group.bench_function(format!("{name}, {with}"), |b| {
                b.iter(|| run(&engine, Request::Query { text, parameters: None }));
            });
        }
    }
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
