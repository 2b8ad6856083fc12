//! Stores: made, listed, dropped, found by whoever looks at the right moment.

use proto::{Key, Request, Status};

use super::kit::*;
use crate::audit::Deed;
use crate::auth::Wanted;

fn list(engine: &crate::Engine) -> Vec<String> {
    match done(engine, Request::List) {
        Said::Rows(rows, None) => rows,
        other => panic!("{other:?}"),
    }
}

#[test]
fn stores_are_made_listed_and_dropped() {
    let engine = open();
    assert_eq!(list(&engine), Vec::<String>::new());
    assert_eq!(done(&engine, create("b")), Said::Empty);
    assert_eq!(done(&engine, create("a")), Said::Empty);
    let names: Vec<String> = list(&engine).iter().map(|row| row[..11].to_owned()).collect();
    assert_eq!(names, [r#"{"name":"a""#, r#"{"name":"b""#]);
    assert!(list(&engine)[0].contains("created_at"), "{:?}", list(&engine));
    assert_eq!(done(&engine, drop_store("b")), Said::Empty);
    assert_eq!(list(&engine).len(), 1);
}

#[test]
fn a_name_is_given_once_and_must_be_allowed() {
    let engine = with_store();
    refused(&engine, create("s"), Status::StoreExists, &["\"s\"", "if_not_exists"]);
    let lsn = engine.lsm.last_lsn();
    done(&engine, Request::CreateStore { store: "s", if_not_exists: true });
    assert_eq!(engine.lsm.last_lsn(), lsn, "nothing was to be done");
    refused(&engine, create("_s"), Status::BadName, &["kept for the system", "letters"]);
    refused(&engine, create("a b"), Status::BadName, &["1 to 64 letters"]);
    let long = "x".repeat(60_000);
    refused(&engine, create(&long), Status::BadName, &["xx..", "too long"]);
}

#[test]
fn an_unknown_store_is_named_by_every_operation() {
    let engine = with_store();
    let (batch, document) = (batch(&[(None, "{}")]), doc("{}"));
    let (store, key) = ("nope", Key(1));
    for request in [
        drop_store(store),
        Request::Insert { store, key: None, document: &document },
        Request::BatchInsert { store, batch: batch.as_batch() },
        Request::Read { store, key },
        Request::Update { store, key, document: &document, upsert: true },
        Request::Delete { store, key },
        Request::Scan { store, after: None, limit: 0, reverse: false },
        Request::Range { store, from: key, to: key, limit: 0, reverse: false },
        query("nope.count()"),
        query("nope.insert({})"),
        query("nope.filter(a = 1).set({a: 2})"),
        query("nope.filter(a = 1).delete()"),
        query("nope.get('00000000000000000000000000000001')"),
    ] {
        refused(&engine, request, Status::UnknownStore, &["\"nope\"", "create it"]);
    }
    done(&engine, Request::DropStore { store, if_exists: true });
}

#[test]
fn a_store_made_again_is_empty_and_lies_elsewhere() {
    let engine = with_store();
    insert(&engine, 1, "{}");
    let first = engine.catalogs.read().stores["s"].keyspace;
    done(&engine, drop_store("s"));
    done(&engine, create("s"));
    assert_ne!(engine.catalogs.read().stores["s"].keyspace, first);
    assert_eq!(all(&engine), Vec::<String>::new());
    refused(&engine, read(1), Status::NotFound, &[]);
}

#[test]
fn who_loaded_the_catalog_before_a_change_finds_what_its_snapshot_has() {
    let engine = with_store();
    let before = engine.catalogs.read();
    let snapshot = engine.lsm.snapshot().unwrap();
    done(&engine, drop_store("s"));
    done(&engine, create("t"));

    // The old catalog with a snapshot taken since: as after the changes.
    let now = engine.lsm.snapshot().unwrap();
    let refusal = engine.catalogs.resolve(&before, &now, Wanted::own("s")).unwrap_err();
    assert_eq!(refusal.status, Status::UnknownStore);
    assert!(engine.catalogs.resolve(&before, &now, Wanted::own("t")).is_ok());
    // With the old snapshot: as before them.
    assert!(engine.catalogs.resolve(&before, &snapshot, Wanted::own("s")).is_ok());
    assert!(engine.catalogs.resolve(&before, &snapshot, Wanted::own("t")).is_err());
    assert!(engine.catalogs.resolve(&before, &now, Wanted::own(&"t".repeat(5000))).is_err());
}

#[test]
fn a_write_that_meets_a_drop_is_refused_or_dropped_with_the_store() {
    let engine = open();
    for round in 0..30u128 {
        done(&engine, create("s"));
        let document = doc("{}");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0..20 {
                    let key = Some(Key(round * 100 + n));
                    match ask(&engine, Request::Insert { store: "s", key, document: &document }) {
                        Said::Key(_) | Said::Refused(Status::UnknownStore, _) => {}
                        other => panic!("{other:?}"),
                    }
                }
            });
            scope.spawn(|| done(&engine, drop_store("s")));
        });
    }
    // No keyspace ever given holds a document now.
    let snapshot = engine.lsm.snapshot().unwrap();
    for number in 16..46 {
        let all = std::ops::Bound::Unbounded;
        let mut cursor =
            snapshot.range(lsm::KeyspaceId(number), all, all, lsm::Direction::Forward).unwrap();
        assert!(!cursor.advance().unwrap(), "keyspace {number} holds a document for ever");
    }
}

