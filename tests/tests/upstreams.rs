//! Guests that call services outside: a process, a guest, a service, on both runtimes.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use tests::{Planck, service_dir};

/// Calls the upstream whose name is the one letter of its path, with `GET /x`, and answers
/// what it answered; 502 with the words of the refusal; 504 if the body broke off.
const GUEST: &str = r#"
(module
  (import "planck" "host_call_service" (func $service (param i32 i32 i32 i32 i32 i32) (result i64)))
  (import "planck" "host_read" (func $read (param i32 i32 i32) (result i64)))
  (memory (export "memory") 3)
  (data (i32.const 64) "\01\03\00GET\02\00\00\00/x\00\00\00\00")
  (func (export "planck_abi") (result i32) (i32.const 1))
  (func (export "alloc") (param i32) (result i32) (i32.const 131072))
  (func $answer (param $status i32) (param $len i32) (result i64)
    (i32.store8 (i32.const 8192) (i32.const 1))
    (i32.store16 (i32.const 8193) (local.get $status))
    (i32.store16 (i32.const 8195) (i32.const 0))
    (i64.or (i64.const 0x0000200000000000) (i64.extend_i32_u (i32.add (local.get $len) (i32.const 5)))))
  (func (export "process") (param $ptr i32) (param $len i32) (result i64)
    (local $total i32) (local $part i64)
    (local.set $total (i32.wrap_i64 (call $service
      (i32.add (local.get $ptr) (i32.const 11)) (i32.const 1)
      (i32.const 64) (i32.const 16) (i32.const 1024) (i32.const 4096))))
    (if (i32.load16_u (i32.const 1030)) (then
      (memory.copy (i32.const 8197) (i32.const 1048) (i32.sub (local.get $total) (i32.const 24)))
      (return (call $answer (i32.const 502) (i32.sub (local.get $total) (i32.const 24))))))
    (local.set $part (call $read (i32.const 0x80000000) (i32.const 8197) (i32.const 100000)))
    (if (i64.lt_s (local.get $part) (i64.const 0)) (then (return (call $answer (i32.const 504) (i32.const 0)))))
    (call $answer (i32.load16_u (i32.const 1049)) (i32.wrap_i64 (local.get $part)))))
"#;

const CANARY: &str = "canary-51af";

/// A service that answers each connection's first request by its path; the requests.
fn outside() -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let requests = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&requests);
    let serve = move |mut stream: TcpStream, noted: Arc<Mutex<Vec<String>>>| {
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read_exact(&mut byte).is_err() {
                return;
            }
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let path = head.split(' ').nth(1).unwrap().to_owned();
        noted.lock().unwrap().push(head);
        let answer = match path.as_str() {
            "/large/x" => format!("HTTP/1.1 201 X\r\ncontent-length: 90000\r\n\r\n{}", "y".repeat(90_000)),
            "/cut/x" => "HTTP/1.1 200 X\r\ncontent-length: 9\r\n\r\nhalf".to_owned(),
            "/away/x" => "HTTP/1.1 302 X\r\nlocation: http://169.254.169.254/\r\ncontent-length: 4\r\n\r\naway".to_owned(),
            _ => {
                thread::sleep(Duration::from_secs(20));
                return;
            }
        };
        stream.write_all(answer.as_bytes()).ok();
    };
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let noted = Arc::clone(&noted);
            thread::spawn(move || serve(stream, noted));
        }
    });
    (address, requests)
}

/// A service's directory with the guest in it.
fn with_guest(yaml: &str) -> tempfile::TempDir {
    let dir = service_dir("port: 0\nadmin: {enabled: true, port: 0}\n", Some(yaml));
    fs::create_dir(dir.path().join("wasm")).unwrap();
    fs::write(dir.path().join("wasm/planck.t.wasm"), wat::parse_str(GUEST).unwrap()).unwrap();
    dir
}

