//! What a request costs in the process: packet in, packet out, no socket.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use criterion::{Criterion, criterion_group, criterion_main};
use engine::{Engine, Options, Principal, Role};
use platform::real::{RealClock, RealEntropy};
use platform::sim::SimDisk;
use proto::doc::DocBuf;
use proto::{Key, Request};

fn benches(c: &mut Criterion) {
    let clock = Arc::new(RealClock::new());
    let engine = Engine::open(SimDisk::new(1), clock, Arc::new(RealEntropy), Options::default())
        .expect("an empty disk opens");
    let who = Principal::new("bench", Role::Admin);
    let mut out = Vec::new();
    let mut run = |request: Request<'_>| {
        let mut packet = Vec::new();
        request.encode(1, &mut packet);
        out.clear();
        engine.dispatch_packet(&who, &packet, &mut out);
        assert_eq!(out[6..8], [0, 0], "{}", String::from_utf8_lossy(&out[24..]));
    };
    run(Request::CreateStore { store: "s", if_not_exists: false });
    let mut doc = DocBuf::new();
    doc.push("origin", "JFK").push("dest", "LAX").push("carrier", "AA").push("delay", 17);
    doc.push(
        "note",
        "a document of about two hundred bytes, as a row of a table is: ".repeat(2).as_str(),
    );
    let document = doc.finish().expect("the fields are fine");
    for n in 0..100_000u128 {
        run(Request::Update { store: "s", key: Key(n * 977), document: &document, upsert: true });
        if n == 90_000 {
            run(Request::Flush);
        }
    }

    let at = AtomicU64::new(0);
    let (mut packet, mut out) = (Vec::new(), Vec::new());
    c.bench_function("dispatch/read", |b| {
        b.iter(|| {
            let n = at.fetch_add(7919, Relaxed) % 100_000;
            packet.clear();
            out.clear();
            let key = Key(u128::from(n) * 977);
            Request::Read { store: "s", key }.encode(1, &mut packet);
            engine.dispatch_packet(&who, &packet, &mut out);
            out.len()
        });
    });
    c.bench_function("dispatch/ping", |b| {
        b.iter(|| {
            packet.clear();
            out.clear();
            Request::Ping.encode(1, &mut packet);
            engine.dispatch_packet(&who, &packet, &mut out);
            out.len()
        });
    });
    c.bench_function("dispatch/insert, key made", |b| {
        b.iter(|| {
            packet.clear();
            out.clear();
            Request::Insert { store: "s", key: None, document: &document }.encode(1, &mut packet);
            engine.dispatch_packet(&who, &packet, &mut out);
            out.len()
        });
    });
}

criterion_group!(all, benches);
criterion_main!(all);
