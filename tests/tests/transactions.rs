//! A call of a guest is one transaction, through the real service, on both runtimes: it
//! takes effect with its answer or not at all, and is run again when it was disturbed.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use std::fs;
use std::net::SocketAddr;

use proto::doc::Doc;
use proto::{Key, Reply, Request, Status, json};
use tests::asker::{Answer, GUEST, call};
use tests::{Planck, service_dir};

/// The same, but a head with status 200 leaves behind the first packet.
fn leaving() -> String {
    let import = r#"(import "planck" "host_write" (func $write (param i32 i32) (result i64)))"#;
    let asked = "(if (i32.eqz (local.get $left)) (then
        (local.set $left (i32.const 1)) (drop (call $write (i32.const 0) (i32.const 5)))))";
    let end = "(return (i64.or (i64.const 0x500000000) (local.get $said)))";
    let text = GUEST.replace(";; import", import).replace(";; asked", asked);
    text.replace(";; end", end)
}

fn start(runtime: &str, more: &str) -> (tempfile::TempDir, Planck) {
    start_with(GUEST, runtime, more)
}

fn start_with(guest: &str, runtime: &str, more: &str) -> (tempfile::TempDir, Planck) {
    let yaml = format!(
        "name: service\ntls: {{enabled: false}}\nhttp: {{port: 0}}\n\
         wasm: {{runtime: {runtime}, min_instances: 2, max_instances: 4{more}}}\n"
    );
    let dir = service_dir("port: 0\ntls: {enabled: false}\n", Some(&yaml));
    fs::create_dir(dir.path().join("wasm")).unwrap();
    fs::write(dir.path().join("wasm/planck.service.wasm"), wat::parse_str(guest).unwrap()).unwrap();
    let planck = Planck::start(dir.path()).unwrap_or_else(|said| panic!("{said}"));
    (dir, planck)
}

/// The reply that the guest passed on.
fn count(answer: &Answer) -> u64 {
    match Reply::decode(&answer.2).unwrap().1 {
        Reply::Count(count) => count,
        other => panic!("{other:?}"),
    }
}

fn refused(answer: &Answer) -> Option<Status> {
    match Reply::decode(&answer.2).unwrap().1 {
        Reply::Error { status, .. } => Some(status),
        _ => None,
    }
}

const COUNT: Request<'_> = Request::Query { text: "s.count()", parameters: None };
const CREATE: Request<'_> = Request::CreateStore { store: "s", if_not_exists: true };

fn put(key: u128, document: &[u8]) -> Request<'_> {
    Request::Update { store: "s", key: Key(key), document, upsert: true }
}

