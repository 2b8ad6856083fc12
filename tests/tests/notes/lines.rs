//! What leaves while it is made, by the SDK of each language: pieces, clients that go, calls
//! that were disturbed, failures behind the head; and the HTTP status of each status.

use super::*;
use runtime_api::{CallReport, Outlet, Trap, Unwritten};
use std::io::{Read, Write};
use std::net::TcpStream;

/// A page of the notes' own, in lines.
const PAGE: usize = 100;

/// Takes so many pieces, and then none.
#[derive(Debug)]
struct Client {
    pieces: Mutex<Vec<Vec<u8>>>,
    takes: usize,
}

impl Outlet for Client {
    fn write(&self, piece: Vec<u8>, is_end: bool, _: u64) -> Result<(), Unwritten> {
        let mut pieces = self.pieces.lock().unwrap();
        if pieces.len() == self.takes {
            return Err(Unwritten::Gone);
        }
        assert!(is_end, "a page fits a piece");
        pieces.push(piece);
        Ok(())
    }
}

impl Notes {
    /// `GET` for a client that takes so many pieces: these, and what the call came to.
    fn stream(&mut self, target: &str, takes: usize) -> (Vec<Vec<u8>>, Result<CallReport, Trap>) {
        let client = Arc::new(Client { pieces: Mutex::default(), takes });
        let request = self.request("GET", target, b"");
        let outcome = self.instance.process_to(&request, &mut self.answer, client.clone());
        let pieces = client.pieces.lock().unwrap().drain(..).collect();
        (pieces, outcome)
    }

    fn log(&self) -> Vec<String> {
        self.world.log.lock().unwrap().drain(..).collect()
    }
}

/// Each language on each runtime, with so many notes of 200 bytes by ann.
fn each(notes: usize, mut test: impl FnMut(&str, Notes)) {
    for language in LANGUAGES {
        for which in 0..2 {
            let world = World::new();
            let runtime = &runtimes(&world.clock)[which];
            let module = module(language, &**runtime);
            assert!(module.writes(), "{language}");
            let mut made = Notes::start(&*module, world);
            for n in 0..notes {
                let text = format!("{n:0200}");
                assert_eq!(made.ask("POST", "/notes?by=ann", text.as_bytes()).status, 201);
            }
            made.log();
            test(&format!("{language} on {}", runtime.name()), made);
        }
    }
}

/// The numbers that the notes of a body are, line by line.
fn numbers(body: &[u8]) -> Vec<usize> {
    let number = |line: &str| {
        let note: serde_json::Value = serde_json::from_str(line).unwrap();
        note["text"].as_str().unwrap().parse().unwrap()
    };
    std::str::from_utf8(body).unwrap().lines().map(number).collect()
}

/// The head alone, then a page in each piece, and nothing left to return. However many notes
/// there are, the call takes the memory of a page; where memory is collected, a little more.
#[test]
fn many_notes_leave_page_by_page() {
    each(5 * PAGE + 1, |name, mut notes| {
        assert_eq!(notes.stream("/notes/lines", 2).0.len(), 2, "{name}");
        let before = notes.instance.memory_bytes();
        let (pieces, outcome) = notes.stream("/notes/lines?by=ann", 99);
        outcome.unwrap_or_else(|trap| panic!("{name}: {trap}"));
        let head = HttpResponse::decode(&pieces[0]).unwrap();
        assert_eq!((head.status, head.body), (200, &b""[..]), "{name}");
        assert_eq!(head.headers.get("content-type"), Some(&b"application/x-ndjson"[..]), "{name}");
        let counts: Vec<_> = pieces[1..].iter().map(|piece| numbers(piece).len()).collect();
        assert_eq!(counts, [&[PAGE; 5][..], &[1]].concat(), "{name}");
        let all: Vec<_> = (0..5 * PAGE + 1).collect();
        assert_eq!(numbers(&pieces[1..].concat()), all, "{name}");
        assert_eq!(notes.answer, b"", "{name}");
        let grown = notes.instance.memory_bytes() - before;
        let room = if name.starts_with("c ") || name.starts_with("zig") { 0 } else { 2 << 20 };
        assert!(grown <= room, "{name} grows by {grown}");
        // Where nobody takes pieces they are put together.
        let whole = notes.ask("GET", "/notes/lines", b"");
        assert_eq!((whole.status, numbers(whole.body)), (200, all), "{name}");
    });
}

/// The next piece tells, and the handler ends there and says nothing.
#[test]
fn a_client_that_has_gone_ends_the_handler() {
    each(3 * PAGE, |name, mut notes| {
        for takes in 0..4 {
            let before = notes.world.asked.load(Ordering::Relaxed);
            let (pieces, outcome) = notes.stream("/notes/lines", takes);
            let asked = notes.world.asked.load(Ordering::Relaxed) - before;
            assert_eq!((pieces.len(), asked), (takes, takes.max(1)), "{name}");
            if let Err(trap) = outcome {
                assert_eq!(trap.kind(), TrapKind::Aborted, "{name}: {trap}");
            }
            assert_eq!(notes.log(), [""; 0], "{name}: nobody has to be told");
        }
        assert_eq!(notes.ask("GET", "/notes?limit=1", b"").status, 200, "{name}");
    });
}

