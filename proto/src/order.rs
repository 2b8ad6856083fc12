//! One total order over all values, and its bytes.
//!
//! What must stay true: for any two values, present or missing,
//! `compare(a, b) == key(a).cmp(key(b))`; equal values have equal keys whatever
//! their type (`Int32(1)`, `1.0` and decimal `1.00` share one); and no key is the
//! beginning of another, so that keys can be followed by anything and still sort.
//!
//! From low to high: missing, MinKey, null, numbers, strings, documents, arrays,
//! binary, object ids, bools, date-times, timestamps, regular expressions, MaxKey.
//!
//! * Numbers compare by value across types, exactly: no rounding on the way.
//!   NaN is below all numbers and equal to itself; -0 equals 0.
//! * Strings compare by their UTF-8 bytes, which is code point order.
//! * Documents compare field by field in their order, by name, then by value;
//!   the one that ends first is lower. Arrays the same, without names.
//! * Binary compares by subtype, then bytes. Regular expressions by pattern, then
//!   options.
//!
//! ```text
//! key        | class u8 | body |
//!
//! 04         missing          nothing
//! 08         MinKey           nothing
//! 0C         null             nothing
//! 14..2A     numbers          see number.rs
//! 30         string           text
//! 34         document         (02 | name, 00 | key)* | 01
//! 38         array            key* | 01
//! 3C         binary           subtype u8 | text
//! 40         object id        12 bytes
//! 44, 45     false, true      nothing
//! 48         date-time        i64 with its sign bit flipped, big-endian
//! 4C         timestamp        u64, big-endian
//! 50         regex            text | text
//! 7F         MaxKey           nothing
//!
//! text       its bytes, each 00 written as 00 FF | 00 00
//! ```
//!
//! For a field that sorts downwards every byte of its key is inverted
//! ([`order_key_desc`]). This format is final: indexes hold it on disk.

mod number;

use crate::doc::{Array, Doc, MAX_DEPTH, Value};
use std::cmp::Ordering;

/// The class bytes; numbers have their own in `number`.
mod class {
    pub(super) const END: u8 = 0x01;
    pub(super) const FIELD: u8 = 0x02;
    pub(super) const MISSING: u8 = 0x04;
    pub(super) const MIN_KEY: u8 = 0x08;
    pub(super) const NULL: u8 = 0x0C;
    /// Stands for all numbers where only classes are compared.
    pub(super) const NUMBER: u8 = 0x20;
    pub(super) const STRING: u8 = 0x30;
    pub(super) const DOC: u8 = 0x34;
    pub(super) const ARRAY: u8 = 0x38;
    pub(super) const BINARY: u8 = 0x3C;
    pub(super) const OBJECT_ID: u8 = 0x40;
    /// True is one more.
    pub(super) const BOOL: u8 = 0x44;
    pub(super) const DATE_TIME: u8 = 0x48;
    pub(super) const TIMESTAMP: u8 = 0x4C;
    pub(super) const REGEX: u8 = 0x50;
    pub(super) const MAX_KEY: u8 = 0x7F;
}

fn class_of(value: Option<Value<'_>>) -> u8 {
    match value {
        None => class::MISSING,
        Some(Value::MinKey) => class::MIN_KEY,
        Some(Value::Null) => class::NULL,
        Some(Value::Int32(_) | Value::Int64(_) | Value::Double(_) | Value::Decimal128(_)) => {
            class::NUMBER
        }
        Some(Value::String(_)) => class::STRING,
        Some(Value::Doc(_)) => class::DOC,
        Some(Value::Array(_)) => class::ARRAY,
        Some(Value::Binary(_)) => class::BINARY,
        Some(Value::ObjectId(_)) => class::OBJECT_ID,
        Some(Value::Bool(_)) => class::BOOL,
        Some(Value::DateTime(_)) => class::DATE_TIME,
        Some(Value::Timestamp(_)) => class::TIMESTAMP,
        Some(Value::Regex(_)) => class::REGEX,
        Some(Value::MaxKey) => class::MAX_KEY,
    }
}

/// Whether two values are of one class, so that `<` and `>` between them mean
/// something in a filter: numbers of any type are, a number and a string are not.
pub fn same_class(a: Value<'_>, b: Value<'_>) -> bool {
    class_of(Some(a)) == class_of(Some(b))
}

/// The total order; `None` is a missing field, the lowest.
pub fn compare(a: Option<Value<'_>>, b: Option<Value<'_>>) -> Ordering {
    compare_at(a, b, 0)
}

/// Whether two values are the same in the order: `1 = 1.0`, `NaN = NaN`, and a
/// missing field equals only a missing one.
pub fn equal(a: Option<Value<'_>>, b: Option<Value<'_>>) -> bool {
    compare(a, b) == Ordering::Equal
}

impl Array<'_> {
    /// Whether an item is [`equal`] to `value`.
    pub fn contains(&self, value: Value<'_>) -> bool {
        self.iter().any(|item| equal(Some(item), Some(value)))
    }
}

