//! Documents against the `bson` crate, arbitrary bytes, and literal bytes.

mod common;

use bson::{Bson, doc};
use common::{bytes, document, name, regex};
use proptest::prelude::*;
use proto::doc::{Array, Arrays, Binary, Change, Doc, DocBuf, DocError, ObjectId, Regex, Value};
use std::ops::ControlFlow;

/// What the oracle would hold for one of our values.
fn theirs(value: Value<'_>) -> Bson {
    match value {
        Value::MinKey => Bson::MinKey,
        Value::Null => Bson::Null,
        Value::Int32(n) => Bson::Int32(n),
        Value::Int64(n) => Bson::Int64(n),
        Value::Double(d) => Bson::Double(d),
        Value::Decimal128(d) => Bson::Decimal128(bson::Decimal128::from_bytes(d.to_bytes())),
        Value::String(s) => Bson::String(s.to_owned()),
        Value::Doc(d) => Bson::Document(d.iter().map(|(n, v)| (n.to_owned(), theirs(v))).collect()),
        Value::Array(a) => Bson::Array(a.iter().map(theirs).collect()),
        Value::Binary(b) => {
            Bson::Binary(bson::Binary { subtype: b.subtype.into(), bytes: b.bytes.to_vec() })
        }
        Value::ObjectId(ObjectId(id)) => Bson::ObjectId(bson::oid::ObjectId::from_bytes(id)),
        Value::Bool(b) => Bson::Boolean(b),
        Value::DateTime(t) => Bson::DateTime(bson::DateTime::from_millis(t)),
        Value::Timestamp(t) => {
            Bson::Timestamp(bson::Timestamp { time: (t >> 32) as u32, increment: t as u32 })
        }
        Value::Regex(r) => Bson::RegularExpression(regex(r.pattern, r.options)),
        Value::MaxKey => Bson::MaxKey,
    }
}

/// Touches everything a document offers.
fn read_everything(doc: Doc<'_>, depth: usize) {
    for (name, value) in doc {
        assert!(doc.contains(name));
        match value {
            Value::Doc(inner) if depth < 70 => read_everything(inner, depth + 1),
            Value::Array(inner) => inner.iter().for_each(|item| {
                assert!(!item.type_name().is_empty());
            }),
            _ => {}
        }
    }
    let all = |arrays| doc.path_all("a.b.0.a", arrays).len();
    assert!(all(Arrays::Whole) <= all(Arrays::Both));
    assert!(doc.len() >= doc.iter().count());
    // Either is fine; it must only not panic.
    let changed = doc.with(&[Change::Set("a.b", Value::Null), Change::Unset("c.0")]);
    if let Ok(bytes) = changed {
        assert!(Doc::parse(&bytes).is_ok());
    }
}

