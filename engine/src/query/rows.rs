//! From the documents of a store to the rows of a reply.

use crate::pql::ast::{Aggregate, Order, Path};
use crate::query::group::Groups;
use crate::query::range::key_range;
use crate::query::{Budget, Outcome, QueryError, Scope, SelectPlan, field};
use lsm::Direction;
use proto::doc::{Doc, DocBuf};
use proto::{Key, ReplyWriter, RowsWriter, Status, order};
use std::ops::Bound;

/// Bytes a sorted row takes beside its key and document.
const ROW_OVERHEAD: usize = 80;

/// Runs a query that changes nothing and writes its whole reply.
///
/// # Errors
/// Nothing was written then.
pub fn select(
    scope: Scope<'_>,
    plan: &SelectPlan,
    reply: ReplyWriter<'_>,
) -> Result<(), QueryError> {
    match &plan.output {
        Outcome::Count => count(scope, plan).map(|n| reply.count(n)),
        Outcome::Group { by, aggregates } => {
            check_group_order(&plan.order, by, aggregates)?;
            let mut groups = Groups::new(by, aggregates);
            let mut budget = Budget::new(scope.limits.memory);
            scan(scope, plan, |key, doc| groups.add(key, doc, &mut budget).map(|()| true))?;
            let rows = arrange(groups.finish()?, plan, &mut budget)?;
            write(reply.rows(false), scope.limits.reply, |out| {
                rows.iter().try_for_each(|doc| out.push(Key::MIN, doc))
            })
        }
        Outcome::Pluck(paths) => write(reply.rows(false), scope.limits.reply, |out| {
            each(scope, plan, |key, doc| out.push(key, &pluck(paths, key, doc)?))
        }),
        Outcome::Documents => write(reply.rows(true), scope.limits.reply, |out| {
            each(scope, plan, |key, doc| out.push(key, doc.as_bytes()))
        }),
        Outcome::Set(_) | Outcome::Delete => Err(QueryError::bad(
            "a query that changes documents cannot run as one that reads".to_owned(),
        )),
    }
}

/// The documents a plan chooses, ordered and cut; at most `limits.memory` bytes.
/// To delete them their keys are enough: the documents are left empty then.
///
/// # Errors
/// More bytes than that.
pub fn matching(scope: Scope<'_>, plan: &SelectPlan) -> Result<Vec<(Key, Vec<u8>)>, QueryError> {
    let mut found = Vec::new();
    let mut budget = Budget::new(scope.limits.memory);
    let keys_only = matches!(plan.output, Outcome::Delete);
    each(scope, plan, |key, doc| {
        let document = if keys_only { Vec::new() } else { doc.as_bytes().to_vec() };
        budget.take(ROW_OVERHEAD + document.len(), "change so many documents at once")?;
        found.push((key, document));
        Ok(())
    })?;
    Ok(found)
}

/// The rows of a reply, checked against its bound.
struct Out<'r> {
    rows: RowsWriter<'r>,
    limit: usize,
}

impl Out<'_> {
    fn push(&mut self, key: Key, document: &[u8]) -> Result<(), QueryError> {
        if self.rows.bytes() + 16 + document.len() > self.limit {
            let message = format!(
                "the result is larger than the {} bytes of a reply, after {} rows: add limit(n) and \
                 skip(n), pluck(..) fewer fields, or use a scan",
                self.limit,
                self.rows.len()
            );
            return Err(QueryError::Refused(Status::ResultTooLarge, message));
        }
        self.rows.push(key, document);
        Ok(())
    }
}

