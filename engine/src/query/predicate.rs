//! Whether a document meets a condition.
//!
//! What must stay true:
//! * A comparison holds only between values of one kind (numbers with numbers,
//!   strings with strings, ..); a missing field meets no comparison, and null
//!   equals null alone. `!=` is exactly "not `=`".
//! * Where a path leads to an array, a test holds if it holds for the array or
//!   for one of its items, as a multikey index would find it.
//! * `key` is the primary key: a string of 32 lower-case hexadecimal digits.
//! * Each item of an array that is looked at is told to a [`Meter`], so that a query ends
//!   within a document too; one value is looked for in a list by halving it.

use crate::pql::ast::{Comparison, Path};
use proto::Key;
use proto::doc::{Arrays, Doc, DocBuf, Value, ValueBuf};
use proto::order;
use regex::Regex;
use std::cmp::Ordering;
use std::convert::Infallible;
use std::ops::ControlFlow;

use super::QueryError;
use super::work::Work;

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
    /// Equals one of these, which are in order: [`Test::one_of`].
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
        let Ok(holds) = self.tested(key, doc, &Unmeasured);
        holds
    }

    /// As [`Predicate::holds`], for a query.
    ///
    /// # Errors
    /// The deadline has passed, or the query was cancelled.
    pub(super) fn holds_for(
        &self,
        key: Key,
        doc: Doc<'_>,
        work: &Work,
    ) -> Result<bool, QueryError> {
        self.tested(key, doc, work)
    }

    /// Whether a row of a group meets it: its fields have dotted names, and `key`
    /// is a field like any other.
    ///
    /// # Errors
    /// As [`Predicate::holds_for`].
    pub(super) fn holds_for_group(&self, row: Doc<'_>, work: &Work) -> Result<bool, QueryError> {
        match self {
            Predicate::And(all) => every(all, |p| p.holds_for_group(row, work)),
            Predicate::Or(any) => some(any, |p| p.holds_for_group(row, work)),
            Predicate::Not(p) => Ok(!p.holds_for_group(row, work)?),
            Predicate::Field(Path(path), test) => match row.get(path) {
                Some(value) => test.holds_at(value, work),
                None => {
                    let Some((value, rest)) = within_group(row, path) else { return Ok(false) };
                    let mut holder = DocBuf::new();
                    holder.push("v", value);
                    let Ok(held) = holder.finish() else { return Ok(false) };
                    visit_holds(&format!("v.{rest}"), test, Doc::trusted(&held), work)
                }
            },
        }
    }

    fn tested<M: Meter>(&self, key: Key, doc: Doc<'_>, meter: &M) -> Result<bool, M::Stop> {
        match self {
            Predicate::And(all) => every(all, |p| p.tested(key, doc, meter)),
            Predicate::Or(any) => some(any, |p| p.tested(key, doc, meter)),
            Predicate::Not(p) => Ok(!p.tested(key, doc, meter)?),
            Predicate::Field(path, test) => field_holds(path, test, key, doc, meter),
        }
    }
}

/// Is told of each item looked at, and may end it.
trait Meter {
    type Stop;

    fn item(&self) -> Result<(), Self::Stop>;
}

impl Meter for Work {
    type Stop = QueryError;

    fn item(&self) -> Result<(), QueryError> {
        self.tick(0)
    }
}

/// For one document, where nobody waits.
struct Unmeasured;

impl Meter for Unmeasured {
    type Stop = Infallible;

    fn item(&self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Whether it holds for all, up to the first for which it does not.
fn every<T, E>(
    of: impl IntoIterator<Item = T>,
    holds: impl Fn(T) -> Result<bool, E>,
) -> Result<bool, E> {
    for one in of {
        if !holds(one)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether it holds for one, the first.
fn some<T, E>(
    of: impl IntoIterator<Item = T>,
    holds: impl Fn(T) -> Result<bool, E>,
) -> Result<bool, E> {
    every(of, |one| Ok(!holds(one)?)).map(|none| !none)
}

/// The field of a group that a longer path leads into, and the rest of the path.
pub(super) fn within_group<'a, 'p>(row: Doc<'a>, path: &'p str) -> Option<(Value<'a>, &'p str)> {
    path.rmatch_indices('.').find_map(|(dot, _)| Some((row.get(&path[..dot])?, &path[dot + 1..])))
}

fn field_holds<M: Meter>(
    path: &Path,
    test: &Test,
    key: Key,
    doc: Doc<'_>,
    meter: &M,
) -> Result<bool, M::Stop> {
    if path.is_key() {
        return test.tested(Value::String(&key.to_string()), meter);
    }
    if !path.0.contains('.') {
        // The common case: one field, found by its name alone.
        return doc.get(&path.0).map_or(Ok(false), |value| test.holds_at(value, meter));
    }
    visit_holds(&path.0, test, doc, meter)
}

fn visit_holds<M: Meter>(
    path: &str,
    test: &Test,
    doc: Doc<'_>,
    meter: &M,
) -> Result<bool, M::Stop> {
    let mut outcome = Ok(false);
    let end = doc.visit(path, Arrays::Both, &mut |value| {
        outcome = meter.item().and_then(|()| test.tested(value, meter));
        if let Ok(false) = outcome { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    debug_assert!(end.is_break() || matches!(outcome, Ok(false)), "it ends where it is known");
    outcome
}

impl Test {
    /// That a value equals one of these.
    pub(super) fn one_of(mut values: Vec<ValueBuf>) -> Test {
        let order = |a: &ValueBuf, b: &ValueBuf| order::compare(Some(a.get()), Some(b.get()));
        values.sort_by(order);
        values.dedup_by(|a, b| order(a, b) == Ordering::Equal);
        Test::In(values)
    }

    /// For the value at the end of a path: an array, or one of its items.
    fn holds_at<M: Meter>(&self, value: Value<'_>, meter: &M) -> Result<bool, M::Stop> {
        if self.tested(value, meter)? {
            return Ok(true);
        }
        let Value::Array(items) = value else { return Ok(false) };
        some(items, |item| {
            meter.item()?;
            self.tested(item, meter)
        })
    }

    /// For one value; an array is one value.
    pub(super) fn holds(&self, value: Value<'_>) -> bool {
        let Ok(holds) = self.tested(value, &Unmeasured);
        holds
    }

    /// As [`Test::holds`], metered.
    fn tested<M: Meter>(&self, value: Value<'_>, meter: &M) -> Result<bool, M::Stop> {
        Ok(match self {
            Test::Compare(comparison, with) => compares(value, *comparison, with.get()),
            Test::In(values) => {
                // Values of different classes are never equal in the order.
                let to = |other: &ValueBuf| order::compare(Some(other.get()), Some(value));
                values.binary_search_by(to).is_ok()
            }
            Test::Between(low, high) => {
                compares(value, Comparison::GreaterOrEqual, low.get())
                    && compares(value, Comparison::LessOrEqual, high.get())
            }
            Test::Contains(part) => match (value, part.get()) {
                (Value::String(text), Value::String(part)) => text.contains(part),
                (Value::Array(items), part) => some(items, |item| {
                    meter.item()?;
                    Ok(compares(item, Comparison::Equal, part))
                })?,
                _ => false,
            },
            Test::StartsWith(start) => value.as_str().is_some_and(|text| text.starts_with(start)),
            Test::Matches(pattern) => value.as_str().is_some_and(|text| pattern.is_match(text)),
            Test::Exists => true,
        })
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
