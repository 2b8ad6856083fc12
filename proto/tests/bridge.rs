//! Rust values through documents and back, against the oracle and on their own.

mod common;

use proptest::prelude::*;
use proto::Key;
use proto::bridge::{DateTime, Timestamp, from_doc, to_doc};
use proto::doc::{Decimal128, Doc, DocBuf, ObjectId, Value};
use proto::json::{parse_json, to_json};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Plain {
    flag: bool,
    small: (i8, i16, u8, u16),
    int: i32,
    word: u32,
    long: i64,
    float: f32,
    double: f64,
    letter: char,
    text: String,
    maybe: Option<Box<Plain>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    absent: Option<i32>,
    unit: (),
    list: Vec<Shape>,
    map: BTreeMap<String, Vec<u8>>,
    wrapped: Wrapped,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Wrapped(String);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Nothing,
    Circle(f64),
    Line(i32, i32),
    Box {
        width: u32,
        name: Option<String>,
    },
    #[serde(rename = "nested")]
    Nested(Vec<Shape>),
}

fn shape() -> impl Strategy<Value = Shape> {
    let leaf = prop_oneof![
        Just(Shape::Nothing),
        (-9.0..9.0).prop_map(Shape::Circle),
        any::<(i32, i32)>().prop_map(|(a, b)| Shape::Line(a, b)),
        any::<(u32, Option<String>)>().prop_map(|(width, name)| Shape::Box { width, name }),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| prop::collection::vec(inner, 0..3).prop_map(Shape::Nested))
}

fn plain() -> impl Strategy<Value = Plain> {
    let leaf = (
        any::<(bool, (i8, i16, u8, u16), i32, u32, i64)>(),
        (-1e9..1e9f32, -1e300..1e300f64, any::<char>(), any::<String>(), any::<Option<i32>>()),
        prop::collection::vec(shape(), 0..4),
        prop::collection::btree_map("[^\\x00]{0,4}", any::<Vec<u8>>(), 0..3),
    )
        .prop_map(
            |((flag, small, int, word, long), (float, double, letter, text, absent), list, map)| {
                let wrapped = Wrapped(text.clone());
                Plain {
                    flag,
                    small,
                    int,
                    word,
                    long,
                    float,
                    double,
                    letter,
                    text,
                    maybe: None,
                    absent,
                    unit: (),
                    list,
                    map,
                    wrapped,
                }
            },
        )
        .boxed();
    (leaf.clone(), prop::option::of(leaf))
        .prop_map(|(outer, inner)| Plain { maybe: inner.map(Box::new), ..outer })
}

