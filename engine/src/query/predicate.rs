//! Whether a document meets a condition.
//!
//! What must stay true:
//! * A comparison holds only between values of one kind (numbers with numbers,
//!   strings with strings, ..); a missing field meets no comparison, and null
//!   equals null alone. `!=` is exactly "not `=`".
//! * Where a path leads to an array, a test holds if it holds for the array or
//!   for one of its items, as a multikey index would find it.
//! * `key` is the primary key: a string of 32 lower-case hexadecimal digits.

use crate::pql::ast::{Comparison, Path};
use proto::Key;
use proto::doc::{Arrays, Doc, DocBuf, Value, ValueBuf};
use proto::order;
use regex::Regex;
use std::cmp::Ordering;
use std::ops::ControlFlow;

/// A condition with all values in place.
#[derive(Debug)]
pub enum Predicate {
    /// All hold.
    And(Vec<Predicate>),
    /// At least one holds.
    Or(Vec<Predicate>),
    /// It does not hold.
    Not(Box<Predicate>),
    /// A test of one field.
    Field(Path, Test),
}

/// A test of one value.
#[derive(Debug)]
pub enum Test {
    /// Compares, with any comparison but `!=`.
    Compare(Comparison, ValueBuf),
    /// Equals one of these.
    In(Vec<ValueBuf>),
    /// Lies between these, ends included.
    Between(ValueBuf, ValueBuf),
    /// A string that holds this one; an array that has this item.
    Contains(ValueBuf),
    /// A string that begins so.
    StartsWith(String),
    /// A string in which the pattern is found.
    Matches(Regex),
    /// Any value, null too.
    Exists,
}

impl Predicate {
    /// Whether it tests the field of this path.
    pub(super) fn names(&self, path: &str) -> bool {
        match self {
            Predicate::And(parts) | Predicate::Or(parts) => parts.iter().any(|p| p.names(path)),
            Predicate::Not(inner) => inner.names(path),
            Predicate::Field(field, _) => field.0 == path,
        }
    }

    /// Whether the document under `key` meets it.
    pub fn holds(&self, key: Key, doc: Doc<'_>) -> bool {
        match self {
            Predicate::And(all) => all.iter().all(|p| p.holds(key, doc)),
            Predicate::Or(any) => any.iter().any(|p| p.holds(key, doc)),
            Predicate::Not(p) => !p.holds(key, doc),
            Predicate::Field(path, test) => field_holds(path, test, key, doc),
        }
    }

    /// Whether a row of a group meets it: its fields have dotted names, and `key`
    /// is a field like any other.
    pub fn holds_for_group(&self, row: Doc<'_>) -> bool {
        match self {
            Predicate::And(all) => all.iter().all(|p| p.holds_for_group(row)),
            Predicate::Or(any) => any.iter().any(|p| p.holds_for_group(row)),
            Predicate::Not(p) => !p.holds_for_group(row),
            Predicate::Field(Path(path), test) => match row.get(path) {
                Some(value) => test.holds_at(value),
                None => within_group(row, path).is_some_and(|(value, rest)| {
                    let mut holder = DocBuf::new();
                    holder.push("v", value);
                    holder.finish().is_ok_and(|held| {
                        let path = format!("v.{rest}");
                        visit_holds(&path, test, Doc::trusted(&held))
                    })
                }),
            },
        }
    }
}

/// The field of a group that a longer path leads into, and the rest of the path.
pub(super) fn within_group<'a, 'p>(row: Doc<'a>, path: &'p str) -> Option<(Value<'a>, &'p str)> {
    path.rmatch_indices('.').find_map(|(dot, _)| Some((row.get(&path[..dot])?, &path[dot + 1..])))
}

fn field_holds(path: &Path, test: &Test, key: Key, doc: Doc<'_>) -> bool {
    if path.is_key() {
        return test.holds(Value::String(&key.to_string()));
    }
    if !path.0.contains('.') {
        // The common case: one field, found by its name alone.
        return doc.get(&path.0).is_some_and(|value| test.holds_at(value));
    }
    visit_holds(&path.0, test, doc)
}

fn visit_holds(path: &str, test: &Test, doc: Doc<'_>) -> bool {
    let found = doc.visit(path, Arrays::Both, &mut |value| {
        if test.holds(value) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    found.is_break()
}

impl Test {
    /// For the value at the end of a path: an array, or one of its items.
    fn holds_at(&self, value: Value<'_>) -> bool {
        let holds_of_an_item = || match value {
            Value::Array(items) => items.iter().any(|item| self.holds(item)),
            _ => false,
        };
        self.holds(value) || holds_of_an_item()
    }

    /// For one value; an array is one value.
    pub(super) fn holds(&self, value: Value<'_>) -> bool {
        match self {
            Test::Compare(comparison, with) => compares(value, *comparison, with.get()),
            Test::In(values) => values.iter().any(|v| compares(value, Comparison::Equal, v.get())),
            Test::Between(low, high) => {
                compares(value, Comparison::GreaterOrEqual, low.get())
                    && compares(value, Comparison::LessOrEqual, high.get())
            }
            Test::Contains(part) => match (value, part.get()) {
                (Value::String(text), Value::String(part)) => text.contains(part),
                (Value::Array(items), part) => {
                    items.iter().any(|item| compares(item, Comparison::Equal, part))
                }
                _ => false,
            },
            Test::StartsWith(start) => value.as_str().is_some_and(|text| text.starts_with(start)),
            Test::Matches(pattern) => value.as_str().is_some_and(|text| pattern.is_match(text)),
            Test::Exists => true,
        }
    }
}

fn compares(left: Value<'_>, comparison: Comparison, right: Value<'_>) -> bool {
    if !order::same_class(left, right) {
        return false;
    }
    let order = order::compare(Some(left), Some(right));
    match comparison {
        Comparison::Equal => order == Ordering::Equal,
        Comparison::NotEqual => order != Ordering::Equal,
        Comparison::Greater => order == Ordering::Greater,
        Comparison::GreaterOrEqual => order != Ordering::Less,
        Comparison::Less => order == Ordering::Less,
        Comparison::LessOrEqual => order != Ordering::Greater,
    }
}
