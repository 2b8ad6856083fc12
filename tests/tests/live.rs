//! What leaves while it is made: the guest of `examples/live` behind HTTP, on both runtimes.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

#[path = "live/browser.rs"]
mod browser;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use tests::{Planck, live_module, service_dir};

const RUNTIMES: [&str; 2] = ["wasmer", "wasmi"];

/// With network threads that may run guests, so that both ways of a call are taken.
fn start(runtime: &str, more: &str) -> (Planck, tempfile::TempDir) {
    let yaml = format!(
        "name: live\ntls: {{enabled: false}}\nhttp: {{port: 0}}\n\
         wasm: {{runtime: {runtime}, min_instances: 1, max_instances: 3{more}}}\n"
    );
    let db = "port: 0\nadmin: {enabled: true, port: 0}\n";
    let dir = service_dir(db, Some(&yaml));
    fs::create_dir(dir.path().join("wasm")).unwrap();
    fs::copy(live_module(), dir.path().join("wasm/planck.live.wasm")).unwrap();
    (Planck::start(dir.path()).unwrap_or_else(|said| panic!("{said}")), dir)
}

/// Asks, and gives the connection with the answer still in it.
fn open(planck: &Planck, target: &str) -> TcpStream {
    let mut stream = TcpStream::connect(planck.http.unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let asked = format!("GET {target} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
    stream.write_all(asked.as_bytes()).unwrap();
    stream
}

/// All that comes, however it ends.
fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).ok();
    all
}

/// A chunked body without its chunks; whether it was whole.
fn unchunk(answer: &[u8]) -> (Vec<u8>, bool) {
    let at = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let head = String::from_utf8_lossy(&answer[..at]);
    assert!(head.contains("transfer-encoding: chunked"), "{head}");
    let (mut left, mut body) = (&answer[at..], Vec::new());
    loop {
        let Some(end) = left.windows(2).position(|two| two == b"\r\n") else {
            return (body, false);
        };
        let size = usize::from_str_radix(std::str::from_utf8(&left[..end]).unwrap(), 16).unwrap();
        left = &left[end + 2..];
        if size == 0 {
            return (body, left == b"\r\n");
        }
        if left.len() < size + 2 {
            body.extend_from_slice(left);
            return (body, false);
        }
        body.extend_from_slice(&left[..size]);
        left = &left[size + 2..];
    }
}

fn resident(planck: &Planck) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", planck.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// The sum of the figures of a family that have `label` in them.
fn figure(planck: &Planck, family: &str, label: &str) -> u64 {
    let page = planck.look("/metrics").1;
    let lines = page.lines().filter(|line| line.starts_with(family) && line.contains(label));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64).sum()
}

fn until(what: &str, reached: impl Fn() -> bool) {
    let begun = Instant::now();
    while !reached() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what} does not come about");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_stream_is_whole_or_seen_to_be_cut() {
    for runtime in RUNTIMES {
        let (planck, _dir) = start(runtime, "");
        let expected: String = (0..50_000_u64).map(|n| format!("{n},{}\n", n * n)).collect();
        for _ in 0..3 {
            let (body, is_whole) = unchunk(&rest(open(&planck, "/numbers/50000")));
            assert!(is_whole && body == expected.as_bytes(), "{runtime}: {} bytes", body.len());
        }
        // Few bytes: the head and the last piece.
        assert_eq!(unchunk(&rest(open(&planck, "/numbers/2"))), (b"0,0\n1,1\n".to_vec(), true));
        assert_eq!(planck.get("/numbers/x").0, 400, "{runtime}: a whole answer of the same guest");
        let (body, is_whole) = unchunk(&rest(open(&planck, "/broken/3")));
        assert!(!is_whole && b"begin\n0\n1\n2\n".starts_with(&body), "{runtime}");
        assert_eq!(planck.request("HEAD", "/numbers/50000", ""), (200, String::new()));
        until("its count", || figure(&planck, "planck_http_streams_total", "cut") == 1);
        assert!(figure(&planck, "planck_http_sent_bytes_total", "") > 3 * expected.len() as u64);
        let (code, lines) = planck.stop();
        assert_eq!(code, Some(0));
        let told =
            lines.iter().filter(|line| line.contains("in the middle of its response")).count();
        assert_eq!(told, 1, "{runtime}: {lines:#?}");
    }
}

#[test]
fn a_client_that_does_not_read_costs_no_memory_and_its_instance_no_longer_than_a_call() {
    for runtime in RUNTIMES {
        let (planck, _dir) = start(runtime, ", deadline_in_ms: 1500");
        assert_eq!(unchunk(&rest(open(&planck, "/zeros/1"))).0.len(), 1 << 20);
        let before = resident(&planck);
        let idle: Vec<TcpStream> = (0..3).map(|_| open(&planck, "/zeros/1024")).collect();
        let trapped = || figure(&planck, "planck_pool_traps_total", "deadline");
        until("the deadline", || {
            let now = resident(&planck);
            assert!(now < before + (64 << 20), "{runtime}: {before} {now}");
            trapped() == 3
        });
        for stream in idle {
            assert!(!unchunk(&rest(stream)).1, "{runtime}: it is seen to be cut");
        }
        assert_eq!(unchunk(&rest(open(&planck, "/numbers/1"))), (b"0,0\n".to_vec(), true));
        assert_eq!(planck.stop().0, Some(0));
    }
}