proptest! {
    #[test]
    fn given_the_oracle_s_document_when_read_then_every_value_is_the_same(document in document()) {
        let bytes = bytes(&document);
        let ours = Doc::parse(&bytes).expect("well formed");
        // NaN is not itself, so bytes are compared.
        let read = theirs(Value::Doc(ours));
        let again = common::bytes(read.as_document().expect("a document"));
        prop_assert_eq!(&again, &bytes);
        for (name, value) in &document {
            let got = ours.get(name).map(theirs).expect("the field is there");
            prop_assert_eq!(common::bytes(&doc! { "v": got }), common::bytes(&doc! { "v": value.clone() }));
        }
    }

    #[test]
    fn given_values_when_built_then_the_oracle_reads_the_same(document in document()) {
        let bytes = bytes(&document);
        let mut built = DocBuf::new();
        built.extend(Doc::trusted(&bytes));
        let built = built.finish().expect("no fault");
        prop_assert_eq!(&built, &bytes);
        let raw = bson::RawDocumentBuf::from_bytes(built).expect("the oracle reads it");
        let theirs = bson::Document::try_from(raw.as_ref()).expect("the oracle parses it");
        prop_assert_eq!(common::bytes(&theirs), bytes);
    }

    #[test]
    fn given_any_bytes_when_read_then_nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(doc) = Doc::parse(&bytes) {
            read_everything(doc, 0);
        }
        read_everything(Doc::trusted(&bytes), 0);
    }

    #[test]
    fn given_a_damaged_document_when_read_then_nothing_panics_and_parsed_is_what_the_oracle_takes(
        document in document(), damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(), cuts in any::<bool>(),
    ) {
        let mut bytes = bytes(&document);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if cuts {
            bytes.truncate(cut.index(bytes.len()));
        }
        read_everything(Doc::trusted(&bytes), 0);
        if let Ok(doc) = Doc::parse(&bytes) {
            read_everything(doc, 0);
            let raw = bson::RawDocument::from_bytes(&bytes).expect("ours is the stricter");
            prop_assert!(bson::Document::try_from(raw).is_ok());
        }
    }

    #[test]
    fn given_fields_when_one_is_set_and_one_unset_then_it_is_what_the_oracle_s_map_does(
        document in document(), set in name(), unset in name(), n: i32,
    ) {
        prop_assume!(set != unset && ![&set, &unset].iter().any(|n| n.is_empty() || n.contains('.')));
        let bytes = bytes(&document);
        let changed = Doc::trusted(&bytes)
            .with(&[Change::Set(&set, Value::Int32(n)), Change::Unset(&unset)])
            .expect("both are simple");
        let mut expected = document;
        expected.remove(&unset);
        expected.insert(set, n);
        // The oracle's map swaps on removal in no order we promise; compare as maps.
        let ours = bson::Document::try_from(bson::RawDocument::from_bytes(&changed).expect("valid"))
            .expect("valid");
        prop_assert_eq!(ours.len(), expected.len());
        for (name, value) in &expected {
            let got = ours.get(name).cloned().expect("there");
            prop_assert_eq!(common::bytes(&doc! { "v": got }), common::bytes(&doc! { "v": value.clone() }));
        }
    }
}

#[test]
fn given_one_value_of_each_type_when_built_then_the_bytes_are_these() {
    let mut doc = DocBuf::new();
    doc.push("a", 1).push("b", 2i64).push("c", 1.5).push("d", "hi").push("e", true);
    doc.push("f", Value::Null).push("g", Value::DateTime(-1)).push("h", ObjectId([7; 12]));
    doc.push("i", Binary { subtype: 4, bytes: &[1, 2] });
    doc.push("j", Regex { pattern: "^x", options: "i" }).push("k", Value::Timestamp(1 << 32 | 2));
    doc.push("l", "1.5".parse::<proto::doc::Decimal128>().expect("a decimal"));
    doc.push("m", Value::MinKey).push("n", Value::MaxKey);
    doc.array("o", |items| {
        items.item(3).item_doc(|inner| {
            inner.push("", false);
        });
    });
    let expected: &[u8] = b"\x9d\0\0\0\
        \x10a\0\x01\0\0\0\
        \x12b\0\x02\0\0\0\0\0\0\0\
        \x01c\0\0\0\0\0\0\0\xf8\x3f\
        \x02d\0\x03\0\0\0hi\0\
        \x08e\0\x01\
        \x0af\0\
        \x09g\0\xff\xff\xff\xff\xff\xff\xff\xff\
        \x07h\0\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\
        \x05i\0\x02\0\0\0\x04\x01\x02\
        \x0bj\0^x\0i\0\
        \x11k\0\x02\0\0\0\x01\0\0\0\
        \x13l\0\x0f\0\0\0\0\0\0\0\0\0\0\0\0\0\x3e\x30\
        \xffm\0\
        \x7fn\0\
        \x04o\0\x17\0\0\0\x100\0\x03\0\0\0\x031\0\x08\0\0\0\x08\0\0\0\0\
        \0";
    assert_eq!(doc.finish().expect("no fault"), expected);
}

