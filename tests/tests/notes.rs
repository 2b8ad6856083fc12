//! The notes in each language, on both runtimes, over a real engine.
//!
//! What must stay true: a language is a way of writing a guest and nothing a client could
//! see. Eight runs, four languages on two runtimes, give the one transcript that lies in
//! `notes/transcript.txt`: each response to the byte, and each line of the log. The engine,
//! its clock and all randomness are simulated, so keys are the same each time.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

#[path = "notes/lines.rs"]
mod lines;

use engine::{Engine, Options, Principal};
use platform::sim::{SimClock, SimDisk, SimEntropy};
use platform::{Clock, Entropy};
use proto::http::{HeadersBuf, HttpResponse, write_request};
use proto::{ReplyWriter, Request, Status};
use runtime_api::{CallKind, Host, Instance, Limits, LogLevel, Runtime, TrapKind, Verdict};
use runtime_wasmer::WasmerRuntime;
use runtime_wasmi::WasmiRuntime;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tests::{Planck, notes_module, service_dir};

const LANGUAGES: [&str; 4] = ["c", "zig", "assemblyscript", "go"];

/// What `planck` puts behind a guest, with its lines kept.
struct World {
    engine: Engine,
    clock: Arc<SimClock>,
    /// Anew for each request: Go's runtime takes of it at its start, others do not.
    entropy: Mutex<SimEntropy>,
    log: Mutex<Vec<String>>,
    /// What the next requests are answered; `None`, and those behind it, by the engine.
    answers: Mutex<VecDeque<Option<Status>>>,
    /// What the next calls come to that have asked; those behind it stand.
    verdicts: Mutex<VecDeque<Verdict>>,
    /// How many requests came.
    asked: AtomicUsize,
}

impl World {
    fn new() -> Arc<World> {
        let clock = Arc::new(SimClock::new(1_700_000_000_123_456));
        let entropy = Arc::new(SimEntropy::new(1));
        let engine =
            Engine::open(SimDisk::new(1), clock.clone(), entropy, Options::default()).unwrap();
        let entropy = Mutex::new(SimEntropy::new(0));
        let log = Mutex::default();
        let (answers, verdicts) = (Mutex::default(), Mutex::default());
        Arc::new(World { engine, clock, entropy, log, answers, verdicts, asked: 0.into() })
    }
}

impl Host for World {
    fn begin_call(&self, _: CallKind, _: u32) -> u64 {
        self.engine.begin_session()
    }

    fn end_call(&self, call: u64) {
        self.engine.end_session(&Principal::service("notes").in_session(call));
    }

    fn conclude_call(&self, _: u64, _: u32, _: bool, _: &[u8]) -> Verdict {
        self.verdicts.lock().unwrap().pop_front().unwrap_or(Verdict::Stands)
    }

    fn request(&self, call: u64, packet: &[u8], reply: &mut Vec<u8>) {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if let Some(status) = self.answers.lock().unwrap().pop_front().flatten() {
            let (id, _) = Request::decode(packet).unwrap();
            return ReplyWriter::new(id, reply).error(status, "so it was told");
        }
        let who = Principal::service("notes").in_session(call);
        self.engine.dispatch_packet(&who, packet, reply);
    }

    fn log(&self, level: LogLevel, line: &str) {
        self.log.lock().unwrap().push(format!("  log {level:?}: {line}"));
    }

    fn now_micros(&self) -> u64 {
        self.clock.wall_micros()
    }

    fn random(&self, out: &mut [u8]) {
        self.entropy.lock().unwrap().fill(out);
    }
}

fn runtimes(clock: &Arc<SimClock>) -> [Box<dyn Runtime>; 2] {
    [Box::new(WasmiRuntime::new(clock.clone())), Box::new(WasmerRuntime::new(clock.clone()))]
}

/// One instance, and the world it lives in.
struct Notes {
    world: Arc<World>,
    instance: Box<dyn Instance>,
    /// The bytes of the last response.
    answer: Vec<u8>,
}

impl Notes {
    fn start(module: &dyn runtime_api::Module, world: Arc<World>) -> Notes {
        let instance = module
            .instantiate(Arc::clone(&world) as Arc<dyn Host>, &Limits::default())
            .unwrap_or_else(|trap| panic!("{trap}"));
        Notes { world, instance, answer: Vec::new() }
    }

