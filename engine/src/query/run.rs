//! A plan becomes operators.

use std::sync::Arc;

use lsm::{Direction, KeyspaceId, Snapshot};
use proto::Key;
use proto::doc::Doc;

use super::access::{self, Choice};
use super::bind::Change;
use super::foreign::Foreign;
use super::group::Groups;
use super::lookup::Lookup;
use super::predicate::{Predicate, Test};
use super::rows::{Cut, Filter, Pluck, Source, Which};
use super::sort::{Sort, by_key};
use super::stream::Stream;
use super::turn::Turn;
use super::work::Work;
use super::{Outcome, QueryError, SelectPlan, range};
use crate::index::Index;
use crate::pql::ast::Comparison;

/// Bytes a chosen document takes beside its own.
const CHOSEN_OVERHEAD: usize = 80;

/// Where a query looks, and what it may use.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    /// The commits it sees.
    pub snapshot: &'a Snapshot,
    /// The store's documents.
    pub keyspace: KeyspaceId,
    /// The indexes of the store, as the snapshot has them.
    pub(crate) indexes: &'a [Arc<Index>],
    /// The stores of its lookups, in their order.
    pub lookups: &'a [Foreign],
    /// What it may use, and has used.
    pub work: &'a Work,
}

/// Which way a scan goes so that its rows need no sorting; `None`: they do.
pub(super) fn scan_order(plan: &SelectPlan) -> Option<Direction> {
    if plan.order.is_empty() || matches!(plan.output, Outcome::Count) {
        return Some(Direction::Forward);
    }
    match by_key(&plan.order) {
        _ if plan.shape.is_some() => None,
        Some(true) => Some(Direction::Reverse),
        Some(false) => Some(Direction::Forward),
        None => None,
    }
}

/// Whether the documents of a scan are not looked at.
pub(super) fn keys_only(plan: &SelectPlan) -> bool {
    let unread = match &plan.output {
        Outcome::Count => true,
        Outcome::Mutate { how: Change::Delete, returning } => {
            returning.is_none() && scan_order(plan).is_some()
        }
        _ => false,
    };
    unread && plan.filter.is_none() && plan.lookups.is_empty() && plan.shape.is_none()
}

/// The operators of a plan, and the way they take; `telling`: it will be told.
pub(super) fn operators(
    scope: Scope<'_>,
    plan: &Arc<SelectPlan>,
    telling: bool,
) -> Result<(Source, Choice), QueryError> {
    let mut choice = access::choose(scope, plan, telling)?;
    let other = choice.take_other();
    let ways = other.map(|other| (choice.for_good(), other));
    let (rows, choice) = along(scope, plan, choice)?;
    scope.work.goes(plan, &choice);
    Ok(match ways {
        Some((walk, other)) => (Box::new(Turn::new(scope, plan, rows, walk, other)), choice),
        None => (rows, choice),
    })
}

/// The operators of a plan along one way. It is another one if its entries proved to be
/// too many.
pub(super) fn along(
    scope: Scope<'_>,
    plan: &Arc<SelectPlan>,
    choice: Choice,
) -> Result<(Source, Choice), QueryError> {
    let grouped = plan.shape.is_some();
    let (mut rows, choice) = choice.open(scope, plan)?;
    let filter = |input, which, settled: &[usize]| -> Source {
        Box::new(Filter { input, plan: Arc::clone(plan), which, settled: settled.to_vec() })
    };
    if choice.tests(plan) && !choice.has_tested() {
        rows = filter(rows, Which::Filter, &choice.settled);
    }
    for (number, foreign) in scope.lookups.iter().take(plan.lookups.len()).enumerate() {
        let snapshot = scope.snapshot.clone();
        rows = Box::new(Lookup::new(rows, plan, number, snapshot, foreign)?);
    }
    if plan.joined.is_some() {
        rows = filter(rows, Which::Joined, &[]);
    }
    if grouped {
        rows = Box::new(Groups::new(rows, plan));
    }
    if plan.having.is_some() {
        rows = filter(rows, Which::Having, &[]);
    }
    // A sort shapes its rows itself.
    let sorted = choice.sorts_rows(plan);
    if sorted {
        rows = Box::new(Sort::new(rows, plan));
    }
    if plan.skip > 0 || plan.limit.is_some() {
        let left = plan.limit.unwrap_or(u64::MAX);
        rows = Box::new(Cut { input: rows, skip: plan.skip, left });
    }
    if let (Outcome::Pluck(paths), false) = (&plan.output, sorted) {
        rows = Box::new(Pluck::new(rows, paths.clone(), grouped));
    }
    Ok((rows, choice))
}

/// What a query that changes nothing comes to.
pub enum Selected {
    /// So many documents are there.
    Count(u64),
    /// Rows, to be given page by page.
    Rows(Stream),
}

/// Runs a query that changes nothing, up to where its rows can be asked for.
///
/// # Errors
/// As of reading its rows.
pub fn select(scope: Scope<'_>, plan: &Arc<SelectPlan>) -> Result<Selected, QueryError> {
    if let Outcome::Mutate { .. } = plan.output {
        return Err(QueryError::bad(
            "a query that changes documents cannot run as one that reads".to_owned(),
        ));
    }
    let (mut rows, _) = operators(scope, plan, false)?;
    if let Outcome::Count = plan.output {
        return Ok(Selected::Count(rows.count(u64::MAX, scope.work)?));
    }
    let keyed = matches!(plan.output, Outcome::Rows) && plan.shape.is_none();
    Ok(Selected::Rows(Stream::new(rows, keyed)))
}

/// The documents a plan chooses, ordered and cut; at most `limits.memory` bytes.
/// Where only their keys matter, to delete them, the documents are left empty.
///
/// # Errors
/// More bytes than that.
pub fn matching(
    scope: Scope<'_>,
    plan: &Arc<SelectPlan>,
) -> Result<Vec<(Key, Vec<u8>)>, QueryError> {
    let mut found = Vec::new();
    let dropped = keys_matter(plan);
    let (mut rows, _) = operators(scope, plan, false)?;
    while rows.advance(scope.work)? {
        let (key, doc) = rows.row()?;
        let document = if dropped { Vec::new() } else { doc.as_bytes().to_vec() };
        scope.work.take(CHOSEN_OVERHEAD + document.len(), "change so many documents at once")?;
        found.push((key, document));
    }
    Ok(found)
}

/// A document as [`matching`] would give it; `None`: it does not meet the filter.
///
/// # Errors
/// More bytes than there may be; the deadline has passed, or the query was cancelled.
pub fn matched(
    plan: &SelectPlan,
    key: Key,
    doc: Doc<'_>,
    work: &Work,
) -> Result<Option<Vec<u8>>, QueryError> {
    let filter = plan.filter.as_ref();
    if !filter.map_or(Ok(true), |filter| filter.holds_for(key, doc, work))? {
        return Ok(None);
    }
    let document = if keys_matter(plan) { Vec::new() } else { doc.as_bytes().to_vec() };
    work.take(CHOSEN_OVERHEAD + document.len(), "change so many documents at once")?;
    Ok(Some(document))
}

/// Whether of what is chosen only the keys matter, since it goes.
fn keys_matter(plan: &SelectPlan) -> bool {
    matches!(plan.output, Outcome::Mutate { how: Change::Delete, returning: None })
}

/// The key that is all a filter asks for: `filter(key = "..")`.
pub fn key_of_filter(plan: &SelectPlan) -> Option<Key> {
    match &plan.filter {
        Some(Predicate::Field(path, Test::Compare(Comparison::Equal, value))) if path.is_key() => {
            range::exact(value)
        }
        _ => None,
    }
}