#[test]
fn given_bytes_that_are_no_document_when_parsed_then_the_error_says_where_and_why() {
    let malformed = |bytes: &[u8]| match Doc::parse(bytes) {
        Err(DocError::Malformed { offset, what }) => (offset, what),
        other => panic!("{other:?}"),
    };
    assert_eq!(malformed(b"\x05\0\0").0, 0);
    assert_eq!(malformed(b"\x06\0\0\0\0").1, "its length field does not say how long it is");
    assert_eq!(malformed(b"\x04\0\0\0").1, "it does not end with a zero byte");
    assert_eq!(malformed(b"\x05\0\0\0\x01").1, "it does not end with a zero byte");
    assert_eq!(malformed(b"\x06\0\0\0\0\0"), (4, "there are bytes after its last element"));
    assert_eq!(malformed(b"\x07\0\0\0\x0aa\0").1, "a field name has no end");
    assert_eq!(malformed(b"\x08\0\0\0\x0a\xff\0\0").1, "a field name is not UTF-8");
    assert_eq!(malformed(b"\x09\0\0\0\x08a\0\x02\0").1, "a bool is neither 0 nor 1");
    assert_eq!(
        malformed(b"\x0b\0\0\0\x10a\0\x01\0\0\0").1,
        "an element is longer than what holds it"
    );
    assert_eq!(
        malformed(b"\x08\0\0\0\x20a\0\0").1,
        "an element's type or length is not one of BSON"
    );
    assert_eq!(malformed(b"\x0e\0\0\0\x02a\0\x02\0\0\0\xff\0\0").1, "a string is not UTF-8");
    assert_eq!(
        malformed(b"\x10\0\0\0\x04a\0\x08\0\0\0\x0a1\0\0\0"),
        (11, "the items of an array are not named 0, 1, 2 and on")
    );
    assert_eq!(
        Doc::parse(b"\x0b\0\0\0\x0aa\0\x0aa\0\0"),
        Err(DocError::Duplicate { offset: 0, field: "a".into() })
    );
    assert_eq!(
        Doc::parse(b"\x08\0\0\0\x06a\0\0"),
        Err(DocError::Refused { offset: 4, field: "a".into(), kind: "undefined (deprecated)" })
    );
}

#[test]
fn given_a_wide_document_when_a_name_repeats_then_it_is_found_at_any_width() {
    for width in [2, 23, 24, 25, 26, 100] {
        let mut doc = DocBuf::new();
        for n in 0..width {
            doc.push(&format!("f{n}"), n);
        }
        let last = format!("f{}", width - 1);
        doc.push(&last, 0);
        assert_eq!(doc.finish(), Err(DocError::Duplicate { offset: 0, field: last }), "{width}");
    }
}

#[test]
fn given_documents_inside_each_other_when_parsed_then_64_is_the_last_depth_taken() {
    let nest = |levels: usize| {
        let mut doc = DocBuf::new();
        (1..levels).for_each(|_| {
            doc.begin_doc("a");
        });
        (1..levels).for_each(|_| {
            doc.end();
        });
        doc.finish()
    };
    assert!(nest(64).is_ok());
    assert_eq!(nest(65), Err(DocError::TooDeep { offset: 64 * 7 }));
}

#[test]
fn given_a_builder_misused_when_finished_then_the_first_fault_is_returned() {
    let fault = |build: fn(&mut DocBuf)| {
        let mut doc = DocBuf::new();
        build(&mut doc);
        doc.finish().expect_err("misused")
    };
    assert_eq!(
        fault(|d| {
            d.end();
        }),
        DocError::Misuse("end() without begin")
    );
    assert_eq!(
        fault(|d| {
            d.begin_doc("a");
        }),
        DocError::Misuse("finish() with a document still open")
    );
    assert_eq!(
        fault(|d| {
            d.item(1);
        }),
        DocError::Misuse("an item outside an array")
    );
    assert_eq!(
        fault(|d| {
            d.array("a", |a| {
                a.push("b", 1);
            });
        }),
        DocError::Misuse("a named field in an array")
    );
    assert_eq!(
        fault(|d| {
            d.doc("a", |a| {
                a.end();
            });
        }),
        DocError::Misuse("a closure left its begins and ends unbalanced")
    );
    assert_eq!(
        fault(|d| {
            d.push("a\0b", 1);
        }),
        DocError::Nul { text: "a\0b".into() }
    );
    let broken = Array::trusted(b"\x06\0\0\0\0");
    assert!(matches!(
        DocBuf::new().push("a", broken).push("b", 1).size(),
        size if size > 5
    ));
    let mut doc = DocBuf::new();
    doc.push("a", broken);
    assert!(matches!(doc.finish(), Err(DocError::Malformed { .. })));
}