    /// A request, 1.5 ms after the one before.
    fn ask(&mut self, method: &str, target: &str, body: &[u8]) -> HttpResponse<'_> {
        let request = self.request(method, target, body);
        self.instance
            .process(&request, &mut self.answer)
            .unwrap_or_else(|trap| panic!("{method} {target}: {trap}"));
        HttpResponse::decode(&self.answer).unwrap_or_else(|e| panic!("{method} {target}: {e}"))
    }

    fn request(&self, method: &str, target: &str, body: &[u8]) -> Vec<u8> {
        self.world.clock.advance(Duration::from_micros(1_500));
        *self.world.entropy.lock().unwrap() = SimEntropy::new(self.world.clock.wall_micros());
        let mut headers = HeadersBuf::new();
        assert!(headers.push("host", b"localhost"));
        assert!(headers.push("content-type", b"text/plain"));
        if body.starts_with(b"pin") {
            assert!(headers.push("x-pinned", b"yes"));
        }
        let mut request = Vec::new();
        write_request(&mut request, method, target, "127.0.0.1:9", &headers, body);
        request
    }

    /// The same, and what was seen of it, onto the transcript.
    fn tell(&mut self, out: &mut String, method: &str, target: &str, body: &[u8]) {
        writeln!(out, "{method} {target}").unwrap();
        if !body.is_empty() {
            writeln!(out, "  > {}", shown(body)).unwrap();
        }
        let response = self.ask(method, target, body);
        writeln!(out, "  {}", response.status).unwrap();
        for (name, value) in response.headers.iter() {
            writeln!(out, "  {name}: {}", value.escape_ascii()).unwrap();
        }
        writeln!(out, "  {}", shown(response.body)).unwrap();
        for line in self.world.log.lock().unwrap().drain(..) {
            writeln!(out, "{line}").unwrap();
        }
    }
}

/// Bytes as one line; of many, their head and a hash of all (FNV-1a).
fn shown(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.len() <= 500 && !text.contains(char::is_control) => {
            return text.to_owned();
        }
        _ if bytes.len() <= 500 => return bytes.escape_ascii().to_string(),
        _ => {}
    }
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{} .. ({} bytes, {hash:016x})", bytes[..100].escape_ascii(), bytes.len())
}

fn module(language: &str, runtime: &dyn Runtime) -> Arc<dyn runtime_api::Module> {
    let wasm = fs::read(notes_module(language)).unwrap();
    runtime.compile(&wasm).unwrap_or_else(|error| panic!("{language}: {error}"))
}

/// Everything the service does, and refuses.
fn transcript(notes: &mut Notes) -> String {
    let mut out = String::new();
    let all = &mut out;
    notes.tell(all, "GET", "/notes", b"");
    notes.tell(all, "GET", "/notes/lines", b"");
    notes.tell(all, "POST", "/notes?by=ann", b"milk, \"bread\"\n\\ and \xc3\xa4pfel \x01");
    let place = HttpResponse::decode(&notes.answer).unwrap();
    let place = place.headers.get("location").unwrap().to_vec();
    let place = String::from_utf8(place).unwrap();
    notes.tell(all, "POST", "/notes?x=1&by=bob_2&by=eve", b"second");
    notes.tell(all, "POST", "/notes?by=ann", &[&b"pin "[..], &[b'w'; 300]].concat());
    notes.tell(all, "GET", &place, b"");
    notes.tell(all, "GET", "/notes?by=ann&limit=5", b"");
    notes.tell(all, "GET", "/notes?limit=1", b"");
    notes.tell(all, "GET", "/notes?by=nobody", b"");
    notes.tell(all, "GET", "/notes/lines?by=bob_2", b"");
    notes.tell(all, "GET", "/notes/lines?x&by=ann", b"");
    notes.tell(all, "GET", "/notes/lines?by=Ann", b"");
    // A reply that no first buffer holds.
    for _ in 0..12 {
        assert_eq!(notes.ask("POST", "/notes?by=long", &[b'x'; 1_000]).status, 201);
    }
    notes.world.log.lock().unwrap().clear();
    notes.tell(all, "GET", "/notes?by=long&limit=100", b"");

    // What the guest refuses itself.
    for target in ["/notes?by=", "/notes?by=Ann", "/notes?by=a%20b", "/notes", "/notes?bye=ann"] {
        notes.tell(all, "POST", target, b"text");
    }
    let name = "n".repeat(33);
    notes.tell(all, "POST", &format!("/notes?by={name}"), b"text");
    notes.tell(all, "POST", "/notes?by=ann", b"");
    notes.tell(all, "POST", "/notes?by=ann", &[b'x'; 1_001]);
    for limit in ["0", "101", "", "abc", "-1", "0005", "1x", "99999999999999999999"] {
        notes.tell(all, "GET", &format!("/notes?limit={limit}"), b"");
    }
    for (method, target) in [
        ("GET", "/"),
        ("PUT", "/notes"),
        ("GET", "/notes/"),
        ("GET", "/notes/abc"),
        ("DELETE", &place),
    ] {
        notes.tell(all, method, target, b"");
    }
    notes.tell(all, "GET", &place.to_uppercase(), b"");
    notes.tell(all, "GET", &format!("{place}0"), b"");
    // What the engine refuses, and the host.
    notes.tell(all, "GET", "/notes/00000000000000000000000000000000", b"");
    notes.tell(all, "POST", "/notes?by=ann", b"\xff no text");
    notes.tell(all, "POST", &format!("{place}/send?to=mail"), b"");
    notes.tell(all, "POST", &format!("{place}/send"), b"");
    notes.tell(all, "POST", "/notes/00000000000000000000000000000000/send?to=mail", b"");
    notes.tell(all, "GET", &format!("{place}/send?to=mail"), b"");
    out
}

