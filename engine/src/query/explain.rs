//! `explain()`: how a query is carried out, and what that took.
//!
//! What must stay true: the steps told are the operators of `run.rs`, in their
//! order, and the figures are those of a real run; a query that would change
//! documents only chooses them here, and one that would insert says what it would
//! write: `{step: "insert", store, bytes, indexes: [..], done: false}`. One that gets a
//! document reads it: `{step: "get", store, key}`.
//!
//! ```text
//! {store, plan: [{step, ..}], entries, examined, returned, time_us, memory_bytes,
//!  spilled_bytes, spilled_runs}
//! ```
//! `examined` counts all that was read, of stores, indexes and lookups; `entries` those of
//! indexes among them. The first step is the access:
//! * `{step: "scan", store, by: "key", from, to, reverse, keys_only}`; `from` and `to` are
//!   missing where every key is read;
//! * `{step: "keys", store, keys, reverse}`: the documents under so many keys;
//! * `{step: "index", store, parts: [{index, on, fields, ranges, expected}], way, ordered,
//!   covered, reverse}`: the indexes that lead to the documents, by which conditions, on
//!   how many of their fields, in how many ranges, and how many entries were expected
//!   there; `way` is `fetch`, all entries first, or `walk`, one by one; whether the rows
//!   come in the order asked for, and whether no document is read. A walk that is given
//!   up if the filter proves rare has besides `otherwise`, the way taken then (`scan`,
//!   `fetch`, `keys`), `after`, the documents that are read until it is asked for, and
//!   `turned`, whether it was taken;
//! * `{step: "kept", store}`: the number of documents, which is kept.

use std::fmt;
use std::sync::Arc;

use lsm::{KeyspaceId, Snapshot};
use proto::Key;
use proto::doc::DocBuf;

use super::access::{self, Choice, Part};
use super::bind::Change;
use super::foreign::{self, Foreign};
use super::range::{KeyRange, key_range};
use super::run::{Scope, keys_only, operators};
use super::work::Work;
use super::{Outcome, QueryError, SelectPlan};
use crate::index::Index;
use crate::pql::ast::{Order, Path, Select, Shape};
use crate::pql::format;

/// The way a query goes, to be told in one line: `index a_b, filter, sort, cut`.
pub(super) struct Way {
    plan: Arc<SelectPlan>,
    /// The indexes that lead to its documents; without any, `first` says what does.
    indexes: Vec<Arc<Index>>,
    first: &'static str,
    tests: bool,
    sorts: bool,
}