#[test]
fn given_arrays_when_a_path_crosses_them_then_each_document_in_them_answers() {
    let bytes = bytes(&doc! {
        "items": [{ "price": 1, "tags": ["x", "y"] }, { "price": 2 }, 7, [{ "price": 9 }], { "tags": [] }],
        "a": { "b": { "c": 5 } },
        "a.b": 6,
    });
    let doc = Doc::parse(&bytes).expect("valid");
    let all =
        |path: &str, arrays| doc.path_all(path, arrays).into_iter().map(theirs).collect::<Vec<_>>();
    let of = |array: bson::Array| array;
    assert_eq!(doc.path("a.b.c"), Some(Value::Int32(5)));
    assert_eq!(doc.get("a.b"), Some(Value::Int32(6)));
    assert_eq!(doc.path("items.1.price"), Some(Value::Int32(2)));
    assert_eq!(doc.path("items.price"), None);
    assert_eq!(doc.path("items.01.price"), None);
    assert_eq!(all("items.price", Arrays::Whole), of(vec![1.into(), 2.into()]));
    assert_eq!(all("items.3.price", Arrays::Whole), of(vec![9.into()]));
    assert_eq!(
        all("items.tags", Arrays::Whole),
        of(vec![Bson::Array(vec!["x".into(), "y".into()]), Bson::Array(vec![])])
    );
    assert_eq!(all("items.tags", Arrays::Items), of(vec!["x".into(), "y".into()]));
    assert_eq!(all("items.tags", Arrays::Both).len(), 4);
    assert_eq!(all("items.nothing", Arrays::Both), of(vec![]));
    let mut first = None;
    let stopped = doc.visit("items.price", Arrays::Whole, &mut |value| {
        first = Some(value);
        ControlFlow::Break(())
    });
    assert_eq!((stopped, first), (ControlFlow::Break(()), Some(Value::Int32(1))));
}

