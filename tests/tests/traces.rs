//! Traces: from an HTTP request through a guest's calls to the commit, as a collector
//! of OpenTelemetry is told of them. The collector here is a few lines, and so is its
//! reader of protobuf, by the numbers of `opentelemetry/proto/trace/v1/trace.proto`.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use proto::doc::DocBuf;
use proto::{Key, Request};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use tests::metrics::Page;
use tests::{Planck, service_dir};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";
const PATIENCE: Duration = Duration::from_secs(30);

/// A guest that makes the store and writes a document for each request, then says "ok".
fn guest() -> Vec<u8> {
    let (mut create, mut write) = (Vec::new(), Vec::new());
    Request::CreateStore { store: "s", if_not_exists: true }.encode(1, &mut create);
    let mut doc = DocBuf::new();
    doc.push("a", 1);
    let document = doc.finish().unwrap();
    Request::Update { store: "s", key: Key(7), document: &document, upsert: true }
        .encode(2, &mut write);
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("\\{b:02x}")).collect::<String>();
    let text = format!(
        r#"(module
          (import "planck" "host_request"
            (func $ask (param i32 i32 i32 i32) (result i64)))
          (memory (export "memory") 1)
          (data (i32.const 0) "\01\c8\00\00\00ok")
          (data (i32.const 4096) "{}")
          (data (i32.const 8192) "{}")
          (func (export "planck_abi") (result i32) (i32.const 1))
          (func (export "alloc") (param i32) (result i32) (i32.const 1024))
          (func (export "process") (param i32 i32) (result i64)
            (drop (call $ask (i32.const 4096) (i32.const {}) (i32.const 16384) (i32.const 4096)))
            (drop (call $ask (i32.const 8192) (i32.const {}) (i32.const 16384) (i32.const 4096)))
            (i64.const 7)))"#,
        hex(&create),
        hex(&write),
        create.len(),
        write.len()
    );
    wat::parse_str(text).unwrap()
}

/// A collector that answers 200; what it was sent: head and body of each request.
fn collector() -> (SocketAddr, Receiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, sent) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut heard = Vec::new();
            let mut piece = [0; 4096];
            let (head, length) = loop {
                let read = stream.read(&mut piece).unwrap();
                assert!(read > 0, "a request that ends early");
                heard.extend_from_slice(&piece[..read]);
                let text = String::from_utf8_lossy(&heard).into_owned();
                let Some((head, _)) = text.split_once("\r\n\r\n") else { continue };
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                break (head.to_owned(), length.unwrap().parse::<usize>().unwrap());
            };
            let mut body = heard[head.len() + 4..].to_vec();
            while body.len() < length {
                let read = stream.read(&mut piece).unwrap();
                body.extend_from_slice(&piece[..read]);
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
            if sender.send((head, body)).is_err() {
                return;
            }
        }
    });
    (address, sent)
}

enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message, in order.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (first, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            value |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                return value;
            }
        }
        panic!("a number without an end");
    }
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let field = match tag & 7 {
            0 => Field::Number(varint(&mut bytes)),
            1 => {
                let (number, rest) = bytes.split_at(8);
                bytes = rest;
                Field::Number(u64::from_le_bytes(number.try_into().unwrap()))
            }
            2 => {
                let length = usize::try_from(varint(&mut bytes)).unwrap();
                let (inner, rest) = bytes.split_at(length);
                bytes = rest;
                Field::Bytes(inner)
            }
            other => panic!("wire type {other}"),
        };
        all.push((tag >> 3, field));
    }
    all
}

/// The messages of a field.
fn inner(bytes: &[u8], number: u64) -> Vec<&[u8]> {
    let of = |(field, value): (u64, _)| match value {
        Field::Bytes(bytes) if field == number => Some(bytes),
        _ => None,
    };
    fields(bytes).into_iter().filter_map(of).collect()
}

fn number(bytes: &[u8], wanted: u64) -> Option<u64> {
    fields(bytes).into_iter().find_map(|(field, value)| match value {
        Field::Number(number) if field == wanted => Some(number),
        _ => None,
    })
}