fn write(
    rows: RowsWriter<'_>,
    limit: usize,
    fill: impl FnOnce(&mut Out<'_>) -> Result<(), QueryError>,
) -> Result<(), QueryError> {
    let mut out = Out { rows, limit };
    fill(&mut out)?;
    out.rows.finish(None);
    Ok(())
}

fn count(scope: Scope<'_>, plan: &SelectPlan) -> Result<u64, QueryError> {
    let end = plan.limit.map(|limit| plan.skip.saturating_add(limit));
    let mut met = 0u64;
    if end != Some(0) {
        scan(scope, plan, |_, _| {
            met += 1;
            Ok(end.is_none_or(|end| met < end))
        })?;
    }
    Ok(met.saturating_sub(plan.skip))
}

/// Calls `see` with every document that meets the filter, in key order, until it
/// says `false`. Without a filter, and where only keys matter, values are not
/// read: [`count`] gives an empty document then.
fn scan(
    scope: Scope<'_>,
    plan: &SelectPlan,
    mut see: impl FnMut(Key, Doc<'_>) -> Result<bool, QueryError>,
) -> Result<(), QueryError> {
    let range = key_range(plan.filter.as_ref());
    if range.is_empty() {
        return Ok(());
    }
    let (low, high) = (range.low.to_bytes(), range.high.to_bytes());
    let (low, high) = (Bound::Included(&low[..]), Bound::Included(&high[..]));
    let mut cursor = scope.snapshot.range(scope.keyspace, low, high, Direction::Forward)?;
    let keys_only = plan.filter.is_none() && matches!(plan.output, Outcome::Count);
    while cursor.advance()? {
        let key = key_of(cursor.key())?;
        if keys_only {
            if !see(key, Doc::empty())? {
                break;
            }
            continue;
        }
        let doc = Doc::trusted(cursor.value()?);
        if plan.filter.as_ref().is_none_or(|filter| filter.holds(key, doc)) && !see(key, doc)? {
            break;
        }
    }
    Ok(())
}

/// Calls `see` with the rows of a plan, ordered and cut.
fn each(
    scope: Scope<'_>,
    plan: &SelectPlan,
    mut see: impl FnMut(Key, Doc<'_>) -> Result<(), QueryError>,
) -> Result<(), QueryError> {
    if plan.limit == Some(0) {
        return Ok(());
    }
    if plan.order.is_empty() {
        let (mut skip, mut left) = (plan.skip, plan.limit.unwrap_or(u64::MAX));
        return scan(scope, plan, |key, doc| {
            if skip > 0 {
                skip -= 1;
                return Ok(true);
            }
            left -= 1;
            see(key, doc)?;
            Ok(left > 0)
        });
    }
    let mut budget = Budget::new(scope.limits.memory);
    let mut sorter = Sorter::new(plan);
    scan(scope, plan, |key, doc| {
        sorter.add(key, doc, &mut budget)?;
        Ok(true)
    })?;
    for row in sorter.finish() {
        see(row.key, Doc::trusted(&row.document))?;
    }
    Ok(())
}

/// Refuses to order groups by what they do not have.
fn check_group_order(
    order: &[Order],
    by: &[Path],
    figures: &[Aggregate],
) -> Result<(), QueryError> {
    for Order { path: Path(path), .. } in order {
        let within = |Path(group): &Path| {
            path.strip_prefix(group.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        if !by.iter().any(within) && !figures.iter().any(|figure| figure.alias == *path) {
            return Err(QueryError::bad(format!(
                "orderBy({path}): a group has only the fields of groupBy() and the figures of \
                 aggregate(); order by one of those"
            )));
        }
    }
    Ok(())
}

/// Orders and cuts rows that are no stored documents.
fn arrange(
    rows: Vec<Vec<u8>>,
    plan: &SelectPlan,
    budget: &mut Budget,
) -> Result<Vec<Vec<u8>>, QueryError> {
    let mut sorter = Sorter { grouped: true, ..Sorter::new(plan) };
    for (number, row) in rows.iter().enumerate() {
        // Groups come in an order of their own: it decides between equals.
        sorter.add(Key(number as u128), Doc::trusted(row), budget)?;
    }
    Ok(sorter.finish().into_iter().map(|row| row.document).collect())
}

struct Row {
    sort_key: Vec<u8>,
    key: Key,
    document: Vec<u8>,
}

impl Row {
    fn size(&self) -> usize {
        ROW_OVERHEAD + self.sort_key.len() + self.document.len()
    }
}

/// Sorts rows, keeping at most twice as many as can still be asked for.
struct Sorter<'p> {
    order: &'p [Order],
    skip: usize,
    wanted: usize,
    /// Whether the rows are groups, whose fields have dotted names.
    grouped: bool,
    rows: Vec<Row>,
}

impl<'p> Sorter<'p> {
    fn new(plan: &'p SelectPlan) -> Self {
        let end = plan.limit.map_or(u64::MAX, |limit| plan.skip.saturating_add(limit));
        let wanted = usize::try_from(end).unwrap_or(usize::MAX);
        let skip = usize::try_from(plan.skip).unwrap_or(usize::MAX);
        Sorter { order: &plan.order, skip, wanted, grouped: false, rows: Vec::new() }
    }

    fn add(&mut self, key: Key, doc: Doc<'_>, budget: &mut Budget) -> Result<(), QueryError> {
        let text = key.to_string();
        let mut sort_key = Vec::with_capacity(16 * self.order.len());
        for Order { path, descending } in self.order {
            let value = match self.grouped {
                true => doc.get(&path.0).or_else(|| doc.path(&path.0)),
                false => field(path, &text, doc),
            };
            match descending {
                true => order::order_key_desc(value, &mut sort_key),
                false => order::order_key(value, &mut sort_key),
            }
        }
        let row = Row { sort_key, key, document: doc.as_bytes().to_vec() };
        if !budget.fits(row.size()) {
            // Rows that nobody will ask for make room before anything is refused.
            self.cut(budget);
        }
        budget.take(row.size(), "sort")?;
        self.rows.push(row);
        if self.rows.len() >= self.wanted.saturating_mul(2).max(1024) {
            self.cut(budget);
        }
        Ok(())
    }

    fn cut(&mut self, budget: &mut Budget) {
        if self.rows.len() > self.wanted {
            let by = |a: &Row, b: &Row| (&a.sort_key, a.key).cmp(&(&b.sort_key, b.key));
            self.rows.select_nth_unstable_by(self.wanted, by);
            for row in self.rows.drain(self.wanted..) {
                budget.give_back(row.size());
            }
        }
    }

    fn finish(mut self) -> impl IntoIterator<Item = Row> {
        self.rows.sort_unstable_by(|a, b| (&a.sort_key, a.key).cmp(&(&b.sort_key, b.key)));
        self.rows.truncate(self.wanted);
        self.rows.into_iter().skip(self.skip)
    }
}

/// Only these fields, under the paths they were asked by.
fn pluck(paths: &[Path], key: Key, doc: Doc<'_>) -> Result<Vec<u8>, QueryError> {
    let text = key.to_string();
    let mut row = DocBuf::new();
    for path in paths {
        if let Some(value) = field(path, &text, doc) {
            row.push(&path.0, value);
        }
    }
    row.finish().map_err(|e| QueryError::bad(format!("pluck: {e}; name each field once")))
}

fn key_of(bytes: &[u8]) -> Result<Key, QueryError> {
    let bytes = bytes.try_into().map_err(|_| {
        let message =
            format!("a key of {} bytes stands in a store, where keys have 16", bytes.len());
        QueryError::Refused(Status::Corrupt, message)
    })?;
    Ok(Key::from_bytes(bytes))
}
