//! Jobs through the real service, on both runtimes: run once what asked for them is
//! committed, with their effects once, whatever happens to the process.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod outside;
mod timetable;

use std::fs;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use planck_client::{Client, Config, Job, Security};
use proto::doc::{Binary, Doc, DocBuf, Value};
use proto::{Key, Reply, Request, Status, json};
use tests::asker::{Answer, GUEST, body, call};
use tests::{Planck, service_dir};

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
        // Scheduling is one commit; what the job did and that it is done are another.
        let before = planck.figure("planck_commits_total", &[]);
        schedule(http, &raise);
        await_count(http, "_jobs", 0);
        assert_eq!(planck.figure("planck_commits_total", &[]) - before, 2.0, "{runtime}");
        assert_eq!(counter(http), 4, "{runtime}");
        // Later.
        let later = job_of(200, &[RAISE], |doc| {
            doc.push("in_ms", 700);
        });
        schedule(http, &later);
        let begun = Instant::now();
        assert_eq!((counter(http), count(http, "_jobs")), (4, 1), "{runtime}");
        await_that("it is done", || counter(http) == 5);
        assert!(begun.elapsed() >= Duration::from_millis(600), "{runtime}: not before its time");
        assert!(planck.figure("planck_jobs_done_total", &[]) >= 5.0);
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

#[test]
fn a_guest_whose_operations_are_each_by_themselves_has_its_jobs_ended_too() {
    let dir = dir_of(GUEST, "wasmi", "jobs: {retry_base_ms: 1, max_attempts: 2}");
    let yaml = fs::read_to_string(dir.path().join("service.yaml")).unwrap();
    let yaml = yaml.replace("max_instances: 4", "max_instances: 4, transactions: per_operation");
    fs::write(dir.path().join("service.yaml"), yaml).unwrap();
    let planck = start_in(&dir);
    let http = planck.http.unwrap();
    with_counter(http);
    // What a failed attempt did stays: it is there twice, and the job is given up.
    schedule(http, &job_of(503, &[RAISE], |_| {}));
    await_count(http, "_dead_jobs", 1);
    assert_eq!(counter(http), 2);
    schedule(http, &job_of(200, &[RAISE], |_| {}));
    await_count(http, "_jobs", 0);
    assert_eq!((counter(http), count(http, "_dead_jobs")), (3, 1));
    assert_eq!(planck.stop().0, Some(0));
}

#[test]
fn clients_of_the_wire_schedule_by_themselves_and_in_transactions() {
    let (_dir, planck) = start("wasmi", "");
    let http = planck.http.unwrap();
    with_counter(http);
    let key = fs::read_to_string(planck.dir.join("admin.key")).unwrap();
    let trust = Security::Plaintext;
    let config = Config::new(planck.wire.to_string(), trust, "admin", key.trim());
    let raise = Job::route("/").bytes(body(200, &[RAISE]));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = Client::new(config).unwrap();
        client.schedule(&raise).await.unwrap();
        // One that is given up schedules nothing; one that is committed does.
        let given_up = client.transaction(async |tx| {
            tx.schedule(&raise).await?;
            Err::<(), _>(planck_client::Error::Refused {
                status: Status::Changed,
                message: "the work changed its mind".to_owned(),
            })
        });
        given_up.await.unwrap_err();
        let done = client.transaction(async |tx| tx.schedule(&raise).await);
        done.await.unwrap();
        let none = client.retry_job(Key(1)).await.unwrap_err();
        assert!(none.to_string().contains("_dead_jobs"), "{none}");
    });
    await_count(http, "_jobs", 0);
    assert_eq!(counter(http), 2);
    assert_eq!(planck.stop().0, Some(0));
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
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let base = i64::try_from(now.as_millis()).unwrap() + 1500;
    let numbers: Vec<i64> = (0..50).map(|n| n * 37 % 50).collect();
    let documents: Vec<Vec<u8>> = numbers.iter().map(|n| plain(*n)).collect();
    let jobs: Vec<Vec<u8>> = numbers
        .iter()
        .zip(&documents)
        .map(|(n, document)| {
            job_of(200, &[insert(document)], |doc| {
                doc.push("due", Value::DateTime(base + n * 2));
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

/// The blocks of a kind in the guide.
fn blocks(kind: &str) -> Vec<String> {
    let guide = fs::read_to_string(tests::root().join("docs/jobs.md")).unwrap();
    let begin = format!("```{kind}\n");
    let blocks: Vec<String> = guide
        .split(&begin)
        .skip(1)
        .map(|block| block.split("```").next().unwrap().to_owned())
        .collect();
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
