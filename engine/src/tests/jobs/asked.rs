//! What may be asked for, and is there with what asked for it.

use super::*;

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