proptest! {
    #[test]
    fn given_a_value_when_written_then_the_oracle_writes_the_same_bytes_and_both_read_them(
        value in plain(),
    ) {
        let ours = to_doc(&value).expect("fits");
        prop_assert_eq!(&ours, &bson::serialize_to_vec(&value).expect("fits"));
        let doc = Doc::parse(&ours).expect("valid");
        prop_assert_eq!(&from_doc::<Plain>(doc).expect("fits"), &value);
        prop_assert_eq!(&bson::deserialize_from_slice::<Plain>(&ours).expect("fits"), &value);
    }

    #[test]
    fn given_any_document_when_read_as_any_json_value_then_it_is_it_or_an_error(
        document in common::document(),
    ) {
        // Only that nothing panics, and that plain fields come through.
        let bytes = common::bytes(&document);
        if let Ok(value) = from_doc::<serde_json::Value>(Doc::trusted(&bytes)) {
            prop_assert_eq!(value.as_object().map(|o| o.len()), Some(document.len()));
        }
    }

    #[test]
    fn given_damaged_bytes_when_read_then_nothing_panics(
        value in plain(), at in any::<prop::sample::Index>(), byte: u8,
    ) {
        let mut bytes = to_doc(&value).expect("fits");
        let at = at.index(bytes.len());
        bytes[at] = byte;
        // An error or another value: either is an answer.
        let read = from_doc::<Plain>(Doc::trusted(&bytes));
        prop_assert!(read.is_ok() || read.is_err_and(|e| !e.to_string().is_empty()));
    }

    #[test]
    fn given_any_integer_when_written_and_read_then_no_digit_is_lost(n: i128, small: i64, word: u64) {
        let round = |n: i128| {
            let doc = to_doc(&BTreeMap::from([("n", n)]))?;
            from_doc::<BTreeMap<String, i128>>(Doc::trusted(&doc)).map(|m| m["n"])
        };
        prop_assert_eq!(round(small.into()), Ok(small.into()));
        prop_assert_eq!(round(word.into()), Ok(word.into()));
        let long = n / 1_000_000;
        prop_assert_eq!(round(long), Ok(long));
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Special {
    key: Key,
    at: DateTime,
    id: ObjectId,
    price: Decimal128,
    stamp: Timestamp,
    huge: u64,
    #[serde(default)]
    by_year: BTreeMap<u16, String>,
    by_flag: BTreeMap<bool, i32>,
}

#[test]
fn given_special_types_when_written_then_they_are_values_of_their_type() {
    let value = Special {
        key: Key(0xAB),
        at: DateTime(1_357_016_400_000),
        id: ObjectId([1; 12]),
        price: "19.90".parse().expect("a decimal"),
        stamp: Timestamp(1 << 32 | 2),
        huge: u64::MAX,
        by_year: BTreeMap::from([(2013, "x".to_owned())]),
        by_flag: BTreeMap::from([(true, 1)]),
    };
    let bytes = to_doc(&value).expect("fits");
    let doc = Doc::parse(&bytes).expect("valid");
    assert_eq!(
        to_json(doc),
        r#"{"key":"000000000000000000000000000000ab","at":{"$date":"2013-01-01T05:00:00Z"},"#
            .to_owned()
            + r#""id":{"$oid":"010101010101010101010101"},"price":{"$numberDecimal":"19.90"},"#
            + r#""stamp":{"$timestamp":{"t":1,"i":2}},"#
            + r#""huge":{"$numberDecimal":"18446744073709551615"},"#
            + r#""by_year":{"2013":"x"},"by_flag":{"true":1}}"#
    );
    assert_eq!(from_doc::<Special>(doc).expect("fits"), value);
    // Through another format they are what is inside.
    let json = serde_json::to_string(&value).expect("fits");
    assert_eq!(serde_json::from_str::<Special>(&json).expect("fits"), value);
}

#[derive(Debug, PartialEq, Deserialize)]
struct Borrowed<'a> {
    name: &'a str,
    #[serde(borrow)]
    bytes: &'a [u8],
}

#[test]
fn given_strings_and_bytes_when_read_borrowed_then_they_lie_in_the_document() {
    let mut doc = DocBuf::new();
    doc.push("other", 1).push("name", "Ada");
    doc.push("bytes", proto::doc::Binary { subtype: 0, bytes: b"xyz" });
    let bytes = doc.finish().expect("valid");
    let read: Borrowed<'_> = from_doc(Doc::trusted(&bytes)).expect("fits");
    assert_eq!(read, Borrowed { name: "Ada", bytes: b"xyz" });
    assert!(bytes.as_ptr_range().contains(&read.name.as_ptr()));
}

#[test]
fn given_values_of_other_types_that_mean_the_same_when_read_then_they_are_taken() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Kind {
        int: i32,
        long: u64,
        float: f64,
        text: Vec<String>,
        bytes: Vec<u8>,
        maybe: Option<i32>,
    }
    let json = r#"{"int": 3.0, "long": {"$numberDecimal": "5.00"}, "float": 7,
        "text": [{"$date": 0}, {"$oid": "000000000000000000000000"}, {"$numberDecimal": "1.50"}],
        "bytes": {"$binary": {"base64": "AQI=", "subType": "00"}}}"#;
    let bytes = parse_json(json).expect("valid");
    let read: Kind = from_doc(Doc::trusted(&bytes)).expect("fits");
    let text = ["1970-01-01T00:00:00Z", "000000000000000000000000", "1.50"];
    assert_eq!(
        read,
        Kind {
            int: 3,
            long: 5,
            float: 7.0,
            text: text.map(str::to_owned).to_vec(),
            bytes: vec![1, 2],
            maybe: None
        }
    );
}

