//! Queries that run, wait, are told to end, and were slow.

use std::sync::Arc;

use platform::sim::{SimClock, SimDisk, SimEntropy};
use proto::request::BatchBuf;
use proto::{Key, Request, Status};

use super::cursors::{fetch, figure, filled, held, opened, small, unknown};
use super::kit::*;
use super::query::Ticking;
use crate::patience::Patience;
use crate::{Engine, Limits, Options, Principal, Role};

#[test]
fn queries_are_listed_and_cancelled_by_their_users_and_by_admins() {
    let engine = filled(small(), 10);
    let user = |name: &str, session| Principal::new(name, Role::ReadOnly).in_session(session);
    let (ann, bob) = (user("ann", 1), user("bob", 2));
    let (first, second) = (opened(&engine, &ann, "s"), opened(&engine, &bob, "s.orderBy(n)"));
    let row = |id, user, text| {
        format!(r#"{{"id":{id},"user":"{user}","state":"waiting","time_us":0,"query":"{text}"}}"#)
    };
    let (of_ann, of_bob) = (row(first, "ann", "s"), row(second, "bob", "s.orderBy(n)"));
    let list = |who: &Principal| match ask_as(&engine, who, Request::RunningQueries) {
        Said::Rows(rows, None) => rows,
        other => panic!("{other:?}"),
    };
    assert_eq!(list(&admin()), [of_ann.clone(), of_bob.clone()]);
    // In another session too.
    assert_eq!(list(&user("ann", 9)), [of_ann]);
    assert_eq!(list(&bob), [of_bob]);
    assert_eq!(list(&Principal::service("ann")), Vec::<String>::new());
    let cancel = |query| Request::CancelQuery { query };
    let words = &["no query 1 of yours", "`planctl queries` shows"];
    refused_as(&engine, &bob, cancel(first), Status::UnknownQuery, words);
    assert_eq!(ask_as(&engine, &user("ann", 9), cancel(first)), Said::Empty);
    unknown(&engine, &ann, first);
    assert_eq!(done(&engine, cancel(second)), Said::Empty);
    refused(&engine, cancel(second), Status::UnknownQuery, &["no query 2 runs"]);
    assert_eq!(held(&engine), [0; 4]);
}

#[test]
fn one_that_is_being_read_is_read_by_nobody_else_and_told_to_end() {
    let engine = filled(small(), 10);
    let cursor = opened(&engine, &admin(), "s.orderBy(n)");
    let (running, rows, size, stores) =
        engine.queries.resume(&admin(), cursor, 0, Patience::ENDLESS).unwrap();
    let listed = &engine.running_queries()[0];
    assert_eq!((listed.id, listed.waits), (cursor, false));
    refused(&engine, fetch(cursor), Status::Busy, &["another request"]);
    assert_eq!(figure(&engine, "open_cursors"), 1, "it counts");
    assert_eq!(done(&engine, Request::CloseCursor { cursor }), Said::Empty);
    let refusal: crate::Refusal = running.wait(rows, size, stores).unwrap_err().into();
    assert_eq!(refusal.status, Status::Cancelled);
    assert!(refusal.message.contains("was cancelled"), "{refusal}");
    assert_eq!(held(&engine), [0; 4]);
    // One whose reader failed, or fell over, is gone.
    let cursor = opened(&engine, &admin(), "s.orderBy(n)");
    drop(engine.queries.resume(&admin(), cursor, 0, Patience::ENDLESS).unwrap());
    unknown(&engine, &admin(), cursor);
    assert_eq!(held(&engine), [0; 4]);
}

#[test]
fn slow_queries_are_numbered_with_their_user_and_way() {
    let limits = Limits { slow_query_micros: 1, ..Limits::default() };
    let clock = Arc::new(Ticking(SimClock::new(NOW)));
    let options = Options { limits, ..options() };
    let engine =
        Engine::open(SimDisk::new(1), clock, Arc::new(SimEntropy::new(1)), options).unwrap();
    done(&engine, create("s"));
    let mut batch = BatchBuf::new();
    (0..100u128).for_each(|n| batch.push(Some(Key(n)), &doc(&format!(r#"{{"n":{n}}}"#))));
    done(&engine, Request::BatchInsert { store: "s", batch: batch.as_batch() });
    let definition = &doc(r#"{"fields":["n"],"name":"by_n"}"#);
    done(&engine, Request::CreateIndex { store: "s", if_not_exists: false, definition });
    while engine.tend().unwrap() {}
    let ann = Principal::new("ann", Role::ReadWrite);
    let cursor = opened(&engine, &ann, "s.filter(n = 3 or n = 5).orderBy(n).limit(9).pluck(n)");
    ask_as(&engine, &ann, fetch(cursor));
    for text in [
        "s.lookup(s, n = n).filter(n > 1).groupBy(n).having(n > 5).count()",
        "s",
        "s.filter(n < 3).set({m: 1})",
        "s.lookup(nix, a = b)",
    ] {
        ask_as(&engine, &ann, query(text));
    }
    let slow = engine.slow_queries_after(0);
    let plans: Vec<&str> = slow.iter().map(|slow| slow.plan.as_str()).collect();
    assert_eq!(
        plans,
        [
            "index by_n, sort, cut, pluck",
            "index by_n, sort, cut, pluck",
            "scan, lookup, filter, group, having, count",
            "scan",
            "index by_n, change",
            "",
        ]
    );
    assert!(
        slow.iter()
            .all(|slow| slow.user == "ann" && slow.text.starts_with("s.") | (slow.text == "s"))
    );
    assert_eq!(slow.iter().map(|slow| slow.number).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    assert_eq!(slow.iter().map(|slow| slow.returned).collect::<Vec<_>>()[..2], [Some(1), Some(1)]);
    // Each page is looked at for itself.
    assert!(slow[0].figures.examined > 0 && slow[1].figures.examined == 0);
    assert_eq!(engine.slow_queries_after(4).len(), 2);
    assert!(engine.slow_queries_after(6).is_empty());
    // The stats tell of them to who asked them, and to admins.
    let told = |who: &Principal| {
        let Said::Document(text) = ask_as(&engine, who, Request::Stats) else { panic!() };
        text.contains("last_slow_queries")
    };
    assert!(told(&ann) && told(&admin()));
    assert!(!told(&Principal::new("bob", Role::ReadWrite)) && !told(&Principal::service("ann")));
}
