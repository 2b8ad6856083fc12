//! Operators: each gives rows one by one, and asks the one below for its own.
//!
//! What must stay true: an operator holds one row, or what it counted against the
//! budget of the query; it owns all it needs, so that a query can be left and gone
//! on with later, on another thread.

use std::ops::Bound;
use std::sync::Arc;

use lsm::{Cursor, Direction, KeyspaceId, Snapshot};
use proto::doc::{Doc, DocBuf, EMPTY};
use proto::{Key, Status};

use super::predicate::Predicate;
use super::range::KeyRange;
use super::work::Work;
use super::{QueryError, SelectPlan, field, group_field};
use crate::pql::ast::Path;

/// What gives rows.
pub(super) trait Rows: Send {
    /// Moves to the next row; `false` at the end.
    fn advance(&mut self, work: &Work) -> Result<bool, QueryError>;

    /// The row stood on: its key, and its document.
    fn row(&mut self) -> Result<(Key, Doc<'_>), QueryError>;

    /// Moves behind the next rows, to the end if there are no more than `most`, and says
    /// how many they were.
    fn count(&mut self, most: u64, work: &Work) -> Result<u64, QueryError> {
        let mut counted = 0;
        while counted < most && self.advance(work)? {
            counted += 1;
        }
        Ok(counted)
    }
}

/// An operator behind a pointer, as others hold it.
pub(super) type Source = Box<dyn Rows>;

/// The documents of a store in key order, either way.
pub(super) struct Scan {
    cursor: Option<Cursor>,
    key: Key,
    /// Whether documents are left unread: where only keys matter.
    keys_only: bool,
}

impl Scan {
    pub(super) fn open(
        snapshot: &Snapshot,
        keyspace: KeyspaceId,
        range: KeyRange,
        direction: Direction,
        keys_only: bool,
    ) -> Result<Scan, QueryError> {
        let cursor = if range.is_empty() {
            None
        } else {
            let (low, high) = (range.low.to_bytes(), range.high.to_bytes());
            let (low, high) = (Bound::Included(&low[..]), Bound::Included(&high[..]));
            Some(snapshot.range(keyspace, low, high, direction)?)
        };
        Ok(Scan { cursor, key: Key::MIN, keys_only })
    }
}

impl Rows for Scan {
    fn advance(&mut self, work: &Work) -> Result<bool, QueryError> {
        let Some(cursor) = &mut self.cursor else { return Ok(false) };
        let bytes = if self.keys_only {
            cursor.advance()?.then_some(0)
        } else {
            cursor.next()?.map(|(_, document)| document.len())
        };
        let Some(bytes) = bytes else { return Ok(false) };
        work.examined(bytes)?;
        self.key = key_of(cursor.key())?;
        Ok(true)
    }

