//! Documents, values beside each other, batches.

use super::Seeds;
use lsm::{Batch, KeyspaceId};
use proto::doc::{Binary, Decimal128, DocBuf, ObjectId, Regex, Value};

/// A document of these elements, whatever they are.
fn raw(elements: &[u8]) -> Vec<u8> {
    let len = (elements.len() + 5) as u32;
    [&len.to_le_bytes(), elements, &[0]].concat()
}

fn built(fill: impl FnOnce(&mut DocBuf)) -> Vec<u8> {
    let mut doc = DocBuf::new();
    fill(&mut doc);
    doc.finish().expect("a sound document")
}

fn decimal(text: &str) -> Decimal128 {
    text.parse().expect("a decimal")
}

/// A value of every type.
fn every_type(doc: &mut DocBuf) {
    doc.push("minKey", Value::MinKey).push("null", Value::Null);
    doc.push("int32", -7).push("int64", 1i64 << 40).push("double", 0.5);
    doc.push("decimal", decimal("12.50")).push("string", "Grüße");
    doc.doc("document", |doc| {
        doc.push("a", 1);
    });
    doc.array("array", |items| {
        for n in 0..12 {
            items.item(n);
        }
    });
    doc.push("binary", Binary { subtype: 4, bytes: &[9; 16] });
    doc.push("objectId", ObjectId([3; 12])).push("bool", true);
    doc.push("dateTime", Value::DateTime(1_357_000_000_000));
    doc.push("timestamp", Value::Timestamp(5 << 32 | 6));
    doc.push("regex", Regex { pattern: "^a", options: "i" }).push("maxKey", Value::MaxKey);
}

/// A document in a document, so many in all.
fn deep(levels: usize) -> Vec<u8> {
    (1..levels).fold(raw(&[]), |inner, _| raw(&[&[3, b'd', 0], &inner[..]].concat()))
}

pub(super) fn make(seeds: &mut Seeds) {
    documents(seeds);
    orders(seeds);
    batches(seeds);
}

fn documents(seeds: &mut Seeds) {
    let add = |seeds: &mut Seeds, name: &str, bytes| seeds.add("document", name, bytes);
    add(seeds, "empty", raw(&[]));
    add(seeds, "every-type", built(every_type));
    add(seeds, "deepest", deep(64));
    add(seeds, "too-deep", deep(65));
    let plain = built(|doc| {
        doc.push("n", 1).push("d", -0.25).push("s", "a \"b\" \u{1}").push("none", Value::Null);
        doc.doc("in", |doc| {
            doc.array("all", |items| {
                items.item(true).item(2i64 << 33);
            });
        });
    });
    add(seeds, "plain", plain);
    let binary2 = [&[5, b'a', 0], &2u32.to_le_bytes()[..], &[2, 0, 0]].concat();
    for (name, elements) in [
        ("more-behind", &[0][..]),
        ("name-without-end", &[0x0A, b'a']),
        ("name-not-utf8", &[0x0A, 0xFF, 0]),
        ("twice", &[0x0A, b'a', 0, 0x0A, b'a', 0]),
        ("items-misnamed", &[&[4, b'a', 0][..], &raw(&[0x0A, b'1', 0])].concat()),
        ("undefined", &[6, b'a', 0]),
        ("db-pointer", &[0x0C, b'a', 0]),
        ("code", &[0x0D, b'a', 0]),
        ("symbol", &[0x0E, b'a', 0]),
        ("scoped-code", &[0x0F, b'a', 0]),
        ("old-binary", &binary2),
        ("unknown-type", &[0x20, b'a', 0]),
        ("string-too-long", &[2, b'a', 0, 100, 0, 0, 0, b'x', 0]),
        ("string-without-end", &[2, b'a', 0, 2, 0, 0, 0, b'x', b'y']),
        ("string-not-utf8", &[2, b'a', 0, 2, 0, 0, 0, 0xFF, 0]),
        ("regex-not-utf8", &[0x0B, b'a', 0, 0xFF, 0, 0]),
        ("bool-of-two", &[8, b'a', 0, 2]),
    ] {
        add(seeds, name, raw(elements));
    }
    add(seeds, "cut-length", vec![5, 0]);
    add(seeds, "wrong-length", vec![6, 0, 0, 0, 0]);
    add(seeds, "no-last-zero", vec![5, 0, 0, 0, 1]);
}

