//! Which keys a condition can hold for, so that a scan reads no others: a range of them,
//! or where it names them, these few.
//!
//! Invariant: every document that meets the condition lies within the range and has one
//! of the keys; the condition is still tested on each.

use std::collections::BTreeSet;

use crate::pql::ast::Comparison;
use crate::query::predicate::{Predicate, Test};
use proto::Key;
use proto::doc::ValueBuf;

/// Keys from `low` to `high`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// The first key.
    pub low: Key,
    /// The last key.
    pub high: Key,
}

impl KeyRange {
    /// Every key.
    pub const ALL: KeyRange = KeyRange { low: Key::MIN, high: Key::MAX };
    /// No key.
    pub const NONE: KeyRange = KeyRange { low: Key::MAX, high: Key::MIN };

    /// Whether it holds no key.
    pub fn is_empty(self) -> bool {
        self.low > self.high
    }

    fn and(self, other: KeyRange) -> KeyRange {
        KeyRange { low: self.low.max(other.low), high: self.high.min(other.high) }
    }

    fn or(self, other: KeyRange) -> KeyRange {
        match (self.is_empty(), other.is_empty()) {
            (true, _) => other,
            (_, true) => self,
            _ => KeyRange { low: self.low.min(other.low), high: self.high.max(other.high) },
        }
    }
}

/// The keys `filter` can hold for.
pub fn key_range(filter: Option<&Predicate>) -> KeyRange {
    filter.map_or(KeyRange::ALL, of)
}

fn of(predicate: &Predicate) -> KeyRange {
    match predicate {
        Predicate::And(all) => all.iter().map(of).fold(KeyRange::ALL, KeyRange::and),
        Predicate::Or(any) => any.iter().map(of).fold(KeyRange::NONE, KeyRange::or),
        Predicate::Field(path, test) if path.is_key() => of_key(test),
        Predicate::Not(_) | Predicate::Field(..) => KeyRange::ALL,
    }
}

/// The keys `filter` can hold for, if it names at most `most` of them.
pub(super) fn named_keys(filter: &Predicate, most: usize) -> Option<BTreeSet<Key>> {
    match filter {
        Predicate::And(all) => {
            all.iter().filter_map(|part| named_keys(part, most)).reduce(|a, b| &a & &b)
        }
        Predicate::Or(any) => {
            let mut union = BTreeSet::new();
            for part in any {
                union.append(&mut named_keys(part, most)?);
                if union.len() > most {
                    return None;
                }
            }
            Some(union)
        }
        // What is not the text of a key equals none.
        Predicate::Field(path, test) if path.is_key() => match test {
            Test::Compare(Comparison::Equal, value) => Some(exact(value).into_iter().collect()),
            Test::In(values) => {
                let keys: BTreeSet<Key> = values.iter().filter_map(exact).collect();
                (keys.len() <= most).then_some(keys)
            }
            _ => None,
        },
        Predicate::Not(_) | Predicate::Field(..) => None,
    }
}

fn of_key(test: &Test) -> KeyRange {
    let one = |key| KeyRange { low: key, high: key };
    match test {
        Test::Compare(comparison, value) => match (comparison, exact(value)) {
            (Comparison::Equal, Some(key)) => one(key),
            (Comparison::Greater | Comparison::GreaterOrEqual, Some(key)) => {
                KeyRange { low: key, ..KeyRange::ALL }
            }
            (Comparison::Less | Comparison::LessOrEqual, Some(key)) => {
                KeyRange { high: key, ..KeyRange::ALL }
            }
            _ => KeyRange::ALL,
        },
        Test::Between(low, high) => match (exact(low), exact(high)) {
            (Some(low), Some(high)) => KeyRange { low, high },
            _ => KeyRange::ALL,
        },
        Test::In(values) => values
            .iter()
            .map(|value| exact(value).map_or(KeyRange::ALL, one))
            .fold(KeyRange::NONE, KeyRange::or),
        Test::StartsWith(start) => prefix(start),
        Test::Contains(_) | Test::Matches(_) | Test::Exists => KeyRange::ALL,
    }
}

/// The key a string is the very text of; upper-case digits are not: the texts of
/// keys compare as strings do.
pub(super) fn exact(value: &ValueBuf) -> Option<Key> {
    let text = value.get().as_str()?.to_owned();
    let key: Key = text.parse().ok()?;
    (key.to_string() == text).then_some(key)
}