/// Nothing leaves of a call that others disturbed; run again it is as if it were the first.
#[test]
fn a_call_that_was_disturbed_is_run_again() {
    each(PAGE + 1, |name, mut notes| {
        notes.world.verdicts.lock().unwrap().extend([Verdict::Again, Verdict::Again]);
        let (pieces, outcome) = notes.stream("/notes/lines", 99);
        outcome.unwrap_or_else(|trap| panic!("{name}: {trap}"));
        assert_eq!(pieces.len(), 3, "{name}: a head and two pages, once");
        assert_eq!(numbers(&pieces[1..].concat()).len(), PAGE + 1, "{name}");
        assert_eq!(notes.log(), [""; 0], "{name}");
        // What the host answers in its place is not the guest's.
        let mut instead = Vec::new();
        proto::http::write_response(&mut instead, 409, &HeadersBuf::new(), b"no");
        notes.world.verdicts.lock().unwrap().push_back(Verdict::Instead(instead.clone()));
        let (pieces, outcome) = notes.stream("/notes/lines", 99);
        outcome.unwrap_or_else(|trap| panic!("{name}: {trap}"));
        assert_eq!((pieces.len(), &notes.answer), (0, &instead), "{name}");
    });
}

/// Before anything has left it is an answer of its own; behind that the response breaks off,
/// and the log says why.
#[test]
fn a_failure_behind_the_head_breaks_off() {
    each(PAGE + 1, |name, mut notes| {
        notes.world.answers.lock().unwrap().push_back(Some(Status::Busy));
        let (pieces, outcome) = notes.stream("/notes/lines", 99);
        outcome.unwrap_or_else(|trap| panic!("{name}: {trap}"));
        let answer = HttpResponse::decode(&notes.answer).unwrap();
        assert_eq!((pieces.len(), answer.status), (0, 503), "{name}");
        assert!(answer.body.ends_with(br#"detail":"so it was told"}"#), "{name}");
        assert_eq!(notes.log(), [""; 0], "{name}");

        for status in [Status::Busy, Status::Io] {
            notes.world.answers.lock().unwrap().extend([None, Some(status)]);
            let (pieces, outcome) = notes.stream("/notes/lines", 99);
            let trap = outcome.unwrap_err();
            assert_eq!((trap.kind(), trap.status()), (TrapKind::Aborted, -1), "{name}: {trap}");
            assert_eq!(pieces.len(), 2, "{name}");
            assert_eq!(notes.log(), ["  log Error: so it was told"], "{name}");
        }
        assert_eq!(notes.stream("/notes/lines", 99).0.len(), 3, "{name}: the next begins anew");
    });
}

/// The SDKs know what each status is over HTTP, and what a client is not told.
#[test]
fn each_status_has_its_http_status() {
    each(0, |name, mut notes| {
        for status in Status::ALL.iter().copied().filter(|status| *status != Status::Ok) {
            notes.world.answers.lock().unwrap().push_back(Some(status));
            let answer = notes.ask("GET", "/notes/00000000000000000000000000000000", b"");
            let problem: serde_json::Value = serde_json::from_slice(answer.body).unwrap();
            assert_eq!(answer.status, status.http(), "{name}: {status}");
            assert_eq!(problem["status"], status.http(), "{name}: {status}");
            assert_eq!(problem["code"], status.to_string(), "{name}");
            let is_fault = status.class() == proto::Class::Failed;
            assert_eq!(problem["detail"] == "so it was told", !is_fault, "{name}: {status}");
            assert_eq!(notes.log().len(), usize::from(is_fault), "{name}: {status}");
        }
    });
}

/// What an SDK could do and a guest does not ask for costs it nothing: the guest that each
/// README begins with imports no `host_write`; and it runs.
#[test]
fn the_guest_of_each_readme_says_hello() {
    for language in LANGUAGES {
        for which in 0..2 {
            let world = World::new();
            let runtime = &runtimes(&world.clock)[which];
            let wasm = fs::read(tests::hello_module(language)).unwrap();
            let module = runtime.compile(&wasm).unwrap_or_else(|e| panic!("{language}: {e}"));
            assert!(!module.writes(), "{language} imports host_write");
            let mut hello = Notes::start(&*module, world);
            let answer = hello.ask("GET", "/you?x", b"");
            assert_eq!((answer.status, answer.body), (200, &b"hello, /you"[..]), "{language}");
            assert_eq!(hello.log(), [""; 0], "{language}: its store is made");
        }
    }
}

/// The whole way: chunks that begin before the call ends, and are all there.
#[test]
fn the_lines_are_served_over_http() {
    let yaml = "name: notes\ntls: {enabled: false}\nhttp: {port: 0}\n\
                wasm: {min_instances: 1, max_instances: 2}\n";
    for language in LANGUAGES {
        let dir = service_dir("port: 0\n", Some(yaml));
        fs::create_dir(dir.path().join("wasm")).unwrap();
        fs::copy(notes_module(language), dir.path().join("wasm/planck.notes.wasm")).unwrap();
        let planck = Planck::start(dir.path()).unwrap_or_else(|said| panic!("{said}"));
        for n in 0..PAGE + 5 {
            assert_eq!(planck.request("POST", "/notes?by=ann", &n.to_string()).0, 201);
        }
        let mut stream = TcpStream::connect(planck.http.unwrap()).unwrap();
        let asked = "GET /notes/lines HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
        stream.write_all(asked.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("transfer-encoding: chunked"), "{language}: {head}");
        assert!(head.contains("content-type: application/x-ndjson"), "{language}: {head}");
        assert!(body.ends_with("\r\n0\r\n\r\n"), "{language}: it is whole");
        let lines = body.lines().filter(|line| line.starts_with('{')).collect::<Vec<_>>();
        assert_eq!(numbers(lines.join("\n").as_bytes()), (0..PAGE + 5).collect::<Vec<_>>());
        assert_eq!(planck.stop().0, Some(0), "{language}");
    }
}
