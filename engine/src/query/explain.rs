//! `explain()`: how a query is carried out, and what that took.
//!
//! What must stay true: the steps told are the operators of `run.rs`, in their
//! order, and the figures are those of a real run; a query that would change
//! documents only chooses them here.
//!
//! ```text
//! {store, plan: [{step, ..}], examined, returned, time_us, memory_bytes,
//!  spilled_bytes, spilled_runs}
//! ```
//! The first step is the access: `{step: "scan", store, by: "key", from, to, reverse,
//! keys_only}`; `from` and `to` are missing where every key is read. Or `{step: "index",
//! store, parts: [{index, fields, ranges, expected}], reverse}`: the indexes that lead to
//! the documents, by how many of their fields, in how many ranges, and how many entries
//! were expected there.

use std::fmt;
use std::sync::Arc;

use lsm::Direction;
use proto::doc::DocBuf;

use super::access::Access;
use super::bind::Change;
use super::foreign::Way;
use super::range::{KeyRange, key_range};
use super::run::{Scope, keys_only, operators, scan_order};
use super::{Outcome, QueryError, SelectPlan};
use crate::index::Index;
use crate::pql::ast::{Order, Path, Select, Shape};
use crate::pql::format;

/// The way a query goes, to be told in one line: `index a_b, filter, sort, cut`.
pub(super) struct Way {
    plan: Arc<SelectPlan>,
    /// The indexes that lead to its documents; without any it is a scan.
    indexes: Vec<Arc<Index>>,
}

impl Way {
    pub(super) fn new(plan: &Arc<SelectPlan>, access: Option<&Access>) -> Way {
        let parts = access.into_iter().flat_map(|access| &access.parts);
        let mut indexes: Vec<_> = parts.map(|part| Arc::clone(&part.index)).collect();
        indexes.dedup_by(|a, b| Arc::ptr_eq(a, b));
        Way { plan: Arc::clone(plan), indexes }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = &*self.plan;
        if self.indexes.is_empty() {
            f.write_str("scan")?;
        }
        for (number, index) in self.indexes.iter().enumerate() {
            write!(f, "{}index {}", if number == 0 { "" } else { " + " }, index.name)?;
        }
        let output = match &plan.output {
            Outcome::Rows => None,
            Outcome::Pluck(_) => Some("pluck"),
            Outcome::Count => Some("count"),
            Outcome::Mutate { .. } => Some("change"),
        };
        for (there, step) in [
            (plan.filter.is_some(), "filter"),
            (!plan.lookups.is_empty(), "lookup"),
            (plan.joined.is_some(), "filter"),
            (plan.shape.is_some(), "group"),
            (plan.having.is_some(), "having"),
            (scan_order(plan).is_none(), "sort"),
            (plan.skip > 0 || plan.limit.is_some(), "cut"),
            (output.is_some(), output.unwrap_or_default()),
        ] {
            if there {
                write!(f, ", {step}")?;
            }
        }
        Ok(())
    }
}

/// Runs a query without giving its rows; tells how it went.
pub(crate) fn explain(
    scope: Scope<'_>,
    store: &str,
    query: &Select,
    plan: &Arc<SelectPlan>,
) -> Result<Vec<u8>, QueryError> {
    let mut returned = 0i64;
    let (mut rows, access) = operators(scope, plan)?;
    while rows.advance(scope.work)? {
        returned += 1;
    }
    drop(rows);
    let figures = scope.work.figures();
    let mut doc = DocBuf::new();
    doc.push("store", store);
    doc.array("plan", |steps| describe(steps, store, query, plan, (access.as_ref(), scope)));
    doc.push("examined", number(figures.examined));
    doc.push("returned", returned);
    doc.push("time_us", number(figures.micros));
    doc.push("memory_bytes", number(figures.memory as u64));
    doc.push("spilled_bytes", number(figures.spilled));
    doc.push("spilled_runs", number(figures.runs));
    doc.finish().map_err(|e| QueryError::bad(format!("explain: {e}")))
}

