//! What is told of a write: which operation, of which document, as it is and was.

use proto::{Key, Request, Status};

use super::*;
use crate::tests::transactions::{begin_as, within_as};

#[test]
fn each_operation_is_told_as_what_it_was_commit_by_commit() {
    let engine = told_at_once();
    done(&engine, create("other"));
    let since = watch(&engine, r#"{"stores": ["s"]}"#);
    assert!(since.events.is_empty());
    insert(&engine, 1, r#"{"a":1}"#);
    update(&engine, 1, r#"{"a":2}"#);
    update(&engine, 2, r#"{"a":3}"#);
    delete(&engine, 1);
    let batch = batch(&[(Some(5), r#"{"a":5}"#), (Some(6), "{}"), (Some(7), "{}")]);
    done(&engine, Request::BatchInsert { store: "s", batch: batch.as_batch() });
    done(&engine, query("s.filter(a = 5).set({a: 6})"));
    done(&engine, query("s.filter(not a exists).delete()"));
    done(&engine, query("other.insert({a: 1})"));
    let got = watch(&engine, &format!(r#"{{"stores": ["s"], "since": {:?}}}"#, since.next));
    let lines = [
        r#"insert s 1 {"a":1}."#,
        r#"update s 1 {"a":2}."#,
        r#"insert s 2 {"a":3}."#,
        "delete s 1.",
        r#"insert s 5 {"a":5}"#,
        "insert s 6 {}",
        "insert s 7 {}.",
        r#"update s 5 {"a":6}."#,
        "delete s 6",
        "delete s 7.",
    ];
    assert_eq!(got.lines(), lines);
    let place = |nth: usize| (got.events[nth].lsn, got.events[nth].at);
    let lsn = place(0).0;
    assert_eq!([place(3), place(4), place(6)], [(lsn + 3, 1), (lsn + 4, 1), (lsn + 4, 3)]);
    // What changed elsewhere is behind it too.
    assert_eq!(got.durable, lsn + 7);
    assert!(got.next.ends_with(&format!(".{}.0", lsn + 7)));
    assert!(
        watch(&engine, &format!(r#"{{"stores": ["s"], "since": {:?}}}"#, got.next))
            .events
            .is_empty()
    );
    // A number of a commit is a place as well; two stores are told of in one order.
    done(&engine, query("s.insert({a: 1})"));
    let both = all_since(&engine, r#"["other", "s"]"#, &format!("{}", lsn + 6));
    let stores: Vec<&str> = both.iter().map(|event| event.store.as_str()).collect();
    assert_eq!(stores, ["other", "s"]);
    let figures = engine.figures().unwrap().watches;
    assert_eq!((figures.events, figures.gaps), (12, 0));
    assert!(figures.bytes >= got.bytes as u64 - 100 && figures.pages >= 4);
}

#[test]
fn a_transaction_is_one_commit_with_what_came_of_each_document() {
    let engine = told_at_once();
    alter(&engine, "s", r#"{"before_images": true}"#);
    for key in 1..=4 {
        insert(&engine, key, r#"{"a":0}"#);
    }
    let since = engine.lsm.last_lsn();
    let number = begin_as(&engine, &admin(), false, 0);
    let within = |request| {
        let said = within_as(&engine, &admin(), number, request);
        assert!(!matches!(said, Said::Refused(..)), "{said:?}");
    };
    let (one, two) = (doc(r#"{"a":1}"#), doc(r#"{"a":2}"#));
    let put = |key, document| Request::Update { store: "s", key: Key(key), document, upsert: true };
    within(put(1, &one));
    within(put(1, &two));
    within(Request::Delete { store: "s", key: Key(2) });
    within(put(2, &one));
    within(put(3, &one));
    within(Request::Delete { store: "s", key: Key(3) });
    within(put(9, &one));
    within(put(9, &two));
    within(put(8, &one));
    within(Request::Delete { store: "s", key: Key(8) });
    // Gone back on: it leaves no trace, and no value before.
    let said = ask(&engine, Request::Savepoint { transaction: number });
    assert_eq!(said, Said::Count(1));
    within(put(4, &two));
    done(&engine, Request::Rollback { transaction: number, savepoint: 1 });
    done(&engine, Request::Commit { transaction: number });
    let stores = r#"[{"store": "s", "before": true}]"#;
    let events = all_since(&engine, stores, &format!("{since}"));
    let lines: Vec<String> = events.iter().map(Event::line).collect();
    let want = [
        r#"update s 1 {"a":2} was {"a":0}"#,
        r#"update s 2 {"a":1} was {"a":0}"#,
        r#"delete s 3 was {"a":0}"#,
        r#"insert s 9 {"a":2}."#,
    ];
    assert_eq!(lines, want);
}

#[test]
fn a_filter_is_asked_of_what_is_and_of_what_was() {
    let engine = told_at_once();
    let filtered =
        r#"[{"store": "s", "filter": "a > $1", "parameters": {"1": 5}, "before": true}]"#;
    let (status, message) = why(&engine, &format!(r#"{{"stores": {filtered}}}"#));
    assert_eq!(status, Status::NoBeforeImages);
    assert!(message.contains("AlterStore {before_images: true}"), "{message}");

    // Without: what leaves is not seen, what is deleted is.
    let changes = |key: u128| {
        insert(&engine, key, r#"{"a":1}"#);
        update(&engine, key, r#"{"a":7}"#);
        update(&engine, key, r#"{"a":8}"#);
        update(&engine, key, r#"{"a":2}"#);
        update(&engine, key, r#"{"a":3}"#);
        delete(&engine, key);
        insert(&engine, key, r#"{"a":9}"#);
        delete(&engine, key);
    };
    let since = engine.lsm.last_lsn().to_string();
    changes(1);
    let plain = r#"[{"store": "s", "filter": "a > $1", "parameters": {"1": 5}}]"#;
    let lines = |stores: &str, since: &str| {
        let events = all_since(&engine, stores, since);
        events.iter().map(Event::line).collect::<Vec<_>>()
    };
    let want = [
        r#"update s 1 {"a":7}."#,
        r#"update s 1 {"a":8}."#,
        "delete s 1.",
        r#"insert s 1 {"a":9}."#,
        "delete s 1.",
    ];
    assert_eq!(lines(plain, &since), want);

    alter(&engine, "s", r#"{"before_images": true}"#);
    let since = engine.lsm.last_lsn().to_string();
    changes(2);
    let want = [
        r#"update s 2 {"a":7} enters."#,
        r#"update s 2 {"a":8} was {"a":7}."#,
        r#"update s 2 was {"a":8} leaves."#,
        r#"insert s 2 {"a":9}."#,
        r#"delete s 2 was {"a":9}."#,
    ];
    assert_eq!(lines(filtered, &since), want);
    // Kept though not asked for: the same events, without what was.
    let want = [
        r#"update s 2 {"a":7} enters."#,
        r#"update s 2 {"a":8}."#,
        "update s 2 leaves.",
        r#"insert s 2 {"a":9}."#,
        "delete s 2.",
    ];
    assert_eq!(lines(plain, &since), want);

    // Every way to write keeps it, an index or not; and none does any more.
    insert(&engine, 3, r#"{"a":6}"#);
    let since = engine.lsm.last_lsn().to_string();
    done(&engine, query("s.filter(a = 6).set({a: 7})"));
    done(&engine, query("s.filter(a = 7).delete()"));
    let lines_of = |from: &str| lines(r#"[{"store": "s", "before": true}]"#, from);
    let want = [r#"update s 3 {"a":7} was {"a":6}."#, r#"delete s 3 was {"a":7}."#];
    assert_eq!(lines_of(&since), want);
    alter(&engine, "s", r#"{"before_images": false}"#);
    assert_eq!(
        why(&engine, r#"{"stores": [{"store": "s", "before": true}]}"#).0,
        Status::NoBeforeImages
    );
    let since = engine.lsm.last_lsn().to_string();
    update(&engine, 3, "{}");
    update(&engine, 3, "{}");
    assert_eq!(lines(r#"["s"]"#, &since), ["insert s 3 {}.", "update s 3 {}."]);
    alter(&engine, "s", r#"{"before_images": true}"#);
    // From before it was kept: what was is not known, and not told.
    assert_eq!(lines_of(&since), ["insert s 3 {}.", "update s 3 {}."]);
}

#[test]
fn operations_keys_and_fields_are_chosen() {
    let engine = told_at_once();
    let since = engine.lsm.last_lsn().to_string();
    for key in 1..=4 {
        insert(&engine, key, &format!(r#"{{"a":{key},"b":{{"c":1,"d":2}}}}"#));
    }
    update(&engine, 2, r#"{"a":9}"#);
    delete(&engine, 3);
    let lines = |words: &str| {
        let events = all_since(&engine, &format!(r#"[{{"store": "s", {words}}}]"#), &since);
        events.iter().map(Event::line).collect::<Vec<_>>()
    };
    assert_eq!(lines(r#""operations": ["delete"]"#), ["delete s 3."]);
    assert_eq!(lines(r#""operations": ["update"], "fields": ["b.c"]"#), ["update s 2 {}."]);
    let key = |key: u128| Key(key).to_string();
    let range = format!(r#""from": "{}", "to": "{}", "operations": ["insert"]"#, key(2), key(3));
    let fields = r#""fields": ["b.c", "key"]"#;
    let want = |n: u128| format!(r#"insert s {n} {{"b.c":1,"key":"{}"}}."#, key(n));
    assert_eq!(lines(&format!("{range}, {fields}")), [want(2), want(3)]);
    let from = format!(r#""from": "{}""#, key(4));
    assert_eq!(lines(&from).len(), 1);
    assert_eq!(lines(r#""filter": "b.d = 2", "fields": ["a"]"#)[0], r#"insert s 1 {"a":1}."#);
}

#[test]
fn what_is_not_said_as_it_must_be_is_refused_by_name() {
    let engine = told_at_once();
    let many: Vec<String> = (0..65).map(|n| format!(r#""s{n}""#)).collect();
    for (what, words) in [
        ("{}", "no store is named"),
        (r#"{"stores": []}"#, "no store is named"),
        (r#"{"stores": ["s", "s"]}"#, "named twice"),
        (&format!(r#"{{"stores": [{}]}}"#, many.join(",")), "at most 64"),
        (r#"{"stores": [1]}"#, "no int32"),
        (r#"{"stores": [{"filter": "a = 1"}]}"#, "has no name"),
        (r#"{"stores": [{"store": "s", "sort": 1}]}"#, "no \"sort\""),
        (r#"{"stores": [{"store": "s", "operations": []}]}"#, "no operation is wanted"),
        (r#"{"stores": [{"store": "s", "operations": ["drop"]}]}"#, "operations are"),
        (r#"{"stores": [{"store": "s", "filter": "a >"}]}"#, "filter and fields"),
        (r#"{"stores": [{"store": "s", "filter": "a = 1).limit(1"}]}"#, "nothing more"),
        (r#"{"stores": [{"store": "s", "filter": "a = 1).delete("}]}"#, "nothing more"),
        (r#"{"stores": [{"store": "s", "filter": "a = 1).pluck(a"}]}"#, "nothing more"),
        (r#"{"stores": [{"store": "s", "filter": "a = $1"}]}"#, "$1"),
        (r#"{"stores": [{"store": "s", "parameters": {"1": 1}}]}"#, "no filter"),
        (r#"{"stores": [{"store": "s", "fields": []}]}"#, "one path or more"),
        (r#"{"stores": [{"store": "s", "from": "1"}]}"#, "1"),
        (r#"{"stores": ["s"], "since": "x"}"#, "no token"),
        (r#"{"stores": ["s"], "since": -1}"#, "no \"since\" of type"),
        (r#"{"stores": ["s"], "max_bytes": 0}"#, "no \"max_bytes\""),
        (r#"{"stores": ["s"], "max_wait_ms": -1}"#, "no \"max_wait_ms\""),
        (r#"{"stores": ["s"], "until": 1}"#, "no \"until\""),
    ] {
        let (status, message) = why(&engine, what);
        assert!(message.contains(words), "{what}: {message}");
        assert_eq!(status, Status::BadWatch, "{what}");
    }
    assert_eq!(why(&engine, r#"{"stores": ["none"]}"#).0, Status::UnknownStore);
    // As long as it may be, and a byte longer.
    let long = |bytes: usize| {
        let text = |n: usize| {
            let words = "x".repeat(n);
            format!(
                r#"{{"stores": [{{"store": "s", "filter": "a = $1", "parameters": {{"1": "{words}"}}}}]}}"#
            )
        };
        let around = doc(&text(0)).len();
        asked(&engine, &admin(), &text(bytes - around)).map(|got| got.events.len())
    };
    assert_eq!(long(64 << 10), Ok(0));
    let (status, message) = long((64 << 10) + 1).unwrap_err();
    assert!(status == Status::BadWatch && message.contains("65537 bytes"), "{message}");
    let token = watch(&engine, r#"{"stores": ["s"]}"#).next;
    let (status, message) =
        why(&engine, &format!(r#"{{"stores": ["s", "t"], "since": {token:?}}}"#));
    assert!(
        status == Status::BadWatch && message.contains("a watch of 1 stores, and 2"),
        "{message}"
    );
    // It is no part of a transaction.
    let number = begin_as(&engine, &admin(), false, 0);
    let what = doc(r#"{"stores": ["s"]}"#);
    let said = within_as(&engine, &admin(), number, Request::Watch { what: &what });
    assert!(matches!(said, Said::Refused(Status::NotInTransaction, _)), "{said:?}");
}

#[test]
fn documents_that_fit_no_page_are_left_out_and_it_says_so() {
    let mut options = synced();
    options.limits.max_batch_size = 100;
    (options.limits.max_message_size, options.limits.max_document_size) = (64 << 10, 40 << 10);
    let engine = open_on(SimDisk::new(1), options);
    done(&engine, create("s"));
    alter(&engine, "s", r#"{"before_images": true}"#);
    let since = engine.lsm.last_lsn().to_string();
    let large = doc_of(40 << 10);
    for upsert in [true, false] {
        done(&engine, Request::Update { store: "s", key: Key(1), document: &large, upsert });
    }
    let events = all_since(&engine, r#"[{"store": "s", "before": true}]"#, &since);
    let parts = |e: &Event| (e.document.is_some(), e.before.is_some(), e.says.clone());
    assert_eq!(parts(&events[0]), (true, false, String::new()));
    assert_eq!(parts(&events[1]), (true, false, " omitted".to_owned()));

    // As deep as a page can have it, and deeper.
    let nested = |depth: usize| format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
    let since = engine.lsm.last_lsn().to_string();
    update(&engine, 1, &nested(61));
    update(&engine, 1, &nested(62));
    update(&engine, 1, &nested(64));
    let events = all_since(&engine, r#"["s"]"#, &since);
    let parts: Vec<_> = events.iter().map(|e| (e.document.is_some(), e.says.as_str())).collect();
    assert_eq!(parts, [(true, ""), (false, " omitted"), (false, " omitted")]);
}
