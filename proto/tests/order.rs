//! The order against an oracle of its own, its bytes against the order, and the
//! bytes themselves.

mod common;

use bson::{Bson, doc};
use common::{bytes, value};
use proptest::prelude::*;
use proto::doc::{Decimal128, DecimalParts, Doc, Value};
use proto::order::{
    class_bounds, compare, equal, order_key, order_key_desc, same_class, string_prefix_key,
};
use std::cmp::Ordering;

fn key(value: Option<Value<'_>>) -> Vec<u8> {
    let mut out = Vec::new();
    order_key(value, &mut out);
    out
}

/// A number as sign, place of the first digit, and all its digits: slow and exact.
#[derive(Debug, PartialEq)]
enum Exact {
    Nan,
    Finite(i8, i32, Vec<u8>),
    Infinity(i8),
}

fn exact(value: Value<'_>) -> Exact {
    let of_text = |text: &str| {
        let (sign, text) = match text.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, text),
        };
        let (mantissa, power) = text.split_once('e').expect("scientific");
        let digits: Vec<u8> = mantissa.bytes().filter(|b| *b != b'.').map(|b| b - b'0').collect();
        let end = digits.iter().rposition(|d| *d != 0).map_or(0, |at| at + 1);
        if end == 0 {
            return Exact::Finite(0, 0, vec![]);
        }
        assert_ne!(digits[0], 0);
        Exact::Finite(sign, power.parse().expect("an exponent"), digits[..end].to_vec())
    };
    match value {
        Value::Int32(n) => exact(Value::Int64(n.into())),
        Value::Int64(n) => of_text(&format!("{n:e}")),
        Value::Double(d) if d.is_nan() => Exact::Nan,
        Value::Double(d) if d.is_infinite() => Exact::Infinity(if d < 0.0 { -1 } else { 1 }),
        Value::Double(d) => of_text(&format!("{d:.1000e}")),
        Value::Decimal128(d) => match d.parts() {
            DecimalParts::Nan => Exact::Nan,
            DecimalParts::Infinity { negative } => Exact::Infinity(if negative { -1 } else { 1 }),
            DecimalParts::Finite { negative, coefficient, exponent } => {
                match of_text(&format!("{coefficient:e}")) {
                    Exact::Finite(s, e, d) => {
                        Exact::Finite(if negative { -s } else { s }, e + exponent, d)
                    }
                    other => other,
                }
            }
        },
        other => panic!("{other:?} is no number"),
    }
}

fn exact_order(a: &Exact, b: &Exact) -> Ordering {
    let rank = |n: &Exact| match n {
        Exact::Nan => -3,
        Exact::Infinity(s) => 2 * *s,
        Exact::Finite(s, ..) => *s,
    };
    rank(a).cmp(&rank(b)).then_with(|| match (a, b) {
        (Exact::Finite(0, ..), _) => Ordering::Equal,
        (Exact::Finite(s, e, d), Exact::Finite(_, f, g)) => {
            let magnitude = e.cmp(f).then_with(|| d.cmp(g));
            if *s < 0 { magnitude.reverse() } else { magnitude }
        }
        _ => Ordering::Equal,
    })
}

/// Two values, often the same or made of the same parts.
fn pair() -> impl Strategy<Value = (Option<Bson>, Option<Bson>)> {
    let maybe = || prop_oneof![1 => Just(None), 9 => value().prop_map(Some)];
    prop_oneof![
        3 => (maybe(), maybe()),
        1 => value().prop_map(|v| (Some(v.clone()), Some(v))),
        1 => (value(), value()).prop_map(|(a, b)| (
            Some(Bson::Array(vec![a.clone(), b.clone()])), Some(Bson::Array(vec![a])))),
        1 => (value(), value(), value()).prop_map(|(a, b, c)| (
            Some(Bson::Document(doc! { "a": a.clone(), "b": b })),
            Some(Bson::Document(doc! { "a": a, "b": c })))),
    ]
}