/// A document of values in a row.
fn row(values: &[Value<'_>]) -> Vec<u8> {
    built(|doc| {
        for (n, value) in values.iter().enumerate() {
            doc.push(&format!("v{n}"), *value);
        }
    })
}

fn orders(seeds: &mut Seeds) {
    let add = |seeds: &mut Seeds, name: &str, bytes| seeds.add("order", name, bytes);
    add(seeds, "every-type", built(every_type));
    let dec = |text| Value::Decimal128(decimal(text));
    let one = [Value::Int32(1), Value::Int64(1), Value::Double(1.0), dec("1.00"), dec("10E-1")];
    add(seeds, "numbers-that-are-equal", row(&one));
    let largest = i64::MAX as f64;
    let near = [
        dec("-Infinity"),
        Value::Double(f64::NEG_INFINITY),
        Value::Int64(i64::MIN),
        Value::Double(-0.0),
        Value::Int32(0),
        dec("1E-6176"),
        Value::Double(f64::from_bits(1)),
        Value::Double(0.1),
        dec("0.1"),
        Value::Int64((1 << 53) + 1),
        Value::Double(9_007_199_254_740_992.0),
        Value::Int64(i64::MAX),
        Value::Double(largest),
        dec("9.999999999999999999999999999999999E6144"),
        Value::Double(f64::INFINITY),
        dec("Infinity"),
    ];
    add(seeds, "numbers-near-each-other", row(&near));
    let not = [Value::Double(f64::NAN), dec("NaN"), Value::Double(-f64::NAN), Value::Null];
    add(seeds, "no-numbers", row(&not));
    let strings = ["", "\0", "\0a", "a", "a\0", "a\u{1}", "ab", "b", "\u{FFFF}", "\u{10000}"];
    add(seeds, "strings", row(&strings.map(Value::String)));
    let nested = built(|doc| {
        for n in 0..6i32 {
            doc.doc(&format!("d{n}"), |doc| {
                for i in 0..n % 3 {
                    doc.push(["a", "b"][(i + n / 4) as usize % 2], n);
                }
            });
            doc.array(&format!("a{n}"), |items| {
                for i in 0..n {
                    items.item(i % 2);
                }
            });
        }
    });
    add(seeds, "nested", nested);
    let bytes = |subtype, bytes| Value::Binary(Binary { subtype, bytes });
    let others = [
        bytes(0, &[][..]),
        bytes(0, &[0]),
        bytes(0, &[0, 0]),
        bytes(5, &[0]),
        Value::ObjectId(ObjectId([0; 12])),
        Value::ObjectId(ObjectId([255; 12])),
        Value::Bool(false),
        Value::Bool(true),
        Value::DateTime(i64::MIN),
        Value::DateTime(0),
        Value::DateTime(i64::MAX),
        Value::Timestamp(0),
        Value::Timestamp(u64::MAX),
        Value::Regex(Regex { pattern: "", options: "" }),
        Value::Regex(Regex { pattern: "a", options: "" }),
        Value::Regex(Regex { pattern: "a", options: "i" }),
    ];
    add(seeds, "others", row(&others));
}

fn batches(seeds: &mut Seeds) {
    let add = |seeds: &mut Seeds, name: &str, bytes| seeds.add("batch", name, bytes);
    let made = |fill: &dyn Fn(&mut Batch)| {
        let mut batch = Batch::new();
        fill(&mut batch);
        assert_eq!(batch.check(), Ok(()));
        lsm::fuzz::payload(&batch).to_vec()
    };
    let (one, last) = (KeyspaceId(1), KeyspaceId(lsm::MAX_KEYSPACE - 1));
    add(seeds, "empty", made(&|_| ()));
    let put = made(&|batch| batch.put(one, b"key", b"value"));
    add(seeds, "put", put.clone());
    let all = made(&|batch| {
        batch.put(one, &[7; lsm::MAX_KEY], b"");
        batch.put_new(last, b"k", &[1; 300]);
        batch.delete(one, b"gone");
        batch.delete_present(one, b"k");
        batch.drop_keyspace(last);
        batch.put(last, b"again", b"v");
    });
    add(seeds, "every-operation", all);
    let before = made(&|batch| {
        batch.before(one, b"k", b"old");
        batch.put(one, b"k", b"new");
        batch.before(one, b"g", b"");
        batch.delete_present(one, b"g");
    });
    add(seeds, "values-before", before.clone());
    // Header, entries of 12 bytes and key and value: the kind of the second is at 24.
    for (name, at, to) in [
        ("value-before-of-another", 36, b'x'),
        ("value-before-twice", 24, 4),
        ("value-before-unsaid", 0, 3),
    ] {
        let mut bytes = before.clone();
        bytes[at] = to;
        add(seeds, name, bytes);
    }
    let mut alone = before[..24].to_vec();
    alone[4] = 1;
    add(seeds, "value-before-alone", alone);
    // Header of 8 bytes, then of an operation: kind, flags, key length at 2, keyspace
    // at 4, value length at 8.
    let changed = |at: usize, to: u8| {
        let mut bytes = put.clone();
        bytes[at] = to;
        bytes
    };
    for (name, at, to) in [
        ("older-version", 0, 1),
        ("reserved-bytes", 2, 1),
        ("more-operations", 4, 2),
        ("fewer-operations", 4, 0),
        ("unknown-kind", 8, 9),
        ("versioned", 9, 3),
        ("reserved-bit", 9, 4),
        ("key-cut-off", 10, 200),
        ("no-key", 10, 0),
        ("reserved-keyspace", 15, 0xFF),
        ("value-cut-off", 16, 6),
        ("delete-with-value", 8, 2),
    ] {
        add(seeds, name, changed(at, to));
    }
    // The reserved keyspaces begin at 0xFFFF_0000.
    let mut reserved = put.clone();
    reserved[14..16].copy_from_slice(&[0xFF, 0xFF]);
    add(seeds, "first-reserved-keyspace", reserved);
    add(seeds, "cut", put[..7].to_vec());
}