fn describe(
    steps: &mut DocBuf,
    store: &str,
    query: &Select,
    plan: &SelectPlan,
    (access, scope): (Option<&Access>, Scope<'_>),
) {
    let range = key_range(plan.filter.as_ref());
    let reverse = scan_order(plan) == Some(Direction::Reverse);
    if let Some(access) = access {
        step(steps, "index", |doc| {
            doc.push("store", store);
            doc.array("parts", |parts| {
                for part in &access.parts {
                    parts.item_doc(|doc| {
                        doc.push("index", part.index.name.as_str());
                        doc.push("fields", number(part.fields as u64));
                        doc.push("ranges", number(part.bounds.len() as u64));
                        doc.push("expected", number(part.entries));
                    });
                }
            });
            doc.push("reverse", reverse);
        });
        return behind(steps, query, plan, scope);
    }
    step(steps, "scan", |scan| {
        scan.push("store", store).push("by", "key");
        if range.is_empty() {
            scan.push("nothing", true);
        } else if range != KeyRange::ALL {
            scan.push("from", range.low.to_string().as_str());
            scan.push("to", range.high.to_string().as_str());
        }
        scan.push("reverse", reverse);
        scan.push("keys_only", keys_only(plan));
    });
    behind(steps, query, plan, scope);
}

/// The steps behind the access.
fn behind(steps: &mut DocBuf, query: &Select, plan: &SelectPlan, scope: Scope<'_>) {
    let condition = |steps: &mut DocBuf, name: &str, of: &Option<crate::pql::ast::Expr>| {
        if let Some(of) = of {
            step(steps, name, |doc| {
                doc.push("condition", format::expr(of).as_str());
            });
        }
    };
    condition(steps, "filter", &query.filter);
    for (lookup, foreign) in plan.lookups.iter().zip(scope.lookups) {
        step(steps, "lookup", |doc| {
            let (way, index) = match foreign.way(lookup) {
                Way::Key => ("key", None),
                Way::Index(index) => ("index", Some(index)),
                Way::Hash => ("hash", None),
            };
            let on = format!("{} = {}", format::path(&lookup.local), format::path(&lookup.foreign));
            doc.push("store", &lookup.store).push("by", way).push("on", on.as_str());
            if let Some(index) = index {
                doc.push("index", index.name.as_str());
            }
            doc.push("as", &lookup.name).push("one", lookup.one);
        });
    }
    condition(steps, "filter", &query.joined);
    match &plan.shape {
        Some(Shape::Group { by, aggregates }) => step(steps, "group", |doc| {
            doc.push("by", names(by).as_str()).push("figures", aggregates.len() as i64);
        }),
        Some(Shape::Distinct(by)) => step(steps, "distinct", |doc| {
            doc.push("by", names(by).as_str());
        }),
        None => {}
    }
    condition(steps, "having", &query.having);
    if scan_order(plan).is_none() {
        step(steps, "sort", |doc| {
            doc.push("by", order(&plan.order).as_str());
            if let Some(limit) = plan.limit {
                let kept = plan.skip.saturating_add(limit);
                doc.push("keeps", i64::try_from(kept).unwrap_or(i64::MAX));
            }
        });
    }
    if plan.skip > 0 || plan.limit.is_some() {
        step(steps, "cut", |doc| {
            doc.push("skip", i64::try_from(plan.skip).unwrap_or(i64::MAX));
            if let Some(limit) = plan.limit {
                doc.push("limit", i64::try_from(limit).unwrap_or(i64::MAX));
            }
        });
    }
    match &plan.output {
        Outcome::Rows => {}
        Outcome::Pluck(paths) => step(steps, "pluck", |doc| {
            doc.push("fields", names(paths).as_str());
        }),
        Outcome::Count => step(steps, "count", |_| {}),
        Outcome::Mutate { how, .. } => {
            let name = match how {
                Change::Edit(_) => "edit",
                Change::Replace(_) => "replace",
                Change::Delete => "delete",
            };
            step(steps, name, |doc| {
                doc.push("done", false);
            });
        }
    }
}

fn step(steps: &mut DocBuf, name: &str, fill: impl FnOnce(&mut DocBuf)) {
    steps.item_doc(|doc| {
        doc.push("step", name);
        fill(doc);
    });
}

fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn names(paths: &[Path]) -> String {
    paths.iter().map(format::path).collect::<Vec<_>>().join(", ")
}

fn order(order: &[Order]) -> String {
    let one =
        |o: &Order| format!("{}{}", format::path(&o.path), if o.descending { " desc" } else { "" });
    order.iter().map(one).collect::<Vec<_>>().join(", ")
}
