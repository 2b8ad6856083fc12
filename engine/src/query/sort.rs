//! Sorting: in memory, and beyond it by sorted runs on disk.
//!
//! What must stay true: rows come in the order asked for, equal ones in the order
//! of their keys; with a limit, only rows that can still be among the first are
//! kept, in memory and on disk.

use std::sync::Arc;

use proto::doc::{Doc, EMPTY};
use proto::{Key, order};

use super::rows::{KeyText, Rows, Source, pluck};
use super::spill::{Merge, Runs};
use super::work::Work;
use super::{Outcome, QueryError, SelectPlan, field, group_field};
use crate::pql::ast::{Order, Path};

/// Bytes a sorted row takes beside its key and document.
const ROW_OVERHEAD: usize = 80;
/// Rows are cut only when at least so many have come.
const FEW: usize = 1024;

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

fn by_order(a: &Row, b: &Row) -> std::cmp::Ordering {
    a.sort_key.cmp(&b.sort_key).then(a.key.cmp(&b.key))
}

/// Appends what rows are compared by; equal ones compare by their keys. `key` is the
/// text of the row's key, where it is asked for.
pub(super) fn sort_key(order: &[Order], grouped: bool, key: &str, doc: Doc<'_>, out: &mut Vec<u8>) {
    for Order { path, descending } in order {
        let value = if grouped { group_field(path, doc) } else { field(path, key, doc) };
        match descending {
            true => order::order_key_desc(value, out),
            false => order::order_key(value, out),
        }
    }
}

/// The rows of another operator, sorted. It shapes them too (`pluck`), so that only
/// what is asked for is kept.
pub(super) struct Sort {
    input: Option<Source>,
    plan: Arc<SelectPlan>,
    /// Whether the rows are groups, whose fields have dotted names.
    grouped: bool,
    /// The rows that can still be asked for.
    wanted: usize,
    rows: Vec<Row>,
    /// The last of the first `wanted` rows, once there are as many: what comes
    /// behind it is not kept.
    worst: Option<(Vec<u8>, Key)>,
    runs: Runs,
    scratch: Vec<u8>,
    out: Out,
}

enum Out {
    Filling,
    Memory(std::vec::IntoIter<Row>, Option<Row>),
    Disk(Box<Merge>, Key, Vec<u8>),
}

impl Sort {
    pub(super) fn new(input: Source, plan: &Arc<SelectPlan>) -> Sort {
        let end = plan.limit.map_or(u64::MAX, |limit| plan.skip.saturating_add(limit));
        Sort {
            input: Some(input),
            plan: Arc::clone(plan),
            grouped: plan.shape.is_some(),
            wanted: usize::try_from(end).unwrap_or(usize::MAX),
            rows: Vec::new(),
            worst: None,
            runs: Runs::default(),
            scratch: Vec::new(),
            out: Out::Filling,
        }
    }

    fn fill(&mut self, mut input: Source, work: &Work) -> Result<(), QueryError> {
        // Nothing is asked for of nothing.
        while self.wanted > 0 && input.advance(work)? {
            let (key, doc) = input.row()?;
            self.add(key, doc, work)?;
        }
        drop(input);
        if self.runs.is_empty() {
            self.cut(work);
            self.rows.sort_unstable_by(by_order);
            let rows = std::mem::take(&mut self.rows);
            self.out = Out::Memory(rows.into_iter(), None);
            return Ok(());
        }
        self.spill(work)?;
        let merge = std::mem::take(&mut self.runs).merge()?;
        self.out = Out::Disk(Box::new(merge), Key::MIN, EMPTY.to_vec());
        Ok(())
    }

    fn add(&mut self, key: Key, doc: Doc<'_>, work: &Work) -> Result<(), QueryError> {
        let order = &self.plan.order;
        let wants_key = !self.grouped && order.iter().any(|o| o.path.is_key());
        let text = KeyText::of(key, wants_key);
        self.scratch.clear();
        sort_key(order, self.grouped, text.get(), doc, &mut self.scratch);
        let worst = self.worst.as_ref();
        if worst.is_some_and(|(worst, last)| (&self.scratch, &key) > (worst, last)) {
            return Ok(());
        }
        let document = match &self.plan.output {
            Outcome::Pluck(paths) => pluck(paths, self.grouped, key, doc, Vec::new())?,
            _ => doc.as_bytes().to_vec(),
        };
        let row = Row { sort_key: self.scratch.clone(), key, document };
        if !work.try_take(row.size()) {
            // Rows that nobody will ask for make room first.
            self.cut(work);
            if !work.try_take(row.size()) {
                self.spill(work)?;
                work.take(row.size(), "sort")?;
            }
        }
        self.rows.push(row);
        if self.rows.len() >= self.wanted.saturating_mul(2).max(FEW) {
            self.cut(work);
        }
        Ok(())
    }

    /// Keeps the first `wanted` rows, in no order.
    fn cut(&mut self, work: &Work) {
        if self.rows.len() <= self.wanted {
            return;
        }
        self.rows.select_nth_unstable_by(self.wanted - 1, by_order);
        for row in self.rows.drain(self.wanted..) {
            work.give_back(row.size());
        }
        self.worst = self.rows.last().map(|row| (row.sort_key.clone(), row.key));
    }

    /// Moves the rows to disk.
    fn spill(&mut self, work: &Work) -> Result<(), QueryError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        self.cut(work);
        self.rows.sort_unstable_by(by_order);
        let rows = self.rows.iter();
        let entries = rows.map(|row| (&row.sort_key[..], row.key.0, &row.document[..]));
        self.runs.add(work, "sort", entries)?;
        work.give_back(self.rows.drain(..).map(|row| row.size()).sum());
        Ok(())
    }
}

impl Rows for Sort {
    fn advance(&mut self, work: &Work) -> Result<bool, QueryError> {
        if let Some(input) = self.input.take() {
            self.fill(input, work)?;
        }
        match &mut self.out {
            Out::Filling => Ok(false),
            Out::Memory(rows, at) => {
                if let Some(row) = at.take() {
                    work.give_back(row.size());
                }
                *at = rows.next();
                work.tick(0)?;
                Ok(at.is_some())
            }
            Out::Disk(merge, key, document) => {
                let Some(entry) = merge.next(work)? else { return Ok(false) };
                work.tick(entry.payload.len())?;
                *key = Key(entry.key);
                document.clear();
                document.extend_from_slice(entry.payload);
                Ok(true)
            }
        }
    }

    fn row(&mut self) -> Result<(Key, Doc<'_>), QueryError> {
        Ok(match &self.out {
            Out::Memory(_, Some(row)) => (row.key, Doc::trusted(&row.document)),
            Out::Disk(_, key, document) => (*key, Doc::trusted(document)),
            Out::Filling | Out::Memory(_, None) => (Key::MIN, Doc::empty()),
        })
    }
}

/// Whether the rows of a scan come in this order by themselves, and which way.
pub(super) fn by_key(order: &[Order]) -> Option<bool> {
    match order.first() {
        Some(Order { path, descending }) if Path::is_key(path) => Some(*descending),
        _ => None,
    }
}