impl Way {
    pub(super) fn new(plan: &Arc<SelectPlan>, choice: &Choice) -> Way {
        let (parts, first) = match &choice.way {
            access::Way::Scan => (&[][..], "scan"),
            access::Way::Keys(_) => (&[][..], "keys"),
            access::Way::Kept(_) => (&[][..], "kept"),
            access::Way::Fetch(access) => (&access.parts[..], "index"),
            access::Way::Walk { part, .. } => (std::slice::from_ref(part), "index"),
        };
        let mut indexes: Vec<_> = parts.iter().map(|part| Arc::clone(&part.index)).collect();
        indexes.dedup_by(|a, b| Arc::ptr_eq(a, b));
        let (tests, sorts) = (choice.tests(plan), choice.sorts_rows(plan));
        Way { plan: Arc::clone(plan), indexes, first, tests, sorts }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = &*self.plan;
        if self.indexes.is_empty() {
            f.write_str(self.first)?;
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
            (self.tests, "filter"),
            (!plan.lookups.is_empty(), "lookup"),
            (plan.joined.is_some(), "filter"),
            (plan.shape.is_some(), "group"),
            (plan.having.is_some(), "having"),
            (self.sorts, "sort"),
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
    let (mut rows, choice) = operators(scope, plan, true)?;
    let returned = rows.count(u64::MAX, scope.work)?;
    drop(rows);
    told(store, returned, scope.work, |steps| {
        describe(steps, store, query, plan, (&choice, scope.lookups), scope.work.has_turned());
    })
}

/// Reads a document without giving it.
pub(crate) fn explain_get(
    snapshot: &Snapshot,
    keyspace: KeyspaceId,
    store: &str,
    key: Key,
    work: &Work,
) -> Result<Vec<u8>, QueryError> {
    let document = snapshot.get(keyspace, &key.to_bytes())?;
    work.examined(document.as_ref().map_or(0, |document| document.len()))?;
    told(store, u64::from(document.is_some()), work, |steps| {
        step(steps, "get", |doc| {
            doc.push("store", store).push("key", key.to_string().as_str());
        });
    })
}

/// Says what an insert would write; it writes nothing.
pub(crate) fn explain_insert(
    store: &str,
    document: &[u8],
    indexes: &[Arc<Index>],
    work: &Work,
) -> Result<Vec<u8>, QueryError> {
    told(store, 0, work, |steps| {
        step(steps, "insert", |doc| {
            doc.push("store", store).push("bytes", number(document.len() as u64));
            doc.array("indexes", |names| {
                for index in indexes.iter().filter(|index| index.is_kept()) {
                    names.item(index.name.as_str());
                }
            });
            doc.push("done", false);
        });
    })
}

/// A plan, and what it took.
fn told(
    store: &str,
    returned: u64,
    work: &Work,
    steps: impl FnOnce(&mut DocBuf),
) -> Result<Vec<u8>, QueryError> {
    let figures = work.figures();
    let mut doc = DocBuf::new();
    doc.push("store", store);
    doc.array("plan", steps);
    doc.push("entries", number(figures.entries));
    doc.push("examined", number(figures.examined));
    doc.push("returned", number(returned));
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
    (choice, lookups): (&Choice, &[Foreign]),
    turned: bool,
) {
    let reverse = choice.reverse(plan);
    let other = choice.otherwise.as_ref();
    let index = |steps: &mut DocBuf, way: &str, parts: &[Part]| {
        step(steps, "index", |doc| {
            doc.push("store", store);
            doc.array("parts", |told| parts.iter().for_each(|part| describe_part(told, part)));
            doc.push("way", way);
            doc.push("ordered", choice.orders(plan)).push("covered", choice.covers());
            doc.push("reverse", reverse);
            if let Some(other) = other {
                doc.push("otherwise", other.to).push("after", number(other.after));
                doc.push("turned", turned);
            }
        });
    };
    match &choice.way {
        access::Way::Fetch(access) => index(steps, "fetch", &access.parts),
        access::Way::Walk { part, .. } => index(steps, "walk", std::slice::from_ref(part)),
        access::Way::Keys(keys) => step(steps, "keys", |doc| {
            doc.push("store", store).push("keys", number(keys.len() as u64));
            doc.push("reverse", reverse);
        }),
        access::Way::Kept(_) => step(steps, "kept", |doc| {
            doc.push("store", store);
        }),
        access::Way::Scan => step(steps, "scan", |scan| {
            let range = key_range(plan.filter.as_ref());
            scan.push("store", store).push("by", "key");
            if range.is_empty() {
                scan.push("nothing", true);
            } else if range != KeyRange::ALL {
                scan.push("from", range.low.to_string().as_str());
                scan.push("to", range.high.to_string().as_str());
            }
            scan.push("reverse", reverse);
            scan.push("keys_only", keys_only(plan));
        }),
    }
    behind(steps, query, plan, (choice, lookups));
}

fn describe_part(parts: &mut DocBuf, part: &Part) {
    parts.item_doc(|doc| {
        doc.push("index", part.index.name.as_str());
        doc.push("on", part.on.as_str());
        doc.push("fields", number(part.fields as u64));
        doc.push("ranges", number(part.bounds.len() as u64));
        doc.push("expected", number(part.entries));
    });
}

/// The steps behind the access.
fn behind(
    steps: &mut DocBuf,
    query: &Select,
    plan: &SelectPlan,
    (choice, lookups): (&Choice, &[Foreign]),
) {
    let condition = |steps: &mut DocBuf, name: &str, of: &Option<crate::pql::ast::Expr>| {
        if let Some(of) = of {
            step(steps, name, |doc| {
                doc.push("condition", format::expr(of).as_str());
            });
        }
    };
    match choice.rest(plan).filter(|_| choice.tests(plan)) {
        Some(rest) => step(steps, "filter", |doc| {
            doc.push("condition", rest.as_str());
        }),
        None if choice.tests(plan) => condition(steps, "filter", &query.filter),
        None => {}
    }
    for (lookup, foreign) in plan.lookups.iter().zip(lookups) {
        step(steps, "lookup", |doc| {
            let (way, index) = match foreign.way(lookup) {
                foreign::Way::Key => ("key", None),
                foreign::Way::Index(index) => ("index", Some(index)),
                foreign::Way::Hash => ("hash", None),
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
    if choice.sorts_rows(plan) {
        step(steps, "sort", |doc| {
            let by = if plan.order.is_empty() { "key".to_owned() } else { order(&plan.order) };
            doc.push("by", by.as_str());
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
