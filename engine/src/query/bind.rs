//! A parsed query and its parameters become a plan.
//!
//! Invariant: a plan holds values only; every parameter was given, had a type
//! that fits its place, and was used. A plan is bounded: [`MAX_VALUES_BYTES`]. Its
//! conditions have the one form of `normal.rs`.

use crate::error::shown;
use crate::pql::ast::{
    self, Comparison, Expr, Image, KeyOperand, Lookup, Mutation, Operand, Order, Output, Path,
    Query, Select, Shape, Verb,
};
use crate::query::edit::{self, Edit};
use crate::query::normal::normal;
use crate::query::pattern::{MAX_PATTERN_BYTES, compiled};
use crate::query::predicate::{Predicate, Test};
use proto::Key;
use proto::doc::{Doc, Value, ValueBuf};
use std::cell::Cell;
use std::sync::Arc;

/// What the parameters, each time they are used, and the patterns of one query may
/// take together, in bytes: a short text can name a long parameter very often.
pub const MAX_VALUES_BYTES: usize = 32 << 20;

/// What to do, with all values in place.
#[derive(Debug)]
pub enum Plan {
    /// The document under a key.
    Get(Key),
    /// Adds this document: BSON.
    Insert {
        /// BSON.
        document: Vec<u8>,
        /// Whether it is given back.
        returning: bool,
    },
    /// Chooses documents.
    Select(Arc<SelectPlan>),
}

/// A [`Select`] with all values in place.
#[derive(Debug)]
pub struct SelectPlan {
    /// Which documents; `None` chooses all.
    pub filter: Option<Predicate>,
    /// Documents of other stores to put into these.
    pub lookups: Vec<Lookup>,
    /// Which of those, with what was put into them.
    pub joined: Option<Predicate>,
    /// What rows are made of the documents, if not they themselves.
    pub shape: Option<Shape>,
    /// Which groups.
    pub having: Option<Predicate>,
    /// How the result is ordered.
    pub order: Vec<Order>,
    /// Rows to leave out.
    pub skip: u64,
    /// Rows to give at most.
    pub limit: Option<u64>,
    /// What becomes of them.
    pub output: Outcome,
}

/// An [`Output`] with all values in place.
#[derive(Debug)]
#[allow(missing_docs)] // As in `Output`.
pub enum Outcome {
    Rows,
    Pluck(Vec<Path>),
    Count,
    Mutate { how: Change, returning: Option<Image> },
}

/// A [`Mutation`] with all values in place.
#[derive(Debug)]
#[allow(missing_docs)] // As in `Mutation`.
pub enum Change {
    Edit(Vec<Edit>),
    Replace(Vec<u8>),
    Delete,
}

impl Change {
    /// Whether a document is made where none was chosen.
    pub fn upserts(&self) -> bool {
        matches!(self, Change::Edit(edits) if edits.iter().any(|e| matches!(e, Edit::Upsert(_))))
    }
}

/// Puts `parameters`, a document of fields "1", "2", .., into `query`.
///
/// # Errors
/// What does not fit, in words.
pub fn bind(query: &Query, parameters: Option<Doc<'_>>) -> Result<Plan, String> {
    let given = Given { parameters, left: Cell::new(MAX_VALUES_BYTES) };
    given.check(query.parameters)?;
    Ok(match &query.verb {
        Verb::Get(KeyOperand::Key(key)) => Plan::Get(*key),
        Verb::Get(KeyOperand::Parameter(n)) => Plan::Get(given.key(*n)?),
        Verb::Insert { document, returning } => {
            Plan::Insert { document: given.document(document, "insert")?, returning: *returning }
        }
        Verb::Select(select) => Plan::Select(Arc::new(given.select(select)?)),
    })
}

struct Given<'a> {
    parameters: Option<Doc<'a>>,
    /// Bytes that values and patterns may still take.
    left: Cell<usize>,
}

