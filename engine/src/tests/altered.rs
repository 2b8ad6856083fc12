//! Stores that are renamed, ask for documents as a schema says, and let them expire.

use std::sync::Arc;
use std::time::Duration;

use platform::sim::{SimClock, SimDisk, SimEntropy};
use proto::{Key, Request, Status};

use super::indexes::{alter, built, entries, listed, put, settle};
use super::kit::*;
use crate::Engine;

#[test]
fn a_renamed_store_keeps_everything() {
    let disk = SimDisk::new(1);
    let engine = open_on(disk.clone(), options());
    done(&engine, create("s"));
    done(&engine, create("t"));
    insert(&engine, 1, r#"{"m":1}"#);
    built(&engine, r#"{"name": "i", "fields": ["m"], "unique": true}"#);
    let words = |said| match said {
        Said::Refused(status, message) => (status, message),
        other => panic!("{other:?}"),
    };
    assert_eq!(words(alter(&engine, "s", r#"{"rename":"t"}"#)).0, Status::StoreExists);
    assert_eq!(words(alter(&engine, "s", r#"{"rename":"_x"}"#)).0, Status::BadName);
    assert_eq!(words(alter(&engine, "x", r#"{"rename":"y"}"#)).0, Status::UnknownStore);
    assert_eq!(words(alter(&engine, "s", r#"{}"#)).0, Status::BadChange);
    assert_eq!(words(alter(&engine, "s", r#"{"renam":"y"}"#)).0, Status::BadChange);
    assert_eq!(alter(&engine, "s", r#"{"rename":"r"}"#), Said::Empty);
    refused(&engine, read(1), Status::UnknownStore, &["\"s\""]);
    for engine in [engine, open_on(disk.kill(), options())] {
        assert_eq!(done(&engine, query("r.count()")), Said::Count(1));
        let document = doc(r#"{"m":1}"#);
        let request = Request::Insert { store: "r", key: None, document: &document };
        refused(&engine, request, Status::NotUnique, &["\"i\""]);
    }
}

#[test]
fn documents_expire_by_their_date_and_no_other() {
    let clock = Arc::new(SimClock::new(NOW));
    let entropy = Arc::new(SimEntropy::new(1));
    let engine =
        Engine::open(SimDisk::new(1), Arc::clone(&clock) as _, entropy, options()).unwrap();
    done(&engine, create("s"));
    let at = |seconds: i64| {
        let millis = NOW as i64 / 1000 + seconds * 1000;
        format!(r#"{{"$date":{{"$numberLong":"{millis}"}}}}"#)
    };
    for key in 0..150 {
        insert(&engine, key, &format!(r#"{{"d":{}}}"#, at(-100)));
    }
    insert(&engine, 200, &format!(r#"{{"d":{}}}"#, at(-50)));
    insert(&engine, 201, &format!(r#"{{"d":[{},{}]}}"#, at(500), at(-40)));
    insert(&engine, 202, r#"{"d":"2001-01-01"}"#);
    insert(&engine, 203, r#"{"d":5}"#);
    insert(&engine, 204, "{}");
    for wrong in [
        r#"{"ttl":{"field":"d"}}"#,
        r#"{"ttl":{"field":"d","seconds":-1}}"#,
        r#"{"ttl":{"field":"key","seconds":1}}"#,
        r#"{"ttl":{"field":"d","seconds":1,"x":1}}"#,
        r#"{"ttl":5}"#,
    ] {
        let said = alter(&engine, "s", wrong);
        assert!(matches!(said, Said::Refused(Status::BadChange, _)), "{wrong}: {said:?}");
    }
    assert_eq!(alter(&engine, "s", r#"{"ttl":{"field":"d","seconds":60}}"#), Said::Empty);
    settle(&engine);
    assert_eq!(all(&engine).len(), 5);
    assert_eq!(entries(&engine, "_ttl"), 6);
    clock.advance(Duration::from_secs(9));
    assert!(!engine.tend().unwrap());
    clock.advance(Duration::from_secs(1));
    settle(&engine);
    assert_eq!(all(&engine).len(), 4);
    clock.advance(Duration::from_secs(10));
    settle(&engine);
    assert_eq!(all(&engine).len(), 3);
    // The index goes with the rule, and not before.
    let drop = Request::DropIndex { store: "s", index: "_ttl", if_exists: false };
    refused(&engine, drop, Status::BadIndex, &["expire by this index"]);
    assert!(listed(&engine).contains(r#""ttl":{"field":"d","seconds":60}"#));
    assert_eq!(alter(&engine, "s", r#"{"ttl":null}"#), Said::Empty);
    assert!(!listed(&engine).contains("ttl"), "{}", listed(&engine));
    assert_eq!(engine.compare_indexes("s", None).unwrap().1.kept, []);
}

#[test]
fn a_schema_is_asked_of_every_write() {
    let disk = SimDisk::new(1);
    let engine = open_on(disk.clone(), options());
    done(&engine, create("s"));
    insert(&engine, 1, r#"{"old":true}"#);
    for (wrong, words) in [
        (r#"{"schema":"{"}"#, "it is no JSON"),
        (r#"{"schema":"[]"}"#, "must be an object"),
        (r#"{"schema":"{\"type\":\"nonsense\"}"}"#, "at /type: "),
        (r#"{"schema":"{\"properties\":{\"a\":{\"pattern\":\"(?=x)\"}}}"}"#, "the schema: "),
        (r#"{"schema":"{\"$ref\":\"file:///etc/passwd\"}"}"#, "the schema: "),
        (r#"{"schema":"{\"$ref\":\"https://example.com/x\"}"}"#, "the schema: "),
        (r#"{"schema":5}"#, "schema"),
    ] {
        match alter(&engine, "s", wrong) {
            Said::Refused(Status::BadChange, message) => {
                assert!(message.contains(words), "{wrong}: {message}");
            }
            other => panic!("{wrong}: {other:?}"),
        }
    }
    let schema = r#"{"required":["name"],"properties":{"name":{"type":"string"},
        "tags":{"items":{"pattern":"^[a-z]+$"}},"at":{"type":"string","format":"date-time"},
        "price":{"type":"number","minimum":0}}}"#;
    let mut change = proto::doc::DocBuf::new();
    change.push("schema", schema);
    let change = change.finish().unwrap();
    done(&engine, Request::AlterStore { store: "s", change: &change });
    assert!(listed(&engine).contains(r#""schema":true"#), "{}", listed(&engine));
    let mut engine = engine;
    for reopened in [false, true] {
        if reopened {
            engine = open_on(disk.kill(), options());
        }
        let wrong = |text: &str, words: &[&str]| {
            let document = doc(text);
            let (key, document) = (Key(9), &document[..]);
            let request = Request::Update { store: "s", key, document, upsert: true };
            refused(&engine, request, Status::SchemaMismatch, words);
        };
        wrong("{}", &["\"name\" is a required", &Key(9).to_string()]);
        wrong(r#"{"name":5}"#, &["at /name: ", "string"]);
        wrong(r#"{"name":"a","tags":["b","C"]}"#, &["at /tags/1: "]);
        wrong(r#"{"name":"a","price":{"$numberDecimal":"-1.5"}}"#, &["at /price: "]);
        let set = query("s.filter(old = true).set({name: 7})");
        refused(&engine, set, Status::SchemaMismatch, &["at /name"]);
        let date = r#"{"name":"a","at":{"$date":"2013-01-01T05:15:00Z"},"price":1}"#;
        assert_eq!(put(&engine, 9, date), Said::Key(Key(9)));
        done(&engine, Request::Delete { store: "s", key: Key(9) });
        // What was there before stays, and can go.
        assert_eq!(all(&engine).len(), 1);
    }
}

#[test]
fn a_schema_that_names_itself_ends() {
    let engine = with_store();
    let said = alter(&engine, "s", r##"{"schema":"{\"$ref\":\"#\"}"}"##);
    if said == Said::Empty {
        assert_eq!(put(&engine, 1, r#"{"a":{"b":1}}"#), Said::Key(Key(1)));
    }
    let deep = r##"{"schema":"{\"additionalProperties\":{\"$ref\":\"#\"},\"type\":\"object\"}"}"##;
    assert_eq!(alter(&engine, "s", deep), Said::Empty);
    let text = format!("{}{}", r#"{"a":"#.repeat(60), "{}".to_owned() + &"}".repeat(60));
    assert_eq!(put(&engine, 2, &text), Said::Key(Key(2)));
    let said = put(&engine, 3, r#"{"a":{"b":1}}"#);
    assert!(matches!(said, Said::Refused(Status::SchemaMismatch, _)), "{said:?}");
}