    fn row(&mut self) -> Result<(Key, Doc<'_>), QueryError> {
        match &mut self.cursor {
            Some(cursor) if !self.keys_only => Ok((self.key, Doc::trusted(cursor.value()?))),
            _ => Ok((self.key, Doc::empty())),
        }
    }
}

fn key_of(bytes: &[u8]) -> Result<Key, QueryError> {
    let bytes = bytes.try_into().map_err(|_| {
        let message =
            format!("a key of {} bytes stands in a store, where keys have 16", bytes.len());
        QueryError::Refused(Status::Corrupt, message)
    })?;
    Ok(Key::from_bytes(bytes))
}

/// Which condition of a plan a [`Filter`] tests.
#[derive(Clone, Copy)]
pub(super) enum Which {
    Filter,
    Joined,
    Having,
}

/// The rows that meet a condition.
pub(super) struct Filter {
    pub(super) input: Source,
    pub(super) plan: Arc<SelectPlan>,
    pub(super) which: Which,
    /// Numbers of conditions that all rows are known to meet.
    pub(super) settled: Vec<usize>,
}

impl Rows for Filter {
    fn advance(&mut self, work: &Work) -> Result<bool, QueryError> {
        let condition = match self.which {
            Which::Filter => &self.plan.filter,
            Which::Joined => &self.plan.joined,
            Which::Having => &self.plan.having,
        };
        let Some(condition) = condition else { return self.input.advance(work) };
        while self.input.advance(work)? {
            let (key, doc) = self.input.row()?;
            let holds = match self.which {
                Which::Having => condition.holds_for_group(doc, work)?,
                Which::Filter => meets_rest(condition, &self.settled, key, doc, work)?,
                Which::Joined => condition.holds_for(key, doc, work)?,
            };
            if holds {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn row(&mut self) -> Result<(Key, Doc<'_>), QueryError> {
        self.input.row()
    }
}

/// Whether a document meets the conditions of a filter whose numbers are not settled.
pub(super) fn meets_rest(
    filter: &Predicate,
    settled: &[usize],
    key: Key,
    doc: Doc<'_>,
    work: &Work,
) -> Result<bool, QueryError> {
    for (at, condition) in conditions(filter).iter().enumerate() {
        if !settled.contains(&at) && !condition.holds_for(key, doc, work)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Leaves out the first rows, and ends after so many.
pub(super) struct Cut {
    pub(super) input: Source,
    pub(super) skip: u64,
    /// Rows still to give.
    pub(super) left: u64,
}

impl Cut {
    fn leave_out(&mut self, work: &Work) -> Result<(), QueryError> {
        if self.skip > 0 {
            self.input.count(std::mem::take(&mut self.skip), work)?;
        }
        Ok(())
    }
}

impl Rows for Cut {
    fn advance(&mut self, work: &Work) -> Result<bool, QueryError> {
        if self.left == 0 {
            return Ok(false);
        }
        self.leave_out(work)?;
        self.left -= 1;
        self.input.advance(work)
    }

    fn row(&mut self) -> Result<(Key, Doc<'_>), QueryError> {
        self.input.row()
    }

    fn count(&mut self, most: u64, work: &Work) -> Result<u64, QueryError> {
        self.leave_out(work)?;
        let counted = self.input.count(self.left.min(most), work)?;
        self.left -= counted;
        Ok(counted)
    }
}

/// Conditions all of which must hold.
pub(super) fn conditions(filter: &Predicate) -> &[Predicate] {
    match filter {
        Predicate::And(all) => all,
        one => std::slice::from_ref(one),
    }
}

/// Only some fields of the rows.
pub(super) struct Pluck {
    pub(super) input: Source,
    pub(super) paths: Vec<Path>,
    pub(super) grouped: bool,
    pub(super) row: Vec<u8>,
    pub(super) key: Key,
}

impl Pluck {
    pub(super) fn new(input: Source, paths: Vec<Path>, grouped: bool) -> Pluck {
        Pluck { input, paths, grouped, row: EMPTY.to_vec(), key: Key::MIN }
    }
}

impl Rows for Pluck {
    fn advance(&mut self, work: &Work) -> Result<bool, QueryError> {
        if !self.input.advance(work)? {
            return Ok(false);
        }
        let (key, doc) = self.input.row()?;
        let taken = std::mem::take(&mut self.row);
        self.row = pluck(&self.paths, self.grouped, key, doc, taken)?;
        self.key = key;
        Ok(true)
    }

    fn row(&mut self) -> Result<(Key, Doc<'_>), QueryError> {
        Ok((self.key, Doc::trusted(&self.row)))
    }
}

/// Only these fields, under the paths they were asked by, written into `room`.
pub(super) fn pluck(
    paths: &[Path],
    grouped: bool,
    key: Key,
    doc: Doc<'_>,
    mut room: Vec<u8>,
) -> Result<Vec<u8>, QueryError> {
    room.clear();
    let text = KeyText::of(key, !grouped && paths.iter().any(Path::is_key));
    let mut row = DocBuf::within(room);
    for path in paths {
        let value = if grouped { group_field(path, doc) } else { field(path, text.get(), doc) };
        if let Some(value) = value {
            row.push(&path.0, value);
        }
    }
    row.finish().map_err(|e| QueryError::bad(format!("pluck: {e}; name each field once")))
}

/// A key as text, made only where one is asked for.
pub(super) struct KeyText(String);

impl KeyText {
    pub(super) fn of(key: Key, wanted: bool) -> KeyText {
        KeyText(if wanted { key.to_string() } else { String::new() })
    }

    pub(super) fn get(&self) -> &str {
        &self.0
    }
}