fn text(bytes: &[u8], number: u64) -> String {
    String::from_utf8(inner(bytes, number)[0].to_vec()).unwrap()
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Keys and values.
fn attributes(bytes: &[u8], field: u64) -> Vec<(String, String)> {
    let value = |value: &[u8]| match number(value, 3) {
        Some(number) => number.to_string(),
        None => text(value, 1),
    };
    inner(bytes, field).into_iter().map(|kv| (text(kv, 1), value(inner(kv, 2)[0]))).collect()
}

#[derive(Debug)]
struct Span {
    trace: String,
    id: String,
    parent: Option<String>,
    name: String,
    kind: u64,
    begun: u64,
    ended: u64,
    attributes: Vec<(String, String)>,
}

/// The service's name, and the spans of a request to the collector.
fn read(body: &[u8]) -> (String, Vec<Span>) {
    let resource_spans = inner(body, 1)[0];
    let resource = attributes(inner(resource_spans, 1)[0], 1);
    let name = resource.iter().find(|(key, _)| key == "service.name").unwrap().1.clone();
    let spans = inner(inner(resource_spans, 2)[0], 2).into_iter().map(|span| Span {
        trace: digits(inner(span, 1)[0]),
        id: digits(inner(span, 2)[0]),
        parent: inner(span, 4).first().map(|parent| digits(parent)),
        name: text(span, 5),
        kind: number(span, 6).unwrap(),
        begun: number(span, 7).unwrap(),
        ended: number(span, 8).unwrap(),
        attributes: attributes(span, 9),
    });
    (name, spans.collect())
}

fn start(endpoint: &str, more: &str) -> (tempfile::TempDir, Planck) {
    let db = format!(
        "port: 0\nadmin: {{enabled: true, port: 0}}\ndurability: {{flush_interval_in_ms: 0}}\n\
         tracing: {{otlp_endpoint: '{endpoint}', {more}}}\n"
    );
    let service = "name: shop\ntls: {enabled: false}\nhttp: {port: 0}\n\
                   wasm: {runtime: wasmi, min_instances: 1, max_instances: 1}\n";
    let dir = service_dir(&db, Some(service));
    fs::create_dir(dir.path().join("wasm")).unwrap();
    fs::write(dir.path().join("wasm/planck.shop.wasm"), guest()).unwrap();
    let planck = Planck::start(dir.path()).unwrap_or_else(|said| panic!("{said}"));
    (dir, planck)
}

#[test]
fn a_request_is_traced_from_its_head_to_the_commit() {
    let (collector, sent) = collector();
    let (_dir, planck) = start(&format!("http://{collector}"), "trust_parent: true");
    for flags in ["00", "01"] {
        let header = format!("traceparent: 00-{TRACE}-{CALLER}-{flags}\r\n");
        let answer = planck.request_with("POST", "/things/1?token=x", &header, "");
        assert_eq!(answer, (200, "ok".to_owned()));
    }
    let (head, body) = sent.recv_timeout(PATIENCE).unwrap();
    assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("content-type: application/x-protobuf"), "{head}");
    let (service, spans) = read(&body);
    assert_eq!(service, "shop");
    // The one whose caller is not traced is not.
    let named = |name: &str| -> Vec<&Span> { spans.iter().filter(|s| s.name == name).collect() };
    let [root] = named("HTTP request")[..] else { panic!("{spans:#?}") };
    let [call] = named("guest call")[..] else { panic!("{spans:#?}") };
    let [create, write, done] = named("host request")[..] else { panic!("{spans:#?}") };
    let commits = named("commit");
    let waits = named("wait for sync");
    assert!(spans.iter().all(|span| span.trace == TRACE), "{spans:#?}");
    assert_eq!((root.parent.as_deref(), root.kind), (Some(CALLER), 2));
    assert_eq!(call.parent.as_ref(), Some(&root.id));
    assert_eq!((create.parent.as_ref(), create.kind), (Some(&call.id), 1));
    assert_eq!(write.parent.as_ref(), Some(&call.id));
    assert_eq!(done.parent.as_ref(), Some(&call.id));
    let of = |span: &Span, key: &str| {
        span.attributes.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone())
    };
    assert_eq!(of(root, "http.request.method").as_deref(), Some("POST"));
    assert_eq!(of(root, "url.path").as_deref(), Some("/things/1"), "without its query");
    assert_eq!(of(root, "http.response.status_code").as_deref(), Some("200"));
    assert_eq!(of(create, "planck.operation").as_deref(), Some("CreateStore"));
    assert_eq!(of(write, "planck.operation").as_deref(), Some("Update"));
    assert_eq!(of(write, "planck.store").as_deref(), Some("s"));
    // What it wrote takes effect at the end of the call.
    assert_eq!(of(done, "planck.operation").as_deref(), Some("Commit"));
    assert!(commits.iter().all(|commit| commit.parent.as_ref() != Some(&write.id)));
    let commit = commits.iter().find(|commit| commit.parent.as_ref() == Some(&done.id)).unwrap();
    assert!(of(commit, "planck.lsn").unwrap().parse::<u64>().unwrap() >= 2);
    let wait = waits.iter().find(|wait| wait.parent.as_ref() == Some(&commit.id)).unwrap();
    // Each within the one it is a part of; clocks are read a moment apart.
    let slack = 5_000_000;
    for (part, whole) in [(*wait, *commit), (*commit, done), (done, call), (call, root)] {
        let within = part.begun + slack >= whole.begun && part.ended <= whole.ended + slack;
        assert!(within && part.begun <= part.ended, "{part:#?} {whole:#?}");
    }
    assert!(wait.ended > wait.begun, "a sync takes a while: {wait:#?}");
    assert_eq!(planck.stop().0, Some(0));
}

#[test]
fn the_last_traces_are_sent_before_the_end() {
    let (collector, sent) = collector();
    let (_dir, planck) = start(&format!("http://{collector}/x"), "sample_per_mille: 1000");
    assert_eq!(planck.get("/").0, 200);
    assert_eq!(planck.stop().0, Some(0));
    let (head, body) = sent.recv_timeout(PATIENCE).unwrap();
    assert!(head.starts_with("POST /x HTTP/1.1\r\n"), "{head}");
    let (_, spans) = read(&body);
    let root = spans.iter().find(|span| span.name == "HTTP request").unwrap();
    assert_eq!(root.parent, None);
}

#[test]
fn a_collector_that_is_away_costs_a_line_and_its_spans() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (_dir, planck) = start(&format!("http://{nobody}"), "sample_per_mille: 1000");
    let dropped = || {
        let page = Page::parse(&planck.look("/metrics").1).unwrap();
        page.value("planck_trace_spans_dropped_total", &[]).unwrap()
    };
    let until = Instant::now() + PATIENCE;
    for _ in 0..3 {
        let before = dropped();
        assert_eq!(planck.get("/").0, 200);
        while dropped() == before {
            assert!(Instant::now() < until, "they are dropped in the end");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    let (code, lines) = planck.stop();
    assert_eq!(code, Some(0));
    let told = lines.iter().filter(|line| line.contains("does not take traces")).count();
    assert_eq!(told, 1, "{lines:?}");
}