#[test]
fn an_instance_comes_free_when_its_client_goes() {
    for runtime in RUNTIMES {
        // A call might take a minute: only the client's end can free them.
        let (planck, _dir) = start(runtime, ", deadline_in_ms: 60000");
        for _ in 0..3 {
            // One after the other, each until its head has left.
            let begun = |_| {
                let mut stream = open(&planck, "/zeros/1024");
                let mut head = [0; 12];
                stream.read_exact(&mut head).unwrap();
                assert_eq!(&head, b"HTTP/1.1 200", "{runtime}");
                stream
            };
            let gone: Vec<TcpStream> = (0..3).map(begun).collect();
            until("all at work", || figure(&planck, "planck_pool_busy", "") == 3);
            drop(gone);
            until("all free", || figure(&planck, "planck_pool_busy", "") == 0);
        }
        until("their ends", || figure(&planck, "planck_http_streams_total", "gone") == 9);
        assert_eq!(unchunk(&rest(open(&planck, "/numbers/1"))), (b"0,0\n".to_vec(), true));
        let (code, lines) = planck.stop();
        assert_eq!(code, Some(0));
        let is_fault = |line: &&String| line.contains("ERROR");
        assert_eq!(lines.iter().find(is_fault), None, "{runtime}: to leave is no fault");
    }
}

#[test]
fn an_event_stream_goes_on_and_holds_no_instance_in_between() {
    for runtime in RUNTIMES {
        let (planck, _dir) = start(runtime, "");
        let expected: String = (1..=5).map(|n| format!("id: {n}\ndata: {n} of 5\n\n")).collect();
        assert_eq!(unchunk(&rest(open(&planck, "/count/5"))), (expected.into_bytes(), true));
        // More of them than there are instances.
        let many: Vec<TcpStream> = (0..12).map(|_| open(&planck, "/count/1000000")).collect();
        let live = || figure(&planck, "planck_http_live", "events");
        until("all open", || live() == 12);
        assert_eq!(unchunk(&rest(open(&planck, "/numbers/1"))), (b"0,0\n".to_vec(), true));
        until("many calls", || figure(&planck, "planck_pool_calls_total", "") > 40);
        drop(many);
        until("all gone", || live() == 0);
        let last = open(&planck, "/count/1000000");
        until("one open", || live() == 1);
        let stopping = std::thread::spawn(move || planck.stop().0);
        assert!(unchunk(&rest(last)).1, "{runtime}: a browser sees its end, and comes back");
        assert_eq!(stopping.join().unwrap(), Some(0));
    }
}

/// A message of a client that has it masked by zeros.
fn said(text: &str) -> Vec<u8> {
    [&[0x81, 0x80 | text.len() as u8, 0, 0, 0, 0], text.as_bytes()].concat()
}

/// The next frame: its kind, and its payload of at most 125 bytes.
fn heard(stream: &mut TcpStream) -> (u8, String) {
    let mut head = [0; 2];
    stream.read_exact(&mut head).unwrap();
    let mut payload = vec![0; usize::from(head[1])];
    stream.read_exact(&mut payload).unwrap();
    (head[0], String::from_utf8_lossy(&payload).into_owned())
}

fn handshake(planck: &Planck, origin: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(planck.http.unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let asked = format!(
        "GET /echo HTTP/1.1\r\nhost: h\r\norigin: {origin}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(asked.as_bytes()).unwrap();
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    (stream, String::from_utf8(head).unwrap())
}

#[test]
fn a_websocket_is_a_call_for_each_message() {
    for runtime in RUNTIMES {
        let (planck, _dir) = start(runtime, "");
        assert!(handshake(&planck, "https://elsewhere").1.starts_with("HTTP/1.1 403"), "{runtime}");
        let (mut stream, head) = handshake(&planck, "http://h");
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        assert_eq!(heard(&mut stream), (0x81, "welcome".to_owned()));
        assert_eq!(heard(&mut stream), (0x81, "tick".to_owned()));
        // More of them than there are instances.
        let others: Vec<TcpStream> = (0..6).map(|_| handshake(&planck, "http://h").0).collect();
        for text in ["hello", "three", "again"] {
            stream.write_all(&said(text)).unwrap();
        }
        for text in ["hello", "one", "two", "three", "again"] {
            assert_eq!(heard(&mut stream), (0x81, text.to_owned()), "{runtime}");
        }
        stream.write_all(&said("bye")).unwrap();
        assert_eq!(heard(&mut stream), (0x88, "\u{f}\u{fffd}you said so".to_owned()));
        let (mut failing, _) = handshake(&planck, "http://h");
        failing.write_all(&said("fail")).unwrap();
        while heard(&mut failing) != (0x88, "\u{3}\u{fffd}".to_owned()) {}
        drop((stream, failing, others));
        until("all gone", || figure(&planck, "planck_http_live", "websockets") == 0);
        assert!(figure(&planck, "planck_websocket_messages_total", "received") >= 5);
        let (code, lines) = planck.stop();
        assert_eq!(code, Some(0));
        for code in [4000, 1011, 1006] {
            let line = format!("a WebSocket closed by {code}");
            assert!(lines.iter().any(|told| told.contains(&line)), "{runtime}: {line}\n{lines:#?}");
        }
    }
}
