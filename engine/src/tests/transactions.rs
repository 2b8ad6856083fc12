//! Transactions as their callers see them: one moment and their own writes by every
//! operation; all or nothing; bounded; refused by name.

use std::sync::Arc;
use std::time::Duration;

use platform::sim::{SimClock, SimDisk};
use proto::doc::Doc;
use proto::request::Part;
use proto::{Key, Opcode, Reply, Request, Status};

use super::kit::*;
use crate::{Engine, Limits, Options, Principal, Role, TransactionFigures};

/// An admin in a session.
fn session(number: u64) -> Principal {
    admin().in_session(number)
}

pub(super) fn begin_as(engine: &Engine, who: &Principal, read_only: bool, millis: u32) -> u64 {
    let mut out = Vec::new();
    engine.dispatch(who, 77, Request::Begin { read_only, millis }, &mut out);
    match Reply::decode(&out).unwrap().1 {
        Reply::Document(doc) => {
            let doc = Doc::parse(doc).unwrap();
            doc.get("transaction").and_then(|n| n.as_i64()).unwrap() as u64
        }
        other => panic!("{other:?}"),
    }
}

fn begin(engine: &Engine) -> u64 {
    begin_as(engine, &admin(), false, 0)
}

/// Asks within a transaction.
pub(super) fn within_as(
    engine: &Engine,
    who: &Principal,
    transaction: u64,
    request: Request<'_>,
) -> Said {
    let mut room = Vec::new();
    let part = Part::of(&request, &mut room);
    ask_as(engine, who, Request::Within { transaction, part })
}

fn within(engine: &Engine, transaction: u64, request: Request<'_>) -> Said {
    within_as(engine, &admin(), transaction, request)
}

fn commit(engine: &Engine, transaction: u64) -> Said {
    ask(engine, Request::Commit { transaction })
}

/// What a refusal says, its status being this one.
fn why(said: Said, status: Status) -> String {
    match said {
        Said::Refused(found, message) if found == status => message,
        other => panic!("not {status}: {other:?}"),
    }
}

fn put_in(engine: &Engine, transaction: u64, key: u128, text: &str) {
    let document = doc(text);
    let request = Request::Update { store: "s", key: Key(key), document: &document, upsert: true };
    assert_eq!(within(engine, transaction, request), Said::Key(Key(key)));
}

fn put(engine: &Engine, key: u128, text: &str) {
    let document = doc(text);
    done(engine, Request::Update { store: "s", key: Key(key), document: &document, upsert: true });
}

fn index(engine: &Engine, definition: &str) {
    let definition = doc(definition);
    let (store, definition) = ("s", &definition[..]);
    done(engine, Request::CreateIndex { store, if_not_exists: false, definition });
    while engine.tend().unwrap() {}
}

fn rows(said: Said) -> Vec<String> {
    match said {
        Said::Rows(rows, _) | Said::Page(rows, _) => rows,
        other => panic!("{other:?}"),
    }
}

