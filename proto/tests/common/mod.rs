//! Random documents, made as the oracle's type so that both sides can be asked.

#![allow(dead_code)] // each test file uses a part

use bson::{Bson, Document};
use proptest::prelude::*;

/// Numbers with the awkward ones well represented.
pub(crate) fn number() -> impl Strategy<Value = Bson> {
    let near = prop_oneof![Just(0i64), Just(1 << 53), Just(i64::MIN), Just(i64::MAX), -300..300i64];
    let close = (near, -3..3i64).prop_map(|(n, d)| n.saturating_add(d));
    prop_oneof![
        any::<i32>().prop_map(Bson::Int32),
        (-5..5i32).prop_map(Bson::Int32),
        any::<i64>().prop_map(Bson::Int64),
        close.clone().prop_map(Bson::Int64),
        close.prop_map(|n| Bson::Double(n as f64)),
        any::<f64>().prop_map(Bson::Double),
        (-40..40i32).prop_map(|n| Bson::Double(f64::from(n) / 8.0)),
        prop_oneof![
            Just(f64::NAN),
            Just(-f64::NAN),
            Just(0.0),
            Just(-0.0),
            Just(f64::INFINITY),
            Just(f64::NEG_INFINITY),
            Just(f64::MAX),
            Just(f64::MIN_POSITIVE),
            Just(5e-324),
            Just(0.1),
            Just(18446744073709551616.0),
            Just(9223372036854775808.0),
        ]
        .prop_map(Bson::Double),
        any::<[u8; 16]>().prop_map(|b| Bson::Decimal128(bson::Decimal128::from_bytes(b))),
        decimal_text().prop_map(|t| Bson::Decimal128(t.parse().expect("a decimal"))),
    ]
}

/// Decimals of ordinary size, many equal to or close to doubles and integers.
pub(crate) fn decimal_text() -> impl Strategy<Value = String> {
    prop_oneof![
        (-99999..99999i64, -6..3i32).prop_map(|(n, e)| format!("{n}E{e}")),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<i64>().prop_map(|n| format!("{n}.5")),
        any::<f32>()
            .prop_filter("finite", |f| f.is_finite())
            .prop_map(|f| format!("{:.20e}", f64::from(f))),
        (any::<i64>(), -6170..6080i32).prop_map(|(n, e)| format!("{n}E{e}")),
        Just("0.1".to_owned()),
        Just("0.1000000000000000055511151231257827".to_owned()),
        Just("18446744073709551616".to_owned()),
        Just("18446744073709551615.999999".to_owned()),
    ]
}

/// A value of any stored type, nested ones included.
pub(crate) fn value() -> impl Strategy<Value = Bson> {
    let leaf = prop_oneof![
        4 => number(),
        2 => "[a-c\\x00é]{0,4}".prop_map(Bson::String),
        1 => any::<String>().prop_map(Bson::String),
        1 => Just(Bson::Null),
        1 => any::<bool>().prop_map(Bson::Boolean),
        1 => any::<i64>().prop_map(|n| Bson::DateTime(bson::DateTime::from_millis(n))),
        1 => any::<[u8; 12]>().prop_map(|b| Bson::ObjectId(bson::oid::ObjectId::from_bytes(b))),
        1 => (prop_oneof![Just(0u8), Just(4), Just(0x80)], prop::collection::vec(0..3u8, 0..5)).prop_map(
            |(s, bytes)| Bson::Binary(bson::Binary { subtype: s.into(), bytes })),
        1 => (any::<u32>(), any::<u32>()).prop_map(
            |(time, increment)| Bson::Timestamp(bson::Timestamp { time, increment })),
        1 => ("[a-b]{0,3}", "(|i|im)").prop_map(|(pattern, options)| Bson::RegularExpression(
            regex(pattern, options))),
        1 => Just(Bson::MinKey),
        1 => Just(Bson::MaxKey),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Bson::Array),
            prop::collection::vec((name(), inner), 0..5)
                .prop_map(|fields| Bson::Document(fields.into_iter().collect())),
        ]
    })
}

/// A field name: short ones that collide, and any text without NUL or `$`.
pub(crate) fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-d]{0,2}".boxed(),
        1 => "[^\\x00$]{0,6}".boxed(),
    ]
}

/// A document.
pub(crate) fn document() -> impl Strategy<Value = Document> {
    prop::collection::vec((name(), value()), 0..8).prop_map(|fields| fields.into_iter().collect())
}

/// The oracle's bytes.
pub(crate) fn bytes(document: &Document) -> Vec<u8> {
    bson::serialize_to_vec(document).expect("the oracle writes it")
}

/// A regular expression of the oracle.
pub(crate) fn regex(pattern: impl Into<String>, options: impl Into<String>) -> bson::Regex {
    bson::Regex {
        pattern: pattern.into().try_into().expect("no NUL"),
        options: options.into().try_into().expect("no NUL"),
    }
}