fn figure(to: SocketAddr, name: &str) -> i64 {
    let answer = call(to, 200, &[Request::Stats]);
    match Reply::decode(&answer.2).unwrap().1 {
        Reply::Document(doc) => Doc::parse(doc).unwrap().get(name).unwrap().as_i64().unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_call_takes_effect_with_its_answer_or_not_at_all() {
    let document = json::parse_json(r#"{"n":0}"#).unwrap();
    for runtime in ["wasmi", "wasmer"] {
        let (_dir, planck) = start(runtime, "");
        let http = planck.http.unwrap();
        // It sees what it wrote; the store that it makes first is made at once.
        let both = [CREATE, put(1, &document), put(2, &document), COUNT];
        let answer = call(http, 200, &both);
        assert_eq!((answer.0, count(&answer)), (200, 2), "{runtime}");
        let before = figure(http, "lsn");
        assert_eq!(call(http, 201, &[put(3, &document), put(4, &document)]).0, 201);
        assert_eq!(figure(http, "lsn"), before + 1, "{runtime}: one commit");
        // What the guest means to refuse stands; what failed does not.
        assert_eq!(call(http, 409, &[put(5, &document)]).0, 409);
        assert_eq!(count(&call(http, 200, &[COUNT])), 5, "{runtime}");
        for failed in [500, 503, 1, 2] {
            let answer = call(http, failed, &[put(6, &document), COUNT]);
            assert!(answer.0 >= 500, "{runtime} {failed}: {}", answer.1);
        }
        assert_eq!(count(&call(http, 200, &[COUNT])), 5, "{runtime}");
        // By the guest's own word: undone, or done before the call fails.
        let (abort, commit) =
            (Request::Abort { transaction: 0 }, Request::Commit { transaction: 0 });
        assert_eq!(count(&call(http, 200, &[put(6, &document), abort, COUNT])), 5);
        let answer = call(http, 500, &[put(6, &document), commit, put(7, &document)]);
        assert_eq!(answer.0, 500);
        assert_eq!(count(&call(http, 200, &[COUNT])), 6, "{runtime}");
        assert_eq!(planck.stop().0, Some(0));
    }
}

#[test]
fn calls_that_disturb_each_other_are_run_again_and_lose_nothing() {
    const THREADS: u64 = 6;
    const CALLS: u64 = 40;
    let document = json::parse_json(r#"{"n":0}"#).unwrap();
    let raise = "s.filter(key = '00000000000000000000000000000001').inc({n: 1})";
    let raise = Request::Query { text: raise, parameters: None };
    for runtime in ["wasmi", "wasmer"] {
        let (_dir, planck) = start(runtime, "");
        let http = planck.http.unwrap();
        assert_eq!(call(http, 200, &[CREATE, put(1, &document)]).0, 200);
        let done: u64 = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|_| {
                    scope.spawn(|| {
                        (0..CALLS)
                            .filter(|_| {
                                let answer = call(http, 200, &[COUNT, raise]);
                                let given_up = answer.0 == 409
                                    && answer.1.contains("retry-after: 1")
                                    && String::from_utf8_lossy(&answer.2).contains("PLK-1305");
                                assert!(answer.0 == 200 || given_up, "{}", answer.1);
                                answer.0 == 200
                            })
                            .count() as u64
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        let read = Request::Read { store: "s", key: Key(1) };
        let answer = call(http, 200, &[read]);
        let Reply::Rows(rows) = Reply::decode(&answer.2).unwrap().1 else { panic!("no row") };
        let (_, row) = rows.iter().next().unwrap();
        let n = Doc::parse(row).unwrap().get("n").and_then(|n| n.as_i64()).unwrap();
        assert_eq!(n, i64::try_from(done).unwrap(), "{runtime}");
        println!("{runtime}: {done} done, {} again", figure(http, "guest_calls_again"));
        assert_eq!(planck.stop().0, Some(0));
    }
}

#[test]
fn what_is_done_behind_a_head_that_left_is_another_transaction() {
    let document = json::parse_json(r#"{"n":0}"#).unwrap();
    for runtime in ["wasmi", "wasmer"] {
        let (_dir, planck) = start_with(&leaving(), runtime, "");
        let http = planck.http.unwrap();
        assert_eq!(count(&call(http, 200, &[CREATE, put(1, &document), COUNT])), 1, "{runtime}");
        let before = figure(http, "lsn");
        let puts = [2, 3, 4].map(|key| put(key, &document));
        assert_eq!(call(http, 200, &puts).0, 200);
        assert_eq!(figure(http, "lsn"), before + 2, "{runtime}: one before it, one behind");
        // It breaks off: what was done before the head stands, what came behind does not.
        let answer = call(http, 1, &[put(5, &document), put(6, &document), COUNT]);
        assert_eq!((answer.0, answer.2.len()), (200, 0), "{runtime}");
        assert_eq!(count(&call(http, 200, &[COUNT])), 5, "{runtime}");
        assert_eq!(planck.stop().0, Some(0));
    }
}

#[test]
fn a_call_whose_head_could_not_leave_does_nothing_behind_it() {
    let document = json::parse_json(r#"{"n":0}"#).unwrap();
    let raise = "s.filter(key = '00000000000000000000000000000001').inc({n: 1})";
    let raise = Request::Query { text: raise, parameters: None };
    let insert = Request::Insert { store: "s", key: None, document: &document };
    let commit = Request::Commit { transaction: 0 };
    for runtime in ["wasmi", "wasmer"] {
        let (_dir, planck) = start_with(&leaving(), runtime, "");
        let http = planck.http.unwrap();
        assert_eq!(call(http, 200, &[CREATE, put(1, &document)]).0, 200);
        let done: usize = std::thread::scope(|scope| {
            let calls = || (0..40).filter(|_| call(http, 200, &[raise, insert, commit]).0 == 200);
            let threads: Vec<_> = (0..6).map(|_| scope.spawn(move || calls().count())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        let again = figure(http, "guest_calls_again");
        println!("{runtime}: {done} done, {again} again");
        assert_eq!(count(&call(http, 200, &[COUNT])), done as u64 + 1, "{runtime}");
        assert_eq!(planck.stop().0, Some(0));
    }
}

#[test]
fn a_service_may_have_each_operation_by_itself() {
    let document = json::parse_json("{}").unwrap();
    let (_dir, planck) = start("wasmi", ", transactions: per_operation");
    let http = planck.http.unwrap();
    assert_eq!(call(http, 500, &[CREATE, put(1, &document)]).0, 500);
    assert_eq!(count(&call(http, 200, &[COUNT])), 1, "it is done all the same");
    let commit = Request::Commit { transaction: 0 };
    assert_eq!(refused(&call(http, 200, &[commit])), Some(Status::UnknownTransaction));
    assert_eq!(planck.stop().0, Some(0));
}