#[test]
fn given_values_that_do_not_fit_when_read_or_written_then_the_error_names_the_field() {
    let read = |json: &str| {
        let bytes = parse_json(json).expect("valid");
        from_doc::<Plain>(Doc::trusted(&bytes)).expect_err("does not fit").to_string()
    };
    assert_eq!(read("{}"), "missing field `flag`");
    assert_eq!(
        read(r#"{"flag": 1}"#),
        "field \"flag\": invalid type: integer `1`, expected a boolean"
    );
    assert_eq!(
        read(r#"{"small": [1, 2, 300]}"#),
        "field \"small.2\": invalid value: integer `300`, expected u8"
    );
    assert_eq!(
        read(r#"{"int": 1.5}"#),
        "field \"int\": invalid type: floating point `1.5`, expected i32"
    );
    assert_eq!(
        read(r#"{"list": [{"Box": {"width": -1}}]}"#),
        "field \"list.0.Box.width\": invalid value: integer `-1`, expected u32"
    );
    assert_eq!(
        read(r#"{"list": ["Circle"]}"#),
        "field \"list.0\": variant \"Circle\" holds a value; write {\"Circle\": value}"
    );
    assert_eq!(
        read(r#"{"list": [{"Nothing": 1}]}"#),
        "field \"list.0.Nothing\": expected null, since the variant holds nothing, found a value of type int32"
    );
    assert_eq!(
        read(r#"{"list": [{}]}"#),
        "field \"list.0\": an enum is a document of one field: its variant"
    );
    assert_eq!(
        to_doc(&[1, 2]).expect_err("no document").to_string(),
        "a value of type sequence is no document; wrap it in a struct or a map"
    );
    assert_eq!(
        to_doc(&Some(5)).expect_err("no document").to_string(),
        "a value of type int32 is no document; wrap it in a struct or a map"
    );
    assert_eq!(
        to_doc(&BTreeMap::from([("a", BTreeMap::from([("b", u128::MAX)]))]))
            .expect_err("too long")
            .to_string(),
        "field \"a.b\": the integer has more than 34 digits; keep it as a string"
    );
    assert_eq!(
        to_doc(&BTreeMap::from([("a\0", 1)])).expect_err("a NUL").to_string(),
        "\"a\\0\" holds a NUL character, which a name or pattern cannot"
    );
    assert!(to_doc(&BTreeMap::from([(None::<i32>, 1)])).is_err());
}

#[test]
fn given_a_value_that_nests_without_end_when_written_then_it_is_an_error_in_time() {
    #[derive(Serialize)]
    struct Chain {
        next: Option<Box<Chain>>,
    }
    let mut chain = Chain { next: None };
    for _ in 0..10_000 {
        chain = Chain { next: Some(Box::new(chain)) };
    }
    let error = to_doc(&chain).expect_err("too deep");
    assert!(error.to_string().ends_with("documents are nested deeper than 64"), "{error}");
    // Dropped one by one: a recursive drop would be deep as well.
    while let Some(next) = chain.next.take() {
        chain = *next;
    }
}

#[test]
fn given_an_enum_at_the_top_when_written_then_its_variant_is_the_field() {
    let round = |shape: Shape, json: &str| {
        let bytes = to_doc(&shape).expect("a document");
        assert_eq!(to_json(Doc::parse(&bytes).expect("valid")), json);
        assert_eq!(from_doc::<Shape>(Doc::trusted(&bytes)), Ok(shape));
    };
    round(Shape::Circle(1.5), r#"{"Circle":1.5}"#);
    round(Shape::Line(1, 2), r#"{"Line":[1,2]}"#);
    round(Shape::Box { width: 1, name: None }, r#"{"Box":{"width":1,"name":null}}"#);
    round(Shape::Nested(vec![Shape::Nothing]), r#"{"nested":["Nothing"]}"#);
    assert!(to_doc(&Shape::Nothing).is_err());
    assert_eq!(Value::from(None::<i32>), Value::Null);
}