impl Given<'_> {
    fn check(&self, wanted: u16) -> Result<(), String> {
        let given = self.parameters.map_or(0, |doc| doc.iter().count());
        for n in 1..=wanted {
            self.value(n)?;
        }
        if given == usize::from(wanted) {
            return Ok(());
        }
        Err(format!(
            "the query uses {wanted} parameters and {given} were given: give as many as it uses"
        ))
    }

    fn value(&self, n: u16) -> Result<Value<'_>, String> {
        let value = self.parameters.as_ref().and_then(|doc| doc.get(&n.to_string()));
        value.ok_or_else(|| {
            format!(
                "parameter ${n} is not given: give its value beside the query (planctl: --param)"
            )
        })
    }

    fn take(&self, bytes: usize) -> Result<(), String> {
        let Some(left) = self.left.get().checked_sub(bytes) else {
            return Err(format!(
                "the values and patterns of this query take more than {MAX_VALUES_BYTES} bytes: use \
                 long parameters once, and fewer patterns"
            ));
        };
        self.left.set(left);
        Ok(())
    }

    fn operand(&self, operand: &Operand) -> Result<ValueBuf, String> {
        match operand {
            Operand::Value(value) => Ok(value.clone()),
            Operand::Parameter(n) => {
                let value = self.value(*n)?;
                self.take(size(&value))?;
                ValueBuf::new(value).map_err(|e| format!("parameter ${n}: {e}"))
            }
        }
    }

    fn key(&self, n: u16) -> Result<Key, String> {
        let value = self.value(n)?;
        let text = value
            .as_str()
            .ok_or_else(|| wrong_type(&value, "get", "a string of 32 hexadecimal digits"))?;
        text.parse().map_err(|e| format!("parameter ${n}: {e}"))
    }

    fn document(&self, operand: &Operand, step: &str) -> Result<Vec<u8>, String> {
        let value = self.operand(operand)?;
        match value.get() {
            Value::Doc(doc) => Ok(doc.as_bytes().to_vec()),
            other => Err(wrong_type(&other, step, "a document")),
        }
    }

    fn count(&self, operand: &Operand, step: &str) -> Result<u64, String> {
        let value = self.operand(operand)?;
        let number = value.get().as_i64().and_then(|n| u64::try_from(n).ok());
        number.ok_or_else(|| wrong_type(&value.get(), step, "a whole number, 0 or more"))
    }

    fn text(&self, operand: &Operand, operator: &str) -> Result<String, String> {
        let value = self.operand(operand)?;
        let text = value.get().as_str().map(str::to_owned);
        text.ok_or_else(|| wrong_type(&value.get(), operator, "a string"))
    }

    fn select(&self, select: &Select) -> Result<SelectPlan, String> {
        let output = match &select.output {
            Output::Rows => Outcome::Rows,
            Output::Pluck(paths) => Outcome::Pluck(paths.clone()),
            Output::Count => Outcome::Count,
            Output::Mutate { how, returning } => {
                Outcome::Mutate { how: self.change(how)?, returning: *returning }
            }
        };
        let predicate =
            |expr: &Option<Expr>| expr.as_ref().map(|e| self.predicate(e).map(normal)).transpose();
        Ok(SelectPlan {
            filter: predicate(&select.filter)?,
            lookups: select.lookups.clone(),
            joined: predicate(&select.joined)?,
            shape: select.shape.clone(),
            having: predicate(&select.having)?,
            order: select.order.clone(),
            skip: select.skip.as_ref().map_or(Ok(0), |n| self.count(n, "skip"))?,
            limit: select.limit.as_ref().map(|n| self.count(n, "limit")).transpose()?,
            output,
        })
    }

    fn change(&self, how: &Mutation) -> Result<Change, String> {
        let edit = |edit: &ast::Edit| {
            Ok(match edit {
                ast::Edit::Set(fields) => Edit::Set(self.document(fields, "set")?),
                ast::Edit::Unset(paths) => Edit::Unset(paths.clone()),
                ast::Edit::Inc(fields) => Edit::Inc(self.document(fields, "inc")?),
                ast::Edit::Push(fields) => Edit::Push(self.document(fields, "push")?),
                ast::Edit::Upsert(fields) => Edit::Upsert(self.document(fields, "upsert")?),
            })
        };
        Ok(match how {
            Mutation::Edit(edits) => {
                let edits = edits.iter().map(edit).collect::<Result<Vec<_>, String>>()?;
                edit::check(&edits)?;
                Change::Edit(edits)
            }
            Mutation::Replace(document) => Change::Replace(self.document(document, "replace")?),
            Mutation::Delete => Change::Delete,
        })
    }

    fn predicate(&self, expr: &Expr) -> Result<Predicate, String> {
        let all =
            |exprs: &[Expr]| exprs.iter().map(|e| self.predicate(e)).collect::<Result<_, _>>();
        let test = |path: &Path, test| Predicate::Field(path.clone(), test);
        Ok(match expr {
            Expr::And(exprs) => Predicate::And(all(exprs)?),
            Expr::Or(exprs) => Predicate::Or(all(exprs)?),
            Expr::Not(expr) => Predicate::Not(Box::new(self.predicate(expr)?)),
            // `!=` is exactly "not =": true also where the field is missing.
            Expr::Compare(path, Comparison::NotEqual, operand) => {
                let equal = test(path, Test::Compare(Comparison::Equal, self.operand(operand)?));
                Predicate::Not(Box::new(equal))
            }
            Expr::Compare(path, comparison, operand) => {
                test(path, Test::Compare(*comparison, self.operand(operand)?))
            }
            Expr::In(path, operands) => {
                let values = operands.iter().map(|o| self.operand(o)).collect::<Result<_, _>>()?;
                test(path, Test::one_of(values))
            }
            Expr::Between(path, low, high) => {
                test(path, Test::Between(self.operand(low)?, self.operand(high)?))
            }
            Expr::Contains(path, operand) => test(path, Test::Contains(self.operand(operand)?)),
            Expr::StartsWith(path, operand) => {
                test(path, Test::StartsWith(self.text(operand, "startsWith")?))
            }
            Expr::Matches(path, operand) => {
                let pattern = self.text(operand, "~")?;
                self.take(MAX_PATTERN_BYTES)?;
                let regex = compiled(&pattern);
                let regex = regex.map_err(|e| no_pattern(&pattern, &e.to_string()))?;
                test(path, Test::Matches(regex))
            }
            Expr::Exists(path) => test(path, Test::Exists),
        })
    }
}

/// What is wrong with a pattern; of what its parser draws, the last line says it.
fn no_pattern(pattern: &str, fault: &str) -> String {
    let fault = fault.rsplit("error: ").next().unwrap_or_default().trim_end_matches('.');
    format!(
        "~: {} is no regular expression that can be taken: {fault}; a sign that stands for itself has a \\ before it",
        shown(pattern)
    )
}

/// Bytes a copy of a value takes, about.
fn size(value: &Value<'_>) -> usize {
    32 + match value {
        Value::Doc(doc) => doc.as_bytes().len(),
        Value::Array(items) => items.as_bytes().len(),
        Value::String(text) => text.len(),
        Value::Binary(binary) => binary.bytes.len(),
        Value::Regex(regex) => regex.pattern.len() + regex.options.len(),
        _ => 0,
    }
}

fn wrong_type(value: &Value<'_>, place: &str, wanted: &str) -> String {
    format!("{place} takes {wanted}, not {}", value.type_name())
}
