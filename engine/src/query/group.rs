//! Groups and their figures.
//!
//! What must stay true: values that are equal in the order of `orderBy` (1 and
//! 1.0) make one group, shown with the first value met; the groups come out in
//! that order; memory is counted, and passing the bound is an error by name.

use crate::pql::ast::{Aggregate, Function, Path};
use crate::query::{Budget, QueryError, field};
use proto::Key;
use proto::doc::{Doc, DocBuf, Value, ValueBuf};
use proto::order;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Bytes a group takes beside its key, values and figures.
const OVERHEAD: usize = 96;

/// The groups so far.
pub(super) struct Groups<'p> {
    by: &'p [Path],
    aggregates: &'p [Aggregate],
    groups: BTreeMap<Vec<u8>, Group>,
    scratch: Vec<u8>,
}

struct Group {
    values: Vec<Option<ValueBuf>>,
    figures: Vec<Figure>,
}

impl<'p> Groups<'p> {
    pub(super) fn new(by: &'p [Path], aggregates: &'p [Aggregate]) -> Self {
        let mut groups = Groups { by, aggregates, groups: BTreeMap::new(), scratch: Vec::new() };
        if by.is_empty() {
            // Figures of everything exist even when there is nothing.
            groups.groups.insert(Vec::new(), groups.empty_group(vec![]));
        }
        groups
    }

    fn empty_group(&self, values: Vec<Option<ValueBuf>>) -> Group {
        let figures = self.aggregates.iter().map(|a| Figure::new(a.function)).collect();
        Group { values, figures }
    }

    pub(super) fn add(
        &mut self,
        key: Key,
        doc: Doc<'_>,
        budget: &mut Budget,
    ) -> Result<(), QueryError> {
        let text = key.to_string();
        self.scratch.clear();
        for path in self.by {
            order::order_key(field(path, &text, doc), &mut self.scratch);
        }
        if !self.groups.contains_key(&self.scratch) {
            let mut size =
                OVERHEAD + self.scratch.len() + self.aggregates.len() * size_of::<Figure>();
            let mut values = Vec::with_capacity(self.by.len());
            for path in self.by {
                let value = field(path, &text, doc).map(ValueBuf::new).transpose();
                let value = value.map_err(|e| QueryError::document(key, &e))?;
                size += size_of::<Option<ValueBuf>>() + value.as_ref().map_or(0, ValueBuf::size);
                values.push(value);
            }
            budget.take(size, "group")?;
            let group = self.empty_group(values);
            self.groups.insert(self.scratch.clone(), group);
        }
        let Some(group) = self.groups.get_mut(&self.scratch) else { return Ok(()) };
        for (aggregate, figure) in self.aggregates.iter().zip(&mut group.figures) {
            match &aggregate.path {
                None => figure.count(),
                Some(path) => figure.add(field(path, &text, doc), key, budget)?,
            }
        }
        Ok(())
    }

    /// A document for each group: its fields, then its figures.
    pub(super) fn finish(self) -> Result<Vec<Vec<u8>>, QueryError> {
        let (by, aggregates) = (self.by, self.aggregates);
        let document = |group: Group| {
            let mut row = DocBuf::new();
            for (path, value) in by.iter().zip(&group.values) {
                if let Some(value) = value {
                    row.push(&path.0, value);
                }
            }
            for (aggregate, figure) in aggregates.iter().zip(&group.figures) {
                figure.write(&aggregate.alias, &mut row);
            }
            row.finish().map_err(|e| {
                QueryError::bad(format!("a group cannot be shown: {e}; use other aliases"))
            })
        };
        self.groups.into_values().map(document).collect()
    }
}

/// One figure of one group, being computed.
enum Figure {
    Count(u64),
    Sum(Sum),
    Avg(Sum, u64),
    Extreme { keep: Ordering, best: Option<ValueBuf> },
}

/// A sum: exact while all are integers and it fits, else a double with the error
/// of each addition kept (Neumaier), so that order hardly matters.
#[derive(Default)]
struct Sum {
    whole: i128,
    float: f64,
    lost: f64,
    floats: bool,
}

impl Sum {
    fn add(&mut self, value: Value<'_>) {
        match value {
            Value::Int32(_) | Value::Int64(_) => {
                self.whole += i128::from(value.as_i64().unwrap_or(0))
            }
            other => {
                let Some(number) = other.as_f64() else { return };
                self.floats = true;
                let sum = self.float + number;
                if sum.is_finite() {
                    self.lost += if self.float.abs() >= number.abs() {
                        (self.float - sum) + number
                    } else {
                        (number - sum) + self.float
                    };
                }
                self.float = sum;
            }
        }
    }

    fn float(&self) -> f64 {
        self.whole as f64 + (self.float + self.lost)
    }

    fn value(&self) -> Value<'static> {
        match i64::try_from(self.whole) {
            Ok(whole) if !self.floats => {
                i32::try_from(whole).map_or(Value::Int64(whole), Value::Int32)
            }
            _ => Value::Double(self.float()),
        }
    }
}

impl Figure {
    fn new(function: Function) -> Figure {
        match function {
            Function::Count => Figure::Count(0),
            Function::Sum => Figure::Sum(Sum::default()),
            Function::Avg => Figure::Avg(Sum::default(), 0),
            Function::Min => Figure::Extreme { keep: Ordering::Less, best: None },
            Function::Max => Figure::Extreme { keep: Ordering::Greater, best: None },
        }
    }

    fn count(&mut self) {
        if let Figure::Count(n) = self {
            *n += 1;
        }
    }

    fn add(
        &mut self,
        value: Option<Value<'_>>,
        key: Key,
        budget: &mut Budget,
    ) -> Result<(), QueryError> {
        let Some(value) = value.filter(|value| *value != Value::Null) else { return Ok(()) };
        match self {
            Figure::Count(n) => *n += 1,
            Figure::Sum(sum) if value.is_number() => sum.add(value),
            Figure::Avg(sum, n) if value.is_number() => {
                sum.add(value);
                *n += 1;
            }
            Figure::Sum(_) | Figure::Avg(..) => {}
            Figure::Extreme { keep, best } => {
                let current = best.as_ref().map(ValueBuf::get);
                if current.is_none() || order::compare(Some(value), current) == *keep {
                    let value = ValueBuf::new(value).map_err(|e| QueryError::document(key, &e))?;
                    let before = best.as_ref().map_or(0, ValueBuf::size);
                    budget.take(value.size().saturating_sub(before), "group")?;
                    *best = Some(value);
                }
            }
        }
        Ok(())
    }

    fn write(&self, alias: &str, row: &mut DocBuf) {
        match self {
            Figure::Count(n) => row.push(alias, i64::try_from(*n).unwrap_or(i64::MAX)),
            Figure::Sum(sum) => row.push(alias, sum.value()),
            Figure::Avg(_, 0) => row.push(alias, Value::Null),
            Figure::Avg(sum, n) => row.push(alias, sum.float() / *n as f64),
            Figure::Extreme { best, .. } => row.push(alias, best.as_ref().map(ValueBuf::get)),
        };
    }
}