fn prefix(start: &str) -> KeyRange {
    let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if start.len() > 32 || !start.bytes().all(lower) {
        return KeyRange::NONE;
    }
    let fill = |digit: &str| {
        let text = format!("{start}{}", digit.repeat(32 - start.len()));
        text.parse::<Key>().ok()
    };
    match (fill("0"), fill("f")) {
        (Some(low), Some(high)) => KeyRange { low, high },
        _ => KeyRange::ALL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pql::parse;
    use crate::query::bind::{Plan, bind};
    use proptest::prelude::*;
    use proto::doc::{Doc, EMPTY};
    use std::sync::Arc;

    fn filter(expr: &str) -> Predicate {
        let query = parse(&format!("s.filter({expr})")).unwrap_or_else(|e| panic!("{e}"));
        match bind(&query, None).unwrap() {
            Plan::Select(select) => Arc::into_inner(select).unwrap().filter.unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn range(expr: &str) -> (u128, u128) {
        let range = key_range(Some(&filter(expr)));
        (range.low.0, range.high.0)
    }

    fn hex(n: u128) -> String {
        format!("'{}'", Key(n))
    }

    #[test]
    fn conditions_on_the_key_narrow_the_scan() {
        let (five, nine) = (hex(5), hex(9));
        assert_eq!(range(&format!("key = {five}")), (5, 5));
        assert_eq!(range(&format!("key >= {five} and key < {nine} and a = 1")), (5, 9));
        assert_eq!(range(&format!("key in [{nine}, {five}]")), (5, 9));
        assert_eq!(range(&format!("key = {five} or key between {nine} and {nine}")), (5, 9));
        assert_eq!(range("key startsWith 'ab'"), (0xab << 120, (0xac << 120) - 1));
        assert!(key_range(Some(&filter("key startsWith 'xy'"))).is_empty());
    }

    #[test]
    fn conditions_name_keys() {
        let (five, nine, two) = (hex(5), hex(9), hex(2));
        let named = |expr: &str, most| {
            let keys = named_keys(&filter(expr), most)?;
            Some(keys.into_iter().map(|key| key.0).collect::<Vec<_>>())
        };
        assert_eq!(named(&format!("key = {five} and a = 1"), 9), Some(vec![5]));
        assert_eq!(named(&format!("key in [{nine}, 7, {five}, {nine}, 'A']"), 2), Some(vec![5, 9]));
        assert_eq!(named(&format!("key in [{nine}, {five}]"), 1), None);
        assert_eq!(named(&format!("key = {nine} or key in [{two}]"), 9), Some(vec![2, 9]));
        assert_eq!(named(&format!("key = {nine} or key in [{two}]"), 1), None);
        assert_eq!(named(&format!("key = {nine} or a = 1"), 9), None);
        assert_eq!(named(&format!("key in [{nine}, {two}] and key in [{two}]"), 9), Some(vec![2]));
        assert_eq!(named(&format!("key >= {nine}"), 9), None);
        assert_eq!(named("a = 1", 9), None);
    }

    #[test]
    fn other_conditions_do_not() {
        for expr in [
            "a = 1",
            "key = 5",
            "not key = '00000000000000000000000000000005'",
            "key ~ '^a'",
            "key = '00000000000000000000000000000005' or a = 1",
            "key > 'zz'",
        ] {
            assert_eq!(range(expr), (0, u128::MAX), "{expr}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_condition_holds_for_lies_in_its_range(
            a in 0u128..6, b in 0u128..6, key in 0u128..6, shape in 0usize..8,
        ) {
            let (a, b) = (hex(a), hex(b));
            let expr = match shape {
                0 => format!("key = {a} or key = {b}"),
                1 => format!("key > {a} and key <= {b}"),
                2 => format!("key between {a} and {b}"),
                3 => format!("not key = {a}"),
                4 => format!("key in [{a}, {b}, 'x']"),
                5 => format!("key != {a} and key >= {b}"),
                6 => format!("key startsWith '000' and key < {b}"),
                _ => format!("(key < {a} or key > {b}) and not key = {a}"),
            };
            let filter = filter(&expr);
            let range = key_range(Some(&filter));
            let named = named_keys(&filter, 4096);
            if filter.holds(Key(key), Doc::trusted(&EMPTY)) {
                prop_assert!(range.low <= Key(key) && Key(key) <= range.high, "{}", expr);
                prop_assert!(named.is_none_or(|named| named.contains(&Key(key))), "{}", expr);
            }
        }
    }
}
