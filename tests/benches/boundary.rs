//! What it costs to cross each boundary between a request and the data, in one thread
//! without sockets: the guest's message written and read, a call of a guest, a read from
//! inside it beside the same read called natively. What accepting, parsing and replying cost
//! is what `make bench-edge` shows for bare hyper.

#![allow(clippy::unwrap_used)] // a bench that cannot go on fails

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use criterion::{Criterion, criterion_group, criterion_main};
use engine::{Engine, Options, Principal, Role};
use net::http::{GuestRequest, GuestResponse, HeaderMap, Method};
use platform::Clock;
use platform::real::{RealClock, RealEntropy};
use platform::sim::SimDisk;
use proto::doc::DocBuf;
use proto::{Key, Request};
use runtime_api::{CallKind, Host, Instance, Limits, LogLevel, Runtime, ServiceBody};
use runtime_wasmer::WasmerRuntime;
use runtime_wasmi::WasmiRuntime;

/// The request is a count and a packet: the packet is sent so many times, the last reply is
/// the response.
const GUEST: &str = r#"
(module
  (import "planck" "host_request" (func $request (param i32 i32 i32 i32) (result i64)))
  (memory (export "memory") 2)
  (func (export "planck_abi") (result i32) (i32.const 1))
  (func (export "alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "process") (param $ptr i32) (param $len i32) (result i64)
    (local $left i32) (local $got i64)
    (local.set $left (i32.load8_u (local.get $ptr)))
    (block $done
      (loop $again
        (br_if $done (i32.eqz (local.get $left)))
        (local.set $got (call $request
          (i32.add (local.get $ptr) (i32.const 1))
          (i32.sub (local.get $len) (i32.const 1))
          (i32.const 16384) (i32.const 16384)))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (br $again)))
    (i64.or (i64.const 0x0000400000000000) (local.get $got))))
"#;

const ROWS: u64 = 100_000;

/// The engine as a guest's host.
struct Engines {
    engine: Arc<Engine>,
    who: Principal,
    clock: RealClock,
}

impl Host for Engines {
    fn begin_call(&self, _: CallKind, _: u32) -> u64 {
        self.engine.begin_session()
    }

    fn end_call(&self, call: u64) {
        self.engine.end_session(&self.who.in_session(call));
    }

    fn request(&self, call: u64, packet: &[u8], reply: &mut Vec<u8>) {
        self.engine.dispatch_packet(&self.who.in_session(call), packet, reply);
    }

    fn call_service(
        &self,
        _: &str,
        _: &[u8],
        _: u64,
        _: &mut Vec<u8>,
    ) -> Option<Box<dyn ServiceBody>> {
        None
    }

    fn log(&self, _: LogLevel, _: &str) {}

    fn now_micros(&self) -> u64 {
        self.clock.wall_micros()
    }

    fn random(&self, out: &mut [u8]) {
        out.fill(7);
    }
}

fn engine() -> Arc<Engine> {
    let clock = Arc::new(RealClock::new());
    let engine = Engine::open(SimDisk::new(1), clock, Arc::new(RealEntropy), Options::default());
    let engine = Arc::new(engine.unwrap());
    let who = Principal::new("bench", Role::Admin);
    let run = |request: Request<'_>| {
        let (mut packet, mut out) = (Vec::new(), Vec::new());
        request.encode(1, &mut packet);
        engine.dispatch_packet(&who, &packet, &mut out);
        assert_eq!(out[6..8], [0, 0], "{}", String::from_utf8_lossy(&out[24..]));
    };
    run(Request::CreateStore { store: "s", if_not_exists: false });
    let mut doc = DocBuf::new();
    doc.push("origin", "JFK").push("dest", "LAX").push("carrier", "AA").push("delay", 17);
    doc.push("note", "as many bytes as a row of a table has, more or less: ".repeat(4).as_str());
    let document = doc.finish().unwrap();
    for n in 0..ROWS {
        let key = Key(u128::from(n) * 977);
        run(Request::Update { store: "s", key, document: &document, upsert: true });
    }
    run(Request::Flush);
    engine
}

/// A request of a count and a read of some key.
fn read(count: u8, at: &AtomicU64, packet: &mut Vec<u8>) {
    let n = at.fetch_add(7919, Relaxed) % ROWS;
    packet.clear();
    packet.push(count);
    let mut body = Vec::new();
    Request::Read { store: "s", key: Key(u128::from(n) * 977) }.encode(1, &mut body);
    packet.extend_from_slice(&body);
}

fn instance(runtime: &dyn Runtime, engine: &Arc<Engine>) -> Box<dyn Instance> {
    let who = Principal::service("bench".to_owned());
    let host = Engines { engine: Arc::clone(engine), who, clock: RealClock::new() };
    let module = runtime.compile(&wat::parse_str(GUEST).unwrap()).unwrap();
    module.instantiate(Arc::new(host), &Limits::default()).unwrap()
}

fn crossings(c: &mut Criterion) {
    let engine = engine();
    let who = Principal::new("bench", Role::Admin);
    let (at, mut packet, mut out) = (AtomicU64::new(0), Vec::new(), Vec::new());
    c.bench_function("boundary/native read", |b| {
        b.iter(|| {
            read(1, &at, &mut packet);
            out.clear();
            engine.dispatch_packet(&who, &packet[1..], &mut out);
            assert_eq!(out[6..8], [0, 0]);
        });
    });
    let clock: Arc<dyn Clock> = Arc::new(RealClock::new());
    let runtimes: [(&str, Box<dyn Runtime>); 2] = [
        ("wasmer", Box::new(WasmerRuntime::new(Arc::clone(&clock)))),
        ("wasmi", Box::new(WasmiRuntime::new(clock))),
    ];
    for (name, runtime) in runtimes {
        let mut guest = instance(runtime.as_ref(), &engine);
        for (count, what) in [(0, "no read"), (1, "1 read"), (11, "11 reads")] {
            c.bench_function(&format!("boundary/{name}: a call with {what}"), |b| {
                b.iter(|| {
                    read(count, &at, &mut packet);
                    guest.process(&packet, &mut out).unwrap();
                    assert!(count == 0 || out[6..8] == [0, 0]);
                });
            });
        }
    }
}

fn messages(c: &mut Criterion) {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("host", "127.0.0.1:3010"),
        ("accept", "application/json"),
        ("user-agent", "a client of some sort/1.0"),
        ("x-request-id", "0123456789abcdef0123456789abcdef"),
    ] {
        headers.insert(name, value.parse().unwrap());
    }
    let request = GuestRequest {
        method: Method::GET,
        target: "/api/point/2013-06-13-1515-DL-2181-LGA".into(),
        peer: ([127, 0, 0, 1], 40_000).into(),
        headers,
        body: Default::default(),
    };
    c.bench_function("boundary/request written for a guest", |b| {
        b.iter(|| black_box(request.encode()));
    });
    let response = GuestResponse::new(200, "application/json", "x".repeat(300)).encode();
    c.bench_function("boundary/response of a guest read", |b| {
        b.iter(|| GuestResponse::decode(black_box(response.clone())).unwrap());
    });
}

criterion_group!(all, crossings, messages);
criterion_main!(all);
