//! Jobs by a clock of the test's: scheduled with what asked for them or not at all, due in
//! order, ended by one commit, bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use platform::sim::{SimClock, SimDisk};
use proto::request::{Act, Part, Step, StepsBuf};
use proto::{Key, Reply, Request, Status};

use super::kit::*;
use super::transactions::{begin_as, within_as};
use crate::{
    CallTransaction, Claim, Engine, JobEnd, JobFigures, JobOptions, Later, Principal, Retry, Role,
};

struct World {
    engine: Engine,
    clock: Arc<SimClock>,
    disk: Arc<SimDisk>,
    told: Arc<AtomicUsize>,
}

fn world_of(options: JobOptions) -> World {
    let (clock, disk) = (Arc::new(SimClock::new(NOW)), SimDisk::new(1));
    let engine = open_at(clock.clone(), disk.clone(), self::options());
    let told = Arc::new(AtomicUsize::new(0));
    begin(&engine, options, &told);
    done(&engine, create("s"));
    World { engine, clock, disk, told }
}

fn world() -> World {
    world_of(JobOptions { upstreams: vec!["mail".to_owned()], ..JobOptions::default() })
}

fn begin(engine: &Engine, options: JobOptions, told: &Arc<AtomicUsize>) {
    let told = Arc::clone(told);
    engine
        .begin_jobs(options, move || {
            told.fetch_add(1, SeqCst);
        })
        .unwrap();
}

fn schedule(engine: &Engine, job: &str) -> Key {
    match done(engine, Request::Schedule { job: &doc(job) }) {
        Said::Key(key) => key,
        other => panic!("{other:?}"),
    }
}

fn due(engine: &Engine) -> Vec<Key> {
    engine.due_jobs(1000, |_| false).unwrap().now
}

fn rows(engine: &Engine, text: &str) -> Vec<String> {
    match done(engine, query(text)) {
        Said::Rows(rows, _) => rows,
        other => panic!("{other:?}"),
    }
}

fn count(engine: &Engine, store: &str) -> u64 {
    match done(engine, query(&format!("{store}.count()"))) {
        Said::Count(count) => count,
        other => panic!("{other:?}"),
    }
}

fn figures(engine: &Engine) -> JobFigures {
    engine.figures().unwrap().jobs
}

/// The claim of a job that is due.
fn claim(engine: &Engine, key: Key) -> Claim {
    engine.take_job(key).unwrap().expect("it is due").claim()
}

/// What a call of a guest asks for.
fn in_call(engine: &Engine, call: &mut CallTransaction, request: Request<'_>) -> Said {
    let (mut packet, mut out) = (Vec::new(), Vec::new());
    request.encode(77, &mut packet);
    engine.dispatch_in_call(&guest(), call, &packet, &mut out);
    said(&out)
}

fn guest() -> Principal {
    Principal::service("service").in_session(9)
}

const A: &str = r#"{"path": "/a"}"#;

#[test]
fn a_job_is_there_with_what_asked_for_it_or_not_at_all() {
    let World { engine, told, .. } = world();
    let job = doc(A);
    // In a transaction that is let go of; and in one that is committed.
    let who = admin().in_session(1);
    let tx = begin_as(&engine, &who, false, 0);
    assert!(matches!(within_as(&engine, &who, tx, Request::Schedule { job: &job }), Said::Key(_)));
    assert_eq!((count(&engine, "_jobs"), due(&engine)), (0, vec![]));
    ask_as(&engine, &who, Request::Abort { transaction: tx });
    assert_eq!((count(&engine, "_jobs"), told.load(SeqCst)), (0, 0));
    let tx = begin_as(&engine, &who, false, 0);
    let Said::Key(key) = within_as(&engine, &who, tx, Request::Schedule { job: &job }) else {
        panic!("no key")
    };
    ask_as(&engine, &who, Request::Commit { transaction: tx });
    assert_eq!((due(&engine), told.load(SeqCst)), (vec![key], 1));
    // In a guest's call that is dropped; and in one that is committed, in one commit.
    let mut call = CallTransaction::default();
    in_call(&engine, &mut call, Request::Schedule { job: &job });
    drop(call);
    assert_eq!(due(&engine), [key]);
    let (mut call, before) = (CallTransaction::default(), engine.lsm.last_lsn());
    let document = doc("{}");
    in_call(&engine, &mut call, Request::Schedule { job: &job });
    in_call(&engine, &mut call, Request::Insert { store: "s", key: None, document: &document });
    engine.commit_call(&guest(), call).unwrap();
    assert_eq!((engine.lsm.last_lsn(), due(&engine).len()), (before + 1, 2));
    // By a savepoint's way back it is none.
    let tx = begin_as(&engine, &who, false, 0);
    ask_as(&engine, &who, Request::Savepoint { transaction: tx });
    within_as(&engine, &who, tx, Request::Schedule { job: &job });
    ask_as(&engine, &who, Request::Rollback { transaction: tx, savepoint: 1 });
    ask_as(&engine, &who, Request::Commit { transaction: tx });
    assert_eq!(due(&engine).len(), 2);
}