#[test]
fn the_number_of_stores_is_bounded() {
    let engine = open();
    for n in 0..crate::catalog::MAX_STORES {
        done(&engine, create(&format!("s{n}")));
    }
    refused(&engine, create("more"), Status::LimitReached, &["4096 stores", "drop some"]);
    done(&engine, drop_store("s17"));
    done(&engine, create("more"));
}

#[test]
fn a_store_is_described_with_its_schema_as_it_was_set() {
    let engine = with_store();
    insert(&engine, 1, "{}");
    let alter = |change: &str| {
        done(&engine, Request::AlterStore { store: "s", change: &doc(change) });
    };
    let describe = || match done(&engine, Request::DescribeStore { store: "s" }) {
        Said::Document(text) => text,
        other => panic!("{other:?}"),
    };
    assert_eq!(vec![describe()], list(&engine), "without a schema it is the row of the list");
    alter(r#"{"schema": "{ \"required\" :[]}", "ttl": {"field": "at", "seconds": 60}}"#);
    let text = describe();
    assert!(text.contains(r#""schema":"{ \"required\" :[]}""#), "{text}");
    assert!(text.contains(r#""ttl":{"field":"at","seconds":60}"#), "{text}");
    assert!(list(&engine)[0].contains(r#""schema":true,"#), "the list has its text for none");
    assert!(text.contains(r#""documents":1"#) && text.contains(r#""name":"_ttl""#), "{text}");
    refused(
        &engine,
        Request::DescribeStore { store: "t" },
        Status::UnknownStore,
        &["\"t\"", "create it"],
    );

    // The longest schema does not fit the shortest message.
    let limits = crate::Limits {
        max_message_size: 64 << 10,
        max_document_size: 1 << 10,
        max_batch_size: 10,
        ..crate::Limits::default()
    };
    let engine = open_with(limits);
    let schema = format!(r#"{{"title":"{}"}}"#, "x".repeat((64 << 10) - 12));
    let set = |draft: &mut crate::catalog::Draft| {
        draft.set_schema("s", Some(crate::catalog::Schema::parse(&schema)?))
    };
    engine.catalogs.change(&engine.lsm, &Deed::unseen(), set).unwrap();
    let words = &["raise limits.max_message_size"];
    let describe = Request::DescribeStore { store: "s" };
    refused(&engine, describe, Status::ResultTooLarge, words);
}
