//! PQL through the path: what it reads, what it changes, what it refuses.

use proto::{Key, Request, Status};

use super::kit::*;
use crate::Engine;

fn three() -> Engine {
    let engine = with_store();
    insert(&engine, 1, r#"{"n":1,"t":"a"}"#);
    insert(&engine, 2, r#"{"n":2,"t":"b"}"#);
    engine.flush().unwrap();
    insert(&engine, 3, r#"{"n":3,"t":"b"}"#);
    engine
}

#[test]
fn what_a_query_reads() {
    let engine = three();
    let rows = |text: &str| match done(&engine, query(text)) {
        Said::Rows(rows, None) => rows,
        other => panic!("{other:?}"),
    };
    assert_eq!(rows("s.filter(n > 2)"), [r#"3 {"n":3,"t":"b"}"#]);
    assert_eq!(rows("s.orderBy(n, desc).limit(1).pluck(n)"), [r#"{"n":3}"#]);
    assert_eq!(rows("s.get('00000000000000000000000000000002')"), [r#"2 {"n":2,"t":"b"}"#]);
    assert_eq!(done(&engine, query("s.filter(t = 'b').count()")), Said::Count(2));
    assert_eq!(rows("s.groupBy(t).aggregate(sum: sum(n)).orderBy(t)").len(), 2);
}

#[test]
fn parameters_stand_for_values() {
    let engine = three();
    let parameters = doc(r#"{"1": "b"}"#);
    let ask_with = |parameters| Request::Query { text: "s.filter(t = $1).count()", parameters };
    assert_eq!(done(&engine, ask_with(Some(&parameters[..]))), Said::Count(2));
    refused(&engine, ask_with(None), Status::BadParameter, &["$1", "not given"]);
    let more = doc(r#"{"1": "b", "2": 1}"#);
    refused(&engine, ask_with(Some(&more)), Status::BadParameter, &["1 parameters and 2"]);
    let broken = [9, 0, 0, 0, 1, 2, 3, 4, 5];
    refused(&engine, ask_with(Some(&broken)), Status::BadParameter, &["not valid BSON"]);
}

#[test]
fn what_a_query_changes() {
    let engine = three();
    let Said::Key(key) = done(&engine, query("s.insert({n: 4})")) else { panic!() };
    assert!(key > Key(3));
    let lsn = engine.lsm.last_lsn();
    assert_eq!(done(&engine, query("s.filter(t = 'b').set({n: 0, 'deep.er': 1})")), Said::Count(2));
    assert_eq!(engine.lsm.last_lsn(), lsn + 1, "one commit");
    let rows = all(&engine);
    assert_eq!(rows[0], r#"1 {"n":1,"t":"a"}"#);
    assert_eq!(rows[2], r#"3 {"n":0,"t":"b","deep":{"er":1}}"#);
    assert_eq!(done(&engine, query("s.filter(n = 0).limit(1).delete()")), Said::Count(1));
    assert_eq!(all(&engine).len(), 3);
    assert_eq!(done(&engine, query("s.all().delete()")), Said::Count(3));
    assert_eq!(done(&engine, query("s.all().delete()")), Said::Count(0));
}

#[test]
fn a_change_that_fails_on_one_document_changes_none() {
    let engine = three();
    insert(&engine, 4, r#"{"n":{"m":1}}"#);
    let before = all(&engine);
    for (text, status, words) in [
        // Documents 1 to 3 have a number where 4 has a document.
        ("s.all().set({'n.m': 2})", Status::BadDocument, "document 000"),
        ("s.filter(n = 1).set({'a': 1, 'a.b': 2})", Status::BadDocument, "a"),
        ("s.insert({key: 1})", Status::BadDocument, "`key`"),
    ] {
        match ask(&engine, query(text)) {
            Said::Refused(found, message) => {
                assert!(found == status || found == Status::BadQuery, "{text}: {message}");
                assert!(message.contains(words), "{text}: {message}");
            }
            other => panic!("{text}: {other:?}"),
        }
        assert_eq!(all(&engine), before, "{text}");
    }
}

#[test]
fn what_is_no_query_is_refused_with_its_place() {
    let engine = three();
    for (text, words) in [
        ("s.filter(n =)", "line 1, column"),
        ("s.filter(n like 2)", "column"),
        ("s.delete()", "filter"),
        ("s.filter(n = 1).limit(-1)", "limit"),
        ("s.filter(t ~ '(')", "regular expression"),
    ] {
        refused(&engine, query(text), Status::BadQuery, &[words]);
    }
}

#[test]
fn no_increment_by_set_is_lost_between_read_and_write() {
    // Each thread moves documents from one state to the next by a condition on
    // the state: done atomically, each document is counted by exactly one.
    let engine = with_store();
    for key in 0..40 {
        insert(&engine, key, r#"{"free":true}"#);
    }
    let taken: u64 = std::thread::scope(|scope| {
        let take = || {
            let mut taken = 0;
            for _ in 0..30 {
                let text = "s.filter(free = true).limit(1).set({free: false})";
                let Said::Count(n) = done(&engine, query(text)) else { panic!() };
                taken += n;
            }
            taken
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(taken, 40);
}
