//! Jobs through the real service, on both runtimes: run once what asked for them is
//! committed, with their effects once, whatever happens to the process.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use proto::doc::{Binary, Doc, DocBuf};
use proto::{Key, Reply, Request, Status, json};
use tests::asker::{Answer, GUEST, body, call};
use tests::{Planck, service_dir};

/// Answers every request with 404 and the request itself.
const ECHO: &str = r#"
(module
  (memory (export "memory") 4)
  (data (i32.const 0) "\01\94\01\00\00")
  (func (export "planck_abi") (result i32) (i32.const 1))
  (func (export "alloc") (param i32) (result i32) (i32.const 131072))
  (func (export "process") (param $ptr i32) (param $len i32) (result i64)
    (memory.copy (i32.const 5) (local.get $ptr) (local.get $len))
    (i64.extend_i32_u (i32.add (i32.const 5) (local.get $len)))))
"#;

const CREATE: Request<'_> = Request::CreateStore { store: "s", if_not_exists: true };
const RUNTIMES: [&str; 2] = ["wasmi", "wasmer"];

fn dir_of(guest: &str, runtime: &str, more: &str) -> tempfile::TempDir {
    let yaml = format!(
        "name: service\ntls: {{enabled: false}}\nhttp: {{port: 0}}\n\
         wasm: {{runtime: {runtime}, min_instances: 2, max_instances: 4}}\n{more}\n"
    );
    let db = "port: 0\ntls: {enabled: false}\nadmin: {enabled: true, port: 0}\n";
    let dir = service_dir(db, Some(&yaml));
    fs::create_dir(dir.path().join("wasm")).unwrap();
    put_module(dir.path(), guest);
    dir
}

fn put_module(dir: &std::path::Path, guest: &str) {
    fs::write(dir.join("wasm/planck.service.wasm"), wat::parse_str(guest).unwrap()).unwrap();
}

fn start_in(dir: &tempfile::TempDir) -> Planck {
    Planck::start(dir.path()).unwrap_or_else(|said| panic!("{said}"))
}

fn start(runtime: &str, more: &str) -> (tempfile::TempDir, Planck) {
    let dir = dir_of(GUEST, runtime, more);
    let planck = start_in(&dir);
    (dir, planck)
}