fn with_values<T>(
    (a, b): &(Option<Bson>, Option<Bson>),
    f: impl FnOnce(Option<Value<'_>>, Option<Value<'_>>) -> T,
) -> T {
    let hold = |v: &Option<Bson>| match v {
        Some(v) => bytes(&doc! { "v": v.clone() }),
        None => bytes(&doc! {}),
    };
    let (a, b) = (hold(a), hold(b));
    f(Doc::trusted(&a).get("v"), Doc::trusted(&b).get("v"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn given_two_numbers_when_compared_then_it_is_as_their_exact_digits_say(
        a in common::number(), b in common::number(),
    ) {
        with_values(&(Some(a), Some(b)), |a, b| {
            let (a, b) = (a.expect("there"), b.expect("there"));
            let expected = exact_order(&exact(a), &exact(b));
            prop_assert_eq!(compare(Some(a), Some(b)), expected);
            prop_assert_eq!(key(Some(a)).cmp(&key(Some(b))), expected);
            Ok(())
        })?;
    }

    #[test]
    fn given_two_values_when_compared_then_their_keys_compare_the_same(values in pair()) {
        with_values(&values, |a, b| {
            let order = compare(a, b);
            prop_assert_eq!(order, compare(b, a).reverse());
            prop_assert_eq!(equal(a, b), order.is_eq());
            let (x, y) = (key(a), key(b));
            prop_assert_eq!(order, x.cmp(&y));
            // No key begins another, so what follows them cannot matter.
            prop_assert!(x == y || !(x.starts_with(&y) || y.starts_with(&x)));
            let (mut x, mut y) = (Vec::new(), Vec::new());
            order_key_desc(a, &mut x);
            order_key_desc(b, &mut y);
            prop_assert_eq!(order.reverse(), x.cmp(&y));
            Ok(())
        })?;
    }

    #[test]
    fn given_a_value_when_its_class_is_bounded_then_its_key_lies_within_and_others_do_not(
        a in value(), b in value(),
    ) {
        with_values(&(Some(a), Some(b)), |a, b| {
            let (a, b) = (a.expect("there"), b.expect("there"));
            let (low, high) = class_bounds(a);
            let within = |k: &[u8]| *k >= low[..] && *k < high[..];
            prop_assert!(within(&key(Some(a))));
            prop_assert_eq!(within(&key(Some(b))), same_class(a, b));
            Ok(())
        })?;
    }

    #[test]
    fn given_strings_when_a_prefix_is_scanned_then_it_covers_just_those_that_start_with_it(
        text in "[ab\\x00]{0,4}", prefix in "[ab\\x00]{0,2}",
    ) {
        let mut start = Vec::new();
        string_prefix_key(&prefix, &mut start);
        prop_assert_eq!(key(Some(Value::String(&text))).starts_with(&start), text.starts_with(&prefix));
    }
}

#[test]
fn given_one_value_of_each_class_when_sorted_then_they_stand_in_this_order() {
    let document = bytes(&doc! {
        "00 minKey": Bson::MinKey,
        "01 null": Bson::Null,
        "02 nan": f64::NAN,
        "03 -inf": f64::NEG_INFINITY,
        "04 int": -5,
        "05 zero": 0,
        "06 half": 0.5,
        "07 long": i64::MAX,
        "08 double": 9223372036854775808.0,
        "09 inf": f64::INFINITY,
        "10 string": "",
        "11 string": "a",
        "12 string": "b",
        "13 doc": {},
        "14 doc": { "a": 1 },
        "15 doc": { "a": 1, "b": 0 },
        "16 doc": { "a": 2 },
        "17 array": [],
        "18 array": [9],
        "19 array": [9, Bson::Null],
        "20 binary": bson::Binary { subtype: 0.into(), bytes: vec![9] },
        "21 binary": bson::Binary { subtype: 4.into(), bytes: vec![] },
        "22 oid": bson::oid::ObjectId::from_bytes([0; 12]),
        "23 false": false,
        "24 true": true,
        "25 before 1970": bson::DateTime::from_millis(-1),
        "26 date": bson::DateTime::from_millis(0),
        "27 stamp": bson::Timestamp { time: 0, increment: 0 },
        "28 regex": common::regex("", ""),
        "29 maxKey": Bson::MaxKey,
    });
    let values: Vec<_> = Doc::parse(&document).expect("valid").iter().collect();
    for (i, (low, a)) in values.iter().enumerate() {
        assert_eq!(compare(None, Some(*a)), Ordering::Less, "missing < {low}");
        for (high, b) in &values[i + 1..] {
            assert_eq!(compare(Some(*a), Some(*b)), Ordering::Less, "{low} < {high}");
        }
    }
}

#[test]
fn given_values_when_encoded_then_the_bytes_are_these() {
    let document = bytes(&doc! { "a": [1, "x"], "": Bson::Null });
    let doc = Doc::parse(&document).expect("valid");
    let decimal = |t: &str| Value::Decimal128(t.parse::<Decimal128>().expect("a decimal"));
    let golden: &[(Option<Value<'_>>, &[u8])] = &[
        (None, b"\x04"),
        (Some(Value::MinKey), b"\x08"),
        (Some(Value::Null), b"\x0c"),
        (Some(Value::Double(f64::NAN)), b"\x14"),
        (Some(Value::Double(f64::NEG_INFINITY)), b"\x15"),
        (Some(Value::Double(-1e20)), b"\x16\x77\xd4\xa1\xc5\x0e\x94\xe7\x7f"),
        (Some(Value::Int64(i64::MIN)), b"\x17\x7f\xff\xff\xff\xff\xff\xff\xff\xff"),
        (Some(Value::Int32(-256)), b"\x1d\xfe\xff\xff"),
        (Some(Value::Int32(-1)), b"\x1e\xfe\xff"),
        (Some(Value::Double(-0.5)), b"\x1f\x7f\x3f\xff\xff\xff\xff\xff\xff"),
        (Some(Value::Double(-0.0)), b"\x20\0"),
        (Some(Value::Double(0.5)), b"\x20\x80\xc0\0\0\0\0\0\0"),
        (Some(Value::Int32(1)), b"\x21\x01\0"),
        (Some(Value::Double(1.0)), b"\x21\x01\0"),
        (Some(decimal("1.00")), b"\x21\x01\0"),
        (Some(Value::Int64(2013)), b"\x22\x07\xdd\0"),
        (Some(decimal("19.99")), b"\x21\x13\x80\xdf\x5c\x28\xf5\xc2\x8f\x5d\x1f\xff\xc6"),
        (Some(decimal("1E+6144")), b"\x29\xff\xdf\xff\xff\xff\xff\xff\xff\x38\x00\x14"),
        (Some(Value::Double(f64::INFINITY)), b"\x2a"),
        (Some(Value::String("a\0b")), b"\x30a\0\xffb\0\0"),
        (Some(Value::Doc(doc)), b"\x34\x02a\0\x38\x21\x01\0\x30x\0\0\x01\x02\0\x0c\x01"),
        (
            Some(Value::Binary(proto::doc::Binary { subtype: 4, bytes: &[0, 1] })),
            b"\x3c\x04\0\xff\x01\0\0",
        ),
        (Some(Value::ObjectId(proto::doc::ObjectId([9; 12]))), b"\x40\t\t\t\t\t\t\t\t\t\t\t\t"),
        (Some(Value::Bool(false)), b"\x44"),
        (Some(Value::Bool(true)), b"\x45"),
        (Some(Value::DateTime(0)), b"\x48\x80\0\0\0\0\0\0\0"),
        (Some(Value::DateTime(-1)), b"\x48\x7f\xff\xff\xff\xff\xff\xff\xff"),
        (Some(Value::Timestamp(1 << 32)), b"\x4c\0\0\0\x01\0\0\0\0"),
        (Some(Value::Regex(proto::doc::Regex { pattern: "a", options: "i" })), b"\x50a\0\0i\0\0"),
        (Some(Value::MaxKey), b"\x7f"),
    ];
    for (value, bytes) in golden {
        assert_eq!(key(*value), *bytes, "{value:?}");
    }
}

#[test]
fn given_integers_beyond_2_to_53_when_compared_with_doubles_then_no_digit_is_lost() {
    let double = |d: f64| Some(Value::Double(d));
    let long = |n: i64| Some(Value::Int64(n));
    assert_eq!(compare(long((1 << 53) + 1), double(9007199254740992.0)), Ordering::Greater);
    assert_eq!(compare(long(1 << 53), double(9007199254740992.0)), Ordering::Equal);
    assert_eq!(compare(long(i64::MAX), double(9223372036854775808.0)), Ordering::Less);
    assert_eq!(compare(long(i64::MIN), double(-9223372036854775808.0)), Ordering::Equal);
    assert_eq!(compare(long(-3), double(-2.5)), Ordering::Less);
    assert_eq!(compare(long(-2), double(-2.5)), Ordering::Greater);
}

#[test]
fn given_nested_bytes_that_never_were_checked_when_compared_then_the_recursion_is_bounded() {
    // 200,000 documents inside each other.
    let mut deep = vec![5u8, 0, 0, 0, 0];
    let levels = 200_000;
    let mut bytes = Vec::new();
    for level in 0..levels {
        let length = (levels - level) * 8 + 5;
        bytes.extend_from_slice(&(length as i32).to_le_bytes());
        bytes.extend_from_slice(b"\x03a\0");
    }
    bytes.append(&mut deep);
    bytes.extend(std::iter::repeat_n(0, levels));
    let doc = Doc::trusted(&bytes);
    assert!(doc.path("a.a.a").is_some());
    assert!(equal(Some(Value::Doc(doc)), Some(Value::Doc(doc))));
    assert!(key(Some(Value::Doc(doc))).len() < 1000);
    assert!(Doc::parse(&bytes).is_err());
    assert!(doc.with(&[]).is_err());
}