fn secret(dir: &Path, mode: u32) {
    let path = dir.join("secret");
    fs::write(&path, format!("authorization: Bearer {CANARY}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
}

fn calls_on(runtime: &str) {
    let (address, requests) = outside();
    let up = |name: &str, path: &str| {
        format!(
            "- {{name: {name}, url: 'http://{address}/{path}', allow_private: true, secret_headers_file: secret, timeout_ms: 1000}}\n"
        )
    };
    let yaml = format!(
        "name: t\ntls: {{enabled: false}}\nhttp: {{port: 0}}\nwasm: {{runtime: {runtime}}}\n\
         upstreams:\n{}{}{}{}- {{name: p, url: 'https://localhost:{}', ca_file: tls/cert.pem}}\n",
        up("l", "large"),
        up("c", "cut/"),
        up("a", "away"),
        up("s", "slow"),
        address.port()
    );
    let dir = with_guest(&yaml);
    secret(dir.path(), 0o600);
    net::tls::Identity::load_or_create(&dir.path().join("tls"), &[]).unwrap();
    let planck = Planck::start(dir.path()).unwrap_or_else(|said| panic!("{said}"));
    // Whole and larger than what is read ahead; broken off; a redirect, which is an answer.
    assert_eq!(planck.get("/l"), (201, "y".repeat(90_000)));
    assert_eq!(planck.get("/c"), (504, String::new()));
    assert_eq!(planck.get("/a"), (302, "away".to_owned()));
    let begun = Instant::now();
    let (status, words) = planck.get("/s");
    assert_eq!(status, 502);
    assert!(words.contains("'s' did not answer within"), "{words}");
    assert!(begun.elapsed() < Duration::from_secs(10));
    // This machine's own ports are a private network.
    let (status, words) = planck.get("/p");
    assert_eq!(status, 502);
    assert!(words.contains("'p' leads to addresses it may not have"), "{words}");
    let (_, words) = planck.get("/n");
    assert!(words.contains("'n' is not on the allowlist"), "{words}");
    // All of it is in the figures.
    let page = planck.page();
    let of = |series: &str, labels: &[(&str, &str)]| {
        page.value(series, labels).unwrap_or_else(|| panic!("no {series} {labels:?}"))
    };
    for (upstream, outcome) in
        [("l", "2xx"), ("c", "broken"), ("a", "3xx"), ("s", "timeout"), ("p", "address")]
    {
        for all in ["2xx", "3xx", "4xx", "5xx", "bad_call", "address", "busy", "circuit_open"]
            .into_iter()
            .chain(["unreachable", "timeout", "broken", "too_large"])
        {
            let labels = [("upstream", upstream), ("outcome", all)];
            let calls = of("planck_upstream_calls_total", &labels);
            assert_eq!(calls, if all == outcome { 1.0 } else { 0.0 }, "{upstream} {all}");
        }
        let name = [("upstream", upstream)];
        let answered = if matches!(upstream, "s" | "p") { 0.0 } else { 1.0 };
        assert_eq!(of("planck_upstream_duration_seconds_count", &name), answered, "{upstream}");
        assert_eq!(of("planck_upstream_in_flight", &name), 0.0);
        let closed = [("upstream", upstream), ("state", "closed")];
        assert_eq!(of("planck_upstream_circuit", &closed), 1.0);
    }
    assert_eq!(of("planck_upstream_received_bytes_total", &[("upstream", "l")]), 90_000.0);
    assert_eq!(of("planck_upstream_connections_total", &[("upstream", "l")]), 1.0);
    let stats = planck.planctl_ok(&["stats"]);
    assert!(stats.lines().any(|line| line.starts_with("upstreams.l.latency.p99_us")), "{stats}");
    let requests = requests.lock().unwrap().clone();
    assert_eq!(requests.len(), 4, "{requests:?}");
    for request in &requests {
        assert!(request.contains(&format!("authorization: Bearer {CANARY}\r\n")), "{request}");
    }
    let (code, lines) = planck.stop();
    assert_eq!(code, Some(0));
    assert!(lines.iter().any(|line| line.contains("calls of an upstream")), "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains(CANARY)), "{lines:?}");
}

#[test]
fn a_guest_calls_what_is_listed_and_nothing_else_on_wasmi() {
    calls_on("wasmi");
}

#[test]
fn a_guest_calls_what_is_listed_and_nothing_else_on_wasmer() {
    calls_on("wasmer");
}

#[test]
fn two_services_that_call_each_other_end() {
    // Held until both are chosen, so that they differ.
    let held =
        [TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap()];
    let ports = held.each_ref().map(|listener| listener.local_addr().unwrap().port());
    drop(held);
    let start = |own: u16, other: u16| {
        let dir = with_guest(&format!(
            "name: t\ntls: {{enabled: false}}\nhttp: {{port: {own}}}\n\
             wasm: {{runtime: wasmi, min_instances: 2, max_instances: 2, deadline_in_ms: 20000}}\n\
             upstreams: [{{name: x, url: 'http://127.0.0.1:{other}', allow_private: true, timeout_ms: 20000}}]\n"
        ));
        let planck = Planck::start(dir.path()).unwrap_or_else(|said| panic!("{said}"));
        (planck, dir)
    };
    let (one, _dir) = start(ports[0], ports[1]);
    let (two, _other) = start(ports[1], ports[0]);
    let begun = Instant::now();
    // One calls two, which calls one, which calls two, and so on: the last place is refused.
    for planck in [&one, &two, &one] {
        let (status, words) = planck.get("/x");
        assert_eq!(status, 502);
        assert!(words.contains("1 calls of upstreams run"), "{words}");
    }
    assert!(begun.elapsed() < Duration::from_secs(15), "nobody waited for a deadline");
    assert_eq!((one.stop().0, two.stop().0), (Some(0), Some(0)));
}

#[test]
fn an_upstream_that_is_set_wrongly_stops_the_start() {
    let base = "name: t\nhttp: {port: 0}\n";
    for (upstreams, mode, words) in [
        ("[{name: a, url: 'https://a', secret_headers_file: secret}]", 0o644, "chmod 600"),
        ("[{name: a, url: 'https://a', ca_file: none.pem}]", 0o600, "ca_file"),
        ("[{name: a, url: 'http://127.0.0.1'}]", 0o600, "allow_private"),
        ("[{name: a, url: 'https://u:p@a'}]", 0o600, "secret_headers_file"),
    ] {
        let dir = with_guest(&format!("{base}upstreams: {upstreams}\n"));
        secret(dir.path(), mode);
        let said = Planck::start(dir.path()).err().expect("it must not start");
        assert!(said.contains("78") && said.contains("the upstream 'a'"), "{said}");
        assert!(said.contains(words) && !said.contains(CANARY), "{said}");
    }
}