/// The depth bounds the recursion on trusted bytes that never were checked.
fn compare_at(a: Option<Value<'_>>, b: Option<Value<'_>>, depth: usize) -> Ordering {
    let (Some(x), Some(y)) = (a, b) else {
        return class_of(a).cmp(&class_of(b));
    };
    match (x, y) {
        (Value::String(x), Value::String(y)) => x.cmp(y),
        (Value::Doc(x), Value::Doc(y)) => compare_docs(x, y, depth),
        (Value::Array(x), Value::Array(y)) => compare_arrays(x, y, depth),
        (Value::Binary(x), Value::Binary(y)) => {
            x.subtype.cmp(&y.subtype).then_with(|| x.bytes.cmp(y.bytes))
        }
        (Value::ObjectId(x), Value::ObjectId(y)) => x.cmp(&y),
        (Value::Bool(x), Value::Bool(y)) => x.cmp(&y),
        (Value::DateTime(x), Value::DateTime(y)) => x.cmp(&y),
        (Value::Timestamp(x), Value::Timestamp(y)) => x.cmp(&y),
        (Value::Regex(x), Value::Regex(y)) => {
            x.pattern.cmp(y.pattern).then_with(|| x.options.cmp(y.options))
        }
        (x, y) if x.is_number() && y.is_number() => number::compare(x, y),
        (x, y) => class_of(Some(x)).cmp(&class_of(Some(y))),
    }
}

fn compare_docs(a: Doc<'_>, b: Doc<'_>, depth: usize) -> Ordering {
    if depth > MAX_DEPTH {
        return Ordering::Equal;
    }
    let (mut a, mut b) = (a.iter(), b.iter());
    loop {
        let order = match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some((name, x)), Some((other, y))) => {
                name.cmp(other).then_with(|| compare_at(Some(x), Some(y), depth + 1))
            }
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

fn compare_arrays(a: Array<'_>, b: Array<'_>, depth: usize) -> Ordering {
    if depth > MAX_DEPTH {
        return Ordering::Equal;
    }
    let (mut a, mut b) = (a.iter(), b.iter());
    loop {
        let order = match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (x, y) => compare_at(x, y, depth + 1),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// Appends the key of a value, or of a missing field.
pub fn order_key(value: Option<Value<'_>>, out: &mut Vec<u8>) {
    key_at(value, out, 0);
}

/// Appends the key of a value for a field that sorts downwards: the same bytes,
/// inverted.
pub fn order_key_desc(value: Option<Value<'_>>, out: &mut Vec<u8>) {
    let start = out.len();
    key_at(value, out, 0);
    for byte in &mut out[start..] {
        *byte = !*byte;
    }
}

/// The beginning that the keys of all strings starting with `prefix` share: what
/// `startsWith` scans. It has no end mark, so it is not a key itself.
pub fn string_prefix_key(prefix: &str, out: &mut Vec<u8>) {
    out.push(class::STRING);
    escaped(prefix.as_bytes(), out);
}

/// The bounds of all values of a class, such as all numbers for any number: every
/// key of the class is at least the first and less than the second.
pub fn class_bounds(value: Value<'_>) -> (Vec<u8>, Vec<u8>) {
    match class_of(Some(value)) {
        class::NUMBER => (vec![number::LOWEST], vec![number::HIGHEST + 1]),
        class::BOOL => (vec![class::BOOL], vec![class::BOOL + 2]),
        class => (vec![class], vec![class + 1]),
    }
}

fn key_at(value: Option<Value<'_>>, out: &mut Vec<u8>, depth: usize) {
    let Some(value) = value else {
        out.push(class::MISSING);
        return;
    };
    if value.is_number() {
        return number::key(value, out);
    }
    out.push(class_of(Some(value)));
    match value {
        Value::String(text) => terminated(text.as_bytes(), out),
        Value::Doc(doc) => {
            if depth <= MAX_DEPTH {
                for (name, value) in doc {
                    out.push(class::FIELD);
                    out.extend_from_slice(name.as_bytes());
                    out.push(0);
                    key_at(Some(value), out, depth + 1);
                }
            }
            out.push(class::END);
        }
        Value::Array(array) => {
            if depth <= MAX_DEPTH {
                for value in array {
                    key_at(Some(value), out, depth + 1);
                }
            }
            out.push(class::END);
        }
        Value::Binary(binary) => {
            out.push(binary.subtype);
            terminated(binary.bytes, out);
        }
        Value::ObjectId(id) => out.extend_from_slice(&id.0),
        Value::Bool(true) => {
            // One class byte for each: a bool's key is one byte.
            out.pop();
            out.push(class::BOOL + 1);
        }
        Value::DateTime(millis) => {
            out.extend_from_slice(&((millis as u64) ^ (1 << 63)).to_be_bytes());
        }
        Value::Timestamp(stamp) => out.extend_from_slice(&stamp.to_be_bytes()),
        Value::Regex(regex) => {
            terminated(regex.pattern.as_bytes(), out);
            terminated(regex.options.as_bytes(), out);
        }
        // Nothing but their class; numbers were handled above.
        Value::Bool(false) | Value::Null | Value::MinKey | Value::MaxKey => {}
        Value::Int32(_) | Value::Int64(_) | Value::Double(_) | Value::Decimal128(_) => {}
    }
}

/// Writes bytes so that no zero stands alone: `00` becomes `00 FF`.
fn escaped(bytes: &[u8], out: &mut Vec<u8>) {
    let mut parts = bytes.split(|&b| b == 0);
    out.extend_from_slice(parts.next().unwrap_or_default());
    for part in parts {
        out.extend_from_slice(&[0x00, 0xFF]);
        out.extend_from_slice(part);
    }
}

fn terminated(bytes: &[u8], out: &mut Vec<u8>) {
    escaped(bytes, out);
    out.extend_from_slice(&[0, 0]);
}