/// A job whose call answers with a status, having asked all of these.
fn job_of(status: u16, requests: &[Request<'_>], more: impl FnOnce(&mut DocBuf)) -> Vec<u8> {
    let body = body(status, requests);
    let mut doc = DocBuf::new();
    doc.push("path", "/").push("payload", Binary { subtype: 0, bytes: &body });
    more(&mut doc);
    doc.finish().unwrap()
}

fn key_of(answer: &Answer) -> Key {
    match Reply::decode(&answer.2).unwrap().1 {
        Reply::Key(key) => key,
        other => panic!("{other:?}"),
    }
}

fn schedule(to: SocketAddr, job: &[u8]) -> Key {
    key_of(&call(to, 200, &[Request::Schedule { job }]))
}

fn rows(to: SocketAddr, text: &str) -> Vec<String> {
    let answer = call(to, 200, &[Request::Query { text, parameters: None }]);
    match Reply::decode(&answer.2).unwrap().1 {
        Reply::Rows(rows) => {
            rows.iter().map(|(_, doc)| json::to_json(Doc::parse(doc).unwrap())).collect()
        }
        other => panic!("{text}: {other:?}"),
    }
}

fn count(to: SocketAddr, store: &str) -> u64 {
    let text = format!("{store}.count()");
    let answer = call(to, 200, &[Request::Query { text: &text, parameters: None }]);
    match Reply::decode(&answer.2).unwrap().1 {
        Reply::Count(count) => count,
        other => panic!("{other:?}"),
    }
}

/// Until it is so.
fn await_that(what: &str, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < Duration::from_secs(90), "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn await_count(to: SocketAddr, store: &str, wanted: u64) {
    await_that(&format!("{store} comes to {wanted}"), || count(to, store) == wanted);
}

fn plain(n: i64) -> Vec<u8> {
    json::parse_json(&format!(r#"{{"n": {n}}}"#)).unwrap()
}

fn insert(document: &[u8]) -> Request<'_> {
    Request::Insert { store: "s", key: None, document }
}

const RAISE: Request<'_> = Request::Query {
    text: "s.filter(key = '00000000000000000000000000000001').inc({n: 1})",
    parameters: None,
};

fn counter(to: SocketAddr) -> i64 {
    let answer = call(to, 200, &[Request::Read { store: "s", key: Key(1) }]);
    let Reply::Rows(rows) = Reply::decode(&answer.2).unwrap().1 else { panic!("no row") };
    let (_, row) = rows.iter().next().unwrap();
    Doc::parse(row).unwrap().get("n").and_then(|n| n.as_i64()).unwrap()
}

fn with_counter(to: SocketAddr) {
    let zero = plain(0);
    let counter = Request::Insert { store: "s", key: Some(Key(1)), document: &zero };
    assert_eq!(call(to, 200, &[CREATE, counter]).0, 200);
}

#[test]
fn what_a_call_schedules_is_run_once_it_is_committed_and_not_at_all_if_it_is_not() {
    for runtime in RUNTIMES {
        let (_dir, planck) = start(runtime, "jobs: {retry_base_ms: 1}");
        let http = planck.http.unwrap();
        with_counter(http);
        let raise = job_of(200, &[RAISE], |_| {});
        let ask = Request::Schedule { job: &raise };
        // The call fails, traps, goes back on it.
        assert_eq!(call(http, 500, &[ask]).0, 500);
        assert_eq!(call(http, 1, &[ask]).0, 500);
        assert_eq!(call(http, 200, &[ask, Request::Abort { transaction: 0 }]).0, 200);
        // Two of one call; one of a call that refuses, which is committed too.
        assert_eq!(call(http, 200, &[ask, ask]).0, 200);
        assert_eq!(call(http, 409, &[ask]).0, 409);
        await_that("three are done", || counter(http) == 3);
        await_count(http, "_jobs", 0);
        assert_eq!((counter(http), count(http, "_dead_jobs")), (3, 0), "{runtime}");
        // Later.
        let later = job_of(200, &[RAISE], |doc| {
            doc.push("in_ms", 700);
        });
        schedule(http, &later);
        let begun = Instant::now();
        assert_eq!((counter(http), count(http, "_jobs")), (3, 1), "{runtime}");
        await_that("it is done", || counter(http) == 4);
        assert!(begun.elapsed() >= Duration::from_millis(600), "{runtime}: not before its time");
        assert!(planck.figure("planck_jobs_done_total", &[]) >= 4.0);
        assert_eq!(planck.stop().0, Some(0));
    }
}

#[test]
fn effects_are_there_once_however_often_the_process_is_killed() {
    const ROUNDS: u64 = 6;
    const EACH: u64 = 60;
    for runtime in RUNTIMES {
        let dir = dir_of(GUEST, runtime, "jobs: {retry_base_ms: 1, max_running: 3}");
        let mut planck = start_in(&dir);
        with_counter(planck.http.unwrap());
        let asked = Request::CreateStore { store: "asked", if_not_exists: true };
        assert_eq!(call(planck.http.unwrap(), 200, &[asked]).0, 200);
        let note = plain(1);
        let raise = job_of(200, &[RAISE, insert(&note)], |_| {});
        let noted = Request::Insert { store: "asked", key: None, document: &note };
        for round in 0..ROUNDS {
            let http = planck.http.unwrap();
            // Whether the last of them were committed the store says, not the answer.
            for _ in 0..EACH {
                assert_eq!(call(http, 200, &[noted, Request::Schedule { job: &raise }]).0, 200);
            }
            thread::sleep(Duration::from_millis(round * 37 % 100));
            planck.kill();
            planck = start_in(&dir);
        }
        let http = planck.http.unwrap();
        await_count(http, "_jobs", 0);
        let wanted = count(http, "asked");
        assert_eq!(wanted, ROUNDS * EACH);
        assert_eq!(counter(http), i64::try_from(wanted).unwrap(), "{runtime}");
        assert_eq!(count(http, "s"), wanted + 1, "{runtime}");
        assert_eq!(count(http, "_dead_jobs"), 0, "{runtime}");
        assert_eq!(planck.stop().0, Some(0));
    }
}

#[test]
fn what_fails_is_tried_again_and_given_up_and_can_be_put_back() {
    for runtime in RUNTIMES {
        let (dir, planck) = start(runtime, "jobs: {retry_base_ms: 1, max_attempts: 3}");
        let http = planck.http.unwrap();
        assert_eq!(call(http, 200, &[CREATE]).0, 200);
        let document = plain(1);
        // A failure, a trap: nothing of any attempt is there.
        for status in [503, 1] {
            schedule(http, &job_of(status, &[insert(&document)], |_| {}));
        }
        await_count(http, "_dead_jobs", 2);
        assert_eq!((count(http, "s"), count(http, "_jobs")), (0, 0), "{runtime}");
        let said = rows(http, "_dead_jobs.filter(error ~ '503').pluck(attempts, state)");
        assert_eq!(said, [r#"{"attempts":3,"state":"dead"}"#], "{runtime}");
        // A refusal is for good, and what it wrote stands, as of any call.
        schedule(http, &job_of(404, &[insert(&document)], |_| {}));
        await_count(http, "_dead_jobs", 3);
        assert_eq!(count(http, "s"), 1);
        let said = rows(http, "_dead_jobs.filter(error ~ '404').pluck(attempts)");
        assert_eq!(said, [r#"{"attempts":1}"#], "{runtime}");
        // Another module, by which the same job is done: put back, by the operator.
        let fixed = GUEST.replace(
            ";; end",
            "(if (i32.eq (local.get $status) (i32.const 503)) (then (i32.store16 (i32.const 1) (i32.const 200))))",
        );
        put_module(dir.path(), &fixed);
        let reloaded = planck.planctl(&["service", "reload"]);
        assert!(reloaded.status.success(), "{reloaded:?}");
        let key = keys(http, "_dead_jobs.filter(error ~ '503')")[0].to_string();
        let back = planck.planctl(&["job", "retry", &key]);
        assert!(back.status.success(), "{back:?}");
        await_count(http, "s", 2);
        await_count(http, "_dead_jobs", 2);
        await_count(http, "_jobs", 0);
        assert_eq!(planck.stop().0, Some(0));
    }
}

fn keys(to: SocketAddr, text: &str) -> Vec<Key> {
    let answer = call(to, 200, &[Request::Query { text, parameters: None }]);
    let Reply::Rows(rows) = Reply::decode(&answer.2).unwrap().1 else { panic!("no rows") };
    rows.iter().map(|(key, _)| key.unwrap()).collect()
}

#[test]
fn a_thousand_jobs_that_are_due_at_once_are_done_each_once() {
    for runtime in RUNTIMES {
        let (_dir, planck) = start(runtime, "jobs: {retry_base_ms: 1, max_per_call: 100}");
        let http = planck.http.unwrap();
        with_counter(http);
        let raise = job_of(200, &[RAISE], |doc| {
            doc.push("in_ms", 500);
        });
        for _ in 0..10 {
            assert_eq!(call(http, 200, &[Request::Schedule { job: &raise }; 100]).0, 200);
        }
        let begun = Instant::now();
        await_count(http, "_jobs", 0);
        println!("{runtime}: a thousand jobs in {:?}", begun.elapsed());
        assert_eq!((counter(http), count(http, "_dead_jobs")), (1000, 0), "{runtime}");
        // One more than may be asked for in one call: none of them is there.
        let many = [Request::Schedule { job: &raise }; 101];
        let answer = call(http, 500, &many);
        let Reply::Error { status, message } = Reply::decode(&answer.2).unwrap().1 else {
            panic!("{}", answer.1)
        };
        assert_eq!(status, Status::LimitReached, "{message}");
        assert!(message.contains("jobs.max_per_call"), "{message}");
        assert_eq!(count(http, "_jobs"), 0);
        assert_eq!(planck.stop().0, Some(0));
    }
}

#[test]
fn they_are_run_in_the_order_of_their_time() {
    let (_dir, planck) = start("wasmi", "jobs: {max_running: 1}");
    let http = planck.http.unwrap();
    assert_eq!(call(http, 200, &[CREATE]).0, 200);
    let numbers: Vec<i64> = (0..50).map(|n| n * 37 % 50).collect();
    let documents: Vec<Vec<u8>> = numbers.iter().map(|n| plain(*n)).collect();
    let jobs: Vec<Vec<u8>> = numbers
        .iter()
        .zip(&documents)
        .map(|(n, document)| {
            job_of(200, &[insert(document)], |doc| {
                doc.push("in_ms", 1500 + n * 2);
            })
        })
        .collect();
    let asked: Vec<Request<'_>> = jobs.iter().map(|job| Request::Schedule { job }).collect();
    assert_eq!(call(http, 200, &asked).0, 200);
    assert_eq!(count(http, "_jobs"), 50, "none is due yet");
    await_count(http, "s", 50);
    // Keys rise with the inserts.
    let wanted: Vec<String> = (0..50).map(|n| format!(r#"{{"n":{n}}}"#)).collect();
    assert_eq!(rows(http, "s.pluck(n)"), wanted);
    assert_eq!(planck.stop().0, Some(0));
}

/// A service outside: it answers as it is told to by what it has seen; the heads of requests.
struct Outside {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    most_at_once: Arc<AtomicUsize>,
}

fn outside(answer: impl Fn(usize) -> (u16, Duration) + Send + Sync + 'static) -> Outside {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (seen, most_at_once) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
    let (noted, most, now) = (Arc::clone(&seen), Arc::clone(&most_at_once), AtomicUsize::new(0));
    let shared = Arc::new((noted, most, now, answer));
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let (noted, most, now, answer) = &*shared;
                let (mut head, mut byte) = (Vec::new(), [0]);
                while !head.ends_with(b"\r\n\r\n") {
                    if stream.read_exact(&mut byte).is_err() {
                        return;
                    }
                    head.push(byte[0]);
                }
                most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                let number = {
                    let mut noted = noted.lock().unwrap();
                    noted.push(String::from_utf8_lossy(&head).to_lowercase());
                    noted.len()
                };
                let (status, takes) = answer(number);
                thread::sleep(takes);
                now.fetch_sub(1, SeqCst);
                let said = format!(
                    "HTTP/1.1 {status} X\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"
                );
                // It may have gone.
                stream.write_all(said.as_bytes()).ok();
            });
        }
    });
    Outside { address, seen, most_at_once }
}

fn with_upstream(outside: &Outside, jobs: &str) -> String {
    format!(
        "jobs: {{{jobs}}}\nupstreams:\n- {{name: mail, url: 'http://{}', allow_private: true, \
         timeout_ms: 3000, breaker: {{failure_threshold: 3, success_threshold: 1, open_duration_ms: 300}}}}",
        outside.address
    )
}

fn delivery(path: &str) -> Vec<u8> {
    json::parse_json(&format!(r#"{{"path": "{path}", "upstream": "mail", "payload": "hi"}}"#))
        .unwrap()
}

#[test]
fn a_delivery_carries_the_same_key_each_time_and_ends_by_what_is_answered() {
    let outside = outside(|number| {
        let status = if number <= 2 { [503, 429][number - 1] } else { 200 };
        (status, Duration::ZERO)
    });
    let yaml = with_upstream(&outside, "retry_base_ms: 1");
    let (_dir, planck) = start("wasmi", &yaml);
    let http = planck.http.unwrap();
    let job = delivery("/send?a=1");
    // A call that fails sends nothing.
    assert_eq!(call(http, 500, &[Request::Schedule { job: &job }]).0, 500);
    let key = schedule(http, &job);
    await_count(http, "_jobs", 0);
    assert_eq!(rows(http, "_dead_jobs"), Vec::<String>::new());
    assert_eq!(outside.seen.lock().unwrap().len(), 3);
    for head in &*outside.seen.lock().unwrap() {
        assert!(head.starts_with("post /send?a=1 http/1.1\r\n"), "{head}");
        assert!(head.contains(&format!("idempotency-key: {key}\r\n")), "{head}");
        assert!(!head.contains("planck-"), "{head}");
    }
    assert_eq!(count(http, "_dead_jobs"), 0);
    // A name that is not on the list is refused where it is asked for.
    let unknown = json::parse_json(r#"{"path": "/", "upstream": "post"}"#).unwrap();
    let answer = call(http, 500, &[Request::Schedule { job: &unknown }]);
    let said = Reply::decode(&answer.2).unwrap().1;
    assert!(matches!(said, Reply::Error { status: Status::NoSuchUpstream, .. }), "{said:?}");
    assert_eq!(planck.stop().0, Some(0));
}

#[test]
fn a_delivery_that_is_refused_is_given_up_and_an_open_circuit_is_no_attempt() {
    let outside = outside(|number| {
        (
            if number == 1 {
                422
            } else if number <= 4 {
                503
            } else {
                200
            },
            Duration::ZERO,
        )
    });
    let yaml = with_upstream(
        &outside,
        "retry_base_ms: 20, retry_max_ms: 20, max_attempts: 4, max_running: 1",
    );
    let (_dir, planck) = start("wasmi", &yaml);
    let http = planck.http.unwrap();
    schedule(http, &delivery("/"));
    await_count(http, "_dead_jobs", 1);
    let said = rows(http, "_dead_jobs.pluck(attempts, error)");
    assert_eq!(said, [r#"{"attempts":1,"error":"the upstream 'mail' answered 422: ok"}"#]);
    // Three failures open the circuit for 300 ms, in which it is put off many times: with
    // each of them an attempt it would be given up.
    schedule(http, &delivery("/"));
    await_count(http, "_jobs", 0);
    assert_eq!(count(http, "_dead_jobs"), 1);
    assert_eq!(outside.seen.lock().unwrap().len(), 5);
    assert!(planck.figure("planck_jobs_postponed_total", &[]) >= 3.0);
    assert_eq!(planck.stop().0, Some(0));
}

#[test]
fn so_many_are_at_work_at_once_and_no_more() {
    let outside = outside(|_| (200, Duration::from_millis(150)));
    let (_dir, planck) = start("wasmi", &with_upstream(&outside, "max_running: 3"));
    let http = planck.http.unwrap();
    let job = delivery("/");
    assert_eq!(call(http, 200, &[Request::Schedule { job: &job }; 12]).0, 200);
    await_that("three at once", || planck.figure("planck_jobs_running", &[]) == 3.0);
    await_count(http, "_jobs", 0);
    assert_eq!(outside.most_at_once.load(SeqCst), 3);
    assert_eq!(outside.seen.lock().unwrap().len(), 12, "each once");
    assert_eq!(planck.stop().0, Some(0));
}

#[test]
fn a_stop_lets_jobs_at_work_end_and_begins_no_other() {
    let outside = outside(|_| (200, Duration::from_millis(700)));
    let yaml = with_upstream(&outside, "max_running: 1");
    let dir = dir_of(GUEST, "wasmi", &yaml);
    let planck = start_in(&dir);
    let job = delivery("/");
    assert_eq!(call(planck.http.unwrap(), 200, &[Request::Schedule { job: &job }; 3]).0, 200);
    await_that("one is at work", || outside.seen.lock().unwrap().len() == 1);
    assert_eq!(planck.stop().0, Some(0));
    assert_eq!(outside.seen.lock().unwrap().len(), 1, "no other was begun");
    // The one was ended; the others are run by the next start.
    let planck = start_in(&dir);
    await_count(planck.http.unwrap(), "_jobs", 0);
    assert_eq!(outside.seen.lock().unwrap().len(), 3);
    assert_eq!(planck.stop().0, Some(0));
}

fn ask_with(to: SocketAddr, headers: &str) -> String {
    let mut stream = TcpStream::connect(to).unwrap();
    let head = format!("GET /x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_timetable_fires_each_time_once_and_only_the_host_says_whose_call_it_is() {
    let cron = "jobs: {retry_base_ms: 1}\ncron:\n- {name: often, schedule: '* * * * * *', \
                timezone: Europe/Berlin, route: /tick?a=1, payload: hello}";
    for runtime in RUNTIMES {
        let dir = dir_of(ECHO, runtime, cron);
        let mut planck = start_in(&dir);
        // A stranger says what only the host says.
        let echo = ask_with(
            planck.http.unwrap(),
            "planck-job: 1\r\nPlanck-Attempt: 1\r\nplanck-cron: often\r\nx-a: b\r\n",
        );
        assert!(echo.contains("x-a") && !echo.to_lowercase().contains("planck-"), "{echo}");
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(1300));
            planck.kill();
            planck = start_in(&dir);
        }
        thread::sleep(Duration::from_millis(1300));
        // Each is refused by this guest, and so kept.
        let out = planck.planctl(&["query", "_dead_jobs.orderBy(due)", "--json"]);
        assert!(out.status.success(), "{out:?}");
        let out = String::from_utf8(out.stdout).unwrap();
        let mut times = Vec::new();
        for line in out.lines() {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!((&row["cron"], &row["path"]), (&"often".into(), &"/tick?a=1".into()));
            let error = row["error"].as_str().unwrap();
            for said in ["planck-job", "planck-attempt", "planck-cron", "idempotency-key"] {
                assert!(error.contains(said), "{said} is not in {error:?}");
            }
            times.push(row["due"]["$date"].as_str().unwrap().to_owned());
        }
        println!("{runtime}: {times:?}");
        assert!(times.len() >= 4, "{times:?}");
        // By the second, none twice, and none left out however often it was killed.
        let seconds: Vec<i64> = times
            .iter()
            .map(|time| {
                let (minutes, seconds) = (time[14..16].parse::<i64>(), time[17..19].parse::<i64>());
                minutes.unwrap() * 60 + seconds.unwrap()
            })
            .collect();
        for pair in seconds.windows(2) {
            assert_eq!((pair[1] - pair[0]).rem_euclid(3600), 1, "{times:?}");
        }
        assert_eq!(planck.stop().0, Some(0));
    }
}

/// The blocks of a kind in the guide.
fn blocks(kind: &str) -> Vec<String> {
    let guide = fs::read_to_string(tests::root().join("docs/jobs.md")).unwrap();
    let blocks = guide.split(&format!("```{kind}\n")).skip(1);
    let blocks: Vec<String> =
        blocks.map(|block| block.split("```").next().unwrap().to_owned()).collect();
    assert!(!blocks.is_empty(), "the guide has none of {kind}");
    blocks
}

#[test]
fn what_the_guide_shows_is_taken() {
    // Its Rust is compiled with the tests of `sdk/rust`.
    let (_dir, planck) = start("wasmi", &blocks("yaml").concat());
    let http = planck.http.unwrap();
    for text in blocks("pql").concat().lines() {
        let answer = call(http, 200, &[Request::Query { text, parameters: None }]);
        let said = Reply::decode(&answer.2).unwrap().1;
        assert!(!matches!(said, Reply::Error { .. }), "{text}: {said:?}");
    }
    assert_eq!(planck.stop().0, Some(0));
}

#[test]
fn what_cannot_be_a_timetable_stops_the_start() {
    for (entry, said) in [
        ("{name: a, schedule: '* * *', route: /a}", "is none"),
        ("{name: a, schedule: '0 0 30 2 *', route: /a}", "never comes"),
        ("{name: a, schedule: '0 3 * * *', route: /a, timezone: Mars/Olympus}", "no time zone"),
        ("{name: a, route: /a}", "has no schedule"),
        ("{name: a, schedule: '0 3 * * *'}", "has no route"),
        ("{name: a, schedule: '0 3 * * *', route: a}", "beginning with /"),
    ] {
        let dir = dir_of(GUEST, "wasmi", &format!("cron:\n- {entry}"));
        let Err(why) = Planck::start(dir.path()) else { panic!("{entry} was taken") };
        assert!(why.contains("service.yaml") && why.contains(said), "{entry}: {why}");
    }
}