fn no_differences(engine: &Engine) {
    let found = rows(done(engine, Request::CheckIndexes { store: "s", index: None }));
    let [figures] = &found[..] else { panic!("{found:?}") };
    assert!(figures.contains(r#""differences":0"#), "{figures}");
}

const SCAN: Request<'_> = Request::Scan { store: "s", after: None, limit: 0, reverse: false };

#[test]
fn every_operation_sees_what_was_written_within_and_nobody_else_does() {
    let engine = with_store();
    index(&engine, r#"{"fields":["a"]}"#);
    done(&engine, create("other"));
    insert(&engine, 1, r#"{"a":1}"#);
    insert(&engine, 2, r#"{"a":2}"#);
    let tx = begin(&engine);
    let document = doc(r#"{"a":3}"#);
    let three = Request::Insert { store: "s", key: Some(Key(3)), document: &document };
    assert_eq!(within(&engine, tx, three), Said::Key(Key(3)));
    put_in(&engine, tx, 1, r#"{"a":7}"#);
    assert_eq!(within(&engine, tx, Request::Delete { store: "s", key: Key(2) }), Said::Count(1));
    let more = batch(&[(Some(9), r#"{"a":9}"#), (None, r#"{"a":9}"#)]);
    let more = Request::BatchInsert { store: "s", batch: more.as_batch() };
    assert!(matches!(within(&engine, tx, more), Said::Keys(_)));
    let elsewhere = Request::Insert { store: "other", key: Some(Key(1)), document: &document };
    assert_eq!(within(&engine, tx, elsewhere), Said::Key(Key(1)));
    let set = query("s.filter(a = 9).set({b: 1})");
    assert_eq!(within(&engine, tx, set), Said::Count(2));

    let said = |request| within(&engine, tx, request);
    assert_eq!(rows(said(read(1))), [r#"1 {"a":7}"#]);
    why(said(read(2)), Status::NotFound);
    assert_eq!(rows(said(SCAN)).len(), 4);
    let range =
        |reverse| Request::Range { store: "s", from: Key(1), to: Key(3), limit: 0, reverse };
    assert_eq!(rows(said(range(true))), [r#"3 {"a":3}"#, r#"1 {"a":7}"#]);
    assert_eq!(said(query("s.count()")), Said::Count(4));
    assert_eq!(said(query("s.filter(a >= 7).count()")), Said::Count(3));
    assert_eq!(rows(said(query("s.filter(a = 7)"))), [r#"1 {"a":7}"#]);
    assert_eq!(rows(said(query("s.filter(a = 1)"))).len(), 0);
    assert_eq!(
        rows(said(query("s.filter(a < 9).orderBy(a, desc).pluck(a)"))),
        [r#"{"a":7}"#, r#"{"a":3}"#]
    );
    let sums = rows(said(query("s.groupBy(b).aggregate(n: count(), all: sum(a))")));
    assert_eq!(sums.len(), 2, "{sums:?}");
    let joined = rows(said(query("other.lookupOne(s, a = a as x).pluck(x)")));
    assert!(joined[0].contains(r#""a":3"#), "{joined:?}");

    assert_eq!(all(&engine), [r#"1 {"a":1}"#, r#"2 {"a":2}"#]);
    let before = engine.lsm.last_lsn();
    let Said::Document(told) = commit(&engine, tx) else { panic!("it was not committed") };
    assert_eq!(told, format!(r#"{{"lsn":{}}}"#, before + 1));
    assert_eq!(engine.lsm.last_lsn(), before + 1, "one frame");
    assert_eq!(all(&engine).len(), 4);
    assert_eq!(done(&engine, query("s.filter(a = 9 and b = 1).count()")), Said::Count(2));
    no_differences(&engine);
    why(commit(&engine, tx), Status::UnknownTransaction);
}

#[test]
fn what_is_aborted_or_given_up_with_its_session_leaves_no_trace() {
    let engine = with_store();
    let lsn = engine.lsm.last_lsn();
    let tx = begin(&engine);
    put_in(&engine, tx, 1, r#"{"a":1}"#);
    assert_eq!(ask(&engine, Request::Abort { transaction: tx }), Said::Empty);
    why(within(&engine, tx, read(1)), Status::UnknownTransaction);
    let (mine, other) = (session(4), session(5));
    let tx = begin_as(&engine, &mine, false, 0);
    why(within_as(&engine, &other, tx, read(1)), Status::UnknownTransaction);
    let document = doc("{}");
    let insert = Request::Insert { store: "s", key: None, document: &document };
    assert!(matches!(within_as(&engine, &mine, tx, insert), Said::Key(_)));
    assert!(engine.transactions.figures().memory > 0, "what it holds is counted");
    engine.end_session(&other);
    assert!(matches!(within_as(&engine, &mine, tx, query("s.count()")), Said::Count(1)));
    engine.end_session(&mine);
    why(within_as(&engine, &mine, tx, read(1)), Status::UnknownTransaction);
    assert_eq!((engine.lsm.last_lsn(), all(&engine).len()), (lsn, 0));
    assert_eq!(engine.transactions.figures(), TransactionFigures::default());
}

#[test]
fn conflicts_name_the_document_and_the_store() {
    let engine = with_store();
    index(&engine, r#"{"fields":["a"],"name":"by_a"}"#);
    insert(&engine, 1, r#"{"a":1}"#);
    // A lost update.
    let tx = begin(&engine);
    assert_eq!(
        within(
            &engine,
            tx,
            query("s.filter(key = '00000000000000000000000000000001').inc({a: 1})")
        ),
        Said::Count(1)
    );
    put(&engine, 1, r#"{"a":5}"#);
    let message = why(commit(&engine, tx), Status::TransactionConflict);
    for words in [&Key(1).to_string()[..], r#""s""#, "begin it again"] {
        assert!(message.contains(words), "{message}");
    }
    assert_eq!(all(&engine), [r#"1 {"a":5}"#]);
    // A phantom in a range of an index; outside of it nobody disturbs. (A store so small
    // is scanned.)
    (1000..1300).for_each(|key| insert(&engine, key, &format!(r#"{{"a":{key}}}"#)));
    for (a, conflicts) in [(10, true), (20, false)] {
        let tx = begin(&engine);
        let found = within(&engine, tx, query("s.filter(a >= 9 and a < 15)"));
        assert_eq!(rows(found).len(), usize::from(a == 20));
        put_in(&engine, tx, 100, r#"{"b":1}"#);
        insert(&engine, a, &format!(r#"{{"a":{a}}}"#));
        match conflicts {
            true => {
                let message = why(commit(&engine, tx), Status::TransactionConflict);
                let key = Key(a).to_string();
                assert!(message.contains("by_a") && message.contains(&key), "{message}");
            }
            false => assert!(matches!(commit(&engine, tx), Said::Document(_))),
        }
    }
    // What is counted is all of the store.
    let tx = begin(&engine);
    within(&engine, tx, query("s.count()"));
    put_in(&engine, tx, 101, "{}");
    insert(&engine, 30, "{}");
    why(commit(&engine, tx), Status::TransactionConflict);
    no_differences(&engine);
}

#[test]
fn what_rests_on_nothing_disturbs_and_is_disturbed_by_nobody() {
    let engine = with_store();
    let (one, two) = (begin(&engine), begin(&engine));
    for tx in [one, two] {
        let made = batch(&[(None, "{}"), (None, "{}"), (None, "{}")]);
        let made = Request::BatchInsert { store: "s", batch: made.as_batch() };
        assert!(matches!(within(&engine, tx, made), Said::Keys(_)));
        assert!(matches!(within(&engine, tx, query("s.insert({a: 1})")), Said::Key(_)));
        put_in(&engine, tx, 7, &format!(r#"{{"by":{tx}}}"#));
    }
    done(&engine, query("s.insert({a: 2})"));
    assert!(matches!(commit(&engine, one), Said::Document(_)));
    assert!(matches!(commit(&engine, two), Said::Document(_)));
    let all = all(&engine);
    assert_eq!(all.len(), 4 + 4 + 1 + 1);
    assert_eq!(all[0], format!(r#"7 {{"by":{two}}}"#));
    assert_eq!(done(&engine, query("s.count()")), Said::Count(10), "each counts once");
    // One that only reads is of one moment, and never fails.
    let tx = begin_as(&engine, &admin(), true, 0);
    assert_eq!(within(&engine, tx, query("s.count()")), Said::Count(10));
    insert(&engine, 1, "{}");
    assert_eq!(within(&engine, tx, query("s.count()")), Said::Count(10));
    let message = why(within(&engine, tx, query("s.insert({})")), Status::NotInTransaction);
    assert!(message.contains("only reads"), "{message}");
    why(ask(&engine, Request::Savepoint { transaction: tx }), Status::NotInTransaction);
    assert!(matches!(commit(&engine, tx), Said::Document(_)));
}

#[test]
fn a_unique_value_is_looked_for_again_when_it_is_committed() {
    let engine = with_store();
    index(&engine, r#"{"fields":["mail"],"unique":true}"#);
    insert(&engine, 1, r#"{"mail":"ann"}"#);
    let tx = begin(&engine);
    let (ann, bob) = (doc(r#"{"mail":"ann"}"#), doc(r#"{"mail":"bob"}"#));
    let two = |document| Request::Insert { store: "s", key: Some(Key(2)), document };
    why(within(&engine, tx, two(&ann)), Status::NotUnique);
    assert_eq!(within(&engine, tx, two(&bob)), Said::Key(Key(2)));
    let three = Request::Insert { store: "s", key: Some(Key(3)), document: &bob };
    why(within(&engine, tx, three), Status::NotUnique);
    // Within it the value can move from one to another.
    assert_eq!(within(&engine, tx, Request::Delete { store: "s", key: Key(1) }), Said::Count(1));
    let four = Request::Insert { store: "s", key: Some(Key(4)), document: &ann };
    assert_eq!(within(&engine, tx, four), Said::Key(Key(4)));
    let other = begin(&engine);
    let five = Request::Insert { store: "s", key: Some(Key(5)), document: &bob };
    assert_eq!(within(&engine, other, five), Said::Key(Key(5)), "nobody has it yet");
    assert!(matches!(commit(&engine, tx), Said::Document(_)));
    why(commit(&engine, other), Status::TransactionConflict);
    // Who was refused has looked: what they do on the strength of it is a conflict too.
    let tx = begin(&engine);
    why(within(&engine, tx, five), Status::NotUnique);
    put_in(&engine, tx, 8, "{}");
    done(&engine, Request::Delete { store: "s", key: Key(2) });
    why(commit(&engine, tx), Status::TransactionConflict);
    no_differences(&engine);
}

#[test]
fn a_catalog_that_changes_under_it_is_a_conflict() {
    type Change = fn(&Engine);
    let changes: [(Change, bool); 6] = [
        (|engine| index(engine, r#"{"fields":["b"]}"#), true),
        (|engine| drop(done(engine, drop_store("s"))), true),
        (
            |engine| {
                done(engine, drop_store("s"));
                done(engine, create("s"));
            },
            true,
        ),
        (
            |engine| {
                let change = doc(r#"{"schema":"{\"required\":[\"a\"]}"}"#);
                done(engine, Request::AlterStore { store: "s", change: &change });
            },
            true,
        ),
        (|engine| drop(done(engine, create("t"))), false),
        (|engine| put_user(engine, "ann", Role::None), false),
    ];
    for (n, (change, conflicts)) in changes.iter().enumerate() {
        for late in [false, true] {
            let engine = with_store();
            insert(&engine, 1, r#"{"a":1}"#);
            let tx = begin(&engine);
            if late {
                change(&engine);
            }
            // It goes on with what its snapshot has.
            put_in(&engine, tx, 2, r#"{"b":1}"#);
            assert_eq!(within(&engine, tx, query("s.count()")), Said::Count(2), "{n} {late}");
            if !late {
                change(&engine);
            }
            let said = commit(&engine, tx);
            match conflicts {
                true => {
                    let message = why(said, Status::TransactionConflict);
                    let words = ["catalog", "all of the store", "document"];
                    assert!(words.iter().any(|w| message.contains(w)), "{n} {late}: {message}");
                }
                false => assert!(matches!(said, Said::Document(_)), "{n} {late}: {said:?}"),
            }
        }
    }
    // A store that is not there was looked for.
    let engine = with_store();
    let tx = begin(&engine);
    why(within(&engine, tx, query("t.count()")), Status::UnknownStore);
    put_in(&engine, tx, 1, "{}");
    done(&engine, create("t"));
    why(commit(&engine, tx), Status::TransactionConflict);
}

#[test]
fn rights_are_asked_at_each_operation_and_once_more_at_the_commit() {
    let engine = with_store();
    insert(&engine, 1, "{}");
    let definition = doc(r#"{"role":"read_write","key":"the-key-of-ann"}"#);
    let (user, definition) = ("ann", &definition[..]);
    done(&engine, Request::CreateUser { user, if_not_exists: false, definition });
    let ann = engine.authenticate("ann", "the-key-of-ann").unwrap();
    let tx = begin_as(&engine, &ann, false, 0);
    let document = doc("{}");
    let put = Request::Update { store: "s", key: Key(2), document: &document, upsert: true };
    assert_eq!(within_as(&engine, &ann, tx, put), Said::Key(Key(2)));
    let (readers, looks) = (doc(r#"{"role":"read_only"}"#), begin_as(&engine, &ann, false, 0));
    assert!(matches!(within_as(&engine, &ann, looks, SCAN), Said::Rows(..)));
    done(&engine, Request::AlterUser { user: "ann", change: &readers });
    let lsn = engine.lsm.last_lsn();
    why(within_as(&engine, &ann, tx, put), Status::Forbidden);
    let message =
        why(ask_as(&engine, &ann, Request::Commit { transaction: tx }), Status::Forbidden);
    assert!(message.contains(r#""s""#), "{message}");
    assert!(matches!(within_as(&engine, &ann, looks, SCAN), Said::Rows(..)));
    assert!(matches!(
        ask_as(&engine, &ann, Request::Commit { transaction: looks }),
        Said::Document(_)
    ));
    assert_eq!(engine.lsm.last_lsn(), lsn);
    // Who is shut out loses what is open.
    let tx = begin_as(&engine, &ann, false, 0);
    done(&engine, Request::DropUser { user: "ann", if_exists: false });
    why(within_as(&engine, &ann, tx, SCAN), Status::NotAuthenticated);
    assert_eq!(engine.transactions.figures().open, 0);
}

#[test]
fn what_is_not_about_documents_cannot_be_part_of_one() {
    let engine = with_store();
    let (tx, d) = (begin(&engine), doc("{}"));
    let store = "s";
    for request in [
        Request::Ping,
        Request::Stats,
        Request::List,
        create("t"),
        drop_store("s"),
        Request::CreateIndex { store, if_not_exists: false, definition: &d },
        Request::AlterStore { store, change: &d },
        Request::CreateSequence { sequence: "n", if_not_exists: false },
        Request::NextNumbers { sequence: "n", count: 1 },
        Request::Flush,
        Request::Backup { begin: false, full: false },
        Request::ListUsers { after: None },
        Request::Begin { read_only: false, millis: 0 },
        Request::Commit { transaction: tx },
        Request::DescribeStore { store },
    ] {
        let message = why(within(&engine, tx, request), Status::NotInTransaction);
        let (name, words) = (request.opcode().name(), "send it by itself");
        assert!(message.contains(name) && message.contains(words), "{message}");
    }
    // The transaction is none the worse for it.
    put_in(&engine, tx, 1, "{}");
    assert!(matches!(commit(&engine, tx), Said::Document(_)));
    // Counted as what it is.
    let reads = |engine: &Engine| {
        let figures = engine.figures().unwrap().operations;
        figures.iter().find(|f| f.opcode == Opcode::Read).map_or(0, |f| f.requests)
    };
    let (before, tx) = (reads(&engine), begin(&engine));
    within(&engine, tx, read(1));
    assert_eq!(reads(&engine), before + 1);
}

#[test]
fn they_are_bounded_in_number_time_and_size() {
    let limits = Limits {
        max_transactions: 3,
        max_session_transactions: 2,
        transaction_idle_micros: 5_000_000,
        transaction_micros: 20_000_000,
        max_transaction_size: 64 << 10,
        transaction_memory: 200 << 10,
        ..Limits::default()
    };
    let clock = Arc::new(SimClock::new(NOW));
    let engine = open_at(clock.clone(), SimDisk::new(1), Options { limits, ..options() });
    done(&engine, create("s"));
    let (mine, other) = (session(1), session(2));
    let begin_in = |who| begin_as(&engine, who, false, 0);
    let ask_begin = |who| ask_as(&engine, who, Request::Begin { read_only: true, millis: 0 });
    let (one, two) = (begin_in(&mine), begin_in(&mine));
    let message = why(ask_begin(&mine), Status::Busy);
    assert!(message.contains("limits.max_session_transactions"), "{message}");
    let three = begin_in(&other);
    let message = why(ask_begin(&other), Status::Busy);
    assert!(message.contains("limits.max_transactions"), "{message}");

    // In size.
    let large = doc_of(40 << 10);
    let insert = Request::Insert { store: "s", key: None, document: &large };
    assert!(matches!(within_as(&engine, &mine, one, insert), Said::Key(_)));
    let message = why(within_as(&engine, &mine, one, insert), Status::TransactionTooLarge);
    assert!(message.contains("limits.max_transaction_size"), "{message}");
    assert!(matches!(within_as(&engine, &mine, two, insert), Said::Key(_)));
    let message = why(within_as(&engine, &other, three, insert), Status::Busy);
    assert!(message.contains("limits.transaction_memory"), "{message}");
    assert_eq!(within_as(&engine, &mine, one, query("s.count()")), Said::Count(1));
    assert!(matches!(
        ask_as(&engine, &mine, Request::Commit { transaction: two }),
        Said::Document(_)
    ));
    assert!(matches!(within_as(&engine, &other, three, insert), Said::Key(_)));

    // In time nobody uses it: what uses it keeps it.
    for _ in 0..3 {
        clock.advance(Duration::from_millis(4_999));
        assert!(matches!(within_as(&engine, &mine, one, SCAN), Said::Rows(..)));
    }
    let message = why(within_as(&engine, &other, three, SCAN), Status::UnknownTransaction);
    assert!(message.contains("limits.transaction_idle_ms"), "{message}");
    // In time altogether.
    clock.advance(Duration::from_millis(4_999));
    assert!(matches!(within_as(&engine, &mine, one, SCAN), Said::Rows(..)));
    clock.advance(Duration::from_millis(4));
    why(within_as(&engine, &mine, one, SCAN), Status::UnknownTransaction);
    // As long as was asked for.
    let brief = begin_as(&engine, &mine, false, 1_000);
    clock.advance(Duration::from_millis(999));
    assert!(matches!(within_as(&engine, &mine, brief, SCAN), Said::Rows(..)));
    clock.advance(Duration::from_millis(1));
    why(within_as(&engine, &mine, brief, SCAN), Status::UnknownTransaction);
    // What nobody asks for goes by itself.
    begin_in(&mine);
    clock.advance(Duration::from_secs(5));
    engine.tend().unwrap();
    let figures = engine.transactions.figures();
    assert_eq!((figures.open, figures.memory, figures.expired), (0, 0, 4));
    assert_eq!((figures.committed, figures.conflicts), (1, 0));
    // None at all.
    let none = open_with(Limits { max_transactions: 0, ..Limits::default() });
    why(ask(&none, Request::Begin { read_only: true, millis: 0 }), Status::Busy);
}

#[test]
fn savepoints_undo_what_came_behind_them() {
    let engine = with_store();
    index(&engine, r#"{"fields":["a"]}"#);
    let tx = begin(&engine);
    let savepoint = || match ask(&engine, Request::Savepoint { transaction: tx }) {
        Said::Count(number) => number,
        other => panic!("{other:?}"),
    };
    let rollback = |savepoint| ask(&engine, Request::Rollback { transaction: tx, savepoint });
    put_in(&engine, tx, 1, r#"{"a":1}"#);
    let first = savepoint();
    put_in(&engine, tx, 1, r#"{"a":2}"#);
    put_in(&engine, tx, 2, r#"{"a":2}"#);
    let second = savepoint();
    assert_eq!(within(&engine, tx, query("s.filter(a = 2).delete()")), Said::Count(2));
    assert_eq!(rollback(second), Said::Empty);
    assert_eq!(within(&engine, tx, query("s.filter(a = 2).count()")), Said::Count(2));
    assert_eq!(rollback(first), Said::Empty);
    assert_eq!(rows(within(&engine, tx, query("s.filter(a > 0)"))), [r#"1 {"a":1}"#]);
    let message = why(rollback(second), Status::UnknownSavepoint);
    assert!(message.contains(&second.to_string()), "{message}");
    assert_eq!(rollback(first), Said::Empty, "it stays");
    for _ in 1..256 {
        savepoint();
    }
    why(ask(&engine, Request::Savepoint { transaction: tx }), Status::LimitReached);
    assert!(matches!(commit(&engine, tx), Said::Document(_)));
    assert_eq!(all(&engine), [r#"1 {"a":1}"#]);
    no_differences(&engine);
}

#[test]
fn pages_of_a_query_within_are_fetched_within_and_end_with_it() {
    let engine = with_store();
    for key in 1..=6 {
        insert(&engine, key, r#"{"a":1}"#);
    }
    let stream = Request::Stream { rows: 2, bytes: 0, text: "s", parameters: None };
    let page = |tx| match within(&engine, tx, stream) {
        Said::Page(rows, cursor) => (rows.len(), cursor),
        other => panic!("{other:?}"),
    };
    let tx = begin(&engine);
    put_in(&engine, tx, 7, "{}");
    let (2, cursor) = page(tx) else { panic!("a page of two") };
    let fetch = Request::Fetch { cursor };
    // Neither outside of it nor within another one.
    why(ask(&engine, fetch), Status::UnknownCursor);
    let other = begin(&engine);
    why(within(&engine, other, fetch), Status::UnknownCursor);
    let Said::Page(second, _) = within(&engine, tx, fetch) else { panic!("a second page") };
    assert_eq!(second.len(), 2);
    assert!(matches!(ask(&engine, Request::Abort { transaction: other }), Said::Empty));
    // Written since: the query goes on with what it saw.
    put_in(&engine, tx, 8, "{}");
    let savepoint = Request::Savepoint { transaction: tx };
    let Said::Count(savepoint) = ask(&engine, savepoint) else { panic!("a savepoint") };
    let Said::Page(third, _) = within(&engine, tx, fetch) else { panic!("a third page") };
    assert_eq!(third.len(), 2);
    put_in(&engine, tx, 9, "{}");
    assert_eq!(ask(&engine, Request::Rollback { transaction: tx, savepoint }), Said::Empty);
    why(within(&engine, tx, fetch), Status::UnknownCursor);
    let (_, cursor) = page(tx);
    assert!(matches!(commit(&engine, tx), Said::Document(_)));
    why(ask(&engine, Request::Fetch { cursor }), Status::UnknownCursor);
    assert_eq!(engine.queries.figures().1.open, 0);
    // One that waits was read as far as it came, and no further.
    for (key, conflicts) in [(1, true), (6, false)] {
        let tx = begin(&engine);
        page(tx);
        put_in(&engine, tx, 20, "{}");
        put(&engine, key, "{}");
        let said = commit(&engine, tx);
        assert_eq!(matches!(said, Said::Refused(..)), conflicts, "{key}: {said:?}");
    }
}

/// Transactions of a seed, interleaved, on indexes of all kinds: what they leave agrees.
#[test]
fn indexes_hold_what_they_should_whatever_is_interleaved() {
    let mut rng = 7u64;
    let mut below = move |n: u64| {
        rng = rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (rng >> 33) % n
    };
    let engine = with_store();
    let (mut open, mut committed, mut conflicts): (Vec<Option<u64>>, u64, u64) =
        (vec![None; 4], 0, 0);
    for step in 0..1500u64 {
        match step {
            200 => index(&engine, r#"{"fields":["a"]}"#),
            500 => {
                let definition = doc(r#"{"fields":["u"],"unique":true,"name":"u"}"#);
                let (store, definition) = ("s", &definition[..]);
                done(&engine, Request::CreateIndex { store, if_not_exists: true, definition });
            }
            800 => index(&engine, r#"{"fields":["l","-a"],"sparse":true}"#),
            _ if step % 97 == 0 => drop(engine.flush().unwrap()),
            _ if step % 5 == 0 => drop(engine.tend().unwrap()),
            _ => {}
        }
        let (at, key) = (below(4) as usize, below(30));
        let text = format!(
            r#"{{"a":{},"u":{},"l":[{},{}]}}"#,
            below(5),
            key * 100 + below(3),
            below(4),
            below(4)
        );
        let document = doc(&text);
        let (store, document) = ("s", &document[..]);
        let upsert = below(2) == 0;
        let set = format!("s.filter(a = {}).set({{a: {}}})", below(5), below(5));
        let remove = format!("s.filter(l = {}).limit(1).delete()", below(4));
        let key = Key(u128::from(key));
        let request = match below(6) {
            0 => Request::Insert { store, key: Some(key), document },
            1 | 2 => Request::Update { store, key, document, upsert },
            3 => Request::Delete { store, key },
            4 => query(&set),
            _ => query(&remove),
        };
        if below(12) == 0 {
            ask(&engine, request);
            continue;
        }
        let tx = *open[at].get_or_insert_with(|| begin(&engine));
        within(&engine, tx, request);
        if below(4) == 0 {
            open[at] = None;
            match commit(&engine, tx) {
                Said::Document(_) => committed += 1,
                Said::Refused(Status::TransactionConflict, _) => conflicts += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    while engine.tend().unwrap() {}
    assert!(committed > 150 && conflicts > 30, "{committed} {conflicts}");
    no_differences(&engine);
    let there = all(&engine).len() as u64;
    assert_eq!(done(&engine, query("s.count()")), Said::Count(there));
    let found = rows(done(&engine, Request::List));
    assert!(found[0].contains(r#""state":"ready""#) && !found[0].contains("building"), "{found:?}");
}