#[test]
fn four_languages_on_two_runtimes_give_one_transcript() {
    let path = tests::root().join("tests/tests/notes/transcript.txt");
    if std::env::var_os("PLANCK_BLESS").is_some() {
        let world = World::new();
        let module = module("c", &*runtimes(&world.clock)[0]);
        fs::write(&path, transcript(&mut Notes::start(&*module, world))).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap();
    for language in LANGUAGES {
        for which in 0..2 {
            let world = World::new();
            let runtime = &runtimes(&world.clock)[which];
            let module = module(language, &**runtime);
            let told = transcript(&mut Notes::start(&*module, world));
            let differs = told.lines().zip(expected.lines()).find(|(told, wanted)| told != wanted);
            assert_eq!(differs, None, "{language} on {}", runtime.name());
            assert_eq!(told, expected, "{language} on {}", runtime.name());
        }
    }
}

/// Bytes that are no request end the call by a status and cost nothing; memory does not grow
/// with the number of requests; and calls stay far from their limits.
#[test]
fn an_instance_lasts() {
    for language in LANGUAGES {
        for which in 0..2 {
            let world = World::new();
            let runtime = &runtimes(&world.clock)[which];
            let name = format!("{language} on {}", runtime.name());
            let module = module(language, &**runtime);
            let mut notes = Notes::start(&*module, world);
            for bytes in [&b""[..], b"\x02", b"\x01\x03\0GE", b"\x01\x03\0GET\xff\xff\xff\xff/"] {
                let trap = notes.instance.process(bytes, &mut Vec::new()).unwrap_err();
                assert_eq!((trap.kind(), trap.status()), (TrapKind::Aborted, -1), "{name}: {trap}");
            }
            assert_eq!(notes.ask("POST", "/notes?by=ann", b"once").status, 201);
            // Too large a body is the guest's to refuse, and its buffer grows for it.
            assert_eq!(notes.ask("POST", "/notes?by=ann", &[b'x'; 1 << 20]).status, 400);
            let mut early = 0;
            for n in 0..1_500 {
                assert_eq!(notes.ask("GET", "/notes?by=ann", b"").status, 200, "{name}");
                if n == 500 {
                    early = notes.instance.memory_bytes();
                }
            }
            let report = notes.instance.last_call();
            // Each takes 4 KiB for its reply alone; collectors settle within a megabyte.
            let grown = notes.instance.memory_bytes() - early;
            assert!(grown <= 1 << 20, "{name} grows by {grown}");
            assert!(early <= 16 << 20, "{name} takes {early} bytes");
            assert!(report.host_calls < 100, "{name}: {report:?}");
        }
    }
}

/// The whole way once, in the language that needs the most of the host: Go, with WASI.
#[test]
fn a_service_in_go_is_served_over_http() {
    let yaml = "name: notes\ntls: {enabled: false}\nhttp: {port: 0}\n\
                wasm: {min_instances: 1, max_instances: 2}\n";
    let dir = service_dir("port: 0\n", Some(yaml));
    fs::create_dir(dir.path().join("wasm")).unwrap();
    fs::copy(notes_module("go"), dir.path().join("wasm/planck.notes.wasm")).unwrap();
    let planck = Planck::start(dir.path()).unwrap_or_else(|said| panic!("{said}"));
    let (status, body) = planck.request("POST", "/notes?by=ann", "over the network");
    assert_eq!(status, 201, "{body}");
    let made: serde_json::Value = serde_json::from_str(&body).unwrap();
    let key = made["key"].as_str().unwrap();
    let (status, body) = planck.get(&format!("/notes/{key}"));
    let note: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &note["text"]), (200, &"over the network".into()));
    let (status, body) = planck.get("/notes?by=ann&limit=3");
    let found: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &found["notes"][0]), (200, &note));
    let (status, body) = planck.get("/notes/00000000000000000000000000000000");
    assert_eq!(status, 404);
    assert!(body.contains("PLK-1301"), "{body}");
    // It is data like any other.
    let said = planck.planctl_ok(&["query", "notes.count()"]);
    assert!(said.contains('1'), "{said}");
    let (code, lines) = planck.stop();
    assert_eq!(code, Some(0));
    assert!(lines.iter().any(|line| line.contains("a note by ann")), "{lines:#?}");
}