#[test]
fn jobs_are_due_in_the_order_of_their_time_and_not_before() {
    let World { engine, clock, told, .. } = world();
    let in_ms = |n: u32| schedule(&engine, &format!(r#"{{"path": "/a", "in_ms": {n}}}"#));
    let (third, first, second, late) = (in_ms(30), in_ms(10), in_ms(20), in_ms(1000));
    assert_eq!(told.load(SeqCst), 4);
    let nothing = engine.due_jobs(9, |_| false).unwrap();
    let now = i64::try_from(NOW / 1000).unwrap();
    assert_eq!((nothing.now, nothing.next), (vec![], Some(now + 10)));
    assert_eq!(engine.take_job(first).unwrap(), None, "it is not due");
    clock.advance(Duration::from_millis(30));
    assert_eq!(due(&engine), [first, second, third]);
    let some = engine.due_jobs(1, |key| key == first).unwrap();
    assert_eq!((some.now, some.next), (vec![second], Some(now + 30)));
    // Its time can be changed, and it can be taken away, as any document's.
    let text = format!("_jobs.filter(key = '{third}').set({{state: 'mine'}})");
    done(&engine, query(&text));
    done(&engine, Request::Delete { store: "_jobs", key: second });
    assert_eq!(due(&engine), [first, third]);
    assert_eq!(told.load(SeqCst), 6, "each write is told");
    let told = figures(&engine);
    assert_eq!((told.waiting, told.due, told.oldest_due_millis), (3, 2, 20));
    clock.advance(Duration::from_millis(970));
    assert_eq!(due(&engine), [first, third, late]);
}

#[test]
fn a_job_keeps_what_was_said_of_it_and_is_read_back() {
    let World { engine, .. } = world();
    let key = schedule(
        &engine,
        r#"{"path": "/send?a=1", "upstream": "mail", "method": "PUT", "headers": {"X-A": "b"},
            "payload": {"n": 1}, "max_attempts": 3, "idempotency_key": "k-1"}"#,
    );
    let job = engine.take_job(key).unwrap().unwrap();
    assert_eq!((job.upstream.as_deref(), job.method.as_str()), (Some("mail"), "PUT"));
    assert_eq!((job.path.as_str(), job.idempotency_key.as_str()), ("/send?a=1", "k-1"));
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(job.headers, [header("x-a", "b"), header("content-type", "application/json")]);
    assert_eq!(job.payload, br#"{"n":1}"#);
    let rows = rows(&engine, "_jobs.pluck(kind, upstream, by, state, attempts, max_attempts)");
    assert_eq!(
        rows,
        [
            r#"{"kind":"upstream","upstream":"mail","by":"root","state":"waiting","attempts":0,"max_attempts":3}"#
        ]
    );
    let plain = schedule(&engine, A);
    assert_eq!(engine.take_job(plain).unwrap().unwrap().idempotency_key, plain.to_string());
}

#[test]
fn what_is_no_job_is_refused_by_name() {
    let World { engine, .. } = world();
    let long = format!(r#"{{"path": "/{}"}}"#, "a".repeat(2048));
    for (job, status, word) in [
        (r#"{}"#, Status::BadJob, "path is"),
        (r#"{"path": "a"}"#, Status::BadJob, "beginning with /"),
        (r#"{"path": "/a b"}"#, Status::BadJob, "path is"),
        (long.as_str(), Status::BadJob, "2048"),
        (r#"{"path": "/a", "method": "TRACE"}"#, Status::BadJob, "method is"),
        (r#"{"path": "/a", "wen": 1}"#, Status::BadJob, "\"wen\""),
        (r#"{"path": "/a", "in_ms": -1}"#, Status::BadJob, "in_ms"),
        (
            r#"{"path": "/a", "in_ms": 1, "due": {"$date": "2024-01-01T00:00:00Z"}}"#,
            Status::BadJob,
            "not both",
        ),
        (
            r#"{"path": "/a", "due": {"$date": "2024-01-01T00:00:00Z"}, "in_ms": 1}"#,
            Status::BadJob,
            "not both",
        ),
        (r#"{"path": "/a", "max_attempts": 0}"#, Status::BadJob, "max_attempts"),
        (r#"{"path": "/a", "max_attempts": 1001}"#, Status::BadJob, "max_attempts"),
        (r#"{"path": "/a", "headers": {"planck-job": "1"}}"#, Status::BadJob, "host's own"),
        (r#"{"path": "/a", "headers": {"Idempotency-Key": "1"}}"#, Status::BadJob, "host's own"),
        (r#"{"path": "/a", "headers": {"a": "b\nc"}}"#, Status::BadJob, "value"),
        (r#"{"path": "/a", "headers": {"a b": "c"}}"#, Status::BadJob, "none"),
        (r#"{"path": "/a", "headers": {"a": "b", "A": "c"}}"#, Status::BadJob, "twice"),
        (r#"{"path": "/a", "idempotency_key": ""}"#, Status::BadJob, "idempotency_key"),
        (r#"{"path": "/a", "upstream": "post"}"#, Status::NoSuchUpstream, "allowlist"),
    ] {
        refused(&engine, Request::Schedule { job: &doc(job) }, status, &[word]);
    }
    // Without anybody who runs them.
    refused(&open(), Request::Schedule { job: &doc(A) }, Status::NotSetUp, &["wasm.enabled"]);
    refused(&open(), Request::RetryJob { job: Key(1) }, Status::NotSetUp, &["wasm.enabled"]);
}

#[test]
fn what_a_job_says_may_be_so_long_and_no_longer() {
    let World { engine, .. } = world();
    let headers = |count: usize, bytes: usize| {
        let value = |n| "x".repeat(if n == 0 { bytes } else { 0 });
        let all: Vec<String> =
            (0..count).map(|n| format!(r#""h{n:02}": "{}""#, value(n))).collect();
        format!(r#"{{"path": "/a", "headers": {{{}}}}}"#, all.join(", "))
    };
    let path = |bytes: usize| format!(r#"{{"path": "/{}"}}"#, "a".repeat(bytes - 1));
    let key =
        |bytes: usize| format!(r#"{{"path": "/a", "idempotency_key": "{}"}}"#, "k".repeat(bytes));
    let attempts = |n: u32| format!(r#"{{"path": "/a", "max_attempts": {n}}}"#);
    for (fits, not) in [
        (path(2048), path(2049)),
        (key(128), key(129)),
        (key(1), key(0)),
        (headers(64, 0), headers(65, 0)),
        // The names count: three bytes each.
        (headers(1, 8189), headers(1, 8190)),
        (attempts(1000), attempts(1001)),
        (attempts(1), attempts(0)),
    ] {
        schedule(&engine, &fits);
        refused(&engine, Request::Schedule { job: &doc(&not) }, Status::BadJob, &[]);
    }
}

#[test]
fn what_a_call_did_and_that_its_job_is_done_are_one_commit() {
    let World { engine, .. } = world();
    let document = doc("{}");
    let insert = Request::Insert { store: "s", key: None, document: &document };
    let key = schedule(&engine, A);
    let taken = claim(&engine, key);
    // It fails: nothing of it is there, and the job is.
    let mut call = CallTransaction::default().of_job();
    in_call(&engine, &mut call, insert);
    drop(call);
    assert_eq!((count(&engine, "s"), due(&engine)), (0, vec![key]));
    // Done.
    let mut call = CallTransaction::default().of_job();
    in_call(&engine, &mut call, insert);
    let before = engine.lsm.last_lsn();
    assert!(engine.end_job_in_call(&guest(), call, taken, &JobEnd::Done).unwrap());
    assert_eq!(engine.lsm.last_lsn(), before + 1);
    assert_eq!((count(&engine, "s"), count(&engine, "_jobs")), (1, 0));
    // A second time it is not there, and nothing takes effect.
    let mut call = CallTransaction::default().of_job();
    in_call(&engine, &mut call, insert);
    assert!(!engine.end_job_in_call(&guest(), call, taken, &JobEnd::Done).unwrap());
    assert_eq!(count(&engine, "s"), 1);
    // Taken away while it runs: a conflict, and then it is not there.
    let key = schedule(&engine, A);
    let taken = claim(&engine, key);
    let mut call = CallTransaction::default().of_job();
    in_call(&engine, &mut call, insert);
    done(&engine, Request::Delete { store: "_jobs", key });
    let refusal = engine.end_job_in_call(&guest(), call, taken, &JobEnd::Done).unwrap_err();
    assert_eq!(refusal.status, Status::TransactionConflict, "{refusal}");
    assert_eq!(count(&engine, "s"), 1);
    // A call that asked for nothing, or took effect by its own word, ends its job too.
    for asks in [false, true] {
        let taken = claim(&engine, schedule(&engine, A));
        let mut call = CallTransaction::default().of_job();
        if asks {
            in_call(&engine, &mut call, insert);
            in_call(&engine, &mut call, Request::Commit { transaction: 0 });
        }
        assert!(engine.end_job_in_call(&guest(), call, taken, &JobEnd::Done).unwrap());
    }
    assert_eq!((count(&engine, "s"), count(&engine, "_jobs")), (2, 0));
    assert_eq!(figures(&engine).done, 3);
    // What refuses is given up, with what it wrote.
    let taken = claim(&engine, schedule(&engine, A));
    let mut call = CallTransaction::default().of_job();
    in_call(&engine, &mut call, insert);
    let end = JobEnd::Refused("it said 404".to_owned());
    assert!(engine.end_job_in_call(&guest(), call, taken, &end).unwrap());
    assert_eq!((count(&engine, "s"), count(&engine, "_jobs")), (3, 0));
    assert_eq!(rows(&engine, "_dead_jobs.pluck(error)"), [r#"{"error":"it said 404"}"#]);
}

#[test]
fn one_comes_again_no_earlier_than_was_asked_for_within_a_day() {
    let day = 24 * 3600 * 1000;
    let retry = Retry { max_attempts: 99, base_millis: 1000, most_millis: 1000 };
    let World { engine, clock, .. } = world_of(JobOptions { retry, ..JobOptions::default() });
    let key = schedule(&engine, A);
    for (asked, given) in [(1, 1), (5000, 5000), (day, day), (day + 1, day), (u64::MAX, day)] {
        for fails in [true, false] {
            let taken = claim(&engine, key);
            let later = Later { why: "not now".to_owned(), asked_millis: asked };
            let end = if fails { JobEnd::Failed(later) } else { JobEnd::Postponed(later) };
            assert!(engine.end_job(taken, &end).unwrap());
            let pause = given + retry.pause(key, taken.attempts + u32::from(fails));
            clock.advance(Duration::from_millis(pause - 1));
            assert_eq!(due(&engine), [], "{asked}");
            clock.advance(Duration::from_millis(1));
            assert_eq!(due(&engine), [key], "{asked}");
        }
    }
}

#[test]
fn one_that_fails_comes_again_later_each_time_and_is_given_up_in_the_end() {
    let retry = Retry { max_attempts: 3, base_millis: 1000, most_millis: 1500 };
    let World { engine, clock, disk, told } =
        world_of(JobOptions { retry, ..JobOptions::default() });
    let key = schedule(&engine, A);
    for (attempt, pause) in [(1, retry.pause(key, 1)), (2, retry.pause(key, 2))] {
        let taken = claim(&engine, key);
        assert_eq!(taken.attempts, attempt - 1);
        let why = format!("no {attempt}");
        assert!(engine.end_job(taken, &JobEnd::Failed(Later::of(why.clone()))).unwrap());
        assert!(!engine.end_job(taken, &JobEnd::Done).unwrap(), "it was another attempt");
        let said = rows(&engine, "_jobs.pluck(state, attempts, error)");
        assert_eq!(
            said,
            [format!(r#"{{"state":"retrying","attempts":{attempt},"error":"{why}"}}"#)]
        );
        clock.advance(Duration::from_millis(pause - 1));
        assert_eq!(due(&engine), []);
        clock.advance(Duration::from_millis(1));
        assert_eq!(due(&engine), [key]);
    }
    // Put off does not count.
    let taken = claim(&engine, key);
    assert!(engine.end_job(taken, &JobEnd::Postponed(Later::of("full"))).unwrap());
    assert_eq!(due(&engine), []);
    clock.advance(Duration::from_secs(2));
    let last = claim(&engine, key);
    assert_eq!(last.attempts, 2);
    assert!(engine.end_job(last, &JobEnd::Failed(Later::of("no 3"))).unwrap());
    assert_eq!((count(&engine, "_jobs"), count(&engine, "_dead_jobs")), (0, 1));
    let dead = rows(&engine, "_dead_jobs.pluck(path, state, attempts, error)");
    assert_eq!(dead, [r#"{"path":"/a","state":"dead","attempts":3,"error":"no 3"}"#]);
    let figures = figures(&engine);
    assert_eq!((figures.failed, figures.given_up, figures.postponed), (3, 1, 1));
    // It can be put back, and then is as new; after a restart too.
    engine.close().unwrap();
    let engine = open_at(clock, disk, options());
    begin(&engine, JobOptions { retry, ..JobOptions::default() }, &told);
    assert_eq!(done(&engine, Request::RetryJob { job: key }), Said::Empty);
    refused(&engine, Request::RetryJob { job: key }, Status::NotFound, &["_dead_jobs"]);
    assert_eq!(claim(&engine, key), Claim { key, attempts: 0 });
    assert_eq!((count(&engine, "_jobs"), count(&engine, "_dead_jobs")), (1, 0));
    assert_eq!(rows(&engine, "_jobs.filter(error exists)"), Vec::<String>::new());
}

#[test]
fn jobs_are_bounded_in_size_in_a_call_and_in_number() {
    let (max_payload, max_per_call, max_waiting) = (8, 2, 3);
    let World { engine, .. } =
        world_of(JobOptions { max_payload, max_per_call, max_waiting, ..JobOptions::default() });
    let of = |n: usize| doc(&format!(r#"{{"path": "/a", "payload": "{}"}}"#, "x".repeat(n)));
    refused(&engine, Request::Schedule { job: &of(9) }, Status::BadJob, &["jobs.max_payload"]);
    done(&engine, Request::Schedule { job: &of(8) });
    let job = doc(A);
    let ask = Request::Schedule { job: &job };
    let who = admin().in_session(1);
    let tx = begin_as(&engine, &who, false, 0);
    let within = |request| within_as(&engine, &who, tx, request);
    ask_as(&engine, &who, Request::Savepoint { transaction: tx });
    let per_call = |said| matches!(said, Said::Refused(Status::LimitReached, why) if why.contains("jobs.max_per_call"));
    assert!(matches!((within(ask), within(ask)), (Said::Key(_), Said::Key(_))));
    assert!(per_call(within(ask)));
    ask_as(&engine, &who, Request::Rollback { transaction: tx, savepoint: 1 });
    assert!(matches!((within(ask), within(ask)), (Said::Key(_), Said::Key(_))));
    assert!(per_call(within(ask)));
    // As many as may wait: but others have come meanwhile, and it is looked at again.
    done(&engine, ask);
    let said = ask_as(&engine, &who, Request::Commit { transaction: tx });
    assert!(
        matches!(&said, Said::Refused(Status::LimitReached, why) if why.contains("jobs.max_waiting")),
        "{said:?}"
    );
    assert_eq!(count(&engine, "_jobs"), 2);
    done(&engine, ask);
    refused(&engine, ask, Status::LimitReached, &["jobs.max_waiting is 3"]);
    // What a job schedules takes its place.
    let key = due(&engine)[0];
    let (taken, mut call) = (claim(&engine, key), CallTransaction::default().of_job());
    assert!(matches!(in_call(&engine, &mut call, ask), Said::Key(_)));
    assert!(matches!(in_call(&engine, &mut call, ask), Said::Refused(Status::LimitReached, _)));
    assert!(engine.end_job_in_call(&guest(), call, taken, &JobEnd::Done).unwrap());
    assert_eq!(count(&engine, "_jobs"), 3);
}

#[test]
fn what_somebody_wrote_that_is_no_job_is_given_up_and_stands_in_nobody_s_way() {
    let World { engine, .. } = world();
    let date = r#"{"$date": "2023-01-01T00:00:00Z"}"#;
    for (key, fields) in [
        (1, r#""kind": "rout""#),
        (2, r#""kind": "upstream", "method": "GET", "path": "/""#),
        (3, r#""kind": "route", "method": "GET", "path": "x""#),
        (4, r#""kind": "route", "method": "GET", "path": "/", "headers": {"planck-job": "1"}"#),
        (5, r#""kind": "route", "method": "GET", "path": "/", "payload": 7"#),
    ] {
        let document = doc(&format!(r#"{{{fields}, "due": {date}}}"#));
        done(&engine, Request::Insert { store: "_jobs", key: Some(Key(key)), document: &document });
    }
    // Never due.
    let document = doc(r#"{"kind": "route", "method": "GET", "path": "/", "due": 7}"#);
    done(&engine, Request::Insert { store: "_jobs", key: Some(Key(9)), document: &document });
    let good = schedule(&engine, A);
    for key in due(&engine) {
        assert_eq!(engine.take_job(key).unwrap().is_some(), key == good, "{key}");
    }
    assert_eq!((due(&engine), count(&engine, "_dead_jobs")), (vec![good], 5));
    assert_eq!(count(&engine, "_jobs"), 2);
    let said = rows(&engine, "_dead_jobs.filter(error ~ 'no job').pluck(attempts)");
    assert_eq!(said.len(), 5, "{said:?}");
}

#[test]
fn the_stores_are_the_system_s_and_writing_to_them_is_a_right_of_its_own() {
    let World { engine, .. } = world();
    let (ttl, rename) =
        (doc(r#"{"ttl": {"field": "failed", "seconds": 60}}"#), doc(r#"{"rename": "x"}"#));
    let schema = doc(r#"{"schema": "{}"}"#);
    let own = &["system's own"];
    for store in ["_jobs", "_dead_jobs", "_cron"] {
        refused(&engine, drop_store(store), Status::BadChange, own);
        for change in [&rename, &schema] {
            refused(&engine, Request::AlterStore { store, change }, Status::BadChange, own);
        }
        if store != "_dead_jobs" {
            refused(&engine, Request::AlterStore { store, change: &ttl }, Status::BadChange, own);
        }
        let drop = Request::DropIndex { store, index: "due", if_exists: true };
        refused(&engine, drop, Status::BadChange, own);
    }
    done(&engine, Request::AlterStore { store: "_dead_jobs", change: &ttl });
    // A role for all stores is none for these.
    let job = doc(A);
    let key = schedule(&engine, A);
    let (writer, document) = (Principal::new("w", Role::ReadWrite), doc("{}"));
    for request in [
        Request::Schedule { job: &job },
        Request::RetryJob { job: Key(1) },
        Request::Insert { store: "_jobs", key: None, document: &document },
        Request::Delete { store: "_jobs", key },
        query("_jobs.filter(path = '/a').delete()"),
        query("_dead_jobs.insert({a: 1})"),
    ] {
        refused_as(&engine, &writer, request, Status::Forbidden, &["schedule jobs"]);
        let tx = begin_as(&engine, &writer, false, 0);
        let mut room = Vec::new();
        let part = Part::of(&request, &mut room);
        let within = Request::Within { transaction: tx, part };
        refused_as(&engine, &writer, within, Status::Forbidden, &["schedule jobs"]);
    }
    assert_eq!(ask_as(&engine, &writer, query("_jobs.count()")), Said::Count(1));
    let service = Principal::service("service");
    assert!(matches!(ask_as(&engine, &service, Request::Schedule { job: &job }), Said::Key(_)));
    // Who was granted it there may, whatever the role; and who was granted less may not.
    let key = "correct-horse-battery";
    for (granted, may) in [("read_write", true), ("read_only", false)] {
        let definition = doc(&format!(
            r#"{{"role": "read_only", "key": "{key}", "grants": {{"_jobs": "{granted}"}}}}"#
        ));
        let definition = &definition;
        done(&engine, Request::CreateUser { user: granted, if_not_exists: false, definition });
        let who = engine.authenticate(granted, key).unwrap();
        let said = ask_as(&engine, &who, Request::Schedule { job: &job });
        assert_eq!(matches!(said, Said::Key(_)), may, "{said:?}");
        // Of the other store nothing was granted.
        let back = Request::RetryJob { job: Key(1) };
        refused_as(&engine, &who, back, Status::Forbidden, &["schedule jobs"]);
    }
}

#[test]
fn writes_under_conditions_are_writes_to_the_stores_of_jobs_as_others_are() {
    let World { engine, told, .. } = world();
    let key = schedule(&engine, A);
    let mut steps = StepsBuf::new();
    steps.push(Step { store: "_jobs", act: Act::Delete(key), condition: None });
    let apply = Request::Apply { steps: steps.as_steps() };
    let writer = Principal::new("w", Role::ReadWrite);
    refused_as(&engine, &writer, apply, Status::Forbidden, &["schedule jobs"]);
    let before = told.load(SeqCst);
    assert!(matches!(ask(&engine, apply), Said::Document(_)));
    assert_eq!((told.load(SeqCst), due(&engine)), (before + 1, vec![]), "who waits is told");
}

#[test]
fn a_firing_becomes_one_job_with_its_note() {
    let World { engine, clock, disk, told } = world();
    let now = i64::try_from(NOW / 1000).unwrap();
    let entry = |when: &str| engine.cron_entry("nightly", when, &doc(A)).unwrap();
    let nightly = entry("0 3 * * * UTC");
    assert_eq!(engine.cron_last(&nightly).unwrap(), None);
    assert_eq!(engine.note_cron(&nightly, now, false).unwrap(), None);
    let before = engine.lsm.last_lsn();
    let key = engine.note_cron(&nightly, now + 10, true).unwrap().expect("it fires");
    assert_eq!(engine.lsm.last_lsn(), before + 1, "one commit");
    // Neither it nor one before comes again, after a restart neither.
    for at in [now + 10, now + 9, now] {
        assert_eq!(engine.note_cron(&nightly, at, true).unwrap(), None);
    }
    clock.advance(Duration::from_millis(10));
    let job = engine.take_job(key).unwrap().expect("it is due then");
    assert_eq!((job.cron.as_deref(), job.due), (Some("nightly"), now + 10));
    engine.close().unwrap();
    let engine = open_at(clock, disk, options());
    begin(&engine, JobOptions::default(), &told);
    assert_eq!(engine.note_cron(&nightly, now + 10, true).unwrap(), None);
    assert_eq!(engine.cron_last(&nightly).unwrap(), Some(now + 10));
    assert_eq!(count(&engine, "_jobs"), 1);
    // One that says something else begins anew.
    let hourly = engine.cron_entry("nightly", "0 * * * * UTC", &doc(A)).unwrap();
    assert_eq!(engine.cron_last(&hourly).unwrap(), None);
    assert_eq!(engine.cron_entry("x", "", &doc("{}")).unwrap_err().status, Status::BadJob);
}

#[test]
fn a_thousand_jobs_are_done_each_once_in_order() {
    let World { engine, clock, .. } = world();
    let mut keys: Vec<Key> = Vec::new();
    for n in 0..1000u64 {
        // In no order at all.
        let millis = n.wrapping_mul(7919) % 1000;
        let key = schedule(&engine, &format!(r#"{{"path": "/a", "in_ms": {millis}}}"#));
        keys.push(key);
    }
    clock.advance(Duration::from_secs(1));
    assert_eq!(figures(&engine).due, 1000);
    let mut done = Vec::new();
    loop {
        let some = engine.due_jobs(64, |_| false).unwrap().now;
        if some.is_empty() {
            break;
        }
        for key in some {
            let job = engine.take_job(key).unwrap().unwrap();
            assert!(engine.end_job(job.claim(), &JobEnd::Done).unwrap());
            done.push((job.due, key));
        }
    }
    assert!(done.windows(2).all(|pair| pair[0].0 <= pair[1].0), "by time");
    let mut found: Vec<Key> = done.into_iter().map(|(_, key)| key).collect();
    found.sort_unstable();
    assert_eq!(found, keys, "each once");
    assert_eq!((count(&engine, "_jobs"), figures(&engine).done), (0, 1000));
}

#[test]
fn stats_tell_of_jobs_where_there_may_be_any() {
    let stats = |engine: &Engine| text_of(&engine.stats().unwrap());
    assert!(!stats(&with_store()).contains("\"jobs\""));
    let World { engine, .. } = world();
    schedule(&engine, A);
    assert!(stats(&engine).contains(r#""jobs":{"waiting":1,"due":1,"running":0,"#));
    engine.jobs_at_work(3);
    assert!(stats(&engine).contains(r#""running":3"#));
    let mut packet = Vec::new();
    engine.dispatch(&admin(), 77, Request::Stats, &mut packet);
    assert!(matches!(Reply::decode(&packet).unwrap().1, Reply::Document(_)));
}
