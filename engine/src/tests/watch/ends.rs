//! How a watch ends: a log that is not there any more, another one, a store that is gone,
//! a right that was taken away.

use std::sync::Arc;
use std::time::Duration;

use platform::sim::SimClock;
use proto::{Key, Request, Status};

use super::*;
use crate::{Call, Waits};

/// Writes, flushes and cuts until so many segments of the log were begun.
fn churn(engine: &Engine, rounds: u128) {
    let document = doc_of(3 << 10);
    for round in 0..rounds {
        let (store, key, document) = ("s", Key(round % 7), &document);
        done(engine, Request::Update { store, key, document, upsert: true });
        if round % 16 == 15 {
            done(engine, Request::Flush);
        }
    }
    done(engine, Request::Flush);
}

#[test]
fn a_log_that_does_not_reach_back_is_a_gap_with_its_ends() {
    let clock = Arc::new(SimClock::new(NOW));
    let mut options = synced();
    options.storage.wal_segment_bytes = 16 << 10;
    options.storage.wal_retain_bytes = 128 << 10;
    let engine = open_at(Arc::clone(&clock), SimDisk::new(1), options);
    done(&engine, create("s"));
    let start = watch(&engine, r#"{"stores": ["s"]}"#).next;
    let what = format!(r#"{{"stores": ["s"], "since": {start:?}}}"#);
    // Within what may be held back it is held for who has asked.
    churn(&engine, 24);
    assert!(watch(&engine, &what).events.len() >= 24);
    // Beyond it is not: whoever watches cannot fill the disk.
    churn(&engine, 200);
    let (status, message) = why(&engine, &what);
    assert_eq!(status, Status::WatchGap);
    let (oldest, newest) = (engine.lsm.oldest_lsn(), engine.lsm.last_lsn());
    assert!(message.contains(&format!("(oldest {oldest}, newest {newest})")), "{message}");
    assert!(engine.figures().unwrap().storage.wal_bytes < 256 << 10);
    assert_eq!(engine.figures().unwrap().watches.gaps, 1);
    // From the oldest on there is all of it; one before is a gap.
    let all = all_since(&engine, r#"["s"]"#, &(oldest - 1).to_string());
    assert_eq!(all.first().map(|e| e.lsn), Some(oldest as i64));
    assert_eq!(all.last().map(|e| e.lsn), Some(newest as i64));
    let (status, _) = why(&engine, &format!(r#"{{"stores": ["s"], "since": {}}}"#, oldest - 2));
    assert_eq!(status, Status::WatchGap);
    // Who has not asked for two minutes is not waited for.
    let since = format!(r#"{{"stores": ["s"], "since": {newest}}}"#);
    assert!(watch(&engine, &since).events.is_empty());
    clock.advance(Duration::from_secs(131));
    engine.tend().unwrap();
    churn(&engine, 30);
    assert_eq!(why(&engine, &since).0, Status::WatchGap);
}

#[test]
fn a_place_of_another_log_is_told_apart_from_a_gap() {
    let engine = told_at_once();
    let last = engine.lsm.last_lsn();
    assert!(watch(&engine, &format!(r#"{{"stores": ["s"], "since": {last}}}"#)).events.is_empty());
    let (status, message) = why(&engine, &format!(r#"{{"stores": ["s"], "since": {}}}"#, last + 1));
    assert_eq!(status, Status::WatchAhead);
    assert!(message.contains(&format!("no commit {} yet, the newest is {last}", last + 1)));
    let token = watch(&engine, r#"{"stores": ["s"]}"#).next;
    let (log, rest) = token.split_at(32);
    assert_eq!(log, engine.lsm.store_id().to_string());
    let other = format!("{}{rest}", "0".repeat(32));
    let (status, message) = why(&engine, &format!(r#"{{"stores": ["s"], "since": {other:?}}}"#));
    assert_eq!(status, Status::WatchAhead);
    assert!(message.contains("another database"), "{message}");
}

#[test]
fn a_store_is_watched_by_its_number_whatever_its_name() {
    let engine = told_at_once();
    done(&engine, create("t"));
    let token = watch(&engine, r#"{"stores": ["s", "t"]}"#).next;
    let what = format!(r#"{{"stores": ["s", "t"], "since": {token:?}}}"#);
    insert(&engine, 1, "{}");
    alter(&engine, "s", r#"{"rename": "u"}"#);
    assert_eq!(watch(&engine, &what).lines(), ["insert u 1 {}."]);
    // Another one of the name it had.
    done(&engine, create("s"));
    insert(&engine, 2, "{}");
    assert_eq!(watch(&engine, &what).lines(), ["insert u 1 {}."]);
    done(&engine, query("u.insert({a: 1})"));
    assert_eq!(watch(&engine, &what).events.len(), 2);
    done(&engine, drop_store("u"));
    let (status, message) = why(&engine, &what);
    assert!(status == Status::WatchEnded && message.contains("\"s\""), "{message}");
    done(&engine, create("u"));
    assert_eq!(why(&engine, &what).0, Status::WatchEnded);
    // The other one goes on by a watch of its own, from the same place.
    let lsn: i64 = token.split('.').nth(2).unwrap().parse().unwrap();
    done(&engine, query("t.insert({a: 1})"));
    assert_eq!(all_since(&engine, r#"["t"]"#, &lsn.to_string()).len(), 1);
    done(&engine, drop_store("t"));
    assert_eq!(why(&engine, r#"{"stores": ["t"]}"#).0, Status::UnknownStore);
}

#[test]
fn who_may_not_read_a_store_any_more_is_told_nothing_of_it() {
    let engine = told_at_once();
    done(&engine, create("t"));
    let key = "correct-horse-battery";
    let definition =
        doc(&format!(r#"{{"role": "none", "key": "{key}", "grants": {{"s": "read_only"}}}}"#));
    done(&engine, Request::CreateUser { user: "w", if_not_exists: false, definition: &definition });
    let who = engine.authenticate("w", key).unwrap();
    insert(&engine, 1, "{}");
    let status =
        |what: &str| asked(&engine, &who, what).map(|got| got.events.len()).map_err(|e| e.0);
    assert_eq!(status(r#"{"stores": ["s"], "since": 0}"#), Ok(1));
    assert_eq!(status(r#"{"stores": ["t"]}"#), Err(Status::Forbidden));
    assert_eq!(status(r#"{"stores": ["s", "t"]}"#), Err(Status::Forbidden));
    assert_eq!(status(r#"{"stores": ["none"]}"#), Err(Status::Forbidden));
    let token = asked(&engine, &who, r#"{"stores": ["s"], "since": 0}"#).unwrap().next;
    // A token gives no right, whatever stands in it.
    let others = token.replacen(".16.", ".17.", 1);
    assert_ne!(others, token);
    assert_eq!(
        status(&format!(r#"{{"stores": ["s"], "since": {others:?}}}"#)),
        Err(Status::Forbidden)
    );
    insert(&engine, 2, "{}");
    let what = format!(r#"{{"stores": ["s"], "since": {token:?}, "max_wait_ms": 9}}"#);
    assert_eq!(status(&what), Ok(1));
    done(&engine, Request::AlterUser { user: "w", change: &doc(r#"{"grants": {"s": null}}"#) });
    assert_eq!(status(&what), Err(Status::Forbidden));
    let mut out = Vec::new();
    let mut packet = Vec::new();
    Request::Watch { what: &doc(&what) }.encode(77, &mut packet);
    assert_eq!(
        engine.watch_or_wait(&who, &packet, (Some(1), true), &Call::default(), &mut out),
        None
    );
    assert!(matches!(said(&out), Said::Refused(Status::Forbidden, _)));
}

#[test]
fn without_events_it_says_what_to_wait_for() {
    let engine = told_at_once();
    let ask = |what: &str, behind: Option<u64>| {
        let (mut packet, mut out) = (Vec::new(), Vec::new());
        Request::Watch { what: &doc(what) }.encode(77, &mut packet);
        let waits =
            engine.watch_or_wait(&admin(), &packet, (behind, true), &Call::default(), &mut out);
        assert_eq!(waits.is_none(), !out.is_empty(), "answered, or not");
        (waits, out)
    };
    let what = r#"{"stores": [{"store": "s", "filter": "a = 1"}], "max_wait_ms": 70000}"#;
    let lsn = engine.lsm.last_lsn();
    let waits = Waits { behind: lsn, millis: 60_000 };
    assert_eq!(ask(what, None).0, Some(waits));
    // What came is filtered out: it goes on behind it.
    insert(&engine, 1, r#"{"a": 2}"#);
    let waits = Waits { behind: lsn + 1, millis: 60_000 };
    assert_eq!(ask(what, Some(lsn)).0, Some(waits));
    insert(&engine, 2, r#"{"a": 1}"#);
    let (waits, out) = ask(what, Some(lsn + 1));
    assert_eq!(waits, None);
    assert!(matches!(said(&out), Said::Document(text) if text.contains(r#""op":"insert""#)));
    let (mut packet, mut out) = (Vec::new(), Vec::new());
    Request::Watch { what: &doc(what) }.encode(77, &mut packet);
    let last = (Some(lsn + 2), false);
    assert_eq!(engine.watch_or_wait(&admin(), &packet, last, &Call::default(), &mut out), None);
    assert!(matches!(said(&out), Said::Document(text) if text.contains(r#""events":[]"#)));
    // Who may not wait is answered, other requests are, and what is refused is.
    assert_eq!(ask(r#"{"stores": ["s"]}"#, None).0, None);
    assert_eq!(ask(r#"{"stores": ["none"], "max_wait_ms": 100}"#, None).0, None);
    let (mut packet, mut out) = (Vec::new(), Vec::new());
    Request::Ping.encode(77, &mut packet);
    assert_eq!(
        engine.watch_or_wait(&admin(), &packet, (None, true), &Call::default(), &mut out),
        None
    );
    assert_eq!(said(&out), Said::Empty);
    let requests = engine.figures().unwrap();
    let watches = requests.operations.iter().find(|of| of.opcode == proto::Opcode::Watch);
    assert_eq!(
        watches.map(|of| of.requests),
        Some(3),
        "each counts once, however often it is asked"
    );
}