#[test]
fn given_numbers_in_a_path_when_visited_then_each_value_answers_once() {
    // Each level may be an item of an array or a field of the document in it.
    let mut deep = doc! { "0": 7 };
    for _ in 0..31 {
        deep = doc! { "0": [deep] };
    }
    let bytes = bytes(&deep);
    let hostile = Doc::parse(&bytes).expect("valid");
    let zeros = |n: usize| vec!["0"; n].join(".");
    for (components, found) in [(31, 1), (32, 1), (33, 1), (63, 1), (64, 0), (90, 0), (500, 0)] {
        let mut seen = 0;
        let end = hostile.visit(&zeros(components), Arrays::Whole, &mut |_| {
            seen += 1;
            if seen > 100 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(end.is_continue(), "{components}");
        assert!(seen >= found && (found > 0 || seen == 0), "{components}: {seen}");
    }
    let bytes = self::bytes(&doc! {
        "a": [{ "0": [[5, 6], { "1": 8 }], "1": 9 }, { "0": { "1": [3, 4] } }, [{ "0": 1, "1": 2 }]],
    });
    let doc = Doc::parse(&bytes).expect("valid");
    let all = |path: &str| -> Vec<Bson> {
        doc.path_all(path, Arrays::Whole).into_iter().map(theirs).collect()
    };
    let inner = Bson::from(doc! { "1": 8 });
    let three = Bson::Array(vec![3.into(), 4.into()]);
    assert_eq!(all("a.0.1"), [inner.clone(), 8.into(), 9.into(), three]);
    assert_eq!(all("a.0.0.1"), [6.into(), inner, 8.into()]);
    assert_eq!(all("a.2.0.1"), [2.into()]);
    assert_eq!(all("a.0.1.1"), [8.into(), 4.into()]);
    assert_eq!(all("a.1.0.1.0"), [3.into()]);
}

#[test]
fn given_dotted_paths_when_set_and_unset_then_only_they_change() {
    let bytes = bytes(&doc! { "a": 1, "b": { "c": 2, "d": [1, { "e": 3 }] }, "f": 4 });
    let doc = Doc::parse(&bytes).expect("valid");
    let with = |changes: &[Change<'_>]| {
        let changed = doc.with(changes).expect("allowed");
        bson::Document::try_from(bson::RawDocument::from_bytes(&changed).expect("valid"))
            .expect("valid")
    };
    assert_eq!(
        with(&[
            Change::Set("b.d.1.e", Value::String("x")),
            Change::Set("g.h.i", Value::Bool(true)),
            Change::Set("a", Value::Int64(9)),
            Change::Unset("f"),
            Change::Set("b.d.2", Value::Null),
            Change::Set("b.d.3.k", Value::Int32(8)),
            Change::Set("g.a", Value::Int32(0)),
            Change::Unset("zzz.y"),
        ]),
        doc! {
            "a": 9i64, "b": { "c": 2, "d": [1, { "e": "x" }, Bson::Null, { "k": 8 }] },
            "g": { "h": { "i": true }, "a": 0 },
        }
    );
    assert_eq!(
        with(&[Change::Unset("b.d.0"), Change::Unset("b.d.9"), Change::Unset("a.x")]),
        doc! { "a": 1, "b": { "c": 2, "d": [Bson::Null, { "e": 3 }] }, "f": 4 }
    );
    assert_eq!(with(&[]), doc! { "a": 1, "b": { "c": 2, "d": [1, { "e": 3 }] }, "f": 4 });
}

#[test]
fn given_fields_set_when_written_then_old_ones_keep_their_place_and_new_ones_follow_as_asked() {
    let bytes = bytes(&doc! { "z": 1, "m": { "y": 2 }, "a": 3 });
    let changes = [
        Change::Set("q", Value::Int32(4)),
        Change::Set("m.x", Value::Int32(5)),
        Change::Set("b", Value::Int32(6)),
        Change::Set("z", Value::Int32(7)),
    ];
    let changed = Doc::trusted(&bytes).with(&changes).expect("allowed");
    assert_eq!(
        proto::json::to_json(Doc::trusted(&changed)),
        r#"{"z":7,"m":{"y":2,"x":5},"a":3,"q":4,"b":6}"#
    );
}

#[test]
fn given_changes_that_cannot_be_when_asked_for_then_the_error_names_the_path() {
    let bytes = bytes(&doc! { "a": 1, "b": [1] });
    let doc = Doc::parse(&bytes).expect("valid");
    let error = |changes: &[Change<'_>]| doc.with(changes).expect_err("refused").to_string();
    let set = |path| Change::Set(path, Value::Null);
    assert_eq!(
        error(&[set("a.b")]),
        r#"path "a.b": "a" is of type int32, neither a document nor an array"#
    );
    assert_eq!(error(&[set("b.x")]), r#"path "b.x": "x" is not the number of an array item"#);
    assert_eq!(error(&[set("b.3")]), r#"path "b.3": the array has 1 items; the next to set is 1"#);
    assert_eq!(error(&[set("c"), Change::Unset("c")]), r#"path "c": it is changed twice at once"#);
    assert_eq!(
        error(&[set("c.d"), set("c-x"), set("c")]),
        r#"path "c.d": "c" is changed at the same time; change one"#
    );
    assert_eq!(error(&[set("")]), r#"path "": it is empty; name a field"#);
    assert_eq!(error(&[set("a..b")]), r#"path "a..b": it has an empty part; write it like a.b.c"#);
}
